"""What the text of an answer that nobody has read gives away, and who may tell results.

What the hook refuses is in the gallery of cheats (tests/cheats), since nothing removes a hook.
"""

from __future__ import annotations

import pickle
import subprocess
import sys

import pytest

from harness.curriculum import ROOT
from harness.grading import unread
from harness.grading.unread import reaches_around

REFERENCE = "import threading\nimport numpy as np\n"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("import ctypes\n", "`ctypes` in line 1"),
        ("\nfrom ctypes import util\n", "`ctypes` in line 2"),
        ("import importlib\nx = importlib.import_module('_ctypes')\n", "`_ctypes` in line 2"),
        ("import torch\nwith torch._C._DisableTorchDispatch(): pass\n", "`torch` in line 1"),
        ("from torch._decomp import decomposition_table\n", "`torch._decomp`"),
        ("f = getattr(op, 'redispatch')\n", "`redispatch` in line 1"),
        ("import sys\nsys.modules['x']\n", "`sys.modules` in line 2"),
        ("from tracks.autodiff.tests import test_day01\n", "test_day01"),
        ("open('tests/test_day07.py')\n", "test_day07"),
    ],
)
def test_what_reaches_around(text: str, what: str) -> None:
    assert what in reaches_around(text, REFERENCE)


@pytest.mark.parametrize(
    "text",
    [
        "import threading\nimport math\nimport numpy as np\n",
        "def f(x):\n    '''Uses no ctypes, and no torch.'''\n    return x\n",
        "class M:\n    def walk(self): return self.modules()\n",
        "import os\nos.environ.get('HOME')\n",
        "def (:\n",
        "",
    ],
)
def test_what_does_not(text: str) -> None:
    assert reaches_around(text, REFERENCE) == ""


def test_the_days_own_subject_is_allowed() -> None:
    more = (
        "import torch\nimport torch.nn.functional as F\nx = torch.tensor(torch.special.i0(F.x))\n"
    )
    assert reaches_around(more, "import torch\nx = torch.empty(3)\n") == ""
    text = "import torch\nimport ctypes\n"
    assert reaches_around(text, "import torch\n") != ""
    assert reaches_around(text, "import torch\nimport ctypes\n") == ""


SCRIPT = """
import os, sys
from harness.grading import unread
from harness.grading.events import Events
from harness.protocol import Event

read, write = os.pipe()
events = Events(write, b"secret:")
unread.install("autodiff")
events.send(Event("passed", "from outside"))
code = "def speak(events, event): events.send(event)"
names = {}
exec(compile(code, unread.__file__, "exec"), names)
names["speak"](events, Event("passed", "from the harness"))
os.close(write)
print(os.read(read, 4096).decode())
"""
REPLACED = SCRIPT.replace(
    "os.close(write)",
    """
code = "def seal(events): events.seal()"
exec(compile(code, unread.__file__, "exec"), names)
names["seal"](events)
json.dumps = lambda *a, **k: "forged"
names["speak"](events, Event("passed", "forged"))
names["speak"](events, Event("passed", "forged"))
os.close(write)""",
).replace("import os, sys", "import json, os, sys")


def test_only_the_harness_tells_results() -> None:
    """A call from another file is not written; one from the harness's is, behind the secret."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=ROOT, capture_output=True, text=True, check=True
    )
    (line,) = done.stdout.strip().splitlines()
    assert line.startswith('secret:{"kind": "passed", "test": "from the harness"'), line


def test_who_replaces_what_tells_results_has_them_refused() -> None:
    done = subprocess.run(
        [sys.executable, "-c", REPLACED], cwd=ROOT, capture_output=True, text=True, check=True
    )
    told, refused = done.stdout.strip().splitlines()
    assert "from the harness" in told
    assert '"kind": "broken"' in refused and "the answer replaced what tells results" in refused


def test_tensors_travel_as_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a socket, which the sandbox has not: between processes nothing else is shared."""
    torch = pytest.importorskip("torch")
    from torch.multiprocessing import reductions

    table = dict(reductions.reduction.ForkingPickler._extra_reducers)
    try:
        unread.send_tensors_whole()
        monkeypatch.setattr("multiprocessing.reduction.DupFd", None)  # how files are handed over
        given = [torch.arange(6.0).view(2, 3).t(), torch.tensor(3), torch.empty(0, 2),
                 torch.ones(2, dtype=torch.bfloat16), torch.arange(4)[1:3]]  # fmt: skip
        came = pickle.loads(reductions.reduction.ForkingPickler.dumps(given))
        for there, here in zip(came, given, strict=True):
            assert torch.equal(there, here) and there.dtype == here.dtype
            assert there.stride() == here.stride()
    finally:
        reductions.reduction.ForkingPickler._extra_reducers.clear()
        reductions.reduction.ForkingPickler._extra_reducers.update(table)
