"""
Day 24: Traversal
=================
Estimated time: 2 hours
Prerequisites: Day 22 (Function), Day 23 (context)
Lesson: lessons/day24.md

Learning objectives:
- Run a graph backwards by counting, without sorting it first
- Say when a node may run, and why a gradient that never comes must be counted too
- Start from several roots, and compute for some inputs only what they need
- Leave every grad as it was when a backward raises in the middle

A node may run when all that flows to it has come. How much that is is counted beforehand, and
counted down:

              ┌── b (1) ──┐            counts   x 2   a 2   b 1   c 1   loss 0
    x ─── a ──┤           ├── loss     ready    loss                     ->  b 0, c 0
              └── c (1) ──┘                     b, c                     ->  a 2, 1, 0
                                                a                        ->  x …

The number at a node is that of the edges that lead to it: a gradient, or None, will come by each.

Hints:
- Nothing here knows what an operation computes: nodes have ``edges``, ``shares`` and ``release``.
- None comes by an edge like any gradient. It adds nothing, and it counts.
- A leaf is a node without edges.

Resources:
- Autograd mechanics: https://docs.pytorch.org/docs/stable/notes/autograd.html
- torch.autograd.grad: https://docs.pytorch.org/docs/stable/generated/torch.autograd.grad.html
- A. B. Kahn, Topological sorting of large networks, Communications of the ACM 5(11), 1962
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np

from tracks.autodiff import day22, day23
from tracks.autodiff.day11 import topological_order
from tracks.autodiff.day22 import Edge, during_backward, mode, seed, to

Node = Any
"""A Context, or a leaf Tensor. Both can be in sets and are keys of dicts, by identity."""


def edges_of(node: Node) -> Sequence[Edge | None]:
    """Where the shares of a node go; a leaf has none."""
    return () if isinstance(node, day22.Tensor) else node.edges


def dependencies(starts: Iterable[Node], among: Collection[Node] | None = None) -> dict[Node, int]:
    """How many edges lead to each node that can be reached from the nodes ``starts``.

    - Edges of nodes that are starts or can be reached from one; each edge counts, also if several
      lead from one node to another: x · x has two to x. A start is in the result, with 0 if no
      edge leads to it.
    - With ``among`` (a set), only nodes in it are there: others are neither counted nor walked
      through.
    - Linear in the edges, of any depth. A start may be named twice.

    >>> x = Tensor([1.0], requires_grad=True)
    >>> y = x * x
    >>> dependencies([y.node]) == {y.node: 0, x: 2}
    True
    """
    # TODO: walk from the starts, and count every edge once.
    # HINT: a node's edges are counted when the node is taken from the list. How often may that be?
    raise NotImplementedError("dependencies")


def needed(starts: Iterable[Node], targets: Collection[Node]) -> set[Node]:
    """The nodes on the ways from ``starts`` to ``targets`` (a set), both ends included.

    A gradient must come to these, and to no other: nodes that can be reached from a start and from
    which a target can be reached. A target that no start reaches is not among them. Linear in the
    edges for each start, of any depth.

    >>> x, w = (Tensor([1.0], requires_grad=True) for _ in "xw")
    >>> y = x * w
    >>> needed([y.node], {x}) == {y.node, x}
    True
    """
    # TODO: go through the nodes in an order in which parents come first.
    # HINT: day 11 gives such an order. When is a node on a way to a target?
    raise NotImplementedError("needed")


class Engine:
    """Runs graphs backwards. What happens to one gradient is a method, ``add``, ``arrived``,
    ``shares`` or ``accumulate``: ``run`` calls it on self, and later days replace some."""

    def add(self, waiting: dict[Node, list[Any]], edge: Edge, share: Tensor) -> None:
        """A gradient comes by ``edge``: it waits at the node, summed in a list with a place for
        each of the node's results; a leaf has one."""
        node, index = edge
        grads = waiting.get(node)
        if grads is None:
            results = 1 if isinstance(node, day22.Tensor) else len(node.outputs)
            grads = waiting[node] = [None] * results
        before = grads[index]
        if before is None:
            grads[index] = share
        elif mode.recording:
            grads[index] = before + share
        else:  # the same without what nobody will look at
            grads[index] = share._made(np.asarray(before.data + share.data))

    def arrived(self, node: Node, grads: list[Any]) -> list[Any]:
        """All that flows to ``node`` has come. Tomorrow hooks are called here.

        A subclass may put another gradient in the place of each; None stays None.
        """
        return grads

    def shares(self, node: Node, grads: list[Any], among: Collection[Node] | None) -> list[Any]:
        """The node's shares; only those that lead to nodes ``among`` are computed."""
        if among is None:
            return node.shares(grads)
        before = node.needs_input_grad
        node.needs_input_grad = [e is not None and e[0] in among for e in node.edges]
        try:
            shares = node.shares(grads)
        finally:
            node.needs_input_grad = before
        wanted = zip(shares, node.edges, strict=True)
        return [s if e is not None and e[0] in among else None for s, e in wanted]

    def accumulate(self, leaf: Tensor, grad: Tensor) -> None:
        """``grad`` is all that came to a leaf in this pass. It keeps its past, if it has one."""
        if grad.requires_grad:
            leaf.grad = grad if leaf.grad is None else leaf.grad + grad
        else:
            leaf.grad = leaf._accumulated(grad.data)

    def run(
        self,
        roots: Sequence[Tensor],
        grads: Sequence[Tensor],
        inputs: Sequence[Tensor] | None = None,
        retain_graph: bool = False,
        create_graph: bool = False,
    ) -> list[Tensor | None]:
        """One pass from ``roots``, at which ``grads`` come in.

        Without ``inputs`` what comes to each leaf is added to its grad; the result is []. With
        them no grad changes, and the result is what came to each input, None if nothing did. An
        input may be a leaf or a result, also a root, and may be named twice.

        - The gradients ``grads`` are put down by ``add``, at the edges of their roots.
        - A node's turn comes when a gradient or None has come by every edge to it. Then, if any
          gradient came, ``arrived`` may replace what came, ``shares`` is called once, ``add`` with
          every share that is not None, and ``release`` unless ``retain_graph``.
        - If nothing came, ``arrived``, ``shares`` and ``release`` are not called, and None goes by
          all of its edges.
        - With ``inputs`` only nodes that are ``needed`` have a turn: none, if it is empty. A node
          behind which no other needed node lies hands nothing on: ``arrived`` is called, but
          neither ``shares`` nor ``release``.
        - What comes to a leaf or an input is ``arrived``'s, in the dtype of the tensor.
        - All backwards happen in ``during_backward(create_graph)``. ``accumulate`` is called after
          all of them: if one raises, every grad is as it was. Nodes that had their turn before
          that are released and say so when they are asked again; the one that raised is not.
        - A gradient is let go of when its node's turn is over, and a leaf's when it has been added
          to its grad; only those of the latest turns may be held longer. Limit: forward and
          backward of 40 products in a row have at most 0.6 times the peak memory that they have
          with ``retain_graph``.
        - Linear in the edges, of any depth.
        """
        # TODO: count; put the seeds down; while a node is ready, let it have its turn.
        # HINT: which nodes are ready at the start? Not every root: one may lie behind another.
        raise NotImplementedError("Engine.run")

    def _at(self, x: Tensor, came: dict[Node, list[Any]]) -> Tensor | None:
        """What came to the tensor ``x``, in its dtype."""
        node, index = x.edge
        grad = came[node][index] if node in came else None
        return None if grad is None else to(grad, x.dtype)


