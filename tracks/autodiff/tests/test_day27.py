"""Day 27: backwards that can be differentiated, and second derivatives by counted passes."""

import types
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.autograd import functional

from harness.testing import close, exercise, refused, watch
from tracks.autodiff import day22, day23, day24, day25, day26, day27, operations

HERE = Path(__file__).parent
MANY = 1000


def leaf(data, requires_grad=True, kind="float64"):
    return day27.Tensor(data, requires_grad=requires_grad, dtype=kind)


def twin(data, requires_grad=True):
    return torch.tensor(np.array(data), requires_grad=requires_grad)


def same(found, right, name, past=False, scale=64.0):
    """One tensor, or tuples of them, against torch's: kind, shape, dtype, values."""
    if isinstance(right, tuple):
        assert isinstance(found, tuple), f"{name}: {type(found).__name__}, where torch has a tuple"
        assert len(found) == len(right), f"{name}: {len(found)} where torch has {len(right)}"
        for i, (a, b) in enumerate(zip(found, right, strict=True)):
            same(a, b, f"{name}[{i}]", past, scale)
        return
    assert isinstance(found, day22.Tensor), f"{name}: {type(found).__name__}, not one Tensor"
    right = right.detach().numpy()
    size = scale * (1 + abs(right).max(initial=0))
    close(found.data, right, terms=64, scale=size, name=name)
    assert found.requires_grad == past, (
        f"{name} requires a gradient: {found.requires_grad}, where {past} was due"
    )


class Passes:
    """Counts backward passes, and calls of a function."""

    def __init__(self):
        self.count, self.calls, self.recorded = 0, 0, []
        outer = self

        class Engine(day27.Tensor.Engine):
            def run(self, *args, **options):
                outer.count += 1
                return super().run(*args, **options)

        class Looks(day22.Function):
            @staticmethod
            def forward(ctx, x):
                return x * 1

            @staticmethod
            def backward(ctx, grad):
                outer.recorded.append(day22.mode.recording)
                return grad

        self.Tensor = types.new_class(
            "Counted", (day27.Tensor,), {},
            lambda space: space.update(__slots__=(), Engine=Engine),
        )  # fmt: skip
        self.looks = Looks.apply

    def leaf(self, data):
        return self.Tensor(np.array(data), requires_grad=True)

    def of(self, f):
        def call(*args):
            self.calls += 1
            return f(*args)

        return call


# -- backwards that can be differentiated ------------------------------------------------------


def thrice(f, *arrays, rng, name):
    """f's first three derivatives, each along a random direction, by one leaf after the other."""
    draws = [[np.array(rng.normal(*a.shape)) for a in arrays] for _ in range(3)]
    found = []
    for make, grad in ((leaf, day24.grad), (twin, torch.autograd.grad)):
        leaves = [make(a) for a in arrays]
        y = f(*leaves)
        steps = []
        for step, vectors in enumerate(draws, 1):
            got = grad(y, leaves, create_graph=step < 3, allow_unused=True)
            steps.append(got)
            pairs = [(g, make(v, False)) for g, v in zip(got, vectors, strict=True)
                     if g is not None and g.requires_grad]  # fmt: skip
            if not pairs:
                break
            y = (pairs[0][0] * pairs[0][1]).sum()
            for g, v in pairs[1:]:
                y = y + (g * v).sum()
        found.append(steps)
    for step, (mine, theirs) in enumerate(zip(*found, strict=False), 1):
        for i, (got, right) in enumerate(zip(mine, theirs, strict=True)):
            right = np.zeros(arrays[i].shape) if right is None else right.detach().numpy()
            got = np.zeros(arrays[i].shape) if got is None else got.data
            close(got, right, terms=64, scale=64.0 * (1 + abs(right).max(initial=0)),
                  name=f"{name}: derivative {step} by argument {i}")  # fmt: skip
    return found[0]


@exercise("Tanh")
def test_tanh(rng):
    for shape in [(), (1,), (5,), (2, 3), (2, 0)]:
        x = np.array(rng.normal(*shape))
        close(day27.Tanh.apply(leaf(x)).data, np.tanh(x), terms=2, scale=2.0, name="tanh")

        def f(x):
            return (day27.Tanh.apply(x) if isinstance(x, day22.Tensor) else x.tanh()).sum()

        steps = thrice(f, x, rng=rng, name=f"tanh, {shape}")
        assert len(steps) == 3, (
            f"tanh: derivative {len(steps)} has no past, and the next one is not 0"
        )
    y = leaf([-800.0, 800.0])
    z = day27.Tanh.apply(y)
    z.sum().backward()
    assert (z.tolist(), y.grad.tolist()) == ([-1.0, 1.0], [0.0, 0.0])
    assert day27.Tanh.apply(leaf([1.0], kind="float32")).dtype == np.float32
    close(leaf([0.3]).tanh().data, np.tanh([0.3]), terms=2, name="x.tanh()")


@exercise("Tanh")
def test_tanh_writes_into_nothing(rng):
    x = leaf(rng.normal(4))
    g = np.array(rng.normal(4))
    y = day27.Tanh.apply(x)
    kept = y.data.copy()
    for _ in range(2):
        y.backward(g, retain_graph=True)
    close(y.data, kept, name="the result after two backwards")
    close(x.grad.data, 2 * g * (1 - kept**2), terms=4, scale=8.0, name="grad of two backwards")


def root_mean_square(x, eps):
    r = 1 / ((x * x).mean(-1, keepdim=True) + eps).sqrt()
    return x * r, r


@exercise("RmsNorm")
def test_rms_norm_values(rng):
    for shape in [(5,), (2, 3), (2, 3, 4), (1, 1), (0, 3)]:
        for eps in (1e-6, 0.5):
            x = np.array(rng.normal(*shape))
            y, r = day27.RmsNorm.apply(leaf(x), eps=eps)
            right = 1 / np.sqrt((x * x).mean(-1, keepdims=True) + eps)
            close(r.data, right, terms=8, name=f"r of {shape}")
            close(y.data, x * right, terms=8, scale=2.0, name=f"y of {shape}")
    y, r = day27.RmsNorm.apply(leaf(rng.normal(2, 3), kind="float32"))
    assert (y.dtype, r.dtype) == (np.float32, np.float32), f"of float32: {y.dtype} and {r.dtype}"
    y, _ = day27.RmsNorm.apply(leaf(np.zeros((1, 3))))
    assert not y.data.any(), "zeros became something else"


