"""The product against the library, and what an epilogue in the same launch saves."""

import torch

from harness.benching import Case, Problem, bench, goal

SIZES = ((4096, 4096, 4096), (8192, 8192, 8192))
BF16 = torch.bfloat16


@bench(
    "matmul_k",
    unit="FLOP/s",
    cases=[Case(m=m, n=n, k=k) for m, n, k in SIZES],
    goals=[goal(at_least=0.95, of="torch", m=4096), goal(at_least=0.90, of="torch", m=8192)],
)
def matmul_k(case: Case) -> Problem:
    m, n, k = case.m, case.n, case.k
    return Problem(
        inputs=lambda rng: (rng.normal(m, k, dtype=BF16), rng.normal(k, n, dtype=BF16)),
        oracle=lambda a, b: a.double() @ b.double(),
        tolerance={"dtype": BF16, "terms": k, "scale": 1.0},
        bytes=(m * k + k * n + m * n) * BF16.itemsize,  # a, b and the result, once
        flops=2 * m * n * k,
        peers={"torch": lambda a, b: a @ b},
    )


@bench(
    "matmul_epilogue",
    unit="FLOP/s",
    # A short K: the epilogue's passes over the result are the larger part of eager's time.
    cases=[Case(m=8192, n=8192, k=k) for k in (512, 4096)],
    goals=[goal(at_least=1.0, of="torch")],
)
def matmul_epilogue(case: Case) -> Problem:
    m, n, k = case.m, case.n, case.k
    return Problem(
        inputs=lambda rng: (
            rng.normal(m, k, dtype=BF16),
            rng.normal(k, n, dtype=BF16),
            rng.normal(n, dtype=BF16),
        ),
        oracle=lambda a, b, bias: (a.double() @ b.double() + bias.double()).clamp(min=0),
        tolerance={"dtype": BF16, "terms": k + 1, "scale": 1.0},
        bytes=(m * k + k * n + n + m * n) * BF16.itemsize,
        flops=2 * m * n * k,
        ours=lambda day: lambda a, b, bias: day.matmul_epilogue(a, b, bias, "relu"),
        # The same chain by single operators; each rounds, and so may be off by as many roundings.
        peers={"torch": lambda a, b, bias: (a @ b + bias).relu()},
    )


@bench(
    "matmul_int8",
    unit="FLOP/s",
    cases=[Case(m=n, n=n, k=n) for n in (4096, 8192)],
)
def matmul_int8(case: Case) -> Problem:
    m, n, k = case.m, case.n, case.k
    return Problem(
        inputs=lambda rng: (
            rng.integers(-128, 128, m, k, dtype=torch.int8),
            rng.integers(-128, 128, n, k, dtype=torch.int8),
            rng.uniform(n, low=0.5),
        ),
        oracle=lambda a, w, scale: a.double() @ w.double().T * scale.double(),
        tolerance={"dtype": torch.float32, "terms": 1},
        bytes=m * k + n * k + 4 * n + 4 * m * n,
        flops=2 * m * n * k,
        ours=lambda day: lambda a, w, scale: day.matmul_int8(a, w.T, scale),
    )
