"""A step of decoding in the absorbed form, beside a cache of all heads' keys and values."""

from typing import Any

import torch

from harness.benching import Case, Contender, Problem, absent, bench, goal
from tracks.pytorch.day27 import MLAConfig

WIDTH = 2048  # DeepSeek-V2-Lite's; 16 heads as there


def sizes() -> MLAConfig:
    return MLAConfig(
        hidden_size=WIDTH,
        num_attention_heads=16,
        q_lora_rank=None,
        kv_lora_rank=512,
        qk_nope_head_dim=128,
        qk_rope_head_dim=64,
        v_head_dim=128,
    )


def turned(x: torch.Tensor, position: int) -> torch.Tensor:
    """RoPE of neighbours, written out: the peers need no answer of an earlier day."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    pairs = torch.arange(0, x.shape[-1], 2, dtype=torch.float64, device=x.device)
    angles = position * 10_000 ** (-pairs / x.shape[-1])
    cos, sin = angles.cos().to(wide.dtype), angles.sin().to(wide.dtype)
    a, b = wide[..., 0::2], wide[..., 1::2]
    return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2).to(x.dtype)


class Weights:
    """The weights of one layer, from the given numbers, in their dtype and on their device."""

    def __init__(self, numbers: torch.Tensor) -> None:
        c = sizes()
        shapes = {
            "q_proj": (c.num_attention_heads * c.qk_head_dim, WIDTH),
            "kv_a_proj_with_mqa": (c.kv_lora_rank + c.qk_rope_head_dim, WIDTH),
            "kv_b_proj": (
                c.num_attention_heads * (c.qk_nope_head_dim + c.v_head_dim),
                c.kv_lora_rank,
            ),
            "o_proj": (WIDTH, c.num_attention_heads * c.v_head_dim),
        }
        self.named = {}
        for name, (rows, columns) in shapes.items():
            times = -(-rows * columns // len(numbers))
            filled = numbers.repeat(times)[: rows * columns].view(rows, columns)
            self.named[name] = filled * columns**-0.5
        self.norm = numbers[: c.kv_lora_rank].abs() + 0.5

    def state(self) -> dict[str, torch.Tensor]:
        state = {f"{name}.weight": w for name, w in self.named.items()}
        return state | {"kv_a_layernorm.weight": self.norm}

    def project(self, x: torch.Tensor, position: int) -> tuple[torch.Tensor, ...]:
        """Of the new token: both parts of its queries, its rope key, and its latent."""
        c = sizes()
        q = (x @ self.named["q_proj"].mT).unflatten(-1, (c.num_attention_heads, -1))
        q_nope, q_rope = q.transpose(1, 2).split([c.qk_nope_head_dim, c.qk_rope_head_dim], -1)
        latent, k_rope = (x @ self.named["kv_a_proj_with_mqa"].mT).split(
            [c.kv_lora_rank, c.qk_rope_head_dim], -1
        )
        latent = torch.nn.functional.rms_norm(latent, latent.shape[-1:], self.norm, 1e-6)
        return q_nope, turned(q_rope, position), turned(k_rope, position), latent

    def expand(self, latents: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of all heads, from latents: (batch, heads, length, ...)."""
        c = sizes()
        kv = (latents @ self.named["kv_b_proj"].mT).unflatten(-1, (c.num_attention_heads, -1))
        k, v = kv.transpose(1, 2).split([c.qk_nope_head_dim, c.v_head_dim], -1)
        return k, v

    def attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        mixed = (q @ k.mT * sizes().qk_head_dim ** -0.5).softmax(-1) @ v
        return mixed.transpose(1, 2).flatten(-2) @ self.named["o_proj"].mT


