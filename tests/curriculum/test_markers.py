from __future__ import annotations

from textwrap import dedent

import pytest

from harness.curriculum import CurriculumError, exercises_of

B, E = "### BEGIN SOLUTION", "### END SOLUTION"


def test_exercises_and_their_answers(solution: str) -> None:
    twice, value, clip = exercises_of(solution, "day03.py")
    assert (twice.name, twice.kind, twice.signature) == (
        "twice",
        "function",
        "twice(x: int, *, n: int=1) -> int",
    )
    assert [answer.owner for answer in twice.answers] == ["twice_kernel", "twice_rows_kernel"]
    assert twice.todos == ("load and double.",)
    assert twice.hints == ("one block a program, and a mask at the end.", "two times x.")
    assert twice.doc.startswith("Twice ``x``.")
    assert (value.name, value.kind, value.signature) == ("Value", "class", "Value(data: float)")
    assert [answer.owner for answer in value.answers] == [
        "Value",
        "Value.__init__",
        "Value.__add__",
        "Value.__add__",
    ]
    assert clip.signature == "clip(x)"
    lines = solution.splitlines(keepends=True)
    for exercise in (twice, value, clip):
        assert exercise.name in lines[exercise.line - 1]
        for answer in exercise.answers:
            assert lines[answer.start - 1].strip() == B
            assert lines[answer.end - 1].strip() == E
            assert answer.text == "".join(lines[answer.start : answer.end - 1])


def test_a_kernel_belongs_to_the_longest_name_it_begins_with() -> None:
    names = ["copy", "copy_by", "copy_by_rows", "copybook"]
    kernels = {
        "copy_kernel": "copy",
        "copy_by_kernel": "copy_by",
        "copy_by_rows_kernel": "copy_by_rows",
        "copy_by_rows_first_kernel": "copy_by_rows",
        "copy_by_columns_kernel": "copy_by",
        "copybook_kernel": "copybook",
    }
    text = "from triton import jit\nimport triton\n"
    for name in names:
        text += f'def {name}(x):\n    """D."""\n'
    for count, kernel in enumerate(kernels):
        decorator = ("@triton.jit", "@jit", "@triton.jit(debug=True)")[count % 3]
        text += f"{decorator}\ndef {kernel}(x):\n    {B}\n    y = x\n    {E}\n"
    owners = {a.owner: e.name for e in exercises_of(text, "x.py") for a in e.answers}
    assert owners == kernels


def test_a_function_that_is_no_triton_kernel_is_an_exercise_whatever_its_name() -> None:
    text = (
        f'def rbf(x):\n    pass\ndef rbf_kernel(x):\n    """D."""\n    {B}\n    return x\n    {E}\n'
    )
    (exercise,) = exercises_of(text, "x.py")
    assert exercise.name == "rbf_kernel"


def test_signatures() -> None:
    text = f'''
class A:
    """D."""
    async def f(self):
        {B}
        return 1
        {E}
class C:
    """D."""
    def __init__(self):
        {B}
        self.x = 1
        {E}
async def g(*xs, k: "int" = 2, **more) -> list[int]:
    """D."""
    {B}
    return []
    {E}
'''
    shown = [exercise.signature for exercise in exercises_of(text, "x.py")]
    assert shown == ["A", "C()", "g(*xs, k: 'int'=2, **more) -> list[int]"]


