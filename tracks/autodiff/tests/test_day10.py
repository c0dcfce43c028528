"""Day 10: the right slopes, also at 0, and errors that say where they come from."""

import gc
import math
import operator
import sys
from fractions import Fraction

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import strategies as st

from harness.testing import close, exercise
from tracks.autodiff import day10

INF, NAN = math.inf, math.nan
UNARY = {
    "exp": lambda x: x.exp(),
    "log": lambda x: x.log(),
    "sqrt": lambda x: x.sqrt(),
    "abs": abs,
}
CLASSES = {"exp": "Exponential", "log": "Exponential", "sqrt": "Root", "abs": "Root"}


def kept(node):
    """What a node holds, for a comparison before and after."""
    return node.data, node.grad, node.parents, node.op, node.label, node._backward


def torch_slopes(f, *numbers):
    """f of float64 tensors, and its derivatives with respect to all of them."""
    leaves = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in numbers]
    value = f(*leaves)
    return value.item(), [float(g) for g in torch.autograd.grad(value, leaves)]


def backward(root):
    """Day 11 in a few lines: every node hands on after all that use it."""
    order, seen = [], set()

    def visit(node):
        if node not in seen:
            seen.add(node)
            for parent in node.parents:
                visit(parent)
            order.append(node)

    visit(root)
    root.grad = 1.0
    for node in reversed(order):
        if node._backward is not None:
            node._backward(node.grad)


def send(node, grad, what):
    """The node's backward, which never raises an error."""
    try:
        node._backward(grad)
    except (ArithmeticError, ValueError) as error:
        raise AssertionError(f"the backward of {what} raised {error!r}") from error


def refused(f, kind, *texts):
    """f() raises an error of this kind whose message holds the texts."""
    with pytest.raises(kind) as caught:
        made = f()
        pytest.fail(f"{texts[0]} gave {made!r}, not a {kind.__name__}")
    assert type(caught.value) is kind, f"{texts[0]} raised {caught.value!r}"
    for text in texts:
        assert text in str(caught.value), f"{texts[0]} raised the message {str(caught.value)!r}"


# What is asked of exp, log, sqrt and abs -------------------------------------------------------


def leaves_a_node(name, xs):
    cls = getattr(day10, CLASSES[name])
    f = UNARY[name]
    for x in xs:
        a = cls(x)
        a.grad = 3.0
        before = kept(a)
        b = f(a)
        wanted, _ = torch_slopes(f, x)
        assert type(b) is cls, f"{name} of a {cls.__name__} is a {type(b).__name__}"
        close(b.data, wanted, name=f"{name} of {x}")
        assert (b.op, b.grad, b.label) == (name, 0.0, ""), f"{name} of {x} left {b!r}"
        assert len(b.parents) == 1 and b.parents[0] is a, f"its parents are {b.parents}"
        assert kept(a) == before, f"{name} changed its operand"
        assert not hasattr(b, "__dict__"), "the result carries a dictionary: where is __slots__?"


def hands_out_shares(name, xs, rng):
    cls = getattr(day10, CLASSES[name])
    f = UNARY[name]
    for x in xs:
        g, h = (float(v) for v in rng.uniform(2, low=0.5, high=2.0))
        _, (slope,) = torch_slopes(f, x)
        scale = max(10.0, 4 * abs(slope))
        a = cls(x)
        a.grad = 10.0
        b = f(a)
        send(b, g, f"{name} of {x}")
        what = f"the gradient of x, 10 before, after {name}(x) at x = {x} for a gradient of {g}"
        close(a.grad, 10.0 + g * slope, scale=scale, name=what)
        send(b, -h, f"{name} of {x}")
        close(a.grad, 10.0 + (g - h) * slope, scale=scale, name=f"{what} and another of {-h}")
        a = cls(x)
        b = f(a)
        a.data, b.data, b.grad = 50.0, 60.0, 70.0
        send(b, g, f"{name} of {x}")
        what = f"the gradient of x after {name}(x) at x = {x} for a gradient of {g}, {CHANGED},"
        close(a.grad, g * slope, scale=max(1.0, 4 * abs(slope)), name=what)


