"""Day 16: Blocked matmul
======================
Estimated time: 2-3 hours
Prerequisites: Day 15 (matrices in memory)
Lesson: lessons/day16.md

Learning objectives:
- Multiply matrices tile by tile, and say how often each element is loaded
- Use tl.dot, the door to the tensor cores: its shapes, its padding, its precision
- Keep an accumulator in registers while K passes by
- Read operands that lie by rows or by columns, without a copy
- Add a bias before the only rounding, in the same launch

A program owns a tile of the result. It needs a band of rows of a and a band of columns of b, and
takes both BLOCK_K elements at a time:

                        K                          BLOCK_N
                  +----+----+----+             +----+
                  |    |    |    |             | b0 | BLOCK_K
                  +----+----+----+             +----+
         BLOCK_M  | a0 | a1 | a2 |             | b1 |
                  +----+----+----+             +----+
                  |    |    |    |             | b2 |
                  +----+----+----+             +----+

    tile of the result = a0 b0 + a1 b1 + a2 b2, added up in float32, stored once

Hints:
- Count for one step: how many numbers are loaded, and how many products are made of them?
- Blocks are powers of two, and tl.dot needs at least 16 along K: small matrices are padded.
- The sum is rounded to the result's type once. What does tl.dot do to float32 before it multiplies?
Resources:
- Triton language reference, tl.dot: https://triton-lang.org/main/python-api/generated/triton.language.dot.html
- Triton tutorial, Matrix Multiplication: https://triton-lang.org/main/getting-started/tutorials/03-matrix-multiplication.html
- NVIDIA, Matrix Multiplication Background: https://docs.nvidia.com/deeplearning/performance/dl-performance-matrix-multiplication/index.html
- Kung and Leiserson, Systolic Arrays (for VLSI): https://apps.dtic.mil/sti/citations/ADA066060
"""

import torch
import triton
import triton.language as tl

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
TILE = 64
MAX_K = 128
WARPS, STAGES = 8, 3  # num_warps, num_stages of matmul, matmul_bias; matmul_tile: the defaults


def _side(n: int) -> int:
    """Side of a tile along an axis of n elements: a power of two from 16 to 128."""
    return min(max(triton.next_power_of_2(n), 16), 128)


def _block_k(dtype: torch.dtype) -> int:
    """How many elements of K a step takes: 128 bytes of each row."""
    return 128 // dtype.itemsize


