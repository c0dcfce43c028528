import math
import re

import pytest
import torch

from harness.testing import close, compiled, exercise, refused, shapes, watch
from tracks.triton.electives import day02

F32, F16, BF16 = torch.float32, torch.float16, torch.bfloat16
BAN = ["scaled_dot_product_attention"]
CHIP = "sm_90a"  # Gluon has no interpreter, and wgmma exists on Hopper alone
CAUSAL = pytest.mark.parametrize("causal", [False, True], ids=["full", "causal"])
nan, inf = float("nan"), float("inf")
FEW = 16
"""Bytes a thread that the backward kernel may spill: triton 3.7 keeps a few addresses there, which
it writes once a program; 3.6 spills nothing."""


# What the compiler makes of it: make verify compiles these where there is no such GPU ----------


def zeros(*shape, dtype=BF16):
    return torch.zeros(shape, dtype=dtype, device="cuda" if torch.cuda.is_available() else "cpu")


def launch_gradients(function):
    for dim in (64, 128):
        for keys, causal in ((256, False), (256, True), (300, False)):
            q, k = zeros(1, 2, 256, dim), zeros(1, 1, keys, dim)
            getattr(day02, function)(q, k, k, q, zeros(1, 2, 256, dtype=F32), q, causal)


def launch_terms():
    for dim in (64, 128):
        o = zeros(1, 2, 100, dim)
        day02.row_terms(o, o, zeros(1, 2, 100, dtype=F32))


LAUNCHES = {
    "row_terms": launch_terms,
    "add_tiles": lambda: day02.add_tiles(zeros(128, 64), 64),
    "flash_dkdv_gluon": lambda: launch_gradients("flash_dkdv_gluon"),
    "flash_attention_backward": lambda: launch_gradients("flash_attention_backward"),
}


def constants(report):
    """What the launch fixed, without the descriptors' types: ``SLOTS = 2, CAUSAL = True``."""
    return ", ".join(re.findall(r"\b[A-Z_]+ = \w+", report.specialisation))


def check_report(name, report):
    form = f"{report.kernel} for {report.chip} ({constants(report)})"
    assert report.refused is None, f"the compiler refuses {form}: {report.refused.text()}"
    may_spill = FEW if name == "flash_attention_backward" else 0
    assert report.spill_bytes <= may_spill, f"{form} spills {report.spill_bytes} bytes a thread"
    assert report.shared_bytes <= report.shared_limit, (
        f"{form} takes {report.shared_bytes} bytes of shared memory of {report.shared_limit}"
    )
    if report.kernel == "row_terms_kernel":
        if name == "row_terms":
            widest = report.widest_load_bits
            assert widest == 128, f"{form} reads o and do {widest} bits at a time"
        return
    assert report.tma, f"{form} copies no tile by the TMA"
    if name.startswith("flash") and report.kernel.startswith("flash"):
        assert str(report.tensor_core).startswith("wgmma"), (
            f"products of {form} are computed by {report.tensor_core or 'no tensor core'}"
        )


# row_terms ----------------------------------------------------------------------------------


@exercise("row_terms", gpu=CHIP, seconds=60)
@shapes(
    "batch, heads, queries, dim",
    *[(1, 1, 1, 64), (2, 3, 64, 128), (1, 2, 65, 80), (2, 1, 200, 8)],
    gpu=[(2, 8, 5000, 128)],
)
def test_terms(batch, heads, queries, dim, rng):
    o, do = (rng.normal(batch, heads, queries, dim, dtype=BF16) for _ in range(2))
    lse = rng.normal(batch, heads, queries, std=3.0, dtype=F32)
    (scores, delta), seen = watch(day02.row_terms, o, do, lse)
    padded = 64 * math.ceil(queries / 64)
    for what, x in (("-lse", scores), ("-delta", delta)):
        assert x.shape == (batch, heads, padded), (
            f"{queries} queries fill {padded} rows of whole blocks, but {what} has {tuple(x.shape)}"
        )
        assert x[:, :, queries:].eq(0).all(), f"{what} is not 0 beyond the queries"
    close(scores[:, :, :queries], -lse.double() / math.log(2), dtype=F32, scale=1.0, name="-lse")
    due = -(o.double() * do.double()).sum(-1)
    close(delta[:, :, :queries], due, dtype=F32, terms=dim, scale=1.0, name="-delta")
    assert len(seen.launches) == 1, f"expected 1 kernel launch, saw {len(seen.launches)}"


