"""Day 3: Masking
==============
Estimated time: 45-75 minutes
Prerequisites: Day 2 (offsets, gather and scatter)
Lesson: lessons/day03.md

Learning objectives:
- Give the lanes that a load leaves out a value of your choice
- Choose between two numbers in every lane, also where one of them is nan
- Join masks: the lane exists, and the number in it fulfils a condition
- Let a mask that comes from memory decide what is loaded at all
- Pad a reduction with the value that does not change its result

A block has a power of two of lanes; a tensor ends where it likes. With 5 elements in a block of 8:

    lane       0     1     2     3     4  |   5     6     7
    x          3    -1    nan    0    -2  |   .     .     .
    i < n      T     T     T     T     T  |   F     F     F    the lane exists
    x < 0      F     T     F     F     T  |   ?     ?     ?    if it exists
    both       F     T     F     F     T  |   F     F     F    lanes to act on

Hints:
- Give every mask a name that says what it means; two of them may be needed in one kernel.
- Ask of each kernel what happens to a lane that holds nan. Every comparison with nan is False.
- The launchers are given: they say what each kernel receives.
Resources:
- Triton language reference, tl.load and its other: https://triton-lang.org/main/python-api/generated/triton.language.load.html
- Triton language reference, tl.where: https://triton-lang.org/main/python-api/generated/triton.language.where.html
- Goldberg, What every computer scientist should know about floating-point arithmetic: https://docs.oracle.com/cd/E19957-01/806-3568/ncg_goldberg.html
"""

import torch
import triton
import triton.language as tl

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
BLOCK = 1024


@triton.jit
def load_or_kernel(x_ptr, out_ptr, default, length, n, BLOCK: tl.constexpr):
    """Program i: its block of out's n elements, from x where j < length, else default."""
    # TODO: load what x has, fill the rest of the block with default, store what out has room for.
    # HINT: x ends at length and out ends at n. Which of the two may a load not pass?
    ### BEGIN SOLUTION
    # HINT: tl.load(..., mask=..., other=...) says what the lanes hold that are not loaded.
    # HINT: Two masks: j < length for the load, with other=default, and j < n for the store.
    j = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + j, mask=j < length, other=default)
    tl.store(out_ptr + j, x, mask=j < n)
    ### END SOLUTION


def load_or(x: torch.Tensor, n: int, default: float) -> torch.Tensor:
    """Return ``n`` elements: those of ``x``, then ``default`` as often as needed.

    Args:
        x: one axis, contiguous, any dtype and length, 0 included.
        n: length of the result; it may be less than len(x), and the rest of x is then left out.
        default: a number; it is converted to x's dtype.

    Returns:
        A new contiguous tensor of n elements and x's dtype:
        out[j] = x[j] if j < len(x) else default.

    Example:
        load_or([1, 2, 3], 5, -1) is [1, 2, 3, -1, -1]; load_or([1, 2, 3], 2, -1) is [1, 2].
    """
    out = torch.empty(n, dtype=x.dtype, device=x.device)
    load_or_kernel[(triton.cdiv(n, BLOCK),)](x, out, default, x.numel(), n, BLOCK=BLOCK)
    return out


@triton.jit
def clamp_kernel(x_ptr, out_ptr, lo, hi, n, BLOCK: tl.constexpr):
    """Program i: out_ptr[j] = x_ptr[j], limited to lo ... hi, for the block of j that it owns."""
    # TODO: raise what is below lo to lo, lower what is above hi to hi, keep the rest and nan.
    # HINT: Is nan < lo? Is nan > hi? Which question leaves nan alone?
    ### BEGIN SOLUTION
    # HINT: tl.where(condition, a, b) takes a in the lanes where the condition is True, else b.
    # HINT: x = tl.where(x < lo, lo, x), and then the same for hi. tl.minimum would drop nan.
    j = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = j < n
    x = tl.load(x_ptr + j, mask=inside)
    x = tl.where(x < lo, lo, x)
    x = tl.where(x > hi, hi, x)
    tl.store(out_ptr + j, x, mask=inside)
    ### END SOLUTION


def clamp(x: torch.Tensor, lo: float, hi: float) -> torch.Tensor:
    """Return ``x`` limited to the range from ``lo`` to ``hi``, as ``torch.clamp`` does.

    Args:
        x: contiguous, any shape; float32, float16 or bfloat16.
        lo, hi: the limits; either may be infinite. If lo > hi, then hi wins: all but nan become hi.

    Returns:
        A new tensor of x's shape and dtype: lo where x < lo, hi where x > hi, else x itself.
        nan stays nan: it is neither below lo nor above hi.

    Example:
        clamp([-3.0, 0.5, 9.0, nan], 0, 1) is [0, 0.5, 1, nan].
    """
    out = torch.empty_like(x)
    n = x.numel()
    clamp_kernel[(triton.cdiv(n, BLOCK),)](x, out, lo, hi, n, BLOCK=BLOCK)
    return out


@triton.jit
def where_kernel(cond_ptr, x_ptr, y_ptr, out_ptr, n, BLOCK: tl.constexpr):
    """Program i: out_ptr[j] = x_ptr[j] where cond_ptr[j] is True, else y_ptr[j]."""
    # TODO: load the three blocks, choose in every lane, store.
    # HINT: cond * x + (1 - cond) * y chooses, too. What is 0 * nan, and what is 0 * inf?
    ### BEGIN SOLUTION
    # HINT: A load from a tensor of bools gives a block of bools: what tl.where takes first.
    # HINT: Three loads under one mask, then tl.store(out_ptr + j, tl.where(cond, x, y), mask=...).
    j = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = j < n
    cond = tl.load(cond_ptr + j, mask=inside)
    x = tl.load(x_ptr + j, mask=inside)
    y = tl.load(y_ptr + j, mask=inside)
    tl.store(out_ptr + j, tl.where(cond, x, y), mask=inside)
    ### END SOLUTION


