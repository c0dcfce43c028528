"""A learner on day zero, and one after some weeks of work."""

from __future__ import annotations

import copy
import datetime
import shutil
from pathlib import Path

import pytest

from harness.bench.contenders import REFERENCE, YOURS
from harness.bench.record import recorded
from harness.bench.results import save
from harness.curriculum import ROOT
from harness.progress import Store
from harness.protocol import DayResult, ExerciseResult
from harness.report.collect import collect, keep_xray
from harness.report.page import page

NOW = datetime.datetime(2026, 3, 1, 12, 0).astimezone()
EVIL = '"><script>alert(1)</script>'
KERNEL = {
    "kernel": "fill_kernel", "file": "day01.py", "line": 40, "chip": "sm_90",
    "specialisation": f"x_ptr: *fp32 {EVIL}", "registers": 24, "spill_bytes": 8, "warps": 4,
    "occupancy": 0.5, "limiter": "registers", "loads": {"128": 2}, "stores": {"64": 1},
    "refused": None,
}  # fmt: skip
REFUSED = {
    "kernel": "add_one_kernel", "file": "day01.py", "line": 60, "chip": "sm_90",
    "specialisation": "", "loads": {}, "stores": {},
    "refused": {"file": "day01.py", "line": 61, "source": EVIL, "message": "no such name",
                "explanation": ""},
}  # fmt: skip


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone with the days' files and nothing else."""
    folder = tmp_path_factory.mktemp("clone with a space")
    for track in ("triton", "pytorch", "autodiff"):
        shutil.copytree(ROOT / "tracks" / track, folder / "tracks" / track)
        for number in range(1, 8):  # a learner's own days are none of this test's business
            file = folder / "tracks" / track / f"day{number:02}.py"
            file.write_text("# an answer\n", encoding="utf-8")
    return folder


@pytest.fixture
def new(root: Path) -> Path:
    shutil.rmtree(root / ".harness", ignore_errors=True)
    return root


@pytest.fixture
def worked(new: Path) -> Path:
    """Attempts, a medal, a bench result of every kind, a compile report, files that are broken."""
    store = Store(new / ".harness" / "progress.db")
    attempt(store, 1, {"fill": "passed", "add_one": "passed"}, ago=86_400.0)
    attempt(store, 2, {"copy": "passed", f"reverse{EVIL}": "wrong"})
    for hours in range(30):
        attempt(store, 3, {"clamp": "wrong"}, ago=3600.0 * (hours + 30))
    store.award("triton", 1, "gold", "a card")
    benches = new / ".harness" / "bench"
    on_record = recorded(ROOT, "triton")
    run = next(one for one in on_record if {7, 13} <= {day.day for day in one.days})
    run.days = [day for day in run.days if day.day in (7, 13)]
    (seventh,) = (day for day in run.days if day.day == 7)
    seventh.files[YOURS] = f"tracks/triton/day07.py {EVIL}"
    for case in (case for bench in seventh.benches for case in bench.cases):
        figure = case.figure(REFERENCE)
        assert figure is not None
        case.figures.insert(0, copy.deepcopy(figure))
        case.figures[0].contender = YOURS
    seventh.benches[0].cases[0].figures[0].correct = False
    seventh.benches[0].cases[1].untrusted = [f"throttled {EVIL}"]
    save(run, benches / "last.json")
    run.days[1].benches[0].name, run.when = "softmax of old", "2020-01-01T00:00:00+00:00"
    save(run, benches / "before.json")
    (benches / "cut.json").write_text('{"schema": 1, "da')
    keep_xray(new, 1, new / "tracks" / "triton" / "day01.py", [KERNEL, REFUSED])
    (new / ".harness" / "xray" / "day02.json").write_text('{"hash": "", "reports": [{"loads": 3}]}')
    return new


def attempt(store: Store, day: int, statuses: dict[str, str], ago: float = 0.0) -> None:
    exercises = [ExerciseResult(name, status=status) for name, status in statuses.items()]
    result = DayResult(
        "triton", day, "", "learner", 0, exercises, device={"kind": "cpu", "name": EVIL}
    )
    store.record(result, at=NOW.timestamp() - ago)


def html_of(root: Path, editor: bool = False) -> str:
    return page(collect(root, NOW), root / ".harness" / "report.html", root, editor)
