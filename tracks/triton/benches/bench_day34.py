"""Flash backward against the backward passes of torch's attention, each backend pinned by name.

The forward passes run outside the clock. Useful FLOPs are counted: five products for every score
that is seen, as FlashAttention's papers count them; a kernel that computes scores twice gets no
credit for it.
"""

from typing import Any

import torch

from harness.benching import Case, Contender, Problem, bench, goal, sdpa

BF16 = torch.bfloat16
LENGTHS = (1024, 2048, 4096, 8192, 16_384)
# tokens: in all texts together. width: elements of q in all heads together.
CASES = [
    Case(tokens=16_384, keys=n, width=2048, dim=dim, group=1, causal=causal)
    for causal in (False, True)
    for dim in (64, 128)
    for n in LENGTHS
]
SHARED = [
    Case(tokens=16_384, keys=4096, width=4096, dim=128, group=group, causal=True)
    for group in (1, 4, 32)
]


def seen(queries: int, keys: int, causal: bool) -> int:
    """Scores of a head that count."""
    return queries * (queries + 1) // 2 if causal else queries * keys


def oracle(causal: bool) -> Any:
    def gradients(
        q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, do: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """In float64, a head and some queries at a time: all scores would not fit."""
        dq, dk, dv = (torch.zeros(x.shape, dtype=torch.float64, device=x.device) for x in (q, k, v))
        group, n, scale = q.shape[1] // k.shape[1], q.shape[2], q.shape[3] ** -0.5
        for b in range(q.shape[0]):
            for h in range(q.shape[1]):
                keys, values = (x[b, h // group].double() for x in (k, v))
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
                    dk[b, h // group] += ds.T @ queries
                    dv[b, h // group] += p.T @ up
        return dq, dk, dv

    return gradients


def forward(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, causal: bool) -> tuple[Any, ...]:
    """o and lse, as day 32 returns them: in float32, a head at a time."""
    o = torch.empty_like(q)
    lse = torch.empty(q.shape[:3], dtype=torch.float32, device=q.device)
    group = q.shape[1] // k.shape[1]
    for b in range(q.shape[0]):
        for h in range(q.shape[1]):
            s = q[b, h].float() @ k[b, h // group].float().T * q.shape[3] ** -0.5
            if causal:
                s += torch.full_like(s, -torch.inf).triu(1)
            lse[b, h] = s.logsumexp(-1)
            o[b, h] = (s.softmax(-1) @ v[b, h // group].float()).to(o.dtype)
    return o, lse


def pinned(backend: str, causal: bool, gqa: bool) -> Contender:
    """The backward pass alone: the forward pass and its graph are made outside the clock."""
    load = sdpa(backend, causal=causal, gqa=gqa).load
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
    cases=[*CASES, *SHARED],
    goals=[
        goal(at_least=0.85, of="cudnn", dim=128, keys=range(4096, 16_385)),
        goal(at_least=1.6, of="flash", dim=128, keys=range(4096, 16_385)),
    ],
)
def flash_attention_backward(case: Case) -> Problem:
    """group: heads of q that share a head of k and v."""
    n, d, group, causal = case.keys, case.dim, case.group, case.causal
    b, kv_heads = max(case.tokens // n, 1), max(case.width // d // group, 1)
    h = kv_heads * group
    return Problem(
        inputs=lambda rng: (
            rng.normal(b, h, n, d, dtype=BF16),
            *(rng.normal(b, kv_heads, n, d, dtype=BF16) for _ in "kv"),
            rng.normal(b, h, n, d, dtype=BF16),
        ),
        oracle=oracle(causal),
        # Weights, dS and o are rounded to bfloat16 on their way to products. The first queries of a
        # causal mask see few keys, and their gradients have the size of 1.
        tolerance={"dtype": BF16, "scale": 2.0**16 * (1 if causal else 2 / n**0.5)},
        # q, k, v, o, do, lse read and dq, dk, dv written once each
        bytes=b * n * (4 * h + 4 * kv_heads) * d * BF16.itemsize + 4 * b * h * n,
        flops=10 * b * h * d * seen(n, n, causal),
        ours=lambda day: Contender(
            lambda q, k, v, o, lse, do: day.flash_attention_backward(q, k, v, o, lse, do, causal),
            prepare=lambda q, k, v, do: (q, k, v, *forward(q, k, v, causal), do),
        ),
        peers={
            "flash": pinned("flash", causal, group > 1),
            "cudnn": pinned("cudnn", causal, group > 1),
        },
        compile=False,  # it would compile a call of autograd, not the gradient
    )
