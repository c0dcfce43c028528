"""
Day 10: Losses
==============
Estimated time: 2-3 hours
Prerequisites: Day 9 (softmax and its logarithm), Day 3 (autograd)
Lesson: lessons/day10.md

Learning objectives:
- Reduce a loss in the three ways, and say what a weighted mean is divided by
- Derive losses from likelihoods, and write them in the logits, where nothing overflows
- Weigh, smooth and ignore targets as language models and detectors need it
- Compare distributions, and whole batches of pairs, with the same few terms

A loss says how wrong. What trains the network is its gradient, so look at that:

    mse                huber              bce, cross entropy
      \\     /            \\     /            \\
       \\   /              \\   /              \\__
        \\_/                \\_/                   \\_____
    gradient d         gradient d, but     gradient  probability - target,
                       at most ±delta      between -1 and 1

All losses of today share their first and their last step, which are given: `widened`, `reduced`.

Hints:
- A mean is a sum divided by something. By what, when rows are ignored or have weights?
- log(sigmoid(z)) and log(softmax(z)) are computed in one go, never one after the other.
- Where is 0 · inf? Put something harmless there before it, not after.

Resources:
- Robust Estimation of a Location Parameter, Huber 1964: https://doi.org/10.1214/aoms/1177703732
- Rethinking the Inception Architecture, Szegedy et al. 2015, section 7 (label smoothing):
  https://arxiv.org/abs/1512.00567
- Representation Learning with Contrastive Predictive Coding, van den Oord et al. 2018 (InfoNCE):
  https://arxiv.org/abs/1807.03748
- Learning Transferable Visual Models From Natural Language Supervision (CLIP), Radford et al. 2021,
  figure 3: https://arxiv.org/abs/2103.00020
"""

from __future__ import annotations

import torch
import torch.nn.functional as F


