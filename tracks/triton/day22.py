"""Day 22: Layer normalisation
===========================
Estimated time: 1-2 hours
Prerequisites: Day 11 (row and column statistics), Day 13 (fused softmax)
Lesson: lessons/day22.md

Learning objectives:
- Write the two normalisations that language models are made of, with one read and one write
- Keep a row in registers, so that a variance about the true mean costs no second read
- Serve rows longer than a block with the same kernel, and let the compiler drop what is not needed
- Mix dtypes: 16-bit activations, weights of another dtype, statistics in float32, one rounding
- Fuse the addition to the residual stream, and know what is normalised then

Block 0 of a row stays in registers between the two walks. A row of one block is all block 0:

    columns      0 ........ BLOCK ......... 2 BLOCK .... columns
    walk 1    [ block 0 ] [ block 1, read ] [ block 2, read ]     -> mean, 1 / deviation
                   |
                   | stays
                   v
    walk 2    [ block 0 ] [ block 1, again ] [ block 2, again ]   -> out

Hints:
- Write rms_norm first: a sum of squares needs no mean, and the two walks are the same.
- Padding that is loaded as 0 is 0 in a sum, but a whole mean away from the mean.
- How many times does for block in range(1, BLOCKS) run when the compiler knows that BLOCKS is 1?
Resources:
- Ba, Kiros and Hinton, Layer Normalization: https://arxiv.org/abs/1607.06450
- Zhang and Sennrich, Root Mean Square Layer Normalization: https://arxiv.org/abs/1910.07467
- Chan, Golub and LeVeque, Algorithms for Computing the Sample Variance: https://doi.org/10.1080/00031305.1983.10483115
- Xiong et al., On Layer Normalization in the Transformer Architecture: https://arxiv.org/abs/2002.04745
- PyTorch, torch.nn.LayerNorm: https://docs.pytorch.org/docs/stable/generated/torch.nn.LayerNorm.html
"""

import torch
import triton
import triton.language as tl

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
MAX_BLOCK, LONG_BLOCK = 16_384, 8192


def _blocks(columns: int, elements: int = 16) -> dict[str, int]:
    """Keywords of a launch: a block, how many blocks cover a row, and the warps.

    A row of up to MAX_BLOCK columns is one block; longer ones are taken in smaller blocks, because
    the loops need registers beside the block that stays. With BLOCKS as a constant the compiler
    makes a kernel for rows of one block, which has no loop, another one for three blocks and so on.

    A thread has so many elements of a block, 16 as on day 13, where a block has 2048 or more. With
    32 half as many warps wait for each other at every sum.
    """
    whole = columns <= MAX_BLOCK
    block = triton.next_power_of_2(max(columns, 1)) if whole else LONG_BLOCK
    warps = max(block, 2048) // (32 * elements)
    return {"BLOCK": block, "BLOCKS": triton.cdiv(columns, block), "num_warps": warps}


@triton.jit
def rms_norm_kernel(
    x_ptr,
    weight_ptr,
    out_ptr,
    row_stride,
    column_stride,
    columns,
    eps,
    BLOCK: tl.constexpr,
    BLOCKS: tl.constexpr,
):
    """Program i turns row i of x (any strides; BLOCKS blocks) into row i of out (contiguous)."""
    # TODO: load block 0 and keep it; add the squares of all blocks; scale and store block 0, then
    #       load each other block again, scale it and store it.
    # HINT: Which of the blocks can be normalised without another read?
    pass


