import math
from collections import Counter

import pytest
import torch
from triton.tools.tensor_descriptor import TensorDescriptor

from harness.testing import close, compiled, exercise, far_apart, layouts, refused, shapes, watch
from tracks.triton import day17, day21

F32, F16, BF16 = "float32", "float16", "bfloat16"
HALVES = [torch.float16, torch.bfloat16]
nan, inf = float("nan"), float("inf")
TABLE = ["to_copy"]  # torch.tensor(table, device=...) moves it to a GPU by this operator
SIZES = [(0, 5, 3, F32), (3, 0, 5, F16), (3, 70, 0, F16), (1, 1, 1, F16), (65, 63, 17, F32)]
SIZES += [(130, 129, 70, BF16), (64, 128, 64, F16), (70, 3, 129, F32)]
LARGE = [(4096, 4096, 4096, BF16), (3001, 2999, 777, F16), (8192, 1024, 1000, BF16)]


def check_launch(seen, outs, programs, more_bytes=0):
    """One launch of so many programs, no memory besides the results' (and more_bytes)."""
    for out in outs:
        assert out.is_contiguous(), f"a result has the strides {out.stride()}, not contiguous ones"
    size = sum(out.numel() * out.element_size() for out in outs)
    assert seen.peak_bytes <= size + more_bytes + 1024, (
        f"the results take {size} bytes, but {seen.peak_bytes} were allocated: is an input copied, "
        "or an intermediate result stored?"
    )
    if not (programs or seen.launches):
        return
    assert len(seen.launches) == 1, f"expected 1 kernel launch, saw {len(seen.launches)}"
    (launch,) = seen.launches
    assert math.prod(launch.grid[1:]) == 1, f"the grid {launch.grid} has more than one axis"
    assert launch.programs == programs, (
        f"{launch.programs} programs were launched, and not {programs}"
    )


def tiles_of(m, n, config):
    return math.ceil(m / config["BLOCK_M"]) * math.ceil(n / config["BLOCK_N"])


def large_config():
    return day17._config(8192, 8192, 2)


