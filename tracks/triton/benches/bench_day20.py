"""Few tiles and a long K: the two forms of split-K beside the library, which splits K as well.

Results of few rows and columns, and results of few rows whose second matrix is all the traffic. The
last case is a square one, which choose_splits leaves whole.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch

from harness.benching import Case, Contender, Problem, bench, goal

BF16 = torch.bfloat16
SMALL = ((128, 128, 16_384), (256, 256, 65_536), (512, 512, 16_384))
FLAT = ((16, 4096, 14_336), (64, 4096, 14_336))
# Sums and result in float32, as the atomic form has them; torch has it on GPUs only.
FLOAT32 = Contender(call=lambda a, b: torch.mm(a, b, out_dtype=torch.float32), gpu=True)
CASES = [Case(m=m, n=n, k=k) for m, n, k in (*SMALL, *FLAT, (4096, 4096, 4096))]


def multiprocessors() -> int:
    if not torch.cuda.is_available():
        return 132
    return torch.cuda.get_device_properties().multi_processor_count


def problem(case: Case, name: str, dtype: torch.dtype) -> Problem:
    m, n, k = case.m, case.n, case.k

    def ours(day: ModuleType) -> Callable[..., Any]:
        splits = day.choose_splits(m, n, k, multiprocessors())
        product = getattr(day, name)
        return lambda a, b: product(a, b, splits)

    return Problem(
        inputs=lambda rng: (rng.normal(m, k, dtype=BF16), rng.normal(k, n, dtype=BF16)),
        oracle=lambda a, b: a.double() @ b.double(),
        tolerance={"dtype": dtype, "terms": k, "scale": 1.0},
        bytes=(m * k + k * n) * BF16.itemsize + m * n * dtype.itemsize,  # a, b, the result, once
        flops=2 * m * n * k,
        ours=ours,
        peers={"torch": lambda a, b: a @ b} if dtype == BF16 else {"torch": FLOAT32},
    )


@bench(
    "matmul_split_k_reduce",
    unit="FLOP/s",
    cases=CASES,
    goals=[goal(at_least=1.0, of="torch", k=[14_336, 16_384, 65_536])],
)
def matmul_split_k_reduce(case: Case) -> Problem:
    return problem(case, "matmul_split_k_reduce", BF16)


@bench(
    "matmul_split_k",
    unit="FLOP/s",
    cases=CASES[:-1],
    goals=[goal(at_least=1.0, of="torch")],
)
def matmul_split_k(case: Case) -> Problem:
    return problem(case, "matmul_split_k", torch.float32)
