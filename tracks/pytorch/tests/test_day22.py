"""Day 22: cached equals uncached at every step, and blocks that are counted."""

import copy
from collections import Counter
from functools import partial

import pytest
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from harness.testing import close, exercise, layouts, random_weights, refused, shapes, watch
from tracks.pytorch import day22
from tracks.pytorch.day18 import MultiHeadAttention
from tracks.pytorch.day21 import GPT

BAN = ["scaled_dot_product_attention", "multi_head_attention_forward"]
WIDE = torch.float64
DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


def gpt(rng, device, context=40, dtype=WIDE, **options):
    model = GPT(11, context, 12, 2, 3, **options).to(device, dtype)
    return random_weights(model, rng, 1.5).eval()


def same(got, wanted, name):
    close(got, wanted.detach(), terms=1024, scale=64.0, name=name)


# KVCache -------------------------------------------------------------------------------------


def length_is_int(cache, what):
    assert type(cache.length) is int, f"{what}: length is {cache.length!r}, which is no int"


@exercise("KVCache")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_cache_makes_room(dtype, device):
    cache = day22.KVCache(2, 3, 5, 4, dtype=dtype, device=device)
    for name, x in (("keys", cache.keys), ("values", cache.values)):
        found = (tuple(x.shape), x.dtype, x.device.type)
        assert found == ((2, 3, 5, 4), dtype, device.type), f"{name} is {found}"
    assert cache.length == 0, f"nothing is in the cache, and its length is {cache.length}"
    length_is_int(cache, "a new cache")
    assert not cache.keys.any(), "the keys of a new cache are not zeros"
    cache.keys.fill_(1.0)
    assert not cache.values.any(), "keys and values share memory"
    default = day22.KVCache(1, 1, 1, 1)
    assert default.keys.dtype == torch.float32, f"without dtype, keys are {default.keys.dtype}"
    elsewhere = day22.KVCache(1, 1, 2, 2, device="meta")
    for name, x in (("keys", elsewhere.keys), ("values", elsewhere.values)):
        assert x.device.type == "meta", f'device="meta" was given, and {name} are on {x.device}'


@exercise("KVCache")
@shapes("batch, heads, head_dim", (2, 3, 4), (1, 1, 1), (0, 2, 3))
def test_cache_keeps_what_comes(batch, heads, head_dim, device, rng):
    cache = day22.KVCache(batch, heads, 12, head_dim, device=device)
    ks, vs = [], []
    for new in (3, 1, 0, 5, 1):
        k = rng.normal(batch, heads, new, head_dim)
        v = rng.normal(batch, heads, new, head_dim)
        ks.append(k)
        vs.append(v)
        keys, values = cache.append(k, v)
        what = f"after appending {[x.shape[2] for x in ks]}"
        close(keys, torch.cat(ks, 2), name=f"{what}: keys")
        close(values, torch.cat(vs, 2), name=f"{what}: values")
        assert cache.length == keys.shape[2], f"{what}: length is {cache.length}"
        length_is_int(cache, what)
    assert keys.data_ptr() == cache.keys.data_ptr(), "the keys that append returns are a copy"
    assert values.data_ptr() == cache.values.data_ptr(), "the values are a copy"


@exercise("KVCache")
def test_cache_takes_any_strides(device, rng):
    k, v = rng.normal(2, 3, 4, 5), rng.normal(2, 3, 4, 5)
    for (layout, ks), (_, vs) in zip(layouts(k), layouts(v), strict=True):
        cache = day22.KVCache(2, 3, 6, 5, device=device)
        keys, values = cache.append(ks, vs)
        close(keys, k, name=f"keys, {layout}")
        close(values, v, name=f"values, {layout}")


@exercise("KVCache")
def test_cache_keeps_its_own_tensors(device, rng):
    """Filled to the brim at once; then the caller writes into the k and v that it gave."""
    cache = day22.KVCache(1, 2, 3, 4, device=device)
    room = cache.keys.data_ptr(), cache.values.data_ptr()
    k, v = rng.normal(1, 2, 3, 4), rng.normal(1, 2, 3, 4)
    given = k.clone(), v.clone()
    cache.append(*given)
    for x in given:
        x.zero_()
    close(cache.keys, k, name="keys, after the caller wrote zeros into the k that it had given")
    close(cache.values, v, name="values, after the caller wrote zeros into the v that it had given")
    kept = (cache.keys.data_ptr(), cache.values.data_ptr()) == room
    assert kept, "after filling the cache at once its keys or values are not the tensor made before"


@exercise("KVCache")
def test_cache_allocates_nothing(device, rng):
    cache = day22.KVCache(2, 4, 4096, 16, device=device)
    cache.append(rng.normal(2, 4, 4000, 16), rng.normal(2, 4, 4000, 16))
    for new, strides in ((2, "contiguous"), (64, "transposed")):
        if strides == "contiguous":
            k, v = rng.normal(2, 4, new, 16), rng.normal(2, 4, new, 16)
        else:
            k, v = (rng.normal(2, new, 4, 16).transpose(1, 2) for _ in range(2))
        behind = cache.length
        _, seen = watch(cache.append, k, v)
        assert seen.peak_bytes <= 4096, (
            f"appending {new} positions behind {behind}, {strides} k and v, takes "
            f"{seen.peak_bytes:,} bytes: it was all allocated before"
        )


@exercise("KVCache")
def test_cache_keeps_no_graph(device, rng):
    cache = day22.KVCache(1, 2, 4, 3, device=device)
    k = rng.normal(1, 2, 2, 3).clone().requires_grad_()
    results = cache.append(k * 2, k * 3)
    for name, x in (("keys", cache.keys), ("values", cache.values), ("a result", results[0])):
        assert not x.requires_grad, f"{name} of the cache requires a gradient: it keeps the graph"


