"""Whoever cheats must be caught; whoever does not must pass the same check."""

import threading
import time
import types
from dataclasses import replace

import pytest
import torch

from harness.bench.clock import Guard, RealClock, watched_names
from harness.bench.cpu import CpuTimer
from harness.bench.cuda import CudaTimer
from harness.bench.measure import measure_case
from harness.benching import Case, Problem, bench

N = 64


def declare(**options):
    values = {
        "inputs": lambda rng: (rng.normal(N),),
        "oracle": lambda x: torch.sin(x.double()),
        **options,
    }

    @bench("sine", unit="time", cases=[Case(n=N)])
    def sine(case):
        return Problem(**values)

    return sine


def measured(setting, call, **options):
    declared = declare(**options)
    day = types.SimpleNamespace(sine=call, __name__="day")
    result = measure_case(declared, declared.cases[0], {"yours": day}, setting)
    return result.figures[0]


def honest(clock, ns=10_000):
    def call(x):
        clock.spin(ns)
        return torch.sin(x)

    return call


def test_an_honest_call_counts(setting, clock):
    figure = measured(setting, honest(clock))
    assert figure.counts
    assert figure.correct
    assert figure.ns.median == 10_000
    assert figure.peak_bytes is not None


def test_a_cpu_takes_few_sets_and_empties_its_cache_instead(setting, clock):
    pools = []

    def stopwatch(cold, pool_bytes):
        pools.append((cold, pool_bytes))
        return CpuTimer(clock)

    measured(replace(setting, stopwatch=stopwatch), honest(clock))
    assert pools == [(True, 16 * N * 4)]


def test_answers_remembered_by_identity(setting, clock):
    known = {}

    def call(x):
        if id(x) not in known:
            clock.spin(10_000)
            known[id(x)] = torch.sin(x)
        clock.spin(10)
        return known[id(x)]

    figure = measured(setting, call)
    assert figure.error.startswith("wrong:")
    assert not figure.counts


def test_answers_remembered_by_address_and_shape(setting, clock):
    known = {}

    def call(x):
        key = (x.data_ptr(), tuple(x.shape))
        clock.spin(10)
        if key not in known:
            known[key] = torch.sin(x)
        return known[key]

    assert measured(setting, call).error.startswith("wrong:")


class Lazy(torch.Tensor):
    pass


def test_a_result_that_computes_later(setting, clock):
    def call(x):
        clock.spin(10)
        return x.as_subclass(Lazy)

    assert "may compute only when it is read" in measured(setting, call).error


def test_a_function_as_a_result(setting, clock):
    figure = measured(setting, lambda x: lambda: torch.sin(x))
    assert "plain tensors" in figure.error


def test_work_in_a_thread(setting, clock):
    release = threading.Event()

    def call(x):
        out = torch.zeros_like(x)
        threading.Thread(target=lambda: (release.wait(5), torch.sin(x, out=out))).start()
        clock.spin(10)
        return out

    try:
        figure = measured(setting, call)
    finally:
        release.set()
    assert "thread was still at work" in figure.error


def test_work_on_another_stream(setting, clock, cuda):
    def call(x):
        out = torch.empty_like(x)
        cuda.kernel(500_000, lambda: torch.sin(x, out=out), stream=1)
        return out

    figure = measured(replace(setting, stopwatch=lambda *_: CudaTimer(cuda, clock)), call)
    assert figure.correct
    assert "another stream" in figure.error


def test_cached_output_under_a_graph(setting, clock, cuda):
    known = {}

    def call(x):
        if x.data_ptr() not in known:
            out = torch.empty_like(x)
            cuda.kernel(1000, lambda: torch.sin(x, out=out))
            known[x.data_ptr()] = out
        return known[x.data_ptr()]

    figure = measured(replace(setting, stopwatch=lambda *_: CudaTimer(cuda, clock)), call)
    assert figure.error.startswith("wrong:")


def test_honest_short_kernel_under_a_graph(setting, clock, cuda):
    def call(x):
        out = torch.empty_like(x)
        cuda.kernel(1000, lambda: torch.sin(x, out=out))
        return out

    figure = measured(replace(setting, stopwatch=lambda *_: CudaTimer(cuda, clock)), call)
    assert (figure.method, figure.error) == ("graph", "")


def test_a_patched_clock_is_named_and_not_believed(setting, clock, monkeypatch):
    guard = Guard([(time, "perf_counter_ns"), (torch.cuda.Event, "elapsed_time")])
    monkeypatch.setattr(time, "perf_counter_ns", lambda: 0)
    monkeypatch.setattr(torch.cuda.Event, "elapsed_time", lambda self, other: 0.001)
    assert RealClock().now() > 0
    figure = measured(replace(setting, guard=guard), honest(clock))
    assert figure.error == (
        "the timing functions were replaced: time.perf_counter_ns, Event.elapsed_time"
    )


def test_all_that_the_gpus_timer_asks_is_watched():
    names = ("record", "query", "elapsed_time")
    assert {(torch.cuda.Event, name) for name in names} <= set(watched_names())


def test_an_untouched_clock_is_not_accused():
    from harness.bench.clock import watched_names

    assert Guard(watched_names()).changed() == []


def test_overwriting_the_inputs(setting, clock):
    def call(x):
        clock.spin(10)
        return x.sin_()

    assert "overwrites its inputs" in measured(setting, call).error
    assert measured(setting, call, inplace=True).counts


def test_half_the_work(setting, clock):
    def call(x):
        clock.spin(10)
        out = torch.sin(x)
        out[N // 2 :] = 0
        return out

    assert measured(setting, call).error.startswith("wrong:")


def test_faster_than_the_machine(setting, clock):
    figure = measured(setting, honest(clock, ns=1000), flops=10**6)
    assert "faster than this machine computes: 1,000 GFLOP/s" in figure.error
    figure = measured(setting, honest(clock, ns=1000), bytes=10**6)
    assert "faster than this machine's memory" in figure.error


def test_a_ceiling_measured_at_a_bad_moment_accuses_nobody(setting, clock):
    declared = declare(flops=10**6)
    day = types.SimpleNamespace(sine=honest(clock, ns=1000), __name__="day")
    days = {"yours": day, "reference": day}
    result = measure_case(declared, declared.cases[0], days, setting)
    assert [figure.error for figure in result.figures] == ["", ""]


def test_too_loose_precision(setting, clock):
    def call(x):
        clock.spin(10)
        return torch.sin(x.half()).float()

    assert measured(setting, call).error.startswith("wrong:")


def test_of_a_peer_only_that_it_differs_is_said(setting, clock):
    def rough(x):
        clock.spin(10)
        return torch.sin(x.half()).float()

    declared = declare(peers={"rough": rough, "fine": honest(clock)})
    day = types.SimpleNamespace(sine=honest(clock), __name__="day")
    case = measure_case(declared, declared.cases[0], {"yours": day}, setting)
    figures = {figure.contender: figure for figure in case.figures}
    assert figures["rough"].note == "outside this bench's tolerance: result differs"
    assert figures["fine"].note == "" and figures["fine"].correct


@pytest.mark.parametrize("word", ["sine", "sine's kernel"])
def test_an_unwritten_exercise_is_a_gap(setting, word):
    def call(x):
        raise NotImplementedError(word)

    figure = measured(setting, call)
    assert (figure.gap, figure.error) == (f"not written yet: {word}", "")
