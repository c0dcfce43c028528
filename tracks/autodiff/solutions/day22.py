"""
Day 22: Function
================
Estimated time: 2 hours
Prerequisites: Day 17 (broadcasting), Day 21 (stable functions)
Lesson: lessons/day22.md

Learning objectives:
- Make an operation a class with a forward and a backward, and one place that records graphs
- Write backwards with tensor operations, so that later they can be differentiated themselves
- Handle several results, arguments that are no tensors, and gradients that are None
- Move a library to a new engine while all of its old tests go on passing

A closure kept alive whatever it could see, nobody knew what, and it worked on bare arrays. From
today on an operation is a Function, and each call of it leaves a Context: the node of the graph.

    y = Mul.apply(a, b)                           y.backward()

    Tensor a ──┐   Mul.forward(ctx, a.data, b.data)       ctx.edges[0] ──> a, or its node
               ├── ctx.save_for_backward(...)  ──> y      ctx.edges[1] ──> b, or its node
    Tensor b ──┘                                 y.node   Mul.backward(ctx, grad) gives both shares

forward gets arrays and gives arrays. backward gets Tensors and gives Tensors.

Hints:
- apply is written once, for every operation that there will ever be.
- A share has the shape of its argument. Who is no tensor, or needs no gradient, is due None.
- ``grad * b`` in a backward is today's own multiplication. While a backward runs nothing is
  recorded (``during_backward``), so that no graph grows.

Resources:
- Extending PyTorch, torch.autograd.Function: https://docs.pytorch.org/docs/stable/notes/extending.html
- A. Paszke and others, Automatic differentiation in PyTorch, 2017:
  https://openreview.net/forum?id=BJJsrmfCZ
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np

from tracks.autodiff import day15, day17, day21
from tracks.autodiff.day11 import topological_order
from tracks.autodiff.day16 import Shape

T = TypeVar("T", bound="Tensor")
Edge = tuple[Any, int]
"""Where a gradient goes: a node and the number of its result; or a leaf Tensor and 0."""


class Mode(threading.local):
    """Whether operations are recorded: a switch for each thread."""

    recording = True


mode = Mode()


@contextmanager
def during_backward(record: bool = False) -> Iterator[None]:
    """What holds while backwards run: nothing is recorded, and numpy does not warn."""
    before, mode.recording = mode.recording, record
    try:
        with np.errstate(all="ignore"):
            yield
    finally:
        mode.recording = before


class Context:
    """One call of a Function: a node of the graph, where forward leaves things for backward.

    - ``edges``: for each positional argument of ``apply`` where its gradient goes, or None if it
      needs none: if it is no tensor, requires no gradient, or nothing is recorded
    - ``needs_input_grad``: for each argument whether it has an edge
    - ``outputs``: shape and dtype of each result
    - any further attribute that a forward sets, such as ``ctx.dim``, is there in the backward
    """

    __slots__ = (
        "__dict__", "edges", "function", "inputs", "materialize", "needs_input_grad", "outputs",
        "saved", "taken", "tensor",
    )  # fmt: skip

    def __init__(self, function: Any, args: Sequence[Any], tensor: type[Tensor]) -> None:
        self.function, self.tensor = function, tensor
        self.inputs: Any = args  # until the results are there, as well as what forward took
        self.taken: Sequence[Any] = ()
        self.edges: Sequence[Edge | None] = ()
        self.needs_input_grad = [False] * len(args)
        self.outputs: Sequence[tuple[Shape, np.dtype]] = ()
        self.saved: Any = ()
        self.materialize = True
        if mode.recording:
            self.edges = [
                a.edge if isinstance(a, Tensor) and a.requires_grad else None for a in args
            ]
            self.needs_input_grad = [edge is not None for edge in self.edges]

    def arrays(self) -> list[Any]:
        """The arguments as forward takes them: tensors as arrays, all else as it is.

        Two tensors may lie on one array (x and x.detach()). Each argument gets an array object of
        its own, so that what is saved says which argument it was.
        """
        found = [a.data if isinstance(a, Tensor) else a for a in self.inputs]
        if self.edges and len(found) > 1 and len(set(map(id, found))) < len(found):
            found = [a.view() if isinstance(a, np.ndarray) else a for a in found]
        self.taken = found
        return found

    def save_for_backward(self, *arrays: np.ndarray | None) -> None:
        """Keep arguments, results or constants (a mask, an index) of forward for backward.

        None keeps a place: ``a, b = ctx.saved_tensors`` works, whichever was worth saving.
        """
        self.saved = arrays

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        """What was saved, in its order, as Tensors."""
        return tuple(None if a is None else self.tensor._made(np.asarray(a)) for a in self.saved)

    def set_materialize_grads(self, value: bool) -> None:
        """With False, backward gets None for a result that no gradient reached, not zeros."""
        self.materialize = value

    def finish(self, found: Sequence[Any], results: Sequence[Tensor]) -> None:
        """Called by ``apply`` at its end, with what forward gave and the Tensors made of it."""
        if self.edges:
            self.outputs = [(r.data.shape, r.data.dtype) for r in results]
        self.inputs = self.taken = ()

    def release(self) -> None:
        """Called when the backward has run and is not to run again. Tomorrow it frees memory."""

    def shares(self, grads: Sequence[Any]) -> list[Any]:
        """Call backward with a gradient for each result. → a share for each argument, or None.

        ``grads`` are Tensors, or None where nothing arrived. ValueError, naming the operation, if
        backward gives more or fewer shares than there are arguments, or one of another shape.
        """
        given = [
            g if g is not None and g.data.dtype == dtype else self._gradient(g, shape, dtype)
            for g, (shape, dtype) in zip(grads, self.outputs, strict=True)
        ]
        shares = self.function.backward(self, *given)
        shares = list(shares) if isinstance(shares, (tuple, list)) else [shares]
        if len(shares) != len(self.edges):
            raise ValueError(
                f"{self.op}: backward gave {len(shares)} shares for {len(self.edges)} arguments"
            )
        for i, edge in enumerate(self.edges):
            if edge is None:
                shares[i] = None
            elif shares[i] is not None:
                node, index = edge
                there = node.outputs[index][0] if isinstance(node, Context) else node.data.shape
                if shares[i].data.shape != there:
                    raise ValueError(
                        f"{self.op}: a share of {shares[i].shape} for argument {i} of {there}"
                    )
        return shares

    def _gradient(self, grad: Any, shape: Shape, dtype: np.dtype) -> Any:
        """What backward gets in the place of None, or of a gradient of another dtype."""
        if grad is not None:
            return to(grad, dtype)
        zero = np.broadcast_to(np.zeros((), dtype), shape)
        return self.tensor._made(zero) if self.materialize else None

    @property
    def op(self) -> str:
        return self.function.op

    @property
    def parents(self) -> tuple[Any, ...]:
        """The nodes and leaves that gradients go to from here, as ``topological_order`` asks."""
        return tuple(edge[0] for edge in self.edges if edge is not None)

    @parents.setter
    def parents(self, _: tuple[()]) -> None:
        self.edges = ()


class Function:
    """An operation: ``forward`` on arrays, ``backward`` with Tensors, and ``apply`` to call it.

    A subclass has two static methods:

    - ``forward(ctx, *args, **options)``: the arguments of ``apply``, tensors as numpy arrays. →
      an array, or a tuple of arrays.
    - ``backward(ctx, *grads)``: a Tensor for each result, its gradient. → a share for each
      positional argument, in a tuple if there are several: a Tensor of the argument's shape, or
      None. Options have no gradient.

    ``op`` is the class's name in small letters, or what ``class F(Function, op="f")`` says.
    """

    op = "function"

    def __init_subclass__(cls, op: str = "") -> None:
        cls.op = op or cls.__name__.lower()

    @staticmethod
    def forward(ctx: Any, *args: Any, **options: Any) -> Any:
        raise TypeError("a Function needs a forward of its own")

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        raise TypeError("a Function needs a backward of its own")

    @classmethod
    def apply(cls, *args: Any, **options: Any) -> Any:
        """Run forward and record it. → a Tensor; a tuple of Tensors if forward gives a tuple.

        - The context is ``first.Context(cls, args, type(first))``, where ``first`` is the first
          tensor among the arguments. TypeError, naming ``cls.op``, if there is none.
        - forward gets the context, ``ctx.arrays()`` and the options. It is called once.
        - A result of floats requires a gradient if one of the arguments needs one
          (``ctx.needs_input_grad``): then its ``node`` is the context, and its ``index`` says which
          result it is, from 0. Integers and bools, and all results if none is needed, are made
          without a node. ``first._made(array, node, index)`` makes them; a numpy scalar becomes
          an array without axes.
        - At last ``ctx.finish(found, results)`` is called: the tuple that forward gave, or its one
          array in a tuple, and the list of results.

        >>> class Double(Function):
        ...     forward = staticmethod(lambda ctx, x: x + x)
        ...     backward = staticmethod(lambda ctx, grad: grad + grad)
        >>> x = Tensor([1.0, 2.0], requires_grad=True)
        >>> Double.apply(x)
        tensor([2.0000, 4.0000], op=double)
        """
        # TODO: find the first tensor; context; forward; results; finish.
        # HINT: how do you treat one array and a tuple of arrays alike until the last line?
        ### BEGIN SOLUTION
        # HINT: a for loop that breaks at the first Tensor, and its else for none.
        # HINT: wanted = any(ctx.needs_input_grad), and a result gets the context as its node only
        # if wanted and its dtype.kind is "f".
        # HINT: several = isinstance(found, tuple); if not, make it (found,), and in the end give
        # back tuple(results) or results[0].
        for first in args:
            if isinstance(first, Tensor):
                break
        else:
            raise TypeError(f"{cls.op}: no tensor among the arguments")
        ctx = first.Context(cls, args, type(first))
        found = cls.forward(ctx, *ctx.arrays(), **options)
        several = isinstance(found, tuple)
        found = found if several else (found,)
        wanted = any(ctx.needs_input_grad)
        results = []
        for i, array in enumerate(map(np.asarray, found)):
            node = ctx if wanted and array.dtype.kind == "f" else None
            results.append(first._made(array, node, i))
        ctx.finish(found, results)
        return tuple(results) if several else results[0]
        ### END SOLUTION


class Closure:
    """A closure of week 3 in the place of a Function: what is not moved yet works on the new engine
    as it is, but on bare arrays: its backward cannot be differentiated."""

    def __init__(self, op: str, closure: day15.Backward) -> None:
        self.op, self.closure = op, closure

    def backward(self, ctx: Context, grad: Tensor) -> tuple[Tensor | None, ...]:
        shares = self.closure(grad.data)
        return tuple(None if s is None else grad._made(np.asarray(s)) for s in shares)


class Tensor(day21.Tensor):
    """Week 3's Tensor on the new engine.

    ``node`` is the Context of the call that made it and ``index`` which of its results it is; a
    leaf has None and 0. ``parents``, ``op`` and ``_backward`` say what they said in week 3.
    """

    __slots__ = ("index", "node")
    Context: type[Context] = Context
    """The class of nodes. Days to come put their own here, in a class that extends this one."""

    def __init__(self, data: Any, requires_grad: bool = False, dtype: Any = None) -> None:
        self.node: Any = None
        self.index = 0
        super().__init__(data, requires_grad, dtype)

    @classmethod
    def _made(cls: type[T], array: np.ndarray, node: Any = None, index: int = 0) -> T:
        """A Tensor on the array itself: a result of ``node``, or without one a constant."""
        made = cls.__new__(cls)
        made.data = array
        made.grad = None
        made.requires_grad = node is not None
        made.node = node
        made.index = index
        return made

    def _result(
        self: T,
        data: np.ndarray,
        parents: Sequence[day15.Tensor],
        op: str,
        backward: day15.Backward,
    ) -> T:
        """How operations of week 3 end: here their closure becomes a node."""
        result = self._made(np.asarray(data))
        if mode.recording and any(parent.requires_grad for parent in parents):
            ctx = self.Context(Closure(op, backward), parents, type(self))
            result.node, result.requires_grad = ctx, True
            ctx.finish([result.data], [result])
        return result

    @property
    def edge(self) -> Edge:
        """Where a gradient of this tensor goes."""
        return (self if self.node is None else self.node), self.index

    def backward(self, gradient: Any = None, retain_graph: bool = False) -> None:
        """Add the gradients of ``self`` to the grad of every leaf, as on day 15, through nodes.

        - ``seed(self, gradient)`` checks, and is the gradient to begin with.
        - Each node's ``shares`` is called once, after all who use its results have had their turn,
          with a list: for each of ``node.outputs`` the sum of what arrived there, a Tensor, or
          None. It is not called if nothing arrived at any of them. Then, unless ``retain_graph``,
          its ``release`` is called.
        - Sums are made in new tensors: a share may be held by others.
        - What arrives at a leaf is added to its grad by ``leaf._accumulated(array)``, with an array
          of the leaf's dtype.
        - All of it happens in ``with during_backward():``.

        >>> x = Tensor([1.0, 2.0], requires_grad=True)
        >>> y = Exp.apply(x)
        >>> y.backward([1.0, 0.0])
        >>> x.grad
        tensor([2.7183, 0.0000])
        """
        # TODO: the walk of day 15, on nodes. What is the key of a gradient that waits?
        # HINT: self.edge says where the seed goes. topological_order takes a node as well as a
        # tensor: it asks for parents only.
        ### BEGIN SOLUTION
        # HINT: waiting is a dict, and its keys are (id(node), index): two results of one node wait
        # at two places.
        # HINT: [waiting.pop((id(node), i), None) for i in range(len(node.outputs))] is what shares
        # takes; zip(node.edges, shares) says where each share goes.
        # HINT: isinstance(node, Tensor) tells the leaves, whose key is (id(leaf), 0).
        gradient = seed(self, gradient)
        start, index = self.edge
        waiting = {(id(start), index): gradient}
        with during_backward():
            for node in reversed(topological_order(start)):
                if isinstance(node, Tensor):
                    arrived = waiting.pop((id(node), 0), None)
                    if arrived is not None:
                        node.grad = node._accumulated(np.asarray(arrived.data, node.dtype))
                    continue
                grads = [waiting.pop((id(node), i), None) for i in range(len(node.outputs))]
                if all(g is None for g in grads):
                    continue
                for edge, share in zip(node.edges, node.shares(grads), strict=True):
                    if share is not None:
                        key = id(edge[0]), edge[1]
                        waiting[key] = waiting[key] + share if key in waiting else share
                if not retain_graph:
                    node.release()
        ### END SOLUTION

    def to(self: T, dtype: Any) -> T:
        return to(self, dtype)

    @property
    def parents(self) -> tuple[Any, ...]:  # type: ignore[override]
        return () if self.node is None else self.node.parents

    @parents.setter
    def parents(self, _: tuple[()]) -> None:
        if self.node is not None:
            self.node.parents = ()

    @property
    def op(self) -> str:  # type: ignore[override]
        return "" if self.node is None else self.node.op

    @op.setter
    def op(self, _: str) -> None:
        pass

    @property
    def _backward(self) -> day15.Backward | None:  # type: ignore[override]
        """The node's backward on arrays, as week 3's closures were called; None for a leaf."""
        if self.node is None:
            return None

        def on_arrays(g: np.ndarray) -> list[np.ndarray | None]:
            grads = [None] * len(self.node.outputs)
            grads[self.index] = self._made(np.asarray(g))
            with during_backward():
                return [None if s is None else s.data for s in self.node.shares(grads)]

        return on_arrays

    @_backward.setter
    def _backward(self, _: None) -> None:
        self.node = None


def seed(root: Tensor, gradient: Any) -> Tensor:
    """The gradient that a backward begins with, as day 15 checked it: one Tensor of root's shape.

    None stands for 1 where root has one element. RuntimeError, with the shapes, for all else, and
    if root requires no gradient.
    """
    if not root.requires_grad:
        raise RuntimeError("backward() of a tensor that does not require a gradient")
    if gradient is None:
        if root.numel() != 1:
            raise RuntimeError(
                f"backward() of a tensor of shape {root.shape} needs a gradient of that shape: "
                "only one number can stand for itself"
            )
        return root._made(np.ones(root.shape, root.dtype))
    if not isinstance(gradient, Tensor):
        array = gradient.data if isinstance(gradient, day15.Array) else gradient
        gradient = root._made(np.asarray(array))
    if gradient.shape != root.shape:
        raise RuntimeError(f"a gradient of shape {gradient.shape} for a tensor of {root.shape}")
    return gradient if gradient.dtype == root.dtype else to(gradient, root.dtype)


class To(Function):
    """The same numbers in another dtype; the share is in the dtype of before."""

    @staticmethod
    def forward(ctx: Any, x: np.ndarray, dtype: Any) -> np.ndarray:
        ctx.dtype = x.dtype
        return x.astype(dtype, copy=False)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return to(grad, ctx.dtype)


def to(x: T, dtype: Any) -> T:
    """``x`` in another dtype: itself if it has it already."""
    return x if x.data.dtype == dtype else To.apply(x, dtype=dtype)


def sum_to(x: T, shape: Sequence[int]) -> T:
    """``x`` summed to ``shape``: what ``unbroadcast`` was for arrays. x itself if it has it."""
    return x if x.data.shape == shape else SumTo.apply(x, shape=shape)


def operands(what: str, a: Any, b: Any, floats: bool = False) -> tuple[Tensor, Tensor]:
    """The operands of ``what`` as Tensors of one dtype whose shapes broadcast.

    Errors are those of day 17's ``pair``, and so is the dtype; with ``floats`` integers become
    float32.
    """
    if isinstance(a, Tensor) and a.data.dtype.kind == "f":  # what there is most of goes first
        x = a.data
        if isinstance(b, Tensor) and b.data.dtype == x.dtype:
            if b.data.shape in (x.shape, ()):
                return a, b
        elif type(b) in (int, float):
            return a, a._made(np.asarray(b, x.dtype))
    made = day17.pair(what, a, b, floats)
    dtype = made.x.dtype
    return to(made.a, dtype), to(made.b, dtype)  # type: ignore[type-var]


class SumTo(Function, op="sum_to"):
    """``x`` summed to ``shape``, by day 17's ``unbroadcast``; an option, not an argument.

    The share: every element of x was one term of a sum. Written with a method of Tensor.

    >>> SumTo.apply(Tensor([[1.0, 2.0], [3.0, 4.0]]), shape=(2, 1)).tolist()
    [[3.0], [7.0]]
    """

    @staticmethod
    def forward(ctx: Any, x: np.ndarray, shape: Shape) -> np.ndarray:
        # TODO: note what the backward needs, and sum.
        # HINT: the backward goes from ``shape`` back to another shape. Which one?
        ### BEGIN SOLUTION
        # HINT: a shape is no tensor: ctx.shape = x.shape keeps it.
        # HINT: day17.unbroadcast(x, shape) is the sum.
        ctx.shape = x.shape
        return day17.unbroadcast(x, shape)
        ### END SOLUTION

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        # TODO: each term gets what the sum gets.
        # HINT: a sum and a broadcast are each other's backward: day 18 said so.
        ### BEGIN SOLUTION
        # HINT: which view of day 16 reads a tensor as a larger shape?
        # HINT: grad.expand(ctx.shape)
        return grad.expand(ctx.shape)
        ### END SOLUTION


class Mul(Function):
    """a · b of two arrays of one dtype, whose shapes broadcast.

    An argument that needs no gradient (``ctx.needs_input_grad``) gets None, and nothing is
    multiplied for it. ``sum_to`` brings a share to its argument's shape.

    >>> Mul.apply(Tensor([1.0, 2.0]), Tensor([[3.0], [4.0]])).tolist()
    [[3.0, 6.0], [4.0, 8.0]]
    """

    @staticmethod
    def forward(ctx: Any, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        # TODO: save and multiply.
        # HINT: what did day 17's closure of mul have in it?
        ### BEGIN SOLUTION
        # HINT: each share has the other operand in it.
        # HINT: ctx.save_for_backward(a, b)
        ctx.save_for_backward(a, b)
        return a * b
        ### END SOLUTION

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        # TODO: two shares, each only if it is needed.
        # HINT: a, b = ctx.saved_tensors are Tensors, and so is grad.
        ### BEGIN SOLUTION
        # HINT: multiply first, in the result's shape, and then sum_to.
        # HINT: sum_to(grad * b, a.shape) if ctx.needs_input_grad[0] else None.
        a, b = ctx.saved_tensors
        of_a, of_b = ctx.needs_input_grad
        return (
            sum_to(grad * b, a.shape) if of_a else None,
            sum_to(grad * a, b.shape) if of_b else None,
        )
        ### END SOLUTION


class Exp(Function):
    """e to the power of each element, of an array of floats. numpy must not warn of an overflow.

    Limit: the backward computes no exponential.

    >>> Exp.apply(Tensor([0.0, 1000.0])).tolist()
    [1.0, inf]
    """

    @staticmethod
    def forward(ctx: Any, x: np.ndarray) -> np.ndarray:
        # TODO: compute, save, give back.
        # HINT: which number is the slope of e^x?
        ### BEGIN SOLUTION
        # HINT: save the result, not the argument.
        # HINT: with np.errstate(all="ignore"): y = np.exp(x)
        with np.errstate(all="ignore"):
            y = np.exp(x)
        ctx.save_for_backward(y)
        return y
        ### END SOLUTION

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        # TODO: one product.
        # HINT: saved_tensors is a tuple, also if it has one element.
        ### BEGIN SOLUTION
        # HINT: take the tensor out of the tuple first.
        # HINT: (y,) = ctx.saved_tensors; then grad * y.
        (y,) = ctx.saved_tensors
        return grad * y
        ### END SOLUTION


class SinCos(Function):
    """Sine and cosine of each element, in radians: two results of one node.

    Each is the slope of the other, up to a sign. The two gradients that come in are summed into
    one share. One that did not arrive comes in as zeros.

    >>> sine, cosine = SinCos.apply(Tensor([0.0]))
    >>> sine.item(), cosine.item()
    (0.0, 1.0)
    """

    @staticmethod
    def forward(ctx: Any, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        # TODO: a tuple of two arrays.
        # HINT: what does the backward need, and do you have it?
        ### BEGIN SOLUTION
        # HINT: the slopes are the results themselves.
        # HINT: save both, and return (sine, cosine).
        sine, cosine = np.sin(x), np.cos(x)
        ctx.save_for_backward(sine, cosine)
        return sine, cosine
        ### END SOLUTION

    @staticmethod
    def backward(ctx: Any, of_sine: Tensor, of_cosine: Tensor) -> Tensor:
        # TODO: x moves both results.
        # HINT: how does the cosine move when x grows by a little?
        ### BEGIN SOLUTION
        # HINT: one term for each gradient; the second has another sign.
        # HINT: of_sine * cosine - of_cosine * sine
        sine, cosine = ctx.saved_tensors
        return of_sine * cosine - of_cosine * sine
        ### END SOLUTION


OPERATORS = {
    "add": "add", "sub": "sub", "mul": "mul", "div": "truediv", "pow": "pow",
    "matmul": "matmul", "neg": "neg", "getitem": "getitem",
}  # fmt: skip
"""Which of Python's operators an operation is: "div" is __truediv__."""
REFLECTED = ("add", "sub", "mul", "div", "pow")
"""Those that Python asks the right operand for, where the left one is a number: __radd__."""
TAKEN = frozenset(dir(day15.Tensor)) - {"clone"} | {"node", "index", "edge", "Context"}
"""Names of Tensor that are no operations."""