CHANGED = "where the test set x.data to 50 and the result's to 60 before the backward"


def is_not_computed_again(name, x, monkeypatch):
    """No call of math's or numpy's function in the backward."""
    a = getattr(day10, CLASSES[name])(x)
    b = UNARY[name](a)
    calls = []
    for module in (math, np):
        function = getattr(module, name)

        def counting(*numbers, function=function):
            calls.append(numbers)
            return function(*numbers)

        monkeypatch.setattr(module, name, counting)
    send(b, 1.0, f"{name} of {x}")
    assert not calls, (
        f"the backward of {name}({x}) called {name} again, with {calls[0][0]}: the operation has "
        "computed that number already"
    )


def makes_its_own_class(name):
    class Later(getattr(day10, CLASSES[name])):
        __slots__ = ()

    made = UNARY[name](Later(2.0))
    assert type(made) is Later, f"{name} of a later class's value made a {type(made).__name__}"


def leaves_no_circle(cls, f, what):
    leaf = cls(2.0)
    before = sys.getrefcount(leaf)
    gc.disable()  # reference counting alone has to do it
    try:
        f(leaf)
        left = sys.getrefcount(leaf) - before
    finally:
        gc.enable()
    assert left == 0, (
        f"{left} references to a leaf are left after the graph of {what} is gone: a backward that "
        "uses its own result makes a circle with it"
    )


# compute --------------------------------------------------------------------------------------


@exercise("compute")
def test_compute_returns_what_f_returns(rng):
    x, n = (float(v) for v in rng.uniform(2, low=0.5, high=3.0))
    assert day10.compute(math.exp, x) == math.exp(x), f"compute(math.exp, {x}) is not math.exp({x})"
    assert day10.compute(math.pow, x, n) == math.pow(x, n), (
        f"compute(math.pow, {x}, {n}) is not math.pow({x}, {n})"
    )
    calls = []

    def f(*numbers):
        calls.append(numbers)
        return 7.0

    assert day10.compute(f, 1.0, 2.0, 3.0) == 7.0, (
        "compute(f, 1.0, 2.0, 3.0) is what f returns, 7.0"
    )
    assert calls == [(1.0, 2.0, 3.0)], f"f was called with {calls}: once, with all numbers"
    for f, number in [(math.log, NAN), (math.exp, INF)]:
        got = day10.compute(f, number)
        assert repr(got) == repr(number), (
            f"compute(math.{f.__name__}, {number}) is {got}, not {number}"
        )


CALLS = [
    (math.log, (-1.5,), ValueError, "log(-1.5)"),
    (math.log, (0.0,), ValueError, "log(0.0)"),
    (math.sqrt, (-4.0,), ValueError, "sqrt(-4.0)"),
    (math.exp, (1000.0,), OverflowError, "exp(1000.0)"),
    (math.pow, (-8.0, 0.5), ValueError, "pow(-8.0, 0.5)"),
    (math.pow, (0.1, -400.0), OverflowError, "pow(0.1, -400.0)"),
    (operator.truediv, (1.0, 0.0), ZeroDivisionError, "truediv(1.0, 0.0)"),
    (math.sqrt, (-1 / 3,), ValueError, "sqrt(-0.3333333333333333)"),
]


@exercise("compute")
@pytest.mark.parametrize("f, numbers, kind, text", CALLS, ids=[call[-1] for call in CALLS])
def test_compute_names_the_call(f, numbers, kind, text):
    with pytest.raises(kind) as caught:
        made = day10.compute(f, *numbers)
        pytest.fail(f"{text} gave {made!r}, not a {kind.__name__}")
    assert type(caught.value) is kind, (
        f"{text} raises a {kind.__name__}; out of compute came {caught.value!r}"
    )
    message = str(caught.value)
    assert message.startswith(text), f"the message of {text} is {message!r}: which call was it?"
    try:
        f(*numbers)
    except (ValueError, ArithmeticError) as original:
        assert str(original) in message, (
            f"the message of {text} is {message!r}; what the error itself said is lost: "
            f"{str(original)!r}"
        )


