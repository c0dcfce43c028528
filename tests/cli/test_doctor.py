"""The doctor names each problem with its remedy, and is never the problem itself."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import shutil
import sqlite3
import sys
from pathlib import Path

import pytest

from harness.cli import doctor
from harness.cli.doctor import Finding


def test_all_of_it_as_json(capsys) -> None:
    doctor.doctor(as_json=True)
    findings = json.loads(capsys.readouterr().out)
    names = [finding["name"] for finding in findings]
    for name in (
        "system", "Python", "torch", "triton", "torch build", "torch and triton", "NVIDIA driver",
        "C compiler", "git", "disk", "this folder", "progress", "container", "VS Code",
    ):  # fmt: skip
        assert name in names
    assert all(set(finding) == {"name", "state", "remedy", "needed"} for finding in findings)


@pytest.mark.parametrize(
    ("found", "mark", "code", "verdict"),
    [
        (Finding("a", "fine"), "ok ", 0, "All that is needed is here."),
        (
            *(Finding("a", "odd", "do this", needed=False), "-- ", 0),
            "All that is needed is here. 1 to know of, marked with --",
        ),
        (Finding("a", "bad", "do this"), "!! ", 3, "1 to be mended first, marked with !!"),
    ],
)
def test_marks_exit_codes_and_a_verdict(
    monkeypatch, capsys, found: Finding, mark: str, code: int, verdict: str
) -> None:
    monkeypatch.setattr(doctor, "examine", lambda: [found])
    assert doctor.doctor(as_json=False) == code
    out = capsys.readouterr().out
    assert out.startswith(mark)
    assert ("→ do this" in out) == bool(found.remedy)
    assert out.splitlines()[-1] == verdict


def test_a_terminal_breaks_no_word_and_no_command(monkeypatch, capsys) -> None:
    command = f"{sys.executable} -m pip install " + "one==1.0 " * 9
    said = "this folder is no clone and there is nothing to update from " * 2
    findings = [Finding("git", said, "clone the project and " * 6), Finding("rich", "", command)]
    monkeypatch.setattr(doctor, "examine", lambda: findings)
    monkeypatch.setenv("COLUMNS", "80")
    doctor.doctor(as_json=False)
    assert len(capsys.readouterr().out.splitlines()) == 4 + 2, "a log has whole lines"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    doctor.doctor(as_json=False)
    *lines, last, _, _ = capsys.readouterr().out.splitlines()
    assert last.endswith(command) and max(map(len, lines)) <= 80
    assert " ".join(" ".join(lines).split()).startswith(f"!! git {said.strip()} → clone")


def test_a_package_that_is_missing_or_another_version(monkeypatch) -> None:
    real = importlib.metadata.version

    def version(name: str) -> str:
        if name in ("numpy", "watchfiles"):
            raise importlib.metadata.PackageNotFoundError(name)
        return "0.1" if name == "rich" else real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    found = {finding.name: finding for finding in doctor._packages()}
    assert found["numpy"].needed and "pip install numpy==" in found["numpy"].remedy
    assert found["watchfiles"].remedy and not found["watchfiles"].needed
    assert "0.1" in found["rich"].state and found["rich"].remedy and not found["rich"].needed


def test_a_triton_that_is_not_torchs(monkeypatch) -> None:
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: ["numpy", "triton==9.9.9; x"])
    if importlib.metadata.version("triton") != "9.9.9":
        assert "triton==9.9.9" in doctor._pair().remedy
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: None)
    assert doctor._pair().remedy == ""


def test_no_compiler_no_headers_no_git(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(shutil, "which", lambda name: "/bin/gcc" if name == "gcc" else None)
    monkeypatch.setattr(doctor.sysconfig, "get_path", lambda _: str(tmp_path))
    assert "python3-dev" in doctor._compiler().remedy
    (tmp_path / "Python.h").touch()
    assert doctor._compiler() == Finding("C compiler", "/bin/gcc")
    assert "make update" in doctor._git().remedy
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert "gcc" in doctor._compiler().remedy


def test_a_full_disk_and_a_tree_on_windows(monkeypatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type("U", (), {"free": 10**9})())
    assert "free at least" in doctor._disk().remedy
    monkeypatch.setattr(doctor.platform, "platform", lambda: "Linux-5-microsoft-standard-WSL2")
    monkeypatch.setattr(doctor, "ROOT", Path("/mnt/c/days"))
    assert "WSL's own" in doctor._system().remedy
    monkeypatch.setattr(doctor, "ROOT", Path("/home/me/days"))
    assert doctor._system().remedy == ""


def test_a_history_that_cannot_be_read(monkeypatch, tmp_path: Path) -> None:
    from harness.progress import Store

    file = tmp_path / "progress.db"
    with contextlib.closing(sqlite3.connect(file)) as db:
        db.execute("pragma user_version = 99")
    monkeypatch.setattr("harness.progress.Store", lambda: Store(file))
    found = doctor._progress()
    assert "progress.db" in found.remedy and not found.needed


def test_the_editors_extensions(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert doctor._editor().remedy == ""
    folder = tmp_path / ".vscode-server" / "extensions"
    folder.mkdir(parents=True)
    (folder / "ms-python.python-2026.1.0-linux-x64").mkdir()
    found = doctor._editor()
    assert "charliermarsh.ruff" in found.state and "--install-extension" in found.remedy
    assert "ms-python.python" not in found.state and "remote" not in found.state
    for name in ("charliermarsh.ruff-2026.2.0", "tamasfe.even-better-toml-0.21.2"):
        (folder / name).mkdir()
    assert doctor._editor().remedy == ""


def test_the_editor_that_one_is_in_is_not_missing(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.delenv("TERM_PROGRAM", raising=False)
    assert doctor._editor().state == "not found (not needed)"
    monkeypatch.setenv("TERM_PROGRAM", "vscode")
    found = doctor._editor()
    assert "this terminal is in it" in found.state and found.remedy == ""
    (tmp_path / ".local/share/code-server/extensions/ms-python.python-2026.1.0").mkdir(parents=True)
    found = doctor._editor()
    assert "charliermarsh.ruff" in found.state and "ms-python" not in found.state
    assert found.remedy.startswith("code-server --install-extension")
    (tmp_path / ".vscode/extensions").mkdir(parents=True)
    assert doctor._editor().remedy.startswith("code --install-extension")


def test_attempts_are_counted_in_words(monkeypatch, tmp_path: Path) -> None:
    from harness.progress import Store

    monkeypatch.setattr(Store, "attempts", lambda self: [1])
    monkeypatch.setattr("harness.progress.Store", lambda: Store(tmp_path / "progress.db"))
    assert doctor._progress().state == "1 attempt"


def test_a_python_that_is_too_old(monkeypatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 9, 1))
    assert "make PYTHON=" in doctor._python().remedy


def test_a_user_without_a_home(monkeypatch) -> None:
    def home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", home)
    assert "no home folder" in doctor._editor().state and doctor._editor().remedy == ""
