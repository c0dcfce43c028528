"""A layer of 64 experts, beside transformers' own and beside one that computes all of them."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from harness.benching import Case, Contender, Problem, bench, goal
from tracks.pytorch.day29 import DEEPSEEK_V2_LITE, DeepSeekConfig

TOKENS = (1, 64, 512)


def weights_of(config: DeepSeekConfig, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """The state of a layer, under the names that it has here and in transformers.

    Half a billion numbers take a CPU seconds: where there is a GPU, it draws them."""
    place = "cuda" if torch.cuda.is_available() else "cpu"
    draw = torch.Generator(place).manual_seed(0)
    hidden, inner, n = config.hidden_size, config.moe_intermediate_size, config.n_routed_experts
    shared = inner * config.n_shared_experts
    shapes = {
        "gate.weight": (n, hidden),
        "experts.gate_up_proj": (n, 2 * inner, hidden),
        "experts.down_proj": (n, hidden, inner),
        "shared_experts.gate_proj.weight": (shared, hidden),
        "shared_experts.up_proj.weight": (shared, hidden),
        "shared_experts.down_proj.weight": (hidden, shared),
    }
    return {
        name: (torch.randn(*shape, generator=draw, device=place) / shape[-1] ** 0.5).to(dtype)
        for name, shape in shapes.items()
    }


def routed(
    state: dict[str, torch.Tensor], x: torch.Tensor, k: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights and experts of a greedy softmax router."""
    return (x.float() @ state["gate.weight"].to(x.device).float().T).softmax(-1).topk(k, -1)


def swiglu(x: torch.Tensor, gate_up: torch.Tensor, down: torch.Tensor) -> torch.Tensor:
    gate, up = (x @ gate_up.mT).chunk(2, -1)
    return (F.silu(gate) * up) @ down.mT


# Only products count as FLOPs: k + shared experts of 6 · hidden · inner for each token. Bytes are
# the weights of the experts that can be busy, for with few tokens they are what has to be read.
# transformers makes the same products: "no slower" leaves 5 % for what timing cannot tell apart.
# Of 64 tokens on a GPU each expert has six, and all weights are read whoever computes them: what is
# left out only shows from some hundreds of tokens on.
@bench(
    "MixtureOfExperts",
    unit="time",
    cases=[Case(tokens=n, hidden=2048, inner=1408, dtype=torch.bfloat16) for n in TOKENS],
    cpu_cases=[Case(tokens=n, hidden=256, inner=176, dtype=torch.float32) for n in TOKENS],
    goals=[
        goal(at_most=1.05, of="transformers"),
        goal(at_most=0.5, of="all experts", tokens=range(512, 10**6)),
    ],
)
def mixture_of_experts(case: Case) -> Problem:
    tokens, dtype = case.tokens, case.dtype
    config = dataclasses.replace(
        DEEPSEEK_V2_LITE, hidden_size=case.hidden, moe_intermediate_size=case.inner
    )
    state = functools.cache(lambda: weights_of(config, dtype))  # gigabytes: when needed
    k, n, shared = config.num_experts_per_tok, config.n_routed_experts, config.n_shared_experts

    def inputs(rng: Any) -> tuple[torch.Tensor]:
        """Tokens whose choice no rounding can change."""
        x = rng.normal(3 * tokens + 20, case.hidden, dtype=dtype)
        best = routed(state(), x, k + 1)[0]
        clear = best[:, k - 1] > 1.001 * best[:, k]
        return (x[clear][:tokens],)

    def oracle(x: torch.Tensor) -> torch.Tensor:
        weights, indices = routed(state(), x, k)
        wide = {name: p.to(x.device).double() for name, p in state().items()}
        x, out = x.double(), torch.zeros_like(x, dtype=torch.float64)
        for i in range(n):
            rows, slots = (indices == i).nonzero(as_tuple=True)
            y = swiglu(x[rows], wide["experts.gate_up_proj"][i], wide["experts.down_proj"][i])
            out.index_add_(0, rows, weights[rows, slots, None].double() * y)
        parts = [wide[f"shared_experts.{name}_proj.weight"] for name in ("gate", "up", "down")]
        return out + swiglu(x, torch.cat(parts[:2]), parts[2])

    def placed(make: Callable[[], torch.nn.Module]) -> Callable[..., tuple[Any, ...]]:
        layer = None

        def prepare(x: torch.Tensor) -> tuple[Any, torch.Tensor]:
            nonlocal layer
            if layer is None:
                with x.device:
                    layer = make().to(dtype)
                layer.load_state_dict(state())
            return layer, x

        return prepare

    def transformers() -> torch.nn.Module:
        from transformers import DeepseekV2Config
        from transformers.models.deepseek_v2.modeling_deepseek_v2 import DeepseekV2Moe

        theirs = DeepseekV2Config(
            hidden_size=case.hidden,
            moe_intermediate_size=case.inner,
            num_attention_heads=16,
            n_routed_experts=n,
            num_experts_per_tok=k,
            n_shared_experts=shared,
        )
        theirs._experts_implementation = "grouped_mm"  # what their models choose by themselves
        return DeepseekV2Moe(theirs)

    @torch.no_grad()
    def call(layer: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = layer(x[None])[0]
        return result

    def on_device(x: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        return x, {name: p.to(x.device) for name, p in state().items()}

    def all_experts(x: torch.Tensor, state: dict[str, torch.Tensor]) -> torch.Tensor:
        weights, indices = routed(state, x, k)
        spread = torch.zeros(len(x), n, device=x.device).scatter(1, indices, weights)
        stacks = state["experts.gate_up_proj"], state["experts.down_proj"]
        mixed = (swiglu(x.expand(n, *x.shape), *stacks) * spread.T.unsqueeze(-1)).sum(0)
        parts = [state[f"shared_experts.{name}_proj.weight"] for name in ("gate", "up", "down")]
        return mixed.to(x.dtype) + swiglu(x, torch.cat(parts[:2]), parts[2])

    return Problem(
        inputs=inputs,
        oracle=oracle,
        # Three roundings follow each other before the last sum; 2.1 times a factor of 8 was seen
        # among the million results of 512 tokens on an H200.
        tolerance={"dtype": dtype, "terms": case.hidden, "scale": 2.0, "factor": 24.0},
        bytes=3 * case.hidden * case.inner * dtype.itemsize * (min(n, k * tokens) + shared),
        flops=6 * case.hidden * case.inner * tokens * (k + shared),
        ours=lambda day: Contender(call, prepare=placed(lambda: day.MixtureOfExperts(config))),
        peers={
            "transformers": Contender(call, needs=["transformers"], prepare=placed(transformers)),
            "all experts": Contender(all_experts, prepare=on_device),
        },
        compile=False,  # the products of the experts are calls that it leaves as they are
    )
