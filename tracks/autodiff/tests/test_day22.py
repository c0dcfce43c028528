"""Day 22: one place that records graphs, backwards on Tensors, and week 3 on the new engine."""

import contextlib
import importlib
import warnings
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.testing import again, close, exercise
from tracks.autodiff import day15, day16, day17, day18, day19, day20, day21, day22

HERE = Path(__file__).parent
DEPTH = 20_000


def leaf(data, requires_grad=True, kind=None):
    return day22.Tensor(data, requires_grad=requires_grad, dtype=kind)


def ones(shape):
    return np.ones(shape)


class Spy(day22.Function):
    """x · 2; notes what its forward is given."""

    calls: ClassVar[list] = []

    @staticmethod
    def forward(ctx, *args, **options):
        Spy.calls.append((ctx, args, options))
        return args[0] * 2.0

    @staticmethod
    def backward(ctx, grad):
        return (grad * 2.0, *(None for _ in ctx.edges[1:]))


class Parts(day22.Function):
    """Three results: x · 2, where the largest is (int64), x · 3."""

    seen: ClassVar[list] = []

    @staticmethod
    def forward(ctx, x, materialize=True):
        ctx.set_materialize_grads(materialize)
        return x * 2.0, np.asarray(x.argmax()), x * 3.0

    @staticmethod
    def backward(ctx, double, _, triple):
        Parts.seen.append((double, triple))
        shares = [g * f for g, f in ((double, 2.0), (triple, 3.0)) if g is not None]
        return shares[0] + shares[1] if len(shares) == 2 else shares[0]


# -- Function ----------------------------------------------------------------------------------


@exercise("Function")
def test_forward_gets_arrays_and_options(rng):
    Spy.calls.clear()
    x, index = leaf(rng.normal(2, 3)), leaf([1, 2], requires_grad=False)
    Spy.apply(x, index, 7, None, "text", size=(4,))
    assert len(Spy.calls) == 1, f"forward was called {len(Spy.calls)} times"
    ctx, args, options = Spy.calls[0]
    assert isinstance(ctx, day22.Context), f"the first argument is a {type(ctx).__name__}"
    kinds = [type(a).__name__ for a in args]
    assert kinds == ["ndarray", "ndarray", "int", "NoneType", "str"], (
        f"forward got {kinds}: tensors come as arrays, all else as it is"
    )
    close(args[0], x.data, name="the first argument of forward")
    assert args[0] is x.data, "the tensor's array was copied"
    assert options == {"size": (4,)}, f"the options came as {options}"


@exercise("Function")
def test_each_argument_is_an_array_object_of_its_own(rng):
    Spy.calls.clear()
    x = leaf(rng.normal(3))
    Spy.apply(x, x.detach())
    _, (a, b), _ = Spy.calls[0]
    assert a is not b and np.shares_memory(a, b), (
        "two tensors on one array: ctx.arrays() gives each an array object of its own"
    )


@exercise("Function")
def test_the_result_remembers_the_call(rng):
    Spy.calls.clear()
    x = leaf(rng.normal(3))
    y = Spy.apply(x, 5)
    ctx = Spy.calls[0][0]
    close(y.data, 2 * x.data, name="the result")
    assert isinstance(y, day22.Tensor), f"apply gave a {type(y).__name__}"
    assert y.requires_grad and y.grad is None
    assert y.node is ctx and y.index == 0, "the node of the result is not the call's context"
    assert (y.op, y.parents) == ("spy", (x,)), f"op {y.op!r}, parents {y.parents}"
    again_ = Spy.apply(x, 5)
    assert again_.node is not y.node, "two calls have one context"


@exercise("Function")
def test_the_array_of_forward_is_the_results(rng):
    made = []

    class Made(day22.Function):
        @staticmethod
        def forward(ctx, x):
            made.append(x + 1)
            return made[-1]

    y = Made.apply(leaf(rng.normal(2)))
    assert y.data is made[0], "the array that forward gave was copied"


