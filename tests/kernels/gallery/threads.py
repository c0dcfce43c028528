"""The threads of one program: what one wrote, another may read only after a barrier."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from tests.kernels.gallery.cases import right, wrong
from tests.kernels.gallery.right_kernels import DEVICE, near, randn


@triton.jit
def mirror_kernel(x, scratch, out, BARRIER: tl.constexpr, N: tl.constexpr):
    i = tl.arange(0, N)
    tl.store(scratch + i, tl.load(x + i))
    if BARRIER:
        tl.debug_barrier()
    tl.store(out + i, tl.load(scratch + N - 1 - i))  # read back


def mirrored(barrier: bool, **options):
    x, out = randn(64), torch.empty(64, device=DEVICE)
    mirror_kernel[(1,)](x, torch.empty_like(x), out, BARRIER=barrier, N=64, **options)
    near(out, x.flip(0))


@right
def read_back_after_a_barrier():
    mirrored(True)
    mirrored(False, num_warps=1)


@wrong("race", "`scratch`", "another thread", "tl.debug_barrier()", at="# read back")
def read_back_without_a_barrier():
    mirrored(False)


@triton.jit
def reverse_kernel(x, BARRIER: tl.constexpr, N: tl.constexpr):
    i = tl.arange(0, N)
    value = tl.load(x + N - 1 - i)
    if BARRIER:
        tl.debug_barrier()
    tl.store(x + i, value)  # written over


@right
def reverse_in_one_program():
    x = randn(64)
    expected = x.flip(0)
    reverse_kernel[(1,)](x, BARRIER=True, N=64)
    near(x, expected)


@wrong("race", "overwrites", "another thread", at="# written over")
def reverse_in_one_program_without_a_barrier():
    reverse_kernel[(1,)](randn(64), BARRIER=False, N=64)


@triton.jit
def first_kernel(x, N: tl.constexpr):
    i = tl.arange(0, N)
    first = tl.load(x)
    tl.store(x + i, tl.load(x + i) - first)  # the first as well


@wrong("race", "element 0 of `x`", at="# the first as well")
def all_threads_read_what_the_first_overwrites():
    first_kernel[(1,)](randn(64) + 1, N=64)


@triton.jit
def same_lanes_kernel(x, scratch, out, n, N: tl.constexpr):
    for start in range(0, n, N):
        i = start + tl.arange(0, N)
        tl.store(scratch + i, tl.load(x + i, mask=i < n) * 2, mask=i < n)
    for start in range(0, n, N):
        i = start + tl.arange(0, N)
        tl.store(out + i, tl.load(scratch + i, mask=i < n) + 1, mask=i < n)


@right
def each_thread_reads_its_own():
    x, out = randn(100), torch.empty(100, device=DEVICE)
    same_lanes_kernel[(1,)](x, torch.empty_like(x), out, 100, N=32)
    near(out, x * 2 + 1)


@triton.jit
def reduced_between_kernel(x, scratch, out, N: tl.constexpr):
    i = tl.arange(0, N)
    value = tl.load(x + i)
    tl.store(scratch + i, value)
    total = tl.sum(value)  # goes through shared memory, which has a barrier
    tl.store(out + i, tl.load(scratch + N - 1 - i) + total)


@right
def a_reduction_is_a_barrier():
    x, out = randn(64), torch.empty(64, device=DEVICE)
    reduced_between_kernel[(1,)](x, torch.empty_like(x), out, N=64)
    near(out, x.flip(0) + x.sum())


@triton.jit
def bins_kernel(x, bins, out, N: tl.constexpr, B: tl.constexpr):
    i = tl.arange(0, N)
    tl.atomic_add(bins + tl.load(x + i), 1)
    tl.store(out + tl.arange(0, B), tl.load(bins + tl.arange(0, B)))  # counted yet?


@wrong("race", "`bins`", at="# counted yet?")
def bins_read_without_a_barrier():
    x = torch.randint(0, 8, (64,), device=DEVICE)
    bins = torch.zeros(8, dtype=torch.int32, device=DEVICE)
    bins_kernel[(1,)](x, bins, torch.empty_like(bins), N=64, B=8)
