"""Another track's library has the derivative and all else."""

import torch


def double(x):
    return (2 * torch.from_numpy(x.copy())).numpy()
