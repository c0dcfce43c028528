"""The operations of week 3 on the engine of week 4: a Function each. Given, for days 22 to 35.

The forward of most is what you wrote in week 3, called on arrays (``forward_of``). The backward is
written anew, with Tensor operations, so that it can be differentiated itself (day 27). Importing
this module registers all of them on day 22's Tensor, and so on every class that extends it.

Functions have the names and arguments that they had: ``operations.sum(x, dim, keepdim)``. What a
backward needs and how errors read is told in week 3.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tracks.autodiff import day15, day16, day17, day18, day19, day20, day21
from tracks.autodiff.day15 import FLOAT
from tracks.autodiff.day16 import Shape, sizes_of
from tracks.autodiff.day18 import Dim, Selected, axes_of, count_of, wide
from tracks.autodiff.day22 import (
    Exp,
    Function,
    Mul,
    SinCos,
    Tensor,
    operands,
    register,
    sum_to,
    to,
)


def bare(array: np.ndarray, requires_grad: bool = False) -> day21.Tensor:
    """A tensor of week 3 on the array itself."""
    x = day21.Tensor.__new__(day21.Tensor)
    x.data, x.requires_grad, x.grad = array, requires_grad, None
    x.parents, x.op, x._backward = (), "", None
    return x


def forward_of(f: Callable[..., Any], *args: Any, **options: Any) -> np.ndarray:
    """What an operation of week 3 computes, of arrays."""
    return f(*(bare(a) if isinstance(a, np.ndarray) else a for a in args), **options).data


def share_of(f: Callable[..., Any], x: np.ndarray, g: np.ndarray, *args: Any) -> np.ndarray:
    """The share of ``x`` in an operation of week 3, at the gradient ``g`` of f(x, *args)."""
    backward = f(bare(x, requires_grad=True), *args)._backward
    return backward(g)[0]


def nothing(shape: Sequence[int], dtype: Any) -> np.ndarray:
    """Zeros of a shape that take no memory: for an operation that asks for a shape and a dtype."""
    return np.broadcast_to(np.zeros((), dtype), shape)


def widened(x: Tensor) -> Tensor:
    """float16 as float32, in which it is added up; all else as it is."""
    return to(x, wide(x.dtype)) if x.dtype == np.float16 else x


def floats(x: Tensor) -> Tensor:
    """Integers and bools as float32."""
    return x if x.dtype.kind == "f" else to(x, FLOAT)


def constant(like: Tensor, array: Any) -> Tensor:
    """A Tensor on an array, or on a numpy scalar, which no gradient reaches."""
    return like._made(np.asarray(array))


def spread(grad: Tensor, shape: Shape, axes: Sequence[int]) -> Tensor:
    """``unreduce`` with Tensors: one element for all along ``axes``, read as ``shape``."""
    return Spread.apply(grad, shape=shape, axes=axes)


class Spread(Function):
    @staticmethod
    def forward(ctx: Any, x: np.ndarray, shape: Shape, axes: Sequence[int]) -> np.ndarray:
        ctx.shape, ctx.axes = x.shape, axes
        return day18.unreduce(x, shape, axes)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return reshape(sum(grad, ctx.axes) if ctx.axes else grad, ctx.shape)


# -- shapes ------------------------------------------------------------------------------------


class Clone(Function):
    @staticmethod
    def forward(ctx: Any, x: np.ndarray) -> np.ndarray:
        return x.copy()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad


class Permute(Function):
    @staticmethod
    def forward(ctx: Any, x: np.ndarray, dims: Sequence[int]) -> np.ndarray:
        ctx.back = np.argsort([d % x.ndim for d in dims]).tolist() if x.ndim else []
        return forward_of(day16.permute, x, dims)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return permute(grad, ctx.back)


class Transpose(Function):
    @staticmethod
    def forward(ctx: Any, x: np.ndarray, dims: tuple[int, int]) -> np.ndarray:
        ctx.dims = dims
        return forward_of(day16.transpose, x, *dims)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return transpose(grad, *ctx.dims)


class Reshape(Function):
    """``reshape``, and with another ``by`` the operations that are a reshape."""

    @staticmethod
    def forward(ctx: Any, x: np.ndarray, by: Callable[..., Any], to: Any) -> np.ndarray:
        ctx.shape = x.shape
        return x.reshape(to) if by is np.reshape else forward_of(by, x, to)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return Reshape.apply(grad, by=np.reshape, to=ctx.shape)  # which is known to fit


class Expand(Function):
    @staticmethod
    def forward(ctx: Any, x: np.ndarray, shape: Sequence[int]) -> np.ndarray:
        ctx.shape = x.shape
        return forward_of(day16.expand, x, shape)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return sum_to(grad, ctx.shape)


def clone(x: Tensor) -> Tensor:
    return Clone.apply(x)


def permute(x: Tensor, dims: Sequence[int]) -> Tensor:
    return Permute.apply(x, dims=dims)


def transpose(x: Tensor, dim0: int, dim1: int) -> Tensor:
    return Transpose.apply(x, dims=(dim0, dim1))


def reshape(x: Tensor, shape: Sequence[int]) -> Tensor:
    return Reshape.apply(x, by=day16.reshape, to=shape)


def squeeze(x: Tensor, dim: int | Sequence[int] | None = None) -> Tensor:
    return Reshape.apply(x, by=day16.squeeze, to=dim)


def unsqueeze(x: Tensor, dim: int) -> Tensor:
    return Reshape.apply(x, by=day16.unsqueeze, to=dim)


def expand(x: Tensor, shape: Sequence[int]) -> Tensor:
    return Expand.apply(x, shape=shape)


# -- arithmetic --------------------------------------------------------------------------------


class Add(Function):
    @staticmethod
    def forward(ctx: Any, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        ctx.shapes = a.shape, b.shape
        return a + b

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (a, b), (of_a, of_b) = ctx.shapes, ctx.needs_input_grad
        return sum_to(grad, a) if of_a else None, sum_to(grad, b) if of_b else None


class Sub(Function):
    @staticmethod
    def forward(ctx: Any, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        ctx.shapes = a.shape, b.shape
        return a - b

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (a, b), (of_a, of_b) = ctx.shapes, ctx.needs_input_grad
        return sum_to(grad, a) if of_a else None, neg(sum_to(grad, b)) if of_b else None


class Neg(Function):
    @staticmethod
    def forward(ctx: Any, x: np.ndarray) -> np.ndarray:
        return -x

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return neg(grad)


class Div(Function):
    @staticmethod
    def forward(ctx: Any, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        ctx.shape = a.shape
        ctx.save_for_backward(a if ctx.needs_input_grad[1] else None, b)
        with np.errstate(all="ignore"):
            return a / b

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        a, b = ctx.saved_tensors
        of_a, of_b = ctx.needs_input_grad
        share = grad / b
        return (
            sum_to(share, ctx.shape) if of_a else None,
            neg(sum_to(share * (a / b), b.shape)) if of_b else None,
        )


class Pow(Function):
    @staticmethod
    def forward(ctx: Any, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        ctx.save_for_backward(a, b)
        if a.dtype.kind != "f":
            return forward_of(day17.pow, a, b)
        with np.errstate(all="ignore"):
            return a**b

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        a, b = ctx.saved_tensors
        share_a = share_b = None
        if ctx.needs_input_grad[0]:
            # Where b is 0 the slope is 0: with an exponent of 0 there, not -1, no nan arises.
            below = where(b == 0, 1, b) - 1
            share_a = sum_to(grad * b * a**below, a.shape)
        if ctx.needs_input_grad[1]:
            flat = (a == 0).data & (b >= 0).data
            base = where(constant(grad, flat), 1, a)
            share_b = sum_to(grad * a**b * log(base), b.shape)
        return share_a, share_b


def chosen(c: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a where c is True, else b: as np.where does it, but on the elements' bits, without a branch.

    A processor guesses which way a branch goes, and of a random c every second guess is wrong: that
    takes ten times as long. a and b have one dtype."""
    bits = np.dtype(f"i{a.itemsize}")
    x, y = a.view(bits), b.view(bits)
    mask = c.astype(bits)
    np.negative(mask, out=mask)  # all bits of an element, or none
    if not y.any():  # b is 0, as in most backwards
        mask &= x
    else:
        mask &= x ^ y
        mask ^= y
    return mask.view(a.dtype)


