"""Day 1: derivatives by measurement; their errors are themselves measured, over the step."""

import itertools
import warnings

import numpy as np
import pytest

from harness.testing import close, exercise, shapes
from tracks.autodiff import day01

EPS = 2.0**-52

# name: (f, first derivative, second derivative), all defined for every real and complex x
FUNCTIONS = {
    "sin": (np.sin, np.cos, lambda x: -np.sin(x)),
    "exp": (np.exp, np.exp, np.exp),
    "cube": (lambda x: x**3 - 2 * x, lambda x: 3 * x**2 - 2, lambda x: 6 * x),
    "bell": (
        lambda x: np.exp(-x * x),
        lambda x: -2 * x * np.exp(-x * x),
        lambda x: (4 * x * x - 2) * np.exp(-x * x),
    ),
}


class Counted:
    """Calls f, and remembers how often and with what."""

    def __init__(self, f):
        self.f, self.arguments = f, []

    def __call__(self, x):
        self.arguments.append(x)
        return self.f(x)


def error_ratios(difference, derivative, rng):
    """By how much the error falls when h is halved, at random points and steps, for exp.

    All derivatives of exp are positive, so that no error term vanishes by accident.
    """
    x = rng.uniform(20, low=-1.0, high=1.0)
    errors = [np.abs(difference(np.exp, x, h) - derivative(x)) for h in 2.0 ** -np.arange(4, 8)]
    return [large / small for large, small in itertools.pairwise(errors)]


@exercise("forward_difference")
@shapes("shape", (), (1,), (7,), (3, 4), (0,), (2, 1, 3))
def test_forward_values(shape, rng):
    for name, (f, derivative, second) in FUNCTIONS.items():
        x = rng.uniform(*shape, low=-2.0, high=2.0)
        got = day01.forward_difference(f, x, 1e-6)
        assert np.shape(got) == shape, f"x has the shape {shape}, the result {np.shape(got)}"
        # The chord is too steep by h/2 · f'', up to terms in h² and rounding of about eps / h.
        expected = derivative(x) + 5e-7 * second(x)
        assert np.all(np.abs(got - expected) < 1e-8), (
            f"the slope of {name} at {x}: {got}, expected {expected}"
        )


@exercise("forward_difference")
def test_forward_error_falls_like_h(rng):
    for ratio in error_ratios(day01.forward_difference, np.exp, rng):
        assert np.all((ratio > 1.9) & (ratio < 2.2)), (
            f"half the step should halve the error, but divides it by {ratio.min():.2f} "
            f"to {ratio.max():.2f}"
        )


@exercise("forward_difference")
def test_forward_looks_ahead(rng):
    x = float(rng.normal())
    f = Counted(np.exp)
    day01.forward_difference(f, x, 0.125)
    assert sorted(float(a) for a in f.arguments) == sorted([x, x + 0.125]), (
        f"f should be called at x and at x + h; x = {x}, h = 0.125, called at {f.arguments}"
    )


@exercise("forward_difference")
def test_forward_takes_many_points_in_two_calls(rng):
    f = Counted(np.sin)
    day01.forward_difference(f, rng.normal(1000), 1e-6)
    assert len(f.arguments) == 2, f"f was called {len(f.arguments)} times for 1000 points"


@exercise("forward_difference")
def test_forward_takes_many_steps(rng):
    x, steps = float(rng.uniform(low=-1.0)), 2.0 ** -np.arange(1, 12)
    got = day01.forward_difference(np.exp, x, steps)
    one_by_one = np.array([day01.forward_difference(np.exp, x, h) for h in steps])
    close(got, one_by_one, scale=np.exp(2.0) / steps, name="slopes for eleven steps")


def check_step_really_taken(difference, rng):
    x = rng.normal(50) * 10.0 ** rng.integers(-3, 8, 50)
    for h in (1e-3, 1e-6, 1e-7):
        slopes = difference(lambda x: 2 * x, x, h)
        assert np.all(slopes == 2.0), (
            f"h={h}: the slope of 2x at x={x[slopes != 2.0][0]} came out "
            f"{float(slopes[slopes != 2.0][0])!r}; with the step really taken it is exactly 2"
        )


