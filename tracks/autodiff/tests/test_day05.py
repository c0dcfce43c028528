"""Day 5: slopes that are carried along, against closed forms and torch's reverse mode."""

import math
import warnings
from fractions import Fraction
from functools import partial

import numpy as np
import pytest
import torch

from harness.testing import exercise, shapes
from tracks.autodiff import day05
from tracks.autodiff.day05 import Dual

UNARY = ("sin", "cos", "exp", "log", "tanh", "abs")


def near(got, expected, what, scale=1.0):
    """``got`` is float64 of expected's shape, exact but for rounding: no step size is that good."""
    expected = np.asarray(expected, dtype=float)
    assert not isinstance(got, Dual), f"{what} is still a Dual: {got!r}"
    assert np.shape(got) == expected.shape, (
        f"{what} has the shape {np.shape(got)}; {expected.shape} was expected"
    )
    got = np.asarray(got)
    assert got.dtype == np.float64, f"{what} has the dtype {got.dtype}, not float64"
    if got.size == 0:
        return
    error = np.abs(got - expected)
    allowed = 2e-13 * max(scale, float(np.abs(expected).max()))
    worst = np.unravel_index(np.argmax(np.where(np.isnan(error), np.inf, error)), error.shape)
    assert error[worst] <= allowed, (
        f"{what}: element {tuple(map(int, worst))} is {got[worst]:.15g}, expected "
        f"{expected[worst]:.15g}"
    )


def number(rng, low=0.5, high=2.0):
    return float(rng.uniform(low=low, high=high))


class Counted:
    """Calls f, and counts how often."""

    def __init__(self, f):
        self.f, self.calls = f, 0

    def __call__(self, x):
        self.calls += 1
        return self.f(x)


def check_dual(got, value, slope, tag, what):
    assert isinstance(got, Dual), f"{what} is a {type(got).__name__}, not a Dual"
    assert got.tag == tag, f"{what} belongs to the call {got.tag}, not {tag}"
    near(got.value, value, f"the value of {what}")
    near(got.slope, slope, f"the slope of {what}")


# Dual -----------------------------------------------------------------------------------------


@exercise("Dual")
def test_two_duals_of_one_call(rng):
    u, v, du, dv = number(rng), number(rng), number(rng), -number(rng)
    x, y = Dual(u, du, 7), Dual(v, dv, 7)
    check_dual(x + y, u + v, du + dv, 7, "x + y")
    check_dual(x - y, u - v, du - dv, 7, "x - y")
    check_dual(x * y, u * v, du * v + u * dv, 7, "x * y")
    check_dual(x / y, u / v, (du * v - u * dv) / v**2, 7, "x / y")
    slope = v * u ** (v - 1) * du + u**v * math.log(u) * dv
    check_dual(x**y, u**v, slope, 7, "x ** y")
    check_dual(-x, -u, -du, 7, "-x")
    check_dual(x - x, 0.0, 0.0, 7, "x - x")
    check_dual(x / x, 1.0, 0.0, 7, "x / x")
    check_dual(x * x, u * u, 2 * u * du, 7, "x * x")


@exercise("Dual")
@pytest.mark.parametrize(
    "kind",
    [int, float, np.float64, np.float32, np.int64, Fraction],
    ids=lambda kind: kind.__name__,
)
def test_a_number_on_either_side(kind, rng):
    u, du = number(rng), number(rng)
    x, c = Dual(u, du, 3), kind(3)
    for what, got, value, slope in [
        ("x + 3", x + c, u + 3, du),
        ("3 + x", c + x, u + 3, du),
        ("x - 3", x - c, u - 3, du),
        ("3 - x", c - x, 3 - u, -du),
        ("x * 3", x * c, u * 3, 3 * du),
        ("3 * x", c * x, u * 3, 3 * du),
        ("x / 3", x / c, u / 3, du / 3),
        ("3 / x", c / x, 3 / u, -3 / u**2 * du),
        ("x ** 3", x**c, u**3, 3 * u**2 * du),
        ("3 ** x", c**x, 3**u, 3**u * math.log(3) * du),
    ]:
        check_dual(got, value, slope, 3, what)


