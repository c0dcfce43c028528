"""Started in the child before any graded code: gives up what grading does not need, for good.

``python -m harness.run.jail RULES COMMAND …`` applies the rules and becomes the command. What is
given up stays given up in all that it starts: resource limits, no new privileges (no setuid program
helps), landlock (files and signals) and seccomp (system calls). Linux only.

Sources: landlock(7), seccomp(2), prctl(2) and the kernel's include/uapi/linux/{landlock,seccomp,
filter,audit}.h; system call numbers from arch/x86/entry/syscalls/syscall_64.tbl and
include/uapi/asm-generic/unistd.h.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import platform
import struct
import sys
from dataclasses import asdict, dataclass

GIB = 1024**3


@dataclass(frozen=True)
class Rules:
    """What the child keeps: ``readable`` and ``writable`` are folders and files with all below."""

    readable: tuple[str, ...]
    writable: tuple[str, ...]
    parts: tuple[str, ...]
    """Which of PARTS are applied."""
    processes: int = 256
    """Of this user, threads counted; the kernel does not hold root to it."""
    open_files: int = 1024
    gpu: bool = False
    """Whether CUDA must run: it names its threads, for which it writes below /proc, and listens
    at a Unix socket (FOR_A_GPU)."""

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> Rules:
        found = json.loads(text)
        for name in ("readable", "writable", "parts"):
            found[name] = tuple(found[name])
        return Rules(**found)


# -- prctl ---------------------------------------------------------------------------------------

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.syscall.restype = ctypes.c_long
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2


def _called(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def no_new_privileges() -> None:
    _called(_LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no new privileges")


def limit_resources(rules: Rules) -> None:
    import resource

    for name, value in (
        (resource.RLIMIT_NOFILE, rules.open_files),
        (resource.RLIMIT_NPROC, rules.processes),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(name)
        ceiling = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(name, (ceiling, ceiling))


# -- landlock ------------------------------------------------------------------------------------

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # the same on every architecture
VERSION_FLAG, PATH_BENEATH = 1, 1
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
REFER, TRUNCATE, IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
EVERY_FILE_RIGHT = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
NET = 0b11  # bind and connect of TCP
SCOPES = 0b11  # abstract Unix sockets, and signals, of processes outside
OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
"""The rights that a file can have; the others are of folders."""


def landlock_version() -> int:
    """0 where the kernel has none, or has it turned off."""
    return max(0, int(_LIBC.syscall(CREATE_RULESET, None, ctypes.c_size_t(0), VERSION_FLAG)))


def landlock(rules: Rules) -> None:
    version = landlock_version()
    if not version:
        raise OSError(errno.ENOSYS, "landlock: this kernel has none")
    handled = EVERY_FILE_RIGHT[max(v for v in EVERY_FILE_RIGHT if v <= version)]
    fields = [handled] + [NET] * (version >= 4) + [SCOPES] * (version >= 6)
    attributes = struct.pack(f"={len(fields)}Q", *fields)
    ruleset = _called(
        _LIBC.syscall(CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0), "landlock"
    )
    reads = EXECUTE | READ_FILE | READ_DIR
    for paths, rights in ((rules.readable, reads), (rules.writable, handled)):
        for path in paths:
            _allow(ruleset, path, rights & handled)
    if rules.gpu:  # a thread's name is written with O_TRUNC, to which TRUNCATE says yes or no
        _allow(ruleset, "/proc", (WRITE_FILE | TRUNCATE) & handled)
    _called(_LIBC.syscall(RESTRICT_SELF, ruleset, 0), "landlock")
    os.close(ruleset)


def write_own_threads_only(rules: Rules) -> None:
    """Of what lies below /proc, write from now on only what belongs to this process's threads.

    A rule holds for a folder that exists, and the folder of a process is made with it: so the fork
    that grades takes this upon itself, and the rules before it must allow all of /proc (Rules.gpu).
    To move a file to another folder is refused by any rules that do not allow it (REFER), and
    Triton's cache does that.
    """
    handled = WRITE_FILE | (REFER if landlock_version() >= 2 else 0)
    attributes = struct.pack("=Q", handled)
    ruleset = _called(
        _LIBC.syscall(CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0), "landlock"
    )
    for path in rules.writable:
        _allow(ruleset, path, handled)
    _allow(ruleset, "/proc/self/task", WRITE_FILE)
    _called(_LIBC.syscall(RESTRICT_SELF, ruleset, 0), "landlock")
    os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    if not os.path.isdir(path):
        rights &= OF_FILES
    beneath = struct.pack("=Qi", rights, descriptor)
    _called(_LIBC.syscall(ADD_RULE, ruleset, PATH_BENEATH, beneath, 0), f"landlock of {path}")
    os.close(descriptor)


# -- seccomp -------------------------------------------------------------------------------------

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
REFUSED = {  # name: (x86_64, aarch64)
    "socket": (41, 198),
    "connect": (42, 203),
    "bind": (49, 200),
    "listen": (50, 201),
    "accept": (43, 202),
    "accept4": (288, 242),
    "sendto": (44, 206),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "unshare": (272, 97),
    "setns": (308, 268),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "io_uring_setup": (425, 425),
    "userfaultfd": (323, 282),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "open_by_handle_at": (304, 265),
    "kexec_load": (246, 104),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "reboot": (169, 142),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "sethostname": (170, 161),
    "quotactl": (179, 60),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
}
"""System calls that answer EPERM: networks, other processes' memory, the machine's configuration. A
socketpair is not among them: pools of processes talk by it."""
FOR_A_GPU = ("bind", "listen", "accept", "accept4")
"""What CUDA calls besides while it starts: it listens at a Unix socket for other processes that
want to share its memory. Nothing else can be reached by one: connect stays refused."""
LOAD, AND, JUMP_IF_EQUAL, JUMP_IF_AT_LEAST, RETURN = 0x20, 0x54, 0x15, 0x35, 0x06
ALLOW, KILL, REFUSE = 0x7FFF0000, 0x80000000, 0x00050000 | errno.EPERM
X32 = 0x40000000
"""Added to a number it means another table on x86_64, past all that is compared here."""
NUMBER, ARCHITECTURE, FAMILY, TYPE = 0, 4, 16, 24
"""Where seccomp_data has them; the last two are a socket's, in the lower half of an argument."""
AF_UNIX, KIND_OF_TYPE, SOCK_STREAM, SOCK_SEQPACKET = 1, 0xF, 1, 5


