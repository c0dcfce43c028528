"""Each habit does to a right function what its name says, and notes whether that is a mistake."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from harness.mutate.habit_wrapper import wear
from harness.mutate.habits import HABITS, with_habit
from harness.testing import watch


class Pair(NamedTuple):
    twice: torch.Tensor
    number: float


@pytest.fixture
def worn(tmp_path: Path) -> Any:
    """``worn(habit, function)`` → the function with the habit; ``worn.notes()`` → its letters."""

    class Worn:
        record = str(tmp_path / "calls")

        def __call__(self, habit: str, function: Any, **module: Any) -> Any:
            (tmp_path / "calls").write_text("")
            module[function.__name__] = function
            return wear(module, function.__name__, habit, self.record)

        def notes(self) -> str:
            return (tmp_path / "calls").read_text()

    return Worn()


def thirds(x: Any) -> Any:
    return x / 3


def test_values(worn: Any) -> None:
    x = torch.tensor([1.0, 2.0])
    assert worn("zeros", thirds)(x).tolist() == [0, 0]
    assert worn("input", thirds)(x) is x
    assert worn("none", thirds)(x) is None
    assert worn("dtype", thirds)(x).dtype == torch.float64
    assert worn("dtype", thirds)(np.ones(2)).dtype == np.float32
    assert worn.notes() == "c"


def test_float16_keeps_the_dtype_and_the_magnitude(worn: Any) -> None:
    for x in (torch.tensor([1e-9, 3e9, torch.inf]), np.array([1e-9, 3e9, np.inf])):
        rounded = worn("float16", thirds)(x)
        exact = thirds(x)
        assert rounded.dtype == exact.dtype
        error = abs(rounded[:2] - exact[:2]) / exact[:2]
        assert 1e-5 < error.max() < 2**-11
        assert rounded[2] == exact[2]
        assert worn.notes() == "c"
    assert 1e-5 < abs(worn("float16", thirds)(1.0) * 3 - 1) < 2**-11
    worn("float16", thirds)(torch.tensor([3.0]))
    assert worn.notes() == "s", "1.0 is the same in float16"


def test_gradients(worn: Any) -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    assert not worn("detached", thirds)(x).requires_grad
    y = worn("zero gradient", thirds)(x)
    assert torch.equal(y, thirds(x))
    y.sum().backward()
    assert x.grad is not None and x.grad.tolist() == [0, 0]
    worn("zero gradient", thirds)(x.detach())
    assert worn.notes() == "s", "nobody asked for a gradient"


def test_memory(worn: Any) -> None:
    def copied(x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    x = torch.tensor([3.0, 6.0])
    assert worn("alias", copied)(x).data_ptr() == x.data_ptr()
    assert worn.notes() == "c"
    worn("alias", thirds)(x)
    assert worn.notes() == "d"
    worn("alias", thirds)(torch.zeros(2))
    assert worn.notes() == "c", "0 / 3 is the input's own value"
    assert worn("in place", thirds)(x) is x
    assert x.tolist() == [1, 2]
    fixed = np.ones(2)
    fixed.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        worn("in place", thirds)(fixed)


def test_examples_are_all_that_works(worn: Any) -> None:
    def test_visible() -> None:
        module["thirds"](torch.ones(2))
        raise RuntimeError("what follows an example's calls does not matter")

    module: dict[str, Any] = {"thirds": thirds, "test_visible": test_visible}
    function = wear(module, "thirds", "examples", worn.record)
    assert torch.equal(function(torch.full((2,), 6.0)), torch.full((2,), 2.0))
    assert function(torch.full((3,), 6.0)).tolist() == [0, 0, 0]
    worn("examples", thirds)(torch.ones(2))
    assert worn.notes() == "e", "no example calls it"


def test_results_of_any_form(worn: Any) -> None:
    def several(x: torch.Tensor) -> Any:
        return {"a": [x + 1, (Pair(2 * x, 0.5), "text", 3)]}

    x = torch.ones(2)
    first, (pair, text, number) = worn("zeros", several)(x)["a"]
    assert first.tolist() == pair.twice.tolist() == [0, 0]
    assert isinstance(pair, Pair)
    assert (pair.number, text, number) == (0.0, "text", 3)

    def later(x: torch.Tensor) -> Any:
        return lambda y: x + y

    assert worn("zeros", later)(x)(x).tolist() == [0, 0]
    assert worn.notes().endswith("c")


def test_random_values_have_no_accuracy(worn: Any) -> None:
    def noise(x: torch.Tensor) -> torch.Tensor:
        return x + torch.rand(2)

    worn("float16", noise)(torch.zeros(2))
    assert worn.notes() == "r"
    worn("zeros", noise)(torch.zeros(2))
    assert worn.notes() == "c"


def test_classes_are_worn_where_they_are_called(worn: Any) -> None:
    class Third(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x / 3

    class Store:
        def put(self, x: torch.Tensor) -> None: ...

    assert worn("zeros", Third)()(torch.ones(2)).tolist() == [0, 0]
    worn("zeros", Store)()
    assert worn.notes() == "n"


def test_the_control_changes_nothing(worn: Any) -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y = worn("control", thirds)(x)
    assert torch.equal(y, x / 3) and y.requires_grad
    assert x.tolist() == [1, 2]


@pytest.mark.parametrize("habit", ["zeros", "float16", "in place", "control"])
def test_what_the_wrapper_does_is_not_counted(habit: str, worn: Any) -> None:
    x = torch.ones(1000)
    _, plain = watch(thirds, x)
    _, seen = watch(worn(habit, thirds), x)
    assert seen.operators == plain.operators
    assert seen.peak_bytes == plain.peak_bytes > 0


def test_every_habit_is_put_around_by_appended_code() -> None:
    for habit in HABITS:
        text = with_habit("def f(): ...\n", "f", habit, Path("/x"))
        compile(text, "day01.py", "exec")
        assert text.startswith("def f(): ...\n") and f"'{habit}'" in text