@exercise("row_terms", gpu=CHIP, seconds=60)
def test_terms_of_queries_that_see_no_key(rng):
    o, do = (rng.normal(1, 1, 3, 64, dtype=F16) for _ in range(2))
    lse = torch.tensor([[[1.0, -inf, 0.0]]], device=o.device)
    scores, _ = day02.row_terms(o, do, lse)
    found = scores[0, 0, :3].tolist()
    assert found[1] == -inf, f"a query that sees no key has -lse = -inf here, not {found[1]}"
    assert abs(found[0] + 1 / math.log(2)) < 1e-6, "its neighbours are as ever"


@exercise("row_terms", gpu=CHIP, seconds=60)
def test_terms_of_a_gradient_in_any_order(rng):
    o, do = (rng.normal(2, 3, 70, 64, dtype=F16) for _ in range(2))
    lse = torch.zeros(2, 3, 70, device=o.device)
    view = do.transpose(1, 2).contiguous().transpose(1, 2)
    _, delta = day02.row_terms(o, view, lse)
    due = -(o.double() * do.double()).sum(-1)
    close(delta[:, :, :70], due, dtype=F32, terms=64, scale=1.0, name="-delta of a transposed do")


# add_tiles ----------------------------------------------------------------------------------


@exercise("add_tiles", gpu=CHIP, seconds=60)
@shapes(
    "count, rows, columns",
    *[(1, 64, 8), (3, 64, 64), (2, 128, 72), (9, 64, 200)],
    gpu=[(200, 128, 1032)],
)
def test_sums_of_matrices(count, rows, columns, rng):
    x = rng.normal(count * rows, columns, dtype=BF16)
    out, seen = watch(day02.add_tiles, x, rows)
    due = x.double().view(count, rows, columns).sum(0)
    close(out, due, dtype=F32, terms=count, scale=1.0)
    assert len(seen.launches) == 1, f"expected 1 kernel launch, saw {len(seen.launches)}"


@exercise("add_tiles", gpu=CHIP, seconds=60)
def test_refuses_other_numbers_of_rows(rng):
    x = rng.normal(192, 8, dtype=F16)
    for rows in (0, 32, 128):
        refused(day02.add_tiles, x, rows, what=f"{rows} rows of 192")
    refused(day02.add_tiles, x[:, :3], 64, what="a result with rows of 12 bytes")


# Gradients ----------------------------------------------------------------------------------


def forward64(q, k, v, causal):
    """o, rounded to q's dtype, and lse in float32: what a forward pass keeps."""
    group = q.shape[1] // k.shape[1]
    q64, k64, v64 = (x.double() for x in (q, k, v))
    k64, v64 = (x.repeat_interleave(group, 1) for x in (k64, v64))
    s = scores64(q64, k64, causal)
    lse = s.logsumexp(-1)
    p = (s - lse.nan_to_num(neginf=0.0)[..., None]).exp()
    return (p @ v64).to(q.dtype), lse.float()


def scores64(q, k, causal):
    s = q @ k.mT * q.shape[3] ** -0.5
    queries, keys = s.shape[2:]
    hidden = torch.ones(queries, keys, dtype=torch.bool, device=s.device)
    return s.masked_fill(hidden.triu(1 + keys - queries), -inf) if causal else s


def shared(x, group):
    return x.unflatten(1, (-1, group)).sum(2)


