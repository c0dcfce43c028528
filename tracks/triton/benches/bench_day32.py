"""Flash forward against torch's attention, each of its backends pinned by name.

Useful FLOPs are counted: under a causal mask those of the scores that are seen. Peers compute
these, too; torch's operator does not return the logsumexp, which costs nothing of note.
"""

from typing import Any

import torch

from harness.benching import Case, Problem, absent, bench, goal, sdpa

BF16 = torch.bfloat16
LENGTHS = (1024, 2048, 4096, 8192, 16_384)
# tokens: in all texts together. width: elements of q in all heads together.
CASES = [
    Case(tokens=16_384, keys=n, width=2048, dim=dim, group=1, causal=causal)
    for causal in (False, True)
    for dim in (64, 128)
    for n in LENGTHS
]
SHARED = [
    Case(tokens=16_384, keys=4096, width=4096, dim=128, group=group, causal=True)
    for group in (1, 4, 32)
]


def seen(queries: int, keys: int, causal: bool) -> int:
    """Scores of a head that count."""
    return queries * (queries + 1) // 2 if causal else queries * keys


def oracle(causal: bool) -> Any:
    def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """In float64, a head and some queries at a time: all scores would not fit."""
        out = torch.empty(q.shape, dtype=torch.float64, device=q.device)
        group = q.shape[1] // k.shape[1]
        n = q.shape[2]
        for b in range(q.shape[0]):
            for h in range(q.shape[1]):
                keys, values = (x[b, h // group].double() for x in (k, v))
                for first in range(0, n, 2048):
                    s = q[b, h, first : first + 2048].double() @ keys.T * q.shape[3] ** -0.5
                    if causal:
                        s += torch.full_like(s, -torch.inf).triu(first + 1)
                    out[b, h, first : first + 2048] = s.softmax(-1) @ values
        return out

    return attention


@bench(
    "flash_attention_forward",
    unit="FLOP/s",
    cases=[*CASES, *SHARED],
    goals=[
        goal(at_least=0.85, of="cudnn", dim=128, keys=range(4096, 16_385)),
        goal(at_least=1.6, of="flash", dim=128, keys=range(4096, 16_385)),
        goal(at_least=1.0, of="cudnn", dim=64, keys=range(4096, 16_385)),
    ],
)
def flash_attention_forward(case: Case) -> Problem:
    """group: heads of q that share a head of k and v."""
    n, d, group, causal = case.keys, case.dim, case.group, case.causal
    b, kv_heads = max(case.tokens // n, 1), max(case.width // d // group, 1)
    h, shared = kv_heads * group, group > 1
    math = sdpa("math", causal=causal, gqa=shared)
    if 4 * b * h * n * n > 2**35:
        math = absent(f"its scores alone take {4 * b * h * n * n / 2**30:.0f} GiB")
    return Problem(
        inputs=lambda rng: (
            rng.normal(b, h, n, d, dtype=BF16),
            *(rng.normal(b, kv_heads, n, d, dtype=BF16) for _ in "kv"),
        ),
        oracle=oracle(causal),
        # Each weight is rounded to bfloat16 on its way to the product; the first queries of a
        # causal mask see few keys, and their values have the size of 1.
        tolerance={"dtype": BF16, "scale": 2.0**16 * (1 if causal else 2 / n**0.5)},
        bytes=2 * b * (h + kv_heads) * n * d * BF16.itemsize + 4 * b * h * n,  # each once, and lse
        flops=4 * b * h * d * seen(n, n, causal),
        ours=lambda day: lambda q, k, v: day.flash_attention_forward(q, k, v, causal)[0],
        peers={
            "flash": sdpa("flash", causal=causal, gqa=shared),
            "cudnn": sdpa("cudnn", causal=causal, gqa=shared),
            "math": math,
        },
        compile=False,  # torch.compile leaves the operator as it is
    )
