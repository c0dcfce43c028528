"""A clock that moves only when told to, a simulated CUDA, and a setting that uses them."""

from __future__ import annotations

import contextlib
import types
from dataclasses import dataclass, replace

import pytest
import torch

from harness.bench.ceilings import Ceilings
from harness.bench.clock import Guard
from harness.bench.cpu import CpuTimer
from harness.bench.measure import Setting
from harness.bench.quantiles import quantiles
from harness.bench.results import BenchResult, CaseResult, DayBench, Figure, Report
from harness.bench.timer import Budget
from harness.measure.device import describe_cpu


class FakeClock:
    """``spin(ns)`` is a function of known duration; ``speed`` slows the whole machine down."""

    def __init__(self):
        self.time = 0
        self.speed = 1.0

    def now(self):
        return int(self.time)

    def spin(self, ns):
        self.time += ns / self.speed


@pytest.fixture
def clock():
    return FakeClock()


class QuietGate:
    """Never doubts, unless told so: each entry of ``doubts`` is one attempt's reasons."""

    def __init__(self, doubts=()):
        self.doubts = list(doubts)
        self.looks = 0

    def start(self):
        pass

    def look(self):
        self.looks += 1

    def reasons(self):
        return self.doubts.pop(0) if self.doubts else []


@pytest.fixture
def quiet_gate():
    return QuietGate


@pytest.fixture
def setting(clock):
    return Setting(
        track="pytorch",
        device=describe_cpu(),
        stopwatch=lambda cold, pool_bytes: CpuTimer(clock),
        gate=QuietGate(),
        clock=clock,
        guard=Guard([]),
        budget=Budget(seconds=1.0, warm_up_seconds=0.1),
        ceilings=Ceilings(copy=10e9, matrix={"float32": 50e9}, threads=1),
        cache_bytes=2**16,
        seed=7,
    )


class FakeCuda:
    """Streams as queues on a clock: launching costs the host, the work is done later."""

    LAUNCH, SYNC, EVENT = 5_000, 3_000, 500

    def __init__(self, clock):
        self.clock = clock
        self.done = {0: 0.0}
        self.capturing = None
        fake = self

        class Event:
            def __init__(self, enable_timing=False):
                assert enable_timing
                self.at = None

            def record(self):
                fake.done[0] = max(fake.done[0], fake.clock.now()) + fake.EVENT
                self.at = fake.done[0]

            def query(self):
                return fake.clock.now() >= self.at

            def elapsed_time(self, other):
                return (other.at - self.at) / 1e6

        class CUDAGraph:
            def replay(self):
                fake.clock.spin(fake.LAUNCH)
                for ns, work in self.kernels:
                    fake._queue(0, ns)
                    work()

        self.Event, self.CUDAGraph = Event, CUDAGraph

    def kernel(self, ns, work=lambda: None, stream=0):
        """Launch a kernel of known duration; ``work`` is what it computes."""
        if self.capturing is not None:
            if stream:
                raise RuntimeError("capture of another stream's work that is not joined")
            self.capturing.kernels.append((ns, work))
            work()
            return
        self.clock.spin(self.LAUNCH)
        self._queue(stream, ns)
        work()

    def _queue(self, stream, ns):
        self.done[stream] = max(self.done.get(stream, 0.0), self.clock.now()) + ns

    def _sleep(self, cycles):
        self.clock.spin(self.LAUNCH)
        self._queue(0, cycles / 2)

    def _wait(self, until):
        if self.capturing is not None:
            raise RuntimeError("operation not permitted when stream is capturing")
        self.clock.time = max(self.clock.time, until) + self.SYNC

    def synchronize(self):
        self._wait(max(self.done.values()))

    def current_stream(self):
        return types.SimpleNamespace(synchronize=lambda: self._wait(self.done[0]))

    @contextlib.contextmanager
    def graph(self, graph):
        graph.kernels = []
        self.capturing = graph
        try:
            yield
        finally:
            self.capturing = None


@pytest.fixture
def cuda(clock):
    return FakeCuda(clock)


@dataclass
class Made:
    """A day's result with invented figures: ``times`` maps a contender to its nanoseconds."""

    times: dict[str, float]

    def case(self, values=None, flops=1000, bytes=10_000, dtype="float16", spread=0.0):
        result = CaseResult(values or {"n": 1}, bytes, flops, dtype, rounds=20)
        for name, ns in self.times.items():
            samples = [ns * (1 + spread * (i - 10) / 10) for i in range(21)]
            figure = Figure(name, ns=quantiles(samples), samples=samples, correct=True)
            result.figures.append(replace(figure, method="events", peak_bytes=4096, launches=1))
        return result


@pytest.fixture
def made():
    return Made


@pytest.fixture
def make_day():
    def day(*cases, track="triton", device="cuda", unit="GB/s", number=13):
        ceilings = Ceilings(copy=100e9, matrix={"float16": 1e12}, launch_ns=4000, threads=1)
        bench = BenchResult("softmax", unit, "cold", list(cases))
        return DayBench(
            track,
            number,
            device,
            {"yours": "day13.py #1", "reference": "solutions/day13.py #2"},
            ceilings=ceilings.to_json(),
            benches=[bench],
        )

    return day


@pytest.fixture
def make_report():
    def report(*days, name="GPU A", kind="cuda"):
        machine = {"name": name, "kind": kind, "detail": "sm_90", "threads": 1}
        return Report("2026-01-01T00:00:00+00:00", machine, {"torch": "2"}, None, {}, list(days))

    return report


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
