"""What ``watch`` reports of programs whose launches, bytes and operators are known."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
import triton
import triton.language as tl
from triton.runtime import autotuner, interpreter, jit

from harness.testing import watching
from harness.testing.watching import Launch, watch

N = 1000
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
DEVICES = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


@pytest.fixture(params=DEVICES)
def x(request):
    return torch.rand(N, device=request.param) + 0.5


def in_units(seen, x):
    """(peak, live) in multiples of what ``x`` takes."""
    return seen.peak_bytes / x.nbytes, seen.live_bytes / x.nbytes


@pytest.mark.parametrize(
    "f, peak, live, operators",
    [
        (lambda x: x, 0, 0, []),
        (lambda x: x + 1, 1, 1, ["add"]),
        (lambda x: x + 1 + 1, 2, 1, ["add", "add"]),
        (lambda x: x.add_(1), 0, 0, ["add_"]),
        (lambda x: x[::2], 0, 0, ["slice"]),
        (lambda x: x.view(10, 100).T, 0, 0, ["view", "permute"]),
        (lambda x: x.view(10, 100).T.contiguous(), 1, 1, ["view", "permute", "clone"]),
        (lambda x: x.double(), 2, 2, ["_to_copy"]),
        (lambda x: x.half(), 0.5, 0.5, ["_to_copy"]),
        (lambda x: torch.empty(3 * N, device=x.device), 3, 3, ["empty"]),
        (lambda x: torch.empty_like(x).copy_(x), 1, 1, ["empty_like", "copy_"]),
        (lambda x: (x.unsqueeze(1) * x).sum(1), N + 1, 1, ["unsqueeze", "mul", "sum"]),
        (lambda x: [x + 1, x * 2, x - x], 3, 3, ["add", "mul", "sub"]),
    ],
)
def test_memory_and_operators_are_exact(x, f, peak, live, operators):
    result, seen = watch(f, x)
    assert in_units(seen, x) == (peak, live)
    names = [name.removeprefix("aten.") for name in seen.operators]
    assert names == operators
    assert seen.synchronisations == [] and seen.launches == []
    del result


def test_what_was_allocated_and_freed_again_is_in_the_peak_only(x):
    def f(x):
        for _ in range(3):
            y = torch.cat([x, x])
            del y
        return None

    _, seen = watch(f, x)
    assert in_units(seen, x) == (2, 0)


def test_temporaries_of_operators_count():
    # They are allocated in C++, where no Python mode sees them.
    x = torch.rand(64, 64)
    _, seen = watch(torch.linalg.multi_dot, [x, x, x])
    assert in_units(seen, x) == (2, 1)
    _, seen = watch(lambda x: torch.linalg.inv(x), x + torch.eye(64))
    assert seen.live_bytes == x.nbytes and seen.peak_bytes > x.nbytes


def test_a_backward_pass_is_seen(x):
    x.requires_grad_()
    loss = (x * x).sum()
    _, seen = watch(lambda: loss.backward(), of="torch")
    assert "aten.mul" in seen.operators
    assert in_units(seen, x)[1] == 1  # x.grad
    assert 2 <= in_units(seen, x)[0] <= 4


def test_blocks_from_before_are_not_subtracted():
    for _ in range(3):  # an address may come back with another size
        held = [torch.ones(N), torch.ones(5 * N)]
        _, seen = watch(lambda held=held: held.clear() or torch.ones(2 * N))
        assert (seen.peak_bytes, seen.live_bytes) == (8 * N, 8 * N)
        kept, _ = watch(torch.ones, 3 * N)
        del kept


def test_keyword_arguments_and_results_pass_through(x):
    result, seen = watch(torch.sum, input=x, dim=0)
    assert torch.equal(result, x.sum(0)) and seen.operators == ["aten.sum"]


@pytest.mark.parametrize(
    "f, expected",
    [
        (lambda x: x.sum(), []),
        (lambda x: x.sum().item(), ["item"]),
        (lambda x: float(x[0]), ["item"]),
        (lambda x: 1 if (x > 0).all() else 2, ["item"]),
        (lambda x: range(x.argmax()), ["item"]),
        (lambda x: x[x.argmax() : 5], ["item"]),
        (lambda x: x.cpu(), ["cpu"]),
        (lambda x: x.tolist(), ["tolist"]),
        (lambda x: x.nonzero(), ["nonzero"]),
        (lambda x: torch.where(x > 1), ["nonzero"]),
        (lambda x: x[x > 1], ["index"]),
        (lambda x: x[[0, 2]], []),
        (lambda x: x.masked_select(x > 1), ["masked_select"]),
        (lambda x: x.masked_fill(x > 1, 0.0), []),
        (lambda x: torch.where(x > 1, x, 0.0), []),
        (lambda x: x.unique(), ["unique"]),
        (lambda x: torch.equal(x, x + 1), ["equal"]),
        (lambda x: x.to(x.device), []),
        (lambda x: x.to(torch.float16), []),
    ],
)
def test_synchronisations(x, f, expected):
    assert watch(f, x)[1].synchronisations == expected


def test_explicit_waiting_counts(monkeypatch):
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device=None: None)
    original = torch.cuda.synchronize
    _, seen = watch(lambda x: (torch.cuda.synchronize(), x + 1), torch.ones(3))
    assert seen.synchronisations == ["synchronize"]
    assert torch.cuda.synchronize is original


@needs_gpu
def test_copies_between_host_and_gpu():
    x, host = torch.ones(N, device="cuda"), torch.ones(N)
    assert watch(lambda x: x.to("cpu"), x)[1].synchronisations == ["_to_copy"]
    assert watch(lambda x: host.copy_(x), x)[1].synchronisations == ["copy_"]
    assert watch(lambda x: (host[0].item(), x + 1), x)[1].synchronisations == []


# Kernels --------------------------------------------------------------------------------------


def add_one(source, out, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + at, tl.load(source + at, mask=at < n) + 1, mask=at < n)


# Interpreted whatever TRITON_INTERPRET was when triton was imported.
interpreted = interpreter.InterpretedFunction(add_one)


def launcher(kernel, grid):
    def launch(x):
        out = torch.empty_like(x)
        kernel[grid](x, out, x.numel(), BLOCK=256)
        return out

    return launch


GRIDS = {
    "tuple": (4,),
    "three axes": (4, 1, 1),
    # N, not meta["n"]: triton 3.6's own interpreter can't make an int of it under numpy 2.4.
    "callable": lambda meta: (triton.cdiv(N, meta["BLOCK"]),),
}


@pytest.mark.parametrize("grid", GRIDS)
def test_interpreted_launches(grid):
    x = torch.rand(N)
    result, seen = watch(launcher(interpreted, GRIDS[grid]), x)
    assert torch.equal(result, x + 1)
    shape = (4, 1, 1) if grid == "three axes" else (4,)
    assert seen.launches == [Launch("add_one", shape, {"BLOCK": 256})]
    assert seen.launches[0].programs == 4
    # What the interpreter does for the kernel is not the caller's doing.
    assert seen.operators == ["aten.empty_like"]
    assert in_units(seen, x) == (1, 1)
    assert seen.synchronisations == []


def test_launches_are_counted_one_by_one_and_in_order():
    def twice(x):
        return launcher(interpreted, (2,))(launcher(interpreted, (4,))(x))

    x = torch.rand(N)
    _, seen = watch(twice, x)
    assert [launch.grid for launch in seen.launches] == [(4,), (2,)]
    assert in_units(seen, x) == (2, 1)
    assert watch(launcher(interpreted, (1,)), x)[1].launches[0].grid == (1,), "starts afresh"


def test_launches_of_the_mended_interpreter(tmp_path):
    """In a process of its own: it stays installed."""
    program = """
