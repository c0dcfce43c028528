"""
Day 24: Multi-query attention and long context
==============================================
Estimated time: 2-3 hours
Prerequisites: Day 23 (grouped-query attention), Day 22 (the KV cache), Day 19 (RoPE)
Lesson: lessons/day24.md

Learning objectives:
- Let all heads of queries share one head of keys and values
- Keep a window of the text in a buffer that never grows, and prove that nothing is lost inside it
- Write texts without end with a few first tokens kept for ever, and say where these then stand
- Compare what the kinds of caches take as the text grows

    a ring of 4 after 6 tokens      what a query sees      with 1 sink and a window of 3
    slot    0   1   2   3                                  slot      0 | 1   2   3
    token   4   5   2   3           2  3  4  5             token     0 | 4   5   3
                ▲                                          position  0 | 2   3   1
                └ token 6 goes here: t % 4

Hints:
- Attention does not care in which order keys lie, as long as each key goes with its value.
- Which tokens does the first query of a chunk see that the last one does not see any more?
- Distances count for a rotation. How far apart may a model have seen two tokens in training?

Resources:
- Fast Transformer Decoding, Shazeer 2019 (multi-query): https://arxiv.org/abs/1911.02150
- Mistral 7B, Jiang et al. 2023 (the ring: "rolling buffer cache"):
  https://arxiv.org/abs/2310.06825
- Efficient Streaming Language Models with Attention Sinks, Xiao et al. 2023 (StreamingLLM):
  https://arxiv.org/abs/2309.17453
"""

from __future__ import annotations

import torch

from tracks.pytorch.day19 import rope
from tracks.pytorch.day22 import cache_bytes, check_new
from tracks.pytorch.day23 import GroupedQueryAttention, grouped_attention


class MultiQueryAttention(GroupedQueryAttention):
    """Self-attention whose heads all share one head of keys and values (Shazeer 2019).

    It is day 23's GroupedQueryAttention with one group. The arguments are ``dim``, ``heads`` and,
    by name, ``head_dim`` (dim / heads unless given), ``bias`` and ``dropout``; ``project`` and
    ``forward`` are day 23's, and so are the names of the parts.

    >>> attention = MultiQueryAttention(dim=8, heads=4)
    >>> attention(torch.zeros(3, 5, 8)).shape, tuple(attention.k_proj.weight.shape)
    (torch.Size([3, 5, 8]), (2, 8))
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        *,
        head_dim: int | None = None,
        bias: bool = True,
        dropout: float = 0.0,
    ) -> None:
        # TODO: one call.
        # HINT: who knows already how to make the projections?
        raise NotImplementedError("MultiQueryAttention.__init__")


class RingCache:
    """The keys and values of the last ``window`` tokens of one layer, in a buffer of that size.

    ``keys`` and ``values`` are tensors (batch, heads, window, head_dim), zeros at first and made
    once; token t stands in slot t % window, where it overwrites token t - window. ``length`` says
    how many tokens have come so far, ``window`` how many are seen: a token and the window - 1
    before it.

    ``append`` and ``mask`` are used as day 22's: its CachedAttention takes a RingCache as it is.

    A window below 1 is a ValueError that names it.

    >>> cache = RingCache(batch=1, heads=2, window=4, head_dim=8)
    >>> for _ in range(6):
    ...     keys, values = cache.append(torch.ones(1, 2, 1, 8), torch.ones(1, 2, 1, 8))
    >>> keys.shape, cache.length
    (torch.Size([1, 2, 4, 8]), 6)
    """

    def __init__(
        self,
        batch: int,
        heads: int,
        window: int,
        head_dim: int,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> None:
        # TODO: check; two tensors of zeros; two numbers.
        # HINT: how large does the buffer get when the text is ten times as long as the window?
        raise NotImplementedError("RingCache.__init__")

    def append(self, k: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Keep ``k`` and ``v`` (batch, heads, new, head_dim), any strides; return what is in view.

        - One new token: keys and values of the last min(length, window) tokens, itself included, as
          views of the buffer, in the buffer's order. No key is copied but the new one.
        - Several (a chunk of a prompt, also longer than the window), or none: keys and values in
          the text's order, min(window - 1, length before) old ones and then all the new ones.
          Whoever is among them is seen by some of the new tokens; ``mask`` says by which.

        The buffer then holds the last tokens, each in its slot. No gradient flows through it. A k
        or v of another shape or dtype is a ValueError (day 22's check_new) and changes nothing.
        """
        # TODO: check; one token: write, view; several: fetch the old, join the new, write the last.
        # HINT: with a chunk of 3 and a window of 4, which tokens do the three queries see? And what
        # will mask have to know about them?
        raise NotImplementedError("RingCache.append")

    def mask(self) -> torch.Tensor | None:
        """Who of what the last append returned is too far back for whom.

        After one new token None: everything returned is in its window. After several, bool (new,
        old + new), True where the key is the query itself or one of the window - 1 tokens before
        it; also True for keys ahead of the query, which causal attention hides anyway. After no
        new token either will do.
        """
        # TODO: nothing for one token; else compare places.
        # HINT: at which place of the returned keys does new token i stand itself?
        raise NotImplementedError("RingCache.mask")


