"""Day 8: Element-wise kernels
===========================
Estimated time: 1-2 hours
Prerequisites: Day 7 (memory coalescing)
Lesson: lessons/day08.md

Learning objectives:
- Write the activation functions of today's models as one-pass kernels
- Load 16 bits, compute in 32, round once at the store
- Rewrite a formula so that no intermediate result overflows
- Loop over a number of coefficients that is only known at run time

An element-wise kernel is a copy with arithmetic in the middle. The arithmetic must survive every
number that can come in:

    load 16 bits --> float32 --> formula --> round --> store 16 bits
                                 |
                       exp(88.8) is inf in float32, and inf / inf is nan

Hints:
- Put the largest number of the dtype into your formula, with both signs. What becomes of it?
- inf in a denominator is harmless: 1 / inf is 0. inf in both halves of a fraction is nan.
- The tests compare with float64; an error is measured against |x|.
Resources:
- Hendrycks and Gimpel, Gaussian Error Linear Units: https://arxiv.org/abs/1606.08415
- Ramachandran, Zoph and Le, Searching for Activation Functions: https://arxiv.org/abs/1710.05941
- Misra, Mish: https://arxiv.org/abs/1908.08681
- Triton language reference, math: https://triton-lang.org/main/python-api/triton.language.html#math-ops
"""

import torch
import triton
import triton.language as tl

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
BLOCK = 2048
SQRT_1_2 = tl.constexpr(0.7071067811865476)  # sqrt(1/2)
SQRT_2_PI = tl.constexpr(0.7978845608028654)  # sqrt(2/pi)


@triton.jit
def gelu_kernel(x_ptr, out_ptr, n, BLOCK: tl.constexpr):
    """Program i: gelu of the block of elements that it owns."""
    # TODO: load a block, compute gelu in float32, store it.
    # HINT: tl.erf takes float32 and float64. What comes out of a load of float16?
    ### BEGIN SOLUTION
    # HINT: Convert with .to(tl.float32) right after the load; tl.store rounds to out's dtype.
    # HINT: For x = 3e38, x * (1 + erf) is inf, though gelu(x) is x: which factor must come first?
    offset = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offset < n
    x = tl.load(x_ptr + offset, mask=mask).to(tl.float32)
    tl.store(out_ptr + offset, 0.5 * x * (1.0 + tl.erf(x * SQRT_1_2)), mask=mask)
    ### END SOLUTION


def gelu(x: torch.Tensor) -> torch.Tensor:
    """Gaussian error linear unit, in one launch: x times the chance that a normal one is below x.

    gelu(x) = x / 2 * (1 + erf(x / sqrt(2)))

    Limits: one program for each block of BLOCK elements, no memory but the result's, no spilled
    registers, and loads and stores of 128 bits where addresses allow it.

    Args:
        x: contiguous, any shape, fewer than 2**31 elements, none included; float32, float16 or
            bfloat16, computed in float32. Every finite x has a finite result, up to the largest
            number of the dtype.

    Returns:
        A new tensor of x's shape and dtype.

    Example:
        gelu([0.0, 1.0, -1.0]) is [0.0, 0.8413, -0.1587].
    """
    # TODO: allocate the output and launch one program for each block of BLOCK elements.
    # HINT: This launcher is the same for all functions of today but the last.
    ### BEGIN SOLUTION
    # HINT: gelu_kernel[(triton.cdiv(n, BLOCK),)](x, out, n, BLOCK=BLOCK)
    out = torch.empty_like(x)
    n = x.numel()
    gelu_kernel[(triton.cdiv(n, BLOCK),)](x, out, n, BLOCK=BLOCK)
    return out
    ### END SOLUTION


@triton.jit
def silu_kernel(x_ptr, out_ptr, n, BLOCK: tl.constexpr):
    """Program i: silu of the block of elements that it owns."""
    # TODO: load a block, compute silu in float32, store it.
    # HINT: exp(-x) is inf for x = -100. Is that a problem where you use it?
    ### BEGIN SOLUTION
    # HINT: x / inf is 0, which is right; inf / inf is nan. Which of the two can your formula meet?
    # HINT: x / (1 + exp(-x)) has its only exp in the denominator.
    offset = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offset < n
    x = tl.load(x_ptr + offset, mask=mask).to(tl.float32)
    tl.store(out_ptr + offset, x / (1.0 + tl.exp(-x)), mask=mask)
    ### END SOLUTION


