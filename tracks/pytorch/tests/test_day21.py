"""Day 21: both transformers in float64, against torch's and transformers'; decoding."""

import copy
import json
import math
from functools import cache

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

from harness.testing import close, exercise, random_weights, refused, shapes
from tracks.pytorch import day21

BAN = [
    "scaled_dot_product_attention",
    "multi_head_attention_forward",
    "_native_multi_head_attention",
    "_transformer_encoder_layer_fwd",
]
WIDE = torch.float64
ORDERS = pytest.mark.parametrize("norm_first", [True, False], ids=["norm first", "norm last"])
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)


def torch_stack(stack, activation, eps=1e-5):
    """torch's stack with the weights of day 20's."""
    first = stack.blocks[0]
    decoder = hasattr(first, "cross_attention")
    kind = nn.TransformerDecoderLayer if decoder else nn.TransformerEncoderLayer
    layer = kind(
        first.dim,
        first.attention.heads,
        first.feed_forward.up_proj.out_features,
        dropout=0.0,
        activation=activation,
        layer_norm_eps=eps,
        batch_first=True,
        norm_first=first.norm_first,
    )
    norm = nn.LayerNorm(first.dim, eps) if first.norm_first else None
    if decoder:
        theirs = nn.TransformerDecoder(layer, len(stack.blocks), norm)
    else:
        theirs = nn.TransformerEncoder(layer, len(stack.blocks), norm, enable_nested_tensor=False)
    norms = ["attention_norm", *["cross_norm"] * decoder, "feed_forward_norm"]
    state = {f"norm.{name}": p for name, p in stack.norm.named_parameters()}
    for i, block in enumerate(stack.blocks):
        for name, attention in (("self_attn", "attention"), ("multihead_attn", "cross_attention")):
            if hasattr(block, attention):
                part = getattr(block, attention)
                three = (part.q_proj, part.k_proj, part.v_proj)
                state[f"layers.{i}.{name}.in_proj_weight"] = torch.cat([p.weight for p in three])
                state[f"layers.{i}.{name}.in_proj_bias"] = torch.cat([p.bias for p in three])
                state[f"layers.{i}.{name}.out_proj.weight"] = part.out_proj.weight
                state[f"layers.{i}.{name}.out_proj.bias"] = part.out_proj.bias
        parts = {f"norm{n}": getattr(block, name) for n, name in enumerate(norms, 1)}
        parts |= {"linear1": block.feed_forward.up_proj, "linear2": block.feed_forward.down_proj}
        for part, module in parts.items():
            state |= {f"layers.{i}.{part}.{name}": p for name, p in module.named_parameters()}
    theirs.to(stack.blocks[0].attention_norm.weight).load_state_dict(state)
    return theirs.eval()


def hidden_future(length, device):
    return torch.ones(length, length, dtype=torch.bool, device=device).triu(1)


def same(got, wanted, name, dtype=WIDE):
    close(got, wanted, dtype=dtype, terms=1024, scale=64.0, name=name)


def off(got, wanted):
    """How far off, as a share of the length of what is wanted."""
    return ((got.double() - wanted.double()).norm() / wanted.double().norm()).item()


def narrow(module, dtype, *inputs):
    module = module.eval().to(dtype)
    result = module(*inputs)
    assert result.dtype == dtype, f"the weights are {dtype}, but the scores {result.dtype}"
    error = off(result, copy.deepcopy(module).double()(*inputs))
    # Every part rounds its result to bfloat16, which is off by up to 2⁻⁹, and scores reach 10.
    limit = 0.1 if dtype == torch.bfloat16 else 1e-4
    assert error < limit, f"the scores in {dtype} are off by {error:.2g} of their length"


def compiles(module, *inputs):
    """Values and gradients without a graph break, as without torch.compile."""
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True, dynamic=False)
    results = []
    for f in (module, compiled):
        module.zero_grad()
        out = f(*inputs)
        out.square().sum().backward()
        results.append([out.detach(), *(p.grad for p in module.parameters())])
    for what, part in (("scores are", slice(1)), ("gradients are", slice(1, None))):
        wanted, got = (torch.cat([x.double().flatten() for x in r[part]]) for r in results)
        error = off(got, wanted)
        assert error < 1e-4, f"compiled, the {what} off by {error:.2g} of their length"


def check_parameters(model, stacks, tables):
    """The tables, and what is in the stacks: nothing else, and nothing twice."""
    found = {name: tuple(p.shape) for name, p in model.named_parameters(remove_duplicate=False)}
    rest = {name: shape for name, shape in found.items() if not name.startswith(stacks)}
    assert rest == tables, f"beside the stacks there is {rest}, and it should be {tables}"
    for stack in stacks:
        assert any(name.startswith(stack) for name in found), f"no parameter is in {stack!r}"


# Transformer ---------------------------------------------------------------------------------


def transformer(rng, device, vocab=11, dim=12, heads=3, depth=2, dtype=WIDE, **options):
    model = day21.Transformer(vocab, dim, heads, depth, **options).to(device, dtype)
    return random_weights(model, rng, 1.5).eval()


