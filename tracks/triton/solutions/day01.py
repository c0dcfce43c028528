"""Day 1: Hello, Triton
====================
Estimated time: 30-60 minutes
Prerequisites: Python, and tensors in PyTorch
Lesson: lessons/day01.md

Learning objectives:
- Write a kernel: load a block of numbers, compute, store a block of numbers
- Turn a program id into the offsets that the program owns
- Mask the offsets that fall outside the tensor
- Launch one program for each block, and know why not one for each element

The same kernel runs in many programs at once; only its program id differs. With BLOCK = 4
and 10 elements, 3 programs share the work:

    program         0                 1                  2
    offsets     0  1  2  3   |   4  5  6  7   |   8  9  (10) (11)
    mask        T  T  T  T   |   T  T  T  T   |   T  T    F    F

Hints:
- A pointer plus a block of offsets is a block of pointers, one for each element.
- Work out by hand, for 10 elements and BLOCK = 4, which elements program 2 may touch.
- The launchers are given today: read them to see what each kernel receives.
Resources:
- Triton tutorial, Vector Addition: https://triton-lang.org/main/getting-started/tutorials/01-vector-add.html
- Triton language reference: https://triton-lang.org/main/python-api/triton.language.html
- Tillet, Kung and Cox, Triton (MAPL 2019): https://www.eecs.harvard.edu/~htk/publication/2019-mapl-tillet-kung-cox.pdf
"""

import torch
import triton
import triton.language as tl

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
BLOCK = 1024


@triton.jit
def fill_kernel(out_ptr, value, n, BLOCK: tl.constexpr):
    """The only program: stores value at out_ptr[0], ..., out_ptr[n - 1]; n <= BLOCK."""
    # TODO: store value at the first n of BLOCK offsets, and nowhere else.
    # HINT: The lesson's difference_kernel stores a block. Which of its lines does this one need?
    ### BEGIN SOLUTION
    # HINT: tl.arange(0, BLOCK) is the block 0, 1, ..., BLOCK - 1. Which of these exist in out?
    # HINT: A comparison such as offsets < n gives a block of booleans: the mask of tl.store.
    # HINT: tl.store(out_ptr + offsets, value, mask=...) leaves the masked addresses alone.
    offsets = tl.arange(0, BLOCK)
    tl.store(out_ptr + offsets, value, mask=offsets < n)
    ### END SOLUTION


def fill(out: torch.Tensor, value: float) -> torch.Tensor:
    """Set every element of ``out`` to ``value``, in place, with one program.

    Args:
        out: contiguous, any shape and dtype, at most 4096 elements: one block holds them all.
        value: the number to store; it is converted to out's dtype.

    Returns:
        ``out`` itself.

    Example:
        fill(torch.empty(3), 7.0) is [7, 7, 7].
    """
    n = out.numel()
    fill_kernel[(1,)](out, value, n, BLOCK=triton.next_power_of_2(max(n, 1)))
    return out


@triton.jit
def add_one_kernel(x_ptr, out_ptr, n, BLOCK: tl.constexpr):
    """The only program: out_ptr[i] = x_ptr[i] + 1 for i = 0, ..., n - 1; n <= BLOCK."""
    # TODO: load the first n elements of x, add 1, store them in out.
    # HINT: This is fill with a load before the store. Which elements of x may be read?
    ### BEGIN SOLUTION
    # HINT: Reading beyond the end of x is as wrong as writing beyond the end of out: mask both.
    # HINT: x = tl.load(x_ptr + offsets, mask=mask), and x + 1 is stored under the same mask.
    offsets = tl.arange(0, BLOCK)
    mask = offsets < n
    x = tl.load(x_ptr + offsets, mask=mask)
    tl.store(out_ptr + offsets, x + 1, mask=mask)
    ### END SOLUTION


def add_one(x: torch.Tensor) -> torch.Tensor:
    """Return ``x + 1``, computed by one program.

    Args:
        x: contiguous, any shape, at most 4096 elements; a floating or integer dtype.

    Returns:
        A new tensor of x's shape and dtype; x is left as it was.

    Example:
        add_one([0.0, 2.5]) is [1.0, 3.5].
    """
    out = torch.empty_like(x)
    n = x.numel()
    add_one_kernel[(1,)](x, out, n, BLOCK=triton.next_power_of_2(max(n, 1)))
    return out


