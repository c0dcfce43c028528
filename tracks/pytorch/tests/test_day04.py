"""Day 4: gradients against finite differences, and what stays in memory between the passes."""

import gc
import itertools
import sys
import weakref

import pytest
import torch
from torch import nn
from torch.autograd import gradcheck, gradgradcheck
from torch.autograd.graph import saved_tensors_hooks

from harness.testing import close, exercise, layouts, watch
from tracks.pytorch import day04

FLOATS = [torch.float32, torch.float64, torch.float16, torch.bfloat16]


def what_is_saved(f):
    """The result of ``f()``, and every tensor that is saved meanwhile."""
    saved = []
    with saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        return f(), saved


def storage(t):
    return t.untyped_storage().data_ptr()


def dies(make):
    """Whether the result of ``make()`` is freed as soon as nobody holds it, uncollected."""
    gc.disable()
    try:
        result = make()
        watched = weakref.ref(result)
        del result
        return watched() is None
    finally:
        gc.enable()


def backward_through(f, x, grad):
    """``f(x)`` and the gradient of x when ``grad`` comes in."""
    x = x.detach().requires_grad_()
    y = f(x)
    return y, torch.autograd.grad(y, x, grad)[0]


def compiles(f, x):
    """The gradient of f at x, compiled."""
    compiled = torch.compile(f, backend="aot_eager", fullgraph=True, dynamic=False)
    return backward_through(compiled, x, torch.ones_like(x))


# Exp -----------------------------------------------------------------------------------------


@exercise("Exp")
@pytest.mark.parametrize("dtype", FLOATS)
def test_exp(dtype, device, rng):
    for shape in [(), (7,), (3, 5), (0, 2)]:
        base, grad = rng.normal(*shape, dtype=dtype), rng.normal(*shape, dtype=dtype)
        wanted = base.double().exp()
        for layout, x in layouts(base):
            y, got = backward_through(day04.Exp.apply, x, grad)
            close(y.detach(), wanted, dtype=dtype, name=f"Exp of a {layout} x")
            close(got, grad.double() * wanted, dtype=dtype, name=f"gradient, {layout} x")


