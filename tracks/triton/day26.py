"""Day 26: Extern functions
========================
Estimated time: 1-2 hours
Prerequisites: Day 8 (element-wise kernels), Day 12 (numerical stability)
Lesson: lessons/day26.md

Learning objectives:
- Call functions that Triton's language does not have, from CUDA's libdevice
- Measure an error in ulp, and keep a whole formula within a few of them
- Choose among library functions the one that does not cancel where your formula does
- Treat the edges of a domain on purpose: both zeros, infinities, subnormal numbers, nan

    your kernel      libdevice.asin(x), x of float32
                          |
    compiler         finds the version for float32, __nv_asinf, in a library of LLVM code
                          |
    machine code     that code, inlined: no call is left

Hints:
- There is a version for float32 and one for float64. What must become of float16 first?
- Where does your formula subtract two numbers that are nearly equal?
- Put -inf, -0.0, 0.0, the smallest and the largest number, inf and nan into each formula, by hand.
Resources:
- NVIDIA, libdevice user's guide: https://docs.nvidia.com/cuda/libdevice-users-guide/
- NVIDIA, CUDA programming guide, mathematical functions and their errors: https://docs.nvidia.com/cuda/cuda-programming-guide/05-appendices/mathematical-functions.html
- Triton tutorial, Libdevice: https://triton-lang.org/main/getting-started/tutorials/07-extern-functions.html
- Goldberg, What Every Computer Scientist Should Know About Floating-Point Arithmetic: https://doi.org/10.1145/103162.103163
- Maechler, Accurately computing log(1 - exp(-|a|)): https://cran.r-project.org/web/packages/Rmpfr/vignettes/log1mexp-note.pdf
"""

from typing import Any

import torch
import triton
import triton.language as tl
from triton.language.extra import libdevice

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
BLOCK = 1024
SMALLEST_NORMAL = tl.constexpr(2.0**-126)  # of float32


def _launch(kernel: Any, x: torch.Tensor) -> torch.Tensor:
    """kernel(x_ptr, out_ptr, n) on blocks of BLOCK elements; the launcher of all of today."""
    out = torch.empty_like(x)
    n = x.numel()
    kernel[(triton.cdiv(n, BLOCK),)](x, out, n, BLOCK=BLOCK)
    return out


@triton.jit
def asin_kernel(x_ptr, out_ptr, n, BLOCK: tl.constexpr):
    """Program i: asin of the block of elements that it owns."""
    # TODO: load a block, call libdevice in float32, store.
    # HINT: What is the dtype of a block of float16, and has libdevice a version for it?
    pass


def asin(x: torch.Tensor) -> torch.Tensor:
    """The angle between -pi/2 and pi/2 whose sine is x, in one launch. Given but for the kernel.

    Accuracy, here and below: computed in float32 and rounded once, at the store. For float32 the
    result is within the stated number of ulp of the exact one (an ulp of a number is the distance
    to the next larger float32), or within 2^-122 of it: a GPU may take what is smaller than the
    smallest normal number for 0 on the way. Here: 6 ulp.

    Limits, here and below: one launch, no memory but the result's, loads and stores of 128 bits
    where addresses allow it, no spilled registers.

    Args:
        x: contiguous, any shape, fewer than 2**31 elements, none included; float32, float16 or
            bfloat16.

    Returns:
        A new tensor of x's shape and dtype. nan beyond -1 ... 1, and for nan; asin(-0.0) is -0.0.

    Example:
        asin([0.0, 0.5, 1.0, 2.0]) is [0.0, 0.5236, 1.5708, nan].
    """
    return _launch(asin_kernel, x)


@triton.jit
def erf_gelu_kernel(x_ptr, out_ptr, n, BLOCK: tl.constexpr):
    """Program i: gelu of the block of elements that it owns."""
    # TODO: x times the normal distribution function, with all digits also for x = -10.
    # HINT: erf(-7) rounds to -1. What is left of 1 + erf(x / sqrt(2)) then, and which function is
    #       that sum itself?
    pass


