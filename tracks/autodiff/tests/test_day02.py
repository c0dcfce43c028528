"""Day 2: chains of any length, and formulas whose derivatives are checked in complex numbers."""

import math

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import strategies as st

from harness.testing import close, exercise, shapes
from tracks.autodiff import day02

DEPTH = 100_000


class Counted:
    """Calls f, and counts."""

    def __init__(self, f):
        self.f, self.calls = f, 0

    def __call__(self, x):
        self.calls += 1
        return self.f(x)


# compose --------------------------------------------------------------------------------------


@exercise("compose")
def test_compose_applies_the_last_first(rng):
    x = float(rng.normal())
    got = day02.compose(math.sin, math.exp, lambda x: 3 * x)(x)
    want = math.sin(math.exp(3 * x))
    order = 3 * math.exp(math.sin(x))
    says = (
        f"compose(sin, exp, 3x) at x = {x:.3f}: sin(exp(3x)) = {want:.4f} was expected, got {got}"
    )
    assert got != order, f"{says}: that is 3 exp(sin(x)), the order is reversed"
    assert got == want, says
    assert day02.compose(str.upper, str.strip, repr)(" a ") == "' A '", (
        "compose takes functions of anything, such as str.upper, str.strip and repr"
    )


@exercise("compose")
def test_compose_of_none_and_of_one():
    thing = object()
    assert day02.compose()(thing) is thing, "compose() should return its argument as it is"
    assert day02.compose(id)(thing) == id(thing), "compose(f)(x) should be f(x)"


@exercise("compose")
def test_compose_calls_each_function_once_a_call():
    fs = [Counted(lambda x: x + 1) for _ in range(5)]
    composed = day02.compose(*fs)
    assert [f.calls for f in fs] == [0] * 5, "a function was called before there was an x"
    first, second = composed(0), composed(10)
    assert first == 5, f"five functions that add 1 make 5 of 0, got {first}"
    assert second == 15, f"of 10 they make 15, got {second}: a second call should start afresh"
    assert [f.calls for f in fs] == [2] * 5, "each function is called once for each x"


@exercise("compose")
def test_compose_can_be_composed(rng):
    x = rng.normal(5)
    inner = day02.compose(np.tanh, np.cos)
    got = day02.compose(np.exp, inner, inner)(x)
    close(got, np.exp(np.tanh(np.cos(np.tanh(np.cos(x))))), name="exp, and twice tanh(cos(x))")


@exercise("compose")
def test_compose_of_a_deep_chain():
    assert day02.compose(*[lambda n: n + 1] * DEPTH)(0) == DEPTH, (
        f"{DEPTH} functions that add 1 make {DEPTH} of 0"
    )


# chain_derivative -----------------------------------------------------------------------------

# name, numpy's function, its derivative, torch's function; defined everywhere
LINKS = [
    ("sin", np.sin, np.cos, torch.sin),
    ("cos", np.cos, lambda x: -np.sin(x), torch.cos),
    ("tanh", np.tanh, lambda x: 1 - np.tanh(x) ** 2, torch.tanh),
    (
        "exp(-u^2)",
        lambda x: np.exp(-x * x),
        lambda x: -2 * x * np.exp(-x * x),
        lambda x: torch.exp(-x * x),
    ),
    ("1.5u + 1", lambda x: 1.5 * x + 1, lambda x: 1.5, lambda x: 1.5 * x + 1),
    ("u^2", lambda x: x * x, lambda x: 2 * x, lambda x: x * x),
]


@exercise("chain_derivative")
def test_chain_derivative_takes_each_slope_at_its_own_place():
    # (3x)² at x = 2: the outer slope is 2 * 6, not 2 * 2.
    got = day02.chain_derivative(
        [lambda x: x**2, lambda x: 3 * x], [lambda x: 2 * x, lambda x: 3.0], 2
    )
    assert got == 36.0, f"the slope of (3x)² at 2 is 2 * 6 * 3 = 36, got {got}"
    got = day02.chain_derivative(
        [lambda x: 3 * x, lambda x: x**2], [lambda x: 3.0, lambda x: 2 * x], 2
    )
    assert got == 12.0, f"the slope of 3x² at 2 is 3 * 4 = 12, got {got}"


