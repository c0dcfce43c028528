"""A sum reads every number once and writes next to nothing: how near to memory's speed is it?"""

import torch

from harness.benching import Case, Problem, bench, goal

CASES = [Case(n=n, dtype=d) for d in (torch.float32, torch.bfloat16) for n in (2**20, 2**24, 2**28)]


@bench("total", unit="GB/s", cases=CASES, goals=[goal(at_least=0.90, of="copy", n=2**28)])
def total(case: Case) -> Problem:
    n, dtype = case.n, case.dtype
    return Problem(
        inputs=lambda rng: (rng.normal(n, dtype=dtype),),
        oracle=lambda x: x.sum(dtype=torch.float64),
        tolerance={"dtype": torch.float32, "terms": n, "scale": 1.0},
        bytes=n * dtype.itemsize,
        flops=n,
        peers={"torch": lambda x: x.sum(dtype=torch.float32)},
    )
