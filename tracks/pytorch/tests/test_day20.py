"""Day 20: blocks that equal torch's own layers in float64, and gradients along a deep stack."""

import copy
import math

import pytest
import torch
from torch import nn

from harness.testing import close, exercise, layouts, random_weights, shapes
from tracks.pytorch import day20
from tracks.pytorch.day09 import SwiGLU
from tracks.pytorch.day14 import RMSNorm

BAN = [
    "scaled_dot_product_attention",
    "multi_head_attention_forward",
    "_native_multi_head_attention",
    "_transformer_encoder_layer_fwd",
]
WIDE = torch.float64
ORDERS = pytest.mark.parametrize("norm_first", [True, False], ids=["norm first", "norm last"])
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)


def translated(layer, get=lambda p: p):
    """What ``get`` gives for the parameters of torch's layer, under the names of ours."""
    decoder = hasattr(layer, "multihead_attn")
    parts = {"attention": layer.self_attn, "attention_norm": layer.norm1}
    if decoder:
        parts |= {"cross_attention": layer.multihead_attn, "cross_norm": layer.norm2}
    parts["feed_forward_norm"] = layer.norm3 if decoder else layer.norm2
    parts |= {"feed_forward.up_proj": layer.linear1, "feed_forward.down_proj": layer.linear2}
    found = {}
    for part, module in parts.items():
        for name, p in module.named_parameters():
            if name.startswith("in_proj_"):
                kind = name.removeprefix("in_proj_")
                for letter, third in zip("qkv", get(p).chunk(3), strict=True):
                    found[f"{part}.{letter}_proj.{kind}"] = third
            else:
                found[f"{part}.{name}"] = get(p)
    return found


def torch_layer(
    block, dim, heads, hidden, *, activation=torch.relu, bias=True, norm_first=True, eps=1e-5
):
    kind = nn.TransformerEncoderLayer if "Encoder" in block else nn.TransformerDecoderLayer
    return kind(
        dim,
        heads,
        hidden,
        dropout=0.0,
        activation=activation,
        layer_norm_eps=eps,
        batch_first=True,
        norm_first=norm_first,
        bias=bias,
    )


def pair(block, rng, device, dim=12, heads=3, hidden=20, **options):
    """A block of ours and torch's with the same weights, float64 and eval mode."""
    theirs = random_weights(
        torch_layer(block, dim, heads, hidden, **options).to(device, WIDE), rng, 1.5
    )
    ours = getattr(day20, block)(dim, heads, hidden, **options).to(device, WIDE)
    ours.load_state_dict({name: p.detach() for name, p in translated(theirs).items()})
    return ours.eval(), theirs.eval()


def pair_of_stacks(stack, rng, device, depth=3, dim=12, heads=3, hidden=20, **options):
    layer = torch_layer(f"{stack}Block", dim, heads, hidden, **options)
    bias, eps = options.get("bias", True), options.get("eps", 1e-5)
    norm = nn.LayerNorm(dim, eps, bias=bias) if options.get("norm_first", True) else None
    kind = nn.TransformerEncoder if stack == "Encoder" else nn.TransformerDecoder
    extra = {"enable_nested_tensor": False} if stack == "Encoder" else {}
    theirs = random_weights(kind(layer, depth, norm, **extra).to(device, WIDE), rng, 1.5)
    ours = getattr(day20, stack)(depth, dim, heads, hidden=hidden, **options).to(device, WIDE)
    state = {
        f"blocks.{i}.{name}": p.detach()
        for i, one in enumerate(theirs.layers)
        for name, p in translated(one).items()
    }
    if norm is not None:
        state |= {f"norm.{name}": p.detach() for name, p in theirs.norm.named_parameters()}
    ours.load_state_dict(state)
    return ours.eval(), theirs.eval()


def torch_mask(mask, scores, device, causal=False):
    """Our mask as torch's: float, one for each sequence and head."""
    whole = torch.zeros(scores, dtype=WIDE, device=device)
    if mask is not None and mask.dtype == torch.bool:
        whole = whole.masked_fill(~mask, -torch.inf)
    elif mask is not None:
        whole = whole + mask
    if causal:
        ahead = torch.ones(scores[-2:], device=device).triu(1).bool()
        whole = whole.masked_fill(ahead, -torch.inf)
    return whole.flatten(0, 1)


def masks(rng, device, batch, heads, queries, keys):
    """A mask of every kind; every query keeps a key, under a causal mask too."""
    seen = rng.boolean(queries, keys, p=0.6).clone()
    seen[:, 0] = True
    lengths = torch.arange(keys, 0, -1, device=device)[:batch]
    padding = torch.arange(keys, device=device) < lengths[:, None, None, None]
    bias = rng.normal(heads, queries, keys, dtype=WIDE, std=3.0)
    return {
        "no": None,
        "bool": seen,
        "padding": padding,
        "float": rng.normal(queries, keys, dtype=WIDE, std=3.0),
        "float for each head": bias,
        "float with padding": bias.masked_fill(~padding, -torch.inf),
    }


def same(got, wanted, name, dtype=WIDE):
    close(got, wanted, dtype=dtype, terms=256, scale=16.0, name=name)


def same_gradients(ours, theirs, inputs, twins):
    """Gradients of inputs and parameters, after backward on both sides."""
    for name, x in inputs.items():
        close(x.grad, twins[name].grad, terms=4096, scale=256.0, name=f"gradient of {name}")
    right = translated(theirs, lambda p: p.grad)
    for name, p in ours.named_parameters():
        close(p.grad, right[name], terms=4096, scale=256.0, name=f"gradient of {name}")


