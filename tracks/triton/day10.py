"""Day 10: Reductions
==================
Estimated time: 1-2 hours
Prerequisites: Day 5 (block programming), Day 9 (fusion)
Lesson: lessons/day10.md

Learning objectives:
- Reduce a row of any length: a loop over blocks, one accumulator a lane, one tree at the end
- Choose the start of the accumulator and the padding: the neutral element of the operation
- Carry a position along with a value, and settle ties
- Say what nan does in every reduction, and make it so
- Reduce a whole tensor: by two launches, or by an atomic that nearly nobody calls

A row of 11 elements in blocks of 4. Each lane keeps its own sum; the lanes meet once, at the end:

    lane             0    1    2    3
    block 0          3    1    4    1
    block 1          5    9    2    6
    block 2          5    3    5   (0)     padding
    accumulator     13   13   11    7      one addition a block and lane
    tl.sum             44                  one tree a row

Hints:
- What does a lane hold that saw padding only? It takes part in the last step like all others.
- tl.maximum drops nan unless it is told to keep it, and tl.max always does.
- Try a row of one element, a row of one block plus one, and a row where all are equal.
Resources:
- Harris, Optimizing Parallel Reduction in CUDA: https://developer.download.nvidia.com/assets/cuda/files/reduction.pdf
- Triton language reference, tl.maximum: https://triton-lang.org/main/python-api/generated/triton.language.maximum.html
- Triton language reference, tl.atomic_or: https://triton-lang.org/main/python-api/generated/triton.language.atomic_or.html
- IEEE 754-2019, minimum and maximum operations: https://doi.org/10.1109/IEEESTD.2019.8766229
"""

import torch
import triton
import triton.language as tl

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
MAX_BLOCK = 4096
MAX_PROGRAMS = 256


