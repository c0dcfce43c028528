"""
Day 32: Adam and schedules
==========================
Estimated time: 2 hours
Prerequisites: Day 31 (losses and SGD)
Lesson: lessons/day32.md

Learning objectives:
- Follow a gradient through Adam, AdamW, RMSprop and Adagrad, and say what each remembers
- Tell a penalty in the gradient from a decay of the weight
- Update running means in place, with two arrays of scratch at most
- Clip a gradient by one norm for all parameters
- Let the learning rate follow a schedule that is a function of the step alone, and chain several

What is kept for one element, and what it becomes a step of:

    gradient g ─┬─ Adagrad   s ← s + g²                     lr · g / √s
                ├─ RMSprop   v ← mean of g²                 lr · g / √v
                ├─ Adam      v, and m ← mean of g           lr · m̂ / √v̂
                └─ AdamW     the same, and p ← (1 - lr · decay) · p before it

    schedule    lr = f(epoch):      /‾‾‾\\___              warm-up, then cosine, by SequentialLR

Hints:
- ``grad`` in ``update`` is yours: an array that you may write into, all through the formula.
- A mean that begins at zero is too small at first. By which factor?
- A schedule knows the first learning rate of each group and the number of the epoch. Nothing else.

Resources:
- Adam, D. Kingma and J. Ba, 2014: https://arxiv.org/abs/1412.6980
- AdamW, I. Loshchilov and F. Hutter, 2017: https://arxiv.org/abs/1711.05101
- AMSGrad, S. Reddi, S. Kale and S. Kumar, 2018: https://arxiv.org/abs/1904.09237
- Adagrad, J. Duchi, E. Hazan and Y. Singer, 2011:
  https://jmlr.org/papers/v12/duchi11a.html
- RMSprop, centred, A. Graves, 2013, section 4.2: https://arxiv.org/abs/1308.0850
- Cosine annealing, I. Loshchilov and F. Hutter, 2016: https://arxiv.org/abs/1608.03983
- Clipping, R. Pascanu, T. Mikolov and Y. Bengio, 2013: https://arxiv.org/abs/1211.5063
"""

from __future__ import annotations

import copy
import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tracks.autodiff.day28 import Tensor
from tracks.autodiff.day31 import Group, Optimizer, refuse, writable


def zeros(p: Tensor) -> Tensor:
    """Given: zeros of p's shape and dtype, to be remembered."""
    return p._made(np.zeros(p.shape, p.dtype))


def first_step() -> Tensor:
    """Given: a count of steps before the first one, as torch keeps it: 0-d, float32."""
    return Tensor(0.0, dtype="float32")


def counted(state: dict[str, Any]) -> int:
    """Given: one more in ``state["step"]``. → the number of this step, from 1."""
    step = writable(state["step"])
    step += 1
    return int(step)


def moved(p: Tensor, by: np.ndarray) -> None:
    """Given: p ← p - by, in place."""
    array = writable(p)
    array -= by


def check_settings(what: str, **settings: float) -> None:
    """Given: a setting that is negative is refused."""
    for name, value in settings.items():
        refuse(not value >= 0, f"{what}: {name} is {value}, and cannot be negative")


