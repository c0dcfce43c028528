"""
Day 26: Modes and mutation
==========================
Estimated time: 2 hours
Prerequisites: Day 23 (context), Day 25 (accumulation and hooks)
Lesson: lessons/day26.md

Learning objectives:
- Switch recording off and on: nested, in threads, with exceptions, as a decorator, in generators
- Say which tensors a gradient may be asked for, and let one go from its past
- Change a tensor in place where that is right, and refuse it where it would be lost
- Catch a saved tensor that was changed before its backward came, also through a view

All tensors on one memory share one counter, and each change in place adds 1 to it:

    w ────────┐                     w * x saves w: version 0
    w.T ──────┼── Version 0         w.T[0] = 5:    version 1
    w.T[0] ───┘                     backward:      0 was saved, 1 is there: refused

Whoever saves notes the number, and whoever asks for what was saved compares.

Hints:
- ``mode.recording`` of day 22 is the switch, and each thread has its own.
- A generator stops in the middle of its body, and its caller goes on.
- What is a view is told by memory: ``np.may_share_memory``.

Resources:
- Locally disabling gradient computation, in-place correctness checks:
  https://docs.pytorch.org/docs/stable/notes/autograd.html
- PEP 342, generators that values and exceptions are sent to: https://peps.python.org/pep-0342/
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np

from tracks.autodiff import day15, day20, day22, day23, day25, operations
from tracks.autodiff.day22 import mode

F = TypeVar("F", bound=Callable[..., Any])


class Switch:
    """A mode for a while: ``with Switch(False): …`` records nothing, ``Switch(True)`` records.

    One object can be used again, also inside of itself.
    """

    def __init__(self, recording: bool) -> None:
        self.recording = recording
        self.before: list[bool] = []

    def __enter__(self) -> None:
        """Set ``mode.recording``, and remember what it was."""
        # TODO: two lines.
        # HINT: why is ``before`` a list?
        raise NotImplementedError("Switch.__enter__")

    def __exit__(self, *error: object) -> None:
        """Put back what there was at the last entry, with an exception or without. It goes on."""
        # TODO: one line.
        # HINT: what was before is not always True.
        raise NotImplementedError("Switch.__exit__")

    def __call__(self, f: F) -> F:
        """Decorate ``f``: each call of it runs in this mode. Name and docstring stay f's own.

        A generator function runs in this mode whenever it runs, from one yield to the next. In
        between the caller has its own mode; when the generator goes on it has the mode that it
        stopped in. What the caller sends, throws, or closes comes to it, and its return value is
        that of ``yield from``.

        >>> @no_grad()
        ... def double(x):
        ...     return x * 2
        >>> double(Tensor([1.0], requires_grad=True)).requires_grad
        False
        """
        # TODO: one wrapper for functions, and one for generator functions.
        # HINT: inspect.isgeneratorfunction tells them apart. What has happened when a call of a
        # generator function returns?
        raise NotImplementedError("Switch.__call__")


class no_grad(Switch):
    """Nothing is recorded: ``with no_grad():`` or ``@no_grad()``."""

    def __init__(self) -> None:
        super().__init__(False)


class enable_grad(Switch):
    """Operations are recorded, also inside of ``no_grad``."""

    def __init__(self) -> None:
        super().__init__(True)


def is_grad_enabled() -> bool:
    return mode.recording


class Version:
    """How often the memory that some tensors share has been changed in place."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0


def version_of(x: Tensor) -> Version:
    """The counter of ``x``, made when it is asked for the first time."""
    if not hasattr(x, "version"):
        x.version = Version()
    return x.version


def adopt(x: Tensor, others: Iterable[Any]) -> None:
    """If ``x`` has no counter yet and lies on the memory of one of ``others``: that one's."""
    if not hasattr(x, "version"):
        for other in others:
            # Two arrays that are no views lie on one memory only if they are one array.
            views = x.data.base is not None or other.data.base is not None
            if x.data is other.data or (views and np.may_share_memory(x.data, other.data)):
                x.version = version_of(other)
                return


