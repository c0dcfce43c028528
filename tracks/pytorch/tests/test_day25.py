"""Day 25: formulas that must equal what torch's own counters see."""

import math
from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from harness.testing import exercise, shapes, watch
from tracks.pytorch import day25

PLAIN = day25.Config(vocab=37, dim=24, layers=3, heads=4, kv_heads=4, head_dim=8, hidden=40)
WIDER = replace(PLAIN, head_dim=16, hidden=20, layers=2)  # heads · head_dim is more than dim
CONFIGS = {
    "plain": PLAIN,
    "heads wider than dim": WIDER,
    "shared keys": replace(WIDER, kv_heads=2),
    "one head of keys": replace(PLAIN, kv_heads=1, head_dim=5, layers=1),
    "gated": replace(WIDER, gated=True),
    "bias": replace(WIDER, kv_heads=2, bias=True),
    "bias and gated": replace(PLAIN, bias=True, gated=True),
    "tied": replace(WIDER, tied=True),
    "tied, bias, table of positions": replace(PLAIN, tied=True, bias=True, positions=50),
    "table of positions": replace(WIDER, positions=64, kv_heads=1),
    "no layers": replace(PLAIN, layers=0),
}
EACH = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
WITH_LAYERS = pytest.mark.parametrize(
    "config",
    [c for c in CONFIGS.values() if c.layers],
    ids=[n for n in CONFIGS if n != "no layers"],
)
PUBLISHED = {
    "GPT-2 XL": (day25.GPT2_XL, 1_557_611_200),
    "Llama-3-8B": (day25.LLAMA3_8B, 8_030_261_248),
    "Llama-3-70B": (day25.LLAMA3_70B, 70_553_706_496),
    "Mistral-7B": (day25.MISTRAL_7B, 7_241_732_096),
}


def made(config, device, dtype=torch.float32, fused=False):
    return day25.Model(config, fused).to(device, dtype)


def whole_number(got, what):
    assert type(got) is int, f"{what} is a {type(got).__name__}, {got}: whole numbers are int"
    return got


def counted(got, wanted, what):
    """Equal; else how far off, and by which of the sizes the difference can be divided."""
    whole_number(got, what)
    assert got == wanted, f"{what}: {got:,} was said, and {wanted:,} is counted ({got - wanted:+,})"


def makes_no_tensor(f, *args, **kwargs):
    _, seen = watch(f, *args, **kwargs)
    assert not seen.operators, (
        f"it is arithmetic on sizes, but {len(seen.operators)} operators were called, "
        f"the first {seen.operators[0]}"
    )


# parameter_count -----------------------------------------------------------------------------


@exercise("parameter_count")
@EACH
def test_parameters_equal_the_models(config):
    counted(
        day25.parameter_count(config),
        sum(p.numel() for p in day25.Model(config).parameters()),
        "the number of weights",
    )


@exercise("parameter_count")
@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_as_published(name):
    config, wanted = PUBLISHED[name]
    counted(day25.parameter_count(config), wanted, f"the number of weights of {name}")


@exercise("parameter_count")
def test_parameter_count_makes_no_tensor():
    makes_no_tensor(day25.parameter_count, PLAIN)


# model_flops ---------------------------------------------------------------------------------


@exercise("model_flops")
@pytest.mark.parametrize(
    "config, training",
    [pytest.param(c, False, id=name) for name, c in CONFIGS.items()]
    + [pytest.param(CONFIGS[n], True, id=f"{n}, training") for n in ("shared keys", "gated")],
)
def test_flops_equal_the_counters(config, training, device, rng):
    model = made(config, device)
    # Following a backward pass takes the counter half a second.
    for batch, length in ((2, 5),) if training else ((2, 5), (3, 1)):
        ids = rng.integers(0, config.vocab, batch, length)
        with FlopCounterMode(display=False) as counter:
            loss = model(ids, ids)
            if training:
                loss.backward()
        got = day25.model_flops(config, batch, length, training=training)
        counted(got.total, counter.get_total_flops(), f"FLOPs of {batch} × {length} tokens")


