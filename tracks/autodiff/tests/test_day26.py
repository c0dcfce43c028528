"""Day 26: a switch that is always put back, and changes in place that nobody overlooks."""

import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.testing import again, close, exercise
from tracks.autodiff import day22, day23, day24, day25, day26, operations

HERE = Path(__file__).parent


def leaf(data, requires_grad=True, kind=None):
    return day26.Tensor(data, requires_grad=requires_grad, dtype=kind)


def recorded():
    """Whether an operation is recorded now."""
    found = (day25.Tensor([1.0], requires_grad=True) * 2.0).requires_grad
    assert found == day22.mode.recording
    return found


@pytest.fixture(autouse=True)
def _recording():
    day22.mode.recording = True
    yield
    day22.mode.recording = True


# -- the switch --------------------------------------------------------------------------------


@exercise("Switch")
def test_nested():
    with day26.no_grad():
        assert not recorded(), "something is recorded in no_grad"
        with day26.enable_grad():
            assert recorded(), "nothing is recorded in enable_grad, which is in no_grad"
            with day26.no_grad():
                assert not recorded()
            assert recorded(), "after an inner no_grad recording stayed off"
        assert not recorded(), "after an inner enable_grad recording stayed on"
        with day26.no_grad():
            pass
        assert not recorded(), "leaving a no_grad inside of no_grad switched recording on"
    assert recorded(), "after no_grad recording stayed off"
    with day26.Switch(True), day26.Switch(False):
        assert not recorded()
    assert recorded()


@exercise("Switch")
def test_one_object_again():
    off = day26.no_grad()
    for _ in range(2):
        with off:
            assert not recorded()
        assert recorded(), "the object was used again, and recording stayed off"
    with off:
        with off:
            pass
        assert not recorded(), "an object that was entered inside of itself put back something else"
    on = day26.enable_grad()
    with off, on, off, on:
        assert recorded()
        with off:
            assert not recorded()
        assert recorded(), "an object that was entered inside of itself put back something else"
    assert recorded()


@exercise("Switch")
def test_exceptions():
    class Mine(Exception):
        pass

    with pytest.raises(Mine):
        with day26.no_grad():
            raise Mine
        pytest.fail("the exception was swallowed")
    assert recorded(), "an exception left no_grad, and recording stayed off"
    with day26.no_grad():
        with pytest.raises(Mine), day26.enable_grad():
            raise Mine
        assert not recorded(), "an exception left enable_grad, and recording stayed on"
    assert recorded()


@exercise("Switch")
def test_threads():
    found, go, done = {}, threading.Event(), threading.Event()

    def other():
        found["at the start"] = recorded()
        with day26.no_grad():
            found["in its own no_grad"] = recorded()
            done.set()
            go.wait(10)
        found["at the end"] = recorded()

    with day26.no_grad():
        thread = threading.Thread(target=other)
        thread.start()
        done.wait(10)
        with day26.enable_grad():
            assert recorded(), "another thread's no_grad switched recording off here"
        go.set()
        thread.join(10)
        assert not recorded(), "another thread that left its no_grad switched recording on here"
    wanted = {"at the start": True, "in its own no_grad": False, "at the end": True}
    assert found == wanted, f"a thread that was started in no_grad recorded: {found}"


@exercise("Switch")
def test_decorated_functions():
    @day26.no_grad()
    def f(a, b=2, *rest, **more):
        """What f does."""
        if a:
            assert not recorded()
            with day26.enable_grad():
                f(a - 1)
            assert not recorded(), "a call of itself left another mode behind"
        return recorded(), a, b, rest, more

    assert recorded(), "decorating a function switched recording off"
    assert f(3, 4, 5, c=6) == (False, 3, 4, (5,), {"c": 6}), "arguments or the result were lost"
    assert recorded(), "a call of a decorated function switched recording off"
    assert (f.__name__, f.__doc__) == ("f", "What f does."), "the function's name or docs are lost"

    @day26.no_grad()
    def fails():
        raise KeyError("on purpose")

    with pytest.raises(KeyError):
        fails()
    assert recorded(), "an exception in a decorated function left recording off"

    @day26.enable_grad()
    def on():
        return recorded()

    with day26.no_grad():
        assert on(), "a function in enable_grad recorded nothing"
        assert not recorded()


