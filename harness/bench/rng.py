"""Random inputs made where they are used, fast enough to be made anew before every round."""

from __future__ import annotations

import torch

from harness.testing.rng import ArrayRng


class DeviceRng:
    """The methods of the tests' ``rng``, drawn on the device itself.

    The tests draw with numpy so that a seed means the same on every device. A bench draws
    gigabytes, and only the same machine has to draw the same set twice.
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        self.seed, self.device = seed, device
        self._generator = torch.Generator(device)
        self._generator.manual_seed(seed)

    def normal(
        self, *shape: int, dtype: torch.dtype | None = None, mean: float = 0.0, std: float = 1.0
    ) -> torch.Tensor:
        out = torch.empty(shape, dtype=dtype or torch.float32, device=self.device)
        return out.normal_(mean, std, generator=self._generator)

    def uniform(
        self, *shape: int, low: float = 0.0, high: float = 1.0, dtype: torch.dtype | None = None
    ) -> torch.Tensor:
        out = torch.empty(shape, dtype=dtype or torch.float32, device=self.device)
        return out.uniform_(low, high, generator=self._generator)

    def integers(
        self, low: int, high: int, *shape: int, dtype: torch.dtype | None = None
    ) -> torch.Tensor:
        """Whole numbers from ``low`` up to, not including, ``high``; int64 unless ``dtype``."""
        return torch.randint(
            low,
            high,
            shape,
            generator=self._generator,
            dtype=dtype or torch.int64,
            device=self.device,
        )

    def boolean(self, *shape: int, p: float = 0.5) -> torch.Tensor:
        """True with probability ``p``."""
        return self.uniform(*shape) < p

    def permutation(self, n: int) -> torch.Tensor:
        return torch.randperm(n, generator=self._generator, device=self.device)


def make_rng(track: str, seed: int, device: torch.device) -> DeviceRng | ArrayRng:
    """What ``inputs(rng)`` of a bench gets: tensors, or numpy arrays in the Autodiff track."""
    return ArrayRng(seed) if track == "autodiff" else DeviceRng(seed, device)