@exercise("Dual")
def test_functions(rng):
    u, du = number(rng), -number(rng)
    x = Dual(u, du, 5)
    check_dual(np.sin(x), math.sin(u), math.cos(u) * du, 5, "sin x")
    check_dual(np.cos(x), math.cos(u), -math.sin(u) * du, 5, "cos x")
    check_dual(np.exp(x), math.exp(u), math.exp(u) * du, 5, "exp x")
    check_dual(np.log(x), math.log(u), du / u, 5, "log x")
    check_dual(np.tanh(x), math.tanh(u), (1 - math.tanh(u) ** 2) * du, 5, "tanh x")
    check_dual(abs(x), u, du, 5, "|x| for a positive x")
    check_dual(np.abs(Dual(-u, du, 5)), u, -du, 5, "|x| for a negative x")
    check_dual(abs(Dual(0.0, du, 5)), 0.0, 0.0, 5, "|x| at 0")


@exercise("Dual")
@pytest.mark.parametrize("name", ["exp", "tanh"])
def test_exp_and_tanh_are_computed_once(name, monkeypatch):
    calls = Counted(getattr(Dual, name))
    monkeypatch.setattr(Dual, name, lambda self: calls(self))
    getattr(np, name)(Dual(Dual(0.5, 1.0, 1), 1.0, 2))  # the value is a Dual, which is counted too
    assert calls.calls <= 2, (
        f"np.{name} of a Dual computed the {name} of its value {calls.calls - 1} times: value and "
        "slope can share one"
    )


@exercise("Dual")
def test_powers_at_the_edges(rng):
    u, du = -number(rng), number(rng)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for n in (-2, -1, 0, 1, 2, 3):
            slope = n * u ** (n - 1) * du
            check_dual(Dual(u, du, 1) ** n, u**n, slope, 1, f"x ** {n} for a negative x")
        check_dual(Dual(0.0, du, 1) ** 0, 1.0, 0.0, 1, "x ** 0 at 0")
        check_dual(Dual(0.0, du, 1) ** 1, 0.0, du, 1, "x ** 1 at 0")
        check_dual(Dual(0.0, du, 1) ** 2, 0.0, 0.0, 1, "x ** 2 at 0")
        check_dual(1 ** Dual(u, du, 1), 1.0, 0.0, 1, "1 ** x")
        got = Dual(0.0, 0.0, 1) ** Dual(-u, 0.0, 1)
        check_dual(got, 0.0, 0.0, 1, "x ** y at x = 0, where neither moves")
    assert not caught, (
        f"numpy warned ({caught[0].message}): a term of the slope that should be left out was "
        "computed"
    )
    with np.errstate(all="ignore"):
        assert np.isnan((Dual(-8.0, 1.0, 1) ** (1 / 3)).value), "(-8) ** (1/3) is nan in numpy"


@exercise("Dual")
def test_what_belongs_to_another_call_is_constant(rng):
    u, du, v, dv = (number(rng) for _ in range(4))
    old, new = Dual(u, du, 2), Dual(v, dv, 9)
    for what, got, value, slope in [
        ("old + new", old + new, (u + v, du), (dv, 0.0)),
        ("new + old", new + old, (u + v, du), (dv, 0.0)),
        ("old * new", old * new, (u * v, du * v), (u * dv, du * dv)),
        ("new * old", new * old, (u * v, du * v), (u * dv, du * dv)),
        ("old - new", old - new, (u - v, du), (-dv, 0.0)),
        ("new / old", new / old, (v / u, -v / u**2 * du), (dv / u, -dv / u**2 * du)),
    ]:
        assert isinstance(got, Dual) and got.tag == 9, f"{what} should be of the newer call: {got}"
        parts = [("value", got.value, value), ("slope", got.slope, slope)]
        for name, part, (number_there, slope_there) in parts:
            if isinstance(part, Dual):
                check_dual(part, number_there, slope_there, 2, f"the {name} of {what}")
            else:
                near(part, number_there, f"the {name} of {what}")
                assert slope_there == 0.0, f"the {name} of {what} lost its slope in the older call"


