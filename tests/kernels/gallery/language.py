"""The language's less common parts: methods, booleans of one bit, constants that are tuples."""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl

from tests.kernels.gallery.cases import right, wrong
from tests.kernels.gallery.right_kernels import DEVICE, near, randn

NO = "refused by the compiler"


@triton.jit
def methods_kernel(x, out, N: tl.constexpr):
    i = tl.arange(0, N)
    v = tl.load(x + i)
    tl.store(out + i, v.exp() + v.exp2() + v.log() + v.log2() + v.sqrt())
    tl.store(out + N + i, v.sin() + v.cos() + v.floor() + v.ceil() + v.rsqrt() + v.erf())
    tl.store(out + 2 * N + i, v.abs() + v.sqrt_rn() + v.cumsum(0) + v.sigmoid() + v.max(0))


@right
def functions_as_methods():
    x, out = torch.rand(8, device=DEVICE) + 0.5, torch.zeros(24, device=DEVICE)
    methods_kernel[(1,)](x, out, N=8)
    first = x.exp() + x.exp2() + x.log() + x.log2() + x.sqrt()
    second = x.sin() + x.cos() + x.floor() + x.ceil() + x.rsqrt() + x.erf()
    third = x.abs() + x.sqrt() + x.cumsum(0) + x.sigmoid() + x.max()
    near(out, torch.cat([first, second, third]))


@triton.jit
def one_bit_kernel(a, b, out, N: tl.constexpr):
    i = tl.arange(0, N)
    x = tl.load(a + i)
    y = tl.load(b + i)
    tl.store(out + i, (x + y).to(tl.int32))
    tl.store(out + N + i, (x - y).to(tl.int32))
    tl.store(out + 2 * N + i, (x * y).to(tl.int32))
    tl.store(out + 3 * N + i, (-x).to(tl.int32))
    tl.store(out + 4 * N + i, tl.cumsum(x, 0).to(tl.int32))
    tl.store(out + 5 * N + i, tl.sum(x, 0))


@right
def booleans_add_in_one_bit_but_sum_as_integers():
    a = torch.tensor([True, True, False, False], device=DEVICE)
    b = torch.tensor([True, False, True, False], device=DEVICE)
    out = torch.zeros(24, dtype=torch.int32, device=DEVICE)
    one_bit_kernel[(1,)](a, b, out, N=4)
    assert out.view(6, 4).tolist() == [
        [0, 1, 1, 0],
        [0, 1, 1, 0],
        [1, 0, 0, 0],
        [1, 1, 0, 0],
        [1, 2, 2, 2],
        [2, 2, 2, 2],
    ]


@triton.jit
def scan_kernel(x, out, N: tl.constexpr, BACK: tl.constexpr):
    i = tl.arange(0, N)
    tl.store(out + i, tl.cumsum(tl.load(x + i), 0, reverse=BACK))
    tl.store(out + N + i, tl.cumprod(tl.load(x + i), 0, reverse=BACK))


@right
def scans_of_integers():
    for dtype in (torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64):
        x = torch.tensor([1, 2, 1, 3, 1, 2, 2, 1], device=DEVICE).to(dtype)
        out = torch.zeros(16, dtype=torch.int64, device=DEVICE)
        for back in (False, True):
            scan_kernel[(1,)](x, out, N=8, BACK=back)
            y = x.long().flip(0) if back else x.long()
            pair = [y.cumsum(0), y.cumprod(0)]
            assert torch.equal(out, torch.cat([p.flip(0) if back else p for p in pair]))


@triton.jit
def high_kernel(a, b, out, N: tl.constexpr):
    i = tl.arange(0, N)
    tl.store(out + i, tl.umulhi(tl.load(a + i), tl.load(b + i)))


@right
def upper_half_of_a_product_counts_bits_as_unsigned():
    for dtype, bits in ((torch.int32, 32), (torch.int64, 64)):
        a = torch.tensor([-1, -2, 5, 2 ** (bits - 1) - 1], dtype=dtype, device=DEVICE)
        b = torch.tensor([-1, 7, -3, -(2 ** (bits - 1))], dtype=dtype, device=DEVICE)
        out = torch.zeros_like(a)
        high_kernel[(1,)](a, b, out, N=4)
        ones = (1 << bits) - 1
        expected = [
            ((x & ones) * (y & ones)) >> bits for x, y in zip(a.tolist(), b.tolist(), strict=True)
        ]
        assert [value & ones for value in out.tolist()] == expected


