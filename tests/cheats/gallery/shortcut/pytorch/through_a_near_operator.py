"""An operator with nearly that name."""

import torch


def weights(x):
    return torch.ops.aten._safe_softmax.default(x, -1)
