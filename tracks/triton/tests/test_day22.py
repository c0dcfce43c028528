from math import prod

import pytest
import torch

from harness.testing import close, compiled, exercise, far_apart, layouts, shapes, watch, why_narrow
from tracks.triton import day22

F32, F16, BF16 = torch.float32, torch.float16, torch.bfloat16
DTYPES = {"float32": F32, "float16": F16, "bfloat16": BF16}
HALVES = pytest.mark.parametrize("dtype", [F16, BF16], ids=str)
BLOCK = 16_384  # the longest row that is one block
# A row of one block, of two blocks and one column, of many blocks.
SIZES = [(0, 5, "float32"), (3, 0, "float32"), (1, 1, "float16"), (30, 3, "bfloat16")]
SIZES += [(3, 768, "float32"), (2, 1025, "float16"), (2, 8192, "bfloat16")]
SIZES += [(1, 16_384, "float32"), (2, 16_385, "float16"), (1, 40_003, "bfloat16")]
LARGE = [(4096, 8192, "bfloat16"), (70_001, 129, "float32"), (3, 1_000_003, "float16")]
# Of x, weight and bias; of the residual stream, too, where there is one.
MIXED = [
    (BF16, F32, F32, F32),
    (F16, F16, F32, F16),
    (F32, BF16, F16, BF16),
    (BF16, F16, BF16, F16),
]
nan, inf = float("nan"), float("inf")


def check_run(seen, *results):
    """One launch, and no memory beyond the results: a copied input shows here."""
    launches, empty = len(seen.launches), not results[0].numel()
    assert launches == 1 or (empty and not launches), f"expected 1 kernel launch, saw {launches}"
    size = sum(out.numel() * out.element_size() for out in results)
    assert seen.peak_bytes <= size + 1024, (
        f"what is returned takes {size} bytes, but {seen.peak_bytes} were allocated: is an input "
        "copied, or an intermediate result stored?"
    )


def check_new(inputs, *results):
    """Contiguous tensors of their own; before their values are compared."""
    for out in results:
        if not isinstance(out, torch.Tensor):
            continue  # close() says what it is instead
        assert all(out is not x for x in inputs), (
            "an input itself was returned; asked for is a new tensor, also of an empty input"
        )
        assert out.is_contiguous(), f"a result has the strides {out.stride()}, not contiguous ones"


