import inspect
import math

import pytest
import torch

from harness.testing import close, compiled, exercise, refused, shapes, watch
from tracks.triton import day05

BLOCK = 1024
DTYPES = [torch.float32, torch.float16, torch.bfloat16]
HALF = [torch.float16, torch.bfloat16]
GUARD = 3  # elements of foreign memory on either side of an input


def surrounded(values, foreign):
    """The same values in the middle of memory that must not be used."""
    n = values.numel()
    memory = torch.full((n + 2 * GUARD,), foreign, dtype=values.dtype, device=values.device)
    memory[GUARD : GUARD + n] = values.flatten()
    return memory[GUARD : GUARD + n].view(values.shape)


def assert_launches(seen, *expected):
    """So many launches, each of so many programs."""
    programs = [launch.programs for launch in seen.launches]
    assert len(programs) == len(expected), (
        f"expected {len(expected)} kernel launch{'es' if len(expected) > 1 else ''}, "
        f"saw {len(programs)}"
    )
    assert programs == list(expected), f"launched {programs} programs, expected {list(expected)}"


# block_max ----------------------------------------------------------------------------------


@exercise("block_max")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@shapes("n", 1, 127, 128, 16_384)
def test_max_matches(n, dtype, rng):
    x = rng.normal(n, dtype=dtype, mean=-20)  # padding with 0 would win
    close(day05.block_max(x), x.max())


@exercise("block_max")
def test_max_wherever_it_stands(rng):
    for place in (0, 1, 31, 98, 99):
        x = rng.normal(100).clone()
        x[place] = 100.0
        close(day05.block_max(x), torch.tensor(100.0, device=x.device), name=f"x[{place}] = 100")


@exercise("block_max")
def test_max_uses_nothing_but_x(rng):
    x = rng.normal(3, 33)
    close(day05.block_max(surrounded(x, 1e9)), x.max(), name="the maximum of a view")


@exercise("block_max")
def test_max_of_infinities(device):
    x = torch.full((5,), -torch.inf, device=device)
    close(day05.block_max(x), x[0], name="the maximum of nothing but -inf")
    x[3] = -3e38
    close(day05.block_max(x), x[3], name="the maximum of -inf and -3e38")
    x[1] = torch.inf
    close(day05.block_max(x), x[1], name="the maximum with +inf")


@exercise("block_max")
def test_max_is_one_program(rng):
    x = rng.normal(3000)
    out, seen = watch(day05.block_max, x)
    close(out, x.max())
    assert_launches(seen, 1)


@exercise("block_max")
@pytest.mark.parametrize("n", [0, 16_385])
def test_max_refuses(n, device):
    refused(day05.block_max, torch.zeros(n, device=device), what=f"{n} elements")


# block_sums ---------------------------------------------------------------------------------


def sums64(x, block):
    """Expected sums, and the magnitude of what is summed up in each block."""
    x = x.double().flatten()
    x = torch.nn.functional.pad(x, (0, -x.numel() % block)).view(-1, block)
    return x.sum(1), x.square().mean(1).sqrt()


def close_sums(actual, x, block, **options):
    expected, scale = sums64(x, block)
    close(actual, expected, dtype=torch.float32, terms=block, scale=scale, tile=1, **options)


@exercise("block_sums")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@shapes(
    "n, block",
    *[(0, 64), (63, 64), (65, 64), (300, 1), (5000, 4096)],
    gpu=[(10_000_001, 8192)],
)
def test_sums_match(n, block, dtype, rng):
    x = rng.normal(n + 1, dtype=dtype, mean=1)[:n]
    close_sums(day05.block_sums(x, block), x, block)


@exercise("block_sums")
def test_sums_use_nothing_but_x(rng):
    x = rng.normal(3, 5, 7)
    close_sums(day05.block_sums(surrounded(x, 1e9), 32), x, 32)


@exercise("block_sums")
@pytest.mark.parametrize("dtype", HALF, ids=str)
def test_sums_are_float32_inside(dtype, rng):
    x = rng.uniform(3000, low=50, high=100, dtype=dtype)  # sums beyond float16's 65504
    close_sums(day05.block_sums(x, 1024), x, 1024)


