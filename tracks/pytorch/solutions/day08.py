"""
Day 8: Linear layers and initialisation
=======================================
Estimated time: 1-2 hours
Prerequisites: Day 5 (nn.Module), Day 3 (autograd)
Lesson: lessons/day08.md

Learning objectives:
- Write the affine map that nearly all parameters of a network belong to, for any leading axes
- Derive how wide a weight's numbers must spread, from the number of terms in a dot product
- Fill weights in place in three ways: Xavier, Kaiming, and a random rotation
- Measure, layer by layer, whether the signal and the gradient survive a deep network

A layer adds up many products. How large its result is depends on how many there are, and a deep
network repeats the factor once a layer:

    x ──▶ [W1] ─ relu ──▶ [W2] ─ relu ──▶ … ──▶ [W50] ─ relu ──▶ h

    mean square, a factor f a layer:   f = 0.5     f = 1     f = 2
    after 50 layers:                   9e-16       1         1e+15

The way back has the same trouble: the gradient meets each weight again, the other way round.

Hints:
- The variance of a sum of independent terms is the sum of their variances.
- A weight is filled where it lies: the optimizer already holds this tensor.
- The four functions that fill or measure are short. Where is the 6, the 2, the sign from?

Resources:
- Understanding the difficulty of training deep feedforward neural networks, Glorot and Bengio 2010:
  https://proceedings.mlr.press/v9/glorot10a.html
- Delving Deep into Rectifiers, He et al. 2015: https://arxiv.org/abs/1502.01852
- Exact solutions to the nonlinear dynamics of learning in deep linear neural networks,
  Saxe et al. 2013 (orthogonal weights): https://arxiv.org/abs/1312.6120
- How to generate random matrices from the classical compact groups, Mezzadri 2007:
  https://arxiv.org/abs/math-ph/0609050
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch


def linear(x: torch.Tensor, w: torch.Tensor, b: torch.Tensor | None = None) -> torch.Tensor:
    """x wᵀ + b over the last axis of ``x``: the affine map of every linear layer.

    Args:
        x: (..., in), any number of leading axes, none as well; any strides
        w: (out, in), one row of weights for each output
        b: (out,), or None for no bias

    Returns (..., out). All three have one floating point dtype, and so has the result. An axis
    may have length 0; over ``in`` = 0 the sum is empty and the result is the bias.

    Raises ValueError naming the shapes of x and w when ``w`` is not a matrix with as many columns
    as x has elements in its last axis (a number without axes has no last axis), and naming those
    of w and b when ``b`` is not (out,). A bias of one element is no exception: it would broadcast.

    It takes no more memory than a few results: never (..., out, in) products. It runs under
    torch.compile(fullgraph=True). F.linear, F.bilinear and addmm with its relatives are not called.

    >>> linear(torch.tensor([1.0, 2.0]), torch.tensor([[3.0, 4.0], [5.0, 6.0], [0.0, 1.0]]))
    tensor([11., 17.,  2.])
    """
    # TODO: check the shapes, multiply, add the bias where there is one.
    # HINT: each output is a dot product of x with a row of w. Which operand must be turned?
    ### BEGIN SOLUTION
    # HINT: x.shape[-1:] is a tuple of one length, or () for a number without axes.
    # HINT: x @ w.T sums over the last axis of x and keeps all axes before it.
    if w.dim() != 2 or x.shape[-1:] != w.shape[1:]:
        raise ValueError(f"x {tuple(x.shape)} and w {tuple(w.shape)} do not fit")
    if b is not None and b.shape != w.shape[:1]:
        raise ValueError(f"w {tuple(w.shape)} and b {tuple(b.shape)} do not fit")
    out = x @ w.T
    return out if b is None else out + b
    ### END SOLUTION


class Fans(NamedTuple):
    """How many terms meet in one number: forwards in an output, backwards in an input."""

    fan_in: int
    fan_out: int


def fans(weight: torch.Tensor) -> Fans:
    """The fans of a weight (out, in, *kernel); a linear layer has no kernel axes.

    A convolution adds up ``in`` channels at each place of its kernel, so the kernel's size counts
    in both. Raises ValueError naming the shape when there are fewer than two axes.

    >>> fans(torch.empty(8, 3, 5, 5))
    Fans(fan_in=75, fan_out=200)
    """
    if weight.dim() < 2:
        raise ValueError(f"a weight has at least two axes, (out, in), not {tuple(weight.shape)}")
    out_features, in_features, *kernel = weight.shape
    size = math.prod(kernel)
    return Fans(in_features * size, out_features * size)


def xavier_uniform_(
    tensor: torch.Tensor, gain: float = 1.0, generator: torch.Generator | None = None
) -> torch.Tensor:
    """Fill a weight with uniform numbers between -bound and bound (Glorot and Bengio 2010)::

        variance = gain² · 2 / (fan_in + fan_out)        bound = √(3 · variance)

    Such a variance lies between 1 / fan_in, which keeps the signal of a linear layer, and
    1 / fan_out, which keeps its gradient. ``gain`` makes up for an activation.

    The tensor (out, in, *kernel), of any strides and floating point dtype, is written in place
    and returned, the same object; autograd hears nothing of it, also when the tensor is a
    parameter. Random numbers come from ``generator``, or from torch's global one if it is None,
    and nothing else is drawn. A tensor without elements comes back as it is. Raises ValueError
    as ``fans`` does.

    >>> xavier_uniform_(torch.empty(100, 50)).abs().max() <= 0.2
    tensor(True)
    """
    # TODO: the bound from both fans; fill the tensor.
    # HINT: which variance has a number that is uniform between -1 and 1?
    ### BEGIN SOLUTION
    # HINT: it is 1/3, so the bound is √3 standard deviations.
    # HINT: tensor.uniform_(low, high, generator=...) fills in place; torch.no_grad() allows it.
    both = sum(fans(tensor))
    if tensor.numel() == 0:
        return tensor
    bound = gain * math.sqrt(6 / both)
    with torch.no_grad():
        return tensor.uniform_(-bound, bound, generator=generator)
    ### END SOLUTION


def kaiming_normal_(
    tensor: torch.Tensor,
    slope: float = 0.0,
    mode: str = "fan_in",
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """Fill a weight with normal numbers of mean 0, for a layer before a ReLU (He et al. 2015)::

        variance = 2 / ((1 + slope²) · fan)

    ``slope`` is that of a leaky ReLU for negative numbers; 0 is the ReLU, 1 a linear layer. ReLU
    sets half of the numbers to zero and with them half of the mean square: the 2 makes up for it.

    ``mode`` says which fan: "fan_in" keeps the mean square of the activations on the way forward,
    "fan_out" that of the gradients on the way back. Any other raises ValueError naming it.

    All else is as in ``xavier_uniform_``: in place, the same object returned, no autograd, any
    strides and floating point dtype, the generator, tensors without elements, too few axes.

    >>> 0.09 < kaiming_normal_(torch.empty(400, 200)).std() < 0.11
    tensor(True)
    """
    # TODO: choose the fan; fill the tensor.
    # HINT: the formula gives a variance. What does normal_ want?
    ### BEGIN SOLUTION
    # HINT: the standard deviation is the root of it: tensor.normal_(0.0, std, generator=...).
    # HINT: a dict of the two modes, or getattr: fans(tensor) is a NamedTuple.
    found = fans(tensor)
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"mode is 'fan_in' or 'fan_out', not {mode!r}")
    if tensor.numel() == 0:
        return tensor
    fan = found.fan_in if mode == "fan_in" else found.fan_out
    std = math.sqrt(2 / ((1 + slope**2) * fan))
    with torch.no_grad():
        return tensor.normal_(0.0, std, generator=generator)
    ### END SOLUTION


def orthogonal_(
    tensor: torch.Tensor, gain: float = 1.0, generator: torch.Generator | None = None
) -> torch.Tensor:
    """Fill a weight with a random rotation or reflection, times ``gain`` (Saxe et al. 2013).

    Read (out, in, *kernel) as a matrix W with ``out`` rows, all other axes flattened into its
    columns. Of the shorter kind, rows or columns, all are at right angles and of length gain:
    W Wᵀ = gain² I when there are at most as many rows as columns, Wᵀ W = gain² I when there are
    at least as many. A square W keeps the length of every vector, not only on average.

    Every orthogonal matrix is equally likely. The Q of a QR decomposition of a normal matrix is
    not there yet: the decomposition leaves open the sign of each column of Q (with that of the
    row of R), and LAPACK's choice depends on the matrix. Turn the columns such that the diagonal
    of R is positive (Mezzadri 2007, section 5).

    QR exists in float32 and float64: half-precision tensors are filled from float32, float64
    ones from float64. All else is as in ``xavier_uniform_``.

    >>> w = orthogonal_(torch.empty(2, 3, dtype=torch.float64))
    >>> torch.allclose(w @ w.T, torch.eye(2, dtype=torch.float64))
    True
    """
    # TODO: decompose a normal matrix, mend the signs, write it into the tensor.
    # HINT: torch.linalg.qr of a tall matrix gives a tall Q with orthonormal columns.
    ### BEGIN SOLUTION
    # HINT: for a wide weight decompose the tall matrix of the turned shape, and turn Q back.
    # HINT: Q D is as good a Q, with D a diagonal of ±1: q * r.diagonal().sign() turns columns.
    # HINT: torch.randn takes generator=, dtype= and device=; tensor.copy_ writes in place.
    fans(tensor)
    if tensor.numel() == 0:
        return tensor
    rows, columns = tensor.shape[0], tensor.numel() // tensor.shape[0]
    normal = torch.randn(
        max(rows, columns),
        min(rows, columns),
        generator=generator,
        dtype=torch.promote_types(tensor.dtype, torch.float32),
        device=tensor.device,
    )
    q, r = torch.linalg.qr(normal)
    q = q * r.diagonal().sign()
    if rows < columns:
        q = q.T
    with torch.no_grad():
        return tensor.copy_(gain * q.reshape(tensor.shape))
    ### END SOLUTION


class LayerStatistics(NamedTuple):
    """What ``activation_statistics`` measures; one number a layer, from the first to the last."""

    activations: list[float]
    gradients: list[float]


def activation_statistics(
    depth: int,
    init: Callable[[torch.Tensor], Any],
    activation: Callable[[torch.Tensor], torch.Tensor] = torch.relu,
    x: torch.Tensor | None = None,
    gradient: torch.Tensor | None = None,
) -> LayerStatistics:
    """Send a signal through ``depth`` new layers and a gradient back; measure both at each layer.

    With h_0 = x, layer l = 1 … depth computes h_l = activation(h_{l-1} W_lᵀ), without a bias. The
    weights W_l (width, width) are as many new tensors, of the dtype and on the device of ``x``;
    ``init(W_l)`` fills one in place, called once a layer, in order. What it returns is ignored.

    Args:
        x: (batch, width); None for 256 rows of 256 standard normal numbers
        gradient: like x, the gradient that arrives at h_depth; None for standard normal numbers

    Returns two lists of ``depth`` floats:

    - activations[l - 1]: the mean of the squares of all elements of h_l
    - gradients[l - 1]: the mean of the squares of the gradient with respect to h_{l-1}, that is,
      what layer l hands down. gradients[0] has come through all the layers.

    Squares and means are taken in float64: (1e-30)² is 0 in float32. ``x`` stays as it is,
    requires_grad and .grad too, and it works under torch.no_grad() as well. Raises ValueError
    naming ``depth`` when it is below 1.

    >>> activation_statistics(3, torch.nn.init.eye_, x=torch.full((2, 4), 3.0)).activations
    [9.0, 9.0, 9.0]
    """
    # TODO: forwards, keeping every h; one call for all gradients; the means of their squares.
    # HINT: torch.autograd.grad takes several inputs, and the gradient that arrives.
    # HINT: the gradients of the h are wanted, not those of the weights. Which tensor requires one?
    ### BEGIN SOLUTION
    # HINT: x.detach().requires_grad_() leaves x alone; torch.enable_grad() undoes a no_grad.
    # HINT: torch.autograd.grad(states[-1], states[:-1], gradient) with states = [h_0, …, h_depth].
    if depth < 1:
        raise ValueError(f"a network has at least one layer, not {depth}")
    if x is None:
        x = torch.randn(256, 256)
    if gradient is None:
        gradient = torch.randn_like(x)
    width = x.shape[-1]
    with torch.enable_grad():
        states = [x.detach().requires_grad_()]
        for _ in range(depth):
            weight = torch.empty(width, width, dtype=x.dtype, device=x.device)
            init(weight)
            states.append(activation(linear(states[-1], weight)))
    gradients = torch.autograd.grad(states[-1], states[:-1], gradient)

    def mean_square(t: torch.Tensor) -> float:
        return t.double().square().mean().item()

    return LayerStatistics(
        activations=[mean_square(h) for h in states[1:]],
        gradients=[mean_square(g) for g in gradients],
    )
    ### END SOLUTION


def test_linear() -> None:
    w = torch.tensor([[3.0, 4.0], [5.0, 6.0], [0.0, 1.0]])
    out = linear(torch.tensor([1.0, 2.0]), w, torch.tensor([0.0, 1.0, 2.0]))
    assert out.tolist() == [11.0, 18.0, 4.0]


def test_xavier_uniform() -> None:
    weight = torch.empty(100, 50)
    assert xavier_uniform_(weight) is weight
    assert 0.19 < weight.abs().max() <= 0.2  # √(6 / 150)


def test_kaiming_normal() -> None:
    weight = kaiming_normal_(torch.empty(400, 200))
    assert 0.09 < weight.std() < 0.11  # √(2 / 200)


def test_orthogonal() -> None:
    weight = orthogonal_(torch.empty(3, 5), gain=2.0)
    torch.testing.assert_close(weight @ weight.T, 4 * torch.eye(3))


def test_activation_statistics() -> None:
    seen = activation_statistics(2, lambda w: w.fill_(0.5), x=torch.ones(1, 4))
    assert seen.activations == [4.0, 16.0]  # 4 · 0.5 = 2, 4 · 2 · 0.5 = 4


if __name__ == "__main__":
    from harness import main

    main(__file__)
