import math

import pytest
import torch
import triton
from triton.runtime.autotuner import Autotuner

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
)
from tracks.triton import day18, day19

F16, BF16 = "float16", "bfloat16"
CONSTANTS = ("BLOCK_M", "BLOCK_N", "BLOCK_K", "GROUP")
FILLS = ("zeros", "ones", "full", "zero_", "fill_")


def config(m, n, k=64, *, warps=4, stages=3):
    sizes = {"BLOCK_M": m, "BLOCK_N": n, "BLOCK_K": k, "GROUP": 8}
    return triton.Config(sizes, num_warps=warps, num_stages=stages)


def toy(shared=227 * 1024, flops=1e12, bandwidth=1e9):
    return day19.Device("toy", shared, flops, bandwidth)


def pair(rng, m, n, k, dtype=torch.float16):
    return rng.normal(m, k, dtype=dtype), rng.normal(k, n, dtype=dtype)


# roofline -----------------------------------------------------------------------------------


def check_roofline(flops, bytes, device, seconds, limit):
    got = day19.roofline(flops, bytes, device)
    work = f"{flops:g} FLOPs and {bytes:g} bytes at {device.flops:g} FLOP/s and "
    work += f"{device.bandwidth:g} bytes/s"
    assert isinstance(got, tuple) and len(got) == 2, f"roofline returns {got!r}, and no pair"
    assert math.isclose(got[0], seconds, rel_tol=1e-12), (
        f"{work} take {seconds:.13g} seconds at least, not {got[0]:.13g}"
    )
    assert got[1] == limit, f"{work} are limited by {limit}, not by {got[1]!r}"


@exercise("roofline")
def test_roofline_takes_the_longer_time(rng):
    for exponent in range(-3, 4):
        arithmetic = rng.uniform(1, low=1.0, high=2.0).item()
        traffic = arithmetic * 4.0**exponent * 1.25
        limit = "memory" if traffic > arithmetic else "compute"
        longer = max(arithmetic, traffic)
        check_roofline(arithmetic * 3e12, traffic * 7e9, toy(1, 3e12, 7e9), longer, limit)


@exercise("roofline")
def test_roofline_of_matrix_products():
    n = 8192
    square, column = 2 * n**3, 2 * n * n
    three_matrices, matrix_and_columns = 3 * n * n * 2, (n * n + 2 * n) * 2
    for device in day19.DEVICES:
        check_roofline(square, three_matrices, device, square / device.flops, "compute")
        seconds = matrix_and_columns / device.bandwidth
        check_roofline(column, matrix_and_columns, device, seconds, "memory")


@exercise("roofline")
def test_roofline_at_the_ridge():
    check_roofline(1024.0, 64.0, toy(1, 256.0, 16.0), 4.0, "compute")


@exercise("roofline")
def test_roofline_beside_a_ridge_that_is_no_whole_number():
    device = toy(1, 10.0, 4.0)  # 2.5 FLOPs a byte
    check_roofline(21, 10, device, 2.5, "memory")
    check_roofline(29, 10, device, 2.9, "compute")


@exercise("roofline")
def test_roofline_of_little_work_for_memory():
    check_roofline(989e12 * 1e-7, 4.8e12 * 4e-7, day19.H200, 4e-7, "memory")
    check_roofline(0.25, 0.5, toy(1, 1.0, 1.0), 0.5, "memory")


@exercise("roofline")
def test_roofline_of_little_work_for_the_arithmetic_units():
    check_roofline(989e12 * 4e-7, 4.8e12 * 1e-7, day19.H200, 4e-7, "compute")
    check_roofline(0.5, 0.25, toy(1, 1.0, 1.0), 0.5, "compute")


@exercise("roofline")
def test_roofline_of_nothing():
    check_roofline(0, 0, toy(), 0.0, "compute")
    check_roofline(0, 5e9, toy(), 5.0, "memory")
    check_roofline(5e12, 0, toy(), 5.0, "compute")


@exercise("roofline")
def test_roofline_refuses():
    for flops, bytes in ((-1, 5), (5, -1), (-1, 0), (0, -1)):
        refused(day19.roofline, flops, bytes, toy(), what=f"{flops} FLOPs, {bytes} bytes")


# fits ---------------------------------------------------------------------------------------