def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float = 1e-6) -> torch.Tensor:
    """Divide every row by its root mean square and multiply it by the weight, in one launch.

    out[i, j] = x[i, j] / sqrt(mean_k x[i, k]^2 + eps) * weight[j] (Zhang and Sennrich). Everything
    is computed in float32 and rounded once, at the store.

    Limits: one launch (for an empty x one or none), and no memory but the result's. In a kernel for
    rows of up to 16,384 columns x and weight are loaded in one place each, that is, a row is read
    once; loads and stores are 128 bits wide where rows are aligned. For contiguous rows no kernel
    spills registers.

    Args:
        x: (rows, columns) of any strides; float32, float16 or bfloat16. Either size may be 0, and a
            row may be longer than any block.
        weight: (columns,), contiguous; one of the same dtypes, not necessarily that of x.
        eps: greater than 0; added to the mean of the squares, not to its root.

    Returns:
        A new contiguous tensor of x's shape and dtype, also of an empty x.

    Example:
        rms_norm([[1, 7]], [1, 2]) is [[0.2, 2.8]] up to eps: the root mean square is 5.
    """
    # TODO: allocate the output and launch one program a row, with what _blocks says.
    # HINT: Which dtype does the result have if x and weight differ?
    raise NotImplementedError("rms_norm")


@triton.jit
def layer_norm_merge_kernel(mean, m2, x, start, columns, BLOCK: tl.constexpr):
    """Day 11's merge: (mean, m2) of a row's first start elements and x -> those of all of them.

    m2 is the sum of the squared distances from the mean. x is the float32 block of the columns
    start ... start + BLOCK - 1, with 0 beyond the row's end. Before the first block mean, m2 and
    start are 0. Never launched: the kernels below call it.
    """
    # TODO: the block's own size, mean and m2; then merge the two groups.
    # HINT: How many elements does the last block have, and what is a padded lane's distance?
    pass


@triton.jit
def layer_norm_kernel(
    x_ptr,
    weight_ptr,
    bias_ptr,
    out_ptr,
    row_stride,
    column_stride,
    columns,
    eps,
    BLOCK: tl.constexpr,
    BLOCKS: tl.constexpr,
):
    """Program i turns row i of x (any strides; BLOCKS blocks) into row i of out (contiguous)."""
    # TODO: as rms_norm_kernel, with the row's mean and m2 by layer_norm_merge_kernel.
    # HINT: What must be subtracted from the block that stayed in registers: its mean, or the row's?
    pass


def layer_norm(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float = 1e-5
) -> torch.Tensor:
    """Give every row mean 0 and variance 1, then a weight and a bias a column, in one launch.

    out[i, j] = (x[i, j] - mean_i) / sqrt(var_i + eps) * weight[j] + bias[j] with the row's mean and
    var_i = sum_j (x[i, j] - mean_i)^2 / columns (Ba, Kiros and Hinton). The mean may be large
    against the deviation, as on day 11. Everything is computed in float32 and rounded once, at the
    store.

    Limits: one launch (for an empty x one or none), and no memory but the result's. In a kernel for
    rows of up to 16,384 columns x, weight and bias are loaded in one place each, that is, a row is
    read once; loads and stores are 128 bits wide where rows are aligned. For contiguous rows no
    kernel spills registers.

    Args:
        x: (rows, columns) of any strides; float32, float16 or bfloat16. Either size may be 0, and a
            row may be longer than any block.
        weight: (columns,), contiguous; one of the same dtypes, not necessarily that of x.
        bias: the same; its dtype may be a third one.
        eps: greater than 0; added to the variance, not to its root.

    Returns:
        A new contiguous tensor of x's shape and dtype, also of an empty x. A row of equal elements
        becomes the bias, up to the rounding error of its mean times weight / sqrt(eps).

    Example:
        layer_norm([[1, 3]], [1, 2], [0, 5]) is [[-1, 7]] up to eps.
    """
    # TODO: allocate the output and launch one program a row, with what _blocks says.
    # HINT: What has this launcher to hand over that rms_norm had not?
    raise NotImplementedError("layer_norm")


@triton.jit
def layer_norm_residual_kernel(
    x_ptr,
    r_ptr,
    weight_ptr,
    bias_ptr,
    out_ptr,
    new_ptr,
    x_row_stride,
    x_column_stride,
    r_row_stride,
    r_column_stride,
    columns,
    eps,
    BLOCK: tl.constexpr,
    BLOCKS: tl.constexpr,
):
    """Program i: row i of new is that of x + r, row i of out is row i of new, normalised."""
    # TODO: in walk 1 form each block of the sum, store it and merge it; in walk 2 normalise.
    # HINT: In walk 2, may a thread read what another thread of the same program has just stored?
    pass


