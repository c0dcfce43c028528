"""Day 11: optimisers that take the same 50 steps as torch.optim, and can be saved in the middle."""

import copy
import math
import sys
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from harness.testing import close, exercise, layouts, shapes, watch
from tracks.pytorch import day11

FUSED = ["_fused_sgd", "_fused_adam", "_fused_adamw"]
SHAPES = [(3, 4), (5,), (), (0, 2), (2, 1, 3), (4, 2)]
STEPS = 50


def parameters(rng, dtype=torch.float64):
    """Parameters of all kinds of shapes; the last one is stored transposed."""
    made = [nn.Parameter(rng.normal(*shape, dtype=dtype).clone()) for shape in SHAPES]
    made[-1] = nn.Parameter(made[-1].detach().T.contiguous().T)
    return made


def twins(of):
    """Copies with the same values and the same strides."""
    return [nn.Parameter(p.detach().clone()) for p in of]


def gradients(rng, steps, dtype=torch.float64):
    """A gradient for each parameter and step: of very different sizes, with zeros among them."""
    sizes = [10.0 ** (-9 + 2 * i) for i in range(len(SHAPES))]
    out = []
    for _ in range(steps):
        step = [
            rng.normal(*shape, std=s, dtype=dtype) for shape, s in zip(SHAPES, sizes, strict=True)
        ]
        out.append([g * (rng.uniform(*g.shape, dtype=dtype) > 0.2) for g in step])
    return out


def feed(params, grads):
    for p, g in zip(params, grads, strict=True):
        p.grad = None if g is None else g.clone()


def same(mine, wanted, what, atol=1e-6):
    """``mine`` and ``wanted`` are lists of parameters: equal to 1e-6, or say where."""
    for p, q in zip(mine, wanted, strict=True):
        error = (p.detach() - q.detach()).abs().max().item() if p.numel() else 0.0
        assert error <= atol * max(1.0, q.detach().abs().max().item() if q.numel() else 0.0), (
            f"{what}: the parameter of shape {tuple(p.shape)} is off by {error:.3g}"
        )


def race(cls, oracle, settings, rng, steps=STEPS):
    """``steps`` steps beside torch's optimiser. → mine, theirs and both lists of parameters."""
    params = parameters(rng)
    others = twins(params)
    mine, theirs = cls(params, **settings), oracle(others, **settings)
    assert_own(mine)
    for number, grads in enumerate(gradients(rng, steps), 1):
        feed(params, grads)
        feed(others, grads)
        versions = [(p, p.data_ptr()) for p in params]
        assert mine.step() is None, "step() without a closure returns None"
        theirs.step()
        for p, address in versions:
            assert p.data_ptr() == address, "a parameter has other memory now: write it in place"
        for p, g in zip(params, grads, strict=True):
            assert torch.equal(p.grad, g), f"step {number} changed a gradient"
        same(params, others, f"{cls.__name__}({settings}) after step {number} of {steps}")
    return mine, theirs, params, others


def assert_own(optimizer):
    assert isinstance(optimizer, torch.optim.Optimizer), (
        f"{type(optimizer).__name__} is no torch.optim.Optimizer: schedulers will refuse it"
    )
    for base in type(optimizer).__mro__:
        library = base.__module__.startswith("torch.") and base is not torch.optim.Optimizer
        assert not library, f"{type(optimizer).__name__} is built on torch's own {base.__name__}"


def refuse_torch(monkeypatch):
    """Whoever makes or runs one of torch's own optimisers from now on is told."""

    def refused(*args, **kwargs):
        raise AssertionError("torch's own optimiser does the work here: write the update yourself")

    for name in ("SGD", "Adam", "AdamW"):
        cls = getattr(torch.optim, name)
        monkeypatch.setattr(cls, "__init__", refused)
        monkeypatch.setattr(cls, "step", refused)
    for name in ("sgd", "adam"):  # the functions beneath the classes
        module = sys.modules[f"torch.optim.{name}"]
        for function in (name, f"_single_tensor_{name}", f"_multi_tensor_{name}"):
            monkeypatch.setattr(module, function, refused, raising=False)


def runs_alone(cls, monkeypatch, rng):
    refuse_torch(monkeypatch)
    params = parameters(rng)
    before = twins(params)
    optimizer = cls(params, lr=0.1)
    feed(params, gradients(rng, 1)[0])
    optimizer.step()
    assert not torch.equal(params[0], before[0]), "a step changed nothing"


def check_groups(cls, oracle, groups, rng):
    """Groups with different settings, changed between the steps, parameters without gradients."""
    params = parameters(rng)
    others = twins(params)
    three = [(0, 2), (2, 4), (4, 6)]

    def made(optimiser, of):
        return optimiser(
            [{"params": of[a:b], **g} for (a, b), g in zip(three, groups, strict=True)], lr=0.02
        )

    mine, theirs = made(cls, params), made(oracle, others)
    for number, grads in enumerate(gradients(rng, STEPS), 1):
        grads = list(grads)
        if number <= 5:
            grads[1] = None  # starts late
        if number % 3 == 0:
            grads[2] = None  # rests now and then
        grads[3] = None if number > 1 else grads[3]
        feed(params, grads)
        feed(others, grads)
        if number == 20:
            for optimizer in (mine, theirs):
                optimizer.param_groups[0]["lr"] = 0.3
                optimizer.param_groups[2]["weight_decay"] = 0.4
        mine.step()
        theirs.step()
        if number <= 5:
            assert not mine.state.get(params[1]), "a parameter that had no gradient has a state"
        same(params, others, f"{cls.__name__} with three groups after step {number}")


