"""Imports of files that people edit: always of the text as it is now."""

from __future__ import annotations

import importlib.machinery
import importlib.util
from functools import lru_cache
from pathlib import Path
from types import CodeType

from harness.curriculum.source import decoded


class FreshLoader(importlib.machinery.SourceFileLoader):
    """Compiles the file at every import. Python's cache of compiled files takes a file of equal
    length that was saved within the same second for the one it knows: ``3 * x``, corrected to
    ``2 * x`` and saved at once, would be graded as ``3 * x``."""

    def get_code(self, fullname: str) -> CodeType:
        data = self.get_data(self.path)
        decoded(data, self.path)  # whose message names the line; Python's does not
        return self.compiled(data)

    def compiled(self, data: bytes) -> CodeType:
        return _compiled(data, self.path)


@lru_cache(maxsize=64)  # of this very text; a warm process has what days build on (run.zygote)
def _compiled(data: bytes, path: str) -> CodeType:
    return compile(data, path, "exec", dont_inherit=True)


def fresh_spec(
    name: str, file: str | Path, loader: type[FreshLoader] = FreshLoader
) -> importlib.machinery.ModuleSpec:
    """The spec of the module ``name`` in ``file``, whatever the file's suffix."""
    spec = importlib.util.spec_from_file_location(name, file, loader=loader(name, str(file)))
    assert spec is not None, "with a loader there always is one"
    return spec
