"""Matrix products against the vendor's library and the matrix rate: square, and with a bias."""

import torch

from harness.benching import Case, Problem, bench, goal

SIZES = (1024, 2048, 4096, 8192)


# The tiles are in row-major order and their size is fixed: days 18 and 19 are about these two.
@bench(
    "matmul",
    unit="FLOP/s",
    cases=[Case(n=n, dtype=dtype) for dtype in (torch.bfloat16, torch.float16) for n in SIZES],
    goals=[goal(at_least=0.70, of="torch", n=4096)],
)
def matmul(case: Case) -> Problem:
    n, dtype = case.n, case.dtype
    return Problem(
        inputs=lambda rng: (rng.normal(n, n, dtype=dtype), rng.normal(n, n, dtype=dtype)),
        oracle=lambda a, b: a.double() @ b.double(),
        tolerance={"dtype": dtype, "terms": n, "scale": 1.0},
        bytes=3 * n * n * dtype.itemsize,  # a and b read once, the result written once
        flops=2 * n**3,
        peers={"torch": lambda a, b: a @ b},
    )


@bench(
    "matmul_bias",
    unit="FLOP/s",
    cases=[Case(rows=8192, columns=8192, inner=inner) for inner in (128, 1024, 8192)],
)
def matmul_bias(case: Case) -> Problem:
    rows, columns, inner = case.rows, case.columns, case.inner
    dtype = torch.bfloat16
    return Problem(
        inputs=lambda rng: (
            rng.normal(rows, inner, dtype=dtype),
            rng.normal(inner, columns, dtype=dtype),
            rng.normal(columns, dtype=dtype),
        ),
        oracle=lambda a, b, bias: a.double() @ b.double() + bias.double(),
        tolerance={"dtype": dtype, "terms": inner, "scale": 1.0},
        bytes=(rows * inner + inner * columns + columns + rows * columns) * dtype.itemsize,
        flops=2 * rows * columns * inner,
        peers={"torch": lambda a, b, bias: torch.addmm(bias, a, b)},
    )
