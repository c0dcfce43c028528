"""
Day 28: The whole engine tested
===============================
Estimated time: 2 hours
Prerequisites: Day 7 (gradient checking), Day 26 (modes and mutation), Day 27 (higher order)
Lesson: lessons/day28.md

Learning objectives:
- Compare backwards with differences, so that no wrong one gets through and no right one is accused
- Get a forward-mode product out of a reverse-mode engine
- Say where time and memory go, operator by operator, with nothing counted twice
- Compute a chain of operations block by block: one pass over memory, a few small buffers

Operation by operation, each array goes through memory again. Block by block, all of it happens in
the cache, and only arguments and results are read and written as a whole:

    x  ████████ ──exp──> ████████ ──· 2──> ████████ ──+ 1──> ████████ y     3 passes, 3 arrays

    x  █ ──exp─·2─+1──> █                                                   1 pass, 1 array,
        █ ──exp─·2─+1──> █                                                  and a buffer of one
         █ ──exp─·2─+1──> █ y                                               block

Hints:
- A backward is linear in the gradient that comes in. A check that always sends in ones cannot see
  whether it is.
- A gradient is a function: whoever can check gradients and fuse functions can check and fuse
  gradients.
- A buffer is free when the last step that reads its value has run.

Resources:
- torch.autograd.gradcheck: https://docs.pytorch.org/docs/stable/notes/gradcheck.html
- J. Townsend, A new trick for calculating Jacobian vector products, 2017:
  https://j-towns.github.io/2017/06/12/A-new-trick.html
- torch.profiler: https://docs.pytorch.org/docs/stable/profiler.html
- numpy.nditer: https://numpy.org/doc/stable/reference/arrays.nditer.html
"""

from __future__ import annotations

import functools
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from tracks.autodiff import day22, day23, day27, operations
from tracks.autodiff.day22 import Function, mode, sum_to
from tracks.autodiff.day24 import grad
from tracks.autodiff.day26 import enable_grad
from tracks.autodiff.day27 import gradients, opened

SEED = -1.75
"""What ``gradcheck`` sends in at one element: neither 1 nor positive."""


class GradcheckError(RuntimeError):
    """A backward does not give the slopes of its forward."""


def checked(x: Any) -> bool:
    """Whether ``x``, an argument of a function under test, is differentiated."""
    return isinstance(x, day22.Tensor) and x.requires_grad


def copies(inputs: Sequence[Any]) -> list[Any]:
    """The same arguments, in which each tensor is a leaf with memory of its own."""
    made = []
    for x in inputs:
        if isinstance(x, day22.Tensor):
            required, x = x.requires_grad, x._made(np.copy(x.data))
            x.requires_grad = required
        made.append(x)
    return made


def outputs_of(f: Callable[..., Any], inputs: Sequence[Any]) -> list[Any]:
    """What f gives, recorded: its results of floats, in a list. Integers have no slope."""
    with enable_grad():
        results = f(*inputs)
    results = results if isinstance(results, (tuple, list)) else [results]
    return [y for y in results if y.dtype.kind == "f"]


def numerical_jacobian(
    f: Callable[..., Any], inputs: Sequence[Any], eps: float = 1e-6
) -> list[list[Any]]:
    """The slopes of all results of f by all ``inputs``, by differences: no backward is asked.

    ``J[r][i]`` is an array of shape ``result r's shape + input i's shape``, in float64: for each
    element of input i, (result at that element + eps - result at that element - eps) / 2 eps. For
    an input that is not ``checked``, None. ``outputs_of`` calls f and lists its results.

    - f gets ``copies``: nothing that it does to its arguments is seen anywhere else.
    - Inputs of any shape, 0-d and size 0 included. numpy does not warn of inf - inf.

    >>> x = Tensor([1.0, 2.0], requires_grad=True, dtype="float64")
    >>> numerical_jacobian(lambda x: x * x, [x])[0][0].round(6).tolist()
    [[2.0, 0.0], [0.0, 4.0]]
    """
    # TODO: for each element of each checked input: f on both sides of it.
    # HINT: numpy.ndindex(x.shape) gives the indices of all elements.
    raise NotImplementedError("numerical_jacobian")


