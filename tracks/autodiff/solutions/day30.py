"""
Day 30: Layers
==============
Estimated time: 2-3 hours
Prerequisites: Day 22 (Function), Day 23 (context), Day 26 (modes and mutation),
  Day 27 (higher order), Day 29 (Module and Parameter)
Lesson: lessons/day30.md

Learning objectives:
- Fill weights so that a signal keeps its size on the way through many layers
- Write layers as functions of tensors, and modules that own what the functions need
- Normalise with one node that keeps one array, and whose backward can be differentiated again
- Keep running statistics, which are saved and never trained

A layer is two things: a function without a memory, and a module that remembers its weights.

    Linear       weight, bias                       ──> linear(x, weight, bias)
    Embedding    weight                             ──> embedding(ids, weight)
    LayerNorm    weight, bias                       ──> layer_norm(x, …)   over the last axes
    BatchNorm    weight, bias, running_mean, …      ──> batch_norm(x, …)   over all axes but 1
    Dropout      p, training                        ──> dropout(x, p, training)

            Normalize: x ──> (x - mean) / √(var + eps), mean, var       is in both norms

Hints:
- Names, shapes and first values of parameters are torch's, so that its files fit.
- What a backward needs is decided by its formula: look for what is there already.
- A running statistic is changed in place, and no graph knows of it.

Resources:
- X. Glorot, Y. Bengio, Understanding the difficulty of training deep feedforward neural networks,
  2010: https://proceedings.mlr.press/v9/glorot10a.html
- K. He and others, Delving deep into rectifiers, 2015: https://arxiv.org/abs/1502.01852
- S. Ioffe, C. Szegedy, Batch normalization, 2015: https://arxiv.org/abs/1502.03167
- J. Ba, J. Kiros, G. Hinton, Layer normalization, 2016: https://arxiv.org/abs/1607.06450
- N. Srivastava and others, Dropout, 2014: https://jmlr.org/papers/v15/srivastava14a.html
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np

from tracks.autodiff import day23
from tracks.autodiff import operations as ops
from tracks.autodiff.day16 import axis_of
from tracks.autodiff.day18 import count_of, needs_floats
from tracks.autodiff.day22 import Function, to
from tracks.autodiff.day26 import no_grad, write_
from tracks.autodiff.day29 import Module, Parameter, Tensor

T = TypeVar("T", bound=Tensor)


# -- random numbers ----------------------------------------------------------------------------

_generator = np.random.default_rng()


def manual_seed(seed: int) -> np.random.Generator:
    """Begin anew: what is drawn from now on, by layers and initialisers, depends on ``seed``."""
    global _generator
    _generator = np.random.default_rng(seed)
    return _generator


def generator() -> np.random.Generator:
    """Where all random numbers of this day come from."""
    return _generator


# -- first values ------------------------------------------------------------------------------


def fill(x: T, values: Any) -> T:
    """Write ``values`` into x, in place, and count it; no graph knows of it. → x itself."""
    with no_grad():
        write_("fill", x, values)
    return x


def uniform_(tensor: T, a: float = 0.0, b: float = 1.0) -> T:
    """Numbers that lie anywhere from a to b with the same chance, independent of each other."""
    return fill(tensor, generator().uniform(a, b, tensor.shape))


def normal_(tensor: T, mean: float = 0.0, std: float = 1.0) -> T:
    """Normal numbers with this mean and standard deviation, independent of each other."""
    return fill(tensor, generator().normal(mean, std, tensor.shape))


def constant_(tensor: T, val: float) -> T:
    return fill(tensor, val)


def zeros_(tensor: T) -> T:
    return fill(tensor, 0)


def ones_(tensor: T) -> T:
    return fill(tensor, 1)


def fan_in_and_fan_out(tensor: Tensor) -> tuple[int, int]:
    """How many numbers come into one output of a weight, and into how many outputs one number goes:
    two ints.

    A weight is (out, in) for a matrix product, and (out, in, *kernel) for a convolution: there an
    output gathers all places of the kernel, and an input reaches as many outputs.
    ValueError, naming the shape, for fewer than two axes.

    >>> fan_in_and_fan_out(Tensor(np.zeros((8, 3, 5, 5))))
    (75, 200)
    """
    # TODO: the kernel's places, times either side.
    # HINT: how large is a kernel without axes?
    ### BEGIN SOLUTION
    # HINT: math.prod of nothing is 1.
    # HINT: out, in_, *kernel = tensor.shape, if there are two axes.
    if tensor.ndim < 2:
        raise ValueError(f"fan_in_and_fan_out: a weight has two axes or more, not {tensor.shape}")
    out, in_, *kernel = tensor.shape
    return in_ * math.prod(kernel), out * math.prod(kernel)
    ### END SOLUTION


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """By how much a weight has to make up for what ``nonlinearity`` takes away. torch's numbers.

    ``param``: the slope below zero of "leaky_relu", 0.01 unless given.
    """
    if nonlinearity in ("linear", "conv1d", "conv2d", "conv3d", "sigmoid"):
        return 1.0
    if nonlinearity == "tanh":
        return 5 / 3
    if nonlinearity == "relu":
        return math.sqrt(2)
    if nonlinearity == "leaky_relu":
        return math.sqrt(2 / (1 + (0.01 if param is None else param) ** 2))
    if nonlinearity == "selu":
        return 3 / 4
    raise ValueError(f"calculate_gain: no nonlinearity is called {nonlinearity!r}")


def xavier_uniform_(tensor: T, gain: float = 1.0) -> T:
    """Fill with uniform numbers from -b to b, b = gain · √(6 / (fan_in + fan_out)). Of all four:

    - in place, in any dtype of floats and any strides; the tensor itself is given back, and the
      change is counted. A parameter may be filled: nothing is recorded.
    - all random numbers come from ``generator()``
    - fewer than two axes: ``fan_in_and_fan_out`` refuses them, elements or none. Any other tensor
      without elements is left as it is.

    Glorot and Bengio 2010. The variance is b² / 3: that of ``xavier_normal_``.

    >>> w = xavier_uniform_(Tensor(np.zeros((300, 300))))
    >>> bool(np.abs(w.data).max() <= 0.1)
    True
    """
    # TODO: the bound; fill.
    # HINT: which given function draws uniform numbers?
    ### BEGIN SOLUTION
    # HINT: fan_in + fan_out may be 0 where there is nothing to fill.
    # HINT: uniform_(tensor, -b, b)
    both = sum(fan_in_and_fan_out(tensor))
    b = gain * math.sqrt(6 / max(both, 1))
    return uniform_(tensor, -b, b)
    ### END SOLUTION


def xavier_normal_(tensor: T, gain: float = 1.0) -> T:
    """Fill with normal numbers of mean 0 and std gain · √(2 / (fan_in + fan_out)).

    >>> xavier_normal_(Tensor(np.zeros((2, 3)))).shape
    (2, 3)
    """
    # TODO: the deviation; fill.
    # HINT: normal_ takes the standard deviation, not the variance.
    ### BEGIN SOLUTION
    # HINT: like xavier_uniform_, with 2 in the place of 6.
    # HINT: normal_(tensor, 0.0, std)
    both = sum(fan_in_and_fan_out(tensor))
    return normal_(tensor, 0.0, gain * math.sqrt(2 / max(both, 1)))
    ### END SOLUTION


def fan_of(tensor: Tensor, mode: str) -> int:
    """The fan that ``mode`` names, at least 1."""
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"no mode is called {mode!r}: fan_in or fan_out")
    return max(fan_in_and_fan_out(tensor)[mode == "fan_out"], 1)


def kaiming_uniform_(
    tensor: T, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu"
) -> T:
    """Fill with uniform numbers from -b to b, b = √3 · gain / √fan.

    ``fan`` is what ``fan_of(tensor, mode)`` gives, and ``gain`` is that of ``calculate_gain`` for
    ``nonlinearity`` and ``a``, the slope below zero: the default, 0, is that of relu.
    He and others 2015.

    >>> w = kaiming_uniform_(Tensor(np.zeros((10, 600))))
    >>> bool(np.abs(w.data).max() <= 0.1)
    True
    """
    # TODO: gain, fan, bound; fill.
    # HINT: a has another default here than in calculate_gain.
    ### BEGIN SOLUTION
    # HINT: calculate_gain(nonlinearity, a) / math.sqrt(fan) is the standard deviation.
    # HINT: Uniform numbers up to ±b have the variance b² / 3.
    std = calculate_gain(nonlinearity, a) / math.sqrt(fan_of(tensor, mode))
    return uniform_(tensor, -math.sqrt(3) * std, math.sqrt(3) * std)
    ### END SOLUTION


def kaiming_normal_(
    tensor: T, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu"
) -> T:
    """Fill with normal numbers of mean 0 and std gain / √fan, as of ``kaiming_uniform_``.

    >>> kaiming_normal_(Tensor(np.zeros((2, 3))), mode="fan_out").shape
    (2, 3)
    """
    # TODO: the deviation; fill.
    # HINT: no √3 here. Why?
    ### BEGIN SOLUTION
    # HINT: the same std as in kaiming_uniform_.
    # HINT: normal_(tensor, 0.0, std)
    std = calculate_gain(nonlinearity, a) / math.sqrt(fan_of(tensor, mode))
    return normal_(tensor, 0.0, std)
    ### END SOLUTION


# -- linear ------------------------------------------------------------------------------------


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x @ weight.T + bias: x (..., in), weight (out, in), bias (out,) or None, give (..., out).

    - Any number of axes in front, also none, also of size 0; any strides. All of one dtype of
      floats: TypeError, naming ``linear`` and the dtypes, for others.
    - ValueError, naming ``linear`` and the two shapes, if the last axis of x is not that of the
      weight, the weight has not two axes, or the bias is not (out,): a bias of (1,) would
      broadcast without a word.

    Limits: as of day 23's ``Linear``, the graph keeps x only if the weight needs a gradient, the
    weight only if x does, and neither for the bias. A forward needs at its peak, beside the result,
    at most 2 times the bytes of x: no array of all (…, out, in) products.

    >>> linear(Tensor([1.0, 2.0]), Tensor([[1.0, 0.0], [1.0, 1.0]]), Tensor([0.5, 0.5])).tolist()
    [1.5, 3.5]
    """
    # TODO: check; all axes in front as one; the product; the axes back.
    # HINT: day 23 has a Function for x (n, in).
    ### BEGIN SOLUTION
    # HINT: x of two axes goes there as it is. Else reshape it to (n, in), where n is the product of
    # the axes in front: -1 does not know it where the last axis is 0.
    # HINT: day23.Linear.apply(rows, weight, bias).reshape(*x.shape[:-1], out)
    tensors = [t for t in (x, weight, bias) if t is not None]
    if x.dtype.kind != "f" or any(t.dtype != x.dtype for t in tensors):
        raise TypeError(f"linear: of {', '.join(str(t.dtype) for t in tensors)}")
    if x.ndim < 1 or weight.ndim != 2 or x.shape[-1] != weight.shape[1]:
        raise ValueError(f"linear: x is {x.shape}, and the weight {weight.shape}")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"linear: the bias is {bias.shape}, and the weight {weight.shape}")
    if x.ndim == 2:
        return day23.Linear.apply(x, weight, bias)
    front = x.shape[:-1]
    rows = ops.reshape(x, (math.prod(front), x.shape[-1]))
    return ops.reshape(day23.Linear.apply(rows, weight, bias), (*front, weight.shape[0]))
    ### END SOLUTION


