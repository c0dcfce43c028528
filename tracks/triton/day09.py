"""Day 9: Broadcasting and fusion
==============================
Estimated time: 1-2 hours
Prerequisites: Day 8 (element-wise kernels)
Lesson: lessons/day09.md

Learning objectives:
- Count the bytes that a chain of operators moves, and what is left of them in one kernel
- Broadcast a vector inside a tile, without ever storing the repeated matrix
- Give a broadcast axis the stride 0, so that one kernel serves every shape
- Work out the shape of a result that is larger than each of its inputs
- Round once: float32 from the first load to the store

y = relu(x + b) as two operators, and as one kernel. Each arrow is a trip through memory:

    two operators   x, b --> add --> t --> relu --> y   reads x, t; writes t, y
    one kernel      x, b ---------> [     ] ------> y   reads x; writes y

Hints:
- An element-wise result needs its own inputs and nothing else: no program waits for another one.
- b[None, :] beside a tile costs no memory: the repeated rows exist in registers only.
- Follow a nan and an infinity by hand through each formula.
Resources:
- PyTorch, broadcasting semantics: https://docs.pytorch.org/docs/stable/notes/broadcasting.html
- Hendrycks and Gimpel, Gaussian Error Linear Units: https://arxiv.org/abs/1606.08415
- Peebles and Xie, Scalable Diffusion Models with Transformers (scale and shift): https://arxiv.org/abs/2212.09748
- Triton language reference, tl.erf: https://triton-lang.org/main/python-api/generated/triton.language.erf.html
"""

import torch
import triton
import triton.language as tl

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
BLOCK = 8192
WARPS = 16


def _tile(columns: int) -> tuple[int, int]:
    """Rows and columns of one program's tile: BLOCK elements, as wide as the matrix allows.

    A narrow matrix gets tall tiles, so that few lanes lie beyond its right edge.
    """
    width = min(triton.next_power_of_2(max(columns, 1)), BLOCK)
    return BLOCK // width, width


@triton.jit
def bias_relu_kernel(
    x_ptr, b_ptr, out_ptr, rows, columns, TILE_ROWS: tl.constexpr, TILE_COLUMNS: tl.constexpr
):
    """Program (i, j) computes the tile that is i-th from the top and j-th from the left."""
    # TODO: load a tile of x and its piece of b, add, cut off below 0, store.
    # HINT: How many different elements of b does a tile need?
    pass