@exercise("compute")
def test_compute_lets_other_errors_pass():
    problem = KeyError("x")

    def f(x):
        raise problem

    with pytest.raises(KeyError) as caught:
        made = day10.compute(f, 1.0)
        pytest.fail(f"f raised {problem!r}, and compute returned {made!r}")
    assert caught.value is problem, "an error that is none of arithmetic was changed"


# Exponential ----------------------------------------------------------------------------------

POINTS = {
    "exp": [0.0, 1.0, -2.5, 3.25, -40.0, 20.0],
    "log": [1.0, 0.25, 3.5, 1e-3, 1e6],
    "sqrt": [1.0, 0.25, 2.0, 1e-6, 1e8],
    "abs": [2.0, -3.0, 0.5, -1e-3, 1e5],
}


@exercise("Exponential")
@pytest.mark.parametrize("name", ["exp", "log"])
def test_exp_and_log_leave_a_node(name, rng):
    leaves_a_node(name, [*POINTS[name], float(rng.uniform(low=0.5, high=3.0))])


@exercise("Exponential")
@pytest.mark.parametrize("name", ["exp", "log"])
def test_exp_and_log_hand_out_shares(name, rng):
    hands_out_shares(name, [*POINTS[name], float(rng.uniform(low=0.5, high=3.0))], rng)


@exercise("Exponential")
@pytest.mark.parametrize("name", ["exp", "log"])
def test_exp_and_log_make_their_own_class(name):
    makes_its_own_class(name)
    leaves_no_circle(day10.Exponential, lambda a: UNARY[name](UNARY[name](a)), name)


@exercise("Exponential")
def test_exp_is_computed_once(monkeypatch):
    is_not_computed_again("exp", 1.5, monkeypatch)


@exercise("Exponential")
def test_exp_and_log_name_what_they_refuse():
    for x in (0.0, -2.5, -INF):
        refused(lambda x=x: day10.Exponential(x).log(), ValueError, f"log({x})")
    for x in (1000.0, 709.79):
        refused(lambda x=x: day10.Exponential(x).exp(), OverflowError, f"exp({x})")


@exercise("Exponential")
@pytest.mark.parametrize(
    "name, x, value, slope",
    [
        ("exp", -1000.0, 0.0, 0.0),
        ("exp", -INF, 0.0, 0.0),
        ("exp", INF, INF, INF),
        ("log", INF, INF, 0.0),
        ("log", 5e-324, math.log(5e-324), INF),
        ("exp", NAN, NAN, NAN),
        ("log", NAN, NAN, NAN),
    ],
)
def test_exp_and_log_of_extreme_numbers(name, x, value, slope):
    a = day10.Exponential(x)
    b = UNARY[name](a)
    close(b.data, value, name=f"{name} of {x}")
    send(b, 1.0, f"{name} of {x}")
    close(a.grad, slope, name=f"the gradient of {name} at {x}")


@exercise("Exponential")
def test_numpy_calls_exp_and_log():
    for f, x in [(np.exp, 2.0), (np.log, 3.0)]:
        made = f(day10.Exponential(x))
        assert type(made) is day10.Exponential, f"np.{f.__name__} of a Value gave {made!r}"
        close(made.data, float(f(x)))
        many = f(np.array([day10.Exponential(x), day10.Exponential(2 * x)]))
        close(np.array([v.data for v in many]), f(np.array([x, 2 * x])))