class Linear(Module):
    """``linear`` with a weight and a bias of its own.

    - ``weight`` (out_features, in_features) and ``bias`` (out_features,) are parameters of float32.
      With ``bias=False`` the attribute is there, and None.
    - At first both hold uniform numbers from -b to b with b = 1 / √in_features (torch says so as
      ``kaiming_uniform_`` with a = √5, which is the same). With in_features 0 the bias is zeros.

    >>> layer = Linear(3, 2)
    >>> layer(Tensor([[1.0, 2.0, 3.0]])).shape, [name for name, _ in layer.named_parameters()]
    ((1, 2), ['weight', 'bias'])
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        # TODO: two parameters, of any values; then reset_parameters.
        # HINT: how does the name of a parameter that is None stay known?
        ### BEGIN SOLUTION
        # HINT: np.zeros(shape, np.float32) has the dtype that is wanted.
        # HINT: self.register_parameter("bias", Parameter(…) if bias else None)
        self.weight = Parameter(np.zeros((out_features, in_features), np.float32))
        zeros = np.zeros(out_features, np.float32)
        self.register_parameter("bias", Parameter(zeros) if bias else None)
        self.reset_parameters()
        ### END SOLUTION

    def reset_parameters(self) -> None:
        """Draw the parameters anew, in place."""
        # TODO: the bound, and two fillings.
        # HINT: for kaiming_uniform_ with a = √5: what is √3 · √(2 / (1 + 5))?
        ### BEGIN SOLUTION
        # HINT: b = 1 / math.sqrt(self.in_features), or 0 where there is no input.
        # HINT: uniform_(self.weight, -b, b), and the same for the bias if there is one.
        b = 1 / math.sqrt(self.in_features) if self.in_features else 0.0
        uniform_(self.weight, -b, b)
        if self.bias is not None:
            uniform_(self.bias, -b, b)
        ### END SOLUTION

    def forward(self, input: Tensor) -> Tensor:
        return linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}"
        )


# -- dropout -----------------------------------------------------------------------------------


def dropout(x: Tensor, p: float = 0.5, training: bool = True) -> Tensor:
    """Set each element to zero with probability ``p``, and divide the others by 1 - p.

    - Every element is decided for itself, anew in each call, by ``generator()``.
    - Unless ``training``, and for p = 0, x itself is the result, and nothing is drawn.
    - What is dropped is zero whatever it was, inf and nan too, and gets the gradient 0; what is
      kept gets the gradient divided by 1 - p. With p = 1 all is zero, and still a result of x.
    - x is of floats, any shape and strides. TypeError, naming ``dropout`` and the dtype, for other
      numbers. ValueError, naming p, if it is not in [0, 1].

    Limit: the graph keeps one byte for each element, and 64 more (``saved_bytes`` of day 23): not
    x, and no mask of floats.

    Srivastava and others 2014.

    >>> sorted(set(dropout(Tensor(np.ones(100)), 0.75).tolist()))
    [0.0, 4.0]
    """
    # TODO: refuse; leave alone; choose, and scale.
    # HINT: what is 0 · inf? Which operation chooses between two numbers?
    ### BEGIN SOLUTION
    # HINT: keep = generator().random(x.shape) >= p is a mask of bools.
    # HINT: ops.where(keep as a Tensor, x, 0) keeps only its condition, and a product with a number
    # keeps only the number. For p = 1 any finite number will do.
    needs_floats("dropout", x)
    if not 0 <= p <= 1:
        raise ValueError(f"dropout: p is {p}, and a probability lies between 0 and 1")
    if not training or p == 0:
        return x
    keep = ops.constant(x, generator().random(x.shape) >= p)
    return ops.where(keep, x, 0) * (1 / (1 - p) if p < 1 else 0.0)
    ### END SOLUTION


class Dropout(Module):
    """``dropout`` that the module's mode switches off. Given."""

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"Dropout: p is {p}, and a probability lies between 0 and 1")
        self.p = p

    def forward(self, input: Tensor) -> Tensor:
        return dropout(input, self.p, self.training)

    def extra_repr(self) -> str:
        return f"p={self.p}"