class Where(Function):
    @staticmethod
    def forward(ctx: Any, c: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        ctx.shapes = a.shape, b.shape
        if any(ctx.needs_input_grad):
            ctx.save_for_backward(c.copy())
        if c.dtype.kind == "b" and {a.shape, b.shape} <= {c.shape, ()}:
            return chosen(c, a, b)
        return forward_of(day17.where, c, a, b)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (c,), (a, b) = ctx.saved_tensors, ctx.shapes
        _, of_a, of_b = ctx.needs_input_grad
        return (
            None,
            sum_to(where(c, grad, 0), a) if of_a else None,
            sum_to(where(c, 0, grad), b) if of_b else None,
        )


class Maximum(Function):
    @staticmethod
    def forward(ctx: Any, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        ctx.shapes = a.shape, b.shape
        ctx.save_for_backward(a == b, a < b, a > b)
        return np.maximum(a, b)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (tie, less, more), (a, b) = ctx.saved_tensors, ctx.shapes
        of_a, of_b = ctx.needs_input_grad
        grad = where(tie, grad / 2, grad)
        return (
            sum_to(where(less, 0, grad), a) if of_a else None,
            sum_to(where(more, 0, grad), b) if of_b else None,
        )


class Clamp(Function):
    @staticmethod
    def forward(ctx: Any, x: np.ndarray, low: float | None, high: float | None) -> np.ndarray:
        out = forward_of(day17.clamp, x, low, high)
        inside = np.ones(x.shape, bool) if low is None else out.dtype.type(low) <= x
        if high is not None:
            inside = inside & (x <= out.dtype.type(high))
        ctx.save_for_backward(inside)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return where(ctx.saved_tensors[0], grad, 0)


def add(a: Any, b: Any) -> Tensor:
    return Add.apply(*operands("add", a, b))


def sub(a: Any, b: Any) -> Tensor:
    return Sub.apply(*operands("sub", a, b))


def mul(a: Any, b: Any) -> Tensor:
    return Mul.apply(*operands("mul", a, b))


def div(a: Any, b: Any) -> Tensor:
    return Div.apply(*operands("div", a, b, floats=True))


def pow(a: Any, b: Any) -> Tensor:
    return Pow.apply(*operands("pow", a, b))


def neg(x: Tensor) -> Tensor:
    return Neg.apply(x) if x.data.dtype.kind == "f" else mul(x, -1)


def where(condition: Tensor, a: Any, b: Any) -> Tensor:
    if not isinstance(condition, Tensor):
        return day17.where(condition, a, b)  # type: ignore[return-value]  # which refuses
    return Where.apply(condition, *operands("where", a, b))


def maximum(a: Any, b: Any) -> Tensor:
    return Maximum.apply(*operands("maximum", a, b))


def clamp(x: Tensor, low: float | None = None, high: float | None = None) -> Tensor:
    return Clamp.apply(x, low=low, high=high)


# -- reductions --------------------------------------------------------------------------------


class Sum(Function):
    @staticmethod
    def forward(ctx: Any, x: np.ndarray, dim: Dim, keepdim: bool) -> np.ndarray:
        ctx.shape, ctx.axes = x.shape, axes_of(dim, x.ndim, "sum")
        return forward_of(day18.sum, x, dim, keepdim)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return spread(grad, ctx.shape, ctx.axes)


class Mean(Function):
    @staticmethod
    def forward(ctx: Any, x: np.ndarray, dim: Dim, keepdim: bool) -> np.ndarray:
        ctx.shape, ctx.axes = x.shape, axes_of(dim, x.ndim, "mean")
        return forward_of(day18.mean, x, dim, keepdim)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return spread(grad / float(count_of(ctx.shape, ctx.axes)), ctx.shape, ctx.axes)


class Var(Function):
    @staticmethod
    def forward(ctx: Any, x: np.ndarray, dim: Dim, correction: float, keepdim: bool) -> np.ndarray:
        ctx.axes, ctx.correction = axes_of(dim, x.ndim, "var"), correction
        ctx.save_for_backward(x)
        return forward_of(day18.var, x, dim, correction=correction, keepdim=keepdim)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        x, grad = widened(x), widened(grad)
        divisor = np.float64(np.maximum(count_of(x.shape, ctx.axes) - ctx.correction, 0))
        far = x - mean(x, ctx.axes, keepdim=True)
        return spread(grad * float(2 / divisor), x.shape, ctx.axes) * far


class Amax(Function):
    pick = staticmethod(day18.amax)

    @staticmethod
    def forward(ctx: Any, x: np.ndarray, dim: Dim, keepdim: bool) -> np.ndarray:
        best = forward_of(ctx.function.pick, x, dim, keepdim)
        ctx.axes = axes_of(dim, x.ndim, ctx.op)
        ctx.save_for_backward(x == day18.unreduce(best, x.shape, ctx.axes))
        return best

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (mask,) = ctx.saved_tensors
        count = mask.data.sum(ctx.axes, wide(grad.dtype), keepdims=True)
        share = where(mask, spread(widened(grad), mask.shape, ctx.axes), 0)
        return share / constant(grad, count)


class Amin(Amax):
    pick = staticmethod(day18.amin)


class Max(Function):
    pick = staticmethod(day18.max)

    @staticmethod
    def forward(ctx: Any, x: np.ndarray, dim: int, keepdim: bool) -> tuple[np.ndarray, np.ndarray]:
        values, indices = ctx.function.pick(bare(x), dim, keepdim)
        ctx.shape, ctx.axes = x.shape, axes_of(dim, x.ndim, ctx.op)
        kept = [1 if i in ctx.axes else n for i, n in enumerate(x.shape)]
        ctx.save_for_backward(indices.data.reshape(kept).copy())
        return values.data, indices.data

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> Tensor:
        (index,) = ctx.saved_tensors
        if not ctx.axes:
            return grad
        return scatter_add(reshape(grad, index.shape), ctx.axes[0], index, ctx.shape)


class Min(Max):
    pick = staticmethod(day18.min)


class Prod(Function):
    @staticmethod
    def forward(ctx: Any, x: np.ndarray, dim: Dim, keepdim: bool) -> np.ndarray:
        ctx.axes = axes_of(dim, x.ndim, "prod")
        ctx.save_for_backward(x)
        return forward_of(day18.prod, x, dim, keepdim)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        x = widened(x)
        return spread(widened(grad), x.shape, ctx.axes) * Others.apply(x, axes=ctx.axes)


class Others(Function):
    """For each element the product of all others along ``axes``."""

    @staticmethod
    def forward(ctx: Any, x: np.ndarray, axes: Shape) -> np.ndarray:
        ctx.axes = axes
        ctx.save_for_backward(x)
        kept = tuple(1 if i in axes else n for i, n in enumerate(x.shape))
        return share_of(day18.prod, x, np.ones(kept, x.dtype), axes, True)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        """Row i of a square has all elements but the i-th, which is 1: its others leave out two."""
        (x,) = ctx.saved_tensors
        order = [*ctx.axes, *(i for i in range(x.ndim) if i not in ctx.axes)]
        n = count_of(x.shape, ctx.axes)
        rest = tuple(x.shape[i] for i in order[len(ctx.axes) :])
        one = np.eye(n, dtype=bool).reshape(n, n, *(1 for _ in rest))
        diagonal = constant(grad, one)
        line = reshape(permute(x, order), (1, n, *rest))
        square = where(diagonal, 1, expand(line, (n, n, *rest)))
        two_less = where(diagonal, 0, Others.apply(square, axes=(1,)))
        g = reshape(permute(grad, order), (n, 1, *rest))
        share = sum(g * two_less, 0) if n else reshape(grad, (0, *rest))
        moved = reshape(share, tuple(x.shape[i] for i in order))
        return permute(moved, np.argsort(order).tolist())


class Norm(Function):
    @staticmethod
    def forward(ctx: Any, x: np.ndarray, p: float, dim: Dim, keepdim: bool) -> np.ndarray:
        ctx.p, ctx.axes = p, axes_of(dim, x.ndim, "norm")
        ctx.save_for_backward(x)
        return forward_of(day18.norm, x, p, dim, keepdim)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        x, p, axes = widened(x), ctx.p, ctx.axes
        grad = spread(widened(grad), x.shape, axes)
        sign, size = np.sign(x.data), np.abs(x.data)
        if p == math.inf:
            first = size == size.max(axes, keepdims=True)
            return grad * constant(x, sign * first / first.sum(axes, keepdims=True))
        if p == 1:
            return grad * constant(x, sign)
        total = norm(x, p, axes, keepdim=True)
        total = where(total == 0, 1, total)  # all of x is 0 there
        if p == 2:
            return grad * (x / total)
        zero = x == 0
        ratio = where(zero, 1, x * constant(x, sign)) / total
        return grad * where(zero, 0, ratio ** (p - 1) * constant(x, sign))


def sum(x: Tensor, dim: Dim = None, keepdim: bool = False) -> Tensor:
    return Sum.apply(x, dim=dim, keepdim=keepdim)


def mean(x: Tensor, dim: Dim = None, keepdim: bool = False) -> Tensor:
    return Mean.apply(x, dim=dim, keepdim=keepdim)


def var(x: Tensor, dim: Dim = None, *, correction: float = 1, keepdim: bool = False) -> Tensor:
    return Var.apply(x, dim=dim, correction=correction, keepdim=keepdim)


def amax(x: Tensor, dim: Dim = None, keepdim: bool = False) -> Tensor:
    return Amax.apply(x, dim=dim, keepdim=keepdim)


def amin(x: Tensor, dim: Dim = None, keepdim: bool = False) -> Tensor:
    return Amin.apply(x, dim=dim, keepdim=keepdim)


argmax, argmin = day18.argmax, day18.argmin  # without a gradient they need no Function


def max(x: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor | Selected:
    return amax(x) if dim is None else Selected(*Max.apply(x, dim=dim, keepdim=keepdim))


def min(x: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor | Selected:
    return amin(x) if dim is None else Selected(*Min.apply(x, dim=dim, keepdim=keepdim))


def prod(x: Tensor, dim: Dim = None, keepdim: bool = False) -> Tensor:
    return Prod.apply(x, dim=dim, keepdim=keepdim)


def norm(x: Tensor, p: float = 2, dim: Dim = None, keepdim: bool = False) -> Tensor:
    return Norm.apply(x, p=p, dim=dim, keepdim=keepdim)


# -- products ----------------------------------------------------------------------------------


def matmul_to(x: Tensor, y: Tensor, shape: Shape) -> Tensor:
    """Day 19's ``product_to`` with Tensors: x @ y summed to ``shape``, by one product if it can."""
    batch = tuple(range(x.ndim - 2))
    if batch and len(shape) == 2 and x.shape[:-2] == y.shape[:-2]:
        inner = count_of(x.shape, (*batch, -1))
        x = reshape(permute(x, (x.ndim - 2, *batch, x.ndim - 1)), (x.shape[-2], inner))
        return matmul(x, reshape(y, (inner, y.shape[-1])))
    return sum_to(matmul(x, y), shape)


class Matmul(Function):
    @staticmethod
    def forward(ctx: Any, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        product = forward_of(day19.matmul, a, b)
        of_a, of_b = ctx.needs_input_grad
        ctx.shapes = a.shape, b.shape
        ctx.save_for_backward(a if of_b else None, b if of_a else None)
        return product

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        a, b = ctx.saved_tensors
        own_a, own_b = ctx.shapes
        left = (1, *own_a) if len(own_a) == 1 else own_a
        right = (*own_b, 1) if len(own_b) == 1 else own_b
        batch = day17.broadcast_shape(left[:-2], right[:-2])
        grad = reshape(grad, (*batch, left[-2], right[-1]))
        of_a = of_b = None
        if ctx.needs_input_grad[0]:
            of_a = matmul_to(grad, transpose(reshape(b, right), -1, -2), left)
            of_a = reshape(of_a, own_a)
        if ctx.needs_input_grad[1]:
            of_b = matmul_to(transpose(reshape(a, left), -1, -2), grad, right)
            of_b = reshape(of_b, own_b)
        return of_a, of_b


class Dot(Function):
    @staticmethod
    def forward(ctx: Any, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        ctx.save_for_backward(a, b)
        return forward_of(day19.dot, a, b)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        a, b = ctx.saved_tensors
        return grad * b, grad * a


class Outer(Function):
    @staticmethod
    def forward(ctx: Any, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        ctx.save_for_backward(a, b)
        return forward_of(day19.outer, a, b)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        a, b = ctx.saved_tensors
        return matmul(grad, b), matmul(a, grad)


class Einsum(Function):
    @staticmethod
    def forward(ctx: Any, a: np.ndarray, b: np.ndarray, equation: str) -> np.ndarray:
        product = day19.einsum(equation, bare(a), bare(b)).data
        ctx.letters = day19.parse_einsum(equation, a.shape, b.shape)
        ctx.save_for_backward(a, b)
        return product

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        a, b = ctx.saved_tensors
        of_a, of_b, out, _ = ctx.letters
        return (
            Einsum.share(grad, out, b, of_b, a.shape, of_a),
            Einsum.share(grad, out, a, of_a, b.shape, of_b),
        )

    @staticmethod
    def share(
        grad: Tensor, out: str, other: Tensor, of_other: str, shape: Shape, letters: str
    ) -> Tensor:
        """What an operand is due: an einsum again. A letter that only it had was summed."""
        found = [c in out or c in of_other for c in letters]
        known = "".join(c for c, there in zip(letters, found, strict=True) if there)
        part = einsum(f"{out},{of_other}->{known}", grad, other)
        kept = [n if there else 1 for n, there in zip(shape, found, strict=True)]
        return expand(reshape(part, kept), shape)


def matmul(a: Tensor, b: Tensor) -> Tensor:
    day19.check_operands("matmul", a, b)
    return Matmul.apply(a, b)


def dot(a: Tensor, b: Tensor) -> Tensor:
    day19.check_operands("dot", a, b)
    return Dot.apply(a, b)


def outer(a: Tensor, b: Tensor) -> Tensor:
    day19.check_operands("outer", a, b)
    return Outer.apply(a, b)


def einsum(equation: str, a: Tensor, b: Tensor) -> Tensor:
    day19.check_operands("einsum", a, b)
    return Einsum.apply(a, b, equation=equation)


# -- indexing and joining ----------------------------------------------------------------------


class Getitem(Function):
    @staticmethod
    def forward(ctx: Any, x: np.ndarray, keys: tuple[Any, ...]) -> np.ndarray:
        ctx.shape, ctx.keys = x.shape, keys
        return forward_of(day20.getitem, x, keys)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return Place.apply(grad, keys=ctx.keys, shape=ctx.shape)


class Place(Function):
    """Zeros of ``shape`` with x added at ``keys``: what undoes a reading there."""

    @staticmethod
    def forward(ctx: Any, x: np.ndarray, keys: tuple[Any, ...], shape: Shape) -> np.ndarray:
        ctx.keys = keys
        return share_of(day20.getitem, nothing(shape, x.dtype), x, keys)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return Getitem.apply(grad, keys=ctx.keys)


class Gather(Function):
    @staticmethod
    def forward(ctx: Any, x: np.ndarray, index: np.ndarray, dim: int) -> np.ndarray:
        ctx.shape, ctx.dim = x.shape, dim
        ctx.save_for_backward(index.copy())
        return forward_of(day20.gather, x, dim, index)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return scatter_add(grad, ctx.dim, ctx.saved_tensors[0], ctx.shape), None


class ScatterAdd(Function, op="scatter_add"):
    @staticmethod
    def forward(ctx: Any, x: np.ndarray, index: np.ndarray, dim: int, shape: Shape) -> np.ndarray:
        ctx.dim = dim
        ctx.save_for_backward(index)
        return share_of(day20.gather, nothing(shape, x.dtype), x, dim, bare(index))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return gather(grad, ctx.dim, ctx.saved_tensors[0]), None


class IndexAdd(Function, op="index_add"):
    @staticmethod
    def forward(
        ctx: Any, x: np.ndarray, index: np.ndarray, source: np.ndarray, dim: int
    ) -> np.ndarray:
        ctx.dim = dim
        ctx.save_for_backward(index.copy())
        return forward_of(day20.index_add, x, dim, index, source)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, Tensor]:
        (index,) = ctx.saved_tensors
        axis = day16.axis_of(ctx.dim, grad.ndim, "index_add")
        return grad, None, getitem(grad, (slice(None),) * axis + (index,))


class Cat(Function):
    @staticmethod
    def forward(ctx: Any, *arrays: np.ndarray, dim: int) -> np.ndarray:
        joined = day20.cat([bare(a) for a in arrays], dim).data
        ctx.dim, ctx.sizes = dim, [a.shape[dim] for a in arrays]
        return joined

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        return split(grad, ctx.sizes, ctx.dim)


class Stack(Function):
    @staticmethod
    def forward(ctx: Any, *arrays: np.ndarray, dim: int) -> np.ndarray:
        ctx.dim, ctx.count = dim, len(arrays)
        return day20.stack([bare(a) for a in arrays], dim).data

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        axis = day16.axis_of(ctx.dim, grad.ndim, "stack")
        return tuple(getitem(grad, (slice(None),) * axis + (i,)) for i in range(ctx.count))


class Split(Function):
    @staticmethod
    def forward(
        ctx: Any, x: np.ndarray, sizes: int | Sequence[int], dim: int
    ) -> tuple[np.ndarray, ...]:
        ctx.dim = dim
        return tuple(part.data for part in day20.split(bare(x), sizes, dim))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return cat(grads, ctx.dim)


class Pad(Function):
    @staticmethod
    def forward(ctx: Any, x: np.ndarray, pad: Sequence[int], value: float) -> np.ndarray:
        ctx.back = [-n for n in pad]
        return forward_of(day20.pad, x, pad, value)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return pad(grad, ctx.back)


def getitem(x: Tensor, index: Any) -> Tensor:
    return Getitem.apply(x, keys=tuple(day20.keys_of(index, x.shape)))


def gather(x: Tensor, dim: int, index: Tensor) -> Tensor:
    return Gather.apply(x, index, dim=dim)


def scatter_add(x: Tensor, dim: int, index: Tensor, shape: Shape) -> Tensor:
    """Zeros of ``shape``, with each element of x added where ``gather`` would have read it."""
    return ScatterAdd.apply(x, index, dim=dim, shape=shape)


def index_add(x: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    return IndexAdd.apply(x, index, source, dim=dim)


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    tensors = list(tensors)
    return Cat.apply(*tensors, dim=dim) if tensors else day20.cat(tensors, dim)  # which refuses


def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    tensors = list(tensors)
    return Stack.apply(*tensors, dim=dim) if tensors else day20.stack(tensors, dim)


def split(x: Tensor, sizes: int | Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    return Split.apply(x, sizes=sizes, dim=dim)


def pad(x: Tensor, pad: Sequence[int], value: float = 0.0) -> Tensor:
    return Pad.apply(x, pad=pad, value=value)


# -- stable functions --------------------------------------------------------------------------


class Log(Function):
    @staticmethod
    def forward(ctx: Any, x: np.ndarray) -> np.ndarray:
        ctx.save_for_backward(x)
        with np.errstate(all="ignore"):
            return np.log(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad / ctx.saved_tensors[0]


class Log1p(Function):
    @staticmethod
    def forward(ctx: Any, x: np.ndarray) -> np.ndarray:
        ctx.save_for_backward(x)
        with np.errstate(all="ignore"):
            return np.log1p(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad / (1 + ctx.saved_tensors[0])


class Sqrt(Function):
    @staticmethod
    def forward(ctx: Any, x: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            y = np.sqrt(x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad / (2 * ctx.saved_tensors[0])


class Sigmoid(Function):
    @staticmethod
    def forward(ctx: Any, x: np.ndarray) -> np.ndarray:
        y = forward_of(day21.sigmoid, x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        return grad * y * (1 - y)


class Below(Function):
    """Φ(x), the probability that a normal number is below x, in float64."""

    @staticmethod
    def forward(ctx: Any, x: np.ndarray) -> np.ndarray:
        ctx.save_for_backward(x)
        return day21.erfc(-x / math.sqrt(2)) / 2

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return grad * exp(x * x / -2) / math.sqrt(2 * math.pi)


class Gelu(Function):
    """x · Φ(x), where Φ(x) is a node of its own."""

    @staticmethod
    def forward(ctx: Any, x: np.ndarray, below: np.ndarray) -> np.ndarray:
        ctx.save_for_backward(x, below)
        with np.errstate(all="ignore"):
            return day18.narrow(x * below, x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        x, below = ctx.saved_tensors
        return grad * below, grad * to(x, np.float64)


class Logsumexp(Function):
    @staticmethod
    def forward(ctx: Any, x: np.ndarray, dim: Dim, keepdim: bool) -> np.ndarray:
        ctx.axes = axes_of(dim, x.ndim, "logsumexp")
        ctx.save_for_backward(x)
        return forward_of(day21.logsumexp, x, dim, keepdim)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        x = widened(x)
        top = x.data.max(ctx.axes, keepdims=True, initial=-np.inf)
        top = np.where(np.isfinite(top), top, x.dtype.type(0))
        e = exp(x - constant(x, top))
        return spread(widened(grad), x.shape, ctx.axes) * (e / sum(e, ctx.axes, keepdim=True))


class Softmax(Function):
    @staticmethod
    def forward(ctx: Any, x: np.ndarray, dim: int) -> np.ndarray:
        y = forward_of(day21.softmax, x, dim)
        ctx.dim, ctx.half = dim, x.dtype == np.float16
        ctx.save_for_backward(x if ctx.half else y)  # y has too few digits then
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (y,), grad = ctx.saved_tensors, widened(grad)
        if ctx.half:
            y = softmax(widened(y), ctx.dim)
        return y * (grad - sum(grad * y, ctx.dim, keepdim=True))


class LogSoftmax(Function, op="log_softmax"):
    @staticmethod
    def forward(ctx: Any, x: np.ndarray, dim: int) -> np.ndarray:
        y = forward_of(day21.log_softmax, x, dim)
        ctx.dim, ctx.half = dim, x.dtype == np.float16
        ctx.save_for_backward(x if ctx.half else y)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (y,), grad = ctx.saved_tensors, widened(grad)
        if ctx.half:
            y = log_softmax(widened(y), ctx.dim)
        return grad - exp(y) * sum(grad, ctx.dim, keepdim=True)


class CrossEntropy(Function, op="cross_entropy"):
    @staticmethod
    def forward(ctx: Any, x: np.ndarray, target: np.ndarray, **options: Any) -> np.ndarray:
        ctx.options = options
        ctx.save_for_backward(x, target)
        return forward_of(day21.cross_entropy, x, target, **options)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        x, target = ctx.saved_tensors
        x, grad = widened(x), widened(grad)
        axis = x.ndim - 1 if x.ndim < 2 else 1
        kept = target.data != ctx.options["ignore_index"]
        index = np.expand_dims(np.where(kept, target.data, 0), axis)
        one_hot = np.zeros(x.shape, x.dtype)
        np.put_along_axis(one_hot, index, x.dtype.type(1), axis)
        if ctx.options["reduction"] == "mean":
            grad = grad / float(kept.sum())
        weight = unsqueeze(where(constant(x, kept), grad, 0), axis)
        return (softmax(x, axis) - constant(x, one_hot)) * weight, None


def exp(x: Tensor) -> Tensor:
    return Exp.apply(floats(x))


def log(x: Tensor) -> Tensor:
    return Log.apply(floats(x))


def log1p(x: Tensor) -> Tensor:
    return Log1p.apply(floats(x))


def sqrt(x: Tensor) -> Tensor:
    return Sqrt.apply(floats(x))


def sin(x: Tensor) -> Tensor:
    return SinCos.apply(floats(x))[0]


def cos(x: Tensor) -> Tensor:
    return SinCos.apply(floats(x))[1]


def sigmoid(x: Tensor) -> Tensor:
    return Sigmoid.apply(floats(x))


def gelu(x: Tensor) -> Tensor:
    day18.needs_floats("gelu", x)
    return Gelu.apply(x, Below.apply(to(x, np.float64)))


def logsumexp(x: Tensor, dim: Dim, keepdim: bool = False) -> Tensor:
    return Logsumexp.apply(floats(x), dim=dim, keepdim=keepdim)


def softmax(x: Tensor, dim: int) -> Tensor:
    return Softmax.apply(x, dim=dim)


def log_softmax(x: Tensor, dim: int) -> Tensor:
    return LogSoftmax.apply(x, dim=dim)


def cross_entropy(
    input: Tensor, target: Tensor, *, ignore_index: int = -100, reduction: str = "mean"
) -> Tensor:
    return CrossEntropy.apply(input, target, ignore_index=ignore_index, reduction=reduction)


# -- tensors from nothing ----------------------------------------------------------------------


def _here(f: Callable[..., day15.Tensor]) -> Callable[..., Tensor]:
    """A constructor of day 15 whose tensors are those of the new engine."""

    @functools.wraps(f)
    def construct(*args: Any, **options: Any) -> Tensor:
        old = f(*args, **options)
        made = Tensor._made(old.data)
        made.requires_grad = old.requires_grad
        return made

    return construct


full, zeros, ones = _here(day15.full), _here(day15.zeros), _here(day15.ones)
arange, randn = _here(day15.arange), _here(day15.randn)


# -- methods -----------------------------------------------------------------------------------

for _name, _fn in {
    "clone": clone, "transpose": transpose, "squeeze": squeeze, "unsqueeze": unsqueeze,
    "permute": lambda x, *dims: permute(x, sizes_of(dims)),
    "reshape": lambda x, *shape: reshape(x, sizes_of(shape)),
    "expand": lambda x, *shape: expand(x, sizes_of(shape)),
    "add": add, "sub": sub, "mul": mul, "div": div, "pow": pow, "neg": neg,
    "maximum": maximum, "clamp": clamp,
    "sum": sum, "mean": mean, "var": var, "amax": amax, "amin": amin, "max": max, "min": min,
    "prod": prod, "norm": norm,
    "matmul": matmul, "dot": dot, "outer": outer,
    "getitem": getitem, "gather": gather, "index_add": index_add, "split": split,
    "exp": exp, "log": log, "log1p": log1p, "sqrt": sqrt, "sin": sin, "cos": cos,
    "sigmoid": sigmoid, "logsumexp": logsumexp, "softmax": softmax, "log_softmax": log_softmax,
}.items():  # fmt: skip
    register(_name, _fn)

Tensor.T = property(lambda x: permute(x, range(x.ndim)[::-1]))  # type: ignore[misc, assignment]
Tensor.mT = property(lambda x: transpose(x, -2, -1))  # type: ignore[misc, assignment]
Tensor.__iter__ = lambda x: (getitem(x, i) for i in range(len(x)))  # type: ignore[method-assign]
