"""What the scripts of lessons' figures use: one style, a file that comes out equal, and references.

A figure is ``lessons/figures/dayNN_name.svg``, drawn by ``dayNN_name.py`` beside it:

    from harness.figures import new_figure, reference, save

    figure = new_figure(__file__, 8, 3)
    …
    save(figure, __file__)

A figure that is stepped by hand in the book (and shows its first and last step elsewhere):

    figure = Stepped(__file__, height=120)
    step = figure.step("What this step shows, in a sentence.")
    step.row(10, 10, ["1", "2", ""], ["a", "a", "x"])
    …
    figure.save()

Run a script from the project's root: ``python -m tracks.autodiff.lessons.figures.day01_error``.
With FIGURES_TO the files go into that folder: ``make verify`` compares them with the tree's.
"""

from __future__ import annotations

import importlib
import math
import os
import textwrap
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from harness.curriculum import Day
from harness.grading import finder
from harness.protocol import SOLUTION

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def reference(track: str, day: int) -> ModuleType:
    """The reference of a day; the days that it imports are references too."""
    finder.install()
    with finder.use(finder.Choice(impl=SOLUTION)):
        return importlib.import_module(Day(track, day).module)


def new_figure(script: str, width: float, height: float) -> Figure:
    """An empty figure of that many inches, for light and dark pages: its ground is white."""
    import matplotlib
    from matplotlib.figure import Figure

    # Text stays text, and the same run gives the same file.
    settings = {"svg.hashsalt": Path(script).stem, "svg.fonttype": "none", "font.size": 10}
    matplotlib.rcParams.update(settings)
    return Figure(figsize=(width, height), facecolor="white", layout="constrained")


def save(figure: Figure, script: str) -> None:
    """Write the figure as an SVG beside its script, without the time or the program's version."""
    figure.savefig(_target(script), metadata={"Date": None, "Creator": None})


def _target(script: str) -> Path:
    path = Path(script).with_suffix(".svg")
    folder = os.environ.get("FIGURES_TO")
    return Path(folder) / path.name if folder else path


WIDTH = 360
"""Units across a stepped figure: about the pixels that a phone has for it, so text of 12 units is
readable there."""
LETTER = 6.3
"""Units of an average letter: what text is wider than its box is refused by."""
LINE = 16
KINDS = {
    "n": ("#ffffff", "#6b7280"),  # nothing special
    "a": ("#cfe3fa", "#1f5fa8"),
    "b": ("#fde2b8", "#8f5a00"),
    "c": ("#cdebd9", "#1d7a4c"),
    "d": ("#ead7f2", "#7b3f98"),
    "x": ("#e6e8eb", "#6b7280"),  # masked, missing, not there
}
"""Fill and edge on a white page. The book's style sheet has the same kinds for a dark one. No
picture says by colour alone what it says: the cells hold text, "x" is dashed."""
_STYLE = "".join(
    [
        ".steps text{font:12px sans-serif;fill:#1a1a1a;text-anchor:middle}",
        ".steps .start{text-anchor:start}.steps .end{text-anchor:end}",
        ".steps .bold{font-weight:bold}.steps .strong{stroke-width:2.5}",
        ".steps .line{fill:none;stroke:#1a1a1a}.steps .head{fill:#1a1a1a;stroke:none}",
        *(f".steps .{name}{{fill:{fill};stroke:{edge}}}" for name, (fill, edge) in KINDS.items()),
        ".steps .x{stroke-dasharray:3 2}",
    ]
)


class Stepped:
    """A figure of several steps, each drawn whole. Everything is in units, 360 of them across."""

    def __init__(self, script: str, height: float) -> None:
        self.script = script
        self.height = height
        self.steps: list[Step] = []

    def step(self, caption: str, says: str = "") -> Step:
        """The next step. ``caption`` stands below it; ``says`` is read aloud in place of the
        drawing, by default the caption."""
        if not caption.strip():
            raise ValueError(f"step {len(self.steps) + 1} of {self.script} has no caption")
        self.steps.append(Step(self.height, " ".join(caption.split()), " ".join(says.split())))
        return self.steps[-1]

    def save(self) -> None:
        """Write the SVG: by itself it shows the first and the last step, one above the other."""
        if len(self.steps) < 2:
            raise ValueError(f"{self.script} draws {len(self.steps)} steps: two at least")
        first, last = self.steps[0], self.steps[-1]
        below = first.total + LINE
        total = below + last.total
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" class="steps" width="{WIDTH * 4 // 3}"'
            f' viewBox="0 0 {WIDTH} {_n(total)}" data-height="{_n(self.height)}">',
            f"<style>{_STYLE}</style>",
            f'<rect class="ground" width="{WIDTH}" height="{_n(total)}" fill="#ffffff"/>',
        ]
        for step in self.steps:
            place = ""
            if step is last:
                place = f' transform="translate(0 {_n(below)})"'
            elif step is not first:
                place = ' display="none"'
            label = escape(step.says or step.caption)
            parts.append(f'<g class="step" role="img" aria-label="{label}"{place}>')
            parts += [*step.drawn, step.caption_lines(), "</g>"]
        _target(self.script).write_text("\n".join([*parts, "</svg>", ""]), encoding="utf-8")


