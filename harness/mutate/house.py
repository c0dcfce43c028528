"""``make mutate HOUSE=``: mutants of the harness's own files against the tests that claim them.

The files are changed in copies of the project, one for each job; nothing is written into this one.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from harness.curriculum import ROOT, CurriculumError, read_source
from harness.curriculum.source import comments_of, normalised
from harness.mutate.judge import FIRST, Baseline, Judged, Outcome, Verdict
from harness.mutate.operators import Mutant, mutants_of_file, same_program
from harness.mutate.report import DayReport
from harness.run.tree import Tree
from harness.usage import Usage

CLAIMS = Path(__file__).with_name("house.toml")
WANTED = 90.0
BUDGET = 30.0
"""Seconds of tests that a mutant is worth: those of the claimed tests beyond it are not run."""
LEFT_OUT = (
    ".git", ".venv", ".whl", ".harness", ".hypothesis", ".mypy_cache", ".pytest_cache",
    ".ruff_cache", "__pycache__",
)  # fmt: skip
OUTCOMES: dict[str, Outcome] = {
    "passed": "survived", "failed": "caught", "hung": "hung", "died": "caught",
    "not collected": "not importable",
}  # fmt: skip


@dataclass(frozen=True)
class Claims:
    """house.toml: which tests claim which file, and which changes change nothing."""

    tests: dict[str, tuple[str, ...]]
    equivalents: tuple[dict[str, str], ...] = ()

    def of(self, file: str) -> tuple[str, ...]:
        """The test files that claim ``file``: its own entry, or that of the nearest folder."""
        place = file
        while place:
            if place in self.tests:
                return _test_files(self.tests[place])
            place = place.rpartition("/")[0]
        return _test_files((file.replace("harness/", "tests/", 1).rpartition("/")[0],))


def read_claims(path: Path = CLAIMS) -> Claims:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    tables = tomllib.loads(path.read_text(encoding="utf-8"))
    tests = {file: tuple(names) for file, names in tables.get("claims", {}).items()}
    return Claims(tests, tuple(tables.get("equivalent", ())))


def files_of(where: str) -> list[str]:
    """The Python files that ``where``, a file or a folder of the harness, means."""
    path = (ROOT / where).resolve()
    if not path.exists() or not path.is_relative_to(ROOT / "harness"):
        raise Usage(f"HOUSE={where}: name a file or a folder of the harness, as harness/grading")
    found = [path] if path.is_file() else sorted(path.rglob("*.py"))
    return [one.relative_to(ROOT).as_posix() for one in found]


@dataclass(frozen=True)
class Measured:
    """What each test of a file takes, without and for what it shares with others (a fixture of the
    module), and what is wrong with them if they do not pass."""

    own: dict[str, float]
    shared: dict[str, float]
    problem: str = ""

    def price(self, test: str) -> float:
        return self.own[test] + self.shared[test]


class House:
    """Copies of the project, each with a warm process; use as a context manager."""

    def __init__(self, jobs: int = 1, root: Path = ROOT) -> None:
        if not hasattr(os, "fork"):
            raise Usage("HOUSE needs a system that can fork a process: Linux or macOS.")
        self.jobs, self.root = jobs, root
        self._own = threading.local()
        self._made: list[_Copy] = []

    def __enter__(self) -> House:
        self._folder = tempfile.TemporaryDirectory(prefix="house-", ignore_cleanup_errors=True)
        # Its threads live as long as the house: Linux ends a warm process with its thread.
        self.threads = ThreadPoolExecutor(self.jobs)
        return self

    def __exit__(self, *_: object) -> None:
        self.threads.shutdown(wait=False, cancel_futures=True)
        for copy in self._made:  # what still runs ends with its process
            copy.close()
        self.threads.shutdown()
        self._folder.cleanup()

    def run(self, tests: Iterable[str], file: str = "", source: str = "", **task: Any) -> Any:
        """Run ``tests``, with ``file`` as ``source`` has it. Only inside ``threads``."""
        if not hasattr(self._own, "copy"):
            name = threading.current_thread().name.rpartition("_")[2]
            self._own.copy = _Copy(self.root, Path(self._folder.name) / name)
            self._made.append(self._own.copy)
        copy: _Copy = self._own.copy
        return copy.run({"tests": list(tests), **task}, file, source)

    @cache  # noqa: B019 (a house lives as long as the command)
    def measured(self, file: str) -> Measured:
        """The tests of a file without a mutant."""
        result = self.run([file], stop=False)
        ran = [test for test in result["tests"] if test["outcome"] == "passed"]
        shared = max((test["made"] for test in ran), default=0.0)
        wrong = [test["test"] for test in result["tests"] if test["outcome"] not in _FINE]
        problem = f"{wrong[0]} fails without a mutant" if wrong else ""
        if not wrong and result["ended"] not in ("passed", "failed"):
            problem = f"{file}: {result['ended']} without a mutant"
        made = {t["test"]: shared if t["made"] else 0.0 for t in ran}
        return Measured({t["test"]: t["seconds"] for t in ran}, made, problem)


_FINE = ("passed", "skipped")


class _Copy:
    """A copy of the project, and the warm process that stands in it."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.root, self.folder = root, folder
        shutil.copytree(root, folder, ignore=shutil.ignore_patterns(*LEFT_OUT), symlinks=True)
        (folder / ".tmp").mkdir()
        self._changes = 0
        self._process: subprocess.Popen[str] | None = None

    def run(self, task: dict[str, Any], file: str, source: str) -> Any:
        if file:
            self._write(file, source.encode())
        try:
            return self._ask(task)
        finally:
            if file:
                self._write(file, (self.root / file).read_bytes())

    def _write(self, file: str, data: bytes) -> None:
        """With a time of its own: Python's cache of compiled files goes by time and length."""
        path = self.folder / file
        path.write_bytes(data)
        self._changes += 1
        then = 1_000_000_000 + self._changes
        os.utime(path, (then, then))

    def _ask(self, task: dict[str, Any]) -> Any:
        if self._process is None:
            environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
            self._process = subprocess.Popen(
                [sys.executable, "-m", "harness.mutate.forked"],
                cwd=self.folder,
                env={
                    **environment,
                    "PYTHONPATH": str(self.folder),
                    "OMP_NUM_THREADS": "1",
                    "TMPDIR": str(self.folder / ".tmp"),
                },
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                start_new_session=True,
            )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(task) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the warm process has ended")
        return json.loads(line)

    def close(self) -> None:
        if self._process is not None:
            Tree(self._process.pid).end()
            self._process.communicate()


