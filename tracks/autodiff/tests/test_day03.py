"""Day 3: slopes in many directions, against closed forms and torch."""

import contextlib
import re
import warnings

import numpy as np
import pytest
import torch

from harness.testing import exercise, shapes
from tracks.autodiff import day03

EPS = 2.0**-52


class Kept:
    """Calls f, and keeps what it was given, as it was and as it is."""

    def __init__(self, f):
        self.f, self.arguments, self.copies = f, [], []

    def __call__(self, x):
        assert hasattr(x, "dtype"), f"f is called with a {type(x).__name__}, not with an array"
        self.arguments.append(x)
        self.copies.append(x.copy())
        return self.f(x)


def near(got, expected, tolerance, what, first=False):
    """``got`` has expected's shape and is float, and is off by ``tolerance`` of the largest. Of
    several that are wrong the worst is named, or the first one."""
    expected = np.asarray(expected, dtype=float)
    assert np.shape(got) == expected.shape, (
        f"{what} has the shape {np.shape(got)}; {expected.shape} was expected"
    )
    got = np.asarray(got)
    assert got.dtype == np.float64, f"{what} has the dtype {got.dtype}, not float64"
    if got.size == 0:
        return
    error, size = np.abs(got - expected), np.abs(expected).max()
    wrong = ~(error <= tolerance * max(size, 1.0))
    rank = wrong if first else np.where(np.isnan(error), np.inf, error)
    one = np.unravel_index(np.argmax(rank), error.shape)
    where = f"element {tuple(map(int, one))} is " if got.ndim else ""
    digits = 9 if f"{got[one]:.9g}" != f"{expected[one]:.9g}" else 17
    assert not wrong[one], (
        f"{what}: {where}{got[one]:.{digits}g}, expected {expected[one]:.{digits}g}"
    )


