"""Day 17: The K loop
==================
Estimated time: 2 hours
Prerequisites: Day 16 (blocked matmul)
Lesson: lessons/day17.md

Learning objectives:
- Walk along K with two tiles of pointers that are advanced, not computed anew
- Mask the last step along K, and say why both tiles need the mask
- Keep the sums in the type that the tensor cores add up in, float32 or int32
- Finish a tile (bias, activation, residual, scale) before it is stored
- Count the bytes that an epilogue in the same launch saves

A program owns one tile of the result. Its two tiles of pointers walk, a's to the right and b's
down, and tl.dot adds the product of what they point at to the sums:

               k                             n
        +----+----+--+               +---+-----+---+
     a  |    |    |  |            b  |   |  |  |   |    step 0
    row |--> |--> |->|               |   |  v  |   |
        |    |    |  |               +---+-----+---+
        +----+----+--+               |   |  |  |   |    step 1
         0    1    2                 |   |  v  |   |
                                     +---+-----+---+
    the last step sticks out:        |   |  v  |   |    step 2
    mask a's columns and b's rows    +---+-----+---+

Hints:
- Everything that does not depend on the step is computed before the loop.
- Padding of a meets padding of b. What must each of them be, so that the sums do not change?
- An epilogue works on numbers that are in registers already. What does it add to the traffic?
Resources:
- Triton language reference, tl.dot: https://triton-lang.org/main/python-api/generated/triton.language.dot.html
- Triton tutorial, Matrix Multiplication: https://triton-lang.org/main/getting-started/tutorials/03-matrix-multiplication.html
- BLAS, gemm: https://www.netlib.org/blas/
- Jacob et al., Quantization and Training of Neural Networks: https://arxiv.org/abs/1712.05877
"""

import torch
import triton
import triton.language as tl

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
ACTIVATIONS = ("none", "relu", "gelu", "silu")


def _config(m: int, n: int, element_size: int) -> dict[str, int]:
    """Tile sizes and launch options for an (m, n) result of operands of so many bytes an element.

    Large tiles use each number that they load more often. They are for results that have enough of
    them to keep a GPU busy, and for operands of at most 2 bytes; a step along K is 128 bytes of a
    row. ``num_stages`` steps are on their way at a time, each in shared memory of its own: the
    largest tile needs 192 KB of it, which Hopper has.
    """
    shared = 227 * 1024  # a program's share on Hopper, for which kernels are compiled without a GPU
    if torch.cuda.is_available():
        shared = torch.cuda.get_device_properties().shared_memory_per_block_optin
    block_k = 128 // element_size
    if m * n < 2**22 or element_size > 2:
        return {"BLOCK_M": 64, "BLOCK_N": 64, "BLOCK_K": block_k, "num_warps": 4, "num_stages": 4}
    if shared < 200 * 1024:
        return {"BLOCK_M": 128, "BLOCK_N": 128, "BLOCK_K": block_k, "num_warps": 8, "num_stages": 3}
    return {"BLOCK_M": 128, "BLOCK_N": 256, "BLOCK_K": block_k, "num_warps": 8, "num_stages": 4}


def _sizes(a: torch.Tensor, b: torch.Tensor) -> tuple[int, int, int]:
    """m, n and k of a @ b; a ValueError where there is no such product."""
    if a.shape[1] != b.shape[0]:
        raise ValueError(f"a has {a.shape[1]} columns, but b has {b.shape[0]} rows")
    if a.dtype != b.dtype:
        raise ValueError(f"a is {a.dtype}, but b is {b.dtype}")
    return a.shape[0], b.shape[1], a.shape[1]


