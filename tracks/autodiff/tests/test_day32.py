"""Day 32: torch's steps with every option, gradients that are clipped, and rates on a schedule."""

import copy
import itertools
import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.testing import close, exercise, refused, watch
from tracks.autodiff import day22, day31
from tracks.autodiff import day32 as day

KINDS = [(3, 4), (5,), (), (0, 2), (2, 1, 3), (4, 2)]
STEPS = 50
SIZE = 40_000
ALL = ("Adam", "AdamW", "RMSprop", "Adagrad")


def leaf(data, requires_grad=True, kind=None):
    return day.Tensor(np.array(data), requires_grad=requires_grad, dtype=kind)


def each(names):
    return pytest.mark.parametrize("name", [pytest.param(n, marks=exercise(n)) for n in names])


def parameters(rng):
    """Of all kinds of shapes; the last one is a transposed view."""
    made = [leaf(rng.normal(*shape)) for shape in KINDS]
    made[-1] = day.Tensor._made(np.array(rng.normal(2, 4)).T)
    made[-1].requires_grad = True
    return made


def twins(params):
    return [torch.nn.Parameter(torch.tensor(p.data.copy())) for p in params]


def gradients(rng, steps=STEPS):
    """For each step an array for each parameter: of very different sizes, with zeros."""
    sizes = [1e-3, 1.0, 30.0, 1.0, 1e3, 1e-6]
    out = []
    for _ in range(steps):
        step = [s * np.array(rng.normal(*shape)) for s, shape in zip(sizes, KINDS, strict=True)]
        out.append([g * (np.array(rng.uniform(*g.shape)) > 0.2) for g in step])
    return out


def feed(params, grads):
    for p, g in zip(params, grads, strict=True):
        if isinstance(p, torch.Tensor):
            p.grad = None if g is None else torch.tensor(np.array(g))
        else:
            p.grad = None if g is None else leaf(g, False)


def array_of(p):
    return p.detach().numpy() if isinstance(p, torch.Tensor) else p.data


def same(params, others, what, digits=1e-10):
    for p, q in zip(params, others, strict=True):
        mine, theirs = array_of(p), array_of(q)
        assert mine.shape == theirs.shape, f"{what}: a parameter of {theirs.shape} is {mine.shape}"
        error = np.abs(mine - theirs).max(initial=0.0)
        room = digits * max(1.0, np.abs(theirs).max(initial=0.0))
        assert error <= room, f"{what}: the parameter of shape {mine.shape} is off by {error:.3g}"


def numbers_of(options):
    return ", ".join(f"{k}={v}" for k, v in options.items())


CHOICES = {
    "Adam": {"weight_decay": (0.0, 0.2), "amsgrad": (False, True), "maximize": (False, True),
             "betas": ((0.9, 0.999), (0.5, 0.8))},
    "AdamW": {"weight_decay": (0.0, 0.2), "amsgrad": (False, True), "maximize": (False, True),
              "betas": ((0.9, 0.999), (0.5, 0.8))},
    "RMSprop": {"alpha": (0.99, 0.7), "weight_decay": (0.0, 0.2), "momentum": (0.0, 0.8),
                "centered": (False, True), "maximize": (False, True)},
    "Adagrad": {"lr_decay": (0.0, 0.1), "weight_decay": (0.0, 0.2), "maximize": (False, True),
                "initial_accumulator_value": (0.0, 0.5)},
}  # fmt: skip
"""Every option of each, beside lr and eps."""


def options(name):
    for values in itertools.product(*CHOICES[name].values()):
        for eps in (1e-8, 1e-2) if not any(values[1:]) else (1e-8,):
            yield {"lr": 0.03, "eps": eps, **dict(zip(CHOICES[name], values, strict=True))}


def by_hand(name, o, p, grads):
    """One number, by the formulas of the docstrings: where it is after each step."""
    first = second = largest = buffer = 0.0
    total = o.get("initial_accumulator_value", 0.0)
    for t, g in enumerate(grads, 1):
        g = -g if o["maximize"] else g
        if name == "AdamW":
            p -= o["lr"] * o["weight_decay"] * p
        else:
            g += o["weight_decay"] * p
        if name in ("Adam", "AdamW"):
            b1, b2 = o["betas"]
            first, second = b1 * first + (1 - b1) * g, b2 * second + (1 - b2) * g * g
            largest = max(largest, second)
            chosen = largest if o["amsgrad"] else second
            mean = first / (1 - b1**t)
            p -= o["lr"] * mean / (math.sqrt(chosen / (1 - b2**t)) + o["eps"])
        elif name == "RMSprop":
            a = o["alpha"]
            first, second = a * first + (1 - a) * g, a * second + (1 - a) * g * g
            root = math.sqrt(second - first * first if o["centered"] else second) + o["eps"]
            buffer = o["momentum"] * buffer + g / root
            p -= o["lr"] * buffer
        else:
            total += g * g
            p -= o["lr"] / (1 + (t - 1) * o["lr_decay"]) * g / (math.sqrt(total) + o["eps"])
        yield p


# -- the four optimisers -----------------------------------------------------------------------


