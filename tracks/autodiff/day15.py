"""
Day 15: Tensor
==============
Estimated time: 1-2 hours
Prerequisites: Day 11 (the backward pass), Day 13 (neurons)
Lesson: lessons/day15.md

Learning objectives:
- Give an array PyTorch's dtype rules, which are not numpy's
- Build tensors: from data, filled, counted, drawn
- Let one backward step carry a whole array of gradients
- Say why a backward starts from one number, and what to pass when it does not

A Value held one number and its graph had a node for each addition. A Tensor holds an array, and
one node stands for thousands of operations:

    data     [[1. 2. 3.]     parents ──> the tensors it was computed from
              [4. 5. 6.]]    backward    grad of the result -> one share a parent
    grad     the same shape and dtype, or None

                 share of a                 gradient g of the result
       a (2, 3) <─────────── backward(g) <─────────── y (2, 3) <── y.backward(g)
       b (2, 3) <───────────
                 share of b

Hints:
- numpy has float64 wherever Python has float. PyTorch has float32 there, and keeps an array's type.
- A gradient always has the shape and dtype of what it belongs to.
- Who else can see this memory? Ask it whenever an array is kept.

Resources:
- torch.tensor: https://docs.pytorch.org/docs/stable/generated/torch.tensor.html
- Autograd mechanics: https://docs.pytorch.org/docs/stable/notes/autograd.html
- NumPy, scalars and arrays: https://numpy.org/doc/stable/reference/arrays.scalars.html
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from tracks.autodiff.day11 import topological_order

T = TypeVar("T", bound="Array")
Backward = Callable[[np.ndarray], Sequence["np.ndarray | None"]]
FLOAT = np.dtype(np.float32)
"""What Python's float becomes, as in PyTorch."""


def as_array(data: Any, dtype: Any = None) -> np.ndarray:
    """``data`` as a new numpy array, by PyTorch's rules.

    Args:
        data: a number, a bool, nested lists or tuples of them, a numpy array or scalar
        dtype: anything numpy takes as a dtype; None to infer it

    - An array or numpy scalar keeps its dtype.
    - Python's numbers: bool if all are bool, int64 if all are int or bool, else float32. Empty
      lists are float32. Lists of arrays are as numpy makes them.
    - The result is a copy in C order: nobody else sees its memory.
    - TypeError for what is not numeric: strings, None, objects, complex numbers.
      ValueError for ragged lists, such as [[1], [2, 3]].

    >>> as_array([1, 2.5]).dtype, as_array([1, True]).dtype, as_array(np.float64(2)).dtype
    (dtype('float32'), dtype('int64'), dtype('float64'))
    """
    # TODO: let numpy build it, then put its dtype right.
    # HINT: what is the dtype of np.array(2.5), and of np.array([])? How do you know that it was
    # numpy's choice, and not the caller's?
    raise NotImplementedError("as_array")


def _holds_numpy(data: Any) -> bool:
    """Whether numpy's own arrays or scalars, which have a dtype, are among the data."""
    if isinstance(data, (list, tuple)):
        return any(_holds_numpy(part) for part in data)
    return isinstance(data, (np.ndarray, np.generic))


class Array:
    """What a Tensor is before it has a memory of where it came from: an array with PyTorch's names.

    ``data`` is the numpy array itself. Days to come let several tensors look at one array, so
    nothing here copies it without saying so.
    """

    __slots__ = ("data",)

    def __init__(self, data: Any, dtype: Any = None) -> None:
        self.data = as_array(data.data if isinstance(data, Array) else data, dtype)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    @property
    def dtype(self) -> np.dtype:
        return self.data.dtype

    @property
    def ndim(self) -> int:
        return self.data.ndim

    def numel(self) -> int:
        """How many elements there are."""
        return self.data.size

    def __len__(self) -> int:
        """The length of the first axis. TypeError for a 0-d tensor, as torch says."""
        if self.ndim == 0:
            raise TypeError("len() of a 0-d tensor")
        return self.shape[0]

    def item(self) -> float | int | bool:
        """The only element as Python's own number: float, int or bool.

        Any shape will do that has one element: (), (1,), (1, 1). Else ValueError, with the shape.

        >>> Array([[2.5]]).item()
        2.5
        """
        # TODO: refuse all other sizes, and hand out the number.
        # HINT: numpy arrays have a method of that name. What does it say of two elements?
        raise NotImplementedError("Array.item")

    def tolist(self) -> Any:
        """The elements as nested lists of Python's own numbers; a 0-d tensor gives the number."""
        # TODO: one call.
        # HINT: list(array) leaves numpy's scalars in the list.
        raise NotImplementedError("Array.tolist")

    def __repr__(self) -> str:
        """``tensor([1., 2.])`` as PyTorch prints it: elements to four digits, the dtype if it is
        not one of float32, int64 and bool. Further words come from ``_notes``.

        >>> Array([1.0, 2.5]), Array([1]), Array([1.0], dtype="float64")
        (tensor([1.0000, 2.5000]), tensor([1]), tensor([1.0000], dtype=float64))
        """
        # TODO: join the elements and the notes with ", ".
        # HINT: np.array2string writes the elements; look at its arguments.
        raise NotImplementedError("Array.__repr__")

    def _notes(self) -> list[str]:
        """What else ``repr`` says; a subclass with more to say adds to it."""
        return []


