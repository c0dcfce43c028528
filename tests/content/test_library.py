"""The wheel of the Autodiff track: pip builds and installs it, a program that knows nothing of this
project runs on it, and mypy accepts that program."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from harness.curriculum import ROOT
from harness.grading import finder
from harness.imports import fresh_spec
from harness.protocol import SOLUTION

TRACK = ROOT / "tracks" / "autodiff"
INTERNAL = {"Context", "Engine", "edge", "hooks", "index", "node", "parents", "version"}
"""Attributes of a Tensor that belong to the engine, not to its users."""
PROGRAM = """
import sys
from pathlib import Path

import numpy as np

from autodiff_from_scratch import Tensor, data, functional, manual_seed, nn, no_grad, optim


class Net(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.head = nn.Linear(width * 4, 2)

    def forward(self, x: Tensor) -> Tensor:
        hidden = functional.max_pool2d(self.norm(self.conv(x)).relu(), 2)
        scores: Tensor = self.head(hidden.reshape(len(x), -1))
        return scores


def accuracy(scores: Tensor, target: Tensor) -> float:
    return float((scores.argmax(-1) == target).numpy().mean())


def main(path: Path) -> None:
    manual_seed(0)
    rng = np.random.default_rng(0)
    images = rng.standard_normal((64, 1, 4, 4)).astype(np.float32)
    labels = (images[:, 0, :2].sum((1, 2)) > images[:, 0, 2:].sum((1, 2))).astype(np.int64)
    dataset = data.TensorDataset(Tensor(images), Tensor(labels))
    model = Net(4)
    optimizer = optim.AdamW(model.parameters(), 1e-2, weight_decay=0.01)
    schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, 40)
    for _ in range(40):
        for x, y in data.DataLoader(dataset, 16, shuffle=True, seed=1):
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(x), y)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        schedule.step()
    weight = model.conv.weight.grad
    assert weight is not None and weight.shape == (4, 1, 3, 3)
    data.save(model.state_dict(), path)
    again = Net(4)
    again.load_state_dict(data.load(path))
    again.eval()
    with no_grad():
        scores: Tensor = again(Tensor(images))
    largest = scores.max(1)
    assert largest.values.shape == (64,) and scores.max().ndim == 0
    assert accuracy(scores, Tensor(labels)) > 0.9
    print(Tensor([1.0, 2.0], requires_grad=True) * 2 - 1)
    print([name for name in ("harness", "torch", "tracks") if name in sys.modules])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
"""
WRONG = """
from autodiff_from_scratch import Tensor, nn, optim

