"""
Day 3: Autograd
===============
Estimated time: 2 hours
Prerequisites: Day 2 (tensor operations), derivatives and the chain rule
Lesson: lessons/day03.md

Learning objectives:
- Say what autograd records, when, and who owns which gradient
- Tell leaves from results, detach from no_grad, autograd.grad from backward
- Accumulate gradients as .grad does, without sharing memory by accident
- Get a Jacobian out of vector-Jacobian products, and a Hessian-vector product without a Hessian

While you compute forwards, autograd writes down backwards: each result points at a node that
knows its inputs and its local derivative.

    x (leaf) ──▶ square ──▶ y ──▶ sum ──▶ value      forward, the numbers
                   │                │
    AccumulateGrad ◀── PowBackward ◀── SumBackward   the graph, made meanwhile
       x.grad +=       2x · g           g = 1        backward(), right to left

    torch.autograd.grad(value, x)   returns the gradient, touches no .grad
    value.backward()                adds to the .grad of every leaf it reaches

Every function of today works the same inside torch.no_grad(), and leaves the mode as it was.

Hints:
- x.detach().requires_grad_() is a new leaf on the same memory: x itself stays as it was.
- What does autograd.grad do with an input that the output does not depend on? There are options.
- A backward frees the graph behind itself, unless it is told to keep it.

Resources:
- Autograd mechanics: https://docs.pytorch.org/docs/stable/notes/autograd.html
- torch.autograd.grad: https://docs.pytorch.org/docs/stable/generated/torch.autograd.grad.html
- Fast exact multiplication by the Hessian, Pearlmutter 1994: https://doi.org/10.1162/neco.1994.6.1.147
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

Function = Callable[[torch.Tensor], torch.Tensor]


def _scalar(value: torch.Tensor) -> torch.Tensor:
    """``value``, if it is one number; else ValueError."""
    if value.numel() != 1:
        raise ValueError(f"the function must return one number, not shape {tuple(value.shape)}")
    return value


def gradient(f: Function, x: torch.Tensor) -> torch.Tensor:
    """The gradient of ``f`` at ``x``: a tensor of the shape and dtype of ``x``, without a graph.

    ``f`` takes a tensor like ``x`` (any shape, strides, floating dtype) and returns one number;
    it is called once. Where the number does not depend on ``x`` the gradient is zeros.

    - Nothing else changes: not x.requires_grad, not x.grad, not the .grad of other tensors that
      ``f`` uses. ``x`` may be a leaf or a result; no graph reaches back into its history.
    - Works inside torch.no_grad() as well.
    - Raises ValueError (``_scalar`` does) when ``f`` returns more than one number.

    >>> gradient(lambda x: x.square().sum(), torch.tensor([1.0, 2.0]))
    tensor([2., 4.])
    """
    # TODO: make a leaf of your own, call f on it, ask autograd.grad for the gradient.
    # HINT: whose .grad would backward() write to?
    ### BEGIN SOLUTION
    # HINT: torch.enable_grad() makes autograd record inside a no_grad block.
    # HINT: a constant f returns a value that does not require a gradient at all.
    # HINT: materialize_grads=True gives zeros where the value does not depend on the input.
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        value = _scalar(f(leaf))
    if not value.requires_grad:
        return torch.zeros_like(x)
    (grad,) = torch.autograd.grad(value, leaf, materialize_grads=True)
    return grad
    ### END SOLUTION


def accumulate(f: Callable[..., torch.Tensor], xs: Sequence[torch.Tensor]) -> torch.Tensor:
    """Add the gradient of ``f(*xs)`` to x.grad for every x in ``xs``; return the value of ``f``.

    What ``backward()`` does, for the named tensors only and without calling it:

    - x.grad None counts as zero, and becomes a tensor with memory of its own: x.grad += 1 must
      neither fail nor change another tensor's gradient. An x.grad that is there already is added
      to in place, so that whoever holds it (an optimiser) sees the sum.
    - Tensors that do not require a gradient are left alone; so are those that the value does not
      depend on (None stays None), and all tensors that are not in ``xs``.
    - A tensor that stands in ``xs`` twice gets its gradient once.
    - The value comes back without a graph. ``f`` is called once, also inside torch.no_grad().
    - Raises ValueError, before anything is changed, when an x is the result of an operation (only
      leaves have a .grad of their own; the message names its position in ``xs``), or when ``f``
      returns more than one number.

    >>> w = torch.tensor(3.0, requires_grad=True)
    >>> [accumulate(lambda w: w * w, [w]).item() for _ in range(2)], w.grad
    ([9.0, 9.0], tensor(12.))
    """
    # TODO: gradients from autograd.grad, then += or a first copy for each leaf.
    # HINT: autograd.grad returns None for an input that is not used, if you allow it.
    ### BEGIN SOLUTION
    # HINT: the gradients of (a + b).sum() are one and the same tensor with strides of 0: clone.
    # HINT: dict.fromkeys(xs) drops repetitions; tensors are told apart by identity there.
    # HINT: autograd.grad refuses an empty list of inputs, and a value without a graph.
    for i, x in enumerate(xs):
        if not x.is_leaf:
            raise ValueError(f"xs[{i}] is the result of an operation: it has no .grad of its own")
    with torch.enable_grad():
        value = _scalar(f(*xs))
    leaves = [x for x in dict.fromkeys(xs) if x.requires_grad]
    if leaves and value.requires_grad:
        grads = torch.autograd.grad(value, leaves, allow_unused=True)
        for leaf, grad in zip(leaves, grads, strict=True):
            if grad is None:
                continue
            if leaf.grad is None:
                leaf.grad = grad.clone()
            else:
                leaf.grad += grad
    return value.detach()
    ### END SOLUTION


def stop_gradient(x: Any) -> Any:
    """The same numbers, through which no gradient flows.

    ``x`` is a tensor, or lists, tuples and dicts of tensors, nested as you like; the result is
    nested alike (a list for a list). What is no tensor comes back as it is.

    - No number is copied: a tensor of the result shares its memory with the tensor it came from.
    - ``x`` keeps its graph and its requires_grad.
    - Writing into the result must not go unnoticed by autograd: if the backward of ``x`` still
      needs the old numbers, it has to raise an error instead of using the new ones.

    >>> x = torch.tensor(3.0, requires_grad=True)
    >>> torch.autograd.grad(x * stop_gradient(x), x)
    (tensor(3.),)
    """
    # TODO: the four cases: tensor, dict, list or tuple, anything else.
    # HINT: x.data, x.detach() and x.clone() under no_grad differ in two of the points above.
    ### BEGIN SOLUTION
    # HINT: detach() shares memory and the version counter; data shares the memory alone.
    # HINT: type(x)(...) makes a list from a list and a tuple from a tuple.
    if isinstance(x, torch.Tensor):
        return x.detach()
    if isinstance(x, dict):
        return {key: stop_gradient(value) for key, value in x.items()}
    if isinstance(x, (list, tuple)):
        return type(x)(stop_gradient(value) for value in x)
    return x
    ### END SOLUTION


def jacobian(f: Function, x: torch.Tensor) -> torch.Tensor:
    """All partial derivatives of ``f`` at ``x``, shape (*f(x).shape, *x.shape), without a graph.

    ``f`` takes a tensor like ``x`` (any shape, strides, floating dtype) and returns a tensor of
    any shape, 0-d and empty ones included. It is called once, and then one backward pass is made
    for each element of its result. Where nothing depends on ``x`` the Jacobian is zero.

    As with ``gradient``, nobody's .grad and requires_grad change, and torch.no_grad() around the
    call does not matter. The dtype is that of ``x``.

    >>> jacobian(lambda x: x * x, torch.tensor([1.0, 3.0]))
    tensor([[2., 0.],
            [0., 6.]])
    """
    # TODO: for each element of the result, a backward pass that starts with a one at its place.
    # HINT: autograd.grad(y, x, g) gives Σ_i g_i ∂y_i/∂x: which g picks out row i?
    ### BEGIN SOLUTION
    # HINT: row i of torch.eye(y.numel()), in the shape of y.
    # HINT: the second backward through one graph needs retain_graph=True in the first.
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        y = f(leaf)
    rows = x.new_zeros(y.numel(), *x.shape)
    if y.requires_grad:
        for i, pick in enumerate(torch.eye(y.numel()).to(y)):
            (rows[i],) = torch.autograd.grad(
                y, leaf, pick.reshape(y.shape), retain_graph=True, materialize_grads=True
            )
    return rows.reshape(*y.shape, *x.shape)
    ### END SOLUTION


def hvp(f: Function, x: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """The Hessian of ``f`` at ``x`` times ``v``, without the Hessian: Σ_j ∂²f/∂x_i∂x_j v_j.

    ``f`` takes a tensor like ``x`` and returns one number; it is called once. ``v`` and the result
    have the shape of ``x``, any shape; read as vectors they have n elements. Memory grows as n,
    never as n². For a linear ``f`` the result is zeros.

    The trick (Pearlmutter 1994): the gradient g(x) is computed by operations like any other, so
    autograd can differentiate it: ∇(g · v) = H v.

    As with ``gradient``, nobody's .grad and requires_grad change, and torch.no_grad() around the
    call does not matter. Raises ValueError when ``f`` returns more than one number, or when the
    shapes of ``x`` and ``v`` differ (the message names both).

    >>> hvp(lambda x: x[0] * x[1], torch.tensor([5.0, 7.0]), torch.tensor([1.0, 10.0]))
    tensor([10.,  1.])
    """
    # TODO: a gradient with a graph, then the gradient of its product with v.
    # HINT: autograd.grad can record what it does itself; look at its options.
    ### BEGIN SOLUTION
    # HINT: create_graph=True in the first call; the second takes v as grad_outputs.
    # HINT: the gradient of a linear f is a constant, and does not require a gradient.
    if v.shape != x.shape:
        raise ValueError(f"x has the shape {tuple(x.shape)}, but v {tuple(v.shape)}")
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        value = _scalar(f(leaf))
        if not value.requires_grad:
            return torch.zeros_like(x)
        (grad,) = torch.autograd.grad(value, leaf, create_graph=True, materialize_grads=True)
    if not grad.requires_grad:
        return torch.zeros_like(x)
    (product,) = torch.autograd.grad(grad, leaf, v, materialize_grads=True)
    return product
    ### END SOLUTION


def test_gradient() -> None:
    x = torch.tensor([1.0, 2.0])
    assert gradient(lambda x: x.square().sum(), x).tolist() == [2, 4]
    assert not x.requires_grad


def test_accumulate_twice() -> None:
    w = torch.tensor(3.0, requires_grad=True)
    assert [accumulate(lambda w: w * w, [w]).item() for _ in range(2)] == [9, 9]
    assert w.grad is not None
    assert w.grad.item() == 12


def test_stop_gradient() -> None:
    x = torch.tensor(3.0, requires_grad=True)
    (grad,) = torch.autograd.grad(x * stop_gradient({"held": x})["held"], x)
    assert grad.item() == 3  # without the stop it would be 2x = 6


def test_jacobian() -> None:
    got = jacobian(lambda x: torch.stack([x[0] * x[1], x[0]]), torch.tensor([2.0, 5.0]))
    assert got.tolist() == [[5, 2], [1, 0]]


def test_hvp() -> None:
    x, v = torch.tensor([5.0, 7.0]), torch.tensor([1.0, 10.0])
    assert hvp(lambda x: x[0] * x[1], x, v).tolist() == [10, 1]


if __name__ == "__main__":
    from harness import main

    main(__file__)
