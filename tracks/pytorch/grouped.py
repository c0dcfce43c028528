"""Given: a product of many matrices at once, each with rows of its own, for day 30.

torch has it as torch._grouped_mm (torch.nn.functional.grouped_mm from 2.10 on), for some types and
layouts, and under torch.compile for bfloat16 alone. ``grouped_mm`` takes all of them: what torch's
does not take is done by one product for each group that has rows.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.flop_counter import flop_registry, register_flop_formula


def grouped_mm(x: torch.Tensor, weight: torch.Tensor, ends: torch.Tensor) -> torch.Tensor:
    """``x`` (rows, a), ``weight`` (groups, a, b) → (rows, b): every row times its group's matrix.

    The rows up to ends[0] are multiplied by weight[0], those from there up to ends[1] by weight[1],
    and so on. ``ends`` (groups,), int32 on the device of x, does not fall, and ends[-1] is the
    number of rows; a group may have none. Any floating-point dtype, the same for both, any strides.

    The work is that of the rows, however many groups there are. Gradients flow to x and weight, and
    it runs under torch.compile(fullgraph=True).

    >>> x, weight = torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([[[10.0]], [[100.0]]])
    >>> grouped_mm(x, weight, torch.tensor([1, 3], dtype=torch.int32)).flatten().tolist()
    [10.0, 200.0, 300.0]
    """
    wants_grad = torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)
    if wants_grad or torch.compiler.is_compiling():
        result: torch.Tensor = _product(x, weight, ends)
        return result
    return _multiply(x, weight, ends)  # without the price of an operator of one's own


def _aligned(x: torch.Tensor) -> bool:
    """One of the last two axes is dense, and every other step is a multiple of 16 bytes."""
    a, b = x.stride()[-2:]
    if 1 not in (a, b):
        return False
    steps = [step for step in x.stride() if step != 1]
    return all(step * x.element_size() % 16 == 0 for step in steps) and x.data_ptr() % 16 == 0


def _torch_can(x: torch.Tensor, y: torch.Tensor) -> bool:
    if not hasattr(torch, "_grouped_mm") or not x.numel() * y.numel():
        return False
    if x.is_cuda:
        if x.dtype != torch.bfloat16 or torch.cuda.get_device_capability(x.device) < (8, 0):
            return False
    elif x.dtype not in (torch.bfloat16, torch.float16, torch.float32):
        return False
    return _aligned(x) and _aligned(y)


def _multiply(x: torch.Tensor, weight: torch.Tensor, ends: torch.Tensor) -> torch.Tensor:
    x = x.contiguous()
    if _torch_can(x, weight) and weight.shape[2] * x.element_size() % 16 == 0:
        result: torch.Tensor = torch._grouped_mm(x, weight, offs=ends)
        return result
    out = x.new_empty(x.shape[0], weight.shape[2])
    start = 0
    for group, end in enumerate(ends.tolist()):
        if end > start:
            torch.mm(x[start:end], weight[group], out=out[start:end])
        start = end
    return out


@torch.library.custom_op("exercises::grouped_mm", mutates_args=())
def _product(x: torch.Tensor, weight: torch.Tensor, ends: torch.Tensor) -> torch.Tensor:
    return _multiply(x, weight, ends)


@torch.library.custom_op("exercises::grouped_outer", mutates_args=())
def _outer(x: torch.Tensor, y: torch.Tensor, ends: torch.Tensor) -> torch.Tensor:
    """x (rows, a), y (rows, b) → (groups, a, b): x.mT @ y over the rows of each group."""
    x, y = x.contiguous(), y.contiguous()
    widths = x.shape[1] * x.element_size(), y.shape[1] * y.element_size()
    if _torch_can(x, y) and all(width % 16 == 0 for width in widths):
        result: torch.Tensor = torch._grouped_mm(x.mT, y, offs=ends)
        if x.is_cuda and torch.cuda.get_device_capability(x.device) >= (10, 0):
            # Of a group without rows it leaves what it likes (pytorch/pytorch issue 172439).
            none = torch.diff(ends, prepend=ends.new_zeros(1)) == 0
            result.masked_fill_(none[:, None, None], 0.0)
        return result
    out = x.new_zeros(len(ends), x.shape[1], y.shape[1])
    start = 0
    for group, end in enumerate(ends.tolist()):
        if end > start:
            torch.mm(x[start:end].mT, y[start:end], out=out[group])
        start = end
    return out


@_product.register_fake
def _(x: torch.Tensor, weight: torch.Tensor, ends: torch.Tensor) -> torch.Tensor:
    return x.new_empty(x.shape[0], weight.shape[2])


@_outer.register_fake
def _(x: torch.Tensor, y: torch.Tensor, ends: torch.Tensor) -> torch.Tensor:
    return x.new_empty(len(ends), x.shape[1], y.shape[1])


def _keep(ctx: Any, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    x, weight, ends = ctx.saved_tensors
    return (
        _product(grad, weight.mT, ends) if ctx.needs_input_grad[0] else None,
        _outer(x, grad, ends) if ctx.needs_input_grad[1] else None,
        None,
    )


_product.register_autograd(_backward, setup_context=_keep)


def _flops(x: Any, y: Any, *_: Any, **__: Any) -> int:
    """Of a product of rows: the last size of ``y`` is that of the result, in both operators."""
    return int(2 * x[0] * x[1] * y[-1])


for _operator in ("exercises.grouped_mm", "exercises.grouped_outer", "aten._grouped_mm"):
    _space, _name = _operator.split(".")
    _packet = getattr(getattr(torch.ops, _space), _name, None)
    if _packet is not None and _packet not in flop_registry:  # later torch counts its own itself
        register_flop_formula(_packet)(_flops)
