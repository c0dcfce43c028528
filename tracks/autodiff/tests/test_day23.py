"""Day 23: what a graph keeps, that it lets go of it, and what operations need not keep."""

import contextlib
import gc
import weakref
from typing import ClassVar

import numpy as np
import pytest
import torch

from harness.testing import close, exercise, watch
from tracks.autodiff import day22, day23, operations

SIDE = 20_000
LAYERS = 40
DEPTH = 5_000


def leaf(data, requires_grad=True, kind=None):
    return day23.Tensor(data, requires_grad=requires_grad, dtype=kind)


class Saves(day22.Function):
    """x · y · factor; what it saves is said by ``what``, a function of (x, y, result)."""

    contexts: ClassVar[list] = []

    @staticmethod
    def forward(ctx, x, y, factor=1.0, what=lambda x, y, result: ()):
        Saves.contexts.append(ctx)
        result = x * y * factor
        ctx.save_for_backward(*what(x, y, result))
        return result

    @staticmethod
    def backward(ctx, grad):
        ctx.saved_tensors  # noqa: B018
        return grad, grad, None


class Scaled(day22.Function):
    """x times an array that is no Tensor."""

    @staticmethod
    def forward(ctx, x, factor):
        ctx.save_for_backward(factor)
        return x * factor


def saved_by(x, y, what):
    result = Saves.apply(x, y, 2.0, what=what)
    return result, result.node.saved_tensors


