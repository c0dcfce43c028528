"""The library's reference in Python."""

import torch
import torch._refs


def weights(x):
    return torch._refs.softmax(x, -1)