@exercise("Exponential")
def test_a_long_way_there_and_back(rng):
    a = day10.Exponential(float(rng.uniform(low=0.5, high=2.0)))
    b = a
    for _ in range(20):
        b = b.exp().log()
    close(b.data, a.data, terms=40, scale=1.0, factor=16)
    backward(b)
    close(a.grad, 1.0, terms=40, factor=16, name="the gradient through exp and log, 20 times each,")


# Root -----------------------------------------------------------------------------------------


@exercise("Root")
@pytest.mark.parametrize("name", ["sqrt", "abs"])
def test_sqrt_and_abs_leave_a_node(name, rng):
    leaves_a_node(name, [*POINTS[name], float(rng.uniform(low=0.5, high=3.0)), 0.0])


@exercise("Root")
@pytest.mark.parametrize("name", ["sqrt", "abs"])
def test_sqrt_and_abs_hand_out_shares(name, rng):
    hands_out_shares(name, [*POINTS[name], float(rng.uniform(low=0.5, high=3.0))], rng)


@exercise("Root")
@pytest.mark.parametrize("name", ["sqrt", "abs"])
def test_sqrt_and_abs_make_their_own_class(name):
    makes_its_own_class(name)
    leaves_no_circle(day10.Root, lambda a: UNARY[name](UNARY[name](a)), name)


@exercise("Root")
def test_sqrt_is_computed_once(monkeypatch):
    is_not_computed_again("sqrt", 1.5, monkeypatch)


@exercise("Root")
def test_sqrt_names_what_it_refuses():
    for x in (-1.0, -1e-300, -INF):
        refused(lambda x=x: day10.Root(x).sqrt(), ValueError, f"sqrt({x})")


@exercise("Root")
@pytest.mark.parametrize("grad, share", [(1.0, INF), (-2.0, -INF), (0.0, NAN)])
def test_sqrt_at_zero(grad, share):
    a = day10.Root(0.0)
    root = a.sqrt()
    assert root.data == 0.0, f"the root of 0 is 0, not {root.data}"
    send(root, grad, "sqrt of 0")
    close(a.grad, share, name=f"the gradient of sqrt at 0, for a gradient of {grad},")


@exercise("Root")
@pytest.mark.parametrize(
    "name, x, value, slope",
    [
        ("sqrt", INF, INF, 0.0),
        ("sqrt", 1e300, 1e150, 5e-151),
        ("sqrt", 1e-300, 1e-150, 5e149),
        ("sqrt", NAN, NAN, NAN),
        ("abs", 0.0, 0.0, 0.0),
        ("abs", -0.0, 0.0, 0.0),
        ("abs", -INF, INF, -1.0),
        ("abs", 5e-324, 5e-324, 1.0),
        ("abs", -5e-324, 5e-324, -1.0),
    ],
)
def test_sqrt_and_abs_of_extreme_numbers(name, x, value, slope):
    a = day10.Root(x)
    b = UNARY[name](a)
    close(b.data, value, name=f"{name} of {x}")
    assert not math.copysign(1.0, b.data) < 0 or name == "sqrt", f"abs({x}) is {b.data}"
    send(b, 1.0, f"{name} of {x}")
    close(a.grad, slope, name=f"the gradient of {name} at {x}")


@exercise("Root")
def test_numpy_calls_sqrt_and_abs():
    for f, x in [(np.sqrt, 2.0), (np.abs, -3.0)]:
        made = f(day10.Root(x))
        assert type(made) is day10.Root, f"np.{f.__name__} of a Value gave {made!r}"
        close(made.data, float(f(x)))


# Power ----------------------------------------------------------------------------------------

EXPONENTS = [2, 3, 1, 0, -1, -2, 0.5, 1.5, -0.5, 2.0, 7, True, np.float64(2.5), np.int64(3)]


