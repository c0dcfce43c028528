"""Data, training and files: what day 34 wrote. Given, for day 35."""

from __future__ import annotations

from tracks.autodiff.day34 import (
    Callback,
    Checkpoint,
    DataLoader,
    Dataset,
    EarlyStopping,
    ProgressBar,
    TensorDataset,
    Trainer,
    load,
    save,
)

__all__ = [
    "Callback", "Checkpoint", "DataLoader", "Dataset", "EarlyStopping", "ProgressBar",
    "TensorDataset", "Trainer", "load", "save",
]  # fmt: skip
