"""The process that runs one day's benches. What it finds goes to the parent, line by line.

``python -m harness.bench.child FD``: what takes seconds is imported at once, then the request is
read from standard input, a BenchRequest as JSON. FD is the descriptor of a private pipe: a day's
``print`` cannot reach it, and a crash here is one more thing to report there.

Lines: ``{"step": text, "done": n, "of": n}`` while it works, ``{"day": {…}, "machine": {…}}`` at
the end.
"""

from __future__ import annotations

import importlib.util
import json
import os
import secrets
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from harness.bench.request import BenchRequest
from harness.benching import Bench, Case
from harness.curriculum import Day, family_of
from harness.imports import fresh_spec
from harness.measure.device import Device, choose_device, describe_cpu
from harness.protocol import SOLUTION


def main(descriptor: int) -> int:
    import torch  # noqa: F401

    from harness.bench import measure  # noqa: F401

    text = sys.stdin.read()
    if not text:
        return 0  # the parent ended before it had a request
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)  # a day that reads finds nothing
    with os.fdopen(descriptor, "w", encoding="utf-8", closefd=False) as pipe:

        def say(message: dict[str, Any]) -> None:
            pipe.write(json.dumps(message, default=str) + "\n")
            pipe.flush()

        run_day(BenchRequest(**json.loads(text)), say)
    return 0


def run_day(request: BenchRequest, say: Callable[[dict[str, Any]], None]) -> None:
    """Measure every case of every bench of a day."""
    import torch

    # The timers take their references here, before anything of the learner's is imported.
    from harness.bench import clock, goals, machine, measure, medals, results
    from harness.bench.contenders import REFERENCE, YOURS
    from harness.grading.finder import Choice, use

    torch.set_num_threads(request.threads)
    guard = clock.Guard(clock.watched_names())
    day = results.DayBench(request.track, request.day)
    device = describe_cpu() if request.track == "autodiff" else chosen_device()
    on_gpu = device.kind == "cuda"
    day.device = device.kind

    def finish() -> None:
        described = machine.describe(device, request.threads)
        say({"day": asdict(day), "machine": described, "versions": machine.versions()})

    if family_of(request.track) == "triton" and not on_gpu:
        day.problem = no_gpu(request.track, request.day)
        return finish()
    root = Path(request.root)
    try:
        # What a bench itself takes from earlier days is the reference's: a learner may be anywhere.
        with use(Choice(impl=SOLUTION, root=root)):
            benches = load_benches(Day(request.track, request.day, root).bench)
    except Exception as failure:
        day.problem = f"the bench file fails: {type(failure).__name__}: {failure}"
        return finish()
    modules = load_days(request, day)
    who = YOURS if YOURS in modules else REFERENCE

    with gate_for(on_gpu) as gate:
        say({"step": "measuring what this machine can do", "done": 0, "of": 1})
        setting = make_setting(request, device, gate, guard)
        day.ceilings = setting.ceilings.to_json()
        plan = [(b, b.cases if on_gpu else b.cpu_cases) for b in benches]
        measured = [few(cases) if request.quick else cases for _, cases in plan]
        of, done = sum(map(len, measured)), 0
        for (bench, cases), chosen in zip(plan, measured, strict=True):
            result = results.BenchResult(bench.name, bench.unit, bench.cache)
            result.left_out = len(cases) - len(chosen)
            day.benches.append(result)
            for case in chosen:
                step = f"{bench.name} {case}"

                def progress(_: str, share: float, step: str = step, done: int = done) -> None:
                    say({"step": step, "done": done + share, "of": of})

                progress("", 0.0)
                result.cases.append(
                    measure.measure_case(bench, case, modules, replace(setting, progress=progress))
                )
                done += 1
            goals.judge(bench.goals, result, setting.ceilings, who)
    day.medal = medals.medal(day)
    finish()


def few(cases: Sequence[Case]) -> list[Case]:
    """The first and the last: what a quick run measures."""
    return list(cases) if len(cases) <= 2 else [cases[0], cases[-1]]


