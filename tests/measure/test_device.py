"""Which device is chosen and what is said about it.

The machine's own device in this process; GPUs that are not here in a child, where the stand-in
driver library answers and a few lines stand in for a CUDA build of torch.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from harness.measure.device import (
    Device,
    DeviceError,
    choose_device,
    describe_cpu,
    free_bytes,
    skip_reason,
)

ROOT = Path(__file__).parents[2]
GB = 10**9
UUID = "00000000-1111-2222-3333-444444444444"

CHILD = f"""
import json, os, sys, types, warnings
from harness.measure.device import DeviceError, choose_device

def torch_that(available=False, cuda="13.0", hip=None, warns="", arch=("sm_75", "sm_90"),
               starts=True, properties=True):
    def is_available():
        if warns:
            warnings.warn(warns)
        return available
    def get_device_properties(index):
        assert properties, "this starts CUDA"
        if not starts:
            raise RuntimeError("CUDA error: out of memory\\nCUDA kernel errors might be")
        return types.SimpleNamespace(name="NVIDIA H200 (torch)", uuid="{UUID}", major=9, minor=0,
                                     total_memory=139 * 10**9, multi_processor_count=132)
    return types.SimpleNamespace(
        __version__="2.13.0", version=types.SimpleNamespace(cuda=cuda, hip=hip),
        cuda=types.SimpleNamespace(
            is_available=is_available, is_initialized=lambda: False,
            get_arch_list=lambda: list(arch), get_device_properties=get_device_properties))

def answer(scenario):
    os.environ.update(scenario.get("env", {{}}))
    sys.modules["torch"] = torch_that(**scenario["torch"])
    result = {{}}
    try:
        for wanted in ("auto", "cuda"):
            try:
                result[wanted] = choose_device(wanted).to_json()
            except DeviceError as error:
                result[wanted] = str(error)
    finally:
        for name in scenario.get("env", {{}}):
            del os.environ[name]
    return result