@exercise("model_flops")
@EACH
def test_flops_with_a_cache(config, device, rng):
    model = made(config, device)
    cache = day25.empty_cache(config, 2, 12, model.head.weight.detach())
    for cached, length in ((7, 1), (4, 3), (0, 12)):
        ids = rng.integers(0, config.vocab, 2, length)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(ids, cache=cache, cached=cached)
        got = day25.model_flops(config, 2, length, cached)
        counted(got.total, counter.get_total_flops(), f"FLOPs of {length} tokens after {cached}")


@exercise("model_flops")
@EACH
def test_flops_of_attention_apart(config, device, rng):
    """What of the count is attention: that of products between tensors that are no weights."""
    model = made(config, device)
    ids = rng.integers(0, config.vocab, 2, 6)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(ids)
    counts = counter.get_flop_counts()["Global"]
    apart = sum(n for operator, n in counts.items() if operator is torch.ops.aten.bmm)
    got = day25.model_flops(config, 2, 6)
    counted(got.attention, apart, "FLOPs of attention")
    counted(got.weights, counter.get_total_flops() - apart, "FLOPs of the products with weights")


@exercise("model_flops")
def test_training_takes_three_times_as_much_of_both():
    once, thrice = (day25.model_flops(WIDER, 2, 7, 3, training=t) for t in (False, True))
    assert tuple(thrice) == tuple(3 * n for n in once), f"forward {once}, training {thrice}"


@exercise("model_flops")
def test_model_flops_makes_no_tensor():
    makes_no_tensor(day25.model_flops, PLAIN, 2, 3)


# step_bytes ----------------------------------------------------------------------------------


class Touched(TorchDispatchMode):
    """Marks each element of some tensors that an operator reads or writes."""

    def __init__(self, tensors):
        super().__init__()
        self.tensors = list(tensors)  # kept, so that no address is given away
        self.marks = {
            t.untyped_storage().data_ptr(): torch.zeros_like(t, dtype=torch.bool)
            for t in self.tensors
        }

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        name = function._schema.name.removeprefix("aten::")
        if name == "embedding":
            self.marks[args[0].untyped_storage().data_ptr()][args[1].flatten()] = True
            return result
        kept = result.untyped_storage().data_ptr() if isinstance(result, torch.Tensor) else None
        for x in args:
            mark = None
            if isinstance(x, torch.Tensor):
                mark = self.marks.get(x.untyped_storage().data_ptr())
            if mark is None or (kept == x.untyped_storage().data_ptr() and not name.endswith("_")):
                continue  # another tensor, or a view: nothing is read
            mark.as_strided(x.size(), x.stride(), x.storage_offset()).fill_(True)
        return result

    def count(self, tensors):
        found = {t.untyped_storage().data_ptr() for t in tensors}
        return sum(int(self.marks[p].sum()) for p in found)


@exercise("step_bytes")
@EACH
@shapes("batch, length, cached", (1, 1, 0), (3, 1, 9), (2, 5, 0), (2, 3, 4))
def test_bytes_equal_what_operators_touch(config, batch, length, cached, device, rng):
    model = made(config, device)
    cache = day25.empty_cache(config, batch, 16, model.head.weight.detach())
    # Tokens and positions that differ: two equal ones would share a row.
    ids = rng.permutation(config.vocab)[: batch * length].view(batch, length)
    with Touched([*model.parameters(), cache]) as touched, torch.no_grad():
        model(ids, cache=cache, cached=cached)
    for itemsize in (2, 4):
        got = day25.step_bytes(config, batch, length, cached, itemsize)
        what = f"{batch} × {length} tokens, {cached} cached, itemsize={itemsize}"
        weights = itemsize * touched.count(model.parameters())
        counted(got.weights, weights, f"bytes of the weights for {what}")
        counted(got.cache, itemsize * touched.count([cache]), f"bytes of the cache for {what}")


@exercise("step_bytes")
def test_bytes_by_default():
    """One new token a sequence, an empty cache, two bytes a number."""
    got, wanted = day25.step_bytes(WIDER, 2), day25.step_bytes(WIDER, 2, 1, 0, 2)
    assert got == wanted, f"by default {got}, with length=1, cached=0, itemsize=2 {wanted}"