class Tensor(Array):
    """An array that remembers what it was computed from, and takes gradients back to there.

    - ``requires_grad``: whether gradients with respect to it are wanted. A result requires them if
      one of its parents does.
    - ``grad``: None until a backward has arrived; then a Tensor of the same shape and dtype. Only
      leaves keep one: tensors that no operation has made.
    - ``parents``, ``op``: the operation, for a result that requires a gradient; else () and "".
    - ``_backward(g)``: for a result, the gradient ``g`` (an array of the result's shape and dtype)
      → a share for each parent, an array of the parent's shape, or None where there is none.
    """

    __slots__ = ("_backward", "grad", "op", "parents", "requires_grad")

    def __init__(self, data: Any, requires_grad: bool = False, dtype: Any = None) -> None:
        """A leaf that holds a copy of ``data`` (see ``as_array``).

        TypeError where gradients are asked of integers or bools: they do not vary a little.
        """
        # TODO: let Array do its part; refuse; fill the five slots.
        # HINT: dtype.kind tells floats from the rest.
        raise NotImplementedError("Tensor.__init__")

    def _result(
        self: T, data: np.ndarray, parents: Sequence[Tensor], op: str, backward: Backward
    ) -> T:
        """The result of an operation, of the class of ``self``, on the array ``data`` itself.

        It remembers parents and backward only if one of the parents requires a gradient.
        """
        result = self.__class__.__new__(self.__class__)
        result.data = np.asarray(data)  # a sum of all elements is a numpy scalar
        result.grad = None
        result.requires_grad = any(parent.requires_grad for parent in parents)
        result.parents = tuple(parents) if result.requires_grad else ()
        result.op = op if result.requires_grad else ""
        result._backward = backward if result.requires_grad else None
        return result

    def numpy(self) -> np.ndarray:
        """The array itself, not a copy: what is written there is seen here.

        RuntimeError if the tensor requires a gradient: an array cannot pass it on.
        ``detach().numpy()`` says that this is meant.
        """
        # TODO: refuse, or hand it out.
        # HINT: a change in the array would be a change that no graph knows of.
        raise NotImplementedError("Tensor.numpy")

    def detach(self: T) -> T:
        """A tensor on the same memory that knows no past and requires no gradient."""
        # TODO: a result without parents.
        # HINT: which of the methods above makes a tensor without copying the array?
        raise NotImplementedError("Tensor.detach")

    def clone(self: T) -> T:
        """A copy with memory of its own, through which gradients flow back: op ``"clone"``.

        The first operation: it shows how the others are made.
        """

        def backward(g: np.ndarray) -> tuple[np.ndarray]:
            return (g,)

        return self._result(self.data.copy(), (self,), "clone", backward)

    def backward(self, gradient: Any = None) -> None:
        """Add d(self) / d(leaf), weighted by ``gradient``, to the grad of every leaf that wants it.

        Args:
            gradient: how much each element of ``self`` counts: a Tensor or array of the shape of
                ``self``. None stands for 1, and only where ``self`` has one element.

        - ValueError if a ``_backward`` gives more or fewer shares than there are parents.
        - RuntimeError if ``self`` does not require a gradient; if ``gradient`` is None and there is
          more than one element (the message names the shape); if its shape is another one (the
          message names both).
        - Each ``_backward`` is called once, with the sum of all that arrives, as an array of the
          node's dtype; it is not called if nothing arrives. A parent that requires no gradient is
          passed over, whatever its share is.
        - A leaf's grad becomes a Tensor of its class, shape and dtype, without a gradient of its
          own and with memory of its own: no share, not ``gradient``, not another leaf's grad. What
          is there already is added to, in a new Tensor: an older grad that somebody holds stays.
        - Inner nodes keep no grad. Works for a graph of any depth.

        >>> x = Tensor([1.0, 2.0], requires_grad=True)
        >>> x.clone().backward(Tensor([10.0, 20.0]))
        >>> x.grad
        tensor([10.0000, 20.0000])
        """
        # TODO: check; seed; walk the order from the root and add the shares up.
        # HINT: day 11's topological_order asks only for parents. Where do the gradients of inner
        # nodes live while the walk is under way, if not in the nodes?
        raise NotImplementedError("Tensor.backward")

    def _accumulated(self: T, g: np.ndarray) -> T:
        """The grad of a leaf after ``g`` has arrived."""
        total = g.copy() if self.grad is None else self.grad.data + g
        return self._result(total, (), "", lambda g: ())

    def _notes(self) -> list[str]:
        notes = super()._notes()
        if self.op:
            notes.append(f"op={self.op}")
        elif self.requires_grad:
            notes.append("requires_grad=True")
        return notes