def silu(x: torch.Tensor) -> torch.Tensor:
    """Sigmoid linear unit (swish), in one launch.

    silu(x) = x * sigmoid(x), where sigmoid(x) = 1 / (1 + exp(-x)) = exp(x) / (1 + exp(x))

    One program for each block of BLOCK elements; no memory is allocated but the result's.

    Args:
        x: as in ``gelu``; every finite x has a finite result.

    Returns:
        A new tensor of x's shape and dtype.

    Example:
        silu([0.0, 1.0, -1.0]) is [0.0, 0.7311, -0.2689].
    """
    # TODO: allocate the output and launch one program for each block of BLOCK elements.
    # HINT: torch.empty_like keeps shape, dtype and device.
    ### BEGIN SOLUTION
    # HINT: As for gelu, with silu_kernel.
    out = torch.empty_like(x)
    n = x.numel()
    silu_kernel[(triton.cdiv(n, BLOCK),)](x, out, n, BLOCK=BLOCK)
    return out
    ### END SOLUTION


@triton.jit
def gelu_tanh_kernel(x_ptr, out_ptr, n, BLOCK: tl.constexpr):
    """Program i: gelu in its tanh form, of the block of elements that it owns."""
    # TODO: load a block, compute gelu_tanh in float32, store it.
    # HINT: Triton has no tanh. tanh(u) = (exp(2u) - 1) / (exp(2u) + 1): when is this inf / inf?
    ### BEGIN SOLUTION
    # HINT: Written as 1 - 2 / (exp(2u) + 1), tanh has its only exp in a denominator.
    # HINT: Better still, (1 + tanh(u)) / 2 is the sigmoid of 2u.
    offset = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offset < n
    x = tl.load(x_ptr + offset, mask=mask).to(tl.float32)
    u = SQRT_2_PI * (x + 0.044715 * x * x * x)  # may become inf, with the sign of x
    tl.store(out_ptr + offset, x / (1.0 + tl.exp(-2.0 * u)), mask=mask)
    ### END SOLUTION


def gelu_tanh(x: torch.Tensor) -> torch.Tensor:
    """The approximation of gelu that GPT-2 and BERT's first code used, in one launch.

    gelu_tanh(x) = x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x**3)))

    It differs from ``gelu`` by up to 5e-4, so a model trained with one must run with that one.

    One program for each block of BLOCK elements; no memory is allocated but the result's.

    Args:
        x: as in ``gelu``; every finite x has a finite result, also where x**3 overflows.

    Returns:
        A new tensor of x's shape and dtype.

    Example:
        gelu_tanh([0.0, 1.0, -1.0]) is [0.0, 0.8412, -0.1588].
    """
    # TODO: allocate the output and launch one program for each block of BLOCK elements.
    # HINT: Nothing about the launch depends on the formula.
    ### BEGIN SOLUTION
    # HINT: As for gelu, with gelu_tanh_kernel.
    out = torch.empty_like(x)
    n = x.numel()
    gelu_tanh_kernel[(triton.cdiv(n, BLOCK),)](x, out, n, BLOCK=BLOCK)
    return out
    ### END SOLUTION


@triton.jit
def mish_kernel(x_ptr, out_ptr, n, BLOCK: tl.constexpr):
    """Program i: mish of the block of elements that it owns."""
    # TODO: load a block, compute mish in float32, store it.
    # HINT: With e = exp(x), exp(softplus(x)) is 1 + e. What is tanh of a logarithm?
    ### BEGIN SOLUTION
    # HINT: tanh(log(a)) = (a**2 - 1) / (a**2 + 1); for a = 1 + e both are sums of positive terms.
    # HINT: t = e * (e + 2) gives t / (t + 2). It is 1 in float32 for x > 20: e may stop there.
    offset = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offset < n
    x = tl.load(x_ptr + offset, mask=mask).to(tl.float32)
    e = tl.exp(tl.minimum(x, 20.0))
    t = e * (e + 2.0)
    tl.store(out_ptr + offset, x * (t / (t + 2.0)), mask=mask)
    ### END SOLUTION