@exercise("step_bytes")
def test_step_bytes_makes_no_tensor():
    makes_no_tensor(day25.step_bytes, PLAIN, 2, 3)


# arithmetic_intensity ------------------------------------------------------------------------


@exercise("arithmetic_intensity")
@WITH_LAYERS
@shapes("batch, length, cached, itemsize", (1, 1, 7, 2), (5, 3, 2, 4), (2, 16, 0, 1))
def test_intensity(config, batch, length, cached, itemsize):
    got = day25.arithmetic_intensity(config, batch, length, cached, itemsize)
    flops = day25.model_flops(config, batch, length, cached)
    moved = day25.step_bytes(config, batch, length, cached, itemsize)
    sizes = f"batch {batch}, {length} tokens after {cached}, itemsize={itemsize}"
    for part in ("weights", "attention", "whole"):
        above = {"weights": flops.weights, "attention": flops.attention, "whole": sum(flops)}[part]
        below = {"weights": moved.weights, "attention": moved.cache, "whole": sum(moved)}[part]
        found = getattr(got, part)
        assert math.isclose(found, above / below, rel_tol=1e-12), (
            f"{part} with {sizes}: {found}, but {above:,} FLOPs for {below:,} bytes"
        )


@exercise("arithmetic_intensity")
def test_a_batch_helps_the_weights_alone():
    one, many = (day25.arithmetic_intensity(day25.LLAMA3_8B, b, cached=2047) for b in (1, 64))
    assert 60 < many.weights / one.weights <= 64, f"of the weights: {one.weights}, {many.weights}"
    assert many.attention == one.attention, f"of attention: {one.attention}, {many.attention}"


@exercise("arithmetic_intensity")
def test_arithmetic_intensity_makes_no_tensor():
    makes_no_tensor(day25.arithmetic_intensity, PLAIN, 2)


# decode_time_bound ---------------------------------------------------------------------------


@exercise("decode_time_bound")
@EACH
@shapes("batch, cached, itemsize", (1, 0, 2), (7, 33, 2), (300, 5, 1))
def test_time_bound(config, batch, cached, itemsize):
    device = day25.Device(memory=10**9, bandwidth=3e9, flops=7e10)
    got = day25.decode_time_bound(config, device, batch, cached, itemsize)
    moved = day25.step_bytes(config, batch, 1, cached, itemsize).total
    flops = day25.model_flops(config, batch, 1, cached).total
    for part, wanted, of in (
        ("memory", moved / 3e9, f"{moved:,} bytes at 3e9 a second"),
        ("compute", flops / 7e10, f"{flops:,} FLOPs at 7e10 a second"),
    ):
        found = getattr(got, part)
        assert math.isclose(found, wanted, rel_tol=1e-12), f"{part}: {found} s, but there are {of}"


@exercise("decode_time_bound")
def test_time_bound_by_default():
    """Two bytes a number, unless told otherwise."""
    got = day25.decode_time_bound(WIDER, day25.H100, 2, 9)
    wanted = day25.decode_time_bound(WIDER, day25.H100, 2, 9, itemsize=2)
    assert got == wanted, f"by default {got}, with itemsize=2 {wanted}"


@exercise("decode_time_bound")
def test_the_limit_moves_with_the_batch():
    bounds = [day25.decode_time_bound(day25.LLAMA3_8B, day25.H100, b, 63) for b in (1, 1000)]
    assert bounds[0].memory > bounds[0].compute, f"one sequence: {bounds[0]}"
    assert bounds[1].memory < bounds[1].compute, f"a thousand short sequences: {bounds[1]}"


@exercise("decode_time_bound")
def test_decode_time_bound_makes_no_tensor():
    makes_no_tensor(day25.decode_time_bound, PLAIN, day25.H100, 2, 3)


# activation_memory ---------------------------------------------------------------------------