# -- embedding ---------------------------------------------------------------------------------


def row_of(padding_idx: int, rows: int) -> int:
    """``padding_idx`` counted from 0; a negative one counts from the end."""
    if not -rows <= padding_idx < rows:
        raise ValueError(f"embedding: padding_idx is {padding_idx}, and there are {rows} rows")
    return padding_idx % rows


def embedding(ids: Tensor, weight: Tensor, padding_idx: int | None = None) -> Tensor:
    """The rows of the table ``weight`` (rows, dim) that ``ids`` names: ids (...) gives (..., dim).

    - ids are int32 or int64, of any shape, () too. A row that is named twice gets the sum of both
      gradients.
    - The row ``padding_idx`` is looked up like any other, and gets no gradient (exactly 0, whatever
      comes in). A row of inf or nan is looked up as it is. A negative ``padding_idx`` counts from
      the end; ``row_of`` refuses what is no row.
    - IndexError, naming the id and the number of rows, for an id that is no row; a negative id does
      not count from the end. TypeError, naming the dtype, unless ids are signed integers.
      ValueError, naming the shape, if the weight has not two axes.

    Limit: the forward makes nothing of the size of the table.

    >>> embedding(Tensor([2, 0]), Tensor([[1.0], [2.0], [3.0]])).tolist()
    [[3.0], [1.0]]
    """
    # TODO: check the ids; read the rows; cut the padding off.
    # HINT: what does weight[-1] give? And what is a row that no gradient goes through?
    ### BEGIN SOLUTION
    # HINT: weight[ids] reads all of them, and its backward adds up.
    # HINT: where an id is the padding's, take the same rows detached: ops.where(mask,
    # rows.detach(), rows), with an axis of 1 at the end of the mask.
    if ids.dtype.kind != "i":
        raise TypeError(f"embedding: ids are integers, not {ids.dtype}")
    if weight.ndim != 2:
        raise ValueError(f"embedding: a table has two axes, and the weight is {weight.shape}")
    count = weight.shape[0]
    wrong = ids.data[(ids.data < 0) | (ids.data >= count)]
    if wrong.size:
        raise IndexError(f"embedding: the id {wrong[0]}, and a table of {count} rows")
    found = weight[ids]
    if padding_idx is None:
        return found
    padding = ops.constant(weight, ids.data[..., None] == row_of(padding_idx, count))
    return ops.where(padding, found.detach(), found)
    ### END SOLUTION