@exercise("RmsNorm")
@pytest.mark.parametrize("which", ["y", "r", "both"])
def test_rms_norm_thrice(which, rng):
    """Against the same in torch's own operations, through each of the results."""
    for shape in [(1,), (4,), (2, 3)]:
        x = np.array(rng.normal(*shape))
        weights = [np.array(rng.normal(*shape)), np.array(rng.normal(*shape[:-1], 1))]
        weights[0] *= which != "r"
        weights[1] *= which != "y"

        def f(x, weights=weights):
            mine = isinstance(x, day22.Tensor)
            y, r = day27.RmsNorm.apply(x, eps=0.1) if mine else root_mean_square(x, 0.1)
            v, w = (leaf(a, False) if mine else twin(a, False) for a in weights)
            return (y * v).sum() + (r * w).sum()

        steps = thrice(f, x, rng=rng, name=f"rms_norm, {shape}, by {which}")
        assert len(steps) == 3, "a derivative of rms_norm has no past"


@exercise("RmsNorm")
def test_one_result_alone(rng):
    x = np.array(rng.normal(2, 3))
    for index in (0, 1):
        found = []
        for make, f in ((leaf, day27.RmsNorm.apply), (twin, root_mean_square)):
            t = make(x)
            out = f(t, 0.1)[index] if f is root_mean_square else f(t, eps=0.1)[index]
            out.sum().backward()
            found.append(t.grad)
        close(found[0].data, found[1].numpy(), terms=16, scale=16.0,
              name=f"grad, where only result {index} is used")  # fmt: skip


# -- derivatives -------------------------------------------------------------------------------


@exercise("derivatives")
def test_known_derivatives(rng):
    x = np.array(rng.normal(4))
    for name, f, rights in [
        ("exp", lambda x: x.exp(), [np.exp(x)] * 5),
        ("sin", lambda x: x.sin(), [np.sin(x), np.cos(x), -np.sin(x), -np.cos(x)]),
        ("x³", lambda x: x * x * x, [x**3, 3 * x**2, 6 * x, 6 + 0 * x, 0 * x, 0 * x]),
        ("1/x", lambda x: 1 / x, [1 / x, -1 / x**2, 2 / x**3, -6 / x**4]),
        ("x", lambda x: x, [x, 1 + 0 * x, 0 * x, 0 * x]),
        ("2", lambda x: leaf(np.full(4, 2.0), False), [2 + 0 * x, 0 * x, 0 * x]),
        ("w", lambda x: leaf(np.full(4, 2.0)) * 1.0, [2 + 0 * x, 0 * x, 0 * x]),
        ("w x", lambda x: leaf(np.full(4, 3.0)) * x, [3 * x, 3 + 0 * x, 0 * x]),
    ]:
        for order in range(len(rights)):
            found = day27.derivatives(f, leaf(x, False), order)
            assert len(found) == order + 1, f"{len(found)} tensors for order {order} of {name}"
            for n, (got, right) in enumerate(zip(found, rights, strict=False)):
                same(got, torch.tensor(right), f"derivative {n} of {name}")


@exercise("derivatives")
def test_derivatives_of_shapes(rng):
    for shape in [(), (1,), (2, 3), (0,), (2, 0)]:
        x = np.array(rng.normal(*shape))
        found = day27.derivatives(lambda x: x.exp() * x, leaf(x), 3)
        for n, got in enumerate(found):
            same(got, torch.tensor(np.exp(x) * (x + n)), f"derivative {n} at {shape}")


@exercise("derivatives")
def test_derivatives_count(rng):
    for order in (0, 1, 2, 4):
        count = Passes()
        x = count.leaf(rng.normal(3))
        day27.derivatives(count.of(lambda x, c=count: c.looks(x).exp() * x), x, order)
        assert (count.calls, count.count) == (1, order), (
            f"order {order}: {count.calls} calls of f and {count.count} passes"
        )
        if order:
            assert not count.recorded[-1], "the last pass was recorded, and nobody goes on from it"


@exercise("derivatives")
def test_derivatives_leave_everything_alone(rng):
    x, w = leaf(rng.normal(3)), leaf(rng.normal(3))
    y = x * 2.0
    with day26.no_grad():
        found = day27.derivatives(lambda x: (x * w).exp(), y, 2)
        assert not day22.mode.recording, "recording was switched on, and stayed on"
    right = np.exp(y.data * w.data)
    same(found[2], torch.tensor(right * w.data**2), "derivative 2, in no_grad, of a result")
    assert x.grad is None and w.grad is None, "a grad changed"
    assert not y.requires_grad or y.node is not None
    y.sum().backward()
    close(x.grad.data, np.full(3, 2.0), name="grad by the graph that x came from")
    plain = leaf(rng.normal(3), False)
    day27.derivatives(lambda x: x * x, plain, 1)
    assert not plain.requires_grad, "x requires a gradient now"


@exercise("derivatives")
def test_derivatives_refuse(rng):
    x = leaf(rng.normal(2, 3))
    refused(day27.derivatives, lambda x: x.sum(), x, 1, what="an f that sums", names=["(2, 3)"])
    refused(day27.derivatives, lambda x: x.sum(1), x, 0, what="f(x) of (2,)", names=["(2,)"])
    refused(day27.derivatives, lambda x: x, x, -1, what="order -1")


# -- Hessian-vector products -------------------------------------------------------------------


def weighted(x):
    """A function of any tensor, of this library or of torch, with a full Hessian."""
    return (x.exp().sum() * (x * x).sum() + (x * x * x).sum()) / 4