def layer_norm_residual(
    x: torch.Tensor,
    r: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    eps: float = 1e-5,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Add x to the residual stream r and normalise the sum, in one launch.

        new = x + r, added in float32 and rounded to r's dtype
        out = layer_norm of new, with everything as in ``layer_norm``

    What is normalised is new as it is stored, after its rounding: then out is what layer_norm makes
    of new, and a backward pass that keeps new alone sees the numbers that the forward pass saw.

    Limits: one launch (for an empty x one or none), and no memory but the two results'. In a kernel
    for rows of up to 16,384 columns x, r, weight and bias are loaded in one place each; loads and
    stores are 128 bits wide where rows are aligned. For contiguous rows no kernel spills registers.

    Args:
        x: (rows, columns) of any strides; float32, float16 or bfloat16: what a layer has computed.
            Either size may be 0, and a row may be longer than any block.
        r: of x's shape, strides of its own; one of the same dtypes, not necessarily that of x: many
            models keep the stream in float32.
        weight, bias, eps: as in ``layer_norm``.

    Returns:
        out: a new contiguous tensor of x's shape and dtype.
        new: a new contiguous tensor of r's shape and dtype. x and r stay as they are, and are not
            what is returned, not even when they are empty.

    Example:
        layer_norm_residual([[1, 1]], [[0, 2]], [1, 2], [0, 5]) is ([[-1, 7]], [[1, 3]]) up to eps.
    """
    # TODO: allocate both results and launch one program a row, with what _blocks says.
    # HINT: x and r have the same shape. Which of their other properties may differ?
    raise NotImplementedError("layer_norm_residual")


def test_rms_norm_of_two_columns() -> None:
    x = torch.tensor([[1.0, 7.0], [0.0, 0.0]], device=DEVICE)
    expected = torch.tensor([[0.2, 2.8], [0.0, 0.0]], device=DEVICE)
    torch.testing.assert_close(rms_norm(x, torch.tensor([1.0, 2.0], device=DEVICE)), expected)


def test_layer_norm_of_two_columns() -> None:
    x = torch.tensor([[1.0, 3.0], [4.0, 4.0]], device=DEVICE)
    weight, bias = torch.tensor([[1.0, 2.0], [0.0, 5.0]], device=DEVICE)
    expected = torch.tensor([[-1.0, 7.0], [0.0, 5.0]], device=DEVICE)
    torch.testing.assert_close(layer_norm(x, weight, bias, eps=1e-9), expected)


def test_layer_norm_of_a_long_row_with_a_large_mean() -> None:
    x = 1000 + torch.linspace(-1.0, 1.0, 20_001, device=DEVICE).reshape(1, -1)
    weight, bias = torch.ones(20_001, device=DEVICE), torch.zeros(20_001, device=DEVICE)
    expected = torch.nn.functional.layer_norm(x.double(), (20_001,)).float()
    torch.testing.assert_close(layer_norm(x, weight, bias), expected, atol=1e-3, rtol=0.0)


def test_layer_norm_residual_of_two_columns() -> None:
    x, r = torch.tensor([[[1.0, 1.0]], [[0.0, 2.0]]], device=DEVICE)
    weight, bias = torch.tensor([[1.0, 2.0], [0.0, 5.0]], device=DEVICE)
    out, new = layer_norm_residual(x, r, weight, bias, eps=1e-9)
    torch.testing.assert_close(out, torch.tensor([[-1.0, 7.0]], device=DEVICE))
    torch.testing.assert_close(new, torch.tensor([[1.0, 3.0]], device=DEVICE))


if __name__ == "__main__":
    from harness import main

    main(__file__)
