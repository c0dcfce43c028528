"""
Day 23: Context
===============
Estimated time: 1-2 hours
Prerequisites: Day 22 (Function)
Lesson: lessons/day23.md

Learning objectives:
- Say what a graph keeps in memory, in bytes, and for how long
- Let go of it as the backward passes, without a cycle that only the garbage collector would find
- Refuse a second backward with its reason, or keep the graph for it
- Choose what an operation saves: what is needed, what is small, what is kept anyway

Training takes several times the memory of the weights, and most of that is what forward keeps for
backward:

    forward    x ─> h1 ─> h2 ─> h3 ─> loss      kept: x, h1, h2, h3
    backward                 <─ h3 <─ loss      h3 used and freed
                       <─ h2                    h2 used and freed
               g <─ h1                          … at the end: the gradients of leaves, nothing else

A context keeps an argument as that Tensor, a result as its array and number, and all else as a
constant.

Hints:
- A tensor holds its node. If the node held that tensor too, neither would ever be freed.
- What two operations save is in memory once.
- ``None`` in ``save_for_backward`` keeps the place of what is not needed.

Resources:
- Saved tensors: https://docs.pytorch.org/docs/stable/notes/autograd.html#saved-tensors
- T. Chen, B. Xu, C. Zhang, C. Guestrin, Training Deep Nets with Sublinear Memory Cost, 2016:
  https://arxiv.org/abs/1604.06174
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from tracks.autodiff import day22, operations
from tracks.autodiff.day11 import topological_order
from tracks.autodiff.day22 import Function, operands, register, sum_to


class Result(NamedTuple):
    """A saved array that is a result of its own node: which one, and no Tensor."""

    data: np.ndarray
    index: int


class Context(day22.Context):
    """A context that knows what it saved, and lets it go.

    After ``finish``, ``saved`` has for everything that forward saved, in its order:

    - the Tensor itself, if it is an argument: the one that ``apply`` was called with
    - ``Result(array, index)``, if it is a result, of which only the array is held
    - a Tensor without a node for any other array, and None for None

    and it is empty if no argument needs a gradient: nobody will ask. Once released it is None.
    """

    __slots__ = ()

    def keep(self, array: Any, found: Sequence[Any], results: Sequence[Any]) -> Any:
        """What stands for ``array`` in ``saved``; see above.

        It is an argument if it is the same object (``is``) as the array that forward took for it:
        ``taken[i]`` for ``inputs[i]``. It is a result if it is the same object as ``found[i]``;
        then ``results[i].data`` is the array to hold.
        """
        # TODO: None, arguments, results, constants.
        # HINT: == would compare elements, and two tensors may have equal ones.
        raise NotImplementedError("Context.keep")

    def finish(self, found: Sequence[Any], results: Sequence[Any]) -> None:
        """Replace each saved array by what stands for it, or all of them by nothing.

        ``super().finish`` does the rest: it lets go of ``inputs`` and ``taken``.
        """
        # TODO: keep each; super.
        # HINT: which attribute says whether anybody will ask for what was saved?
        raise NotImplementedError("Context.finish")

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        """What was saved, as Tensors: an argument is the very Tensor that it was.

        A result is made anew, with this node and its index, if it is of floats: it has the past
        that it had. RuntimeError if it has been released; the message names the operation and
        ``retain_graph``.
        """
        # TODO: refuse, or build the tuple.
        # HINT: which of the three kinds is not a Tensor yet?
        raise NotImplementedError("Context.saved_tensors")

    def release(self) -> None:
        """Let go of all that was saved; ``saved_tensors`` refuses from now on.

        A node that saved nothing can run again, as in torch: there is nothing that it lacks.
        """
        # TODO: forget, and let it be known that you forgot.
        # HINT: what does the backward of a sum need, and is that freed?
        raise NotImplementedError("Context.release")


def owner(array: np.ndarray) -> np.ndarray:
    """The array whose memory ``array`` looks at: a view keeps all of it alive."""
    base: Any = array
    while getattr(base, "base", None) is not None:
        base = base.base
    return base if isinstance(base, np.ndarray) else array


def saved_bytes(*roots: day22.Tensor) -> int:
    """The bytes of memory that the graphs of ``roots`` keep in what their contexts saved.

    - All nodes that can be reached from a root count, each memory once, however many nodes saved
      it, and from whichever root it is reached.
    - A view counts as the array that it looks at (``owner``): that is what stays alive.
    - Leaves have no context. One that a node saved counts, as any other tensor.
    - A graph of any depth. Nothing is released or computed.

    >>> x = Tensor([1.0, 2.0], requires_grad=True, dtype="float64")
    >>> saved_bytes(x), saved_bytes(x.exp()), saved_bytes(x * x, x.exp())
    (0, 16, 32)
    """
    # TODO: find all nodes, all arrays, and the owner of each.
    # HINT: what is a good key for "this memory has been counted"?
    raise NotImplementedError("saved_bytes")


class Mul(Function):
    """a · b as on day 22, of two arrays of one dtype, and each is saved only if it will be needed.

    Limit: in ``x * c``, where c needs no gradient, x is not kept; nor is c in the other case.

    >>> x = Tensor(np.ones(1000), requires_grad=True)
    >>> saved_bytes(Mul.apply(x, Tensor(np.ones(()))))
    8
    """

    @staticmethod
    def forward(ctx: Any, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        # TODO: who needs whom?
        # HINT: b stands in the share of a.
        raise NotImplementedError("Mul.forward")

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        # TODO: as on day 22, with the shapes from where they are now.
        # HINT: which of the saved ones may be None?
        raise NotImplementedError("Mul.backward")


class Relu(Function):
    """The larger of x and 0, element by element; nan stays nan. The gradient passes where x > 0.

    Limit: it adds nothing to a graph in which the next operation saves its argument, as most do:
    ``saved_bytes`` of that graph is the same with it and without.

    >>> Relu.apply(Tensor([-1.0, 0.0, 2.0])).tolist()
    [0.0, 0.0, 2.0]
    """

    @staticmethod
    def forward(ctx: Any, x: np.ndarray) -> np.ndarray:
        # TODO: compute, and save what somebody else keeps anyway.
        # HINT: the next operation's argument is your …?
        raise NotImplementedError("Relu.forward")

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        # TODO: choose.
        # HINT: operations.where takes a bool Tensor and two more.
        raise NotImplementedError("Relu.backward")


class Linear(Function):
    """x @ weight.T + bias: x (n, k), weight (m, k), bias (m,) or None, of one dtype, give (n, m).

    Shares: grad @ weight for x, grad.T @ x for the weight, the sum of grad over the rows for the
    bias.

    Limits: x is kept only if the weight needs a gradient, the weight only if x does, and neither
    for the bias. What needs no gradient gets None, and nothing is multiplied for it.

    >>> x, w = Tensor([[1.0, 2.0]]), Tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    >>> Linear.apply(x, w, Tensor([0.5, 0.5, 0.5])).tolist()
    [[1.5, 2.5, 3.5]]
    """

    @staticmethod
    def forward(ctx: Any, x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None) -> np.ndarray:
        # TODO: who needs whom? Then the product.
        # HINT: what of x and of the weight is in the share of the bias?
        raise NotImplementedError("Linear.forward")

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        # TODO: three shares.
        # HINT: does each of them have its argument's shape?
        raise NotImplementedError("Linear.backward")


class Tensor(day22.Tensor):
    """Day 22's Tensor whose graphs let go of what they saved."""

    __slots__ = ()
    Context = Context


