"""A traced module."""

import torch

traced = torch.jit.trace(torch.nn.Softmax(-1), torch.ones(2, 3), check_trace=False)


def weights(x):
    return traced(x)
