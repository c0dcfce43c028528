"""Row by row (group 1) against bands of tile rows, beside torch's library.

The first product is square and its rows have 16 tiles: 132 programs at a time make a compact block
of them in either order. The wider the result, the more of b a wave needs row by row.
"""

import torch

from harness.benching import Case, Problem, bench, goal

SIZES = ((4096, 4096, 4096), (8192, 8192, 8192), (2048, 32_768, 8192))


@bench(
    "matmul_grouped",
    unit="FLOP/s",
    cases=[Case(m=m, n=n, k=k, group=group) for m, n, k in SIZES for group in (1, 8, 16)],
    goals=[
        goal(at_least=0.95, of="torch", m=4096, group=[8, 16]),
        goal(at_least=0.90, of="torch", m=8192, group=[8, 16]),
    ],
)
def matmul_grouped(case: Case) -> Problem:
    m, n, k = case.m, case.n, case.k
    return Problem(
        inputs=lambda rng: (
            rng.normal(m, k, dtype=torch.bfloat16),
            rng.normal(k, n, dtype=torch.bfloat16),
        ),
        oracle=lambda a, b: a.double() @ b.double(),
        tolerance={"dtype": torch.bfloat16, "terms": k, "scale": 1.0},
        bytes=(m * k + k * n + m * n) * torch.bfloat16.itemsize,  # a, b and the result, once
        flops=2 * m * n * k,
        ours=lambda day: lambda a, b: day.matmul_grouped(a, b, case.group),
        peers={"torch": lambda a, b: a @ b},
    )
