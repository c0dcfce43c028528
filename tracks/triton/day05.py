"""Day 5: Block programming
========================
Estimated time: 1-2 hours
Prerequisites: Day 4 (program ids and grids)
Lesson: lessons/day05.md

Learning objectives:
- Reduce a block to one number, and choose what its padding holds
- Cut a long sum into a tree, so that rounding errors stay small
- Combine the work of many programs by a second launch
- Combine it by atomics where the order does not matter
- Write the launcher: allocate, choose the block, count the programs

A reduction turns a block into one number. Programs cannot wait for each other, so their results
meet in a second launch. With 10 elements in blocks of 4:

    x           3  1  4  1 |  5  9  2  6 |  5  3  0  0      0: padding
    program     ---- 0 ---    ---- 1 ---    ---- 2 ---      launch 1
    partial         9             22            8
    program                   --- 0 ---                     launch 2
    total                        39

Hints:
- For every reduction ask: which number can be added to the list without changing the result?
- A kernel stores one number as well as a block: the pointer and the value are then no blocks.
- How many numbers does the first launch leave for the second one?
Resources:
- Higham, The Accuracy of Floating Point Summation (1993): https://doi.org/10.1137/0914050
- Triton language reference, tl.sum: https://triton-lang.org/main/python-api/generated/triton.language.sum.html
- Triton language reference, tl.atomic_add: https://triton-lang.org/main/python-api/generated/triton.language.atomic_add.html
"""

import math

import torch
import triton
import triton.language as tl

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
BLOCK = 1024
MIN_BLOCK = 128
MAX_BLOCK = 16384


