"""
Day 11: Optimisers
==================
Estimated time: 2-3 hours
Prerequisites: Day 6 (training loop), Day 5 (nn.Module), Day 3 (autograd)
Lesson: lessons/day11.md

Learning objectives:
- Write an optimiser that the rest of torch accepts: groups, state, schedulers, checkpoints
- Follow a gradient through SGD, momentum, Nesterov, Adam, AdamW and Lion, and say what each keeps
- Tell weight decay from an L2 penalty, and say which parameters should be spared from it
- Warm up, anneal and clip

An optimiser is a list of groups and a dictionary. Both go into the checkpoint:

    one set of settings for each group, a memory for each parameter

    param_groups   [ {params: [W1, W2], lr: 0.001, weight_decay: 0.1},
                     {params: [b1, b2], lr: 0.001, weight_decay: 0.0} ]
    state          { W1: {step: 7, exp_avg: ..., exp_avg_sq: ...},
                     W2: {step: 7, ...}, ... }

What is remembered for one element of a parameter, and what it becomes a step of:

    gradient g ─┬─ SGD                                - lr · g
                ├─ momentum  m ← μ m + g              - lr · m
                ├─ Adam      m ← mean of g, v of g²   - lr · m / √v     ≈ ± lr
                └─ Lion      m ← mean of g            - lr · sign(...)  = ± lr

Once you pass,

    python -m tracks.pytorch.day11 optimisers.png

trains the digits of day 6 with all of them, and draws the losses in one picture.

Hints:
- Settings live in the group, not in self: a scheduler changes group["lr"] between two steps.
- self.state[p] is an empty dict at first; fill it at the parameter's first gradient.
- Tensor methods that end in _ write in place: mul_, add_, lerp_, addcmul_, addcdiv_.

Resources:
- torch.optim: https://docs.pytorch.org/docs/stable/optim.html
- Momentum and Nesterov, Sutskever et al. 2013: https://proceedings.mlr.press/v28/sutskever13.html
- Adam, Kingma and Ba 2014: https://arxiv.org/abs/1412.6980
- AdamW, Loshchilov and Hutter 2017: https://arxiv.org/abs/1711.05101
- Lion, Chen et al. 2023, algorithm 2: https://arxiv.org/abs/2302.06675
- Cosine annealing, Loshchilov and Hutter 2016: https://arxiv.org/abs/1608.03983
- Clipping by the norm, Pascanu, Mikolov and Bengio 2013: https://arxiv.org/abs/1211.5063
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.optim.optimizer import Optimizer, ParamsT

Closure = Callable[[], float]


def refuse(wrong: bool, what: str) -> None:
    """Given: a setting that cannot work is a ValueError when the optimiser is made."""
    if wrong:
        raise ValueError(what)


def evaluated(closure: Closure | None) -> float | None:
    """Given: what ``step(closure)`` returns. The closure runs backward, so it needs autograd,
    which ``step`` itself has switched off."""
    if closure is None:
        return None
    with torch.enable_grad():
        return closure()


class SGD(Optimizer):
    """Gradient descent, with momentum and Nesterov's look ahead. For each parameter p with a
    gradient::

        g = p.grad + weight_decay · p
        b = g                                    at the first step of p
        b = momentum · b + (1 - dampening) · g   afterwards
        d = g                    if momentum is 0: then there is no b
            b                    plain momentum
            g + momentum · b     nesterov
        p = p - lr · d

    - lr, momentum, dampening, weight_decay, nesterov are those of the *group* of p, at the time
      of the step.
    - b is kept as ``self.state[p]["momentum_buffer"]``, with the shape and dtype of p. Without
      momentum the state stays empty.
    - A parameter whose ``grad`` is None is left alone entirely: no decay, no state.
    - p is written in place and stays the same tensor; p.grad does not change. No more than two
      tensors of the size of p are needed at a time, beside p, its gradient and its state.
    - A sparse gradient (of nn.Embedding(sparse=True)) works as long as momentum and weight_decay
      are 0, and is not made dense; otherwise RuntimeError with the word "sparse", before p or its
      state has changed.
    - ``step(closure)`` returns what ``closure()`` returns, ``step()`` None.

    The settings and the state have the names of torch.optim.SGD, so that each can go on from
    the state_dict of the other. Written by hand: torch.optim's own classes are refused.

    >>> p = nn.Parameter(torch.tensor([1.0])); p.grad = torch.tensor([2.0])
    >>> optimizer = SGD([p], lr=0.1, momentum=0.5)
    >>> optimizer.step(); optimizer.step(); p.tolist()  # 1 - 0.1·2 - 0.1·(0.5·2 + 2)
    [0.5]
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        refuse(lr < 0, f"lr is {lr}: it cannot be negative")
        refuse(momentum < 0, f"momentum is {momentum}: it cannot be negative")
        refuse(weight_decay < 0, f"weight_decay is {weight_decay}: it cannot be negative")
        refuse(
            nesterov and (momentum == 0 or dampening != 0),
            "nesterov looks ahead along the momentum: it needs some, and no dampening",
        )
        defaults = {
            "lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay,
            "nesterov": nesterov,
        }  # fmt: skip
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Closure | None = None) -> float | None:  # type: ignore[override]
        loss = evaluated(closure)
        # TODO: for every group, for every parameter that has a gradient: the update above.
        # HINT: which of the operations may write into p.grad, and which must make a new tensor?
        raise NotImplementedError("SGD.step")
        return loss


