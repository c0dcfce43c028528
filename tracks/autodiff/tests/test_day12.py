"""Day 12: six functions, right far from 0 and at 0, each one node with its own backward."""

import contextlib
import gc
import math
import sys

import numpy as np
import pytest
import torch
from scipy import special

from harness.testing import close, exercise
from tracks.autodiff import day12

# Where a function bends, where one form gives way to another, and far out.
POINTS = [
    0.0, -0.0, 1e-300, -1e-300, 1e-8, -1e-8, 0.3, -0.3, 0.75, -0.75, 1.0, -1.0, 2.5, -2.5, 6.0,
    -6.0, 10.0, -10.0, 20.5, -20.5, 36.0, -36.0, 38.0, -38.0, 100.0, -100.0, 700.0, -700.0,
    1e3, -1e3, 1e8, -1e8, 1e200, -1e200, 1e300, -1e300,
]  # fmt: skip

NAMES = ["relu", "leaky_relu", "tanh", "sigmoid", "softplus", "gelu"]
LIMITS = {  # at -inf and at inf; None where the formula is 0 times inf
    "relu": (0.0, math.inf),
    "leaky_relu": (-math.inf, math.inf),
    "tanh": (-1.0, 1.0),
    "sigmoid": (0.0, 1.0),
    "softplus": (0.0, math.inf),
    "gelu": (None, math.inf),
}


def of(*names):
    return pytest.mark.parametrize("name", [pytest.param(n, marks=exercise(n)) for n in names])


each = of(*NAMES)


def oracle(name, x):
    """The function in float64, without cancellation on the left."""
    t = torch.as_tensor(x, dtype=torch.float64)
    if name == "gelu":
        return t * special.ndtr(t.numpy())  # torch's own loses digits on the left
    if name == "softplus":
        return torch.logaddexp(t, torch.zeros_like(t))
    return getattr(torch.nn.functional, name)(t)


def oracle_slope(name, x):
    """Its derivative; at the kinks what PyTorch takes."""
    if name == "softplus":
        return oracle("sigmoid", x)
    t = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    return torch.autograd.grad(differentiable(name, t), t)[0]


def differentiable(name, t):
    return torch.nn.functional.gelu(t) if name == "gelu" else oracle(name, t)


@contextlib.contextmanager
def telling(where):
    """What is raised says where, and what it means."""
    try:
        yield
    except (ArithmeticError, TypeError, ValueError) as error:
        says = str((error.args or ("",))[-1])
        if says.endswith("object is not iterable"):
            says = "the parents are a Value itself, for (x) is no tuple"
        error.args = (f"{says}, in {where}",)
        raise


def made(name, x, kind=None, **options):
    """The function's result as (Value, its input)."""
    leaf = (kind or day12.Value)(x)
    with telling(f"{name}({x:g})"):
        y = getattr(day12, name)(leaf, **options)
    assert y is not None, f"{name} returns None"
    assert isinstance(y, day12.Value), f"{name} of a Value returns a {type(y).__name__}"
    return y, leaf


def send(name, x, y, leaf, grad=1.0):
    """Give the result of name(x) its gradient."""
    assert callable(y._backward), (
        f"the backward in the result of {name} is {y._backward!r} and no function: "
        "it is the fourth argument of the new Value"
    )
    before = leaf.grad
    with telling(f"the backward of {name} at {x:g}"):
        returned = y._backward(grad)
    ignored = isinstance(returned, float) and returned != 0.0 and leaf.grad == before
    assert not ignored, (
        f"the backward of {name} at {x:g} returned {returned:g} and added nothing to x.grad: "
        "what it returns is ignored"
    )


def value_is_right(name, x):
    y, _ = made(name, x)
    # Rounding the argument of erfc moves its far tail by x² rounding errors.
    factor = 4.0 + (x * x if name == "gelu" and abs(x) < 50 else 0.0)
    close(y.data, oracle(name, x).item(), factor=factor, name=f"{name}({x:g})")


def slope_is_right(name, x, grad=1.0):
    y, leaf = made(name, x)
    send(name, x, y, leaf, grad)
    want = oracle_slope(name, x).item()
    close(
        leaf.grad, grad * want, scale=abs(grad), terms=4,
        name=f"the gradient of {name} at {x:g}" + (f", times {grad:g}" if grad != 1 else ""),
    )  # fmt: skip


# Each function alone --------------------------------------------------------------------------


@exercise("relu")
@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_relu_at_its_kink(zero):
    y, leaf = made("relu", zero)
    send("relu", zero, y, leaf)
    assert (y.data, leaf.grad) == (0.0, 0.0), (
        f"at {zero} relu has the value {y.data} and the slope {leaf.grad}; take 0 for both"
    )


