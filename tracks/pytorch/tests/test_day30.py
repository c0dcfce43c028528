"""Day 30: layers of experts against each token by itself, and against transformers' layers."""

import copy
import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from harness.testing import (
    close,
    exercise,
    layouts,
    random_weights,
    refused,
    same_compiled,
    shapes,
    watch,
)
from tracks.pytorch import day30
from tracks.pytorch.day28 import LatentCache
from tracks.pytorch.day29 import DeepSeekConfig

WIDE = torch.float64
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
SIZES = dict(vocab_size=40, hidden_size=16, num_hidden_layers=3, num_attention_heads=4,
             q_lora_rank=6, kv_lora_rank=8, qk_nope_head_dim=4, qk_rope_head_dim=4, v_head_dim=6,
             intermediate_size=20, moe_intermediate_size=5, n_routed_experts=12,
             num_experts_per_tok=3, n_group=3, topk_group=2)  # fmt: skip
V3 = DeepSeekConfig(**SIZES, routed_scaling_factor=2.5, first_k_dense_replace=1)
V2 = dataclasses.replace(V3, model_type="deepseek_v2", scoring_func="softmax", n_shared_experts=2,
                         topk_method="group_limited_greedy", first_k_dense_replace=2)  # fmt: skip
LITE = dataclasses.replace(V2, topk_method="greedy", q_lora_rank=None, routed_scaling_factor=1.0)
CONFIGS = pytest.mark.parametrize("config", [V2, LITE, V3], ids=["V2", "V2-Lite", "V3"])


# dispatch ------------------------------------------------------------------------------------


def check_dispatch(indices, experts, what):
    order, ends = day30.dispatch(indices, experts)
    pairs = [expert for row in indices.tolist() for expert in row]
    wanted = sorted(range(len(pairs)), key=lambda p: pairs[p])
    assert order.dtype == torch.int64, f"{what}: order is {order.dtype}"
    assert ends.dtype == torch.int32, f"{what}: ends is {ends.dtype}"
    found = order.tolist()
    assert sorted(found) == sorted(wanted), f"{what}: order is no permutation of the pairs: {found}"
    by_expert = [pairs[p] for p in found]
    assert by_expert == sorted(pairs), f"{what}: the experts in this order are {by_expert}"
    assert found == wanted, f"{what}: the pairs of one expert do not rise: {found}"
    due = [sum(p <= e for p in pairs) for e in range(experts)]
    assert ends.tolist() == due, f"{what}: ends are {ends.tolist()}, not {due}"


@exercise("dispatch")
@shapes("tokens, k, experts", (6, 2, 4), (1, 1, 1), (5, 1, 3), (1, 3, 7), (0, 2, 4), (40, 4, 5),
        (3, 2, 100))  # fmt: skip
def test_pairs_by_expert(tokens, k, experts, device, rng):
    indices = rng.normal(tokens, experts).argsort(-1)[:, : min(k, experts)]
    for layout, view in layouts(indices):
        check_dispatch(view, experts, f"{layout} indices ({tokens}, {k}), {experts} experts")


@exercise("dispatch")
def test_uneven_load(device):
    for expert in (0, 2, 4):
        same = torch.full((30, 1), expert, device=device)
        check_dispatch(same, 5, f"30 tokens, all to expert {expert} of 5")


@exercise("dispatch")
def test_dispatch_is_flat(device, rng):
    seen = []
    for tokens, experts in ((4, 3), (2048, 4096)):
        indices = rng.integers(0, experts, tokens, 2)
        _, work = watch(day30.dispatch, indices, experts)
        seen.append(len(work.operators))
        assert not work.synchronisations, f"the host waits for {work.synchronisations[0]}"
    assert seen[0] == seen[1], f"operators for 4 tokens and 3 experts, for 2048 and 4096: {seen}"
    assert work.peak_bytes < 2**20, f"{work.peak_bytes:,} bytes at the peak for 4096 pairs"


@exercise("dispatch")
def test_dispatch_compiles(device, rng):
    indices = rng.integers(0, 5, 9, 2)
    compiled = torch.compile(lambda i: day30.dispatch(i, 5), backend="aot_eager", fullgraph=True)
    for got, due in zip(compiled(indices), day30.dispatch(indices, 5), strict=True):
        assert torch.equal(got, due), "compiled, order or ends differ"


