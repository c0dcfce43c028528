"""The same bytes four ways: by rows, by columns, by tiles, and turned."""

from collections.abc import Callable

import torch

from harness.benching import Case, Problem, bench, goal

SIZES = (2048, 4096, 8192, 16_384)
CASES = [Case(n=n, dtype=d) for d in (torch.float32, torch.bfloat16) for n in SIZES]
LARGE = [8192, 16_384]


def _problem(case: Case, torch_does: Callable[[torch.Tensor], torch.Tensor]) -> Problem:
    n, dtype = case.n, case.dtype
    return Problem(
        inputs=lambda rng: (rng.normal(n, n, dtype=dtype),),
        oracle=lambda x: torch_does(x).double(),
        tolerance={"dtype": dtype},
        bytes=2 * n * n * dtype.itemsize,  # every element read once and written once
        peers={"torch": torch_does},
    )


# The copy bandwidth is measured on 1 GiB. Smaller matrices end before the memory is busy for long,
# also for torch's own copy: what these kernels have to match is that copy, at the same size.
@bench("copy_by_rows", unit="GB/s", cases=CASES, goals=[goal(at_least=0.95, of="torch", n=LARGE)])
def copy_by_rows(case: Case) -> Problem:
    return _problem(case, torch.clone)


# No goal: this is the slow way, written to be measured.
@bench("copy_by_columns", unit="GB/s", cases=CASES)
def copy_by_columns(case: Case) -> Problem:
    return _problem(case, torch.clone)


@bench("copy_by_tiles", unit="GB/s", cases=CASES, goals=[goal(at_least=0.93, of="torch", n=LARGE)])
def copy_by_tiles(case: Case) -> Problem:
    return _problem(case, torch.clone)


@bench("transpose", unit="GB/s", cases=CASES, goals=[goal(at_least=0.90, of="copy", n=LARGE)])
def transpose(case: Case) -> Problem:
    return _problem(case, lambda x: x.T.contiguous())