class Embedding(Module):
    """``embedding`` with a table of its own, at first standard normal, its padding row 0. Given."""

    def __init__(
        self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None
    ) -> None:
        super().__init__()
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.padding_idx = None if padding_idx is None else row_of(padding_idx, num_embeddings)
        self.weight = Parameter(np.zeros((num_embeddings, embedding_dim), np.float32))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        normal_(self.weight)
        if self.padding_idx is not None:
            with no_grad():
                self.weight[self.padding_idx] = 0

    def forward(self, input: Tensor) -> Tensor:
        return embedding(input, self.weight, self.padding_idx)

    def extra_repr(self) -> str:
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"


# -- norms -------------------------------------------------------------------------------------


class Normalize(Function):
    """y = (x - mean) / √(var + eps), with the mean and variance over ``axes``: y, mean and var.

    x is of float32 or float64. mean and var have the axes with length 1; var is the mean of
    (x - mean)², and rows near 10,000 with a spread of 1 come out right in float32. Over no elements
    mean and var are 0. numpy must not warn, not even where x has an inf or a nan.

    Shares, with n elements along the axes, ⟨·⟩ their mean, r = √(var + eps), and the gradients
    g of y, a of mean, b of var, of which each may be None if nothing came there
    (``set_materialize_grads``)::

        (g - ⟨g⟩ - y ⟨g y⟩) / r   +   a / n   +   b · 2 y r / n

    It is written with Tensor operations on saved tensors, so that it can be differentiated itself.

    Limit: the graph keeps y and var, and not x.

    >>> y, mean, var = Normalize.apply(Tensor([1.0, 3.0]), axes=(0,), eps=0.0)
    >>> y.tolist(), mean.tolist(), var.tolist()
    ([-1.0, 1.0], [2.0], [1.0])
    """

    @staticmethod
    def forward(
        ctx: Any, x: np.ndarray, axes: tuple[int, ...], eps: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        # TODO: mean, distance, variance, quotient; save what the formula has in it.
        # HINT: why not mean(x²) - mean(x)²?
        ### BEGIN SOLUTION
        # HINT: n = max(count_of(x.shape, axes), 1); x.sum(axes, keepdims=True) / n is the mean.
        # HINT: far = x - mean; the mean of far * far is the variance.
        # HINT: ctx.axes, ctx.eps and ctx.n are attributes; y and var are saved.
        ctx.set_materialize_grads(False)
        ctx.axes, ctx.eps, ctx.n = axes, eps, max(count_of(x.shape, axes), 1)
        with np.errstate(all="ignore"):
            mean = x.sum(axes, keepdims=True) / ctx.n
            far = x - mean
            var = (far * far).sum(axes, keepdims=True) / ctx.n
            y = far / np.sqrt(var + x.dtype.type(eps))
        ctx.save_for_backward(y, var)
        return y, mean, var
        ### END SOLUTION

    @staticmethod
    def backward(ctx: Any, g: Any, of_mean: Any, of_var: Any) -> Tensor:
        # TODO: three terms, those that there are.
        # HINT: var is a Tensor with a past: what must r be for the second derivative?
        ### BEGIN SOLUTION
        # HINT: root = (var + ctx.eps).sqrt(), and a mean is t.sum(ctx.axes, keepdim=True) / ctx.n.
        # HINT: ops.spread(of_mean / ctx.n, y.shape, ctx.axes) has the shape of x.
        # HINT: put the terms in a list and add them up.
        y, var = ctx.saved_tensors
        root = (var + ctx.eps).sqrt()

        def mean(t: Any) -> Any:
            return t.sum(ctx.axes, keepdim=True) / ctx.n

        terms = []
        if g is not None:
            terms.append((g - mean(g) - y * mean(g * y)) / root)
        if of_mean is not None:
            terms.append(ops.spread(of_mean / ctx.n, y.shape, ctx.axes))
        if of_var is not None:
            terms.append(y * (of_var * root * (2 / ctx.n)))
        share = terms[0]
        for term in terms[1:]:
            share = share + term
        return share
        ### END SOLUTION


def check_owned(what: str, shape: Sequence[int], **tensors: Tensor | None) -> None:
    """ValueError, naming ``what`` and both shapes, for a tensor that is not of ``shape``."""
    for name, tensor in tensors.items():
        if tensor is not None and tensor.shape != tuple(shape):
            raise ValueError(f"{what}: {name} is {tensor.shape}, where {tuple(shape)} was due")


def layer_norm(
    x: Tensor,
    normalized_shape: int | Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Bring the last axes of x, those of ``normalized_shape``, to mean 0 and variance 1.

    ``Normalize`` over them, times weight, plus bias, each of the shape normalized_shape or None.

    - x is of floats, any shape that ends in normalized_shape (a number stands for one axis), any
      strides. float16 is computed in float32, parameters included, and rounded once. The result has
      the dtype of x. TypeError, naming ``layer_norm`` and the dtype, if x is not of floats.
    - ValueError, naming ``layer_norm`` and both shapes, if x does not end in normalized_shape, that
      is empty, or weight or bias has another shape.

    Limit: the graph keeps the bytes of x once, besides the weight and what is as small as var.

    >>> layer_norm(Tensor([[1.0, 3.0], [10.0, 30.0]]), 2, eps=0.0).tolist()
    [[-1.0, 1.0], [-1.0, 1.0]]
    """
    # TODO: check; widen; normalise; scale and shift; the dtype of before.
    # HINT: which axes are the last k of x.ndim?
    ### BEGIN SOLUTION
    # HINT: ops.widened(x) is x, or float32 where x is float16.
    # HINT: check_owned is given; to(y, x.dtype) is the last step.
    needs_floats("layer_norm", x)
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    first = x.ndim - len(shape)
    if not shape or first < 0 or x.shape[first:] != shape:
        raise ValueError(f"layer_norm: x is {x.shape}, and normalized_shape {shape}")
    check_owned("layer_norm", shape, weight=weight, bias=bias)
    y = Normalize.apply(ops.widened(x), axes=tuple(range(first, x.ndim)), eps=eps)[0]
    y = y if weight is None else y * weight
    y = y if bias is None else y + bias
    return to(y, x.dtype)
    ### END SOLUTION


class LayerNorm(Module):
    """``layer_norm`` with parameters of its own, at first ones and zeros. Given."""

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
    ) -> None:
        super().__init__()
        one = isinstance(normalized_shape, int)
        self.normalized_shape = (normalized_shape,) if one else tuple(normalized_shape)  # type: ignore[arg-type]
        self.eps, self.elementwise_affine = eps, elementwise_affine
        ones, zeros = (f(self.normalized_shape, np.float32) for f in (np.ones, np.zeros))
        affine, shifted = elementwise_affine, elementwise_affine and bias
        self.register_parameter("weight", Parameter(ones) if affine else None)
        self.register_parameter("bias", Parameter(zeros) if shifted else None)

    def forward(self, input: Tensor) -> Tensor:
        return layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        affine, bias = self.elementwise_affine, self.bias is not None
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={affine}, bias={bias}"


def batch_norm(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Bring every channel of x (N, C, …) to mean 0 and variance 1, over all axes but axis 1.

    The statistics, weight and bias are (C,) or None. Weight and bias act on their channel.

    - ``training``: ``Normalize`` with the statistics of this batch. Those of the two running ones
      that are given move in place by ``momentum``:
      new = (1 - momentum) · old + momentum · batch's. The batch's variance is there divided by
      n - 1, not n (n: elements a channel). No graph knows of it; the change is counted. With n = 0
      nothing moves.
    - Else (x - running_mean) / √(running_var + eps), and nothing moves.
    - x is of floats, any strides; float16, dtypes and the TypeError, naming ``batch_norm``, are as
      in ``layer_norm``.
    - ValueError, naming ``batch_norm`` and the shape of x, for fewer than two axes, and in training
      for n = 1, where nothing can vary; naming both shapes, if one of the four is not (C,); and if
      there is no running statistic to use.

    Limit: in training the graph keeps the bytes of x once, besides what is of the size C.

    >>> x, mean, var = Tensor([[1.0], [3.0]]), Tensor([0.0]), Tensor([1.0])
    >>> batch_norm(x, mean, var, training=True, momentum=0.5, eps=0.0).tolist()
    [[-1.0], [1.0]]
    >>> mean, var
    (tensor([1.0000]), tensor([1.5000]))
    """
    # TODO: check; one of two ways to normalise; scale and shift.
    # HINT: (C,) broadcasts along the last axis. Which shape broadcasts along axis 1?
    ### BEGIN SOLUTION
    # HINT: across = (1, C, 1, …, 1): ops.reshape(t, across) of weight, bias and statistics.
    # HINT: move(running, batch's as an array, momentum) is given.
    # HINT: mean.data.reshape(-1) and var.data.reshape(-1) * (n / (n - 1)) are the batch's.
    needs_floats("batch_norm", x)
    if x.ndim < 2:
        raise ValueError(f"batch_norm: x has two axes or more, not {x.shape}")
    channels = x.shape[1]
    check_owned("batch_norm", (channels,), running_mean=running_mean, running_var=running_var,
                weight=weight, bias=bias)  # fmt: skip
    axes = (0, *range(2, x.ndim))
    across = (1, channels) + (1,) * (x.ndim - 2)
    n = count_of(x.shape, axes)
    if training:
        if n == 1:
            raise ValueError(f"batch_norm: one element a channel in training, of x {x.shape}")
        y, mean, var = Normalize.apply(ops.widened(x), axes=axes, eps=eps)
        if n:
            move(running_mean, mean.data.reshape(-1), momentum)
            move(running_var, var.data.reshape(-1) * (n / (n - 1)), momentum)
    else:
        if running_mean is None or running_var is None:
            raise ValueError("batch_norm: without running statistics it can only be training")
        root = (ops.reshape(running_var, across) + eps).sqrt()
        y = (ops.widened(x) - ops.reshape(running_mean, across)) / root
    y = y if weight is None else y * ops.reshape(weight, across)
    y = y if bias is None else y + ops.reshape(bias, across)
    return to(y, x.dtype)
    ### END SOLUTION


def move(running: Tensor | None, batch: np.ndarray, momentum: float) -> None:
    """Move ``running`` towards the batch's, in place, if there is one."""
    if running is not None:
        fill(running, (1 - momentum) * running.data + momentum * batch)


class BatchNorm(Module):
    """``batch_norm`` with parameters and running statistics of its own; the base of the two below.

    - Parameters ``weight``, at first ones, and ``bias``, zeros; both None unless ``affine``.
    - Buffers ``running_mean``, at first zeros, ``running_var``, ones, and ``num_batches_tracked``,
      0, of int64 and without axes; all None unless ``track_running_stats``.
    - The floats are (num_features,) of float32. Registered in this order, which is torch's.
    """

    ranks: tuple[int, ...] = ()
    """How many axes x may have."""

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
    ) -> None:
        super().__init__()
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        # TODO: two parameters and three buffers, or None.
        # HINT: which of them does an optimiser train, and which does a file hold?
        ### BEGIN SOLUTION
        # HINT: register_parameter and register_buffer take None.
        # HINT: Tensor(0) is an int64 without axes.
        ones, zeros = (f(num_features, np.float32) for f in (np.ones, np.zeros))
        self.register_parameter("weight", Parameter(ones) if affine else None)
        self.register_parameter("bias", Parameter(zeros) if affine else None)
        tracked = track_running_stats
        self.register_buffer("running_mean", Tensor(zeros) if tracked else None)
        self.register_buffer("running_var", Tensor(ones) if tracked else None)
        self.register_buffer("num_batches_tracked", Tensor(0) if tracked else None)
        ### END SOLUTION

    def forward(self, input: Tensor) -> Tensor:
        """- In training mode: the batch's statistics. The running ones move, if there are any, by
          ``momentum``, or, where that is None, by 1 / (batches so far, this one included): then
          they are the plain mean of all batches. ``num_batches_tracked`` counts the batch, in
          place.
        - In eval mode: the running statistics; the batch's, if there are none. Nothing moves.
          ``batch_norm`` takes no None as its momentum: any number will do here.
        - ValueError, naming the shape, if input has a number of axes that is not in ``ranks``. Of
          an input that is refused, here or by ``batch_norm``, nothing has moved or been counted.
        """
        # TODO: check; count; choose statistics and factor; batch_norm.
        # HINT: what does training mean for a module without running statistics?
        ### BEGIN SOLUTION
        # HINT: use_batch = self.training or self.running_mean is None.
        # HINT: count after batch_norm has accepted it; the factor of this batch is 1 / (count + 1).
        # HINT: with no_grad(): self.num_batches_tracked.add_(1)
        if input.ndim not in self.ranks:
            axes = " or ".join(map(str, self.ranks))
            raise ValueError(f"{type(self).__name__}: input of {axes} axes, not {input.shape}")
        tracking = self.training and self.num_batches_tracked is not None
        momentum = self.momentum
        if momentum is None:
            momentum = 1 / (self.num_batches_tracked.item() + 1) if tracking else 0.0
        y = batch_norm(
            input, self.running_mean, self.running_var, self.weight, self.bias,
            self.training or self.running_mean is None, momentum, self.eps,
        )  # fmt: skip
        if tracking:
            with no_grad():
                self.num_batches_tracked.add_(1)
        return y
        ### END SOLUTION

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, "
            f"affine={self.affine}, track_running_stats={self.track_running_stats}"
        )


