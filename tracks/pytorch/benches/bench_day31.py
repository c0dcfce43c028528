"""A step of decoding, and two of training, beside transformers' model with the same weights."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from harness.benching import Case, Contender, Problem, bench, goal
from tracks.pytorch.benches.bench_day28 import turned
from tracks.pytorch.day29 import DEEPSEEK_V2_LITE, DeepSeekConfig

State = dict[str, torch.Tensor]
WIDTH = DEEPSEEK_V2_LITE.hidden_size


def sizes(case: Case) -> DeepSeekConfig:
    """DeepSeek-V2-Lite with few layers, the first of them dense; on a CPU narrower, too."""
    changes: dict[str, Any] = {"num_hidden_layers": 4, "rope_scaling": None}
    if case.hidden < WIDTH:
        inner = case.hidden * 11 // 16
        changes |= {"num_hidden_layers": 2, "vocab_size": 4096, "intermediate_size": 4 * inner}
        changes |= {"hidden_size": case.hidden, "moe_intermediate_size": inner}
    return dataclasses.replace(DEEPSEEK_V2_LITE, **changes)


def shapes(c: DeepSeekConfig) -> dict[str, tuple[int, ...]]:
    """The parameters, under the names that they have here and in transformers."""
    hidden, heads, inner = c.hidden_size, c.num_attention_heads, c.moe_intermediate_size
    latent, rope, experts = c.kv_lora_rank, c.qk_rope_head_dim, c.n_routed_experts

    def swiglu(name: str, inner: int) -> dict[str, tuple[int, ...]]:
        ups = {f"{name}.{part}_proj.weight": (inner, hidden) for part in ("gate", "up")}
        return {**ups, f"{name}.down_proj.weight": (hidden, inner)}

    found: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (c.vocab_size, hidden)}
    for i in range(c.num_hidden_layers):
        layer: dict[str, tuple[int, ...]] = {
            "input_layernorm.weight": (hidden,),
            "post_attention_layernorm.weight": (hidden,),
            "self_attn.q_proj.weight": (heads * c.qk_head_dim, hidden),
            "self_attn.kv_a_proj_with_mqa.weight": (latent + rope, hidden),
            "self_attn.kv_a_layernorm.weight": (latent,),
            "self_attn.kv_b_proj.weight": (heads * (c.qk_nope_head_dim + c.v_head_dim), latent),
            "self_attn.o_proj.weight": (hidden, heads * c.v_head_dim),
        }
        if c.is_sparse(i):
            layer |= {
                "mlp.gate.weight": (experts, hidden),
                "mlp.experts.gate_up_proj": (experts, 2 * inner, hidden),
                "mlp.experts.down_proj": (experts, hidden, inner),
                **swiglu("mlp.shared_experts", inner * c.n_shared_experts),
            }
        else:
            layer |= swiglu("mlp", c.intermediate_size)
        found |= {f"model.layers.{i}.{name}": shape for name, shape in layer.items()}
    return found | {"model.norm.weight": (hidden,), "lm_head.weight": (c.vocab_size, hidden)}


def weights_of(config: DeepSeekConfig, dtype: torch.dtype) -> State:
    """The experts of a layer have equal weights: where two are equally good, rounding chooses one,
    and the result is the same. Drawn on the GPU where there is one: a CPU takes long."""
    place = "cuda" if torch.cuda.is_available() else "cpu"
    draw = torch.Generator(place).manual_seed(0)
    found = {}
    for name, shape in shapes(config).items():
        alone = shape[1:] if ".experts." in name else shape
        one = torch.randn(*alone, generator=draw, device=place)
        if name.endswith("norm.weight"):
            one = one.abs() / 2 + 0.5
        elif "embed" not in name:
            one = one / shape[-1] ** 0.5
        found[name] = one.to(dtype).expand(shape).contiguous()
    return found


def theirs(config: DeepSeekConfig, experts: str = "grouped_mm") -> torch.nn.Module:
    """``experts`` is how they are computed; grouped_mm is what their models choose themselves."""
    import transformers

    heads = config.num_attention_heads
    made = transformers.DeepseekV2Config(
        **dataclasses.asdict(config), num_key_value_heads=heads, attn_implementation="sdpa"
    )
    made._experts_implementation = experts
    return transformers.DeepseekV2ForCausalLM(made)


# The cache holds latents and rope keys, as transformers' does from 5.20 on; their model sends all
# of them through kv_b_proj in every step. The bytes are those of the absorbed form: the weights of
# all that can be busy and the latents, read once.
@bench(
    "generate",
    unit="GB/s",
    cases=[Case(batch=b, cached=4095, hidden=WIDTH) for b in (1, 16, 64)],
    cpu_cases=[Case(batch=b, cached=n, hidden=256) for b, n in ((1, 1023), (1, 4095), (4, 1023))],
    goals=[
        goal(at_most=0.333, of="transformers", cached=[4095]),
        goal(at_least=0.75, of="copy", batch=[64]),
    ],
)
def decoding(case: Case) -> Problem:
    batch, cached, c = case.batch, case.cached, sizes(case)
    dtype = torch.bfloat16 if torch.cuda.is_available() else torch.float32
    heads, d, e = c.num_attention_heads, c.qk_nope_head_dim, c.v_head_dim
    latent, rope, layers = c.kv_lora_rank, c.qk_rope_head_dim, c.num_hidden_layers
    state = functools.cache(lambda: weights_of(c, dtype))  # for a GPU gigabytes: when needed

    def inputs(rng: Any) -> tuple[torch.Tensor, ...]:
        return (
            rng.integers(0, c.vocab_size, batch, 1),
            rng.normal(layers, batch, cached, latent, dtype=dtype),
            rng.normal(layers, batch, cached, rope, dtype=dtype),
        )

    def placed(make: Callable[[], torch.nn.Module], device: torch.device) -> torch.nn.Module:
        with device:  # its first weights, two billion, are drawn there too
            made = make().to(dtype).eval()
        made.load_state_dict(state())
        return made

    def ours(day: Any) -> Contender:
        model: Any = None

        def prepare(ids: Any, latents: Any, k_rope: Any) -> tuple[Any, ...]:
            nonlocal model
            model = model or placed(lambda: day.DeepSeekModel(c), ids.device)
            caches = model.new_caches(batch, cached + 1)
            for cache, one, key in zip(caches, latents, k_rope, strict=True):
                cache.append(one, key)
            return ids, model, caches

        def call(ids: Any, model: Any, caches: Any) -> Any:
            for cache in caches:
                cache.rewind(cached)
            with torch.no_grad():
                return model(ids, caches=caches, absorbed=True)

        return Contender(call, prepare=prepare)

    def transformers() -> Contender:
        model: Any = None

        def prepare(ids: Any, latents: Any, k_rope: Any) -> tuple[Any, ...]:
            from transformers import DynamicCache

            nonlocal model
            model = model or placed(lambda: theirs(c), ids.device)
            cache = DynamicCache(config=model.config)
            for i in range(layers):
                cache.update(latents[i][:, None], k_rope[i][:, None], i)
            return ids, model, cache

        def call(ids: Any, model: Any, cache: Any) -> Any:
            new = cache.get_seq_length() - cached
            if new:
                cache.crop(-new)
            with torch.no_grad():
                return model(input_ids=ids, past_key_values=cache).logits

        return Contender(call, needs=["transformers"], prepare=prepare)

    def oracle(ids: Any, latents: Any, k_rope: Any) -> torch.Tensor:
        """By hand, in the absorbed form, which takes the least work."""

        def w(name: str) -> torch.Tensor:
            return state()[name].to(ids.device).double()

        def normed(x: torch.Tensor, name: str) -> torch.Tensor:
            return F.rms_norm(x, x.shape[-1:], w(f"{name}.weight"), 1e-6)

        def swiglu(x: torch.Tensor, name: str) -> torch.Tensor:
            gate, up = (x @ w(f"{name}.{part}_proj.weight").mT for part in ("gate", "up"))
            return (F.silu(gate) * up) @ w(f"{name}.down_proj.weight").mT

        x = w("model.embed_tokens.weight")[ids]
        for i in range(layers):
            name = f"model.layers.{i}."
            h = normed(x, f"{name}input_layernorm")
            name += "self_attn."
            q = (h @ w(f"{name}q_proj.weight").mT).unflatten(-1, (heads, -1)).transpose(1, 2)
            new, key = (h @ w(f"{name}kv_a_proj_with_mqa.weight").mT).split([latent, rope], -1)
            new = normed(new, f"{name}kv_a_layernorm")
            all_latents = torch.cat([latents[i].double(), new], 1)
            keys = torch.cat([k_rope[i].double(), turned(key, cached)], 1)
            per_head = w(f"{name}kv_b_proj.weight").unflatten(0, (heads, d + e))
            inner = torch.einsum("bhqd,hdc->bhc", q[..., :d], per_head[:, :d])
            scores = torch.einsum("bhc,bkc->bhk", inner, all_latents)
            scores = scores + torch.einsum("bhqr,bkr->bhk", turned(q[..., d:], cached), keys)
            mixed = (scores * c.qk_head_dim**-0.5).softmax(-1) @ all_latents
            mixed = torch.einsum("bhc,hec->bhe", mixed, per_head[:, d:])
            x = x + mixed.flatten(1)[:, None] @ w(f"{name}o_proj.weight").mT
            name = f"model.layers.{i}."
            h = normed(x, f"{name}post_attention_layernorm")
            if not c.is_sparse(i):
                x = x + swiglu(h, f"{name}mlp")
                continue
            scores = (h @ w(f"{name}mlp.gate.weight").mT).softmax(-1)
            share = scores.topk(c.num_experts_per_tok, -1).values.sum(-1, keepdim=True)
            stacks = [state()[f"{name}mlp.experts.{part}_proj"] for part in ("gate_up", "down")]
            gate_up, down = (stack[0].to(ids.device).double() for stack in stacks)
            gate, up = (h @ gate_up.mT).chunk(2, -1)
            x = x + swiglu(h, f"{name}mlp.shared_experts")
            x = x + share * ((F.silu(gate) * up) @ down.mT)
        return normed(x, "model.norm") @ w("lm_head.weight").mT

    n, k = c.n_routed_experts, c.num_experts_per_tok
    count = {name: math.prod(p) for name, p in shapes(c).items() if "embed" not in name}
    stacked = sum(m for name, m in count.items() if ".experts." in name)
    others = sum(count.values()) - stacked
    return Problem(
        inputs=inputs,
        oracle=oracle,
        tolerance={"dtype": dtype, "terms": WIDTH, "scale": 4.0 if dtype.itemsize == 4 else 200.0},
        bytes=dtype.itemsize
        * (others + stacked * min(n, k * batch) // n + layers * batch * cached * (latent + rope)),
        flops=2
        * batch
        * (others + stacked * k // n + layers * heads * (cached + 1) * (2 * latent + rope)),
        ours=ours,
        peers={"transformers": transformers()},
        compile=False,  # a cache whose length changes, and products that it leaves as they are
    )


RATE = 1e-3


def follow(model: torch.nn.Module, state: State, ids: torch.Tensor, dtype: Any) -> torch.Tensor:
    """Begin with ``state``, and make two steps with torch's AdamW. → the loss before each"""
    model.load_state_dict(state)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)
    losses = []
    for _ in range(2):
        optimizer.zero_grad()
        made = model(ids)
        logits = getattr(made, "logits", made)[:, :-1].flatten(0, 1)
        loss = F.cross_entropy(
            logits.to(torch.promote_types(dtype, torch.float32)), ids[:, 1:].flatten()
        )
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses).to(dtype)