@exercise("Function")
def test_nothing_is_recorded_where_nothing_is_needed(rng):
    x, y = leaf(rng.normal(3), requires_grad=False), leaf(rng.normal(3))
    for what, result in [("no argument requires a gradient", Spy.apply(x, 1)),
                         ("only an option does", Spy.apply(x, other=y))]:  # fmt: skip
        assert not result.requires_grad and result.node is None, f"{what}, and it was recorded"
        assert result.op == "" and result.parents == ()
    with day22.during_backward():
        result = Spy.apply(y)
    assert not result.requires_grad and result.node is None, "recorded while a backward runs"
    assert Spy.apply(x, y).requires_grad, "the second argument requires a gradient"


@exercise("Function")
def test_several_results(rng):
    x = leaf(rng.normal(4))
    found = Parts.apply(x)
    assert isinstance(found, tuple) and len(found) == 3, f"three results came as {found!r}"
    double, where, triple = found
    close(double.data, 2 * x.data, name="the first result")
    close(triple.data, 3 * x.data, name="the third result")
    assert where.item() == int(x.data.argmax())
    assert double.node is triple.node is not None, "the results of one call have one node"
    assert (double.index, triple.index) == (0, 2), (
        f"the indices are {double.index} and {triple.index}: which result of three is it?"
    )
    assert not where.requires_grad and where.node is None, "an integer requires a gradient"
    plain = Parts.apply(leaf(rng.normal(4), requires_grad=False))
    assert not any(part.requires_grad for part in plain)


@exercise("Function")
def test_one_result_in_a_tuple_stays_in_a_tuple(rng):
    class Alone(day22.Function):
        @staticmethod
        def forward(ctx, x):
            return (x * 1.0,)

    found = Alone.apply(leaf(rng.normal(2)))
    assert isinstance(found, tuple) and len(found) == 1, f"a tuple of one came back as {found!r}"


@exercise("Function")
def test_numbers_become_arrays():
    class Total(day22.Function):
        @staticmethod
        def forward(ctx, x):
            return x.sum()

    y = Total.apply(leaf([1.0, 2.0]))
    assert isinstance(y.data, np.ndarray), f"a numpy scalar stayed a {type(y.data).__name__}"
    assert y.shape == () and y.dtype == np.float32 and y.requires_grad


@exercise("Function")
def test_a_later_class_stays_itself(rng):
    class Node(day22.Context):
        pass

    class Later(day22.Tensor):
        __slots__ = ()
        Context = Node

    x = Later(rng.normal(2), requires_grad=True)
    for args in [(x,), (3, x), (x, leaf(rng.normal(2)))]:
        Spy.calls.clear()

        class Second(Spy):
            @staticmethod
            def forward(ctx, *args):
                return x.data * 1.0

        y = Second.apply(*args)
        assert type(y) is Later, f"the result of a Later is a {type(y).__name__}"
        assert type(y.node) is Node, f"its node is a {type(y.node).__name__}, not Later.Context"
    y = Second.apply(leaf(rng.normal(2)), x)
    assert type(y) is day22.Tensor, "the first tensor's class is the result's"


@exercise("Function")
def test_finish_is_called_at_the_end(rng):
    seen = []

    class Node(day22.Context):
        def finish(self, found, results):
            seen.append((found, list(results), self.inputs))
            super().finish(found, results)

    class Later(day22.Tensor):
        __slots__ = ()
        Context = Node

    x = Later(rng.normal(3), requires_grad=True)
    results = Parts.apply(x)
    one = Spy.apply(x)
    assert len(seen) == 2, f"two calls, and finish was called {len(seen)} times"
    found, made, inputs = seen[0]
    assert len(found) == len(made) == 3 and all(a is b for a, b in zip(made, results, strict=True))
    assert all(r.data is f for r, f in zip(made, found, strict=True)), "what forward gave"
    assert inputs[0] is x, "the arguments were gone before finish was called"
    found, made, _ = seen[1]
    assert isinstance(found, tuple) and found[0] is one.data and made[0] is one, (
        "one array comes to finish in a tuple"
    )
    assert [shape for shape, _ in one.node.outputs] == [(3,)]


