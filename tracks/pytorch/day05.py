"""
Day 5: nn.Module
================
Estimated time: 1-2 hours
Prerequisites: Day 3 (autograd), Day 2 (tensor operations)
Lesson: lessons/day05.md

Learning objectives:
- Write a layer: what belongs into __init__, what into forward, and what a Parameter is
- Choose between a parameter, a buffer, a buffer that is not saved, and a plain attribute
- Build modules out of modules, and read the names in their state_dict
- Count, freeze and initialise the parameters of any module by walking its tree

A module is a tree. Each node keeps three dictionaries, and `self.x = value` files the value into
the right one:

    MLP                        self.x = nn.Parameter(...)      -> parameters
     ├─ layers   ModuleList    self.register_buffer("x", ...)  -> buffers
     │   ├─ 0    Linear        self.x = Linear(...)            -> submodules
     │   │        weight, bias self.x = anything else          -> an attribute
     │   └─ 1    Linear                                    that nobody finds
     └─ dropout

state_dict(), parameters(), to(), train() and zero_grad() do nothing but walk this tree, so what
was not filed does not exist for them. A path through it is a name: layers.0.weight.

Hints:
- print(module) shows the tree; dict(module.named_parameters()) and module.state_dict() its leaves.
- super().__init__() comes first: it makes the three dictionaries.
- A plain list or dict of modules hides them; nn.ModuleList and nn.ModuleDict show them.

Resources:
- Modules: https://docs.pytorch.org/docs/stable/notes/modules.html
- nn.Module: https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html
- Merging means and variances, Chan, Golub and LeVeque 1979, equation 2.1:
  http://i.stanford.edu/pub/cstr/reports/cs/tr/79/773/CS-TR-79-773.pdf
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import nn


class Linear(nn.Module):
    """An affine layer: x Wᵀ + b, over the last axis of ``x``.

    - ``weight`` (out_features, in_features) and ``bias`` (out_features,) are parameters. With
      ``bias=False`` the attribute ``bias`` exists and is None.
    - At first all their elements are uniform between -1/√in_features and 1/√in_features.
    - forward: ``x`` (..., in_features) → (..., out_features), any strides, any number of leading
      axes, none as well. F.linear is not called.

    The attributes, and the names and shapes in the state_dict, are those of nn.Linear, so that
    each can load what the other saved.

    >>> layer = Linear(3, 2)
    >>> [(name, tuple(p.shape)) for name, p in layer.named_parameters()]
    [('weight', (2, 3)), ('bias', (2,))]
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        # TODO: make the two parameters, filled with uniform numbers.
        # HINT: a tensor becomes a parameter by being wrapped: nn.Parameter(tensor).
        raise NotImplementedError("Linear.__init__")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # TODO: one matrix product, and the bias where there is one.
        # HINT: the rows of weight are the outputs, so the product needs it transposed.
        raise NotImplementedError("Linear.forward")

    def extra_repr(self) -> str:
        """What print(layer) shows between the brackets."""
        return f"{self.in_features}, {self.out_features}, bias={self.bias is not None}"


class Standardize(nn.Module):
    """Bring each feature to mean 0 and variance 1, by the statistics of all rows seen so far.

    What it owns, and the difference between the kinds, is the point of the exercise:

    =========  ===========  =======  =================================  ========  ==========
    name       shape        dtype    at first                           learnt    in the file
    =========  ===========  =======  =================================  ========  ==========
    gain       (features,)  float32  1                                  yes       yes
    shift      (features,)  float32  0                                  yes       yes
    mean       (features,)  float32  0                                  no        yes
    variance   (features,)  float32  1                                  no        yes
    count      ()           int64    0, the number of rows seen so far  no        yes
    limit      ()           float32  ``limit``                          no        no
    =========  ===========  =======  =================================  ========  ==========

    "Learnt": the optimizer changes it. "In the file": in the state_dict. All six go along with
    ``to(device)``; ``to(dtype)`` changes those of floating point.

    forward, of ``x`` (..., features):

    1. In training mode, first merge the n rows of ``x`` into the statistics (Chan et al. 1979).
       With a and v the mean and the variance of the batch, both over n, not n - 1::

           N = count + n        d = a - mean
           mean     <- mean + d n / N
           variance <- (count variance + n v + d² count n / N) / N
           count    <- N

       so that mean and variance are those of all the rows together. No rows change nothing.
       The buffers stay the same tensors, written in place. In eval mode nothing is written.
    2. z = (x - mean) / √(variance + 1e-5), then clamped to lie between -limit and limit.
    3. The result is z · gain + shift. torch's own batch norms are not called.

    No gradient flows through the statistics: they are constants. Half-precision ``x`` and
    buffers are computed with in float32; the result has the dtype of ``x``. It runs under
    torch.compile(fullgraph=True): nothing here may need a tensor's elements in Python.

    >>> sorted(Standardize(2).state_dict())
    ['count', 'gain', 'mean', 'shift', 'variance']
    """

    gain: torch.Tensor
    shift: torch.Tensor
    mean: torch.Tensor
    variance: torch.Tensor
    count: torch.Tensor
    limit: torch.Tensor

    def __init__(self, features: int, limit: float = 10.0) -> None:
        super().__init__()
        # TODO: two parameters and four buffers.
        # HINT: self.register_buffer(name, tensor); look up its third argument.
        raise NotImplementedError("Standardize.__init__")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # TODO: merge (in training mode), standardise, clamp, gain and shift.
        # HINT: every module knows its mode: self.training.
        raise NotImplementedError("Standardize.forward")