@exercise("Power")
def test_power_leaves_a_node(rng):
    for n in [*EXPONENTS, Fraction(3, 2), np.float32(0.5)]:
        x = float(rng.uniform(low=0.5, high=3.0))
        a = day10.Power(x)
        a.grad = 3.0
        before = kept(a)
        b = a**n
        assert type(b) is day10.Power, f"a ** {n!r} is a {type(b).__name__}"
        close(b.data, x ** float(n), name=f"{x} ** {n}")
        assert len(b.parents) == 1 and b.parents[0] is a, (
            f"a ** {n!r} has the parents {b.parents}: a constant exponent is none"
        )
        assert b.op == f"**{float(n):g}", f"a ** {n!r} has the op {b.op!r}"
        assert (b.grad, b.label) == (0.0, ""), (
            f"a ** {n!r} left {b!r}: its grad is 0 and it has no label"
        )
        assert kept(a) == before, "a ** n changed a"
        assert not hasattr(b, "__dict__"), "the result carries a dictionary: where is __slots__?"


@exercise("Power")
def test_power_hands_out_shares(rng):
    for n in EXPONENTS:
        size, g, h = (float(v) for v in rng.uniform(3, low=0.5, high=2.0))
        for x in (size, -size) if float(n).is_integer() else (size,):
            a = day10.Power(x)
            a.grad = 10.0
            b = a**n
            _, (slope,) = torch_slopes(lambda t, n=n: t ** float(n), x)
            what = f"the gradient of a, 10 before, after a ** {n!r} at a = {x}"
            scale = max(10.0, 4 * abs(slope))
            send(b, g, f"{x} ** {n}")
            close(a.grad, 10.0 + g * slope, scale=scale, name=f"{what} for a gradient of {g}")
            send(b, -h, f"{x} ** {n}")
            close(a.grad, 10.0 + (g - h) * slope, scale=scale, name=f"{what}, called twice,")
            a = day10.Power(x)
            b = a**n
            a.data, b.data, b.grad = 50.0, 60.0, 70.0
            send(b, g, f"{x} ** {n}")
            what = f"the gradient of x after x ** {n!r} at x = {x}, {CHANGED},"
            close(a.grad, g * slope, scale=max(1.0, 4 * abs(slope)), name=what)


@exercise("Power")
@pytest.mark.parametrize(
    "x, n, value, slope",
    [
        (0.0, 0, 1.0, 0.0),
        (0.0, 1, 0.0, 1.0),
        (0.0, 2, 0.0, 0.0),
        (0.0, 0.5, 0.0, INF),
        (0.0, 1.5, 0.0, 0.0),
        (-3.0, 0, 1.0, 0.0),
        (-2.0, 3, -8.0, 12.0),
        (-2.0, -3, -0.125, -0.1875),
        (INF, 0, 1.0, 0.0),
        (NAN, 0, 1.0, 0.0),
        (NAN, 2, NAN, NAN),
        (INF, 2, INF, INF),
        (INF, -1, 0.0, 0.0),
        (1e-200, 2, 0.0, 2e-200),  # the value is too small, the slope is not
        (1e-200, -1, 1e200, -INF),  # the slope is too large, the value is not
        (-1e-200, -1, -1e200, -INF),
        (-1e-160, -2, INF, INF),
        (2.0, NAN, NAN, NAN),
    ],
)
def test_powers_of_extreme_numbers(x, n, value, slope):
    a = day10.Power(x)
    if value == INF and math.isfinite(x):
        refused(lambda: a**n, OverflowError, f"pow({x}, {float(n)})")
        return
    b = a**n
    close(b.data, value, name=f"{x} ** {n}")
    send(b, 1.0, f"{x} ** {n}")
    close(a.grad, slope, name=f"the gradient of x ** {n} at {x}")


@exercise("Power")
@pytest.mark.parametrize(
    "x, n, kind",
    [
        (-8.0, 0.5, ValueError),
        (-8.0, 1 / 3, ValueError),
        (-0.5, -1.5, ValueError),
        (0.0, -1, ValueError),
        (0.0, -0.5, ValueError),
        (1e200, 2, OverflowError),
        (-1e200, 3, OverflowError),
    ],
)
def test_powers_name_what_they_refuse(x, n, kind):
    refused(lambda: day10.Power(x) ** n, kind, f"pow({x}, {float(n)})")