def mutate_file(house: House, file: str, claims: Claims) -> DayReport:
    """Every mutant of a file of the harness."""
    started = time.monotonic()
    source, tests = read_source(ROOT / file), claims.of(file)
    measured = list(house.threads.map(house.measured, tests))
    seconds = {test: one.price(test) for one in measured for test in one.own}
    dropped = too_dear(measured)
    problems = [one.problem for one in measured if one.problem]
    if not seconds:
        problems.append("no test claims it")
    ran = tuple(name.partition("::")[0] for name in seconds if name not in dropped)
    baseline = Baseline(ran, 0.0, 0.0, "; ".join(problems))
    mutants = mutants_of_file(source)
    judged = {m.exercise: Judged(m.exercise, baseline) for m in mutants}
    killers: dict[str, Counter[str]] = {name: Counter() for name in judged}

    def verdict(mutant: Mutant) -> Verdict:
        begun = time.monotonic()
        likely = [name for name, _ in killers[mutant.exercise].most_common(FIRST)]
        result = house.run(
            tests, file, mutant.source, seconds=seconds, first=likely, dropped=dropped
        )
        failed = [test["test"] for test in result["tests"] if test["outcome"] not in _FINE]
        if failed:
            killers[mutant.exercise][failed[0]] += 1
        took = time.monotonic() - begun
        return Verdict(mutant, OUTCOMES[result["ended"]], (failed or [""])[0], seconds=took)

    because = _equivalents(source, file, claims)
    for found in house.threads.map(verdict, mutants if not problems else ()):
        one = judged[found.mutant.exercise]
        reason = because.pop(same_program(found.mutant.source) or "", "") if because else ""
        if reason and found.outcome == "survived":
            found = Verdict(found.mutant, "equivalent", because=reason, seconds=found.seconds)
        elif reason:
            place = f"line {found.mutant.line} is declared equivalent ({found.mutant.after})"
            one.findings.append(f"{place}, but {found.caught_by or 'importing it'} catches it")
        one.verdicts.append(found)
    if because and judged and not problems:
        first = next(iter(judged.values()))
        for reason in because.values():
            first.findings.append(f"declared equivalent, but no mutant is that: {reason}")
    took = time.monotonic() - started
    return DayReport(
        file, "", source, list(judged.values()), seconds=took, files=hash_of(file, claims),
        wanted=WANTED,
    )  # fmt: skip


def too_dear(measured: Iterable[Measured]) -> list[str]:
    """The tests beyond BUDGET, the cheapest taken first; what several share is paid once."""
    offered = [(one.price(test), test, one) for one in measured for test in one.own]
    spent, dropped = 0.0, []
    paid: set[int] = set()
    for price, test, one in sorted(offered, key=lambda offer: offer[:2]):
        if id(one) in paid:
            price -= one.shared[test]
        if spent + price > BUDGET:
            dropped.append(test)
            continue
        spent += price
        if one.shared[test]:
            paid.add(id(one))
    return dropped


def hash_of(file: str, claims: Claims) -> str:
    """What a file's figures depend on: its code without comments, its tests, what is declared."""
    source = normalised(read_source(ROOT / file))
    lines = source.split("\n")
    for comment in comments_of(source):
        lines[comment.line - 1] = comment.before.rstrip()
    code = "\n".join(line for line in lines if line)
    declared = [entry for entry in claims.equivalents if entry["file"] == file]
    others = [(ROOT / test).read_bytes() for test in claims.of(file)]
    parts = (code.encode(), json.dumps(declared).encode(), *others)
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:8]


def _equivalents(source: str, file: str, claims: Claims) -> dict[str, str]:
    """Why, by program."""
    source, found = normalised(source), {}
    for entry in claims.equivalents:
        if entry["file"] != file:
            continue
        if source.count(entry["find"]) != 1:
            count = source.count(entry["find"])
            line = _line_of(entry)
            raise CurriculumError(CLAIMS, line, f"{file} holds `find` {count} times, not once")
        program = same_program(source.replace(entry["find"], entry["replace"]))
        found[program or ""] = entry["because"]
    return found


def _line_of(entry: dict[str, str]) -> int:
    text = CLAIMS.read_text(encoding="utf-8")
    match = re.search(re.escape(entry["because"][:40]), text)
    return text.count("\n", 0, match.start()) + 1 if match else 1


def _test_files(names: Iterable[str]) -> tuple[str, ...]:
    found: list[str] = []
    for name in names:
        path = ROOT / name
        if path.is_file():
            found.append(name)
        else:
            some = sorted(path.glob("test_*.py"))
            found += [one.relative_to(ROOT).as_posix() for one in some]
    return tuple(dict.fromkeys(found))
