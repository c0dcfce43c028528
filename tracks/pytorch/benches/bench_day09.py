"""Activations out of single operations, beside torch's own, which make one trip through memory."""

import torch
import torch.nn.functional as F

from harness.benching import Case, Problem, bench, goal

# Every operation of ours reads its inputs from memory and writes a new tensor. `bytes` counts one
# trip, so that the share of the copy bandwidth says how many trips were made.


@bench(
    "gelu",
    unit="GB/s",
    cases=[Case(n=2**26, dtype=dtype) for dtype in (torch.float32, torch.bfloat16)],
    cpu_cases=[Case(n=2**20, dtype=dtype) for dtype in (torch.float32, torch.bfloat16)],
    goals=[goal(at_least=0.15, of="torch", dtype=torch.float32)],
)
def gelu(case: Case) -> Problem:
    n, dtype = case.n, case.dtype
    return Problem(
        inputs=lambda rng: (rng.normal(n, dtype=dtype),),
        oracle=lambda x: F.gelu(x.double()),
        tolerance={"dtype": dtype, "scale": 4.0},  # 1 + erf cancels on the left
        bytes=2 * n * dtype.itemsize,
        peers={"torch": F.gelu},
    )


@bench(
    "softmax",
    unit="GB/s",
    cases=[Case(rows=2**26 // columns, columns=columns) for columns in (256, 4096, 65_536)],
    cpu_cases=[Case(rows=2**20 // columns, columns=columns) for columns in (64, 1024, 16_384)],
    goals=[goal(at_least=0.15, of="torch")],
)
def softmax(case: Case) -> Problem:
    rows, columns = case.rows, case.columns
    return Problem(
        inputs=lambda rng: (rng.normal(rows, columns, std=3.0),),
        oracle=lambda x: torch.softmax(x.double(), dim=-1),
        tolerance={"dtype": torch.float32, "terms": columns, "factor": 16.0},
        bytes=2 * rows * columns * 4,
        flops=5 * rows * columns,  # max, subtract, exp, sum, divide
        peers={"torch": lambda x: torch.softmax(x, dim=-1)},
    )
