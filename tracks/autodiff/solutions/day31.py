"""
Day 31: Losses and SGD
======================
Estimated time: 2 hours
Prerequisites: Day 21 (stable functions), Day 26 (modes and mutation)
Lesson: lessons/day31.md

Learning objectives:
- Write losses whose gradients can be differentiated again, and that keep their digits far out
- Say what a mean is divided by when examples have weights, are ignored, or are probabilities
- Keep an optimiser's two kinds of data apart: settings of groups, memory of parameters
- Change weights in place: counted, outside of every graph, with two arrays of scratch at most
- Save an optimiser in the middle of training, and go on, here or in torch

An optimiser does not know the model. It has a list of groups and a dictionary:

    param_groups  [ {params: [W1, W2], lr: 0.1, momentum: 0.9},       settings
                    {params: [b1, b2], lr: 0.2, momentum: 0.0} ]
    state         { W1: {momentum_buffer: …}, W2: {…} }               memory
    step()        for each p with a gradient:   p ← p - lr · (…)

and saved, with a number in the place of each parameter, that is all there is to save.

Hints:
- A loss is a formula of Tensors: written with operations, it can be differentiated twice by itself.
- ``==`` of two Tensors compares elements, so ``p in a_list`` is not what it seems. ``id(p)`` is.
- ``array *= 0.9`` writes into the array; ``array = array * 0.9`` makes another one.

Resources:
- torch.optim: https://docs.pytorch.org/docs/stable/optim.html
- P. J. Huber, Robust Estimation of a Location Parameter, 1964:
  https://doi.org/10.1214/aoms/1177703732
- C. Szegedy and others, Rethinking the Inception Architecture, 2015, section 7 (label smoothing):
  https://arxiv.org/abs/1512.00567
- I. Sutskever and others, On the importance of initialization and momentum, 2013:
  https://proceedings.mlr.press/v28/sutskever13.html
"""

from __future__ import annotations

import copy
import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from tracks.autodiff import operations as ops
from tracks.autodiff.day17 import broadcast_shape
from tracks.autodiff.day18 import needs_floats
from tracks.autodiff.day22 import Function, to
from tracks.autodiff.day26 import enable_grad, no_grad, version_of
from tracks.autodiff.day28 import Tensor

Closure = Callable[[], Any]
Group = dict[str, Any]
REDUCTIONS = ("mean", "sum", "none")


# -- losses ------------------------------------------------------------------------------------


def check(what: str, input: Any, reduction: str) -> None:
    """Given: what all losses refuse. ``what`` is the name that the errors give."""
    needs_floats(what, input)
    if reduction not in REDUCTIONS:
        raise ValueError(f"{what}: no reduction is called {reduction!r}")


def check_pair(what: str, input: Any, target: Any, reduction: str) -> None:
    """Given: the checks of a loss that compares element with element."""
    check(what, input, reduction)
    if input.shape != target.shape:
        raise ValueError(f"{what}: an input of {input.shape} and a target of {target.shape}")


def reduced(losses: Any, reduction: str) -> Any:
    """Given: the mean of all elements, their sum, or the elements as they are."""
    if reduction == "none":
        return losses
    return ops.mean(losses) if reduction == "mean" else ops.sum(losses)


def mse_loss(input: Tensor, target: Tensor, *, reduction: str = "mean") -> Tensor:
    """(input - target)², element by element, and the mean of it.

    - ``input`` and ``target`` have one shape, any. ValueError, naming ``mse_loss`` and both shapes,
      if they differ, also where they would broadcast; and for a reduction that is not "mean",
      "sum" or "none". TypeError if the input is not of floats.
    - The mean of no elements is nan, as in torch, and their sum 0.
    - Gradients go to both, and can be differentiated again.
    - float16 is computed in float32 (``ops.widened``), and the result rounded once to the dtype of
      ``input``: the square of 300 does not fit into it.

    >>> mse_loss(Tensor([1.0, 2.0]), Tensor([0.0, 4.0]))
    tensor(2.5000)
    """
    # TODO: check; the difference; its square; reduce; back to the dtype.
    # HINT: check_pair, reduced and to are there. What has ops.widened to come before?
    ### BEGIN SOLUTION
    # HINT: d = ops.widened(input) - ops.widened(target), and d * d needs no function of its own.
    # HINT: return to(reduced(d * d, reduction), input.dtype)
    check_pair("mse_loss", input, target, reduction)
    d = ops.widened(input) - ops.widened(target)
    return to(reduced(d * d, reduction), input.dtype)
    ### END SOLUTION


