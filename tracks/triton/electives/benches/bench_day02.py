"""Flash backward in Gluon beside the backward passes of torch's attention, each backend pinned.

The forward passes run outside the clock. Useful FLOPs are counted: five products for every score
that is seen. All launches of a backward pass are in its time: terms, zeros, the pass, the rounding.
"""

from harness.benching import Case, Contender, Problem, bench, goal
from tracks.triton.benches.bench_day34 import BF16, forward, oracle, pinned, seen
from tracks.triton.electives.benches.bench_day01 import CASES


@bench(
    "flash_attention_backward",
    unit="FLOP/s",
    gpu="sm_90a",
    cases=CASES,
    goals=[goal(at_least=1.0, of="cudnn", keys=range(4096, 16_385))],
)
def flash_attention_backward(case: Case) -> Problem:
    # The TMA wants rows of a multiple of 16 bytes; verify makes the sizes small and odd.
    n, d, causal = case.keys, case.dim // 8 * 8, case.causal
    b, h = max(case.tokens // n, 1), max(case.width // d, 1)
    return Problem(
        inputs=lambda rng: tuple(rng.normal(b, h, n, d, dtype=BF16) for _ in range(4)),
        oracle=oracle(causal),
        # Weights, dS and o are rounded to bfloat16 on their way to products. The first queries of a
        # causal mask see few keys, and their gradients have the size of 1.
        tolerance={"dtype": BF16, "scale": 2.0**16 * (1 if causal else 2 / n**0.5)},
        # q, k, v, o, do, lse read and dq, dk, dv written once each
        bytes=8 * b * h * n * d * BF16.itemsize + 4 * b * h * n,
        flops=10 * b * h * d * seen(n, n, causal),
        ours=lambda day: Contender(
            lambda q, k, v, o, lse, do: day.flash_attention_backward(q, k, v, o, lse, do, causal),
            prepare=lambda q, k, v, do: (q, k, v, *forward(q, k, v, causal), do),
        ),
        peers={backend: pinned(backend, causal, gqa=False) for backend in ("cudnn", "flash")},
        compile=False,  # it would compile a call of autograd, not the gradient
    )