@exercise("Switch")
def test_a_decorated_method():
    class Model:
        @day26.no_grad()
        def predict(self, x):
            return self, x, recorded()

    model = Model()
    assert model.predict(3) == (model, 3, False)


@exercise("Switch")
def test_decorated_generators():
    @day26.no_grad()
    def steps(n):
        """Counts."""
        for i in range(n):
            assert not recorded(), "a generator in no_grad recorded"
            yield i
        assert not recorded()
        return "end"

    assert steps.__name__ == "steps" and steps.__doc__ == "Counts."
    seen = []
    for i in steps(3):
        assert recorded(), "between two steps of the generator its caller recorded nothing"
        seen.append(i)
    assert seen == [0, 1, 2]
    assert recorded(), "after the generator recording stayed off"

    def outer():
        return (yield from steps(1))

    generator = outer()
    next(generator)
    with pytest.raises(StopIteration) as end:
        next(generator)
    assert end.value.value == "end", f"the generator's return value became {end.value.value!r}"
    with day26.no_grad():
        for _ in steps(2):
            assert not recorded(), "the caller's own no_grad was lost between two steps"


@exercise("Switch")
def test_a_generator_that_is_never_finished():
    @day26.no_grad()
    def steps():
        while True:
            yield

    kept = []
    for _ in range(2):
        generator = steps()
        next(generator)
        kept.append(generator)
        assert recorded(), "a generator that stopped in the middle left recording off"


@exercise("Switch")
def test_what_is_sent_to_a_generator():
    log = []

    @day26.no_grad()
    def echo():
        got = None
        while True:
            try:
                got = yield got
                log.append((got, recorded()))
            except KeyError as error:
                log.append((type(error), recorded()))
                got = "caught"
            except GeneratorExit:
                log.append(("closed", recorded()))
                raise

    generator = echo()
    assert next(generator) is None
    assert generator.send(5) == 5, "what was sent did not come back"
    assert recorded()
    assert generator.throw(KeyError("x")) == "caught", "what was thrown did not come to it"
    assert recorded()
    assert generator.send(6) == 6, "after an exception that it caught, nothing can be sent"
    generator.close()
    assert log == [(5, False), (KeyError, False), (6, False), ("closed", False)], (
        f"the generator saw {log}; it records nothing, whatever wakes it"
    )
    assert recorded()

    @day26.no_grad()
    def fails():
        yield 1
        raise KeyError("on purpose")

    generator = fails()
    next(generator)
    with pytest.raises(KeyError):
        next(generator)
        pytest.fail("the exception of a generator was swallowed")
    assert recorded(), "an exception in a generator left recording off"


@exercise("Switch")
def test_a_generator_keeps_its_own_mode():
    @day26.no_grad()
    def steps():
        yield recorded()
        with day26.enable_grad():
            yield recorded()
            yield recorded()
        yield recorded()

    found = []
    with day26.no_grad():
        for inside in steps():
            found.append(inside)
            assert not recorded(), "the generator's inner enable_grad leaked to its caller"
    assert found == [False, True, True, False], (
        f"the generator was in enable_grad for its second and third step, and saw {found}"
    )
    one, two = steps(), steps()
    found = [next(one), next(one), next(two), next(one), next(two), next(one), next(two)]
    assert found == [False, True, False, True, True, False, True], f"two in turns saw {found}"
    assert recorded()


# -- flags and detach --------------------------------------------------------------------------


