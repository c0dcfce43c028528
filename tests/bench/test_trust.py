"""Simulated readings: what NVML and the kernel would say on a bad day."""

import types
from dataclasses import replace

import pytest
import torch

from harness.bench.measure import measure_case
from harness.bench.trust import CpuGate, GpuGate, Usage, read_usage, spin
from harness.benching import Case, Problem, bench
from harness.measure.nvml import GpuReading, Process

FINE = GpuReading(
    sm_clock=1980, temperature=60, throttle_reasons=(), clock_settings=(), other_processes=()
)


def verdict(*readings):
    waiting = list(readings)
    gate = GpuGate(lambda: waiting.pop(0))
    gate.start()
    for _ in readings:
        gate.look()
    return gate.reasons()


def test_a_quiet_card_is_trusted():
    assert verdict(FINE, replace(FINE, sm_clock=1935, temperature=70)) == []


def test_the_power_limit_alone_is_the_card_at_work():
    assert verdict(replace(FINE, throttle_reasons=("power limit reached",))) == []


@pytest.mark.parametrize(
    "change, says",
    [
        (
            {"throttle_reasons": ("too hot: the driver lowers the clocks",)},
            "the card was throttled: too hot: the driver lowers the clocks",
        ),
        ({"sm_clock": 1400}, "the SM clock moved between 1400 and 1980 MHz"),
        ({"temperature": 91}, "the card was at 91 °C"),
        ({"other_processes": (Process(1, "x", 1, "compute"),)}, "another process used the card"),
        ({"lost": True}, "the card stopped answering"),
    ],
)
def test_each_trouble_in_one_reading_is_said(change, says):
    assert verdict(FINE, replace(FINE, **change), FINE) == [says]


def test_fields_that_a_card_does_not_tell_are_no_trouble():
    assert verdict(GpuReading(), GpuReading()) == []


def test_no_reading_at_all_is_not_trust():
    assert "NVML could not be read" in verdict(None)[0]


def test_a_new_attempt_forgets_the_last():
    waiting = [replace(FINE, temperature=95), FINE]
    gate = GpuGate(lambda: waiting.pop(0))
    gate.start()
    gate.look()
    gate.start()
    gate.look()
    assert gate.reasons() == []


def cpu_verdict(after, speeds=(100.0, 100.0)):
    usages, speeds = [Usage(0, 0, 0, 0), after], list(speeds)
    gate = CpuGate(lambda: usages.pop(0), lambda: speeds.pop(0))
    gate.start()
    gate.look()
    return gate.reasons()


def test_a_quiet_cpu_is_trusted():
    assert cpu_verdict(Usage(busy=11, own=10, stolen=0.05, now=10), (100.0, 104.0)) == []


def test_troubles_of_a_cpu():
    assert cpu_verdict(Usage(18, 10, 0, 10)) == ["other processes kept 0.8 cores busy"]
    assert cpu_verdict(Usage(10, 10, 0.5, 10)) == ["the hypervisor took 5.0% of the time away"]
    slower = cpu_verdict(Usage(10, 10, 0, 10), (100.0, 120.0))
    assert slower == ["the CPU was 20% slower after the rounds than before"]
    assert "17% faster" in cpu_verdict(Usage(10, 10, 0, 10), (120.0, 100.0))[0]


def test_the_speed_is_the_best_of_a_few():
    moments = iter([0, 70, 100, 150, 200, 290])
    assert spin(types.SimpleNamespace(now=lambda: next(moments)), rounds=1, times=3) == 50


def test_real_readings_make_sense():
    before = read_usage()
    assert spin(rounds=1, times=2) > 0
    after = read_usage()
    assert after.now >= before.now
    assert after.own >= before.own


@bench("sine", unit="time", cases=[Case(n=8)])
def sine(case):
    return Problem(inputs=lambda rng: (rng.normal(8),), oracle=lambda x: torch.sin(x.double()))


@pytest.mark.parametrize(
    "doubts, reruns, left",
    [([], 0, []), ([["hot"]], 1, []), ([["a"], ["b"], ["c"], ["d"]], 2, ["c"])],
)
def test_untrusted_results_are_measured_again_a_few_times(
    setting, clock, quiet_gate, doubts, reruns, left
):
    def call(x):
        clock.spin(1000)
        return torch.sin(x)

    gate = quiet_gate(doubts)
    day = types.SimpleNamespace(sine=call, __name__="day")
    result = measure_case(sine, sine.cases[0], {"yours": day}, replace(setting, gate=gate))
    assert (result.reruns, result.untrusted) == (reruns, left)
    assert gate.looks == 10 * (reruns + 1)
