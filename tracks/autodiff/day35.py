"""
Day 35: The library
===================
Estimated time: 3 hours
Prerequisites: Day 29 to Day 34
Lesson: lessons/day35.md

Learning objectives:
- Print a tensor so that its size, its precision and its order of magnitude are seen at once
- Write attention: softmax over what may be seen, many heads, and masks of both kinds
- Build a residual network and a GPT of parts with torch's names, and train both
- Run the same models on torch, by changing one import

Everything is joined here. From the bottom to the top:

    operations, engine (15-28)          Tensor, no_grad
    modules, layers, losses (29-33)     nn, functional        tracks/autodiff/nn.py, functional.py
    optimisers, schedules (31, 32)      optim                 tracks/autodiff/optim.py
    loading, training, files (34)       data                  tracks/autodiff/data.py
    today                               attention, MultiheadAttention, Residual, GPT, train

    python -m tracks.autodiff.day35 digits|gpt train|resume|eval|sample

Hints:
- The models and ``train`` know nothing of numpy: they use what torch has, too.
- What may not be seen gets the score -inf before the softmax, not the weight 0 after it.
- The first lines of ``nn.py`` and ``functional.py`` list what there is.

Resources:
- A. Vaswani and others, Attention is all you need, 2017: https://arxiv.org/abs/1706.03762
- K. He and others, Deep residual learning, 2015: https://arxiv.org/abs/1512.03385
- A. Radford and others, Language models are unsupervised multitask learners, 2019 (GPT-2)
- torch.nn.MultiheadAttention:
  https://docs.pytorch.org/docs/stable/generated/torch.nn.MultiheadAttention.html
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from tracks.autodiff import data, functional, nn, optim
from tracks.autodiff import operations as ops
from tracks.autodiff.day26 import enable_grad, no_grad
from tracks.autodiff.day28 import Tensor
from tracks.autodiff.day30 import manual_seed

__all__ = ["Tensor", "data", "enable_grad", "functional", "manual_seed", "nn", "no_grad", "optim"]


# -- tensors that print well -------------------------------------------------------------------

DIGITS, EDGE, MANY, LINE = 4, 3, 1000, 80
"""Digits after the point; elements at each end of an axis that is cut; elements from which on axes
are cut; characters of a line."""


def cut(array: np.ndarray) -> np.ndarray:
    """Given: the elements that are shown of a large array: EDGE at both ends of a longer axis."""
    for axis, n in enumerate(array.shape):
        if n > 2 * EDGE:
            array = np.take(array, [*range(EDGE), *range(n - EDGE, n)], axis)
    return array


def formatter(array: np.ndarray) -> tuple[Callable[[Any], str], int]:
    """How the elements of ``array`` are written: a function of one Python number, and a width.

    Integers and bools: ``str``. Of floats, the elements that are finite and not 0 decide:

    - whole, if all of them are (or there are none): "3.", without a digit after the point;
    - scientific, "1.2346e-05", with DIGITS digits, if the largest size is more than 1000 times the
      smallest, or above 1e8, or the smallest is below 1e-4. That holds for whole ones, too;
    - else fixed, "0.1235", with DIGITS digits.

    The width is that of the widest text, 1 if there is none. Floats that are 0, inf or nan do not
    count for it; they are written in the same way, inf and nan as "inf", "-inf", "nan" without a
    point. Every text has blanks before it up to the width; one that is wider stays as it is.

    The array is of any shape and dtype that a Tensor has. This is torch's rule.

    >>> write, width = formatter(np.array([0.5, -20.0, 0.0]))
    >>> write(0.5), write(-20.0), write(0.0), width
    ('  0.5000', '-20.0000', '  0.0000', 8)
    """
    # TODO: choose one of the ways to write; then the width.
    # HINT: which elements may not decide, and what if no others are left?
    raise NotImplementedError("formatter")


def elements(array: np.ndarray, indent: int = 7) -> str:
    """The elements in brackets, in lines, as torch prints them after ``indent`` characters.

    - A 0-d array: the element alone. No elements: "[]", whatever the shape.
    - An array of more than MANY elements is cut (``cut``): only what is shown decides how it is
      written, and " ..." stands among the elements of a row, "..." among rows, where some are
      left out.
    - A row is a bracket with elements between ", ". As many are on a line as fit into
      LINE - indent characters when each takes the width of ``formatter`` and 2, at least one
      (here indent is that of the row's own bracket); the
      next line of the row begins under the first element, and the line before ends in ",".
      The bracket of a row in d brackets is at ``indent`` + d.
    - Between parts with k axes: a comma and k line ends (a blank line between matrices).

    >>> print(elements(np.array([[1.0, 20.0], [3.5, 4.0]]), indent=0))
    [[ 1.0000, 20.0000],
     [ 3.5000,  4.0000]]
    """
    # TODO: a function that writes a part with an indent, and calls itself for its parts.
    # HINT: a bracket more is one character more before everything that is in it.
    raise NotImplementedError("elements")


def print_as_torch() -> None:
    """Given: from now on tensors print with ``elements``."""
    before = Tensor.__repr__

    def __repr__(x: Tensor) -> str:
        try:
            texts = [elements(x.data)]
        except NotImplementedError:
            return before(x)
        if not x.data.size and x.ndim != 1:
            texts.append(f"size={x.shape}")
        usual = x.dtype == np.float32 or (x.data.size and x.dtype in (np.int64, np.bool_))
        texts += [] if usual else [f"dtype={x.dtype.name}"]
        return f"tensor({', '.join([*texts, *x._notes()])})"

    Tensor.__repr__ = __repr__  # type: ignore[method-assign]


print_as_torch()


# -- attention ---------------------------------------------------------------------------------


def attention_weights(
    query: Tensor,
    key: Tensor,
    attn_mask: Tensor | None = None,
    is_causal: bool = False,
    scale: float | None = None,
) -> Tensor:
    """How much each query looks at each key: softmax(query · keyᵀ · scale), over the keys.

    Args:
        query: (..., L, E)
        key: (..., S, E), of the same dtype; the leading axes broadcast
        attn_mask: broadcasts to the scores (..., L, S). Of bools: True means that it may be seen.
            Of floats: is added to the scores, and may require a gradient
        is_causal: query i sees keys 0 to i alone, counted from the first of both
        scale: 1/√E unless given

    → (..., L, S). A row is 0 throughout where nothing may be seen (all its scores are -inf), and no
    gradient comes from there; each other row has the sum 1. Gradients to query, key and a float
    mask; they can be differentiated again.

    ValueError, naming attn_mask and is_causal, if both are given; naming attention_weights and both
    shapes, if query and key have fewer than two axes or another E.

    >>> one = Tensor([[1.0], [1.0]])
    >>> attention_weights(one, one, is_causal=True).tolist()
    [[1.0, 0.0], [0.5, 0.5]]
    """
    # TODO: check; scores; mask; softmax; rows that see nothing.
    # HINT: what is the softmax of a row of -inf, and what comes back through it?
    raise NotImplementedError("attention_weights")


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
) -> Tensor:
    """Given: the mean of the values (..., S, Ev) that each query sees, by its weights."""
    weights = attention_weights(query, key, attn_mask, is_causal, scale)
    return functional.dropout(weights, dropout_p) @ value


def additive(mask: Tensor, dtype: Any) -> Tensor:
    """Given: what a mask of MultiheadAttention adds to the scores: -inf where it is True."""
    if mask.dtype != np.bool_:
        return mask
    return mask._made(np.where(mask.data, -np.inf, 0.0).astype(dtype))


class MultiheadAttention(nn.Module):
    """Attention in ``num_heads`` parts, each with queries, keys and values of its own.

    Parameters, with torch's names, shapes and order:

    - ``in_proj_weight`` (3E, E) and ``in_proj_bias`` (3E,), E = embed_dim: rows 0 to E - 1 make the
      queries, the next E the keys, the last the values. ``xavier_uniform_`` and 0 at first;
    - ``out_proj``: Linear(E, E), whose bias is 0 at first.

    Without ``bias``, in_proj_bias is None (registered), and out_proj has none.

    Head h has the columns h · d to (h + 1) · d - 1 of queries, keys and values, d = E / num_heads.

    ValueError, naming embed_dim and num_heads with their values, if the division has a remainder.

    >>> layer = MultiheadAttention(4, 2, batch_first=True)
    >>> x = Tensor(np.ones((3, 5, 4), np.float32))
    >>> out, weights = layer(x, x, x)
    >>> out.shape, weights.shape
    ((3, 5, 4), (3, 5, 5))
    """

    in_proj_bias: Any

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        *,
        batch_first: bool = False,
    ) -> None:
        super().__init__()
        # TODO: check; four attributes; two parameters and a layer; first values.
        # HINT: register_parameter takes None.
        raise NotImplementedError("MultiheadAttention.__init__")

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """→ (result, weights), as torch's.

        Args:
            query, key, value: (N, L, E), (N, S, E), (N, S, E) with ``batch_first``, else
                (L, N, E) …; or (L, E), (S, E), (S, E) without a batch
            key_padding_mask: (N, S), or (S,) without a batch
            attn_mask: (L, S), or (N · num_heads, L, S), of which the first num_heads belong to the
                first of the batch. In both masks True means here: may *not* be seen. Floats are
                added to the scores
            is_causal: a hint for torch that attn_mask is causal. It changes nothing here

        The result has the shape of query. In training the weights are dropped by ``dropout`` before
        they meet the values. ``weights``: those, (N, L, S), the mean of the heads, or
        (N, num_heads, L, S) without ``average_attn_weights``; without N if there is no batch; None
        unless ``need_weights``. A query that sees nothing has weights of 0 (torch: nan).
        """
        # TODO: (N, L, E) whatever came in; project; heads apart; attend; heads together; out.
        # HINT: (N, L, E) and (N, heads, L, d): which two steps lead from one to the other?
        raise NotImplementedError("MultiheadAttention.forward")

    def extra_repr(self) -> str:
        return f"{self.embed_dim}, {self.num_heads}, dropout={self.dropout}"


def complete() -> None:
    """Given: today's parts take their places in the library."""
    for module, parts in ((functional, [scaled_dot_product_attention]), (nn, [MultiheadAttention])):
        for part in parts:
            setattr(module, part.__name__, part)


complete()


# -- models: with torch's nn they are torch's --------------------------------------------------


class Residual(nn.Module):
    """Two convolutions, and a way around them: relu(body(x) + shortcut(x)) (He and others 2015).

    - ``body``, a Sequential of five: Conv2d from ``inputs`` to ``outputs`` channels with kernel 3,
      ``stride`` and padding 1, BatchNorm2d, ReLU, Conv2d from outputs to outputs with kernel 3 and
      padding 1, BatchNorm2d. The convolutions have no bias: the norm would take it away.
    - ``shortcut``: Identity if neither channels nor size change; else a Sequential of a Conv2d with
      kernel 1 and ``stride``, without a bias, and a BatchNorm2d.

    All first values are those of the layers. Only what torch has as well may be used.

    >>> Residual(2, 4, stride=2)(Tensor(np.ones((1, 2, 8, 8), np.float32))).shape
    (1, 4, 4, 4)
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        # TODO: body and shortcut, in this order.
        # HINT: when can x itself be added to what body gives?
        raise NotImplementedError("Residual.__init__")

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) → (N, outputs, ⌈H / stride⌉, ⌈W / stride⌉)."""
        # TODO: one line.
        # HINT: is the relu before the sum or after it?
        raise NotImplementedError("Residual.forward")


class CNN(nn.Module):
    """Given: images (N, channels, H, W) → scores (N, classes)."""

    def __init__(self, width: int = 16, classes: int = 10, channels: int = 1) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        self.blocks = nn.Sequential(
            Residual(width, width), Residual(width, 2 * width, 2), Residual(2 * width, 4 * width, 2)
        )
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(4 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.pool(self.blocks(self.stem(x))))


class Block(nn.Module):
    """Given: attention and a network for each position, both on a normed copy, both added to x."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attention = nn.MultiheadAttention(dim, heads, dropout, batch_first=True)
        self.norm2 = nn.LayerNorm(dim)
        self.feed_forward = nn.Sequential(
            nn.Linear(dim, 4 * dim), nn.GELU(approximate="tanh"), nn.Linear(4 * dim, dim)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        y = self.norm1(x)
        x = x + self.dropout(self.attention(y, y, y, need_weights=False, attn_mask=mask)[0])
        return x + self.dropout(self.feed_forward(self.norm2(x)))


class GPT(nn.Module):
    """A language model: at each position it scores which token comes next (GPT-2).

    Parts, in this order: ``tokens`` Embedding(vocab, dim), ``positions`` Embedding(context, dim),
    ``dropout``, ``blocks`` (a ModuleList of ``depth`` Blocks), ``norm`` LayerNorm(dim); and the
    buffer ``mask`` (context, context) of floats, which is not saved: 0 where column ≤ row, else
    -inf. ``context`` is an attribute.

    First values: all matrices normal with mean 0 and deviation 0.02; the weights of out_proj and of
    the second Linear in feed_forward, whose results are added to x, have 0.02 / √(2 · depth).
    Biases are 0, the weights of norms 1.

    Only what torch has as well may be used: nn, Tensor of lists, methods that both have.

    >>> GPT(vocab=10, context=8, dim=4, depth=1, heads=2)(Tensor([[3, 1, 4]])).shape
    (1, 3, 10)
    """

    def __init__(
        self, vocab: int, context: int, dim: int, depth: int, heads: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        # TODO: an attribute, five parts, a buffer, first values.
        # HINT: which parameters have two axes, and which two kinds of them write to x?
        raise NotImplementedError("GPT.__init__")

    def forward(self, ids: Tensor) -> Tensor:
        """ids (N, T) → scores (N, T, vocab): the products with the rows of ``tokens``.

        The sum of both embeddings goes through dropout, the blocks, and norm. A block also takes
        the mask (T, T). ValueError, naming T and context, if T is larger.
        """
        # TODO: check; embed; blocks; norm; scores.
        # HINT: positions 0 to T - 1 are rows of a weight.
        raise NotImplementedError("GPT.forward")


def token_loss(scores: Tensor, target: Tensor) -> Tensor:
    """Given: the cross-entropy of scores (..., vocab) for targets (...)."""
    vocab = scores.shape[-1]
    return nn.functional.cross_entropy(scores.reshape(-1, vocab), target.reshape(-1))


# -- training: with torch's tensors it trains them ---------------------------------------------


def train(
    model: Any,
    batches: Iterable[tuple[Any, Any]],
    loss: Callable[[Any, Any], Any],
    optimizer: Any,
    scheduler: Any = None,
    max_norm: float | None = None,
) -> list[float]:
    """One step for each batch (x, y), in training mode. → the losses, Python numbers.

    A step: the gradients of before are forgotten; the gradients of ``loss(model(x), y)`` are
    clipped to the norm ``max_norm`` of all of the model's parameters together, if it is given; the
    optimizer steps; the scheduler steps, if there is one. The loss is of the weights before the
    step. The model stays in training mode.

    Limit: when the next batch is drawn, nothing here holds the graph or the results of the last.

    Only what torch has as well may be used: the same function trains torch's models.

    >>> model = nn.Linear(1, 1)
    >>> x = Tensor([[1.0], [2.0]])
    >>> losses = train(model, [(x, x * 3)] * 200, nn.MSELoss(), optim.SGD(model.parameters(), 0.1))
    >>> losses[-1] < 1e-3
    True
    """
    # TODO: a loop over the batches.
    # HINT: which order do the five calls have, and which of them may be left out?
    raise NotImplementedError("train")


def evaluate(
    model: Any, batches: Iterable[tuple[Any, Any]], loss: Callable[[Any, Any], Any]
) -> tuple[float, float]:
    """Given: the mean loss and the accuracy over all targets, in eval mode; on both libraries, too.

    ``loss(model(x), y)`` is a mean over y.numel() targets. Each part of the model has the mode of
    before afterwards.
    """
    modes = [(part, part.training) for part in model.modules()]
    total, right, count = 0.0, 0, 0
    model.eval()
    try:
        with no_grad():
            for x, y in batches:
                scores = model(x)
                total += loss(scores, y).item() * y.numel()
                right += (scores.argmax(-1) == y).sum().item()
                count += y.numel()
    finally:
        for part, mode in modes:
            part.training = mode
    return total / count, right / count


def test_prints_as_torch() -> None:
    assert elements(np.array([1.0, 2.0])) == "[1., 2.]"
    assert elements(np.array([1.5, 1e-6])) == "[1.5000e+00, 1.0000e-06]"
    assert elements(np.arange(2000)) == "[   0,    1,    2,  ..., 1997, 1998, 1999]"


def test_attention_sees_what_it_may() -> None:
    x = Tensor(np.ones((3, 2)))
    weights = attention_weights(x, x, Tensor([[True, True, False]] * 2 + [[False] * 3]))
    assert weights.tolist() == [[0.5, 0.5, 0.0], [0.5, 0.5, 0.0], [0.0, 0.0, 0.0]]


def test_heads() -> None:
    layer = MultiheadAttention(4, 2, batch_first=True)
    x = Tensor(np.arange(24.0, dtype=np.float32).reshape(2, 3, 4))
    out, weights = layer(x, x, x, average_attn_weights=False)
    assert out.shape == (2, 3, 4) and weights.shape == (2, 2, 3, 3)
    assert np.allclose(weights.data.sum(-1), 1)


def test_residual() -> None:
    x = Tensor(np.ones((2, 3, 8, 8), np.float32))
    assert Residual(3, 3)(x).shape == (2, 3, 8, 8)
    assert CNN(width=4, channels=3)(x).shape == (2, 10)


def test_gpt_does_not_see_the_future() -> None:
    model = GPT(vocab=10, context=8, dim=8, depth=2, heads=2)
    ids = Tensor([[3, 1, 4, 1]])
    assert np.allclose(model(ids).data[:, :2], model(ids[:, :2]).data, atol=1e-6)


def test_learns_a_line() -> None:
    model, x = nn.Linear(1, 1), Tensor([[1.0], [2.0], [3.0]])
    losses = train(model, [(x, x * 2)] * 300, nn.MSELoss(), optim.SGD(model.parameters(), 0.05))
    assert losses[-1] < 0.01 < losses[0]


if __name__ == "__main__":
    import sys

    if len(sys.argv) > 1:
        from harness import days_of

        days_of(__file__)  # an earlier day that is not finished is its reference in the program
        from tracks.autodiff.programs import main as program

        program()
    else:
        from harness import main

        main(__file__)