@exercise("Exp")
def test_exp_gradcheck(device, rng):
    x = rng.normal(3, 4, dtype=torch.float64).requires_grad_()
    assert gradcheck(day04.Exp.apply, (x,))
    assert gradgradcheck(day04.Exp.apply, (x,)), "the backward cannot be differentiated"
    third = x.exp().detach().double()
    y = day04.Exp.apply(x)
    for _ in range(3):
        (y,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    close(y.detach(), third, factor=16, name="third derivative")


@exercise("Exp")
def test_exp_saves_its_output_only(device, rng):
    x = rng.normal(50).requires_grad_()
    y, saved = what_is_saved(lambda: day04.Exp.apply(x))
    assert len(saved) == 1, f"{len(saved)} tensors went through save_for_backward, not 1"
    assert storage(saved[0]) == storage(y), "what is saved is not the output, which is alive anyway"
    assert dies(lambda: day04.Exp.apply(x)), (
        "the result is never freed: it holds ctx, and ctx holds it; use save_for_backward"
    )


@exercise("Exp")
def test_exp_compiles(device, rng):
    x = rng.normal(5)
    y, grad = compiles(day04.Exp.apply, x)
    close(y.detach(), x.double().exp(), dtype=x.dtype)
    close(grad, x.double().exp(), dtype=x.dtype)


# SignSTE -------------------------------------------------------------------------------------


@exercise("SignSTE")
@pytest.mark.parametrize("dtype", FLOATS)
def test_sign(dtype, device, rng):
    for shape in [(), (9,), (4, 5), (0, 2)]:
        base, grad = rng.normal(*shape, dtype=dtype), rng.normal(*shape, dtype=dtype)
        for layout, x in layouts(base):
            y, got = backward_through(day04.SignSTE.apply, x, grad)
            close(y.detach(), torch.where(base < 0, -1.0, 1.0).to(dtype), name=f"{layout} x")
            wanted = torch.where(base.abs() > 1, torch.zeros_like(grad), grad)
            close(got, wanted, name=f"gradient, {layout} x")


@exercise("SignSTE")
def test_sign_at_the_edges(device):
    inf = torch.inf
    x = torch.tensor([-inf, -1.001, -1.0, -1e-30, -0.0, 0.0, 1.0, 1.001, inf], device=device)
    y, got = backward_through(day04.SignSTE.apply, x, torch.full_like(x, 3.0))
    assert y.tolist() == [-1, -1, -1, -1, 1, 1, 1, 1, 1], f"the sign of {x.tolist()}: {y.tolist()}"
    assert got.tolist() == [0, 0, 3, 3, 3, 3, 3, 0, 0], f"the gradient at {x.tolist()}: {got}"


@exercise("SignSTE")
def test_sign_stops_whatever_comes_in(device):
    x = torch.tensor([-5.0, 0.5, 5.0, 2.0], device=device)
    grad = torch.tensor([torch.inf, 2.0, torch.nan, -torch.inf], device=device)
    _, got = backward_through(day04.SignSTE.apply, x, grad)
    assert got.tolist() == [0, 2, 0, 0], f"inf and nan came in at |x| > 1, out came {got.tolist()}"


@exercise("SignSTE")
def test_sign_saves_a_byte_an_element(device, rng):
    x = rng.normal(100, dtype=torch.float64).requires_grad_()
    _, saved = what_is_saved(lambda: day04.SignSTE.apply(x))
    size = sum(t.numel() * t.element_size() for t in saved)
    assert 0 < size <= 100, f"{size} bytes are saved for 100 elements"
    assert dies(lambda: day04.SignSTE.apply(x)), "the result is never freed: a cycle through ctx"


@exercise("SignSTE")
def test_sign_backward_is_linear(device, rng):
    x = rng.normal(8, dtype=torch.float64, std=2).requires_grad_()
    assert gradgradcheck(day04.SignSTE.apply, (x,)), "the backward cannot be differentiated"


@exercise("SignSTE")
def test_sign_compiles(device, rng):
    x = rng.normal(9)
    y, grad = compiles(day04.SignSTE.apply, x)
    close(y.detach(), torch.where(x < 0, -1.0, 1.0))
    close(grad, (x.abs() <= 1).float())


# Clamp ---------------------------------------------------------------------------------------


@exercise("Clamp")
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("low, high", [(-1.0, 0.5), (0.25, 0.25), (-torch.inf, 0.0)])
def test_clamp(low, high, dtype, device, rng):
    for shape in [(), (9,), (4, 5), (0, 2)]:
        base, grad = rng.normal(*shape, dtype=dtype), rng.normal(*shape, dtype=dtype)
        for layout, x in layouts(base):
            y, got = backward_through(lambda x: day04.Clamp.apply(x, low, high), x, grad)
            close(y.detach(), base.clamp(low, high), name=f"[{low}, {high}], {layout} x")
            inside = (base >= low) & (base <= high)
            wanted = torch.where(inside, grad, torch.zeros_like(grad))
            close(got, wanted, name=f"gradient, [{low}, {high}], {layout} x")


@exercise("Clamp")
def test_clamp_at_the_bounds(device):
    x = torch.tensor([-2.001, -2.0, 0.0, 3.0, 3.001, torch.inf], device=device)
    grad = torch.tensor([torch.nan, 1.0, 2.0, 3.0, torch.inf, torch.inf], device=device)
    _, got = backward_through(lambda x: day04.Clamp.apply(x, -2.0, 3.0), x, grad)
    assert got.tolist() == [0, 1, 2, 3, 0, 0], f"x {x.tolist()}, in [-2, 3]: {got.tolist()}"


@exercise("Clamp")
def test_clamp_gradcheck(device, rng):
    x = (rng.integers(-5, 6, 12).double() + 0.25).requires_grad_()  # never near a bound
    assert gradcheck(lambda x: day04.Clamp.apply(x, -2.0, 3.0), (x,))
    assert gradgradcheck(lambda x: day04.Clamp.apply(x, -2.0, 3.0), (x,))


@exercise("Clamp")
def test_clamp_saves_a_byte_an_element(device, rng):
    x = rng.normal(100, dtype=torch.float64).requires_grad_()
    _, saved = what_is_saved(lambda: day04.Clamp.apply(x, -1.0, 1.0))
    size = sum(t.numel() * t.element_size() for t in saved)
    assert 0 < size <= 100, f"{size} bytes are saved for 100 elements"
    assert dies(lambda: day04.Clamp.apply(x, -1.0, 1.0)), "the result is never freed"


@exercise("Clamp")
def test_clamp_compiles(device, rng):
    x = rng.normal(9)
    y, grad = compiles(lambda x: day04.Clamp.apply(x, -0.5, 1.0), x)
    close(y.detach(), x.clamp(-0.5, 1.0))
    close(grad, ((x >= -0.5) & (x <= 1.0)).float())


# grad_norm_hook ------------------------------------------------------------------------------


def network(device, dtype=torch.float32):
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).to(device, dtype)


