"""One step of AdamW: a loop over parameters, beside torch's loop, its lists and its one kernel."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from harness.benching import Case, Contender, Problem, bench, goal

STEPS = 2  # one in prepare, which makes the state; one on the clock


def _contender(make: Callable[[list[nn.Parameter]], torch.optim.Optimizer]) -> Contender:
    def prepare(weights: torch.Tensor, grads: torch.Tensor) -> tuple[Any, ...]:
        parameters = [nn.Parameter(weight.clone()) for weight in weights]
        for parameter, grad in zip(parameters, grads, strict=True):
            parameter.grad = grad
        optimizer = make(parameters)
        optimizer.step()
        return optimizer, parameters

    def call(optimizer: Any, parameters: list[nn.Parameter]) -> list[torch.Tensor]:
        optimizer.step()
        return [parameter.detach() for parameter in parameters]

    return Contender(call, prepare=prepare)


def _oracle(weights: torch.Tensor, grads: torch.Tensor) -> list[torch.Tensor]:
    parameters = [nn.Parameter(weight) for weight in weights.double()]
    for parameter, grad in zip(parameters, grads.double(), strict=True):
        parameter.grad = grad
    optimizer = torch.optim.AdamW(parameters, lr=1e-3)
    for _ in range(STEPS):
        optimizer.step()
    return [parameter.detach() for parameter in parameters]


# Many small tensors cost launches (or calls), a few large ones cost bytes.
@bench(
    "AdamW",
    unit="GB/s",
    cases=[Case(tensors=t, n=n) for t, n in ((256, 4096), (64, 2**20), (4, 2**24))],
    cpu_cases=[Case(tensors=t, n=n) for t, n in ((64, 256), (16, 65_536), (2, 2**20))],
    goals=[goal(at_least=0.9, of="torch")],
)
def adamw(case: Case) -> Problem:
    tensors, n = case.tensors, case.n

    def torchs(**how: bool) -> Contender:
        return _contender(lambda p: torch.optim.AdamW(p, lr=1e-3, **how))

    return Problem(
        inputs=lambda rng: (rng.normal(tensors, n), rng.normal(tensors, n)),
        oracle=_oracle,
        tolerance={"dtype": torch.float32, "terms": 4, "scale": 1.0},
        bytes=7 * tensors * n * 4,  # p, g, m, v read; p, m, v written
        flops=14 * tensors * n,
        ours=lambda day: _contender(lambda p: day.AdamW(p, lr=1e-3)),
        peers={
            "torch": torchs(foreach=False, fused=False),  # parameter by parameter, as we do
            "torch foreach": torchs(foreach=True),
            "torch fused": torchs(fused=True),
        },
        compile=False,
    )
