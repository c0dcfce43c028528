"""Day 30: layers against torch's with the same weights: values, gradients twice, statistics.

Random fillings and masks are judged by their statistics. A bound is 6 standard deviations of the
statistic, which a formula beside it gives: for a normal statistic that fails once in 5 · 10⁸. There
are some 150 of them, so that a right answer fails in fewer than one of a million runs.
"""

import copy
import math
import numbers
import pickle
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from harness.testing import close, exercise, refused, shapes, watch
from tracks.autodiff import day30 as day
from tracks.autodiff.day23 import saved_bytes
from tracks.autodiff.day24 import grad

EPS = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10}


def leaf(array, requires_grad=True, kind=None):
    return day.Tensor(array, requires_grad=requires_grad, dtype=kind)


def views(array):
    """The same elements in other strides: (what, day.Tensor)."""
    wide = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)
    wide[..., ::2] = array
    flat = np.asfortranarray(array)
    for what, a in (("strided", wide[..., ::2]), ("transposed", flat)):
        yield what, day.Tensor._made(a)
    yield "read-only", day.Tensor._made(np.broadcast_to(array, (1, *array.shape))[0])


def summed(t, g):
    """A number of torch whose gradient is that of ``t`` at ``g``. (Given a gradient that is no
    number, torch imports half a second of modules to compare the shapes.)"""
    return (t * torch.tensor(g)).sum()


def refused_dtype(f, *args, what, kind, **options):
    """f raises a TypeError that names what it is and the dtype."""
    with pytest.raises(TypeError) as refusal:
        f(*args, **options)
        pytest.fail(f"{what} of {kind} went through: a TypeError was due")
    message = str(refusal.value)
    assert what in message and kind in message, f"what, and of which dtype? {message}"


def warned(f):
    """What numpy warns of in f()."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RuntimeWarning)
        f()
    numpys = [w for w in caught if issubclass(w.category, RuntimeWarning)]
    return ", ".join(dict.fromkeys(str(w.message) for w in numpys))


def or_zeros(found, like):
    return np.zeros(like.shape) if found is None else found


def agree(mine, theirs, arrays, rng, *, name, terms=32, scale=8.0, twice=True):
    """Value, gradients, and gradients of a mixture of these, of two functions of arrays."""
    xs = [leaf(a) for a in arrays]
    ts = [torch.tensor(a, requires_grad=True) for a in arrays]
    y, t = mine(*xs), theirs(*ts)
    options = {"terms": terms, "scale": scale}
    close(y.data, t.detach().numpy(), name=f"{name}: the value", **options)
    g = rng.normal(*y.shape)
    first = grad(y, xs, leaf(g, False), create_graph=True, allow_unused=True)
    right = torch.autograd.grad(summed(t, g), ts, create_graph=True, allow_unused=True)
    for i, (f, r, x) in enumerate(zip(first, right, xs, strict=True)):
        f = None if f is None else f.data
        r = None if r is None else r.detach().numpy()
        close(or_zeros(f, x), or_zeros(r, x), name=f"{name}: gradient of argument {i}", **options)
    if not twice:
        return
    weights = [rng.normal(*x.shape) for x in xs]
    mixes = [(f * leaf(w, False)).sum() for f, w in zip(first, weights, strict=True)
             if f is not None and f.requires_grad]  # fmt: skip
    twins = [(r * torch.tensor(w)).sum() for r, w in zip(right, weights, strict=True)
             if r is not None and r.requires_grad]  # fmt: skip
    # A gradient that does not depend on the arguments need not have a past: then this is zero.
    second = right = [None] * len(xs)
    if mixes:
        second = grad(mixes, xs, allow_unused=True)
    if twins:
        right = torch.autograd.grad(sum(twins), ts, allow_unused=True)
    for i, (f, r, x) in enumerate(zip(second, right, xs, strict=True)):
        f = None if f is None else f.data
        r = None if r is None else r.numpy()
        close(or_zeros(f, x), or_zeros(r, x), terms=4 * terms, scale=4 * scale,
              name=f"{name}: second derivative, argument {i}")  # fmt: skip


def uneven(rng, *shape):
    """Numbers that differ along every axis, so that no variance is near 0, where the second
    derivative of a norm is near 1 / eps, and its rounding error as large."""
    signs = np.where(np.indices(shape).sum(0) % 2, -2.0, 2.0)
    return 1.0 + signs + rng.uniform(*shape, low=-1.0, high=1.0)


def same_model(mine, theirs, arrays, rng, *, name, steps=1, scale=8.0):
    """Modules of both libraries, with torch's weights: states, values, gradients of everything."""
    theirs = theirs.double()
    mine = mine.double()
    with torch.no_grad():
        for p in theirs.parameters():
            p.copy_(torch.tensor(rng.normal(*p.shape, mean=0.5)))
    found = {k: (v.shape, v.dtype.name) for k, v in mine.state_dict().items()}
    wanted = {k: (tuple(v.shape), str(v.dtype)[6:]) for k, v in theirs.state_dict().items()}
    assert list(found.items()) == list(wanted.items()), (
        f"{name}: the state has {found}, and torch's {wanted}"
    )
    mine.load_state_dict(theirs.state_dict())
    for step in range(steps):
        xs = [leaf(a) if a.dtype.kind == "f" else leaf(a, False) for a in arrays]
        ts = [torch.tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays]
        y, t = mine(*xs), theirs(*ts)
        close(y.data, t.detach().numpy(), terms=64, scale=scale, name=f"{name}: value, call {step}")
        g = rng.normal(*y.shape)
        if t.requires_grad:
            y.backward(leaf(g, False))
            summed(t, g).backward()
        for x, twin in zip(xs, ts, strict=True):
            if twin.grad is not None:
                close(x.grad.data, twin.grad.numpy(), terms=64, scale=scale,
                      name=f"{name}: gradient of x, call {step}")  # fmt: skip
    for (key, p), q in zip(mine.named_parameters(), theirs.parameters(), strict=True):
        close(
            p.grad.data, q.grad.numpy(), terms=256, scale=scale, name=f"{name}: gradient of {key}"
        )
    for key, value in theirs.state_dict().items():
        close(mine.state_dict()[key].data, value.numpy(), terms=32, scale=scale,
              name=f"{name}: {key} after {steps} calls")  # fmt: skip
    return mine, theirs


# -- first values ------------------------------------------------------------------------------


@exercise("fan_in_and_fan_out")
@shapes(
    "shape", (3, 5), (1, 1), (8, 3, 5, 5), (4, 6, 3), (2, 3, 4, 5, 6), (0, 4), (4, 0), (4, 2, 0)
)
def test_fans(shape):
    zeros = np.zeros(shape)
    wanted = torch.nn.init._calculate_fan_in_and_fan_out(torch.tensor(zeros))
    found = day.fan_in_and_fan_out(leaf(zeros))
    assert tuple(found) == wanted, f"{shape}: fan_in and fan_out are {found}, torch: {wanted}"
    kinds = [type(n).__name__ for n in found]
    assert all(isinstance(n, numbers.Integral) for n in found), (
        f"{shape}: fan_in and fan_out are counts, and came as {' and '.join(kinds)}"
    )


@exercise("fan_in_and_fan_out")
@shapes("shape", (), (5,))
def test_fans_of_too_few_axes(shape):
    refused(day.fan_in_and_fan_out, leaf(np.zeros(shape)), what=f"a tensor of shape {shape}",
            names=map(str, shape))  # fmt: skip


