"""``make verify``: every check of every day asked for, and a line for each."""

from __future__ import annotations

import json
from contextlib import ExitStack

from harness.curriculum import Day, find_day, find_track, find_tracks
from harness.run import Cold, Launcher
from harness.usage import check_choice, seed_of
from harness.verify import checks
from harness.verify.form import check_form, readable


def verify_days(track: str, number: str, device: str, seed: str, as_json: bool) -> int:
    """→ exit code 0 if every day asked for is proved."""
    check_choice("DEVICE", device, ("auto", "cpu", "cuda"))
    fixed = seed_of(seed or "0")
    days = [find_day(track, number)] if number else _days(track)
    report: dict[str, dict[str, list[str]]] = {}
    with ExitStack() as stack:
        launchers: dict[str, Launcher] = {}
        for day in days:
            if day.track not in launchers:
                launchers[day.track] = _launcher(day.track, device, stack)
            report[day.key] = verify_day(day, launchers[day.track], fixed, device)
            if not as_json:
                _print(day, report[day.key])
    if not number:
        for found in [find_track(track)] if track else find_tracks():
            stray = checks.check_stray(found)
            if stray:
                report[found.name] = {"stray": stray}
                if not as_json:
                    print(f"{found.name}: files that belong to no day")
                    print("\n".join(f"  {sentence}" for sentence in stray))
    failed = [key for key, found in report.items() if any(found.values())]
    if as_json:
        print(json.dumps(report, indent=2))
    else:
        proved = sum(day.key not in failed for day in days)
        print(f"\n{proved} of {len(days)} days are proved.")
    return 1 if failed else 0


def verify_day(
    day: Day, launcher: Launcher, seed: int = 0, device: str = "auto"
) -> dict[str, list[str]]:
    """What each check found."""
    found = {"form": check_form(day), **{name: [] for name in checks.CHECKS}}
    if not readable(day):
        return found  # nothing can be run of a day that cannot be read; the form says why
    for name, check in checks.CHECKS.items():
        found[name] = check(day, launcher, seed, device)
    return found


def _days(track: str) -> list[Day]:
    tracks = [find_track(track)] if track else find_tracks()
    return [day for t in tracks for day in t.days]


def _launcher(track: str, device: str, stack: ExitStack) -> Launcher:
    import os

    if not hasattr(os, "fork"):
        return Cold()
    from harness.run.warm import Warm

    return stack.enter_context(Warm(track, device))


def _print(day: Day, found: dict[str, list[str]]) -> None:
    wrong = sum(map(len, found.values()))
    print(f"{day.key}  {day.title}: {'proved' if not wrong else f'{wrong} finding(s)'}")
    for check, sentences in found.items():
        for sentence in sentences:
            first, *rest = sentence.splitlines()
            print(f"  {check}: {first}")
            for line in rest[:12]:
                print(f"      {line}")
