"""Kernels of one operation each, for comparison with torch."""

import triton
import triton.language as tl
from triton.language.extra import libdevice


@triton.jit
def binary(a, b, out, OP: tl.constexpr, N: tl.constexpr):
    i = tl.arange(0, N)
    x = tl.load(a + i)
    y = tl.load(b + i)
    if OP == "add":
        z = x + y
    elif OP == "sub":
        z = x - y
    elif OP == "mul":
        z = x * y
    elif OP == "divide":
        z = x / y
    elif OP == "less":
        z = x < y
    elif OP == "equal":
        z = x == y
    elif OP == "where":
        z = tl.where(x > y, x, y)
    elif OP == "maximum":
        z = tl.maximum(x, y)
    elif OP == "minimum":
        z = tl.minimum(x, y)
    else:
        z = tl.abs(x)
    tl.store(out + i, z.to(out.dtype.element_ty))


@triton.jit
def convert(x, out, N: tl.constexpr):
    i = tl.arange(0, N)
    tl.store(out + i, tl.load(x + i).to(out.dtype.element_ty))


@triton.jit
def total(x, out, N: tl.constexpr):
    value = tl.load(x + tl.arange(0, N))
    tl.store(out, tl.sum(value.to(tl.float32)))
    tl.store(out + 1, tl.sum(value).to(tl.float32))


@triton.jit
def running_total(x, out, N: tl.constexpr, TIMES: tl.constexpr):
    value = tl.load(x + tl.arange(0, N))
    acc = tl.sum(value)
    for _ in range(TIMES):
        acc += tl.sum(value)
    for _ in range(8):
        acc += 1.0
    acc = tl.minimum(acc, 256.0)
    tl.store(out, acc.to(tl.float32))


@triton.jit
def dot(a, b, out, PRECISION: tl.constexpr):
    i = tl.arange(0, 32)
    place = i[:, None] * 32 + i[None, :]
    tl.store(out + place, tl.dot(tl.load(a + place), tl.load(b + place), input_precision=PRECISION))


@triton.jit
def scatter_add(values, index, out, N: tl.constexpr):
    i = tl.arange(0, N)
    tl.atomic_add(out + tl.load(index + i), tl.load(values + i))


@triton.jit
def unary(x, out, OP: tl.constexpr, N: tl.constexpr):
    i = tl.arange(0, N)
    value = tl.load(x + i)
    tl.store(out + i, getattr(tl, OP)(value))


@triton.jit
def library(x, out, OP: tl.constexpr, N: tl.constexpr):
    i = tl.arange(0, N)
    value = tl.load(x + i)
    tl.store(out + i, getattr(libdevice, OP)(value))


@triton.jit
def scaled(x, out, factor, N: tl.constexpr):
    i = tl.arange(0, N)
    tl.store(out + i, tl.load(x + i) * factor)


@triton.jit
def fused(x, out, N: tl.constexpr):
    i = tl.arange(0, N)
    value = tl.load(x + i)
    tl.store(out + i, tl.fma(value, value, tl.zeros_like(value) - (1 + 2.0**-11)))


@triton.jit
def row_maximum(x, out, n, N: tl.constexpr):
    i = tl.arange(0, N)
    tl.store(out, tl.max(tl.load(x + i, mask=i < n, other=0.0), 0))


@triton.jit
def sum_without_other(x, out, n, N: tl.constexpr):
    i = tl.arange(0, N)
    tl.store(out, tl.sum(tl.load(x + i, mask=i < n), 0))


@triton.jit
def narrow_sum(x, out, N: tl.constexpr):
    tl.store(out, tl.sum(tl.load(x + tl.arange(0, N)), 0))


@triton.jit
def accumulate(x, out, N: tl.constexpr):
    tl.atomic_add(out, tl.sum(tl.load(x + tl.arange(0, N)), 0))


@triton.jit
def quadruple(x, out, N: tl.constexpr):
    i = tl.arange(0, N)
    tl.store(out + i, (tl.load(x + i) * 4).to(tl.int64))