def pair(a, b):
    return ((a * b).sin() * a).sum() + (b * b * b).sum() * a.exp().sum()


@exercise("hvp")
def test_hvp_as_torch_has_it(rng):
    for shape in [(), (1,), (4,), (2, 3), (0,)]:
        x, v = np.array(rng.normal(*shape)), np.array(rng.normal(*shape))
        found = day27.hvp(weighted, leaf(x), leaf(v, False))
        assert isinstance(found, tuple) and len(found) == 2, "f(x) and H v were due"
        right = functional.hvp(weighted, twin(x), twin(v, False))
        same(found[0], right[0], f"f(x) of {shape}")
        same(found[1], right[1], f"H v of {shape}")


@exercise("hvp")
def test_hvp_of_several(rng):
    x = np.array(rng.normal(2, 3)), np.array(rng.normal(3))
    v = np.array(rng.normal(2, 3)), np.array(rng.normal(3))
    right = functional.hvp(pair, tuple(map(twin, x)), tuple(twin(a, False) for a in v))
    for kind in (tuple, list):
        vectors = kind(leaf(a, False) for a in v)
        same(day27.hvp(pair, kind(map(leaf, x)), vectors)[1], right[1], f"H v of a {kind.__name__}")
    one = day27.hvp(weighted, (leaf(x[0]),), (leaf(v[0], False),))
    same(one[1], functional.hvp(weighted, (twin(x[0]),), (twin(v[0]),))[1], "H v of a tuple of one")


@exercise("hvp")
def test_hvp_where_there_is_no_curvature(rng):
    x, v = np.array(rng.normal(3)), np.array(rng.normal(3))
    c = np.array(rng.normal(3))
    w = leaf(rng.normal(1))
    for name, f, value in [
        ("linear", lambda x: (x * leaf(c, False)).sum(), (x * c).sum()),
        ("constant", lambda x: leaf(2.0, False), 2.0),
        ("a weight", lambda x: (w * w).sum(), (w.data**2).sum()),
        ("linear with a weight", lambda x: (x * w).sum(), (x * w.data).sum()),
        ("detached", lambda x: (x.detach() * x.detach()).sum(), (x * x).sum()),
    ]:
        found = day27.hvp(f, leaf(x), leaf(v, False))
        same(found[0], torch.tensor(value).double(), f"f(x), {name}")
        same(found[1], torch.zeros(3, dtype=torch.float64), f"H v, {name}")
    value, products = day27.hvp(
        lambda a, b: (a * a).sum(), (leaf(x), leaf(c)), (leaf(v, False), leaf(v, False))
    )
    same(products, (torch.tensor(2 * v), torch.zeros(3, dtype=torch.float64)), "b unused")
    value, products = day27.hvp(
        lambda a, b: (a * a).sum() + b.sum(), (leaf(x), leaf(c)), (leaf(v, False), leaf(v, False))
    )
    same(products, (torch.tensor(2 * v), torch.zeros(3, dtype=torch.float64)), "b linear")


@exercise("hvp")
def test_hvp_of_a_thousand_parameters(rng):
    """Two passes, and no memory of n · n numbers."""
    count = Passes()
    x, v = count.leaf(rng.normal(MANY)), leaf(rng.normal(MANY), False)
    a = np.array(rng.normal(20, MANY)) / MANY
    rows = count.Tensor(a)

    def f(x):
        return (count.looks(rows @ count.looks(x)) ** 4).sum()

    (value, product), seen = watch(day27.hvp, count.of(f), x, v, of="numpy")
    inner = a @ x.data
    close(value.data, (inner**4).sum(), terms=64, scale=1.0, name="f(x)")
    right = a.T @ (12 * inner**2 * (a @ v.data))
    close(product.data, right, terms=MANY, scale=1.0, name=f"H v of {MANY} parameters")
    assert (count.calls, count.count) == (1, 2), (
        f"{count.calls} calls of f and {count.count} backward passes"
    )
    assert seen.peak_bytes < MANY * MANY * 8 / 4, (
        f"{seen.peak_bytes} bytes, where a Hessian of {MANY} parameters has {MANY * MANY * 8}"
    )
    assert not count.recorded[-1], "the last pass was recorded, and nobody goes on from it"


@exercise("hvp")
@pytest.mark.parametrize("quiet", [False, True])
def test_hvp_leaves_everything_alone(quiet, rng):
    x, w, v = leaf(rng.normal(3)), leaf(rng.normal(3)), leaf(rng.normal(3))
    y = x * 2.0

    def f(t):
        return (t * t * w).sum()

    with day26.Switch(not quiet):
        value, product = day27.hvp(f, y, v)
        assert day22.mode.recording != quiet, "recording was switched, and stayed so"
    same(product, torch.tensor(2 * w.data * v.data), "H v at a result")
    assert not value.requires_grad, "f(x) has a past"
    assert x.grad is None and w.grad is None and v.grad is None, "a grad changed"
    y.sum().backward()
    close(x.grad.data, np.full(3, 2.0), name="grad by the graph that x came from")
    plain = leaf(rng.normal(3), False)
    same(day27.hvp(f, plain, v)[1], torch.tensor(2 * w.data * v.data), "H v, x a constant")
    assert not plain.requires_grad, "x requires a gradient now"


@exercise("hvp")
def test_hvp_with_a_past(rng):
    x, w, v, u = (np.array(rng.normal(3)) for _ in range(4))

    def results(make, hvp, grad):
        a, b, direction = make(x), make(w), make(v)

        def f(t):
            return ((t * b).exp() * t).sum()

        value, product = hvp(f, a * 1.0, direction, create_graph=True)
        loss = value + (product * make(u, False)).sum()
        return (value, product), tuple(grad(loss, [a, b, direction]))

    found = results(leaf, day27.hvp, day24.grad)
    right = results(twin, functional.hvp, torch.autograd.grad)
    same(found[0], right[0], "f(x) and H v with create_graph", past=True)
    same(found[1], right[1], "derivatives of f(x) + u · H v by x, a weight, and v")


