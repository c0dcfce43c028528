"""A step of decoding with shared keys and values, beside one whose every head has its own."""

from typing import Any

import torch
import torch.nn.functional as F

from harness.benching import Case, Contender, Problem, bench, goal


def repeated(x: torch.Tensor, heads: int) -> torch.Tensor:
    return x.repeat_interleave(heads // x.shape[1], 1)


# The bytes are those of shared keys and values, read once. "multi-head" computes the same numbers
# from a cache in which every head has its copy, made outside the clock: what sharing saves is the
# difference. "repeat" makes the copies in every step.
@bench(
    "grouped_attention",
    unit="GB/s",
    cases=[
        Case(batch=b, cached=n, heads=32, kv_heads=g)
        for b, n, g in ((16, 1024, 8), (16, 4096, 8), (16, 4096, 1))
    ],
    cpu_cases=[
        Case(batch=b, cached=n, heads=16, kv_heads=g)
        for b, n, g in ((2, 512, 4), (2, 2048, 4), (2, 2048, 1))
    ],
    goals=[
        goal(at_most=0.6, of="multi-head", cached=[2048, 4096]),
        goal(at_most=0.5, of="repeat", cached=[2048, 4096]),
    ],
)
def grouped_attention(case: Case) -> Problem:
    batch, cached, heads, shared, d = case.batch, case.cached, case.heads, case.kv_heads, 128

    def inputs(rng: Any) -> tuple[torch.Tensor, ...]:
        return (
            rng.normal(batch, heads, 1, d),
            rng.normal(batch, shared, cached, d),
            rng.normal(batch, shared, cached, d),
        )

    def oracle(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        q, k, v = q.double(), repeated(k, heads).double(), repeated(v, heads).double()
        return (q @ k.mT * d**-0.5).softmax(-1) @ v

    def repeat(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        k, v = repeated(k, heads), repeated(v, heads)
        return (q @ k.mT * d**-0.5).softmax(-1) @ v

    return Problem(
        inputs=inputs,
        oracle=oracle,
        tolerance={"dtype": torch.float32, "terms": d, "scale": 1.0},
        bytes=4 * batch * d * (2 * heads + 2 * shared * cached),
        flops=4 * batch * heads * cached * d,
        peers={
            "torch": lambda q, k, v: F.scaled_dot_product_attention(q, k, v, enable_gqa=True),
            "multi-head": Contender(
                lambda q, k, v: (q @ k.mT * d**-0.5).softmax(-1) @ v,
                prepare=lambda q, k, v: (q, repeated(k, heads), repeated(v, heads)),
            ),
            "repeat": repeat,
        },
        compile=False,  # a few products of matrices, which it leaves as they are
    )