# Copying the weights and the optimizer are part of the time, and the same for both. The second
# loss shows that the first gradient was right. Tokens a second are 2 · batch · length over the
# time; FLOPs are the usual 6 for each parameter that a token meets. The goal, no slower than
# transformers, leaves 10 % for its fused attention.
@bench(
    "DeepSeekModel",
    unit="FLOP/s",
    cases=[Case(batch=8, length=n, hidden=1024) for n in (128, 512)],
    cpu_cases=[Case(batch=4, length=64, hidden=64)],
    goals=[goal(at_most=1.1, of="transformers")],
)
def training(case: Case) -> Problem:
    batch, length = case.batch, case.length
    changes: dict[str, Any] = {"vocab_size": 32_000, "num_hidden_layers": 4}
    if case.hidden < 1024:
        changes = {"vocab_size": 512, "num_hidden_layers": 2, "num_attention_heads": 4}
        changes |= {"qk_nope_head_dim": 16, "qk_rope_head_dim": 8}
    inner = case.hidden * 11 // 16 // 8 * 8  # rows of 16 bytes, which grouped products ask for
    c = dataclasses.replace(
        DEEPSEEK_V2_LITE,
        hidden_size=case.hidden,
        intermediate_size=4 * inner,
        moe_intermediate_size=inner,
        kv_lora_rank=case.hidden // 4,
        v_head_dim=case.hidden // 16,
        rope_scaling=None,
        **changes,
    )
    dtype = torch.bfloat16 if torch.cuda.is_available() else torch.float32
    state = functools.cache(lambda: weights_of(c, dtype))
    n, k = c.n_routed_experts, c.num_experts_per_tok
    met = sum(
        math.prod(shape) * k // n if ".experts." in name else math.prod(shape)
        for name, shape in shapes(c).items()
        if "embed" not in name
    )

    def oracle(ids: torch.Tensor) -> torch.Tensor:
        with ids.device:
            model = theirs(c, experts="eager").double()
        return follow(model.train(), state(), ids, torch.float64)

    def contender(make: Any, needs: tuple[str, ...] = ()) -> Contender:
        model: Any = None
        there: State = {}

        def prepare(ids: torch.Tensor) -> tuple[Any, ...]:
            nonlocal model
            if model is None:
                with ids.device:
                    model = make(c).to(dtype).train()
            if not there:
                there.update({name: p.to(ids.device) for name, p in state().items()})
            return model, there, ids, dtype

        return Contender(follow, needs=needs, prepare=prepare)

    return Problem(
        inputs=lambda rng: (rng.integers(0, c.vocab_size, batch, length),),
        oracle=oracle,
        tolerance={"dtype": dtype, "terms": case.hidden, "scale": 4.0},
        flops=2 * 6 * met * batch * length,
        ours=lambda day: contender(day.DeepSeekModel),
        peers={"transformers": contender(theirs, needs=("transformers",))},
        compile=False,  # the products of the experts are calls that it leaves as they are
    )