@exercise("leaky_relu")
@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_leaky_relu_at_its_kink(zero):
    y, leaf = made("leaky_relu", zero, negative_slope=0.3)
    send("leaky_relu", zero, y, leaf)
    assert (y.data, leaf.grad) == (0.0, 0.3), (
        f"at {zero}, with negative_slope=0.3, leaky_relu has the value {y.data} and the slope "
        f"{leaf.grad}; take 0 and 0.3"
    )


@exercise("leaky_relu")
@pytest.mark.parametrize("slope", [0.0, 0.01, 0.3, 1.0, 2.5, -0.7])
def test_leaky_relu_with_any_slope(slope, rng):
    for x in [*rng.normal(10).tolist(), 0.0, 1e3, -1e3]:
        y, leaf = made("leaky_relu", x, negative_slope=slope)
        tensor = torch.tensor(x, dtype=torch.float64)
        want = torch.nn.functional.leaky_relu(tensor, slope).item()
        close(y.data, want, name=f"leaky_relu({x:.3g}, negative_slope={slope})")
        send("leaky_relu", x, y, leaf, 1.5)
        want = 1.5 if x > 0 else 1.5 * slope
        close(leaf.grad, want, name=f"1.5 times the slope at {x:.3g} with negative_slope={slope}")


@exercise("leaky_relu")
def test_leaky_relu_takes_the_slope_by_position_and_as_a_method():
    close(
        day12.leaky_relu(day12.Value(-2.0), 0.5).data, -1.0,
        name="leaky_relu(x, 0.5) at -2",
    )  # fmt: skip
    close(
        day12.Value(-2.0).leaky_relu(negative_slope=0.25).data, -0.5,
        name="x.leaky_relu(negative_slope=0.25) at -2",
    )  # fmt: skip


@exercise("tanh")
def test_tanh_is_odd(rng):
    for x in rng.normal(20, std=3.0).tolist():
        assert made("tanh", x)[0].data == -made("tanh", -x)[0].data, f"tanh({x}) != -tanh({-x})"


@exercise("sigmoid")
def test_sigmoid_stays_between_0_and_1(rng):
    for x in [*rng.normal(50, std=30.0).tolist(), 36.8, 745.0, -745.0, 800.0, -800.0]:
        y = made("sigmoid", x)[0].data
        assert 0.0 <= y <= 1.0, f"sigmoid({x}) is {y}"


@exercise("softplus")
def test_softplus_lies_above_relu():
    for x in np.linspace(-700.0, 30.0, 200).tolist():
        y = made("softplus", x)[0].data
        assert y > max(x, 0.0), f"softplus({x:.4g}) is {y}: it should lie above relu"


@exercise("gelu")
def test_gelu_is_the_exact_one(rng):
    """Where its approximation by tanh differs most, by up to 5e-4."""
    for x in [2.3, -2.3, *rng.uniform(5, low=2.0, high=3.0).tolist()]:
        want = x * special.ndtr(x)
        off = abs(made("gelu", x)[0].data - want)
        assert off < 1e-9, f"gelu({x:.3g}) is off by {off:.1e}: is it an approximation?"


@exercise("gelu")
def test_gelu_has_its_slope_0_in_its_valley():
    x = -0.7517915246935645
    y, leaf = made("gelu", x)
    send("gelu", x, y, leaf)
    close(y.data, x * special.ndtr(x), name="the lowest value of gelu")
    close(leaf.grad, 0.0, scale=1.0, name="its slope there")


# What is true of all six ----------------------------------------------------------------------


@each
def test_values(name, rng):
    for x in [0.5, -0.5, *rng.uniform(60, low=-8.0, high=8.0).tolist()]:
        value_is_right(name, x)


@each
@pytest.mark.parametrize("x", POINTS)
def test_values_at_the_edges(name, x):
    value_is_right(name, x)


@each
def test_slopes(name, rng):
    for x in [0.5, -0.5, *rng.uniform(60, low=-8.0, high=8.0).tolist()]:
        slope_is_right(name, x)


@each
@pytest.mark.parametrize("x", POINTS)
def test_slopes_at_the_edges(name, x):
    slope_is_right(name, x)


@each
def test_the_gradient_of_the_result_counts(name, rng):
    for grad in rng.normal(5, std=3.0).tolist():
        for x in (-1.3, 0.4, 2.0):
            slope_is_right(name, x, grad)


