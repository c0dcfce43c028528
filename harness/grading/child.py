"""The process that grades one day: pytest with the grading plugin, under limits.

``python -m harness.grading.child REQUEST DESCRIPTOR`` (cold), or ``grade`` after a fork (warm).
"""

from __future__ import annotations

import faulthandler
import os
import sys
from dataclasses import asdict
from pathlib import Path

from harness.protocol import Event, Failure, Request

PRINTED_BYTES = 256 * 1024**2
"""No file that graded code writes, its captured print-out included, may grow beyond this."""

UNUSED = (
    "cacheprovider", "logging", "unraisableexception", "threadexception", "doctest", "pastebin",
    "setuponly", "setupplan", "stepwise", "legacypath", "subtests",
)  # fmt: skip
"""pytest's own plugins that a day does not need; they cost half a second of a quick day."""


def grade(request: Request, descriptor: int, secret: bytes = b"") -> int:
    """Run the day's tests and send what happens to ``descriptor``. → pytest's exit status.

    ``secret``: with which each line begins that tells of code that nobody has read.
    """
    _limit()
    import _hypothesis_pytestplugin as drawing
    import pytest
    import pytest_timeout

    from harness.curriculum import ROOT, Day
    from harness.grading import plugin
    from harness.grading.events import Events

    os.chdir(ROOT)
    events = Events(descriptor, secret)
    test_file = request.test_file or str(Day(request.track, request.day).tests)
    arguments = [test_file, f"--rootdir={ROOT}", f"--confcutdir={ROOT}", "-q", "--tb=no"]
    if b"hypothesis" in Path(test_file).read_bytes():  # to import it is a third of a short run
        arguments.append(f"--hypothesis-seed={request.seed}")
    # By themselves, not by name: for each name pytest would read what every package offers it. The
    # last because a test file elsewhere has no conftest.py.
    session = _Session(request, events, Path(test_file).absolute())
    plugins: list[object] = [session, drawing, pytest_timeout, plugin]
    if request.debug:  # the terminal is the learner's: pytest itself says nothing
        arguments += ["-s", "-q", "--no-summary", "-p", "no:warnings"]
        plugins.remove(pytest_timeout)
    for plugin_name in UNUSED:
        arguments += ["-p", f"no:{plugin_name}"]
    if request.first_failure:
        arguments.append("-x")
    if request.passthrough:
        arguments += ["-v", "--tb=long"]
    try:
        status = int(pytest.main(arguments, plugins=plugins))
    except SystemExit as stop:  # pytest lets one through that a file raises at its import
        message = f"called sys.exit({stop.code!r}) while it was imported"
        events.send(
            _broken(
                message,
                *_raised_at(
                    stop,
                    plugin.finder.source_file(Day(request.track, request.day), request.impl).name,
                ),
            )
        )
        status = 1
    events.send(Event("finished", data={"gpu": _gpu(request)}))
    return status


class _Session:
    """Hands the request and the way out to the grading plugin."""

    def __init__(self, request: Request, events: object, test_file: Path) -> None:
        self.request, self.events = request, events
        self.on_the_way = {test_file, *test_file.parents}

    def pytest_ignore_collect(self, collection_path: Path) -> bool | None:
        """What else lies in the folders is looked at in no way: a tenth of a short run."""
        return None if collection_path in self.on_the_way else True

    def pytest_configure(self, config: object) -> None:
        from harness.grading import plugin

        grader = plugin.Grader(self.request, self.events)  # type: ignore[arg-type]
        config.stash[plugin._GRADER] = grader  # type: ignore[attr-defined]

    def pytest_report_teststatus(self, report: object) -> tuple[str, str, str] | None:
        """No letter for a test in the middle of what a learner prints or asks a debugger."""
        return ("", "", "") if self.request.debug else None


def _limit() -> None:
    faulthandler.enable()
    # autoloaded plugins of the learner's environment would slow every run down, or change it
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    try:
        import resource
    except ImportError:  # Windows
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ceiling = PRINTED_BYTES if hard == resource.RLIM_INFINITY else min(PRINTED_BYTES, hard)
    resource.setrlimit(resource.RLIMIT_FSIZE, (ceiling, hard))


def _broken(message: str, file: str = "", line: int = 0) -> Event:
    return Event("broken", data={"failure": asdict(Failure("broken file", message, file, line))})


def _raised_at(error: BaseException, file_name: str) -> tuple[str, int]:
    import traceback

    place = ("", 0)
    for frame, line in traceback.walk_tb(error.__traceback__):
        if os.path.basename(frame.f_code.co_filename) == file_name:
            place = (frame.f_code.co_filename, line)
    return place


def _gpu(request: Request) -> dict[str, object]:
    """What NVML says of the card, where there is one and it was used."""
    torch = sys.modules.get("torch")
    if request.device == "cpu" or torch is None or not torch.cuda.is_initialized():
        return {}
    from harness.measure.nvml import NvmlUnavailable, open_nvml

    try:
        with open_nvml() as nvml:
            return {**asdict(nvml.gpus()[0]), **asdict(nvml.read(0))}
    except NvmlUnavailable as reason:
        return {"problems": [str(reason)]}


def _descriptor(name: str) -> int:
    """The events' pipe, from what the parent passed (harness.run.cold)."""
    if sys.platform != "win32":
        return int(name)
    import msvcrt

    return msvcrt.open_osfhandle(int(name), os.O_WRONLY)


if __name__ == "__main__":
    sys.exit(grade(Request.from_json(sys.argv[1]), _descriptor(sys.argv[2])))