scenarios = json.load(sys.stdin)
json.dump({{name: answer(s) for name, s in scenarios.items()}}, sys.stdout)
"""

SCENARIOS = {
    "gpu": {"torch": {"available": True}},
    "warm": {
        "torch": {"available": True, "properties": False},
        "env": {"PYTORCH_NVML_BASED_CUDA_CHECK": "1"},
    },
    "no nvml": {"torch": {"available": True}, "env": {"STAND_IN_FAIL": "nvmlInitWithFlags=999"}},
    "sanitize": {"torch": {"available": True}, "env": {"TRITON_INTERPRET": "1"}},
    "amd": {"torch": {"available": True, "hip": "6.3", "cuda": None, "arch": ["gfx942"]}},
    "does not start": {"torch": {"available": True, "starts": False}},
    "too old a card": {"torch": {"available": True, "arch": ["sm_100", "sm_120a"]}},
    "cpu build": {"torch": {"cuda": None}},
    "cpu build, no driver": {
        "torch": {"cuda": None},
        "env": {"STAND_IN_FAIL": "nvmlInitWithFlags=9"},
    },
    "no amd": {"torch": {"cuda": None, "hip": "6.3"}},
    "not loaded": {"torch": {}, "env": {"STAND_IN_FAIL": "nvmlInitWithFlags=9"}},
    "hidden": {"torch": {}, "env": {"CUDA_VISIBLE_DEVICES": ""}},
    "driver too old": {"torch": {"cuda": "14.1"}},
    "torch says": {"torch": {"warns": "CUDA initialization:\n unknown error"}},
    "torch says nothing": {"torch": {}},
}


@pytest.fixture(scope="module")
def chosen(build_stand_in):
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("STAND_IN_", "CUDA_", "PYTORCH_", "TRITON_"))
    }
    environment["LD_LIBRARY_PATH"] = str(build_stand_in())
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), environment.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", CHILD],
        input=json.dumps(SCENARIOS),
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_gpu_is_taken_and_described(chosen):
    device = Device.from_json(chosen["gpu"]["auto"])
    assert chosen["gpu"]["cuda"] == chosen["gpu"]["auto"]
    assert (device.kind, device.name) == ("cuda", "NVIDIA H200 (torch)")
    assert (device.memory_bytes, device.compute_capability) == (139 * GB, (9, 0))
    assert (device.uuid, device.driver) == (f"GPU-{UUID}", "580.95.05")
    assert device.detail == "sm_90, 132 SMs, 139 GB, driver 580.95.05"
    assert device.packages["torch"] == "2.13.0"
    assert device.notes == () and not device.interpreter
    assert device.chip == "sm_90"


def test_a_warm_process_does_not_start_cuda(chosen):
    device = Device.from_json(chosen["warm"]["auto"])
    assert (device.kind, device.name, device.uuid) == ("cuda", "NVIDIA H200", f"GPU-{UUID}")
    assert (device.memory_bytes, device.compute_capability) == (140 * GB, (9, 0))


def test_a_gpu_without_nvml(chosen):
    device = Device.from_json(chosen["no nvml"]["cuda"])
    assert device.name == "NVIDIA H200 (torch)" and device.driver is None
    assert len(device.notes) == 1 and "NVML cannot be asked" in device.notes[0]


def test_kernels_interpreted_although_there_is_a_gpu(chosen):
    assert chosen["sanitize"]["auto"]["interpreter"]


def test_an_amd_gpu_has_no_compute_capability(chosen):
    device = Device.from_json(chosen["amd"]["auto"])
    assert device.kind == "cuda" and device.compute_capability is None
    assert skip_reason(device, True) is None
    assert "does not tell" in skip_reason(device, "sm_80")


@pytest.mark.parametrize(
    ("scenario", "words"),
    [
        ("does not start", "CUDA does not start: CUDA error: out of memory"),
        ("too old a card", "is sm_90, and torch 2.13.0 was built for sm_100 and newer"),
        ("cpu build", "build without CUDA, and this machine has a GPU (NVIDIA H200)"),
        ("cpu build, no driver", "build without CUDA, and the NVIDIA driver is installed but"),
        ("no amd", "built for AMD GPUs and finds none"),
        ("not loaded", "sudo modprobe nvidia"),
        ("hidden", "CUDA_VISIBLE_DEVICES='' hides every GPU"),
        ("driver too old", "580.95.05 is too old: it runs CUDA up to 13.0, and torch 2.13.0 needs"),
        ("torch says", "torch cannot use the NVIDIA H200: CUDA initialization: unknown error"),
        ("torch says nothing", "torch cannot use the NVIDIA H200"),
    ],
)
def test_no_gpu_is_an_error_or_a_note(chosen, scenario, words):
    error, device = chosen[scenario]["cuda"], Device.from_json(chosen[scenario]["auto"])
    assert isinstance(error, str) and error.startswith("DEVICE=cuda, but ") and words in error
    assert "\n" not in error and len(error) < 400
    assert device.kind == "cpu" and device.interpreter
    assert len(device.notes) == 1 and words in device.notes[0]


def test_this_machine():
    import torch

    device = choose_device("auto")
    assert device.kind == ("cuda" if torch.cuda.is_available() else "cpu") or device.notes
    assert device.cores >= 1 and device.cpu and device.name
    assert device.packages["torch"] == torch.__version__
    assert Device.from_json(json.loads(json.dumps(device.to_json()))) == device
    assert choose_device("cpu").kind == "cpu"
    room = free_bytes(device)
    assert 0 < room <= device.memory_bytes
    if device.kind == "cpu":
        with pytest.raises(DeviceError, match="DEVICE=cuda, but "):
            choose_device("cuda")


def test_unknown_wish():
    with pytest.raises(DeviceError, match="DEVICE=gpu is not known: choose auto, cuda or cpu"):
        choose_device("gpu")


def run(code: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", code],
        env={
            **{k: v for k, v in os.environ.items() if k not in ("OMP_NUM_THREADS",)},
            "TRITON_INTERPRET": "",
            **environment,
            "PYTHONPATH": str(ROOT),
        },
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_describing_the_cpu_imports_no_library():
    code = """
