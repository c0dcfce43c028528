"""Given: the two programs of day 35, from training to sampling.

    python -m tracks.autodiff.day35 digits|gpt train|resume|eval|sample

``digits`` trains the CNN on scikit-learn's handwritten digits, ``gpt`` the GPT on the documentation
that every Python carries (``pydoc_data.topics``), character by character. A run lives in a folder:
its newest checkpoint, and its curve as a picture. ``resume`` goes on to the same bits.
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
from typing import Any, ClassVar

import numpy as np

from tracks.autodiff.day30 import generator
from tracks.autodiff.day35 import (
    CNN,
    GPT,
    Tensor,
    data,
    manual_seed,
    nn,
    no_grad,
    optim,
    token_loss,
)

FOLDER = Path(".harness/autodiff")
Batch = tuple[Tensor, Tensor]


def accuracy(scores: Tensor, target: Tensor) -> float:
    return float((scores.argmax(-1) == target).data.mean())


class Keep(data.Callback):
    """Saves the run every few batches and after each epoch, and draws its curve."""

    every = 5

    def __init__(self, run: Run) -> None:
        self.run = run

    def on_batch_end(self, trainer: data.Trainer) -> None:
        if trainer.loader.position % self.every == 0:
            self.run.save()

    def on_epoch_end(self, trainer: data.Trainer, row: dict[str, float]) -> None:
        self.run.save()
        self.run.plot()


class Run:
    """A model in training, and all that belongs to it."""

    name = ""
    sizes: ClassVar[dict[str, Any]] = {}
    """Arguments of the model, as the command line has them."""
    epochs, batch, rate, decay = 0, 0, 0.0, 0.0
    dataset: Any
    held_out: list[Batch]
    loss: Any

    def __init__(self, folder: Path, sizes: dict[str, Any], epochs: int, seed: int = 0) -> None:
        self.folder, self.sizes, self.epochs, self.seed = folder, sizes, epochs, seed
        manual_seed(seed)
        self.prepare()
        self.model = self.build()
        self.loader = data.DataLoader(self.dataset, self.batch, shuffle=True, seed=seed)
        optimizer = optim.AdamW(
            self.model.parameters(), self.rate, (0.9, 0.99), weight_decay=self.decay
        )
        schedules, warm = optim.lr_scheduler, max(1, epochs // 8)
        self.trainer = data.Trainer(
            self.model, optimizer, self.loss,
            schedule=schedules.SequentialLR(
                optimizer,
                [schedules.LinearWarmup(optimizer, warm + 1),
                 schedules.CosineAnnealingLR(optimizer, max(1, epochs - warm), self.rate / 20)],
                [warm],
            ),
            metrics={"accuracy": accuracy}, max_norm=1.0,
            callbacks=[data.ProgressBar(), Keep(self)],
        )  # fmt: skip

    def prepare(self) -> None:
        """Load the data: ``dataset``, ``held_out`` and ``loss``."""
        raise NotImplementedError

    def build(self) -> Any:
        raise NotImplementedError

    def save(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        settings = {"sizes": self.sizes, "epochs": self.epochs, "seed": self.seed}
        state = {"settings": settings, "trainer": self.trainer.state_dict()}
        data.save(state, self.folder / "newest.safetensors")

    @classmethod
    def restored(cls, folder: Path) -> Any:
        state = read(folder)
        run = cls(folder, **state["settings"])
        run.trainer.load_state_dict(state["trainer"])
        return run

    def go(self) -> None:
        try:
            self.trainer.fit(self.loader, self.epochs, self.held_out)
        except KeyboardInterrupt:
            sys.exit(f"\nstopped: `resume` goes on from the newest checkpoint in {self.folder}")

    def plot(self) -> None:
        """The losses so far as curve.png, in the run's folder."""
        import matplotlib

        matplotlib.use("Agg")
        import matplotlib.pyplot as plt

        rows = self.trainer.history
        figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
        for key, label in (("loss", "training"), ("val_loss", "validation")):
            axes.plot([row["epoch"] + 1 for row in rows], [row[key] for row in rows], marker="o",
                      markersize=3, label=label)  # fmt: skip
        axes.set(xlabel="epoch", ylabel="loss", title=type(self).__doc__)
        axes.legend()
        temporary = self.folder / "curve.png.tmp"
        figure.savefig(temporary, dpi=120, format="png")
        os.replace(temporary, self.folder / "curve.png")
        plt.close(figure)

    def report(self) -> None:
        """What ``eval`` prints."""
        raise NotImplementedError

    def sample(self, options: argparse.Namespace) -> None:
        raise NotImplementedError