def huber_loss(
    input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0
) -> Tensor:
    """Quadratic for small errors, linear for large ones (Huber 1964). With d = input - target::

        d² / 2                    where |d| ≤ delta
        delta (|d| - delta / 2)   elsewhere

    The gradient is d, held between -delta and delta. Nothing overflows for |d| up to 1e300.
    All else is as in ``mse_loss``, with this name in the errors; ValueError, naming delta, too,
    unless it is above 0.

    >>> huber_loss(Tensor([0.5, 10.0]), Tensor([0.0, 0.0]), reduction="none")
    tensor([0.1250, 9.5000])
    """
    # TODO: check; the difference; one formula that does for both branches; reduce.
    # HINT: a square of 1e300 is inf, also in a branch that is not taken, and 0 · inf is nan. Which
    # number, no larger than delta, can be squared instead?
    ### BEGIN SOLUTION
    # HINT: with e = d held between -delta and delta, both lines read e · (d - e / 2).
    # HINT: ops.clamp(d, -delta, delta) has the slope 1 inside and 0 outside, which is right.
    check_pair("huber_loss", input, target, reduction)
    if not delta > 0:
        raise ValueError(f"huber_loss: delta must be above 0, not {delta}")
    d = ops.widened(input) - ops.widened(target)
    e = ops.clamp(d, -delta, delta)
    return to(reduced(e * (d - e / 2), reduction), input.dtype)
    ### END SOLUTION


class Softplus(Function):
    """log(1 + eˣ), element by element, of an array of floats. Its slope is the sigmoid.

    - No overflow and no warning: 1000 gives 1000. Small results keep their digits: -40 gives
      4.25e-18, not 0.
    - Differentiable any number of times, also at 0, where its second derivative is 1/4.

    >>> Softplus.apply(Tensor([-1000.0, 0.0, 1000.0])).tolist()
    [0.0, 0.6931471824645996, 1000.0]
    """

    @staticmethod
    def forward(ctx: Any, x: np.ndarray) -> np.ndarray:
        # TODO: save and compute.
        # HINT: log(1 + eˣ) is the logarithm of a sum of two exponentials. Of which?
        ### BEGIN SOLUTION
        # HINT: log(e⁰ + eˣ); numpy has a function for the logarithm of such a sum.
        # HINT: np.logaddexp(x, 0) stays in the dtype of x.
        ctx.save_for_backward(x)
        return np.logaddexp(x, 0)
        ### END SOLUTION

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        # TODO: one product.
        # HINT: which operation has a backward of its own already, so that yours can be
        # differentiated again?
        ### BEGIN SOLUTION
        # HINT: (x,) = ctx.saved_tensors is a Tensor with a past.
        # HINT: grad * ops.sigmoid(x)
        (x,) = ctx.saved_tensors
        return grad * ops.sigmoid(x)
        ### END SOLUTION


