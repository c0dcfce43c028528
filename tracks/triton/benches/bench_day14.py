"""Softmax of very long and very short rows, and cross-entropy over large vocabularies."""

from collections.abc import Callable
from typing import Any

import torch

from harness.benching import Case, Contender, Problem, bench, goal

ELEMENTS = 2**28  # 512 MB of bfloat16 logits in every case, far beyond any L2 cache
VOCABULARIES = (32_768, 131_072)
LONG = (16_384, 32_768, 65_536, 131_072, 262_144)
SHORT = (64, 256, 1024)


def _softmax(rows: int, columns: int) -> Problem:
    return Problem(
        inputs=lambda rng: (rng.normal(rows, columns, dtype=torch.bfloat16),),
        oracle=lambda x: torch.softmax(x.double(), dim=-1),
        tolerance={"dtype": torch.bfloat16, "terms": columns},
        bytes=2 * rows * columns * torch.bfloat16.itemsize,  # one read and one write
        flops=5 * rows * columns,  # max, subtract, exp, sum, multiply
        peers={"torch": lambda x: torch.softmax(x, dim=-1)},
    )


# The bytes count one read. Up to 65,536 columns a cache can serve the second: 132 multiprocessors
# with two rows of 128 KB are 35 MB. Beyond, it cannot: a second read from memory leaves 2 / 3.
@bench(
    "online_softmax",
    unit="GB/s",
    cases=[Case(rows=ELEMENTS // 2 // columns, columns=columns) for columns in LONG],
    goals=[
        goal(at_least=0.97, of="copy", columns=[16_384, 32_768]),
        goal(at_least=0.80, of="copy", columns=65_536),
        goal(at_least=0.60, of="copy", columns=[131_072, 262_144]),
    ],
)
def online_softmax(case: Case) -> Problem:
    return _softmax(case.rows, case.columns)


@bench(
    "softmax_many_rows",
    unit="GB/s",
    cases=[Case(rows=ELEMENTS // 2 // columns, columns=columns) for columns in SHORT],
    goals=[goal(at_least=0.97, of="copy", columns=SHORT)],
)
def softmax_many_rows(case: Case) -> Problem:
    return _softmax(case.rows, case.columns)


def _gradient_too(mean_loss: Callable[..., Any]) -> Callable[..., Any]:
    """Loss and gradient by autograd, from a function that has the loss."""

    def both(logits: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        loss = mean_loss(logits, targets)
        (dlogits,) = torch.autograd.grad(loss, logits)
        return loss.detach(), dlogits

    return both


def _needs_gradient(logits: torch.Tensor, targets: torch.Tensor) -> tuple[Any, ...]:
    return logits.detach().requires_grad_(), targets


def _in_float32(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.cross_entropy(logits.float(), targets)


def _compiled() -> Callable[..., Any]:
    torch.compiler.reset()  # another case would count against the limit of recompilations
    return _gradient_too(torch.compile(_in_float32, dynamic=False))


def _liger() -> Callable[..., Any]:
    from liger_kernel.ops.cross_entropy import LigerCrossEntropyFunction

    # No weights; the first of its results is the loss. The gradient overwrites the logits.
    return _gradient_too(
        lambda logits, targets: LigerCrossEntropyFunction.apply(logits, targets, None)[0]
    )


def _oracle(logits: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    logits = logits.detach().double()
    loss = torch.nn.functional.cross_entropy(logits, targets)
    dlogits = logits.softmax(-1)
    dlogits[torch.arange(len(targets), device=targets.device), targets] -= 1.0
    return loss, dlogits.div_(len(targets))


@bench(
    "cross_entropy",
    unit="GB/s",
    cases=[Case(rows=ELEMENTS // columns, columns=columns) for columns in VOCABULARIES],
    goals=[
        goal(at_least=2.0, of="liger"),
        # The bytes count one read and one write. Rows of 64 KB are still in a cache when they are
        # read again; of rows of 256 KB one a multiprocessor, 35 MB, nearly fills the L2 cache. A
        # second read from memory leaves 2 / 3 of the copy bandwidth; of that, 0.9.
        goal(at_least=0.90, of="copy", columns=32_768),
        goal(at_least=0.60, of="copy", columns=131_072),
    ],
)
def cross_entropy(case: Case) -> Problem:
    rows, columns = case.rows, case.columns
    return Problem(
        inputs=lambda rng: (
            rng.normal(rows, columns, dtype=torch.bfloat16, std=2),
            rng.integers(0, columns, rows),
        ),
        oracle=_oracle,
        tolerance={"terms": columns},
        bytes=2 * rows * columns * torch.bfloat16.itemsize,
        flops=8 * rows * columns,  # max, subtract, exp, sum; subtract, exp, multiply, multiply
        ours=lambda day: lambda logits, targets: day.cross_entropy(logits, targets, inplace=True),
        peers={
            "torch": Contender(_gradient_too(_in_float32), prepare=_needs_gradient),
            "compile": Contender(load=_compiled, prepare=_needs_gradient),
            "liger": Contender(
                load=_liger, needs=["liger_kernel"], prepare=_needs_gradient, gpu=True
            ),
        },
        compile=False,  # torch.compile has the loss only: autograd compiles the gradient with it
        inplace=True,
    )