def code(length, dim, device):
    """Sines and cosines in float64, rounded to float32 as day 19 does."""
    rows = [
        [f(p * 10_000.0 ** (-2 * i / dim)) for i in range(dim // 2) for f in (math.sin, math.cos)]
        for p in range(length)
    ]
    return torch.tensor(rows, dtype=WIDE, device=device).view(length, dim).float().double()


def oracle(model, source, target, hidden=None):
    """The same model, of torch's stacks. ``hidden`` (batch, S) bool: the padding of the source."""
    table, dim = model.tokens.weight, model.tokens.dim
    activation = model.encoder.blocks[0].feed_forward.activation
    eps = model.encoder.blocks[0].attention_norm.eps
    stacks = [torch_stack(s, activation, eps) for s in (model.encoder, model.decoder)]
    inputs = [table[ids] * dim**0.5 + code(ids.shape[1], dim, ids.device)
              for ids in (source, target)]  # fmt: skip
    memory = stacks[0](inputs[0], src_key_padding_mask=hidden)
    out = stacks[1](
        inputs[1],
        memory,
        tgt_mask=hidden_future(target.shape[1], target.device),
        memory_key_padding_mask=hidden,
    )
    return (out @ table.T).detach()


@exercise("Transformer")
def test_transformer_parameters():
    model = day21.Transformer(11, 12, 3, 2)
    check_parameters(model, ("encoder.", "decoder."), {"tokens.weight": (11, 12)})
    found = (len(model.encoder.blocks), len(model.decoder.blocks))
    assert found == (2, 2), f"made with depth 2, encoder and decoder have {found} blocks"


@exercise("Transformer")
def test_transformer_hands_its_options_on():
    options = {"hidden": 5, "activation": torch.cos, "bias": False, "eps": 0.5}
    model = day21.Transformer(11, 12, 3, 1, dropout=0.25, norm_first=False, **options)
    assert model.dropout.p == 0.25, f"made with dropout=0.25, dropout.p is {model.dropout.p}"
    for name, stack in (("encoder", model.encoder), ("decoder", model.decoder)):
        block = stack.blocks[0]
        found = {
            "hidden": block.feed_forward.up_proj.out_features,
            "activation": block.feed_forward.activation,
            "bias": block.feed_forward.up_proj.bias is not None,
            "eps": block.attention_norm.eps,
            "dropout": block.dropout.p,
            "norm_first": block.norm_first,
        }
        wanted = options | {"dropout": 0.25, "norm_first": False}
        wrong = {option: x for option, x in found.items() if x != wanted[option]}
        assert not wrong, f"{name} did not get its options: {wrong}"


@exercise("Transformer")
@pytest.mark.parametrize("dim", [16, 64])
def test_transformer_first_values(dim):
    table = day21.Transformer(4000, dim, 2, 1, padding=7).tokens.weight.detach()
    assert not table[7].any(), "the row of the padding is not zero at first"
    rest = torch.cat([table[:7], table[8:]]) * dim**0.5
    spread, mean = rest.std().item(), rest.mean().item()
    sigma = 1 / math.sqrt(2 * rest.numel())
    assert abs(spread - 1) < 5 * sigma, f"the table's standard deviation is {spread:.3f} / √dim"
    assert abs(mean) < 8 * sigma, f"the mean of the table is {mean:.3f} / √dim"


@exercise("Transformer")
@shapes("batch, length, dim", (2, 5, 12), (1, 1, 2), (0, 3, 4), (2, 0, 4))
def test_transformer_embeds(batch, length, dim, device, rng):
    model = transformer(rng, device, dim=dim, heads=1, dropout=0.5)
    ids = rng.integers(0, 11, batch, length)
    wanted = model.tokens.weight.detach()[ids] * dim**0.5 + code(length, dim, device)
    same(model.embed(ids), wanted, f"what goes in for ids ({batch}, {length})")
    share = (model.train().embed(rng.integers(0, 11, 64, 8)) == 0).double().mean().item()
    assert abs(share - 0.5) < 0.25, f"with dropout=0.5, {share:.0%} of what goes in is dropped"


@exercise("Transformer")
def test_transformer_source_mask(device, rng):
    source = rng.integers(0, 5, 3, 4)
    for padding, wanted in ((2, source != 2), (-1, source != 4), (0, source != 0)):
        mask = day21.Transformer(5, 4, 1, 1, padding=padding).source_mask(source)
        what = f"with padding={padding} and vocab 5"
        assert mask.shape == (3, 1, 1, 4), f"{what} the mask of a source (3, 4) is {mask.shape}"
        close(mask, wanted[:, None, None], name=f"{what} the mask")
    mask = day21.Transformer(5, 4, 1, 1).source_mask(source)
    assert mask is None, f"there is no padding, and the mask is {mask}"


@exercise("Transformer", ban=BAN)
@ORDERS
@pytest.mark.parametrize("padding", [None, 3], ids=["no padding", "padding"])
def test_transformer_equals_torch(norm_first, padding, device, rng):
    options = {"activation": torch.tanh, "eps": 0.1} if padding else {}
    model = transformer(rng, device, norm_first=norm_first, padding=padding, **options)
    source, target = rng.integers(0, 11, 3, 6), rng.integers(0, 11, 3, 4)
    if padding is not None:
        source = source.clone()
        source[0, 2:], source[1, 5:] = padding, padding
        source[:, 0] = 1  # everyone keeps a key
    hidden = None if padding is None else source == padding
    same(model(source, target), oracle(model, source, target, hidden), f"padding={padding}")


@exercise("Transformer", ban=BAN)
def test_transformer_stages(device, rng):
    """encode and decode alone, with another mask for the memory."""
    model = transformer(rng, device, padding=3)
    source, target = rng.integers(4, 11, 2, 6), rng.integers(0, 11, 2, 4)
    memory = model.encode(source)
    hidden = torch.arange(6, device=device) >= torch.tensor([[3], [5]], device=device)
    stack = torch_stack(model.decoder, torch.relu)
    inputs = model.embed(target)
    future = hidden_future(4, device)
    for what, mask in (("no memory_mask", None), ("a memory_mask", hidden)):
        out = stack(inputs, memory, tgt_mask=future, memory_key_padding_mask=mask)
        wanted = (out @ model.tokens.weight.T).detach()
        seen = None if mask is None else ~mask[:, None, None]
        same(model.decode(target, memory, seen), wanted, f"decode with {what}")


@exercise("Transformer", ban=BAN)
def test_transformer_padding_changes_nothing(device, rng):
    model = transformer(rng, device, padding=3)
    source, target = rng.integers(4, 11, 2, 5), rng.integers(4, 11, 2, 4)
    longer = F.pad(source, (0, 3), value=3)
    wanted = model(source, target).detach()
    same(model(longer, target), wanted, "with three padding tokens behind the source")
    target = F.pad(target, (0, 2), value=3)
    same(model(source, target)[:, :4], wanted, "with two padding tokens behind the target")
    nothing = model(torch.full_like(source, 3), target)
    assert nothing.isfinite().all(), "a source that is padding throughout gives nan"


@exercise("Transformer", ban=BAN)
def test_transformer_gradient_of_the_table(device, rng):
    """It learns from all three places where it is used, and the padding's row never does."""
    model = transformer(rng, device, depth=1, padding=3)
    source, target = rng.integers(0, 11, 2, 5), rng.integers(0, 11, 2, 4)
    probe = rng.normal(2, 4, 11, dtype=WIDE)
    (model(source, target) * probe).sum().backward()
    grad = model.tokens.weight.grad.clone()
    assert not grad[3].any(), "the row of the padding has a gradient"

    step = 1e-6
    direction = rng.normal(11, 12, dtype=WIDE).clone()
    direction[3] = 0
    values = []
    for sign in (1, -1):
        moved = copy.deepcopy(model)
        with torch.no_grad():
            moved.tokens.weight.add_(sign * step * direction)
            values.append((moved(source, target) * probe).sum().item())
    slope, wanted = (grad * direction).sum().item(), (values[0] - values[1]) / (2 * step)
    error = abs(slope - wanted) / (grad.norm() * direction.norm()).item()
    assert error < 1e-5, f"along one direction of the table the gradient says {slope}, not {wanted}"


@exercise("Transformer", ban=BAN)
def test_transformer_any_leading_axes(device, rng):
    model = transformer(rng, device, padding=3)
    source, target = rng.integers(0, 11, 2, 3, 5), rng.integers(0, 11, 2, 3, 4)
    wanted = model(source.flatten(0, 1), target.flatten(0, 1)).detach().unflatten(0, (2, 3))
    same(model(source, target), wanted, "with two leading axes")
    same(model(source[0, 0], target[0, 0]), wanted[0, 0], "without a batch")
    many = rng.integers(0, 11, 2, 4, 3)
    got = model.scorer(source[:, 0])(many)
    for i in range(4):
        wanted = model(source[:, 0], many[:, i]).detach()
        same(got[:, i], wanted, f"the scores of beam {i} of 4")


@exercise("Transformer", ban=BAN)
def test_transformer_makes_everything_where_the_ids_are(device, rng):
    model = transformer(rng, device, padding=3)
    source, target = rng.integers(0, 11, 2, 5), rng.integers(0, 11, 2, 4)
    with torch.device("meta"):  # where tensors land that are made without device=
        scores = model(source, target)
    assert scores.device == source.device, f"ids on {source.device}, scores on {scores.device}"


@exercise("Transformer")
def test_transformer_drops_in_training_alone(device, rng):
    model = transformer(rng, device, dropout=0.5)
    source, target = rng.integers(0, 11, 2, 5), rng.integers(0, 11, 2, 4)
    same(model(source, target), oracle(model, source, target), "in eval mode, dropout=0.5")
    model.train()
    assert off(model(source, target), model(source, target)) > 0.01, (
        "in training nothing is dropped"
    )


@exercise("Transformer", ban=BAN)
@DTYPES
def test_transformer_other_dtypes(dtype, device, rng):
    model = transformer(rng, device, padding=3, dtype=dtype)
    narrow(model, dtype, rng.integers(0, 11, 2, 5), rng.integers(0, 11, 2, 4))


@exercise("Transformer", seconds=60)  # no ban: its watching cannot be compiled
def test_transformer_compiles(device, rng):
    model = transformer(rng, device, depth=1, padding=3, dtype=torch.float32)
    compiles(model, rng.integers(0, 11, 2, 5), rng.integers(0, 11, 2, 4))


# greedy_decode -------------------------------------------------------------------------------


class Table:
    """Scores of the next token, from a table for the position and the last two tokens; counts how
    often it is asked. At other positions than the last it gives what nobody should use.

    Two tokens of one row are at least 1/8 apart, in any dtype, and no row comes twice in a text:
    which continuation is the better one never hangs on a rounding."""

    def __init__(self, rng, vocab, axes=2, dtype=WIDE, scale=2.0):
        table = rng.normal(16, vocab, vocab, vocab, dtype=WIDE, std=scale)
        self.table = (table + table.argsort(-1).argsort(-1) / 8).to(dtype)
        self.axes, self.calls, self.lengths = axes, 0, []

    def next(self, ids):
        """ids: a list → the scores of the next token."""
        return self.table[len(ids) - 1, ids[-2] if len(ids) > 1 else 0, ids[-1]]

    def __call__(self, ids):
        assert ids.dim() == self.axes, (
            f"score was given ids of shape {tuple(ids.shape)}: it takes {self.axes} axes here"
        )
        self.calls += 1
        self.lengths.append(ids.shape[-1])
        at = torch.arange(ids.shape[-1], device=ids.device)
        before = F.pad(ids, (1, 0))[..., :-1]
        scores = self.table[at, before, ids]
        scores[..., :-1, :] = -scores[..., :-1, :]
        return scores


def greedy_oracle(table, start, new, stop):
    """One sequence: what is written."""
    ids, ended = list(start), False
    for _ in range(new):
        ids.append(stop if ended else int(table.next(ids).argmax()))
        ended = ended or ids[-1] == stop
    return ids


@exercise("greedy_decode")
@shapes("batch, length, new", (3, 2, 6), (1, 1, 1), (4, 5, 3), (2, 3, 0), (0, 2, 3))
def test_greedy_values(batch, length, new, device, rng):
    for vocab in (3, 8):
        score, start = Table(rng, vocab), rng.integers(0, vocab, batch, length)
        got = day21.greedy_decode(score, start, new)
        rows = [greedy_oracle(score, row, new, None) for row in start.tolist()]
        wanted = torch.tensor(rows, dtype=torch.int64, device=device).view(batch, length + new)
        close(got, wanted, name=f"ids of a vocabulary of {vocab}, no stop")


@exercise("greedy_decode")
def test_greedy_stops(device, rng):
    for stop in range(4):
        score, start = Table(rng, 4), rng.integers(0, 4, 5, 2)
        got = day21.greedy_decode(score, start, 7, stop=stop)
        rows = [greedy_oracle(score, row, 7, stop) for row in start.tolist()]
        steps = max(row.index(stop, 2) - 1 if stop in row[2:] else 7 for row in rows)
        wanted = torch.tensor(rows, device=device)[:, : 2 + steps]
        assert got.shape == wanted.shape, (
            f"stop={stop}: all have ended after {steps} of 7 tokens, and the result is "
            f"{tuple(got.shape)} for a start (5, 2)"
        )
        close(got, wanted, name=f"ids with stop={stop}")
        assert score.calls == steps, f"stop={stop}: {steps} steps are due, {score.calls} were taken"


@exercise("greedy_decode")
def test_greedy_stop_in_the_start(device, rng):
    start = torch.tensor([[5, 5], [1, 5]], device=device)
    got = day21.greedy_decode(lambda ids: F.one_hot((ids + 1) % 8, 8).float(), start, 2, stop=5)
    close(got, torch.tensor([[5, 5, 6, 7], [1, 5, 6, 7]], device=device), name="start holds stop")


@exercise("greedy_decode")
def test_greedy_leaves_no_trace(device, rng):
    table = nn.Parameter(rng.normal(5, 5).clone())
    start = rng.integers(0, 5, 2, 3)
    seen = []

    def score(ids):
        seen.append(torch.is_grad_enabled())
        return table[ids]

    got = day21.greedy_decode(score, start, 2)
    assert not any(seen), "score was called with gradients on: every step would be kept in memory"
    assert got.dtype == torch.int64, f"start is int64, and the result {got.dtype}"


@exercise("greedy_decode")
def test_greedy_lies_on_the_device(device, rng):
    score, start = Table(rng, 5), rng.integers(0, 5, 2, 3)
    with torch.device("meta"):  # where tensors land that are made without device=
        got = day21.greedy_decode(score, start, 4, stop=2)
    assert got.device == start.device, f"start is on {start.device}, the result on {got.device}"


@exercise("greedy_decode")
def test_greedy_refuses(device, rng):
    score = Table(rng, 5)
    what = "a start without tokens"
    refused(
        lambda: day21.greedy_decode(score, rng.integers(0, 5, 2, 0), 3),
        names=(
            2,
            0,
        ),
        what=what,
    )


# beam_search ---------------------------------------------------------------------------------


def beam_oracle(table, start, new, beams, stop, penalty):
    """One sequence: the ended ones, best first, as (final score, ids), and the steps taken."""
    running, ended = [(0.0, list(start))], []
    for n in range(1, new + 1):
        further = [
            (total + p, [*ids, token])
            for total, ids in running
            for token, p in enumerate(table.next(ids).double().log_softmax(-1).tolist())
        ]
        further = sorted(further, key=lambda x: -x[0])[: 2 * beams]
        over = [n == new or ids[-1] == stop for _, ids in further]
        ended += [
            (total / n**penalty, ids)
            for (total, ids), end in list(zip(further, over, strict=True))[:beams]
            if end
        ]
        ended = sorted(ended, key=lambda x: -x[0])[:beams]
        running = [x for x, end in zip(further, over, strict=True) if not end][:beams]
        if not running:
            break
        if len(ended) == beams and running[0][0] / n**penalty <= ended[-1][0]:
            break
    return ended, n


def check_beams(got, rows, start, beams, stop, what):
    steps = max(n for _, n in rows)
    shape = (len(rows), beams, start.shape[1] + steps)
    assert tuple(got.ids.shape) == shape, f"{what}: ids are {tuple(got.ids.shape)}, not {shape}"
    for b, (ended, _) in enumerate(rows):
        wanted = torch.full((beams,), -torch.inf, dtype=WIDE, device=start.device)
        wanted[: len(ended)] = torch.tensor([final for final, _ in ended], dtype=WIDE)
        close(got.scores[b], wanted, scale=16.0, dtype=got.scores.dtype,
              name=f"{what}: scores of sequence {b}")  # fmt: skip
        for i, (_, ids) in enumerate(ended):
            full = ids + [stop] * (shape[2] - len(ids))
            found = got.ids[b, i].tolist()
            assert found == full, f"{what}: sequence {b}, place {i} is {found}, should be {full}"


def try_beams(rng, vocab, batch, length, new, beams, stop=None, penalty=1.0, dtype=WIDE):
    score = Table(rng, vocab, axes=3, dtype=dtype)
    start = rng.integers(0, vocab, batch, length)
    rows = [beam_oracle(score, row, new, beams, stop, penalty) for row in start.tolist()]
    got = day21.beam_search(score, start, new, beams, stop=stop, length_penalty=penalty)
    what = f"beams={beams}, new={new}, stop={stop}, length_penalty={penalty}, vocab {vocab}"
    check_beams(got, rows, start, beams, stop, what)
    steps = max(n for _, n in rows)
    assert score.calls == steps, f"{what}: {steps} steps are due, {score.calls} were taken"


@exercise("beam_search")
@shapes("batch, length, new, beams", (1, 1, 1, 1), (3, 2, 4, 2), (2, 1, 5, 3), (2, 3, 3, 4))
def test_beams_without_stop(batch, length, new, beams, device, rng):
    for vocab in (8, 13):
        try_beams(rng, vocab, batch, length, new, beams)


@exercise("beam_search")
@pytest.mark.parametrize("penalty", [1.0, 0.0, 2.5, -1.0])
def test_beams_with_stop(penalty, device, rng):
    for beams in (1, 2, 3):
        for stop in (0, 4):
            try_beams(rng, 7, 6, 2, 7, beams, stop, penalty)


@exercise("beam_search")
def test_beams_of_few_continuations(device, rng):
    """More beams than continuations: what does not exist is never returned as if it did."""
    for vocab, beams, new in ((2, 3, 1), (2, 5, 2), (3, 4, 3), (2, 2, 4)):
        for stop in (None, 1):
            try_beams(rng, vocab, 3, 2, new, beams, stop)


@exercise("beam_search")
def test_one_beam_is_greedy(device, rng):
    score, start = Table(rng, 9, axes=3), rng.integers(0, 9, 4, 2)
    got = day21.beam_search(score, start, 5, 1)
    rows = [greedy_oracle(score, row, 5, None) for row in start.tolist()]
    close(got.ids[:, 0], torch.tensor(rows, device=device), name="ids with beams=1, no stop")


@exercise("beam_search")
def test_beams_find_what_greedy_misses(device):
    table = torch.tensor([[0, 0.6, 0.4], [0.4, 0.3, 0.3], [0, 0, 1.0]], device=device)
    start = torch.tensor([[0]], device=device)
    got = day21.beam_search(lambda ids: table.log()[ids], start, 2, 2)
    found = got.ids[0].tolist()
    assert found == [[0, 2, 2], [0, 1, 0]], f"0.4 · 1 is more than 0.6 · 0.4; found was {found}"
    close(got.scores[0].exp().square(), torch.tensor([0.4, 0.24], device=device), scale=4.0,
          name="the probabilities")  # fmt: skip


@exercise("beam_search")
def test_beams_of_other_dtypes(device, rng):
    for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
        wanted = torch.promote_types(dtype, torch.float32)
        try_beams(rng, 7, 3, 2, 5, 3, 4, dtype=dtype)
        score, start = Table(rng, 7, axes=3, dtype=dtype), rng.integers(0, 7, 3, 2)
        got = day21.beam_search(score, start, 2, 2)
        assert got.scores.dtype == wanted, f"of {dtype} the final scores are {got.scores.dtype}"


@exercise("beam_search")
def test_beams_end_at_a_tie(device):
    """What runs is exactly as good as the least that has ended: it is over, not a step later."""
    never = -100.0
    table = torch.tensor(
        [
            [never, 0, never, never],
            [0.5, never, 0.25, 0.25],  # the start: 0 ends, and 2 and 3 are equally likely
            [0, never, never, never],  # 2 ends for certain,
            [never, 0, never, never],  # 3 goes on for certain
        ],
        dtype=WIDE,
        device=device,
    )
    table[1, [0, 2, 3]] = table[1, [0, 2, 3]].log()
    calls = []

    def score(ids):
        calls.append(ids)
        return table[ids]

    start = torch.tensor([[1]], device=device)
    got = day21.beam_search(score, start, 4, 2, stop=0, length_penalty=0.0)
    assert len(calls) == 2, (
        "after step 2, the best sum of those that run is equal to the least final score: it is "
        f"over, but {len(calls)} steps were taken"
    )
    found = got.ids[0].tolist()
    assert found == [[1, 0, 0], [1, 2, 0]], f"the two that ended should come back, not {found}"


@exercise("beam_search")
def test_beams_lie_on_the_device(device, rng):
    score, start = Table(rng, 5, axes=3), rng.integers(0, 5, 2, 3)
    with torch.device("meta"):  # where tensors land that are made without device=
        got = day21.beam_search(score, start, 4, 3, stop=2)
    found = {x.device for x in got}
    assert found == {start.device}, f"start is on {start.device}, ids and scores on {found}"


@exercise("beam_search")
def test_beams_leave_no_trace(device, rng):
    table, seen = nn.Parameter(rng.normal(5, 5).clone()), []

    def score(ids):
        seen.append(torch.is_grad_enabled())
        return table[ids]

    got = day21.beam_search(score, rng.integers(0, 5, 2, 3), 2, 2)
    assert not any(seen), "score was called with gradients on: every step would be kept in memory"
    assert not got.scores.requires_grad, "the final scores require a gradient"


@exercise("beam_search")
def test_beams_refuse(device, rng):
    score, start = Table(rng, 5, axes=3), rng.integers(0, 5, 2, 2)
    search = day21.beam_search
    for number in (0, -3):
        refused(lambda number=number: search(score, start, number, 2), names=("new", number),
                what=f"new={number}")  # fmt: skip
        refused(lambda number=number: search(score, start, 2, number), names=("beams", number),
                what=f"beams={number}")  # fmt: skip
    refused(
        lambda: search(score, start[:, :0], 2, 2),
        names=(
            2,
            0,
        ),
        what="a start without tokens",
    )


# GPT -----------------------------------------------------------------------------------------


def gpt(rng, device, vocab=11, context=16, dim=12, depth=2, heads=3, dtype=WIDE, **options):
    model = day21.GPT(vocab, context, dim, depth, heads, **options).to(device, dtype)
    return random_weights(model, rng, 1.5).eval()


def new_gelu(x):
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def gpt_oracle(model, ids, hidden=None, positions=None, eps=1e-5):
    """The same model, of torch's stack. ``hidden`` (batch, length): keys that nobody sees."""
    table, places = model.tokens.weight, model.positions.table.weight
    if positions is None:
        positions = torch.arange(ids.shape[1], device=ids.device)
    stack = torch_stack(model.stack, new_gelu, eps)
    x = table[ids] + places[positions]
    out = stack(x, mask=hidden_future(ids.shape[1], ids.device), src_key_padding_mask=hidden)
    return (out @ table.T).detach()


@exercise("GPT")
def test_gpt_parameters():
    model = day21.GPT(11, 16, 12, 3, 2)
    tables = {"tokens.weight": (11, 12), "positions.table.weight": (16, 12)}
    check_parameters(model, ("stack.",), tables)
    found = (model.vocab, model.context, len(model.stack.blocks))
    assert found == (11, 16, 3), f"vocab, context and the number of blocks are {found}"


@exercise("GPT")
def test_gpt_hands_its_options_on():
    model = day21.GPT(11, 16, 12, 1, 3, hidden=5, dropout=0.25, bias=False, eps=0.5)
    block = model.stack.blocks[0]
    found = {
        "heads": block.attention.heads,
        "hidden": block.feed_forward.up_proj.out_features,
        "dropout of the blocks": block.dropout.p,
        "dropout of the sum": model.dropout.p,
        "bias": block.feed_forward.up_proj.bias,
        "eps": block.attention_norm.eps,
        "norm_first": block.norm_first,
    }
    wanted = dict(zip(found, (3, 5, 0.25, 0.25, None, 0.5, True), strict=True))
    wrong = {option: x for option, x in found.items() if x != wanted[option]}
    assert not wrong, f"made with {wanted}, but: {wrong}"


@exercise("GPT")
@pytest.mark.parametrize("depth", [1, 8])
def test_gpt_first_values(depth):
    model = day21.GPT(512, 128, 48, depth, 2)
    for name, p in model.named_parameters():
        p = p.detach()
        if p.dim() == 1:
            value = 1.0 if name.endswith("weight") else 0.0
            assert (p == value).all(), f"{name} should be {value} at first"
            continue
        writes = name.endswith(("out_proj.weight", "down_proj.weight"))
        wanted = 0.02 / math.sqrt(2 * depth) if writes else 0.02
        spread, mean, sigma = p.std().item(), p.mean().item(), 1 / math.sqrt(2 * p.numel())
        assert abs(spread / wanted - 1) < 5.5 * sigma, (
            f"{name}: standard deviation {spread:.5f} with depth {depth}, not {wanted:.5f}"
        )
        assert abs(mean / wanted) < 8 * sigma, f"{name}: the mean is {mean:.5f}"


@exercise("GPT", ban=BAN)
@shapes("batch, length, dim, heads, depth", (2, 5, 12, 3, 2), (1, 1, 4, 1, 1), (3, 16, 8, 2, 1))
def test_gpt_equals_torch(batch, length, dim, heads, depth, device, rng):
    ids = rng.integers(0, 11, batch, length)
    for options in ({}, {"hidden": 5, "eps": 0.1, "dropout": 0.5}):
        model = gpt(rng, device, dim=dim, heads=heads, depth=depth, **options)
        wanted = gpt_oracle(model, ids, eps=options.get("eps", 1e-5))
        same(model(ids), wanted, f"with {options}")


@exercise("GPT", ban=BAN)
def test_gpt_padding_on_the_left(device, rng):
    """A batch of texts of 5, 2 and 4 tokens, padded on the left: each as if it were alone."""
    model, ids = gpt(rng, device), rng.integers(0, 11, 3, 5)
    missing = torch.tensor([[0], [3], [1]], device=device)
    at = torch.arange(5, device=device)
    positions = (at - missing).clamp(min=0)
    got = model(ids, mask=(at >= missing)[:, None, None], positions=positions)
    for b, n in enumerate((0, 3, 1)):
        wanted = model(ids[b : b + 1, n:]).detach()
        same(got[b : b + 1, n:], wanted, f"{5 - n} tokens behind {n} of padding")
    late = torch.arange(7, 12, device=device)
    same(model(ids, positions=late), gpt_oracle(model, ids, None, late), "at the positions 7 to 11")


@exercise("GPT", ban=BAN)
def test_gpt_gradients(device, rng):
    """The table learns from both of its ends."""
    model, ids = gpt(rng, device, depth=1), rng.integers(0, 11, 2, 5)
    probe = rng.normal(2, 5, 11, dtype=WIDE)
    (model(ids) * probe).sum().backward()
    for name, p in (("tokens", model.tokens.weight), ("positions", model.positions.table.weight)):
        direction, values = rng.normal(*p.shape, dtype=WIDE), []
        for sign in (1, -1):
            moved = copy.deepcopy(model)
            with torch.no_grad():
                dict(moved.named_parameters(remove_duplicate=False))[
                    "tokens.weight" if name == "tokens" else "positions.table.weight"
                ].add_(sign * 1e-6 * direction)
                values.append((moved(ids) * probe).sum().item())
        slope, wanted = (p.grad * direction).sum().item(), (values[0] - values[1]) / 2e-6
        error = abs(slope - wanted) / (p.grad.norm() * direction.norm()).item()
        assert error < 1e-5, (
            f"along one direction of {name} the gradient says {slope}, not {wanted}"
        )


@exercise("GPT", ban=BAN)
def test_gpt_any_leading_axes(device, rng):
    model, ids = gpt(rng, device), rng.integers(0, 11, 2, 3, 4)
    wanted = model(ids.flatten(0, 1)).detach().unflatten(0, (2, 3))
    same(model(ids), wanted, "with two leading axes")
    same(model(ids[0, 0]), wanted[0, 0], "without a batch")
    same(model(ids.int()), wanted, "of int32 ids")


@exercise("GPT")
def test_gpt_drops(device, rng):
    model, ids = gpt(rng, device, dropout=1.0), rng.integers(0, 11, 2, 5)
    wanted = (model.stack.norm.bias @ model.tokens.weight.T).detach().expand(2, 5, 11)
    same(model.train()(ids), wanted, "in training, when everything is dropped")


@exercise("GPT", ban=BAN)
def test_gpt_refuses(device, rng):
    model = gpt(rng, device, context=6)
    model(rng.integers(0, 11, 2, 6))
    refused(
        lambda: model(rng.integers(0, 11, 2, 7)),
        names=(
            7,
            6,
        ),
        what="7 tokens, context 6",
    )
    mask = rng.boolean(2, 1, 1, 4)
    refused(lambda: model(rng.integers(0, 11, 2, 5), mask), names=("mask", mask.shape[-1], 5),
            what="a mask (2, 1, 1, 4) for 5 tokens")  # fmt: skip


@exercise("GPT", ban=BAN)
@DTYPES
def test_gpt_other_dtypes(dtype, device, rng):
    narrow(gpt(rng, device, dtype=dtype), dtype, rng.integers(0, 11, 2, 5))


@exercise("GPT", seconds=60)  # no ban: its watching cannot be compiled
def test_gpt_compiles(device, rng):
    compiles(gpt(rng, device, depth=1, dtype=torch.float32), rng.integers(0, 11, 2, 5))


# GPT.from_pretrained, without transformers ------------------------------------------------------


def gpt2_folder(folder, rng, device="cpu", prefix="", dtype=torch.float32, **more):
    """A file as GPT-2's are, from the weights of ``gpt``: → that model."""
    model = gpt(rng, device, dim=6, heads=2, dtype=dtype, hidden=more.get("n_inner"))
    state = {name: p.cpu() for name, p in model.state_dict().items()}
    tensors = {}
    for theirs, ours in day21.gpt2_names(2).items():
        tensor = torch.cat([state[name] for name in ours])
        turned = tensor.dim() == 2 and "h." in theirs
        tensors[prefix + theirs] = (tensor.T if turned else tensor).contiguous()
    config = {"vocab_size": 11, "n_positions": 16, "n_embd": 6, "n_layer": 2, "n_head": 2}
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config | more))
    save_file(tensors, folder / "model.safetensors")
    return model