def lengths(module):
    return {
        name: p.grad.double().square().sum().sqrt()
        for name, p in module.named_parameters()
        if p.grad is not None
    }


def same_norms(norms, wanted, dtype=torch.float32):
    assert set(norms) == set(wanted), f"norms of {sorted(norms)}, not of {sorted(wanted)}"
    for name, length in wanted.items():
        close(norms[name], length, dtype=dtype, terms=20, name=f"norm of {name}'s gradient")
        assert not norms[name].requires_grad, f"{name}: the norm carries a graph"


@exercise("grad_norm_hook")
@pytest.mark.parametrize("dtype", FLOATS)
def test_norms(dtype, device, rng):
    model = network(device, dtype)
    norms, _ = day04.grad_norm_hook(model)
    assert norms == {}, "there has been no backward pass yet"
    for _ in range(2):
        model.zero_grad()
        model(rng.normal(6, 4, dtype=dtype)).square().sum().backward()
        exact = torch.float64 if dtype == torch.float64 else torch.float32
        same_norms(norms, lengths(model), exact)


@exercise("grad_norm_hook")
def test_norms_of_one_backward_alone(device, rng):
    model, x = network(device), rng.normal(6, 4)
    model(x).sum().backward()
    wanted = lengths(model)
    norms, _ = day04.grad_norm_hook(model)
    model(x).sum().backward()  # .grad now holds twice as much
    same_norms(norms, wanted)


@exercise("grad_norm_hook")
def test_norms_change_no_gradient(device, rng):
    model, x = network(device), rng.normal(6, 4)
    model(x).sum().backward()
    wanted = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    day04.grad_norm_hook(model)
    model(x).sum().backward()
    for name, p in model.named_parameters():
        close(p.grad, wanted[name], name=f"gradient of {name}, with hooks")


@exercise("grad_norm_hook")
def test_norms_leave_out(device, rng):
    model, x = network(device), rng.normal(6, 4)
    model[0].weight.requires_grad_(False)
    norms, _ = day04.grad_norm_hook(model)
    model[0](x).sum().backward()  # reaches the first layer only
    assert set(norms) == {"0.bias"}, f"of 0.bias alone there is a gradient, not of {sorted(norms)}"


@exercise("grad_norm_hook")
def test_norm_of_a_shared_parameter(device, rng):
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)).to(device)
    model[1].weight = model[0].weight
    norms, _ = day04.grad_norm_hook(model)
    model(rng.normal(3, 4)).square().sum().backward()
    same_norms(norms, lengths(model))


@exercise("grad_norm_hook")
def test_norms_of_a_recorded_backward(device, rng):
    model = network(device)
    norms, _ = day04.grad_norm_hook(model)
    weights = list(model.parameters())
    grads = torch.autograd.grad(model(rng.normal(6, 4)).square().sum(), weights, create_graph=True)
    wanted = {
        name: g.detach().double().square().sum().sqrt()
        for (name, _), g in zip(model.named_parameters(), grads, strict=True)
    }
    same_norms(norms, wanted)


@exercise("grad_norm_hook")
def test_norms_remove(device, rng):
    model, x = network(device), rng.normal(6, 4)
    norms, remove = day04.grad_norm_hook(model)
    model(x).sum().backward()
    before = {name: norm.item() for name, norm in norms.items()}
    assert len(before) == 4, f"norms of {sorted(before)}: there are four parameters"
    remove()
    (100 * model(x)).sum().backward()
    after = {name: norm.item() for name, norm in norms.items()}
    assert after == before, "after remove() the norms still change"