@exercise("hvp")
def test_hvp_refuses(rng):
    x = leaf(rng.normal(2, 3))
    refused(day27.hvp, lambda x: x.sum(1), x, x, what="an f that gives 2 numbers", names=["(2,)"])
    refused(day27.hvp, weighted, x, leaf(rng.normal(3), False), what="a v of shape (3,)")
    refused(day27.hvp, weighted, x, leaf(rng.normal(1, 3), False), what="a v of shape (1, 3)")
    refused(day27.hvp, pair, (x, x), (x,), what="one vector for two inputs")
    refused(day27.hvp, weighted, (x,), (x, x), what="two vectors for one input")


# -- all operations ----------------------------------------------------------------------------


def three(y):
    """The sum of cubes: what comes before it is differentiated three times."""
    return (y * y * y).sum()


def both(mine, theirs):
    return lambda x, *rest: (mine if isinstance(x, day22.Tensor) else theirs)(x, *rest)


def index_of(values):
    """An index for either library."""
    array = np.array(values)
    return both(lambda x: leaf(array, False, kind=None), lambda x: torch.tensor(array))


INDEX = index_of([[0, 2, 0], [1, 1, 1]])
LINE = index_of([1, 0, 1])
L = {
    name: both(getattr(operations, name), getattr(torch, name))
    for name in ("maximum", "einsum", "dot", "outer", "clamp", "logsumexp", "softmax")
    if name != "einsum"
}


def joined(name):
    return lambda *xs: (
        getattr(operations, name)(list(xs), 1)
        if isinstance(xs[0], day22.Tensor)
        else getattr(torch, name)(list(xs), 1)
    )


def einsum(equation):
    def call(a, b):
        library = operations if isinstance(a, day22.Tensor) else torch
        return library.einsum(equation, a, b)

    return call


def where(a, b):
    mask = np.array([[True, False, True]])
    if isinstance(a, day22.Tensor):
        return operations.where(leaf(mask, False, kind=None), a, b)
    return torch.where(torch.tensor(mask), a, b)


def padded(x):
    if isinstance(x, day22.Tensor):
        return operations.pad(x, (1, -1, 0, 2), 0.5)
    return torch.nn.functional.pad(x, (1, -1, 0, 2), value=0.5)


def entropy(reduction):
    def call(x):
        target = np.array([2, -100])
        if isinstance(x, day22.Tensor):
            return operations.cross_entropy(x, leaf(target, False, kind=None), reduction=reduction)
        return torch.nn.functional.cross_entropy(x, torch.tensor(target), reduction=reduction)

    return call


def checkpointed(x):
    def inside(x):
        return x.exp() * x

    return day25.checkpoint(inside, x) if isinstance(x, day22.Tensor) else inside(x)


OPERATIONS = {
    "add": (lambda a, b: a + b, (2, 3), (3,)),
    "sub": (lambda a, b: a - b, (2, 1), (3,)),
    "mul": (lambda a, b: a * b, (2, 3), (2, 1)),
    "div": (lambda a, b: a / b, (2, 3), (3,)),
    "neg": (lambda a: -a, (2, 3)),
    "pow of a number": (lambda a: a**3, (2, 3)),
    "pow": (lambda a, b: (a * a + 0.5) ** b, (2, 3), (3,)),
    "where": (where, (2, 3), (2, 3)),
    "maximum": (L["maximum"], (2, 3), (2, 3)),
    "clamp": (lambda a: a.clamp(-0.5, 0.5) * a, (2, 3)),
    "clone": (lambda a: a.clone(), (2, 3)),
    "reshape": (lambda a: a.reshape(3, 2), (2, 3)),
    "permute": (lambda a: a.permute(2, 0, 1), (2, 3, 2)),
    "transpose": (lambda a: a.transpose(0, 1), (2, 3)),
    "expand": (lambda a: a.expand(4, 2, 3), (2, 1)),
    "squeeze": (lambda a: a.squeeze(1), (2, 1)),
    "unsqueeze": (lambda a: a.unsqueeze(1), (2,)),
    "sum": (lambda a: a.sum((0, 2)), (2, 3, 2)),
    "mean": (lambda a: a.mean(1, keepdim=True), (2, 3)),
    "var": (lambda a: a.var(1), (2, 3)),
    "amax": (lambda a: a.amax(1), (2, 3)),
    "amin": (lambda a: a.amin((0, 1)), (2, 3)),
    "max": (lambda a: a.max(1).values, (2, 3)),
    "min": (lambda a: a.min(0).values, (2, 3)),
    "prod": (lambda a: a.prod(1), (2, 3)),
    "prod with zeros": (lambda a: (a * a.detach().round().clamp(0, 1)).prod(1)
                        if isinstance(a, torch.Tensor)
                        else (a * leaf(np.clip(np.round(a.data), 0, 1), False)).prod(1), (2, 3)),
    "norm 1": (lambda a: a.norm(1, 1), (2, 3)),
    "norm 2": (lambda a: a.norm(2, 1), (2, 3)),
    "norm 3": (lambda a: a.norm(3, 1), (2, 3)),
    "norm inf": (lambda a: a.norm(float("inf"), 1), (2, 3)),
    "matmul": (lambda a, b: a @ b, (2, 2, 3), (3, 2)),
    "matmul of rows": (lambda a, b: a @ b, (3,), (2, 3, 2)),
    "dot": (L["dot"], (3,), (3,)),
    "outer": (L["outer"], (2,), (3,)),
    "einsum": (einsum("bij,jk->ki"), (2, 2, 3), (3, 2)),
    "getitem": (lambda a: a[1:, [0, 0, 2]], (2, 3)),
    "gather": (lambda a: a.gather(1, INDEX(a)), (2, 3)),
    "index_add": (lambda a, b: a.index_add(0, LINE(a), b), (2, 2), (3, 2)),
    "cat": (joined("cat"), (2, 3), (2, 1)),
    "stack": (joined("stack"), (2, 3), (2, 3)),
    "split": (lambda a: a.split([1, 2], 1)[1] * a.split([1, 2], 1)[0], (2, 3)),
    "pad": (padded, (2, 3)),
    "exp": (lambda a: a.exp(), (2, 3)),
    "log": (lambda a: (a * a + 0.5).log(), (2, 3)),
    "log1p": (lambda a: (a * a).log1p(), (2, 3)),
    "sqrt": (lambda a: (a * a + 0.5).sqrt(), (2, 3)),
    "sin": (lambda a: a.sin(), (2, 3)),
    "cos": (lambda a: a.cos(), (2, 3)),
    "sigmoid": (lambda a: a.sigmoid(), (2, 3)),
    "gelu": (both(operations.gelu, torch.nn.functional.gelu), (2, 3)),
    "logsumexp": (lambda a: a.logsumexp(1), (2, 3)),
    "softmax": (lambda a: a.softmax(1), (2, 3)),
    "log_softmax": (lambda a: a.log_softmax(1), (2, 3)),
    "cross_entropy": (entropy("mean"), (2, 3)),
    "cross_entropy, none": (entropy("none"), (2, 3)),
    "relu": (lambda a: a.relu() * a, (2, 3)),
    "linear": (both(day23.Linear.apply, torch.nn.functional.linear), (2, 3), (2, 3), (2,)),
    "checkpoint": (checkpointed, (2, 3)),
    "tanh": (lambda a: a.tanh(), (2, 3)),
}  # fmt: skip
"""An operation, and the shapes of its arguments."""