class Tensor(day23.Tensor):
    """Day 23's Tensor on today's engine."""

    __slots__ = ()
    Engine: type[Engine] = Engine

    def backward(
        self, gradient: Any = None, retain_graph: bool | None = None, create_graph: bool = False
    ) -> None:
        backward([self], [gradient], retain_graph, create_graph)


def listed(tensors: Any) -> list[Any]:
    """One tensor, or several in a sequence, as a list."""
    return [tensors] if isinstance(tensors, day22.Tensor) else list(tensors)


def seeds(roots: list[Tensor], gradients: Any) -> list[Tensor]:
    """A gradient for each root, checked by day 22's ``seed``.

    ``gradients``: a list or tuple has one for each root, in which None stands for 1 where the root
    has one element; None is None for all; anything else is one gradient: a Tensor, an array, a
    number. RuntimeError, naming both counts, if there are more or fewer than roots.
    """
    # TODO: make a list of it, compare, check each.
    # HINT: an array of three numbers is one gradient. A list of three numbers is three.
    raise NotImplementedError("seeds")


def backward(
    tensors: Any,
    grad_tensors: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
) -> None:
    """Add the gradients of all ``tensors``, in one pass, to the grads of their leaves.

    - One tensor or a sequence of them; ``grad_tensors`` is what ``seeds`` takes.
    - The gradients of several roots add up. A root may lie behind another, or be there twice.
    - ``retain_graph`` is ``create_graph``, unless it is given. The engine is the one that the first
      tensor's class names: ``first.Engine()``.
    - No tensors at all: nothing happens, if ``grad_tensors`` passes ``seeds``.

    >>> x = Tensor([1.0, 2.0], requires_grad=True)
    >>> backward([x.sum(), x * x], [None, [1.0, 1.0]])
    >>> x.grad
    tensor([3.0000, 5.0000])
    """
    # TODO: prepare, and run.
    # HINT: everything that has to be checked is checked before the engine starts. By whom?
    raise NotImplementedError("backward")


