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
from tracks.triton import day13

DTYPES = [torch.float32, torch.float16, torch.bfloat16]
SIZES = [(0, 5), (3, 0), (1, 1), (4, 2), (3, 127), (2, 128), (3, 129), (2, 1000)]
LARGE = [(4096, 8192), (70_000, 33), (64, 65_536)]


def softmax64(x, t=1.0, mask=None):
    """Expected result in float64, and the size of what float32 may lose in it.

    An error of one rounding in (x - m) / t, which is large for small probabilities, becomes a
    relative error of the probability, so the tolerance of each element grows with it.
    """
    x = x.double()
    if mask is not None:
        x = torch.where(mask, x, -torch.inf)
    m = x.amax(-1, keepdim=True) if x.numel() else x
    z = torch.where(m == -torch.inf, -torch.inf, (x - m) / t) if mask is not None else (x - m) / t
    e = z.exp()
    total = e.sum(-1, keepdim=True)
    p = e / (torch.where(total == 0, 1.0, total) if mask is not None else total)
    return p, torch.where(p > 0, p * (1 + z.abs()), 0.0)


def close_softmax(actual, x, t=1.0, mask=None, **options):
    expected, scale = softmax64(x, t, mask)
    close(actual, expected, dtype=x.dtype, terms=max(x.shape[-1], 1), scale=scale, **options)


def assert_one_pass(seen, out):
    """One launch, and no memory beyond the output: an input that is copied first shows here."""
    launches = len(seen.launches)
    assert launches == 1 or not (launches or out.numel()), f"expected 1 launch, saw {launches}"
    room = out.numel() * out.element_size() + 1024
    assert seen.peak_bytes <= room, (
        f"the output takes {out.numel() * out.element_size()} bytes, but {seen.peak_bytes} were "
        "allocated: is an input copied, or an intermediate result stored?"
    )


# softmax ------------------------------------------------------------------------------------


@exercise("softmax")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@shapes("rows, columns", *SIZES, gpu=LARGE)
def test_softmax_matches_float64(rows, columns, dtype, rng):
    x = rng.normal(rows, columns, dtype=dtype, std=4)
    close_softmax(day13.softmax(x), x, tile=(1, max(columns, 1)))


@exercise("softmax")
@pytest.mark.parametrize("offset", [-1e4, 89.0, 1e4])
def test_softmax_of_large_logits(offset, rng):
    x = rng.normal(3, 200, mean=offset)
    close_softmax(day13.softmax(x), x)


@exercise("softmax")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_softmax_computes_in_float32(dtype, rng):
    x = rng.normal(3, 1000, dtype=dtype, std=3)
    close_softmax(day13.softmax(x), x, factor=0.75)  # one rounding, at the store


@exercise("softmax")
def test_softmax_reads_any_strides(rng):
    x = rng.normal(3, 37)
    for name, view in layouts(x):
        out = day13.softmax(view)
        close_softmax(out, x, name=f"softmax of a {name} input")
        assert out.is_contiguous(), f"the result for a {name} input is not contiguous"


@exercise("softmax")
def test_softmax_is_one_launch_without_copies(rng):
    for view in (rng.normal(4, 500), rng.normal(500, 4).T):
        out, seen = watch(day13.softmax, view)
        close_softmax(out, view)
        assert_one_pass(seen, out)


@exercise("softmax")
def test_softmax_keeps_the_row_in_registers(rng):
    reports = compiled(day13.softmax, rng.normal(1, 32_768))
    assert len(reports) == 1, f"expected 1 kernel, saw {[r.kernel for r in reports]}"
    (report,) = reports
    assert report.refused is None, f"the compiler refuses this kernel: {report.refused.text()}"
    assert report.spill_bytes == 0, (
        f"{report.spill_bytes} bytes a thread do not fit in registers: are there enough warps?"
    )
    assert report.widest_load_bits == report.widest_store_bits == 128, (
        f"loads are {report.widest_load_bits} bits wide and stores {report.widest_store_bits}: "
        f"{why_narrow(report)}"
    )
    loads = [access for access in report.accesses if access["kind"] == "load"]
    assert len(loads) == 1, (
        f"the kernel loads in {len(loads)} places (lines "
        f"{', '.join(str(access['line']) for access in loads)}): each row is to be read once"
    )


@exercise("softmax")
def test_softmax_of_nan_and_infinities(rng):
    x = rng.normal(5, 6)
    x = torch.cat([x, torch.full((3, 6), -torch.inf, device=x.device)])
    x[1, 2], x[2, 0], x[3, 1:], x[5, 4], x[6, 0] = torch.nan, torch.inf, -torch.inf, 0.0, torch.nan
    close_softmax(day13.softmax(x), x)


@exercise("softmax")
def test_softmax_refuses_rows_that_no_block_holds(device):
    refused(day13.softmax, torch.zeros(1, 65_537, device=device), what="65537 columns")


