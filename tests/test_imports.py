"""Files that people edit are imported as they are, not as they were a moment ago."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.curriculum import ROOT

PROGRAM = """
import importlib.util, sys
from harness.grading.finder import Choice, install, use
from harness.imports import fresh_spec
from pathlib import Path

how, folder = sys.argv[1], Path(sys.argv[2])
file = folder / "tracks/autodiff/day03.py"
if how == "as a day":
    (folder / "tracks/autodiff/solutions").mkdir(exist_ok=True)
    with use(Choice(("autodiff", 3), root=folder)):
        import tracks.autodiff.day03 as module
elif how == "as any file":
    spec = fresh_spec("edited", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
else:
    sys.path.insert(0, str(file.parent))
    import day03 as module
print(module.ANSWER)
"""


@pytest.mark.parametrize("how", ["as a day", "as any file", "as Python does it"])
def test_a_file_of_equal_length_saved_in_the_same_second(tmp_path: Path, how: str) -> None:
    file = tmp_path / "tracks/autodiff/day03.py"
    file.parent.mkdir(parents=True)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    seen = []
    for answer in (3, 2):
        file.write_text(f"ANSWER = {answer}\n")
        os.utime(file, (1e9, 1e9))
        command = [sys.executable, "-c", PROGRAM, how, str(tmp_path)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        seen.append(done.stdout.strip())
    if how == "as Python does it":
        assert seen == ["3", "3"], "Python's cache sees the difference: FreshLoader can go"
    else:
        assert seen == ["3", "2"], "the file of a moment ago was graded"
