"""What matrix products use: every type and precision of tl.dot, descriptors, promises."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from triton.tools.tensor_descriptor import TensorDescriptor

from tests.kernels.gallery.cases import right, wrong
from tests.kernels.gallery.right_kernels import DEVICE, randn

NO = "refused by the compiler"
FALSE = "assertion failed"
M, N, K = 16, 32, 64


@triton.jit
def dot_kernel(
    a,
    b,
    c,
    out,
    M: tl.constexpr,
    N: tl.constexpr,
    K: tl.constexpr,
    PRECISION: tl.constexpr,
    OUT: tl.constexpr,
    FORM: tl.constexpr,
):
    i = tl.arange(0, M)
    j = tl.arange(0, N)
    k = tl.arange(0, K)
    x = tl.load(a + i[:, None] * K + k[None, :])
    y = tl.load(b + k[:, None] * N + j[None, :])
    place = i[:, None] * N + j[None, :]
    acc = tl.load(c + place)
    if FORM == "third argument":
        acc = tl.dot(x, y, acc, input_precision=PRECISION, out_dtype=OUT)
    elif FORM == "acc=":
        acc = tl.dot(x, y, acc=acc, input_precision=PRECISION, out_dtype=OUT)
    else:
        acc += tl.dot(x, y, input_precision=PRECISION, out_dtype=OUT)  # the product
    tl.store(out + place, acc)


def products(dtype, precision="ieee", out=torch.float32, k=K, other=None):
    """a @ b + c by every way to write the sum, and the same in float64."""
    if dtype in (torch.int8, torch.uint8):
        a, b = (torch.randint(0, 100, s, device=DEVICE).to(dtype) for s in ((M, k), (k, N)))
    else:
        a, b = randn(M, k).to(dtype), randn(k, N).to(other or dtype)
    c = (10 * randn(M, N)).to(out)
    found = []
    for form in ("third argument", "acc=", "+="):
        result = torch.zeros(M, N, dtype=out, device=DEVICE)
        kind = getattr(tl, str(out).removeprefix("torch."))
        dot_kernel[(1,)](a, b, c, result, M, N, k, PRECISION=precision, OUT=kind, FORM=form)
        found.append(result.double())
    return found, a.double() @ b.double() + c.double()


def agree(found_and_right, tolerance):
    found, right = found_and_right
    for one in found:
        worst = float((one - right).abs().max() / right.abs().max())
        assert worst <= tolerance, worst


@right
def dot_of_short_floats():
    for dtype in (torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2):
        agree(products(dtype), 1e-6)
    agree(products(torch.float8_e4m3fn, other=torch.float8_e5m2), 1e-6)


@right
def dot_with_sums_in_float16():
    found, right = products(torch.float16, out=torch.float16)
    agree((found, right), 1e-3)
    assert all(float((one - right).abs().max()) > 1e-3 for one in found), "more digits than 11 bits"


@right
def dot_of_int8_is_exact():
    found, right = products(torch.int8, out=torch.int32)
    assert all(torch.equal(one, right) for one in found)


@right
def dot_of_float32_in_each_precision():
    agree(products(torch.float32, "ieee"), 1e-6)
    agree(products(torch.float32, "tf32x3"), 2e-6)
    found, right = products(torch.float32, "tf32")
    agree((found, right), 2e-3)
    assert all(float((one - right).abs().max()) > 1e-4 for one in found), "tf32 has 11 bits"


@wrong(NO, "accumulates in float32", at="# the product")
def dot_with_sums_in_bfloat16():
    kind = torch.zeros(M * N).bfloat16()
    a = torch.zeros(M * K).bfloat16()
    b = torch.zeros(K * N).bfloat16()
    dot_kernel[(1,)](a, b, kind, kind, M, N, K, PRECISION="ieee", OUT=tl.bfloat16, FORM="+=")


@wrong(NO, "same dtype", at="# the product")
def dot_of_halves_of_two_kinds():
    a, b = torch.zeros(M * K).half(), torch.zeros(K * N).bfloat16()
    c = torch.zeros(M * N)
    dot_kernel[(1,)](a, b, c, c, M, N, K, PRECISION="ieee", OUT=tl.float32, FORM="+=")


@wrong(NO, "K of at least 32", at="# the product")
def dot_of_too_few_bytes():
    a, b = torch.zeros(M * 16, dtype=torch.int8), torch.zeros(16 * N, dtype=torch.int8)
    c = torch.zeros(M * N, dtype=torch.int32)
    dot_kernel[(1,)](a, b, c, c, M, N, 16, PRECISION="ieee", OUT=tl.int32, FORM="+=")


# -- descriptors -------------------------------------------------------------------------------


@triton.jit
def described_copy_kernel(
    x, y, m, n, x_stride, y_stride, BM: tl.constexpr, BN: tl.constexpr, PADDING: tl.constexpr
):
    source = tl.make_tensor_descriptor(  # described
        x, shape=[m, n], strides=[x_stride, 1], block_shape=[BM, BN], padding_option=PADDING
    )
    target = tl.make_tensor_descriptor(y, [m, n], [y_stride, 1], [BM, BN])
    at = [tl.program_id(0) * BM, tl.program_id(1) * BN]
    target.store(at, source.load(at))


def described_copy(x, block=(16, 16), padding="zero"):
    m, n = x.shape
    y = torch.zeros(m, n, dtype=x.dtype, device=x.device)
    grid = (triton.cdiv(m, block[0]), triton.cdiv(n, block[1]))
    described_copy_kernel[grid](
        x, y, m, n, x.stride(0), n, BM=block[0], BN=block[1], PADDING=padding
    )
    return y


@right
def descriptors_made_in_the_kernel():
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        wide = randn(20, 40).to(dtype)
        for x in (wide, wide[:, 8:32], wide[3:], wide[::2]):
            assert torch.equal(described_copy(x), x)


@triton.jit
def corner_kernel(described, out, row, column, SIDE: tl.constexpr):
    i = tl.arange(0, SIDE)
    block = described.load([row, column])
    tl.store(out + i[:, None] * SIDE + i[None, :], block)


@right
def what_lies_outside_of_a_description_is_zero():
    x, out = torch.ones(20, 24, device=DEVICE), torch.full((16, 16), 9.0, device=DEVICE)
    described = TensorDescriptor.from_tensor(x, [16, 16])
    for row, column, inside in ((0, 0, 256), (10, 20, 40), (-4, 0, 192), (0, -20, 0), (100, 0, 0)):
        corner_kernel[(1,)](described, out, row, column, SIDE=16)
        assert out.sum() == inside, (row, column)


@triton.jit
def described_sum_kernel(described, SIDE: tl.constexpr):
    described.atomic_add([8, 8], tl.full((SIDE, SIDE), 1.0, tl.float32))


@right
def atomic_sums_through_a_descriptor():
    x = torch.zeros(20, 24, device=DEVICE)
    described_sum_kernel[(3,)](TensorDescriptor.from_tensor(x, [16, 16]), SIDE=16)
    assert x[8:, 8:].eq(3).all() and x[:8].eq(0).all() and x[:, :8].eq(0).all()


@triton.jit
def described_store_kernel(described, SIDE: tl.constexpr):
    value = tl.zeros((SIDE, SIDE), tl.float32) + tl.program_id(0)
    described.store([0, 0], value)  # all of them


@wrong("race", "writes 1.0 to element [0, 0]", at="# all of them")
def stores_through_a_descriptor_that_collide():
    described_store_kernel[(2,)](TensorDescriptor.from_tensor(torch.ones(20, 24), [16, 16]), 16)


@wrong("unsupported", "multiple of 16 bytes", at="# described")
def rows_of_88_bytes():
    described_copy(torch.ones(20, 22))


@wrong("unsupported", "start at a multiple of 16 bytes", at="# described")
def a_description_that_begins_at_byte_4():
    described_copy(torch.ones(500)[1:481].view(20, 24))


@wrong(NO, "at least 16 bytes", at="# described")
def a_block_of_8_bytes():
    described_copy(torch.ones(20, 24), block=(16, 2))


# -- promises ----------------------------------------------------------------------------------


@triton.jit
def promising_kernel(x, out, n, PROMISE: tl.constexpr, N: tl.constexpr):
    i = tl.arange(0, N)
    if PROMISE == "scalar":
        n = tl.multiple_of(n, 16)  # of n
    if PROMISE == "assume":
        tl.assume(n > 0)  # assumed
    if PROMISE == "pointer":
        x = tl.multiple_of(x, 16)  # of x
    if PROMISE == "constancy":
        i = tl.max_constancy(i, 4)  # of i
    place = i[:, None] * n + i[None, :]
    if PROMISE == "rows":
        place = tl.max_contiguous(tl.multiple_of(place, [1, N]), [1, N])  # of the rows
    if PROMISE == "columns":
        place = tl.max_contiguous(place, [N, 1])  # of the columns
    tl.store(out + i[:, None] * N + i[None, :], tl.load(x + place))


def promising(promise, n=32, first=0):
    x, out = torch.arange(1100.0, device=DEVICE), torch.zeros(16, 16, device=DEVICE)
    promising_kernel[(1,)](x[first:], out, n, PROMISE=promise, N=16)
    assert torch.equal(out, x[first:].as_strided((16, 16), (n, 1)))


@right
def promises_that_are_true():
    for promise in ("scalar", "assume", "pointer", "rows"):
        promising(promise)


@wrong(FALSE, "tl.multiple_of", at="# of n")
def a_size_that_is_no_multiple():
    promising("scalar", n=30)


@wrong(FALSE, "tl.assume", at="# assumed")
def an_assumption_that_is_false():
    promising("assume", n=0)


@wrong(FALSE, "tl.multiple_of", at="# of x")
def an_address_that_is_no_multiple():
    promising("pointer", first=1)


@wrong(FALSE, "tl.max_constancy", at="# of i")
def neighbours_that_differ():
    promising("constancy")


@wrong(FALSE, "tl.multiple_of", "along axis 1", at="# of the rows")
def rows_that_begin_anywhere():
    promising("rows", n=30)


@wrong(FALSE, "tl.max_contiguous", "along axis 0", at="# of the columns")
def columns_that_are_not_contiguous():
    promising("columns")