def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """The cross-entropy of yes-or-no questions, from logits z. With σ the sigmoid::

        -weight · (pos_weight · t · log σ(z) + (1 - t) · log(1 - σ(z)))

    - ``target`` t lies between 0 and 1, in between too; it has the shape of ``input``, of any
      shape, and gradients go to both.
    - ``weight`` and ``pos_weight`` broadcast to that shape. The mean divides by the number of
      elements, whatever the weights are.
    - Finite, gradients too, for logits up to ±1e4 and beyond. A small loss keeps its digits: z =
      -40 and t = 0 give 4.25e-18. Twice differentiable, also at z = 0.
    - float16 and errors as in ``mse_loss``, with this name; ValueError, with the shapes, for a
      weight that does not broadcast, too.

    >>> x, t = Tensor([0.0, 1e4, 1e4]), Tensor([1.0, 1.0, 0.0])
    >>> binary_cross_entropy_with_logits(x, t, reduction="none").tolist()
    [0.6931471824645996, 0.0, 10000.0]
    """
    # TODO: check; both logarithms as a Softplus; the weights; reduce.
    # HINT: -log σ(z) = log(1 + e^-z). And 1 - σ(z) is the sigmoid of what?
    ### BEGIN SOLUTION
    # HINT: yes = Softplus.apply(-z) and no = Softplus.apply(z), then t · yes + (1 - t) · no.
    # HINT: pos_weight multiplies yes, weight all of it. broadcast_shape(shape, w.shape) is the
    # shape of a product; it must be that of the input.
    what = "binary_cross_entropy_with_logits"
    check_pair(what, input, target, reduction)
    for w in (weight, pos_weight):
        if w is not None and not fits(w.shape, input.shape):
            raise ValueError(f"{what}: a weight of {w.shape} for an input of {input.shape}")
    z, t = ops.widened(input), ops.widened(target)
    yes, no = Softplus.apply(-z), Softplus.apply(z)
    if pos_weight is not None:
        yes = yes * pos_weight
    losses = t * yes + (1 - t) * no
    if weight is not None:
        losses = losses * weight
    return to(reduced(losses, reduction), input.dtype)
    ### END SOLUTION


def fits(shape: tuple[int, ...], into: tuple[int, ...]) -> bool:
    """Given: whether ``shape`` broadcasts to ``into``, and ``into`` stays what it is."""
    try:
        return broadcast_shape(shape, into) == into
    except ValueError:
        return False


def check_classes(
    what: str,
    input: Any,
    target: Any,
    weight: Any,
    ignore_index: int,
    reduction: str,
    kinds: str = "iu",
) -> int:
    """Given: the checks of a loss of classes. → the axis that the classes of ``input`` are on.

    ``kinds``: of dtypes that the target may be of. Floats are probabilities, of input's shape.
    """
    check(what, input, reduction)
    if target.dtype.kind not in kinds:
        raise TypeError(f"{what}: the target is of {target.dtype}")
    axis = min(1, input.ndim - 1)
    examples = input.shape[:axis] + input.shape[axis + 1 :]
    wanted = input.shape if target.dtype.kind == "f" else examples
    if input.ndim == 0 or input.shape[axis] == 0 or target.shape != wanted:
        raise ValueError(f"{what}: an input of {input.shape} and a target of {target.shape}")
    classes = input.shape[axis]
    if weight is not None and weight.shape != (classes,):
        raise ValueError(f"{what}: a weight of {weight.shape} for {classes} classes")
    if target.dtype.kind != "f":
        kept = target.data[target.data != ignore_index]
        wrong = kept[(kept < 0) | (kept >= classes)]
        if wrong.size:
            raise IndexError(f"{what}: a target of {wrong[0]} for {classes} classes")
    return axis


