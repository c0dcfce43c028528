"""Day 25: sums in memory of one's own, hooks at the right moment, and forgetting with intent."""

import contextlib
import gc
import math
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.testing import again, close, exercise, refused, watch
from tracks.autodiff import day22, day24, day25, operations

HERE = Path(__file__).parent
SIDE = 20_000


def leaf(data, requires_grad=True, kind=None):
    return day25.Tensor(data, requires_grad=requires_grad, dtype=kind)


@contextlib.contextmanager
def no_collector():
    """What is freed in here is freed by itself, not found by Python's garbage collector."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


# -- buffers -----------------------------------------------------------------------------------


@exercise("Buffers")
@pytest.mark.parametrize("shape", [(), (3,), (0, 2)], ids=str)
def test_sums(shape, rng):
    for n in range(1, 6):
        shares = [leaf(rng.normal(*shape), False) for _ in range(n)]
        before = [s.data.copy() for s in shares]
        sums = day25.Buffers(3)
        with day22.during_backward():
            for s in shares:
                sums.add(1, s)
        assert sums[0] is None and sums[2] is None, "a gradient came to the wrong place"
        assert isinstance(sums[1], day22.Tensor) and isinstance(sums[1].data, np.ndarray)
        close(sums[1].data, sum(before), terms=n, scale=8.0, name=f"the sum of {n} shares")
        for i, (s, old) in enumerate(zip(shares, before, strict=True)):
            assert np.array_equal(s.data, old), (
                f"share {i} of {n} changed when the others were added: others may hold its array"
            )
        assert not sums[1].requires_grad


@exercise("Buffers")
def test_one_share_at_many_places(rng):
    g = leaf(rng.normal(3), False)
    old = g.data.copy()
    a, b = day25.Buffers(2), day25.Buffers(1)
    with day22.during_backward():
        for _ in range(3):
            for sums, index in ((a, 0), (a, 1), (b, 0)):
                sums.add(index, g)
    for name, got in (("place 0", a[0]), ("place 1", a[1]), ("another node", b[0])):
        close(got.data, 3 * old, terms=3, scale=8.0, name=f"three times one gradient at {name}")
    assert np.array_equal(g.data, old), "the gradient that was handed to all of them changed"


@exercise("Buffers")
def test_a_view_as_a_share(rng):
    """An expanded array has one element in the place of many, and cannot be written to."""
    one = leaf(rng.normal(1, 3), False)
    wide = one.expand(4, 3)
    sums = day25.Buffers(1)
    with day22.during_backward():
        for share in (wide, wide, leaf(np.ones((4, 3)), False), wide):
            sums.add(0, share)
    close(sums[0].data, 3 * wide.data + 1, terms=4, scale=8.0, name="a sum of expanded shares")


@exercise("Buffers")
def test_dtypes_of_sums(rng):
    kinds = ["float32", "float32", "float64", "float32", "float64"]
    shares = [leaf(rng.normal(3), False, kind) for kind in kinds]
    sums = day25.Buffers(1)
    right = shares[0].data
    with day22.during_backward():
        sums.add(0, shares[0])
        for s in shares[1:]:
            sums.add(0, s)
            right = right + s.data
            assert sums[0].dtype == right.dtype, (
                f"a sum of {right.dtype} is kept as {sums[0].dtype}"
            )
    assert np.array_equal(sums[0].data, right), f"{sums[0].data} where numpy's sum is {right}"


@exercise("Buffers")
def test_one_array_for_all_sums(rng):
    shares = [leaf(np.full(SIDE, float(i)), False) for i in range(12)]

    def add():
        sums = day25.Buffers(1)
        with day22.during_backward():
            for s in shares:
                sums.add(0, s)
        return sums[0]

    total, seen = watch(add)
    close(total.data, np.full(SIDE, 66.0), name="the sum of 12 shares")
    arrays = seen.peak_bytes / (8 * SIDE)
    assert arrays < 1.5, f"12 shares were summed in {arrays:.1f} arrays' memory, one is asked"
    sums = day25.Buffers(1)
    with day22.during_backward():
        sums.add(0, shares[0])
        assert sums[0] is shares[0], "the first share is to be put there itself"
        sums.add(0, shares[1])
        made = sums[0].data
        sums.add(0, shares[2])
    assert np.may_share_memory(sums[0].data, made), "the third share made a new array"


@exercise("Buffers")
def test_recorded_sums(rng):
    x, y = leaf(rng.normal(3)), leaf(rng.normal(3))
    sums = day25.Buffers(1)
    a, b = x * 2.0, y * 3.0
    for share in (a, b, x):
        sums.add(0, share)
    assert sums[0].requires_grad, "a recorded sum has no past"
    sums[0].sum().backward()
    close(x.grad.data, np.full(3, 3.0), name="gradient through a recorded sum")
    close(y.grad.data, np.full(3, 3.0), name="gradient through a recorded sum")
    for t in (x, y):
        t.grad = None
    f = (x * x * x + x * x).sum()
    (first,) = day24.grad(f, x, create_graph=True)
    (second,) = day24.grad(first.sum(), x)
    close(second.data, 6 * x.data + 2, terms=8, scale=8.0, name="second derivative of x³ + x²")


@exercise("Buffers")
def test_a_graph_with_many_users(rng):
    x = leaf(rng.normal(3))
    y = x + x
    z = y
    for factor in (2.0, 3.0, 4.0):
        z = z + y * factor + y
    seed = np.array(rng.normal(3))
    old = seed.copy()
    z.backward(seed)
    close(x.grad.data, 26 * old, terms=20, scale=32.0, name="grad")
    assert np.array_equal(seed, old), "the gradient that backward was given changed"


# -- hooks -------------------------------------------------------------------------------------


@exercise("Hooks")
def test_hooks_in_order(rng):
    hooks, seen = day25.Hooks(), []
    g = leaf(rng.normal(3), False)

    def look(new):
        seen.append(new.data.copy())

    def twice(new):
        return new * 2.0

    both = day25.Hooks()
    both.add(lambda new: new * 2.0)
    both.add(lambda new: new * 3.0)
    close(both(g).data, 6 * g.data, name="the gradient after a hook that doubles, one that trebles")
    handles = [hooks.add(f) for f in (look, twice, look, twice, look)]
    found = hooks(g)
    close(found.data, 4 * g.data, name="the gradient after two hooks that double it")
    assert [round(float((s / g.data)[0])) for s in seen] == [1, 2, 4], (
        "each hook gets what the one before it gave, in the order in which they were added"
    )
    handles[1].remove()
    handles[1].remove()
    close(hooks(g).data, 2 * g.data, name="one of two equal hooks was removed")
    handles[3].remove()
    assert hooks(g) is g, "hooks that give None leave the gradient as it is"
    assert day25.Hooks()(g) is g, "no hooks"


@exercise("Hooks")
def test_a_hook_that_gives_something_else(rng):
    g = leaf(rng.normal(2, 3), False)
    for bad in (3.0, g.data, [1.0]):
        hooks = day25.Hooks()
        hooks.add(lambda _, bad=bad: bad)
        with pytest.raises(TypeError):
            hooks(g)
            pytest.fail(f"a hook gave a {type(bad).__name__}: a TypeError was due")
    for name, bad in (
        ("(3,)", leaf(rng.normal(3), False)), ("(3, 2)", leaf(rng.normal(3, 2), False)),
        ("()", leaf(rng.normal(), False)), ("float32", leaf(g.data, False, "float32")),
    ):  # fmt: skip
        hooks = day25.Hooks()
        hooks.add(lambda _, bad=bad: bad)
        with pytest.raises(RuntimeError) as refusal:
            hooks(g)
            pytest.fail(f"a gradient of {name} went through for (2, 3) of float64")
        message = str(refusal.value)
        due = "float64" if name == "float32" else "(2, 3)"
        assert name in message and due in message, f"what was given, what was due? {message}"


@exercise("Hooks")
def test_hooks_that_change_the_hooks(rng):
    hooks, calls = day25.Hooks(), []
    g = leaf(rng.normal(3), False)

    def once(_):
        calls.append("once")
        handle.remove()
        hooks.add(lambda _: calls.append("late"))

    handle = hooks.add(once)
    hooks.add(lambda _: calls.append("last"))
    hooks(g)
    assert calls == ["once", "last"], f"a hook took itself away and added one: called {calls}"
    calls.clear()
    hooks(g)
    assert calls == ["last", "late"], f"the next time {calls} were called"


@exercise("Hooks")
def test_who_retains_comes_last(rng):
    hooks = day25.Hooks()
    g, y = leaf(rng.normal(3), False), leaf(rng.normal(3))
    hooks.retaining = lambda: y
    hooks.add(lambda new: new * 2.0)
    for times in (1, 2):
        found = hooks(g)
        close(found.data, 2 * g.data, name="what goes on")
        close(y.grad.data, 2 * times * g.data, terms=2, scale=4.0,
              name=f"what is retained after {times} backwards")  # fmt: skip
        assert not np.may_share_memory(y.grad.data, found.data), "grad lies on what goes on"
    hooks.retaining = lambda: None
    hooks(g)


@exercise("register_hook")
def test_a_hook_is_called_with_the_sum(rng):
    x = leaf(rng.normal(3))
    y = x * 2.0
    z = y + y * y + y.exp() * 0.5
    seen = []
    for t in (x, y, z):
        t.register_hook(lambda g: seen.append(g))
    z.backward(np.ones(3))
    assert len(seen) == 3, f"three hooks were called {len(seen)} times in one backward"
    of_y = 1 + 2 * y.data + np.exp(y.data) * 0.5
    wanted = [np.ones(3), of_y, 2 * of_y]
    for name, got, right in zip("zyx", seen, wanted, strict=True):
        assert isinstance(got, day22.Tensor)
        close(got.data, right, terms=8, scale=8.0 * (1 + abs(right)), name=f"gradient of {name}")
    assert y.grad is None, "a hook alone retains nothing"


@exercise("register_hook")
def test_hooks_replace_gradients(rng):
    values = np.array(rng.normal(2, 3))
    x, twin = leaf(values), torch.tensor(values, requires_grad=True)
    results = []
    for t, exp in ((x, lambda t: t.exp()), (twin, torch.exp)):
        y = exp(t * 2.0)
        y.register_hook(lambda g: g * 10.0)
        y.register_hook(lambda g: g + 1.0)
        t.register_hook(lambda g: g * -1.0)
        (y * y).sum().backward()
        results.append(t.grad)
    close(results[0].data, results[1].numpy(), terms=8, scale=8.0 * (1 + abs(results[1].numpy())),
          name="grad with three hooks")  # fmt: skip
    handle = x.register_hook(lambda g: g * 100.0)
    handle.remove()
    x.grad = None
    (x * 1.0).sum().backward()
    close(x.grad.data, np.full((2, 3), -1.0), name="grad after a hook was removed")


@exercise("register_hook")
def test_hooks_of_one_of_several_results(rng):
    x = leaf(rng.normal(4))
    a, b = operations.split(x, 2)
    seen = []
    b.register_hook(lambda g: g * 5.0)
    a.register_hook(lambda g: seen.append(g))
    b.sum().backward()
    close(x.grad.data, np.array([0.0, 0.0, 5.0, 5.0]), name="grad, the second part times 5")
    assert not seen, "a hook was called although no gradient came to its tensor"


@exercise("register_hook")
def test_a_hook_outlives_its_tensor(rng):
    x = leaf(rng.normal(3))
    seen = []

    def graph():
        y = x * 2.0
        y.register_hook(lambda g: seen.append(g))
        return y.sum()

    z = graph()
    gc.collect()
    z.backward()
    assert len(seen) == 1, "the hook is gone with the Python object; the graph is still there"


@exercise("register_hook")
def test_hooks_in_grad(rng):
    x, w = leaf(rng.normal(3)), leaf(rng.normal(3))
    seen = []
    y = x * w
    y.register_hook(lambda g: g * 2.0)
    x.register_hook(lambda g: g * 3.0)
    w.register_hook(lambda g: seen.append(g))
    loss = y.sum()
    (of_x,) = day24.grad(loss, x, retain_graph=True)
    close(of_x.data, 6 * w.data, terms=2, scale=4.0, name="gradient of x")
    (of_y,) = day24.grad(loss, y)
    close(of_y.data, np.full(3, 2.0), name="gradient of y")
    assert not seen, "a hook of a tensor was called that nobody asked for"
    assert x.grad is None


@exercise("register_hook")
def test_a_hook_and_the_dtype(rng):
    x = leaf(rng.normal(3), kind="float32")
    seen = []

    class Widens(day22.Function):
        forward = staticmethod(lambda ctx, x: x * 1)
        backward = staticmethod(lambda ctx, grad: day22.to(grad, np.float64))

    y = x * 2.0
    for t in (x, y):
        t.register_hook(lambda g: seen.append(g.dtype))
    Widens.apply(y).sum().backward()
    assert seen == [np.float32, np.float32], f"hooks of float32 tensors got {seen}"


@exercise("register_hook")
def test_a_hook_while_a_graph_is_created(rng):
    x = leaf(rng.normal(3))
    y = x * x
    y.register_hook(lambda g: g * x)
    (first,) = day24.grad(y.sum(), x, create_graph=True)
    close(first.data, 2 * x.data**2, terms=4, scale=8.0, name="gradient with a hook")
    (second,) = day24.grad(first.sum(), x)
    close(second.data, 4 * x.data, terms=4, scale=8.0, name="derivative of that")


@exercise("register_hook")
def test_hooks_are_refused(rng):
    for x in (leaf(rng.normal(3), False), leaf(rng.normal(3)).detach(), leaf([1, 2], False)):
        with pytest.raises(RuntimeError):
            x.register_hook(lambda g: g)
            pytest.fail("a hook on a tensor that requires no gradient went through")
    with pytest.raises(ZeroDivisionError):
        x = leaf(rng.normal(3))
        x.register_hook(lambda g: 1 / 0)
        x.sum().backward()
        pytest.fail("the exception of a hook was swallowed")
    assert x.grad is None


# -- retain_grad -------------------------------------------------------------------------------


@exercise("retain_grad")
def test_retained_as_in_torch(rng):
    values = np.array(rng.normal(3))
    both = []
    for make in (leaf, lambda v: torch.tensor(v, requires_grad=True)):
        x = make(values)
        y = x * 2.0
        y.register_hook(lambda g: g * 10.0)
        y.retain_grad()
        y.retain_grad()
        y.register_hook(lambda g: g + 1.0)
        z = (y * y).sum()
        z.retain_grad()
        z.backward(retain_graph=True)
        states = [(y.grad * 1.0, z.grad * 1.0)]
        z.backward(retain_graph=True)
        states.append((y.grad * 1.0, z.grad * 1.0))
        grad = day24.grad if make is leaf else torch.autograd.grad
        grad(z, x)
        states.append((y.grad, z.grad, x.grad))
        both.append(states)
    for times, (mine, theirs) in enumerate(zip(*both, strict=True), 1):
        for name, got, right in zip(("y", "z", "x"), mine, theirs, strict=False):
            right = right.numpy()
            close(got.data, right, terms=8, scale=16.0 * (1 + abs(right)),
                  name=f"grad of {name} after {times} backwards")  # fmt: skip


@exercise("retain_grad")
def test_retained_on_leaves_and_refused(rng):
    x = leaf(rng.normal(3))
    x.retain_grad()
    (x * x).sum().backward()
    close(x.grad.data, 2 * x.data, name="grad of a leaf that was asked to retain it")
    for plain in (leaf(rng.normal(3), False), x.detach()):
        with pytest.raises(RuntimeError):
            plain.retain_grad()
            pytest.fail("retain_grad of a tensor that requires no gradient went through")


@exercise("retain_grad")
def test_nothing_is_retained_unasked(rng):
    x = leaf(rng.normal(4))
    a, b = operations.split(x * 1.0, 2)
    b.retain_grad()
    (a * 2.0 + b * 3.0).sum().backward()
    assert a.grad is None, "the other result of the same node has a grad"
    close(b.grad.data, np.full(2, 3.0), name="grad of the second part")


@exercise("retain_grad")
def test_the_graph_does_not_hold_the_tensor(rng):
    with no_collector():
        x = leaf(rng.normal(100))
        y = x + 1.0
        y.retain_grad()
        gone = weakref.ref(y)
        z = y.sum()
        del y
        assert gone() is None, "the graph holds a tensor that nobody can ask for its grad any more"
        z.backward()
        close(x.grad.data, np.ones(100), name="grad of the leaf")


@exercise("retain_grad")
def test_retained_with_a_past(rng):
    x = leaf(abs(np.array(rng.normal(3))) + 0.5)
    y = x * x
    y.retain_grad()
    day24.backward((y * y).sum(), create_graph=True)
    assert y.grad.requires_grad, "with create_graph the retained gradient has no past"
    (second,) = day24.grad(y.grad.sum(), x)
    close(second.data, 4 * x.data, terms=4, scale=8.0, name="derivative of y.grad")


# -- checkpoint --------------------------------------------------------------------------------


def counted(f):
    def call(*args):
        call.times += 1
        return f(*args)

    call.times = 0
    return call


def compare(f, *arrays, rng, wants=None):
    """f plain against f in a checkpoint: values, gradients, and how often it was called."""
    wants = wants or [True] * len(arrays)
    found = []
    g = None
    for wrap in (False, True):
        args = [leaf(a, w) for a, w in zip(arrays, wants, strict=True)]
        h = counted(f)
        result = day25.checkpoint(h, *args) if wrap else h(*args)
        results = list(result) if isinstance(result, tuple) else [result]
        g = g or [np.array(rng.normal(*r.shape)) for r in results]
        if wrap:
            assert h.times == 1, f"the function was called {h.times} times before any backward"
        day24.backward(results, g)
        if wrap:
            assert h.times == 2, f"the function was called {h.times} times in all; 2 are due"
        found.append(([r.data for r in results], [a.grad for a in args]))
    for i, (right, got) in enumerate(zip(found[0][0], found[1][0], strict=True)):
        assert np.array_equal(right, got), f"result {i} is another one in a checkpoint"
    for i, (right, got) in enumerate(zip(found[0][1], found[1][1], strict=True)):
        assert (right is None) == (got is None), f"grad of argument {i}: {got}, without {right}"
        if right is not None:
            close(got.data, right.data, terms=16, scale=8.0 * (1 + abs(right.data)),
                  name=f"grad of argument {i}")  # fmt: skip


@exercise("Checkpoint")
def test_checkpoint_changes_nothing(rng):
    a, b = np.array(rng.normal(2, 3)), np.array(rng.normal(3))
    compare(lambda x: (x * x).exp(), a, rng=rng)
    compare(lambda x, y: x * y + x.exp(), a, b, rng=rng)
    for wants in ([True, False], [False, True]):
        compare(lambda x, y: x * y, a, b, rng=rng, wants=wants)
    compare(lambda x, y: (x.exp(), y * 2.0), a, b, rng=rng)
    compare(lambda x, y: x.exp(), a, b, rng=rng)
    compare(lambda x: x, a, rng=rng)
    compare(lambda x: (x.sum(),), a, rng=rng)
    compare(lambda x: (x * 2.0).sum(), np.zeros((0, 3)), rng=rng)
    compare(lambda x: day25.checkpoint(lambda y: y * y, x) * x, a, rng=rng)


@exercise("Checkpoint")
def test_what_a_checkpoint_gives(rng):
    x = leaf(rng.normal(3))
    one = day25.checkpoint(lambda x: (x * 2.0,), x)
    assert isinstance(one, tuple) and len(one) == 1, f"a tuple of one result became {one!r}"
    y = day25.checkpoint(lambda x: x * 2.0, x)
    assert isinstance(y, day25.Tensor) and y.requires_grad
    assert y.node.op == "checkpoint", f"the result was made by {y.node.op}"
    flags = []

    def look(x, n, name, index):
        flags.append((x.requires_grad, x.is_leaf, type(x)))
        assert (n, name) == (2, "name"), f"other arguments came as {n!r} and {name!r}"
        assert not index.requires_grad
        return x[index] * n

    y = day25.checkpoint(look, x * 1.0, 2, "name", leaf([2, 0, 2], False))
    y.sum().backward()
    close(x.grad.data, np.array([2.0, 0.0, 4.0]), name="grad through an index")
    for times, flag in enumerate(flags):
        assert flag == (True, True, day25.Tensor), (
            f"in call {times} the argument requires a gradient: {flag[0]}, is a leaf: {flag[1]}"
        )
    with pytest.raises(TypeError):
        day25.checkpoint(lambda n: n, 3)
        pytest.fail("no tensor among the arguments: a TypeError was due")


@exercise("Checkpoint")
def test_one_tensor_twice(rng):
    x = leaf(rng.normal(3))
    day25.checkpoint(lambda a, b: a * a * b, x, x).sum().backward()
    close(x.grad.data, 3 * x.data**2, terms=6, scale=8.0, name="grad of x · x · x")


@exercise("Checkpoint")
def test_only_arguments_are_kept(rng):
    with no_collector():
        x = leaf(rng.normal(100))
        inner = []

        def f(x):
            y = x.exp()
            inner.append(weakref.ref(y.data))
            return (y * y).exp()

        argument = x * 0.1
        memory = weakref.ref(argument.data)
        y = day25.checkpoint(f, argument)
        del argument
        assert memory() is not None, "the argument is gone, and the function is to be called again"
        assert all(ref() is None for ref in inner), "what the function computed inside is kept"
        y.sum().backward()
        assert all(ref() is None for ref in inner), "the graph of the second call is kept"
        assert memory() is None, "after the backward the checkpoint still holds its argument"
        assert y.node is not None


@exercise("Checkpoint")
def test_weights_are_leaves_of_the_function(rng):
    x, w, b, unused = (leaf(rng.normal(3)) for _ in range(4))
    for data in (x, x.detach()):
        for t in (x, w, b, unused):
            t.grad = None
        y = day25.checkpoint(lambda x: (x * w + b).exp(), data)
        wanted = {id(t) for t in (data, w, b) if t.requires_grad}
        found = [id(p) for p in y.node.parents]
        assert set(found) == wanted and len(found) == len(wanted), (
            f"gradients go from the checkpoint to {len(found)} tensors; {len(wanted)} are due one"
        )
        z = day25.checkpoint(lambda x: x * w, y)
        z.sum().backward()
        e = np.exp(x.data * w.data + b.data)
        name = f"grad of a weight, with a gradient for the argument: {data.requires_grad}"
        close(w.grad.data, e * w.data * x.data + e, terms=20, scale=64.0 * (1 + e), name=name)
        close(b.grad.data, e * w.data, terms=20, scale=32.0 * (1 + e), name="grad of a bias")
        assert unused.grad is None
    x.grad = w.grad = b.grad = None
    y = day25.checkpoint(lambda x: (x * w).exp() * b, x).sum()
    (of_w,) = day24.grad(y, w)
    e = np.exp(x.data * w.data)
    close(of_w.data, e * x.data * b.data, terms=20, scale=32.0 * (1 + e), name="grad(…, weight)")
    assert all(t.grad is None for t in (x, w, b)), "grad(…) changed the grad of a tensor"
    y = day25.checkpoint(lambda x: w, x)
    y.sum().backward()
    close(w.grad.data, np.ones(3), name="grad of a leaf that the function returns")


@exercise("Checkpoint")
def test_hooks_of_weights_are_called_once(rng):
    x, w = leaf(rng.normal(3)), leaf(rng.normal(3))
    seen = []
    w.register_hook(lambda g: seen.append(g) or g * 10.0)
    x.register_hook(lambda g: g * 2.0)
    inner = []

    def f(x):
        y = x * w
        y.register_hook(lambda g: inner.append(g))
        return y

    day25.checkpoint(f, x).sum().backward()
    assert len(seen) == 1, f"the hook of a weight was called {len(seen)} times in one backward"
    assert len(inner) == 1, f"a hook inside of the function was called {len(inner)} times"
    close(w.grad.data, 10 * x.data, terms=2, scale=16.0, name="grad of the weight, times 10")
    close(x.grad.data, 2 * w.data, terms=2, scale=4.0, name="grad of the argument, times 2")


@exercise("Checkpoint")
def test_only_what_is_asked_is_computed(rng):
    x, y = leaf(rng.normal(3)), leaf(rng.normal(3))
    ran = []

    class Looks(day22.Function):
        @staticmethod
        def forward(ctx, a, name):
            ctx.name = name
            return a * 1.0

        @staticmethod
        def backward(ctx, grad):
            ran.append(ctx.name)
            return grad, None

    out = day25.checkpoint(lambda x, y: Looks.apply(x, "x") * Looks.apply(y, "y"), x, y)
    (of_x,) = day24.grad(out.sum(), x)
    close(of_x.data, y.data, name="gradient of x")
    assert ran == ["x"], f"x was asked for, and the backwards of {ran} ran"


@exercise("Checkpoint")
def test_some_results_get_no_gradient(rng):
    x, y = leaf(rng.normal(3)), leaf(rng.normal(3))
    ran = []

    class Looks(day22.Function):
        forward = staticmethod(lambda ctx, a: a * 1.0)

        @staticmethod
        def backward(ctx, grad):
            ran.append(1)
            return grad

    a, _ = day25.checkpoint(lambda x, y: (x * 2.0, Looks.apply(y)), x, y)
    a.sum().backward()
    close(x.grad.data, np.full(3, 2.0), name="grad through the first result")
    assert y.grad is None or not y.grad.data.any()
    assert not ran, "a backward ran inside for a result to which no gradient came"
    c = day25.checkpoint(lambda x: x.detach() * 2.0, x)
    c.sum().backward()


@exercise("Checkpoint")
def test_nothing_is_recorded_where_nothing_is_asked(rng):
    x = leaf(rng.normal(3))
    h = counted(lambda x: x * 2.0)
    with day22.during_backward():
        y = day25.checkpoint(h, x)
    assert not y.requires_grad and h.times == 1
    with day22.during_backward():
        y = day25.checkpoint(lambda _: x, leaf(rng.normal(3), False))
    assert not y.requires_grad, "a weight was found although nothing is recorded"
    y = day25.checkpoint(h, leaf(rng.normal(3), False))
    assert not y.requires_grad, "neither the argument nor a weight requires a gradient"
    with pytest.raises(KeyError):
        day25.checkpoint(lambda x: {}[1], x)
        pytest.fail("an exception in the function was swallowed")
    assert day22.mode.recording


@exercise("Checkpoint")
def test_backward_twice(rng):
    x = leaf(rng.normal(3))
    h = counted(lambda x: x * x)
    y = day25.checkpoint(h, x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert h.times == 3, f"two backwards called the function {h.times} times with the forward"
    close(x.grad.data, 4 * x.data, terms=2, scale=8.0, name="grad after two backwards")
    with pytest.raises(RuntimeError) as refusal:
        y.backward()
        pytest.fail("a freed checkpoint ran again")
    assert "checkpoint" in str(refusal.value), f"which operation? {refusal.value}"


@exercise("Checkpoint")
def test_higher_derivatives_through_a_checkpoint(rng):
    values, scale = abs(np.array(rng.normal(3))) + 0.5, np.array(rng.normal(3))
    found = []
    for wrap in (False, True):
        x, w = leaf(values), leaf(scale)

        def f(a, b, w=w):
            return (a * b * w).exp() + a * a * b

        inner = x * w
        y = day25.checkpoint(f, inner, x) if wrap else f(inner, x)
        (first,) = day24.grad(y.sum(), x, create_graph=True)
        (second,) = day24.grad(first.sum(), x, create_graph=True)
        third = day24.grad(second.sum(), [x, w])
        found.append([first, second, *third])
    for n, (right, got) in enumerate(zip(*found, strict=True), 1):
        close(got.data, right.data, terms=64, scale=64.0 * (1 + abs(right.data)),
              name=f"derivative {n} through a checkpoint")  # fmt: skip


@exercise("Checkpoint")
def test_a_long_chain_of_checkpoints_is_linear(rng):
    x = leaf(rng.normal(2))
    asked = []
    for n in (50, 100):
        count = 0

        class Node(day25.Tensor.Context):
            @property
            def parents(self):
                nonlocal count
                count += 1
                return super().parents

        class Later(day25.Tensor):
            __slots__ = ()
            Context = Node

        y = Later(x.data, requires_grad=True)
        for _ in range(n):
            y = day25.checkpoint(lambda y: y * 1.0, y)
        y.sum().backward()
        asked.append(count / n)
    assert asked[1] <= 1.5 * asked[0] + 4, (
        f"nodes were asked for their parents {asked[0]:.0f} times a checkpoint in a chain of 50 and"
        f" {asked[1]:.0f} times in one of 100: each pass inside walks through the graph outside"
    )


# -- checkpoint_sequential ---------------------------------------------------------------------


def layers(n):
    return [counted(lambda x, i=i: (x * (1.0 + i / 100)).sigmoid() + x) for i in range(n)]


@exercise("checkpoint_sequential")
@pytest.mark.parametrize(
    ("n", "segments"),
    [
        (1, 1),
        (4, 1),
        (4, 2),
        (4, 4),
        (5, 2),
        (7, 3),
        (9, None),
        (10, None),
        (8, None),
        (1, None),
        (6, 5),
    ],
    ids=str,
)
def test_segments(n, segments, rng):
    values = np.array(rng.normal(3))
    x, plain = leaf(values), leaf(values)
    right = plain
    for f in layers(n):
        right = f(right)
    fs = layers(n)
    y = day25.checkpoint_sequential(fs, x, segments)
    assert np.array_equal(y.data, right.data), "the value is another one than without checkpoints"
    assert [f.times for f in fs] == [1] * n, "a function was left out or called twice in forward"
    nodes, node = 0, y.node
    count = segments or round(math.sqrt(n))
    while node is not None and not isinstance(node, day22.Tensor):
        nodes += node.op == "checkpoint"
        node = node.parents[0] if node.parents else None
    assert nodes == count - 1, f"{nodes} checkpoints for {count} segments of {n}; the last has none"
    y.sum().backward()
    right.sum().backward()
    close(x.grad.data, plain.grad.data, terms=4 * n, scale=4.0 * 2**n, name="grad")
    times = [f.times for f in fs]
    last = times.count(1)
    assert last in (n // count, -(-n // count)) and times == [2] * (n - last) + [1] * last, (
        f"{n} functions in {count} segments were called {times} times"
    )


@exercise("checkpoint_sequential")
@settings(max_examples=30)
@given(n=st.integers(1, 40), data=st.data())
def test_lengths_are_even(n, data):
    segments = data.draw(st.integers(1, n))
    order = []
    fs = [lambda x, i=i: (order.append(i), x + 0.0)[1] for i in range(n)]
    y = day25.checkpoint_sequential(fs, leaf([1.0]), segments)
    y.backward()
    assert order[:n] == list(range(n)), f"forward called the functions in the order {order[:n]}"
    cuts, part = [], []
    for i in order[n:]:
        if part and i != part[-1] + 1:
            cuts.append(part)
            part = []
        part.append(i)
    cuts += [part] if part else []
    lengths = [len(c) for c in cuts]
    lengths.append(n - sum(lengths))
    assert len(lengths) == segments and max(lengths) - min(lengths) <= 1, (
        f"{n} functions in {segments} segments have the lengths {lengths}"
    )


@exercise("checkpoint_sequential")
def test_segments_that_cannot_be(rng):
    x = leaf(rng.normal(3))
    assert day25.checkpoint_sequential([], x) is x
    for n, segments in ((4, 0), (4, 5), (4, -1), (0, 1), (1, 2)):
        refused(day25.checkpoint_sequential, layers(n), x, segments,
                what=f"{segments} segments of {n} functions")  # fmt: skip
    with pytest.raises(ValueError) as refusal:
        day25.checkpoint_sequential(layers(4), x, 7)
    assert "7" in str(refusal.value) and "4" in str(refusal.value), f"how many? {refusal.value}"


@exercise("checkpoint_sequential")
def test_memory_at_the_square_root(rng):
    """64 layers that keep an array each: 64 arrays, or 8 and 8."""
    n = 64
    fs = [lambda x: x.sigmoid()] * n
    peaks = []
    for segments in (1, None):
        x = leaf(np.zeros(SIDE))

        def train(x=x, segments=segments):
            day25.checkpoint_sequential(fs, x, segments).sum().backward()

        _, seen = watch(train)
        peaks.append(seen.peak_bytes / (8 * SIDE))
    plain, saved = peaks
    assert saved <= 0.4 * plain, (
        f"the peak is {saved:.0f} arrays with checkpoints and {plain:.0f} without, for {n} layers; "
        "at most 0.4 times is asked"
    )


# -- yesterday, again --------------------------------------------------------------------------


class Today:
    """Day 24 with today's Tensor and Engine."""

    def __getattr__(self, name):
        if name in ("Tensor", "Engine"):
            return getattr(day25, name)
        return getattr(day24, name)


globals().update(again(HERE / "test_day24.py", Today(), "Buffers", only=["grad"]))
