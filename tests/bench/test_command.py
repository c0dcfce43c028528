"""The whole way: a small tree of days, a child process, exit code, files."""

import re
import shutil
import sys
import textwrap
import types
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

import harness.benching
from harness.bench import run_bench
from harness.bench.ceilings import best_rate
from harness.bench.child import no_gpu
from harness.bench.command import LAST, _how_long, _keep, benched_days
from harness.bench.cpu import CpuTimer, last_level_cache
from harness.bench.results import DayBench, Report, load, save
from harness.curriculum import UnknownDay

DAY = '''
"""Day 1: Doubling
===================
Estimated time: 1 hour
Prerequisites: none
Lesson: lessons/day01.md

Learning objectives:
- Double an array.

One multiplication.

Hints:
- Two.
Resources:
- None.
"""


def double(x):
    """Twice ``x``."""
    # TODO: multiply
    # HINT: by two
    ### BEGIN SOLUTION
    # HINT: 2 * x
    return 2 * x
    ### END SOLUTION
'''

BENCH = """
from harness.benching import Case, Contender, Problem, bench, goal


@bench("double", unit="GB/s", cases=[Case(n=1000)], goals=[goal(at_least=1e-6, of="copy")])
def double(case):
    return Problem(
        inputs=lambda rng: (rng.normal(case.n),),
        oracle=lambda x: x + x,
        bytes=16 * case.n,
        peers={"numpy": lambda x: x + x, "mygrad": Contender(load=int, needs=["no_such_package"])},
    )
"""


@pytest.fixture
def tree(tmp_path):
    for track in ("autodiff", "triton"):
        folder = tmp_path / "tracks" / track
        for part in ("solutions", "benches"):
            (folder / part).mkdir(parents=True)
        (folder / "__init__.py").touch()
        (folder / "solutions" / "day01.py").write_text(DAY)
        (folder / "day01.py").write_text(DAY.replace("return 2 * x", "return x + x"))
        (folder / "benches" / "bench_day01.py").write_text(BENCH)
        (folder / "solutions" / "day02.py").write_text(DAY.replace("Day 1:", "Day 2:"))
    (tmp_path / "tracks" / "__init__.py").touch()
    return tmp_path


def bench(tree, *args, **options):
    console = Console(width=80, color_system=None, file=(tree / "out.txt").open("w"))
    code = run_bench(*args, root=tree, console=console, **options)
    console.file.close()
    return code, " ".join((tree / "out.txt").read_text().split())


def test_a_run_from_the_command_to_the_files(tree):
    days = []
    target = tree / "kept.json"
    code, out = bench(tree, "autodiff", 1, quick=True, json_path=target, on_day=days.append)
    assert code == 0, out
    assert "yours: tracks/autodiff/day01.py #" in out
    assert "cases: QUICK" not in out
    assert "mygrad: not installed: no_such_package" in out
    report = load(target)
    assert report == load(tree / ".harness" / "bench" / "last.json")
    assert report.machine["kind"] == "cpu"
    assert "uuid" not in report.machine
    assert report.versions["numpy"] == np.__version__
    assert days == report.days
    (day,) = report.days
    assert day.ceilings["copy"] > 1e8
    assert day.ceilings["matrix"]["float64"] > 1e8
    (case,) = day.benches[0].cases
    figures = {figure.contender: figure for figure in case.figures}
    assert list(figures) == ["yours", "reference", "numpy", "mygrad"]
    for name in ("yours", "reference", "numpy"):
        # A thousand additions take longer than ten nanoseconds and shorter than a second.
        assert 10 < figures[name].ns.median < 1e9
        assert figures[name].correct
        assert figures[name].peak_bytes >= 8000
    assert day.medal in ("bronze", "gold")


def test_of_several_days_those_are_measured_that_are_begun(tree):
    code, out = bench(tree, "autodiff", quick=True, against=[], begun=lambda day: False)
    assert code == 2
    assert "You have begun none of the 1 days with a bench. IMPL=solution measures" in out


def test_a_quick_run_asks_once_what_the_machine_can_do(tree):
    part = tree / "tracks" / "autodiff"
    for first in ("day01.py", "solutions/day01.py", "benches/bench_day01.py"):
        shutil.copy(part / first, part / first.replace("day01", "day02"))
    days = []
    code, out = bench(tree, "autodiff", quick=True, against=[], on_day=days.append)
    assert code == 0, out
    assert [day.day for day in days] == [1, 2]
    assert days[0].ceilings == days[1].ceilings
    # Without peers: yours and the reference.
    (case,) = days[1].benches[0].cases
    assert [figure.contender for figure in case.figures] == ["yours", "reference"]


def test_a_quick_run_measures_two_cases_of_a_bench_and_says_so(tree):
    file = tree / "tracks" / "autodiff" / "benches" / "bench_day01.py"
    file.write_text(BENCH.replace("[Case(n=1000)]", "[Case(n=n) for n in range(1000, 1700, 100)]"))
    days = []
    code, out = bench(tree, "autodiff", 1, quick=True, against=[], on_day=days.append)
    assert code == 0, out
    labels = [case.label for case in days[0].benches[0].cases]
    assert labels == ["n=1000", "n=1600"]
    assert "2 of 7 cases: QUICK measures the first and the last" in out