@exercise("grad_norm_hook")
def test_norms_do_not_wait(device, rng):
    model = network(device)
    norms, _ = day04.grad_norm_hook(model)
    loss = model(rng.normal(6, 4)).sum()
    _, seen = watch(loss.backward)
    assert seen.synchronisations == [], f"the hooks wait for the GPU: {seen.synchronisations}"
    assert norms, "no norm was kept"


# checkpointed --------------------------------------------------------------------------------


class ByHand:
    """``f``, its calls counted; refuses to be called by torch.utils.checkpoint."""

    def __init__(self, f):
        self.f, self.calls = f, 0

    def __call__(self, x):
        frame = sys._getframe(1)
        while frame is not None:
            file = frame.f_code.co_filename.replace("\\", "/")
            assert not file.endswith("torch/utils/checkpoint.py"), (
                "torch.utils.checkpoint did the work; build it with saved_tensors_hooks"
            )
            frame = frame.f_back
        self.calls += 1
        return self.f(x)


def long_way(x):
    for _ in range(4):
        x = (x.sin() * x.cos() + x).exp().log1p()
    return x


@exercise("checkpointed")
@pytest.mark.parametrize("kind", ["leaf", "result", "no gradient"])
def test_checkpointed(kind, device, rng):
    weight, start = rng.normal(4, 3).requires_grad_(), rng.normal(5, 4)

    def gradients(run):
        x = start.clone().requires_grad_(kind != "no gradient")
        f = ByHand(lambda x: long_way(x @ weight).square())
        y = run(f, x * 1 if kind == "result" else x)
        calls = f.calls
        wanted = [weight, x] if x.requires_grad else [weight]
        return y.detach(), torch.autograd.grad(y.sum(), wanted), calls, f.calls

    y, grads, forwards, both = gradients(day04.checkpointed)
    wanted, plain, _, _ = gradients(lambda f, x: f(x))
    close(y, wanted, name="the value")
    for name, got, g in zip(("the weight", "x"), grads, plain, strict=False):
        close(got, g, name=f"gradient of {name}, x is a {kind}")
    assert forwards == 1, f"f ran {forwards} times before any backward"
    assert both == 2, f"f ran {both} times in all: once forwards and once again were expected"


@exercise("checkpointed")
def test_checkpointed_with_backward(device, rng):
    model, plain = (network(device) for _ in range(2))
    plain.load_state_dict(model.state_dict())
    start = rng.normal(6, 4)
    x, same = start.clone().requires_grad_(), start.clone().requires_grad_()
    for _ in range(2):  # gradients accumulate
        day04.checkpointed(model, x).square().sum().backward()
        plain(same).square().sum().backward()
    close(x.grad, same.grad, name="x.grad")
    for (name, p), q in zip(model.named_parameters(), plain.parameters(), strict=True):
        close(p.grad, q.grad, name=f"gradient of {name}")


@exercise("checkpointed")
def test_checkpointed_one_after_the_other(device, rng):
    x = rng.normal(7, dtype=torch.float64).requires_grad_()
    y = z = x
    for _ in range(3):
        y, z = day04.checkpointed(long_way, y), long_way(z)
    for name, f, g in (("first", y, z), ("second", y * y, z * z)):
        (got,) = torch.autograd.grad(f.sum(), x, retain_graph=True)
        (wanted,) = torch.autograd.grad(g.sum(), x, retain_graph=True)
        close(got, wanted, name=f"gradient, {name} backward through the same graph")


@exercise("checkpointed")
def test_checkpointed_twice_differentiable(device, rng):
    x = rng.normal(4, dtype=torch.float64).requires_grad_()
    assert gradgradcheck(lambda x: day04.checkpointed(lambda x: x.sin() * x.exp(), x), (x,))


@exercise("checkpointed")
def test_checkpointed_memory_after_the_forward(device, rng):
    n, blocks = 10_000, 5
    x = rng.normal(n).requires_grad_()

    def forward(run):
        y = x
        for _ in range(blocks):
            y = run(long_way, y)
        return y

    _, plain = watch(forward, lambda f, x: f(x))
    _, seen = watch(forward, day04.checkpointed)
    ceiling = (blocks + 1) * 4 * n
    assert seen.live_bytes <= ceiling < plain.live_bytes, (
        f"{seen.live_bytes} bytes are alive after {blocks} blocks, whose inputs and result take "
        f"{4 * n} each; without checkpoints {plain.live_bytes}"
    )


