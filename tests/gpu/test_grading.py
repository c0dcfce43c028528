"""Grading on a card: forks of a warm process, several at a time, and answers that take it away."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest

from harness.curriculum import Day
from harness.mutate.judge import judge_day
from harness.mutate.pool import Pool
from harness.protocol import SOLUTION, DayResult, Request
from harness.run import run
from harness.run.sandbox import Sandboxed, grade_unread
from harness.run.warm import Warm
from harness.verify.checks import CHECKS

ADD_ONE = "    tl.store(out_ptr + offsets, x + 1, mask=mask)\n"
FAR = ADD_ONE.replace("offsets,", "offsets + (1 << 40),")


def answer(folder: Path, day: Day, old: str, new: str) -> str:
    source = day.solution.read_text(encoding="utf-8")
    assert source.count(old) == 1, source.count(old)
    (folder / day.file.name).write_text(source.replace(old, new), encoding="utf-8")
    return str(folder)


def graded(day: Day, launcher: Warm, impl: str = SOLUTION, **wanted: object) -> DayResult:
    return run(Request(day.track, day.number, impl, seed=1, device="cuda", **wanted), launcher)


def why(result: DayResult) -> list[str]:
    return [p.message for p in result.problems] + [
        f"{t.name}: {t.failure.message if t.failure else t.outcome}"
        for t in result.tests
        if t.outcome in ("failed", "unfinished")
    ]


@pytest.mark.parametrize("number", [1, 5])
def test_forks_of_a_warm_process_use_the_card(triton: Warm, number: int) -> None:
    for _ in range(2):
        result = graded(Day("triton", number), triton)
        assert result.passed, why(result)
        assert result.device["kind"] == "cuda"
        measures = [e.measures for e in result.exercises]
        assert all(0 < m["gpu_seconds"] < m["seconds"] for m in measures), measures


@pytest.mark.parametrize("track", ["triton", "pytorch"])
def test_a_warm_process_starts_neither_a_thread_nor_cuda(
    track: str, request: pytest.FixtureRequest
) -> None:
    warm = request.getfixturevalue(track)
    result = graded(Day(track, 1), warm)
    assert result.passed and result.device["kind"] == "cuda", why(result)
    tasks = Path(f"/proc/{warm._zygote.pid}/task")
    names = [(task / "comm").read_text().strip() for task in tasks.iterdir()]
    assert len(names) == 1, names
    maps = Path(f"/proc/{warm._zygote.pid}/maps").read_text()
    assert "/dev/nvidia" not in maps


def test_two_graders_on_one_card(triton: Warm, pytorch: Warm) -> None:
    results: list[DayResult] = []
    jobs = ((Day("triton", 3), triton), (Day("pytorch", 9), pytorch))
    threads = [
        threading.Thread(target=lambda d=day, w=warm: results.append(graded(d, w)))
        for day, warm in jobs
    ]
    for _, warm in jobs:
        assert graded(Day(warm.track, 1), warm).passed  # started by this thread, which stays
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [r.passed for r in results] == [True, True], [why(r) for r in results]


def test_a_lost_context_is_told_and_the_rest_is_graded(triton: Warm, tmp_path: Path) -> None:
    day = Day("triton", 1)
    result = graded(day, triton, answer(tmp_path, day, ADD_ONE, FAR))
    assert not result.problems, result.problems
    status = {e.name: e.status for e in result.exercises}
    assert status.pop("add_one") == "wrong"
    assert set(status.values()) == {"passed"}, why(result)
    failures = [t.failure for t in result.tests if t.exercise == "add_one" and t.failure]
    first = next(f for f in failures if f.reason == "died")
    assert "`add_one_kernel` crashed the GPU" in first.message
    assert "the checked interpreter" in first.message
    assert "`out_ptr`" in first.message, first.message
    source = (tmp_path / day.file.name).read_text(encoding="utf-8").splitlines()
    assert "tl.store(out_ptr" in source[first.line - 1]
    assert graded(day, triton).passed


def test_an_index_that_only_a_cpu_refuses(pytorch: Warm, tmp_path: Path) -> None:
    """A device-side assert ends the context; the same test on the CPU says which index it was."""
    day = Day("pytorch", 1)
    source = day.solution.read_text(encoding="utf-8")
    name = day.exercises[0].name
    bad = f"\n\ndef {name}(*args, **kwargs):\n    x = torch.arange(4, device=_device(args))\n"
    bad += "    return x[x + 100].sum().item()\n\n\ndef _device(args):\n"
    bad += "    return next(a.device for a in args if isinstance(a, torch.Tensor))\n"
    (tmp_path / day.file.name).write_text(source + bad, encoding="utf-8")
    result = graded(day, pytorch, str(tmp_path))
    others = {e.name: e.status for e in result.exercises if e.name != name}
    assert set(others.values()) == {"passed"}, why(result)


@pytest.mark.parametrize(("track", "number"), [("triton", 1), ("pytorch", 1), ("autodiff", 1)])
def test_a_day_is_proved(track: str, number: int) -> None:
    day = Day(track, number)
    with Warm(track) as launcher:
        found = {name: check(day, launcher, 0, "auto") for name, check in CHECKS.items()}
    assert not any(found.values()), found


def test_a_bug_that_only_the_interpreter_sees_is_rejected(triton: Warm) -> None:
    """Triton 1's sixth reads outside of its tensor, which a card lets pass."""
    assert CHECKS["bugs"](Day("triton", 1), triton, 0, "cuda") == []


def test_mutants_are_judged_on_the_card_and_on_the_interpreter() -> None:
    day = Day("triton", 1)
    with Pool("triton", "cuda", jobs=2) as pool:
        (judged,) = judge_day(pool, day, day.solution.read_text(encoding="utf-8"), "add_one")
    assert not judged.baseline.problem and not judged.findings
    assert judged.total >= 5 and judged.caught == judged.total, [
        (v.mutant.after, v.outcome) for v in judged.verdicts
    ]


@pytest.mark.parametrize(("track", "number"), [("triton", 1), ("pytorch", 3)])
def test_code_that_nobody_has_read_is_graded_on_the_card_or_not_at_all(
    track: str, number: int, tmp_path: Path
) -> None:
    day = Day(track, number)
    shutil.copy(day.solution, tmp_path)
    launcher = Sandboxed()
    try:
        result = grade_unread(day, tmp_path, launcher, seeds=(1, 2), device="cuda")
    except RuntimeError as told:
        assert "CUDA" in str(told), told  # else the reference itself cannot be graded
        pytest.skip(f"CUDA does not start in the sandbox of this machine: {told}")
    finally:
        launcher.close()
    assert result.passed, why(result)
    assert result.device["kind"] == "cuda"