def check_resume(cls, oracle, settings, rng):
    """Saved after 20 steps and loaded into a fresh optimiser: nothing must differ."""
    params = parameters(rng)
    mine = cls([{"params": params[:3]}, {"params": params[3:], "lr": 0.007}], **settings)
    steps = gradients(rng, 40)
    for grads in steps[:20]:
        feed(params, grads)
        mine.step()
    saved = copy.deepcopy(mine.state_dict())
    assert len(saved["state"]) == len(params), (
        f"the state_dict holds the state of {len(saved['state'])} of {len(params)} parameters"
    )
    copies, exchanged = twins(params), twins(params)
    fresh = cls([{"params": copies[:3]}, {"params": copies[3:]}])
    fresh.load_state_dict(saved)
    theirs = oracle([{"params": exchanged[:3]}, {"params": exchanged[3:]}]) if oracle else None
    if theirs is not None:
        theirs.load_state_dict(copy.deepcopy(saved))
    for grads in steps[20:]:
        for many, optimizer in ((params, mine), (copies, fresh), (exchanged, theirs)):
            if optimizer is not None:
                feed(many, grads)
                optimizer.step()
    for p, q in zip(params, copies, strict=True):
        assert torch.equal(p, q), (
            f"saved after 20 steps and loaded into a fresh {cls.__name__}, 20 more steps lead to "
            f"other values: something that counts is not in state or param_groups"
        )
    if theirs is not None:
        same(exchanged, params, f"torch's {oracle.__name__} going on from your state_dict")


def check_takes_over(cls, oracle, settings, rng):
    """The other way round: from torch's state_dict."""
    params = parameters(rng)
    theirs = oracle(params, **settings)
    steps = gradients(rng, 30)
    for grads in steps[:10]:
        feed(params, grads)
        theirs.step()
    copies = twins(params)
    mine = cls(copies)
    mine.load_state_dict(copy.deepcopy(theirs.state_dict()))
    for grads in steps[10:]:
        for many, optimizer in ((params, theirs), (copies, mine)):
            feed(many, grads)
            optimizer.step()
    same(copies, params, f"{cls.__name__} going on from the state of torch.optim", 1e-9)


def check_closure(cls):
    """The closure runs with gradients on, before the update, once."""
    p = nn.Parameter(torch.tensor([3.0], dtype=torch.float64))
    optimizer = cls([p], lr=0.1)
    calls = []

    def closure():
        calls.append(p.item())
        optimizer.zero_grad()
        loss = p.square().sum()
        loss.backward()
        return loss

    loss = optimizer.step(closure)
    assert calls == [3.0], f"the closure saw p = {calls}, once 3.0 is expected"
    assert loss is not None and loss.item() == 9.0, f"step(closure) returned {loss}, not the loss"
    assert p.item() < 3.0, "p did not follow the gradient that the closure made"


def check_memory(cls, buffers, settings, device):
    """What is kept in the state, and what a later step takes for a while, in parameters' sizes."""
    p = nn.Parameter(torch.ones(128, 256, device=device))
    size = p.numel() * p.element_size()
    optimizer = cls([p], lr=0.1, **settings)
    p.grad = torch.ones_like(p)
    optimizer.step()
    kept = sum(t.numel() * t.element_size() for t in optimizer.state[p].values() if big(t))
    assert kept == buffers * size, (
        f"the state holds {kept / size:.1f} times the memory of the parameter, not {buffers}"
    )
    held = {name: t.data_ptr() for name, t in optimizer.state[p].items() if big(t)}
    for name, t in optimizer.state[p].items():
        assert not (big(t) and t.requires_grad), f"{name} is part of a graph"
    _, seen = watch(optimizer.step)
    now = {name: t.data_ptr() for name, t in optimizer.state[p].items() if big(t)}
    assert now == held, "a later step made new buffers instead of writing into the old ones"
    assert seen.live_bytes < size / 4, (
        f"{seen.live_bytes} bytes more are held after a second step: nothing new should be kept"
    )
    assert seen.peak_bytes <= 2.1 * size, (
        f"at its peak a step needs {seen.peak_bytes / size:.1f} times the parameter's memory"
    )
    assert not seen.synchronisations, f"a step waits for the device: {seen.synchronisations}"


def big(t):
    return isinstance(t, torch.Tensor) and t.numel() > 1


def check_state(cls, settings, wanted, device):
    """Names, shapes and dtypes of the state."""
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        p = nn.Parameter(torch.ones(3, 2, dtype=dtype, device=device))
        optimizer = cls([p], lr=0.1, **settings)
        assert not optimizer.state, "there is a state before the first step"
        p.grad = torch.full_like(p, 0.5)
        optimizer.step()
        found = sorted(optimizer.state[p])
        assert found == wanted, f"the state of a parameter holds {found}, not {wanted}"
        assert p.dtype == dtype and (p < 1).all(), f"a step on {dtype} ends at {p.tolist()}"
        for name, t in optimizer.state[p].items():
            if name != "step":
                shape, kind = tuple(t.shape), t.dtype
                assert (shape, kind) == ((3, 2), dtype), f"{name} is {kind} {shape} for {dtype}"


def check_refusals(cls, wrong):
    p = nn.Parameter(torch.zeros(1))
    for settings in wrong:
        with pytest.raises(ValueError):
            cls([p], **settings)
            pytest.fail(f"{cls.__name__}({settings}) was made, although that cannot work")


