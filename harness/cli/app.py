"""Parses the command line. Each command's work is done by the package named after it."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Annotated

from harness.cli.commands import Abort, App, Argument, Exit, Option
from harness.usage import Usage, need_day, use_environment

app = App("Grade, read and prove the days. `make help` lists the same commands for make.")

Day = Annotated[str, Argument(envvar="DAY", help="day number; without it, the track's days")]
OneDay = Annotated[str, Argument(envvar="DAY", help="day number; needed")]
Track = Annotated[str, Argument(envvar="TRACK", help="triton, pytorch or autodiff; needed")]
SomeTrack = Annotated[str, Argument(envvar="TRACK", help="all tracks without it")]
SomeDay = Annotated[str, Argument(envvar="DAY", help="all days without it")]
Impl = Annotated[
    str, Option(envvar="IMPL", help="learner, solution, or a folder of dayNN.py files")
]
Prior = Annotated[
    str, Option(envvar="PRIOR", help="earlier days: auto, solution (references) or same")
]
Exercise = Annotated[str, Option("--ex", envvar="EX", help="only this exercise")]
Seed = Annotated[str, Option(envvar="SEED", help="repeat the inputs of an earlier run")]
Device = Annotated[str, Option(envvar="DEVICE", help="auto, cpu or cuda")]
Json = Annotated[bool, Option("--json", envvar="JSON", help="the result as JSON")]
Junit = Annotated[str, Option(envvar="JUNIT", help="write JUnit XML to this file")]
Verbose = Annotated[
    bool, Option("-v", "--verbose", envvar="V", help="all that is left out otherwise")
]
Debug = Annotated[
    bool, Option("--debug", help="one test, in which breakpoint() works; also DEBUG=1")
]
Sanitize = Annotated[bool, Option(envvar="SANITIZE", help="kernels on the checked interpreter")]
Pytest = Annotated[bool, Option("--pytest", help="show pytest's own output")]


def _grade_command(track: str) -> None:
    @app.command(name=track, help=f"Grade a day of the {track} track, or list its days.")
    def command(
        day: Day = "",
        impl: Impl = "learner",
        prior: Prior = "auto",
        ex: Exercise = "",
        seed: Seed = "",
        device: Device = "auto",
        as_json: Json = False,
        junit: Junit = "",
        verbose: Verbose = False,
        pytest: Pytest = False,
        sanitize: Sanitize = False,
        debug: Debug = False,
    ) -> None:
        from harness.cli import grade

        if sanitize and track == "triton":
            device = "cpu"  # the interpreter checks every access; a GPU cannot say whose it was

        if ex and not day:
            raise Usage(f"EX={ex} of which day? Add DAY: make {track} DAY=1 EX={ex}")
        if not day:
            raise Exit(grade.list_days(track, as_json))
        options = grade.Options(impl, prior, ex, seed, device, as_json, junit, verbose, pytest)
        if debug or os.environ.get("DEBUG") == "1":  # other programs read DEBUG too: 1 alone counts
            raise Exit(grade.debug_day(track, day, options))
        raise Exit(grade.grade_day(track, day, options))


for _track in ("triton", "pytorch", "autodiff", "electives"):
    _grade_command(_track)


@app.command()
def mine(
    track: SomeTrack = "",
    prior: Prior = "auto",
    seed: Seed = "",
    device: Device = "auto",
    as_json: Json = False,
    junit: Junit = "",
    verbose: Verbose = False,
) -> None:
    """Grade every day that you have started."""
    from harness.cli import grade

    options = grade.Options("learner", prior, "", seed, device, as_json, junit, verbose)
    raise Exit(grade.grade_mine(track, options))


@app.command()
def lesson(
    track: Track = "",
    day: OneDay = "",
    open_it: Annotated[
        bool, Option("--open", envvar="OPEN", help="its page of the book, in a browser")
    ] = False,
) -> None:
    """Show a day's lesson in the terminal."""
    need_day("lesson", track, day)
    from harness.cli.lesson import show_lesson

    raise Exit(show_lesson(track, day, open_it))


