"""The library of Autodiff day 35 on torch's own samples; docs/operators.md counts what agrees."""

from __future__ import annotations

import inspect
import itertools
import math
import re
from collections.abc import Callable, Iterator
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from harness.grading import finder
from harness.protocol import SOLUTION

torch = pytest.importorskip("torch")
operators = pytest.importorskip("tests.content.operators")
modules, optimisers = operators.modules, operators.optimisers
F = torch.nn.functional

FEW = 12  # samples of an operator; python -m tests.content.operators takes all of them


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Of tensors as small as these several threads only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def day() -> Iterator[ModuleType]:
    with finder.use(finder.Choice(impl=SOLUTION)):
        yield operators.library()


@pytest.fixture(scope="module")
def found(day: ModuleType) -> list[Any]:
    result: list[Any] = operators.all_of(day, FEW)
    return result


@pytest.mark.filterwarnings("ignore")
def test_every_operator_agrees_with_torch(found: list[Any]) -> None:
    failures = [line for f in found for line in f.failures]
    assert not failures, "\n".join(failures)
    assert sum(f.agreed for f in found) > 500


def test_table_names_every_operator(found: list[Any]) -> None:
    text = operators.TABLE.read_text("utf-8").partition("## Modules")[0]
    rows = re.findall(r"^\| `([^`]+)` \|", text, re.M)
    assert rows == sorted(f.name for f in found), "write it: python -m tests.content.operators"


def test_a_wrong_operator_is_found(day: ModuleType) -> None:
    """A backward that is a little off, and one that forgets a broadcast axis."""
    (exp,) = (op for op in operators.op_db() if op.name == "exp")
    (add,) = (op for op in operators.op_db() if op.name == "add")
    assert not operators.check(exp, day.ops.exp, day).failures
    assert operators.check(exp, lambda x: day.ops.exp(x) * (1 + 1e-6), day).failures
    assert operators.check(add, lambda a, b: day.ops.add(a, b.detach()), day).failures


@pytest.mark.filterwarnings("ignore")
def test_every_module_and_optimiser_agrees_with_torch(day: ModuleType) -> None:
    """All samples, so that the page can be compared with what they give."""
    text, found = operators.rest(day)
    failures = [line for f in found for line in f.failures]
    assert not failures, "\n".join(failures)
    names = {f.name for f in found if f.agreed}
    assert {"nn.Conv2d", "nn.BatchNorm2d", "nn.MultiheadAttention", "optim.AdamW"} <= names
    page = operators.TABLE.read_text("utf-8")
    if operators.of_version() in page:
        assert text in page, "write it: python -m tests.content.operators"


@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 0, 3), (5,)])
def test_flatten_is_torchs(day: ModuleType, shape: tuple[int, ...]) -> None:
    """torch has no samples for it. All axes, also those that are not there."""
    x = np.arange(math.prod(shape), dtype=float).reshape(shape)
    for axes in itertools.product(range(-4, 4), repeat=2):
        try:
            wanted = torch.nn.Flatten(*axes)(torch.from_numpy(x)).numpy()
        except (IndexError, RuntimeError):
            with pytest.raises((IndexError, ValueError), match="Flatten"):
                day.nn.Flatten(*axes)(day.Tensor(x))
        else:
            found = day.nn.Flatten(*axes)(day.Tensor(x)).data
            assert found.shape == wanted.shape and np.array_equal(found, wanted), axes


def wrong_modules(nn: ModuleType) -> dict[str, tuple[str, type]]:
    """Of the module that is named first: what is wrong, and one that is."""

    class Slope(nn.Linear):
        def forward(self, input: Any) -> Any:
            return super().forward(input.detach() + (input - input.detach()) * (1 + 1e-6))

    class Still(nn.BatchNorm2d):
        def forward(self, input: Any) -> Any:
            before = {name: x.data.copy() for name, x in self.named_buffers()}
            result = super().forward(input)
            for name, x in self.named_buffers():
                x.data[...] = before[name]
            return result

    class Renamed(nn.LayerNorm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            named = list(self.named_parameters())
            self._parameters.clear()
            self._parameters.update({name.upper(): p for name, p in named})

    class Fixed(nn.Embedding):
        def forward(self, input: Any) -> Any:
            return super().forward(input).detach()

    return {
        "a gradient of the input": ("Linear", Slope), "statistics": ("BatchNorm2d", Still),
        "names in the state": ("LayerNorm", Renamed), "no gradient": ("Embedding", Fixed),
    }  # fmt: skip


def test_a_wrong_module_is_found(day: ModuleType) -> None:
    infos = {info.name: info for info in modules.module_db()}
    for what, (name, wrong) in wrong_modules(day.nn).items():
        assert modules.check(infos[f"nn.{name}"], wrong, day).failures, what
        assert not modules.check(infos[f"nn.{name}"], getattr(day.nn, name), day).failures


def test_a_wrong_optimiser_is_found(day: ModuleType) -> None:
    (info,) = (info for info in optimisers.optim_db() if info.name == "Adam")

    class Late(day.optim.Adam):
        """Takes the option amsgrad, and forgets it in the second half."""

        def load_state_dict(self, state: Any) -> None:
            super().load_state_dict(state)
            for group in self.param_groups:
                group["amsgrad"] = False

    class Rounded(day.optim.Adam):
        def update(self, p: Any, grad: Any, group: Any) -> None:
            super().update(p, grad.astype(np.float32).astype(p.dtype), group)

    class Forgetful(day.optim.Adam):
        def load_state_dict(self, state: Any) -> None:
            super().load_state_dict({**state, "state": {}})

    for wrong in (Late, Rounded, Forgetful):
        assert optimisers.check(info, wrong, day).failures, wrong.__name__


def by_position(f: Callable[..., Any]) -> list[str]:
    """The names of what may be given by position; none where torch's C has no signature."""
    try:
        parameters = inspect.signature(f).parameters.values()
    except ValueError:
        return []
    return [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]


def test_arguments_are_where_torch_has_them(day: ModuleType) -> None:
    """A script of torch's that gives them by position means the same here, and a module's input has
    its name."""
    nn, schedules = day.nn, day.optim.lr_scheduler
    pairs = {f"nn.{name}": (getattr(nn, name), getattr(torch.nn, name)) for name in nn.__all__}
    pairs = {name: both for name, both in pairs.items() if isinstance(both[0], type)}
    del pairs["nn.Parameter"]  # has a dtype more
    parts = [(name, both) for name, both in pairs.items() if hasattr(both[0], "forward")]
    pairs |= {f"{name}.forward": (a.forward, b.forward) for name, (a, b) in parts}
    for name in nn.functional.__all__:  # their first argument is x here, and has other names there
        first = [partial(f, None) for f in (getattr(nn.functional, name), getattr(F, name))]
        pairs[f"functional.{name}"] = (first[0], first[1])
    optimizers = [name for name in day.optim.__all__ if name != "lr_scheduler"]
    pairs |= {name: (getattr(day.optim, name), getattr(torch.optim, name)) for name in optimizers}
    for name in vars(schedules).keys() - {"LinearWarmup"}:
        pairs[name] = (getattr(schedules, name), getattr(torch.optim.lr_scheduler, name))
    for name, (mine, theirs) in pairs.items():
        ours, wanted = by_position(mine), by_position(theirs)
        assert not wanted or ours == wanted[: len(ours)], f"{name}: {ours}, not {wanted}"
    assert len(pairs) > 80
