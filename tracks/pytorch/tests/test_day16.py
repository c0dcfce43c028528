"""Day 16: attention against float64, its masks, and rows that may look at nothing."""

import pytest
import torch
import torch.nn.functional as F

from harness.testing import close, exercise, layouts, shapes, watch
from tracks.pytorch import day16

BAN = ["scaled_dot_product_attention", "multi_head_attention_forward"]
HALF = [torch.float16, torch.bfloat16]


def attend(q, k, v, mask=None, scale=None):
    """Attention in float64; ``mask`` bool or float. Rows with no key are zero, gradients too."""
    q, k, v = q.double(), k.double(), v.double()
    scores = q @ k.mT * (q.shape[-1] ** -0.5 if scale is None else scale)
    hidden = torch.zeros_like(scores, dtype=torch.bool)
    if mask is not None and mask.dtype == torch.bool:
        hidden = hidden | ~mask
    elif mask is not None:
        hidden = hidden | (mask == -torch.inf)
        scores = scores + mask.double().masked_fill(mask == -torch.inf, 0.0)
    scores = scores.masked_fill(hidden, -1e4)
    powers = (scores - scores.amax(-1, keepdim=True)).exp().masked_fill(hidden, 0.0)
    total = powers.sum(-1, keepdim=True)
    return powers / total.masked_fill(total == 0, 1.0) @ v


def check(result, q, k, v, mask=None, scale=None, name="result"):
    expected = attend(q, k, v, mask, scale)
    size = v.double().abs().amax() if v.numel() else 1.0
    close(result, expected, dtype=q.dtype, terms=q.shape[-1] + k.shape[-2], scale=size, name=name)


def triangle(queries, keys, device):
    rows = [[j <= i + keys - queries for j in range(keys)] for i in range(queries)]
    return torch.tensor(rows, dtype=torch.bool, device=device).reshape(queries, keys)


def bias_like(rng, *shape):
    """A float mask that raises and lowers some scores and hides about a third of the keys."""
    return rng.normal(*shape).masked_fill(rng.boolean(*shape, p=0.33), -torch.inf)


@exercise("causal_mask")
@shapes("queries, keys", (1, 1), (3, 3), (1, 5), (4, 2), (0, 3), (3, 0))
def test_causal_mask(queries, keys, device):
    mask = day16.causal_mask(queries, keys, device)
    close(mask, triangle(queries, keys, device), name=f"causal_mask({queries}, {keys})")


@exercise("causal_mask")
def test_causal_mask_uses_the_device(device):
    with torch.device("meta"):  # where tensors land that are made without device=
        mask = day16.causal_mask(2, 3, device)
    assert mask.device.type == device.type, f"asked for on {device}, the mask lies on {mask.device}"


@exercise("causal_mask")
def test_causal_mask_has_no_loop(device):
    _, small = watch(day16.causal_mask, 4, 5, device)
    _, large = watch(day16.causal_mask, 64, 65, device)
    assert len(large.operators) <= len(small.operators), (
        f"{len(small.operators)} operators for 4 queries, {len(large.operators)} for 64"
    )


@exercise("padding_mask")
@shapes("batch, keys", (1, 1), (3, 5), (6, 9), (2, 0))
def test_padding_mask(batch, keys, device, rng):
    for dtype in (torch.int64, torch.int32):
        lengths = rng.integers(0, keys + 1, batch, dtype=dtype)
        rows = [[j < length for j in range(keys)] for length in lengths.tolist()]
        wanted = torch.tensor(rows, dtype=torch.bool, device=device).reshape(batch, 1, 1, keys)
        close(day16.padding_mask(lengths, keys), wanted, name=f"padding_mask({lengths.tolist()})")


@exercise("padding_mask")
def test_padding_mask_lies_with_the_lengths(device, rng):
    lengths = rng.integers(0, 6, 3)
    with torch.device("meta"):  # where tensors land that are made without device=
        mask = day16.padding_mask(lengths, 5)
    assert mask.device == lengths.device, f"lengths on {device}, the mask on {mask.device}"


