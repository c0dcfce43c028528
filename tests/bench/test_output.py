"""Results as JSON, table, plots and record."""

import json
import re

import pytest
from rich.console import Console

from harness.bench.plots import _told, axis_of, draw, panels_of, scaling, uneven, varying
from harness.bench.record import in_readme, overview, record, recorded, table, write_pages
from harness.bench.results import GoalResult, load, save
from harness.bench.table import rate, show, time_text
from harness.curriculum import ROOT, place_of
from harness.grading.finder import short_hash
from harness.report.plots import scaling as on_the_page


@pytest.fixture
def day(made, make_day):
    times = {"yours": 130, "reference": 120, "torch": 200, "compile max-autotune": 150}
    cases = [made(times).case({"rows": 4096, "columns": c}) for c in (1024, 2048, 4096)]
    for case in cases:
        case.figures[2].gap, case.figures[2].ns = "not installed: liger_kernel", None
        case.figures[2].samples = []
    cases[1].untrusted = ["another process used the card"]
    day = make_day(*cases)
    goal = "≥ 0.97 × the copy bandwidth for columns 2048–32768"
    day.benches[0].goals = [GoalResult(goal, "softmax", "missed", 0.77, "yours 0.77 at columns=1")]
    day.medal = "gold"
    return day


def test_json_comes_back_the_same(day, make_report, tmp_path):
    report = make_report(day)
    save(report, tmp_path / "deep" / "r.json")
    assert load(tmp_path / "deep" / "r.json") == report
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["r.json"]


@pytest.mark.parametrize(
    "text, says",
    [
        ("{", "is not JSON"),
        ("[]", "no bench result of schema 1"),
        ('{"schema": 9}', "found: 9"),
        ('{"schema": 1}', "lacks a part"),
    ],
)
def test_other_files_are_refused_in_words(tmp_path, text, says):
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(ValueError, match=re.escape(says)):
        load(tmp_path / "r.json")
    with pytest.raises(ValueError, match="No such file"):
        load(tmp_path / "none.json")


def shown(day, capsys, width=80):
    show(day, Console(width=width, color_system=None))
    return capsys.readouterr().out


def test_table_fits_80_columns_and_says_everything_without_colour(day, capsys):
    out = shown(day, capsys)
    assert max(map(len, out.splitlines())) <= 80
    for text in (
        "rows=4096 columns=2048 (untrusted)",
        "torch: not installed: liger_kernel",
        "untrusted: another process used the card [rows=4096 columns=2048]",
        "goal missed: ≥ 0.97",
        "GOLD for this day",
        "copy 100 GB/s",
    ):
        assert text in out.replace("\n", " ") or text in out
    row = next(line for line in out.splitlines() if line.strip().startswith("yours  "))
    assert row.split() == ["yours", "130", "ns", "76.9", "0.0%", "77%", "0.92x", "4.1", "kB", "1"]


def test_a_legend_says_what_the_columns_are(day, capsys):
    out = " ".join(shown(day, capsys).split())
    for column in ("±:", "% copy:", "vs ref:", "memory:", "kernels:"):
        assert column in out, column
    assert "% matrix:" not in out, "there is no such column"


def test_yours_is_seen_on_the_references_line(made, make_day):
    times = made({"yours": 100, "reference": 100})
    day = make_day(*(times.case({"n": n}) for n in (64, 128, 256)))
    lines = {line.get_label(): line for line in scaling(day.benches[0], day).axes[0].lines}
    yours, reference = lines["yours"], lines["reference"]
    assert yours.get_zorder() > reference.get_zorder()
    assert yours.get_linewidth() < reference.get_linewidth() / 2
    assert yours.get_markerfacecolor() == "none"
    (drawing,) = on_the_page(day.benches[0], day)
    assert drawing.index('class="s1 reference"') < drawing.index('class="s0 yours"')


def test_the_time_of_a_wrong_answer_is_not_shown(day, capsys):
    for case in day.benches[0].cases:
        case.figures[0].error = "wrong: result is wrong everywhere."
    out = shown(day, capsys)
    assert "130 ns" not in out
    assert out.count("yours: wrong: result is wrong everywhere.") == 1


def test_a_day_with_a_problem_shows_it(make_day, capsys):
    day = make_day()
    day.problem = "no GPU here"
    assert "no GPU here" in shown(day, capsys)


