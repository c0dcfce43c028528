"""Compiled beforehand."""

import torch

compiled = torch.compile(lambda x: torch.softmax(x, -1), backend="eager")
compiled(torch.ones(2, 3))


def weights(x):
    return compiled(x)
