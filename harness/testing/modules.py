"""Helpers for modules of torch: weights that hide nothing, and the same under torch.compile."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any


def random_weights(module: Any, rng: Any, std: float = 2.0) -> Any:
    """Weights that make scores of about ±4, and norms that scale and shift: nothing is neutral, so
    that a wrong mask, scale, axis or eps shows everywhere. → the module, changed in place.

    Matrices have the standard deviation ``std`` / √columns, all else 0.5; a norm's weights lie
    around 1.
    """
    import torch

    with torch.no_grad():
        for name, p in module.named_parameters():
            spread = std / math.sqrt(p.shape[1]) if p.dim() > 1 else 0.5
            mean = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            p.copy_(rng.normal(*p.shape, mean=mean, std=spread, dtype=p.dtype))
    return module


def in_float64() -> Any:
    """A context in which code of another library that works in float32 in places (``x.float()``,
    ``dtype=torch.float32``) does so in float64: then what is compared has float64's digits."""
    import torch
    from torch.overrides import TorchFunctionMode

    def wide(x: Any) -> Any:
        return torch.float64 if x is torch.float32 else x

    class InFloat64(TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            if function is torch.Tensor.float:
                function = torch.Tensor.double
            return function(*map(wide, args), **{k: wide(v) for k, v in (kwargs or {}).items()})

    return InFloat64()


def same_compiled(
    f: Callable[..., Any],
    arguments: Sequence[Any],
    parameters: Sequence[Any],
    name: str,
    limit: float = 1e-4,
) -> None:
    """The same values and gradients under torch.compile, without a break of the graph.

    ``limit``: how far off, as a share of the length of what is right.
    """
    import torch

    compiled = torch.compile(f, backend="aot_eager", fullgraph=True, dynamic=False)
    results = []
    for g in (f, compiled):
        out = g(*arguments)
        grads = torch.autograd.grad(out.float().square().sum(), parameters)
        results.append([out.detach(), *grads])
    for what, part in (("result is", slice(1)), ("gradients are", slice(1, None))):
        wanted, got = (torch.cat([x.double().flatten() for x in r[part]]) for r in results)
        error = ((got - wanted).norm() / wanted.norm()).item()
        assert error < limit, f"compiled {name}: the {what} off by {error:.2g} of their length"