@exercise("checkpointed")
def test_checkpointed_memory_of_a_step(device, rng):
    n, blocks = 10_000, 8
    x = rng.normal(n).requires_grad_()

    def step(run):
        y = x
        for _ in range(blocks):
            y = run(long_way, y)
        return torch.autograd.grad(y.sum(), x)[0]

    _, plain = watch(step, lambda f, x: f(x))
    _, one = watch(lambda: torch.autograd.grad(long_way(x).sum(), x)[0])
    _, seen = watch(step, day04.checkpointed)
    ceiling = one.peak_bytes + (blocks + 6) * 4 * n
    assert seen.peak_bytes <= ceiling < plain.peak_bytes, (
        f"{seen.peak_bytes} bytes at the peak of a step of {blocks} blocks; one block takes "
        f"{one.peak_bytes}, all without checkpoints {plain.peak_bytes}: is what was made again "
        "kept longer than it is needed?"
    )


@exercise("checkpointed")
def test_checkpointed_memory_after_a_retained_backward(device, rng):
    n = 10_000
    x = rng.normal(n).requires_grad_()
    y = day04.checkpointed(long_way, x).sum()
    _, seen = watch(torch.autograd.grad, y, x, retain_graph=True)
    assert seen.live_bytes <= 2 * 4 * n, (
        f"{seen.live_bytes} bytes are alive after the backward, whose result takes {4 * n}: what "
        "was made again is kept although it has been used"
    )


@exercise("checkpointed")
def test_checkpointed_memory_after_half_a_backward(device, rng):
    n = 10_000
    x, weight = rng.normal(n).requires_grad_(), rng.normal(n).requires_grad_()

    def step():  # the gradient of x, and with it most of what is made again, is not asked for
        y = day04.checkpointed(lambda x: long_way(x) * weight, x)
        return torch.autograd.grad(y.sum(), weight)[0]

    got, seen = watch(step)
    close(got, long_way(x.detach()))
    assert seen.live_bytes <= 2 * 4 * n, (
        f"{seen.live_bytes} bytes are alive, though the graph is gone and the gradient takes "
        f"{4 * n}: does what was made again hold the graph that it was made with, in a circle?"
    )