@exercise("Function")
def test_refuses_a_call_without_a_tensor(rng):
    for args in [(), (1.0,), (np.ones(2),)]:
        with pytest.raises(TypeError) as refusal:
            found = Spy.apply(*args)
            pytest.fail(f"apply{args} gave {found}: a TypeError was due")
        assert "spy" in str(refusal.value), f"which operation? {refusal.value}"


# -- Tensor.backward ---------------------------------------------------------------------------


class Add(day22.Function):
    @staticmethod
    def forward(ctx, a, b):
        return a + b

    @staticmethod
    def backward(ctx, grad):
        return grad, grad


class Times(day22.Function):
    """x · factor, an option."""

    @staticmethod
    def forward(ctx, x, factor):
        ctx.factor = factor
        return x * factor

    @staticmethod
    def backward(ctx, grad):
        return grad * ctx.factor


@exercise("Tensor")
@pytest.mark.parametrize("used", ["first", "last", "both", "twice"])
def test_gradients_of_several_results(used, rng):
    x = leaf(rng.normal(3))
    double, _, triple = Parts.apply(x)
    parts = {"first": [double], "last": [triple], "both": [double, triple],
             "twice": [triple, double, triple]}[used]  # fmt: skip
    y = parts[0]
    for part in parts[1:]:
        y = Add.apply(y, part)
    g = rng.normal(3)
    y.backward(g)
    right = {"first": 2, "last": 3, "both": 5, "twice": 8}[used]
    close(x.grad.data, right * g, terms=4, scale=8.0, name=f"grad, {used} of the results used")


@exercise("Tensor")
def test_what_did_not_arrive_is_zeros_or_none(rng):
    for materialize in (True, False):
        Parts.seen.clear()
        x = leaf(rng.normal(3))
        Parts.apply(x, materialize=materialize)[2].backward(ones(3))
        assert len(Parts.seen) == 1, f"the backward ran {len(Parts.seen)} times"
        double, triple = Parts.seen[0]
        assert isinstance(triple, day22.Tensor), f"a gradient came as {type(triple).__name__}"
        if materialize:
            close(double.data, np.zeros(3), name="the gradient that did not arrive")
        else:
            assert double is None, f"the gradient that did not arrive came as {double}"
        close(x.grad.data, np.full(3, 3.0), name="grad")


@exercise("Tensor")
def test_shares_that_are_none(rng):
    class Half(day22.Function):
        @staticmethod
        def forward(ctx, a, b):
            return a + b

        @staticmethod
        def backward(ctx, grad):
            return None, grad

    called = []

    class Never(Times):
        @staticmethod
        def backward(ctx, grad):
            called.append(grad)
            return grad

    a, b = leaf(rng.normal(2)), leaf(rng.normal(2))
    Half.apply(Never.apply(a, factor=1.0), b).backward(ones(2))
    assert a.grad is None, f"no share arrived, and grad is {a.grad}"
    assert not called, "the backward of a node was called, to which nothing came"
    close(b.grad.data, ones(2), name="grad beside a share of None")
    both = leaf(rng.normal(2))
    Half.apply(both, both).backward(ones(2))
    close(both.grad.data, ones(2), name="grad of a tensor with one share of None")


@exercise("Tensor")
def test_each_node_is_called_once_with_all_that_arrives(rng):
    seen = []

    class Shared(Times):
        @staticmethod
        def backward(ctx, grad):
            seen.append(grad)
            return grad

    x = leaf(rng.normal(2), kind=np.float32)
    shared = Shared.apply(x, factor=1.0)
    y = shared
    for _ in range(5):
        y = Add.apply(y, shared)
    y.backward(ones(2))
    assert len(seen) == 1, f"a node that is used six times was called {len(seen)} times"
    close(seen[0].data, np.full(2, 6.0, np.float32), name="the gradient that arrived")
    assert isinstance(seen[0], day22.Tensor)


