"""Whole batches, groups of unequal sizes, and persistent products, against the vendor's library.

``matmul_tma`` also with transposed operands, which are described and not copied, and with the K of
a language model's down-projection.
"""

from typing import Any

import torch

from harness.benching import Case, Problem, bench, goal

BF16 = torch.bfloat16
TOLERANCE: dict[str, Any] = {"dtype": BF16, "scale": 1.0}
SQUARES = [Case(m=n, n=n, k=n, layout="nn") for n in (2048, 4096, 8192)]
OTHERS = [
    Case(m=4096, n=4096, k=14_336, layout="nn"),
    Case(m=4096, n=4096, k=4096, layout="nt"),
    Case(m=8192, n=8192, k=8192, layout="tn"),
]


def _product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return a @ b


def _problem(case: Case) -> Problem:
    """layout: n for an operand with contiguous rows, t for one with contiguous columns."""
    # A size that is no multiple of 8 cannot be described: it is rounded up.
    m, n, k = (-(-size // 8) * 8 for size in (case.m, case.n, case.k))

    def matrix(rng: Any, rows: int, columns: int, layout: str) -> torch.Tensor:
        shape = (columns, rows) if layout == "t" else (rows, columns)
        drawn: torch.Tensor = rng.normal(*shape, dtype=BF16)
        return drawn.T if layout == "t" else drawn

    def inputs(rng: Any) -> tuple[torch.Tensor, torch.Tensor]:
        return matrix(rng, m, k, case.layout[0]), matrix(rng, k, n, case.layout[1])

    return Problem(
        inputs=inputs,
        oracle=lambda a, b: a.double() @ b.double(),
        tolerance=TOLERANCE | {"terms": k},
        bytes=(m * k + k * n + m * n) * BF16.itemsize,  # a, b and the result, once
        flops=2 * m * n * k,
        peers={"torch": _product},
    )


@bench(
    "batched_matmul",
    unit="FLOP/s",
    cases=[
        Case(batch=batch, m=n, n=n, k=k)
        for batch, n, k in ((16, 2048, 2048), (64, 1024, 1024), (512, 512, 128), (64, 2048, 128))
    ],
    goals=[goal(at_least=1.0, of="torch")],
)
def batched_matmul(case: Case) -> Problem:
    batch, m, n, k = case.batch, case.m, case.n, case.k
    return Problem(
        inputs=lambda rng: (
            rng.normal(batch, m, k, dtype=BF16),
            rng.normal(batch, k, n, dtype=BF16),
        ),
        oracle=lambda a, b: a.double() @ b.double(),
        tolerance=TOLERANCE | {"terms": k},
        bytes=batch * (m * k + k * n + m * n) * BF16.itemsize,
        flops=2 * batch * m * n * k,
        peers={"torch": _product},
    )


def _tokens(case: Case) -> list[int]:
    """So many for each expert: the idlest gets 8, the busiest nearly twice the mean."""
    steps = 2 * (case.tokens - 8) / (case.experts - 1) / 8
    return [8 + int(steps * i) * 8 for i in range(case.experts)]


@bench(
    "grouped_matmul",
    unit="FLOP/s",
    # A few large products, and many small ones of which none fills a GPU.
    cases=[
        Case(experts=8, tokens=2048, n=4096, k=2048),
        Case(experts=64, tokens=128, n=1024, k=1024),
        Case(experts=128, tokens=32, n=512, k=512),
    ],
    goals=[goal(at_least=1.0, of="torch"), goal(at_least=2.0, of="torch", experts=[64, 128])],
)
def grouped_matmul(case: Case) -> Problem:
    experts, n, k = case.experts, case.n, case.k
    tokens = _tokens(case)

    def pairs(*operands: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        return list(zip(operands[:experts], operands[experts:], strict=True))

    return Problem(
        inputs=lambda rng: (
            *(rng.normal(rows, k, dtype=BF16) for rows in tokens),
            *(rng.normal(k, n, dtype=BF16) for _ in tokens),
        ),
        oracle=lambda *operands: tuple(a.double() @ b.double() for a, b in pairs(*operands)),
        tolerance=TOLERANCE | {"terms": k},
        bytes=(sum(tokens) * (k + n) + experts * k * n) * BF16.itemsize,
        flops=2 * sum(tokens) * n * k,
        ours=lambda day: lambda *operands: tuple(day.grouped_matmul(pairs(*operands))),
        peers={"torch": lambda *operands: tuple(a @ b for a, b in pairs(*operands))},
        compile=False,  # it would be a loop of the same calls
    )


@bench(
    "matmul_persistent",
    unit="FLOP/s",
    cases=SQUARES,
    goals=[goal(at_least=0.95, of="torch", n=[4096, 8192])],
)
def matmul_persistent(case: Case) -> Problem:
    return _problem(case)


@bench(
    "matmul_tma",
    unit="FLOP/s",
    cases=[*SQUARES, *OTHERS],
    goals=[goal(at_least=1.0, of="torch", n=[4096, 8192])],
)
def matmul_tma(case: Case) -> Problem:
    return _problem(case)