def decoded_back(ours, theirs, rng, device):
    """A backward pass of both decoders or blocks of one. → the inputs of ours, those of theirs"""
    probe = rng.normal(2, 4, 12, dtype=WIDE)
    inputs = {"x": rng.normal(2, 4, 12, dtype=WIDE), "memory": rng.normal(2, 6, 12, dtype=WIDE)}
    twins = {name: x.clone().requires_grad_() for name, x in inputs.items()}
    for x in inputs.values():
        x.requires_grad_()
    (ours(**inputs) * probe).sum().backward()
    past = torch_mask(None, (2, 3, 4, 4), device, causal=True)
    (theirs(twins["x"], twins["memory"], tgt_mask=past) * probe).sum().backward()
    return inputs, twins


def off(got, wanted):
    """How far off, as a share of the length of what is wanted."""
    return ((got.double() - wanted.double()).norm() / wanted.double().norm()).item()


def narrow(module, dtype, *inputs, **options):
    """The error of a module in ``dtype`` against the same weights in float64."""
    module = module.eval().to(dtype)
    result = module(*inputs, **options)
    assert result.dtype == dtype, f"everything is {dtype}, but the result {result.dtype}"
    wide = copy.deepcopy(module).double()
    error = off(result, wide(*(x.double() for x in inputs), **options))
    # Each part rounds its result to bfloat16, which is off by up to 2⁻⁹, and scores reach 10.
    limit = 0.06 if dtype == torch.bfloat16 else 2e-5
    assert error < limit, f"the result in {dtype} is off by {error:.2g} of its length"


def compiles(module, *inputs, **options):
    """Values and gradients without a graph break, as without torch.compile."""
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True, dynamic=False)
    results = []
    for f in (module, compiled):
        module.zero_grad()
        out = f(*inputs, **options)
        out.float().square().sum().backward()
        results.append([out.detach(), *(p.grad for p in module.parameters())])
    limit = 0.1 if inputs[0].dtype == torch.bfloat16 else 1e-4
    for what, part in (("result is", slice(1)), ("gradients are", slice(1, None))):
        wanted, got = (torch.cat([x.double().flatten() for x in r[part]]) for r in results)
        error = off(got, wanted)
        assert error < limit, f"compiled, the {what} off by {error:.2g} of their length"


def check_names(module, wanted):
    found = {name: tuple(p.shape) for name, p in module.state_dict().items()}
    missing = {name: size for name, size in wanted.items() if found.get(name) != size}
    more = {name: size for name, size in found.items() if name not in wanted}
    assert not missing, f"missing or of another shape: {missing}; found were {found}"
    assert not more, f"parameters that nobody expects: {more}"


def refused(name, shape, dim, f):
    with pytest.raises(ValueError) as refusal:
        f()
        pytest.fail(f"{name} {shape} with dim {dim} was accepted: a ValueError was due")
    message = str(refusal.value)
    parts = [name, *map(str, shape), str(dim)]
    assert all(part in message for part in parts), f"which argument, which sizes? {message!r}"


# FeedForward ---------------------------------------------------------------------------------


@exercise("FeedForward")
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
def test_feed_forward_parameters(bias):
    for hidden, inner in ((None, 12), (5, 5)):
        wanted = {"up_proj.weight": (inner, 3), "down_proj.weight": (3, inner)}
        if bias:
            wanted |= {"up_proj.bias": (inner,), "down_proj.bias": (3,)}
        check_names(day20.FeedForward(3, hidden, bias=bias), wanted)


@exercise("FeedForward")
@shapes("batch, length, dim, hidden", (2, 3, 4, 6), (1, 1, 1, 1), (2, 5, 6, 3), (0, 3, 4, 5),
        (2, 0, 4, 5), gpu=[(4, 512, 1024, 4096)])  # fmt: skip
def test_feed_forward_values(batch, length, dim, hidden, device, rng):
    x = rng.normal(batch, length, dim, dtype=WIDE)
    for options, bend in (
        ({}, lambda z: z.clamp(min=0)),
        ({"activation": torch.cos}, torch.cos),
        ({"activation": torch.tanh, "bias": False}, torch.tanh),
    ):
        network = day20.FeedForward(dim, hidden, **options).to(device, WIDE)
        state = random_weights(network, rng, 1.5).state_dict()
        inner = x @ state["up_proj.weight"].T + state.get("up_proj.bias", 0.0)
        wanted = bend(inner) @ state["down_proj.weight"].T + state.get("down_proj.bias", 0.0)
        for layout, view in layouts(x):
            same(network(view), wanted, f"of a {layout} x with {options}")


@exercise("FeedForward")
def test_feed_forward_gradients(device, rng):
    network = random_weights(day20.FeedForward(4, 6, activation=torch.cos), rng, 1.5)
    network.to(device, WIDE)
    x, probe = rng.normal(2, 3, 4, dtype=WIDE).requires_grad_(), rng.normal(2, 3, 4, dtype=WIDE)
    (network(x) * probe).sum().backward()
    twin = x.detach().clone().requires_grad_()
    state = {n: p.detach().clone().requires_grad_() for n, p in network.named_parameters()}
    inner = torch.cos(twin @ state["up_proj.weight"].T + state["up_proj.bias"])
    out = inner @ state["down_proj.weight"].T + state["down_proj.bias"]
    (out * probe).sum().backward()
    same(x.grad, twin.grad, "gradient of x")
    for name, p in network.named_parameters():
        same(p.grad, state[name].grad, f"gradient of {name}")