@exercise("chain_derivative")
@pytest.mark.parametrize("shape", [(), (1,), (3, 4), (0,), (2, 1, 3)], ids=str)
def test_chain_derivative_equals_torch(shape, rng):
    for length in (1, 2, 3, 6):
        links = [rng.choice(LINKS) for _ in range(length)]
        x = rng.uniform(*shape, low=-1.5, high=1.5)
        leaf = torch.tensor(x, requires_grad=True)
        y = leaf
        for *_, f in reversed(links):
            y = f(y)
        y.sum().backward()
        got = day02.chain_derivative([f for _, f, *_ in links], [df for _, _, df, _ in links], x)
        names = ", ".join(name for name, *_ in links)
        expected = leaf.grad.numpy()
        # Slopes up to 3 in each link: rounding in an early one grows in the later.
        close(
            got,
            expected,
            terms=length,
            scale=3.0**length,
            name=f"the slope of compose({names}) at x = {np.round(x, 3).tolist()}",
        )


@exercise("chain_derivative")
def test_chain_derivative_of_no_function():
    assert day02.chain_derivative([], [], 5.0) == 1.0, "without functions the derivative is 1"
    got = day02.chain_derivative((), (), np.zeros((2, 3)))
    close(got, np.ones((2, 3)), name="the slope of x itself")
    got = day02.chain_derivative([], [], np.array([2, 4]))
    close(got, np.ones(2), name="the slope of x itself, given as integers")


@exercise("chain_derivative")
def test_chain_derivative_keeps_the_shape_of_x(rng):
    for n in (1, 3):
        got = day02.chain_derivative([lambda x: 2 * x] * n, [lambda x: 2.0] * n, rng.normal(2, 5))
        close(got, np.full((2, 5), 2.0**n), name="slopes, where each df returns one number for all")


@exercise("chain_derivative")
def test_chain_derivative_of_whole_numbers():
    got = day02.chain_derivative(
        [np.reciprocal], [lambda x: -np.reciprocal(x * x)], np.array([2, 4])
    )
    close(got, np.array([-0.25, -0.0625]), name="the slope of 1/x at 2 and 4, given as integers")


@exercise("chain_derivative")
def test_chain_derivative_walks_once():
    fs = [Counted(np.sin) for _ in range(50)]
    dfs = [Counted(np.cos) for _ in range(50)]
    day02.chain_derivative(fs, dfs, 1.0)
    assert [df.calls for df in dfs] == [1] * 50, "each derivative is needed once"
    most = max(f.calls for f in fs)
    assert most <= 1, (
        f"a function was called {most} times: is the chain walked anew for each slope?"
    )


@exercise("chain_derivative")
def test_chain_derivative_of_a_deep_chain(rng):
    x = float(rng.uniform(low=0.5, high=1.5))
    got = day02.chain_derivative([math.sin] * DEPTH, [math.cos] * DEPTH, x)
    expected = 1.0
    for _ in range(DEPTH):
        expected *= math.cos(x)
        x = math.sin(x)
    close(got, expected, terms=DEPTH, name=f"the slope of {DEPTH} sines")


@exercise("chain_derivative")
def test_chain_derivative_needs_a_derivative_for_each_function():
    for functions, derivatives in [(2, 1), (1, 2), (0, 1), (3, 0)]:
        f, df = Counted(np.sin), Counted(np.cos)
        with pytest.raises(ValueError):
            day02.chain_derivative([f] * functions, [df] * derivatives, 1.0)
            pytest.fail(f"functions: {functions}, derivatives: {derivatives}: they were accepted")
        assert f.calls == df.calls == 0, "functions were called before the lengths were compared"


# derivative_of --------------------------------------------------------------------------------

COMPUTE = {
    "+": np.add, "-": np.subtract, "*": np.multiply, "/": np.divide, "**": np.power,
    "sin": np.sin, "cos": np.cos, "exp": np.exp, "log": np.log, "tanh": np.tanh,
}  # fmt: skip


def parts_of(expression):
    """Every part once, operands first."""
    order, pending = {}, [expression]
    while pending:
        part = pending[-1]
        waiting = [operand for operand in part.operands if operand not in order]
        if waiting:
            pending += waiting
        else:
            order[pending.pop()] = None
    return list(order)


def values_of(expression, x):
    """The value of every part at x, which may be complex; the whole comes last."""
    values = {}
    for part in parts_of(expression):
        if part.op == "x":
            values[part] = x
        elif part.op == "number":
            values[part] = part.number
        else:
            values[part] = COMPUTE[part.op](*(values[operand] for operand in part.operands))
    return list(values.values())


def slope_by(expression, x):
    """The value at x of the derivative that is graded."""
    got = day02.derivative_of(expression)
    assert isinstance(got, day02.Expression), (
        f"the derivative of {expression!r} is a {type(got).__name__}, not an Expression"
    )
    with np.errstate(all="ignore"):
        return values_of(got, x)[-1] + 0.0 * x, got


