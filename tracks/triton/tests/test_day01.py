import pytest
import torch

from harness.testing import close, exercise, shapes, watch
from tracks.triton import day01

BLOCK = 1024
MARGIN = 64  # elements of foreign memory on either side of an output
DTYPES = [torch.float32, torch.float16, torch.bfloat16]


def numbers(rng, n, dtype):
    """Whole numbers; those of int64 have more digits than an int32 or a float64 holds."""
    most = 2**61 if dtype is torch.int64 else 99
    return rng.integers(-most, most + 1, n, dtype=dtype)


def fenced(n, dtype, device):
    """Memory with n elements in its middle, and a view of these: writes beyond them show."""
    memory = torch.full((n + 2 * MARGIN,), -1, dtype=dtype, device=device)
    return memory, memory[MARGIN : MARGIN + n]


def assert_fence_stands(memory, n):
    outside = torch.cat([memory[:MARGIN], memory[MARGIN + n :]])
    touched = (outside != -1).sum().item()
    assert touched == 0, (
        f"{touched} elements beside the output of {n} elements were overwritten: "
        "these belong to someone else"
    )


def assert_programs(seen, n, expected):
    assert len(seen.launches) == 1, f"expected 1 kernel launch, saw {len(seen.launches)}"
    programs = seen.launches[0].programs
    assert programs == expected, (
        f"{n} elements in blocks of {BLOCK} need {expected} programs, but {programs} were launched"
    )


# fill ---------------------------------------------------------------------------------------


@exercise("fill", inplace=True)
@pytest.mark.parametrize("dtype", [*DTYPES, torch.int32], ids=str)
@shapes("n", 1, 5, 1023, 1024, 1025, gpu=[4096])
def test_fill_sets_all_and_only_the_elements(n, dtype, device):
    memory, out = fenced(n, dtype, device)
    result = day01.fill(out, 7.0)
    close(out, torch.full((n,), 7, dtype=dtype, device=device), tile=BLOCK)
    assert_fence_stands(memory, n)
    assert result is out, "fill must return the tensor that it was given"


@exercise("fill", inplace=True)
def test_fill_of_nothing_writes_nothing(device, rng):
    memory, nothing = fenced(0, torch.float32, device)
    day01.fill(nothing, 7.0)
    assert_fence_stands(memory, 0)
    value = float(rng.normal(1))
    out = day01.fill(torch.zeros(2, 3, device=device), value)
    close(out, torch.full((2, 3), value, device=device), name="a (2, 3) tensor")


@exercise("fill", inplace=True)
def test_fill_launches_one_program(device):
    out, seen = watch(day01.fill, torch.zeros(1025, device=device), 1)
    close(out, torch.ones(1025, device=device))
    assert seen.launches[0].programs == 1, "fill is the work of one program"


# add_one ------------------------------------------------------------------------------------


@exercise("add_one")
@pytest.mark.parametrize("dtype", [*DTYPES, torch.int64], ids=str)
@shapes("n", 1, 5, 1023, 1024, 1025, gpu=[4096])
def test_add_one_matches(n, dtype, rng):
    x = numbers(rng, n, dtype)
    close(day01.add_one(x), x + 1, tile=BLOCK)


@exercise("add_one")
def test_add_one_of_nothing_and_of_any_shape(device, rng):
    assert day01.add_one(torch.empty(0, device=device)).shape == (0,)
    x = rng.normal(3, 5)
    close(day01.add_one(x), x + 1, name="a (3, 5) tensor")


@exercise("add_one")
@shapes("n", 1, 1000, 1023)
def test_add_one_stays_inside_its_output(n, device, rng):
    x = rng.normal(n + MARGIN)  # what lies behind x must not be used either
    memory, out = fenced(n, torch.float32, device)
    day01.add_one_kernel[(1,)](x, out, n, BLOCK=BLOCK)
    close(out, x[:n] + 1)
    assert_fence_stands(memory, n)


# scale --------------------------------------------------------------------------------------


@exercise("scale")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@shapes("n", 1, 1023, 1024, 1025, 3000, gpu=[10_000_001])
def test_scale_matches(n, dtype, rng):
    x = rng.normal(n, dtype=dtype)
    k = float(rng.normal(1))
    close(day01.scale(x, k), x.double() * k, dtype=dtype, tile=BLOCK)


@exercise("scale")
def test_scale_of_nothing_and_of_any_shape(device, rng):
    assert day01.scale(torch.empty(0, device=device), 2.0).shape == (0,)
    x = rng.normal(3, 5, 80)
    close(day01.scale(x, -1.0), -x, name="a (3, 5, 80) tensor")


@exercise("scale")
@shapes("n", 1, 1024, 1025, 2049)
def test_scale_launches_a_program_for_each_block(n, rng):
    x = rng.normal(n)
    out, seen = watch(day01.scale, x, 0.5)
    close(out, x / 2, tile=BLOCK)
    assert_programs(seen, n, -(-n // BLOCK))


@exercise("scale")
@shapes("n", 1, 1023, 1025)
def test_scale_stays_inside_its_output(n, device, rng):
    x = rng.normal(n)
    memory, out = fenced(n, torch.float32, device)
    day01.scale_kernel[(2,)](x, out, 3.0, n, BLOCK=BLOCK)
    close(out, x * 3)
    assert_fence_stands(memory, n)


# vector_add ---------------------------------------------------------------------------------


@exercise("vector_add")
@pytest.mark.parametrize("dtype", [*DTYPES, torch.int64], ids=str)
@shapes("n", 1, 1023, 1024, 1025, 3000, gpu=[10_000_001])
def test_vector_add_matches(n, dtype, rng):
    x, y = numbers(rng, n, dtype), numbers(rng, n, dtype)
    close(day01.vector_add(x, y), x + y, tile=BLOCK)


@exercise("vector_add")
def test_vector_add_of_nothing_and_of_any_shape(device, rng):
    nothing = torch.empty(0, device=device)
    assert day01.vector_add(nothing, nothing).shape == (0,)
    x, y = rng.normal(3, 5, 80), rng.normal(3, 5, 80)
    close(day01.vector_add(x, y), x.double() + y.double(), dtype=x.dtype, scale=1.0)


@exercise("vector_add")
@shapes("n", 1, 1024, 1025, 2049)
def test_vector_add_launches_a_program_for_each_block(n, rng):
    x, y = rng.normal(n), rng.normal(n)
    out, seen = watch(day01.vector_add, x, y)
    close(out, x + y, tile=BLOCK)
    assert_programs(seen, n, -(-n // BLOCK))


@exercise("vector_add")
@shapes("n", 1, 1023, 1025)
def test_vector_add_stays_inside_its_output(n, device, rng):
    x, y = rng.normal(n), rng.normal(n)
    memory, out = fenced(n, torch.float32, device)
    day01.vector_add_kernel[(2,)](x, y, out, n, BLOCK=BLOCK)
    close(out, x + y)
    assert_fence_stands(memory, n)
