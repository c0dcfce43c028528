r"""
Day 9: Activations
==================
Estimated time: 1-2 hours
Prerequisites: Day 8 (linear layers), Day 5 (nn.Module), Day 3 (autograd)
Lesson: lessons/day09.md

Learning objectives:
- Write the usual activations so that the gradient is right too, at the kink and far out
- Tell the two forms of GELU apart, and say why there are two
- Compute a softmax and its logarithm for any scores without overflow, and without losing -inf
- Build the gated feed-forward block of today's language models out of one of them

Without something bent between them, layers collapse into one. What bends:

      relu             leaky relu            gelu, silu
          /                  /                    /
         /                  /                    /
    ____/              ____/              _     /
                  ____/                    \___/
       0                  0                    0

A value may be right while its gradient is not. Where two branches meet, which of them does
autograd follow? And where a branch that is not taken overflows, what does it send back?

Refused here: torch's own relu, leaky_relu, gelu, silu, softmax, log_softmax, logsumexp and
their relatives. Allowed: exp, log, erf, tanh, sigmoid, where, clamp, maximum, amax, sum.

Hints:
- Compare with torch where it hurts: 0, -0.0, inf, nan, ±1e4; print the gradient too.
- exp overflows in float32 above 88. Which of your exp can meet such a number?
- Compute half precision in float32, and round the result once.

Resources:
- Gaussian Error Linear Units, Hendrycks and Gimpel 2016: https://arxiv.org/abs/1606.08415
- Searching for Activation Functions, Ramachandran et al. 2017 (Swish): https://arxiv.org/abs/1710.05941
- GLU Variants Improve Transformer, Shazeer 2020: https://arxiv.org/abs/2002.05202
- LLaMA, Touvron et al. 2023, section 2.2: https://arxiv.org/abs/2302.13971
"""

from __future__ import annotations

import math

import torch
from torch import nn