@exercise("requires_grad_")
def test_requires_grad(rng):
    x = leaf(rng.normal(3), False)
    before = x * 2.0
    assert x.requires_grad_() is x, "the tensor itself was to be given back"
    assert x.requires_grad and not before.requires_grad
    y = (x * 2.0).sum()
    assert day26.requires_grad_(x, False) is x and not x.requires_grad
    assert not (x * 2.0).requires_grad
    y.backward()
    close(x.grad.data, np.full(3, 2.0), name="grad of what was recorded before")
    x.requires_grad_(True)
    assert x.requires_grad is True


@exercise("requires_grad_")
def test_requires_grad_is_refused(rng):
    for kind in ("int64", "bool", "uint8"):
        x = leaf([1, 0], False, kind)
        with pytest.raises(TypeError) as refusal:
            x.requires_grad_()
            pytest.fail(f"a gradient of {kind} went through: a TypeError was due")
        assert kind in str(refusal.value), f"of which dtype? {refusal.value}"
        assert not x.requires_grad
        assert x.requires_grad_(False) is x, "False is right for every dtype"
    y = leaf(rng.normal(3)) * 2.0
    assert y.requires_grad_() is y
    with pytest.raises(RuntimeError):
        y.requires_grad_(False)
        pytest.fail("the result of an operation was told to require no gradient")
    assert y.requires_grad and y.node is not None
    with day26.no_grad():
        z = leaf(rng.normal(3)) * 2.0
        z.requires_grad_()
    (z * z).sum().backward()
    close(z.grad.data, 2 * z.data, name="grad of a result that was not recorded")


@exercise("detach")
def test_detach(rng):
    x = leaf(rng.normal(2, 3))
    for source in (x, x * 2.0, x.T, leaf(rng.normal(), False), leaf(np.zeros((0, 3)))):
        y = source.detach()
        assert isinstance(y, day26.Tensor) and y is not source
        assert not y.requires_grad and y.node is None and y.grad is None
        assert y.data is source.data or np.shares_memory(y.data, source.data) or not y.numel(), (
            "detach copied the elements"
        )
    y = (x.detach() * x).sum()
    y.backward()
    close(x.grad.data, x.data, name="grad through one of two uses")


@exercise("detach")
def test_detach_shares_the_counter(rng):
    for order in (0, 1):
        x = leaf(rng.normal(3))
        y = day26.detach(x)
        z = y.detach()
        if order:
            assert x._version == 0
        z[0] = 1.0
        y[1] = 2.0
        assert (x._version, y._version, z._version) == (2, 2, 2), (
            f"two changes of one memory are counted {x._version, y._version, z._version} times"
        )
        assert x.tolist()[:2] == [1.0, 2.0]
    assert x.clone()._version == 0


# -- versions ----------------------------------------------------------------------------------


VIEWS = {
    "the tensor": lambda x: x, "T": lambda x: x.T, "a row": lambda x: x[0],
    "an element": lambda x: x[0, 0], "detach": lambda x: x.detach(),
    "reshape": lambda x: x.reshape(-1), "a row of a column": lambda x: x.T[0][1:],
    "unsqueeze": lambda x: x.unsqueeze(0), "split": lambda x: operations.split(x, 1)[1],
    "iteration": lambda x: next(iter(x)), "detach of a view": lambda x: x.T.detach()[0],
}  # fmt: skip


def refuses(y, *, name, what):
    with pytest.raises(RuntimeError) as refusal:
        y.backward(np.ones(y.shape))
        pytest.fail(f"{what}, and backward went through")
    message = str(refusal.value)
    assert name in message and "place" in message, f"which operation, and why? {message}"
    return message


@exercise("Context")
@pytest.mark.parametrize("view", VIEWS)
def test_a_change_through_a_view(view, rng):
    for early in (False, True):
        w, c = leaf(rng.normal(3, 2)), leaf(rng.normal(3, 2), False)
        with day26.no_grad():
            before = VIEWS[view](w if early else c)
        y = w * c * w
        with day26.no_grad():
            target = before if early else VIEWS[view](c)
            target.zero_()
        refuses(y, name="mul", what=f"a saved tensor was changed through {view}")
        assert w.grad is None
        assert (w if early else c)._version == 1 and target._version == 1


