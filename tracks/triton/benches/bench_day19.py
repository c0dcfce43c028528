"""The tuned product beside the untuned one (day 18's, with day 17's tiles) and torch's library.

Sizes of which no single tile is the best: a square, one with few rows, one with a long K, one that
is wide. A transposed b, as in a layer whose weight is (n, k), costs no copy.
"""

import torch

from harness.benching import Case, Problem, bench, goal

SIZES = ((1024, 1024, 4096), (4096, 4096, 4096), (8192, 8192, 8192), (4096, 4096, 14_336))
WIDE = (2048, 32_768, 8192)


@bench(
    "matmul_autotuned",
    unit="FLOP/s",
    cases=[
        *[Case(m=m, n=n, k=k, b="plain", tuned=True) for m, n, k in (*SIZES, WIDE)],
        *[Case(m=m, n=n, k=k, b="plain", tuned=False) for m, n, k in (*SIZES, WIDE)],
        *[Case(m=m, n=n, k=k, b="transposed", tuned=True) for m, n, k in SIZES[1:3]],
    ],
    goals=[
        goal(at_least=0.95, of="torch", m=4096, tuned=True),
        goal(at_least=0.95, of="torch", m=8192, tuned=True),
    ],
)
def matmul_autotuned(case: Case) -> Problem:
    m, n, k = case.m, case.n, case.k
    return Problem(
        inputs=lambda rng: (
            rng.normal(m, k, dtype=torch.bfloat16),
            rng.normal(k, n, dtype=torch.bfloat16)
            if case.b == "plain"
            else rng.normal(n, k, dtype=torch.bfloat16).T,
        ),
        oracle=lambda a, b: a.double() @ b.double(),
        tolerance={"dtype": torch.bfloat16, "terms": k, "scale": 1.0},
        bytes=(m * k + k * n + m * n) * torch.bfloat16.itemsize,  # a, b and the result, once
        flops=2 * m * n * k,
        ours=lambda day: day.matmul_autotuned if case.tuned else day.matmul_grouped,
        peers={"torch": lambda a, b: a @ b},
    )