INITS = ["xavier_uniform_", "xavier_normal_", "kaiming_uniform_", "kaiming_normal_"]
each = pytest.mark.parametrize("name", [pytest.param(n, marks=exercise(n)) for n in INITS])


@each
def test_fills_in_place(name):
    fill = getattr(day, name)
    for x in (day.Parameter(np.zeros((30, 20))), leaf(np.zeros((30, 20)), False)):
        array, wants = x.data, x.requires_grad
        got = fill(x)
        assert got is x, f"{name} gave back another object than the tensor that it was given"
        assert x.data is array, "the tensor has other memory than before"
        assert array.all(), f"{(array == 0).sum()} of 600 elements were not written"
        assert x.requires_grad == wants and x.is_leaf, "something was recorded"
        assert x._version == 1, f"one filling is counted {x._version} times"


@each
def test_fills_any_strides_and_dtype(name):
    fill = getattr(day, name)
    for kind in EPS:
        memory = np.full((12, 20), 7.0, kind)
        x = day.Tensor._made(memory[:, ::2].T)
        fill(x)
        assert x.dtype == np.dtype(kind), f"a tensor of {kind} is of {x.dtype} after {name}"
        different = len(np.unique(x.data))
        assert different > 30, f"{kind}: of 120 numbers {different} are different"
        assert (memory[:, 1::2] == 7).all(), "memory around the tensor was written"
        assert not (memory[:, ::2] == 7).all(), "the tensor was not written"
    for shape in ((0, 3), (3, 0), (0, 0), (4, 2, 0)):
        assert fill(leaf(np.zeros(shape))).shape == shape, f"{shape} was refused, or changed"


@each
def test_draws_from_the_generator(name):
    fill = getattr(day, name)

    def numbers():
        return fill(leaf(np.zeros((8, 6)), False)).tolist()

    day.manual_seed(3)
    first, second = numbers(), numbers()
    day.manual_seed(3)
    np.random.seed(5)
    assert numbers() == first, "after the same manual_seed the weight is another one"
    assert first != second, "two weights are equal: is a seed set inside?"
    day.manual_seed(4)
    assert numbers() != first, "another seed gives the same weight"


@each
def test_refuses_too_few_axes(name):
    for shape in ((), (5,), (0,)):
        refused(getattr(day, name), leaf(np.zeros(shape), False), what=f"{name} of {shape}",
                names=map(str, shape))  # fmt: skip


def check_size(values, std, uniform, what):
    """Mean, variance and shape of the distribution; for uniform numbers the bound exactly.

    ``beyond``: how many are further out than √3 std: none of uniform numbers, 8.33 % of normal
    ones.
    """
    n, z = values.size, values.ravel().astype(np.float64) / std
    assert abs(z.mean()) < 6 / n**0.5, f"{what}: the mean is {z.mean():.3f} deviations, not 0"
    fourth = 9 / 5 if uniform else 3.0
    spread = float((z * z).mean())
    assert abs(spread - 1) < 6 * ((fourth - 1) / n) ** 0.5, (
        f"{what}: the variance is {spread:.3f} times what it should be"
    )
    assert len(np.unique(z)) > 0.9 * n, f"{what}: many of the numbers are equal"
    edge = 3**0.5
    if uniform:
        slack = 1 + 2 * EPS[values.dtype.name]
        assert np.abs(z).max() <= edge * slack, f"{what}: numbers beyond the bound"
        near = edge * (1 - 40 / n - 2 * EPS[values.dtype.name])  # missed by chance once in e²⁰
        assert z.max() > near and z.min() < -near, f"{what}: no number comes near the bound"
        inner = float((np.abs(z) < edge / 2).mean())
        assert abs(inner - 0.5) < 6 * 0.5 / n**0.5, f"{what}: {inner:.3f} are in the inner half"
    else:
        p = math.erfc(edge / 2**0.5)
        beyond = float((np.abs(z) > edge).mean())
        assert abs(beyond - p) < 6 * (p * (1 - p) / n) ** 0.5, (
            f"{what}: {beyond:.3f} are further out than √3 deviations; of normal numbers {p:.3f}"
        )


WEIGHTS = [(100, 200), (300, 60), (24, 10, 5, 7), (1, 20000), (20000, 1)]


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=exercise(n)) for n in ("xavier_uniform_", "xavier_normal_")]
)
@pytest.mark.parametrize("gain", [None, 5 / 3, 0.1])
@shapes("shape", *WEIGHTS)
def test_xavier(name, shape, gain):
    fans = torch.nn.init._calculate_fan_in_and_fan_out(torch.empty(shape))
    kind = "float32" if gain else "float64"
    options = {} if gain is None else {"gain": gain}
    x = getattr(day, name)(leaf(np.zeros(shape), False, kind), **options)
    check_size(x.data, (gain or 1.0) * (2 / sum(fans)) ** 0.5, "uniform" in name,
               f"{name} of {shape}, gain {gain}")  # fmt: skip


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=exercise(n)) for n in ("kaiming_uniform_", "kaiming_normal_")]
)
@pytest.mark.parametrize(
    "options",
    [{}, {"mode": "fan_out"}, {"a": 5**0.5}, {"a": 0.5, "mode": "fan_out"},
     {"nonlinearity": "relu"}, {"nonlinearity": "linear"}, {"nonlinearity": "tanh", "a": 3}],
    ids=str,
)  # fmt: skip
@shapes("shape", *WEIGHTS[:4])
def test_kaiming(name, shape, options):
    fan_in, fan_out = torch.nn.init._calculate_fan_in_and_fan_out(torch.empty(shape))
    fan = fan_out if options.get("mode") == "fan_out" else fan_in
    gain = torch.nn.init.calculate_gain(
        options.get("nonlinearity", "leaky_relu"), options.get("a", 0)
    )
    x = getattr(day, name)(leaf(np.zeros(shape), False), **options)
    check_size(x.data, gain / fan**0.5, "uniform" in name, f"{name} of {shape}, {options}")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=exercise(n)) for n in ("kaiming_uniform_", "kaiming_normal_")]
)
def test_kaiming_refuses(name):
    fill, x = getattr(day, name), leaf(np.zeros((3, 4)), False)
    refused(fill, x, what="mode='fan'", mode="fan", names=["fan"])
    refused(fill, x, what="nonlinearity='bent'", nonlinearity="bent", names=["bent"])
    assert not x.data.any() and x._version == 0, "the tensor was written before it was refused"


# -- linear ------------------------------------------------------------------------------------


@exercise("linear")
@shapes("shape, out", ((4,), 3), ((1, 1), 1), ((5, 7), 9), ((2, 3, 8), 5), ((2, 1, 3, 4), 4),
        ((0, 4), 3), ((2, 0, 4), 3), ((3, 0), 2), ((3, 4), 0), ((0,), 5))  # fmt: skip
