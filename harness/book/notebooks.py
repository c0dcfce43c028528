"""The notebooks for Colab, one a track: python -m harness.book.notebooks writes them.

They hold no exercise and no answer: they fetch the project, put a day's file into a cell, and grade
it. So they do not change when a day does.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from harness.curriculum import ROOT, Track, find_tracks

FOLDER = ROOT / "notebooks"

START = """# {title}

For those whose only GPU is a free one. In Colab: *Runtime*, *Change runtime type*, a GPU if there
is one, then run the cells from top to bottom. What you write lives on Colab's machine, and that is
deleted when you leave: download the day's file (the folder on the left) before you go.

A free T4 is `sm_75`. Triton supports `sm_80` and newer, and a T4 has neither bfloat16 nor TF32 in
its tensor cores. Where something needs more, the check below says so; `DEVICE=cpu` grades any day
without the GPU, kernels by Triton's interpreter."""

FETCH = """#@title Fetch the project
REPOSITORY = ""  #@param {type:"string"}
# owner/name on GitHub: the part of this notebook's address between github/ and /blob
import os
import subprocess
import sys

if not os.path.isdir("tracks"):
    if not REPOSITORY:
        raise SystemExit("Fill in REPOSITORY: the owner/name that this notebook came from.")
    folder = REPOSITORY.split("/")[1]
    if not os.path.isdir(folder):
        url = f"https://github.com/{REPOSITORY}"
        subprocess.run(["git", "clone", "--depth", "1", url, folder], check=True)
    os.chdir(folder)

# torch, triton, numpy and what is built on them are Colab's own; the rest is small.
OWN = {"torch", "triton", "numpy", "scipy", "scikit-learn", "matplotlib", "ruff", "mypy"}
with open("requirements.txt") as file:
    first = file.read().split("# What those need")[0].splitlines()
pins = [line for line in first if "==" in line and line.split("==")[0] not in OWN]
command = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", *pins]
subprocess.run(command, check=True)
print(f"In {os.getcwd()}")"""

CARD = """#@title Which GPU is this?
import torch

print("torch", torch.__version__)
if not torch.cuda.is_available():
    print("No GPU: days are checked on the CPU, and not timed.")
else:
    capability = torch.cuda.get_device_capability()
    print(torch.cuda.get_device_name(), "sm_%d%d" % capability)
    if capability < (8, 0):
        print("It is older than sm_80, which Triton asks for. If a kernel does not compile here,")
        print("or needs bfloat16 or TF32, set DEVICE to cpu below.")"""

EDIT = """#@title A day's file, in a new cell below
DAY = 1  #@param {{type:"integer"}}
path = f"tracks/{track}/day{{DAY:02d}}.py"
with open(path) as file:
    get_ipython().set_next_input(f"%%writefile {{path}}\\n{{file.read()}}")
print(f"Write your answers into the new cell and run it: it saves {{path}}.")"""

GRADE = """#@title Grade it
DEVICE = "auto"  #@param ["auto", "cuda", "cpu"]
!make {track} DAY={{DAY}} DEVICE={{DEVICE}} PYTHON={{sys.executable}}"""

HINT = """#@title The next hint, one deeper each time
!make hint TRACK={track} DAY={{DAY}} PYTHON={{sys.executable}}"""


def notebook_of(track: Track) -> dict[str, Any]:
    """The notebook as JSON: nbformat 4.5."""
    cells: list[dict[str, Any]] = [
        {"cell_type": "markdown", "metadata": {}, "source": _lines(START.format(title=track.title))}
    ]
    cells += [_code(FETCH), _code(CARD), _code(EDIT.format(track=track.name))]
    cells += [_code(text.format(track=track.name)) for text in (GRADE, HINT)]
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    return {
        "cells": cells,
        "metadata": {
            "accelerator": "GPU",
            "colab": {"gpuType": "T4", "provenance": []},
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def text_of(track: Track) -> str:
    return json.dumps(notebook_of(track), indent=1, ensure_ascii=False) + "\n"


def path_of(track: Track) -> Path:
    return FOLDER / f"{track.name}.ipynb"


def _code(text: str) -> dict[str, Any]:
    return {
        "cell_type": "code",
        "execution_count": None,
        "metadata": {},
        "outputs": [],
        "source": _lines(text),
    }


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for one in find_tracks():
        path_of(one).write_text(text_of(one), encoding="utf-8")