def blocks_of_two(columns, elements=16):
    """In the place of the day's ``_blocks``: short rows go through the loops, too."""
    return {"BLOCK": 2, "BLOCKS": (columns + 1) // 2, "num_warps": 1}


def only_report(f, *args):
    reports = compiled(f, *args)
    assert len(reports) == 1, f"expected 1 kernel, saw {[r.kernel for r in reports]}"
    (report,) = reports
    assert report.refused is None, f"the compiler refuses this kernel: {report.refused.text()}"
    assert report.spill_bytes == 0, (
        f"{report.kernel} spills {report.spill_bytes} bytes a thread: what it keeps does not fit "
        "in registers. How many warps share a row?"
    )
    return report


def check_one_read(report, inputs):
    """The kernel for a row of one block: every input is loaded once, 128 bits at a time."""
    assert report.widest_load_bits == report.widest_store_bits == 128, (
        f"loads are {report.widest_load_bits} bits wide and stores {report.widest_store_bits}: "
        f"{why_narrow(report)}"
    )
    lines = [a["line"] for a in report.accesses if a["kind"] == "load" and prod(a["shape"]) > 1]
    assert len(lines) == inputs, (
        f"the kernel for rows of one block loads blocks in {len(lines)} places (lines "
        f"{', '.join(map(str, lines))}), but there are {inputs} inputs, to be loaded once each. "
        "Does the compiler know that there is one block?"
    )


def parameters(rng, columns, *dtypes):
    """A weight around 1 and a bias; the columns differ."""
    weight, bias = dtypes
    return rng.normal(columns, dtype=weight, mean=1.0), rng.normal(columns, dtype=bias)


# rms_norm -----------------------------------------------------------------------------------


def check_rms(x, weight, eps=None, name="result", values=None, **options):
    """``values``: what x holds, where the memory around it is too large to be converted."""
    out, seen = watch(day22.rms_norm, x, weight, *([] if eps is None else [eps]))
    check_new([x], out)
    x64 = (x if values is None else values).double()
    square = x64.square().mean(-1, keepdim=True)
    expected = x64 / (square + (1e-6 if eps is None else eps)).sqrt() * weight.double()
    tile = (1, max(x.shape[1], 1))
    close(out, expected, dtype=x.dtype, terms=4, tile=tile, name=name, **options)
    check_run(seen, out)


@exercise("rms_norm")
@shapes("rows, columns, dtype", *SIZES, gpu=LARGE)
def test_rms_norm_matches_float64(rows, columns, dtype, rng):
    x = rng.normal(rows, columns, dtype=DTYPES[dtype], mean=0.5, std=3.0)
    check_rms(x, rng.normal(columns, dtype=DTYPES[dtype], mean=1.0))


@exercise("rms_norm")
@pytest.mark.parametrize("dtypes", MIXED, ids=str)
def test_rms_norm_of_mixed_dtypes(dtypes, rng):
    for columns in (1000, BLOCK + 100):
        x = rng.normal(2, columns, dtype=dtypes[0])
        check_rms(
            x, rng.normal(columns, dtype=dtypes[1], mean=1.0), factor=0.6 + 4 * (x.dtype == F32)
        )


@exercise("rms_norm")
@HALVES
def test_rms_norm_rounds_once(dtype, rng):
    for columns in (3000, BLOCK + 3000):
        x, weight = rng.normal(2, columns, dtype=dtype), rng.uniform(columns, low=1.0, high=4.0)
        check_rms(x, weight.to(dtype), factor=0.6)
        # Squares beyond float16's 65504, and sums that 16 bits cannot follow.
        check_rms(300 * x, weight, factor=0.6)


@exercise("rms_norm")
@pytest.mark.parametrize("eps", [1e-2, 10.0])
def test_rms_norm_with_another_eps(eps, rng):
    check_rms(rng.normal(3, 40, std=0.1), rng.normal(40), eps)


@exercise("rms_norm")
def test_rms_norm_when_the_root_is_small(rng):
    check_rms(rng.normal(3, 40, std=1e-3), rng.normal(40))  # eps is as large as the mean square
    check_rms(rng.normal(3, 40, std=1e-7), rng.normal(40))


@exercise("rms_norm")
def test_rms_norm_of_zeros_and_nan(rng):
    x = rng.normal(4, BLOCK + 50).clone()
    x[0] = 0.0
    x[1, 3], x[2, -1] = nan, nan
    check_rms(x, rng.normal(BLOCK + 50))


@exercise("rms_norm")
def test_rms_norm_of_blocks_that_differ(rng):
    x = rng.normal(3, BLOCK + 100).clone()
    x[0, : BLOCK // 2] *= 100.0  # most of the squares are in one of the blocks
    x[1, BLOCK // 2 : BLOCK] *= 100.0
    x[2, BLOCK:] *= 1000.0
    check_rms(x, rng.normal(BLOCK + 100))


@exercise("rms_norm")
def test_rms_norm_reads_any_strides(rng):
    for columns in (37, BLOCK + 9):
        x, weight = rng.normal(2, columns), rng.normal(columns)
        for name, view in layouts(x):
            check_rms(view, weight, name=f"rms_norm of a {name} input")


@exercise("rms_norm")
def test_rms_norm_reads_beyond_int32(rng):
    x = rng.normal(3, 5, dtype=F16)
    weight = rng.normal(5)
    for name, view in far_apart(x):
        check_rms(view, weight, name=f"rms_norm of a {name} input", values=x)


@exercise("rms_norm")
def test_rms_norm_reads_blocks_beyond_int32(monkeypatch, rng):
    monkeypatch.setattr(day22, "_blocks", blocks_of_two)
    x, weight = rng.normal(3, 5, dtype=F16), rng.normal(5)
    for name, view in far_apart(x):
        check_rms(view, weight, name=f"rms_norm in three blocks of a {name} input", values=x)


@exercise("rms_norm")
def test_rms_norm_reads_a_row_once(rng):
    weight = rng.normal(BLOCK, dtype=BF16)
    check_one_read(only_report(day22.rms_norm, rng.normal(1, BLOCK, dtype=BF16), weight), 2)


@exercise("rms_norm", gpu=True)
@shapes("rows", gpu=[65_537])
def test_rms_norm_beyond_int32(rows, device, rng):
    x = torch.zeros(rows, 32_768, dtype=F16, device=device)
    x[-1] = rng.normal(32_768)
    weight = rng.normal(32_768)
    x64 = x[-1:].double()
    expected = x64 / (x64.square().mean(-1, keepdim=True) + 1e-6).sqrt() * weight.double()
    out = day22.rms_norm(x, weight)[-1:]
    close(out, expected, dtype=F16, terms=4)


# layer_norm ---------------------------------------------------------------------------------


def layer_norm64(x, weight, bias, eps):
    """Layer norm in float64, and the size of what float32 may lose in it.

    The mean may be off by a rounding of the row's largest element, which the weight and the
    deviation scale like everything else.
    """
    x, weight, bias = x.double(), weight.double(), bias.double()
    mean = x.mean(-1, keepdim=True)
    var = (x - mean).square().mean(-1, keepdim=True)
    gain = weight / (var + eps).sqrt()
    size = x.abs().amax(-1, keepdim=True) if x.numel() else x
    return (x - mean) * gain + bias, size * gain.abs() + bias.abs()


def check_layer(x, weight, bias, eps=None, name="result", values=None, **options):
    out, seen = watch(day22.layer_norm, x, weight, bias, *([] if eps is None else [eps]))
    check_new([x], out)
    values = x if values is None else values
    expected, scale = layer_norm64(values, weight, bias, 1e-5 if eps is None else eps)
    tile = (1, max(x.shape[1], 1))
    close(out, expected, dtype=x.dtype, terms=4, scale=scale, tile=tile, name=name, **options)
    check_run(seen, out)


@exercise("layer_norm")
@shapes("rows, columns, dtype", *SIZES, gpu=LARGE)
def test_layer_norm_matches_float64(rows, columns, dtype, rng):
    x = rng.normal(rows, columns, dtype=DTYPES[dtype], mean=2.0, std=3.0)
    check_layer(x, *parameters(rng, columns, x.dtype, x.dtype))


@exercise("layer_norm")
@pytest.mark.parametrize("mean", [1e4, -1e5])
@shapes("columns", 300, BLOCK + 300)
def test_layer_norm_when_the_mean_is_large(columns, mean, rng):
    check_layer(rng.normal(2, columns, mean=mean), *parameters(rng, columns, F32, F32))


@exercise("layer_norm")
@pytest.mark.parametrize("dtypes", MIXED, ids=str)
def test_layer_norm_of_mixed_dtypes(dtypes, rng):
    for columns in (1000, BLOCK + 100):
        x = rng.normal(2, columns, dtype=dtypes[0])
        factor = 4.0 if x.dtype == F32 else 0.6
        check_layer(x, *parameters(rng, columns, *dtypes[1:3]), factor=factor)


@exercise("layer_norm")
@HALVES
def test_layer_norm_rounds_once(dtype, rng):
    for columns in (3000, BLOCK + 3000):
        x = rng.normal(2, columns, dtype=dtype, mean=5.0)
        check_layer(x, *parameters(rng, columns, dtype, dtype), factor=0.6)


@exercise("layer_norm")
@pytest.mark.parametrize("eps", [1e-2, 10.0])
def test_layer_norm_with_another_eps(eps, rng):
    check_layer(rng.normal(3, 40, std=0.1), *parameters(rng, 40, F32, F32), eps)


@exercise("layer_norm")
def test_layer_norm_when_the_variance_is_small(rng):
    check_layer(rng.normal(3, 40, std=3e-3), *parameters(rng, 40, F32, F32))  # as large as eps
    check_layer(rng.normal(3, 40, mean=1.0, std=1e-5), *parameters(rng, 40, F32, F32))


@exercise("layer_norm")
def test_layer_norm_of_equal_elements_and_nan(rng):
    for columns in (1, 100, BLOCK + 50):
        x = rng.normal(4, columns).clone()
        x[0], x[1] = 0.0, -0.75
        x[2, -1] = nan
        check_layer(x, *parameters(rng, columns, F32, F32))


@exercise("layer_norm")
def test_layer_norm_of_rows_that_hold_zeros(rng):
    for columns in (2, 100, BLOCK + 50):
        x = rng.normal(2, columns, mean=2.0, std=100.0).clamp(min=0.0)
        x[:, 0], x[:, 1] = 0.0, 2.0
        vectors = parameters(rng, columns, F32, F32)
        check_layer(x, *vectors, name=f"layer_norm of {columns} columns, some of them 0")


@exercise("layer_norm")
def test_layer_norm_when_the_first_element_is_far_off(rng):
    for columns in (BLOCK, BLOCK + 100):
        x = rng.normal(1, columns, mean=1e4).clone()
        x[0, :: BLOCK // 2] = 0.0  # the first of each block, of a long row
        name = f"layer_norm of {columns} columns near 10000 that begin with a 0"
        check_layer(x, *parameters(rng, columns, F32, F32), name=name)


@exercise("layer_norm")
def test_layer_norm_of_blocks_that_differ(rng):
    x = rng.normal(3, BLOCK + 100).clone()
    x[0, : BLOCK // 2] += 100.0  # most of the variance lies between the blocks
    x[1, BLOCK // 2 : BLOCK] -= 100.0
    x[2, BLOCK:] += 1000.0
    check_layer(x, *parameters(rng, BLOCK + 100, F32, F32))


@exercise("layer_norm")
def test_layer_norm_reads_any_strides(rng):
    for columns in (37, BLOCK + 9):
        x, vectors = rng.normal(2, columns), parameters(rng, columns, F32, F32)
        for name, view in layouts(x):
            check_layer(view, *vectors, name=f"layer_norm of a {name} input")


@exercise("layer_norm")
def test_layer_norm_reads_beyond_int32(rng):
    x = rng.normal(3, 5, dtype=F16)
    vectors = parameters(rng, 5, F32, F32)
    for name, view in far_apart(x):
        check_layer(view, *vectors, name=f"layer_norm of a {name} input", values=x)


@exercise("layer_norm")
def test_layer_norm_reads_blocks_beyond_int32(monkeypatch, rng):
    monkeypatch.setattr(day22, "_blocks", blocks_of_two)
    x, vectors = rng.normal(3, 5, dtype=F16), parameters(rng, 5, F32, F32)
    for name, view in far_apart(x):
        check_layer(view, *vectors, name=f"layer_norm in three blocks of a {name} input", values=x)


@exercise("layer_norm")
def test_layer_norm_reads_a_row_once(rng):
    x = rng.normal(1, BLOCK, dtype=BF16)
    check_one_read(only_report(day22.layer_norm, x, *parameters(rng, BLOCK, BF16, BF16)), 3)


@exercise("layer_norm")
def test_layer_norm_of_long_rows_keeps_to_the_registers(rng):
    x = rng.normal(1, 3 * BLOCK)
    only_report(day22.layer_norm, x, *parameters(rng, 3 * BLOCK, F32, F32))


@exercise("layer_norm", gpu=True)
@shapes("rows", gpu=[65_537])
def test_layer_norm_beyond_int32(rows, device, rng):
    x = torch.zeros(rows, 32_768, dtype=F16, device=device)
    x[-1] = rng.normal(32_768)
    weight, bias = parameters(rng, 32_768, F32, F32)
    expected, scale = layer_norm64(x[-1:], weight, bias, 1e-5)
    out = day22.layer_norm(x, weight, bias)[-1:]
    close(out, expected, dtype=F16, terms=4, scale=scale)


# layer_norm_residual ------------------------------------------------------------------------


def check_residual(x, r, weight, bias, eps=None, name="", values=None, **options):
    f = day22.layer_norm_residual
    result, seen = watch(f, x, r, weight, bias, *([] if eps is None else [eps]))
    assert isinstance(result, (tuple, list)) and len(result) == 2, (
        "layer_norm_residual is to return two tensors: the output and the new residual stream"
    )
    out, new = result
    check_new([x, r], out, new)
    a, b = (x, r) if values is None else values
    tile = (1, max(x.shape[1], 1))
    total = a.double() + b.double()
    scale = a.double().abs() + b.double().abs()
    factor = 1.0 if r.dtype == F32 else 0.55  # float32's own rounding, or one at the store
    close(
        new, total, dtype=r.dtype, scale=scale, factor=factor, tile=tile, name="new residual" + name
    )
    expected, scale = layer_norm64(new, weight, bias, 1e-5 if eps is None else eps)
    close(
        out,
        expected,
        dtype=x.dtype,
        terms=4,
        scale=scale,
        tile=tile,
        name="output" + name,
        **options,
    )
    check_run(seen, out, new)


@exercise("layer_norm_residual")
@shapes("rows, columns, dtype", *SIZES, gpu=LARGE)
def test_residual_matches_float64(rows, columns, dtype, rng):
    dtype = DTYPES[dtype]
    x = rng.normal(rows, columns, dtype=dtype)
    r = rng.normal(rows, columns, dtype=dtype, mean=2.0, std=3.0)
    check_residual(x, r, *parameters(rng, columns, dtype, dtype))


@exercise("layer_norm_residual")
@pytest.mark.parametrize("dtypes", MIXED, ids=str)
def test_residual_of_mixed_dtypes(dtypes, rng):
    for columns in (1000, BLOCK + 100):
        x, r = rng.normal(2, columns, dtype=dtypes[0]), rng.normal(2, columns, dtype=dtypes[3])
        factor = 4.0 if x.dtype == F32 else 0.6
        check_residual(x, r, *parameters(rng, columns, *dtypes[1:3]), factor=factor)


@exercise("layer_norm_residual")
@HALVES
def test_residual_is_normalised_as_it_is_stored(dtype, rng):
    # Near 1000 the stream is rounded to steps of 0.5 (float16) or 4 (bfloat16).
    for columns in (1000, BLOCK + 1000):
        x, r = rng.normal(2, columns, dtype=dtype), rng.normal(2, columns, dtype=dtype, mean=1000.0)
        check_residual(x, r, *parameters(rng, columns, dtype, dtype))


@exercise("layer_norm_residual")
@HALVES
def test_residual_adds_in_float32(dtype, rng):
    for columns in (500, BLOCK + 100):
        x, r = rng.normal(2, columns, dtype=dtype), rng.normal(2, columns, mean=100.0)
        check_residual(x, r, *parameters(rng, columns, F32, F32), factor=0.6)
        # A bfloat16 stream may hold what float16 cannot.
        r = rng.normal(2, columns, dtype=BF16, std=1e6)
        check_residual(x, r, *parameters(rng, columns, F32, F32), factor=0.6)


@exercise("layer_norm_residual")
def test_residual_when_the_mean_is_large(rng):
    for columns in (300, BLOCK + 300):
        x, r = rng.normal(2, columns), rng.normal(2, columns, mean=1e4)
        check_residual(x, r, *parameters(rng, columns, F32, F32))


@exercise("layer_norm_residual")
def test_residual_with_another_eps(rng):
    for eps in (1e-2, 10.0):
        x, r = rng.normal(3, 40, std=0.1), rng.normal(3, 40, std=0.1)
        check_residual(x, r, *parameters(rng, 40, F32, F32), eps)
    x, r = rng.normal(3, 40, std=2e-3), rng.normal(3, 40, std=2e-3)
    check_residual(x, r, *parameters(rng, 40, F32, F32))


@exercise("layer_norm_residual")
def test_residual_that_cancels_and_nan(rng):
    for columns in (1, 100, BLOCK + 50):
        x, r = rng.normal(4, columns).clone(), rng.normal(4, columns).clone()
        r[0] = -x[0]
        x[1, -1], r[2, 0] = nan, nan
        check_residual(x, r, *parameters(rng, columns, F32, F32))


@exercise("layer_norm_residual")
def test_residual_that_cancels_in_places(rng):
    for columns in (2, 100, BLOCK + 50):
        x, r = rng.normal(2, columns), rng.normal(2, columns, mean=2.0).clone()
        r[:, ::2] = -x[:, ::2]
        vectors = parameters(rng, columns, F32, F32)
        check_residual(x, r, *vectors, name=f" of {columns} columns, half of them 0 in the sum")


@exercise("layer_norm_residual")
def test_residual_of_blocks_that_differ(rng):
    columns = BLOCK + 100
    x, r = rng.normal(3, columns).clone(), rng.normal(3, columns).clone()
    x[0, : BLOCK // 2] += 100.0
    r[1, BLOCK // 2 : BLOCK] -= 100.0
    r[2, BLOCK:] += 1000.0
    check_residual(x, r, *parameters(rng, columns, F32, F32))


@exercise("layer_norm_residual")
def test_residual_reads_any_strides(rng):
    for columns in (37, BLOCK + 9):
        x, r = rng.normal(2, columns), rng.normal(2, columns)
        vectors = parameters(rng, columns, F32, F32)
        cases = [(f" of a {name} x", view, r) for name, view in layouts(x)]
        cases += [(f" of a {name} r", x, view) for name, view in layouts(r)]
        for name, a, b in cases:
            check_residual(a, b, *vectors, name=name)


@exercise("layer_norm_residual")
@pytest.mark.parametrize("blocks", ["one block", "three blocks"])
def test_residual_reads_beyond_int32(blocks, monkeypatch, rng):
    if blocks == "three blocks":
        monkeypatch.setattr(day22, "_blocks", blocks_of_two)
    x, r = rng.normal(3, 5, dtype=F16), rng.normal(3, 5, dtype=F16)
    vectors = parameters(rng, 5, F32, F32)
    cases = [(f" in {blocks} of a {name} x", view, r) for name, view in far_apart(x)]
    cases += [(f" in {blocks} of a {name} r", x, view) for name, view in far_apart(r)]
    for name, a, b in cases:
        check_residual(a, b, *vectors, name=name, values=(x, r))


@exercise("layer_norm_residual")
def test_residual_reads_rows_once(rng):
    x, r = rng.normal(1, BLOCK, dtype=BF16), rng.normal(1, BLOCK, dtype=BF16)
    vectors = parameters(rng, BLOCK, BF16, BF16)
    check_one_read(only_report(day22.layer_norm_residual, x, r, *vectors), 4)


@exercise("layer_norm_residual")
def test_residual_of_long_rows_keeps_to_the_registers(rng):
    x, r = rng.normal(1, 3 * BLOCK, dtype=BF16), rng.normal(1, 3 * BLOCK)
    only_report(day22.layer_norm_residual, x, r, *parameters(rng, 3 * BLOCK, F32, F32))


@exercise("layer_norm_residual", gpu=True)
@shapes("rows", gpu=[65_537])
def test_residual_beyond_int32(rows, rng):
    # Every row is the same one: four matrices of this size would not fit on many cards.
    x, r = (rng.normal(32_768, dtype=F16).expand(rows, -1) for _ in range(2))
    total = x[-1:].double() + r[-1:].double()
    size = x[-1:].double().abs() + r[-1:].double().abs()
    weight, bias = parameters(rng, 32_768, F32, F32)
    out, new = (result[-1:] for result in day22.layer_norm_residual(x, r, weight, bias))
    close(new, total, dtype=F16, scale=size, factor=0.55, name="new residual")
    expected, scale = layer_norm64(new, weight, bias, 1e-5)
    close(out, expected, dtype=F16, terms=4, scale=scale, name="output")
