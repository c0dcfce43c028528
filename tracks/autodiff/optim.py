"""Optimisers with the names of ``torch.optim``: what days 31 and 32 wrote. Given, for day 35."""

from __future__ import annotations

import types

from tracks.autodiff import day32
from tracks.autodiff.day31 import SGD, Optimizer
from tracks.autodiff.day32 import Adagrad, Adam, AdamW, RMSprop

__all__ = ["SGD", "Adagrad", "Adam", "AdamW", "Optimizer", "RMSprop", "lr_scheduler"]

lr_scheduler = types.SimpleNamespace(
    LRScheduler=day32.LRScheduler, StepLR=day32.StepLR, SequentialLR=day32.SequentialLR,
    CosineAnnealingLR=day32.CosineAnnealingLR, LinearWarmup=day32.LinearWarmup,
)  # fmt: skip
"""Schedules. All but ``LinearWarmup`` have torch's names."""