@exercise("KVCache")
def test_cache_rewinds(device, rng):
    cache = day22.KVCache(2, 1, 6, 3, device=device)
    k, v = rng.normal(2, 1, 5, 3), rng.normal(2, 1, 5, 3)
    cache.append(k, v)
    for length in (5, 3, 3):
        cache.rewind(length)
        assert cache.length == length, f"after rewind({length}) the length is {cache.length}"
        length_is_int(cache, f"after rewind({length})")
    more = rng.normal(2, 1, 2, 3)
    keys, values = cache.append(more, more)
    close(keys, torch.cat([k[:, :, :3], more], 2), name="keys, 2 of 5 taken back, 2 new ones")
    close(values, torch.cat([v[:, :, :3], more], 2), name="values, 2 of 5 taken back")
    cache.rewind(0)
    keys, _ = cache.append(k, v)
    close(keys, k, name="keys, begun again")


@exercise("KVCache")
def test_cache_rewinds_without_writing(device, rng):
    cache = day22.KVCache(2, 1, 6, 3, device=device)
    cache.append(rng.normal(2, 1, 5, 3), rng.normal(2, 1, 5, 3))
    before = {"keys": cache.keys.clone(), "values": cache.values.clone()}
    at = {"keys": cache.keys.data_ptr(), "values": cache.values.data_ptr()}
    cache.rewind(2)
    for name, x in (("keys", cache.keys), ("values", cache.values)):
        untouched = torch.equal(x, before[name]) and x.data_ptr() == at[name]
        assert untouched, f"rewind(2) behind 5 positions: {name} were touched"


@exercise("KVCache")
def test_cache_refuses(device, rng):
    cache = day22.KVCache(2, 3, 5, 4, device=device)
    good = rng.normal(2, 3, 2, 4)
    cache.append(good, good)
    before = cache.keys.clone(), cache.values.clone()

    def unchanged(what):
        assert cache.length == 2, (
            f"{what}: refused, but the length is {cache.length} now, and it was 2"
        )
        same = torch.equal(cache.keys, before[0]) and torch.equal(cache.values, before[1])
        assert same, f"{what}: refused, but it has changed the cache"

    four, what = rng.normal(2, 3, 4, 4), "2 and 4 positions, capacity 5"
    refused(lambda: cache.append(four, four), names=(6, 5), what=what)
    unchanged(what)
    for name, k, v in (
        ("k", rng.normal(1, 3, 2, 4), good),
        ("k", rng.normal(2, 1, 2, 4), good),
        ("v", good, rng.normal(2, 3, 2, 5)),
        ("v", good, rng.normal(2, 3, 1, 4)),
        ("v", good, good.double()),
    ):
        what = f"k {tuple(k.shape)} and v {tuple(v.shape)}, {v.dtype}, in a cache (2, 3, 5, 4)"
        refused(lambda k=k, v=v: cache.append(k, v), names=(f"{name} ",), what=what)
        unchanged(what)


@exercise("KVCache")
def test_cache_refuses_to_rewind(device, rng):
    cache = day22.KVCache(2, 3, 5, 4, device=device)
    cache.append(rng.normal(2, 3, 2, 4), rng.normal(2, 3, 2, 4))
    for length in (3, -1):
        what = f"rewind({length}) with 2 positions"
        refused(lambda length=length: cache.rewind(length), names=(length, 2), what=what)
        assert cache.length == 2, f"{what}: refused, but the length is {cache.length} now"


# PagedKVCache --------------------------------------------------------------------------------