class BatchNorm1d(BatchNorm):
    """Of x (N, C) or (N, C, L)."""

    ranks = (2, 3)


class BatchNorm2d(BatchNorm):
    """Of x (N, C, H, W)."""

    ranks = (4,)


# -- activations, given ------------------------------------------------------------------------


class ReLU(Module):
    def forward(self, input: Tensor) -> Tensor:
        return input.relu()


class Tanh(Module):
    def forward(self, input: Tensor) -> Tensor:
        return input.tanh()


class Sigmoid(Module):
    def forward(self, input: Tensor) -> Tensor:
        return input.sigmoid()


class SiLU(Module):
    """x · sigmoid(x)."""

    def forward(self, input: Tensor) -> Tensor:
        return input * input.sigmoid()


class GELU(Module):
    """x · Φ(x); with ``approximate="tanh"`` the formula of Hendrycks and Gimpel, 2016."""

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        if approximate not in ("none", "tanh"):
            raise ValueError(f"GELU: approximate is none or tanh, not {approximate!r}")
        self.approximate = approximate

    def forward(self, input: Tensor) -> Tensor:
        if self.approximate == "none":
            return ops.gelu(input)
        inner = (input + input * input * input * 0.044715) * math.sqrt(2 / math.pi)
        return input * (inner.tanh() + 1) * 0.5

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


