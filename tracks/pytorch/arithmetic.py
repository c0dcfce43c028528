"""Given: arithmetic with answers that can be checked, and day 32's program.

    python -m tracks.pytorch.day32 pretrain|sft|grpo|eval|sample|export|seeds
    torchrun --standalone --nproc-per-node 2 -m tracks.pytorch.day32 pretrain

A DeepSeek model of your own days reads equations (pretrain), is shown how answers are written
(sft), and then learns from its own tries (grpo). Every command but the last three goes on where it
was stopped, to the same bits on a CPU.

Numbers are written with their ones first, as one calculates by hand: 27 + 48 = 75 is ``72+84=57``.
On the command line they are written as everywhere.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import re
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

if TYPE_CHECKING:
    from tracks.pytorch.day31 import DeepSeekModel
    from tracks.pytorch.day32 import Batch, Problem

FOLDER = Path(".harness/arithmetic")
STAGES = ("pretrain", "sft", "grpo")
LETTERS = "_0123456789+-=#\n"  # _ is the padding
STOP = LETTERS.index("\n")

# What --config may change, beside the model's own fields under "model".
SETTINGS: dict[str, Any] = {
    "seed": 0,
    "pretrain_steps": 1800,
    "sft_steps": 150,
    "grpo_steps": 120,
    "batch": 64,
    "tries": 256,
    "group": 8,
    "pretrain_lr": 4e-3,
    "sft_lr": 1e-3,
    "grpo_lr": 8e-4,
    "clip": 0.2,
    "beta": 0.04,
    "every": 50,
    "known": 8000,
    "held": 1000,
    "model": {
        "vocab_size": len(LETTERS),
        "hidden_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "q_lora_rank": None,
        "kv_lora_rank": 24,
        "qk_nope_head_dim": 12,
        "qk_rope_head_dim": 6,
        "v_head_dim": 12,
        "intermediate_size": 192,
        "moe_intermediate_size": 96,
        "n_routed_experts": 4,
        "num_experts_per_tok": 1,
        "first_k_dense_replace": 1,
        "initializer_range": 0.1,
        "max_position_embeddings": 256,
        "pad_token_id": 0,
        "eos_token_id": STOP,
    },
}


# The problems --------------------------------------------------------------------------------

LEAST, LARGEST = 10, 99  # the numbers in a problem
SHARE = 0.2  # of all pairs of numbers that are held out


class Sum(NamedTuple):
    """``numbers`` with ``signs`` between them, worked out from the left; never below zero."""

    numbers: tuple[int, ...]
    signs: str

    def pairs(self) -> set[tuple[int, int]]:
        """Any two numbers of the problem, the smaller one first."""
        n = self.numbers
        return {(min(a, b), max(a, b)) for i, a in enumerate(n) for b in n[i + 1 :]}

    def partial(self) -> list[int]:
        """What there is after each sign."""
        found = [self.numbers[0]]
        for sign, number in zip(self.signs, self.numbers[1:], strict=True):
            found.append(found[-1] + number if sign == "+" else found[-1] - number)
        return found[1:]

    def ask(self) -> str:
        return chain(self.numbers, self.signs) + "="

    def working(self) -> str:
        """What comes between the problem and its result: what is left to do after each step."""
        steps = self.partial()[:-1]
        return "".join(
            chain((value, *self.numbers[i + 2 :]), self.signs[i + 1 :]) + "="
            for i, value in enumerate(steps)
        )

    def result(self) -> str:
        return digits(self.partial()[-1])

    def line(self) -> str:
        """As it stands in a text."""
        return self.ask() + self.working() + self.result() + "\n"

    def answer(self, working: bool = True) -> str:
        """As it is to be answered: the result, a # behind it, and nothing more."""
        return f"{self.working() if working else ''}{self.result()}#\n"


def digits(number: int) -> str:
    return str(number)[::-1]


def chain(numbers: tuple[int, ...], signs: str) -> str:
    return digits(numbers[0]) + "".join(s + digits(n) for s, n in zip(signs, numbers[1:]))  # noqa: B905


@cache
def held_pairs() -> frozenset[tuple[int, int]]:
    """Pairs of numbers that no problem of the training has. They are the same in every run."""
    pairs = [(a, b) for a in range(LEAST, LARGEST + 1) for b in range(a, LARGEST + 1)]
    return frozenset(random.Random(32).sample(pairs, round(SHARE * len(pairs))))