def directed(f, arrays, vectors, last):
    """H v with a past, and the derivative of that, by both libraries."""
    found = []
    for make, hvp, grad in (
        (leaf, day27.hvp, day24.grad),
        (twin, functional.hvp, torch.autograd.grad),
    ):
        leaves = tuple(make(a) for a in arrays)
        _, products = hvp(
            lambda *xs: three(f(*xs)), leaves, tuple(make(v, False) for v in vectors), True
        )
        total = sum((p * make(w, False)).sum() for p, w in zip(products, last, strict=True))
        found.append((products, tuple(grad(total, leaves))))
    return found


@exercise("hvp")
@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_to_the_third_order(name, rng):
    f, *shapes = OPERATIONS[name]
    arrays, vectors, last = ([np.array(rng.normal(*s)) for s in shapes] for _ in range(3))
    if "div" in name:
        arrays = [np.sign(a) * (abs(a) + 0.5) for a in arrays]
    (products, third), (right, right_third) = directed(f, arrays, vectors, last)
    for i, (got, due) in enumerate(zip(products, right, strict=True)):
        same(got, due, f"{name}: H v by argument {i}", past=True)
    same(third, right_third, f"{name}: third derivative")


@exercise("hvp")
def test_no_function_is_left_out(rng):
    """The graphs of the operations above, and of their derivatives, have every Function in them."""
    met = set()
    for f, *shapes in OPERATIONS.values():
        leaves = tuple(leaf(rng.normal(*s)) for s in shapes)
        ones = tuple(leaf(np.ones(s), False) for s in shapes)
        value, products = day27.hvp(lambda *xs, f=f: three(f(*xs)), leaves, ones, True)
        for t in (value, *products):
            if t.requires_grad:
                nodes = day24.dependencies([t.edge[0]])
                met |= {getattr(n, "function", None) for n in nodes}
    for module in (operations, day22, day23):
        for name, found in vars(module).items():
            if isinstance(found, type) and issubclass(found, day22.Function) and found not in met:
                replaced = found in (day22.Function, day22.Mul, day22.To)
                assert replaced, f"{name} was in no graph of a second derivative"


# -- Jacobians ---------------------------------------------------------------------------------

ONE_TO_ONE = {
    "element by element": (lambda x: x.exp() * x, (3,)),
    "to fewer": (lambda x: (x * x).sum(1), (2, 3)),
    "to more": (lambda x: (x * x).unsqueeze(1) * x, (3,)),
    "to a number": (lambda x: (x * x * x).sum(), (2, 2)),
    "from a number": (lambda x: (x * x).expand(2, 3), ()),
    "number to number": (lambda x: x.exp(), ()),
    "itself": (lambda x: x, (2, 2)),
    "to nothing": (lambda x: x[2:] * x[2:], (2, 3)),
    "from nothing": (lambda x: (x * x).sum(0), (0, 3)),
    "a view": (lambda x: x.transpose(0, 1), (2, 3)),
    "a constant": (both(lambda x: leaf(np.ones(2), False), lambda x: torch.ones(2).double()), (3,)),
}
SEVERAL = {
    "two to one": (lambda a, b: (a * b).exp(), (2, 3), (3,)),
    "two to two": (lambda a, b: ((a * b).sum(1), a.exp()), (2, 3), (3,)),
    "two to three": (lambda a, b: (a * a, b * b, (a * b).sum()), (2, 2), (2,)),
    "one in a tuple": (lambda a: a * a, (3,)),
    "one in a tuple to two": (lambda a: (a * a, a.sum()), (3,)),
    "two to a tuple of one": (lambda a, b: ((a * b).sum(1),), (2, 3), (3,)),
}


@exercise("jacobian")
@pytest.mark.parametrize("name", ONE_TO_ONE)
def test_jacobian_of_one_input(name, rng):
    f, shape = ONE_TO_ONE[name]
    x = np.array(rng.normal(*shape))
    found = day27.jacobian(f, leaf(x))
    if name == "to nothing":  # torch stacks no rows, and refuses
        same(found, torch.zeros(0, *shape[1:], *shape).double(), f"Jacobian, {name}")
        return
    same(found, functional.jacobian(f, twin(x)), f"Jacobian, {name}")
    several = functional.jacobian(lambda x: (f(x), x.exp().sum()), twin(x))
    found = day27.jacobian(lambda x: (f(x), x.exp().sum()), leaf(x))
    same(found, several, f"two results, {name}")