# Experts -------------------------------------------------------------------------------------


def make_experts(rng, device, n=6, hidden=16, inner=5, dtype=WIDE):
    experts = day30.Experts(n, hidden, inner).to(device, dtype)
    with torch.no_grad():
        for p in experts.parameters():
            p.copy_(rng.normal(*p.shape, std=2 / p.shape[-1] ** 0.5, dtype=dtype))
    return experts


def choices(rng, tokens, n, k, dtype=WIDE):
    """Different experts for each token, with weights of both signs."""
    indices = rng.normal(tokens, n).argsort(-1)[:, :k]
    return indices, rng.normal(tokens, k, dtype=dtype)


def one_by_one(experts, x, indices, weights):
    """Token by token, expert by expert, in the dtype of the weights."""
    wide = weights.dtype
    rows = []
    for token, row, weight in zip(x.to(wide), indices.tolist(), weights, strict=True):
        total = torch.zeros_like(token)
        for i, w in zip(row, weight, strict=True):
            gate, up = (experts.gate_up_proj[i].to(wide) @ token).chunk(2)
            total = total + w * (experts.down_proj[i].to(wide) @ (F.silu(gate) * up))
        rows.append(total)
    return torch.stack(rows) if rows else x.to(wide)


def same(got, wanted, name, dtype=WIDE):
    close(got, wanted.detach(), dtype=dtype, terms=256, scale=16.0, name=name)


@exercise("Experts")
def test_expert_weights(device):
    experts = day30.Experts(7, 16, 5, std=0.3)
    found = {name: tuple(p.shape) for name, p in experts.named_parameters()}
    wanted = {"gate_up_proj": (7, 10, 16), "down_proj": (7, 16, 5)}
    assert found == wanted, f"the parameters are {found}, not {wanted}"
    assert set(experts.state_dict()) == set(wanted), f"state_dict has {list(experts.state_dict())}"
    for std, big in ((0.3, day30.Experts(16, 64, 64, 0.3)), (0.02, day30.Experts(16, 64, 64))):
        for name, p in big.named_parameters():
            mean, spread = p.mean().abs().item(), p.std().item()
            assert mean < std / 20 and abs(spread / std - 1) < 0.05, (
                f"{name}: mean {mean:.4f} and standard deviation {spread:.4f}, not 0 and {std}"
            )


@exercise("Experts")
@shapes("tokens, n, k", (9, 6, 2), (1, 1, 1), (1, 6, 3), (0, 6, 2), (7, 3, 3), (3, 40, 2),
        (30, 4, 1))  # fmt: skip
def test_sum_over_experts(tokens, n, k, device, rng):
    experts = make_experts(rng, device, n)
    x = rng.normal(tokens, 16, dtype=WIDE)
    indices, weights = choices(rng, tokens, n, k)
    wanted = one_by_one(experts, x, indices, weights)
    for layout, view in layouts(x):
        same(experts(view, indices, weights), wanted, f"{layout} x, {tokens} tokens, {k} of {n}")
    for (layout, i), (_, w) in zip(layouts(indices), layouts(weights), strict=True):
        same(experts(x, i, w), wanted, f"{layout} indices and weights, {tokens} tokens")
    with torch.no_grad():
        same(experts(x, indices, weights), wanted, f"without gradients, {tokens} tokens")


@exercise("Experts")
@pytest.mark.parametrize("hidden, inner", [(16, 8), (12, 7)], ids=str)
def test_no_token_is_dropped(hidden, inner, device, rng):
    """All tokens want the same experts; the others have none."""
    experts = make_experts(rng, device, 5, hidden, inner, torch.float32)
    x, weights = rng.normal(50, hidden), rng.normal(50, 2)
    for pair in ((4, 0), (2, 3)):
        indices = torch.tensor([pair], device=device).expand(50, 2)
        wide = copy.deepcopy(experts).double()
        wanted = one_by_one(wide, x.double(), indices, weights.double())
        for grad in (True, False):
            with torch.set_grad_enabled(grad):
                got = experts(x, indices, weights)
            same(got, wanted, f"all 50 tokens to experts {pair}", torch.float32)


