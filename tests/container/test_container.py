"""The image: its variants, the settings of its build, and what its files must agree on."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from harness.cli import doctor
from harness.verify.checks import CHECKS
from tests.content.test_days import DAYS, proofs

ROOT = Path(__file__).resolve().parents[2]
SHELL = ["bash", "-euo", "pipefail", "-c"]


def jsonc(path: Path) -> Any:
    """JSON with comments on lines of their own."""
    return json.loads(re.sub(r"(?m)^\s*//.*$", "", path.read_text(encoding="utf-8")))


def program(folder: Path, name: str, body: str) -> None:
    """A stand-in for a program, found first in ``folder``."""
    file = folder / name
    file.write_text(f"#!/bin/bash\n{body}\n", encoding="utf-8")
    file.chmod(0o755)


def run(folder: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command with the stand-ins of ``folder`` and the system's own programs, nothing else."""
    env = {"PATH": f"{folder}:/usr/bin:/bin", "HOME": str(folder), **environment}
    return subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    """A folder with a docker that answers and writes down what it was asked, and no GPU."""
    program(tmp_path, "docker", f'echo "$*" >> {tmp_path}/asked')
    program(tmp_path, "nvidia-smi", "exit 9")
    return tmp_path


def asked(folder: Path) -> list[str]:
    return (folder / "asked").read_text().splitlines()


DRIVERS = [("580.65.06", "cuda"), ("595.10", "cuda"), ("579.99", "cu126"), ("525.60.13", "cu126"),
           ("524.1", "cpu"), ("470.256.02", "cpu"), ("", "cpu"), ("[N/A]", "cpu")]  # fmt: skip


@pytest.mark.parametrize(("driver", "variant"), DRIVERS)
def test_the_scripts_and_doctor_choose_alike(tmp_path: Path, driver: str, variant: str) -> None:
    program(tmp_path, "nvidia-smi", f"echo '{driver}'" if driver else "exit 9")
    done = run(tmp_path, *SHELL, ". ci/container.lib.sh; machine_variant")
    assert (done.returncode, done.stdout.strip()) == (0, variant), done.stderr
    assert doctor.image_variant(driver) == variant


@pytest.mark.parametrize(
    ("driver", "torch", "words"),
    [
        ("580.65.06", "2.13.0", ""),
        ("550.54", "2.13.0", "VARIANT=cu126"),
        ("550.54", "2.13.0+cu126", ""),
        ("470.1", "2.13.0", "VARIANT=cpu"),
    ],
)
def test_doctor_names_the_variant(monkeypatch, driver: str, torch: str, words: str) -> None:
    class Nvml:
        def __enter__(self) -> Nvml:
            return self

        def __exit__(self, *_: object) -> None: ...

        def gpus(self) -> list[Any]:
            return [type("Gpu", (), {"name": "Card", "driver": driver})()]

    monkeypatch.setattr("harness.measure.nvml.open_nvml", Nvml)
    monkeypatch.setattr(doctor.importlib.metadata, "version", lambda _: torch)
    found = doctor._gpu()
    assert words in found.remedy and bool(words) == bool(found.remedy)
    assert not found.needed or not found.remedy


def test_a_build_passes_the_variants_base_and_index(engine: Path) -> None:
    assert run(engine, "bash", "ci/container.sh", "build", "cu126").returncode == 0
    (build,) = (line for line in asked(engine) if line.startswith("build "))
    assert "--tag mlsys-102:cu126" in build and "nvidia/cuda:12." in build
    assert "whl/cu126" in build
    assert run(engine, "bash", "ci/container.sh", "build").returncode == 0
    assert "--tag mlsys-102:cpu" in asked(engine)[-1] and "ubuntu:24.04" in asked(engine)[-1]


def test_an_unknown_variant_is_refused(engine: Path) -> None:
    done = run(engine, "bash", "ci/container.sh", "build", "cu99")
    assert done.returncode == 2 and "cuda, cu126 or cpu" in done.stderr


