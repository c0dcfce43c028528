"""An LSTM step by step in Python, beside torch's, whose loop runs inside one operator."""

from typing import Any

import torch
from torch import nn

from harness.benching import Case, Contender, Problem, bench, goal

NAMES = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")


# On a GPU a step is eleven launches from Python, whatever its size: the host is what is timed.
@bench(
    "LSTM",
    unit="FLOP/s",
    cases=[Case(batch=b, steps=128, hidden=h) for b, h in ((1, 256), (64, 256), (64, 1024))],
    cpu_cases=[Case(batch=b, steps=32, hidden=h) for b, h in ((1, 32), (16, 32), (16, 128))],
    goals=[goal(at_least=0.08, of="torch")],
)
def lstm(case: Case) -> Problem:
    batch, steps, hidden = case.batch, case.steps, case.hidden

    def inputs(rng: Any) -> tuple[torch.Tensor, ...]:
        bound = hidden**-0.5
        shapes = ((4 * hidden, hidden), (4 * hidden, hidden), (4 * hidden,), (4 * hidden,))
        weights = [rng.uniform(*shape, low=-bound, high=bound) for shape in shapes]
        return (rng.normal(batch, steps, hidden), *weights)

    def oracle(x: torch.Tensor, *weights: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Step by step in float64; the gates stand in torch's order, i, f, g, o."""
        x, w_ih, w_hh, b_ih, b_hh = (tensor.double() for tensor in (x, *weights))
        h = c = x.new_zeros(batch, hidden)
        outputs = []
        for t in range(steps):
            i, f, g, o = (x[:, t] @ w_ih.T + h @ w_hh.T + b_ih + b_hh).chunk(4, -1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            outputs.append(h)
        return torch.stack(outputs, 1), h, c

    def made(kind: Any, **options: Any) -> Contender:
        def prepare(x: torch.Tensor, *weights: torch.Tensor) -> tuple[Any, torch.Tensor]:
            layer = kind(hidden, hidden, **options).to(x.device)
            layer.load_state_dict(dict(zip(NAMES, weights, strict=True)))
            return layer, x

        def call(layer: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
            with torch.no_grad():
                out, (h, c) = layer(x)
            return out, h[0], c[0]

        return Contender(call, prepare=prepare)

    return Problem(
        inputs=inputs,
        oracle=oracle,
        tolerance={"dtype": torch.float32, "terms": steps * hidden, "scale": 0.1, "factor": 16.0},
        bytes=(batch * steps * 2 * hidden + 8 * hidden**2 + 8 * hidden) * 4,
        flops=16 * batch * steps * hidden**2,  # two products of 4 hidden² a step
        ours=lambda day: made(day.LSTM),
        peers={"torch": made(nn.LSTM, batch_first=True)},
        compile=False,  # Dynamo leaves an LSTM as it is
    )