@each(ALL)
def test_steps_by_hand(name, rng):
    """The second gradient is the largest: a maximum is another thing than a mean."""
    for o in options(name):
        start = rng.normal(1).item()
        grads = [0.3, -20.0, 0.1, 0.2]
        p = leaf(np.full((2, 1), start))
        view, array = p.detach(), p.data
        more = {"lr": 7.0, "weight_decay": 0.7} if name != "Adagrad" else {"lr": 7.0}
        optimizer = getattr(day, name)([{"params": [p], **o}], **more)
        for number, right in enumerate(by_hand(name, o, start, grads), 1):
            p.grad = leaf(np.full((2, 1), grads[number - 1]), False)
            optimizer.step()
            what = f"{name}({numbers_of(o)}), step {number}"
            close(p.data, np.full((2, 1), right), terms=16, scale=4.0, name=what)
            assert p.data is array, f"{what}: the parameter has another array"
            close(view.data, p.data, name=f"{what}: a view of the parameter")
            assert p._version >= number, f"{what}: {p._version} changes are counted"
            close(p.grad.data, np.full((2, 1), grads[number - 1]), name=f"{what}: p.grad")


NAMES = {
    "Adam": ["exp_avg", "exp_avg_sq"], "AdamW": ["exp_avg", "exp_avg_sq"],
    "RMSprop": ["square_avg"], "Adagrad": ["sum"],
}  # fmt: skip
MORE = {
    "Adam": {"amsgrad": "max_exp_avg_sq"}, "AdamW": {"amsgrad": "max_exp_avg_sq"},
    "RMSprop": {"momentum": "momentum_buffer", "centered": "grad_avg"}, "Adagrad": {},
}  # fmt: skip


@each(ALL)
def test_state(name):
    for kind, asked in itertools.product(
        ("float64", "float32"), [(), *itertools.combinations(MORE[name], 1), tuple(MORE[name])]
    ):
        o = {which: 0.5 if which == "momentum" else True for which in asked}
        p = leaf(np.ones((2, 3), kind))
        optimizer = getattr(day, name)([p], lr=0.1, **o)
        assert bool(optimizer.state) == (name == "Adagrad"), "the state before the first gradient"
        p.grad = leaf(np.full((2, 3), 0.5, kind), False)
        optimizer.step()
        wanted = sorted(["step", *NAMES[name], *(MORE[name][which] for which in asked)])
        state = optimizer.state[p]
        assert sorted(state) == wanted, f"{name}({numbers_of(o)}) keeps {sorted(state)}"
        held = {}
        for key, value in state.items():
            assert isinstance(value, day.Tensor), f"{key} is a {type(value).__name__}"
            assert not value.requires_grad and value.node is None, f"{key} is part of a graph"
            shape, dtype = ((), "float32") if key == "step" else ((2, 3), kind)
            assert value.shape == shape and value.dtype == np.dtype(dtype), (
                f"{key} is {value.dtype} of {value.shape}"
            )
            held[key] = value.data
        assert len({a.ctypes.data for a in held.values()}) == len(held), "two of them share memory"
        optimizer.step()
        assert state["step"].item() == 2.0, f"after two steps the count is {state['step'].item()}"
        assert optimizer.state[p] is state
        for key, value in held.items():
            assert state[key].data is value, f"{key} has another array after a second step"
            assert state[key]._version >= 1, f"{key} changed in place, and nobody counted"
        assert p.dtype == np.dtype(kind) and p.is_leaf and p.node is None


@each(ALL)
def test_memory(name):
    everything = {which: 0.5 if which == "momentum" else True for which in MORE[name]}
    for o in ({}, {"weight_decay": 0.1, "maximize": True, **everything}):
        p = leaf(np.ones(SIZE))
        p.grad = leaf(np.ones(SIZE), False)
        optimizer = getattr(day, name)([p], lr=0.1, **o)
        optimizer.step()
        _, seen = watch(optimizer.step)
        arrays = seen.peak_bytes / (8 * SIZE)
        assert arrays < 2.2, (
            f"a step of {name}({numbers_of(o)}) takes {arrays:.1f} arrays of the size of p; "
            "two are allowed"
        )
        assert seen.live_bytes < 2 * SIZE, "a later step keeps something new"


@each(ALL)
def test_a_graph_that_saved_the_parameter(name, rng):
    w = leaf(rng.normal(3))
    optimizer = getattr(day, name)([w], lr=0.1)
    y = (w * w).sum()
    y.backward(retain_graph=True)
    optimizer.step()
    with pytest.raises(RuntimeError):
        y.backward()
        pytest.fail("w changed between forward and backward, and the backward went through")