@triton.jit
def matmul_tile_kernel(
    a_ptr,
    b_ptr,
    out_ptr,
    a_row_stride,
    a_k_stride,
    b_k_stride,
    b_column_stride,
    rows,
    columns,
    inner,
    TILE: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """Program i computes tile i of out; tiles are numbered along the rows of tiles."""
    # TODO: load a (TILE, BLOCK_K) block of a and a (BLOCK_K, TILE) block of b; one tl.dot; store.
    # HINT: Three axes run here, and every block has two of them. Which of the two needs which mask?
    ### BEGIN SOLUTION
    # HINT: row and column as on day 15, and k = tl.arange(0, BLOCK_K).to(tl.int64); a has
    #       row[:, None] and k[None, :], b has k[:, None] and column[None, :].
    # HINT: What is beyond inner must be 0 in both operands, so that it adds nothing.
    # HINT: tl.dot(a, b, input_precision="ieee") keeps all digits of float32; 16-bit types have no
    #       such choice. The store rounds.
    column_tiles = tl.cdiv(columns, TILE)
    row = (tl.program_id(0) // column_tiles).to(tl.int64) * TILE + tl.arange(0, TILE)
    column = (tl.program_id(0) % column_tiles).to(tl.int64) * TILE + tl.arange(0, TILE)
    k = tl.arange(0, BLOCK_K).to(tl.int64)
    a_mask = (row[:, None] < rows) & (k[None, :] < inner)
    b_mask = (k[:, None] < inner) & (column[None, :] < columns)
    a_place = a_ptr + row[:, None] * a_row_stride + k[None, :] * a_k_stride
    b_place = b_ptr + k[:, None] * b_k_stride + column[None, :] * b_column_stride
    a = tl.load(a_place, mask=a_mask, other=0.0)
    b = tl.load(b_place, mask=b_mask, other=0.0)
    total = tl.dot(a, b, input_precision="ieee")
    out_place = out_ptr + row[:, None] * columns + column[None, :]
    tl.store(out_place, total, mask=(row[:, None] < rows) & (column[None, :] < columns))
    ### END SOLUTION


def matmul_tile(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """a @ b for a short K, in one launch: each program loads its two bands whole, for one tl.dot.

    out[i, j] = a[i, 0] * b[0, j] + a[i, 1] * b[1, j] + ..., for K of at most 128 summands. This is
    the shape of a projection to few dimensions and back (LoRA), and of attention's scores.

    Limits: one launch of one program for each TILE x TILE tile, with a grid of one axis (a size of
    0 needs none), and no kernel besides, such as one that fills the result; no memory but the
    result's. In 16-bit types: tensor-core instructions (wgmma on sm_90, mma on sm_80), no spilled
    registers, and loads of 128 bits where rows or columns are contiguous and aligned.

    Args:
        a: (M, K) of any strides; float32, float16 or bfloat16. Any size may be 0; K at most 128.
        b: (K, N) of any strides and a's dtype.

    Returns:
        A new contiguous (M, N) tensor of a's dtype: products and sums in float32 (with all of its
        digits where the inputs are float32: TF32 is not enough), rounded once at the end. 0 where
        K is 0.

    Raises:
        ValueError: b does not have as many rows as a has columns, or K is larger than 128.

    Example:
        matmul_tile([[1, 2], [3, 4]], [[10, 0], [1, 1]]) is [[12, 2], [34, 4]].
    """
    # TODO: refuse what does not fit, allocate the result, launch one program a tile.
    # HINT: Which BLOCK_K holds K = 100, and which K = 3? tl.dot has a least size.
    ### BEGIN SOLUTION
    # HINT: BLOCK_K is a power of two that is at least inner and at least 16.
    # HINT: The grid is (cdiv(rows, TILE) * cdiv(columns, TILE),), the strides *a.stride(),
    #       *b.stride(), then rows, columns, inner.
    (rows, inner), columns = a.shape, b.shape[1]
    if len(b) != inner:
        raise ValueError(f"a has {inner} columns, but b has {len(b)} rows")
    if inner > MAX_K:
        raise ValueError(f"K is {inner}, but matmul_tile takes at most {MAX_K}")
    out = torch.empty((rows, columns), dtype=a.dtype, device=a.device)
    tiles = triton.cdiv(rows, TILE) * triton.cdiv(columns, TILE)
    matmul_tile_kernel[(tiles,)](
        *(a, b, out),
        *(*a.stride(), *b.stride()),
        *(rows, columns, inner),
        TILE=TILE,
        BLOCK_K=max(triton.next_power_of_2(inner), 16),
    )
    return out
    ### END SOLUTION


@triton.jit
def matmul_sum_kernel(
    a_ptr,
    b_ptr,
    row,
    column,
    a_row_stride,
    a_k_stride,
    b_k_stride,
    b_column_stride,
    rows,
    columns,
    inner,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """The (BLOCK_M, BLOCK_N) tile of a @ b at these rows and columns, in float32; not stored.

    For kernels to call: row (BLOCK_M,) and column (BLOCK_N,) are int64, and k must be; those beyond
    rows and columns give numbers that nobody needs.
    """
    total = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    # TODO: walk along K by BLOCK_K: load a block of a and one of b, and add their product to total.
    # HINT: What of matmul_tile_kernel is the same in every step, and what moves on?
    ### BEGIN SOLUTION
    # HINT: Only k moves: (start + tl.arange(0, BLOCK_K)).to(tl.int64), for start in
    #       range(0, inner, BLOCK_K).
    # HINT: total = tl.dot(a, b, total, input_precision="ieee") adds to what is there.
    for start in range(0, inner, BLOCK_K):
        k = (start + tl.arange(0, BLOCK_K)).to(tl.int64)
        a_mask = (row[:, None] < rows) & (k[None, :] < inner)
        b_mask = (k[:, None] < inner) & (column[None, :] < columns)
        a_place = a_ptr + row[:, None] * a_row_stride + k[None, :] * a_k_stride
        b_place = b_ptr + k[:, None] * b_k_stride + column[None, :] * b_column_stride
        a = tl.load(a_place, mask=a_mask, other=0.0)
        b = tl.load(b_place, mask=b_mask, other=0.0)
        total = tl.dot(a, b, total, input_precision="ieee")
    ### END SOLUTION
    return total


@triton.jit
def matmul_kernel(
    a_ptr,
    b_ptr,
    out_ptr,
    a_row_stride,
    a_k_stride,
    b_k_stride,
    b_column_stride,
    rows,
    columns,
    inner,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """Program i computes tile i of out; tiles are numbered along the rows of tiles."""
    # TODO: find the tile, let matmul_sum_kernel add it up, store it.
    # HINT: A kernel may call another jit function; it is compiled into its caller.
    ### BEGIN SOLUTION
    # HINT: total = matmul_sum_kernel(a_ptr, b_ptr, row, column, ...), with all its arguments.
    # HINT: The rows are BLOCK_M high, the columns BLOCK_N wide; the store masks both.
    column_tiles = tl.cdiv(columns, BLOCK_N)
    row = (tl.program_id(0) // column_tiles).to(tl.int64) * BLOCK_M + tl.arange(0, BLOCK_M)
    column = (tl.program_id(0) % column_tiles).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    total = matmul_sum_kernel(
        a_ptr,
        b_ptr,
        row,
        column,
        a_row_stride,
        a_k_stride,
        b_k_stride,
        b_column_stride,
        rows,
        columns,
        inner,
        BLOCK_M,
        BLOCK_N,
        BLOCK_K,
    )
    out_place = out_ptr + row[:, None] * columns + column[None, :]
    tl.store(out_place, total, mask=(row[:, None] < rows) & (column[None, :] < columns))
    ### END SOLUTION


def matmul(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """a @ b for any sizes, in one launch: out[i, j] = sum over k of a[i, k] * b[k, j].

    A program owns a tile of ``_side(M)`` x ``_side(N)`` elements and keeps their sums in registers
    while K passes by, ``_block_k`` elements a step. Each element of a is loaded once for each
    column of tiles, each element of b once for each row of tiles.

    Limits: as for ``matmul_tile``, with one program for each such tile, and BLOCK_K of ``_block_k``
    elements (or fewer, where they hold all of K); in 16-bit types at most
    101,376 bytes of shared memory a program: so much has every NVIDIA GPU from sm_80 on.

    Args:
        a: (M, K) of any strides; float32, float16 or bfloat16. Any size may be 0.
        b: (K, N) of any strides and a's dtype.

    Returns:
        A new contiguous (M, N) tensor of a's dtype, computed as in ``matmul_tile``.

    Raises:
        ValueError: b does not have as many rows as a has columns.

    Example:
        matmul([[1, 2], [3, 4]], [[10, 0], [1, 1]]) is [[12, 2], [34, 4]].
    """
    # TODO: refuse what does not fit, allocate the result, launch one program a tile.
    # HINT: How many tiles do 130 x 20 elements take, with _side(130) = 128 and _side(20) = 32?
    ### BEGIN SOLUTION
    # HINT: BLOCK_M=_side(rows), BLOCK_N=_side(columns), BLOCK_K=_block_k(a.dtype).
    # HINT: num_warps=WARPS for the registers that the sums take, num_stages=STAGES for blocks that
    #       are loaded ahead.
    (rows, inner), columns = a.shape, b.shape[1]
    if len(b) != inner:
        raise ValueError(f"a has {inner} columns, but b has {len(b)} rows")
    block_m, block_n = _side(rows), _side(columns)
    out = torch.empty((rows, columns), dtype=a.dtype, device=a.device)
    matmul_kernel[(triton.cdiv(rows, block_m) * triton.cdiv(columns, block_n),)](
        *(a, b, out),
        *(*a.stride(), *b.stride()),
        *(rows, columns, inner),
        BLOCK_M=block_m,
        BLOCK_N=block_n,
        BLOCK_K=_block_k(a.dtype),
        num_warps=WARPS,
        num_stages=STAGES,
    )
    return out
    ### END SOLUTION


@triton.jit
def matmul_bias_kernel(
    a_ptr,
    b_ptr,
    bias_ptr,
    out_ptr,
    a_row_stride,
    a_k_stride,
    b_k_stride,
    b_column_stride,
    bias_stride,
    rows,
    columns,
    inner,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """Program i computes tile i of a @ b plus the bias; tiles are numbered as in matmul_kernel."""
    # TODO: as matmul_kernel, and add bias[column] to every row of the tile before it is stored.
    # HINT: How many elements of the bias does a tile need, and along which axis do they lie?
    ### BEGIN SOLUTION
    # HINT: Load BLOCK_N elements at bias_ptr + column * bias_stride, masked by columns.
    # HINT: total + bias[None, :] is float32, for total is: the store rounds the sum once.
    column_tiles = tl.cdiv(columns, BLOCK_N)
    row = (tl.program_id(0) // column_tiles).to(tl.int64) * BLOCK_M + tl.arange(0, BLOCK_M)
    column = (tl.program_id(0) % column_tiles).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    total = matmul_sum_kernel(
        a_ptr,
        b_ptr,
        row,
        column,
        a_row_stride,
        a_k_stride,
        b_k_stride,
        b_column_stride,
        rows,
        columns,
        inner,
        BLOCK_M,
        BLOCK_N,
        BLOCK_K,
    )
    bias = tl.load(bias_ptr + column * bias_stride, mask=column < columns, other=0.0)
    out_place = out_ptr + row[:, None] * columns + column[None, :]
    mask = (row[:, None] < rows) & (column[None, :] < columns)
    tl.store(out_place, total + bias[None, :], mask=mask)
    ### END SOLUTION


def matmul_bias(a: torch.Tensor, b: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """a @ b + bias in one launch: what a linear layer computes.

    Added by a second kernel, the bias would cost a read and a write of the whole result, and one
    more rounding. Here the sums are still in registers when it comes.

    Limits: as for ``matmul``.

    Args:
        a: (M, K), b: (K, N), as in ``matmul``.
        bias: (N,) of any stride and a's dtype; it is added to every row.

    Returns:
        A new contiguous (M, N) tensor of a's dtype; product and bias are added in float32 and
        rounded once. The bias alone where K is 0.

    Raises:
        ValueError: b does not have as many rows as a has columns, or bias does not have as many
            elements as b has columns.

    Example:
        matmul_bias([[1, 2], [3, 4]], [[10, 0], [1, 1]], [100, 200]) is [[112, 202], [134, 204]].
    """
    # TODO: refuse what does not fit, allocate the result, launch one program a tile.
    # HINT: What besides matmul's launch does the kernel need to know?
    ### BEGIN SOLUTION
    # HINT: if len(bias) != columns: raise ValueError(...); nothing else is new to the grid.
    # HINT: After the strides of a and b comes *bias.stride(), which is one number.
    (rows, inner), columns = a.shape, b.shape[1]
    if len(b) != inner:
        raise ValueError(f"a has {inner} columns, but b has {len(b)} rows")
    if len(bias) != columns:
        raise ValueError(f"b has {columns} columns, but the bias has {len(bias)} elements")
    block_m, block_n = _side(rows), _side(columns)
    out = torch.empty((rows, columns), dtype=a.dtype, device=a.device)
    matmul_bias_kernel[(triton.cdiv(rows, block_m) * triton.cdiv(columns, block_n),)](
        *(a, b, bias, out),
        *(*a.stride(), *b.stride(), *bias.stride()),
        *(rows, columns, inner),
        BLOCK_M=block_m,
        BLOCK_N=block_n,
        BLOCK_K=_block_k(a.dtype),
        num_warps=WARPS,
        num_stages=STAGES,
    )
    return out
    ### END SOLUTION


def test_matmul_tile_of_two_rows() -> None:
    a = torch.tensor([[1.0, 2.0], [3.0, 4.0]], device=DEVICE)
    b = torch.tensor([[10.0, 0.0], [1.0, 1.0]], device=DEVICE)
    assert matmul_tile(a, b).tolist() == [[12.0, 2.0], [34.0, 4.0]]


def test_matmul_of_a_long_row_and_column() -> None:
    a, b = torch.ones(1, 1000, device=DEVICE), torch.full((1000, 1), 0.5, device=DEVICE)
    assert matmul(a, b).tolist() == [[500.0]]


def test_matmul_of_transposed_views() -> None:
    a = torch.arange(6.0, device=DEVICE).reshape(2, 3)
    assert matmul(a.T, a).tolist() == [[9.0, 12.0, 15.0], [12.0, 17.0, 22.0], [15.0, 22.0, 29.0]]


def test_matmul_bias_of_two_rows() -> None:
    a = torch.tensor([[1.0, 2.0], [3.0, 4.0]], device=DEVICE)
    b = torch.tensor([[10.0, 0.0], [1.0, 1.0]], device=DEVICE)
    bias = torch.tensor([100.0, 200.0], device=DEVICE)
    assert matmul_bias(a, b, bias).tolist() == [[112.0, 202.0], [134.0, 204.0]]


if __name__ == "__main__":
    from harness import main

    main(__file__)
