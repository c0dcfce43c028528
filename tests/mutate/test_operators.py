"""Every operator makes the mistake it is named after, inside the markers and nowhere else."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from harness.mutate.operators import OPERATORS, Mutant, mutants_of, same_program

HEAD = "import numpy as np\nimport torch\nimport triton\nimport triton.language as tl\n"


def day(answer: str, signature: str = "x, y, n", before: str = "", after: str = "") -> str:
    def indented(text: str) -> str:
        return "".join(f"    {line}\n" for line in text.splitlines())

    return (
        f'{HEAD}\n\ndef f({signature}):\n    """Not code: 1 + 1."""\n{indented(before)}'
        f"    ### BEGIN SOLUTION\n{indented(answer)}    ### END SOLUTION\n{indented(after)}"
    )


def mutants(answer: str, signature: str = "x, y, n", **parts: str) -> tuple[Mutant, ...]:
    return mutants_of(day(answer, signature, **parts), Path("day01.py"))


PLANTED = [
    ("arithmetic", "return x + y", "return x - y"),
    ("arithmetic", "x *= y\nreturn x", "x /= y"),
    ("arithmetic", "return (x + 1) // (y)", "return (x + 1) * (y)"),
    ("operands swapped", "return x - y * n", "return ((y * n) - x)"),
    ("operands swapped", "return x @ y", "return (y @ x)"),
    ("operand dropped", "return x + y", "return y"),
    ("operand dropped", "return (x + n) * y", "return (x + n)"),
    ("operand dropped", "return x < n and (y or n)", "return (y or n)"),
    ("operand dropped", "return (x < n) & (y < n)", "return (y < n)"),
    ("boolean", "return x and y", "return x or y"),
    ("boolean", "return not x", "return x"),
    ("boolean", "return x[~y]", "return x[y]"),
    ("comparison", "return x <= y", "return x < y"),
    ("comparison", "return x < y", "return x >= y"),
    ("comparison", "return x is not None", "return x is None"),
    ("comparison", "return x not in y", "return x in y"),
    ("member dropped", "return isinstance(x, (int, float))", "return isinstance(x, (int,))"),
    ("member dropped", "return x in (1, 2)", "return x in (2,)"),
    ("sign", "return x * -y", "return x * y"),
    ("constant", "return x[0]", "return x[1]"),
    ("constant", "return x[-1]", "return x[-2]"),
    ("constant", "return x[-1]", "return x[0]"),
    ("constant", "return x + 1e-5", "return x + 0.0"),
    ("constant", "return x * 0.5", "return x * 1.0"),
    ("constant", "return x.sum(0, keepdim=True)", "return x.sum(0, keepdim=False)"),
    ("constant", 'return f(x, reduction="mean")', "return f(x, reduction='sum')"),
    ("choice", "return x if n else y", "return y"),
    ("slice", "return x[1:n]", "return x[:n]"),
    ("slice", "return x[:, ::2]", "return x[:, :]"),
    ("elements swapped", "rows, columns = x.shape\nreturn rows", "columns, rows = x.shape"),
    ("elements swapped", "return x[:, None]", "return x[None, :]"),
    ("transpose", "return x @ y.T", "return x @ y"),
    ("stride", "return f(*x.stride())", "return f(*x.stride()[::-1])"),
    ("filter", "return [a for a in x if a > n]", "return [a for a in x ]"),
    ("function", "return tl.maximum(x, y)", "return tl.minimum(x, y)"),
    ("function", "return x.sum(0)", "return x.mean(0)"),
    ("function", "return max(x, y)", "return min(x, y)"),
    ("function", "return tl.exp(x)", "return tl.exp2(x)"),
    ("mask", "return tl.load(x, mask=y < n)", "return tl.load(x)"),
    ("mask", "return tl.load(x, mask=y < n, other=0.0)", "return tl.load(x)"),
    ("mask", "return tl.load(x, mask=y, other=2.0)", "return tl.load(x, mask=y)"),
    ("mask", 'return tl.load(x, other=-float("inf"))', "return tl.load(x, other=0.0)"),
    ("keyword", "return x.sum(dim=1)", "return x.sum()"),
    ("keyword", "return f(x, eps=n, seed=y)", "return f(x, eps=n)"),
    ("cast", "return x.to(tl.float32) * y", "return x * y"),
    ("cast", "return x.double()", "return x"),
    ("cast", "return tl.zeros(n, dtype=tl.float32)", "return tl.zeros(n, dtype=tl.float16)"),
    ("cast", "return np.asarray(x, dtype=float)", 'return np.asarray(x, dtype="float32")'),
    ("copy", "return x.detach()", "return x"),
    ("copy", "return np.array(x)", "return x"),
    ("step", "return tl.trans(x)", "return x"),
    ("step", "return x.transpose(1, 2) @ y", "return x @ y"),
    ("one of two", "return torch.where(n, x, y)", "return x"),
    ("one of two", "return np.maximum(x, y)", "return y"),
    ("arguments swapped", "return tl.dot(x, y)", "return tl.dot(y, x)"),
    ("bound", "return list(range(n))", "return list(range(n - 1))"),
    ("bound", "return list(range(n))", "return list(range(1, n))"),
    ("cdiv", "return triton.cdiv(n, x)", "return (n // x)"),
    ("cdiv", "return triton.cdiv(n, x)", "return (n // x + 1)"),
    ("queue", "return x.pop()", "return x.pop(0)"),
    ("removed", "x.zero_grad()\nreturn x", "pass"),
    ("removed", "x = x / 2\nreturn x", "pass"),
    ("removed", 'if n:\n    raise ValueError("1 + 1")\nreturn x', "pass"),
    ("removed", "for a in x:\n    break\nreturn x", "pass"),
    ("assignment", "x += y\nreturn x", "x = y"),
    ("assignment", "x.grad = y\nreturn x", "x.grad += y"),
    ("condition", "if n:\n    x = y\nreturn x", "if False:"),
    ("condition", "if n:\n    x = y\nreturn x", "if True:"),
    ("loop", "for a in x:\n    y = a\nreturn y", "for a in ():"),
    ("loop", "for a in x:\n    y = a\nreturn y", "for a in reversed(list(x)):"),
    ("loop", "for a in range(n):\n    y = a\nreturn y", "for a in range(0):"),
    ("context", "with torch.no_grad():\n    x = y\nreturn x", "if True:"),
    ("exception", 'if n:\n    raise ValueError("no")\nreturn x', 'raise RuntimeError("no")'),
    ("order", "y = x + n\nx = n\nreturn y", "x = n\n    y = x + n"),
]


@pytest.mark.parametrize("operator, answer, wanted", PLANTED)
def test_operator_makes_the_mistake(operator: str, answer: str, wanted: str) -> None:
    made = [(m.operator, m.after) for m in mutants(answer)]
    assert (operator, wanted) in made


def test_seed_is_ignored() -> None:
    assert "return f(0, x)" in [m.after for m in mutants("return f(seed, x)", "x, seed")]


def test_one_stride_is_taken_for_another() -> None:
    made = mutants("return x + n * row_stride", "x, n, row_stride, column_stride")
    assert "return x + n * column_stride" in [m.after for m in made]


def test_every_operator_has_a_planted_example() -> None:
    assert {name for name, _, _ in PLANTED} | {"seed"} == set(OPERATORS)


def test_each_mutant_is_a_different_valid_program() -> None:
    source = day("y = x[0] + x[-1] * 2\nif n > 0 and y:\n    y += n\nreturn y.sum(0)")
    made = mutants_of(source, Path("day01.py"))
    programs = [same_program(m.source) for m in made]
    assert None not in programs
    assert len({*programs, same_program(source)}) == len(made) + 1 > 20


def test_nothing_outside_the_markers_changes() -> None:
    given = "a = n + 1\nb: tuple[int, 2] = a - 1"
    made = mutants("return x + y  # 2 + 2", before=given, after="return a < b")
    assert made
    for mutant in made:
        assert mutant.source.count("a = n + 1\n    b: tuple[int, 2] = a - 1") == 1
        assert mutant.source.endswith("    return a < b\n")
        assert "# 2 + 2" in mutant.source


def test_messages_annotations_and_strings_stay() -> None:
    answer = (
        '"""Adds 1 + 1."""\na: list[int, 3] = x\n'
        'if not a:\n    raise ValueError(f"no {n + 1} of {a[0]}" + "0")\n'
        'assert a, "1 + 1"'
    )
    for mutant in mutants(answer):
        for kept in ('"""Adds 1 + 1."""', "list[int, 3]"):
            assert kept in mutant.source, mutant
        raised = [n for n in ast.walk(ast.parse(mutant.source)) if isinstance(n, ast.Raise)]
        assert not raised or 'f"no {n + 1} of {a[0]}" + "0"' in mutant.source, mutant


def test_lines_and_comments_stay_where_they_are() -> None:
    answer = "y = f(\n    x,  # a comment,\n    n + 1,\n)\nx.step(\n    y,\n)\nreturn y"
    lines = day(answer).count("\n")
    for mutant in mutants(answer):
        if mutant.operator in ("removed", "constant", "arithmetic"):
            assert mutant.source.count("\n") == lines


def test_text_outside_ascii_does_not_shift_the_edits() -> None:
    made = mutants('return x["größe"] + y - n')
    assert 'return x["größe"] + y + n' in [m.after for m in made]


def test_speed_alone_is_no_mutant() -> None:
    made = mutants("return f(x, num_warps=n)")
    assert not any("num_warps" not in m.after for m in made)


@pytest.mark.parametrize(
    "answer, same",
    [
        ("return tl.load(x, mask=y, other=0.0)", "return tl.load(x, mask=y)"),
        ("return torch.empty(n, dtype=torch.float32)", "return torch.empty(n)"),
        ("return zip(x, y, strict=True)", "return zip(x, y)"),
        ("return np.abs(x - y)", "return np.abs((y - x))"),
        ("return torch.promote_types(x, y) + n", "return torch.promote_types(y, x) + n"),
        ("a, b = 0.0, 0.0\nreturn a", "b, a = 0.0, 0.0"),
    ],
)
def test_the_same_program_in_other_words_is_no_mutant(answer: str, same: str) -> None:
    made = [m.after for m in mutants(answer)]
    assert made and same not in made


def test_what_only_looks_the_same_stays_a_mutant() -> None:
    after = [m.after for m in mutants("return tl.load(x, mask=y, other=1.0)")]
    assert "return tl.load(x, mask=y)" in after
    assert "b, a = x, y" in [m.after for m in mutants("a, b = x, y\nreturn a")]
    after = [m.after for m in mutants("return torch.full((n,), 1, dtype=torch.float32)")]
    assert "return torch.full((n,), 1)" in after


def test_an_axis_is_not_made_the_same_axis() -> None:
    made = [m.after for m in mutants("return tl.sum(x, axis=0)")]
    assert "return tl.sum(x, axis=1)" in made
    assert not {"return tl.sum(x, axis=-1)", "return tl.sum(x)"} & set(made)


def test_only_one_exercise_when_asked() -> None:
    source = day("return x + y") + day("return x * y").replace("def f(", "def g(")[len(HEAD) :]
    assert {m.exercise for m in mutants_of(source, Path("day01.py"))} == {"f", "g"}
    assert {m.exercise for m in mutants_of(source, Path("day01.py"), "g")} == {"g"}
