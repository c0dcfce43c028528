"""
Day 20: The transformer block
=============================
Estimated time: 2-3 hours
Prerequisites: Day 18 (multi-head attention), Day 14 (LayerNorm, Dropout), Day 9 (activations)
Lesson: lessons/day20.md

Learning objectives:
- Put attention and a feed-forward network into a block that adds to its input
- Place the norms before or after, and say what that does to the gradient of a deep stack
- Let a decoder read an encoder's output, with a mask for each of its two attentions
- Match torch's own layers number for number, from copied weights

                 norm first (pre-norm)                     norm last (post-norm)

    x ──┬──────────────────────────────── + ──►    x ──┬───────────────── + ──► norm ──►
        └─► norm ─► attention ─► dropout ─┘            └─► attention ─► dropout ─┘

Each block has two such steps, first attention, then the feed-forward network; a decoder's block
has three, with the attention to the encoder's output between them. In the left drawing nothing
stands on the straight line: a gradient runs from the last block to the first unchanged, and every
branch only adds to it.

Hints:
- Write one residual step on paper, for both orders, before you write the blocks.
- What the parts can do already (masks, causal, eval mode) is not done again here.
- The names of the parts are given, since day 21 copies weights by them.

Resources:
- Attention Is All You Need, Vaswani et al. 2017, sections 3.1 and 3.3:
  https://arxiv.org/abs/1706.03762
- On Layer Normalization in the Transformer Architecture, Xiong et al. 2020:
  https://arxiv.org/abs/2002.04745
- Language Models are Unsupervised Multitask Learners (GPT-2, norm first), Radford et al. 2019,
  section 2.3:
  https://cdn.openai.com/better-language-models/language_models_are_unsupervised_multitask_learners.pdf
- nn.TransformerEncoderLayer:
  https://docs.pytorch.org/docs/stable/generated/torch.nn.TransformerEncoderLayer.html
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from tracks.pytorch.day09 import relu
from tracks.pytorch.day14 import Dropout, LayerNorm
from tracks.pytorch.day18 import MultiHeadAttention


def check_features(name: str, x: torch.Tensor, dim: int) -> None:
    """Given: a ValueError unless the argument called ``name`` ends in ``dim`` features."""
    if x.shape[-1] != dim:
        raise ValueError(f"{name} {tuple(x.shape)} does not end in dim {dim}")


class FeedForward(nn.Module):
    """Two linear layers with a bend between them (Vaswani et al. 2017, section 3.3)::

        down_proj(dropout(activation(up_proj(x))))

    Every position is treated alike and for itself.

    Args:
        dim: size of the input and of the result
        hidden: size in between; 4 · dim unless given
        activation: any function of a tensor, element by element
        dropout: the probability
        bias: whether the two projections have one

    ``up_proj`` (dim → hidden) and ``down_proj`` (hidden → dim) are nn.Linear, ``dropout`` is day
    14's Dropout, and ``activation`` is the function.

    forward: ``x`` (..., dim), any strides → (..., dim). An x that does not end in dim is a
    ValueError that names x, its shape and dim (check_features is given). It runs under
    torch.compile(fullgraph=True), as all modules of this day do.

    >>> FeedForward(4)(torch.zeros(2, 3, 4)).shape
    torch.Size([2, 3, 4])
    """

    def __init__(
        self,
        dim: int,
        hidden: int | None = None,
        *,
        activation: Callable[[torch.Tensor], torch.Tensor] = relu,
        dropout: float = 0.0,
        bias: bool = True,
    ) -> None:
        super().__init__()
        # TODO: hidden; the two projections; dropout and activation as attributes.
        # HINT: which of the two layers is the wide one's way in, and which its way out?
        ### BEGIN SOLUTION
        # HINT: nn.Linear(inputs, outputs, bias) makes a projection, Dropout(p) what drops.
        hidden = 4 * dim if hidden is None else hidden
        self.up_proj = nn.Linear(dim, hidden, bias)
        self.activation = activation
        self.dropout = Dropout(dropout)
        self.down_proj = nn.Linear(hidden, dim, bias)
        ### END SOLUTION

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # TODO: check, then the formula.
        # HINT: what does up_proj know about dim?
        ### BEGIN SOLUTION
        # HINT: an nn.Linear has the attribute in_features.
        # HINT: check_features("x", x, self.up_proj.in_features), then four calls in one line.
        check_features("x", x, self.up_proj.in_features)
        hidden = self.dropout(self.activation(self.up_proj(x)))
        return self.down_proj(hidden)
        ### END SOLUTION


class EncoderBlock(nn.Module):
    """Self-attention, then a feed-forward network, each added to what it was given::

        norm_first                                    otherwise (Vaswani et al. 2017)
        x = x + dropout(attention(norm(x)))           x = norm(x + dropout(attention(x)))
        x = x + dropout(feed_forward(norm(x)))        x = norm(x + dropout(feed_forward(x)))

    Args:
        dim, heads: as of MultiHeadAttention
        hidden, activation: as of FeedForward
        dropout: the probability, in all four places: on the weights of attention, inside the
            feed-forward network, and on the result of either
        bias: whether projections and norms have one
        norm_first: where the norms stand
        eps: of the norms

    The parts are ``attention`` (day 18's MultiHeadAttention), ``feed_forward`` (FeedForward),
    ``attention_norm`` and ``feed_forward_norm`` (day 14's LayerNorm) and ``dropout`` (day 14's
    Dropout); ``dim`` and ``norm_first`` are attributes. They are called as modules and in no other
    way, so that a part of another kind can be put in the place of one: RMSNorm for a norm, SwiGLU
    for feed_forward.

    >>> EncoderBlock(dim=8, heads=2)(torch.zeros(3, 5, 8)).shape
    torch.Size([3, 5, 8])
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        hidden: int | None = None,
        *,
        activation: Callable[[torch.Tensor], torch.Tensor] = relu,
        dropout: float = 0.0,
        bias: bool = True,
        norm_first: bool = True,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        # TODO: the two attributes and the five parts.
        # HINT: how many of the options does each part take?
        ### BEGIN SOLUTION
        # HINT: attention takes bias and dropout, feed_forward activation, dropout and bias, a norm
        # eps and bias.
        self.dim, self.norm_first = dim, norm_first
        self.attention_norm = LayerNorm(dim, eps, bias)
        self.attention = MultiHeadAttention(dim, heads, bias=bias, dropout=dropout)
        self.feed_forward_norm = LayerNorm(dim, eps, bias)
        self.feed_forward = FeedForward(
            dim, hidden, activation=activation, dropout=dropout, bias=bias
        )
        self.dropout = Dropout(dropout)
        ### END SOLUTION

    def forward(
        self, x: torch.Tensor, mask: torch.Tensor | None = None, causal: bool = False
    ) -> torch.Tensor:
        """``x`` (..., length, dim), any strides → the same shape and dtype; x is not changed.

        ``mask`` and ``causal`` are MultiHeadAttention's: True = may look. With causal=True this is
        the block of a model that writes text, such as GPT.

        - An x that does not end in dim is a ValueError that names x, its shape and dim.
        - F.scaled_dot_product_attention, nn.MultiheadAttention and torch's transformer layers
          are not called.
        """
        # TODO: check; one order of the norms, then the other.
        # HINT: what is added to: what came into the norm, or what came out?
        ### BEGIN SOLUTION
        # HINT: x = x + ... makes a new tensor; x += ... would change the caller's.
        # HINT: norm first: x + self.dropout(self.attention(self.attention_norm(x), mask=mask,
        # causal=causal)), and the same with feed_forward, which takes no mask.
        check_features("x", x, self.dim)
        if self.norm_first:
            x = x + self.dropout(self.attention(self.attention_norm(x), mask=mask, causal=causal))
            return x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))
        x = self.attention_norm(x + self.dropout(self.attention(x, mask=mask, causal=causal)))
        x = self.feed_forward_norm(x + self.dropout(self.feed_forward(x)))
        return x
        ### END SOLUTION


