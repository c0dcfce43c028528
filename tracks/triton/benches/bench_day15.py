"""Matrix times vector against the bandwidth: the matrix is all that counts."""

import torch

from harness.benching import Case, Problem, bench, goal

SHAPES = ((4096, 4096), (16_384, 16_384), (8192, 32_768), (131_072, 2048))


@bench(
    "matvec",
    unit="GB/s",
    cases=[Case(rows=rows, columns=columns) for rows, columns in SHAPES],
    # 512 MB each, but for the first, of 32 MB, which is over before the memory is busy for long.
    goals=[goal(at_least=0.95, of="copy", rows=[16_384, 8192, 131_072])],
)
def matvec(case: Case) -> Problem:
    rows, columns = case.rows, case.columns
    return Problem(
        inputs=lambda rng: (
            rng.normal(rows, columns, dtype=torch.bfloat16),
            rng.normal(columns, dtype=torch.bfloat16),
        ),
        oracle=lambda a, x: a.double() @ x.double(),
        tolerance={"dtype": torch.bfloat16, "terms": columns, "scale": 1.0},
        bytes=(rows * columns + columns + rows) * torch.bfloat16.itemsize,  # a, x, the result
        flops=2 * rows * columns,
        peers={"torch": lambda a, x: a @ x},
    )


@bench(
    "vecmat",
    unit="GB/s",
    cases=[Case(rows=rows, columns=columns) for rows, columns in SHAPES],
    goals=[goal(at_least=0.90, of="copy", rows=[16_384, 8192, 131_072])],  # as day 11's column_sum
)
def vecmat(case: Case) -> Problem:
    rows, columns = case.rows, case.columns
    return Problem(
        inputs=lambda rng: (
            rng.normal(rows, dtype=torch.bfloat16),
            rng.normal(rows, columns, dtype=torch.bfloat16),
        ),
        oracle=lambda x, a: x.double() @ a.double(),
        tolerance={"dtype": torch.bfloat16, "terms": rows, "scale": 1.0},
        bytes=(rows * columns + rows + columns) * torch.bfloat16.itemsize,
        flops=2 * rows * columns,
        peers={"torch": lambda x, a: x @ a},
    )