@exercise("FeedForward")
def test_feed_forward_any_leading_axes(device, rng):
    network = random_weights(day20.FeedForward(4, 6), rng, 1.5).to(device)
    x = rng.normal(2, 3, 5, 4)
    whole = network(x).detach()
    for got, wanted in ((network(x[0]), whole[0]), (network(x[0, 1, 2]), whole[0, 1, 2])):
        close(got, wanted, terms=16, scale=8.0, name=f"of shape {tuple(got.shape)}")


@exercise("FeedForward")
def test_feed_forward_drops_inside(device, rng):
    x = rng.normal(2, 3, 4)
    network = random_weights(
        day20.FeedForward(4, 6, activation=torch.cos, dropout=1.0), rng, 1.5
    ).to(device)
    wanted = network.down_proj.bias.detach().expand(2, 3, 4)
    close(network.train()(x), wanted, name="in training, when all that the bend gives is dropped")
    still = random_weights(day20.FeedForward(4, 6, activation=torch.cos), rng, 1.5).to(device)
    network.load_state_dict(still.state_dict())
    close(network.eval()(x), still(x).detach(), terms=16, scale=8.0, name="in eval mode")


@exercise("FeedForward")
def test_feed_forward_drops_with_the_probability(device):
    network = day20.FeedForward(64, 64, activation=torch.cos, dropout=0.25, bias=False).to(device)
    with torch.no_grad():
        network.up_proj.weight.zero_()  # cos(0) is 1 everywhere
        network.down_proj.weight.copy_(torch.eye(64))
    result = network.train()(torch.ones(100, 64, device=device))
    share = (result == 0).double().mean().item()
    assert 0.2 < share < 0.3, f"with dropout=0.25, {share:.0%} of the bend's results are dropped"
    kept = result[result != 0]
    close(kept, torch.full_like(kept, 4 / 3), terms=64, name="what is kept of a 1, dropout=0.25")


@exercise("FeedForward")
def test_feed_forward_refuses(device, rng):
    network = day20.FeedForward(8, 6).to(device)
    for shape in ((2, 3, 5), (2, 3, 1), (2, 3, 9)):
        refused("x", shape, 8, lambda shape=shape: network(rng.normal(*shape)))


@exercise("FeedForward")
@DTYPES
def test_feed_forward_other_dtypes(dtype, device, rng):
    network = random_weights(day20.FeedForward(4, 6), rng, 1.5).to(device)
    narrow(network, dtype, rng.normal(2, 3, 4, dtype=dtype))


@exercise("FeedForward", seconds=60)  # no ban: its watching cannot be compiled
def test_feed_forward_compiles(device, rng):
    compiles(random_weights(day20.FeedForward(4, 6).to(device), rng, 1.5), rng.normal(2, 3, 4))


# EncoderBlock --------------------------------------------------------------------------------


def block_names(dim, hidden, bias, attentions, norms):
    wanted = {"feed_forward.up_proj.weight": (hidden, dim)}
    wanted |= {"feed_forward.down_proj.weight": (dim, hidden)}
    wanted |= {f"{name}.weight": (dim,) for name in norms}
    wanted |= {f"{a}.{x}_proj.weight": (dim, dim) for a in attentions for x in "qkv"}
    wanted |= {f"{a}.out_proj.weight": (dim, dim) for a in attentions}
    if bias:
        vectors = [name.removesuffix("weight") + "bias" for name in wanted]
        sizes = [wanted[name][0] for name in wanted]
        wanted |= {name: (size,) for name, size in zip(vectors, sizes, strict=True)}
    return wanted


@exercise("EncoderBlock")
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
def test_encoder_block_parameters(bias):
    for hidden, inner in ((None, 24), (5, 5)):
        block = day20.EncoderBlock(6, 2, hidden, bias=bias)
        norms = ["attention_norm", "feed_forward_norm"]
        check_names(block, block_names(6, inner, bias, ["attention"], norms))
    found = (block.dim, block.norm_first, block.attention.heads, block.dropout.p)
    assert found == (6, True, 2, 0.0), f"dim, norm_first, heads and dropout are {found}"


@exercise("EncoderBlock", ban=BAN)
@ORDERS
@shapes("batch, length, dim, heads, hidden", (2, 5, 12, 3, 20), (1, 1, 4, 1, 1), (3, 2, 8, 8, 7))
def test_encoder_block_equals_torch(norm_first, batch, length, dim, heads, hidden, device, rng):
    x = rng.normal(batch, length, dim, dtype=WIDE)
    for options in ({}, {"activation": torch.tanh, "eps": 0.1}, {"bias": False}):
        sizes = {"dim": dim, "heads": heads, "hidden": hidden, "norm_first": norm_first}
        ours, theirs = pair("EncoderBlock", rng, device, **sizes, **options)
        same(ours(x), theirs(x).detach(), f"result with {options or 'no option'}")


@exercise("EncoderBlock", ban=BAN)
@ORDERS
@pytest.mark.parametrize("causal", [False, True], ids=["", "causal"])
def test_encoder_block_masks(norm_first, causal, device, rng):
    x = rng.normal(2, 5, 12, dtype=WIDE)
    ours, theirs = pair("EncoderBlock", rng, device, norm_first=norm_first)
    for kind, mask in masks(rng, device, 2, 3, 5, 5).items():
        wanted = theirs(x, src_mask=torch_mask(mask, (2, 3, 5, 5), device, causal)).detach()
        same(ours(x, mask, causal), wanted, f"with {kind} mask, causal={causal}")


