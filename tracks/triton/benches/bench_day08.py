"""gelu moves every element once in and once out: its goal is the speed of a copy.

In 16 bits a copy would bring 1,060 G elements a second on an H200, and erf takes some forty
instructions an element, of which 132 multiprocessors do 128 a cycle: there the arithmetic is the
limit, and the goal is torch's own kernel.
"""

import torch
import torch.nn.functional as F

from harness.benching import Case, Problem, bench, goal

CASES = [Case(n=n, dtype=d) for d in (torch.float32, torch.bfloat16) for n in (2**20, 2**24, 2**27)]


@bench(
    "gelu",
    unit="GB/s",
    cases=CASES,
    goals=[
        goal(at_least=0.97, of="copy", n=2**27, dtype=torch.float32),
        goal(at_least=0.95, of="torch", n=2**27),
    ],
)
def gelu(case: Case) -> Problem:
    n, dtype = case.n, case.dtype
    return Problem(
        inputs=lambda rng: (rng.normal(n, dtype=dtype),),
        oracle=lambda x: F.gelu(x.double()),
        tolerance={"dtype": dtype, "scale": 4.0},
        bytes=2 * n * dtype.itemsize,  # every element read once and written once
        peers={"torch": F.gelu},
    )
