"""Kernels of these tests are interpreted where there is no GPU; triton reads this when imported."""

import os

import pytest
import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture(scope="session")
def place() -> str:
    return DEVICE