def widened(x: torch.Tensor) -> torch.Tensor:
    """``x`` in float32 if it is of half precision, else as it is; gradients go back narrowed."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def reduced(losses: torch.Tensor, reduction: str) -> torch.Tensor:
    """The mean of all elements, their sum, or, with "none", the elements as they are.

    The mean of no elements is nan, their sum 0. Raises ValueError naming any other ``reduction``.
    """
    if reduction == "mean":
        return losses.mean()
    if reduction == "sum":
        return losses.sum()
    if reduction == "none":
        return losses
    raise ValueError(f"reduction is 'mean', 'sum' or 'none', not {reduction!r}")


def mse(input: torch.Tensor, target: torch.Tensor, reduction: str = "mean") -> torch.Tensor:
    """(input - target)², element by element, then ``reduced``.

    ``input`` and ``target`` have one shape, any; ValueError naming both shapes when they differ,
    also when they would broadcast: (n, 1) against (n,) gives n² differences, nearly all between
    numbers that have nothing to do with each other.

    Half-precision inputs are computed in float32, reduction included, and the result is rounded
    once to the dtype of ``input``: the square of 300 does not fit into float16. It runs under
    torch.compile(fullgraph=True), as all of today's losses do. None of them calls torch's own
    losses, softplus, logsigmoid or torch.distributions.

    >>> mse(torch.tensor([1.0, 2.0]), torch.tensor([0.0, 4.0]))
    tensor(2.5000)
    """
    # TODO: check the shapes; widen; square; reduce; narrow.
    # HINT: what does torch make of a difference of (3, 1) and (3,)?
    ### BEGIN SOLUTION
    # HINT: compare the two shapes before anything else; (3, 1) and (3,) differ.
    # HINT: reduced(...).to(input.dtype), the last step, serves all three reductions.
    if input.shape != target.shape:
        raise ValueError(f"input {tuple(input.shape)} and target {tuple(target.shape)} differ")
    losses = (widened(input) - widened(target)).square()
    return reduced(losses, reduction).to(input.dtype)
    ### END SOLUTION


def huber(
    input: torch.Tensor, target: torch.Tensor, delta: float = 1.0, reduction: str = "mean"
) -> torch.Tensor:
    """Quadratic for small errors, linear for large ones (Huber 1964). With d = input - target::

        d² / 2                    where |d| ≤ delta
        delta (|d| - delta / 2)   elsewhere

    The two meet at delta with the same value and the same slope, so the gradient is d, held
    between -delta and delta: an outlier pulls no harder than that.

    Shapes, dtypes and reductions as in ``mse``; the square is not to overflow for errors as large
    as 1e30 either. Raises ValueError naming ``delta`` unless it is positive.

    >>> huber(torch.tensor([0.5, 10.0]), torch.zeros(2), reduction="none")
    tensor([0.1250, 9.5000])
    """
    # TODO: check; the size of the error; one formula for both branches, or a choice between two.
    # HINT: the square of 1e30 is inf in float32, also in the branch that is not taken. Can the two
    # branches share one formula that squares nothing larger than delta?
    ### BEGIN SOLUTION
    # HINT: with c the smaller of |d| and delta, both branches read c (|d| - c / 2).
    # HINT: c = size.clamp(max=delta) has the gradient 1 up to delta and 0 beyond.
    if input.shape != target.shape:
        raise ValueError(f"input {tuple(input.shape)} and target {tuple(target.shape)} differ")
    if not delta > 0:
        raise ValueError(f"delta is positive, not {delta}")
    size = (widened(input) - widened(target)).abs()
    inner = size.clamp(max=delta)
    return reduced(inner * (size - inner / 2), reduction).to(input.dtype)
    ### END SOLUTION


def bce_with_logits(
    logits: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor | None = None,
    pos_weight: torch.Tensor | None = None,
    reduction: str = "mean",
) -> torch.Tensor:
    """Binary cross-entropy of yes-or-no questions, from the logits z. With σ the sigmoid::

        -(pos_weight · t · log σ(z) + (1 - t) · log(1 - σ(z))) · weight

    - ``target`` t, of the shape of ``logits``, lies between 0 and 1; probabilities are allowed.
    - ``pos_weight`` counts the yes more than once where yes is rare; ``weight`` weighs elements.
      Both broadcast to the shape of ``logits``. The mean divides by the number of elements, not
      by the weights.
    - Finite, gradient too, for all finite logits: with z = 10⁴ and t = 0 the loss is 10⁴. At
      z = 0 the gradient is 1/2 - t (weights aside), and a layer that starts at zero needs it.
    - Half-precision inputs are computed in float32, reduction included, and the result is rounded
      once to the dtype of ``logits``. ValueError naming both shapes when those of ``logits`` and
      ``target`` differ.

    >>> bce_with_logits(torch.tensor([0.0, 1e4]), torch.tensor([1.0, 1.0]), reduction="none")
    tensor([0.6931, 0.0000])
    """
    # TODO: check; widen; both logarithms in one stable form; the weights; reduce.
    # HINT: -log σ(z) = log(1 + exp(-z)), and 1 - σ(z) = σ(-z): both logarithms are one function.
    ### BEGIN SOLUTION
    # HINT: log(1 + eᶻ) = max(z, 0) + log1p(exp(-|z|)) never overflows, but check its slope at 0:
    # HINT: abs has 0 there, so max must have a half. torch.maximum has, clamp and relu have not.
    # HINT: torch.logaddexp(a, b) is log(eᵃ + eᵇ), stable, and smooth at zero as well.
    if logits.shape != target.shape:
        raise ValueError(f"logits {tuple(logits.shape)} and target {tuple(target.shape)} differ")
    z, t = widened(logits), widened(target)
    zero = torch.zeros_like(z)
    yes, no = torch.logaddexp(-z, zero), torch.logaddexp(z, zero)
    if pos_weight is not None:
        yes = yes * pos_weight
    losses = t * yes + (1 - t) * no
    if weight is not None:
        losses = losses * weight
    return reduced(losses, reduction).to(logits.dtype)
    ### END SOLUTION


def cross_entropy(
    logits: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor | None = None,
    ignore_index: int = -100,
    smoothing: float = 0.0,
    reduction: str = "mean",
) -> torch.Tensor:
    """The cross-entropy of one right class in C, from ``logits`` (N, C) and ``target`` (N,) int64.

    With log p the log_softmax of a row, y its target, w the weights (1 unless given), ε the
    smoothing, the loss of the row is (Szegedy et al. 2015)::

        -(1 - ε) · w_y · log p_y  -  ε / C · Σ_c w_c · log p_c

    - Rows whose target is ``ignore_index`` have the loss 0 and the gradient 0. Any whole number
      may be the one, a class as well as -100. Any other target outside 0 … C - 1 raises torch's
      own IndexError or RuntimeError on a CPU; -1 is not the last class.
    - "mean" is the sum divided by the sum of w_y over the rows that are not ignored, also with
      smoothing. If all are ignored it is nan, as in torch, and its gradient is 0.
    - Finite for all finite logits. A logit of -inf (a class that is impossible) does no harm
      unless it is the target, or smoothed over: without smoothing it must not enter.
    - Half-precision logits are computed in float32, the result rounded once to their dtype.
      torch's log_softmax may be used: you wrote it yesterday.
    - Nothing is read back by the host, and under torch.compile no shape depends on the targets.
    - ValueError: naming both shapes, when ``target`` is not (N,) or ``weight`` not (C,); naming
      ``smoothing``, when it is not in 0 … 1.

    >>> cross_entropy(torch.tensor([[0.0, 0.0], [5.0, 0.0]]), torch.tensor([1, -100]))
    tensor(0.6931)
    """
    # TODO: check; log p; the term of the target; the smoothing; ignore; reduce.
    # HINT: an ignored target is no index. What may stand in its place, until its loss is replaced?
    ### BEGIN SOLUTION
    # HINT: target.masked_fill(ignored, 0) can be looked up: log_p.gather(1, index[:, None]).
    # HINT: masked_fill the losses, do not multiply them: 0 · inf is nan, in the gradient too.
    # HINT: weights = w[index] with ignored rows at 0; their sum is what the mean is divided by.
    if logits.dim() != 2 or target.shape != logits.shape[:1]:
        raise ValueError(f"logits {tuple(logits.shape)} and target {tuple(target.shape)} differ")
    if weight is not None and weight.shape != logits.shape[1:]:
        raise ValueError(f"logits {tuple(logits.shape)} and weight {tuple(weight.shape)} differ")
    if not 0 <= smoothing <= 1:
        raise ValueError(f"smoothing is between 0 and 1, not {smoothing}")
    log_p = widened(logits).log_softmax(-1)
    w = log_p.new_ones(log_p.shape[1]) if weight is None else widened(weight)
    ignored = target == ignore_index
    index = target.masked_fill(ignored, 0)

    weights = w[index].masked_fill(ignored, 0.0)
    losses = -weights * log_p.gather(1, index[:, None]).squeeze(1)
    if smoothing > 0:
        losses = (1 - smoothing) * losses - smoothing * (w * log_p).mean(-1)
    losses = losses.masked_fill(ignored, 0.0)
    if reduction == "mean":
        return (losses.sum() / weights.sum()).to(logits.dtype)
    return reduced(losses, reduction).to(logits.dtype)
    ### END SOLUTION


def kl_divergence(
    log_p: torch.Tensor, log_q: torch.Tensor, reduction: str = "mean"
) -> torch.Tensor:
    """KL(p ‖ q) = Σ p (log p - log q) over the last axis: what q costs where p is true.

    ``log_p`` and ``log_q`` (..., C) hold logarithms of probabilities, as log_softmax gives them.
    There is one number for each distribution, (...,), and these are ``reduced``: the mean is that
    over distributions. Both receive gradients.

    - Where p is 0, log p is -inf: the term is 0, whatever q, and so are its gradients.
    - Where q is 0 and p is not, the result is inf.
    - Half-precision inputs are computed in float32, the result rounded once to the dtype of
      ``log_p``. ValueError naming both shapes when they differ.

    Beware of torch's F.kl_div: it takes log q first and p, not log p, second, and its "mean"
    divides by the number of elements; its "batchmean" is the mean here, for (N, C).

    >>> half = torch.tensor([0.5, 0.5]).log()
    >>> kl_divergence(torch.tensor([0.0, -torch.inf]), half), kl_divergence(half, half)
    (tensor(0.6931), tensor(0.))
    """
    # TODO: check; widen; the terms; what happens where p is 0; sum and reduce.
    # HINT: p is log_p.exp(). What is 0 · (-inf - 3), and what is its gradient?
    ### BEGIN SOLUTION
    # HINT: fill the differences of the logarithms with 0 where log_p is -inf, before they are
    #       multiplied: masked_fill blocks the gradient too.
    # HINT: gap = (p - q).masked_fill(p == -torch.inf, 0.0), and p.exp() times it, summed over the
    #       last axis, is one number for each distribution.
    if log_p.shape != log_q.shape:
        raise ValueError(f"log_p {tuple(log_p.shape)} and log_q {tuple(log_q.shape)} differ")
    p, q = widened(log_p), widened(log_q)
    gap = (p - q).masked_fill(p == -torch.inf, 0.0)
    return reduced((p.exp() * gap).sum(-1), reduction).to(log_p.dtype)
    ### END SOLUTION


def info_nce(
    a: torch.Tensor, b: torch.Tensor, temperature: float | torch.Tensor = 0.07
) -> torch.Tensor:
    """The contrastive loss of CLIP: row i of ``a`` and row i of ``b`` belong together.

    ``a`` and ``b`` (N, d), an image and its caption, say. Scale every row to length 1 (a row of
    zeros stays zeros); the scores are the dot products of all rows of ``a`` with all rows of
    ``b``, divided by ``temperature``, (N, N). Each row of ``a`` has to find its partner among the
    rows of ``b``, a cross-entropy with N classes, and each row of ``b`` its own among those of
    ``a``; the loss is the mean of the two cross-entropies (each a mean over N).

    ``temperature`` is a number, or a tensor without axes, which then receives a gradient too.
    Half-precision inputs are computed in float32, the result rounded once to the dtype of ``a``.
    ValueError naming both shapes when they differ or are not (N, d).

    >>> info_nce(torch.eye(2), torch.eye(2), temperature=1.0)
    tensor(0.3133)
    """
    # TODO: check; lengths; scores; two cross-entropies with the same targets.
    # HINT: who is whose partner? The targets are 0, 1, 2, …
    ### BEGIN SOLUTION
    # HINT: F.normalize(x, dim=-1) scales rows and leaves zeros alone.
    # HINT: the transposed scores ask the question the other way round.
    if a.dim() != 2 or a.shape != b.shape:
        raise ValueError(f"a {tuple(a.shape)} and b {tuple(b.shape)} are not two times (N, d)")
    unit_a, unit_b = (F.normalize(widened(x), dim=-1) for x in (a, b))
    scores = unit_a @ unit_b.T / temperature
    partner = torch.arange(len(a), device=a.device)
    loss = cross_entropy(scores, partner) + cross_entropy(scores.T, partner)
    return (loss / 2).to(a.dtype)
    ### END SOLUTION


def test_mse() -> None:
    assert mse(torch.tensor([1.0, 2.0]), torch.tensor([0.0, 4.0])).item() == 2.5


def test_huber() -> None:
    out = huber(torch.tensor([0.5, 10.0]), torch.zeros(2), reduction="none")
    assert out.tolist() == [0.125, 9.5]


def test_bce_with_logits() -> None:
    logits, targets = torch.tensor([0.0, 1e4, 1e4]), torch.tensor([1.0, 1.0, 0.0])
    out = bce_with_logits(logits, targets, reduction="sum")
    torch.testing.assert_close(out, torch.tensor(10000.6931))


def test_cross_entropy() -> None:
    out = cross_entropy(torch.tensor([[0.0, 0.0], [5.0, 0.0]]), torch.tensor([1, -100]))
    torch.testing.assert_close(out, torch.tensor(0.693147))


def test_kl_divergence() -> None:
    half = torch.tensor([0.5, 0.5]).log()
    torch.testing.assert_close(
        kl_divergence(torch.tensor([0.0, -torch.inf]), half), torch.tensor(0.693147)
    )


def test_info_nce() -> None:
    torch.testing.assert_close(
        info_nce(torch.eye(2), torch.eye(2), temperature=1.0), torch.tensor(0.313262)
    )


if __name__ == "__main__":
    from harness import main

    main(__file__)
