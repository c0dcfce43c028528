"""Day 29: who owns which tensor, under which name; torch's modules are the judge.

A kit has the names of a library; a script written for kits builds the same model from either.
"""

import copy
import pickle
from collections import OrderedDict
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import numpy as safetensors

from harness.testing import close, exercise
from tracks.autodiff import day29 as day
from tracks.autodiff import operations

NAMES = "Module Parameter Sequential ModuleList ModuleDict".split()
TORCH = SimpleNamespace(
    tensor=torch.tensor, Tensor=torch.Tensor, **{name: getattr(torch.nn, name) for name in NAMES}
)


def kits():
    """The day's library and torch."""
    own = {name: getattr(day, name) for name in NAMES}
    return SimpleNamespace(tensor=day.Tensor, Tensor=day.Tensor, **own), TORCH


def values(named):
    """(name, elements) of pairs of a name and a tensor: which tensor is it?"""
    return [(name, t.detach().tolist()) for name, t in named]


def names(pairs):
    return [name for name, _ in pairs]


class Numbers:
    """Tensors that can be told apart: 1, 2, 3, … in float64, in either library."""

    def __init__(self, kit):
        self.kit, self.count = kit, 0

    def tensor(self, *shape):
        self.count += 1
        return self.kit.tensor(np.full(shape, float(self.count)))

    def parameter(self, *shape):
        return self.kit.Parameter(self.tensor(*shape))


def family(kit):
    """A model with everything that has a rule: shared, nested, empty, None, not persistent."""
    n = Numbers(kit)
    block, root = kit.Module(), kit.Module()
    block.register_buffer("mean", n.tensor(2))
    block.weight = n.parameter(2, 2)
    block.register_buffer("cache", n.tensor(1), persistent=False)
    block.register_parameter("bias", None)
    root.body = kit.Sequential(block, kit.Sequential(block, kit.Module()))
    root.body[1][1].weight = block.weight
    root.body[1][1].own = n.parameter()
    root.scale = n.parameter(3)
    root.register_buffer("steps", n.tensor())
    root.register_buffer("nothing", None)
    root.add_module("none", None)
    root.parts = kit.ModuleList([kit.Module(), block, kit.Module()])
    root.parts[2].mean = n.parameter(1)
    root.parts[2].register_buffer("same", block.mean)
    root.named = kit.ModuleDict({"b": kit.Module(), "a": kit.Module()})
    root.named["a"].scale = root.scale
    root.named["b"].shift = n.parameter(1, 3)
    root.last = n.parameter(2)
    return root


def random_tree(kit, seed):
    """Some modules that own and share at random; parts come later in the list: no circles."""
    draw, n = np.random.default_rng(seed), Numbers(kit)
    modules = [kit.Module() for _ in range(6)]
    pool = [n.parameter(1) for _ in range(5)]
    kept = [n.tensor(1) for _ in range(4)]
    for i, module in enumerate(modules):
        for name in draw.permutation(list("abcdef"))[: draw.integers(1, 6)]:
            kind = draw.integers(6)
            if kind < 2:
                setattr(module, name, pool[draw.integers(5)])
            elif kind < 4:
                module.register_buffer(name, kept[draw.integers(4)], bool(draw.integers(2)))
            elif i + 1 < len(modules):
                module.add_module(str(name), modules[draw.integers(i + 1, len(modules))])
            else:
                module.register_parameter(str(name), None)
    return modules[0]


def trees(seed):
    """(what, the day's model, torch's): the family, and some that were drawn."""
    own, other = kits()
    yield "the family", family(own), family(other)
    for i in range(12):
        yield "a random tree", random_tree(own, [seed, i]), random_tree(other, [seed, i])


# -- Parameter ---------------------------------------------------------------------------------


@exercise("Parameter")
def test_parameter_flags(rng):
    p = day.Parameter([1.0, 2.0])
    assert isinstance(p, day.Tensor) and type(p) is day.Parameter
    assert p.requires_grad and p.is_leaf and p.grad is None, "a parameter is a leaf that learns"
    assert p.dtype == np.float32 and p.tolist() == [1.0, 2.0]
    assert not day.Parameter([1.0], requires_grad=False).requires_grad
    assert not day.Parameter([1.0], False).requires_grad
    assert day.Parameter(3.5).shape == () and day.Parameter(np.zeros((0, 3))).shape == (0, 3)
    for kind in ("float64", "float16"):
        p = day.Parameter([1.0], dtype=kind)
        assert p.dtype == np.dtype(kind), f"dtype={kind} gave {p.dtype}"
    assert day.Parameter(rng.normal(2)).dtype == np.float64


@exercise("Parameter")
def test_parameter_of_integers():
    for data in ([1, 2], [True], np.zeros(2, np.int64), day.Tensor([1])):
        with pytest.raises(TypeError):
            day.Parameter(data)
            pytest.fail(f"{data!r} became a parameter that requires a gradient")
        p = day.Parameter(data, requires_grad=False)
        assert not p.requires_grad and p.dtype.kind in "ib"


@exercise("Parameter")
def test_parameter_lies_on_a_tensors_memory(rng):
    t = day.Tensor(rng.normal(2, 3))
    p = day.Parameter(t)
    assert np.shares_memory(p.data, t.data), "the tensor's elements were copied"
    t[0, 0] = 5.0
    p.detach()[1, 2] = 6.0
    assert (p.tolist()[0][0], t.tolist()[1][2]) == (5.0, 6.0)
    assert (t._version, p._version) == (2, 2), (
        f"two changes of one memory are counted {t._version} and {p._version} times"
    )
    assert not t.requires_grad, "the tensor requires a gradient now, and only the parameter should"
    view = day.Parameter(t.T)
    t.fill_(7.0)
    assert view.tolist() == [[7.0, 7.0]] * 3 and view._version == 3
    assert day.Parameter(p).data is p.data or np.shares_memory(day.Parameter(p).data, p.data)