@exercise("Power")
def test_powers_of_other_things():
    class Stranger:
        def __rpow__(self, base):
            return "asked"

    for thing in ("2", None, 2j, [2.0]):
        with pytest.raises(TypeError):
            made = day10.Power(2.0) ** thing
            pytest.fail(f"a ** {thing!r} gave {made!r}")
    assert day10.Power(2.0) ** Stranger() == "asked", (
        "a ** stranger: the other side was not asked; __pow__ returns NotImplemented for it"
    )
    squares = day10.Power(3.0) ** np.array([1.0, 2.0])
    assert [type(s) for s in squares] == [day10.Power] * 2, f"a ** array gave {squares!r}"
    close(np.array([s.data for s in squares]), np.array([3.0, 9.0]))


@exercise("Power")
def test_power_makes_its_own_class():
    class Later(day10.Power):
        __slots__ = ()

    for n in (2, 0, 0.5):
        made = Later(2.0) ** n
        assert type(made) is Later, f"a later class's value ** {n} is a {type(made).__name__}"
    leaves_no_circle(day10.Power, lambda a: (a**2) ** 0.5, "(a ** 2) ** 0.5")


# Value ----------------------------------------------------------------------------------------


def power_shares(x, n, grad=1.0):
    """(value, gradient of the base, gradient of the exponent) as the graded class has them."""
    a, b = day10.Value(x), day10.Value(n)
    c = a**b
    send(c, grad, f"{x} ** Value({n})")
    return c.data, a.grad, b.grad


@exercise("Value")
def test_value_exponents_leave_a_node(rng):
    x, n = (float(v) for v in rng.uniform(2, low=0.5, high=3.0))
    a, b = day10.Value(x), day10.Value(n)
    a.grad, b.grad = 3.0, 4.0
    before = kept(a), kept(b)
    c = a**b
    assert type(c) is day10.Value and not hasattr(c, "__dict__"), (
        f"a ** b is a {type(c).__name__}, or carries a dictionary (where is __slots__?)"
    )
    close(c.data, x**n, name=f"{x} ** {n}")
    assert len(c.parents) == 2 and c.parents[0] is a and c.parents[1] is b, (
        f"a ** b has the parents {c.parents}"
    )
    assert (c.op, c.grad, c.label) == ("**", 0.0, ""), f"a ** b left {c!r}"
    assert (kept(a), kept(b)) == before, "a ** b changed its operands"


@exercise("Value")
def test_value_exponents_hand_out_shares(rng):
    for _ in range(12):
        x, g, h = (float(v) for v in rng.uniform(3, low=0.3, high=3.0))
        n = float(rng.uniform(low=-3.0, high=3.0))
        a, b = day10.Value(x), day10.Value(n)
        a.grad, b.grad = 10.0, -20.0
        c = a**b
        send(c, g, f"{x} ** {n}")
        send(c, h, f"{x} ** {n}")
        _, (da, db) = torch_slopes(operator.pow, x, n)
        where = f"in a ** b at a = {x}, b = {n}, after two calls,"
        size = 20.0 + 6 * max(abs(da), abs(db))
        close(
            a.grad, 10.0 + (g + h) * da, scale=size, name=f"the gradient of the base, 10, {where}"
        )
        close(
            b.grad, -20.0 + (g + h) * db, scale=size,
            name=f"the gradient of the exponent, -20, {where}",
        )  # fmt: skip
        a, b = day10.Value(x), day10.Value(n)
        c = a**b
        a.data, b.data, c.data, c.grad = 50.0, 60.0, 70.0, 80.0
        send(c, g, f"{x} ** {n}")
        where = (
            f"in a ** b at a = {x}, b = {n}, where the test set all three numbers to others before "
            "the backward,"
        )
        size = 1.0 + 6 * max(abs(da), abs(db))
        close(a.grad, g * da, scale=size, name=f"the gradient of the base {where}")
        close(b.grad, g * db, scale=size, name=f"the gradient of the exponent {where}")


