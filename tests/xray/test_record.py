"""What is recorded besides plain interpreted launches: kernels that ran on a GPU, and tuning."""

import types

import pytest
import torch
import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.autotuner import Autotuner
from triton.runtime.jit import JITFunction

from harness.kernels.xray import KernelReport, recording, xray
from harness.kernels.xray.constants import NotPortable, decode, encode
from tests.xray import gallery
from tests.xray.conftest import DEVICE


def compiled_here():
    """What a GPU's JITFunction.run returns, made without one."""
    kernel = JITFunction(gallery.copy_kernel.fn)
    signature = {"source": "*fp32", "target": "*fp32", "count": "i32", "BLOCK": "constexpr"}
    divisible = {(index,): [["tt.divisibility", 16]] for index in range(3)}
    source = ASTSource(kernel, signature, {(3,): 1024}, divisible)
    return kernel, triton.compile(source, target=GPUTarget("cuda", 90, 32))


def test_a_kernel_that_ran_brings_its_own_figures(monkeypatch, tmp_path):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    kernel, binary = compiled_here()
    monkeypatch.setattr(JITFunction, "run", lambda self, *args, grid, warmup, **kwargs: binary)
    x = torch.ones(2048, device=DEVICE)
    with recording() as launches:
        kernel[(2,)](x, x.clone(), 2048, 1024)
        kernel.run(x, x.clone(), 2048, 1024, grid=(2,), warmup=True)  # compiles, launches nothing
    (launch,) = launches
    assert launch.count == 1
    measured = KernelReport.from_json(launch.measured)
    assert measured.ran
    assert (measured.chip, measured.loads, measured.spill_bytes) == ("sm_90", {128: 2}, 0)
    (report,) = xray(launches, ("sm_90",), tmp_path / "unused")
    assert report == measured
    assert "from the kernel that ran here" in report.text()


def test_nothing_is_recorded_or_patched_afterwards():
    before = JITFunction.__dict__["run"], Autotuner.__dict__["run"]
    with pytest.raises(ZeroDivisionError), recording() as launches:
        raise ZeroDivisionError
    assert launches == []
    assert (JITFunction.__dict__["run"], Autotuner.__dict__["run"]) == before


def test_configurations_that_are_only_tried_are_not_launches():
    x = torch.ones(64, device=DEVICE)
    tuner = types.SimpleNamespace(
        nargs={},
        fn=gallery.copy_kernel,
        pre_hook=lambda *_: 0,
        post_hook=lambda *_, exception: 0,
        do_bench=lambda call, quantiles: call(),
    )
    config = triton.Config({"BLOCK": 64})
    with recording() as launches:
        Autotuner._bench(tuner, x, x.clone(), 64, config=config, grid=(1,), warmup=False)
    assert launches == []


@pytest.mark.parametrize(
    "value", [None, True, 3, 2.5, "ieee", (1, (2, "x")), tl.float16, tl.constexpr(4)]
)
def test_constants_survive_json(value):
    back = decode(encode(value), lambda *_: None)
    assert back == value or back.value == value.value


def test_functions_and_torch_dtypes_as_constants():
    assert decode(encode(torch.bfloat16), lambda *_: None) == tl.bfloat16
    found = decode(encode(gallery.helper), lambda *where: where)
    assert found[:3] == (gallery.__file__, gallery.__name__, "helper")
    with pytest.raises(NotPortable, match="type object"):
        encode(object())
