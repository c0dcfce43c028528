"""An upstream with two days, and a learner's clone of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.upstream import Clone, Upstream


@pytest.fixture
def upstream(tmp_path: Path) -> Upstream:
    made = Upstream(tmp_path / "upstream")
    made.add_day(1)
    made.add_day(2)
    made.publish()
    return made


@pytest.fixture
def clone(upstream: Upstream, tmp_path: Path) -> Clone:
    return Clone(upstream.folder, tmp_path / "clone")
