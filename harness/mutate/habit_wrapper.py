"""Gives a right function or class a learner's habit. Imported by the process that grades.

``wear`` is called by code that ``habits`` appends to a copy of the reference. What it saw is noted
in a file, one letter a call:

    c  the habit changed the result          d  an alias would have held other values
    s  it left the result as it was          r  changed, but the values are random
    n  there is nothing here that it could be put around
    e  no example of the file calls it
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import inspect
import random
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

Leaf = Callable[[Any], tuple[Any, str]]
OTHER_DTYPE = {
    "float64": "float32", "float32": "float64", "float16": "float32", "bfloat16": "float32",
    "int64": "int32", "int32": "int64", "complex128": "complex64", "complex64": "complex128",
    "bool": "uint8",
}  # fmt: skip


def wear(module: dict[str, Any], exercise: str, habit: str, record: str) -> Any:
    """The function or class ``exercise`` of ``module`` with ``habit``."""
    value = module[exercise]
    one = _Habit(habit, record)
    if not isinstance(value, type):
        worn = module[exercise] = one.around(value)
        one.learn(module)
        return worn
    own = vars(value)
    torch = sys.modules.get("torch")
    is_module = torch is not None and issubclass(value, torch.nn.Module)
    method = "forward" if is_module and "forward" in own else "__call__"
    if method not in own:
        _note(record, "n")
        return value
    bare = own[method]
    if isinstance(bare, (staticmethod, classmethod)):
        setattr(value, method, type(bare)(one.around(bare.__func__)))
    else:
        setattr(value, method, one.around(bare))
    one.learn(module)
    return value


class _Habit:
    def __init__(self, name: str, record: str) -> None:
        self.name, self.record = name, record
        self.examples: dict[Any, Any] = {}
        """What the file's examples get, by the shapes of what they give."""
        self.learning = False

    def learn(self, module: dict[str, Any]) -> None:
        """Run the examples: now, because while a test runs not every call of theirs is allowed."""
        if self.name != "examples":
            return
        self.learning = True
        for name, example in list(module.items()):
            if name.startswith("test_") and callable(example):
                with contextlib.suppress(Exception):
                    example()
        self.learning = False

    def around(self, function: Any) -> Any:
        @functools.wraps(function)
        def worn(*args: Any, **kwargs: Any) -> Any:
            if self.name == "examples":
                return self.memorised(function, args, kwargs)
            with _unseen():
                before = self.random_state(args, kwargs)
            result = function(*args, **kwargs)
            with _unseen():
                random_values = self.random_state(args, kwargs) != before
                return self.changed(result, random_values, args, kwargs)

        return worn

    def random_state(self, args: Any, kwargs: Any) -> Any:
        return _random_state((args, kwargs)) if self.name == "float16" else None

    def changed(self, result: Any, random_values: bool, args: Any, kwargs: Any) -> Any:
        if self.name == "control":
            for name in LEAVES:
                if name != "in place":  # that one changes the inputs
                    _mapped(result, functools.partial(LEAVES[name], inputs=[*_arrays(args)]))
            return result
        if self.name == "none":
            self.note("s" if result is None else "c")
            return None
        changed, letters = self.applied(result, args, kwargs)
        self.note("r" if random_values and "c" in letters else _worst(letters))
        return changed

    def applied(self, result: Any, args: Any, kwargs: Any) -> tuple[Any, str]:
        leaf = functools.partial(LEAVES[self.name], inputs=[*_arrays((args, kwargs))])

        def late(value: Any) -> Any:  # a function that the exercise returned has been called
            with _unseen():
                changed, letters = _mapped(value, leaf, late)
            self.note(_worst(letters))
            return changed

        return _mapped(result, leaf, late)

    def memorised(self, function: Any, args: Any, kwargs: Any) -> Any:
        """Right for the shapes that the file's examples use, and for no others."""
        result = function(*args, **kwargs)
        if self.learning:
            self.examples[_shapes((args, kwargs))] = result
            return result
        if not self.examples or _shapes((args, kwargs)) in self.examples:
            self.note("s" if self.examples else "e")
            return result
        with _unseen():
            zeros, letters = _mapped(result, functools.partial(_zeros, inputs=[]))
        if "c" in letters or "s" in letters:
            self.note(_worst(letters))
            return zeros
        shown = [*self.examples.values()][-1]  # no numbers: what the last example gave
        self.note("s" if _same(shown, result) else "c")
        return shown

    def note(self, letter: str) -> None:
        _note(self.record, letter)


