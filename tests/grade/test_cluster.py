"""A real Ray cluster of several node processes on this machine; one is killed in the middle.

Needs the extra ``[cluster]``, without which it is skipped; takes about a minute.
"""

from __future__ import annotations

import importlib.util
import json
import sys

import pytest

from harness.grade.cluster import needs_gpu
from harness.grade.task import Task
from tests.grade.conftest import LISTED, RIGHT, WRONG, Class

TASK = Task("ann", "triton", 1, {1: b""}, (1, 2))
needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None or sys.platform != "linux",
    reason="no Ray here: pip install '.[cluster]'",
)

KILL = """
import json, sys
import ray
from ray.cluster_utils import Cluster
from harness.curriculum import ROOT
from harness.grade.cluster import LEFT_OUT, grade_on_cluster
from harness.grade.records import Records
from harness.grade.submissions import read_all
from harness.grade.task import task_of
from harness.curriculum import find_tracks
from pathlib import Path

submissions, _ = read_all(Path(sys.argv[1]), find_tracks())
tasks = [task_of(s, key, (7, 8), "cpu", "auto", "auto") for s in submissions for key in s.days]
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
environment = {"working_dir": str(ROOT), "excludes": LEFT_OUT}
ray.init(address=cluster.address, runtime_env=environment, log_to_driver=False)
found, failed = {}, {}

def done(task, record, problem):
    if record is None:
        failed[task.student] = problem
        return
    found[task.student] = [e.status for e in record.result.exercises]
    if len(found) == 1:  # both nodes have work, and most of it is to come
        cluster.remove_node(nodes[0], allow_graceful=False)

grade_on_cluster(tasks, done)
alive = sum(node["Alive"] for node in ray.nodes())
ray.shutdown()
cluster.shutdown()
print(json.dumps({"found": found, "failed": failed, "alive": alive}))
"""


def hand_in(klass: Class) -> dict[str, list[str]]:
    right: dict[str, list[str]] = {}
    for n in range(8):
        text, status = [(RIGHT, "passed"), (WRONG, "wrong"), (LISTED, "passed")][n % 3]
        klass.hand_in(f"s{n}", text)
        right[f"s{n}"] = [status]
    return right


@needs_ray
def test_a_node_that_is_killed_loses_nothing(klass: Class) -> None:
    right = hand_in(klass)
    done = klass.toy.run("-c", KILL, str(klass.submissions))
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["alive"] == 2, "the head and one of two nodes"
    assert told["failed"] == {}
    assert told["found"] == right


@needs_ray
def test_the_command_gives_the_same_as_on_one_machine(klass: Class) -> None:
    klass.hand_in("ann", RIGHT)
    klass.hand_in("bob", WRONG)
    klass.grade(ENGINE="ray", SEED="7")
    on_cluster = klass.points()
    assert len(klass.records()) == 2
    klass.out = klass.out.with_name("local")
    klass.grade(SEED="7")
    assert klass.points() == on_cluster == {"ann": ["passed"], "bob": ["wrong"]}


def test_a_gpu_is_asked_for_where_it_is_used() -> None:
    assert needs_gpu(TASK, 2) and not needs_gpu(TASK, 0)
    assert not needs_gpu(Task("ann", "autodiff", 1, {}, (1, 2)), 2)
    assert not needs_gpu(Task("ann", "triton", 1, {}, (1, 2), device="cpu"), 2)


@pytest.mark.skipif(importlib.util.find_spec("ray") is not None, reason="Ray is installed")
def test_without_ray_it_is_said_what_to_do(klass: Class) -> None:
    klass.hand_in("ann", RIGHT)
    said = klass.grade(2, ENGINE="ray")
    assert "pip install" in said and "[cluster]" in said