@exercise("jacobian")
@pytest.mark.parametrize("name", SEVERAL)
def test_jacobian_of_several(name, rng):
    f, *shapes = SEVERAL[name]
    arrays = [np.array(rng.normal(*s)) for s in shapes]
    right = functional.jacobian(f, tuple(map(twin, arrays)))
    for kind in (tuple, list):
        found = day27.jacobian(f, kind(map(leaf, arrays)))
        same(found, right, f"Jacobian, {name}, inputs in a {kind.__name__}")


@exercise("jacobian")
def test_jacobian_counts(rng):
    for shape in [(2,), (50,)]:
        count = Passes()
        x = count.leaf(rng.normal(*shape))
        day27.jacobian(count.of(lambda x, c=count: c.looks((x * x)[:2].exp())), x)
        assert (count.calls, count.count) == (1, 2), (
            f"2 results of {shape[0]} numbers: {count.calls} calls of f, {count.count} passes"
        )
        assert not any(count.recorded), "a pass was recorded, without create_graph"
    count = Passes()
    day27.jacobian(
        count.of(lambda a, b: ((a * b).sum(1), b * a.sum())),
        (count.leaf(rng.normal(2, 3)), count.leaf(rng.normal(3))),
    )
    assert (count.calls, count.count) == (1, 5), (
        f"5 numbers of two inputs: {count.calls} calls of f, {count.count} passes"
    )


@exercise("jacobian")
def test_jacobian_dtypes(rng):
    x = leaf(rng.normal(3), kind="float32")
    found = day27.jacobian(lambda x: x.to(np.float64) * 2.0, x)
    assert found.dtype == np.float32, f"of a float32 input: {found.dtype}"
    close(found.data, 2 * np.eye(3, dtype=np.float32), name="Jacobian of x · 2")
    empty = day27.jacobian(lambda x: x[:0], x)
    assert (empty.shape, empty.dtype) == ((0, 3), np.float32)
    several = day27.jacobian(lambda a, b: a[:0], (x, leaf(rng.normal(2))))
    shapes = [found.shape for found in several]
    assert shapes == [(0, 3), (0, 2)], f"no results of inputs of (3,) and (2,): {shapes}"


@exercise("jacobian")
@pytest.mark.parametrize("quiet", [False, True])
def test_jacobian_leaves_everything_alone(quiet, rng):
    x, w = leaf(rng.normal(3)), leaf(rng.normal(3))
    y = x * 2.0
    outside = (w * w).exp()
    with day26.Switch(not quiet):
        found = day27.jacobian(lambda t: t * outside, y)
        assert day22.mode.recording != quiet, "recording was switched, and stayed so"
    same(found, torch.tensor(np.diag(outside.data)), "Jacobian at a result")
    assert x.grad is None and w.grad is None, "a grad changed"
    (y.sum() + outside.sum()).backward()
    close(x.grad.data, np.full(3, 2.0), name="grad by the graph that x came from")
    plain = leaf(rng.normal(3), False)
    same(day27.jacobian(lambda t: t * 3.0, plain), 3 * torch.eye(3).double(), "x a constant")
    assert not plain.requires_grad, "x requires a gradient now"


@exercise("jacobian")
def test_jacobian_with_a_past(rng):
    x, w, u = (np.array(rng.normal(3)) for _ in range(3))

    def results(make, jacobian, grad):
        a, b = make(x), make(w)
        J = jacobian(lambda t: (t * b).exp() * t.sum(), a * 1.0, create_graph=True)
        loss = (J * make(u, False)).sum()
        return J, tuple(grad(loss, [a, b]))

    found = results(leaf, day27.jacobian, day24.grad)
    right = results(twin, functional.jacobian, torch.autograd.grad)
    same(found[0], right[0], "Jacobian with create_graph", past=True)
    same(found[1], right[1], "derivatives of u · J by x and by a weight")


# -- a batch -----------------------------------------------------------------------------------

ROWS = {
    "as many": (lambda x: x.exp() * x.sum(1, keepdim=True), (4, 3)),
    "to fewer": (lambda x: (x * x * x).reshape(x.shape[0], 2, 2).sum(2), (3, 4)),
    "to a number": (lambda x: (x * x).sum(1), (4, 3)),
    "images": (lambda x: x @ x.transpose(1, 2), (3, 2, 2)),
    "from numbers": (lambda x: x.unsqueeze(1).expand(x.shape[0], 2) * x.unsqueeze(1), (4,)),
    "numbers to numbers": (lambda x: x.sin(), (4,)),
    "a batch of 1": (lambda x: x * x, (1, 3)),
    "a batch of 0": (lambda x: x * x, (0, 3)),
    "to nothing": (lambda x: x[:, 3:] * 2.0, (2, 3)),
    "itself": (lambda x: x, (2, 3)),
}


@exercise("batch_jacobian")
@pytest.mark.parametrize("name", ROWS)
def test_batch_jacobian(name, rng):
    f, shape = ROWS[name]
    x = np.array(rng.normal(*shape))
    out = tuple(f(twin(x)).shape)
    right = np.zeros((*out, *shape[1:]))
    for i in range(shape[0] if right.size else 0):
        right[i] = functional.jacobian(lambda t: f(t.unsqueeze(0))[0], twin(x[i])).numpy()
    same(day27.batch_jacobian(f, leaf(x)), torch.tensor(right), f"Jacobians, {name}")


@exercise("batch_jacobian")
def test_batch_jacobian_counts(rng):
    for b in (1, 7, 50):
        count = Passes()
        x = count.leaf(rng.normal(b, 3))
        day27.batch_jacobian(count.of(lambda x, c=count: c.looks((x * x)[:, :2].exp())), x)
        assert (count.calls, count.count) == (1, 2), (
            f"{b} samples with 2 results each: {count.calls} calls of f, {count.count} passes"
        )
        assert not any(count.recorded), "a pass was recorded, without create_graph"