@exercise("Dual")
@pytest.mark.parametrize("name", UNARY)
def test_functions_of_duals_in_duals(name, rng):
    # f(x) of x = ((u, 1), (1, 0)): value (f, f'), slope (f', f'')
    u = number(rng)
    leaf = torch.tensor(u, dtype=torch.float64, requires_grad=True)
    f = getattr(torch, name)(leaf)
    (first,) = torch.autograd.grad(f, leaf, create_graph=True)
    second = 0.0
    if first.requires_grad:
        (second,) = torch.autograd.grad(first, leaf, allow_unused=True, materialize_grads=True)
    value, slope, bend = (float(y.detach()) for y in (f, first, torch.as_tensor(second)))
    got = getattr(np, name)(Dual(Dual(u, 1.0, 1), Dual(1.0, 0.0, 1), 2))
    assert isinstance(got, Dual) and got.tag == 2, f"{name} of a Dual of call 2 came out as {got!r}"
    check_dual(got.value, value, slope, 1, f"the value of {name}")
    check_dual(got.slope, slope, bend, 1, f"the slope of {name}")


@exercise("Dual")
@shapes("length", 1, 4, 15)
def test_random_programs_equal_torch(length, rng):
    for _ in range(5):
        u = number(rng)
        leaf = torch.tensor(u, dtype=torch.float64, requires_grad=True)
        duals, tensors = [Dual(u, 1.0, 4)], [leaf]
        for _ in range(length):
            what = rng.choice(["+", "-", "*", "/", "**", "sin", "tanh", "exp", "log", "abs"])
            i, j = (int(rng.integers(0, len(duals))) for _ in range(2))
            for pool, library in ((duals, np), (tensors, torch)):
                a, b = pool[i], pool[j]
                if what == "+":
                    made = (a + b) / 2
                elif what == "-":
                    made = 1.5 - b + a
                elif what == "*":
                    made = a * library.sin(b)
                elif what == "/":
                    made = a / (1 + b * b)
                elif what == "**":
                    made = (1 + library.tanh(a) ** 2) ** library.sin(b)
                elif what in ("exp", "log"):
                    made = getattr(library, what)(1.5 + library.cos(a)) / 4
                else:
                    made = getattr(library, what)(a)
                pool.append(made)
        (slope,) = torch.autograd.grad(tensors[-1], leaf, allow_unused=True, materialize_grads=True)
        scale = 1e3 * max(1.0, abs(float(slope)))
        near(duals[-1].value, float(tensors[-1].detach()), "the value of a random program", scale)
        near(duals[-1].slope, float(slope), "the slope of a random program", scale)


@exercise("Dual")
def test_duals_and_arrays(rng):
    u, w = number(rng), rng.normal(3)
    x = Dual(u, 2.0, 1)
    for what, got, slopes in [
        ("x * w", x * w, 2 * w),
        ("w * x", w * x, 2 * w),
        ("w - x", w - x, np.full(3, -2.0)),
        ("w / x", w / x, -2 * w / u**2),
        ("x - w", x - w, np.full(3, 2.0)),
        ("2 ** (w + x)", 2 ** (w + x), 2 ** (w + u) * math.log(2) * 2),
    ]:
        assert isinstance(got, np.ndarray), f"{what} is a {type(got).__name__}, not an array"
        near([element.slope for element in got], slopes, f"the slopes of {what}")


@exercise("Dual")
def test_an_operand_is_not_changed(rng):
    u, du = number(rng), number(rng)
    x = Dual(u, du, 1)
    y = x
    y += 1
    y *= x
    check_dual(y, (u + 1) * u, (2 * u + 1) * du, 1, "(x + 1) * x")
    check_dual(x + 0, u, du, 1, "x, after y = x; y += 1,")


