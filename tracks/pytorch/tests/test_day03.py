"""Day 3: gradients against torch.func, and what must be left as it was."""

import sys

import pytest
import torch
from torch.func import grad, hessian, jacrev

from harness.testing import close, exercise, layouts, watch
from tracks.pytorch import day03


class ByHand:
    """``f``, with its calls and the backward passes through its result counted.

    Refuses to be called by torch.func or torch.autograd.functional: they are the exercise.
    """

    def __init__(self, f):
        self.f, self.calls, self.backwards = f, 0, 0

    def __call__(self, *xs):
        frame = sys._getframe(1)
        while frame is not None:
            file = frame.f_code.co_filename.replace("\\", "/")
            assert "/torch/_functorch/" not in file and "/autograd/functional" not in file, (
                "torch.func or torch.autograd.functional did the work; build it with autograd.grad"
            )
            frame = frame.f_back
        self.calls += 1
        y = self.f(*xs)
        if y.requires_grad:
            y.register_hook(self.passed)
        return y

    def passed(self, _):
        self.backwards += 1


def kept(*tensors):
    """What must not change: requires_grad, and .grad with its numbers."""
    grads = [t.grad if t.is_leaf else None for t in tensors]
    return [
        (t.requires_grad, t.grad_fn, None if g is None else (id(g), g.tolist()))
        for t, g in zip(tensors, grads, strict=True)
    ]


