"""torch's own samples for optimisers (``optim_db``), on the library of the Autodiff track.

A sample is a set of options. Both libraries take ``STEPS`` steps with it on parameters of several
shapes, in two groups, in float64. In the middle the optimisers are saved, and each library goes on
from the other's state with a new optimiser. Losses and parameters have to be torch's after each
step, the whole state and all settings at the end.
"""

from __future__ import annotations

import copy
import types
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from tests.content.samples import Found, LeftOut, bound, internal, mapped, same

STEPS = 12
SHAPES = ((), (3,), (2, 4), (0,), (5,))
"""Of the parameters. The last two are a group with another learning rate."""


def optim_db() -> list[Any]:
    return list(internal("common_optimizers").optim_db)


def started(make: Callable[..., Any], parameters: list[Any], options: dict[str, Any]) -> Any:
    groups = [{"params": parameters[:3]}, {"params": parameters[3:], "lr": 0.05}]
    return make(groups, **options)


def stepped(optimizer: Any, parameters: Sequence[Any], slopes: Sequence[Any]) -> Any:
    """A step with a closure. A parameter whose slope is None gets no gradient. → the loss."""

    def loss() -> Any:
        optimizer.zero_grad()
        pairs = zip(parameters, slopes, strict=True)
        total = sum((p.sin() * slope).sum() for p, slope in pairs if slope is not None)
        total.backward()
        return total

    return optimizer.step(loss)


def one_sample(mine: Any, theirs: Any, options: dict[str, Any], day: types.ModuleType) -> str:
    """→ what is wrong, or nothing."""
    for name, value in options.items():
        if isinstance(value, torch.Tensor):
            raise LeftOut(f"a tensor as {name}")
    bound(mine, [[]], options)
    generator = np.random.default_rng(0)
    first = [generator.normal(size=shape) for shape in SHAPES]
    ours = [day.Tensor(x, requires_grad=True) for x in first]
    right = [torch.tensor(x, requires_grad=True) for x in first]
    own, other = started(mine, ours, options), started(theirs, right, options)
    for step in range(STEPS):
        slopes: list[Any] = [np.asarray(generator.normal(size=shape)) for shape in SHAPES]
        if step < 2:
            slopes[0] = None  # its first gradient comes later than the others'
        loss = stepped(own, ours, [None if s is None else day.Tensor(s) for s in slopes])
        wanted = stepped(other, right, [None if s is None else torch.tensor(s) for s in slopes])
        wrong = same(loss.data, wanted, f"step {step}: the loss")
        for i, (p, q) in enumerate(zip(ours, right, strict=True)):
            wrong = wrong or same(p.data, q, f"step {step}: parameter {i}")
        if wrong:
            return wrong
        if step == STEPS // 2:
            saved, torchs = own.state_dict(), copy.deepcopy(other.state_dict())
            own, other = started(mine, ours, {}), started(theirs, right, {})
            own.load_state_dict(torchs)
            other.load_state_dict(mapped(saved, lambda x: torch.from_numpy(x.data), day.Tensor))
    return states(own.state_dict(), other.state_dict(), ["params", *own.defaults])


def states(own: dict[str, Any], other: dict[str, Any], settings: Sequence[str]) -> str:
    """Two states of optimisers at the end. Settings that only torch has are of no interest."""
    for group, wanted in zip(own["param_groups"], other["param_groups"], strict=True):
        for name in settings:
            if group[name] != wanted[name]:
                return f"{name} is {group[name]} in the saved state, not {wanted[name]}"
    if own["state"].keys() != other["state"].keys():
        return f"{list(own['state'])} have a state, not {list(other['state'])}"
    for number, values in own["state"].items():
        expected = other["state"][number]
        if values.keys() != expected.keys():
            return f"the state of {number} has {list(values)}, not {list(expected)}"
        for name, value in values.items():
            wrong = same(value.data, expected[name], f"{name} of {number}")
            if wrong:
                return wrong
    return ""


def check(info: Any, cls: Any, day: types.ModuleType) -> Found:
    """All samples of an optimiser."""
    found = Found(f"optim.{info.name}")
    for sample in info.optim_inputs_func(device="cpu"):
        try:
            wrong = one_sample(cls, info.optim_cls, sample.kwargs, day)
        except LeftOut as reason:
            found.left_out[str(reason)] += 1
            continue
        except Exception as error:
            wrong = f"{type(error).__name__}: {error}"
        if wrong:
            found.failures.append(f"{found.name}, {sample.desc}: {wrong}")
        else:
            found.agreed += 1
    return found


def all_of(day: types.ModuleType) -> list[Found]:
    """Every optimiser that both have, in torch's order."""
    both = (info for info in optim_db() if info.name in day.optim.__all__)
    return [check(info, getattr(day.optim, info.name), day) for info in both]
