"""Attention that stores its scores, beside torch's, with each of its backends pinned by name."""

import torch
import torch.nn.functional as F

from harness.benching import Case, Problem, bench, goal, sdpa


# The scores are (length, length) for each head: written, read for the softmax, written, and read
# for the mixture. flash keeps a tile of them on the chip. Half precision is computed in float32
# here, because the exercise asks for it; the backends round the weights to the inputs' type.
@bench(
    "scaled_dot_product_attention",
    unit="FLOP/s",
    cases=[
        Case(batch=2, heads=16, length=n, d=64, causal=causal)
        for causal in (False, True)
        for n in (512, 2048)
    ],
    cpu_cases=[
        Case(batch=1, heads=4, length=n, d=32, causal=causal)
        for causal in (False, True)
        for n in (128, 512)
    ],
    goals=[goal(at_least=0.5, of="math", causal=False)],
)
def attention(case: Case) -> Problem:
    batch, heads, length, d, causal = case.batch, case.heads, case.length, case.d, case.causal
    # float16 as it is used; in float32 on a CPU, where half precision is slow.
    dtype = torch.float16 if torch.cuda.is_available() else torch.float32
    shape = (batch, heads, length, d)

    def oracle(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        scores = q.double() @ k.double().mT * d**-0.5
        if causal:
            hidden = torch.ones(length, length, dtype=torch.bool, device=q.device).triu(1)
            scores = scores.masked_fill(hidden, -torch.inf)
        return scores.softmax(-1) @ v.double()

    return Problem(
        inputs=lambda rng: tuple(rng.normal(*shape, dtype=dtype) for _ in range(3)),
        oracle=oracle,
        # Of mixtures of the size 0.1. The backends round the weights to half precision as well.
        tolerance={"dtype": dtype, "scale": 2048.0 if dtype == torch.float16 else 2.0},
        bytes=4 * batch * heads * length * d * dtype.itemsize,
        # Two products; of the causal scores half are never needed.
        flops=4 * batch * heads * length**2 * d // (2 if causal else 1),
        ours=lambda day: lambda q, k, v: day.scaled_dot_product_attention(q, k, v, causal=causal),
        peers={
            "torch": lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=causal),
            "math": sdpa("math", causal=causal),
            "flash": sdpa("flash", causal=causal),
            "efficient": sdpa("efficient", causal=causal),
            "cudnn": sdpa("cudnn", causal=causal),
        },
        compile=False,  # torch.compile leaves the operator as it is
    )