def grad(
    outputs: Any,
    inputs: Any,
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool = False,
) -> tuple[Tensor | None, ...]:
    """The gradients of ``outputs`` with respect to ``inputs``, and no other: no grad changes.

    - Both are one tensor or a sequence; the result is a tuple with one for each input, in its
      shape and dtype. Inputs are leaves or results. Nothing is computed that they do not need.
    - RuntimeError if an input requires no gradient; and if no gradient comes to one, saying
      ``allow_unused``, unless that is True: then None stands for it.
    - No inputs: (). No outputs: no gradient comes to any input.
    - ``grad_outputs``, ``retain_graph``, ``create_graph`` and the engine as in ``backward``.

    >>> x, y = (Tensor(v, requires_grad=True) for v in (2.0, 3.0))
    >>> grad(x * x * y, x)
    (tensor(12.0000),)
    """
    # TODO: check the inputs; run; check what came.
    # HINT: which list does run give back, and what is in it for an input that was not used?
    raise NotImplementedError("grad")


def test_counting() -> None:
    x = Tensor([1.0, 2.0], requires_grad=True)
    a = x * 2.0
    loss = (a + a * a).sum()
    counts = dependencies([loss.node])
    assert counts[loss.node] == 0
    assert counts[a.node] == 3
    assert counts[x] == 1


def test_only_what_is_asked() -> None:
    x, y = (Tensor(v, requires_grad=True) for v in (2.0, 3.0))
    z = x * y
    loss = z * z + y
    assert needed([loss.node], {x}) == {loss.node, loss.node.parents[0], z.node, x}
    (of_z,) = grad(loss, z, retain_graph=True)
    assert of_z is not None
    assert of_z.item() == 12.0
    (of_x,) = grad(loss, x)
    assert of_x is not None
    assert of_x.item() == 36.0
    assert x.grad is None


def test_several_roots() -> None:
    x = Tensor([1.0, 2.0], requires_grad=True)
    y = x * x
    backward([y, y.sum()], [[1.0, 1.0], None])
    assert x.grad is not None
    assert x.grad.tolist() == [4.0, 8.0]


if __name__ == "__main__":
    from harness import main

    main(__file__)