register("mul", lambda a, b: Mul.apply(*operands("mul", a, b)), Tensor)
register("relu", Relu, Tensor)


def test_what_is_kept() -> None:
    x = Tensor([0.0, 1.0], requires_grad=True)
    y = x.exp()
    (kept,) = y.node.saved_tensors
    assert kept.tolist() == y.tolist()
    assert kept.node is y.node
    a, b = (x * y).node.saved_tensors
    assert a is x
    assert b is y


def test_letting_go() -> None:
    x = Tensor(2.0, requires_grad=True)
    y = x * x
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad is not None
    assert x.grad.item() == 8.0
    try:
        y.backward()
    except RuntimeError as error:
        assert "retain_graph" in str(error)
    else:
        raise AssertionError("a third backward went through")


def test_bytes() -> None:
    x = Tensor(np.ones(100), requires_grad=True)
    assert saved_bytes(x * 2.0) == 8
    assert saved_bytes(x * x) == 800
    assert saved_bytes(x.relu() * x.relu()) == 1600


def test_layers() -> None:
    x = Tensor([[1.0, -2.0]], requires_grad=True)
    w = Tensor([[3.0, 1.0]], requires_grad=True)
    b = Tensor([0.0], requires_grad=True)
    y = Linear.apply(x, w, b).relu()
    y.backward([[1.0]])
    assert y.tolist() == [[1.0]]
    assert x.grad is not None
    assert w.grad is not None
    assert x.grad.tolist() == [[3.0, 1.0]]
    assert w.grad.tolist() == [[1.0, -2.0]]


if __name__ == "__main__":
    from harness import main

    main(__file__)