def changed(folder, change):
    """The file's tensors, after ``change`` was done to the dictionary."""
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


@exercise("GPT")
@pytest.mark.parametrize("prefix", ["", "transformer."], ids=["plain names", "prefixed names"])
def test_pretrained_weights(prefix, device, rng, tmp_path):
    cases = [{}, {"n_inner": None}, {"n_inner": 10, "activation_function": "gelu_pytorch_tanh"}]
    for more in cases:
        wanted = gpt2_folder(tmp_path / "a", rng, device, prefix, **more)
        got = day21.GPT.from_pretrained(tmp_path / "a").to(device)
        assert not got.training, "the model that was loaded is in training mode"
        for name, p in wanted.state_dict().items():
            close(got.state_dict()[name], p.detach(), name=f"with {more}, {name}")
        norms = {m.eps for m in got.modules() if hasattr(m, "eps")}
        assert norms == {1e-5}, f"layer_norm_epsilon is missing in the file; the norms have {norms}"
    got = day21.GPT.from_pretrained(str(tmp_path / "a"))
    assert (got.vocab, got.context) == (11, 16), f"vocab and context: {got.vocab, got.context}"
    frozen = [name for name, p in got.named_parameters() if not p.requires_grad]
    assert not frozen, f"these parameters of the loaded model cannot learn: {frozen}"