@exercise("Parameter")
def test_parameter_copies_arrays(rng):
    array = np.array(rng.normal(3))
    p = day.Parameter(array)
    array[:] = 0.0
    assert p.data.all(), "whoever holds the numpy array changes the parameter"
    t = day.Tensor(rng.normal(3))
    other = day.Parameter(t, dtype="float32")
    t.zero_()
    assert other.dtype == np.float32 and other.data.all()


@exercise("Parameter")
def test_parameter_of_a_result(rng):
    w = day.Tensor(rng.normal(3), requires_grad=True)
    p = day.Parameter(w * 2.0)
    assert p.is_leaf, "the parameter has a past: its gradient would flow on"
    (p * p).sum().backward()
    close(p.grad.data, 2 * p.data, name="grad of the parameter")
    assert w.grad is None


@exercise("Parameter")
def test_results_are_plain_tensors(rng):
    p = day.Parameter(rng.normal(3, 3))
    (p * p).sum().backward()
    results = {
        "p * 2": p * 2.0, "2 - p": 2.0 - p, "-p": -p, "p @ p": p @ p, "p.sum()": p.sum(),
        "p.T": p.T, "p[0]": p[0], "p.reshape": p.reshape(-1), "p.clone()": p.clone(),
        "p.detach()": p.detach(), "p.exp()": p.exp(), "p.to": p.to(np.float32),
        "p.max": p.max(0).values, "cat": operations.cat([p, p]), "p.grad": p.grad,
        "split": operations.split(p, 1)[0], "p > 0": p > 0, "p.sum() * p": p.sum() * p,
    }  # fmt: skip
    for what, result in results.items():
        assert not isinstance(result, day.Parameter), (
            f"{what} is a Parameter: a module that keeps it would train it"
        )
    for what in ("p * 2", "p.T", "p[0]", "p.exp()", "p.sum()"):
        assert type(results[what]) is day.Tensor, f"{what} is a {type(results[what]).__name__}"
        assert results[what].requires_grad and not results[what].is_leaf


@exercise("Parameter")
def test_parameter_gradients(rng):
    array = rng.normal(2, 3)
    p, twin = day.Parameter(array), torch.tensor(array, requires_grad=True)
    for _ in range(2):
        ((p.exp() * p).sum(0) * p).sum().backward()
        ((twin.exp() * twin).sum(0) * twin).sum().backward()
    close(p.grad.data, twin.grad.numpy(), terms=8, scale=32.0, name="grad after two backwards")
    with torch.no_grad():
        twin.sub_(twin.grad)
    with day.no_grad():
        assert p.sub_(p.grad) is p
    close(p.data, twin.detach().numpy(), terms=8, scale=32.0, name="the parameter after a step")


def copies(x):
    yield "deepcopy", copy.deepcopy(x)
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        yield f"pickle {protocol}", pickle.loads(pickle.dumps(x, protocol))


@exercise("Parameter")
def test_copies_of_a_parameter(rng):
    for p in (
        day.Parameter(rng.normal(2, 3)),
        day.Parameter(day.Tensor(rng.normal(2, 3)).T),
        day.Parameter([1.5, 2.5], dtype="float16"),
        day.Parameter([1, 2], requires_grad=False),
        day.Parameter(2.5, requires_grad=False),
        day.Parameter(np.zeros((0, 2))),
    ):
        for what, twin in copies(p):
            assert type(twin) is day.Parameter, f"{what}: a {type(twin).__name__} came back"
            assert twin.requires_grad == p.requires_grad, f"{what}: requires_grad is another one"
            close(twin.data, p.data, dtype=p.dtype, name=f"elements after {what}")
            assert not np.shares_memory(twin.data, p.data), f"{what}: both have the same memory"
            with day.no_grad():
                twin.fill_(9.0)
            assert not (p.data == 9).any()


@exercise("Parameter")
def test_what_a_copy_leaves_behind(rng):
    p = day.Parameter(rng.normal(3))
    seen = []
    p.register_hook(lambda g: seen.append(g))
    (p * p).sum().backward()
    assert len(seen) == 1
    for what, twin in copies(p):
        assert twin.grad is None, f"{what}: the gradient was copied"
        (twin * twin).sum().backward()
        assert len(seen) == 1, f"{what}: the hook came along"
        close(twin.grad.data, 2 * p.data, name=f"grad after {what}")
    close(p.grad.data, 2 * p.data, name="grad of the original")
    both = copy.deepcopy([p, p])
    assert both[0] is both[1], "one parameter became two"


# -- Module ------------------------------------------------------------------------------------


PLACES = ("_parameters", "_buffers", "_modules")


def owned(module):
    """What the module has registered, in order, and what stands in its own __dict__."""
    found = {place: list(getattr(module, place)) for place in PLACES}
    found["not persistent"] = sorted(module._non_persistent_buffers_set)
    found["ordinary"] = [n for n in module.__dict__ if len(n) == 1]
    found["None"] = [n for n in "abc" if getattr(module, n, 0) is None]
    return found


def outcome(act):
    """None, or the kind of error."""
    try:
        act()
    except (AttributeError, TypeError, KeyError) as error:
        return type(error).__name__
    return None


ACTS = {
    "p": lambda kit, m, n: setattr(m, n, kit.Parameter(kit.tensor([1.0]))),
    "m": lambda kit, m, n: setattr(m, n, kit.Module()),
    "t": lambda kit, m, n: setattr(m, n, kit.tensor([1.0])),
    "None": lambda kit, m, n: setattr(m, n, None),
    "3": lambda kit, m, n: setattr(m, n, 3),
    "buffer": lambda kit, m, n: m.register_buffer(n, kit.tensor([2.0])),
    "buffer, not persistent": lambda kit, m, n: m.register_buffer(n, kit.tensor([2.0]), False),
    "buffer None": lambda kit, m, n: m.register_buffer(n, None),
    "buffer 3": lambda kit, m, n: m.register_buffer(n, 3),
    "del": lambda kit, m, n: delattr(m, n),
}


