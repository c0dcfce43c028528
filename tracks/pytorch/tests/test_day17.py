"""Day 17: tokens that look at each other, a future that stays hidden, windows without L × L."""

import math

import pytest
import torch
from torch import nn

from harness.testing import close, exercise, layouts, random_weights, same_compiled, shapes, watch
from tracks.pytorch import day17

BAN = [
    "scaled_dot_product_attention",
    "multi_head_attention_forward",
    "_native_multi_head_attention",
]
WIDE = torch.float64


def make(kind, rng, device, *sizes, dtype=WIDE, **options):
    return random_weights(kind(*sizes, **options).to(device, dtype), rng)


def attend(q, k, v, mask=None):
    """Attention in float64 and its weights; every row sees a key."""
    scores = q.double() @ k.double().mT / math.sqrt(q.shape[-1])
    if mask is not None and mask.dtype == torch.bool:
        scores = scores.masked_fill(~mask, -torch.inf)
    elif mask is not None:
        scores = scores + mask.double()
    weights = (scores - scores.amax(-1, keepdim=True)).exp()
    weights = weights / weights.sum(-1, keepdim=True)
    return weights @ v.double(), weights


def wanted_of(module, x, mask=None):
    parts = []
    for layer in (module.q_proj, module.k_proj, module.v_proj):
        out = x.double() @ layer.weight.detach().double().T
        parts.append(out if layer.bias is None else out + layer.bias.detach().double())
    return attend(*parts, mask)


def same(got, wanted, name, dtype=WIDE):
    close(got, wanted, dtype=dtype, terms=256, scale=8.0, name=name)


def past(length, device, window=None):
    """True at [i, j] where i sees j: not ahead, and not ``window`` or more behind."""
    window = length if window is None else window
    rows = [[0 <= i - j < window for j in range(length)] for i in range(length)]
    return torch.tensor(rows, dtype=torch.bool, device=device).reshape(length, length)


# SelfAttention -------------------------------------------------------------------------------


@exercise("SelfAttention")
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("head_dim", [None, 4])
def test_parameters(head_dim, bias):
    module = day17.SelfAttention(6, head_dim, bias)
    wanted = {f"{name}_proj.weight": (head_dim or 6, 6) for name in "qkv"}
    if bias:
        wanted |= {f"{name}_proj.bias": (head_dim or 6,) for name in "qkv"}
    found = {name: tuple(p.shape) for name, p in module.state_dict().items()}
    assert found == wanted, f"the parameters are {found}, expected were {wanted}"


@exercise("SelfAttention", ban=BAN)
@shapes("batch, length, dim, head_dim", (2, 5, 6, 6), (1, 1, 1, 1), (3, 4, 6, 3),
        (2, 7, 3, 8), (1, 33, 4, 4), gpu=[(4, 512, 64, 64)])  # fmt: skip
def test_values(batch, length, dim, head_dim, device, rng):
    for bias in (True, False):
        module = make(day17.SelfAttention, rng, device, dim, head_dim, bias)
        x = rng.normal(batch, length, dim, dtype=WIDE)
        wanted, right = wanted_of(module, x)
        result, weights = module(x, need_weights=True)
        same(weights, right, f"the weights, bias={bias}")
        same(result, wanted, f"the result with need_weights, bias={bias}")
        same(module(x), wanted, f"the result, bias={bias}")


@exercise("SelfAttention", ban=BAN)
@pytest.mark.parametrize("kind", ["no", "bool", "float", "padding"])
def test_equals_torchs_with_one_head(kind, device, rng):
    """nn.MultiheadAttention with one head, whose output projection changes nothing."""
    module = make(day17.SelfAttention, rng, device, 6)
    other = nn.MultiheadAttention(6, 1, batch_first=True, dtype=WIDE, device=device)
    with torch.no_grad():
        three = [module.q_proj, module.k_proj, module.v_proj]
        other.in_proj_weight.copy_(torch.cat([layer.weight for layer in three]))
        other.in_proj_bias.copy_(torch.cat([layer.bias for layer in three]))
        other.out_proj.weight.copy_(torch.eye(6))
        other.out_proj.bias.zero_()
    x = rng.normal(2, 5, 6, dtype=WIDE)
    seen = rng.boolean(5, 5, p=0.6).clone()
    seen.fill_diagonal_(True)
    bias = rng.normal(5, 5, std=3.0, dtype=WIDE)
    real = torch.arange(5, device=device) < torch.tensor([[5], [2]], device=device)
    mask, options = {
        "no": (None, {}),
        "bool": (seen, {"attn_mask": ~seen}),
        "float": (bias, {"attn_mask": bias}),
        "padding": (real[:, None], {"key_padding_mask": ~real}),
    }[kind]
    result, weights = module(x, mask=mask, need_weights=True)
    wanted, right = other(x, x, x, **options)
    same(weights, right, f"the weights with {kind} mask")
    same(result, wanted, f"the result with {kind} mask")
    same(module(x, mask=mask), wanted, f"the result with {kind} mask, no need_weights")


