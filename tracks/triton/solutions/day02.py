"""Day 2: Memory operations
========================
Estimated time: 45-75 minutes
Prerequisites: Day 1 (programs, blocks, masks)
Lesson: lessons/day02.md

Learning objectives:
- Compute addresses: a pointer, and an offset for every lane
- Read with a step, and backwards, by changing the offsets and nothing else
- Load offsets from memory and use them: gather and scatter
- Know what an output holds where no program has written

Five kernels move numbers without computing anything. They differ in one line each: which
address a lane reads, and which it writes. For 4 elements:

    lane              0       1       2       3
    copy            x[0]    x[1]    x[2]    x[3]      -> out[lane]
    strided_copy    x[0]    x[3]    x[6]    x[9]      -> out[lane]    step 3
    reverse         x[3]    x[2]    x[1]    x[0]      -> out[lane]
    gather          x[i0]   x[i1]   x[i2]   x[i3]     -> out[lane]
    scatter         x[0]    x[1]    x[2]    x[3]      -> out[i0], out[i1], ...

    i0, i1, ... are index[0], index[1], ...

Hints:
- Write down, for lane 0 and lane 1, the address that each reads and the address that each writes.
- A mask says which lanes have work. It depends on the lane's number, not on the address.
- In every exercise but one, the launchers are given: they say what each kernel receives.
Resources:
- PyTorch, tensor views and strides: https://docs.pytorch.org/docs/stable/tensor_view.html
- Triton language reference, tl.load: https://triton-lang.org/main/python-api/generated/triton.language.load.html
- Triton language reference, tl.store: https://triton-lang.org/main/python-api/generated/triton.language.store.html
"""

import torch
import triton
import triton.language as tl

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
BLOCK = 1024


@triton.jit
def copy_kernel(x_ptr, out_ptr, n, BLOCK: tl.constexpr):
    """Program i copies elements i * BLOCK up to (i + 1) * BLOCK, below n."""
    # TODO: load this program's block of x and store it, as it is, in out.
    # HINT: x and out lie in different places. Do they need different offsets?
    ### BEGIN SOLUTION
    # HINT: Day 1's offsets and mask serve the load and the store.
    # HINT: tl.store(out_ptr + offsets, x, mask=mask), where x is what tl.load returned, untouched.
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    tl.store(out_ptr + offsets, tl.load(x_ptr + offsets, mask=mask), mask=mask)
    ### END SOLUTION


def copy(x: torch.Tensor) -> torch.Tensor:
    """Return a copy of ``x`` in memory of its own.

    Args:
        x: contiguous, any shape and dtype. It may be a view that begins in the middle of a larger
            tensor, such as t[3:]: x_ptr is then the address of x's first element, not of t's.

    Returns:
        A new tensor of x's shape and dtype, bit for bit the same numbers, nan included.

    Example:
        copy([1.0, 2.0, 3.0, 4.0][1:3]) is [2.0, 3.0].
    """
    out = torch.empty_like(x)
    n = x.numel()
    copy_kernel[(triton.cdiv(n, BLOCK),)](x, out, n, BLOCK=BLOCK)
    return out


@triton.jit
def strided_copy_kernel(x_ptr, out_ptr, stride, n, BLOCK: tl.constexpr):
    """Program i: out_ptr[j] = x_ptr[j * stride] for the block of j that it owns, j < n."""
    # TODO: read elements that lie stride apart, write them side by side.
    # HINT: Lane j reads one address and writes another. Which of the two depends on stride?
    ### BEGIN SOLUTION
    # HINT: n counts the elements of out, so it is j that is compared with it.
    # HINT: Load from x_ptr + j * stride, store to out_ptr + j, both under the mask j < n.
    j = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = j < n
    tl.store(out_ptr + j, tl.load(x_ptr + j * stride, mask=mask), mask=mask)
    ### END SOLUTION


def strided_copy(x: torch.Tensor, step: int) -> torch.Tensor:
    """Return every ``step``-th element of ``x``, as ``x[::step]`` does, but in memory of its own.

    Args:
        x: one axis, any dtype and any stride: a column of a matrix will do.
        step: 1 or more.

    Returns:
        A new contiguous tensor of ceil(len(x) / step) elements: out[j] = x[j * step].

    Raises:
        ValueError: step is less than 1.

    Example:
        strided_copy([10, 11, 12, 13, 14, 15, 16], 3) is [10, 13, 16].
    """
    if step < 1:
        raise ValueError(f"step must be at least 1, not {step}")
    n = triton.cdiv(x.numel(), step)
    out = torch.empty(n, dtype=x.dtype, device=x.device)
    # From one element to the next it is x.stride(0) in memory, so it is step times that.
    stride = x.stride(0) * step
    strided_copy_kernel[(triton.cdiv(n, BLOCK),)](x, out, stride, n, BLOCK=BLOCK)
    return out


@triton.jit
def reverse_kernel(x_ptr, out_ptr, n, BLOCK: tl.constexpr):
    """Program i: out_ptr[j] = x_ptr[n - 1 - j] for the block of j that it owns, j < n."""
    # TODO: write the elements of x in reverse order.
    # HINT: Which element of x does out[0] get, and which does out[1] get?
    ### BEGIN SOLUTION
    # HINT: The offsets into x fall where those into out rise. Their sum is always the same.
    # HINT: x_ptr + (n - 1 - j): for j >= n it points before x, so the mask of the load must be on.
    j = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = j < n
    tl.store(out_ptr + j, tl.load(x_ptr + (n - 1 - j), mask=mask), mask=mask)
    ### END SOLUTION