@contextlib.contextmanager
def no_collector():
    """What is freed in here is freed by itself, not found by Python's garbage collector."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


# -- what is kept ------------------------------------------------------------------------------


@exercise("Context")
def test_an_argument_is_kept_as_itself(rng):
    x, y = leaf(rng.normal(3)), leaf(rng.normal(3), requires_grad=False)
    _, saved = saved_by(x, y, lambda x, y, r: (y, x))
    assert len(saved) == 2, f"two arrays were saved and {len(saved)} came back"
    assert saved[0] is y and saved[1] is x, "an argument came back as another Tensor, or elsewhere"
    inner = x * 2.0
    _, saved = saved_by(inner, x, lambda x, y, r: (x, y))
    assert saved[0] is inner, "an argument that an operation made came back as another Tensor"
    saved = Saves.apply(x, y, what=lambda x, y, r: (y,)).node.saved_tensors
    assert saved[0] is y, "the last of the arguments came back as another Tensor"


@exercise("Context")
def test_arguments_on_one_array_are_told_apart(rng):
    x = leaf(rng.normal(3))
    other = x.detach()
    for pair in ((x, other), (other, x)):
        _, saved = saved_by(*pair, lambda x, y, r: (x, y))
        assert saved[0] is pair[0] and saved[1] is pair[1], (
            "x and x.detach() lie on one array, and one came back in the other's place"
        )
    twin = leaf(x.data)
    _, saved = saved_by(x, twin, lambda x, y, r: (y,))
    assert saved[0] is twin, "a tensor with equal elements came back: which one was saved?"


@exercise("Context")
@pytest.mark.parametrize("shape", [(), (3,), (0, 2)], ids=str)
def test_a_result_comes_back_with_its_past(shape, rng):
    x, y = leaf(rng.normal(*shape)), leaf(rng.normal(*shape))
    result, saved = saved_by(x, y, lambda x, y, r: (r,))
    assert isinstance(saved[0], day23.Tensor), f"a result came back as {type(saved[0]).__name__}"
    close(saved[0].data, result.data, name="the saved result")
    assert saved[0].node is result.node and saved[0].index == 0, "its node is another one"
    assert saved[0].requires_grad
    assert not any(isinstance(kept, day22.Tensor) for kept in result.node.saved), (
        "the node holds a Tensor of its own result, which holds the node: a cycle"
    )
    pair = day22.SinCos.apply(x)
    saved = pair[0].node.saved_tensors
    assert [s.index for s in saved] == [0, 1], "which of two results was saved is lost"
    close(saved[1].data, np.cos(x.data), name="the second saved result")


@exercise("Context")
def test_anything_else_is_a_constant(rng):
    x, y = leaf(rng.normal(3)), leaf(rng.normal(3))
    _, saved = saved_by(x, y, lambda x, y, r: (x > 0, None, x + 1, np.float64(2.5), y))
    mask, nothing, shifted, number, argument = saved
    assert nothing is None, "None is to keep its place"
    assert mask.dtype == bool and not mask.requires_grad and mask.node is None
    close(shifted.data, x.data + 1, name="an array that is neither argument nor result")
    assert shifted.node is None and not shifted.requires_grad
    assert isinstance(number.data, np.ndarray) and number.item() == 2.5
    assert argument is y
    (factor,) = Scaled.apply(x, np.full(3, 2.0)).node.saved_tensors
    assert isinstance(factor, day23.Tensor), (
        f"an argument that is an array, no Tensor, came back as {type(factor).__name__}"
    )
    close(factor.data, np.full(3, 2.0), name="an argument that is an array")
    values, indices = operations.max(x * y, 0)
    (index,) = values.node.saved_tensors
    assert index.node is None and not index.requires_grad
    assert index.tolist() == [indices.item()]


@exercise("Context")
def test_a_result_of_integers_has_no_past(rng):
    class Both(day22.Function):
        @staticmethod
        def forward(ctx, x):
            where = np.argsort(x)
            ctx.save_for_backward(where)
            return x[where], where

    values, _ = Both.apply(leaf(rng.normal(4)))
    (saved,) = values.node.saved_tensors
    assert saved.node is None and not saved.requires_grad, "integers came back with a node"


@exercise("Context")
def test_nothing_is_kept_for_nobody(rng):
    for x in (leaf(rng.normal(3), requires_grad=False), leaf(rng.normal(3))):
        Saves.contexts.clear()
        recording = x.requires_grad
        with day22.during_backward() if recording else contextlib.nullcontext():
            Saves.apply(x, x, what=lambda x, y, r: (x, y, r, x + 1))
        ctx = Saves.contexts[0]
        assert len(ctx.saved) == 0, "something is kept for a backward that will never come"
    Saves.contexts.clear()


@exercise("Context")
def test_what_was_only_for_forward_is_gone(rng):
    x = leaf(rng.normal(3))
    result, _ = saved_by(x, leaf(rng.normal(3)), lambda x, y, r: (x,))
    Saves.contexts.clear()
    node = result.node
    assert len(node.inputs) == 0 and len(node.taken) == 0, "the context still holds all arguments"
    assert [shape for shape, _ in node.outputs] == [(3,)], "super().finish was not called"


# -- letting go --------------------------------------------------------------------------------


@exercise("Context")
def test_a_second_backward_is_refused_with_its_reason(rng):
    x = leaf(rng.normal(3))
    y = x.exp()
    y.backward(np.ones(3))
    before = x.grad.data.copy()
    for again in range(2):
        with pytest.raises(RuntimeError) as refusal:
            y.backward(np.ones(3))
            pytest.fail(f"backward number {again + 2} went through: a RuntimeError was due")
        message = str(refusal.value)
        assert "exp" in message and "retain_graph" in message, (
            f"which operation, and what is to be done? {message}"
        )
    close(x.grad.data, before, name="grad after the refusal")


@exercise("Context")
def test_a_retained_graph_can_run_again(rng):
    x, y = leaf(rng.normal(3)), leaf(rng.normal(3))
    z = (x * y).exp() * x
    g = np.array(rng.normal(3))
    a, b = x.data, y.data
    right = (np.exp(a * b) + a * b * np.exp(a * b)) * g
    for times in (1, 2, 3):
        z.backward(g, retain_graph=times < 3)
        close(x.grad.data, times * right, terms=20, scale=8.0 * (1 + np.abs(right)),
              name=f"grad after {times} backwards")  # fmt: skip
    with pytest.raises(RuntimeError):
        z.backward(g)
        pytest.fail("the graph was not retained the last time, and it ran again")


@exercise("Context")
def test_a_node_that_saved_nothing_can_run_again(rng):
    x = leaf(rng.normal(2, 3))
    y = (x + x).sum()
    for times in (1, 2):
        y.backward()
        close(x.grad.data, np.full((2, 3), 2.0 * times), name=f"grad after {times} backwards")
    x.grad = None
    y = Saves.apply(x, x, 1.0)  # saves nothing, and asks for it in its backward
    for times in (1, 2):
        y.backward(np.ones((2, 3)))
        close(x.grad.data, np.full((2, 3), 2.0 * times), name=f"grad after {times} backwards")


@exercise("Context")
def test_a_shared_part_is_freed_by_the_first(rng):
    x = leaf(rng.normal(3))
    shared = x.exp()
    one, two = shared.sum(), (shared * 2.0).sum()
    one.backward(retain_graph=True)
    two.backward()
    with pytest.raises(RuntimeError):
        one.backward()
        pytest.fail("a backward ran through a part that another one had freed")


@exercise("Context")
def test_arrays_are_freed_by_the_backward(rng):
    with no_collector():
        x = leaf(rng.normal(100))
        y, watched = x, []
        for _ in range(5):
            e = y.exp()
            small = e * 0.01
            y = small * small
            watched += [weakref.ref(e.data), weakref.ref(small.data)]
        loss = y.sum()
        del y, e, small
        assert all(ref() is not None for ref in watched), "what backward needs is gone already"
        loss.backward()
        left = sum(ref() is not None for ref in watched)
        assert left == 0, f"{left} of {len(watched)} arrays outlived the backward; loss is alive"
        assert loss.node is not None


@exercise("Context")
def test_a_graph_that_is_dropped_is_freed_at_once(rng):
    """Without the collector: no node may hold what holds the node."""
    operations_ = {
        "exp": lambda x: x.exp(), "softmax": lambda x: x.softmax(0), "x · x": lambda x: x * x,
        "sin": operations.sin, "relu": lambda x: x.relu(), "max": lambda x: x.max(0).values,
        "sqrt": lambda x: (x * x).sqrt(),
    }  # fmt: skip
    for name, f in operations_.items():
        with no_collector():
            x = leaf(rng.normal(100))
            y = f(x * 1.0)
            array, node = weakref.ref(y.data), y.node
            saved = [weakref.ref(t.data) for t in node.saved_tensors if t is not None]
            del y, node
            assert array() is None, f"{name}: the result is not freed when nobody has it any more"
            assert all(ref() is None for ref in saved), f"{name}: what it saved is not freed"


@exercise("Context")
def test_peak_memory(rng):
    """Each layer has a weight of its own: gradients come as what was saved goes."""
    weights = [leaf(np.full(SIDE, 0.99)) for _ in range(LAYERS)]
    x = leaf(np.ones(SIDE))

    def train(retain_graph):
        y = x
        for w in weights:
            y = y * w
        y.sum().backward(retain_graph=retain_graph)

    peaks = []
    for retain_graph in (True, False):
        for w in (*weights, x):
            w.grad = None
        _, seen = watch(train, retain_graph)
        peaks.append(seen.peak_bytes)
    kept, freed = peaks
    assert freed <= 0.6 * kept, (
        f"the peak is {freed / 1e6:.1f} MB where the graph is freed and {kept / 1e6:.1f} MB where "
        f"it is retained, {freed / kept:.2f} times as much; at most 0.6 times is asked"
    )


@exercise("Context")
def test_a_long_chain_is_freed():
    x = leaf(np.ones(2))
    y = x
    for _ in range(DEPTH):
        y = y * 1.0
    y.backward(np.ones(2))
    close(x.grad.data, np.ones(2), name="grad")
    del y


# -- saved_bytes -------------------------------------------------------------------------------


def count(right, *roots, what):
    found = day23.saved_bytes(*roots)
    assert found == right, f"{what}: {found} bytes are counted, {right} are kept"


@exercise("saved_bytes")
def test_bytes_of_small_graphs(rng):
    x, y = leaf(rng.normal(10, 10)), leaf(rng.normal(10, 10))
    half = leaf(rng.normal(10), kind="float16")
    count(0, x, what="a leaf")
    count(0, x + y, what="a sum keeps nothing")
    count(800, x.exp(), what="exp")
    count(20, half.exp(), what="exp of float16")
    count(1600, x / y, what="a quotient")
    count(1600, x.exp() + y.exp(), what="two nodes below a sum")
    count(0, x.detach().exp(), what="nothing requires a gradient")
    count(0, what="no roots")
    z = x.exp()
    z.backward(np.ones((10, 10)))
    count(0, z, what="after a backward")


@exercise("saved_bytes")
def test_each_memory_once(rng):
    x, y = leaf(rng.normal(10, 10)), leaf(rng.normal(10, 10))
    e = x.exp()
    count(800, x / x, what="x / x keeps x twice")
    count(800, e.log(), what="exp and log keep one array")
    count(800, e, e, e.log(), what="three roots with one array")
    count(1600, x.exp(), y.exp(), what="two roots")
    count(1600, e, x.exp(), what="two arrays with equal elements")
    count(800, e.T.log(), what="a transposed view of what exp keeps")


@exercise("saved_bytes")
def test_a_view_keeps_all_of_its_memory(rng):
    x = leaf(rng.normal(10, 10))
    inner = x + 0.0
    count(800, inner[0].log(), what="log of one row of a tensor of 10")
    count(80, x[0].clone().log(), what="log of a copied row")
    row = leaf(rng.normal(1, 10)) + 0.0
    count(80, row.expand(1000, 10).log(), what="log of 10 elements expanded to 10000")
    count(800, inner.T[2:5].log(), inner[0].log(), what="two roots with views of one memory")


@exercise("saved_bytes")
def test_a_long_graph_is_counted():
    y = leaf(np.ones(2))
    for _ in range(DEPTH):
        y = y * 1.0
    found = day23.saved_bytes(y)
    assert found == 8 * DEPTH, f"{DEPTH} factors of 8 bytes are {found} bytes"
    y.backward(np.ones(2))


# -- operations that save little ---------------------------------------------------------------


def check(name, mine, theirs, rng, *inputs, wants=None):
    inputs = [np.array(x) for x in inputs]
    wants = wants or [True] * len(inputs)
    leaves = [leaf(x, w) for x, w in zip(inputs, wants, strict=True)]
    twins = [torch.tensor(x, requires_grad=w) for x, w in zip(inputs, wants, strict=True)]
    result, wanted = mine(*leaves), theirs(*twins)
    close(result.data, wanted.detach().numpy(), terms=8, scale=8.0, name=name)
    g = np.array(rng.normal(*result.shape))
    result.backward(g)
    wanted.backward(torch.tensor(g))
    for which, a, b in zip(("first", "second", "third"), leaves, twins, strict=False):
        assert (a.grad is None) == (b.grad is None), f"{name}: the {which} grad is {a.grad}"
        if a.grad is not None:
            close(a.grad.data, b.grad.numpy(), terms=g.size + 8, scale=8.0,
                  name=f"{name}: gradient of the {which}")  # fmt: skip


def only_tensors(name, result, rng):
    shares = [s for s in result.node.shares([leaf(rng.normal(*result.shape))]) if s is not None]
    assert all(s.requires_grad for s in shares), (
        f"{name}: the backward left the engine; it is to be written with Tensor operations"
    )


SHAPES = [((2, 3), (2, 1)), ((3,), (3,)), ((2, 3), ()), ((4, 2, 3), (3,)), ((2, 1), (1, 3)),
          ((0, 3), (3,)), ((), ())]  # fmt: skip


@exercise("Mul")
@pytest.mark.parametrize(("a", "b"), SHAPES, ids=str)
def test_mul(a, b, rng):
    for wants in ((True, True), (True, False), (False, True)):
        check(f"{a} times {b}, gradients {wants}", day23.Mul.apply, torch.mul, rng,
              rng.normal(*a), rng.normal(*b), wants=wants)  # fmt: skip
    only_tensors("Mul", day23.Mul.apply(leaf(rng.normal(*a)), leaf(rng.normal(*b))), rng)


@exercise("Mul")
def test_mul_keeps_what_it_needs(rng):
    x, y = leaf(rng.normal(10, 10)), leaf(rng.normal(10), requires_grad=False)
    for pair in ((x, y), (y, x)):
        found = day23.saved_bytes(day23.Mul.apply(*pair))
        assert found == 80, (
            f"x (10, 10) times y (10,), which needs no gradient: {found} bytes are kept, y has 80"
        )
    both = leaf(rng.normal(10))
    found = day23.saved_bytes(day23.Mul.apply(x, both))
    assert found == 880, f"both need a gradient: {found} bytes are kept, the operands have 880"
    check("x · x", lambda x: day23.Mul.apply(x, x), lambda x: x * x, rng, rng.normal(3))


@exercise("Relu")
def test_relu(rng):
    for shape in ((), (5,), (2, 0), (3, 4)):
        x = np.array(rng.normal(*shape))
        check(f"relu of {shape}", day23.Relu.apply, torch.relu, rng, x)
    check("relu at 0", day23.Relu.apply, torch.relu, rng, [0.0, -0.0, 1e-300, -1e-300])
    only_tensors("Relu", day23.Relu.apply(leaf(rng.normal(3))), rng)
    found = day23.Relu.apply(leaf([np.nan, np.inf, -np.inf]))
    close(found.data, np.array([np.nan, np.inf, 0.0]), dtype=np.float32, name="relu of nan and inf")
    x = leaf([np.inf, -np.inf, 1.0])
    day23.Relu.apply(x).backward([1.0, np.inf, np.inf])
    close(x.grad.data, np.array([1.0, 0.0, np.inf]), dtype=np.float32,
          name="where x is below 0 an infinite gradient becomes 0: gradient")  # fmt: skip
    half = day23.Relu.apply(leaf(rng.normal(3), kind="float16"))
    assert half.dtype == np.float16, f"relu of float16 is {half.dtype}"


@exercise("Relu")
def test_relu_adds_nothing_to_a_graph(rng):
    x, w = leaf(rng.normal(10, 10)), leaf(rng.normal(10, 10))
    for name, after in {"a product": lambda t: day22.Mul.apply(t, w),
                        "a matrix product": lambda t: t @ w}.items():  # fmt: skip
        without, with_ = after(x * 2.0), after(day23.Relu.apply(x * 2.0))
        a, b = day23.saved_bytes(without), day23.saved_bytes(with_)
        assert b == a, f"before {name} relu keeps {b - a} bytes more; {a} are kept without it"


@exercise("Linear")
@pytest.mark.parametrize("sizes", [(5, 3, 4), (1, 1, 1), (0, 3, 2), (4, 0, 2), (4, 3, 0)], ids=str)
def test_linear(sizes, rng):
    n, k, m = sizes
    f = torch.nn.functional.linear
    x, w, b = rng.normal(n, k), rng.normal(m, k), rng.normal(m)
    check(f"linear of {sizes}", day23.Linear.apply, f, rng, x, w, b)
    check(f"linear of {sizes} without a bias", lambda x, w: day23.Linear.apply(x, w, None), f, rng,
          x, w)  # fmt: skip
    only_tensors("Linear", day23.Linear.apply(leaf(x), leaf(w), leaf(b)), rng)


@exercise("Linear")
def test_linear_keeps_and_computes_what_is_needed(rng):
    n, k, m = 10, 20, 30
    arrays = rng.normal(n, k), rng.normal(m, k), rng.normal(m)
    for wants in [(a, b, c) for a in (0, 1) for b in (0, 1) for c in (0, 1)][1:]:
        x, w, b = (leaf(t, bool(want)) for t, want in zip(arrays, wants, strict=True))
        y = day23.Linear.apply(x, w, b)
        right = 8 * (n * k * wants[1] + m * k * wants[0])
        found = day23.saved_bytes(y)
        assert found == right, (
            f"x, weight and bias need gradients {wants}: {found} bytes are kept, "
            f"{right} are needed; x has {8 * n * k}, the weight {8 * m * k}"
        )
        shares = list(day23.Linear.backward(y.node, leaf(np.ones((n, m)), False)))
        there = tuple(int(s is not None) for s in shares)
        assert there == wants, f"gradients {wants} are needed, and shares {there} were made"
        check(f"linear, gradients {wants}", day23.Linear.apply, torch.nn.functional.linear, rng,
              *arrays, wants=[bool(w) for w in wants])  # fmt: skip


@exercise("Linear")
def test_a_network(rng):
    """Everything of today at once: two layers against torch, and nothing left in the end."""
    arrays = [rng.normal(6, 4), rng.normal(5, 4), rng.normal(5), rng.normal(3, 5), rng.normal(3)]
    target = rng.integers(0, 3, 6)

    def mine(x, w1, b1, w2, b2):
        hidden = day23.Linear.apply(x, w1, b1).relu()
        logits = day23.Linear.apply(hidden, w2, b2)
        return operations.cross_entropy(logits, leaf(target, False))

    def theirs(x, w1, b1, w2, b2):
        linear = torch.nn.functional.linear
        logits = linear(linear(x, w1, b1).relu(), w2, b2)
        return torch.nn.functional.cross_entropy(logits, torch.tensor(target))

    check("a network", mine, theirs, rng, *arrays)
    loss = mine(*(leaf(a) for a in arrays))
    assert day23.saved_bytes(loss) > 0
    loss.backward()
    assert day23.saved_bytes(loss) == 0, "the graph still keeps something after its backward"
