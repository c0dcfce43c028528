"""What code that nobody has read is refused beside, in the process that grades it (``make grade``).

Python tells a hook of what reaches around a test (sys.addaudithook): frames, tracing, the
collector's objects, code in another file's name. Each is refused where the answer does it, and
allowed to the libraries that it calls. Threads and processes are refused where a guard watches the
answer's operators (harness.grading.guard), since it would not see what they do. What gives the
process's memory away without a word (ctypes) is looked for in the answer's text.

It stops who does not write to the process's memory (docs/threat-model.md).
"""

from __future__ import annotations

import _thread
import ast
import os
import re
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from harness.curriculum import ROOT
from harness.grading import guard
from harness.grading.guard import Refused

VARIABLE = "HARNESS_UNREAD"
"""Set in the environment of a run of code that nobody has read (harness.run.sandbox)."""

_STACK = "looks at the stack of who calls it"
_OBJECTS = "looks through the process's objects"
_TRACES = "traces what grades it"
_MEMORY = "reaches into the process's memory"
_FORGES = "gives its code another file's name"
_STARTS = "lets another process or thread compute, where its operators are watched"
_WATCHED = {
    "sys._getframe": _STACK,
    "sys._getframemodulename": _STACK,
    "sys._current_frames": _STACK,
    "sys._current_exceptions": _STACK,
    "gc.get_objects": _OBJECTS,
    "gc.get_referrers": _OBJECTS,
    "gc.get_referents": _OBJECTS,
    "sys.settrace": _TRACES,
    "sys.setprofile": _TRACES,
    "sys.monitoring.register_callback": _TRACES,
    "sys.addaudithook": _TRACES,
    "ctypes.dlopen": _MEMORY,
    "ctypes.dlsym": _MEMORY,
    "ctypes.cdata": _MEMORY,
    "ctypes.string_at": _MEMORY,
    "ctypes.wstring_at": _MEMORY,
}
_FRAMES = frozenset(("tb_frame", "gi_frame", "cr_frame", "ag_frame"))
_STARTERS = frozenset(
    "os.fork os.forkpty os.posix_spawn os.spawn os.exec os.system subprocess.Popen".split()
)
_MEMORY_FILE = re.compile(r"(.*/)?mem")
"""/proc/…/mem, by whatever name of its folder."""
_SHOW_FRAMES = (
    "inspect.py", "traceback.py", "logging/__init__.py", "threading.py", "_pytest/_code/code.py",
)  # fmt: skip
"""Files that look at frames, or trace, for whoever calls them."""
MODULES = frozenset(("ctypes", "_ctypes", "cffi", "_testcapi", "_xxsubinterpreters"))
LIBRARIES = frozenset("torch scipy jax tensorflow sklearn transformers liger_kernel".split())
"""What has the answers of whole days; where it is the day's own subject, its reference names it."""
_PYTHON_VERSIONS = ("torch._refs", "torch._decomp", "torch._prims")
SWITCHES = frozenset(
    "_disable_current_modes _DisableTorchDispatch DisableTorchFunction _DisableFuncTorch "
    "DisableTorchFunctionSubclass _pop_torch_dispatch_stack _pop_torch_function_stack _pop_mode "
    "_ExcludeDispatchKeyGuard _ForceDispatchKeyGuard _IncludeDispatchKeyGuard redispatch _op_dk "
    "_PreserveDispatchKeyGuard _AutoDispatchBelowAutograd _RestorePythonTLSSnapshot".split()
)
"""Names by which torch's modes are turned off, or operators called past them."""
_TESTS = re.compile(r"\btest_day\d|^sys\.modules$")


def is_on() -> bool:
    return bool(_installed) or bool(os.environ.get(VARIABLE))


def reaches_around(source: str, reference: str) -> str:
    """What in the text of an answer reaches around the run, or ""; what its reference names too is
    the day's subject."""
    try:
        known, used = _names(reference), _names(source)
    except (SyntaxError, ValueError):
        return ""
    for name, line in sorted(used.items(), key=lambda item: item[1]):
        library = name.split(".")[0]
        if name in known:
            continue
        modules = library in MODULES and library not in known
        if name in SWITCHES or modules or _TESTS.search(name):
            return f"uses `{name}` in line {line}, with which one gets around what grades it"
        answers = library in LIBRARIES and library not in known
        if answers or name.startswith(_PYTHON_VERSIONS):
            return f"takes `{name}` in line {line}, a library in which the answers are"
    return ""


def _names(source: str) -> dict[str, int]:
    """Modules that are imported, attributes, names and texts, each with its first line."""
    found: dict[str, int] = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(alias.name for alias in node.names)]
        elif isinstance(node, ast.Attribute):
            whole = f"{node.value.id}.{node.attr}" if isinstance(node.value, ast.Name) else ""
            names = [node.attr, whole]
        elif isinstance(node, ast.Name):
            names = [node.id]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names = [node.value]
        else:
            continue
        for name in names:
            found.setdefault(name, getattr(node, "lineno", 0))
    return found


def install(track: str) -> None:
    """Once and for good in this process, before an answer of the track is imported."""
    if not _installed:
        _installed.append(_Watch())
        if track != "autodiff":
            send_tensors_whole()


