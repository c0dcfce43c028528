"""Functions of known duration, on a clock that moves only when they move it."""

import random
from dataclasses import replace

import pytest
import torch

from harness.bench.contenders import Entry
from harness.bench.cpu import CpuTimer
from harness.bench.cuda import CudaTimer
from harness.bench.inputs import Pool, how_many
from harness.bench.timer import Budget, race


def make(seed):
    return (torch.full((4,), float(seed)),)


def spinner(clock, ns, noise=0.0):
    draw = random.Random(1)

    def call(x):
        clock.spin(ns * (1 + noise * draw.random()))
        return x

    return call


def run(clock, calls, budget=None, count=3, inplace=False, stopwatch=None):
    entries = [Entry(name, call) for name, call in calls.items()]
    stopwatch = stopwatch or CpuTimer(clock)
    budget = budget or Budget(seconds=1.0, warm_up_seconds=0.01)
    timings = race(entries, Pool(make, 0, count), stopwatch, budget, clock, inplace=inplace)
    return timings, {t.name: t for t in timings.contenders}


def test_known_durations_come_back(clock):
    timings, found = run(clock, {"a": spinner(clock, 1000), "b": spinner(clock, 2500)})
    assert set(found["a"].ns) == {1000}
    assert set(found["b"].ns) == {2500}
    assert timings.stopped == "error bound met"
    assert timings.rounds == Budget().fewest


def test_ratio_holds_while_the_machine_slows_down(clock):
    slow = spinner(clock, 2000)

    def throttled(x):
        clock.speed *= 0.999
        return slow(x)

    budget = Budget(error=0.0, seconds=100.0, fewest=40, most=40)
    timings, found = run(clock, {"a": spinner(clock, 1000), "b": throttled}, budget)
    assert max(found["a"].ns) > 1.1 * min(found["a"].ns)
    ratios = [b / a for a, b in zip(found["a"].ns, found["b"].ns, strict=True)]
    assert max(ratios) < 2.02
    assert min(ratios) > 1.98
    assert timings.stopped == "40 rounds done"


def test_says_when_the_time_was_used_up(clock):
    budget = Budget(error=1e-6, seconds=0.001, warm_up_seconds=0, fewest=6)
    timings, _ = run(clock, {"a": spinner(clock, 50_000, noise=1.0)}, budget)
    assert timings.stopped == "time used up"
    assert timings.rounds >= 6


def test_even_the_fewest_rounds_end(clock):
    budget = Budget(seconds=0.001, warm_up_seconds=0, fewest=6)
    timings, _ = run(clock, {"a": spinner(clock, 10_000_000)}, budget)
    assert (timings.rounds, timings.stopped) == (1, "time used up")


def test_contenders_are_interleaved_in_changing_order(clock):
    order = []

    def noted(name):
        def call(x):
            order.append(name)
            clock.spin(100)
            return x

        return call

    timings, _ = run(clock, {n: noted(n) for n in "abc"}, Budget(warm_up_seconds=0), count=1)
    rounds = [tuple(order[-3 * r :][:3]) for r in range(1, timings.rounds + 1)]
    assert all(sorted(r) == ["a", "b", "c"] for r in rounds)
    assert len(set(rounds)) > 1


def test_every_timed_call_has_values_of_its_own_in_memory_that_stays(clock):
    seen, places = [], set()

    def call(x):
        seen.append(float(x[0]))
        places.add(x.data_ptr())
        clock.spin(100)
        return x + 0

    timings, _ = run(clock, {"a": call})
    timed = seen[-3 * timings.rounds :]
    assert len(set(timed)) == len(timed) == 3 * timings.rounds
    assert len(places) == 3


def test_compiling_stays_outside_the_clock(clock):
    calls = []

    def call(x):
        calls.append(1)
        clock.spin(10**12 if len(calls) == 1 else 1000)
        return x

    _, found = run(clock, {"a": call})
    assert set(found["a"].ns) == {1000}
    assert found["a"].warm_up_seconds >= 1000