@exercise("EncoderBlock", ban=BAN)
@ORDERS
def test_encoder_block_gradients(norm_first, device, rng):
    ours, theirs = pair("EncoderBlock", rng, device, norm_first=norm_first)
    mask = masks(rng, device, 2, 3, 5, 5)["float with padding"]
    x, probe = rng.normal(2, 5, 12, dtype=WIDE), rng.normal(2, 5, 12, dtype=WIDE)
    twin = x.clone().requires_grad_()
    x.requires_grad_()
    (ours(x, mask) * probe).sum().backward()
    wide = torch_mask(mask, (2, 3, 5, 5), device)
    (theirs(twin, src_mask=wide) * probe).sum().backward()
    same_gradients(ours, theirs, {"x": x}, {"x": twin})


@exercise("EncoderBlock", ban=BAN)
@ORDERS
def test_encoder_block_of_padding_alone(norm_first, device, rng):
    """A sequence without a single real token, as in a batch of unequal lengths."""
    ours, theirs = pair("EncoderBlock", rng, device, norm_first=norm_first)
    x = rng.normal(2, 4, 12, dtype=WIDE).requires_grad_()
    mask = torch.tensor([True, False], device=device)[:, None, None, None].expand(2, 1, 1, 4)
    result = ours(x, mask)
    same(result[0], theirs(x[:1])[0].detach(), "the other sequence of the batch")
    result.sum().backward()
    for name, t in {"result": result, "x": x.grad}.items():
        assert t.isfinite().all(), f"a sequence is padding throughout: nan in {name}"


@exercise("EncoderBlock", ban=BAN)
@ORDERS
def test_encoder_block_drops_both_branches(norm_first, device, rng):
    x = rng.normal(2, 5, 12, dtype=WIDE)
    ours, theirs = pair("EncoderBlock", rng, device, norm_first=norm_first)
    block = day20.EncoderBlock(12, 3, 20, dropout=1.0, norm_first=norm_first).to(device, WIDE)
    block.load_state_dict(ours.state_dict())
    wanted = x if norm_first else theirs.norm2(theirs.norm1(x)).detach()
    same(block.train()(x), wanted, "in training, when both branches are dropped whole")
    same(block.eval()(x), theirs(x).detach(), "in eval mode")


@exercise("EncoderBlock")
def test_encoder_block_dropout_of_the_parts():
    block = day20.EncoderBlock(8, 2, dropout=0.25)
    found = {
        "attention.dropout": block.attention.dropout,
        "feed_forward.dropout.p": block.feed_forward.dropout.p,
        "dropout.p": block.dropout.p,
    }
    wrong = {name: p for name, p in found.items() if p != 0.25}
    assert not wrong, f"made with dropout=0.25, but: {wrong}"


@exercise("EncoderBlock", ban=BAN)
@ORDERS
def test_encoder_block_with_other_parts(norm_first, device, rng):
    """What Llama's blocks are made of, put in after the block has been made."""
    block = day20.EncoderBlock(12, 3, norm_first=norm_first)
    block.feed_forward = SwiGLU(12, 20)
    block.attention_norm, block.feed_forward_norm = RMSNorm(12), RMSNorm(12)
    block = random_weights(block.to(device, WIDE), rng, 1.5)
    x = rng.normal(2, 5, 12, dtype=WIDE)
    norm, then = block.attention_norm, block.feed_forward_norm
    if norm_first:
        middle = x + block.attention(norm(x))
        wanted = middle + block.feed_forward(then(middle))
    else:
        middle = norm(x + block.attention(x))
        wanted = then(middle + block.feed_forward(middle))
    same(block(x), wanted.detach(), "with SwiGLU and RMSNorm put in the places of its parts")


@exercise("EncoderBlock", ban=BAN)
@ORDERS
def test_encoder_block_strides_and_axes(norm_first, device, rng):
    ours, theirs = pair("EncoderBlock", rng, device, norm_first=norm_first)
    x = rng.normal(2, 3, 5, 12, dtype=WIDE)
    wanted = theirs(x.flatten(0, 1)).detach().reshape(2, 3, 5, 12)
    same(ours(x), wanted, "with two leading axes")
    same(ours(x[0, 0]), wanted[0, 0], "without a batch")
    for layout, view in layouts(x[0]):
        same(ours(view), wanted[0], f"of a {layout} x")
    for shape in ((0, 5, 12), (2, 0, 12)):
        got = ours(rng.normal(*shape, dtype=WIDE))
        assert got.shape == shape, f"an x {shape} gave {tuple(got.shape)}"


@exercise("EncoderBlock", ban=BAN)
@ORDERS
def test_encoder_block_refuses(norm_first, device, rng):
    block = day20.EncoderBlock(8, 2, norm_first=norm_first).to(device)
    for shape in ((2, 3, 5), (2, 3, 1), (2, 3, 9)):
        refused("x", shape, 8, lambda shape=shape: block(rng.normal(*shape)))


@exercise("EncoderBlock", ban=BAN)
@ORDERS
@DTYPES
def test_encoder_block_other_dtypes(norm_first, dtype, device, rng):
    block = random_weights(day20.EncoderBlock(8, 2, norm_first=norm_first), rng, 1.5).to(device)
    x, mask = rng.normal(2, 5, 8, dtype=dtype), rng.boolean(2, 1, 1, 5, p=0.7)
    narrow(block, dtype, x, mask=mask, causal=True)