class Adam(Optimizer):
    """A step of about ``lr`` for every element, whatever the size of its gradient (Kingma and Ba
    2014, algorithm 1). For each p with the gradient g, with (β₁, β₂) = betas::

        g = g + weight_decay · p                  ``decayed``; g is -p.grad where maximize is true
        t = t + 1                                 each parameter counts its own steps
        m = β₁ m + (1 - β₁) g                     m and v start as zeros
        v = β₂ v + (1 - β₂) g²
        w = v, or with amsgrad the largest v so far, element by element (Reddi and others 2018)
        p = p - lr · m̂ / (√ŵ + eps)               m̂ = m / (1 - β₁ᵗ),  ŵ = w / (1 - β₂ᵗ)

    - The state of p, made at its first gradient: ``step`` (``first_step``), ``exp_avg`` (m),
      ``exp_avg_sq`` (v), and with amsgrad ``max_exp_avg_sq`` (w, which starts as zeros). The last
      three are Tensors of p's shape and dtype, written in place.
    - All settings are those of the group, at the time of the step. p is written in place.
    - Settings and state are torch's: each loads what the other saved.

    Limit: at most two arrays of the size of p are there at a time, beside p, its gradient and its
    state; the copy that ``update`` gets as ``grad`` is one of them. So is it for all of today's.

    >>> p = Tensor([1.0, 1.0], requires_grad=True)
    >>> p.grad = Tensor([1e-3, -1e3])
    >>> Adam([p], lr=0.1).step()
    >>> p
    tensor([0.9000, 1.1000], requires_grad=True)
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        what = type(self).__name__
        check_settings(what, lr=lr, eps=eps, weight_decay=weight_decay)
        refuse(not all(0 <= beta < 1 for beta in betas), f"{what}: betas are {betas}: 0 ≤ β < 1")
        defaults = {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
            "amsgrad": amsgrad, "maximize": maximize,
        }  # fmt: skip
        super().__init__(params, defaults)

    def decayed(self, p: Tensor, grad: np.ndarray, group: Group) -> None:
        """Apply the group's weight decay: here grad becomes grad + weight_decay · p, in place.
        ``update`` calls it once, first of all; AdamW has another one."""
        # TODO: one line, if there is a decay.
        # HINT: which of the two is written into?
        raise NotImplementedError("Adam.decayed")

    def update(self, p: Tensor, grad: np.ndarray, group: Group) -> None:
        # TODO: decay; state; two means; the denominator; the step.
        # HINT: when is grad needed for the last time? From there on it is scratch.
        raise NotImplementedError("Adam.update")


class AdamW(Adam):
    """Adam with the decay beside the gradient, not inside it (Loshchilov and Hutter 2017)::

        p = p - lr · weight_decay · p             then Adam's step, with g as it is

    Every weight shrinks by one factor a step. Adam's penalty is divided by √v̂ with the rest, so
    that weights with large gradients hardly shrink. Only ``decayed`` is new; settings, state and
    limit are Adam's.

    >>> p = Tensor([2.0], requires_grad=True)
    >>> p.grad = Tensor([0.0])
    >>> AdamW([p], lr=0.1, weight_decay=0.5).step()
    >>> p
    tensor([1.9000], requires_grad=True)
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize)

    def decayed(self, p: Tensor, grad: np.ndarray, group: Group) -> None:
        """Shrink p in place; grad stays as it is."""
        # TODO: two lines.
        # HINT: by which factor is p multiplied when lr · weight_decay · p is taken away from it?
        raise NotImplementedError("AdamW.decayed")


