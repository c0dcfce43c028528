"""The library's own decomposition."""

import torch
from torch._decomp import decomposition_table


def weights(x):
    return decomposition_table[torch.ops.aten._softmax.default](x, -1, False)