@exercise("softmax")
def test_softmax_reads_beyond_int32(rng):
    x = rng.normal(3, 5, dtype=torch.float16)
    for name, view in far_apart(x):
        close_softmax(day13.softmax(view), x, name=f"softmax of a {name} input")


@exercise("softmax", gpu=True)
@shapes("rows", gpu=[65_537])
def test_softmax_beyond_int32(rows, device, rng):
    x = torch.zeros(rows, 32_768, dtype=torch.float16, device=device)
    x[-1] = rng.normal(32_768)
    close_softmax(day13.softmax(x)[-1:], x[-1:])


# softmax_temperature ------------------------------------------------------------------------


@exercise("softmax_temperature")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@shapes("rows, columns", *SIZES, gpu=LARGE)
def test_temperature_matches_float64(rows, columns, dtype, rng):
    x = rng.normal(rows, columns, dtype=dtype)
    t = float(rng.uniform(1, low=0.2, high=3.0))
    close_softmax(day13.softmax_temperature(x, t), x, t, tile=(1, max(columns, 1)))


@exercise("softmax_temperature")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_temperature_computes_in_float32(dtype, rng):
    x = rng.normal(3, 1000, dtype=dtype)
    close_softmax(day13.softmax_temperature(x, 0.3), x, 0.3, factor=0.75)


@exercise("softmax_temperature")
def test_temperature_when_the_quotient_overflows(device):
    x = torch.tensor([[3e38, 3e38, 0.0], [-3e38, -2e38, -3e38]], device=device)
    expected = torch.tensor([[0.5, 0.5, 0.0], [0.0, 1.0, 0.0]], device=device)
    close(day13.softmax_temperature(x, 0.5), expected)


@exercise("softmax_temperature")
@pytest.mark.parametrize("t", [1e-4, 1e4])
def test_temperature_extremes(t, rng):
    x = rng.permutation(50).float().reshape(2, 25)
    close_softmax(day13.softmax_temperature(x, t), x, t)


@exercise("softmax_temperature")
@pytest.mark.parametrize("t", [0.0, -1.0, float("nan")])
def test_temperature_must_be_positive(t, device):
    refused(day13.softmax_temperature, torch.zeros(2, 3, device=device), t, what=f"t={t}")


@exercise("softmax_temperature")
def test_temperature_reads_any_strides_in_one_launch(rng):
    x = rng.normal(3, 37)
    for name, view in layouts(x):
        out, seen = watch(day13.softmax_temperature, view, 0.7)
        close_softmax(out, x, 0.7, name=f"softmax_temperature of a {name} input")
        assert_one_pass(seen, out)


@exercise("softmax_temperature")
def test_temperature_reads_beyond_int32(rng):
    x = rng.normal(3, 5, dtype=torch.float16)
    for name, view in far_apart(x):
        out = day13.softmax_temperature(view, 0.7)
        close_softmax(out, x, 0.7, name=f"softmax_temperature of a {name} input")


# masked_softmax -----------------------------------------------------------------------------


@exercise("masked_softmax")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@shapes("rows, columns", *SIZES, gpu=LARGE)
def test_masked_matches_float64(rows, columns, dtype, rng):
    x = rng.normal(rows, columns, dtype=dtype, std=4)
    mask = rng.boolean(rows, columns)
    close_softmax(day13.masked_softmax(x, mask), x, mask=mask, tile=(1, max(columns, 1)))


@exercise("masked_softmax")
def test_masked_rows_with_nothing_to_keep_are_zero(rng):
    x = rng.normal(4, 33).clone()
    x[2] = -torch.inf
    mask = torch.ones_like(x, dtype=torch.bool)
    mask[1] = False
    mask[3, 5:] = False
    close_softmax(day13.masked_softmax(x, mask), x, mask=mask)


@exercise("masked_softmax")
@pytest.mark.parametrize("hidden", [float("nan"), float("inf"), 3e38, -3e38])
def test_masked_values_have_no_effect(hidden, rng):
    mask = rng.boolean(4, 33)
    x = torch.where(mask, rng.normal(4, 33), hidden)
    close_softmax(day13.masked_softmax(x, mask), x, mask=mask)


@exercise("masked_softmax")
def test_masked_by_negative_logits(rng):
    x = rng.normal(3, 65, mean=-1e4)  # a masked entry that counts as 0 would win
    mask = rng.boolean(3, 65, p=0.7)
    close_softmax(day13.masked_softmax(x, mask), x, mask=mask)


@exercise("masked_softmax")
@pytest.mark.parametrize("shape", [(37,), (1, 37), (3, 1), (1, 1)], ids=str)
def test_masked_broadcasts_without_copying(shape, rng):
    x, mask = rng.normal(3, 37), rng.boolean(*shape, p=0.7)
    out, seen = watch(day13.masked_softmax, x, mask)
    close_softmax(out, x, mask=mask.expand(3, 37), name=f"result for a mask of shape {shape}")
    assert_one_pass(seen, out)