def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """-weight[y] · input[y] of each example with the target y, and their weighted mean.

    Args:
        input: logarithms of probabilities (C,), (N, C) or (N, C, d1, …), classes on axis 1 or the
            only one
        target: integers from 0 to C - 1, of the shape of input without the axis of the classes
        weight: (C,), one for each class; all 1 if there is none. It gets no gradient
        ignore_index: an example with this target has the loss 0, no gradient, and is not counted,
            whatever its input is, -inf too

    - "mean" is the sum divided by the sum of weight[y] over the examples that are counted; nan,
      with a gradient of 0, if there are none.
    - Any class may be the one to be ignored. ``input`` may be -inf where y is not.
    - float16 as in ``mse_loss``. ``check_classes`` is given, and knows all errors.

    >>> x = Tensor([[-1.0, -2.0], [-3.0, -4.0]])
    >>> nll_loss(x, Tensor([0, 1]), weight=Tensor([1.0, 3.0]))
    tensor(3.2500)
    """
    # TODO: check; choose with ops.gather; the weights; what is ignored; reduce.
    # HINT: an ignored target is no index. What may stand in its place until its loss is replaced?
    ### BEGIN SOLUTION
    # HINT: index = np.where(kept, target.data, 0); gather wants it with the axis of the classes
    # put back, of size 1 (np.expand_dims), and gives such a result (squeeze).
    # HINT: ops.where(kept, …, 0), and no product with 0, keeps an inf away, also on the way back.
    # HINT: example_weights says what each loss is multiplied by, and what the mean is divided by.
    axis = check_classes("nll_loss", input, target, weight, ignore_index, reduction)
    x = ops.widened(input)
    weights, kept = example_weights(x, target, weight, ignore_index)
    index = x._made(np.expand_dims(np.where(kept.data, target.data, 0), axis))
    chosen = ops.squeeze(ops.gather(x, axis, index), axis)
    losses = ops.where(kept, -chosen, 0) * weights
    if reduction == "mean":
        return to(losses.sum() / weights.sum(), input.dtype)
    return to(reduced(losses, reduction), input.dtype)
    ### END SOLUTION


def example_weights(
    x: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int
) -> tuple[Tensor, Tensor]:
    """Given: weight[y] of each example, 0 where it is ignored, in the dtype of x; and which
    examples are kept. Constants, of the shape of ``target``."""
    kept = target.data != ignore_index
    if weight is None:
        weights = kept.astype(x.dtype)
    else:
        weights = np.where(kept, weight.data[np.where(kept, target.data, 0)], 0).astype(x.dtype)
    return x._made(np.asarray(weights)), x._made(np.asarray(kept))


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """The cross-entropy of each example, from logits. With log p the log_softmax of ``input`` along
    its classes, q what the target says of each class, ε = ``label_smoothing``, w the weights::

        - Σ_c  w_c · ((1 - ε) · q_c + ε / C) · log p_c         (Szegedy and others, 2015)

    - ``target`` of integers names the class: q is 1 there and 0 elsewhere. Shapes, weight and
      ignore_index as in ``nll_loss``, and "mean" divides by the sum of the w[y] that are counted,
      also with smoothing.
    - ``target`` of floats is q itself, of the shape of ``input``, and gets a gradient. Then "mean"
      divides by the number of examples, whatever the weights are; nothing is ignored.
    - Finite, gradients too, for logits of ±1e4. A logit of -inf does no harm where q is given by a
      class, it is not the target's, and ε is 0.
    - Twice differentiable. float16 as in ``mse_loss``. ``check_classes`` knows the errors, but for
      this ValueError, naming label_smoothing: it is to be from 0 to 1.

    Limit: forward and backward together take at most 12 times the bytes of ``input`` (of float64).
    No array of C × C is that small.

    >>> cross_entropy(Tensor([[0.0, 0.0], [1e4, 0.0]]), Tensor([0, 1]), reduction="none").tolist()
    [0.6931471824645996, 10000.0]
    """
    # TODO: check; log p; one branch for classes and one for probabilities; reduce.
    # HINT: what is 0 · -inf? The sum over all classes may be taken only where it is needed.
    ### BEGIN SOLUTION
    # HINT: with classes it is (1 - ε) · nll_loss(…, reduction="none") - ε / C · s, where s is the
    # sum of w · log p along the axis: taken only if ε is above 0, and where the example is kept.
    # HINT: w of (C,) has to be of (C, 1, …) to meet the classes: one 1 for each axis of the input
    # behind them.
    # HINT: the mean divides by example_weights(…)[0].sum() in one branch, and in the other by the
    # number of elements of the losses.
    # HINT: classes with neither weights nor smoothing are ops.cross_entropy, from day 21: one node
    # in the place of nine. It is not needed, but most training comes this way.
    axis = check_classes(
        "cross_entropy", input, target, weight, ignore_index, reduction, kinds="iuf"
    )
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"cross_entropy: label_smoothing is {label_smoothing}, not from 0 to 1")
    x = ops.widened(input)
    if target.dtype.kind != "f" and weight is None and not label_smoothing:
        losses = ops.cross_entropy(x, target, ignore_index=ignore_index, reduction=reduction)
        return to(losses, input.dtype)
    log_p = ops.log_softmax(x, axis)
    classes, column = input.shape[axis], 1.0
    if weight is not None:
        behind = input.ndim - axis - 1
        column = log_p._made(weight.data.astype(log_p.dtype).reshape(classes, *(1,) * behind))
    if target.dtype.kind == "f":
        q = ops.widened(target) * (1 - label_smoothing) + label_smoothing / classes
        losses = -ops.sum(log_p * column * q, axis)
        return to(reduced(losses, reduction), input.dtype)
    losses = nll_loss(log_p, target, weight, ignore_index=ignore_index, reduction="none")
    weights, kept = example_weights(log_p, target, weight, ignore_index)
    if label_smoothing > 0:
        even = ops.where(kept, ops.sum(log_p * column, axis), 0)
        losses = losses * (1 - label_smoothing) - even * (label_smoothing / classes)
    if reduction == "mean":
        return to(losses.sum() / weights.sum(), input.dtype)
    return to(reduced(losses, reduction), input.dtype)
    ### END SOLUTION


