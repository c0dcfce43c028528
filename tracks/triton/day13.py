"""Day 13: Fused softmax
=====================
Estimated time: 1-2 hours
Prerequisites: Day 12 (numerical stability)
Lesson: lessons/day13.md

Learning objectives:
- Fuse five passes over memory into one read and one write
- Keep a whole row in one program's registers
- Pad a block with the neutral element of the reduction that follows
- Read inputs of any strides without copying them first
- Derive the gradient of softmax and compute it in one pass

One program owns one row. With 5 columns and a block of 8, program 1 holds:

    lane        0     1     2     3     4   |  5     6     7
    x[1, :]    x10   x11   x12   x13   x14  | -inf  -inf  -inf    padding
    exp(x-m)   e10   e11   e12   e13   e14  |  0     0     0      adds nothing

    memory --1 read--> registers: max, exp, sum, divide --1 write--> memory

Hints:
- Draw one row with its padding and ask what each reduction does with the padded lanes.
- Convert to float32 straight after the load; the store rounds back by itself.
- Test with columns = 1, a power of two, and a power of two plus one.
Resources:
- Milakov and Gimelshein, Online normalizer calculation for softmax: https://arxiv.org/abs/1805.02867
- Triton tutorial, Fused Softmax: https://triton-lang.org/main/getting-started/tutorials/02-fused-softmax.html
- PyTorch, torch.softmax: https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.softmax.html
"""

import torch
import triton
import triton.language as tl

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
MAX_COLUMNS = 65536


