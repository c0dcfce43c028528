import math

import pytest
import torch

from harness.testing import (
    close,
    compiled,
    exercise,
    far_apart,
    layouts,
    refused,
    shapes,
    watch,
    why_narrow,
)
from tracks.triton import day17, day21, day27

F32, F16, BF16 = torch.float32, torch.float16, torch.bfloat16
DTYPES = {"float32": F32, "float16": F16, "bfloat16": BF16}
HALVES = pytest.mark.parametrize("dtype", [F16, BF16], ids=str)
nan, inf = float("nan"), float("inf")


def check_launch(seen, out, programs):
    """One launch of so many programs, and no memory beyond the result: a copy would show here."""
    assert out.is_contiguous(), f"the result has the strides {out.stride()}, not contiguous ones"
    if out.numel() or seen.launches:
        assert len(seen.launches) == 1, f"expected 1 kernel launch, saw {len(seen.launches)}"
        grid = seen.launches[0].grid
        assert math.prod(grid[1:]) == 1, f"the grid {grid} has more than one axis"
        assert grid[0] == programs, f"{grid[0]} programs were launched, but {programs} were due"
    size = out.numel() * out.element_size()
    assert seen.peak_bytes <= size + 1024, (
        f"the result takes {size} bytes, but {seen.peak_bytes} were allocated: is an input "
        "transposed or repeated by a copy, or an intermediate result stored?"
    )


def tiles(rows, columns, matrices, element_size):
    """How many programs a product of so many matrices of this shape takes."""
    config = day21._config_of({(rows, columns): matrices}, element_size)
    across, down = math.ceil(columns / config["BLOCK_N"]), math.ceil(rows / config["BLOCK_M"])
    return matrices * across * down


