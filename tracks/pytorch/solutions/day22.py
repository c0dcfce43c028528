"""
Day 22: The KV cache
====================
Estimated time: 3 hours
Prerequisites: Day 21 (GPT), Day 18 (multi-head attention), Day 16 (causal masks)
Lesson: lessons/day22.md

Learning objectives:
- Write a token without computing anything anew for those before it
- Serve texts of unequal lengths in one batch, and read long prompts in chunks
- Keep the cache in blocks, so that it takes what it needs and texts share what they have in common
- Count the bytes of a cache before you allocate them

    step 1, prompt "the cat"          step 2, "sat"                 step 3, "on"

    queries  the cat                  queries  sat                  queries  on
    keys     the cat . . . .          keys     the cat sat . . .    keys     the cat sat on . .
    values   the cat . . . .          values   the cat sat . . .    values   the cat sat on . .

A causal model's keys and values of the past never change: nothing that comes later can reach
them. So they are kept, and a new token brings one query, one key and one value for each layer
and head. Day 16's causal mask fits as it is: the last query stands at the last key.

When you are done, the model that day 21's program trained writes with your cache, and is timed
with and without:

    python -m tracks.pytorch.day22 serve --prompt "The list is"

Hints:
- An object of this day's is the cache of one layer; a model has a list of them.
- KVCache first, then CachedAttention: with these two a model writes already.
- Wherever cached and uncached differ, look at the mask and the positions first.

Resources:
- Efficiently Scaling Transformer Inference, Pope et al. 2022: https://arxiv.org/abs/2211.05102
- PagedAttention (vLLM), Kwon et al. 2023: https://arxiv.org/abs/2309.06180
- Speculative decoding, Leviathan et al. 2023 (why one rewinds): https://arxiv.org/abs/2211.17192
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator, Sequence

import torch
from torch import nn

from tracks.pytorch.day16 import combine_masks, scaled_dot_product_attention
from tracks.pytorch.day18 import MultiHeadAttention, merge_heads
from tracks.pytorch.day21 import GPT


def check_new(
    k: torch.Tensor, v: torch.Tensor, batch: int, heads: int, head_dim: int, dtype: torch.dtype
) -> None:
    """Given: a ValueError unless k and v are (batch, heads, new, head_dim) and of ``dtype``."""
    due = (batch, heads, k.shape[-2] if k.dim() > 1 else 0, head_dim)
    for name, x in (("k", k), ("v", v)):
        if x.shape != due or x.dtype != dtype:
            raise ValueError(
                f"{name} is {tuple(x.shape)}, {x.dtype}, and the cache takes {due}, {dtype}"
            )


class KVCache:
    """Room for the keys and values of one layer, made once for all that will come.

    ``keys`` and ``values`` are tensors (batch, heads, capacity, head_dim), zeros at first;
    ``length``, an int, says how many positions hold something, the same for all sequences.

    >>> cache = KVCache(batch=1, heads=2, capacity=8, head_dim=4)
    >>> k = v = torch.ones(1, 2, 3, 4)
    >>> keys, values = cache.append(k, v)
    >>> keys.shape, cache.length
    (torch.Size([1, 2, 3, 4]), 3)
    """

    def __init__(
        self,
        batch: int,
        heads: int,
        capacity: int,
        head_dim: int,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> None:
        # TODO: two tensors of zeros, on ``device``, and a number.
        # HINT: how large are keys and values together?
        ### BEGIN SOLUTION
        # HINT: torch.zeros(shape, dtype=dtype, device=device), twice: the two share no memory.
        shape = (batch, heads, capacity, head_dim)
        self.keys = torch.zeros(shape, dtype=dtype, device=device)
        self.values = torch.zeros(shape, dtype=dtype, device=device)
        self.length = 0
        ### END SOLUTION

    def append(self, k: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Keep ``k`` and ``v`` (batch, heads, new, head_dim), any strides, behind what is there.

        Returns all keys and values so far, (batch, heads, length, head_dim): views of the cache.
        Nothing is allocated, however long it is by now, and no gradient flows through a cache.
        It stays the same two tensors, and k and v stay the caller's, who may change them later.

        - k or v of another shape or dtype is a ValueError (check_new is given).
        - More than there is room for is a ValueError that names the length it would have and the
          capacity. After an error the cache is as it was.
        """
        # TODO: check; copy into the free part; hand out the filled part.
        # HINT: which slice of the third axis is free, and which is filled afterwards?
        ### BEGIN SOLUTION
        # HINT: end = self.length + k.shape[2]; self.keys[:, :, self.length : end] is a view.
        # HINT: view.copy_(k.detach()) writes into it; without detach the cache would keep every
        # step's graph.
        batch, heads, capacity, head_dim = self.keys.shape
        check_new(k, v, batch, heads, head_dim, self.keys.dtype)
        end = self.length + k.shape[2]
        if end > capacity:
            raise ValueError(f"{end} positions do not fit into a cache with capacity {capacity}")
        self.keys[:, :, self.length : end].copy_(k.detach())
        self.values[:, :, self.length : end].copy_(v.detach())
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]
        ### END SOLUTION

    def rewind(self, length: int) -> None:
        """Forget everything behind the first ``length`` positions, without touching a tensor.

        This is how guesses are taken back that a larger model rejected (speculative decoding). A
        length below 0 or beyond what is there is a ValueError that names both.
        """
        # TODO: check; one assignment.
        # HINT: what does append do with what lies behind ``length``?
        ### BEGIN SOLUTION
        # HINT: 0 <= length <= self.length is what is allowed.
        # HINT: self.length = length; the next append writes over the rest.
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot rewind to {length}: the cache holds {self.length} positions")
        self.length = length
        ### END SOLUTION

    def mask(self) -> torch.Tensor | None:
        """Given: what attention must not see of a cache; here nothing."""
        return None


