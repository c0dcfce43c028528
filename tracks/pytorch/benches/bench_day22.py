"""Writing with a cache, beside writing without: the longer the text, the further apart."""

from typing import Any

import torch

from harness.benching import Case, Contender, Problem, bench, goal
from tracks.pytorch.day21 import GPT, greedy_decode

VOCAB, PROMPT = 256, 8


# Without a cache, step t computes t positions: quadratic in all. With it every position is computed
# once, at the price of steps that are small: on a small model what a step costs whatever its size
# hides the difference at first. On a GPU that is the time of its launches, which one short text
# never outgrows; many texts at once do. The unit is time, since the two do not do the same work.
@bench(
    "generate",
    unit="time",
    cases=[Case(new=n, texts=32, dim=1024, depth=2) for n in (64, 128, 256)],
    cpu_cases=[Case(new=n, texts=1, dim=128, depth=2) for n in (16, 64, 248)],
    goals=[goal(at_most=0.6, of="uncached", new=range(200, 2000))],
)
def generate(case: Case) -> Problem:
    new, dim, depth = case.new, case.dim, case.depth
    torch.manual_seed(0)
    # float64, so that no token is decided by rounding: one that differs changes all that follow.
    model = GPT(VOCAB, PROMPT + new, dim, depth, heads=dim // 32).double().eval()
    with torch.no_grad():
        for p in model.parameters():
            if p.dim() > 1:
                p.mul_(8.0)  # scores that differ

    def uncached(prompts: torch.Tensor) -> torch.Tensor:
        return greedy_decode(model.to(prompts.device), prompts, new)[:, PROMPT:]

    def placed(prompts: torch.Tensor) -> tuple[torch.Tensor]:
        model.to(prompts.device)
        return (prompts,)

    def ours(day: Any) -> Contender:
        def call(prompts: torch.Tensor) -> torch.Tensor:
            return torch.stack(list(day.generate(model, list(prompts), new)), 1)

        return Contender(call, prepare=placed)

    return Problem(
        inputs=lambda rng: (rng.integers(0, VOCAB, case.texts, PROMPT),),
        oracle=uncached,
        tolerance={},
        ours=ours,
        peers={"uncached": Contender(uncached, prepare=placed)},
        compile=False,
    )