def compare(script):
    """Run (act, name)s on a module of either library, and compare what it owns after each."""
    own, other = kits()
    m, t = own.Module(), other.Module()
    done = []
    for act, name in script:
        done.append(f"{act} -> {name}")
        result, wanted = (outcome(lambda: ACTS[act](k, x, name)) for k, x in ((own, m), (other, t)))  # noqa: B023
        assert result == wanted, f"{'; '.join(done)}: {result or 'no error'}, torch: {wanted}"
        found, right = owned(m), owned(t)
        for place, wanted in right.items():
            assert found[place] == wanted, (
                f"{'; '.join(done)}: {place} holds {found[place]}, and torch has {wanted}"
            )


@exercise("Module")
@pytest.mark.parametrize("second", ACTS)
@pytest.mark.parametrize("first", [a for a in ACTS if a not in ("buffer 3", "del")])
def test_every_kind_over_every_other(first, second):
    compare([(first, "a"), ("p", "b"), (second, "a"), ("p", "c"), ("t", "a"), ("None", "a")])
    compare([("p", "b"), (first, "b"), (second, "b"), ("buffer", "b")])
    compare([(first, "a"), (first, "c"), ("m", "b"), (second, "a"), (second, "c")])
    compare([(first, "a"), (second, "a"), ("del", "a"), ("buffer", "a"), (second, "a")])


@exercise("Module")
@settings(max_examples=40, deadline=None, database=None)
@given(st.lists(st.tuples(st.sampled_from(list(ACTS)), st.sampled_from("abc")), max_size=12))
def test_any_script_of_assignments(script):
    compare(script)


@exercise("Module")
def test_what_an_attribute_gives(rng):
    own, _ = kits()
    net = own.Module()
    p, b, part = own.Parameter(rng.normal(2)), own.tensor(rng.normal(2)), own.Module()
    net.p, net.part, net.plain = p, part, b
    net.register_buffer("b", b)
    assert net.p is p and net.part is part and net.b is b and net.plain is b
    assert "plain" in net.__dict__, "a plain Tensor is an ordinary attribute"
    other = own.Parameter(rng.normal(2))
    net.p = other
    assert net.p is other and net._parameters == {"p": other}
    net.weight = net.p * 2.0
    assert "weight" not in net._parameters, "the result of an operation became a parameter"


@exercise("Module")
def test_what_is_not_there():
    class Mine(day.Module):
        pass

    net = Mine()
    with pytest.raises(AttributeError) as refusal:
        _ = net.width
        pytest.fail("an attribute that nobody set was found")
    assert "width" in str(refusal.value) and "Mine" in str(refusal.value), (
        f"which attribute of which class? {refusal.value}"
    )
    assert not hasattr(net, "width") and getattr(net, "width", 3) == 3
    empty = object.__new__(Mine)
    with pytest.raises(AttributeError):
        _ = empty._parameters
        pytest.fail("an object that nobody filled has _parameters")
    assert not hasattr(empty, "__setstate__") and not hasattr(empty, "x")
    with pytest.raises(AttributeError):
        del net.width


@exercise("Module")
def test_assigned_before_init():
    things = {
        "a Parameter": lambda: day.Parameter([1.0]),
        "a Module": day.Module,
    }
    for what, make in things.items():

        class Hasty(day.Module):
            def __init__(self, thing):
                self.size = 3
                self.thing = thing
                super().__init__()

        with pytest.raises(AttributeError) as refusal:
            Hasty(make())
            pytest.fail(f"{what} was assigned before Module.__init__: nobody would have found it")
        assert "__init__" in str(refusal.value), f"what is to be called? {refusal.value}"

    class Fine(day.Module):
        def __init__(self):
            self.size, self.t = 3, day.Tensor([1.0])
            super().__init__()

    assert Fine().size == 3


@exercise("Module")
def test_register_buffer_is_refused():
    net = day.Module()
    net.size = 3
    net.w = day.Parameter([1.0])
    for name in ("size", "w", "training", "a.b", ""):
        with pytest.raises(KeyError):
            net.register_buffer(name, day.Tensor([1.0]))
            pytest.fail(f"a buffer was registered as {name!r}")
    with pytest.raises(TypeError) as refusal:
        net.register_buffer("mean", np.zeros(3))
        pytest.fail("an array became a buffer")
    assert "mean" in str(refusal.value), f"which buffer? {refusal.value}"
    assert not net._buffers


@exercise("Module")
def test_training_mode():
    for what, net, _ in trees(0):
        assert net.training, f"{what} is not in training mode at first"
        assert net.eval() is net, "eval() gives the module itself"
        assert not any(m.training for m in net.modules()), (
            f"{what}: after eval() some part, at some depth, is still training"
        )
        assert net.train() is net and all(m.training for m in net.modules())
        net.train(False)
        assert not any(m.training for m in net.modules()), f"{what}: train(False) is eval()"
    part = day.Module()
    net = day.Sequential(part)
    part.eval()
    assert net.training and not part.training, "a part's own eval() changed its owner"
    part.part = day.Module()
    net.train()
    assert part.training and part.part.training


@exercise("Module")
def test_apply(rng):
    for what, net, twin in trees(rng.seed):
        logs = []
        for library, model in (("it", net), ("torch", twin)):
            known = {id(m): name for name, m in model.named_modules()}
            log = []
            assert model.apply(lambda m: log.append(known[id(m)])) is model, library  # noqa: B023
            logs.append(log)
        assert logs[0] == logs[1], f"{what}: apply calls {logs[0]}, and torch {logs[1]}"


class Affine:
    """A small model in either library; the class is made for a kit."""

    def __new__(cls, kit, n, number):
        class Block(kit.Module):
            def __init__(self):
                super().__init__()
                self.weight = kit.Parameter(kit.tensor(np.full((n, n), number)))
                self.register_buffer("shift", kit.tensor(np.full(n, number)))

            def forward(self, x, plus=0.0):
                return x @ self.weight.T + self.shift + plus

        return Block()


