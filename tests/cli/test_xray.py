"""``make xray``: a row a kernel first, and nothing of what is not written."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.cli.xray import _largest, _shown_first
from harness.kernels.xray import KernelReport, RecordedLaunch, Refusal
from harness.screen.kernels import summary

ROOT = Path(__file__).resolve().parents[2]


def report(**values: object) -> KernelReport:
    base = {
        "kernel": "softmax_temperature_kernel", "file": "day13.py", "line": 41, "chip": "sm_90",
        "specialisation": "", "registers": 38, "loads": {128: 4, 32: 1}, "stores": {16: 2},
    }  # fmt: skip
    return KernelReport(**{**base, **values})


def launch(elements: int, **values: object) -> RecordedLaunch:
    base = {
        "file": "day13.py", "module": "day13", "kernel": "k", "line": 41, "arguments": [],
        "signature": {}, "constants": [], "attributes": [], "options": {},
    }  # fmt: skip
    return RecordedLaunch(**{**base, **values}, elements=elements)


def test_a_row_says_what_matters_and_fits_80_columns() -> None:
    access = {"kind": "store", "contiguous": False}
    text = summary(
        [
            report(spill_bytes=416, shared_bytes=65536, has_dot=True, accesses=[access]),
            report(chip="sm_80", tensor_core="mma.sync m16n8k16"),
        ]
    )
    assert max(map(len, text.splitlines())) <= 80
    head, first, second, *rest = text.splitlines()
    assert head.split()[:3] == ["kernel", "chip", "load/store"]
    assert first.split()[1:] == ["sm_90", "128/16*", "38", "416", "B", "65.5", "kB", "NOT", "USED"]
    assert second.split() == ["sm_80", "128/16", "38", "-", "-", "mma"]
    assert "* not coalesced" in rest[-1]


def test_a_kernel_that_stores_nothing_is_told_so() -> None:
    """The compiler leaves nothing of it, and "-/-" with 4 registers alone is a riddle."""
    nothing = report(loads={}, stores={}, registers=4)
    text = summary([report(), nothing])
    assert "-/-" in text.splitlines()[2]
    assert "is a tl.store missing?" in text and "-: none" in text
    assert max(map(len, text.splitlines())) <= 80
    assert "tl.store" not in summary([report(), report(loads={}), report(loads={}, tma=True)])


def test_a_refusal_is_told_once_for_all_chips_and_breaks_no_word() -> None:
    no = Refusal("day13.py", 41, "x = y", "no such thing", "a long explanation goes on " * 6)
    text = summary([report(chip=chip, refused=no) for chip in ("sm_80", "sm_90")])
    assert text.count("REFUSED") == 1 and "on sm_80 and sm_90 is REFUSED:\n  line 41: x = y" in text
    assert max(map(len, text.splitlines())) <= 80
    assert all(line == line.rstrip() for line in text.splitlines())
    assert set(text.split()) >= {"explanation", "goes"} and "explanati\n" not in text


def test_the_largest_launch_of_a_kernel_is_shown_and_not_the_first() -> None:
    launches = [launch(1), launch(7, line=2), launch(4096), launch(100)]
    assert _largest(launches) == [1, 2]


@pytest.mark.parametrize("refuse", [False, True])
def test_a_row_a_kernel_is_shown_before_the_other_launches_are_compiled(
    refuse: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are many: day 1 has 66 kinds of launches for its four kernels."""
    launches = [launch(1), launch(4096), launch(7, kernel="other", line=2), launch(100)]
    batches: list[tuple[list[int], str]] = []

    def xray(some: list[RecordedLaunch], chips: list[str], **_: object) -> list[KernelReport]:
        batches.append(([one.elements for one in some], capsys.readouterr().out))
        no = Refusal("day13.py", 41, "x", "no such block", "A block has no such size.")
        return [
            report(
                kernel=one.kernel, line=one.line, chip=chip, launches=one.elements,
                refused=no if refuse and one.elements == 100 else None,
            )
            for one in some
            for chip in chips
        ]  # fmt: skip

    monkeypatch.setattr("harness.kernels.xray.xray", xray)
    reports = _shown_first(launches, ["sm_80", "sm_90"], in_full=False)
    assert [one.launches for one in reports] == [1, 1, 4096, 4096, 7, 7, 100, 100]
    assert [one.chip for one in reports[:2]] == ["sm_80", "sm_90"]
    assert [batch for batch, _ in batches] == [[7, 4096], [1, 100]]
    assert "128/16" in batches[1][1], "the rows stand there while the others are compiled"
    after = capsys.readouterr().out
    assert "4 kinds of launches were compiled." in after
    assert ("k on sm_80 and sm_90 is REFUSED" in after) is refuse
    assert ("With other arguments:" in after) is refuse