@each(ALL)
def test_an_infinite_parameter(name):
    """Without decay nothing of the parameter is in the step, and 0 times inf is nowhere."""
    p = leaf([math.inf, 1.0])
    p.grad = leaf([2.0, 2.0], False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        getattr(day, name)([p], lr=0.5, weight_decay=0.0).step()
    assert p.data[0] == math.inf and p.data[1] < 1.0, f"without decay it became {p.tolist()}"


@each(ALL)
def test_settings_are_refused(name):
    wrong = [{"lr": -0.1}, {"eps": -1e-8}, {"weight_decay": -0.1}, {"lr": math.nan}]
    if name.startswith("Adam"):
        wrong += [{"betas": (1.0, 0.9)}, {"betas": (0.9, 1.0)}, {"betas": (-0.1, 0.9)}]
    if name == "RMSprop":
        wrong += [{"momentum": -0.1}, {"alpha": -0.1}]
    if name == "Adagrad":
        wrong += [{"lr_decay": -0.1}, {"initial_accumulator_value": -0.1}]
    for o in wrong:
        refused(getattr(day, name), [leaf([1.0])], **o, what=f"{name}({numbers_of(o)})")
    p = leaf([1.0])
    p.grad = leaf([2.0], False)
    getattr(day, name)([p], lr=0.0).step()
    assert p.item() == 1.0, f"with lr = 0, which is allowed, p became {p.item()}"


@exercise("AdamW")
def test_adamw_is_an_adam():
    optimizer = day.AdamW([leaf([1.0])])
    assert isinstance(optimizer, day.Adam)
    grad = np.array([5.0])
    p = leaf([2.0])
    optimizer.decayed(p, grad, {"lr": 0.1, "weight_decay": 0.5})
    close(p.data, np.array([1.9]), name="a weight after its decay")
    assert grad.item() == 5.0, "the decay is beside the gradient, which became another one"


@each(ALL)
def test_steps_of_torch(name, rng):
    grads = gradients(rng)
    for o in options(name):
        params = parameters(rng)
        others = twins(params)
        mine, theirs = getattr(day, name)(params, **o), getattr(torch.optim, name)(others, **o)
        for number, step in enumerate(grads, 1):
            feed(params, step)
            feed(others, step)
            mine.step()
            theirs.step()
            if number in (1, 2, 3, STEPS):
                same(params, others, f"{name}({numbers_of(o)}) after step {number}")


@each(ALL)
def test_defaults_of_torch(name):
    p = leaf([1.0, -2.0])
    (q,) = twins([p])
    mine, theirs = getattr(day, name)([p]), getattr(torch.optim, name)([q])
    for _ in range(3):
        feed([p], [np.array([0.5, 1e-9])])
        feed([q], [np.array([0.5, 1e-9])])
        mine.step()
        theirs.step()
    same([p], [q], f"{name} with nothing but its defaults")
    for key, value in mine.defaults.items():
        assert theirs.defaults[key] == value, f"{key} is {value} unless it is given"
    places = {
        "Adam": (0.1, (0.2, 0.3), 0.4, 0.5, True), "AdamW": (0.1, (0.2, 0.3), 0.4, 0.5, True),
        "RMSprop": (0.1, 0.2, 0.3, 0.4, 0.5, True), "Adagrad": (0.1, 0.2, 0.3, 0.4, 0.5),
    }[name]  # fmt: skip
    mine = getattr(day, name)([leaf([1.0])], *places, maximize=True)
    theirs = getattr(torch.optim, name)(twins([leaf([1.0])]), *places, maximize=True)
    for key, value in mine.param_groups[0].items():
        if key != "params":
            assert theirs.param_groups[0][key] == value, f"{key} became {value}"


@each(ALL)
def test_groups(name, rng):
    """Settings of each group, changed on the way; parameters that rest, start late, or stop."""
    params = parameters(rng)
    others = twins(params)
    more = {"momentum": 0.5} if name == "RMSprop" else {}
    mine, theirs = (
        getattr(library, name)(
            [{"params": of[:2], "weight_decay": 0.1, "eps": 1e-3}, {"params": of[2:4], "lr": 0.1},
             {"params": of[4:], "maximize": True}], lr=0.02, **more
        )
        for library, of in ((day, params), (torch.optim, others))
    )  # fmt: skip
    for number, step in enumerate(gradients(rng), 1):
        step = [None if (i == 1 and number <= 5) or (i == 2 and number % 3 == 0)
                or (i == 4 and number > 10) else g for i, g in enumerate(step)]  # fmt: skip
        feed(params, step)
        feed(others, step)
        if number == 20:
            for optimizer in (mine, theirs):
                optimizer.param_groups[0]["lr"] = 0.3
                optimizer.param_groups[2]["weight_decay"] = 0.4
        mine.step()
        theirs.step()
        if number <= 5 and name != "Adagrad":
            assert not mine.state.get(params[1]), "a parameter without a gradient got a state"
        same(params, others, f"{name} with three groups after step {number}")


def to_torch(saved):
    """A state_dict with torch's tensors in it."""
    return {
        "param_groups": copy.deepcopy(saved["param_groups"]),
        "state": {
            n: {k: torch.tensor(v.data.copy()) for k, v in values.items()}
            for n, values in saved["state"].items()
        },
    }


@each(ALL)
def test_saved_in_the_middle(name, rng):
    """Here and in torch, from here and from torch, all go on as if nothing had happened."""
    o = {"lr": 0.05, "weight_decay": 0.1}
    o.update({which: 0.5 if which == "momentum" else True for which in MORE[name]})
    if name == "Adagrad":
        o.update(lr_decay=0.1, initial_accumulator_value=0.3)
    steps = gradients(rng)
    params = parameters(rng)
    others = twins(params)
    mine, theirs = (
        getattr(library, name)([{"params": of[:3]}, {"params": of[3:], "lr": 0.007}], **o)
        for library, of in ((day, params), (torch.optim, others))
    )
    for step in steps[:20]:
        for many, optimizer in ((params, mine), (others, theirs)):
            feed(many, step)
            optimizer.step()
    saved, saved_there = copy.deepcopy(mine.state_dict()), copy.deepcopy(theirs.state_dict())
    for number, values in saved_there["state"].items():
        assert set(saved["state"][number]) == set(values), (
            f"the state of parameter {number} has {set(saved['state'][number])}, not {set(values)}"
        )
    for group, wanted in zip(saved["param_groups"], saved_there["param_groups"], strict=True):
        for key, value in group.items():
            assert wanted[key] == value, f"{key} was saved as {value}, torch has {wanted[key]}"
    runs = [(params, mine, "not stopped"), (others, theirs, "torch")]
    for what, state, library in [
        ("saved and loaded", saved, day),
        ("from torch's state", saved_there, day),
        ("torch, from your state", to_torch(saved), torch.optim),
    ]:
        copies = [leaf(p.data) for p in params] if library is day else twins(params)
        fresh = getattr(library, name)([{"params": copies[:3]}, {"params": copies[3:]}])
        fresh.load_state_dict(state)
        runs.append((copies, fresh, what))
    for step in steps[20:]:
        for many, optimizer, _ in runs:
            feed(many, step)
            optimizer.step()
    for many, _, what in runs:
        same(many, others, f"{name}, {what}, 30 steps later")
    for p, q in zip(params, runs[2][0], strict=True):
        assert np.array_equal(p.data, q.data), "saved and loaded, a last bit differs"


# -- clipping ----------------------------------------------------------------------------------


ORDERS = [1.0, 2.0, 2, 3.0, 0.5, math.inf, "inf"]


def with_grads(rng, kind="float64", size=1.0):
    params = [leaf(np.zeros(s, kind)) for s in ((3, 4), (), (5,), (0, 2), (2, 3))]
    for p in params:
        p.grad = leaf((size * np.array(rng.normal(*p.shape))).astype(kind), False)
    params[2].grad = None
    return params


def clipped_by_torch(params, *args, **more):
    others = [torch.nn.Parameter(torch.tensor(p.data)) for p in params]
    for p, q in zip(params, others, strict=True):
        q.grad = None if p.grad is None else torch.tensor(p.grad.data.copy())
    # torch finds no largest element in a gradient of none.
    norm = torch.nn.utils.clip_grad_norm_([q for q in others if q.numel()], *args, **more)
    return norm.numpy(), [None if q.grad is None else q.grad.numpy() for q in others]


@exercise("clip_grad_norm_")
@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_clip(order, rng):
    for limit in (0.0, 0.5, 1e6):
        params = with_grads(rng)
        held = [p.grad for p in params]
        arrays = [None if g is None else g.data for g in held]
        versions = [None if g is None else g._version for g in held]
        norm, wanted = clipped_by_torch(params, limit, float(order))
        got = day.clip_grad_norm_(params, limit, order)
        what = f"clip_grad_norm_({limit}, {order})"
        assert isinstance(got, day.Tensor) and not got.requires_grad
        close(got.data, norm, terms=24, name=f"{what}: the norm")
        for p, g, array, version, right in zip(params, held, arrays, versions, wanted, strict=True):
            assert p.grad is g, f"{what}: p.grad is another tensor now"
            if g is None:
                continue
            assert g.data is array, f"{what}: a gradient has another array"
            close(g.data, right, terms=24, name=f"{what}: the gradient of shape {g.shape}")
            if limit < 1:
                assert g._version > version, f"{what}: a gradient changed, and nobody counted"


@exercise("clip_grad_norm_")
def test_clip_is_of_order_two_unless_told(rng):
    params = with_grads(rng)
    norm, _ = clipped_by_torch(params, 1.0)
    close(day.clip_grad_norm_(params, 1.0).data, norm, terms=24, name="the norm")


@exercise("clip_grad_norm_")
def test_clip_leaves_short_gradients_as_they_are(rng):
    params = with_grads(rng)
    before = [None if p.grad is None else p.grad.data.copy() for p in params]
    norm, _ = clipped_by_torch(params, 1.0)
    for more in (1.001, 1.5, 3.0):
        day.clip_grad_norm_(params, more * float(norm))
        for p, old in zip(params, before, strict=True):
            assert old is None or np.array_equal(p.grad.data, old), (
                f"the limit is {more} times the norm, and a gradient changed"
            )


@exercise("clip_grad_norm_")
def test_clip_takes_any_iterable_and_one_tensor(rng):
    params = with_grads(rng)
    norm, wanted = clipped_by_torch(params, 0.1)
    close(day.clip_grad_norm_((p for p in params), 0.1).data, norm, terms=24, name="a generator")
    close(params[0].grad.data, wanted[0], terms=24, name="a gradient of a generator's parameter")
    params = with_grads(rng)
    before = params[1].grad.data.copy()
    norm, wanted = clipped_by_torch(params[:1], 0.1)
    close(day.clip_grad_norm_(params[0], 0.1).data, norm, terms=24, name="the norm of one tensor")
    close(params[0].grad.data, wanted[0], terms=24, name="the gradient of one tensor")
    close(params[1].grad.data, before, name="the gradient of another tensor")
    assert not params[0].data.any(), "a parameter itself was changed"


@exercise("clip_grad_norm_")
def test_clip_of_nothing():
    empty = leaf(np.zeros((0, 3)))
    empty.grad = leaf(np.zeros((0, 3)), False)
    for order in (2.0, math.inf):
        for params, kind in (([], "float32"), ([leaf([1.0])], "float32"), ([empty], "float64")):
            got = day.clip_grad_norm_(params, 1.0, order)
            assert got.shape == () and got.item() == 0.0, f"the norm of no elements is {got}"
            assert got.dtype == np.dtype(kind), f"the norm is of {got.dtype}"


@exercise("clip_grad_norm_")
def test_clip_keeps_dtypes(rng):
    for kind in ("float32", "float16"):
        params = with_grads(rng, kind)
        wide = [leaf(p.data.astype(np.float64)) for p in params]
        for p, q in zip(params, wide, strict=True):
            q.grad = None if p.grad is None else leaf(p.grad.data.astype(np.float64), False)
        norm, wanted = clipped_by_torch(wide, 0.5)
        got = day.clip_grad_norm_(params, 0.5)
        close(got.data, norm, dtype=kind, terms=24, name=f"the norm of {kind} gradients")
        for p, right in zip(params, wanted, strict=True):
            if right is not None:
                close(p.grad.data, right, dtype=kind, terms=24, name=f"a gradient of {kind}")
    p, q = leaf([0.0], kind="float32"), leaf([0.0])
    p.grad, q.grad = leaf([3.0], False, "float32"), leaf([4.0], False)
    got = day.clip_grad_norm_([p, q], 10.0)
    assert got.dtype == np.float64 and got.item() == 5.0, f"of float32 and float64: {got}"
    half = leaf(np.zeros(1000, np.float16))
    half.grad = leaf(np.full(1000, 300.0, np.float16), False)
    close(day.clip_grad_norm_(half, 1.0).data, np.float64(300 * math.sqrt(1000)), dtype="float16",
          terms=1000, name="the norm of 1000 elements of 300 in float16")  # fmt: skip


@exercise("clip_grad_norm_")
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_clip_of_what_is_not_finite(bad, rng):
    for order in (2.0, math.inf):
        params = with_grads(rng)
        norm, _ = clipped_by_torch(params, 1.0, order)
        got = day.clip_grad_norm_(params, 1.0, order, error_if_nonfinite=True)
        close(got.data, norm, terms=24, name="the norm, where all is finite")
        params = with_grads(rng)
        params[0].grad.data[1, 2] = bad
        before = [None if p.grad is None else p.grad.data.copy() for p in params]
        with pytest.raises(RuntimeError):
            day.clip_grad_norm_(params, 1.0, order, error_if_nonfinite=True)
            pytest.fail(f"a gradient holds {bad}: a RuntimeError was asked for")
        for p, old in zip(params, before, strict=True):
            if old is not None:
                close(p.grad.data, old, name="a gradient after the refusal")
        norm, wanted = clipped_by_torch(params, 1.0, order)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            got = day.clip_grad_norm_(params, 1.0, order)
        close(got.data, norm, name=f"the norm of order {order} with {bad}")
        for p, right in zip(params, wanted, strict=True):
            if right is not None:
                close(p.grad.data, right, name=f"a gradient, where one element of all is {bad}")


@exercise("clip_grad_norm_")
def test_clip_of_gradients_with_a_past(rng):
    x = leaf(rng.normal(5) + 10.0)
    (x * x * x).sum().backward(create_graph=True)
    assert x.grad.requires_grad
    norm = day.clip_grad_norm_(x, 0.5)
    assert not norm.requires_grad and norm.node is None, "the norm drags a graph along"
    size = math.sqrt(float((x.grad.data**2).sum()))
    assert abs(size - 0.5) < 1e-6, f"the gradient was to have the norm 0.5, and has {size}"


@exercise("clip_grad_norm_")
def test_clip_memory(rng):
    params = [leaf(np.zeros(SIZE)) for _ in range(12)]
    for p in params:
        p.grad = leaf(np.ones(SIZE), False)
    for order in (2.0, 3.0, math.inf):
        _, seen = watch(day.clip_grad_norm_, params, 1.0, order)
        arrays = seen.peak_bytes / (8 * SIZE)
        assert arrays < 3.2, f"clipping 12 gradients takes {arrays:.1f} arrays of the size of one"


@exercise("clip_grad_norm_")
def test_clip_refuses(rng):
    params = with_grads(rng)
    before = params[0].grad.data.copy()
    for order in (0, -1.0, -math.inf):
        refused(day.clip_grad_norm_, params, 1.0, order, what=f"a norm_type of {order}",
                names=["norm_type"])  # fmt: skip
    refused(day.clip_grad_norm_, params, -1.0, what="a negative max_norm", names=["max_norm"])
    assert np.array_equal(params[0].grad.data, before), "refused, and a gradient changed"


# -- schedules ---------------------------------------------------------------------------------


def optimizer_of(library=day, lrs=(0.5, 0.02)):
    new = (lambda: leaf([1.0])) if library is day else (lambda: twins([leaf([1.0])])[0])
    where = day31 if library is day else torch.optim
    return where.SGD([{"params": [new()], "lr": lr} for lr in lrs])


def lrs_of(optimizer):
    return [group["lr"] for group in optimizer.param_groups]


class Line(day.LRScheduler):
    """base · (1 + epoch), and notes when it is asked."""

    def __init__(self, optimizer, last_epoch=-1):
        self.asked = []
        super().__init__(optimizer, last_epoch)

    def get_lr(self):
        self.asked.append(self.last_epoch)
        return [base * (1 + self.last_epoch) for base in self.base_lrs]


@exercise("LRScheduler")
def test_a_schedule():
    optimizer = optimizer_of()
    schedule = Line(optimizer)
    assert schedule.optimizer is optimizer
    assert (schedule.last_epoch, schedule.asked) == (0, [0]), (
        f"made, it is in epoch {schedule.last_epoch}, and get_lr was asked in {schedule.asked}"
    )
    assert schedule.base_lrs == [0.5, 0.02] and lrs_of(optimizer) == [0.5, 0.02]
    assert [g["initial_lr"] for g in optimizer.param_groups] == [0.5, 0.02]
    assert schedule.step() is None
    assert lrs_of(optimizer) == [1.0, 0.04] and schedule.get_last_lr() == [1.0, 0.04]
    schedule.step()
    assert schedule.asked == [0, 1, 2], f"get_lr was asked in the epochs {schedule.asked}"
    optimizer.param_groups[0]["lr"] = 9.0
    schedule.step()
    assert lrs_of(optimizer) == [2.0, 0.08], "a schedule depends on base_lrs and the epoch alone"
    with pytest.raises(NotImplementedError):
        day.LRScheduler(optimizer_of())


@exercise("LRScheduler")
def test_a_second_schedule_has_the_first_rates():
    optimizer = optimizer_of()
    first = Line(optimizer)
    first.step()
    second = Line(optimizer)
    assert second.base_lrs == [0.5, 0.02] and lrs_of(optimizer) == [0.5, 0.02], (
        f"the base rates of a second schedule are {second.base_lrs}: initial_lr is there already"
    )
    later = Line(optimizer, last_epoch=4)
    assert later.last_epoch == 5 and lrs_of(optimizer) == [3.0, 0.12]
    with pytest.raises(KeyError) as refusal:
        Line(optimizer_of(), last_epoch=4)
        pytest.fail("last_epoch was given, and no group has an initial_lr: a KeyError was due")
    assert "initial_lr" in str(refusal.value), f"which is missing? {refusal.value}"


@exercise("LRScheduler")
@pytest.mark.parametrize("order", ["optimizer first", "schedule first", "schedule made last"])
def test_a_schedule_is_saved(order):
    optimizer = optimizer_of()
    schedule = Line(optimizer)
    for _ in range(3):
        schedule.step()
    saved, of_optimizer = schedule.state_dict(), copy.deepcopy(optimizer.state_dict())
    assert saved["last_epoch"] == 3 and saved["base_lrs"] == [0.5, 0.02]
    assert "optimizer" not in saved, "the optimizer is saved with its schedule"
    saved = copy.deepcopy(saved)
    before = copy.deepcopy(saved)
    schedule.step()
    assert saved == before
    fresh = optimizer_of(lrs=(7.0, 8.0))
    if order == "schedule made last":
        fresh.load_state_dict(of_optimizer)
        other = Line(fresh)
        other.load_state_dict(saved)
    else:
        other = Line(fresh)
        loads = [(fresh, of_optimizer), (other, saved)]
        for target, state in loads if order == "optimizer first" else loads[::-1]:
            target.load_state_dict(state)
    assert other.optimizer is fresh and other.last_epoch == 3
    assert lrs_of(fresh) == [2.0, 0.08], f"loaded in epoch 3, the rates are {lrs_of(fresh)}"
    assert other.get_last_lr() == [2.0, 0.08]
    other.step()
    assert lrs_of(fresh) == lrs_of(optimizer), f"an epoch later the rates are {lrs_of(fresh)}"
    assert saved == before, "what was loaded has changed"


TORCH = torch.optim.lr_scheduler


BY_HAND = [
    ("StepLR", (2, 0.5), [1, 1, 0.5, 0.5, 0.25, 0.25, 0.125]),
    ("CosineAnnealingLR", (2, 0.5), [1, 0.75, 0.5, 0.75, 1, 0.75, 0.5]),
    ("CosineAnnealingLR", (3,), [1, 0.75, 0.25, 0, 0.25, 0.75, 1]),
    ("LinearWarmup", (4,), [0.25, 0.5, 0.75, 1, 1, 1, 1]),
]


@pytest.mark.parametrize(
    "name, args, rates",
    [pytest.param(*case, marks=exercise(case[0]), id=f"{case[0]}{case[1]}") for case in BY_HAND],
)
def test_rates_by_hand(name, args, rates):
    optimizer = optimizer_of(lrs=(1.0,))
    schedule = getattr(day, name)(optimizer, *args)
    for epoch, wanted in enumerate(rates):
        (got,) = lrs_of(optimizer)
        assert abs(got - wanted) < 1e-12, f"{name}{args}: {got} in epoch {epoch}, not {wanted}"
        schedule.step()


@exercise("SequentialLR")
def test_a_chain_by_hand():
    optimizer = optimizer_of(lrs=(1.0,))
    parts = [day.LinearWarmup(optimizer, 4), day.StepLR(optimizer, 1, 0.5),
             day.StepLR(optimizer, 2, 0.1)]  # fmt: skip
    schedule = day.SequentialLR(optimizer, parts, milestones=[2, 5])
    for epoch, wanted in enumerate([0.25, 0.5, 1, 0.5, 0.25, 1, 1, 0.1, 0.1]):
        (got,) = lrs_of(optimizer)
        assert abs(got - wanted) < 1e-12, f"{got} in epoch {epoch} of a chain, not {wanted}"
        schedule.step()


def warm(optimizer, steps):
    return TORCH.LinearLR(optimizer, start_factor=1 / steps, total_iters=steps - 1)


def pairs():
    """(exercise, what, mine, torch's): each of today's, in some forms."""
    for size, gamma in ((1, 0.5), (3, 0.1), (4, 2.0), (50, 0.1)):
        yield ("StepLR", f"StepLR({size}, {gamma})",
               lambda o, s=size, g=gamma: day.StepLR(o, s, g),
               lambda o, s=size, g=gamma: TORCH.StepLR(o, s, g))  # fmt: skip
    for top, low in ((1, 0.0), (5, 0.0), (7, 0.01), (30, 0.1)):
        yield ("CosineAnnealingLR", f"CosineAnnealingLR({top}, {low})",
               lambda o, t=top, m=low: day.CosineAnnealingLR(o, t, m),
               lambda o, t=top, m=low: TORCH.CosineAnnealingLR(o, t, m))  # fmt: skip
    for steps in (1, 2, 5, 12):
        mine, theirs = (lambda o, n=steps, f=f: f(o, n) for f in (day.LinearWarmup, warm))
        yield "LinearWarmup", f"LinearWarmup({steps})", mine, theirs


def compare_rates(what, mine, theirs, epochs=25):
    a, b = optimizer_of(), optimizer_of(torch)
    schedule, right = mine(a), theirs(b)
    for epoch in range(epochs):
        for got, wanted in zip(lrs_of(a), lrs_of(b), strict=True):
            assert abs(got - wanted) < 1e-12, f"{what}: {got} in epoch {epoch}, torch has {wanted}"
        b.step()
        schedule.step()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            right.step()
    return schedule, right


@pytest.mark.parametrize(
    "what, mine, theirs",
    [pytest.param(*rest, marks=exercise(name), id=rest[0]) for name, *rest in pairs()],
)
def test_rates_of_torch(what, mine, theirs):
    compare_rates(what, mine, theirs)


@exercise("StepLR")
def test_step_lr_has_a_default():
    compare_rates("StepLR(3)", lambda o: day.StepLR(o, 3), lambda o: TORCH.StepLR(o, 3))
    for size in (0, -1):
        refused(day.StepLR, optimizer_of(), size, what=f"step_size {size}", names=["step_size"])


@exercise("CosineAnnealingLR")
def test_cosine_has_a_default():
    compare_rates("CosineAnnealingLR(6)", lambda o: day.CosineAnnealingLR(o, 6),
                  lambda o: TORCH.CosineAnnealingLR(o, 6))  # fmt: skip
    refused(day.CosineAnnealingLR, optimizer_of(), 0, what="T_max 0", names=["T_max"])


@exercise("LinearWarmup")
def test_warmup_from_one_step_on():
    optimizer = optimizer_of()
    day.LinearWarmup(optimizer, 1).step()
    assert lrs_of(optimizer) == [0.5, 0.02]
    refused(day.LinearWarmup, optimizer_of(), 0, what="0 steps", names=["steps"])


@pytest.mark.parametrize(
    "name, mine, theirs",
    [pytest.param(n, m, t, marks=exercise(n), id=n) for n, m, t in (
        ("StepLR", lambda o: day.StepLR(o, 4, 0.5), lambda o: TORCH.StepLR(o, 4, 0.5)),
        ("CosineAnnealingLR", lambda o: day.CosineAnnealingLR(o, 9),
         lambda o: TORCH.CosineAnnealingLR(o, 9)),
        ("LinearWarmup", lambda o: day.LinearWarmup(o, 12), lambda o: warm(o, 12)),
    )],
)  # fmt: skip
def test_a_schedule_goes_on_from_torch(name, mine, theirs):
    b = optimizer_of(torch)
    right = theirs(b)
    for _ in range(7):
        b.step()
        right.step()
    a = optimizer_of(lrs=(3.0, 4.0))
    schedule = mine(a)
    schedule.load_state_dict(copy.deepcopy(right.state_dict()))
    for epoch in range(7, 15):
        for got, wanted in zip(lrs_of(a), lrs_of(b), strict=True):
            assert abs(got - wanted) < 1e-12, (
                f"from torch's state of epoch 7: {got} in epoch {epoch}, torch has {wanted}"
            )
        b.step()
        right.step()
        schedule.step()


def chain(optimizer, library, milestones=(5, 12)):
    if library is day:
        parts = [day.LinearWarmup(optimizer, 5), day.StepLR(optimizer, 2, 0.7),
                 day.CosineAnnealingLR(optimizer, 6, 0.01)]  # fmt: skip
        return day.SequentialLR(optimizer, parts, milestones=list(milestones))
    parts = [warm(optimizer, 5), TORCH.StepLR(optimizer, 2, 0.7),
             TORCH.CosineAnnealingLR(optimizer, 6, 0.01)]  # fmt: skip
    return TORCH.SequentialLR(optimizer, parts, milestones=list(milestones))


def quiet_chain(optimizer):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return chain(optimizer, torch)


@exercise("SequentialLR")
def test_a_chain_of_schedules():
    schedule, _ = compare_rates("SequentialLR", lambda o: chain(o, day), quiet_chain)
    assert schedule.last_epoch == 25 and schedule.base_lrs == [0.5, 0.02]
    a = optimizer_of()
    schedule = chain(a, day)
    assert lrs_of(a) == schedule.get_last_lr() == [0.1, 0.004], (
        f"made, the groups have {lrs_of(a)}, where the first schedule's first rate is due"
    )
    alone = day.SequentialLR(optimizer := optimizer_of(), [day.StepLR(optimizer, 1, 0.5)], [])
    alone.step()
    assert lrs_of(optimizer) == [0.25, 0.01]


@exercise("SequentialLR")
@settings(max_examples=25)
@given(data=st.data())
def test_any_chain(data):
    sizes = data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=3), label="lengths")
    kinds = [data.draw(st.integers(0, 2), label="kind") for _ in range(len(sizes) + 1)]
    numbers = [data.draw(st.integers(1, 5), label="number") for _ in kinds]
    milestones = np.cumsum(sizes).tolist()

    def mine(o):
        makers = (lambda n: day.StepLR(o, n, 0.5), lambda n: day.CosineAnnealingLR(o, n, 0.01),
                  lambda n: day.LinearWarmup(o, n))  # fmt: skip
        return day.SequentialLR(
            o, [makers[k](n) for k, n in zip(kinds, numbers, strict=True)], milestones
        )

    def theirs(o):
        makers = (lambda n: TORCH.StepLR(o, n, 0.5), lambda n: TORCH.CosineAnnealingLR(o, n, 0.01),
                  lambda n: TORCH.LambdaLR(o, lambda e: min(1.0, (e + 1) / n)))  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return TORCH.SequentialLR(
                o, [makers[k](n) for k, n in zip(kinds, numbers, strict=True)], milestones
            )

    compare_rates(f"kinds {kinds} with {numbers}, milestones {milestones}", mine, theirs, 20)