@app.command()
def book(
    to: Annotated[str, Option(envvar="TO", help="folder, by default .harness/book")] = "",
    format: Annotated[str, Option(envvar="FORMAT", help="html or epub")] = "html",
    repository: Annotated[
        str, Option(envvar="REPOSITORY", help="owner/name on GitHub, for links")
    ] = "",
    open_it: Annotated[bool, Option("--open", envvar="OPEN", help="in a browser")] = False,
    serve: Annotated[
        bool, Option("--serve", envvar="SERVE", help="show it, build anew on every save")
    ] = False,
) -> None:
    """All lessons and days as a site that needs no network."""
    from harness.book.command import make_book

    raise Exit(make_book(to, format, repository, open_it, serve))


@app.command()
def watch(
    track: SomeTrack = "",
    day: SomeDay = "",
    seed: Seed = "",
    device: Device = "auto",
) -> None:
    """Regrade a day on every save; keys: h hint, r rerun, p previous, n next, b bench, q quit."""
    if day and not track:
        need_day("watch", track, day)
    from harness.watch.session import watch_day

    raise Exit(watch_day(track, day, seed, device))


@app.command()
def hint(track: Track = "", day: OneDay = "", ex: Exercise = "") -> None:
    """The next hint, one deeper each time."""
    need_day("hint", track, day)
    from harness.cli.learn import show_hint

    raise Exit(show_hint(track, day, ex))


@app.command()
def solution(
    track: Track = "",
    day: OneDay = "",
    force: Annotated[bool, Option("--force", envvar="FORCE")] = False,
) -> None:
    """Your answers against the reference, once the day is passed."""
    need_day("solution", track, day)
    from harness.cli.learn import show_solution

    raise Exit(show_solution(track, day, force))


@app.command()
def reset(track: Track = "", day: OneDay = "", ex: Exercise = "") -> None:
    """Back to the stub; your version is kept."""
    need_day("reset", track, day)
    from harness.cli.learn import reset_day

    raise Exit(reset_day(track, day, ex))


@app.command()
def restore(
    track: Track = "",
    day: OneDay = "",
    version: Annotated[str, Option(envvar="VERSION", help="a number of the list")] = "",
) -> None:
    """Bring back a version that a reset replaced."""
    need_day("restore", track, day)
    from harness.cli.learn import restore_day

    raise Exit(restore_day(track, day, version))


@app.command()
def progress(as_json: Json = False) -> None:
    """What you have done: days, levels, medals, time."""
    from harness.cli.learn import show_progress

    raise Exit(show_progress(as_json))


@app.command()
def update(
    check: Annotated[
        bool, Option("--check", envvar="CHECK", help="say what would change, change nothing")
    ] = False,
    undo: Annotated[bool, Option("--undo", envvar="UNDO", help="take the last back")] = False,
    upstream: Annotated[
        str, Option(envvar="UPSTREAM", help="a git remote or address; found by itself")
    ] = "",
) -> None:
    """The project's new version, merged with your answers; nothing of yours is lost."""
    from harness.update.command import update as update_tree

    raise Exit(update_tree(check, undo, upstream))


@app.command(name="next")
def next_day(verbose: Verbose = False) -> None:
    """Grade the first day that is not finished."""
    from harness.cli import grade
    from harness.cli.learn import changes_before, where_next

    found = where_next()
    for sentence in changes_before(found):
        print(sentence)
    if found is None:
        print("Every day is finished.")
        raise Exit(0)
    raise Exit(grade.grade_day(found[0], str(found[1]), grade.Options(verbose=verbose)))


@app.command()
def stubs(
    check: Annotated[bool, Option("--check", envvar="CHECK", help="only compare")] = False,
) -> None:
    """Write every day's stub and the tracks' tables from the references."""
    from harness.cli.stubs import write_stubs

    raise Exit(write_stubs(check))