# -- optimisers --------------------------------------------------------------------------------


def writable(x: Tensor) -> np.ndarray:
    """Given: the array of ``x``, to be written into in place. The change is counted (day 26), so a
    graph that saved x will refuse its backward."""
    version_of(x).value += 1
    return x.data


def loaded(name: str, value: Any, p: Tensor) -> Any:
    """Given: a copy of what a state_dict holds under ``name`` for the parameter ``p``.

    Tensors, arrays and torch's tensors become Tensors of the dtype of p, but for "step", which
    counts and keeps its own. Numbers and None stay what they are.
    """
    if not hasattr(value, "shape"):
        return copy.deepcopy(value)
    array = np.array(value.numpy() if hasattr(value, "numpy") else value)
    return p._made(array if name == "step" else array.astype(p.dtype, copy=False))


class Optimizer:
    """What all optimisers share. A subclass has an ``update``, and perhaps an ``__init__``.

    ``params`` are Tensors, in any iterable, or dicts: groups with ``params`` and settings of their
    own. ``defaults`` are the settings of whoever has no own. ValueError if there are no parameters,
    TypeError if ``params`` is one Tensor or a set, whose order changes from run to run.

    - ``param_groups``: a list of dicts, each with the list ``params`` and all settings
    - ``state``: for each parameter that something is remembered of, a dict of its own

    >>> class Descent(Optimizer):
    ...     def update(self, p, grad, group):
    ...         writable(p)[...] -= group["lr"] * grad
    >>> p = Tensor([1.0, 2.0], requires_grad=True)
    >>> optimizer = Descent([p], {"lr": 0.5})
    >>> (p * p).sum().backward()
    >>> optimizer.step()
    >>> p.tolist()
    [0.0, 0.0]
    """

    def __init__(self, params: Iterable[Any], defaults: Group) -> None:
        if isinstance(params, (Tensor, set, frozenset)):
            raise TypeError(f"an optimiser needs a list of parameters, not a {type(params)}")
        self.defaults = defaults
        self.param_groups: list[Group] = []
        self.state: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)
        groups = list(params)
        if not groups:
            raise ValueError("an optimiser needs parameters, and got an empty list")
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(group)

    def add_param_group(self, group: Group) -> None:
        """Append a group: a copy of ``group`` in which ``params`` is a list, also if it was one
        Tensor or an iterator, and which has the ``defaults`` that it lacks.

        Refused, with nothing changed, not even the dict that was given:

        - TypeError, naming the type, for a parameter that is no Tensor, and for params in a set
        - ValueError for one that is the result of an operation (``is_leaf``): it has a past
        - ValueError for one that is there already, in another group or earlier in this one
        """
        # TODO: a list of parameters; three refusals; a dict.
        # HINT: what does ``p in others`` ask of two Tensors?
        ### BEGIN SOLUTION
        # HINT: ids of all parameters that there are, in a set; add each new one's as you go.
        # HINT: {**self.defaults, **group, "params": params} is the new group.
        params = group["params"]
        if isinstance(params, (set, frozenset)):
            raise TypeError(f"parameters need an order, and a {type(params).__name__} has none")
        params = [params] if isinstance(params, Tensor) else list(params)
        known = {id(p) for other in self.param_groups for p in other["params"]}
        for p in params:
            if not isinstance(p, Tensor):
                raise TypeError(f"parameters are Tensors, not {type(p).__name__}")
            if not p.is_leaf:
                raise ValueError("a parameter is a leaf; this is the result of an operation")
            if id(p) in known:
                raise ValueError("a parameter is in the optimiser twice")
            known.add(id(p))
        self.param_groups.append({**self.defaults, **group, "params": params})
        ### END SOLUTION

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients: ``grad`` becomes None; with False it becomes zeros, in place, in
        the memory that it has. A gradient of None stays None. One with a past of its own (of a
        backward with create_graph) loses it."""
        # TODO: for every parameter of every group.
        # HINT: what does ``zero_`` refuse that ``writable`` does not ask?
        ### BEGIN SOLUTION
        # HINT: p.grad.detach() is on the same memory, and has no past.
        # HINT: writable(p.grad)[...] = 0 writes zeros, for any shape.
        for group in self.param_groups:
            for p in group["params"]:
                if set_to_none:
                    p.grad = None
                elif p.grad is not None:
                    p.grad = p.grad.detach()
                    writable(p.grad)[...] = 0
        ### END SOLUTION

    @no_grad()
    def step(self, closure: Closure | None = None) -> Any:
        """Move each parameter that has a gradient, once. → what ``closure()`` returned, or None.

        - The closure is called first, once, with ``enable_grad``: it runs a backward.
        - Then ``self.update(p, grad, group)`` for each p whose ``grad`` is not None. There grad is
          an array of p's shape and dtype with memory of its own, which ``update`` may write into:
          what p.grad holds, or, where the group's ``maximize`` is true, its negative.
        - p.grad itself does not change, and a parameter without one is left alone entirely.
        - Groups without the setting ``maximize`` minimise.
        """
        # TODO: the closure; two loops; a copy of the gradient.
        # HINT: step itself records nothing, as the decorator says. The closure must.
        ### BEGIN SOLUTION
        # HINT: np.array(p.grad.data, p.dtype) is a copy, for a 0-d one too.
        # HINT: np.negative(grad, out=grad) needs no other array.
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                grad = np.array(p.grad.data, p.dtype)
                if group.get("maximize"):
                    np.negative(grad, out=grad)
                self.update(p, grad, group)
        return loss
        ### END SOLUTION

    def update(self, p: Tensor, grad: np.ndarray, group: Group) -> None:
        """Change ``p``, of ``group``, in place by what its gradient says; each subclass its own."""
        raise NotImplementedError(f"{type(self).__name__} needs an update of its own")

    def state_dict(self) -> dict[str, Any]:
        """All that is to be saved, in torch's layout.

        - "param_groups": for each group a new dict of its settings, with a list of numbers in the
          place of ``params``: parameters are counted from 0, through all groups
        - "state": the dict of each parameter that has one, under its number

        The tensors in it are those of the optimiser: ``copy.deepcopy`` makes a snapshot.

        >>> p, q = Tensor([1.0]), Tensor([2.0])
        >>> Optimizer([{"params": [p]}, {"params": [q], "lr": 0.1}], {"lr": 1}).state_dict()
        {'state': {}, 'param_groups': [{'lr': 1, 'params': [0]}, {'lr': 0.1, 'params': [1]}]}
        """
        # TODO: number the parameters; two parts.
        # HINT: what can be the key of a parameter's number while you count?
        ### BEGIN SOLUTION
        # HINT: every = all parameters of all groups, in one list; number = {p: i for i, p in
        # enumerate(every)}: a Tensor can be a key, as its hash is that of the object.
        # HINT: {**group, "params": [number[p] for p in group["params"]]}
        every = [p for group in self.param_groups for p in group["params"]]
        number = {p: i for i, p in enumerate(every)}
        groups = [{**g, "params": [number[p] for p in g["params"]]} for g in self.param_groups]
        return {
            "state": {number[p]: dict(values) for p, values in self.state.items()},
            "param_groups": groups,
        }
        ### END SOLUTION

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from where ``state_dict`` was saved: settings and memory become what it says.

        - The n-th number in its groups stands for the n-th parameter here: the parameters
          themselves, and their values, stay what they are.
        - Settings that it lacks are filled from ``defaults``; those that are unknown here are kept.
        - ``loaded`` makes the copies: nothing that happens here later shows in ``state_dict``.
          torch's own state_dict is welcome.
        - ValueError, with the sizes of both, if it has other groups; then nothing has changed.
        """
        # TODO: compare the sizes; groups; state.
        # HINT: the numbers need not be 0, 1, 2, …: each says whose state it is in "state".
        ### BEGIN SOLUTION
        # HINT: owner = {number: p}, from zip(saved group's params, group's params).
        # HINT: {**self.defaults, **copy.deepcopy(saved), "params": group["params"]}
        # HINT: a new defaultdict(dict), in which state[owner[number]] = {name: loaded(name, value,
        # p) for …}.
        saved = state_dict["param_groups"]
        sizes = [len(group["params"]) for group in saved]
        here = [len(group["params"]) for group in self.param_groups]
        if sizes != here:
            raise ValueError(f"groups of {sizes} parameters were saved, and here are {here}")
        owner: dict[Any, Tensor] = {}
        groups = []
        for group, other in zip(self.param_groups, saved, strict=True):
            owner.update(zip(other["params"], group["params"], strict=True))
            settings = {**self.defaults, **copy.deepcopy(other)}
            groups.append({**settings, "params": group["params"]})
        state: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)
        for number, values in state_dict["state"].items():
            p = owner[number]
            state[p] = {name: loaded(name, value, p) for name, value in values.items()}
        self.param_groups, self.state = groups, state
        ### END SOLUTION

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for number, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {number}")
            lines += [f"    {name}: {group[name]}" for name in sorted(group) if name != "params"]
        return "\n".join([*lines, ")"])