class RMSprop(Optimizer):
    """The gradient divided by the root of a mean of its squares. For each p with the gradient g::

        g = g + weight_decay · p                  g is -p.grad where maximize is true
        v = alpha · v + (1 - alpha) g²            v, m and b start as zeros
        m = alpha · m + (1 - alpha) g             centered only (Graves 2013)
        r = √v + eps, centered √(v - m²) + eps
        p = p - lr · g / r                        momentum is 0
        b = momentum · b + g / r,  p = p - lr · b                 else

    - The state of p, made at its first gradient: ``step``, ``square_avg`` (v), and only where the
      group asks for it ``grad_avg`` (m, centered) and ``momentum_buffer`` (b, momentum above 0).
    - ``step`` counts, and nothing depends on it: torch keeps it, so it is kept here.
    - All else is as in Adam, the limit too.

    >>> p = Tensor([1.0, 1.0], requires_grad=True)
    >>> p.grad = Tensor([1e-3, -1e3])
    >>> RMSprop([p], lr=0.1, alpha=0.75).step()
    >>> p
    tensor([0.8000, 1.2000], requires_grad=True)
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        check_settings(
            "RMSprop", lr=lr, alpha=alpha, eps=eps, weight_decay=weight_decay, momentum=momentum
        )
        defaults = {
            "lr": lr, "alpha": alpha, "eps": eps, "weight_decay": weight_decay,
            "momentum": momentum, "centered": centered, "maximize": maximize,
        }  # fmt: skip
        super().__init__(params, defaults)

    def update(self, p: Tensor, grad: np.ndarray, group: Group) -> None:
        # TODO: decay; state; one or two means; the root; the step, perhaps through a buffer.
        # HINT: grad is needed until the end here. One more array is left for all the rest.
        raise NotImplementedError("RMSprop.update")


class Adagrad(Optimizer):
    """The gradient divided by the root of the sum of all its squares so far (Duchi, Hazan and
    Singer 2011). For each p with the gradient g::

        g = g + weight_decay · p                  g is -p.grad where maximize is true
        s = s + g²                                s starts as initial_accumulator_value everywhere
        p = p - lr / (1 + (t - 1) · lr_decay) · g / (√s + eps)        t is the step, from 1

    - The state of p: ``step`` (t) and ``sum`` (s). It is made with the group, before any gradient,
      as torch does: ``add_param_group`` is given.
    - All else is as in Adam, the limit too.

    >>> p = Tensor([1.0], requires_grad=True)
    >>> optimizer = Adagrad([p], lr=0.3)
    >>> for g in (3.0, 4.0):                   # 1 - 0.3 · 3 / 3, then - 0.3 · 4 / 5
    ...     p.grad = Tensor([g])
    ...     optimizer.step()
    >>> p
    tensor([0.4600], requires_grad=True)
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        *,
        maximize: bool = False,
    ) -> None:
        check_settings(
            "Adagrad", lr=lr, lr_decay=lr_decay, weight_decay=weight_decay, eps=eps,
            initial_accumulator_value=initial_accumulator_value,
        )  # fmt: skip
        defaults = {
            "lr": lr, "lr_decay": lr_decay, "eps": eps, "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value, "maximize": maximize,
        }  # fmt: skip
        super().__init__(params, defaults)

    def add_param_group(self, group: Group) -> None:
        super().add_param_group(group)
        group = self.param_groups[-1]
        for p in group["params"]:
            full = np.full(p.shape, group["initial_accumulator_value"], p.dtype)
            self.state[p].update(step=first_step(), sum=p._made(full))

    def update(self, p: Tensor, grad: np.ndarray, group: Group) -> None:
        # TODO: decay; the sum; the root; the step.
        # HINT: is the first step divided by 1 or by 1 + lr_decay?
        raise NotImplementedError("Adagrad.update")


def norm_of(array: np.ndarray, order: float) -> float:
    """Given: the norm of all elements of an array, 0 if it has none. float16 is widened."""
    size = np.asarray(np.abs(array), np.promote_types(array.dtype, np.float32))
    if order == math.inf:
        return float(size.max(initial=0.0))
    return float(np.sum(np.power(size, order, out=size), dtype=np.float64)) ** (1 / order)


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
) -> Tensor:
    """Shorten the gradients of ``parameters``, in place, so that all of them together, as one long
    vector, have a norm of at most ``max_norm``. → the norm that they had.

    - The norm of order ``norm_type``: (Σ |g|^norm_type)^(1 / norm_type), for "inf" and math.inf the
      largest |g|. A 0-d Tensor, of the widest dtype of the gradients, float32 if there are none; of
      none, and of no elements, it is 0. float16 is added up in float32.
    - Every gradient is multiplied by max_norm / (norm + 1e-6), as torch does, if that is below 1;
      else none changes. Parameters without a gradient are passed over.
    - RuntimeError if the norm is inf or nan and ``error_if_nonfinite``; then no gradient changes.
      Without it they are multiplied all the same, and what is nan spreads: as torch has it.
    - ValueError, naming it, for a ``norm_type`` that is not above 0 and a negative ``max_norm``.
    - Each change is counted (``writable``), and nothing is recorded, also where a gradient has a
      past. ``parameters`` may be one Tensor, or any iterable.

    Limit: besides the gradients at most three arrays of the size of the largest of them are there
    at a time: they are not joined into one.

    >>> p = Tensor([0.0, 0.0], requires_grad=True)
    >>> p.grad = Tensor([3.0, 4.0])
    >>> clip_grad_norm_([p], max_norm=1.0)
    tensor(5.)
    >>> p.grad
    tensor([0.6000, 0.8000])
    """
    # TODO: the gradients; the norm of each (norm_of); the norm of those; one factor.
    # HINT: two pieces of the norms 3 and 4 have which norm together?
    raise NotImplementedError("clip_grad_norm_")