class Softmax(Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        return input.softmax(self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class Flatten(Module):
    """The axes from ``start_dim`` to ``end_dim`` as one."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, input: Tensor) -> Tensor:
        first, last = (axis_of(d, input.ndim, "Flatten") for d in (self.start_dim, self.end_dim))
        if first > last:
            raise ValueError(f"Flatten: from axis {first} to axis {last} of {input.shape}")
        inner = math.prod(input.shape[first : last + 1])
        return ops.reshape(input, (*input.shape[:first], inner, *input.shape[last + 1 :]))

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


def test_first_values() -> None:
    weight = kaiming_normal_(Parameter(np.zeros((100, 50))))
    assert 0.1 < float(weight.data.std()) < 0.3
    assert fan_in_and_fan_out(weight) == (50, 100)


def test_linear() -> None:
    layer = Linear(3, 2)
    layer.load_state_dict({"weight": np.ones((2, 3)), "bias": np.array([0.0, 1.0])})
    assert layer(Tensor([[1.0, 2.0, 3.0]])).tolist() == [[6.0, 7.0]]


def test_dropout() -> None:
    x = Tensor(np.ones(1000))
    assert set(dropout(x, 0.5).tolist()) == {0.0, 2.0}
    assert dropout(x, 0.5, training=False) is x


def test_embedding() -> None:
    table = Parameter(np.arange(6.0).reshape(3, 2))
    embedding(Tensor([[1, 1], [2, 0]]), table, padding_idx=0).sum().backward()
    assert table.grad.tolist() == [[0.0, 0.0], [2.0, 2.0], [1.0, 1.0]]


def test_norms() -> None:
    x = Tensor([[1.0, 5.0], [3.0, 5.0]])
    assert layer_norm(x, 2, eps=0.0).tolist() == [[-1.0, 1.0], [-1.0, 1.0]]
    layer = BatchNorm1d(2)
    layer(x)
    assert np.allclose(layer.running_mean.data, [0.2, 0.5])
    assert np.allclose(layer.running_var.data, [1.1, 0.9])
    assert layer.num_batches_tracked.item() == 1


if __name__ == "__main__":
    from harness import main

    main(__file__)
