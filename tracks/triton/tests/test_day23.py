from math import prod

import pytest
import torch

from harness.testing import close, compiled, exercise, far_apart, layouts, shapes, watch
from tracks.triton import day11, day22, day23

F32, F16, BF16 = torch.float32, torch.float16, torch.bfloat16
DTYPES = {"float32": F32, "float16": F16, "bfloat16": BF16}
HALVES = pytest.mark.parametrize("dtype", [F16, BF16], ids=str)
BLOCK = 16_384  # the longest row that is one block
# Rows of one block, of two blocks and a column, of many blocks.
SHORT = [(0, 5, "float32"), (3, 0, "float32"), (1, 1, "float16"), (30, 3, "bfloat16")]
SHORT += [(3, 768, "float32"), (2, 1025, "float16")]
SIZES = [*SHORT, (1, 16_384, "bfloat16"), (2, 16_385, "float16"), (1, 40_003, "bfloat16")]
LARGE = [(4096, 8192, "bfloat16"), (70_001, 129, "float32"), (300, 20_003, "float16")]
# Of dy and x, and of the weight.
MIXED = [(BF16, BF16, F32), (F16, F32, BF16), (F32, F16, F16)]
nan = float("nan")
COPIES = ["clone", "unsafe_view"]  # what reshape does where axes cannot be viewed as one


def check_run(seen, results, launches, more_bytes=0):
    """So many launches at most, and no memory beyond the results (and more_bytes)."""
    empty = not any(out.numel() for out in results)
    count = len(seen.launches)
    assert (0 if empty else 1) <= count <= launches, (
        f"expected at most {launches} launches and at least one, saw {count}"
    )
    size = sum(out.numel() * out.element_size() for out in results)
    assert seen.peak_bytes <= size + more_bytes + 1024, (
        f"what is returned takes {size} bytes, and {more_bytes} more are allowed, but "
        f"{seen.peak_bytes} were allocated: is an input copied, or an intermediate result stored?"
    )
    for out in results:
        assert out.is_contiguous(), f"a result has the strides {out.stride()}, not contiguous ones"


def check_compiled(f, *args, inputs=0, of=0):
    """No spill and no atomic; kernel number ``of`` loads blocks in ``inputs`` places."""
    reports = compiled(f, *args)
    for report in reports:
        assert report.refused is None, f"the compiler refuses a kernel: {report.refused.text()}"
        assert report.spill_bytes == 0, (
            f"{report.kernel} spills {report.spill_bytes} bytes a thread: what it keeps does not "
            "fit in registers"
        )
        lines = [access["line"] for access in report.accesses if access["kind"] == "atomic"]
        assert not lines, (
            f"{report.kernel} has an atomic operation (line {lines[0]}): the order in which sums "
            "are added would change from run to run"
        )
    if not inputs:
        return
    report = reports[of]
    blocks = [a for a in report.accesses if a["kind"] == "load" and prod(a["shape"]) > 1]
    lines = ", ".join(str(access["line"]) for access in blocks)
    assert len(blocks) == inputs, (
        f"{report.kernel} loads blocks in {len(blocks)} places (lines {lines}), but there are "
        f"{inputs} inputs, to be loaded once each. Does the compiler know that there is one block?"
    )
    assert report.widest_load_bits == report.widest_store_bits == 128, (
        f"loads are {report.widest_load_bits} bits wide and stores {report.widest_store_bits}: "
        "the compiler cannot see that neighbouring lanes touch neighbouring addresses"
    )


def statistics(x, eps=1e-5):
    """In float64: mean and 1 / deviation of every row, as columns."""
    x = x.double()
    mean = x.mean(-1, keepdim=True)
    return mean, 1 / ((x - mean).square().mean(-1, keepdim=True) + eps).sqrt()


def kept(x, eps=1e-5):
    """What the forward pass keeps, in float32."""
    return tuple(column.squeeze(1).float() for column in statistics(x, eps))


def size_of_rows(x):
    sizes = x.double().abs()
    return sizes.amax(-1, keepdim=True) if x.numel() else sizes.sum(-1, keepdim=True)


def dx64(dy, x, weight, mean, rstd):
    """dx in float64, and the size of what float32 may lose: the mean is off by a rounding of x."""
    x = x.double()
    g, h = dy.double() * weight.double(), (x - mean) * rstd
    mean_gh = (g * h).mean(-1, keepdim=True)
    dx = rstd * (g - g.mean(-1, keepdim=True) - h * mean_gh)
    size_g, size_gh = g.abs().mean(-1, keepdim=True), (g * h).abs().mean(-1, keepdim=True)
    lost = (size_gh + h.abs() * size_g) * size_of_rows(x) * rstd
    return dx, rstd * (g.abs() + size_g + h.abs() * size_gh + lost)


