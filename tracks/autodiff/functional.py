"""Functions with the names of ``torch.nn.functional``: what days 21 to 33 wrote, in one place.

Given, for day 35, which adds ``scaled_dot_product_attention``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tracks.autodiff import day30
from tracks.autodiff import operations as ops
from tracks.autodiff.day28 import Tensor
from tracks.autodiff.day30 import batch_norm, dropout, embedding, layer_norm, linear
from tracks.autodiff.day31 import (
    binary_cross_entropy_with_logits,
    cross_entropy,
    huber_loss,
    mse_loss,
    nll_loss,
)
from tracks.autodiff.day33 import (
    adaptive_avg_pool2d,
    avg_pool2d,
    conv2d,
    conv_transpose2d,
    max_pool2d,
)

if TYPE_CHECKING:
    from tracks.autodiff.day35 import scaled_dot_product_attention

__all__ = [
    "adaptive_avg_pool2d", "avg_pool2d", "batch_norm", "binary_cross_entropy_with_logits", "conv2d",
    "conv_transpose2d", "cross_entropy", "dropout", "embedding", "gelu", "huber_loss", "layer_norm",
    "linear", "log_softmax", "max_pool2d", "mse_loss", "nll_loss", "pad", "relu",
    "scaled_dot_product_attention", "sigmoid", "silu", "softmax", "tanh",
]  # fmt: skip


def relu(input: Tensor) -> Any:
    """max(x, 0)."""
    return input.relu()


def tanh(input: Tensor) -> Any:
    return input.tanh()


def sigmoid(input: Tensor) -> Any:
    return input.sigmoid()


def silu(input: Tensor) -> Any:
    """x · sigmoid(x)."""
    return input * input.sigmoid()


def gelu(input: Tensor, *, approximate: str = "none") -> Any:
    """x · Φ(x); with ``approximate="tanh"`` the formula of Hendrycks and Gimpel, 2016."""
    return day30.GELU(approximate)(input)


def softmax(input: Tensor, dim: int) -> Any:
    return input.softmax(dim)


def log_softmax(input: Tensor, dim: int) -> Any:
    return input.log_softmax(dim)


def pad(
    input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None
) -> Any:
    """``pad`` is (left, right) of the last axis, then of the one before it, and so on. The new
    elements are ``value``, 0 unless given; torch's other modes are refused."""
    if mode != "constant":
        raise ValueError(f"pad: mode is {mode!r}, and there is only constant")
    return ops.pad(input, pad, 0.0 if value is None else value)
