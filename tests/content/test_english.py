"""The program of PyTorch days 21 and 22: it trains, resumes to the bit, evaluates and writes."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from harness.grading import finder
from harness.protocol import SOLUTION

SIZES = {"vocab": 300, "context": 16, "dim": 8, "depth": 1, "heads": 2, "dropout": 0.1}


@pytest.fixture
def english() -> Iterator[ModuleType]:
    pytest.importorskip("torch")
    with finder.use(finder.Choice(impl=SOLUTION)):
        sys.modules.pop("tracks.pytorch.english", None)
        yield importlib.import_module("tracks.pytorch.english")
        sys.modules.pop("tracks.pytorch.english", None)


def options(folder: Path, *more: str) -> list[str]:
    return ["--folder", str(folder), *more]


def tiny() -> list[str]:
    return [part for name, value in SIZES.items() for part in (f"--{name}", str(value))]


def test_resumes_to_the_bit(
    english: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr(english, "EVERY", 4)
    english.main(["train", *options(tmp_path / "whole"), *tiny(), "--steps", "7"])

    steps = english.Run.one_step

    def stops(run: object) -> float:
        if run.step == 5:
            raise KeyboardInterrupt
        return float(steps(run))

    monkeypatch.setattr(english.Run, "one_step", stops)
    with pytest.raises(SystemExit):
        english.main(["train", *options(tmp_path / "stopped"), *tiny(), "--steps", "7"])
    monkeypatch.setattr(english.Run, "one_step", steps)
    torch.rand(3)
    english.main(["resume", *options(tmp_path / "stopped")])

    found = []
    for name in ("whole", "stopped"):
        run = english.Run(tmp_path / name, SIZES)
        run.restore()
        found.append((run.step, run.curve[0], run.curve[-1][2], run.model.state_dict()))
    assert found[0][:3] == found[1][:3]
    for name, value in found[0][3].items():
        assert torch.equal(value, found[1][3][name]), name
    assert (tmp_path / "stopped" / "curve.png").stat().st_size > 1000


def test_evaluates_and_writes(
    english: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    english.main(["train", *options(tmp_path), *tiny(), "--steps", "2"])
    english.main(["eval", *options(tmp_path)])
    assert "bits per byte" in capsys.readouterr().out
    more = ["--prompt", "The list", "--tokens", "40", "--seed", "3"]
    english.main(["sample", *options(tmp_path), *more])
    written = capsys.readouterr().out
    assert written.startswith("The list") and len(written) > 40
    english.main(["sample", *options(tmp_path), *more])
    assert capsys.readouterr().out == written, "the same seed wrote another text"
    english.serve(["serve", *options(tmp_path), *more])
    out = capsys.readouterr().out
    assert out.startswith("The list") and "tokens/s" in out


def test_says_what_is_missing(english: ModuleType, tmp_path: Path) -> None:
    for command in ("resume", "eval", "sample"):
        with pytest.raises(SystemExit, match="no checkpoint"):
            english.main([command, *options(tmp_path / "none")])
    assert not (tmp_path / "none").exists()


def test_nothing_of_the_validation_text_is_seen_in_training(english: ModuleType) -> None:
    text = english.load_text()
    train = set(text.train.split("\n\n"))
    held = [line for line in text.validation.split("\n\n") if line]
    assert len(held) > 20 and not train.intersection(held)
