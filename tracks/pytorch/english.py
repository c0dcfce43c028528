"""Given: a GPT on English text, from training to sampling; the program of days 21 and 22.

    python -m tracks.pytorch.day21 train|resume|eval|sample

The text is the documentation of Python that every Python carries (``pydoc_data.topics``), in
pieces made by byte-level BPE (Sennrich et al. 2016) that is trained here on the training part. The
model, its optimizer, its loss and its checkpoints are those of earlier days.
"""

from __future__ import annotations

import argparse
import lzma
import math
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from tqdm import tqdm

from tracks.pytorch.day10 import cross_entropy
from tracks.pytorch.day11 import AdamW, clip_grad_norm, warmup_cosine
from tracks.pytorch.day14 import CheckpointManager
from tracks.pytorch.day21 import GPT

FOLDER = Path(".harness/english")
SIZES = {"vocab": 1536, "context": 96, "dim": 160, "depth": 3, "heads": 4, "dropout": 0.0}
BATCH, RATE, WARMUP, EVERY = 16, 4e-3, 50, 50


class Text(NamedTuple):
    train: str
    validation: str


def load_text() -> Text:
    """Paragraphs of prose, each on one line; every tenth topic is for validation.

    Topics repeat each other at length: each paragraph is kept where it comes first, so that nothing
    of the validation text is seen in training. Code, grammar and tables are left out.
    """
    from pydoc_data.topics import topics

    seen: set[str] = set()
    parts: tuple[list[str], list[str]] = ([], [])
    for i, (_, text) in enumerate(sorted(topics.items())):
        for paragraph in text.split("\n\n"):
            line = " ".join(paragraph.split())
            if line not in seen and not any(x in line for x in ("::=", ">>>", "+--", "***", "===")):
                seen.add(line)
                parts[i % 10 == 5].append(line + "\n\n")
    return Text("".join(parts[0]), "".join(parts[1]))


