"""Bad input gets one clear message and the right exit code, at once and without torch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def harness(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    ours = ("IMPL", "EX", "SEED", "DEVICE", "DAY", "COLUMNS")
    env = {k: v for k, v in os.environ.items() if k not in ours}
    return subprocess.run(
        [sys.executable, "-m", "harness", *arguments],
        cwd=ROOT,
        env={**env, **settings},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["trition", "1"], "Did you mean 'triton'"),
        (["triton", "0"], "there is no day 0 in triton"),
        (["triton", "99"], "there is no day 99 in triton"),
        (["triton", "x"], "DAY=x is not a number"),
        (["triton", "1.5"], "DAY=1.5 is not a number"),
        (["triton", "13", "--ex", "softmx"], "did you mean softmax?"),
        (["triton", "13", "--impl", "no/such/folder"], "IMPL=no/such/folder is no folder"),
        (["triton", "13", "--impl", "tests"], "IMPL=tests holds no day13.py"),
        (["triton", "13", "--prior", "mine"], "PRIOR=mine is not known: use auto, solution, same"),
        (["triton", "13", "--device", "gpu"], "DEVICE=gpu is not known: use auto, cpu, cuda"),
        (["triton", "13", "--seed", "lucky"], "SEED=lucky is not a whole number"),
        (["lesson", "tritn", "1"], "triton"),
        (["verify", "triton", "99"], "there is no day 99"),
        (["test-all", "--workers", "many"], "WORKERS=many"),
        (["triton", "1", "--nonsense"], "No such option"),
    ],
)
def test_a_usage_error_is_one_message(arguments: list[str], sentence: str) -> None:
    done = harness(*arguments)
    assert done.returncode == 2, done.stdout + done.stderr
    assert sentence in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 3
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("setting", "said"),
    [("day=1", "capitals, DAY=."), ("Ex=fill", "capitals, EX=."), ("NOTE=a day=1", "")],
)
def test_a_setting_in_small_letters_is_not_passed_over(setting: str, said: str) -> None:
    make = ["make", "triton", setting, f"PYTHON={sys.executable}"]
    done = subprocess.run(make, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert said in done.stderr
    assert (done.returncode == 2) == bool(said), done.stdout + done.stderr


def test_settings_come_from_the_environment_as_make_gives_them() -> None:
    done = harness("triton", DAY="13", EX="softmx")
    assert done.returncode == 2
    assert "did you mean softmax?" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["triton", "99"], ["triton"], ["lesson", "triton", "1"], ["mine", "--help"]],
)
def test_what_grades_nothing_never_imports_torch(arguments: list[str]) -> None:
    code = (
        "import sys\n"
        f"sys.argv = ['harness', *{arguments!r}]\n"
        "from harness.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'triton', 'numpy', 'pytest'} & set(sys.modules)\n"
        "print('HEAVY', sorted(heavy))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert "HEAVY []" in done.stdout, done.stdout[-300:] + done.stderr


def test_the_days_of_a_track_are_listed() -> None:
    done = harness("triton")
    assert done.returncode == 0
    assert "13  Fused softmax" in done.stdout


@pytest.mark.parametrize("columns", [80, None])
@pytest.mark.parametrize("day", ["triton 13", "pytorch 1", "autodiff 10"])
def test_a_lesson_fits_into_80_columns_and_no_line_of_code_is_broken(
    day: str, columns: int | None
) -> None:
    track, number = day.split()
    done = harness("lesson", track, number, **({"COLUMNS": str(columns)} if columns else {}))
    assert done.returncode == 0
    assert max(map(len, done.stdout.splitlines())) <= 80
    lesson = ROOT / f"tracks/{track}/lessons/day{int(number):02d}.md"
    blocks = lesson.read_text(encoding="utf-8").split("```")[1::2]
    code = [line for block in blocks for line in block.splitlines()[1:]]
    assert code and all(line in done.stdout for line in code)


def test_make_help_lists_only_commands_that_work() -> None:
    listed = subprocess.run(
        ["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    known = harness("--help").stdout
    for line in listed.splitlines():
        for command in line[5:].split("  ")[0].replace(",", "").split():
            if command not in ("help", "setup", "shell", "image", "lint"):
                assert f"  {command} " in known, command


def test_a_missing_gpu_is_an_error_of_the_environment() -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    done = harness("triton", "1", "--device", "cuda", "--impl", "solution")
    assert done.returncode == 3, done.stdout
    assert "DEVICE=cuda" in done.stdout
    assert "Traceback" not in done.stdout


def test_doctor_names_what_is_there() -> None:
    done = harness("doctor")
    assert done.returncode == 0, done.stdout
    assert "torch" in done.stdout
    assert "C compiler" in done.stdout


@pytest.mark.parametrize("command", ["hint", "lesson", "solution", "reset", "restore"])
def test_a_command_without_its_day_says_the_whole_command(command: str) -> None:
    for given, said in (
        ([], f"Which track and day? make {command} TRACK=triton DAY=7"),
        (["pytorch"], f"Which day? make {command} TRACK=pytorch DAY=7"),
    ):
        done = harness(command, *given)
        assert done.returncode == 2 and done.stderr.startswith(said), done.stderr
        assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "settings", "sentence"),
    [
        (["triton"], {"DAY": "-1"}, "there is no day -1 in triton"),
        (["bench"], {"DAY": "5"}, "Which track? make bench TRACK=triton DAY=5"),
        (["watch"], {"DAY": "3"}, "Which track and day? make watch TRACK=triton DAY=3"),
        (["bench", "pytorch", "9"], {"AGAINST": "nothing"}, "AGAINST=nothing is no peer here"),
        (["bench", "pytorch", "9"], {"OUT": "tracks"}, "OUT=tracks is a folder: name the file"),
        (["autodiff", "1"], {"DEVICE": "cuda"}, "DEVICE=cuda: the autodiff track is numpy"),
    ],
)
def test_settings_that_cannot_be_are_one_sentence(arguments, settings, sentence) -> None:
    done = harness(*arguments, **settings)
    assert done.returncode == 2, done.stdout + done.stderr
    assert sentence in done.stderr and len(done.stderr.splitlines()) == 1


def test_columns_that_are_no_width_are_forgotten() -> None:
    assert "Derivatives" in harness("lesson", "autodiff", "1", COLUMNS="0").stdout
    assert "autodiff" in harness("autodiff", COLUMNS="wide").stdout


def test_a_plugin_of_somebody_elses_pytest_is_not_loaded() -> None:
    done = harness("autodiff", "1", "--impl", "solution", PYTEST_PLUGINS="no_such_plugin")
    assert done.returncode == 0, done.stdout


def test_a_file_that_hides_a_package_is_named(tmp_path: Path) -> None:
    from tests.support.toy import Toy

    toy = Toy(tmp_path / "project")
    toy.add_day(1)
    (toy.folder / "torch.py").write_text("x = 1\n")
    (toy.folder / "random").mkdir()
    (toy.folder / "random" / "__init__.py").touch()
    for command in (["doctor"], ["autodiff", "1"]):
        done = toy.run("-m", "harness", *command)
        assert done.returncode == 3
        assert done.stderr.startswith("random, torch.py in ") and len(done.stderr.splitlines()) == 1
    (toy.folder / "torch.py").unlink()
    (toy.folder / "random" / "__init__.py").unlink()
    (toy.folder / "triton").mkdir()  # a folder of data hides nothing
    assert toy.run("-m", "harness", "autodiff").returncode == 0


def test_the_folder_of_the_tracks_hides_no_package() -> None:
    code = "import sys; sys.path.insert(0, ''); from harness.shadows import clear_path; "
    code += f"clear_path({str(ROOT)!r}); import triton; print(triton.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT / "tracks", capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=120,
    )  # fmt: skip
    assert "site-packages" in done.stdout, done.stderr


def test_windows_alone_gets_one_sentence() -> None:
    code = "import os, runpy; os.name = 'nt'; runpy.run_module('harness', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode and "WSL 2" in done.stderr and len(done.stderr.splitlines()) == 1
