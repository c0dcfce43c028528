"""Fresh inputs for every repetition, in memory that stays where it is.

A pool holds several sets of inputs, together larger than the last-level cache, and hands them out
in turn: a call never finds its inputs where the call before left them. Before every round the
*values* are drawn anew and written into the *same* tensors. So a call that remembers its answer by
the identity or the address of its inputs gives a stale answer, which the check after timing sees;
and a CUDA graph, which replays fixed addresses, reads new data each time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

MOST_SETS = 64  # enough to fill a batch; a tiny problem would otherwise need thousands
MOST_SETS_CPU = 16  # a clock that is read in 0.1 µs needs no more, and the cache is emptied instead


class Pool:
    """``count`` sets of inputs from ``make(seed)``, renewed by ``refill``."""

    def __init__(self, make: Callable[[int], tuple[Any, ...]], seed: int, count: int) -> None:
        self._make = make
        self._seed = seed
        self.seeds = [seed + i for i in range(count)]
        self.sets = [make(s) for s in self.seeds]
        self._next = seed + count

    def keep(self, most: int) -> None:
        """Give up all sets but the first ``most``."""
        del self.sets[most:], self.seeds[most:]

    def refill(self) -> None:
        """Draw new values for every set, kept in the same tensors and arrays where possible."""
        for i in range(len(self.sets)):
            fresh = self._make(self._next)
            self.seeds[i] = self._next
            self.sets[i] = tuple(
                overwrite(old, new) for old, new in zip(self.sets[i], fresh, strict=True)
            )
            self._next += 1

    def restore(self) -> None:
        """Write this round's values again, after a call that was allowed to change them."""
        for i, seed in enumerate(self.seeds):
            self.sets[i] = tuple(
                overwrite(old, new) for old, new in zip(self.sets[i], self._make(seed), strict=True)
            )

    def again(self, seed: int) -> tuple[Any, ...]:
        """The set that ``seed`` made, as it was before any contender touched it."""
        return self._make(seed)


def how_many(one_set: tuple[Any, ...], cache_bytes: int, room: int, most: int = MOST_SETS) -> int:
    """Sets needed to be past a cache of ``cache_bytes`` twice over, within ``room`` bytes."""
    size = max(1, nbytes(one_set))
    wanted = -(-2 * cache_bytes // size) + 1
    return max(2, min(wanted, most, max(2, room // size)))


def nbytes(value: Any) -> int:
    """Bytes of all tensors and arrays in ``value``."""
    return sum(
        leaf.nbytes for leaf in leaves(value) if isinstance(leaf, (torch.Tensor, np.ndarray))
    )


def leaves(value: Any) -> Iterator[Any]:
    """The tensors, arrays and numbers inside tuples, lists and dictionaries, in order."""
    if isinstance(value, dict):
        for item in value.values():
            yield from leaves(item)
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from leaves(item)
    else:
        yield value


def overwrite(old: Any, new: Any) -> Any:
    """``new``'s values in ``old``'s memory; ``new`` itself where that cannot be."""
    if type(old) is not type(new):
        return new
    if isinstance(new, torch.Tensor):
        if old.shape != new.shape or old.dtype != new.dtype or old.stride() != new.stride():
            return new
        with torch.no_grad():
            old.copy_(new)
        return old
    if isinstance(new, np.ndarray):
        if old.shape != new.shape or old.dtype != new.dtype or not _make_writeable(old):
            return new
        np.copyto(old, new)
        old.flags.writeable = new.flags.writeable
        return old
    if isinstance(new, (tuple, list)) and len(old) == len(new):
        return type(new)(overwrite(a, b) for a, b in zip(old, new, strict=True))
    if isinstance(new, dict) and old.keys() == new.keys():
        return {key: overwrite(old[key], new[key]) for key in new}
    return new


def _make_writeable(array: np.ndarray) -> bool:
    try:
        array.flags.writeable = True
    except ValueError:  # a view of memory that someone else marked read-only
        return False
    return True