def sliding_window_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, cache: RingCache
) -> torch.Tensor:
    """The new tokens attend to themselves and to the window of tokens before them.

    Args:
        q: (batch, heads, new, d), of the new tokens
        k, v: (batch, kv_heads, new, d), of the new tokens; kv_heads divides heads, as in day 23
        cache: holds kv_heads heads; the tokens that came before. The new ones join them.

    Returns (batch, heads, new, d) in the dtype of q: for each new token what day 17's
    local_attention gives for the whole text so far, however the text is cut into calls, and however
    often the ring has come round.

    A step with one token copies no old key: with 16 heads, 2 of keys, a window of 4,096 and d = 64
    in float32 the peak is below the bytes of the cache. Runs under torch.compile(fullgraph=True).
    F.scaled_dot_product_attention is not called.

    >>> cache = RingCache(batch=1, heads=1, window=2, head_dim=1)
    >>> zero = torch.zeros(1, 1, 1, 1)
    >>> [sliding_window_attention(zero, zero, zero + n, cache).item() for n in (2, 4, 6, 8)]
    [2.0, 3.0, 5.0, 7.0]
    """
    # TODO: append, then day 23's attention with the cache's mask.
    # HINT: what is missing from the mask, and who adds it?
    raise NotImplementedError("sliding_window_attention")