@exercise("GPT")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_pretrained_dtype(dtype, rng, tmp_path):
    wanted = gpt2_folder(tmp_path, rng, dtype=dtype, layer_norm_epsilon=0.25)
    got = day21.GPT.from_pretrained(tmp_path)
    for name, p in got.named_parameters():
        assert p.dtype == dtype, f"the file is {dtype}, and {name} {p.dtype}"
    weight = wanted.stack.blocks[1].attention.v_proj.weight.detach()
    close(got.stack.blocks[1].attention.v_proj.weight, weight, name="the weight of v_proj")
    norms = {m.eps for m in got.modules() if hasattr(m, "eps")}
    assert norms == {0.25}, f"layer_norm_epsilon is 0.25 in the file; the norms have {norms}"


@exercise("GPT")
def test_pretrained_old_files(rng, tmp_path):
    """Masks among the tensors, and the table a second time as lm_head.weight."""
    gpt2_folder(tmp_path, rng, prefix="transformer.")

    def add(tensors):
        tensors["transformer.h.1.attn.bias"] = torch.ones(1, 1, 16, 16).tril()
        tensors["transformer.h.1.attn.masked_bias"] = torch.tensor(-1e4)
        tensors["lm_head.weight"] = tensors["transformer.wte.weight"].clone()

    changed(tmp_path, add)
    day21.GPT.from_pretrained(tmp_path)


