"""Draws day29_walk.svg: the walk over a model's tree, and the two lists of names.

python -m tracks.autodiff.lessons.figures.day29_walk
"""

from __future__ import annotations

import numpy as np

from harness.figures import Step, Stepped, reference


def main() -> None:
    day29 = reference("autodiff", 29)

    class Part(day29.Module):
        pass

    def part(**members) -> Part:
        made = Part()
        for name, value in members.items():
            setattr(made, name, value)
        return made

    shared = day29.Parameter(np.zeros((100, 8)))
    inner = part(scale=day29.Parameter(np.ones(8)))
    inner.register_buffer("mean", day29.Tensor(np.zeros(8)))
    model = part(
        embed=part(weight=shared),
        body=day29.Sequential(inner),
        head=part(weight=shared, bias=day29.Parameter(np.zeros(100))),
    )
    walked = [name for name, _ in model.named_modules()]
    parameters, state = [n for n, _ in model.named_parameters()], list(model.state_dict())
    figure = Stepped(__file__, height=176)
    for now, module in enumerate(walked):
        seen = walked[: now + 1]
        own = [name for name in state if name.rpartition(".")[0] == module]
        first = [name.rpartition(".")[2] for name in own if name in parameters]
        again = [n.rpartition(".")[2] for n in own if n.endswith("weight") and n not in parameters]
        caption = f"{module or 'model'}: "
        caption += (
            f"owns {' and '.join(n.rpartition('.')[2] for n in own)}."
            if own
            else "owns nothing itself."
        )
        if again:
            caption += (
                f" Its {again[0]} was met before: the state has it twice, the parameters once."
            )
        elif own and len(first) < len(own):
            caption += " A buffer is in the state and is no parameter."
        draw(figure.step(caption), walked, seen, parameters, state)
    figure.save()


def draw(
    step: Step, walked: list[str], seen: list[str], parameters: list[str], state: list[str]
) -> None:
    step.text(10, 16, "modules", "start", bold=True)
    for line, module in enumerate(walked):
        depth = module.count(".") + 1 if module else 0
        kind = "b" if module == seen[-1] else "a" if module in seen else "n"
        name = module.rpartition(".")[2] or "model"
        step.box(10 + 14 * depth, 24 + 28 * line, 60, 24, name, kind, kind == "b")
    for x, title, names in ((132, "parameters", parameters), (246, "state_dict", state)):
        step.text(x, 16, title, "start", bold=True)
        reached = [name for name in names if name.rpartition(".")[0] in seen]
        for line, name in enumerate(reached):
            now = name.rpartition(".")[0] == seen[-1]
            step.box(x, 24 + 28 * line, 106, 24, name, "c", now)


if __name__ == "__main__":
    main()