@app.command()
def verify(
    track: SomeTrack = "",
    day: SomeDay = "",
    device: Device = "auto",
    seed: Seed = "",
    as_json: Json = False,
    says: Annotated[
        bool, Option(envvar="SAYS", help="is each known bug told what is true of it? takes long")
    ] = False,
    seeds: Annotated[
        str, Option(envvar="SEEDS", help="only the references, with so many seeds each")
    ] = "",
    part: Annotated[
        str, Option(envvar="PART", help="with SEEDS: 2/4 is a quarter of the days")
    ] = "",
) -> None:
    """Prove days: stubs fail, references pass, every known bug is rejected, lessons run."""
    from harness.verify.command import soak, verify_days

    if seeds:
        raise Exit(soak(track, day, device, seed, seeds, part, as_json))
    raise Exit(verify_days(track, day, device, seed, as_json, says))


@app.command()
def xray(
    track: Annotated[str, Argument(envvar="TRACK")] = "triton",
    day: SomeDay = "",
    ex: Exercise = "",
    arch: Annotated[str, Option(envvar="ARCH", help="sm_80,sm_90,…")] = "sm_80,sm_90",
    impl: Impl = "learner",
    prior: Prior = "auto",
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """What the compiler makes of a day's kernels, for named chips; needs no GPU."""
    from harness.cli.xray import xray_day

    raise Exit(xray_day(track, day, ex, arch, impl, prior, as_json, verbose))


@app.command()
def bench(
    track: SomeTrack = "",
    day: SomeDay = "",
    against: Annotated[str, Option(envvar="AGAINST", help="names of peers, a,b; none")] = "",
    quick: Annotated[
        bool, Option("--quick", envvar="QUICK", help="fewer cases, less time, wider error bounds")
    ] = False,
    compare: Annotated[str, Option(envvar="COMPARE", help="two result files, a,b")] = "",
    impl: Impl = "learner",
    output: Annotated[str, Option(envvar="OUT", help="write the results to this file")] = "",
) -> None:
    """Time your answers beside the reference and what the world would use instead."""
    from harness.cli.bench import bench_days

    code = bench_days(track, day, against, quick, compare, impl, output)
    raise Exit(code)


@app.command()
def mutate(
    track: SomeTrack = "",
    day: SomeDay = "",
    ex: Exercise = "",
    jobs: Annotated[str, Option(envvar="JOBS", help="mutants at a time")] = "",
    table: Annotated[bool, Option("--table", envvar="TABLE", help="docs/mutants.md")] = False,
    house: Annotated[
        str, Option(envvar="HOUSE", help="a file or folder of the harness, not the days")
    ] = "",
    as_json: Json = False,
) -> None:
    """Test the tests: make small changes to the answers and see which no test notices."""
    from harness.mutate.command import mutate_days, mutate_house

    if house:
        if track or day or ex:
            raise Usage("HOUSE is for the harness's own files: leave out TRACK, DAY and EX.")
        raise Exit(mutate_house(house, jobs, as_json, table))
    raise Exit(mutate_days(track, day, ex, jobs, as_json, table=table))


@app.command()
def report(
    to: Annotated[str, Option("--to", "--out", envvar="TO", help="the page's file")] = "",
    xray: Annotated[
        bool, Option("--xray", envvar="XRAY", help="compile what has no report yet")
    ] = False,
    as_json: Json = False,
) -> None:
    """One HTML page about your work: days, attempts, benchmarks, what the compiler made of it."""
    from harness.cli.report import write_report

    raise Exit(write_report(to, xray, as_json))


@app.command(name="grade")
def grade_class(
    submissions: Annotated[
        str, Option(envvar="SUBMISSIONS", help="folder that holds a folder, zip or tar a student")
    ] = "",
    out: Annotated[
        str, Option(envvar="OUT", help="folder of the gradebook; SUBMISSIONS-grades without it")
    ] = "",
    engine: Annotated[str, Option(envvar="ENGINE", help="local, or ray")] = "local",
    weights: Annotated[str, Option(envvar="WEIGHTS", help="TOML file of points")] = "",
    days: Annotated[
        str, Option(envvar="DAYS", help="triton/1,pytorch/3-5; what was handed in without it")
    ] = "",
    roster: Annotated[
        str, Option(envvar="ROSTER", help="CSV file: what a platform knows the students by")
    ] = "",
    sandbox: Annotated[str, Option(envvar="SANDBOX", help="auto, required or off")] = "auto",
    seed: Seed = "",
    device: Device = "auto",
    prior: Annotated[
        str, Option(envvar="PRIOR", help="earlier days: auto (theirs) or solution")
    ] = "auto",
    jobs: Annotated[str, Option(envvar="JOBS", help="days at a time; one a core")] = "",
    as_json: Json = False,
) -> None:
    """Grade a whole class that nobody has read: a gradebook of a folder of submissions."""
    from harness.grade.command import Options, grade_class

    options = Options(
        submissions, out, engine, weights, days, roster, sandbox, seed, device, prior, jobs, as_json
    )
    raise Exit(grade_class(options))


@app.command()
def doctor(as_json: Json = False) -> None:
    """What is installed, what is wrong, and what to do about it."""
    from harness.cli.doctor import doctor as run_doctor

    raise Exit(run_doctor(as_json))


@app.command(name="test-all")
def test_all(
    workers: Annotated[str, Option(envvar="WORKERS", help="how many; auto")] = "auto",
    seed: Seed = "",
    junit: Junit = "",
) -> None:
    """Run the project's whole suite: references, stubs, bugs, and the harness's own tests."""
    from harness.cli.test_all import run_all

    raise Exit(run_all(workers, seed, junit))


def main() -> None:
    """Run the command line; a usage error is one message and exit code 2."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal without Unicode shows ? and goes on
    use_environment()
    try:
        sys.exit(app(standalone_mode=False) or 0)
    except Usage as error:
        _stop(str(error), 2)
    except Exit as done:
        sys.exit(done.exit_code)
    except (KeyboardInterrupt, Abort):
        _stop("stopped", 130)
    except Exception as error:
        from harness.curriculum import ROOT, CurriculumError, UnknownDay, UnknownExercise
        from harness.progress import ProgressError

        if isinstance(error, (UnknownDay, UnknownExercise)):
            _stop(error.args[0], 2)
        if isinstance(error, CurriculumError):
            _stop(str(error), 1)
        if isinstance(error, ProgressError):
            _stop(str(error), 3)
        if isinstance(error, OSError) and error.errno in _DISK:
            _stop(f"{error.strerror}: {error.filename or ROOT}", 3)
        if type(error).__module__.startswith("click") and hasattr(error, "exit_code"):
            if hasattr(error, "format_message"):
                _stop(f"{error.format_message()} (python -m harness --help)", 2)
            sys.exit(error.exit_code)
        raise


def grade_file(file: str) -> int:
    """Grade the day in ``file`` with the options that the environment holds."""
    from harness.curriculum import ROOT

    path = Path(file).resolve()
    arguments = [path.parent.name, path.stem.removeprefix("day"), *sys.argv[1:]]
    if not path.is_relative_to(ROOT):  # an environment that two clones share knows one of them
        import subprocess

        command = [sys.executable, "-m", "harness", *arguments]
        return subprocess.call(command, cwd=path.parents[2])
    sys.argv = ["harness", *arguments]
    try:
        main()
    except SystemExit as done:
        return int(done.code or 0)
    return 0


_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES)
"""What a full or read-only disk says: no fault of the harness, and no traceback."""


def _stop(message: str, code: int) -> None:
    from harness.screen.pager import say

    say(message, sys.stderr)
    sys.exit(code)