def bias_relu(x: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Add a bias to every row and apply relu, in one launch: out[i, j] = max(x[i, j] + b[j], 0).

    This is what follows the matrix product in a linear layer.

    Limits: one launch of one program for each tile that ``_tile`` gives, no memory but the
    result's, no spilled registers, and loads and stores of 128 bits where addresses allow it.

    Args:
        x: (rows, columns), contiguous; float32, float16 or bfloat16. Either size may be 0.
        b: (columns,), contiguous, of x's dtype.

    Returns:
        A new contiguous tensor of x's shape and dtype, computed in float32. As in torch, nan stays
        nan.

    Example:
        bias_relu([[1, 2], [-3, 4]], [1, -3]) is [[2, 0], [0, 1]].
    """
    # TODO: allocate the output, choose a tile and launch one program for each.
    # HINT: _tile(columns) gives both sides of a tile. How many tiles lie below each other?
    raise NotImplementedError("bias_relu")


@triton.jit
def residual_add_gelu_kernel(x_ptr, r_ptr, out_ptr, n, BLOCK: tl.constexpr):
    """Program i computes elements i * BLOCK up to (i + 1) * BLOCK, below n."""
    # TODO: load a block of x and of r, compute gelu of their sum in float32, store it.
    # HINT: Where would the sum be rounded to 16 bits if it were a tensor? Is it rounded here?
    pass


def residual_add_gelu(x: torch.Tensor, r: torch.Tensor) -> torch.Tensor:
    """Add a residual and apply the exact gelu, in one launch: gelu(x + r).

    gelu(s) = s / 2 * (1 + erf(s / sqrt(2))), with erf the error function, ``tl.erf``. It is not
    the approximation with tanh.

    Limits: one program for each block of BLOCK elements, and no memory but the result's.

    Args:
        x: contiguous, any shape and size; float32, float16 or bfloat16.
        r: contiguous, of x's shape and dtype.

    Returns:
        A new contiguous tensor of x's shape and dtype, computed in float32 and rounded once, at
        the end: the sum x + r is never rounded to 16 bits, and may exceed float16's 65504.

    Example:
        residual_add_gelu([1.0, -2.0], [-1.0, 3.0]) is [0.0, 0.8413].
    """
    # TODO: allocate the output and launch one program for each block of BLOCK elements.
    # HINT: Both inputs and the output are contiguous. Does the number of axes matter?
    raise NotImplementedError("residual_add_gelu")


@triton.jit
def scale_shift_kernel(
    x_ptr,
    scale_ptr,
    shift_ptr,
    out_ptr,
    x_row_stride,
    x_column_stride,
    scale_row_stride,
    scale_column_stride,
    shift_row_stride,
    shift_column_stride,
    rows,
    columns,
    TILE_ROWS: tl.constexpr,
    TILE_COLUMNS: tl.constexpr,
):
    """Program (i, j) computes a tile of out (contiguous); each input has strides of its own."""
    # TODO: load the tile of all three inputs, each by its own strides; multiply, add, store.
    # HINT: Which elements do the lanes of a column read if the row stride is 0?
    pass


def scale_shift(x: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """Scale and shift a matrix, in one launch: x * scale + shift, both broadcast to x's shape.

    A scale of shape (columns,) is the last step of layer normalisation, one of shape (rows, 1) is
    dequantisation by rows, and both at once occur in diffusion transformers.

    Limits: one launch of one program for each tile that ``_tile`` gives, no memory but the
    result's, no spilled registers, and loads and stores of 128 bits where addresses allow it.

    Args:
        x: (rows, columns), any strides; float32, float16 or bfloat16. Either size may be 0.
        scale: of x's dtype, any shape that broadcasts to x's: (), (1,), (columns,), (1, columns),
            (rows, 1), (1, 1) or (rows, columns); any strides. It is not copied.
        shift: as scale, with a shape and strides of its own.

    Returns:
        A new contiguous tensor of x's shape and dtype, computed in float32 and rounded once.

    Example:
        scale_shift([[1, 2], [3, 4]], [[10], [100]], [0.5, 0.0]) is [[10.5, 20], [300.5, 400]].
    """
    # TODO: give scale and shift x's shape without copying them, allocate, launch a program a tile.
    # HINT: What does tensor.expand(shape) change: the memory, or the note that says how to read it?
    raise NotImplementedError("scale_shift")


@triton.jit
def addcmul_clamp_kernel(
    a_ptr,
    b_ptr,
    c_ptr,
    out_ptr,
    lo,
    hi,
    a_row_stride,
    a_column_stride,
    b_row_stride,
    b_column_stride,
    c_row_stride,
    c_column_stride,
    rows,
    columns,
    TILE_ROWS: tl.constexpr,
    TILE_COLUMNS: tl.constexpr,
):
    """Program (i, j) computes a tile of out (contiguous); each input has strides of its own."""
    # TODO: as scale_shift_kernel, with a + b * c, and the result clamped to lo .. hi.
    # HINT: What do a < lo and a > hi say of a nan? And if lo > hi, which of the two is to win?
    pass


def addcmul_clamp(
    a: torch.Tensor, b: torch.Tensor, c: torch.Tensor, lo: float, hi: float
) -> torch.Tensor:
    """min(max(a + b * c, lo), hi) in one launch, where a, b and c broadcast against each other.

    The result can be larger than each of the inputs: a row and a column make a matrix. This is
    the form of an optimiser's step: a parameter plus a step size times a direction, in bounds.

    Limits: one launch of one program for each tile that ``_tile`` gives, and no memory but the
    result's.

    Args:
        a, b, c: any strides, 0 to 2 axes each, shapes that broadcast together (some size may be
            0); one dtype: float32, float16 or bfloat16. They are not copied.
        lo, hi: bounds, finite or infinite. If lo > hi the result is hi, as in torch.clamp.

    Returns:
        A new contiguous tensor of the broadcast shape and the inputs' dtype, computed in float32
        and rounded once: b * c may exceed float16's 65504 where the result does not. As in
        torch, nan stays nan.

    Raises:
        ValueError: an input has more than 2 axes.

    Example:
        addcmul_clamp([[1], [2]], [10, 20, 30], 0.5, 0, 15) is [[6, 11, 15], [7, 12, 15]], with
        0.5 as a tensor of shape ().
    """
    # TODO: find the result's shape, view all three inputs in it, allocate, launch.
    # HINT: torch.broadcast_shapes(a.shape, b.shape, c.shape) is plain arithmetic. The result may
    #       have 0 or 1 axes: which matrix has the same elements in the same order?
    raise NotImplementedError("addcmul_clamp")


def test_bias_relu_of_two_rows() -> None:
    x = torch.tensor([[1.0, 2.0], [-3.0, 4.0]], device=DEVICE)
    b = torch.tensor([1.0, -3.0], device=DEVICE)
    assert bias_relu(x, b).tolist() == [[2.0, 0.0], [0.0, 1.0]]


def test_residual_add_gelu_of_one() -> None:
    x = torch.tensor([1.0, -2.0], device=DEVICE)
    r = torch.tensor([-1.0, 3.0], device=DEVICE)
    expected = torch.tensor([0.0, 0.8413447], device=DEVICE)
    torch.testing.assert_close(residual_add_gelu(x, r), expected)


def test_scale_a_column_shift_a_row() -> None:
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]], device=DEVICE)
    scale = torch.tensor([[10.0], [100.0]], device=DEVICE)
    shift = torch.tensor([0.5, 0.0], device=DEVICE)
    assert scale_shift(x, scale, shift).tolist() == [[10.5, 20.0], [300.5, 400.0]]


def test_addcmul_clamp_of_a_column_and_a_row() -> None:
    a = torch.tensor([[1.0], [2.0]], device=DEVICE)
    b = torch.tensor([10.0, 20.0, 30.0], device=DEVICE)
    half = torch.tensor(0.5, device=DEVICE)
    assert addcmul_clamp(a, b, half, 0, 15).tolist() == [[6.0, 11.0, 15.0], [7.0, 12.0, 15.0]]


if __name__ == "__main__":
    from harness import main

    main(__file__)