@exercise("Module")
def test_copies_of_a_model(rng):
    net = family(kits()[0])
    net.body.eval()
    net.steps_done = [3]
    for what, twin in copies(net):
        assert twin is not net and type(twin) is day.Module
        assert values(twin.state_dict().items()) == values(net.state_dict().items()), (
            f"{what}: another state"
        )
        assert values(twin.named_parameters()) == values(net.named_parameters()), (
            f"{what}: what was shared is not, or the other way round"
        )
        assert twin.body[0].weight is twin.body[1][1].weight, f"{what}: the tie is cut"
        assert twin.body[0] is twin.parts[1], f"{what}: one module became two"
        assert values(twin.named_buffers()) == values(net.named_buffers())
        assert "cache" in twin.body[0]._non_persistent_buffers_set
        assert (twin.training, twin.body[0].training, twin.parts[1].training) == (
            True, False, False,
        ), f"{what}: a mode is another one"  # fmt: skip
        assert twin.steps_done == [3] and twin.steps_done is not net.steps_done
        mine = [*twin.parameters(), *twin.buffers()]
        for a, b in zip(mine, [*net.parameters(), *net.buffers()], strict=True):
            assert a is not b and not np.shares_memory(a.data, b.data), f"{what}: memory is shared"
        twin.extra = day.Parameter([1.0])
        assert "extra" in twin._parameters and "extra" not in net._parameters


@exercise("Module")
def test_a_copy_keeps_its_own_hooks():
    net, seen = day.Sequential(), []
    handle = net.register_forward_hook(lambda module, args, result: seen.append(module))
    twin = copy.deepcopy(net)
    handle.remove()
    net(1)
    assert seen == []
    twin(1)
    assert len(seen) == 1 and seen[0] is twin, "the copy's hook is gone, or is the original's"


@exercise("Module")
def test_of_all_tensors_at_once(rng):
    net = family(kits()[0])
    before = [id(p) for p in net.parameters()]
    for p in net.parameters():
        (p * 3.0).sum().backward()
    net.zero_grad(set_to_none=False)
    assert all(p.grad.tolist() == np.zeros(p.shape).tolist() for p in net.parameters())
    assert net.float() is net
    assert {t.dtype for t in (*net.parameters(), *net.buffers())} == {np.dtype(np.float32)}
    assert {p.grad.dtype for p in net.parameters()} == {np.dtype(np.float32)}
    assert [id(p) for p in net.parameters()] == before, "an optimiser holds other parameters now"
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())
    net.requires_grad_(False)
    assert not any(p.requires_grad for p in net.parameters())


@exercise("Module")
def test_repr():
    own, other = kits()

    def model(kit):
        class Part(kit.Module):
            def extra_repr(self):
                return "size=3"

        class Two(kit.Module):
            def extra_repr(self):
                return "a\nb"

        net = kit.Sequential(OrderedDict(first=Part(), second=kit.Sequential(Part(), Two())))
        net.none = None
        net.two = Two()
        net.two.part = Part()
        return net

    assert repr(model(own)) == repr(model(other))


# -- call --------------------------------------------------------------------------------------


def traced(kit, act):
    """What a module's forward and hooks see, one line each, while ``act(net, log)`` runs."""
    log = []

    class Net(kit.Module):
        def forward(self, *args, **kwargs):
            log.append(("forward", args, kwargs))
            return args[0] if args else None

    net = Net()
    result = act(net, log)
    return log, result


def same_trace(act):
    own, other = (traced(kit, act) for kit in kits())
    assert own == other, f"it does {own}, and torch {other}"


@exercise("call")
def test_call_without_hooks(rng):
    same_trace(lambda net, log: net(1))
    same_trace(lambda net, log: net(1, "b", c=3))
    same_trace(lambda net, log: net())
    x = rng.normal(4, 3)
    mine, twin = (Affine(kit, 3, 0.5) for kit in kits())
    y = mine(day.Tensor(x), plus=2.0)
    close(y.data, twin(torch.tensor(x), plus=2.0).detach().numpy(), terms=4, scale=2.0)
    given = day.Tensor(x.copy())
    assert day.call(mine, given).shape == (4, 3)
    assert given.tolist() == day.Tensor(x).tolist(), "the argument has other numbers after the call"


@exercise("call")
def test_hooks_in_order():
    def act(net, log):
        for i in range(3):
            net.register_forward_pre_hook(lambda m, a, i=i: log.append((i, m is net, a)))
            net.register_forward_hook(lambda m, a, r, i=i: log.append((i, m is net, a, r)))
        return net(5, 6, c=7)

    same_trace(act)


NEW = {"None": None, "a number": 7, "0": 0, "an empty list": [], "False": False, "a tuple": (8, 9),
       "an empty tuple": (), "a list": [8, 9]}  # fmt: skip


@exercise("call")
@pytest.mark.parametrize("new", NEW)
def test_what_hooks_give_back(new):
    def before(net, log):
        net.register_forward_pre_hook(lambda m, a: NEW[new])
        net.register_forward_pre_hook(lambda m, a: log.append(("then", a)))
        net.register_forward_hook(lambda m, a, r: log.append(("after", a, r)))
        return net(5, 6)

    def after(net, log):
        net.register_forward_hook(lambda m, a, r: NEW[new])
        net.register_forward_hook(lambda m, a, r: log.append(("then", a, r)))
        return net(5, 6)

    same_trace(before)
    same_trace(after)


@exercise("call")
def test_hooks_change_one_after_another():
    def act(net, log):
        net.register_forward_pre_hook(lambda m, a: (a[0] + 1, *a[1:]))
        net.register_forward_pre_hook(lambda m, a: a[0] * 10)
        net.register_forward_hook(lambda m, a, r: r + 1)
        net.register_forward_hook(lambda m, a, r: r * 10)
        return net(3, "gone")

    same_trace(act)