import sys
from harness.measure.device import describe_cpu
from harness.measure.memory import Meter
device = describe_cpu()
with Meter(device):
    pass
assert not device.interpreter and "numpy" in device.packages
print([m for m in ("torch", "numpy", "triton", "pynvml") if m in sys.modules])
"""
    done = run(code)
    assert done.stdout.strip() == "[]", done.stderr


def test_no_torch_at_all(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(DeviceError, match="torch cannot be imported"):
        choose_device("cuda")
    assert "torch cannot be imported" in choose_device("auto").notes[0]


# Both orders in one child, and without the seconds that importing torch takes.
INTERPRET = """
import os, sys, types
from harness.measure.device import DeviceError, describe_cpu, prepare_interpreter
if os.fork() == 0:
    import triton
    try:
        prepare_interpreter(describe_cpu())
    except DeviceError as error:
        print(error, flush=True)
    os._exit(0)
os.wait()
threads = []
sys.modules["torch"] = types.SimpleNamespace(__version__="2", set_num_threads=threads.append)
assert prepare_interpreter(describe_cpu()).interpreter
del sys.modules["torch"]
import triton.language as tl
prepare_interpreter(describe_cpu())
print(type(tl.zeros).__name__, *threads, os.environ["OMP_NUM_THREADS"])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork, which Windows has not")
def test_the_interpreter_must_come_before_triton():
    pytest.importorskip("triton")
    done = run(INTERPRET)
    late, early = done.stdout.splitlines()
    assert late.startswith("triton was imported before"), done.stderr
    assert early.split() == ["InterpretedFunction", "1", "1"]


H200 = replace(
    describe_cpu(),
    kind="cuda",
    name="NVIDIA H200",
    compute_capability=(9, 0),
    memory_bytes=140 * GB,
)
A100 = replace(H200, name="NVIDIA A100", compute_capability=(8, 0))
CPU = describe_cpu()


@pytest.mark.parametrize(
    ("device", "needs", "reason"),
    [
        (CPU, False, None),
        (H200, False, None),
        (CPU, True, "needs a CUDA GPU"),
        (CPU, "sm_90", "needs a CUDA GPU with sm_90"),
        (H200, True, None),
        (H200, "sm_80", None),
        (H200, "sm_90", None),
        (H200, "sm_90a", None),
        (H200, "sm_80a", "needs sm_80a; this GPU is sm_90"),
        (A100, "sm_90", "needs sm_90; this GPU is sm_80"),
        (A100, "sm_100", "needs sm_100; this GPU is sm_80"),
        (H200, "sm_100", "needs sm_100; this GPU is sm_90"),
    ],
)
def test_what_a_test_needs(device, needs, reason):
    assert skip_reason(device, needs) == reason


def test_room_that_a_test_needs():
    needs = 12 * GB
    reason = "needs 12.0 GB of GPU memory; 7.9 GB are free"
    assert skip_reason(H200, True, needs, free=7_900_000_000) == reason
    assert skip_reason(H200, "sm_90", needs, free=needs) is None
    assert skip_reason(CPU, False, needs, free=GB) == "needs 12.0 GB of memory; 1.0 GB are free"
    assert skip_reason(CPU, False, 1) is None
    assert skip_reason(CPU, False, 10**18).startswith("needs 1000000 TB of memory; ")


def test_a_need_that_means_nothing():
    with pytest.raises(ValueError, match="'hopper' names no GPU: write True, 'sm_80' or 'sm_90a'"):
        skip_reason(CPU, "hopper")


def test_a_run_on_the_cpu_sees_no_gpu():
    done = run(
        "import os\n"
        "from harness.grading.plugin import prepare\n"
        "prepare('pytorch', 'cpu')\n"
        "print(repr(os.environ.get('CUDA_VISIBLE_DEVICES')))"
    )
    assert done.stdout.strip() == "''", done.stderr