@exercise("Tensor")
def test_shares_are_not_written_into(rng):
    kept = leaf(np.array(rng.normal(3)), requires_grad=False)
    before = kept.data.copy()

    class Twice(day22.Function):
        @staticmethod
        def forward(ctx, a, b):
            return a + b

        @staticmethod
        def backward(ctx, grad):
            return kept, kept

    x = leaf(rng.normal(3))
    inner = Times.apply(x, factor=1.0)
    Twice.apply(inner, inner).backward(ones(3))
    close(kept.data, before, name="the share that the operation handed out")
    close(x.grad.data, 2 * before, terms=2, scale=2.0, name="grad")
    lone = leaf(rng.normal(3))
    Add.apply(lone, leaf(rng.normal(3))).backward(kept)
    assert not np.shares_memory(lone.grad.data, kept.data), "grad is the memory of a share"


@exercise("Tensor")
def test_grad_adds_up_and_keeps_its_dtype(rng):
    x = leaf(rng.normal(2), kind=np.float32)
    wide = day22.to(x, np.float64)
    for times in (1, 2):
        Times.apply(wide, factor=3.0).backward(ones(2))
        assert x.grad.dtype == np.float32, f"float32 data have a {x.grad.dtype} grad"
        close(x.grad.data, np.full(2, 3.0 * times, np.float32), name=f"grad after {times} calls")
        assert not x.grad.requires_grad and type(x.grad) is day22.Tensor
    assert wide.grad is None, "a tensor that an operation made keeps no grad"

    class Widens(Times):
        @staticmethod
        def backward(ctx, grad):
            return day22.to(grad, np.float64)

    x = leaf(rng.normal(2), kind=np.float32)
    Widens.apply(x, factor=1.0).backward(ones(2))
    assert x.grad.dtype == np.float32, f"a float64 share made the grad of a float32 leaf {x.grad}"


@exercise("Tensor")
def test_the_root_may_be_a_leaf_or_a_second_result(rng):
    x = leaf(rng.normal(1))
    x.backward()
    assert x.grad.item() == 1.0, f"the grad of a leaf that is its own root is {x.grad.item()}"
    x = leaf(rng.normal(3))
    Parts.apply(x)[2].backward(ones(3))
    close(x.grad.data, np.full(3, 3.0), name="grad from the third result")


@exercise("Tensor")
def test_nothing_is_recorded_while_a_backward_runs(rng):
    seen = []

    class Looks(Times):
        @staticmethod
        def backward(ctx, grad):
            seen.append(day22.mode.recording)
            if ctx.factor == 0.0:
                raise KeyError("on purpose")
            return grad

    Looks.apply(leaf(rng.normal(1)), factor=1.0).backward()
    assert seen == [False], "a backward ran while operations were recorded"
    assert day22.mode.recording, "recording was not switched on again"
    with contextlib.suppress(KeyError):
        Looks.apply(leaf(rng.normal(1)), factor=0.0).backward()
    assert day22.mode.recording, "recording stayed off after a backward that raised"


