"""The scripts in ``benchmarks/`` that time the harness itself."""

import argparse
import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]


def script(name):
    spec = importlib.util.spec_from_file_location(f"_{name}", ROOT / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_feedback_runs_both_commands_in_every_round_and_leaves_the_first_out(monkeypatch):
    feedback = script("feedback")
    ran = []
    monkeypatch.setattr(feedback, "seconds", lambda command: ran.append(command) or len(ran))
    commands = feedback.commands("triton", 1)
    assert commands["harness"][1:] == ["-m", "harness", "triton", "1"]
    assert commands["pytest"][-1] == "tracks/triton/tests/test_day01.py"
    found = feedback.measure(commands, 3)
    assert [len(times) for times in found.values()] == [3, 3]
    assert all(sorted(ran[i : i + 2]) == sorted(commands.values()) for i in range(0, 8, 2))
    assert min(map(min, found.values())) >= 3


def test_a_command_that_fails_is_not_a_measurement():
    feedback = script("feedback")
    with pytest.raises(SystemExit, match="ended with 3"):
        feedback.seconds([feedback.sys.executable, "-c", "raise SystemExit(3)"])


def test_suite_by_workers():
    suite = script("test_all")
    assert suite.worker_counts("4,1,2,1") == [1, 2, 4]
    with pytest.raises(argparse.ArgumentTypeError, match="at least one"):
        suite.worker_counts("0,2")
    lines = suite.table({1: [100.0, 90.0, 110.0], 4: [50.0]})
    assert lines[1].split() == ["1", "100.0s", "1.00x", "100%"]
    assert lines[2].split() == ["4", "50.0s", "2.00x", "50%"]


def test_the_tensor_engine_by_edges(capsys):
    engine = script("tensor_engine")
    engine.main(["--edges", "40,400", "--rounds", "1"])  # its exit code is the machine's to say
    _, forward, backward, head, *rows, last = capsys.readouterr().out.splitlines()
    for way, line in (("forward", forward), ("backward", backward)):
        assert re.fullmatch(rf"  {way} +[\d.]+, numpy alone [\d.]+: -?[\d.]+ beyond it", line)
    assert head.split()[0] == "edges" and [row.split()[0] for row in rows] == ["40", "400"]
    assert last.startswith("exponent: chain ")
    assert engine.exponent([10, 100, 1000], [0.2, 2.0, 20.0]) == pytest.approx(1.0)
    assert engine.exponent([10, 100], [0.1, 10.0]) == pytest.approx(2.0)


def test_the_engine_s_gradients_are_numpy_s_by_hand():
    engine, x, w = script("tensor_engine"), np.array([0.7]), np.array([0.6])
    ys = [x]
    for _ in range(3):
        ys.append(ys[-1] * w + x)
    of_x, of_w = engine.by_hand(ys[:-1], x, w)
    # y = x w³ + x w² + x w + x
    np.testing.assert_allclose(of_x, w**3 + w**2 + w + 1)
    np.testing.assert_allclose(of_w, x * (3 * w**2 + 2 * w + 1))


def test_the_graphs_have_two_edges_for_each_operation():
    engine = script("tensor_engine")

    class Counted:
        made = 0

        def __mul__(self, other):
            Counted.made += 1
            return Counted()

        __add__ = __mul__

    for graph in (engine.chain, engine.wide):
        Counted.made = 0
        graph(Counted(), Counted(), 100)
        assert abs(Counted.made - 100) <= 1, graph.__name__