class MLP(nn.Module):
    """A multi-layer perceptron: today's ``Linear`` layers with an activation between them.

    ``MLP([64, 128, 32, 10])`` has three layers, 64 → 128 → 32 → 10. After every layer but the
    last come the activation and then dropout. The pieces are the attributes

    - ``layers``, nn.ModuleList: the names in the state_dict are layers.0.weight, layers.0.bias,
      layers.1.weight, ...
    - ``activation``: the module that was given, or a new nn.ReLU; one, used after every layer
    - ``dropout``: one nn.Dropout(dropout), which acts in training mode only

    forward: ``x`` (..., sizes[0]) → (..., sizes[-1]). F.linear is not called. Raises ValueError
    naming ``sizes`` when there are fewer than two.

    >>> list(MLP([4, 8, 2]).state_dict())
    ['layers.0.weight', 'layers.0.bias', 'layers.1.weight', 'layers.1.bias']
    """

    def __init__(
        self, sizes: Sequence[int], activation: nn.Module | None = None, dropout: float = 0.0
    ) -> None:
        super().__init__()
        # TODO: check sizes; file the layers, the activation and the dropout as submodules.
        # HINT: assigning a module to an attribute files it; a plain list of modules does not.
        raise NotImplementedError("MLP.__init__")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # TODO: layer, activation, dropout, layer, ..., layer.
        # HINT: call the modules, self.dropout(x), never their forward.
        raise NotImplementedError("MLP.forward")


class ParameterCount(NamedTuple):
    """What ``count_parameters`` finds."""

    total: int
    trainable: int
    bytes: int
    by_child: dict[str, int]


def count_parameters(module: nn.Module) -> ParameterCount:
    """How many numbers a module holds.

    - total: elements of all its parameters, those of its submodules included
    - trainable: of those, the elements that require a gradient
    - bytes: what all parameters and all buffers take, saved or not
    - by_child: for the name of each direct submodule, in order, the elements of the parameters in
      it (0 if there are none); and under "" those of the module itself. They sum up to total.

    A tensor that is used in several places (tied weights) counts once; in by_child it counts
    where module.named_parameters() names it. All are plain ints.

    >>> model = MLP([4, 8, 2])
    >>> count_parameters(model)[:3], count_parameters(model).by_child["layers"]
    ((58, 58, 232), 58)
    """
    # TODO: one walk over named_parameters, one over parameters and buffers.
    # HINT: named_parameters gives each tensor once, with its first name.
    raise NotImplementedError("count_parameters")


def freeze(module: nn.Module, pattern: str) -> list[str]:
    """Freeze the parameters whose names match ``pattern``; return these names, in order.

    ``pattern`` is matched against the whole name, with * for any characters, dots too, as
    fnmatch.fnmatchcase does: "layers.0.*", "*.bias", "*". To freeze is to

    - set requires_grad to False, on the tensor that the module already has
    - set its .grad to None: an optimizer goes on applying a gradient that was left behind

    A parameter with several names (tied weights) is frozen if any of them matches, and each
    matching name is returned. Parameters that do not match stay as they are. Raises ValueError
    naming the pattern when no name matches.

    >>> freeze(MLP([4, 8, 2]), "*.bias")
    ['layers.0.bias', 'layers.1.bias']
    """
    # TODO: walk over the named parameters, freeze those that match, collect the names.
    # HINT: fnmatchcase is imported above.
    raise NotImplementedError("freeze")


def init_weights(
    module: nn.Module, std: float = 0.02, generator: torch.Generator | None = None
) -> None:
    """Initialise a whole model in place, as GPT-2 does (Radford et al. 2019).

    Wherever they are in the tree, ``module`` itself included:

    - today's ``Linear`` and nn.Linear: weight normal with mean 0 and standard deviation ``std``,
      bias 0 (where there is one)
    - nn.Embedding: weight normal in the same way; the row padding_idx, if there is one, is 0
    - nn.LayerNorm: weight 1, bias 0 (where there are any)

    All other modules keep what they have. The parameters stay the same tensors, of the same
    dtype; the gradients do not hear of it, and requires_grad stays as it was. Random numbers
    come from ``generator`` (torch's global one if None), so a generator with the same seed makes
    the same weights.

    >>> model = MLP([4, 8, 2])
    >>> init_weights(model)
    >>> model.layers[0].bias.abs().max().item()
    0.0
    """
    # TODO: for each module in the tree, ask what kind it is and fill its tensors.
    # HINT: module.modules() walks over the whole tree; isinstance takes a tuple of classes.
    raise NotImplementedError("init_weights")


def test_linear() -> None:
    layer = Linear(3, 2)
    x = torch.randn(5, 3)
    torch.testing.assert_close(layer(x), x @ layer.weight.T + layer.bias)


def test_standardize_merges_batches() -> None:
    module = Standardize(1)
    module(torch.tensor([[1.0], [3.0]]))
    module(torch.tensor([[8.0]]))
    assert (module.count.item(), module.mean.item()) == (3, 4.0)
    torch.testing.assert_close(module.variance, torch.tensor([26.0 / 3]))


def test_mlp() -> None:
    model = MLP([4, 8, 2])
    assert model(torch.zeros(5, 4)).shape == (5, 2)
    assert len(model.state_dict()) == 4


def test_count_parameters() -> None:
    assert count_parameters(MLP([4, 8, 2]))[:3] == (58, 58, 232)


def test_freeze() -> None:
    model = MLP([4, 8, 2])
    assert freeze(model, "layers.0.*") == ["layers.0.weight", "layers.0.bias"]
    assert count_parameters(model).trainable == 18


def test_init_weights() -> None:
    model = MLP([400, 300, 2])
    init_weights(model, std=0.5)
    assert 0.45 < model.layers[0].weight.std().item() < 0.55


if __name__ == "__main__":
    from harness import main

    main(__file__)