WRONG = {
    "no answer": (1, "there is no answer here", "x = 1\n"),
    "not Python": (2, "not valid Python", "x = 1\ndef f(:\n"),
    "never ends": (4, "never ends", f"def f():\n  'D'\n  x = 1\n  {B}\n  x = 2\n"),
    "nested": (
        4,
        "inside the one that began at line 3",
        f"def f():\n  'D'\n  {B}\n  {B}\n  x = 2\n  {E}\n  {E}\n",
    ),
    "END first": (3, "has not begun", f"def f():\n  'D'\n  {E}\n  x = 2\n  {B}\n"),
    "doubled END": (6, "has not begun", f"def f():\n  'D'\n  {B}\n  x = 2\n  {E}\n  {E}\n"),
    "behind code": (
        3,
        "must stand alone",
        f"def f():\n  'D'\n  x = 2  {B}\n  x = 2\n  {E}\n",
    ),
    "empty": (3, "is empty", f"def f():\n  'D'\n  {B}\n\n  {E}\n"),
    "only a comment": (3, "is empty", f"def f():\n  'D'\n  {B}\n  # HINT: x\n  {E}\n"),
    "only half a call": (
        4,
        "splits a statement",
        f"def f():\n  'D'\n  x = g(\n  {B}\n    1,\n  {E}\n  )\n",
    ),
    "begins in a call": (
        4,
        "splits a statement",
        f"def f():\n  'D'\n  x = g(\n  {B}\n    1)\n  y = 2\n  {E}\n",
    ),
    "ends in a call": (
        3,
        "splits a statement",
        f"def f():\n  'D'\n  {B}\n  x = g(\n  {E}\n    1)\n",
    ),
    "a header": (
        3,
        "splits a statement",
        f"def f():\n  'D'\n  {B}\n  for x in y:\n    {E}\n    pass\n",
    ),
    "into the else": (
        4,
        "splits a statement",
        f"def f():\n  'D'\n  if x:\n    {B}\n    y = 1\n  else:\n    y = 2\n    {E}\n",
    ),
    "up to the else": (
        4,
        "splits a statement",
        f"def f():\n  'D'\n  if x:\n    {B}\n    y = 1\n  else:\n    {E}\n    y = 2\n",
    ),
    "an elif": (
        5,
        "splits a statement",
        f"def f():\n  'D'\n  if x:\n    y = 1\n  {B}\n  elif z:\n    y = 2\n  {E}\n",
    ),
    "an except": (
        5,
        "splits a statement",
        f"def f():\n  'D'\n  try:\n    y = 1\n  {B}\n  except E:\n    y = 2\n  {E}\n",
    ),
    "out of the if": (
        4,
        "splits a statement",
        f"def f():\n  'D'\n  if x:\n    {B}\n    y = 1\n  z = 2\n  {E}\n",
    ),
    "under a decorator": (
        4,
        "splits a statement",
        f"class A:\n  'D'\n  @property\n  {B}\n  def f(self):\n    return 1\n  {E}\n",
    ),
    "BEGIN indented wrongly": (
        3,
        "indentation",
        f"def f():\n  'D'\n{B}\n  return 1\n  {E}\n",
    ),
    "END indented wrongly": (
        5,
        "indentation",
        f"def f():\n  'D'\n  {B}\n  return 1\n    {E}\n",
    ),
    "at the top": (1, "top level", f"{B}\nx = 1\n{E}\n"),
    "a whole function": (1, "top level", f"{B}\ndef f():\n  'D'\n  return 1\n{E}\n"),
    "under a top-level if": (
        4,
        "top level",
        f"if x:\n  def f():\n    'D'\n    {B}\n    return 1\n    {E}\n",
    ),
    "private helper": (2, "_f is private", f"def _f():\n  {B}\n  return 1\n  {E}\n"),
    "example": (2, "test_f is an example", f"def test_f():\n  {B}\n  return 1\n  {E}\n"),
    "kernel of nobody": (
        3,
        "the kernel g_kernel belongs to no exercise",
        f"@triton.jit\ndef g_kernel(x):\n  {B}\n  y = 1\n  {E}\n",
    ),
    "no docstring": (1, "f has no docstring", f"def f():\n  {B}\n  return 1\n  {E}\n"),
    "blank docstring": (1, "no docstring", f"def f():\n  '  '\n  {B}\n  return 1\n  {E}\n"),
    "kernel named oddly": (
        2,
        "name it <exercise>_kernel",
        f"@triton.jit\ndef g_kernel_a(x):\n  {B}\n  y = 1\n  {E}\n",
    ),
    "two alike": (
        6,
        "f is already defined at line 1",
        f"def f():\n  'D'\n  {B}\n  return 1\n  {E}\nclass f:\n  pass\n",
    ),
    "half a hint": (
        4,
        "stops in the middle of a sentence",
        f"def f():\n  'D'\n  {B}\n  # HINT: which of the\n  # HINT: two?\n  return 1\n  {E}\n",
    ),
    "half a task": (
        3,
        "this TODO stops in the middle of a sentence",
        f"def f():\n  'D'\n  # TODO: take the\n  # TODO: sum.\n  {B}\n  return 1\n  {E}\n",
    ),
    "hint of nobody": (
        1,
        "this hint belongs to no exercise",
        f"# HINT: x\ndef f():\n  'D'\n  {B}\n  return 1\n  {E}\n",
    ),
    "hint in given code": (
        2,
        "this hint belongs to no exercise",
        f"def g():\n  # HINT: x\n  pass\ndef f():\n  'D'\n  {B}\n  return 1\n  {E}\n",
    ),
}


