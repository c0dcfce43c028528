"""The real nvidia-ml-py, loading a library: the stand-in of this folder, and the real driver's
where there is one. Each library answers all its scenarios in one child process."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from harness.measure.nvml import NvmlUnavailable, open_nvml

ROOT = Path(__file__).parents[2]
GB = 10**9
UUID = ["GPU-00000000-1111-2222-3333-444444444444", "GPU-10000000-1111-2222-3333-444444444444"]

# Runs in the child. A scenario is environment variables, and how to read: [which, ...].
CHILD = """
import json, os, sys, time
from harness.measure.nvml import NvmlUnavailable, open_nvml

def answer(scenario):
    result = {"readings": {}, "errors": {}}
    os.environ.update(scenario["env"])
    held = None
    if "hold" in scenario:  # what a process that uses CUDA has open
        held = open(scenario["hold"], "w")
    try:
        with open_nvml() as nvml:
            result["notes"] = nvml.notes
            result["gpus"] = [gpu.to_json() for gpu in nvml.gpus()]
            for which in scenario.get("read", [0]):
                try:
                    result["readings"][str(which)] = nvml.read(which).to_json()
                except NvmlUnavailable as error:
                    result["errors"][str(which)] = str(error)
            result["process_bytes"] = nvml.process_bytes(0) if nvml.gpus() else None
    except NvmlUnavailable as error:
        result["unavailable"] = str(error)
    finally:
        if held:
            held.close()
        for name in scenario["env"]:
            del os.environ[name]
    return result