@exercise("batch_jacobian")
def test_batch_jacobian_with_a_past(rng):
    """A Hessian for each sample: the Jacobians of the gradients."""
    x = np.array(rng.normal(4, 3))
    w = leaf(rng.normal(3))

    def score(x):
        return ((x * w).exp() * x).sum(1)

    found = day27.batch_jacobian(
        lambda x: day27.batch_jacobian(score, x, create_graph=True), leaf(x)
    )
    right = [
        functional.hessian(lambda t: ((t * torch.tensor(w.data)).exp() * t).sum(), twin(row))
        for row in x
    ]
    same(found, torch.stack(right), "Hessian of each sample")
    t = leaf(x)
    J = day27.batch_jacobian(score, t, create_graph=True)
    assert J.requires_grad, "with create_graph the Jacobians have no past"
    of_x, of_w = day24.grad(J.sum(), [t, w])
    e = np.exp(x * w.data)
    close(of_x.data, e * w.data * (2 + x * w.data), terms=32, scale=64.0 * (1 + abs(e)),
          name="derivative of the Jacobians by x")  # fmt: skip
    close(of_w.data, (e * x * (2 + x * w.data)).sum(0), terms=64, scale=64.0 * (1 + e.max()),
          name="derivative of the Jacobians by a weight")  # fmt: skip


@exercise("batch_jacobian")
@pytest.mark.parametrize("quiet", [False, True])
def test_batch_jacobian_leaves_everything_alone(quiet, rng):
    x, w = leaf(rng.normal(2, 3)), leaf(rng.normal(3))
    y = x * 2.0
    with day26.Switch(not quiet):
        found = day27.batch_jacobian(lambda t: (t * w).sum(1), y)
        assert day22.mode.recording != quiet, "recording was switched, and stayed so"
    same(found, torch.tensor(np.stack([w.data, w.data])), "Jacobians at a result")
    assert x.grad is None and w.grad is None, "a grad changed"
    y.sum().backward()
    found = day27.batch_jacobian(lambda t: leaf(np.ones((2, 2)), False), leaf(rng.normal(2, 3)))
    same(found, torch.zeros(2, 2, 3).double(), "Jacobians of a constant")
    plain = leaf(rng.normal(2, 3), False)
    found = day27.batch_jacobian(lambda t: (t * w).sum(1), plain)
    same(found, torch.tensor(np.stack([w.data, w.data])), "Jacobians, x a constant")
    assert not plain.requires_grad, "x requires a gradient now"


@exercise("batch_jacobian")
def test_batch_jacobian_refuses(rng):
    x = leaf(rng.normal(2, 3))
    f = day27.batch_jacobian
    refused(f, lambda x: x.sum(0), x, what="3 results of 2 samples", names=["(3,)", "(2, 3)"])
    refused(f, lambda x: x.sum(), x, what="one number of 2 samples")
    refused(f, lambda x: x, leaf(1.0), what="an x without axes")
    refused(f, lambda x: x.reshape(1), leaf(1.0), what="an x without axes, of which f gives (1,)")


# -- Hessians ----------------------------------------------------------------------------------


@exercise("hessian")
def test_hessian_as_torch_has_it(rng):
    for shape in [(), (1,), (4,), (2, 3), (0,)]:
        x = np.array(rng.normal(*shape))
        right = functional.hessian(weighted, twin(x)) if x.size else torch.zeros(0, 0).double()
        mine = leaf(x.copy())
        same(day27.hessian(weighted, mine), right, f"Hessian, {shape}")
        close(mine.data, x, name=f"x of {shape} after the Hessian")


@exercise("hessian")
def test_hessian_of_several(rng):
    a, b = np.array(rng.normal(2, 3)), np.array(rng.normal(3))
    right = functional.hessian(pair, (twin(a), twin(b)))
    for kind in (tuple, list):
        same(day27.hessian(pair, kind((leaf(a), leaf(b)))), right, f"in a {kind.__name__}")
    same(day27.hessian(weighted, (leaf(b),)), functional.hessian(weighted, (twin(b),)), "of one")


@exercise("hessian")
def test_hessian_where_there_is_none(rng):
    x, c = leaf(rng.normal(3)), leaf(rng.normal(3), False)
    w = leaf(rng.normal(3))
    zeros = torch.zeros(3, 3).double()
    for name, f in [
        ("linear", lambda x: (x * c).sum()), ("constant", lambda x: leaf(1.0, False)),
        ("linear with a weight", lambda x: (x * w).sum()), ("a weight", lambda x: (w * w).sum()),
    ]:  # fmt: skip
        same(day27.hessian(f, x), zeros, f"Hessian, {name}")
    found = day27.hessian(lambda a, b: (a * a).sum(), (x, c))
    same(found, ((2 * torch.eye(3).double(), zeros), (zeros, zeros)), "b unused")


@exercise("hessian")
def test_hessian_counts(rng):
    count = Passes()
    day27.hessian(count.of(lambda x: (x * x * x).sum()), count.leaf(rng.normal(5)))
    assert (count.calls, count.count) == (1, 6), (
        f"5 parameters: {count.calls} calls of f and {count.count} passes"
    )


@exercise("hessian")
@pytest.mark.parametrize("quiet", [False, True])
def test_hessian_leaves_everything_alone(quiet, rng):
    x, w = leaf(rng.normal(3)), leaf(rng.normal(3))
    with day26.Switch(not quiet):
        found = day27.hessian(lambda x: (x * x * w).sum(), x)
        assert day22.mode.recording != quiet, "recording was switched, and stayed so"
    same(found, torch.tensor(np.diag(2 * w.data)), "Hessian")
    assert x.grad is None and w.grad is None, "a grad changed"