@exercise("Tensor")
@pytest.mark.parametrize("retain", [False, True])
def test_nodes_are_released_unless_retained(retain, rng):
    log = []

    class Node(day22.Context):
        def release(self):
            log.append(("release", self.op))

        def shares(self, grads):
            log.append(("shares", self.op))
            return super().shares(grads)

    class Later(day22.Tensor):
        __slots__ = ()
        Context = Node

    x = Later(rng.normal(2), requires_grad=True)
    y = Add.apply(Times.apply(x, factor=2.0), x)
    y.backward(ones(2), retain_graph=retain)
    calls = [("shares", "add"), ("shares", "times")]
    frees = [("release", "add"), ("release", "times")]
    assert [c for c in log if c[0] == "shares"] == calls, f"backwards ran as {log}"
    if retain:
        assert log == calls, "a node was released although the graph is to be retained"
    else:
        assert sorted(log) == sorted(calls + frees), f"each node is released once: {log}"
        assert all(log.index(("shares", op)) < log.index(("release", op)) for _, op in calls), (
            f"a node was released before its backward: {log}"
        )
    close(x.grad.data, np.full(2, 3.0), name="grad")


@exercise("Tensor")
def test_refuses_wrong_shares(rng):
    for shares in (0, 1, 3):

        class Odd(Add):
            @staticmethod
            def backward(ctx, grad):
                return (grad,) * shares  # noqa: B023

        x = leaf(rng.normal(2))
        with pytest.raises(ValueError):
            Odd.apply(x, x).backward(ones(2))
            pytest.fail(f"an operation of two arguments gave {shares} shares, and nobody minded")


@exercise("Tensor")
def test_a_long_chain():
    x = leaf(np.ones(2))
    y = x
    for _ in range(DEPTH):
        y = Times.apply(y, factor=1.0)
    y.backward(ones(2))
    close(x.grad.data, ones(2), name=f"grad through {DEPTH} operations")


@exercise("Tensor")
@settings(max_examples=40)
@given(data=st.data())
def test_any_graph(data):
    """Sums and multiples of random earlier tensors: every path counts once."""
    n = data.draw(st.integers(1, 3))
    values = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1))).normal(size=(n, 2))
    wants = [data.draw(st.booleans()) for _ in range(n)]
    wants[0] = True
    mine = [leaf(v, w) for v, w in zip(values, wants, strict=True)]
    theirs = [torch.tensor(v, requires_grad=w) for v, w in zip(values, wants, strict=True)]
    leaves, twins = list(mine), list(theirs)
    for _ in range(data.draw(st.integers(1, 12))):
        i, j = (data.draw(st.integers(0, len(mine) - 1)) for _ in "ij")
        kind = data.draw(st.sampled_from(["add", "times", "parts"]))
        if kind == "add":
            mine.append(Add.apply(mine[i], mine[j]))
            theirs.append(theirs[i] + theirs[j])
        elif kind == "times":
            mine.append(Times.apply(mine[i], factor=-0.5))
            theirs.append(theirs[i] * -0.5)
        else:
            double, _, triple = Parts.apply(mine[i])
            mine += [double, triple]
            theirs += [theirs[i] * 2, theirs[i] * 3]
    last = Add.apply(mine[-1], mine[0])
    last.backward(ones(2))
    (theirs[-1] + theirs[0]).backward(torch.ones(2))
    for which, (a, b) in enumerate(zip(leaves, twins, strict=True)):
        right = None if b.grad is None else b.grad.numpy()
        assert (a.grad is None) == (right is None), f"leaf {which}: grad {a.grad}, torch {right}"
        if right is not None:
            close(a.grad.data, right, terms=40, scale=1.0 + np.abs(right).max(),
                  name=f"grad of leaf {which}")  # fmt: skip


# -- operations by hand ------------------------------------------------------------------------


def check(name, mine, theirs, rng, *inputs):
    """Values and gradients of ``mine(*tensors)`` against ``theirs(*torch tensors)``, in float64."""
    inputs = [np.array(x) for x in inputs]
    leaves = [leaf(x) for x in inputs]
    twins = [torch.tensor(x, requires_grad=True) for x in inputs]
    result, wanted = mine(*leaves), theirs(*twins)
    assert result.shape == tuple(wanted.shape), f"{name}: shape {result.shape}"
    close(result.data, wanted.detach().numpy(), terms=8, scale=4.0, name=name)
    g = np.array(rng.normal(*result.shape))
    result.backward(g)
    wanted.backward(torch.tensor(g))
    for which, a, b in zip("ab", leaves, twins, strict=False):
        assert a.grad is not None, f"{name}: no gradient arrived at operand {which}"
        close(a.grad.data, b.grad.numpy(), terms=g.size + 4, scale=8.0,
              name=f"{name}: gradient of operand {which}")  # fmt: skip
    return result