class SinkCache:
    """The first ``sinks`` tokens for ever, and the last ``window`` tokens (Xiao et al. 2023).

    ``keys`` and ``values`` are tensors (batch, heads, sinks + window, head_dim), zeros at first and
    made once. The first ``sinks`` tokens have the first slots; behind them is a ring: token
    t ≥ sinks stands in slot sinks + (t - sinks) % window. ``length`` says how many tokens have come
    so far; ``sinks`` and ``window`` are attributes.

    Keys are kept as they come, before any rotation, since their position changes with time.

    Sinks below 0 or a window below 1 are a ValueError that names the number.

    >>> cache = SinkCache(batch=1, heads=1, sinks=1, window=3, head_dim=2)
    >>> for t in range(6):
    ...     keys, values, positions = cache.append(*torch.full((2, 1, 1, 1, 2), float(t)))
    >>> keys[0, 0, :, 0].tolist(), positions.tolist()
    ([0.0, 4.0, 5.0, 3.0], [0, 2, 3, 1])
    """

    def __init__(
        self,
        batch: int,
        heads: int,
        sinks: int,
        window: int,
        head_dim: int,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> None:
        # TODO: check; two tensors of zeros; three numbers.
        # HINT: how many tokens does it hold at the most?
        raise NotImplementedError("SinkCache.__init__")

    def append(
        self, k: torch.Tensor, v: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Keep one token's ``k`` and ``v`` (batch, heads, 1, head_dim); return what is kept.

        Returns keys and values (batch, heads, n, head_dim), views of the buffer in its order, and
        positions (n,), int64, on the buffer's device: the place of each of them *in the cache*, 0
        to n - 1 in the order in which they came. What has fallen out leaves no gap: the oldest
        token of the window follows the last sink, however much text lay between.

        More or less than one token is a ValueError that names the number; other shapes and dtypes
        are one, too (day 22's check_new). Either changes nothing. No gradient flows through the
        cache.
        """
        # TODO: check; find the slot; write; positions.
        # HINT: which token of the window is the oldest, and which slot does it have?
        raise NotImplementedError("SinkCache.append")


def attention_sinks(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    cache: SinkCache,
    frequencies: torch.Tensor | None = None,
) -> torch.Tensor:
    """One new token attends to the sinks and its window, with positions inside the cache.

    Xiao et al. 2023, section 3.2: when the cache holds n tokens, they stand at 0 to n - 1 for the
    rotation, whatever their places in the text, and the new token stands at n - 1. So no distance
    exceeds the size of the cache, however long the text is.

    Args:
        q: (batch, heads, 1, d), not rotated
        k, v: (batch, kv_heads, 1, d), not rotated
        cache: holds kv_heads heads of the tokens before; the new one joins them
        frequencies: day 19's rope takes them

    Returns (batch, heads, 1, d) in the dtype of q. The rotation is day 19's rope, half-split.
    F.scaled_dot_product_attention is not called.

    >>> cache = SinkCache(batch=1, heads=1, sinks=1, window=2, head_dim=2)
    >>> q = k = torch.zeros(1, 1, 1, 2)
    >>> steps = [attention_sinks(q, k, torch.full_like(k, n), cache) for n in (3, 5, 7, 11)]
    >>> [round(step[0, 0, 0, 0].item(), 3) for step in steps]  # means of 3; 3 5; 3 5 7; 3 7 11
    [3.0, 4.0, 5.0, 7.0]
    """
    # TODO: append; rotate the query and all keys; attend.
    # HINT: which position is the newest token's?
    raise NotImplementedError("attention_sinks")


def compare_caches(
    length: int,
    *,
    layers: int,
    heads: int,
    kv_heads: int,
    head_dim: int,
    window: int,
    sinks: int = 4,
    dtype: torch.dtype = torch.float16,
) -> dict[str, int]:
    """Bytes of keys and values of one sequence of ``length`` tokens, for five kinds of caches.

    - "multi-head": ``heads`` heads of keys and values, all tokens
    - "grouped": ``kv_heads`` heads, all tokens
    - "multi-query": one head, all tokens
    - "window": kv_heads heads, the last ``window`` tokens
    - "sinks": kv_heads heads, the first ``sinks`` and the last ``window`` tokens

    A text that is shorter takes what it has tokens. The dictionary has these five names in this
    order. Day 22's cache_bytes does the arithmetic.

    >>> sizes = compare_caches(10, layers=1, heads=4, kv_heads=2, head_dim=8, window=3, sinks=1)
    >>> list(sizes.values())
    [1280, 640, 320, 192, 256]
    """
    # TODO: five calls, or one loop over pairs.
    # HINT: in what do the five differ?
    raise NotImplementedError("compare_caches")


def test_multi_query_attention() -> None:
    q, k, v = MultiQueryAttention(dim=8, heads=4).project(torch.randn(3, 5, 8))
    assert (q.shape, k.shape, v.shape) == ((3, 4, 5, 2), (3, 1, 5, 2), (3, 1, 5, 2))


def test_sliding_window_attention() -> None:
    q, k, v = torch.randn(3, 1, 2, 9, 4)
    whole = sliding_window_attention(q, k, v, RingCache(1, 2, 3, 4))
    cache = RingCache(1, 2, 3, 4)
    steps = [
        sliding_window_attention(*(x[:, :, t : t + 1] for x in (q, k, v)), cache) for t in range(9)
    ]
    torch.testing.assert_close(torch.cat(steps, 2), whole)


def test_sinks_stay() -> None:
    cache = SinkCache(batch=1, heads=1, sinks=2, window=3, head_dim=1)
    for t in range(20):
        keys, _, positions = cache.append(*torch.full((2, 1, 1, 1, 1), float(t)))
    kept = keys[0, 0, :, 0]
    assert kept[positions.argsort()].tolist() == [0, 1, 17, 18, 19]


def test_attention_sinks() -> None:
    cache = SinkCache(batch=1, heads=1, sinks=1, window=2, head_dim=2)
    q = k = torch.zeros(1, 1, 1, 2)
    steps = [attention_sinks(q, k, torch.full_like(k, n), cache) for n in (3, 5, 7, 11)]
    torch.testing.assert_close(torch.cat(steps)[:, 0, 0, 0], torch.tensor([3.0, 4.0, 5.0, 7.0]))


def test_compare_caches() -> None:
    shape = {"layers": 32, "heads": 32, "kv_heads": 8, "head_dim": 128, "window": 4096}
    sizes = compare_caches(32768, **shape)
    assert sizes["multi-head"] == 4 * sizes["grouped"] == 32 * sizes["window"]


if __name__ == "__main__":
    from harness import main

    main(__file__)