def send_tensors_whole() -> None:
    """Let processes hand tensors to each other as bytes. torch hands over open files through a
    socket, which the sandbox has not; a DataLoader would wait for them for ever."""
    import torch
    from torch.multiprocessing import reductions

    reductions.reduction.register(torch.UntypedStorage, _bytes_of)


def _bytes_of(storage: Any) -> tuple[Callable[[bytes], Any], tuple[bytes]]:
    import torch

    return _storage_of, (torch.empty(0, dtype=torch.uint8).set_(storage).numpy().tobytes(),)


def _storage_of(data: bytes) -> Any:
    import torch

    if not data:
        return torch.UntypedStorage(0)
    return torch.frombuffer(bytearray(data), dtype=torch.uint8).untyped_storage()


def only_the_harness() -> bool:
    """Whether the harness called what calls this, and no answer is on the way to it."""
    if not _installed or threading.current_thread() is not threading.main_thread():
        return not _installed
    return _installed[0].nobody_else(sys._getframe(2))


_installed: list[_Watch] = []


def places() -> tuple[str, tuple[str, ...]]:
    """Where the files are of what tells results, and those of all that is not the answer."""
    found = (sys.prefix, sys.base_prefix, sys.exec_prefix, os.path.dirname(os.__file__), str(ROOT))
    return (
        str(ROOT / "harness" / "grading") + os.sep,
        (*(place + os.sep for place in found), "<frozen"),
    )


class _Watch:
    def __init__(self) -> None:
        library = os.path.dirname(os.__file__)
        self.library = library + os.sep
        self.packages = os.path.join(library, "site-packages") + os.sep
        self.own, self.trusted = places()
        self.asking: set[int] = set()
        for module, name in ((_thread, "start_new_thread"), (threading, "_start_new_thread"),
                             (_thread, "start_joinable_thread"),
                             (threading, "_start_joinable_thread")):  # fmt: skip
            if hasattr(module, name):
                setattr(module, name, self._watched_start(getattr(module, name)))
        sys.addaudithook(self.heard)

    def nobody_else(self, frame: FrameType | None) -> bool:
        if frame is None or not frame.f_code.co_filename.startswith(self.own):
            return False
        while frame is not None:
            file = frame.f_code.co_filename
            if not (_made_up(file) or file.startswith(self.trusted)):
                return False
            frame = frame.f_back
        return True

    def heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        reason = _WATCHED.get(event, "")
        if event == "object.__getattr__":
            reason = _STACK if arguments[1] in _FRAMES else ""
        elif event == "object.__setattr__":
            reason = _FORGES if arguments[1] == "__code__" else ""
        elif event in ("compile", "code.__new__"):
            name = arguments[1]
            reason = _FORGES if isinstance(name, str) and name.startswith(self.trusted) else ""
        elif event == "marshal.loads":
            reason = _FORGES
        elif event == "open" and isinstance(arguments[0], (str, bytes)):
            if _MEMORY_FILE.fullmatch(os.fsdecode(arguments[0])):
                raise Refused(say(_MEMORY))
        elif event in _STARTERS and guard.watching() and self._by_the_answer(self._beyond_python):
            raise Refused(say(_STARTS))
        if reason and self._by_the_answer(self._at_once):
            raise Refused(say(reason))

    def _watched_start(self, start: Callable[..., Any]) -> Callable[..., Any]:
        def start_new_thread(*arguments: Any, **options: Any) -> Any:
            if guard.watching() and self._by_the_answer(self._beyond_python):
                raise Refused(say(_STARTS))
            return start(*arguments, **options)

        return start_new_thread

    def _by_the_answer(self, whose: Callable[[FrameType | None], str]) -> bool:
        me = threading.get_ident()
        if me in self.asking:  # to ask for the frame is an event, too
            return False
        self.asking.add(me)
        try:
            file = whose(sys._getframe(2))
        finally:
            self.asking.discard(me)
        return bool(file) and not file.startswith(self.trusted)

    def _at_once(self, frame: FrameType | None) -> str:
        """The file of the code that did it; through a door of Python's own, of who used it."""
        for _ in range(2):
            while frame is not None and _made_up(frame.f_code.co_filename):
                frame = frame.f_back
            if frame is None:
                return ""
            file = frame.f_code.co_filename
            if not file.endswith(_SHOW_FRAMES):
                return file
            frame = frame.f_back
        return file

    def _beyond_python(self, frame: FrameType | None) -> str:
        """The file of the innermost code that is not Python's own library."""
        while frame is not None:
            file = frame.f_code.co_filename
            own = file.startswith(self.library) and not file.startswith(self.packages)
            if not (own or _made_up(file) or file.startswith("<frozen") or file == __file__):
                return file
            frame = frame.f_back
        return ""


def _made_up(file: str) -> bool:
    """Code that was made from a text: whose it is, who runs it says."""
    return file.startswith("<") and not file.startswith("<frozen")


def say(what: str) -> str:
    return f"the answer {what}: of code that nobody has read, that is refused."


def text_of(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""