def told(config):
    sizes = " x ".join(str(config.kwargs[name]) for name in CONSTANTS[:3])
    return f"a tile of {sizes} with {config.num_warps} warps in {config.num_stages} stages"


def check_fits(config, device, expected, why):
    got = day19.fits(config, device)
    assert isinstance(got, bool), f"fits returns {got!r}, and neither True nor False"
    assert got == expected, (
        f"fits says {bool(got)} for {told(config)} on a device with {device.shared:,} bytes of "
        f"shared memory: {why}"
    )


@exercise("fits")
@pytest.mark.parametrize("m, n, k", [(64, 64, 64), (16, 128, 32), (128, 32, 128), (16, 32, 16)])
@pytest.mark.parametrize("stages", [1, 2, 5])
def test_fits_counts_shared_memory_to_the_byte(m, n, k, stages):
    tile = config(m, n, k, warps=8, stages=stages)
    size = 2 * stages * (m * k + k * n)
    check_fits(tile, toy(size), True, f"it needs {size:,} bytes")
    check_fits(tile, toy(size - 1), False, f"it needs {size:,} bytes")


@exercise("fits")
@pytest.mark.parametrize(
    "m, n, warps, expected",
    [
        *[(128, 128, 4, True), (128, 128, 2, False), (64, 128, 2, True), (64, 64, 1, True)],
        *[(128, 256, 8, True), (256, 128, 8, True), (128, 256, 4, False), (64, 256, 2, False)],
        *[(128, 256, 16, True), (256, 256, 16, False), (256, 256, 8, False), (64, 128, 1, False)],
    ],
)
def test_fits_counts_the_sums(m, n, warps, expected):
    tile = config(m, n, 16, warps=warps, stages=2)
    why = f"a thread would have {m * n // (32 * warps)} sums, the program {m * n:,}"
    check_fits(tile, toy(), expected, why)


@exercise("fits")
@pytest.mark.parametrize("device", day19.DEVICES, ids=lambda device: device.name)
def test_fits_on_devices(device):
    shared = device.shared
    for m, n, k, stages in ((128, 256, 64, 4), (128, 128, 64, 4), (128, 128, 64, 3)):
        size = 2 * stages * (m + n) * k
        tile = config(m, n, k, warps=8, stages=stages)
        check_fits(tile, device, size <= shared, f"it needs {size:,} bytes")


@exercise("fits")
@pytest.mark.parametrize("shared, expected", [(1_000, False), (1_000_000, True)])
def test_fits_asks_the_device_that_it_is_given(shared, expected):
    tile = config(128, 128, warps=8, stages=10)
    check_fits(tile, toy(shared), expected, "it needs 327,680 bytes")


# configs ------------------------------------------------------------------------------------


@exercise("configs")
def test_configs_are_few_and_complete():
    found = day19.configs()
    assert 4 <= len(found) <= 6, f"{len(found)} configurations: there are to be 4 to 6"
    for each in found:
        missing = [name for name in CONSTANTS if name not in each.kwargs]
        assert not missing, f"the configuration {each} does not set {', '.join(missing)}"
        extra = [name for name in each.kwargs if name not in CONSTANTS]
        assert not extra, f"the kernel has no constant {', '.join(extra)}, which {each} sets"
    for i, each in enumerate(found):
        assert each not in found[:i], f"the configuration {each} is there twice"
    assert day19.configs() is not found, "two calls of configs() return one and the same list"


@exercise("configs")
def test_configs_are_large_and_small():
    tiles = [(each.kwargs["BLOCK_M"], each.kwargs["BLOCK_N"]) for each in day19.configs()]
    assert any(m * n >= 32_768 for m, n in tiles), f"no tile of {tiles} has 32,768 elements"
    assert any(m <= 64 and n <= 64 for m, n in tiles), (
        f"each tile of {tiles} has more than 64 rows or more than 64 columns"
    )


@exercise("configs")
def test_configs_fit_on_every_device():
    for device in day19.DEVICES:
        room = [
            2 * each.num_stages * (m + n) * k <= device.shared
            and m * n <= min(128 * 32 * each.num_warps, 32_768)
            for each in day19.configs()
            for m, n, k in [[each.kwargs[name] for name in CONSTANTS[:3]]]
        ]
        assert sum(room) >= 2, f"only {sum(room)} of {len(room)} configurations fit on a {device}"
        if device == day19.H200:
            assert all(room), f"{len(room) - sum(room)} configurations do not fit on a {device}"