def _block_and_warps(columns: int) -> tuple[int, int]:
    """Block size that covers a row, and how many warps (of 32 threads) share it.

    16 elements a thread keep several 128-bit loads in flight and still leave room for other
    programs on the same multiprocessor; 32 warps are the most that a program can have.
    """
    if columns > MAX_COLUMNS:
        raise ValueError(f"a row of {columns} columns does not fit: at most {MAX_COLUMNS}")
    block = triton.next_power_of_2(max(columns, 1))
    return block, min(max(block // (32 * 16), 4), 32)


@triton.jit
def softmax_kernel(x_ptr, out_ptr, row_stride, column_stride, columns, BLOCK: tl.constexpr):
    """Program i turns row i of x (any strides) into row i of out (contiguous)."""
    # TODO: load row i once, compute its softmax in float32, store it once.
    # HINT: Which value can stand in the padding so that neither the maximum nor the sum sees it?
    pass


def softmax(x: torch.Tensor) -> torch.Tensor:
    """Softmax of every row, in one launch: out[i, j] = exp(x[i, j] - m_i) / s_i.

    m_i = max_j x[i, j] and s_i = sum_j exp(x[i, j] - m_i).

    Limits: no memory but the result's; x is loaded in one place of the kernel, and loads and stores
    are 128 bits wide where rows are aligned; up to 32768 columns no registers are spilled.

    Args:
        x: (rows, columns) of any strides; float32, float16 or bfloat16, computed in float32.
            Either size may be 0; at most 65536 columns.

    Returns:
        A new contiguous tensor of x's shape and dtype. As in torch, a row that holds nan or
        +inf, or only -inf, becomes nan.

    Raises:
        ValueError: x has more than 65536 columns (``_block_and_warps`` says so for you).

    Example:
        softmax([[0, log 3]]) is [[0.25, 0.75]].
    """
    # TODO: allocate the output, choose block and warps, launch one program a row.
    # HINT: What must the kernel know to find row i, column j of a transposed view?
    raise NotImplementedError("softmax")


@triton.jit
def softmax_temperature_kernel(
    x_ptr, out_ptr, t, row_stride, column_stride, columns, BLOCK: tl.constexpr
):
    """Program i turns row i of x (any strides) into row i of out (contiguous)."""
    # TODO: as softmax_kernel, with every difference to the maximum divided by t.
    # HINT: x / t can overflow where the result is harmless. Which step must come first?
    pass


def softmax_temperature(x: torch.Tensor, t: float) -> torch.Tensor:
    """Softmax of x / t along every row, in one launch and without storing x / t.

    A small t sharpens the distribution towards the largest entry, a large t flattens it towards
    1 / columns: this is the temperature of a language model's sampler. The result must be right
    even where x / t itself is too large for float32. No memory is allocated but the result's.

    Args:
        x: as in ``softmax``.
        t: temperature, greater than 0.

    Returns:
        A new contiguous tensor of x's shape and dtype.

    Raises:
        ValueError: t is not greater than 0 (nan is not), or x has more than 65536 columns.

    Example:
        softmax_temperature([[0, log 3]], 0.5) is [[0.1, 0.9]]: the odds 1 : 3 become 1 : 9.
    """
    # TODO: refuse a bad t, then allocate and launch as in softmax.
    # HINT: nan > 0 and nan <= 0 are both False. Which of the two comparisons refuses nan?
    raise NotImplementedError("softmax_temperature")


@triton.jit
def masked_softmax_kernel(
    x_ptr,
    mask_ptr,
    out_ptr,
    x_row_stride,
    x_column_stride,
    mask_row_stride,
    mask_column_stride,
    columns,
    BLOCK: tl.constexpr,
):
    """Program i turns row i of x, where row i of the mask is True, into row i of out."""
    # TODO: softmax over the kept entries; the others, and rows without any, become 0.
    # HINT: What are the maximum and the sum of a row with nothing kept? Follow them to the store.
    pass


def masked_softmax(x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Softmax of every row over the entries whose mask is True, in one launch.

    out[i, j] = exp(x[i, j] - m_i) / s_i where mask[i, j], else 0; m_i and s_i are the maximum and
    the sum over the kept entries only. A row with nothing to keep (each entry masked, or -inf)
    becomes all 0, not nan. What x holds where the mask is False, be it nan or inf, has no effect.
    No memory is allocated but the result's.

    Args:
        x: as in ``softmax``.
        mask: bool, of x's shape or broadcastable to it, any strides; True keeps. A broadcast mask
            is not copied.

    Returns:
        A new contiguous tensor of x's shape and dtype.

    Raises:
        ValueError: x has more than 65536 columns.

    Example:
        masked_softmax([[0, log 3, 9]], [[True, True, False]]) is [[0.25, 0.75, 0]].
    """
    # TODO: give the mask x's shape without copying it, then allocate and launch.
    # HINT: Which stride lets many rows read the same memory?
    raise NotImplementedError("masked_softmax")


@triton.jit
def softmax_backward_kernel(
    y_ptr,
    dy_ptr,
    dx_ptr,
    y_row_stride,
    y_column_stride,
    dy_row_stride,
    dy_column_stride,
    columns,
    BLOCK: tl.constexpr,
):
    """Program i computes row i of dx from row i of y and of dy."""
    # TODO: dx = y * (dy - sum(y * dy)), in float32.
    # HINT: Which value in the padding adds nothing to a sum of products?
    pass


def softmax_backward(y: torch.Tensor, dy: torch.Tensor) -> torch.Tensor:
    """Gradient of softmax with respect to its input, in one launch, from its output alone.

    dx[i, j] = y[i, j] * (dy[i, j] - sum_k y[i, k] * dy[i, k])

    No memory is allocated but dx's.

    Args:
        y: (rows, columns), what ``softmax`` returned; float32, float16 or bfloat16, any strides.
            Either size may be 0; at most 65536 columns.
        dy: gradient of the loss with respect to y; same shape and dtype, strides of its own
            (autograd often hands over an expanded tensor, with stride 0).

    Returns:
        dx, a new contiguous tensor of y's shape and dtype, computed in float32.

    Raises:
        ValueError: y has more than 65536 columns.

    Example:
        softmax_backward([[0.25, 0.75]], [[1, 0]]) is [[0.1875, -0.1875]].
    """
    # TODO: allocate dx and launch one program a row.
    # HINT: y and dy have the same shape. Do they have the same strides?
    raise NotImplementedError("softmax_backward")


def test_softmax_of_two_columns() -> None:
    x = torch.tensor([[0.0, 0.0], [1000.0, 0.0]], device=DEVICE)
    expected = torch.tensor([[0.5, 0.5], [1.0, 0.0]], device=DEVICE)
    torch.testing.assert_close(softmax(x), expected)


def test_softmax_of_a_transposed_view() -> None:
    x = torch.arange(15.0, device=DEVICE).reshape(5, 3).T
    torch.testing.assert_close(softmax(x), torch.softmax(x, dim=-1))


def test_temperature_squares_the_odds() -> None:
    x = torch.tensor([[1.0, 3.0]], device=DEVICE).log()
    expected = torch.tensor([[0.1, 0.9]], device=DEVICE)
    torch.testing.assert_close(softmax_temperature(x, 0.5), expected)


def test_masked_rows() -> None:
    x = torch.tensor([[0.0, 0.0, 9.0], [1.0, 2.0, 3.0]], device=DEVICE)
    mask = torch.tensor([[True, True, False], [False, False, False]], device=DEVICE)
    expected = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.0, 0.0]], device=DEVICE)
    torch.testing.assert_close(masked_softmax(x, mask), expected)


def test_backward_of_two_columns() -> None:
    y = torch.tensor([[0.25, 0.75]], device=DEVICE)
    dy = torch.tensor([[1.0, 0.0]], device=DEVICE)
    expected = torch.tensor([[0.1875, -0.1875]], device=DEVICE)
    torch.testing.assert_close(softmax_backward(y, dy), expected)


if __name__ == "__main__":
    from harness import main

    main(__file__)
