"""``make bench``: runs the benches and keeps the learner's medals."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

from harness.bench import run_bench
from harness.bench.command import benched_days
from harness.bench.contenders import COMPILE, EAGER
from harness.bench.results import DayBench
from harness.cli.grade import started
from harness.curriculum import ROOT, find_day, find_track
from harness.progress import ProgressError, Store
from harness.protocol import LEARNER
from harness.usage import Usage

ALONE = "none"
"""As AGAINST: no peers, only yours and the reference."""


def bench_days(
    track: str, number: str, against: str, quick: bool, compare: str, impl: str, output: str
) -> int:
    if number and not track:
        raise Usage(f"Which track? make bench TRACK=triton DAY={number}")
    day = find_day(track, number).number if number else None
    if track and not number:
        find_track(track)
    alone = against.strip() == ALONE
    if not alone:
        _check_peers(track, day, against)
    if output and Path(output).is_dir():
        raise Usage(f"OUT={output} is a folder: name the file to write, OUT={output}/bench.json")

    def keep_medal(done: DayBench) -> None:
        if impl == LEARNER and done.medal:
            try:
                Store().award(done.track, done.day, done.medal, done.device)
            except ProgressError as error:
                print(error, file=sys.stderr)

    return run_bench(
        track or None,
        day,
        [] if alone else against or None,
        quick,
        output or None,
        compare or None,
        impl,
        on_day=keep_medal,
        begun=started if impl == LEARNER else lambda day: True,
    )


def _check_peers(track: str, day: int | None, against: str) -> None:
    """Every name of AGAINST must be a peer's, or the first words of one: else nothing is timed."""
    asked = [name.strip() for name in against.split(",") if name.strip()]
    if not asked:
        return
    known: set[str] = set()
    for one in benched_days(track or None, day, ROOT):
        known |= peers_in(one.bench.read_text(encoding="utf-8"))
    if EAGER in known:
        known.add(COMPILE)
    for name in asked:
        if known and not any(peer == name or peer.startswith(f"{name} ") for peer in known):
            raise Usage(f"AGAINST={name} is no peer here: there are {'; '.join(sorted(known))}.")


def peers_in(source: str) -> set[str]:
    """The names of the peers that a bench declares: the texts in what it assigns to ``peers``, as
    an argument, a name, or entry by entry."""
    found: set[str] = set()

    def keys(node: ast.expr) -> None:
        for inner in ast.walk(node):
            if isinstance(inner, ast.Dict):
                found.update(str(k.value) for k in inner.keys if isinstance(k, ast.Constant))

    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.keyword) and node.arg == "peers":
            keys(node.value)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                if isinstance(target, ast.Name) and target.id == "peers":
                    keys(node.value)
                elif isinstance(target, ast.Subscript) and ast.unparse(target.value) == "peers":
                    found.update(
                        [str(target.slice.value)] if isinstance(target.slice, ast.Constant) else []
                    )
    return found