def made_of_tensor_operations(name, result, rng):
    """The backward of ``result`` can itself be recorded: numpy's operations could not."""
    before = day22.mode.recording
    grads = [leaf(rng.normal(*shape)) for shape, _ in result.node.outputs]
    assert before
    shares = [s for s in result.node.shares(grads) if s is not None]
    for share in shares:
        assert isinstance(share, day22.Tensor), f"{name}: a share is a {type(share).__name__}"
        assert share.requires_grad, (
            f"{name}: the backward left the engine; it is to be written with Tensor operations"
        )


SHAPES = [((2, 3), (2, 1)), ((3,), (3,)), ((2, 3), ()), ((4, 2, 3), (3,)), ((2, 1), (1, 3)),
          ((0, 3), (3,)), ((), ()), ((1, 1), (3,)), ((2, 1, 3), (4, 1)), ((1,), (0,))]  # fmt: skip


@exercise("SumTo")
@pytest.mark.parametrize(
    ("shape", "target"),
    [((2, 3), (2, 1)), ((2, 3), (3,)), ((2, 3), ()), ((4, 2, 3), (1, 3)), ((3,), (1,)),
     ((0, 3), (1, 3)), ((2, 3), (2, 3)), ((2, 0), (2, 1)), ((4, 2, 3), (2, 1))],
    ids=str,
)  # fmt: skip
def test_sum_to(shape, target, rng):
    name = f"{shape} summed to {target}"
    result = check(name, lambda x: day22.SumTo.apply(x, shape=target),
                   lambda x: x.sum_to_size(target), rng, rng.normal(*shape))  # fmt: skip
    assert result.op == "sum_to"
    made_of_tensor_operations(name, result, rng)


@exercise("Mul")
@pytest.mark.parametrize(("a", "b"), SHAPES, ids=str)
def test_mul(a, b, rng):
    name = f"{a} times {b}"
    x, y = rng.normal(*a), rng.normal(*b)
    result = check(name, day22.Mul.apply, torch.mul, rng, x, y)
    check(f"{b} times {a}", day22.Mul.apply, torch.mul, rng, y, x)
    made_of_tensor_operations(name, result, rng)


@exercise("Mul")
def test_mul_of_one_tensor(rng):
    check("x · x", lambda x: day22.Mul.apply(x, x), lambda x: x * x, rng, rng.normal(2, 3))
    check("x · x · x", lambda x: day22.Mul.apply(day22.Mul.apply(x, x), x), lambda x: x * x * x,
          rng, rng.normal(2, 3))  # fmt: skip
    a, b = leaf(rng.normal(3)), leaf(rng.normal(3))
    y = day22.Mul.apply(a, b)
    before = a.data.copy(), b.data.copy()
    y.backward(ones(3))
    close(a.data, before[0], name="the operand a")
    close(b.data, before[1], name="the operand b")


@exercise("Mul")
def test_mul_makes_nothing_for_whom_no_gradient_is_wanted(rng):
    products = []

    class Counted(day22.Tensor):
        __slots__ = ()

        def __mul__(self, other):
            products.append(other)
            return super().__mul__(other)

        __rmul__ = __mul__

    for which in (0, 1):
        pair = [leaf(rng.normal(2, 3), requires_grad=i == which) for i in (0, 1)]
        products.clear()
        shares = list(day22.Mul.backward(day22.Mul.apply(*pair).node, Counted(ones((2, 3)))))
        assert shares[1 - which] is None, "an operand that needs no gradient has a share"
        close(shares[which].data, pair[1 - which].data, name="the share of the one that does")
        assert len(products) <= 1, f"{len(products)} products were made for one share"