SCALAR = {
    "sum of squares": lambda x: x.square().sum(),
    "logsumexp": lambda x: x.logsumexp(tuple(range(x.dim()))) if x.dim() else x,
    "x sin x": lambda x: (x * x.sin()).mean(),
    "neighbours": lambda x: (x.flatten().roll(1) * x.flatten().exp()).sum(),
    "half of it": lambda x: x.flatten()[: (x.numel() + 1) // 2].pow(3).sum(),
}
CONSTANT = {
    "a constant": lambda x: torch.tensor(3.0, device=x.device),
    "x.detach()": lambda x: x.detach().sum(),
    "shape only": lambda x: torch.ones(x.shape, device=x.device).sum(),
}


# gradient ------------------------------------------------------------------------------------


@exercise("gradient")
@pytest.mark.parametrize("name", SCALAR)
def test_gradient(name, device, rng):
    f = ByHand(SCALAR[name])
    for shape in [(5,), (3, 4), (), (1, 2, 1)]:
        base = rng.normal(*shape, dtype=torch.float64)
        wanted = grad(SCALAR[name])(base)
        for layout, x in layouts(base):
            got = day03.gradient(f, x)
            close(got, wanted, terms=12, scale=3.0, name=f"gradient of {name}, {layout} x")
            assert not got.requires_grad, "the gradient carries a graph"


@exercise("gradient")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_gradient_dtype(dtype, device, rng):
    x = rng.normal(4, 3, dtype=dtype)
    close(day03.gradient(lambda x: x.square().sum(), x), 2 * x.double(), dtype=dtype)


@exercise("gradient")
@pytest.mark.parametrize("name", CONSTANT)
def test_gradient_of_a_constant(name, device, rng):
    x = rng.normal(3, 2)
    close(day03.gradient(CONSTANT[name], x), torch.zeros_like(x), name=f"gradient of {name}")
    w = torch.ones(3, device=device, requires_grad=True)
    close(day03.gradient(lambda x: w.sum(), x), torch.zeros_like(x), name="gradient of w.sum()")


@exercise("gradient")
@pytest.mark.parametrize("kind", ["plain", "leaf", "leaf with .grad", "result"])
def test_gradient_changes_nothing(kind, device, rng):
    x = rng.normal(4).requires_grad_(kind != "plain")
    source = x
    if kind == "leaf with .grad":
        x.grad = torch.full_like(x, 7.0)
    if kind == "result":
        x = source * 2
    w = rng.normal(4).requires_grad_()
    before = kept(source, x, w)
    got = day03.gradient(lambda x: (w * x * x).sum(), x)
    close(got, 2 * w.detach().double() * x.detach(), dtype=x.dtype)
    assert kept(source, x, w) == before, (
        f"x is a {kind}: its requires_grad or .grad changed, or that of another tensor f uses"
    )


@exercise("gradient")
def test_gradient_inside_no_grad(device, rng):
    x = rng.normal(4)
    with torch.no_grad():
        got = day03.gradient(lambda x: x.square().sum(), x)
        assert not torch.is_grad_enabled(), "grad mode was switched on and left on"
    close(got, 2 * x.double(), dtype=x.dtype)


@exercise("gradient")
def test_gradient_calls_f_once(device, rng):
    f = ByHand(SCALAR["x sin x"])
    day03.gradient(f, rng.normal(6))
    assert (f.calls, f.backwards) == (1, 1), f"{f.calls} calls, {f.backwards} backward passes"


@exercise("gradient")
def test_gradient_refuses_several_numbers(device, rng):
    refused(lambda: day03.gradient(lambda x: x * 2, rng.normal(3)), "a result of shape (3,)", "3")


def refused(call, what, *named):
    """It is a ValueError, whose message holds each of ``named``."""
    with pytest.raises(ValueError) as refusal:
        call()
        pytest.fail(f"{what} was accepted")
    message = str(refusal.value)
    assert all(n in message for n in named), f"{what}: the message does not say so: {message!r}"


# accumulate ----------------------------------------------------------------------------------


@exercise("accumulate", ban=["backward"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_accumulate_adds_up(dtype, device, rng):
    a, b = (rng.normal(*s, dtype=dtype).requires_grad_() for s in [(3, 4), (4,)])
    wanted_a = 2 * a.detach().double() * b.detach().double()
    wanted_b = a.detach().double().square().sum(0)
    f = ByHand(lambda a, b: (a * a * b).sum())
    for times in (1, 2, 3):
        value = day03.accumulate(f, [a, b])
        for name, x, wanted in (("a", a, wanted_a), ("b", b, wanted_b)):
            close(x.grad, times * wanted, dtype=dtype, terms=5, factor=8,
                  scale=3.0 if dtype != torch.bfloat16 else 3.0 * 2**12,
                  name=f"{name}.grad after {times} call(s)")  # fmt: skip
    assert value.grad_fn is None and not value.requires_grad, "the value keeps its graph alive"
    close(value, (a * a * b).sum().detach(), name="the value")
    assert (f.calls, f.backwards) == (3, 3), f"3 calls of accumulate called f {f.calls} times"


@exercise("accumulate", ban=["backward"])
def test_accumulate_in_place(device, rng):
    a = rng.normal(5).requires_grad_()
    a.grad = held = rng.normal(5).clone()
    wanted = held.double() + a.detach().double().cos()
    day03.accumulate(lambda a: a.sin().sum(), [a])
    assert a.grad is held, "a.grad is another tensor now; who holds the old one misses the sum"
    close(held, wanted, dtype=a.dtype, scale=2.0)


@exercise("accumulate", ban=["backward"])
def test_accumulate_shares_no_memory(device, rng):
    a, b, c = (rng.normal(4).requires_grad_() for _ in range(3))
    factor = rng.normal(4)
    day03.accumulate(lambda a, b, c: ((a + b + c) * factor).sum() + a.sum(), [a, b, c])
    day03.accumulate(lambda a, b, c: (b + c).sum(), [a, b, c])
    one = factor.double() + 1
    for name, x in (("a", a), ("b", b), ("c", c)):
        close(x.grad, one, dtype=x.dtype, scale=2.0, name=f"{name}.grad")
    for x in (a, b, c):
        x.grad = None
    day03.accumulate(lambda a, b, c: (a + b + c).sum(), [a, b, c])
    a.grad += torch.arange(4, device=device)
    assert b.grad.tolist() == c.grad.tolist() == [1, 1, 1, 1], (
        "adding to a.grad changed b.grad or c.grad: they share memory"
    )


@exercise("accumulate", ban=["backward"])
def test_accumulate_leaves_others_alone(device, rng):
    used, unused, held = (rng.normal(3).requires_grad_() for _ in range(3))
    held.grad = torch.full((3,), 7.0, device=device)
    plain, whole, outside = rng.normal(3), rng.integers(1, 5, 3), rng.normal(3).requires_grad_()

    def f(used, unused, held, plain, whole):
        return (used * plain * whole * outside).sum()

    day03.accumulate(f, [used, unused, held, plain, whole])
    wanted = (plain * whole * outside).detach()
    close(used.grad, wanted.double(), dtype=wanted.dtype)
    assert unused.grad is None, "the value does not depend on it: its .grad stays None"
    assert held.grad.tolist() == [7, 7, 7], "the value does not depend on it: .grad stays"
    assert outside.grad is None, "a tensor that is not in xs got a gradient"
    assert plain.grad is None and not plain.requires_grad
    assert whole.grad is None and not whole.requires_grad


@exercise("accumulate", ban=["backward"])
def test_accumulate_of_the_same_tensor_twice(device):
    a = torch.tensor([3.0, 5.0], device=device, requires_grad=True)
    day03.accumulate(lambda p, q: (p * q).sum(), [a, a])
    assert a.grad.tolist() == [6, 10], f"the gradient of a·a is 2a, not {a.grad.tolist()}"


@exercise("accumulate", ban=["backward"])
def test_accumulate_nothing(device, rng):
    plain, leaf = rng.normal(3), rng.normal(3).requires_grad_()
    outside = rng.normal(3).requires_grad_()
    for name, f, xs in [
        ("no tensors", lambda: outside.sum(), []),
        ("a tensor without gradient", lambda a: (a * outside).sum(), [plain]),
        ("a constant", lambda a: plain.sum(), [leaf]),
    ]:
        value = day03.accumulate(f, xs)
        close(value, f(*xs).detach(), name=f"the value, {name}")
        assert not value.requires_grad, f"{name}: the value keeps its graph"
        assert plain.grad is leaf.grad is outside.grad is None, f"{name}: a .grad was written"


@exercise("accumulate", ban=["backward"])
def test_accumulate_inside_no_grad(device):
    a = torch.tensor([1.0, 2.0], device=device, requires_grad=True)
    with torch.no_grad():
        day03.accumulate(lambda a: a.square().sum(), [a])
        assert not torch.is_grad_enabled(), "grad mode was switched on and left on"
    assert a.grad is not None and a.grad.tolist() == [2, 4], f"a.grad is {a.grad}"


@exercise("accumulate", ban=["backward"])
def test_accumulate_refuses(device, rng):
    a, b = rng.normal(3).requires_grad_(), rng.normal(3).requires_grad_()
    for position in (0, 1):
        xs = [a, b]
        xs[position] = xs[position] * 2
        what = f"a tensor at position {position} that is no leaf"
        refused(lambda xs=xs: day03.accumulate(lambda a, b: (a * b).sum(), xs), what, str(position))
    what = "a result of shape (3,)"
    refused(lambda: day03.accumulate(lambda a, b: a * b, [a, b]), what, "3")
    assert a.grad is None and b.grad is None, "a .grad was written before the error"


# stop_gradient -------------------------------------------------------------------------------


@exercise("stop_gradient")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_stop_gradient(dtype, device, rng):
    x = rng.normal(3, 4, dtype=dtype).requires_grad_()
    for layout, leaf in layouts(x):
        y = leaf * 2
        for name, t in (("leaf", leaf), ("result", y)):
            stopped = day03.stop_gradient(t)
            close(stopped, t.detach(), name=f"{name}, {layout}")
            assert not stopped.requires_grad, f"{name}: a gradient still flows"
            assert stopped.untyped_storage().data_ptr() == t.untyped_storage().data_ptr(), (
                f"{name}: the numbers were copied"
            )
            assert t.requires_grad, f"{name}: x itself lost its requires_grad"
            assert (t is leaf) == t.is_leaf, "x itself lost its graph"


@exercise("stop_gradient")
def test_stop_gradient_one_path_of_two(device, rng):
    x = rng.normal(5).requires_grad_()
    y = x.exp()
    (day03.stop_gradient(y) * y).sum().backward()
    wanted = (2 * x.detach().double()).exp()
    close(x.grad, wanted, dtype=x.dtype, factor=8, name="gradient through the other path")


@exercise("stop_gradient")
def test_stop_gradient_nested(device, rng):
    a, b = rng.normal(2).requires_grad_(), rng.normal(3).requires_grad_()
    x = {"state": (a * 1, [b * 1, 7]), "name": "lstm", "none": None, "empty": []}
    got = day03.stop_gradient(x)
    assert list(got) == list(x) and (got["name"], got["none"], got["empty"]) == ("lstm", None, [])
    assert type(got["state"]) is tuple and type(got["state"][1]) is list, "a list became a tuple"
    assert got["state"][1][1] == 7
    for stopped, t in ((got["state"][0], a), (got["state"][1][0], b)):
        close(stopped, t.detach())
        assert not stopped.requires_grad, "a gradient flows through a nested tensor"
    assert x["state"][0].requires_grad and x["state"][1][0].requires_grad, "x itself was changed"


@exercise("stop_gradient")
def test_stop_gradient_writing_is_noticed(device, rng):
    y = rng.normal(4).requires_grad_().exp()  # its backward needs y
    day03.stop_gradient(y).zero_()
    with pytest.raises(RuntimeError) as refusal:
        y.sum().backward()
        pytest.fail("what was written through the stopped tensor stayed unseen: wrong gradients")
    assert "modified by an inplace operation" in str(refusal.value), f"{refusal.value}"


@exercise("stop_gradient")
def test_stop_gradient_allocates_nothing(device, rng):
    x = rng.normal(1000).requires_grad_()
    _, seen = watch(day03.stop_gradient, [x, (x,)])
    assert seen.peak_bytes == 0, f"{seen.peak_bytes} bytes were allocated"


# jacobian ------------------------------------------------------------------------------------

VECTOR = {
    "elementwise": lambda x: x.sin(),
    "row sums": lambda x: (x * x).sum(-1),
    "softmax": lambda x: x.softmax(-1),
    "to one number": lambda x: x.prod(),
    "outer": lambda x: x.flatten()[:, None] * x.flatten(),
    "part of it": lambda x: x.flatten()[1:].tanh(),
    "x itself": lambda x: x,
    "transposed": lambda x: (x**2).mT.contiguous()[..., :1],
}


@exercise("jacobian")
@pytest.mark.parametrize("name", VECTOR)
def test_jacobian(name, device, rng):
    for shape in [(2, 3), (4, 1)]:
        base = rng.normal(*shape, dtype=torch.float64)
        wanted = jacrev(VECTOR[name])(base)
        for layout, x in layouts(base):
            f = ByHand(VECTOR[name])
            got = day03.jacobian(f, x)
            close(got, wanted, terms=6, scale=3.0, name=f"jacobian of {name}, {layout} x")
            close(x, base, name=f"x itself after the call, {layout}")
            assert not got.requires_grad, "the Jacobian carries a graph"
            assert f.calls == 1, f"f was called {f.calls} times"


@exercise("jacobian")
def test_jacobian_one_backward_a_row(device, rng):
    f = ByHand(lambda x: x.sin()[:3] * x[3:])
    day03.jacobian(f, rng.normal(6))
    assert f.backwards <= 3, f"{f.backwards} backward passes for 3 rows"


@exercise("jacobian")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_jacobian_dtype(dtype, device, rng):
    x = rng.normal(4, dtype=dtype)
    close(day03.jacobian(lambda x: x.square(), x), (2 * x.double()).diag(), dtype=dtype)


@exercise("jacobian")
def test_jacobian_between_dtypes(device, rng):
    x = rng.normal(3)
    wanted = (2 * x.double()).diag()
    close(day03.jacobian(lambda x: x.double().square(), x), wanted, dtype=torch.float32)


@exercise("jacobian")
def test_jacobian_of_a_constant(device, rng):
    x, w = rng.normal(2, 3), rng.normal(4).requires_grad_()
    for name, f in [
        ("a constant", lambda x: torch.ones(4, device=device)),
        ("another tensor", lambda x: w * 2),
        ("x.detach()", lambda x: x.detach().flatten()[:4]),
    ]:
        got = day03.jacobian(f, x)
        close(got, torch.zeros(4, 2, 3, device=device), name=f"jacobian of {name}")


@exercise("jacobian")
def test_jacobian_of_nothing(device, rng):
    nothing = torch.zeros(0, device=device)
    got = day03.jacobian(lambda x: x[:0] * 2, rng.normal(3))
    assert got.shape == (0, 3), f"f returns (0,), x is (3,): shape (0, 3), not {tuple(got.shape)}"
    got = day03.jacobian(lambda x: x.sum() * torch.ones(2, device=device), nothing)
    assert got.shape == (2, 0), f"f returns (2,), x is (0,): shape (2, 0), not {tuple(got.shape)}"


@exercise("jacobian")
@pytest.mark.parametrize("kind", ["plain", "result"])
def test_jacobian_changes_nothing(kind, device, rng):
    source, w = rng.normal(3).requires_grad_(), rng.normal(3).requires_grad_()
    source.grad = torch.full_like(source, 7.0)
    x = source * 2 if kind == "result" else rng.normal(3)
    before = kept(source, x, w)
    with torch.no_grad():
        got = day03.jacobian(lambda x: w * x.sin(), x)
        assert not torch.is_grad_enabled(), "grad mode was switched on and left on"
    wanted = (w.double() * x.double().cos()).detach().diag()
    close(got, wanted, dtype=x.dtype, scale=2.0)
    assert kept(source, x, w) == before, "a requires_grad or a .grad changed"


# hvp -----------------------------------------------------------------------------------------


@exercise("hvp")
@pytest.mark.parametrize("name", SCALAR)
def test_hvp(name, device, rng):
    for shape in [(5,), (2, 3), ()]:
        base, v = (rng.normal(*shape, dtype=torch.float64) for _ in range(2))
        full = hessian(SCALAR[name])(base).reshape(base.numel(), base.numel())
        wanted = (full @ v.flatten()).reshape(shape)
        for layout, x in layouts(base):
            f = ByHand(SCALAR[name])
            got = day03.hvp(f, x, v)
            close(got, wanted, terms=6, scale=9.0, name=f"hvp of {name}, {layout} x")
            assert not got.requires_grad, "the result carries a graph"
            assert f.calls == 1, f"f was called {f.calls} times"


@exercise("hvp")
def test_hvp_of_a_matrix(device, rng):
    a, x, v = (rng.normal(*s, dtype=torch.float64) for s in [(6, 6), (6,), (6,)])
    got = day03.hvp(lambda x: x @ a @ x, x, v)  # its Hessian is a + aᵀ
    close(got, (a + a.T) @ v, terms=12, scale=3.0)


@exercise("hvp")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_hvp_dtype(dtype, device, rng):
    x, v = rng.normal(4, dtype=dtype), rng.normal(4, dtype=dtype)
    got = day03.hvp(lambda x: x.square().sum(), x, v)
    close(got, 2 * v.double(), dtype=dtype)


@exercise("hvp")
def test_hvp_of_linear_and_constant(device, rng):
    x, v, w = rng.normal(3), rng.normal(3), rng.normal(3).requires_grad_()
    for name, f in [
        *CONSTANT.items(),
        ("a linear f", lambda x: (x * 3).sum()),
        ("f linear in x, by a weight", lambda x: (x * w).sum()),
        ("another tensor", lambda x: w.square().sum()),
    ]:
        close(day03.hvp(f, x, v), torch.zeros_like(x), name=f"hvp of {name}")


@exercise("hvp")
def test_hvp_memory(device, rng):
    n = 1000
    x, v = rng.normal(n, dtype=torch.float64), rng.normal(n, dtype=torch.float64)
    _, seen = watch(day03.hvp, lambda x: (x.sin() * x.roll(1)).sum(), x, v)
    assert seen.peak_bytes < 50 * 8 * n, (
        f"{seen.peak_bytes} bytes at the peak for {n} elements; the Hessian has {8 * n * n}"
    )


@exercise("hvp")
@pytest.mark.parametrize("kind", ["plain", "result"])
def test_hvp_changes_nothing(kind, device, rng):
    source, w = rng.normal(3).requires_grad_(), rng.normal(3).requires_grad_()
    source.grad = torch.full_like(source, 7.0)
    x, v = source * 2 if kind == "result" else rng.normal(3), rng.normal(3).requires_grad_()
    before = kept(source, x, v, w)
    with torch.no_grad():
        got = day03.hvp(lambda x: (w * x**3).sum(), x, v)
        assert not torch.is_grad_enabled(), "grad mode was switched on and left on"
    wanted = (6 * w.double() * x.double() * v.double()).detach()
    close(got, wanted, dtype=x.dtype, factor=8)
    assert kept(source, x, v, w) == before, "a requires_grad or a .grad changed"
    assert not got.requires_grad, "the result carries a graph"


@exercise("hvp")
def test_hvp_refuses(device, rng):
    x, v = rng.normal(3), rng.normal(3)
    refused(lambda: day03.hvp(lambda x: x * 2, x, v), "a result of shape (3,)", "3")
    x, v = rng.normal(4, 1), rng.normal(4, 7)
    what = "x of shape (4, 1) with v of shape (4, 7)"
    refused(lambda: day03.hvp(lambda x: x.square().sum(), x, v), what, *"417")
