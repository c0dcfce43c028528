"""Sums of rows, from short ones to rows of many blocks, against the copy bandwidth."""

import torch

from harness.benching import Case, Problem, bench, goal

ELEMENTS = 2**28  # the same in every case: 512 MB of bfloat16, far beyond any L2 cache
COLUMNS = (256, 1024, 4096, 16_384, 65_536, 262_144)


@bench(
    "row_sum",
    unit="GB/s",
    cases=[Case(rows=ELEMENTS // columns, columns=columns) for columns in COLUMNS],
    # Reading alone can be faster than a copy; short rows leave too little for a program to do.
    goals=[goal(at_least=0.90, of="copy", columns=range(4096, 262_145))],
)
def row_sum(case: Case) -> Problem:
    rows, columns = case.rows, case.columns
    return Problem(
        inputs=lambda rng: (rng.normal(rows, columns, dtype=torch.bfloat16),),
        oracle=lambda x: x.double().sum(-1),
        tolerance={"dtype": torch.bfloat16, "terms": columns, "scale": 1.0},
        bytes=(rows * columns + rows) * torch.bfloat16.itemsize,  # x read, one number a row written
        flops=rows * columns,
        peers={"torch": lambda x: x.sum(-1)},
    )