def gradcheck(
    f: Callable[..., Any],
    inputs: Any,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
) -> bool:
    """Whether the backwards in ``f`` give the slopes of its forwards, at ``inputs``. → True.

    ``inputs``: a tensor, or a tuple or list of arguments, of which the tensors that require a
    gradient are checked, each of which is float64. Else GradcheckError if one of these holds, for
    one of the results:

    - The gradient is not the slope that ``numerical_jacobian`` finds: not
      |gradient - slope| <= atol + rtol · |slope|, for each element of the result, with ``SEED``
      sent in at that element and 0 at all others, and the shares divided by SEED. No gradient at
      all is 0. The message names the number of the input (from 0), the index of its element (as a
      tuple), and both slopes.
    - With random numbers u sent in at all elements the shares are not u · J: the backward is not
      linear in what comes in. Both tolerances are then those of the sum.
    - The same backward, run again, does not give the same numbers.
    - A backward changed the gradient that came in. f or a backward changed an input. f, called
      twice, gave different results.

    With ``raise_exception`` False it gives False instead. Inputs are copied first: no grad changes.
    ValueError if no input requires a gradient, or one that does is not float64 (name the dtype):
    float32 has not enough digits for differences.

    >>> x = Tensor([1.0, 2.0], requires_grad=True, dtype="float64")
    >>> gradcheck(lambda x: (x * x).exp(), x)
    True
    """
    # TODO: refuse; J; then every result: every element, and all at once. At last the inputs.
    # HINT: day 27's gradients asks for one pass; with retain_graph=True it can be asked again.
    raise NotImplementedError("gradcheck")


def gradgradcheck(
    f: Callable[..., Any],
    inputs: Any,
    grad_outputs: Any = None,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
) -> bool:
    """Whether the backwards in ``f`` can be differentiated, and rightly: as ``gradcheck``.

    It is ``gradcheck`` of the gradient of f: of the function of all ``inputs``, and of a gradient
    for each of f's results (of floats), that gives the shares of the inputs that require a
    gradient. In messages the gradients are inputs too, numbered after ``inputs``.

    ``grad_outputs``: at which gradients; one tensor, or as many as results. None: random numbers,
    the same in each call.

    >>> x = Tensor([1.0, 2.0], requires_grad=True, dtype="float64")
    >>> gradgradcheck(lambda x: (x * x).exp(), x)
    True
    """
    # TODO: a function whose gradcheck it is, and the gradients to check it at.
    # HINT: what are the arguments of a backward, and which of them can be moved by a little?
    raise NotImplementedError("gradgradcheck")


def jvp(f: Callable[..., Any], x: Any, v: Any, create_graph: bool = False) -> tuple[Any, Any]:
    """f(x), and the product J v of f's Jacobian at ``x`` with ``v``: how the results move when x
    moves along v. Forward mode, by two backward passes.

    A backward of f gives u · J, which is linear in u: a function of u whose Jacobian is J
    transposed. The backward of *that* function gives v · Jᵀ = J v, whatever u is. (J. Townsend,
    2017)

    - ``x`` is a tensor, or a tuple or list of them, and v as many of the same shapes; f gives a
      tensor or a tuple of tensors, and so are f(x) and J v, in f's shapes and dtypes. Names and
      rules are those of torch.autograd.functional.jvp.
    - ValueError, with the shapes, if v does not fit x.
    - x need not require a gradient, no grad changes, it works in ``no_grad``. Zeros where a result
      does not depend on x.
    - Both have no past; with ``create_graph`` they depend on x, if it requires a gradient, and on
      whatever else f used.

    Limits: f is called once; two backward passes, however many elements x and f(x) have, and
    nothing of the size of J is made.

    >>> jvp(lambda x: x * x, Tensor([1.0, 2.0]), Tensor([1.0, 10.0]))
    (tensor([1.0000, 4.0000]), tensor([2.0000, 40.0000]))
    """
    # TODO: open; f; a u for each result; the first pass with a graph; the second one.
    # HINT: with respect to what is the second pass, and what comes in there?
    raise NotImplementedError("jvp")