@exercise("Dual")
@pytest.mark.parametrize("other", ["2", None, 2j])
def test_what_is_no_number_is_refused(other):
    x = Dual(2.0, 1.0, 1)
    for what, compute in [
        ("x + y", lambda: x + other), ("y - x", lambda: other - x), ("y / x", lambda: other / x),
        ("y ** x", lambda: other**x), ("x - y", lambda: x - other),
    ]:  # fmt: skip
        with pytest.raises(TypeError):
            got = compute()
            pytest.fail(f"{what} with y = {other!r} came out as {got!r}")
    check_dual(x + 1, 3.0, 1.0, 1, "x + 1")


@exercise("Dual")
def test_a_power_whose_slope_is_zero_but_moves(rng):
    u = number(rng, 1.5, 3.0)
    # The base is y = u, the exponent x y with x = 0: its slope in y is x, and that moves with x.
    base, exponent = Dual(u, 1.0, 2), Dual(Dual(0.0, u, 1), Dual(0.0, 1.0, 1), 2)
    got = base**exponent
    check_dual(got.value, 1.0, u * math.log(u), 1, "the value of y ** (x y) at x = 0")
    check_dual(got.slope, 0.0, math.log(u) + 1.0, 1, "the slope of y ** (x y) at x = 0")
    # The same for a base x y with the slope x, and the exponent 1.
    got = Dual(Dual(0.0, u, 1), Dual(0.0, 1.0, 1), 2) ** 1
    check_dual(got.slope, 0.0, 1.0, 1, "the slope of (x y) ** 1 at x = 0")


# derivative -----------------------------------------------------------------------------------


@exercise("derivative")
def test_derivative_of_formulas(rng):
    x, a = number(rng), number(rng)
    for what, f, slope in [
        ("x³ - 2x", lambda x: x**3 - 2 * x, 3 * x**2 - 2),
        ("sin(x²)", lambda x: np.sin(x**2), math.cos(x**2) * 2 * x),
        ("a^x", lambda x: a**x, a**x * math.log(a)),
        ("x^x", lambda x: x**x, x**x * (math.log(x) + 1)),
        ("1 / (1 + exp(-x))", lambda x: 1 / (1 + np.exp(-x)), 0.25 / math.cosh(x / 2) ** 2),
        ("log(tanh(x))", lambda x: np.log(np.tanh(x)), 2 / math.sinh(2 * x)),
        ("x itself", lambda x: x, 1.0),
    ]:
        near(day05.derivative(f, x), slope, f"the derivative of {what} at {x}")


@exercise("derivative")
def test_derivative_is_exact_where_steps_are_not(rng):
    f = Counted(lambda x: np.sin(1e6 * x) / x)
    x = number(rng)
    slope = (1e6 * math.cos(1e6 * x) - math.sin(1e6 * x) / x) / x
    near(day05.derivative(f, x), slope, "the derivative of sin(10⁶ x) / x", scale=1e6)
    assert f.calls == 1, f"f was called {f.calls} times, not once"


@exercise("derivative")
def test_derivative_through_loops_and_branches(rng):
    def root(a):  # Heron's rule for the square root
        guess = 1.0
        while abs(guess * guess - a) > 1e-15 * a and guess != a / guess:
            better = (guess + a / guess) / 2
            if abs(better - guess) <= 1e-15 * guess:
                return better
            guess = better
        return guess

    a = number(rng, 2.0, 3.0)
    got = day05.derivative(lambda a: (root(a) + a / root(a)) / 2, a)
    near(got, 0.5 / math.sqrt(a), "the derivative of Heron's square root")

    def bent(x):
        return -3 * x if x < 0 else x * x

    near(day05.derivative(bent, -a), -3.0, "the slope on the left branch")
    near(day05.derivative(bent, a), 2 * a, "the slope on the right branch")


@exercise("derivative")
def test_derivative_of_constants_is_zero():
    near(day05.derivative(lambda x: 3, 2.0), 0.0, "the derivative of 3")
    near(day05.derivative(lambda x: 3.0 if x > 0 else x, 2), 0.0, "the derivative of 3.0")


