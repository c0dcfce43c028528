"""Tests that need a card; elsewhere they are skipped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from harness.run.warm import Warm

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not torch.cuda.is_available():
        for item in items:
            if HERE in item.path.parents:
                item.add_marker(pytest.mark.skip(reason="needs an NVIDIA card"))


@pytest.fixture(scope="module")
def triton() -> Iterator[Warm]:
    with Warm("triton", "cuda") as launcher:
        yield launcher


@pytest.fixture(scope="module")
def pytorch() -> Iterator[Warm]:
    with Warm("pytorch", "cuda") as launcher:
        yield launcher
