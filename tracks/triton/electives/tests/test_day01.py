import math
import re

import pytest
import torch

from harness.testing import close, compiled, exercise, refused, shapes, watch
from tracks.triton.electives import day01

F32, F16, BF16 = torch.float32, torch.float16, torch.bfloat16
BAN = ["scaled_dot_product_attention"]
CHIP = "sm_90a"  # Gluon has no interpreter, and wgmma exists on Hopper alone
CAUSAL = pytest.mark.parametrize("causal", [False, True], ids=["full", "causal"])
nan, inf = float("nan"), float("inf")


# What the compiler makes of it: make verify compiles these where there is no such GPU ----------


def zeros(*shape, dtype=BF16):
    return torch.zeros(shape, dtype=dtype, device="cuda" if torch.cuda.is_available() else "cpu")


def attend(dim, keys, causal):
    q, k = zeros(1, 2, 256, dim), zeros(1, 1, keys, dim)
    day01.flash_attention_forward(q, k, k, causal)


def launch_forward():
    for dim in (64, 128):
        for keys, causal in ((256, False), (256, True), (300, True)):
            attend(dim, keys, causal)


LAUNCHES = {
    "scale_tiles": lambda: day01.scale_tiles(zeros(100, 64, dtype=F32), 2.0, BF16),
    "ring_sums": lambda: day01.ring_sums(zeros(100, 64)),
    "attention_serial": lambda: day01.attention_serial(
        zeros(1, 2, 100, 128), zeros(1, 1, 100, 128), zeros(1, 1, 100, 128)
    ),
    "flash_attention_forward": launch_forward,
}


def constants(report):
    """What the launch fixed, without the descriptors' types: ``SLOTS = 2, CAUSAL = True``."""
    return ", ".join(re.findall(r"\b[A-Z_]+ = \w+", report.specialisation))


def check_report(name, report):
    form = f"{report.kernel} for {report.chip} ({constants(report)})"
    assert report.refused is None, f"the compiler refuses {form}: {report.refused.text()}"
    assert report.spill_bytes == 0, f"{form} spills {report.spill_bytes} bytes a thread"
    assert report.tma, f"{form} copies no tile by the TMA"
    assert report.shared_bytes <= report.shared_limit, (
        f"{form} takes {report.shared_bytes} bytes of shared memory of {report.shared_limit}"
    )
    if "attention" in name:
        assert str(report.tensor_core).startswith("wgmma"), (
            f"products of {form} are computed by {report.tensor_core or 'no tensor core'}"
        )


def check_launch(seen, programs, room, what):
    assert len(seen.launches) == 1, f"expected 1 kernel launch, saw {len(seen.launches)}"
    (launch,) = seen.launches
    assert launch.programs == programs, (
        f"{launch.programs} programs were launched for {what}, but {programs} were due"
    )
    assert seen.peak_bytes <= room + 2048, (
        f"the results take {room} bytes, but {seen.peak_bytes} were allocated: is something copied?"
    )


# scale_tiles --------------------------------------------------------------------------------


@exercise("scale_tiles", gpu=CHIP, seconds=60)
@shapes("rows, columns", (1, 8), (64, 64), (65, 72), (63, 128), (200, 328), gpu=[(5000, 2056)])
@pytest.mark.parametrize(
    "from_, to", [(F32, BF16), (BF16, F32), (F16, F16)], ids=["to 16 bits", "to float32", "float16"]
)
def test_scaled_tiles(rows, columns, from_, to, rng):
    x = rng.normal(rows, columns, dtype=from_)
    out, seen = watch(day01.scale_tiles, x, 0.37, to)
    close(out, x.double() * 0.37, dtype=to, scale=1.0)
    room = out.numel() * out.element_size()
    check_launch(seen, math.ceil(rows / 64), room, f"{rows} rows")


@exercise("scale_tiles", gpu=CHIP, seconds=60)
def test_each_tile_is_its_own(rng):
    """Many steps a program: a step that does not wait takes the tile of the step before."""
    x = torch.arange(64 * 40, device=rng.device).float().repeat(70, 1)
    close(day01.scale_tiles(x, 1.0, F32), x.double(), dtype=F32, scale=1.0)