class PagedKVCache:
    """The keys and values of one layer in blocks, of which every sequence takes what it needs
    (Kwon et al. 2023, section 4)::

        table of A   [ 3 | 0 ]        block   0       1       2       3       4
        table of B   [ 3 | 2 ]                A A . . free    B B B . A+B     free

    ``keys`` and ``values`` are (blocks, block_size, heads, head_dim). The position p of a sequence
    stands in block ``table[p // block_size]``, at p % block_size.

    Attributes, all of them given:
        tables, lengths: of each sequence, by its number: its blocks, and how many positions it has
        users: of each block, how many tables name it; ``free``: the blocks that nobody uses
        active: the sequences that the next ``append`` is for, in the order of its batch; each at
            most once

    A sequence of n positions has ⌈n / block_size⌉ blocks, no more. Blocks that nobody uses any
    more are free again.

    >>> cache = PagedKVCache(blocks=4, block_size=2, heads=1, head_dim=1)
    >>> cache.active = [cache.add()]
    >>> keys, _ = cache.append(torch.ones(1, 1, 3, 1), torch.ones(1, 1, 3, 1))
    >>> keys.shape, len(cache.tables[0]), len(cache.free)
    (torch.Size([1, 1, 3, 1]), 2, 2)
    """

    def __init__(
        self,
        blocks: int,
        block_size: int,
        heads: int,
        head_dim: int,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> None:
        shape = (blocks, block_size, heads, head_dim)
        self.keys = torch.zeros(shape, dtype=dtype, device=device)
        self.values = torch.zeros(shape, dtype=dtype, device=device)
        self.tables: dict[int, list[int]] = {}
        self.lengths: dict[int, int] = {}
        self.users = [0] * blocks
        self.free = list(range(blocks))
        self.active: list[int] = []
        self.added = 0

    def add(self) -> int:
        """Given: a new sequence without positions. → its number, which no other ever had"""
        self.added += 1
        self.tables[self.added - 1], self.lengths[self.added - 1] = [], 0
        return self.added - 1

    def take(self) -> int:
        """Given: a free block, used once from now on."""
        block = self.free.pop()
        self.users[block] = 1
        return block

    def fork(self, sequence: int) -> int:
        """A new sequence with the same past. → its number. No block is taken and nothing copied:
        both tables name the same blocks, also the last one, which may be partly filled.
        ``active`` stays as it is."""
        # TODO: a new sequence, with a table of its own.
        # HINT: two tables name these blocks now. Who keeps count?
        ### BEGIN SOLUTION
        # HINT: self.tables[new] = list(...): the same list would grow with either.
        # HINT: every block of the table has one user more.
        new = self.add()
        self.tables[new], self.lengths[new] = list(self.tables[sequence]), self.lengths[sequence]
        for block in self.tables[new]:
            self.users[block] += 1
        return new
        ### END SOLUTION

    def rewind(self, sequence: int, length: int) -> None:
        """Forget what ``sequence`` has behind ``length``, and let go of blocks that it no longer
        needs. A length below 0 or beyond what is there is a ValueError that names both."""
        # TODO: check; shorten the table, count users, free blocks.
        # HINT: how many blocks do ``length`` positions take? May another table name the others?
        ### BEGIN SOLUTION
        # HINT: -(-length // block_size) blocks stay; pop the rest from the table, one by one.
        # HINT: self.users[block] -= 1, and at 0 the block is appended to self.free.
        if not 0 <= length <= self.lengths[sequence]:
            raise ValueError(
                f"cannot rewind to {length}: there are {self.lengths[sequence]} positions"
            )
        table, block_size = self.tables[sequence], self.keys.shape[1]
        while len(table) > -(-length // block_size):
            block = table.pop()
            self.users[block] -= 1
            if self.users[block] == 0:
                self.free.append(block)
        self.lengths[sequence] = length
        ### END SOLUTION

    def remove(self, sequence: int) -> None:
        """Given: ``sequence`` has come to its end."""
        self.rewind(sequence, 0)
        del self.tables[sequence], self.lengths[sequence]
        self.active = [other for other in self.active if other != sequence]

    def append(self, k: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Keep ``k`` and ``v`` (len(active), heads, new, head_dim): row i is for active[i].

        Returns the keys and values of the active sequences, (len(active), heads, longest,
        head_dim), where longest is the largest of their lengths; those of a shorter one stand at
        the right end, behind zeros, so that the last key is the newest for all of them.

        - Before a partly filled block is written that other sequences use, too, it is copied to a
          free one, and the copy is written (copy on write). Full blocks are never copied, and
          whoever is the last user of a block writes into it as it is.
        - ``new`` may be 0: then nothing is written, and no block is copied or taken.
        - What stands in front of a shorter sequence is 0 also where keys or values are inf or nan.
        - More blocks than are free: a ValueError that names how many are needed and how many are
          free. k or v of another shape or dtype: a ValueError (check_new). After an error
          nothing has changed.
        - No gradient flows through the cache.
        """
        # TODO: count the blocks that are needed; copy, take and write for each sequence; gather.
        # HINT: block_size 2: a sequence of 3 positions gets 2 more. Which blocks are touched?
        ### BEGIN SOLUTION
        # HINT: of a partly filled block with u users, n of them active, min(n, u - 1) copies are
        # made: the last user needs none.
        # HINT: self.keys.flatten(0, 1) is a view (slots, heads, head_dim); position p of a
        # sequence has the slot table[p // block_size] * block_size + p % block_size.
        # HINT: write one sequence with slots: flat[slots] = k[i].transpose(0, 1).
        # HINT: fill the tables of all up to one length with 0, gather (batch, longest) slots at
        # once, and put zeros where the position is negative.
        block_size, heads, head_dim = self.keys.shape[1:]
        check_new(k, v, len(self.active), heads, head_dim, self.keys.dtype)
        new = k.shape[2]
        last = Counter(
            self.tables[s][-1] for s in self.active if new and self.lengths[s] % block_size
        )
        needed = sum(min(n, self.users[block] - 1) for block, n in last.items())
        for s in self.active:
            needed += -(-(self.lengths[s] + new) // block_size) - len(self.tables[s])
        if needed > len(self.free):
            raise ValueError(f"{needed} blocks are needed, and {len(self.free)} are free")

        for i, s in enumerate(self.active):
            table, length = self.tables[s], self.lengths[s]
            if new and length % block_size and self.users[table[-1]] > 1:
                shared, table[-1] = table[-1], self.take()
                self.users[shared] -= 1
                self.keys[table[-1]] = self.keys[shared]
                self.values[table[-1]] = self.values[shared]
            while len(table) * block_size < length + new:
                table.append(self.take())
            self.lengths[s] = length + new
            slots = self.slots([table], torch.arange(length, length + new)[None])[0]
            self.keys.flatten(0, 1)[slots] = k[i].detach().transpose(0, 1)
            self.values.flatten(0, 1)[slots] = v[i].detach().transpose(0, 1)

        hidden = ~self.mask()
        longest = hidden.shape[-1]
        lengths = torch.tensor([self.lengths[s] for s in self.active])
        positions = torch.arange(longest) - (longest - lengths[:, None])
        slots = self.slots([self.tables[s] for s in self.active], positions.clamp(min=0))
        keys, values = (
            pool.flatten(0, 1)[slots].transpose(1, 2).masked_fill(hidden.mT, 0.0)
            for pool in (self.keys, self.values)
        )
        return keys, values
        ### END SOLUTION

    def slots(self, tables: list[list[int]], positions: torch.Tensor) -> torch.Tensor:
        """Given: where ``positions`` (len(tables), n) stand in keys.flatten(0, 1).

        Positions that a table does not reach have a slot, too, but nothing is to be found there.
        """
        width = max([1, *map(len, tables)])
        blocks = torch.tensor([table + [0] * (width - len(table)) for table in tables])
        size = self.keys.shape[1]
        slots = blocks.gather(1, positions // size) * size + positions % size
        return slots.to(self.keys.device)

    def mask(self) -> torch.Tensor:
        """Given: which of the keys that append returns are real: bool (len(active), 1, 1, longest),
        True = may look."""
        lengths = torch.tensor([self.lengths[s] for s in self.active], device=self.keys.device)
        at = torch.arange(max([0, *lengths.tolist()]), device=self.keys.device)
        return (at >= len(at) - lengths[:, None])[:, None, None]


class CachedAttention(nn.Module):
    """Stands in a block where its attention stood: new tokens attend to all tokens so far.

    ``attention`` (day 18's MultiHeadAttention, with its weights) and ``cache`` (a KVCache, a
    PagedKVCache, or anything with the same ``append`` and ``mask``) are attributes.

    >>> attention = MultiHeadAttention(dim=8, heads=2)
    >>> cached = CachedAttention(attention, KVCache(1, 2, 16, 4))
    >>> x = torch.randn(1, 5, 8)
    >>> parts = torch.cat([cached(x[:, :3]), cached(x[:, 3:4]), cached(x[:, 4:])], 1)
    >>> torch.allclose(parts, attention(x, causal=True), atol=1e-6)
    True
    """

    def __init__(self, attention: MultiHeadAttention, cache: KVCache | PagedKVCache) -> None:
        super().__init__()
        self.attention, self.cache = attention, cache

    def attend(
        self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None
    ) -> torch.Tensor:
        """Given: day 16's attention. Another kind of heads overrides it."""
        return scaled_dot_product_attention(q, k, v, mask=mask, causal=True)

    def forward(
        self, query: torch.Tensor, mask: torch.Tensor | None = None, causal: bool = True
    ) -> torch.Tensor:
        """``query`` (batch, new, dim), any strides → (batch, new, dim).

        The new tokens follow those in the cache, and join them. Each sees the cache and what
        came before it among the new ones; ``mask`` (bool or float) hides more of it, and broadcasts
        to the scores (batch, heads, new, all so far). What the cache's own mask hides is hidden
        too, entirely, whatever ``mask`` says.

        - What a token is given does not depend on how the text is cut into calls.
        - Only the new tokens are projected. ``attention``'s dropout is not applied: a cache is for
          writing, not for training.
        - causal=False is a ValueError that says so, and the cache is as it was: the past cannot
          see what comes.
        - Scores and mixture are what ``attend`` makes of them, in a subclass the subclass's.
        - Runs under torch.compile(fullgraph=True) with a KVCache. F.scaled_dot_product_attention
          and nn.MultiheadAttention are not called.
        """
        # TODO: project, append, attend, merge.
        # HINT: which parts of day 18's forward are still needed, and what stands between them?
        ### BEGIN SOLUTION
        # HINT: self.attention.project(query) gives q, k and v of the new tokens, split into heads.
        # HINT: self.attend(q, *self.cache.append(k, v), mask), then merge_heads, then out_proj.
        # HINT: combine_masks(mask, self.cache.mask()), the latter after append: it grows, too.
        if not causal:
            raise ValueError("causal=False: what is in the cache cannot see what comes after it")
        q, k, v = self.attention.project(query)
        k, v = self.cache.append(k, v)
        mixed = self.attend(q, k, v, combine_masks(mask, self.cache.mask()))
        return self.attention.out_proj(merge_heads(mixed))
        ### END SOLUTION


def with_cache(
    model: GPT,
    caches: Sequence[KVCache | PagedKVCache],
    kind: type[CachedAttention] = CachedAttention,
) -> GPT:
    """Given: a twin of ``model`` that shares all its parameters; block i attends with caches[i].

    The positions of new tokens must be said: ``twin(ids, positions=torch.arange(5, 7))``.
    """
    shared = {id(p): p for p in (*model.parameters(), *model.buffers())}
    twin = copy.deepcopy(model, shared)
    for block, cache in zip(twin.stack.blocks, caches, strict=True):
        block.attention = kind(block.attention, cache)
    return twin


@torch.no_grad()
def generate(
    model: GPT,
    prompts: Sequence[torch.Tensor],
    new: int,
    *,
    chunk: int | None = None,
    temperature: float = 0.0,
    generator: torch.Generator | None = None,
) -> Iterator[torch.Tensor]:
    """Write ``new`` tokens behind each prompt, and hand out every token as soon as it is there.

    Args:
        model: a GPT in eval mode; it is not changed
        prompts: ids, one tensor (length,) for each sequence, of any lengths from 1 on
        new: how many tokens are written, 0 or more; 0 yields nothing
        chunk: how many positions of the prompts are read at once; None: all
        temperature: 0 takes the likeliest token; otherwise one is drawn from softmax(scores /
            temperature), with ``generator``, or torch's own

    Yields ``new`` tensors (batch,) of int64, one a step, on the model's device.

    - Every sequence gets what it would get alone: prompts are filled up on the left, the filling
      is hidden, and positions count from each prompt's own beginning.
    - Every position goes through the model once: there is one KVCache a layer, of
      longest prompt + new - 1 positions (the last token is handed out, not read), in the
      dtype of the model.
    - ValueError at the first step: a prompt without tokens, with its place in the list, counted
      from 0; longest prompt + new - 1 beyond the model's context, naming these two numbers; a
      chunk below 1, naming it.

    >>> model = GPT(vocab=10, context=16, dim=8, depth=2, heads=2).eval()
    >>> prompts = [torch.tensor([1, 2, 3]), torch.tensor([4])]
    >>> torch.stack(list(generate(model, prompts, new=5)), 1).shape
    torch.Size([2, 5])
    """
    # TODO: check; fill up; caches; read the prompts; then choose, yield, and read what was chosen.
    # HINT: which keys may a sequence see that was filled up with two, and where does it begin?
    ### BEGIN SOLUTION
    # HINT: with missing (batch, 1), a key at place j is real if j >= missing, and its position is
    # j - missing (the filling may have 0).
    # HINT: twin(ids[:, a:b], real[:, None, None, :b], positions[:, a:b]): the mask is for all keys
    # so far, ids and positions for the new ones.
    # HINT: each step appends the token to ids and goes on as if it were a chunk of one position.
    device, total = model.tokens.weight.device, max(map(len, prompts)) + new - 1
    for i, prompt in enumerate(prompts):
        if len(prompt) == 0:
            raise ValueError(f"prompt {i} holds no token to begin with")
    if total > model.context:
        raise ValueError(f"{total} positions are needed, and the context is {model.context}")
    if chunk is not None and chunk < 1:
        raise ValueError(f"chunk is {chunk}: it must be at least 1")
    caches = []
    for block in model.stack.blocks:
        heads, d = block.attention.heads, block.attention.head_dim
        dtype = model.tokens.weight.dtype
        caches.append(KVCache(len(prompts), heads, total, d, dtype=dtype, device=device))
    twin = with_cache(model, caches)

    longest = max(map(len, prompts))
    ids = torch.zeros(len(prompts), longest, dtype=torch.int64, device=device)
    for row, prompt in zip(ids, prompts, strict=True):
        row[longest - len(prompt) :] = prompt
    missing = torch.tensor([[longest - len(prompt)] for prompt in prompts], device=device)
    at = torch.arange(total, device=device)
    real, positions = (at >= missing)[:, None, None], (at - missing).clamp(min=0)

    done = 0
    for _ in range(new):
        while done < ids.shape[1]:
            end = ids.shape[1] if chunk is None else min(done + chunk, ids.shape[1])
            scores = twin(ids[:, done:end], real[..., :end], positions[:, done:end])[:, -1]
            done = end
        if temperature == 0:
            token = scores.argmax(-1)
        else:
            chances = (scores / temperature).softmax(-1)
            token = torch.multinomial(chances, 1, generator=generator)[:, 0]
        yield token
        ids = torch.cat([ids, token[:, None]], 1)
    ### END SOLUTION


def cache_bytes(
    layers: int,
    heads: int,
    head_dim: int,
    lengths: Sequence[int],
    dtype: torch.dtype = torch.float16,
    *,
    block_size: int | None = None,
) -> int:
    """How many bytes the keys and values of some sequences take, in all layers together.

    ``heads`` are those of keys and values, ``lengths`` the positions of each sequence (there may be
    none). ``dtype`` is any that tensors have: compressed caches hold int8 or float8. Without
    ``block_size`` they are rows of one KVCache a layer, all as long as the longest; with it they
    lie in a PagedKVCache, and share no block.

    >>> cache_bytes(layers=12, heads=12, head_dim=64, lengths=[1024])  # GPT-2's smallest model
    37748736
    >>> cache_bytes(1, 1, 1, [1, 10]), cache_bytes(1, 1, 1, [1, 10], block_size=4)
    (80, 64)
    """
    # TODO: how many positions are kept; how many bytes each takes.
    # HINT: which of the arguments count for one position of one sequence?
    ### BEGIN SOLUTION
    # HINT: a position takes 2 · layers · heads · head_dim numbers of dtype.itemsize bytes.
    # HINT: len(lengths) * max(lengths) positions, or those of -(-n // block_size) blocks each.
    if block_size is None:
        positions = len(lengths) * max(lengths, default=0)
    else:
        positions = sum(-(-n // block_size) * block_size for n in lengths)
    return 2 * layers * heads * head_dim * positions * dtype.itemsize
    ### END SOLUTION


def test_kv_cache() -> None:
    cache, k = KVCache(batch=1, heads=2, capacity=4, head_dim=3), torch.randn(1, 2, 3, 3)
    cache.append(k, k)
    cache.rewind(1)
    keys, _ = cache.append(k[:, :, 2:], k[:, :, 2:])
    torch.testing.assert_close(keys, k[:, :, [0, 2]])


def test_a_shared_prompt() -> None:
    cache = PagedKVCache(blocks=4, block_size=2, heads=1, head_dim=1)
    first = cache.add()
    cache.active = [first]
    prompt = torch.tensor([[[[1.0], [2.0], [3.0]]]])
    cache.append(prompt, prompt)
    cache.active = [first, cache.fork(first)]
    new = torch.tensor([[[[8.0]]], [[[9.0]]]])
    keys, _ = cache.append(new, new)
    assert keys[:, 0, :, 0].tolist() == [[1, 2, 3, 8], [1, 2, 3, 9]]
    assert len(cache.free) == 1


def test_cached_equals_uncached() -> None:
    model = GPT(vocab=10, context=16, dim=8, depth=2, heads=2).eval()
    twin = with_cache(model, [KVCache(1, 2, 16, 4) for _ in range(2)])
    ids = torch.tensor([[3, 1, 4, 1, 5]])
    parts = [twin(ids[:, t : t + 1], positions=torch.tensor([t])) for t in range(5)]
    torch.testing.assert_close(torch.cat(parts, 1), model(ids))


def test_generate() -> None:
    model = GPT(vocab=10, context=16, dim=8, depth=2, heads=2).eval()
    prompts = [torch.tensor([1, 2, 3]), torch.tensor([4])]
    both = torch.stack(list(generate(model, prompts, new=5)), 1)
    alone = torch.stack(list(generate(model, prompts[1:], new=5, chunk=2)), 1)
    assert torch.equal(both[1:], alone)


def test_cache_bytes() -> None:
    cache = KVCache(batch=2, heads=3, capacity=5, head_dim=4)
    assert cache_bytes(1, 3, 4, [5, 2], torch.float32) == cache.keys.nbytes + cache.values.nbytes


if __name__ == "__main__":
    import sys

    if len(sys.argv) > 1:
        from harness import days_of

        days_of(__file__)  # an earlier day that is not finished is its reference in the program
        from tracks.pytorch.english import serve

        serve()
    else:
        from harness import main

        main(__file__)
