"""Nothing passes but an answer: every cheat of the gallery is refused, and references are not.

Those of the tracks that import torch are graded in forks of a warm process, which refuse what the
sandbox's process refuses; `python -m tests.cheats.trial` has the sandbox for them, too.
"""

from __future__ import annotations

import sys

import pytest

from tests.cheats.trial import GROUPS, TRACKS, Tried, gallery, left_over, name_of, try_all

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is Linux's")


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tried]:
    found = try_all(tmp_path_factory.mktemp("cheats"), how="quick")
    return {f"{t.group}/{t.name}": t for t in found}


@pytest.mark.parametrize("track", TRACKS)
def test_the_reference_passes(tried: dict[str, Tried], track: str) -> None:
    assert not tried[f"right/{track}"].refused, tried[f"right/{track}"].said


@pytest.mark.parametrize("name", map(name_of, gallery()))
def test_a_cheat_is_refused(tried: dict[str, Tried], name: str) -> None:
    assert tried[name].refused
    assert tried[name].said, "refused, and nothing is said"


def test_every_group_is_there(tried: dict[str, Tried]) -> None:
    assert {t.group for t in tried.values()} == {*GROUPS, "right"}


def test_what_is_replaced_is_named(tried: dict[str, Tried]) -> None:
    for name, what in (
        ("replaces_close", "what tells results"),
        ("replaces_a_builtin", "`builtins."),
    ):
        said = " ".join(tried[f"attack/{name}"].said)
        assert f"the answer replaced {what}" in said, said


def test_what_is_refused_is_named(tried: dict[str, Tried]) -> None:
    for name, what in (
        ("attack/takes_it_from_the_stack", "looks at the stack"),
        ("attack/takes_it_from_a_traceback", "looks at the stack"),
        ("attack/takes_it_from_a_generator", "looks at the stack"),
        ("attack/walks_through_gc", "looks through the process's objects"),
        ("attack/profiles_the_comparison", "traces what grades it"),
        ("attack/forges_events", "the pipe over which the results are told"),
        ("attack/triton/renames_its_code", "another file's name"),
        ("attack/triton/lets_a_thread_compute", "another process or thread"),
        ("attack/triton/lets_a_process_compute", "another process or thread"),
        ("shortcut/triton/computes_in_numpy", "hands the values to numpy"),
        ("shortcut/lets_torch_compute", "`torch` in line 3"),
    ):
        assert any(what in said for said in tried[name].said), (name, tried[name].said)


def test_nothing_is_left_running(tried: dict[str, Tried]) -> None:
    assert left_over() == []
