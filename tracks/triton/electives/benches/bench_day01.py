"""Flash forward in Gluon beside torch's attention, each of its backends pinned by name.

Useful FLOPs are counted: two products for every score that is seen.
"""

import torch

from harness.benching import Case, Problem, bench, goal, sdpa
from tracks.triton.benches.bench_day32 import oracle, seen

BF16 = torch.bfloat16
LENGTHS = (2048, 4096, 8192, 16_384)
# tokens: in all texts together. width: elements of q in all heads together.
CASES = [
    Case(tokens=32_768, keys=n, width=2048, dim=dim, causal=causal)
    for causal in (False, True)
    for dim in (64, 128)
    for n in LENGTHS
]


@bench(
    "flash_attention_forward",
    unit="FLOP/s",
    gpu="sm_90a",
    cases=CASES,
    goals=[goal(at_least=1.0, of="cudnn", keys=range(4096, 16_385))],
)
def flash_attention_forward(case: Case) -> Problem:
    # The TMA wants rows of a multiple of 16 bytes; verify makes the sizes small and odd.
    n, d, causal = case.keys, case.dim // 8 * 8, case.causal
    b, h = max(case.tokens // n, 1), max(case.width // d, 1)
    return Problem(
        inputs=lambda rng: tuple(rng.normal(b, h, n, d, dtype=BF16) for _ in range(3)),
        oracle=oracle(causal),
        # Weights are rounded to bfloat16 for their product with v; the first queries of a causal
        # mask see few keys.
        tolerance={"dtype": BF16, "scale": 2.0**16 * (1 if causal else 2 / n**0.5)},
        # q, k, v read and o, lse written once each
        bytes=4 * b * h * n * d * BF16.itemsize + 4 * b * h * n,
        flops=4 * b * h * d * seen(n, n, causal),
        ours=lambda day: lambda q, k, v: day.flash_attention_forward(q, k, v, causal)[0],
        peers={backend: sdpa(backend, causal=causal) for backend in ("cudnn", "flash")},
        compile=False,  # torch.compile leaves the operator as it is
    )
