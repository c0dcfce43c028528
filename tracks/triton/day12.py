"""Day 12: Numerical stability
===========================
Estimated time: 1-2 hours
Prerequisites: Day 11 (row and column statistics)
Lesson: lessons/day12.md

Learning objectives:
- Take the logarithm of a sum of exponentials where every exponential overflows or vanishes
- Keep the digits of a small difference between two large numbers
- Rewrite a formula as a sum of terms that cannot cancel
- Handle rows of -inf on purpose, not by luck
- Recover what each addition rounds away, and reduce pairs of numbers with tl.reduce

A formula that is right on paper can lose everything on the way. In float32:

         x       exp(x)     1 + exp(x)   log(1 + exp(x))    true value
       100          inf            inf               inf           100
        10      22026.5        22027.5           10.0000       10.0000
       -10      0.00005        1.00005           0.00005       0.00005
       -20         2e-9              1                 0          2e-9

Both ends are lost at once: above, the exponential leaves float32; below, the 1 swallows it.

Hints:
- Subtract before you exponentiate: exp of something that is at most 0 cannot overflow.
- Follow -inf, +inf and nan through your formula by hand before you run it.
- Of two formulas that are equal on paper, take the one that subtracts nothing large.
Resources:
- Blanchard, Higham and Higham, Accurately computing the log-sum-exp and softmax functions: https://doi.org/10.1093/imanum/draa038
- Goldberg, What every computer scientist should know about floating-point arithmetic: https://doi.org/10.1145/103162.103163
- Ogita, Rump and Oishi, Accurate sum and dot product: https://doi.org/10.1137/030601818
- Triton language reference, tl.reduce: https://triton-lang.org/main/python-api/generated/triton.language.reduce.html
"""

import torch
import triton
import triton.language as tl

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
BLOCK = 1024
MAX_BLOCK = 4096
SUM_BLOCK, MAX_PROGRAMS = 1024, 256
INF = tl.constexpr(float("inf"))  # a number of the module that kernels may use