@triton.jit
def shape_kernel(x, out, SHAPE: tl.constexpr):
    i = tl.arange(0, SHAPE[0])[:, None] * SHAPE[1] + tl.arange(0, SHAPE[1])[None, :]
    tl.store(out + i, tl.load(x + i) * 2)


@right
def tuple_of_constants():
    x, out = randn(4, 8), torch.zeros(4, 8, device=DEVICE)
    shape_kernel[(1,)](x, out, SHAPE=(4, 8))
    near(out, x * 2)


class Rows(NamedTuple):
    start: torch.Tensor
    count: int
    stride: int


@triton.jit
def rows_kernel(rows, out, N: tl.constexpr):
    i = tl.arange(0, N)
    inside = i < rows.count
    tl.store(out + i, tl.load(rows.start + i * rows.stride, mask=inside), mask=inside)


@right
def named_tuple_of_a_tensor_and_numbers():
    x, out = randn(5, 3), torch.zeros(5, device=DEVICE)
    rows_kernel[(1,)](Rows(x, 5, 3), out, N=8)
    near(out, x[:, 0])


@triton.jit
def condition_kernel(out, n):
    i = 0
    while tl.condition(i < n):
        i += 1
    tl.store(out, i)


@right
def loop_with_a_condition():
    out = torch.full((1,), -1, dtype=torch.int32, device=DEVICE)
    for n in (3, 0):
        condition_kernel[(1,)](out, n)
        assert out.item() == n


@triton.jit
def single_other_kernel(x, out, n):
    tl.store(out, tl.load(x, mask=n > 0, other=0.0))
    tl.store(out + 1 + tl.arange(0, 1), tl.load(x + tl.arange(0, 1), mask=n > 0, other=0.0))


@right
def zero_for_a_single_masked_element():
    out = torch.ones(2, device=DEVICE)
    single_other_kernel[(1,)](torch.ones(1, device=DEVICE), out, 0)
    assert out.tolist() == [0.0, 0.0]