def launchable():
    """Those of configs() whose operands have room on the device that the tests run on."""
    limit = day19.this_device().shared
    return [
        each
        for each in day19.configs()
        for m, n, k in [[each.kwargs[name] for name in CONSTANTS[:3]]]
        if 2 * each.num_stages * (m + n) * k <= limit
    ]


@exercise("configs")
def test_configs_do_not_change_the_result(rng):
    a, b = pair(rng, 70, 66, 130)
    for each in launchable():
        out = torch.empty(70, 66, dtype=a.dtype, device=a.device)
        m, n = each.kwargs["BLOCK_M"], each.kwargs["BLOCK_N"]
        day18.matmul_grouped_kernel[(math.ceil(70 / m) * math.ceil(66 / n),)](
            a, b, out, *a.stride(), *b.stride(), 70, 66, 130, **each.all_kwargs()
        )
        expected = a.double() @ b.double()
        close(out, expected, dtype=a.dtype, terms=130, scale=1.0, name=f"result with {each}")


@exercise("configs", seconds=60)
def test_configs_compile_to_tensor_cores(rng):
    a, b = pair(rng, 16, 16, 16, torch.bfloat16)
    out = torch.empty(16, 16, dtype=a.dtype, device=a.device)

    def each_once():
        for each in day19.configs():
            day18.matmul_grouped_kernel[(1,)](
                a, b, out, *a.stride(), *b.stride(), 16, 16, 16, **each.all_kwargs()
            )

    for report in compiled(each_once):
        what = f"with {report.specialisation.partition('BLOCK_M')[2].partition(';')[0]}"
        what = f"the kernel {what.replace('with', 'with BLOCK_M', 1)}"
        assert report.refused is None, f"the compiler refuses {what}: {report.refused.text()}"
        assert report.spill_bytes == 0, f"{what} spills {report.spill_bytes} bytes a thread"
        assert report.shared_bytes <= report.shared_limit, (
            f"{what} needs {report.shared_bytes} bytes of shared memory: there are "
            f"{report.shared_limit}"
        )
        assert "wgmma" in str(report.tensor_core), (
            f"{what} is computed by {report.tensor_core or 'no tensor core'}, and not by wgmma"
        )
        assert report.widest_load_bits == 128, (
            f"{what} has loads of {report.widest_load_bits} bits: has a thread fewer than 8 "
            "neighbours to load?"
        )


# prune --------------------------------------------------------------------------------------

SMALL, WIDE = config(64, 64, stages=4), config(64, 128)
MIDDLE, HIGH = config(128, 128, warps=8), config(256, 128, 32, warps=8)
TOO_MANY_BYTES = config(128, 256, 128, warps=8, stages=9)
TOO_MANY_SUMS = config(128, 256, 16, warps=4, stages=2)


def needless(config, m, n):
    """Which side of a tile is needlessly long for a result, in words; '' if none is."""
    for name, what, size in (("BLOCK_M", "rows", m), ("BLOCK_N", "columns", n)):
        if config.kwargs[name] >= 2 * size:
            return f"one half of {config.kwargs[name]} {what} covers {size}"
    return ""


def check_prune(candidates, m, n, expected, by_name=()):
    sizes = {"m": m, "n": n, "k": 100, "a_ptr": None}
    by_position = {name: size for name, size in sizes.items() if name not in by_name}
    given, named = list(candidates), dict(by_position)
    got = day19.prune(given, named, **{name: sizes[name] for name in by_name})
    assert given == list(candidates), "prune changed the list that it was given"
    assert named == by_position, "prune changed the dict named_args that it was given"
    assert isinstance(got, list), f"prune returns a {type(got).__name__}, and no list"
    assert got is not given, "prune returns the list that it was given, and no new one"
    extra = [each for each in got if each not in expected]
    missing = [each for each in expected if each not in got]
    wrong = [f"keeps {', '.join(told(each) for each in extra)}"] * bool(extra)
    wrong += [f"leaves out {', '.join(told(each) for each in missing)}"] * bool(missing)
    # Where all are needlessly large, that is no reason: the smallest is left.
    by_size = not all(needless(each, m, n) for each in expected)
    reasons = [needless(each, m, n) for each in extra if by_size and needless(each, m, n)]
    shape = f"for a result of shape {(m, n)} prune"
    assert not wrong, ": ".join([f"{shape} {' and '.join(wrong)}", *reasons[:1]])
    assert got == expected, f"{shape} keeps the right candidates, but not once each in their order"


