import math
from itertools import islice

import pytest
import torch

from harness.testing import (
    close,
    compiled,
    exercise,
    far_apart,
    layouts,
    one_launch,
    refused,
    shapes,
    watch,
    why_narrow,
)
from tracks.triton import day30

F32, F16, BF16 = torch.float32, torch.float16, torch.bfloat16
DTYPES = {"float32": F32, "float16": F16, "bfloat16": BF16}
HALVES = pytest.mark.parametrize("dtype", [F16, BF16], ids=str)
BLOCK = {F32: 32, F16: 64, BF16: 64}  # _config's BLOCK_M and BLOCK_N
BAN = ["scaled_dot_product_attention"]


def check_launch(seen, out, q):
    launch = one_launch(seen, out)
    if launch is not None:
        batch, heads, queries, dim = q.shape
        block = day30._config(dim, q.element_size())["BLOCK_M"]
        due = batch * heads * math.ceil(queries / block)
        assert launch.programs == due, (
            f"{launch.programs} programs were launched for {batch} x {heads} matrices of {queries} "
            f"queries; tiles of {block} make {due}"
        )


def check_report(reports, tensor_cores):
    (report,) = reports
    assert report.refused is None, f"the compiler refuses the kernel: {report.refused.text()}"
    assert report.spill_bytes == 0, f"the kernel spills {report.spill_bytes} bytes a thread"
    if tensor_cores:
        assert "wgmma" in str(report.tensor_core), (
            f"products are computed by {report.tensor_core or 'no tensor core'}, and not by wgmma"
        )
        widths = (("loads", report.widest_load_bits), ("stores", report.widest_store_bits))
        for what, width in widths:
            assert width == 128, f"{what} are {width} bits wide: {why_narrow(report)}"


