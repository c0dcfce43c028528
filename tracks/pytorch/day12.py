"""
Day 12: Convolutional networks
==============================
Estimated time: 2-3 hours
Prerequisites: Day 6 (training loop), Day 5 (nn.Module), Day 1 (sliding windows)
Lesson: lessons/day12.md

Learning objectives:
- Turn a convolution into one matrix product, with stride, padding, dilation and groups
- Take the maximum of every window, and say where its gradient goes
- Tell apart the three pairs of statistics that batch norm works with, and when each is used
- Build a residual block and a small LeNet, and read handwritten digits with 98 % right

A convolution compares one small filter with every place of an image. Cut out all the places,
lay each flat as a column, and all the comparisons are one matrix product:

      image          windows                    filters            columns
    ┌───────┐     ┌──┐┌──┐┌──┐                               ┌─────────────┐
    │ a b c │     │ab││bc││de│                               │ a  b  d  e  │
    │ d e f │ ──▶ │de││ef││gh│ ...  ──▶  [w00 w01 w10 w11] @ │ b  c  e  f  │
    │ g h i │     └──┘└──┘└──┘            one row a filter   │ d  e  g  h  │
    └───────┘     one for each place                         │ e  f  h  i  │
                  of the result                              └─────────────┘

Once you pass,

    python -m tracks.pytorch.day12 lenet.png

trains your network on 1,797 real digits with a progress bar, and draws its curves, its filters
and the digits that it misreads.

Hints:
- Write down the shapes before the code: (N, C, H, W), then what each step makes of them.
- Nothing today loops over images, channels, filters, places or the elements of a window.
- When a value is wrong at the border only, look at the padding.

Resources:
- A picture book of strides and paddings, Dumoulin and Visin 2016: https://arxiv.org/abs/1603.07285
- LeNet-5, LeCun et al. 1998: http://yann.lecun.com/exdb/publis/pdf/lecun-98.pdf
- Batch normalisation, Ioffe and Szegedy 2015: https://arxiv.org/abs/1502.03167
- Residual networks, He et al. 2015: https://arxiv.org/abs/1512.03385
"""

from __future__ import annotations

import sys

import torch
import torch.nn.functional as F
from torch import nn

from tracks.pytorch.day05 import Linear
from tracks.pytorch.day06 import Digits, History, evaluate, fit, load_digits, seed_everything

Pair = int | tuple[int, int]
"""(vertical, horizontal), or one number for both."""


def pair(value: Pair) -> tuple[int, int]:
    """
    >>> pair(3), pair((1, 2))
    ((3, 3), (1, 2))
    """
    return (value, value) if isinstance(value, int) else value


