"""The program of PyTorch day 32: three stages, each resumed to the bit, and an honest reward."""

from __future__ import annotations

import importlib
import json
import random
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from harness.grading import finder
from harness.protocol import SOLUTION

SETTINGS = {
    "pretrain_steps": 5,
    "sft_steps": 3,
    "grpo_steps": 3,
    "batch": 6,
    "tries": 8,
    "group": 4,
    "every": 2,
    "known": 100,
    "held": 12,
    "model": {"hidden_size": 16, "intermediate_size": 24, "moe_intermediate_size": 8},
}
STAGES = ("pretrain", "sft", "grpo")


@pytest.fixture
def arithmetic(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The program; it notes what it would plot, since a plot takes as long as all the rest."""
    pytest.importorskip("torch")
    with finder.use(finder.Choice(impl=SOLUTION)):
        sys.modules.pop("tracks.pytorch.arithmetic", None)
        module = importlib.import_module("tracks.pytorch.arithmetic")
        module.plotted, module.plot = [], module.Run.plot
        monkeypatch.setattr(module.Run, "plot", lambda run: module.plotted.append(run.folder.name))
        yield module
        sys.modules.pop("tracks.pytorch.arithmetic", None)


def go(arithmetic: ModuleType, folder: Path, *stages: str) -> None:
    config = folder.parent / "config.json"
    config.write_text(json.dumps(SETTINGS))
    for stage in stages:
        more = ["--config", str(config)] if stage == "pretrain" else []
        arithmetic.main([stage, "--folder", str(folder), *more])


def test_resumes_to_the_bit(
    arithmetic: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    go(arithmetic, tmp_path / "whole", *STAGES)

    log = arithmetic.Run.log
    for kill in (("pretrain", 3), ("sft", 1), ("sft", 3), ("grpo", 3)):

        def stops(run: object, stage: str, step: int, values: object, kill: object = kill) -> None:
            log(run, stage, step, values)
            if (stage, step) == kill:
                raise KeyboardInterrupt

        monkeypatch.setattr(arithmetic.Run, "log", stops)
        with pytest.raises(SystemExit, match="goes on"):
            go(arithmetic, tmp_path / "stopped", kill[0])
        monkeypatch.setattr(arithmetic.Run, "log", log)
        torch.rand(3)
        if kill != ("sft", 1):
            go(arithmetic, tmp_path / "stopped", kill[0])

    found = []
    for name in ("whole", "stopped"):
        run = arithmetic.Run(
            tmp_path / name, json.loads((tmp_path / name / "settings.json").read_text())
        )
        run.load("grpo")
        found.append((run.model.state_dict(), arithmetic.read_log(tmp_path / name)))
    assert found[0][1] == found[1][1]
    steps = [(entry["stage"], entry["step"]) for entry in found[0][1]]
    assert steps == [(s, i + 1) for s, n in zip(STAGES, (5, 3, 3), strict=True) for i in range(n)]
    for name, value in found[0][0].items():
        assert torch.equal(value, found[1][0][name]), name
    assert arithmetic.plotted == 3 * ["whole"] + 3 * ["stopped"]
    arithmetic.plot(run)
    assert (tmp_path / "stopped" / "curves.png").stat().st_size > 1000


def test_evaluates_samples_and_exports(
    arithmetic: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    folder = tmp_path / "run"
    go(arithmetic, folder, *STAGES)
    capsys.readouterr()
    arithmetic.main(["eval", "--folder", str(folder)])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:3]] == list(STAGES)
    assert all("95 % interval" in line for line in lines)

    more = ["--folder", str(folder), "--prompt", "27 + 48 =", "--tries", "3", "--seed", "5"]
    arithmetic.main(["sample", *more, "--top-p", "0.9"])
    written = capsys.readouterr().out
    assert written.startswith("27 + 48 =") and written.count("27 + 48 =") == 3
    arithmetic.main(["sample", *more, "--top-p", "0.9"])
    assert capsys.readouterr().out == written, "the same seed drew other answers"

    pytest.importorskip("transformers")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from tracks.pytorch.day32 import respond

    exported = tmp_path / "exported"
    arithmetic.main(["export", "--folder", str(folder), "--to", str(exported)])
    theirs = AutoModelForCausalLM.from_pretrained(exported).eval()
    tokenizer = AutoTokenizer.from_pretrained(exported)
    text = "\n72+84="
    ids = tokenizer(text, return_tensors="pt").input_ids
    assert ids[0].tolist() == arithmetic.encode(text).tolist()
    assert tokenizer.decode(ids[0]) == text
    run = arithmetic.Run(folder, json.loads((folder / "settings.json").read_text()))
    run.load("grpo")
    mine = respond(run.model, [ids[0]], 9, arithmetic.STOP, temperature=0).ids[0].tolist()
    found = theirs.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=9,
        do_sample=False,
        eos_token_id=arithmetic.STOP,
        pad_token_id=0,
    )
    assert found[0].tolist() == mine


def test_several_seeds(
    arithmetic: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({**SETTINGS, "pretrain_steps": 1, "sft_steps": 1}))
    more = ["--folder", str(tmp_path / "runs"), "--config", str(config)]
    arithmetic.main(["seeds", "--seeds", "4", "7", *more])
    lines = capsys.readouterr().out.splitlines()
    found = [re.match(r"seed (\d), (\w+): ", line) for line in lines]
    assert [match and match.groups() for match in found] == [
        (seed, stage) for seed in "47" for stage in STAGES
    ]


def test_says_what_is_missing(arithmetic: ModuleType, tmp_path: Path) -> None:
    none = tmp_path / "none"
    for command in (["sft"], ["grpo"], ["eval"], ["sample"], ["export", "--to", str(none)]):
        with pytest.raises(SystemExit, match="holds no run"):
            arithmetic.main([*command, "--folder", str(none)])
    assert not none.exists()
    with pytest.raises(SystemExit, match="no problem"):
        arithmetic.main(["sample", "--folder", str(none), "--prompt", "27*3="])
    run = tmp_path / "run"
    go(arithmetic, run, "pretrain")
    with pytest.raises(SystemExit, match="sft comes first"):
        go(arithmetic, run, "grpo")
    with pytest.raises(SystemExit, match="other settings"):
        arithmetic.main(["pretrain", "--folder", str(run)])
    team = tmp_path / "team"
    (team / "sharded" / "step-00000002").mkdir(parents=True)
    with pytest.raises(SystemExit, match="goes on with torchrun"):
        go(arithmetic, team, "pretrain")
    bad = tmp_path / "bad.json"
    bad.write_text('{"stepps": 3}')
    with pytest.raises(SystemExit, match="stepps"):
        arithmetic.main(["pretrain", "--folder", str(none), "--config", str(bad)])


def test_nothing_that_is_held_out_is_learned_from(arithmetic: ModuleType) -> None:
    known = arithmetic.problems(0, 2000, held=False)
    held = arithmetic.problems(-1, 200, held=True)
    pairs = set().union(*(one.pairs() for one in known))
    assert len(pairs) > 1000 and len({len(one.numbers) for one in held}) == 2
    assert {sign for one in held for sign in one.signs} == {"+", "-"}
    for one in held:
        assert not one.pairs() & pairs, f"{one} shares a pair of numbers with the training"


def test_answers_are_right(arithmetic: ModuleType) -> None:
    for one in arithmetic.problems(1, 300, held=False):
        text = arithmetic.turned(one.line()).strip()
        values = {eval(part) for part in re.sub(r"\b0+(?=\d)", "", text).split("=")}
        assert len(values) == 1 and min(values) >= 0, text
        assert arithmetic.judge(one.result(), one.answer()).exact, text


@pytest.mark.parametrize(
    "response, form, exact, number",
    [
        ("57#\n", True, True, True),
        ("58#\n", True, False, False),
        ("91-5=57#\n", True, True, True),
        ("91-5=58#\n", True, False, False),
        ("57\n", False, False, True),
        ("57#", False, False, True),
        ("57##\n", False, False, True),
        ("#57#\n", False, False, True),
        ("5757#\n", True, False, False),
        ("57#\n57#\n", False, False, True),
        ("57+#\n", False, False, True),
        ("", False, False, False),
        ("_57#\n", False, False, True),
    ],
)
def test_form_and_answer_are_told_apart(
    arithmetic: ModuleType, response: str, form: bool, exact: bool, number: bool
) -> None:
    assert arithmetic.judge("57", response) == (form, exact, number)
    problem = arithmetic.as_problems([arithmetic.Sum((27, 48), "+")])[0]
    tokens = arithmetic.encode(response).tolist()
    assert arithmetic.reward(problem, tokens) == pytest.approx(0.1 * form + exact)


def test_interval(arithmetic: ModuleType) -> None:
    """Wilson's interval, against what it covers: nineteen of twenty, by counting."""
    draw, inside = random.Random(0), 0
    for _ in range(2000):
        low, high = arithmetic.interval(sum(draw.random() < 0.3 for _ in range(60)), 60)
        inside += low <= 0.3 <= high
    assert 0.93 < inside / 2000 < 0.97
    assert arithmetic.interval(0, 40)[0] < 1e-9 and arithmetic.interval(40, 40)[1] > 1 - 1e-9
