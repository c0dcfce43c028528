"""What answers do to who grades them, without meaning to pass: each a body of ``double(x)``.

``{seconds}``: how long a process sleeps that is left behind, by which it is known again.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    body: str
    """The lines of ``double(x)``; at the import with ``whole``, where they stand alone."""
    whole: bool = False
    slow: bool = False
    """It is stopped by a limit, which takes its seconds."""
    alone: bool = False
    """The day's other exercises are lost with it, and that is said of each."""


LOOPS = {
    "a loop without end": "while True: pass",
    "a loop in C without end": "import itertools; sum(itertools.repeat(0))",
    "a loop in a regular expression": "import re; re.match('(a+)+b', 'a' * 60)",
    "a loop that catches what stops it": (
        "while True:\n    try:\n        while True: pass\n    except BaseException: pass"
    ),
    "a loop with all signals ignored": (
        "import signal\n"
        "for n in (signal.SIGALRM, signal.SIGPROF, signal.SIGUSR1, signal.SIGTERM):\n"
        "    signal.signal(n, signal.SIG_IGN)\n"
        "while True: pass"
    ),
    "a loop that prints": "while True: print('x' * 100_000)",
    "a loop in a child": (
        "import subprocess, sys\nsubprocess.run([sys.executable, '-c', 'while 1: pass'])"
    ),
    "a loop at the end of the process": (
        "import atexit\n\ndef forever():\n    while True: pass\natexit.register(forever)\nreturn x"
    ),
    "a wait without end": "import threading; threading.Event().wait()",
    "a lock that is taken twice": (
        "import threading; lock = threading.Lock(); lock.acquire(); lock.acquire()"
    ),
    "a stop of itself": "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)",
    "a thread without end": (
        "import threading\n\ndef forever():\n    while True: pass\n"
        "threading.Thread(target=forever).start()\nreturn x"
    ),
    "memory without end": "kept = []\nwhile True: kept.append(bytearray(1 << 20))",
    "numbers that grow without end": "n = 3\nwhile True: n *= n",
}
DEATHS = {
    "os._exit(0)": "import os; os._exit(0)",
    "os._exit(1)": "import os; os._exit(1)",
    "sys.exit()": "import sys; sys.exit()",
    "os.abort()": "import os; os.abort()",
    "a segmentation fault": "import ctypes; ctypes.string_at(0)",
    "SIGKILL": "import os; os.kill(os.getpid(), 9)",
    "SIGTERM": "import os; os.kill(os.getpid(), 15)",
    "SIGINT": "import os, time; os.kill(os.getpid(), 2); time.sleep(1)",
    "SIGHUP to its group": "import os; os.killpg(0, 1)",
    "SIGKILL to its group": "import os; os.killpg(0, 9)",
    "SIGKILL to its parent": "import os, time; os.kill(os.getppid(), 9); time.sleep(5)",
    "SIGTERM to its parent": "import os, time; os.kill(os.getppid(), 15); time.sleep(5)",
    "another program in its place": "import os; os.execv('/bin/true', ['true'])",
    "recursion": "return double(x)",
    "recursion that the interpreter does not count": (
        "import sys\nsys.setrecursionlimit(10**9)\ndef deeper(n): return max(n, key=deeper)\n"
        "class Deep:\n    def __eq__(self, other): return Deep() == Deep()\nreturn Deep() == Deep()"
    ),
}
PROCESSES = {
    "forks without end": (
        "import os\nfor _ in range(6): os.fork()\nimport time; time.sleep(0.2); os._exit(0)"
    ),
    "a child that is left": "import subprocess; subprocess.Popen(['sleep', '{seconds}'])\nreturn x",
    "a child in a session of its own": (
        "import subprocess\n"
        "subprocess.Popen(['sleep', '{seconds}'], start_new_session=True)\nreturn x"
    ),
    "a daemon": (
        "import os\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n"
        "        os.execvp('sleep', ['sleep', '{seconds}'])\n    os._exit(0)\nreturn x"
    ),
    "a child that is left, and an end": (
        "import os, subprocess\n"
        "subprocess.Popen(['sleep', '{seconds}'], start_new_session=True)\nos._exit(0)"
    ),
    "a fork that comes back": "import os; os.fork(); return x",
    "two hundred threads": (
        "import threading, time\n"
        "for _ in range(200): threading.Thread(target=time.sleep, args=(0.2,)).start()\nreturn x"
    ),
}
FILES = {
    "all descriptors closed": "import os; os.closerange(3, 256); return x",
    "the output closed": "import os; os.close(1); os.close(2); print('x'); return x",
    "sys.stdout taken away": "import sys; sys.stdout = sys.stderr = None; print('x'); return x",
    "a line without end into every pipe": (
        "import os\nfor n in range(3, 256):\n    try:\n"
        "        for _ in range(400): os.write(n, b'x' * 65536)\n    except OSError: pass\nreturn x"
    ),
    "nonsense into every pipe": (
        "import os\nfor n in range(3, 256):\n    try: os.write(n, b'{\"kind\": 1}\\n' * 9)\n"
        "    except OSError: pass\nreturn x"
    ),
    "a disk that it fills": (
        "import tempfile\nwith tempfile.TemporaryFile() as file:\n"
        "    while True: file.write(b'x' * (1 << 24))"
    ),
    "half a gigabyte printed": (
        "import os\nfor _ in range(512): os.write(1, b'x' * (1 << 20))\nreturn x"
    ),
    "the working folder gone": (
        "import os, tempfile\nfolder = tempfile.mkdtemp(); os.chdir(folder); os.rmdir(folder)\n"
        "return x"
    ),
    "its own file gone": "import os; os.remove(__file__); return x",
    "a question": "return float(input('twice what? '))",
    "a breakpoint": "breakpoint(); return x",
}
OBJECTS = {
    "an error without words": (
        "class Mute(Exception):\n    def __str__(self): raise ValueError('no')\n"
        "    __repr__ = __str__\nraise Mute"
    ),
    "an error of ten megabytes": "raise ValueError('x' * 10**7)",
    "an error that is none": "class Odd(BaseException): pass\nraise Odd('odd')",
    "KeyboardInterrupt": "raise KeyboardInterrupt",
    "GeneratorExit": "raise GeneratorExit",
    "pytest.exit()": "import pytest; pytest.exit('enough')",
    "a thousand causes": (
        "error = None\nfor n in range(1000):\n    new = ValueError(n); new.__cause__ = error; "
        "error = new\nraise error"
    ),
    "a result that cannot be shown": (
        "class Shy:\n    def __repr__(self): raise ValueError('no')\n"
        "    def __array__(self, *a, **k): raise ValueError('no')\nreturn Shy()"
    ),
    "a result that asks for the process's end": (
        "import os\nclass End:\n    def __array__(self, *a, **k): os._exit(0)\n"
        "    def __getattr__(self, name): os._exit(0)\nreturn End()"
    ),
    "a result without end": "import itertools; return itertools.repeat(1.0)",
    "a generator": "yield x",
    "nothing": "return None",
    "a terabyte": "import numpy as np; return np.ones(1 << 40)",
    "no modules left": "import sys; sys.modules.clear(); return x",
    "no paths left": "import sys; sys.path.clear(); sys.meta_path.clear(); return x",
    "the environment emptied": "import os; os.environ.clear(); return x",
    "the clock replaced": "import time; time.monotonic = time.perf_counter = lambda: 0.0; return x",
    "warnings without number": (
        "import warnings\nfor n in range(20_000): warnings.warn(f'no {n}')\nreturn x"
    ),
}
AT_IMPORT = {
    "no Python": "def double(x:\n",
    "a byte 0": "x = 1\0\n",
    "not UTF-8": "# \udcff\n\ndef double(x): return x\n",
    "a tab among blanks": "def double(x):\n    if x:\n\treturn x\n",
    "brackets without end": "(" * 300,
    "an end": "import sys\nsys.exit(0)\n",
    "a sudden end": "import os\nos._exit(0)\n",
    "a loop at the import": "while True: pass\n",
    "an error of its own": "raise RuntimeError('at import')\n",
    "another module's absence": "import no_such_module\n",
    "nothing at all": "",
    "a name with no function": "double = 3\n",
    "a KeyboardInterrupt at the import": "raise KeyboardInterrupt\n",
    "an exit of pytest at the import": "import pytest\npytest.exit('enough')\n",
    "an error without words at the import": (
        "class Mute(Exception):\n    def __str__(self): raise ValueError('no')\nraise Mute\n"
    ),
    "a skip": "import pytest\npytest.skip('later', allow_module_level=True)\n",
}
LOSES_THE_OTHERS = {
    "no descriptor left": "kept = []\nwhile True: kept.append(open('/dev/null'))",
}
FAULTS = {
    **{name: Fault(body, slow=True) for name, body in LOOPS.items()},
    **{name: Fault(body) for part in (DEATHS, PROCESSES, FILES, OBJECTS)
       for name, body in part.items()},
    **{name: Fault(body, alone=True) for name, body in LOSES_THE_OTHERS.items()},
    **{name: Fault(body, whole=True, slow="loop" in name) for name, body in AT_IMPORT.items()},
}  # fmt: skip
