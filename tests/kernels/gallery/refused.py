"""What runs in Python but not in a kernel: the compiler's refusals, at the learner's line."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from tests.kernels.gallery.cases import wrong

NO = "refused by the compiler"
SIZE = 7


@triton.jit
def arange_of(x, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)  # any length
    tl.store(x + i, 1.0)


@wrong(NO, "power of two", "next_power_of_2", at="# any length")
def arange_of_100():
    arange_of[(1,)](torch.zeros(100), BLOCK=100)


@triton.jit
def arange_not_constant(x, BLOCK):
    i = tl.arange(0, BLOCK)  # an argument
    tl.store(x + i, 1.0)


@wrong(NO, "tl.constexpr", at="# an argument")
def block_size_that_is_no_constant():
    arange_not_constant[(1,)](torch.zeros(64), 64)


@triton.jit
def breaks(x, n):
    for i in range(n):
        if tl.load(x + i) < 0:
            break  # leaves the loop
        tl.store(x + i, 1.0)


@wrong(NO, "no `break`", at="# leaves the loop")
def break_in_a_loop():
    breaks[(1,)](torch.zeros(4), 4)


@triton.jit
def continues(x, n):
    for i in range(n):
        if tl.load(x + i) < 0:
            continue  # skips
        tl.store(x + i, 1.0)


@wrong(NO, "no `continue`", at="# skips")
def continue_in_a_loop():
    continues[(1,)](torch.zeros(4), 4)


@triton.jit
def returns(x, n):
    for i in range(n):
        if tl.load(x + i) < 0:  # leaves the kernel
            return
        tl.store(x + i, 1.0)


@wrong(NO, "`return` inside a loop", at="# leaves the kernel")
def return_in_a_loop():
    returns[(1,)](torch.zeros(4), 4)


@triton.jit
def changes_shape(x, n, BLOCK: tl.constexpr):
    total = 0.0
    for i in range(n):  # carried
        total += tl.load(x + i * BLOCK + tl.arange(0, BLOCK))
    tl.store(x, tl.sum(total))


@wrong(NO, "`total` is fp32 before the loop", "block of 8 fp32", at="# carried")
def loop_changes_a_shape():
    changes_shape[(1,)](torch.zeros(16), 2, BLOCK=8)


@triton.jit
def changes_type(x, n):
    total = 0
    for i in range(n):  # int32, then float
        total += tl.load(x + i)
    tl.store(x, total)


@wrong(NO, "`total` is int32 before the loop", "fp32", at="# int32, then float")
def loop_changes_a_type():
    changes_type[(1,)](torch.zeros(16), 2)


@triton.jit
def bf16_accumulator(x, y, n, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    total = tl.zeros((BLOCK,), tl.float32)
    for k in range(n):  # float32, then bfloat16
        total = total.to(tl.bfloat16) + tl.load(x + k * BLOCK + i)
    tl.store(y + i, total)


@wrong(NO, "`total`", "bf16", at="# float32, then bfloat16")
def accumulator_that_narrows():
    bf16_accumulator[(1,)](torch.zeros(16).bfloat16(), torch.zeros(8), 2, BLOCK=8)


@triton.jit
def twice(x):
    a = b = 0.0  # two at once
    tl.store(x, a + b)


@wrong(NO, "two assignments", at="# two at once")
def two_targets():
    twice[(1,)](torch.zeros(1))


@triton.jit
def dot_of(x, y, out, K: tl.constexpr):
    i = tl.arange(0, 16)
    k = tl.arange(0, K)
    a = tl.load(x + i[:, None] * K + k[None, :])
    b = tl.load(y + k[:, None] * 16 + i[None, :])
    tl.store(out + i[:, None] * 16 + i[None, :], tl.dot(a, b))  # K


@wrong(NO, "K of at least 16", at="# K")
def dot_with_k_of_8():
    dot_of[(1,)](torch.ones(16, 8), torch.ones(8, 16), torch.zeros(16, 16), K=8)


@wrong(NO, "K of at least 32", at="# K")
def int8_dot_with_k_of_16():
    a, b = torch.ones(16, 16).to(torch.int8), torch.ones(16, 16).to(torch.int8)
    dot_of[(1,)](a, b, torch.zeros(16, 16, dtype=torch.int32), K=16)


@wrong(NO, "one type", "fp16", "fp32", at="# K")
def dot_of_two_types():
    dot_of[(1,)](torch.ones(16, 16).half(), torch.ones(16, 16), torch.zeros(16, 16), K=16)


@triton.jit
def exp_of(x, y, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    tl.store(y + i, tl.exp(tl.load(x + i)))  # of 16 bits


@wrong(NO, "not bf16", ".to(tl.float32)", at="# of 16 bits")
def exp_of_bfloat16():
    exp_of[(1,)](torch.zeros(8).bfloat16(), torch.zeros(8).bfloat16(), BLOCK=8)


@wrong(NO, "not fp16", ".to(tl.float32)", at="# of 16 bits")
def exp_of_float16():
    exp_of[(1,)](torch.zeros(8).half(), torch.zeros(8).half(), BLOCK=8)


@triton.jit
def block_condition(x, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    value = tl.load(x + i)
    if value > 0:  # a block
        tl.store(x + i, value)


@wrong(NO, "`if` needs one value", "tl.where", at="# a block")
def if_on_a_block():
    block_condition[(1,)](torch.zeros(8), BLOCK=8)


@triton.jit
def uses_global(x):
    tl.store(x + SIZE - 1, 1.0)  # SIZE


@wrong(NO, "global variable `SIZE`", at="# SIZE")
def global_variable():
    uses_global[(1,)](torch.zeros(7))


@triton.jit
def chained(x, n, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    tl.store(x + i, 1.0, mask=0 <= i < n)  # both sides


@wrong(NO, "(a < b) & (b < c)", at="# both sides")
def chained_comparison():
    chained[(1,)](torch.zeros(8), 8, BLOCK=8)


@triton.jit
def assigns_element(x, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    value = tl.load(x + i)
    value[0] = 1.0  # element
    tl.store(x + i, value)


@wrong(NO, "`value[0]` cannot be assigned", "tl.where", at="# element")
def assignment_to_an_element():
    assigns_element[(1,)](torch.zeros(8), BLOCK=8)


@triton.jit
def indexes_block(x, BLOCK: tl.constexpr):
    value = tl.load(x + tl.arange(0, BLOCK))
    tl.store(x, value[0])  # index


@wrong(NO, "`value[0]` means nothing", at="# index")
def index_into_a_block():
    indexes_block[(1,)](torch.zeros(8), BLOCK=8)


@triton.jit
def assigns_through_a_pointer(x, n):
    for i in range(n):
        x[i] = 1.0  # through


@wrong(NO, "`x[i]` cannot be assigned", "`tl.store(x + i, value)` writes", at="# through")
def assignment_through_a_pointer():
    assigns_through_a_pointer[(1,)](torch.zeros(8), 8)


@triton.jit
def adds_through_a_pointer(x, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    x[i] += 1.0  # both


@wrong(NO, "`tl.store(x + i, value)` writes to memory and `tl.load(x + i)` reads", at="# both")
def addition_through_a_pointer():
    adds_through_a_pointer[(1,)](torch.zeros(8), BLOCK=8)


@triton.jit
def indexes_a_pointer(x, y, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    tl.store(y + i, x[i] + 1.0)  # pointer[i]


@wrong(NO, "`x[i]` means nothing", "`tl.load(x + i)` reads it", at="# pointer[i]")
def index_of_a_pointer():
    indexes_a_pointer[(1,)](torch.zeros(8), torch.zeros(8), BLOCK=8)


@triton.jit
def slices_a_pointer(x, n, BLOCK: tl.constexpr):
    value = x[:n]  # slice
    tl.store(x + tl.arange(0, BLOCK), value)


@wrong(NO, "`x[:n]` means nothing", "`tl.load(x + offsets)` reads it", at="# slice")
def slice_of_a_pointer():
    slices_a_pointer[(1,)](torch.zeros(8), 8, BLOCK=8)


@triton.jit
def wrong_axes(x, y, BLOCK: tl.constexpr, WIDE: tl.constexpr):
    i = tl.arange(0, BLOCK)
    j = tl.arange(0, WIDE)
    tl.store(y + i, tl.load(x + i) + tl.load(x + j))  # 8 and 16


@wrong(NO, "do not fit together", "[:, None]", at="# 8 and 16")
def blocks_of_different_sizes():
    wrong_axes[(1,)](torch.zeros(16), torch.zeros(16), BLOCK=8, WIDE=16)


@triton.jit
def stores_block_to_scalar(x, BLOCK: tl.constexpr):
    tl.store(x, tl.arange(0, BLOCK))  # one address


@wrong(NO, "single address", at="# one address")
def block_stored_to_one_address():
    stores_block_to_scalar[(1,)](torch.zeros(8, dtype=torch.int32), BLOCK=8)


@triton.jit
def loads_number(x, y):
    tl.store(y, tl.load(x))  # no pointer


@wrong(NO, "needs a pointer", at="# no pointer")
def number_where_a_tensor_belongs():
    loads_number[(1,)](3, torch.zeros(1))


@wrong(NO, "tensor", at="# no pointer")
def none_where_a_tensor_belongs():
    loads_number[(1,)](None, torch.zeros(1))


@triton.jit
def static(x, BLOCK: tl.constexpr):
    tl.static_assert(BLOCK <= 16, "BLOCK is at most 16")  # static
    tl.store(x + tl.arange(0, BLOCK), 0.0)


@wrong(NO, "BLOCK is at most 16", at="# static")
def static_assert_fires():
    static[(1,)](torch.zeros(32), BLOCK=32)


def plain_python(x):
    return x * 2


@triton.jit
def calls_python(x):
    tl.store(x, plain_python(tl.load(x)))  # no jit


@wrong(NO, "plain_python", at="# no jit")
def plain_python_function():
    calls_python[(1,)](torch.zeros(1))


@triton.jit
def adds_pointers(x, y):
    tl.store(x + y, 1.0)  # two pointers


@wrong(NO, "two pointers", at="# two pointers")
def pointer_plus_pointer():
    adds_pointers[(1,)](torch.zeros(1), torch.zeros(1))


@triton.jit
def branches_differ(x, n, BLOCK: tl.constexpr):
    if n > 4:  # differ  # noqa: SIM108  a ternary says something else
        value = tl.zeros((BLOCK,), tl.float32)
    else:
        value = tl.zeros((BLOCK,), tl.int32)
    tl.store(x + tl.arange(0, BLOCK), value)


@wrong(NO, "`value`", "both ways", at="# differ")
def branches_of_different_types():
    branches_differ[(1,)](torch.zeros(8), 5, BLOCK=8)


@triton.jit
def float_offset(x, n):
    tl.store(x + n / 2, 1.0)  # divided


@wrong(NO, "integer offsets", at="# divided")
def offset_that_is_a_float():
    float_offset[(1,)](torch.zeros(8), 4)


@triton.jit
def fp16_atomic(x):
    tl.atomic_max(x, 1.0)  # 16 bits


@wrong(NO, "no such atomic", at="# 16 bits")
def atomic_max_of_float16():
    fp16_atomic[(1,)](torch.zeros(1).half())


@triton.jit
def other_without_mask(x, y, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    tl.store(y + i, tl.load(x + i, other=0.0))  # other only


@wrong(NO, "`other` only with a `mask`", at="# other only")
def other_without_a_mask():
    other_without_mask[(1,)](torch.zeros(8), torch.zeros(8), BLOCK=8)


@triton.jit
def misspelt(x, n, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    tl.store(x + i, 1.0, mask=i < N)  # noqa: F821  the misspelling is the point


@wrong(NO, "`N` has no value here", at="the misspelling")
def name_that_is_not_defined():
    misspelt[(1,)](torch.zeros(8), 8, BLOCK=8)
