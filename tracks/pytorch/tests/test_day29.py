"""Day 29: gates against transformers' and against each token worked out by itself."""

import copy
import dataclasses
import json
import math

import pytest
import torch
import torch.nn.functional as F

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
from tracks.pytorch import day29

WIDE = torch.float64
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
SIZES = dict(vocab_size=40, hidden_size=16, num_hidden_layers=3, num_attention_heads=4,
             q_lora_rank=6, kv_lora_rank=8, qk_nope_head_dim=4, qk_rope_head_dim=4, v_head_dim=6,
             intermediate_size=20, moe_intermediate_size=5, n_shared_experts=2,
             first_k_dense_replace=1)  # fmt: skip
V2 = dict(SIZES, model_type="deepseek_v2", scoring_func="softmax", topk_method="greedy")
GROUPED = dict(V2, topk_method="group_limited_greedy")


def gate(base, experts, chosen, groups=1, kept=1, **more):
    sizes = dict(n_routed_experts=experts, num_experts_per_tok=chosen, n_group=groups)
    return day29.DeepSeekConfig(**{**base, **sizes, "topk_group": kept, **more})


GATES = {
    "softmax": gate(V2, 6, 2),
    "softmax, scaled": gate(V2, 7, 3, routed_scaling_factor=16.0, norm_topk_prob=False),
    "softmax, all": gate(V2, 4, 4),
    "softmax, groups": gate(GROUPED, 12, 4, 4, 2, routed_scaling_factor=4.0),
    "softmax, groups of one": gate(GROUPED, 5, 2, 5, 2),
    "softmax, one of three": gate(GROUPED, 12, 2, 3, 1),
    "sigmoid": gate(SIZES, 7, 3),
    "sigmoid, groups": gate(SIZES, 12, 3, 3, 2, routed_scaling_factor=2.5),
    "sigmoid, groups of two": gate(SIZES, 8, 3, 4, 2),
    "sigmoid, all groups": gate(SIZES, 12, 2, 3, 3),
    "sigmoid, not normalised": gate(SIZES, 12, 3, 3, 1, norm_topk_prob=False,
                                    routed_scaling_factor=2.5),
}  # fmt: skip
EACH = pytest.mark.parametrize("config", GATES.values(), ids=list(GATES))
SIGMOID = [name for name in GATES if name.startswith("sigmoid")]


# DeepSeekConfig ------------------------------------------------------------------------------

LITE = {
    "architectures": ["DeepseekV2ForCausalLM"], "attention_bias": False, "attention_dropout": 0.0,
    "aux_loss_alpha": 0.001, "bos_token_id": 100000, "eos_token_id": 100001,
    "first_k_dense_replace": 1, "hidden_act": "silu", "hidden_size": 2048,
    "initializer_range": 0.02, "intermediate_size": 10944, "kv_lora_rank": 512,
    "max_position_embeddings": 163840, "model_type": "deepseek_v2", "moe_intermediate_size": 1408,
    "moe_layer_freq": 1, "n_group": 1, "n_routed_experts": 64, "n_shared_experts": 2,
    "norm_topk_prob": False, "num_attention_heads": 16, "num_experts_per_tok": 6,
    "num_hidden_layers": 27, "num_key_value_heads": 16, "pretraining_tp": 1, "q_lora_rank": None,
    "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "rms_norm_eps": 1e-06,
    "rope_scaling": {"beta_fast": 32, "beta_slow": 1, "factor": 40, "mscale": 0.707,
                     "mscale_all_dim": 0.707, "original_max_position_embeddings": 4096,
                     "type": "yarn"},
    "rope_theta": 10000, "routed_scaling_factor": 1.0, "scoring_func": "softmax", "seq_aux": True,
    "tie_word_embeddings": False, "topk_group": 1, "topk_method": "greedy",
    "torch_dtype": "bfloat16", "use_cache": True, "v_head_dim": 128, "vocab_size": 102400,
}  # fmt: skip
TINY = {key: value for key, value in SIZES.items() if key != "first_k_dense_replace"}
TINY |= {"model_type": "deepseek_v3", "n_routed_experts": 4, "num_experts_per_tok": 2}


def read(values):
    """from_json of a copy, which must come back as it was."""
    mine = copy.deepcopy(values)
    config = day29.DeepSeekConfig.from_json(mine)
    assert mine == values, f"from_json has changed what it was given: {mine}"
    assert isinstance(config, day29.DeepSeekConfig), f"from_json gives a {type(config).__name__}"
    return config


def differs(config, **wanted):
    """The fields that are not as wanted, in words; "" if there are none."""
    found = {name: getattr(config, name) for name in wanted}
    return "; ".join(
        f"{name} is {found[name]!r} and should be {wanted[name]!r}"
        for name in wanted
        if found[name] != wanted[name]
    )


def refused_in_words(f, *args, what, names):
    """``refused``; an error that torch itself raises is told as what it is: no check."""
    try:
        refused(f, *args, what=what, names=names)
    except NotImplementedError:
        raise
    except RuntimeError as error:
        pytest.fail(f"{what}: a ValueError was due, and torch's own error came: {error}")


@exercise("DeepSeekConfig")
def test_reads_a_published_file():
    config = read(LITE)
    due = dataclasses.asdict(day29.DEEPSEEK_V2_LITE)
    wrong = differs(config, **{k: v for k, v in due.items() if not k.endswith("token_id")})
    assert not wrong, f"DeepSeek-V2-Lite's file: {wrong}"
    assert config.eos_token_id == 100001, f"eos_token_id is {config.eos_token_id}"


