"""
Day 14: Custom modules and checkpoints
======================================
Estimated time: 3 hours
Prerequisites: Day 5 (nn.Module), Day 6 (training loop), Day 11 (optimisers)
Lesson: lessons/day14.md

Learning objectives:
- Write the four small modules that every transformer is made of, exact in half precision too
- Keep a parameter, or a row of one, out of training without losing its value
- Save everything that a run needs to go on as if it had never stopped
- Replace a file so that a crash at any moment leaves a whole one behind

    save_checkpoint                      load_checkpoint
      model ─────┐                         read the file, check its sums
      optimizer ─┤                         wrong? raise, nothing has changed
      step ──────┤    run.pt.tmp           compare names and shapes
      extra ─────┼──► write, fsync         wrong? raise, nothing has changed
      random ────┘        │                only now: model, optimizer, random
                     os.replace  ◄── the only moment at which run.pt changes:
                          ▼          the old file before, the new one after
                       run.pt

Hints:
- Do the modules first, in float32; then make them right in bfloat16.
- All four modules run under torch.compile(fullgraph=True): let no `if` depend on a tensor's values.
- Whatever can go wrong should go wrong before the first change.
- A file is on the disk after os.fsync, not after close.

Resources:
- Dropout, Srivastava et al. 2014: https://jmlr.org/papers/v15/srivastava14a.html
- Layer normalisation, Ba, Kiros and Hinton 2016: https://arxiv.org/abs/1607.06450
- RMSNorm, Zhang and Sennrich 2019: https://arxiv.org/abs/1910.07467
- Tied embeddings, Press and Wolf 2016: https://arxiv.org/abs/1608.05859
- Saving and loading: https://docs.pytorch.org/docs/stable/notes/serialization.html
- Crash consistency of files, Pillai et al. 2014:
  https://www.usenix.org/conference/osdi14/technical-sessions/presentation/pillai
"""

from __future__ import annotations

import math
import os
import random
import re
import tempfile
import warnings
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn


