"""The library's function, given a name."""

import torch

weights = torch.softmax