def register(name: str, fn: Any, owner: type[Tensor] = Tensor) -> None:
    """Make ``fn`` a method of ``owner``: ``x.name(…)`` is then ``fn(x, …)``.

    - ``fn`` is a function that takes the Tensor first, or a subclass of Function: then its
      ``apply`` is meant.
    - Where ``OPERATORS`` has the name, the operator does the same; where ``REFLECTED`` has it, also
      from the right: ``2 - x`` is then ``fn(2, x)``.
    - What was registered before under the name is replaced, and classes that extend ``owner`` have
      the method too.
    - ValueError, naming the name, for what is no identifier, begins with an underscore or is in
      ``TAKEN``; TypeError if fn can't be called.

    With it the rest of week 3 moves over: tracks/autodiff/operations.py, which is given, has a
    Function for each operation. Its tests are those of week 3, on the new engine.

    >>> register("twice", lambda x: x + x)
    >>> Tensor([1.0, 2.0]).twice().tolist()
    [2.0, 4.0]
    """
    # TODO: check; one method; perhaps one operator, and perhaps a second one.
    # HINT: what does Python hand to a method that it finds in a class, and what to a bound method
    # such as Mul.apply that it finds there?
    ### BEGIN SOLUTION
    # HINT: only functions that are made with def or lambda become methods: wrap fn in one.
    # HINT: def method(self, *args, **options): return call(self, *args, **options); then
    # setattr(owner, name, method).
    # HINT: the reflected one has its operands exchanged: lambda self, other: call(other, self), and
    # its name is f"__r{OPERATORS[name]}__".
    if not name.isidentifier() or name.startswith("_") or name in TAKEN:
        raise ValueError(f"register: {name!r} cannot be the name of an operation")
    if not callable(fn):
        raise TypeError(f"register: {name!r} needs a function, not a {type(fn).__name__}")
    call: Callable[..., Any] = fn.apply if isinstance(fn, type) else fn

    def method(self: Tensor, *args: Any, **options: Any) -> Any:
        return call(self, *args, **options)

    setattr(owner, name, method)
    if name in OPERATORS:
        setattr(owner, f"__{OPERATORS[name]}__", method)
    if name in REFLECTED:
        setattr(owner, f"__r{OPERATORS[name]}__", lambda self, other: call(other, self))
    ### END SOLUTION