@exercise("derivative")
def test_derivative_of_curves(rng):
    t, w = number(rng), rng.normal(2, 3)
    got = day05.derivative(lambda t: [np.cos(t), np.sin(t), 1.0], t)
    near(got, [-math.sin(t), math.cos(t), 0.0], "the velocity of a circle")
    near(day05.derivative(lambda t: np.exp(w * t), t), w * np.exp(w * t), "exp(w t), w an array")


@exercise("derivative")
def test_derivative_at_whole_numbers():
    for x in (2, np.int64(2), np.float32(2)):
        near(day05.derivative(lambda x: x**-1 + x / 4, x), 0.0, f"the slope of 1/x + x/4 at {x!r}")


@exercise("derivative")
def test_perturbations_are_not_confused(rng):
    d, a = day05.derivative, number(rng)
    for what, got, expected in [
        ("x · d(x + y)/dy", d(lambda x: x * d(lambda y: x + y, 1.0), a), 1.0),
        ("x · d(x y)/dy", d(lambda x: x * d(lambda y: x * y, 2.0), a), 2 * a),
        ("x · dx/dy", d(lambda x: x * d(lambda y: x, 2.0), a), 0.0),
        ("d(x y²)/dy at y = x", d(lambda x: d(lambda y: x * y**2, x), a), 4 * a),
        ("d(x/y)/dy at y = 2", d(lambda x: d(lambda y: x / y, 2.0), a), -0.25),
        ("d(y^x)/dy at y = 1", d(lambda x: d(lambda y: y**x, 1.0), a), 1.0),
        (
            "x · d(d(x y z)/dz)/dy",
            d(lambda x: x * d(lambda y: d(lambda z: x * y * z, 3.0), 2.0), a),
            2 * a,
        ),
        (
            "two inner calls, one after the other",
            d(lambda x: d(lambda y: x * y, 2.0) * d(lambda y: np.sin(x * y), 0.0), a),
            2 * a,
        ),
    ]:
        near(got, expected, f"the derivative of {what} in x at {a}")


CURVES = {
    "exp(sin x)": lambda x, m: m.exp(m.sin(x)),
    "x³ log x": lambda x, m: x**3 * m.log(x),
    "tanh(x) / x": lambda x, m: m.tanh(x) / x,
    "x^x": lambda x, m: x**x,
    "2^cos x": lambda x, m: 2 ** m.cos(x),
    "|x| x": lambda x, m: abs(x) * x,
}


@exercise("derivative")
@pytest.mark.parametrize("what", CURVES)
def test_third_derivatives_equal_torch(what, rng):
    x, f = number(rng), CURVES[what]
    leaf = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    y, g = f(leaf, torch), partial(f, m=np)
    for order in (1, 2, 3):
        (y,) = torch.autograd.grad(y, leaf, create_graph=True, materialize_grads=True)
        g = partial(day05.derivative, g)
        near(g(x), float(y.detach()), f"derivative number {order} of {what} at {x}", scale=100.0)
        if not y.requires_grad:
            break


@exercise("derivative")
def test_powers_at_zero_inside_a_derivative():
    d = day05.derivative
    got = d(lambda x: d(lambda y: y**2, x), 0.0)
    near(got, 2.0, "the second derivative of x² at 0")
    # d/dx of d/dy y^(x y) at y = 2; the exponent's slope in y is x, which is 0 here but moves.
    got = d(lambda x: d(lambda y: y ** (x * y), 2.0), 0.0)
    near(got, math.log(2.0) + 1.0, "the derivative of y^(x y), in y and x, at y = 2, x = 0")


@exercise("derivative")
def test_long_programs():
    def f(x):
        for _ in range(3000):
            x = x + 1e-3 * (1.0 - x)
        return x

    near(day05.derivative(f, 0.3), (1 - 1e-3) ** 3000, "the derivative of 3000 steps")


# jvp ------------------------------------------------------------------------------------------