def test_a_shell_mounts_the_tree_and_asks_for_no_gpu_that_is_not_there(engine: Path) -> None:
    done = run(engine, "bash", "ci/container.sh", "run", "make", "triton", "DAY=1")
    assert done.returncode == 0, done.stderr
    line = asked(engine)[-1]
    assert line.startswith("run --rm") and line.endswith("mlsys-102:cpu make triton DAY=1")
    assert f"--volume {ROOT}:/workspaces/mlsys-102" in line and "--shm-size" in line
    assert "gpu" not in line.lower().replace(str(ROOT).lower(), "")


def test_a_shell_asks_for_the_gpus_where_they_are(engine: Path) -> None:
    program(engine, "nvidia-smi", "echo 580.65.06")
    assert run(engine, "bash", "ci/container.sh", "run").returncode == 0
    assert " --gpus all " in asked(engine)[-1] and asked(engine)[-1].endswith("mlsys-102:cuda bash")
    program(engine, "podman", f'echo "$*" >> {engine}/asked')
    run(engine, "bash", "ci/container.sh", "run", CONTAINER_ENGINE="podman")
    assert " --device nvidia.com/gpu=all " in asked(engine)[-1]


def test_an_engine_that_does_not_answer_is_said(engine: Path) -> None:
    program(engine, "docker", "exit 1")
    done = run(engine, "bash", "ci/container.sh", "run", CONTAINER_ENGINE="docker")
    assert done.returncode == 3 and "does not answer" in done.stderr


def test_the_proof_is_skipped_in_words_where_nothing_can_build(engine: Path) -> None:
    program(engine, "docker", "exit 1")
    program(engine, "id", "echo 1000")
    done = run(engine, "bash", "ci/image.sh", CONTAINER_ENGINE="docker")
    assert done.returncode == 0 and "skipped" in done.stdout


