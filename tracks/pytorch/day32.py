"""
Day 32: DeepSeek Math
=====================
Estimated time: 3-4 hours
Prerequisites: Day 31 (DeepSeekModel), Day 14 (checkpoints), Day 11 (optimisers), Day 10 (losses)
Lesson: lessons/day32.md

Learning objectives:
- Train a language model as they are trained: warm-up, accumulation, clipping, and a run that
  goes on after a kill as if nothing had happened, to the bit
- Choose the next token: temperature, top-k, top-p, min-p
- Let a model learn from its own tries: a checkable reward, group advantages, and GRPO's loss
- Put it together as DeepSeekMath was made: read, be shown, try

    pretrain      text ───────────────────────────────► lm_loss on every token
    supervised    problem │ answer ───────────────────► lm_loss on the answer
    GRPO          problem │ try 1 ─► reward 1.1 ─┐
                          │ try 2 ─► reward 0   ─┼────► group_advantages ─► grpo_loss
                          │ try 3 ─► reward 0.1 ─┘            ▲
                          the model as it was before ─────────┘ k3: how far from it

Everything works with any ``model(ids, mask) -> logits``: your DeepSeekModel, or a toy.

When you are done, there is a program to run: it takes your DeepSeek model through the three stages,
on arithmetic, in about two minutes on two free cores.

    python -m tracks.pytorch.day32 pretrain
    python -m tracks.pytorch.day32 sft
    python -m tracks.pytorch.day32 grpo
    python -m tracks.pytorch.day32 sample --prompt "27+48="
    python -m tracks.pytorch.day32 export --to arithmetic     # transformers loads this folder

Hints:
- A mean over a step is a sum divided by a count. Over which tokens, and of which micro-batches?
- Everything that draws random numbers, or has a state, has to be in the checkpoint.
- In grpo_loss, write down for one token which of its five inputs a gradient may reach.

Resources:
- DeepSeekMath, 2024, section 4 (GRPO): https://arxiv.org/abs/2402.03300
- Proximal Policy Optimization, Schulman et al. 2017 (the clipped objective):
  https://arxiv.org/abs/1707.06347
- Approximating KL Divergence, Schulman 2020 (k3): http://joschu.net/blog/kl-approx.html
- The Curious Case of Neural Text Degeneration, Holtzman et al. 2019 (top-p):
  https://arxiv.org/abs/1904.09751
- Turning Up the Heat: min-p sampling, Nguyen et al. 2024: https://arxiv.org/abs/2407.01082
- GRPO in TRL: https://huggingface.co/docs/trl/grpo_trainer
"""

from __future__ import annotations

import contextlib
import copy
import math
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from tracks.pytorch.day10 import cross_entropy, widened
from tracks.pytorch.day11 import AdamW, clip_grad_norm, warmup_cosine
from tracks.pytorch.day14 import CheckpointManager


class Batch(NamedTuple):
    """Given: texts side by side, all (batch, length)."""

    ids: torch.Tensor
    mask: torch.Tensor  # bool: real tokens, not padding
    targets: torch.Tensor  # bool: the tokens that are to be learned


class Problem(NamedTuple):
    """Given: what is asked, and an answer to be shown; int64, the answer ends with the stop."""

    prompt: torch.Tensor
    answer: torch.Tensor


def pack(problems: Sequence[Problem], device: torch.device | str | None = None) -> Batch:
    """Given: problems with their answers, filled up with token 0 on the left."""
    texts = [torch.cat(problem) for problem in problems]
    longest = max(map(len, texts))
    ids = torch.stack([nn.functional.pad(t, (longest - len(t), 0)) for t in texts])
    ends = torch.arange(longest, 0, -1)
    mask = ends <= torch.tensor([[len(t)] for t in texts])
    targets = ends <= torch.tensor([[len(problem.answer)] for problem in problems])
    return Batch(ids.to(device), mask.to(device), targets.to(device))


