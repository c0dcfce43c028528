"""What the comparisons with torch's own samples share: operators.py, modules.py, optimisers.py.

A sample is what torch's own tests use as an input. It goes through torch and through the library of
the Autodiff track, and both must agree. One that asks for what the library does not have is
``LeftOut``, and counted with its reason.
"""

from __future__ import annotations

import collections
import importlib
import inspect
import sys
import types
import unittest
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch


def library() -> types.ModuleType:
    """``tracks.autodiff.day35``; in a block that chooses the references, theirs."""
    return importlib.import_module("tracks.autodiff.day35")


def internal(name: str) -> Any:
    """A module of torch's tests. One of their imports wants a package that nothing here needs."""
    if "expecttest" not in sys.modules:
        try:
            importlib.import_module("expecttest")
        except ModuleNotFoundError:
            stub = types.ModuleType("expecttest")
            stub.TestCase = type("TestCase", (unittest.TestCase,), {})  # type: ignore[attr-defined]
            sys.modules["expecttest"] = stub
    return importlib.import_module(f"torch.testing._internal.{name}")


class LeftOut(Exception):
    """The library does not have what a sample asks for."""


@dataclass
class Found:
    """What came of the samples of one operator, module or optimiser."""

    name: str
    agreed: int = 0
    left_out: collections.Counter[str] = field(default_factory=collections.Counter)
    failures: list[str] = field(default_factory=list)


DEFAULTS: dict[str, Any] = {
    "ceil_mode": False, "return_indices": False, "dtype": None,
    "max_norm": None, "norm_type": 2.0, "scale_grad_by_freq": False, "sparse": False,
    "add_bias_kv": False, "add_zero_attn": False,
}  # fmt: skip
"""Arguments that the library does not have: with this value they ask for nothing."""


def bound(
    f: Callable[..., Any], args: Sequence[Any], options: dict[str, Any]
) -> inspect.BoundArguments:
    """The arguments as ``f`` takes them. LeftOut for one that it does not have, unless that asks
    for nothing."""
    signature = inspect.signature(f)
    known = {
        name: value
        for name, value in options.items()
        if name in signature.parameters or name not in DEFAULTS or value != DEFAULTS[name]
    }
    unknown = [n for n in known if n in DEFAULTS and n not in signature.parameters]
    if unknown:
        raise LeftOut(f"argument {unknown[0]}")
    try:
        return signature.bind(*args, **known)
    except TypeError as error:
        raise LeftOut(reason_of(error)) from None


def reason_of(error: TypeError) -> str:
    """Of an argument that a function does not have: which one."""
    text = str(error)
    if "unexpected keyword argument" in text:
        return f"argument {text.split(chr(39))[1]}"
    return "arguments by position" if "too many positional" in text else text


def tensors_in(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from tensors_in(part)
    elif isinstance(value, dict):
        yield from tensors_in(list(value.values()))


def leaves_in(value: Any) -> list[torch.Tensor]:
    """The tensors that want a gradient, each once."""
    return list({id(t): t for t in tensors_in(value) if t.requires_grad}.values())


def mapped(value: Any, f: Callable[[Any], Any], kind: type = torch.Tensor) -> Any:
    """``value`` with f(tensor) in the place of each tensor, which is of the ``kind``."""
    if isinstance(value, kind):
        return f(value)
    if isinstance(value, (list, tuple)):
        parts = [mapped(part, f, kind) for part in value]
        return parts if isinstance(value, list) else tuple(parts)
    if isinstance(value, dict):
        return {name: mapped(part, f, kind) for name, part in value.items()}
    return value


def converted(value: Any, made: dict[int, Any], day: types.ModuleType) -> Any:
    """Tensors of the library on the same strides, one for each of torch's, noted in ``made``."""

    def own(t: torch.Tensor) -> Any:
        if id(t) not in made:
            x = day.Tensor._made(t.detach().numpy())
            made[id(t)] = x.requires_grad_() if t.requires_grad else x
        return made[id(t)]

    return mapped(value, own)


def listed(results: Any) -> list[Any]:
    return list(results) if isinstance(results, (list, tuple)) else [results]


def same(ours: np.ndarray, theirs: torch.Tensor, what: str) -> str:
    """What is wrong, or nothing."""
    wanted = theirs.detach().numpy()
    if ours.shape != wanted.shape:
        return f"{what} has the shape {ours.shape}, not {wanted.shape}"
    if ours.dtype != wanted.dtype:
        return f"{what} is {ours.dtype}, not {wanted.dtype}"
    if wanted.dtype.kind != "f":
        return "" if np.array_equal(ours, wanted) else f"{what} is another"
    size = np.abs(wanted[np.isfinite(wanted)]).max(initial=1.0)
    if np.allclose(ours, wanted, rtol=1e-9, atol=1e-11 * size, equal_nan=True):
        return ""
    return f"{what} is off by {np.nanmax(np.abs(ours - wanted)):.2g}"


def compared(
    results: list[Any], wanted: list[Any], leaves: Sequence[tuple[str, Any, torch.Tensor]]
) -> str:
    """Values, and gradients of the leaves: a name, ours (or None), torch's. → what is wrong, or
    nothing."""
    if len(results) != len(wanted):
        return f"there are {len(results)} results, not {len(wanted)}"
    for i, (y, t) in enumerate(zip(results, wanted, strict=True)):
        wrong = same(np.asarray(y.data), t, f"result {i}")
        if wrong:
            return wrong
    pairs = [(y, t) for y, t in zip(results, wanted, strict=True) if t.requires_grad]
    if not pairs:
        return ""
    generator = np.random.default_rng(0)
    weights = [generator.uniform(0.5, 1.5, t.shape) for _, t in pairs]
    theirs = torch.autograd.grad(
        [t for _, t in pairs], [leaf for *_, leaf in leaves], [
            torch.tensor(w, dtype=t.dtype) for w, (_, t) in zip(weights, pairs, strict=True)
        ], allow_unused=True,
    )  # fmt: skip
    for (y, _), w in zip(pairs, weights, strict=True):
        if not y.requires_grad:
            return "a result requires no gradient"
        y.backward(y._made(w), retain_graph=True)
    for (name, own, leaf), right in zip(leaves, theirs, strict=True):
        grad = None if own is None else own.grad
        right = torch.zeros_like(leaf) if right is None else right
        wrong = same(np.zeros(leaf.shape) if grad is None else grad.data, right, name)
        if wrong:
            return wrong
    return ""


def table(kind: str, found: Sequence[Found]) -> str:
    rows = [f"| {kind} | Samples that agree | Left out | Why |", "|---|---:|---:|---|"]
    rows += [row(f) for f in sorted(found, key=lambda f: f.name)]
    agreed, left = sum(f.agreed for f in found), sum(sum(f.left_out.values()) for f in found)
    rows.append(f"| {len(found)} {kind.lower()}s | {agreed} | {left} | |")
    return "\n".join(rows)


def row(f: Found) -> str:
    why = ", ".join(f"{reason} ({n})" for reason, n in sorted(f.left_out.items()))
    return f"| `{f.name}` | {f.agreed} | {sum(f.left_out.values())} | {why} |"