@exercise("GPT")
def test_pretrained_refuses_tensors(rng, tmp_path):
    def turned(name):
        return lambda tensors: tensors.update({name: tensors[name].T.contiguous()})

    def other(name, *shape):
        return lambda tensors: tensors.update({name: torch.zeros(shape)})

    cases = {
        "a missing tensor": (lambda t: t.pop("h.1.mlp.c_fc.bias"), ["h.1.mlp.c_fc.bias"]),
        "a missing table": (lambda t: t.pop("wpe.weight"), ["wpe.weight"]),
        "c_fc turned": (turned("h.0.mlp.c_fc.weight"), ["h.0.mlp.c_fc.weight", "24, 6", "6, 24"]),
        "c_attn turned": (turned("h.1.attn.c_attn.weight"), ["h.1.attn.c_attn.weight", "18, 6"]),
        "a short table": (other("wte.weight", 10, 6), ["wte.weight", "10, 6", "11, 6"]),
        "a long bias": (other("h.0.attn.c_attn.bias", 24), ["h.0.attn.c_attn.bias", 24, 18]),
        "one norm too many": (other("h.2.ln_1.weight", 6), ["h.2.ln_1.weight"]),
        "a head of its own": (other("lm_head.weight", 11, 6), ["lm_head.weight"]),
    }
    for what, (change, named) in cases.items():
        gpt2_folder(tmp_path, rng)
        changed(tmp_path, change)
        refused(lambda: day21.GPT.from_pretrained(tmp_path), names=named, what=what)