def lm_loss(
    logits: torch.Tensor,
    ids: torch.Tensor,
    mask: torch.Tensor | None = None,
    reduction: str = "mean",
) -> torch.Tensor:
    """Cross-entropy of every token given those before it: the loss of a language model.

    ``logits`` (batch, length, vocab), where logits[:, t] are for the token at t + 1; ``ids``, int64
    (batch, length); ``mask`` (batch, length) bool, True at the tokens that are to be learned (None:
    all of them). The first token of a text is never learned, whatever the mask says: nothing
    comes before it. Nothing is learned about a token whose mask is False, but others see it.

    - reduction "mean": over all tokens learned in the batch together, not over rows; nan if there
      are none. "sum": their sum, 0 if there are none. Computed in float32 for half precision, the
      result in the dtype of the logits. (day 10's ``cross_entropy`` does all this.)
    - ids may hold anything where they are not learned, also what is outside the vocabulary.
    - The gradient at positions whose next token is not learned is exactly 0.
    - ValueError, naming the shapes, when ids are not (batch, length) of the logits, or mask not of
      the shape of ids.

    >>> logits = torch.zeros(1, 3, 4)
    >>> lm_loss(logits, torch.tensor([[0, 1, 2]]), reduction="sum")  # 2 · log(4)
    tensor(2.7726)
    """
    # TODO: check; shift; leave out; day 10's cross_entropy.
    # HINT: which logits have no token to be compared with, and which token has no logits?
    raise NotImplementedError("lm_loss")


