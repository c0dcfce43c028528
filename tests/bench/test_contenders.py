import re
import types
from pathlib import Path

import numpy as np
import pytest
import torch

from harness.bench import contenders
from harness.bench.contenders import EXTRA, EXTRA_PACKAGES, gather
from harness.bench.inputs import overwrite
from harness.bench.rng import make_rng
from harness.benching import Case, Contender, Problem, absent, bench, sdpa


def declared(**options):
    values = {"inputs": lambda rng: (), "oracle": lambda: 0, **options}

    @bench("sine", unit="time", cases=[Case(n=1)])
    def sine(case):
        return Problem(**values)

    return sine


def names(problem_options, against=None, quick=False, days=None):
    one = declared(**problem_options)
    days = {"yours": types.SimpleNamespace(sine=torch.sin)} if days is None else days
    return gather(one, one.problem(one.cases[0]), days, against, quick)


PEERS = {
    "torch": torch.sin,
    "liger": Contender(load=lambda: 1 / 0, needs=["a_package_that_is_not_there"]),
    "broken": Contender(load=lambda: 1 / 0),
    "cudnn": absent("float32 is not supported"),
}


@pytest.fixture
def compiled(monkeypatch):
    """What was compiled and how; importing the real compiler takes seconds."""
    calls = []

    def compile(call, **options):
        calls.append((call, options))
        return call

    monkeypatch.setattr(torch, "compile", compile)
    monkeypatch.setattr(torch.compiler, "reset", lambda: calls.append("reset"))
    return calls


def test_compile_is_derived_from_eager(compiled):
    entries = names({"peers": {"torch": torch.sin, "numpy": np.sin}})
    assert [e.name for e in entries] == [
        "yours",
        "torch",
        "compile",
        "compile max-autotune",
        "numpy",
    ]
    assert all(e.call is not None for e in entries)
    assert compiled == [
        "reset",
        (torch.sin, {"mode": None, "dynamic": False}),
        "reset",
        (torch.sin, {"mode": "max-autotune-no-cudagraphs", "dynamic": False}),
    ]
    assert [e.name for e in names({"peers": PEERS, "compile": False})][1:] == list(PEERS)
    assert "compile max-autotune" not in [e.name for e in names({"peers": PEERS}, quick=True)]


def test_compile_prepares_its_inputs_as_eager_does(compiled):
    eager = Contender(load=lambda: torch.sin, prepare=lambda x: (x + 1,))
    _, one, two, _ = names({"peers": {"torch": eager}})
    assert (one.prepare(1), two.prepare(1), two.call) == ((2,), (2,), torch.sin)


def test_peers_that_cannot_take_part_are_named_gaps():
    gaps = {e.name: e.gap for e in names({"peers": PEERS, "compile": False})}
    assert gaps == {
        "yours": "",
        "torch": "",
        "liger": "not installed: a_package_that_is_not_there",
        "broken": "does not load: ZeroDivisionError: division by zero",
        "cudnn": "float32 is not supported",
    }


def test_against_keeps_yours_and_the_named_peers(compiled):
    found = names({"peers": PEERS}, against=["compile", "liger"])
    assert [e.name for e in found] == ["yours", "compile", "compile max-autotune", "liger"]
    assert [e.name for e in names({"peers": PEERS}, against=[])] == ["yours"]


def test_a_day_that_cannot_be_imported_is_a_gap():
    days = {"yours": "does not import: SyntaxError: …", "reference": types.ModuleType("day")}
    yours, reference = names({}, days=days)
    assert yours.gap.startswith("does not import")
    assert reference.gap == "day has no sine"


def test_ours_may_prepare_its_inputs():
    def ours(day):
        return Contender(day.sine, prepare=lambda x: (x + 1,))

    (entry,) = names({"ours": ours})
    assert entry.prepare(1) == (2,)


def test_a_contender_is_one_thing():
    with pytest.raises(ValueError, match="exactly one of"):
        Contender()
    with pytest.raises(ValueError, match="choose one of flash, cudnn"):
        sdpa("fastest")


def test_pinned_attention_is_attention():
    q, k, v = torch.randn(3, 1, 2, 5, 8)
    call = sdpa("math", causal=True).load()
    expected = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    assert torch.allclose(call(q, k, v), expected, atol=1e-6)


@pytest.mark.parametrize("wrong", [{"unit": "furlongs"}, {"cache": "tepid"}, {"cases": []}])
def test_wrong_declarations_are_refused(wrong):
    with pytest.raises(ValueError, match="bench 'sine'"):
        bench("sine", **{"unit": "time", "cases": [Case(n=1)], **wrong})


def test_inputs_are_overwritten_where_they_are():
    old, new = torch.zeros(3), torch.ones(3)
    assert overwrite(old, new) is old
    assert old.sum() == 3
    array = np.zeros(3)
    array.flags.writeable = False
    assert overwrite(array, np.ones(3)) is array
    assert array.sum() == 3
    assert overwrite(torch.zeros(2), new) is new
    assert overwrite(5, 6) == 6
    nested = overwrite({"a": [old]}, {"a": [torch.full((3,), 2.0)]})
    assert nested["a"][0] is old


def test_both_kinds_of_random_inputs_repeat_from_a_seed():
    for track, kind in (("pytorch", torch.Tensor), ("autodiff", np.ndarray)):
        a, b = (make_rng(track, 5, torch.device("cpu")) for _ in range(2))
        for draw in (
            lambda r: r.normal(3, 4),
            lambda r: r.uniform(7, low=-1, high=0),
            lambda r: r.integers(2, 9, 50),
            lambda r: r.boolean(50, p=0.3),
            lambda r: r.permutation(9),
        ):
            one, two = draw(a), draw(b)
            assert isinstance(one, kind)
            assert np.array_equal(np.asarray(one), np.asarray(two))


def test_the_bench_extra_brings_what_the_benches_name():
    root = Path(__file__).parents[2]
    needed = set()
    for path in root.glob("tracks/*/benches/bench_*.py"):
        for names in re.findall(r"needs=\[([^\]]*)\]", path.read_text()):
            needed |= set(re.findall(r'"(\w+)"', names))
    extra = re.search(rf"^{EXTRA} = \[(.*?)\]", (root / "pyproject.toml").read_text(), re.M | re.S)
    brought = {name.replace("-", "_") for name in re.findall(r'"([\w-]+)==', extra[1])}
    pins = (root / "requirements.txt").read_text()
    always = {name.replace("-", "_") for name in re.findall(r"^([\w-]+)==", pins, re.M)}
    assert needed - always == brought == EXTRA_PACKAGES


def test_a_peer_that_is_not_installed_says_what_to_do(monkeypatch):
    monkeypatch.setattr(contenders, "installed", lambda package: False)
    entry = contenders.enter("mygrad", Contender(load=int, needs=["mygrad"]))
    assert entry.gap == "not installed: mygrad: pip install -e '.[bench]'"
    entry = contenders.enter("jax", Contender(load=int, needs=["jax"]))
    assert entry.gap == "not installed: jax"


@pytest.mark.parametrize("there", [True, False])
def test_a_peer_whose_kernels_need_a_gpu(monkeypatch, there):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    entry = contenders.enter("liger", Contender(torch.sin, gpu=True))
    assert entry.gap == ("" if there else "needs a GPU")