def test_linear(shape, out, rng):
    arrays = [rng.normal(*shape), rng.normal(out, shape[-1]), rng.normal(out)]
    agree(day.linear, functional.linear, arrays, rng, name=f"linear of {shape}")
    agree(day.linear, functional.linear, arrays[:2], rng, name=f"linear of {shape}, no bias")
    for kind in ("float32", "float16"):
        x, w, b = (leaf(a, kind=kind) for a in arrays)
        got = day.linear(x, w, b)
        product = x.data.astype(float) @ w.data.astype(float).T
        size = np.abs(product) + 1.0 if kind == "float16" else 1.0
        close(got.data, product + b.data, dtype=kind, terms=shape[-1] + 1,
              scale=size * (256.0 if kind == "float16" else 1.0), name=kind)  # fmt: skip


@exercise("linear")
def test_linear_of_any_strides(rng):
    x, w, b = rng.normal(3, 5, 6), rng.normal(6, 6), rng.normal(6)
    for what, view in views(x):
        close(day.linear(view, leaf(w), leaf(b)).data, x @ w.T + b, terms=7, scale=1.0,
              name=f"of a {what} x")  # fmt: skip
    for what, view in views(w):
        close(day.linear(leaf(x), view, leaf(b)).data, x @ w.T + b, terms=7, scale=1.0,
              name=f"with a {what} weight")  # fmt: skip


@exercise("linear")
@pytest.mark.parametrize("front", [(256,), (4, 64)], ids=str)
def test_linear_makes_no_array_of_all_products(front, rng):
    tensors = [leaf(a) for a in (rng.normal(*front, 100), rng.normal(10, 100), rng.normal(10))]
    out, seen = watch(day.linear, *tensors, of="numpy")
    beside, limit = seen.peak_bytes - out.data.nbytes, 2 * tensors[0].data.nbytes
    assert beside <= limit, (
        f"x {(*front, 100)} and a weight (10, 100) need {beside} bytes beside the result at the "
        f"peak, where {limit} are allowed"
    )


@exercise("linear")
def test_what_linear_keeps(rng):
    x, w, b = rng.normal(4, 64, 100), rng.normal(10, 100), rng.normal(10)
    for of_x, of_w, of_b in ((0, 0, 1), (0, 1, 1), (1, 0, 0), (1, 1, 1)):
        tensors = [leaf(a, bool(f)) for a, f in zip((x, w, b), (of_x, of_w, of_b), strict=True)]
        kept = saved_bytes(day.linear(*tensors))
        limit = of_w * x.nbytes + of_x * w.nbytes
        assert kept <= limit + 64, (
            f"with gradients for x, weight, bias {of_x, of_w, of_b} the graph keeps {kept} bytes, "
            f"where {limit} are needed"
        )


@exercise("linear")
@pytest.mark.parametrize(
    "x, w, b, named",
    [
        ((2, 5), (3, 4), None, [(2, 5), (3, 4)]),
        ((2, 3), (3, 4), None, [(2, 3), (3, 4)]),  # the weight the other way round
        ((4,), (4,), None, [(4,), (4,)]),
        ((2, 4), (2, 3, 4), None, [(2, 4), (2, 3, 4)]),
        ((), (3, 4), None, [(), (3, 4)]),
        ((2, 1), (3, 4), None, [(2, 1), (3, 4)]),
        ((2, 4), (3, 4), (4,), [(3, 4), (4,)]),
        ((2, 4), (3, 4), (1,), [(3, 4), (1,)]),
        ((2, 4), (3, 4), (2, 3), [(3, 4), (2, 3)]),
        ((2, 4), (3, 4), (), [(3, 4), ()]),
    ],
)
def test_linear_refuses(x, w, b, named, rng):
    tensors = [None if s is None else leaf(rng.normal(*s)) for s in (x, w, b)]
    refused(day.linear, *tensors, what=f"x {x}, weight {w}, bias {b}", names=["linear", *named])


@exercise("linear")
def test_linear_of_other_dtypes(rng):
    for kinds in (("float32", "float64", None), ("float64", "float64", "float32"),
                  ("int64", "int64", "int64"), ("float32", "int64", None)):  # fmt: skip
        tensors = [None if k is None else leaf(np.ones(s), False, k)
                   for k, s in zip(kinds, ((2, 3), (4, 3), (4,)), strict=True)]  # fmt: skip
        with pytest.raises(TypeError) as refusal:
            day.linear(*tensors)
            pytest.fail(f"x, weight and bias of {kinds} went through")
        message = str(refusal.value)
        assert "linear" in message and kinds[1] in message, f"what, and of which dtypes? {message}"


@exercise("Linear")
@pytest.mark.parametrize("bias", [True, False])
def test_linear_module(bias, rng):
    same_model(day.Linear(5, 3, bias=bias), nn.Linear(5, 3, bias=bias), [rng.normal(2, 4, 5)], rng,
               name=f"Linear(5, 3, bias={bias})", steps=2)  # fmt: skip
    layer = day.Linear(5, 3, bias)
    assert {p.dtype.name for p in layer.parameters()} == {"float32"}
    assert (layer.bias is None) is not bias, "the attribute bias is not what was asked for"
    assert repr(layer) == repr(nn.Linear(5, 3, bias))


@exercise("Linear")
def test_linear_first_values():
    layer = day.Linear(100, 200)
    check_size(layer.weight.data, 0.1 / 3**0.5, True, "the weight of Linear(100, 200)")
    wide = day.Linear(25, 20000)
    check_size(wide.bias.data, 0.2 / 3**0.5, True, "the bias of Linear(25, 20000)")
    day.manual_seed(1)
    first = day.Linear(3, 4)
    again = first.weight.tolist()
    day.manual_seed(1)
    second = day.Linear(3, 4)
    assert second.weight.tolist() == again and second.bias.tolist() == first.bias.tolist()
    weight = second.weight
    second.reset_parameters()
    assert second.weight is weight and weight.tolist() != again, "drawn anew, in place"
    empty = day.Linear(0, 3)
    assert empty.weight.shape == (3, 0) and not empty.bias.data.any(), "without an input: zeros"


# -- dropout -----------------------------------------------------------------------------------


@exercise("dropout")
@pytest.mark.parametrize("kind", list(EPS))
@pytest.mark.parametrize("p", [0.001, 0.1, 0.5, 0.9])
def test_dropout(p, kind, rng):
    n = 100_000
    array = rng.uniform(n, low=1.0, high=2.0, dtype=kind)
    out = day.dropout(leaf(array, False), p).data
    dropped = int((out == 0).sum())
    assert abs(dropped - n * p) < 6 * (n * p * (1 - p)) ** 0.5 + 1, (
        f"p = {p}: {dropped} of {n} elements are zero, about {n * p:.0f} should be"
    )
    kept = out != 0
    close(out[kept], array[kept].astype(float) / (1 - p), dtype=kind, name="what is kept")


@exercise("dropout")
def test_dropout_decides_for_each_element(rng):
    x = leaf(np.ones((300, 300)), False)
    first, second = (day.dropout(x, 0.5).data != 0 for _ in range(2))
    for what, agreeing in (
        ("two calls", first == second),
        ("neighbours in a row", first[:, 1:] == first[:, :-1]),
        ("neighbours in a column", first[1:] == first[:-1]),
    ):
        share, n = float(agreeing.mean()), agreeing.size
        assert abs(share - 0.5) < 6 * 0.5 / n**0.5, f"{what} agree in {share:.1%} of all cases"
    row = leaf(np.ones(300), False)
    calls = np.array([(day.dropout(row, 0.5).data != 0).sum() for _ in range(300)])
    for what, sums in (("row", first.sum(1)), ("column", first.sum(0)), ("call", calls)):
        spread = float(sums.var()) / 75
        assert abs(spread - 1) < 8 * (2 / 300) ** 0.5, (  # χ² has a longer tail: 8 are 6.7
            f"how many of 300 elements a {what} keeps varies {spread:.2f} times as much as is due"
        )