# -- schedules ---------------------------------------------------------------------------------


class LRScheduler:
    """A learning rate that is a function of the epoch, for each group of ``optimizer``.

    A subclass has ``get_lr``. What it is asked for:

    - ``base_lrs``: the learning rate of each group when its first schedule was made. It is kept in
      the group, too, as ``initial_lr``, and is not overwritten by later schedules.
    - ``last_epoch``: the number of the epoch that the groups are in, from 0.
    - Making one puts the groups into epoch ``last_epoch + 1``: 0, unless it is given. With another
      one than -1 every group needs an ``initial_lr``, from an earlier schedule or from a saved
      state: KeyError, with that name, if not.

    >>> class Halving(LRScheduler):
    ...     def get_lr(self):
    ...         return [base / 2**self.last_epoch for base in self.base_lrs]
    >>> optimizer = Adam([Tensor([1.0])], lr=0.8)
    >>> schedule = Halving(optimizer)
    >>> schedule.step()
    >>> optimizer.param_groups[0]["lr"], schedule.get_last_lr(), schedule.base_lrs
    (0.4, [0.4], [0.8])
    """

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        # TODO: the optimiser; initial_lr; base_lrs; the first epoch.
        # HINT: what does the second schedule on one optimiser find in group["lr"]?
        raise NotImplementedError("LRScheduler.__init__")

    def get_lr(self) -> list[float]:
        """What ``lr`` is in ``last_epoch``, for each group: a function of that and of ``base_lrs``
        alone; each subclass its own."""
        raise NotImplementedError(f"{type(self).__name__} needs a get_lr of its own")

    def get_last_lr(self) -> list[float]:
        """What was written into the groups at last."""
        return self._last_lr

    def step(self) -> None:
        """Go to the next epoch: ``get_lr`` is called once, and each group's ``lr`` becomes what it
        says. To be called after the optimiser's own step."""
        # TODO: one more; write.
        # HINT: which of the two must come first?
        raise NotImplementedError("LRScheduler.step")

    def write(self, lrs: Sequence[float]) -> None:
        """Given: the groups' ``lr`` becomes ``lrs``, which is noted."""
        for group, lr in zip(self.optimizer.param_groups, lrs, strict=True):
            group["lr"] = lr
        self._last_lr = list(lrs)

    def state_dict(self) -> dict[str, Any]:
        """All attributes but the optimiser, in a new dict: what is to be saved."""
        # TODO: one line.
        # HINT: where does Python keep the attributes of an object?
        raise NotImplementedError("LRScheduler.state_dict")

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a saved epoch: attributes become copies of what ``state_dict`` holds, of
        which later epochs change nothing, and the groups get the learning rates that were noted
        last (``_last_lr``).

        So it does not matter whether the optimiser is loaded before or after. torch's state_dict of
        a schedule of the same name will do as well; its further entries become attributes.
        """
        # TODO: attributes; learning rates.
        # HINT: a dict has a method that takes over all entries of another.
        raise NotImplementedError("LRScheduler.load_state_dict")


class StepLR(LRScheduler):
    """lr = base · gamma^k, where k is how many times ``step_size`` epochs have passed.

    ValueError, naming step_size, unless it is at least 1. (Given.)

    >>> optimizer = Adam([Tensor([1.0])], lr=1.0)
    >>> schedule = StepLR(optimizer, step_size=2, gamma=0.5)
    >>> lrs = []
    >>> for _ in range(5):
    ...     lrs.append(optimizer.param_groups[0]["lr"])
    ...     schedule.step()
    >>> lrs
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """

    def __init__(
        self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        refuse(step_size < 1, f"StepLR: step_size is {step_size}: it is at least 1")
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        # TODO: one line.
        # HINT: which division gives 0, 0, 1, 1, 2 for 0, 1, 2, 3, 4?
        raise NotImplementedError("StepLR.get_lr")


class CosineAnnealingLR(LRScheduler):
    """Half a wave from base down to ``eta_min`` in ``T_max`` epochs (Loshchilov and Hutter 2016)::

        lr = eta_min + (base - eta_min) · (1 + cos(π · epoch / T_max)) / 2

    After T_max it goes up again, as in torch: the wave goes on. ValueError, naming T_max, unless it
    is at least 1. (Given.)

    >>> optimizer = Adam([Tensor([1.0])], lr=1.0)
    >>> schedule = CosineAnnealingLR(optimizer, T_max=2, eta_min=0.5)
    >>> schedule.step()
    >>> optimizer.param_groups[0]["lr"]
    0.75
    """

    def __init__(
        self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1
    ) -> None:
        refuse(T_max < 1, f"CosineAnnealingLR: T_max is {T_max}: it is at least 1")
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        # TODO: the formula.
        # HINT: what are cos 0 and cos π, and what is (1 + each) / 2?
        raise NotImplementedError("CosineAnnealingLR.get_lr")


class LinearWarmup(LRScheduler):
    """lr = base · (epoch + 1) / steps for the first ``steps`` epochs, and base from then on.

    The first epoch has base / steps, not 0; epoch steps - 1 is the first with all of base. It is
    torch's LinearLR(start_factor=1 / steps, end_factor=1, total_iters=steps - 1). ValueError,
    naming steps, unless it is at least 1. (Given.)

    >>> optimizer = Adam([Tensor([1.0])], lr=1.0)
    >>> schedule = LinearWarmup(optimizer, steps=4)
    >>> lrs = []
    >>> for _ in range(5):
    ...     lrs.append(optimizer.param_groups[0]["lr"])
    ...     schedule.step()
    >>> lrs
    [0.25, 0.5, 0.75, 1.0, 1.0]
    """

    def __init__(self, optimizer: Optimizer, steps: int, last_epoch: int = -1) -> None:
        refuse(steps < 1, f"LinearWarmup: steps is {steps}: it is at least 1")
        self.steps = steps
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        # TODO: one factor for all groups.
        # HINT: what keeps it from growing for ever?
        raise NotImplementedError("LinearWarmup.get_lr")


class SequentialLR(LRScheduler):
    """Schedules one after another: ``schedulers[i]`` has the groups from ``milestones[i - 1]`` on,
    and is in its own epoch 0 then; ``schedulers[0]`` has them from the start.

    - ``last_epoch`` counts the epochs of all; that of the schedule whose turn it is counts its own.
      The epochs of those whose turn is over, or to come, are of no importance.
    - Making one puts the groups into epoch 0, whatever the making of the schedules has left there.
    - ``state_dict`` has the states of all schedules in the list ``_schedulers``, as torch's, and
      ``load_state_dict`` takes them back. What is in them says where each goes on. ValueError if
      they are more or fewer than the schedules here.
    - ValueError if there are no schedules, if there is not exactly one milestone fewer, if
      milestones do not grow, or if a schedule is one of another optimiser. (Given.)

    >>> optimizer = Adam([Tensor([1.0])], lr=1.0)
    >>> parts = [LinearWarmup(optimizer, 2), StepLR(optimizer, 1, gamma=0.5)]
    >>> schedule = SequentialLR(optimizer, parts, milestones=[2])
    >>> lrs = []
    >>> for _ in range(5):
    ...     lrs.append(optimizer.param_groups[0]["lr"])
    ...     schedule.step()
    >>> lrs
    [0.5, 1.0, 1.0, 0.5, 0.25]
    """

    def __init__(
        self, optimizer: Optimizer, schedulers: Sequence[LRScheduler], milestones: Sequence[int]
    ) -> None:
        refuse(not schedulers, "SequentialLR: there are no schedulers")
        refuse(
            len(milestones) != len(schedulers) - 1,
            f"SequentialLR: {len(milestones)} milestones for {len(schedulers)} schedulers",
        )
        refuse(
            any(a >= b for a, b in zip([0, *milestones], milestones, strict=False)),
            f"SequentialLR: the milestones {list(milestones)} do not grow",
        )
        refuse(
            any(s.optimizer is not optimizer for s in schedulers),
            "SequentialLR: a scheduler is that of another optimizer",
        )
        self._schedulers, self._milestones = list(schedulers), list(milestones)
        super().__init__(optimizer)

    def get_lr(self) -> list[float]:
        # TODO: whose turn is it, in which epoch of its own? Ask it.
        # HINT: bisect_right(milestones, epoch) is the number of milestones up to there.
        raise NotImplementedError("SequentialLR.get_lr")

    def state_dict(self) -> dict[str, Any]:
        # TODO: that of every schedule, with the states of the schedules in their place.
        # HINT: super() knows all attributes, and one of them is not fit to be saved.
        raise NotImplementedError("SequentialLR.state_dict")

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        # TODO: each schedule its own state, and the rest as every schedule does.
        # HINT: what must not become of self._schedulers, and whose learning rate counts in the end?
        raise NotImplementedError("SequentialLR.load_state_dict")


def one(value: float, grad: float) -> Tensor:
    p = Tensor([value], requires_grad=True, dtype="float64")
    p.grad = Tensor([grad], dtype="float64")
    return p


def test_adam() -> None:
    p = one(1.0, 1e-3)
    Adam([p], lr=0.1).step()
    assert abs(p.item() - 0.9) < 1e-5
    q = one(2.0, 0.0)
    AdamW([q], lr=0.1, weight_decay=0.5).step()
    assert abs(q.item() - 1.9) < 1e-12


def test_rmsprop_and_adagrad() -> None:
    p, q = one(1.0, 4.0), one(1.0, 4.0)
    RMSprop([p], lr=0.1, alpha=0.75).step()
    Adagrad([q], lr=0.1).step()
    assert abs(p.item() - 0.8) < 1e-8
    assert abs(q.item() - 0.9) < 1e-8


def test_clipping() -> None:
    p = Tensor([0.0, 0.0], requires_grad=True)
    p.grad = Tensor([3.0, 4.0])
    assert clip_grad_norm_(p, 10.0).item() == 5.0
    assert p.grad.tolist() == [3.0, 4.0]
    clip_grad_norm_([p], 1.0)
    assert [round(g, 5) for g in p.grad.tolist()] == [0.6, 0.8]


def test_schedules() -> None:
    optimizer = Adam([Tensor([1.0])], lr=1.0)
    parts = [LinearWarmup(optimizer, 2), CosineAnnealingLR(optimizer, 2)]
    schedule = SequentialLR(optimizer, parts, [2])
    lrs = []
    for _ in range(5):
        lrs.append(round(schedule.get_last_lr()[0], 6))
        schedule.step()
    assert lrs == [0.5, 1.0, 1.0, 0.5, 0.0]


if __name__ == "__main__":
    from harness import main

    main(__file__)
