"""A step of decoding against the machine's own copy bandwidth: how near is day 25's bound?"""

from typing import Any

import torch

from harness.benching import Case, Contender, Problem, bench, goal

VOCAB, LAYERS, KV_HEADS = 64, 4, 2


# The bytes are step_bytes', in whole: weights once, keys and values of every sequence. The step is
# Model's, which is given: what is timed is the bound, not your answer.
@bench(
    "decode_time_bound",
    unit="GB/s",
    cases=[Case(batch=b, cached=n, dim=2048) for b, n in ((1, 127), (1, 8191), (16, 2047))],
    cpu_cases=[Case(batch=b, cached=n, dim=512) for b, n in ((1, 127), (1, 2047), (8, 511))],
    goals=[goal(at_least=0.3, of="copy", batch=1, cached=[127])],
)
def decode_time_bound(case: Case) -> Problem:
    batch, cached, dim = case.batch, case.cached, case.dim
    heads, d, hidden = dim // 64, 64, 4 * dim
    dtype = torch.bfloat16 if torch.cuda.is_available() else torch.float32
    inner, shared = heads * d, KV_HEADS * d
    layer = 2 * dim * (inner + shared) + 3 * dim * hidden + 2 * dim
    read = LAYERS * layer + dim + VOCAB * dim + batch * dim
    kept = 2 * LAYERS * KV_HEADS * d * batch * (cached + 1)

    def inputs(rng: Any) -> tuple[torch.Tensor, ...]:
        ids = rng.integers(0, VOCAB, batch, 1)
        cache = rng.normal(LAYERS, 2, batch, KV_HEADS, cached + 1, d, dtype=dtype)
        return ids, cache, rng.normal(1 << 16, std=dim**-0.5, dtype=dtype)

    def filled(day: Any, numbers: torch.Tensor) -> torch.nn.Module:
        """A model whose weights repeat the given numbers; its norms stay as they are."""
        sizes = (VOCAB, dim, LAYERS, heads, KV_HEADS, d, hidden)
        with torch.device(numbers.device):
            model = day.Model(day.Config(*sizes, gated=True)).to(numbers.dtype)
        with torch.no_grad():
            for p in model.parameters():
                if p.dim() == 2:
                    times = -(-p.numel() // len(numbers))
                    p.copy_(numbers.repeat(times)[: p.numel()].view(p.shape))
        return model

    def made(day: Any) -> Contender:
        def prepare(*tensors: torch.Tensor) -> tuple[Any, ...]:
            ids, cache, numbers = tensors
            return filled(day, numbers), ids, cache.clone()

        def call(model: Any, ids: torch.Tensor, cache: torch.Tensor) -> Any:
            with torch.no_grad():
                return model(ids, cache=cache, cached=cached)

        return Contender(call, prepare=prepare)

    def oracle(ids: torch.Tensor, cache: torch.Tensor, numbers: torch.Tensor) -> Any:
        from tracks.pytorch import day25  # whose Model is given, in every version of the day

        model = filled(day25, numbers.double())
        with torch.no_grad():
            return model(ids, cache=cache.double(), cached=cached)

    return Problem(
        inputs=inputs,
        oracle=oracle,
        tolerance={"dtype": dtype, "terms": dim, "scale": 4.0 if dtype == torch.float32 else 160.0},
        bytes=(read + kept) * dtype.itemsize,
        flops=2 * batch * (read - LAYERS * 2 * dim) + 4 * batch * (cached + 1) * inner * LAYERS,
        ours=made,
        compile=False,
    )