@exercise("padding_mask")
def test_padding_mask_has_no_loop(device, rng):
    _, few = watch(day16.padding_mask, rng.integers(0, 9, 2), 8)
    _, many = watch(day16.padding_mask, rng.integers(0, 9, 64), 8)
    assert len(many.operators) <= len(few.operators), (
        f"{len(few.operators)} operators for 2 sequences, {len(many.operators)} for 64"
    )


@exercise("combine_masks")
def test_combine_nothing():
    assert day16.combine_masks() is None
    assert day16.combine_masks(None, None) is None


@exercise("combine_masks")
def test_combine_skips_none(device, rng):
    for mask in (rng.boolean(3, 4), rng.normal(3, 4)):
        for masks in ((mask,), (None, mask), (mask, None), (None, mask, None)):
            close(day16.combine_masks(*masks), mask, name=f"of {len(masks)} masks, one not None")


@exercise("combine_masks")
def test_combine_bools(device, rng):
    a, b, c = rng.boolean(2, 1, 1, 5, p=0.7), rng.boolean(4, 5, p=0.7), rng.boolean(3, 1, 1, p=0.7)
    wanted = torch.logical_and(torch.logical_and(a, b), c)
    close(day16.combine_masks(a, b, c), wanted, name="three bool masks")


@exercise("combine_masks")
def test_combine_floats(device, rng):
    a, b = bias_like(rng, 2, 1, 1, 5), bias_like(rng, 4, 5)
    close(day16.combine_masks(a, b), a.double() + b.double(), dtype=a.dtype, name="two floats")


@exercise("combine_masks")
@pytest.mark.parametrize("order", ["bool first", "float first", "bool between"])
def test_combine_bool_and_float(order, device, rng):
    seen, bias, more = rng.boolean(4, 1, p=0.6), rng.normal(3, 1, 5), rng.normal(4, 5)
    masks = {
        "bool first": (seen, bias, more),
        "float first": (bias, more, seen),
        "bool between": (bias, seen, more),
    }[order]
    wanted = (bias.double() + more.double()).masked_fill(~seen, -torch.inf)
    close(day16.combine_masks(*masks), wanted, dtype=bias.dtype, terms=2, scale=2.0, name=order)


@exercise("combine_masks")
def test_combine_hides_whatever_was_there(device):
    bias = torch.tensor([torch.inf, torch.nan, 1.0], device=device)
    seen = torch.tensor([False, False, True], device=device)
    wanted = torch.tensor([-torch.inf, -torch.inf, 1.0], device=device)
    close(day16.combine_masks(seen, bias), wanted, name="inf and nan where the bool says False")
    close(day16.combine_masks(bias, seen), wanted, name="inf and nan where the bool says False")


@exercise("combine_masks")
def test_combine_keeps_the_dtype_of_the_floats(device, rng):
    seen, half, single = rng.boolean(5), rng.normal(5, dtype=torch.bfloat16), rng.normal(5)
    for masks, dtype in [
        ((seen, half), torch.bfloat16),
        ((half, seen), torch.bfloat16),
        ((half, single), torch.float32),
        ((single, seen, half), torch.float32),
    ]:
        got = day16.combine_masks(*masks).dtype
        assert got == dtype, f"{[m.dtype for m in masks]} should give {dtype}, not {got}"


@exercise("scaled_dot_product_attention", ban=BAN)
@shapes("batch, heads, queries, keys, d, e", (1, 1, 1, 1, 1, 1), (2, 3, 5, 7, 8, 4),
        (1, 2, 9, 3, 16, 5), (2, 1, 1, 33, 12, 12), (0, 2, 3, 4, 8, 8), (1, 2, 0, 4, 8, 8),
        gpu=[(4, 16, 1024, 1023, 128, 64)])  # fmt: skip
def test_attention_values(batch, heads, queries, keys, d, e, device, rng):
    for dtype in (torch.float64, torch.float32, *HALF):
        q = rng.normal(batch, heads, queries, d, dtype=dtype)
        k = rng.normal(batch, heads, keys, d, dtype=dtype)
        v = rng.normal(batch, heads, keys, e, dtype=dtype)
        check(day16.scaled_dot_product_attention(q, k, v), q, k, v, name=f"{dtype} result")


