"""A class graded by the command, in a copy of the project with toy days."""

from __future__ import annotations

import csv
import io
import json
import sys

import pytest

from tests.grade.conftest import RIGHT, WRONG, Class

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is Linux's")


def test_from_a_folder_to_a_gradebook(klass: Class) -> None:
    stub = (klass.toy.track / "solutions" / "day01.py").read_text()
    begin, end = stub.index("    ### BEGIN"), stub.index("    ### END SOLUTION\n")
    stub = stub[:begin] + '    raise NotImplementedError("double")\n' + stub[end + 21 :]
    klass.hand_in("Zoë 🎓", RIGHT)
    klass.hand_in("bob", WRONG)
    klass.hand_in("no python", "def double(:\n")
    klass.hand_in("not begun", stub)
    klass.hand_in("exits", RIGHT.replace("return 2.0 * x", "import os; os._exit(0)"))
    klass.hand_in("day two", RIGHT.replace("Day 1", "Day 2"), day=2)
    (klass.submissions / "empty").mkdir()
    said = klass.grade()
    assert "7 submissions" in said and "gradebook.html" in said
    missing = "not handed in"
    assert klass.points() == {
        "Zoë 🎓": ["passed", missing], "bob": ["wrong", missing], "no python": ["wrong", missing],
        "not begun": ["not started", missing], "exits": ["wrong", missing],
        "day two": [missing, "passed"], "empty": [missing, missing],
    }  # fmt: skip
    text = (klass.out / "gradebook.csv").read_text("utf-8-sig")
    rows = {(r["student"], r["day"]): r for r in csv.DictReader(io.StringIO(text))}
    assert rows["Zoë 🎓", "1"]["points"] == "1" and rows["bob", "1"]["points"] == "0"
    assert rows["no python", "1"]["log"], "it says why"
    assert float(rows["bob", "1"]["seconds"]) >= 0 and rows["bob", "1"]["sha256"]
    assert not {str(klass.submissions), "/tmp/handed-in"} & set(text.split()), "paths are gone"
    for name in ("gradebook.html", "moodle.csv", "canvas.csv"):
        assert "Zoë 🎓" in (klass.out / name).read_text("utf-8-sig"), name
    assert len(list(klass.out.glob("gradescope/*/results.json"))) == 7
    assert len(list(klass.out.glob("classroom/*.json"))) == 7


def test_points_days_and_earlier_days(klass: Class) -> None:
    second = RIGHT.replace("Day 1", "Day 2").replace("Toys 1", "Toys 2")
    second = second.replace("as np\n", "as np\nfrom tracks.autodiff import day01\n", 1)
    second = second.replace("return 2.0 * x", "return day01.double(x)")
    klass.hand_in("ann", WRONG)
    klass.hand_in("ann", second, day=2)
    weights = klass.submissions.parent / "weights.toml"
    weights.write_text('[days]\n"autodiff/2" = 10\n')
    klass.grade(DAYS="autodiff/2", WEIGHTS=str(weights))
    assert klass.points() == {"ann": ["wrong"]}, "it stands on what the student wrote on day 1"
    klass.grade(DAYS="autodiff/2", WEIGHTS=str(weights), PRIOR="solution")
    found = json.loads((klass.out / "gradebook.json").read_text())["students"][0]
    assert (found["points"], found["out_of"]) == (10.0, 10.0)


@pytest.mark.parametrize(
    "more, says",
    [
        ({"SUBMISSIONS": ""}, "make grade SUBMISSIONS=folder"),
        ({"SUBMISSIONS": "/nowhere"}, "is no folder"),
        ({"ENGINE": "slurm"}, "use local, ray"),
        ({"SANDBOX": "no"}, "use auto, required, off"),
        ({"DAYS": "autodiff/9"}, "there is no day 9"),
        ({"DAYS": "1"}, "write track/day"),
        ({"JOBS": "0"}, "JOBS=0"),
        ({"SEED": "x"}, "SEED=x"),
    ],
)
def test_wrong_usage_is_one_sentence(klass: Class, more: dict[str, str], says: str) -> None:
    said = klass.grade(2, **more)
    assert says in said and "Traceback" not in said


def test_the_gradebook_is_no_submission(klass: Class) -> None:
    said = klass.grade(2, OUT=str(klass.submissions / "grades"))
    assert "lies among the submissions" in said


def test_what_the_harness_fails_at_is_not_lost(klass: Class) -> None:
    """It is told, is no zero, and is tried again by the next run."""
    klass.hand_in("ann", RIGHT)
    task = klass.toy.folder / "harness" / "grade" / "task.py"
    kept = task.read_text()
    begins = "    started = time.monotonic()\n"
    assert begins in kept
    task.write_text(kept.replace(begins, f"    raise OSError('no space')\n{begins}"))
    said = klass.grade(3)
    assert "1 not graded" in said and "no space" in said
    assert klass.points() == {"ann": ["not graded"]}
    task.write_text(kept)
    klass.grade()
    assert klass.points() == {"ann": ["passed"]}
