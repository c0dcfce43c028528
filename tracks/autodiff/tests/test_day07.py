"""Day 7: gradient checks must find what is wrong, and accuse nothing else."""

import contextlib
import math
import warnings

import numpy as np
import pytest
import torch

from harness.testing import close, exercise, shapes
from tracks.autodiff import day07

EPS = 2.0**-52
H = 2.0**-15


class Kept:
    """Calls f, and keeps what it was given, as it was and as it is."""

    def __init__(self, f):
        self.f, self.arguments, self.copies = f, [], []

    def __call__(self, x):
        self.arguments.append(x)
        self.copies.append(np.array(x))
        return self.f(x)


def generator(rng):
    return np.random.default_rng(rng.seed)


def waves(rng, *shape):
    """sum(w sin(x)) and its gradient; no slope is near 0 for x between -1 and 1."""
    w = rng.uniform(*shape, low=1.0, high=2.0) * np.where(rng.boolean(*shape), 1.0, -1.0)
    return lambda x: np.sum(w * np.sin(x)), lambda x: w * np.cos(x)


@contextlib.contextmanager
def silent():
    """No numpy warning may be shown."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    assert not caught, f"numpy's warning was shown: {caught[0].message}"


def planted(df, index, error=1e-4):
    """df with one entry off by ``error`` of its size."""

    def wrong(x):
        claimed = np.array(df(x))
        claimed[index] *= 1 + error
        return claimed

    return wrong


def not_accused(check, what):
    assert not np.any(check.wrong), (
        f"{what}: a right gradient is called wrong; claimed {check.claimed[check.wrong]}, "
        f"measured {check.measured[check.wrong]}, unsure {check.unsure[check.wrong]}"
    )
    assert check.ok is True, f"{what}: nothing is wrong, and ok is {check.ok!r}"


# relative_error -------------------------------------------------------------------------------


@exercise("relative_error")
@shapes("shape", (), (1,), (7,), (3, 4), (0,))
def test_relative_error_values(shape, rng):
    a, b = rng.normal(*shape), rng.normal(*shape)
    expected = np.abs(a - b) / np.maximum(np.abs(a), np.abs(b))
    for got in (day07.relative_error(a, b), day07.relative_error(b, a)):
        close(np.asarray(got), np.asarray(expected), scale=1.0)


@exercise("relative_error")
def test_relative_error_of_any_size(rng):
    a = rng.uniform(20, low=1.0, high=2.0)
    for size in (1e-300, 1e-20, 1.0, 1e20, 1e300, -1e-9, -1e9):
        got = day07.relative_error(a * size, a * size * 1.25)
        close(got, np.full(20, 0.2), scale=1.0, name=f"the error of numbers near {size:g}")


@exercise("relative_error")
def test_relative_error_of_lists_and_whole_numbers():
    close(day07.relative_error([4, 0, -3, 5], [5, 0, 3, -0.0]), np.array([0.2, 0.0, 2.0, 1.0]))
    close(np.asarray(day07.relative_error(3, 4)), np.asarray(0.25))
    least = np.array([-128], dtype=np.int8)  # whose absolute value no int8 holds
    for a, b in ((least, [0.0]), ([0.0], least)):
        close(day07.relative_error(a, b), np.array([1.0]))


@exercise("relative_error")
def test_relative_error_leaves_out_what_is_unsure(rng):
    got = day07.relative_error([10.0, 10.0, 10.0, -4.0], [8.0, 8.0, 8.0, 4.0], [0.5, 2.0, 5.0, 0])
    close(got, np.array([0.15, 0.0, 0.0, 2.0]))
    close(day07.relative_error([10.0, 1.0], [8.0, 1.5], 1.0), np.array([0.1, 0.0]))
    close(day07.relative_error([1.0], [2.0], np.inf), np.array([0.0]))


@exercise("relative_error")
def test_relative_error_of_what_is_not_finite():
    nan, inf = np.nan, np.inf
    a = [inf, -inf, inf, inf, 1.0, nan, 1.0, nan, 0.0, nan, 2.0]
    b = [inf, -inf, -inf, 1.0, -inf, nan, nan, 1.0, 0.0, inf, 1.0]
    expected = [0.0, 0.0, inf, inf, inf, inf, inf, inf, 0.0, inf, 0.5]
    with silent():
        got = day07.relative_error(a, b)
        shielded = day07.relative_error(a, b, inf)
    assert got.tolist() == expected, f"a = {a}, b = {b} gave {got}"
    expected[-1] = 0.0
    assert shielded.tolist() == expected, f"with unsure = inf: a = {a}, b = {b} gave {shielded}"


@exercise("relative_error")
def test_relative_error_does_not_broadcast():
    for a, b in [((3,), (3, 1)), ((3,), ()), ((3, 1), (1, 3)), ((1,), ()), ((2,), (3,))]:
        with pytest.raises(ValueError):
            day07.relative_error(np.ones(a), np.ones(b))
            pytest.fail(f"the shapes {a} and {b} were compared")


# check_gradient -------------------------------------------------------------------------------


@exercise("check_gradient")
@shapes("shape", (), (1,), (6,), (2, 3), (2, 1, 2))
def test_right_gradients_pass(shape, rng):
    f, df = waves(rng, *shape)
    x = rng.uniform(*shape, low=-1.0, high=1.0)
    check = day07.check_gradient(f, df, x)
    not_accused(check, "a sum of sines")
    for name in ("claimed", "measured", "unsure", "wrong", "checkable"):
        assert np.shape(getattr(check, name)) == shape, f"{name} has not the shape {shape} of x"
    assert np.all(check.checkable), f"a sine was not checkable: unsure by {check.unsure}"
    close(np.asarray(check.claimed), np.asarray(df(x)))
    assert np.all(np.abs(check.measured - df(x)) <= check.unsure + 1e-10), "unsure is too small"


@exercise("check_gradient")
@pytest.mark.parametrize("error", [1e-4, -1e-4, 1e-6])
def test_a_planted_error_is_found(error, rng):
    for scale in (1e-3, 1.0, 1e4):
        x = scale * rng.uniform(12, low=0.5, high=1.0)
        f, df = waves(rng, 12)
        index = int(rng.integers(0, 12))

        def scaled(x, f=f, scale=scale):
            return f(x / scale)

        def slopes(x, df=df, scale=scale):
            return df(x / scale) / scale

        not_accused(day07.check_gradient(scaled, slopes, x), f"x of size {scale:g}")
        check = day07.check_gradient(scaled, planted(slopes, index, error), x)
        if scale < 1:  # the step for an x of 0.001 is that for 1: far too wide to tell
            continue
        assert np.flatnonzero(check.wrong).tolist() == [index], (
            f"entry {index} is off by {error:g}, x is of size {scale:g}; called wrong: "
            f"{np.flatnonzero(check.wrong).tolist()}"
        )
        assert check.ok is False, f"something is wrong, and ok is {check.ok!r}"


@exercise("check_gradient")
def test_wrong_claims_of_every_kind_are_found(rng):
    x = rng.uniform(5, low=0.5, high=1.0)
    f, df = waves(rng, 5)
    for name, claim in {
        "zeros": np.zeros(5),
        "the opposite": -df(x),
        "nan": np.full(5, np.nan),
        "inf": np.full(5, np.inf),
        "twice as much": 2 * df(x),
    }.items():
        assert np.all(day07.check_gradient(f, lambda _, c=claim: c, x).wrong), f"{name} passed"
    assert np.all(day07.check_gradient(np.prod, lambda x: np.zeros(2), np.ones(2)).wrong), (
        "the claim 0 for the product of (1, 1) passed"
    )
    assert day07.check_gradient(lambda x: 0.0, np.ones_like, np.ones(3)).wrong.all(), (
        "the claim 1 for a function that is 0 everywhere passed"
    )
    check = day07.check_gradient(lambda x: 0.0, np.zeros_like, np.ones(3))
    assert not check.wrong.any() and check.checkable.all(), "f is 0 everywhere, and so its slopes"


@exercise("check_gradient")
def test_the_tolerance_counts(rng):
    x = rng.uniform(5, low=0.5, high=1.0)
    f, df = waves(rng, 5)
    wrong = planted(df, slice(None), 1e-3)
    assert day07.check_gradient(f, wrong, x, tolerance=1e-2).ok, (
        "slopes that are off by 1e-3 are right with a tolerance of 1e-2"
    )
    assert day07.check_gradient(f, wrong, x, tolerance=1e-4).wrong.all(), (
        "slopes that are off by 1e-3 are wrong with a tolerance of 1e-4"
    )
    check = day07.check_gradient(f, df, x, 1e-14)
    assert not check.checkable.any(), "no measured slope is sure to 14 digits"


@exercise("check_gradient")
@pytest.mark.parametrize("size", [1.0, 300.0, -300.0])
def test_kinks_near_and_far(size, rng):
    """|x - kink| with the kink at many places around x: never accused, checkable only outside."""
    h = H * max(abs(size), 1.0)
    left, right = rng.normal(2)
    right += 1.0 if right > left else -1.0
    for place in [*np.linspace(-1.3, 1.3, 53), 1 / 3, -1 / 3, 1 / 2, -1 / 2]:
        kink = size + place * h

        def f(x, kink=kink):
            return np.where(x > kink, right, left) * (x - kink)

        claims = [left, right] if place == 0 else [left if place > 0 else right]
        for claim in claims:
            check = day07.check_gradient(f, lambda x, claim=claim: claim, size)
            not_accused(check, f"a kink {place:+.3f} steps from x")
            assert abs(check.measured - claim) <= check.unsure + 1e-8, (
                f"a kink {place:+.3f} steps from x: the slope {claim} is measured as "
                f"{check.measured}, and unsure by no more than {check.unsure}"
            )
        if abs(place) < 0.9:
            assert not check.checkable, f"a kink {place:+.3f} steps from x is called checkable"
        if abs(place) > 1.05:
            assert check.checkable, f"a kink {place:+.3f} steps from x should not matter"
        wild = day07.check_gradient(f, lambda x: 50.0, size)
        assert wild.wrong, f"a claim of 50 beside slopes of {left} and {right} passed"


@exercise("check_gradient")
@pytest.mark.parametrize("slope_at_0", [0.0, 1.0, 0.5])
def test_relu_at_its_kink(slope_at_0, rng):
    w = rng.uniform(6, low=1.0, high=2.0)
    x = np.array([0.0, 0.4, -0.3, 0.0, 1e-6, -1e-6])

    def df(x):
        return w * np.where(x == 0, slope_at_0, x > 0)

    check = day07.check_gradient(lambda x: w @ np.maximum(x, 0.0), df, x)
    not_accused(check, f"relu with the slope {slope_at_0} at 0")
    assert check.checkable.tolist() == [False, True, True, False, False, False], (
        f"at x = {x} checkable is {check.checkable}"
    )
    for index in (1, 2):
        claimed = df(x)
        claimed[index] += 2e-4
        check = day07.check_gradient(lambda x: w @ np.maximum(x, 0.0), lambda x, c=claimed: c, x)
        assert np.flatnonzero(check.wrong).tolist() == [index], (
            "kinks in some entries hide what is wrong in another"
        )


@exercise("check_gradient")
def test_a_narrow_step_between_two_kinks():
    """A ramp that ends within a step on both sides: left and right agree, the two steps do not."""
    for width in (0.5, 0.6, 0.7, 0.9):
        check = day07.check_gradient(
            lambda x, width=width: np.clip(x, -width * H, width * H), lambda x: 1.0, 0.0
        )
        not_accused(check, f"a ramp of +-{width} steps")
        assert not check.checkable, f"a ramp of +-{width} steps is called checkable"


@exercise("check_gradient")
def test_wiggles_are_not_accused(rng):
    for frequency in (1e3, 1e4, 3e4):
        x = rng.uniform(10, low=-1.0, high=1.0)
        check = day07.check_gradient(
            lambda x, k=frequency: np.sum(np.sin(k * x)),
            lambda x, k=frequency: k * np.cos(k * x),
            x,
        )
        not_accused(check, f"sin({frequency:g} x)")


@exercise("check_gradient")
@pytest.mark.parametrize("offset", [1e5, -1e7, 1e10])
def test_rounding_is_not_accused(offset, rng):
    """The change of f drowns in the last digits of a large f."""
    x = rng.uniform(200, low=-1.0, high=1.0)
    for k in range(0, 200, 20):
        part = x[k : k + 20]
        check = day07.check_gradient(lambda x: offset + np.sum(np.sin(x)), np.cos, part)
        not_accused(check, f"{offset:g} + sin(x)")
        assert not check.checkable.any(), f"no slope of {offset:g} + sin(x) is sure to 7 digits"


@exercise("check_gradient")
def test_edges_of_the_domain():
    with silent():
        check = day07.check_gradient(
            lambda x: np.sqrt(x[0]) + x[1] ** 2, lambda x: [0.0, 2 * x[1]], [0.0, 3.0]
        )
        assert check.unsure[0] == np.inf, "sqrt has no value left of 0, so nothing was measured"
        assert check.wrong.tolist() == [False, False] and check.checkable.tolist() == [
            False,
            True,
        ], (
            f"sqrt(x0) + x1² at (0, 3): the first slope can't be checked, the second is right; "
            f"wrong is {check.wrong}, checkable {check.checkable}"
        )
        check = day07.check_gradient(
            lambda x: np.sqrt(x[0]) + x[1] ** 2, lambda x: [np.nan, 2.001 * x[1]], [0.0, 3.0]
        )
        assert check.wrong.tolist() == [False, True], f"wrong is {check.wrong}"
        for f in (lambda x: np.inf, lambda x: np.nan, lambda x: np.exp(1e3 + x[0])):
            check = day07.check_gradient(f, np.ones_like, [1.0])
            assert check.unsure == np.inf and not check.wrong and not check.checkable, (
                f"f is inf, nan or too large: unsure {check.unsure}, wrong {check.wrong}, "
                f"checkable {check.checkable}"
            )
        # log has no value at the far point behind, but has at the near one
        check = day07.check_gradient(lambda x: np.log(x[0]), lambda x: 1 / x, [0.7 * H])
        assert check.unsure == np.inf and not check.wrong, (
            f"log has no value at x - h: unsure {check.unsure}, wrong {check.wrong}"
        )


@exercise("check_gradient")
def test_calls_and_points(rng):
    for scale in (1e-3, 1.0, 1e5):
        x = scale * rng.normal(3, 2)
        f, df = Kept(lambda x: np.sum(x)), Kept(np.ones_like)
        day07.check_gradient(f, df, x)
        assert len(f.arguments) == 25, f"f was called {len(f.arguments)} times for 6 entries"
        assert len(df.arguments) == 1, f"df was called {len(df.arguments)} times"
        for kept in (f, df):
            for argument, copy in zip(kept.arguments, kept.copies, strict=True):
                assert type(argument) is np.ndarray and argument.dtype == np.float64, (
                    f"f or df was given {argument!r}, not an array of float64"
                )
                assert np.array_equal(argument, copy), "an array that f kept was changed later"
                assert argument.flags.writeable, "an array of f's own can be written to"
        assert len({id(a) for a in f.arguments}) == 25, "f was given one array several times"
        moves = {i: [] for i in np.ndindex(3, 2)}
        for copy in f.copies:
            moved = np.argwhere(copy != x)
            assert len(moved) <= 1, f"several entries were moved at once: {moved.tolist()}"
            if len(moved):
                i = tuple(moved[0])
                moves[i].append((copy[i] - x[i]) / (H * max(abs(x[i]), 1.0)))
        for i, steps in moves.items():
            assert np.allclose(sorted(steps), [-1, -0.5, 0.5, 1], atol=1e-6), (
                f"entry {i} was moved by {sorted(steps)} steps"
            )


@exercise("check_gradient")
def test_functions_that_write_into_their_argument(rng):
    x = rng.uniform(4, low=0.5, high=1.0)

    def f(x):
        x *= x
        return x.sum()

    def df(x):
        x *= 2
        return x

    not_accused(day07.check_gradient(f, df, x), "a sum of squares that squares in place")


@exercise("check_gradient")
def test_measured_and_unsure_by_the_formulas(rng):
    x = rng.uniform(4, low=1.0, high=2.0)
    check = day07.check_gradient(lambda x: np.sum(np.exp(20 * x)), lambda x: x, x)
    for i in range(4):
        h = H * x[i]
        far, near, here, before, behind = (
            np.sum(np.exp(20 * (x + np.eye(4)[i] * t))) for t in (h, h / 2, 0.0, -h / 2, -h)
        )
        measured = (near - before) / h
        noise = EPS * here * 400 / h
        assert abs(check.measured[i] - measured) <= noise, (
            f"measured is {check.measured[i]}, by the formula {measured}"
        )
        unsure = abs((4 * near - 3 * here - far) - (3 * here - 4 * before + behind)) / h
        unsure += abs((far - behind) / (2 * h) - measured) + 8 * EPS * far / h
        assert abs(check.unsure[i] - unsure) <= 4 * noise, (
            f"unsure is {check.unsure[i]}, by the formula {unsure}"
        )
    flat = day07.check_gradient(lambda x: -1024.0, np.zeros_like, [0.5])
    assert flat.unsure == 8 * EPS * 1024 / H, (
        f"a constant is unsure by rounding alone, {8 * EPS * 1024 / H}; got {flat.unsure}"
    )


@exercise("check_gradient")
def test_checkable_looks_at_the_largest_entry():
    x = [0.5, 0.5, 0.0]
    check = day07.check_gradient(
        lambda x: 1e3 * x[0] + x[1] + 1e-6 * abs(x[2]), lambda x: [1e3, 1.0, 0.0], x
    )
    assert check.checkable.all(), "a kink of 1e-6 beside a slope of 1000 does not matter"
    check = day07.check_gradient(lambda x: x[1] + 1e-6 * abs(x[2]), lambda x: [0, 1.0, 0.0], x)
    assert check.checkable.tolist() == [True, True, False], f"got {check.checkable}"
    # an entry of which nothing is known cannot be the largest
    check = day07.check_gradient(
        lambda x: abs(x[0]) + (np.inf if x[1] > 0 else 0.0), lambda x: [1.0, 0.0], [0.0, 0.0]
    )
    assert not check.checkable.any(), (
        f"one slope is at a kink, of the other nothing is known: checkable is {check.checkable}"
    )


@exercise("check_gradient")
def test_a_network_against_torch(rng):
    first, last = rng.normal(8, 5), rng.normal(8)
    x = rng.normal(5)

    def by_torch(x):
        inputs = torch.tensor(x, requires_grad=True)
        out = torch.tensor(last) @ torch.relu(torch.tensor(first) @ torch.tanh(inputs))
        out.backward()
        return inputs.grad.numpy()

    def f(x):
        return last @ np.maximum(first @ np.tanh(x), 0.0)

    not_accused(day07.check_gradient(f, by_torch, x), "a network with relu")


@exercise("check_gradient")
def test_shapes_that_are_wrong():
    for df in (
        lambda x: np.ones((3, 1)),
        lambda x: 1.0,
        lambda x: np.ones(4),
        lambda x: [[1, 1, 1]],
    ):
        with pytest.raises(ValueError):
            day07.check_gradient(np.sum, df, np.ones(3))
            pytest.fail("a gradient that has not the shape of x was compared with it")
    for f in (lambda x: x, lambda x: np.sum(x, keepdims=True)):
        with pytest.raises(ValueError):
            day07.check_gradient(f, np.ones_like, np.ones(3))
            pytest.fail("f returned an array, and was taken for a number")
    assert day07.check_gradient(np.sum, np.ones_like, np.ones((0, 2))).wrong.shape == (0, 2), (
        "the result for an x of shape (0, 2) has that shape"
    )
    assert day07.check_gradient(lambda x: x[0] ** 2, lambda x: [2 * x[0]], [3]).checkable.all(), (
        "x0² at the whole number 3 can be checked"
    )


# random_direction_check -----------------------------------------------------------------------


@exercise("random_direction_check")
@shapes("shape", (), (1,), (50,), (3, 4))
def test_directions_of_right_and_wrong_gradients(shape, rng):
    f, df = waves(rng, *shape)
    x = rng.uniform(*shape, low=-1.0, high=1.0)
    for directions in (1, 5):
        check = day07.random_direction_check(f, df, x, generator(rng), directions)
        not_accused(check, f"{directions} directions")
        assert check.wrong.shape == check.checkable.shape == (directions,), (
            f"{directions} directions gave arrays of the shapes {check.wrong.shape} and "
            f"{check.checkable.shape}"
        )
        for name in ("claimed", "measured", "unsure"):
            dtype = getattr(check, name).dtype
            assert dtype == np.float64, f"{name} should be float64, and is {dtype}"
        check = day07.random_direction_check(
            f, lambda x: df(x) * 1.0001, x, generator(rng), directions
        )
        assert check.wrong.all(), "the whole gradient is too large by 1e-4"
    index = tuple(int(rng.integers(0, n)) for n in shape)
    check = day07.random_direction_check(f, planted(df, index), x, generator(rng))
    assert not check.ok, f"one entry of {math.prod(shape)} is off by 1e-4, and was not noticed"


@exercise("random_direction_check")
def test_directions_cost_no_more_for_many_entries(rng):
    x = rng.uniform(20_000, low=0.5, high=1.0)
    f, df = Kept(lambda x: x @ x), Kept(lambda x: 2 * x)
    assert day07.random_direction_check(f, df, x, generator(rng), 2).ok, (
        "the right gradient of x·x for 20 000 entries is called wrong"
    )
    assert len(f.arguments) == 9, f"f was called {len(f.arguments)} times for 2 directions"
    assert len(df.arguments) == 1, f"df was called {len(df.arguments)} times"


@exercise("random_direction_check")
def test_directions_move_every_entry_by_its_size(rng):
    x = rng.normal(400) * 10.0 ** rng.integers(-3, 5, 400)
    f = Kept(np.sum)
    day07.random_direction_check(f, np.ones_like, x, generator(rng), 2)
    moves = [(copy - x) / (H * np.maximum(np.abs(x), 1.0)) for copy in f.copies]
    far = [move for move in moves if np.abs(move).max() > 1.01]
    assert len(far) == 4, "of each direction two points should lie a whole step from x"
    for move in far:
        size = np.abs(move)
        assert size.min() > 0.99 and size.max() < 2.01, (
            f"entries should move by 1 to 2 steps of their size, and move by {size.min():.3g} "
            f"to {size.max():.3g}"
        )
        assert size.min() < 1.2 and size.max() > 1.8, "all entries move by about the same"
        ahead = np.sum(move > 0)
        assert 100 < ahead < 300, f"{ahead} of 400 entries move upwards: signs should be random"
        assert abs(np.mean(move)) < 0.5, (
            f"the mean move is {np.mean(move):.2f}: signs should be random"
        )
    firsts = [far[0], next(m for m in far if not np.allclose(np.abs(m), np.abs(far[0]), 1e-3))]
    agree = np.mean(np.sign(firsts[0]) == np.sign(firsts[1]))
    assert 0.3 < agree < 0.7, "the directions are not drawn one by one"


@exercise("random_direction_check")
def test_directions_come_from_the_generator(rng):
    f, df = waves(rng, 9)
    x = rng.uniform(9)
    one, same, other = (
        day07.random_direction_check(f, df, x, np.random.default_rng(rng.seed + k)).claimed
        for k in (0, 0, 1)
    )
    assert np.array_equal(one, same), "the same generator gave other directions"
    assert not np.any(one == other), "another generator gave the same directions"
    one, other = (
        np.abs(
            day07.random_direction_check(
                np.sum, np.ones_like, [0.0], np.random.default_rng(rng.seed + k)
            ).claimed
        )
        for k in (0, 1)
    )
    assert not np.any(one == other), "the sizes of the moves do not come from the generator"


@exercise("random_direction_check")
def test_directions_of_large_and_kinked_x(rng):
    x = 1e6 * rng.uniform(30, low=0.5, high=1.0)
    check = day07.random_direction_check(
        lambda x: np.sum(np.sin(x / 1e6)), lambda x: np.cos(x / 1e6) / 1e6, x, generator(rng)
    )
    not_accused(check, "x of size 1e6")
    assert check.checkable.all(), "x of size 1e6: each entry must move by a step of its size"
    x = np.array([0.0, 0.7, 0.2e-5, 0.5])
    for seed in range(20):
        check = day07.random_direction_check(
            lambda x: np.abs(x) @ [1, 2, 3, 4],
            lambda x: np.array([1, 2, 3, 4]) * np.sign(x),
            x,
            np.random.default_rng(rng.seed + seed),
        )
        not_accused(check, "|x| at a kink")
        assert not check.checkable.any(), "every direction crosses the kinks"


@exercise("random_direction_check")
def test_directions_pass_the_tolerance_on_and_take_lists(rng):
    def df(x):
        assert x.dtype == np.float64, f"df was given an array of {x.dtype}, not of float64"
        return [2.002 * x[0], 2.002 * x[1]]

    for x in ([1, 2], np.array([1, 2])):
        for tolerance, ok in [(1e-2, True), (1e-4, False)]:
            check = day07.random_direction_check(
                lambda x: x[0] ** 2 + x[1] ** 2, df, x, generator(rng), tolerance=tolerance
            )
            assert check.ok is ok, f"off by 1e-3, with a tolerance of {tolerance}"
    for wrong in (lambda x: np.ones((2, 1)), lambda x: np.ones(3), lambda x: 1.0):
        with pytest.raises(ValueError):
            day07.random_direction_check(np.sum, wrong, np.ones(2), generator(rng))
            pytest.fail(f"df returned the shape {np.shape(wrong(0))} for an x of shape (2,)")


# find_wrong_entry -----------------------------------------------------------------------------


@exercise("find_wrong_entry")
@shapes("shape", (), (1,), (2,), (37,), (3, 5), (2, 3, 4))
def test_the_wrong_entry_is_found(shape, rng):
    f, df = waves(rng, *shape)
    x = rng.uniform(*shape, low=-1.0, high=1.0)
    places = list(np.ndindex(shape))
    for index in {places[0], places[-1], rng.choice(places)}:
        got = day07.find_wrong_entry(f, planted(df, index), x, generator(rng))
        assert got == index, f"entry {index} of shape {shape} is off by 1e-4; found {got}"
        assert type(got) is tuple and all(type(i) is int for i in got), f"got {got!r}"
    assert day07.find_wrong_entry(f, df, x, generator(rng)) is None, "nothing is wrong"


@exercise("find_wrong_entry")
def test_the_search_halves(rng):
    n = 256
    f, df = waves(rng, n)
    x = rng.uniform(n, low=-1.0, high=1.0)
    index = int(rng.integers(0, n))
    counted, claim = Kept(f), Kept(planted(df, index, 0.01))
    assert day07.find_wrong_entry(counted, claim, x, generator(rng)) == (index,), (
        f"the wrong entry, {index} of {n}, was not found"
    )
    calls = len(counted.arguments)
    assert calls <= 13 + 26 * 8, f"f was called {calls} times to find one of {n} entries"
    assert len(claim.arguments) == 1, f"df was called {len(claim.arguments)} times"
    for argument, copy in zip(counted.arguments, counted.copies, strict=True):
        assert argument.shape == (n,) and argument.dtype == np.float64, (
            f"f was given an array of shape {argument.shape} and dtype {argument.dtype}"
        )
        assert np.array_equal(argument, copy), "an array that f kept was changed later"
        assert np.abs(argument - x).max() < 1e-3, "f was called far from x"
    counted = Kept(f)
    assert day07.find_wrong_entry(counted, df, x, generator(rng)) is None, (
        "nothing is wrong, and an entry was accused"
    )
    assert len(counted.arguments) == 13, (
        f"f was called {len(counted.arguments)} times; one check of all entries is enough"
    )


@exercise("find_wrong_entry")
def test_kinks_do_not_hide_the_wrong_entry(rng):
    x = np.array(rng.uniform(24, low=0.3, high=1.0))
    x[rng.permutation(24)[:5]] = 0.0
    w = rng.uniform(24, low=1.0, high=2.0)

    def f(x):
        return w @ np.abs(x)

    def df(x):
        return w * np.sign(x)

    assert day07.find_wrong_entry(f, df, x, generator(rng)) is None, "|x| at 0 was accused"
    index = int(rng.choice(np.flatnonzero(x)))
    got = day07.find_wrong_entry(f, planted(df, index), x, generator(rng))
    assert got == (index,), f"kinks at {np.flatnonzero(x == 0)} hide the error at {index}: {got}"


@exercise("find_wrong_entry")
def test_several_wrong_entries(rng):
    f, df = waves(rng, 40)
    x = rng.uniform(40, low=-1.0, high=1.0)
    wrong = sorted(rng.permutation(40)[:3].tolist())
    got = day07.find_wrong_entry(f, planted(df, wrong, 0.01), x, generator(rng))
    assert got is not None and got[0] in wrong, f"the entries {wrong} are wrong, found {got}"
    got = day07.find_wrong_entry(f, planted(df, 17, np.nan), x, generator(rng))
    assert got == (17,), f"entry 17 is nan, found {got}"


@exercise("find_wrong_entry")
def test_errors_that_cancel_are_found(rng):
    """Two errors of the same size: with signs alone they cancel in half of the directions."""
    for seed in range(10):
        got = day07.find_wrong_entry(
            np.sum,
            lambda x: np.where(np.arange(8) == 2, 1.01, np.where(np.arange(8) == 3, 0.99, 1.0)),
            np.ones(8),
            np.random.default_rng(rng.seed + seed),
        )
        assert got in [(2,), (3,)], f"entries 2 and 3 are wrong, found {got}"


@exercise("find_wrong_entry")
def test_the_search_takes_a_tolerance_and_no_entries(rng):
    f, df = waves(rng, 6)
    x = rng.uniform(6, low=-1.0, high=1.0)
    wrong = planted(df, 4, 1e-3)
    assert day07.find_wrong_entry(f, wrong, x, generator(rng), tolerance=1e-2) is None, (
        "entry 4 is off by 1e-3: right with a tolerance of 1e-2"
    )
    assert day07.find_wrong_entry(f, wrong, x, generator(rng), tolerance=1e-4) == (4,), (
        "entry 4 is off by 1e-3: wrong with a tolerance of 1e-4"
    )
    none = day07.find_wrong_entry(lambda x: 1.0, np.zeros_like, np.ones((0, 3)), generator(rng))
    assert none is None, "an x of size 0 has no wrong entry"
    got = day07.find_wrong_entry(lambda x: x[0] * x[1], lambda x: [x[1], 1], [2, 3], generator(rng))
    assert got == (1,), f"the slope of x0 x1 in x1 is 2 at (2, 3), 1 was claimed; found {got}"
    with pytest.raises(ValueError):
        got = day07.find_wrong_entry(np.sum, lambda x: np.ones((6, 1)), x, generator(rng))
        pytest.fail(f"df returned the shape (6, 1) for an x of shape (6,), and {got} came back")


# forward_or_reverse ---------------------------------------------------------------------------


@exercise("forward_or_reverse")
def test_the_cheaper_mode():
    for n, m, mode, cost in [
        (1, 1, "forward", 2.5),
        (2, 1, "forward", 4.0),
        (3, 1, "reverse", 4.0),
        (7, 4, "forward", 11.5),
        (8, 4, "reverse", 11.5),
        (10**9, 1, "reverse", 4.0),
        (1, 10**9, "forward", 2.5),
        (1000, 1000, "forward", 1501.0),
        (1700, 1000, "reverse", 2501.5),
    ]:
        got = day07.forward_or_reverse(n, m)
        assert got == (mode, cost), f"{n} inputs and {m} outputs: {got}"
        assert isinstance(got, day07.Choice), f"a {type(got).__name__} came back, not a Choice"


@exercise("forward_or_reverse")
def test_no_inputs_or_outputs():
    for n, m in [(0, 1), (1, 0), (-1, 5), (5, -1), (0, 0)]:
        with pytest.raises(ValueError):
            day07.forward_or_reverse(n, m)
            pytest.fail(f"{n} inputs and {m} outputs were accepted")