def sparse_problem(dtype=torch.float64):
    table = nn.Embedding(6, 2, sparse=True, dtype=dtype)
    table(torch.tensor([1, 4, 1])).sum().backward()
    assert table.weight.grad.is_sparse
    return table.weight


def check_no_sparse(cls, settings):
    p = sparse_problem()
    before = p.detach().clone()
    optimizer = cls([p], lr=0.1, **settings)
    with pytest.raises(RuntimeError) as refusal:
        optimizer.step()
        pytest.fail(f"{cls.__name__}({settings}) took a step with a sparse gradient")
    message = str(refusal.value)
    assert "sparse" in message, f"a sparse gradient was refused without the word: {message!r}"
    assert torch.equal(p, before), "the parameter changed before the sparse gradient was refused"
    assert not optimizer.state.get(p), "a state was made for a parameter that is refused"


# SGD -----------------------------------------------------------------------------------------

SGD_SETTINGS = [
    {"lr": 0.1},
    {"lr": 0.1, "weight_decay": 0.3},
    {"lr": 0.03, "momentum": 0.9},
    {"lr": 0.03, "momentum": 0.9, "dampening": 0.4},
    {"lr": 0.03, "momentum": 0.8, "nesterov": True},
    {"lr": 0.03, "momentum": 0.8, "weight_decay": 0.2, "nesterov": True},
    {"lr": 0.03, "momentum": 0.9, "weight_decay": 0.2, "dampening": 0.9},
]


@exercise("SGD", ban=FUSED)
@pytest.mark.parametrize("settings", SGD_SETTINGS, ids=lambda s: ",".join(s))
def test_sgd_takes_the_steps_of_torch(settings, device, rng):
    race(day11.SGD, torch.optim.SGD, settings, rng)


@exercise("SGD", ban=FUSED)
def test_sgd_is_written_by_hand(monkeypatch, device, rng):
    runs_alone(day11.SGD, monkeypatch, rng)


@exercise("SGD")
def test_sgd_groups(device, rng):
    groups = [{"momentum": 0.9}, {"momentum": 0.5, "nesterov": True, "lr": 0.1},
              {"weight_decay": 0.1}]  # fmt: skip
    check_groups(day11.SGD, torch.optim.SGD, groups, rng)


@exercise("SGD")
def test_sgd_saved_in_the_middle(device, rng):
    settings = {"lr": 0.05, "momentum": 0.9, "dampening": 0.2, "weight_decay": 0.1}
    check_resume(day11.SGD, torch.optim.SGD, settings, rng)
    check_takes_over(day11.SGD, torch.optim.SGD, settings, rng)


@exercise("SGD")
def test_sgd_state(device):
    check_state(day11.SGD, {"momentum": 0.9}, ["momentum_buffer"], device)
    check_state(day11.SGD, {"weight_decay": 0.1}, [], device)
    check_memory(day11.SGD, 1, {"momentum": 0.9}, device)
    check_memory(day11.SGD, 0, {}, device)


@exercise("SGD")
def test_sgd_closure():
    check_closure(day11.SGD)


@exercise("SGD")
def test_sgd_momentum_belongs_to_itself(device, rng):
    """The buffer is a copy: a gradient that is overwritten later must not reach it."""
    p = nn.Parameter(rng.normal(4, dtype=torch.float64).clone())
    optimizer = day11.SGD([p], lr=0.1, momentum=0.9)
    p.grad = torch.ones_like(p)
    optimizer.step()
    p.grad.zero_()  # as optimizer.zero_grad(set_to_none=False) does
    buffer = optimizer.state[p]["momentum_buffer"]
    assert (buffer == 1).all(), f"zeroing the gradient changed the momentum to {buffer.tolist()}"


@exercise("SGD")
def test_sgd_sparse_gradients(device):
    p = sparse_problem()
    wanted = p.detach().clone()
    wanted[1] -= 0.1 * 2
    wanted[4] -= 0.1 * 1
    optimizer = day11.SGD([p], lr=0.1)
    grad = p.grad
    optimizer.step()
    close(p.detach(), wanted, name="the table after a step with a sparse gradient")
    assert p.grad is grad and grad.is_sparse, "the sparse gradient was replaced"
    check_no_sparse(day11.SGD, {"momentum": 0.9})
    check_no_sparse(day11.SGD, {"weight_decay": 0.1})


@exercise("SGD")
def test_sgd_with_a_sparse_gradient_touches_its_rows_only(device):
    table = nn.Embedding(20_000, 8, sparse=True)
    table(torch.tensor([3])).sum().backward()
    _, seen = watch(day11.SGD(table.parameters(), lr=0.1).step)
    size = table.weight.numel() * 4
    assert seen.peak_bytes < size / 4, (
        f"one row has a gradient, and the step takes {seen.peak_bytes} bytes, as if all had"
    )


# Adam ----------------------------------------------------------------------------------------

ADAM_SETTINGS = [
    {"lr": 0.01},
    {"lr": 0.01, "betas": (0.5, 0.9)},
    {"lr": 0.1, "betas": (0.0, 0.99), "eps": 1e-4},
    {"lr": 0.01, "eps": 1e-2, "betas": (0.9, 0.99)},
    {"lr": 0.01, "weight_decay": 0.3},
    {"lr": 0.02, "betas": (0.8, 0.0)},
]


@exercise("Adam", ban=FUSED)
@pytest.mark.parametrize("settings", ADAM_SETTINGS, ids=lambda s: ",".join(s))
def test_adam_takes_the_steps_of_torch(settings, device, rng):
    race(day11.Adam, torch.optim.Adam, settings, rng)