def _tiles(m: int, n: int, config: dict[str, int]) -> int:
    """How many tiles cover an (m, n) result."""
    return -(-m // config["BLOCK_M"]) * -(-n // config["BLOCK_N"])  # rounded up


@triton.jit
def _place(tile, n, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr):
    """The rows and columns (int64) of a tile; tiles are numbered along the rows of tiles."""
    column_tiles = tl.cdiv(n, BLOCK_N)
    row = (tile // column_tiles).to(tl.int64) * BLOCK_M + tl.arange(0, BLOCK_M)
    column = (tile % column_tiles).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    return row, column


@triton.jit
def matmul_k_tile_kernel(
    a_ptr,
    b_ptr,
    row,
    column,
    m,
    n,
    k,
    a_row_stride,
    a_k_stride,
    b_k_stride,
    b_column_stride,
    BLOCK_K: tl.constexpr,
    SUMS: tl.constexpr,
):
    """The elements (row, column) of a @ b, a tile of dtype SUMS. The other kernels call this one.

    row and column are blocks of int64. They may reach beyond m and n: those elements of the tile
    may be anything, but nothing beyond a and b is read.
    """
    total = tl.zeros((row.shape[0], column.shape[0]), SUMS)
    # TODO: make two tiles of pointers; at each step load both, add their product, advance both.
    # HINT: By how many elements does a's tile move at a step, and by how many b's?
    ### BEGIN SOLUTION
    # HINT: a's tile starts at a_ptr + row[:, None] * a_row_stride + inner[None, :] * a_k_stride
    #       with inner = tl.arange(0, BLOCK_K), and moves on by BLOCK_K * a_k_stride.
    # HINT: At the step that begins at start, inner < k - start is what is left of K.
    # HINT: tl.dot(a, b, total, input_precision="ieee", out_dtype=SUMS) adds to total. A step in
    #       int64, tl.full((), BLOCK_K, tl.int64), keeps its product with a stride right.
    inner = tl.arange(0, BLOCK_K).to(tl.int64)
    step = tl.full((), BLOCK_K, tl.int64)
    a_tile = a_ptr + row[:, None] * a_row_stride + inner[None, :] * a_k_stride
    b_tile = b_ptr + inner[:, None] * b_k_stride + column[None, :] * b_column_stride
    for start in range(0, k, BLOCK_K):
        left = inner < k - start
        a = tl.load(a_tile, mask=(row[:, None] < m) & left[None, :], other=0)
        b = tl.load(b_tile, mask=left[:, None] & (column[None, :] < n), other=0)
        total = tl.dot(a, b, total, input_precision="ieee", out_dtype=SUMS)
        a_tile += step * a_k_stride
        b_tile += step * b_k_stride
    ### END SOLUTION
    return total


@triton.jit
def matmul_k_kernel(
    a_ptr,
    b_ptr,
    out_ptr,
    a_row_stride,
    a_k_stride,
    b_k_stride,
    b_column_stride,
    m,
    n,
    k,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """Program i computes tile i of out, which is contiguous. Given: what is new is in the loop."""
    row, column = _place(tl.program_id(0), n, BLOCK_M, BLOCK_N)
    total = matmul_k_tile_kernel(
        a_ptr,
        b_ptr,
        row,
        column,
        m,
        n,
        k,
        a_row_stride,
        a_k_stride,
        b_k_stride,
        b_column_stride,
        BLOCK_K,
        tl.float32,
    )
    inside = (row[:, None] < m) & (column[None, :] < n)
    tl.store(out_ptr + row[:, None] * n + column[None, :], total, mask=inside)


def matmul_k(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Matrix product a @ b in one launch, for any K: a tile of the result a program.

    out[i, j] = a[i, 0] * b[0, j] + a[i, 1] * b[1, j] + ...

    Products and sums are float32 and rounded once, at the store. float32 operands are multiplied as
    they are: tl.dot's own choice, TF32, would round them to 11 bits first, which is too coarse.

    Limits: one launch with a grid of one axis, of one program for each tile that ``_config`` gives;
    no memory but the result's. For float16 and bfloat16, ``_config``'s largest tile and its
    smallest one must compile for sm_90 to tensor-core instructions (wgmma), with loads of 128 bits
    where rows or columns of an operand are contiguous and aligned, and without spilled registers.

    Args:
        a: (m, k) of any strides, 0 among them; float32, float16 or bfloat16. Any size may be 0.
        b: (k, n) of any strides and a's dtype.

    Returns:
        A new contiguous (m, n) tensor of a's dtype; 0 where k is 0.

    Raises:
        ValueError: a does not have as many columns as b has rows, or the dtypes differ
            (``_sizes`` says so for you).

    Example:
        matmul_k([[1, 2], [3, 4]], [[10], [1]]) is [[12], [34]].
    """
    # TODO: get sizes and config, allocate the output, launch matmul_k_kernel.
    # HINT: Which of the given functions counts the programs?
    ### BEGIN SOLUTION
    # HINT: config = _config(m, n, a.element_size()), and **config holds the kernel's constants,
    #       num_warps and num_stages.
    # HINT: matmul_k_kernel[(_tiles(m, n, config),)](a, b, out, *a.stride(), *b.stride(), m, n, k,
    #       **config).
    m, n, k = _sizes(a, b)
    config = _config(m, n, a.element_size())
    out = torch.empty((m, n), dtype=a.dtype, device=a.device)
    matmul_k_kernel[(_tiles(m, n, config),)](a, b, out, *a.stride(), *b.stride(), m, n, k, **config)
    return out
    ### END SOLUTION


@triton.jit
def matmul_epilogue_kernel(
    a_ptr,
    b_ptr,
    bias_ptr,
    out_ptr,
    a_row_stride,
    a_k_stride,
    b_k_stride,
    b_column_stride,
    bias_stride,
    m,
    n,
    k,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    ACTIVATION: tl.constexpr,
):
    """Program i computes tile i of act(a @ b + bias)."""
    # TODO: the product tile as in matmul_k_kernel; add the bias, apply the activation, store.
    # HINT: Along which axis of the tile does a bias of n elements lie?
    ### BEGIN SOLUTION
    # HINT: bias[None, :], loaded with the mask column < n, is the same for all rows of the tile.
    # HINT: ACTIVATION is a constant, so if ACTIVATION == "relu": is decided by the compiler.
    # HINT: relu: tl.where(x < 0, 0, x) keeps nan. gelu: 0.5 * x * (1 + tl.erf(x * 2 ** -0.5)).
    #       silu: x * tl.sigmoid(x).
    row, column = _place(tl.program_id(0), n, BLOCK_M, BLOCK_N)
    total = matmul_k_tile_kernel(
        a_ptr,
        b_ptr,
        row,
        column,
        m,
        n,
        k,
        a_row_stride,
        a_k_stride,
        b_k_stride,
        b_column_stride,
        BLOCK_K,
        tl.float32,
    )
    bias = tl.load(bias_ptr + column * bias_stride, mask=column < n, other=0.0)
    x = total + bias[None, :]
    if ACTIVATION == "relu":
        x = tl.where(x < 0, 0.0, x)
    elif ACTIVATION == "gelu":
        x = 0.5 * x * (1 + tl.erf(x * 0.7071067811865476))
    elif ACTIVATION == "silu":
        x = x * tl.sigmoid(x)
    inside = (row[:, None] < m) & (column[None, :] < n)
    tl.store(out_ptr + row[:, None] * n + column[None, :], x, mask=inside)
    ### END SOLUTION


def matmul_epilogue(
    a: torch.Tensor, b: torch.Tensor, bias: torch.Tensor, activation: str = "none"
) -> torch.Tensor:
    """A layer of a network in one launch: act(a @ b + bias), rounded once.

    activation is "none", "relu" (max(x, 0)), "gelu" (x * Phi(x), with erf) or "silu"
    (x * sigmoid(x)). nan stays nan in each of them, as in torch. The product, the sum with the bias
    and the activation are float32 numbers in registers: none of them is stored but the result.

    Limits: as for ``matmul_k``, where the compiled kernel is that for relu. (Beside 128 sums a
    thread, gelu needs more registers than there are, and spills some, once, after the loop.)

    Args:
        a, b: as in ``matmul_k``.
        bias: (n,) of any stride and a's dtype; it is added to every row.
        activation: one of ACTIVATIONS.

    Returns:
        A new contiguous (m, n) tensor of a's dtype; act(bias) in every row where k is 0.

    Raises:
        ValueError: activation is none of ACTIVATIONS, bias does not have n elements, or ``_sizes``
            refuses a and b.

    Example:
        matmul_epilogue([[1, 2]], [[1, 3], [1, -4]], [1, 1], "relu") is [[4, 0]].
    """
    # TODO: refuse what cannot be, then allocate and launch as in matmul_k.
    # HINT: What would a kernel do with an activation that it does not know?
    ### BEGIN SOLUTION
    # HINT: if activation not in ACTIVATIONS: raise ValueError(...), and so for bias.shape != (n,).
    # HINT: As matmul_k's launch, with bias, bias.stride(0) and ACTIVATION=activation.
    m, n, k = _sizes(a, b)
    if activation not in ACTIVATIONS:
        raise ValueError(f"the activation is one of {ACTIVATIONS}, not {activation!r}")
    if bias.shape != (n,):
        raise ValueError(f"the bias has the shape {tuple(bias.shape)}, but b has {n} columns")
    config = _config(m, n, a.element_size())
    out = torch.empty((m, n), dtype=a.dtype, device=a.device)
    matmul_epilogue_kernel[(_tiles(m, n, config),)](
        *(a, b, bias, out),
        *(*a.stride(), *b.stride(), *bias.stride()),
        *(m, n, k),
        ACTIVATION=activation,
        **config,
    )
    return out
    ### END SOLUTION


@triton.jit
def matmul_residual_kernel(
    a_ptr,
    b_ptr,
    c_ptr,
    out_ptr,
    alpha,
    beta,
    a_row_stride,
    a_k_stride,
    b_k_stride,
    b_column_stride,
    c_row_stride,
    c_column_stride,
    m,
    n,
    k,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """Program i computes tile i of alpha * (a @ b) + beta * c."""
    # TODO: the product tile times alpha; add beta times c's tile, unless beta is 0.
    # HINT: What is 0 * nan, and who promised that c holds numbers when beta is 0?
    ### BEGIN SOLUTION
    # HINT: c's tile has the rows and columns of the result, and strides of its own.
    # HINT: if beta != 0: with a load in it skips the load for the whole program.
    row, column = _place(tl.program_id(0), n, BLOCK_M, BLOCK_N)
    total = matmul_k_tile_kernel(
        a_ptr,
        b_ptr,
        row,
        column,
        m,
        n,
        k,
        a_row_stride,
        a_k_stride,
        b_k_stride,
        b_column_stride,
        BLOCK_K,
        tl.float32,
    )
    out = alpha * total
    inside = (row[:, None] < m) & (column[None, :] < n)
    if beta != 0:
        c_tile = c_ptr + row[:, None] * c_row_stride + column[None, :] * c_column_stride
        out += beta * tl.load(c_tile, mask=inside, other=0.0)
    tl.store(out_ptr + row[:, None] * n + column[None, :], out, mask=inside)
    ### END SOLUTION


def matmul_residual(
    a: torch.Tensor, b: torch.Tensor, c: torch.Tensor, alpha: float = 1.0, beta: float = 1.0
) -> torch.Tensor:
    """BLAS's gemm in one launch: alpha * (a @ b) + beta * c, in float32 and rounded once.

    With alpha = beta = 1 this adds a layer's result to the residual stream. As in BLAS, beta = 0
    means that c is not read: nan or inf in it has no effect then.

    Limits: as for ``matmul_k``.

    Args:
        a, b: as in ``matmul_k``.
        c: (m, n) of any strides, 0 among them, and a's dtype; it comes back unchanged.
        alpha, beta: numbers, float32 to the kernel.

    Returns:
        A new contiguous (m, n) tensor of a's dtype.

    Raises:
        ValueError: c is not (m, n), or ``_sizes`` refuses a and b.

    Example:
        matmul_residual([[1, 2]], [[10], [1]], [[100]], 2, -1) is [[-76]].
    """
    # TODO: refuse a c of another shape, then allocate and launch as in matmul_k.
    # HINT: Which two tensors have the result's shape, and which of them is contiguous for certain?
    ### BEGIN SOLUTION
    # HINT: if c.shape != (m, n): raise ValueError(...).
    # HINT: As matmul_k's launch, with c, float(alpha), float(beta) and *c.stride().
    m, n, k = _sizes(a, b)
    if c.shape != (m, n):
        raise ValueError(f"c has the shape {tuple(c.shape)}, but a @ b has {(m, n)}")
    config = _config(m, n, a.element_size())
    out = torch.empty((m, n), dtype=a.dtype, device=a.device)
    matmul_residual_kernel[(_tiles(m, n, config),)](
        *(a, b, c, out),
        *(float(alpha), float(beta)),
        *(*a.stride(), *b.stride(), *c.stride()),
        *(m, n, k),
        **config,
    )
    return out
    ### END SOLUTION


@triton.jit
def matmul_int8_kernel(
    a_ptr,
    b_ptr,
    scale_ptr,
    out_ptr,
    a_row_stride,
    a_k_stride,
    b_k_stride,
    b_column_stride,
    scale_stride,
    m,
    n,
    k,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """Program i computes tile i of (a @ b) * scale, from int8 by way of int32 to float32."""
    # TODO: the product tile with sums in int32; convert, multiply by the column's scale, store.
    # HINT: Up to which whole number does float32 hold all of them? How soon do sums get there?
    ### BEGIN SOLUTION
    # HINT: matmul_k_tile_kernel(..., BLOCK_K, tl.int32) adds up whole numbers.
    # HINT: total.to(tl.float32) * scale[None, :], after the loop.
    row, column = _place(tl.program_id(0), n, BLOCK_M, BLOCK_N)
    total = matmul_k_tile_kernel(
        a_ptr,
        b_ptr,
        row,
        column,
        m,
        n,
        k,
        a_row_stride,
        a_k_stride,
        b_k_stride,
        b_column_stride,
        BLOCK_K,
        tl.int32,
    )
    scale = tl.load(scale_ptr + column * scale_stride, mask=column < n, other=0.0)
    out = total.to(tl.float32) * scale[None, :]
    inside = (row[:, None] < m) & (column[None, :] < n)
    tl.store(out_ptr + row[:, None] * n + column[None, :], out, mask=inside)
    ### END SOLUTION


def matmul_int8(a: torch.Tensor, b: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Product of int8 matrices, exact in int32, times one float32 scale a column, in one launch.

    Quantised layers compute so: a weight is stored as a whole number and each column has a scale
    that turns the whole sums back into numbers. out[i, j] = (sum_k a[i, k] * b[k, j]) * scale[j],
    where the sum is exact for all k up to 131,071; it is rounded to float32 once and multiplied.

    Limits: as for ``matmul_k``; the tensor-core instructions are those for whole numbers (wgmma
    needs each row of a and each column of b contiguous, as in ``weight.T`` of an (n, k) weight).

    Args:
        a: (m, k), int8, any strides. Any size may be 0.
        b: (k, n), int8, any strides.
        scale: (n,), float32, any stride.

    Returns:
        A new contiguous (m, n) float32 tensor; 0 where k is 0.

    Raises:
        ValueError: scale does not have n elements, or ``_sizes`` refuses a and b.

    Example:
        matmul_int8([[100, 100]], [[100], [27]], [0.5]) is [[6350]].
    """
    # TODO: refuse a scale of another length, then allocate (which dtype?) and launch.
    # HINT: How many bytes has an element of a? _config asks for that.
    ### BEGIN SOLUTION
    # HINT: torch.empty((m, n), dtype=torch.float32, device=a.device).
    # HINT: As matmul_k's launch, with scale and scale.stride(0).
    m, n, k = _sizes(a, b)
    if scale.shape != (n,):
        raise ValueError(f"the scale has the shape {tuple(scale.shape)}, but b has {n} columns")
    config = _config(m, n, a.element_size())
    out = torch.empty((m, n), dtype=torch.float32, device=a.device)
    matmul_int8_kernel[(_tiles(m, n, config),)](
        *(a, b, scale, out),
        *(*a.stride(), *b.stride(), *scale.stride()),
        *(m, n, k),
        **config,
    )
    return out
    ### END SOLUTION


def _tensor(*rows: list[float]) -> torch.Tensor:
    return torch.tensor(rows, device=DEVICE)


def test_matmul_k_of_two_columns() -> None:
    assert matmul_k(_tensor([1.0, 2.0], [3.0, 4.0]), _tensor([10.0], [1.0])).tolist() == [
        [12],
        [34],
    ]


def test_epilogue_of_two_columns() -> None:
    a, b, bias = _tensor([1.0, 2.0]), _tensor([1.0, 3.0], [1.0, -4.0]), _tensor([1.0, 1.0])[0]
    assert matmul_epilogue(a, b, bias, "none").tolist() == [[4.0, -4.0]]
    assert matmul_epilogue(a, b, bias, "relu").tolist() == [[4.0, 0.0]]


def test_residual_of_one_element() -> None:
    a, b, c = _tensor([1.0, 2.0]), _tensor([10.0], [1.0]), _tensor([100.0])
    assert matmul_residual(a, b, c, 2, -1).tolist() == [[-76.0]]


def test_int8_exceeds_int8() -> None:
    a, b = _tensor([100.0, 100.0]).to(torch.int8), _tensor([100.0], [27.0]).to(torch.int8)
    assert matmul_int8(a, b, _tensor([0.5])[0]).tolist() == [[6350.0]]


if __name__ == "__main__":
    from harness import main

    main(__file__)