def widened(x: torch.Tensor) -> torch.Tensor:
    """``x`` in float32 if it is of half precision, else as it is; gradients go back narrowed."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def relu(x: torch.Tensor) -> torch.Tensor:
    """max(0, x), element by element; a new tensor, with the dtype of ``x``.

    - The slope is 1 above zero and 0 below. At zero the function has a kink, and any number
      between 0 and 1 would do: it is 0, as in torch. A network whose units start at exactly zero
      notices the difference.
    - inf gives inf, -inf gives 0, and nan stays nan: a zero there would hide a broken network.

    It runs under torch.compile(fullgraph=True), as all of today's functions do.

    >>> relu(torch.tensor([-2.0, 0.0, 3.0]))
    tensor([0., 0., 3.])
    """
    # TODO: zero where x is not positive, x elsewhere.
    # HINT: which slope do clamp, maximum and a product with (x > 0) have at zero, and what do
    #       they make of nan and of -inf?
    ### BEGIN SOLUTION
    # HINT: choose, do not multiply: masked_fill and torch.where send the gradient 0 to what
    #       they replace.
    # HINT: x.masked_fill(condition, 0.0). nan is neither above zero nor at or below it, so
    #       which of the two conditions leaves it alone?
    return x.masked_fill(x <= 0, 0.0)
    ### END SOLUTION


def leaky_relu(x: torch.Tensor, slope: float = 0.01) -> torch.Tensor:
    """x above zero, slope · x elsewhere; a new tensor, with the dtype of ``x`` (Maas et al. 2013).

    ``slope`` is any number: negative, and above 1, too. At zero the gradient is ``slope``, as in
    torch. nan stays nan.

    >>> leaky_relu(torch.tensor([-2.0, 3.0]), slope=0.5)
    tensor([-1.,  3.])
    """
    # TODO: choose between two branches.
    # HINT: max(x, slope · x) is a popular short form. For which slopes is it right?
    ### BEGIN SOLUTION
    # HINT: torch.where(condition, a, b); its gradient goes to the branch that was taken. It sends
    #       0 to the other, and 0 · inf is nan: is there an inf in one of yours?
    # HINT: torch.where(x > 0, ..., ...) has x in one branch and slope · x in the other.
    return torch.where(x > 0, x, slope * x)
    ### END SOLUTION


def gelu(x: torch.Tensor, approximate: str = "none") -> torch.Tensor:
    """x · Φ(x), with Φ the normal distribution function (Hendrycks and Gimpel 2016)::

        "none":  Φ(x) = (1 + erf(x / √2)) / 2
        "tanh":  Φ(x) ≈ (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2

    The two differ by up to 0.0005, which a pretrained model notices: GPT-2 was trained with
    "tanh", BERT with "none". Any other ``approximate`` raises ValueError with it in the message.

    Half-precision ``x`` is computed in float32 and the result rounded once: the cube of 50 does
    not fit into float16. The result has the dtype of ``x``. Values and gradients are finite for
    all |x| ≤ 10⁴.

    >>> gelu(torch.tensor([-1.0, 0.0, 1.0]))
    tensor([-0.1587,  0.0000,  0.8413])
    """
    # TODO: widen, one of the two formulas, narrow.
    # HINT: torch.erf and torch.tanh are what you need; neither overflows.
    ### BEGIN SOLUTION
    # HINT: z = widened(x) to compute with; .to(x.dtype) comes last.
    # HINT: Φ has the same frame in both forms: (1 + …) / 2.
    if approximate not in ("none", "tanh"):
        raise ValueError(f"approximate is 'none' or 'tanh', not {approximate!r}")
    z = widened(x)
    if approximate == "none":
        phi = torch.erf(z * math.sqrt(0.5))
    else:
        phi = torch.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3))
    return (0.5 * z * (1 + phi)).to(x.dtype)
    ### END SOLUTION


def silu(x: torch.Tensor) -> torch.Tensor:
    """x · σ(x) with σ(x) = 1 / (1 + e⁻ˣ), also called Swish (Ramachandran et al. 2017).

    Half-precision ``x`` is computed in float32 and the result rounded once; it has the dtype of
    ``x``. Values and gradients are finite for all |x| ≤ 10⁴: where e⁻ˣ overflows, the slope is 0.

    >>> silu(torch.tensor([-1.0, 0.0, 1.0]))
    tensor([-0.2689,  0.0000,  0.7311])
    """
    # TODO: widen, multiply by the sigmoid, narrow.
    # HINT: x / (1 + exp(-x)) has the right values. What is its gradient at -100? A torch.where
    #       around it sends 0 to the branch not taken, and 0 · inf is nan.
    ### BEGIN SOLUTION
    # HINT: torch.sigmoid(z) is stable in both directions, and so is its backward.
    # HINT: z = widened(x), then z · sigmoid(z), and .to(x.dtype) last.
    z = widened(x)
    return (z * torch.sigmoid(z)).to(x.dtype)
    ### END SOLUTION


def softmax(x: torch.Tensor, dim: int = -1) -> torch.Tensor:
    """exp(x) / Σ exp(x) along the axis ``dim``: any scores become shares that sum to one.

    - ``x`` of any shape and strides, a number without axes too; ``dim`` may be negative. No
      elements give no elements: a new tensor, still on the graph.
    - Finite for all finite scores: a constant added to all of them changes nothing, so subtract
      the largest first, and every exponent is at most 0.
    - A score of -inf gets the share 0 and the gradient 0. When all scores along the axis are
      -inf, or one is nan or +inf, all shares along the axis are nan, and no others.
    - Half precision is computed in float32; only the result is rounded.

    >>> softmax(torch.tensor([1000.0, 1000.0, -torch.inf]))
    tensor([0.5000, 0.5000, 0.0000])
    """
    # TODO: widen; subtract the maximum; exponentials; divide; narrow.
    # HINT: keepdim=True keeps the axis, so that the maximum broadcasts whatever dim is.
    ### BEGIN SOLUTION
    # HINT: the maximum is a mere shift, without influence on the result: detach it.
    # HINT: amax of an axis of length 0 raises; return x.clone() when there are no elements.
    if x.numel() == 0:
        return x.clone()
    z = widened(x)
    powers = (z - z.detach().amax(dim, keepdim=True)).exp()
    return (powers / powers.sum(dim, keepdim=True)).to(x.dtype)
    ### END SOLUTION


def log_softmax(x: torch.Tensor, dim: int = -1) -> torch.Tensor:
    """log(softmax(x)), computed as x - max - log Σ exp(x - max) along the axis ``dim``.

    The logarithm of a rounded softmax would be -inf as soon as a share is below the smallest
    float32; this one is finite for all finite scores, and so is its gradient: with scores 0 and
    10⁴ the results are -10⁴ and 0. A score of -inf gives -inf; its gradient is whatever arrives
    there. Shapes, no elements, nan and dtypes are as in ``softmax``.

    >>> log_softmax(torch.tensor([0.0, 10000.0]))
    tensor([-10000.,      0.])
    """
    # TODO: widen; subtract the maximum; subtract the logarithm of the sum; narrow.
    # HINT: log(a / b) = log a - log b, and log exp(x) needs no computing at all.
    ### BEGIN SOLUTION
    # HINT: shift by the maximum first: of z = x - max the largest exponential is 1.
    # HINT: with z = x - max the result is z - z.exp().sum(...).log(), and the sum is at least 1.
    if x.numel() == 0:
        return x.clone()
    z = widened(x)
    z = z - z.detach().amax(dim, keepdim=True)
    return (z - z.exp().sum(dim, keepdim=True).log()).to(x.dtype)
    ### END SOLUTION


class SwiGLU(nn.Module):
    """The gated feed-forward block (Shazeer 2020): down(silu(gate(x)) ⊙ up(x)).

    ``gate_proj`` and ``up_proj`` are nn.Linear from ``dim`` to ``hidden``, ``down_proj`` is one
    from ``hidden`` to ``dim``; none has a bias unless ``bias`` is True. These are the names that
    LLaMA's checkpoints (files of weights) use. ``silu`` is the one from above.

    Where a plain block has two matrices of 4 · dim · dim elements, this has three; to cost the
    same, ``hidden`` is ⌊8 · dim / 3⌋ unless it is given, rounded up to a multiple of
    ``multiple_of``, since matrix units like round numbers (LLaMA 7B: dim = 4096, hidden = 11008).
    A ``hidden`` that is given is taken as it is, 0 too. The attribute ``hidden`` holds the number.

    forward: ``x`` (..., dim) → (..., dim); x has the module's dtype.

    >>> SwiGLU(4096 // 64, multiple_of=4).hidden
    172
    """

    def __init__(
        self, dim: int, hidden: int | None = None, multiple_of: int = 256, bias: bool = False
    ) -> None:
        super().__init__()
        # TODO: work out hidden; make the three projections.
        # HINT: // rounds down; what does it do to a negative number?
        ### BEGIN SOLUTION
        # HINT: ceil(a / b) of whole numbers is -(-a // b).
        if hidden is None:
            hidden = -(-(8 * dim // 3) // multiple_of) * multiple_of
        self.hidden = hidden
        self.gate_proj = nn.Linear(dim, hidden, bias=bias)
        self.up_proj = nn.Linear(dim, hidden, bias=bias)
        self.down_proj = nn.Linear(hidden, dim, bias=bias)
        ### END SOLUTION

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # TODO: gate, product, down.
        # HINT: which of the two is bent, the gate or what it lets through?
        ### BEGIN SOLUTION
        # HINT: one line: down_proj of silu(gate_proj(x)) times up_proj(x).
        return self.down_proj(silu(self.gate_proj(x)) * self.up_proj(x))
        ### END SOLUTION


def test_relu() -> None:
    assert relu(torch.tensor([-2.0, 0.0, 3.0])).tolist() == [0.0, 0.0, 3.0]


def test_leaky_relu() -> None:
    assert leaky_relu(torch.tensor([-2.0, 3.0]), slope=0.5).tolist() == [-1.0, 3.0]


def test_gelu() -> None:
    x = torch.tensor([-1.0, 0.0, 1.0])
    torch.testing.assert_close(gelu(x), torch.tensor([-0.158655, 0.0, 0.841345]))
    torch.testing.assert_close(gelu(x, "tanh"), torch.tensor([-0.158808, 0.0, 0.841192]))


def test_silu() -> None:
    expected = torch.tensor([-0.268941, 0.0, 0.731059])
    torch.testing.assert_close(silu(torch.tensor([-1.0, 0.0, 1.0])), expected)


def test_softmax() -> None:
    assert softmax(torch.tensor([1000.0, 1000.0, -torch.inf])).tolist() == [0.5, 0.5, 0.0]


def test_log_softmax() -> None:
    assert log_softmax(torch.tensor([0.0, 10000.0])).tolist() == [-10000.0, 0.0]


def test_swiglu() -> None:
    block = SwiGLU(64, multiple_of=4)
    assert block.hidden == 172
    assert block(torch.zeros(2, 3, 64)).shape == (2, 3, 64)


if __name__ == "__main__":
    from harness import main

    main(__file__)