@triton.jit
def scaled_kernel(a, sa, b, sb, out, M: tl.constexpr, K: tl.constexpr):
    m, k, s = tl.arange(0, M), tl.arange(0, K), tl.arange(0, K // 32)
    x = tl.load(a + m[:, None] * K + k[None, :])
    y = tl.load(b + k[:, None] * M + m[None, :])
    x_scale = tl.load(sa + m[:, None] * (K // 32) + s[None, :])
    y_scale = tl.load(sb + m[:, None] * (K // 32) + s[None, :])
    product = tl.dot_scaled(x, x_scale, "e4m3", y, y_scale, "e4m3")
    tl.store(out + m[:, None] * M + m[None, :], product)


@right
def microscaled_product():
    a, b = (randn(*s).to(torch.float8_e4m3fn) for s in ((32, 64), (64, 32)))
    sa = torch.full((32, 2), 127, dtype=torch.uint8, device=DEVICE)
    sb = torch.full((32, 2), 128, dtype=torch.uint8, device=DEVICE)
    out = torch.zeros(32, 32, device=DEVICE)
    scaled_kernel[(1,)](a, sa, b, sb, out, M=32, K=64)
    near(out, 2 * (a.double() @ b.double()))


@triton.jit
def print_kernel(x, N: tl.constexpr):
    tl.device_print("hexadecimal ", tl.load(x + tl.arange(0, N)), hex=True)


@right
def printing_in_hexadecimal():
    for dtype in (torch.int32, torch.float32, torch.uint8):
        print_kernel[(1,)](torch.arange(4, device=DEVICE).to(dtype), N=4)


@triton.jit
def float8_kernel(x, out, OP: tl.constexpr, N: tl.constexpr):
    v = tl.load(x + tl.arange(0, N))
    if OP == "add":
        v = v + v  # added
    elif OP == "convert":
        v = v.to(tl.float8e5)  # converted
    tl.store(out + tl.arange(0, N), v.to(tl.float32))


@wrong(NO, "no arithmetic on fp8e4nv", at="# added")
def float8_sum():
    float8_kernel[(1,)](torch.ones(8).to(torch.float8_e4m3fn), torch.zeros(8), OP="add", N=8)


@wrong(NO, "from fp8e4nv to fp8e5", at="# converted")
def float8_of_another_kind():
    float8_kernel[(1,)](torch.ones(8).to(torch.float8_e4m3fn), torch.zeros(8), OP="convert", N=8)


@triton.jit
def histogram_kernel(x, out, N: tl.constexpr):
    tl.store(out + tl.arange(0, 8), tl.histogram(tl.load(x + tl.arange(0, N)), 8))  # bins


@wrong(NO, "int64", "int32", at="# bins")
def histogram_of_int64():
    histogram_kernel[(1,)](
        torch.zeros(64, dtype=torch.int64), torch.zeros(8, dtype=torch.int32), 64
    )


@triton.jit
def gather_kernel(x, index, out, N: tl.constexpr):
    i = tl.arange(0, N)
    tl.store(out + i, tl.gather(tl.load(x + i), tl.load(index + i), 0))  # gathered


@wrong("out of bounds", "index -1", at="# gathered")
def gather_before_the_start():
    gather_kernel[(1,)](torch.ones(8), torch.full((8,), -1), torch.empty(8), N=8)


@wrong("out of bounds", "index 8", at="# gathered")
def gather_past_the_end():
    gather_kernel[(1,)](torch.ones(8), torch.full((8,), 8), torch.empty(8), N=8)


@triton.jit
def clock_kernel(out):
    tl.store(out, tl.extra.cuda.globaltimer())  # clock


@wrong("unsupported", "inline PTX", at="# clock")
def clock_of_a_gpu():
    clock_kernel[(1,)](torch.zeros(1, dtype=torch.int64))


@triton.autotune([triton.Config({"B": 16}), triton.Config({"B": 32})], key=["n"])
@triton.jit
def tuned_relu_kernel(x, n, B: tl.constexpr):
    i = tl.program_id(0) * B + tl.arange(0, B)
    tl.store(x + i, tl.maximum(tl.load(x + i, mask=i < n), 0.0), mask=i < n)


@right
def tuning_what_gives_the_same_when_repeated():
    x = randn(70)
    expected = x.relu()
    tuned_relu_kernel[lambda meta: (triton.cdiv(70, meta["B"]),)](x, 70)
    near(x, expected)


@triton.autotune([triton.Config({"B": 16}), triton.Config({"B": 32})], key=["n"])
@triton.jit
def tuned_scratch_kernel(x, out, n, B: tl.constexpr):
    total = 0.0
    for start in range(0, n, B):
        i = start + tl.arange(0, B)
        e = tl.exp(tl.load(x + i, mask=i < n, other=-float("inf")))
        tl.store(out + i, e, mask=i < n)
        total += tl.sum(e)
    for start in range(0, n, B):
        i = start + tl.arange(0, B)
        tl.store(out + i, tl.load(out + i, mask=i < n) / total, mask=i < n)


@right
def tuning_a_buffer_that_the_kernel_writes_first():
    x, out = randn(40), torch.empty(40, device=DEVICE)
    tuned_scratch_kernel[(1,)](x, out, 40)
    near(out, x.softmax(0))


@triton.jit
def hint_kernel(x, start, N: tl.constexpr):
    i = start + tl.arange(0, N)
    i = tl.max_contiguous(tl.multiple_of(i, N), N)  # hinted
    tl.store(x + i, 1.0)


@right
def hints_that_are_true():
    x = torch.zeros(16, device=DEVICE)
    hint_kernel[(1,)](x, 8, N=8)
    assert x.tolist() == [0.0] * 8 + [1.0] * 8


@wrong("assertion failed", "tl.multiple_of", "not true", at="# hinted")
def hint_that_is_not_true():
    hint_kernel[(1,)](torch.zeros(16), 3, N=8)
