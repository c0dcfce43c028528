"""Timing calls on a CUDA device: events behind a full queue, or a replayed graph.

Why this and not ``triton.testing``: its flush of the L2 cache between calls is right, and is what
is done here too. But ``do_bench`` gives the mean unless asked otherwise, times one function after
the other instead of side by side, repeats it on the same inputs, and below about 30 µs shows how
fast the host launches. ``do_bench_cudagraph`` cures the last and does not flush.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from harness.bench.checking import snapshot
from harness.bench.clock import Clock, RealClock
from harness.bench.inputs import leaves
from harness.bench.quantiles import quantile
from harness.bench.stopwatch import Call, Sample, Sets

# Held before any day is imported, as in clock.py.
_Event, _synchronize, _current_stream = (
    torch.cuda.Event,
    torch.cuda.synchronize,
    torch.cuda.current_stream,
)

FLUSH_BYTES = 256 * 2**20  # several times the L2 of every chip so far (H200: 50 MB)
HEAD_START_CYCLES = 200_000  # at least: about 0.1 ms at 2 GHz
MOST_CYCLES = 20_000_000  # at most: a call that waits for the GPU would ask for ever more
DOUBLINGS = 6  # of the head start, before a call counts as one that waits for the GPU itself
SHORT = 10  # shorter than this many empty event pairs: the pair itself would show in the figure


class CudaTimer:
    """Times calls on the current stream.

    *Events*: flush the L2, spin for a moment so that the launches are queued before the GPU reaches
    them, then event, call, event. The host's launch cost stays out of the figure unless the call
    itself waits for the GPU. On a busy host the moment can be too short; then the first event has
    happened when the last is queued, which is looked at: the sample is void, and the next moment
    twice as long.

    *Graph*: calls that an event pair cannot resolve are captured once, one turn through the sets,
    and replayed between two events. The inputs rotate through more memory than the L2 holds.

    ``cuda`` is ``torch.cuda``; the tests bring a simulated one.
    """

    def __init__(self, cuda: Any = None, clock: Clock | None = None, flush: bool = True) -> None:
        self._cuda = cuda or torch.cuda
        self._event = _Event if cuda is None else cuda.Event
        self._synchronize = _synchronize if cuda is None else cuda.synchronize
        self._stream = _current_stream if cuda is None else cuda.current_stream
        self._clock = clock or RealClock()
        self._flush = (
            torch.empty(FLUSH_BYTES // 4, dtype=torch.int32, device="cuda")
            if flush and cuda is None
            else None
        )
        self.flushes = self._flush is not None
        self._graphs: dict[str, _Graph] = {}
        self._head_start: dict[str, int] = {}
        self._doublings: dict[str, int] = {}
        self.floor_ns = self._floor()

    def settle(self, call: Call, sets: Sets) -> float:
        self._synchronize()
        start = self._clock.now()
        for arguments in sets:
            call(*arguments)
        self._synchronize()
        return (self._clock.now() - start) / len(sets)

    def ready(self, name: str, call: Call, sets: Sets, ns: float) -> str:
        """``ns`` is the host's view, launch included, so a first sample decides what is short."""
        self._graphs.pop(name, None)
        self._synchronize()
        start = self._clock.now()
        call(*sets[0])
        launched = self._clock.now() - start
        # Twice what the host needs to launch it all, at 2 cycles a nanosecond.
        self._head_start[name] = min(MOST_CYCLES, max(HEAD_START_CYCLES, 4 * launched))
        # What takes longer to launch than the longest head start needs no search for a better one.
        self._doublings[name] = DOUBLINGS if 2 * min(launched, ns) > MOST_CYCLES else 0
        first = self._events(name, call, sets, keep=0)
        while first.void:
            first = self._events(name, call, sets, keep=0)
        if self._doublings[name] == DOUBLINGS:  # it waits for the GPU: no head start is enough
            self._head_start[name] = HEAD_START_CYCLES
        if first.ns >= SHORT * self.floor_ns:
            return "events"
        try:
            self._graphs[name] = self._capture(call, sets)
        except Exception as refused:  # whatever a capture refuses: synchronising, other streams, …
            self._synchronize()
            return f"events (no graph: {str(refused).splitlines()[0][:60]})"
        return "graph"

    def sample(self, name: str, call: Call, sets: Sets, keep: int) -> Sample:
        graph = self._graphs.get(name)
        if graph is not None and graph.addresses == _addresses(sets):
            sample = self._replay(name, graph)
        else:
            sample = self._events(name, call, sets, keep)
        return replace(sample, late_ns=self._late(call, sets[0]))

    def _events(self, name: str, call: Call, sets: Sets, keep: int) -> Sample:
        pairs, clean = [], []
        kept = None
        for index, arguments in enumerate(sets):
            if self._flush is not None:
                self._flush.zero_()
            self._cuda._sleep(self._head_start.get(name, HEAD_START_CYCLES))
            start, end = self._event(enable_timing=True), self._event(enable_timing=True)
            start.record()
            out = call(*arguments)
            end.record()
            pairs.append((start, end))
            if not start.query():  # the GPU still spins, and everything is queued behind that
                clean.append((start, end))
            if index == keep:
                # On the same stream, right behind the call: what another stream adds comes late.
                kept = snapshot(out)
        self._synchronize()
        void = len(clean) < len(pairs) and self._longer_head_start(name) and not clean
        times = sorted(start.elapsed_time(end) * 1e6 for start, end in clean or pairs)
        return Sample(quantile(times, 0.5), kept, keep, void=void)

    def _longer_head_start(self, name: str) -> bool:
        """Double the head start of a contender; False when that was done often enough."""
        if self._doublings.get(name, DOUBLINGS) >= DOUBLINGS:
            return False
        self._doublings[name] += 1
        longer = 2 * self._head_start.get(name, HEAD_START_CYCLES)
        self._head_start[name] = min(MOST_CYCLES, longer)
        return True

    def _capture(self, call: Call, sets: Sets) -> _Graph:
        graph = self._cuda.CUDAGraph()
        keep = len(sets) - 1
        self._synchronize()
        with self._cuda.graph(graph):
            for arguments in sets:
                out = call(*arguments)
        return _Graph(graph, out, keep, len(sets), _addresses(sets))

    def _replay(self, name: str, graph: _Graph) -> Sample:
        start, end = self._event(enable_timing=True), self._event(enable_timing=True)
        self._cuda._sleep(self._head_start.get(name, HEAD_START_CYCLES))
        start.record()
        graph.replay()
        end.record()
        void = start.query() and self._longer_head_start(name)
        kept = snapshot(graph.out)
        self._synchronize()
        ns = start.elapsed_time(end) * 1e6 / graph.calls
        return Sample(ns, kept, graph.kept_call, void=void)

    def _late(self, call: Call, arguments: tuple[Any, ...]) -> float:
        """Nanoseconds for which the device works on after the timed stream has finished.

        Less what the same question costs when the device is idle: on some hosts 20 µs and more.
        """
        self._synchronize()
        call(*arguments)
        self._stream().synchronize()
        start = self._clock.now()
        self._synchronize()
        done = self._clock.now()
        self._synchronize()
        return max(0.0, (done - start) - (self._clock.now() - done))

    def _floor(self) -> float:
        """What an empty pair of events measures."""
        pairs = []
        for _ in range(20):
            self._cuda._sleep(HEAD_START_CYCLES)
            start, end = self._event(enable_timing=True), self._event(enable_timing=True)
            start.record()
            end.record()
            pairs.append((start, end))
        self._synchronize()
        return quantile(sorted(start.elapsed_time(end) * 1e6 for start, end in pairs), 0.5)


class _Graph:
    def __init__(self, graph: Any, out: Any, kept_call: int, calls: int, addresses: list[int]):
        self.replay = graph.replay
        self.out = out
        self.kept_call = kept_call
        self.calls = calls
        self.addresses = addresses


def _addresses(sets: Sets) -> list[int]:
    return [leaf.data_ptr() for leaf in leaves(list(sets)) if isinstance(leaf, torch.Tensor)]


def l2_bytes() -> int:
    """Bytes of the L2 cache of the current device."""
    properties = torch.cuda.get_device_properties(torch.cuda.current_device())
    size: int = getattr(properties, "L2_cache_size", 0)
    return size or 50 * 2**20
