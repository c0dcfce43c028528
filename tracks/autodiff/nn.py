"""Modules with the names of ``torch.nn``: those of days 29 and 30, and thin ones for the functions
of days 31 and 33. Given, for day 35, which adds ``MultiheadAttention``.
"""

from __future__ import annotations

import math
import types
from typing import TYPE_CHECKING, Any

import numpy as np

from tracks.autodiff import day30, day32, functional
from tracks.autodiff.day28 import Tensor
from tracks.autodiff.day29 import Module, ModuleDict, ModuleList, Parameter, Sequential
from tracks.autodiff.day30 import (
    GELU,
    BatchNorm1d,
    BatchNorm2d,
    Dropout,
    Embedding,
    Flatten,
    LayerNorm,
    Linear,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Tanh,
)

if TYPE_CHECKING:
    from tracks.autodiff.day35 import MultiheadAttention

__all__ = [
    "GELU", "AdaptiveAvgPool2d", "AvgPool2d", "BCEWithLogitsLoss", "BatchNorm1d", "BatchNorm2d",
    "Conv2d", "ConvTranspose2d", "CrossEntropyLoss", "Dropout", "Embedding", "Flatten", "HuberLoss",
    "Identity", "LayerNorm", "Linear", "MSELoss", "MaxPool2d", "Module", "ModuleDict", "ModuleList",
    "MultiheadAttention", "NLLLoss", "Parameter", "ReLU", "Sequential", "SiLU", "Sigmoid",
    "Softmax", "Tanh", "functional", "init", "utils",
]  # fmt: skip

Pair = int | tuple[int, int]

init = types.SimpleNamespace(
    uniform_=day30.uniform_, normal_=day30.normal_, constant_=day30.constant_,
    zeros_=day30.zeros_, ones_=day30.ones_, calculate_gain=day30.calculate_gain,
    xavier_uniform_=day30.xavier_uniform_, xavier_normal_=day30.xavier_normal_,
    kaiming_uniform_=day30.kaiming_uniform_, kaiming_normal_=day30.kaiming_normal_,
)  # fmt: skip
"""What fills a weight for the first time, in place."""
utils = types.SimpleNamespace(clip_grad_norm_=day32.clip_grad_norm_)


def pair(value: Pair) -> tuple[int, int]:
    """A number for both axes of an image."""
    return (value, value) if isinstance(value, int) else tuple(value)  # type: ignore[return-value]


class Identity(Module):
    """What comes in."""

    def forward(self, input: Tensor) -> Tensor:
        return input


# -- convolution and pooling -------------------------------------------------------------------


class Convolution(Module):
    """What Conv2d and ConvTranspose2d have in common: settings under torch's names, as pairs;
    ``weight``, and ``bias``, which is None unless wanted. First values are uniform up to
    ±1/√fan_in, as in Linear."""

    turned = False
    """Whether the weight is (in, out / groups, …), not (out, in / groups, …)."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        stride: Pair,
        padding: Pair | str,
        output_padding: Pair,
        dilation: Pair,
        groups: int,
        bias: bool,
    ) -> None:
        super().__init__()
        if in_channels % groups or out_channels % groups:
            what = f"{type(self).__name__}: {in_channels} and {out_channels} channels"
            raise ValueError(f"{what} in {groups} groups")
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size, self.stride = pair(kernel_size), pair(stride)
        self.padding = padding if isinstance(padding, str) else pair(padding)
        self.output_padding, self.dilation = pair(output_padding), pair(dilation)
        ends = (out_channels, in_channels // groups)
        if self.turned:
            ends = (in_channels, out_channels // groups)
        self.weight = Parameter(np.zeros((*ends, *self.kernel_size), np.float32))
        zeros = np.zeros(out_channels, np.float32)
        self.register_parameter("bias", Parameter(zeros) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        fan_in, _ = day30.fan_in_and_fan_out(self.weight)
        bound = 1 / math.sqrt(fan_in) if fan_in else 0.0
        day30.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            day30.uniform_(self.bias, -bound, bound)

    def extra_repr(self) -> str:
        """As torch's: what is at its default is left out."""
        shown = [f"{self.in_channels}, {self.out_channels}"]
        shown += [f"kernel_size={self.kernel_size}, stride={self.stride}"]
        defaults = {"padding": (0, 0), "dilation": (1, 1), "output_padding": (0, 0), "groups": 1}
        values = {name: getattr(self, name) for name in defaults}
        shown += [f"{name}={v}" for name, v in values.items() if v != defaults[name]]
        shown += ["bias=False"] if self.bias is None else []
        return ", ".join(shown)