class Step:
    """One drawing, ``height`` high, and its caption."""

    def __init__(self, height: float, caption: str, says: str) -> None:
        self.height = height
        self.caption = caption
        self.says = says
        self.drawn: list[str] = []

    @property
    def total(self) -> float:
        return self.height + LINE * len(self._wrapped()) + LINE / 2

    def _wrapped(self) -> list[str]:
        return textwrap.wrap(self.caption, int((WIDTH - 24) / LETTER))

    def caption_lines(self) -> str:
        lines = [
            f'<text class="start" x="6" y="{_n(self.height + LINE * i)}">{escape(line)}</text>'
            for i, line in enumerate(self._wrapped(), 1)
        ]
        return f'<g class="caption">{"".join(lines)}</g>'

    def box(
        self, x: float, y: float, width: float, height: float,
        text: str = "", kind: str = "n", strong: bool = False,
    ) -> None:  # fmt: skip
        """A rectangle with a text in its middle; ``strong`` edges say: this one, now."""
        if kind not in KINDS:
            raise ValueError(f"{kind} is no kind of box: {', '.join(KINDS)}")
        if min(x, y) < 0 or x + width > WIDTH or y + height > self.height:
            raise ValueError(f"a box at {x}, {y}, {width} x {height}, is not in the picture")
        if len(text) * LETTER > width + 4:
            raise ValueError(f"{text!r} is wider than its box of {width}")
        name = f"{kind} strong" if strong else kind
        self.drawn.append(
            f'<rect class="{name}" x="{_n(x)}" y="{_n(y)}" width="{_n(width)}"'
            f' height="{_n(height)}"/>'
        )
        if text:
            self.text(x + width / 2, y + height / 2 + 4, text)

    def row(
        self, x: float, y: float, texts: Iterable[object], kinds: Sequence[str] | str,
        width: float = 26, height: float = 22, strong: Iterable[int] = (),
    ) -> None:  # fmt: skip
        """Boxes side by side. ``kinds``: one for each, or one letter for all."""
        words = [str(text) for text in texts]
        names = kinds * len(words) if isinstance(kinds, str) and len(kinds) == 1 else kinds
        if len(names) != len(words):
            raise ValueError(f"{len(words)} boxes and {len(names)} kinds")
        now = set(strong)
        for i, (word, name) in enumerate(zip(words, names, strict=True)):
            self.box(x + i * width, y, width, height, word, name, i in now)

    def text(self, x: float, y: float, text: str, align: str = "", bold: bool = False) -> None:
        """One line. ``align``: "start" or "end" at x; by default its middle is there."""
        wide = len(text) * LETTER
        left = x - {"start": 0.0, "end": wide}.get(align, wide / 2)
        if left < -4 or left + wide > WIDTH + 4:
            raise ValueError(f"{text!r} at {x} is not in the picture")
        name = f"{align} bold".strip() if bold else align
        classes = f' class="{name}"' if name else ""
        self.drawn.append(f'<text{classes} x="{_n(x)}" y="{_n(y)}">{escape(text)}</text>')

    def arrow(self, x0: float, y0: float, x1: float, y1: float, head: bool = True) -> None:
        """A line from one point to another one, with a head there."""
        self.drawn.append(f'<path class="line" d="M{_n(x0)} {_n(y0)}L{_n(x1)} {_n(y1)}"/>')
        if head:
            angle = math.atan2(y1 - y0, x1 - x0)
            corners = [(x1, y1)] + [
                (x1 - 8 * math.cos(angle + turn), y1 - 8 * math.sin(angle + turn))
                for turn in (0.4, -0.4)
            ]
            points = " ".join(f"{_n(x)},{_n(y)}" for x, y in corners)
            self.drawn.append(f'<polygon class="head" points="{points}"/>')


def _n(value: float) -> str:
    """A coordinate with as many digits as can be seen."""
    return f"{value:.1f}".removesuffix(".0")
