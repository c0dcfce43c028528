"""Every access to memory: inside the tensor it was meant for, or an error before it happens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import triton.language as tl
from triton._C.libtriton import interpreter as engine
from triton._C.libtriton import ir
from triton.runtime.interpreter import TensorHandle

from harness.kernels.interpreter import messages, messages_order, turns
from harness.kernels.interpreter.arithmetic import MendedBuilder
from harness.kernels.interpreter.errors import KernelError
from harness.kernels.interpreter.memory import Region
from harness.kernels.interpreter.numbers import BFLOAT16, Array, numpy_dtype, poison
from harness.kernels.interpreter.races import NOBODY, Shadow, either
from harness.kernels.interpreter.state import Launch

Lanes = Array | None  # which lanes of an access are on; None: all
Parts = list[tuple[Region, Array, Lanes]]


class CheckedBuilder(MendedBuilder):
    """Loads, stores and atomics, looked up and noted. ``launch`` is the one that is running."""

    launch: Launch
    unused = False  # the next atomic's result is: the statement is nothing but its call

    other_given = False  # whether the load that runs has an `other`

    def watch_other(self, semantic: Any) -> None:
        """``semantic`` is the class of triton's rules, which serves the compiler as well."""
        builder, load = self, semantic._load_legacy

        def load_legacy(self: Any, ptr: Any, mask: Any, other: Any, *rest: Any) -> Any:
            builder.other_given = self.builder is builder and other is not None
            try:
                return load(self, ptr, mask, other, *rest)
            finally:
                builder.other_given = False

        semantic._load_legacy = load_legacy

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
        if other is None and self.other_given:  # upstream takes a single zero for nothing
            other = TensorHandle(np.zeros(1, dtype=dtype), element)
        result: Array | None = None
        for region, index, on in self.locate(ptrs, lanes, dtype.itemsize, access, masked):
            memory = region.memory(dtype)
            self._note_load(region, index, on, dtype.itemsize, is_volatile, access)
            if on is None:
                found = memory.take(index)
                if found.size == 1 and not self.launch.alone:
                    self._looked(region, index, found, "volatile" if is_volatile else "", access)
                return TensorHandle(found, element)
            if not memory.size:  # every lane is off
                memory = np.zeros(1, dtype=dtype)
            if result is None:
                result = _masked(index.shape, dtype, other)
            result[on] = memory.take(index[on])
        if result is None:
            result = _masked(ptrs.data.shape, dtype, other)
        return TensorHandle(result, element)

    def _note_load(
        self, region: Region, index: Array, on: Lanes, size: int, volatile: Any, access: str
    ) -> None:
        launch = self.launch
        if volatile or not launch.checked:
            return
        shadow = region.storage.shadow
        picked = index.reshape(-1) if on is None else index[on]
        place = shadow.granules(region.first, picked, size)
        if not launch.alone:
            foreign = either(
                shadow.foreign_writes(launch.number, place),
                shadow.foreign_updates(launch.number, place),
            )
            if foreign is not None:
                bad = self._unordered(shadow, place, foreign)
                if bad is not None:
                    raise messages.read_of_foreign_write(launch, region, shadow, place, bad, access)
        shadow.note_load(launch.number, place)
        if launch.one_warp:
            return
        bad = shadow.stored.others(launch.interval, place, index.shape, on, True, shadow)
        if bad is not None:
            launch.defer(messages_order.read_back(launch, region, place, bad, access))
        shadow.loaded.note(launch.interval, place, index.shape, on, True)

    def _unordered(self, shadow: Shadow, place: Array, foreign: Array) -> Array | None:
        """Which foreign writes no release handed to the program that runs."""
        released = shadow.released(place)
        strange = self.launch.order.unordered(self.launch.number, released[foreign])
        if strange is None:
            return None
        bad = foreign.copy()
        bad[foreign] = strange
        return bad if bad.any() else None

    def _unmet(self, shadow: Shadow, place: Array) -> bool:
        """Whether a program read here that the one that runs has met at no atomic."""
        launch = self.launch
        return not all(
            reader in (NOBODY, launch.number) or launch.order.has_met(launch.number, reader)
            for reader in shadow.readers(place)
        )

    def _looked(self, region: Region, index: Any, found: Array, kind: str, access: str) -> None:
        """For accesses to one element that change nothing: is the program waiting?"""
        key = (id(region), access, index.item(), found.tobytes())
        self._wait(region, access, lambda: self.launch.turns.looked(key, bool(kind)))

    def _wait(self, region: Region, access: str, wait: Callable[[], None]) -> None:
        try:
            wait()
        except turns.NobodyLeft:
            raise messages_order.nobody_left(self.launch, region, access) from None
        except turns.TooManyWait:
            most = turns.MOST_WAITING
            raise messages_order.too_many_wait(self.launch, region, access, most) from None

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
            place = self._note_store(region, index, on, picked, new, memory, dtype.itemsize, access)
            memory[picked] = new
            region.storage.shadow.note_store(self.launch.number, place)
            bits = np.dtype(f"u{dtype.itemsize}")
            if (memory.view(bits).take(picked) != np.ascontiguousarray(new).view(bits)).any():
                raise messages.twice_in_one_store(self.launch, region, picked, new, memory, access)

    def _note_store(
        self,
        region: Region,
        index: Array,
        on: Lanes,
        picked: Array,
        new: Array,
        memory: Array,
        size: int,
        access: str,
    ) -> Array:
        launch = self.launch
        shadow = region.storage.shadow
        place = shadow.granules(region.first, picked, size)
        if not launch.checked:
            return place
        shadow.note_first_read(place)
        per_element = place.size // picked.size
        if not launch.one_warp:
            bad = shadow.loaded.others(launch.interval, place, index.shape, on, False, shadow)
            if bad is not None:
                bad &= np.repeat(_changed(memory, picked, new), per_element)
                if bad.any():
                    launch.defer(messages_order.overwritten(launch, region, place, bad, access))
            shadow.stored.note(launch.interval, place, index.shape, on, False)
        if launch.alone:
            return place
        writes = either(
            shadow.foreign_writes(launch.number, place),
            shadow.foreign_updates(launch.number, place),
        )
        if writes is not None:
            writes = self._unordered(shadow, place, writes)
        reads = shadow.foreign_reads(launch.number, place)
        if reads is not None and not self._unmet(shadow, place):
            reads = None
        for foreign, message in ((writes, messages.two_writers), (reads, messages.read_too_early)):
            if foreign is None:
                continue
            changed = _changed(memory, picked, new)
            bad = foreign.reshape(-1, per_element).any(axis=1) & changed
            if bad.any():
                raise message(launch, region, shadow, place, picked, new, memory, bad, access)
        launch.wrote(shadow, place, picked.size == index.size == 1)
        return place

    # Atomics

    def create_atomic_rmw(
        self, rmwOp: Any, ptr: Any, val: Any, mask: Any, sem: Any, scope: Any
    ) -> TensorHandle:
        name = f"tl.atomic_{str(rmwOp).rsplit('.', 1)[-1].lower().removeprefix('f')}"
        lanes = np.broadcast_to(mask.data, ptr.data.shape).astype(bool)
        dtype = val.data.dtype
        values = np.ascontiguousarray(np.broadcast_to(val.data, ptr.data.shape))
        atomic = self._atomic(ptr, lanes, name, dtype, sem, scope)
        if dtype == BFLOAT16:
            old = self._add_bfloat16(ptr, lanes, values)
        else:
            if rmwOp == ir.ATOMIC_OP.XCHG:  # an exchange of bits, whatever they mean
                values = values.view(np.dtype(f"u{dtype.itemsize}"))
            old = engine.atomic_rmw(
                self.ir_rmw_op_to_interpreter_rmw_op[rmwOp],
                np.ascontiguousarray(ptr.data),
                values,
                lanes,
                self.ir_sem_to_interpreter_sem[sem],
            ).view(dtype)
        if not lanes.all():
            old = np.where(lanes, old, poison((), dtype))
        return atomic.result(old, val.dtype.scalar)

    def create_atomic_cas(self, ptr: Any, cmp: Any, val: Any, sem: Any, scope: Any) -> TensorHandle:
        dtype = numpy_dtype(ptr.get_element_ty())
        lanes = np.ones(ptr.data.shape, dtype=bool)
        atomic = self._atomic(ptr, lanes, "tl.atomic_cas", dtype, sem, scope)
        bits = np.dtype(f"u{dtype.itemsize}")  # equal bits, as the instruction compares
        wanted = np.ascontiguousarray(np.broadcast_to(cmp.data.astype(dtype), ptr.data.shape))
        new = np.ascontiguousarray(np.broadcast_to(val.data.astype(dtype), ptr.data.shape))
        old = engine.atomic_cas(
            np.ascontiguousarray(ptr.data),
            wanted.view(bits),
            new.view(bits),
            self.ir_sem_to_interpreter_sem[sem],
        )
        atomic.wrote = bool((old == wanted.view(bits)).any())
        return atomic.result(old.view(dtype), cmp.dtype.scalar)

    def _atomic(
        self, ptr: Any, lanes: Array, name: str, dtype: Any, sem: Any, scope: Any
    ) -> Atomic:
        """Checks the access now; the result notes it, once it has happened."""
        launch = self.launch
        used, self.unused = not self.unused, False
        size = np.dtype(dtype).itemsize
        atomic = Atomic(self, name, sem, scope, used)
        by_one = lanes.size == 1
        if used and lanes.size < 32 * launch.warps:  # the result goes to all threads
            launch.before_shared_memory()
        for region, index, on in self.locate(ptr, lanes, size, name, not lanes.all()):
            shadow = region.storage.shadow
            picked = index.reshape(-1) if on is None else index[on]
            place = shadow.granules(region.first, picked, size)
            atomic.parts.append((region, shadow, picked, place))
            if not place.size or not launch.checked:
                continue
            shadow.note_first_read(place, by_atomic=True)
            if not launch.one_warp and not by_one:
                bad = shadow.loaded.others(launch.interval, place, index.shape, on, False, shadow)
                if bad is not None:
                    launch.defer(messages_order.overwritten(launch, region, place, bad, name))
                shadow.stored.note(launch.interval, place, index.shape, on, False)
            if launch.alone:
                continue
            self._check_atomic(region, shadow, place, name, atomic.in_one_program)
        return atomic

    def _check_atomic(
        self, region: Region, shadow: Shadow, place: Array, name: str, in_one_program: bool
    ) -> None:
        launch = self.launch
        updates = shadow.foreign_updates(launch.number, place)
        narrow = shadow.in_one_program
        if updates is not None and (in_one_program or narrow is not None):
            if not in_one_program and narrow is not None:
                updates &= narrow.take(place)
            bad = self._unordered(shadow, place, updates) if updates.any() else None
            if bad is not None:
                raise messages_order.atomic_in_one_program(launch, region, place, bad, name)
        writes = shadow.foreign_writes(launch.number, place)
        if writes is not None:
            bad = self._unordered(shadow, place, writes)
            if bad is not None:
                raise messages.atomic_after_store(launch, region, shadow, place, bad, name)
        reads = shadow.foreign_reads(launch.number, place)
        if reads is not None and self._unmet(shadow, place):
            raise messages.atomic_after_load(launch, region, shadow, place, reads, name)

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