def _block_and_warps(columns: int) -> tuple[int, int]:
    """A block that covers a short row, or MAX_BLOCK elements of a long one; its number of warps."""
    block = min(triton.next_power_of_2(max(columns, 1)), MAX_BLOCK)
    return block, min(max(block // (32 * 16), 1), 8)


@triton.jit
def _log1p(u):
    """log(1 + u) for u from 0 to 1, with full relative accuracy however small u is.

    1 + u is rounded; what it kept of u is (1 + u) - 1, exactly. The logarithm of the rounded number
    is right for that part, and log1p is nearly proportional to u, so a factor corrects it. (Theorem
    4 in Goldberg's paper.)
    """
    one_plus = 1.0 + u
    kept = one_plus - 1.0
    corrected = tl.log(one_plus) * (u / tl.where(kept == 0.0, 1.0, kept))
    return tl.where(kept == 0.0, u, corrected)


@triton.jit
def logsumexp_kernel(x_ptr, out_ptr, columns, BLOCK: tl.constexpr):
    """Program i: out_ptr[i] = log(sum of exp) of row i of x, taken BLOCK elements at a time."""
    # TODO: walk along the row for its maximum m, then again for the sum of exp(x - m).
    # HINT: What is x - m in a row that is all -inf? And in a row that holds +inf?
    pass


def logsumexp(x: torch.Tensor) -> torch.Tensor:
    """Logarithm of the sum of exponentials of every row, in one launch.

    out[i] = log(sum_j exp(x[i, j])) = m + log(sum_j exp(x[i, j] - m)), for any number m

    With m = max_j x[i, j] the largest term of the second sum is exp(0) = 1: it cannot overflow, and
    it cannot be 0. The row is read twice, once for its maximum; nothing but out is written.

    Limits: one program a row, no memory but the result's, no spilled registers, and loads of 128
    bits where rows are long and aligned.

    Args:
        x: (rows, columns), contiguous; float32, float16 or bfloat16. Either size may be 0; a row
            may be longer than any block, and x may be +-1e4 or +-inf.

    Returns:
        A tensor of shape (rows,) and x's dtype, computed in float32 and rounded once. As in
        torch.logsumexp, a row of -inf, or of no elements, gives -inf (the logarithm of 0), a row
        that holds +inf gives +inf, and a row that holds nan gives nan.

    Example:
        logsumexp([[0, log 3], [1000, 1000]]) is [log 4, 1000 + log 2].
    """
    # TODO: allocate one number a row and launch one program a row.
    # HINT: Everything about this launcher is as on days 10 and 11.
    raise NotImplementedError("logsumexp")


@triton.jit
def log_softmax_kernel(x_ptr, out_ptr, columns, BLOCK: tl.constexpr):
    """Program i: row i of out = row i of x minus the logsumexp of that row."""
    # TODO: maximum, sum of exp(x - m), then a third walk that stores.
    # HINT: m + log(total) rounds away the digits of log(total) if m is 1e4. Must you form it?
    pass


def log_softmax(x: torch.Tensor) -> torch.Tensor:
    """Logarithm of the softmax of every row, in one launch.

    out[i, j] = x[i, j] - log(sum_k exp(x[i, k]))

    The errors of the result must be small against 1 and against the distance of x[i, j] from the
    row's maximum, not against x[i, j] itself: for logits around 1e4 a result of -0.7 still has all
    its digits. Nor may it become -inf where softmax is too small for float32.

    Limits: one program a row, no memory but the result's, no spilled registers, and loads of 128
    bits where rows are long and aligned.

    Args:
        x: as in ``logsumexp``.

    Returns:
        A new contiguous tensor of x's shape and dtype, computed in float32 and rounded once. An
        element -inf gives -inf. As in torch.log_softmax, each element of a row that holds nan or
        +inf, or only -inf, becomes nan.

    Example:
        log_softmax([[0, log 3]]) is [[log 0.25, log 0.75]], log_softmax([[0, -1000]]) is
        [[0, -1000]].
    """
    # TODO: allocate the output and launch one program a row.
    # HINT: Is there anything to allocate besides the output?
    raise NotImplementedError("log_softmax")


@triton.jit
def softplus_kernel(x_ptr, out_ptr, n, BLOCK: tl.constexpr):
    """Program i: softplus of the block of elements that it owns."""
    # TODO: load a block, compute softplus in float32 for both tails, store it.
    # HINT: softplus(x) - softplus(-x) = x. Which of the two sides of 0 is the harmless one?
    pass


def softplus(x: torch.Tensor) -> torch.Tensor:
    """Softplus, in one launch: log(1 + exp(x)), a relu with a rounded corner.

    Every finite x has a finite result with a small relative error: softplus(100) is 100, and
    softplus(-20) is 2.06e-9, not 0. ``_log1p`` above is given for that.

    Limits: one program for each BLOCK elements, and no memory but the result's.

    Args:
        x: contiguous, any shape and size; float32, float16 or bfloat16, computed in float32.

    Returns:
        A new tensor of x's shape and dtype. softplus(-inf) is 0, softplus(inf) is inf, and
        softplus(nan) is nan.

    Example:
        softplus([0, 100, -20]) is [log 2, 100, 2.06e-9].
    """
    # TODO: allocate the output and launch one program for each block of BLOCK elements.
    # HINT: As on day 8.
    raise NotImplementedError("softplus")


@triton.jit
def bce_with_logits_kernel(x_ptr, y_ptr, out_ptr, n, BLOCK: tl.constexpr):
    """Program i: the loss of each element of the block that it owns."""
    # TODO: load both blocks, compute the loss in float32 as a sum of terms >= 0, store it.
    # HINT: softplus(x) - x * y is right on paper. Which digits does it keep for x = 20, y = 1?
    pass


def bce_with_logits(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy of each element, in one launch, from logits instead of probabilities.

    out = -y * log(p) - (1 - y) * log(1 - p) = softplus(x) - x * y, where p = 1 / (1 + exp(-x))

    Every finite x has a finite loss with a small relative error, so also a confident and right
    prediction has one that is not 0: for x = 20 and y = 1 it is 2.06e-9. Rewrite the formula such
    that nothing cancels. There is no mean over the elements.

    Limits: one program for each BLOCK elements, and no memory but the result's.

    Args:
        x: logits, finite; contiguous, any shape and size; float32, float16 or bfloat16.
        y: targets from 0 to 1, not only these two; of x's shape and dtype, contiguous.

    Returns:
        A new tensor of x's shape and dtype, computed in float32 and rounded once.

    Example:
        bce_with_logits([0, 100, -100], [1, 0.5, 1]) is [log 2, 50, 100].
    """
    # TODO: allocate the output and launch one program for each block of BLOCK elements.
    # HINT: As softplus, with one pointer more.
    raise NotImplementedError("bce_with_logits")


@triton.jit
def compensated_sum_add_kernel(a, a_lost, b, b_lost):
    """The sum of two pairs, as a pair: (a + b rounded, all that has been lost so far).

    Never launched: the two kernels below call it, in their loops or as the function of tl.reduce.
    """
    # TODO: add a and b, recover what the addition lost, add it to what both had lost before.
    # HINT: s - a is the part of b that arrived in s. What is the part of a that arrived?
    pass


@triton.jit
def compensated_sum_kernel(x_ptr, total_ptr, lost_ptr, n, BLOCK: tl.constexpr):
    """Program i adds up the blocks i, i + programs, ... of x: total_ptr[i] and lost_ptr[i]."""
    # TODO: keep a pair (total, lost) in each lane, block after block; then reduce the lanes' pairs.
    # HINT: tl.sum would round without a trace. tl.reduce takes a tuple and a function of two pairs.
    pass


@triton.jit
def compensated_sum_finish_kernel(total_ptr, lost_ptr, out_ptr, count, BLOCK: tl.constexpr):
    """The only program: reduces count pairs to one and stores its total plus what was lost."""
    # TODO: load the pairs in one block, reduce them, add both halves, store.
    # HINT: If a total is inf, what did the subtractions make of its other half?
    pass


def compensated_sum(x: torch.Tensor) -> torch.Tensor:
    """Sum of all elements, in two launches, nearly as if float32 had twice its digits.

    Each addition is followed by five more that compute what it rounded away, exactly (Knuth):

        s = a + b, t = s - a, lost = (a - (s - t)) + (b - t)

    The lost parts are added up beside the totals, over blocks, lanes and programs, and come back
    at the very end. So [1, 1e8, 1, -1e8] adds up to 2, wherever in a large x these four stand.

    Several programs share a large x, at most MAX_PROGRAMS and at most one for each SUM_BLOCK
    elements, and leave one pair of float32 numbers each; a second launch of one program adds the
    pairs. The same x gives the same bits each time. Besides the pairs, at most 1024 bytes are
    allocated, the host does not wait for the device, no kernel spills registers, and the first one
    loads 128 bits at once.

    Args:
        x: contiguous, any shape and size; float32, float16 or bfloat16.

    Returns:
        A float32 tensor of shape (), for x of any dtype; 0 if x has no elements. An infinity, nan
        or a sum too large for float32 gives what a plain sum gives: inf, -inf or nan.

    Example:
        compensated_sum([[1, 1e8], [1, -1e8]]) is 2; a plain float32 sum may well say 0.
    """
    # TODO: choose the number of programs, allocate their pairs and the result, launch twice.
    # HINT: As mean_all on day 10, with two numbers a program instead of one.
    raise NotImplementedError("compensated_sum")


def test_logsumexp_of_large_and_small_rows() -> None:
    x = torch.tensor([[0.0, 0.0], [1000.0, 1000.0], [-1000.0, -1000.0]], device=DEVICE)
    expected = torch.tensor([0.693147, 1000.693147, -999.306853], device=DEVICE)
    torch.testing.assert_close(logsumexp(x), expected)


def test_logsumexp_of_nothing_but_minus_infinity() -> None:
    inf = float("inf")
    assert logsumexp(torch.tensor([[-inf, -inf], [inf, 0.0]], device=DEVICE)).tolist() == [
        -inf,
        inf,
    ]


def test_log_softmax_keeps_its_digits() -> None:
    x = torch.tensor([[10_000.0, 10_000.0], [0.0, -1000.0]], device=DEVICE)
    expected = torch.tensor([[-0.693147, -0.693147], [0.0, -1000.0]], device=DEVICE)
    torch.testing.assert_close(log_softmax(x), expected)


def test_softplus_of_both_tails() -> None:
    x = torch.tensor([0.0, 100.0, -20.0], device=DEVICE)
    expected = torch.tensor([0.693147, 100.0, 2.0611537e-9], device=DEVICE)
    torch.testing.assert_close(softplus(x), expected, rtol=1e-5, atol=0.0)


def test_bce_of_right_and_wrong_predictions() -> None:
    x = torch.tensor([0.0, 20.0, 100.0, -100.0], device=DEVICE)
    y = torch.tensor([1.0, 1.0, 0.5, 1.0], device=DEVICE)
    expected = torch.tensor([0.693147, 2.0611537e-9, 50.0, 100.0], device=DEVICE)
    torch.testing.assert_close(bce_with_logits(x, y), expected, rtol=1e-5, atol=0.0)


def test_compensated_sum_finds_the_ones() -> None:
    assert compensated_sum(torch.tensor([[1.0, 1e8], [1.0, -1e8]], device=DEVICE)).item() == 2.0


if __name__ == "__main__":
    from harness import main

    main(__file__)