@exercise("SequentialLR")
@pytest.mark.parametrize("stop", [0, 3, 5, 9, 12, 15])
def test_a_chain_is_saved(stop):
    a, b = optimizer_of(), optimizer_of(torch)
    schedule, right = chain(a, day), quiet_chain(b)
    for _ in range(stop):
        schedule.step()
        b.step()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            right.step()
    saved = schedule.state_dict()
    assert [type(s) for s in saved["_schedulers"]] == [dict] * 3, (
        f"the schedules were saved as {saved['_schedulers']}: each has a state of its own"
    )
    saved = copy.deepcopy(saved)
    states = {"your own state": saved, "torch's state": copy.deepcopy(right.state_dict())}
    before = copy.deepcopy(states)
    others = {}
    for what, state in states.items():
        fresh = optimizer_of(lrs=(3.0, 4.0))
        fresh_chain = chain(fresh, day, milestones=(6, 13))
        fresh_chain.load_state_dict(state)
        others[what] = fresh, fresh_chain
        kinds = [type(s).__name__ for s in fresh_chain._schedulers]
        assert all(isinstance(s, day.LRScheduler) for s in fresh_chain._schedulers), (
            f"after loading from {what} the schedules are {kinds}"
        )
    for epoch in range(stop, stop + 12):
        for what, (optimizer, other) in others.items():
            for got, wanted in zip(lrs_of(optimizer), lrs_of(a), strict=True):
                assert abs(got - wanted) < 1e-12, (
                    f"loaded from {what} of epoch {stop}: {got} in epoch {epoch}, not {wanted}"
                )
            other.step()
        schedule.step()
    assert states == before, "what was loaded has changed"