@exercise("Value")
def test_a_value_to_its_own_power(rng):
    x = float(rng.uniform(low=0.3, high=3.0))
    a = day10.Value(x)
    c = a**a
    assert c.parents == (a, a), f"a ** a has the parents {c.parents}: a is both"
    send(c, 1.0, f"{x} ** {x}")
    wanted = x**x * (math.log(x) + 1.0)
    close(
        a.grad, wanted, scale=x**x * 3.0, name="the gradient of a ** a, where a is due two shares,"
    )


@exercise("Value")
@pytest.mark.parametrize(
    "x, n, value, da, db",
    [
        (0.0, 0.0, 1.0, 0.0, 0.0),
        (0.0, 2.0, 0.0, 0.0, 0.0),
        (0.0, 1.0, 0.0, 1.0, 0.0),
        (0.0, 0.5, 0.0, INF, 0.0),
        (-2.0, 3.0, -8.0, 12.0, NAN),
        (-2.0, 0.0, 1.0, 0.0, NAN),
        (5.0, 0.0, 1.0, 0.0, math.log(5.0)),
        (1.0, 7.0, 1.0, 7.0, 0.0),
        (NAN, 2.0, NAN, NAN, NAN),
        (1e-200, 2.0, 0.0, 2e-200, 0.0),
        (1e-200, -1.0, 1e200, -INF, -200 * math.log(10.0) * 1e200),
    ],
)
def test_value_exponents_at_the_edge(x, n, value, da, db):
    got = power_shares(x, n)
    where = f"x ** n at x = {x}, n = {n}"
    close(got[0], value, name=where)
    close(got[1], da, name=f"the gradient of x in {where}")
    close(got[2], db, name=f"the gradient of n in {where}")
    if x == x and not math.isinf(da):
        theirs, slopes = torch_slopes(operator.pow, x, n)
        close(np.array([value, da, db]), np.array([theirs, *slopes]), name="the test's own numbers")


@exercise("Value")
@pytest.mark.parametrize(
    "x, n, kind",
    [
        (-8.0, 0.5, ValueError),
        (0.0, -1.0, ValueError),
        (1e200, 2.0, OverflowError),
    ],
)
def test_value_exponents_name_what_they_refuse(x, n, kind):
    text = f"pow({x}, {n})"
    refused(lambda: day10.Value(x) ** day10.Value(n), kind, text)
    refused(lambda: x ** day10.Value(n), kind, text)


@exercise("Value")
def test_numbers_to_the_power_of_a_value(rng):
    for number in (2, 0.5, True, np.float64(3.0), np.int64(2), Fraction(3, 2)):
        n, g = (float(v) for v in rng.uniform(2, low=0.5, high=3.0))
        a = day10.Value(n)
        c = number**a
        x = float(number)
        assert type(c) is day10.Value, f"{number!r} ** a is a {type(c).__name__}"
        close(c.data, x**n, name=f"{number!r} ** {n}")
        assert c.op == "**" and len(c.parents) == 2 and c.parents[1] is a, (
            f"{number!r} ** a has the op {c.op!r} and the parents {c.parents}"
        )
        assert type(c.parents[0]) is day10.Value and c.parents[0].data == x, (
            f"{number!r} ** a has the first parent {c.parents[0]!r}, not a Value of {x}"
        )
        send(c, g, f"{number!r} ** {n}")
        wanted = g * x**n * math.log(x)
        close(a.grad, wanted, name=f"the gradient of the exponent in {number!r} ** {n}")
    for thing in ("2", None, 2j):
        with pytest.raises(TypeError):
            made = thing ** day10.Value(2.0)
            pytest.fail(f"{thing!r} ** a gave {made!r}")


