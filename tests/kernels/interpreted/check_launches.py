"""Reports of launches, tuning without a clock, wild kernels that crash nothing, the self-test."""

from __future__ import annotations

import random
import time
import tracemalloc

import pytest
import torch

from harness.kernels import interpreter
from harness.kernels.interpreter import selftest

interpreter.install()

import triton  # noqa: E402  kernels are defined once the interpreter is ready
import triton.language as tl  # noqa: E402


@pytest.fixture(autouse=True)
def fresh():
    interpreter.reset()


@triton.jit
def fill_some(x, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(x + i, tl.program_id(0), mask=i < n)


def test_report_says_who_wrote_what() -> None:
    x = torch.zeros(10, dtype=torch.int32)
    fill_some[(2,)](x, 7, BLOCK=4)
    (launch,) = interpreter.launch_report()
    assert (launch.kernel, launch.grid, launch.programs) == ("fill_some", (2,), 2)
    assert launch.writer("x").tolist() == [0, 0, 0, 0, 1, 1, 1, -1, -1, -1]
    (argument,) = launch.arguments
    assert (argument.written, argument.unwritten, argument.programs) == (7, 3, 2)
    assert argument.writers == ((0,), (1,))


@triton.jit
def copy_two(x, y, stride, N: tl.constexpr):
    i = tl.arange(0, N)
    tl.store(y + i, tl.load(x + i * stride))


def test_who_wrote_a_wide_view_costs_what_it_holds() -> None:
    """Two elements, 16 MB apart, which nobody wrote."""
    x, y = torch.zeros(2**22 + 1)[:: 2**22], torch.zeros(2)
    copy_two[(1,)](x, y, x.stride(0), N=2)
    (launch,) = interpreter.launch_report()
    tracemalloc.start()
    assert launch.writer("x").tolist() == [-1, -1]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**20


def test_never_written_adds_launches_up() -> None:
    x = torch.empty(4, 5, dtype=torch.int32)
    assert interpreter.never_written(x) is None
    fill_some[(1,)](x, 8, BLOCK=8)
    seen = interpreter.never_written(x)
    assert seen is not None and seen.count == 12
    assert seen.first[:2] == ((1, 3), (1, 4))
    assert str(seen) == (
        "12 of 20 elements were never written by `fill_some` (grid (1,)): first at [1, 3], "
        "[1, 4], [2, 0]."
    )
    fill_some[(1,)](x.view(-1)[8:], 12, BLOCK=16)
    after = interpreter.never_written(x)
    assert after is not None and after.count == 0
    column = interpreter.never_written(x[:, 1:3])
    assert column is not None and (column.count, column.elements) == (0, 8)


def test_never_written_of_a_strided_view_and_of_other_types() -> None:
    x = torch.empty(8, dtype=torch.float64)
    fill_some[(1,)](x.view(torch.float32), 6, BLOCK=8)
    seen = interpreter.never_written(x)
    assert seen is not None and seen.count == 5
    assert interpreter.never_written(x[::2]).count == 2


def test_a_new_tensor_at_an_old_address_is_not_taken_for_written() -> None:
    for _ in range(20):
        x = torch.empty(100, dtype=torch.int32)
        assert interpreter.never_written(x) is None
        fill_some[(1,)](x, 100, BLOCK=128)
        del x


def test_atomics_count_as_written() -> None:
    @triton.jit
    def add(x):
        tl.atomic_add(x, 1)

    x = torch.zeros(2, dtype=torch.int32)
    add[(3,)](x)
    assert interpreter.launch_report()[-1].written("x").tolist() == [True, False]


def test_tuning_takes_the_first_configuration_that_is_valid() -> None:
    seen = []

    def prune(configs, named, **kwargs):
        seen.append(named["n"])
        return [config for config in configs if config.kwargs["BLOCK"] != 8]

    def hook(named, reset_only=False):
        seen.append(reset_only)

    @triton.autotune(
        [triton.Config({"BLOCK": size}) for size in (8, 16, 32)],
        key=["n"],
        prune_configs_by={"early_config_prune": prune},
        pre_hook=hook,
    )
    @triton.jit
    def tuned(x, n, BLOCK: tl.constexpr):
        tl.static_assert(BLOCK > 16)
        i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
        tl.store(x + i, BLOCK, mask=i < n)

    x = torch.zeros(40, dtype=torch.int32)
    grids = []

    def grid(meta):
        grids.append(meta["BLOCK"])
        return (triton.cdiv(40, meta["BLOCK"]),)

    tuned[grid](x, 40)
    assert x.tolist() == [32] * 40
    assert grids == [32]
    assert tuned.best_config.kwargs == {"BLOCK": 32}
    tuned[grid](x, 40)
    assert seen[0] == 40 and seen.count(40) == 1, "pruned once per key"
    assert seen[1:] == [True, True], "the hook runs for each configuration tried, then no more"


def test_restore_value_is_enough_for_a_kernel_that_works_in_place() -> None:
    @triton.autotune(
        [triton.Config({"BLOCK": 16}), triton.Config({"BLOCK": 32})],
        key=[],
        restore_value=["x"],
    )
    @triton.jit
    def double(x, n, BLOCK: tl.constexpr):
        i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
        tl.store(x + i, tl.load(x + i, mask=i < n) * 2, mask=i < n)

    x = torch.ones(20)
    double[lambda meta: (triton.cdiv(20, meta["BLOCK"]),)](x, 20)
    assert x.tolist() == [2.0] * 20


def test_no_wild_access_harms_the_process() -> None:
    """Offsets of any size and sign: an error each time, or the right answer."""

    @triton.jit
    def wild(x, out, offset, step, BLOCK: tl.constexpr):
        i = tl.arange(0, BLOCK)
        value = tl.load(x + offset + i * step)
        tl.store(out + offset + i * step, value)

    rng = random.Random(5)
    outcomes = set()
    for _ in range(60):
        x, out = torch.arange(16.0), torch.full((16,), -1.0)
        size = rng.choice([3, 20, 2**20, 2**31 - 1, 2**40, 2**62])
        offset, step = rng.randint(-size, size), rng.choice([0, 1, -1, 2**29, 2**33])
        try:
            wild[(1,)](x, out, offset, step, BLOCK=4)
        except interpreter.KernelError as error:
            assert error.kind == "out of bounds"
            assert (out == -1).all() and error.tensor in ("x", "out")
            outcomes.add("refused")
        else:
            places = [offset + k * step for k in range(4)]
            assert all(0 <= place < 16 for place in places)
            outcomes.add("right")
    assert outcomes == {"refused", "right"}


def test_errors_stop_before_memory_is_touched() -> None:
    @triton.jit
    def past(x, BLOCK: tl.constexpr):
        tl.store(x + tl.arange(0, BLOCK), 9.0)

    x = torch.zeros(7)
    with pytest.raises(interpreter.KernelError) as caught:
        past[(1,)](x, BLOCK=8)
    assert x.tolist() == [0.0] * 7
    assert caught.value.data["indices"] == [7]
    assert caught.value.program == (0,)


def test_language_is_as_before_after_a_launch_and_after_an_error() -> None:
    before = (tl.load, tl.core.load, tl.tensor.__add__, tl.range, tl.core.reduce)
    test_report_says_who_wrote_what()
    test_errors_stop_before_memory_is_touched()
    assert (tl.load, tl.core.load, tl.tensor.__add__, tl.range, tl.core.reduce) == before


def test_kernels_leave_their_module_alone() -> None:
    test_report_says_who_wrote_what()
    assert "TensorHandle" not in globals() and "np" not in globals()


def test_kernel_in_a_function_sees_the_constants_around_it() -> None:
    SCALE = tl.constexpr(3)

    @triton.jit
    def scaled(x, BLOCK: tl.constexpr):
        i = tl.arange(0, BLOCK)
        tl.store(x + i, i * SCALE)

    x = torch.zeros(4, dtype=torch.int32)
    scaled[(1,)](x, BLOCK=4)
    assert x.tolist() == [0, 3, 6, 9]


def test_self_test_is_quick_and_says_what_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    selftest.before()
    selftest.after()
    seconds = []
    for _ in range(5):
        start = time.process_time()
        selftest.before()
        selftest.after()
        seconds.append(time.process_time() - start)
    assert min(seconds) < 0.05
    from triton.runtime import interpreter as upstream

    monkeypatch.delattr(upstream.InterpreterBuilder, "create_masked_store")
    with pytest.raises(selftest.DoesNotFit, match=r"moved .*create_masked_store.*does not fit"):
        selftest.before()


def test_self_test_notices_accesses_that_bypass_the_checks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from harness.kernels.interpreter.checks import CheckedBuilder

    monkeypatch.setattr(
        CheckedBuilder,
        "create_masked_load",
        lambda self, ptrs, *rest: self.get_null_value(ptrs.get_element_ty()),
    )
    with pytest.raises(selftest.DoesNotFit, match="does not fit"):
        selftest.after()


def test_grid_rounded_down_leaves_the_tail_unwritten() -> None:
    x = torch.empty(100, dtype=torch.int32)
    fill_some[(100 // 32,)](x, 100, BLOCK=32)
    seen = interpreter.never_written(x)
    assert seen is not None and seen.first[0] == (96,)
    assert str(seen).startswith("4 of 100 elements were never written by `fill_some` (grid (3,))")


@triton.jit
def into_the_first(a_ptr, b_ptr, STORES: tl.constexpr):
    x = tl.load(a_ptr + tl.arange(0, 4))
    if STORES:
        tl.store(a_ptr + tl.arange(0, 4), x + 1)
    else:
        return x + 1


def test_where_nothing_was_written_it_is_said_what_was() -> None:
    a, b = torch.ones(4), torch.empty(4)
    into_the_first[(1,)](a, b, STORES=True)
    assert str(interpreter.never_written(b)).endswith("What was stored went into a_ptr.")
    assert interpreter.never_written(a).count == 0
    c = torch.empty(4)
    into_the_first[(1,)](a, c, STORES=False)
    told = "Nothing was stored at all. What a kernel returns is lost: tl.store writes."
    assert str(interpreter.never_written(c)).endswith(told)
    d = torch.empty(4)
    fill_some[(1,)](d, 0, BLOCK=4)
    assert str(interpreter.never_written(d)).endswith("2. Nothing was stored at all.")


def test_no_programs_write_nothing() -> None:
    x = torch.empty(3, dtype=torch.int32)
    fill_some[(0,)](x, 3, BLOCK=4)
    assert str(interpreter.never_written(x)) == (
        "3 of 3 elements were never written by `fill_some` (grid (0,)): first at 0, 1, 2."
    )