@exercise("Context")
def test_a_view_that_requires_a_gradient(rng):
    w = leaf(rng.normal(3, 2))
    part = w.T[0]
    y = part * part
    with day26.no_grad():
        w[2, 0] = 1.0
    refuses(y, name="mul", what="a view was saved, and what it looks at was changed")
    y = w[:2].exp()
    with day26.no_grad():
        w.zero_()
    y.backward(np.ones((2, 2)))


@exercise("Context")
def test_the_message(rng):
    x = leaf(rng.normal(2, 3))
    with day26.no_grad():
        x.add_(1.0)
    y = x.log()
    with day26.no_grad():
        x.add_(1.0).add_(1.0)
    message = refuses(y, name="log", what="x was changed twice")
    assert "(2, 3)" in message, f"which tensor? {message}"
    assert "3" in message.replace("(2, 3)", "") and "1" in message, (
        f"version 3 is there and 1 was saved: {message}"
    )


@exercise("Context")
def test_what_does_no_harm(rng):
    x, c = leaf(rng.normal(3)), leaf(rng.normal(3), False)
    kept = c.data.copy()
    with day26.no_grad():
        c.mul_(2.0)
    y = x * c
    y.backward(np.ones(3))
    close(x.grad.data, 2 * kept, terms=2, scale=4.0, name="grad after a change before the forward")
    c.zero_()
    z = (x + c) * 3.0
    c.fill_(5.0)
    x.grad = None
    z.backward(np.ones(3))
    close(x.grad.data, np.full(3, 3.0), name="grad of a sum, which saves nothing")
    index = leaf([2, 0], False)
    y = x[index]
    index.zero_()
    x.grad = None
    y.backward(np.ones(2))
    close(x.grad.data, np.array([1.0, 0.0, 1.0]), name="grad of a reading whose index was copied")
    y = x * c.clone()
    c.zero_()
    x.grad = None
    y.backward(np.ones(3))
    close(x.grad.data, np.full(3, 5.0), name="grad, a copy was saved and the original changed")


@exercise("Context")
def test_a_saved_result(rng):
    x = leaf(rng.normal(3))
    y = x.exp()
    with day26.no_grad():
        y.detach().add_(1.0)
    refuses(y, name="exp", what="exp keeps its result, which was changed")
    y = x.exp()
    row = y.detach()[0:1]
    z = y.sum()
    del y
    row.zero_()
    refuses(z, name="exp", what="a saved result was changed through a view that outlived it")

    class Sorted(day22.Function):
        """Both results are saved, and the second is one of integers."""

        @staticmethod
        def forward(ctx, x):
            order = np.argsort(x)
            ctx.save_for_backward(order)
            return x[order], order

        @staticmethod
        def backward(ctx, grad, _):
            (order,) = ctx.saved_tensors
            return grad[leaf(np.argsort(order.data), False)]

    values, order = Sorted.apply(x)
    order.zero_()
    refuses(values, name="sorted", what="a saved result of integers was changed")


@exercise("Context")
def test_none_keeps_its_place(rng):
    x, c = leaf(rng.normal(3)), leaf(rng.normal(3), False)
    for y in (x * c, c * x):
        none = [v is None for v in y.node.versions]
        assert none == [s is None for s in y.node.saved], f"versions {y.node.versions}"
        y.backward(np.ones(3))
        assert c._version == 0


@exercise("Context")
def test_a_constant_that_is_a_view(rng):
    class Reversed(day22.Function):
        """Keeps a view that forward made of its second argument."""

        @staticmethod
        def forward(ctx, x, c):
            ctx.save_for_backward(c[::-1])
            return x * c[::-1]

        @staticmethod
        def backward(ctx, grad):
            return grad * ctx.saved_tensors[0], None

    x, c = leaf(rng.normal(3)), leaf(rng.normal(3), False)
    y = Reversed.apply(x, c)
    c.zero_()
    refuses(y, name="reversed", what="forward saved a view of an argument that was changed")