def _block_and_warps(columns: int) -> tuple[int, int]:
    """A block that covers a short row, or MAX_BLOCK elements of a long one; its number of warps."""
    block = min(triton.next_power_of_2(max(columns, 1)), MAX_BLOCK)
    return block, min(max(block // (32 * 16), 1), 8)


@triton.jit
def row_sum_kernel(x_ptr, out_ptr, columns, BLOCK: tl.constexpr):
    """Program i: out_ptr[i] = the sum of row i of x, taken BLOCK elements at a time."""
    # TODO: walk along the row by blocks, add them up in float32, store one number.
    # HINT: What can a lane do by itself, block after block, and what needs all lanes?
    pass


def row_sum(x: torch.Tensor) -> torch.Tensor:
    """Sum of every row, in one launch: out[i] = x[i, 0] + x[i, 1] + ...

    Limits: one launch of at most a program a row, no memory but the result's, no spilled registers,
    and loads of 128 bits where rows are long and aligned.

    Args:
        x: (rows, columns), contiguous; float32, float16 or bfloat16. Either size may be 0; a row
            may be longer than any block.

    Returns:
        A tensor of shape (rows,) and x's dtype, added up in float32 and rounded once; 0 for a row
        of no elements.

    Example:
        row_sum([[1, 2, 3], [4, 5, 6]]) is [6, 15].
    """
    # TODO: allocate one number a row and launch one program a row.
    # HINT: Does the grid depend on the number of columns?
    raise NotImplementedError("row_sum")


@triton.jit
def row_max_kernel(x_ptr, out_ptr, columns, BLOCK: tl.constexpr):
    """Program i: out_ptr[i] = the largest element of row i of x, or nan if the row holds one."""
    # TODO: as row_sum_kernel with the maximum; a nan anywhere in the row must reach the result.
    # HINT: With which number must the accumulator start, so that every element beats or equals it?
    pass


def row_max(x: torch.Tensor) -> torch.Tensor:
    """Largest element of every row, in one launch: out[i] = max(x[i, 0], x[i, 1], ...).

    Limits: one launch of at most a program a row, no memory but the result's, no spilled registers,
    and loads of 128 bits where rows are long and aligned.

    Args:
        x: (rows, columns), contiguous; float32, float16 or bfloat16. A row may be longer than any
            block, and may be all -inf. There may be no rows, but not no columns.

    Returns:
        A tensor of shape (rows,) and x's dtype. As in torch.amax, a row that holds nan gives nan.

    Raises:
        ValueError: x has 0 columns: a row of no elements has no largest one.

    Example:
        row_max([[1, 3, 2], [-5, -4, -6]]) is [3, -4].
    """
    # TODO: refuse rows without elements, then allocate and launch as in row_sum.
    # HINT: What would the kernel store if its loop never ran? Is it the maximum of anything?
    raise NotImplementedError("row_max")


@triton.jit
def row_argmax_kernel(x_ptr, out_ptr, columns, BLOCK: tl.constexpr):
    """Program i: out_ptr[i] = the column of row i's first largest element; nan is the largest."""
    # TODO: keep a value and its column in each lane; at the end find the winner among the lanes.
    # HINT: A lane goes through its columns from left to right. When may a new value replace the
    #       old one, so that of two equal values the first stays?
    pass


def row_argmax(x: torch.Tensor) -> torch.Tensor:
    """Column of the largest element of every row, in one launch.

    Of equal elements the first counts. A nan counts as larger than everything else, as in
    torch.argmax: a row that holds nan gives the column of its first nan. A row of -inf gives 0.

    Limits: one launch of at most a program a row, no memory but the result's, no spilled registers,
    and loads of 128 bits where rows are long and aligned.

    Args:
        x: as in ``row_max``.

    Returns:
        An int64 tensor of shape (rows,).

    Raises:
        ValueError: x has 0 columns.

    Example:
        row_argmax([[1, 3, 3], [-inf, -inf, -inf], [inf, nan, nan]]) is [1, 0, 1].
    """
    # TODO: refuse rows without elements, allocate an output of the right dtype, launch.
    # HINT: Is the result's dtype that of x?
    raise NotImplementedError("row_argmax")


@triton.jit
def mean_all_kernel(x_ptr, partial_ptr, n, BLOCK: tl.constexpr):
    """Program i sums the blocks i, i + programs, i + 2 * programs, ... into partial_ptr[i]."""
    # TODO: walk over x in steps of all programs' blocks, and leave one float32 sum.
    # HINT: How far is it from a program's block to its next one, if tl.num_programs(0) share x?
    pass


@triton.jit
def mean_all_finish_kernel(partial_ptr, out_ptr, count, n, BLOCK: tl.constexpr):
    """The only program: out_ptr[0] = (partial_ptr[0] + ... + partial_ptr[count - 1]) / n."""
    # TODO: sum the partial sums in one block, divide by the number of elements, store.
    # HINT: How many elements does x have: count, BLOCK or n?
    pass


def mean_all(x: torch.Tensor) -> torch.Tensor:
    """Mean of all elements, in two launches: partial sums by many programs, then one program.

    The same x gives the same bits each time, so the partial sums are not added by atomics, whose
    order is not fixed. There is one program, and one partial sum, for each block of MAX_BLOCK
    elements, but at most MAX_PROGRAMS: where x is larger, a program takes several blocks. All that
    is allocated takes at most 8192 bytes, and the host does not wait for the device.

    Args:
        x: contiguous, any shape and size; float32, float16 or bfloat16.

    Returns:
        A tensor of shape () and x's dtype, added up and divided in float32: the sum may exceed
        float16's 65504 where the mean does not. nan if x has no elements, as in torch.mean.

    Example:
        mean_all([[1, 2], [3, 6]]) is 3.
    """
    # TODO: choose the number of programs, allocate their partial sums and the result, launch twice.
    # HINT: How many blocks of MAX_BLOCK does x have? How many programs are allowed?
    raise NotImplementedError("mean_all")


@triton.jit
def any_nan_kernel(x_ptr, flag_ptr, n, BLOCK: tl.constexpr):
    """Program i sets the int32 at flag_ptr if its block of x holds nan, or else leaves it alone."""
    # TODO: look for nan in this program's block; raise the flag if there is one.
    # HINT: Which number is not equal to itself?
    pass


def any_nan(x: torch.Tensor) -> torch.Tensor:
    """Whether any element is nan, in one launch. Infinities are not nan.

    One flag in memory serves all programs, one for each block of MAX_BLOCK elements. Only a program
    that finds a nan touches it, by an atomic, so in the usual case nobody does. At most 1024 bytes
    are allocated.

    Args:
        x: contiguous, any shape and size; float32, float16 or bfloat16.

    Returns:
        A bool tensor of shape (), on x's device: the host does not wait for the answer. False if
        x has no elements.

    Example:
        any_nan([1.0, inf, nan]) is True, any_nan([inf, -inf]) is False.
    """
    # TODO: allocate the flag with what it must hold before the launch; one program a block.
    # HINT: Atomics work on int32, the result is to be bool. Which bytes do 0 and 1 have as int32?
    raise NotImplementedError("any_nan")


def test_row_sum_of_two_rows() -> None:
    x = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], device=DEVICE)
    assert row_sum(x).tolist() == [6.0, 15.0]


def test_row_sum_of_a_long_row() -> None:
    x = torch.ones(1, 10_001, device=DEVICE)
    assert row_sum(x).tolist() == [10_001.0]


def test_row_max_of_negative_rows() -> None:
    x = torch.tensor([[1.0, 3.0, 2.0], [-5.0, -4.0, -6.0]], device=DEVICE)
    assert row_max(x).tolist() == [3.0, -4.0]


def test_row_argmax_takes_the_first() -> None:
    inf, nan = float("inf"), float("nan")
    x = torch.tensor([[1.0, 3.0, 3.0], [-inf, -inf, -inf], [inf, nan, nan]], device=DEVICE)
    assert row_argmax(x).tolist() == [1, 0, 1]


def test_mean_all_of_a_matrix() -> None:
    x = torch.tensor([[1.0, 2.0], [3.0, 6.0]], device=DEVICE)
    assert mean_all(x).item() == 3.0


def test_any_nan_tells_nan_from_infinity() -> None:
    assert any_nan(torch.tensor([1.0, float("inf"), float("nan")], device=DEVICE)).item() is True
    assert any_nan(torch.tensor([float("inf"), -float("inf")], device=DEVICE)).item() is False


if __name__ == "__main__":
    from harness import main

    main(__file__)