@exercise("Value")
def test_constant_exponents_are_still_constants(rng):
    x = -float(rng.uniform(low=0.5, high=3.0))
    a = day10.Value(x)
    b = a**2
    assert (b.op, b.parents) == ("**2", (a,)), f"a ** 2 has op {b.op!r}, parents {b.parents}"
    send(b, 1.0, f"{x} ** 2")
    close(a.grad, 2 * x, name="the gradient of a ** 2")
    for thing in ("2", None):
        with pytest.raises(TypeError):
            made = a**thing
            pytest.fail(f"a ** {thing!r} gave {made!r}")


@exercise("Value")
def test_value_exponents_make_their_own_class():
    class Later(day10.Value):
        __slots__ = ()

    for c in (Later(2.0) ** Later(3.0), 2 ** Later(3.0)):
        assert type(c) is Later and all(type(p) is Later for p in c.parents), (
            f"a later class's power is a {type(c).__name__} of {[type(p) for p in c.parents]}"
        )
    leaves_no_circle(day10.Value, lambda a: (a**a) ** (2**a), "(a ** a) ** (2 ** a)")


STEPS = ["+", "-", "*", "/", "exp", "log", "sqrt", "abs", "**", "**2", "**0.5", "**-1", "2**"]
programs = st.lists(
    st.tuples(st.sampled_from(STEPS), st.integers(0, 99), st.integers(0, 99)),
    min_size=2,
    max_size=12,
)
ACTS = {
    "+": lambda x, y: x + y,
    "-": lambda x, y: x - y,
    "*": lambda x, y: x * y,
    "/": lambda x, y: x / y,
    "exp": lambda x, y: x.exp(),
    "log": lambda x, y: x.log(),
    "sqrt": lambda x, y: x.sqrt(),
    "abs": lambda x, y: abs(x),
    "**": lambda x, y: x**y,
    "**2": lambda x, y: x**2,
    "**0.5": lambda x, y: x**0.5,
    "**-1": lambda x, y: x**-1,
    "2**": lambda x, y: 2**x,
}


def run(program, inputs):
    """Each step uses any of what is there before it; a step that leads too far is left out."""
    made = list(inputs)
    for op, i, j in program:
        x, y = made[i % len(made)], made[j % len(made)]
        u, v = (float(getattr(z, "data", z)) for z in (x, y))
        far = abs(u) > 30 or abs(v) > 30
        near = op in ("log", "sqrt", "**", "**0.5", "**-1") and u < 0.1
        if far or near or (op == "/" and abs(v) < 0.1) or (op == "abs" and abs(u) < 0.01):
            continue
        if (op in ("exp", "2**") and abs(u) > 3) or (op == "**" and abs(v) > 3):
            continue
        made.append(ACTS[op](x, y))
    return made


@exercise("Value")
def test_random_programs_agree_with_torch(rng):
    inputs = [float(x) for x in rng.uniform(3, low=0.5, high=2.0)]

    @hypothesis.seed(rng.seed)
    @hypothesis.settings(
        max_examples=80,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=[hypothesis.Phase.generate, hypothesis.Phase.shrink],
    )
    @hypothesis.given(programs)
    def check(program):
        leaves = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in inputs]
        tensors = run(program, leaves)
        for tensor in tensors:
            tensor.retain_grad()
        values = run(program, [day10.Value(x) for x in inputs])
        got, wanted = np.array([v.data for v in values]), np.array([t.item() for t in tensors])
        largest = np.abs(wanted).max()
        close(got, wanted, scale=largest, terms=1000, name=f"the values of {program}")
        backward(sum(values))
        sum(tensors).backward()
        got, wanted = np.array([v.grad for v in values]), np.array([float(t.grad) for t in tensors])
        largest *= max(np.abs(wanted).max(), 1.0)
        close(got, wanted, scale=largest, terms=1000, name=f"the gradients of {program}")

    check()