def gradients64(q, k, v, o, lse, do, causal):
    """By name, each in float64 with what float32 and the inputs' dtype may lose on the way."""
    group = q.shape[1] // k.shape[1]
    coarse = torch.finfo(q.dtype).eps / torch.finfo(F32).eps
    scale, dim = q.shape[3] ** -0.5, math.sqrt(q.shape[3])
    q, k, v, o, lse, do = (x.double() for x in (q, k, v, o, lse, do))
    k, v = (x.repeat_interleave(group, 1) for x in (k, v))
    s = scores64(q, k, causal)
    low = torch.where(lse == -inf, inf, lse)[..., None]
    p = (s - low).exp()
    delta = (do * o).sum(-1, keepdim=True)
    dp = do @ v.mT
    ds = p * (dp - delta)
    # A score may be off by an eps of its summands' size and of itself, a weight by that share.
    lost = 1 + (q.square() @ k.square().mT).sqrt()
    lost = lost + torch.where(p > 0, s.abs() + low.abs(), 0.0)
    p_size = p * (lost + coarse)
    dp_size = ((do.square() @ v.square().mT).sqrt() + (do * o).norm(dim=-1, keepdim=True)) * dim
    ds_size = p * dp_size + p * lost * (dp - delta).abs() + coarse * ds.abs()
    # Partial sums of a long sum are rounded, too.
    rows, columns = (1 + math.sqrt(n / 16) for n in s.shape[-2:])

    def summed(weights, others, runs, group=1):
        return shared(runs**2 * (weights.square() @ others.square()), group).sqrt()

    return {
        "dq": (scale * (ds @ k), scale * summed(ds_size, k, columns)),
        "dk": (scale * shared(ds.mT @ q, group), scale * summed(ds_size.mT, q, rows, group)),
        "dv": (shared(p.mT @ do, group), summed(p_size.mT, do, rows, group)),
    }


GRADIENTS = {"flash_dkdv_gluon": ["dk", "dv"], "flash_attention_backward": ["dq", "dk", "dv"]}
LAUNCHED = {"flash_dkdv_gluon": 2, "flash_attention_backward": 4}


def operands(rng, batch, heads, kv_heads, queries, keys, dim, dtype=BF16):
    """q, k, v and do."""
    q, do = (rng.normal(batch, heads, queries, dim, dtype=dtype) for _ in range(2))
    k, v = (rng.normal(batch, kv_heads, keys, dim, dtype=dtype) for _ in range(2))
    return q, k, v, do


def check(name, q, k, v, do, causal, about=""):
    o, lse = forward64(q, k, v, causal)
    results, seen = watch(getattr(day02, name), q, k, v, o, lse, do, causal)
    expected = gradients64(q, k, v, o, lse, do, causal)
    for which, x in zip(GRADIENTS[name], results, strict=True):
        right, size = expected[which]
        close(x, right, dtype=q.dtype, scale=size, name=f"{which}{about}")
        assert x.is_contiguous(), f"{which} has the strides {x.stride()}, not contiguous ones"
    most = LAUNCHED[name]
    assert len(seen.launches) <= most, f"{len(seen.launches)} kernel launches, more than {most}"
    main = seen.launches[1]
    due = k.shape[0] * k.shape[1] * math.ceil(k.shape[2] / 128)
    assert main.programs == due, (
        f"{main.programs} programs were launched for {k.shape[2]} keys, but {due} were due"
    )


def each(test):
    """The test for each of the two exercises, with the exercise's name as its first argument."""
    made = {}
    for name in GRADIENTS:

        def one(causal, rng, name=name):
            test(name, causal, rng)

        one.__doc__ = test.__doc__
        made[f"test_{test.__name__}_{name}"] = exercise(name, ban=BAN, gpu=CHIP, seconds=60)(
            CAUSAL(one)
        )
    globals().update(made)
    return test


SIZES = [
    (1, 1, 1, 1, 1, 64),
    (1, 1, 1, 64, 128, 128),
    (1, 2, 1, 65, 129, 64),
    (2, 4, 2, 100, 300, 128),
    (1, 1, 1, 257, 100, 80),
    (1, 3, 1, 200, 256, 8),
]
LARGE = [(2, 8, 2, 1500, 2048, 128), (1, 4, 4, 1777, 1777, 64)]
NAMES = "batch, heads, kv_heads, queries, keys, dim"


@exercise("flash_dkdv_gluon", ban=BAN, gpu=CHIP, seconds=60)
@CAUSAL
@shapes(NAMES, *SIZES, gpu=LARGE)
def test_dk_and_dv(batch, heads, kv_heads, queries, keys, dim, causal, rng):
    tensors = operands(rng, batch, heads, kv_heads, queries, keys, dim)
    check("flash_dkdv_gluon", *tensors, causal)


