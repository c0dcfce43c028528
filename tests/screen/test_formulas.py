"""Formulas in the terminal: they say what the TeX says, and Markdown eats nothing of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.curriculum import find_tracks
from harness.screen.formulas import plain, readable


@pytest.mark.parametrize(
    ("tex", "text"),
    [
        (r"\frac{e^{-x}}{1 + e^{-x}}", "(e^(-x))/(1 + e^(-x))"),
        (r"e^{x_k - m}", "e^(x_k - m)"),
        (r"e^{2u} - 1", "e^(2u) - 1"),
        (r"\frac{dy}{dx} = f'(u) \cdot h'(x)", "dy/dx = f'(u) · h'(x)"),
        (r"x \, \Phi(x)", "x Φ(x)"),
        (r"n x^{n-1}", "n x^(n-1)"),
        (r"10^{-45}", "10⁻⁴⁵"),
        (r"W_2 (W_1 x) = (W_2 W_1)\, x", "W₂ (W₁ x) = (W₂ W₁) x"),
        (r"\sqrt{\sigma^2 + \varepsilon}", "√(σ² + ε)"),
        (r"h \approx \sqrt[3]\varepsilon", "h ≈ ∛ε"),
        (r"-\tfrac12\delta", "-½δ"),
        (r"1 - \tanh^2 x", "1 - tanh² x"),
        (r"\log(1 + z)", "log(1 + z)"),
        (r"\overline{x^2} - \bar x^2", "mean(x²) - x̅²"),
        (r"\text{fan}_{\text{in}}", "fan_in"),
        (r"\text{KL}(p \,\|\, q)", "KL(p ‖ q)"),
        (r"\sum_{i=1}^{d} x_i", "∑_(i = 1)^d x_i"),
        (r"\lVert x \rVert", "‖x‖"),
        (r"\begin{pmatrix} a & -b \\ 2c & 0 \end{pmatrix} x", "(a, -b; 2c, 0) x"),
        (r"\begin{bmatrix} a \\ b \end{bmatrix}", "[a; b]"),
    ],
)
def test_a_formula_in_plain_characters(tex: str, text: str) -> None:
    assert plain(tex) == text


def test_a_page() -> None:
    page = (
        "The cost of `$HOME` is $5 and $x_1 * x_2 * \\alpha$.\n\n"
        "$$y = \\begin{cases} x & x > 0 \\\\ 0 & \\text{else} \\end{cases} \\qquad z = 1$$\n\n"
        "```python\nprint('$a^2$')\n```\n![A curve](figures/a.svg)\n"
    )
    shown = readable(page, Path("lessons"))
    assert "`$HOME` is $5 and `x₁ * x₂ * α`" in shown
    assert "`y = x, x > 0; 0, else`  \n`z = 1`" in shown
    assert "print('$a^2$')" in shown
    assert "(picture: A curve: lessons/figures/a.svg)" in shown


def test_no_line_of_a_paragraph_begins_a_list_by_accident() -> None:
    """As "a step of⏎1. Then" does, in GitHub's view of a lesson and in the terminal's."""
    begins = re.compile(r"(?:1[.)]|[-+*]) +\S")
    found = []
    for track in find_tracks():
        for day in track.days:
            text = re.sub(r"^```.*?^```", "", day.lesson.read_text("utf-8"), flags=re.M | re.S)
            for block in re.split(r"\n\s*\n", text):
                first, *others = block.strip("\n").split("\n")
                if not begins.match(first) and not first.startswith((" ", "|", ">")):
                    found += [f"{day.key}: {line}" for line in others if begins.match(line)]
    assert not found, found


def test_every_lesson_is_without_tex() -> None:
    left = []
    for track in find_tracks():
        for day in track.days:
            shown = readable(day.lesson.read_text(encoding="utf-8"), day.lesson.parent)
            text = re.sub(r"^```.*?^```", "", shown, flags=re.MULTILINE | re.DOTALL)
            left += [f"{day.key}: {m[0]}" for m in re.finditer(r"\\[a-zA-Z,;]+|\$\$", text)]
    assert not left