@exercise("dropout")
def test_dropout_and_the_generator(rng):
    x = leaf(np.ones(500), False)
    day.manual_seed(rng.seed)
    first, second = day.dropout(x).tolist(), day.dropout(x).tolist()
    day.manual_seed(rng.seed)
    assert day.dropout(x).tolist() == first, "the same seed gave another mask"
    assert first != second, "the second call gave the mask of the first"
    before = day.generator().bit_generator.state
    for what, result in (
        ("not training", day.dropout(x, 0.5, training=False)),
        ("not training, p = 1", day.dropout(x, 1.0, False)),
        ("p = 0", day.dropout(x, 0.0)),
    ):
        if result is not x:
            pytest.fail(f"{what}: another object came back, where x itself was due")
    assert day.generator().bit_generator.state == before, "random numbers were drawn for nothing"


@exercise("dropout")
@pytest.mark.parametrize("kind", list(EPS))
def test_dropout_gradients(kind, rng):
    x = leaf(rng.normal(40, 9), kind=kind)
    out = day.dropout(x, 0.25)
    upstream = rng.normal(40, 9, dtype=kind)
    out.backward(leaf(upstream, False))
    kept = out.data != 0
    assert 0 < kept.sum() < kept.size, f"p = 0.25: {kept.sum()} of {kept.size} elements were kept"
    close(x.grad.data, upstream * kept / 0.75, dtype=kind, name="gradient of x")


@exercise("dropout")
def test_dropout_of_everything_and_infinities(rng):
    x = leaf(rng.normal(50))
    out = day.dropout(x, 1.0)
    assert not out.data.any() and out.requires_grad, "all is zero, and still a result of x"
    out.sum().backward()
    assert not x.grad.data.any(), "p = 1: what is dropped got a gradient"
    far = np.repeat([[np.inf], [-np.inf], [np.nan]], 400, axis=1)
    out = day.dropout(leaf(far, False), 0.5).data
    zeros = (out == 0).sum(1)
    assert (np.abs(zeros - 200) < 60).all(), f"of 400 inf, -inf, nan each, {zeros} became zero"
    assert np.isinf(out[:2][out[:2] != 0]).all(), "an inf that was kept is not inf any more"
    assert not day.dropout(leaf(far, False), 1.0).data.any(), "with p = 1 an inf or nan is left"


@exercise("dropout")
def test_dropout_shapes_and_errors(rng):
    for shape in ((), (0,), (1,), (3, 0, 2), (2, 3, 4)):
        x = leaf(rng.uniform(*shape, low=1.0, high=2.0))
        out = day.dropout(x, 0.5)
        close(out.data, np.where(out.data != 0, 2 * x.data, 0.0), name=f"dropout of {shape}")
    for what, view in views(rng.uniform(3, 4, low=1.0, high=2.0)):
        out = day.dropout(view, 0.5).data
        close(out, np.where(out != 0, 2 * view.data, 0.0), name=f"of a {what} x")
    for p in (-0.1, 1.1, np.nan):
        for training in (True, False):
            refused(day.dropout, x, p, training, what=f"p = {p}", names=[p])
    layer = day.Dropout(0.5)
    if layer.eval()(x) is not x:
        pytest.fail("Dropout in eval mode: another object came back, where x itself was due")
    if layer.train()(x) is x:
        pytest.fail("Dropout in training mode: x itself came back")
    for kind in ("int64", "bool"):
        refused_dtype(day.dropout, leaf(np.ones(4), False, kind), what="dropout", kind=kind)


@exercise("dropout")
def test_what_dropout_keeps(rng):
    x = leaf(rng.normal(1000) + 5.0)
    kept = saved_bytes(day.dropout(x * 1.0, 0.5))
    assert kept <= 1000 + 64 + 8, f"the graph keeps {kept} bytes of 1000 elements: one each will do"


# -- embedding ---------------------------------------------------------------------------------


@exercise("embedding")
@pytest.mark.parametrize("padding", [None, 0, 2, -1])
@shapes("shape", (), (0,), (1,), (7,), (2, 5), (2, 0, 3), (2, 3, 4))
def test_embedding(shape, padding, rng):
    table = rng.normal(6, 3)
    for kind in ("int64", "int32"):
        ids = np.asarray(rng.integers(0, 6, *shape), kind)
        agree(
            lambda w: day.embedding(leaf(ids, False), w, padding),  # noqa: B023
            lambda w: functional.embedding(torch.tensor(ids), w, padding_idx=padding),  # noqa: B023
            [table], rng, name=f"embedding of {kind} ids {shape}, padding_idx={padding}",
        )  # fmt: skip


@exercise("embedding")
@pytest.mark.parametrize("padding", [None, 3, -6])
def test_embedding_of_repeated_ids(padding, rng):
    table, upstream = rng.normal(6, 4), rng.normal(300, 4)
    ids = np.array(rng.integers(0, 6, 300))
    ids[:6] = range(6)
    w, t = leaf(table), torch.tensor(table, requires_grad=True)
    day.embedding(leaf(ids, False), w, padding).backward(leaf(upstream, False))
    found = functional.embedding(torch.tensor(ids), t, padding_idx=padding)
    summed(found, upstream).backward()
    close(w.grad.data, t.grad.numpy(), terms=300, scale=1.0, name="gradient of the table")
    if padding is not None:
        assert not w.grad.data[padding].any(), "the padding's row got a gradient"


@exercise("embedding")
def test_embedding_refuses(rng):
    w = leaf(rng.normal(5, 2))
    for wrong in (-1, 5, -5, 77):
        for ids in (np.array(wrong), np.array([[1, wrong]])):
            for padding in (None, 4):
                with pytest.raises(IndexError) as refusal:
                    day.embedding(leaf(ids, False), w, padding)
                    pytest.fail(f"the id {wrong} of a table of 5 rows was looked up")
                message = str(refusal.value)
                assert str(wrong) in message and "5" in message.replace(str(wrong), "", 1), (
                    f"which id, of how many rows? {message}"
                )
    for kind in ("float32", "bool", "uint8", "uint64"):
        with pytest.raises(TypeError) as refusal:
            day.embedding(leaf([0, 1], False, kind), w)
            pytest.fail(f"ids of {kind} were looked up")
        assert kind in str(refusal.value), f"of which dtype? {refusal.value}"
    ids = leaf([0], False)
    for padding in (5, -6):
        refused(day.embedding, ids, w, padding, what=f"padding_idx={padding} of 5 rows",
                names=[padding, 5])  # fmt: skip
    for shape in ((5,), (5, 2, 1)):
        refused(day.embedding, ids, leaf(np.zeros(shape)), what=f"a table {shape}", names=[shape])