@exercise("Adam", ban=FUSED)
def test_adam_is_written_by_hand(monkeypatch, device, rng):
    runs_alone(day11.Adam, monkeypatch, rng)


@exercise("Adam")
def test_adam_groups(device, rng):
    groups = [{"betas": (0.5, 0.9)}, {"eps": 1e-3, "lr": 0.1}, {"weight_decay": 0.1}]
    check_groups(day11.Adam, torch.optim.Adam, groups, rng)


@exercise("Adam")
def test_adam_saved_in_the_middle(device, rng):
    settings = {"lr": 0.05, "betas": (0.8, 0.95), "eps": 1e-5, "weight_decay": 0.1}
    check_resume(day11.Adam, torch.optim.Adam, settings, rng)


@exercise("Adam")
def test_adam_takes_over_from_torch(device, rng):
    check_takes_over(day11.Adam, torch.optim.Adam, {"lr": 0.05}, rng)


@exercise("Adam")
def test_adam_state(device):
    check_state(day11.Adam, {}, ["exp_avg", "exp_avg_sq", "step"], device)
    check_memory(day11.Adam, 2, {}, device)


@exercise("Adam")
def test_adam_counts_in_whole_numbers(device, rng):
    p = nn.Parameter(rng.normal(3).clone())
    optimizer = day11.Adam([p])
    for _ in range(3):
        p.grad = torch.ones_like(p)
        optimizer.step()
    step = optimizer.state[p]["step"]
    assert type(step) is int and step == 3, f"after 3 steps, step is {step!r}"


@exercise("Adam")
def test_adam_closure():
    check_closure(day11.Adam)


@exercise("Adam")
def test_adam_with_gradients_of_any_size(device):
    """Float32: the first step is lr · g / (|g| + eps) for gradients from 1e-12 to 1e12."""
    sizes = 10.0 ** torch.arange(-12.0, 13.0, dtype=torch.float64, device=device)
    p = nn.Parameter(torch.zeros_like(sizes, dtype=torch.float32))
    p.grad = sizes.float()
    day11.Adam([p], lr=0.25).step()
    close(p.detach(), -0.25 * sizes / (sizes + 1e-8), dtype=torch.float32, terms=16,
          name="the first step for gradients from 1e-12 to 1e12")  # fmt: skip


@exercise("Adam")
def test_adam_decayed_leaves_the_parameter_alone(device, rng):
    p = nn.Parameter(rng.normal(3, 2, dtype=torch.float64).clone())
    p.grad = rng.normal(3, 2, dtype=torch.float64)
    before = p.detach().clone()
    optimizer = day11.Adam([p], lr=0.5, weight_decay=0.25)
    with torch.no_grad():
        found = optimizer.decayed(p, p.grad, optimizer.param_groups[0])
    close(found, p.grad + 0.25 * before, name="decayed(p, p.grad, group)")
    assert torch.equal(p, before), "the L2 penalty belongs to the gradient; p itself changed"


@exercise("Adam")
def test_adam_refuses_sparse_gradients():
    check_no_sparse(day11.Adam, {})


# AdamW ---------------------------------------------------------------------------------------

ADAMW_SETTINGS = [
    {"lr": 0.01},
    {"lr": 0.1, "weight_decay": 0.3},
    {"lr": 0.01, "weight_decay": 0.0, "betas": (0.5, 0.9), "eps": 1e-3},
    {"lr": 0.5, "weight_decay": 1.5},
]


@exercise("AdamW", ban=FUSED)
@pytest.mark.parametrize("settings", ADAMW_SETTINGS, ids=lambda s: ",".join(s))
def test_adamw_takes_the_steps_of_torch(settings, device, rng):
    race(day11.AdamW, torch.optim.AdamW, settings, rng)


@exercise("AdamW", ban=FUSED)
def test_adamw_is_written_by_hand(monkeypatch, device, rng):
    runs_alone(day11.AdamW, monkeypatch, rng)


@exercise("AdamW")
def test_adamw_groups(device, rng):
    groups = [{"weight_decay": 0.5}, {"weight_decay": 0.0, "lr": 0.1}, {"betas": (0.5, 0.9)}]
    check_groups(day11.AdamW, torch.optim.AdamW, groups, rng)


@exercise("AdamW")
def test_adamw_saved_in_the_middle(device, rng):
    settings = {"lr": 0.05, "betas": (0.8, 0.95), "eps": 1e-5, "weight_decay": 0.1}
    check_resume(day11.AdamW, torch.optim.AdamW, settings, rng)


@exercise("AdamW")
def test_adamw_decay_does_not_depend_on_the_gradient(device):
    """With the gradients at rest, p shrinks by 1 - lr · weight_decay a step, and only so."""
    p = nn.Parameter(torch.tensor([1.0, -2.0, 50.0], dtype=torch.float64, device=device))
    before = p.detach().clone()
    optimizer = day11.AdamW([p], lr=0.1, weight_decay=0.5)
    for _ in range(10):
        p.grad = torch.zeros_like(p)
        optimizer.step()
    close(p.detach(), before * 0.95**10, terms=10, name="p after 10 steps with gradient 0")
    p.grad = None
    resting = p.detach().clone()
    optimizer.step()
    assert torch.equal(p, resting), "a parameter without a gradient decayed all the same"


@exercise("AdamW")
def test_adamw_memory(device):
    check_memory(day11.AdamW, 2, {"weight_decay": 0.1}, device)