@each
def test_data_that_changes_later(name, rng):
    for x, later in ((1.5, -2.0), (-1.5, 2.0)):
        y, leaf = made(name, x)
        leaf.data = later
        send(name, x, y, leaf)
        close(
            leaf.grad, oracle_slope(name, x).item(), scale=1.0, terms=4,
            name=f"the gradient at {x}, where x.data became {later} before the backward",
        )  # fmt: skip


@each
def test_gradients_add_up(name, rng):
    x = float(rng.uniform(low=0.2, high=1.0))
    want = oracle_slope(name, x).item()
    y, leaf = made(name, x)
    leaf.grad = 10.0
    send(name, x, y, leaf, 1.0)
    send(name, x, y, leaf, 2.0)
    close(
        leaf.grad, 10.0 + 3.0 * want,
        name="the gradient of a value that had 10 and is used again",
    )  # fmt: skip


@of("sigmoid", "softplus")
@pytest.mark.parametrize("x", [-712.0, -715.0, -720.0, -730.0, -740.0, -744.0])
def test_the_smallest_results(name, x):
    """Here e^x is a float, though with few digits, and e^-x is none."""
    y, want = made(name, x)[0].data, math.exp(x)
    right = y > 0.0 and abs(y - want) <= 4 * 5e-324
    assert right, f"{name}({x:g}) is {y:g}; the right number, {want:g}, is a float too"


@of("sigmoid", "softplus", "gelu")
@pytest.mark.parametrize("x", [-1e3, -1e8, -1e200, -1e300])
def test_results_too_small_for_a_float(name, x):
    y = made(name, x)[0].data
    assert y == 0.0, f"{name}({x:g}) is {y:g}; the right number rounds to 0: is x clamped?"


@each
def test_nan_stays_nan(name):
    y, leaf = made(name, math.nan)
    assert math.isnan(y.data), f"{name}(nan) is {y.data}: the nan is hidden, and with it its cause"
    assert y.op == name and y.parents == (leaf,), (
        f"{name}(nan) has the op {y.op!r} and {len(y.parents)} parents: it is a node like any other"
    )
    send(name, math.nan, y, leaf)


@each
def test_infinite_numbers(name):
    for x, want in zip((-math.inf, math.inf), LIMITS[name], strict=True):
        y, leaf = made(name, x)
        right = want is None or y.data == want
        assert right, f"{name}({x:g}) is {y.data:g}; the limit is {want:g}"
        send(name, x, y, leaf)


@each
def test_one_node(name):
    y, leaf = made(name, 0.7)
    assert type(y) is day12.Value, f"{name} of a Value makes a {type(y).__name__}"
    assert y.parents == (leaf,), f"the parents are {y.parents}, not the one argument"
    assert y.op == name, f"the op is {y.op!r}"
    assert type(y.data) is float and y.grad == 0.0, (
        f"{name} of a Value left the data {y.data!r} and the grad {y.grad!r}"
    )
    assert leaf.grad == 0.0 and leaf.data == 0.7, "the call itself changes its input"


@each
def test_a_later_class_makes_its_own(name):
    class Later(day12.Value):
        __slots__ = ()

    y, _ = made(name, 0.7, kind=Later)
    assert type(y) is Later, "a Value of a later class makes another class"


@each
def test_as_a_method(name, rng):
    x = float(rng.normal())
    leaf = day12.Value(x)
    with telling(f"x.{name}() at {x:g}"):
        y = getattr(leaf, name)()
    close(y.data, oracle(name, x).item(), name=f"x.{name}() at {x:g}")


@each
def test_freed_at_once(name):
    leaf = day12.Value(0.3)
    before = sys.getrefcount(leaf)
    gc.disable()  # reference counting alone has to do it
    try:
        with telling(f"{name}(0.3)"):
            getattr(day12, name)(leaf)
        left = sys.getrefcount(leaf) - before
    finally:
        gc.enable()
    assert left == 0, "the result is still there after its last use: its backward holds on to it"


@each
def test_in_an_expression(name, rng):
    """Chains, diamonds and repeats: gradients of w and b in f(f(w x) + b f(w))."""
    w0, b0, x0 = (float(v) for v in rng.normal(3))

    def both(w, b, x, f):
        return f(f(w * x) + b * f(w))

    w, b, x = (day12.Value(v) for v in (w0, b0, x0))
    with telling(f"{name} in an expression"):
        y = both(w, b, x, getattr(day12, name))
        y.backward()
    tensors = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (w0, b0, x0)]
    want = both(*tensors, lambda t: differentiable(name, t))
    want.backward()
    close(y.data, want.item(), scale=1.0, terms=16, name="the result")
    for label, mine, theirs in zip("wbx", (w, b, x), tensors, strict=True):
        close(mine.grad, theirs.grad.item(), scale=4.0, terms=16, name=f"the gradient of {label}")