def _warps(block: int) -> int:
    """How many warps (of 32 threads) share a block: 16 elements a thread, 4 to 32 warps."""
    return min(max(block // (32 * 16), 4), 32)


@triton.jit
def block_max_kernel(x_ptr, out_ptr, n, BLOCK: tl.constexpr):
    """The only program: out_ptr[0] = the largest of x_ptr[0], ..., x_ptr[n - 1]; n <= BLOCK."""
    # TODO: load the n elements as one block and store its maximum.
    # HINT: What do masked lanes hold? If all elements are negative, which lane wins?
    pass


def block_max(x: torch.Tensor) -> torch.Tensor:
    """Return the largest element of ``x``, found by one program in one block.

    Args:
        x: contiguous, any shape, 1 to 16384 elements; float32, float16 or bfloat16. It may hold
            infinities, but no nan.

    Returns:
        A tensor of shape () and x's dtype: x.max().

    Raises:
        ValueError: x is empty, or has more than 16384 elements.

    Example:
        block_max([-3.0, -1.0, -2.0]) is -1.0.
    """
    # TODO: refuse what has no maximum or fits in no block, allocate the output, launch one program.
    # HINT: Which block size covers n elements? A block must be a power of two.
    raise NotImplementedError("block_max")


@triton.jit
def block_sums_kernel(x_ptr, out_ptr, n, BLOCK: tl.constexpr):
    """Program i: out_ptr[i] = the sum of x_ptr[j] for j from i * BLOCK up to (i + 1) * BLOCK."""
    # TODO: sum the block that this program owns, in float32, and store the sum.
    # HINT: The last block sticks out beyond n. What must its masked lanes hold?
    pass


def block_sums(x: torch.Tensor, block: int) -> torch.Tensor:
    """Cut ``x`` into blocks of ``block`` elements and return the sum of each.

    out[i] = x[i * block] + ... + x[(i + 1) * block - 1]; the last block may be shorter.

    Args:
        x: contiguous, any shape, 0 to 2**30 elements, taken as one vector; float32, float16 or
            bfloat16.
        block: a power of two, at most 65536; one program sums one block.

    Returns:
        A float32 tensor of shape (ceil(n / block),), for x of any dtype: a sum of 16-bit numbers
        needs more digits than its terms, and float16 ends at 65504. Summed in float32.

    Example:
        block_sums([1.0, 2.0, 3.0, 4.0, 5.0], 2) is [3.0, 7.0, 5.0].
    """
    # TODO: allocate one float32 number for each block and launch one program for each.
    # HINT: How many blocks do 5 elements make in blocks of 2?
    raise NotImplementedError("block_sums")


@triton.jit
def total_kernel(partial_ptr, out_ptr, count, BLOCK: tl.constexpr):
    """The only program: out_ptr[0] = the sum of count float32 numbers; count <= BLOCK."""
    # TODO: sum the partial sums in one block and store the result.
    # HINT: This is block_sums_kernel for a single block.
    pass


def total(x: torch.Tensor) -> torch.Tensor:
    """Return the sum of all elements of ``x``, by two launches: many programs, then one.

    Each program of the first launch sums a part of x; the only program of the second launch sums
    the parts. Added one after the other, n equal float32 numbers lose up to n rounding errors of
    2**-24; added in a tree, about log2(n) of them. Both launches must sum by blocks (tl.sum),
    so that no number goes through more than a few hundred additions, and atomics are not
    needed: the same x gives the same bits each time.

    Limits, for every length of x: no block has more than 65536 elements, in neither launch; no
    kernel spills registers; and from 50,000 elements on, all that is allocated takes at most one
    byte for each element of x.

    Args:
        x: contiguous, any shape, 0 to 2**30 elements; float32, float16 or bfloat16.

    Returns:
        A float32 tensor of shape (), summed in float32; 0 for an empty x.

    Example:
        total([3.0, 1.0, 4.0]) is 8.0.
    """
    # TODO: choose a block, compute the partial sums, then sum these in a second launch.
    # HINT: With blocks of 1024, 2**30 elements leave 2**20 partial sums. Does one block hold them?
    # HINT: Which block size makes the two launches equally long?
    raise NotImplementedError("total")


@triton.jit
def histogram_kernel(x_ptr, counts_ptr, n, bins, BLOCK: tl.constexpr):
    """Each program adds its block of x to counts: counts_ptr[v] += 1 for each value v it owns."""
    # TODO: count the block's values; several lanes and programs may hit one bin at once.
    # HINT: Two lanes that load a count of 7, add 1 and store 8 have lost one of the two values.
    pass


def histogram(x: torch.Tensor, bins: int) -> torch.Tensor:
    """Count how often each of 0, 1, ..., bins - 1 occurs in ``x``, in one launch.

    counts[v] = how many elements of x equal v. Values below 0 or from ``bins`` on are not counted.
    The counts are exact, however many elements share a value. One program counts one block of 1024
    elements.

    Args:
        x: contiguous, any shape, 0 to 2**30 elements; int32 or int64.
        bins: number of bins, at least 1; not only powers of two.

    Returns:
        An int64 tensor of shape (bins,).

    Example:
        histogram([0, 2, 2, 5, -1], 3) is [1, 0, 2].
    """
    # TODO: allocate the counts and launch one program for each block of 1024 elements.
    # HINT: The kernel adds to what is in memory. What must be there before the launch?
    raise NotImplementedError("histogram")


def test_block_max_of_negative_numbers() -> None:
    x = torch.tensor([-3.0, -1.0, -2.0], device=DEVICE)
    assert block_max(x).item() == -1.0


def test_block_sums_with_a_short_last_block() -> None:
    x = torch.arange(1.0, 6.0, device=DEVICE)
    assert block_sums(x, 2).tolist() == [3.0, 7.0, 5.0]


def test_total_of_three_thousand_numbers() -> None:
    x = torch.arange(3000.0, device=DEVICE)
    assert total(x).item() == 3000 * 2999 / 2


def test_histogram_counts_repeated_values() -> None:
    x = torch.tensor([0, 2, 2, 5, -1], device=DEVICE)
    assert histogram(x, 3).tolist() == [1, 0, 2]


if __name__ == "__main__":
    from harness import main

    main(__file__)
