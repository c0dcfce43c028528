"""What the jail takes away is gone, what grading needs is there, and two runs have to agree."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.curriculum import ROOT, find_day, generate_stub, read_source
from harness.protocol import DayResult, ExerciseResult, Failure, Request, TestResult
from harness.run import jail, sandbox
from harness.run.jail import PARTS, REFUSED, Rules, seccomp_program
from harness.run.sandbox import DEVICES, SYSTEM, agreed, furnish, parts_in_force, without_answers
from harness.usage import Usage

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is Linux's")
READS = (sys.prefix, sys.base_prefix, str(ROOT / "harness"), *SYSTEM)


def inside(
    code: str, tmp_path: Path, parts: tuple[str, ...] | None = None, gpu: bool = False
) -> str:
    """What Python prints of ``code`` in the jail: it may write into ``tmp_path``."""
    parts = parts_in_force() if parts is None else parts
    rules = Rules(READS, (str(tmp_path), *DEVICES), parts, gpu=gpu)
    done = subprocess.run(
        [sys.executable, "-m", "harness.run.jail", rules.to_json(), sys.executable, "-c", code],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT), "OWN": str(tmp_path)},
        capture_output=True, text=True,
    )  # fmt: skip
    return done.stdout.strip() or done.stderr.strip().splitlines()[-1]


def need(part: str) -> None:
    if part not in parts_in_force():
        pytest.skip(f"{part} does not work on this machine")


@LINUX
def test_at_least_limits_and_privileges_are_in_force() -> None:
    assert {"rlimits", "no new privileges"} <= set(parts_in_force()) <= set(PARTS)


@LINUX
@pytest.mark.parametrize(
    "code",
    [
        "open('README.md')",
        "import os; os.listdir('.git')",
        "open('harness/new.txt', 'w')",
        "open('/etc/new.txt', 'w')",
        "import os; os.kill(os.getppid(), 0)",
    ],
)
def test_landlock(code: str, tmp_path: Path) -> None:
    need("landlock")
    assert "PermissionError" in inside(code, tmp_path)


def write_below_proc(path: str) -> str:
    """As fopen(path, "w") does it, which truncates."""
    return f"f = os.open({path}, os.O_WRONLY | os.O_TRUNC); print(os.write(f, b'name'))"


@LINUX
@pytest.mark.parametrize(
    ("path", "may"),
    [
        # What CUDA does while it starts, and gives up with error 304 where it may not.
        ("f'/proc/self/task/{threading.get_native_id()}/comm'", True),
        ("f'/proc/{os.getppid()}/comm'", False),
        ("'/proc/self/comm'", False),
        ("'/proc/self/oom_score_adj'", False),
        ("'/proc/sys/kernel/core_pattern'", False),
    ],
)
def test_with_a_gpu_threads_can_be_named_and_nothing_else_below_proc_is_written(
    path: str, may: bool, tmp_path: Path
) -> None:
    """In a fork of the jailed process, as the keeper makes it; in a thread of its own."""
    need("landlock")
    reads = (*READS, str(ROOT))
    rules = Rules(reads, (str(tmp_path), *DEVICES), parts_in_force(), gpu=True)
    code = (
        "import os, threading\n"
        "from harness.run import jail\n"
        "rules = jail.Rules.from_json(os.environ['HARNESS_JAILED_GPU'])\n"
        "if os.fork():\n"
        "    raise SystemExit(os.waitstatus_to_exitcode(os.wait()[1]))\n"
        "jail.write_own_threads_only(rules)\n"
        f"t = threading.Thread(target=lambda: exec({write_below_proc(path)!r})); t.start()\n"
        "t.join()\n"
        "own = os.environ['OWN']\n"
        "os.mkdir(own + '/new'); open(own + '/new/file', 'w').write('x')\n"
        "os.replace(own + '/new/file', own + '/file')\n"  # as Triton's cache does it
        "open('/dev/null', 'w').write('x')\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "harness.run.jail", rules.to_json(), sys.executable, "-c", code],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT), "OWN": str(tmp_path)},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (done.stdout.strip() == "4") == may, done.stderr
    assert ("PermissionError" in done.stderr) != may, done.stderr
    assert (tmp_path / "file").read_text() == "x"


@LINUX
def test_what_is_kept(tmp_path: Path) -> None:
    code = (
        "import os, socket, subprocess, multiprocessing\n"
        "open(os.environ['OWN'] + '/file', 'w').write('x')\n"
        "open('/dev/null', 'w').write('x')\n"
        "socket.socketpair()\n"
        "print(subprocess.run(['/bin/echo', 'hi'], capture_output=True, text=True).stdout)"
    )
    assert inside(code, tmp_path) == "hi"
    assert (tmp_path / "file").read_text() == "x"


@LINUX
@pytest.mark.parametrize(
    "code",
    [
        "import socket; socket.socket()",
        "import ctypes; c = ctypes.CDLL(None, use_errno=True); r = c.ptrace(0, 0, 0, 0); "
        "raise PermissionError if r < 0 and ctypes.get_errno() == 1 else SystemExit('traced')",
        "import ctypes; c = ctypes.CDLL(None, use_errno=True); r = c.unshare(0x10000000); "
        "raise PermissionError if r < 0 and ctypes.get_errno() == 1 else SystemExit('unshared')",
    ],
)
def test_seccomp(code: str, tmp_path: Path) -> None:
    need("seccomp")
    assert "PermissionError" in inside(code, tmp_path)


@LINUX
def test_it_stays_in_what_is_started(tmp_path: Path) -> None:
    need("seccomp")
    code = (
        "import subprocess, sys\n"
        "r = subprocess.run([sys.executable, '-c', 'import socket; socket.socket()'], "
        "capture_output=True, text=True)\n"
        "print(r.stderr.splitlines()[-1])"
    )
    assert "PermissionError" in inside(code, tmp_path)


@LINUX
@pytest.mark.parametrize(
    ("code", "may"),
    [
        ("s = socket.socket(socket.AF_UNIX); s.bind(''); s.listen()", True),  # what CUDA does
        ("socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)", True),
        ("socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)", False),  # sends without a connection
        ("socket.socket(socket.AF_INET)", False),
        ("socket.socket(socket.AF_UNIX).connect('/run/any')", False),
    ],
)
def test_with_a_gpu_a_unix_socket_can_listen_and_reach_nothing(
    code: str, may: bool, tmp_path: Path
) -> None:
    need("seccomp")
    found = inside(f"import socket; {code}; print('done')", tmp_path, gpu=True)
    assert found == "done" if may else "Operation not permitted" in found, found


def answer_of(program: list[tuple[int, ...]], data: dict[int, int]) -> int:
    """The filter, run by hand on what stands at the offsets of ``seccomp_data``."""
    at, value = 0, 0
    while True:
        code, yes, no, k = program[at]
        at += 1
        if code == jail.RETURN:
            return k
        if code == jail.LOAD:
            value = data.get(k, 0)
        elif code == jail.AND:
            value &= k
        else:
            met = value == k if code == jail.JUMP_IF_EQUAL else value >= k
            at += yes if met else no


@pytest.mark.parametrize("gpu", [False, True])
@pytest.mark.parametrize("machine", jail.ARCHITECTURES)
def test_the_filter_refuses_each_call_of_its_table(machine: str, gpu: bool) -> None:
    program = list(struct.iter_unpack("=HBBI", seccomp_program(machine, gpu)))
    column = list(jail.ARCHITECTURES).index(machine)
    here = jail.ARCHITECTURES[machine]

    def answer(number: int, architecture: int = here, family: int = 2, kind: int = 1) -> int:
        data = {jail.NUMBER: number, jail.ARCHITECTURE: architecture}
        return answer_of(program, {**data, jail.FAMILY: family, jail.TYPE: kind})

    allowed = jail.FOR_A_GPU if gpu else ()
    refused = {pair[column] for name, pair in REFUSED.items() if name not in allowed}
    for number in range(500):
        assert answer(number) == (jail.REFUSE if number in refused else jail.ALLOW)
    assert answer(0, 0x40000003) == jail.KILL  # 32-bit x86
    assert answer(jail.X32 + 1) == jail.REFUSE
    socket = REFUSED["socket"][column]
    for kind in range(8):
        connected = kind in (1, 5)  # SOCK_STREAM, SOCK_SEQPACKET
        for flags in (0, 0o2000000, 0o4000):  # SOCK_CLOEXEC, SOCK_NONBLOCK
            wanted = jail.ALLOW if gpu and connected else jail.REFUSE
            assert answer(socket, family=1, kind=kind | flags) == wanted, (kind, flags)


def test_a_room_has_no_answer(tmp_path: Path) -> None:
    day = find_day("autodiff", 9)
    furnish(tmp_path / "room", day)
    folder = tmp_path / "room" / "tracks" / "autodiff"
    text = (folder / "solutions" / "day09.py").read_text()
    source = read_source(day.solution)
    for exercise in day.exercises:
        for answer in exercise.answers:
            lines = [line.strip() for line in answer.text.splitlines() if len(line.strip()) > 12]
            assert lines and not any(line in text for line in lines)
    assert generate_stub(text, day.solution) == generate_stub(source, day.solution)
    names = {path.name for path in folder.rglob("*.py")}
    assert {"day08.py", "test_day09.py"} <= names and not {"day10.py", "test_day10.py"} & names
    assert not list((tmp_path / "room").rglob("*.toml")) or not list(folder.rglob("bugs"))
    assert not list((tmp_path / "room").rglob(".git"))


def test_answers_of_methods_are_taken_out_too() -> None:
    text = without_answers(find_day("autodiff", 24))
    compile(text, "day24.py", "exec")
    assert "ready.pop()" not in text and "### BEGIN SOLUTION" in text


def test_required_names_what_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "parts_in_force", lambda: ("rlimits",))
    with pytest.raises(Usage, match="lacks no new privileges, landlock, seccomp"):
        sandbox.Sandboxed(required=True)
    assert sandbox.Sandboxed().in_force == ("rlimits",)


PASSED = TestResult("test_a", "f", "passed")
FAILED = TestResult("test_a", "f", "failed", failure=Failure("wrong", "7 is not 8"))
EXPECTED = frozenset({("test_a", "f")})


def day(*tests: TestResult, seed: int = 1, status: str = "passed") -> DayResult:
    exercises = [ExerciseResult("f", status, list(tests))]  # type: ignore[arg-type]
    return DayResult("autodiff", 1, "Toys", "", seed, exercises, seconds=1.0)


def test_both_runs_passed() -> None:
    found = agreed(day(PASSED), day(PASSED, seed=2), EXPECTED)
    assert found.passed and found.seconds == 2.0


def test_the_second_run_failed() -> None:
    found = agreed(day(PASSED), day(FAILED, seed=2, status="wrong"), EXPECTED)
    assert not found.passed and found.exercises[0].status == "wrong"
    (test,) = found.tests
    assert test.failure.message == "passed, but with SEED=2 (new inputs): 7 is not 8"


def test_the_first_run_failed() -> None:
    found = agreed(day(FAILED, status="wrong"), day(PASSED, seed=2), EXPECTED)
    assert found.tests[0].failure.message == "7 is not 8"


def test_a_test_that_was_not_run() -> None:
    more = EXPECTED | {("test_b", "f")}
    found = agreed(day(PASSED), day(PASSED, seed=2), more)
    assert not found.passed
    assert found.tests[1].failure.message.startswith("this test was not run")
    lost = agreed(day(PASSED), day(seed=2), EXPECTED)
    assert lost.tests[0].failure.message == "it passed, and with SEED=2 it was not run."


def test_a_file_that_cannot_be_graded_the_second_time() -> None:
    broken = replace(day(PASSED, seed=2), problems=[Failure("died", "gone")])
    assert not agreed(day(PASSED), broken, EXPECTED).passed


def told(*lines: bytes) -> bytes:
    """What comes through of lines that a child writes."""
    heard, child = os.pipe()
    out, to = os.pipe()
    thread = threading.Thread(target=sandbox.pass_on, args=(heard, to, b"secret"))
    thread.start()
    for line in lines:
        os.write(child, line)
    os.close(child)
    thread.join()
    with open(out, "rb") as file:
        return file.read()


def test_only_lines_with_the_secret_are_told() -> None:
    assert told(b"secret{1}\nsecr", b"et{2}\n") == b"{1}\n{2}\n"
    assert told(b"secret{1}\n{2}\n") == b"{1}\n" + sandbox.FORGED
    assert told(b"secreT{1}\n") == sandbox.FORGED
    assert told() == b""


def test_a_line_without_end_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "LONGEST_EVENT", 10)
    assert told(b"secret" + b"x" * 50) == sandbox.FORGED


def test_a_run_that_passes_nothing_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[int] = []

    def run(request: Request, launcher: object) -> DayResult:
        seeds.append(request.seed)
        assert request.memory_bytes == 7 << 30
        return day(*outcomes[0], seed=request.seed, status=outcomes[1])

    launcher = SimpleNamespace(tests_of=lambda day, device: EXPECTED)
    monkeypatch.setattr(sandbox, "run", run)
    for outcomes, wanted in ((([FAILED], "wrong"), [3]), (([PASSED], "passed"), [3, 4])):
        seeds.clear()
        found = sandbox.grade_unread(
            find_day("autodiff", 1),
            Path(),
            launcher,
            (3, 4),
            memory_bytes=7 << 30,  # type: ignore[arg-type]
        )
        assert seeds == wanted
        assert found.passed is (outcomes[1] == "passed")
        assert found.seconds == len(wanted)


def test_what_the_machine_lacks_is_no_students_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA that starts outside of the sandbox alone once gave a whole class 0 points."""
    lacking = Failure("error", "DEVICE=cuda, but torch cannot use the GPU: error 304")
    without = replace(day(FAILED, seed=1, status="wrong"), device={}, problems=[lacking])
    monkeypatch.setattr(sandbox, "run", lambda request, launcher: without)
    wanted = find_day("autodiff", 1)
    with pytest.raises(RuntimeError, match=r"autodiff/01 cannot be graded .* error 304"):
        sandbox.grade_unread(wanted, Path(), SimpleNamespace(), (1, 2))  # type: ignore[arg-type]