import os
os.environ["TRITON_INTERPRET"] = "1"
import torch, triton, triton.language as tl
from harness.kernels.interpreter import install
from harness.testing.watching import watch
install()

@triton.jit
def add_one(source, out, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + at, tl.load(source + at, mask=at < n) + 1, mask=at < n)

def launch(x):
    out = torch.empty_like(x)
    add_one[lambda meta: (triton.cdiv(x.numel(), meta["BLOCK"]),)](x, out, x.numel(), BLOCK=256)
    return out

x = torch.rand(1000)
for _ in range(2):
    result, seen = watch(lambda x: launch(launch(x)), x)
    assert torch.equal(result, x + 1 + 1)
    assert [(a.kernel, a.grid, a.meta) for a in seen.launches] == [
        ("add_one", (4,), {"BLOCK": 256})] * 2, seen
    assert (seen.peak_bytes, seen.live_bytes) == (2 * x.nbytes, x.nbytes), seen
    assert seen.operators == ["aten.empty_like"] * 2 and not seen.synchronisations, seen
"""
    path = tmp_path / "program.py"  # a file: triton reads the kernel's source
    path.write_text(program)
    done = subprocess.run([sys.executable, path], capture_output=True, text=True, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr


def test_warm_up_is_no_launch():
    _, seen = watch(lambda x: interpreted.run(x, x, N, BLOCK=4, grid=(1,), warmup=True), [])
    assert seen.launches == []


def test_compiled_launches(monkeypatch):
    """The bookkeeping around a compiled launch, on a machine that cannot launch."""

    def run(self, *args, grid, warmup, **kwargs):
        if not warmup:
            grid({"n": N, "BLOCK": 256} if callable(grid) else None)

    monkeypatch.setattr(jit.JITFunction, "run", run)
    compiled = jit.JITFunction(add_one)
    for grid in GRIDS.values():
        _, seen = watch(launcher(compiled, grid), torch.rand(N))
        assert [(a.kernel, a.grid[0], a.meta) for a in seen.launches] == [
            ("add_one", 4, {"BLOCK": 256})
        ]
    _, seen = watch(lambda: compiled.run(grid=(1,), warmup=True))
    assert seen.launches == []


def test_autotuning_runs_are_no_launches(monkeypatch):
    monkeypatch.setattr(
        autotuner.Autotuner, "_bench", lambda self, x: [launcher(interpreted, (4,))(x), x + 1]
    )

    def f(x):
        autotuner.Autotuner._bench(None, x)
        return launcher(interpreted, (4,))(x)

    x = torch.rand(N)
    _, seen = watch(f, x)
    assert len(seen.launches) == 1 and seen.operators == ["aten.empty_like"]
    assert in_units(seen, x) == (1, 1)


@needs_gpu
def test_launches_on_a_gpu():
    x = torch.rand(N, device="cuda")
    compiled = triton.jit(add_one) if isinstance(triton.jit(add_one), jit.JITFunction) else None
    if compiled is None:
        pytest.skip("TRITON_INTERPRET is set")
    for grid in GRIDS.values():
        result, seen = watch(launcher(compiled, grid), x)
        assert torch.equal(result, x + 1)
        assert len(seen.launches) == 1 and seen.launches[0].programs == 4
        assert seen.launches[0].meta == {"BLOCK": 256}
        assert in_units(seen, x) == (1, 1)


# numpy ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "f, peak, live",
    [
        (lambda a: a + 1, 1, 1),
        (lambda a: np.add(a + 1, a), 2, 1),
        (lambda a: a[::2], 0, 0),
        (lambda a: a.reshape(100, -1).T.copy(), 1, 1),
        (lambda a: (a + 1).sum(), 1, 0),
        (lambda a: [a + 1, a * 2], 2, 2),
    ],
)
def test_numpy_memory(f, peak, live):
    a = np.ones(100_000)
    if peak == 2 and live == 1:
        a = a[:30_000]  # above 256 KB numpy works in place on a temporary
    _, seen = watch(f, a)
    slack = 4096  # Python's own objects
    assert 0 <= seen.peak_bytes - peak * a.nbytes <= slack
    assert 0 <= seen.live_bytes - live * a.nbytes <= slack
    assert seen.operators == [] and not tracemalloc.is_tracing()


def test_whose_memory_is_found_out():
    a, x = np.ones(N), torch.ones(N)
    assert watch(lambda: a + 1)[1].live_bytes >= a.nbytes
    assert watch(lambda: x + 1)[1].live_bytes == x.nbytes
    assert watch(torch.ones, N)[1].live_bytes == x.nbytes
    assert watch(lambda x: (x + 1, np.ones(N)), x)[1].live_bytes == x.nbytes
    assert watch(lambda x: (x + 1, np.ones(N)), x, of="numpy")[1].live_bytes >= a.nbytes
    assert watch(np.ones, N, of="torch")[1].live_bytes == 0
    with pytest.raises(ValueError, match="of="):
        watch(len, [], of="jax")


# The watcher itself ---------------------------------------------------------------------------


def test_an_error_leaves_nothing_behind():
    before = jit.JITFunction.run, interpreter.InterpretedFunction.run, torch.cuda.synchronize

    def f(x):
        (x + 1).sum()
        raise KeyError("mine")

    for _ in range(2):
        with pytest.raises(KeyError, match="mine"):
            watch(f, torch.ones(3))
    assert before == (
        jit.JITFunction.run,
        interpreter.InterpretedFunction.run,
        torch.cuda.synchronize,
    )
    assert not tracemalloc.is_tracing()
    assert watch(lambda x: x + 1, torch.ones(8))[1].operators == ["aten.add"]


def broken(x):
    tl.store(x, absent)  # noqa: F821  (the point of it)


def test_an_error_in_a_kernel_leaves_nothing_behind():
    kernel = interpreter.InterpretedFunction(broken)
    with pytest.raises(Exception, match="absent"):
        watch(lambda x: kernel[(1,)](x), torch.ones(8))
    assert watch(lambda x: x + 1, torch.ones(8))[1].live_bytes == 32


def test_a_profiler_inside_is_refused():
    def f(x):
        with torch.autograd.profiler.profile():
            return x + 1

    with pytest.raises(RuntimeError, match="rofiler"):
        watch(f, torch.ones(3))
    assert watch(lambda x: x + 1, torch.ones(8))[1].live_bytes == 32


def test_random_numbers_and_gradients_are_not_disturbed():
    x = torch.ones(4, requires_grad=True)
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    (drawn, y), _ = watch(lambda x: (torch.rand(3), x * 2), x)
    assert torch.equal(drawn, expected)
    y.sum().backward()
    assert torch.equal(x.grad, torch.full((4,), 2.0))


def test_watching_costs_little():
    x = torch.ones(8)
    watch(torch.neg, x)
    laps = []
    for _ in range(5):
        start = time.perf_counter()
        watch(torch.neg, x)
        laps.append(time.perf_counter() - start)
    assert min(laps) < 0.03


def test_the_compiler_is_not_imported():
    # torch imports it for each mode that does not say otherwise: a second.
    program = (
        "import sys, torch; from harness.testing.watching import watch; "
        "watch(torch.neg, torch.ones(3)); raise SystemExit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], env=ENVIRONMENT).returncode == 0


def test_arguments_are_searched_for_tensors():
    x = torch.ones(3)
    module = torch.nn.Linear(2, 2)
    found = list(watching._tensors(({"a": [x]}, module, lambda: x, 3)))
    assert sum(t is x for t in found) == 2 and any(t is module.weight for t in found)


IN_A_FUNCTION = """
import torch, triton, triton.language as tl
from harness.kernels.interpreter.install import install
from harness.testing import watch
install()

@triton.jit
def double(x_ptr, out_ptr, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out_ptr + i, 2 * tl.load(x_ptr + i, mask=i < n, other=0.0), mask=i < n)

class Double(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        out = torch.empty_like(x)
        double[(4,)](x, out, 2048, BLOCK=512)
        return out

    @staticmethod
    def backward(ctx, dy):
        return Double.forward(ctx, dy)

for _ in range(40):
    x = torch.ones(2048, requires_grad=True)
    y, forward = watch(Double.apply, x)
    _, backward = watch(torch.autograd.grad, y, x, torch.ones(2048))
    assert forward.peak_bytes == backward.peak_bytes == 8192, (forward, backward)
"""


def test_a_kernel_inside_of_an_autograd_function(tmp_path):
    """Torch's profiler may not be stopped there: of such calls one in thirty ended the process."""
    path = tmp_path / "double.py"
    path.write_text(IN_A_FUNCTION, encoding="utf-8")
    environment = {**ENVIRONMENT, "TRITON_INTERPRET": "1"}
    done = subprocess.run([sys.executable, path], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
