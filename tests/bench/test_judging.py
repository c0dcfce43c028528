"""Goals, medals and the comparison of two runs."""

import numpy as np
import pytest
from rich.console import Console

from harness.bench.ceilings import Ceilings
from harness.bench.compare import compare, show_comparison
from harness.bench.goals import judge
from harness.bench.measure import first_dtype
from harness.bench.medals import medal, next_medal
from harness.bench.results import save
from harness.benching import Case, goal

LIMITS = Ceilings(copy=100e9, matrix={"float16": 1e12})


def judged(wanted, *cases, make_day, who="yours"):
    bench = make_day(*cases).benches[0]
    judge([wanted], bench, LIMITS, who)
    return bench.goals[0]


def test_goal_on_a_ceiling(made, make_day):
    case = made({"yours": 125}).case({"n": 64})  # 10,000 bytes in 125 ns: 80 of 100 GB/s
    met = judged(goal(at_least=0.8, of="copy"), case, make_day=make_day)
    assert (met.status, met.value) == ("met", pytest.approx(0.8))
    assert judged(goal(at_least=0.81, of="copy"), case, make_day=make_day).status == "missed"
    matrix = judged(goal(at_least=0.1, of="matrix"), case, make_day=make_day)
    assert (matrix.status, matrix.value) == ("missed", pytest.approx(0.008))


def test_goal_on_a_peer_by_speed_and_by_time(made, make_day):
    case = made({"yours": 120, "numpy": 100}).case()
    assert judged(goal(at_most=1.2, of="numpy"), case, make_day=make_day).status == "met"
    assert judged(goal(at_most=1.1, of="numpy"), case, make_day=make_day).status == "missed"
    assert judged(goal(at_least=0.8, of="numpy"), case, make_day=make_day).status == "met"


def test_goal_takes_the_worst_case_it_covers(made, make_day):
    good, bad = made({"yours": 101}).case({"n": 4096}), made({"yours": 200}).case({"n": 64})
    wanted = goal(at_least=0.97, of="copy", n=range(2048, 8193))
    assert judged(wanted, good, bad, make_day=make_day).status == "met"
    everywhere = judged(goal(at_least=0.97, of="copy"), good, bad, make_day=make_day)
    assert (everywhere.status, everywhere.detail) == ("missed", "yours 0.50 at n=64")


def test_goal_not_measured(made, make_day):
    case = made({"yours": 101}).case({"n": 64})
    none = judged(goal(at_least=1, of="copy", n=1), case, make_day=make_day)
    assert (none.status, none.detail) == ("not measured", "no case of this run is one of those")
    assert judged(goal(at_least=1, of="liger"), case, make_day=make_day).status == "not measured"
    case.untrusted = ["hot"]
    doubt = judged(goal(at_least=0.5, of="copy"), case, make_day=make_day)
    assert (doubt.status, doubt.detail) == ("not measured", "n=64: untrusted: hot")


def test_goal_with_one_case_lacking_is_not_met(made, make_day):
    cases = [made({"yours": 101, "torch": 200}).case({"n": 1}), made({"yours": 1}).case({"n": 2})]
    result = judged(goal(at_least=1, of="torch"), *cases, make_day=make_day)
    assert result.status == "not measured"
    assert "n=2: yours or torch has no figure" in result.detail


def test_goals_and_cases_in_words():
    wanted = goal(at_least=0.97, of="copy", columns=range(2048, 32769))
    assert str(wanted) == "≥ 0.97 × the copy bandwidth for columns 2048–32768"
    assert str(goal(at_most=1.2, of="numpy")) == "time ≤ 1.2 × numpy"
    case = Case(rows=2, kind="x")
    assert (case.rows, str(case), case == Case(rows=2, kind="x")) == (2, "rows=2 kind=x", True)
    with pytest.raises(AttributeError, match="no 'cols'; it has: rows, kind"):
        case.cols  # noqa: B018 (the access is what raises)


def test_dtypes_in_cases_and_goals_go_by_name():
    import torch

    case = Case(n=1, dtype=torch.float16)
    assert str(case) == "n=1 dtype=float16"
    assert goal(at_least=1, of="copy", dtype=torch.float16).covers(case.plain)
    assert not goal(at_least=1, of="copy", dtype=[torch.bfloat16]).covers(case.plain)


def test_the_dtype_that_chooses_the_matrix_rate():
    import torch

    a, ids = torch.ones(2, dtype=torch.int8), torch.ones(2, dtype=torch.int64)
    assert first_dtype((a, torch.ones(2))) == "int8"  # its scale is no part of the product
    assert first_dtype((ids, torch.ones(2, dtype=torch.bfloat16))) == "bfloat16"
    assert first_dtype((np.ones(2), a)) == "float64"
    assert first_dtype((ids,)) == ""


@pytest.mark.parametrize("wrong", [{}, {"at_least": 1, "at_most": 1}])
def test_a_goal_has_one_bound(wrong):
    with pytest.raises(ValueError, match="one of at_least"):
        goal(of="copy", **wrong)


