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
]  # fmt: skip