@exercise("flash_attention_backward", ban=BAN, gpu=CHIP, seconds=60)
@CAUSAL
@shapes(NAMES, *SIZES, gpu=LARGE)
def test_all_gradients(batch, heads, kv_heads, queries, keys, dim, causal, rng):
    tensors = operands(rng, batch, heads, kv_heads, queries, keys, dim)
    check("flash_attention_backward", *tensors, causal)


@each
def lengths(name, causal, rng):
    """One, two and three blocks of queries beside tiles of keys that are full, cut or alone."""
    for queries, keys in ((64, 64), (128, 129), (192, 128), (193, 300), (320, 384), (50, 257)):
        tensors = operands(rng, 1, 1, 1, queries, keys, 64, F16)
        check(name, *tensors, causal, f" for {queries} queries and {keys} keys")


@each
def shared_heads(name, causal, rng):
    q, k, v, do = operands(rng, 1, 6, 2, 130, 150, 64, F16)
    do = do * torch.arange(1.0, 7.0, device=q.device)[:, None, None].half()
    check(name, q, k, v, do, causal, " of heads that share keys")


@each
def views(name, causal, rng):
    q, k, v, do = (
        x.transpose(1, 2).contiguous().transpose(1, 2) for x in operands(rng, 2, 3, 3, 70, 140, 128)
    )
    check(name, q, k, v, do, causal, " of operands in the order of tokens")


@each
def hidden_scores_far_above_the_others(name, causal, rng):
    """exp of a hidden score is inf; hidden, it counts for nothing. So does a key beyond the end,
    whose score is 0 where all others are far below."""
    q, k, v, do = operands(rng, 1, 1, 1, 150, 150, 64, F16)
    q, k = q.clone(), k.clone()
    q[..., 0] = 8.0
    k[..., 0] = 200.0 * torch.linspace(-1, 1, 150, device=q.device).half() if causal else -300.0
    check(name, q, k, v, do, causal, " for scores of hundreds")


@each
def other_operands(name, causal, rng):
    q, k, v, do = operands(rng, 1, 2, 2, 8, 8, 64)
    o, lse = forward64(q, k, v, causal)
    function = getattr(day02, name)
    refused(function, q, k, v[:, :, :7], o, lse, do, causal, what="fewer values than keys")
    refused(function, q, k, v, o, lse[:, :, :7], do, causal, what="an lse of other queries")
    refused(function, q, k, v, o, lse, do[:, :1], causal, what="a do of one head of two")
    wide = torch.zeros(1, 2, 8, 256, dtype=BF16, device=q.device)
    refused(function, wide, wide, wide, wide, lse, wide, causal, what="heads of 256 elements")


@exercise("flash_attention_backward", ban=BAN, gpu=CHIP, seconds=60)
@CAUSAL
def test_dk_and_dv_are_the_same_every_time(causal, rng):
    q, k, v, do = operands(rng, 1, 2, 2, 400, 400, 64)
    o, lse = forward64(q, k, v, causal)
    _, *first = day02.flash_attention_backward(q, k, v, o, lse, do, causal)
    for _ in range(8):
        _, *again = day02.flash_attention_backward(q, k, v, o, lse, do, causal)
        same = all(torch.equal(x, y) for x, y in zip(first, again, strict=True))
        assert same, "two runs give another dk or dv: is something overwritten before it is read?"


@exercise("row_terms", gpu=CHIP, seconds=60)
def test_row_terms_compiles():
    for report in compiled(LAUNCHES["row_terms"]):
        check_report("row_terms", report)


@exercise("add_tiles", gpu=CHIP, seconds=60)
def test_add_tiles_compiles():
    for report in compiled(LAUNCHES["add_tiles"]):
        check_report("add_tiles", report)


@exercise("flash_dkdv_gluon", gpu=CHIP, seconds=60)
def test_flash_dkdv_gluon_compiles():
    for report in compiled(LAUNCHES["flash_dkdv_gluon"]):
        check_report("flash_dkdv_gluon", report)


@exercise("flash_attention_backward", gpu=CHIP, seconds=60)
def test_flash_attention_backward_compiles():
    for report in compiled(LAUNCHES["flash_attention_backward"]):
        check_report("flash_attention_backward", report)
