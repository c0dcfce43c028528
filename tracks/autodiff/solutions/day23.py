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
        ### BEGIN SOLUTION
        # HINT: arguments that are no tensors are among inputs as well: look at Tensors only.
        # HINT: self.tensor._made(np.asarray(array)) is a constant.
        if array is None:
            return None
        for argument, taken in zip(self.inputs, self.taken, strict=True):
            if taken is array and isinstance(argument, day22.Tensor):
                return argument
        for i, result in enumerate(found):
            if result is array:
                return Result(results[i].data, i)
        return self.tensor._made(np.asarray(array))
        ### END SOLUTION

    def finish(self, found: Sequence[Any], results: Sequence[Any]) -> None:
        """Replace each saved array by what stands for it, or all of them by nothing.

        ``super().finish`` does the rest: it lets go of ``inputs`` and ``taken``.
        """
        # TODO: keep each; super.
        # HINT: which attribute says whether anybody will ask for what was saved?
        ### BEGIN SOLUTION
        # HINT: any(self.needs_input_grad) decides; else saved = ().
        # HINT: keep needs both of them: call super().finish(found, results) last.
        wanted = self.saved if any(self.needs_input_grad) else ()
        self.saved = [self.keep(array, found, results) for array in wanted]
        super().finish(found, results)
        ### END SOLUTION

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        """What was saved, as Tensors: an argument is the very Tensor that it was.

        A result is made anew, with this node and its index, if it is of floats: it has the past
        that it had. RuntimeError if it has been released; the message names the operation and
        ``retain_graph``.
        """
        # TODO: refuse, or build the tuple.
        # HINT: which of the three kinds is not a Tensor yet?
        ### BEGIN SOLUTION
        # HINT: isinstance(kept, Result) tells them.
        # HINT: self.tensor._made(kept.data, self, kept.index), for floats; integers have no node.
        if self.saved is None:
            raise RuntimeError(
                f"{self.op}: what was saved is freed: a backward has been here before. "
                "Call that one with retain_graph=True, or run forward again"
            )
        tensors = []
        for kept in self.saved:
            if isinstance(kept, Result):
                node = self if kept.data.dtype.kind == "f" else None
                kept = self.tensor._made(kept.data, node, kept.index)
            tensors.append(kept)
        return tuple(tensors)
        ### END SOLUTION

    def release(self) -> None:
        """Let go of all that was saved; ``saved_tensors`` refuses from now on.

        A node that saved nothing can run again, as in torch: there is nothing that it lacks.
        """
        # TODO: forget, and let it be known that you forgot.
        # HINT: what does the backward of a sum need, and is that freed?
        ### BEGIN SOLUTION
        # HINT: only if something was saved.
        # HINT: saved is a list until then, and None afterwards.
        if self.saved:
            self.saved = None
        ### END SOLUTION


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
    ### BEGIN SOLUTION
    # HINT: topological_order(root.node) has leaves in it too: nodes are what has ``saved``, which
    # is None where it was released.
    # HINT: a dict from id(owner(kept.data)) to its nbytes, summed at the end.
    counted: dict[int, int] = {}
    for root in roots:
        if root.node is None:
            continue
        for node in topological_order(root.node):
            for kept in getattr(node, "saved", None) or ():
                if kept is not None:
                    memory = owner(kept.data)
                    counted[id(memory)] = memory.nbytes
    return sum(counted.values())
    ### END SOLUTION


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
        ### BEGIN SOLUTION
        # HINT: the backward also needs both shapes: a tuple of numbers costs nothing.
        # HINT: a is saved if ctx.needs_input_grad[1], else None in its place.
        of_a, of_b = ctx.needs_input_grad
        ctx.shapes = a.shape, b.shape
        ctx.save_for_backward(a if of_b else None, b if of_a else None)
        return a * b
        ### END SOLUTION

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        # TODO: as on day 22, with the shapes from where they are now.
        # HINT: which of the saved ones may be None?
        ### BEGIN SOLUTION
        # HINT: b is there if the share of a is needed.
        # HINT: sum_to(grad * b, shape of a) if ctx.needs_input_grad[0] else None
        a, b = ctx.saved_tensors
        of_a, of_b = ctx.needs_input_grad
        return (
            sum_to(grad * b, ctx.shapes[0]) if of_a else None,
            sum_to(grad * a, ctx.shapes[1]) if of_b else None,
        )
        ### END SOLUTION


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
        ### BEGIN SOLUTION
        # HINT: x > 0 can be told from the result as well.
        # HINT: y = np.maximum(x, 0); save y.
        y = np.maximum(x, 0)
        ctx.save_for_backward(y)
        return y
        ### END SOLUTION

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        # TODO: choose.
        # HINT: operations.where takes a bool Tensor and two more.
        ### BEGIN SOLUTION
        # HINT: where the result is above 0, grad; elsewhere 0.
        # HINT: operations.where(y > 0, grad, 0)
        (y,) = ctx.saved_tensors
        return operations.where(y > 0, grad, 0)
        ### END SOLUTION


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
        ### BEGIN SOLUTION
        # HINT: three entries in ctx.needs_input_grad, one for each argument.
        # HINT: x if the second is True, the weight if the first is.
        of_x, of_weight, _ = ctx.needs_input_grad
        ctx.save_for_backward(x if of_weight else None, weight if of_x else None)
        y = x @ weight.T
        if bias is not None:
            y += bias
        return y
        ### END SOLUTION

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        # TODO: three shares.
        # HINT: does each of them have its argument's shape?
        ### BEGIN SOLUTION
        # HINT: grad @ weight, grad.T @ x, and grad.sum(0).
        # HINT: each of them only if its entry of ctx.needs_input_grad is True, else None.
        x, weight = ctx.saved_tensors
        of_x, of_weight, of_bias = ctx.needs_input_grad
        return (
            grad @ weight if of_x else None,
            grad.T @ x if of_weight else None,
            grad.sum(0) if of_bias else None,
        )
        ### END SOLUTION


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