@exercise("Experts")
def test_experts_gradients(device, rng):
    experts = make_experts(rng, device)
    x = rng.normal(8, 16, dtype=WIDE).clone().requires_grad_()
    indices, weights = choices(rng, 8, 5, 2)  # of 6: one expert has no tokens
    weights = weights.clone().requires_grad_()
    probe = rng.normal(8, 16, dtype=WIDE)
    leaves = [x, weights, *experts.parameters()]
    results = (experts(x, indices, weights), one_by_one(experts, x, indices, weights))
    grads = [torch.autograd.grad(y, leaves, probe) for y in results]
    for name, a, b in zip(("x", "weights", "gate_up_proj", "down_proj"), *grads, strict=True):
        close(a, b, terms=256, scale=16.0, name=f"gradient of {name}")
    twice = torch.autograd.grad(experts(x, indices, weights).sum(), leaves)
    plain = torch.autograd.grad(one_by_one(experts, x, indices, weights).sum(), leaves)
    for name, a, b in zip(("x", "weights", "gate_up_proj", "down_proj"), twice, plain, strict=True):
        close(a, b, terms=256, scale=16.0, name=f"gradient of {name} from a sum")


@exercise("Experts")
@pytest.mark.parametrize("hidden, inner", [(16, 8), (16, 5)], ids=str)
def test_half_precision_is_added_wide(hidden, inner, device, rng):
    """Experts that give nearly the same, with weights that cancel: the difference is what is left.

    Each expert's result is a bfloat16 number; their weighted sum is rounded once.
    """
    experts = make_experts(rng, device, 3, hidden, inner, torch.bfloat16)
    x = rng.normal(20, hidden, dtype=torch.bfloat16)
    indices = torch.tensor([[0, 2]], device=device).expand(20, 2)
    weights = rng.uniform(20, 2, low=0.3, high=0.7)
    ones, none = torch.ones(20, 1, device=device), torch.zeros(20, 0, device=device)
    parts = []
    with torch.no_grad():
        for i in (0, 2):
            alone = torch.full((20, 1), i, device=device)
            parts.append(experts(x, alone, ones).double())
        got = experts(x, indices, weights)
        wanted = sum(w * p for w, p in zip(weights.double().T.unsqueeze(-1), parts, strict=True))
    close(got, wanted, dtype=torch.bfloat16, terms=4, factor=1.0,
          name="a sum of two bfloat16 experts with float32 weights")  # fmt: skip
    empty = experts(x, none.long(), none)
    assert empty.dtype == torch.bfloat16 and not empty.any(), "no experts give zeros, in bfloat16"


def counted(f, *args):
    with FlopCounterMode(display=False) as counter:
        f(*args)
    return counter.get_total_flops()


@exercise("Experts")
@pytest.mark.parametrize("n", [4, 64])
def test_work_is_that_of_the_chosen(n, device, rng):
    """As many FLOPs and bytes for 64 experts as for 4."""
    tokens, k, hidden, inner = 64, 2, 32, 24
    experts = make_experts(rng, device, n, hidden, inner, torch.float32)
    x = rng.normal(tokens, hidden)
    indices, weights = choices(rng, tokens, n, k, torch.float32)
    due = 6 * tokens * k * hidden * inner
    for grad in (False, True):
        with torch.set_grad_enabled(grad):
            found = counted(experts, x, indices, weights)
        assert found <= due, f"{n} experts: {found:,} FLOPs, {found / due:.1f} times {due:,}"
    with torch.no_grad():
        experts(x, indices, weights)
        _, seen = watch(experts, x, indices, weights)
    limit = 16 * tokens * k * hidden * 4
    assert seen.peak_bytes < limit, (
        f"{n} experts: {seen.peak_bytes:,} bytes at the peak, allowed are {limit:,}"
    )


@exercise("Experts")
def test_no_loop_over_tokens(device, rng):
    experts = make_experts(rng, device, 3)
    seen = []
    for tokens in (40, 400):
        indices, weights = choices(rng, tokens, 3, 2)
        indices[:3, 0] = torch.arange(3, device=device)  # each has a token
        with torch.no_grad():
            _, work = watch(experts, rng.normal(tokens, 16, dtype=WIDE), indices, weights)
        seen.append(len(work.operators))
    assert seen[0] == seen[1], f"operators for 40 and for 400 tokens: {seen}"


