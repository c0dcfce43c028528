"""Kernels whose machine code is known: copies, a matrix product, one that spills, refused ones."""

import torch
import triton
import triton.language as tl
from triton.language.extra import libdevice


@triton.jit
def copy_kernel(source, target, count, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = offsets < count
    tl.store(target + offsets, tl.load(source + offsets, mask=inside), mask=inside)


@triton.jit
def column_kernel(source, target, count, stride, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = offsets < count
    tl.store(target + offsets, tl.load(source + offsets * stride, mask=inside), mask=inside)


@triton.jit
def gather_kernel(source, indices, target, BLOCK: tl.constexpr):
    offsets = tl.arange(0, BLOCK)
    tl.store(target + offsets, tl.load(source + tl.load(indices + offsets)))


@triton.autotune([triton.Config({"BLOCK": 64}, num_warps=2)], key=[])
@triton.jit
def product_kernel(a, b, c, K, stride, BLOCK: tl.constexpr):
    rows = tl.arange(0, BLOCK)
    depth = tl.arange(0, 32)
    a_tile = a + rows[:, None] * stride + depth[None, :]
    b_tile = b + depth[:, None] * stride + rows[None, :]
    total = tl.zeros((BLOCK, BLOCK), tl.float32)
    for _ in range(0, K, 32):
        total = tl.dot(tl.load(a_tile), tl.load(b_tile), total)
        a_tile += 32
        b_tile += 32 * stride
    tl.store(c + rows[:, None] * stride + rows[None, :], total.to(tl.float16))


@triton.jit
def spilling_kernel(source, target, SIDE: tl.constexpr):
    rows = tl.arange(0, SIDE)
    block = rows[:, None] * SIDE + rows[None, :]
    values = tl.load(source + block)
    # Every element is needed twice: for the total, and again after it.
    total = tl.sum(tl.sum(values, axis=1), axis=0)
    tl.store(target + block, values * total)


@triton.jit
def transposing_kernel(source, target, stride, BLOCK: tl.constexpr):
    rows = tl.arange(0, BLOCK)
    tile = tl.load(source + rows[:, None] * stride + rows[None, :])
    tl.store(target + rows[:, None] + rows[None, :] * stride, tile)


@triton.jit
def libdevice_kernel(source, target, BLOCK: tl.constexpr):
    offsets = tl.arange(0, BLOCK)
    tl.store(target + offsets, libdevice.tanh(tl.load(source + offsets)))


@triton.jit
def helper(x, BLOCK: tl.constexpr):
    return tl.sum(tl.zeros((BLOCK,), tl.float32) + x, axis=1)


@triton.jit
def refused_in_helper_kernel(target, BLOCK: tl.constexpr):
    tl.store(target, helper(1.0, BLOCK))


@triton.jit
def odd_range_kernel(target, BLOCK: tl.constexpr):
    offsets = tl.arange(0, BLOCK)
    tl.store(target + offsets, offsets, mask=offsets < 3)


@triton.jit
def breaking_kernel(target, count):
    for i in range(count):
        if i > 3:
            break
    tl.store(target, 1.0)


@triton.jit
def carried_kernel(source, target, count):
    total = 0
    for i in range(count):
        total = total + tl.load(source + i)
    tl.store(target, total)


@triton.jit
def double_kernel(target):
    first = second = 1.0
    tl.store(target, first + second)


def plain(x):
    return x


@triton.jit
def plain_call_kernel(target):
    tl.store(target, plain(1.0))


@triton.jit
def half_exp_kernel(source, target, BLOCK: tl.constexpr):
    offsets = tl.arange(0, BLOCK)
    tl.store(target + offsets, tl.exp(tl.load(source + offsets)))


@triton.jit
def undefined_kernel(target):
    tl.store(target + missing, 1.0)  # noqa: F821 - the mistake that is shown


@triton.jit
def shapes_kernel(target, BLOCK: tl.constexpr):
    left = tl.zeros((BLOCK,), tl.float32)
    right = tl.zeros((BLOCK // 2,), tl.float32)
    tl.store(target + tl.arange(0, BLOCK), left + right)


@triton.jit
def runtime_shape_kernel(target, count):
    tl.store(target + tl.arange(0, count), 1.0)


@triton.jit
def small_dot_kernel(source, target):
    rows = tl.arange(0, 16)
    depth = tl.arange(0, 8)
    a = tl.load(source + rows[:, None] * 8 + depth[None, :])
    b = tl.load(source + depth[:, None] * 16 + rows[None, :])
    tl.store(target + rows[:, None] * 16 + rows[None, :], tl.dot(a, b))


@triton.jit
def mixed_dot_kernel(source, other, target):
    rows = tl.arange(0, 16)
    block = rows[:, None] * 16 + rows[None, :]
    tl.store(target + block, tl.dot(tl.load(source + block), tl.load(other + block)))


@triton.jit
def huge_dot_kernel(source, target, count, SIDE: tl.constexpr):
    rows = tl.arange(0, SIDE)
    block = rows[:, None] * SIDE + rows[None, :]
    total = tl.zeros((SIDE, SIDE), tl.float32)
    for i in range(count):
        total = tl.dot(tl.load(source + block + i), tl.load(source + block + 2 * i), total)
    tl.store(target + block, total)


def made_inside(target: torch.Tensor) -> None:
    @triton.jit
    def local_kernel(target):
        tl.store(target, 1.0)

    local_kernel[(1,)](target)
