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
        ### BEGIN SOLUTION
        # HINT: torch.empty(...).uniform_(-bound, bound) fills a new tensor.
        # HINT: self.register_parameter("bias", None) says: there could be one, there is none.
        bound = in_features**-0.5
        self.weight = nn.Parameter(torch.empty(out_features, in_features).uniform_(-bound, bound))
        if bias:
            self.bias = nn.Parameter(torch.empty(out_features).uniform_(-bound, bound))
        else:
            self.register_parameter("bias", None)
        ### END SOLUTION

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # TODO: one matrix product, and the bias where there is one.
        # HINT: the rows of weight are the outputs, so the product needs it transposed.
        ### BEGIN SOLUTION
        # HINT: x @ weight.T has the shape (..., out_features); the bias broadcasts over it.
        out = x @ self.weight.T
        return out if self.bias is None else out + self.bias
        ### END SOLUTION

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
        ### BEGIN SOLUTION
        # HINT: a buffer with persistent=False moves with the module and is not saved.
        # HINT: torch.tensor(0) is a 0-d int64 tensor; to(dtype) leaves whole numbers alone.
        self.gain = nn.Parameter(torch.ones(features))
        self.shift = nn.Parameter(torch.zeros(features))
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("variance", torch.ones(features))
        self.register_buffer("count", torch.tensor(0))
        self.register_buffer("limit", torch.tensor(float(limit)), persistent=False)
        ### END SOLUTION

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # TODO: merge (in training mode), standardise, clamp, gain and shift.
        # HINT: every module knows its mode: self.training.
        ### BEGIN SOLUTION
        # HINT: rows = x.detach().reshape(-1, features); how many there are is known in Python.
        # HINT: buffer.copy_(new) writes in place; compute both new values before you write one.
        # HINT: var(0, correction=0) divides by n; of no rows it is nan, so skip those.
        wide = torch.promote_types(x.dtype, torch.float32)
        mean, variance = self.mean.to(wide), self.variance.to(wide)
        rows = x.detach().to(wide).reshape(-1, x.shape[-1])
        n = rows.shape[0]
        if self.training and n > 0:
            count = self.count.to(wide)
            total = count + n
            d = rows.mean(0) - mean
            spread = count * variance + n * rows.var(0, correction=0)
            variance = (spread + d**2 * (count * n / total)) / total
            mean = mean + d * (n / total)
            self.mean.copy_(mean)
            self.variance.copy_(variance)
            self.count.add_(n)
        z = (x.to(wide) - mean) * torch.rsqrt(variance + 1e-5)
        z = z.clamp(-self.limit.to(wide), self.limit.to(wide))
        return (z * self.gain.to(wide) + self.shift.to(wide)).to(x.dtype)
        ### END SOLUTION


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
        ### BEGIN SOLUTION
        # HINT: itertools.pairwise(sizes) gives the pairs of neighbours.
        if len(sizes) < 2:
            raise ValueError(f"an MLP needs at least two sizes, in and out, not {list(sizes)}")
        self.layers = nn.ModuleList([Linear(a, b) for a, b in pairwise(sizes)])
        self.activation = nn.ReLU() if activation is None else activation
        self.dropout = nn.Dropout(dropout)
        ### END SOLUTION

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # TODO: layer, activation, dropout, layer, ..., layer.
        # HINT: call the modules, self.dropout(x), never their forward.
        ### BEGIN SOLUTION
        # HINT: a ModuleList can be indexed and sliced like a list: the last is self.layers[-1].
        for layer in self.layers[:-1]:
            x = self.dropout(self.activation(layer(x)))
        return self.layers[-1](x)
        ### END SOLUTION


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
    ### BEGIN SOLUTION
    # HINT: the child is what stands before the first dot of a name; without a dot it is "".
    # HINT: name.rpartition cuts at the last dot, name.partition at the first.
    by_child = {"": 0, **{name: 0 for name, _ in module.named_children()}}
    for name, parameter in module.named_parameters():
        child, dot, _ = name.partition(".")
        by_child[child if dot else ""] += parameter.numel()
    tensors = [*module.parameters(), *module.buffers()]
    return ParameterCount(
        total=sum(by_child.values()),
        trainable=sum(p.numel() for p in module.parameters() if p.requires_grad),
        bytes=sum(t.numel() * t.element_size() for t in tensors),
        by_child=by_child,
    )
    ### END SOLUTION


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
    ### BEGIN SOLUTION
    # HINT: named_parameters leaves out the second name of a tied tensor; see its arguments.
    # HINT: remove_duplicate=False gives all names.
    names = []
    for name, parameter in module.named_parameters(remove_duplicate=False):
        if fnmatchcase(name, pattern):
            parameter.requires_grad_(False)
            parameter.grad = None
            names.append(name)
    if not names:
        raise ValueError(f"no parameter matches {pattern!r}")
    return names
    ### END SOLUTION


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
    ### BEGIN SOLUTION
    # HINT: nn.init.normal_ and its sisters write in place, without a gradient; see generator=.
    # HINT: a row of a parameter is set under torch.no_grad(): weight[i] = 0 or weight[i].zero_().
    for part in module.modules():
        if isinstance(part, (Linear, nn.Linear, nn.Embedding)):
            nn.init.normal_(part.weight, std=std, generator=generator)
        if isinstance(part, nn.Embedding) and part.padding_idx is not None:
            with torch.no_grad():
                part.weight[part.padding_idx] = 0.0
        if isinstance(part, nn.LayerNorm) and part.weight is not None:
            nn.init.ones_(part.weight)
        if isinstance(part, (Linear, nn.Linear, nn.LayerNorm)) and part.bias is not None:
            nn.init.zeros_(part.bias)
    ### END SOLUTION


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