@exercise("DeepSeekConfig")
@pytest.mark.parametrize("base", [TINY, {**TINY, "model_type": "deepseek_v2"}], ids=["V3", "V2"])
def test_what_a_file_leaves_out(base):
    v2 = base["model_type"] == "deepseek_v2"
    gates = dict(scoring_func="softmax", topk_method="greedy", norm_topk_prob=False)
    if not v2:
        gates = dict(scoring_func="sigmoid", topk_method="noaux_tc", norm_topk_prob=True)
    rest = dict(first_k_dense_replace=0, n_group=1, topk_group=1, rope_theta=10000.0,
                rope_scaling=None, routed_scaling_factor=1.0, max_position_embeddings=4096,
                initializer_range=0.02, tie_word_embeddings=False, eos_token_id=None)  # fmt: skip
    empty = {name: None for name in [*gates, *rest]}
    for what, values in (("missing", base), ("null, as good as missing", {**base, **empty})):
        wrong = differs(read(values), **gates, **rest)
        assert not wrong, f"a {base['model_type']} file in which keys are {what}: {wrong}"
    said = {"topk_method": "group_limited_greedy", "n_group": 2, "num_experts_per_tok": 1}
    if v2:
        wrong = differs(read({**base, **said}), **said)
        assert not wrong, f"the file says otherwise: {wrong}"
    assert read({**base, "norm_topk_prob": v2}).norm_topk_prob is v2, "the file's own word counts"


@exercise("DeepSeekConfig")
def test_queries_without_a_latent():
    for values in (LITE, {**TINY, "q_lora_rank": None}):
        assert read(values).q_lora_rank is None, "q_lora_rank is null in the file"
    missing = {key: value for key, value in TINY.items() if key != "q_lora_rank"}
    refused(read, missing, what="a file without q_lora_rank", names=["q_lora_rank"])


@exercise("DeepSeekConfig")
def test_both_spellings_of_positions():
    yarn = {"factor": 4.0, "mscale": 0.7, "original_max_position_embeddings": 64}
    old = {"rope_theta": 500.0, "rope_scaling": {"type": "yarn", **yarn}}
    new = {"rope_parameters": {"rope_theta": 500.0, "rope_type": "yarn", **yarn}}
    for what, values in (("published", old), ("transformers 5", new)):
        config = read({**TINY, **values})
        assert config.rope_theta == 500.0, f"{what}: rope_theta is {config.rope_theta}"
        wrong = {k: v for k, v in yarn.items() if (config.rope_scaling or {}).get(k) != v}
        assert not wrong, f"{what}: of rope_scaling {config.rope_scaling}, {wrong} is missing"
    for values in ({"rope_parameters": {"rope_theta": 70.0, "rope_type": "default"}},
                   {"rope_theta": 70.0, "rope_scaling": {"type": "default"}},
                   {"rope_theta": 70.0, "rope_scaling": None}, {"rope_theta": 70.0}):  # fmt: skip
        wrong = differs(read({**TINY, **values}), rope_theta=70.0, rope_scaling=None)
        assert not wrong, f"a file with {values}: {wrong}"
    wrong = differs(read({**TINY, "rope_parameters": {"rope_type": "default"}}), rope_theta=1e4)
    assert not wrong, f"rope_parameters without rope_theta: {wrong}"
    same_rope = {"rope_parameters": {"rope_theta": 500.0, **old["rope_scaling"]}}
    one, other = read({**TINY, **old}), read({**TINY, **same_rope})
    assert one == other, (
        "one file in both spellings: rope_scaling is "
        f"{one.rope_scaling} of the published one, {other.rope_scaling} of rope_parameters"
    )


@exercise("DeepSeekConfig")
def test_refuses_what_cannot_be_done():
    for key, value in (("hidden_act", "gelu"), ("moe_layer_freq", 2), ("mlp_bias", True),
                       ("num_key_value_heads", 2), ("model_type", "llama")):  # fmt: skip
        what = f"{key} {value!r}"
        refused(read, {**TINY, key: value}, what=what, names=(key, value))
    refused(read, {k: v for k, v in TINY.items() if k != "model_type"}, what="no model_type",
            names=["model_type"])  # fmt: skip
    few = {k: v for k, v in TINY.items() if k not in ("vocab_size", "kv_lora_rank")}
    null = {**TINY, "vocab_size": None, "kv_lora_rank": None}
    for how, values in (("missing", few), ("null, which means left out", null)):
        refused(read, values, what=f"a file in which vocab_size and kv_lora_rank are {how},",
                names=("vocab_size", "kv_lora_rank"))  # fmt: skip
    fine = {"hidden_act": "silu", "moe_layer_freq": 1, "mlp_bias": False, "num_key_value_heads": 4}
    read({**TINY, **fine})
    read({**TINY, **dict.fromkeys(fine)})


@exercise("DeepSeekConfig")
def test_to_json_and_back():
    published = [day29.DEEPSEEK_V2, day29.DEEPSEEK_V2_LITE, day29.DEEPSEEK_V3]
    odd = dataclasses.replace(GATES["sigmoid, groups"], q_lora_rank=None, rope_theta=77.0,
                              tie_word_embeddings=True, eos_token_id=[3, 4])  # fmt: skip
    for config in [*published, *GATES.values(), odd]:
        written = config.to_json()
        again = day29.DeepSeekConfig.from_json(json.loads(json.dumps(written)))
        wrong = differs(again, **dataclasses.asdict(config))
        assert not wrong, f"written and read again: {wrong}"
        version = config.model_type[-2:].upper()
        extra = {"architectures": [f"Deepseek{version}ForCausalLM"], "hidden_act": "silu",
                 "num_key_value_heads": config.num_attention_heads,
                 "num_nextn_predict_layers": 0}  # fmt: skip
        missing = {k: v for k, v in extra.items() if written.get(k) != v}
        assert not missing, f"of what transformers needs, {missing} is not in the result"
        fields = {f.name for f in dataclasses.fields(config)}
        absent = fields - set(written)
        assert not absent, f"these fields are not in the result: {sorted(absent)}"
    before = copy.deepcopy(day29.DEEPSEEK_V3)
    day29.DEEPSEEK_V3.to_json()["rope_scaling"]["factor"] = 1
    assert before == day29.DEEPSEEK_V3, "a change of the result has changed the configuration"
    odd.to_json()["eos_token_id"].append(5)
    assert odd.eos_token_id == [3, 4], (
        f"5 was put into the result's eos_token_id, and the configuration's is {odd.eos_token_id}"
    )