def make_tokenizer(text: str, vocab: int) -> Tokenizer:
    """Byte-level BPE: any text can be written in its tokens, and comes back as it was."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=vocab, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(text.splitlines(keepends=True), trainer)
    return tokenizer


def encode(tokenizer: Tokenizer, text: str) -> torch.Tensor:
    return torch.tensor(tokenizer.encode(text).ids)


def bits_per_byte(model: GPT, ids: torch.Tensor, size: int) -> float:
    """What it would cost to write down ``ids``, a text of ``size`` bytes, with this model.

    The text is read in windows that know nothing of each other. Its first token is free.
    """
    model.eval()
    length, total = model.context, 0.0
    rows = (len(ids) - 1) // length
    whole = rows * length
    with torch.no_grad():
        for read, scored in (
            (ids[:whole].view(rows, length), ids[1 : whole + 1].view(rows, length)),
            (ids[whole:-1][None], ids[whole + 1 :][None]),
        ):
            for x, y in zip(read.split(BATCH), scored.split(BATCH), strict=True):
                total += cross_entropy(model(x).flatten(0, 1), y.flatten(), reduction="sum").item()
    return total / math.log(2) / size


class Run:
    """A model in training, and all that a checkpoint has to hold."""

    def __init__(self, folder: Path, sizes: dict[str, float], device: str = "cpu") -> None:
        self.text = load_text()
        self.tokenizer = make_tokenizer(self.text.train, int(sizes["vocab"]))
        self.folder, self.sizes, self.device = folder, sizes, device
        self.train = encode(self.tokenizer, self.text.train).to(device)
        self.validation = encode(self.tokenizer, self.text.validation).to(device)
        self.model = GPT(**sizes).to(device)  # type: ignore[arg-type]
        self.optimizer = AdamW.for_module(self.model, lr=RATE, weight_decay=0.1)
        self.manager = CheckpointManager(folder)
        self.step, self.steps = 0, 0
        self.curve: list[tuple[int, float, float]] = []

    def save(self) -> None:
        extra = {"sizes": self.sizes, "steps": self.steps, "curve": self.curve}
        metric = self.curve[-1][2] if self.curve and self.curve[-1][0] == self.step else None
        self.manager.save(self.step, self.model, self.optimizer, metric=metric, extra=extra)

    def restore(self) -> None:
        resumed = self.manager.restore(self.model, self.optimizer)
        if resumed is None:
            sys.exit(f"{self.folder} holds no checkpoint: train first")
        self.step, self.steps = resumed.step, resumed.extra["steps"]
        self.curve = [tuple(point) for point in resumed.extra["curve"]]

    def one_step(self) -> float:
        """Where the windows are cut is drawn by torch's generator, which a checkpoint keeps."""
        self.model.train()
        length = self.model.context
        starts = torch.randint(len(self.train) - length, (BATCH, 1))
        windows = self.train[(starts + torch.arange(length + 1)).to(self.train.device)]
        scores = self.model(windows[:, :-1])
        loss = cross_entropy(scores.flatten(0, 1), windows[:, 1:].flatten())
        self.optimizer.zero_grad()
        loss.backward()
        clip_grad_norm(self.model.parameters(), 1.0)
        warmup = min(WARMUP, self.steps // 10)
        rate = RATE * warmup_cosine(self.step, warmup, self.steps, floor=0.05)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.step += 1
        return loss.item()

    def go(self, until: int) -> None:
        """Train, evaluate every EVERY steps, and save what is reached, also at Ctrl-C."""
        bar = tqdm(total=self.steps, initial=self.step, unit="step", disable=None)
        losses: list[float] = []
        try:
            while self.step < until:
                losses.append(self.one_step())
                bar.update()
                bar.set_postfix(loss=f"{losses[-1]:.2f}", refresh=False)
                if self.step % EVERY == 0 or self.step == self.steps:
                    bits = self.evaluate()
                    self.curve.append((self.step, sum(losses) / len(losses), bits))
                    losses = []
                    self.save()
                    self.plot()
                    bar.write(f"step {self.step}: validation {bits:.3f} bits per byte")
        except KeyboardInterrupt:
            self.save()
            sys.exit(f"\nstopped at step {self.step} and saved: `resume` goes on from there")
        finally:
            bar.close()

    def evaluate(self) -> float:
        """Of the validation text, in bits per byte. Draws no random numbers."""
        return bits_per_byte(self.model, self.validation, len(self.text.validation.encode()))

    def plot(self) -> None:
        """The loss so far as curve.png, in the run's folder."""
        import matplotlib

        matplotlib.use("Agg")
        import matplotlib.pyplot as plt

        steps, losses, bits = zip(*self.curve, strict=True)
        figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
        size = len(self.text.train.encode())
        to_bits = len(self.train) / size / math.log(2)
        axes.plot(steps, [loss * to_bits for loss in losses], label="training")
        axes.plot(steps, bits, marker="o", markersize=3, label="validation")
        axes.set(xlabel="step", ylabel="bits per byte", title="GPT on the documentation of Python")
        axes.legend()
        temporary = self.folder / "curve.png.tmp"
        figure.savefig(temporary, dpi=120, format="png")
        os.replace(temporary, self.folder / "curve.png")
        plt.close(figure)


def load_sizes(folder: Path) -> dict[str, float]:
    """The sizes of the model in a run's folder."""
    paths = CheckpointManager(folder).paths() if folder.exists() else []
    if not paths:
        sys.exit(f"{folder} holds no checkpoint: python -m tracks.pytorch.day21 train")
    sizes: dict[str, float] = torch.load(paths[-1], map_location="cpu", weights_only=True)["extra"][
        "sizes"
    ]
    return sizes


def load(folder: Path, device: str = "cpu") -> tuple[GPT, Tokenizer]:
    """The newest model of a run, in eval mode, and its tokenizer."""
    run = Run(folder, load_sizes(folder), device)
    run.restore()
    return run.model.eval(), run.tokenizer


def write(model: GPT, ids: torch.Tensor, new: int, temperature: float) -> Iterator[int]:
    """Draw ``new`` tokens, one after the other. The whole window is read for each of them."""
    for _ in range(new):
        with torch.no_grad():
            scores = model(ids[-model.context :])[-1]
        if temperature == 0:
            token = scores.argmax(-1, keepdim=True)
        else:
            token = torch.multinomial((scores / temperature).softmax(-1), 1)
        ids = torch.cat([ids, token])
        yield int(token)


def stream(tokenizer: Tokenizer, tokens: Iterator[int]) -> int:
    """Print text as soon as it is there. A token may end inside a character of several bytes:
    then it waits for the next one. Returns how many tokens there were."""
    ids: list[int] = []
    shown = ""
    for token in tokens:
        ids.append(token)
        text = tokenizer.decode(ids)
        if not text.endswith("\ufffd"):
            print(text[len(shown) :], end="", flush=True)
            shown = text
    print()
    return len(ids)


def add_options(parser: argparse.ArgumentParser) -> None:
    """What day 21's ``sample`` and day 22's program both take."""
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--prompt", default="The following")
    parser.add_argument("--tokens", type=int, default=200, help="how many are written")
    parser.add_argument("--temperature", type=float, default=0.6, help="0: always the likeliest")
    parser.add_argument("--seed", type=int, help="the same seed, the same text")


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tracks.pytorch.day21",
        description="A GPT on the documentation of Python: about two minutes on two cores.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    train = commands.add_parser("train", help="from the beginning, into an empty folder")
    train.add_argument("--steps", type=int, default=800)
    train.add_argument("--seed", type=int, default=0)
    for name, value in SIZES.items():
        train.add_argument(f"--{name}", type=type(value), default=value)
    resume = commands.add_parser("resume", help="go on where a run was stopped, to the same bits")
    evaluate = commands.add_parser("eval", help="bits per byte, beside a file compressor")
    for command in (train, resume, evaluate):
        command.add_argument("--folder", type=Path, default=FOLDER)
        command.add_argument("--device", default="cpu")
    add_options(commands.add_parser("sample", help="write more documentation"))
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    options = arguments(argv)
    try:
        {"train": train, "resume": resume, "eval": evaluate, "sample": sample}[options.command](
            options
        )
    except NotImplementedError as error:
        sys.exit(f"\n{error} is not written yet")


def train(options: argparse.Namespace) -> None:
    if options.folder.exists() and CheckpointManager(options.folder).paths():
        sys.exit(
            f"{options.folder} holds a run already: `resume` goes on with it, --folder takes "
            "another, and deleting the folder forgets it"
        )
    torch.manual_seed(options.seed)
    run = Run(options.folder, {name: getattr(options, name) for name in SIZES}, options.device)
    run.steps = options.steps
    parameters = sum(p.numel() for p in run.model.parameters())
    print(f"{parameters:,} parameters, {len(run.train):,} tokens of text, {run.steps} steps")
    began = time.perf_counter()
    run.go(run.steps)
    seconds = time.perf_counter() - began
    print(f"{seconds:.0f} s; the curve is {options.folder / 'curve.png'}")


def resume(options: argparse.Namespace) -> None:
    sizes = load_sizes(options.folder)
    run = Run(options.folder, sizes, options.device)
    run.restore()
    print(f"at step {run.step} of {run.steps}")
    run.go(run.steps)


def evaluate(options: argparse.Namespace) -> None:
    run = Run(options.folder, load_sizes(options.folder), options.device)
    run.restore()
    size = len(run.text.validation.encode())
    bits = run.evaluate()
    loss = bits * math.log(2) * size / len(run.validation)
    whole, known = (run.text.train + run.text.validation).encode(), run.text.train.encode()
    xz = 8 * (len(lzma.compress(whole)) - len(lzma.compress(known))) / size
    print(f"step {run.step}: {bits:.3f} bits per byte of the validation text")
    print(f"per token: loss {loss:.3f}, perplexity {math.exp(loss):.1f}, of {run.model.vocab}")
    print(f"xz, which has seen the training text as well: {xz:.3f} bits per byte")


def sample(options: argparse.Namespace) -> None:
    model, tokenizer = load(options.folder, options.device)
    torch.manual_seed(time.time_ns() if options.seed is None else options.seed)
    ids = encode(tokenizer, options.prompt).to(options.device)
    if not len(ids):
        sys.exit("--prompt is empty: give it something to go on from")
    print(options.prompt, end="", flush=True)
    stream(tokenizer, write(model, ids, options.tokens, options.temperature))


def serve(argv: list[str] | None = None) -> None:
    """Day 22's program: write with the cache, and time it against writing without."""
    parser = argparse.ArgumentParser(
        prog="python -m tracks.pytorch.day22",
        description="The model that day 21's program has trained writes with your cache.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    add_options(commands.add_parser("serve", help="write, and say how fast"))
    options = parser.parse_args(argv)
    try:
        model, tokenizer = load(options.folder, options.device)
        ids = encode(tokenizer, options.prompt).to(options.device)
        if not len(ids):
            sys.exit("--prompt is empty: give it something to go on from")
        torch.manual_seed(time.time_ns() if options.seed is None else options.seed)
        print(options.prompt, end="", flush=True)
        tokens = write_cached(model, ids, options.tokens, options.temperature)
        stream(tokenizer, tokens)
        new = model.context - len(ids) + 1
        if new < 1:
            sys.exit("the prompt fills the context: there is nothing to time")
        rates = {}
        for name, writer in (("with the cache", write_cached), ("without", write)):
            list(writer(model, ids, 2, 0.0))  # the first call makes room and is slow
            began = time.perf_counter()
            list(writer(model, ids, new, 0.0))
            rates[name] = new / (time.perf_counter() - began)
        print(f"\n{new} tokens behind {len(ids)}, as many as the context of {model.context} holds:")
        for name, rate in rates.items():
            print(f"  {name:15} {rate:8,.0f} tokens/s")
        ratio = rates["with the cache"] / rates["without"]
        print(f"  {ratio:.1f} times as fast with it")
    except NotImplementedError as error:
        sys.exit(f"\n{error} is not written yet")


def write_cached(model: GPT, ids: torch.Tensor, new: int, temperature: float) -> Iterator[int]:
    """Draw ``new`` tokens with day 22's ``generate``. Where the context is full, it begins again
    with the second half of what is there: every position would be another one otherwise."""
    from tracks.pytorch.day22 import generate

    while new > 0:
        if len(ids) > model.context:
            ids = ids[-(model.context // 2) :]
        some = min(new, model.context - len(ids) + 1)
        for token in generate(model, [ids], some, temperature=temperature):
            ids = torch.cat([ids, token])
            yield int(token)
        new -= some