@exercise("Experts")
@DTYPES
def test_experts_compile(dtype, device, rng):
    experts = make_experts(rng, device, 4, 16, 8, dtype)
    x = rng.normal(7, 16, dtype=dtype)
    indices, weights = choices(rng, 7, 4, 2, torch.float32)
    limit = 0.02 if dtype == torch.bfloat16 else 1e-4
    same_compiled(experts, (x, indices, weights), list(experts.parameters()), f"Experts, {dtype}",
                  limit)  # fmt: skip


@exercise("Experts")
def test_experts_refuse(device, rng):
    experts = make_experts(rng, device)
    indices, weights = choices(rng, 4, 6, 2)
    for shape in ((4, 15), (4, 1)):
        refused(experts, rng.normal(*shape, dtype=WIDE), indices, weights, what=f"x {shape}",
                names=("x", shape, 16))  # fmt: skip


# MixtureOfExperts ----------------------------------------------------------------------------


def make_layer(config, rng, device, dtype=WIDE):
    layer = day30.MixtureOfExperts(config)
    with torch.no_grad():
        for name, p in layer.named_parameters():
            p.copy_(
                rng.normal(*p.shape, std=(0.5 if "gate." in name else 1.5 / p.shape[-1] ** 0.5))
            )
        bias = layer.gate.e_score_correction_bias
        if bias is not None:
            bias.copy_(rng.uniform(config.n_routed_experts, high=0.4))
    return layer.to(device, dtype)


def layer_by_hand(layer, x):
    """The routed part in the dtype of the router's weights, rounded; then what all share."""
    flat = x.reshape(-1, x.shape[-1])
    indices, weights, _ = layer.gate(flat)
    routed = one_by_one(layer.experts, flat, indices, weights).to(x.dtype)
    shared = layer.shared_experts
    gate, up = F.linear(flat, shared.gate_proj.weight), F.linear(flat, shared.up_proj.weight)
    return (routed + F.linear(F.silu(gate) * up, shared.down_proj.weight)).view(x.shape)


@exercise("MixtureOfExperts")
@CONFIGS
def test_layer_parts(config, device):
    layer = day30.MixtureOfExperts(config)
    shared = 5 * config.n_shared_experts
    wanted = {"gate.weight": (12, 16), "experts.gate_up_proj": (12, 10, 16),
              "experts.down_proj": (12, 16, 5), "shared_experts.gate_proj.weight": (shared, 16),
              "shared_experts.up_proj.weight": (shared, 16),
              "shared_experts.down_proj.weight": (16, shared)}  # fmt: skip
    if config.scoring_func == "sigmoid":
        wanted["gate.e_score_correction_bias"] = (12,)
    found = {name: tuple(p.shape) for name, p in layer.state_dict().items()}
    assert found == wanted, f"state_dict has {found}, not {wanted}"
    assert layer.config is config, "config is not an attribute"
    sizes = dict(hidden_size=64, moe_intermediate_size=64, initializer_range=0.3)
    big = day30.MixtureOfExperts(dataclasses.replace(config, **sizes))
    for name, p in big.experts.named_parameters():
        assert abs(p.std().item() / 0.3 - 1) < 0.05, (
            f"{name} has the standard deviation {p.std().item():.3f}, initializer_range is 0.3"
        )


@exercise("MixtureOfExperts")
@CONFIGS
def test_layer_by_hand(config, device, rng):
    layer = make_layer(config, rng, device)
    for shape in ((2, 5, 16), (7, 16), (16,), (2, 0, 16), (3, 1, 2, 16)):
        x = rng.normal(*shape, dtype=WIDE)
        wanted = layer_by_hand(layer, x)
        for layout, view in layouts(x):
            same(layer(view), wanted, f"{layout} x {shape}")


@exercise("MixtureOfExperts")
@CONFIGS
def test_tokens_do_not_meet(config, device, rng):
    layer = make_layer(config, rng, device)
    x = rng.normal(12, 16, dtype=WIDE)
    with torch.no_grad():
        whole = layer(x)
        same(layer(x.flip(0)).flip(0), whole, "tokens in the other order")
        same(layer(x[4:7]), whole[4:7], "three of twelve tokens")
        crowd = x[:1].expand(40, 16)
        same(layer(crowd), whole[:1].expand(40, 16), "one token forty times: same experts for all")


