"""What grades an answer is compared before and after it: replaced functions and code are named."""

from __future__ import annotations

import sys
import time
import types
from pathlib import Path

import pytest

import harness.testing
from harness.grading.seal import Seal, imported_names, replaced_in, say


def nothing(*args: object, **options: object) -> None: ...


def test_nothing_has_changed() -> None:
    seal = Seal()
    assert seal.broken() == seal.broken_near() == []


def test_a_replaced_function(monkeypatch: pytest.MonkeyPatch) -> None:
    seal = Seal()
    monkeypatch.setattr(harness.testing, "close", nothing)
    assert "harness.testing.close" in seal.broken_near()
    assert "harness.testing.close" in seal.broken()
    monkeypatch.undo()
    assert seal.broken() == []


def test_replaced_code(monkeypatch: pytest.MonkeyPatch) -> None:
    seal = Seal()
    monkeypatch.setattr(harness.testing.close, "__code__", nothing.__code__)
    assert "harness.testing.close" in seal.broken_near()


def test_a_replaced_method(monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.grading.events import Events

    seal = Seal()
    monkeypatch.setattr(Events, "send", nothing)
    broken = seal.broken()  # under each module's name for it, of those that are imported by now
    assert "harness.grading.events.Events" in broken
    assert {name.rpartition(".")[2] for name in broken} == {"Events"}


def test_a_builtin_and_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    seal = Seal()
    monkeypatch.setattr("builtins.abs", nothing)
    monkeypatch.setattr(time, "perf_counter", nothing)
    assert set(seal.broken()) == {"builtins.abs", "time.perf_counter"}


def test_a_module_that_is_new_is_no_change(monkeypatch: pytest.MonkeyPatch) -> None:
    seal = Seal()
    monkeypatch.setitem(sys.modules, "harness.later", types.ModuleType("harness.later"))
    assert seal.broken() == []


def test_a_name_in_the_tests_module(tmp_path: Path) -> None:
    file = tmp_path / "test_x.py"
    file.write_text("from harness.testing import close as near, exercise\nimport os\n")
    names = imported_names(file.read_text())
    assert names == (
        ("harness.testing", "close", "near"),
        ("harness.testing", "exercise", "exercise"),
    )
    module = types.ModuleType("test_x")
    exec(file.read_text(), vars(module))
    assert replaced_in(module, names, {}) == []
    module.near = nothing  # type: ignore[attr-defined]
    assert replaced_in(module, names, {}) == ["test_x.near"]
    assert replaced_in(module, names, {"harness.testing": types.ModuleType("x")}) == [
        "test_x.near", "test_x.exercise"
    ]  # fmt: skip
    assert "`test_x.near`" in say(["test_x.near"])


def test_a_replaced_default(monkeypatch: pytest.MonkeyPatch) -> None:
    seal = Seal()
    monkeypatch.setitem(harness.testing.close.__kwdefaults__, "factor", 1e9)  # type: ignore[arg-type]
    assert "harness.testing.close" in seal.broken_near()


def test_a_module_in_anothers_place(monkeypatch: pytest.MonkeyPatch) -> None:
    seal = Seal()
    monkeypatch.setitem(sys.modules, "harness.testing", types.ModuleType("harness.testing"))
    assert seal.broken_near() == ["harness.testing"]
    assert "harness.testing" in seal.broken()


def test_of_code_that_nobody_has_read_more_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    import signal

    import numpy as np

    from harness.grading import guard

    plain, deep = Seal(), Seal(deep=True)
    assert deep.broken() == deep.broken_near() == []
    monkeypatch.setattr(np, "exp", nothing)
    monkeypatch.setattr(guard, "ALLOCATES", guard.ALLOCATES | {"add"})
    before = signal.signal(signal.SIGUSR2, lambda number, frame: None)
    try:
        assert plain.broken() == []
        assert set(deep.broken()) == {
            "numpy.exp", "harness.grading.guard.ALLOCATES", "signal.SIGUSR2"
        }  # fmt: skip
    finally:
        signal.signal(signal.SIGUSR2, before)


def test_what_torch_itself_replaces_is_no_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """Importing torch._dynamo, which torch does when it first needs it, wraps torch.manual_seed."""
    import torch

    monkeypatch.setattr(torch, "manual_seed", torch.random.manual_seed)  # as before that import
    seal = Seal(deep=True)
    monkeypatch.setattr(torch, "manual_seed", torch._disable_dynamo(torch.random.manual_seed))
    assert seal.broken() == []
    monkeypatch.setattr(torch, "manual_seed", torch._disable_dynamo(nothing))
    assert seal.broken() == ["torch.manual_seed"]
    monkeypatch.setattr(torch, "manual_seed", nothing)
    assert seal.broken() == ["torch.manual_seed"]