@exercise("EncoderBlock", seconds=60)  # no ban: its watching cannot be compiled
def test_encoder_block_compiles(device, rng):
    block = random_weights(day20.EncoderBlock(8, 2).to(device, torch.bfloat16), rng, 1.5)
    x, mask = rng.normal(2, 5, 8, dtype=torch.bfloat16), rng.boolean(2, 1, 1, 5, p=0.7)
    compiles(block, x, mask=mask, causal=True)


# DecoderBlock --------------------------------------------------------------------------------


@exercise("DecoderBlock")
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
def test_decoder_block_parameters(bias):
    for hidden, inner in ((None, 24), (5, 5)):
        block = day20.DecoderBlock(6, 2, hidden, bias=bias)
        norms = ["attention_norm", "cross_norm", "feed_forward_norm"]
        attentions = ["attention", "cross_attention"]
        check_names(block, block_names(6, inner, bias, attentions, norms))
    found = (block.dim, block.norm_first, block.attention.heads, block.cross_attention.heads)
    assert found == (6, True, 2, 2), f"dim, norm_first, heads and cross heads are {found}"
    assert block.dropout.p == 0, f"made without dropout, but dropout.p is {block.dropout.p}"


@exercise("DecoderBlock", ban=BAN)
@ORDERS
@shapes("batch, queries, keys, dim, heads", (2, 4, 6, 12, 3), (1, 1, 1, 4, 1), (3, 5, 2, 8, 8))
def test_decoder_block_equals_torch(norm_first, batch, queries, keys, dim, heads, device, rng):
    x, memory = (rng.normal(batch, n, dim, dtype=WIDE) for n in (queries, keys))
    for options in ({}, {"activation": torch.tanh, "eps": 0.1}, {"bias": False}):
        sizes = {"dim": dim, "heads": heads, "norm_first": norm_first}
        ours, theirs = pair("DecoderBlock", rng, device, **sizes, **options)
        wanted = theirs(x, memory).detach()
        same(ours(x, memory, causal=False), wanted, f"causal=False, with {options}")
        past = torch_mask(None, (batch, heads, queries, queries), device, causal=True)
        wanted = theirs(x, memory, tgt_mask=past).detach()
        same(ours(x, memory), wanted, f"result with {options or 'no option'}")


@exercise("DecoderBlock", ban=BAN)
@ORDERS
@pytest.mark.parametrize("causal", [False, True], ids=["", "causal"])
def test_decoder_block_masks(norm_first, causal, device, rng):
    x, memory = rng.normal(2, 4, 12, dtype=WIDE), rng.normal(2, 6, 12, dtype=WIDE)
    ours, theirs = pair("DecoderBlock", rng, device, norm_first=norm_first)
    own, cross = masks(rng, device, 2, 3, 4, 4), masks(rng, device, 2, 3, 4, 6)
    for kind, other in zip(own, reversed(cross), strict=True):
        mask, memory_mask = own[kind], cross[other]
        wanted = theirs(
            x,
            memory,
            tgt_mask=torch_mask(mask, (2, 3, 4, 4), device, causal),
            memory_mask=torch_mask(memory_mask, (2, 3, 4, 6), device),
        ).detach()
        got = ours(x, memory, mask, memory_mask, causal)
        same(got, wanted, f"with {kind} mask, {other} memory_mask, causal={causal}")


@exercise("DecoderBlock", ban=BAN)
@ORDERS
def test_decoder_block_gradients(norm_first, device, rng):
    ours, theirs = pair("DecoderBlock", rng, device, norm_first=norm_first)
    same_gradients(ours, theirs, *decoded_back(ours, theirs, rng, device))


@exercise("DecoderBlock", ban=BAN)
@ORDERS
def test_decoder_block_does_not_look_ahead(norm_first, device, rng):
    ours, _ = pair("DecoderBlock", rng, device, norm_first=norm_first)
    x, memory = rng.normal(2, 6, 12, dtype=WIDE), rng.normal(2, 4, 12, dtype=WIDE)
    changed = x.clone()
    changed[:, 3:] += rng.normal(2, 3, 12, dtype=WIDE)
    before, after = ours(x, memory), ours(changed, memory)
    same(after[:, :3], before[:, :3].detach(), "tokens 0 to 2, when token 3 and later ones change")


@exercise("DecoderBlock", ban=BAN)
@ORDERS
def test_decoder_block_without_a_memory(norm_first, device, rng):
    """A source that is padding throughout leaves cross_attention with no key at all."""
    ours, theirs = pair("DecoderBlock", rng, device, norm_first=norm_first)
    x = rng.normal(2, 4, 12, dtype=WIDE).requires_grad_()
    memory = rng.normal(2, 6, 12, dtype=WIDE)
    mask = torch.tensor([True, False], device=device)[:, None, None, None].expand(2, 1, 1, 6)
    result = ours(x, memory, memory_mask=mask, causal=False)
    same(result[0], theirs(x[:1], memory[:1])[0].detach(), "the other sequence of the batch")
    result.sum().backward()
    for name, t in {"result": result, "x": x.grad}.items():
        assert t.isfinite().all(), f"a memory is padding throughout: nan in {name}"


@exercise("DecoderBlock", ban=BAN)
@ORDERS
def test_decoder_block_drops_all_branches(norm_first, device, rng):
    x, memory = rng.normal(2, 5, 12, dtype=WIDE), rng.normal(2, 3, 12, dtype=WIDE)
    ours, theirs = pair("DecoderBlock", rng, device, norm_first=norm_first)
    block = day20.DecoderBlock(12, 3, 20, dropout=1.0, norm_first=norm_first).to(device, WIDE)
    block.load_state_dict(ours.state_dict())
    wanted = x if norm_first else theirs.norm3(theirs.norm2(theirs.norm1(x))).detach()
    same(block.train()(x, memory), wanted, "in training, when all three branches are dropped")
    wanted = theirs(x, memory).detach()
    same(block.eval()(x, memory, causal=False), wanted, "in eval mode, causal=False")


