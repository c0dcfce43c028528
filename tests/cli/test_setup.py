"""Set-up makes an environment once, leaves nothing half-made, and checks one that exists."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.toy import Toy

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def toy(tmp_path: Path) -> Toy:
    """A copy that needs no packages, so that set-up is quick and fetches nothing."""
    toy = Toy(tmp_path / "project")
    (toy.folder / "requirements.txt").write_text("# nothing\n")
    return toy


Ready = tuple[Toy, subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Ready:
    toy = Toy(tmp_path_factory.mktemp("ready") / "project")
    (toy.folder / "requirements.txt").write_text("# nothing\n")
    return toy, make(toy, "setup")


@pytest.fixture
def ready(made: Ready) -> Iterator[Ready]:
    """Such a copy that is set up, which takes six seconds, and what that printed."""
    requirements = made[0].folder / "requirements.txt"
    before = requirements.stat()
    yield made
    requirements.write_text("# nothing\n")
    os.utime(requirements, ns=(before.st_atime_ns, before.st_mtime_ns))


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


def test_the_environment_is_made_once(ready: Ready) -> None:
    toy, first = ready
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


def test_an_environment_that_lacks_packages_is_told_which(ready: Ready) -> None:
    toy, _ = ready
    requirements = "numpy==2.2.6\nno-such-package==1.0\n# What those need\n"
    (toy.folder / "requirements.txt").write_text(requirements)
    done = make(toy, "mine", "PYTHON=.venv/bin/python")
    assert done.returncode != 0
    assert "lacks numpy==2.2.6, no-such-package==1.0" in done.stderr


def test_only_torch_comes_from_pytorchs_index_and_a_dead_host_is_one_line(
    toy: Toy, tmp_path: Path
) -> None:
    """The index is a closed port: asked once, for torch alone, and said in one sentence."""
    setup = toy.folder / "harness" / "setup.py"
    text = setup.read_text()
    assert "extra-index-url" not in text
    index = 'CPU_INDEX = "https://download.pytorch.org/whl/cpu"'
    assert index in text
    setup.write_text(text.replace(index, 'CPU_INDEX = "http://127.0.0.1:9/whl/cpu"'))
    (toy.folder / "requirements.txt").write_text("torch==99.0\nno-such-package==1.0\n")
    start = time.monotonic()
    done = make(toy, "setup", "TORCH=cpu", PIP_CONFIG_FILE=os.devnull, PIP_FIND_LINKS="")
    assert time.monotonic() - start < 60
    assert done.returncode != 0
    said = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert "has no torch==99.0 for this machine, or cannot be reached" in said[0]
    assert len(said) == 2 and "no-such-package" not in done.stdout + done.stderr
    assert not (toy.folder / ".venv").exists()


def test_a_python_from_the_environment_is_named(ready: Ready) -> None:
    toy, _ = ready
    done = make(toy, "mine", PYTHON="no-such-python")
    assert "PYTHON=no-such-python is no program" in done.stderr
    (toy.folder / "requirements.txt").write_text("no-such-package==1.0\n# What those need\n")
    exported = make(toy, "mine", PYTHON=".venv/bin/python")
    assert "Or unset PYTHON, which your shell exports" in exported.stderr
    given = make(toy, "mine", "PYTHON=.venv/bin/python")
    assert "unset PYTHON" not in given.stderr


def test_the_newest_torch_is_all_that_its_index_is_asked_for(tmp_path: Path) -> None:
    """``ci/newest.sh`` with a pip and a make that only note how they were called."""
    (tmp_path / "ci").mkdir()
    shutil.copy(ROOT / "ci/newest.sh", tmp_path / "ci")
    noted = tmp_path / "calls"
    for name in ("bin/make", ".venv/bin/python"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f'#!/bin/sh\necho "$(basename "$0") $*" >> "{noted}"\n')
        (tmp_path / name).chmod(0o755)
    for channel, folder in (("release", "cpu"), ("nightly", "nightly/cpu")):
        noted.unlink(missing_ok=True)
        environment = {**os.environ, "PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}
        subprocess.run(
            ["bash", "ci/newest.sh"], cwd=tmp_path, check=True,
            env={**environment, "CHANNEL": channel},
        )  # fmt: skip
        calls = noted.read_text().splitlines()
        asked = [call for call in calls if "index" in call]
        assert len(asked) == 1 and "extra" not in asked[0], calls
        options, _, rest = asked[0].partition(" --index-url ")
        assert rest == f"https://download.pytorch.org/whl/{folder} torch"
        assert "--no-deps" in options and ("--pre" in options) == (channel == "nightly")
        assert any(call.endswith("--upgrade triton") for call in calls)
        assert calls[-1] == "make test-all"


def test_what_make_runs_is_for_the_bash_of_macos() -> None:
    """Its bash is 3.2: no arrays from mapfile, no names as keys, no change of case."""
    makefile = (ROOT / "Makefile").read_text()
    scripts = {f"ci/{name}" for name in re.findall(r"ci/([\w.]+\.sh)", makefile)}
    for script in list(scripts):
        scripts |= set(re.findall(r"^\. (ci/[\w.]+)", (ROOT / script).read_text(), re.MULTILINE))
    assert {"ci/lint.sh", "ci/container.sh", "ci/container.lib.sh"} <= scripts
    newer = re.compile(
        r"^[^#\n]*(\b(mapfile|readarray|coproc)\b|\b(declare|local) -[An]|&>>|\|&|\bwait -n"
        r"|\$\{\w+(\[[^]]*\])?([,^]|@[A-Za-z]))",
        re.MULTILINE,
    )
    for script in sorted(scripts):
        found = newer.search((ROOT / script).read_text())
        assert found is None, f"{script}: {found.group()}"
