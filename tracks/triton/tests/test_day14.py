from math import prod
from unittest.mock import patch

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
from tracks.triton import day14

F32, F16, BF16 = torch.float32, torch.float16, torch.bfloat16
DTYPES = {"float32": F32, "float16": F16, "bfloat16": BF16}
nan, inf = float("nan"), float("inf")
# A block is 16,384 columns: just full, one more, three blocks.
LONG = [(1, 16_384, "bfloat16"), (2, 16_385, "float16"), (1, 40_003, "float32")]


def softmax64(x):
    """Softmax in float64, and the size of what float32 may lose in it.

    One rounding of x - m becomes a relative error of the probability. (The sum is of positive
    numbers, in pieces: its own error is a few roundings however long the row, hence ``terms=16``.)
    """
    z = x.double()
    z = z - z.amax(-1, keepdim=True) if x.numel() else z
    p = z.softmax(-1)
    return p, torch.where(p > 0, p * (1 + z.abs()), 0.0)


def close_softmax(actual, x, **options):
    expected, scale = softmax64(x)
    close(actual, expected, dtype=x.dtype, terms=16, scale=scale, **options)


def check_one_launch(seen, out):
    launches = len(seen.launches)
    assert launches == 1 or not (launches or out.numel()), f"expected 1 launch, saw {launches}"
    size = out.numel() * out.element_size()
    assert seen.peak_bytes <= size + 1024, (
        f"the output takes {size} bytes, but {seen.peak_bytes} were allocated: is an input "
        "copied, or an intermediate result stored?"
    )


def blocks_of_16():
    """Where an answer asks _block_and_warps, small blocks reach as far as large ones in memory."""
    return patch.object(day14, "_block_and_warps", lambda columns, most=0: (16, 1))


def only_report(f, *args):
    reports = compiled(f, *args)
    assert len(reports) == 1, f"expected 1 kernel, saw {[r.kernel for r in reports]}"
    return reports[0]


def check_report(report):
    assert report.refused is None, f"the compiler refuses this kernel: {report.refused.text()}"
    assert report.spill_bytes == 0, (
        f"{report.kernel} spills {report.spill_bytes} bytes a thread: what it keeps does not fit "
        "in registers. How many blocks of numbers are alive at once, and how many warps share them?"
    )
    assert report.widest_load_bits == report.widest_store_bits == 128, (
        f"loads are {report.widest_load_bits} bits wide and stores {report.widest_store_bits}: "
        f"{why_narrow(report)}"
    )


def block_loads(report):
    """Lines of the loads of more than one number."""
    return [a["line"] for a in report.accesses if a["kind"] == "load" and prod(a["shape"]) > 1]


def atomics():
    """The atomic operations that the day's kernels call, on single numbers too."""
    kernels = [one.fn.__code__ for one in vars(day14).values() if hasattr(one, "fn")]
    return sorted({n for code in kernels for n in code.co_names if n.startswith("atomic_")})


# online_softmax -----------------------------------------------------------------------------


@exercise("online_softmax")
@shapes(
    "rows, columns, dtype",
    *[(0, 5, "float32"), (3, 0, "float32"), (1, 1, "float16"), (3, 129, "bfloat16")],
    *LONG,
    gpu=[
        *[(4096, 8192, "bfloat16"), (64, 131_072, "float32")],
        *[(3, 1_000_003, "float16"), (70_000, 33, "float32")],
    ],
)
def test_online_matches_float64(rows, columns, dtype, rng):
    x = rng.normal(rows, columns, dtype=DTYPES[dtype], std=4)
    out, seen = watch(day14.online_softmax, x)
    close_softmax(out, x, tile=(1, max(columns, 1)))
    check_one_launch(seen, out)


@exercise("online_softmax")
def test_online_of_large_logits(rng):
    for offset in (1e4, -1e4):
        x = rng.normal(2, 20_000, mean=offset)
        close_softmax(day14.online_softmax(x), x, name=f"softmax of logits near {offset}")


@exercise("online_softmax")
def test_online_when_the_largest_moves_from_block_to_block(rng):
    up = rng.normal(1, 40_000, std=30).sort(dim=-1).values
    x = torch.cat([up, up.flip(-1)])
    close_softmax(day14.online_softmax(x), x)


