"""What the tests of a day noticed and what they did not, as text for a terminal and as JSON."""

from __future__ import annotations

import difflib
import textwrap
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from harness.curriculum.source import normalised
from harness.mutate.habits import HABITS, HabitVerdict
from harness.mutate.judge import Judged, Verdict

WANTED = 95.0
WANTED_OVER_ALL = 97.0
WIDTH = 80


@dataclass
class DayReport:
    key: str
    title: str
    reference: str
    """The reference's source, for the diffs."""
    judged: list[Judged]
    habits: list[HabitVerdict] = field(default_factory=list)
    seconds: float = 0.0
    files: str = ""
    """Hash of what the figures were made from."""
    wanted: float = WANTED

    @property
    def caught(self) -> int:
        return sum(one.caught for one in self.judged)

    @property
    def total(self) -> int:
        return sum(one.total for one in self.judged)

    @property
    def percent(self) -> float:
        return percent(self.caught, self.total)

    @property
    def accepted(self) -> list[HabitVerdict]:
        return [h for h in self.habits if h.outcome == "accepted"]

    @property
    def problems(self) -> list[str]:
        found = [f"{j.exercise}: {j.baseline.problem}" for j in self.judged if j.baseline.problem]
        return found + [f"{j.exercise}: {text}" for j in self.judged for text in j.findings]

    @property
    def passed(self) -> bool:
        return self.percent >= self.wanted and not self.problems and not self.accepted

    def habits_of(self, exercise: str, outcome: str) -> int:
        return sum(h.outcome == outcome for h in self.habits if exercise in ("", h.exercise))


def percent(caught: int, total: int) -> float:
    return 100.0 * caught / total if total else 100.0


def text_of(report: DayReport) -> str:
    """Figures by exercise, what is wrong, and every survivor as a diff with the tests that ran."""
    lines = [
        f"{report.key}  {report.title}: {_figures(report.caught, report.total)} "
        f"in {report.seconds:.0f} s",
        "",
        f"  {'exercise':<32}{'caught':>13}{'':>3}{'hung':>5}{'import':>8}{'same':>6}{'habits':>9}",
    ]
    for one in report.judged:
        rejected = report.habits_of(one.exercise, "rejected")
        applicable = rejected + report.habits_of(one.exercise, "accepted")
        lines.append(
            f"  {one.exercise[:31]:<32}{one.caught:>5} of {one.total:<4}{'':>4}"
            f"{one.count('hung'):>5}{one.count('not importable'):>8}{one.count('equivalent'):>6}"
            f"{rejected:>5}/{applicable}"
        )
    lines.append("")
    for problem in report.problems:
        lines += textwrap.wrap(f"! {problem}", WIDTH, subsequent_indent="  ")
    for habit in report.accepted:
        text = f"! {habit.exercise}: an answer that {_habit(habit)} passes "
        text += f"{len(habit.tests)} test(s)"
        if habit.disturbed:
            text += f" ({len(habit.disturbed)} more do not count: they see the wrapper itself)"
        lines += textwrap.wrap(text, WIDTH, subsequent_indent="  ")
    for one in report.judged:
        for verdict in one.verdicts:
            if verdict.outcome == "survived":
                lines += ["", *_survivor(verdict, report.reference)]
        if one.count("survived"):
            lines += ["", *_tests(one)]
    return "\n".join(lines).rstrip() + "\n"


def diff_of(verdict: Verdict, reference: str, context: int = 2) -> str:
    """The mutant as a unified diff."""
    lines = difflib.unified_diff(
        normalised(reference).splitlines(), verdict.mutant.source.splitlines(),
        lineterm="", n=context,
    )  # fmt: skip
    return "\n".join([*lines][2:])  # without the names of the files


def json_of(report: DayReport) -> dict[str, Any]:
    return {
        "day": report.key,
        "title": report.title,
        "seconds": round(report.seconds, 1),
        "files": report.files,
        "caught": report.caught,
        "total": report.total,
        "percent": round(report.percent, 2),
        "passed": report.passed,
        "problems": report.problems,
        "exercises": [_exercise(one, report) for one in report.judged],
        "habits": [
            {
                "exercise": h.exercise,
                "habit": h.habit,
                "outcome": h.outcome,
                "why": h.why,
                "not counted": list(h.disturbed),
            }
            for h in report.habits
        ],
    }


def _exercise(one: Judged, report: DayReport) -> dict[str, Any]:
    operators = Counter(v.mutant.operator for v in one.verdicts)
    survived = Counter(v.mutant.operator for v in one.verdicts if v.outcome == "survived")
    return {
        "exercise": one.exercise,
        "caught": one.caught,
        "total": one.total,
        "outcomes": dict(Counter(v.outcome for v in one.verdicts)),
        "operators": {name: [count - survived[name], count] for name, count in operators.items()},
        "tests": list(one.baseline.tests),
        "survivors": [
            {
                "line": v.mutant.line,
                "operator": v.mutant.operator,
                "before": v.mutant.before,
                "after": v.mutant.after,
                "diff": diff_of(v, report.reference),
            }
            for v in one.verdicts
            if v.outcome == "survived"
        ],
        "equivalent": [
            {"line": v.mutant.line, "after": v.mutant.after, "because": v.because}
            for v in one.verdicts
            if v.outcome == "equivalent"
        ],
    }


def _figures(caught: int, total: int) -> str:
    return f"{caught} of {total} mutants caught ({percent(caught, total):.1f} %)"


def _habit(habit: HabitVerdict) -> str:
    meaning = HABITS[habit.habit]
    verb = {"returns": "", "computes": "", "right": "is "}.get(meaning.split()[0], "gives ")
    return verb + meaning


def _survivor(verdict: Verdict, reference: str) -> list[str]:
    mutant = verdict.mutant
    head = f"{mutant.exercise}, line {mutant.line} ({mutant.operator}) survived:"
    return [head, *("  " + line for line in diff_of(verdict, reference).splitlines())]


def _tests(one: Judged) -> list[str]:
    """The tests that all passed, parameters folded: a name and how many times it ran."""
    counts = Counter(name.split("[")[0] for name in one.baseline.tests)
    names = ", ".join(f"{n} ×{c}" if c > 1 else n for n, c in counts.items())
    return textwrap.wrap(
        f"the tests of {one.exercise} that ran: {names}", WIDTH,
        initial_indent="  ", subsequent_indent="    ", break_long_words=False,
    )  # fmt: skip