@exercise("prune")
def test_prune_leaves_out_what_does_not_fit():
    candidates = [TOO_MANY_BYTES, MIDDLE, TOO_MANY_SUMS, SMALL]
    check_prune(candidates, 1000, 1000, [MIDDLE, SMALL])


@exercise("prune")
def test_prune_keeps_the_smallest_of_those_that_fit():
    small_but_deep = config(64, 64, 128, stages=9)  # 288 KB
    check_prune([small_but_deep, MIDDLE], 1, 1, [MIDDLE])
    check_prune([HIGH, MIDDLE, small_but_deep], 0, 1000, [MIDDLE])


@exercise("prune")
def test_prune_asks_this_device(monkeypatch):
    four = config(128, 128, warps=8, stages=4)  # 128 KB
    candidates = [four, config(128, 256, warps=8, stages=4), MIDDLE]
    fitting = {day19.H200: candidates, day19.A100: [four, MIDDLE], day19.RTX_4090: [MIDDLE]}
    for device, expected in fitting.items():
        monkeypatch.setattr(day19, "this_device", lambda device=device: device)
        check_prune(candidates, 5000, 5000, expected)


@exercise("prune")
@pytest.mark.parametrize(
    "m, n, expected",
    [
        *[(65, 65, [MIDDLE, SMALL, WIDE]), (64, 65, [SMALL, WIDE]), (65, 64, [SMALL])],
        *[(128, 65, [MIDDLE, SMALL, WIDE]), (129, 65, [MIDDLE, HIGH, SMALL, WIDE])],
        *[(33, 33, [SMALL]), (1000, 33, [SMALL]), (33, 1000, [SMALL, WIDE])],
    ],
)
def test_prune_leaves_out_what_is_needlessly_large(m, n, expected):
    check_prune([MIDDLE, HIGH, SMALL, WIDE], m, n, expected)


@exercise("prune")
@pytest.mark.parametrize("m, n", [(1, 1), (32, 1000), (1000, 32), (0, 5), (5, 0), (0, 0)])
def test_prune_always_leaves_one(m, n):
    check_prune([TOO_MANY_SUMS, MIDDLE, WIDE, SMALL, HIGH], m, n, [SMALL])
    long = config(32, 256, 32)
    check_prune([MIDDLE, long], 1, 1, [long])  # fewer elements, though a longer side
    check_prune([HIGH], m, n, [HIGH])


@exercise("prune")
def test_prune_keeps_the_first_of_equals():
    low, shallow = config(128, 64), config(64, 64, 32)
    check_prune([HIGH, MIDDLE, low, WIDE], 1, 1, [low])  # as large as WIDE, and before it
    check_prune([SMALL, shallow], 1, 1, [SMALL])  # BLOCK_K does not count


@exercise("prune")
def test_prune_goes_by_rows_times_columns():
    deep, shallow = config(64, 64, 128), config(64, 128, 32)
    check_prune([deep, shallow], 1, 1, [deep])
    check_prune([shallow, deep], 1, 1, [deep])


@exercise("prune")
@pytest.mark.parametrize("by_name", [("m",), ("n",), ("m", "n", "k"), ("k",)], ids="-".join)
def test_prune_finds_sizes_however_they_were_given(by_name):
    check_prune([MIDDLE, SMALL, WIDE], 64, 1000, [SMALL, WIDE], by_name)


@exercise("prune")
def test_prune_refuses_when_nothing_fits():
    for candidates in ([TOO_MANY_BYTES], [TOO_MANY_SUMS, TOO_MANY_BYTES]):
        sizes = {"m": 1000, "n": 1000}
        refused(day19.prune, candidates, sizes, what="configurations of which none fits")


# tuner --------------------------------------------------------------------------------------


