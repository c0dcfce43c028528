"""Dropout against the copy bandwidth, and against torch with a mask that was made before."""

from collections.abc import Callable
from typing import Any

import torch

from harness.benching import Case, Contender, Problem, bench, goal

P, SEED = 0.1, 20_240_229_017
CASES = [
    Case(rows=rows, columns=4096, dtype=dtype)
    for dtype in (torch.bfloat16, torch.float32)
    for rows in (4096, 32_768)
]
GOALS = [
    goal(at_least=0.97, of="copy", rows=32_768),
    goal(at_least=1.0, of="torch", rows=32_768),
]


def _uniform(n: int, device: torch.device) -> torch.Tensor:
    """The stream of the seed: Philox-4x32 with 10 rounds, in int64."""
    low = 2**32 - 1
    counter = torch.arange((n + 3) // 4, device=device)
    c = [counter, *(torch.zeros_like(counter) for _ in range(3))]
    key = [SEED & low, SEED >> 32]
    for _ in range(10):
        a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]  # modulo 2**64
        c = [b >> 32 & low ^ c[1] ^ key[0], b & low, a >> 32 & low ^ c[3] ^ key[1], a & low]
        key = [key[0] + 0x9E3779B9 & low, key[1] + 0xBB67AE85 & low]
    word = torch.stack(c, dim=-1).flatten()[:n]
    folded = torch.where(word < 2**31, word, low - word)
    return folded.float() * torch.tensor(4.6566127342e-10, device=device)


def _mask(x: torch.Tensor) -> torch.Tensor:
    keep = _uniform(x.numel(), x.device) >= torch.tensor(P, device=x.device)
    return keep.view(x.shape)


def _masked() -> Callable[..., Any]:
    """What torch does with a mask: its own dropout makes another one, and writes it besides.

    So it moves the same bytes as torch's dropout and makes no random numbers: a time that torch's
    dropout cannot beat.
    """
    return lambda x, mask: torch.ops.aten.native_dropout_backward(x, mask, 1 / (1 - P))


def _masked_residual() -> Callable[..., Any]:
    masked = _masked()
    return lambda x, r, mask: r + masked(x, mask)


@bench("dropout", unit="GB/s", cases=CASES, goals=GOALS)
def dropout(case: Case) -> Problem:
    n = case.rows * case.columns
    return Problem(
        inputs=lambda rng: (rng.normal(case.rows, case.columns, dtype=case.dtype), P, SEED),
        oracle=lambda x, p, seed: torch.where(_mask(x), x.double() / (1 - p), 0.0),
        tolerance={"dtype": case.dtype},
        bytes=2 * n * case.dtype.itemsize,  # x read once, out written once
        flops=n,
        peers={"torch": Contender(_masked(), prepare=lambda x, p, seed: (x, _mask(x)))},
    )


@bench("dropout_residual", unit="GB/s", cases=CASES, goals=GOALS)
def dropout_residual(case: Case) -> Problem:
    shape, n = (case.rows, case.columns), case.rows * case.columns
    # Torch rounds what is kept to the inputs' dtype before it adds.
    eps = torch.finfo(case.dtype).eps
    return Problem(
        inputs=lambda rng: (*(rng.normal(*shape, dtype=case.dtype) for _ in range(2)), P, SEED),
        oracle=lambda x, r, p, seed: r.double() + torch.where(_mask(x), x.double() / (1 - p), 0.0),
        tolerance={"dtype": case.dtype, "scale": eps / 2**-23},
        bytes=3 * n * case.dtype.itemsize,  # x and r read, out written
        flops=2 * n,
        peers={
            "torch": Contender(_masked_residual(), prepare=lambda x, r, p, seed: (x, r, _mask(x)))
        },
    )