nn.Linear("3", 2)
Tensor([1.0]).softmx(0)
optim.Adam(nn.Linear(3, 2).parameters()).stepp()
"""


@pytest.fixture
def build() -> ModuleType:
    """The build backend, as pip imports it: from its file, beside no package."""
    spec = fresh_spec("build", TRACK / "library" / "build.py")
    module = importlib.util.module_from_spec(spec)
    assert spec.loader
    spec.loader.exec_module(module)
    return module


def ran(folder: Path, *command: str | Path) -> subprocess.CompletedProcess[str]:
    """In a folder outside the project, with nothing in the environment that leads back to it."""
    kept = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "TMPDIR", "LANG")}
    kept |= {"IMPL": SOLUTION, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    return subprocess.run(
        list(map(str, command)), cwd=folder, env=kept, capture_output=True, text=True, timeout=300
    )


def test_a_program_runs_on_the_installed_wheel_and_mypy_accepts_it(tmp_path: Path) -> None:
    # Looked for in this process, it would part setuptools from distutils; torch's samples need both
    if ran(tmp_path, sys.executable, "-m", "pip", "--version").returncode:
        pytest.skip("pip is not installed")
    before = sorted(TRACK.rglob("*"))
    venv.create(tmp_path / "env", symlinks=True)
    python = tmp_path / "env" / "bin" / "python"
    packages = sysconfig.get_path("purelib", "venv", {"base": str(tmp_path / "env")})
    # What the wheel requires comes from here; what is in .pth files of that folder does not.
    Path(packages, "requirements.pth").write_text(str(Path(np.__file__).parents[1]))
    pip = (sys.executable, "-m", "pip", "--isolated")
    offline = ("--quiet", "--no-index", "--no-deps")
    made = ran(tmp_path, *pip, "wheel", *offline, "--no-cache-dir", "-w", tmp_path, TRACK)
    assert made.returncode == 0, made.stdout + made.stderr
    (wheel,) = tmp_path.glob("*.whl")
    installed = ran(tmp_path, *pip, "install", *offline, "--target", packages, wheel)
    assert installed.returncode == 0, installed.stdout + installed.stderr
    left = [p for p in sorted(TRACK.rglob("*")) if p not in before and "__pycache__" not in p.parts]
    assert not left, "the build leaves files in the tree"

    (tmp_path / "program.py").write_text(PROGRAM)
    done = ran(tmp_path, python, "program.py", tmp_path / "model.safetensors")
    assert done.stdout.splitlines() == ["tensor([1., 3.], op=sub)", "[]"], done.stdout + done.stderr

    mypy = (sys.executable, "-m", "mypy", "--strict", "--cache-dir", tmp_path / "cache")
    checked = ran(tmp_path, *mypy, "--python-executable", python, "program.py")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    (tmp_path / "wrong.py").write_text(WRONG)
    checked = ran(tmp_path, *mypy, "--python-executable", python, "wrong.py")
    for line, kind in ((4, "arg-type"), (5, "attr-defined"), (6, "attr-defined")):
        assert f"wrong.py:{line}: error" in checked.stdout and f"[{kind}]" in checked.stdout


def test_the_types_name_what_a_tensor_has() -> None:
    """The methods of a Tensor are registered while the library is imported, so their types are
    written down apart from them, and have to be the same ones."""
    with finder.use(finder.Choice(impl=SOLUTION)):
        tensor = importlib.import_module("tracks.autodiff.day35").Tensor
        there = {n for n in dir(tensor) if not n.startswith("_")} - INTERNAL
    tree = ast.parse((TRACK / "library" / "day28.pyi").read_text("utf-8"))
    (typed,) = (n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "Tensor")
    names = {n.name for n in typed.body if isinstance(n, ast.FunctionDef)}
    names |= {n.target.id for n in typed.body if isinstance(n, ast.AnnAssign)}
    assert {n for n in names if not n.startswith("_")} == there
    own = {n for kind in tensor.__mro__[:-1] for n in vars(kind) if n.startswith("__")}
    assert {n for n in names if n.startswith("__")} <= own | {"__init__"}


def test_a_day_that_is_not_finished_is_its_reference(
    build: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    track = tmp_path / "tracks" / "autodiff"
    shutil.copytree(TRACK, track, ignore=shutil.ignore_patterns("__pycache__", "lessons", "tests"))
    (tmp_path / "harness").symlink_to(ROOT / "harness")
    monkeypatch.setattr(build, "TRACK", track)
    for solution in (track / "solutions").glob("day*.py"):
        shutil.copy(solution, track)
    mine = (track / "day33.py").read_text("utf-8").replace("### ", "# ") + "MINE = True\n"
    (track / "day33.py").write_text(mine.replace('\nif __name__ == "__main__":', "\nif False:"))
    sources, references = build.collected(solution=False)
    assert references == [] and "MINE" in sources["day33"]
    assert "def test_" not in sources["day33"]
    assert not any("tracks.autodiff" in text for text in sources.values())

    stub = mine.replace("    return Largest.apply(x, window=window)",
                        '    raise NotImplementedError("max_pool2d")')  # fmt: skip
    (track / "day33.py").write_text(stub)
    (track / "day31.py").write_text("def broken(:")
    sources, references = build.collected(solution=False)
    assert references == ["day31", "day33"] and "MINE" not in sources["day33"]
    summary = build.summary_of(references, [name for name in sources if name.startswith("day")])
    assert summary.endswith("your days, and the references of 31, 33")
    assert len(build.collected(solution=True)[1]) == len([n for n in sources if n[:3] == "day"])