def network(rng, inputs, outputs):
    first, last = rng.normal(4, inputs), rng.normal(outputs, 4)

    def f(x):
        return last @ np.tanh(first @ x.reshape(-1))

    def by_torch(x):
        return torch.tensor(last) @ torch.tanh(torch.tensor(first) @ x.reshape(-1))

    return f, by_torch


@exercise("jvp")
@shapes("inputs, outputs", (1, 1), (5, 2), (2, 6))
def test_jvp_equals_torch(inputs, outputs, rng):
    f, by_torch = network(rng, inputs, outputs)
    counted = Counted(f)
    x, v = rng.normal(inputs), rng.normal(inputs)
    value, slope = day05.jvp(counted, x, v)
    assert counted.calls == 1, f"f was called {counted.calls} times; one pass gives both"
    expected = torch.autograd.functional.jvp(by_torch, torch.tensor(x), torch.tensor(v))
    near(value, expected[0].numpy(), "the value", scale=10.0)
    near(slope, expected[1].numpy(), "the slope in the direction v", scale=10.0)


@exercise("jvp")
@shapes("shape", (3,), (2, 3), (2, 1, 2), (1,))
def test_jvp_of_any_shape(shape, rng):
    x, v, w = rng.normal(*shape), rng.normal(*shape), rng.normal(*shape)
    seen = []

    def f(x):
        seen.append(x.shape)
        return np.sum(w * np.sin(x))

    value, slope = day05.jvp(f, x, v)
    assert seen == [shape], f"f was given arrays of the shapes {seen}, x has {shape}"
    near(value, np.sum(w * np.sin(x)), "the value", scale=10.0)
    near(slope, np.sum(w * np.cos(x) * v), "the slope", scale=10.0)
    _, slope = day05.jvp(lambda x: w * x * x, x, v)
    near(slope, 2 * w * x * v, "the slope of an array", scale=10.0)


@exercise("jvp")
def test_jvp_is_linear_in_the_direction(rng):
    x, v, w, a = rng.normal(3), rng.normal(3), rng.normal(3), number(rng)

    def f(x):
        return [x[0] * x[1], np.exp(x[2]) / (2 + x[0] * x[0]), x[1] - x[2]]

    total = day05.jvp(f, x, a * v + w)[1]
    near(total, a * day05.jvp(f, x, v)[1] + day05.jvp(f, x, w)[1], "J (a v + w)", scale=100.0)
    near(day05.jvp(f, x, np.zeros(3))[1], np.zeros(3), "J 0")
    assert np.abs(total).max() > 0, "the slope in a random direction is not 0"


@exercise("jvp")
def test_jvp_takes_lists_and_whole_numbers():
    value, slope = day05.jvp(lambda x: x[0] / x[1], [3, 4], np.array([1, 2]))
    near(value, 0.75, "the value of x0 / x1")
    near(slope, 0.25 - 3 / 16 * 2, "the slope of x0 / x1")


@exercise("jvp")
def test_jvp_of_what_does_not_move(rng):
    x = rng.normal(2)
    value, slope = day05.jvp(lambda x: [1.0, x[0] * 2], x, [1.0, 0.0])
    near(value, [1.0, 2 * x[0]], "the value")
    near(slope, [0.0, 2.0], "the slope of a constant and of 2 x0")


@exercise("jvp")
@pytest.mark.parametrize("v", [[1.0], [[1.0, 2.0]], [1.0, 2.0, 3.0]])
def test_jvp_refuses_another_shape(v):
    f = Counted(lambda x: x[0])
    with pytest.raises(ValueError) as caught:
        got = day05.jvp(f, [1.0, 2.0], v)
        pytest.fail(f"a direction of the shape {np.shape(v)} for x of (2,) gave {got}")
    assert f.calls == 0, "f was called before the shapes were compared"
    assert str(np.shape(v)) in str(caught.value) and "(2,)" in str(caught.value), (
        f"the message does not name both shapes: {caught.value}"
    )