# -- what happens, and how much of it ----------------------------------------------------------


def new_bytes(found: Sequence[np.ndarray], arguments: Sequence[np.ndarray]) -> int:
    """The bytes of memory that the arrays ``found`` have and none of ``arguments`` has.

    A view of an argument is not new. Two arrays on one memory count once, with the larger one.

    >>> a = np.zeros(4)
    >>> new_bytes([a * 2, a[1:]], [a])
    32
    """
    counted: dict[int, int] = {}
    for array in found:
        if not any(np.may_share_memory(array, a) for a in arguments):
            key = id(day23.owner(array))
            counted[key] = max(counted.get(key, 0), array.nbytes)
    return sum(counted.values())


class Row(NamedTuple):
    """What one operator did."""

    operator: str
    calls: int
    time: float
    bytes: int


def in_time(seconds: float) -> str:
    """A time as people read it: "1.50 ms"."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            break
    return f"{seconds / size:.2f} {unit}"


def in_bytes(n: float) -> str:
    """A number of bytes as people read it: "1.50 MB"."""
    for unit in ("B", "kB", "MB", "GB"):
        if n < 1000 or unit == "GB":
            break
        n /= 1000
    return f"{n:.0f} {unit}" if unit == "B" else f"{n:.2f} {unit}"


class Profile:
    """Counts calls, time and bytes by operator. ``begin`` and ``end`` stand around each forward
    of a Function, with its name, and around each backward, as "mul backward".

    ``clock()`` is the time in seconds. Calls lie inside of one another: a backward calls operators.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.clock = clock
        self.totals: dict[str, Row] = {}
        self.running: list[list[Any]] = []

    def begin(self, key: Any, operator: str) -> None:
        """A call of ``operator`` begins. Its end will be told with the same ``key``.

        The clock is asked once.
        """
        # TODO: note what the end will need.
        # HINT: what lies inside of this call begins later and ends earlier. What holds such things?
        raise NotImplementedError("Profile.begin")

    def end(self, key: Any, made: int = 0) -> None:
        """The call with this ``key`` (the same object) ends, and has made so many bytes.

        - It counts as one call of its operator. Its time is that from begin to end, without that of
          the calls inside of it, from begin to end: these have rows of their own. So all times add
          up to what passed, nothing twice.
        - Calls that began inside of it and have not ended raised an exception. They are dropped,
          and their own time is this one's; what ended inside of them has its row, as always.
        - An end without a begin is nothing, and the clock is not asked.
        """
        # TODO: find it; its own time; its row; tell the call around it.
        # HINT: is the last one that began always the one that ends?
        raise NotImplementedError("Profile.end")

    def rows(self) -> list[Row]:
        """A row for each operator: what took longest first, and by name what took alike."""
        # TODO: sort.
        # HINT: sorted has a key, and a tuple is compared from its first element on.
        raise NotImplementedError("Profile.rows")

    def table(self) -> str:
        """The rows as text: a line for each, below a line of headings, and a line of the total.

        - The headings are those of ``Row``: operator, calls, time, bytes. The last line's operator
          is "total", and its numbers are the sums of those above.
        - Numbers are written in full for calls, by ``in_time`` and by ``in_bytes``.
        - Operators begin at the left, everything else ends at the right of its column. Two blanks
          or more lie between columns, and all lines are equally long.

        operator  calls       time     bytes
        mul           3    1.50 ms  12.00 kB
        exp           1  500.00 µs     800 B
        total         4    2.00 ms  12.80 kB
        """
        # TODO: a list of lists of strings; how wide is each column?
        # HINT: str.ljust and str.rjust fill with blanks.
        raise NotImplementedError("Profile.table")


class Active(threading.local):
    """The profiles of a thread that look at it now."""

    profiles: tuple[Profile, ...] = ()


active = Active()