class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.0))
        self.embed = nn.Embedding(7, 4)
        self.conv = nn.Conv1d(4, 4, 3)
        self.norm = nn.LayerNorm(4)
        self.frozen = nn.Linear(4, 4).requires_grad_(False)
        self.head = nn.Linear(4, 7)
        self.head.weight = self.embed.weight


def names_of(module, group):
    known = {id(p): name for name, p in module.named_parameters()}
    return [known.get(id(p), "?") for p in group["params"]]


@exercise("AdamW")
def test_adamw_for_module():
    module = Shared()
    optimizer = day11.AdamW.for_module(module, 0.02, (0.8, 0.9), 1e-6, 0.3)
    assert type(optimizer) is day11.AdamW, f"for_module made a {type(optimizer).__name__}"
    assert len(optimizer.param_groups) == 2, f"{len(optimizer.param_groups)} groups, not 2"
    decayed, spared = optimizer.param_groups
    wanted = ["embed.weight", "conv.weight"]
    assert names_of(module, decayed) == wanted, f"group 0 holds {names_of(module, decayed)}"
    wanted = ["scale", "conv.bias", "norm.weight", "norm.bias", "head.bias"]
    assert names_of(module, spared) == wanted, f"group 1 holds {names_of(module, spared)}"
    for number, (group, decay) in enumerate(((decayed, 0.3), (spared, 0.0))):
        found = (group["lr"], group["betas"], group["eps"], group["weight_decay"])
        assert found == (0.02, (0.8, 0.9), 1e-6, decay), (
            f"(lr, betas, eps, weight_decay) of group {number} are {found}"
        )


@exercise("AdamW")
def test_adamw_for_module_defaults_and_subclasses():
    class Mine(day11.AdamW):
        pass

    optimizer = Mine.for_module(nn.LayerNorm(3))
    assert type(optimizer) is Mine, "for_module of a subclass makes one of the subclass"
    decayed, spared = optimizer.param_groups
    found = ([len(g["params"]) for g in (decayed, spared)], decayed["weight_decay"])
    assert found == ([0, 2], 0.01), f"a LayerNorm alone: sizes of the groups, decay: {found}"
    assert (spared["lr"], spared["weight_decay"]) == (1e-3, 0.0)
    for module in (nn.Linear(2, 2).requires_grad_(False), nn.ReLU()):
        with pytest.raises(ValueError):
            day11.AdamW.for_module(module)
            pytest.fail(f"nothing in {module} requires a gradient, but an AdamW was made of it")


# Lion ----------------------------------------------------------------------------------------


def lion_by_hand(p, m, g, lr, betas, decay):
    """Algorithm 2 of the paper, on float64 numbers. → p, m"""
    c = betas[0] * m + (1 - betas[0]) * g
    sign = torch.where(c > 0, 1.0, torch.where(c < 0, -1.0, 0.0)).double()
    return p - lr * (sign + decay * p), betas[1] * m + (1 - betas[1]) * g


LION_SETTINGS = [
    {},
    {"lr": 0.01, "weight_decay": 0.3},
    {"lr": 0.1, "betas": (0.5, 0.8)},
    {"lr": 0.1, "betas": (0.95, 0.98), "weight_decay": 1.0},
    {"lr": 0.1, "betas": (0.0, 0.0)},
]


@exercise("Lion")
@pytest.mark.parametrize("settings", LION_SETTINGS, ids=lambda s: ",".join(s) or "defaults")
def test_lion_takes_the_steps_of_the_paper(settings, device, rng):
    params = parameters(rng)
    values = [p.detach().clone() for p in params]
    means = [torch.zeros_like(p) for p in values]
    full = {"lr": 1e-4, "betas": (0.9, 0.99), "weight_decay": 0.0, **settings}
    mine = day11.Lion(params, **settings)
    assert_own(mine)
    for number, grads in enumerate(gradients(rng, STEPS), 1):
        feed(params, grads)
        assert mine.step() is None
        for i, g in enumerate(grads):
            assert torch.equal(params[i].grad, g), f"step {number} changed a gradient"
            values[i], means[i] = lion_by_hand(values[i], means[i], g, *full.values())
        same(params, values, f"Lion({settings}) after step {number} of {STEPS}", 1e-9)


@exercise("Lion")
def test_lion_by_position_and_its_group():
    p = nn.Parameter(torch.zeros(1))
    group = day11.Lion([p], 0.2, (0.3, 0.4), 0.5).param_groups[0]
    found = {name: value for name, value in group.items() if name != "params"}
    wanted = {"lr": 0.2, "betas": (0.3, 0.4), "weight_decay": 0.5}
    assert found == wanted, f"Lion([p], 0.2, (0.3, 0.4), 0.5) has the group {found}"