def refuse(wrong: bool, what: str) -> None:
    """Given: a setting that cannot work is a ValueError when the optimiser is made."""
    if wrong:
        raise ValueError(what)


class SGD(Optimizer):
    """Gradient descent, with momentum and Nesterov's look ahead. For each p with the gradient g::

        g = g + weight_decay · p                  g is -p.grad where maximize is true
        b = g                                     at the first step of p
        b = momentum · b + (1 - dampening) · g    afterwards
        d = g                    if momentum is 0: then there is no b
            b                    plain momentum
            g + momentum · b     nesterov
        p = p - lr · d

    - All settings are those of the group, at the time of the step.
    - b is ``state[p]["momentum_buffer"]``, a Tensor of p's shape and dtype with memory of its own,
      which is written in place. If it is missing or None, it is p's first step. Without momentum
      ``state`` stays empty.
    - p is written in place (``writable``) and stays on its array.
    - ValueError for a negative lr, momentum or weight_decay, and for nesterov without momentum or
      with dampening. (Given.)

    Limit: at most two arrays of the size of p are there at a time, beside p, p.grad and b; the copy
    that ``update`` gets as ``grad`` is one of them.

    >>> p = Tensor([1.0], requires_grad=True)
    >>> optimizer = SGD([p], lr=0.1, momentum=0.5)
    >>> for _ in range(2):                     # 1 - 0.1 · 2, then 0.8 - 0.1 · (0.5 · 2 + 2)
    ...     p.grad = Tensor([2.0])
    ...     optimizer.step()
    >>> p
    tensor([0.5000], requires_grad=True)
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        refuse(not lr >= 0, f"SGD: lr is {lr}, and cannot be negative")
        refuse(not momentum >= 0, f"SGD: momentum is {momentum}, and cannot be negative")
        refuse(not weight_decay >= 0, f"SGD: weight_decay is {weight_decay}: it cannot be negative")
        refuse(
            nesterov and (momentum == 0 or dampening != 0),
            "SGD: nesterov looks ahead along the momentum: it needs some, and no dampening",
        )
        defaults = {
            "lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay,
            "nesterov": nesterov, "maximize": maximize,
        }  # fmt: skip
        super().__init__(params, defaults)

    def update(self, p: Tensor, grad: np.ndarray, group: Group) -> None:
        # TODO: decay; the buffer; the direction; the step.
        # HINT: grad is yours: what can be written into it, so that no third array is needed?
        ### BEGIN SOLUTION
        # HINT: grad += decay * p.data makes one array for a moment: together with grad two.
        # HINT: the first buffer is p._made(grad.copy()); later buffer = writable(…), buffer *=
        # momentum, buffer += (1 - dampening) * grad.
        # HINT: with nesterov grad += momentum * buffer, else np.copyto(grad, buffer). In the end
        # grad *= lr, and one subtraction from writable(p).
        momentum, decay = group["momentum"], group["weight_decay"]
        if decay:
            grad += decay * p.data
        if momentum:
            state = self.state[p]
            if state.get("momentum_buffer") is None:
                state["momentum_buffer"] = p._made(grad.copy())
                buffer = state["momentum_buffer"].data
            else:
                buffer = writable(state["momentum_buffer"])
                buffer *= momentum
                buffer += (1 - group["dampening"]) * grad
            if group["nesterov"]:
                grad += momentum * buffer
            else:
                np.copyto(grad, buffer)
        grad *= group["lr"]
        array = writable(p)
        array -= grad
        ### END SOLUTION


def test_regression() -> None:
    x, y = Tensor([1.0, -3.0], requires_grad=True), Tensor([0.0, 0.0])
    assert mse_loss(x, y).item() == 5.0
    huber_loss(x, y, reduction="sum", delta=2.0).backward()
    assert x.grad is not None
    assert x.grad.tolist() == [1.0, -2.0]


def test_questions() -> None:
    z, t = Tensor([0.0, 1e4], dtype="float64"), Tensor([1.0, 0.0], dtype="float64")
    losses = binary_cross_entropy_with_logits(z, t, reduction="none").tolist()
    assert abs(losses[0] - math.log(2)) < 1e-15
    assert losses[1] == 1e4


def test_classes() -> None:
    x = Tensor([[0.0, 0.0], [1e4, 0.0]], requires_grad=True, dtype="float64")
    assert cross_entropy(x, Tensor([0, -100])).item() == math.log(2)
    assert nll_loss(x, Tensor([0, 0])).item() == -5000.0
    even = cross_entropy(x, Tensor([0, 0]), label_smoothing=0.5, reduction="none").tolist()
    assert even == [math.log(2), 2500.0]


def test_groups() -> None:
    p, q = Tensor([1.0], requires_grad=True), Tensor([1.0], requires_grad=True)
    optimizer = SGD([{"params": [p]}, {"params": [q], "lr": 1.0}], lr=0.5)
    (p * q).sum().backward()
    optimizer.step()
    assert (p.item(), q.item()) == (0.5, 0.0)
    optimizer.zero_grad()
    assert p.grad is None


def test_momentum_is_saved() -> None:
    p = Tensor([0.0], requires_grad=True)
    optimizer = SGD([p], lr=1.0, momentum=0.5)
    p.grad = Tensor([1.0])
    optimizer.step()
    saved = copy.deepcopy(optimizer.state_dict())
    optimizer = SGD([p])
    optimizer.load_state_dict(saved)
    optimizer.step()
    assert p.item() == -2.5


if __name__ == "__main__":
    from harness import main

    main(__file__)
