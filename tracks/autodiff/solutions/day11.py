"""
Day 11: The backward pass
=========================
Estimated time: 1-2 hours
Prerequisites: Day 4 (topological order), Day 9 and Day 10 (operators with local backwards)
Lesson: lessons/day11.md

Learning objectives:
- Put the nodes of a graph in an order in which each gradient is complete before it is handed on
- Run the chain rule over a graph of any shape and any depth
- Know what a second backward adds, and where
- Compute the gradient of a large sum piece by piece, in the memory of one piece

    a ───┬─────────────┐
         └─ **2 = b ─┬─ * = c ─┐
                     │         + = d     order of handing on: d, c, b;
                     └─────────┘         a only receives

The square b waits for the gradients of both its users, c and d. If it handed on after the first of
them had come in, half of its gradient would be lost on the way to a.

Hints:
- A node's gradient is complete when everything that was computed from it has handed on.
- Day 4's order has every node after its operands. Read it from its end.
- What does a node's grad hold, before a backward pass begins, if there was one before?

Resources:
- Evaluating Derivatives, A. Griewank and A. Walther, chapter 3
- PyTorch's autograd: https://docs.pytorch.org/docs/stable/notes/autograd.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from tracks.autodiff.day08 import Value as Base
from tracks.autodiff.day10 import Value as Differentiable


def zero_grad(values: Iterable[Base]) -> None:
    """Set the grad of each of the ``values`` to 0.0, and change nothing else.

    ``values`` is any iterable, also a generator; usually the parameters of a model, before the
    gradient of the next step is computed.

    >>> a = Base(3.0)
    >>> a.grad = 2.0
    >>> zero_grad([a])
    >>> a
    Value(data=3.0, grad=0.0)
    """
    # TODO: visit each value.
    # HINT: a backward adds to the grad that it finds. To which start can a number be added?
    ### BEGIN SOLUTION
    # HINT: a generator can be walked through once. How often must each value be visited?
    # HINT: one loop over the values, one assignment in it: value.grad = 0.0.
    for value in values:
        value.grad = 0.0
    ### END SOLUTION


def topological_order(root: Base) -> list[Base]:
    """Every Value that ``root`` was computed from, each after all of its parents; ``root`` last.

    Each is there once, however often it is used. Among the orders that are possible any will do.
    Takes a time proportional to the edges, for a graph of any depth: no recursion. Nothing in the
    graph is changed. (A graph of Values has no cycle: an operand is there before its result.)

    >>> a = Base(3.0)
    >>> b = Base(9.0, (a, a), "*")
    >>> c = Base(12.0, (b, a), "+")
    >>> topological_order(c) == [a, b, c]
    True
    """
    # TODO: walk from the root to the parents; note a node when all its parents are noted.
    # HINT: a node is met twice: on the way down, and again when its parents are done.
    # HINT: day 8's walk marked a node as seen when it was put on the list. Is that still right?
    ### BEGIN SOLUTION
    # HINT: the list can hold reminders: put the node back, a None on it, and its parents on top.
    # HINT: whoever takes a None from the list knows that the parents of the node below are noted.
    order: list[Base] = []
    seen: set[Base] = set()
    pending: list[Any] = [root]
    while pending:
        node = pending.pop()
        if node is None:
            order.append(pending.pop())
        elif node not in seen:
            seen.add(node)
            pending += (node, None)
            pending += node.parents
    return order
    ### END SOLUTION


class Value(Differentiable):
    """A Value that computes the gradient of itself with respect to all that it was made from."""

    __slots__ = ()

    def backward(self) -> None:
        """Compute d(self) / d(node) for every node of the graph of ``self``.

        - Inner nodes, which have parents: ``grad`` is set to the derivative. What an earlier
          backward left there is forgotten.
        - Leaves, which have none: the derivative is *added* to ``grad``. So two calls, on one
          root or on two, leave the sum of both there, until ``zero_grad`` is called.

        ``self.grad`` becomes 1.0, or grows by 1.0 if ``self`` is a leaf itself. PyTorch does the
        same at leaves; of inner nodes it keeps no grad unless asked to. If inner nodes added up
        too, a second call would hand the first one's gradients on again.

        Each ``_backward`` is called once, with a gradient that is complete, also if that is 0.0: a
        slope may be infinite, and 0 · inf is nan. A node may have parents and no ``_backward``: it
        hands on nothing. Works for a graph of any depth and takes a time
        proportional to its edges. The graph stays as it is, so that backward may be called again.

        >>> a = Value(3.0)
        >>> b = a * a
        >>> (b + b * a).backward()
        >>> a.grad, b.grad
        (33.0, 4.0)
        """
        # TODO: clear what must not be handed on again, seed the root, walk through the order.
        # HINT: which node's gradient is known before anything is computed, and what is it?
        ### BEGIN SOLUTION
        # HINT: node.parents is empty for a leaf: its grad must not be cleared.
        # HINT: for node in reversed(order): node._backward(node.grad), unless that is None.
        order = topological_order(self)
        for node in order:
            if node.parents:
                node.grad = 0.0
        self.grad += 1.0
        for node in reversed(order):
            if node._backward is not None:
                node._backward(node.grad)
        ### END SOLUTION


def accumulate(
    loss: Callable[[Any], Value], parameters: Iterable[Value], samples: Sequence[Any]
) -> float:
    """The mean of loss(sample) over all samples; its gradient is left in the parameters' grads.

    ``loss`` is called once for each sample, in their order, and builds a graph out of the
    ``parameters``. What was in their grads before is cleared first.

    The graph of one sample is let go before that of the next but one is built: the memory needed
    does not grow with the number of samples. This is how a batch that does not fit into memory is
    trained on ("gradient accumulation").

    Raises ValueError if there are no samples.

    >>> w = Value(2.0)
    >>> accumulate(lambda x: (w * x - 1) ** 2, [w], [1.0, 3.0])
    13.0
    >>> w.grad
    16.0
    """
    # TODO: clear the grads, then for each sample its share of the mean.
    # HINT: the derivative of a sum is the sum of the derivatives. What adds them up here?
    ### BEGIN SOLUTION
    # HINT: a mean is a sum of loss(sample) / n, and each term can be sent backward alone.
    # HINT: add up term.data, a number: adding up the terms would keep all graphs.
    if not len(samples):
        raise ValueError("the mean of no samples does not exist")
    zero_grad(parameters)
    mean = 0.0
    for sample in samples:
        term = loss(sample) / len(samples)
        term.backward()
        mean += term.data
    return mean
    ### END SOLUTION


def test_zero_grad() -> None:
    a = Value(3.0)
    a.grad = 2.0
    zero_grad([a])
    assert (a.data, a.grad) == (3.0, 0.0)


def test_topological_order() -> None:
    a = Value(3.0)
    b = a * a
    c = b + a
    assert topological_order(c) == [a, b, c]


def test_backward() -> None:
    a = Value(3.0)
    b = a * a
    c = b + b * a
    c.backward()
    assert (a.grad, b.grad, c.grad) == (33.0, 4.0, 1.0)
    c.backward()
    assert (a.grad, b.grad, c.grad) == (66.0, 4.0, 1.0)


def test_accumulate() -> None:
    w = Value(2.0)
    mean = accumulate(lambda x: (w * x - 1) ** 2, [w], [1.0, 3.0])
    assert (mean, w.grad) == (13.0, 16.0)


if __name__ == "__main__":
    from harness import main

    main(__file__)
