"""Launches that cannot be: grids, arguments, tuning."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from tests.kernels.gallery.cases import wrong

BAD = "bad launch"


@triton.jit
def fill(x, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(x + i, 1.0, mask=i < n)


@wrong(BAD, "grid must be a tuple", "number 4", at="def fill(")
def grid_that_is_a_number():
    fill[4](torch.zeros(8), 8, BLOCK=8)


@wrong(BAD, "must be an integer", "3.125", "triton.cdiv", at="def fill(")
def grid_that_is_a_float():
    fill[(100 / 32,)](torch.zeros(100), 100, BLOCK=32)


@wrong(BAD, "negative", at="def fill(")
def grid_that_is_negative():
    fill[(-1,)](torch.zeros(8), 8, BLOCK=8)


@wrong(BAD, "70,000", "65,535", at="def fill(")
def grid_too_large_on_axis_1():
    fill[(1, 70_000)](torch.zeros(8), 8, BLOCK=8)


@wrong(BAD, "one to three axes", at="def fill(")
def grid_of_four_axes():
    fill[(1, 1, 1, 1)](torch.zeros(8), 8, BLOCK=8)


@wrong(BAD, "without its argument `n`", at="def fill(")
def argument_left_out():
    fill[(1,)](torch.zeros(8), BLOCK=8)


@wrong(BAD, "no argument `block`", "x, n, BLOCK", at="def fill(")
def argument_misspelt():
    fill[(1,)](torch.zeros(8), 8, BLOCK=8, block=8)


@wrong(BAD, "a list as `x`", at="def fill(")
def list_as_an_argument():
    fill[(1,)]([0.0] * 8, 8, BLOCK=8)


@wrong(BAD, "launch it with a grid")
def kernel_called_without_a_grid():
    fill(torch.zeros(8), 8, BLOCK=8)


@triton.autotune([triton.Config({"BLOCK": 16}), triton.Config({"BLOCK": 32})], key=["n"])
@triton.jit
def total(x, out, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.atomic_add(out, tl.sum(tl.load(x + i, mask=i < n, other=0.0)))


@wrong(BAD, "`out` is read and then written in place", "reset_to_zero")
def tuning_an_accumulation():
    total[lambda meta: (triton.cdiv(64, meta["BLOCK"]),)](torch.ones(64), torch.zeros(1), 64)


@wrong(BAD, "`BLOCK` is given in the launch and in the configurations")
def tuned_constant_given():
    total[(1,)](torch.ones(64), torch.zeros(1), 64, BLOCK=64)


@triton.jit
def machine_code(x):
    value = tl.inline_asm_elementwise(  # PTX
        "mov.u32 $0, %laneid;", "=r", [], dtype=tl.int32, is_pure=True, pack=1
    )
    tl.store(x, value)


@wrong("unsupported", "inline PTX", at="# PTX")
def inline_assembly():
    machine_code[(1,)](torch.zeros(1, dtype=torch.int32))