def read(folder: Path) -> Any:
    """The newest checkpoint."""
    path = folder / "newest.safetensors"
    if not path.exists():
        sys.exit(f"{folder} holds no checkpoint: train first")
    return data.load(path)


class Moved(data.Dataset):
    """Images (n, 1, 8, 8) and labels; each image is moved by up to one point, at random."""

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        edge = ((0, 0), (0, 0), (1, 1), (1, 1))
        self.images, self.labels = np.pad(images, edge, constant_values=-1), labels

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        down, right = generator().integers(0, 3, 2)
        image = self.images[index, :, down : down + 8, right : right + 8]
        return image, int(self.labels[index])

    def __len__(self) -> int:
        return len(self.images)


class Digits(Run):
    """A CNN on handwritten digits"""

    name = "digits"
    sizes: ClassVar[dict[str, Any]] = {"width": 16}
    epochs, batch, rate, decay = 12, 64, 5e-3, 0.05

    def prepare(self) -> None:
        """1797 images of 8 by 8 points; a fifth of them, the same ones always, is held out."""
        from sklearn.datasets import load_digits

        images, labels = load_digits(return_X_y=True)
        images = ((images - 8) / 8).reshape(-1, 1, 8, 8).astype(np.float32)
        order = np.random.default_rng(0).permutation(len(images))
        held, rest = order[: len(order) // 5], order[len(order) // 5 :]
        self.held_out = [(Tensor(images[held]), Tensor(labels[held].astype(np.int64)))]
        self.dataset = Moved(images[rest], labels[rest])
        self.loss = nn.CrossEntropyLoss(label_smoothing=0.1)

    def build(self) -> CNN:
        return CNN(**self.sizes)

    def report(self) -> None:
        found, count = self.trainer.evaluate(self.held_out), len(self.held_out[0][1])
        wrong = round((1 - found["accuracy"]) * count)
        print(f"{self.trainer.epoch} epochs: {wrong} of {count} digits wrong that were held out,")
        print(f"accuracy {found['accuracy']:.2%}")

    def sample(self, options: argparse.Namespace) -> None:
        """Some of the digits held out, and what the model takes them for."""
        images, labels = (t.data for t in self.held_out[0])
        chosen = np.random.default_rng(options.seed).choice(len(labels), options.digits)
        self.model.eval()
        with no_grad():
            chances = self.model(Tensor(images[chosen])).softmax(-1).tolist()
        for number, row in zip(chosen, chances, strict=True):
            for line in images[number, 0]:
                print("  " + "".join(" .:*#"[int((v + 1) * 2.49)] * 2 for v in line))
            best = max(range(10), key=row.__getitem__)
            print(f"  a {labels[number]}, read as {best} with {row[best]:.0%}\n")


class Windows(data.Dataset):
    """``count`` pieces of ``length`` tokens, cut out at random, with the tokens that follow."""

    def __init__(self, ids: np.ndarray, length: int, count: int) -> None:
        self.ids, self.length, self.count = ids, length, count

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        start = int(generator().integers(0, len(self.ids) - self.length))
        return windows(self.ids, np.array(start), self.length)

    def __len__(self) -> int:
        return self.count


def windows(ids: np.ndarray, starts: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    rows = ids[starts[..., None] + np.arange(length + 1)]
    return rows[..., :-1], rows[..., 1:]


class English(Run):
    """A GPT on the documentation of Python"""

    name = "gpt"
    sizes: ClassVar[dict[str, Any]] = {
        "context": 64, "dim": 96, "depth": 2, "heads": 4, "dropout": 0.0
    }  # fmt: skip
    epochs, batch, rate, decay = 24, 16, 4e-3, 0.05
    steps = 25
    """Batches that are called an epoch here: the text is drawn from, not gone through."""

    def prepare(self) -> None:
        """Paragraphs of prose, each on one line and once; every tenth topic is held out."""
        from pydoc_data.topics import topics

        seen: set[str] = set()
        parts: tuple[list[str], list[str]] = ([], [])
        for i, (_, text) in enumerate(sorted(topics.items())):
            for paragraph in text.split("\n\n"):
                line = " ".join(paragraph.encode("ascii", "ignore").decode().split())
                if line not in seen and not any(
                    x in line for x in ("::=", ">>>", "+--", "***", "===")
                ):
                    seen.add(line)
                    parts[i % 10 == 5].append(line + "\n")
        self.text, self.held = "".join(parts[0]), "".join(parts[1])
        self.letters = sorted(set(self.text + self.held))
        length, held = self.sizes["context"], self.encode(self.held)
        starts = np.linspace(0, len(held) - length - 1, 64).astype(int).reshape(4, 16)
        self.held_out = [tuple(map(Tensor, windows(held, part, length))) for part in starts]  # type: ignore[misc]
        self.dataset = Windows(self.encode(self.text), length, self.steps * self.batch)
        self.loss = token_loss

    def encode(self, text: str) -> np.ndarray:
        """Numbers for characters; one that is in no text is left out."""
        table = {letter: i for i, letter in enumerate(self.letters)}
        return np.array([table[c] for c in text if c in table], np.int64)

    def build(self) -> GPT:
        return GPT(vocab=len(self.letters), **self.sizes)

    def report(self) -> None:
        loss, count = self.trainer.evaluate(self.held_out)["loss"], len(self.letters)
        packed = 8 * (packed_size(self.text + self.held) - packed_size(self.text)) / len(self.held)
        print(f"{self.trainer.epoch} epochs: loss {loss:.3f} on what was held out,")
        print(f"{loss / math.log(2):.3f} bits per character")
        print(f"{count} characters, all alike: {math.log2(count):.3f}")
        print(f"xz, which has seen the training text as well: {packed:.3f}")

    def sample(self, options: argparse.Namespace) -> None:
        """Write on from the prompt, character by character."""
        ids = self.encode(options.prompt)
        if not len(ids):
            sys.exit("--prompt is empty: give it something to go on from")
        print(options.prompt, end="", flush=True)
        for number in self.write(ids, options.tokens, options.temperature, options.seed):
            print(self.letters[number], end="", flush=True)
        print()

    def write(
        self, ids: np.ndarray, new: int, temperature: float, seed: int | None
    ) -> Iterator[int]:
        """``new`` characters. The whole window is read for each of them."""
        rng = np.random.default_rng(seed)
        self.model.eval()
        for _ in range(new):
            with no_grad():
                scores = self.model(Tensor(ids[None, -self.model.context :])).data[0, -1]
            if temperature == 0:
                number = int(scores.argmax())
            else:
                chances = np.exp((scores - scores.max()).astype(float) / temperature)
                number = int(rng.choice(len(chances), p=chances / chances.sum()))
            ids = np.append(ids, number)
            yield number


def packed_size(text: str) -> int:
    return len(lzma.compress(text.encode()))


PROGRAMS: dict[str, type[Run]] = {run.name: run for run in (Digits, English)}


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tracks.autodiff.day35",
        description="What the library can do: a CNN on digits, and a GPT on English text.",
    )
    programs = parser.add_subparsers(dest="program", required=True)
    for name, run in PROGRAMS.items():
        commands = programs.add_parser(name, help=run.__doc__).add_subparsers(
            dest="command", required=True
        )
        begin = commands.add_parser("train", help="from the beginning, into an empty folder")
        begin.add_argument("--epochs", type=int, default=run.epochs)
        begin.add_argument("--seed", type=int, default=0)
        for size, value in run.sizes.items():
            begin.add_argument(f"--{size}", type=type(value), default=value)
        on = commands.add_parser("resume", help="go on where a run was stopped, to the same bits")
        score = commands.add_parser("eval", help="how good it is on what was held out")
        sample = commands.add_parser("sample", help="what it does")
        sample.add_argument("--seed", type=int, help="the same seed, the same result")
        if run is Digits:
            sample.add_argument("--digits", type=int, default=3, help="how many are shown")
        else:
            sample.add_argument("--prompt", default="The following")
            sample.add_argument("--tokens", type=int, default=300, help="how many are written")
            sample.add_argument("--temperature", type=float, default=0.6,
                                help="0: always the likeliest")  # fmt: skip
        for command in (begin, on, score, sample):
            command.add_argument("--folder", type=Path, default=FOLDER / name)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    options = arguments(argv)
    kind = PROGRAMS[options.program]
    try:
        if options.command == "train":
            start(kind, options)
            return
        run = kind.restored(options.folder)
        if options.command == "resume":
            print(f"{run.trainer.epoch} of {run.epochs} epochs are done")
            run.go()
        elif options.command == "eval":
            run.report()
        else:
            run.sample(options)
    except NotImplementedError as error:
        sys.exit(f"\n{error} is not written yet")


def start(kind: type[Run], options: argparse.Namespace) -> None:
    if (options.folder / "newest.safetensors").exists():
        sys.exit(
            f"{options.folder} holds a run already: `resume` goes on with it, --folder takes "
            "another, and deleting the folder forgets it"
        )
    sizes = {name: getattr(options, name) for name in kind.sizes}
    run = kind(options.folder, sizes, options.epochs, options.seed)
    parameters = sum(p.numel() for p in run.model.parameters())
    print(f"{parameters:,} parameters, {len(run.loader) * run.epochs} steps")
    began = time.perf_counter()
    run.go()
    seconds = time.perf_counter() - began
    print(f"{seconds:.0f} s; the curve is {options.folder / 'curve.png'}")