def uneven(m, n, element_size):
    """In day 17's _config's place: small tiles, of unequal sides for 2048 elements and more."""
    sides = {"BLOCK_M": 16, "BLOCK_N": 32 if m * n >= 2048 else 16, "BLOCK_K": 128 // element_size}
    return {**sides, "num_warps": 4, "num_stages": 2}


def check_compiled(launch, tma=False):
    """What the compiler makes of a kernel for sm_90; launch() runs one program of each form."""
    for report in compiled(launch):
        check_report(report, tma)


def check_report(report, tma):
    assert report.refused is None, f"the compiler refuses the kernel: {report.refused.text()}"
    assert report.spill_bytes == 0, f"the kernel spills {report.spill_bytes} bytes a thread"
    assert report.shared_bytes <= report.shared_limit, (
        f"{report.shared_bytes} bytes of shared memory exceed the chip's {report.shared_limit}"
    )
    assert "wgmma" in str(report.tensor_core), (
        f"the product is computed by {report.tensor_core or 'no tensor core'}, and not by wgmma"
    )
    if tma:
        assert report.tma, "the kernel does not use the TMA: nothing goes through descriptors"
        assert not report.loads and not report.stores, (
            f"beside the TMA's there are loads {report.loads} and stores {report.stores} (width in "
            "bits: number): operands and result go through descriptors here"
        )
    else:
        # Single numbers, as those of a table, are 32 or 64 bits wide.
        assert report.widest_load_bits == 128 and min(report.loads) >= 32, (
            f"loads (width in bits: number) are {report.loads}: neighbouring lanes do not touch "
            "neighbouring addresses, or the compiler cannot see that they do"
        )
        assert report.widest_store_bits == 128, (
            f"stores are {report.widest_store_bits} bits wide: the compiler cannot see that "
            "neighbouring lanes touch neighbouring addresses"
        )


def pair(rng, m, n, k, dtype=torch.float16):
    return rng.normal(m, k, dtype=dtype), rng.normal(k, n, dtype=dtype)


def views(make, a, b):
    """Each operand in each layout that ``make`` yields, the other as it is."""
    cases = [(f"{name} a", view, b) for name, view in make(a)]
    return cases + [(f"{name} b", a, view) for name, view in make(b)]


# batched_matmul -----------------------------------------------------------------------------


def check_batched(a, b, values=None, **options):
    """``values``: what a and b hold, where the memory around them is too large to be converted."""
    out, seen = watch(day21.batched_matmul, a, b)
    left, right = values or (a, b)
    expected = left.double() @ right.double()
    options = {"scale": 1.0, "terms": max(a.shape[-1], 1)} | options
    close(out, expected, dtype=a.dtype, tile=(1, 1, 64, 64)[-out.dim() :], **options)
    m, n = out.shape[-2:]
    matrices = math.prod(out.shape[:-2])
    config = day21._config_of({(m, n): matrices}, a.element_size())
    check_launch(seen, [out], matrices * tiles_of(m, n, config))


@exercise("batched_matmul")
def test_batched_refuses(rng):
    a, b = rng.normal(2, 4, 6, dtype=torch.float16), rng.normal(2, 6, 5, dtype=torch.float16)
    refused(day21.batched_matmul, a, b.transpose(1, 2), what="6 columns times 5 rows")
    refused(day21.batched_matmul, a, b.float(), what="float16 times float32")
    refused(day21.batched_matmul, a, b[:1].expand(3, 6, 5), what="batches of 2 and of 3")
    refused(day21.batched_matmul, a.expand(1, 3, 2, 4, 6), b, what="an a of five axes")
    refused(day21.batched_matmul, a, b.expand(1, 3, 2, 6, 5), what="a b of five axes")
    refused(day21.batched_matmul, a[0, 0], b, what="a vector as a")
    refused(day21.batched_matmul, a, b[0, :, 0], what="a vector as b")


@exercise("batched_matmul")
@shapes(
    "a_batch, b_batch",
    *[((2,), (2,)), ((3,), (1,)), ((1,), (3,)), ((), (2,)), ((2,), ()), ((), ())],
    *[((2, 3), (2, 3)), ((2, 1), (3,)), ((3,), (2, 1)), ((1, 3), (2, 1)), ((), (2, 3))],
    *[((0,), (1,)), ((2, 0), (2, 1)), ((1, 1), (1, 1))],
)
def test_batched_broadcasts(a_batch, b_batch, rng):
    a = rng.normal(*a_batch, 5, 20, dtype=torch.float16)
    check_batched(a, rng.normal(*b_batch, 20, 7, dtype=torch.float16))


@exercise("batched_matmul")
@shapes("m, n, k, dtype", *SIZES)
def test_batched_matches_float64(m, n, k, dtype, rng):
    dtype = getattr(torch, dtype)
    check_batched(rng.normal(2, m, k, dtype=dtype), rng.normal(2, k, n, dtype=dtype))


@exercise("batched_matmul")
@shapes("batch, m, n, k", gpu=[(16, 1024, 1024, 1024), (33, 515, 1021, 77), (4096, 64, 64, 64)])
def test_batched_of_large_batches(batch, m, n, k, rng):
    a = rng.normal(batch, m, k, dtype=torch.bfloat16)
    check_batched(a, rng.normal(batch, k, n, dtype=torch.bfloat16))


@exercise("batched_matmul")
@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_batched_adds_in_float32(dtype, rng):
    a, b = rng.normal(2, 30, 700, dtype=dtype), rng.normal(2, 700, 20, dtype=dtype)
    check_batched(a, b, factor=0.55)


@exercise("batched_matmul")
def test_batched_reads_any_strides(rng):
    a, b = rng.normal(2, 20, 70, dtype=torch.float16), rng.normal(2, 70, 30, dtype=torch.float16)
    for name, left, right in views(layouts, a, b):
        check_batched(left, right, name=f"batched_matmul with a {name}")
    check_batched(a.expand(3, 2, 20, 70), b, name="batched_matmul with an expanded a")
    check_batched(a[:, :1].expand(2, 20, 70), b, name="batched_matmul with a repeated row as a")


@exercise("batched_matmul")
def test_batched_reads_heads_where_they_lie(rng):
    # (batch, position, head, channel), as attention's projections leave it: the axes of the batch
    # are not next to each other in memory.
    q, k = (rng.normal(2, 9, 3, 20, dtype=torch.float16).transpose(1, 2) for _ in range(2))
    check_batched(q, k.transpose(-1, -2))
    check_batched(q, k[:, :1].transpose(-1, -2))  # one head of keys for all heads of queries


@exercise("batched_matmul")
def test_batched_reads_beyond_int32(rng):
    a, b = rng.normal(3, 3, 4, 5, dtype=torch.float16), rng.normal(3, 1, 5, 3, dtype=torch.float16)
    for name, left, right in views(far_apart, a, b):
        name = f"batched_matmul with a {name}"
        check_batched(left, right, values=(a, b), name=name)


@exercise("batched_matmul", gpu=True)
@shapes("batch, m", gpu=[(40_000, 256)])
def test_batched_writes_beyond_int32(batch, m, rng):
    a, b = rng.normal(batch, m, 3, dtype=torch.float16), rng.normal(3, m, dtype=torch.float16)
    out = day21.batched_matmul(a, b)
    close(out[-2:], a[-2:].double() @ b.double(), dtype=a.dtype, terms=3, scale=1.0)


@exercise("batched_matmul")
def test_batched_keeps_each_matrix_for_itself(rng):
    a, b = rng.normal(3, 66, 20).clone(), rng.normal(3, 20, 65).clone()
    a[1], b[2, 3, 5] = nan, inf
    check_batched(a, b)


@exercise("batched_matmul")
def test_batched_in_tiles_of_unequal_sides(rng, monkeypatch):
    # Four matrices of one tile each. Fewer of them, or of 32 x 16, would get tiles of 16 x 16.
    monkeypatch.setattr(day21, "_config", uneven)
    a = rng.normal(2, 2, 16, 20, dtype=torch.float16)
    check_batched(a, rng.normal(2, 2, 20, 32, dtype=torch.float16))


@exercise("batched_matmul")
def test_batched_compiles_to_tensor_cores(rng):
    a, b = pair(rng, 128, 256, 64, torch.bfloat16)
    out = torch.empty(128, 256, dtype=a.dtype, device=a.device)

    def launch():
        strides = (128 * 64, 64 * 128, *a.stride(), 0, 64 * 256, *b.stride())
        day21.batched_matmul_kernel[(1,)](
            a, b, out, *strides, 2, 128, 256, 64, BAND=8, **large_config()
        )

    check_compiled(launch)


# grouped_matmul -----------------------------------------------------------------------------


def check_grouped(groups, values=None, name="", **options):
    outs, seen = watch(day21.grouped_matmul, groups)
    assert isinstance(outs, (list, tuple)) and len(outs) == len(groups), (
        f"grouped_matmul is to return a list of {len(groups)} tensors, one a group"
    )
    options = {"tile": (64, 64), "scale": 1.0} | options
    for i, ((a, b), out) in enumerate(zip(values or groups, outs, strict=True)):
        terms, named = max(a.shape[1], 1), f"result of group {i}{name}"
        close(out, a.double() @ b.double(), dtype=a.dtype, terms=terms, name=named, **options)
    if not groups:
        return
    shapes = [(len(a), b.shape[1]) for a, b in groups]
    config = day21._config_of(Counter(shapes), groups[0][0].element_size())
    programs = sum(tiles_of(m, n, config) for m, n in shapes)
    check_launch(seen, outs, programs, 256 * len(groups))


@exercise("grouped_matmul", allow=TABLE)
def test_grouped_refuses(rng):
    good = pair(rng, 4, 5, 6)
    for place in (0, 1):
        for bad, what in (
            ((good[0], good[1].T), "6 columns times 5 rows"),
            ((good[0], good[1].float()), "float16 times float32"),
            ((good[0].float(), good[1].float()), "a group of float32 after one of float16"),
        ):
            groups = [good, good]
            groups[place] = bad
            refused(day21.grouped_matmul, groups, what=what)


@exercise("grouped_matmul", allow=TABLE)
@pytest.mark.parametrize("dtype", [F32, F16, BF16])
def test_grouped_of_unequal_sizes(dtype, rng):
    sizes = [(70, 50, 30), (5, 130, 65), (1, 1, 1), (65, 3, 129), (64, 64, 64)]
    check_grouped([pair(rng, *size, getattr(torch, dtype)) for size in sizes])


@exercise("grouped_matmul", allow=TABLE)
def test_grouped_with_empty_groups(rng):
    sizes = [(0, 5, 3), (70, 50, 30), (3, 0, 4), (0, 0, 0), (5, 66, 20), (7, 6, 0), (0, 2, 0)]
    check_grouped([pair(rng, *size) for size in sizes])


@exercise("grouped_matmul", allow=TABLE)
def test_grouped_of_nothing(rng):
    check_grouped([])
    check_grouped([pair(rng, 0, 5, 3)])
    check_grouped([pair(rng, 0, 5, 3), pair(rng, 4, 0, 2)])


@exercise("grouped_matmul", allow=TABLE)
@pytest.mark.parametrize("count", [1, 3, 17])
def test_grouped_of_any_number(count, rng):
    check_grouped([pair(rng, 3 + i % 3, 1 + i, 5) for i in range(count)])


@exercise("grouped_matmul", allow=TABLE)
@shapes("count, m, n, k", gpu=[(64, 128, 1024, 1024), (200, 16, 256, 128), (8, 2048, 1024, 512)])
def test_grouped_of_experts(count, m, n, k, rng):
    # Some experts get no token, some get several times as many as others.
    check_grouped([pair(rng, i % 5 * m // 2, n, k, torch.bfloat16) for i in range(count)])


@exercise("grouped_matmul", allow=TABLE)
@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_grouped_adds_in_float32(dtype, rng):
    check_grouped([pair(rng, 30, 20, 700, dtype), pair(rng, 20, 32, 640, dtype)], factor=0.55)


@exercise("grouped_matmul", allow=TABLE)
def test_grouped_of_aligned_groups(rng):
    # Rows of 16s of elements everywhere: what the kernel may be told. Then one group of others.
    sizes = [(70, 48, 32), (5, 128, 80), (0, 16, 16), (3, 16, 0)]
    groups = [pair(rng, *size) for size in sizes]
    check_grouped(groups)
    check_grouped([*groups, pair(rng, 9, 17, 32)])
    check_grouped([pair(rng, 9, 32, 17), *groups])


@exercise("grouped_matmul", allow=TABLE)
def test_grouped_reads_any_strides(rng):
    cases = views(layouts, *pair(rng, 20, 32, 48))
    names = ", ".join(name for name, *_ in cases)
    check_grouped([operands for _, *operands in cases], name=f" (groups have a {names})")


@exercise("grouped_matmul", allow=TABLE)
def test_grouped_reads_beyond_int32(rng):
    a, b = pair(rng, 3, 4, 5)
    cases = views(far_apart, a, b)
    names = ", ".join(name for name, *_ in cases)
    groups = [operands for _, *operands in cases]
    check_grouped(groups, values=[(a, b)] * len(groups), name=f" (groups have a {names})")


@exercise("grouped_matmul", allow=TABLE)
def test_grouped_keeps_each_group_for_itself(rng):
    groups = [pair(rng, *size) for size in ((66, 20, 30), (20, 66, 30), (30, 20, 66))]
    groups[1] = (torch.full_like(groups[1][0], nan), groups[1][1])
    check_grouped(groups)


@exercise("grouped_matmul", allow=TABLE)
def test_grouped_compiles_to_tensor_cores(rng, monkeypatch):
    groups = [pair(rng, 128, 256, 64, torch.bfloat16), pair(rng, 5, 16, 32, torch.bfloat16)]
    monkeypatch.setattr(day21, "_config_of", lambda *sizes: large_config())
    check_compiled(lambda: day21.grouped_matmul(groups))


# matmul_persistent --------------------------------------------------------------------------


def check_persistent(f, a, b, programs=None, values=None, **options):
    out, seen = watch(f, a, b, *(() if programs is None else (programs,)))
    left, right = values or (a, b)
    options = {"tile": (64, 64), "scale": 1.0, "terms": max(a.shape[1], 1)} | options
    close(out, left.double() @ right.double(), dtype=a.dtype, **options)
    config = day21._config(*out.shape, a.element_size())
    programs = day21._multiprocessors() if programs is None else programs
    check_launch(seen, [out], min(programs, tiles_of(*out.shape, config)))
    return seen


@exercise("matmul_persistent")
def test_persistent_refuses(rng):
    a, b = pair(rng, 4, 5, 6)
    refused(day21.matmul_persistent, a, b.T, what="6 columns times 5 rows")
    refused(day21.matmul_persistent, a, b.float(), what="float16 times float32")
    for programs in (0, -1):
        refused(day21.matmul_persistent, a, b, programs, what=f"{programs} programs")


@exercise("matmul_persistent")
@shapes("m, n, k, dtype", *SIZES, gpu=LARGE)
def test_persistent_matches_float64(m, n, k, dtype, rng):
    check_persistent(day21.matmul_persistent, *pair(rng, m, n, k, getattr(torch, dtype)))


@exercise("matmul_persistent")
@pytest.mark.parametrize("programs", [1, 2, 3, 5, 9, 10, 132, 1000])
def test_persistent_with_any_number_of_programs(programs, rng):
    check_persistent(day21.matmul_persistent, *pair(rng, 180, 150, 20), programs)


@exercise("matmul_persistent")
@shapes("programs", gpu=[1, 7, 100, 132, 5000])
def test_persistent_of_many_tiles(programs, rng):
    a, b = pair(rng, 2000, 3001, 100, torch.bfloat16)
    check_persistent(day21.matmul_persistent, a, b, programs)


@exercise("matmul_persistent")
@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_persistent_adds_in_float32(dtype, rng):
    # Two tiles for each program: neither may begin with the other's sums.
    a, b = pair(rng, 30, 130, 700, dtype)
    check_persistent(day21.matmul_persistent, a, b, 2, factor=0.55)


@exercise("matmul_persistent")
def test_persistent_reads_any_strides(rng):
    for name, left, right in views(layouts, *pair(rng, 70, 66, 90)):
        name = f"matmul_persistent with a {name}"
        check_persistent(day21.matmul_persistent, left, right, 3, name=name)


@exercise("matmul_persistent")
def test_persistent_reads_beyond_int32(rng):
    a, b = pair(rng, 3, 4, 5)
    for name, left, right in views(far_apart, a, b):
        name = f"matmul_persistent with a {name}"
        check_persistent(day21.matmul_persistent, left, right, values=(a, b), name=name)


@exercise("matmul_persistent", gpu=True)
@shapes("m, n", gpu=[(70_000, 40_000)])
def test_persistent_writes_beyond_int32(m, n, rng):
    a, b = pair(rng, m, n, 3)
    out = day21.matmul_persistent(a, b)
    close(out[-3:], a[-3:].double() @ b.double(), dtype=a.dtype, terms=3, scale=1.0)


@exercise("matmul_persistent")
@shapes("m, n", (70, 100), (128, 96))
def test_persistent_in_tiles_of_unequal_sides(m, n, rng, monkeypatch):
    # The second result is one whole band of tiles: there is no tile beyond its last one.
    monkeypatch.setattr(day21, "_config", uneven)
    a, b = pair(rng, m, n, 20)
    name = "result in tiles of 16 x 32"
    check_persistent(day21.matmul_persistent, a, b, tile=(16, 32), name=name)


def check_once(launch, rng):
    """``launch(a, b, out)`` runs two programs on five tiles of 16 whole rows each."""
    a, b = rng.normal(80, 32, dtype=torch.float16).clone(), torch.eye(32, device=rng.device).half()
    expected = 2 * a.double()
    launch(a, 2 * b, a)  # in place: a tile that is computed again is doubled again
    name = "a, doubled in place by two programs"
    close(a, expected, dtype=a.dtype, tile=(16, 32), name=name)


@exercise("matmul_persistent")
def test_persistent_computes_each_tile_once(rng):
    def launch(a, b, out):
        blocks = {"BLOCK_M": 16, "BLOCK_N": 32, "BLOCK_K": 32}
        day21.matmul_persistent_kernel[(2,)](
            a, b, out, *a.stride(), *b.stride(), 80, 32, 32, BAND=8, **blocks
        )

    check_once(launch, rng)


@exercise("matmul_persistent")
def test_persistent_compiles_to_tensor_cores(rng):
    a, b = pair(rng, 128, 256, 64, torch.bfloat16)
    out = torch.empty(128, 256, dtype=a.dtype, device=a.device)

    def launch():
        day21.matmul_persistent_kernel[(1,)](
            a, b, out, *a.stride(), *b.stride(), 128, 256, 64, BAND=8, **large_config()
        )

    check_compiled(launch)


# matmul_tma ---------------------------------------------------------------------------------


def padded(x, transposed=False):
    """x's values in rows (or columns) that begin at multiples of 16 bytes, nan between them."""
    rows, columns = x.T.shape if transposed else x.shape
    step = 16 // x.element_size()
    room = (columns // step + 1) * step
    view = torch.full((rows, room), nan, dtype=x.dtype, device=x.device)[:, :columns]
    view = view.T if transposed else view
    return view.copy_(x)


@exercise("matmul_tma")
def test_tma_refuses(rng):
    a, b = pair(rng, 8, 16, 24)
    refused(day21.matmul_tma, a, b.T, what="24 columns times 16 rows")
    refused(day21.matmul_tma, a, b.float(), what="float16 times float32")
    for programs in (0, -1):
        refused(day21.matmul_tma, a, b, programs, what=f"{programs} programs")


@exercise("matmul_tma")
@shapes(
    "what, strides, offset",
    *[("begins at byte 2", (40, 1), 1), ("begins at byte 8", (40, 1), 4)],
    *[("has rows 82 bytes apart", (41, 1), 0), ("has rows 88 bytes apart", (44, 1), 0)],
    *[("has no contiguous axis", (80, 2), 0), ("has columns 50 bytes apart", (1, 25), 0)],
    *[("repeats one row", (0, 1), 0), ("has rows that overlap", (8, 1), 0)],
    *[("has columns that overlap", (1, 16), 0), ("has gaps along both axes", (2, 48), 0)],
)
def test_tma_refuses_what_cannot_be_described(what, strides, offset, rng):
    memory = torch.zeros(2000, dtype=torch.float16, device=rng.device)
    x = memory.as_strided((24, 40), strides, offset)
    left, right = rng.normal(16, 24, dtype=x.dtype), rng.normal(40, 16, dtype=x.dtype)
    refused(day21.matmul_tma, x, right, what=f"an a that {what}")
    refused(day21.matmul_tma, left, x, what=f"a b that {what}")


@exercise("matmul_tma")
@shapes("n, dtype", (36, F16), (34, BF16), (6, F32), (1, F16))
def test_tma_refuses_results_that_cannot_be_described(n, dtype, rng):
    a, b = pair(rng, 16, n, 24, getattr(torch, dtype))
    what = f"a result whose rows have {n} elements of {dtype}"
    refused(day21.matmul_tma, a, padded(b), what=what)
    refused(day21.matmul_tma, a, padded(b, transposed=True), what=what)


@exercise("matmul_tma")
@shapes("m, n, k", (0, 8, 8), (3, 0, 8), (3, 5, 0), (0, 0, 0))
def test_tma_of_nothing(m, n, k, rng):
    a, b = pair(rng, m, n, k)
    out, seen = watch(day21.matmul_tma, a, b)
    close(out, a.double() @ b.double(), dtype=a.dtype, scale=1.0)
    assert len(seen.launches) <= 1, f"{len(seen.launches)} launches for an empty product"


@exercise("matmul_tma")
@shapes(
    "m, n, k, dtype",
    *[(1, 8, 8, F16), (65, 64, 16, F32), (3, 136, 72, F16), (130, 128, 64, BF16)],
    *[(70, 4, 132, F32), (64, 200, 24, F16)],
    gpu=[(4096, 4096, 4096, BF16), (3001, 3000, 776, F16), (8192, 1024, 1000, BF16)],
)
def test_tma_matches_float64(m, n, k, dtype, rng):
    check_persistent(day21.matmul_tma, *pair(rng, m, n, k, getattr(torch, dtype)))


@exercise("matmul_tma")
@pytest.mark.parametrize("b_transposed", [False, True])
@pytest.mark.parametrize("a_transposed", [False, True])
@shapes("m, n, k", (70, 72, 1), (131, 8, 65), (5, 64, 130))
def test_tma_reads_padded_operands_either_way(m, n, k, a_transposed, b_transposed, rng):
    # Odd sizes, and nan beyond them: the edges of a block are 0 only if the descriptor says so.
    a, b = pair(rng, m, n, k)
    left, right = padded(a, a_transposed), padded(b, b_transposed)
    name = "result" if not (a_transposed or b_transposed) else "result of transposed operands"
    check_persistent(day21.matmul_tma, left, right, 2, values=(a, b), name=name)


@exercise("matmul_tma")
@pytest.mark.parametrize("programs", [1, 2, 3, 5, 9, 10, 132])
def test_tma_with_any_number_of_programs(programs, rng):
    check_persistent(day21.matmul_tma, *pair(rng, 180, 152, 24), programs)


@exercise("matmul_tma")
@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_tma_adds_in_float32(dtype, rng):
    check_persistent(day21.matmul_tma, *pair(rng, 30, 136, 704, dtype), 2, factor=0.55)


@exercise("matmul_tma")
def test_tma_keeps_nan_and_infinity_in_their_places(rng):
    a, b = (x.clone() for x in pair(rng, 70, 72, 40, torch.float32))
    a[3, 39], a[69, 0], b[7, 5], b[39, 65] = nan, inf, nan, -inf
    check_persistent(day21.matmul_tma, a, b)


@exercise("matmul_tma")
def test_tma_reads_beyond_int32(rng):
    a, b = pair(rng, 5, 8, 8)
    apart = 2**29 + 64  # elements from one of five rows to the next
    if a.is_cuda and torch.cuda.mem_get_info()[0] < 9 * apart:
        pytest.skip(f"needs {9 * apart / 1e9:.1f} GB of free GPU memory")
    far = torch.empty(4 * apart + 8, dtype=a.dtype, device=a.device).as_strided((5, 8), (apart, 1))
    far.copy_(a)
    check_persistent(day21.matmul_tma, far, b, values=(a, b), name="product with distant rows of a")
    name = "product with distant columns of a"
    check_persistent(day21.matmul_tma, far.T, far, values=(a.T, a), name=name)


@exercise("matmul_tma")
@pytest.mark.parametrize("transposed", [False, True])
def test_tma_in_tiles_of_unequal_sides(transposed, rng, monkeypatch):
    monkeypatch.setattr(day21, "_config", uneven)
    a, b = pair(rng, 70, 104, 24)
    left, right = padded(a, transposed), padded(b, transposed)
    options = {"tile": (16, 32), "name": "result in tiles of 16 x 32"}
    check_persistent(day21.matmul_tma, left, right, values=(a, b), **options)


@exercise("matmul_tma")
def test_tma_computes_each_tile_once(rng):
    def launch(a, b, out):
        day21.matmul_tma_kernel[(2,)](
            TensorDescriptor.from_tensor(a, [16, 32]),
            TensorDescriptor.from_tensor(b, [32, 32]),
            TensorDescriptor.from_tensor(out, [16, 16]),
            *(80, 32, 32),
            BLOCK_M=16,
            BLOCK_N=32,
            BLOCK_K=32,
            BAND=8,
            A_TRANSPOSED=False,
            B_TRANSPOSED=False,
        )

    check_once(launch, rng)


@exercise("matmul_tma")
def test_tma_compiles_to_tensor_cores(rng):
    a, b = pair(rng, 128, 256, 64, torch.bfloat16)
    config = large_config()
    m, n, k = config["BLOCK_M"], config["BLOCK_N"], config["BLOCK_K"]
    out = torch.empty(m, n, dtype=a.dtype, device=a.device)

    def launch():
        for a_transposed in (False, True):
            for b_transposed in (False, True):
                left = (a[:m, :k].T if a_transposed else a[:m, :k]).contiguous()
                right = (b[:k, :n].T if b_transposed else b[:k, :n]).contiguous()
                day21.matmul_tma_kernel[(1,)](
                    TensorDescriptor.from_tensor(left, list(left.shape)),
                    TensorDescriptor.from_tensor(right, list(right.shape)),
                    TensorDescriptor.from_tensor(out, [m, n // 2]),
                    *(m, n, k),
                    BAND=8,
                    A_TRANSPOSED=a_transposed,
                    B_TRANSPOSED=b_transposed,
                    **config,
                )

    check_compiled(launch, tma=True)
