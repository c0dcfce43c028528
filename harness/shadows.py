"""Files that hide a package: Python looks in the project's folder first, so a ``torch.py`` there is
what ``import torch`` finds, and what fails then names neither."""

from __future__ import annotations

import os
import sys

# What the project and its days import, by the names they are imported under.
PACKAGES = frozenset(
    "click google hypothesis jinja2 matplotlib ml_dtypes mpmath numpy packaging PIL pluggy psutil "
    "pygments pylatexenc pynvml pytest rich safetensors scipy sklearn sympy torch transformers "
    "triton typer typing_extensions watchfiles xdist yaml".split()
)


def clear_path(root: str) -> None:
    """Take the folder of the tracks, and those in it, off the path: ``tracks/triton`` is not the
    package triton. They come there when Python is started in them."""
    tracks = os.path.realpath(os.path.join(root, "tracks")) + os.sep
    sys.path[:] = [
        entry
        for entry in sys.path
        if not (os.path.realpath(entry or ".") + os.sep).startswith(tracks)
    ]


def shadowing(root: str) -> list[str]:
    """What in the project's folder hides one of PACKAGES, or a module of Python's own."""
    known = PACKAGES | set(sys.stdlib_module_names)
    found = []
    for entry in os.scandir(root):
        name, ending = os.path.splitext(entry.name)
        is_package = entry.is_dir() and os.path.exists(os.path.join(entry.path, "__init__.py"))
        if name in known and (ending == ".py" or (not ending and is_package)):
            found.append(entry.path)
    return sorted(found)


def shadow_sentence(root: str) -> str:
    """What to say of them; "" where there are none."""
    names = [os.path.basename(path) for path in shadowing(root)]
    if not names:
        return ""
    hidden = ", ".join(os.path.splitext(name)[0] for name in names)
    return f"{', '.join(names)} in {root} hides Python's {hidden}: rename it, or move it elsewhere."