def test_warm_up_waits_until_the_time_is_steady(clock):
    turns = []

    def call(x):
        turns.append(1)
        clock.spin(1000 + 10_000 // len(turns) ** 2)
        return x

    _, found = run(clock, {"a": call}, count=1)
    assert max(found["a"].ns) < 1.05 * min(found["a"].ns) + 100


def test_a_contender_that_fails_leaves_the_others(clock):
    calls = []

    def fails(x):
        calls.append(1)
        if len(calls) > 20:
            raise RuntimeError("out of luck\nsecond line")
        clock.spin(100)
        return x

    _, found = run(clock, {"a": fails, "b": spinner(clock, 100)})
    assert found["a"].failed == "RuntimeError: out of luck"
    assert found["b"].ns


def test_inplace_calls_each_get_fresh_inputs(clock):
    seen = []

    def doubles(name):
        def call(x):
            seen.append((name, float(x[0])))
            x.mul_(-1)
            clock.spin(100)
            return x

        return call

    run(clock, {"a": doubles("a"), "b": doubles("b")}, count=2, inplace=True)
    last = seen[-4:]
    assert all(value > 0 for _, value in last)
    a, b = ([v for n, v in last if n == name] for name in "ab")
    assert a == b


def test_pool_is_larger_than_the_cache_within_its_room():
    one = (torch.zeros(256),)
    assert how_many(one, cache_bytes=8 * 1024, room=10**9) == 17
    assert how_many(one, cache_bytes=10**9, room=10**9) == 64
    assert how_many(one, cache_bytes=10**9, room=5 * 1024) == 5
    assert how_many(one, cache_bytes=0, room=0) == 2
    assert how_many(one, cache_bytes=10**9, room=10**9, most=16) == 16


@pytest.mark.parametrize("ns", [30_000, 400_000])
def test_events_show_the_kernel_and_not_the_launch(clock, cuda, ns):
    def call(x):
        cuda.kernel(ns)
        return x

    _, found = run(clock, {"a": call}, stopwatch=CudaTimer(cuda, clock))
    assert found["a"].method == "events"
    assert found["a"].ns[0] == pytest.approx(ns + cuda.EVENT)
    assert not found["a"].cheat


def test_a_chain_of_launches_is_queued_before_the_gpu_gets_there(clock, cuda):
    def call(x):
        for _ in range(100):  # the host needs 500 µs to launch what the GPU does in 200 µs
            cuda.kernel(2000)
        return x

    _, found = run(clock, {"a": call}, stopwatch=CudaTimer(cuda, clock))
    assert found["a"].ns[0] == pytest.approx(200_000 + cuda.EVENT)


def test_a_host_that_is_late_does_not_show_in_the_figures(clock, cuda):
    draw = random.Random(0)

    def call(x):
        if draw.random() < 0.4:
            clock.spin(300_000)  # something else has the core: the GPU would wait for the launch
        cuda.kernel(150_000)
        return x

    def steady(x):
        cuda.kernel(300_000)
        return x

    timings, found = run(clock, {"a": call, "b": steady}, stopwatch=CudaTimer(cuda, clock))
    assert set(found["a"].ns) == {150_000 + cuda.EVENT}
    assert set(found["b"].ns) == {300_000 + cuda.EVENT}
    assert timings.rounds == len(found["a"].ns) == len(found["b"].ns) == Budget().fewest


def test_a_late_replay_is_void(clock, cuda):
    def call(x):
        cuda.kernel(1000)
        return x

    timer = CudaTimer(cuda, clock)
    sets = [make(0)] * 10
    timer.settle(call, sets)
    assert timer.ready("a", call, sets, 1000) == "graph"
    launch = cuda.LAUNCH
    cuda.LAUNCH = 250_000
    assert timer.sample("a", call, sets, 0).void
    cuda.LAUNCH = launch
    sample = timer.sample("a", call, sets, 0)
    assert not sample.void
    assert sample.ns == pytest.approx(1000 + cuda.EVENT / 10)


def test_a_call_that_fails_after_a_void_round_is_a_failure(clock, cuda):
    class Void(CudaTimer):
        def sample(self, *args):
            return replace(super().sample(*args), void=True)

    calls = []

    def call(x):
        calls.append(x)
        if len(calls) > 40:
            raise RuntimeError("no more")
        cuda.kernel(400_000, stream=1)
        return x

    _, found = run(clock, {"a": call}, stopwatch=Void(cuda, clock))
    assert (found["a"].failed, found["a"].ns) == ("RuntimeError: no more", [])


def test_a_call_that_waits_for_the_gpu_is_timed_all_the_same(clock, cuda):
    def call(x):
        cuda.kernel(100_000)
        cuda.synchronize()
        return x

    timings, found = run(clock, {"a": call}, stopwatch=CudaTimer(cuda, clock))
    assert timings.rounds == Budget().fewest
    assert 100_000 < found["a"].ns[0] < 120_000  # the host's part is in it: the GPU idles for it


def test_a_call_that_takes_long_to_launch_is_not_asked_again_and_again(clock, cuda):
    calls = []

    def call(x):
        calls.append(clock.now())
        for _ in range(2_000):
            cuda.kernel(cuda.LAUNCH)  # 2,000 launches of 5 µs: no head start covers them
        return x

    timer = CudaTimer(cuda, clock)
    sets = [make(0)]
    timer.ready("a", call, sets, timer.settle(call, sets))
    assert len(calls) == 3  # one to settle, one for the host's part, one sample


def test_long_calls_get_fewer_sets_of_inputs(clock):
    """64 sets make microseconds exact; 64 calls of a second are a round of a minute."""
    calls = {"short": 0, "long": 0}

    def counting(name, ns):
        def call(x):
            calls[name] += 1
            clock.spin(ns)
            return x

        return call

    budget = Budget(seconds=10.0, warm_up_seconds=0.5, fewest=10)
    timer = CpuTimer(clock, evict_bytes=4)
    entries = {"short": counting("short", 1000), "long": counting("long", 1e9)}
    _, found = run(clock, entries, budget, count=64, stopwatch=timer)
    assert set(found["long"].ns) == {1e9}
    assert set(found["short"].ns) == {1000}
    # Two to compile, a turn of two to warm up, ten rounds of two.
    assert calls["long"] == 2 + 2 + 10 * 2
    run(clock, {"short": entries["short"]}, budget, count=64, stopwatch=timer)
    assert calls["short"] > 10 * 64
    # Without a flush the sets are what keeps the inputs out of the cache.
    calls["long"] = 0
    timings, _ = run(clock, {"long": entries["long"]}, budget, count=4)
    assert calls["long"] == 2 + 4 * (1 + timings.rounds)


def test_a_host_that_is_slow_to_ask_is_no_cheat(clock, cuda):
    cuda.SYNC = 30_000

    def call(x):
        cuda.kernel(40_000)
        return x

    _, found = run(clock, {"a": call}, stopwatch=CudaTimer(cuda, clock))
    assert not found["a"].cheat


def test_short_kernels_are_replayed_from_a_graph(clock, cuda):
    def call(x):
        cuda.kernel(1000)
        return x

    timer = CudaTimer(cuda, clock)
    assert timer.floor_ns == cuda.EVENT
    _, found = run(clock, {"a": call}, stopwatch=timer, count=10)
    assert found["a"].method == "graph"
    assert found["a"].ns[0] == pytest.approx(1000 + cuda.EVENT / 10)


def test_a_call_that_cannot_be_captured_is_timed_by_events(clock, cuda):
    def call(x):
        cuda.kernel(1000)
        cuda.synchronize()
        return x

    _, found = run(clock, {"a": call}, stopwatch=CudaTimer(cuda, clock))
    assert found["a"].method.startswith("events (no graph: operation not permitted")


def test_work_on_another_stream_is_noticed(clock, cuda):
    def call(x):
        cuda.kernel(400_000, stream=1)
        return x

    _, found = run(clock, {"a": call}, stopwatch=CudaTimer(cuda, clock))
    assert "another stream" in found["a"].cheat