@exercise("jvp")
def test_jvp_inside_jvp_and_derivative(rng):
    x, v, w = rng.normal(3), rng.normal(3), rng.normal(3)
    form = rng.normal(3, 3)

    def f(x):
        return x @ form @ x

    got = day05.jvp(lambda x: day05.jvp(f, x, v)[1], x, w)[1]
    near(got, v @ (form + form.T) @ w, "the second derivative along v and w", scale=100.0)
    got = day05.jvp(lambda x: x[0] * day05.jvp(lambda y: x[0] + y[0], [1.0], [1.0])[1], x, v)[1]
    near(got, v[0], "the slope of x0 · d(x0 + y)/dy")
    got = day05.derivative(lambda t: day05.jvp(f, x + t * w, v)[1], 0.0)
    near(got, v @ (form + form.T) @ w, "the derivative of a jvp", scale=100.0)
    got = day05.derivative(lambda t: day05.jvp(f, x, t * v)[1], 0.0)
    near(got, x @ (form + form.T) @ v, "the derivative in the size of the direction", scale=100.0)
    value, _ = day05.jvp(lambda x: day05.jvp(f, x, v)[0], x, w)
    near(value, x @ form @ x, "the value of a jvp in a jvp", scale=100.0)


# jacobian_forward -----------------------------------------------------------------------------


@exercise("jacobian_forward")
@shapes("inputs, outputs", (1, 1), (3, 2), (2, 5), (4, 4))
def test_jacobian_equals_torch(inputs, outputs, rng):
    f, by_torch = network(rng, inputs, outputs)
    counted = Counted(f)
    x = rng.normal(inputs)
    got = day05.jacobian_forward(counted, x)
    expected = torch.autograd.functional.jacobian(by_torch, torch.tensor(x)).numpy()
    near(got, expected, "the Jacobian", scale=10.0)
    assert counted.calls == inputs, (
        f"f was called {counted.calls} times for {inputs} inputs; a pass gives a whole column"
    )


@exercise("jacobian_forward")
def test_jacobian_of_other_shapes(rng):
    for shape, out in [((2, 3), (4,)), ((2, 2), (3, 2)), ((3,), ()), ((2, 1, 2), (2, 2, 2))]:
        x, w = rng.normal(*shape), rng.normal(*out, *shape)

        def f(x, w=w, shape=shape):
            return (w * np.sin(x)).sum(axis=tuple(range(-len(shape), 0)))

        got = day05.jacobian_forward(f, x)
        near(got, w * np.cos(x), f"the Jacobian from {shape} to {out}", scale=10.0)


@exercise("jacobian_forward")
def test_jacobian_of_lists_and_whole_numbers():
    got = day05.jacobian_forward(lambda x: [x[0] * x[1], x[0] / x[1], 7.0], [2, 4])
    near(got, [[4.0, 2.0], [0.25, -0.125], [0.0, 0.0]], "the Jacobian")


@exercise("jacobian_forward")
@shapes("n", 1, 3)
def test_hessian_equals_torch(n, rng):
    f, by_torch = network(rng, n, 1)
    x = rng.normal(n)

    def slopes(x):
        return day05.jacobian_forward(lambda x: f(x)[0] ** 2, x)

    got = day05.jacobian_forward(slopes, x)
    expected = torch.autograd.functional.hessian(lambda x: by_torch(x)[0] ** 2, torch.tensor(x))
    near(got, expected.numpy(), "the Jacobian of the Jacobian", scale=100.0)


@exercise("jacobian_forward")
def test_jacobian_is_not_confused_by_an_outer_call(rng):
    x = rng.normal(2)

    def f(x):
        return x[0] * day05.jacobian_forward(lambda y: [x[0] + y[0], x[1] * y[1]], [1.0, 2.0])

    # f(x) = x0 · [[1, 0], [0, x1]]
    expected = np.zeros((2, 2, 2))
    expected[0, 0, 0], expected[1, 1, 0], expected[1, 1, 1] = 1.0, x[1], x[0]
    near(day05.jacobian_forward(f, x), expected, "the Jacobian of x0 · (a Jacobian in y)")