@exercise("SelfAttention", ban=BAN)
def test_order_does_not_matter(device, rng):
    module = make(day17.SelfAttention, rng, device, 6)
    x, order = rng.normal(7, 6, dtype=WIDE), rng.permutation(7)
    same(module(x[order]), module(x)[order].detach(), "the result of tokens in another order")


@exercise("SelfAttention", ban=BAN)
def test_tokens_that_see_nothing(device, rng):
    module = make(day17.SelfAttention, rng, device, 6)
    x = rng.normal(2, 4, 6, dtype=WIDE).requires_grad_()
    mask = torch.ones(2, 4, 4, dtype=torch.bool, device=device)
    mask[1, 2] = False
    result, weights = module(x, mask=mask, need_weights=True)
    assert (result[1, 2] == 0).all(), f"a token that sees nothing gets {result[1, 2].tolist()}"
    assert (weights[1, 2] == 0).all(), f"a token that sees nothing has weights {weights[1, 2]}"
    result.sum().backward()
    assert x.grad.isfinite().all(), "a token sees nothing: the gradient of x is nan"


@exercise("SelfAttention", ban=BAN)
def test_leading_axes_strides_and_no_tokens(device, rng):
    module = make(day17.SelfAttention, rng, device, 6, 4)
    x = rng.normal(2, 3, 5, 6, dtype=WIDE)
    wanted, _ = wanted_of(module, x)
    same(module(x), wanted, "with two leading axes")
    same(module(x[0, 0]), wanted[0, 0], "without a batch")
    for layout, view in layouts(x):
        same(module(view), wanted, f"of a {layout} x")
    for shape in ((0, 3, 6), (2, 0, 6)):
        found = tuple(module(rng.normal(*shape, dtype=WIDE)).shape)
        assert found == (*shape[:2], 4), f"an x {shape} gave {found}"


@exercise("SelfAttention", ban=BAN)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_other_dtypes(dtype, device, rng):
    module = make(day17.SelfAttention, rng, device, 6, dtype=dtype)
    x = rng.normal(2, 5, 6, dtype=dtype)
    found, right = module(x, need_weights=True), wanted_of(module, x)
    # Queries, keys, values, weights and results are each rounded by 2⁻⁹ in bfloat16.
    limit = 0.04 if dtype == torch.bfloat16 else 1e-5
    for name, got, want in zip(("result", "weights"), found, right, strict=True):
        assert got.dtype == dtype, f"everything is {dtype}, but the {name} {got.dtype}"
        error = ((got.double() - want).norm() / want.norm()).item()
        assert error < limit, f"the {name} in {dtype} is off by {error:.2g} of its length"


@exercise("SelfAttention", ban=BAN)
def test_gradients(device, rng):
    module = make(day17.SelfAttention, rng, device, 3, 2)
    x = rng.normal(4, 3, dtype=WIDE).requires_grad_()
    mask = past(4, device).T
    try:
        torch.autograd.gradcheck(lambda x, *_: module(x, mask), (x, *module.parameters()))
    except torch.autograd.gradcheck.GradcheckError as error:
        raise AssertionError(f"the gradients: {' '.join(str(error).split())}") from None


@exercise("SelfAttention", ban=BAN)
def test_weights_lie_on_the_device(device, rng):
    module = make(day17.SelfAttention, rng, device, 6)
    x = rng.normal(2, 5, 6, dtype=WIDE)
    with torch.device("meta"):  # where tensors land that are made without device=
        _, weights = module(x, need_weights=True)
    assert weights.device == x.device, f"x is on {x.device}, the weights on {weights.device}"
    same(weights, wanted_of(module, x)[1], "the weights, with another default device,")


@exercise("SelfAttention", ban=BAN)
@pytest.mark.parametrize("size", [7, 5, 1])
def test_refuses_an_x_that_does_not_fit(size, device, rng):
    module = make(day17.SelfAttention, rng, device, 6, 4)
    with pytest.raises(ValueError) as refusal:
        module(rng.normal(2, 3, size, dtype=WIDE))
        pytest.fail(f"an x (2, 3, {size}) went through where dim is 6: a ValueError was due")
    message = str(refusal.value)
    assert all(part in message for part in ("x", str(size), "6")), f"which shapes? {message!r}"