@pytest.fixture
def pruned(monkeypatch):
    """What was left at each choice of a configuration, in order."""
    found = []
    original = Autotuner.prune_configs

    def recording(self, kwargs):
        found.append(original(self, kwargs))
        return found[-1]

    monkeypatch.setattr(Autotuner, "prune_configs", recording)
    return found


def launch_tuner(a, b):
    m, n, k = a.shape[0], b.shape[1], a.shape[1]
    out = torch.empty(m, n, dtype=a.dtype, device=a.device)

    def grid(meta):
        return (math.ceil(m / meta["BLOCK_M"]) * math.ceil(n / meta["BLOCK_N"]),)

    day19.tuner()[grid](a, b, out, *a.stride(), *b.stride(), m, n, k)
    return out


def check_tuned(out, a, b, name="result"):
    k = max(a.shape[1], 1)
    close(out, a.double() @ b.double(), dtype=a.dtype, terms=k, scale=1.0, name=name)


@exercise("tuner", seconds=60)
def test_tuner_chooses_from_the_configurations():
    tuner = day19.tuner()
    assert isinstance(tuner, Autotuner), (
        f"tuner() returns a {type(tuner).__name__}, and no kernel under triton.autotune"
    )
    assert tuner.configs == day19.configs(), "the tuner has other configurations than configs()"
    kept = [*tuner.reset_to_zero, *tuner.restore_value]
    assert not kept, (
        f"{kept[0]} is reset or restored for the timing, though the kernel writes all of its "
        "result and reads nothing of it"
    )


@exercise("tuner", seconds=60)
def test_tuner_launches_the_kernel(rng):
    a, b = pair(rng, 40, 50, 70)
    out, seen = watch(launch_tuner, a, b)
    check_tuned(out, a, b)
    names = [launch.kernel for launch in seen.launches]
    assert names == ["matmul_grouped_kernel"], f"the tuner launched {names}"


@exercise("tuner", seconds=60)
def test_tuner_prunes(rng, pruned):
    for m, n in ((20, 60), (60, 140)):
        a, b = pair(rng, m, n, 19)
        launch_tuner(a, b)
        assert pruned, "no configurations were chosen from for a size that was not seen before"
        expected = day19.prune(day19.configs(), {"m": m, "n": n, "k": 19})
        assert pruned[-1] == expected, (
            f"{len(pruned[-1])} configurations are left to be timed for a result of shape "
            f"{(m, n)}, and prune leaves {len(expected)}"
        )


@exercise("tuner", seconds=60)
def test_tuner_chooses_once_for_each_size(rng, pruned):
    sizes = [(21, 22, 23), (24, 22, 23), (21, 25, 23), (21, 22, 26)]
    for m, n, k in sizes:
        before = len(pruned)
        launch_tuner(*pair(rng, m, n, k))
        assert len(pruned) == before + 1, (
            f"(m, n, k) = {(m, n, k)} took the configuration that was chosen for another size"
        )
    for m, n, k in sizes:
        before = len(pruned)
        launch_tuner(*pair(rng, m, n, k))
        assert len(pruned) == before, (
            f"(m, n, k) = {(m, n, k)} was tuned again, though this size had its configuration"
        )


@exercise("tuner", seconds=60)
def test_tuner_chooses_once_whatever_the_strides(rng, pruned):
    a, b = pair(rng, 31, 32, 33)
    launch_tuner(a, b)
    before = len(pruned)
    for left, right in ((a.T.contiguous().T, b), (a, b.T.contiguous().T)):
        launch_tuner(left, right)
        assert len(pruned) == before, (
            "(m, n, k) = (31, 32, 33) was tuned again for operands of other strides, though this "
            "size had its configuration"
        )


# matmul_autotuned ---------------------------------------------------------------------------


def check_autotuned(a, b, **options):
    out, seen = watch(day19.matmul_autotuned, a, b)
    name = options.get("name", "result")
    check_tuned(out, a, b, name)
    launch = one_launch(seen, out)
    if launch is None:
        return None
    meta = {constant: launch.meta.get(constant) for constant in CONSTANTS}
    assert meta in [each.kwargs for each in day19.configs()], (
        f"the kernel ran with {meta}, which is none of configs()"
    )
    m, n = out.shape
    programs = math.ceil(m / meta["BLOCK_M"]) * math.ceil(n / meta["BLOCK_N"])
    assert launch.programs == programs, (
        f"{launch.programs} programs were launched for a result of shape {(m, n)}, but the chosen "
        f"tiles of {meta['BLOCK_M']} x {meta['BLOCK_N']} make {programs}"
    )
    fills = [name for name in seen.operators if any(word in name for word in FILLS)]
    assert not (fills and out.numel()), (
        f"{fills[0]} filled memory: on a GPU that is a kernel of its own, besides the launch"
    )
    return meta


