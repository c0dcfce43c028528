"""Wrong answers of the PyTorch track."""

from __future__ import annotations

from harness.curriculum import Day
from tests.grading.gallery import Wrong

TWO, TWELVE, SIX = Day("pytorch", 2), Day("pytorch", 12), Day("pytorch", 6)

WRONG = [
    Wrong(
        "the arguments of unfold in another order", TWELVE, "conv2d",
        (("(kernel[0], kernel[1]), dilation, padding, stride)",
          "(kernel[0], kernel[1]), padding, dilation, stride)"),),
        cause="F.unfold takes kernel, dilation", never=("float32", "bias"),
    ),
    Wrong(
        "windows are padded with zeros", TWELVE, "max_pool2d",
        (("value=-torch.inf)", "value=0.0)"),),
        cause="What is padded must never win",
    ),
    Wrong(
        "a momentum of 0.0 is taken for None", TWELVE, "BatchNorm2d",
        (("if self.momentum is not None:", "if self.momentum:"),),
        cause="momentum=0.0 is taken for None",
        never=("weighs the old value", "nine tenths", "unbiased"),
    ),
    Wrong(
        "the running variance is the biased one", TWELVE, "BatchNorm2d",
        (("unbiased = variance * (n / (n - 1))", "unbiased = variance"),),
        cause="follows the biased variance", never=("weighs the old value",),
    ),
    Wrong(
        "a step that is not scaled by its rows", SIX, "train_step",
        ((" * (len(targets) / rows)\n", " / accumulate\n"),),
        cause="Weigh a slice by its rows", never=("float32",),
    ),
    Wrong(
        "dropout is on while the model is evaluated", SIX, "evaluate",
        (("    model.eval()\n    loss, correct = 0.0, 0\n", "    loss, correct = 0.0, 0\n"),),
        cause="in the mode in which it is",
        never=("float32",),
    ),
    Wrong(
        "the last batch counts as much as a full one", SIX, "evaluate",
        (("loss += loss_fn(scores, targets).item() * len(targets)",
          "loss += loss_fn(scores, targets).item() * batch_size"),),
        cause="The last one may be shorter", never=("float32", "dropout"),
    ),
    Wrong(
        "nothing to evaluate is not refused", SIX, "evaluate",
        (('    if rows == 0:\n'
          '        raise ValueError("there are no rows to evaluate on")\n', ""),),
        cause="is to raise a ValueError", never=("DID NOT RAISE",),
    ),
    Wrong(
        "the bias runs along the width", TWELVE, "conv2d",
        (("out + bias[:, None, None]", "out + bias"),),
        cause="The bias is added along the width", never=("sum of all biases",),
    ),
    Wrong(
        "the second convolution moves by the stride", TWELVE, "ResidualBlock",
        (("Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)",
          "Conv2d(in_channels, out_channels, 3, padding=1, bias=False)"),
         ("Conv2d(out_channels, out_channels, 3, padding=1, bias=False)",
          "Conv2d(out_channels, out_channels, 3, stride, padding=1, bias=False)")),
        cause="The second convolution takes the stride",
    ),
    Wrong(
        "a batch is normalised with the running statistics", TWELVE, "BatchNorm2d",
        (("        scale = self.weight * torch",
          "        mean, variance = self.running_mean, self.running_var.to(wide)\n"
          "        scale = self.weight * torch"),),
        cause="normalised with the running statistics", never=("eval mode", "two large"),
    ),
    Wrong(
        "the variance as a difference of two means", TWELVE, "BatchNorm2d",
        (("            variance, mean = torch.var_mean(values, (0, 2, 3), correction=0)\n",
          "            mean = values.mean((0, 2, 3))\n"
          "            variance = (values**2).mean((0, 2, 3)) - mean**2\n"),),
        cause="nearly equal numbers are subtracted", never=("never written", "every value is nan"),
    ),
]  # fmt: skip