def kept_bytes(model, ids, targets):
    """What autograd keeps, each storage once; not what was there before, nor single numbers."""
    there = {t.untyped_storage().data_ptr() for t in (*model.parameters(), ids, targets)}
    kept = {}

    def pack(x):
        storage = x.untyped_storage()
        if storage.data_ptr() not in there and x.numel() > 1:
            kept[storage.data_ptr()] = (storage.nbytes(), x)  # x, so that no address is given away
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        loss = model(ids, targets)
    assert loss.requires_grad
    return sum(size for size, _ in kept.values())


@exercise("activation_memory")
@EACH
@shapes("batch, length", (2, 9), (1, 2), (3, 16))
def test_kept_bytes_equal_the_hooks(config, batch, length, device, rng):
    ids, targets = (rng.integers(0, config.vocab, batch, length) for _ in range(2))
    wanted = kept_bytes(made(config, device), ids, targets)
    got = day25.activation_memory(config, batch, length, itemsize=4)
    counted(got, wanted, f"bytes kept for {batch} × {length} tokens")


@exercise("activation_memory")
@EACH
def test_kept_bytes_of_fused_attention(config, device, rng):
    config = replace(config, positions=4 * config.positions, head_dim=16)
    # On a GPU float32 has another kernel, which keeps more.
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    # A whole number of the tiles to which a GPU's kernel rounds the logarithms up.
    ids, targets = (rng.integers(0, config.vocab, 2, 128) for _ in range(2))
    wanted = kept_bytes(made(config, device, dtype, fused=True), ids, targets)
    got = day25.activation_memory(config, 2, 128, dtype.itemsize, fused=True)
    if device.type == "cpu":
        counted(got, wanted, "bytes kept with fused attention")
    assert abs(got / wanted - 1) < 0.05, f"fused: {got:,} was said, and {wanted:,} is counted"


@exercise("activation_memory")
def test_kept_bytes_in_bfloat16(device, rng):
    """Within 5 %: a CPU keeps a norm's two numbers with 2 bytes each."""
    config = CONFIGS["bias and gated"]
    ids, targets = (rng.integers(0, config.vocab, 2, 32) for _ in range(2))
    wanted = kept_bytes(made(config, device, torch.bfloat16), ids, targets)
    got = day25.activation_memory(config, 2, 32)
    assert abs(got / wanted - 1) < 0.05, f"bfloat16: {got:,} was said, and {wanted:,} is counted"


@exercise("activation_memory")
@pytest.mark.parametrize("fused", [False, True], ids=["stored", "fused"])
def test_kept_bytes_are_what_is_allocated(fused, device, rng):
    """Before and after the forward pass, within 5 %."""
    config = CONFIGS["heads wider than dim"]
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    model = made(config, device, dtype, fused)
    ids, targets = (rng.integers(0, config.vocab, 2, 128) for _ in range(2))
    model(ids, targets)  # a GPU's libraries make room for themselves at the first call
    _, seen = watch(model, ids, targets)
    got = day25.activation_memory(config, 2, 128, dtype.itemsize, fused)
    assert abs(got / seen.live_bytes - 1) < 0.05, (
        f"{got:,} bytes were said, and {seen.live_bytes:,} are still allocated after the pass"
    )


@exercise("activation_memory")
@EACH
@pytest.mark.parametrize("fused", [False, True], ids=["stored", "fused"])
def test_numbers_of_four_bytes(config, fused):
    """What does not change with itemsize."""
    two, four = (day25.activation_memory(config, 2, 9, size, fused) for size in (2, 4))
    each = 2 * (2 * config.layers + 1) + (config.heads * config.layers if fused else 0)
    assert 2 * two - four == 2 * 9 * 4 * each, (
        f"itemsize 2 gives {two:,} bytes, itemsize 4 {four:,}: the numbers of 4 bytes are then "
        f"{(2 * two - four) / (2 * 9 * 4):g} a token, but a token has {each} of them"
    )


@exercise("activation_memory")
def test_kept_bytes_by_default():
    """Two bytes a number and attention with stored weights, unless told otherwise."""
    got = day25.activation_memory(WIDER, 2, 9)
    wanted = day25.activation_memory(WIDER, 2, 9, itemsize=2, fused=False)
    assert got == wanted, f"by default {got}, with itemsize=2 and fused=False {wanted}"


