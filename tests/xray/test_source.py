"""What is cut out of a file for a kernel, and when its fingerprint changes."""

import ast

from harness.kernels.xray.source import cut, days_used, fingerprint

FILE = """
from __future__ import annotations
import torch
import triton, triton.language as tl
from math import pi
SCALE = tl.constexpr(2)
OTHER = torch.zeros(3)

def unused(x: torch.Tensor): return x

@triton.jit
def helper(x): return x * SCALE

@triton.autotune(make_configs(), key=[])
@triton.jit
def kernel(x, BLOCK: tl.constexpr):
    tl.store(x, helper(1.0))

def launch(x):
    kernel[(1,)](x, 3)
"""


def names(text, kernel="kernel"):
    part = cut(text, kernel)
    return [ast.unparse(statement).splitlines()[0] for statement in part.statements]


def test_only_what_the_kernel_reaches():
    assert names(FILE) == [
        "from __future__ import annotations",
        "import triton, triton.language as tl",
        "SCALE = tl.constexpr(2)",
        "@triton.jit",
        "@triton.jit",
    ]


def test_a_kernel_that_is_not_at_the_top_level_needs_the_whole_file():
    assert cut(FILE, "missing") is None
    assert cut("kernel = triton.jit(make())", "kernel") is None


def test_a_name_bound_in_a_branch_is_kept_with_its_branch():
    text = FILE.replace("SCALE = tl.constexpr(2)", "if pi > 3:\n    SCALE = tl.constexpr(2)")
    assert "if pi > 3:" in names(text)
    assert "from math import pi" in names(text)


def test_fingerprint_follows_the_kernel_and_its_helpers_only(tmp_path):
    file = tmp_path / "day.py"

    def of(text):
        file.write_text(text)
        return fingerprint(str(file), "kernel", {})

    first = of(FILE)
    assert of(FILE.replace("kernel[(1,)](x, 3)", "kernel[(1,)](x, 4)")) == first
    assert of(FILE.replace("x * SCALE", "x + SCALE")) != first
    assert of(FILE.replace("constexpr(2)", "constexpr(3)")) != first
    assert of("\n" + FILE) != first  # lines moved: the report names lines


def test_fingerprint_follows_the_days_that_are_imported(tmp_path, monkeypatch):
    (tmp_path / "tracks").mkdir()
    day = tmp_path / "tracks" / "daily_helper.py"
    day.write_text("A = 1\n")
    file = tmp_path / "day.py"
    file.write_text(
        FILE.replace("from math import pi", "from tracks import daily_helper").replace(
            "x * SCALE", "x * daily_helper.A"
        )
    )
    found = {"tracks.daily_helper": day}
    monkeypatch.setattr("harness.kernels.xray.source._module_file", found.get)
    days = days_used(str(file), "kernel")
    assert days == {"tracks.daily_helper": str(day)}
    first = fingerprint(str(file), "kernel", days)
    day.write_text("A = 2\n")
    assert fingerprint(str(file), "kernel", days) != first