@contextmanager
def profile(clock: Callable[[], float] = time.perf_counter) -> Iterator[Profile]:
    """``with profile() as p: …``, then ``print(p.table())``. Sees this thread alone."""
    p, before = Profile(clock), active.profiles
    active.profiles = (*before, p)
    try:
        yield p
    finally:
        active.profiles = before


class Context(day27.Tensor.Context):
    """Day 26's context, which tells profiles when its Function begins and ends."""

    __slots__ = ()

    def arrays(self) -> list[Any]:
        taken = super().arrays()
        for p in active.profiles:
            p.begin(self, self.op)
        return taken

    def finish(self, found: Sequence[Any], results: Sequence[Any]) -> None:
        if active.profiles:
            made = new_bytes(
                [r.data for r in results], [a for a in self.taken if isinstance(a, np.ndarray)]
            )
            for p in active.profiles:
                p.end(self, made)
        super().finish(found, results)

    def shares(self, grads: Sequence[Any]) -> list[Any]:
        profiles = active.profiles
        for p in profiles:
            p.begin(self, f"{self.op} backward")
        shares = super().shares(grads)
        for p in profiles:
            p.end(self)
        return shares


class Tensor(day27.Tensor):
    """Day 27's Tensor, whose operations can be profiled."""

    __slots__ = ()
    Context = Context


# -- chains in one pass ------------------------------------------------------------------------

BLOCK = 1 << 16
"""Elements that are computed at once, from the first operation to the last: few enough for the
cache, and enough to make what Python takes for a call a small part of it."""


class Unfusable(ValueError):
    """A function cannot be computed block by block."""