@exercise("scaled_dot_product_attention", ban=BAN)
def test_attention_agrees_with_torch(device, rng):
    q, k, v = (rng.normal(2, 3, 6, 8, dtype=torch.float64) for _ in "qkv")
    for causal in (False, True):
        wanted = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
        got = day16.scaled_dot_product_attention(q, k, v, causal=causal)
        close(got, wanted, terms=16, scale=4.0, name=f"causal={causal}")


@exercise("scaled_dot_product_attention", ban=BAN)
def test_attention_of_any_strides(device, rng):
    q, k, v = rng.normal(2, 3, 8), rng.normal(2, 5, 8), rng.normal(2, 5, 4)
    for (layout, qs), (_, ks), (_, vs) in zip(layouts(q), layouts(k), layouts(v), strict=True):
        check(day16.scaled_dot_product_attention(qs, ks, vs), q, k, v, name=f"{layout} q, k, v")


@exercise("scaled_dot_product_attention", ban=BAN)
def test_attention_broadcasts_the_leading_axes(device, rng):
    q, k, v = rng.normal(2, 3, 4, 8), rng.normal(3, 5, 8), rng.normal(2, 1, 5, 6)
    check(day16.scaled_dot_product_attention(q, k, v), q, k, v, name="q of every head")
    q, k, v = rng.normal(4, 8), rng.normal(5, 8), rng.normal(5, 6)
    check(day16.scaled_dot_product_attention(q, k, v), q, k, v, name="no leading axes")


