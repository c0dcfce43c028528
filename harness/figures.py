"""What the scripts of lessons' figures use: one style, a file that comes out equal, and references.

A figure is ``lessons/figures/dayNN_name.svg``, drawn by ``dayNN_name.py`` beside it:

    from harness.figures import new_figure, reference, save

    figure = new_figure(__file__, 8, 3)
    …
    save(figure, __file__)

Run a script from the project's root: ``python -m tracks.autodiff.lessons.figures.day01_error``.
With FIGURES_TO the files go into that folder: ``make verify`` compares them with the tree's.
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from harness.grading import finder
from harness.protocol import SOLUTION

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def reference(track: str, day: int) -> ModuleType:
    """The reference of a day; the days that it imports are references too."""
    finder.install()
    with finder.use(finder.Choice(impl=SOLUTION)):
        return importlib.import_module(f"tracks.{track}.day{day:02d}")


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
    path = Path(script).with_suffix(".svg")
    if folder := os.environ.get("FIGURES_TO"):
        path = Path(folder) / path.name
    figure.savefig(path, metadata={"Date": None, "Creator": None})