def reverse(x: torch.Tensor) -> torch.Tensor:
    """Return the elements of ``x`` from the last to the first.

    Args:
        x: one axis, contiguous, any dtype; it may be a view into a larger tensor.

    Returns:
        A new contiguous tensor of x's shape and dtype: out[j] = x[n - 1 - j].

    Example:
        reverse([1, 2, 3]) is [3, 2, 1].
    """
    out = torch.empty_like(x)
    n = x.numel()
    reverse_kernel[(triton.cdiv(n, BLOCK),)](x, out, n, BLOCK=BLOCK)
    return out


@triton.jit
def gather_kernel(x_ptr, index_ptr, out_ptr, n, BLOCK: tl.constexpr):
    """Program i: out_ptr[j] = x_ptr[index_ptr[j]] for the block of j that it owns, j < n."""
    # TODO: load a block of indices, load the elements of x that they name, store these.
    # HINT: What tl.load returns is a block of numbers. What is a pointer plus a block of numbers?
    ### BEGIN SOLUTION
    # HINT: There are two loads, and the second one's addresses depend on the first one's result.
    # HINT: index = tl.load(index_ptr + j, mask=mask), then load x_ptr + index under the same mask.
    j = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = j < n
    index = tl.load(index_ptr + j, mask=mask)
    tl.store(out_ptr + j, tl.load(x_ptr + index, mask=mask), mask=mask)
    ### END SOLUTION


def gather(x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Return the elements of ``x`` that ``index`` names, as ``x[index]`` does.

    Args:
        x: one axis, contiguous, any dtype.
        index: contiguous, any shape, int32 or int64; each value is at least 0 and less than
            len(x). Values may repeat, and their order is free.

    Returns:
        A new tensor of index's shape and x's dtype: out[j] = x[index[j]].

    Example:
        gather([10, 11, 12], [2, 0, 0, 1]) is [12, 10, 10, 11].
    """
    out = torch.empty(index.shape, dtype=x.dtype, device=x.device)
    n = index.numel()
    gather_kernel[(triton.cdiv(n, BLOCK),)](x, index, out, n, BLOCK=BLOCK)
    return out


@triton.jit
def scatter_kernel(x_ptr, index_ptr, out_ptr, count, BLOCK: tl.constexpr):
    """Program i: out_ptr[index_ptr[j]] = x_ptr[j] for the block of j that it owns, j < count."""
    # TODO: load a block of x and of index, store each element at the place that its index names.
    # HINT: In gather the index chose where to read. What does it choose now?
    ### BEGIN SOLUTION
    # HINT: Both loads use the lane's own offsets; only the store's address is looked up.
    # HINT: tl.store(out_ptr + index, x, mask=mask), where the mask is about j, not about index.
    j = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = j < count
    index = tl.load(index_ptr + j, mask=mask)
    x = tl.load(x_ptr + j, mask=mask)
    tl.store(out_ptr + index, x, mask=mask)
    ### END SOLUTION


def scatter(x: torch.Tensor, index: torch.Tensor, n: int) -> torch.Tensor:
    """Return ``n`` elements: x[j] at place index[j], and 0 wherever no index points.

    Args:
        x: one axis, contiguous, any dtype.
        index: contiguous, x's shape, int32 or int64; each value is at least 0 and less than n,
            and no value occurs twice (two programs may not write the same element).
        n: length of the result, at least len(x); 0 is possible.

    Returns:
        A new contiguous tensor of n elements and x's dtype.

    Example:
        scatter([7, 8], [3, 0], 5) is [8, 0, 0, 7, 0].
    """
    # TODO: allocate out: n elements of x's dtype, on x's device.
    # HINT: The kernel writes len(x) of the n elements. What do the others hold?
    ### BEGIN SOLUTION
    # HINT: torch.empty is whatever was in that memory before; torch.zeros writes every element.
    out = torch.zeros(n, dtype=x.dtype, device=x.device)
    ### END SOLUTION
    count = x.numel()
    scatter_kernel[(triton.cdiv(count, BLOCK),)](x, index, out, count, BLOCK=BLOCK)
    return out


def test_copy_of_a_view() -> None:
    x = torch.arange(6.0, device=DEVICE)[2:5]
    out = copy(x)
    assert out.tolist() == [2.0, 3.0, 4.0]
    assert out.data_ptr() != x.data_ptr()


def test_strided_copy_of_every_third_element() -> None:
    x = torch.arange(10, 17, device=DEVICE)
    assert strided_copy(x, 3).tolist() == [10, 13, 16]


def test_reverse_with_two_programs() -> None:
    x = torch.arange(1025, device=DEVICE)
    assert reverse(x).tolist() == list(range(1024, -1, -1))


def test_gather_may_repeat_elements() -> None:
    x = torch.tensor([10.0, 11.0, 12.0], device=DEVICE)
    index = torch.tensor([2, 0, 0, 1], device=DEVICE)
    assert gather(x, index).tolist() == [12.0, 10.0, 10.0, 11.0]


def test_scatter_leaves_zeros_between() -> None:
    x = torch.tensor([7.0, 8.0], device=DEVICE)
    index = torch.tensor([3, 0], dtype=torch.int32, device=DEVICE)
    assert scatter(x, index, 5).tolist() == [8.0, 0.0, 0.0, 7.0, 0.0]


if __name__ == "__main__":
    from harness import main

    main(__file__)