def dwdb64(dy, x, mean, rstd):
    """dweight and dbias in float64, and the magnitude of their summands."""
    dy, h = dy.double(), (x.double() - mean) * rstd
    magnitude = (dy * h).abs() + dy.abs() * size_of_rows(x) * rstd
    sizes = (m.mean(0) if len(m) else m.sum(0) for m in (magnitude, dy.abs()))
    return (dy * h).sum(0), dy.sum(0), *sizes


def close_dx(dx, dy, x, weight, mean, rstd, dtype, name="dx", **options):
    expected, scale = dx64(dy, x, weight, mean, rstd)
    tile = (1, max(x.shape[1], 1))
    close(dx, expected, dtype=dtype, terms=4, scale=scale, tile=tile, name=name, **options)


def close_dwdb(dweight, dbias, dy, x, mean, rstd, name=""):
    dw, db, w_scale, b_scale = dwdb64(dy, x, mean, rstd)
    terms = max(len(x), 1)
    close(dweight, dw, dtype=F32, terms=terms, scale=w_scale, name="dweight" + name)
    close(dbias, db, dtype=F32, terms=terms, scale=b_scale, name="dbias" + name)


def operands(rng, rows, columns, dtypes=(F32, F32, F32), mean=2.0):
    """dy, x and a weight around 1."""
    dy = rng.normal(rows, columns, dtype=dtypes[0])
    x = rng.normal(rows, columns, dtype=dtypes[1], mean=mean, std=3.0)
    return dy, x, rng.normal(columns, dtype=dtypes[2], mean=1.0)


def views(make, dy, x):
    """Each of the two in each layout that ``make`` yields, the other as it is."""
    cases = [(f" with a {name} dy", view, x) for name, view in make(dy)]
    return cases + [(f" with a {name} x", dy, view) for name, view in make(x)]


def expanded(dy):
    """Gradients with a stride of 0, as a sum or a mean hands them over."""
    return [dy[:1].expand(dy.shape), dy[:, :1].expand(dy.shape), dy[:1, :1].expand(dy.shape)]


def partial_bytes(rows, columns):
    return day23._programs(rows, columns) * 2 * columns * 4


@pytest.fixture
def long_rows(monkeypatch):
    """As if a program had registers for 64 columns only: 150 are more than it can fuse."""
    monkeypatch.setattr(day23, "FUSED", 64)


@pytest.fixture(params=["one block", "three blocks"])
def blocks(request, monkeypatch):
    """Rows of 37 columns in one block, or in several, as rows beyond day 22's MAX_BLOCK are."""
    if request.param == "three blocks":
        small = {"BLOCK": 16, "BLOCKS": 3, "num_warps": 4}
        monkeypatch.setattr(day23, "_blocks", lambda columns: dict(small))


# layer_norm_forward -------------------------------------------------------------------------


def check_forward(x, weight, bias, eps=None, name="", values=None, **options):
    f = day23.layer_norm_forward
    (out, mean, rstd), seen = watch(f, x, weight, bias, *([] if eps is None else [eps]))
    x64 = (x if values is None else values).double()
    mean64, rstd64 = statistics(x64, 1e-5 if eps is None else eps)
    gain, size = rstd64 * weight.double(), size_of_rows(x64)
    expected = (x64 - mean64) * gain + bias.double()
    scale = size * gain.abs() + bias.double().abs()
    tile = (1, max(x.shape[1], 1))
    named = "output" + name
    close(out, expected, dtype=x.dtype, terms=4, scale=scale, tile=tile, name=named, **options)
    if x.shape[1]:
        size = size.squeeze(1)
        close(mean, mean64.squeeze(1), dtype=F32, terms=4, scale=size, name="mean" + name)
        lost = (rstd64.squeeze(1) * size) * rstd64.squeeze(1)
        close(rstd, rstd64.squeeze(1), dtype=F32, terms=4, scale=lost, name="rstd" + name)
    check_run(seen, (out, mean, rstd), 1)


def parameters(rng, columns, *dtypes):
    weight, bias = dtypes
    return rng.normal(columns, dtype=weight, mean=1.0), rng.normal(columns, dtype=bias)


@exercise("layer_norm_forward")
@shapes("rows, columns, dtype", *SIZES, gpu=LARGE)
def test_forward_matches_float64(rows, columns, dtype, rng):
    x = rng.normal(rows, columns, dtype=DTYPES[dtype], mean=2.0, std=3.0)
    check_forward(x, *parameters(rng, columns, x.dtype, x.dtype))


@exercise("layer_norm_forward")
@pytest.mark.parametrize("dtypes", [(BF16, F32, F32), (F16, F16, F32), (F32, BF16, F16)], ids=str)
def test_forward_of_mixed_dtypes(dtypes, rng):
    for columns in (1000, BLOCK + 100):
        x = rng.normal(2, columns, dtype=dtypes[0], mean=1000.0)
        factor = 4.0 if x.dtype == F32 else 0.6
        check_forward(x, *parameters(rng, columns, *dtypes[1:]), factor=factor)