@exercise("embedding")
def test_embedding_of_infinities(rng):
    table = np.array([[1.0, np.inf, -np.inf, np.nan], [2.0, 3.0, 4.0, 5.0]])
    for ids in ([0, 1, 0], [1]):
        w = leaf(table)
        out = day.embedding(leaf(ids, False), w, padding_idx=0)
        assert np.array_equal(out.data, table[ids], equal_nan=True), (
            f"ids {ids}, padding_idx=0: the rows {table[ids].tolist()} were looked up as "
            f"{out.tolist()}"
        )
        out.backward(leaf(np.full(out.shape, np.inf), False))
        found, wanted = w.grad.tolist(), [[0.0] * 4, [np.inf] * 4]
        assert found == wanted, (
            f"ids {ids}, padding_idx=0, and a gradient of inf everywhere: the table's is {found}, "
            f"where {wanted} was due"
        )


@exercise("embedding")
def test_embedding_memory(rng):
    rows = 4000
    w = leaf(np.zeros((rows, 8)), kind="float32")
    ids = leaf(rng.integers(0, rows, 10), False)
    for padding in (None, 3):
        _, seen = watch(day.embedding, ids, w, padding, of="numpy")
        assert seen.peak_bytes < rows * 8, (
            f"10 rows of {rows} were looked up, and {seen.peak_bytes} bytes were needed for it"
        )


@exercise("embedding")
def test_embedding_module(rng):
    for padding in (None, 0, -2):
        ids = np.array(rng.integers(0, 6, 4, 5))
        mine, _ = same_model(
            day.Embedding(6, 3, padding), nn.Embedding(6, 3, padding), [ids], rng,
            name=f"Embedding(6, 3, {padding})", steps=2,
        )  # fmt: skip
        wanted = nn.Embedding(6, 3, padding)
        assert mine.padding_idx == wanted.padding_idx and repr(mine) == repr(wanted)
        fresh = day.Embedding(6, 3, padding).weight.data
        zeros = [i for i in range(6) if not fresh[i].any()]
        assert zeros == ([] if padding is None else [padding % 6])


# -- norms -------------------------------------------------------------------------------------


def normalize(axes, eps, mix):
    """A mixture of the three results, in either library."""

    def mine(x):
        results = day.Normalize.apply(x, axes=axes, eps=eps)
        return weighed([(r * w).sum() for r, w in zip(results, mix, strict=True)])

    def theirs(x):
        mean = x.mean(axes, keepdim=True)
        var = (x - mean).square().mean(axes, keepdim=True)
        results = ((x - mean) / (var + eps).sqrt(), mean, var)
        return weighed(
            [(r * torch.tensor(w.data)).sum() for r, w in zip(results, mix, strict=True)]
        )

    def weighed(parts):
        kept = [p for p, w in zip(parts, mix, strict=True) if w.data.any()]
        total = kept[0]
        for part in kept[1:]:
            total = total + part
        return total

    return mine, theirs


CASES = [((4, 5), (1,)), ((4, 5), (0,)), ((3, 4, 5), (0, 2)), ((2, 3, 4), (1, 2)), ((6,), (0,)),
         ((3, 4, 2, 2), (0, 2, 3)), ((2, 3), (0, 1))]  # fmt: skip


@exercise("Normalize")
@pytest.mark.parametrize("used", ["y", "mean", "var", "y, mean", "mean, var", "y, mean, var"])
@pytest.mark.parametrize("shape, axes", CASES, ids=str)
def test_normalize(shape, axes, used, rng):
    kept = tuple(1 if i in axes else n for i, n in enumerate(shape))
    for eps in (0.1, 1e-5):
        mix = [leaf(rng.normal(*s) * (name in used.split(", ")), False)
               for name, s in (("y", shape), ("mean", kept), ("var", kept))]  # fmt: skip
        mine, theirs = normalize(axes, eps, mix)
        agree(mine, theirs, [uneven(rng, *shape)], rng,
              name=f"{used} of {shape} over {axes}, eps={eps}", scale=32.0)  # fmt: skip


@exercise("Normalize")
@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_normalize_results(kind, rng):
    for shape, axes in CASES:
        x = leaf(rng.normal(*shape, mean=1.0), kind=kind)
        y, mean, var = day.Normalize.apply(x, axes=axes, eps=0.01)
        wide = x.data.astype(np.float64)
        m, v = (f(wide, axis=axes, keepdims=True) for f in (np.mean, np.var))
        close(y.data, (wide - m) / np.sqrt(v + 0.01), dtype=kind, terms=16, scale=2.0, name="y")
        close(mean.data, m, dtype=kind, terms=16, scale=2.0, name="mean")
        close(var.data, v, dtype=kind, terms=16, scale=2.0, name="var")
        assert y.node is mean.node is var.node, "the three are results of one node"


@exercise("Normalize")
def test_normalize_far_from_zero(rng):
    x = np.round(rng.normal(8, 64, mean=10_000.0), 2).astype(np.float32)
    y, _, var = day.Normalize.apply(leaf(x), axes=(1,), eps=1e-5)
    wide = x.astype(np.float64)
    wanted = (wide - wide.mean(1, keepdims=True)) / np.sqrt(wide.var(1, keepdims=True) + 1e-5)
    error = float(np.abs(y.data - wanted).max())
    assert error < 5e-3, (
        f"rows around 10,000 with a spread of 1 come out wrong by {error:.2g}: the variance is "
        "lost where two numbers near 10⁸ are subtracted"
    )
    assert (var.data >= 0).all(), f"a variance is {var.data.min()}"
    constant, *_ = day.Normalize.apply(leaf(np.full((2, 64), 0.5)), axes=(1,), eps=1e-5)
    assert not constant.data.any(), "a row of equal numbers is zero everywhere"


@exercise("Normalize")
def test_what_normalize_keeps(rng):
    x = leaf(rng.normal(100, 50))
    for inner in (x, x + 1.0):
        results = day.Normalize.apply(inner, axes=(1,), eps=1e-5)
        kept = saved_bytes(*results)
        assert kept <= 100 * 50 * 8 + 100 * 8 + 64, (
            f"the graph keeps {kept} bytes: y has {100 * 50 * 8}, and var {100 * 8}"
        )
    results, seen = watch(lambda: day.Normalize.apply(x + 1.0, axes=(1,), eps=1e-5), of="numpy")
    left = seen.live_bytes - sum(t.data.nbytes for t in results)
    assert left < 20_000, (
        f"nobody else holds x any more, and beside y, mean and var {left} bytes stay; x has "
        f"{x.data.nbytes}"
    )


@exercise("Normalize")
def test_normalize_of_nothing():
    for shape, axes in (((0, 3), (1,)), ((3, 0), (1,)), ((0, 3), (0,)), ((2, 0, 3), (0, 1))):

        def both_ways(shape=shape, axes=axes):
            x, what = leaf(np.zeros(shape)), f"of {shape} over {axes}"
            y, mean, var = day.Normalize.apply(x, axes=axes, eps=1e-5)
            assert y.shape == shape, f"{what}: y is {y.shape}"
            assert not mean.data.any() and not var.data.any(), (
                f"{what}: mean {mean.tolist()} and var {var.tolist()}, where zeros were due"
            )
            y.sum().backward()
            assert x.grad.shape == shape, f"{what}: the gradient is {x.grad.shape}"

        heard = warned(both_ways)
        assert not heard, f"x of {shape}, over {axes}: numpy warns: {heard}"


@exercise("Normalize")
@pytest.mark.parametrize(
    "row", [[np.inf, 1.0], [np.nan, 1.0], [-np.inf, np.inf], [1e308, 1.0]], ids=str
)
def test_normalize_of_numbers_that_are_too_large(row):
    x = leaf(np.array(row))
    heard = warned(lambda: day.Normalize.apply(x, axes=(0,), eps=1e-5))
    assert not heard, f"x = {row}: numpy warns: {heard}"