@exercise("online_softmax")
def test_online_of_blocks_that_are_masked(rng):
    x = rng.normal(4, 40_000).clone()
    x[0, :33_000] = -inf  # two blocks of nothing, then a part of one
    x[1, 16_000:] = -inf
    x[2, 10:39_990] = -inf
    x[3] = -inf
    out = day14.online_softmax(x)
    close_softmax(out, x)


@exercise("online_softmax")
def test_online_of_nan_and_infinity(rng):
    x = rng.normal(4, 40_000).clone()
    x[0, 5], x[1, 39_999], x[2, 20_000] = nan, nan, inf
    close_softmax(day14.online_softmax(x), x)


@exercise("online_softmax")
def test_online_computes_in_float32(rng):
    for dtype in (F16, BF16):
        for rows, columns in ((3, 1000), (1, 20_000)):
            x = rng.normal(rows, columns, dtype=dtype, std=3)
            close_softmax(day14.online_softmax(x), x, factor=0.75)  # one rounding, at the store


@exercise("online_softmax")
def test_online_reads_any_strides(rng):
    x = rng.normal(3, 137)
    for name, view in layouts(x):
        out, seen = watch(day14.online_softmax, view)
        close_softmax(out, x, name=f"online_softmax of a {name} input")
        assert out.is_contiguous(), f"the result for a {name} input is not contiguous"
        check_one_launch(seen, out)


@exercise("online_softmax")
def test_online_reads_beyond_int32(rng):
    x = rng.normal(3, 5, dtype=F16)
    for name, view in far_apart(x):
        close_softmax(day14.online_softmax(view), x, name=f"online_softmax of a {name} input")


@exercise("online_softmax")
def test_online_steps_beyond_int32(rng):
    x = rng.normal(3, 17, dtype=F16)
    for name, view in far_apart(x):
        with blocks_of_16():  # from one to the next are 2**31 elements
            out = day14.online_softmax(view)
        close_softmax(out, x, name=f"online_softmax of a {name} input in blocks of 16")


@exercise("online_softmax")
def test_online_reads_twice_and_keeps_a_block_in_registers(rng):
    report = only_report(day14.online_softmax, rng.normal(1, 131_072, dtype=BF16))
    check_report(report)
    lines = block_loads(report)
    assert len(lines) == 2, (
        f"the kernel loads the row in {len(lines)} places (lines {', '.join(map(str, lines))}): "
        "it is to be read once for maximum and sum together, and once for the result"
    )


@exercise("online_softmax", gpu=True)
@shapes("rows", gpu=[16_385])
def test_online_beyond_int32(rows, device, rng):
    x = torch.zeros(rows, 131_072, dtype=F16, device=device)
    x[-1] = rng.normal(131_072)
    close_softmax(day14.online_softmax(x)[-1:], x[-1:])


# softmax_many_rows --------------------------------------------------------------------------


@exercise("softmax_many_rows")
def test_many_rows_share_a_program(rng):
    # A tile holds 4096 elements: 64 rows of 33 columns, each padded to 64, or 64 rows of 64.
    for rows, columns, least, most in ((200, 33, 1, 8), (128, 64, 1, 4), (500, 33, 2, 16)):
        x = rng.normal(rows, columns)
        out, seen = watch(day14.softmax_many_rows, x)
        close_softmax(out, x)
        check_one_launch(seen, out)
        programs = seen.launches[0].programs
        assert least <= programs <= most, (
            f"launched {programs} programs for {rows} rows of {columns} columns, "
            f"{-(-rows // max(programs, 1))} rows each: as _tile says, a program takes 64 of these "
            "rows"
        )


