"""One query a head against a long cache, beside the copy bandwidth and torch's attention.

The cache of keys and values is all that counts: its bytes are read once. Few texts need parts,
many do without. SDPA gets the same tensors with each backend pinned; one that refuses them, such as
grouped heads in some versions, is shown as a gap.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F

from harness.benching import Case, Problem, bench, goal, sdpa

BF16 = torch.bfloat16
STEP = 64  # keys that a program takes at a time, for heads of 128 elements
# texts, heads, heads of keys, keys: Llama 3 8B's heads, Llama 2 7B's, one head of keys for all.
FEW = ((1, 32, 8, 4096), (1, 32, 8, 16_384), (1, 32, 8, 131_072), (8, 32, 8, 8192))
PLAIN = ((4, 32, 32, 8192),)
ONE = ((16, 64, 1, 16_384),)
MANY = ((64, 32, 8, 4096), (128, 32, 8, 8192))


def cases(sizes: Any) -> list[Case]:
    return [Case(texts=b, heads=h, kv_heads=kv, keys=n, dim=128) for b, h, kv, n in sizes]


def multiprocessors() -> int:
    if not torch.cuda.is_available():
        return 132
    return torch.cuda.get_device_properties().multi_processor_count


def parts(case: Case) -> int:
    """Some four programs for each multiprocessor, none of them without a few steps."""
    steps = -(-case.keys // STEP)
    wanted = 4 * multiprocessors() // (case.texts * case.kv_heads)
    return max(min(wanted, steps // 4), 1)


def oracle(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """In float64, one text after the other: all at once would not fit beside the cache."""
    group = q.shape[1] // k.shape[1]
    out = []
    for one, keys, values in zip(q, k, v, strict=True):
        rows = one.double().view(k.shape[1], group, -1)
        p = (rows @ keys.double().mT * q.shape[-1] ** -0.5).softmax(-1)
        out.append((p @ values.double()).view(q.shape[1], 1, -1))
    return torch.stack(out)


def problem(case: Case, ours: Callable[[ModuleType], Callable[..., Any]]) -> Problem:
    b, h, kv, n, d = case.texts, case.heads, case.kv_heads, case.keys, case.dim
    shared = h != kv
    return Problem(
        inputs=lambda rng: (
            rng.normal(b, h, 1, d, dtype=BF16),
            *(rng.normal(b, kv, n, d, dtype=BF16) for _ in "kv"),
        ),
        oracle=oracle,
        # A mean of n values with weights like exp(normal) has the size of a few / sqrt(n); each
        # weight is rounded to bfloat16 on its way to the product.
        tolerance={"dtype": BF16, "scale": 2**16 * 2 / n**0.5},
        bytes=(2 * b * h * d + 2 * b * kv * n * d) * BF16.itemsize,  # q, k, v, the result, once
        flops=4 * b * h * n * d,
        ours=ours,
        peers={
            "torch": lambda q, k, v: F.scaled_dot_product_attention(q, k, v, enable_gqa=shared),
            "flash": sdpa("flash", gqa=shared),
            "efficient": sdpa("efficient", gqa=shared),
            "cudnn": sdpa("cudnn", gqa=shared),
            "math": sdpa("math", gqa=shared),
        },
        compile=False,  # torch.compile leaves the operator as it is
    )


@bench(
    "decode_attention_split",
    unit="GB/s",
    cases=cases((*FEW, *PLAIN, *ONE, *MANY)),
    goals=[
        # One text of up to 16,384 keys is 67 MB at most, which is over before the memory is busy
        # for long: it is compared with the peers only.
        goal(at_least=0.85, of="copy", texts=[4, 8, 16, 64, 128]),
        goal(at_least=0.85, of="copy", keys=131_072),
        *(goal(at_least=1.0, of=peer) for peer in ("flash", "efficient", "cudnn", "math")),
    ],
)
def decode_attention_split(case: Case) -> Problem:
    def ours(day: ModuleType) -> Callable[..., Any]:
        splits = parts(case)
        return lambda q, k, v: day.decode_attention_split(q, k, v, splits)

    return problem(case, ours)


@bench(
    "decode_attention",
    unit="GB/s",
    cases=cases(MANY),
    goals=[goal(at_least=0.85, of="copy"), goal(at_least=1.0, of="flash")],
)
def decode_attention(case: Case) -> Problem:
    return problem(case, lambda day: day.decode_attention)