NORMS = [((4, 5), (5,)), ((2, 3, 4), (4,)), ((2, 3, 4), (3, 4)), ((3, 2, 4), (3, 2, 4)),
         ((7,), (7,)), ((3, 1), (1,)), ((0, 3), (3,)), ((2, 0, 3), (3,))]  # fmt: skip


@exercise("layer_norm")
@pytest.mark.parametrize("shape, inner", NORMS, ids=str)
def test_layer_norm(shape, inner, rng):
    x, w, b = uneven(rng, *shape), rng.normal(*inner), rng.normal(*inner)
    for eps in (0.1, 1e-5):
        name = f"layer_norm of {shape} over {inner}, eps={eps}"
        agree(lambda *t: day.layer_norm(t[0], inner, *t[1:], eps=eps),  # noqa: B023
              lambda *t: functional.layer_norm(t[0], inner, *t[1:], eps=eps),  # noqa: B023
              [x, w, b], rng, name=name, scale=32.0)  # fmt: skip
    # torch's second derivative wants both parameters: neutral ones stand for those that are None.
    one, zero = torch.ones(inner, dtype=torch.float64), torch.zeros(inner, dtype=torch.float64)
    agree(lambda x, b: day.layer_norm(x, list(inner), bias=b),
          lambda x, b: functional.layer_norm(x, inner, one, b), [x, b], rng,
          name="without a weight", scale=32.0)  # fmt: skip
    agree(lambda x, w: day.layer_norm(x, inner, w),
          lambda x, w: functional.layer_norm(x, inner, w, zero), [x, w], rng,
          name="without a bias", scale=32.0)  # fmt: skip


@exercise("layer_norm")
@pytest.mark.parametrize("kind", ["float16", "float32"])
def test_layer_norm_dtypes(kind, rng):
    x = leaf(rng.normal(5, 33, mean=1.0, std=3.0), kind=kind)
    for of in (kind, "float32"):
        w, b = (leaf(rng.normal(33), kind=of) for _ in range(2))
        y = day.layer_norm(x, 33, w, b)
        wide = [t.data.astype(np.float64) for t in (x, w, b)]
        far = wide[0] - wide[0].mean(1, keepdims=True)
        wanted = far / np.sqrt((far**2).mean(1, keepdims=True) + 1e-5) * wide[1] + wide[2]
        factor = 0.75 if kind == "float16" else 4.0
        close(y.data, wanted, dtype=kind, terms=33, scale=2.0, factor=factor,
              name=f"{kind} x, parameters of {of}")  # fmt: skip
        y.backward(leaf(np.ones(y.shape), False, kind))
        for what, t in (("x", x), ("the weight", w)):
            assert t.grad.dtype == t.dtype, (
                f"{what} is of {t.dtype}, its gradient of {t.grad.dtype}"
            )
    big = day.layer_norm(leaf([[300.0, -300.0, 6e4, -6e4]], kind="float16"), 4).data
    assert np.isfinite(big).all() and big.all(), (
        f"numbers whose squares no float16 can hold become {big.tolist()}"
    )


@exercise("layer_norm")
def test_layer_norm_of_any_strides(rng):
    base = rng.normal(3, 5, 6)
    wanted = functional.layer_norm(torch.tensor(base), (6,)).numpy()
    for what, view in views(base):
        close(day.layer_norm(view, 6).data, wanted, terms=6, scale=2.0, name=f"of a {what} x")


@exercise("layer_norm")
@pytest.mark.parametrize(
    "shape, inner",
    [((2, 3), 4), ((2, 3), 1), ((2, 1), 3), ((2, 3), (2,)), ((2, 3), (3, 3)), ((3,), (2, 3)),
     ((), (1,)), ((2, 3), ())],
    ids=str,
)  # fmt: skip
def test_layer_norm_refuses(shape, inner, rng):
    refused(day.layer_norm, leaf(rng.normal(*shape)), inner, what=f"{inner} of an x {shape}",
            names=["layer_norm", shape])  # fmt: skip


@exercise("layer_norm")
def test_layer_norm_refuses_parameters(rng):
    x = leaf(rng.normal(2, 3, 4))
    for wrong in ((3,), (1,), (4, 1), (), (3, 4)):
        p = leaf(np.ones(wrong))
        for what, options in (("weight", {"weight": p}), ("bias", {"bias": p})):
            refused(day.layer_norm, x, 4, what=f"a {what} {wrong}", names=[wrong, (4,)], **options)
    refused_dtype(day.layer_norm, leaf([[1, 2]], False), 2, what="layer_norm", kind="int64")


@exercise("layer_norm")
def test_what_layer_norm_keeps(rng):
    x, w, b = leaf(rng.normal(200, 50)), leaf(rng.normal(50)), leaf(rng.normal(50))
    kept = saved_bytes(day.layer_norm(x * 1.0, 50, w, b))
    assert kept <= x.data.nbytes + 200 * 8 + 50 * 8 + 128, (
        f"the graph keeps {kept} bytes, and x has {x.data.nbytes}"
    )


@exercise("layer_norm")
def test_layer_norm_module(rng):
    for shape, options in (
        ((5,), {}), ((4, 5), {"eps": 0.1}), ((5,), {"elementwise_affine": False}),
        ((5,), {"bias": False}),
    ):  # fmt: skip
        same_model(day.LayerNorm(shape, **options), nn.LayerNorm(shape, **options),
                   [rng.normal(3, 4, 5)], rng, name=f"LayerNorm({shape}, {options})")  # fmt: skip
    layer = day.LayerNorm(3)
    assert layer.weight.tolist() == [1.0] * 3 and layer.bias.tolist() == [0.0] * 3


BATCHES = [(4, 3), (2, 1), (2, 3, 5), (1, 3, 4), (3, 2, 4, 5), (1, 3, 3, 3), (2, 2, 1, 1)]


@exercise("batch_norm")
@pytest.mark.parametrize("training", [True, False])
@shapes("shape", *BATCHES)
def test_batch_norm(shape, training, rng):
    c = shape[1]
    x, w, b = uneven(rng, *shape), rng.normal(c), rng.normal(c)
    start = [rng.normal(c), rng.uniform(c, low=0.5, high=2.0)]
    for momentum, eps in ((0.1, 1e-5), (0.7, 0.1), (0.0, 1e-5), (1.0, 1e-5)):
        mine, theirs = [leaf(a, False) for a in start], [torch.tensor(a) for a in start]
        name = f"batch_norm of {shape}, training={training}, momentum={momentum}"
        options = {"training": training, "momentum": momentum, "eps": eps}
        agree(lambda x, w, b: day.batch_norm(x, *mine, w, b, **options),  # noqa: B023
              lambda x, w, b: functional.batch_norm(x, *theirs, w, b, **options),  # noqa: B023
              [x, w, b], rng, name=name, scale=32.0)  # fmt: skip
        for what, m, t, a in zip(("mean", "var"), mine, theirs, start, strict=True):
            close(m.data, t.numpy(), terms=32, scale=4.0, name=f"{name}: running_{what}")
            assert not m.requires_grad and m.is_leaf, f"running_{what} has a past"
            assert training or np.array_equal(m.data, a), f"in eval mode running_{what} moved"
            assert training or m._version == 0, "in eval mode something was written"