@exercise("layer_norm_forward")
@pytest.mark.parametrize("eps", [1e-2, 10.0])
def test_forward_with_another_eps(eps, rng):
    check_forward(rng.normal(3, 40, std=0.1), *parameters(rng, 40, F32, F32), eps)


@exercise("layer_norm_forward")
def test_forward_when_the_mean_is_large_or_the_variance_small(rng):
    for columns in (300, BLOCK + 300):
        check_forward(rng.normal(2, columns, mean=1e4), *parameters(rng, columns, F32, F32))
        check_forward(rng.normal(2, columns, std=3e-3), *parameters(rng, columns, F32, F32))


@exercise("layer_norm_forward")
def test_forward_of_equal_elements_and_nan(rng):
    for columns in (1, 100, BLOCK + 50):
        x = rng.normal(3, columns).clone()
        x[0], x[2, -1] = -0.75, nan
        check_forward(x, *parameters(rng, columns, F32, F32))


@exercise("layer_norm_forward")
def test_forward_of_blocks_that_differ(rng):
    x = rng.normal(2, BLOCK + 100).clone()
    x[0, : BLOCK // 2] += 100.0
    x[1, BLOCK:] += 1000.0
    check_forward(x, *parameters(rng, BLOCK + 100, F32, F32))


@exercise("layer_norm_forward")
def test_forward_reads_any_strides(rng, blocks):
    x, vectors = rng.normal(2, 37), parameters(rng, 37, F32, F32)
    for name, view in layouts(x):
        check_forward(view, *vectors, name=f" of a {name} input")


@exercise("layer_norm_forward")
def test_forward_reads_beyond_int32(rng):
    x, vectors = rng.normal(3, 5, dtype=F16), parameters(rng, 5, F32, F32)
    for name, view in far_apart(x):
        check_forward(view, *vectors, name=f" of a {name} input", values=x)


@exercise("layer_norm_forward")
def test_forward_reads_a_row_once(rng):
    x, vectors = rng.normal(1, BLOCK, dtype=BF16), parameters(rng, BLOCK, BF16, BF16)
    check_compiled(day23.layer_norm_forward, x, *vectors, inputs=3)


# layer_norm_dx ------------------------------------------------------------------------------


def check_dx(dy, x, weight, values=None, name="dx", **options):
    small_dy, small_x = values or (dy, x)
    dx, seen = watch(day23.layer_norm_dx, dy, x, weight, *kept(small_x))
    mean, rstd = statistics(small_x)
    close_dx(dx, small_dy, small_x, weight, mean, rstd, x.dtype, name=name, **options)
    check_run(seen, (dx,), 1)


@exercise("layer_norm_dx")
@shapes("rows, columns, dtype", *SIZES, gpu=LARGE)
def test_dx_matches_float64(rows, columns, dtype, rng):
    check_dx(*operands(rng, rows, columns, [DTYPES[dtype]] * 3))


@exercise("layer_norm_dx")
@pytest.mark.parametrize("dtypes", MIXED, ids=str)
def test_dx_of_mixed_dtypes_rounds_once(dtypes, rng):
    for columns in (1000, BLOCK + 100):
        factor = 4.0 if dtypes[1] == F32 else 0.6
        check_dx(*operands(rng, 2, columns, dtypes), factor=factor)


@exercise("layer_norm_dx")
def test_dx_when_the_mean_is_large_or_the_variance_small(rng):
    for columns in (300, BLOCK + 300):
        check_dx(*operands(rng, 2, columns, mean=1e4))
        dy, x, weight = operands(rng, 2, columns, mean=0.0)
        check_dx(dy, (x * 1e-3), weight)


@exercise("layer_norm_dx")
def test_dx_of_zeros_and_nan(rng):
    for columns in (1, 100, BLOCK + 50):
        dy, x, weight = operands(rng, 4, columns)
        dy, x = dy.clone(), x.clone()
        dy[0], x[1], dy[2, -1], x[3, 0] = 0.0, 0.25, nan, nan
        check_dx(dy, x, weight)


@exercise("layer_norm_dx")
def test_dx_of_blocks_that_differ(rng):
    dy, x, weight = operands(rng, 2, BLOCK + 100)
    dy, x = dy.clone(), x.clone()
    x[0, : BLOCK // 2] += 100.0
    dy[1, BLOCK:] += 1000.0
    check_dx(dy, x, weight)


@exercise("layer_norm_dx")
def test_dx_reads_any_strides(rng, blocks):
    dy, x, weight = operands(rng, 2, 37)
    for name, left, right in views(layouts, dy, x):
        check_dx(left, right, weight, name=f"dx{name}")
    for view in expanded(dy):
        check_dx(view, x, weight, name=f"dx with a dy of strides {view.stride()}")


@exercise("layer_norm_dx")
def test_dx_reads_beyond_int32(rng):
    dy, x, weight = operands(rng, 3, 5, (F16, F16, F32))
    for name, left, right in views(far_apart, dy, x):
        check_dx(left, right, weight, values=(dy, x), name=f"dx{name}")


@exercise("layer_norm_dx")
def test_dx_reads_a_row_once(rng):
    dy, x, weight = operands(rng, 1, BLOCK, (BF16, BF16, BF16))
    check_compiled(day23.layer_norm_dx, dy, x, weight, *kept(x), inputs=3)


# layer_norm_dwdb ----------------------------------------------------------------------------


def check_dwdb(dy, x, values=None, name=""):
    small_dy, small_x = values or (dy, x)
    (dweight, dbias), seen = watch(day23.layer_norm_dwdb, dy, x, *kept(small_x))
    close_dwdb(dweight, dbias, small_dy, small_x, *statistics(small_x), name=name)
    partial = day11._chunks(*x.shape) * 2 * x.shape[1] * 4
    check_run(seen, (dweight, dbias), 2, partial)


@exercise("layer_norm_dwdb")
@shapes("rows, columns, dtype", *SHORT, (33, 129, "bfloat16"), (2, 300, "float16"), gpu=LARGE)
def test_dwdb_matches_float64(rows, columns, dtype, rng):
    check_dwdb(*operands(rng, rows, columns, [DTYPES[dtype]] * 3)[:2])


@exercise("layer_norm_dwdb")
@shapes("rows", 31, 32, 33, 64, 65, 300)
def test_dwdb_of_many_rows(rows, rng):
    check_dwdb(*operands(rng, rows, 5)[:2])


@exercise("layer_norm_dwdb")
def test_dwdb_when_rows_exceed_the_chunks(rng, monkeypatch):
    # As a matrix of hundreds of thousands of rows: a chunk has several tiles of rows.
    dy, x, _ = operands(rng, 150, 7)
    monkeypatch.setattr(day23, "_chunks", lambda rows, columns: 2)
    dweight, dbias = day23.layer_norm_dwdb(dy, x, *kept(x))
    close_dwdb(dweight, dbias, dy, x, *statistics(x))


@exercise("layer_norm_dwdb")
@pytest.mark.parametrize("dtypes", MIXED, ids=str)
def test_dwdb_adds_in_float32(dtypes, rng):
    check_dwdb(*operands(rng, 200, 20, dtypes)[:2])


@exercise("layer_norm_dwdb")
def test_dwdb_when_the_mean_is_large(rng):
    check_dwdb(*operands(rng, 3, 20, mean=1e4)[:2])


@exercise("layer_norm_dwdb")
def test_dwdb_keeps_nan_in_its_column(rng):
    dy, x, _ = operands(rng, 40, 140)
    dy = dy.clone()
    dy[3, 5], dy[39, 139] = nan, nan
    check_dwdb(dy, x)


@exercise("layer_norm_dwdb")
def test_dwdb_reads_any_strides(rng):
    dy, x, _ = operands(rng, 35, 37)
    for name, left, right in views(layouts, dy, x):
        check_dwdb(left, right, name=name)
    for view in expanded(dy):
        check_dwdb(view, x, name=f" with a dy of strides {view.stride()}")


@exercise("layer_norm_dwdb")
def test_dwdb_reads_beyond_int32(rng):
    dy, x, _ = operands(rng, 3, 5, (F16, F16, F32))
    for name, left, right in views(far_apart, dy, x):
        check_dwdb(left, right, values=(dy, x), name=name)


@exercise("layer_norm_dwdb")
@shapes("rows, columns", (40, 40), gpu=[(20_000, 1000)])
def test_dwdb_is_repeatable(rows, columns, rng):
    dy, x, _ = operands(rng, rows, columns)
    first, again = (day23.layer_norm_dwdb(dy, x, *kept(x)) for _ in range(2))
    assert all(map(torch.equal, first, again)), "the same inputs gave other bits the second time"


@exercise("layer_norm_dwdb")
def test_dwdb_has_no_atomics(rng):
    dy, x, _ = operands(rng, 64, 256, (BF16, BF16, BF16))
    check_compiled(day23.layer_norm_dwdb, dy, x, *kept(x))


# layer_norm_backward ------------------------------------------------------------------------


def check_backward(dy, x, weight, values=None, name="", **options):
    small_dy, small_x = values or (dy, x)
    f = day23.layer_norm_backward
    (dx, dweight, dbias), seen = watch(f, dy, x, weight, *kept(small_x))
    mean, rstd = statistics(small_x)
    named = "dx" + name
    close_dx(dx, small_dy, small_x, weight, mean, rstd, x.dtype, name=named, **options)
    close_dwdb(dweight, dbias, small_dy, small_x, mean, rstd, name=name)
    rows, columns = x.shape
    if columns > day23.FUSED:
        more = day11._chunks(rows, columns) * 2 * columns * 4
        check_run(seen, (dx, dweight, dbias), 3, more)
        return
    check_run(seen, (dx, dweight, dbias), 2, partial_bytes(rows, columns))
    if dx.numel():
        first, programs = seen.launches[0], day23._programs(rows, columns)
        assert first.programs == first.grid[0] == programs, (
            f"the first launch has the grid {first.grid}, and not {programs} programs on one axis"
        )


@exercise("layer_norm_backward")
@shapes(
    "rows, columns, dtype",
    *[*SHORT, (9, 2000, "bfloat16")],
    gpu=[*LARGE, (20_000, 1024, "bfloat16"), (9, 8192, "float32"), (9, 8193, "float16")],
)
def test_backward_matches_float64(rows, columns, dtype, rng):
    check_backward(*operands(rng, rows, columns, [DTYPES[dtype]] * 3))


@exercise("layer_norm_backward")
@shapes("rows", 1, 16, 17, 35)
def test_backward_when_programs_have_several_rows(rows, rng):
    check_backward(*operands(rng, rows, 5))


@exercise("layer_norm_backward")
@pytest.mark.parametrize("dtypes", MIXED, ids=str)
def test_backward_of_mixed_dtypes_rounds_once(dtypes, rng):
    factor = 4.0 if dtypes[1] == F32 else 0.6
    check_backward(*operands(rng, 40, 100, dtypes), factor=factor)


@exercise("layer_norm_backward")
def test_backward_when_the_mean_is_large(rng):
    check_backward(*operands(rng, 40, 300, mean=1e4))


@exercise("layer_norm_backward")
def test_backward_of_long_rows(rng, long_rows):
    for columns in (64, 65, 150):
        check_backward(*operands(rng, 5, columns))


@exercise("layer_norm_backward")
def test_backward_of_zeros_and_nan(rng):
    dy, x, weight = operands(rng, 40, 33)
    dy, x = dy.clone(), x.clone()
    dy[0], x[1], dy[2, -1] = 0.0, 0.25, nan
    check_backward(dy, x, weight)


@exercise("layer_norm_backward")
def test_backward_reads_any_strides(rng):
    dy, x, weight = operands(rng, 3, 37)
    for name, left, right in views(layouts, dy, x):
        check_backward(left, right, weight, name=name)
    for view in expanded(dy):
        check_backward(view, x, weight, name=f" with a dy of strides {view.stride()}")


@exercise("layer_norm_backward")
def test_backward_reads_beyond_int32(rng):
    dy, x, weight = operands(rng, 3, 5, (F16, F16, F32))
    for name, left, right in views(far_apart, dy, x):
        check_backward(left, right, weight, values=(dy, x), name=name)


@exercise("layer_norm_backward")
@shapes("rows, columns", (40, 40), gpu=[(20_000, 1000)])
def test_backward_is_repeatable(rows, columns, rng):
    dy, x, weight = operands(rng, rows, columns)
    first, again = (day23.layer_norm_backward(dy, x, weight, *kept(x)) for _ in range(2))
    assert all(map(torch.equal, first, again)), "the same inputs gave other bits the second time"


@exercise("layer_norm_backward")
@shapes("columns", 1024, 8192)
def test_backward_reads_rows_once(columns, rng, monkeypatch):
    monkeypatch.setattr(day23, "_column_totals", lambda partial: partial[0])  # day 11's
    dy, x, weight = operands(rng, 1, columns, (BF16, BF16, BF16))
    check_compiled(day23.layer_norm_backward, dy, x, weight, *kept(x), inputs=3)


# LayerNorm ----------------------------------------------------------------------------------


def leaves(*tensors):
    return [tensor.detach().requires_grad_() for tensor in tensors]


def check_function(x, weight, bias, dy, eps=1e-5, name="", **options):
    """Output and gradients against autograd's own in float64."""
    x, weight, bias = leaves(x, weight, bias)
    y = day23.LayerNorm.apply(x, weight, bias, eps)
    columns = x.shape[-1]
    x64, weight64, bias64 = leaves(x.double(), weight.double(), bias.double())
    y64 = torch.nn.functional.layer_norm(x64, (columns,), weight64, bias64, eps)
    close(y, y64.detach(), dtype=x.dtype, scale=4.0, name="output" + name)
    y.backward(dy)
    y64.backward(dy.double())
    rows = max(x.numel() // max(columns, 1), 1)
    pairs = [("x", x, x64, 1), ("weight", weight, weight64, rows), ("bias", bias, bias64, rows)]
    for what, mine, right, terms in pairs:
        close(
            mine.grad,
            right.grad,
            dtype=mine.dtype,
            terms=terms,
            scale=20.0,
            name=f"gradient of the {what}{name}",
            **options,
        )


@exercise("LayerNorm", allow=COPIES)
@pytest.mark.parametrize("shape", [(4, 6, 40), (5, 3), (7,), (2, 1, 3, 33), (0, 4, 8), (2, 0)])
def test_function_of_any_shape(shape, rng):
    x, dy = rng.normal(*shape, std=2.0), rng.normal(*shape)
    check_function(x, *parameters(rng, shape[-1], F32, F32), dy)


@exercise("LayerNorm", allow=COPIES)
@pytest.mark.parametrize("dtypes", [(BF16, F32, F32), (F16, F16, BF16), (F32, BF16, F16)], ids=str)
def test_function_of_mixed_dtypes(dtypes, rng):
    x, dy = (rng.normal(3, 5, 50, dtype=dtypes[0]) for _ in range(2))
    check_function(x, *parameters(rng, 50, *dtypes[1:]), dy)


@exercise("LayerNorm", allow=COPIES)
@pytest.mark.parametrize("eps", [1e-2, 10.0])
def test_function_with_another_eps(eps, rng):
    x, dy = rng.normal(2, 3, 20, std=0.3), rng.normal(2, 3, 20)
    check_function(x, *parameters(rng, 20, F32, F32), dy, eps)


@exercise("LayerNorm", allow=COPIES)
def test_function_of_views(rng):
    vectors = parameters(rng, 20, F32, F32)
    x, dy = rng.normal(3, 4, 20), rng.normal(3, 4, 20)
    check_function(x.transpose(0, 1), *vectors, dy.transpose(0, 1), name=" of transposed axes")
    for view in (dy[:1, :1, :1], dy[:, :, :1], dy[:1]):
        name = f" with a dy of strides {view.expand(3, 4, 20).stride()}"
        check_function(x, *vectors, view.expand(3, 4, 20), name=name)


@exercise("LayerNorm", allow=COPIES)
def test_function_of_long_rows(rng, long_rows):
    x, dy = rng.normal(2, 3, 150), rng.normal(2, 3, 150)
    check_function(x, *parameters(rng, 150, F32, F32), dy)


@exercise("LayerNorm", allow=COPIES)
def test_function_keeps_two_numbers_a_row(rng):
    x, weight, bias = leaves(rng.normal(64, 256), *parameters(rng, 256, F32, F32))
    y, seen = watch(day23.LayerNorm.apply, x, weight, bias, 1e-5)
    size = y.numel() * y.element_size()
    assert seen.live_bytes <= size + 64 * 8 + 1024, (
        f"after the forward pass {seen.live_bytes} bytes are kept, of which the output is {size}: "
        "beside the inputs two float32 numbers a row are enough for the backward pass"
    )
    assert len(seen.launches) == 1, f"expected 1 launch forward, saw {len(seen.launches)}"
    _, seen = watch(y.backward, rng.normal(64, 256))
    assert len(seen.launches) == 2, f"expected 2 launches backward, saw {len(seen.launches)}"


@exercise("LayerNorm", allow=COPIES)
def test_function_where_not_all_need_gradients(rng):
    x, (weight, bias), dy = rng.normal(3, 20), parameters(rng, 20, F32, F32), rng.normal(3, 20)
    (only,) = leaves(weight)
    day23.LayerNorm.apply(x, only, bias, 1e-5).backward(dy)
    dw, _, scale, _ = dwdb64(dy, x, *statistics(x))
    close(only.grad, dw, dtype=F32, terms=3, scale=scale, name="gradient of the weight")
    assert not day23.LayerNorm.apply(x, weight, bias, 1e-5).requires_grad


@exercise("LayerNorm", allow=COPIES)
def test_function_has_no_second_derivative(rng):
    x, weight, bias = leaves(rng.normal(3, 20), *parameters(rng, 20, F32, F32))
    y = day23.LayerNorm.apply(x, weight, bias, 1e-5)
    (dx,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
    try:
        torch.autograd.grad(dx.square().sum(), x)
    except RuntimeError:
        return
    pytest.fail("a second derivative came out, without an error: what the kernels did is not in it")


def swapped(model, kind, make):
    """model, with each module of this kind replaced by what ``make`` makes of it."""
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, kind):
                setattr(parent, name, make(child))
    return model


def check_model(build, kind, make, rng):
    """Logits and all gradients of a small model with our norms, against the model in float64."""
    torch.manual_seed(rng.seed % 2**31)
    right = build().to(rng.device).eval().double()
    mine = build().to(rng.device).eval()
    for parameter in right.parameters():
        parameter.data = torch.randn_like(parameter) * 0.2 + (parameter.dim() == 1)
    mine.load_state_dict({k: v.float() for k, v in right.state_dict().items()})
    swapped(mine, kind, make)
    tokens = rng.integers(0, 50, 2, 7)
    results = [model(input_ids=tokens, labels=tokens) for model in (mine, right)]
    for result in results:
        result.loss.backward()
    pairs = [("logits", *(result.logits.detach() for result in results))]
    expected = dict(right.named_parameters())
    for name, parameter in mine.named_parameters():
        pairs.append((f"gradient of {name}", parameter.grad, expected[name].grad))
    for name, actual, wanted in pairs:
        assert actual is not None, f"{name}: there is none"
        error = (actual.double() - wanted).abs().max().item()
        assert error <= 2e-3 * wanted.abs().max().item() + 1e-6, (
            f"{name} of the model is off by {error:.2g}, where its largest element is "
            f"{wanted.abs().max().item():.2g}"
        )


@exercise("LayerNorm", allow=COPIES, seconds=60)
def test_function_in_gpt2(rng):
    from transformers.models.gpt2.modeling_gpt2 import GPT2Config, GPT2LMHeadModel

    class Norm(torch.nn.Module):
        def __init__(self, norm):
            super().__init__()
            self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps

        def forward(self, x):
            return day23.LayerNorm.apply(x, self.weight, self.bias, self.eps)

    config = GPT2Config(vocab_size=50, n_positions=8, n_embd=24, n_layer=1, n_head=2)
    check_model(lambda: GPT2LMHeadModel(config), torch.nn.LayerNorm, Norm, rng)


# rms_norm_backward --------------------------------------------------------------------------


def check_rms(dy, x, weight, eps=None, values=None, name="", **options):
    small_dy, small_x = values or (dy, x)
    f = day23.rms_norm_backward
    (dx, dweight), seen = watch(f, dy, x, weight, *([] if eps is None else [eps]))
    dy64, x64 = small_dy.double(), small_x.double()
    square = x64.square().mean(-1, keepdim=True) + (1e-6 if eps is None else eps)
    rstd = 1 / square.sqrt()
    g, h = dy64 * weight.double(), x64 * rstd
    expected = rstd * (g - h * (g * h).mean(-1, keepdim=True))
    scale = rstd * (g.abs() + h.abs() * (g * h).abs().mean(-1, keepdim=True))
    rows, columns = x.shape
    tile, named = (1, max(columns, 1)), "dx" + name
    close(dx, expected, dtype=x.dtype, terms=4, scale=scale, tile=tile, name=named, **options)
    scale = (dy64 * h).abs().mean(0) if rows else (dy64 * h).sum(0)
    named = "dweight" + name
    close(dweight, (dy64 * h).sum(0), dtype=F32, terms=max(rows, 1), scale=scale, name=named)
    if columns > day23.FUSED:
        more = (day11._chunks(rows, columns) * 2 + 2) * columns * 4 + 8 * rows
        check_run(seen, (dx, dweight), 3, more)
        return
    check_run(seen, (dx, dweight), 2, partial_bytes(rows, columns) // 2)
    if dx.numel():
        first, programs = seen.launches[0], day23._programs(rows, columns)
        assert first.programs == first.grid[0] == programs, (
            f"the first launch has the grid {first.grid}, and not {programs} programs on one axis"
        )


@exercise("rms_norm_backward")
@shapes(
    "rows, columns, dtype",
    *[*SHORT, (9, 2000, "bfloat16")],
    gpu=[*LARGE, (20_000, 1024, "bfloat16"), (9, 8192, "float32"), (9, 8193, "float16")],
)
def test_rms_matches_float64(rows, columns, dtype, rng):
    check_rms(*operands(rng, rows, columns, [DTYPES[dtype]] * 3))


@exercise("rms_norm_backward")
def test_rms_is_the_derivative(rng):
    # Of the formula itself, by autograd in float64.
    dy, x, weight = operands(rng, 3, 50, mean=0.5)
    leaf, scale = x.double().requires_grad_(), weight.double().requires_grad_()
    y = torch.nn.functional.rms_norm(leaf, (50,), scale, eps=1e-6)
    expected = torch.autograd.grad(y, (leaf, scale), dy.double())
    for what, actual, right in zip(
        ("dx", "dweight"), day23.rms_norm_backward(dy, x, weight), expected, strict=True
    ):
        close(actual, right, dtype=F32, scale=4.0, name=what)


@exercise("rms_norm_backward")
@shapes("rows", 1, 16, 17, 35)
def test_rms_when_programs_have_several_rows(rows, rng):
    check_rms(*operands(rng, rows, 5))


@exercise("rms_norm_backward")
@pytest.mark.parametrize("dtypes", MIXED, ids=str)
def test_rms_of_mixed_dtypes_rounds_once(dtypes, rng):
    check_rms(*operands(rng, 40, 100, dtypes), factor=4.0 if dtypes[1] == F32 else 0.6)


@exercise("rms_norm_backward")
@pytest.mark.parametrize("dtypes", MIXED, ids=str)
def test_rms_of_long_rows_rounds_once(dtypes, rng, long_rows):
    check_rms(*operands(rng, 5, 150, dtypes), factor=4.0 if dtypes[1] == F32 else 0.6)


@exercise("rms_norm_backward")
def test_rms_around_the_longest_fused_row(rng, long_rows):
    for columns in (64, 65, 128):
        check_rms(*operands(rng, 5, columns))


@exercise("rms_norm_backward")
@pytest.mark.parametrize("eps", [1e-2, 10.0])
def test_rms_with_another_eps(eps, rng, long_rows):
    for columns in (40, 150):
        dy, x, weight = operands(rng, 3, columns, mean=0.0)
        check_rms(dy, x * 0.1, weight, eps)


@exercise("rms_norm_backward")
def test_rms_when_the_root_is_small(rng):
    dy, x, weight = operands(rng, 3, 40, mean=0.0)
    check_rms(dy, x * 3e-4, weight)  # eps is as large as the mean square


@exercise("rms_norm_backward")
def test_rms_of_squares_beyond_float16(rng, long_rows):
    for columns in (40, 150):
        dy, x, weight = operands(rng, 3, columns, (F16, F16, F16))
        check_rms(dy, x * 300, weight)


@exercise("rms_norm_backward")
def test_rms_of_zeros_and_nan(rng, long_rows):
    for columns in (33, 150):
        dy, x, weight = operands(rng, 4, columns)
        dy, x = dy.clone(), x.clone()
        dy[0], x[1], dy[2, -1] = 0.0, 0.0, nan
        check_rms(dy, x, weight)


@exercise("rms_norm_backward")
def test_rms_of_blocks_that_differ(rng, long_rows):
    dy, x, weight = operands(rng, 2, 150)
    dy, x = dy.clone(), x.clone()
    x[0, 64:128] += 100.0
    dy[1, 128:] += 1000.0
    check_rms(dy, x, weight)


@exercise("rms_norm_backward")
def test_rms_reads_any_strides(rng, long_rows):
    for rows, columns in ((3, 37), (2, 150)):
        dy, x, weight = operands(rng, rows, columns)
        for name, left, right in views(layouts, dy, x):
            check_rms(left, right, weight, name=name)
        for view in expanded(dy):
            check_rms(view, x, weight, name=f" with a dy of strides {view.stride()}")


@exercise("rms_norm_backward")
@pytest.mark.parametrize("fused", [64, 2])
def test_rms_reads_beyond_int32(fused, rng, monkeypatch):
    monkeypatch.setattr(day23, "FUSED", fused)  # as long_rows does
    dy, x, weight = operands(rng, 3, 5, (F16, F16, F32))
    for name, left, right in views(far_apart, dy, x):
        check_rms(left, right, weight, values=(dy, x), name=name)


@exercise("rms_norm_backward")
@shapes("rows, columns", (40, 40), gpu=[(20_000, 1000)])
def test_rms_is_repeatable(rows, columns, rng):
    dy, x, weight = operands(rng, rows, columns)
    first, again = (day23.rms_norm_backward(dy, x, weight) for _ in range(2))
    assert all(map(torch.equal, first, again)), "the same inputs gave other bits the second time"


@exercise("rms_norm_backward")
@shapes("columns", 1024, 8192)
def test_rms_reads_rows_once(columns, rng, monkeypatch):
    monkeypatch.setattr(day23, "_column_totals", lambda partial: partial[0])  # day 11's
    dy, x, weight = operands(rng, 1, columns, (BF16, BF16, BF16))
    check_compiled(day23.rms_norm_backward, dy, x, weight, inputs=3)


@exercise("rms_norm_backward")
def test_rms_of_long_rows_keeps_to_the_registers(rng, monkeypatch):
    monkeypatch.setattr(day23, "layer_norm_dwdb", lambda dy, x, mean, rstd: (mean, rstd))
    dy, x, weight = operands(rng, 1, 3 * 8192, (BF16, BF16, BF16))
    check_compiled(day23.rms_norm_backward, dy, x, weight)


class RmsNorm(torch.autograd.Function):
    """Day 22 forward, day 23 backward."""

    @staticmethod
    def forward(ctx, x, weight, eps):
        ctx.save_for_backward(x, weight)
        ctx.eps = eps
        return day22.rms_norm(x.reshape(-1, x.shape[-1]), weight, eps).view(x.shape)

    @staticmethod
    def backward(ctx, dy):
        x, weight = ctx.saved_tensors
        matrices = (t.reshape(-1, x.shape[-1]) for t in (dy, x))
        dx, dweight = day23.rms_norm_backward(*matrices, weight, ctx.eps)
        return dx.view(x.shape), dweight, None


@exercise("rms_norm_backward", seconds=60)
def test_rms_in_llama(rng):
    from transformers.models.llama.modeling_llama import (
        LlamaConfig,
        LlamaForCausalLM,
        LlamaRMSNorm,
    )

    class Norm(torch.nn.Module):
        def __init__(self, norm):
            super().__init__()
            self.weight, self.eps = norm.weight, norm.variance_epsilon

        def forward(self, x):
            return RmsNorm.apply(x, self.weight, self.eps)

    config = LlamaConfig(
        vocab_size=50,
        hidden_size=24,
        intermediate_size=40,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=16,
    )
    check_model(lambda: LlamaForCausalLM(config), LlamaRMSNorm, Norm, rng)