@exercise("call")
def test_hooks_that_come_and_go():
    def leaves(net, log):
        handles = {}

        def once(module, *rest):
            log.append(("once", *rest))
            for handle in handles.values():
                handle.remove()

        handles["before"] = net.register_forward_pre_hook(once)
        handles["after"] = net.register_forward_hook(once)
        net.register_forward_pre_hook(lambda m, a: log.append("stays"))
        net.register_forward_hook(lambda m, a, r: log.append("stays"))
        return [net(1), net(2)]

    def removes_the_next(net, log):
        handles = []
        net.register_forward_hook(lambda m, a, r: handles[0].remove())
        handles.append(net.register_forward_hook(lambda m, a, r: log.append("next")))
        return [net(1), net(2)]

    def twice(net, log):
        hook = lambda m, a, r: log.append(r)  # noqa: E731
        first = net.register_forward_hook(hook)
        net.register_forward_hook(hook)
        first.remove()
        first.remove()
        return net(1)

    for act in (leaves, removes_the_next, twice):
        same_trace(act)


@exercise("call")
def test_forward_alone_and_errors():
    def alone(net, log):
        net.register_forward_hook(lambda m, a, r: log.append("hook"))
        return net.forward(1)

    same_trace(alone)

    def fails(module, args):
        raise KeyError("on purpose")

    net = day.Sequential()
    net.register_forward_pre_hook(fails)
    with pytest.raises(KeyError):
        net(1)
        pytest.fail("the exception of a hook was swallowed")
    with pytest.raises(TypeError):
        day.Module()(1)


# -- walks -------------------------------------------------------------------------------------


@exercise("named_modules")
def test_paths_as_torchs(rng):
    for what, net, twin in trees(rng.seed):
        for options in ({}, {"prefix": "net"}, {"remove_duplicate": False},
                        {"prefix": "a.b", "remove_duplicate": False}):  # fmt: skip
            found = list(day.named_modules(net, **options))
            wanted = names(twin.named_modules(**options))
            assert names(found) == wanted, (
                f"{what}, {options}: the paths are {names(found)}, and torch's {wanted}"
            )
            for path, module in found:
                parts = path.removeprefix(options.get("prefix", "")).split(".")
                there = net
                for part in filter(None, parts):
                    there = there._modules[part]
                assert module is there, f"another module than {path!r} came under that name"
        assert [m for _, m in net.named_modules()] == list(net.modules())


@exercise("named_modules")
def test_a_module_below_itself():
    net = day.Module()
    net.part = day.Module()
    net.part.owner = net
    assert names(day.named_modules(net)) == ["", "part"]
    assert names(day.named_modules(net.part, "x")) == ["x", "x.owner"]


@exercise("named_modules")
def test_two_walks_do_not_know_each_other():
    net = day.Sequential(day.Module(), day.Module())
    for _ in range(2):
        assert names(day.named_modules(net)) == ["", "0", "1"], "the second walk found less"
    one, two = day.named_modules(net), day.named_modules(net)
    assert names([next(one), next(two), next(one), next(two)]) == ["", "", "0", "0"]


@exercise("named_modules")
def test_modules_that_are_equal():
    class Same(day.Module):
        def __eq__(self, other):
            return isinstance(other, Same)

        def __hash__(self):
            return id(self)

    net = day.Sequential(Same(), Same())
    assert names(day.named_modules(net)) == ["", "0", "1"]


@exercise("named_members")
@pytest.mark.parametrize("place", ["_parameters", "_buffers"])
def test_members_as_torchs(place, rng):
    for what, net, twin in trees(rng.seed):
        walk = getattr(twin, f"named{place}")
        for options in ({}, {"prefix": "net"}, {"recurse": False}, {"remove_duplicate": False},
                        {"prefix": "p", "recurse": False, "remove_duplicate": False}):  # fmt: skip
            found, wanted = (
                values(day.named_members(net, place, **options)),
                values(walk(**options)),
            )
            assert names(found) == names(wanted), (
                f"{what}, {options}: {names(found)}, and torch has {names(wanted)}"
            )
            assert found == wanted, f"{what}, {options}: a name has another tensor"
    assert [p for _, p in net.named_parameters()] == list(net.parameters())


@exercise("named_members")
def test_equal_tensors_are_two():
    net = day.Module()
    net.a, net.b = day.Parameter([1.0, 2.0]), day.Parameter([1.0, 2.0])
    net.c, net.d = day.Parameter(3.0), day.Parameter(3.0)
    net.e = net.a
    found = names(day.named_members(net, "_parameters"))
    assert found == ["a", "b", "c", "d"], f"a, b and c, d are equal, and e is a: found {found}"


@exercise("named_members")
def test_the_members_themselves(rng):
    net = family(kits()[0])
    found = dict(net.named_parameters())
    assert found["scale"] is net.scale and found["body.0.weight"] is net.body[0].weight
    before = [p.tolist() for p in net.parameters()]
    with day.no_grad():
        for p in net.parameters():
            p.add_(1.0)
    close(net.scale.data, np.array(before[names(net.named_parameters()).index("scale")]) + 1.0)


# -- the state ---------------------------------------------------------------------------------


@exercise("state_dict")
def test_states_as_torchs(rng):
    for what, net, twin in trees(rng.seed):
        for prefix in ("", "net.", "x"):
            found = day.state_dict(net, prefix)
            wanted = twin.state_dict(prefix=prefix)
            assert list(found) == list(wanted), (
                f"{what}: the keys are {list(found)}, and torch's {list(wanted)}"
            )
            assert values(found.items()) == values(wanted.items()), f"{what}: another tensor"