class Conv2d(Convolution):
    """``functional.conv2d`` with its parameters: weight (out, in / groups, height, width)."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        stride: Pair = 1,
        padding: Pair | str = 0,
        dilation: Pair = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, 0, dilation, groups, bias
        )

    def forward(self, input: Tensor) -> Tensor:
        return functional.conv2d(
            input, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups
        )


class ConvTranspose2d(Convolution):
    """``functional.conv_transpose2d``: weight (in, out / groups, height, width)."""

    turned = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        stride: Pair = 1,
        padding: Pair = 0,
        output_padding: Pair = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Pair = 1,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, output_padding, dilation,
            groups, bias,
        )  # fmt: skip

    def forward(self, input: Tensor) -> Tensor:
        return functional.conv_transpose2d(
            input, self.weight, self.bias, self.stride, self.padding, self.output_padding,
            self.groups, self.dilation,
        )  # fmt: skip


class MaxPool2d(Module):
    def __init__(
        self, kernel_size: Pair, stride: Pair | None = None, padding: Pair = 0, dilation: Pair = 1
    ) -> None:
        super().__init__()
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.dilation = padding, dilation

    def forward(self, input: Tensor) -> Tensor:
        return functional.max_pool2d(
            input, self.kernel_size, self.stride, self.padding, self.dilation
        )

    def extra_repr(self) -> str:
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode=False"
        )


class AvgPool2d(Module):
    def __init__(
        self,
        kernel_size: Pair,
        stride: Pair | None = None,
        padding: Pair = 0,
        *,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__()
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.count_include_pad = padding, count_include_pad

    def forward(self, input: Tensor) -> Tensor:
        return functional.avg_pool2d(
            input, self.kernel_size, self.stride, self.padding,
            count_include_pad=self.count_include_pad,
        )  # fmt: skip

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AdaptiveAvgPool2d(Module):
    def __init__(self, output_size: Any) -> None:
        super().__init__()
        self.output_size = output_size

    def forward(self, input: Tensor) -> Tensor:
        return functional.adaptive_avg_pool2d(input, self.output_size)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


# -- losses ------------------------------------------------------------------------------------


class Loss(Module):
    """A loss with its options, which are attributes; tensors among them (weights) are buffers, as
    in torch. Options are given by name where torch has others between them."""

    def __init__(self, function: Any, tensors: dict[str, Tensor | None], **options: Any) -> None:
        super().__init__()
        self.function, self.names = function, (*tensors, *options)
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor)
        for name, option in options.items():
            setattr(self, name, option)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return self.function(input, target, **{name: getattr(self, name) for name in self.names})


class MSELoss(Loss):
    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__(functional.mse_loss, {}, reduction=reduction)


class HuberLoss(Loss):
    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(functional.huber_loss, {}, reduction=reduction, delta=delta)


class NLLLoss(Loss):
    def __init__(
        self, weight: Tensor | None = None, *, ignore_index: int = -100, reduction: str = "mean"
    ) -> None:
        options = {"ignore_index": ignore_index, "reduction": reduction}
        super().__init__(functional.nll_loss, {"weight": weight}, **options)


class CrossEntropyLoss(Loss):
    def __init__(
        self,
        weight: Tensor | None = None,
        *,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(
            functional.cross_entropy, {"weight": weight}, ignore_index=ignore_index,
            reduction=reduction, label_smoothing=label_smoothing,
        )  # fmt: skip


class BCEWithLogitsLoss(Loss):
    def __init__(
        self,
        weight: Tensor | None = None,
        *,
        reduction: str = "mean",
        pos_weight: Tensor | None = None,
    ) -> None:
        super().__init__(
            functional.binary_cross_entropy_with_logits,
            {"weight": weight, "pos_weight": pos_weight}, reduction=reduction,
        )  # fmt: skip