@exercise("checkpointed")
def test_checkpointed_random_numbers(device, rng):
    # Away from π/2, where the slope of asin(sin(x)) is 0 / 0.
    x = rng.uniform(400, low=0.2, high=1.4).requires_grad_()
    torch.manual_seed(rng.seed % 2**31)
    wanted = nn.functional.dropout(x, 0.5).detach()
    after = torch.rand(3, device=device)
    torch.manual_seed(rng.seed % 2**31)
    y = day04.checkpointed(lambda x: nn.functional.dropout(x.sin().asin(), 0.5), x)
    kept = y.detach() != 0
    assert torch.equal(kept, wanted != 0), "f drew other random numbers than it would by itself"
    torch.rand(5, device=device)  # the program goes on
    stand = torch.get_rng_state()
    (grad,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(grad != 0, kept), "the second run of f dropped other elements than the first"
    assert torch.equal(torch.get_rng_state(), stand), (
        "the second run disturbed the random numbers of the program"
    )
    torch.manual_seed(rng.seed % 2**31)
    day04.checkpointed(lambda x: nn.functional.dropout(x, 0.5), x)
    assert torch.equal(torch.rand(3, device=device), after), (
        "after checkpointed(f, x) other random numbers come than after f(x)"
    )


@exercise("checkpointed")
def test_checkpointed_inside_no_grad(device, rng):
    x, f = rng.normal(5).requires_grad_(), ByHand(long_way)
    with torch.no_grad():
        y = day04.checkpointed(f, x)
    close(y, long_way(x).detach())
    assert not y.requires_grad and f.calls == 1


@exercise("checkpointed")
def test_checkpointed_lets_go(device, rng):
    x = rng.normal(5).requires_grad_()
    assert dies(lambda: day04.checkpointed(long_way, x)), "the result is never freed: a cycle"


# find_leaked_graph ---------------------------------------------------------------------------


def check_leaks(kept, *wanted):
    found = day04.find_leaked_graph(kept)
    assert [leak.path for leak in found] == [w[0] for w in wanted], (
        f"graphs hang on {[w[0] for w in wanted]}, found on {[leak.path for leak in found]}"
    )
    for leak, (path, nodes, size) in zip(found, wanted, strict=True):
        assert isinstance(leak, day04.Leak)
        assert leak.nodes == nodes, f"{path}: {nodes} nodes, counted as {leak.nodes}"
        assert leak.bytes == size, f"{path}: {size} bytes, counted as {leak.bytes}"


@exercise("find_leaked_graph")
def test_leak_paths(device, rng):
    w = rng.normal(4).requires_grad_()
    y = w.exp().sum()  # Sum, Exp, AccumulateGrad; exp saves its result: 16 bytes
    kept = {
        "step": 3,
        "losses": [y.detach(), y, (1.5, {"deep": y})],
        "weights": [w, w.detach(), torch.ones(2, device=device)],
        7: (None, "text", w + 1),
    }
    check_leaks(
        kept,
        (("losses", 1), 3, 16),
        (("losses", 2, 1, "deep"), 3, 16),
        ((7, 2), 2, 0),
    )
    check_leaks(y, ((), 3, 16))
    check_leaks([w, y.item(), y.detach()])


@exercise("find_leaked_graph")
def test_leak_of_a_layer(device, rng):
    x, w = rng.normal(5, 4), rng.normal(4, 3).requires_grad_()
    h = x @ w  # saves x, 80 bytes; w is a leaf
    t = h.tanh()  # saves t, 60 bytes
    loss = t.square().sum()  # saves t again
    check_leaks({"loss": loss, "t": t}, (("loss",), 5, 140), (("t",), 3, 80))


@exercise("find_leaked_graph")
def test_leak_counts_storages_once_and_whole(device, rng):
    w = rng.normal(8).requires_grad_()
    y = w.exp()  # 32 bytes
    z = (y[:2].sin() + y[3:5].cos()).sum()  # save views of y: whole, and once
    # Sum, Add, Sin, Cos, two Slices, Exp, AccumulateGrad
    check_leaks([z], ((0,), 8, 32))
    square = w * w * w  # Mul saves w, a leaf, and w * w, 32 bytes
    check_leaks([square], ((0,), 3, 32))


@exercise("find_leaked_graph")
def test_leak_of_a_shared_graph(device, monkeypatch):
    y = torch.ones(4, device=device, requires_grad=True)
    for _ in range(40):
        y = y + y  # 2⁴⁰ paths, 40 nodes
    visits, original = itertools.count(1), day04._saved

    def counted(node):
        assert next(visits) <= 1000, "a graph of 41 nodes took more than 1000 visits"
        return original(node)

    monkeypatch.setattr(day04, "_saved", counted)
    check_leaks([y], ((0,), 41, 0))


@exercise("find_leaked_graph")
def test_leak_that_grows(device, rng):
    w, total, sizes = rng.normal(4).requires_grad_(), 0.0, []
    for _ in range(3):
        total = total + w.exp().sum()
        sizes.append(day04.find_leaked_graph([total])[0])
    assert [s.nodes for s in sizes] == [4, 7, 10], f"nodes of a growing sum: {sizes}"
    assert [s.bytes for s in sizes] == [16, 32, 48], f"bytes of a growing sum: {sizes}"


@exercise("find_leaked_graph")
def test_leak_of_a_deep_graph(device):
    y = torch.ones(1, device=device, requires_grad=True)
    for _ in range(5000):
        y = y + 1
    check_leaks([y], ((0,), 5001, 0))


@exercise("find_leaked_graph")
def test_leak_after_backward(device, rng):
    w = rng.normal(4).requires_grad_()
    loss = w.exp().sum()
    loss.backward()
    check_leaks([loss], ((0,), 3, 0))  # what was saved is freed, the nodes are not


@exercise("find_leaked_graph")
def test_leak_of_several_inputs(device, rng):
    a, b, x = rng.normal(4).requires_grad_(), rng.normal(4).requires_grad_(), rng.normal(4)
    y = torch.stack([a * x, b * x]).logsumexp(0)
    # saved: x, 16; the stack of products, 32. y saves itself. Two leaves, two products, stack.
    check_leaks({"y": y}, (("y",), 6, 48))
