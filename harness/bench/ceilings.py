"""What this machine can do at best, measured in the same run as the benches.

A figure in GB/s says little by itself; 95 % of what a plain copy reaches on the same card on the
same day says that little is left to gain.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from harness.bench.clock import Clock, RealClock
from harness.bench.cpu import CpuTimer, last_level_cache
from harness.bench.cuda import CudaTimer
from harness.bench.quantiles import quantiles
from harness.bench.stopwatch import Stopwatch
from harness.measure.device import describe_cpu

ROUNDS = 7


@dataclass(frozen=True)
class Ceilings:
    """Rates per second. ``matrix`` maps a dtype ("float16", "tf32") to FLOPs per second.

    ``all_threads`` holds what the whole CPU reaches where the bench itself runs on fewer threads.
    """

    copy: float = 0.0
    matrix: dict[str, float] = field(default_factory=dict)
    launch_ns: float = 0.0
    threads: int = 0
    all_threads: dict[str, float] = field(default_factory=dict)

    def matrix_rate(self, dtype: str) -> float:
        """The rate for ``dtype``, or 0 where it was not measured."""
        return self.matrix.get(dtype.removeprefix("torch."), 0.0)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def measure_cpu(quick: bool = False, clock: Clock | None = None) -> Ceilings:
    """A copy in the manner of STREAM, and matrix products, on this bench's threads and on all.

    STREAM counts the bytes read and the bytes written, and so do we: not the line that the cache
    fetches before it overwrites it. The arrays are four times the last-level cache, as STREAM asks.
    """
    clock = clock or RealClock()
    timer = CpuTimer(clock)
    threads, all_cores = torch.get_num_threads(), describe_cpu().cores
    rounds = 3 if quick else ROUNDS
    copied, rates = _cpu_rates(timer, quick, rounds)
    call = best_rate(timer, lambda: None, [()] * 256, 1.0)
    everything: dict[str, float] = {}
    if all_cores > threads:
        torch.set_num_threads(all_cores)
        try:
            all_copied, all_rates = _cpu_rates(timer, quick, rounds)
        finally:
            torch.set_num_threads(threads)
        everything = {"threads": float(all_cores), "copy": all_copied, **all_rates}
    return Ceilings(copied, rates, 1e9 / call, threads, everything)


def _cpu_rates(timer: Stopwatch, quick: bool, rounds: int) -> tuple[float, dict[str, float]]:
    count = min(4 * last_level_cache(), 2**28) // 4
    source, target = torch.rand(count), torch.zeros(count)
    copied = best_rate(timer, target.copy_, [(source,)] * 2, 2.0 * source.nbytes, rounds)
    n = 512 if quick else 1024
    return copied, _products(timer, {"float32": n, "float64": n}, "cpu", rounds)


def measure_cuda(quick: bool = False, clock: Clock | None = None) -> Ceilings:
    """A device-to-device copy of 1 GiB, matrix products by dtype, and the cost of a launch."""
    clock = clock or RealClock()
    timer = CudaTimer(clock=clock, flush=False)
    free, _ = torch.cuda.mem_get_info()
    count = min(2**30, free // 4) // 4
    source = torch.rand(count, device="cuda")
    target = torch.empty_like(source)
    copied = best_rate(timer, target.copy_, [(source,)] * 2, 2.0 * source.nbytes)
    del source, target
    big = 4096 if quick else 8192
    sizes = {"float16": big, "bfloat16": big, "int8": big}
    sizes |= {"tf32": 4096, "float32": 4096, "float64": 4096}
    rates = _products(timer, sizes, "cuda", ROUNDS)

    one = torch.zeros(1, device="cuda")
    launches = []
    for _ in range(ROUNDS):
        torch.cuda.synchronize()
        start = clock.now()
        for _ in range(200):
            one.add_(1)
        launches.append((clock.now() - start) / 200)  # the host's side: the queue is never full
        torch.cuda.synchronize()
    return Ceilings(copied, rates, quantiles(launches).median)


def _products(
    timer: Stopwatch, sizes: dict[str, int], device: str, rounds: int
) -> dict[str, float]:
    rates = {}
    allowed = torch.backends.cuda.matmul.allow_tf32
    for name, n in sizes.items():
        dtype = torch.float32 if name == "tf32" else getattr(torch, name)
        multiply = torch._int_mm if name == "int8" else torch.mm
        spread = 20.0 if name == "int8" else 1.0  # int8 must not be all zeros: zeros run faster
        a, b = (torch.randn(n, n, device=device).mul_(spread).to(dtype) for _ in range(2))
        if name == "int8":
            b = b.t()  # the only layout for which tensor cores take whole numbers
        torch.backends.cuda.matmul.allow_tf32 = name == "tf32"
        try:
            rates[name] = best_rate(timer, multiply, [(a, b)] * 2, 2.0 * n**3, rounds)
        except RuntimeError:
            continue  # a dtype that this device does not multiply has no ceiling
        finally:
            torch.backends.cuda.matmul.allow_tf32 = allowed
    return rates


def best_rate(
    timer: Stopwatch,
    call: Callable[..., Any],
    sets: list[tuple[Any, ...]],
    amount: float,
    rounds: int = ROUNDS,
) -> float:
    """``amount`` per second, by the median of a few rounds after one to warm up."""
    timer.settle(call, sets)
    samples = [timer.sample("ceiling", call, sets, 0).ns for _ in range(rounds)]
    return amount / quantiles(samples).median * 1e9