@exercise("state_dict")
def test_a_state_lies_on_the_model(rng):
    net = family(kits()[0])
    state = net.state_dict()
    owners = {**dict(net.named_parameters(remove_duplicate=False)),
              **dict(net.named_buffers(remove_duplicate=False))}  # fmt: skip
    for key, t in state.items():
        assert type(t) is day.Tensor and not t.requires_grad, f"{key} is not detached"
        assert t is not owners[key], f"{key} is the model's own tensor"
        assert np.shares_memory(t.data, owners[key].data), f"{key} was copied"
    state["scale"].zero_()
    assert not net.scale.data.any() and net.scale._version == 1, (
        "a change in the state is not seen, or not counted, in the model"
    )
    held = net.state_dict(keep_vars=True)
    assert all(held[key] is owners[key] for key in state), "keep_vars gives the tensors themselves"
    with day.no_grad():
        assert list(net.state_dict()) == list(state)


@exercise("load_state_dict")
def test_torchs_state_loads(rng):
    for what, net, twin in trees(rng.seed):
        with torch.no_grad():
            for t in (*twin.parameters(), *twin.buffers()):
                t.copy_(torch.tensor(rng.normal(*t.shape)))
        result = net.load_state_dict(twin.state_dict())
        assert tuple(result) == ([], []) and result.missing_keys == result.unexpected_keys == []
        assert values(net.state_dict().items()) == values(twin.state_dict().items()), what
    net, twin = (family(kit) for kit in kits())
    with day.no_grad():
        for t in (*net.parameters(), *net.buffers()):
            t.copy_(day.Tensor(rng.normal(*t.shape)))
    file = safetensors.save({k: v.numpy() for k, v in net.state_dict().items()})
    loaded = safetensors.load(file)
    twin.load_state_dict({k: torch.tensor(v) for k, v in loaded.items()})
    assert values(twin.state_dict().items()) == values(net.state_dict().items())
    for written in (loaded, {k: v.tolist() for k, v in loaded.items()}):  # lists will do, too
        other = family(kits()[0])
        other.load_state_dict(written)
        assert values(other.state_dict().items()) == values(net.state_dict().items())


def pair_and_state(rng):
    net = Affine(kits()[0], 3, 1.0)
    return net, {"weight": np.array(rng.normal(3, 3)), "shift": np.array(rng.normal(3))}


@exercise("load_state_dict")
@pytest.mark.parametrize("form", ["arrays", "Tensors", "parameters", "torch"])
def test_loading_is_in_place(form, rng):
    net, state = pair_and_state(rng)
    arrays = dict(state)
    if form == "Tensors":
        state = {k: day.Tensor(v) for k, v in state.items()}
    elif form == "parameters":
        state = {k: day.Parameter(v) for k, v in state.items()}
    elif form == "torch":
        state = {k: torch.tensor(v) for k, v in state.items()}
    weight, memory, row = net.weight, net.weight.data, net.weight.detach()[0]
    y = net(day.Tensor(rng.normal(2, 3), requires_grad=True)).sum()
    assert day.load_state_dict(net, state) == ([], [])
    assert net.weight is weight, "the model has another Parameter now: an optimiser has the old one"
    assert net.weight.data is memory, "the parameter has other memory now"
    assert weight.requires_grad and weight.is_leaf and type(weight) is day.Parameter
    close(weight.data, arrays["weight"], name="weight")
    close(net.shift.data, arrays["shift"], name="shift")
    close(row.data, arrays["weight"][0], name="a view of the weight")
    assert (weight._version, net.shift._version) == (1, 1), "the change is to be counted"
    assert weight.grad is None
    with pytest.raises(RuntimeError):
        y.backward()
        pytest.fail("the weight was loaded between forward and backward, and nobody noticed")
    for k, v in arrays.items():
        arrays[k] = v.copy()
    with day.no_grad():
        weight.zero_()
    kept = np.asarray(state["weight"].data if form != "torch" else state["weight"])
    assert kept.any(), "the model lies on the memory of the state that it was loaded from"


@exercise("load_state_dict")
def test_loading_keeps_the_dtype(rng):
    net = day.Module()
    net.narrow = day.Parameter([1.0, 2.0])
    net.register_buffer("count", day.Tensor(0))
    net.wide = day.Parameter(np.zeros(2))
    net.load_state_dict({"narrow": np.array([0.1, 0.2]), "count": np.array(7),
                         "wide": np.array([0.5, 0.25], np.float32)})  # fmt: skip
    assert (net.narrow.dtype, net.count.dtype, net.wide.dtype) == (
        np.float32, np.int64, np.float64,
    ), "a dtype has changed"  # fmt: skip
    assert net.count.item() == 7 and net.count.shape == ()
    close(net.narrow.data, np.float32([0.1, 0.2]))
    close(net.wide.data, np.array([0.5, 0.25]))


def refuses(net, state, *named, what, strict=True):
    """Loading is a RuntimeError that names all of ``named``, and changes nothing."""
    tensors = [*net.parameters(), *net.buffers()]
    before = [(t.tolist(), t._version) for t in tensors]
    with pytest.raises(RuntimeError) as refusal:
        net.load_state_dict(state, strict)
        pytest.fail(f"{what}: it was loaded, and a RuntimeError was due")
    message = str(refusal.value)
    for name in named:
        assert str(name) in message, f"{what}: {name} is not named: {message}"
    assert [(t.tolist(), t._version) for t in tensors] == before, (
        f"{what}: it was refused, and something was written or counted"
    )
    return message