@pytest.mark.parametrize(
    "yours, earned",
    [(200, "bronze"), (149, "silver"), (106, "silver"), (105, "gold"), (90, "gold")],
)
def test_medals(made, make_day, yours, earned):
    case = made({"yours": yours, "reference": 100, "torch": 150}).case()
    assert medal(make_day(case)) == earned


def test_gold_does_not_ask_for_eagers_speed(made, make_day):
    case = made({"yours": 100, "reference": 100, "torch": 50}).case()
    assert medal(make_day(case)) == "gold"


def test_no_medal(made, make_day):
    case = made({"yours": 100, "reference": 100}).case()
    assert medal(make_day(case, device="cpu")) is None
    assert medal(make_day(case, device="cpu", track="autodiff")) == "gold"
    assert medal(make_day()) is None
    wrong = made({"yours": 100, "reference": 100}).case({"n": 2})
    wrong.figures[0].error = "wrong: all of it"
    assert medal(make_day(case, wrong)) is None


@pytest.mark.parametrize(
    "yours, said",
    [
        (200, ["Silver needs 1.00 x torch's speed: softmax has 0.75.",
               "Gold needs 0.95 x the reference's speed: softmax has 0.50."]),
        (110, ["Gold needs 0.95 x the reference's speed: softmax has 0.91."]),
        (90, []),
    ],
)  # fmt: skip
def test_what_keeps_the_next_medal_away_is_said(made, make_day, yours, said):
    case = made({"yours": yours, "reference": 100, "torch": 150}).case()
    assert next_medal(make_day(case)) == said


def test_an_answer_that_is_not_written_yet_is_not_called_wrong(made, make_day):
    case = made({"yours": 100, "reference": 100}).case()
    yours = next(figure for figure in case.figures if figure.contender == "yours")
    yours.ns, yours.gap = None, "not written yet: softmax"
    assert next_medal(make_day(case)) == [
        "Bronze needs every case right: softmax is not written yet."
    ]


def test_an_untrusted_case_that_costs_a_medal_is_named(made, make_day):
    case = made({"yours": 90, "reference": 100, "torch": 150}).case({"n": 7})
    case.untrusted = ["another process used the card"]
    silver, gold = next_medal(make_day(case))
    assert silver.startswith("Silver") and gold.startswith("Gold")
    assert "softmax is untrusted at n=7 (another process used the card)" in silver
    wrong = made({"yours": 90, "reference": 100}).case({"n": 8})
    wrong.figures[0].error = "wrong: all of it"
    assert next_medal(make_day(wrong)) == [
        "Bronze needs every case right: softmax is not right at n=8."
    ]
    lonely = made({"yours": 200, "reference": 100}).case()
    assert "no figure of torch" in next_medal(make_day(lonely))[0]


def test_untrusted_figures_earn_bronze_at_most(made, make_day):
    case = made({"yours": 100, "reference": 100, "torch": 150}).case()
    case.untrusted = ["hot"]
    assert medal(make_day(case)) == "bronze"


def test_one_noisy_case_does_not_decide(made, make_day):
    fast = [made({"yours": 95, "reference": 100}).case({"n": n}) for n in range(4)]
    slow = made({"yours": 110, "reference": 100}).case({"n": 9})
    assert medal(make_day(*fast, slow)) == "gold"


def changes(before, after, made, make_day, make_report, spread=0.01, copy=None):
    first = make_day(made({"yours": before}).case(spread=spread))
    second = make_day(made({"yours": after}).case(spread=spread))
    if copy:
        second.ceilings["copy"] = copy
    return compare(make_report(first), make_report(second))[0]


@pytest.mark.parametrize(
    "after, verdict", [(100, "noise"), (101.5, "noise"), (110, "slower"), (90, "faster")]
)
def test_change_or_noise(made, make_day, make_report, after, verdict):
    change = changes(100, after, made, make_day, make_report)
    assert (change.verdict, change.regression) == (verdict, verdict == "slower")
    assert change.low < change.ratio < change.high


def test_wide_intervals_and_a_drifting_machine_are_noise(made, make_day, make_report):
    assert changes(100, 110, made, make_day, make_report, spread=0.3).verdict == "noise"
    assert changes(100, 110, made, make_day, make_report, copy=80e9).verdict == "noise"


def test_comparison_on_screen(made, make_day, make_report, tmp_path, capsys):
    paths = [tmp_path / "a.json", tmp_path / "b.json"]
    for path, ns in zip(paths, (100, 130), strict=True):
        save(make_report(make_day(made({"yours": ns, "torch": 100}).case())), path)
    assert show_comparison(paths, Console(width=80, color_system=None)) == 1
    out = capsys.readouterr().out
    assert "2 figures compared, 1 within noise" in out
    assert "+30.0%" in out
    assert max(map(len, out.splitlines())) <= 80
    assert show_comparison([paths[1], paths[1]], Console()) == 0
    assert show_comparison(paths[::-1], Console()) == 0


def test_runs_of_two_machines_are_not_compared(make_report):
    with pytest.raises(ValueError, match="different machines"):
        compare(make_report(), make_report(name="GPU B"))
