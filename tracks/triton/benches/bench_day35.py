"""flash_attention with autograd against torch's attention, each of its backends pinned by name.

The forward pass, and the two passes together as a training step has them. Useful FLOPs are counted:
those of the scores that are seen, two products forward and five backward. What is recomputed gets
no credit. With a window the FLOPs are those of the window: the same rate at every window means that
time grows with the window.
"""

from typing import Any

import torch

from harness.benching import Case, Contender, Problem, absent, bench, goal, sdpa

BF16 = torch.bfloat16
LENGTHS = (1024, 4096, 16_384)
# tokens: in all texts together. width: elements of q in all heads together.
CASES = [
    Case(tokens=16_384, keys=n, width=2048, dim=dim, causal=causal, window=0, train=train)
    for train in (False, True)
    for causal in (False, True)
    for dim in (64, 128)
    for n in LENGTHS
]
WINDOWS = [
    Case(tokens=16_384, keys=16_384, width=2048, dim=128, causal=True, window=window, train=train)
    for train in (False, True)
    for window in (256, 1024, 4096)
]


def mask(first: int, rows: int, n: int, case: Case, device: Any) -> torch.Tensor:
    """Which keys the queries from first on see."""
    i = torch.arange(first, min(first + rows, n), device=device)[:, None]
    j = torch.arange(n, device=device)
    seen = j <= i if case.causal else j >= 0
    return seen & (j > i - case.window) if case.window else seen


def scores(case: Case) -> int:
    """Scores of a head that count."""
    n, window = case.keys, case.window or case.keys
    if not case.causal:
        return n * n
    return window * (window + 1) // 2 + (n - window) * window


def results64(case: Case, gradients: bool) -> Any:
    """o, or o and the gradients, in float64, a head and some queries at a time."""

    def compute(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *up: torch.Tensor) -> Any:
        o, dq, dk, dv = (
            torch.zeros(x.shape, dtype=torch.float64, device=x.device) for x in (q, q, k, v)
        )
        scale = q.shape[3] ** -0.5
        for b in range(q.shape[0]):
            for h in range(q.shape[1]):
                keys, values = k[b, h].double(), v[b, h].double()
                for first in range(0, case.keys, 2048):
                    rows = slice(first, first + 2048)
                    queries = q[b, h, rows].double()
                    visible = mask(first, 2048, case.keys, case, q.device)
                    s = torch.where(visible, scale * queries @ keys.T, -torch.inf)
                    p = s.softmax(-1)
                    o[b, h, rows] = p @ values
                    if not gradients:
                        continue
                    do = up[0][b, h, rows].double()
                    dp = do @ values.T
                    ds = scale * p * (dp - (p * dp).sum(-1, keepdim=True))
                    dq[b, h, rows] = ds @ keys
                    dk[b, h] += ds.T @ queries
                    dv[b, h] += p.T @ do
        return (o, dq, dk, dv) if gradients else o

    return compute


def step(attention: Any) -> Any:
    """One forward and one backward pass: o, dq, dk, dv."""

    def both(leaves: list[torch.Tensor], do: torch.Tensor) -> tuple[torch.Tensor, ...]:
        o = attention(*leaves)
        return o.detach(), *torch.autograd.grad(o, leaves, do)

    return both


def leaves_of(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, do: torch.Tensor
) -> tuple[Any, ...]:
    return [x.detach().requires_grad_() for x in (q, k, v)], do


def peers(case: Case, size: int, train: bool) -> dict[str, Contender]:
    found = {}
    for backend in ("flash", "cudnn", "math"):
        peer = sdpa(backend, causal=case.causal)
        if case.window:
            peer = absent("this operator has no window")
        elif backend == "math" and size > 2**34:
            peer = absent(f"one matrix of its scores alone takes {size / 2**30:.0f} GiB")
        elif train:
            assert peer.load is not None
            peer = Contender(load=lambda load=peer.load: step(load()), prepare=leaves_of, gpu=True)
        found[backend] = peer
    return found


@bench(
    "flash_attention",
    unit="FLOP/s",
    cases=[*CASES, *WINDOWS],
    goals=[
        goal(at_least=0.85, of="cudnn", dim=128, keys=range(4096, 16_385), window=0),
        goal(at_least=1.6, of="flash", dim=128, keys=range(4096, 16_385), window=0),
    ],
)
def flash_attention(case: Case) -> Problem:
    """train: both passes, through autograd; else the forward pass through the operator."""
    n, d, train = case.keys, case.dim, case.train
    b, h = max(case.tokens // n, 1), max(case.width // d, 1)
    window = case.window or None
    operands = 4 if train else 3
    moved = 12 if train else 4  # q, k, v, o; backward q, k, v, o, do, and dq, dk, dv

    def ours(day: Any) -> Any:
        def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = day.flash_attention(q, k, v, case.causal, window=window)
            return out

        return Contender(step(attention), prepare=leaves_of) if train else attention

    few = 1 if case.causal else 2 / n**0.5
    return Problem(
        inputs=lambda rng: tuple(rng.normal(b, h, n, d, dtype=BF16) for _ in range(operands)),
        oracle=results64(case, train),
        # Weights, dS and o are rounded to bfloat16 on their way to products; the first queries of a
        # causal mask see few keys.
        tolerance={"dtype": BF16, "scale": 2.0**16 * few},
        bytes=moved * b * h * n * d * BF16.itemsize + (12 if train else 4) * b * h * n,
        flops=(14 if train else 4) * b * h * d * scores(case),
        ours=ours,
        peers=peers(case, 4 * b * h * n * n, train),
        compile=False,  # torch.compile leaves the operators as they are
    )