@exercise("DeepSeekConfig")
def test_transformers_reads_it_and_is_read():
    from transformers import DeepseekV2Config, DeepseekV3Config

    for name in ("softmax, groups", "sigmoid, groups"):
        config = dataclasses.replace(
            GATES[name], rope_theta=500.0, tie_word_embeddings=True,
            rope_scaling={"type": "yarn", "factor": 4.0, "mscale": 0.7, "mscale_all_dim": 0.7,
                          "original_max_position_embeddings": 1024},
        )  # fmt: skip
        theirs = (DeepseekV3Config if "sigmoid" in name else DeepseekV2Config)(**config.to_json())
        known = [f.name for f in dataclasses.fields(config) if not f.name.startswith("rope_")]
        wrong = {
            key: (getattr(theirs, key), getattr(config, key))
            for key in known
            if hasattr(theirs, key) and getattr(theirs, key) != getattr(config, key)
        }
        assert not wrong, f"{name}: transformers understood, and due was: {wrong}"
        rope = theirs.rope_parameters
        found = (rope["rope_theta"], rope["factor"], theirs.num_key_value_heads)
        assert found == (500.0, 4.0, 4), f"{name}: theta, factor, key heads: {found}"
        saved = {k: v for k, v in theirs.to_dict().items() if k not in ("topk_method",)}
        if "sigmoid" not in name:
            saved["topk_method"] = theirs.topk_method
        again = day29.DeepSeekConfig.from_json(saved)
        skip = {"rope_scaling"}
        wrong = differs(again, **{k: v for k, v in dataclasses.asdict(config).items()
                                  if k not in skip})  # fmt: skip
        assert not wrong, f"{name}, as transformers wrote it: {wrong}"
        assert again.rope_scaling["mscale"] == 0.7, f"rope_scaling is {again.rope_scaling}"


# Expert --------------------------------------------------------------------------------------


def make_expert(rng, device, hidden=8, inner=5, dtype=WIDE):
    return random_weights(day29.Expert(hidden, inner).to(device, dtype), rng)


def swiglu(expert, x):
    gate, up, down = (p.weight.to(x.dtype) for p in
                      (expert.gate_proj, expert.up_proj, expert.down_proj))  # fmt: skip
    return F.linear(F.silu(F.linear(x, gate)) * F.linear(x, up), down)


@exercise("Expert")
def test_expert_is_a_swiglu(device, rng):
    expert = make_expert(rng, device)
    found = {name: tuple(p.shape) for name, p in expert.state_dict().items()}
    wanted = {"gate_proj.weight": (5, 8), "up_proj.weight": (5, 8), "down_proj.weight": (8, 5)}
    assert found == wanted, f"the parameters are {found}, not {wanted}"
    x = rng.normal(2, 3, 8, dtype=WIDE)
    wanted = swiglu(expert, x).detach()
    close(expert(x), wanted, terms=64, scale=8.0, name="forward")
    out, all_of_them = torch.zeros_like(x[0]), torch.arange(3, device=device)
    got = expert.add_to(out, x[0], all_of_them, torch.ones(3, dtype=WIDE, device=device))
    close(got, wanted[0], terms=64, scale=8.0, name="add_to for all tokens, with weights 1")


@exercise("Expert")
@shapes("n, m", (6, 4), (1, 1), (5, 0), (3, 9), (0, 0))
def test_adds_its_share(n, m, device, rng):
    expert = make_expert(rng, device)
    x, before = rng.normal(n, 8, dtype=WIDE), rng.normal(n, 8, dtype=WIDE)
    tokens = rng.integers(0, max(n, 1), m)
    weights = rng.normal(m, dtype=WIDE)
    wanted = before.clone()
    results = swiglu(expert, x).detach()
    for token, weight in zip(tokens.tolist(), weights, strict=True):
        wanted[token] += weight * results[token]
    for layout, view in layouts(x):
        out = before.clone()
        got = expert.add_to(out, view, tokens, weights)
        close(got, wanted, terms=64, scale=16.0, name=f"out, {layout} x, tokens {tokens.tolist()}")
        assert got.data_ptr() == out.data_ptr(), "what is returned is not the out that was given"
        close(out, wanted, terms=64, scale=16.0, name="the out that was given")


@exercise("Expert")
def test_a_token_that_is_listed_twice(device, rng):
    expert, x = make_expert(rng, device), rng.normal(4, 8, dtype=WIDE)
    weights = rng.uniform(3, low=0.5, high=2.0, dtype=WIDE)
    tokens = torch.tensor([2, 2, 2], device=device)
    got = expert.add_to(torch.zeros_like(x), x, tokens, weights)
    wanted = torch.zeros_like(x)
    wanted[2] = swiglu(expert, x)[2].detach() * weights.sum()
    close(got, wanted, terms=64, scale=16.0, name="out, token 2 three times")


@exercise("Expert")
@DTYPES
def test_a_wide_sum_of_narrow_results(dtype, device, rng):
    expert, x = make_expert(rng, device, dtype=dtype), rng.normal(4, 8, dtype=dtype)
    tokens = torch.tensor([3, 1], device=device)
    weights = rng.uniform(2, low=0.1, high=1.0)
    out = expert.add_to(torch.zeros(4, 8, device=device), x, tokens, weights)
    wanted = torch.zeros(4, 8, dtype=WIDE, device=device)
    with torch.no_grad():
        wanted[tokens] = weights.double()[:, None] * expert(x[tokens]).double()
    close(out, wanted, dtype=torch.float32, terms=8, name=f"a float32 out of a {dtype} expert")
    narrow = expert.add_to(torch.zeros_like(x), x, tokens, weights)
    close(narrow, wanted, dtype=dtype, terms=8, name=f"an out of {dtype}")


@exercise("Expert")
def test_a_narrow_out_is_rounded_once(device, rng):
    expert, x = make_expert(rng, device, dtype=torch.float32), rng.normal(128, 8)
    tokens, weights = torch.arange(128, device=device), rng.uniform(128, low=0.1, high=1.0)
    out = torch.zeros(128, 8, dtype=torch.bfloat16, device=device)
    with torch.no_grad():
        got = expert.add_to(out, x, tokens, weights).double()
        due = weights.double()[:, None] * expert(x).double()
    # bfloat16 has 8 bits: the nearest number is at most one 256th away. A tenth more is allowed.
    beyond = (got - due).abs() > 1.1 * due.abs() / 256 + 1e-6 * due.abs().max()
    assert not beyond.any(), (
        f"a float32 expert with float32 weights and a bfloat16 out: {int(beyond.sum())} of "
        f"{beyond.numel()} results are further off than by one rounding. The product is due in the "
        "dtype of the weights"
    )


