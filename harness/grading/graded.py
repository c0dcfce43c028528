"""A day that is graded in this process: what was asked for, and which files answer it."""

from __future__ import annotations

import zlib
from functools import cached_property
from pathlib import Path
from typing import Any

from harness.curriculum import (
    CurriculumError,
    Day,
    generate_stub,
    read_source,
    read_written,
    untouched,
)
from harness.grading import finder, unread
from harness.grading.seal import Seal, replaced_in
from harness.protocol import SOLUTION, GradedFile, Request


class GradedDay:
    def __init__(self, day: Day, request: Request) -> None:
        self.day, self.request = day, request
        self.choice = finder.Choice((day.track, day.number), request.impl, request.prior, day.root)
        self.file = finder.source_file(day, request.impl)
        self.untouched = self._untouched()
        self.missing: set[str] = set()
        self.borrowed: set[str] = set()
        self.seal: Seal | None = None
        self.tests_use: tuple[Any, tuple[tuple[str, str, str], ...]] | None = None
        """The test file's module, and what it imports from the harness."""

    def changed(self, everywhere: bool) -> list[str]:
        """What the tests stand on and is another one since before the answer was imported."""
        if self.seal is None or self.tests_use is None:
            return []
        found = self.seal.broken() if everywhere else self.seal.broken_near()
        return [*found, *replaced_in(*self.tests_use, self.seal.modules)]

    def reaches_around(self) -> str:
        """What in the submitted days reaches around the run, in words for a report, or ""."""
        given = unread.text_of(self.day.solution)
        files = {f.path for f in self.graded_files() if f.whose != SOLUTION} | {str(self.file)}
        found = [unread.reaches_around(unread.text_of(Path(f)), given) for f in sorted(files)]
        return next(filter(None, found), "")

    def _untouched(self) -> frozenset[str]:
        if self.request.impl == SOLUTION or not self.file.exists():
            return frozenset()
        solution = self.day.solution.read_text(encoding="utf-8")
        try:
            return untouched(read_written(self.file), solution, self.day.solution)
        except SyntaxError:
            return frozenset()

    @cached_property
    def given_lines(self) -> frozenset[int]:
        """Numbers of the lines of the graded file that stand in the stub as well."""
        if self.request.impl == SOLUTION or not self.file.exists():
            return frozenset()
        try:
            stub = generate_stub(read_source(self.day.solution), self.day.solution)
        except CurriculumError:
            return frozenset()
        given = {line.strip() for line in stub.splitlines()}
        lines = self.file.read_text(encoding="utf-8", errors="replace").splitlines()
        return frozenset(n for n, line in enumerate(lines, 1) if line.strip() in given)

    def graded_files(self) -> list[GradedFile]:
        files = finder.install().files.get(self.choice, {})
        return sorted(files.values(), key=lambda f: f.module, reverse=True)

    def test_seed(self, name: str) -> int:
        return zlib.crc32(f"{self.request.seed}:{name}".encode())
