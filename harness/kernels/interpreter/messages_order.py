"""The sentences about order: threads of one program, programs that wait, atomics of one program."""

from __future__ import annotations

import numpy as np

from harness.kernels.interpreter import messages
from harness.kernels.interpreter.errors import KernelError, count, tuple_text
from harness.kernels.interpreter.memory import Region
from harness.kernels.interpreter.numbers import Array
from harness.kernels.interpreter.state import Launch


def _element(region: Region, place: Array, bad: Array) -> tuple[int, int]:
    """The first bad element, and how many there are."""
    step = region.storage.shadow.step
    elements = np.unique((place[bad] * step - region.first) // region.itemsize)
    return int(elements[0]), len(elements)


def read_back(launch: Launch, region: Region, place: Array, bad: Array, access: str) -> KernelError:
    element, number = _element(region, place, bad)
    return messages.error(
        launch,
        "race",
        f"reads element {element} of `{region.name}` in program {tuple_text(launch.program)}, "
        f"which another thread of the same program has written ({count(number, 'such element')}). "
        "The threads of a program do not wait for each other: what is read may be the old value or "
        "the new one. For the old one read before the write; for the new one a tl.debug_barrier() "
        "between the two makes them wait.",
        access,
        region.name,
        element=element,
        count=number,
    )


def overwritten(
    launch: Launch, region: Region, place: Array, bad: Array, access: str
) -> KernelError:
    element, number = _element(region, place, bad)
    return messages.error(
        launch,
        "race",
        f"overwrites element {element} of `{region.name}` in program "
        f"{tuple_text(launch.program)}, which another thread of the same program reads "
        f"({count(number, 'such element')}). The threads of a program do not wait for each other: "
        "that one may not have read it yet. A tl.debug_barrier() between the read and the write "
        "makes them wait.",
        access,
        region.name,
        element=element,
        count=number,
    )


def atomic_in_one_program(
    launch: Launch, region: Region, place: Array, bad: Array, access: str
) -> KernelError:
    element, number = _element(region, place, bad)
    return messages.error(
        launch,
        "race",
        f"updates element {element} of `{region.name}` in program {tuple_text(launch.program)}, "
        'which another program updates too, and one of them with scope="cta": such an update is '
        "atomic only among the threads of its own program, and orders nothing between programs. "
        'The default, scope="gpu", is for all programs.',
        access,
        region.name,
        element=element,
        count=number,
    )


def nobody_left(launch: Launch, region: Region, access: str) -> KernelError:
    return messages.error(
        launch,
        "failed",
        f"program {tuple_text(launch.program)} waits for a value of `{region.name}` that nobody "
        "will write: every other program has ended or waits as well.",
        access,
        region.name,
    )


def too_many_wait(launch: Launch, region: Region, access: str, most: int) -> KernelError:
    return messages.error(
        launch,
        "failed",
        f"program {tuple_text(launch.program)} waits for a value of `{region.name}`, as {most:,} "
        "others do, while more have not started. A GPU runs only some thousand programs at a time, "
        "and the rest when those have ended: programs that wait for later ones must be few enough "
        "to run together.",
        access,
        region.name,
    )
