"""Programs that meet in one element, and assertions that do not hold."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from tests.kernels.gallery.cases import wrong

RACE = "race"
READ = "read of another program's write"


@triton.jit
def plain_total(x, out, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    part = tl.sum(tl.load(x + i, mask=i < n, other=0.0))
    tl.store(out, part)  # every program


@wrong(
    RACE,
    "writes",
    "element 0 of `out`",
    "program (1,)",
    "program (0,)",
    "tl.atomic_add",
    at="# every program",
)
def missing_atomic():
    x = torch.arange(64, dtype=torch.float32)
    plain_total[(4,)](x, torch.zeros(1), 64, BLOCK=16)


@triton.jit
def load_add_store(x, out, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    part = tl.sum(tl.load(x + i, mask=i < n, other=0.0))
    tl.store(out, tl.load(out) + part)  # read, add, write


@wrong(READ, "`out`", "program (1,)", "program (0,)", at="# read, add, write")
def read_add_write_without_atomic():
    x = torch.arange(64, dtype=torch.float32)
    load_add_store[(4,)](x, torch.zeros(1), 64, BLOCK=16)


@triton.jit
def reverse_in_place(x, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    value = tl.load(x + n - 1 - i, mask=i < n)  # the other end
    tl.store(x + i, value, mask=i < n)


@wrong(READ, "`x`", at="# the other end")
def reverse_into_the_input():
    reverse_in_place[(4,)](torch.arange(64.0), 64, BLOCK=16)


@triton.jit
def shift_in_place(x, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    value = tl.load(x + i + 1, mask=i < n - 1, other=0.0)
    tl.store(x + i, value, mask=i < n)  # the neighbour read it


@wrong(READ, "overwrites", "`x`", "program (1,)", "program (0,)", at="# the neighbour read it")
def shift_into_the_input():
    shift_in_place[(4,)](torch.arange(64.0), 64, BLOCK=16)


@triton.jit
def scatter(x, index, out, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    where = tl.load(index + i, mask=i < n, other=0)
    tl.store(out + where, tl.load(x + i, mask=i < n), mask=i < n)  # same slot


@wrong(RACE, "`out`", "element 3", at="# same slot")
def scatter_with_repeated_index():
    index = torch.tensor([0, 1, 2, 3, 4, 5, 3, 7])
    scatter[(2,)](torch.arange(8.0), index, torch.zeros(8), 8, BLOCK=4)


@wrong(RACE, "more than once in one store", "element 3", at="# same slot")
def scatter_with_repeated_index_in_one_block():
    index = torch.tensor([3, 1, 2, 3])
    scatter[(1,)](torch.arange(4.0), index, torch.zeros(8), 4, BLOCK=4)


@triton.jit
def zero_then_add(x, out, n, BLOCK: tl.constexpr):
    program = tl.program_id(0)
    if program == 0:
        tl.store(out, 0.0)
    i = program * BLOCK + tl.arange(0, BLOCK)
    tl.atomic_add(out, tl.sum(tl.load(x + i, mask=i < n, other=0.0)))  # after a store


@wrong(RACE, "plain store", "program (0,)", "torch.zeros", at="# after a store")
def output_set_to_zero_by_program_0():
    zero_then_add[(4,)](torch.ones(64), torch.empty(1), 64, BLOCK=16)


@triton.jit
def two_phases(x, partial, y, n, programs, BLOCK: tl.constexpr):
    program = tl.program_id(0)
    i = program * BLOCK + tl.arange(0, BLOCK)
    value = tl.load(x + i, mask=i < n, other=0.0)
    tl.store(partial + program, tl.sum(value))
    tl.debug_barrier()
    before = 0.0
    for other in range(program):
        before += tl.load(partial + other)  # after a barrier
    tl.store(y + i, value + before, mask=i < n)


@wrong(READ, "`partial`", "program (1,)", "program (0,)", "second launch", at="# after a barrier")
def barrier_does_not_order_programs():
    two_phases[(4,)](torch.ones(64), torch.zeros(4), torch.zeros(64), 64, 4, BLOCK=16)


@triton.jit
def overlapping_tiles(x, y, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * (BLOCK - 1) + tl.arange(0, BLOCK)
    tl.store(y + i, tl.load(x + i, mask=i < n) + tl.program_id(0), mask=i < n)  # overlap


@wrong(RACE, "element 7 of `y`", at="# overlap")
def tiles_that_overlap():
    overlapping_tiles[(2,)](torch.ones(15), torch.zeros(15), 15, BLOCK=8)


@triton.jit
def all_rows_one_place(x, y, columns, BLOCK: tl.constexpr):
    j = tl.arange(0, BLOCK)
    row = tl.program_id(0)
    tl.store(y + j, tl.load(x + row * columns + j, mask=j < columns), mask=j < columns)  # no row


@wrong(RACE, "`y`", "element [0, 0]", at="# no row")
def row_left_out_of_the_store():
    all_rows_one_place[(3,)](torch.randn(3, 5), torch.zeros(3, 5), 5, BLOCK=8)


@triton.jit
def softmax_aliased(x, y, columns, BLOCK: tl.constexpr):
    j = tl.arange(0, BLOCK)
    row = tl.program_id(0)
    value = tl.load(x + row * columns + j, mask=j < columns, other=-float("inf"))  # from x
    e = tl.exp(value - tl.max(value, 0))
    tl.store(y + row * columns + j, e / tl.sum(e, 0), mask=j < columns)


@wrong(READ, "`x`", at="# from x")
def output_overlaps_the_input():
    both = torch.randn(15)
    softmax_aliased[(2,)](both[:10], both[5:], 5, BLOCK=8)


@triton.jit
def asserts(x, n, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    value = tl.load(x + i, mask=i < n, other=0)
    tl.device_assert(value >= 0, "no negative index")  # asserted


@wrong("assertion failed", "lane 2", "no negative index", "program (0,)", at="# asserted")
def device_assert_fires():
    asserts[(1,)](torch.tensor([1, 2, -3]), 3, BLOCK=4)


@triton.jit
def python_assert(x, n, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    value = tl.load(x + i, mask=i < n, other=0)
    assert value >= 0, "not negative"  # Python's assert


@wrong("assertion failed", "lane 2", "not negative", at="# Python's assert")
def python_assert_fires():
    python_assert[(1,)](torch.tensor([1, 2, -3]), 3, BLOCK=4)


@triton.jit
def assumes(x, n, BLOCK: tl.constexpr):
    tl.assume(n > 4)  # assumed
    tl.store(x + tl.arange(0, BLOCK), 0.0, mask=tl.arange(0, BLOCK) < n)


@wrong("assertion failed", "tl.assume", "not true", at="# assumed")
def assumption_that_is_false():
    assumes[(1,)](torch.zeros(3), 3, BLOCK=4)
