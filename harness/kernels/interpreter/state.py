"""What is known while a kernel runs."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.kernels.interpreter.memory import Arguments
from harness.kernels.interpreter.order import Order
from harness.kernels.interpreter.turns import Turns


class Launch:
    """One launch, and where it is: the program that runs, and its interval between barriers."""

    turns: Turns

    def __init__(
        self, kernel: str, grid: tuple[int, ...], *, warps: int = 4, checked: bool = True
    ) -> None:
        self.kernel = kernel
        self.grid = grid
        self.axes = len(grid)
        self.sizes = (*grid, *(1,) * (3 - len(grid)))
        self.programs = int(np.prod(self.sizes, dtype=np.int64))
        self.warps = warps
        self.checked = checked
        self.alone = self.programs == 1 or not checked
        self.one_warp = warps == 1
        self.arguments = Arguments()
        self.order = Order()
        self.number = 0
        self.returned = False
        self.program: tuple[int, ...] = ()
        self.coordinate = (0, 0, 0)
        self.interval = 0
        self._intervals = 0
        self._shared_is_read = False
        self._pending: list[tuple[Any, Any, int]] = []
        self.deferred: Exception | None = None

    def start(self, number: int) -> None:
        self._go_to(number)
        self._shared_is_read = False
        self._pending = []
        self._next_interval()

    def _go_to(self, number: int) -> None:
        self.number = number
        self.coordinate = self._split(number)
        self.program = self.coordinate[: self.axes]

    def _split(self, number: int) -> tuple[int, int, int]:
        """Program numbers count x fastest, as GPUs schedule them."""
        x = number % self.sizes[0]
        y = number // self.sizes[0] % self.sizes[1]
        return x, y, number // (self.sizes[0] * self.sizes[1])

    def coordinates(self, number: int) -> tuple[int, ...]:
        return self._split(number)[: self.axes]

    # A program that waits lets others run

    def save(self) -> Any:
        return self.number, self._pending

    def load(self, state: Any) -> None:
        number, self._pending = state
        self._go_to(number)
        self._next_interval()

    # Barriers order the threads of one program. The compiler puts one into every operation that
    # goes through shared memory, and one before it where what was there may still be read.

    def _next_interval(self) -> None:
        self._intervals += 1
        self.interval = self._intervals

    def defer(self, error: Exception) -> None:
        """A race of threads is told at the end: one of programs, if there is any, matters more."""
        if self.deferred is None:
            self.deferred = error

    def barrier(self) -> None:
        self._shared_is_read = False
        self._next_interval()

    def before_shared_memory(self) -> None:
        if self._shared_is_read:
            self._next_interval()

    def through_shared_memory(self) -> None:
        self._next_interval()
        self._shared_is_read = True

    # Atomics order programs

    def wrote(self, shadow: Any, place: Any, by_one_thread: bool) -> None:
        """To be released by the next atomic. That is done by one thread of the program, which
        answers for the others only after a barrier: interval -1 is its own."""
        interval = -1 if by_one_thread or self.one_warp else self.interval
        self._pending.append((shadow, place, interval))

    def release(self, by_one_thread: bool) -> int:
        """The number of the release of what was written so far."""
        number = self.order.release(self.number)
        held = []
        for shadow, place, interval in self._pending:
            if by_one_thread and interval == self.interval:
                held.append((shadow, place, interval))
            else:
                shadow.publish(place, number)
        self._pending = held
        return number
