"""Day 19: codes, biases and rotations against float64, and against transformers."""

import math
from contextlib import contextmanager

import pytest
import torch

from harness.testing import close, exercise, layouts, shapes, watch
from tracks.pytorch import day19

HALF = [torch.float16, torch.bfloat16]


def frequencies64(dim, base=10_000.0, device=None):
    each = [math.exp(-math.log(base) * 2 * i / dim) for i in range(dim // 2)]
    return torch.tensor(each, dtype=torch.float64, device=device)


def rejects(call, *named, what):
    """``call`` raises a ValueError whose message holds all of ``named``."""
    try:
        call()
    except ValueError as refusal:
        missing = ", ".join(str(n) for n in named if str(n) not in str(refusal))
        assert not missing, f"{what}: the error does not name {missing}: {str(refusal)!r}"
    except (NotImplementedError, ImportError):  # nothing is written yet
        raise
    except Exception as error:
        other = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        says = f"{what}: a ValueError was due, and it raises {other}"
        raise AssertionError(says).with_traceback(error.__traceback__) from error
    else:
        pytest.fail(f"{what}: a ValueError was due, and nothing was raised")


@contextmanager
def float64_by_default():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


# -- frequencies and the sinusoidal code ---------------------------------------------------------


@exercise("rope_frequencies")
@shapes("dim", 2, 4, 6, 64, 128)
def test_frequencies(dim):
    close(day19.rope_frequencies(dim), frequencies64(dim), name=f"frequencies of {dim} features")
    for base in (500_000.0, 100):
        wanted = frequencies64(dim, base)
        got = day19.rope_frequencies(dim, base)
        close(got, wanted, scale=1.0, factor=16, name=f"dim {dim}, base {base}")
        ratio = (got / wanted - 1).abs().max().item()
        assert ratio < 1e-12, f"dim {dim}, base {base}: off by a part in {1 / ratio:.0e}"


@exercise("rope_frequencies")
def test_frequencies_use_the_device(device):
    with torch.device("meta"):  # where tensors land that are made without device=
        got = day19.rope_frequencies(8, device=device)
    assert got.device.type == device.type, f"asked for on {device}, they lie on {got.device}"


@exercise("rope_frequencies")
@pytest.mark.parametrize("dim", [-2, 0, 1, 7])
def test_frequencies_refuse_half_a_pair(dim):
    rejects(lambda: day19.rope_frequencies(dim), dim, what=f"dim={dim}")


def code64(positions, dim, base=10_000.0):
    frequencies = frequencies64(dim, base).tolist()
    columns = []
    for f in frequencies:
        angle = positions.double() * f
        columns += [angle.sin(), angle.cos()]
    return torch.stack(columns, -1)


@exercise("sinusoidal")
@pytest.mark.parametrize("shape", [(), (0,), (7,), (2, 3), (2, 1, 4)], ids=str)
@pytest.mark.parametrize("dim", [2, 6, 64])
def test_sinusoidal(shape, dim, device, rng):
    for dtype in (torch.int64, torch.int32):
        p = rng.integers(0, 600, *shape, dtype=dtype)
        got = day19.sinusoidal(p, dim)
        close(got, code64(p, dim), dtype=torch.float32, scale=1.0, name=f"code of {dtype} {shape}")
    got = day19.sinusoidal(p, dim, 100.0)
    close(got, code64(p, dim, 100.0), dtype=torch.float32, scale=1.0, name="code with base 100")


@exercise("sinusoidal")
def test_sinusoidal_far_away(device, rng):
    p = rng.integers(900_000, 1_000_000, 50)
    got = day19.sinusoidal(p, 32)
    close(got, code64(p, 32), dtype=torch.float32, scale=1.0, name="code near position 1,000,000")


@exercise("sinusoidal")
def test_sinusoidal_beyond_float32(device):
    # Of the angle nothing is rounded: 16,777,217 times 1, which is 2^24 + 1.
    p = torch.tensor([16_777_217], device=device)
    got = day19.sinusoidal(p, 2)
    close(got, code64(p, 2), dtype=torch.float32, scale=1.0,
          name="code of position 16,777,217 (which float32 does not have)")  # fmt: skip


@exercise("sinusoidal")
def test_sinusoidal_is_float32(device):
    with float64_by_default():
        got = day19.sinusoidal(torch.tensor([0, 1], device=device), 4)
    assert got.dtype == torch.float32, f"with float64 as torch's default, the code is {got.dtype}"


@exercise("sinusoidal")
def test_sinusoidal_lies_with_the_positions(device, rng):
    p = rng.integers(0, 9, 3)
    with torch.device("meta"):  # where tensors land that are made without device=
        got = day19.sinusoidal(p, 4)
    assert got.device == p.device, f"positions on {device}, the code on {got.device}"


@exercise("sinusoidal")
def test_sinusoidal_refuses_half_a_pair(device, rng):
    rejects(lambda: day19.sinusoidal(rng.integers(0, 9, 3), 5), 5, what="dim=5")


@exercise("sinusoidal", seconds=60)
def test_sinusoidal_compiles(device, rng):
    f = torch.compile(day19.sinusoidal, backend="aot_eager", fullgraph=True, dynamic=False)
    p = rng.integers(0, 600, 2, 5)
    close(f(p, 6), code64(p, 6), dtype=torch.float32, scale=1.0, name="compiled code")


# -- learned positions ---------------------------------------------------------------------------


ELSEWHERE = "the result where what is made without device= lies elsewhere"


def learned(max_length, dim, rng, dtype=torch.float32):
    """A layer whose table holds large numbers, and the table."""
    layer = day19.LearnedPositions(max_length, dim).to(rng.device)
    values = rng.normal(max_length, dim, dtype=dtype)
    layer.table.weight.data = values.clone()
    return layer, values


@exercise("LearnedPositions")
def test_learned_parameters():
    torch.manual_seed(0)
    layer = day19.LearnedPositions(200, 100)
    names = {name: tuple(p.shape) for name, p in layer.named_parameters()}
    assert names == {"table.weight": (200, 100)}, f"the parameters are {names}"
    assert (layer.max_length, layer.dim) == (200, 100), "max_length and dim are attributes"
    assert isinstance(layer.table, day19.Embedding), "table is not day 14's Embedding"
    weight = layer.table.weight.detach().double()
    n = weight.numel()
    mean, std = weight.mean().item(), weight.std().item()
    assert abs(mean) < 6 * 0.02 / n**0.5, f"the mean of the first values is {mean:.4f}"
    assert abs(std / 0.02 - 1) < 6 / (2 * n) ** 0.5, f"their standard deviation is {std:.4f}"


@exercise("LearnedPositions")
@pytest.mark.parametrize("shape", [(2, 5, 6), (5, 6), (3, 8, 6), (1, 1, 6), (2, 0, 6), (0, 4, 6)])
def test_learned_from_zero(shape, device, rng):
    for dtype in (torch.float32, torch.float64):
        layer, table = learned(8, 6, rng, dtype)
        x = rng.normal(*shape, dtype=dtype)
        wanted = x.double() + table[: shape[-2]].double()
        close(layer(x), wanted, dtype=dtype, scale=2.0, name=f"x {shape} of {dtype}")


@exercise("LearnedPositions")
def test_learned_at_given_positions(device, rng):
    layer, table = learned(9, 4, rng)
    for batch, length in [(2, 3), (3, 3), (1, 4), (2, 9)]:
        x = rng.normal(batch, length, 4)
        for shape in [(length,), (batch, length)]:
            for dtype in (torch.int64, torch.int32):
                p = rng.integers(0, 9, *shape, dtype=dtype)
                name = f"x {tuple(x.shape)} and positions {shape}"
                wanted = x.double() + table[p.long()].double()
                close(layer(x, p), wanted, dtype=x.dtype, scale=2.0, name=name)


@exercise("LearnedPositions")
def test_learned_more_positions_than_the_table_may_be_given(device, rng):
    layer, table = learned(4, 2, rng)
    x, p = rng.normal(1, 6, 2), rng.integers(0, 4, 6)
    wanted = x.double() + table[p].double()
    close(layer(x, p), wanted, dtype=x.dtype, scale=2.0,
          name="6 tokens at positions of a table of 4")  # fmt: skip


@exercise("LearnedPositions")
def test_learned_of_any_strides(device, rng):
    layer, table = learned(8, 6, rng)
    x = rng.normal(2, 5, 6)
    for layout, strided in layouts(x):
        wanted = strided.double() + table[:5].double()
        close(layer(strided), wanted, dtype=x.dtype, scale=2.0, name=f"{layout} x")


@exercise("LearnedPositions")
def test_learned_rounds_once(device):
    # 129 + 0.4995 is 129 to bfloat16's 8 bits. Rounded first, 0.4995 is 0.5: a tie, and 130.
    layer = day19.LearnedPositions(2, 3).to(device)
    layer.table.weight.data.fill_(0.4995)
    x = torch.full((1, 2, 3), 129.0, dtype=torch.bfloat16, device=device)
    out = layer(x)
    assert out.dtype == torch.bfloat16, f"bfloat16 x and a float32 table give {out.dtype}"
    assert (out == 129).all(), f"129 + 0.4995 in bfloat16 came out as {out[0, 0, 0].item()}"


@exercise("LearnedPositions")
def test_learned_keeps_the_dtype_of_x(device, rng):
    for x_dtype in (torch.float64, torch.float32, *HALF):
        for table_dtype in (torch.float64, torch.float32, *HALF):
            layer, table = learned(8, 6, rng, table_dtype)
            x = rng.normal(2, 5, 6, dtype=x_dtype)
            wanted = x.double() + table[:5].double()
            out = layer(x)
            assert out.dtype == x_dtype, f"{x_dtype} x, {table_dtype} table: {out.dtype}"
            # float16 and bfloat16 meet in float32, float16 and float16 in float16
            close(out, wanted, dtype=x_dtype, scale=2.0, name=f"{x_dtype} x, {table_dtype} table")


@exercise("LearnedPositions")
def test_learned_gradients(device, rng):
    layer, _ = learned(8, 4, rng)
    x, p = rng.normal(2, 3, 4).requires_grad_(), rng.integers(0, 5, 2, 3)
    slope = rng.normal(2, 3, 4)
    (layer(x, p) * slope).sum().backward()
    wanted = torch.zeros(8, 4, dtype=torch.float64, device=device)
    wanted.index_add_(0, p.flatten(), slope.double().flatten(0, 1))
    weight = layer.table.weight.grad
    close(weight, wanted, dtype=x.dtype, terms=6, scale=1.0, name="gradient of the table")
    close(x.grad, slope, name="gradient of x")


@exercise("LearnedPositions")
def test_learned_makes_positions_where_x_is(device, rng):
    layer, table = learned(8, 6, rng)
    x = rng.normal(2, 5, 6)
    wanted = x.double() + table[:5].double()
    with torch.device("meta"):  # where tensors land that are made without device=
        out = layer(x)
    assert out.device == x.device, f"x on {device}, the result on {out.device}"
    close(out, wanted, dtype=x.dtype, scale=2.0, name=ELSEWHERE)


@exercise("LearnedPositions")
def test_learned_refusals(device, rng):
    layer, _ = learned(7, 6, rng)
    rejects(lambda: layer(rng.normal(2, 9, 6)), 9, 7, what="9 tokens and a table of 7")
    rejects(lambda: layer(rng.normal(2, 5, 1)), 1, 6, what="x with 1 feature and dim=6")
    for x, p in [((2, 5, 6), (4,)), ((2, 5, 6), (3, 5)), ((2, 5, 6), (1,)), ((2, 5, 6), (1, 5))]:
        rejects(lambda x=x, p=p: layer(rng.normal(*x), rng.integers(0, 7, *p)),
                x, p, what=f"x {x} and positions {p}")  # fmt: skip
    if device.type == "cpu":
        for p in (-1, 7):
            with pytest.raises(IndexError):
                layer(rng.normal(1, 1, 6), torch.tensor([p]))
                pytest.fail(f"position {p} lies outside a table of 7, and was accepted")


@exercise("LearnedPositions", seconds=60)
def test_learned_compiles(device, rng):
    layer, table = learned(8, 6, rng)
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True, dynamic=False)
    x, p = rng.normal(2, 5, 6, dtype=torch.bfloat16), rng.integers(0, 8, 2, 5)
    for given, rows in [((), table[:5]), ((p,), table[p])]:
        wanted = x.double() + rows.double()
        close(compiled(x, *given), wanted, dtype=x.dtype, scale=2.0, name="compiled")


# -- T5's relative bias --------------------------------------------------------------------------


def bucket(d, buckets, bidirectional, max_distance):
    """All buckets that distance d may go into, in whole numbers."""
    half = buckets // 2 if bidirectional else buckets
    first = half if bidirectional and d > 0 else 0
    n = abs(d) if bidirectional else max(-d, 0)
    exact = half // 2
    if n < exact:
        return {first + n}
    # log(n / exact) / log(max_distance / exact) · m >= k, without logarithms
    m, k = half - exact, 0
    while k < m and n**m * exact**k >= max_distance**k * exact**m:
        k += 1
    edge = k > 1 and n**m * exact ** (k - 1) == max_distance ** (k - 1) * exact**m
    right = min(exact + k - 1, half - 1)
    return {first + right} | ({first + exact + k - 2} if edge else set())


CONFIGS = [(32, 128), (8, 20), (16, 64), (6, 11), (12, 1000), (7, 9)]


@exercise("relative_bias")
@pytest.mark.parametrize("bidirectional", [True, False], ids=["both ways", "past"])
@pytest.mark.parametrize("buckets, max_distance", CONFIGS)
def test_buckets(buckets, max_distance, bidirectional, device):
    table = torch.arange(float(buckets), device=device)[:, None]
    options = {"bidirectional": bidirectional, "max_distance": max_distance}
    for queries, keys in [(1, 1500), (150, 150)]:
        got = day19.relative_bias(table, queries, keys, **options)
        assert got.shape == (1, queries, keys), f"the shape is {tuple(got.shape)}"
        found = got[0].tolist()
        for i in {0, queries // 2, queries - 1}:
            for j in range(keys):
                d = j - (i + keys - queries)
                right = bucket(d, buckets, bidirectional, max_distance)
                assert found[i][j] in right, (
                    f"{buckets} buckets, max_distance {max_distance}, bidirectional "
                    f"{bidirectional}: a key {d} ahead came into bucket {found[i][j]:.0f}, "
                    f"not {max(right)}"
                )


@exercise("relative_bias")
@pytest.mark.parametrize("bidirectional", [True, False], ids=["both ways", "past"])
def test_buckets_of_a_half_precision_table(bidirectional, device):
    for dtype in HALF:  # both hold the numbers up to 31
        table = torch.arange(32, device=device)[:, None].to(dtype)
        found = day19.relative_bias(table, 1, 200, bidirectional=bidirectional)[0, 0].tolist()
        for j, entry in enumerate(found):
            right = bucket(j - 199, 32, bidirectional, 128)
            assert entry in right, (
                f"{dtype} table, bidirectional {bidirectional}: a key {j - 199} ahead came into "
                f"bucket {entry:.0f}, not {max(right)}"
            )


def bias64(table, queries, keys, bidirectional=True, max_distance=128):
    rows = [
        [max(bucket(j - (i + keys - queries), len(table), bidirectional, max_distance))
         for j in range(keys)] for i in range(queries)
    ]  # fmt: skip
    which = torch.tensor(rows, dtype=torch.int64, device=table.device).reshape(queries, keys)
    return table.double()[which].movedim(-1, 0)


@exercise("relative_bias")
@shapes("heads, queries, keys", (1, 1, 1), (3, 5, 5), (2, 1, 7), (5, 3, 6), (2, 6, 4), (2, 0, 3),
        (2, 3, 0), (4, 12, 15))  # fmt: skip
def test_bias_of_every_head(heads, queries, keys, device, rng):
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        table = rng.normal(32, heads, dtype=dtype)
        got = day19.relative_bias(table, queries, keys)
        close(got, bias64(table, queries, keys), dtype=dtype, name=f"{dtype} bias")
        got = day19.relative_bias(table, queries, keys, bidirectional=False)
        wanted = bias64(table, queries, keys, bidirectional=False)
        close(got, wanted, dtype=dtype, name=f"{dtype} bias of the past")


@exercise("relative_bias")
def test_bias_beyond_the_default_distance(device, rng):
    table = rng.normal(32, 2)
    far = day19.relative_bias(table, 1, 400, bidirectional=False)[:, 0]
    last = table[31][:, None].expand(2, 400 - 128)
    close(far[:, : 400 - 128], last, name="bias of keys 128 and more positions back")


@exercise("relative_bias")
def test_bias_gradient_adds_up(device, rng):
    table, slope = rng.normal(8, 3).requires_grad_(), rng.normal(3, 5, 6)
    (day19.relative_bias(table, 5, 6, max_distance=5) * slope).sum().backward()
    leaf = table.detach().double().requires_grad_()
    (bias64(leaf, 5, 6, max_distance=5) * slope.double()).sum().backward()
    close(table.grad, leaf.grad, dtype=table.dtype, terms=30, scale=1.0, name="table's gradient")


@exercise("relative_bias")
def test_bias_has_no_loop(device, rng):
    table = rng.normal(8, 2)
    _, small = watch(day19.relative_bias, table, 3, 4)
    _, large = watch(day19.relative_bias, table, 48, 50)
    assert len(large.operators) <= len(small.operators), (
        f"{len(small.operators)} operators for 3 queries, {len(large.operators)} for 48"
    )
    _, many = watch(day19.relative_bias, rng.normal(8, 24), 3, 4)
    assert len(many.operators) <= len(small.operators), (
        f"{len(small.operators)} operators for 2 heads, {len(many.operators)} for 24"
    )


@exercise("relative_bias")
def test_bias_lies_with_the_table(device, rng):
    table = rng.normal(8, 2)
    for bidirectional in (True, False):
        wanted = bias64(table, 3, 4, bidirectional)
        with torch.device("meta"):  # where tensors land that are made without device=
            got = day19.relative_bias(table, 3, 4, bidirectional=bidirectional)
        assert got.device == table.device, f"table on {device}, bias on {got.device}"
        close(got, wanted, dtype=table.dtype, name=ELSEWHERE)


@exercise("relative_bias", seconds=60)
def test_bias_compiles(device, rng):
    f = torch.compile(day19.relative_bias, backend="aot_eager", fullgraph=True, dynamic=False)
    table = rng.normal(8, 2)
    close(f(table, 5, 5), bias64(table, 5, 5), dtype=table.dtype, name="compiled bias")


@exercise("relative_bias", seconds=60)
@pytest.mark.parametrize("decoder", [False, True], ids=["encoder", "decoder"])
def test_bias_agrees_with_t5(decoder, device, rng):
    from transformers import T5Config
    from transformers.models.t5.modeling_t5 import T5Attention

    for buckets, max_distance in CONFIGS:
        config = T5Config(d_model=12, d_kv=4, num_heads=3, is_decoder=decoder,
                          relative_attention_num_buckets=buckets,
                          relative_attention_max_distance=max_distance)  # fmt: skip
        layer = T5Attention(config, has_relative_attention_bias=True).to(device)
        table = rng.normal(buckets, 3, std=5)
        layer.relative_attention_bias.weight.data = table.clone()
        wanted = layer.compute_bias(37, 90, past_seen_tokens=53)[0].detach()
        got = day19.relative_bias(
            table, 37, 90, bidirectional=not decoder, max_distance=max_distance
        )
        where = torch.arange(90) - torch.arange(53, 90)[:, None]
        sure = [len(bucket(d, buckets, not decoder, max_distance)) == 1 for d in range(-90, 90)]
        sure = torch.tensor(sure)[where + 90].to(device)
        close(got[:, sure], wanted[:, sure], name=f"{buckets} buckets up to {max_distance}")


# -- ALiBi ---------------------------------------------------------------------------------------


def slopes64(heads):
    """As the paper's appendix has it: by recursion."""
    if heads & (heads - 1) == 0:
        return [2 ** (-8 * (i + 1) / heads) for i in range(heads)]
    less = 2 ** math.floor(math.log2(heads))
    return slopes64(less) + slopes64(2 * less)[::2][: heads - less]


@exercise("alibi_slopes")
@shapes("heads", 1, 2, 3, 5, 7, 8, 12, 16, 20, 63, 64)
def test_slopes(heads):
    wanted = torch.tensor(slopes64(heads), dtype=torch.float64)
    close(day19.alibi_slopes(heads), wanted, dtype=torch.float32, name=f"slopes of {heads} heads")


@exercise("alibi_slopes")
def test_slopes_use_the_device(device):
    for where in ("meta", device.type):
        got = day19.alibi_slopes(3, where)
        assert got.device.type == where, f"asked for on {where}, they lie on {got.device}"


@exercise("alibi_slopes")
def test_slopes_are_float32(device):
    with float64_by_default():
        got = day19.alibi_slopes(3, device)
    assert got.dtype == torch.float32, f"with float64 as torch's default, slopes are {got.dtype}"


@exercise("alibi_slopes")
@pytest.mark.parametrize("heads", [0, -3])
def test_slopes_refuse_no_heads(heads):
    rejects(lambda: day19.alibi_slopes(heads), heads, what=f"heads={heads}")


@exercise("alibi_slopes")
@shapes("heads, queries, keys", (3, 4, 4), (2, 1, 5), (6, 2, 5))
def test_alibi_bias(heads, queries, keys, device):
    wanted = [[[-m * abs(j - (i + keys - queries)) for j in range(keys)] for i in range(queries)]
              for m in slopes64(heads)]  # fmt: skip
    wanted = torch.tensor(wanted, dtype=torch.float64, device=device)
    got = day19.alibi_bias(heads, queries, keys, device)
    close(got, wanted, dtype=torch.float32, name=f"alibi_bias({heads}, {queries}, {keys})")


@exercise("alibi_slopes", seconds=60)
def test_alibi_compiles(device):
    f = torch.compile(day19.alibi_bias, backend="aot_eager", fullgraph=True, dynamic=False)
    close(f(3, 2, 4, device), day19.alibi_bias(3, 2, 4, device), name="compiled alibi_bias")


@exercise("alibi_slopes", seconds=60)
@shapes("heads", 1, 6, 8, 24)
def test_slopes_agree_with_bloom(heads, device):
    from transformers.models.bloom.modeling_bloom import build_alibi_tensor

    # BLOOM counts from the first key, which softmax does not see; position 1 holds the slopes.
    ones = torch.ones(1, 2, dtype=torch.int64, device=device)
    wanted = build_alibi_tensor(ones, heads, torch.float32)[:, 0, 1]
    close(day19.alibi_slopes(heads, device), wanted, terms=16, name=f"slopes of {heads} heads")


# -- rotations -----------------------------------------------------------------------------------


def rope64(x, positions, frequencies=None, interleaved=False, attention_factor=1.0):
    """Multiplication by complex numbers, in float64."""
    d = x.shape[-1]
    if frequencies is None:
        frequencies = frequencies64(d, device=x.device)
    if positions.ndim == 2:
        positions = positions.view(len(positions), *[1] * (x.ndim - 3), x.shape[-2])
    angles = positions.double()[..., None] * frequencies.double()
    turn = torch.polar(torch.full_like(angles, attention_factor), angles)
    pairs = x.double().unflatten(-1, (d // 2, 2) if interleaved else (2, d // 2))
    pairs = pairs if interleaved else pairs.mT
    turned = torch.view_as_real(torch.complex(pairs[..., 0], pairs[..., 1]) * turn)
    return (turned if interleaved else turned.mT).flatten(-2)


def close_rope(result, wanted, dtype, name):
    # In float64 the angle's own rounding counts: some fifty radians, from a power.
    terms, scale = (256, 4.0) if dtype == torch.float64 else (2, 2.0)
    close(result, wanted, dtype=dtype, terms=terms, scale=scale, name=name)


def check_rope(x, *args, turn=None, name="result", **options):
    """``turn``, or rope, of x. An answer that writes into x is told so, not that it is wrong."""
    wanted = rope64(x, *args, **options)
    close_rope((turn or day19.rope)(x, *args, **options), wanted, x.dtype, name)


LAYOUTS = pytest.mark.parametrize("interleaved", [False, True], ids=["half-split", "interleaved"])


@exercise("rope")
@LAYOUTS
@pytest.mark.parametrize(
    "shape", [(2, 3, 5, 8), (4, 6), (1, 1, 2), (3, 2, 2, 7, 4), (2, 3, 0, 4), (0, 2, 3, 4)], ids=str
)
def test_rope(shape, interleaved, device, rng):
    for dtype in (torch.float64, torch.float32, *HALF):
        x = rng.normal(*shape, dtype=dtype)
        p = rng.integers(0, 50, shape[-2])
        check_rope(x, p, interleaved=interleaved, name=f"{dtype} result of x {shape}")


@exercise("rope")
@LAYOUTS
@pytest.mark.parametrize(
    "shape", [(2, 3, 5, 8), (3, 3, 5, 8), (2, 5, 4), (2, 3, 2, 5, 4), (1, 2, 3, 4)], ids=str
)
def test_rope_with_positions_of_each_sequence(shape, interleaved, device, rng):
    x = rng.normal(*shape)
    for dtype in (torch.int64, torch.int32):
        p = rng.integers(0, 50, shape[0], shape[-2], dtype=dtype)
        name = f"x {shape} and positions {tuple(p.shape)}"
        check_rope(x, p, interleaved=interleaved, name=name)


@exercise("rope")
@LAYOUTS
def test_rope_of_any_strides(interleaved, device, rng):
    x, p = rng.normal(2, 3, 5, 8), rng.integers(0, 50, 5)
    for layout, strided in layouts(x):
        check_rope(strided, p, interleaved=interleaved, name=f"{layout} x")


@exercise("rope")
@LAYOUTS
@pytest.mark.parametrize("offset", [1, 1000, 100_000])
def test_scores_depend_on_the_distance_alone(offset, interleaved, device, rng):
    q, k = rng.normal(4, 16, dtype=torch.float64), rng.normal(6, 16, dtype=torch.float64)
    m, n = rng.integers(0, 30, 4), rng.integers(0, 30, 6)

    def scores(by, dtype):
        turned = (
            day19.rope(x.to(dtype, copy=True), at + by, interleaved=interleaved).double()
            for x, at in ((q, m), (k, n))
        )
        first, second = turned
        return first @ second.T

    for dtype in (torch.float64, torch.float32):
        here, there = scores(0, dtype), scores(offset, dtype)
        tolerance = 1e-9 if dtype == torch.float64 else 5e-5
        worst = (here - there).abs().max().item()
        assert worst < tolerance, (
            f"{dtype}: a query and a key both moved by {offset} positions, and their product "
            f"changed by {worst:.2g}"
        )
    still = (q @ k.T - scores(0, torch.float64)).abs().max().item()
    assert still > 0.1, "queries and keys at other positions have the products of position 0"


@exercise("rope")
def test_rope_far_away(device, rng):
    x, p = rng.normal(3, 20, 8), rng.integers(900_000, 1_000_000, 20)
    check_rope(x, p, name="near position 1,000,000")
    check_rope(x, p, rng.uniform(4), name="near position 1,000,000, with float32 frequencies")


@exercise("rope")
def test_rope_beyond_float32(device):
    # Of the angle nothing is rounded: 16,777,217 times 1, which is 2^24 + 1.
    x, p = torch.tensor([[1.0, 0.0]], device=device), torch.tensor([16_777_217], device=device)
    check_rope(x, p, name="rope at position 16,777,217 (which float32 does not have)")


@exercise("rope")
def test_rope_with_the_numbers_of_the_lesson(device):
    x = torch.tensor([[3.0, 0.0, 4.0, 0.0]], device=device)
    p = torch.tensor([1], device=device)
    quarter = torch.tensor([math.pi / 2, 0.0], dtype=torch.float64, device=device)
    for interleaved, wanted in [(False, [-4.0, 0.0, 3.0, 0.0]), (True, [0.0, 3.0, 4.0, 0.0])]:
        got = day19.rope(x.clone(), p, quarter, interleaved=interleaved)
        wanted = torch.tensor([wanted], dtype=torch.float64, device=device)
        close(got, wanted, dtype=x.dtype, scale=4.0, name=f"interleaved={interleaved}")


@exercise("rope")
def test_the_layouts_differ_by_a_permutation(device, rng):
    x, p = rng.normal(2, 5, 8), rng.integers(1, 50, 5)
    order = torch.tensor([0, 4, 1, 5, 2, 6, 3, 7], device=device)
    mixed = day19.rope(x[..., order], p, interleaved=True)
    split, other = day19.rope(x.clone(), p), day19.rope(x.clone(), p, interleaved=True)
    close(mixed, split[..., order].double(), dtype=x.dtype, scale=2.0,
          name="features i and i + d/2 brought together, interleaved")  # fmt: skip
    assert not torch.allclose(split, other, atol=1e-2), "both layouts turn the same pairs"


@exercise("rope")
@LAYOUTS
def test_rope_with_other_frequencies(interleaved, device, rng):
    x, p = rng.normal(2, 3, 5, 8), rng.integers(0, 50, 2, 5)
    for dtype in (torch.float64, torch.float32):
        f = rng.uniform(4, dtype=dtype)
        options = {"interleaved": interleaved, "attention_factor": 1.5}
        check_rope(x, p, f, name=f"{dtype} frequencies, attention factor 1.5", **options)


@exercise("rope")
@LAYOUTS
def test_rope_in_half_precision_rounds_once(interleaved, device, rng):
    # 4096 results in a row that are within half a step of bfloat16 of the exact ones.
    x, p = rng.normal(2, 32, 64, dtype=torch.bfloat16), rng.integers(0, 500, 32)
    wanted = rope64(x, p, interleaved=interleaved)
    got = day19.rope(x, p, interleaved=interleaved)
    close(got, wanted, dtype=x.dtype, scale=2.0)
    step = torch.maximum(wanted.abs(), got.double().abs()) * 2.0**-8
    over = (got.double() - wanted).abs() > step + 1e-5
    assert not over.any(), f"{over.sum()} of {over.numel()} results are rounded more than once"


@exercise("rope")
@LAYOUTS
def test_rope_with_a_factor_rounds_once(interleaved, device):
    # 1.015625 sin 0.7 is 167.5 / 256, which bfloat16 has as 167 / 256. Times 1.3 that would be 217
    # of these steps; what is rounded once is 217.75 of them, and so 218.
    x = torch.tensor([[1.015625, 0.0]], dtype=torch.bfloat16, device=device)
    p, f = torch.tensor([1], device=device), torch.tensor([0.7], device=device)
    got = day19.rope(x, p, f, interleaved=interleaved, attention_factor=1.3)[0, 1].item()
    assert got == 218 / 256, (
        f"1.3 · 1.015625 sin 0.7 is {218 / 256:.4f} in bfloat16, rounded once, and came out as "
        f"{got:.4f}"
    )


@exercise("rope")
@LAYOUTS
def test_rope_gradient_turns_back(interleaved, device, rng):
    x, p, slope = rng.normal(2, 5, 8), rng.integers(0, 50, 5), rng.normal(2, 5, 8)
    x.requires_grad_()
    (day19.rope(x, p, interleaved=interleaved) * slope).sum().backward()
    close_rope(x.grad, rope64(slope, -p, interleaved=interleaved), x.dtype, "gradient of x")


@exercise("rope")
def test_rope_makes_everything_where_x_is(device, rng):
    x, p = rng.normal(2, 5, 8), rng.integers(0, 50, 2, 5)
    with torch.device("meta"):  # where tensors land that are made without device=
        got = day19.rope(x, p)
    assert got.device == x.device, f"x on {device}, the result on {got.device}"


@exercise("rope")
def test_rope_refusals(device, rng):
    def call(x, p, *f):
        return lambda: day19.rope(
            rng.normal(*x), rng.integers(0, 9, *p), *(rng.uniform(*shape) for shape in f)
        )

    for x, p in [((2, 3, 5, 8), (4,)), ((2, 3, 5, 8), (3, 5)), ((2, 3, 5, 8), (1,)),
                 ((2, 3, 5, 8), (1, 5)), ((5, 8), (5, 5)), ((2, 3, 5, 8), (2, 3, 5))]:  # fmt: skip
        rejects(call(x, p), x, p, what=f"x {x} and positions {p}")
    for x, f in [((5, 8), (8,)), ((5, 8), (1,)), ((5, 8), (4, 1)), ((5, 2), (1, 1))]:
        rejects(call(x, (5,), f), x, f, what=f"x {x} and frequencies {f}")
    rejects(call((5, 7), (5,)), 7, what="x with 7 features")
    rejects(call((5, 7), (5,), (3,)), 7, what="x with 7 features and 3 frequencies")


@exercise("rope", seconds=60)
@LAYOUTS
def test_rope_compiles(interleaved, device, rng):
    f = torch.compile(day19.rope, backend="aot_eager", fullgraph=True, dynamic=False)
    x, p = rng.normal(2, 3, 5, 8, dtype=torch.bfloat16), rng.integers(0, 50, 2, 5)
    check_rope(x, p, turn=f, interleaved=interleaved, name="compiled")


# -- longer texts --------------------------------------------------------------------------------


def scaled64(dim, kind, s, base=10_000.0, trained=2048, length=0, slow=1.0, fast=32.0):
    """One pair at a time, in Python's floats."""
    if kind == "dynamic":
        s = 1 + s * (max(length, trained) / trained - 1)
    if kind in ("ntk", "dynamic"):
        base *= s ** (dim / (dim - 2))
    f = [math.exp(-math.log(base) * 2 * i / dim) for i in range(dim // 2)]
    if kind == "linear":
        f = [x / s for x in f]
    if kind == "llama3":
        for i, x in enumerate(f):
            turns = trained * x / (2 * math.pi)
            share = (turns - slow) / (fast - slow)
            f[i] = x if turns >= fast else x / s if turns <= slow else x * (share + (1 - share) / s)
    if kind == "yarn":
        start, end = (dim * math.log(trained / (math.tau * r)) / math.log(base) / 2
                      for r in (fast, slow))  # fmt: skip
        start, end = max(math.floor(start), 0), min(math.ceil(end), dim - 1)
        for i, x in enumerate(f):
            share = 1 - min(max((i - start) / (end - start), 0), 1)
            f[i] = x * (share + (1 - share) / s)
    return torch.tensor(f, dtype=torch.float64), 1 + math.log(s) / 10 if kind == "yarn" else 1.0


def check_scaled(dim, kind, s, **options):
    got = day19.rope_scale(dim, kind, s, **options)
    wanted, attention_factor = scaled64(dim, kind, s, **options)
    name = f"frequencies of rope_scale({dim}, {kind!r}, {s}, {options})"
    close(got.frequencies, wanted, scale=1.0, factor=16, name=name)
    ratio = (got.frequencies / wanted - 1).abs().max().item()
    assert ratio < 1e-11, f"{name} are off by a factor of up to {1 + ratio}"
    assert isinstance(got.attention_factor, (float, int)), (
        f"{kind}: the attention factor is a {type(got.attention_factor).__name__}, "
        f"{got.attention_factor!r}: a Python number was due"
    )
    assert math.isclose(got.attention_factor, attention_factor, rel_tol=1e-9), (
        f"{kind}, factor {s}: the attention factor is {got.attention_factor}"
    )


KINDS = ["linear", "ntk", "dynamic", "yarn", "llama3"]


@exercise("rope_scale")
@pytest.mark.parametrize("kind", KINDS)
@shapes("dim", 4, 32, 128)
def test_scale(dim, kind):
    for s in (1.0, 2, 7.5):
        check_scaled(dim, kind, s)
        check_scaled(dim, kind, s, base=500_000.0, trained=8192)


@exercise("rope_scale")
@pytest.mark.parametrize("kind", ["linear", "yarn", "llama3"])
def test_scale_of_one_pair(kind):
    check_scaled(2, kind, 2.0)
    check_scaled(2, kind, 7.5, base=500_000.0, trained=8192)


@exercise("rope_scale")
@pytest.mark.parametrize("kind", KINDS)
def test_scale_and_length(kind):
    for length in (1, 500, 2048, 2049, 10_000):
        check_scaled(32, kind, 4.0, length=length)
        check_scaled(32, kind, 4.0, length=length, trained=512)


@exercise("rope_scale")
@pytest.mark.parametrize("kind", KINDS)
def test_scale_with_other_numbers_of_turns(kind):
    check_scaled(64, kind, 8.0, base=500_000.0, trained=8192, slow=1.0, fast=4.0)
    check_scaled(64, kind, 3.0, slow=2.5, fast=20.0)
    check_scaled(64, kind, 3.0, trained=100)  # no pair makes 32 turns
    check_scaled(8, kind, 3.0, base=10.0, fast=256.0)  # even the last pair makes many turns


@exercise("rope_scale")
@pytest.mark.parametrize("kind", KINDS)
def test_scale_uses_the_device(kind, device):
    with torch.device("meta"):  # where tensors land that are made without device=
        got = day19.rope_scale(16, kind, 2.0, device=device).frequencies
    assert got.device.type == device.type, f"asked for on {device}, they lie on {got.device}"


@exercise("rope_scale")
def test_scale_refusals():
    for kind, factor in [("longer", 2.0), ("longer", 1.0), ("YaRN", 2.0), ("Linear", 1.0)]:
        rejects(lambda kind=kind, factor=factor: day19.rope_scale(16, kind, factor), kind,
                what=f"kind={kind!r}, factor={factor}")  # fmt: skip
    for kind in KINDS:
        rejects(lambda kind=kind: day19.rope_scale(16, kind, 0.5), 0.5, what=f"{kind}, factor=0.5")
        rejects(lambda kind=kind: day19.rope_scale(15, kind, 2.0), 15, what=f"{kind}, dim=15")


PARAMETERS = {
    "default": {},
    "linear": {"factor": 4.0},
    "dynamic": {"factor": 4.0},
    "yarn": {"factor": 4.0, "original_max_position_embeddings": 64},
    "llama3": {"factor": 8.0, "original_max_position_embeddings": 64,
               "low_freq_factor": 1.0, "high_freq_factor": 4.0},
}  # fmt: skip


@exercise("rope_scale", seconds=60)
@pytest.mark.parametrize("kind", PARAMETERS)
def test_scaled_rope_agrees_with_llama(kind, device, rng):
    from transformers import LlamaConfig
    from transformers.models.llama import modeling_llama

    config = LlamaConfig(
        hidden_size=64, num_attention_heads=2, max_position_embeddings=64,
        rope_parameters={"rope_type": kind, "rope_theta": 5_000.0, **PARAMETERS[kind]},
    )  # fmt: skip
    q, k = rng.normal(2, 2, 200, 32, std=5), rng.normal(2, 1, 200, 32, std=5)
    positions = torch.arange(200, device=device).expand(2, 200)
    cos, sin = modeling_llama.LlamaRotaryEmbedding(config).to(device)(q, positions)
    if kind == "default":
        f, attention_factor = day19.rope_frequencies(32, 5_000.0, device), 1.0
    else:
        options = {"fast": 4.0} if kind == "llama3" else {}
        f, attention_factor = day19.rope_scale(
            32, kind, PARAMETERS[kind]["factor"],
            base=5_000.0, trained=64, length=200, device=device, **options,
        )  # fmt: skip
    for x, wanted in zip((q, k), modeling_llama.apply_rotary_pos_emb(q, k, cos, sin), strict=True):
        got = day19.rope(x, positions, f, attention_factor=attention_factor)
        # transformers computes the angles in float32: at position 200 they are off by 1e-5.
        close(got, wanted, dtype=x.dtype, scale=2000.0, name=f"{kind}: q and k of Llama")
