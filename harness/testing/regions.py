"""Where is it wrong: rows, columns, tiles, blocks at the edge, triangles, in words."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

FEW = 5  # positions that are named one by one


def describe(wrong: np.ndarray, tile: int | Sequence[int] | None = None) -> list[str]:
    """Sentences (without a full stop) that say where ``wrong`` is true; the best one first.

    ``tile`` is the block of the array that one program owns; missing leading axes count as 1.
    """
    wrong = np.asarray(wrong, dtype=bool)
    if not wrong.any() or wrong.size == 1:
        return []
    blocks = full_tile(tile, wrong.ndim)
    if wrong.all():
        return []
    triangle = _triangle(wrong)
    if triangle:
        sentences = [triangle]
    elif wrong.sum() == 1:
        sentences = ["only this one element"]
    else:
        found = [_axis(wrong, axis, blocks[axis] if blocks else 1) for axis in _axes(wrong)]
        sentences = [text for text in found if text]
    if blocks is not None:
        programs = _programs(wrong, blocks, alone=not sentences)
        if programs:
            sentences.append(programs)
    return sentences or ["scattered over the whole result"]


def full_tile(tile: int | Sequence[int] | None, ndim: int) -> tuple[int, ...] | None:
    """``tile`` with one size an axis."""
    if tile is None:
        return None
    sizes = (tile,) if isinstance(tile, int) else tuple(tile)
    if len(sizes) > ndim or any(size < 1 for size in sizes):
        raise ValueError(f"tile={tile!r} does not fit a result with {ndim} axes")
    return (1,) * (ndim - len(sizes)) + sizes


def _axes(wrong: np.ndarray) -> list[int]:
    return [axis for axis in range(wrong.ndim) if wrong.shape[axis] > 1]


def _hits(wrong: np.ndarray, axis: int) -> np.ndarray:
    """The positions along ``axis`` at which anything is wrong."""
    others = tuple(other for other in range(wrong.ndim) if other != axis)
    return np.flatnonzero(wrong.any(axis=others))


def _positions(ndim: int, axis: int, which: str, several: bool) -> str:
    """``which`` positions of an axis, as "rows 3-5", "column 0" or "positions 1-2 of axis 0"."""
    s = "s" if several else ""
    if ndim == 1:
        return f"element{s} {which}"
    if ndim == 2:
        return f"{('row', 'column')[axis]}{s} {which}"
    return f"position{s} {which} of axis {axis}"


def _run(hits: np.ndarray) -> str | None:
    """Positions as text if they can be said briefly: "7", "3-9", "1, 5, 6"."""
    if len(hits) == 1:
        return str(hits[0])
    if hits[-1] - hits[0] == len(hits) - 1:
        return f"{hits[0]}-{hits[-1]}"
    if len(hits) <= FEW:
        return ", ".join(map(str, hits))
    return None


def _axis(wrong: np.ndarray, axis: int, block: int) -> str | None:
    size, hits = wrong.shape[axis], _hits(wrong, axis)
    if len(hits) == size:
        return None
    run = _run(hits)
    contiguous = hits[-1] - hits[0] == len(hits) - 1
    if run is not None:
        text = "only " + _positions(wrong.ndim, axis, run, len(hits) > 1)
    else:
        steps = np.unique(np.diff(hits))
        noun = {1: "elements", 2: ("rows", "columns")[axis % 2]}.get(
            wrong.ndim, f"positions of axis {axis}"
        )
        if len(steps) == 1:
            return f"only every {_ordinal(int(steps[0]))} of the {noun}, from {hits[0]} on"
        text = f"in {len(hits)} of {size} {noun}"

    if block > 1:
        last = (size - 1) // block * block
        partial = size % block != 0
        if hits[0] >= last and last > 0:
            return f"{text}, the last{', partial' if partial else ''} block of axis {axis}"
        if hits[-1] < block and last > 0:
            return f"{text}, the first block of axis {axis}"
        if hits[0] >= block and len(hits) == size - block:
            return f"{text}: only the first block of axis {axis} is right"
        inside = np.unique(hits % block)
        run = _run(inside)
        if len(inside) < block and run is not None and last > 0:
            several = len(inside) > 1
            return f"{text}: always {'positions' if several else 'position'} {run} of a block"
    if not contiguous:
        return text
    n = len(hits)
    if hits[0] == 0:
        return f"{text}, the first{f' {n}' if n > 1 else ''} of {size}"
    if hits[-1] == size - 1:
        if hits[0] == 1 and size > 2:
            return f"{text}, all but the first"
        return f"{text}, the last{f' {n}' if n > 1 else ''} of {size}"
    return f"{text} of {size}" if wrong.ndim < 3 else f"{text} (size {size})"


def _ordinal(n: int) -> str:
    suffix = "th" if n % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n}{suffix}"


def _triangle(wrong: np.ndarray) -> str | None:
    if wrong.ndim < 2 or min(wrong.shape[-2:]) < 3:
        return None
    upper = np.triu(np.ones(wrong.shape[-2:], dtype=bool), 1)
    lower = np.tril(np.ones(wrong.shape[-2:], dtype=bool), -1)
    parts = {
        "only on the diagonal": ~(upper | lower),
        "only above the diagonal": upper,
        "only below the diagonal": lower,
        "only on and above the diagonal": ~lower,
        "only on and below the diagonal": ~upper,
    }
    for text, part in parts.items():
        # No element outside the part, and most of the part: a single one proves nothing.
        if not (wrong & ~part).any() and wrong.sum() > 0.8 * part.sum() * wrong[..., 0, 0].size:
            return text
    return None


def _programs(wrong: np.ndarray, blocks: tuple[int, ...], alone: bool) -> str | None:
    """Which tiles hold something wrong, and whether they are wrong as a whole."""
    grid = tuple(-(-n // b) for n, b in zip(wrong.shape, blocks, strict=True))
    total = int(np.prod(grid))
    if total == 1:
        return None
    sums = wrong
    for axis, block in enumerate(blocks):
        starts = np.arange(0, wrong.shape[axis], block)
        sums = np.add.reduceat(sums, starts, axis=axis, dtype=np.int64)
    flat = np.flatnonzero(sums)
    counts = sums.ravel()[flat]
    if len(flat) == total:
        return f"in every one of the {total} tiles of {_by(blocks)}" if alone else None
    whole = int(counts.sum()) == sum(_size(wrong.shape, blocks, grid, f) for f in flat)
    shown_at = [np.unravel_index(f, grid) for f in flat[:FEW]]
    if len(grid) == 1:
        names = [str(at[0]) for at in shown_at]
    else:
        names = [f"({', '.join(map(str, at))})" for at in shown_at]
    shown = ", ".join(names) + (", ..." if len(flat) > FEW else "")
    amount = "all of" if whole else "in"
    s = "s" if len(flat) > 1 else ""
    return f"{amount} the tile{s} {shown}: {len(flat)} of {total} tiles of {_by(blocks)}"


def _size(shape: tuple[int, ...], blocks: tuple[int, ...], grid: tuple[int, ...], tile: int) -> int:
    """How many elements of the array a tile covers: fewer at the edge."""
    at = np.unravel_index(tile, grid)
    return math.prod(min(b, n - int(c) * b) for n, b, c in zip(shape, blocks, at, strict=True))


def _by(blocks: tuple[int, ...]) -> str:
    return " x ".join(map(str, blocks))
