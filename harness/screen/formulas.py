"""Formulas of lessons for a terminal: ``$\\frac{e^{-x}}{2}$`` becomes ``(e^(-x))/2``.

On a page GitHub renders the TeX. A terminal cannot, and Markdown would take its backslashes away.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

_FENCE = re.compile(r"^(```.*?^```[^\n]*$)", re.MULTILINE | re.DOTALL)
_INLINE_CODE = re.compile(r"(`[^`\n]+`)")
_DISPLAYED = re.compile(r"\$\$(.+?)\$\$", re.DOTALL)
_INLINE = re.compile(r"\$(?![\s$])([^$]+?)(?<!\s)\$")
_MATRIX = re.compile(r"\\begin\{([pb])matrix\}(.*?)\\end\{\1matrix\}", re.DOTALL)
_CASES = re.compile(r"\\begin\{cases\}(.*?)\\end\{cases\}", re.DOTALL)
_PICTURE = re.compile(r"!\[([^\]]*)\]\(([^)\s]+)\)")

_UP = str.maketrans("0123456789-+nT", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ⁿᵀ")
_DOWN = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
_SIMPLER = {
    "'''": "‴",
    "''": "″",
    "\\tfrac": "\\frac",
    " \\rvert": "\\rvert",
    " \\rVert": "\\rVert",
}
_NAMES = ("log", "exp", "sin", "cos", "tanh", "max", "min", "lim")
_SIZES = (
    "left",
    "right",
    "big",
    "Big",
    "bigg",
    "Bigg",
    "bigl",
    "bigr",
    "Bigl",
    "Bigr",
    "operatorname",
)
_SPACED = re.compile(r" *([·×≈≤≥≠←→⊙∘=<>]) *")


def readable(markdown: str, folder: Path) -> str:
    """A lesson with its formulas as plain characters, and its pictures (relative to ``folder``) as
    the names of their files. Code is left as it is."""
    parts = _FENCE.split(markdown)
    for i in range(0, len(parts), 2):  # every other part is code
        parts[i] = _DISPLAYED.sub(_on_lines_of_its_own, parts[i])
        pieces = _INLINE_CODE.split(parts[i])
        pieces[::2] = [_INLINE.sub(lambda m: f"`{plain(m[1])}`", piece) for piece in pieces[::2]]
        parts[i] = _PICTURE.sub(lambda m: f"(picture: {m[1]}: {folder / m[2]})", "".join(pieces))
    return "".join(parts)


def formulas_of(markdown: str) -> tuple[list[str], list[str]]:
    """The formulas of a lesson, and the lines outside code that keep a `$` without its partner."""
    formulas: list[str] = []

    def taken(match: re.Match[str]) -> str:
        formulas.append(match[1])
        return ""

    rest = "".join(_FENCE.split(markdown)[::2])
    rest = _INLINE_CODE.sub("", _DISPLAYED.sub(taken, rest))
    rest = "\n\n".join(_INLINE.sub(taken, paragraph) for paragraph in re.split(r"\n\s*\n", rest))
    return formulas, [line for line in rest.splitlines() if re.search(r"(?<!\\)\$", line)]


def unknown_commands(tex: str) -> list[str]:
    """The commands of a formula that `plain` has no characters for."""
    from pylatexenc.latexwalker import LatexWalker

    for sign, other in _SIMPLER.items():
        tex = tex.replace(sign, other)
    context = _translator().latex_context
    unknown: dict[str, None] = {}
    for name in re.findall(r"\\([A-Za-z]+)", tex):
        if name in ("begin", "end"):
            continue
        spec = context.get_macro_spec(name)
        if spec is None or not getattr(spec, "macroname", ""):
            unknown["\\" + name] = None
    try:
        LatexWalker(tex, tolerant_parsing=False).get_latex_nodes()
    except Exception as error:  # pylatexenc has several classes for what it cannot read
        if not unknown:
            unknown[str(error).splitlines()[0][:60]] = None
    return list(unknown)


def _on_lines_of_its_own(match: re.Match[str]) -> str:
    tex = _CASES.sub(lambda m: m[1].replace("&", ", ").replace("\\\\", "; "), match[1])
    lines = [plain(line) for line in tex.split("\\qquad")]
    return "\n\n" + "  \n".join(f"`{line}`" for line in lines if line) + "\n\n"


def plain(tex: str) -> str:
    """One formula in Unicode; what stands above or below a sign keeps its brackets:
    ``e^{a - b}`` is ``e^(a - b)``. A matrix is written in a row: (a, b; c, d)."""
    tex = _MATRIX.sub(_in_a_row, tex)
    for sign, other in _SIMPLER.items():
        tex = tex.replace(sign, other)
    text = _translator().latex_to_text(tex)
    text = re.sub(r"\^(?:\{([-+]?\d+|[nT])\}|(\d+|[nT])(?!\w))", _raised, text)
    text = re.sub(r"(?<=\w)_(?:\{(\d+)\}|(\d+)(?!\w))", _lowered, text)
    text = re.sub(r"([_^])\{([^{}\s]+)\}", _grouped, text)
    while text != (text := re.sub(r"([_^])\{([^{}]*)\}", r"\1(\2)", text)):
        pass
    text = _SPACED.sub(r" \1 ", re.sub(r"[{}]", "", text))
    text = re.sub(rf"\b({'|'.join(_NAMES)}) +(?=[(²³_\'])", r"\1", text)
    text = re.sub(r" ([,;])", r"\1", re.sub(r"(?<=\S)/ ", "/", text))
    return re.sub(r"\s+", " ", text).strip()


def _in_a_row(match: re.Match[str]) -> str:
    begin, end = "()" if match[1] == "p" else "[]"
    rows = [", ".join(map(str.strip, row.split("&"))) for row in match[2].split("\\\\")]
    return begin + "; ".join(rows) + end


def _raised(match: re.Match[str]) -> str:
    return (match[1] or match[2]).translate(_UP)


def _lowered(match: re.Match[str]) -> str:
    return (match[1] or match[2]).translate(_DOWN)


def _grouped(match: re.Match[str]) -> str:
    """A word needs no brackets: ``fan_{in}`` is ``fan_in``, but ``e^{2u}`` is ``e^(2u)``."""
    return f"{match[1]}{match[2]}" if match[2].isalpha() else f"{match[1]}({match[2]})"


@cache
def _translator() -> Any:
    """pylatexenc's translation, with brackets wherever it would change what a formula says."""
    from pylatexenc.latex2text import (
        LatexNodes2Text,
        MacroTextSpec,
        get_default_latex_context_db,
    )

    # pylatexenc calls these with its translator as ``l2tobj``.
    def argument(node: Any, index: int, l2tobj: Any) -> str:
        text: str = l2tobj.nodelist_to_text([node.nodeargd.argnlist[index]]).strip()
        return text[1:-1] if text.startswith("{") and text.endswith("}") else text

    def fraction(node: Any, l2tobj: Any) -> str:
        above, below = (argument(node, i, l2tobj) for i in (-2, -1))
        one_sign = {"1/2": "½", "1/3": "⅓", "1/4": "¼"}.get(f"{above}/{below}")
        return one_sign or f"{_bracketed(above)}/{_bracketed(below)}"

    def root(node: Any, l2tobj: Any) -> str:
        degree = node.nodeargd.argnlist[0] and argument(node, 0, l2tobj)
        return {"3": "∛", "4": "∜"}.get(degree, "√") + _bracketed(argument(node, -1, l2tobj))

    context = get_default_latex_context_db()
    spaces = {",": " ", ";": " ", "!": "", "qquad": "    ", "top": "T", "|": "‖"}
    context.add_context_category(
        "lessons",
        prepend=True,
        macros=[
            MacroTextSpec("frac", fraction),
            MacroTextSpec("sqrt", root),
            MacroTextSpec("overline", "mean(%s)"),
            *(MacroTextSpec(name, text) for name, text in spaces.items()),
            *(MacroTextSpec(name, f"{name} ") for name in _NAMES),
            *(MacroTextSpec(name, "") for name in _SIZES),
        ],
    )
    return LatexNodes2Text(
        latex_context=context,
        math_mode="text",
        strict_latex_spaces="macros",
        keep_braced_groups=True,
        keep_braced_groups_minlen=2,
    )


def _bracketed(text: str) -> str:
    return text if re.fullmatch(r"[∂∇]?[\w.]*[\u0300-\u036f]?[²³]?", text) else f"({text})"
