"""Flash backward in Gluon beside the backward passes of torch's attention, each backend pinned.

The forward passes run outside the clock. Useful FLOPs are counted: five products for every score
that is seen. All launches of a backward pass are in its time: terms, zeros, the pass, the rounding.
"""

from typing import Any

import torch

from harness.benching import Case, Contender, Problem, bench, goal, sdpa

BF16 = torch.bfloat16
LENGTHS = (2048, 4096, 8192, 16_384)
# tokens: in all texts together. width: elements of q in all heads together.
CASES = [
    Case(tokens=32_768, keys=n, width=2048, dim=dim, causal=causal)
    for causal in (False, True)
    for dim in (64, 128)
    for n in LENGTHS
]


def seen(n: int, causal: bool) -> int:
    """Scores of a head that count."""
    return n * (n + 1) // 2 if causal else n * n


def oracle(causal: bool) -> Any:
    def gradients(
        q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, do: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """In float64, a head and some queries at a time: all scores would not fit."""
        dq, dk, dv = (torch.zeros(x.shape, dtype=torch.float64, device=x.device) for x in (q, k, v))
        n, scale = q.shape[2], q.shape[3] ** -0.5
        for b in range(q.shape[0]):
            for h in range(q.shape[1]):
                keys, values = k[b, h].double(), v[b, h].double()
                for first in range(0, n, 2048):
                    rows = slice(first, first + 2048)
                    queries, up = q[b, h, rows].double(), do[b, h, rows].double()
                    s = queries @ keys.T * scale
                    if causal:
                        s += torch.full_like(s, -torch.inf).triu(first + 1)
                    p = s.softmax(-1)
                    dp = up @ values.T
                    ds = p * (dp - (p * dp).sum(-1, keepdim=True)) * scale
                    dq[b, h, rows] = ds @ keys
                    dk[b, h] += ds.T @ queries
                    dv[b, h] += p.T @ up
        return dq, dk, dv

    return gradients


def forward(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, causal: bool) -> tuple[Any, ...]:
    """o and lse, as the forward pass returns them: in float32, a head at a time."""
    o = torch.empty_like(q)
    lse = torch.empty(q.shape[:3], dtype=torch.float32, device=q.device)
    for b in range(q.shape[0]):
        for h in range(q.shape[1]):
            s = q[b, h].float() @ k[b, h].float().T * q.shape[3] ** -0.5
            if causal:
                s += torch.full_like(s, -torch.inf).triu(1)
            lse[b, h] = s.logsumexp(-1)
            o[b, h] = (s.softmax(-1) @ v[b, h].float()).to(o.dtype)
    return o, lse


def pinned(backend: str, causal: bool) -> Contender:
    """The backward pass alone: the forward pass and its graph are made outside the clock."""
    load = sdpa(backend, causal=causal).load
    assert load is not None

    def prepare(
        q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, do: torch.Tensor
    ) -> tuple[Any, ...]:
        leaves = [x.detach().requires_grad_() for x in (q, k, v)]
        return load()(*leaves), leaves, do

    def backward(o: torch.Tensor, leaves: list[torch.Tensor], do: torch.Tensor) -> tuple[Any, ...]:
        return torch.autograd.grad(o, leaves, do, retain_graph=True)

    return Contender(load=lambda: backward, prepare=prepare, gpu=True)


@bench(
    "flash_attention_backward",
    unit="FLOP/s",
    gpu="sm_90a",
    cases=CASES,
    goals=[goal(at_least=1.0, of="cudnn", keys=range(4096, 16_385))],
)
def flash_attention_backward(case: Case) -> Problem:
    # The TMA wants rows of a multiple of 16 bytes; verify makes the sizes small and odd.
    n, d, causal = case.keys, case.dim // 8 * 8, case.causal
    b, h = max(case.tokens // n, 1), max(case.width // d, 1)
    return Problem(
        inputs=lambda rng: tuple(rng.normal(b, h, n, d, dtype=BF16) for _ in range(4)),
        oracle=oracle(causal),
        # Weights, dS and o are rounded to bfloat16 on their way to products. The first queries of a
        # causal mask see few keys, and their gradients have the size of 1.
        tolerance={"dtype": BF16, "scale": 2.0**16 * (1 if causal else 2 / n**0.5)},
        # q, k, v, o, do, lse read and dq, dk, dv written once each
        bytes=8 * b * h * n * d * BF16.itemsize + 4 * b * h * n,
        flops=10 * b * h * d * seen(n, causal),
        ours=lambda day: Contender(
            lambda q, k, v, o, lse, do: day.flash_attention_backward(q, k, v, o, lse, do, causal),
            prepare=lambda q, k, v, do: (q, k, v, *forward(q, k, v, causal), do),
        ),
        peers={backend: pinned(backend, causal) for backend in ("cudnn", "flash")},
        compile=False,  # it would compile a call of autograd, not the gradient
    )
