"""The tensors of one launch as memory: which addresses belong to which argument.

A pointer carries the argument it was made from in its type, through arithmetic, broadcasts and
masks, so that an offset too large is seen even where it lands in another tensor. A pointer made
from an integer is looked up by its address.
"""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterator
from typing import Any

import numpy as np
import triton.language as tl

from harness.kernels.interpreter.races import Shadow

Array = np.ndarray[Any, np.dtype[Any]]


class Storage:
    """One allocation, shared by every argument that is a view of it."""

    def __init__(self, address: int, nbytes: int, key: int, reference: Any = None) -> None:
        self.address = address
        self.nbytes = nbytes
        self.key = key
        self.reference = reference
        buffer: Any = (ctypes.c_uint8 * nbytes).from_address(address) if nbytes else b""
        self.bytes: Array = np.frombuffer(buffer, dtype=np.uint8)
        self.shadow = Shadow(nbytes)


class Region:
    """One tensor argument: its name, its shape in memory, and the storage it is a view of."""

    def __init__(
        self,
        name: str,
        storage: Storage,
        address: int,
        itemsize: int,
        shape: tuple[int, ...],
        strides: tuple[int, ...],
    ) -> None:
        self.name = name
        self.storage = storage
        self.address = address
        self.itemsize = itemsize
        self.shape = shape
        self.strides = strides
        self.first = address - storage.address
        self.base = np.uint64(address)
        self.numel = 1
        distinct = 1
        span = 1
        for size, stride in zip(shape, strides, strict=True):
            self.numel *= size
            distinct *= size if stride else 1
            span += (size - 1) * stride
        self.span = span if self.numel else 0
        self.contiguous = self._is_contiguous()
        self._inside: Array | None = None
        self.has_holes = self.numel > 0 and distinct != self.span
        self._memory: dict[Any, Array] = {}
        self._last: dict[int, np.uint64 | None] = {}

    def _is_contiguous(self) -> bool:
        expected = 1
        for size, stride in zip(reversed(self.shape), reversed(self.strides), strict=True):
            if size != 1 and stride != expected:
                return False
            expected *= size
        return True

    def last(self, size: int) -> np.uint64 | None:
        """The largest byte offset at which ``size`` bytes still fit; None if none does."""
        if size not in self._last:
            room = self.span * self.itemsize - size
            self._last[size] = np.uint64(room) if room >= 0 else None
        return self._last[size]

    def memory(self, dtype: Any) -> Array:
        """The view's span of memory as a flat array of ``dtype``."""
        if dtype not in self._memory:
            size = np.dtype(dtype).itemsize
            count = self.span * self.itemsize // size
            flat = self.storage.bytes[self.first : self.first + count * size]
            self._memory[dtype] = flat.view(dtype)
        return self._memory[dtype]

    @property
    def inside(self) -> Array:
        """For a view with holes: which elements of the span belong to it."""
        if self._inside is None:
            self._inside = np.zeros(self.span, dtype=bool)
            np.lib.stride_tricks.as_strided(self._inside, self.shape, self.strides)[...] = True
        return self._inside

    def spread(self, flat: Array) -> Array:
        """A flat array over the span, in the tensor's own shape."""
        steps = tuple(stride * flat.itemsize for stride in self.strides)
        return np.lib.stride_tricks.as_strided(flat, self.shape, steps)


class RegionPointer(tl.pointer_type):
    """A pointer type that remembers the argument it came from."""

    def __init__(self, pointer: tl.pointer_type, region: Region, element: Any = None) -> None:
        super().__init__(element or pointer.element_ty, pointer.address_space, pointer.const)
        self.region = region


class Arguments:
    """All tensors of a launch, by address."""

    def __init__(self) -> None:
        self.regions: list[Region] = []
        self.storages: dict[int, Storage] = {}
        self._foreign: list[Region] | None = None

    def add(self, name: str, tensor: Any, key: Any = None) -> Region:
        """Register a CPU tensor; ``key`` identifies the storage it is (or is a copy of)."""
        base = getattr(tensor, "base", tensor)  # triton.reinterpret wraps a tensor
        untyped = base.untyped_storage()
        address = untyped.data_ptr()
        identity = (address, untyped.nbytes()) if address == 0 else address
        storage = self.storages.get(identity)  # type: ignore[arg-type]
        if storage is None:
            reference = storage_reference(key if key is not None else base)
            storage = Storage(address, untyped.nbytes(), reference.cdata, reference)
            self.storages[identity] = storage  # type: ignore[index]
        itemsize = base.element_size()
        storage.shadow.narrow(itemsize)
        region = Region(
            name, storage, base.data_ptr(), itemsize, tuple(base.size()), tuple(base.stride())
        )
        self.regions.append(region)
        return region

    def candidates(self, address: int) -> Iterator[Region]:
        """Regions that an address could belong to: arguments first, then any living tensor."""
        for region in self.regions:
            if 0 <= address - region.address < max(region.span * region.itemsize, 1):
                yield region
        for region in self._living():
            if 0 <= address - region.address < region.span * region.itemsize:
                yield region

    def _living(self) -> list[Region]:
        """CPU tensors alive in the process: a table of pointers may name any of them."""
        if self._foreign is None:
            import torch

            self._foreign = []
            known = {region.address for region in self.regions}
            for thing in gc.get_objects():
                if type(thing) not in (torch.Tensor, torch.nn.Parameter):
                    continue
                if thing.device.type != "cpu":
                    continue
                if thing.layout != torch.strided or thing.numel() == 0:
                    continue
                if thing.data_ptr() in known:
                    continue
                shape = "×".join(map(str, thing.shape))
                regions = len(self.regions)
                self._foreign.append(self.add(f"a tensor of shape {shape}", thing))
                del self.regions[regions:]
        return self._foreign


def storage_reference(tensor: Any) -> Any:
    """A weak reference to a tensor's storage; equal ``cdata`` means the same storage."""
    from torch.multiprocessing.reductions import StorageWeakRef

    return StorageWeakRef(tensor.untyped_storage())
