"""The same bytes four ways: by rows, by columns, by tiles, and turned."""

from collections.abc import Callable

import torch

from harness.benching import Case, Problem, bench, goal

CASES = [Case(n=n, dtype=d) for d in (torch.float32, torch.bfloat16) for n in (2048, 4096, 8192)]


def _problem(case: Case, torch_does: Callable[[torch.Tensor], torch.Tensor]) -> Problem:
    n, dtype = case.n, case.dtype
    return Problem(
        inputs=lambda rng: (rng.normal(n, n, dtype=dtype),),
        oracle=lambda x: torch_does(x).double(),
        tolerance={"dtype": dtype},
        bytes=2 * n * n * dtype.itemsize,  # every element read once and written once
        peers={"torch": torch_does},
    )


# The copy bandwidth is measured on large tensors: a matrix of 2048 x 2048 ends too soon for it.
@bench(
    "copy_by_rows", unit="GB/s", cases=CASES, goals=[goal(at_least=0.97, of="copy", n=[4096, 8192])]
)
def copy_by_rows(case: Case) -> Problem:
    return _problem(case, torch.clone)


# No goal: this is the slow way, written to be measured.
@bench("copy_by_columns", unit="GB/s", cases=CASES)
def copy_by_columns(case: Case) -> Problem:
    return _problem(case, torch.clone)


@bench(
    "copy_by_tiles",
    unit="GB/s",
    cases=CASES,
    goals=[goal(at_least=0.95, of="copy", n=[4096, 8192])],
)
def copy_by_tiles(case: Case) -> Problem:
    return _problem(case, torch.clone)


@bench(
    "transpose", unit="GB/s", cases=CASES, goals=[goal(at_least=0.90, of="copy", n=[4096, 8192])]
)
def transpose(case: Case) -> Problem:
    return _problem(case, lambda x: x.T.contiguous())