# One for every rule: name, formula, its derivative. The points x are positive.
RULES = [
    ("x", lambda d: d.X, lambda x: 1.0),
    ("number", lambda d: d.number(3.0), lambda x: 0.0),
    ("sum", lambda d: d.X + d.sin(d.X), lambda x: 1 + np.cos(x)),
    ("difference", lambda d: d.sin(d.X) - 3 * d.X, lambda x: np.cos(x) - 3),
    ("product", lambda d: d.X * d.exp(d.X), lambda x: (1 + x) * np.exp(x)),
    ("quotient", lambda d: d.sin(d.X) / d.X, lambda x: np.cos(x) / x - np.sin(x) / x**2),
    ("reciprocal", lambda d: 1 / d.X, lambda x: -1 / x**2),
    ("power", lambda d: d.sin(d.X) ** 3, lambda x: 3 * np.sin(x) ** 2 * np.cos(x)),
    ("root", lambda d: d.X**0.5, lambda x: 0.5 / np.sqrt(x)),
    ("exponential", lambda d: 2.0**d.X, lambda x: 2.0**x * np.log(2)),
    ("x to the x", lambda d: d.X**d.X, lambda x: x**x * (np.log(x) + 1)),
    (
        "x to the x squared",
        lambda d: d.X ** (d.X * d.X),
        lambda x: x ** (x * x + 1) * (2 * np.log(x) + 1),
    ),
    ("sin", lambda d: d.sin(3 * d.X), lambda x: 3 * np.cos(3 * x)),
    ("cos", lambda d: d.cos(3 * d.X), lambda x: -3 * np.sin(3 * x)),
    ("exp", lambda d: d.exp(-2 * d.X), lambda x: -2 * np.exp(-2 * x)),
    ("log", lambda d: d.log(2 * d.X), lambda x: 1 / x),
    ("log of a power", lambda d: d.log(d.X**3 + 1), lambda x: 3 * x**2 / (x**3 + 1)),
    ("tanh", lambda d: d.tanh(2 * d.X), lambda x: 2 / np.cosh(2 * x) ** 2),
]


@exercise("derivative_of")
@pytest.mark.parametrize("make, slope", [r[1:] for r in RULES], ids=[r[0] for r in RULES])
def test_derivative_rule(make, slope, rng):
    x = rng.uniform(20, low=0.2, high=2.0)
    formula = make(day02)
    got, derivative = slope_by(formula, x)
    expected = slope(x) + 0.0 * x
    wrong = np.abs(got - expected) > 1e-11 * (1 + np.abs(expected))
    assert not wrong.any(), (
        f"the derivative of {formula!r} came out as {derivative!r}: at x = {x[wrong][0]:.4f} it "
        f"is {got[wrong][0]:.6f}, expected {expected[wrong][0]:.6f}"
    )


@exercise("derivative_of")
def test_derivative_of_powers_of_negative_numbers(rng):
    x = -rng.uniform(10, low=0.5, high=3.0)
    six = day02.number(6)
    for formula, expected in [
        (day02.X**3, 3 * x**2),
        (day02.X**-2, -2 * x**-3),
        (day02.X ** (six / 2), 3 * x**2),
        ((day02.X * 2) ** 2, 8 * x),
    ]:
        got, _ = slope_by(formula, x)
        close(got, expected, name=f"the slope of {formula!r} at negative x", factor=40)


@exercise("derivative_of")
def test_derivative_at_zero():
    x, six = day02.X, day02.number(6)
    for formula, expected in [(x**2, 0.0), (x**1, 1.0), (x**3 + x, 1.0), (x ** (six / 2), 0.0)]:
        got, _ = slope_by(formula, np.zeros(1))
        assert got == expected, f"the slope of {formula!r} at 0 is {expected}, got {got[0]}"


def formulas():
    """Formulas that are smooth for every real x."""
    leaves = st.just("x") | st.integers(-3, 3)
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.tuples(st.sampled_from(["+", "-", "*", "/", "**"]), inner, inner),
            st.tuples(st.sampled_from(["sin", "cos", "exp", "log", "tanh", "square"]), inner),
        ),
        max_leaves=8,
    )


def build(formula):
    if formula == "x":
        return day02.X
    if not isinstance(formula, tuple):
        return day02.number(formula)
    op, u, *rest = formula[0], *map(build, formula[1:])
    if rest:
        v = rest[0]
        return {
            "+": lambda: u + v,
            "-": lambda: u - v,
            "*": lambda: u * v,
            "/": lambda: u / (v * v + 1.5),
            "**": lambda: (u * u + 0.5) ** v,
        }[op]()
    if op == "square":
        return u**2
    return day02.log(u * u + 0.5) if op == "log" else getattr(day02, op)(u)


