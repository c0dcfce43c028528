"""Day 8: the affine map, three ways to fill a weight, and what fifty layers make of a signal.

Random fillings are judged by their moments. A bound is 6 standard deviations of the statistic,
which a formula beside it gives for as many numbers as are drawn: right answers fail once in 10⁹,
and the numbers are so many that 6 deviations are still less than what a mistake moves. (At 4
deviations one right run in 400 would fail, with the forty statistics here.)
"""

import math
import sys

import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from harness.testing import close, exercise, layouts, shapes, watch
from tracks.pytorch import day08

DTYPES = [torch.float64, torch.float32, torch.bfloat16]
EPS = {torch.float64: 1e-12, torch.float32: 1e-6, torch.bfloat16: 2.0**-7}
BAN = ["linear", "bilinear", "addmm", "addmv", "addbmm", "baddbmm"]


class Unaided(TorchFunctionMode):
    """Refuses what torch.nn.init does; `ban` knows operators, and these are Python functions."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        frame = sys._getframe(1)
        while frame is not None:
            assert frame.f_code.co_filename != nn.init.__file__, (
                "torch.nn.init fills the tensor: that function is what you are to write"
            )
            frame = frame.f_back
        return func(*args, **(kwargs or {}))


def generator(device, seed):
    return torch.Generator(device).manual_seed(seed)


# linear --------------------------------------------------------------------------------------


def affine(x, w, b=None):
    out = torch.einsum("...i,oi->...o", x.double(), w.double())
    return out if b is None else out + b.double()


def check_linear(got, x, w, b=None, name="result"):
    """In bfloat16 the product may be rounded before the bias comes to it, so its size counts."""
    product, expected = affine(x, w), affine(x, w, b)
    if got.dtype == torch.bfloat16 and got.shape == expected.shape and b is not None:
        rounding = 2.0**-8 * product.abs() + 1e-6
        exact = (got.double() - expected).abs() <= rounding + 2.0**-8 * expected.abs() * 1.01
        expected = torch.where(exact, got.double(), expected)
    close(got, expected, dtype=x.dtype, terms=x.shape[-1] + 1, scale=1.0, name=name)


@exercise("linear", ban=BAN)
@shapes("shape, out", ((4,), 3), ((1, 1), 1), ((5, 7), 9), ((2, 3, 8), 5), ((2, 1, 3, 4), 4),
        ((0, 4), 3), ((2, 0, 4), 3), ((3, 0), 2), ((3, 4), 0), ((0,), 5),
        gpu=[((4096, 1024), 512)])  # fmt: skip
def test_linear_values(shape, out, device, rng):
    for dtype in DTYPES:
        x = rng.normal(*shape, dtype=dtype)
        w = rng.normal(out, shape[-1], dtype=dtype, std=max(shape[-1], 1) ** -0.5)
        b = rng.normal(out, dtype=dtype)
        for bias in (b, None):
            what = f"{dtype} linear of {shape}, {'no' if bias is None else 'a'} bias"
            check_linear(day08.linear(x, w, bias), x, w, bias, what)


@exercise("linear", ban=BAN)
def test_linear_of_any_strides(device, rng):
    x, w = rng.normal(3, 5, 6), rng.normal(6, 6)
    b = rng.normal(6)
    for layout, view in layouts(x):
        close(day08.linear(view, w, b), affine(x, w, b), dtype=x.dtype, terms=7, scale=1.0,
              name=f"of a {layout} x")  # fmt: skip
    for layout, view in layouts(w):
        close(day08.linear(x, view, b), affine(x, w, b), dtype=x.dtype, terms=7, scale=1.0,
              name=f"with a {layout} w")  # fmt: skip


@exercise("linear", ban=BAN)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_linear_gradients(dtype, device, rng):
    x, w, b = (rng.normal(*shape, dtype=dtype) for shape in ((2, 4, 5), (3, 5), (3,)))
    arrives = rng.normal(2, 4, 3, dtype=dtype)
    for t in (x, w, b):
        t.requires_grad_()
    day08.linear(x, w, b).backward(arrives)
    g, xd, wd = arrives.double(), x.detach().double(), w.detach().double()
    for name, found, wanted in (
        ("x", x.grad, g @ wd),
        ("w", w.grad, g.flatten(0, 1).T @ xd.flatten(0, 1)),
        ("b", b.grad, g.sum((0, 1))),
    ):
        close(found, wanted, dtype=dtype, terms=8, scale=2.0, name=f"{dtype} gradient of {name}")


@exercise("linear", ban=BAN)
def test_linear_memory(device, rng):
    x, w, b = rng.normal(64, 128), rng.normal(96, 128), rng.normal(96)
    result, out = 64 * 96 * 4, 64 * 96 * 128 * 4
    got, seen = watch(day08.linear, x, w, b)
    assert seen.peak_bytes <= 4 * result + 128 * 96 * 4, (
        f"{seen.peak_bytes} bytes for a result of {result}: all products at once are {out}"
    )
    close(got, affine(x, w, b), dtype=x.dtype, terms=129, scale=1.0)


@exercise("linear")  # no ban: its watching cannot be compiled
@pytest.mark.parametrize(
    "x, w, b, named",
    [
        ((2, 5), (3, 4), None, [(2, 5), (3, 4)]),
        ((2, 3), (3, 4), None, [(2, 3), (3, 4)]),  # w the other way round
        ((4,), (4,), None, [(4,), (4,)]),
        ((2, 4), (2, 3, 4), None, [(2, 4), (2, 3, 4)]),
        ((), (3, 4), None, [(), (3, 4)]),
        ((), (3,), None, [(), (3,)]),
        ((2, 1), (3, 4), None, [(2, 1), (3, 4)]),
        ((2, 4), (3, 4), (4,), [(3, 4), (4,)]),
        ((2, 4), (3, 4), (1,), [(3, 4), (1,)]),
        ((2, 4), (3, 4), (2, 3), [(3, 4), (2, 3)]),
        ((2, 4), (3, 4), (), [(3, 4), ()]),
    ],
)
def test_linear_refuses_shapes_that_do_not_fit(x, w, b, named, device, rng):
    bias = None if b is None else rng.normal(*b)
    with pytest.raises(ValueError) as refusal:
        got = day08.linear(rng.normal(*x), rng.normal(*w), bias)
        pytest.fail(f"x {x}, w {w} and b {b} gave a result of shape {tuple(got.shape)}")
    message = str(refusal.value).replace("[", "(").replace("]", ")")
    for shape in named:
        numbers = [str(n) for n in shape]
        assert all(n in message for n in numbers), f"{shape} is not named: {message!r}"


@exercise("linear", seconds=60)  # no ban: its watching cannot be compiled
def test_linear_compiles_without_a_graph_break(device, rng):
    compiled = torch.compile(day08.linear, backend="aot_eager", fullgraph=True, dynamic=False)
    x, w, b = (rng.normal(*s, dtype=torch.bfloat16) for s in ((2, 3, 4), (5, 4), (5,)))
    check_linear(compiled(x, w, b), x, w, b, "compiled")
    x = x.float().requires_grad_()
    compiled(x, w.float()).sum().backward()
    wanted = w.double().sum(0).expand(2, 3, 4)
    close(x.grad, wanted, dtype=x.dtype, terms=5, scale=1.0, name="compiled gradient of x")


# What all three fillings promise --------------------------------------------------------------


NAMES = ["xavier_uniform_", "kaiming_normal_", "orthogonal_"]
each = pytest.mark.parametrize(
    "name", [pytest.param(n, marks=exercise(n, inplace=True)) for n in NAMES]
)


def empty(*shape, device, dtype=torch.float32):
    return torch.zeros(shape, device=device, dtype=dtype)


@each
def test_fills_in_place_and_returns_the_tensor(name, device):
    fill = getattr(day08, name)
    weight = nn.Parameter(empty(20, 30, device=device))
    held = weight.data_ptr()
    got = fill(weight)
    assert got is weight, f"{name} returned another object than the tensor that it was given"
    assert weight.data_ptr() == held, "the tensor has other memory than before"
    assert (weight != 0).all(), f"{(weight == 0).sum()} of 600 elements were not written"
    assert weight.is_leaf and weight.requires_grad, "the parameter is none any more"
    assert weight.grad_fn is None and weight.grad is None
    with torch.no_grad():
        plain = fill(empty(3, 4, device=device))
    assert not plain.requires_grad, "a plain tensor came back requiring a gradient"


@each
def test_fills_any_strides_and_dtype(name, device):
    fill = getattr(day08, name)
    for dtype in (*DTYPES, torch.float16):
        for layout, view in layouts(empty(12, 9, device=device, dtype=dtype)):
            whole = torch.empty(0, dtype=dtype, device=device).set_(view.untyped_storage())
            others = whole.numel() - view.numel()
            got = fill(view)
            assert got.dtype == dtype, f"{dtype} became {got.dtype}"
            assert (view != 0).sum() >= view.numel() - 2, f"a {layout} tensor was not all written"
            assert (whole == 7).sum() == others, f"memory around a {layout} tensor was written"
            assert view.unique().numel() > 30, f"a {dtype} tensor holds few different numbers"


@each
def test_draws_from_the_generator(name, device):
    fill = getattr(day08, name)
    first = fill(empty(8, 6, device=device), generator=generator(device, 1))
    other = fill(empty(8, 6, device=device), generator=generator(device, 2))
    torch.manual_seed(5)
    untouched = torch.rand(4, device=device)
    torch.manual_seed(5)
    again = fill(empty(8, 6, device=device), generator=generator(device, 1))
    after = torch.rand(4, device=device)
    assert torch.equal(first, again), "the same seed gives other numbers: is generator used?"
    assert not torch.equal(first, other), "another seed gives the same numbers"
    assert torch.equal(untouched, after), "torch's global generator was drawn from as well"
    own = generator(device, 1)
    assert not torch.equal(
        fill(empty(8, 6, device=device), generator=own),
        fill(empty(8, 6, device=device), generator=own),
    ), "two weights from one generator are equal"


@each
def test_draws_from_the_global_generator(name, device):
    fill = getattr(day08, name)
    torch.manual_seed(3)
    first, second = fill(empty(8, 6, device=device)), fill(empty(8, 6, device=device))
    torch.manual_seed(3)
    again = fill(empty(8, 6, device=device))
    assert torch.equal(first, again), "after the same torch.manual_seed the weight is another"
    assert not torch.equal(first, second), "two weights are equal: is a seed set inside?"


@each
@shapes("shape", (0, 3), (3, 0), (0, 0), (4, 2, 0))
def test_leaves_nothing_alone(name, shape, device):
    weight = empty(*shape, device=device)
    assert getattr(day08, name)(weight) is weight, f"{shape} came back as another object"
    assert weight.shape == shape


@each
def test_works_on_the_device_of_the_tensor(name, device):
    weight = empty(6, 4, device=device)
    with torch.device("meta"):  # where tensors land that are made without device=
        getattr(day08, name)(weight)
    assert (weight != 0).sum() > 20, "the weight was not written"


@each
@shapes("shape", (), (5,))
def test_refuses_too_few_axes(name, shape, device):
    with pytest.raises(ValueError) as refusal:
        getattr(day08, name)(empty(*shape, device=device))
        pytest.fail(f"a tensor of shape {shape} was filled")
    numbers = [str(n) for n in shape]
    assert all(n in str(refusal.value) for n in numbers), f"which shape? {refusal.value}"


@each
def test_is_written_here(name, device):
    with Unaided():
        getattr(day08, name)(empty(5, 4, device=device))


# xavier_uniform_ and kaiming_normal_ ----------------------------------------------------------


def check_moments(t, std, kurtosis, eighth, what):
    """The mean, the mean square and the mean fourth power of numbers of a known kind.

    ``kurtosis`` and ``eighth``: the fourth and the eighth moment, in units of std.
    """
    n, z = t.numel(), t.detach().double() / std
    slack = EPS[t.dtype]
    assert abs(z.mean()) < 6 / n**0.5 + slack, (
        f"{what}: the mean is {z.mean():.3f} standard deviations; 0 was expected"
    )
    sigma = ((kurtosis - 1) / n) ** 0.5
    assert abs(z.square().mean() - 1) < 6 * sigma + 3 * slack, (
        f"{what}: the variance is {z.square().mean():.3f} times what was expected"
    )
    sigma = ((eighth - kurtosis**2) / n) ** 0.5
    assert abs(z.pow(4).mean() - kurtosis) < 6 * sigma + 20 * slack, (
        f"{what}: the fourth moment is {z.pow(4).mean():.2f}, {kurtosis:.2f} was expected: "
        "is it the right distribution?"
    )
    rows = z.flatten(1)
    if min(rows.shape) > 1 and n >= 1000:  # independent numbers: means of rows vary as 1/columns
        for axis, name in ((1, "rows"), (0, "columns")):
            means = rows.mean(axis)
            spread = means.square().mean() * rows.shape[axis]
            assert abs(spread - 1) < 6 * (2 / len(means)) ** 0.5 + 0.3, (
                f"{what}: the means of the {name} vary {spread:.2f} times as much as they should: "
                "are the numbers independent?"
            )


def check_uniform(t, bound, what):
    largest, smallest = t.max().item(), t.min().item()
    slack = 1 + EPS[t.dtype]
    assert largest <= bound * slack and smallest >= -bound * slack, (
        f"{what}: numbers from {smallest:.4f} to {largest:.4f}, beyond ±{bound:.4f}"
    )
    near = bound * (1 - 40 / t.numel() - 2 * EPS[t.dtype])  # missed by chance once in e⁴⁰
    assert largest > near and smallest < -near, (
        f"{what}: numbers from {smallest:.4f} to {largest:.4f}, short of ±{bound:.4f}"
    )
    check_moments(t, bound / 3**0.5, 9 / 5, 9.0, what)  # E x⁸ = bound⁸ / 9 = 81 std⁸ / 9


@exercise("xavier_uniform_", inplace=True)
@shapes(
    "shape, gain",
    ((100, 200), 1.0),
    ((300, 60), 1.0),
    ((200, 100), 5 / 3),
    ((150, 150), 0.1),
    ((24, 10, 5, 7), 1.0),
    ((10, 40, 30), 2.0),
    ((1, 20000), 1.0),
    ((20000, 1), 1.0),
)
def test_xavier_moments(shape, gain, device):
    out, in_, *kernel = shape
    size = math.prod(kernel)
    bound = gain * (6 / (in_ * size + out * size)) ** 0.5
    for dtype in DTYPES:
        weight = day08.xavier_uniform_(empty(*shape, device=device, dtype=dtype), gain=gain)
        check_uniform(weight, bound, f"{dtype} xavier_uniform_ of {shape}, gain {gain:.2f}")


@exercise("xavier_uniform_", inplace=True)
def test_xavier_gain_defaults_to_one(device):
    weight = day08.xavier_uniform_(empty(100, 200, device=device))
    check_uniform(weight, 0.02**0.5, "xavier_uniform_ without a gain")


@exercise("kaiming_normal_", inplace=True)
@shapes("shape, slope, mode", ((100, 200), 0.0, "fan_in"), ((100, 400), 0.0, "fan_out"),
        ((400, 100), 0.01, "fan_in"), ((200, 150), 1.0, "fan_in"), ((200, 100), -0.5, "fan_out"),
        ((150, 200), 2.0, "fan_in"), ((60, 10, 5, 7), 0.2, "fan_in"),
        ((60, 10, 5, 7), 0.2, "fan_out"), ((1, 20000), 0.0, "fan_in"))  # fmt: skip
def test_kaiming_moments(shape, slope, mode, device):
    out, in_, *kernel = shape
    fan = (in_ if mode == "fan_in" else out) * math.prod(kernel)
    std = (2 / ((1 + slope**2) * fan)) ** 0.5
    for dtype in DTYPES:
        weight = empty(*shape, device=device, dtype=dtype)
        day08.kaiming_normal_(weight, slope=slope, mode=mode)
        what = f"{dtype} kaiming_normal_ of {shape}, slope {slope}, {mode}"
        check_moments(weight, std, 3.0, 105.0, what)


@exercise("kaiming_normal_", inplace=True)
def test_kaiming_defaults(device):
    weight = day08.kaiming_normal_(empty(400, 50, device=device))
    check_moments(weight, 0.2, 3.0, 105.0, "kaiming_normal_ without slope and mode")
    weight = day08.kaiming_normal_(empty(400, 50, device=device), 0.5, "fan_out")
    check_moments(weight, 1 / 250**0.5, 3.0, 105.0, "slope and mode by position")


@exercise("kaiming_normal_", inplace=True)
@pytest.mark.parametrize("mode", ["fan_avg", "FAN_IN", "fan", "", "count", "index"])
def test_kaiming_refuses_other_modes(mode, device):
    weight = empty(4, 3, device=device)
    with pytest.raises(ValueError) as refusal:
        day08.kaiming_normal_(weight, mode=mode)
        pytest.fail(f"mode={mode!r} was accepted")
    assert str(mode) in str(refusal.value), f"which mode? {refusal.value}"
    assert (weight == 0).all(), "the weight was filled before the mode was refused"


# orthogonal_ ---------------------------------------------------------------------------------


@exercise("orthogonal_", inplace=True)
@shapes("shape", (1, 1), (5, 5), (3, 7), (7, 3), (1, 6), (6, 1), (64, 33), (4, 2, 3), (10, 2, 1, 2))
@pytest.mark.parametrize("gain", [1.0, 2.0**0.5, -0.5])
def test_orthogonal_rows_or_columns(shape, gain, device):
    for dtype in (*DTYPES, torch.float16):
        weight = day08.orthogonal_(empty(*shape, device=device, dtype=dtype), gain=gain)
        w = weight.double().flatten(1) / gain
        product = w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w
        error = (product - torch.eye(len(product), device=device)).abs().max().item()
        allowed = {torch.float64: 1e-13, torch.float32: 2e-5, torch.bfloat16: 0.02}
        which = "rows" if w.shape[0] <= w.shape[1] else "columns"
        assert error < allowed.get(dtype, 0.002), (
            f"{dtype} {shape}, gain {gain:.2f}: the {which} are not orthonormal times gain: "
            f"their products are up to {error:.1e} off"
        )


@exercise("orthogonal_", inplace=True)
def test_orthogonal_gain_defaults_to_one(device):
    w = day08.orthogonal_(empty(6, 6, device=device, dtype=torch.float64))
    close(w.square().sum(1), torch.ones(6, device=device).double(), terms=6, scale=1.0,
          name="squared length of a row")  # fmt: skip


@exercise("orthogonal_", inplace=True)
@shapes("rows, columns", (3, 3), (2, 5), (5, 2))
def test_orthogonal_prefers_no_direction(rows, columns, device):
    # By symmetry every element is as often w as -w, and so are products of two elements. Each has
    # a variance of 1/longer; a product of two in one line less than 1/longer².
    runs, longer = 400, max(rows, columns)
    drawn = torch.stack(
        [day08.orthogonal_(empty(rows, columns, device=device)) for _ in range(runs)]
    )
    mean = drawn.double().mean(0).abs().max().item()
    limit = 6 / (runs * longer) ** 0.5
    assert mean < limit, (
        f"over {runs} weights ({rows}, {columns}) an element has the mean {mean:.2f}: it prefers "
        "a sign. Every orthogonal matrix should be equally likely"
    )
    w = drawn.double()
    pairs = [("one row", w[:, :, :-1] * w[:, :, 1:]), ("one column", w[:, :-1] * w[:, 1:])]
    for where, products in pairs:
        mean = products.mean(0).abs().max().item()
        assert mean < 6 / runs**0.5 / longer * 1.5, (
            f"neighbours in {where} go together: the mean of their product is {mean:.2f}"
        )
    squares = w.square().mean(0)
    assert (squares - 1 / longer).abs().max() < 6 * 1.5 / longer / runs**0.5, (
        f"the mean squares of the elements are not all alike: {squares.min():.3f} to "
        f"{squares.max():.3f}, 1/{longer} was expected"
    )


@exercise("orthogonal_", inplace=True)
def test_orthogonal_includes_reflections(device):
    determinants = [
        torch.linalg.det(day08.orthogonal_(empty(3, 3, device=device))).item() for _ in range(64)
    ]
    negative = sum(d < 0 for d in determinants)
    assert 8 < negative < 56, f"{negative} of 64 matrices are reflections, half was expected"


# activation_statistics -----------------------------------------------------------------------

ACTIVATIONS = {"relu": torch.relu, "tanh": torch.tanh, "nothing": lambda t: t, "cos": torch.cos}


def identity(t):
    return t


class Given:
    """An init that copies weights made before, one after the other, and notes what it filled."""

    def __init__(self, weights):
        self.weights, self.filled = list(weights), []

    def __call__(self, tensor):
        assert len(self.filled) < len(self.weights), "init is called more often than once a layer"
        wanted = self.weights[len(self.filled)]
        assert tensor.shape == wanted.shape, (
            f"init was given a weight {tuple(tensor.shape)}, not {tuple(wanted.shape)}"
        )
        assert tensor.dtype == wanted.dtype, f"a weight of {tensor.dtype} for {wanted.dtype} inputs"
        assert tensor.device.type == wanted.device.type, f"a weight on {tensor.device}"
        with torch.no_grad():
            tensor.copy_(wanted)
        self.filled.append(tensor)
        return "what init returns is ignored"


def measure(weights, activation, x, gradient):
    """The statistics in float64."""
    h = x.detach().double().requires_grad_()
    states = [h]
    for w in weights:
        states.append(activation(states[-1] @ w.double().T))
    gradients = torch.autograd.grad(states[-1], states[:-1], gradient.double())
    forward = torch.stack([s.detach().square().mean() for s in states[1:]])
    return forward, torch.stack([g.square().mean() for g in gradients])


@exercise("activation_statistics")
@shapes("depth, batch, width", (1, 1, 1), (1, 3, 5), (3, 4, 6), (7, 1, 8), (4, 9, 2))
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_statistics_of_known_weights(depth, batch, width, activation, device, rng):
    f = ACTIVATIONS[activation]
    for dtype in (torch.float64, torch.float32):
        weights = [rng.normal(width, width, dtype=dtype, std=0.8) for _ in range(depth)]
        x, gradient = rng.normal(batch, width, dtype=dtype), rng.normal(batch, width, dtype=dtype)
        given = Given(weights)
        seen = day08.activation_statistics(depth, given, f, x=x, gradient=gradient)
        assert len(given.filled) == depth, f"init filled {len(given.filled)} of {depth} weights"
        assert len({id(t) for t in given.filled}) == depth, "one weight was filled several times"
        wanted = measure(weights, f, x, gradient)
        for name, found, right in zip(("activations", "gradients"), seen, wanted, strict=True):
            assert len(found) == depth, f"{len(found)} {name} of {depth} layers"
            got = torch.tensor(found, dtype=torch.float64, device=device)
            off = (got - right).abs()
            allowed = right * (1e-9 if dtype == torch.float64 else 2e-3) + 1e-30
            assert (off <= allowed).all(), (
                f"{dtype}, {activation}: {name} are {got.tolist()}, expected {right.tolist()}"
            )


@exercise("activation_statistics")
def test_statistics_are_lists_of_floats(device, rng):
    x = rng.normal(3, 4)
    seen = day08.activation_statistics(2, eye_, x=x)
    assert isinstance(seen, day08.LayerStatistics)
    for values in seen:
        assert type(values) is list and all(type(v) is float for v in values), f"floats: {values}"


def eye_(tensor):
    with torch.no_grad():
        tensor.copy_(torch.eye(len(tensor), device=tensor.device))


@exercise("activation_statistics")
@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_statistics_of_sizes_whose_squares_float32_cannot_hold(size, device):
    x = torch.full((2, 3), size, device=device)
    seen = day08.activation_statistics(2, eye_, identity, x=x, gradient=x)
    for name, values in zip(("activations", "gradients"), seen, strict=True):
        for value in values:
            assert math.isclose(value, size**2, rel_tol=1e-5), (
                f"all elements are {size}, but {name} has {value}: what does float32 make of "
                "such a square?"
            )


@exercise("activation_statistics")
def test_statistics_leave_x_alone(device, rng):
    x, gradient = rng.normal(3, 4), rng.normal(3, 4)
    day08.activation_statistics(2, eye_, x=x, gradient=gradient)
    assert not x.requires_grad, "x requires a gradient now"
    x.requires_grad_()
    day08.activation_statistics(2, eye_, x=x, gradient=gradient)
    assert x.grad is None, "x has got a .grad"
    assert x.requires_grad, "x requires no gradient any more"
    y = x * 1.0
    day08.activation_statistics(2, eye_, x=y, gradient=gradient)
    y.sum().backward()


@exercise("activation_statistics")
def test_statistics_under_no_grad(device, rng):
    x, gradient = rng.normal(3, 4), rng.normal(3, 4)
    free = day08.activation_statistics(2, eye_, x=x, gradient=gradient)
    with torch.no_grad():
        bound = day08.activation_statistics(2, eye_, x=x, gradient=gradient)
    assert free == bound, f"under no_grad it measures {bound}, otherwise {free}"


@exercise("activation_statistics")
def test_statistics_of_the_defaults():
    shapes_seen = []

    def noting(t):
        shapes_seen.append(tuple(t.shape))
        return t

    seen = day08.activation_statistics(1, eye_, noting)
    assert shapes_seen == [(256, 256)], f"the default signal has the shapes {shapes_seen}"
    again = day08.activation_statistics(1, eye_, noting)
    for name, values, others in zip(("activations", "gradients"), seen, again, strict=True):
        (value,) = values
        # The mean of 65,536 squares of standard normal numbers: variance 2 / 65,536.
        assert abs(value - 1) < 6 * (2 / 65536) ** 0.5, (
            f"through the identity the {name} have the mean square {value:.3f}; standard normal "
            "numbers have 1"
        )
        assert values != others, f"two calls without x draw the same: {name}"
    (kept,) = day08.activation_statistics(1, eye_).activations
    # ReLU leaves half of the mean square; relu(z)² has the variance 3/2 - 1/4.
    assert abs(kept - 0.5) < 6 * (1.25 / 65536) ** 0.5, (
        f"without an activation given, {kept:.0%} of the mean square pass; ReLU lets half pass"
    )


@exercise("activation_statistics")
def test_statistics_draw_a_gradient_like_x(device, rng):
    x = rng.normal(500, 40, dtype=torch.float64)
    weights = []

    def noting(weight):
        weights.append((weight.dtype, weight.device.type, tuple(weight.shape)))
        eye_(weight)

    with torch.device("meta"):  # where tensors land that are made without device=
        (value,) = day08.activation_statistics(1, noting, identity, x=x).gradients
    assert weights == [(torch.float64, device.type, (40, 40))], f"weights {weights}"
    assert abs(value - 1) < 6 * (2 / 20000) ** 0.5, f"the gradient has the mean square {value}"


@exercise("activation_statistics")
@pytest.mark.parametrize("depth", [0, -3])
def test_statistics_refuse_no_layers(depth):
    with pytest.raises(ValueError) as refusal:
        day08.activation_statistics(depth, eye_)
        pytest.fail(f"{depth} layers were measured")
    assert str(depth) in str(refusal.value), f"how many layers? {refusal.value}"


# Fifty layers --------------------------------------------------------------------------------

DEPTH, WIDTH, RUNS = 50, 128, 16


def after_fifty(init, activation, rng):
    """The mean over the runs of log(mean square behind 50 layers / in front of them), both ways."""
    logs = []
    for _ in range(RUNS):
        x, gradient = rng.normal(32, WIDTH), rng.normal(32, WIDTH)
        seen = day08.activation_statistics(DEPTH, init, activation, x=x, gradient=gradient)
        first = x.square().mean().item(), gradient.square().mean().item()
        last = seen.activations[-1], seen.gradients[0]
        logs.append([math.log(max(a, 1e-300) / b) for a, b in zip(last, first, strict=True)])
    return [sum(column) / RUNS for column in zip(*logs, strict=True)]


def check_kept(init, activation, each_layer, what, rng):
    """``each_layer``: the relative variance that one layer of width n adds, times n.

    The log of the mean square is a random walk of so many steps: after all of them it is nearly
    normal, with variance β = each_layer · depth / n and mean -β/2 (Hanin and Nica 2018).
    """
    beta = each_layer * DEPTH / WIDTH
    for way, log in zip(("signal", "gradient"), after_fifty(init, activation, rng), strict=True):
        assert abs(log + beta / 2) < 6 * (beta / RUNS) ** 0.5 + 0.2, (
            f"{what}: behind {DEPTH} layers the mean square of the {way} is {math.exp(log):.2g} "
            "times what it was"
        )


@exercise("activation_statistics")
@pytest.mark.parametrize("mode", ["fan_in", "fan_out"])
def test_kaiming_keeps_a_relu_network_alive(mode, device, rng):
    # (2/n) Σ relu(z)² with standard normal z: variance (4/n) (3/2 - 1/4) = 5/n.
    check_kept(lambda w: day08.kaiming_normal_(w, mode=mode), torch.relu, 5, f"kaiming {mode}", rng)


@exercise("activation_statistics")
def test_kaiming_with_a_leak(device, rng):
    def leaky(t):
        return torch.where(t > 0, t, 0.3 * t)

    check_kept(lambda w: day08.kaiming_normal_(w, slope=0.3), leaky, 5, "kaiming, slope 0.3", rng)


@exercise("activation_statistics")
def test_xavier_keeps_a_linear_network_alive(device, rng):
    check_kept(day08.xavier_uniform_, identity, 2, "xavier_uniform_, no activation", rng)


@exercise("activation_statistics")
def test_xavier_halves_a_relu_network(device, rng):
    for log in after_fifty(day08.xavier_uniform_, torch.relu, rng):
        halvings = -log / math.log(2)
        assert abs(halvings - DEPTH) < 6, (
            f"Xavier before ReLU halves the mean square {DEPTH} times in {DEPTH} layers; "
            f"here it was halved {halvings:.1f} times"
        )


@exercise("activation_statistics")
def test_orthogonal_keeps_every_length(device, rng):
    x, gradient = rng.normal(4, 32, dtype=torch.float64), rng.normal(4, 32, dtype=torch.float64)
    seen = day08.activation_statistics(DEPTH, day08.orthogonal_, identity, x=x, gradient=gradient)
    for name, values, start in zip(("activations", "gradients"), seen, (x, gradient), strict=True):
        wanted = torch.full((DEPTH,), start.square().mean().item(), dtype=torch.float64)
        close(torch.tensor(values, dtype=torch.float64), wanted, terms=DEPTH * 32, scale=1.0,
              name=f"{name} through {DEPTH} rotations")  # fmt: skip