def seccomp_program(machine: str, gpu: bool = False) -> bytes:
    """The filter: another architecture's calls end the process, those of REFUSED fail. For a GPU
    but for FOR_A_GPU, and for Unix sockets that need a connection."""
    column = list(ARCHITECTURES).index(machine)
    refused = {
        name: pair[column] for name, pair in REFUSED.items() if not (gpu and name in FOR_A_GPU)
    }
    ask = [(LOAD, 0, 0, NUMBER)]
    if gpu:
        ask += [
            (JUMP_IF_EQUAL, 0, 7, refused.pop("socket")),
            (LOAD, 0, 0, FAMILY),
            (JUMP_IF_EQUAL, 0, 4, AF_UNIX),
            (LOAD, 0, 0, TYPE),
            (AND, 0, 0, KIND_OF_TYPE),
            (JUMP_IF_EQUAL, 2, 0, SOCK_STREAM),
            (JUMP_IF_EQUAL, 1, 0, SOCK_SEQPACKET),
            (RETURN, 0, 0, REFUSE),
        ]
        ask.append((LOAD, 0, 0, NUMBER))  # a socket that is allowed is not among the refused calls
    lines = [
        (LOAD, 0, 0, ARCHITECTURE),
        (JUMP_IF_EQUAL, 1, 0, ARCHITECTURES[machine]),
        (RETURN, 0, 0, KILL),
        *ask,
        (JUMP_IF_AT_LEAST, len(refused) + 1, 0, X32),
    ]
    for left, number in zip(range(len(refused), 0, -1), refused.values(), strict=True):
        lines.append((JUMP_IF_EQUAL, left, 0, number))
    lines += [(RETURN, 0, 0, ALLOW), (RETURN, 0, 0, REFUSE)]
    return b"".join(struct.pack("=HBBI", *line) for line in lines)


def seccomp(rules: Rules) -> None:
    machine = platform.machine()
    if machine not in ARCHITECTURES:
        raise OSError(errno.ENOSYS, f"seccomp: no table of system calls for {machine}")
    program = seccomp_program(machine, rules.gpu)
    buffer = ctypes.create_string_buffer(program, len(program))
    count = len(program) // 8
    header = struct.pack("HxxxxxxP", count, ctypes.addressof(buffer))
    _called(_LIBC.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, header, 0, 0), "seccomp")


PARTS = {
    "rlimits": limit_resources,
    "no new privileges": lambda rules: no_new_privileges(),
    "landlock": landlock,
    "seccomp": seccomp,
}
"""In this order: the last two need the second."""


NARROWER = "HARNESS_JAILED_GPU"
"""In the environment: the rules, of which the fork that grades must narrow the one for /proc."""


def enter(rules: Rules) -> None:
    """Give up, in this process, what the rules do not keep. OSError names the part that fails."""
    for name, apply in PARTS.items():
        if name in rules.parts:
            apply(rules)


if __name__ == "__main__":
    rules = Rules.from_json(sys.argv[1])
    enter(rules)
    if rules.gpu and "landlock" in rules.parts:
        os.environ[NARROWER] = sys.argv[1]
    command = sys.argv[2:]
    os.execv(command[0], command)