def mish(x: torch.Tensor) -> torch.Tensor:
    """Mish, in one launch.

    mish(x) = x * tanh(softplus(x)), where softplus(x) = log(1 + exp(x))

    One program for each block of BLOCK elements; no memory is allocated but the result's.

    Args:
        x: as in ``gelu``; every finite x has a finite result.

    Returns:
        A new tensor of x's shape and dtype.

    Example:
        mish([0.0, 1.0, -1.0]) is [0.0, 0.8651, -0.3034].
    """
    # TODO: allocate the output and launch one program for each block of BLOCK elements.
    # HINT: One launch: softplus is not stored anywhere.
    ### BEGIN SOLUTION
    # HINT: As for gelu, with mish_kernel.
    out = torch.empty_like(x)
    n = x.numel()
    mish_kernel[(triton.cdiv(n, BLOCK),)](x, out, n, BLOCK=BLOCK)
    return out
    ### END SOLUTION


@triton.jit
def polynomial_kernel(x_ptr, coefficients_ptr, out_ptr, n, count, BLOCK: tl.constexpr):
    """Program i: the polynomial with count coefficients at each element that it owns."""
    # TODO: evaluate the polynomial in float32 without ever computing a power of x.
    # HINT: c0 + c1 x + c2 x**2 = c0 + x (c1 + x c2). Which coefficient is needed first?
    ### BEGIN SOLUTION
    # HINT: Start with a block of zeros and repeat result = result * x + coefficient.
    # HINT: for k in range(count) takes coefficient count - 1 - k, one number for the whole block.
    offset = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offset < n
    x = tl.load(x_ptr + offset, mask=mask).to(tl.float32)
    result = tl.zeros((BLOCK,), tl.float32)
    for k in range(count):
        result = result * x + tl.load(coefficients_ptr + count - 1 - k)
    tl.store(out_ptr + offset, result, mask=mask)
    ### END SOLUTION


def polynomial(x: torch.Tensor, coefficients: torch.Tensor) -> torch.Tensor:
    """Evaluate a polynomial at every element of ``x``, in one launch, by Horner's rule.

    polynomial(x)[i] = c[0] + c[1] * x[i] + c[2] * x[i]**2 + ...

    Horner's rule takes one multiplication and one addition a coefficient, and no power of x that
    could overflow by itself: 1e-30 * x**3 at x = 1e20 is 1e30, though x**3 has no float32.

    One program for each block of BLOCK elements; no memory is allocated but the result's.

    Args:
        x: as in ``gelu``.
        coefficients: (count,), contiguous, float32, the constant term first; count may be 0, and
            the polynomial is then 0.

    Returns:
        A new tensor of x's shape and dtype, computed in float32.

    Example:
        polynomial([2.0, 3.0], [1.0, 0.0, 5.0]) is [21.0, 46.0].
    """
    # TODO: allocate the output and launch one program for each block of BLOCK elements.
    # HINT: The kernel cannot see how many coefficients there are.
    ### BEGIN SOLUTION
    # HINT: Pass coefficients.numel() as an ordinary argument; a tl.constexpr compiles every degree.
    out = torch.empty_like(x)
    n, count = x.numel(), coefficients.numel()
    polynomial_kernel[(triton.cdiv(n, BLOCK),)](x, coefficients, out, n, count, BLOCK=BLOCK)
    return out
    ### END SOLUTION


def _assert_close(actual: torch.Tensor, expected: list[float]) -> None:
    torch.testing.assert_close(actual.cpu(), torch.tensor(expected), rtol=0.0, atol=1e-4)


def test_gelu() -> None:
    _assert_close(gelu(torch.tensor([0.0, 1.0, -1.0], device=DEVICE)), [0.0, 0.8413, -0.1587])


def test_silu() -> None:
    x = torch.tensor([0.0, 1.0, -1.0, -1000.0], device=DEVICE)
    _assert_close(silu(x), [0.0, 0.7311, -0.2689, 0.0])


def test_gelu_tanh() -> None:
    x = torch.tensor([0.0, 1.0, -1.0, 1000.0], device=DEVICE)
    _assert_close(gelu_tanh(x), [0.0, 0.8412, -0.1588, 1000.0])


def test_mish() -> None:
    x = torch.tensor([0.0, 1.0, -1.0, 1000.0], device=DEVICE)
    _assert_close(mish(x), [0.0, 0.8651, -0.3034, 1000.0])


def test_polynomial() -> None:
    coefficients = torch.tensor([1.0, 0.0, 5.0], device=DEVICE)
    _assert_close(polynomial(torch.tensor([2.0, 3.0], device=DEVICE), coefficients), [21.0, 46.0])


if __name__ == "__main__":
    from harness import main

    main(__file__)