@exercise("hessian")
def test_hessian_with_a_past(rng):
    """Third derivatives, all of them."""
    x, w = np.array(rng.normal(3)), np.array(rng.normal(3))

    def results(make, hessian, jacobian, grad):
        a, b = make(x), make(w)

        def f(t):
            return ((t * b).sin() * t.exp()).sum() * t.sum()

        H = hessian(f, a * 1.0, create_graph=True)
        third = jacobian(lambda t: hessian(f, t, create_graph=True), a)
        return H, third, tuple(grad((H * H).sum(), [a, b]))

    found = results(leaf, day27.hessian, functional_jacobian, day24.grad)
    right = results(twin, functional.hessian, functional.jacobian, torch.autograd.grad)
    same(found[0], right[0], "Hessian with create_graph", past=True)
    same(found[1], right[1], "all third derivatives")
    same(found[2], right[2], "derivatives of the Hessian's squares by x and by a weight",
         scale=1024.0)  # fmt: skip


def functional_jacobian(f, x):
    """All derivatives of f by grad alone: other exercises may not be done yet."""
    t = leaf(x.data)
    y = f(t)
    rows = [
        day24.grad(y.reshape(-1)[i], t, retain_graph=True)[0].data.copy() for i in range(y.numel())
    ]
    return leaf(np.stack(rows).reshape(*y.shape, *t.shape), False)


@exercise("hessian")
def test_hessian_refuses(rng):
    x = leaf(rng.normal(2, 3))
    refused(day27.hessian, lambda x: x.sum(1), x, what="an f of 2 numbers", names=["(2,)"])
    refused(day27.hessian, lambda x: x.sum(1), (x,), what="an f of 2 numbers", names=["(2,)"])


# -- gradient penalty --------------------------------------------------------------------------


def critic(w, u, rank):
    def f(x):
        y = (x.reshape(x.shape[0], -1) @ w).tanh() @ u
        return y if rank == 1 else y.reshape(-1, 1)

    return f


def penalty_of_torch(f, x, target):
    x = x if x.requires_grad else x.requires_grad_()
    (g,) = torch.autograd.grad(f(x).sum(), x, create_graph=True)
    return ((g.reshape(len(g), -1).norm(2, 1) - target) ** 2).mean()


@exercise("gradient_penalty")
@pytest.mark.parametrize("shape", [(4, 3), (1, 3), (4,), (3, 3, 2)])
@pytest.mark.parametrize("rank", [1, 2])
def test_penalty_as_torch_computes_it(shape, rank, rng):
    x = np.array(rng.normal(*shape))
    inner = x[0].size
    w, u = np.array(rng.normal(inner, 5)), np.array(rng.normal(5))
    for target in (1.0, 0.0, 2.5):
        found = []
        for make, penalty in ((leaf, day27.gradient_penalty), (twin, penalty_of_torch)):
            a, b, samples = make(w), make(u), make(x)
            loss = penalty(critic(a, b, rank), samples, target)
            assert tuple(loss.shape) == (), f"the penalty has the shape {tuple(loss.shape)}"
            if make is leaf:
                assert loss.requires_grad, "the penalty has no past: no weight would get a gradient"
                grads = [t.grad for t in (a, b, samples)]
                assert grads == [None] * 3, "a grad changed before backward"
            loss.backward()
            found.append((loss, a.grad, b.grad, samples.grad))
        names = ("penalty", "grad of w", "grad of u", "grad of the samples")
        for name, got, right in zip(names, *found, strict=True):
            right = right.detach().numpy()
            size = 256.0 * (1 + abs(right).max())
            close(got.data, right, terms=64, scale=size, name=f"{name}, target {target}")
    default = day27.gradient_penalty(critic(leaf(w), leaf(u), rank), leaf(x))
    right = penalty_of_torch(critic(twin(w), twin(u), rank), twin(x), 1.0)
    close(default.data, right.detach().numpy(), terms=64, scale=64.0, name="penalty, no target")


@exercise("gradient_penalty")
def test_penalty_where_a_gradient_is_zero(rng):
    """A sample on the flat side of relu: its norm is 0, and has no slope."""
    w = leaf([1.0, 2.0])
    x = leaf([[1.0, 1.0], [-1.0, -1.0]], False)
    loss = day27.gradient_penalty(lambda x: (x @ w).relu(), x)
    loss.backward()
    norm = np.sqrt(5.0)
    close(loss.data, np.array(((norm - 1) ** 2 + 1) / 2), terms=8, scale=4.0, name="penalty")
    assert np.isfinite(w.grad.data).all(), (
        f"grad of the weights: {w.grad.tolist()}, because one sample's gradient is 0"
    )
    close(w.grad.data, (norm - 1) / norm * w.data, terms=8, scale=8.0, name="grad of the weights")


@exercise("gradient_penalty")
def test_penalty_counts_and_modes(rng):
    count = Passes()
    x = count.leaf(rng.normal(6, 3))
    w = leaf(rng.normal(3))
    with day26.no_grad():
        loss = day27.gradient_penalty(count.of(lambda x: (x @ w).exp()), x)
        assert not day22.mode.recording, "recording was switched on, and stayed on"
    assert loss.requires_grad, "in no_grad the penalty has no past"
    assert (count.calls, count.count) == (1, 1), (
        f"{count.calls} calls of f and {count.count} passes for 6 samples"
    )
    loss.backward()
    assert w.grad is not None
    plain = leaf(rng.normal(2, 3), False)
    day27.gradient_penalty(lambda x: x @ w, plain).backward()
    assert not plain.requires_grad, "x requires a gradient now"
    flat = day27.gradient_penalty(lambda x: leaf(np.ones(2), False), plain, 3.0)
    close(flat.data, np.array(9.0), name="penalty of a constant, target 3")
    single = leaf(rng.normal(2, 3), kind="float32")
    assert day27.gradient_penalty(lambda x: (x * x).sum(1), single).dtype == np.float32


@exercise("gradient_penalty")
def test_penalty_refuses(rng):
    x = leaf(rng.normal(2, 3))
    f = day27.gradient_penalty
    refused(f, lambda x: x * x, x, what="3 numbers for each sample", names=["(2, 3)"])
    refused(f, lambda x: x.sum(), x, what="one number for 2 samples", names=["()"])
    refused(f, lambda x: x.sum(0), x, what="3 numbers for 2 samples", names=["(3,)"])
    refused(f, lambda x: x, leaf(1.0), what="samples without axes")