@exercise("block_sums")
@shapes("n, block", (1, 16), (64, 16), (65, 16), (100, 32))
def test_sums_launch_a_program_for_each_block(n, block, rng):
    x = rng.normal(n)
    out, seen = watch(day05.block_sums, x, block)
    close_sums(out, x, block)
    assert_launches(seen, math.ceil(n / block))


# total --------------------------------------------------------------------------------------


def close_total(actual, x, **options):
    expected = x.double().sum()
    scale = x.double().abs().sum() / max(x.numel(), 1)
    close(actual, expected, dtype=torch.float32, terms=max(x.numel(), 1), scale=scale, **options)


@exercise("total")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@shapes("n", 0, 1, 1025, 20_000, gpu=[2**27 + 1])
def test_total_matches(n, dtype, rng):
    x = rng.normal(n + 1, dtype=dtype)[:n]
    close_total(day05.total(x), x)


@exercise("total")
def test_total_uses_nothing_but_x(rng):
    x = rng.normal(7, 300)
    close_total(day05.total(surrounded(x, 1e9)), x)


@exercise("total")
@pytest.mark.parametrize("dtype", HALF, ids=str)
def test_total_is_float32_inside(dtype, rng):
    x = rng.uniform(5000, low=50, high=100, dtype=dtype)
    close(day05.total(x), x.double().sum(), dtype=torch.float32)


@exercise("total")
@shapes("n", 1, 1025, 70_000, gpu=[2**30])
def test_total_rounds_like_a_tree(n, rng):
    # Equal numbers are the worst case for adding one after the other: within a power of two every
    # addition rounds the same way. A tree doubles them, which is exact.
    x = rng.uniform(1, low=0.1, high=0.9).expand(n).contiguous()
    close(day05.total(x), x[0].double() * n, dtype=torch.float32)


@exercise("total")
def test_total_does_not_add_one_by_one(rng):
    # float32 numbers beyond 2**24 lie 2 apart: whoever adds small ones to it singly adds nothing.
    x = (rng.uniform(1, low=0.8, high=1.0) / 2048).repeat(70_000)
    x[0] = 2.0**24
    close(day05.total(x), x.double().sum(), dtype=torch.float32, name="2**24 and small numbers")


@exercise("total")
def test_total_is_two_launches(rng):
    x = rng.normal(50_000)
    out, seen = watch(day05.total, x)
    close_total(out, x)
    assert len(seen.launches) == 2, f"expected 2 kernel launches, saw {len(seen.launches)}"
    first, second = (launch.programs for launch in seen.launches)
    assert first > 1, "the first launch has one program, which must read everything by itself"
    assert second == 1, (
        f"the second launch has {second} programs: then somebody still has to combine their sums"
    )
    assert seen.peak_bytes <= x.numel(), (
        f"{seen.peak_bytes} bytes were allocated to sum {x.numel()} elements: "
        "the partial sums should be few"
    )


@exercise("total")
def test_total_of_many_elements_leaves_few_partial_sums(device):
    # 2**18 + 1 elements: with blocks of 1024, a second block of 256 would not hold the sums.
    x = torch.ones(2**18 + 1, device=device)
    x[-1] = 0.5
    close(day05.total(x), torch.tensor(2.0**18 + 0.5, device=device))


class OverX:
    """Takes a kernel's place: a launch over x is noted, and others run.

    A billion elements would take the interpreter minutes. What the programs of the first launch
    write is replaced by numbers of our own; whether the second one adds up all of them shows.
    """

    def __init__(self, kernel, x, numbers, launches):
        self.kernel, self.x, self.numbers, self.launches = kernel, x, numbers, launches
        self.parameters = inspect.signature(kernel.fn).parameters

    def __getitem__(self, grid):
        def launch(*args, **options):
            named = dict(zip(self.parameters, args, strict=False)) | options
            tensors = [t for t in named.values() if isinstance(t, torch.Tensor)]
            programs = math.prod(grid(named) if callable(grid) else grid)
            constants = {k: v for k, v in named.items() if k.isupper() and isinstance(v, int)}
            over_x = any(t.data_ptr() == self.x.data_ptr() for t in tensors)
            self.launches.append((over_x, programs, constants))
            if not over_x:
                return self.kernel[grid](*args, **options)
            for t in tensors:
                if t.data_ptr() != self.x.data_ptr():
                    count = min(programs, t.numel(), self.numbers.numel())
                    t.view(-1)[:count] = self.numbers[:count]

        return launch