@exercise("scaled_dot_product_attention", ban=BAN)
@pytest.mark.parametrize("kind", ["bool", "float"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention_with_a_mask(kind, dtype, device, rng):
    q, k, v = (rng.normal(2, 3, n, 8, dtype=dtype) for n in (4, 5, 5))
    for shape in [(4, 5), (2, 1, 1, 5), (3, 1, 5), (2, 3, 4, 5), (4, 1), (5,)]:
        mask = rng.boolean(*shape, p=0.6) if kind == "bool" else bias_like(rng, *shape)
        got = day16.scaled_dot_product_attention(q, k, v, mask=mask)
        check(got, q, k, v, mask, name=f"with a {kind} mask {shape}")


@exercise("scaled_dot_product_attention", ban=BAN)
def test_attention_keeps_the_dtype_of_q_with_any_mask(device, rng):
    q, k, v = (rng.normal(2, n, 8) for n in (4, 5, 5))
    for dtype in (torch.float64, torch.bfloat16):
        mask = rng.normal(4, 5, dtype=dtype)
        got = day16.scaled_dot_product_attention(q, k, v, mask=mask)
        check(got, q, k, v, mask, name=f"float32 with a {dtype} mask")


@exercise("scaled_dot_product_attention", ban=BAN)
@shapes("queries, keys", (5, 5), (1, 6), (3, 7), (6, 4))
def test_attention_causal(queries, keys, device, rng):
    q, k, v = (rng.normal(2, 3, n, 8) for n in (queries, keys, keys))
    seen = triangle(queries, keys, device)
    got = day16.scaled_dot_product_attention(q, k, v, causal=True)
    check(got, q, k, v, seen, name=f"causal, {queries} queries and {keys} keys")


@exercise("scaled_dot_product_attention", ban=BAN)
def test_attention_causal_and_masked(device, rng):
    q, k, v = (rng.normal(2, 3, n, 8) for n in (4, 6, 6))
    ahead = ~triangle(4, 6, device)
    seen, bias = rng.boolean(2, 1, 1, 6, p=0.6), rng.normal(3, 4, 6)
    got = day16.scaled_dot_product_attention(q, k, v, mask=seen, causal=True)
    check(got, q, k, v, seen & ~ahead, name="causal with a bool mask")
    got = day16.scaled_dot_product_attention(q, k, v, mask=bias, causal=True)
    check(got, q, k, v, bias.masked_fill(ahead, -torch.inf), name="causal with a float mask")


def gradients(f, *inputs):
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    f(*leaves).square().sum().backward()
    return [x.grad for x in leaves]


@exercise("scaled_dot_product_attention", ban=BAN)
@pytest.mark.parametrize("kind", ["no", "bool", "float"])
def test_attention_gradients(kind, device, rng):
    mask = {"no": None, "bool": rng.boolean(4, 5, p=0.6), "float": bias_like(rng, 4, 5)}[kind]

    def masked(q, k, v):
        return day16.scaled_dot_product_attention(q, k, v, mask=mask)

    def wanted(q, k, v):
        return attend(q, k, v, mask)

    for dtype in (torch.float64, torch.float32):
        x = [rng.normal(2, n, 8, dtype=dtype) for n in (4, 5, 5)]
        found, right = gradients(masked, *x), gradients(wanted, *[t.double() for t in x])
        for name, g, w in zip("qkv", found, right, strict=True):
            name = f"{dtype} gradient of {name} with {kind} mask"
            close(g, w, dtype=dtype, terms=64, scale=10.0, name=name)


@exercise("scaled_dot_product_attention", ban=BAN)
@pytest.mark.parametrize("kind", ["no", "bool", "float", "causal"])
def test_attention_second_derivatives(kind, device, rng):
    # Row 0 sees no key, except without a mask.
    seen = torch.tensor([[False] * 2, [True, False], [True] * 2], device=device)
    options = {
        "no": {},
        "bool": {"mask": seen},
        "float": {"mask": torch.where(seen, 0.5, -torch.inf).double()},
        "causal": {"causal": True},
    }[kind]

    def f(q, k, v):
        return day16.scaled_dot_product_attention(q, k, v, **options)

    x = [rng.normal(1, n, 2, dtype=torch.float64).requires_grad_() for n in (3, 2, 2)]
    try:
        torch.autograd.gradgradcheck(f, x)
    except torch.autograd.gradcheck.GradcheckError as error:
        difference = " ".join(str(error).split())
        raise AssertionError(f"second derivatives with {kind} mask: {difference}") from None


@exercise("scaled_dot_product_attention", ban=BAN)
@pytest.mark.parametrize("kind", ["bool", "float", "causal"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_without_a_key_are_zero(kind, dtype, device, rng):
    q, k, v = (rng.normal(2, n, 8, dtype=dtype) for n in (6, 4, 4))
    options = {}
    if kind == "causal":  # two queries stand before the first key
        options["causal"], empty = True, [0, 1]
    else:
        mask = torch.ones(6, 4, dtype=torch.bool, device=device)
        mask[1], mask[4], empty = False, False, [1, 4]
        options["mask"] = mask if kind == "bool" else torch.where(mask, 0.5, -torch.inf)
    for x in (q, k, v):
        x.requires_grad_()
    out = day16.scaled_dot_product_attention(q, k, v, **options)
    assert not out.isnan().any(), f"{kind} mask: nan in rows {out.isnan().any(-1).nonzero()}"
    assert (out[:, empty] == 0).all(), f"rows {empty} see no key, but are {out[0, empty[0]]}"
    assert (out != 0).any(-1).sum() == 2 * 4, "rows that do see keys came out as zero"
    out.sum().backward()
    for name, x in zip("qkv", (q, k, v), strict=True):
        assert not x.grad.isnan().any(), (
            f"{kind} mask: the result is clean, but the gradient of {name} holds nan"
        )
    assert (q.grad[:, empty] == 0).all(), "a query that sees no key has a gradient"


@exercise("scaled_dot_product_attention", ban=BAN)
def test_gradient_of_a_float_mask(device, rng):
    q, k, v = (rng.normal(n, 8, dtype=torch.float64) for n in (5, 4, 4))
    bias = bias_like(rng, 5, 4).double()
    bias[2] = -torch.inf
    (got,) = gradients(lambda b: day16.scaled_dot_product_attention(q, k, v, mask=b), bias)
    (wanted,) = gradients(lambda b: attend(q, k, v, b), bias)
    close(got, wanted, terms=64, scale=10.0, name="gradient of the float mask")


@exercise("scaled_dot_product_attention", ban=BAN)
@pytest.mark.parametrize("causal", [False, True])
def test_no_keys_at_all(causal, device, rng):
    q, k, v = rng.normal(2, 3, 8), rng.normal(2, 0, 8), rng.normal(2, 0, 5)
    out = day16.scaled_dot_product_attention(q, k, v, causal=causal)
    close(out, torch.zeros(2, 3, 5, device=device), name="attention over no keys")


@exercise("scaled_dot_product_attention", ban=BAN)
def test_large_scores(device, rng):
    # Scores of about 10⁵: exp overflows, and so does float16 as soon as it holds them.
    for dtype in (torch.float32, *HALF):
        q, k = (rng.normal(2, n, 64, dtype=dtype, std=300) for n in (3, 6))
        v = rng.normal(2, 6, 64, dtype=dtype)
        out = day16.scaled_dot_product_attention(q, k, v)
        assert out.isfinite().all(), f"{dtype}: large scores overflow on the way"
        scores = (q.double() @ k.double().mT / 8).sort(-1, descending=True)
        sure = scores.values[..., 0] - scores.values[..., 1] > 100  # one key takes all the weight
        winners = v.gather(1, scores.indices[..., :1].expand(-1, -1, 64))
        close(out[sure], winners[sure], name=f"the {dtype} value of the winning key")


@exercise("scaled_dot_product_attention", ban=BAN)
@pytest.mark.parametrize("scale", [1.0, 0.1, -0.5, 0.0])
def test_scale(scale, device, rng):
    q, k, v = (rng.normal(2, n, 16) for n in (4, 5, 5))
    got = day16.scaled_dot_product_attention(q, k, v, scale=scale)
    check(got, q, k, v, scale=scale, name=f"scale={scale}")
    bias = rng.normal(4, 5)
    got = day16.scaled_dot_product_attention(q, k, v, mask=bias, scale=scale)
    check(got, q, k, v, bias, scale, name=f"scale={scale} and a float mask, which is not scaled")


@exercise("scaled_dot_product_attention", ban=BAN)
def test_weights_through_the_identity(device, rng):
    q, k = rng.normal(3, 4, 8), rng.normal(3, 6, 8)
    weights = day16.scaled_dot_product_attention(q, k, torch.eye(6, device=device), causal=True)
    ones = torch.ones(3, 4, device=device, dtype=torch.float64)
    close(weights.sum(-1), ones, dtype=weights.dtype, terms=6, name="sum of a row of weights")
    assert (weights >= 0).all(), "a weight is negative"


@exercise("scaled_dot_product_attention", ban=BAN)
def test_dropout_on_the_weights(device, rng):
    q, k, p = rng.normal(200, 8), rng.normal(50, 8), 0.3
    eye = torch.eye(50, device=device)
    full = day16.scaled_dot_product_attention(q, k, eye)
    dropped = day16.scaled_dot_product_attention(q, k, eye, dropout=p)
    kept = dropped != 0
    raised = full.double() / (1 - p)
    close(dropped[kept], raised[kept], dtype=full.dtype, terms=64, name="the weights that are kept")
    share = 1 - kept.double().mean().item()
    sigma = (p * (1 - p) / kept.numel()) ** 0.5
    assert abs(share - p) < 6 * sigma, f"{share:.1%} of the weights were dropped with dropout={p}"
    again = day16.scaled_dot_product_attention(q, k, eye, dropout=p)
    assert not torch.equal(dropped, again), "two calls dropped the same weights"


@exercise("scaled_dot_product_attention", ban=BAN)
def test_dropout_of_nothing_and_of_everything(device, rng):
    q, k, v = (rng.normal(2, n, 8) for n in (4, 5, 5))
    check(day16.scaled_dot_product_attention(q, k, v, dropout=0.0), q, k, v, name="dropout=0")
    out = day16.scaled_dot_product_attention(q, k, v, dropout=1.0)
    close(out, torch.zeros(2, 4, 8, device=device), name="dropout=1")


@exercise("scaled_dot_product_attention", seconds=60)  # no ban: its watching cannot be compiled
def test_compiles_without_a_graph_break(device, rng):
    attention = torch.compile(
        day16.scaled_dot_product_attention, backend="aot_eager", fullgraph=True, dynamic=False
    )
    q, k, v = (rng.normal(2, n, 8, dtype=torch.bfloat16) for n in (3, 5, 5))
    mask = rng.boolean(2, 1, 5)
    check(attention(q, k, v, mask=mask, causal=True), q, k, v, mask & triangle(3, 5, device))
    q, k, v = (x.float().requires_grad_() for x in (q, k, v))
    bias = bias_like(rng, 3, 5)
    out = attention(q, k, v, mask=bias, dropout=0.1)
    out.sum().backward()
    assert q.grad.isfinite().all()


@exercise("scaled_dot_product_attention", ban=BAN)
@pytest.mark.parametrize(
    "q, k, v, named", [((3, 8), (5, 7), (5, 4), (8, 7)), ((2, 3, 8), (2, 5, 8), (2, 6, 4), (5, 6))]
)
def test_refuses_shapes_that_do_not_fit(q, k, v, named, device, rng):
    with pytest.raises(ValueError) as refusal:
        day16.scaled_dot_product_attention(rng.normal(*q), rng.normal(*k), rng.normal(*v))
        pytest.fail(f"q {q}, k {k} and v {v} do not fit together, but were accepted")
    message = str(refusal.value)
    assert all(str(n) in message for n in named), f"which shapes do not fit? {message!r}"


@exercise("scaled_dot_product_attention", ban=BAN)
def test_refuses_an_integer_mask(device, rng):
    q, k, v = (rng.normal(n, 8) for n in (3, 5, 5))
    with pytest.raises(ValueError) as refusal:
        day16.scaled_dot_product_attention(q, k, v, mask=rng.integers(0, 2, 3, 5))
        pytest.fail("an int64 mask was accepted: does 0 hide, or add nothing?")
    assert "int64" in str(refusal.value), f"which dtype? {str(refusal.value)!r}"


@exercise("attention_variance")
@shapes("d, queries, keys", (64, 400, 500), (1024, 256, 200))
def test_variances(d, queries, keys):
    seen = day16.attention_variance(d, queries, keys)
    # Var(q·k) = d; the variance of its estimate, queries and keys being shared among the scores:
    sigma = ((2 + 6 / d) / (queries * keys) + 2 / d * (1 / queries + 1 / keys)) ** 0.5
    assert abs(seen.raw / d - 1) < 7 * sigma, f"d = {d}: the variance of q·k came out {seen.raw}"
    assert abs(seen.scaled - 1) < 7 * sigma, f"d = {d}: scaled, it came out {seen.scaled}"
    assert abs(seen.scaled * d / seen.raw - 1) < 1e-3, "raw and scaled are not of the same scores"


@exercise("attention_variance")
@shapes("d, keys", (4, 8), (512, 32))
def test_largest_weights(d, keys, device, rng):
    # The same measured here, over fifty sets of keys; one set may lie well off the mean.
    raw, scaled = [], []
    for _ in range(50):
        scores = rng.normal(300, d).double() @ rng.normal(keys, d).double().T
        raw.append(scores.softmax(-1).amax(-1).mean())
        scaled.append((scores / d**0.5).softmax(-1).amax(-1).mean())
    seen = [day16.attention_variance(d, 300, keys) for _ in range(25)]
    for name, wanted in (("largest_raw", raw), ("largest_scaled", scaled)):
        wanted = torch.stack(wanted)
        mean, spread = wanted.mean().item(), wanted.std().item() / 5
        got = sum(getattr(s, name) for s in seen) / 25
        assert abs(got - mean) < 8 * spread + 0.002, (
            f"d = {d}, {keys} keys: {name} is {got:.3f}, about {mean:.3f} was expected"
        )


@exercise("attention_variance")
def test_statistics_are_plain_numbers():
    seen = day16.attention_variance(8)
    assert isinstance(seen, day16.ScoreStatistics)
    assert all(type(value) is float for value in seen), f"floats, not tensors: {seen}"