@exercise("Context")
def test_a_retained_graph(rng):
    x = leaf(rng.normal(3))
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward(retain_graph=True)
    with day26.no_grad():
        x.add_(1.0)
    refuses(y, name="mul", what="x changed between two backwards")
    y = (x * x).sum()
    y.backward()
    with day26.no_grad():
        x.add_(1.0)
    with pytest.raises(RuntimeError) as refusal:
        y.backward()
    assert "retain_graph" in str(refusal.value), f"it is freed: {refusal.value}"


@exercise("Context")
def test_the_graph_of_a_gradient(rng):
    """With create_graph a saved result is saved again, by the operations of the backward."""
    x = leaf(rng.normal(3))
    y = x.exp()
    alias = y.detach()
    (first,) = day24.grad(y.sum(), x, create_graph=True)
    (again_,) = day24.grad((first * first).sum(), x, retain_graph=True)
    close(again_.data, 2 * np.exp(2 * x.data), terms=8, scale=8.0 * (1 + np.exp(2 * x.data)),
          name="second derivative")  # fmt: skip
    v = leaf(rng.normal(3))
    (weighted,) = day24.grad(x.exp() + y, x, v, create_graph=True)
    (found,) = day24.grad(weighted.sum(), v, retain_graph=True)
    close(found.data, 2 * np.exp(x.data), terms=4, scale=4.0 * (1 + np.exp(x.data)), name="by v")
    alias.zero_()
    for root, wanted in ((first, x), (weighted, v)):
        with pytest.raises(RuntimeError):
            day24.grad((root * 1.0).sum(), wanted, retain_graph=True)
            pytest.fail("exp's result was changed, and a second derivative was computed from it")


@exercise("Context")
def test_a_checkpoint(rng):
    x = leaf(rng.normal(3))
    y = day25.checkpoint(lambda x: x + 1.0, x * 1.0)
    y.sum().backward()
    inner = x * 1.0
    y = day25.checkpoint(lambda x: x + 1.0, inner)
    with day26.no_grad():
        inner.detach().zero_()
    refuses(y, name="checkpoint", what="the argument of a checkpoint was changed")


@exercise("Context")
@settings(max_examples=40)
@given(data=st.data())
def test_any_views(data):
    """A change is noticed if and only if it is in the memory that was saved."""
    kinds = list(VIEWS.values())
    bases = [leaf(np.arange(1.0, 7.0).reshape(3, 2), False) for _ in range(2)]
    pool = [(0, bases[0]), (1, bases[1])]
    for _ in range(data.draw(st.integers(0, 4))):
        which, t = pool[data.draw(st.integers(0, len(pool) - 1))]
        if t.ndim == 2 and min(t.shape) >= 2:
            pool.append((which, data.draw(st.sampled_from(kinds))(t)))
    saved_of, saved = pool[data.draw(st.integers(0, len(pool) - 1))]
    changed_of, changed = pool[data.draw(st.integers(0, len(pool) - 1))]
    x = leaf(np.ones(saved.shape))
    y = (x * saved).sum()
    changed.fill_(9.0)
    if saved_of == changed_of:
        refuses(y, name="mul", what="memory that was saved was changed through another view")
    else:
        y.backward()


@exercise("Context")
def test_versions_without_recording(rng):
    x = leaf(rng.normal(3, 2))
    with day26.no_grad():
        row = x[0]
        row.zero_()
        y = x * x
    assert x._version == 1, "a view that was made in no_grad has a counter of its own"
    assert y._version == 0 and not y.requires_grad


# -- writing -----------------------------------------------------------------------------------