@exercise("total")
@pytest.mark.parametrize("n", [2**21 + 1, 2**30])
def test_total_of_very_many_elements(n, device, rng):
    x = torch.empty(n, dtype=torch.float16, device=device)  # never read: addresses only
    numbers, launches = rng.uniform(2**20, low=0.5, high=1.0), []
    kernels = {k: v for k, v in vars(day05).items() if hasattr(v, "fn") and hasattr(v, "run")}
    with pytest.MonkeyPatch.context() as patch:
        for name, kernel in kernels.items():
            patch.setattr(day05, name, OverX(kernel, x, numbers, launches))
        out = day05.total(x)
    blocks = [(programs, c["BLOCK"]) for over_x, programs, c in launches if over_x and "BLOCK" in c]
    assert sum(over_x for over_x, *_ in launches) == 1, "x is to be read by exactly one launch"
    largest = max((size for *_, c in launches for size in c.values()), default=0)
    assert largest <= 65_536, (
        f"for {n} elements of x a kernel has a block of {largest} lanes: at most 65536 are allowed"
    )
    for programs, block in blocks:
        assert programs == math.ceil(n / block), (
            f"the first launch has {programs} programs of {block} elements each for {n} elements"
        )
    expected = numbers[: sum(programs for over_x, programs, _ in launches if over_x)]
    close_total(out, expected, name=f"the sum of {len(expected)} partial sums of {n} elements")


@exercise("total")
def test_total_compiles_without_spills(rng):
    for report in compiled(day05.total, rng.normal(5000)):
        assert report.refused is None, f"the compiler refuses it: {report.refused.text()}"
        assert report.spill_bytes == 0, (
            f"{report.kernel} spills {report.spill_bytes} bytes a thread: its block is too large "
            "for its warps"
        )


# histogram ----------------------------------------------------------------------------------


@exercise("histogram")
@pytest.mark.parametrize("dtype", [torch.int32, torch.int64], ids=str)
@shapes(
    "n, bins",
    *[(0, 5), (1, 1), (1023, 7), (1024, 64), (1025, 300), (3000, 2)],
    gpu=[(10_000_001, 1000)],
)
def test_histogram_matches(n, bins, dtype, rng):
    x = rng.integers(0, bins, n + 1, dtype=dtype)[:n]
    close(day05.histogram(x, bins), torch.bincount(x, minlength=bins))


@exercise("histogram")
@shapes("n", 5000, gpu=[10_000_001])
def test_histogram_under_contention(n, rng):
    x = rng.integers(6, 7, n, dtype=torch.int32)  # all elements in one bin
    expected = torch.zeros(9, dtype=torch.int64, device=x.device)
    expected[6] = n
    close(day05.histogram(x, 9), expected, name="the counts of equal values")


@exercise("histogram")
@pytest.mark.parametrize("dtype", [torch.int32, torch.int64], ids=str)
def test_histogram_leaves_other_values_alone(dtype, rng):
    x = rng.integers(-20, 40, 2000, dtype=dtype)
    kept = x[(x >= 0) & (x < 11)]
    close(day05.histogram(x, 11), torch.bincount(kept, minlength=11))


@exercise("histogram")
def test_histogram_of_values_beyond_int32(rng):
    x = rng.integers(-3, 12, 500)
    x = torch.cat([x, x + 2**32, x - 2**32, x + 2**40, x - 2**62])  # the same 32 low bits
    kept = x[(x >= 0) & (x < 9)]
    close(day05.histogram(x, 9), torch.bincount(kept, minlength=9), name="the counts")


@exercise("histogram")
def test_histogram_uses_nothing_but_x(rng):
    x = rng.integers(0, 10, 30, 41)
    close(day05.histogram(surrounded(x, 3), 10), torch.bincount(x.flatten(), minlength=10))


@exercise("histogram")
@shapes("n", 1024, 1025, 3000)
def test_histogram_is_one_launch(n, rng):
    x = rng.integers(0, 50, n)
    out, seen = watch(day05.histogram, x, 50)
    close(out, torch.bincount(x, minlength=50))
    assert_launches(seen, math.ceil(n / BLOCK))
