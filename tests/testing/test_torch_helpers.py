"""``one_launch``, ``philox_uniform``, ``random_weights`` and ``same_compiled``."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from harness.testing import (
    Launch,
    TensorRng,
    in_float64,
    one_launch,
    philox_uniform,
    philox_words,
    random_weights,
    same_compiled,
)


def seen(*grids: tuple[int, ...], peak: int = 0) -> Any:
    launches = [Launch("kernel", grid, {}) for grid in grids]
    return SimpleNamespace(launches=launches, peak_bytes=peak)


def test_one_launch_is_given_back() -> None:
    launch = one_launch(seen((4, 1, 1), peak=1000), torch.zeros(5, 7))
    assert launch is not None and launch.grid == (4, 1, 1)
    assert one_launch(seen(), torch.zeros(0, 7)) is None
    assert one_launch(seen((1,)), torch.zeros(0, 7)) is not None


@pytest.mark.parametrize(
    ("run", "out", "said"),
    [
        (seen(), torch.zeros(3), "expected 1 kernel launch, saw 0"),
        (seen((1,), (1,)), torch.zeros(3), "expected 1 kernel launch, saw 2"),
        (seen((2, 2)), torch.zeros(3), "more than one axis"),
        (seen((1,), peak=5000), torch.zeros(3), "5000 were allocated"),
        (seen((1,)), torch.zeros(3, 4).T, "to be contiguous"),
    ],
)
def test_anything_else_is_said(run: Any, out: torch.Tensor, said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        one_launch(run, out)


def test_philox_makes_the_published_words() -> None:
    """Random123's known answers for philox4x32-10: counter and key all zeros."""
    words = philox_words(0, torch.zeros(1, dtype=torch.int64))
    assert [hex(w) for w in words[0].tolist()] == [
        "0x6627e8d5", "0xe169c58d", "0xbc57ac4c", "0x9b00dbd8",
    ]  # fmt: skip


def test_a_stream_can_begin_anywhere() -> None:
    whole = philox_uniform(50, 2**40 + 7, "cpu")
    assert torch.equal(philox_uniform(20, 2**40 + 7, "cpu", first=17), whole[17:37])
    assert whole.min() >= 0 and whole.max() < 1 and len(whole.unique()) == 50
    assert not torch.equal(whole, philox_uniform(50, 2**41 + 7, "cpu"))


class Normed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm = nn.Linear(100, 200), nn.LayerNorm(200)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.layer(x))


def test_what_works_in_float32_works_in_float64() -> None:
    x = torch.tensor([1.0, 3.0], dtype=torch.float64) / 3

    def theirs(x: torch.Tensor) -> torch.Tensor:
        return x.float() + torch.ones(2, dtype=torch.float32)

    assert theirs(x).dtype == torch.float32
    with in_float64():
        found = theirs(x)
    assert found.dtype == torch.float64 and torch.equal(found, x + 1)
    assert theirs(x).dtype == torch.float32


def test_random_weights_leave_nothing_neutral() -> None:
    rng = TensorRng(7, torch.device("cpu"))
    module = random_weights(Normed(), rng, 3.0)
    assert abs(module.layer.weight.std() - 0.3) < 0.01
    assert abs(module.norm.weight.mean() - 1.0) < 0.2 and abs(module.norm.bias.mean()) < 0.2
    assert module.norm.weight.std() > 0.3


def test_the_same_under_compile() -> None:
    module = Normed()
    same_compiled(module, [torch.randn(3, 100)], list(module.parameters()), "it")


def test_another_value_under_compile_is_said() -> None:
    w = torch.ones(3, requires_grad=True)

    def f(x: torch.Tensor) -> torch.Tensor:
        return x * w * (2.0 if torch.compiler.is_compiling() else 1.0)

    with pytest.raises(AssertionError, match="compiled it: the result is off by 1"):
        same_compiled(f, [torch.ones(3)], [w], "it")