def full(
    shape: int | Sequence[int], value: Any, requires_grad: bool = False, dtype: Any = None
) -> Tensor:
    """A tensor of ``shape`` (a number or a tuple) with ``value`` everywhere.

    The dtype is the value's, as ``as_array`` infers it, unless one is given.

    >>> full((2,), 3), full((), 0.5)
    (tensor([3, 3]), tensor(0.5000))
    """
    # TODO: infer the dtype, then fill.
    # HINT: a Tensor copies what it is given; what does as_array make of an array?
    raise NotImplementedError("full")


def zeros(*shape: int, requires_grad: bool = False, dtype: Any = None) -> Tensor:
    """zeros(2, 3), of float32 unless a dtype is given."""
    return full(shape, 0.0, requires_grad, dtype)


def ones(*shape: int, requires_grad: bool = False, dtype: Any = None) -> Tensor:
    """ones(2, 3), of float32 unless a dtype is given."""
    return full(shape, 1.0, requires_grad, dtype)


def arange(
    start: float,
    end: float | None = None,
    step: float = 1,
    requires_grad: bool = False,
    dtype: Any = None,
) -> Tensor:
    """start, start + step, … as long as it lies before ``end``; arange(end) starts at 0.

    There are ceil((end - start) / step) elements, and element i is start + i * step. int64 if all
    three numbers are integers, else float32, unless a dtype is given. ValueError, naming the
    three numbers, if the step is 0 or leads away from ``end`` (numpy makes that an empty array;
    torch refuses it).

    >>> arange(3), arange(1, 2, 0.5), arange(5, 0, -2)
    (tensor([0, 1, 2]), tensor([1.0000, 1.5000]), tensor([5, 3, 1]))
    """
    # TODO: count the elements first, then compute them.
    # HINT: adding the step again and again adds its rounding error again and again.
    raise NotImplementedError("arange")


def randn(
    *shape: int,
    generator: np.random.Generator | None = None,
    requires_grad: bool = False,
    dtype: Any = None,
) -> Tensor:
    """Standard normal numbers, independent of each other; float32 unless a dtype is given.

    ``generator`` is numpy's, np.random.default_rng(seed) say; without one a new one is made, so
    that two calls give different numbers. The numbers are those of its ``standard_normal``, drawn
    in float64 and rounded once: one seed gives the same in every dtype, to its rounding.

    >>> randn(2, 3).shape
    (2, 3)
    """
    # TODO: draw, round, wrap.
    # HINT: standard normal, not uniform. Which argument of standard_normal takes a shape?
    raise NotImplementedError("randn")


def test_dtypes() -> None:
    assert as_array([1, 2.5]).dtype == np.float32
    assert as_array([[1, 2], [3, 4]]).dtype == np.int64
    assert as_array(np.arange(3.0)).dtype == np.float64


def test_array() -> None:
    x = Array([[1.0, 2.0], [3.0, 4.0]])
    assert (x.shape, x.tolist()) == ((2, 2), [[1.0, 2.0], [3.0, 4.0]])
    assert Array([7]).item() == 7
    assert repr(Array([1.0, 2.0])) == "tensor([1.0000, 2.0000])"


def test_backward_adds_up() -> None:
    x = Tensor([1.0, 2.0], requires_grad=True)
    for _ in range(2):
        x.clone().backward([10.0, 20.0])
    assert x.grad is not None
    assert x.grad.tolist() == [20.0, 40.0]


def test_constructors() -> None:
    assert zeros(2, 3).shape == (2, 3)
    assert full((2,), 7).tolist() == [7, 7]
    assert arange(1, 2, 0.25).tolist() == [1.0, 1.25, 1.5, 1.75]
    assert randn(4, 5).shape == (4, 5)


if __name__ == "__main__":
    from harness import main

    main(__file__)
