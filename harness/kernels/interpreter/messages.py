"""The sentences of the memory checks: what happened, where, and what to look at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from harness.kernels.interpreter.errors import KernelError, count, current_place, tuple_text
from harness.kernels.interpreter.memory import Region
from harness.kernels.interpreter.numbers import Array
from harness.kernels.interpreter.races import SEVERAL, Shadow

if TYPE_CHECKING:
    from harness.kernels.interpreter.state import Launch

_WRAP = 1 << 32
"""What an int32 offset that overflows is off by, in elements."""


def error(
    launch: Launch, kind: str, sentence: str, access: str, tensor: str = "", **data: Any
) -> KernelError:
    """A KernelError at the line that is running."""
    file, line, function = current_place()
    return KernelError(
        kind,
        sentence,
        kernel=function or launch.kernel,
        program=launch.program,
        file=file,
        line=line,
        tensor=tensor,
        operation=access,
        data=data,
    )


def _verb(access: str) -> str:
    if "atomic" in access:
        return "updates"
    return "writes" if "store" in access else "reads"


def _place(region: Region, element: int) -> str:
    """``element 130, which is [1, 2]`` for a tensor of two axes."""
    if len(region.shape) < 2 or not region.contiguous:
        return f"element {element}"
    index = np.unravel_index(element, region.shape)
    return f"element [{', '.join(str(int(i)) for i in index)}]"


def _size(region: Region) -> str:
    noun = count(region.numel, "element")
    return noun if len(region.shape) < 2 else f"{noun}, shape {tuple(region.shape)}"


def _first(numbers: Array) -> str:
    shown = [str(int(i)) for i in numbers[:3]]
    if len(numbers) == 1:
        return f"index {shown[0]}"
    more = f", {len(numbers):,} in all" if len(numbers) > 3 else ""
    return f"indices {', '.join(shown)}{more}"


def out_of_bounds(
    launch: Launch,
    region: Region,
    offset: Array,
    outside: Array,
    size: int,
    access: str,
    masked: bool,
) -> KernelError:
    numbers = np.unique(offset[outside].view(np.int64) // size)
    after = numbers[numbers >= 0]
    before = numbers[numbers < 0]
    is_after = after.size > 0
    shown = after if is_after else before[::-1]
    byte = region.address + int(shown[0]) * size
    storage = region.storage
    in_storage = storage.address <= byte < storage.address + storage.nbytes
    kind = "outside the view" if in_storage else "out of bounds"
    side = "past the end of" if is_after else "before the start of"
    sentence = f"{_verb(access)} {side} `{region.name}`: index {int(shown[0])} of {_size(region)}"
    if len(shown) > 1:
        sentence += f" (first bad {_first(shown)})"
    sentence += f", in program {tuple_text(launch.program)}."
    if in_storage:
        whole = storage.nbytes // size
        sentence += (
            f" `{region.name}` is a view into a storage of {count(whole, 'element')}: the "
            "address is in the storage, but it is not the view's."
        )
    if region.numel == 0:
        sentence += f" `{region.name}` is empty: there is nothing to touch."
    else:
        sentence += _why(region, int(shown[0]), access, masked)
    return error(
        launch,
        kind,
        sentence,
        access,
        region.name,
        indices=[int(i) for i in shown[:16]],
        count=len(numbers),
        size=region.numel,
        shape=list(region.shape),
    )


def _why(region: Region, index: int, access: str, masked: bool) -> str:
    """What can be known of the cause: it is said of any kernel that comes here."""
    if index < 0 <= index + _WRAP < region.span:
        return (
            f" It is 2**32 less than {index + _WRAP}: the offset has overflowed int32. Make it "
            "int64 before the multiplication, with `.to(tl.int64)`."
        )
    if "block pointer" in access or "descriptor" in access:
        return " The shape it was made with reaches farther than the tensor, or is not checked."
    if masked:
        return " There is a mask, and it lets this element through."
    if "atomic" in access:  # the compiler gives each of them a mask
        return " No element is masked here."
    return " There is no mask here."


def in_a_hole(
    launch: Launch, region: Region, index: Array, wrong: Array, access: str
) -> KernelError:
    numbers = np.unique(index[wrong])
    sentence = (
        f"{_verb(access)} outside the view `{region.name}`: offset {int(numbers[0])} from its "
        f"start belongs to the storage but to no element of the view of shape "
        f"{tuple(region.shape)} and strides {tuple(region.strides)}"
        f"{f' ({len(numbers):,} such offsets)' if len(numbers) > 1 else ''}, in program "
        f"{tuple_text(launch.program)}. Are the strides used, each with its own axis?"
    )
    return error(
        launch,
        "outside the view",
        sentence,
        access,
        region.name,
        indices=[int(i) for i in numbers[:16]],
        count=len(numbers),
        size=region.numel,
        shape=list(region.shape),
        strides=list(region.strides),
    )


def wild(launch: Launch, address: int, access: str) -> KernelError:
    near = min(launch.arguments.regions, key=lambda r: abs(address - r.address), default=None)
    sentence = (
        f"{_verb(access)} address {address:#x}, which belongs to no tensor, in program "
        f"{tuple_text(launch.program)}."
    )
    if address < 4096:
        sentence += " Was a pointer made from a number, or from None?"
    elif near is not None:
        sentence += f" The nearest argument is `{near.name}`."
    return error(launch, "out of bounds", sentence, access, data_address=address)


def _program(launch: Launch, number: int) -> str:
    return (
        "another program"
        if number == SEVERAL
        else (f"program {tuple_text(launch.coordinates(number))}")
    )


def _element(region: Region, place: Array, shadow: Shadow, position: int) -> int:
    byte = int(place[position]) * shadow.step - region.first
    return byte // region.itemsize


def _last(shadow: Shadow, place: Array, position: int) -> int:
    last = shadow.last()
    return SEVERAL if last is None else int(last[place[position]])


def read_of_foreign_write(
    launch: Launch, region: Region, shadow: Shadow, place: Array, bad: Array, access: str
) -> KernelError:
    position = int(np.argmax(bad))
    writer = _last(shadow, place, position)
    element = _element(region, place, shadow, position)
    sentence = (
        f"reads {_place(region, element)} of `{region.name}` in program "
        f"{tuple_text(launch.program)}, after {_program(launch, writer)} of the same launch "
        f"wrote it ({count(int(bad.sum()), 'such element')}). On a GPU the programs run at the "
        "same time, in no order: what is read may be the old value or the new one. Use a second "
        "launch, or give each program its own elements."
    )
    return error(
        launch,
        "read of another program's write",
        sentence,
        access,
        region.name,
        element=element,
        writer=list(_coordinates(launch, writer)),
        count=int(bad.sum()),
    )


def _coordinates(launch: Launch, number: int) -> tuple[int, ...]:
    return () if number < 0 else launch.coordinates(number)


def two_writers(
    launch: Launch,
    region: Region,
    shadow: Shadow,
    place: Array,
    picked: Array,
    new: Array,
    memory: Array,
    bad: Array,
    access: str,
) -> KernelError:
    position = int(np.argmax(bad))
    per = place.size // picked.size
    writer = _last(shadow, place, position * per)
    element = _element(region, place, shadow, position * per)
    old, value = memory[picked[position]], new[position]
    sentence = (
        f"writes {value} to {_place(region, element)} of `{region.name}` in program "
        f"{tuple_text(launch.program)}, where {_program(launch, writer)} of the same launch "
        f"wrote {old} ({count(int(bad.sum()), 'such element')}). On a GPU either may come last. "
        "Give each program its own elements, or add with tl.atomic_add."
    )
    return error(
        launch,
        "race",
        sentence,
        access,
        region.name,
        element=element,
        writer=list(_coordinates(launch, writer)),
        old=float(old),
        new=float(value),
        count=int(bad.sum()),
    )


def read_too_early(
    launch: Launch,
    region: Region,
    shadow: Shadow,
    place: Array,
    picked: Array,
    new: Array,
    memory: Array,
    bad: Array,
    access: str,
) -> KernelError:
    position = int(np.argmax(bad))
    per = place.size // picked.size
    assert shadow.reader is not None
    reader = int(shadow.reader[place[position * per]])
    element = _element(region, place, shadow, position * per)
    sentence = (
        f"overwrites {_place(region, element)} of `{region.name}` in program "
        f"{tuple_text(launch.program)}, which {_program(launch, reader)} of the same launch read "
        f"({count(int(bad.sum()), 'such element')}). On a GPU the write may come first, and the "
        "other program would read the new value. Write to another tensor, or give each program "
        "its own elements."
    )
    return error(
        launch,
        "read of another program's write",
        sentence,
        access,
        region.name,
        element=element,
        reader=list(_coordinates(launch, reader)),
        count=int(bad.sum()),
    )


def atomic_after_store(
    launch: Launch, region: Region, shadow: Shadow, place: Array, bad: Array, access: str
) -> KernelError:
    position = int(np.argmax(bad))
    assert shadow.writer is not None
    writer = int(shadow.writer[place[position]])
    element = _element(region, place, shadow, position)
    sentence = (
        f"updates {_place(region, element)} of `{region.name}` atomically in program "
        f"{tuple_text(launch.program)}, but {_program(launch, writer)} of the same launch wrote "
        "it with a plain store. On a GPU that store may come later and wipe the update out: set "
        "the start value before the launch (torch.zeros), or use atomics only."
    )
    return error(
        launch,
        "race",
        sentence,
        access,
        region.name,
        element=element,
        writer=list(_coordinates(launch, writer)),
        count=int(bad.sum()),
    )


def atomic_after_load(
    launch: Launch, region: Region, shadow: Shadow, place: Array, bad: Array, access: str
) -> KernelError:
    position = int(np.argmax(bad))
    assert shadow.reader is not None
    reader = int(shadow.reader[place[position]])
    element = _element(region, place, shadow, position)
    sentence = (
        f"updates {_place(region, element)} of `{region.name}` atomically in program "
        f"{tuple_text(launch.program)}, which {_program(launch, reader)} of the same launch read "
        "with a plain load. On a GPU the load may come after the update: use what the atomic "
        "returns, or read in a second launch."
    )
    return error(
        launch,
        "read of another program's write",
        sentence,
        access,
        region.name,
        element=element,
        reader=list(_coordinates(launch, reader)),
        count=int(bad.sum()),
    )


def twice_in_one_store(
    launch: Launch, region: Region, picked: Array, new: Array, memory: Array, access: str
) -> KernelError:
    kept = memory.take(picked)
    bits = np.dtype(f"u{memory.itemsize}")
    lost = kept.view(bits) != np.ascontiguousarray(new).view(bits)
    position = int(np.argmax(lost))
    element = int(picked[position])
    sentence = (
        f"writes {_place(region, element)} of `{region.name}` more than once in one store, with "
        f"different values ({new[position]} and {kept[position]}), in program "
        f"{tuple_text(launch.program)}. On a GPU any of them may stay: do two lanes have the "
        "same offset? Add with tl.atomic_add if their sum is wanted."
    )
    return error(
        launch, "race", sentence, access, region.name, element=element, count=int(lost.sum())
    )


def bad_descriptor(text: str) -> KernelError:
    sentence = {
        "base must be 16-byte aligned": (
            "the tensor behind a descriptor must start at a multiple of 16 bytes: is it a view "
            "with an odd offset?"
        ),
        "stride must be 16-byte aligned": (
            "every stride of a descriptor but the last must be a multiple of 16 bytes: pad the "
            "rows, or use pointers."
        ),
        "last dim must be contiguous": (
            "the last axis of a descriptor must be contiguous (stride 1): pass a contiguous "
            "tensor, or describe the transposed one."
        ),
    }.get(text, f"this tensor descriptor is not valid: {text}.")
    file, line, function = current_place()
    return KernelError(
        "unsupported",
        sentence,
        kernel=function,
        file=file,
        line=line,
        operation="tl.make_tensor_descriptor",
    )