def repeated(x, heads):
    """x in float64 with each of its heads so often in a row that there are ``heads``."""
    return x.double().repeat_interleave(heads // max(x.shape[1], 1), dim=1)


def with_small_tiles(monkeypatch, shape, matrices, element_size):
    """For the day in hand _config_of gives small tiles, higher than wide; it is asked for these."""

    def config_of(shapes, size):
        assert (dict(shapes), size) == ({shape: matrices}, element_size), (
            f"_config_of was asked for {dict(shapes)} of {size} bytes, but there are {matrices} "
            f"results of {shape} from elements of {element_size} bytes"
        )
        return {"BLOCK_M": 32, "BLOCK_N": 16, "BLOCK_K": 32, "num_warps": 4, "num_stages": 2}

    monkeypatch.setattr(day27, "_config_of", config_of)
    monkeypatch.setattr(day21, "_config_of", config_of)


def check_product_report(reports):
    (report,) = reports
    assert report.refused is None, f"the compiler refuses the kernel: {report.refused.text()}"
    assert report.spill_bytes == 0, f"the kernel spills {report.spill_bytes} bytes a thread"
    assert "wgmma" in str(report.tensor_core), (
        f"the product is computed by {report.tensor_core or 'no tensor core'}, and not by wgmma"
    )
    for what, width in (("loads", report.widest_load_bits), ("stores", report.widest_store_bits)):
        assert width == 128, f"{what} are {width} bits wide: {why_narrow(report)}"


# attention_scores ---------------------------------------------------------------------------

# batch, heads, kv_heads, queries, keys, dim
SCORES = [
    (0, 2, 1, 3, 4, 5, "float32"),
    (1, 2, 2, 0, 4, 5, "float16"),
    (1, 2, 1, 3, 0, 5, "float16"),
    (2, 2, 1, 3, 4, 0, "float32"),
    (1, 1, 1, 1, 1, 1, "float32"),
    (2, 6, 2, 5, 7, 17, "bfloat16"),
    (1, 2, 2, 65, 63, 64, "float16"),
    (2, 3, 3, 64, 129, 33, "float32"),
    (1, 4, 1, 1, 200, 130, "bfloat16"),
]
LARGE = [
    (2, 8, 2, 2048, 2048, 128, "bfloat16"),
    (3, 4, 4, 1023, 2049, 80, "float16"),
    (70_000, 1, 1, 3, 5, 16, "float16"),
]
NAMES = "batch, heads, kv_heads, queries, keys, dim, dtype"


def check_scores(q, k, scale, values=None, **options):
    s, seen = watch(day27.attention_scores, q, k, scale)
    q64, k64 = (x.double() for x in (values or (q, k)))
    k64 = repeated(k64, q.shape[1])
    expected = scale * (q64 @ k64.mT)
    size = abs(scale) * (q64.square() @ k64.square().mT / max(q.shape[3], 1)).sqrt()
    options = {"terms": max(q.shape[3], 1), "scale": size} | options
    close(s, expected, dtype=F32, **options)
    matrices = q.shape[0] * q.shape[1]
    check_launch(seen, s, tiles(q.shape[2], k.shape[2], matrices, q.element_size()))


@exercise("attention_scores")
def test_scores_refuse(rng):
    q = rng.normal(2, 4, 5, 8)
    for shape, what in (
        ((1, 4, 5, 8), "2 batches of queries and 1 of keys"),
        ((2, 3, 5, 8), "4 heads that share 3 heads of keys"),
        ((2, 8, 5, 8), "4 heads that share 8 heads of keys"),
        ((2, 4, 5, 7), "queries of 8 elements and keys of 7"),
        ((2, 4, 5, 9), "queries of 8 elements and keys of 9"),
        ((4, 5, 8), "keys with three axes"),
    ):
        refused(day27.attention_scores, q, rng.normal(*shape), 1.0, what=what)
    half = rng.normal(2, 4, 5, 8, dtype=F16)
    refused(day27.attention_scores, q, half, 1.0, what="queries in float32 and keys in float16")


@exercise("attention_scores")
def test_scores_of_heads_that_differ(rng):
    # Six heads of queries, two of keys, and each pair of them has a product of its own.
    q, k = rng.normal(2, 6, 3, 8).clone(), rng.normal(2, 2, 4, 8).clone()
    q *= torch.arange(1.0, 7.0, device=q.device)[:, None, None]
    k[:, 1], k[1, 0] = 100 * k[:, 1], nan
    check_scores(q, k, 1.0)


@exercise("attention_scores")
def test_scores_of_many_tiles(rng, monkeypatch):
    with_small_tiles(monkeypatch, (50, 40), 4, 2)
    check_scores(rng.normal(2, 2, 50, 40, dtype=F16), rng.normal(2, 1, 40, 40, dtype=F16), 0.5)


@exercise("attention_scores")
@shapes(NAMES, *SCORES, gpu=LARGE)
def test_scores_match_float64(batch, heads, kv_heads, queries, keys, dim, dtype, rng):
    q = rng.normal(batch, heads, queries, dim, dtype=DTYPES[dtype])
    check_scores(q, rng.normal(batch, kv_heads, keys, dim, dtype=DTYPES[dtype]), 0.3)


@exercise("attention_scores")
@pytest.mark.parametrize("scale", [0.0, -2.0, 1.0, 1e-3, 1e4])
def test_scores_with_any_scale(scale, rng):
    check_scores(rng.normal(1, 2, 5, 24), rng.normal(1, 2, 6, 24), scale)


@exercise("attention_scores")
@HALVES
def test_scores_are_not_rounded_to_16_bits(dtype, rng):
    q, k = rng.normal(2, 2, 20, 400, dtype=dtype), rng.normal(2, 1, 30, 400, dtype=dtype)
    check_scores(q, k, 0.05)
    # Beyond float16 on the way, and beyond it for good.
    check_scores(100 * q, 100 * k, 1e-3)
    check_scores(100 * q, 100 * k, 1.0)


@exercise("attention_scores")
def test_scores_of_float32_keep_all_digits(rng):
    q, k = rng.normal(1, 1, 33, 64, mean=1.0), rng.normal(1, 1, 20, 64, mean=1.0)
    check_scores(q, k, 0.125)


@exercise("attention_scores")
def test_scores_read_any_strides(rng):
    q, k = rng.normal(2, 4, 5, 18), rng.normal(2, 2, 7, 18)
    cases = [(f"{name} q", view, k) for name, view in layouts(q)]
    cases += [(f"{name} k", q, view) for name, view in layouts(k)]
    # How a linear layer leaves them: (batch, tokens, heads, dim), of which this is a view.
    cases += [
        ("q in token order", q.transpose(1, 2).clone().transpose(1, 2), k),
        ("k in token order", q, k.transpose(1, 2).clone().transpose(1, 2)),
        ("k repeated over the batch", q, k[:1].expand(2, 2, 7, 18)),
    ]
    for name, x, y in cases:
        check_scores(x, y, 0.5, name=f"scores with a {name}")


@exercise("attention_scores")
def test_scores_read_beyond_int32(rng):
    q, k = rng.normal(3, 3, 3, 4, dtype=F16), rng.normal(3, 3, 4, 4, dtype=F16)
    for name, view in far_apart(q):
        check_scores(view, k, 0.5, values=(q, k), name=f"scores of a {name} q")
    for name, view in far_apart(k):
        check_scores(q, view, 0.5, values=(q, k), name=f"scores of a {name} k")


@exercise("attention_scores", gpu=True)
@shapes("queries, keys", gpu=[(70_000, 40_000)])
def test_scores_write_beyond_int32(queries, keys, rng):
    q, k = rng.normal(1, 1, queries, 16, dtype=F16), rng.normal(1, 1, keys, 16, dtype=F16)
    s = day27.attention_scores(q, k, 0.25)[:, :, -3:]
    close(s, 0.25 * (q[:, :, -3:].double() @ k.double().mT), dtype=F32, terms=16, scale=1.0)


@exercise("attention_scores")
def test_scores_compile_to_tensor_cores(rng, monkeypatch):
    monkeypatch.setattr(day27, "_config_of", lambda *sizes: day17._config(8192, 8192, 2))
    q, k = rng.normal(1, 2, 128, 64, dtype=BF16), rng.normal(1, 1, 256, 64, dtype=BF16)
    check_product_report(compiled(day27.attention_scores, q, k, 0.125))


# attention_softmax --------------------------------------------------------------------------


def softmax64(s, causal):
    """The weights in float64; the size of what float32 may lose in each (see day 13's tests)."""
    s = s.double()
    queries, keys = s.shape[-2:]
    if causal:
        i, j = (torch.arange(n, device=s.device) for n in (queries, keys))
        s = torch.where(j <= i[:, None] + keys - queries, s, -inf)
    m = s.amax(-1, keepdim=True) if s.numel() else s
    z = torch.where(s == -inf, -inf, s - m)
    e = z.exp()
    total = e.sum(-1, keepdim=True)
    p = e / torch.where(total == 0, 1.0, total)
    return p, torch.where(p > 0, p * (1 + z.abs()), 0.0)


def check_softmax(s, causal, dtype=None, values=None, **options):
    p, seen = watch(day27.attention_softmax, s, causal, *([] if dtype is None else [dtype]))
    expected, scale = softmax64(s if values is None else values, causal)
    keys = max(s.shape[-1], 1)
    close(p, expected, dtype=dtype or s.dtype, terms=keys, scale=scale, tile=(1, 1, 1, keys),
          **options)  # fmt: skip
    check_launch(seen, p, math.prod(s.shape[:3]))


ROWS = [(0, 1, 2, 3), (1, 0, 2, 3), (2, 1, 0, 3), (1, 2, 3, 0), (1, 1, 1, 1), (2, 3, 5, 4)]
ROWS += [(1, 2, 4, 127), (2, 1, 3, 128), (1, 1, 6, 129), (1, 1, 2, 1000), (1, 2, 9, 3)]
CAUSAL = pytest.mark.parametrize("causal", [False, True], ids=["full", "causal"])


@exercise("attention_softmax")
def test_softmax_refuses_rows_that_no_block_holds(device):
    s = torch.zeros(1, 1, 1, 65_537, device=device)
    refused(day27.attention_softmax, s, what="65,537 keys")
    refused(day27.attention_softmax, s, True, what="65,537 keys with a causal mask")


@exercise("attention_softmax")
def test_what_is_hidden_has_no_effect(rng):
    s = rng.normal(2, 2, 7, 5).clone()
    hidden = torch.ones(7, 5, device=s.device).tril(-2) == 0
    for value in (nan, inf, -inf, 1e30):
        s[:, :, hidden] = value
        check_softmax(s, True, name=f"weights with hidden scores of {value}")


@exercise("attention_softmax")
@shapes("queries, keys", (1, 5), (2, 5), (5, 5), (5, 2), (5, 1), (7, 64), (70, 3))
def test_the_last_query_sees_all_keys(queries, keys, rng):
    s = torch.zeros(2, 2, queries, keys, device=rng.device)
    check_softmax(s, True, name=f"weights of equal scores, {queries} queries and {keys} keys")


@exercise("attention_softmax")
@CAUSAL
def test_rows_without_a_visible_key_are_zero(causal, rng):
    s = rng.normal(2, 2, 6, 40).clone()
    s[0, 0, 3], s[1, 1, 0], s[1, 0, 5, 1:] = -inf, -inf, -inf
    check_softmax(s, causal)


@exercise("attention_softmax")
@CAUSAL
def test_nan_and_infinity_stay_in_their_rows(causal, rng):
    s = rng.normal(1, 2, 5, 5).clone()
    s[0, 0, 4, 4], s[0, 1, 2, 0], s[0, 1, 4, 3] = nan, inf, -inf
    s[0, 0, 0], s[0, 0, 1, 1:] = nan, nan
    check_softmax(s, causal)


@exercise("attention_softmax")
@CAUSAL
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("wanted", [None, *DTYPES], ids=str)
def test_softmax_of_any_dtype(dtype, wanted, causal, rng):
    s = rng.normal(1, 2, 3, 300, dtype=DTYPES[dtype], std=2.0)
    coarse = DTYPES[wanted or dtype] != F32
    check_softmax(s, causal, DTYPES.get(wanted), factor=0.75 if coarse else 4.0)


@exercise("attention_softmax")
@CAUSAL
@shapes("batch, heads, queries, keys", *ROWS, gpu=[(2, 3, 2048, 2048), (1, 1, 8, 65_536)])
def test_softmax_matches_float64(batch, heads, queries, keys, causal, rng):
    check_softmax(rng.normal(batch, heads, queries, keys, std=4.0), causal)


@exercise("attention_softmax")
def test_softmax_is_not_causal_unless_asked(rng):
    s = rng.normal(1, 1, 3, 4)
    expected, scale = softmax64(s, False)
    close(day27.attention_softmax(s), expected, dtype=F32, terms=4, scale=scale)


@exercise("attention_softmax")
@pytest.mark.parametrize("mean", [-1e4, 89.0, 1e4])
def test_softmax_of_large_scores(mean, rng):
    for causal in (False, True):
        check_softmax(rng.normal(1, 2, 3, 50, mean=mean), causal)


@exercise("attention_softmax")
@CAUSAL
def test_softmax_reads_any_strides(causal, rng):
    s = rng.normal(2, 3, 4, 37)
    for name, view in layouts(s):
        check_softmax(view, causal, name=f"weights of {name} scores")
    check_softmax(s[:, :1].expand(2, 3, 4, 37), causal, name="weights of repeated scores")


@exercise("attention_softmax")
def test_softmax_reads_beyond_int32(rng):
    s = rng.normal(3, 3, 3, 4, dtype=F16)
    for name, view in far_apart(s):
        check_softmax(view, True, values=s, name=f"weights of {name} scores")


@exercise("attention_softmax", gpu=True)
@shapes("queries", gpu=[65_537])
def test_softmax_writes_beyond_int32(queries, device, rng):
    s = torch.zeros(1, 1, queries, 32_768, dtype=F16, device=device)
    s[..., -1, :] = rng.normal(32_768)
    expected, scale = softmax64(s[..., -1:, :], False)
    p = day27.attention_softmax(s, True)[..., -1:, :]
    close(p, expected, dtype=F16, terms=32_768, scale=scale)


@exercise("attention_softmax")
@CAUSAL
def test_softmax_keeps_the_row_in_registers(causal, rng):
    (report,) = compiled(day27.attention_softmax, rng.normal(1, 1, 1, 32_768), causal)
    assert report.refused is None, f"the compiler refuses the kernel: {report.refused.text()}"
    assert report.spill_bytes == 0, (
        f"{report.spill_bytes} bytes a thread do not fit in registers: are there enough warps?"
    )
    assert report.widest_load_bits == report.widest_store_bits == 128, (
        f"loads are {report.widest_load_bits} bits wide and stores {report.widest_store_bits}: "
        f"{why_narrow(report)}"
    )


# attention_output ---------------------------------------------------------------------------


def check_output(p, v, values=None, **options):
    out, seen = watch(day27.attention_output, p, v)
    p64, v64 = (x.double() for x in (values or (p, v)))
    v64 = repeated(v64, p.shape[1])
    keys = max(p.shape[3], 1)
    size = (p64.square() @ v64.square() / keys).sqrt()
    close(out, p64 @ v64, dtype=v.dtype, **({"terms": keys, "scale": size} | options))
    matrices = p.shape[0] * p.shape[1]
    check_launch(seen, out, tiles(p.shape[2], v.shape[3], matrices, v.element_size()))


@exercise("attention_output")
def test_output_refuses(rng):
    p = rng.uniform(2, 4, 5, 8)
    for shape, what in (
        ((1, 4, 8, 3), "2 batches of weights and 1 of values"),
        ((2, 3, 8, 3), "4 heads that share 3 heads of values"),
        ((2, 8, 8, 3), "4 heads that share 8 heads of values"),
        ((2, 4, 7, 3), "weights for 8 keys and 7 values"),
        ((2, 4, 9, 3), "weights for 8 keys and 9 values"),
        ((4, 8, 3), "values with three axes"),
    ):
        refused(day27.attention_output, p, rng.normal(*shape), what=what)
    half = rng.normal(2, 4, 8, 3, dtype=F16)
    refused(day27.attention_output, p, half, what="weights in float32 and values in float16")


@exercise("attention_output")
def test_output_of_heads_that_differ(rng):
    p, v = rng.uniform(2, 6, 3, 5), rng.normal(2, 2, 5, 4).clone()
    v[:, 1], v[1, 0] = 100 * v[:, 1], nan
    check_output(p, v)


@exercise("attention_output")
def test_output_of_many_tiles(rng, monkeypatch):
    with_small_tiles(monkeypatch, (50, 40), 4, 2)
    check_output(rng.uniform(2, 2, 50, 36).half(), rng.normal(2, 1, 36, 40, dtype=F16))


@exercise("attention_output")
@shapes(NAMES, *SCORES, gpu=LARGE)
def test_output_matches_float64(batch, heads, kv_heads, queries, keys, dim, dtype, rng):
    p = rng.uniform(batch, heads, queries, keys).to(DTYPES[dtype])
    check_output(p, rng.normal(batch, kv_heads, keys, dim, dtype=DTYPES[dtype]))


@exercise("attention_output")
@HALVES
def test_output_rounds_once(dtype, rng):
    p, v = rng.uniform(2, 2, 20, 700).to(dtype), rng.normal(2, 1, 700, 24, dtype=dtype)
    check_output(p, v, factor=0.75)
    check_output(p, 300 * v, factor=0.75)


@exercise("attention_output")
def test_output_reads_any_strides(rng):
    p, v = rng.uniform(2, 4, 5, 7), rng.normal(2, 2, 7, 18)
    cases = [(f"{name} p", view, v) for name, view in layouts(p)]
    cases += [(f"{name} v", p, view) for name, view in layouts(v)]
    cases += [
        ("v in token order", p, v.transpose(1, 2).clone().transpose(1, 2)),
        ("v repeated over the batch", p, v[:1].expand(2, 2, 7, 18)),
    ]
    for name, x, y in cases:
        check_output(x, y, name=f"result with a {name}")


@exercise("attention_output")
def test_output_reads_beyond_int32(rng):
    p, v = rng.uniform(3, 3, 3, 4).half(), rng.normal(3, 3, 4, 4, dtype=F16)
    for name, view in far_apart(p):
        check_output(view, v, values=(p, v), name=f"result of a {name} p")
    for name, view in far_apart(v):
        check_output(p, view, values=(p, v), name=f"result of a {name} v")


@exercise("attention_output", gpu=True)
@shapes("queries, columns", gpu=[(70_000, 40_000)])
def test_output_writes_beyond_int32(queries, columns, rng):
    p, v = rng.uniform(1, 1, queries, 16).half(), rng.normal(1, 1, 16, columns, dtype=F16)
    out = day27.attention_output(p, v)[:, :, -3:]
    close(out, p[:, :, -3:].double() @ v.double(), dtype=F16, terms=16, scale=1.0)


@exercise("attention_output")
def test_output_compiles_to_tensor_cores(rng, monkeypatch):
    monkeypatch.setattr(day27, "_config_of", lambda *sizes: day17._config(8192, 8192, 2))
    p, v = rng.uniform(1, 2, 128, 64).bfloat16(), rng.normal(1, 1, 64, 256, dtype=BF16)
    check_product_report(compiled(day27.attention_output, p, v))


# attention ----------------------------------------------------------------------------------


def check_attention(q, k, v, causal=False, scale=None, **options):
    """The whole in float64; what the scores lose in float32 and the weights in v's dtype."""
    out, seen = watch(day27.attention, q, k, v, causal, scale)
    dim, heads, n = q.shape[3], q.shape[1], len(seen.launches)
    factor = dim**-0.5 if scale is None else scale
    q64, k64, v64 = q.double(), repeated(k, heads), repeated(v, heads)
    p, size = softmax64(factor * (q64 @ k64.mT), causal)
    # A score may be off by so much of its summands' size: its weight changes by that share.
    lost = abs(factor) * (q64.square() @ k64.square().mT).sqrt() * math.sqrt(dim)
    coarse = torch.finfo(v.dtype).eps / torch.finfo(F32).eps
    each = (size + p * (lost + coarse)).square() @ v64.square()
    close(out, p @ v64, dtype=v.dtype, scale=each.sqrt(), **options)
    assert out.is_contiguous(), f"the result has the strides {out.stride()}, not contiguous ones"
    assert n == 3 or (n < 3 and not (out.numel() and k.numel())), f"3 launches were due, not {n}"
    room = p.numel() * (4 + v.element_size()) + out.numel() * out.element_size()
    assert seen.peak_bytes <= room + 4096, (
        f"scores, weights and result take {room} bytes, but {seen.peak_bytes} were allocated: is "
        "one of them copied, or an operand repeated?"
    )


@exercise("attention", ban=["scaled_dot_product_attention"])
def test_attention_refuses(rng):
    q, k, v = rng.normal(2, 4, 5, 8), rng.normal(2, 2, 6, 8), rng.normal(2, 2, 6, 3)
    for change, what in (
        ((q, k, rng.normal(2, 2, 5, 3)), "6 keys and 5 values"),
        ((q, k, rng.normal(2, 1, 6, 3)), "2 heads of keys and 1 of values"),
        ((q, k, rng.normal(1, 2, 6, 3)), "2 batches of keys and 1 of values"),
        ((q, k, v.half()), "keys in float32 and values in float16"),
        ((q.half(), k, v), "queries in float16 and keys in float32"),
        ((q, rng.normal(2, 2, 6, 7), v), "queries of 8 elements and keys of 7"),
        ((q, rng.normal(2, 3, 6, 8), rng.normal(2, 3, 6, 3)), "4 heads that share 3"),
    ):
        refused(day27.attention, *change, what=what)


@exercise("attention", ban=["scaled_dot_product_attention"])
def test_attention_defaults(rng):
    q, k, v = rng.normal(1, 1, 3, 4), rng.normal(1, 1, 5, 4), rng.normal(1, 1, 5, 2)
    p, _ = softmax64(0.5 * (q.double() @ k.double().mT), False)
    close(day27.attention(q, k, v), p @ v.double(), dtype=F32, terms=5, scale=4.0)


@exercise("attention", ban=["scaled_dot_product_attention"])
@pytest.mark.parametrize("scale", [0.0, -0.5, 1.0, 8.0])
def test_attention_with_a_scale_of_its_own(scale, rng):
    q, k, v = rng.normal(1, 2, 4, 16), rng.normal(1, 1, 6, 16), rng.normal(1, 1, 6, 8)
    check_attention(q, k, v, scale=scale)
    check_attention(q, k, v, causal=True, scale=scale)


@exercise("attention", ban=["scaled_dot_product_attention"])
@CAUSAL
@shapes(
    "batch, heads, kv_heads, queries, keys, dim, value_dim, dtype",
    *[(1, 1, 1, 1, 1, 1, 1, "float32"), (2, 4, 2, 5, 5, 16, 16, "float16")],
    *[(1, 3, 1, 3, 70, 24, 9, "bfloat16"), (1, 2, 2, 70, 3, 8, 20, "float32")],
    *[(0, 2, 1, 3, 4, 8, 8, "float16"), (1, 2, 1, 0, 4, 8, 8, "float16")],
    *[(2, 2, 1, 3, 0, 8, 8, "float32"), (1, 2, 1, 65, 66, 32, 0, "bfloat16")],
    gpu=[
        (2, 8, 2, 2048, 2048, 128, 128, "bfloat16"),
        (3, 4, 4, 1000, 1531, 64, 80, "float16"),
        (4, 8, 1, 1, 8192, 128, 128, "bfloat16"),
    ],
)
def test_attention_matches_float64(
    batch, heads, kv_heads, queries, keys, dim, value_dim, dtype, causal, rng
):
    q = rng.normal(batch, heads, queries, dim, dtype=DTYPES[dtype])
    k = rng.normal(batch, kv_heads, keys, dim, dtype=DTYPES[dtype])
    check_attention(q, k, rng.normal(batch, kv_heads, keys, value_dim, dtype=DTYPES[dtype]), causal)


@exercise("attention", ban=["scaled_dot_product_attention"])
def test_attention_reads_any_strides(rng):
    operands = rng.normal(2, 2, 5, 8), rng.normal(2, 1, 6, 8), rng.normal(2, 1, 6, 4)
    for i, which in enumerate("qkv"):
        for name, view in layouts(operands[i]):
            changed = [view if j == i else x for j, x in enumerate(operands)]
            check_attention(*changed, causal=True, name=f"attention with a {name} {which}")


@exercise("attention", ban=["scaled_dot_product_attention"])
@HALVES
def test_one_token_after_another_gives_the_same(dtype, rng):
    """A cache of keys: the last token of a text alone, against all of it at once."""
    q, k, v = (rng.normal(1, heads, 6, 8, dtype=dtype) for heads in (2, 1, 1))
    whole = day27.attention(q, k, v, causal=True)
    for n in range(1, 7):
        alone = day27.attention(q[:, :, n - 1 : n], k[:, :, :n], v[:, :, :n], causal=True)
        name = f"attention of token {n} alone"
        # A weight may be rounded the other way, which is half an eps of it.
        scale = 0.5 * torch.finfo(dtype).eps / torch.finfo(F32).eps
        close(alone, whole[:, :, n - 1 : n].double(), dtype=dtype, scale=scale, name=name)