@exercise("batch_norm")
def test_batch_norm_without_some(rng):
    x, w, b, start = uneven(rng, 4, 3, 2), rng.normal(3), rng.normal(3), rng.normal(3)
    # torch's second derivative wants both parameters: neutral ones stand for those that are None.
    one, zero = torch.ones(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    for training in (True, False):
        given = (None, None) if training else (start, start**2 + 1.0)
        mine = [None if g is None else leaf(g, False) for g in given]
        theirs = [None if g is None else torch.tensor(g) for g in given]
        agree(lambda x, w: day.batch_norm(x, *mine, w, training=training),  # noqa: B023
              lambda x, w: functional.batch_norm(x, *theirs, w, zero, training),  # noqa: B023
              [x, w], rng, name="without a bias", scale=32.0)  # fmt: skip
        agree(lambda x, b: day.batch_norm(x, *mine, None, b, training),  # noqa: B023
              lambda x, b: functional.batch_norm(x, *theirs, one, b, training),  # noqa: B023
              [x, b], rng, name="without a weight", scale=32.0)  # fmt: skip
    mean, var = leaf(start, False), leaf(start**2, False)
    day.batch_norm(leaf(x), mean, None, training=True)
    day.batch_norm(leaf(x), None, var, training=True)
    close(mean.data, 0.9 * start + 0.1 * x.mean((0, 2)), terms=8, scale=2.0, name="the mean alone")
    wanted = 0.9 * start**2 + 0.1 * x.var((0, 2), ddof=1)
    close(var.data, wanted, terms=8, scale=2.0, name="the variance alone")
    assert (mean._version, var._version) == (1, 1)


@exercise("batch_norm")
@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_dtypes_and_strides(training, rng):
    x = leaf(rng.normal(6, 4, 5, mean=1.0), kind="float16")
    mean, var = leaf(np.zeros(4), False, "float32"), leaf(np.ones(4), False, "float32")
    w, b = leaf(rng.normal(4), kind="float32"), leaf(rng.normal(4), kind="float32")
    y = day.batch_norm(x, mean, var, w, b, training)
    wide = torch.tensor(x.data.astype(np.float64))
    right = [torch.zeros(4, dtype=torch.float64), torch.ones(4, dtype=torch.float64)]
    wanted = functional.batch_norm(
        wide, *right, *(torch.tensor(t.data.astype(np.float64)) for t in (w, b)), training
    )
    close(y.data, wanted.numpy(), dtype="float16", factor=0.75, terms=30, scale=2.0,
          name="float16 x")  # fmt: skip
    close(mean.data, right[0].numpy(), dtype="float32", terms=30, scale=2.0, name="running_mean")
    close(var.data, right[1].numpy(), dtype="float32", terms=30, scale=2.0, name="running_var")
    base = rng.normal(3, 4, 5)
    stats = [rng.normal(4), rng.uniform(4, low=1.0, high=2.0)]
    wanted = functional.batch_norm(
        torch.tensor(base), *map(torch.tensor, stats), None, None, training
    )
    for what, view in views(base):
        got = day.batch_norm(view, *(leaf(s, False) for s in stats), None, None, training)
        close(got.data, wanted.numpy(), terms=16, scale=2.0, name=f"of a {what} x")


@exercise("batch_norm")
def test_running_statistics_are_moved_in_place(rng):
    mean, var = leaf(np.zeros(3), False, "float32"), leaf(np.ones(3), False, "float32")
    memory, view = mean.data, mean.detach()
    day.batch_norm(leaf(rng.normal(4, 3, mean=3.0)), mean, var, training=True)
    assert mean.data is memory and mean.data.all(), "the running mean has other memory now"
    assert mean.dtype == var.dtype == np.float32
    assert (mean._version, var._version, view._version) == (1, 1, 1), "one change each is due"


@exercise("batch_norm")
@pytest.mark.filterwarnings("error")
def test_batch_norm_of_little(rng):
    for shape in ((1, 3), (1, 3, 1), (1, 2, 1, 1)):
        c = shape[1]
        mean, var = leaf(np.zeros(c), False), leaf(np.ones(c), False)
        refused(day.batch_norm, leaf(rng.normal(*shape)), mean, var, training=True,
                what=f"training on {shape}: one element a channel",
                names=["batch_norm", shape])  # fmt: skip
        assert not mean.data.any() and mean._version == var._version == 0, "something has moved"
        y = day.batch_norm(leaf(np.ones(shape)), mean, var, eps=0.0)
        assert y.tolist() == np.ones(shape).tolist(), "in eval mode one element is enough"
    for shape in ((0, 3), (0, 3, 2), (2, 3, 0)):
        mean, var = leaf(np.full(3, 2.0), False), leaf(np.full(3, 2.0), False)
        x = leaf(np.zeros(shape))
        for training in (True, False):
            assert day.batch_norm(x, mean, var, training=training).shape == shape
        assert mean.tolist() == var.tolist() == [2.0] * 3, "an empty batch has moved something"


@exercise("batch_norm")
def test_batch_norm_refuses(rng):
    for shape in ((), (3,)):
        refused(day.batch_norm, leaf(rng.normal(*shape)), None, None, training=True,
                what=f"x {shape}", names=["batch_norm", shape])  # fmt: skip
    x = leaf(rng.normal(4, 3, 5))
    names = ("running_mean", "running_var", "weight", "bias")
    for wrong in ((1,), (5,), (3, 1), ()):
        for name in names:
            tensors = dict.fromkeys(names, leaf(np.ones(3), False))
            tensors[name] = leaf(np.ones(wrong), False)
            for training in (True, False):
                before = [t._version for t in tensors.values()]
                refused(day.batch_norm, x, **tensors, training=training,
                        what=f"{name} {wrong}", names=["batch_norm", wrong, (3,)])  # fmt: skip
                assert [t._version for t in tensors.values()] == before, (
                    f"{name} {wrong} was refused after a statistic had moved"
                )
    one = leaf(np.ones(3), False)
    for what, mean, var in (
        ("statistics", None, None), ("running_var", one, None), ("running_mean", None, one)
    ):  # fmt: skip
        try:
            refused(day.batch_norm, x, mean, var, what=f"eval mode without {what}",
                    names=["batch_norm"])  # fmt: skip
        except (AttributeError, TypeError) as error:
            pytest.fail(
                f"eval mode without {what}: a ValueError was due, and what came is {error!r}"
            )
    for training in (True, False):
        refused_dtype(day.batch_norm, leaf(np.ones((4, 3)), False, "int64"), one, one,
                      training=training, what="batch_norm", kind="int64")  # fmt: skip


@exercise("batch_norm")
def test_what_batch_norm_keeps(rng):
    x, w, b = leaf(rng.normal(100, 8, 10)), leaf(rng.normal(8)), leaf(rng.normal(8))
    mean, var = leaf(np.zeros(8), False), leaf(np.ones(8), False)
    kept = saved_bytes(day.batch_norm(x * 1.0, mean, var, w, b, training=True))
    assert kept <= x.data.nbytes + 512, f"the graph keeps {kept} bytes; x has {x.data.nbytes}"


OPTIONS = [{}, {"momentum": 0.3, "eps": 0.1}, {"momentum": None}, {"momentum": 0.0},
           {"affine": False}, {"track_running_stats": False},
           {"momentum": None, "track_running_stats": False},
           {"affine": False, "track_running_stats": False}]  # fmt: skip


@exercise("BatchNorm")
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("name, shape", [("BatchNorm1d", (6, 4)), ("BatchNorm1d", (3, 4, 2)),
                                         ("BatchNorm2d", (2, 4, 3, 2))], ids=str)  # fmt: skip
def test_batch_norm_module(name, shape, options, rng):
    x = rng.normal(*shape, mean=2.0, std=2.0)
    mine, theirs = same_model(
        getattr(day, name)(4, **options), getattr(nn, name)(4, **options), [x], rng,
        name=f"{name}(4, {options})", steps=3,
    )  # fmt: skip
    mine.zero_grad()
    theirs.zero_grad()
    for mode in (False, True, False):
        mine.train(mode)
        theirs.train(mode)
        for _ in range(2):
            x = rng.normal(*shape, mean=1.0)
            inputs = leaf(x), torch.tensor(x, requires_grad=True)
            y, t = mine(inputs[0]), theirs(inputs[1])
            close(y.data, t.detach().numpy(), terms=64, scale=8.0, name=f"train({mode}): value")
            g = rng.normal(*shape)
            y.backward(leaf(g, False))
            summed(t, g).backward()
            close(inputs[0].grad.data, inputs[1].grad.numpy(), terms=64, scale=16.0,
                  name=f"train({mode}): gradient of x")  # fmt: skip
        for key, value in theirs.state_dict().items():
            close(mine.state_dict()[key].data, value.numpy(), terms=32, scale=4.0,
                  name=f"train({mode}): {key}")  # fmt: skip


@exercise("BatchNorm")
def test_batch_norm_module_at_first():
    layer = day.BatchNorm2d(3)
    assert layer.weight.tolist() == [1.0] * 3 and layer.bias.tolist() == [0.0] * 3
    assert layer.running_mean.tolist() == [0.0] * 3 and layer.running_var.tolist() == [1.0] * 3
    assert layer.num_batches_tracked.item() == 0 and layer.num_batches_tracked.shape == ()
    kinds = {k: v.dtype.name for k, v in layer.state_dict().items()}
    assert kinds.pop("num_batches_tracked") == "int64" and set(kinds.values()) == {"float32"}
    assert [n for n, _ in layer.named_parameters()] == ["weight", "bias"], (
        "an optimiser trains the weight and the bias, and no statistic"
    )
    for options in ({"affine": False}, {"track_running_stats": False}):
        mine, theirs = day.BatchNorm1d(3, **options), nn.BatchNorm1d(3, **options)
        for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
            assert (getattr(mine, name) is None) == (getattr(theirs, name) is None), (
                f"{options}: {name} is {getattr(mine, name)}"
            )
    one, two = day.BatchNorm1d(2), day.BatchNorm1d(2)
    one(leaf([[1.0, 2.0], [3.0, 4.0]]))
    assert two.running_mean.tolist() == [0.0, 0.0], "two modules share a statistic"


@exercise("BatchNorm")
def test_batch_norm_module_in_place(rng):
    layer = day.BatchNorm1d(3)
    held = [layer.running_mean, layer.running_var, layer.num_batches_tracked]
    memory = [t.data for t in held]
    for _ in range(2):
        layer(leaf(rng.normal(4, 3), kind="float32"))
    now = [layer.running_mean, layer.running_var, layer.num_batches_tracked]
    assert all(a is b for a, b in zip(held, now, strict=True)), "a buffer is another object now"
    assert all(t.data is m for t, m in zip(held, memory, strict=True)), "a buffer has new memory"
    assert layer.num_batches_tracked.item() == 2
    assert {t._version for t in held} == {2} and not any(t.requires_grad for t in held)


@exercise("BatchNorm")
def test_batch_norm_module_goes_on_where_another_stopped(rng):
    batches = rng.normal(4, 6, 3, mean=1.0).astype(np.float32)
    first, second = (day.BatchNorm1d(3, momentum=None) for _ in range(2))
    for x in batches[:3]:
        first(leaf(x, False))
    second.load_state_dict(first.state_dict())
    second(leaf(batches[3], False))
    wanted = batches.astype(np.float64).mean((0, 1))
    close(second.running_mean.data, wanted, dtype="float32", terms=32, scale=4.0,
          name="momentum=None, three batches, load_state_dict, one more: running_mean")  # fmt: skip
    assert second.num_batches_tracked.item() == 4, (
        f"three batches, load_state_dict, one more: {second.num_batches_tracked.item()} counted"
    )


@exercise("BatchNorm")
def test_batch_norm_module_refuses(rng):
    for name, wrong in (("BatchNorm1d", [(), (3,), (2, 3, 4, 5)]),
                        ("BatchNorm2d", [(3,), (4, 3), (4, 3, 2), (2, 3, 1, 1, 2)])):  # fmt: skip
        layer = getattr(day, name)(3)
        for shape in wrong:
            for mode in (True, False):
                layer.train(mode)
                refused(layer, leaf(rng.normal(*shape)), what=f"{name} of {shape}", names=[shape])
        fine = (4, 5) if name == "BatchNorm1d" else (2, 5, 1, 2)
        layer.train()
        refused(layer, leaf(rng.normal(*fine)), what=f"{name}(3) of {fine}", names=[3, 5])
        one = (1, 3) if name == "BatchNorm1d" else (1, 3, 1, 1)
        refused(layer, leaf(rng.normal(*one)), what=f"{name} of {one} in training", names=[one])
        assert layer.num_batches_tracked.item() == 0, "a refused batch was counted"
        assert layer.running_mean.tolist() == [0.0] * 3


def network(lib, softmax):
    return [
        *(lib.Linear(12, 7), lib.ReLU(), lib.Linear(7, 6), lib.Tanh(), lib.Linear(6, 8)),
        *(lib.GELU(), lib.LayerNorm(8), lib.Linear(8, 5), lib.GELU(approximate="tanh")),
        *(lib.BatchNorm1d(5), lib.Linear(5, 6, bias=False), lib.SiLU(), lib.Dropout(0.0)),
        *(lib.Linear(6, 4), lib.Sigmoid(), lib.Linear(4, 3), softmax),
    ]


@exercise("BatchNorm")
def test_a_network_of_all_layers(rng):
    from tracks.autodiff.day29 import Sequential

    mine = Sequential(day.Flatten(), *network(day, day.Softmax(-1)))
    theirs = nn.Sequential(nn.Flatten(), *network(nn, nn.Softmax(-1)))
    x = rng.normal(9, 3, 4)
    mine, theirs = same_model(mine, theirs, [x], rng, name="all layers", steps=3, scale=1e3)
    close(mine.eval()(leaf(x)).data, theirs.eval()(torch.tensor(x)).detach().numpy(), terms=64,
          scale=1e3, name="the same in eval mode")  # fmt: skip
    for what, twin in (
        ("deepcopy", copy.deepcopy(mine)),
        ("pickle", pickle.loads(pickle.dumps(mine))),
    ):
        assert np.array_equal(twin(leaf(x)).data, mine(leaf(x)).data), f"after {what}"
    theirs.load_state_dict({k: torch.tensor(v.numpy()) for k, v in mine.state_dict().items()})
