"""Draws day05_walks.svg: what four methods of a module reach in its tree, and what they miss.

python -m tracks.pytorch.lessons.figures.day05_walks
"""

from __future__ import annotations

import torch
from torch import nn

from harness.figures import Step, Stepped


class Scale(nn.Module):
    """The lesson's."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.ones(n))
        self.register_buffer("seen", torch.tensor(0))
        self.inner = nn.Tanh()
        self.notes = torch.zeros(n)


class Hidden(nn.Module):
    """The lesson's: layers in a plain list."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = [nn.Linear(2, 2), nn.Linear(2, 2)]


def main() -> None:
    model = nn.Sequential(Scale(4), nn.Sequential(nn.Linear(4, 2, bias=False), Scale(2)), Hidden())
    names = {id(t): name for name, t in model.state_dict(keep_vars=True).items()}
    parameters = {id(p) for p in model.parameters()}
    figure = Stepped(__file__, height=232)
    step = figure.step(
        f"state_dict() finds {len(names)} tensors, and the path to each is its name. What is "
        "dashed is in no dictionary."
    )
    draw(step, model, "state_dict()", lambda t: (names.get(id(t), ""), id(t) in names))
    step = figure.step(
        f"parameters() finds {len(parameters)} of them: what an optimizer will change. A buffer "
        "is none."
    )
    draw(step, model, "parameters()", lambda t: (names.get(id(t), ""), id(t) in parameters))
    model.to("meta")
    step = figure.step(
        'to("meta") moves parameters and buffers. What nobody filed stays on the CPU.'
    )
    draw(step, model, 'to("meta")', lambda t: (t.device.type, t.device.type == "meta"))
    model.eval()
    step = figure.step(
        "eval() sets a flag at each module and touches no tensor. The two layers in the list "
        "still train."
    )
    draw(step, model, "eval()", lambda t: ("", False), modes=True)
    figure.save()


def draw(step: Step, model: nn.Module, title: str, look, modes: bool = False) -> None:
    step.text(8, 16, f"model.{title}", "start", bold=True)
    for line, (path, module) in enumerate(model.named_modules()):
        y = 26 + 25 * line
        depth = path.count(".") + 1 if path else 0
        name = f"{path.rpartition('.')[2]} {type(module).__name__}" if path else "model"
        done = modes and not module.training
        step.box(8 + 12 * depth, y, 92, 22, name, "b" if done else "n", done)
        if modes:
            step.text(142, y + 15, f"training = {module.training}", "start")
        members = {**module._parameters, **module._buffers, **vars(module)}
        tensors = {n: t for n, t in members.items() if isinstance(t, torch.Tensor)}
        for place, (name, tensor) in enumerate(() if modes else tensors.items()):
            text, reached = look(tensor)
            step.box(142 + 70 * place, y, 70, 22, text or name, "c" if reached else "x", reached)
        if isinstance(module, Hidden):
            inside = module.layers[0]
            if modes:
                step.box(252, y, 104, 22, f"in the list: {inside.training}", "x")
            else:
                text, _ = look(inside.weight)
                step.box(142, y, 140, 22, f"[Linear, Linear] {text}".strip(), "x")


if __name__ == "__main__":
    main()