@contextlib.contextmanager
def silent(what):
    """No numpy warning may be shown."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    assert not caught, f"{what}: numpy's warning was shown: {caught[0].message}"


def rosenbrock(x):
    return (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2


def rosenbrock_gradient(x):
    valley = x[1] - x[0] ** 2
    return np.array([-2 * (1 - x[0]) - 400 * x[0] * valley, 200 * valley])


def rosenbrock_hessian(x):
    a, b = x
    return np.array([[2 - 400 * (b - 3 * a * a), -400 * a], [-400 * a, 200.0]])


def network(rng, inputs, outputs):
    """A small network for numpy and the same for torch; both take an array of any shape."""
    first, last = rng.normal(5, inputs), rng.normal(outputs, 5)

    def f(x):
        return last @ np.tanh(first @ x.reshape(-1))

    def by_torch(x):
        return torch.tensor(last) @ torch.tanh(torch.tensor(first) @ x.reshape(-1))

    return f, by_torch


# partial --------------------------------------------------------------------------------------


@exercise("partial")
def test_partial_of_each_element(rng):
    x = rng.uniform(4, low=0.5, high=2.0)

    def f(x):
        return x[0] * x[1] ** 2 + np.sin(x[2]) / x[3]

    slopes = [
        x[1] ** 2,
        2 * x[0] * x[1],
        np.cos(x[2]) / x[3],
        -np.sin(x[2]) / x[3] ** 2,
    ]
    for i, slope in enumerate(slopes):
        near(day03.partial(f, x, i), slope, 1e-9, f"the slope in element {i}")
        near(day03.partial(f, x, i - 4), slope, 1e-9, f"the slope in element {i - 4}")


@exercise("partial")
@shapes("shape", (1,), (5,), (2, 3), (2, 1, 2))
def test_partial_of_arrays_of_any_shape(shape, rng):
    x, w = rng.normal(*shape), rng.normal(*shape)
    for i in np.ndindex(shape):
        got = day03.partial(lambda x: np.sum(w * np.sin(x)), x, i)
        near(got, w[i] * np.cos(x[i]), 1e-9, f"the slope in element {i}")


@exercise("partial")
def test_partial_has_the_shape_of_f(rng):
    x, w = rng.normal(3), rng.normal(4, 2)
    got = day03.partial(lambda x: w * x[1] ** 2 + x[0], x, 1)
    near(got, 2 * w * x[1], 1e-8, "the slope of an array")
    got = day03.partial(lambda x: [x[0] + x[2], 3 * x[2]], x, 2)
    near(got, [1.0, 3.0], 1e-8, "the slope of a list")


@exercise("partial")
def test_partial_takes_whole_numbers_and_lists():
    for x in ([2, 3], np.array([2, 3]), (2, 3)):
        f = Kept(lambda x: x[0] ** 2 * x[1])
        near(day03.partial(f, x, 0), 12.0, 1e-9, "the slope of x0² x1 in x0 at (2, 3)")
        kinds = {a.dtype.name for a in f.arguments}
        assert kinds == {"float64"}, f"f was given arrays of {kinds}"


@exercise("partial")
def test_partial_nudges_one_element_by_the_step(rng):
    for scale in (1e-3, 1.0, 1e6, -1e3):
        x = scale * rng.uniform(5, low=1.0, high=2.0)
        i = int(rng.integers(0, 5))
        f = Kept(np.sum)
        day03.partial(f, x, i)
        assert len(f.arguments) == 2, f"f was called {len(f.arguments)} times, not twice"
        h = EPS ** (1 / 3) * max(abs(x[i]), 1.0)
        moves = sorted((copy - x).tolist() for copy in f.copies)
        for move, sign in zip(moves, (-1, 1), strict=True):
            assert abs(move[i] - sign * h) < 1e-3 * h, (
                f"x[{i}] = {x[i]:.4g} should be moved by {sign * h:.3e}, and was by {move[i]:.3e}"
            )
            others = np.delete(move, i)
            assert not others.any(), f"other elements than x[{i}] were moved: {move}"


@exercise("partial")
def test_partial_gives_f_arrays_of_its_own(rng):
    x = rng.normal(3)
    f = Kept(np.sum)
    day03.partial(f, x, 1)
    for argument, copy in zip(f.arguments, f.copies, strict=True):
        assert np.array_equal(argument, copy), "an array that f was given was changed afterwards"

    def spoil(x):
        total = np.sum(x**2)
        x[:] = 0  # f's own business
        return total

    free = x.copy()
    near(day03.partial(spoil, free, 1), 2 * x[1], 1e-9, "the slope of an f that spoils its array")
    assert np.array_equal(free, x), "x itself was given to f"


@exercise("partial")
def test_partial_is_zero_where_nothing_depends():
    assert day03.partial(lambda x: x[0] ** 2, np.array([1.0, 2.0]), 1) == 0.0, (
        "x0² does not depend on x1: that slope is 0"
    )


# gradient -------------------------------------------------------------------------------------


@exercise("gradient")
@shapes("shape", (1,), (7,), (3, 4), (2, 1, 3), (0,), (0, 3), ())
def test_gradient_equals_torch(shape, rng):
    x, w = rng.normal(*shape), rng.normal(*shape)
    leaf = torch.tensor(x, requires_grad=True)
    (torch.sin(leaf * torch.tensor(w)).sum() * torch.exp(-(leaf**2).sum())).backward()
    got = day03.gradient(lambda x: np.sum(np.sin(x * w)) * np.exp(-np.sum(x**2)), x)
    near(got, leaf.grad.numpy(), 1e-9, "the gradient")


@exercise("gradient")
def test_gradient_of_rosenbrock(rng):
    for _ in range(20):
        x = rng.uniform(2, low=-2.0, high=2.0)
        expected = rosenbrock_gradient(x)
        # The chord in x0 is off by h²/6 times the third derivative, 2400 x0. What f adds up is
        # rounded by a few eps, and that is divided by h.
        h = EPS ** (1 / 3) * np.maximum(np.abs(x), 1.0)
        added = (1 + abs(x[0])) ** 2 + 100 * (abs(x[1]) + x[0] ** 2) ** 2
        off = 400 * abs(x[0]) * h[0] ** 2 + 8 * EPS * added / h.min()
        tolerance = 2 * off / max(np.abs(expected).max(), 1.0)
        near(day03.gradient(rosenbrock, x), expected, tolerance, f"the gradient at {x}")


@exercise("gradient")
def test_gradient_of_ill_scaled_quadratics(rng):
    scales = 10.0 ** np.arange(0, 7)
    weights = rng.uniform(7, low=0.5, high=1.0)
    x = scales * rng.uniform(7, low=1.0, high=2.0)
    got = day03.gradient(lambda x: np.sum(weights * (x / scales) ** 2), x)
    expected = 2 * weights * (x / scales)
    near(got * scales, expected, 1e-8, "the gradient, each element times its scale")


@exercise("gradient")
def test_gradient_calls_f_twice_for_each_element(rng):
    f = Kept(np.sum)
    day03.gradient(f, rng.normal(3, 4))
    assert len(f.arguments) == 24, f"f was called {len(f.arguments)} times for 12 elements"
    assert f.arguments[0].shape == (3, 4), "f was given another shape than that of x"


@exercise("gradient")
def test_gradient_takes_lists_of_whole_numbers():
    near(day03.gradient(lambda x: x[0] ** 2 * x[1], [2, 3]), [12.0, 4.0], 1e-9, "the gradient")


@exercise("gradient")
@pytest.mark.parametrize(
    "f, shape",
    [(lambda x: 2 * x, (2,)), (lambda x: x[:1], (1,)), (lambda x: [x[0]], (1,))],
    ids=["two in an array", "one in an array", "one in a list"],
)
def test_gradient_refuses_several_outputs(f, shape):
    with pytest.raises(ValueError) as caught:
        got = day03.gradient(f, np.array([1.0, 2.0]))
        pytest.fail(f"f returned an array of shape {shape}, and its gradient came out as {got}")
    assert str(shape) in str(caught.value), (
        f"f returned an array of shape {shape}; the ValueError does not show that: {caught.value}"
    )


# jacobian -------------------------------------------------------------------------------------


@exercise("jacobian")
@shapes("inputs, outputs", (1, 1), (3, 2), (2, 5), (4, 4), (1, 6), (6, 1))
def test_jacobian_equals_torch(inputs, outputs, rng):
    f, by_torch = network(rng, inputs, outputs)
    x = rng.normal(inputs)
    expected = torch.autograd.functional.jacobian(by_torch, torch.tensor(x)).numpy()
    near(day03.jacobian(f, x), expected, 1e-8, "the Jacobian")


@exercise("jacobian")
def test_jacobian_of_other_shapes(rng):
    for shape, out in [((2, 3), (4,)), ((2, 2), (3, 2)), ((3,), ()), ((2, 1, 2), (2, 2, 2))]:
        x = rng.normal(*shape)
        w = rng.normal(*out, *shape)
        axes = len(shape)

        def f(x, w=w, axes=axes):
            return np.tensordot(w, np.sin(x), axes)

        got = day03.jacobian(f, x)
        near(got, w * np.cos(x), 1e-8, f"the Jacobian from {shape} to {out}")


@exercise("jacobian")
def test_jacobian_of_a_function_that_returns_a_list():
    got = day03.jacobian(lambda x: [x[0] * x[1], x[0] + x[1], x[1]], [2, 3])
    near(got, [[3.0, 2.0], [1.0, 1.0], [0.0, 1.0]], 1e-9, "the Jacobian")


@exercise("jacobian")
def test_jacobian_of_a_chain_is_a_product(rng):
    f, _ = network(rng, 3, 4)
    g, _ = network(rng, 4, 2)
    x = rng.normal(3)
    got = day03.jacobian(lambda x: g(f(x)), x)
    product = day03.jacobian(g, f(x)) @ day03.jacobian(f, x)
    assert np.abs(got).max() > 0, "the Jacobian of a network is not zero"
    near(got, product, 1e-7, "the Jacobian of g(f(x))")


@exercise("jacobian")
def test_jacobian_calls_f_twice_for_each_input(rng):
    f = Kept(lambda x: np.outer(x, x).reshape(-1))  # 3 inputs, 9 outputs
    got = day03.jacobian(f, rng.normal(3))
    assert got.shape == (9, 3), f"the Jacobian of 9 outputs by 3 inputs has the shape {got.shape}"
    assert len(f.arguments) <= 6, (
        f"f was called {len(f.arguments)} times for 3 inputs; one nudge shows all 9 outputs"
    )


# hessian --------------------------------------------------------------------------------------


@exercise("hessian")
def test_hessian_of_rosenbrock(rng):
    for _ in range(20):
        x = rng.uniform(2, low=-2.0, high=2.0)
        near(day03.hessian(rosenbrock, x), rosenbrock_hessian(x), 1e-5, f"the Hessian at {x}")


@exercise("hessian")
@shapes("n", 1, 2, 5)
def test_hessian_equals_torch(n, rng):
    f, by_torch = network(rng, n, 1)
    x = rng.normal(n)
    got = day03.hessian(lambda x: f(x)[0], x)
    expected = torch.autograd.functional.hessian(lambda x: by_torch(x)[0], torch.tensor(x))
    near(got, expected.numpy(), 3e-6, "the Hessian")
    assert np.array_equal(got, got.T), "the Hessian is not exactly symmetric"


@exercise("hessian")
def test_hessian_calls_f_once_for_each_pair_and_corner(rng):
    f = Kept(lambda x: x @ x)
    got = day03.hessian(f, rng.normal(6))
    near(got, 2 * np.eye(6), 1e-5, "the Hessian of x·x")
    assert len(f.arguments) <= 84, f"f was called {len(f.arguments)} times; at most 2·6·7 = 84"


@exercise("hessian")
def test_hessian_of_ill_scaled_quadratics(rng):
    scales = np.array([1.0, 1e3, 1e6])
    form = rng.normal(3, 3)
    x = scales * rng.uniform(3, low=1.0, high=2.0)
    got = day03.hessian(lambda x: (x / scales) @ form @ (x / scales), x)
    near(
        got * np.outer(scales, scales), form + form.T, 1e-5,
        "the Hessian, each element times its scales",
    )  # fmt: skip


@exercise("hessian")
def test_hessian_steps_are_as_stated(rng):
    x = np.array([1e-3, 1.0, 30.0, -50.0]) * rng.uniform(4, low=1.0, high=2.0)
    f = Kept(np.sum)
    day03.hessian(f, x)
    h = EPS**0.25 * np.maximum(np.abs(x), 1.0)
    reach = np.max(np.abs(np.array(f.copies) - x), axis=0)
    assert np.all(np.abs(reach / (2 * h) - 1) < 1e-6), (
        f"the largest moves of the elements were {reach}, expected twice the steps: {2 * h}"
    )


@exercise("hessian")
def test_hessian_divides_by_the_step_really_taken(rng):
    # No power of two is near these points: beyond one, floats lie farther apart, and x + 2a is
    # rounded for a right answer, too. Of one point in twelve, the step asked for is the step taken.
    scale = np.array([1e5])
    for lowest in rng.uniform(8, low=3e5, high=5e5):
        x0 = np.array([lowest])
        got = day03.hessian(lambda x, x0=x0: np.sum(((x - x0) / scale) ** 2), x0)
        near(got * 1e10, [[2.0]], 1e-13, "the Hessian of a parabola at its lowest point")


@exercise("hessian")
def test_hessian_takes_lists_of_whole_numbers():
    got = day03.hessian(lambda x: x[0] ** 2 * x[1], [3, 5])
    near(got, [[10.0, 6.0], [6.0, 0.0]], 1e-6, "the Hessian of x0² x1 at (3, 5)")


# gradient_descent -----------------------------------------------------------------------------


@exercise("gradient_descent")
def test_descent_on_rosenbrock(rng):
    x = start = rng.uniform(2, low=-1.0, high=1.0)
    path = day03.gradient_descent(rosenbrock, start, 1e-3, 500)
    expected = [x]
    for _ in range(500):
        expected.append(expected[-1] - 1e-3 * rosenbrock_gradient(expected[-1]))
    near(path, expected, 1e-6, "the path", first=True)
    heights = np.array([rosenbrock(x) for x in path])
    assert np.all(np.diff(heights) < 1e-12), "a step went uphill, with a small learning rate"


@exercise("gradient_descent")
def test_descent_on_ill_scaled_quadratics(rng):
    bends = np.array([1.0, 30.0, 1000.0])
    start = rng.uniform(3, low=1.0, high=2.0)
    path = day03.gradient_descent(lambda x: 0.5 * np.sum(bends * x**2), start, 1.5e-3, 40)
    expected = start * (1 - 1.5e-3 * bends) ** np.arange(41)[:, None]
    near(path, expected, 1e-7, "the path", first=True)


@exercise("gradient_descent")
def test_descent_with_a_rate_for_each_element(rng):
    bends = np.array([[1.0, 1e3], [1e6, 1e-2]])
    start = rng.uniform(2, 2, low=1.0, high=2.0)
    path = day03.gradient_descent(lambda x: 0.5 * np.sum(bends * x**2), start, 1 / bends, 1)
    # 1e6 x² / 2 is known to 1e-10 and divided by the step 6e-6; a bend of 1e-2 magnifies by 100.
    assert np.abs(path[1]).max() < 0.01, f"one step should lead to 0, it led to {path[1]}"
    assert np.array_equal(path[0], start), "the path starts at x0"


@exercise("gradient_descent")
@shapes("shape", (1,), (3,), (2, 2), ())
def test_descent_keeps_the_shape(shape, rng):
    start = rng.normal(*shape)
    path = day03.gradient_descent(lambda x: np.sum(x**2), start, 0.25, 3)
    near(path, np.stack([start * 0.5**k for k in range(4)]), 1e-8, "the path", first=True)


@exercise("gradient_descent")
def test_descent_of_no_steps():
    path = day03.gradient_descent(rosenbrock, [3, 4], 0.1, 0)
    near(path, [[3.0, 4.0]], 0.0, "a path of no steps")


@exercise("gradient_descent")
def test_descent_starting_from_whole_numbers():
    near(day03.gradient_descent(lambda x: x @ x, [1, 3], 0.25, 1)[1], [0.5, 1.5], 1e-8, "x_1")


@exercise("gradient_descent")
def test_descent_measures_one_gradient_a_step():
    f = Kept(lambda x: x @ x)
    day03.gradient_descent(f, [1.0, 2.0, 3.0], 0.1, 10)
    assert len(f.arguments) <= 60, f"f was called {len(f.arguments)} times; 10 gradients take 60"


@exercise("gradient_descent")
def test_descent_that_runs_away_is_stopped(rng):
    f = Kept(lambda x: 0.5 * np.sum(np.array([1.0, 1000.0]) * x**2))
    with silent("a walk that runs away"), pytest.raises(FloatingPointError) as caught:
        path = day03.gradient_descent(f, rng.uniform(2, low=1.0, high=2.0), 0.0123, 2000)
        pytest.fail(f"the walk ran away, and its end was given as {path[-1]}")
    assert len(f.arguments) < 4 * 400, "the walk went on after the gradient was no number any more"
    message = str(caught.value)
    numbers = [float(n) for n in re.findall(r"\d+(?:\.\d*)?(?:[eE][+-]?\d+)?", message)]
    assert any(abs(n - 0.0123) < 1e-4 for n in numbers), (
        f"the rate, 0.0123, is not in the message: {message}"
    )
    step = len(f.arguments) // 4 - 1  # a gradient of two elements takes four calls
    assert {step, step + 1} & set(numbers), (
        f"the walk was lost in step {step} (or {step + 1}, counted from 1); the message does not "
        f"say so: {message}"
    )


@exercise("gradient_descent")
def test_descent_stops_where_one_element_is_not_finite():
    def half_defined(x):
        return np.sqrt(x[0]) + x[1]  # at x0 = 0 a nudge down gives nan, one of x1 does not

    with silent("a gradient with a nan in it"), pytest.raises(FloatingPointError):
        path = day03.gradient_descent(half_defined, [0.0, 1.0], 0.1, 1)
        pytest.fail(f"one element of the gradient is nan; the walk went on to {path[-1]}")