def conv2d(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> torch.Tensor:
    """A convolution of images with filters, by unfolding and one matrix product.

    Args:
        x: images (N, C, H, W), any strides, float64, float32, bfloat16 or float16; N may be 0
        weight: M filters (M, C / groups, kh, kw), of the dtype of x
        bias: (M,), added to every place of a filter's channel, or None
        stride: how far the window moves from one place to the next
        padding: rows and columns of zeros added on each side
        dilation: the distance between neighbouring elements of the window in the image
        groups: the C channels and the M filters are cut, in order, into this many groups of
            equal size; the filters of a group see the channels of that group alone, so that a nan
            in the channels of another group does not reach them

    Returns (N, M, OH, OW) in the dtype of x, with, along each axis,
    OH = ⌊(H + 2 padding - dilation (kh - 1) - 1) / stride⌋ + 1. With one group::

        out[n, m, i, j] = bias[m] + Σ_{c, a, b} weight[m, c, a, b] ·
                          padded[n, c, i stride + a dilation, j stride + b dilation]

    The filter is not turned round, so mathematicians call this a cross-correlation.

    There is no loop, not over groups either: the number of torch operators called does not
    depend on any size. The columns are N · C · kh · kw · OH · OW numbers; at its peak it needs the
    memory of two and a half times as many. It runs under torch.compile(fullgraph=True). torch's
    own convolutions are not called; its F.unfold, F.pad and products are. Raises ValueError naming
    the numbers when

    - C is not groups · weight.shape[1]
    - groups does not divide M
    - the window, dilation (k - 1) + 1, does not fit into the padded image

    >>> conv2d(torch.arange(9.0).view(1, 1, 3, 3), torch.ones(1, 1, 2, 2)).tolist()
    [[[[8.0, 12.0], [20.0, 24.0]]]]
    """
    # TODO: check the sizes; unfold the windows into columns, multiply, add the bias.
    # HINT: F.unfold makes the columns (N, C·kh·kw, places); which of its axes is summed over?
    raise NotImplementedError("conv2d")


def max_pool2d(
    x: torch.Tensor, kernel: Pair, stride: Pair | None = None, padding: Pair = 0
) -> torch.Tensor:
    """The largest element of every window of every channel.

    Args:
        x: images (N, C, H, W), any strides, any floating point dtype; N may be 0
        kernel: the window (kh, kw)
        stride: how far the window moves; by default its own size, so that windows do not overlap
        padding: on each side; what is padded is never the largest, whatever the image holds

    Returns (N, C, OH, OW) with OH = ⌊(H + 2 padding - kh) / stride⌋ + 1 along each axis: rows and
    columns that no longer fill a window are left out. Windows with a nan give nan.

    Backward, the gradient of a result goes to one element: the first of the largest ones, row by
    row. After a ReLU equal elements (zeros) are common. Of a window at the border that holds
    nothing but -inf, the gradient may be lost in the padding. There is no loop, not over the
    elements of a window either: the number of torch operators called does not depend on any size.
    Raises ValueError naming the numbers when padding is more than half of the kernel (a window
    could lie in the padding alone) and when the window does not fit into the padded image. torch's
    own pools are not called, and it runs under torch.compile(fullgraph=True).

    >>> max_pool2d(torch.tensor([[[[1.0, 5.0, 2.0, 0.0], [3.0, 4.0, 8.0, 6.0]]]]), 2).tolist()
    [[[[5.0, 8.0]]]]
    """
    # TODO: pad, look at every window, take the largest.
    # HINT: which number is never larger than any other?
    raise NotImplementedError("max_pool2d")


class BatchNorm2d(nn.Module):
    """Bring each channel to mean 0 and variance 1, then scale and shift it (Ioffe, Szegedy 2015).

    Parameters ``weight`` (ones) and ``bias`` (zeros), buffers ``running_mean`` (zeros),
    ``running_var`` (ones) and ``num_batches_tracked`` (int64, 0-d, 0), all but the last of shape
    (features,): names and order are those of nn.BatchNorm2d, and each loads the other's state.

    forward, of ``x`` (N, features, H, W), any strides, → the same shape and dtype::

        out = (x - mean) / √(variance + eps) · weight + bias          each (features,)

    In training mode mean and variance are those of the batch, over images and places, n = N·H·W
    numbers a channel; the gradient flows through them. The running statistics then follow, in
    place, as constants::

        num_batches_tracked <- num_batches_tracked + 1
        running <- (1 - m) · running + m · batch

    - ``out`` uses the biased variance (÷ n), running_var the unbiased one (÷ (n - 1)).
    - m is ``momentum``; with ``momentum=None`` it is 1 / num_batches_tracked, which makes the
      running statistics the plain average over the batches.

    In eval mode mean and variance are the running ones, and nothing is written.

    Half-precision ``x`` and buffers are computed with in float32, and what is stored is rounded
    once. float64 ``x`` is computed with in float64 throughout, m included. Nothing waits for a
    tensor's elements (no .item()), it runs under torch.compile(fullgraph=True), and torch's own
    norms are not called. Raises ValueError naming the shape when ``x`` does not have four axes or
    the second is not ``features``, and, in training mode, when n is less than 2; then nothing was
    written.

    >>> norm = BatchNorm2d(1, momentum=0.5)
    >>> norm(torch.tensor([1.0, 3.0]).view(2, 1, 1, 1)).flatten()
    tensor([-1.0000,  1.0000], grad_fn=<ViewBackward0>)
    >>> norm.running_mean.item(), norm.running_var.item()
    (1.0, 1.5)
    """

    weight: torch.Tensor
    bias: torch.Tensor
    running_mean: torch.Tensor
    running_var: torch.Tensor
    num_batches_tracked: torch.Tensor

    def __init__(self, features: int, eps: float = 1e-5, momentum: float | None = 0.1) -> None:
        super().__init__()
        self.features, self.eps, self.momentum = features, eps, momentum
        # TODO: two parameters and three buffers.
        # HINT: which of the five does the optimizer change?
        raise NotImplementedError("BatchNorm2d.__init__")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # TODO: choose the statistics, update the running ones, normalise.
        # HINT: over which three axes of x is a channel's mean taken?
        raise NotImplementedError("BatchNorm2d.forward")

    def extra_repr(self) -> str:
        """What print(norm) shows between the brackets."""
        return f"{self.features}, eps={self.eps}, momentum={self.momentum}"


class Conv2d(nn.Module):
    """Given: ``conv2d`` with its weight and bias, named and initialised as nn.Conv2d does it."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        stride: int = 1,
        padding: int = 0,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.stride, self.padding = stride, padding
        shape = (out_channels, in_channels, kernel, kernel)
        bound = (in_channels * kernel * kernel) ** -0.5
        self.weight = nn.Parameter(torch.empty(shape).uniform_(-bound, bound))
        if bias:
            self.bias = nn.Parameter(torch.empty(out_channels).uniform_(-bound, bound))
        else:
            self.register_parameter("bias", None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return conv2d(x, self.weight, self.bias, self.stride, self.padding)

    def extra_repr(self) -> str:
        out_channels, in_channels, kernel, _ = self.weight.shape
        return f"{in_channels}, {out_channels}, {kernel}, stride={self.stride}"


class ResidualBlock(nn.Module):
    """The basic block of ResNet-18 and ResNet-34 (He et al. 2015, figure 2)::

        x ─┬─ conv1 3×3, stride ─ bn1 ─ ReLU ─ conv2 3×3 ─ bn2 ─(+)─ ReLU ─▶
           └─────────────── downsample, or nothing ──────────────┘

    - ``conv1``: in_channels → out_channels, with ``stride``, and ``conv2``: out_channels →
      out_channels, stride 1; both 3×3 with padding 1, so that stride 1 keeps height and width
    - ``bn1``, ``bn2``: BatchNorm2d(out_channels)
    - ``downsample``: None when x can be added as it is; when the channels or the size change, an
      nn.Sequential of a 1×1 convolution with ``stride`` and a BatchNorm2d (He's option B)
    - no convolution has a bias; all are today's ``Conv2d`` and ``BatchNorm2d``
    - with ``zero_init=True`` the weight of bn2 starts at zeros, so that a new block without
      downsample is just a ReLU (Goyal et al. 2017, section 5.1)

    Names and order of the state_dict are those of torchvision's BasicBlock: conv1.weight,
    bn1.weight, ..., conv2.weight, bn2.weight, ..., downsample.0.weight, downsample.1.weight, ...

    Modules without a state of their own, such as nn.ReLU, may be added.

    forward: ``x`` (N, in_channels, H, W) → (N, out_channels, ⌈H / stride⌉, ⌈W / stride⌉). x is
    not changed. It runs under torch.compile(fullgraph=True).

    >>> ResidualBlock(8, 16, stride=2)(torch.zeros(2, 8, 5, 4)).shape
    torch.Size([2, 16, 3, 2])
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int = 1, zero_init: bool = False
    ) -> None:
        super().__init__()
        # TODO: two convolutions with their norms, and a downsample where one is needed.
        # HINT: there are two reasons why x could not be added as it is.
        raise NotImplementedError("ResidualBlock.__init__")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # TODO: both ways, their sum, and the last ReLU.
        # HINT: what would the second ReLU do before the sum?
        raise NotImplementedError("ResidualBlock.forward")


class LeNet(nn.Module):
    """LeCun's plan of 1998 (convolve, pool, convolve, pool, dense layers) with today's parts.

    ===========  ==========================================  ==========================
    submodule    what it is                                  makes, of size 8
    ===========  ==========================================  ==========================
    conv1        Conv2d, 1 → 16, 5×5, padding 2, no bias     (N, 16, 8, 8)
    bn1          BatchNorm2d, then ReLU                      (N, 16, 8, 8)
                 max_pool2d with 2×2 windows                 (N, 16, 4, 4)
    block        ResidualBlock, 16 → 32                      (N, 32, 4, 4)
                 max_pool2d with 2×2 windows                 (N, 32, 2, 2)
    fc1          day 5's Linear, to 84, then ReLU            (N, 84)
    dropout      nn.Dropout(0.5)                             (N, 84)
    fc2          day 5's Linear, 84 → classes                (N, classes)
    ===========  ==========================================  ==========================

    Each image is laid flat before fc1 channel by channel, and row by row within a channel. The
    state_dict has the submodules in this order, and forward calls each of them, the dropout too:
    what is set in it (its p, its mode) counts.

    forward: ``images`` (N, size, size), without an axis for the one channel → scores
    (N, classes). ``size`` is at least 4; a pool leaves out an odd row or column. It runs under
    torch.compile(fullgraph=True); trained by ``train_on_digits`` it reads 98 % of the 360 unseen
    digits. Raises ValueError naming ``size`` and the shape when images have another shape.

    >>> LeNet()(torch.zeros(5, 8, 8)).shape
    torch.Size([5, 10])
    """

    def __init__(self, classes: int = 10, size: int = 8) -> None:
        super().__init__()
        self.size = size
        # TODO: the six submodules of the table.
        # HINT: how many numbers are left of an image when fc1 gets it?
        raise NotImplementedError("LeNet.__init__")

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        # TODO: the table, from top to bottom.
        # HINT: where does the axis for the channel belong?
        raise NotImplementedError("LeNet.forward")


def smoothed(scores: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Given: cross entropy that asks for 80 % of the target and 2 % of every class (day 10)."""
    return F.cross_entropy(scores, targets, label_smoothing=0.2)


def train_on_digits(seed: int = 0, epochs: int = 16) -> tuple[LeNet, History, Digits]:
    """Given: a LeNet trained on day 6's digits with day 6's loop. Its progress bar shows on a
    terminal."""
    generator = seed_everything(seed)
    digits = load_digits()
    model = LeNet()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=0.05)
    history = fit(
        model, digits.train, digits.validation, optimizer,
        epochs=epochs, clip=5.0, generator=generator, loss_fn=smoothed,
    )  # fmt: skip
    return model, history, digits


def plot_network(model: LeNet, history: History, digits: Digits, path: str) -> None:
    """Given: draw the curves, the filters of conv1 and the misread digits into ``path``."""
    import matplotlib

    matplotlib.use("Agg")  # draws into files, needs no screen
    import matplotlib.pyplot as plt

    with torch.no_grad():
        read = model(digits.test.inputs).argmax(-1)
    wrong = (read != digits.test.targets).nonzero().flatten().tolist()
    figure = plt.figure(figsize=(10, 7), layout="constrained")
    above, filters, misread = figure.subfigures(3, 1, height_ratios=[2, 1, 1])
    left, right = above.subplots(1, 2)
    left.plot(history.train_loss, label="training (with dropout)")
    left.plot(history.validation_loss, label="validation")
    left.axvline(history.best_epoch, color="gray", linestyle=":", label="best epoch")
    left.set(xlabel="epoch", ylabel="loss", yscale="log")
    left.legend()
    right.plot([100 * a for a in history.validation_accuracy])
    right.set(xlabel="epoch", ylabel="validation accuracy in %")
    filters.suptitle("the 16 filters of the first layer")
    for axes, weight in zip(filters.subplots(1, 16), model.conv1.weight.detach(), strict=True):
        axes.imshow(weight[0], cmap="RdBu")
        axes.axis("off")
    misread.suptitle(f"{len(wrong)} of {len(read)} unseen digits are misread")
    for axes, row in zip(misread.subplots(1, 8), wrong + [-1] * 8, strict=False):
        axes.axis("off")
        if row >= 0:
            axes.imshow(digits.test.inputs[row], cmap="gray_r")
            axes.set_title(f"{digits.test.targets[row]}, read {read[row]}", fontsize=9)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def test_conv2d() -> None:
    x, weight = torch.randn(2, 4, 9, 8), torch.randn(6, 2, 3, 3)
    found = conv2d(x, weight, stride=2, padding=1, groups=2)
    wanted = F.conv2d(x, weight, stride=2, padding=1, groups=2)
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)


def test_max_pool2d() -> None:
    x = torch.tensor([[[[1.0, 5.0, 2.0, 0.0], [3.0, 4.0, 8.0, 6.0]]]])
    assert max_pool2d(x, 2).tolist() == [[[[5.0, 8.0]]]]
    assert max_pool2d(-x, 3, stride=1, padding=1).max() == 0.0


def test_batch_norm() -> None:
    norm = BatchNorm2d(1, momentum=0.5)
    out = norm(torch.tensor([1.0, 3.0]).view(2, 1, 1, 1))
    torch.testing.assert_close(out.flatten(), torch.tensor([-1.0, 1.0]), atol=1e-4, rtol=0.0)
    assert (norm.running_mean.item(), norm.running_var.item()) == (1.0, 1.5)


def test_residual_block() -> None:
    block = ResidualBlock(4, 4, zero_init=True)
    x = torch.randn(2, 4, 5, 5)
    torch.testing.assert_close(block(x), x.relu())


def test_lenet() -> None:
    assert LeNet(classes=3, size=12)(torch.zeros(2, 12, 12)).shape == (2, 3)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        network, curves, data = train_on_digits()
        plot_network(network, curves, data, sys.argv[1])
        print(f"accuracy on 360 unseen digits: {evaluate(network, data.test).accuracy:.1%}")
    else:
        from harness import main

        main(__file__)