@exercise("DecoderBlock")
def test_decoder_block_dropout_of_the_parts():
    block = day20.DecoderBlock(8, 2, dropout=0.25)
    found = {
        "attention.dropout": block.attention.dropout,
        "cross_attention.dropout": block.cross_attention.dropout,
        "feed_forward.dropout.p": block.feed_forward.dropout.p,
        "dropout.p": block.dropout.p,
    }
    wrong = {name: p for name, p in found.items() if p != 0.25}
    assert not wrong, f"made with dropout=0.25, but: {wrong}"


@exercise("DecoderBlock", ban=BAN)
@ORDERS
def test_decoder_block_strides_and_axes(norm_first, device, rng):
    ours, theirs = pair("DecoderBlock", rng, device, norm_first=norm_first)
    x, memory = rng.normal(2, 3, 4, 12, dtype=WIDE), rng.normal(2, 3, 6, 12, dtype=WIDE)
    wanted = theirs(x.flatten(0, 1), memory.flatten(0, 1)).detach().reshape(2, 3, 4, 12)
    same(ours(x, memory, causal=False), wanted, "with two leading axes")
    same(ours(x[0, 0], memory[0, 0], causal=False), wanted[0, 0], "without a batch")
    for (layout, xs), (_, ms) in zip(layouts(x[0]), layouts(memory[0]), strict=True):
        same(ours(xs, ms, causal=False), wanted[0], f"of a {layout} x and memory")


@exercise("DecoderBlock", ban=BAN)
@ORDERS
def test_decoder_block_refuses(norm_first, device, rng):
    block = day20.DecoderBlock(8, 2, norm_first=norm_first).to(device)
    good = rng.normal(2, 4, 8)
    for shape in ((2, 3, 5), (2, 3, 1), (2, 3, 9)):
        bad = rng.normal(*shape)
        refused("x", shape, 8, lambda bad=bad: block(bad, good))
        refused("memory", shape, 8, lambda bad=bad: block(good, bad))


@exercise("DecoderBlock", ban=BAN)
@DTYPES
def test_decoder_block_other_dtypes(dtype, device, rng):
    block = random_weights(day20.DecoderBlock(8, 2), rng, 1.5).to(device)
    x, memory = rng.normal(2, 5, 8, dtype=dtype), rng.normal(2, 4, 8, dtype=dtype)
    narrow(block, dtype, x, memory, memory_mask=rng.boolean(2, 1, 1, 4, p=0.7))


@exercise("DecoderBlock", seconds=60)  # no ban: its watching cannot be compiled
def test_decoder_block_compiles(device, rng):
    block = random_weights(day20.DecoderBlock(8, 2).to(device), rng, 1.5)
    x, memory = rng.normal(2, 5, 8), rng.normal(2, 4, 8)
    compiles(block, x, memory, memory_mask=rng.boolean(2, 1, 1, 4, p=0.7))


# Encoder and Decoder -------------------------------------------------------------------------


def own_weights(stack, norm_first):
    first, second = stack.blocks
    for (name, a), b in zip(first.named_parameters(), second.parameters(), strict=True):
        assert a.data_ptr() != b.data_ptr(), f"both blocks have one and the same {name}"
        if a.dim() > 1:
            assert not torch.equal(a, b), f"both blocks start with the same numbers in {name}"
    names = {name for name, _ in stack.named_parameters() if not name.startswith("blocks.")}
    expected = {"norm.weight", "norm.bias"} if norm_first else set()
    assert names == expected, f"norm_first={norm_first}: beside the blocks there is {names}"


def handed_on(stack):
    """``stack`` was made with hidden=5, dropout=0.25, activation=cos, eps=0.5 and no bias."""
    for i, block in enumerate(stack.blocks):
        found = {
            "hidden": block.feed_forward.up_proj.out_features,
            "dropout": block.dropout.p,
            "activation": block.feed_forward.activation,
            "eps": block.attention_norm.eps,
            "bias": block.attention_norm.bias,
        }
        wanted = {"hidden": 5, "dropout": 0.25, "activation": torch.cos, "eps": 0.5, "bias": None}
        wrong = {name: x for name, x in found.items() if x != wanted[name]}
        assert not wrong, f"block {i} did not get its options: {wrong}"
    norm = (stack.norm.eps, stack.norm.bias)
    assert norm == (0.5, None), f"made with eps=0.5, bias=False; norm has eps and bias {norm}"


@exercise("Encoder")
@ORDERS
def test_encoder_has_blocks_of_its_own(norm_first):
    own_weights(day20.Encoder(2, 8, 2, norm_first=norm_first), norm_first)


@exercise("Encoder")
def test_encoder_hands_its_options_on():
    options = {"dropout": 0.25, "activation": torch.cos, "eps": 0.5, "bias": False}
    handed_on(day20.Encoder(2, 8, 2, hidden=5, **options))


@exercise("Encoder", ban=BAN)
@ORDERS
@pytest.mark.parametrize("causal", [False, True], ids=["", "causal"])
def test_encoder_equals_torch(norm_first, causal, device, rng):
    x = rng.normal(2, 5, 12, dtype=WIDE)
    ours, theirs = pair_of_stacks("Encoder", rng, device, norm_first=norm_first)
    for kind, mask in masks(rng, device, 2, 3, 5, 5).items():
        wanted = theirs(x, torch_mask(mask, (2, 3, 5, 5), device, causal)).detach()
        same(ours(x, mask, causal), wanted, f"3 blocks, {kind} mask, causal={causal}")