@exercise("Lion")
def test_lion_groups(device, rng):
    params = parameters(rng)
    values = [p.detach().clone() for p in params]
    means = [torch.zeros_like(p) for p in values]
    groups = [
        {"lr": 0.1, "betas": (0.9, 0.99), "weight_decay": 0.0},
        {"lr": 0.01, "betas": (0.5, 0.8), "weight_decay": 0.0},
        {"lr": 0.01, "betas": (0.9, 0.99), "weight_decay": 2.0},
    ]
    mine = day11.Lion(
        [{"params": params[2 * i : 2 * i + 2], **group} for i, group in enumerate(groups)]
    )
    for number, grads in enumerate(gradients(rng, 30), 1):
        grads = list(grads)
        if number < 5:
            grads[1] = None
        if number % 3 == 0:
            grads[2] = grads[5] = None
        if number == 15:
            mine.param_groups[0]["lr"] = groups[0]["lr"] = 0.5
        feed(params, grads)
        mine.step()
        for i, g in enumerate(grads):
            if g is not None:
                group = groups[i // 2].values()
                values[i], means[i] = lion_by_hand(values[i], means[i], g, *group)
        if number < 5:
            assert not mine.state.get(params[1]), "a parameter that had no gradient has a state"
        same(params, values, f"Lion with three groups after step {number}", 1e-9)


@exercise("Lion")
def test_lion_saved_in_the_middle(device, rng):
    settings = {"lr": 0.05, "betas": (0.8, 0.95), "weight_decay": 0.1}
    check_resume(day11.Lion, None, settings, rng)


@exercise("Lion")
def test_lion_keeps_half_of_what_adam_keeps(device):
    check_state(day11.Lion, {}, ["exp_avg"], device)
    check_memory(day11.Lion, 1, {"weight_decay": 0.1}, device)


@exercise("Lion")
def test_lion_closure():
    check_closure(day11.Lion)


@exercise("Lion")
def test_lion_does_not_move_for_nothing(device):
    p = nn.Parameter(torch.ones(3, dtype=torch.float64, device=device))
    p.grad = torch.tensor([0.0, 1e-300, -1e300], dtype=torch.float64, device=device)
    day11.Lion([p], lr=0.5).step()
    found = p.tolist()
    assert found == [1.0, 0.5, 1.5], f"gradients 0, 1e-300, -1e300 lead from 1 to {found}"


@exercise("Lion")
def test_lion_refuses_what_cannot_work():
    check_refusals(
        day11.Lion,
        [{"lr": -1e-9}, {"betas": (-0.1, 0.9)}, {"betas": (1.0, 0.9)}, {"betas": (0.9, 1.0)},
         {"betas": (0.9, -0.1)}, {"weight_decay": -0.1}],
    )  # fmt: skip
    day11.Lion([nn.Parameter(torch.zeros(1))], lr=0.0, betas=(0.0, 0.0), weight_decay=0.0)
    check_no_sparse(day11.Lion, {})


@exercise("Lion")
def test_lion_reads_handwriting(device):
    """With a learning rate that falls to 0, on sklearn's digits: 94 % of 360 unseen ones."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = torch.randperm(1797, generator=torch.Generator().manual_seed(0))
    images = (torch.tensor(digits.data, dtype=torch.float32)[order] / 16).to(device)
    classes = torch.tensor(digits.target)[order].to(device)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)).to(device)
    optimizer = day11.Lion(model.parameters(), lr=1e-2, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / 300)
    for _ in range(300):
        part = torch.randint(1437, (128,)).to(device)
        optimizer.zero_grad()
        F.cross_entropy(model(images[part]), classes[part]).backward()
        optimizer.step()
        schedule.step()
    right = (model(images[1437:]).argmax(-1) == classes[1437:]).float().mean().item()
    assert right >= 0.94, f"{right:.1%} of 360 unseen digits are read right: 94 % are wanted"


# warmup_cosine -------------------------------------------------------------------------------


@exercise("warmup_cosine")
@shapes("warmup, total", (0, 1), (0, 10), (1, 2), (3, 10), (10, 10), (0, 0), (100, 1000))
def test_warmup_cosine_values(warmup, total):
    for floor in (0.0, 0.1, 1.0):
        for step in range(0, total + 3, max(1, total // 60)):
            if step < warmup:
                wanted = (step + 1) / (warmup + 1)
            elif step >= total:
                wanted = floor
            else:  # cos(2a) = 1 - 2 sin(a)²
                half = math.pi * (step - warmup) / (total - warmup) / 2
                wanted = 1 - (1 - floor) * math.sin(half) ** 2
            found = day11.warmup_cosine(step, warmup, total, floor)
            assert math.isclose(found, wanted, rel_tol=1e-12, abs_tol=1e-12), (
                f"warmup_cosine({step}, warmup={warmup}, total={total}, floor={floor}) is "
                f"{found}, not {wanted}"
            )
            assert isinstance(found, float), f"a float, not a {type(found).__name__}"


@exercise("warmup_cosine")
def test_warmup_cosine_shape_of_the_curve():
    factors = [day11.warmup_cosine(step, 20, 100) for step in range(110)]
    assert factors[0] > 0, "the first step has the factor 0: it is wasted"
    assert factors.count(1.0) == 1 and factors[20] == 1.0, "1 is reached once, at step = warmup"
    assert factors[:21] == sorted(factors[:21]), "the factors rise during the warm-up"
    assert factors[20:] == sorted(factors[20:], reverse=True), "afterwards they fall"
    assert factors[100:] == [0.0] * 10, f"from total on they are the floor: {factors[100:]}"


@exercise("warmup_cosine")
def test_warmup_cosine_drives_a_scheduler():
    p = nn.Parameter(torch.zeros(1))
    p.grad = torch.zeros(1)
    groups = [{"params": [p], "lr": 2.0}, {"params": [nn.Parameter(torch.zeros(1))], "lr": 4.0}]
    optimizer = torch.optim.SGD(groups, lr=1.0)
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: day11.warmup_cosine(step, 2, 6, floor=0.5)
    )
    seen = []
    for _ in range(8):
        seen.append([round(group["lr"], 6) for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    wanted = [1 / 3, 2 / 3, 1.0, (3 + 2**-0.5 * 1) / 4, 0.75, (3 - 2**-0.5) / 4, 0.5, 0.5]
    assert seen == [[round(2 * w, 6), round(4 * w, 6)] for w in wanted], f"learning rates {seen}"


@exercise("warmup_cosine")
@pytest.mark.parametrize(
    "arguments, named",
    [((-1, 2, 6), "step"), ((0, -1, 6), "warmup"), ((0, 7, 6), "total"), ((9, 3, 2), "total"),
     ((0, 2, 6, -0.1), "floor"), ((0, 2, 6, 1.1), "floor"), ((0, 2, 6, math.nan), "floor")],
)  # fmt: skip
def test_warmup_cosine_refuses_what_makes_no_sense(arguments, named):
    with pytest.raises(ValueError) as refusal:
        value = day11.warmup_cosine(*arguments)
        pytest.fail(f"warmup_cosine{arguments} returned {value}")
    assert named in str(refusal.value), f"which argument? {refusal.value}"


# clip_grad_norm ------------------------------------------------------------------------------

CLIPPING = ["_foreach_norm", "_foreach_mul", "clip_grad_norm"]
NORMS = [2.0, 1.0, 3.0, math.inf]


def with_gradients(rng, dtype=torch.float64, scales=(1.0, 1e-3, 50.0), norm_type=2.0):
    """Parameters with gradients of different sizes; one has none, and one no elements unless the
    norm is the largest element, which nothing has."""
    shapes_ = [(3, 4), (7,), (2, 2, 2)]
    empty = (0 if norm_type < math.inf else 1, 3)
    params = [
        nn.Parameter(torch.zeros(shape, dtype=dtype, device=rng.device))
        for shape in (*shapes_, (), empty, (4,))
    ]
    grads = [rng.normal(*s, std=k, dtype=dtype) for s, k in zip(shapes_, scales, strict=True)]
    grads += [rng.normal(dtype=dtype), torch.zeros(empty, dtype=dtype, device=rng.device), None]
    feed(params, grads)
    return params, grads


def norm_of(grads, norm_type):
    every = torch.cat([g.double().flatten() for g in grads if g is not None]).abs()
    return every.max() if norm_type == math.inf else every.pow(norm_type).sum() ** (1 / norm_type)


@exercise("clip_grad_norm", ban=CLIPPING, inplace=True)
@pytest.mark.parametrize("norm_type", NORMS)
def test_clip_values(norm_type, device, rng):
    for dtype in (torch.float64, torch.float32):
        for limit in (0.0, 1e-6, 1.0, 20.0, 1e4):
            params, grads = with_gradients(rng, dtype, norm_type=norm_type)
            norm = norm_of(grads, norm_type)
            result = day11.clip_grad_norm(params, limit, norm_type)
            what = f"max_norm {limit}, norm_type {norm_type}, {dtype}"
            close(result, norm, dtype=dtype, terms=20, name=f"the norm ({what})")
            factor = min(1.0, limit / (norm.item() + 1e-6))
            for p, g in zip(params, grads, strict=True):
                if g is None:
                    assert p.grad is None, "a parameter without a gradient has one now"
                    continue
                close(p.grad, g.double() * factor, dtype=dtype, terms=20,
                      name=f"gradient of shape {tuple(g.shape)} ({what})")  # fmt: skip


@exercise("clip_grad_norm", ban=CLIPPING, inplace=True)
def test_clip_uses_the_ordinary_norm_unless_told(device, rng):
    params, grads = with_gradients(rng)
    close(day11.clip_grad_norm(params, 1.0), norm_of(grads, 2.0), terms=20, name="the norm")


@exercise("clip_grad_norm", ban=CLIPPING, inplace=True)
def test_clip_leaves_short_gradients_as_they_are(device, rng):
    params, grads = with_gradients(rng)
    day11.clip_grad_norm(params, 1.01 * norm_of(grads, 2.0).item())
    for p, g in zip(params, grads, strict=True):
        assert g is None or torch.equal(p.grad, g), "gradients within the limit have changed"


@exercise("clip_grad_norm", ban=CLIPPING, inplace=True)
def test_clip_is_written_by_hand(monkeypatch, device, rng):
    from torch.nn.utils import clip_grad

    def refused(*args, **kwargs):
        raise AssertionError("torch's own clipping does the work here: write it yourself")

    for name in ("clip_grad_norm_", "_get_total_norm", "_clip_grads_with_norm_",
                 "_group_tensors_by_device_and_dtype"):  # fmt: skip
        monkeypatch.setattr(clip_grad, name, refused, raising=False)
        monkeypatch.setattr(nn.utils, name, refused, raising=False)
    params, _ = with_gradients(rng)
    day11.clip_grad_norm(params, 1.0)
    assert norm_of([p.grad for p in params], 2.0) <= 1.0, "the gradients are still too long"


@exercise("clip_grad_norm", ban=CLIPPING, inplace=True)
def test_clip_writes_in_place(device, rng):
    params, _ = with_gradients(rng)
    held = [(p, p.grad) for p in params]
    _, seen = watch(day11.clip_grad_norm, params, 1.0)
    for p, grad in held:
        assert p.grad is grad, "p.grad is another tensor now: whoever held the old one is misled"
        assert grad is None or grad.grad_fn is None
    assert not seen.synchronisations, f"the device is waited for: {seen.synchronisations}"


@exercise("clip_grad_norm", ban=CLIPPING, inplace=True)
def test_clip_takes_any_iterable_and_one_tensor(device, rng):
    params, grads = with_gradients(rng)
    close(day11.clip_grad_norm((p for p in params), 1.0), norm_of(grads, 2.0), terms=20,
          name="the norm of a generator's parameters")  # fmt: skip
    assert norm_of([p.grad for p in params], 2.0) <= 1.0, "from a generator, nothing was clipped"
    params, grads = with_gradients(rng)
    close(day11.clip_grad_norm(params[0], 0.1), norm_of(grads[:1], 2.0), terms=20,
          name="the norm of one tensor")  # fmt: skip
    close(params[0].grad, grads[0] * 0.1 / (norm_of(grads[:1], 2.0) + 1e-6), terms=20,
          name="gradient of one tensor")  # fmt: skip
    assert torch.equal(params[1].grad, grads[1]), "another tensor's gradient changed"


@exercise("clip_grad_norm", ban=CLIPPING, inplace=True)
def test_clip_moves_no_parameter(device):
    for values in (5.0, [5.0], [[1.0, -2.0]]):
        p = nn.Parameter(torch.tensor(values, device=device))
        before = p.detach().clone()
        p.grad = torch.full_like(p, 3.0)
        for given in (p, [p]):
            day11.clip_grad_norm(given, 1.0)
            assert torch.equal(p, before), f"the parameter itself changed to {p.tolist()}"


@exercise("clip_grad_norm", ban=CLIPPING, inplace=True)
def test_clip_of_nothing(device):
    without = nn.Parameter(torch.ones(3))
    empty = nn.Parameter(torch.ones(0))
    empty.grad = torch.ones(0)
    for params, norm_type in (
        ([], 2.0), ([without], 2.0), ([empty], 2.0), ([without, empty], 2.0), (iter([]), 2.0),
        ([], math.inf), ([without], math.inf),
    ):  # fmt: skip
        found = day11.clip_grad_norm(params, 1.0, norm_type)
        assert isinstance(found, torch.Tensor), f"no gradients: {found!r} is no tensor"
        assert found.shape == () and found == 0, f"no gradients: {found}, not 0"
    assert without.grad is None


@exercise("clip_grad_norm", ban=CLIPPING, inplace=True)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_clip_adds_up_half_precision_in_float32(dtype, device, rng):
    p = nn.Parameter(torch.zeros(64, 64, dtype=dtype, device=device))
    q = nn.Parameter(torch.zeros(1000, dtype=dtype, device=device))
    p.grad = rng.normal(64, 64, std=300.0, dtype=dtype)
    q.grad = rng.normal(1000, std=0.01, dtype=dtype)
    grads = [p.grad.clone(), q.grad.clone()]
    norm = norm_of(grads, 2.0)
    found = day11.clip_grad_norm([p, q], 1.0)
    close(found, norm, dtype=torch.float32, terms=5000, name=f"the norm of {dtype} gradients")
    assert p.grad.dtype == dtype, f"the gradient became {p.grad.dtype}"
    close(p.grad, grads[0].double() / (norm + 1e-6), dtype=dtype, factor=2.0, name="gradient")


@exercise("clip_grad_norm", ban=CLIPPING, inplace=True)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_clip_does_not_spread_a_nan(bad, device, rng):
    for norm_type in (2.0, math.inf):
        params, grads = with_gradients(rng, norm_type=norm_type)
        with torch.no_grad():
            params[1].grad[2] = grads[1][2] = bad
        found = day11.clip_grad_norm(params, 1.0, norm_type)
        assert not found.isfinite(), f"a gradient holds {bad}, and the norm is {found}"
        for p, g in zip(params, grads, strict=True):
            assert g is None or torch.allclose(p.grad, g, rtol=0, atol=0, equal_nan=True), (
                f"one gradient holds {bad}: the others should stay as they are, and be skipped"
            )


@exercise("clip_grad_norm", ban=CLIPPING, inplace=True)
def test_clip_of_any_strides(device, rng):
    base = rng.normal(4, 6)
    for layout, grad in layouts(base):
        p = nn.Parameter(torch.zeros_like(grad))
        p.grad = grad
        found = day11.clip_grad_norm([p], 0.5)
        close(found, norm_of([base], 2.0), dtype=torch.float32, terms=24, name=f"norm, {layout}")
        wanted = base.double() * 0.5 / (norm_of([base], 2.0) + 1e-6)
        close(p.grad, wanted, dtype=torch.float32, terms=24, name=f"gradient, {layout}")


@exercise("clip_grad_norm", ban=CLIPPING, inplace=True)
def test_clip_refuses_a_negative_limit(device, rng):
    params, grads = with_gradients(rng)
    with pytest.raises(ValueError):
        norm = day11.clip_grad_norm(params, -1.0)
        pytest.fail(f"max_norm -1.0 was accepted; the norm came out {norm}")
    assert torch.equal(params[0].grad, grads[0]), "refused, yet the gradients changed"


@exercise("clip_grad_norm", ban=CLIPPING, inplace=True)
def test_clip_keeps_no_graph(device, rng):
    """Gradients that carry a graph (create_graph=True) are shortened all the same."""
    x = nn.Parameter(rng.normal(5).clone())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the cycle that is broken below
        (x.square().sum() ** 2).backward(create_graph=True)
    assert x.grad.requires_grad  # this test's own arithmetic
    norm = day11.clip_grad_norm([x], 0.5)
    assert not norm.requires_grad, "the norm drags a graph along"
    assert norm_of([x.grad.detach()], 2.0) <= 0.5001, "the gradient is still too long"
    x.grad = None