@exercise("scale_tiles", gpu=CHIP, seconds=60)
def test_rows_apart(rng):
    x = rng.normal(100, 80, dtype=F32)
    view = torch.full((100, 96), nan, device=x.device)[:, 8:88]
    view.copy_(x)
    close(day01.scale_tiles(view, 3.0, F32), x.double() * 3, dtype=F32, scale=3.0)


@exercise("scale_tiles", gpu=CHIP, seconds=60)
def test_refuses_what_the_tma_cannot_read(rng):
    x = rng.normal(16, 16, dtype=F16)
    refused(day01.scale_tiles, x.T, 1.0, F16, what="a matrix whose rows are not contiguous")
    refused(day01.scale_tiles, x[:, 1:9], 1.0, F16, what="a matrix that begins at byte 2")
    refused(day01.scale_tiles, x[:, :5], 1.0, F16, what="a result with rows of 10 bytes")
    refused(day01.scale_tiles, x[:0], 1.0, F16, what="a matrix without rows")


# ring_sums ----------------------------------------------------------------------------------


@exercise("ring_sums", gpu=CHIP, seconds=60)
@pytest.mark.parametrize("slots", [1, 2, 3, 5])
@shapes("rows, columns", (1, 8), (64, 64), (65, 72), (130, 64), (1000, 136), gpu=[(70_000, 520)])
def test_sums_of_columns(rows, columns, slots, rng):
    x = rng.normal(rows, columns, dtype=F16)
    out, seen = watch(day01.ring_sums, x, slots)
    close(out, x.double().sum(0), dtype=F32, terms=rows, scale=1.0)
    check_launch(seen, math.ceil(columns / 64), out.numel() * 4, f"{columns} columns")


@exercise("ring_sums", gpu=CHIP, seconds=60)
def test_no_block_twice_and_none_left_out(rng):
    """Block i holds 2^i in column i only: a sum says which blocks came, and how often."""
    blocks = 40
    x = torch.zeros(64 * blocks, blocks, dtype=BF16, device=rng.device)
    for block in range(blocks):
        x[64 * block, block] = 2.0 ** (block % 8)
    for slots in (1, 2, 3):
        close(day01.ring_sums(x, slots), x.double().sum(0), dtype=F32, scale=1.0)


@exercise("ring_sums", gpu=CHIP, seconds=60)
def test_sums_are_the_same_every_time(rng):
    x = rng.normal(20_000, 264, dtype=F16)
    first = day01.ring_sums(x, 2)
    for _ in range(10):
        again = day01.ring_sums(x, 2)
        assert torch.equal(first, again), "two runs differ: is a slot given back before it is read?"


# Attention ----------------------------------------------------------------------------------


def dense64(q, k, v, causal=False):
    """o and lse in float64, and how much of each float32 and v's dtype may lose on the way."""
    dim, group = q.shape[3], q.shape[1] // k.shape[1]
    q, k, v64 = (x.double() for x in (q, k, v))
    k, v64 = (x.repeat_interleave(group, 1) for x in (k, v64))
    s = q @ k.mT * dim**-0.5
    queries, keys = s.shape[2:]
    if causal:
        hidden = torch.ones(queries, keys, dtype=torch.bool, device=s.device)
        s = s.masked_fill(hidden.triu(1 + keys - queries), -inf)
    lse = s.logsumexp(-1, keepdim=True)
    finite = lse.nan_to_num(neginf=0.0)
    p = (s - finite).exp()
    # A score may be off by an eps of its summands' size and of itself, a weight by that share.
    lost = (q.square() @ k.square().mT).sqrt()
    size = p * (1 + lost + finite.abs() + torch.where(p > 0, s.abs(), 0.0))
    coarse = p * torch.finfo(v.dtype).eps / torch.finfo(F32).eps
    each = ((size + coarse).square() @ v64.square()).sqrt()
    return p @ v64, lse[..., 0], each, size.sum(-1)