def load_benches(path: Path) -> list[Bench]:
    """The benches of ``bench_dayNN.py``, in the order in which they stand there."""
    spec = fresh_spec(f"_{path.parent.parent.name}_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses in it look themselves up by module name
    spec.loader.exec_module(module)  # type: ignore[union-attr]
    found = [value for value in vars(module).values() if isinstance(value, Bench)]
    if not found:
        raise ValueError(f"{path} declares no bench: decorate a function with @bench(…)")
    return found


def load_days(request: BenchRequest, day: Any) -> dict[str, ModuleType | str]:
    """The day's module as the learner has it and as the reference has it, or why there is none."""
    from harness.bench.contenders import REFERENCE, YOURS, reason
    from harness.grading.finder import load_day, short_hash, source_file

    impls = {REFERENCE: "solution"}
    if request.impl != "solution":
        impls = {YOURS: request.impl, **impls}
    modules: dict[str, ModuleType | str] = {}
    root = Path(request.root)
    for name, impl in impls.items():
        path = source_file(Day(request.track, request.day, root), impl)
        try:
            day.files[name] = f"{_shown(path, root)} #{short_hash(path)}"
            modules[name] = load_day(request.track, request.day, impl, root)
        except (Exception, SystemExit) as failure:
            modules[name] = f"does not import: {reason(failure)}"
    return modules


def make_setting(request: BenchRequest, device: Device, gate: Any, guard: Any) -> Any:
    from harness.bench import ceilings, cpu, cuda
    from harness.bench.clock import RealClock
    from harness.bench.measure import Setting
    from harness.bench.timer import QUICK, Budget

    clock, on_gpu = RealClock(), device.kind == "cuda"
    cache = cuda.l2_bytes() if on_gpu else cpu.last_level_cache()
    if request.ceilings is not None:
        limits = ceilings.Ceilings(**request.ceilings)
    elif on_gpu:
        limits = ceilings.measure_cuda(request.quick, clock)
    else:
        limits = ceilings.measure_cpu(request.quick, clock)

    def stopwatch(cold: bool, pool_bytes: int) -> Any:
        if on_gpu:
            return cuda.CudaTimer(clock=clock, flush=cold)
        # Sets that fill the cache twice over push each other out of it.
        return cpu.CpuTimer(clock, 2 * cache if cold and pool_bytes < 2 * cache else 0)

    return Setting(
        track=request.track,
        device=device,
        stopwatch=stopwatch,
        gate=gate,
        clock=clock,
        guard=guard,
        budget=QUICK if request.quick else Budget(),
        ceilings=limits,
        cache_bytes=cache,
        against=request.against,
        quick=request.quick,
        seed=request.seed or secrets.randbelow(2**31),
        reruns=0 if request.quick else 1,
    )


@contextmanager
def gate_for(on_gpu: bool) -> Iterator[Any]:
    """The gate for this device, with NVML held open while it is used."""
    from harness.bench.trust import CpuGate, GpuGate
    from harness.measure.nvml import NvmlUnavailable, open_nvml

    if not on_gpu:
        yield CpuGate()
        return
    with ExitStack() as stack:
        try:
            nvml = stack.enter_context(open_nvml())
        except NvmlUnavailable:
            yield GpuGate(lambda: None)
            return
        yield GpuGate(lambda: nvml.read(0))


def chosen_device() -> Device:
    """The GPU if there is one. Never prepared for the interpreter: that is not what is timed."""
    import torch

    return choose_device("cuda") if torch.cuda.is_available() else describe_cpu()


def no_gpu(track: str, number: int) -> str:
    return (
        "no GPU here, so times are not measured: the interpreter's say nothing about a GPU. "
        f"What this machine can tell is the compile report: make xray TRACK={track} DAY={number}"
    )


def _shown(path: Path, root: Path) -> str:
    try:
        return str(path.resolve().relative_to(root.resolve()))
    except ValueError:
        return path.name  # outside the repository: where it lies is nobody's business


if __name__ == "__main__":
    raise SystemExit(main(int(sys.argv[1])))
