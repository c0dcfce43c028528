"""Accesses past a tensor's ends, or between the elements of a view."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from tests.kernels.gallery.cases import wrong


@triton.jit
def copy_unmasked(x, y, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    value = tl.load(x + i)  # no mask
    tl.store(y + i, value, mask=i < n)


@wrong(
    "out of bounds",
    "reads past the end of `x`",
    "index 100 of 100 elements",
    "first bad indices 100, 101, 102, 28 in all",
    "program (3,)",
    "no mask",
    at="# no mask",
)
def load_without_a_mask():
    copy_unmasked[(4,)](torch.ones(100), torch.zeros(100), 100, BLOCK=32)


@triton.jit
def copy_store_unmasked(x, y, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    value = tl.load(x + i, mask=i < n)
    tl.store(y + i, value)  # unmasked store


@wrong("out of bounds", "writes past the end of `y`", "index 100 of 100", at="# unmasked store")
def store_without_a_mask():
    copy_store_unmasked[(4,)](torch.ones(100), torch.zeros(100), 100, BLOCK=32)


@triton.jit
def copy_off_by_one(x, y, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    value = tl.load(x + i, mask=i <= n)  # <=
    tl.store(y + i, value, mask=i < n)


@wrong(
    "out of bounds", "index 100 of 100 elements, in program (3,)", "mask, and it lets", at="# <="
)
def mask_off_by_one():
    copy_off_by_one[(4,)](torch.ones(100), torch.zeros(100), 100, BLOCK=32)


@wrong(
    "out of bounds", "index 32 of 32 elements", "in program (1,)", "mask, and it lets", at="# <="
)
def size_of_a_larger_tensor():
    copy_off_by_one[(2,)](torch.ones(32), torch.zeros(64), 64, BLOCK=32)


@triton.jit
def reverse_off_by_one(x, y, n, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    value = tl.load(x + n - i, mask=i < n)  # n - i
    tl.store(y + i, value, mask=i < n)


@wrong("out of bounds", "reads past the end of `x`", "index 5 of 5", at="# n - i")
def reverse_that_forgets_minus_one():
    reverse_off_by_one[(1,)](torch.ones(5), torch.zeros(5), 5, BLOCK=8)


@triton.jit
def shifted_left(x, y, n, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    value = tl.load(x + i - 1, mask=i < n)  # i - 1
    tl.store(y + i, value, mask=i < n)


@wrong("out of bounds", "reads before the start of `x`", "index -1 of 7", at="# i - 1")
def negative_index():
    shifted_left[(1,)](torch.ones(7), torch.zeros(7), 7, BLOCK=8)


@triton.jit
def add_tiles(x, y, rows, columns, sx, sy, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)[:, None]
    j = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)[None, :]
    value = tl.load(x + i * sx + j, mask=j < columns)  # rows not masked
    tl.store(y + i * sy + j, value, mask=(i < rows) & (j < columns))


@wrong("out of bounds", "past the end of `x`", "shape (9, 16)", at="# rows not masked")
def mask_missing_on_axis_0():
    add_tiles[(2, 2)](torch.ones(9, 16), torch.zeros(9, 16), 9, 16, 16, 16, BLOCK=8)


@triton.jit
def transpose_swapped(x, y, rows, columns, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)[:, None]
    j = tl.arange(0, BLOCK)[None, :]
    inside = (i < rows) & (j < columns)
    value = tl.load(x + i * rows + j, mask=inside)
    tl.store(y + j * columns + i, value, mask=inside)  # strides swapped


@wrong("out of bounds", "writes past the end of `y`", at="# strides swapped")
def strides_swapped():
    transpose_swapped[(1,)](torch.ones(3, 7), torch.zeros(7, 3), 3, 7, BLOCK=8)


@triton.jit
def rows_through_strides(x, y, rows, columns, stride, BLOCK: tl.constexpr):
    j = tl.arange(0, BLOCK)
    row = tl.program_id(0)
    value = tl.load(x + row * stride + j, mask=j < columns)  # column stride left out
    tl.store(y + row * columns + j, value, mask=j < columns)


@wrong("outside the view", "`x`", "strides (8, 2)", "to no element", at="# column stride left out")
def column_stride_left_out():
    x = torch.ones(4, 8)[:, ::2]
    rows_through_strides[(4,)](x, torch.zeros(4, 4), 4, 4, x.stride(0), BLOCK=4)


@triton.jit
def fill_block(x, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    tl.store(x + i, 1.0)  # all of it


@wrong(
    "outside the view",
    "writes past the end of `x`",
    "view into a storage of 100 elements",
    at="# all of it",
)
def store_outside_the_view():
    fill_block[(1,)](torch.zeros(100)[10:20], BLOCK=16)


@triton.jit
def before_the_view(x, y, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    tl.store(y + i, tl.load(x + i - 4))  # in the storage


@wrong("outside the view", "before the start of `x`", "index -1", at="# in the storage")
def load_before_the_view():
    before_the_view[(1,)](torch.zeros(100)[10:20], torch.zeros(8), BLOCK=8)


@triton.jit
def overflowing(x, y, stride, BLOCK: tl.constexpr):
    i = tl.program_id(0) * 2 + tl.arange(0, BLOCK)
    value = tl.load(x + i * stride)  # int32
    tl.store(y + i, value)


@wrong("out of bounds", "overflowed int32", "tl.int64", at="# int32")
def int32_overflow_of_an_offset():
    # The memory between the elements is never touched: it costs addresses only.
    x = torch.empty(3 * 2**30 + 1, dtype=torch.int8)[:: 1 << 30]
    overflowing[(2,)](x, torch.zeros(4), 1 << 30, BLOCK=2)


@triton.jit
def gather(x, index, y, n, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    j = tl.load(index + i, mask=i < n, other=0)
    tl.store(y + i, tl.load(x + j, mask=i < n), mask=i < n)  # index from data


@wrong("out of bounds", "past the end of `x`", "index 10 of 10", at="# index from data")
def gather_with_an_index_too_large():
    gather[(1,)](torch.zeros(10), torch.tensor([0, 9, 10]), torch.zeros(3), 3, BLOCK=4)


@triton.jit
def gather_int32(x, y, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    tl.store(y + i, tl.load(x + 1000000000 + i))  # far away


@wrong("out of bounds", "past the end of `x`", at="# far away")
def wild_offset():
    gather_int32[(1,)](torch.zeros(8), torch.zeros(8), BLOCK=8)


@triton.jit
def touch_empty(x):
    tl.store(x, 1.0)  # nothing there


@wrong("out of bounds", "`x` is empty", at="# nothing there")
def empty_tensor():
    touch_empty[(1,)](torch.zeros(0))


@triton.jit
def from_a_number(y, address):
    pointer = address.to(tl.pointer_type(tl.float32))
    tl.store(y, tl.load(pointer))  # from a number


@wrong("out of bounds", "belongs to no tensor", at="# from a number")
def pointer_made_from_a_number():
    from_a_number[(1,)](torch.zeros(1), 1 << 40)


@triton.jit
def count(x, bins, n, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    value = tl.load(x + i, mask=i < n)
    tl.atomic_add(bins + value, 1, mask=i < n)  # bins + value


@wrong(
    "out of bounds",
    "updates past the end of `bins`",
    "index 4 of 4",
    "tl.atomic_add",
    at="# bins + value",
)
def histogram_value_past_the_last_bin():
    x = torch.tensor([0, 1, 4], dtype=torch.int32)
    count[(1,)](x, torch.zeros(4, dtype=torch.int32), 3, BLOCK=4)


@triton.jit
def block_pointer_unchecked(x, y, rows, columns, BLOCK: tl.constexpr):
    source = tl.make_block_ptr(x, (rows, columns), (columns, 1), (0, 0), (BLOCK, BLOCK), (1, 0))
    target = tl.make_block_ptr(y, (rows, columns), (columns, 1), (0, 0), (BLOCK, BLOCK), (1, 0))
    tl.store(target, tl.load(source), boundary_check=(0, 1))  # load unchecked


@wrong("out of bounds", "past the end of `x`", "block pointer", at="# load unchecked")
def block_pointer_without_boundary_check():
    block_pointer_unchecked[(1,)](torch.ones(5, 8), torch.zeros(5, 8), 5, 8, BLOCK=8)


@triton.jit
def descriptor_shape(x, y, rows, columns, BLOCK: tl.constexpr):
    source = tl.make_tensor_descriptor(x, [rows + 8, columns], [columns, 1], [BLOCK, BLOCK])
    i = tl.arange(0, BLOCK)
    tile = source.load([BLOCK, 0])  # shape too large
    tl.store(y + i[:, None] * BLOCK + i[None, :], tile)


@wrong("out of bounds", "past the end of `x`", "descriptor", at="# shape too large")
def descriptor_with_a_wrong_shape():
    descriptor_shape[(1,)](torch.ones(8, 8), torch.zeros(8, 8), 8, 8, BLOCK=8)


@triton.jit
def descriptor_stride(x, y, rows, columns, stride, BLOCK: tl.constexpr):
    source = tl.make_tensor_descriptor(x, [rows, columns], [stride, 1], [BLOCK, BLOCK])  # odd rows
    i = tl.arange(0, BLOCK)
    tl.store(y + i[:, None] * BLOCK + i[None, :], source.load([0, 0]))


@wrong("unsupported", "multiple of 16 bytes", at="# odd rows")
def descriptor_with_odd_rows():
    x = torch.ones(8, 9)
    descriptor_stride[(1,)](x, torch.zeros(8, 8), 8, 9, 9, BLOCK=8)


@triton.jit
def next_tensor(x, y, n, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    tl.store(x + i, 1.0, mask=i < n)  # n is y's


@wrong("outside the view", "writes past the end of `x`", at="# n is y's")
def size_of_another_tensor():
    both = torch.zeros(64)
    next_tensor[(1,)](both[:32], both[32:], 33, BLOCK=64)


@triton.jit
def helper_load(x, i):
    return tl.load(x + i)  # in the helper


@triton.jit
def calls_a_helper(x, y, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    tl.store(y + i, helper_load(x, i))


@wrong("out of bounds", "helper_load", "past the end of `x`", at="# in the helper")
def error_in_a_device_function():
    calls_a_helper[(1,)](torch.zeros(3), torch.zeros(8), BLOCK=8)