@exercise("MixtureOfExperts")
@CONFIGS
def test_layer_gradients(config, device, rng):
    layer = make_layer(config, rng, device)
    x = rng.normal(2, 6, 16, dtype=WIDE).clone().requires_grad_()
    probe = rng.normal(2, 6, 16, dtype=WIDE)
    names = ["x", *(name for name, _ in layer.named_parameters())]
    leaves = [x, *layer.parameters()]
    grads = [torch.autograd.grad(f(x), leaves, probe)
             for f in (layer, lambda x: layer_by_hand(layer, x))]  # fmt: skip
    for name, a, b in zip(names, *grads, strict=True):
        close(a, b, terms=512, scale=64.0, name=f"gradient of {name}")


@exercise("MixtureOfExperts")
@pytest.mark.parametrize("config", [V2, V3], ids=["V2", "V3"])
def test_layer_work(config, device, rng):
    """The chosen, the shared and the gate; ten times as many experts cost the gate alone."""
    x = rng.normal(20, 16)
    for experts in (12, 120):
        big = dataclasses.replace(config, n_routed_experts=experts)
        layer = make_layer(big, rng, device, torch.float32)
        due = 20 * (6 * (3 + big.n_shared_experts) * 16 * 5 + 2 * experts * 16)
        with torch.no_grad():
            found = counted(layer, x)
        assert found <= due, f"{experts} experts: {found:,} FLOPs, {found / due:.2f} times {due:,}"


@exercise("MixtureOfExperts")
@CONFIGS
def test_bfloat16_layer(config, device, rng):
    layer = make_layer(config, rng, device, torch.bfloat16)
    x = rng.normal(10, 16, dtype=torch.bfloat16)
    with torch.no_grad():
        got, wanted = layer(x), layer_by_hand(layer, x).double()
    assert got.dtype == torch.bfloat16, f"x is bfloat16, the result {got.dtype}"
    off = ((got.double() - wanted).norm() / wanted.norm()).item()
    assert off < 0.02, f"in bfloat16 the result is off by {off:.3f} of its length"


@exercise("MixtureOfExperts")
@pytest.mark.parametrize("config", [V2, V3], ids=["V2", "V3"])
def test_layer_compiles(config, device, rng):
    layer = make_layer(config, rng, device, torch.float32)
    same_compiled(layer, (rng.normal(2, 3, 16),), list(layer.parameters()), "MixtureOfExperts")


@exercise("MixtureOfExperts")
def test_layer_refuses(device, rng):
    layer = make_layer(V3, rng, device)
    for shape in ((3, 15), (16, 1)):
        refused(layer, rng.normal(*shape, dtype=WIDE), what=f"x {shape}", names=("x", shape, 16))


def theirs_of(config):
    """transformers' names for the kind of model: its configuration and its module."""
    if config.scoring_func == "softmax":
        from transformers import DeepseekV2Config as Config
        from transformers.models.deepseek_v2 import modeling_deepseek_v2 as module

        version = "DeepseekV2"
    else:
        from transformers import DeepseekV3Config as Config
        from transformers.models.deepseek_v3 import modeling_deepseek_v3 as module

        version = "DeepseekV3"
    made = Config(**config.to_json(), attn_implementation="eager")
    made._experts_implementation = "eager"
    return made, module, version


@exercise("MixtureOfExperts")
@CONFIGS
def test_as_transformers_layer(config, device, rng):
    made, module, version = theirs_of(config)
    (kind,) = (x for name, x in vars(module).items() if name.lower() == f"{version}moe".lower())
    mine = make_layer(config, rng, device, torch.float32)
    theirs = kind(made).to(device)
    theirs.load_state_dict({name: p.clone() for name, p in mine.state_dict().items()})
    x = rng.normal(2, 9, 16)
    ours, due = mine(x), theirs(x)
    close(ours, due.detach().double(), dtype=torch.float32, terms=256, scale=16.0,
          name="the layer beside transformers'")  # fmt: skip
    probe = rng.normal(2, 9, 16)
    for name, p in theirs.named_parameters():
        (wanted,) = torch.autograd.grad(due, p, probe, retain_graph=True)
        (got,) = torch.autograd.grad(ours, mine.get_parameter(name), probe, retain_graph=True)
        close(got, wanted.double(), dtype=torch.float32, terms=512, scale=64.0,
              name=f"gradient of {name} beside transformers'")  # fmt: skip


# DeepSeekBlock -------------------------------------------------------------------------------