@exercise("load_state_dict")
@pytest.mark.parametrize("strict", [True, False])
def test_missing_and_unexpected(strict, rng):
    net, good = pair_and_state(rng)
    outer = day.Sequential(net, Affine(kits()[0], 2, 2.0))
    state = {"z": np.zeros(1), "1.shift": np.array([5.0, 6.0]), "0.weight": good["weight"],
             "a.b": np.zeros(2)}  # fmt: skip
    missing, unexpected = ["0.shift", "1.weight"], ["z", "a.b"]
    if strict:
        message = refuses(outer, state, *missing, *unexpected, what="two missing, two unexpected")
        assert "0.weight" not in message, f"what fits is not to be named: {message}"
        refuses(outer, {**outer.state_dict(), "z": np.zeros(1)}, "z", what="one more")
        short = {k: v for k, v in outer.state_dict().items() if k != "1.shift"}
        refuses(outer, short, "1.shift", what="one less")
        refuses(outer, {}, "0.weight", "0.shift", "1.weight", "1.shift", what="nothing")
        return
    result = outer.load_state_dict(state, strict=False)
    assert list(result.missing_keys) == missing, f"missing are {missing}: {result}"
    assert list(result.unexpected_keys) == unexpected, f"unexpected are {unexpected}: {result}"
    close(outer[1].shift.data, np.array([5.0, 6.0]), name="what fits")
    close(outer[0].weight.data, good["weight"], name="what fits")
    close(outer[0].shift.data, np.ones(3), name="what was missing")
    assert outer[1].weight._version == 0


@exercise("load_state_dict")
@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize(
    "key, shape",
    [("weight", (3, 2)), ("weight", (3,)), ("weight", (1, 3)), ("weight", (3, 1)), ("weight", ()),
     ("weight", (9,)), ("shift", (1,)), ("shift", (4,)), ("shift", ()), ("shift", (1, 3))],
    ids=str,
)  # fmt: skip
def test_misshapen(key, shape, strict, rng):
    for order in (1, -1):
        net, state = pair_and_state(rng)
        state[key] = np.array(rng.normal(*shape))
        state = dict(list(state.items())[::order])
        there = dict(net.state_dict())[key].shape
        message = refuses(net, state, key, shape, there, strict=strict,
                          what=f"{key} of {shape} for {there}, strict={strict}")  # fmt: skip
        fine = "shift" if key == "weight" else "weight"
        assert fine not in message, f"{fine} fits: {message}"


@exercise("load_state_dict")
def test_all_problems_at_once(rng):
    net = day.Sequential(*(Affine(kits()[0], n, 1.0) for n in (2, 3, 4)))
    state = {"0.weight": np.zeros((5, 2)), "1.shift": np.zeros(7), "other": np.zeros(1),
             "1.weight": np.ones((3, 3)) * 9}  # fmt: skip
    refuses(net, state, "0.weight", (5, 2), (2, 2), "1.shift", (7,), (3,), "other", "0.shift",
            "2.weight", "2.shift", what="everything at once")  # fmt: skip
    refuses(net, state, "0.weight", "1.shift", strict=False, what="two misshapen, not strict")


@exercise("load_state_dict")
def test_what_is_not_in_the_state(rng):
    net = family(kits()[0])
    state = net.state_dict()
    refuses(net, {**state, "body.0.cache": np.zeros(1)}, "body.0.cache", what="a buffer that is "
            "not persistent")  # fmt: skip
    refuses(net, {**state, "body.0.bias": np.zeros(1)}, "body.0.bias", what="a parameter that is "
            "None")  # fmt: skip
    keys = list(state)
    assert net.load_state_dict(state) == ([], [])
    assert list(state) == keys, "the state was changed"


@exercise("load_state_dict")
def test_a_shared_weight_is_loaded(rng):
    net, twin = (family(kit) for kit in kits())
    new = {k: np.array(rng.normal(*v.shape)) for k, v in twin.state_dict().items()}
    for key in ("body.1.0.weight", "body.1.1.weight", "parts.1.weight"):
        new[key] = new["body.0.weight"]
    net.load_state_dict(new)
    assert net.body[0].weight is net.body[1][1].weight, "loading has cut a tie"
    close(net.body[1][1].weight.data, new["body.0.weight"], name="the tied weight")


# -- containers --------------------------------------------------------------------------------


def activation(kit):
    class Double(kit.Module):
        def forward(self, x):
            return x * 2.0 + 1.0

    return Double()


@exercise("Sequential")
def test_sequential_calls_in_order(rng):
    x = rng.normal(4, 3)
    results = []
    for kit in kits():
        act = activation(kit)
        net = kit.Sequential(Affine(kit, 3, 0.5), act, Affine(kit, 3, 0.25), act, act)
        assert len(net) == 5 and [m is act for m in net] == [False, True, False, True, True]
        results.append((net, net(kit.tensor(x))))
    (net, y), (twin, wanted) = results
    close(y.data, wanted.detach().numpy(), terms=8, scale=16.0, name="three activations, two maps")
    assert list(net.state_dict()) == list(twin.state_dict())
    assert names(net.named_children()) == names(twin.named_children())
    y.sum().backward()
    wanted.sum().backward()
    for p, t in zip(net.parameters(), twin.parameters(), strict=True):
        close(p.grad.data, t.grad.numpy(), terms=16, scale=32.0, name="grad of a weight")


@exercise("Sequential")
def test_sequential_of_little():
    nothing = object()
    assert day.Sequential()(nothing) is nothing, "no module at all gives what it got"
    assert len(day.Sequential()) == 0 and len(day.Sequential({})) == 0
    for wrong in (3, "part", [day.Module()], day.Parameter([1.0])):
        with pytest.raises(TypeError):
            day.Sequential(wrong)
            pytest.fail(f"{wrong!r} became a part")


@exercise("Sequential")
def test_sequential_runs_hooks():
    part, seen = activation(kits()[0]), []
    part.register_forward_hook(lambda m, a, r: seen.append((a, r)))
    assert day.Sequential(part, part)(1.0) == 7.0
    assert seen == [((1.0,), 3.0), ((3.0,), 7.0)], f"the part's hook saw {seen}"


@exercise("Sequential")
def test_sequential_by_name():
    parts = {"b": Affine(kits()[0], 2, 1.0), "a": Affine(kits()[0], 2, 2.0)}
    for given_ in (parts, OrderedDict(parts)):
        net = day.Sequential(given_)
        assert list(net._modules.items()) == list(parts.items())
        assert net.a is parts["a"] and net[0] is parts["b"]
        assert list(net.state_dict()) == ["b.weight", "b.shift", "a.weight", "a.shift"]