@exercise("softmax_many_rows")
@shapes(
    "rows, columns, dtype",
    *[(0, 5, "float32"), (3, 0, "float32"), (1, 1, "float16"), (129, 33, "bfloat16")],
    *[(65, 64, "float16"), (700, 3, "float32"), (5000, 1, "float32"), (9, 1024, "float32")],
    gpu=[(1_000_000, 64, "bfloat16"), (70_001, 129, "float32")],
)
def test_many_rows_match_float64(rows, columns, dtype, rng):
    x = rng.normal(rows, columns, dtype=DTYPES[dtype], std=4)
    out, seen = watch(day14.softmax_many_rows, x)
    block = 1 << (max(columns, 1) - 1).bit_length()
    close_softmax(out, x, tile=(4096 // block, max(columns, 1)))
    check_one_launch(seen, out)


@exercise("softmax_many_rows")
def test_many_rows_of_large_logits(rng):
    for offset in (-1e4, 89.0, 1e4):
        x = rng.normal(70, 20, mean=offset)
        close_softmax(day14.softmax_many_rows(x), x, name=f"softmax of logits near {offset}")


@exercise("softmax_many_rows")
def test_many_rows_do_not_disturb_each_other(rng):
    x = rng.normal(80, 20).clone()
    x += 1000.0 * rng.permutation(80)[:, None]  # no two rows have the same largest element
    x[3], x[40, 1], x[41, 19], x[60, 2], x[61, 1:] = -inf, nan, inf, -inf, -inf
    close_softmax(day14.softmax_many_rows(x), x)


@exercise("softmax_many_rows")
def test_many_rows_compute_in_float32(rng):
    for dtype in (F16, BF16):
        x = rng.normal(7, 700, dtype=dtype, std=3)
        close_softmax(day14.softmax_many_rows(x), x, factor=0.75)


@exercise("softmax_many_rows")
def test_many_rows_read_any_strides(rng):
    x = rng.normal(150, 37)
    for name, view in layouts(x):
        out, seen = watch(day14.softmax_many_rows, view)
        close_softmax(out, x, name=f"softmax_many_rows of a {name} input")
        assert out.is_contiguous(), f"the result for a {name} input is not contiguous"
        check_one_launch(seen, out)


@exercise("softmax_many_rows")
def test_many_rows_read_beyond_int32(rng):
    x = rng.normal(3, 5, dtype=F16)
    for name, view in far_apart(x):
        close_softmax(day14.softmax_many_rows(view), x, name=f"softmax of a {name} input")


@exercise("softmax_many_rows")
def test_many_rows_load_wide_and_once(rng):
    report = only_report(day14.softmax_many_rows, rng.normal(256, 64))
    check_report(report)
    lines = block_loads(report)
    assert len(lines) == 1, f"the kernel loads in {len(lines)} places: a tile is to be read once"


@exercise("softmax_many_rows")
def test_many_rows_refuse_long_ones(device):
    for rows, columns in ((1, 1025), (0, 2000)):
        x = torch.zeros(rows, columns, device=device)
        refused(day14.softmax_many_rows, x, what=f"x of {rows} rows and {columns} columns")


@exercise("softmax_many_rows", gpu=True)
@shapes("rows", gpu=[2_100_000])
def test_many_rows_beyond_int32(rows, device, rng):
    x = torch.zeros(rows, 1024, dtype=F16, device=device)
    x[-5:] = rng.normal(5, 1024)
    close_softmax(day14.softmax_many_rows(x)[-5:], x[-5:])


# cross_entropy ------------------------------------------------------------------------------


def cross_entropy64(logits, targets, ignore_index=-100):
    """Loss and gradient in float64, and for each the size of what float32 may lose in it."""
    kept = targets != ignore_index
    n = kept.sum()
    place = torch.where(kept, targets, 0).long()[:, None]
    z = logits.double()
    z = z - z.amax(-1, keepdim=True)
    p = z.softmax(-1)
    log_total = z.exp().sum(-1, keepdim=True).log()
    row_loss = torch.where(kept, (log_total - z.gather(1, place))[:, 0], 0.0)
    dlogits = (p - torch.zeros_like(p).scatter(1, place, 1.0)) / n
    slack = torch.where(p > 0, p * (1 + z.abs()), 0.0) / n
    zero = ~kept[:, None]
    return (
        (row_loss.sum() / n, 1 + row_loss.abs().sum() / n),
        (dlogits.masked_fill(zero, 0.0), slack.masked_fill(zero, 0.0)),
    )


def check_cross_entropy(logits, targets, *args, inplace=False, factor=4.0, name=""):
    rows, columns = logits.shape
    (loss, loss_scale), (gradient, slack) = cross_entropy64(logits, targets, *args)
    before = None if inplace else logits.clone()
    result, seen = watch(day14.cross_entropy, logits, targets, *args, inplace=inplace)
    assert isinstance(result, tuple) and len(result) == 2, "expected a pair: (loss, dlogits)"
    actual, dlogits = result
    # The gradient first: where both are wrong, it tells more than the one number.
    close(
        dlogits,
        gradient,
        dtype=logits.dtype,
        terms=16,
        scale=slack,
        factor=factor,
        tile=(1, columns),
        name=f"dlogits{name}",
    )
    close(actual, loss, dtype=F32, scale=loss_scale / 4, terms=4, name=f"loss{name}")
    assert len(seen.launches) <= 3, f"expected at most 3 launches, saw {len(seen.launches)}"
    assert not seen.synchronisations, f"the host waits for the device: {seen.synchronisations}"
    room = 4 * rows + 1024
    if inplace:
        assert dlogits.data_ptr() == logits.data_ptr() and dlogits.stride() == logits.stride(), (
            "with inplace=True the gradient must lie where the logits were"
        )
    else:
        assert torch.equal(before.nan_to_num(), logits.nan_to_num()), (
            "the logits have changed, though inplace is False"
        )
        assert dlogits.is_contiguous(), (
            f"the logits have the strides {logits.stride()} and dlogits {dlogits.stride()}: a new "
            "dlogits is to be contiguous, whatever the logits are"
        )
        room += dlogits.numel() * dlogits.element_size()
    assert seen.peak_bytes <= room, (
        f"{seen.peak_bytes} bytes were allocated, but dlogits (where it is new) and a few numbers "
        f"a row take {room}"
    )


def some_targets(rng, rows, columns, ignored=0.3, ignore_index=-100):
    targets = rng.integers(0, columns, rows)
    return torch.where(rng.boolean(rows, p=ignored), ignore_index, targets)


@exercise("cross_entropy")
@shapes(
    "rows, columns, dtype",
    *[(1, 1, "float32"), (70, 5, "float16"), (5, 129, "bfloat16"), (3, 1000, "float32")],
    *LONG,
    gpu=[(4096, 32_000, "bfloat16"), (512, 128_256, "float32"), (70_000, 33, "float32")],
)
def test_loss_and_gradient_match_float64(rows, columns, dtype, rng):
    logits = rng.normal(rows, columns, dtype=DTYPES[dtype], std=2)
    targets = some_targets(rng, rows, columns).clone()
    targets[0] = columns - 1  # at least one row counts
    check_cross_entropy(logits, targets)


@exercise("cross_entropy")
def test_loss_and_gradient_are_autograds(rng):
    logits, targets = rng.normal(9, 65), some_targets(rng, 9, 65).clone()
    targets[4], targets[5] = 0, -100
    leaf = logits.double().requires_grad_()
    expected = torch.nn.functional.cross_entropy(leaf, targets)
    (gradient,) = torch.autograd.grad(expected, leaf)
    loss, dlogits = day14.cross_entropy(logits, targets)
    close(dlogits, gradient, dtype=F32, terms=65, scale=1.0 / 9, name="dlogits")
    close(loss, expected.detach(), dtype=F32, terms=65, name="loss")


@exercise("cross_entropy", inplace=True)
@shapes("rows, columns, dtype", (3, 129, "bfloat16"), (2, 40_003, "float16"))
def test_gradient_overwrites_the_logits_when_asked(rows, columns, dtype, rng):
    logits = rng.normal(rows, columns, dtype=DTYPES[dtype], std=2).clone()
    targets = some_targets(rng, rows, columns).clone()
    targets[-1] = 0
    targets[0] = -100
    check_cross_entropy(logits, targets, inplace=True)


@exercise("cross_entropy", inplace=True)
def test_any_strides_and_nothing_between_the_elements(rng):
    logits, targets = rng.normal(6, 137), some_targets(rng, 6, 137).clone()
    targets[1], targets[2] = -100, 17
    for name, view in layouts(logits):
        check_cross_entropy(view, targets, name=f" of {name} logits")
        check_cross_entropy(view, targets, inplace=True, name=f" of {name} logits, in place")
    padded = rng.normal(6, 160).clone()
    behind = padded[:, 137:].clone()
    check_cross_entropy(padded[:, :137], targets, inplace=True, name=" of a padded vocabulary")
    assert torch.equal(padded[:, 137:], behind), (
        "in place: memory behind the view's last column was written"
    )


@exercise("cross_entropy")
def test_logits_beyond_int32(rng):
    logits, targets = rng.normal(5, 7, dtype=F16), some_targets(rng, 5, 7).clone()
    targets[0], targets[1] = 6, -100
    targets[3], targets[4] = -100, 5
    for name, view in far_apart(logits):
        loss, dlogits = day14.cross_entropy(view, targets.int())  # an int32 times a stride
        (expected, loss_scale), (gradient, slack) = cross_entropy64(logits, targets)
        close(dlogits, gradient, dtype=F16, terms=16, scale=slack, factor=4.0,
              name=f"dlogits, {name} logits")  # fmt: skip
        close(loss, expected, dtype=F32, scale=loss_scale / 4, terms=4, name=f"loss, {name} logits")


@exercise("cross_entropy")
def test_logits_step_beyond_int32(device, rng):
    logits, targets = rng.normal(3, 17, dtype=F16), torch.tensor([16, 3, -100], device=device)
    (expected, loss_scale), (gradient, slack) = cross_entropy64(logits, targets)
    for name, view in far_apart(logits):
        with blocks_of_16():
            loss, dlogits = day14.cross_entropy(view, targets)
        close(dlogits, gradient, dtype=F16, terms=16, scale=slack, factor=4.0,
              name=f"dlogits, {name} logits in blocks of 16")  # fmt: skip
        close(loss, expected, dtype=F32, scale=loss_scale / 4, terms=4,
              name=f"loss, {name} logits in blocks of 16")  # fmt: skip


@exercise("cross_entropy")
def test_another_ignore_index(rng):
    logits = rng.normal(40, 9)
    for ignore_index in (-1, 0, 7, 10**10, 2**32 + 5):  # the low 32 bits of the last are 5
        targets = some_targets(rng, 40, 9, ignore_index=ignore_index).clone()
        targets[0], targets[1], targets[2] = ignore_index, 3, 5
        check_cross_entropy(logits, targets, ignore_index, name=f", ignore_index={ignore_index}")


@exercise("cross_entropy", inplace=True)
def test_ignored_rows_count_for_nothing_whatever_they_hold(rng):
    logits = rng.normal(6, 300).clone()
    logits[1], logits[2, 3], logits[4] = nan, inf, -inf
    targets = rng.integers(0, 300, 6).clone()
    targets[[1, 2, 4]] = -100
    check_cross_entropy(logits, targets)
    check_cross_entropy(logits, targets, inplace=True, name=", in place")


@exercise("cross_entropy")
def test_ignored_rows_are_never_read(device, rng):
    # Two rows of logits, and an ignored third one that is no part of the tensor.
    logits, columns = rng.normal(3, 33), 33
    targets = torch.tensor([5, 32, -100], device=device)
    count = torch.full((), 2, dtype=torch.int32, device=device)
    (_, _), (expected, slack) = cross_entropy64(logits, targets)
    for rows in (2, 3):
        row_loss = torch.full((3,), nan, device=device)
        dlogits = torch.full((3, columns), nan, device=device)
        try:
            day14.cross_entropy_rows_kernel[(rows,)](
                *(logits[:2], targets, count, row_loss, dlogits),
                *(columns, 1, columns, 1, columns, -100),
                BLOCK=64,
            )
        except Exception as error:
            if rows == 2:
                raise
            raise AssertionError(
                f"row 2 is ignored: it is to be written and never read. {error}"
            ) from error
        close(dlogits[:rows], expected[:rows], dtype=F32, terms=16, scale=slack[:rows], factor=4.0)
    assert row_loss[2].item() == 0.0, f"the loss of an ignored row is {row_loss[2].item()}, not 0"


@exercise("cross_entropy", inplace=True)
def test_no_row_left(rng):
    logits = rng.normal(3, 16_385).clone()  # the last column is alone in its block
    targets = torch.full((3,), -100, device=logits.device)
    check_cross_entropy(logits, targets, name=" of ignored rows")
    check_cross_entropy(logits, targets, inplace=True, name=" of ignored rows, in place")
    loss, dlogits = day14.cross_entropy(logits[:0], targets[:0])
    close(loss, torch.tensor(nan, device=logits.device), name="loss of no rows")
    assert dlogits.shape == (0, 16_385), f"dlogits of no rows has the shape {dlogits.shape}"


@exercise("cross_entropy")
def test_large_logits_lose_no_digits(device, rng):
    for offset in (-1e4, 1e4):
        # offset + log 11 lies nearly halfway between two float32 numbers, whatever the seed is.
        level = torch.full((2, 11), offset, device=device)
        targets = torch.tensor([3, 4], device=device)
        check_cross_entropy(level, targets, name=f" of logits that are all {offset}")
        logits = rng.normal(5, 20_000, mean=offset)
        targets = rng.integers(0, 20_000, 5)
        check_cross_entropy(logits, targets, name=f" of logits near {offset}")
        sure = torch.zeros(2, 50, device=logits.device)
        sure[0, 3], sure[1, 4] = offset, -offset
        targets = torch.tensor([3, 4], device=logits.device)
        check_cross_entropy(sure, targets, name=f" of rows with one logit of {offset}")


@exercise("cross_entropy")
def test_masked_classes_and_broken_rows(rng):
    logits = rng.normal(3, 40_000).clone()
    logits[0, :33_000], logits[1, 17_000:], logits[2, 5:] = -inf, -inf, -inf
    targets = torch.tensor([39_000, 16_500, 2], device=logits.device)
    check_cross_entropy(logits, targets)
    for broken in (nan, inf):
        logits[1, 20_000] = broken
        loss, dlogits = day14.cross_entropy(logits, targets)
        assert loss.isnan().item(), f"a row holds {broken}, but the loss is {loss.item()}"
        rows = dlogits.isnan().all(-1).tolist()
        assert rows == [False, True, False], f"row 1 holds {broken}; rows of nan: {rows}"


@exercise("cross_entropy")
def test_computes_in_float32(rng):
    # 7 rows: a division by 4 would be exact in 16 bits, too.
    targets = rng.integers(0, 500, 7, dtype=torch.int32)
    for dtype in (F16, BF16):
        check_cross_entropy(rng.normal(7, 500, dtype=dtype, std=3), targets, factor=0.75)


@exercise("cross_entropy")
def test_more_rows_than_a_block_of_targets(rng):
    logits = rng.normal(2051, 2)
    targets = some_targets(rng, 2051, 2, ignored=0.9).clone()
    targets[[0, -2, -1]] = 1
    check_cross_entropy(logits, targets)


@exercise("cross_entropy")
def test_row_kernel_reads_twice_and_keeps_a_block_in_registers(rng):
    logits = rng.normal(1, 131_072, dtype=BF16)
    reports = compiled(day14.cross_entropy, logits, rng.integers(0, 131_072, 1))
    refused = [r.refused.text() for r in reports if r.refused is not None]
    assert not refused, f"the compiler refuses a kernel: {refused[0]}"
    spills = {r.kernel: r.spill_bytes for r in reports if r.spill_bytes}
    assert not spills, f"registers spill (bytes a thread): {spills}"
    assert reports, "no kernel was launched"
    assert not atomics(), (
        f"a kernel calls {', '.join(atomics())}: no atomics are to be used, so that the same "
        "inputs give the same bits"
    )
    report = max(reports, key=lambda r: len(r.accesses))
    check_report(report)
    lines = block_loads(report)
    assert len(lines) == 2, (
        f"{report.kernel} loads the row in {len(lines)} places (lines "
        f"{', '.join(map(str, lines))}): once for the statistics and once for the gradient"
    )
    assert 16 not in report.stores, (
        f"{report.kernel} also stores single bfloat16 numbers: each element of dlogits is to be "
        "written once, together with its neighbours"
    )


@exercise("cross_entropy", gpu=True, inplace=True)
@shapes("rows", gpu=[16_385])
def test_cross_entropy_beyond_int32(rows, device, rng):
    logits = torch.zeros(rows, 131_072, dtype=F16, device=device)
    logits[-1] = rng.normal(131_072)
    targets = torch.full((rows,), -100, device=device)
    targets[-1] = 131_071
    last = logits[-1:].clone()
    (loss, _), (gradient, slack) = cross_entropy64(last, targets[-1:])
    actual, dlogits = day14.cross_entropy(logits, targets, inplace=True)
    close(actual, loss, dtype=F32, terms=131_072, name="loss")
    close(dlogits[-1:], gradient, dtype=F16, terms=16, scale=slack, name="dlogits")
