"""Cross-entropy with its gradient, from a language model's logits."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from harness.benching import Case, Contender, Problem, bench, goal


def _gradient_too(mean_loss: Callable[..., torch.Tensor]) -> Callable[..., Any]:
    """Loss and gradient by autograd, from a function that has the loss."""

    def both(logits: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        loss = mean_loss(logits, targets)
        (dlogits,) = torch.autograd.grad(loss, logits)
        return loss.detach(), dlogits

    return both


def _needs_gradient(logits: torch.Tensor, targets: torch.Tensor) -> tuple[Any, ...]:
    return logits.detach().requires_grad_(), targets


def _oracle(logits: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    logits = logits.detach().double()
    loss = F.cross_entropy(logits, targets)
    dlogits = logits.softmax(-1)
    dlogits[torch.arange(len(targets), device=targets.device), targets] -= 1.0
    return loss, dlogits.div_(len(targets))


def _compiled() -> Callable[..., Any]:
    torch.compiler.reset()  # another case would count against the limit of recompilations
    return _gradient_too(torch.compile(F.cross_entropy, dynamic=False))


def _liger() -> Callable[..., Any]:
    from liger_kernel.ops.cross_entropy import LigerCrossEntropyFunction

    # No weights; the first of its results is the loss. The gradient overwrites the logits.
    return _gradient_too(
        lambda logits, targets: LigerCrossEntropyFunction.apply(logits, targets, None)[0]
    )


@bench(
    "cross_entropy",
    unit="GB/s",
    cases=[Case(rows=4096, columns=columns) for columns in (4096, 32_768)],
    cpu_cases=[Case(rows=256, columns=columns) for columns in (1024, 8192)],
    goals=[goal(at_least=0.6, of="torch")],
)
def cross_entropy(case: Case) -> Problem:
    rows, columns = case.rows, case.columns
    return Problem(
        inputs=lambda rng: (rng.normal(rows, columns, std=2.0), rng.integers(0, columns, rows)),
        oracle=_oracle,
        tolerance={"terms": columns, "factor": 16.0},
        bytes=2 * rows * columns * 4,  # one read of the logits, one write of the gradient
        flops=8 * rows * columns,
        ours=lambda day: Contender(_gradient_too(day.cross_entropy), prepare=_needs_gradient),
        peers={
            "torch": Contender(_gradient_too(F.cross_entropy), prepare=_needs_gradient),
            "compile": Contender(load=_compiled, prepare=_needs_gradient),
            "liger": Contender(
                load=_liger, needs=["liger_kernel"], prepare=_needs_gradient, gpu=True
            ),
        },
        compile=False,  # the loss alone is compiled: autograd compiles the gradient with it
        inplace=True,  # Liger's gradient takes the place of the logits
    )