@exercise("masked_softmax")
def test_masked_reads_any_strides_in_one_launch(rng):
    x, mask = rng.normal(3, 500), rng.boolean(3, 500)
    cases = [(f"{name} input", view, mask) for name, view in layouts(x)]
    cases += [(f"{name} mask", x, view) for name, view in layouts(mask)]
    for name, a, b in cases:
        out, seen = watch(day13.masked_softmax, a, b)
        close_softmax(out, x, mask=mask, name=f"masked_softmax of a {name}")
        assert_one_pass(seen, out)


@exercise("masked_softmax")
def test_masked_reads_beyond_int32(rng):
    x, mask = rng.normal(3, 5, dtype=torch.float16), rng.boolean(3, 5)
    cases = [(f"{name} input", view, mask) for name, view in far_apart(x)]
    cases += [(f"{name} mask", x, view) for name, view in far_apart(mask)]
    for name, a, b in cases:
        out = day13.masked_softmax(a, b)
        close_softmax(out, x, mask=mask, name=f"masked_softmax of a {name}")


@exercise("masked_softmax")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_masked_computes_in_float32(dtype, rng):
    x, mask = rng.normal(3, 1000, dtype=dtype, std=3), rng.boolean(3, 1000, p=0.9)
    close_softmax(day13.masked_softmax(x, mask), x, mask=mask, factor=0.75)


# softmax_backward ---------------------------------------------------------------------------


def close_backward(actual, y, dy, **options):
    y64, dy64 = y.double(), dy.double()
    product = y64 * dy64
    expected = y64 * (dy64 - product.sum(-1, keepdim=True))
    scale = y64 * (dy64.abs() + product.abs().sum(-1, keepdim=True))
    close(actual, expected, dtype=y.dtype, terms=max(y.shape[-1], 1), scale=scale, **options)


@exercise("softmax_backward")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@shapes("rows, columns", *SIZES, gpu=LARGE)
def test_backward_matches_float64(rows, columns, dtype, rng):
    y = rng.normal(rows, columns, std=2).softmax(-1).to(dtype)
    dy = rng.normal(rows, columns, dtype=dtype)
    close_backward(day13.softmax_backward(y, dy), y, dy, tile=(1, max(columns, 1)))


@exercise("softmax_backward")
def test_backward_is_the_gradient(rng):
    x = rng.normal(3, 65).double().requires_grad_()
    dy = rng.normal(3, 65)
    y = x.softmax(-1)
    (dx,) = torch.autograd.grad(y, x, dy.double())
    y = y.detach().float()
    close(day13.softmax_backward(y, dy), dx, dtype=y.dtype, terms=65, scale=y.double())


@exercise("softmax_backward")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_backward_computes_in_float32(dtype, rng):
    y = rng.uniform(3, 1000, low=0.5, dtype=dtype)  # any numbers will do for y
    dy = rng.normal(3, 1000, dtype=dtype)
    close_backward(day13.softmax_backward(y, dy), y, dy, factor=0.75)


@exercise("softmax_backward")
def test_backward_of_a_constant_gradient(rng):
    y = rng.normal(3, 65).softmax(-1)
    dy = rng.normal(3, 1).expand(3, 65)  # stride 0, as autograd hands it over
    close_backward(day13.softmax_backward(y, dy), y, dy)


@exercise("softmax_backward")
def test_backward_reads_any_strides_in_one_launch(rng):
    y, dy = rng.normal(3, 500).softmax(-1), rng.normal(3, 500)
    cases = [(f"{name} y", view, dy) for name, view in layouts(y)]
    cases += [(f"{name} dy", y, view) for name, view in layouts(dy)]
    for name, a, b in cases:
        dx, seen = watch(day13.softmax_backward, a, b)
        close_backward(dx, y, dy, name=f"softmax_backward of a {name}")
        assert_one_pass(seen, dx)


@exercise("softmax_backward")
def test_backward_reads_beyond_int32(rng):
    y, dy = rng.normal(3, 5).softmax(-1).half(), rng.normal(3, 5, dtype=torch.float16)
    cases = [(f"{name} y", view, dy) for name, view in far_apart(y)]
    cases += [(f"{name} dy", y, view) for name, view in far_apart(dy)]
    for name, a, b in cases:
        close_backward(day13.softmax_backward(a, b), y, dy, name=f"softmax_backward of a {name}")


@exercise("softmax_backward")
def test_backward_refuses_rows_that_no_block_holds(device):
    y = torch.zeros(1, 65_537, device=device)
    refused(day13.softmax_backward, y, y, what="65537 columns")
