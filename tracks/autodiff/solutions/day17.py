"""
Day 17: Element-wise operations and broadcasting
================================================
Estimated time: 2 hours
Prerequisites: Day 16 (shape and strides), Day 10 (powers)
Lesson: lessons/day17.md

Learning objectives:
- Say which shape comes of two shapes, and why a gradient must be summed on its way back
- Give two operands one dtype by PyTorch's rules, which are not numpy's
- Write the local backward of each arithmetic operation for arrays
- Know what a gradient does at a tie, at a border, at 0 ** 0

In a + b both operands are read as one shape. The gradient comes back in that shape, and each
operand is due one of its own:

    a (3, 1) ─ expand ─┐                                  g (2, 3, 4)
                       ├─ + ── y (2, 3, 4)        share of a: sum over axes 0 and 2, (3, 1)
    b (2, 1, 4) ───────┘                          share of b: sum over axis 1,       (2, 1, 4)

Hints:
- The expand of yesterday is in every operation of today, unseen.
- One function makes a gradient small again; all the others use it.
- Write add, then the others are the same with another formula.

Resources:
- Broadcasting semantics: https://docs.pytorch.org/docs/stable/notes/broadcasting.html
- Type promotion: https://docs.pytorch.org/docs/stable/tensor_attributes.html#type-promotion-doc
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from tracks.autodiff import day15, day16
from tracks.autodiff.day15 import FLOAT
from tracks.autodiff.day16 import Shape

Operand = Any
"""A Tensor, or one of Python's numbers: bool, int, float."""
NUMBERS = (bool, int, float)


def broadcast_shape(*shapes: Sequence[int]) -> Shape:
    """The shape that tensors of these shapes are all read as.

    Aligned at their last axes; along each axis all lengths that are not 1 must agree, and that
    length is the result's (1 if there is none). → a tuple. ValueError, naming the shapes as tuples,
    where they do not.

    >>> broadcast_shape((3, 1), (2, 1, 4)), broadcast_shape((1,), (0,)), broadcast_shape()
    ((2, 3, 4), (0,), ())
    """
    # TODO: go through the axes from the last to the first.
    # HINT: a shape that is shorter has axes of length 1 in front, unwritten.
    ### BEGIN SOLUTION
    # HINT: put 1s in front of each shape until all are as long as the longest.
    # HINT: for each axis the set of lengths without 1 has none or one element; else ValueError.
    axes = max(map(len, shapes), default=0)
    padded = [(1,) * (axes - len(shape)) + tuple(shape) for shape in shapes]
    result = []
    for lengths in zip(*padded, strict=True):
        others = set(lengths) - {1}
        if len(others) > 1:
            raise ValueError(f"{' and '.join(str(tuple(s)) for s in shapes)} do not broadcast")
        result.append(others.pop() if others else 1)
    return tuple(result)
    ### END SOLUTION


