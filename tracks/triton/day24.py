"""Day 24: Dropout
===============
Estimated time: 1-2 hours
Prerequisites: Day 9 (broadcasting and fusion)
Lesson: lessons/day24.md

Learning objectives:
- Make random numbers without a state: number i of a seed is a function of the seed and of i
- Get four numbers from one call of the generator, and keep them in the order of memory
- Drop elements so that the mean stays what it was, for every p from 0 to 1
- Make a mask that depends on neither the block size nor the grid
- Fuse dropout with the addition to the residual stream, in one launch

One call of the generator turns a seed and a counter into four numbers. The stream of a seed:

    counter               0               1               2
                    ____________    ____________    ____________
                   |  |  |  |  |   |  |  |  |  |   |  |  |  |  |
    number          0  1  2  3      4  5  6  7      8  9 10 11  ...

    program 0 of BLOCK = 8: counters 0 and 1        program 1: counters 2 and 3

Hints:
- A program needs no number of another program, and no state: it knows which counters are its own.
- What does tl.interleave(a, b) do with two blocks?
- An element that is dropped is 0, whatever it was. Is nan * 0 equal to 0?
Resources:
- Salmon et al., Parallel Random Numbers: As Easy as 1, 2, 3: https://doi.org/10.1145/2063384.2063405
- Srivastava et al., Dropout: https://jmlr.org/papers/v15/srivastava14a.html
- Triton tutorial, Low-Memory Dropout: https://triton-lang.org/main/getting-started/tutorials/04-low-memory-dropout.html
- Triton language reference, tl.rand4x: https://triton-lang.org/main/python-api/triton.language.html#random-number-generation
- PyTorch, torch.nn.Dropout: https://docs.pytorch.org/docs/stable/generated/torch.nn.Dropout.html
"""

import torch
import triton
import triton.language as tl

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
BLOCK = 2048  # elements of a program: a power of two, at least 8


@triton.jit
def uniform_block_kernel(seed, first, BLOCK: tl.constexpr):
    """Numbers first ... first + BLOCK - 1 of the seed's stream, as a float32 block.

    first is an int64 and a multiple of 4. The generator runs once for four numbers: for BLOCK // 4
    counters. Never launched: the kernels below call it.
    """
    # TODO: find the counters, call tl.rand4x once, and put its four blocks in order.
    # HINT: How many counters do BLOCK numbers need, and which is the first one?
    pass


@triton.jit
def uniform_kernel(out_ptr, n, seed, BLOCK: tl.constexpr):
    """Program i writes numbers i * BLOCK up to (i + 1) * BLOCK of the stream, below n."""
    # TODO: call uniform_block_kernel for this program's numbers and store them.
    # HINT: Which type has the program's number, and where does first leave it?
    pass


def uniform(n: int, seed: int, device: torch.device | str = DEVICE) -> torch.Tensor:
    """The first n numbers of a seed's stream of random numbers, evenly spread over [0, 1).

    Number i is number i % 4 of what ``tl.rand4x(seed, i // 4)`` returns, with the counter i // 4 as
    an int64. That is Philox with 10 rounds (Salmon et al.): the result depends on seed and i alone,
    so the stream is the same for every n, block size and grid.

    Limits: one launch of one program for each block of BLOCK numbers, BLOCK as it is in this file
    when the function is called (tests set it); one counter for four numbers; no memory but the
    result's; stores of 128 bits if n is a multiple of 16, and no spilled registers.

    Args:
        n: at least 0, and perhaps beyond 2**31.
        seed: from 0 to 2**64 - 1, all 64 bits of which count.
        device: where the result is.

    Returns:
        A new float32 tensor of shape (n,).

    Example:
        uniform(6, 0) is about [0.7981, 0.2390, 0.5286, 0.7890, 0.0555, 0.7242].
    """
    # TODO: allocate the output and launch one program a block.
    # HINT: Nothing is read. What must the launcher tell the kernel?
    raise NotImplementedError("uniform")


def keep_scale(p: float) -> float:
    """The factor for what dropout keeps, 1 / (1 - p), which leaves the mean what it was.

    With p = 1 nothing is kept. The factor is 0.0 then.

    Raises:
        ValueError: if p is not between 0 and 1 (both allowed); nan is not. The message
            holds the name ``p``.

    Example:
        keep_scale(0.75) is 4.0.
    """
    # TODO: refuse what is not a probability; return the factor.
    # HINT: Is nan < 0 or nan > 1 true?
    raise NotImplementedError("keep_scale")


@triton.jit
def _place(i, columns, row_stride, column_stride, FLAT: tl.constexpr):
    """Where element i of a matrix lies, counted row by row; FLAT: the matrix is contiguous.

    With FLAT as a constant the compiler sees neighbours in memory and makes wide loads.
    """
    return i if FLAT else i // columns * row_stride + i % columns * column_stride