def _power(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    out[...] = a**b  # numpy multiplies for an exponent of 2


def _relu(x: np.ndarray, out: np.ndarray) -> None:
    np.maximum(x, 0, out=out)


KERNELS: dict[Any, tuple[Callable[..., Any], ...]] = {
    operations.Add: (np.add,), operations.Sub: (np.subtract,), day22.Mul: (np.multiply,),
    day23.Mul: (np.multiply,), operations.Div: (np.divide,), operations.Neg: (np.negative,),
    operations.Pow: (_power,), day22.Exp: (np.exp,), operations.Log: (np.log,),
    operations.Log1p: (np.log1p,), operations.Sqrt: (np.sqrt,), day27.Tanh: (np.tanh,),
    day22.SinCos: (np.sin, np.cos), operations.Maximum: (np.maximum,), day23.Relu: (_relu,),
}  # fmt: skip
"""For each Function that can be fused what computes its results: kernel(*arrays, out=array)."""


class Step(NamedTuple):
    """One operation of a program: its kernel is called with the arrays of the operands, ``out=``
    an array for the value."""

    kernel: Callable[..., Any]
    operands: tuple[Any, ...]
    """Numbers of values, or constants: arrays without axes."""
    value: int
    """The number of the value that it makes."""


class Program(NamedTuple):
    """A function as steps, each of which makes a new value. Values 0 to ``arguments`` - 1 are those
    of the arguments. All are of ``dtype``."""

    arguments: int
    steps: list[Step]
    results: tuple[Any, ...]
    """Numbers of values, or constants."""
    dtype: np.dtype


class Plan(NamedTuple):
    """A program whose values have places."""

    program: Program
    steps: list[Step]
    """Those that are run."""
    places: dict[int, int]
    """The number of the buffer in which a value is kept. Arguments and results have none."""
    buffers: int
    """How many buffers there are."""


def plan(program: Program) -> Plan:
    """Which steps are run, and where each keeps its value.

    - Steps whose value no result depends on are left out. The others keep their order.
    - Values that are results are written where the caller wants them, and arguments are read where
      they are: neither is in ``places``. Every other value that is made has a buffer.
    - A buffer may be used again by the step that is the last to read its value: kernels work
      element by element, and may write where they read.

    Limit: there are never more buffers than values that have to be kept at one time, after some
    step. A value that no later step reads is not kept.

    >>> steps = [Step(np.exp, (0,), 1), Step(np.add, (1, 0), 2), Step(np.exp, (2,), 3)]
    >>> found = plan(Program(1, steps, (3,), np.dtype(float)))
    >>> found.places, found.buffers
    ({1: 0, 2: 0}, 1)
    """
    # TODO: from the last step to the first: what is needed? Then forwards: who is free?
    # HINT: after which step is a value read no more?
    raise NotImplementedError("plan")


def run(plan: Plan, arrays: Sequence[np.ndarray], block: int = BLOCK) -> list[np.ndarray]:
    """What a program computes from ``arrays``: a new array for each of its results.

    ``arrays``: one for each argument, all of the program's dtype; any strides, and shapes that
    broadcast. Each result has the shape that they broadcast to, also one that is an argument, or
    a constant, or the same value as another one.

    numpy.nditer does the cutting: it hands out the elements of all arrays in pieces of one axis:

        with np.nditer(
            [*arrays, *results],
            flags=["external_loop", "buffered", "zerosize_ok"],
            op_flags=[["readonly"]] * len(arrays) + [["writeonly"]] * len(results),
            buffersize=block,
        ) as pieces:
            for piece in pieces:        # a tuple: a piece of each array and result

    numpy does not warn.

    Limits: a kernel never sees more than ``block`` elements, and the steps of a block all run
    before the first one of the next. Each step is run once for a block. Besides the results,
    ``plan.buffers`` arrays of at most ``block`` elements are made, and no more.

    >>> steps = [Step(np.exp, (0,), 1), Step(np.add, (1, 0), 2)]
    >>> program = Program(1, steps, (2,), np.dtype(float))
    >>> run(plan(program), [np.array([0.0, 1.0])])[0].round(4).tolist()
    [1.0, 3.7183]
    """
    # TODO: the results; the buffers; for each block all steps.
    # HINT: where does a step write, if its value is a result, and where if it has a place?
    raise NotImplementedError("run")


class Tape(threading.local):
    """What is being traced: the arrays that belong to values, and the steps so far."""

    values: dict[int, int] | None = None
    """The number of the value of an array, by the array's id."""
    alive: list[np.ndarray]
    steps: list[Step]


tape = Tape()


class Recorder(Context):
    """A context that writes what it sees on the tape."""

    __slots__ = ()

    def finish(self, found: Sequence[Any], results: Sequence[Any]) -> None:
        if tape.values is not None:
            operands = [_operand(self.op, a) for a in self.inputs]
            if any(isinstance(o, int) for o in operands):
                for kernel, result in zip(_kernels(self), results, strict=True):
                    tape.steps.append(Step(kernel, tuple(operands), _number(result.data)))
        super().finish(found, results)


class Traced(Tensor):
    """A tensor of one element that stands for one of any shape. Nothing may depend on its value."""

    __slots__ = ()
    Context = Recorder

    def _looked_at(self, *_: Any) -> Any:
        raise Unfusable("jit_fuse: the function looks at the values of a tensor")

    __bool__ = __iter__ = item = tolist = numpy = _looked_at


def _number(array: np.ndarray) -> int:
    """A new value, to which ``array`` belongs."""
    assert tape.values is not None
    tape.alive.append(array)
    return tape.values.setdefault(id(array), len(tape.values))


def _operand(op: str, x: Any) -> Any:
    """The number of a tensor's value, or a constant."""
    assert tape.values is not None
    if isinstance(x, Traced):
        if id(x.data) in tape.values:
            return tape.values[id(x.data)]
        if x.data.shape == ():  # was a Python number
            return x.data
    raise Unfusable(
        f"jit_fuse: {op} has an operand that is neither an argument nor computed of one"
    )


def _kernels(ctx: Context) -> tuple[Callable[..., Any], ...]:
    if ctx.function not in KERNELS:
        raise Unfusable(f"jit_fuse: {ctx.op} does not work element by element, or has no kernel")
    return KERNELS[ctx.function]


def listed(results: Any) -> list[Any]:
    return list(results) if isinstance(results, tuple) else [results]


def trace(f: Callable[..., Any], arguments: int, dtype: Any) -> tuple[Program, bool]:
    """What f computes, as a program, and whether it gives a tuple. f is called once, with tensors
    of one element each."""
    before = tape.values, getattr(tape, "alive", []), getattr(tape, "steps", [])
    tape.values, tape.alive, tape.steps = {}, [], []
    try:
        inputs = [
            Traced(np.ones(1, dtype), requires_grad=True, dtype=dtype) for _ in range(arguments)
        ]
        for x in inputs:
            x.data.flags.writeable = False
            _number(x.data)
        with enable_grad(), np.errstate(all="ignore"):
            found = f(*inputs)
        results = tuple(_operand("the result", y) for y in listed(found))
        return Program(arguments, tape.steps, results, np.dtype(dtype)), isinstance(found, tuple)
    finally:
        tape.values, tape.alive, tape.steps = before


def gradient_of(
    f: Callable[..., Any], arguments: int, needs: Sequence[bool]
) -> Callable[..., tuple[Any, ...]]:
    """The backward of a function as a function: of f's arguments, and then of a gradient for each
    of its results. It gives a tuple: the share of each argument whose entry in ``needs`` is True.

    Its results have a past, so it can be traced, and differentiated like f itself: from
    ``gradient_of(gradient_of(f, …), …)`` come second derivatives. Where nothing depends on an
    argument the share is a Tensor of its dtype without axes, 0.

    f takes that many tensors and gives one, or a tuple. ``listed`` makes a list of either.

    >>> x = Tensor([1.0, 2.0], requires_grad=True)
    >>> gradient_of(lambda x: x * x, 1, [True])(x, Tensor([1.0, 10.0]))
    (tensor([2.0000, 40.0000], op=add),)
    """

    # TODO: a function inside of this one, which divides its arguments, calls f, and grad.
    # HINT: which argument of day 24's grad makes results with a past, and which allows None?
    raise NotImplementedError("gradient_of")


class Fuser:
    """A function, its plans by dtype, and its gradients, which are functions like itself."""

    def __init__(self, f: Callable[..., Any]) -> None:
        self.f = f
        self.plans: dict[Any, tuple[Plan, bool] | Unfusable] = {}
        self.gradients: dict[Any, Fuser] = {}

    def __call__(self, *tensors: Any) -> Any:
        """``f(*tensors)`` as one node."""
        key = len(tensors), tensors[0].dtype
        if key not in self.plans:
            try:
                program, several = trace(self.f, *key)
                self.plans[key] = plan(program), several
            except Unfusable as refusal:
                self.plans[key] = refusal
        known = self.plans[key]
        if isinstance(known, Unfusable):
            raise Unfusable(*known.args)
        planned, several = known
        found = Fused.apply(*tensors, fuser=self, planned=planned)
        return found if several else found[0]

    def gradient(self, arguments: int, needs: tuple[bool, ...]) -> Fuser:
        if (arguments, needs) not in self.gradients:
            self.gradients[arguments, needs] = Fuser(gradient_of(self.f, arguments, needs))
        return self.gradients[arguments, needs]


class Fused(Function):
    """A whole program as one operation. It keeps its arguments, and nothing in between."""

    @staticmethod
    def forward(ctx: Any, *arrays: np.ndarray, fuser: Fuser, planned: Plan) -> tuple[Any, ...]:
        ctx.fuser = fuser
        ctx.save_for_backward(*arrays)
        return tuple(run(planned, arrays))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """The fused gradient, or the gradient of f as it is if that has something without a
        kernel in it, as that of a maximum has."""
        xs, needs = ctx.saved_tensors, tuple(ctx.needs_input_grad)
        try:
            shares = ctx.fuser.gradient(len(xs), needs)(*xs, *grads)
        except Unfusable:
            shares = Fused.apart(ctx, xs, needs, grads)
        found = iter(shares)
        return tuple(
            sum_to(next(found), x.shape) if needed else None
            for x, needed in zip(xs, needs, strict=True)
        )

    @staticmethod
    def apart(
        ctx: Any, xs: Sequence[Tensor], needs: Sequence[bool], grads: Sequence[Tensor]
    ) -> list[Tensor]:
        create_graph, shape = mode.recording, grads[0].shape
        with enable_grad():
            inner = opened(xs, create_graph)
            results = listed(ctx.fuser.f(*(operations.expand(x, shape) for x in inner)))
            wanted = [x for x, needed in zip(inner, needs, strict=True) if needed]
            return gradients(results, wanted, grads, create_graph=create_graph)


def jit_fuse(f: Callable[..., Any]) -> Callable[..., Any]:
    """A function that computes what f does, block by block, in one pass over memory.

        fast = jit_fuse(f)                  or @jit_fuse above the definition of f
        fast(x, y)                          equals f(x, y)

    - f works element by element, with operations that have ``KERNELS``, on its arguments and on
      Python numbers. Values and gradients, also higher ones, equal those of f up to rounding; all
      results have the shape that the arguments broadcast to.
    - f is called at the first call for each number of arguments and dtype, and at the first
      backward for its gradient; not again, unless that has something without a kernel in it: then
      it is computed by f as it is. f sees tensors of one element: nothing that it does may depend
      on shapes or values. Where it does, or uses other operations or other tensors, ``Unfusable``
      (a ValueError), which names the operation, comes from each call.
    - TypeError, naming the type, for an argument that is no Tensor, or if there is none.
      ValueError, naming the dtypes, if they are not all of one, of floats.
    - Name and docstring are f's. Called while another function is traced it is f itself.

    Limits: the graph has one node for the whole chain, which keeps the arguments alone.

    >>> @jit_fuse
    ... def silu(x):
    ...     return x / (1 + (-x).exp())
    >>> silu(Tensor([0.0, 1.0], requires_grad=True))
    tensor([0.0000, 0.7311], op=fused)
    """
    # TODO: a Fuser for f, and a function that checks its arguments and hands them on.
    # HINT: functools.wraps keeps names and docstrings.
    raise NotImplementedError("jit_fuse")


def test_gradcheck() -> None:
    class Wrong(Function):
        @staticmethod
        def forward(ctx: Any, x: np.ndarray) -> np.ndarray:
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> Tensor:
            (x,) = ctx.saved_tensors
            return grad * 3 * x

    x = Tensor([0.5, 2.0], requires_grad=True, dtype="float64")
    assert gradcheck(lambda x: x * x * x, x)
    assert gradgradcheck(lambda x: x * x * x, x)
    assert not gradcheck(Wrong.apply, x, raise_exception=False)


def test_jvp() -> None:
    x, v = Tensor([1.0, 2.0, 3.0]), Tensor([1.0, 0.0, 10.0])
    value, product = jvp(lambda x: (x * x).sum(), x, v)
    assert (value.item(), product.item()) == (14.0, 62.0)


def test_profile() -> None:
    times = iter([0.0, 1.0, 3.0, 10.0])
    p = Profile(lambda: next(times))
    p.begin("outer", "checkpoint")
    p.begin("inner", "exp")
    p.end("inner", 800)
    p.end("outer")
    assert p.rows() == [Row("checkpoint", 1, 8.0, 0), Row("exp", 1, 2.0, 800)]
    with profile() as p:
        Tensor([1.0] * 100).exp()
    assert [(row.operator, row.calls, row.bytes) for row in p.rows()] == [("exp", 1, 400)]


def test_fusing() -> None:
    def f(x: Any, y: Any) -> Any:
        return ((x * y).exp() + 1.0).log() / y

    fast = jit_fuse(f)
    found = []
    for g in (f, fast):
        x = Tensor([[1.0], [2.0]], requires_grad=True)
        y = Tensor([1.0, 2.0, 3.0], requires_grad=True)
        z = g(x, y)
        z.sum().backward()
        assert x.grad is not None
        found.append(np.concatenate([z.data.ravel(), x.grad.data.ravel()]))
    assert np.allclose(*found)
    assert fast(x, y).node.op == "fused"


if __name__ == "__main__":
    from harness import main

    main(__file__)