def operands(rng, batch, heads, kv_heads, queries, keys, dim, dtype=BF16):
    q = rng.normal(batch, heads, queries, dim, dtype=dtype)
    k, v = (rng.normal(batch, kv_heads, keys, dim, dtype=dtype) for _ in range(2))
    return q, k, v


def compare(o, lse, expected, name):
    o64, lse64, o_size, lse_size = expected
    close(o, o64, dtype=o.dtype, scale=o_size, name=name)
    close(lse, lse64, dtype=F32, scale=lse_size, name=f"lse of the {name}")


def check(function, q, k, v, causal=False, rows=64, name="result"):
    (o, lse), seen = watch(function, q, k, v, *([causal] if causal else []))
    compare(o, lse, dense64(q, k, v, causal), name)
    assert o.is_contiguous(), f"o has the strides {o.stride()}, not contiguous ones"
    tiles = q.shape[0] * q.shape[1] * math.ceil(q.shape[2] / rows)
    room = o.numel() * o.element_size() + lse.numel() * 4
    check_launch(seen, tiles, room, f"{q.shape[2]} queries of {q.shape[0] * q.shape[1]} heads")


SIZES = [
    (1, 1, 1, 1, 1, 64),
    (1, 2, 1, 64, 128, 128),
    (2, 2, 2, 65, 129, 64),
    (1, 4, 2, 100, 300, 128),
    (1, 1, 1, 200, 1000, 80),
    (1, 3, 3, 257, 127, 8),
]
LARGE = [(2, 8, 2, 2048, 2048, 128), (1, 4, 4, 1777, 3000, 64)]
NAMES = "batch, heads, kv_heads, queries, keys, dim"


@exercise("attention_serial", ban=BAN, gpu=CHIP, seconds=60)
@shapes(NAMES, *SIZES, gpu=LARGE)
@pytest.mark.parametrize("dtype", [F16, BF16], ids=str)
def test_serial_attention(batch, heads, kv_heads, queries, keys, dim, dtype, rng):
    tensors = operands(rng, batch, heads, kv_heads, queries, keys, dim, dtype)
    check(day01.attention_serial, *tensors)


def tile_of(dim):
    return 192 if dim <= 64 else 128


@exercise("flash_attention_forward", ban=BAN, gpu=CHIP, seconds=60)
@CAUSAL
@shapes(NAMES, *SIZES, gpu=LARGE)
def test_flash_forward(batch, heads, kv_heads, queries, keys, dim, causal, rng):
    tensors = operands(rng, batch, heads, kv_heads, queries, keys, dim)
    check(day01.flash_attention_forward, *tensors, causal, rows=tile_of(dim))


@exercise("flash_attention_forward", ban=BAN, gpu=CHIP, seconds=60)
@CAUSAL
@pytest.mark.parametrize("dim", [64, 128])
@pytest.mark.parametrize(
    "queries, keys", [(256, 256), (384, 384), (384, 640), (640, 384), (700, 100), (1, 515)]
)
def test_masks_at_every_place(queries, keys, dim, causal, rng):
    """Blocks along the diagonal and beside it; queries that see no key; a last block cut short."""
    tensors = operands(rng, 1, 2, 1, queries, keys, dim, F16)
    name = f"result for {queries} queries and {keys} keys"
    check(day01.flash_attention_forward, *tensors, causal, tile_of(dim), name)


def of_both(test):
    """The test for each of the two kernels, each tied to its exercise."""
    for name in ("attention_serial", "flash_attention_forward"):

        def one(rng, name=name):
            test(getattr(day01, name), rng)

        one.__doc__ = test.__doc__
        marked = exercise(name, ban=BAN, gpu=CHIP, seconds=60)(one)
        globals()[f"{test.__name__}_{name}"] = marked


def views(function, rng):
    """q, k and v as they come out of a projection: (batch, n, heads, dim) in memory."""
    q, k, v = operands(rng, 2, 3, 3, 70, 200, 128)
    views = [x.transpose(1, 2).contiguous().transpose(1, 2) for x in (q, k, v)]
    name = "result of operands in the order of tokens"
    compare(*function(*views), dense64(q, k, v), name)


