"""Softmax from short rows to the longest that a block holds, against the copy bandwidth."""

from collections.abc import Callable
from typing import Any

import torch

from harness.benching import Case, Contender, Problem, bench, goal

ELEMENTS = 2**27  # the same in every case: 256 MB in and 256 MB out, far beyond any L2 cache
COLUMNS = (1024, 2048, 4096, 8192, 16_384, 32_768, 65_536)


def _liger() -> Callable[..., Any]:
    from liger_kernel.ops.softmax import LigerSoftmaxFunction

    return LigerSoftmaxFunction.apply


@bench(
    "softmax",
    unit="GB/s",
    cases=[Case(rows=ELEMENTS // columns, columns=columns) for columns in COLUMNS],
    goals=[
        # From 32,768 columns on a row fills the registers of a multiprocessor, and nothing is left
        # to run while it waits for memory: such rows are day 14's.
        goal(at_least=0.97, of="copy", columns=range(1024, 16_385)),
    ],
)
def softmax(case: Case) -> Problem:
    rows, columns = case.rows, case.columns
    return Problem(
        inputs=lambda rng: (rng.normal(rows, columns, dtype=torch.bfloat16),),
        oracle=lambda x: torch.softmax(x.double(), dim=-1),
        tolerance={"dtype": torch.bfloat16, "terms": columns},
        bytes=2 * rows * columns * torch.bfloat16.itemsize,  # x read once, y written once
        flops=5 * rows * columns,  # max, subtract, exp, sum, divide
        peers={
            "torch": lambda x: torch.softmax(x, dim=-1),
            "liger": Contender(load=_liger, needs=["liger_kernel"], gpu=True),
        },
    )