@contextlib.contextmanager
def _unseen() -> Iterator[None]:
    """Keeps what the wrapper does out of what ``watch`` counts in the call that is wrapped."""
    watch = getattr(sys.modules.get("harness.testing.watching"), "watch", None)
    frame = sys._getframe(1) if watch is not None else None
    while frame is not None and frame.f_code is not watch.__code__:  # type: ignore[union-attr]
        frame = frame.f_back
    if frame is None or frame.f_locals["record"].hidden:
        yield
        return
    record, meters = frame.f_locals["record"], frame.f_locals["meters"]
    counts = len(record.operators), len(record.synchronisations)
    record.hidden += 1
    for meter in reversed(meters):
        meter.pause()
    try:
        yield
    finally:
        for meter in meters:
            meter.resume()
        record.hidden -= 1
        del record.operators[counts[0] :], record.synchronisations[counts[1] :]


def _note(record: str, letter: str) -> None:
    with open(record, "a", encoding="ascii") as file:
        file.write(letter)


def _worst(letters: str) -> str:
    return next((letter for letter in "dcs" if letter in letters), "s")


# ---------------------------------------------------------------------------------------------
# Through results of any form


def _mapped(value: Any, leaf: Leaf, late: Callable[[Any], Any] | None = None) -> tuple[Any, str]:
    """``value`` with its arrays and numbers changed by ``leaf``, and the leaves' letters."""
    if isinstance(value, dict):
        parts = [(key, *_mapped(part, leaf, late)) for key, part in value.items()]
        return _like(value, {k: v for k, v, _ in parts}), "".join(w for *_, w in parts)
    if isinstance(value, (tuple, list)) and not hasattr(value, "is_contiguous"):
        several = [_mapped(part, leaf, late) for part in value]
        new = [v for v, _ in several]
        letters = "".join(w for _, w in several)
        if hasattr(value, "_fields"):
            return type(value)(*new), letters
        return (tuple(new) if isinstance(value, tuple) else new), letters
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        with contextlib.suppress(TypeError, ValueError):
            fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init}
            new_fields, letters = _mapped(fields, leaf, late)
            return (dataclasses.replace(value, **new_fields) if "c" in letters else value), letters
    if isinstance(value, (types.FunctionType, types.MethodType, functools.partial)):
        if late is None:
            return value, ""

        @functools.wraps(value)
        def returned(*args: Any, **kwargs: Any) -> Any:
            return late(value(*args, **kwargs))

        return returned, ""
    if _own_tensor(value):
        data, letters = leaf(_data(value))
        if "c" not in letters:
            return value, letters
        own: Any = copy.copy(value)
        with contextlib.suppress(AttributeError):
            own.data = data
            return own, letters
        return value, "s"
    return leaf(value)


def _like(value: dict[Any, Any], new: dict[Any, Any]) -> Any:
    if type(value) is dict:
        return new
    same = copy.copy(value)
    same.update(new)
    return same


def _own_tensor(value: Any) -> bool:
    """An object of a day's own class that holds numbers in ``data``."""
    if not type(value).__module__.startswith("tracks."):
        return False
    return isinstance(getattr(value, "data", None), (np.ndarray, np.generic, float))


def _data(own_tensor: Any) -> Any:
    return own_tensor.data