def scores64(q, k, scale):
    """The scores in float64, and how far float32 sums may be off in each."""
    q, k = q.double(), k.double().repeat_interleave(q.shape[1] // max(k.shape[1], 1), dim=1)
    size = abs(scale) * (q.square() @ k.square().mT).sqrt()
    return scale * (q @ k.mT), size * math.sqrt(q.shape[3])


def attention64(q, k, v, scale):
    """The output in float64; and what float32 sums and weights in v's dtype may lose in it."""
    s, lost = scores64(q, k, scale)
    v64 = v.double().repeat_interleave(q.shape[1] // max(v.shape[1], 1), dim=1)
    if k.shape[2] == 0:
        return torch.zeros_like(q, dtype=torch.float64), 1.0
    distance = s.amax(-1, keepdim=True) - s
    p = s.softmax(-1)
    coarse = torch.finfo(v.dtype).eps / torch.finfo(F32).eps
    each = p * (1 + distance + lost + (coarse if v.dtype != F32 else 0))
    return p @ v64, (each.square() @ v64.square()).sqrt()


def check_output(f, q, k, v, scale=None, values=None, name="result"):
    out, seen = watch(f, q, k, v, *([] if scale is None else [scale]))
    factor = q.shape[3] ** -0.5 if scale is None else scale
    expected, size = attention64(*(values or (q, k, v)), factor)
    block = BLOCK[q.dtype]
    close(out, expected, dtype=q.dtype, scale=size, tile=(1, 1, block, q.shape[3]), name=name)
    check_launch(seen, out, q)


def random_heads(rng, heads, kv_heads, queries, keys, dim, dtype=F32, batch=1):
    q = rng.normal(batch, heads, queries, dim, dtype=dtype)
    return q, *(rng.normal(batch, kv_heads, keys, dim, dtype=dtype) for _ in "kv")


@pytest.fixture
def small_tiles(monkeypatch):
    """Tiles of 16 x 16, so that few rows lie far apart: each of them costs a page of memory."""
    tile = {"BLOCK_M": 16, "BLOCK_N": 16, "BLOCK_D": 16, "num_warps": 4, "num_stages": 2}
    monkeypatch.setattr(day30, "_config", lambda *sizes: tile)


@pytest.fixture
def long_tiles(monkeypatch):
    """Tiles of three different sizes."""
    tile = {"BLOCK_M": 16, "BLOCK_N": 32, "BLOCK_D": 64, "num_warps": 4, "num_stages": 2}
    monkeypatch.setattr(day30, "_config", lambda *sizes: tile)


def far_rows(x):
    """x with rows so far apart that 16 strides do not fit into an int32, but one does."""
    stride = 2**27 + 8
    *_, rows, columns = x.shape
    reach = (rows - 1) * stride + columns
    if x.is_cuda and torch.cuda.mem_get_info(x.device)[0] < 1.1 * reach * x.element_size():
        pytest.skip(f"needs {reach * x.element_size() / 1e9:.1f} GB of free GPU memory")
    memory = torch.empty(reach, dtype=x.dtype, device=x.device)
    return memory.as_strided(x.shape, (0, 0, stride, 1)).copy_(x)


def far_views(*operands):
    """Each operand (3, 3, rows, dim) in turn with one axis far-flung, and only as many matrices as
    that takes: what it is called, the operands, and the operands with the view."""
    for i, which in enumerate("qkv"[: len(operands)]):
        for batch, heads in ((3, 1), (1, 3), (1, 1)):
            some = [x[:batch, :heads] for x in operands]
            axes = 1 if batch * heads > 1 else 2
            for name, view in islice(far_apart(some[i]), axes):
                yield f"{name} {which}", some, [view if j == i else x for j, x in enumerate(some)]


# scores_max ---------------------------------------------------------------------------------


def check_max(q, k, scale, values=None, name="result"):
    out, seen = watch(day30.scores_max, q, k, scale)
    s, lost = scores64(*(values or (q, k)), scale)
    close(out, s.amax(-1), dtype=F32, scale=lost.amax(-1), tile=(1, 1, BLOCK[q.dtype]), name=name)
    check_launch(seen, out, q)


@exercise("scores_max")
@pytest.mark.parametrize("dtype", DTYPES)
@shapes(
    "batch, heads, kv_heads, queries, keys, dim",
    *[(1, 1, 1, 1, 1, 16), (1, 1, 1, 1, 3, 32), (2, 4, 2, 2, 1, 16), (1, 2, 1, 1, 2, 128)],
    *[(0, 2, 1, 1, 1, 16), (2, 2, 2, 0, 1, 64)],
    gpu=[(2, 8, 2, 16, 16, 128)],
)
def test_max_matches_float64(batch, heads, kv_heads, queries, keys, dim, dtype, rng):
    block, dtype = BLOCK[DTYPES[dtype]], DTYPES[dtype]
    q = rng.normal(batch, heads, queries * block, dim, dtype=dtype)
    check_max(q, rng.normal(batch, kv_heads, keys * block, dim, dtype=dtype), dim**-0.5)


@exercise("scores_max")
@pytest.mark.parametrize("scale", [-1.0, 0.0, 0.25, 30.0])
def test_max_with_any_scale(scale, rng):
    check_max(rng.normal(1, 2, 32, 16), rng.normal(1, 1, 96, 16), scale)


@exercise("scores_max")
def test_max_of_scores_below_zero(rng):
    q, k = rng.uniform(1, 1, 32, 16, low=1.0, high=2.0), rng.uniform(1, 1, 64, 16, low=-2, high=-1)
    check_max(q, k, 1.0)
    check_max(100 * q, k, 5.0)
    check_max(1e5 * q, k, 1e6)  # below every finite number that may stand for "nothing yet"


@exercise("scores_max")
def test_max_in_any_tile_of_keys(rng):
    q, k = rng.uniform(1, 2, 64, 16, low=0.5), rng.normal(1, 2, 96, 16, std=0.1).clone()
    k[0, 0, 5] = k[0, 1, 90] = 3.0
    check_max(q, k, 1.0)


@exercise("scores_max")
def test_max_with_tiles_that_are_not_square(rng, long_tiles):
    check_max(rng.normal(1, 2, 48, 64), rng.normal(1, 1, 96, 64), 0.25)


@exercise("scores_max")
def test_max_refuses(rng):
    def check(queries, keys, dim, what, dtype=F32):
        q, k = rng.normal(1, 2, queries, dim, dtype=dtype), rng.normal(1, 2, keys, dim, dtype=dtype)
        refused(day30.scores_max, q, k, 1.0, what=what)

    check(31, 32, 16, "31 queries, no multiple of 32")
    check(32, 33, 16, "33 keys, no multiple of 32")
    check(32, 0, 16, "no key")
    check(32, 64, 24, "heads of 24 elements")
    check(32, 64, 8, "heads of 8 elements")
    check(32, 64, 256, "heads of 256 elements")
    check(32, 64, 16, "32 queries in float16, whose tiles have 64", dtype=F16)
    q = rng.normal(2, 4, 32, 16)
    refused(day30.scores_max, q, rng.normal(2, 3, 32, 16), 1.0, what="4 heads that share 3")
    refused(day30.scores_max, q, rng.normal(2, 2, 32, 32), 1.0, what="keys of 32 elements")


@exercise("scores_max")
def test_max_reads_any_strides(rng):
    q, k = rng.normal(2, 2, 32, 16), rng.normal(2, 1, 64, 16)
    for name, view in layouts(q):
        check_max(view, k, 0.25, name=f"largest scores with a {name} q")
    for name, view in layouts(k):
        check_max(q, view, 0.25, name=f"largest scores with a {name} k")


@exercise("scores_max")
def test_max_reads_beyond_int32(rng, small_tiles):
    operands = [rng.normal(3, 3, 16, 16, dtype=F16) for _ in "qk"]
    for name, values, views in far_views(*operands):
        check_max(*views, 0.25, values=values, name=f"largest scores with a {name}")
    q, k = rng.normal(1, 1, 16, 16, dtype=F16), rng.normal(1, 1, 32, 16, dtype=F16)
    check_max(q, far_rows(k), 0.25, values=(q, k), name="largest scores with far-flung keys")


# flash_forward_tile -------------------------------------------------------------------------


@exercise("flash_forward_tile", ban=BAN)
@pytest.mark.parametrize("dtype", DTYPES)
@shapes(
    "batch, heads, kv_heads, queries, keys, dim",
    *[(1, 1, 1, 1, 1, 16), (1, 1, 1, 1, 3, 32), (2, 4, 2, 2, 1, 16), (1, 2, 1, 1, 2, 128)],
    *[(0, 2, 1, 1, 1, 16), (2, 2, 2, 0, 1, 64)],
    gpu=[(2, 8, 2, 16, 16, 128)],
)
def test_tile_matches_float64(batch, heads, kv_heads, queries, keys, dim, dtype, rng):
    block, dtype = BLOCK[DTYPES[dtype]], DTYPES[dtype]
    sizes = queries * block, keys * block
    check_output(
        day30.flash_forward_tile, *random_heads(rng, heads, kv_heads, *sizes, dim, dtype, batch)
    )


@exercise("flash_forward_tile", ban=BAN)
@pytest.mark.parametrize("slope", [-1.0, 0.0, 1.0])
def test_tile_with_scores_that_rise_or_fall(slope, rng):
    """The maximum changes in each tile of keys, or never after the first."""
    q, k, v = (x.clone() for x in random_heads(rng, 1, 1, 32, 128, 16))
    q[..., 0] = 4.0
    k[..., 0] = slope * torch.arange(128, device=k.device) / 8
    check_output(day30.flash_forward_tile, q, k, v)


@exercise("flash_forward_tile", ban=BAN)
def test_tile_with_large_scores(rng):
    q, k, v = (x.clone() for x in random_heads(rng, 1, 1, 32, 96, 16))
    q[..., 0], k[..., 0] = 200.0, 200.0
    check_output(day30.flash_forward_tile, q, k, v, name="result of scores near 10,000")
    check_output(day30.flash_forward_tile, q, -k, v, name="result of scores near -10,000")
    k[..., 20:70, 0] = -200.0  # tiles of one sign and of both
    check_output(day30.flash_forward_tile, q, k, v, name="result of scores near +-10,000")


def far_below(rng, queries, keys, dim):
    """Scores of -2e9 for the first key and -4e9 for the others, all of them exact."""
    q = torch.zeros(1, 1, queries, dim, device=rng.device)
    k = torch.zeros(1, 1, keys, dim, device=rng.device)
    q[..., 0], k[..., 0] = 1.0, 2.0
    k[:, :, 0, 0] = 1.0
    return q, k, rng.normal(1, 1, keys, dim)


@exercise("flash_forward_tile", ban=BAN)
def test_tile_with_scores_below_what_may_stand_for_nothing(rng):
    q, k, v = far_below(rng, 32, 64, 16)
    out = day30.flash_forward_tile(-8e9 * q, k, v)  # the scale is 1 / 4
    close(out, v[:, :, :1].expand_as(out), name="result of scores of -2e9 and -4e9")


@exercise("flash_forward_tile", ban=BAN)
def test_tile_with_tiles_that_are_not_square(rng, long_tiles):
    check_output(day30.flash_forward_tile, *random_heads(rng, 2, 1, 48, 96, 64))


@exercise("flash_forward_tile", ban=BAN)
def test_tile_refuses(rng):
    def check(queries, keys, dim, what):
        refused(day30.flash_forward_tile, *random_heads(rng, 2, 2, queries, keys, dim), what=what)

    check(33, 32, 16, "33 queries, no multiple of 32")
    check(32, 48, 16, "48 keys, no multiple of 32")
    check(32, 0, 16, "no key")
    check(32, 64, 20, "heads of 20 elements")
    q, k, v = random_heads(rng, 2, 1, 32, 64, 16)
    refused(day30.flash_forward_tile, q, k, v[:, :, :32], what="64 keys and 32 values")
    refused(day30.flash_forward_tile, q, k, v.half(), what="keys in float32, values in float16")


@exercise("flash_forward_tile", ban=BAN)
def test_tile_reads_any_strides(rng):
    operands = random_heads(rng, 2, 1, 32, 64, 16, batch=2)
    for i, which in enumerate("qkv"):
        for name, view in layouts(operands[i]):
            changed = [view if j == i else x for j, x in enumerate(operands)]
            check_output(day30.flash_forward_tile, *changed, name=f"result with a {name} {which}")


@exercise("flash_forward_tile", ban=BAN)
def test_tile_reads_beyond_int32(rng, small_tiles):
    f = day30.flash_forward_tile
    for name, values, views in far_views(*random_heads(rng, 3, 3, 16, 16, 16, F16, batch=3)):
        check_output(f, *views, values=values, name=f"result with a {name}")
    q, k, v = random_heads(rng, 1, 1, 16, 32, 16, F16)
    check_output(f, q, far_rows(k), v, values=(q, k, v), name="result with far-flung keys")
    check_output(f, q, k, far_rows(v), values=(q, k, v), name="result with far-flung values")


@exercise("flash_forward_tile", ban=BAN)
def test_tile_stores_no_scores(rng):
    """One launch and nothing but the result: 512 keys, each row of scores longer than the heads."""
    check_output(day30.flash_forward_tile, *random_heads(rng, 1, 1, 128, 512, 16, BF16))


# flash_forward ------------------------------------------------------------------------------

LENGTHS = [1, 63, 64, 65, 257]


@exercise("flash_forward", ban=BAN)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("s", LENGTHS)
def test_flash_of_any_length(s, dtype, rng):
    check_output(day30.flash_forward, *random_heads(rng, 1, 1, s, s, 16, DTYPES[dtype]))


@exercise("flash_forward", ban=BAN)
@shapes(
    "dim, dtype",
    *[(1, "float32"), (15, "float16"), (17, "bfloat16"), (33, "float32"), (80, "bfloat16")],
    *[(96, "float32"), (127, "float16")],
    *[(dim, dtype) for dim in (16, 64, 128) for dtype in DTYPES],
)
def test_flash_of_any_dim(dim, dtype, rng):
    check_output(day30.flash_forward, *random_heads(rng, 2, 1, 5, 70, dim, DTYPES[dtype]))


@exercise("flash_forward", ban=BAN)
@shapes(
    "batch, heads, kv_heads, queries, keys, dim, dtype",
    *[(2, 6, 2, 5, 7, 24, "float32"), (2, 4, 1, 1, 200, 16, "float16")],
    *[(1, 2, 2, 130, 3, 16, "bfloat16"), (3, 2, 1, 33, 31, 8, "float32")],
    *[(0, 2, 1, 3, 4, 16, "float16"), (1, 0, 1, 3, 4, 16, "float32")],
    *[(1, 2, 1, 0, 4, 16, "float16"), (2, 2, 1, 3, 0, 16, "bfloat16")],
    *[(1, 2, 1, 70, 0, 9, "float32"), (1, 1, 1, 1, 1, 1, "float32")],
    gpu=[(2, 8, 2, 2048, 2048, 128, "bfloat16"), (3, 4, 4, 1000, 1531, 80, "float16")],
)  # fmt: skip
def test_flash_matches_float64(batch, heads, kv_heads, queries, keys, dim, dtype, rng):
    check_output(
        day30.flash_forward,
        *random_heads(rng, heads, kv_heads, queries, keys, dim, DTYPES[dtype], batch),
    )


@exercise("flash_forward", ban=BAN)
@pytest.mark.parametrize("scale", [0.0, -0.5, 1.0, 4.0])
def test_flash_with_a_scale_of_its_own(scale, rng):
    check_output(day30.flash_forward, *random_heads(rng, 2, 1, 5, 70, 16), scale)


@exercise("flash_forward", ban=BAN)
def test_flash_when_all_scores_are_below_zero(rng):
    """A key that does not exist has the product 0, which would be the largest here."""
    q, k, v = random_heads(rng, 1, 1, 3, 40, 16)
    q, k = q.abs() + 1, -k.abs() - 1
    check_output(day30.flash_forward, q, k, v)
    check_output(day30.flash_forward, 10 * q, k, v, 10.0)


@exercise("flash_forward", ban=BAN)
@pytest.mark.parametrize("keys", [2, 40])
def test_flash_with_scores_below_what_may_stand_for_nothing(keys, rng):
    """-1e9 is no -inf: a key that does not exist, or none so far, would outweigh these."""
    q, k, v = far_below(rng, 3, keys, 16)
    out = day30.flash_forward(q, k, v, -2e9)
    close(out, v[:, :, :1].expand_as(out), name="result of scores of -2e9 and -4e9")


@exercise("flash_forward", ban=BAN)
@pytest.mark.parametrize("slope", [-1.0, 1.0])
def test_flash_with_scores_that_rise_or_fall(slope, rng):
    q, k, v = (x.clone() for x in random_heads(rng, 1, 1, 5, 100, 16))
    q[..., 0] = 4.0
    k[..., 0] = slope * torch.arange(100, device=k.device) / 8
    check_output(day30.flash_forward, q, k, v)


@exercise("flash_forward", ban=BAN)
def test_flash_with_large_scores(rng):
    q, k, v = (x.clone() for x in random_heads(rng, 1, 1, 7, 80, 16))
    q[..., 0], k[..., 0] = 100.0, 100.0
    check_output(day30.flash_forward, q, k, v, 1.0, name="result of scores near 10,000")
    check_output(day30.flash_forward, q, -k, v, 1.0, name="result of scores near -10,000")
    k[..., 20:60, 0] = -100.0
    check_output(day30.flash_forward, q, k, v, 1.0, name="result of scores near +-10,000")


@exercise("flash_forward", ban=BAN)
def test_flash_with_tiles_that_are_not_square(rng, long_tiles):
    check_output(day30.flash_forward, *random_heads(rng, 2, 1, 37, 75, 50))


@exercise("flash_forward", ban=BAN)
def test_flash_over_many_keys(rng):
    check_output(day30.flash_forward, *random_heads(rng, 1, 1, 3, 4100, 16, BF16))


@exercise("flash_forward", ban=BAN)
@HALVES
def test_flash_adds_up_in_float32(dtype, rng):
    """Equal weights: only the values are rounded, once, at the store."""
    q, k, v = random_heads(rng, 1, 1, 1, 1000, 64, dtype)
    v = (v + 4).clone()
    out = day30.flash_forward(0 * q, k, v)
    expected = v.double().mean(2, keepdim=True).expand(1, 1, 1, 64)
    close(out, expected, dtype=dtype, factor=0.75)


@exercise("flash_forward", ban=BAN)
def test_flash_refuses(rng):
    q, k, v = random_heads(rng, 4, 2, 5, 6, 8, batch=2)
    wide = random_heads(rng, 1, 1, 2, 3, 129)
    for change, what in (
        ((q, k, v[:, :, :5]), "6 keys and 5 values"),
        ((q, k, v[..., :7]), "values of another size than the keys"),
        ((q, k, v.half()), "keys in float32 and values in float16"),
        ((q.half(), k, v), "queries in float16 and keys in float32"),
        ((q, k[..., :7], v[..., :7]), "queries of 8 elements and keys of 7"),
        ((q[:, :3], k, v), "3 heads that share 2"),
        ((q[:1], k, v), "1 batch of queries and 2 of keys"),
        (wide, "heads of 129 elements"),
        ((q[..., :0], k[..., :0], v[..., :0]), "heads of no element"),
    ):
        refused(day30.flash_forward, *change, what=what)


@exercise("flash_forward", ban=BAN)
def test_flash_reads_any_strides(rng):
    operands = random_heads(rng, 2, 1, 5, 7, 8, batch=2)
    for i, which in enumerate("qkv"):
        for name, view in layouts(operands[i]):
            changed = [view if j == i else x for j, x in enumerate(operands)]
            check_output(day30.flash_forward, *changed, name=f"result with a {name} {which}")
    tokens = [x.transpose(1, 2).clone().transpose(1, 2) for x in operands]
    check_output(day30.flash_forward, *tokens, name="result with tokens before heads")
    q, k, v = operands
    shared = k[:1].expand(2, 1, 7, 8), v[:1].expand(2, 1, 7, 8)
    check_output(day30.flash_forward, q, *shared, name="result with repeated k and v")


@exercise("flash_forward", ban=BAN)
def test_flash_reads_beyond_int32(rng):
    for name, values, views in far_views(*random_heads(rng, 3, 3, 3, 65, 4, F16, batch=3)):
        check_output(day30.flash_forward, *views, values=values, name=f"result with a {name}")


@exercise("flash_forward", ban=BAN, gpu=True)
@shapes("heads", gpu=[17_000])
def test_flash_writes_beyond_int32(heads, rng):
    q, k, v = random_heads(rng, heads, heads, 1000, 3, 128, F16)
    out = day30.flash_forward(q, k, v)[:, -1:]
    expected, size = attention64(q[:, -1:], k[:, -1:], v[:, -1:], 128**-0.5)
    close(out, expected, dtype=F16, scale=size)


@exercise("flash_forward", ban=BAN)
@pytest.mark.parametrize("dtype", [BF16, F32], ids=str)
@pytest.mark.parametrize("dim", [64, 128])
def test_flash_compiles_without_spills(dim, dtype, rng):
    operands = random_heads(rng, 1, 1, 16, 128, dim, dtype)
    check_report(compiled(day30.flash_forward, *operands), dtype != F32)