@exercise("GPT")
def test_pretrained_refuses_options(rng, tmp_path):
    for option, value in (
        ("activation_function", "relu"),
        ("activation_function", "gelu"),
        ("scale_attn_weights", False),
        ("scale_attn_by_inverse_layer_idx", True),
    ):
        gpt2_folder(tmp_path, rng, **{option: value})
        what = f"{option} is {value}"
        refused(lambda: day21.GPT.from_pretrained(tmp_path), names=(option,), what=what)
    gpt2_folder(tmp_path, rng, scale_attn_weights=True, scale_attn_by_inverse_layer_idx=False)
    day21.GPT.from_pretrained(tmp_path)


# Against transformers: importing it takes seconds, so these come last -----------------------------


@cache
def transformers():
    import transformers

    return transformers


def their_gpt2(rng, device, kind="GPT2LMHeadModel", **options):
    sizes = {"vocab_size": 23, "n_positions": 24, "n_embd": 12, "n_layer": 2, "n_head": 3}
    config = transformers().GPT2Config(**sizes, **options)
    model = getattr(transformers(), kind)(config).to(device, WIDE)
    with torch.no_grad():
        for name, p in model.named_parameters():
            norm = "ln_" in name and name.endswith("weight")
            p.copy_(rng.normal(*p.shape, std=0.5, mean=1.0 if norm else 0.0, dtype=WIDE))
    return model.eval()