def unbroadcast(grad: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """The gradient of an operand of ``shape`` that was read as ``grad.shape``: summed to ``shape``.

    Each element of the operand is due the sum of the gradients of all its readings. Where nothing
    was repeated the result may be ``grad`` itself. Floats keep their dtype; float16 is added up in
    float32 and rounded once. Integers and bools, of which no gradient consists, have ``np.sum``'s
    dtype once they are added up: int64 or uint64.

    >>> unbroadcast(np.ones((2, 3, 4)), (3, 1)).tolist()
    [[8.0], [8.0], [8.0]]
    """
    # TODO: which axes were repeated? Sum over them.
    # HINT: axes in front that the shape does not have, and axes where it has 1.
    ### BEGIN SOLUTION
    # HINT: with missing = grad.ndim - len(shape), axis i of the shape is axis i + missing of grad.
    # HINT: grad.sum(axes).reshape(shape); of float16 grad.sum(axes, dtype=np.float32), cast back. A
    # sum over no axis at all is not needed.
    if grad.shape == tuple(shape):
        return grad
    missing = grad.ndim - len(shape)
    axes = (*range(missing), *(i + missing for i, n in enumerate(shape) if n == 1))
    if grad.dtype == np.float16:
        return grad.sum(axes, dtype=np.float32).astype(np.float16).reshape(shape)
    return grad.sum(axes).reshape(shape)
    ### END SOLUTION


def result_dtype(*operands: Operand) -> np.dtype:
    """The dtype in which ``operands`` (tensors and Python numbers) are computed, as torch has it.

    There is at least one operand.

    There are three kinds: bool < integer < float. And three ranks of operand: tensors with axes,
    0-d tensors, Python numbers.

    - Of one rank: the highest kind wins, and within it the wider dtype (numpy's ``promote_types``).
    - A lower rank counts only if its kind is higher than that of all ranks above it.
    - Python numbers are bool, int64 and float32.

    So int64 and float32 tensors give float32 (numpy: float64), float16 and 2.5 give float16, and
    int64 and 2.5 give float32.

    >>> result_dtype(2.5, day16.Tensor([1, 2])), result_dtype(True, 2)
    (dtype('float32'), dtype('int64'))
    """
    # TODO: the dtype of each rank, then from the highest rank to the lowest.
    # HINT: np.promote_types joins two dtypes of one kind. Where does it differ from torch across
    # kinds?
    ### BEGIN SOLUTION
    # HINT: _rank_and_dtype and _kind, below, are given: the rank of an operand, the order of kinds.
    # HINT: join(a, b): the one of higher kind, or promote_types if the kinds are equal.
    # HINT: dtype of the next rank: taken if there was none yet or its kind is higher, else dropped.
    ranks: list[np.dtype | None] = [None, None, None]
    for operand in operands:
        rank, dtype = _rank_and_dtype(operand)
        before = ranks[rank]
        if before is None or _kind(dtype) > _kind(before):
            ranks[rank] = dtype
        elif _kind(dtype) == _kind(before):
            ranks[rank] = np.promote_types(before, dtype)
    found = [dtype for dtype in ranks if dtype is not None]
    return max(found, key=_kind)  # the first of those that are equal: the highest rank
    ### END SOLUTION


def _rank_and_dtype(operand: Operand) -> tuple[int, np.dtype]:
    """0 for a tensor with axes, 1 for a 0-d tensor, 2 for a Python number; and its dtype."""
    if isinstance(operand, day15.Array):
        return (0 if operand.ndim else 1), operand.dtype
    if isinstance(operand, bool):
        return 2, np.dtype(np.bool_)
    return 2, np.dtype(np.int64) if isinstance(operand, int) else FLOAT


def _kind(dtype: np.dtype) -> int:
    return {"b": 0, "u": 1, "i": 1, "f": 2}[dtype.kind]


class Pair(NamedTuple):
    """Two operands as tensors, and their arrays in one dtype."""

    a: day16.Tensor
    b: day16.Tensor
    x: np.ndarray
    y: np.ndarray


def pair(what: str, a: Operand, b: Operand, floats: bool = False) -> Pair:
    """Check and prepare the operands of ``what``; integers become float32 if it needs ``floats``.

    TypeError if one is neither a Tensor nor a Python number, or both are numbers; ValueError,
    naming ``what`` and both shapes, if these do not broadcast.
    """
    like = next((v for v in (a, b) if isinstance(v, day16.Tensor)), None)
    for v in (a, b):
        if like is None or not isinstance(v, (day16.Tensor, *NUMBERS)):
            raise TypeError(
                f"{what}: tensors and numbers, not {type(a).__name__} and {type(b).__name__}"
            )
    dtype = result_dtype(a, b)
    if floats and dtype.kind != "f":
        dtype = FLOAT
    one, other = (
        v if isinstance(v, day16.Tensor) else like._result(np.asarray(v, dtype), (), "", tuple)
        for v in (a, b)
    )
    try:
        broadcast_shape(one.shape, other.shape)
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from None
    return Pair(
        one, other, one.data.astype(dtype, copy=False), other.data.astype(dtype, copy=False)
    )


def add(a: Operand, b: Operand) -> day16.Tensor:
    """a + b. Of every operation here and below:

    - operands are Tensors or, one of them, Python's numbers; their shapes broadcast. A number must
      fit the result's dtype: 300 beside a uint8 tensor is numpy's OverflowError.
    - the result has ``broadcast_shape`` and ``result_dtype`` of the operands, their class, and the
      op named
    - its backward gives each operand a share of the operand's own shape; the walk casts it to the
      operand's dtype
    - shares belong to the values that the result was computed from: an operand's ``data`` may be
      replaced by another array before the backward. Writing into it in place is not covered,
      except for the condition of ``where``.
    - no operand is changed, and no share is written into ``g``

    op ``"add"``.

    >>> add(day16.Tensor([1.0, 2.0]), 1).tolist()
    [2.0, 3.0]
    """
    # TODO: prepare the pair, compute, and give each operand its share.
    # HINT: both shares are the gradient, made small again.
    ### BEGIN SOLUTION
    # HINT: a, b, x, y = pair("add", a, b): then x + y is the result's array.
    # HINT: lambda g: (unbroadcast(g, a.shape), unbroadcast(g, b.shape))
    a, b, x, y = pair("add", a, b)
    return a._result(
        x + y,
        (a, b),
        "add",
        lambda g: (unbroadcast(g, a.shape), unbroadcast(g, b.shape)),
    )
    ### END SOLUTION


def sub(a: Operand, b: Operand) -> day16.Tensor:
    """a - b, op ``"sub"``. TypeError for two bools, as in numpy.

    Torch refuses a bool tensor beside anything; here one bool is 0 or 1.

    >>> sub(5, day16.Tensor([1, 2])).tolist()
    [4, 3]
    """
    # TODO: like add.
    # HINT: how does y move when b grows by a little?
    ### BEGIN SOLUTION
    # HINT: the share of b is the gradient of the other sign.
    # HINT: -unbroadcast(g, b.shape) negates the smaller array.
    a, b, x, y = pair("sub", a, b)
    return a._result(
        x - y, (a, b), "sub", lambda g: (unbroadcast(g, a.shape), -unbroadcast(g, b.shape))
    )
    ### END SOLUTION


def mul(a: Operand, b: Operand) -> day16.Tensor:
    """a · b, op ``"mul"``.

    >>> mul(day16.Tensor([[1.0], [2.0]]), day16.Tensor([3.0, 4.0])).tolist()
    [[3.0, 4.0], [6.0, 8.0]]
    """
    # TODO: like add.
    # HINT: each operand's share has the other operand in it. In which shape is the product?
    ### BEGIN SOLUTION
    # HINT: multiply first, then make it small: g * y has the result's shape.
    # HINT: (unbroadcast(g * y, a.shape), unbroadcast(g * x, b.shape))
    a, b, x, y = pair("mul", a, b)
    return a._result(
        x * y, (a, b), "mul", lambda g: (unbroadcast(g * y, a.shape), unbroadcast(g * x, b.shape))
    )
    ### END SOLUTION


def div(a: Operand, b: Operand) -> day16.Tensor:
    """a / b, the true quotient: integers and bools are divided as float32. op ``"div"``.

    x / 0 is inf, -inf or nan as in IEEE arithmetic, without a warning. The shares hold where b² is
    no float32 any more: for a = b = 1e25 that of b is -1e-25 · g.

    >>> div(day16.Tensor([1, 2]), 4).tolist()
    [0.25, 0.5]
    """
    # TODO: like mul, with floats=True for the pair.
    # HINT: what is the derivative of a / b with respect to b?
    ### BEGIN SOLUTION
    # HINT: with respect to a: 1 / b; with respect to b: -a / b², which is -(a / b) / b.
    # HINT: `with np.errstate(all="ignore"):` keeps numpy quiet; the backward needs it too.
    a, b, x, y = pair("div", a, b, floats=True)
    with np.errstate(all="ignore"):
        quotient = x / y

    def backward(g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with np.errstate(all="ignore"):
            share = g / y
            return unbroadcast(share, a.shape), unbroadcast(-share * (x / y), b.shape)

    return a._result(quotient, (a, b), "div", backward)
    ### END SOLUTION


def pow(a: Operand, b: Operand) -> day16.Tensor:
    """a ** b, op ``"pow"``. ValueError for an integer raised to a negative power.

    Powers of integers are exact as long as they fit the dtype. A result without elements raises
    nothing. Of two bools nothing is promised: numpy makes int8 of them, torch refuses two bool
    tensors. nan and inf come as numpy has them, without a warning: (-8) ** 0.5 is nan.

    Where a formula has no value, the limit that torch takes holds:

    - with respect to a: b · a ** (b - 1), and 0 where b is 0, whatever a is: 0 or nan as well
    - with respect to b: a ** b · log a, and 0 where a is 0 and b ≥ 0

    >>> pow(day16.Tensor([2.0, 3.0]), 2).tolist()
    [4.0, 9.0]
    """
    # TODO: the power, two shares, and their special places.
    # HINT: np.where computes both of its branches; which of them may be nan, and does it matter?
    ### BEGIN SOLUTION
    # HINT: np.where(y == 0, 0, g * y * x ** (y - 1)) chooses after computing: nan is not taken.
    # HINT: np.where((x == 0) & (y >= 0), 0, g * x**y * np.log(x)), under np.errstate.
    a, b, x, y = pair("pow", a, b)
    with np.errstate(all="ignore"):
        power = x**y  # numpy's own ValueError refuses negative powers of integers

    def backward(g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with np.errstate(all="ignore"):
            of_a = np.where(y == 0, 0, g * y * x ** (y - 1))
            of_b = np.where((x == 0) & (y >= 0), 0, g * x**y * np.log(x))
        return unbroadcast(of_a, a.shape), unbroadcast(of_b, b.shape)

    return a._result(power, (a, b), "pow", backward)
    ### END SOLUTION


def where(condition: day16.Tensor, a: Operand, b: Operand) -> day16.Tensor:
    """a where ``condition`` (a bool Tensor) is True, b elsewhere; all three broadcast.

    Only what was taken gets a gradient: an inf or nan in the other operand reaches nothing. The
    condition gets none, and may be overwritten before the backward. TypeError if it is no bool
    Tensor; ValueError, naming ``where`` and the shapes, if they do not broadcast. op ``"where"``.

    >>> where(day16.Tensor([True, False]), day16.Tensor([1.0, 2.0]), 0).tolist()
    [1.0, 0.0]
    """
    # TODO: choose, and split the gradient.
    # HINT: the gradient of an element that was not taken is 0, whatever g is there.
    ### BEGIN SOLUTION
    # HINT: np.where(c, g, 0) is what a gets before it is made small; g * c would let inf · 0 in.
    # HINT: the condition is the first parent and its share is None; broadcast_shape of all three.
    if not isinstance(condition, day16.Tensor) or condition.dtype.kind != "b":
        raise TypeError("where: the condition must be a bool tensor")
    a, b, x, y = pair("where", a, b)
    try:
        broadcast_shape(condition.shape, x.shape, y.shape)
    except ValueError as error:
        raise ValueError(f"where: {error}") from None
    c = condition.data.copy()

    def backward(g: np.ndarray) -> tuple[None, np.ndarray, np.ndarray]:
        return (
            None,
            unbroadcast(np.where(c, g, 0), a.shape),
            unbroadcast(np.where(c, 0, g), b.shape),
        )

    return a._result(np.where(c, x, y), (condition, a, b), "where", backward)
    ### END SOLUTION


def maximum(a: Operand, b: Operand) -> day16.Tensor:
    """The larger of a and b, element by element; nan where either is nan. op ``"maximum"``.

    The gradient goes to the larger; where both are equal, half of it to each; where one is nan,
    all of it to both. So torch has it.

    >>> maximum(day16.Tensor([1.0, -1.0]), 0).tolist()
    [1.0, 0.0]
    """
    # TODO: like add.
    # HINT: four cases an element: a larger, b larger, a tie, a nan.
    ### BEGIN SOLUTION
    # HINT: np.where(x == y, g / 2, g) settles the ties; a comparison with nan is False.
    # HINT: np.where(x < y, 0, …) is the share of a, np.where(x > y, 0, …) that of b.
    a, b, x, y = pair("maximum", a, b)

    def backward(g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        g = np.where(x == y, g / 2, g)
        return (
            unbroadcast(np.where(x < y, 0, g), a.shape),
            unbroadcast(np.where(x > y, 0, g), b.shape),
        )

    return a._result(np.maximum(x, y), (a, b), "maximum", backward)
    ### END SOLUTION


def clamp(x: day16.Tensor, low: float | None = None, high: float | None = None) -> day16.Tensor:
    """x, but ``low`` where it is lower and ``high`` where it is higher (None: no bound there).

    The dtype is ``result_dtype`` of x and the bounds. Bounds are Python numbers that fit it, and
    are rounded to it: beside float32, 0.7 is float32's 0.7. If low > high, the result is high
    throughout. nan stays nan. The gradient passes where low ≤ x ≤ high, the borders included, and
    is 0 elsewhere. ValueError if both bounds are None. op ``"clamp"``.

    >>> clamp(day16.Tensor([-1.0, 0.5, 3.0]), 0, 1).tolist()
    [0.0, 0.5, 1.0]
    """
    # TODO: bound from below, then from above; remember what was inside.
    # HINT: is an element that stands exactly on a border inside?
    ### BEGIN SOLUTION
    # HINT: np.maximum(data, low), then np.minimum(…, high), in that order.
    # HINT: inside = (low <= data) & (data <= high), leaving out a bound that is None.
    if low is None and high is None:
        raise ValueError("clamp: low or high must be given")
    bounds = [bound for bound in (low, high) if bound is not None]
    data = np.asarray(x.data, result_dtype(x, *bounds))
    out, inside = data, np.ones(x.shape, bool)
    if low is not None:
        out, inside = np.maximum(out, data.dtype.type(low)), data >= low
    if high is not None:
        out, inside = np.minimum(out, data.dtype.type(high)), inside & (data <= high)
    return x._result(out, (x,), "clamp", lambda g: (np.where(inside, g, 0),))
    ### END SOLUTION


def compare(what: str, f: Callable[..., np.ndarray], a: Operand, b: Operand) -> day16.Tensor:
    """A comparison, as a bool tensor: it has no gradient."""
    a, b, x, y = pair(what, a, b)
    return a._result(f(x, y), (), "", tuple)


class Tensor(day16.Tensor):
    """Day 16's Tensor with Python's operators."""

    __slots__ = ()
    __array_ufunc__ = None  # numpy's arrays leave operators to us, which refuse them
    __hash__ = object.__hash__  # == compares elements; a graph tells tensors apart by identity

    def __add__(self, other: Operand) -> Tensor:
        return add(self, other)

    def __radd__(self, other: Operand) -> Tensor:
        return add(other, self)

    def __sub__(self, other: Operand) -> Tensor:
        return sub(self, other)

    def __rsub__(self, other: Operand) -> Tensor:
        return sub(other, self)

    def __mul__(self, other: Operand) -> Tensor:
        return mul(self, other)

    def __rmul__(self, other: Operand) -> Tensor:
        return mul(other, self)

    def __truediv__(self, other: Operand) -> Tensor:
        return div(self, other)

    def __rtruediv__(self, other: Operand) -> Tensor:
        return div(other, self)

    def __pow__(self, other: Operand) -> Tensor:
        return pow(self, other)

    def __rpow__(self, other: Operand) -> Tensor:
        return pow(other, self)

    def __neg__(self) -> Tensor:
        return mul(self, -1)

    def __eq__(self, other: Operand) -> Tensor:  # type: ignore[override]
        return compare("==", np.equal, self, other)

    def __ne__(self, other: Operand) -> Tensor:  # type: ignore[override]
        return compare("!=", np.not_equal, self, other)

    def __lt__(self, other: Operand) -> Tensor:
        return compare("<", np.less, self, other)

    def __le__(self, other: Operand) -> Tensor:
        return compare("<=", np.less_equal, self, other)

    def __gt__(self, other: Operand) -> Tensor:
        return compare(">", np.greater, self, other)

    def __ge__(self, other: Operand) -> Tensor:
        return compare(">=", np.greater_equal, self, other)

    def __bool__(self) -> bool:
        """Of one element; ValueError for more, naming the shape."""
        return bool(self.item())

    def maximum(self, other: Operand) -> Tensor:
        return maximum(self, other)

    def clamp(self, low: float | None = None, high: float | None = None) -> Tensor:
        return clamp(self, low, high)


def test_broadcasting() -> None:
    assert broadcast_shape((3, 1), (2, 1, 4)) == (2, 3, 4)
    assert unbroadcast(np.ones((2, 3)), (3,)).tolist() == [2.0, 2.0, 2.0]


def test_dtypes() -> None:
    assert (Tensor([1, 2]) + 0.5).dtype == np.float32
    assert (Tensor([1.0], dtype="float16") * 2.5).dtype == np.float16
    assert (Tensor([1, 2]) / 2).dtype == np.float32


def test_gradients() -> None:
    a = Tensor([[1.0], [2.0]], requires_grad=True)
    b = Tensor([3.0, 4.0], requires_grad=True)
    ((a * b - 1) / 2).backward(np.ones((2, 2)))
    assert a.grad is not None
    assert b.grad is not None
    assert a.grad.tolist() == [[3.5], [3.5]]
    assert b.grad.tolist() == [1.5, 1.5]


def test_choices() -> None:
    x = Tensor([-2.0, 0.0, 2.0], requires_grad=True)
    x.clamp(-1, 1).backward([1.0, 1.0, 1.0])
    assert x.grad is not None
    assert x.grad.tolist() == [0.0, 1.0, 0.0]
    assert where(x > 0, x, 0).tolist() == [0.0, 0.0, 2.0]
    assert maximum(x, 0).tolist() == [0.0, 0.0, 2.0]
    assert pow(x, 2).tolist() == [4.0, 0.0, 4.0]


if __name__ == "__main__":
    from harness import main

    main(__file__)