def where(cond: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return ``x`` where ``cond`` is True and ``y`` elsewhere, as ``torch.where`` does.

    Args:
        cond: bool, contiguous, any shape.
        x, y: contiguous, cond's shape, both of the same dtype, whichever it is. What lies in the
            one that is not chosen has no effect, be it nan or inf.

    Returns:
        A new tensor of x's shape and dtype.

    Example:
        where([True, False], [1.0, nan], [inf, 4.0]) is [1.0, 4.0].
    """
    out = torch.empty_like(x)
    n = x.numel()
    where_kernel[(triton.cdiv(n, BLOCK),)](cond, x, y, out, n, BLOCK=BLOCK)
    return out


@triton.jit
def relu_inplace_kernel(x_ptr, n, BLOCK: tl.constexpr):
    """Program i: sets x_ptr[j] to 0 where it is negative, for the block of j that it owns."""
    # TODO: load a block of x and make its negative elements 0, in x itself.
    # HINT: Which elements of x does this kernel have to write at all?
    ### BEGIN SOLUTION
    # HINT: Masks are joined with & and each comparison stands in parentheses: (a < b) & (c < d).
    # HINT: tl.store(x_ptr + j, 0, mask=...) for the lanes that exist and hold a negative number.
    j = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = j < n
    x = tl.load(x_ptr + j, mask=inside)
    tl.store(x_ptr + j, 0, mask=inside & (x < 0))
    ### END SOLUTION


def relu_inplace(x: torch.Tensor) -> torch.Tensor:
    """Set the negative elements of ``x`` to 0, in place, and leave all others as they are.

    Args:
        x: contiguous, any shape; a floating dtype or a signed integer dtype. It may be a view into
            a larger tensor, of which nothing else changes.

    Returns:
        ``x`` itself. nan stays nan, -inf becomes 0.

    Example:
        x = [-1.0, 2.0, nan]; after relu_inplace(x) it is [0.0, 2.0, nan].
    """
    n = x.numel()
    relu_inplace_kernel[(triton.cdiv(n, BLOCK),)](x, n, BLOCK=BLOCK)
    return x


@triton.jit
def masked_sum_kernel(x_ptr, mask_ptr, out_ptr, n, BLOCK: tl.constexpr):
    """The only program: out_ptr[0] = sum of x_ptr[j] for j < n where mask_ptr[j]; n <= BLOCK."""
    # TODO: add up the elements of x that the mask keeps, in float32, and store the one number.
    # HINT: Which number can stand in a lane that does not count, so that a sum does not see it?
    ### BEGIN SOLUTION
    # HINT: A lane beyond n must not count. What should it find when it asks for its mask?
    # HINT: keep = tl.load(mask_ptr + j, mask=j < n, other=False) can itself mask the load of x.
    # HINT: With other=0.0 there, and after .to(tl.float32), tl.sum(x, axis=0) is the answer.
    j = tl.arange(0, BLOCK)
    keep = tl.load(mask_ptr + j, mask=j < n, other=False)
    x = tl.load(x_ptr + j, mask=keep, other=0.0).to(tl.float32)
    tl.store(out_ptr, tl.sum(x, axis=0))
    ### END SOLUTION


def masked_sum(x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the sum of the elements of ``x`` whose mask is True, computed by one program.

    tl.sum(block, axis=0) adds up a block; it works in the block's own dtype, so convert first.

    Args:
        x: contiguous, any shape, at most 16384 elements; float32, float16 or bfloat16.
        mask: bool, contiguous, x's shape. What x holds where it is False has no effect, be it
            nan or inf.

    Returns:
        A new float32 tensor of shape (), added up in float32; 0 if the mask keeps nothing.

    Example:
        masked_sum([1.0, nan, 3.0], [True, False, True]) is 4.0.
    """
    out = torch.empty((), dtype=torch.float32, device=x.device)
    n = x.numel()
    masked_sum_kernel[(1,)](x, mask, out, n, BLOCK=triton.next_power_of_2(max(n, 1)))
    return out


def test_load_or_pads_and_cuts() -> None:
    x = torch.tensor([1.0, 2.0, 3.0], device=DEVICE)
    assert load_or(x, 5, -1.0).tolist() == [1.0, 2.0, 3.0, -1.0, -1.0]
    assert load_or(x, 2, -1.0).tolist() == [1.0, 2.0]


def test_clamp_keeps_nan() -> None:
    x = torch.tensor([-3.0, 0.5, 9.0, float("nan")], device=DEVICE)
    out = clamp(x, 0.0, 1.0).tolist()
    assert out[:3] == [0.0, 0.5, 1.0]
    assert out[3] != out[3]


def test_where_ignores_what_is_not_chosen() -> None:
    cond = torch.tensor([True, False], device=DEVICE)
    x = torch.tensor([1.0, float("nan")], device=DEVICE)
    y = torch.tensor([float("inf"), 4.0], device=DEVICE)
    assert where(cond, x, y).tolist() == [1.0, 4.0]


def test_relu_inplace_changes_the_view_and_nothing_else() -> None:
    memory = torch.tensor([-1.0, -2.0, 3.0, -4.0], device=DEVICE)
    relu_inplace(memory[1:3])
    assert memory.tolist() == [-1.0, 0.0, 3.0, -4.0]


def test_masked_sum_of_two() -> None:
    x = torch.tensor([1.0, float("nan"), 3.0], device=DEVICE)
    mask = torch.tensor([True, False, True], device=DEVICE)
    assert masked_sum(x, mask).item() == 4.0


if __name__ == "__main__":
    from harness import main

    main(__file__)
