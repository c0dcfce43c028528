"""gelu moves every element once in and once out: its goal is the speed of a copy."""

import torch
import torch.nn.functional as F

from harness.benching import Case, Problem, bench, goal

CASES = [Case(n=n, dtype=d) for d in (torch.float32, torch.bfloat16) for n in (2**20, 2**24, 2**27)]


@bench("gelu", unit="GB/s", cases=CASES, goals=[goal(at_least=0.97, of="copy", n=2**27)])
def gelu(case: Case) -> Problem:
    n, dtype = case.n, case.dtype
    return Problem(
        inputs=lambda rng: (rng.normal(n, dtype=dtype),),
        oracle=lambda x: F.gelu(x.double()),
        tolerance={"dtype": dtype, "scale": 4.0},
        bytes=2 * n * dtype.itemsize,  # every element read once and written once
        peers={"torch": F.gelu},
    )