class Atomic:
    """One atomic operation: what it touches, and what it orders."""

    def __init__(self, builder: CheckedBuilder, name: str, sem: Any, scope: Any, used: bool):
        self.builder = builder
        self.name = name
        self.used = used
        self.wrote = True
        self.parts: list[tuple[Region, Shadow, Array, Array]] = []
        self.in_one_program = str(scope).endswith("CTA")
        among_programs = not self.in_one_program
        self.releases = among_programs and sem in _RELEASES
        self.acquires = among_programs and sem in _ACQUIRES

    def result(self, old: Array, dtype: Any) -> TensorHandle:
        """After it has happened: notes it, and gives what the program may look at."""
        launch = self.builder.launch
        places = [part for part in self.parts if part[3].size]
        if launch.alone:
            for _, shadow, _, place in places:
                shadow.note_atomic(launch.number, place, self.in_one_program)
            self._barrier(old)
            return TensorHandle(old, dtype)
        if not places:
            return TensorHandle(old, dtype)
        # What is received is only what was there before; it counts once the program looks.
        logs = (
            (launch.order.logs(id(shadow), place) for _, shadow, _, place in places)
            if self.acquires and self.used
            else ()
        )
        received = [(log, len(log)) for part in logs for log in part]
        number = launch.release(old.size == 1) if self.releases and self.wrote else 0
        for _, shadow, _, place in places:
            if self.wrote:
                shadow.note_atomic(launch.number, place, self.in_one_program)
            if number:
                shadow.publish(place, number)
                launch.order.hand_out(number, id(shadow), place)
            elif self.wrote:
                launch.wrote(shadow, place, old.size == 1)
        self._barrier(old)
        if old.size == 1:
            self._watch(places[0], old)
        if not received:
            return TensorHandle(old, dtype)
        return LookedAt(old, dtype, launch, received)

    def _barrier(self, old: Array) -> None:
        """A result of fewer elements than threads goes to the others through shared memory."""
        launch = self.builder.launch
        if self.used and old.size < 32 * launch.warps:
            launch.through_shared_memory()

    def _watch(self, part: tuple[Region, Shadow, Array, Array], old: Array) -> None:
        region, _, picked, _ = part
        found = np.ascontiguousarray(old)
        now = region.memory(found.dtype).take(picked)
        if now.tobytes() == found.tobytes():
            self.builder._looked(region, picked, found, "atomic", self.name)
        else:
            self.builder.launch.turns.changed()
        self.builder._wait(region, self.name, self.builder.launch.turns.next_turn)