def test_the_largest_is_that_of_most_work_and_not_of_the_largest_tensor() -> None:
    def tiles(*sizes: object) -> list[list[object]]:
        return [[[at], size] for at, size in enumerate(sizes)]

    small = launch(1 << 28, constants=tiles(32, 16), grid=[2])
    few = launch(100, constants=tiles(64, 128, True, None, 1), grid=[2])
    many = launch(100, constants=tiles(64, 128, False, "full"), grid=[2, 3])
    launches = [small, few, many, launch(200, constants=tiles(64, 128), grid=[])]
    assert max(launches, key=RecordedLaunch.size) is many
    assert _largest([small, few]) == [1]


def xray(*arguments: str, **settings: str) -> str:
    kept = {k: v for k, v in os.environ.items() if k not in ("EX", "V", "IMPL", "COLUMNS")}
    done = subprocess.run(
        [sys.executable, "-m", "harness", "xray", "triton", *arguments],
        cwd=ROOT, env={**kept, **settings}, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout


def stub_with(folder: Path, *written: str) -> Path:
    """Day 1 as a learner has it who has written these exercises only."""
    from harness.cli.learn import answers_alone
    from harness.curriculum import find_day, generate_stub, read_source, reset_exercise

    day = find_day("triton", 1)
    text = generate_stub(read_source(day.solution), day.solution)
    answers = "\n".join(answers_alone(read_source(day.solution).splitlines())) + "\n"
    for name in written:
        text = reset_exercise(text, answers, name)
    (folder / "day01.py").write_text(text, encoding="utf-8")
    return folder


def test_what_is_not_written_is_not_compiled(tmp_path: Path) -> None:
    from harness.cli.xray import _kernels, _not_written
    from harness.curriculum import find_day

    class Mine(type(find_day("triton", 1))):
        file = stub_with(tmp_path, "fill") / "day01.py"

    day = Mine("triton", 1)
    assert _not_written(day, "") == ["add_one", "scale", "vector_add"]
    assert _not_written(day, "fill") == []
    assert _kernels(day, ["add_one"]) == {"add_one_kernel"}


def test_the_summary_then_one_exercise_then_everything() -> None:
    pytest.importorskip("triton")
    short = xray("1", "--impl", "solution", "--ex", "fill", "--arch", "sm_90")
    assert "fill_kernel" in short and "occupancy" in short
    assert short.count("fill_kernel on sm_90") == 1
    everything = xray("1", "--impl", "solution", "--ex", "fill", "--arch", "sm_90", V="1")
    assert everything.count("fill_kernel on sm_90") > 1
    assert len(short.splitlines()) < 30


def test_the_many_other_kinds_can_be_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The table stands there already: who has read it need not wait."""

    def compiled(launches: list[Any], chips: list[str], note: Callable[..., None]) -> list:
        note(len(launches), 9)
        return []

    monkeypatch.setattr("harness.kernels.xray.xray", compiled)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setattr("harness.cli.xray._largest", lambda launches: [0])
    _shown_first([None, None], ["sm_80"], in_full=False)  # type: ignore[list-item]
    first, others = capsys.readouterr().err.split("\r\x1b[K")[1:4:2]
    assert first == "compiling … 1 of 9"
    assert others == "compiling other kinds … 1 of 9 (Ctrl-C ends it)"