def check_lost_step(difference):
    for x, h in [(1.0, 1e-20), (1e9, 1e-9), (np.array([0.0, 1.0]), 1e-18), (2.0, 0.0)]:
        with warnings.catch_warnings(record=True) as caught, pytest.raises(ValueError):
            warnings.simplefilter("always")
            got = difference(np.sin, x, h)
            pytest.fail(f"at x = {x} the step h = {h} is lost, and the slope came out as {got}")
        assert not caught, (
            f"at x = {x} with h = {h} numpy warned before the ValueError: {caught[0].message}"
        )


def check_whole_numbers(difference):
    seen = Counted(lambda x: x**2)
    got = difference(seen, [1, 2, 3], 0.5)
    assert np.shape(got) == (3,) and got.dtype == np.float64, f"[1, 2, 3] gave {got!r}"
    for argument in seen.arguments:
        assert argument.dtype == np.float64, (
            f"f was called with an array of {argument.dtype}; with whole numbers x**-1 is an error"
        )


@exercise("forward_difference")
def test_forward_divides_by_the_step_really_taken(rng):
    check_step_really_taken(day01.forward_difference, rng)


@exercise("forward_difference")
def test_forward_refuses_a_step_lost_in_rounding():
    check_lost_step(day01.forward_difference)


@exercise("forward_difference")
def test_forward_of_whole_numbers():
    check_whole_numbers(day01.forward_difference)
    assert day01.forward_difference(lambda x: x**2, 3, 0.5) == 6.5, (
        "the slope of x² from 3 to 3.5 is 6.5, for the whole number 3 too"
    )


@exercise("central_difference")
@shapes("shape", (), (1,), (7,), (3, 4), (0,), (2, 1, 3))
def test_central_values(shape, rng):
    for name, (f, derivative, _) in FUNCTIONS.items():
        x = rng.uniform(*shape, low=-2.0, high=2.0)
        got = day01.central_difference(f, x, 1e-5)
        assert np.shape(got) == shape, f"x has the shape {shape}, the result {np.shape(got)}"
        expected = derivative(x)
        assert np.all(np.abs(got - expected) < 2e-9), (
            f"the slope of {name} at {x}: {got}, expected {expected}"
        )


@exercise("central_difference")
def test_central_error_falls_like_h_squared(rng):
    for ratio in error_ratios(day01.central_difference, np.exp, rng):
        assert np.all((ratio > 3.9) & (ratio < 4.1)), (
            f"half the step should quarter the error, but divides it by {ratio.min():.2f} "
            f"to {ratio.max():.2f}"
        )


@exercise("central_difference")
def test_central_is_exact_for_parabolas(rng):
    a, b, x = (float(v) for v in rng.integers(-8, 9, 3))
    got = day01.central_difference(lambda x: a * x * x + b * x, x, 0.25)
    assert got == 2 * a * x + b, "the slope of a parabola is exact for any h (here 0.25)"


@exercise("central_difference")
def test_central_takes_many_points_in_two_calls(rng):
    f = Counted(np.sin)
    day01.central_difference(f, rng.normal(1000), 1e-6)
    assert len(f.arguments) == 2, f"f was called {len(f.arguments)} times for 1000 points"


@exercise("central_difference")
def test_central_takes_many_steps(rng):
    x, steps = float(rng.uniform(low=-1.0)), 2.0 ** -np.arange(1, 12)
    got = day01.central_difference(np.exp, x, steps)
    one_by_one = np.array([day01.central_difference(np.exp, x, h) for h in steps])
    close(got, one_by_one, scale=np.exp(2.0) / steps, name="slopes for eleven steps")


@exercise("central_difference")
def test_central_divides_by_the_step_really_taken(rng):
    check_step_really_taken(day01.central_difference, rng)


@exercise("central_difference")
def test_central_refuses_a_step_lost_in_rounding():
    check_lost_step(day01.central_difference)


@exercise("central_difference")
def test_central_of_whole_numbers():
    check_whole_numbers(day01.central_difference)


@exercise("complex_step")
@shapes("shape", (), (1,), (7,), (3, 4), (0,), (2, 1, 3))
def test_complex_step_to_the_last_digits(shape, rng):
    for name, (f, derivative, _) in FUNCTIONS.items():
        x = rng.uniform(*shape, low=-2.0, high=2.0)
        got = day01.complex_step(f, x)
        assert np.shape(got) == shape, f"x has the shape {shape}, the result {np.shape(got)}"
        assert not np.iscomplexobj(got), "the derivative of a real function is real"
        expected = derivative(x)
        assert np.all(np.abs(got - expected) <= 16 * EPS * (1 + np.abs(expected))), (
            f"{name} at {x}: {got} is not {expected} to machine precision"
        )