@triton.jit
def dropout_kernel(
    x_ptr,
    out_ptr,
    n,
    columns,
    row_stride,
    column_stride,
    p,
    scale,
    seed,
    BLOCK: tl.constexpr,
    FLAT: tl.constexpr,
):
    """Program i makes elements i * BLOCK up to (i + 1) * BLOCK of out (contiguous), below n."""
    # TODO: load x where _place says; make the same block of random numbers; keep or drop; store.
    # HINT: Can a dropped nan be turned into 0 by a product?
    pass


def dropout(x: torch.Tensor, p: float, seed: int) -> torch.Tensor:
    """Drop each element with probability p and scale the others by keep_scale(p), in one launch.

    With u = uniform(x.numel(), seed), element i of x, counted row by row whatever the strides are,
    is kept if u[i] >= p (p rounded to float32), and is 0 otherwise, also where x is nan or
    infinite. What is kept is multiplied by keep_scale(p) in float32 and rounded once (Srivastava et
    al. scale later, when the model is used; the mean is the same).

    Limits: one launch of one program for each block of BLOCK elements (as in ``uniform``), and no
    memory but the result's: neither numbers nor mask are stored. For contiguous x of a
    multiple of 16 elements loads and stores of 128 bits, and no spilled registers.

    Args:
        x: (rows, columns), any strides; float32, float16 or bfloat16. Either size may be 0, and
            there may be more than 2**31 elements.
        p: from 0 to 1; at 0 everything is kept, at 1 nothing is.
        seed: as in ``uniform``.

    Returns:
        A new contiguous tensor of x's shape and dtype.

    Raises:
        ValueError: if p is not between 0 and 1, as in ``keep_scale``.

    Example:
        dropout([[1, 2, 3], [4, 5, 6]], 0.5, 0) is [[2, 0, 6], [8, 0, 12]].
    """
    # TODO: allocate the output and launch one program a block.
    # HINT: The launcher says FLAT: which x has its elements in memory in the order of counting?
    raise NotImplementedError("dropout")


@triton.jit
def dropout_residual_kernel(
    x_ptr,
    r_ptr,
    out_ptr,
    n,
    columns,
    x_row_stride,
    x_column_stride,
    r_row_stride,
    r_column_stride,
    p,
    scale,
    seed,
    BLOCK: tl.constexpr,
    X_FLAT: tl.constexpr,
    R_FLAT: tl.constexpr,
):
    """Program i makes elements i * BLOCK up to (i + 1) * BLOCK of out (contiguous), below n."""
    # TODO: as dropout_kernel, with what is kept added to r.
    # HINT: What is the result where x is dropped?
    pass


def dropout_residual(x: torch.Tensor, r: torch.Tensor, p: float, seed: int) -> torch.Tensor:
    """r + dropout(x, p, seed) in one launch: how a layer's result joins the residual stream.

    The mask is that of ``dropout``: the same seed drops the same elements. Everything is computed
    in float32 and rounded once, at the store, so what is kept is never rounded to x's dtype.

    Limits: as in ``dropout``; loads and stores are 128 bits wide where x and r are contiguous and
    have a multiple of 16 elements.

    Args:
        x: as in ``dropout``.
        r: of x's shape, strides of its own; one of the same dtypes, not necessarily that of x.
        p, seed: as in ``dropout``.

    Returns:
        A new contiguous tensor of r's shape and dtype. x and r stay as they are.

    Raises:
        ValueError: if p is not between 0 and 1, as in ``keep_scale``.

    Example:
        dropout_residual([[1, 2, 3]], [[10, 10, 10]], 0.5, 0) is [[12, 10, 16]].
    """
    # TODO: allocate the output and launch one program a block.
    # HINT: Whose dtype must the launcher give the result?
    raise NotImplementedError("dropout_residual")


def test_the_stream_begins_with_the_same_numbers() -> None:
    expected = torch.tensor([0.7981, 0.2390, 0.5286, 0.7890, 0.0555, 0.7242], device=DEVICE)
    torch.testing.assert_close(uniform(6, 0), expected, atol=1e-4, rtol=0.0)


def test_scale_at_both_ends() -> None:
    assert [keep_scale(0.0), keep_scale(0.75), keep_scale(1.0)] == [1.0, 4.0, 0.0]


def test_dropout_of_six_elements() -> None:
    x = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], device=DEVICE)
    expected = torch.tensor([[2.0, 0.0, 6.0], [8.0, 0.0, 12.0]], device=DEVICE)
    torch.testing.assert_close(dropout(x, 0.5, 0), expected)


def test_dropout_residual_of_three_elements() -> None:
    x = torch.tensor([[1.0, 2.0, 3.0]], device=DEVICE)
    r = torch.full((1, 3), 10.0, device=DEVICE)
    expected = torch.tensor([[12.0, 10.0, 16.0]], device=DEVICE)
    torch.testing.assert_close(dropout_residual(x, r, 0.5, 0), expected)


if __name__ == "__main__":
    from harness import main

    main(__file__)