def test_what_a_bench_takes_from_an_earlier_day_is_the_references(tree):
    part = tree / "tracks" / "autodiff"
    (part / "solutions" / "day02.py").write_text(DAY.replace("Day 1:", "Day 2:"))
    (part / "day01.py").write_text("def double(x):\n    raise NotImplementedError\n")
    (part / "day02.py").write_text(DAY.replace("Day 1:", "Day 2:"))
    text = BENCH.replace("lambda x: x + x", "day01.double")
    (part / "benches" / "bench_day02.py").write_text(f"from tracks.autodiff import day01\n{text}")
    code, out = bench(tree, "autodiff", 2, quick=True, against=[])
    assert code == 0, out


def test_a_day_that_kills_its_process_is_a_failure_in_words(tree):
    (tree / "tracks" / "autodiff" / "benches" / "bench_day01.py").write_text(
        "import os\nprint('so long')\nos.abort()\n"
    )
    code, out = bench(tree, "autodiff", 1, quick=True)
    assert code == 1
    assert "the bench's process was ended by SIGABRT" in out


def test_wrong_usage(tree, tmp_path):
    assert bench(tree, "autodiff", 99)[0] == 2
    assert bench(tree, "nonsense")[0] == 2
    assert bench(tree, None, 3)[0] == 2
    assert bench(tree, compare="one.json")[0] == 2
    code, out = bench(tree, compare="one.json,two.json")
    assert (code, "one.json" in out) == (2, True)
    code, out = bench(tree, "autodiff", 2)
    assert (code, "There is no bench in autodiff on day 2" in out) == (2, True)
    assert "Days of autodiff with a bench: 1." in out


def test_only_days_with_a_bench_are_run(tree, monkeypatch):
    monkeypatch.delenv("DEVICE", raising=False)
    assert [day.key for day in benched_days(None, None, tree)] == ["autodiff/01", "triton/01"]
    assert [day.key for day in benched_days("triton", None, tree)] == ["triton/01"]
    monkeypatch.setenv("DEVICE", "cuda")
    assert [day.key for day in benched_days(None, None, tree)] == ["triton/01"]
    assert [day.key for day in benched_days("autodiff", None, tree)] == ["autodiff/01"]
    with pytest.raises(UnknownDay):
        benched_days("triton", 99, tree)


def test_a_triton_day_without_a_gpu_points_to_the_compile_report():
    for track in ("triton", "electives"):
        assert no_gpu(track, 13).endswith(f"make xray TRACK={track} DAY=13")


def test_a_ceiling_is_an_amount_over_a_known_time(clock):
    assert best_rate(CpuTimer(clock), lambda: clock.spin(500), [()] * 4, 1000.0) == 2e9


def test_the_last_level_cache_is_plausible():
    assert 2**18 <= last_level_cache() <= 2**32


def examples():
    """The example files in the docstring of ``harness.benching``."""
    blocks = re.findall(r"::\n\n((?:    .*\n|\n)+)", harness.benching.__doc__)
    return [textwrap.dedent(block) for block in blocks]


def declared(source):
    namespace = {}
    exec(source, namespace)
    found = [v for v in namespace.values() if isinstance(v, harness.benching.Bench)]
    assert len(found) == 1
    return found[0]


def test_the_examples_for_authors_work():
    triton, autodiff = (declared(source) for source in examples())
    from harness.bench.rng import make_rng

    problem = triton.problem(harness.benching.Case(rows=4, columns=8))
    inputs = problem.inputs(make_rng("triton", 0, "cpu"))
    expected = problem.oracle(*inputs)
    assert np.allclose(expected, problem.peers["torch"](*inputs), atol=1e-3)

    problem = autodiff.problem(autodiff.cases[0])
    inputs = problem.inputs(make_rng("autodiff", 0, "cpu"))
    expected = problem.oracle(*inputs)
    torch_peer = problem.peers["torch"]
    assert np.allclose(expected, torch_peer.call(*torch_peer.prepare(*inputs)))
    ours = problem.ours(types.SimpleNamespace(Tensor=np.asarray))
    assert len(ours.prepare(*inputs)) == 2


def test_the_commands_own_modules_are_light():
    """The parent of a run never imports torch."""
    import subprocess

    code = "import sys, harness.bench; print('torch' in sys.modules, 'matplotlib' in sys.modules)"
    root = Path(harness.benching.__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "False"]


def test_a_later_run_of_another_day_keeps_the_earlier_one(make_day, make_report, tmp_path):
    for number in (13, 14):
        _keep(make_report(make_day(number=number)), tmp_path, None, Console(quiet=True))
    kept = [load(file) for file in sorted((tmp_path / LAST).glob("triton_day*.json"))]
    assert [day.day for run in kept for day in run.days] == [13, 14]


def test_how_long_all_of_them_take_is_said_before(tmp_path):
    days = [types.SimpleNamespace(track="triton", number=n) for n in (1, 2)]
    assert _how_long(days, False, tmp_path) == "2 days: about 3 minutes (roughly)."
    report = Report("now", {}, {}, None, {"quick": False}, [DayBench("triton", 1, seconds=500.0)])
    save(report, tmp_path / LAST / "triton_day01.json")
    assert _how_long(days, False, tmp_path) == "2 days: about 10 minutes (by the last time)."
    assert _how_long(days, True, tmp_path) == "2 days: about 1 minutes (roughly)."