@exercise("write_")
@pytest.mark.parametrize(
    "index",
    [0, -1, (1, 2), slice(1, None), (slice(None), 0), ..., (..., 1), None, [0, 1], ([1, 0], [2, 2]),
     (0, slice(None), [1, 2]), (slice(None, None, 2), slice(0, 0))],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("wide", [False, True])
def test_writing_as_torch_does(index, wide, rng):
    values = np.array(rng.normal(2, 3, 4))
    x, twin = leaf(values, False), torch.tensor(values)
    place = twin[index]
    value = np.array(rng.normal(*place.shape)) if wide else 2.5
    x[index] = leaf(value, False) if wide else value
    twin[index] = torch.tensor(value) if wide else value
    close(x.data, twin.numpy(), name=f"x[{index}] = a value of {np.shape(value)}")
    assert x._version == 1, f"one change is counted {x._version} times"


@exercise("write_")
def test_masks_arrays_and_broadcasting(rng):
    x = leaf(rng.normal(2, 3), False)
    right = x.data.copy()
    x[x > 0] = 0.0
    right[right > 0] = 0.0
    close(x.data, right, name="x[x > 0] = 0")
    x[:, 1:] = np.array([[5.0], [6.0]])
    right[:, 1:] = [[5.0], [6.0]]
    close(x.data, right, name="a column in two columns")
    x[1:] = x[:1]
    right[1:] = right[:1]
    close(x.data, right, name="a row of x itself in x")
    assert x._version == 3, f"three changes are counted {x._version} times"
    for view in (x.T, x[0], x.reshape(-1)):
        view[0] = 9.0
    assert x._version == 6, f"six changes, three of them of views, are counted {x._version} times"
    assert x.tolist()[0][0] == 9.0
    scalar = leaf(2.0, False)
    scalar[...] = 3.0
    assert scalar.item() == 3.0
    assert day26.write_("mine", x, 0) is x and not x.data.any()


@exercise("write_")
def test_dtypes(rng):
    for kind in ("float16", "float32", "int64", "bool"):
        x = leaf([0, 1], False, kind)
        x[0] = 2.5
        assert x.dtype == np.dtype(kind) and x.data[0] == np.array(2.5).astype(kind)
        x.copy_(leaf([1.0, 0.0], False))
        assert x.tolist() == [1, 0]
    half = leaf([1.0], False, "float32")
    half.mul_(leaf([2.0], False, "float64"))
    assert half.dtype == np.float32 and half.item() == 2.0
    whole = leaf([1, 2], False)
    with pytest.raises(RuntimeError):
        whole.mul_(2.5)
        pytest.fail("integers were multiplied in place by 2.5: a RuntimeError was due")
    assert whole._version == 0


@exercise("write_")
def test_methods(rng):
    values, other = np.array(rng.normal(2, 3)), np.array(rng.normal(3)) + 3.0
    x = leaf(values, False)
    twin = torch.tensor(values)
    b, t = leaf(other, False), torch.tensor(other)
    array = x.data
    for mine, theirs in (
        (x.add_(b), twin.add_(t)), (x.sub_(b, alpha=0.5), twin.sub_(t, alpha=0.5)),
        (x.mul_(2.0), twin.mul_(2.0)), (x.div_(b), twin.div_(t)), (x.add_(1.0), twin.add_(1.0)),
    ):  # fmt: skip
        assert mine is x and theirs is twin
    close(x.data, twin.numpy(), terms=16, scale=16.0, name="five changes in a row")
    assert x.data is array, "the tensor has another array now: views would not see the change"
    assert x._version == 5, f"five changes are counted {x._version} times"
    x.zero_()
    assert not x.data.any()
    with pytest.raises(ValueError):
        b.add_(x)
        pytest.fail("(3,) became (2, 3) in place")


@exercise("write_")
def test_changes_that_no_graph_would_know(rng):
    w, c = leaf(rng.normal(3)), leaf(rng.normal(3), False)
    before = w.data.copy()
    result = w * 2.0
    attempts = {
        "a leaf that requires a gradient": lambda: w.zero_(),
        "a view of such a leaf": lambda: w[1:].fill_(3.0),
        "an element of such a leaf": lambda: w.__setitem__(0, 3.0),
        "the result of an operation": lambda: result.add_(1.0),
        "a value that requires a gradient": lambda: c.copy_(w),
        "an operand that requires a gradient": lambda: c.mul_(w),
        "an element's value that requires a gradient": lambda: c.__setitem__(0, w[0]),
    }
    for what, attempt in attempts.items():
        kept = c.data.copy()
        with pytest.raises(RuntimeError):
            attempt()
            pytest.fail(f"{what}: the change went through, and a graph is none the wiser")
        assert np.array_equal(w.data, before) and np.array_equal(c.data, kept), (
            f"{what}: refused, and something was changed"
        )
        assert w._version == 0 and c._version == 0, f"{what}: refused, and it was counted"
    with day26.no_grad():
        for attempt in attempts.values():
            attempt()
    assert w.requires_grad and w.is_leaf, "a leaf that was changed in no_grad is no leaf any more"
    c.zero_()
    w.detach().zero_()
    assert not w.data.any()


@exercise("write_")
def test_a_step_of_training(rng):
    values = np.array(rng.normal(3))
    w, twin = leaf(values), torch.tensor(values, requires_grad=True)
    for _ in range(3):
        for t, off in ((w, day26.no_grad), (twin, torch.no_grad)):
            t.grad = None
            (t * t * t).sum().backward()
            with off():
                t.sub_(t.grad, alpha=0.01)
    close(w.data, twin.detach().numpy(), terms=64, scale=32.0, name="a weight after three steps")


@exercise("write_")
def test_values_that_do_not_fit(rng):
    x = leaf(rng.normal(2, 3), False)
    before = x.data.copy()
    for index, shape, place in ((..., (2,), (2, 3)), (0, (2,), (3,)), ([1, 0], (3, 3), (2, 3)),
                                ((slice(None), 0), (3,), (2,))):  # fmt: skip
        with pytest.raises(ValueError) as refusal:
            x[index] = leaf(rng.normal(*shape), False)
            pytest.fail(f"a value of {shape} went into a place of {place}")
        assert str(shape) in str(refusal.value) and str(place) in str(refusal.value), (
            f"both shapes, {shape} and {place}, were to be named: {refusal.value}"
        )
    with pytest.raises(ValueError) as refusal:
        x.copy_(leaf(rng.normal(5), False))
    assert "copy_" in str(refusal.value), f"which operation? {refusal.value}"
    for value in ([1.0, 2.0], np.zeros(2)):
        with pytest.raises(ValueError) as refusal:
            x[0] = value
            pytest.fail("two elements went into a row of three")
        assert "(2,)" in str(refusal.value), f"of which shape is the value? {refusal.value}"
    with pytest.raises(IndexError):
        x[2] = 1.0
    assert x._version == 0, f"nothing was changed, and {x._version} changes are counted"
    assert np.array_equal(x.data, before), "what was refused has changed x"


@exercise("write_")
def test_expanded_views(rng):
    x = leaf(rng.normal(1, 3), False)
    wide = x.expand(4, 3)
    for change in (lambda: wide.zero_(), lambda: wide.__setitem__(0, 1.0), lambda: wide.add_(1.0)):
        with pytest.raises(RuntimeError) as refusal:
            change()
            pytest.fail("an expanded view was written to: one place stands for many elements")
        assert "(4, 3)" in str(refusal.value), f"of which shape? {refusal.value}"
    assert x._version == 0, f"nothing was changed, and {x._version} changes are counted"
    x.zero_()
    assert wide._version == 1, f"one change is counted {wide._version} times"
    assert not wide.data.any()


# -- day 23, again -----------------------------------------------------------------------------


class Today:
    """Days 22 and 23 with today's Tensor."""

    def __getattr__(self, name):
        if name == "Tensor":
            return day26.Tensor
        return getattr(day23 if hasattr(day23, name) else day22, name)


_old = again(HERE / "test_day23.py", Today(), "Context", only=["Context"])
globals().update({k: t for k, t in _old.items() if "peak" not in k and "long" not in k})