def test_three_digits():
    assert [time_text(ns) for ns in (12.34, 999.7, 12_340, 1.5e6, 2e9)] == [
        "12.3 ns",
        "1.00 us",
        "12.3 us",
        "1.50 ms",
        "2.00 s",
    ]
    assert rate(3.4e12, "B/s") == "3,400 GB/s"
    assert rate(8e14, "FLOP/s") == "800 TFLOP/s"


def test_plots_are_png_files_with_the_ceiling_drawn(day, tmp_path):
    files = draw(day, tmp_path)
    assert sorted(path.name for path in files) == [
        "triton_day13_softmax_roofline.png",
        "triton_day13_softmax_scaling.png",
    ]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in files)
    bench = day.benches[0]
    axis = axis_of(bench, bench.cases, day)
    assert (axis.label, axis.ceiling) == ("GB/s", 100)
    assert axis.value(bench.cases[0], bench.cases[0].figures[0]) == pytest.approx(76.9, abs=0.1)
    assert varying(bench.cases) == "columns"


def test_the_axis_is_what_grows_and_what_follows_it_gets_no_panels(made):
    times = made({"yours": 100})
    cases = [times.case({"rows": 2**20 // c, "columns": c}) for c in (64, 128, 256)]
    assert varying(cases) == "columns"
    assert _told("rows", "columns", cases)
    cases += [times.case({"rows": 7, "columns": c}) for c in (64, 128, 256)]
    assert not _told("rows", "columns", cases)
    models = [times.case({"model": m, "width": w}) for m, w in (("mlp", 1), ("mlp", 2), ("cnn", 3))]
    assert not _told("model", "width", models) and _told("model", "width", models[:2])
    assert varying([times.case({"n": 5, "dtype": "float16"})]) is None


def test_sizes_that_go_up_and_down_stand_on_the_axis(made, make_day):
    times = made({"yours": 100})
    sizes = [(16, 4096, 4096), (128, 128, 16384), (256, 4096, 14336)]
    cases = [times.case({"m": m, "n": n, "k": k}) for m, n, k in sizes]
    assert uneven(cases, "m") == ["n", "k"]
    (ax,) = scaling(make_day(*cases).benches[0], make_day(*cases)).axes
    assert ax.get_xlabel() == "m\nn\nk"
    assert [label.get_text() for label in ax.get_xticklabels()] == [
        "16\n4K\n4K", "128\n128\n16K", "256\n4K\n14K",
    ]  # fmt: skip
    rows = [times.case({"rows": 2**20 // c, "columns": c}) for c in (64, 128, 256)]
    assert uneven(rows, "columns") == []


def test_nothing_measured_draws_nothing(day, make_day, tmp_path):
    assert draw(make_day(), tmp_path) == []
    for case in day.benches[0].cases:
        case.figures = []
    assert draw(day, tmp_path) == []


def test_readme_table(day, make_report):
    text = table([make_report(day)])
    assert "**GPU A** (sm_90; torch 2; 2026-01-01)" in text
    own = "120 ns, 83.3 GB/s"
    assert f"| 13 | softmax | rows=4096 columns=1024 | {own} | 83% | 1.25× |" in text
    page = in_readme("a\n<!-- results:begin -->\nold\n<!-- results:end -->\nb\n", text)
    assert page.startswith("a\n<!-- results:begin -->\n**GPU A**")
    assert page.endswith("<!-- results:end -->\nb\n")
    assert "old" not in page
    with pytest.raises(ValueError, match="results:begin"):
        in_readme("no markers", text)


def test_a_row_a_bench_has_its_worst_and_best_case_and_what_is_missed(day, make_report):
    day.benches[0].cases[2].figures[1].ns = day.benches[0].cases[0].figures[0].ns  # 130 ns
    text = overview([make_report(day)])
    (row,) = [line for line in text.splitlines() if line.startswith("| 13 |")]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[2:] == [
        "77% (rows=4096 columns=4096)", "83% (rows=4096 columns=2048)", "–", "0 of 1 met",
    ]  # fmt: skip
    assert "- softmax: ≥ 0.97 × the copy bandwidth" in text
    day.benches[0].goals[0].status = "not measured"
    assert "| 0 of 1 met, 1 not measured |" in overview([make_report(day)])


@pytest.mark.parametrize("track", ["autodiff", "electives", "pytorch", "triton"])
def test_the_pages_are_those_of_the_records_and_of_the_references_as_they_are(track):
    """A reference that changed makes its figures older: the pages say so."""
    folder, reports = ROOT / "tracks" / place_of(track), recorded(ROOT, track)
    readme = (folder / "README.md").read_text(encoding="utf-8")
    page = (folder / "benches/results/README.md").read_text(encoding="utf-8")
    again = "out of date: python -m harness.bench.record writes the pages anew"
    assert in_readme(readme, overview(reports, ROOT)) == readme, again
    assert table(reports, ROOT) in page, again


def test_a_cpu_has_the_rows_of_benches_that_no_gpu_has(day, make_day, made, make_report):
    other = make_day(made({"reference": 100}).case({"n": 1}))
    other.benches[0].name = "of the CPU"
    gpu, cpu = make_report(day), make_report(day, other, name="CPU B", kind="cpu")
    text = overview([cpu, gpu])
    rows = [line.split(" | ")[1] for line in text.splitlines() if line.startswith("| 13 ")]
    assert len(rows) == 2 and "of the CPU" in rows[0] and "softmax" in rows[1]
    assert text.index("**CPU B**") < text.index("**GPU A**")
    assert "CPU B" not in overview([make_report(day, name="CPU B", kind="cpu"), gpu])


def test_a_peer_of_few_cases_has_no_column_of_its_own(made, make_day, make_report):
    usual = made({"reference": 100, "torch": 80, "odd": 0.4})
    cases = [made({"reference": 100, "torch": 80}).case({"n": n}) for n in range(4)]
    text = table([make_report(make_day(*cases, usual.case({"n": 4})))])
    assert "| reference | of its ceiling | torch | others |" in text
    assert "| n=3 | 100 ns, 100 GB/s | 100% | 0.80× | – |" in text
    assert "| n=4 | 100 ns, 100 GB/s | 100% | 0.80× | odd 0.004× |" in text
    text = table([make_report(make_day(*cases[:3], usual.case({"n": 4})))])
    assert "| torch | odd |" in text  # a quarter of the cases
    assert "others" not in text


def test_a_panel_has_several_sizes_and_is_named_by_what_differs(made, make_day):
    cases = [
        made({"reference": 10}).case({"width": 2048, "dim": dim, "keys": keys, "window": window})
        for dim, keys, window in [(64, 1, 0), (64, 2, 0), (128, 1, 0), (128, 2, 0), (128, 2, 9)]
    ]
    along, panels = panels_of(make_day(*cases).benches[0])
    assert along == "keys"
    assert {rest: len(members) for rest, members in panels.items()} == {
        "dim=64, window=0": 2,
        "dim=128, window=0": 2,
    }
    assert panels_of(make_day(cases[0]).benches[0])[1] == {}


def test_readme_marks_figures_of_an_earlier_reference(day, make_report, tmp_path):
    reference = tmp_path / "day13.py"
    reference.write_text("x = 1\n")
    day.files["reference"] = f"day13.py #{short_hash(reference)}"
    assert "†" not in table([make_report(day)], tmp_path)
    reference.write_text("x = 2\n")
    text = table([make_report(day)], tmp_path)
    assert "| 13 † | softmax |" in text and "† measured on an earlier version" in text


def test_record_merges_days_of_one_machine(day, make_day, made, make_report, tmp_path):
    track = tmp_path / "tracks" / "triton"
    track.mkdir(parents=True)
    (track / "README.md").write_text("<!-- results:begin -->\n<!-- results:end -->\n")
    other = make_day(made({"reference": 10}).case(), number=5)
    source = tmp_path / "r.json"

    for one in (day, other, other):
        save(make_report(one), source)
        record(source, tmp_path)

    kept = json.loads((track / "benches" / "results" / "gpu-a.json").read_text())
    cases = day.benches[0].cases
    assert [bool(case.untrusted) for case in cases] == [False, True, False]
    assert len(kept["days"][1]["benches"][0]["cases"]) == 2, "the untrusted case is left out"
    for case in cases:
        case.untrusted = ["hot"]
    save(make_report(day), source)
    with pytest.raises(ValueError, match="all figures of triton day 13, softmax, are untrusted"):
        record(source, tmp_path)
    assert [one["day"] for one in kept["days"]] == [5, 13]
    page = (track / "README.md").read_text()
    assert page.count("| 13 |") == 1, "a row a bench"
    assert page.count("| 5 |") == 1
    everything = (track / "benches" / "results" / "README.md").read_text()
    assert everything.count("| 13 |") == 2, "a row a case"
    (plot,) = (track / "benches" / "results").glob("*.svg")
    assert f"(benches/results/{plot.name})" in page
    before = plot.read_bytes()
    write_pages(tmp_path, "triton")
    assert plot.read_bytes() == before, "drawn again it is the same file"