@exercise("Encoder", ban=BAN)
def test_encoder_of_other_depths(device, rng):
    x = rng.normal(2, 5, 12, dtype=WIDE)
    for depth in (1, 2):
        for options in ({"eps": 0.1}, {"bias": False}, {"norm_first": False, "eps": 0.1}):
            ours, theirs = pair_of_stacks("Encoder", rng, device, depth=depth, **options)
            same(ours(x), theirs(x).detach(), f"{depth} blocks with {options}")
    wanted = nn.functional.layer_norm(x, (12,))
    same(day20.Encoder(0, 12, 3).to(device, WIDE)(x), wanted, "no block, norm first")
    same(day20.Encoder(0, 12, 3, norm_first=False)(x), x, "no block, norm last")


@exercise("Encoder")
def test_gradient_along_the_straight_line(device, rng):
    """With branches that give zeros: norm first changes no gradient, a norm last divides it."""
    x, probe = rng.normal(3, 5, 8, dtype=WIDE, std=10.0), rng.normal(3, 5, 8, dtype=WIDE)
    found = {}
    for norm_first in (True, False):
        encoder = day20.Encoder(12, 8, 2, norm_first=norm_first).to(device, WIDE)
        with torch.no_grad():
            for block in encoder.blocks:
                for layer in (block.attention.out_proj, block.feed_forward.down_proj):
                    layer.weight.zero_()
                    layer.bias.zero_()
        leaf = x.clone().requires_grad_()
        (found[norm_first],) = torch.autograd.grad(encoder(leaf), leaf, probe)
    leaf = x.clone().requires_grad_()
    (wanted,) = torch.autograd.grad(nn.functional.layer_norm(leaf, (8,)), leaf, probe)
    same(found[True], wanted, "norm first, 12 blocks that add nothing: gradient of x")
    # 24 norms in a row are one, but for eps, which each of them adds to a variance of about 1.
    error = off(found[False], wanted)
    assert error < 0.01, f"norm last, 12 blocks that add nothing: gradient of x off by {error:.1%}"


@exercise("Encoder")
def test_gradient_of_the_last_block_against_depth(device, rng):
    """Norm first: the deeper the stack, the less gradient for a block; norm last: as much."""
    shares = {True: 1.0, False: 1.0}
    for norm_first in [True, False] * 4:  # the product of four draws, for single ones scatter
        x, probe = rng.normal(4, 8, 16), rng.normal(4, 8, 16)
        norms = []
        for depth in (2, 24):
            encoder = day20.Encoder(depth, 16, 2, norm_first=norm_first).to(device)
            with torch.no_grad():
                for name, p in encoder.named_parameters():
                    if p.dim() > 1:
                        p.copy_(rng.normal(*p.shape, std=1 / math.sqrt(p.shape[1])))
                    elif name.endswith("bias"):
                        p.zero_()
            weight = encoder.blocks[-1].feed_forward.down_proj.weight
            (gradient,) = torch.autograd.grad(encoder(x), weight, probe)
            norms.append(gradient.norm().item())
        shares[norm_first] *= (norms[1] / norms[0]) ** 0.25
    assert shares[True] < 0.8 * shares[False], (
        "from 2 to 24 blocks, the last block's gradient changes by the factor "
        f"{shares[True]:.2f} with norm first and {shares[False]:.2f} with norm last"
    )


@exercise("Encoder", ban=BAN)
@DTYPES
def test_encoder_other_dtypes(dtype, device, rng):
    encoder = random_weights(day20.Encoder(2, 8, 2), rng, 1.5).to(device)
    x, mask = rng.normal(2, 5, 8, dtype=dtype), rng.boolean(2, 1, 1, 5, p=0.7)
    narrow(encoder, dtype, x, mask=mask, causal=True)


@exercise("Encoder", seconds=60)  # no ban: its watching cannot be compiled
def test_encoder_compiles(device, rng):
    encoder = random_weights(day20.Encoder(1, 8, 2).to(device), rng, 1.5)
    x, mask = rng.normal(2, 5, 8), rng.boolean(2, 1, 1, 5, p=0.7)
    compiles(encoder, x, mask=mask, causal=True)


@exercise("Decoder")
@ORDERS
def test_decoder_has_blocks_of_its_own(norm_first):
    own_weights(day20.Decoder(2, 8, 2, norm_first=norm_first), norm_first)


@exercise("Decoder")
def test_decoder_hands_its_options_on():
    options = {"dropout": 0.25, "activation": torch.cos, "eps": 0.5, "bias": False}
    handed_on(day20.Decoder(2, 8, 2, hidden=5, **options))


@exercise("Decoder", ban=BAN)
@ORDERS
@pytest.mark.parametrize("causal", [False, True], ids=["", "causal"])
def test_decoder_equals_torch(norm_first, causal, device, rng):
    x, memory = rng.normal(2, 4, 12, dtype=WIDE), rng.normal(2, 6, 12, dtype=WIDE)
    ours, theirs = pair_of_stacks("Decoder", rng, device, norm_first=norm_first)
    own, cross = masks(rng, device, 2, 3, 4, 4), masks(rng, device, 2, 3, 4, 6)
    for kind, other in zip(own, reversed(cross), strict=True):
        mask, memory_mask = own[kind], cross[other]
        wanted = theirs(
            x,
            memory,
            tgt_mask=torch_mask(mask, (2, 3, 4, 4), device, causal),
            memory_mask=torch_mask(memory_mask, (2, 3, 4, 6), device),
        ).detach()
        got = ours(x, memory, mask, memory_mask, causal)
        same(got, wanted, f"3 blocks, {kind} mask, {other} memory_mask, causal={causal}")