@exercise("SequentialLR")
def test_a_chain_of_another_length_is_refused():
    o = optimizer_of()
    saved = day.SequentialLR(o, [day.StepLR(o, 1), day.StepLR(o, 2)], [3]).state_dict()
    refused(chain(optimizer_of(), day).load_state_dict, saved,
            what="the state of two schedules, for a chain of three")  # fmt: skip
    saved = chain(optimizer_of(), day).state_dict()
    o = optimizer_of()
    refused(day.SequentialLR(o, [day.StepLR(o, 1)], []).load_state_dict, saved,
            what="the state of three schedules, for a chain of one")  # fmt: skip


@exercise("SequentialLR")
def test_chains_are_refused():
    o, other = optimizer_of(), optimizer_of()
    parts = [day.StepLR(o, 1), day.StepLR(o, 1), day.StepLR(o, 1)]
    for what, schedulers, milestones in [
        ("no schedules", [], []), ("one milestone for three schedules", parts, [2]),
        ("three milestones for three", parts, [1, 2, 3]), ("milestones that fall", parts, [5, 3]),
        ("a schedule of another optimizer", [parts[0], day.StepLR(other, 1)], [2]),
    ]:  # fmt: skip
        refused(day.SequentialLR, o, schedulers, milestones, what=what)
    day.SequentialLR(o, parts, [1, 2]).step()
    assert lrs_of(o) == [0.5, 0.02]


