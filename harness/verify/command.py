"""``make verify``: every check of every day asked for, and a line for each."""

from __future__ import annotations

import json
from contextlib import ExitStack, suppress

from harness.curriculum import ROOT, Day, find_day, find_track, find_tracks
from harness.run import Cold
from harness.run.process import Metered
from harness.usage import Usage, check_choice, seed_of
from harness.verify import checks
from harness.verify.form import check_form, readable
from harness.verify.says import check_says
from harness.verify.soak import part_of, seeds_of, soak_days

Found = dict[str, list[str]]
Costs = dict[str, float]

BUGS_SECONDS = 20.0
"""CPU seconds that a day's known bugs should take: a hint for whoever writes it, no failure."""
LAST = ROOT / ".harness" / "verify.json"


def verify_days(
    track: str, number: str, device: str, seed: str, as_json: bool, says: bool = False
) -> int:
    """→ exit code 0 if every day asked for is proved; ``says`` as in ``verify_day``."""
    check_choice("DEVICE", device, ("auto", "cpu", "cuda"))
    fixed = seed_of(seed or "0")
    days = [find_day(track, number)] if number else _days(track)
    report: dict[str, Found] = {}
    costs: dict[str, Costs] = {}
    with ExitStack() as stack:
        launchers: dict[str, Metered] = {}
        for day in days:
            if day.track not in launchers:
                launchers[day.track] = _launcher(day.track, device, stack)
            report[day.key], costs[day.key] = verify_day(
                day, launchers[day.track], fixed, device, says
            )
            if not as_json:
                _print(day, report[day.key], costs[day.key])
    if not number:
        for found in [find_track(track)] if track else find_tracks():
            stray = checks.check_stray(found)
            if stray:
                report[found.name] = {"stray": stray}
                if not as_json:
                    print(f"{found.name}: files that belong to no day")
                    print("\n".join(f"  {sentence}" for sentence in stray))
    failed = [key for key, found in report.items() if any(found.values())]
    _keep(report, costs, fixed)
    if as_json:
        print(json.dumps(report, indent=2))
    else:
        proved = sum(day.key not in failed for day in days)
        if len(days) > 1:
            print(_dearest(costs))
        print(f"\n{proved} of {len(days)} days are proved.")
    return 1 if failed else 0


def soak(
    track: str, number: str, device: str, seed: str, seeds: str, part: str, as_json: bool
) -> int:
    """The references over ``seeds`` seeds. → exit code 0 if none failed."""
    check_choice("DEVICE", device, ("auto", "cpu", "cuda"))
    if as_json:
        raise Usage("SEEDS prints each failure when it is met: there is no --json of it.")
    wanted = seeds_of(seeds, str(seed_of(seed or "0")))
    days = part_of([find_day(track, number)] if number else _days(track), part)
    with ExitStack() as stack:
        names = dict.fromkeys(day.track for day in days)
        launchers = {name: _launcher(name, device, stack) for name in names}
        failed = soak_days(days, launchers, wanted, device)
    print(f"{len(days)} days with {len(wanted)} seeds each: {failed} runs failed.")
    return 1 if failed else 0


def verify_day(
    day: Day, launcher: Metered, seed: int = 0, device: str = "auto", says: bool = False
) -> tuple[Found, Costs]:
    """What each check found, and the CPU seconds that it took.

    ``says``: check as well that of no known bug another one's sentence is told; that costs more
    than all other checks.
    """
    found: Found = {"form": check_form(day), **{name: [] for name in checks.CHECKS}}
    costs: Costs = {}
    if not readable(day):
        return found, costs  # nothing can be run of it; the form says why
    every = {**checks.CHECKS, "says": check_says} if says else checks.CHECKS
    for name, check in every.items():
        before = launcher.cpu_seconds()
        found[name] = check(day, launcher, seed, device)
        costs[name] = launcher.cpu_seconds() - before
    return found, costs


def _days(track: str) -> list[Day]:
    tracks = [find_track(track)] if track else find_tracks()
    return [day for t in tracks for day in t.days]


def _launcher(track: str, device: str, stack: ExitStack) -> Metered:
    import os

    if not hasattr(os, "fork"):
        return Cold()
    from harness.run.warm import Warm

    return stack.enter_context(Warm(track, device))


def _print(day: Day, found: Found, costs: Costs) -> None:
    wrong = sum(map(len, found.values()))
    parts = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in costs.items())
    print(f"{day.key}  {day.title}: {'proved' if not wrong else f'{wrong} finding(s)'}  ({parts})")
    if costs.get("bugs", 0.0) > BUGS_SECONDS:
        print(
            f"  note: its known bugs take more than {BUGS_SECONDS:.0f} s of one core: put the test "
            "that rejects them first, at a smaller size"
        )
    limit = checks.time_limit(day)
    if costs.get("reference", 0.0) > limit:
        print(
            f"  note: its tests take more than {limit:.0f} s of one core here; on an idle and fast "
            "one they should not"
        )
    for check, sentences in found.items():
        for sentence in sentences:
            first, *rest = sentence.splitlines()
            print(f"  {check}: {first}")
            for line in rest[:12]:
                print(f"      {line}")


def _dearest(costs: dict[str, Costs]) -> str:
    """The CPU seconds of all days, and the days that take most of them."""
    total = sum(sum(parts.values()) for parts in costs.values())
    lines = [f"\nCPU time: {total:.0f} s in all. The dearest days:"]
    for key in sorted(costs, key=lambda key: -sum(costs[key].values()))[:10]:
        parts = ", ".join(f"{name} {seconds:.1f}" for name, seconds in costs[key].items())
        lines.append(f"  {key:<12} {sum(costs[key].values()):6.1f} s  {parts}")
    return "\n".join(lines)


def _keep(report: dict[str, Found], costs: dict[str, Costs], seed: int) -> None:
    """What was found stays in a file: a finding that comes once in a while must not be lost."""
    with suppress(OSError):  # a tree that cannot be written is no reason to fail
        LAST.parent.mkdir(exist_ok=True)
        what = {"seed": seed, "findings": report, "cpu_seconds": costs}
        LAST.write_text(json.dumps(what, indent=2), encoding="utf-8")