SLICES = [slice(None), slice(1, None), slice(1, 3), slice(None, -1), slice(None, None, 2),
          slice(None, None, -1), slice(3, 1), slice(-2, None)]  # fmt: skip


@exercise("Sequential")
@pytest.mark.parametrize("named", [False, True])
def test_sequential_indices(named):
    nets = []
    for kit in kits():
        parts = [Affine(kit, 2, float(i)) for i in range(4)]
        made = OrderedDict(zip("wxyz", parts, strict=True))
        nets.append((kit.Sequential(made) if named else kit.Sequential(*parts), parts))
    (net, parts), (twin, _) = nets
    for i in (0, 3, -1, -4, np.int64(2)):
        assert net[i] is parts[i], f"net[{i}] is another module"
    for i in (4, -5):
        with pytest.raises(IndexError):
            _ = net[i]
            pytest.fail(f"net[{i}] of four modules")
    for cut in SLICES:
        part = net[cut]
        assert type(part) is day.Sequential, f"net[{cut}] is a {type(part).__name__}"
        assert list(part) == parts[cut], f"net[{cut}] has other modules, or copies of them"
        assert list(part._modules) == list(twin[cut]._modules), (
            f"net[{cut}] calls its parts {list(part._modules)}: their names are to stay"
        )
    assert len(net) == 4


def edit(kit, act, numbers=3):
    parts = kit.ModuleList([Affine(kit, 1, float(i)) for i in range(numbers)])
    new = iter(Affine(kit, 1, float(i)) for i in range(10, 20))
    result = act(parts, new)
    same = result is parts
    return [(k, v.weight.item()) for k, v in parts._modules.items()], same


EDITS = {
    "append": lambda x, new: x.append(next(new)),
    "append twice": lambda x, new: x.append(next(new)).append(next(new)),
    "extend": lambda x, new: x.extend([next(new), next(new)]),
    "extend by nothing": lambda x, new: x.extend([]),
    "insert at 0": lambda x, new: x.insert(0, next(new)),
    "insert at 2": lambda x, new: x.insert(2, next(new)),
    "insert at the end": lambda x, new: x.insert(3, next(new)),
    "del 0": lambda x, new: x.__delitem__(0),
    "del 1": lambda x, new: x.__delitem__(1),
    "del -1": lambda x, new: x.__delitem__(-1),
    "del 1:": lambda x, new: x.__delitem__(slice(1, None)),
    "del ::2": lambda x, new: x.__delitem__(slice(None, None, 2)),
    "set 0": lambda x, new: x.__setitem__(0, next(new)),
    "set 1": lambda x, new: x.__setitem__(1, next(new)),
    "set -1": lambda x, new: x.__setitem__(-1, next(new)),
    "del 0, append": lambda x, new: (x.__delitem__(0), x.append(next(new)))[1],
}


@exercise("ModuleList")
@pytest.mark.parametrize("what", EDITS)
def test_module_list_edits(what):
    own, other = (edit(kit, EDITS[what]) for kit in kits())
    assert own == other, f"after {what} of three it holds {own}, and torch's {other}"


@exercise("ModuleList")
def test_module_list_is_a_list():
    parts = [Affine(kits()[0], 1, float(i)) for i in range(4)]
    held = day.ModuleList(iter(parts))
    assert len(held) == 4 and list(held) == parts
    assert held[0] is parts[0] and held[-1] is parts[3]
    assert list(held.state_dict()) == [f"{i}.{n}" for i in range(4) for n in ("weight", "shift")]
    for cut in SLICES:
        some = held[cut]
        assert type(some) is day.ModuleList, f"[{cut}] is a {type(some).__name__}"
        assert list(some) == parts[cut], f"[{cut}] has other modules"
        assert list(some._modules) == [str(i) for i in range(len(parts[cut]))], (
            f"[{cut}] is numbered {list(some._modules)}"
        )
    some = held[1:]
    some.append(day.Module())
    assert list(held) == parts, "a change in a slice changed the list that it was cut from"
    assert len(day.ModuleList()) == 0 and list(day.ModuleList([])) == []
    for act in (lambda: held[4], lambda: held[-5], lambda: held.__setitem__(4, parts[0]),
                lambda: held.__delitem__(4)):  # fmt: skip
        with pytest.raises(IndexError):
            act()
            pytest.fail("an index beyond the four modules went through")
    assert list(held) == parts


@exercise("ModuleList")
def test_module_list_refuses():
    held = day.ModuleList([day.Module(), day.Module()])
    before = list(held)
    attempts = {
        "append": lambda: held.append(3),
        "extend": lambda: held.extend([day.Module(), "x"]),
        "insert": lambda: held.insert(0, day.Parameter([1.0])),
        "held[0] =": lambda: held.__setitem__(0, [1]),
        "ModuleList": lambda: day.ModuleList([4]),
    }
    for what, attempt in attempts.items():
        with pytest.raises(TypeError):
            attempt()
            pytest.fail(f"{what}: something that is no Module went in")
        assert list(held) == before, f"{what} was refused, and the list has changed"
    with pytest.raises(TypeError):
        held(1)


@exercise("ModuleList")
def test_module_list_holds_one_twice():
    part = day.Module()
    part.w = day.Parameter([1.0])
    held = day.ModuleList([part, day.Module(), part])
    held.renumber([held[2], held[0]])
    assert len(held) == 2 and held[0] is part and held[1] is part
    net = day.Module()
    net.parts = held
    assert names(net.named_parameters()) == ["parts.0.w"]
    assert list(net.state_dict()) == ["parts.0.w", "parts.1.w"]
    held.renumber(m for m in held)
    assert list(held) == [part, part], "renumber emptied the list before it had read it"