@exercise("Expert")
def test_expert_gradients(device, rng):
    expert, x = make_expert(rng, device), rng.normal(5, 8, dtype=WIDE).clone().requires_grad_()
    weights = rng.normal(3, dtype=WIDE).clone().requires_grad_()
    tokens = torch.tensor([4, 0, 2], device=device)
    probe = rng.normal(5, 8, dtype=WIDE)
    got = expert.add_to(torch.zeros_like(probe), x, tokens, weights)
    plain = torch.zeros_like(probe).index_put(
        (tokens,), weights[:, None] * swiglu(expert, x)[tokens]
    )
    names = ["x", "weights", *(name for name, _ in expert.named_parameters())]
    leaves = [x, weights, *expert.parameters()]
    grads = [torch.autograd.grad(y, leaves, probe) for y in (got, plain)]
    for name, a, b in zip(names, *grads, strict=True):
        close(a, b, terms=256, scale=16.0, name=f"gradient of {name}")


@exercise("Expert")
def test_expert_works_on_its_own_rows(device, rng):
    expert = make_expert(rng, device, 8, 256, torch.float32)
    x, out = rng.normal(4096, 8), torch.zeros(4096, 8, device=device)
    tokens, weights = torch.arange(3, device=device), rng.normal(3)
    with torch.no_grad():
        _, seen = watch(expert.add_to, out, x, tokens, weights)
    assert seen.peak_bytes < 4096 * 8 * 4, (
        f"{seen.peak_bytes:,} bytes at the peak for 3 of 4096 tokens: 3 rows were to be computed"
    )


# Router --------------------------------------------------------------------------------------


def make_router(config, rng, device, dtype=torch.float32):
    """Scores that differ, and a bias that is negative for most: choices lie below zero."""
    router = day29.Router(config).to(device)
    with torch.no_grad():
        router.weight.copy_(rng.normal(*router.weight.shape, std=0.5))
        if router.e_score_correction_bias is not None:
            router.e_score_correction_bias.copy_(
                rng.normal(config.n_routed_experts, mean=-0.8, std=0.3)
            )
    return router.to(dtype)