MISFITS = [(4, 4), (5, 4), (3, 5, 5), (2, 1, 5, 5)]


def refuses_masks(module, shape, kind, rng):
    mask = rng.boolean(*shape) if kind == "bool" else rng.normal(*shape, dtype=WIDE)
    with pytest.raises(ValueError) as refusal:
        module(rng.normal(2, 5, 6, dtype=WIDE), mask=mask)
        pytest.fail(f"a mask {shape} for scores (2, 5, 5) went through: a ValueError was due")
    message = str(refusal.value)
    assert "mask" in message and str(shape) in message and "(2, 5, 5)" in message, (
        f"a mask {shape} for scores (2, 5, 5): which argument, which shapes? {message!r}"
    )


@exercise("SelfAttention", ban=BAN)
@pytest.mark.parametrize("shape", MISFITS, ids=str)
def test_refuses_a_mask_that_does_not_fit(shape, device, rng):
    refuses_masks(make(day17.SelfAttention, rng, device, 6), shape, "bool", rng)


# CausalSelfAttention -------------------------------------------------------------------------


@exercise("CausalSelfAttention", ban=BAN)
@shapes("length", 1, 2, 7, gpu=[256])
def test_causal_values(length, device, rng):
    module = make(day17.CausalSelfAttention, rng, device, 6, 4)
    x = rng.normal(2, length, 6, dtype=WIDE)
    wanted, right = wanted_of(module, x, past(length, device))
    result, weights = module(x, need_weights=True)
    ahead = weights[..., ~past(length, device)]
    assert (ahead == 0).all(), f"a weight of {ahead.abs().max():.2g} goes to a token ahead"
    same(weights, right, "the weights")
    same(result, wanted, "the result with need_weights")
    same(module(x), wanted, "the result")


@exercise("CausalSelfAttention", ban=BAN)
def test_the_future_does_not_leak(device, rng):
    """Changing token t changes nothing before t, and does change t itself and what follows."""
    module = make(day17.CausalSelfAttention, rng, device, 6)
    x = rng.normal(2, 6, 6, dtype=WIDE)
    before = module(x)
    for t in range(6):
        changed = x.clone()
        changed[:, t] = rng.normal(2, 6, std=3.0, dtype=WIDE)
        moved = ((module(changed) - before).abs() > 1e-9).any(-1).any(0).tolist()
        assert not any(moved[:t]), f"a change of token {t} has changed token {moved.index(True)}"
        assert moved[t], f"a change of token {t} has left its own result as it was"
        blind = [s for s in range(t, 6) if not moved[s]]
        assert not blind, f"a change of token {t} has not reached {blind}"


@exercise("CausalSelfAttention", ban=BAN)
def test_the_past_does_not_need_the_future(device, rng):
    module = make(day17.CausalSelfAttention, rng, device, 6)
    x = rng.normal(2, 7, 6, dtype=WIDE)
    whole = module(x).detach()
    for length in (1, 4, 6):
        name = f"the result of the first {length} tokens alone"
        same(module(x[:, :length]), whole[:, :length], name)


@exercise("CausalSelfAttention", ban=BAN)
def test_no_gradient_comes_from_the_past(device, rng):
    module = make(day17.CausalSelfAttention, rng, device, 6)
    for t in range(5):
        x = rng.normal(5, 6, dtype=WIDE).requires_grad_()
        (slope,) = torch.autograd.grad(module(x)[t].sum(), x)
        assert (slope[t + 1 :] == 0).all(), f"the result of token {t} has a slope in tokens ahead"
        assert (slope[: t + 1] != 0).any(-1).all(), (
            f"the result of token {t} does not depend on all tokens up to it"
        )


@exercise("CausalSelfAttention", ban=BAN)
@pytest.mark.parametrize("kind", ["bool", "float", "padding"])
def test_causal_and_masked(kind, device, rng):
    module = make(day17.CausalSelfAttention, rng, device, 6)
    x, seen = rng.normal(2, 5, 6, dtype=WIDE), past(5, device)
    mask = {
        "bool": rng.boolean(5, 5, p=0.5) | torch.eye(5, dtype=torch.bool, device=device),
        "float": rng.normal(2, 5, 5, std=3.0, dtype=WIDE),
        "padding": torch.tensor([5, 2], device=device)[:, None, None]
        > torch.arange(5, device=device),
    }[kind]
    both = mask.masked_fill(~seen, -torch.inf) if kind == "float" else mask & seen
    wanted, right = wanted_of(module, x, both)
    result, weights = module(x, mask, need_weights=True)
    same(weights, right, f"the weights with a {kind} mask")
    same(result, wanted, f"the result with a {kind} mask")


