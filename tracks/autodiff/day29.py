"""
Day 29: Module and Parameter
============================
Estimated time: 2 hours
Prerequisites: Day 25 (hooks), Day 26 (modes and mutation)
Lesson: lessons/day29.md

Learning objectives:
- Let a model find its own weights: by the names of attributes, as deep as it is nested
- Count what is shared once where it is trained, and under every name where it is saved
- Write a state into a model whole or not at all, and say what does not fit
- Build models in lists and chains, call them with hooks, copy and pickle them

A module is a node of a tree. What is assigned to it is sorted by kind, and names grow on the way
down:

    Model                         _parameters    scale           scale
      scale = Parameter           _buffers       steps           steps
      steps = buffer              _modules       body ──┐        body.0.weight
      body = Sequential                                 │        body.0.bias
                                  Sequential  _modules  0, 1     body.1.weight
                                                                 …

The names on the right are the keys of the state. They are torch's, so that its files fit.

Hints:
- Python calls ``__setattr__`` for every assignment, ``__getattr__`` only where nothing was found.
- A set or dict of tensors or modules compares by identity; ``x in a_list`` asks ``==``.
- Check everything, then write.

Resources:
- torch.nn.Module: https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html
- Python, customizing attribute access:
  https://docs.python.org/3/reference/datamodel.html#customizing-attribute-access
- Python, pickling class instances: https://docs.python.org/3/library/pickle.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

import numpy as np

from tracks.autodiff import day15, day26
from tracks.autodiff.day25 import Handle
from tracks.autodiff.day26 import no_grad, version_of, write_
from tracks.autodiff.day28 import Tensor

M = TypeVar("M", bound="Module")


class Parameter(Tensor):
    """A Tensor that a module finds by itself: a weight.

    >>> Parameter([1.0, 2.0])
    Parameter containing:
    tensor([1.0000, 2.0000], requires_grad=True)
    """

    __slots__ = ()

    def __init__(self, data: Any, requires_grad: bool = True, dtype: Any = None) -> None:
        """A leaf, which requires a gradient unless told otherwise.

        A Tensor is not copied: the parameter lies on its memory and shares its version counter
        (``version_of``), whatever past it has; unless another ``dtype`` is given. All else is
        copied, as Tensor does. TypeError for a gradient of integers or bools.
        """
        # TODO: all slots filled; the array, and whose counter; the flag.
        # HINT: what does Tensor's own __init__ do with a Tensor?
        raise NotImplementedError("Parameter.__init__")

    @classmethod
    def _made(cls, array: np.ndarray, node: Any = None, index: int = 0) -> Any:
        """What operations on a parameter, its detach and its gradient are: plain Tensors."""
        # TODO: one line.
        # HINT: a module would take the result of p * 2 for a weight if it were a Parameter.
        raise NotImplementedError("Parameter._made")

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        """How deepcopy and pickle make another one: ``(callable, arguments)`` that they call.

        The other one has the values, dtype and ``requires_grad``, and memory of its own. Its grad
        is None; hooks and counter stay behind, as in torch.
        """
        # TODO: the class, and what to call it with.
        # HINT: which three things make a parameter?
        raise NotImplementedError("Parameter.__reduce_ex__")

    def __repr__(self) -> str:
        return f"Parameter containing:\n{super().__repr__()}"


class Module:
    """A part of a model: it knows its weights, its buffers and its parts by their names.

    A subclass calls ``super().__init__()``, assigns what it owns, and has a ``forward``.

    - ``_parameters``, ``_buffers``, ``_modules``: dicts from a name to what is registered under
      it, or None. ``_non_persistent_buffers_set``: names of buffers that are not saved.
    - ``training``: whether it is being trained; Dropout and batch norm look at it.

    >>> net = Module()
    >>> net.w = Parameter([1.0])
    >>> net.part = Module()
    >>> net.part.w = net.w * 2
    >>> net.part.b = Parameter([3.0])
    >>> [name for name, _ in net.named_parameters()]
    ['w', 'part.b']
    """

    training: bool
    _parameters: dict[str, Any]
    _buffers: dict[str, Any]
    _modules: dict[str, Any]
    _non_persistent_buffers_set: set[str]
    _forward_pre_hooks: dict[Handle, Callable[..., Any]]
    _forward_hooks: dict[Handle, Callable[..., Any]]

    def __init__(self) -> None:
        self.__dict__.update(
            training=True, _parameters={}, _buffers={}, _modules={},
            _non_persistent_buffers_set=set(), _forward_pre_hooks={}, _forward_hooks={},
        )  # fmt: skip

    def __setattr__(self, name: str, value: Any) -> None:
        """Sort ``value`` by its kind, and by what ``name`` is already. The first that holds:

        1. A Parameter goes to ``_parameters``, whatever was there: it is taken away from all
           other places (``__dict__`` too).
        2. The name of a parameter takes nothing else but None. None stays in ``_parameters``: the
           attribute is there, and is None.
        3. A Module goes to ``_modules`` and is taken away from all other places.
        4. The name of a module takes nothing else but None.
        5. The name of a buffer takes a Tensor or None; it stays as persistent as it was.
        6. All else, a plain Tensor too, is an ordinary attribute.

        What 2, 4 and 5 refuse is a TypeError that names ``name``. A Parameter or Module before
        ``Module.__init__`` has run is an AttributeError that says ``__init__``; others may come.
        """
        # TODO: six cases, in this order.
        # HINT: self.__dict__.get("_parameters") is None as long as __init__ has not run.
        raise NotImplementedError("Module.__setattr__")

    def __getattr__(self, name: str) -> Any:
        """What is registered under ``name``. Python comes here when it has found nothing else.

        AttributeError, naming the class and the name, if there is nothing; also if ``__init__`` has
        not run, as in the moment when deepcopy or pickle has made the object and filled nothing.
        """
        # TODO: three dicts, if they are there.
        # HINT: what happens at ``self._parameters`` in here, if there is no such attribute yet?
        raise NotImplementedError("Module.__getattr__")

    def __delattr__(self, name: str) -> None:
        """Take away what is registered under ``name``, else the ordinary attribute."""
        # TODO: the same places, and one set.
        # HINT: what if a buffer that is not persistent goes, and a persistent one comes?
        raise NotImplementedError("Module.__delattr__")

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Own ``tensor`` under ``name`` as something that is kept, not trained: a running mean.

        One that is not persistent is left out of the state. A buffer of that name is replaced, and
        is then as persistent as is said now. TypeError, naming the name, if ``tensor`` is neither
        a Tensor nor None; ``check_name`` refuses the rest.
        """
        # TODO: check; register; remember whether it is saved.
        # HINT: there are two ways in which the set of names may be wrong afterwards.
        raise NotImplementedError("Module.register_buffer")

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        check_name(self, name, "_parameters")
        self._parameters[name] = checked(name, param, Parameter)

    def add_module(self, name: str, module: Module | None) -> None:
        check_name(self, name, "_modules")
        self._modules[name] = checked(name, module, Module)

    register_module = add_module

    def train(self: M, mode: bool = True) -> M:
        """Set ``training`` here and in all parts, at every depth. → the module itself."""
        # TODO: every module that is below, and this one.
        # HINT: which function of today finds them all?
        raise NotImplementedError("Module.train")

    def eval(self: M) -> M:
        return self.train(False)

    def apply(self: M, fn: Callable[[Module], Any]) -> M:
        """Call ``fn`` with every part and with the module: parts before the module that has them,
        in the order of ``_modules``. → the module itself."""
        # TODO: the parts, in the same way; then itself.
        # HINT: what does apply do for a part?
        raise NotImplementedError("Module.apply")

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(f"{type(self).__name__} needs a forward of its own")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return call(self, *args, **kwargs)

    def register_forward_pre_hook(self, hook: Callable[..., Any]) -> Handle:
        handle = Handle(self._forward_pre_hooks)
        self._forward_pre_hooks[handle] = hook
        return handle

    def register_forward_hook(self, hook: Callable[..., Any]) -> Handle:
        handle = Handle(self._forward_hooks)
        self._forward_hooks[handle] = hook
        return handle

    def named_modules(
        self, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        return named_modules(self, prefix, remove_duplicate)

    def modules(self) -> Iterator[Module]:
        return (module for _, module in named_modules(self))

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The parts, not those below them; one that has two names under its first."""
        seen = set()
        for name, module in self._modules.items():
            if module is not None and module not in seen:
                seen.add(module)
                yield name, module

    def children(self) -> Iterator[Module]:
        return (module for _, module in self.named_children())

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        return named_members(self, "_parameters", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        return (p for _, p in self.named_parameters(recurse=recurse))

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        return named_members(self, "_buffers", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        return (b for _, b in self.named_buffers(recurse=recurse))

    def state_dict(self, prefix: str = "", keep_vars: bool = False) -> dict[str, Tensor]:
        return state_dict(self, prefix, keep_vars)

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> IncompatibleKeys:
        return load_state_dict(self, state, strict)

    def requires_grad_(self: M, requires_grad: bool = True) -> M:
        for p in self.parameters():
            p.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        for p in self.parameters():
            if set_to_none:
                p.grad = None
            elif p.grad is not None:
                p.grad = p.grad._made(np.zeros(p.shape, p.dtype))

    def to(self: M, dtype: Any) -> M:
        """All parameters and buffers of floats in ``dtype``. They stay the objects that they are,
        so that an optimiser or a second owner goes on holding them."""
        dtype = np.dtype(dtype)
        for t in (*self.parameters(), *self.buffers()):
            if t.dtype.kind == "f" and t.dtype != dtype:
                t.data, t.version = t.data.astype(dtype), day26.Version()
                if t.grad is not None:
                    t.grad = t.grad._made(t.grad.data.astype(dtype))
        return self

    def double(self: M) -> M:
        return self.to(np.float64)

    def float(self: M) -> M:
        return self.to(np.float32)

    def extra_repr(self) -> str:
        """What a subclass says of itself between the brackets of its repr."""
        return ""

    def __repr__(self) -> str:
        extra = self.extra_repr()
        parts = [
            f"({name}): " + repr(module).replace("\n", "\n  ")
            for name, module in self._modules.items()
        ]
        if not parts and "\n" not in extra:
            return f"{type(self).__name__}({extra})"
        lines = [*(extra.split("\n") if extra else []), *parts]
        return f"{type(self).__name__}(\n  " + "\n  ".join(lines) + "\n)"


def forget(module: Module, name: str, but: str = "") -> None:
    """Take ``name`` away from all places where a module may have it, except the one named."""
    fields = module.__dict__
    for place in ("_parameters", "_buffers", "_modules"):
        if place != but:
            fields[place].pop(name, None)
    module._non_persistent_buffers_set.discard(name)
    fields.pop(name, None)


def checked(name: str, value: Any, kind: type | None = None) -> Any:
    """``value``, if it is None or of the ``kind``; else TypeError, naming the name."""
    if value is None or (kind is not None and isinstance(value, kind)):
        return value
    wanted = f"a {kind.__name__} or None" if kind else "None, or something of its own kind"
    raise TypeError(f"{name} takes {wanted}, not a {type(value).__name__}")


def check_name(module: Module, name: str, place: str) -> None:
    """Errors of torch for a name that cannot be registered in ``place``."""
    if place not in module.__dict__:
        raise AttributeError(
            f"{name} is registered before Module.__init__(): call super().__init__() first"
        )
    if not isinstance(name, str):
        raise TypeError(f"a name must be a string, not a {type(name).__name__}")
    if "." in name or name == "":
        raise KeyError(f"a name has no dot and is not empty, unlike {name!r}")
    if hasattr(module, name) and name not in module.__dict__[place]:
        raise KeyError(f"{type(module).__name__} has an attribute {name} already")


def call(module: Module, *args: Any, **kwargs: Any) -> Any:
    """``module.forward(*args, **kwargs)`` with the module's hooks around it. → its result.

    - Before: each of ``_forward_pre_hooks`` is called with ``(module, args)``. What it gives takes
      the place of args, in a tuple if it is none; None leaves them.
    - After: each of ``_forward_hooks`` is called with ``(module, args, result)``, where args are
      those that forward got. What it gives takes the place of the result; None leaves it.
    - Hooks run in the order in which they were registered, each on what the one before it left.
      Those run that are there when the first of their kind does: one may take itself away.
      They do not see ``kwargs``.

    >>> net = Module()
    >>> net.forward = lambda x: x + 1
    >>> handle = net.register_forward_pre_hook(lambda module, args: args[0] * 10)
    >>> net(4)
    41
    """
    # TODO: the hooks before, forward, the hooks after.
    # HINT: which results of a hook are false, but not None?
    raise NotImplementedError("call")


def named_modules(
    module: Module, prefix: str = "", remove_duplicate: bool = True
) -> Iterator[tuple[str, Module]]:
    """The module under the name ``prefix``, and all that are below, with their paths.

    - The path of a part is its owner's, a dot, and its name in ``_modules``; without the dot where
      the owner's is empty. None is passed over.
    - A module comes before its parts, these in the order of ``_modules``, each with all that is
      below it before the next.
    - One that is reached twice comes once, with its first name, and so does what is below it; with
      ``remove_duplicate=False`` it comes at each path. Without duplicates a module may even lie
      below itself.

    >>> net = Sequential(Module(), Sequential(Module()))
    >>> [name for name, _ in named_modules(net, "net")]
    ['net', 'net.0', 'net.1', 'net.1.0']
    """
    # TODO: itself, then each part in the same way.
    # HINT: who has to know what has been seen: a part's walk, or the whole one?
    raise NotImplementedError("named_modules")


def named_members(
    module: Module,
    place: str,
    prefix: str = "",
    recurse: bool = True,
    remove_duplicate: bool = True,
) -> Iterator[tuple[str, Any]]:
    """All that is registered in ``place``, "_parameters" or "_buffers", with its full name.

    - Modules come in the order of ``named_modules``, and a tensor's name is its module's path, a
      dot (unless the path is empty) and its own name. None is passed over.
    - A tensor that is registered twice, the same object, comes once, with its first name: an
      optimiser must not step it twice. With ``remove_duplicate=False`` it comes at each path.
    - Without ``recurse`` only the module's own come.

    >>> net = Sequential(Module(), Module())
    >>> net[0].w = net[1].w = Parameter([1.0])
    >>> [name for name, _ in named_members(net, "_parameters")]
    ['0.w']
    """
    # TODO: two loops: over modules, over what each of them has in ``place``.
    # HINT: two tensors with equal elements are two tensors. What does ``in`` ask of a list?
    raise NotImplementedError("named_members")


def state_dict(module: Module, prefix: str = "", keep_vars: bool = False) -> dict[str, Tensor]:
    """What has to be saved of the module: a dict from torch's names to Tensors, in torch's order.

    - For each module, in the order of ``named_modules``: its parameters, then its persistent
      buffers. The key is ``prefix`` as it is (with its dot, if it is to have one), then the name.
    - What is shared is there under each of its names, so that a model without the sharing can load
      it. None is passed over.
    - The values are detached and lie on the memory of the model: nothing is copied. With
      ``keep_vars`` they are the parameters and buffers themselves.

    >>> net = Sequential(Module())
    >>> net[0].w = Parameter([1.0])
    >>> state_dict(net, "net.")
    {'net.0.w': tensor([1.0000])}
    """
    # TODO: the same two loops, with two dicts in each module.
    # HINT: named_members for all parameters and then for all buffers gives another order.
    raise NotImplementedError("state_dict")


class IncompatibleKeys(NamedTuple):
    """What ``load_state_dict`` did not find, and what it did not know."""

    missing_keys: list[str]
    unexpected_keys: list[str]


def load_state_dict(
    module: Module, state: Mapping[str, Any], strict: bool = True
) -> IncompatibleKeys:
    """Write ``state`` into the parameters and buffers of the module, in place.

    ``state`` has the keys of ``state_dict``; a value is a Tensor or what np.asarray takes, so
    torch's own state is fine. It is brought to the dtype that is there. The tensors of the module
    stay the objects that they are, keep their memory, and count the change (``write_`` in
    ``no_grad``).

    → the keys that the state lacks, in the model's order, and those that the model does not have,
    in the state's.

    RuntimeError, of which the message names all keys concerned: if there are missing or unexpected
    ones, unless ``strict`` is False; and in any case if a value has another shape than the tensor
    in the model, then with both shapes. All problems are named at once, and nothing has been
    written. (torch writes what fits, and raises afterwards.)

    >>> net = Module()
    >>> net.w = Parameter([1.0, 2.0])
    >>> load_state_dict(net, {"w": np.zeros(2), "v": np.zeros(3)}, strict=False)
    IncompatibleKeys(missing_keys=[], unexpected_keys=['v'])
    >>> net.w.tolist()
    [0.0, 0.0]
    """
    # TODO: compare the keys; compare the shapes; refuse; write.
    # HINT: would a value of shape (1,) go into a tensor of shape (3,) by itself?
    raise NotImplementedError("load_state_dict")


class Sequential(Module):
    """Modules one behind another: ``Sequential(a, b)(x)`` is ``b(a(x))``.

    ``Sequential({"first": a, "second": b})`` names them; else their names are "0", "1", …

    >>> net = Sequential({"a": Module(), "b": Module()})
    >>> net[-1] is net.b, len(net[:1])
    (True, 1)
    """

    def __init__(self, *args: Any) -> None:
        """Modules, or one dict from names to modules. ``add_module`` checks each of them."""
        super().__init__()
        # TODO: pairs of name and module; register each.
        # HINT: names are strings.
        raise NotImplementedError("Sequential.__init__")

    def forward(self, input: Any) -> Any:
        """Each module is called with what the one before gave: hooks run. Without any, input."""
        # TODO: a loop.
        # HINT: one activation may be there twice. Which of the methods above has each module once?
        raise NotImplementedError("Sequential.forward")

    def __getitem__(self, index: Any) -> Any:
        """By a number, also a negative one: that module. IndexError if there is none.
        By a slice: a Sequential of those modules, the same objects under their names of here."""
        # TODO: two cases.
        # HINT: a list of pairs can be sliced.
        raise NotImplementedError("Sequential.__getitem__")

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._modules.values())


class ModuleList(Module):
    """A list whose modules are found. It has no forward: its owner loops over it.

    The names are "0", "1", … at all times, also after something was put in or taken out.

    >>> parts = ModuleList([Module(), Module()])
    >>> del parts[0]
    >>> [name for name, _ in parts.named_children()]
    ['0']
    """

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        super().__init__()
        self.extend(modules)

    def renumber(self, modules: Iterable[Module]) -> None:
        """Hold ``modules``, and nothing else, under their numbers.

        TypeError for what is no Module (``checked``); then the list is as it was.
        """
        # TODO: check, empty the dict, fill it.
        # HINT: ``modules`` may be made from what is there now.
        raise NotImplementedError("ModuleList.renumber")

    def __getitem__(self, index: Any) -> Any:
        """By a number: that module. By a slice: a ModuleList, numbered from 0."""
        # TODO: ask a list.
        # HINT: how does a list know what a slice and -1 mean?
        raise NotImplementedError("ModuleList.__getitem__")

    def __setitem__(self, index: int, module: Module) -> None:
        """Put ``module`` in the place of one. IndexError if there is none."""
        # TODO: change a list, renumber.
        # HINT: -1 is a number too.
        raise NotImplementedError("ModuleList.__setitem__")

    def __delitem__(self, index: Any) -> None:
        """Take out one, or those of a slice. The others move up."""
        # TODO: likewise.
        # HINT: lists know del.
        raise NotImplementedError("ModuleList.__delitem__")

    def insert(self, index: int, module: Module) -> None:
        """Put ``module`` before the one at ``index``, as list.insert does."""
        # TODO: likewise.
        # HINT: what does list.insert do with a number beyond the end?
        raise NotImplementedError("ModuleList.insert")

    def append(self, module: Module) -> ModuleList:
        self.renumber([*self, module])
        return self

    def extend(self, modules: Iterable[Module]) -> ModuleList:
        self.renumber([*self, *modules])
        return self

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._modules.values())


class ModuleDict(Module):
    """A dict whose modules are found. Given."""

    def __init__(self, modules: Mapping[str, Module] | None = None) -> None:
        super().__init__()
        for name, module in (modules or {}).items():
            self.add_module(name, module)

    def __getitem__(self, name: str) -> Any:
        return self._modules[name]

    def __setitem__(self, name: str, module: Module) -> None:
        self.add_module(name, module)

    def __delitem__(self, name: str) -> None:
        del self._modules[name]

    def __contains__(self, name: str) -> bool:
        return name in self._modules

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def keys(self) -> Iterable[str]:
        return self._modules.keys()

    def values(self) -> Iterable[Any]:
        return self._modules.values()

    def items(self) -> Iterable[tuple[str, Any]]:
        return self._modules.items()


class Scale(Module):
    """For the examples: x · weight + shift."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = Parameter(np.ones(size))
        self.register_buffer("shift", Tensor(np.zeros(size)))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight + self.shift


def test_a_parameter() -> None:
    p = Parameter([1.0, 2.0])
    assert p.requires_grad
    assert not isinstance(p * 2.0, Parameter)


def test_names() -> None:
    net = Sequential(Scale(2), Sequential(Scale(3)))
    assert [name for name, _ in net.named_parameters()] == ["0.weight", "1.0.weight"]
    assert [name for name, _ in net.named_modules()] == ["", "0", "1", "1.0"]
    assert list(net.state_dict()) == ["0.weight", "0.shift", "1.0.weight", "1.0.shift"]


def test_loading() -> None:
    net = Scale(2)
    net.load_state_dict({"weight": np.array([3.0, 4.0]), "shift": np.array([1.0, 1.0])})
    assert net(Tensor(np.ones(2))).tolist() == [4.0, 5.0]
    try:
        net.load_state_dict({"weight": np.zeros(3), "scale": np.zeros(2)})
    except RuntimeError as error:
        assert all(name in str(error) for name in ("weight", "scale", "shift"))
    else:
        raise AssertionError("a state that does not fit was loaded")


def test_hooks() -> None:
    net, seen = Scale(1), []
    handle = net.register_forward_hook(lambda module, args, result: seen.append(result.item()))
    net(Tensor([5.0]))
    handle.remove()
    net(Tensor([6.0]))
    assert seen == [5.0]


def test_containers() -> None:
    net = Sequential({"a": Scale(1), "b": Scale(1), "c": Scale(1)})
    assert list(net[1:].state_dict()) == ["b.weight", "b.shift", "c.weight", "c.shift"]
    parts = ModuleList([Scale(1), Scale(1)])
    parts.insert(0, Scale(1))
    assert [name for name, _ in parts.named_children()] == ["0", "1", "2"]


if __name__ == "__main__":
    from harness import main

    main(__file__)