def one_token(config, logits, bias):
    """→ the chosen experts in order, their weights, all scores, and how clear the choice is."""
    if config.scoring_func == "softmax":
        top = max(logits)
        parts = [math.exp(z - top) for z in logits]
        scores = [p / sum(parts) for p in parts]
        choice = scores
    else:
        scores = [1 / (1 + math.exp(-z)) if z > -700 else 0.0 for z in logits]
        choice = [s + b for s, b in zip(scores, bias, strict=True)]
    experts, clear = range(len(scores)), [1.0]
    if config.topk_method != "greedy":
        size = len(scores) // config.n_group
        groups = [sorted(choice[g * size : (g + 1) * size]) for g in range(config.n_group)]
        best = [g[-1] if config.scoring_func == "softmax" else g[-1] + g[-2] for g in groups]
        order = sorted(range(config.n_group), key=lambda g: -best[g])
        kept = order[: config.topk_group]
        if len(order) > config.topk_group:
            clear.append(best[kept[-1]] - best[order[config.topk_group]])
        experts = [e for e in experts if e // size in kept]
    order = sorted(experts, key=lambda e: -choice[e])
    taken = sorted(order[: config.num_experts_per_tok])
    if len(order) > len(taken):
        clear.append(choice[order[len(taken) - 1]] - choice[order[len(taken)]])
    weights = [scores[e] for e in taken]
    if config.scoring_func == "sigmoid" and config.norm_topk_prob:
        weights = [w / (sum(scores[e] for e in taken) + 1e-20) for w in weights]
    return taken, [w * config.routed_scaling_factor for w in weights], scores, min(clear)


def by_hand(router, x):
    """The same for all tokens (n, hidden), in float64 on the CPU, as four tensors."""
    logits = (x.double() @ router.weight.double().T).tolist()
    bias = router.e_score_correction_bias
    bias = [0.0] * len(router.weight) if bias is None else bias.tolist()
    rows = [one_token(router.config, row, bias) for row in logits]
    taken, weights, scores, clear = (list(part) for part in zip(*rows, strict=True))
    wide = [torch.tensor(part, dtype=WIDE, device=x.device) for part in (weights, scores, clear)]
    return torch.tensor(taken, device=x.device), *wide


def clear_tokens(router, rng, n, dtype=torch.float32):
    """n tokens whose choice no rounding can change, and what is right for them."""
    x = rng.normal(3 * n + 20, router.config.hidden_size, dtype=dtype)
    taken, weights, scores, clear = by_hand(router, x)
    keep = (clear > 1e-4).nonzero()[:n, 0]
    assert len(keep) == n
    return x[keep], taken[keep], weights[keep], scores[keep]


def in_order(routing):
    """indices and weights, by the number of the expert."""
    indices, at = routing.indices.sort(-1)
    return indices, routing.weights.gather(-1, at)


def same_routing(routing, taken, weights, scores, what, dtype=torch.float32):
    assert routing.indices.dtype == torch.int64, f"{what}: indices are {routing.indices.dtype}"
    assert routing.indices.shape == taken.shape, (
        f"{what}: indices are {tuple(routing.indices.shape)}, not {tuple(taken.shape)}"
    )
    indices, found = in_order(routing)
    wrong = (indices != taken).any(-1)
    assert not wrong.any(), (
        f"{what}: {int(wrong.sum())} of {wrong.numel()} tokens get other experts; the first "
        f"{indices[wrong][0].tolist()}, due {taken[wrong][0].tolist()}"
    )
    close(found, weights, dtype=dtype, terms=64, scale=None, name=f"weights, {what}")
    close(routing.scores, scores, dtype=dtype, terms=64, scale=0.1, name=f"scores, {what}")


@exercise("Router")
@EACH
def test_router_parameters(config, device):
    router = day29.Router(config)
    experts, bias = config.n_routed_experts, router.e_score_correction_bias
    names = {"weight": (experts, 16)}
    if config.scoring_func == "sigmoid":
        names["e_score_correction_bias"] = (experts,)
        assert bias is not None and bias.dtype == torch.float32 and not bias.any(), (
            f"the bias is at first zeros in float32, not {bias}"
        )
        halved = router.to(torch.bfloat16).e_score_correction_bias
        assert halved.dtype == torch.float32, f"cast with the module, the bias is {halved.dtype}"
    else:
        assert bias is None, f"a softmax router has no bias, and this one has {bias}"
    found = {name: tuple(p.shape) for name, p in router.state_dict().items()}
    assert found == names, f"state_dict has {found}, not {names}"
    learned = [name for name, _ in router.named_parameters()]
    assert learned == ["weight"], f"parameters are {learned}"
    assert router.config is config, "config is not an attribute"


@exercise("Router")
def test_router_starts_small():
    config = gate(SIZES, 64, 2, hidden_size=512, initializer_range=0.07)
    weight = day29.Router(config).weight.detach()
    found = (weight.mean().abs().item(), weight.std().item())
    assert found[0] < 0.003 and abs(found[1] - 0.07) < 0.003, (
        f"weight has mean {found[0]:.4f} and standard deviation {found[1]:.4f}, not 0 and 0.07"
    )


@exercise("Router")
@EACH
def test_each_token_by_hand(config, device, rng):
    router = make_router(config, rng, device)
    x, *wanted = clear_tokens(router, rng, 12)
    for layout, view in layouts(x):
        same_routing(router(view), *wanted, f"{layout} x")
    routing = router(x.view(3, 1, 4, 16))
    wanted = [part.view(3, 1, 4, -1) for part in wanted]
    same_routing(routing, *wanted, "x (3, 1, 4, 16)")
    same_routing(router(x[5]), *(part[1, 0, 1] for part in wanted), "a single token")
    empty = router(x[:0])
    found = [tuple(part.shape) for part in empty]
    k, experts = config.num_experts_per_tok, config.n_routed_experts
    assert found == [(0, k), (0, k), (0, experts)], f"no token: indices, weights, scores {found}"


@exercise("Router")
@pytest.mark.parametrize("name", ["softmax, groups", "sigmoid, groups"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64], ids=str)
def test_router_dtypes(name, dtype, device, rng):
    """Half precision is widened before the product; float64 stays."""
    router = make_router(GATES[name], rng, device, dtype)
    x, *wanted = clear_tokens(router, rng, 12, dtype)
    wide = WIDE if dtype == WIDE else torch.float32
    routing = router(x)
    found = {part.dtype for part in routing[1:]}
    assert found == {wide}, f"x is {dtype}: weights and scores are {found}"
    same_routing(routing, *wanted, f"{dtype}", wide)
    if dtype == WIDE:
        found = {part.dtype for part in router(x.float())[1:]}
        assert found == {torch.float32}, (
            f"x is float32 and weight float64: weights and scores are {found}"
        )


@exercise("Router")
@pytest.mark.parametrize("name", SIGMOID)
def test_the_bias_chooses_and_does_not_weigh(name, device, rng):
    """Another bias, another choice; whoever is chosen has the weight of its score."""
    router = make_router(GATES[name], rng, device)
    config, x = router.config, clear_tokens(router, rng, 12)[0]
    favourite = 5 % config.n_routed_experts
    before, own = router(x), router.e_score_correction_bias[favourite].item()
    for more in (3.0, 1000.0):
        router.e_score_correction_bias[favourite] = own + more
        routing = router(x)
        close(routing.scores, before.scores.detach(), name="scores with another bias")
        took = int((routing.indices == favourite).any(-1).sum())
        assert took == 12, (
            f"expert {favourite} has a bias larger by {more:.0f}, and {took} of 12 tokens get it"
        )
        chosen = routing.scores.gather(-1, routing.indices).double()
        if config.norm_topk_prob:
            chosen = chosen / chosen.sum(-1, keepdim=True)
        chosen = (chosen * config.routed_scaling_factor).detach()
        close(routing.weights, chosen, dtype=torch.float32, terms=16,
              name=f"weights with a bias that is {more:.0f} larger for one expert")  # fmt: skip


@exercise("Router")
@pytest.mark.parametrize("name", ["sigmoid, groups", "sigmoid, groups of two",
                                  "sigmoid, not normalised"])  # fmt: skip
def test_groups_left_out_lose_to_any_choice(name, device, rng):
    """Where every choice is below -1, and far below."""
    router = make_router(GATES[name], rng, device)
    config = router.config
    router.e_score_correction_bias.fill_(-3.0)
    x, *wanted = clear_tokens(router, rng, 12)
    same_routing(router(x), *wanted, "a bias of -3 for all experts")
    size = config.n_routed_experts // config.n_group
    for low in (-1e3, -1e6):
        router.e_score_correction_bias.fill_(low)
        for row in router(x).indices.tolist():
            groups = {expert // size for expert in row}
            assert len(groups) <= config.topk_group, (
                f"a bias of {low:,.0f} for all experts: a token gets the experts {row} of the "
                f"groups {groups}, and at most {config.topk_group} are allowed"
            )


@exercise("Router")
@EACH
def test_within_the_groups_when_scores_vanish(config, device, rng):
    """Logits of ±1000s: most scores are 0 in float32, and negative choices are many."""
    router = make_router(config, rng, device)
    with torch.no_grad():
        router.weight.mul_(2000.0)
    routing = router(rng.normal(40, 16))
    k, size = config.num_experts_per_tok, config.n_routed_experts // config.n_group
    for row in routing.indices.tolist():
        assert len(set(row)) == k, f"a token gets the experts {row}"
        groups = {expert // size for expert in row}
        most = config.topk_group if config.topk_method != "greedy" else config.n_group
        assert len(groups) <= most, (
            f"a token gets the experts {row} of groups {groups}, and at most {most} are allowed"
        )
    for part, name in zip(routing[1:], ("weights", "scores"), strict=True):
        assert part.isfinite().all(), f"{name} are not finite where logits are large"


@exercise("Router")
@pytest.mark.parametrize("name", ["sigmoid, groups", "sigmoid, not normalised"])
def test_scores_that_are_all_zero(name, device, rng):
    router = make_router(GATES[name], rng, device)
    with torch.no_grad():
        router.weight.fill_(-100.0)
    routing = router(rng.uniform(3, 16, low=1.0, high=2.0))
    assert not routing.scores.any(), "sigmoid of -1600 is 0 in float32"
    assert torch.equal(routing.weights, torch.zeros_like(routing.weights)), (
        f"scores of 0 have weights {routing.weights[0].tolist()}"
    )


@exercise("Router")
@pytest.mark.parametrize("name", ["softmax", "softmax, groups", "sigmoid, groups",
                                  "sigmoid, not normalised"])  # fmt: skip
def test_router_gradients(name, device, rng):
    router = make_router(GATES[name], rng, device, WIDE)
    config = router.config
    x, taken, *_ = clear_tokens(router, rng, 9, WIDE)
    x = x.clone().requires_grad_()
    routing = router(x)
    assert not routing.indices.requires_grad, "indices require a gradient"
    logits = x @ router.weight.T
    scores = logits.softmax(-1) if config.scoring_func == "softmax" else logits.sigmoid()
    weights = scores.gather(-1, taken)
    if config.scoring_func == "sigmoid" and config.norm_topk_prob:
        weights = weights / weights.sum(-1, keepdim=True)
    weights = weights * config.routed_scaling_factor
    probes = rng.normal(*weights.shape, dtype=WIDE), rng.normal(*scores.shape, dtype=WIDE)
    for i, what in enumerate(("weights", "scores")):
        mine = in_order(routing)[1] if i == 0 else routing.scores
        got = torch.autograd.grad((mine * probes[i]).sum(), (x, router.weight), retain_graph=True)
        due = torch.autograd.grad(((weights, scores)[i] * probes[i]).sum(), (x, router.weight),
                                  retain_graph=True)  # fmt: skip
        for part, a, b in zip(("x", "weight"), got, due, strict=True):
            close(a, b, terms=256, scale=4.0, name=f"gradient of {part} through {what}")


@exercise("Router")
@pytest.mark.parametrize("name", ["softmax, groups", "sigmoid, groups"])
def test_router_has_no_loop(name, device, rng):
    seen = []
    for changes, tokens in (({}, 3), ({}, 300), ({"n_group": 6, "n_routed_experts": 24}, 3)):
        router = make_router(dataclasses.replace(GATES[name], **changes), rng, device)
        with torch.no_grad():
            _, work = watch(router, rng.normal(tokens, 16))
        seen.append(len(work.operators))
        assert not work.synchronisations, f"the host waits for {work.synchronisations[0]}"
    assert len(set(seen)) == 1, (
        f"operators for 3 tokens, for 300, and for 3 with more groups: {seen}"
    )


@exercise("Router")
@pytest.mark.parametrize("name", ["softmax, groups", "sigmoid, groups"])
def test_router_compiles(name, device, rng):
    router = make_router(GATES[name], rng, device)
    x = clear_tokens(router, rng, 6)[0]
    same_compiled(lambda x: router(x).weights + router(x).scores[..., :3].sum(), (x,),
                  [router.weight], f"Router, {name}")  # fmt: skip


@exercise("Router")
def test_router_refuses(device, rng):
    router = make_router(GATES["sigmoid"], rng, device)
    for shape in ((3, 15), (16, 1)):
        refused(router, rng.normal(*shape), what=f"x {shape} for hidden_size 16",
                names=("x", shape, 16))  # fmt: skip


@exercise("Router")
@EACH
def test_as_transformers_routes(config, device, rng):
    """What transformers' layer tells its experts. The bias is positive: some of its versions took
    0 for the smallest choice."""
    if config.scoring_func == "softmax":
        from transformers import DeepseekV2Config as Config
        from transformers.models.deepseek_v2 import modeling_deepseek_v2 as module
    else:
        from transformers import DeepseekV3Config as Config
        from transformers.models.deepseek_v3 import modeling_deepseek_v3 as module
    router = make_router(config, rng, device)
    if router.e_score_correction_bias is not None:
        router.e_score_correction_bias.abs_()
    keys = ("hidden_size", "num_attention_heads", "n_routed_experts", "num_experts_per_tok",
            "n_group", "topk_group", "norm_topk_prob", "routed_scaling_factor", "topk_method",
            "n_shared_experts", "moe_intermediate_size")  # fmt: skip
    made = Config(**{key: getattr(config, key) for key in keys})
    made._experts_implementation = "eager"
    (kind,) = (
        x
        for name, x in vars(module).items()
        if name.lower() == f"{made.model_type.replace('_', '')}moe"
    )
    layer, told = kind(made).to(device), []
    layer.gate.load_state_dict({name: p.clone() for name, p in router.state_dict().items()})
    layer.experts.register_forward_pre_hook(lambda _, given: told.append(given[1:3]))
    for p in layer.experts.parameters():
        torch.nn.init.zeros_(p)
    x, *_, scores = clear_tokens(router, rng, 20)
    with torch.no_grad():
        layer(x[None])
        ((indices, weights),) = told
        taken, at = indices.sort(-1)
        same_routing(router(x), taken, weights.gather(-1, at).double(), scores, "transformers")


# balance_loss --------------------------------------------------------------------------------


def even_loss(scores, indices, mask=None):
    """A scalar in float64, sequence by sequence, expert by expert."""
    experts, chosen = scores.shape[-1], indices.shape[-1]
    flat = scores.double().reshape(-1, *scores.shape[-2:])
    picks = indices.reshape(-1, *indices.shape[-2:])
    real = torch.ones(picks.shape[:2], dtype=torch.bool, device=scores.device)
    real = real if mask is None else mask.reshape(real.shape)
    losses = []
    for s, picked, keep in zip(flat, picks, real, strict=True):
        s, picked = s[keep], picked[keep]
        if not len(s):
            continue
        share = (s / (s.sum(-1, keepdim=True) + 1e-20)).mean(0)
        part = [experts / (chosen * len(s)) * int((picked == i).sum()) * share[i]
                for i in range(experts)]  # fmt: skip
        losses.append(sum(part))
    if not losses:
        return flat.new_zeros(())
    return sum(losses) / len(losses)


def routed(rng, device, *leading, experts=6, chosen=2, dtype=WIDE):
    scores = rng.uniform(*leading, experts, low=0.05, high=1.0, dtype=dtype)
    order = rng.normal(*leading, experts).argsort(-1)
    return scores, order[..., :chosen]


@exercise("balance_loss")
@shapes("leading, experts, chosen", ((2, 5), 6, 2), ((7,), 9, 1), ((1,), 3, 3), ((2, 3, 4), 5, 2),
        ((3, 1), 8, 3))  # fmt: skip
def test_loss_by_hand(leading, experts, chosen, device, rng):
    scores, indices = routed(rng, device, *leading, experts=experts, chosen=chosen)
    many = math.prod(leading[:-1])
    what = f"sequences: {many} of {leading[-1]} tokens, {experts} experts, {chosen} chosen"
    got = day29.balance_loss(scores, indices)
    close(got, even_loss(scores, indices), terms=64, scale=1.0, name=f"loss, {what}")
    for layout, view in layouts(scores):
        close(day29.balance_loss(view, indices), even_loss(scores, indices), terms=64, scale=1.0,
              name=f"loss, {layout}, {what}")  # fmt: skip
    normal = scores.softmax(-1)
    close(day29.balance_loss(normal, indices), even_loss(normal, indices), terms=64, scale=1.0,
          name=f"loss of a softmax, {what}")  # fmt: skip


@exercise("balance_loss")
def test_loss_with_padding(device, rng):
    scores, indices = routed(rng, device, 4, 6)
    for lengths in ([6, 3, 1, 5], [6, 0, 2, 0], [0, 0, 0, 0], [6, 6, 6, 6]):
        mask = torch.arange(6, device=device) >= 6 - torch.tensor(lengths, device=device)[:, None]
        got = day29.balance_loss(scores, indices, mask)
        close(got, even_loss(scores, indices, mask), terms=64, scale=1.0,
              name=f"loss of sequences with {lengths} real tokens of 6")  # fmt: skip
        noise = torch.where(mask.unsqueeze(-1), scores, scores * 7)
        close(day29.balance_loss(noise, indices, mask), got, terms=64, scale=1.0,
              name="loss with other padding")  # fmt: skip
    none = day29.balance_loss(scores[:0], indices[:0])
    assert none.item() == 0, f"no sequence: the loss is {none.item()}, not 0"


@exercise("balance_loss")
def test_loss_is_one_when_even(device):
    even = torch.full((8, 4), 0.25, device=device)
    turns = torch.stack([torch.arange(8) % 4, (torch.arange(8) + 1) % 4], -1).to(device)
    got = day29.balance_loss(even, turns).item()
    assert abs(got - 1) < 1e-6, f"even scores and load: the loss is {got}, not 1"
    close_to = torch.tensor([0.5, 0.5, 0.0, 0.0], device=device).expand(8, 4)
    same = torch.tensor([0, 1], device=device).expand(8, 2)
    got = day29.balance_loss(close_to, same).item()
    assert abs(got - 2) < 1e-6, f"all choose the same 2 of 4 experts: the loss is {got}, not 2"


@exercise("balance_loss")
@pytest.mark.parametrize("padded", [False, True], ids=["no mask", "mask"])
def test_loss_gradients(padded, device, rng):
    scores, indices = routed(rng, device, 2, 5)
    mask = torch.tensor([[True] * 5, [False, False, True, True, True]], device=device)
    mask = mask if padded else None
    scores = scores.clone().requires_grad_()
    got = torch.autograd.grad(day29.balance_loss(scores, indices, mask), scores)[0]
    due = torch.autograd.grad(even_loss(scores, indices, mask), scores)[0]
    close(got, due, terms=64, scale=1.0, name="gradient of scores")


@exercise("balance_loss")
def test_loss_of_scores_that_vanish(device, rng):
    scores = torch.zeros(3, 4, device=device, requires_grad=True)
    loss = day29.balance_loss(scores, torch.zeros(3, 2, dtype=torch.int64, device=device))
    grad = torch.autograd.grad(loss, scores)[0]
    assert loss.item() == 0, f"all scores are 0, and the loss is {loss.item()}"
    assert not grad.isnan().any(), "all scores are 0, and their gradient is nan"
    scores, indices = routed(rng, device, 2, 5)
    for size in (1e-17, 1e-20):
        tiny = scores * size
        close(day29.balance_loss(tiny, indices), even_loss(tiny, indices), terms=64, scale=1.0,
              name=f"loss of scores around {size:.0e}, 1e-20 added to their sum")  # fmt: skip


@exercise("balance_loss")
def test_loss_has_no_loop_and_compiles(device, rng):
    seen = []
    for tokens, experts in ((3, 4), (50, 40)):
        scores, indices = routed(rng, device, 2, tokens, experts=experts, dtype=torch.float32)
        seen.append(len(watch(day29.balance_loss, scores, indices)[1].operators))
    assert seen[0] == seen[1], f"operators for 3 tokens and 4 experts, for 50 and 40: {seen}"
    scores = scores.clone().requires_grad_()
    mask = rng.boolean(2, 50, p=0.7)
    same_compiled(lambda s: day29.balance_loss(s, indices, mask), (scores,), [scores],
                  "balance_loss")  # fmt: skip


@exercise("balance_loss")
def test_loss_dtype_and_refusals(device, rng):
    for dtype in (torch.float32, WIDE):
        scores, indices = routed(rng, device, 2, 5, dtype=dtype)
        got = day29.balance_loss(scores, indices)
        assert got.dtype == dtype and got.dim() == 0, f"{got.dtype}, shape {tuple(got.shape)}"
    refused_in_words(day29.balance_loss, scores, indices[0],
                     what="indices (5, 2) for scores (2, 5, 6)",
                     names=("indices", (5, 2), (2, 5, 6)))  # fmt: skip
    for shape in ((2, 4), (5,), (2, 5, 1)):
        mask = rng.boolean(*shape)
        refused_in_words(day29.balance_loss, scores, indices, mask,
                         what=f"mask {shape} for scores (2, 5, 6)",
                         names=("mask", shape, (2, 5, 6)))  # fmt: skip


# update_bias ---------------------------------------------------------------------------------


@exercise("update_bias")
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.float32], ids=str)
def test_update_step(dtype, device, rng):
    router = make_router(gate(SIZES, 5, 2), rng, device)
    bias = router.e_score_correction_bias
    before, weight = bias.clone(), router.weight.detach().clone()
    address = bias.data_ptr()
    for counts, signs in (([10, 0, 4, 5, 1], [-1, 1, 0, -1, 1]), ([7] * 5, [0] * 5),
                          ([0] * 5, [0] * 5), ([1, 0, 0, 0, 0], [-1, 1, 1, 1, 1]),
                          ([900, 1, 1, 1, 1], [-1, 1, 1, 1, 1])):  # fmt: skip
        bias.copy_(before)
        given = torch.tensor(counts, dtype=dtype, device=device)
        result = day29.update_bias(router, given, 0.03)
        assert result is None, f"update_bias returns {result}"
        now = router.e_score_correction_bias
        assert now is bias, "the bias is another tensor now"
        assert now.data_ptr() == address, (
            "the bias lies in other memory now: whoever holds the old one sees nothing of the step"
        )
        wanted = before.double() + 0.03 * torch.tensor(signs, dtype=WIDE, device=device)
        close(now, wanted, dtype=torch.float32, terms=2, name=f"bias after counts {counts}")
    assert torch.equal(router.weight, weight), "the router's weight has changed"
    assert not bias.requires_grad, "the bias requires a gradient"


@exercise("update_bias")
def test_default_rate_and_half_precision(device, rng):
    router = make_router(gate(SIZES, 4, 2), rng, device, torch.bfloat16)
    bias = router.e_score_correction_bias
    bias.fill_(1.0)
    for _ in range(3):
        day29.update_bias(router, torch.tensor([4, 4, 0, 0], device=device))
    wanted = torch.tensor([0.997, 0.997, 1.003, 1.003], dtype=WIDE, device=device)
    close(bias, wanted, dtype=torch.float32, terms=4, name="bias after three steps of 0.001")


@exercise("update_bias")
def test_update_records_no_gradient(device):
    router = day29.Router(gate(SIZES, 4, 2)).to(device)
    counts = torch.tensor([4.0, 4.0, 0.0, 0.0], device=device, requires_grad=True)
    day29.update_bias(router, counts)
    assert not router.e_score_correction_bias.requires_grad, (
        "counts require a gradient, and now the bias does, too: it keeps their graph"
    )


@exercise("update_bias")
def test_mean_of_many_tokens(device):
    router = day29.Router(gate(SIZES, 3, 2)).to(device)
    many = 2**38
    day29.update_bias(router, torch.tensor([many, many + 1, many - 1], device=device), 0.5)
    found = router.e_score_correction_bias.tolist()
    assert found == [0.0, -0.5, 0.5], f"counts 2^38 + (0, 1, -1): the bias is {found}"


@exercise("update_bias")
@pytest.mark.parametrize("dtype, many", [(torch.int32, 2**30), (torch.int16, 20_000),
                                         (torch.uint8, 100)], ids=str)  # fmt: skip
def test_counts_that_fill_their_dtype(dtype, many, device):
    """Five times such a count is beyond what the dtype holds."""
    for counts, due in (([many, 0, 0, 0, 0], [-0.5, 0.5, 0.5, 0.5, 0.5]),
                        ([many, many, 0, 0, 0], [-0.5, -0.5, 0.5, 0.5, 0.5])):  # fmt: skip
        router = day29.Router(gate(SIZES, 5, 2)).to(device)
        day29.update_bias(router, torch.tensor(counts, dtype=dtype, device=device), 0.5)
        found = router.e_score_correction_bias.tolist()
        assert found == due, f"counts {counts} in {dtype}: the bias is {found}, not {due}"


@exercise("update_bias")
@pytest.mark.parametrize("nth", [0, 1, 2])
@pytest.mark.parametrize("name", ["one group", "groups"])
def test_load_evens_out(name, nth, device, rng):
    """Tokens that all point the same way: without the bias, a few experts get most of them."""
    groups = dict(groups=4, kept=2) if name == "groups" else {}
    config = gate(SIZES, 8, 2, **groups)
    router = day29.Router(config).to(device)
    draw = torch.Generator().manual_seed(3 * rng.seed + nth)
    weight = torch.randn(8, 16, generator=draw) * 0.3
    with torch.no_grad():
        router.weight.copy_(weight)
    lean = 2.5 * weight[2] / weight[2].norm() + 2.5 * weight[5] / weight[5].norm()

    def load(steps):
        total = torch.zeros(8)
        for _ in range(steps):
            x = torch.randn(256, 16, generator=draw) + lean
            with torch.no_grad():
                counts = torch.bincount(router(x.to(device)).indices.flatten(), minlength=8)
            day29.update_bias(router, counts, 0.01)
            total += counts.cpu()
        return (total.max() / total.mean()).item()

    first = load(3)
    load(150)
    last = load(40)
    assert first > 1.4, f"the data was to be skewed, and the busiest has {first:.2f} times the mean"
    assert last < 1.3, (
        f"the busiest expert had {first:.2f} times the mean load, and after 150 steps {last:.2f}"
    )


@exercise("update_bias")
def test_update_refuses(device, rng):
    refused(day29.update_bias, day29.Router(GATES["softmax"]).to(device),
            torch.ones(6, device=device), what="a softmax router", names=["bias"])  # fmt: skip
    router = make_router(gate(SIZES, 5, 2), rng, device)
    before = router.e_score_correction_bias.clone()
    for shape in ((4,), (1,), (), (5, 1), (2, 5)):
        counts = torch.ones(shape, device=device)
        refused(day29.update_bias, router, counts, what=f"counts {shape} for 5 experts",
                names=("counts", shape, (5,)))  # fmt: skip
    assert torch.equal(router.e_score_correction_bias, before), "refused counts changed the bias"