def draw(rng: random.Random, held: bool, length: int) -> Sum:
    """A problem of ``length`` numbers: all of its pairs are held out, or none is."""
    while True:
        numbers = tuple(rng.randint(LEAST, LARGEST) for _ in range(length))
        found = Sum(numbers, "".join(rng.choice("+-") for _ in numbers[1:]))
        known = found.pairs() - held_pairs() if held else found.pairs() & held_pairs()
        if not known and min(found.partial()) >= 0:
            return found


def problems(seed: int, n: int, held: bool) -> list[Sum]:
    """``n`` different problems, half of them with two numbers and half with three."""
    rng = random.Random(seed)
    found: dict[Sum, None] = {}
    while len(found) < n:
        found[draw(rng, held, 2 + len(found) % 2)] = None
    return list(found)


def encode(text: str) -> torch.Tensor:
    return torch.tensor([LETTERS.index(letter) for letter in text], dtype=torch.int64)


def decode(tokens: list[int]) -> str:
    return "".join(LETTERS[token] for token in tokens)


def prompt(problem: Sum) -> torch.Tensor:
    """A problem begins on a new line, as in the texts."""
    return encode("\n" + problem.ask())


def as_problems(sums: list[Sum]) -> list[Problem]:
    """With answers to be shown: every other one without its working, so that both ways are known.

    Which way leads to more right answers is left to be found out by trying.
    """
    from tracks.pytorch.day32 import Problem

    return [
        Problem(prompt(one), encode(one.answer(working=i // 2 % 2 == 0)))
        for i, one in enumerate(sums)
    ]


# The reward ----------------------------------------------------------------------------------

FORM = re.compile(r"(?:[^#\n]*=)?(\d+)#\n")


class Mark(NamedTuple):
    """How a response is judged. ``form``: at its end one number, a # and the stop, before them
    nothing, or working that ends with =.
    ``exact``: in this form, and right. ``number``: the last number in it is right, in any form."""

    form: bool
    exact: bool
    number: bool


def judge(right: str, response: str) -> Mark:
    match = FORM.fullmatch(response)
    last = re.findall(r"\d+", response)[-1:]
    return Mark(match is not None, match is not None and match[1] == right, last == [right])


def reward(problem: Problem, tokens: list[int]) -> float:
    """0.1 for the form, and 1 more for the right number in it. The working is not looked at."""
    shown = FORM.fullmatch(decode(problem.answer.tolist()))
    assert shown is not None
    mark = judge(shown[1], decode(tokens))
    return 0.1 * mark.form + 1.0 * mark.exact


def interval(right: int, n: int) -> tuple[float, float]:
    """The 95 % confidence interval of a rate (Wilson 1927)."""
    z, rate = 1.96, right / n
    middle = (rate + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


class Score(NamedTuple):
    """Of ``n`` problems, each answered once: how many of each."""

    n: int
    form: int
    exact: int
    number: int
    length: float

    def __str__(self) -> str:
        low, high = interval(self.exact, self.n)
        return (
            f"exact answers {self.exact / self.n:6.1%}, 95 % interval {low:.1%} to {high:.1%}; "
            f"right form {self.form / self.n:.1%}, right number in any form "
            f"{self.number / self.n:.1%}; {self.length:.1f} tokens"
        )


def score(model: torch.nn.Module, sums: list[Sum], temperature: float = 1.0) -> Score:
    """One answer to each, drawn as GRPO's tries are, or with temperature 0 of the likeliest tokens.

    The draws are the same in every call, and torch's own generator is left alone.
    """
    from tracks.pytorch.day32 import respond

    draws = torch.Generator(next(model.parameters()).device).manual_seed(0)
    asked = [prompt(one) for one in sums]
    tries = respond(model, asked, LONGEST, STOP, temperature=temperature, generator=draws)
    rows = [row[own].tolist() for row, own in zip(tries.ids, tries.targets, strict=True)]
    marks = [judge(one.result(), decode(row)) for one, row in zip(sums, rows, strict=True)]
    form, exact, number = (sum(column) for column in zip(*marks, strict=True))
    return Score(len(sums), form, exact, number, sum(map(len, rows)) / len(rows))


LONGEST = 16  # tokens of a response, at most


# A run ---------------------------------------------------------------------------------------


class Run:
    """A folder: settings.json, log.jsonl, curves.png, and the checkpoints of each stage."""

    def __init__(self, folder: Path, settings: dict[str, Any], device: str = "cpu") -> None:
        from tracks.pytorch.day29 import DeepSeekConfig
        from tracks.pytorch.day31 import DeepSeekModel

        self.folder, self.settings, self.device = folder, settings, device
        torch.manual_seed(settings["seed"])
        self.model: DeepSeekModel = DeepSeekModel(DeepSeekConfig(**settings["model"])).to(device)
        self.sums = problems(settings["seed"], settings["known"], held=False)
        self.held = problems(-1, settings["held"], held=True)
        self.began = False
        self.everywhere: Callable[[torch.Tensor], torch.Tensor] = lambda counts: counts

    def steps(self, stage: str) -> int:
        return int(self.settings[f"{stage}_steps"])

    def load(self, stage: str) -> None:
        """The model as it was at the end of ``stage``, or as far as that has come."""
        from tracks.pytorch.day14 import CheckpointManager

        folder = self.folder / stage
        manager = CheckpointManager(folder) if folder.exists() else None
        found = None if manager is None else manager.restore(self.model, rng=False)
        if found is None:
            sys.exit(f"{folder} holds no checkpoint: python -m tracks.pytorch.day32 {stage}")
        if found.step < self.steps(stage):
            print(f"({stage} has done {found.step} of its {self.steps(stage)} steps)")

    def finished(self, stage: str) -> bool:
        from tracks.pytorch.day14 import CheckpointManager, step_of

        folder = self.folder / stage
        paths = CheckpointManager(folder).paths() if folder.exists() else []
        return bool(paths) and step_of(paths[-1]) >= self.steps(stage)

    def log(self, stage: str, step: int, values: dict[str, float]) -> None:
        """A line for each step. What a killed run wrote after its last checkpoint goes first."""
        path = self.folder / "log.jsonl"
        if not self.began:
            self.began = True
            kept = [
                json.dumps(entry)
                for entry in read_log(self.folder)
                if entry["stage"] != stage or entry["step"] < step
            ]
            temporary = path.with_suffix(".tmp")
            temporary.write_text("".join(line + "\n" for line in kept))
            os.replace(temporary, path)
        with path.open("a") as file:
            file.write(json.dumps({"stage": stage, "step": step, **values}) + "\n")

    def go(self, stage: str) -> None:
        """Train one stage to its end, from where it stands."""
        from tqdm import tqdm

        from tracks.pytorch.day14 import CheckpointManager
        from tracks.pytorch.day32 import train, train_math

        settings, steps = self.settings, self.steps(stage)
        for before in STAGES[: STAGES.index(stage)]:
            if not self.finished(before):
                sys.exit(f"{before} comes first: python -m tracks.pytorch.day32 {before}")
        if self.finished(stage):
            self.load(stage)
            print(f"{stage}: {steps} steps are done already")
            return
        if stage == "pretrain" and any((self.folder / "sharded").glob("step-*")):
            sys.exit(
                "torchrun has begun this run: it goes on with torchrun, and any --nproc-per-node"
            )
        bar = tqdm(total=steps, desc=stage, unit="step", disable=None)

        def report(named: str, step: int, values: dict[str, float]) -> None:
            if step % settings["every"] == 0 or step == steps:
                values = {**values, "exact": self.exact()}
            self.log(named, step, values)
            bar.update(step - bar.n)
            bar.set_postfix({k: f"{v:.3f}" for k, v in values.items()}, refresh=False)

        torch.manual_seed(settings["seed"])
        try:
            if stage == "pretrain":
                train(
                    self.model,
                    self.read,
                    steps,
                    loss=self.balanced,
                    lr=settings["pretrain_lr"],
                    warmup=min(50, steps // 10),
                    manager=CheckpointManager(self.folder / stage),
                    every=settings["every"],
                    report=lambda step, loss: report(stage, step, {"loss": loss}),
                )
            else:
                self.load("pretrain")
                train_math(
                    self.model,
                    as_problems(self.sums),
                    reward,
                    STOP,
                    supervised=self.steps("sft"),
                    explored=steps if stage == "grpo" else 0,
                    shown=settings["batch"],
                    tries=settings["tries"],
                    group=settings["group"],
                    new=LONGEST,
                    lr=settings["sft_lr"],
                    explore_lr=settings["grpo_lr"],
                    clip=settings["clip"],
                    beta=settings["beta"],
                    folder=self.folder,
                    every=settings["every"],
                    report=report,
                )
        except KeyboardInterrupt:
            sys.exit(f"\nstopped: `{stage}` goes on from its last checkpoint")
        finally:
            bar.close()

    def read(self, i: int) -> Batch:
        """Lines of text, several after each other, cut to one length."""
        from tracks.pytorch.day32 import Batch

        rows = []
        for _ in range(self.settings["batch"]):
            picked = torch.randint(len(self.sums), (LINES,)).tolist()
            rows.append(encode("\n" + "".join(self.sums[j].line() for j in picked))[:ROW])
        ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True).to(self.device)
        return Batch(ids, ids != 0, ids != 0)

    def balanced(self, model: DeepSeekModel, batch: Batch) -> tuple[torch.Tensor, int]:
        """The loss of a text; and the router's bias moves toward even load (day 29)."""
        from tracks.pytorch.day29 import update_bias
        from tracks.pytorch.day30 import expert_utilisation
        from tracks.pytorch.day32 import learned

        with expert_utilisation(model, batch.mask) as counts:
            result = learned(model, batch)
        for name, n in counts.items():
            update_bias(model.get_submodule(name).gate, self.everywhere(n), 0.001)
        return result

    def exact(self) -> float:
        """On a quarter of what is held out: for the curve."""
        found = score(self.model, self.held[: max(1, len(self.held) // 4)])
        return found.exact / found.n

    def plot(self) -> None:
        """Loss, reward, distance from the reference, exact answers and length, as curves.png."""
        import matplotlib

        matplotlib.use("Agg")
        import matplotlib.pyplot as plt

        log = read_log(self.folder)
        names = {
            "loss": "loss",
            "reward": "reward of the tries",
            "kl": "k3 to the reference",
            "exact": "exact answers, held out",
            "length": "tokens of a try",
        }
        figure, axes = plt.subplots(len(names), figsize=(7, 10), layout="constrained", sharex=True)
        begins = {"pretrain": 0, "sft": self.steps("pretrain")}
        begins["grpo"] = begins["sft"] + self.steps("sft")
        for axis, (name, label) in zip(axes, names.items(), strict=True):
            for stage in STAGES:
                points = [
                    (begins[stage] + entry["step"], entry[name])
                    for entry in log
                    if entry["stage"] == stage and name in entry
                ]
                if points:
                    axis.plot(*zip(*points, strict=True), label=stage)
            axis.set_ylabel(label)
        axes[-1].set_xlabel("step")
        axes[0].legend()
        temporary = self.folder / "curves.png.tmp"
        figure.savefig(temporary, dpi=120, format="png")
        os.replace(temporary, self.folder / "curves.png")
        plt.close(figure)


LINES, ROW = 1, 48  # of a text in pretraining: lines, and tokens at most


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The lines of a log; one that a kill has cut off is left out."""
    path = folder / "log.jsonl"
    found = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def read_settings(path: Path | None) -> dict[str, Any]:
    """SETTINGS with what a JSON file changes. A name that it does not know ends the program."""
    changed = {} if path is None else json.loads(path.read_text())
    unknown = sorted(set(changed) - set(SETTINGS))
    if unknown:
        sys.exit(f"{path}: {', '.join(unknown)} cannot be set; these can: {', '.join(SETTINGS)}")
    model = {**SETTINGS["model"], **changed.get("model", {})}
    return {**SETTINGS, **changed, "model": model}


def open_run(options: argparse.Namespace) -> Run:
    """The run in a folder, which pretrain has made."""
    path = options.folder / "settings.json"
    if not path.exists():
        sys.exit(f"{options.folder} holds no run: python -m tracks.pytorch.day32 pretrain")
    return Run(options.folder, {**SETTINGS, **json.loads(path.read_text())}, options.device)


def last_stage(run: Run) -> str:
    """The furthest stage that has a checkpoint."""
    there = [stage for stage in STAGES if any((run.folder / stage).glob("step-*.pt"))]
    if not there:
        sys.exit(f"{run.folder} holds no checkpoint: python -m tracks.pytorch.day32 pretrain")
    return there[-1]


# Commands ------------------------------------------------------------------------------------


def begin(options: argparse.Namespace, write: bool = True) -> None:
    """The folder of a run, with its settings."""
    path = options.folder / "settings.json"
    settings = read_settings(options.config)
    if options.seed is not None:
        settings["seed"] = options.seed
    if path.exists() and {**SETTINGS, **json.loads(path.read_text())} != settings:
        sys.exit(
            f"{options.folder} holds a run with other settings: --folder takes another, and "
            "deleting the folder forgets it"
        )
    if write:
        options.folder.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(settings, indent=2) + "\n")
        os.replace(temporary, path)


def stage(options: argparse.Namespace) -> None:
    name = options.command
    if name == "pretrain":
        begin(options)
    run = open_run(options)
    began = time.perf_counter()
    run.go(name)
    run.plot()
    print(f"{name}: {time.perf_counter() - began:.0f} s; {score(run.model, run.held)}")


def evaluate(options: argparse.Namespace) -> None:
    run = open_run(options)
    last = last_stage(run)
    for name in STAGES[: STAGES.index(last) + 1]:
        run.load(name)
        print(f"{name:8} {score(run.model, run.held)}")
    print(f"{last}, likeliest tokens: {score(run.model, run.held, temperature=0)}")
    for length in (2, 3):
        some = [one for one in run.held if len(one.numbers) == length]
        if some:
            print(f"{last}, {length} numbers: {score(run.model, some)}")


def turned(text: str) -> str:
    """Numbers turned round: as everywhere ↔ with their ones first."""
    return re.sub(r"\d+", lambda match: match[0][::-1], text)


def sample(options: argparse.Namespace) -> None:
    from tracks.pytorch.day32 import respond

    asked = turned(options.prompt.replace(" ", ""))
    if not re.fullmatch(r"\d+([+-]\d+)*=", asked):
        sys.exit(f"--prompt {options.prompt!r} is no problem such as 27+48=")
    run = open_run(options)
    run.load(last_stage(run))
    torch.manual_seed(time.time_ns() if options.seed is None else options.seed)
    how = {name: getattr(options, name) for name in ("temperature", "top_k", "top_p", "min_p")}
    tries = respond(run.model, [encode("\n" + asked)] * options.tries, LONGEST, STOP, **how)
    for row, own in zip(tries.ids, tries.targets, strict=True):
        print(options.prompt + turned(decode(row[own].tolist())).rstrip("\n"))


def export(options: argparse.Namespace) -> None:
    """A folder that transformers loads, with a tokenizer that reads numbers ones first."""
    run = open_run(options)
    run.load(last_stage(run))
    run.model.save_pretrained(options.to)
    write_tokenizer(options.to)
    print(f"{options.to}: transformers' AutoModelForCausalLM and AutoTokenizer load it")


def write_tokenizer(folder: Path) -> None:
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    vocabulary = {letter: i for i, letter in enumerate(LETTERS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=LETTERS[0]))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.save(str(folder / "tokenizer.json"))
    values = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": LETTERS[0],
        "eos_token": "\n",
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(values, indent=2) + "\n")


def seeds(options: argparse.Namespace) -> None:
    """All stages, once for each seed, each in a folder of its own."""
    for seed in options.seeds:
        for name in STAGES:
            folder = options.folder / f"seed-{seed}"
            print(f"seed {seed}, ", end="", flush=True)
            stage(argparse.Namespace(**{**vars(options), "command": name, "folder": folder,
                                        "seed": seed}))  # fmt: skip


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tracks.pytorch.day32",
        description="A DeepSeek model learns arithmetic: about two minutes on two free cores.",
    )
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, says: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=says)
        made.add_argument("--folder", type=Path, default=FOLDER)
        made.add_argument("--device", default="cpu")
        return made

    pretrain = command("pretrain", "read equations; begins a run, or goes on with it")
    command("sft", "be shown answers in the form that is asked for")
    command("grpo", "learn from own tries and their reward")
    command("eval", "answers to problems held out, after each stage")
    several = command("seeds", "all three stages with several seeds")
    several.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    for one in (pretrain, several):
        one.add_argument("--config", type=Path, help="a JSON file that changes SETTINGS")
    pretrain.add_argument("--seed", type=int)
    pretrain.add_argument(
        "--ep", type=int, help="under torchrun: how many processes divide the experts among them"
    )
    writes = command("sample", "answer a problem")
    writes.add_argument("--prompt", default="27+48=")
    writes.add_argument("--tries", type=int, default=4)
    writes.add_argument("--temperature", type=float, default=1.0)
    writes.add_argument("--top-k", type=int)
    writes.add_argument("--top-p", type=float)
    writes.add_argument("--min-p", type=float)
    writes.add_argument("--seed", type=int, help="the same seed, the same answers")
    command("export", "write a folder that transformers loads").add_argument(
        "--to", type=Path, required=True
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    options = arguments(argv)
    if "RANK" in os.environ and "WORLD_SIZE" in os.environ:  # torchrun has started this process
        from tracks.pytorch.distributed import program

        program(options)
        return
    act = {"eval": evaluate, "sample": sample, "export": export, "seeds": seeds}
    try:
        act.get(options.command, stage)(options)
    except NotImplementedError as error:
        sys.exit(f"\n{error} is not written yet")