def _arrays(value: Any, depth: int = 4) -> Iterator[Any]:
    """The tensors and numpy arrays among arguments."""
    if _is_tensor(value) or isinstance(value, np.ndarray):
        yield value
    elif _own_tensor(value):
        yield from _arrays(_data(value))
    elif depth and isinstance(value, (tuple, list)):
        for part in value:
            yield from _arrays(part, depth - 1)
    elif depth and isinstance(value, dict):
        yield from _arrays([*value.values()], depth - 1)


def _is_tensor(value: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor) and not value.is_meta


def _is_array(value: Any) -> bool:
    return _is_tensor(value) or isinstance(value, np.ndarray)


def _size(value: Any) -> int:
    return int(value.numel()) if _is_tensor(value) else int(value.size)


def _numbers(value: Any) -> np.ndarray:
    """For comparing only."""
    if _is_tensor(value):
        value = value.detach().cpu()
        if value.is_floating_point():
            value = value.double()
        value = value.resolve_conj().numpy()
    return np.asarray(value)


def _same(a: Any, b: Any) -> bool:
    if _is_array(a) or _is_array(b):
        if type(a) is not type(b) or a.dtype != b.dtype or a.shape != b.shape:
            return False
        left, right = _numbers(a), _numbers(b)
        nan = left.dtype.kind in "fc"
        return bool(np.array_equal(left, right, equal_nan=nan))
    with contextlib.suppress(Exception):
        return type(a) is type(b) and bool(a == b)
    return False


def _shares(a: Any, b: Any) -> bool:
    if _is_tensor(a):
        return a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr()
    return np.may_share_memory(a, b)


def _shapes(value: Any, depth: int = 4) -> Any:
    if _is_array(value):
        return "array", tuple(value.shape)
    if isinstance(value, bool) or value is None or isinstance(value, (int, str)):
        return value
    if isinstance(value, (tuple, list)) and depth:
        return tuple(_shapes(part, depth - 1) for part in value)
    if isinstance(value, dict) and depth:
        return tuple((key, _shapes(part, depth - 1)) for key, part in value.items())
    if _own_tensor(value):
        return "array", np.shape(_data(value))
    return "callable" if inspect.isroutine(value) else type(value).__name__


def _random_state(arguments: Any) -> Any:
    torch = sys.modules.get("torch")
    state: list[Any] = [random.getstate(), str(np.random.get_state(legacy=False))]
    if torch is not None:
        state.append(torch.get_rng_state().numpy().tobytes())
    args, kwargs = arguments
    for value in (*args, *kwargs.values()):
        if isinstance(value, np.random.Generator):
            state.append(str(value.bit_generator.state))
        elif torch is not None and isinstance(value, torch.Generator):
            state.append(value.get_state().numpy().tobytes())
    return state


# ---------------------------------------------------------------------------------------------
# The habits, on one array or number: → what it becomes, and "c", "s" or "d"; "" where it is neither


def _zeros(value: Any, inputs: list[Any]) -> tuple[Any, str]:
    if _is_tensor(value):
        return sys.modules["torch"].zeros_like(value), "c" if bool((value != 0).any()) else "s"
    if isinstance(value, np.ndarray):
        return np.zeros_like(value), "c" if bool(np.any(value != 0)) else "s"
    if isinstance(value, (np.generic, float)) and not isinstance(value, (np.str_, np.bytes_)):
        return type(value)(0), "c" if value != 0 else "s"
    return value, ""


def _input(value: Any, inputs: list[Any]) -> tuple[Any, str]:
    found = _matching(value, inputs)
    if found is None:
        return value, ""
    return (value, "s") if _same(found, value) else (found, "c")


