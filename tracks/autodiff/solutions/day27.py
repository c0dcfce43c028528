"""
Day 27: Higher order
====================
Estimated time: 2 hours
Prerequisites: Day 24 (traversal), Day 26 (modes and mutation)
Lesson: lessons/day27.md

Learning objectives:
- Differentiate a gradient: what ``create_graph`` records, and what it costs
- Write backwards that can be differentiated, and know why a saved intermediate cannot
- Multiply with a Hessian of any size in two passes, without ever having it
- Lay out Jacobians and Hessians row by row, and those of a whole batch in as many passes as one

A backward is made of tensor operations. Recorded, it is a function like any other:

    x ──> f ──> y                            forward
    x ──> f ──> y ──> f's backward ──> g     one graph: g depends on x, by all that was saved
    x ──> f ──> y ──> f's backward ──> g ──> g · v ──> backward again ──> H v

Who wants all of a Jacobian needs a pass for each row of it. Who wants one product needs one pass.

Hints:
- ``grad`` of day 24 gives gradients and changes no grad. With ``create_graph=True`` they have a
  past.
- A derivative that does not depend on x has no past that leads to x. It is 0 from there on.
- In a Function an array that is neither argument nor result is a constant, whatever it was made of.

Resources:
- Double backward with custom functions:
  https://docs.pytorch.org/tutorials/intermediate/custom_function_double_backward_tutorial.html
- torch.autograd.functional: https://docs.pytorch.org/docs/stable/autograd.html#functional-higher-level-api
- B. A. Pearlmutter, Fast exact multiplication by the Hessian, Neural Computation 6(1), 1994
- I. Gulrajani and others, Improved Training of Wasserstein GANs, 2017:
  https://arxiv.org/abs/1704.00028
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tracks.autodiff import day26, operations
from tracks.autodiff.day22 import Function, register
from tracks.autodiff.day24 import grad
from tracks.autodiff.day26 import enable_grad


class Tanh(Function):
    """The hyperbolic tangent of each element, of an array of floats.

    The slope is 1 - tanh(x)². The backward can be differentiated as often as one likes.

    >>> x = Tensor(0.0, requires_grad=True)
    >>> grad(Tanh.apply(x), x)
    (tensor(1.0000),)
    """

    @staticmethod
    def forward(ctx: Any, x: np.ndarray) -> np.ndarray:
        # TODO: compute, save, give back.
        # HINT: what can the slope be told from, without a second tanh?
        ### BEGIN SOLUTION
        # HINT: save the result.
        # HINT: y = np.tanh(x); ctx.save_for_backward(y)
        y = np.tanh(x)
        ctx.save_for_backward(y)
        return y
        ### END SOLUTION

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        # TODO: with tensors, not with their arrays.
        # HINT: ctx.saved_tensors gives the result with its past. What would be lost with y.data?
        ### BEGIN SOLUTION
        # HINT: grad and y are Tensors, and so is what their operators make.
        # HINT: grad * (1 - y * y)
        (y,) = ctx.saved_tensors
        return grad * (1 - y * y)
        ### END SOLUTION


class RmsNorm(Function, op="rms_norm"):
    """Rows of length √n: x divided by its root mean square, of float32 or float64, (…, n).

        r = 1 / √(mean of x² along the last axis + eps), of shape (…, 1)        y = x r

    Two results, y and r: the second is there so that the backward can save it. With the gradients
    of both,

        share = g_y r - (sum of g_y x along the last axis + g_r) r³ x / n

    The backward can be differentiated as often as one likes. (B. Zhang and R. Sennrich, Root Mean
    Square Layer Normalization, 2019, https://arxiv.org/abs/1910.07467)

    >>> y, r = RmsNorm.apply(Tensor([[3.0, 4.0]]), eps=0.0)
    >>> y, r
    (tensor([[0.8485, 1.1314]]), tensor([[0.2828]]))
    """

    @staticmethod
    def forward(ctx: Any, x: np.ndarray, eps: float = 1e-6) -> tuple[np.ndarray, np.ndarray]:
        # TODO: r, y; save what the backward uses.
        # HINT: 1 / r would do as well as r. Why is it not the same to save it?
        ### BEGIN SOLUTION
        # HINT: numpy's mean takes keepdims=True. eps is a Python number: float32 stays float32.
        # HINT: ctx.save_for_backward(x, r) and return x * r, r: the very array that was saved.
        r = 1 / np.sqrt((x * x).mean(-1, keepdims=True) + eps)
        ctx.save_for_backward(x, r)
        return x * r, r
        ### END SOLUTION

    @staticmethod
    def backward(ctx: Any, of_y: Tensor, of_r: Tensor) -> Tensor:
        # TODO: the formula, with Tensors.
        # HINT: day 18's sum has dim and keepdim.
        ### BEGIN SOLUTION
        # HINT: what comes to r is (of_y * x).sum(-1, keepdim=True) + of_r.
        # HINT: of_y * r - (what comes to r) * r * r * r * x / n, where n is x.shape[-1].
        x, r = ctx.saved_tensors
        of_r = (of_y * x).sum(-1, keepdim=True) + of_r
        return of_y * r - of_r * r * r * r * x / x.shape[-1]
        ### END SOLUTION


def rms_norm(x: Tensor, eps: float = 1e-6) -> Tensor:
    return RmsNorm.apply(x, eps=eps)[0]


def opened(x: Any, create_graph: bool) -> list[Any]:
    """For one tensor, or each in a tuple or list, one on the same memory that requires a gradient.

    It is a leaf, so that nothing happens to x; with ``create_graph`` it is a view of x if x
    requires a gradient, so that results depend on x itself.
    """
    found = []
    for t in x if isinstance(x, (tuple, list)) else [x]:
        if create_graph and t.requires_grad:
            found.append(operations.reshape(t, t.shape))
        else:
            found.append(t.detach().requires_grad_())
    return found


def zeros_like(x: Any) -> Any:
    return x._made(np.zeros(x.shape, x.dtype))


def gradients(
    outputs: Sequence[Any],
    inputs: Sequence[Any],
    seeds: Sequence[Any] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
) -> list[Any]:
    """``grad`` in one pass, with zeros where nothing depends on an input, or has no past at all.

    ``seeds`` has a gradient, or None, for each of ``outputs``.
    """
    pairs = [
        (y, s) for y, s in zip(outputs, seeds or [None] * len(outputs), strict=True)
        if y.requires_grad
    ]  # fmt: skip
    roots, given = [y for y, _ in pairs], [s for _, s in pairs]
    found = grad(roots, inputs, given, retain_graph, create_graph, allow_unused=True)
    return [zeros_like(x) if g is None else g for x, g in zip(inputs, found, strict=True)]


def derivatives(f: Callable[[Any], Any], x: Tensor, order: int) -> list[Tensor]:
    """f, f', f'', … up to the derivative of ``order``, at each element of ``x``.

    ``f`` works element by element: Tensor in, Tensor of the same shape out. → ``order + 1`` tensors
    of the shape of x, all without a past.

    - x need not require a gradient, and no grad changes: differentiate with respect to ``opened``.
      It works inside of ``no_grad`` as well.
    - Where a derivative does not depend on x any more, the following are zeros.
    - ValueError, with both shapes, if f gives another shape; ValueError for a negative order.

    Limits: f is called once, there is one backward pass for each order, and the last one records
    nothing.

    >>> derivatives(lambda x: x * x * x, Tensor([2.0]), 4)
    [tensor([8.0000]), tensor([12.0000]), tensor([12.0000]), tensor([6.0000]), tensor([0.0000])]
    """
    # TODO: open x; f; then each derivative from the one before it.
    # HINT: elements do not depend on one another: what is the gradient of the sum of all?
    ### BEGIN SOLUTION
    # HINT: with enable_grad(): (x,) = opened(x, False); the first of the list is f(x).
    # HINT: gradients([y], [x], [ones of x's shape], create_graph=…) gives [y']. In the last pass
    # create_graph is False.
    # HINT: .detach() all at the end.
    if order < 0:
        raise ValueError(f"derivatives: the order is {order}, and 0 is the least")
    with enable_grad():
        (x,) = opened(x, False)
        found = [f(x)]
        if found[0].shape != x.shape:
            raise ValueError(f"derivatives: f gave {found[0].shape} for an x of {x.shape}")
        for i in range(1, order + 1):
            found += gradients(found[-1:], [x], [np.ones(x.shape)], create_graph=i < order)
    return [y.detach() for y in found]
    ### END SOLUTION


def one_number(what: str, y: Any) -> Any:
    """``y``, if it is a tensor of one element, as a gradient asks for; else ValueError."""
    if y.numel() != 1:
        raise ValueError(f"{what}: f must give one number, and gave a tensor of shape {y.shape}")
    return y


def hvp(f: Callable[..., Any], x: Any, v: Any, create_graph: bool = False) -> tuple[Tensor, Any]:
    """f(x), and the product H v of f's Hessian at ``x`` with ``v``, by the gradient of g · v.

    - ``x`` is a tensor, or a tuple or list of them: f is then called with all as arguments, and v
      and H v are as many, of the same shapes. Names and rules are those of
      torch.autograd.functional.hvp; H v is a tuple where x is no single tensor.
    - f gives one number. ValueError, with the shape, if not; and if v has other shapes than x, or
      there are more or fewer.
    - x need not require a gradient, no grad changes (``opened``), and it works in ``no_grad``.
    - Zeros where f is linear in x or does not depend on it.
    - Both results have no past; with ``create_graph`` they depend on x, if it requires a gradient,
      and on whatever else f used.

    Limits: f is called once, there are two backward passes, and nothing of the size of H is made.
    (B. A. Pearlmutter, 1994, has the other way, forward over reverse.)

    >>> value, product = hvp(lambda x: (x * x * x).sum(), Tensor([1.0, 2.0]), Tensor([1.0, 10.0]))
    >>> value, product
    (tensor(9.0000), tensor([6.0000, 120.0000]))
    """
    # TODO: open; f; gradient with a graph; the gradient of that.
    # HINT: g · v is a number: v is the same as a gradient that comes in at g.
    ### BEGIN SOLUTION
    # HINT: gradients([y], inputs, create_graph=True) is g, in a list.
    # HINT: gradients(g, inputs, v, create_graph=create_graph) is H v: v is what comes in at g.
    # HINT: detach both, unless create_graph.
    vectors = list(v) if isinstance(v, (tuple, list)) else [v]
    with enable_grad():
        inputs = opened(x, create_graph)
        if [t.shape for t in vectors] != [t.shape for t in inputs]:
            raise ValueError(
                f"hvp: vectors of {[t.shape for t in vectors]} for inputs of "
                f"{[t.shape for t in inputs]}"
            )
        y = one_number("hvp", f(*inputs))
        first = gradients([y], inputs, create_graph=True)
        products = gradients(first, inputs, vectors, create_graph=create_graph)
    if not create_graph:
        y, products = y.detach(), [p.detach() for p in products]
    return y, tuple(products) if isinstance(x, (tuple, list)) else products[0]
    ### END SOLUTION


def jacobian(f: Callable[..., Any], x: Any, create_graph: bool = False) -> Any:
    """All partial derivatives of ``f`` at ``x``: J[i, j] is ∂ f(x)[i] / ∂ x[j], where i is an index
    of f's result and j one of x, so that its shape is ``f(x).shape + x.shape``.

    - A tuple or list for x is the arguments of f, and a tuple of tensors may be what f gives. As in
      torch.autograd.functional.jacobian the result is then a tuple: one for each input; one for
      each result; or, if both are several, for each result a tuple with one for each input.
    - Its dtype is that of the input. Zeros where nothing depends on an input.
    - x need not require a gradient, no grad changes (``opened``), and it works in ``no_grad``.
    - Without a past; with ``create_graph`` it depends on x, if that requires a gradient, and on
      whatever else f used.

    Limits: f is called once. There is one backward pass for each element of f's results, however
    many elements x has, and none is recorded unless ``create_graph``.

    >>> jacobian(lambda x: x[0] * x, Tensor([2.0, 3.0]))
    tensor([[4.0000, 0.0000],
            [3.0000, 2.0000]])
    """
    # TODO: a pass for each element of the result gives a row of J.
    # HINT: which gradient do you send in, to get the derivatives of one element?
    ### BEGIN SOLUTION
    # HINT: zeros with a 1 at one place. The graph is needed for the next one: retain_graph=True.
    # HINT: rows of one input are stacked (operations.stack) and reshaped to y.shape + x.shape. A
    # result of no elements has no rows: zeros of that shape.
    # HINT: take the tuples off again: [0] for x if it is one tensor, and for f if it gave one.
    with enable_grad():
        inputs = opened(x, create_graph)
        results = f(*inputs)
        blocks = []
        for y in results if isinstance(results, tuple) else [results]:
            rows = []
            for i in range(y.numel()):
                seed = np.zeros(y.shape, y.dtype)
                seed.flat[i] = 1
                rows.append(gradients([y], inputs, [seed], True, create_graph))
            columns = zip(*rows, strict=True) if rows else [()] * len(inputs)
            block = tuple(laid_out(c, y.shape, t) for c, t in zip(columns, inputs, strict=True))
            blocks.append(block if isinstance(x, (tuple, list)) else block[0])
    return tuple(blocks) if isinstance(results, tuple) else blocks[0]
    ### END SOLUTION


def laid_out(rows: Sequence[Any], shape: Sequence[int], x: Any) -> Any:
    """Gradients with respect to x, one for each element of ``shape``, as one tensor."""
    if not rows:
        return x._made(np.zeros((*shape, *x.shape), x.dtype))
    return operations.reshape(operations.stack(rows), (*shape, *x.shape))


def batch_jacobian(f: Callable[[Any], Any], x: Tensor, create_graph: bool = False) -> Tensor:
    """The Jacobians of all samples of a batch: x (b, *i), f(x) (b, *o) give (b, *o, *i).

    ``f`` treats samples separately: what it gives for one depends on that one alone, as a network
    without batch statistics does. So one pass serves all samples at once.

    - Rules for x, gradients, dtype and ``create_graph`` are those of ``jacobian``.
    - ValueError, with both shapes, if f(x) has another b, or one of the two has no axes.

    Limits: f is called once, and there is one backward pass for each element of a sample's result,
    however many samples there are.

    >>> x = Tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> batch_jacobian(lambda x: x * x, x).tolist()
    [[[2.0, 0.0], [0.0, 4.0]], [[6.0, 0.0], [0.0, 8.0]]]
    """
    # TODO: as jacobian, with a gradient that asks all samples the same question.
    # HINT: what is ∂/∂x of the sum over samples of the element k of each result?
    ### BEGIN SOLUTION
    # HINT: the seed is zeros, with 1 at [:, k] if f(x) is seen as (b, elements of a sample).
    # HINT: stack along dim 1: (b, elements, *i), and reshape.
    # HINT: a sample's result of no elements gives zeros.
    with enable_grad():
        (x,) = opened(x, create_graph)
        y = f(x)
        if not x.shape or not y.shape or y.shape[0] != x.shape[0]:
            raise ValueError(f"batch_jacobian: f gave {y.shape} for a batch of {x.shape}")
        shape = (*y.shape, *x.shape[1:])
        rows = []
        for k in range(int(np.prod(y.shape[1:]))):
            seed = np.zeros((y.shape[0], int(np.prod(y.shape[1:]))), y.dtype)
            seed[:, k] = 1
            rows += gradients([y], [x], [seed.reshape(y.shape)], True, create_graph)
        if not rows:
            return x._made(np.zeros(shape, x.dtype))
        return operations.reshape(operations.stack(rows, 1), shape)
    ### END SOLUTION


def hessian(f: Callable[..., Any], x: Any, create_graph: bool = False) -> Any:
    """All second derivatives of ``f``, which gives one number: H[i, j] is ∂²f / ∂x[i] ∂x[j], of
    shape ``x.shape + x.shape``.

    - Of several inputs, as in torch.autograd.functional.hessian, it is a tuple of tuples, of which
      [a][b] has the derivatives by input a and then by input b.
    - ValueError, with the shape, if f gives more or less than one number. Other rules as for
      ``jacobian``.

    Limits: f is called once; one backward pass, and one more for each element of the inputs.

    >>> hessian(lambda x: x[0] * x[0] * x[1], Tensor([2.0, 3.0]))
    tensor([[6.0000, 4.0000],
            [4.0000, 0.0000]])
    """

    # TODO: whose Jacobian is it?
    # HINT: a function of the inputs that gives a gradient, with a past.
    ### BEGIN SOLUTION
    # HINT: def gradient(*inputs): y = one_number("hessian", f(*inputs)); gradients([y], inputs, …)
    # HINT: it gives a tuple if x is several tensors, else the only gradient: then jacobian has the
    # right layout.
    def gradient(*inputs: Any) -> Any:
        y = one_number("hessian", f(*inputs))
        found = gradients([y], inputs, create_graph=True)
        return tuple(found) if isinstance(x, (tuple, list)) else found[0]

    return jacobian(gradient, x, create_graph)
    ### END SOLUTION


def gradient_penalty(f: Callable[[Any], Any], x: Tensor, target: float = 1.0) -> Tensor:
    """How far the slopes of ``f`` at the samples ``x`` are from ``target``: a loss for f's weights.

        mean over samples of (‖∂ f(x)[k] / ∂ x[k]‖ - target)²

    ``x`` is (b, …), f(x) is (b,) or (b, 1), and samples do not mix. The norm is that over all
    elements of one sample's gradient. → a tensor without axes, with a past that leads to what f
    used, and to x if that requires a gradient. (I. Gulrajani and others, 2017)

    - Where a sample's gradient is 0 its norm has no slope. 0 stands for it: no gradient is nan.
    - No grad changes. It records inside of ``no_grad`` too.
    - ValueError, with both shapes, if f(x) does not have one number for each sample.

    Limits: f is called once, and there is one backward pass.

    >>> w = Tensor([3.0, 4.0], requires_grad=True)
    >>> gradient_penalty(lambda x: x @ w, Tensor([[1.0, 1.0], [2.0, 0.0]]))
    tensor(16.0000, op=mean)
    """
    # TODO: the gradients of all samples in one pass, with a past; their norms; the mean.
    # HINT: the sum over samples has as its gradient …?
    ### BEGIN SOLUTION
    # HINT: gradients([y], [x], [ones of y's shape], create_graph=True).
    # HINT: reshape to (b, elements of a sample), and norm along dim 1. √(sum of squares) has an
    # infinite slope at 0; day 18's norm knows about it.
    with enable_grad():
        (x,) = opened(x, True)
        y = f(x)
        if not x.shape or y.shape not in ((x.shape[0],), (x.shape[0], 1)):
            raise ValueError(f"gradient_penalty: f gave {y.shape} for samples of {x.shape}")
        (slopes,) = gradients([y], [x], [np.ones(y.shape)], create_graph=True)
        rows = slopes.reshape(x.shape[0], int(np.prod(x.shape[1:])))
        return ((rows.norm(2, 1) - target) ** 2).mean()
    ### END SOLUTION


class Tensor(day26.Tensor):
    """Day 26's Tensor, with today's operations."""

    __slots__ = ()


register("tanh", Tanh, Tensor)


def test_functions() -> None:
    x = Tensor([0.5], requires_grad=True)
    y = Tanh.apply(x)
    (first,) = grad(y, x, create_graph=True)
    (second,) = grad(first, x)
    assert abs(second.item() + 2 * y.item() * first.item()) < 1e-6
    assert rms_norm(Tensor([[3.0, 3.0, -3.0]]), eps=0.0).tolist() == [[1.0, 1.0, -1.0]]


def test_derivatives() -> None:
    found = derivatives(lambda x: x.exp(), Tensor([0.0, 0.0]), 5)
    assert [y.tolist() for y in found] == [[1.0, 1.0]] * 6


def test_products_with_the_hessian() -> None:
    value, product = hvp(lambda a, b: (a * b).sum(), (Tensor([2.0]), Tensor([3.0])),
                         (Tensor([1.0]), Tensor([10.0])))  # fmt: skip
    assert value.item() == 6.0
    assert [p.tolist() for p in product] == [[10.0], [1.0]]


def test_jacobians() -> None:
    x = Tensor([[1.0, 2.0], [3.0, 4.0]])
    whole = jacobian(lambda x: (x * x).sum(1), x)
    assert whole.shape == (2, 2, 2)
    rows = batch_jacobian(lambda x: (x * x).sum(1), x)
    assert rows.tolist() == [[2.0, 4.0], [6.0, 8.0]]
    assert [whole[i, i].tolist() for i in range(2)] == rows.tolist()


def test_hessian() -> None:
    found = hessian(lambda x: (x * x).sum() * x[0], Tensor([1.0, 2.0]))
    assert found.tolist() == [[6.0, 4.0], [4.0, 2.0]]


def test_gradient_penalty() -> None:
    w = Tensor([3.0, 4.0], requires_grad=True)
    gradient_penalty(lambda x: x @ w, Tensor([[1.0, 1.0]])).backward()
    assert w.grad is not None
    close = [abs(g - right) < 1e-5 for g, right in zip(w.grad.tolist(), (4.8, 6.4), strict=True)]
    assert all(close)


if __name__ == "__main__":
    from harness import main

    main(__file__)
