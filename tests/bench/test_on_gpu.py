"""The CUDA timer on a real card: kernels of known duration and traffic, a bad host, and cheats.

Without a card the same rules are proved on a simulated one (test_timer.py, test_cheats.py). Here
everything is a ratio taken in one run, with wide bounds: a card's clock moves.
"""

from __future__ import annotations

import random
import time
from typing import Any

import pytest
import torch
import triton
import triton.language as tl

from harness.bench.clock import RealClock
from harness.bench.contenders import Entry
from harness.bench.cuda import CudaTimer
from harness.bench.inputs import Pool
from harness.bench.timer import Budget, Timed, race

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA card"),
    # What a cheat captures on the timed stream is nothing.
    pytest.mark.filterwarnings("ignore:The CUDA Graph is empty"),
]

BUDGET = Budget(error=0.01, seconds=3.0, warm_up_seconds=0.3, most=60)


def timed(
    calls: dict[str, Any], elements: int = 1024, count: int = 4, flush: bool = True
) -> dict[str, Timed]:
    """Each call is given a float32 tensor of ``elements``, of values drawn anew each round."""

    def make(seed: int) -> tuple[torch.Tensor, ...]:
        generator = torch.Generator("cuda").manual_seed(seed)
        return (torch.randn(elements, device="cuda", generator=generator),)

    entries = [Entry(name, call) for name, call in calls.items()]
    timer = CudaTimer(flush=flush)
    done = race(entries, Pool(make, 0, count), timer, BUDGET, RealClock())
    found = {t.name: t for t in done.contenders}
    assert not any(t.failed for t in found.values()), found
    return found


def median(one: Timed) -> float:
    return sorted(one.ns)[len(one.ns) // 2]


def spins(cycles: int) -> Any:
    def call(x: torch.Tensor) -> torch.Tensor:
        torch.cuda._sleep(cycles)
        return x

    return call


def test_spins_of_known_cycles() -> None:
    """Twice the cycles take twice the time, from a graph and from events; and a cycle is one."""
    found = timed({str(c): spins(c) for c in (4_000, 8_000, 200_000, 400_000, 4_000_000)})
    assert found["4000"].method == "graph"
    assert found["400000"].method == "events"
    ns = {int(name): median(one) for name, one in found.items()}
    assert ns[400_000] / ns[200_000] == pytest.approx(2, rel=0.05)
    assert ns[4_000_000] / ns[400_000] == pytest.approx(10, rel=0.05)
    # In a graph each node adds about a microsecond: the difference is the spin.
    per_cycle = (ns[4_000_000] - ns[400_000]) / 3_600_000
    assert (ns[8_000] - ns[4_000]) / 4_000 == pytest.approx(per_cycle, rel=0.1)
    assert 0.3 < per_cycle < 1.5, "nanoseconds a cycle, of a clock between 0.7 and 3 GHz"


def test_copies_of_known_traffic() -> None:
    """Four times the bytes take four times the time, and as long as many in a row by one event."""
    small = torch.empty(2**26, device="cuda")
    large = torch.empty(2**28, device="cuda")
    source = torch.randn(2**28, device="cuda")
    found = timed(
        {
            "small": lambda x: small.copy_(source[: 2**26]),
            "large": lambda x: large.copy_(source),
        }
    )
    assert median(found["large"]) / median(found["small"]) == pytest.approx(4, rel=0.1)
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    for _ in range(20):
        large.copy_(source)
    end.record()
    torch.cuda.synchronize()
    assert median(found["large"]) == pytest.approx(start.elapsed_time(end) * 1e6 / 20, rel=0.1)


@triton.jit
def chase_kernel(x_ptr, out_ptr, steps):
    """Each number says where the next one is: nothing can be read before the last one has come."""
    place = tl.load(x_ptr)
    for _ in range(steps):
        place = tl.load(x_ptr + place)
    tl.store(out_ptr, place)


def test_cold_means_that_the_cache_holds_nothing() -> None:
    """The way to the cache is shorter than the way to memory. (Their bandwidths do not differ by
    enough to be told apart on every card: on an H200 a sum takes 1.01 times as long cold.)"""
    elements = 1 << 20  # 4 MB; no cache line of them is met twice in 500 steps
    table = (torch.arange(elements, device="cuda") + 4099 * 32) % elements
    table, out = table.int(), torch.zeros(1, device="cuda", dtype=torch.int32)

    def chase(x: torch.Tensor) -> torch.Tensor:
        chase_kernel[(1,)](table, out, 500, num_warps=1)
        return out

    cold = median(timed({"chase": chase})["chase"])
    warm = median(timed({"chase": chase}, flush=False)["chase"])
    assert cold > 1.2 * warm


def test_a_late_host_does_not_show() -> None:
    draw = random.Random(0)

    def late(x: torch.Tensor) -> torch.Tensor:
        if draw.random() < 0.5:
            time.sleep(0.0005)
        torch.cuda._sleep(200_000)
        return x

    found = timed({"late": late, "prompt": spins(200_000)})
    assert median(found["late"]) == pytest.approx(median(found["prompt"]), rel=0.02)
    assert max(found["late"].ns) < 1.5 * median(found["prompt"]), "a delay was counted"


def test_a_call_that_waits_for_the_gpu_is_timed() -> None:
    def waits(x: torch.Tensor) -> torch.Tensor:
        torch.cuda._sleep(400_000)
        x.sum().item()
        return x

    found = timed({"waits": waits, "spin": spins(400_000)})
    assert median(found["waits"]) > median(found["spin"])
    assert not found["waits"].cheat


def test_work_on_another_stream_is_noticed_and_honest_work_is_not() -> None:
    side = torch.cuda.Stream()

    def hides(x: torch.Tensor) -> torch.Tensor:
        with torch.cuda.stream(side):
            torch.cuda._sleep(1_000_000)
        return x

    def joins(x: torch.Tensor) -> torch.Tensor:
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            torch.cuda._sleep(100_000)
        torch.cuda.current_stream().wait_stream(side)
        return x

    found = timed({"hides": hides, "joins": joins, "short": lambda x: x + 1, "spin": spins(20_000)})
    assert "another stream" in found["hides"].cheat
    assert not any(found[name].cheat for name in ("joins", "short", "spin")), found


def test_an_answer_kept_from_before_is_a_stale_one() -> None:
    """The values change in place, so what was computed for this address is wrong now."""
    known: dict[int, torch.Tensor] = {}

    def remembers(x: torch.Tensor) -> torch.Tensor:
        if x.data_ptr() not in known:
            known[x.data_ptr()] = x + 1
        return known[x.data_ptr()]

    found = timed({"remembers": remembers, "honest": lambda x: x + 1})
    for name, right in (("remembers", False), ("honest", True)):
        seed, output = found[name].kept[-1]
        generator = torch.Generator("cuda").manual_seed(seed)
        expected = torch.randn(1024, device="cuda", generator=generator) + 1
        assert torch.equal(output, expected) is right, name