@exercise("matmul_autotuned", seconds=120)
@shapes(
    "m, n, k, dtype",
    *[(0, 5, 3, F16), (3, 0, 5, F16), (3, 70, 0, BF16), (1, 1, 1, F16), (65, 63, 17, BF16)],
    *[(30, 140, 200, F16), (130, 66, 64, BF16), (64, 128, 40, F16)],
    gpu=[(4096, 4096, 1000, BF16), (3001, 2999, 777, F16), (17, 5000, 1000, F16)],
)
def test_autotuned_matches_float64(m, n, k, dtype, rng):
    check_autotuned(*pair(rng, m, n, k, getattr(torch, dtype)))


@exercise("matmul_autotuned", seconds=120)
def test_autotuned_with_each_configuration(rng, monkeypatch):
    # Only one is left at a time, whatever prune says; each size is new, so that it is chosen.
    for i, each in enumerate(launchable()):
        monkeypatch.setattr(Autotuner, "prune_configs", lambda self, kwargs, each=each: [each])
        meta = check_autotuned(*pair(rng, 131 + i, 67, 70), name=f"result with {each}")
        assert meta == each.kwargs, f"the kernel ran with {meta}, though only {each} was left"


@exercise("matmul_autotuned", seconds=60)
def test_autotuned_chooses_once(rng, pruned):
    a, b = pair(rng, 27, 28, 29)
    for _ in range(3):
        check_autotuned(a, b)
    assert len(pruned) == 1, f"the same product was tuned {len(pruned)} times, and not once"
    check_autotuned(*pair(rng, 27, 28, 31))
    assert len(pruned) == 2, "a product with another K was not tuned"


@exercise("matmul_autotuned", seconds=60)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_autotuned_adds_in_float32(dtype, rng):
    a, b = pair(rng, 30, 20, 400, dtype)
    out = day19.matmul_autotuned(a, b)
    close(out, a.double() @ b.double(), dtype=dtype, terms=400, scale=1.0, factor=0.55)


@exercise("matmul_autotuned", seconds=120)
def test_autotuned_reads_any_strides(rng):
    a, b = pair(rng, 70, 66, 90)
    cases = [(f"{name} a", view, b) for name, view in layouts(a)]
    cases += [(f"{name} b", a, view) for name, view in layouts(b)]
    cases += [("repeated row as a", a[:1].expand(70, 90), b)]
    for name, left, right in cases:
        check_autotuned(left, right, name=f"matmul_autotuned with a {name}")


@exercise("matmul_autotuned", seconds=120)
def test_autotuned_reads_beyond_int32(rng):
    a, b = pair(rng, 3, 5, 4)
    check_autotuned(a, b)  # what is timed on a GPU is this one, not the views
    cases = [(f"{name} a", view, b) for name, view in far_apart(a)]
    cases += [(f"{name} b", a, view) for name, view in far_apart(b)]
    for name, left, right in cases:
        check_autotuned(left, right, name=f"matmul_autotuned with a {name}")


class NothingLaunched:
    """In the place of a tuner: what is not refused is accepted, whatever a kernel makes of it."""

    def __getitem__(self, grid):
        return lambda *args, **kwargs: None


@exercise("matmul_autotuned")
def test_autotuned_refuses(rng, monkeypatch):
    a, b = pair(rng, 4, 5, 6)
    monkeypatch.setattr(day19, "tuner", NothingLaunched)
    refused(day19.matmul_autotuned, a, b.T, what="6 columns times 5 rows")
    refused(day19.matmul_autotuned, a, b.bfloat16(), what="float16 times bfloat16")
    for dtype in (torch.float32, torch.float64, torch.int8, torch.int16):
        what = str(dtype).removeprefix("torch.")
        refused(day19.matmul_autotuned, a.to(dtype), b.to(dtype), what=what)