@exercise("CausalSelfAttention", ban=BAN)
def test_causal_padding_in_front(device, rng):
    """Padded in front, the first tokens see nothing: zeros, and no nan in a gradient."""
    module = make(day17.CausalSelfAttention, rng, device, 6)
    x = rng.normal(1, 5, 6, dtype=WIDE).requires_grad_()
    real = torch.arange(5, device=device) >= 2
    result = module(x, real)
    assert (result[0, :2] == 0).all(), "tokens that see padding alone do not get zeros"
    same(result[:, 2:], module(x[:, 2:]).detach(), "the tokens after the padding")
    result.sum().backward()
    assert x.grad.isfinite().all(), "tokens that see padding alone: the gradient of x is nan"


@exercise("CausalSelfAttention")
def test_causal_is_a_self_attention(device, rng):
    module = day17.CausalSelfAttention(6, 4, bias=False)
    assert isinstance(module, day17.SelfAttention)
    found = {name: tuple(p.shape) for name, p in module.state_dict().items()}
    assert found == {f"{name}_proj.weight": (4, 6) for name in "qkv"}, f"it has {found}"


@exercise("CausalSelfAttention", ban=BAN)
@pytest.mark.parametrize("kind", ["bool", "float"])
@pytest.mark.parametrize("shape", MISFITS, ids=str)
def test_causal_refuses_a_mask_that_does_not_fit(shape, kind, device, rng):
    refuses_masks(make(day17.CausalSelfAttention, rng, device, 6), shape, kind, rng)


# local_attention -----------------------------------------------------------------------------


@exercise("local_attention", ban=BAN)
@shapes("length, window", (1, 1), (5, 1), (6, 2), (6, 3), (7, 3), (8, 3), (5, 4), (5, 5),
        (5, 6), (3, 100), (16, 4), gpu=[(1000, 64)])  # fmt: skip
def test_local_values(length, window, device, rng):
    q, k = (rng.normal(2, 3, length, 8, dtype=WIDE, std=2.0) for _ in "qk")
    v = rng.normal(2, 3, length, 5, dtype=WIDE)
    wanted, _ = attend(q, k, v, past(length, device, window))
    same(day17.local_attention(q, k, v, window), wanted, f"{length} tokens, window {window}")


@exercise("local_attention", ban=BAN)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_local_dtypes(dtype, device, rng):
    q, k, v = (rng.normal(2, 11, d, dtype=dtype) for d in (8, 8, 4))
    wanted, _ = attend(q, k, v, past(11, device, 3))
    close(day17.local_attention(q, k, v, 3), wanted, dtype=dtype, terms=16, scale=4.0,
          name=f"in {dtype}")  # fmt: skip


@exercise("local_attention", ban=BAN)
def test_local_leading_axes_and_strides(device, rng):
    q, k, v = (rng.normal(2, 7, d, dtype=WIDE) for d in (4, 4, 3))
    wanted, _ = attend(q, k, v, past(7, device, 3))
    same(day17.local_attention(q[0], k[0], v[0], 3), wanted[0], "without a batch")
    for (layout, qs), (_, ks), (_, vs) in zip(layouts(q), layouts(k), layouts(v), strict=True):
        same(day17.local_attention(qs, ks, vs, 3), wanted, f"of {layout} q, k, v")


@exercise("local_attention", ban=BAN)
@pytest.mark.parametrize("shape", [(2, 0, 4), (0, 5, 4), (0, 4)], ids=str)
def test_local_of_nothing(shape, device, rng):
    found = day17.local_attention(*(rng.normal(*shape) for _ in "qkv"), 3)
    assert found.shape == shape, f"q, k and v {shape} gave {tuple(found.shape)}"


@exercise("local_attention", ban=BAN)
@pytest.mark.parametrize("length, window", [(7, 3), (4, 9)])
def test_local_gradients(length, window, device, rng):
    leaves = [rng.normal(length, d, dtype=WIDE).requires_grad_() for d in (4, 4, 3)]
    twins = [x.detach().clone().requires_grad_() for x in leaves]
    day17.local_attention(*leaves, window).square().sum().backward()
    attend(*twins, past(length, device, window))[0].square().sum().backward()
    for name, x, y in zip("qkv", leaves, twins, strict=True):
        same(x.grad, y.grad, f"gradient of {name}, {length} tokens, window {window}")


