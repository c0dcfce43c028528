"""
Day 25: Accumulation and hooks
==============================
Estimated time: 2 hours
Prerequisites: Day 23 (context), Day 24 (traversal)
Lesson: lessons/day25.md

Learning objectives:
- Sum gradients in memory that the engine owns, and never in memory that somebody else holds
- Call functions on a gradient at the one moment when it is complete
- Keep the gradient of a result without a cycle
- Trade time for memory: forget what a part of the graph keeps, and compute it again when it is due

All that flows to a tensor is summed, then hooks may look at it or replace it, then it goes on:

    share ──┐
    share ──┼── Buffers: sum ── hook ── hook ──┬── retained: y.grad
    share ──┘                                  └── the node's backward, or a leaf's grad

A checkpoint is one node for many operations. It keeps their arguments alone:

    x ─> f1 ─> f2 ─> f3 ─> y      kept: all in between        forward once
    x ─> [ f1  f2  f3 ] ─> y      kept: x                     forward twice, the second time
                                                              when the gradient of y has come

Hints:
- A share may be an array that others hold: x + x hands out one gradient twice.
- Hooks belong to a place in the graph, a node and the number of its result, not to the Python
  object that somebody happens to hold.
- In a checkpoint's backward a graph is made and run while another one is running.

Resources:
- Backward hooks: https://docs.pytorch.org/docs/stable/notes/autograd.html#backward-hooks-execution
- torch.utils.checkpoint: https://docs.pytorch.org/docs/stable/checkpoint.html
- T. Chen, B. Xu, C. Zhang, C. Guestrin, Training Deep Nets with Sublinear Memory Cost, 2016:
  https://arxiv.org/abs/1604.06174
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np

from tracks.autodiff import day22, day24, operations
from tracks.autodiff.day22 import Edge, Function, during_backward, mode, to
from tracks.autodiff.day24 import Node, dependencies, seeds

Hook = Callable[[Any], Any]
"""Takes a gradient, and gives another one in its place, or None."""


class Buffers(list[Any]):
    """What waits at a node: for each of its results the sum of the gradients so far, or None.

    ``owned`` says for each place whether its array was made here, so that nobody else holds it.
    """

    def __init__(self, results: int) -> None:
        super().__init__([None] * results)
        self.owned = [False] * results

    def add(self, index: int, share: Tensor) -> None:
        """Add ``share``, of the shape of what is there already, at the place ``index``.

        - The first share is put there itself. It is not changed afterwards: others may hold it.
        - The second one makes a sum in a new array, and from then on the place is owned. Further
          ones are added in that array, unless the sum has another dtype (numpy's rule), which
          needs a new one.
        - While operations are recorded (``mode.recording``, create_graph) it is the operation
          ``before + share`` always, so that the sum has a past.

        Limit: n shares of one dtype take the memory of one new array together.

        >>> sums, g = Buffers(2), Tensor([1.0, 2.0])
        >>> for _ in range(3):
        ...     with during_backward():
        ...         sums.add(1, g)
        >>> sums, g
        ([None, tensor([3.0000, 6.0000])], tensor([1.0000, 2.0000]))
        """
        # TODO: four cases: the first, recorded, in place, in a new array.
        # HINT: when may you write into self[index].data, and who could see it?
        ### BEGIN SOLUTION
        # HINT: share._made(np.asarray(before.data + share.data)) is a sum in a new array.
        # HINT: np.result_type(a, b) is the dtype of a + b; np.add(a, b, out=a) writes into a.
        before = self[index]
        if before is None:
            self[index] = share
        elif mode.recording:
            self[index] = before + share
        elif self.owned[index] and before.dtype == np.result_type(before.data, share.data):
            np.add(before.data, share.data, out=before.data)
        else:
            self[index] = share._made(np.asarray(before.data + share.data))
            self.owned[index] = True
        ### END SOLUTION


class Handle:
    """What ``register_hook`` gives: with it the hook can be taken away again."""

    def __init__(self, hooks: dict[Handle, Hook]) -> None:
        self.hooks = hooks

    def remove(self) -> None:
        self.hooks.pop(self, None)


class Hooks:
    """What is to happen with the gradient of one tensor when it is complete."""

    def __init__(self) -> None:
        self.functions: dict[Handle, Hook] = {}
        self.retaining: Callable[[], Tensor | None] = lambda: None
        """The tensor that keeps the gradient, or None if there is none any more."""

    def add(self, hook: Hook) -> Handle:
        """Hooks are called in the order in which they were added, one that was added twice twice.
        The handle takes away this one, also if the same function was added again."""
        # TODO: a handle, and the hook under it.
        # HINT: dicts keep the order in which keys were put in.
        ### BEGIN SOLUTION
        # HINT: which object is there anew for each call, and can be a key?
        # HINT: handle = Handle(self.functions); self.functions[handle] = hook.
        handle = Handle(self.functions)
        self.functions[handle] = hook
        return handle
        ### END SOLUTION

    def __call__(self, grad: Tensor) -> Tensor:
        """The gradient after all hooks. Each gets what the one before it gave.

        - None leaves it as it is. Else the hook gives the new gradient: TypeError if that is no
          Tensor; RuntimeError, with what it gave and what was due, for another shape or dtype.
        - Those are called that are there at the beginning: a hook may take itself away.
        - At last the tensor that ``retaining()`` gives, if there is one, accumulates the result in
          its grad: ``tensor.Engine().accumulate(tensor, grad)``.
        """
        # TODO: every hook in turn, then whoever retains.
        # HINT: what does Python say if a dict changes while a loop runs over it?
        ### BEGIN SOLUTION
        # HINT: loop over list(self.functions.values()).
        # HINT: (new.shape, new.dtype) != (grad.shape, grad.dtype) is the check.
        for hook in list(self.functions.values()):
            new = hook(grad)
            if new is None:
                continue
            if not isinstance(new, day22.Tensor):
                raise TypeError(f"a hook gave a {type(new).__name__}, where a Tensor was due")
            if (new.shape, new.dtype) != (grad.shape, grad.dtype):
                raise RuntimeError(
                    f"a hook gave a gradient of shape {new.shape} and {new.dtype}, where "
                    f"{grad.shape} and {grad.dtype} were due"
                )
            grad = new
        tensor = self.retaining()
        if tensor is not None:
            tensor.Engine().accumulate(tensor, grad)
        return grad
        ### END SOLUTION


class Engine(day24.Engine):
    """Yesterday's engine with buffers and hooks."""

    quiet: Collection[Node] = ()
    """Leaves and nodes whose hooks are not called in this pass."""

    def add(self, waiting: dict[Node, list[Any]], edge: Edge, share: Any) -> None:
        node, index = edge
        if node not in waiting:
            waiting[node] = Buffers(1 if isinstance(node, day22.Tensor) else len(node.outputs))
        waiting[node].add(index, share)  # type: ignore[attr-defined]

    def arrived(self, node: Node, grads: list[Any]) -> list[Any]:
        hooks: dict[int, Hooks] | None = getattr(node, "hooks", None)
        if hooks and node not in self.quiet:
            grads = list(grads)
            for index, call in list(hooks.items()):
                if grads[index] is not None:
                    leaf = isinstance(node, day22.Tensor)
                    dtype = node.dtype if leaf else node.outputs[index][1]
                    grads[index] = call(to(grads[index], dtype))
        return grads


class Tensor(day24.Tensor):
    """Day 24's Tensor with hooks. ``hooks`` is a slot of leaves; a result's are at its node."""

    __slots__ = ("__weakref__", "hooks")
    Engine = Engine

    def register_hook(self, hook: Hook) -> Handle:
        return register_hook(self, hook)

    def retain_grad(self) -> None:
        retain_grad(self)

    @property
    def is_leaf(self) -> bool:
        """Whether no recorded operation made it."""
        return self.node is None


def hooks_of(x: Tensor) -> Hooks:
    """The Hooks of the place where gradients of ``x`` come in; made if there are none yet.

    ``x.edge`` says which place that is: the leaf itself, or a node and the number of its result.
    Either has the attribute ``hooks``, once there are any: a dict from number to Hooks.
    """
    place, index = x.edge
    if not hasattr(place, "hooks"):
        place.hooks = {}
    return place.hooks.setdefault(index, Hooks())


def register_hook(x: Tensor, hook: Hook) -> Handle:
    """Have ``hook`` called with the gradient of ``x``, in every backward in which one comes to it.

    - Once a backward, with the sum of all that flows to x, a Tensor of its shape and dtype. A
      Tensor that the hook gives back takes its place, for x's grad and for all that lies behind.
    - Also in ``grad(outputs, inputs)``, if x is an input or on the way to one. Not called if no
      gradient comes.
    - The hook stays if x itself is dropped, as long as the graph is there.
    - RuntimeError if x requires no gradient.

    >>> x = Tensor([1.0, 2.0], requires_grad=True)
    >>> handle = x.register_hook(lambda g: g * 10)
    >>> (x * 3).sum().backward()
    >>> x.grad
    tensor([30.0000, 30.0000])
    """
    # TODO: refuse, or add.
    # HINT: hooks_of is given.
    ### BEGIN SOLUTION
    # HINT: x.requires_grad decides.
    # HINT: return hooks_of(x).add(hook)
    if not x.requires_grad:
        raise RuntimeError("register_hook: the tensor does not require a gradient")
    return hooks_of(x).add(hook)
    ### END SOLUTION


def retain_grad(x: Tensor) -> None:
    """Have the result ``x`` keep its gradient in ``x.grad``, as a leaf does.

    - It is what the hooks have made of it, whether they were registered before or after. Backwards
      add up. It is there as soon as the gradient has come, also in ``grad(outputs, inputs)``.
    - Asked for twice, it is kept once. A leaf keeps its gradient anyway: nothing happens.
    - RuntimeError if x requires no gradient.

    Limit: the graph does not hold x: when nobody else does, it goes, at once.

    >>> x = Tensor([1.0, 2.0], requires_grad=True)
    >>> y = x * 3
    >>> y.retain_grad()
    >>> (y * y).sum().backward()
    >>> y.grad
    tensor([6.0000, 12.0000])
    """
    # TODO: refuse; leave leaves alone; let the place's Hooks know the tensor.
    # HINT: x holds its node, and the node holds its hooks. What must they not hold?
    ### BEGIN SOLUTION
    # HINT: Hooks.retaining is a function that gives the tensor, or None.
    # HINT: weakref.ref(x) is such a function.
    if not x.requires_grad:
        raise RuntimeError("retain_grad: the tensor does not require a gradient")
    if not x.is_leaf:
        hooks_of(x).retaining = weakref.ref(x)
    ### END SOLUTION


class Checkpoint(Function):
    """Many operations as one node that keeps their arguments alone: see ``checkpoint``."""

    @staticmethod
    def forward(ctx: Any, *arrays: Any, function: Callable[..., Any]) -> Any:
        """What ``function`` computes. → its array, or a tuple of its arrays.

        It is called once, with ``ctx.inputs``, of which each tensor is detached, and requires a
        gradient if there is an entry True in ``needs_input_grad``. If operations are recorded, the
        graph that this leaves is looked through and dropped: leaves that it leads to, other than
        the detached arguments, are further arguments. Each gets an entry at the end of
        ``ctx.edges`` (``leaf.edge``) and of ``ctx.needs_input_grad`` (True).
        """
        # TODO: save the arguments; call; look for leaves.
        # HINT: which function of day 24 finds all nodes that can be reached, leaves among them?
        ### BEGIN SOLUTION
        # HINT: save_for_backward keeps tensors (with None in the place of all else); numbers and
        # other arguments are kept as an attribute, as they are.
        # HINT: dependencies([r.edge[0] for r in results if r.requires_grad]) has the leaves; those
        # whose id is not that of one of the detached arguments are found.
        ctx.again = function
        ctx.others = [None if isinstance(a, day22.Tensor) else a for a in ctx.inputs]
        ctx.save_for_backward(
            *(
                array if isinstance(a, day22.Tensor) else None
                for a, array in zip(ctx.inputs, arrays, strict=True)
            )
        )
        ctx.set_materialize_grads(False)
        inner = Checkpoint.arguments(ctx, ctx.inputs)
        results = function(*inner)
        if mode.recording:
            mine = {id(a) for a in inner}
            starts = [r.edge[0] for r in Checkpoint.listed(results) if r.requires_grad]
            for node in dependencies(starts):
                if isinstance(node, day22.Tensor) and id(node) not in mine:
                    ctx.edges.append(node.edge)
                    ctx.needs_input_grad.append(True)
        if isinstance(results, tuple):
            return tuple(r.data for r in results)
        return results.data
        ### END SOLUTION

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        """Call the function again, recorded, and run the graph that this makes.

        The shares: for each argument, and then for each leaf that forward found, the gradient if
        ``ctx.needs_input_grad`` asks for it, else None. No grad of any tensor changes.
        ``grads`` has None where no gradient came. ``arguments`` and ``run`` are given.
        """
        # TODO: arguments; function; pass; shares.
        # HINT: what is mode.recording in here, and what must it be while the function runs?
        ### BEGIN SOLUTION
        # HINT: with during_backward(record=True) the call is recorded; create_graph, for
        # ``arguments`` and ``run``, is what mode.recording was before.
        # HINT: wanted are those of the arguments and of the leaves (edge[0] of the last edges)
        # whose entry of needs_input_grad is True. What run gives for them is a list in that order.
        create_graph = mode.recording
        with during_backward(record=True):
            inner = Checkpoint.arguments(ctx, ctx.saved_tensors, create_graph)
            results = Checkpoint.listed(ctx.again(*inner))
        inner += [edge[0] for edge in ctx.edges[len(inner) :]]
        wanted = [a for a, needs in zip(inner, ctx.needs_input_grad, strict=True) if needs]
        found = iter(Checkpoint.run(ctx, results, grads, wanted, create_graph))
        return tuple(next(found) if needs else None for needs in ctx.needs_input_grad)
        ### END SOLUTION

    @staticmethod
    def run(
        ctx: Any,
        results: Sequence[Tensor],
        grads: Sequence[Any],
        wanted: Sequence[Tensor],
        create_graph: bool,
    ) -> list[Any]:
        """One pass from ``results``, at which ``grads`` (or None) come in. → for each tensor in
        ``wanted`` what came there, or None.

        The pass ends there, also at arguments with a past. Hooks of the wanted leaves are not
        called: they will be, when the sum of everything comes there in the outer pass.
        """
        pairs = [
            (r, g) for r, g in zip(results, grads, strict=True) if g is not None and r.requires_grad
        ]
        if not pairs:
            return [None] * len(wanted)
        roots, given = [r for r, _ in pairs], [g for _, g in pairs]
        engine = ctx.tensor.Engine()
        engine.quiet = {x.edge[0] for x in wanted}
        cut = {x.node: x.node.edges for x in wanted if x.node is not None}
        for node in cut:
            node.edges = ()
        try:
            return engine.run(roots, seeds(roots, given), wanted, create_graph, create_graph)
        finally:
            for node, edges in cut.items():
                node.edges = edges

    @staticmethod
    def listed(results: Any) -> list[Tensor]:
        return list(results) if isinstance(results, tuple) else [results]

    @staticmethod
    def arguments(ctx: Any, tensors: Sequence[Any], create_graph: bool = False) -> list[Any]:
        """What the function is called with: for each of ``tensors`` a tensor of its own on the
        same memory, which requires a gradient if one is needed; the other arguments as they are.

        With ``create_graph`` it is a view with a past, so that the shares depend on the argument.
        """
        made = []
        for x, other, needs in zip(tensors, ctx.others, ctx.needs_input_grad, strict=False):
            if not isinstance(x, day22.Tensor):
                made.append(other)
            elif create_graph and needs:
                made.append(operations.reshape(x, x.shape))
            else:
                alone = x.detach()
                alone.requires_grad = needs
                made.append(alone)
        return made


def checkpoint(function: Callable[..., Any], *args: Any) -> Any:
    """``function(*args)``, of which the graph keeps the tensors among ``args``, and nothing else.

    The function is called again when the gradient has come, and must then compute the same: no
    random numbers that are not drawn anew in the same way. It gives a Tensor or a tuple of
    Tensors. Tensors that it uses besides ``args`` must be leaves, such as weights: they get their
    gradients. TypeError if there is no tensor among ``args``.

    >>> x = Tensor([1.0, 2.0], requires_grad=True)
    >>> y = checkpoint(lambda x: x * x * x, x)
    >>> y.sum().backward()
    >>> x.grad
    tensor([3.0000, 12.0000])
    """
    return Checkpoint.apply(*args, function=function)


def checkpoint_sequential(
    functions: Sequence[Callable[..., Any]], x: Any, segments: int | None = None
) -> Any:
    """f_n(… f_2(f_1(x))), cut into ``segments`` of which each but the last is a checkpoint.

    - Each function takes a Tensor and gives a Tensor. Segments lie one behind another; their
      lengths differ by 1 at most. None means √n segments, rounded.
    - ValueError, with both numbers, if there are more segments than functions or fewer than 1.
      Without functions x is the result, and ``segments`` must be None.
    - The last segment runs as it is: its turn in the backward comes at once, and what it keeps
      would have to be computed again in the next moment.

    Limit: each function of a checkpoint is called twice until backward is done, and each of the
    last segment once.

    >>> x = Tensor([1.0, 2.0], requires_grad=True)
    >>> checkpoint_sequential([lambda x: x * 2.0] * 4, x)
    tensor([16.0000, 32.0000], op=mul)
    """
    # TODO: check; where does each segment begin? Then one after another.
    # HINT: i · n // segments, for i from 0 to segments, are n numbers cut as evenly as possible.
    ### BEGIN SOLUTION
    # HINT: a function that is made in a loop sees the loop's variables as they are when it is
    # called, and a checkpoint calls it again later: give it its part in another way.
    # HINT: def chain(part): return a function of x that calls all in part; the last one is called
    # directly, the others go through checkpoint.
    n = len(functions)
    if segments is None:
        segments = round(math.sqrt(n))
        if not functions:
            return x
    if not 1 <= segments <= n:
        raise ValueError(f"checkpoint_sequential: {segments} segments of {n} functions")

    def chain(part: Sequence[Callable[..., Any]]) -> Callable[[Any], Any]:
        def call(x: Any) -> Any:
            for f in part:
                x = f(x)
            return x

        return call

    cuts = [i * n // segments for i in range(segments + 1)]
    for i in range(segments - 1):
        x = checkpoint(chain(functions[cuts[i] : cuts[i + 1]]), x)
    return chain(functions[cuts[-2] :])(x)
    ### END SOLUTION


def test_buffers() -> None:
    sums, share = Buffers(1), Tensor([1.0, 2.0])
    with during_backward():
        for _ in range(4):
            sums.add(0, share)
    assert sums[0].tolist() == [4.0, 8.0]
    assert share.tolist() == [1.0, 2.0]


def test_hooks() -> None:
    seen = []
    x = Tensor([1.0, 2.0], requires_grad=True)
    y = x * 2.0
    y.register_hook(lambda g: seen.append(g.tolist()))
    handle = y.register_hook(lambda g: g * 10.0)
    y.retain_grad()
    (y + y).sum().backward()
    assert seen == [[2.0, 2.0]]
    assert y.grad is not None
    assert x.grad is not None
    assert y.grad.tolist() == [20.0, 20.0]
    assert x.grad.tolist() == [40.0, 40.0]
    handle.remove()
    assert len(hooks_of(y).functions) == 1


def test_checkpoint() -> None:
    calls = []
    w = Tensor([3.0], requires_grad=True)

    def layer(x: Any) -> Any:
        calls.append(1)
        return (x * w).exp()

    x = Tensor([0.0], requires_grad=True)
    checkpoint(layer, x).backward()
    assert len(calls) == 2
    assert x.grad is not None
    assert w.grad is not None
    assert (x.grad.item(), w.grad.item()) == (3.0, 0.0)


def test_segments() -> None:
    x = Tensor([1.0], requires_grad=True)
    y = checkpoint_sequential([lambda x: x * 2.0] * 9, x)
    y.backward()
    assert x.grad is not None
    assert x.grad.item() == 512.0


if __name__ == "__main__":
    from harness import main

    main(__file__)