@exercise("complex_step")
def test_complex_step_near_zero(rng):
    x = rng.uniform(10, low=1.0, high=9.0) * 1e-12
    close(day01.complex_step(lambda x: x**3, x), 3 * x**2, terms=16, name="slope of x³ near 0")


@exercise("complex_step")
def test_complex_step_calls_f_once(rng):
    f = Counted(np.sin)
    day01.complex_step(f, rng.normal(100))
    assert len(f.arguments) == 1, f"f was called {len(f.arguments)} times"


@exercise("complex_step")
def test_complex_step_of_whole_numbers():
    got = day01.complex_step(lambda x: x**2, [1, 2, 3])
    close(got, np.array([2.0, 4.0, 6.0]), terms=4, name="slope of x² at 1, 2, 3")


@exercise("complex_step")
@pytest.mark.parametrize(
    "name, f", [("abs", np.abs), ("real", lambda z: z.real**2)], ids=["abs", "real"]
)
def test_complex_step_refuses_what_it_cannot_follow(name, f, rng):
    for x in (float(rng.normal()), rng.normal(5)):
        with pytest.raises(TypeError):
            slope = day01.complex_step(f, x)
            pytest.fail(f"{name} drops the imaginary part, and {slope} was returned as its slope")


def waves(rng, count):
    """Sine waves of all widths and heights, with the width and height of their slopes."""
    for _ in range(count):
        w, a = 10.0 ** float(rng.uniform(low=-3, high=2)), 10.0 ** float(rng.uniform(low=-3))
        x = float(rng.uniform(low=-3, high=3)) / w
        yield (lambda t, w=w, a=a: a * np.sin(w * t)), x, a * w, a * w * np.cos(w * x)


def wave(f):
    w, a = f.__defaults__
    return f"{a:.3g} sin({w:.3g} t)"


@exercise("best_step")
def test_best_step_gives_exact_slopes_of_any_scale(rng):
    for f, x, steepest, slope in waves(rng, 60):
        h = day01.best_step(f, x)
        error = abs((f(x + h) - f(x - h)) / ((x + h) - (x - h)) - slope) / steepest
        assert error < 2e-10, (
            f"the slope of {wave(f)} at x = {x:.3g}, measured with your h = {h:.1e}, is off by "
            f"{error:.1e} of the steepest slope; a good step gives about 1e-11"
        )


@exercise("best_step")
def test_best_step_is_where_the_estimate_is_least(rng):
    for f, x, *_ in waves(rng, 60):
        scale = max(abs(x), 1.0)
        steps = scale / 64 * 0.5 ** np.arange(33)
        slopes = (f(x + steps) - f(x - steps)) / ((x + steps) - (x - steps))
        rounding = EPS * (abs(f(x)) + abs(x * slopes)) / steps
        estimate = abs(np.diff(slopes)) / 3 + rounding[1:]
        h = day01.best_step(f, x)
        chosen = np.flatnonzero(steps[1:] == h)
        assert len(chosen) == 1, (
            f"{wave(f)} at x = {x:.3g}: the step {h} is not one of H/2, H/4, ..., H/2³² with "
            f"H = max(|x|, 1) / 64 = {steps[0]:.6g}"
        )
        assert estimate[chosen[0]] <= 1.01 * estimate.min(), (
            f"{wave(f)} at x = {x:.3g}: at your h = {h:.2e} the sum of the two estimates is "
            f"{estimate[chosen[0]]:.2e}; it is least, {estimate.min():.2e}, at "
            f"h = {steps[1:][estimate.argmin()]:.2e}"
        )


@exercise("best_step")
def test_best_step_where_f_is_not_defined_everywhere():
    for f, x, slope in [(np.log, 0.01, 100.0), (np.sqrt, 1e-3, 0.5 / 1e-3**0.5)]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            h = day01.best_step(f, x)
        assert not caught, f"at x = {x} numpy's warning was shown: {caught[0].message}"
        assert 0 < h < x, f"at x = {x} the step {h} leads to where f is not defined"
        error = abs((f(x + h) - f(x - h)) / ((x + h) - (x - h)) - slope) / slope
        assert error < 1e-9, (
            f"the slope of {f.__name__} at x = {x}, measured with your h = {h:.1e}, is off by "
            f"{error:.1e} of it"
        )