def make_block(config, layer, rng, device, dtype=WIDE):
    block = random_weights(day30.DeepSeekBlock(config, layer), rng, 1.5)
    with torch.no_grad():
        for name, p in block.named_parameters():
            if "gate.weight" in name:
                p.mul_(0.7)
            elif ".experts." in name:
                p.copy_(rng.normal(*p.shape, std=1.5 / p.shape[-1] ** 0.5))
        for b in block.buffers():
            b.copy_(rng.uniform(*b.shape, high=0.4))
    return block.to(device, dtype)


LAYERS = pytest.mark.parametrize(
    "config, layer",
    [(V2, 1), (V2, 2), (LITE, 2), (V3, 0), (V3, 1)],
    ids=["V2 dense", "V2 sparse", "V2-Lite sparse", "V3 dense", "V3 sparse"],
)


@exercise("DeepSeekBlock")
@LAYERS
def test_block_parts(config, layer, device):
    block = day30.DeepSeekBlock(dataclasses.replace(config, rms_norm_eps=0.01), layer)
    parts = [name for name, _ in block.named_children()]
    due = {"input_layernorm", "self_attn", "post_attention_layernorm", "mlp"}
    assert set(parts) == due, f"the parts are {parts}"
    sparse = layer >= config.first_k_dense_replace
    found = {name for name, _ in block.mlp.named_parameters()}
    dense = {"gate_proj.weight", "up_proj.weight", "down_proj.weight"}
    assert (found == dense) != sparse, f"layer {layer} has an mlp with {sorted(found)}"
    if not sparse:
        shape = tuple(block.mlp.gate_proj.weight.shape)
        assert shape == (20, 16), f"gate_proj of a dense layer is {shape}, not (20, 16)"
    for name in ("input_layernorm", "post_attention_layernorm"):
        assert getattr(block, name).eps == 0.01, f"{name} has another eps than rms_norm_eps"
    assert block.input_layernorm is not block.post_attention_layernorm, "the norms are one module"


@exercise("DeepSeekBlock")
@LAYERS
def test_block_adds_two_branches(config, layer, device, rng):
    block = make_block(config, layer, rng, device)
    x = rng.normal(2, 6, 16, dtype=WIDE)
    with torch.no_grad():
        middle = x + block.self_attn(block.input_layernorm(x))
        wanted = middle + block.mlp(block.post_attention_layernorm(middle))
        for layout, view in layouts(x):
            same(block(view), wanted, f"{layout} x")


@exercise("DeepSeekBlock")
def test_block_with_positions(device, rng):
    """Positions with gaps: only their distances count, and these are others."""
    block = make_block(V3, 1, rng, device)
    x = rng.normal(2, 6, 16, dtype=WIDE)
    positions = torch.tensor([0, 2, 3, 7, 11, 12], device=device)
    with torch.no_grad():
        middle = x + block.self_attn(block.input_layernorm(x), positions)
        wanted = middle + block.mlp(block.post_attention_layernorm(middle))
        same(block(x, positions), wanted, "positions with gaps")


@exercise("DeepSeekBlock")
@pytest.mark.parametrize("config", [V2, V3], ids=["V2", "V3"])
@pytest.mark.parametrize("absorbed", [False, True], ids=["expanded", "absorbed"])
def test_block_with_a_cache(config, absorbed, device, rng):
    block = make_block(config, 2, rng, device)
    x = rng.normal(2, 7, 16, dtype=WIDE)
    mask = torch.ones(2, 1, 1, 7, dtype=torch.bool, device=device)
    mask[1, ..., :2] = False
    positions = torch.stack([torch.arange(7), (torch.arange(7) - 2).clamp(min=0)]).to(device)
    with torch.no_grad():
        whole = block(x, positions, mask)
        cache = LatentCache(2, 7, 8, 4, dtype=WIDE, device=device)
        parts, start = [], 0
        for new in (3, 1, 2, 1):
            stop = start + new
            part = slice(start, stop)
            parts.append(block(x[:, part], positions[:, part], mask[..., :stop], cache, absorbed))
            start = stop
        assert cache.length == 7, f"after 7 tokens the cache holds {cache.length}"
        got = torch.cat(parts, 1)
        same(got[0], whole[0], "a text in four calls")
        same(got[1, 2:], whole[1, 2:], "a text with two places of padding, in four calls")
        alone = block(x[1:, 2:])
        same(whole[1:, 2:], alone, "the padded text alone")