@exercise("GPT", ban=BAN)
def test_gpt_equals_transformers(device, rng, tmp_path):
    theirs = their_gpt2(rng, device, n_inner=20, layer_norm_epsilon=0.1)
    theirs.save_pretrained(tmp_path / "whole")
    theirs.transformer.save_pretrained(tmp_path / "body")
    ids = rng.integers(0, 23, 2, 7)
    wanted = theirs(ids, labels=ids)
    for kind in ("body", "whole"):
        ours = day21.GPT.from_pretrained(tmp_path / kind).to(device)
        same(ours(ids), wanted.logits.detach(), f"logits, loaded from the {kind} model")
    loss = F.cross_entropy(ours(ids)[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    close(loss.float(), wanted.loss.detach().double(), scale=16.0, terms=64,
          dtype=torch.float32, name="loss")  # fmt: skip
    loss.backward()
    F.cross_entropy(wanted.logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten()).backward()
    parameters = dict(theirs.transformer.named_parameters())
    own = dict(ours.named_parameters())
    for name, parts in day21.gpt2_names(2).items():
        grad = torch.cat([own[part].grad for part in parts])
        right = parameters[name].grad
        right = right.T if ".c_" in name and right.dim() == 2 else right
        close(grad, right, terms=4096, scale=64.0, name=f"gradient of {name}")


def as_score(model):
    """transformers' model as what greedy_decode and beam_search call."""
    return lambda ids: model(ids.flatten(0, -2)).logits.unflatten(0, ids.shape[:-1])


@exercise("greedy_decode")
def test_greedy_equals_generate(device, rng):
    model, start = their_gpt2(rng, device), rng.integers(0, 23, 4, 3)
    options = {"max_new_tokens": 10, "do_sample": False}
    mask = torch.ones_like(start)
    free = model.generate(start, attention_mask=mask, **options, pad_token_id=0, eos_token_id=None)
    close(day21.greedy_decode(as_score(model), start, 10), free, name="ids without stop")
    stop = int(free[0, 6])
    wanted = model.generate(
        start, attention_mask=mask, **options, pad_token_id=stop, eos_token_id=stop
    )
    got = day21.greedy_decode(as_score(model), start, 10, stop=stop)
    close(got, wanted, name=f"ids with stop={stop}")


@exercise("beam_search")
@pytest.mark.parametrize("penalty", [1.0, 0.0, 2.0])
def test_beams_equal_generate(penalty, device, rng):
    model, start = their_gpt2(rng, device), rng.integers(0, 23, 3, 3)
    greedy = day21.beam_search(as_score(model), start, 8, 1).ids[0, 0]
    for beams, stop in ((2, None), (3, int(greedy[5])), (4, int(greedy[7]))):
        wanted = model.generate(
            start,
            attention_mask=torch.ones_like(start),
            max_new_tokens=8,
            num_beams=beams,
            num_return_sequences=beams,
            length_penalty=penalty,
            do_sample=False,
            early_stopping=False,
            eos_token_id=stop,
            pad_token_id=0 if stop is None else stop,
            output_scores=True,
            return_dict_in_generate=True,
        )
        got = day21.beam_search(as_score(model), start, 8, beams, stop=stop, length_penalty=penalty)
        what = f"beams={beams}, stop={stop}, length_penalty={penalty}"
        ids = wanted.sequences.unflatten(0, (3, beams))
        fill_up = got.ids.shape[-1] - ids.shape[-1]
        ids = F.pad(ids, (0, max(fill_up, 0)), value=0 if stop is None else stop)
        close(got.ids, ids[..., : got.ids.shape[-1]], name=f"{what}: ids of all beams")
        scores = wanted.sequences_scores.view(3, beams)
        close(got.scores.float(), scores.double(), scale=64.0, terms=64, dtype=torch.float32,
              name=f"{what}: final scores")  # fmt: skip


# Learning -------------------------------------------------------------------------------------

PADDING, BEGIN, STOP = 0, 1, 2
LONGEST = 5


def reversals(rng, batch):
    """Sources of 1 to 5 tokens, and targets: BEGIN, the same tokens backwards, STOP."""
    lengths = rng.integers(1, LONGEST + 1, batch, 1)
    at = torch.arange(LONGEST, device=lengths.device)
    source = rng.integers(3, 9, batch, LONGEST) * (at < lengths)
    backwards = source.gather(1, (lengths - 1 - at).clamp(min=0)) * (at < lengths)
    target = F.pad(F.pad(backwards, (1, 0), value=BEGIN), (0, 1), value=PADDING)
    return source, target.scatter(1, lengths + 1, STOP)


@exercise("Transformer", seconds=60)
def test_transformer_learns_to_reverse(device, rng):
    torch.manual_seed(rng.seed)
    model = day21.Transformer(9, 32, 4, 1, padding=PADDING).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.98))
    steps = 500
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, steps, pct_start=0.15)
    for _ in range(steps):
        source, target = reversals(rng, 32)
        scores = model(source, target[:, :-1])
        loss = F.cross_entropy(scores.flatten(0, 1), target[:, 1:].flatten(), ignore_index=PADDING)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    model.eval()
    source, target = reversals(rng, 400)
    ids, score = target[:, :1], model.scorer(source)
    with torch.no_grad():
        for _ in range(LONGEST + 1):
            ids = torch.cat([ids, score(ids)[:, -1:].argmax(-1)], 1)
    right = ((ids == target) | (target == PADDING)).all(1).double().mean().item()
    assert right >= 0.99, f"after {steps} steps, {right:.1%} of the sequences are reversed"