@exercise("best_step")
def test_best_step_at_either_end():
    # A straight line is best measured with the longest step, H/2. Of a curve as steep as this one
    # only the shortest step, H/2³², sees little enough: exp(10¹² h) overflows for the others.
    straight = day01.best_step(lambda x: 3 * x, 2.0)
    assert straight == 2 / 64 / 2, (
        f"a straight line is cut off nowhere: the longest step, H/2 = {2 / 64 / 2} at x = 2, is "
        f"the best, but the step is {straight}"
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        steep = day01.best_step(lambda x: np.exp(1e12 * x), 0.0)
    assert not caught, f"numpy's warning was shown: {caught[0].message}"
    assert steep == 2.0**-6 / 2.0**32, (
        f"exp(10¹² x) is so steep at x = 0 that the shortest step, H/2³² = "
        f"{2.0**-6 / 2.0**32:.4g}, is the best, but the step is {steep}"
    )


@exercise("best_step")
def test_best_step_is_a_plain_number():
    h = day01.best_step(np.exp, 1)
    assert type(h) is float, f"the step is a {type(h).__name__}, not a Python float"


@exercise("second_derivative")
@shapes("shape", (), (1,), (7,), (3, 4), (0,), (2, 1, 3))
def test_second_derivative_values(shape, rng):
    for name, (f, _, second) in FUNCTIONS.items():
        x = rng.uniform(*shape, low=-2.0, high=2.0)
        got = day01.second_derivative(f, x)
        assert np.shape(got) == shape, f"x has the shape {shape}, the result {np.shape(got)}"
        expected = second(x)
        assert np.all(np.abs(got - expected) < 3e-6), (
            f"the second derivative of {name} at {x}: {got}, expected {expected}"
        )


@exercise("second_derivative")
def test_second_derivative_error_falls_like_h_squared(rng):
    for ratio in error_ratios(day01.second_derivative, np.exp, rng):
        assert np.all((ratio > 3.9) & (ratio < 4.1)), (
            f"half the step should quarter the error, but divides it by {ratio.min():.2f} "
            f"to {ratio.max():.2f}"
        )


@exercise("second_derivative")
def test_second_derivative_steps_with_x(rng):
    x = np.array([1e-3, 1.0, 1e3, -1e5]) * rng.uniform(4, low=1.0, high=2.0)
    got = day01.second_derivative(lambda x: x**4, x)
    wrong = np.abs(got - 12 * x**2) / np.maximum(12 * x**2, 1.0)
    assert np.all(wrong < 1e-5), f"x⁴ at {x}: {got}, expected {12 * x**2}; off by {wrong}"


@exercise("second_derivative")
def test_second_derivative_calls_f_at_three_points(rng):
    f = Counted(np.sin)
    x = np.concatenate([[0.0, 1e-9], rng.normal(20), rng.normal(20, std=1e3)])
    got = day01.second_derivative(f, x)
    assert np.all(np.abs(got[:2]) < 1e-6), f"near 0 sin does not bend, but {got[:2]} was found"
    assert len(f.arguments) == 3, f"f was called {len(f.arguments)} times"
    behind, middle, ahead = np.sort(np.stack(f.arguments), axis=0)
    step = EPS**0.25 * np.maximum(np.abs(x), 1.0)
    assert np.all(middle == x), "the point in the middle is x itself"
    for distance in (ahead - x, x - behind):
        assert np.allclose(distance, step, rtol=1e-6), (
            f"at x = {x} the steps are {distance}, eps^(1/4) · max(|x|, 1) is {step}"
        )


@exercise("second_derivative")
def test_second_derivative_of_whole_numbers():
    check_whole_numbers(day01.second_derivative)


@exercise("second_derivative")
def test_second_derivative_divides_by_the_step_really_taken(rng):
    x0 = float(rng.uniform(low=1e7, high=1e8))
    for h in (1e-3, 3e-5):
        got = day01.second_derivative(lambda x: (x - x0) ** 2, x0, h)
        assert got == 2.0, f"(x - x0)² bends by 2 exactly; at x0 = {x0} with h = {h} came {got}"


@exercise("second_derivative")
def test_second_derivative_refuses_a_step_lost_in_rounding():
    check_lost_step(day01.second_derivative)
