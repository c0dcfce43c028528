"""
Day 30: DeepSeek's components: a layer of experts, and the block
================================================================
Estimated time: 2-3 hours
Prerequisites: Day 28 (MultiHeadLatentAttention), Day 29 (Router, DeepSeekConfig)
Lesson: lessons/day30.md

Learning objectives:
- Bring all rows of one expert together by sorting, and put the results back where they belong
- Make a layer whose work grows with the experts that a token uses, not with those that there are
- Compute every token, however uneven the load is
- Put attention and experts into DeepSeek's block, and watch who is busy

    token      0  0  1  1  2  2          sorted by expert           back, weighed and added
    expert     2  0  2  1  0  2
                                      0: rows of tokens 0 2 ┐
    pair       0  1  2  3  4  5   ──► 1: rows of token  1   ├──► 0 1 2 3 4 5 ──► token 0 1 2
                                      2: rows of tokens 0 1 2┘
                                  order 1 4 3 0 2 5   ends 2 3 6

``tracks/pytorch/grouped.py`` is given: ``grouped_mm`` multiplies the rows of each expert by that
expert's matrix, in one call.

Hints:
- A pair is one token with one of its experts. What are the token and the place in pair number p?
- Sort pairs, not tokens: each token occurs k times.
- How do you undo a permutation without sorting again?

Resources:
- DeepSeekMoE, Dai et al. 2024, section 3: https://arxiv.org/abs/2401.06066
- DeepSeek-V3, 2024, section 2.1.2: https://arxiv.org/abs/2412.19437
- MegaBlocks, Gale et al. 2022 (no token dropped): https://arxiv.org/abs/2211.15841
- Auxiliary-Loss-Free Load Balancing, Wang et al. 2024 (MaxVio): https://arxiv.org/abs/2408.15664
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import nn

from tracks.pytorch.day09 import SwiGLU, silu
from tracks.pytorch.day20 import check_features
from tracks.pytorch.day27 import RMSNorm
from tracks.pytorch.day28 import LatentCache, MultiHeadLatentAttention
from tracks.pytorch.day29 import DeepSeekConfig, Router
from tracks.pytorch.grouped import grouped_mm


class Dispatch(NamedTuple):
    """Given: the pairs (token, expert) in the order of their experts."""

    order: torch.Tensor
    ends: torch.Tensor


def dispatch(indices: torch.Tensor, experts: int) -> Dispatch:
    """Sort the pairs of tokens and experts by expert.

    ``indices`` (tokens, k), int64, any strides: the experts of each token, from 0 to experts - 1.
    Pair number token · k + j is the token's with indices[token, j].

    Returns ``order`` (tokens · k,), int64: the numbers of the pairs, those of expert 0 first, each
    expert's in rising order; and ``ends`` (experts,), int32: where each expert's part ends, which
    is where the next one's begins. An expert without tokens has an empty part.

    - The number of operators grows neither with tokens nor with experts, and nothing waits for the
      device. No tensor has an axis of experts and one of tokens: with 4,096 pairs and 4,096 experts
      the peak stays below 1 MB.
    - It runs under torch.compile(fullgraph=True).

    >>> order, ends = dispatch(torch.tensor([[2, 0], [2, 1], [0, 2]]), experts=3)
    >>> order.tolist(), ends.tolist()
    ([1, 4, 3, 0, 2, 5], [2, 3, 6])
    """
    # TODO: one sort; where the experts' parts end in it.
    # HINT: which kind of sort leaves equals in the order that they had?
    raise NotImplementedError("dispatch")


class Experts(nn.Module):
    """All experts of a layer, their weights stacked: day 29's Expert, many times at once.

    ``gate_up_proj`` (n, 2 · intermediate_size, hidden_size) holds each expert's gate_proj above its
    up_proj, ``down_proj`` (n, hidden_size, intermediate_size) its down_proj. Both are parameters,
    at first normally distributed with mean 0 and standard deviation ``std``.

    >>> experts = Experts(4, hidden_size=8, intermediate_size=3)
    >>> x, indices = torch.randn(5, 8), torch.tensor([[0, 3]]).expand(5, 2)
    >>> experts(x, indices, torch.ones(5, 2)).shape
    torch.Size([5, 8])
    """

    def __init__(self, n: int, hidden_size: int, intermediate_size: int, std: float = 0.02) -> None:
        super().__init__()
        # TODO: two parameters.
        # HINT: in which order do nn.Linear's weights have their axes?
        raise NotImplementedError("Experts.__init__")

    def forward(
        self, x: torch.Tensor, indices: torch.Tensor, weights: torch.Tensor
    ) -> torch.Tensor:
        """The sum over each token's experts of its weight times what the expert makes of it.

        Args:
            x: (tokens, hidden_size), any strides, in the dtype of the parameters
            indices: (tokens, k), int64: the experts of each token
            weights: (tokens, k), float32 or wider

        Returns (tokens, hidden_size) in the dtype of x. The k results of a token are multiplied and
        added in the dtype of the weights and rounded once. However many tokens an expert gets, all
        are computed (dropless); no tokens give an empty result.

        - Products of matrices are made for tokens · k rows and no more: 6 · tokens · k ·
          hidden_size · intermediate_size FLOPs, whatever n is.
        - No Python loop over tokens: the number of operators does not grow with them. Beside the
          result the peak stays below 16 · tokens · k · max(hidden_size, intermediate_size)
          elements of 4 bytes in float32: nothing has an axis of all experts and one of tokens, and
          no weights are copied for a token.
        - Gradients flow to x, weights and both parameters.
        - It runs under torch.compile(fullgraph=True): grouped_mm is given, and nothing else may ask
          how many tokens an expert has.
        - An x that does not end in hidden_size features is a ValueError that names x, its shape
          and hidden_size (check_features of day 20).
        """
        # TODO: dispatch; rows in that order; two products; weigh; put back; add.
        # HINT: pair p belongs to token p // k. To which place does row i of the results go back?
        raise NotImplementedError("Experts.forward")


class MixtureOfExperts(nn.Module):
    """A feed-forward layer of many experts (DeepSeekMoE; DeepSeek-V3, equation 12)::

        shared_experts(x) + sum over the chosen i of weight_i · expert_i(x)

    The parts: ``gate``, day 29's Router; ``experts``, Experts with n_routed_experts of
    moe_intermediate_size and a std of initializer_range; and ``shared_experts``, one SwiGLU of day
    9 with n_shared_experts · moe_intermediate_size hidden features: that is the sum of
    n_shared_experts smaller ones. ``config`` is an attribute. The names are those of transformers.

    forward: ``x`` (..., hidden_size), any strides and leading axes → the same shape and dtype. What
    a token gets does not depend on the tokens beside it. The routed part is rounded to the dtype of
    x before the shared part is added. An x that does not end in hidden_size features is a
    ValueError that names x, its shape and hidden_size. It runs under torch.compile(fullgraph=True).

    >>> from tracks.pytorch.day29 import small
    >>> MixtureOfExperts(small())(torch.randn(2, 5, 16)).shape
    torch.Size([2, 5, 16])
    """

    def __init__(self, config: DeepSeekConfig) -> None:
        super().__init__()
        self.config = config
        # TODO: the three parts.
        # HINT: which sizes of the configuration does each take?
        raise NotImplementedError("MixtureOfExperts.__init__")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # TODO: route; the chosen; the shared.
        # HINT: how many axes may x have, and how many does Experts take?
        raise NotImplementedError("MixtureOfExperts.forward")


class DeepSeekBlock(nn.Module):
    """One layer of DeepSeek-V2 or V3, norm first::

        x = x + self_attn(input_layernorm(x))
        x = x + mlp(post_attention_layernorm(x))

    ``input_layernorm`` and ``post_attention_layernorm`` are day 27's RMSNorm with rms_norm_eps,
    ``self_attn`` is day 28's MultiHeadLatentAttention, and ``mlp`` is a MixtureOfExperts where
    config.is_sparse(layer), else day 9's SwiGLU with intermediate_size. The parts are called as
    modules.

    forward: ``x`` (batch, new, hidden_size) → the same shape and dtype; x is not changed.
    ``positions``, ``mask``, ``cache`` and ``absorbed`` are the attention's. It runs under
    torch.compile(fullgraph=True).

    >>> from tracks.pytorch.day29 import small
    >>> DeepSeekBlock(small(), layer=1)(torch.randn(2, 5, 16)).shape
    torch.Size([2, 5, 16])
    """

    def __init__(self, config: DeepSeekConfig, layer: int) -> None:
        super().__init__()
        # TODO: the four parts.
        # HINT: what is different about the first layers?
        raise NotImplementedError("DeepSeekBlock.__init__")

    def forward(
        self,
        x: torch.Tensor,
        positions: torch.Tensor | None = None,
        mask: torch.Tensor | None = None,
        cache: LatentCache | None = None,
        absorbed: bool = False,
    ) -> torch.Tensor:
        # TODO: two steps, each added to what it was given.
        # HINT: day 20's EncoderBlock, norm first.
        raise NotImplementedError("DeepSeekBlock.forward")


def max_violation(counts: torch.Tensor) -> float:
    """Given: how much more than the mean the busiest expert has (Wang et al. 2024): 0 is even."""
    mean = counts.double().mean().item()
    return counts.max().item() / mean - 1 if mean else 0.0


@contextmanager
def expert_utilisation(
    model: nn.Module, mask: torch.Tensor | None = None
) -> Iterator[dict[str, torch.Tensor]]:
    """How many tokens each expert gets while the block of the ``with`` runs.

    Args:
        model: any module; its layers of experts are the MixtureOfExperts in it, itself included
        mask: bool, True where a token is real: the shape of the tokens that the layers are given
            in each call, (batch, length) as a rule. Padding is not counted. None: all are real.

    Gives a dictionary with a tensor (n_routed_experts,), int64 and on the device of the gate's
    weight, for each layer of experts, under its name in model.named_modules(), in that order. The
    counts are zeros at first; every call of a layer adds to them, until the block ends, also by an
    exception. Afterwards the model is as it was before, and calls no longer count. The tensors stay
    the same: whoever has taken one from the dictionary sees it grow.

    - The model's results and gradients do not change. Nothing waits for the device.
    - A mask of another shape than the tokens is a ValueError that names mask, its shape and that of
      the tokens, raised by the call of the model.

    >>> from tracks.pytorch.day29 import small
    >>> block = DeepSeekBlock(small(), layer=1)
    >>> with expert_utilisation(block) as counts:
    ...     _ = block(torch.randn(2, 5, 16))
    >>> {name: n.sum().item() for name, n in counts.items()}  # 10 tokens, 2 experts each
    {'mlp': 20}
    """
    # TODO: zeros for each layer; a hook on each gate that counts; take the hooks away.
    # HINT: which method of a module calls a function of yours with every result?
    raise NotImplementedError("expert_utilisation")


def test_dispatch() -> None:
    order, ends = dispatch(torch.tensor([[2, 0], [2, 1], [0, 2]]), experts=3)
    assert order.tolist() == [1, 4, 3, 0, 2, 5]
    assert ends.tolist() == [2, 3, 6]


def test_experts_one_by_one() -> None:
    experts, x = Experts(3, 8, 4, std=0.5), torch.randn(5, 8)
    indices, weights = torch.tensor([[2, 0]]).expand(5, 2), torch.rand(5, 2)
    wanted = torch.zeros(5, 8)
    for j, i in enumerate((2, 0)):
        gate, up = (x @ experts.gate_up_proj[i].T).chunk(2, -1)
        wanted = wanted + weights[:, j, None] * ((silu(gate) * up) @ experts.down_proj[i].T)
    torch.testing.assert_close(experts(x, indices, weights), wanted)


def test_tokens_do_not_meet() -> None:
    from tracks.pytorch.day29 import small

    layer, x = MixtureOfExperts(small()), torch.randn(2, 5, 16)
    torch.testing.assert_close(layer(x)[1, 3], layer(x[1, 3]))


def test_block_token_by_token() -> None:
    from tracks.pytorch.day29 import small

    config = small()
    block, x = DeepSeekBlock(config, layer=1), torch.randn(1, 4, 16)
    cache = LatentCache(1, 4, config.kv_lora_rank, config.qk_rope_head_dim)
    parts = [block(x[:, t : t + 1], cache=cache, absorbed=True) for t in range(4)]
    torch.testing.assert_close(torch.cat(parts, 1), block(x))


def test_expert_utilisation() -> None:
    from tracks.pytorch.day29 import small

    layer = MixtureOfExperts(small(n_group=1, topk_group=1))
    assert layer.gate.e_score_correction_bias is not None
    layer.gate.e_score_correction_bias[3] = 5.0
    with expert_utilisation(layer) as counts:
        layer(torch.randn(7, 16))
    assert counts[""][3].item() == 7
    assert counts[""].sum().item() == 14


if __name__ == "__main__":
    from harness import main

    main(__file__)
