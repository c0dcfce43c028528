"""Nothing passes but an answer: every cheat of the gallery is refused, and the reference is not."""

from __future__ import annotations

import sys

import pytest

from tests.cheats.trial import GALLERY, GROUPS, Tried, left_over, try_all

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is Linux's")


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tried]:
    found = try_all(tmp_path_factory.mktemp("cheats"))
    return {f"{t.group}/{t.name}": t for t in found}


def test_the_reference_passes(tried: dict[str, Tried]) -> None:
    assert not tried["right/reference"].refused, tried["right/reference"].said


@pytest.mark.parametrize(
    "name", [f"{p.parent.name}/{p.stem}" for p in sorted(GALLERY.glob("*/*.py"))]
)
def test_a_cheat_is_refused(tried: dict[str, Tried], name: str) -> None:
    assert tried[name].refused
    assert tried[name].said, "refused, and nothing is said"


def test_every_group_is_there(tried: dict[str, Tried]) -> None:
    assert {t.group for t in tried.values()} == {*GROUPS, "right"}


def test_what_is_replaced_is_named(tried: dict[str, Tried]) -> None:
    for name, what in (
        ("replaces_close", "harness.testing.close"),
        ("replaces_the_sending", "harness.grading.events.Events"),
        ("replaces_a_builtin", "builtins."),
    ):
        said = " ".join(tried[f"attack/{name}"].said)
        assert f"the answer replaced `{what}" in said, said


def test_nothing_is_left_running(tried: dict[str, Tried]) -> None:
    assert left_over() == []
