"""The function itself is mapped: no frame of the answer calls it."""

from functools import partial

import torch


def weights(x):
    return torch.func.vmap(partial(torch.softmax, dim=-1))(x)