class LookedAt(TensorHandle):
    """The result of an atomic that acquires: it does so for a program that looks at it. One that
    does not cannot know that what it waits for has happened."""

    def __init__(self, old: Array, dtype: Any, launch: Launch, received: Any) -> None:
        self._old = old
        self._launch = launch
        self._received = received
        self._number = launch.number
        self.dtype = dtype
        self.attr: dict[str, Any] = {}

    @property
    def data(self) -> Array:
        if self._received:
            self._launch.order.receive(self._number, self._received)
            self._received = ()
        return self._old

    @data.setter
    def data(self, value: Array) -> None:
        self._old = value


_RELEASES = (ir.MEM_SEMANTIC.RELEASE, ir.MEM_SEMANTIC.ACQUIRE_RELEASE)
_ACQUIRES = (ir.MEM_SEMANTIC.ACQUIRE, ir.MEM_SEMANTIC.ACQUIRE_RELEASE)


def _changed(memory: Array, picked: Array, new: Array) -> Array:
    bits = np.dtype(f"u{memory.itemsize}")
    return memory.view(bits).take(picked) != np.ascontiguousarray(new).view(bits)


def _lanes(mask: Any) -> Lanes:
    """A mask, given as a handle or as an array, as booleans; None: all lanes."""
    if mask is None:
        return None
    data = mask.data if isinstance(mask, TensorHandle) else mask
    return np.asarray(data).astype(bool, copy=False)


def _masked(shape: Any, dtype: Any, other: Any) -> Array:
    """A block before anything is loaded into it. Without `other` what is masked is undefined."""
    if other is None:
        return poison(shape, dtype)
    return np.array(np.broadcast_to(other.data, shape), dtype=dtype)


def _padding(ptrs: TensorHandle, padding: Any) -> TensorHandle:
    """Zeros, but where nan is asked for."""
    element = ptrs.get_element_ty()
    data = np.zeros(ptrs.data.shape, dtype=numpy_dtype(element))
    if padding == ir.PADDING_OPTION.PAD_NAN:
        data = np.full(ptrs.data.shape, np.nan, dtype=numpy_dtype(element))
    return TensorHandle(data, element)