# One layer of DeepSeek-V2-Lite's sizes and one new token for each text. "expanded" is the same
# layer with a cache of every head's whole key and value, which a step reads as it is; that cache is
# made outside the clock. "expand" keeps latents and sends all of them through kv_b_proj in every
# step. The bytes are those of the absorbed form: the weights and the latents, read once.
@bench(
    "MultiHeadLatentAttention",
    unit="GB/s",
    cases=[Case(batch=b, cached=n) for b, n in ((1, 4095), (16, 4095), (64, 4095))],
    cpu_cases=[Case(batch=b, cached=n) for b, n in ((1, 1023), (1, 4095), (8, 4095))],
    goals=[
        goal(at_most=0.333, of="expanded", batch=[8], cached=[4095]),  # where bytes are the time
        goal(at_most=0.333, of="expand", batch=[1], cached=[4095]),
    ],
)
def decoding(case: Case) -> Problem:
    batch, cached, c = case.batch, case.cached, sizes()
    dtype = torch.bfloat16 if torch.cuda.is_available() else torch.float32
    heads, d, r, e = c.num_attention_heads, c.qk_nope_head_dim, c.qk_rope_head_dim, c.v_head_dim
    latent = c.kv_lora_rank
    weights = WIDTH * (heads * c.qk_head_dim + latent + r + heads * e) + heads * (d + e) * latent

    def inputs(rng: Any) -> tuple[torch.Tensor, ...]:
        return (
            rng.normal(batch, 1, WIDTH, dtype=dtype),
            rng.normal(batch, cached, latent, dtype=dtype),
            rng.normal(batch, cached, r, dtype=dtype),
            rng.normal((1 << 16) - 1, dtype=dtype),
        )

    def expand(x: Any, latents: Any, k_rope: Any, w: Weights) -> torch.Tensor:
        q_nope, q_rope, new_rope, new = w.project(x, cached)
        k, v = w.expand(torch.cat([latents, new], 1))
        k_rope = torch.cat([k_rope, new_rope], 1)[:, None].expand(-1, heads, -1, -1)
        return w.attend(torch.cat([q_nope, q_rope], -1), torch.cat([k, k_rope], -1), v)

    def with_weights(x: Any, latents: Any, k_rope: Any, numbers: Any) -> tuple[Any, ...]:
        return x, latents, k_rope, Weights(numbers)

    def filled(x: Any, latents: Any, k_rope: Any, numbers: Any) -> tuple[Any, ...]:
        """The expanded cache, with room for the new token."""
        w = Weights(numbers)
        keys = x.new_zeros(batch, heads, cached + 1, d + r)
        values = x.new_zeros(batch, heads, cached + 1, e)
        k, v = w.expand(latents)
        keys[:, :, :-1, :d], keys[:, :, :-1, d:] = k, k_rope[:, None]
        values[:, :, :-1] = v
        return x, keys, values, w

    def expanded(x: Any, keys: Any, values: Any, w: Weights) -> torch.Tensor:
        q_nope, q_rope, new_rope, new = w.project(x, cached)
        k, v = w.expand(new)
        keys[:, :, -1:, :d], keys[:, :, -1:, d:] = k, new_rope[:, None]
        values[:, :, -1:] = v
        return w.attend(torch.cat([q_nope, q_rope], -1), keys, values)

    def made(day: Any) -> Contender:
        def prepare(x: Any, latents: Any, k_rope: Any, numbers: Any) -> tuple[Any, ...]:
            with torch.device(x.device):
                attention = day.MultiHeadLatentAttention(c).to(dtype).eval()
            attention.load_state_dict(Weights(numbers).state())
            cache = day.LatentCache(batch, cached + 1, latent, r, dtype=dtype, device=x.device)
            cache.append(latents, k_rope)
            return x, attention, cache

        def call(x: Any, attention: Any, cache: Any) -> Any:
            cache.rewind(cached)
            with torch.no_grad():
                return attention(x, cache=cache, absorbed=True)

        return Contender(call, prepare=prepare)

    def oracle(x: Any, latents: Any, k_rope: Any, numbers: Any) -> torch.Tensor:
        """The absorbed form in float64, which takes the least work."""
        w = Weights(numbers.double())
        q_nope, q_rope, new_rope, new = w.project(x.double(), cached)
        latents = torch.cat([latents.double(), new], 1)
        k_rope = torch.cat([k_rope.double(), new_rope], 1)
        per_head = w.named["kv_b_proj"].unflatten(0, (heads, d + e))
        q = torch.einsum("bhqd,hdc->bhc", q_nope, per_head[:, :d])
        scores = torch.einsum("bhc,bkc->bhk", q, latents)
        scores = scores + torch.einsum("bhqr,bkr->bhk", q_rope, k_rope)
        mixed = (scores * c.qk_head_dim**-0.5).softmax(-1) @ latents
        mixed = torch.einsum("bhc,hec->bhe", mixed, per_head[:, d:])
        return mixed.flatten(1)[:, None] @ w.named["o_proj"].mT

    return Problem(
        inputs=inputs,
        oracle=oracle,
        tolerance={"dtype": dtype, "terms": WIDTH, "scale": 1.0 if dtype.itemsize == 4 else 4.0},
        bytes=dtype.itemsize * (weights + batch * (cached * (latent + r) + 2 * WIDTH)),
        flops=2 * batch * (weights + heads * (cached + 1) * (2 * latent + r)),
        ours=made,
        peers={
            "expanded": Contender(expanded, prepare=filled),
            "expand": (
                absent("takes as much for each text as for one")
                if batch > 1
                else Contender(expand, prepare=with_weights)
            ),
        },
        compile=False,  # products of matrices, and a cache whose length changes
    )