def clear_choice(mlp, x, rng):
    """The tokens whose experts stay the same when x moves by much more than rounding does."""
    clear = torch.ones(x.shape[:-1], dtype=torch.bool, device=x.device)
    if hasattr(mlp, "gate"):
        chosen = mlp.gate(x).indices.sort(-1).values
        for _ in range(12):
            moved = mlp.gate(x * (1 + 1e-4 * rng.normal(*x.shape))).indices.sort(-1).values
            clear &= (moved == chosen).all(-1)
    assert clear.float().mean() > 0.5
    return clear


@exercise("DeepSeekBlock")
@LAYERS
def test_as_transformers_block(config, layer, device, rng):
    scaling = {"type": "yarn", "factor": 4.0, "mscale": 0.7, "mscale_all_dim": 0.9,
               "original_max_position_embeddings": 1024}  # fmt: skip
    config = dataclasses.replace(config, rope_scaling=scaling, rms_norm_eps=1e-3)
    made, module, version = theirs_of(config)
    mine = make_block(config, layer, rng, device, torch.float32)
    theirs = getattr(module, f"{version}DecoderLayer")(made, layer).to(device)
    theirs.load_state_dict({name: p.clone() for name, p in mine.state_dict().items()})
    x = rng.normal(2, 6, 16)
    positions = torch.arange(6, device=device)[None]
    turns = getattr(module, f"{version}RotaryEmbedding")(made).to(device)(x, positions)
    future = torch.full((6, 6), -torch.inf, device=device).triu(1)[None, None]
    with torch.no_grad():
        due = theirs(x, attention_mask=future, position_ids=positions, position_embeddings=turns)
        due = due[0] if isinstance(due, tuple) else due
        got = mine(x)
        middle = x + mine.self_attn(mine.input_layernorm(x))
        clear = clear_choice(mine.mlp, mine.post_attention_layernorm(middle), rng)
    got, due = got[clear], due[clear]
    off = ((got - due).norm() / due.norm()).item()
    assert off < 1e-4, f"beside transformers' layer the result is off by {off:.2g} of its length"


@exercise("DeepSeekBlock")
def test_block_gradients_and_inputs(device, rng):
    block = make_block(V3, 1, rng, device)
    x = rng.normal(2, 5, 16, dtype=WIDE)
    leaf = x.clone().requires_grad_()
    grads = torch.autograd.grad(block(leaf).square().sum(), [leaf, *block.parameters()])
    names = ["x", *(name for name, _ in block.named_parameters())]
    none = [name for name, g in zip(names, grads, strict=True) if not g.any()]
    assert not none, f"no gradient reaches {none}"
    given = x.clone()
    with torch.no_grad():
        block(given)
    assert torch.equal(given, x), "x was changed"


@exercise("DeepSeekBlock")
@pytest.mark.parametrize("layer", [0, 1], ids=["dense", "sparse"])
def test_block_compiles(layer, device, rng):
    block = make_block(V3, layer, rng, device, torch.float32)
    same_compiled(block, (rng.normal(2, 4, 16),), list(block.parameters()), "DeepSeekBlock", 1e-3)


# expert_utilisation --------------------------------------------------------------------------


def make_model(rng, device):
    """A dense layer, a sparse one, and one inside another module."""
    blocks = [make_block(V3, 0, rng, device), make_block(V3, 1, rng, device)]
    return torch.nn.Sequential(*blocks, torch.nn.Sequential(make_layer(V2, rng, device)))


def by_router(model, x, mask=None):
    """What each gate says, asked by itself."""
    said = {}
    inputs = {}
    handles = [
        module.gate.register_forward_pre_hook(
            lambda _, args, name=name: inputs.update({name: args})
        )
        for name, module in model.named_modules()
        if hasattr(module, "shared_experts")
    ]
    with torch.no_grad():
        model(x)
    for handle in handles:
        handle.remove()
    for name, (tokens,) in inputs.items():
        layer = model.get_submodule(name)
        with torch.no_grad():
            indices = layer.gate(tokens).indices
        indices = indices.reshape(-1, indices.shape[-1])
        if mask is not None:
            indices = indices[mask.flatten()]
        found = indices.flatten().tolist()
        said[name] = [found.count(e) for e in range(12)]
    return said