@triton.jit
def scale_kernel(x_ptr, out_ptr, k, n, BLOCK: tl.constexpr):
    """Program i: out_ptr[j] = k * x_ptr[j] for j from i * BLOCK up to (i + 1) * BLOCK, below n."""
    # TODO: find the offsets that this program owns, then load, multiply by k and store.
    # HINT: tl.program_id(0) is 0 in the first program, 1 in the second. Where does each one begin?
    ### BEGIN SOLUTION
    # HINT: Program i begins at element i * BLOCK: add that to tl.arange(0, BLOCK).
    # HINT: Only the last program has offsets >= n, but all programs run the same code: mask in all.
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    x = tl.load(x_ptr + offsets, mask=mask)
    tl.store(out_ptr + offsets, k * x, mask=mask)
    ### END SOLUTION


def scale(x: torch.Tensor, k: float) -> torch.Tensor:
    """Return ``k * x``, computed by one program for each block of 1024 elements.

    Args:
        x: contiguous, any shape, fewer than 2**31 elements; float32, float16 or bfloat16.
        k: the factor; a kernel receives Python's floats as float32.

    Returns:
        A new tensor of x's shape and dtype; x is left as it was.

    Example:
        scale([1.0, -2.0], 0.5) is [0.5, -1.0].
    """
    out = torch.empty_like(x)
    n = x.numel()
    scale_kernel[(triton.cdiv(n, BLOCK),)](x, out, k, n, BLOCK=BLOCK)
    return out


@triton.jit
def vector_add_kernel(x_ptr, y_ptr, out_ptr, n, BLOCK: tl.constexpr):
    """Program i: out_ptr[j] = x_ptr[j] + y_ptr[j] for the block of elements j that it owns."""
    # TODO: add the two blocks that this program owns.
    # HINT: x, y and out have the same shape. How many different blocks of offsets do you need?
    ### BEGIN SOLUTION
    # HINT: One block of offsets and one mask serve two loads and one store.
    # HINT: Load x_ptr + offsets and y_ptr + offsets, store their sum at out_ptr + offsets.
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    x = tl.load(x_ptr + offsets, mask=mask)
    y = tl.load(y_ptr + offsets, mask=mask)
    tl.store(out_ptr + offsets, x + y, mask=mask)
    ### END SOLUTION


def vector_add(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return ``x + y``, computed by one program for each block of 1024 elements.

    Args:
        x: contiguous, any shape, fewer than 2**31 elements; a floating or integer dtype.
        y: contiguous, x's shape and dtype.

    Returns:
        A new tensor of x's shape and dtype; x and y are left as they were.

    Example:
        vector_add([1.0, 2.0], [10.0, 20.0]) is [11.0, 22.0].
    """
    out = torch.empty_like(x)
    n = x.numel()
    vector_add_kernel[(triton.cdiv(n, BLOCK),)](x, y, out, n, BLOCK=BLOCK)
    return out


def test_fill_leaves_the_neighbours_alone() -> None:
    memory = torch.zeros(5, device=DEVICE)
    fill(memory[1:4], 7.0)
    assert memory.tolist() == [0.0, 7.0, 7.0, 7.0, 0.0]


def test_add_one_to_three_elements() -> None:
    x = torch.tensor([0.0, 2.5, -1.0], device=DEVICE)
    assert add_one(x).tolist() == [1.0, 3.5, 0.0]


def test_scale_with_two_programs() -> None:
    x = torch.arange(1025.0, device=DEVICE)
    assert scale(x, 2.0).tolist() == [2.0 * i for i in range(1025)]


def test_vector_add_with_three_programs() -> None:
    x = torch.arange(2500.0, device=DEVICE)
    assert vector_add(x, x.flip(0)).tolist() == [2499.0] * 2500


if __name__ == "__main__":
    from harness import main

    main(__file__)