# -- all of it ---------------------------------------------------------------------------------


def network(x, w, b, v, c):
    return (x @ w + b).sigmoid() @ v + c


class Run:
    """A small network in training: forward, backward, clip, step, schedule."""

    def __init__(self, name, rng_or_params, x, target):
        self.x, self.target = x, target
        self.params = rng_or_params
        self.optimizer = getattr(day, name)(
            [{"params": self.params[::2], "weight_decay": 0.05}, {"params": self.params[1::2]}],
            lr=0.02,
        )
        self.schedule = chain(self.optimizer, day)

    def step(self):
        self.optimizer.zero_grad()
        loss = day31.cross_entropy(network(leaf(self.x, False), *self.params), self.target)
        loss.backward()
        day.clip_grad_norm_(self.params, 0.1)
        self.optimizer.step()
        self.schedule.step()
        return loss.item()


@each(ALL)
def test_training_for_50_steps(name, rng):
    """All losses of torch; and stopped after 20 steps, and loaded, the same to the last bit."""
    x, classes = np.array(rng.normal(12, 4)), np.array(rng.integers(0, 3, 12))
    start = [np.array(rng.normal(*s)) for s in ((4, 5), (5,), (5, 3), (3,))]
    target = leaf(classes, False)
    run = Run(name, [leaf(a) for a in start], x, target)
    others = [torch.nn.Parameter(torch.tensor(a)) for a in start]
    theirs = getattr(torch.optim, name)(
        [{"params": others[::2], "weight_decay": 0.05}, {"params": others[1::2]}], lr=0.02
    )
    schedule = quiet_chain(theirs)
    losses = []
    for number in range(1, STEPS + 1):
        theirs.zero_grad()
        loss = torch.nn.functional.cross_entropy(network(torch.tensor(x), *others),
                                                 torch.tensor(classes))  # fmt: skip
        loss.backward()
        torch.nn.utils.clip_grad_norm_(others, 0.1)
        theirs.step()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            schedule.step()
        losses.append(run.step())
        assert abs(losses[-1] - loss.item()) < 1e-9 * max(1.0, loss.item()), (
            f"{name}: the loss is {losses[-1]} in step {number}, and torch's {loss.item()}"
        )
        if number == 20:
            saved = copy.deepcopy([run.optimizer.state_dict(), run.schedule.state_dict()])
            values = [p.data.copy() for p in run.params]
    same(run.params, others, f"trained with {name} for {STEPS} steps", 1e-8)
    again = Run(name, [leaf(v) for v in values], x, target)
    again.optimizer.load_state_dict(saved[0])
    again.schedule.load_state_dict(saved[1])
    found = [again.step() for _ in range(STEPS - 20)]
    assert found == losses[20:], "saved after 20 steps and loaded, the run is another one"
    assert day22.mode.recording