class Context(day23.Context):
    """A context that knows which version of each tensor it saved.

    ``versions`` has a pair for each entry of ``saved``: the counter (a ``Version``), and the number
    that it had; None for an entry that is None.
    """

    __slots__ = ()

    def finish(self, found: Sequence[Any], results: Sequence[Any]) -> None:
        """Give views the counter of what they look at, and note versions.

        - Each result on the memory of a tensor argument gets its counter (``adopt``), whether or
          not anything is recorded.
        - Then ``super().finish``, which fills ``saved`` and lets go of ``inputs``.
        - The counter of a saved ``Result`` is that of ``results[index]``; of any other Tensor its
          own, where one without a counter adopts that of an argument on the same memory.
        """
        # TODO: adopt; super; versions.
        # HINT: which of these steps needs ``inputs``?
        raise NotImplementedError("Context.finish")

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        """What was saved, as on day 23, if none of it has been changed in place since.

        Else RuntimeError, which names the operation, the tensor's shape and both versions. Each
        Tensor has the counter that was noted: a saved result is made anew, and may itself be saved
        or viewed again.
        """
        # TODO: the tensors of day 23; compare; hand the counters on.
        # HINT: super().saved_tensors is a property too.
        raise NotImplementedError("Context.saved_tensors")


class Tensor(day25.Tensor):
    """Day 25's Tensor, which counts its changes in place. ``version`` is the counter's slot."""

    __slots__ = ("version",)
    Context = Context

    @property
    def _version(self) -> int:
        return version_of(self).value

    def detach(self) -> Tensor:
        return detach(self)

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        return requires_grad_(self, requires_grad)

    def __setitem__(self, index: Any, value: Any) -> None:
        write_("x[...] =", self, value, index)

    def copy_(self, source: Tensor) -> Tensor:
        return write_("copy_", self, source)

    def fill_(self, value: float) -> Tensor:
        return write_("fill_", self, value)

    def zero_(self) -> Tensor:
        return write_("zero_", self, 0)

    def add_(self, other: Any, alpha: float = 1) -> Tensor:
        return computed("add_", self, other, lambda a, b: a + (b if alpha == 1 else b * alpha))

    def sub_(self, other: Any, alpha: float = 1) -> Tensor:
        return computed("sub_", self, other, lambda a, b: a - (b if alpha == 1 else b * alpha))

    def mul_(self, other: Any) -> Tensor:
        return computed("mul_", self, other, operations.mul)

    def div_(self, other: Any) -> Tensor:
        return computed("div_", self, other, operations.div)


def detach(x: Tensor) -> Tensor:
    """A constant on the memory of ``x``: no past, no gradient, and the same counter.

    What is written into one is seen in the other, and counted for both.

    >>> x = Tensor([1.0, 2.0], requires_grad=True)
    >>> y = detach(x)
    >>> y[0] = 5.0
    >>> x.tolist(), x._version
    ([5.0, 2.0], 1)
    """
    # TODO: made on the same array; the counter.
    # HINT: x may have no counter yet. Who makes one?
    raise NotImplementedError("detach")


def requires_grad_(x: Tensor, requires_grad: bool = True) -> Tensor:
    """Say whether gradients with respect to ``x`` are wanted, from now on. → x itself.

    - TypeError, naming the dtype, if they are wanted of integers or bools.
    - RuntimeError if x is the result of a recorded operation, and they are not: then its past is
      there. ``detach`` gives a tensor without. For True nothing changes there.
    - Operations that have been recorded before stay as they were.

    >>> requires_grad_(Tensor([1.0]))
    tensor([1.0000], requires_grad=True)
    """
    # TODO: two refusals, and a slot.
    # HINT: a result requires a gradient because its parents do.
    raise NotImplementedError("requires_grad_")


