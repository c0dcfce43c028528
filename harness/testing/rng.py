"""Random inputs from a seed, which must come back unchanged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    import torch

T = TypeVar("T")
SMALL = 1 << 16
"""Elements that numpy draws in a millisecond."""


class TensorRng:
    """Random torch tensors on ``device``.

    Every tensor is recorded; ``changed`` names those that no longer hold what they held.

    numpy draws, so that a seed gives the same inputs on a CPU and on a GPU. With ``drawn_there``
    large ones are drawn by the device itself, for sizes that run nowhere else: one core of the host
    and the way to the device take a hundred times as long.
    """

    def __init__(self, seed: int, device: torch.device, drawn_there: bool = False) -> None:
        self.seed, self.device, self.drawn_there = seed, device, drawn_there
        self.reset()

    def reset(self) -> None:
        """Start again: the same calls give the same values."""
        self._numpy = np.random.default_rng(self.seed)
        self._torch: torch.Generator | None = None
        self._made: list[tuple[str, torch.Tensor, torch.Tensor]] = []

    def normal(
        self, *shape: int, dtype: torch.dtype | None = None, mean: float = 0.0, std: float = 1.0
    ) -> torch.Tensor:
        if self._there(shape):
            return self._keep("normal", self._draw("normal_", shape, dtype, mean, std))
        return self._make("normal", self._numpy.normal(mean, std, shape), dtype)

    def uniform(
        self, *shape: int, low: float = 0.0, high: float = 1.0, dtype: torch.dtype | None = None
    ) -> torch.Tensor:
        if self._there(shape):
            return self._keep("uniform", self._draw("uniform_", shape, dtype, low, high))
        return self._make("uniform", self._numpy.uniform(low, high, shape), dtype)

    def integers(
        self, low: int, high: int, *shape: int, dtype: torch.dtype | None = None
    ) -> torch.Tensor:
        """Whole numbers from ``low`` up to, not including, ``high``; int64 unless ``dtype``."""
        import torch

        if self._there(shape):
            drawn = torch.empty(shape, dtype=torch.int64, device=self.device)
            drawn.random_(low, high, generator=self._generator())
            return self._keep("integers", drawn.to(dtype or torch.int64))
        values = self._numpy.integers(low, high, shape)
        return self._make("integers", values, dtype or torch.int64)

    def boolean(self, *shape: int, p: float = 0.5) -> torch.Tensor:
        """True with probability ``p``."""
        import torch

        if self._there(shape):
            return self._keep("boolean", self._draw("uniform_", shape, None, 0.0, 1.0) < p)
        return self._make("boolean", self._numpy.random(shape) < p, torch.bool)

    def permutation(self, n: int) -> torch.Tensor:
        import torch

        if self._there((n,)):
            drawn = torch.randperm(n, device=self.device, generator=self._generator())
            return self._keep("permutation", drawn)
        return self._make("permutation", self._numpy.permutation(n), torch.int64)

    def changed(self) -> list[str]:
        """How each input that was changed was made, in words."""
        return [
            f"the input made by rng.{how} of shape {tuple(tensor.shape)}"
            for how, tensor, before in self._made
            if not _same(tensor, before)
        ]

    def _make(self, how: str, values: Any, dtype: torch.dtype | None) -> torch.Tensor:
        import torch

        tensor = torch.as_tensor(values).to(self.device, dtype or torch.float32)
        return self._keep(how, tensor.clone())  # never numpy's memory: torch aligns its own

    def _there(self, shape: tuple[int, ...]) -> bool:
        return self.drawn_there and math.prod(shape) > SMALL

    def _generator(self) -> torch.Generator:
        import torch

        if self._torch is None:
            self._torch = torch.Generator(self.device).manual_seed(self.seed)
        return self._torch

    def _draw(
        self, how: str, shape: tuple[int, ...], dtype: torch.dtype | None, *parameters: float
    ) -> torch.Tensor:
        import torch

        wanted = dtype or torch.float32
        # Drawn in half precision, values would come from too few.
        drawn_as = wanted if wanted in (torch.float32, torch.float64) else torch.float32
        drawn = torch.empty(shape, dtype=drawn_as, device=self.device)
        return getattr(drawn, how)(*parameters, generator=self._generator()).to(wanted)

    def _keep(self, how: str, tensor: torch.Tensor) -> torch.Tensor:
        self._made.append((how, tensor, tensor.clone()))
        return tensor


class ArrayRng:
    """Random numpy arrays, float64 and read-only: writing into an input raises where it happens."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.reset()

    def reset(self) -> None:
        self._numpy = np.random.default_rng(self.seed)

    def normal(
        self, *shape: int, dtype: Any = np.float64, mean: float = 0.0, std: float = 1.0
    ) -> np.ndarray:
        return _frozen(self._numpy.normal(mean, std, shape), dtype)

    def uniform(
        self, *shape: int, low: float = 0.0, high: float = 1.0, dtype: Any = np.float64
    ) -> np.ndarray:
        return _frozen(self._numpy.uniform(low, high, shape), dtype)

    def integers(self, low: int, high: int, *shape: int, dtype: Any = np.int64) -> np.ndarray:
        """Whole numbers from ``low`` up to, not including, ``high``."""
        return _frozen(self._numpy.integers(low, high, shape), dtype)

    def boolean(self, *shape: int, p: float = 0.5) -> np.ndarray:
        return _frozen(self._numpy.random(shape) < p, np.bool_)

    def permutation(self, n: int) -> np.ndarray:
        return _frozen(self._numpy.permutation(n), np.int64)

    def choice(self, options: Sequence[T]) -> T:
        return options[int(self._numpy.integers(len(options)))]

    def changed(self) -> list[str]:
        return []


def _frozen(values: Any, dtype: Any) -> np.ndarray:
    array = np.array(values, dtype=dtype)
    array.flags.writeable = False
    return array


def _same(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Bit for bit, nan included; a tensor that was resized or freed in place is not the same."""
    import torch

    if a.shape != b.shape or a.dtype != b.dtype or a.numel() == 0:
        return a.shape == b.shape and a.dtype == b.dtype
    bits = [t.detach().contiguous().reshape(-1).view(torch.uint8) for t in (a, b)]
    return torch.equal(*bits)