def consistent(cache, what):
    """Tables, users and free blocks say the same; no sequence has a block too many."""
    size = cache.keys.shape[1]
    for s, table in cache.tables.items():
        due = -(-cache.lengths[s] // size)
        assert len(table) == due, (
            f"{what}: a sequence of {cache.lengths[s]} positions has {len(table)} blocks of {size}"
        )
    named = Counter(b for table in cache.tables.values() for b in table)
    for b, users in enumerate(cache.users):
        assert users == named[b], (
            f"{what}: {named[b]} tables name block {b}, and it is said to have {users} users"
        )
    lost = sorted(set(range(len(cache.users))) - set(named) - set(cache.free))
    assert not lost, f"{what}: nobody uses the blocks {lost}, and they are not in free"
    used = sorted(set(cache.free) & set(named))
    assert not used, f"{what}: the blocks {used} are in free, and tables name them"
    twice = sorted(b for b, n in Counter(cache.free).items() if n > 1)
    assert not twice, f"{what}: the blocks {twice} are in free more than once"


class Model:
    """What a paged cache should hold: a list of keys and values for each sequence."""

    def __init__(self, cache, rng):
        self.cache, self.rng, self.past = cache, rng, {}

    def add(self):
        number = self.cache.add()
        shape = (self.cache.keys.shape[2], 0, self.cache.keys.shape[3])
        empty = torch.zeros(shape, dtype=self.cache.keys.dtype, device=self.cache.keys.device)
        self.past[number] = (empty, empty)
        return number

    def fork(self, sequence):
        number = self.cache.fork(sequence)
        assert number not in self.past, f"fork gave the number {number}, which is in use"
        self.past[number] = self.past[sequence]
        return number

    def rewind(self, sequence, length):
        self.cache.rewind(sequence, length)
        self.past[sequence] = tuple(x[:, :length] for x in self.past[sequence])

    def append(self, active, new, what):
        heads, d = self.cache.keys.shape[2:]
        k, v = (self.rng.normal(len(active), heads, new, d, dtype=self.cache.keys.dtype)
                for _ in range(2))  # fmt: skip
        self.cache.active = list(active)
        got = self.cache.append(k, v)
        for i, s in enumerate(active):
            self.past[s] = tuple(
                torch.cat([x, y[i]], 1) for x, y in zip(self.past[s], (k, v), strict=True)
            )
        longest = max(self.past[s][0].shape[1] for s in active)
        for name, j in (("keys", 0), ("values", 1)):
            wanted = torch.stack(
                [
                    F.pad(self.past[s][j], (0, 0, longest - self.past[s][j].shape[1], 0))
                    for s in active
                ]
            )
            close(got[j], wanted, name=f"{what}: {name}")
        consistent(self.cache, what)


@exercise("PagedKVCache")
@shapes("block_size, heads, head_dim", (4, 2, 3), (1, 1, 1), (3, 1, 5), (16, 2, 2))
def test_paged_one_sequence(block_size, heads, head_dim, device, rng):
    model = Model(day22.PagedKVCache(24, block_size, heads, head_dim, device=device), rng)
    a = model.add()
    for new in (1, 2, 0, block_size, 1, block_size + 1, block_size - 1):
        model.append([a], new, f"blocks of {block_size}, {new} more")


@exercise("PagedKVCache")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_paged_unequal_lengths(dtype, device, rng):
    model = Model(day22.PagedKVCache(16, 3, 2, 4, dtype=dtype, device=device), rng)
    a, b, c = model.add(), model.add(), model.add()
    model.append([a], 7, "a prompt of 7")
    model.append([b], 2, "a prompt of 2")
    for step in range(4):
        model.append([c, a, b], 1, f"step {step}: three sequences of unequal lengths")
    model.append([b, a], 3, "two of the three, the other order")


@exercise("PagedKVCache")
def test_paged_shares_a_prompt(device, rng):
    for prompt in (4, 5, 6, 7):
        cache = day22.PagedKVCache(12, 3, 1, 2, device=device)
        model = Model(cache, rng)
        a = model.add()
        what = f"a prompt of {prompt} in blocks of 3"
        model.append([a], prompt, what)
        before = len(cache.free)
        b, c = model.fork(a), model.fork(a)
        consistent(cache, f"{what}, forked")
        assert len(cache.free) == before, f"{what}: forking took {before - len(cache.free)} blocks"
        model.append([b], 1, f"{what}, forked twice: the first fork writes")
        model.append([a, b, c], 1, f"{what}: all write")
        full = prompt // 3
        shared = [len({cache.tables[s][i] for s in (a, b, c)}) for i in range(full)]
        assert shared == [1] * full, f"{what}: full blocks were copied: {shared}"
        model.append([c, a], 4, f"{what}: two go on over a border")


@exercise("PagedKVCache")
def test_paged_fork_leaves_active(device, rng):
    cache = day22.PagedKVCache(4, 2, 1, 2, device=device)
    model = Model(cache, rng)
    a = model.add()
    model.append([a], 3, "a prompt of 3 in blocks of 2")
    b = model.fork(a)
    assert cache.active == [a], f"active was {[a]}, and after fork({a}) → {b} it is {cache.active}"


@exercise("PagedKVCache")
@pytest.mark.parametrize("free", [6, 0], ids="{} free".format)
def test_paged_append_of_no_positions(free, device, rng):
    """Two sequences share a partly filled block, and nothing is written into it."""
    cache = day22.PagedKVCache(2 + free, 2, 1, 2, device=device)
    model = Model(cache, rng)
    a = model.add()
    model.append([a], 3, "a prompt of 3 in blocks of 2")
    b = model.fork(a)
    before = copy.deepcopy((cache.tables, cache.users, sorted(cache.free)))
    what = f"0 positions for two that share a block, {free} blocks free"
    model.append([a, b], 0, what)
    after = cache.tables, cache.users, sorted(cache.free)
    for name, x, y in zip(("tables", "users", "free"), before, after, strict=True):
        assert x == y, f"{what}: {name} were {x}, and are {y}: nothing was to be copied or taken"


@exercise("PagedKVCache")
def test_paged_padding_is_zero(device, rng):
    """Also where keys and values are infinite: inf · 0 is nan."""
    cache = day22.PagedKVCache(8, 2, 1, 2, device=device)
    numbers = [cache.add(), cache.add()]
    for number, n in zip(numbers, (4, 2), strict=True):
        k = rng.normal(1, 1, n, 2).clone()
        k[:, :, 0] = torch.inf
        cache.active = [number]
        cache.append(k, k)
    cache.active = numbers
    new = rng.normal(2, 1, 1, 2)
    for name, x in zip(("keys", "values"), cache.append(new, new), strict=True):
        front = x[1, 0, :2].tolist()
        assert front == [[0, 0], [0, 0]], (
            f"{name}: in front of 3 positions, of which the first is inf, stand {front}, not zeros"
        )


@exercise("PagedKVCache")
def test_paged_last_user_writes_in_place(device, rng):
    cache = day22.PagedKVCache(3, 4, 1, 2, device=device)
    model = Model(cache, rng)
    a = model.add()
    model.append([a], 2, "a prompt of 2 in blocks of 4")
    b = model.fork(a)
    last = cache.tables[a][-1]
    model.append([a, b], 1, "both write")
    kept = [s for s in (a, b) if cache.tables[s][-1] == last]
    assert len(kept) == 1, f"one of two users writes into the block as it is, not {len(kept)}"
    cache.remove(a)
    consistent(cache, "one was removed")
    assert len(cache.free) == 2, f"one sequence of one block is left, and free are {cache.free}"


@exercise("PagedKVCache")
def test_paged_rewinds(device, rng):
    cache = day22.PagedKVCache(10, 3, 2, 2, device=device)
    model = Model(cache, rng)
    a = model.add()
    model.append([a], 8, "8 positions in blocks of 3")
    b = model.fork(a)
    for length in (8, 7, 6, 4):  # 8: nothing is taken back, which is allowed
        model.rewind(b, length)
        consistent(cache, f"rewound to {length}")
        model.append([b, a], 1, f"rewound to {length}, then both write")
    model.rewind(a, 0)
    consistent(cache, "rewound to 0")
    model.append([a, b], 2, "begun again")
    length = cache.lengths[a]
    for wrong in (length + 1, -1):
        refused(lambda wrong=wrong: cache.rewind(a, wrong), names=(wrong, length),
                what=f"rewind to {wrong} of {length}")  # fmt: skip


@exercise("PagedKVCache")
def test_paged_uses_the_last_block(device, rng):
    """Exactly as many blocks as are needed, and one too few."""
    for blocks in (5, 4):
        cache = day22.PagedKVCache(blocks, 2, 1, 1, device=device)
        model = Model(cache, rng)
        a = model.add()
        model.append([a], 3, "3 positions in blocks of 2")
        b = model.fork(a)
        if blocks == 5:
            model.append([a, b], 2, "3 blocks are needed, 3 are free")
            model.append([a, b], 1, "both have a last block of their own with room, none is free")
            continue
        before = cache.keys.clone(), dict(cache.lengths), [list(t) for t in cache.tables.values()]
        cache.active = [a, b]
        k = rng.normal(2, 1, 2, 1)
        # One copy, and one block more for each of the two.
        refused(
            partial(cache.append, k, k),
            names=(
                3,
                2,
            ),
            what="3 blocks needed, 2 free",
        )
        after = cache.keys, dict(cache.lengths), [list(t) for t in cache.tables.values()]
        assert torch.equal(before[0], after[0]) and before[1:] == after[1:], (
            "an append that was refused has changed the cache"
        )
        consistent(cache, "after an append that was refused")
        model.append([a], 1, "what is free is enough for one")


@exercise("PagedKVCache")
def test_paged_counts_no_copy_too_many(device, rng):
    """Just as many blocks are free as are needed."""
    model = Model(day22.PagedKVCache(3, 2, 1, 2, device=device), rng)
    a = model.add()
    model.append([a], 2, "2 positions in blocks of 2")
    model.append([a, model.fork(a)], 1, "two share a full block: none is copied, 2 are free")
    model = Model(day22.PagedKVCache(2, 4, 1, 2, device=device), rng)
    a = model.add()
    model.append([a], 3, "3 positions in blocks of 4")
    model.fork(a)
    model.append([model.fork(a)], 1, "one of three that share a block writes: 1 copy, 1 is free")


@exercise("PagedKVCache")
def test_paged_refuses_a_copy(device, rng):
    """One sequence has a block of its own, two share the other, and no third is there."""
    cache = day22.PagedKVCache(2, 4, 1, 2, device=device)
    model = Model(cache, rng)
    model.append([model.add()], 1, "1 position in blocks of 4")
    a = model.add()
    model.append([a], 3, "3 positions in blocks of 4")
    model.fork(a)
    cache.active, k = [a], rng.normal(1, 1, 1, 2)
    what = "one of two that share a partly filled block writes: 1 copy is needed, 0 blocks are free"
    refused(partial(cache.append, k, k), names=(1, 0), what=what)
    consistent(cache, "after an append that was refused")


@exercise("PagedKVCache")
def test_paged_refuses(device, rng):
    cache = day22.PagedKVCache(4, 2, 3, 4, device=device)
    cache.active = [cache.add(), cache.add()]
    good = rng.normal(2, 3, 1, 4)
    for name, k, v in (("k", rng.normal(1, 3, 1, 4), good), ("v", good, rng.normal(2, 3, 2, 4)),
                       ("k", good.double(), good)):  # fmt: skip
        refused(lambda k=k, v=v: cache.append(k, v), names=(f"{name} ", "cache"),
                what=f"k {tuple(k.shape)}, {k.dtype}, v {tuple(v.shape)}")  # fmt: skip
    graph = good.clone().requires_grad_()
    for name, x in zip(("keys", "values"), cache.append(graph * 2, graph * 3), strict=True):
        assert not x.requires_grad, f"the {name} require a gradient: the cache keeps the graph"


@exercise("PagedKVCache")
def test_paged_at_random(device, rng):
    """Add, fork, rewind, remove and append in any order."""
    cache = day22.PagedKVCache(64, 4, 1, 2, device=device)
    model = Model(cache, rng)
    draws = rng.integers(0, 1000, 60, 2).tolist()
    for step, (what, which) in enumerate(draws):
        alive = list(cache.tables)
        if not alive or (what % 6 == 0 and len(alive) < 5):
            model.add()
            continue
        one = alive[which % len(alive)]
        if what % 6 == 1 and len(alive) < 5:
            model.fork(one)
        elif what % 6 == 2:
            model.rewind(one, cache.lengths[one] * (which % 7) // 7)
        elif what % 6 == 3 and len(alive) > 3:
            cache.remove(one)
        else:
            alive = alive[which % len(alive) :] + alive[: which % len(alive)]
            model.append(alive[: 1 + what % 3], 1 + what % 4, f"step {step}")
        consistent(cache, f"step {step}")


# CachedAttention -----------------------------------------------------------------------------


def attention(rng, device, dtype=WIDE, **options):
    return random_weights(MultiHeadAttention(12, 3, **options), rng, 1.5).to(device, dtype).eval()


@exercise("CachedAttention", ban=BAN)
@pytest.mark.parametrize("cuts", [(7,), (1,) * 7, (3, 1, 3), (2, 5)], ids=str)
def test_attention_in_pieces(cuts, device, rng):
    whole, x = attention(rng, device, head_dim=5), rng.normal(2, 7, 12, dtype=WIDE)
    cached = day22.CachedAttention(whole, day22.KVCache(2, 3, 9, 5, dtype=WIDE, device=device))
    got = torch.cat([cached(part) for part in x.split(cuts, 1)], 1)
    same(got, whole(x, causal=True), f"in pieces of {cuts}")


@exercise("CachedAttention", ban=BAN)
def test_attention_masks(device, rng):
    whole, x = attention(rng, device), rng.normal(2, 6, 12, dtype=WIDE)
    seen = rng.boolean(2, 1, 1, 6, p=0.6)
    bias = rng.normal(3, 6, 6, dtype=WIDE, std=3.0)
    for kind, mask in (("bool", seen), ("float", bias)):
        cached = day22.CachedAttention(whole, day22.KVCache(2, 3, 6, 4, dtype=WIDE, device=device))
        got = []
        for a, b in ((0, 2), (2, 3), (3, 6)):
            part = mask[..., :b] if kind == "bool" else mask[:, a:b, :b]
            got.append(cached(x[:, a:b], part))
        same(torch.cat(got, 1), whole(x, mask=mask, causal=True), f"in three pieces, {kind} mask")


@exercise("CachedAttention", ban=BAN)
def test_attention_mask_of_two_axes(device, rng):
    """(new, all so far), as the scores have at their end. Each token sees itself and two before."""
    whole, x = attention(rng, device), rng.normal(3, 7, 12, dtype=WIDE)
    near = torch.ones(7, 7, dtype=torch.bool, device=device).triu(-2)
    cached = day22.CachedAttention(whole, day22.KVCache(3, 3, 7, 4, dtype=WIDE, device=device))
    cached(x[:, :4])
    got = cached(x[:, 4:], near[4:])
    wanted = whole(x, mask=near, causal=True)[:, 4:]
    same(
        got, wanted, "batch 3, 3 tokens behind 4 with a mask (3, 7) of queries and keys: the result"
    )


@exercise("CachedAttention", ban=BAN)
@pytest.mark.parametrize("kind", ["bool", "float"])
def test_attention_mask_and_blocks(kind, device, rng):
    """Prompts of 5 and 2 tokens, then one step of both with a mask, beside the cache's own."""
    whole = attention(rng, device)
    cache = day22.PagedKVCache(8, 3, 3, 4, dtype=WIDE, device=device)
    cached = day22.CachedAttention(whole, cache)
    texts, numbers = [rng.normal(1, n, 12, dtype=WIDE) for n in (6, 3)], [cache.add(), cache.add()]
    for text, number in zip(texts, numbers, strict=True):
        cache.active = [number]
        cached(text[:, :-1])
    if kind == "bool":
        mask = torch.ones(2, 1, 1, 6, dtype=torch.bool, device=device)
        wanted = [whole(text, causal=True)[:, -1:] for text in texts]
        what = "mask: True throughout"
    else:
        # The newest key is the only one that is left, however little the mask gives it.
        mask = torch.full((2, 1, 1, 6), -torch.inf, dtype=WIDE, device=device)
        mask[..., -1] = -1e12
        mask[1, ..., :3] = 0.0
        wanted = [whole(text[:, -1:]) for text in texts]
        what = "mask: -1e12 at its key, -inf at older ones, 0 in front of the text"
    cache.active = numbers
    got = cached(torch.cat([text[:, -1:] for text in texts]), mask)
    for i, n in enumerate((6, 3)):
        name = f"the newest token of a text of {n} beside one of {9 - n} ({what})"
        same(got[i : i + 1], wanted[i], name)


@exercise("CachedAttention", ban=BAN)
def test_attention_with_blocks(device, rng):
    """Prompts of 5 and 2 tokens, then 4 steps of both; each as if it were alone."""
    whole = attention(rng, device)
    cache = day22.PagedKVCache(12, 3, 3, 4, dtype=WIDE, device=device)
    cached = day22.CachedAttention(whole, cache)
    texts = [rng.normal(1, n + 4, 12, dtype=WIDE) for n in (5, 2)]
    numbers = [cache.add(), cache.add()]
    got = [[], []]
    for i, n in enumerate((5, 2)):
        cache.active = [numbers[i]]
        got[i].append(cached(texts[i][:, :n]))
    cache.active = numbers
    for t in range(4):
        both = cached(torch.cat([texts[0][:, 5 + t : 6 + t], texts[1][:, 2 + t : 3 + t]]))
        got[0].append(both[:1])
        got[1].append(both[1:])
    for i, text in enumerate(texts):
        wanted = whole(text, causal=True)
        same(torch.cat(got[i], 1), wanted, f"sequence {i}, prompts of 5 and 2 tokens")


@exercise("CachedAttention", ban=BAN)
def test_attention_does_not_drop(device, rng):
    whole, x = attention(rng, device, dropout=0.9), rng.normal(1, 5, 12, dtype=WIDE)
    wanted = whole(x, causal=True)
    cached = day22.CachedAttention(whole, day22.KVCache(1, 3, 5, 4, dtype=WIDE, device=device))
    same(cached.train()(x), wanted, "in training mode, with an attention of dropout=0.9")


@exercise("CachedAttention")
def test_attention_projects_new_tokens_alone(device, rng):
    whole = attention(rng, device, torch.float32)
    cached = day22.CachedAttention(whole, day22.KVCache(1, 3, 200, 4, device=device))
    cached(rng.normal(1, 190, 12))
    with FlopCounterMode(display=False) as counter:
        cached(rng.normal(1, 1, 12))
    flops, due = counter.get_total_flops(), 2 * (4 * 12 * 12 + 2 * 191 * 12)
    assert flops <= 1.1 * due, f"one token behind 190 takes {flops} operations: {due} are enough"


@exercise("CachedAttention", ban=BAN)
@pytest.mark.parametrize("dtype", DTYPES[1:3], ids=str)
def test_attention_other_dtypes(dtype, device, rng):
    whole = attention(rng, device, dtype)
    cached = day22.CachedAttention(whole, day22.KVCache(2, 3, 6, 4, dtype=dtype, device=device))
    x = rng.normal(2, 6, 12, dtype=dtype)
    got = torch.cat([cached(part) for part in x.split((3, 1, 2), 1)], 1)
    assert got.dtype == dtype, f"everything is {dtype}, and the result {got.dtype}"
    wanted = whole(x, causal=True).detach().double()
    error = ((got.double() - wanted).norm() / wanted.norm()).item()
    limit = 0.03 if dtype == torch.bfloat16 else 1e-5
    assert error < limit, f"in {dtype} the result is off by {error:.2g} of its length"


@exercise("CachedAttention")
def test_attention_refuses_to_look_ahead(device, rng):
    whole = attention(rng, device)
    cached = day22.CachedAttention(whole, day22.KVCache(1, 3, 5, 4, dtype=WIDE, device=device))
    refused(lambda: cached(rng.normal(1, 2, 12, dtype=WIDE), causal=False), names=("causal",),
            what="causal=False")  # fmt: skip
    assert cached.cache.length == 0, "a call that was refused has filled the cache"


@exercise("CachedAttention")
def test_attention_attends_as_a_subclass_does(device, rng):
    class Nothing(day22.CachedAttention):
        def attend(self, q, k, v, mask):
            return torch.zeros_like(q)

    whole = attention(rng, device)
    cached = Nothing(whole, day22.KVCache(2, 3, 5, 4, dtype=WIDE, device=device))
    got = cached(rng.normal(2, 5, 12, dtype=WIDE))
    bias = whole.out_proj.bias.expand(2, 5, 12)
    same(got, bias, "what out_proj makes of the zeros that a subclass's attend returns")


@exercise("CachedAttention")
def test_attention_has_no_weights_of_its_own(device, rng):
    whole = attention(rng, device)
    cached = day22.CachedAttention(whole, day22.KVCache(1, 3, 5, 4, dtype=WIDE, device=device))
    assert cached.attention is whole, "attention is not the module that was given"
    more = set(map(id, cached.parameters())) - set(map(id, whole.parameters()))
    assert not more, f"{len(more)} parameters are not those of the given attention"


@exercise("CachedAttention", ban=BAN)
def test_model_equals_uncached_at_every_step(device, rng):
    model, ids = gpt(rng, device), rng.integers(0, 11, 2, 8)
    caches = [day22.KVCache(2, 3, 8, 4, dtype=WIDE, device=device) for _ in range(2)]
    twin, wanted = day22.with_cache(model, caches), model(ids).detach()
    at = torch.arange(8, device=device)
    for a, b in ((0, 3), (3, 4), (4, 5), (5, 8)):
        got = twin(ids[:, a:b], positions=at[a:b])
        same(got, wanted[:, a:b], f"the scores at the positions {a} to {b - 1}")


@exercise("CachedAttention", ban=BAN)
def test_model_after_a_rewind(device, rng):
    """Three tokens are guessed, one is kept."""
    model, ids, guess = gpt(rng, device), rng.integers(0, 11, 2, 8), rng.integers(0, 11, 2, 3)
    caches = [day22.KVCache(2, 3, 8, 4, dtype=WIDE, device=device) for _ in range(2)]
    twin, at = day22.with_cache(model, caches), torch.arange(8, device=device)
    twin(ids[:, :4], positions=at[:4])
    got = twin(guess, positions=at[4:7])
    wanted = model(torch.cat([ids[:, :4], guess], 1)).detach()
    same(got, wanted[:, 4:], "the scores of a guess of three tokens")
    for cache in caches:
        cache.rewind(5)
    kept = torch.cat([ids[:, :4], guess[:, :1], ids[:, 5:]], 1)
    got = twin(kept[:, 5:], positions=at[5:])
    same(got, model(kept)[:, 5:], "after two of three guessed tokens were taken back")


@exercise("CachedAttention", seconds=60)  # no ban: its watching cannot be compiled
def test_attention_compiles(device, rng):
    whole, x = attention(rng, device, torch.float32), rng.normal(2, 5, 12)
    cached = day22.CachedAttention(whole, day22.KVCache(2, 3, 8, 4, device=device))
    f = torch.compile(cached, backend="aot_eager", fullgraph=True)
    with torch.no_grad():
        got = torch.cat([f(x[:, :3]), f(x[:, 3:4]), f(x[:, 4:])], 1)
    close(got, whole(x, causal=True).detach(), terms=256, scale=32.0, name="compiled, in 3 pieces")


# generate ------------------------------------------------------------------------------------


def uncached(model, prompt, new):
    """One sequence: the likeliest tokens, everything computed anew at each step."""
    ids = prompt[None]
    with torch.no_grad():
        for _ in range(new):
            ids = torch.cat([ids, model(ids)[:, -1:].argmax(-1)], 1)
    return ids[0, len(prompt) :]


def texts(rng, *lengths):
    return [rng.integers(0, 11, n) for n in lengths]


@exercise("generate", ban=BAN)
@pytest.mark.parametrize("lengths", [(4,), (1, 1), (3, 7, 1), (5, 5), (2, 9)], ids=str)
@pytest.mark.parametrize("chunk", [None, 1, 3], ids=["whole", "by one", "by three"])
def test_generate_equals_uncached(lengths, chunk, device, rng):
    model, prompts = gpt(rng, device), texts(rng, *lengths)
    got = list(day22.generate(model, prompts, 8, chunk=chunk))
    assert len(got) == 8, f"8 tokens were asked for, {len(got)} came"
    wanted = torch.stack([uncached(model, prompt, 8) for prompt in prompts])
    close(torch.stack(got, 1), wanted, name=f"tokens behind prompts of {lengths}, chunk={chunk}")


@exercise("generate")
def test_generate_hands_out_at_once(device, rng):
    """The first token is there before the second is computed, and nothing is read in vain."""
    model, prompts = gpt(rng, device), texts(rng, 3, 5)
    read = []
    model.tokens.register_forward_hook(lambda _, inputs, __: read.append(inputs[0].shape[-1]))
    steps = day22.generate(model, prompts, 4, chunk=2)
    next(steps)
    assert read == [2, 2, 1], (
        f"prompts of 3 and 5 in chunks of 2: before the first token was handed out, {read} "
        "positions were read, and [2, 2, 1] are needed"
    )
    rest = list(steps)
    assert read == [2, 2, 1, 1, 1, 1], (
        f"for 4 tokens {read} positions were read, and [2, 2, 1, 1, 1, 1] are needed: nobody needs "
        "to read the last token"
    )
    assert len(rest) == 3, f"4 tokens were asked for: behind the first came {len(rest)}"


@exercise("generate")
@pytest.mark.parametrize("new", [0], ids="new={}".format)
def test_generate_writes_nothing(new, device, rng):
    got = list(day22.generate(gpt(rng, device), texts(rng, 3, 5), new))
    assert got == [], f"new={new}: no token was asked for, and {len(got)} came"


@exercise("generate")
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_generate_yields_ids(temperature, device, rng):
    steps = day22.generate(gpt(rng, device), texts(rng, 3, 1), 4, temperature=temperature)
    for i, token in enumerate(steps):
        found = tuple(token.shape), token.dtype, token.device.type
        assert found == ((2,), torch.int64, device.type), (
            f"temperature {temperature}, two prompts: token {i} is {found}, and "
            f"{((2,), torch.int64, device.type)} is due"
        )


@exercise("generate")
def test_generate_makes_everything_where_the_model_is(device, rng):
    model, prompts = gpt(rng, device), texts(rng, 3, 1)
    with torch.device("meta"):  # where tensors land that are made without device=
        got = torch.stack(list(day22.generate(model, prompts, 3)), 1)
    assert got.device == prompts[0].device, f"the model is on {device}, the ids on {got.device}"


@exercise("generate")
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_generate_from_a_single_token(temperature, device, rng):
    """A vocabulary of one: no other id is there, to fill up with or to draw."""
    model = random_weights(GPT(1, 8, 12, 2, 3).to(device, WIDE), rng).eval()
    prompts = [torch.zeros(n, dtype=torch.int64, device=device) for n in (3, 1)]
    got = [x.tolist() for x in day22.generate(model, prompts, 2, temperature=temperature)]
    assert got == [[0, 0], [0, 0]], f"the vocabulary has the token 0 alone, and written were {got}"


@exercise("generate")
def test_generate_is_linear(device, rng):
    model, prompts = gpt(rng, device), texts(rng, 8)
    counts = []
    for new in (8, 32):
        with FlopCounterMode(display=False) as counter:
            list(day22.generate(model, prompts, new))
        counts.append(counter.get_total_flops())
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(rng.integers(0, 11, 1, 39))
    once = counter.get_total_flops()
    assert counts[1] <= 1.05 * once, (
        f"32 tokens behind 8 take {counts[1]:,} operations, and to read all of them once {once:,}"
    )


@exercise("generate")
def test_generate_room(device, rng):
    """As many positions as are needed, in the dtype of the model; and the context may be full."""
    made, original = [], day22.KVCache

    class Noted(original):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            made.append((tuple(self.keys.shape), self.keys.dtype))

    day22.KVCache = Noted
    try:
        model = gpt(rng, device, context=12, dtype=torch.bfloat16)
        list(day22.generate(model, texts(rng, 3, 5), 8))
    finally:
        day22.KVCache = original
    assert made == [((2, 3, 12, 4), torch.bfloat16)] * 2, (
        "two layers, prompts of 3 and 5, 8 new tokens: due are two caches (2, 3, 12, 4) of "
        f"torch.bfloat16, and {len(made)} were made: {made}"
    )


@exercise("generate")
def test_generate_changes_nothing(device, rng):
    model, prompts = gpt(rng, device), texts(rng, 2, 4)
    before = list(model.named_modules())
    got = list(day22.generate(model, prompts, 2))
    after = list(model.named_modules())
    assert before == after, "the model has other modules now: its own attention was replaced"
    assert not any(x.requires_grad for x in got), "the tokens require a gradient"
    assert torch.is_grad_enabled(), "gradients are off after generate"


@exercise("generate")
def test_generate_draws(device, rng):
    model, prompts = gpt(rng, device), texts(rng, 3) * 400
    with torch.no_grad():
        model.tokens.weight.mul_(0.3)  # chances that are spread out
        for temperature in (1.0, 0.5, 3.0):
            chances = (model(prompts[0][None])[0, -1] / temperature).softmax(-1)
            generator = torch.Generator(device).manual_seed(rng.seed)
            (token,) = day22.generate(
                model, prompts, 1, temperature=temperature, generator=generator
            )
            share = torch.bincount(token, minlength=11) / 400
            sigma = (chances * (1 - chances) / 400).sqrt()
            worst = ((share - chances).abs() - 6 * sigma - 0.01).max().item()
            assert worst <= 0, (
                f"temperature {temperature}: of 400 draws, {share.tolist()}, and the chances are "
                f"{chances.tolist()}"
            )


@exercise("generate")
def test_generate_draws_with_the_generator(device, rng):
    model, prompts = gpt(rng, device), texts(rng, 3, 2)
    runs = []
    for seed in (1, 1):
        torch.manual_seed(len(runs))
        generator = torch.Generator(device).manual_seed(seed)
        steps = day22.generate(model, prompts, 20, temperature=2.0, generator=generator)
        runs.append(torch.stack(list(steps)))
    assert torch.equal(*runs), "the same generator state gave two different texts"


@exercise("generate")
def test_generate_draws_with_torchs_own_generator(device, rng):
    model, prompts = gpt(rng, device), texts(rng, 3, 2)

    def text(seed):
        torch.manual_seed(seed)
        return torch.stack(list(day22.generate(model, prompts, 20, temperature=1e4)))

    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        one, once_more, other = text(1), text(1), text(2)
    assert torch.equal(one, once_more), (
        "without a generator, after torch.manual_seed(1) and again after it: two different texts"
    )
    assert not torch.equal(one, other), (
        "without a generator, after torch.manual_seed(1) and after (2): the same text"
    )


@exercise("generate")
def test_generate_refuses(device, rng):
    model = gpt(rng, device, context=10)
    list(day22.generate(model, texts(rng, 6), 5))
    refused(lambda: list(day22.generate(model, texts(rng, 2, 6), 6)), names=(11, 10),
            what="prompts of 2 and 6 tokens, 6 new ones, context 10")  # fmt: skip
    refused(lambda: list(day22.generate(model, texts(rng, 2, 0), 3)), names=(1,),
            what="the second prompt is empty")  # fmt: skip
    refused(lambda: list(day22.generate(model, texts(rng, 0, 2), 3)), names=(0,),
            what="the first prompt is empty")  # fmt: skip
    refused(lambda: list(day22.generate(model, texts(rng, 2), 3, chunk=0)), names=("chunk", 0),
            what="chunk=0")  # fmt: skip


# cache_bytes ---------------------------------------------------------------------------------


@exercise("cache_bytes")
@pytest.mark.parametrize("dtype", [*DTYPES, torch.int8, torch.float8_e4m3fn], ids=str)
def test_bytes_of_rows(dtype, device):
    for layers, heads, d, lengths in ((1, 1, 1, [1]), (2, 3, 64, [50, 7, 50]), (4, 2, 32, [33])):

        def make(layers=layers, heads=heads, d=d, lengths=lengths):
            shape = (len(lengths), heads, max(lengths), d)
            return [torch.zeros(2, *shape, dtype=dtype, device=device) for _ in range(layers)]

        _, seen = watch(make, of="torch")
        got = day22.cache_bytes(layers, heads, d, lengths, dtype)
        what = f"{layers} layers, {heads} heads of {d}, lengths {lengths}, {dtype}"
        held = sum(x.nbytes for x in make())
        assert got == held, f"{what}: {got} bytes, and tensors of that shape have {held}"
        assert held <= 16 or seen.live_bytes >= held, f"{what}: measured were {seen.live_bytes}"


@exercise("cache_bytes")
def test_bytes_of_blocks(device, rng):
    for size in (1, 4, 16, 2048):
        for lengths in ([1], [16], [17, 3], [0, 5, 64], [4, 8], [2049, 2048]):
            blocks = sum(len(range(0, n, size)) for n in lengths)
            wanted = 2 * blocks * size * 3 * 5 * 2 * 4
            got = day22.cache_bytes(2, 3, 5, lengths, torch.float32, block_size=size)
            assert got == wanted, (
                f"lengths {lengths} in {blocks} blocks of {size}, 2 layers, 3 heads of 5, float32: "
                f"{got} bytes, and there are {wanted}"
            )


@exercise("cache_bytes")
def test_bytes_of_known_models():
    """From their published shapes: heads of keys and values, head_dim and layers, in float16."""
    for name, layers, heads, d, wanted in (
        ("GPT-2 XL", 48, 25, 64, 307_200),
        ("Llama-3-8B", 32, 8, 128, 131_072),
        ("Llama-2-7B", 32, 32, 128, 524_288),
    ):
        got = day22.cache_bytes(layers, heads, d, [1])
        assert got == wanted, f"one token of {name} takes {wanted:,} bytes, not {got:,}"
    assert day22.cache_bytes(2, 3, 4, []) == 0, "no sequence takes 0 bytes"
    assert day22.cache_bytes(2, 3, 4, [], block_size=4) == 0, "no sequence takes 0 bytes"