def place_of(x: Tensor, index: Any) -> tuple[np.ndarray, Any]:
    """Where ``x[index]`` is: a view ``part`` of the memory of x, and ``keys`` with
    ``part[keys] = value`` to write there. In two steps, as day 20's getitem reads."""
    basic: list[Any] = []
    chosen: list[Any] = []
    copies = False
    for key in day20.keys_of(index, x.shape):
        if isinstance(key, np.ndarray):
            copies = True
            basic += [slice(None)] * day20.axes_taken(key)
            chosen.append(key)
        else:
            basic.append(key)
            chosen += [] if isinstance(key, int) else [slice(None)]
    return x.data[(*basic, ...)], tuple(chosen) if copies else ...


def write_(
    what: str, x: Tensor, value: Any, index: Any = ..., sources: Sequence[Any] = ()
) -> Tensor:
    """Write ``value``, a Tensor, array or number, into ``x[index]``, and count it. → x itself.

    - The value is broadcast to the shape of ``x[index]``, and brought to the dtype of x.
      ValueError, naming ``what`` and both shapes, if it does not broadcast.
    - Every tensor on this memory sees the new elements, and has counted 1 more. Where something is
      refused, nothing is counted and nothing changes.
    - RuntimeError, naming ``what``, while operations are recorded (``mode.recording``) if x
      requires a gradient, or the value, or one of ``sources``, from which the value was computed:
      no graph would know of the change. (torch allows it for results, and rewrites their past.)
    - RuntimeError, naming ``what`` and the shape of x, if x is an expanded view, whose array is not
      writeable: one place in memory stands for many elements.

    >>> x = Tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> x[:, 0] = 7
    >>> x.mul_(2.0).T[0].zero_()
    tensor([0.0000, 0.0000])
    >>> x, x._version
    (tensor([[0.0000, 4.0000],
            [0.0000, 8.0000]]), 3)
    """
    # TODO: two refusals; write; count.
    # HINT: place_of(x, index) is given. What do you count if numpy refuses the value?
    raise NotImplementedError("write_")


def computed(what: str, x: Tensor, other: Any, f: Callable[[Any, Any], Any]) -> Tensor:
    """x becomes f(x, other), which must have its shape, and a dtype that its own can hold."""
    with no_grad():
        new = f(x, other)
    if new.shape != x.shape:
        raise ValueError(f"{what}: a result of shape {new.shape} for a tensor of {x.shape}")
    if not np.can_cast(new.dtype, x.dtype, "same_kind"):
        raise RuntimeError(f"{what}: a result of {new.dtype} cannot become one of {x.dtype}")
    return write_(what, x, new, sources=[other])


def test_modes() -> None:
    x = Tensor([1.0], requires_grad=True)
    with no_grad():
        assert not (x * 2.0).requires_grad
        with enable_grad():
            assert (x * 2.0).requires_grad
        assert not is_grad_enabled()
    assert is_grad_enabled()


def test_generators() -> None:
    @no_grad()
    def numbers() -> Iterator[bool]:
        yield mode.recording
        yield mode.recording

    seen = [(inside, mode.recording) for inside in numbers()]
    assert seen == [(False, True), (False, True)]


def test_detach_and_flags() -> None:
    x = Tensor([1.0, 2.0])
    requires_grad_(x)
    y = detach(x)
    assert x.requires_grad
    assert not y.requires_grad
    assert y.data is x.data


def test_writing() -> None:
    x = Tensor([[1.0, 2.0], [3.0, 4.0]])
    x[0] = 0.0
    x.T.add_(1.0)
    assert x.tolist() == [[1.0, 1.0], [4.0, 5.0]]
    assert x._version == 2


def test_versions() -> None:
    w = Tensor([1.0, 2.0], requires_grad=True)
    y = (w * w).sum()
    with no_grad():
        w.sub_(0.1)
    try:
        y.backward()
    except RuntimeError as error:
        assert "mul" in str(error)
    else:
        raise AssertionError("a backward with another w than that of the forward went through")


if __name__ == "__main__":
    from harness import main

    main(__file__)