@exercise("local_attention", ban=BAN)
def test_local_lies_on_the_device(device, rng):
    q, k, v = (rng.normal(2, 7, 4, dtype=WIDE) for _ in "qkv")
    with torch.device("meta"):  # where tensors land that are made without device=
        out = day17.local_attention(q, k, v, 3)
    assert out.device == q.device, f"q is on {q.device}, the result on {out.device}"


@exercise("local_attention", ban=BAN)
def test_local_never_forms_all_scores(device, rng):
    q, k, v = (rng.normal(2048, 8) for _ in "qkv")
    _, seen = watch(day17.local_attention, q, k, v, 16)
    share = seen.peak_bytes / (4 * 2048 * 2048)
    assert share <= 0.25, (
        f"length 2048, window 16: the peak is {share:.0%} of what 2048 · 2048 numbers take, at "
        "most 25 % was asked for"
    )
    _, seen = watch(day17.local_attention, *(rng.normal(8, 8) for _ in "qkv"), 1000)
    assert seen.peak_bytes <= 100_000, (
        f"8 tokens with a window of 1000 take {seen.peak_bytes:,} bytes: none sees as many as 1000"
    )


@exercise("local_attention", ban=BAN)
def test_local_has_no_loop(device, rng):
    counts = []
    for length in (16, 160):
        _, seen = watch(day17.local_attention, *(rng.normal(length, 4) for _ in "qkv"), 4)
        counts.append(len(seen.operators))
    assert counts[1] <= counts[0], f"{counts[0]} operators for 16 tokens, {counts[1]} for 160"


@exercise("local_attention", ban=BAN)
@pytest.mark.parametrize("window", [0, -3])
def test_local_refuses_windows(window, device, rng):
    with pytest.raises(ValueError) as refusal:
        day17.local_attention(*(rng.normal(5, 4) for _ in "qkv"), window)
        pytest.fail(f"a window of {window} went through: a ValueError was due")
    assert str(window) in str(refusal.value), f"which window? {str(refusal.value)!r}"


@exercise("local_attention", ban=BAN)
@pytest.mark.parametrize(
    "q, k, v",
    [((5, 4), (5, 3), (5, 4)), ((6, 4), (5, 4), (5, 4)), ((5, 4), (5, 4), (7, 4)),
     ((2, 5, 4), (3, 5, 4), (3, 5, 4)), ((2, 5, 4), (2, 5, 4), (1, 5, 4))],
    ids=str,
)  # fmt: skip
def test_local_refuses_shapes(q, k, v, device, rng):
    with pytest.raises(ValueError) as refusal:
        day17.local_attention(rng.normal(*q), rng.normal(*k), rng.normal(*v), 3)
        pytest.fail(f"q {q}, k {k} and v {v} do not fit together: a ValueError was due")
    message = str(refusal.value)
    wrong = (q, k) if q != k else (k, v)
    assert all(str(shape) in message for shape in wrong), f"which shapes? {message!r}"


# attention_rollout ---------------------------------------------------------------------------


def maps_of(rng, layers, *shape, dtype=WIDE):
    return [rng.normal(*shape, std=2.0, dtype=WIDE).softmax(-1).to(dtype) for _ in range(layers)]


def flow_of(maps):
    """Token by token, in float64."""
    total = None
    for w in maps:
        w = w.double()
        rows = [
            (w[..., i, :] + (torch.arange(w.shape[-1], device=w.device) == i))
            / (1 + w[..., i, :].sum(-1, keepdim=True))
            for i in range(w.shape[-1])
        ]
        step = torch.stack(rows, -2)
        total = step if total is None else torch.einsum("...ij,...jk->...ik", step, total)
    return total


@exercise("attention_rollout")
@shapes("layers, shape", (1, (4, 4)), (2, (4, 4)), (3, (2, 5, 5)), (4, (2, 3, 3, 3)), (12, (7, 7)),
        (2, (1, 1)), gpu=[(4, (8, 256, 256))])  # fmt: skip
def test_rollout_values(layers, shape, device, rng):
    maps = maps_of(rng, layers, *shape)
    same(day17.attention_rollout(maps), flow_of(maps), f"the rollout of {layers} layers")
    same(day17.attention_rollout(tuple(maps)), flow_of(maps), "the rollout of a tuple")


