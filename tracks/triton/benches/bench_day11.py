"""Sums of columns: square, tall and wide matrices, against the copy bandwidth."""

import torch

from harness.benching import Case, Problem, bench, goal

SHAPES = ((8192, 32_768), (32_768, 8192), (262_144, 1024), (2_097_152, 128))


@bench(
    "column_sum",
    unit="GB/s",
    cases=[Case(rows=rows, columns=columns) for rows, columns in SHAPES],
    # 512 MB each. Reading alone can be faster than a copy.
    goals=[goal(at_least=0.90, of="copy")],
)
def column_sum(case: Case) -> Problem:
    rows, columns = case.rows, case.columns
    return Problem(
        inputs=lambda rng: (rng.normal(rows, columns, dtype=torch.bfloat16),),
        oracle=lambda x: x.double().sum(0),
        tolerance={"dtype": torch.bfloat16, "terms": rows, "scale": 1.0},
        bytes=(rows * columns + columns) * torch.bfloat16.itemsize,  # x read, a row written
        flops=rows * columns,
        peers={"torch": lambda x: x.sum(0)},
    )