def _float16(value: Any, inputs: list[Any]) -> tuple[Any, str]:
    """Rounded to the 11 bits of float16, whatever the magnitude."""
    if _is_tensor(value):
        if not value.is_floating_point() or value.element_size() < 4:
            return value, ""
        torch = sys.modules["torch"]
        with torch.no_grad():
            mantissa, exponent = torch.frexp(value.detach())
            rounded = torch.ldexp(torch.round(mantissa * 2048) / 2048, exponent)
            difference = torch.where(torch.isfinite(value), rounded - value, 0)
            if not bool((difference != 0).any()):
                return value, "s"
        return value + difference, "c"
    if isinstance(value, (np.ndarray, np.generic, float)) and np.asarray(value).dtype.kind == "f":
        mantissa, exponent = np.frexp(value)
        rounded = np.ldexp(np.round(mantissa * 2048) / 2048, exponent)
        new: Any = np.asarray(rounded).astype(np.asarray(value).dtype)
        if not isinstance(value, np.ndarray):
            new = type(value)(new)
        return (value, "s") if _same(new, value) else (new, "c")
    return value, ""


def _dtype(value: Any, inputs: list[Any]) -> tuple[Any, str]:
    if _is_tensor(value):
        other = OTHER_DTYPE.get(str(value.dtype).removeprefix("torch."))
        if other is not None:
            return value.to(getattr(sys.modules["torch"], other)), "c"
    elif isinstance(value, (np.ndarray, np.generic)) and value.dtype.name in OTHER_DTYPE:
        return value.astype(OTHER_DTYPE[value.dtype.name]), "c"
    return value, ""


def _detached(value: Any, inputs: list[Any]) -> tuple[Any, str]:
    if _is_tensor(value):
        return (value.detach(), "c") if value.requires_grad else (value, "s")
    return value, ""


def _zero_gradient(value: Any, inputs: list[Any]) -> tuple[Any, str]:
    if _is_tensor(value):
        if value.requires_grad and value.is_floating_point():
            nothing = 0.0 * sys.modules["torch"].nan_to_num(value)
            return value.detach() + nothing, "c"
        return value, "s"
    return value, ""


def _host(value: Any, inputs: list[Any]) -> tuple[Any, str]:
    if _is_tensor(value):
        return (value.cpu(), "c") if value.is_cuda else (value, "s")
    return value, ""


def _in_place(value: Any, inputs: list[Any]) -> tuple[Any, str]:
    """Computed into the input, which is what is returned."""
    found = _matching(value, inputs, same_dtype=True)
    if found is None or _size(value) == 0 or any(_shares(value, x) for x in _kin(value, inputs)):
        return value, ""
    if _is_tensor(found):
        if any(step == 0 and n > 1 for n, step in zip(found.shape, found.stride(), strict=True)):
            return value, ""
        same = _same(found, value)
        with sys.modules["torch"].no_grad():
            found.copy_(value.detach())
        return found, "s" if same else "c"
    same = _same(found, value)
    np.copyto(found, value)
    return found, "s" if same else "c"


def _alias(value: Any, inputs: list[Any]) -> tuple[Any, str]:
    """The input itself where the values are the input's."""
    if not _is_array(value) or _size(value) == 0:
        return value, ""
    kin = _kin(value, inputs)
    if any(_shares(value, x) for x in kin):
        return value, "s"
    for found in kin:
        if tuple(found.shape) == tuple(value.shape) and _same(found, value):
            return (found.view_as(found) if _is_tensor(found) else found.view()), "c"
    return value, "d"


def _kin(value: Any, inputs: list[Any]) -> list[Any]:
    return [x for x in inputs if _is_tensor(x) == _is_tensor(value)]


def _matching(value: Any, inputs: list[Any], same_dtype: bool = False) -> Any:
    if not _is_array(value):
        return None
    fitting = [x for x in _kin(value, inputs) if tuple(x.shape) == tuple(value.shape)]
    exact = [x for x in fitting if x.dtype == value.dtype]
    return next(iter(exact if same_dtype else exact + fitting), None)


LEAVES: dict[str, Callable[..., tuple[Any, str]]] = {
    "zeros": _zeros,
    "input": _input,
    "float16": _float16,
    "dtype": _dtype,
    "detached": _detached,
    "zero gradient": _zero_gradient,
    "host": _host,
    "in place": _in_place,
    "alias": _alias,
}