class Dropout(nn.Module):
    """Set each element to zero with probability ``p``, and divide the others by 1 - p.

    In training mode every element is decided for itself, anew in each call, by torch's global
    generator. In eval mode, and where p is 0, the result is ``x`` itself, and no random number is
    drawn. With p = 1 everything is zero, and so is the gradient (the result stays connected to x).

    - ``x``: any shape and strides, floating point; the result has its shape and dtype.
    - A dropped element is zero whatever it was, inf and nan too, and gets the gradient zero; a
      kept one gets the gradient times 1 / (1 - p).
    - The probability is ``p`` in half precision, too. (Random numbers of bfloat16 are for the most
      part multiples of 1/256: too coarse to be compared with a small p.)
    - A p that is not in [0, 1] is a ValueError.

    Banned: torch's own dropouts.

    >>> _ = torch.manual_seed(0); layer = Dropout(0.5)
    >>> layer(torch.ones(4)).tolist(), layer.eval()(torch.ones(4)).tolist()
    ([0.0, 2.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0])
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"p is {p}: a probability lies between 0 and 1")
        self.p = p

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # TODO: the three cases.
        # HINT: what is 0 · inf, and what is 0 / 0?
        ### BEGIN SOLUTION
        # HINT: torch.rand_like(x, dtype=torch.float32) < p is True with probability p.
        # HINT: masked_fill(dropped, 0.0) sets to zero without multiplying.
        # HINT: for p = 1 there is nothing left to scale; any finite factor will do.
        if not self.training or self.p == 0:
            return x
        dropped = torch.rand_like(x, dtype=torch.float32) < self.p
        scale = 1 / (1 - self.p) if self.p < 1 else 0.0
        return x.masked_fill(dropped, 0.0) * scale
        ### END SOLUTION

    def extra_repr(self) -> str:
        return f"p={self.p}"


class LayerNorm(nn.Module):
    """Bring every vector along the last axis to mean 0 and variance 1 (Ba et al. 2016)::

        (x - mean) / √(variance + eps) · weight + bias

    mean and variance are those of the one vector, the variance over ``dim``, not dim - 1. Train
    and eval mode do the same.

    - ``weight`` (dim,), at first ones, and ``bias`` (dim,), at first zeros, are parameters, named
      as in nn.LayerNorm. With ``bias=False`` the attribute exists and is None.
    - ``x``: (..., dim), any strides. Half precision is computed in float32 from the beginning to
      the end, parameters included, and rounded once; float64 stays float64. The result has the
      dtype of x, whatever the parameters have.
    - Rows like 10,000.1, 10,000.2, ... come out right in float32: which formula for the variance
      is safe?
    - An x whose last axis is not ``dim`` is a ValueError that names both sizes.

    Banned: torch's own norms of layers, batches and groups.

    >>> LayerNorm(3)(torch.tensor([[1.0, 2.0, 3.0]])).detach().round(decimals=2)
    tensor([[-1.2200,  0.0000,  1.2200]])
    """

    bias: torch.Tensor | None

    def __init__(self, dim: int, eps: float = 1e-5, bias: bool = True) -> None:
        super().__init__()
        self.dim, self.eps = dim, eps
        self.weight = nn.Parameter(torch.ones(dim))
        self.register_parameter("bias", nn.Parameter(torch.zeros(dim)) if bias else None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # TODO: check, widen, centre, scale, narrow.
        # HINT: E[x²] - E[x]² subtracts two large numbers that are nearly the same.
        ### BEGIN SOLUTION
        # HINT: wide = x.to(torch.promote_types(x.dtype, torch.float32)) is what to compute with.
        # HINT: centred = wide - wide.mean(-1, keepdim=True); its mean square is the variance.
        check_last_axis(x, self.dim)
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        centred = wide - wide.mean(-1, keepdim=True)
        variance = centred.square().mean(-1, keepdim=True)
        out = centred * torch.rsqrt(variance + self.eps) * self.weight
        return (out if self.bias is None else out + self.bias).to(x.dtype)
        ### END SOLUTION

    def extra_repr(self) -> str:
        return f"{self.dim}, eps={self.eps}, bias={self.bias is not None}"


class RMSNorm(nn.Module):
    """Divide every vector along the last axis by its root mean square (Zhang and Sennrich 2019)::

        x / √(mean of x² + eps) · weight

    LayerNorm without the mean and without the bias: what Llama, DeepSeek and most models since
    use. ``weight`` (dim,), at first ones, is a parameter. Everything else is as in LayerNorm: half
    precision in float32 and rounded once, float64 stays float64, strides, the ValueError. eps is
    added to the mean square, inside the root.

    >>> RMSNorm(2)(torch.tensor([[3.0, 4.0]])).detach().round(decimals=4)  # / √12.5
    tensor([[0.8485, 1.1314]])
    """

    def __init__(self, dim: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.dim, self.eps = dim, eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # TODO: one line less than LayerNorm.
        # HINT: 300² does not fit into float16. Where must the cast stand?
        ### BEGIN SOLUTION
        # HINT: wide = x.to(...); wide.square().mean(-1, keepdim=True) comes after the cast.
        # HINT: torch.rsqrt of that mean plus eps is the factor; weight comes before the last cast.
        check_last_axis(x, self.dim)
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)
        return (wide * scale * self.weight).to(x.dtype)
        ### END SOLUTION

    def extra_repr(self) -> str:
        return f"{self.dim}, eps={self.eps}"


def check_last_axis(x: torch.Tensor, dim: int) -> None:
    """Given: broadcasting would take a last axis of 1 without a word."""
    if x.shape[-1] != dim:
        raise ValueError(f"the last axis of x has {x.shape[-1]} elements, and dim is {dim}")


class Embedding(nn.Module):
    """A table with a row for each token, used at both ends of a language model.

    - ``weight`` (num, dim) is the parameter, named as in nn.Embedding; at first normally
      distributed with mean 0 and variance 1, and the padding row zero.
    - forward: ``ids`` (...), int64 or int32, any shape → (..., dim), the rows of the table. An id
      that occurs more than once gets the sum of its gradients. An id outside 0 ... num - 1,
      a negative one too, is an IndexError (a GPU finds out while the program goes on, and stops
      with an error of its own): negative numbers do not count from the end here.
    - ``logits(x)``: ``x`` (..., dim) → (..., num), the dot product with every row. The same
      table, tied, scores the next token (Press and Wolf 2016), and gets gradients from both ends.
    - ``padding_idx``: the row of a token that means nothing. It is looked up like any other (a
      loaded table need not hold zeros there), but it never learns: its gradient is exactly zero,
      from both ends. In logits, x still gets its gradient from the padding's score; only the row
      gets none. In ``padding_idx=-1`` the minus counts from the end, as in nn.Embedding; the
      attribute holds the number from 0 on, or None. Outside the table: ValueError.

    forward never makes a tensor of the size of the table. Python never looks at an id, so that
    nothing waits for the device and torch.compile(fullgraph=True) works. Banned: torch's own
    embeddings and one_hot.

    >>> table = Embedding(5, 2, padding_idx=0)
    >>> table(torch.tensor([[0, 3]])).shape, table(torch.tensor(0)).tolist()
    (torch.Size([1, 2, 2]), [0.0, 0.0])
    """

    def __init__(self, num: int, dim: int, padding_idx: int | None = None) -> None:
        super().__init__()
        self.num, self.dim = num, dim
        # TODO: padding_idx from 0 on, checked; the table, with its padding row zero.
        # HINT: which numbers does -num ... num - 1 hold?
        ### BEGIN SOLUTION
        # HINT: padding_idx % num turns -1 into num - 1, once you have checked the range.
        # HINT: fill the row before the tensor is wrapped into a Parameter.
        if padding_idx is not None and not -num <= padding_idx < num:
            raise ValueError(f"padding_idx is {padding_idx}, and the table has {num} rows")
        self.padding_idx = None if padding_idx is None else padding_idx % num
        weight = torch.randn(num, dim)
        if self.padding_idx is not None:
            weight[self.padding_idx] = 0.0
        self.weight = nn.Parameter(weight)
        ### END SOLUTION

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        # TODO: look up; let nothing flow back from the padding.
        # HINT: what does weight[-1] do, and which method of a tensor does not do that?
        ### BEGIN SOLUTION
        # HINT: weight.index_select(0, ids.flatten()) refuses negative numbers.
        # HINT: torch.where(is_padding, rows.detach(), rows): the same values, another way back.
        rows = self.weight.index_select(0, ids.flatten()).reshape(*ids.shape, self.dim)
        if self.padding_idx is None:
            return rows
        return torch.where((ids == self.padding_idx).unsqueeze(-1), rows.detach(), rows)
        ### END SOLUTION

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        """``x`` (..., dim) → (..., num): x times every row of the table."""
        # TODO: a matrix product; the padding row must not learn from it either.
        # HINT: this time the whole table takes part, so where can its row be cut off?
        ### BEGIN SOLUTION
        # HINT: torch.cat of the rows before it, the row itself detached, and the rows after it.
        weight: torch.Tensor = self.weight
        if self.padding_idx is not None:
            p = self.padding_idx
            weight = torch.cat([weight[:p], weight[p : p + 1].detach(), weight[p + 1 :]])
        return x @ weight.T
        ### END SOLUTION

    def extra_repr(self) -> str:
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num}, {self.dim}{padding}"


class CheckpointError(RuntimeError):
    """Given: a checkpoint that cannot be loaded here."""


class DamagedCheckpoint(CheckpointError):
    """Given: it cannot be loaded anywhere, for it is not whole."""


class Resumed(NamedTuple):
    """What ``load_checkpoint`` gives back; model, optimizer and random numbers are in place."""

    step: int
    extra: dict[str, Any]


def save_checkpoint(
    path: str | os.PathLike[str],
    model: nn.Module,
    optimizer: torch.optim.Optimizer | None = None,
    *,
    step: int = 0,
    extra: dict[str, Any] | None = None,
) -> None:
    """Write all that a run needs to go on into the file ``path``, or leave ``path`` as it was.

    The file is what torch.save makes of a dictionary with the keys

    =============  =========================================================================
    ``model``      model.state_dict()
    ``optimizer``  optimizer.state_dict(), or None
    ``step``       ``step``
    ``extra``      ``extra`` (a scheduler's state_dict, for instance), or {}
    ``rng``        a dictionary: ``python`` (random.getstate()), ``numpy`` (that of the global
                   generator), ``torch`` (torch.get_rng_state()) and ``cuda`` (a list with the
                   state of each GPU, empty without one)
    =============  =========================================================================

    and torch.load(path, weights_only=True) reads it: tensors, numbers, strings, tuples, lists,
    dicts and None alone. numpy's state is an array among other things, so
    np.random.get_state(legacy=False) with its ``["state"]["key"]`` as a list.
    What ``extra`` holds is for the caller to keep to the same.

    Atomic: whatever happens, a full disk, an exception, a kill or a power cut at any moment,
    afterwards ``path`` holds the whole old file (or still none), or the whole new one.

    1. Write into a temporary file in the same folder, whose name ends in ``.tmp``. Missing
       folders are made first. Make it with open(): what tempfile makes is for its owner's eyes
       alone, and so would the checkpoint be.
    2. os.fsync it before it is closed. What is still in Python's buffer then is not synced:
       torch.save empties it at its end, and file.flush() is there for good measure.
    3. os.replace it onto ``path``.
    4. os.fsync the folder too, where the system can open one (os.name == "posix"): the new
       name is an entry of the folder, and the folder is a file of its own.

    After an exception the temporary file is gone; after a kill it may stay.
    Saving draws no random numbers and changes nothing in model and optimizer.
    """
    # TODO: collect, write, fsync, replace, fsync.
    # HINT: which of the four steps can fail, and what is in ``path`` then?
    ### BEGIN SOLUTION
    # HINT: inside `with temporary.open("wb") as file`: torch.save, file.flush,
    # os.fsync(file.fileno()).
    # HINT: except BaseException: temporary.unlink(missing_ok=True); raise.
    # HINT: os.open(folder, os.O_RDONLY) gives a descriptor of the folder: fsync and close it.
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    state = np.random.get_state(legacy=False)
    state["state"]["key"] = state["state"]["key"].tolist()
    checkpoint = {
        "model": model.state_dict(),
        "optimizer": None if optimizer is None else optimizer.state_dict(),
        "step": step,
        "extra": extra or {},
        "rng": {
            "python": random.getstate(),
            "numpy": state,
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all(),
        },
    }
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    ### END SOLUTION


def load_checkpoint(
    path: str | os.PathLike[str],
    model: nn.Module,
    optimizer: torch.optim.Optimizer | None = None,
    *,
    rng: bool = True,
) -> Resumed:
    """Bring model, optimizer and random numbers to where ``save_checkpoint`` found them.

    Either everything is loaded, or CheckpointError is raised and nothing has changed: no
    parameter, no buffer, no optimizer, no generator. Its message begins with the path.

    - Not whole, DamagedCheckpoint: empty, cut off anywhere, a flipped bit in a tensor, another
      kind of file, one that needs weights_only=False, a dictionary without the five keys, or
      with an ``rng`` without its four.
      A file that torch.save made is a zip archive with a checksum for every entry.
      torch.load does not compare them: a flipped bit in a weight is a weight. Python's zipfile
      does, in ``ZipFile(path).testzip()``, which gives the name of the first bad entry, or None.
    - Not of this model, CheckpointError: keys of its state_dict are missing, or new, or a shape
      differs. The message names the first such key: the keys are compared in the order of the
      model's state_dict, each for presence and shape; then come keys that only the file has.
      (load_state_dict says so as well, but only after it has copied all that fits.)
    - Not of this optimizer, CheckpointError: none was saved though one is to be loaded; or the
      number or the sizes of its groups differ (load_state_dict raises ValueError then, before it
      changes anything); or a group in the file has not all options of this optimizer, the keys of
      ``optimizer.defaults``. The message names those that are missing. (load_state_dict takes
      SGD's groups for AdamW's, and the next step() ends with KeyError: 'betas'.)

    There is no file at all: FileNotFoundError.

    Without ``optimizer``, what the file says of one is left unread. With ``rng=False`` the random
    number generators go on as they are. GPU states are restored where the number of GPUs is the
    same as when they were saved.

    The file is read with map_location="cpu" and weights_only=True: pickle without it runs
    whatever code the file names. Returns the ``step`` and ``extra`` of the file.
    """
    # TODO: read and check everything; then change everything.
    # HINT: in which order are the two load_state_dict called, if one of them may still refuse?
    ### BEGIN SOLUTION
    # HINT: a file that is no zip raises BadZipFile, a bad entry gives its name; then torch.load.
    # HINT: compare {name: shape} of both state_dicts; the first key that differs names itself.
    # HINT: the optimizer first: it refuses before it changes anything; the model has been checked.
    # HINT: settings["param_groups"] are dictionaries: which keys of optimizer.defaults are missing?
    # HINT: random.setstate, np.random.set_state, torch.set_rng_state, torch.cuda.set_rng_state_all.
    try:
        with zipfile.ZipFile(path) as archive:
            bad = archive.testzip()
        if bad is not None:
            raise ValueError(f"the checksum of {bad} is wrong")
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        saved, settings = checkpoint["model"], checkpoint["optimizer"]
        result = Resumed(checkpoint["step"], checkpoint["extra"])
        numbers = checkpoint["rng"]
        of_python, of_numpy = numbers["python"], numbers["numpy"]
        of_torch, of_gpus = numbers["torch"], numbers["cuda"]
    except FileNotFoundError:
        raise
    except Exception as error:
        raise DamagedCheckpoint(f"{path}: not a whole checkpoint: {error}") from error

    found = {name: tuple(value.shape) for name, value in saved.items()}
    wanted = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    for name in [*wanted, *found]:
        if found.get(name) != wanted.get(name):
            raise CheckpointError(
                f"{path}: not of this model: {name} is {found.get(name, 'missing')} in the file "
                f"and {wanted.get(name, 'missing')} in the model"
            )
    if optimizer is not None:
        if settings is None:
            raise CheckpointError(f"{path}: saved without an optimizer")
        groups = settings["param_groups"]
        missing = {name for group in groups for name in optimizer.defaults if name not in group}
        if missing:
            raise CheckpointError(f"{path}: not of this optimizer: {sorted(missing)} are missing")
        try:
            optimizer.load_state_dict(settings)
        except ValueError as error:
            raise CheckpointError(f"{path}: not of this optimizer: {error}") from error
    model.load_state_dict(saved)
    if rng:
        random.setstate(of_python)
        np.random.set_state(of_numpy)
        torch.set_rng_state(of_torch)
        if len(of_gpus) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(of_gpus)
    return result
    ### END SOLUTION


class CheckpointManager:
    """The checkpoints of one run in one folder: the newest ``keep``, and the best.

    The folder is the only memory. A manager that is made anew over it, after a crash, knows
    everything from the names of the files:

    - ``step-00000120.pt``                    saved without a metric
    - ``step-00000120_metric-0.25.pt``        saved with one; the number is its repr, exact

    (eight digits, or more if there are more). Other files in the folder are left alone, but for
    those that end in ``.tmp``: what a killed run left half-written is deleted when a manager is
    made. The folder is made if it is missing.

    ``mode`` says which metric is best, the least ("min") or the largest ("max"). Of equal ones
    the earliest step is best; a metric of nan is none.

    keep below 1, or a mode that is neither, is a ValueError.

    With keep=2, metrics 0.5, 0.3, 0.4, 0.6 at the steps 10, 20, 30, 40 leave three files: those
    of steps 30 and 40, the newest, and step-00000020_metric-0.3.pt, the best.
    """

    def __init__(self, folder: str | os.PathLike[str], keep: int = 3, mode: str = "min") -> None:
        if keep < 1:
            raise ValueError(f"keep is {keep}: at least the newest has to stay")
        if mode not in ("min", "max"):
            raise ValueError(f"mode is {mode!r}: 'min' or 'max'")
        self.folder, self.keep, self.mode = Path(folder), keep, mode
        self.folder.mkdir(parents=True, exist_ok=True)
        for leftover in self.folder.glob("*.tmp"):
            leftover.unlink(missing_ok=True)

    def paths(self) -> list[Path]:
        """The checkpoints in the folder, by step, the newest last."""
        # TODO: those files whose names are a checkpoint's, sorted by the number in them.
        # HINT: is "step-100000000.pt" before or after "step-99999999.pt"?
        ### BEGIN SOLUTION
        # HINT: step_of(path), below, gives the number, or -1 for other files.
        found = [path for path in self.folder.iterdir() if step_of(path) >= 0]
        return sorted(found, key=lambda path: (step_of(path), path.name))
        ### END SOLUTION

    def best(self) -> Path | None:
        """The checkpoint with the best metric; None if none has one."""
        # TODO: the least or the largest metric, and the earliest step of equal ones.
        # HINT: min and max keep the first of equals.
        ### BEGIN SOLUTION
        # HINT: paths() is in the order of the steps, so min(..., key=metric_of) is nearly all.
        # HINT: metric_of gives nan for a file without a metric: leave those out first.
        measured = [path for path in self.paths() if not math.isnan(metric_of(path))]
        choose = min if self.mode == "min" else max
        return choose(measured, key=metric_of, default=None)
        ### END SOLUTION

    def save(
        self,
        step: int,
        model: nn.Module,
        optimizer: torch.optim.Optimizer | None = None,
        *,
        metric: float | None = None,
        extra: dict[str, Any] | None = None,
    ) -> Path:
        """Save with today's ``save_checkpoint``; then delete what is no longer wanted. → the file

        What stays: the ``keep`` with the largest steps, the best, and in any case the one that
        was just written. Another file of the same step is replaced by it. Nothing is deleted
        before the new file is safely there: if saving fails, all old ones are still in place,
        that of the same step too.
        """
        # TODO: write, then tidy up.
        # HINT: a run that went back to an older step writes a file that is not the newest.
        ### BEGIN SOLUTION
        # HINT: path = self.folder / name_of(step, metric), then save_checkpoint(path, ...).
        # HINT: first delete the others of this step, then all but paths()[-keep:], best(), path.
        path = self.folder / name_of(step, metric)
        save_checkpoint(path, model, optimizer, step=step, extra=extra)
        for other in self.paths():
            if step_of(other) == step and other != path:
                other.unlink()
        wanted = {path, self.best(), *self.paths()[-self.keep :]}
        for other in self.paths():
            if other not in wanted:
                other.unlink()
        return path
        ### END SOLUTION

    def restore(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer | None = None,
        *,
        rng: bool = True,
    ) -> Resumed | None:
        """Load the newest checkpoint that is whole. None, and nothing changed, if there is none.

        One that is a DamagedCheckpoint is passed over with a warning (warnings.warn, stacklevel=2)
        that holds its message, and the next older one is tried. One that is whole but not of this
        model or optimizer raises its CheckpointError: starting from nothing would hide that.
        """
        # TODO: try them from the newest to the oldest.
        # HINT: which exception says "not this one", and which ones should end the run?
        ### BEGIN SOLUTION
        # HINT: for path in reversed(self.paths()): try: return load_checkpoint(...)
        for path in reversed(self.paths()):
            try:
                return load_checkpoint(path, model, optimizer, rng=rng)
            except DamagedCheckpoint as error:
                warnings.warn(str(error), stacklevel=2)
        return None
        ### END SOLUTION


NUMBER = r"-?(?:inf|\d+(?:\.\d+)?(?:e[-+]?\d+)?)"
NAME = re.compile(rf"step-(\d{{8,}})(?:_metric-({NUMBER}))?\.pt")


def name_of(step: int, metric: float | None) -> str:
    """Given: the file name of a checkpoint."""
    if metric is None or math.isnan(metric):
        return f"step-{step:08d}.pt"
    return f"step-{step:08d}_metric-{float(metric)!r}.pt"


def step_of(path: Path) -> int:
    """Given: the step in the name of a checkpoint, -1 for any other file."""
    match = NAME.fullmatch(path.name)
    return -1 if match is None else int(match[1])


def metric_of(path: Path) -> float:
    """Given: the metric in the name of a checkpoint, nan if there is none."""
    match = NAME.fullmatch(path.name)
    return math.nan if match is None or match[2] is None else float(match[2])


# Examples ------------------------------------------------------------------------------------


def test_dropout() -> None:
    layer = Dropout(0.25)
    out = layer(torch.ones(1000))
    assert set(out.tolist()) == {0.0, torch.tensor(1 / 0.75).item()}
    x = torch.ones(3)
    assert layer.eval()(x) is x


def test_layer_norm() -> None:
    out = LayerNorm(3)(torch.tensor([[1.0, 2.0, 3.0]]))
    torch.testing.assert_close(out, torch.tensor([[-1.2247, 0.0, 1.2247]]), atol=1e-4, rtol=0)


def test_rms_norm() -> None:
    out = RMSNorm(2)(torch.tensor([[3.0, 4.0]]))
    torch.testing.assert_close(out, torch.tensor([[0.8485, 1.1314]]), atol=1e-4, rtol=0)


def test_embedding_does_not_learn_its_padding() -> None:
    table = Embedding(5, 2, padding_idx=0)
    table(torch.tensor([[0, 3], [3, 1]])).sum().backward()
    assert table.weight.grad is not None
    assert table.weight.grad[:, 0].tolist() == [0.0, 1.0, 0.0, 2.0, 0.0]


def test_save_and_load() -> None:
    with tempfile.TemporaryDirectory() as folder:
        model = nn.Linear(3, 2)
        optimizer = torch.optim.AdamW(model.parameters())
        save_checkpoint(Path(folder) / "run.pt", model, optimizer, step=7)
        expected = torch.rand(3)
        other = nn.Linear(3, 2)
        again = torch.optim.AdamW(other.parameters())
        assert load_checkpoint(Path(folder) / "run.pt", other, again).step == 7
        assert torch.equal(other.weight, model.weight)
        assert torch.equal(torch.rand(3), expected), "the random numbers go on as they did"


def test_manager() -> None:
    with tempfile.TemporaryDirectory() as folder:
        manager = CheckpointManager(folder, keep=2)
        for step, loss in [(10, 0.5), (20, 0.3), (30, 0.4), (40, 0.6)]:
            manager.save(step, nn.Linear(1, 1), metric=loss)
        assert [step_of(path) for path in manager.paths()] == [20, 30, 40]


if __name__ == "__main__":
    from harness import main

    main(__file__)