@exercise("derivative_of")
def test_derivative_of_random_formulas(rng):
    x = rng.uniform(4, low=-2.0, high=2.0)
    h = 1e-30

    @hypothesis.seed(rng.seed)
    @hypothesis.settings(
        max_examples=40,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=[hypothesis.Phase.generate, hypothesis.Phase.shrink],
    )
    @hypothesis.given(formulas())
    def check(formula):
        expression = build(formula)
        with np.errstate(all="ignore"):
            values = values_of(expression, x + 1j * h)  # day 1's complex step, for every part
        sizes = [np.max(np.abs([np.real(v), np.imag(v) / h])) for v in values]
        hypothesis.assume(max(sizes) < 100)  # also refuses nan
        got, derivative = slope_by(expression, x)
        expected = np.imag(values[-1]) / h
        assert np.all(np.abs(got - expected) < 1e-8), (
            f"the derivative of {expression!r} came out as {derivative!r}; at x = {x} that is "
            f"{got}, expected {expected}"
        )

    check()


@exercise("derivative_of")
def test_derivative_of_a_part_that_is_used_twice():
    # x -> x * x, again and again: 2²⁰ parts if they were written out, and then sixty times.
    formula = day02.X
    for _ in range(20):
        formula = formula * formula
    parts = len(parts_of(day02.derivative_of(formula)))
    assert parts <= 4 * 21, f"a formula of 21 parts has a derivative of {parts}: reuse parts"
    formula = day02.X
    for _ in range(60):
        formula = formula * formula
    got, derivative = slope_by(formula, np.ones(1))
    assert got == 2.0**60, f"x to the 2^60 has the slope 2^60 = {2.0**60} at 1, got {got[0]}"
    parts = len(parts_of(derivative))
    assert parts <= 4 * 61, f"a formula of 61 parts has a derivative of {parts}: reuse parts"


@exercise("derivative_of")
def test_derivative_reuses_the_part_itself():
    u = day02.sin(day02.X)
    for formula in (day02.exp(u), day02.tanh(u), u / (1 + day02.X), (1 + u * u) ** day02.X):
        parts = parts_of(day02.derivative_of(formula))
        assert formula in parts, (
            f"the derivative of {formula!r} is built without {formula!r} itself, from more parts "
            "than the table's rule needs: use that very object"
        )


@exercise("derivative_of")
def test_derivative_of_a_deep_chain():
    formula = day02.X
    for _ in range(DEPTH):
        formula = day02.sin(formula)
    values = {}
    for part in parts_of(day02.derivative_of(formula)):
        if part.op == "*":
            left, right = part.operands
            values[part] = values[left] * values[right]
        else:
            compute = {"x": lambda: 1.0, "sin": math.sin, "cos": math.cos}[part.op]
            values[part] = compute(*(values[operand] for operand in part.operands))
    x = slope = 1.0
    for _ in range(DEPTH):
        slope *= math.cos(x)
        x = math.sin(x)
    got = list(values.values())[-1]
    close(got, slope, terms=DEPTH, name=f"the slope of {DEPTH} sines at 1")
    assert len(values) <= 4 * DEPTH, f"{DEPTH} parts have a derivative of {len(values)} parts"


@exercise("derivative_of")
def test_derivative_is_a_formula_that_has_a_derivative(rng):
    x = rng.uniform(10, low=0.5, high=2.0)
    second = day02.derivative_of(day02.derivative_of(day02.sin(day02.X**2)))
    got = values_of(second, x)[-1]
    expected = 2 * np.cos(x**2) - 4 * x**2 * np.sin(x**2)
    close(got, expected, terms=4, scale=20.0, name="the second derivative of sin(x²)")


@exercise("derivative_of")
def test_derivative_refuses_operations_without_a_rule():
    inner = day02.Expression("sinh", (day02.X,))
    for formula in (inner, 1 + day02.sin(inner)):
        with pytest.raises(ValueError):
            got = day02.derivative_of(formula)
            pytest.fail(f"there is no rule for sinh, but {formula!r} got the derivative {got!r}")


# vanishing ------------------------------------------------------------------------------------


def backward_by_torch(depth, f, weight, x):
    """d(last) / d(each layer), by torch."""
    layers = [torch.tensor(x, dtype=torch.float64, requires_grad=True)]
    for _ in range(depth):
        layers.append(f(weight * layers[-1]))
    return np.array([g.item() for g in torch.autograd.grad(layers[-1], layers)])