def sample(
    logits: torch.Tensor,
    temperature: float = 1.0,
    *,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """Draw a token for each row of ``logits`` (..., vocab) → int64 (...).

    The probabilities are softmax(logits / temperature), of which three filters, in this order, keep
    the likelier ones. What is left is divided by its sum; None leaves a filter out.

    - ``top_k``: the k likeliest, and all that are as likely as the last of these. A k beyond the
      vocabulary keeps everything.
    - ``top_p``: of what top_k left, divided by its sum: the fewest likeliest tokens whose
      probabilities add up to p or more. The token with which the sum reaches p is among them,
      so that one is always left. 1 keeps everything.
    - ``min_p``: those at least min_p times as likely as the likeliest.

    Temperature 0 takes the likeliest token, the first of equals, and draws nothing. Otherwise
    torch.multinomial with ``generator`` (None: torch's own) draws, each row for itself. Computed in
    float32 for half precision. A logit of -inf is never drawn. ``logits`` are not changed.

    ValueError, naming the argument: temperature below 0, top_k below 1, top_p outside 0 < p ≤ 1,
    min_p outside 0 ... 1.

    >>> logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()
    >>> draws = sample(logits.expand(1000, 4), top_p=0.7)
    >>> draws.unique().tolist()
    [0, 1]
    """
    # TODO: check; temperature; three filters, each of which sets logits to -inf; draw.
    # HINT: which tokens stay under top-p: those up to which the sum is at most p, or those before
    # which it is less than p?
    raise NotImplementedError("sample")


@torch.no_grad()
def respond(
    model: nn.Module,
    prompts: Sequence[torch.Tensor],
    new: int,
    stop: int,
    **how: Any,
) -> Batch:
    """Given: let the model go on after each prompt, for ``new`` tokens or until it writes ``stop``.

    ``how`` is for ``sample``. The prompts are filled up on the left; targets are what was written,
    the stop included. A model with ``new_caches`` (day 31) reads every token once. In eval mode;
    afterwards the model is in the mode that it was in.
    """
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    empty = torch.zeros(0, dtype=torch.int64)
    ids, mask, targets = pack([Problem(prompt.cpu(), empty) for prompt in prompts], device)
    caches = (
        model.new_caches(len(ids), ids.shape[1] + new) if hasattr(model, "new_caches") else None
    )
    running = torch.ones(len(ids), 1, dtype=torch.bool, device=device)
    read = ids
    for step in range(new):
        if caches is None:
            logits = model(ids, mask)[:, -1]
        else:
            logits = model(read, mask, caches=caches, absorbed=step > 0, keep=1)[:, -1]
        read = sample(logits, **how)[:, None].masked_fill(~running, 0)
        ids, mask = torch.cat([ids, read], 1), torch.cat([mask, running], 1)
        targets = torch.cat([targets, running], 1)
        running = running & (read != stop)
        if not running.any():
            break
    model.train(was_training)
    return Batch(ids, mask, targets)


def token_logps(model: nn.Module, batch: Batch) -> torch.Tensor:
    """Given: log-probabilities of batch.ids[:, 1:], (batch, length - 1), in float32 or wider."""
    logits = widened(model(batch.ids, batch.mask)[:, :-1])
    return logits.log_softmax(-1).gather(-1, batch.ids[:, 1:, None]).squeeze(-1)


def learned(model: nn.Module, batch: Batch) -> tuple[torch.Tensor, int]:
    """Given: the sum of lm_loss over a batch, and how many tokens it is the sum of."""
    loss = lm_loss(model(batch.ids, batch.mask), batch.ids, batch.targets, reduction="sum")
    return loss, int(batch.targets[:, 1:].sum())


def train(
    model: nn.Module,
    batch: Callable[[int], Any],
    steps: int,
    *,
    loss: Callable[[nn.Module, Any], tuple[torch.Tensor, int]] = learned,
    lr: float = 1e-3,
    warmup: int = 0,
    floor: float = 0.1,
    accumulation: int = 1,
    clip: float = 1.0,
    weight_decay: float = 0.1,
    manager: CheckpointManager | None = None,
    every: int = 100,
    report: Callable[[int, float], None] | None = None,
) -> list[float]:
    """Train ``model`` in place, for ``steps`` steps. → the loss of each step, the first one first.

    Step s, from 0 on:

    1. ``accumulation`` micro-batches, batch(s · accumulation), batch(s · accumulation + 1) ... Each
       is asked for when the one before is done with. For each, loss(model, micro-batch) gives a
       sum and the count of what it is the sum of; the gradient of the sum is added up.
    2. All gradients, and the loss of the step, are divided by the count of the whole step. So the
       step is that of one batch that holds them all, however unequal they are. A count of 0 divides
       by 1.
    3. day 11's clip_grad_norm to ``clip``.
    4. An AdamW step, with the rate lr · warmup_cosine(s, warmup, steps, floor). A step whose
       gradient norm is inf or nan is left out: no weight, no moment changes.
    5. report(s + 1, loss of the step), if there is a report.
    6. manager.save when s + 1 is a multiple of ``every``, and after the last step.

    The optimizer is AdamW.for_module (day 11) with ``lr`` and ``weight_decay``. The model is in
    training mode when a loss is computed. The gradients of an earlier backward do not count.

    With ``manager``, the run begins where the newest whole checkpoint of its folder stands: model,
    optimizer, all random numbers, and the losses so far, which are returned with the rest. A run
    that was killed at any moment and called again (the same arguments, ``batch`` drawing by s and
    torch's generator alone) ends with the bits of one that was not. A folder that holds the run at
    its end: nothing is trained, and all is loaded.

    ValueError, naming the argument: accumulation or every below 1.

    >>> model = nn.Sequential(nn.Embedding(8, 8), nn.Linear(8, 8))
    >>> two = torch.tensor([[1, 2, 3]])
    >>> def loss(model, ids): return lm_loss(model(ids), ids, reduction="sum"), 2
    >>> losses = train(model, lambda i: two, 50, loss=loss, lr=0.05)
    >>> len(losses), losses[-1] < losses[0]
    (50, True)
    """
    # TODO: check; optimizer; restore; the loop.
    # HINT: what does the mean of two means weigh wrongly, when the two have 1 and 99 tokens?
    raise NotImplementedError("train")


def group_advantages(rewards: torch.Tensor, group: int, eps: float = 1e-4) -> torch.Tensor:
    """How much better a try was than the others of the same problem. ``rewards`` (n,) → (n,).

    The first ``group`` rewards belong to the first problem, the next ``group`` to the next. Within
    a group::

        (reward - mean) / (std + eps)

    with the standard deviation that divides by group - 1, as in TRL. Where all rewards of a group
    are equal there is nothing to learn: its advantages are exactly 0, also where the mean of equal
    numbers is not that number, by rounding. Whole numbers and bools are taken as float32, half
    precision is computed and returned as float32, float64 stays. No gradient: the result is
    detached.

    ValueError: ``group`` below 2 (one try has nothing to be compared with), or n no multiple of it,
    naming both numbers; rewards that are not (n,), naming the shape.

    >>> group_advantages(torch.tensor([1.0, 0.0, 0.0, 1.0, 0.5, 0.5]), group=2)
    tensor([ 0.7070, -0.7070, -0.7070,  0.7070,  0.0000,  0.0000])
    """
    # TODO: check; rows of groups; the formula; equal rewards.
    # HINT: is (0.1 + 0.1 + 0.1) / 3 == 0.1?
    raise NotImplementedError("group_advantages")


def grpo_loss(
    logp: torch.Tensor,
    old_logp: torch.Tensor,
    ref_logp: torch.Tensor,
    advantages: torch.Tensor,
    mask: torch.Tensor,
    clip: float = 0.2,
    beta: float = 0.04,
) -> torch.Tensor:
    """The loss of Group Relative Policy Optimization (DeepSeekMath, equation 3, with a minus sign).

    Args:
        logp: (tries, length), log-probabilities of the tokens written, by the model that learns
        old_logp: the same tokens, by the model as it was when it wrote them
        ref_logp: the same tokens, by the reference, from which the model shall not go far
        advantages: (tries,), one for each try
        mask: (tries, length) bool, True at the tokens that the model has written

    For each token, with the advantage A of its try::

        ratio = exp(logp - old_logp)
        gain  = min(ratio · A, clamp(ratio, 1 - clip, 1 + clip) · A)
        k3    = exp(ref_logp - logp) - (ref_logp - logp) - 1
        loss  = -(gain - beta · k3)

    The loss of a try is the mean over *its own* tokens, however many they are; the result is the
    mean over the tries. A try without tokens has the loss 0 and counts as one.

    - The gradient reaches ``logp`` alone: old_logp, ref_logp and advantages count as numbers, also
      when they are part of a graph. logp may be given as old_logp: with one update for each set of
      tries, as in the paper, the ratio is 1, and its gradient is not 0.
    - Where mask is False, anything may stand, inf and nan too: neither the result nor the gradient
      knows of it, and the gradient there is 0.
    - Computed in float32 for half precision; the result is float32 then. float64 stays.
    - ValueError, naming the shapes: old_logp, ref_logp or mask not of the shape of logp, which is
      (tries, length); advantages not (tries,).

    >>> logp = torch.tensor([[0.5, 0.25], [0.5, 0.0]]).log()
    >>> mask = torch.tensor([[True, True], [True, False]])
    >>> grpo_loss(logp, logp, logp, torch.tensor([1.0, -0.5]), mask)
    tensor(-0.2500)
    """
    # TODO: check; detach; differences where the mask is; the two terms; the two means.
    # HINT: what is the gradient of min(ratio · A, ...) where A is negative and the ratio is large?
    raise NotImplementedError("grpo_loss")


def train_math(
    model: nn.Module,
    problems: Sequence[Problem],
    reward: Callable[[Problem, list[int]], float],
    stop: int,
    *,
    supervised: int,
    explored: int,
    shown: int = 64,
    tries: int = 64,
    group: int = 8,
    new: int = 16,
    lr: float = 1e-3,
    explore_lr: float = 1e-4,
    warmup: int = 10,
    clip: float = 0.2,
    beta: float = 0.04,
    folder: Path | None = None,
    every: int = 100,
    report: Callable[[str, int, dict[str, float]], None] | None = None,
) -> nn.Module:
    """Train ``model`` in place: first on answers that are shown, then on its own. → the reference.

    1. ``supervised`` steps of today's ``train`` with ``lr``: each on ``shown`` problems, drawn with
       torch.randint, and packed; only the answer is learned.
    2. The reference is a copy of the model as it is now, in eval mode, no part of which can learn.
    3. ``explored`` steps of ``train`` with ``explore_lr`` and no weight decay. Each draws
       tries // group problems with torch.randint; the model responds ``group`` times to each, with
       ``new`` tokens at most, at temperature 1. A response has the reward reward(problem, tokens),
       tokens being what was written, the stop included if it was. The loss is that of grpo_loss
       over the written tokens, with group_advantages, and the model as it is as its old self: one
       update for each set of tries, as in the paper.

    Both stages get ``warmup``, the second one ``clip`` and ``beta``, and both ``every``. With
    ``folder``, they keep checkpoints in folder / "sft" and folder / "grpo", and a call after a
    kill goes on, to the same bits.

    report(stage, step, values) is called after each step: stage "sft" with {"loss"}, stage "grpo"
    with {"loss", "reward", "length", "kl"}: the loss, and of the step's tries the mean reward, the
    mean number of tokens, and the mean of k3 over all tokens.

    ValueError, naming both numbers, when tries is no multiple of group.
    """
    # TODO: two functions that make a batch, one that makes a loss of tries, and two calls of train.
    # HINT: which of the things that a step of GRPO needs are known when the batch is made?
    raise NotImplementedError("train_math")


# Examples ------------------------------------------------------------------------------------


class Toy(nn.Module):
    """Given, for the examples: scores from the last two tokens alone."""

    def __init__(self, vocab: int = 8, dim: int = 16) -> None:
        super().__init__()
        self.table = nn.Embedding(vocab, dim)
        self.out = nn.Linear(2 * dim, vocab)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        x = self.table(ids)
        before = nn.functional.pad(x, (0, 0, 1, 0))[:, :-1]
        return self.out(torch.cat([x, before], -1).tanh())


def test_lm_loss_learns_what_it_is_asked() -> None:
    logits, ids = torch.zeros(1, 3, 4), torch.tensor([[0, 1, 2]])
    mask = torch.tensor([[True, False, True]])
    torch.testing.assert_close(lm_loss(logits, ids, mask, "sum").item(), math.log(4))


def test_sample() -> None:
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log().expand(1000, 4)
    assert sample(logits, top_p=0.7).unique().tolist() == [0, 1]
    assert sample(logits, top_k=1).unique().tolist() == [0]
    assert sample(logits, min_p=0.25).unique().tolist() == [0, 1, 2]
    assert sample(logits, temperature=0).unique().tolist() == [0]


def test_a_run_goes_on() -> None:
    texts = torch.randint(8, (20, 4, 6))
    everything = torch.ones(4, 6, dtype=torch.bool)

    def batch(i: int) -> Batch:
        return Batch(texts[i % 20], everything, everything)

    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        whole = Toy()
        stopped = copy.deepcopy(whole)
        losses = train(whole, batch, 6)

        def killed(step: int, loss: float) -> None:
            if step == 5:
                raise KeyboardInterrupt

        with contextlib.suppress(KeyboardInterrupt):
            train(stopped, batch, 6, manager=CheckpointManager(folder), every=2, report=killed)
        again = Toy()
        assert train(again, batch, 6, manager=CheckpointManager(folder), every=2) == losses
        assert torch.equal(again.out.weight, whole.out.weight)


def test_group_advantages() -> None:
    found = group_advantages(torch.tensor([1.0, 0.0, 0.5, 0.5]), group=2)
    torch.testing.assert_close(found, torch.tensor([0.7070, -0.7070, 0.0, 0.0]), atol=1e-3, rtol=0)


def test_grpo_loss_is_clipped_on_one_side() -> None:
    mask = torch.ones(1, 1, dtype=torch.bool)
    for ratio, advantage, felt in ((1.5, 1.0, 0.0), (1.5, -1.0, 1.5), (0.5, -1.0, 0.0)):
        logp = torch.tensor([[ratio]]).log().requires_grad_()
        zero = torch.zeros(1, 1)
        grpo_loss(logp, zero, zero, torch.tensor([advantage]), mask, beta=0.0).backward()
        assert logp.grad is not None
        torch.testing.assert_close(logp.grad.item(), felt)


def test_train_math() -> None:
    """Shown 1 and 2 equally often behind 3, it learns from the reward to write 2."""
    torch.manual_seed(0)
    problems = [Problem(torch.tensor([3]), torch.tensor([n, 0])) for n in (1, 2)]
    model = Toy()

    def reward(problem: Problem, tokens: list[int]) -> float:
        return float(tokens == [2, 0])

    sizes: dict[str, Any] = {"shown": 16, "tries": 16, "new": 3, "lr": 0.03, "explore_lr": 0.03}
    train_math(model, problems, reward, 0, supervised=30, explored=30, **sizes)
    written = respond(model, [torch.tensor([3])], 3, 0, temperature=0)
    assert written.ids.tolist() == [[3, 2, 0]]


if __name__ == "__main__":
    import sys

    if len(sys.argv) > 1:
        from harness import days_of

        days_of(__file__)  # an earlier day that is not finished is its reference in the program
        from tracks.pytorch.arithmetic import main as program

        program()
    else:
        from harness import main

        main(__file__)