@pytest.mark.parametrize("what", WRONG)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_says_what_is_wrong_and_where(what: str, newline: str) -> None:
    line, says, text = WRONG[what]
    with pytest.raises(CurriculumError) as caught:
        exercises_of(text.replace("\n", newline), "tracks/a/solutions/day01.py")
    assert says in caught.value.message
    assert caught.value.line == line
    assert str(caught.value).startswith(f"tracks/a/solutions/day01.py:{line}: ")


@pytest.mark.parametrize(
    "comment",
    [
        "### BEGIN SOLUTON",
        "# BEGIN SOLUTION",
        "## END SOLUTION",
        "#### BEGIN SOLUTION",
        "###BEGIN SOLUTION",
        "### BEGIN  SOLUTION",
        "### BEGIN_SOLUTION",
        "### Begin Solution",
        "# end solution",
        "### END OF SOLUTION",
        "### BEGN SOLUTION",
        "### BEGIN SOLUTIONS",
        "### BEGIN SOLUTION:",
        "### END",
        "### SOLUTION",
        "### START SOLUTION",
    ],
)
def test_misspelt_markers(comment: str) -> None:
    text = f"def f():\n  'D'\n  {B}\n  return 1\n  {E}\n\n{comment}\n"
    with pytest.raises(CurriculumError) as caught:
        exercises_of(text, "x.py")
    assert "is not a marker" in caught.value.message
    assert caught.value.line == 7


@pytest.mark.parametrize(
    "comment",
    [
        "# the solution of the equation begins at the end of the interval",
        "# begin with the largest",
        "# end",
        "# solution",
        "# TODO: end the solution, then begin",
        "# HINT: begin where the solution ends",
        "######",
        "### a heading",
        "# the end of a row",
        "# solve(begin, end)",
    ],
)
def test_ordinary_comments_are_no_markers(comment: str) -> None:
    text = f"def f():\n  'D'\n  {comment}\n  {B}\n  return 1\n  {E}\n"
    assert len(exercises_of(text, "x.py")) == 1


def test_markers_in_strings_are_none() -> None:
    text = dedent(
        f'''
        def f():
            """D.

            {B}
            """
            x = """
            {E}
            ### BEGIN SOLUTON
            """
            {B}
            return x + """
            {E}
            """
            {E}
        '''
    )
    (exercise,) = exercises_of(text, "x.py")
    (answer,) = exercise.answers
    assert (answer.start, answer.end) == (11, 15)


def test_tabs_and_byte_order_marks() -> None:
    text = f"\ufeffdef f():\n\t'D'\n\t{B}\n\treturn 1\n\t{E}\n"
    (exercise,) = exercises_of(text, "x.py")
    assert exercise.answers[0].text == "\treturn 1\n"


@pytest.mark.parametrize(
    ("launcher", "kernel", "says"),
    [
        ("copy", "copyright_kernel", "copyright_kernel belongs to no exercise"),
        ("copy_rows", "copy_kernel", "copy_kernel belongs to no exercise"),
        ("test_copy", "test_copy_kernel", "test_copy_kernel belongs to no exercise"),
        ("_copy", "_copy_kernel", "_copy_kernel is private"),
    ],
)
def test_kernels_that_only_seem_to_have_an_exercise(launcher: str, kernel: str, says: str) -> None:
    text = f"def {launcher}():\n  'D'\n@jit\ndef {kernel}(x):\n  {B}\n  y = 1\n  {E}\n"
    with pytest.raises(CurriculumError) as caught:
        exercises_of(text, "x.py")
    assert says in caught.value.message
    assert caught.value.line == 5