@exercise("activation_memory")
def test_activation_memory_makes_no_tensor():
    makes_no_tensor(day25.activation_memory, PLAIN, 2, 3)


# max_batch -----------------------------------------------------------------------------------


@exercise("max_batch")
@WITH_LAYERS
def test_one_sequence_more_does_not_fit(config, device):
    def serve(batch, length):
        with torch.device(device):
            model = day25.Model(config)
            return model, day25.empty_cache(config, batch, length, model.head.weight.detach())

    _, alone = watch(serve, 0, 1, of="torch")
    for length, room in ((1, 20_001), (7, 100_000), (64, 150_001)):
        card = day25.Device(alone.live_bytes + room + 999, 1.0, 1.0)
        batch = day25.max_batch(config, card, length, 4, weight_bits=32, reserve=999)
        whole_number(batch, "max_batch")
        for more, fits in ((0, True), (1, False)):
            _, seen = watch(serve, batch + more, length, of="torch")
            assert (seen.live_bytes + 999 <= card.memory) == fits, (
                f"{batch} sequences of {length} tokens were said. With {batch + more} of them "
                f"{seen.live_bytes:,} bytes are allocated, 999 are reserved, and the card has "
                f"{card.memory:,}"
            )


@exercise("max_batch")
def test_the_last_byte_counts():
    weights, sequence = day25.parameter_count(WIDER) * 2, 2 * 2 * 4 * 16 * 10 * 2
    for spare, wanted in ((0, 0), (sequence - 1, 0), (sequence, 1), (5 * sequence - 1, 4)):
        card = day25.Device(weights + 100 + spare, 1.0, 1.0)
        got = day25.max_batch(WIDER, card, 10, reserve=100)
        assert got == wanted, (
            f"beside weights and reserve {spare:,} bytes are free, a sequence takes {sequence:,}, "
            f"and max_batch says {got}"
        )


@exercise("max_batch")
@pytest.mark.parametrize("bits", [16, 8, 4, 3])
def test_quantised_weights(bits):
    config = replace(PLAIN, dim=25)  # an odd number of weights
    weights = math.ceil(day25.parameter_count(config) * bits / 8)
    sequence = 2 * 3 * 4 * 8 * 10 * 2
    for short in (0, 1):
        card = day25.Device(weights + 5 * sequence - short, 1.0, 1.0)
        got = day25.max_batch(config, card, 10, weight_bits=bits, reserve=0)
        assert got == 5 - short, (
            f"{bits} bits: the weights are {weights:,} bytes, a sequence {sequence:,}, the card "
            f"has {card.memory:,}, and max_batch says {got}"
        )


@exercise("max_batch")
@pytest.mark.parametrize(
    "config, length, small, large",
    [("GPT2_XL", 1024, 68, 259), ("LLAMA3_8B", 8192, 8, 64), ("LLAMA3_70B", 8192, 0, 0),
     ("MISTRAL_7B", 4096, 19, 131)],
)  # fmt: skip
def test_published_models_on_two_cards(config, length, small, large):
    sizes = getattr(day25, config)
    found = [day25.max_batch(sizes, card, length) for card in (day25.RTX_4090, day25.H100)]
    assert found == [small, large], f"{config} at {length} tokens: {found} sequences"


@exercise("max_batch")
def test_too_small_a_card():
    card = day25.Device(1000, 1.0, 1.0)
    for reserve in (0, 2**30):
        got = day25.max_batch(PLAIN, card, 10, reserve=reserve)
        assert got == 0, f"the weights alone do not fit, and max_batch says {got}"


@exercise("max_batch")
@pytest.mark.parametrize("length", [0, -3])
def test_refuses_a_length(length):
    with pytest.raises(ValueError) as refusal:
        day25.max_batch(PLAIN, day25.H100, length)
        pytest.fail(f"length={length} was accepted: a ValueError was due")
    assert "length" in str(refusal.value) and str(length) in str(refusal.value), (
        f"which argument, and what was it? {str(refusal.value)!r}"
    )


@exercise("max_batch")
def test_max_batch_makes_no_tensor():
    makes_no_tensor(day25.max_batch, PLAIN, day25.H100, 3)