scenarios = json.load(sys.stdin)
json.dump({name: answer(s) for name, s in scenarios.items()}, sys.stdout)
"""


def ask(scenarios: dict, library: Path | None) -> dict:
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("STAND_IN_", "CUDA_"))
    }
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), environment.get("PYTHONPATH", "")])
    if library is not None:
        environment["LD_LIBRARY_PATH"] = str(library)
    done = subprocess.run(
        [sys.executable, "-c", CHILD],
        input=json.dumps(scenarios),
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "reading NVML must print nothing"
    return json.loads(done.stdout)


def fails(*faults: str, **others: str) -> dict:
    return {"env": {"STAND_IN_FAIL": ",".join(faults), **others}}


SCENARIOS = {
    "one": {"env": {}},
    "by uuid": {"env": {"STAND_IN_GPUS": "2"}, "read": [UUID[1], UUID[1][4:], "GPU-9"]},
    "no power": fails("nvmlDeviceGetPowerUsage=3", "nvmlDeviceGetEnforcedPowerLimit=3"),
    "no permission": fails("nvmlDeviceGetComputeRunningProcesses_v3=4"),
    "odd answers": fails(
        "nvmlDeviceGetTemperatureV=999",
        "nvmlDeviceGetUtilizationRates=10",
        "nvmlDeviceGetMemoryInfo_v2=3",
        "nvmlDeviceGetMemoryInfo=3",
        "nvmlDeviceGetCudaComputeCapability=3",
        "nvmlDeviceGetGraphicsRunningProcesses_v3=3",
        "nvmlShutdown=999",
        "nvmlDeviceGetName=999",
    ),
    "lost on reading": fails("nvmlDeviceGetPowerUsage=15"),
    "reset on reading": fails("nvmlDeviceGetClockInfo=16"),
    "lost before": fails("nvmlDeviceGetUUID=15"),
    "lost second": fails("nvmlDeviceGetUUID@1=15", STAND_IN_GPUS="2"),
    "no card": {"env": {"STAND_IN_GPUS": "0"}},
    "no init": fails("nvmlInitWithFlags=999"),
    "not loaded": fails("nvmlInitWithFlags=9"),
    "mismatch": fails("nvmlInitWithFlags=18"),
    "mismatch later": fails("nvmlSystemGetDriverVersion=18"),
    "not allowed": fails("nvmlInitWithFlags=4"),
    "unheard of": fails("nvmlInitWithFlags=4711"),
    "count fails": fails("nvmlDeviceGetCount_v2=17"),
    "throttled": {"env": {"STAND_IN_REASONS": hex(0x4 | 0x8 | 0x40 | 0x2)}},
    "idle": {"env": {"STAND_IN_REASONS": "0x1"}},
    "unknown reason": {"env": {"STAND_IN_REASONS": "0x4000"}},
    "mig": {"env": {"STAND_IN_MIG": "2"}},
    "mig and whole": {"env": {"STAND_IN_MIG": "2", "STAND_IN_GPUS": "2"}, "read": [0, 1]},
    "mig by uuid": {
        "env": {"STAND_IN_MIG": "2", "CUDA_VISIBLE_DEVICES": "MIG-02"},
    },
    "mig without instance": {"env": {"STAND_IN_MIG": "none"}},
    "different cards": {
        "env": {"STAND_IN_GPUS": "2", "STAND_IN_NAMES": "NVIDIA H200,NVIDIA T4"},
    },
    "different cards by slot": {
        "env": {
            "STAND_IN_GPUS": "2",
            "STAND_IN_NAMES": "NVIDIA H200,NVIDIA T4",
            "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        },
    },
    "processes": {
        "env": {
            "STAND_IN_PROCESSES": "compute:self:5000,compute:1:7000,graphics:2:30,graphics:1:9"
        },
    },
    "no bytes": {"env": {"STAND_IN_PROCESSES": "compute:self:?,compute:1:?"}},
    # Process ids above what Linux gives out: those of a host, seen from inside a container.
    "host pids, no CUDA here": {"env": {"STAND_IN_PROCESSES": "compute:4194999:5000"}},
    "host pids, one": {
        "env": {"STAND_IN_PROCESSES": "compute:4194999:5000,graphics:1:10"},
        "hold": "nvidia-uvm",
    },
    "host pids, two": {
        "env": {"STAND_IN_PROCESSES": "compute:4194999:5000,compute:4194998:6000"},
        "hold": "nvidia-uvm",
    },
    "host pids, none": {"env": {}, "hold": "nvidia-uvm"},
}
VISIBLE = {  # CUDA_VISIBLE_DEVICES with three cards -> first digit of the UUIDs, words of a note
    "0": ("0", None),
    "1": ("1", None),
    "2,0": ("20", None),
    " 1 , 2 ": ("12", None),
    "": ("", "hides every GPU"),
    "-1": ("", "hides every GPU"),
    "0,-1,1": ("0", None),
    "0,7,1": ("0", "'7' names no GPU"),
    "7": ("", "'7' names no GPU"),
    "0,0": ("", "twice"),
    UUID[1]: ("1", None),
    f"{UUID[1]},{UUID[0]}": ("10", None),
    "GPU-2": ("2", None),
    "GPU-": ("", "names no GPU"),  # the beginning of all three: which one?
    "nonsense": ("", "'nonsense' names no GPU"),
}


@pytest.fixture(scope="module")
def stand_in(build_stand_in, tmp_path_factory):
    folder = tmp_path_factory.mktemp("dev")
    scenarios = {
        name: {**s, "hold": str(folder / s["hold"])} if "hold" in s else s
        for name, s in SCENARIOS.items()
    }
    for setting in VISIBLE:
        environment = {"STAND_IN_GPUS": "3", "CUDA_VISIBLE_DEVICES": setting}
        scenarios[f"visible {setting}"] = {"env": environment, "read": [0]}
    return ask(scenarios, build_stand_in())


@pytest.fixture(scope="module")
def old_driver(build_stand_in):
    scenarios = {
        "read": {"env": {"STAND_IN_REASONS": "0x4", "STAND_IN_PROCESSES": "compute:1:7000"}},
        "no memory": fails("nvmlDeviceGetMemoryInfo=3"),
    }
    return ask(scenarios, build_stand_in("-DOLD_DRIVER"))


@pytest.fixture(scope="module", params=["stand-in", "real"])
def plain(request):
    """What a card answers without faults: from the stand-in and from the real driver."""
    if request.param == "stand-in":
        return request.getfixturevalue("stand_in")["one"]
    try:
        with open_nvml() as nvml:
            if not nvml.gpus():
                pytest.skip(f"no GPU here: {'; '.join(nvml.notes)}")
    except NvmlUnavailable as error:
        pytest.skip(f"no GPU here: {error}")
    return ask({"real": {"env": {}}}, library=None)["real"]


def one_line(text: str) -> bool:
    return 20 < len(text) < 250 and "\n" not in text and "Traceback" not in text


def test_a_card_is_described(plain):
    gpu = plain["gpus"][0]
    assert gpu["index"] == 0
    assert "unknown" not in gpu["name"]
    assert re.match(r"(GPU|MIG)-[0-9a-f-]{30,}$", gpu["uuid"])
    assert re.match(r"\d+\.\d+", gpu["driver"])
    assert re.match(r"\d+\.\d+$", gpu["cuda_driver"])
    assert 3 <= gpu["compute_capability"][0] < 100


def test_a_reading_is_plausible(plain):
    reading = plain["readings"]["0"]
    told = set(reading) - {name for name, value in reading.items() if value is None}
    assert len(told) == len(reading) or reading["problems"], "a gap without a reason"
    assert all(one_line(problem) for problem in reading["problems"])
    assert not reading["lost"]
    limits = {
        "temperature": (1, 130),
        "power_watts": (0.1, 2500),
        "utilisation": (0, 100),
        "sm_clock": (1, 10_000),
        "process_bytes": (0, 10**13),
    }
    for name, (low, high) in limits.items():
        assert reading[name] is None or low <= reading[name] <= high, name
    if reading["memory_total"] is not None:
        assert 0 <= reading["memory_used"] <= reading["memory_total"]
        assert reading["memory_total"] == plain["gpus"][0]["memory_bytes"]


def test_values_and_units(stand_in):
    assert stand_in["one"]["gpus"] == [
        {
            "index": 0,
            "name": "NVIDIA H200",
            "uuid": UUID[0],
            "memory_bytes": 140 * GB,
            "driver": "580.95.05",
            "cuda_driver": "13.0",
            "compute_capability": [9, 0],
            "mig": False,
            "sm_count": 132,
        }
    ]
    assert stand_in["one"]["notes"] == []
    assert stand_in["one"]["readings"]["0"] == {
        "memory_used": 2 * GB,
        "memory_total": 140 * GB,
        "process_bytes": 0,
        "sm_clock": 1755,
        "memory_clock": 3201,
        "max_sm_clock": 1980,
        "max_memory_clock": 3201,
        "power_watts": 412.5,
        "power_limit": 700.0,
        "temperature": 61,
        "idle": False,
        "throttle_reasons": [],
        "clock_settings": [],
        "other_processes": [],
        "utilisation": 87,
        "problems": [],
        "lost": False,
    }


def test_a_card_is_found_by_uuid(stand_in):
    answers = stand_in["by uuid"]
    assert set(answers["readings"]) == {UUID[1], UUID[1][4:]}
    assert "GPU-9" in answers["errors"]["GPU-9"]


@pytest.mark.parametrize(
    ("scenario", "missing", "words"),
    [
        ("no power", ("power_watts", "power_limit"), "power, power limit: this card"),
        ("no permission", ("process_bytes", "other_processes"), "processes: this user may not"),
    ],
)
def test_one_unanswered_question_leaves_one_gap(stand_in, scenario, missing, words):
    reading = stand_in[scenario]["readings"]["0"]
    assert {name for name, value in reading.items() if value is None} == set(missing)
    assert len(reading["problems"]) == 1 and words in reading["problems"][0]


def test_odd_answers_leave_gaps_with_reasons(stand_in):
    reading = stand_in["odd answers"]["readings"]["0"]
    gaps = {name for name, value in reading.items() if value is None}
    assert gaps == {"temperature", "utilisation", "memory_used", "memory_total"}
    text = " ".join(reading["problems"])
    assert "temperature: NVML answered 'Unknown Error' (code 999)" in text
    assert "utilisation: NVML answered 'Timeout' (code 10)" in text
    assert "memory: this card" in text
    gpu = stand_in["odd answers"]["gpus"][0]
    assert (gpu["memory_bytes"], gpu["compute_capability"], gpu["sm_count"]) == (None, None, None)
    assert gpu["name"] == "NVIDIA GPU (name unknown)"


@pytest.mark.parametrize(
    ("scenario", "words", "told"),
    [
        ("lost on reading", "fell off the bus while", ("memory_used", "memory_total")),
        (
            "reset on reading",
            "must be reset",
            ("memory_used", "memory_total", "power_watts", "power_limit"),
        ),
    ],
)
def test_a_card_that_goes_away_in_the_middle(stand_in, scenario, words, told):
    reading = stand_in[scenario]["readings"]["0"]
    assert reading["lost"]
    assert len(reading["problems"]) == 1 and words in reading["problems"][0]
    measured = {name for name, value in reading.items() if value is not None}
    assert measured - {"problems", "lost"} == set(told)
    assert stand_in[scenario]["process_bytes"] is None


@pytest.mark.parametrize(
    ("scenario", "words"),
    [
        ("no init", "'Unknown Error' (code 999): check `nvidia-smi`"),
        ("not loaded", "sudo modprobe nvidia"),
        ("mismatch", "updated"),
        ("mismatch later", "updated"),
        ("not allowed", "/dev/nvidia"),
        ("unheard of", "code 4711"),
        ("count fails", "operating system blocks"),
        ("lost before", "GPU 0 was left out: the GPU fell off the bus"),
        ("mig without instance", "MIG mode without an instance"),
    ],
)
def test_no_answer_at_all_is_one_line_with_a_remedy(stand_in, scenario, words):
    assert words in stand_in[scenario]["unavailable"]
    assert one_line(stand_in[scenario]["unavailable"])


def test_no_card_at_all(stand_in):
    assert stand_in["no card"]["gpus"] == []
    error = stand_in["no card"]["errors"]["0"]
    assert "sees no GPU" in error and one_line(error)


def test_a_lost_card_leaves_the_others(stand_in):
    answers = stand_in["lost second"]
    assert [gpu["uuid"] for gpu in answers["gpus"]] == UUID[:1]
    assert len(answers["notes"]) == 1 and "GPU 1 was left out" in answers["notes"][0]


def test_throttling_in_words(stand_in):
    reading = stand_in["throttled"]["readings"]["0"]
    assert reading["throttle_reasons"] == [
        "power limit reached",
        "too hot: the hardware lowers the clocks",
    ]
    assert reading["clock_settings"] == ["clocks fixed by application or locked clock settings"]
    idle = stand_in["idle"]["readings"]["0"]
    assert idle["idle"] and idle["throttle_reasons"] == []
    unknown = stand_in["unknown reason"]["readings"]["0"]
    assert unknown["throttle_reasons"] == ["a reason unknown to this program (0x4000)"]


def test_a_slice_of_a_card(stand_in):
    answers = stand_in["mig"]
    assert len(answers["gpus"]) == 1, "CUDA offers one slice unless another is named"
    gpu, reading = answers["gpus"][0], answers["readings"]["0"]
    assert gpu["mig"] and gpu["name"] == "NVIDIA H200 MIG 1g.18gb"
    assert (gpu["memory_bytes"], gpu["sm_count"]) == (18 * GB, 16)
    assert reading["memory_total"] == 18 * GB and reading["power_watts"] == 412.5
    assert any("split with MIG" in problem for problem in reading["problems"])
    assert stand_in["mig by uuid"]["gpus"][0]["uuid"].startswith("MIG-02")
    both = stand_in["mig and whole"]
    assert [gpu["mig"] for gpu in both["gpus"]] == [True, False]
    assert both["readings"]["1"]["problems"] == []


def test_different_cards_may_be_numbered_otherwise(stand_in):
    assert any("CUDA_DEVICE_ORDER" in note for note in stand_in["different cards"]["notes"])
    assert stand_in["different cards by slot"]["notes"] == []


@pytest.mark.parametrize("setting", VISIBLE)
def test_visible_devices(stand_in, setting):
    digits, words = VISIBLE[setting]
    answers = stand_in[f"visible {setting}"]
    assert [gpu["uuid"][4] for gpu in answers["gpus"]] == list(digits)
    assert [gpu["index"] for gpu in answers["gpus"]] == list(range(len(digits)))
    assert len(answers["notes"]) == (0 if words is None else 1)
    assert words is None or words in answers["notes"][0]
    if not digits:
        assert words in answers["errors"]["0"] and one_line(answers["errors"]["0"])


def test_processes_on_the_card(stand_in):
    reading = stand_in["processes"]["readings"]["0"]
    assert reading["process_bytes"] == 5000 == stand_in["processes"]["process_bytes"]
    assert reading["other_processes"] == [
        {"pid": 1, "name": "program-1", "bytes": 7000, "kind": "compute"},
        {"pid": 2, "name": "program-2", "bytes": 30, "kind": "graphics"},
    ]
    reading = stand_in["no bytes"]["readings"]["0"]
    assert reading["process_bytes"] is None
    assert [process["bytes"] for process in reading["other_processes"]] == [None]
    assert reading["problems"] == ["memory of this process: this driver does not tell"]


def test_processes_seen_from_a_container(stand_in):
    def split(scenario):
        reading = stand_in[f"host pids, {scenario}"]["readings"]["0"]
        others = [process["pid"] for process in reading["other_processes"]]
        return reading["process_bytes"], others, len(reading["problems"])

    assert split("no CUDA here") == (0, [4194999], 0)
    assert split("one") == (5000, [1], 0)
    assert split("two") == (None, [4194999, 4194998], 1)
    assert split("none") == (None, [], 1)


def test_an_old_driver(old_driver):
    reading = old_driver["read"]["readings"]["0"]
    assert reading["problems"] == []
    assert reading["throttle_reasons"] == ["power limit reached"]
    assert reading["temperature"] == 61
    assert reading["memory_used"] == 3 * GB  # reserved bytes included: all that this driver tells
    assert [process["bytes"] for process in reading["other_processes"]] == [7000]
    assert old_driver["no memory"]["readings"]["0"]["memory_used"] is None


def test_a_library_that_does_not_load(tmp_path):
    (tmp_path / "libnvidia-ml.so.1").write_text("not a library")
    broken = ask({"broken": {"env": {}}}, tmp_path)["broken"]
    assert "no NVIDIA driver was found" in broken["unavailable"]
    assert one_line(broken["unavailable"])


def test_no_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(NvmlUnavailable, match="pip install nvidia-ml-py") as caught, open_nvml():
        pass
    assert "\n" not in str(caught.value)