class DecoderBlock(nn.Module):
    """Self-attention, attention to a ``memory``, and a feed-forward network.

    Arguments, orders of the norms, dropout (in all six places) and attributes are EncoderBlock's,
    with two parts more between attention and feed_forward: ``cross_attention``, whose queries come
    from x and whose keys and values from the memory, and ``cross_norm``. The memory itself is not
    normalised here: it is what an encoder has put out.

    >>> DecoderBlock(dim=8, heads=2)(torch.zeros(3, 5, 8), torch.zeros(3, 7, 8)).shape
    torch.Size([3, 5, 8])
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        hidden: int | None = None,
        *,
        activation: Callable[[torch.Tensor], torch.Tensor] = relu,
        dropout: float = 0.0,
        bias: bool = True,
        norm_first: bool = True,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        # TODO: as in EncoderBlock, and two parts more.
        # HINT: do the two attentions share weights?
        ### BEGIN SOLUTION
        # HINT: cross_attention is a second MultiHeadAttention, cross_norm a third LayerNorm.
        self.dim, self.norm_first = dim, norm_first
        self.attention_norm = LayerNorm(dim, eps, bias)
        self.attention = MultiHeadAttention(dim, heads, bias=bias, dropout=dropout)
        self.cross_norm = LayerNorm(dim, eps, bias)
        self.cross_attention = MultiHeadAttention(dim, heads, bias=bias, dropout=dropout)
        self.feed_forward_norm = LayerNorm(dim, eps, bias)
        self.feed_forward = FeedForward(
            dim, hidden, activation=activation, dropout=dropout, bias=bias
        )
        self.dropout = Dropout(dropout)
        ### END SOLUTION

    def forward(
        self,
        x: torch.Tensor,
        memory: torch.Tensor,
        mask: torch.Tensor | None = None,
        memory_mask: torch.Tensor | None = None,
        causal: bool = True,
    ) -> torch.Tensor:
        """``x`` (..., T, dim), ``memory`` (..., S, dim) → the shape and dtype of x.

        ``mask`` and ``causal`` are for the attention of x to itself (scores (..., heads, T, T)),
        ``memory_mask`` for that to the memory (scores (..., heads, T, S)), of which every position
        sees the whole otherwise: nothing of it lies in the future.

        - An x or a memory that does not end in dim is a ValueError that names the argument, its
          shape and dim.
        - The functions that EncoderBlock does not call are not called here either.
        """
        # TODO: check; three steps, in both orders.
        # HINT: who asks in cross-attention, and who is asked?
        ### BEGIN SOLUTION
        # HINT: self.cross_attention(queries, memory, mask=memory_mask) takes values from memory.
        # HINT: in the order norm first, cross_norm is for the queries alone.
        check_features("x", x, self.dim)
        check_features("memory", memory, self.dim)
        if self.norm_first:
            x = x + self.dropout(self.attention(self.attention_norm(x), mask=mask, causal=causal))
            queries = self.cross_norm(x)
            x = x + self.dropout(self.cross_attention(queries, memory, mask=memory_mask))
            return x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))
        x = self.attention_norm(x + self.dropout(self.attention(x, mask=mask, causal=causal)))
        x = self.cross_norm(x + self.dropout(self.cross_attention(x, memory, mask=memory_mask)))
        x = self.feed_forward_norm(x + self.dropout(self.feed_forward(x)))
        return x
        ### END SOLUTION


class Encoder(nn.Module):
    """``depth`` EncoderBlocks, one after the other; norm first, one norm more at the end.

    ``dim``, ``heads`` and ``options`` (hidden, activation, dropout, bias, norm_first, eps) are
    EncoderBlock's, with the same defaults. ``blocks`` is an nn.ModuleList; every block has
    weights of its own, drawn for itself. ``norm`` is a LayerNorm with the blocks' eps and bias when
    norm_first, for what comes out of such blocks has never been normalised; otherwise it is
    nn.Identity().

    With depth 0, ``norm`` alone is left.

    >>> Encoder(2, dim=8, heads=2, norm_first=False)(torch.zeros(3, 5, 8)).shape
    torch.Size([3, 5, 8])
    """

    def __init__(
        self,
        depth: int,
        dim: int,
        heads: int,
        *,
        bias: bool = True,
        norm_first: bool = True,
        eps: float = 1e-5,
        **options: Any,
    ) -> None:
        super().__init__()
        # TODO: the blocks; the norm.
        # HINT: what would [block] * depth be a list of?
        ### BEGIN SOLUTION
        # HINT: nn.ModuleList takes a list; a list alone would hide its blocks from parameters().
        # HINT: call EncoderBlock(dim, heads, bias=bias, norm_first=norm_first, eps=eps, **options)
        # once for each block.
        self.blocks = nn.ModuleList(
            EncoderBlock(dim, heads, bias=bias, norm_first=norm_first, eps=eps, **options)
            for _ in range(depth)
        )
        self.norm = LayerNorm(dim, eps, bias) if norm_first else nn.Identity()
        ### END SOLUTION

    def forward(
        self, x: torch.Tensor, mask: torch.Tensor | None = None, causal: bool = False
    ) -> torch.Tensor:
        """``x`` (..., length, dim) → the same shape; every block gets ``mask`` and ``causal``."""
        # TODO: through the blocks, then the norm.
        # HINT: what does each block work on?
        ### BEGIN SOLUTION
        # HINT: a loop that hands on x.
        for block in self.blocks:
            x = block(x, mask, causal)
        return self.norm(x)
        ### END SOLUTION


class Decoder(nn.Module):
    """``depth`` DecoderBlocks, as Encoder has EncoderBlocks: ``blocks``, ``norm``, the options.

    >>> Decoder(2, dim=8, heads=2)(torch.zeros(3, 5, 8), torch.zeros(3, 7, 8)).shape
    torch.Size([3, 5, 8])
    """

    def __init__(
        self,
        depth: int,
        dim: int,
        heads: int,
        *,
        bias: bool = True,
        norm_first: bool = True,
        eps: float = 1e-5,
        **options: Any,
    ) -> None:
        super().__init__()
        # TODO: the blocks; the norm.
        # HINT: what is different from Encoder?
        ### BEGIN SOLUTION
        # HINT: the class of the blocks, and nothing else.
        self.blocks = nn.ModuleList(
            DecoderBlock(dim, heads, bias=bias, norm_first=norm_first, eps=eps, **options)
            for _ in range(depth)
        )
        self.norm = LayerNorm(dim, eps, bias) if norm_first else nn.Identity()
        ### END SOLUTION

    def forward(
        self,
        x: torch.Tensor,
        memory: torch.Tensor,
        mask: torch.Tensor | None = None,
        memory_mask: torch.Tensor | None = None,
        causal: bool = True,
    ) -> torch.Tensor:
        """``x`` (..., T, dim) and one ``memory`` (..., S, dim) for all blocks → the shape of x."""
        # TODO: through the blocks, then the norm.
        # HINT: does the memory change on its way?
        ### BEGIN SOLUTION
        # HINT: x is handed on from block to block; memory and masks are the same for all.
        for block in self.blocks:
            x = block(x, memory, mask, memory_mask, causal)
        return self.norm(x)
        ### END SOLUTION


def gradient_norms(encoder: Encoder, x: torch.Tensor, probe: torch.Tensor) -> torch.Tensor:
    """How much gradient arrives before and after each block: (depth + 1,), of the dtype of x.

    With s₀ = x, s₁, s₂, ... what comes out of the 1st, 2nd, ... block (no mask, not causal), and
    L = Σ encoder.norm(s_depth) · probe, entry i is the Euclidean norm of ∂L/∂sᵢ, taken over all
    its elements. ``probe`` has the shape of x.

    ``x`` need not require a gradient. No ``.grad`` of x or of a parameter is written.

    >>> deep = Encoder(6, dim=8, heads=2)
    >>> gradient_norms(deep, torch.randn(1, 5, 8), torch.randn(1, 5, 8)).shape
    torch.Size([7])
    """
    # TODO: keep what goes from block to block; one backward pass for all of it.
    # HINT: which of torch's functions gives gradients back instead of writing them somewhere?
    ### BEGIN SOLUTION
    # HINT: begin with x.detach().requires_grad_(), and append each block's result to a list.
    # HINT: torch.autograd.grad(result, list, probe) gives all the gradients of Σ result · probe.
    streams = [x.detach().requires_grad_()]
    for block in encoder.blocks:
        streams.append(block(streams[-1]))
    gradients = torch.autograd.grad(encoder.norm(streams[-1]), streams, probe)
    return torch.stack([gradient.norm() for gradient in gradients])
    ### END SOLUTION


def test_feed_forward() -> None:
    network = FeedForward(4, 6, bias=False)
    assert tuple(network.up_proj.weight.shape) == (6, 4)
    x = torch.randn(2, 3, 4)
    torch.testing.assert_close(network(2 * x), 2 * network(x))  # relu(2x) = 2 relu(x)


def test_encoder_block_without_its_branches() -> None:
    block = EncoderBlock(dim=8, heads=2, dropout=1.0)
    x = torch.randn(3, 5, 8)
    assert torch.equal(block.train()(x), x)


def test_decoder_block() -> None:
    block = DecoderBlock(dim=8, heads=2)
    x, memory = torch.randn(3, 5, 8), torch.randn(3, 7, 8)
    first = block(x[:, :2], memory)
    torch.testing.assert_close(block(x, memory)[:, :2], first)  # causal: 2 of 5 tokens


def test_encoder_and_decoder() -> None:
    x, y = torch.randn(3, 7, 8), torch.randn(3, 5, 8)
    memory = Encoder(2, dim=8, heads=2)(x)
    out = Decoder(2, dim=8, heads=2)(y, memory)
    assert out.shape == (3, 5, 8)
    torch.testing.assert_close(out.mean(-1), torch.zeros(3, 5), atol=1e-5, rtol=0)


def test_gradient_norms() -> None:
    deep = Encoder(6, dim=8, heads=2, norm_first=False)
    probe = torch.randn(1, 5, 8)
    norms = gradient_norms(deep, torch.randn(1, 5, 8), probe)
    torch.testing.assert_close(norms[-1], probe.norm())


if __name__ == "__main__":
    from harness import main

    main(__file__)
