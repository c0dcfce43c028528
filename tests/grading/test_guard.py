"""What graded code may call in torch, told apart from what its tests call."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F

from harness.curriculum import ROOT
from harness.grading.guard import Refused, guard, is_own
from harness.testing import watch

SOURCE = """
import torch
import torch.nn.functional as F
from torch import nn

def function(x): return torch.softmax(x, -1)
def method(x): return x.softmax(-1)
def functional(x): return F.softmax(x, dim=-1)
def module(x): return nn.Softmax(-1)(x)
def private(x): return torch._softmax(x, -1, False)
def operator(x): return torch.ops.aten.softmax.int(x, -1)
def by_hand(x):
    e = (x - x.amax(-1, keepdim=True)).exp()
    return e / e.sum(-1, keepdim=True)
def apply(f, x): return f(x)
def allocate(x): return torch.empty_like(x), torch.empty(3, dtype=torch.int32), x.new_empty(2)
def view(x): return x.T[1:].unsqueeze(0).expand(2, -1, -1), torch.zeros(2), x.stride()
def of(n, dtype): return torch.empty(n, dtype=dtype)
def compute(x): return x + 1
def copy(x): return x.contiguous()
def cast(x): return x.double()
def sdpa(x): return F.scaled_dot_product_attention(x, x, x)
"""
X = torch.randn(2, 3, 4)


@pytest.fixture(scope="module")
def graded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    file = tmp_path_factory.mktemp("graded") / "day.py"
    file.write_text(SOURCE)
    module = ModuleType("graded")
    module.__file__ = str(file)
    exec(compile(SOURCE, str(file), "exec"), vars(module))
    yield module


def guarded(graded: ModuleType, **rules: object) -> object:
    others = (str(Path(__file__).parent) + "/",)
    return guard(frozenset({str(graded.__file__)}), others, **rules)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "name", ["function", "method", "functional", "module", "private", "operator"]
)
def test_a_ban_holds_wherever_the_function_lives(graded: ModuleType, name: str) -> None:
    with guarded(graded, ban=("softmax",)), pytest.raises(Refused, match="softmax"):  # type: ignore[attr-defined]
        getattr(graded, name)(X)


def test_a_composite_operator_is_banned_by_its_own_name(graded: ModuleType) -> None:
    with (
        guarded(graded, ban=("scaled_dot_product_attention",)),  # type: ignore[attr-defined]
        pytest.raises(Refused),
    ):
        graded.sdpa(X)


def test_building_it_is_allowed_and_so_is_the_tests_own_call(graded: ModuleType) -> None:
    with guarded(graded, ban=("softmax",)):  # type: ignore[attr-defined]
        torch.testing.assert_close(graded.by_hand(X), F.softmax(X, dim=-1))


def test_a_function_handed_over_by_the_test_may_call_anything(graded: ModuleType) -> None:
    with guarded(graded, ban=("softmax",)):  # type: ignore[attr-defined]
        graded.apply(lambda x: x.softmax(-1), X)


@pytest.mark.parametrize("name", ["compute", "copy", "cast", "by_hand"])
def test_kernels_only_refuses_what_computes(graded: ModuleType, name: str) -> None:
    with guarded(graded, kernels_only=True), pytest.raises(Refused, match="own computation"):  # type: ignore[attr-defined]
        getattr(graded, name)(X.transpose(0, 1))


def test_kernels_only_allows_views_and_allocation(graded: ModuleType) -> None:
    with guarded(graded, kernels_only=True):  # type: ignore[attr-defined]
        graded.view(X[0])


def test_what_is_allowed_by_name_is_allowed(graded: ModuleType) -> None:
    with guarded(graded, kernels_only=True, allow=("add",)):  # type: ignore[attr-defined]
        assert torch.equal(graded.compute(X), X + 1)


def test_allocations_start_as_nan_and_ints_as_poison(graded: ModuleType) -> None:
    with guarded(graded, kernels_only=True):  # type: ignore[attr-defined]
        like, ints, new = graded.allocate(X)
        mine = torch.zeros(2)
    assert like.isnan().all()
    assert new.isnan().all()
    assert (ints == ints[0]).all()
    assert ints[0] != 0
    assert not mine.isnan().any()


def test_what_is_watched_is_guarded_too(graded: ModuleType) -> None:
    """``watch`` lays its own modes over the guard's: they pass calls on and decide nothing."""
    others = (str(Path(__file__).parent) + "/", str(ROOT / "harness") + "/")
    with guard(frozenset({str(graded.__file__)}), others, kernels_only=True):
        (like, _, new), _ = watch(graded.allocate, X)
        mine, _ = watch(lambda: torch.ones(2) + 1)
        with pytest.raises(Refused, match="own computation"):
            watch(graded.compute, X)
    assert like.isnan().all()
    assert new.isnan().all()
    assert not mine.isnan().any()
    with (
        guard(frozenset({str(graded.__file__)}), others, ban=("softmax",)),
        pytest.raises(Refused, match="softmax"),
    ):
        watch(graded.functional, X)


@pytest.mark.parametrize(
    ("dtype", "start"),
    [
        (torch.int64, 0x5EED),
        (torch.int32, 0x5EED),
        (torch.int16, 0x5EED),
        (torch.int8, 0x6D),
        (torch.uint8, 0x6D),
        (torch.float16, None),
        (torch.bfloat16, None),
        (torch.float64, None),
        (torch.complex64, None),
    ],
)
def test_what_each_kind_of_number_starts_as(
    graded: ModuleType, dtype: torch.dtype, start: int | None
) -> None:
    """Right values may stand in memory that is handed out again: nothing may start as it was."""
    for _ in range(5):
        torch.zeros(64, dtype=dtype)
        with guarded(graded, kernels_only=True):  # type: ignore[attr-defined]
            found = graded.of(64, dtype)
        assert found.dtype == dtype
        assert found.isnan().all() if start is None else found.tolist() == [start] * 64


def test_what_has_no_values_to_poison_is_left_alone(graded: ModuleType) -> None:
    with guarded(graded, kernels_only=True):  # type: ignore[attr-defined]
        assert graded.of(0, torch.float32).numel() == 0
        assert graded.of(3, torch.bool).dtype == torch.bool
    with guarded(graded, ban=("softmax",)):  # type: ignore[attr-defined]
        assert graded.of(3, torch.float32).isnan().all()


def test_a_call_from_no_known_file_is_not_the_learners(graded: ModuleType) -> None:
    """Neither graded code nor a test nor triton: torch's own threads, a library, the prompt."""
    code = "import torch\ndef f(): return torch.empty(64, dtype=torch.int32) * 0 + torch.ones(64)"
    nobody: dict[str, object] = {}
    exec(compile(code, "/nowhere/library.py", "exec"), nobody)
    found: list[torch.Tensor] = []

    def alone() -> None:  # a thread's stack has no test and no answer below it
        with guard(frozenset({str(graded.__file__)}), (), kernels_only=True):
            found.append(nobody["f"]())  # type: ignore[operator]

    thread = threading.Thread(target=alone)
    thread.start()
    thread.join()
    assert found and found[0].tolist() == [1.0] * 64


@pytest.mark.parametrize(
    ("value", "own"),
    [
        (torch.softmax, False),
        (F.softmax, False),
        (functools.partial(torch.softmax, dim=-1), False),
        (torch.nn.Linear, False),
        (max, False),
        (lambda x: x, True),
    ],
)
def test_a_borrowed_function_is_told_from_an_own_one(
    value: Callable[..., object], own: bool
) -> None:
    assert is_own(value, "tracks.pytorch.day09") is own