class Adam(Optimizer):
    """A step of about ``lr`` for every element, whatever the size of its gradient (Kingma and Ba
    2014, algorithm 1). For each parameter p with a gradient, with (β₁, β₂) = betas::

        g = p.grad + weight_decay · p            an L2 penalty: see ``decayed``
        t = t + 1                                each parameter counts its own steps, from 0
        m = β₁ m + (1 - β₁) g                    m and v start as zeros
        v = β₂ v + (1 - β₂) g²
        p = p - lr · m̂ / (√v̂ + eps)              m̂ = m / (1 - β₁ᵗ),  v̂ = v / (1 - β₂ᵗ)

    - The state of p: ``step`` (t), ``exp_avg`` (m) and ``exp_avg_sq`` (v), made at its first
      gradient; m and v with the shape and dtype of p. t is an int, and after loading a state_dict
      of torch.optim.Adam a 0-d float32 tensor, too short for 1 - β₂ᵗ in float64: int(t) helps.
    - Group settings, parameters without a gradient, in place, closure: as in SGD.
    - A sparse gradient is a RuntimeError with the word "sparse", before p or its state changes.
    - m and v are updated in place, and no other memory is kept between steps.

    Settings and state have the names of torch.optim.Adam, and each loads what the other saved.

    >>> p = nn.Parameter(torch.tensor([1.0, 1.0])); p.grad = torch.tensor([1e-3, -1e3])
    >>> Adam([p], lr=0.1).step(); [round(x, 3) for x in p.tolist()]
    [0.9, 1.1]
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        refuse(lr < 0, f"lr is {lr}: it cannot be negative")
        refuse(not all(0 <= beta < 1 for beta in betas), f"betas are {betas}: from 0 to below 1")
        refuse(eps < 0, f"eps is {eps}: it cannot be negative")
        refuse(weight_decay < 0, f"weight_decay is {weight_decay}: it cannot be negative")
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, defaults)

    def decayed(self, p: torch.Tensor, grad: torch.Tensor, group: dict[str, Any]) -> torch.Tensor:
        """Apply the weight decay of ``group``, and return the gradient that the moments are made
        of: here grad + weight_decay · p, with p and grad themselves unchanged. ``step`` calls
        this once for each parameter; AdamW overrides it."""
        # TODO: the gradient of the loss plus weight_decay / 2 · the sum of p².
        # HINT: may this write into grad?
        raise NotImplementedError("Adam.decayed")

    @torch.no_grad()
    def step(self, closure: Closure | None = None) -> float | None:  # type: ignore[override]
        loss = evaluated(closure)
        # TODO: the update above, with the gradient that self.decayed(p, p.grad, group) returns.
        # HINT: m and v start as zeros. How large is v after one step, compared with g²?
        raise NotImplementedError("Adam.step")
        return loss


class AdamW(Adam):
    """Adam with weight decay beside the gradient, not inside it (Loshchilov and Hutter 2017)::

        p = p - lr · weight_decay · p            then Adam's step, with g = p.grad

    Every weight shrinks by the same factor a step. In Adam above, the penalty is part of g and
    is divided by √v̂ like the rest: weights with large gradients would hardly decay at all.

    Everything else, the state too, is Adam's, and today's Adam does it: only ``decayed`` is new.
    Equals torch.optim.AdamW, and each loads what the other saved. ``for_module`` makes the two
    groups with which transformers are trained.

    >>> p = nn.Parameter(torch.tensor([2.0])); p.grad = torch.tensor([0.0])
    >>> AdamW([p], lr=0.1, weight_decay=0.5).step(); [round(x, 3) for x in p.tolist()]
    [1.9]
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay)

    def decayed(self, p: torch.Tensor, grad: torch.Tensor, group: dict[str, Any]) -> torch.Tensor:
        """Shrink p in place, and return the gradient that the moments are made of."""
        # TODO: two lines.
        # HINT: by which factor is p multiplied when lr · weight_decay · p is taken away from it?
        raise NotImplementedError("AdamW.decayed")

    @classmethod
    def for_module(
        cls,
        module: nn.Module,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> AdamW:
        """A ``cls`` of the parameters of ``module`` that require a gradient, in two groups,
        each in the order of ``module.parameters()``:

        - group 0, those with two axes or more (matrices, convolutions, embeddings), decays with
          ``weight_decay``
        - group 1, the others (biases, gains of norms, scalars), with weight_decay 0

        Both groups are always there; one may be empty. A parameter that several submodules share
        is in once. Raises ValueError when nothing in ``module`` requires a gradient.
        """
        # TODO: sort the parameters into two groups, and make the optimiser.
        # HINT: what does p.ndim say of a matrix, a bias and a gain?
        raise NotImplementedError("AdamW.for_module")


class Lion(Optimizer):
    """The sign of a mean of gradients (Chen et al. 2023, algorithm 2). For each parameter p with
    a gradient g, with (β₁, β₂) = betas::

        c = β₁ m + (1 - β₁) g                    m starts as zeros
        p = p - lr · (sign(c) + weight_decay · p)
        m = β₂ m + (1 - β₂) g

    Two different mixtures of the same m and g: c, which is used and forgotten, listens more to
    the new gradient than m, which is kept. The sign of 0 is 0.

    - Settings, in this order: ``lr`` (1e-4), ``betas`` ((0.9, 0.99)), ``weight_decay`` (0.0).
      Negative lr or weight_decay, or a beta that is not in [0, 1), is a ValueError.
    - The state of p is ``exp_avg`` (m), with the shape and dtype of p, and nothing else: half of
      what Adam keeps.
    - Group settings, parameters without a gradient, in place, closure: as in SGD.
    - A sparse gradient is a RuntimeError with the word "sparse", before p or its state changes.

    >>> p = nn.Parameter(torch.tensor([1.0, 1.0])); p.grad = torch.tensor([1e-3, -1e3])
    >>> Lion([p], lr=0.1).step(); [round(x, 3) for x in p.tolist()]
    [0.9, 1.1]
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
    ) -> None:
        # TODO: check the settings, and hand params and the dictionary of defaults to Optimizer.
        # HINT: SGD and Adam do it above; which of Adam's settings does Lion not have?
        raise NotImplementedError("Lion.__init__")

    @torch.no_grad()
    def step(self, closure: Closure | None = None) -> float | None:  # type: ignore[override]
        loss = evaluated(closure)
        # TODO: the three lines above.
        # HINT: c is made from the m of before the step. So which line may change m?
        raise NotImplementedError("Lion.step")
        return loss


def warmup_cosine(step: int, warmup: int, total: int, floor: float = 0.0) -> float:
    """By what the learning rate is multiplied at ``step``, counted from 0::

        1 ┤      ╭─────╮
          │    ╱         ╲            step < warmup   (step + 1) / (warmup + 1)
          │  ╱              ╲         step < total    half a cosine wave down
    floor ┤╱                   ╰────                  to floor: see below
          └──────┬─────────────┬────  total ≤ step    floor
               warmup        total

        floor + (1 - floor) · (1 + cos(π · x)) / 2,
        x = (step - warmup) / (total - warmup)

    No step has the factor 0 by accident: the first one already moves. The whole factor 1 is
    reached once, at step = warmup. With warmup = 0 it is there at once. For step ≥ total, also
    where total = warmup, the factor is ``floor``.

    It is a function of the step alone, for torch.optim.lr_scheduler.LambdaLR, so that a resumed
    run needs nothing but its step.

    Raises ValueError, naming the argument, when step or warmup is negative, total is less than
    warmup, or floor is not in [0, 1].

    >>> [round(warmup_cosine(step, warmup=2, total=6), 3) for step in range(7)]
    [0.333, 0.667, 1.0, 0.854, 0.5, 0.146, 0.0]
    """
    # TODO: check the arguments; then three cases.
    # HINT: in which order must the cases be asked for, so that nothing is divided by zero?
    raise NotImplementedError("warmup_cosine")


@torch.no_grad()
def clip_grad_norm(
    parameters: torch.Tensor | Iterable[torch.Tensor], max_norm: float, norm_type: float = 2.0
) -> torch.Tensor:
    """Shorten all gradients together to ``max_norm``, in place; return their norm of before.

    The norm is that of one long vector: all elements of all gradients, put end to end. Every
    gradient is multiplied by min(1, max_norm / (norm + 1e-6)).

    - ``parameters``: tensors, from any iterable (a generator too), or one tensor. Those without a
      gradient, and gradients without elements, count for nothing. Are none left: 0.
    - ``norm_type``: p of the norm (Σ |x|ᵖ)^(1/p), or math.inf for the largest |x|. Nothing has no
      largest element: with inf and a gradient without elements, a RuntimeError such as torch
      raises is as good.
    - Gradients of half precision are added up in float32, in which 300² is no trouble. The norm
      is a 0-d tensor, on the device of the gradients, of float32, or float64 if they are.
    - A norm that is inf or nan changes no gradient: multiplying would only spread it. The caller
      sees it in the result, and skips the step.
    - Nothing is read back from the device: no .item(), no ``if`` on a tensor.
    - A negative max_norm is a ValueError.

    Banned are the clip functions of torch.nn.utils; torch.linalg.vector_norm is yours to use.

    >>> p = nn.Parameter(torch.zeros(2)); p.grad = torch.tensor([3.0, 4.0])
    >>> clip_grad_norm([p], max_norm=1.0), [round(x, 4) for x in p.grad.tolist()]
    (tensor(5.), [0.6, 0.8])
    """
    # TODO: the norm of the norms, one factor, and every gradient times the factor.
    # HINT: the norm of a long vector can be made from the norms of its pieces. How?
    raise NotImplementedError("clip_grad_norm")


def compare_on_digits(picture: str, epochs: int = 12) -> dict[str, float]:
    """Given: train the digits of day 6 with each optimiser, and draw the losses into the file
    ``picture``. → accuracy on unseen digits, by name."""
    import torch.nn.functional as F
    from matplotlib.figure import Figure

    from tracks.pytorch.day06 import digits_classifier, load_digits

    makers: dict[str, Callable[[nn.Module], Optimizer]] = {
        "SGD, lr 0.05": lambda m: SGD(m.parameters(), lr=0.05),
        "SGD, momentum 0.9": lambda m: SGD(m.parameters(), lr=0.05, momentum=0.9, nesterov=True),
        "Adam, lr 0.003": lambda m: Adam(m.parameters(), lr=3e-3),
        "AdamW, lr 0.003": lambda m: AdamW.for_module(m, lr=3e-3, weight_decay=0.1),
        "Lion, lr 0.001": lambda m: Lion(m.parameters(), lr=1e-3, weight_decay=0.1),
    }
    digits = load_digits()
    rows = len(digits.train.targets)
    batches = -(-rows // 64)
    figure = Figure(figsize=(7.5, 4.5), layout="constrained")
    axes = figure.subplots()
    accuracy = {}
    for name, maker in makers.items():
        torch.manual_seed(0)
        model = digits_classifier()
        optimizer = maker(model)
        scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: warmup_cosine(step, batches, epochs * batches)
        )
        losses = []
        for _ in range(epochs):
            for part in torch.randperm(rows).split(64):
                optimizer.zero_grad()
                loss = F.cross_entropy(model(digits.train.inputs[part]), digits.train.targets[part])
                loss.backward()
                clip_grad_norm(model.parameters(), 5.0)
                optimizer.step()
                scheduler.step()
                losses.append(loss.item())
        smooth = torch.tensor(losses).unfold(0, batches, 1).mean(-1)
        axes.semilogy(range(batches, len(losses) + 1), smooth, label=name)
        with torch.no_grad():
            right = model.eval()(digits.test.inputs).argmax(-1) == digits.test.targets
        accuracy[name] = right.double().mean().item()
    axes.set(xlabel="step", ylabel="training loss, mean of an epoch's steps")
    axes.legend()
    figure.savefig(picture, dpi=130)
    return accuracy


# Examples ------------------------------------------------------------------------------------


def one(value: float, grad: float) -> nn.Parameter:
    p = nn.Parameter(torch.tensor([value]))
    p.grad = torch.tensor([grad])
    return p


def test_sgd() -> None:
    p = one(1.0, 2.0)
    optimizer = SGD([p], lr=0.1, momentum=0.5)
    optimizer.step()
    optimizer.step()
    torch.testing.assert_close(p.detach(), torch.tensor([0.5]))


def test_adam_makes_steps_of_one_size() -> None:
    for grad in (1e-3, 1e3):
        p = one(1.0, grad)
        Adam([p], lr=0.1).step()
        torch.testing.assert_close(p.detach(), torch.tensor([0.9]), atol=1e-4, rtol=0)


def test_adamw() -> None:
    p = one(2.0, 0.0)
    AdamW([p], lr=0.1, weight_decay=0.5).step()
    torch.testing.assert_close(p.detach(), torch.tensor([1.9]))
    groups = AdamW.for_module(nn.Linear(3, 2), weight_decay=0.1).param_groups
    assert [(len(g["params"]), g["weight_decay"]) for g in groups] == [(1, 0.1), (1, 0.0)]


def test_lion() -> None:
    p = one(1.0, -1e-6)
    Lion([p], lr=0.1).step()
    torch.testing.assert_close(p.detach(), torch.tensor([1.1]))


def test_warmup_cosine() -> None:
    factors = [round(warmup_cosine(step, warmup=2, total=6), 3) for step in range(7)]
    assert factors == [0.333, 0.667, 1.0, 0.854, 0.5, 0.146, 0.0]


def test_clip_grad_norm() -> None:
    p = nn.Parameter(torch.zeros(2))
    p.grad = torch.tensor([3.0, 4.0])
    assert clip_grad_norm([p], max_norm=1.0) == 5.0
    torch.testing.assert_close(p.grad, torch.tensor([0.6, 0.8]))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        for optimiser, right in compare_on_digits(sys.argv[1]).items():
            print(f"{optimiser:20} {right:.1%} of 360 unseen digits")
    else:
        from harness import main

        main(__file__)