@exercise("attention_rollout")
def test_rollout_of_tokens_that_saw_nothing(device, rng):
    maps = maps_of(rng, 3, 5, 5)
    maps[1][2] = 0
    found = day17.attention_rollout(maps)
    same(found, flow_of(maps), "the rollout, a row of the second map being all zeros")
    same(found.sum(-1), torch.ones(5, dtype=WIDE, device=device), "the sum of each row")


@exercise("attention_rollout")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_rollout_dtypes(dtype, device, rng):
    maps = maps_of(rng, 8, 6, 6, dtype=dtype)
    close(day17.attention_rollout(maps), flow_of(maps), dtype=dtype, terms=64, factor=1.0,
          name=f"the rollout of 8 layers in {dtype}")  # fmt: skip


@exercise("attention_rollout")
def test_rollout_gradients(device, rng):
    leaves = [w.requires_grad_() for w in maps_of(rng, 3, 4, 4)]
    twins = [w.detach().clone().requires_grad_() for w in leaves]
    day17.attention_rollout(leaves).square().sum().backward()
    flow_of(twins).square().sum().backward()
    for i, (x, y) in enumerate(zip(leaves, twins, strict=True)):
        assert x.grad is not None, f"no gradient reaches map {i}"
        same(x.grad, y.grad, f"gradient of map {i}")


@exercise("attention_rollout")
def test_rollout_lies_on_the_device(device, rng):
    maps = maps_of(rng, 2, 4, 4)
    with torch.device("meta"):  # where tensors land that are made without device=
        found = day17.attention_rollout(maps)
    assert found.device == maps[0].device, f"maps on {maps[0].device}, result on {found.device}"


@exercise("attention_rollout")
def test_rollout_changes_no_map(device, rng):
    maps = maps_of(rng, 2, 4, 4)
    before = [w.clone() for w in maps]
    day17.attention_rollout(maps)
    assert all(torch.equal(w, b) for w, b in zip(maps, before, strict=True)), "a map has changed"


@exercise("attention_rollout")
def test_rollout_refuses_nothing():
    with pytest.raises(ValueError):
        day17.attention_rollout([])
        pytest.fail("no maps at all went through: a ValueError was due")


@exercise("attention_rollout")
@pytest.mark.parametrize(
    "maps",
    [[(3, 4)], [(2, 4, 3)], [(4,)], [(4, 4), (5, 5)], [(2, 4, 4), (2, 4, 4), (1, 4, 4)]],
    ids=str,
)
def test_rollout_refuses_shapes(maps, device, rng):
    with pytest.raises(ValueError) as refusal:
        day17.attention_rollout([rng.uniform(*shape) for shape in maps])
        pytest.fail(f"maps {maps} went through: a ValueError was due")
    message = str(refusal.value)
    assert all(str(shape) in message for shape in maps), f"which shapes? {message!r}"


# What compiles, last: it takes the longest -------------------------------------------------


@exercise("SelfAttention", seconds=60)  # no ban: its watching cannot be compiled
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_compiles_without_a_graph_break(dtype, device, rng):
    module = make(day17.SelfAttention, rng, device, 6, dtype=dtype)
    x, mask = rng.normal(2, 5, 6, dtype=dtype), rng.boolean(2, 1, 5, p=0.7)
    limit = 0.05 if dtype == torch.bfloat16 else 1e-4
    same_compiled(module, (x, mask), list(module.parameters()), "SelfAttention", limit)


@exercise("CausalSelfAttention", seconds=60)  # no ban: its watching cannot be compiled
def test_causal_compiles_without_a_graph_break(device, rng):
    for dtype, limit in ((torch.float32, 1e-4), (torch.bfloat16, 0.05)):
        module = make(day17.CausalSelfAttention, rng, device, 6, dtype=dtype)
        x, mask = rng.normal(2, 5, 6, dtype=dtype), rng.normal(2, 1, 5, dtype=dtype)
        same_compiled(module, (x, mask), list(module.parameters()), f"in {dtype}", limit)


@exercise("local_attention", seconds=60)  # no ban: its watching cannot be compiled
def test_local_compiles_without_a_graph_break(device, rng):
    for dtype, limit in ((torch.float32, 1e-4), (torch.bfloat16, 0.05)):
        leaves = [rng.normal(2, 7, d, dtype=dtype).requires_grad_() for d in (4, 4, 3)]
        same_compiled(day17.local_attention, (*leaves, 3), leaves, f"in {dtype}", limit)
