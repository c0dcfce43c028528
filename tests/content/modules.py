"""torch's own samples for modules (``module_db``), on the library of the Autodiff track.

A module of the library is made with the same arguments, loads the state of torch's, and gets the
same inputs, contiguous or not, in both modes where they differ. Results, gradients of inputs and
parameters, and the buffers afterwards have to be torch's in float64, and so have the names in the
state, which torch loads back, and attributes that are called as an argument of the constructor.
"""

from __future__ import annotations

import copy
import inspect
import types
from typing import Any

import torch

from tests.content.samples import (
    Found,
    LeftOut,
    bound,
    compared,
    converted,
    internal,
    leaves_in,
    listed,
    mapped,
    same,
)  # fmt: skip


def module_db() -> list[Any]:
    return list(internal("common_modules").module_db)


def fresh(module: torch.nn.Module) -> None:
    """Values that no module starts with: a weight of ones or a bias of zeros hides an error."""
    for p in (*module.parameters(), *module.buffers()):
        if p.is_floating_point():
            torch.nn.init.uniform_(p, 0.5, 1.5)


def one_sample(
    info: Any, cls: Any, sample: Any, training: bool, apart: bool, day: types.ModuleType
) -> str:
    """One sample on both; with ``apart`` its inputs are not contiguous, and a deep copy of the
    module gets them. → what is wrong, or nothing."""
    made: dict[int, Any] = {}
    make, call = sample.constructor_input, sample.forward_input
    args = bound(cls, make.args, make.kwargs)
    mine = cls(*converted(args.args, made, day), **converted(args.kwargs, made, day)).double()
    theirs = info.module_cls(*make.args, **make.kwargs).double()
    for name in inspect.signature(cls).parameters:
        value, own_value = getattr(theirs, name, None), getattr(mine, name, None)
        if not isinstance(value, torch.Tensor) and own_value != value:
            return f"the attribute {name} is {own_value}, not {value}"
    fresh(theirs)
    mine.train(training)
    theirs.train(training)
    if list(mine.state_dict()) != list(theirs.state_dict()):
        return f"the state has {list(mine.state_dict())}, not {list(theirs.state_dict())}"
    mine.load_state_dict(theirs.state_dict())
    mine = copy.deepcopy(mine) if apart else mine
    inputs = [call.args, call.kwargs]
    if apart:
        inputs = mapped(inputs, internal("common_utils").noncontiguous_like)
    own_args, own_kwargs = converted(inputs, made, day)
    results, wanted = listed(mine(*own_args, **own_kwargs)), listed(theirs(*inputs[0], **inputs[1]))
    leaves = [
        (f"gradient of input {i}", made.get(id(leaf)), leaf)
        for i, leaf in enumerate(leaves_in(inputs))
    ]
    own = dict(mine.named_parameters())
    leaves += [(f"gradient of {name}", own[name], p) for name, p in theirs.named_parameters()]
    wrong = compared(results, wanted, leaves)
    state = mine.state_dict()
    for name, tensor in theirs.state_dict().items():
        wrong = wrong or same(state[name].data, tensor, f"{name} afterwards")
    theirs.load_state_dict({name: torch.from_numpy(x.data) for name, x in state.items()})
    return wrong


def check(info: Any, cls: Any, day: types.ModuleType) -> Found:
    """All samples of a module, in both modes where they differ, contiguous or not."""
    found = Found(info.name)
    torch.manual_seed(0)
    for training in (True, False) if info.train_and_eval_differ else (True,):
        samples = info.module_inputs_func(
            info, device="cpu", dtype=torch.float64, requires_grad=True, training=training
        )
        for number, sample in enumerate(samples):
            for apart in (False, True):
                try:
                    wrong = one_sample(info, cls, sample, training, apart, day)
                except LeftOut as reason:
                    found.left_out[str(reason)] += 1
                    continue
                except Exception as error:
                    wrong = f"{type(error).__name__}: {error}"
                if wrong:
                    how = f"{'training' if training else 'eval'}{', not contiguous' * apart}"
                    found.failures.append(f"{info.name}, sample {number} ({how}): {wrong}")
                else:
                    found.agreed += 1
    return found


def all_of(day: types.ModuleType) -> list[Found]:
    """Every module that both have, in torch's order."""
    infos = [(info, info.name.removeprefix("nn.")) for info in module_db()]
    return [check(i, getattr(day.nn, name), day) for i, name in infos if name in day.nn.__all__]


def without_samples(day: types.ModuleType) -> list[str]:
    """The library's modules for which torch has no samples."""
    known = {info.name.removeprefix("nn.") for info in module_db()} | {"Module"}
    parts = [(name, getattr(day.nn, name)) for name in day.nn.__all__ if name not in known]
    return [n for n, x in parts if isinstance(x, type) and issubclass(x, day.nn.Module)]