def test_the_machines_pip_settings_move_below_a_folder(tmp_path: Path) -> None:
    (tmp_path / "index" / "simple").mkdir(parents=True)
    (tmp_path / "wheels").mkdir()
    (tmp_path / "pip.conf").write_text(
        f"[global]\ntimeout = 7\nfind-links = {tmp_path}/wheels\n"
        f"extra-index-url = file://{tmp_path}/index/simple\n    https://example.org/simple\n"
    )
    clean = {k: v for k, v in os.environ.items() if not k.startswith("PIP_")}
    done = subprocess.run(
        [sys.executable, str(ROOT / "ci/pip_settings.py"), str(tmp_path / "made"), "/machine"],
        env={**clean, "PIP_CONFIG_FILE": str(tmp_path / "pip.conf"), "PIP_TIMEOUT": "9"},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    made = (tmp_path / "made").read_text()
    assert "timeout = 9" in made and "https://example.org/simple" in made
    assert f"find-links = /machine{tmp_path}/wheels" in made
    assert f"file:///machine{tmp_path}/index/simple" in made
    assert {f"{tmp_path}/index", f"{tmp_path}/wheels"} <= set(done.stdout.split())


def test_the_dev_containers_agree_with_the_dockerfile_and_the_variants() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    for file in (".devcontainer/devcontainer.json", ".devcontainer/codespaces/devcontainer.json"):
        settings = jsonc(ROOT / file)
        build = settings["build"]
        folder = (ROOT / file).parent
        assert (folder / build["dockerfile"]).resolve() == ROOT / "Dockerfile"
        assert (folder / build["context"]).resolve() == ROOT
        assert f"ARG USER_NAME={settings['remoteUser']}\n" in dockerfile
        assert all(f"ARG {name}" in dockerfile for name in build.get("args", {}))
        assert settings["postCreateCommand"].endswith("make doctor")
        assert "--shm-size" in settings["runArgs"][0]
        editor = settings["customizations"]["vscode"]["settings"]
        assert f"PYTHON={editor['python.defaultInterpreterPath']}" in dockerfile
        folder_wide = jsonc(ROOT / ".vscode/settings.json")
        assert "python.defaultInterpreterPath" not in folder_wide, (
            "it would win over the container's"
        )
    arguments = jsonc(ROOT / ".devcontainer/codespaces/devcontainer.json")["build"]["args"]
    asks = "variant_base cpu; variant_torch_index cpu; variant_base cuda"
    shown = subprocess.run(
        [*SHELL, f". ci/container.lib.sh; {asks}"], cwd=ROOT, capture_output=True, text=True,
    ).stdout.split()  # fmt: skip
    assert [arguments["BASE_IMAGE"], arguments["TORCH_INDEX"]] == shown[:2]
    assert f"ARG BASE_IMAGE={shown[2]}\n" in dockerfile


@pytest.mark.parametrize(
    "file", sorted((ROOT / ".github/workflows").glob("*.yml")), ids=lambda f: f.stem
)
def test_a_workflow_is_thin_pinned_and_asks_for_little(file: Path) -> None:
    text = file.read_text()
    for action in re.findall(r"uses: (\S+)", text):
        assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", action), f"{action}: not pinned to a commit"
    assert re.search(r"(?m)^permissions: \{\}$|^permissions:\n  contents: read$", text)
    assert "pull_request_target" not in text
    for command in re.findall(r"run: (.*)", text):
        assert "${{" not in command, "values come in by env, not by text"
    for script in re.findall(r"bash (ci/\S+\.sh)", text):
        assert (ROOT / script).exists()


def test_no_strangers_code_reaches_our_gpu_by_itself() -> None:
    text = (ROOT / ".github/workflows/gpu.yml").read_text()
    events = text.split("\non:")[1].split("\npermissions")[0]
    assert "pull_request" not in events and "workflow_run" not in events


def test_the_gpu_job_proves_each_exercise_of_each_day_once() -> None:
    found = Counter(proofs("cuda"))
    for day in DAYS:
        parts = [e for d, check, e in found if d == day and check == "reference"]
        assert parts in ([""], [e.name for e in day.exercises]), day.key
        for check in CHECKS:
            assert check == "reference" or (day, check, "") in found, f"{day.key} {check}"
    assert max(found.values()) == 1
    assert {(d, c) for d, c, _ in proofs("cuda")} == {(d, c) for d, c, _ in proofs("cpu")}


@pytest.mark.parametrize(
    ("timers", "verify", "compare", "last", "expected"),
    [
        (0, 0, 0, True, 0),
        (1, 0, 0, True, 1),
        (0, 1, 0, True, 1),
        (0, 0, 1, True, 1),
        (0, 0, 2, True, 0),
        (0, 0, 1, False, 0),
    ],
    ids=[
        "fine", "a timer fails", "a reference fails", "slower", "another card",
        "nothing to compare with",
    ],
)  # fmt: skip
def test_the_gpu_job_runs_all_and_fails_for_a_reason(
    tmp_path: Path, timers: int, verify: int, compare: int, last: bool, expected: int
) -> None:
    shutil.copytree(ROOT / "ci", tmp_path / "ci")
    (tmp_path / ".harness/gpu").mkdir(parents=True)
    if last:
        (tmp_path / ".harness/gpu/last.json").write_text("{}")
    body = (
        f'echo "$DEVICE $*" >> {tmp_path}/asked\n'
        f'case "$*" in *tests/content*) exit {verify};; *--compare*) exit {compare};;'
        f" *test_on_gpu.py*) exit {timers};; *_workers*) echo 3;;"
        " *--output*) touch .harness/gpu/bench.json;; esac"
    )
    program(tmp_path, "python", body)
    done = run(tmp_path, "bash", f"{tmp_path}/ci/gpu.sh", PYTHON=f"{tmp_path}/python")
    assert done.returncode == expected, done.stderr
    commands = asked(tmp_path)
    assert all(line.startswith("cuda ") for line in commands), "DEVICE=cuda for all of them"
    stages = [line.split(maxsplit=1)[1] for line in commands if " -c " not in line]
    assert stages[0] == "-m harness doctor"
    assert stages[1].startswith("-m pytest -q -n 3 "), "days by several workers"
    assert stages[1].endswith("tests/gpu tests/content/test_days.py")
    assert "tests/bench/test_on_gpu.py" in stages[2] and " -n " not in stages[2], "times alone"
    assert stages[3].startswith("-m harness bench ")
    assert len(stages) == (5 if last else 4)
    assert (tmp_path / ".harness/gpu/verify.txt").exists()
    assert "verify: " in (tmp_path / ".harness/gpu/times.txt").read_text()