def test_a_function_of_your_own() -> None:
    class Cube(Function):
        @staticmethod
        def forward(ctx: Any, x: np.ndarray) -> np.ndarray:
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> Tensor:
            (x,) = ctx.saved_tensors
            return grad * 3 * x * x

    x = Tensor([1.0, 2.0], requires_grad=True)
    y = Cube.apply(x)
    y.backward([1.0, 1.0])
    assert y.tolist() == [1.0, 8.0]
    assert y.op == "cube"
    assert x.grad is not None
    assert x.grad.tolist() == [3.0, 12.0]


def test_operations() -> None:
    a = Tensor([1.0, 2.0], requires_grad=True)
    b = Tensor([[3.0], [4.0]], requires_grad=True)
    SumTo.apply(Mul.apply(a, b), shape=()).backward()
    assert a.grad is not None
    assert b.grad is not None
    assert a.grad.tolist() == [7.0, 7.0]
    assert b.grad.tolist() == [[3.0], [3.0]]


def test_two_results() -> None:
    x = Tensor(0.0, requires_grad=True)
    sine, cosine = SinCos.apply(Exp.apply(x) * 0.0)
    assert (sine.item(), cosine.item()) == (0.0, 1.0)
    sine, cosine = SinCos.apply(x)
    sine.backward()
    assert x.grad is not None
    assert x.grad.item() == 1.0


def test_methods() -> None:
    class Mine(Tensor):
        __slots__ = ()

    register("mul", Mul, Mine)
    register("sub", lambda a, b: ("sub", a, b), Mine)
    x = Mine([1.0, 2.0])
    assert x.mul(x).tolist() == [1.0, 4.0]
    assert (2 - x)[1] == 2  # type: ignore[index]


if __name__ == "__main__":
    from harness import main

    main(__file__)