def beyond(function, rng):
    """What lies behind a head belongs to the next one: nan there must change nothing."""
    q, k, v = operands(rng, 1, 2, 2, 70, 150, 64)
    expected = [x[:, :1] for x in dense64(q, k, v)]
    k, v = k.clone(), v.clone()
    k[:, 1], v[:, 1] = nan, nan
    o, lse = function(q, k, v)
    compare(o[:, :1], lse[:, :1], expected, "first head's result")


def large_scores(function, rng):
    q, k, v = operands(rng, 1, 1, 1, 100, 400, 64, F16)
    q = 40 * q
    compare(*function(q, k, v), dense64(q, k, v), "result for scores of hundreds")


def rising_scores(function, rng):
    """Each block of keys has a higher maximum than all before it, seen from either end."""
    q, k, v = operands(rng, 1, 1, 1, 64, 900, 64, F16)
    for sign in (1, -1):
        bias = sign * torch.linspace(-6, 6, 900, device=q.device).half()
        kk = k.clone()
        kk[..., 0] = bias
        qq = q.clone()
        qq[..., 0] = 8.0
        name = "result for scores that rise or fall"
        compare(*function(qq, kk, v), dense64(qq, kk, v), name)


def wrong_operands(function, rng):
    q, k, v = operands(rng, 1, 2, 2, 8, 8, 64)
    refused(function, q.float(), k.float(), v.float(), what="float32")
    refused(function, q, k, v[:, :, :7], what="fewer values than keys")
    refused(function, q, k[..., :56], v[..., :56], what="keys that are shorter than queries")
    refused(function, q, k[:, :, ::2].mT.contiguous().mT, v[:, :, ::2], what="columns of keys")
    wide = torch.zeros(1, 1, 8, 256, dtype=BF16, device=q.device)
    refused(function, wide, wide, wide, what="heads of 256 elements")


for _test in (views, beyond, large_scores, rising_scores, wrong_operands):
    _test.__name__ = f"test_{_test.__name__}"
    of_both(_test)


@exercise("flash_attention_forward", ban=BAN, gpu=CHIP, seconds=60)
def test_skips_blocks_that_nobody_sees(rng):
    q, k, v = operands(rng, 1, 1, 1, 640, 640, 128)
    expected = dense64(q[:, :, :128], k[:, :, :128], v[:, :, :128], True)
    k, v = k.clone(), v.clone()
    k[:, :, 128:], v[:, :, 128:] = nan, nan
    o, lse = day01.flash_attention_forward(q, k, v, True)
    what = "first tile's result, with nan in blocks of k and v that it does not see,"
    compare(o[:, :, :128], lse[:, :, :128], expected, what)


@exercise("flash_attention_forward", ban=BAN, gpu=CHIP, seconds=60)
@CAUSAL
def test_forward_is_the_same_every_time(causal, rng):
    q, k, v = operands(rng, 2, 8, 8, 1500, 1500, 64)
    first = day01.flash_attention_forward(q, k, v, causal)[0]
    for _ in range(10):
        again = day01.flash_attention_forward(q, k, v, causal)[0]
        assert torch.equal(first, again), "two runs differ: is a slot given back before it is read?"


@exercise("scale_tiles", gpu=CHIP, seconds=60)
def test_scale_tiles_compiles():
    for report in compiled(LAUNCHES["scale_tiles"]):
        check_report("scale_tiles", report)


@exercise("ring_sums", gpu=CHIP, seconds=60)
def test_ring_sums_compiles():
    for report in compiled(LAUNCHES["ring_sums"]):
        check_report("ring_sums", report)


@exercise("attention_serial", gpu=CHIP, seconds=60)
def test_attention_serial_compiles():
    for report in compiled(LAUNCHES["attention_serial"]):
        check_report("attention_serial", report)


@exercise("flash_attention_forward", gpu=CHIP, seconds=60)
def test_flash_attention_forward_compiles():
    for report in compiled(launch_forward):
        check_report("flash_attention_forward", report)
