"""Every access to memory: inside the tensor it was meant for, or an error before it happens."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import triton.language as tl
from triton._C.libtriton import interpreter as engine
from triton._C.libtriton import ir
from triton.runtime.interpreter import TensorHandle

from harness.kernels.interpreter import messages
from harness.kernels.interpreter.arithmetic import MendedBuilder
from harness.kernels.interpreter.errors import KernelError
from harness.kernels.interpreter.memory import Region
from harness.kernels.interpreter.numbers import BFLOAT16, Array, numpy_dtype
from harness.kernels.interpreter.races import either

if TYPE_CHECKING:
    from harness.kernels.interpreter.launch import Launch

Lanes = Array | None  # which lanes of an access are on; None: all
Parts = list[tuple[Region, Array, Lanes]]


class CheckedBuilder(MendedBuilder):
    """Loads, stores and atomics, looked up and noted. ``launch`` is the one that is running."""

    launch: Launch

    # Where a pointer points

    def locate(
        self, ptrs: TensorHandle, lanes: Lanes, size: int, access: str, masked: bool
    ) -> Parts:
        """Element numbers inside the argument(s) that ``ptrs`` point into; lanes that are off
        have some number that is in range."""
        region = getattr(ptrs.dtype, "region", None)
        if region is not None:
            return [(region, self._index(region, ptrs.data, lanes, size, access, masked), lanes)]
        return self._search(ptrs.data, lanes, size, access, masked)

    def _index(
        self, region: Region, pointers: Array, lanes: Lanes, size: int, access: str, masked: bool
    ) -> Array:
        offset = pointers - region.base  # unsigned: what lies before the start becomes huge
        last = region.last(size)
        ok = np.zeros(offset.shape, dtype=bool) if last is None else offset <= last
        index: Array = offset.view(np.int64) >> (size.bit_length() - 1)
        if not ok.all():
            outside = ~ok if lanes is None else lanes > ok
            if outside.any():
                raise messages.out_of_bounds(
                    self.launch, region, offset, outside, size, access, masked
                )
            index = index * ok
        if region.has_holes and size == region.itemsize:
            wrong = ~region.inside.take(index)
            if lanes is not None:
                wrong &= lanes
            if wrong.any():
                raise messages.in_a_hole(self.launch, region, index, wrong, access)
        return index

    def _search(self, pointers: Array, lanes: Lanes, size: int, access: str, masked: bool) -> Parts:
        """For pointers that were numbers: by address, possibly several tensors at once."""
        left = np.ones(pointers.shape, dtype=bool) if lanes is None else lanes.astype(bool)
        parts: Parts = []
        while left.any():
            address = int(pointers[left].flat[0])
            region = next(iter(self.launch.arguments.candidates(address)), None)
            if region is None:
                raise messages.wild(self.launch, address, access)
            inside = left & ((pointers - region.base) < np.uint64(region.span * region.itemsize))
            index = self._index(region, pointers, inside, size, access, masked)
            parts.append((region, index, inside))
            left = left & ~inside
        if not parts and self.launch.arguments.regions:
            region = self.launch.arguments.regions[0]
            parts = [(region, np.zeros(pointers.shape, dtype=np.int64), left)]
        return parts

    # Loads

    def create_load(self, ptr: Any, cache: Any, eviction: Any, volatile: Any) -> TensorHandle:
        return self.create_masked_load(ptr, None, None, cache, eviction, volatile)

    def create_masked_load(
        self,
        ptrs: Any,
        mask: Any,
        other: Any,
        cache: Any,
        eviction: Any,
        is_volatile: Any,
        access: str = "tl.load",
    ) -> TensorHandle:
        element = ptrs.get_element_ty()
        dtype = numpy_dtype(element)
        lanes = _lanes(mask)
        if lanes is not None and lanes.all():
            lanes = None
        masked = mask is not None
        result: Array | None = None
        for region, index, on in self.locate(ptrs, lanes, dtype.itemsize, access, masked):
            memory = region.memory(dtype)
            self._note_load(region, index, on, dtype.itemsize, is_volatile, access)
            if on is None:
                return TensorHandle(memory.take(index), element)
            if not memory.size:  # every lane is off
                memory = np.zeros(1, dtype=dtype)
            if result is None:
                # A load without `other` gives zero where it is masked: the compiler emits it so.
                result = (
                    np.zeros(index.shape, dtype=dtype)
                    if other is None
                    else np.array(np.broadcast_to(other.data, index.shape), dtype=dtype)
                )
            result[on] = memory.take(index[on])
        if result is None:
            result = np.zeros(ptrs.data.shape, dtype=dtype)
        return TensorHandle(result, element)

    def _note_load(
        self, region: Region, index: Array, on: Lanes, size: int, volatile: Any, access: str
    ) -> None:
        launch = self.launch
        if launch.alone or volatile:
            return
        shadow = region.storage.shadow
        picked = index.reshape(-1) if on is None else index[on]
        place = shadow.granules(region.first, picked, size)
        foreign = either(
            shadow.foreign_writes(launch.number, place),
            shadow.foreign_updates(launch.number, place),
        )
        if foreign is not None:
            bad = foreign & ~(shadow.is_published(place) & launch.acquired)
            if bad.any():
                raise messages.read_of_foreign_write(launch, region, shadow, place, bad, access)
        shadow.note_load(launch.number, place)

    # Stores

    def create_store(self, ptr: Any, val: Any, cache: Any, eviction: Any) -> None:
        self.create_masked_store(ptr, val, None, cache, eviction)

    def create_masked_store(
        self,
        ptrs: Any,
        value: Any,
        mask: Any,
        cache: Any,
        eviction: Any,
        access: str = "tl.store",
    ) -> None:
        dtype = numpy_dtype(ptrs.get_element_ty())
        lanes = _lanes(mask)
        values = value.data.astype(dtype, copy=False)
        masked = mask is not None
        for region, index, on in self.locate(ptrs, lanes, dtype.itemsize, access, masked):
            every = np.broadcast_to(values, index.shape)
            picked: Array = index.reshape(-1) if on is None else index[on]
            new: Array = every.reshape(-1) if on is None else every[on]
            if not picked.size:
                continue
            memory = region.memory(dtype)
            place = self._note_store(region, picked, new, memory, dtype.itemsize, access)
            memory[picked] = new
            region.storage.shadow.note_store(self.launch.number, place)
            bits = np.dtype(f"u{dtype.itemsize}")
            if (memory.view(bits).take(picked) != np.ascontiguousarray(new).view(bits)).any():
                raise messages.twice_in_one_store(self.launch, region, picked, new, memory, access)

    def _note_store(
        self, region: Region, picked: Array, new: Array, memory: Array, size: int, access: str
    ) -> Array:
        launch = self.launch
        shadow = region.storage.shadow
        place = shadow.granules(region.first, picked, size)
        if launch.alone:
            return place
        per_element = place.size // picked.size
        writes = either(
            shadow.foreign_writes(launch.number, place),
            shadow.foreign_updates(launch.number, place),
        )
        if writes is not None:
            writes &= ~(shadow.is_published(place) & launch.acquired)
        reads = shadow.foreign_reads(launch.number, place)
        if launch.acquired:
            reads = None
        for foreign, message in ((writes, messages.two_writers), (reads, messages.read_too_early)):
            if foreign is None or not foreign.any():
                continue
            bits = np.dtype(f"u{size}")
            changed = memory.view(bits).take(picked) != np.ascontiguousarray(new).view(bits)
            bad = foreign.reshape(-1, per_element).any(axis=1) & changed
            if bad.any():
                raise message(launch, region, shadow, place, picked, new, memory, bad, access)
        launch.pending.append((shadow, place))
        return place

    # Atomics

    def create_atomic_rmw(
        self, rmwOp: Any, ptr: Any, val: Any, mask: Any, sem: Any, scope: Any
    ) -> TensorHandle:
        name = f"tl.atomic_{str(rmwOp).rsplit('.', 1)[-1].lower().removeprefix('f')}"
        lanes = np.broadcast_to(mask.data, ptr.data.shape).astype(bool)
        values = np.broadcast_to(val.data, ptr.data.shape)
        result = self._atomic(ptr, lanes, name, val.data.dtype)
        if val.data.dtype == BFLOAT16:
            old = self._add_bfloat16(ptr, lanes, values)
        else:
            old = engine.atomic_rmw(
                self.ir_rmw_op_to_interpreter_rmw_op[rmwOp],
                np.ascontiguousarray(ptr.data),
                np.ascontiguousarray(values),
                lanes,
                self.ir_sem_to_interpreter_sem[sem],
            )
        result()
        return TensorHandle(old, val.dtype.scalar)

    def create_atomic_cas(self, ptr: Any, cmp: Any, val: Any, sem: Any, scope: Any) -> TensorHandle:
        dtype = numpy_dtype(ptr.get_element_ty())
        lanes = np.ones(ptr.data.shape, dtype=bool)
        result = self._atomic(ptr, lanes, "tl.atomic_cas", dtype)
        old = engine.atomic_cas(
            np.ascontiguousarray(ptr.data),
            np.ascontiguousarray(np.broadcast_to(cmp.data.astype(dtype), ptr.data.shape)),
            np.ascontiguousarray(np.broadcast_to(val.data.astype(dtype), ptr.data.shape)),
            self.ir_sem_to_interpreter_sem[sem],
        )
        result()
        return TensorHandle(old, cmp.dtype.scalar)

    def _atomic(self, ptr: Any, lanes: Array, name: str, dtype: Any) -> Callable[[], None]:
        """Checks the access now; what it returns notes it, once it has happened."""
        launch = self.launch
        size = np.dtype(dtype).itemsize
        notes = []
        for region, index, on in self.locate(ptr, lanes, size, name, not lanes.all()):
            shadow = region.storage.shadow
            picked = index.reshape(-1) if on is None else index[on]
            place = shadow.granules(region.first, picked, size)
            notes.append((shadow, place))
            if launch.alone or not place.size:
                continue
            for foreign, message in (
                (shadow.foreign_writes(launch.number, place), messages.atomic_after_store),
                (shadow.foreign_reads(launch.number, place), messages.atomic_after_load),
            ):
                if foreign is None:
                    continue
                if message is messages.atomic_after_store:
                    bad = foreign & ~(shadow.is_published(place) & launch.acquired)
                else:
                    bad = foreign & (not launch.acquired)
                if bad.any():
                    raise message(launch, region, shadow, place, bad, name)

        def note() -> None:
            for shadow, place in notes:
                shadow.read_then_written |= bool(place.size)
                shadow.note_atomic(launch.number, place)
            launch.publish()

        return note

    def _add_bfloat16(self, ptr: Any, lanes: Array, values: Array) -> Array:
        """One lane after another, each sum rounded: no instruction does it in one go."""
        old = np.zeros(ptr.data.shape, dtype=BFLOAT16)
        for region, index, on in self.locate(ptr, lanes, 2, "tl.atomic_add", True):
            memory = region.memory(BFLOAT16)
            for lane in zip(*np.nonzero(lanes if on is None else on), strict=True):
                old[lane] = memory[index[lane]]
                memory[index[lane]] = old[lane] + values[lane]
        return old

    # Block pointers and tensor descriptors

    def create_tensor_pointer_load(
        self,
        ptr: Any,
        boundary_check: Any,
        padding_option: Any,
        cache_modifier: Any,
        eviction_policy: Any,
        is_volatile: Any,
    ) -> TensorHandle:
        ptrs, mask = ptr.materialize_pointers(boundary_check)
        other = _padding(ptrs, padding_option)
        return self.create_masked_load(
            ptrs, mask, other, None, None, is_volatile, "tl.load of a block pointer"
        )

    def create_tensor_pointer_store(
        self, ptr: Any, value: Any, boundary_check: Any, cache_modifier: Any, eviction_policy: Any
    ) -> None:
        ptrs, mask = ptr.materialize_pointers(boundary_check)
        self.create_masked_store(ptrs, value, mask, None, None, "tl.store to a block pointer")

    def create_make_tensor_descriptor(
        self,
        base: Any,
        shape: Any,
        strides: Any,
        tensor_shape: Any,
        is_signed: bool,
        padding: Any = "zero",
    ) -> Any:
        try:
            return super().create_make_tensor_descriptor(
                base, shape, strides, tensor_shape, is_signed, padding
            )
        except AssertionError as error:
            raise messages.bad_descriptor(str(error)) from None

    def create_descriptor_load(
        self, desc: Any, indices: Any, cache_modifier: Any, eviction_policy: Any
    ) -> TensorHandle:
        ptrs, mask = self._descriptor(desc, indices)
        other = _padding(ptrs, desc.padding)
        return self.create_masked_load(
            ptrs, mask, other, None, None, False, "load through a descriptor"
        )

    def create_descriptor_store(self, desc: Any, value: Any, indices: Any) -> None:
        ptrs, mask = self._descriptor(desc, indices)
        self.create_masked_store(ptrs, value, mask, None, None, "store through a descriptor")

    def create_descriptor_reduce(self, kind: Any, desc: Any, value: Any, indices: Any) -> None:
        ptrs, mask = self._descriptor(desc, indices)
        name = str(kind).rsplit(".", 1)[-1]
        operations = {
            "ADD": "ADD",
            "MIN": "MIN",
            "MAX": "MAX",
            "AND": "AND",
            "OR": "OR",
            "XOR": "XOR",
        }
        wanted = operations[name]
        if value.data.dtype.kind in "fV":
            if wanted != "ADD":
                raise KernelError(
                    "unsupported",
                    "the interpreter has no descriptor "
                    f"atomic_{wanted.lower()} on floats: it needs a GPU.",
                )
            wanted = "FADD"
        elif value.data.dtype.kind == "u" and wanted in ("MIN", "MAX"):
            wanted = f"U{wanted}"
        self.create_atomic_rmw(
            getattr(ir.ATOMIC_OP, wanted),
            ptrs,
            value,
            TensorHandle(mask, tl.int1),
            ir.MEM_SEMANTIC.RELAXED,
            None,
        )

    def _descriptor(self, desc: Any, indices: Any) -> tuple[TensorHandle, Array]:
        """As on a GPU, offsets need no alignment."""
        scalar = desc.base.dtype.element_ty
        itemsize = scalar.primitive_bitwidth // 8
        pointers = np.broadcast_to(desc.base.data, desc.block_shape)
        mask = np.ones(desc.block_shape, dtype=bool)
        for axis, size in enumerate(desc.block_shape):
            shape = [1] * len(desc.block_shape)
            shape[axis] = size
            offset = (indices[axis].data.astype(np.int64) + np.arange(size)).reshape(shape)
            step = itemsize * offset * desc.strides[axis].data.astype(np.int64)
            pointers = pointers + step.astype(np.uint64)
            mask = mask & (offset >= 0) & (offset < desc.shape[axis].data)
        return TensorHandle(pointers, desc.base.dtype.scalar), mask


def _lanes(mask: Any) -> Lanes:
    """A mask, given as a handle or as an array, as booleans; None: all lanes."""
    if mask is None:
        return None
    data = mask.data if isinstance(mask, TensorHandle) else mask
    return np.asarray(data).astype(bool, copy=False)


def _padding(ptrs: TensorHandle, padding: Any) -> TensorHandle | None:
    if padding == ir.PADDING_OPTION.PAD_NAN:
        element = ptrs.get_element_ty()
        data = np.full(ptrs.data.shape, np.nan, dtype=numpy_dtype(element))
        return TensorHandle(data, element)
    return None