@exercise("vanishing")
def test_vanishing_has_a_weight_in_every_layer():
    got = day02.vanishing(4, day02.RELU, weight=3.0, x=2.0)
    assert got.tolist() not in ([1.0, 3.0, 9.0, 27.0, 81.0], [3.0, 9.0, 27.0, 81.0, 1.0]), (
        f"{got.tolist()} grows from the front: element k is the derivative of the last layer with "
        "respect to a_k, and most layers lie between it and a_0"
    )
    assert got.tolist() == [81.0, 27.0, 9.0, 3.0, 1.0], (
        f"each layer multiplies by 3, so 81, 27, 9, 3, 1 were expected, got {got.tolist()}"
    )
    got = day02.vanishing(3, day02.RELU, weight=-1.0, x=-2.0)
    assert got.tolist() == [0.0, 0.0, -0.0, 1.0], (
        f"the second layer is given a negative number and lets nothing through: got {got.tolist()}"
    )


@exercise("vanishing")
def test_vanishing_takes_each_slope_at_what_f_is_given():
    # one layer, f(v) = v³, w = 2, a_0 = 1: f is given 2, so the slope is 2 · 3 · 2²
    cube = day02.Activation(lambda v: v**3, lambda v: 3 * v**2)
    got = day02.vanishing(1, cube, weight=2.0, x=1.0)
    said = {
        6.0: ": f's slope is taken at a_0 = 1, but f is given w a_0 = 2",
        12.0: ": the factor w is missing",
        384.0: ": f's slope is taken at f's result 8, but f is given w a_0 = 2",
    }
    assert got[0] == 24.0, (
        f"a_1 = (2 a_0)³ at a_0 = 1 has the slope 24, got {got[0]}{said.get(float(got[0]), '')}"
    )
    square = day02.Activation(lambda v: v * v, lambda v: 2 * v)
    got = day02.vanishing(2, square, weight=1.0, x=2.0)
    assert got.tolist() not in ([1.0, 4.0, 32.0], [4.0, 32.0, 1.0]), (
        f"{got.tolist()} are derivatives of the layers by a_0; asked for are d a_2 / d a_k"
    )
    assert got.tolist() == [32.0, 8.0, 1.0], f"((a_0)²)² at 2: 32, 8, 1 were expected, got {got}"


@exercise("vanishing")
@pytest.mark.parametrize("name", ["SIGMOID", "TANH", "RELU"])
@shapes("depth", 0, 1, 2, 40)
def test_vanishing_equals_torch(name, depth, rng):
    f = getattr(torch, name.lower())
    for _ in range(4):
        weight, x = float(rng.uniform(low=0.3, high=2.0)), float(rng.uniform(low=-1, high=1))
        got = day02.vanishing(depth, getattr(day02, name), weight, x)
        expected = backward_by_torch(depth, f, weight, x)
        # relative: these numbers are small, and rounding grows with the depth
        close(got, expected, factor=1000.0, terms=depth + 1, name="d(last) / d(layer), per layer")


@exercise("vanishing")
def test_vanishing_starts_at_one_by_default():
    got = day02.vanishing(3, day02.TANH)
    expected = backward_by_torch(3, torch.tanh, 1.0, 1.0)
    close(got, expected, factor=100.0, name="d(last) / d(layer), weight 1 and x = 1")


@exercise("vanishing")
def test_vanishing_walks_once_each_way():
    f, slope = Counted(np.tanh), Counted(lambda x: 1 - np.tanh(x) ** 2)
    got = day02.vanishing(30, day02.Activation(f, slope))
    assert len(got) == 31, f"{len(got)} numbers for 30 layers and the input"
    assert (f.calls, slope.calls) == (30, 30), (
        f"30 layers called f {f.calls} and slope {slope.calls} times"
    )


@exercise("vanishing")
def test_vanishing_of_a_deep_network():
    deep = 4 * DEPTH  # a product of its own for each layer would be 80 000 million factors
    # sin(x) at 0: every slope is 1, nothing may vanish
    got = day02.vanishing(deep, day02.Activation(math.sin, math.cos), x=0.0)
    close(got, np.ones(deep + 1), name="d(last) / d(layer) where every slope is 1")
    got = day02.vanishing(2000, day02.SIGMOID)
    # the layers' values tend to 0.659, where the sigmoid's slope is 0.2247
    assert 0.05 < got[-3] < 0.051, f"two layers before the end 0.0505 is left, got {got[-3]}"
    assert got[0] == 0.0, f"after 2000 layers nothing is left, got {got[0]}"


@exercise("vanishing")
def test_vanishing_refuses_a_negative_depth():
    with pytest.raises(ValueError):
        got = day02.vanishing(-1, day02.TANH)
        pytest.fail(f"depth=-1 was accepted and gave {got}")