def erf_gelu(x: torch.Tensor) -> torch.Tensor:
    """Day 8's gelu, x / 2 * (1 + erf(x / sqrt(2))), with all digits of small results as well.

    There errors were measured against |x|. Here they are measured against the result, which for
    x = -10 is 1e-22: within 16 ulp. Given but for the kernel.

    Args:
        x: as in ``asin``.

    Returns:
        A new tensor of x's shape and dtype; 0 (of either sign) for -inf, -0.0 for -0.0, inf for
        inf, nan for nan.

    Example:
        erf_gelu([1.0, -1.0, -10.0]) is [0.8413, -0.1587, -7.62e-23].
    """
    return _launch(erf_gelu_kernel, x)


@triton.jit
def log1p_exp_kernel(x_ptr, out_ptr, n, BLOCK: tl.constexpr):
    """Program i: log(1 + exp(x)) of the block of elements that it owns."""
    # TODO: the stable form of day 12, from libdevice's functions.
    # HINT: 1 + exp(-20) is 1 in float32, and exp(100) is inf. Which sign may the exponent have, and
    #       which function adds the 1 without losing what it is added to?
    pass


def log1p_exp(x: torch.Tensor) -> torch.Tensor:
    """log(1 + exp(x)), the softplus, in one launch, within 8 ulp. Given but for the kernel.

    Args:
        x: as in ``asin``.

    Returns:
        A new tensor of x's shape and dtype; finite for every finite x, 0 for -inf, inf for inf, nan
        for nan.

    Example:
        log1p_exp([0.0, -50.0, 1000.0]) is [0.6931, 1.93e-22, 1000.0].
    """
    return _launch(log1p_exp_kernel, x)


@triton.jit
def rsqrt_safe_kernel(x_ptr, out_ptr, n, BLOCK: tl.constexpr):
    """Program i: 1 / sqrt of the block of elements that it owns, 0 for 0."""
    # TODO: libdevice.rsqrt, but 0 where x is 0, and right for subnormal x.
    # HINT: On a GPU rsqrt takes a subnormal number for 0. By which power of two can you multiply it
    #       first, so that the root of that power is a power of two again?
    pass


def rsqrt_safe(x: torch.Tensor) -> torch.Tensor:
    """1 / sqrt(x), but 0 where x is 0, in one launch, within 4 ulp. Given but for the kernel.

    A graph network divides by the root of each node's degree (Kipf and Welling), and a node without
    neighbours has the degree 0: it is to get 0, not inf. All else is as it is: "safe" hides no
    mistake, so a negative number gives nan.

    Args:
        x: as in ``asin``. Subnormal numbers count with their value, on a GPU as well: 1e-40 gives
            1e20 (in bfloat16 and float32, where it exists).

    Returns:
        A new tensor of x's shape and dtype; 0 for 0.0 and -0.0, nan for negative numbers and nan, 0
        for inf. In float16 a result never overflows: its smallest number is 2^-24.

    Example:
        rsqrt_safe([4.0, 0.0, -1.0]) is [0.5, 0.0, nan].
    """
    return _launch(rsqrt_safe_kernel, x)


def test_asin_and_its_domain() -> None:
    x = torch.tensor([0.0, 0.5, 1.0, 2.0], device=DEVICE)
    expected = torch.tensor([0.0, torch.pi / 6, torch.pi / 2, torch.nan], device=DEVICE)
    torch.testing.assert_close(asin(x), expected, equal_nan=True)


def test_gelu_keeps_its_digits() -> None:
    x = torch.tensor([-10.0, 1.0], device=DEVICE)
    expected = torch.tensor([-7.6198530e-23, 0.8413447], device=DEVICE)
    torch.testing.assert_close(erf_gelu(x), expected, rtol=1e-5, atol=0.0)


def test_log1p_exp_at_both_ends() -> None:
    x = torch.tensor([-50.0, 0.0, 1000.0], device=DEVICE)
    expected = torch.tensor([1.9287498e-22, 0.6931472, 1000.0], device=DEVICE)
    torch.testing.assert_close(log1p_exp(x), expected, rtol=1e-5, atol=0.0)


def test_a_node_without_neighbours() -> None:
    degrees = torch.tensor([4.0, 0.0, 1.0], device=DEVICE)
    assert rsqrt_safe(degrees).tolist() == [0.5, 0.0, 1.0]


if __name__ == "__main__":
    from harness import main

    main(__file__)
