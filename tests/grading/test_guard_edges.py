"""The guard's smaller promises: whose allocations are filled, what is borrowed, when it rests."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch.overrides import _get_current_function_mode_stack
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from harness.grading import guard as module
from harness.grading.guard import Refused, guard, is_own

SOURCE = "import torch\ndef make(): return torch.empty(8)\ndef soft(x): return x.softmax(-1)"
OTHERS = (str(Path(__file__).parent) + "/",)


@pytest.fixture
def graded(tmp_path: Path) -> ModuleType:
    file = tmp_path / "day.py"
    found = ModuleType("graded")
    found.__file__ = str(file)
    exec(compile(SOURCE, str(file), "exec"), vars(found))
    return found


def modes() -> int:
    return len(_get_current_function_mode_stack()) + len(_get_current_dispatch_mode_stack())


def test_without_a_rule_there_is_no_mode(graded: ModuleType) -> None:
    files, before = frozenset({str(graded.__file__)}), modes()
    with guard(files, OTHERS):
        assert modes() == before
    for rules in ({"ban": ("exp",)}, {"kernels_only": True}):
        with guard(files, OTHERS, **rules):  # type: ignore[arg-type]
            assert modes() == before + 2
        assert modes() == before


def test_only_the_answers_allocations_are_filled(
    graded: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled: list[torch.Tensor] = []
    monkeypatch.setattr(module, "_poison", filled.append)
    with guard(frozenset({str(graded.__file__)}), OTHERS, kernels_only=True):
        torch.empty(3), torch.zeros(3) + 1
        assert not filled
        found = graded.make()
    assert [tensor.data_ptr() for tensor in filled] == [found.data_ptr()]


def test_what_is_no_tensor_is_not_filled() -> None:
    module._poison("text")
    module._poison(None)


def test_a_ban_names_what_was_called(graded: ModuleType) -> None:
    with (
        guard(frozenset({str(graded.__file__)}), OTHERS, ban=("_softmax_",)),
        pytest.raises(Refused) as error,
    ):
        graded.soft(torch.ones(3))
    assert "`softmax` is refused" in str(error.value)


class WithFunc:
    """Not functools.partial, though it has a ``func``."""

    func = 3


@pytest.mark.parametrize(
    ("value", "own"),
    [("text".upper, False), (WithFunc(), True), (WithFunc, True), (len, False)],
)
def test_who_wrote_it(value: object, own: bool) -> None:
    assert is_own(value, "tracks.pytorch.day09") is own


@pytest.mark.parametrize(
    ("name", "same"),
    [
        ("_safe_softmax", "softmax"),
        ("special_logsumexp", "logsumexp"),
        ("native_layer_norm", "layer_norm"),
        ("_native_batch_norm_legit_no_training", "batch_norm"),
        ("_scaled_dot_product_flash_attention_for_cpu", "scaled_dot_product_attention"),
        ("log_softmax", "log_softmax"),
        ("softmax_backward_data", "softmax_backward_data"),
        ("max_pool2d", "max_pool2d"),
    ],
)
def test_near_names_are_one_operator(name: str, same: str) -> None:
    assert module._plain(name) == same


LEAVING = """import torch
import numpy
from harness.testing import watch
def numbers(x): return x.tolist()
def array(x): return numpy.asarray(x)
def numpys(x): return x.numpy()
def shared(x): return numpy.from_dlpack(x)
def shown(x): return repr(x)
def tool(x): return watch(torch.exp, x)
"""


@pytest.mark.parametrize("name", ["numbers", "array", "numpys", "shared", "tool"])
def test_values_do_not_leave_a_launcher(name: str, tmp_path: Path) -> None:
    """Neither for numpy or Python, nor through a tool of the tests that calls what it is given."""
    file = str(tmp_path / "day.py")
    found = ModuleType("graded")
    exec(compile(LEAVING, file, "exec"), vars(found))
    harness = str(Path(module.__file__).parents[1]) + "/"
    with guard(frozenset({file}), (*OTHERS, harness), kernels_only=True):
        with pytest.raises(Refused):
            getattr(found, name)(torch.ones(3))
        assert found.shown(torch.ones(3)) == "tensor([1., 1., 1.])"
        assert torch.ones(3).tolist() == [1.0] * 3
    with guard(frozenset({file}), OTHERS, ban=("softmax",)):
        assert found.numbers(torch.ones(1)) == [1.0]


def test_who_is_watched_is_known(graded: ModuleType) -> None:
    assert not module.watching()
    with guard(frozenset({str(graded.__file__)}), OTHERS, ban=("exp",)):
        assert module.watching()
    with guard(frozenset({str(graded.__file__)}), OTHERS):
        assert not module.watching()
