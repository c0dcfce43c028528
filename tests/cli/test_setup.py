"""Set-up makes an environment once, leaves nothing half-made, and checks one that exists."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.toy import Toy


@pytest.fixture
def toy(tmp_path: Path) -> Toy:
    """A copy that needs no packages, so that set-up is quick and fetches nothing."""
    toy = Toy(tmp_path / "project")
    (toy.folder / "requirements.txt").write_text("# nothing\n")
    return toy


def make(toy: Toy, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHON", "PYTHONPATH", "MAKEFLAGS")}
    return subprocess.run(
        ["make", *arguments],
        cwd=toy.folder,
        env={**env, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_the_environment_is_made_once(toy: Toy) -> None:
    first = make(toy, "setup")
    assert first.returncode == 0, first.stderr
    assert "Setting up .venv" in first.stdout
    assert (toy.folder / ".venv" / "ready").exists()
    second = make(toy, "setup")
    assert (second.returncode, second.stdout) == (0, "")
    python = toy.folder / ".venv/bin/python"
    code = "import harness; print(harness.__file__)"
    # -I: the .pth file alone must lead there, not a PYTHONPATH that make has set
    found = subprocess.check_output([python, "-I", "-c", code], cwd="/", text=True).strip()
    assert Path(found) == toy.folder / "harness" / "__init__.py"


def test_a_failed_set_up_leaves_nothing(toy: Toy) -> None:
    (toy.folder / "requirements.txt").write_text("no-such-package-anywhere==1.0\n")
    done = make(toy, "setup", PIP_NO_INDEX="1", PIP_FIND_LINKS="")
    assert done.returncode != 0
    assert "Set-up failed while installing the packages" in done.stderr
    assert not (toy.folder / ".venv").exists()


def test_what_an_earlier_set_up_left_is_replaced(toy: Toy) -> None:
    (toy.folder / ".venv").mkdir()
    (toy.folder / ".venv" / "rubbish").write_text("")
    done = make(toy, "setup")
    assert "left unfinished" in done.stdout
    assert not (toy.folder / ".venv" / "rubbish").exists()


def test_an_environment_that_lacks_packages_is_told_which(toy: Toy) -> None:
    make(toy, "setup")
    requirements = "numpy==2.2.6\nno-such-package==1.0\n# What those need\n"
    (toy.folder / "requirements.txt").write_text(requirements)
    done = make(toy, "mine", "PYTHON=.venv/bin/python")
    assert done.returncode != 0
    assert "lacks numpy==2.2.6, no-such-package==1.0" in done.stderr