def check_counts(counts, wanted, what):
    assert list(counts) == list(wanted), f"{what}: layers {list(counts)}, not {list(wanted)}"
    for name, due in wanted.items():
        found = counts[name]
        assert found.dtype == torch.int64, f"{what}: counts are {found.dtype}"
        assert found.tolist() == due, f"{what}: {name!r} has {found.tolist()}, not {due}"


@exercise("expert_utilisation")
def test_counts_of_every_layer(device, rng):
    model = make_model(rng, device)
    x, y = rng.normal(2, 6, 16, dtype=WIDE), rng.normal(3, 1, 16, dtype=WIDE)
    first, second = by_router(model, x), by_router(model, y)
    names = ["1.mlp", "2.0"]
    with torch.no_grad(), day30.expert_utilisation(model) as counts:
        check_counts(counts, {name: [0] * 12 for name in names}, "before a call")
        held = dict(counts)
        model(x)
        check_counts(counts, {name: first[name] for name in names}, "after one call")
        model(y)
        both = {n: [a + b for a, b in zip(first[n], second[n], strict=True)] for n in names}
        check_counts(counts, both, "after two calls")
        same_ones = all(held[name] is counts[name] for name in names)
        assert same_ones, "the tensors are other ones after a call"
    model(x)
    check_counts(counts, both, "after the block has ended and the model was called again")
    with torch.no_grad(), day30.expert_utilisation(model) as again:
        model(x)
    check_counts(again, {name: first[name] for name in names}, "a second time")


@exercise("expert_utilisation")
def test_counts_without_padding(device, rng):
    model = make_model(rng, device)
    x = rng.normal(3, 5, 16, dtype=WIDE)
    mask = torch.arange(5, device=device) >= torch.tensor([[0], [3], [5]], device=device)
    wanted = by_router(model, x, mask)
    wanted = {name: wanted[name] for name in ("1.mlp", "2.0")}
    with torch.no_grad(), day30.expert_utilisation(model, mask) as counts:
        model(x)
    check_counts(counts, wanted, "5, 2 and no real tokens of 5")
    with torch.no_grad(), day30.expert_utilisation(model, mask) as counts:
        for shape in ((3, 4), (2, 5)):
            refused(lambda s=shape: model(rng.normal(*s, 16, dtype=WIDE)),
                    what=f"tokens {shape} with a mask (3, 5)",
                    names=("mask", (3, 5), shape))  # fmt: skip


@exercise("expert_utilisation")
def test_a_layer_by_itself(device, rng):
    layer = make_layer(V3, rng, device)
    x = rng.normal(9, 16, dtype=WIDE)
    with day30.expert_utilisation(layer) as counts:
        layer(x)
    check_counts(counts, {"": by_router(layer, x)[""]}, "a layer by itself")
    with day30.expert_utilisation(copy.deepcopy(layer).to("meta")) as counts:
        found = counts[""].device.type
    assert found == "meta", f"the gate's weight is on the device 'meta', its counts are on {found}"
    with day30.expert_utilisation(torch.nn.Linear(2, 2)) as counts:
        pass
    assert counts == {}, f"a model without experts has {counts}"


@exercise("expert_utilisation")
def test_it_leaves_no_trace(device, rng):
    model = make_model(rng, device)
    x = rng.normal(2, 4, 16, dtype=WIDE)
    before = model(x)
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    forwards = [m.forward for m in model.modules()]
    with day30.expert_utilisation(model):
        close(model(x), before.detach(), name="the result while it counts")
    with pytest.raises(KeyError), day30.expert_utilisation(model):
        raise KeyError("something else went wrong")
    now = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    assert now == hooks, "hooks are left on the model"
    assert [m.forward for m in model.modules()] == forwards, "forward is another one now"
    close(model(x), before.detach(), name="the result afterwards")


@exercise("expert_utilisation")
def test_counting_does_not_wait(device, rng):
    layer = make_layer(V3, rng, device, torch.float32)
    x, mask = rng.normal(2, 6, 16), torch.ones(2, 6, dtype=torch.bool, device=device)
    quiet = watch(layer.gate, x)[1].synchronisations
    for given in (None, mask):
        with day30.expert_utilisation(layer, given):
            waits = watch(layer.gate, x)[1].synchronisations
        assert waits == quiet, f"while it counts, the host waits for {waits}"