@exercise("Decoder", ban=BAN)
@ORDERS
def test_decoder_gradients(norm_first, device, rng):
    ours, theirs = pair_of_stacks("Decoder", rng, device, depth=2, norm_first=norm_first)
    inputs, twins = decoded_back(ours, theirs, rng, device)
    same_gradients(ours.blocks[0], theirs.layers[0], inputs, twins)
    same_gradients(ours.blocks[1], theirs.layers[1], {}, {})


@exercise("Decoder", ban=BAN)
def test_decoder_is_causal_unless_told_otherwise(device, rng):
    x, memory = rng.normal(2, 4, 12, dtype=WIDE), rng.normal(2, 6, 12, dtype=WIDE)
    ours, theirs = pair_of_stacks("Decoder", rng, device, depth=2)
    past = torch_mask(None, (2, 3, 4, 4), device, causal=True)
    same(ours(x, memory), theirs(x, memory, tgt_mask=past).detach(), "no mask, causal not given")


@exercise("Decoder", ban=BAN)
def test_decoder_of_other_depths(device, rng):
    x, memory = rng.normal(2, 4, 12, dtype=WIDE), rng.normal(2, 6, 12, dtype=WIDE)
    for options in ({"eps": 0.1}, {"bias": False}, {"norm_first": False, "eps": 0.1}):
        ours, theirs = pair_of_stacks("Decoder", rng, device, depth=1, **options)
        same(ours(x, memory, causal=False), theirs(x, memory).detach(), f"1 block, {options}")
    wanted = nn.functional.layer_norm(x, (12,))
    same(day20.Decoder(0, 12, 3).to(device, WIDE)(x, memory), wanted, "no block, norm first")
    same(day20.Decoder(0, 12, 3, norm_first=False)(x, memory), x, "no block, norm last")


@exercise("Decoder", ban=BAN)
@DTYPES
def test_decoder_other_dtypes(dtype, device, rng):
    decoder = random_weights(day20.Decoder(2, 8, 2), rng, 1.5).to(device)
    x, memory = rng.normal(2, 5, 8, dtype=dtype), rng.normal(2, 4, 8, dtype=dtype)
    narrow(decoder, dtype, x, memory, memory_mask=rng.boolean(2, 1, 1, 4, p=0.7))


@exercise("Decoder", seconds=60)  # no ban: its watching cannot be compiled
def test_decoder_compiles(device, rng):
    decoder = random_weights(day20.Decoder(1, 8, 2, norm_first=False).to(device), rng, 1.5)
    x, memory = rng.normal(2, 5, 8), rng.normal(2, 4, 8)
    compiles(decoder, x, memory, memory_mask=rng.boolean(2, 1, 1, 4, p=0.7))


# gradient_norms ------------------------------------------------------------------------------


@exercise("gradient_norms")
@ORDERS
@pytest.mark.parametrize("depth", [0, 1, 4])
def test_gradient_norms_values(norm_first, depth, device, rng):
    encoder = day20.Encoder(depth, 8, 2, norm_first=norm_first)
    random_weights(encoder.to(device, WIDE), rng, 1.5)
    x, probe = rng.normal(3, 5, 8, dtype=WIDE), rng.normal(3, 5, 8, dtype=WIDE)
    got = day20.gradient_norms(encoder, x, probe)
    streams = [x.clone().requires_grad_()]
    for block in encoder.blocks:
        streams.append(block(streams[-1]))
        streams[-1].retain_grad()
    (encoder.norm(streams[-1]) * probe).sum().backward()
    wanted = torch.stack([s.grad.square().sum().sqrt() for s in streams])
    close(got, wanted, terms=4096, scale=256.0, name=f"{depth} blocks, norm_first={norm_first}")


@exercise("gradient_norms")
def test_gradient_norms_in_float32(device, rng):
    encoder = random_weights(day20.Encoder(2, 8, 2).to(device), rng, 1.5)
    x, probe = rng.normal(3, 5, 8), rng.normal(3, 5, 8)
    got = day20.gradient_norms(encoder, x, probe)
    wide = copy.deepcopy(encoder).double()
    wanted = day20.gradient_norms(wide, x.double(), probe.double())
    assert got.dtype == torch.float32, f"x is float32, but the norms are {got.dtype}"
    assert off(got, wanted) < 1e-3, f"in float32 the norms are {got}, in float64 {wanted}"


@exercise("gradient_norms")
def test_gradient_norms_leave_no_trace(device, rng):
    encoder = day20.Encoder(2, 8, 2).to(device)
    before = torch.ones_like(encoder.norm.weight)
    encoder.norm.weight.grad = before.clone()
    x, probe = rng.normal(3, 5, 8), rng.normal(3, 5, 8)
    day20.gradient_norms(encoder, x, probe)
    assert not x.requires_grad, "x requires a gradient now: it was changed"
    x.requires_grad_()
    day20.gradient_norms(encoder, x, probe)
    assert x.grad is None, "the .grad of x was written"
    written = [name for name, p in encoder.named_parameters() if p.grad is not None]
    assert written == ["norm.weight"], f"the .grad of these was written: {written}"
    same(encoder.norm.weight.grad, before, "a .grad that was there before", dtype=torch.float32)
