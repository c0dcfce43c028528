"""The programs of Autodiff day 35: they train, resume to the bit, evaluate and sample; and the same
models, from the same weights, follow torch's losses for 200 steps."""

from __future__ import annotations

import ast
import importlib
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from harness.grading import finder
from harness.protocol import SOLUTION

torch = pytest.importorskip("torch")

TINY = {
    "digits": {"width": 2},
    "gpt": {"context": 8, "dim": 8, "depth": 1, "heads": 2, "dropout": 0.1},
}
SAMPLES = {"digits": ["--digits", "2"], "gpt": ["--prompt", "The list", "--tokens", "40"]}


@pytest.fixture
def programs() -> Iterator[ModuleType]:
    with finder.use(finder.Choice(impl=SOLUTION)):
        yield importlib.import_module("tracks.autodiff.programs")


@pytest.fixture(params=["digits", "gpt"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def begin(name: str, folder: Path, epochs: int = 2) -> list[str]:
    sizes = [part for size, value in TINY[name].items() for part in (f"--{size}", str(value))]
    return [name, "train", "--folder", str(folder), "--epochs", str(epochs), *sizes]


def test_resumes_to_the_bit(
    programs: ModuleType, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs.main(begin(name, tmp_path / "whole"))

    step, calls = programs.data.Trainer.step, []

    def stops(trainer: Any, batch: Any) -> float:
        calls.append(0)
        if len(calls) == 13:  # in the first epoch, three batches after a checkpoint
            raise KeyboardInterrupt
        return float(step(trainer, batch))

    monkeypatch.setattr(programs.data.Trainer, "step", stops)
    with pytest.raises(SystemExit, match="resume"):
        programs.main(begin(name, tmp_path / "stopped"))
    monkeypatch.setattr(programs.data.Trainer, "step", step)
    programs.manual_seed(99)
    programs.main([name, "resume", "--folder", str(tmp_path / "stopped")])

    first, second = (
        programs.PROGRAMS[name].restored(tmp_path / run).trainer for run in ("whole", "stopped")
    )
    assert (first.epoch, first.history) == (second.epoch, second.history)
    for key, value in first.model.state_dict().items():
        assert value.tolist() == second.model.state_dict()[key].tolist(), key
    assert (tmp_path / "stopped" / "curve.png").stat().st_size > 1000
    with pytest.raises(SystemExit, match="resume"):
        programs.main(begin(name, tmp_path / "whole"))


def test_evaluates_and_samples(
    programs: ModuleType, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    programs.main(begin(name, tmp_path, epochs=1))
    programs.main([name, "eval", "--folder", str(tmp_path)])
    assert "held out" in capsys.readouterr().out
    more = [name, "sample", "--folder", str(tmp_path), "--seed", "3", *SAMPLES[name]]
    programs.main(more)
    written = capsys.readouterr().out
    assert len(written) > 40
    programs.main(more)
    assert capsys.readouterr().out == written, "the same seed gave another sample"


def test_says_what_is_missing(programs: ModuleType, name: str, tmp_path: Path) -> None:
    for command in ("resume", "eval", "sample"):
        with pytest.raises(SystemExit, match="no checkpoint"):
            programs.main([name, command, "--folder", str(tmp_path / "none")])
    assert not (tmp_path / "none").exists()


def test_learns_digits(
    programs: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    programs.main(["digits", "train", "--folder", str(tmp_path)])
    row = programs.Digits.restored(tmp_path).trainer.history[-1]
    assert row["val_accuracy"] >= 0.98, row


def test_nothing_that_is_held_out_is_seen_in_training(programs: ModuleType, tmp_path: Path) -> None:
    run = programs.English(tmp_path, dict(programs.English.sizes), 1)
    seen = set(run.text.split("\n"))
    held = [line for line in run.held.split("\n") if line]
    assert len(held) > 20 and not seen.intersection(held)
    digits = programs.Digits(tmp_path, dict(programs.Digits.sizes), 1)
    assert len(digits.dataset) + len(digits.held_out[0][1]) == 1797


def on_torch(path: Path) -> types.SimpleNamespace:
    """The models and ``train`` of day 35's file with torch in the place of the library."""
    kept: list[ast.stmt] = []
    models = ("Residual", "CNN", "Block", "GPT", "token_loss", "train")
    for node in ast.parse(path.read_text("utf-8"), str(path)).body:
        plain = isinstance(node, (ast.Import, ast.ImportFrom))
        ours = plain and (getattr(node, "module", None) or "").startswith("tracks.")
        if (plain and not ours) or getattr(node, "name", "") in models:
            kept.append(node)
    space: dict[str, Any] = {"nn": torch.nn, "Tensor": torch.Tensor, "__name__": "on_torch"}
    exec(compile(ast.Module(kept, []), str(path), "exec"), space)
    return types.SimpleNamespace(**space)


def mlp(lib: Any) -> Any:
    nn = lib.nn
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10))


CURVES: dict[str, tuple[Callable[[Any], Any], Callable[[Any, Any], Any]]] = {
    "MLP": (mlp, lambda o, p: o.SGD(p, 0.05, momentum=0.9, nesterov=True)),
    "CNN": (lambda lib: lib.CNN(width=4), lambda o, p: o.SGD(p, 0.02, momentum=0.9)),
    "GPT": (lambda lib: lib.GPT(128, 16, 16, 2, 2), lambda o, p: o.AdamW(p, 1e-3)),
}


@pytest.mark.parametrize("kind", CURVES)
def test_losses_are_torchs_for_200_steps(programs: ModuleType, kind: str) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the matrices are small
    try:
        check_losses(programs, kind)
    finally:
        torch.set_num_threads(threads)


def check_losses(programs: ModuleType, kind: str) -> None:
    day = importlib.import_module("tracks.autodiff.day35")
    lib = on_torch(Path(day.__file__))
    build, optimizer = CURVES[kind]
    day.manual_seed(0)
    mine, theirs = build(day).double(), build(lib).double()
    theirs.load_state_dict({k: torch.tensor(t.data) for k, t in mine.state_dict().items()})
    rng = np.random.default_rng(0)
    if kind == "GPT":
        text = np.frombuffer((programs.__doc__ + day.__doc__).encode("ascii", "ignore"), np.uint8)
        rows = [programs.windows(text.astype(np.int64), rng.integers(0, len(text) - 16, 8), 16)
                for _ in range(200)]  # fmt: skip
        losses = (day.token_loss, lib.token_loss)
    else:
        from sklearn.datasets import load_digits

        images, labels = load_digits(return_X_y=True)
        chosen = [rng.choice(len(labels), 32) for _ in range(200)]
        rows = [
            (images[c].reshape(-1, 1, 8, 8) / 8 - 1, labels[c].astype(np.int64)) for c in chosen
        ]
        losses = (day.nn.CrossEntropyLoss(), torch.nn.CrossEntropyLoss())
    ours = day.train(mine, [(day.Tensor(x), day.Tensor(y)) for x, y in rows], losses[0],
                     optimizer(day.optim, mine.parameters()), max_norm=1.0)  # fmt: skip
    right = lib.train(theirs, [(torch.tensor(x), torch.tensor(y)) for x, y in rows], losses[1],
                      optimizer(torch.optim, theirs.parameters()), max_norm=1.0)  # fmt: skip
    off = np.abs(np.array(ours) / np.array(right) - 1)
    assert off.max() < 1e-8, (
        f"{kind}: from step {int((off > 1e-8).argmax())} on, by {off.max():.1e}"
    )
    assert np.mean(ours[-10:]) < 0.8 * ours[0], "it did not learn"
    print(f"{kind}: {off[0]:.0e} at first, at most {off.max():.1e}", file=sys.stderr)
