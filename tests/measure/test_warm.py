"""A warm process does nothing that would keep its forks from a GPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# In a process of its own: torch as a build with CUDA has it, on a machine with a card, where every
# call that starts CUDA or only asks it something is noted with the process that made it. The fork
# that finds the device may make any of them.
CHILD = """
import os, sys
import torch

OWN = os.getpid()
HARMLESS = {"is_initialized", "_is_compiled", "_is_in_bad_fork"}
made = []

def noted(name, answer):
    def call(*args, **kwargs):
        made.append(name)
        if os.getpid() == OWN:
            print("in the warm process:", name)
        return answer
    return call

answers = {
    "_cuda_getDeviceCount": 1, "_cuda_getArchFlags": "sm_75 sm_90", "_cuda_init": None,
    "_cuda_setDevice": None, "_cuda_getDevice": 0, "_cuda_getDriverVersion": 13000,
    "_cuda_synchronize": None, "_cuda_getCompiledVersion": 13000, "_cuda_memoryStats": {},
    "_cuda_getCurrentRawStream": 0, "_cuda_canDeviceAccessPeer": True,
}
for name, answer in answers.items():
    setattr(torch._C, name, noted(name, answer))
for name, value in list(vars(torch.cuda).items()):
    if callable(value) and not isinstance(value, type) and name not in HARMLESS:
        if getattr(value, "__module__", "").startswith("torch.cuda"):
            setattr(torch.cuda, name, noted(name, {"is_available": True}.get(name)))
torch.cuda.get_arch_list = noted("get_arch_list", ["sm_75", "sm_90"])
torch.version.cuda = "13.0"

from harness.measure import device
from harness.run import zygote

from harness.curriculum import find_track

zygote.warm_up("TRACK", "auto")
for day in find_track("TRACK").days:  # the libraries of each
    zygote.begin(day)
found = device.remembered("auto")
print(found and (found.kind, found.name))
print("threads:", len(os.listdir("/proc/self/task")))
if "TRACK" == "triton":
    from triton.runtime.cache import triton_key
    print("hashed:", triton_key.cache_info().currsize)
if os.fork() == 0:
    before = len(made)
    assert device.choose_device("auto") == found
    print("asked again:", made[before:])
    sys.stdout.flush()
    os._exit(0)
os.wait()
"""


def test_nothing_in_a_warm_process_forbids_a_fork_the_gpu(build_stand_in) -> None:
    if not os.path.isdir("/proc/self/task"):
        pytest.skip("counts threads in /proc")
    for track in ("triton", "pytorch"):
        done = subprocess.run(
            [sys.executable, "-c", CHILD.replace("TRACK", track)],
            env={
                **{k: v for k, v in os.environ.items() if not k.startswith(("CUDA_", "TRITON_"))},
                "LD_LIBRARY_PATH": str(build_stand_in()),
                "PYTHONPATH": str(ROOT),
                "OMP_NUM_THREADS": "1",
            },
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        assert "in the warm process" not in done.stdout, done.stdout
        assert "('cuda', 'NVIDIA H200')" in done.stdout, done.stdout + done.stderr
        assert "threads: 1\n" in done.stdout, done.stdout
        assert "asked again: []" in done.stdout, done.stdout
        # Each fork that compiles would take 0.8 s to hash the compiler's files.
        assert track != "triton" or "hashed: 1" in done.stdout, done.stdout