@exercise("Exp")
def test_exp(rng):
    for shape in [(), (3,), (2, 0), (2, 3)]:
        result = check(f"exp of {shape}", day22.Exp.apply, torch.exp, rng, rng.normal(*shape))
        made_of_tensor_operations("exp", result, rng)
    for kind in ("float16", "float32"):
        x = leaf(rng.normal(5), kind=kind)
        y = day22.Exp.apply(x)
        close(y.data, np.exp(x.data.astype(float)), dtype=kind, terms=4, name=f"exp of {kind}")
        y.backward(ones(5))
        close(x.grad.data, np.exp(x.data.astype(float)), dtype=kind, terms=4, name="gradient")


@exercise("Exp")
def test_exp_is_silent_and_computed_once(monkeypatch):
    x = leaf([-np.inf, 0.0, 1000.0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        y = day22.Exp.apply(x)
    close(y.data, np.array([0.0, 1.0, np.inf]), dtype=np.float32, name="exp of -inf, 0, 1000")

    def never(*_, **__):
        raise AssertionError("the backward computed an exponential")

    z = leaf([0.0, 1.0])
    y = day22.Exp.apply(z)
    for name in ("exp", "exp2", "expm1"):
        monkeypatch.setattr(np, name, never)
    y.backward(ones(2))
    monkeypatch.undo()
    close(z.grad.data, y.data, name="gradient")


@exercise("SinCos")
def test_sine_and_cosine(rng):
    for shape in [(), (3,), (2, 0), (2, 3)]:
        x = 3 * np.array(rng.normal(*shape))
        for which, wanted in enumerate((torch.sin, torch.cos)):
            name = f"{wanted.__name__} of {shape}"
            result = check(name, lambda t: day22.SinCos.apply(t)[which], wanted, rng, x)  # noqa: B023
            assert result.index == which
            made_of_tensor_operations(name, result, rng)

        def both(t):
            sine, cosine = day22.SinCos.apply(t)
            return Add.apply(sine, Times.apply(cosine, factor=2.0))

        check("sin + 2 cos", both, lambda t: t.sin() + 2 * t.cos(), rng, x)


# -- register ----------------------------------------------------------------------------------


def fresh():
    class Mine(day22.Tensor):
        __slots__ = ()

    return Mine


@exercise("register")
def test_a_function_becomes_a_method(rng):
    mine = fresh()
    day22.register("scaled", lambda x, by, shift=0.0: (x, by, shift), mine)
    x = mine(rng.normal(2))
    for found, right in [(x.scaled(3), (3, 0.0)), (x.scaled(3, 1.0), (3, 1.0)),
                         (x.scaled(by=2, shift=4), (2, 4))]:  # fmt: skip
        assert found[0] is x, "the method did not hand its tensor on as the first argument"
        assert found[1:] == right, f"the other arguments came as {found[1:]}, not {right}"
    assert not hasattr(day22.Tensor, "scaled"), "another class got the method"


@exercise("register")
def test_a_function_class_is_applied(rng):
    mine = fresh()
    day22.register("times", Times, mine)
    x = mine(rng.normal(2), requires_grad=True)
    y = x.times(factor=3.0)
    close(y.data, 3 * x.data, name="x.times(factor=3.0)")
    assert y.op == "times" and type(y) is mine

    class Called:
        def __call__(self, x):
            return ("called", x)

    day22.register("called", Called(), mine)
    assert x.called() == ("called", x), "a callable object that is registered is called"


@exercise("register")
@pytest.mark.parametrize("name", ["add", "sub", "mul", "div", "pow", "matmul", "neg", "getitem"])
def test_operators(name, rng):
    mine = fresh()
    day22.register(name, lambda *args: (name, *args), mine)
    x, other = mine(rng.normal(2)), object()
    if name == "neg":
        assert -x == (name, x), f"-x gave {-x}"
        return
    if name == "getitem":
        assert x[other] == (name, x, other) and x[1, 2] == (name, x, (1, 2))
        return
    operators = {
        "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b,
        "div": lambda a, b: a / b, "pow": lambda a, b: a**b, "matmul": lambda a, b: a @ b,
    }  # fmt: skip
    f = operators[name]
    found = f(x, other)
    assert found[1] is x and found[2] is other, f"{name}: the operands came as {found[1:]}"
    assert getattr(x, name)(other)[2] is other, f"x.{name} is no method"
    if name != "matmul":
        for left in (2, 2.5):
            found = f(left, x)
            assert found[1] == left and found[2] is x, (
                f"{name}: {left} on the left came as {found[1:]}"
            )


@exercise("register")
def test_a_later_registration_counts(rng):
    mine = fresh()

    class Heir(mine):
        __slots__ = ()

    day22.register("sub", lambda a, b: "old", mine)
    day22.register("sub", lambda a, b: "new", mine)
    for x in (mine(rng.normal(2)), Heir(rng.normal(2))):
        found = (x.sub(1), x - 1, 1 - x)
        assert all(isinstance(y, str) and y == "new" for y in found), (
            f"after a second registration of sub, x.sub(1), x - 1 and 1 - x are {found}"
        )
    assert isinstance(day22.Tensor([3.0]) - 1, day22.Tensor), "another class got the operator"


@exercise("register")
def test_tensor_is_where_it_goes_by_default():
    with pytest.raises(AttributeError):
        day22.Tensor([1.0]).of_day_22_alone()
    day22.register("of_day_22_alone", lambda x: x.numel())
    try:
        assert day22.Tensor([1.0, 2.0]).of_day_22_alone() == 2
    finally:
        del day22.Tensor.of_day_22_alone


@exercise("register")
@pytest.mark.parametrize("name", ["data", "backward", "grad", "shape", "2x", "", "a b", "__add__",
                                  "requires_grad", "node", "item"])  # fmt: skip
def test_refuses_names(name):
    mine = fresh()
    with pytest.raises(ValueError) as refusal:
        day22.register(name, lambda x: x, mine)
        pytest.fail(f"{name!r} was registered: a ValueError was due")
    assert name in str(refusal.value), f"which name? {refusal.value}"


@exercise("register")
def test_refuses_what_is_no_function():
    for thing in (3, "sum", None):
        with pytest.raises(TypeError):
            day22.register("thing", thing, fresh())
            pytest.fail(f"{thing!r} was registered as a method: a TypeError was due")


# -- week 3, again -----------------------------------------------------------------------------


class OnTheNewEngine:
    """The names of a day of week 3, with the operations of the new engine where they are."""

    def __init__(self, day):
        self._day = day

    def __getattr__(self, name):
        operations = importlib.import_module("tracks.autodiff.operations")
        return getattr(operations if hasattr(operations, name) else self._day, name)


OLD = [
    (day15, ["Tensor", "full", "arange"]),
    (day16, ["permute", "transpose", "reshape", "expand", "squeeze", "unsqueeze"]),
    (day17, ["add", "sub", "mul", "div", "pow", "where", "maximum", "clamp"]),
    (day18, ["sum", "mean", "var", "amax", "argmax", "max", "prod", "norm"]),
    (day19, ["matmul", "dot", "outer", "einsum"]),
    (day20, ["getitem", "gather", "index_add", "cat", "stack", "split", "pad"]),
    (day21, ["exp", "log", "log1p", "sqrt", "sigmoid", "gelu", "logsumexp", "softmax",
             "log_softmax", "cross_entropy"]),
]  # fmt: skip
for _day, _names in OLD:
    _file = HERE / f"test_{_day.__name__.rpartition('.')[2]}.py"
    globals().update(again(_file, OnTheNewEngine(_day), "register", only=_names))
