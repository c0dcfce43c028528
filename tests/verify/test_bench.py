"""Each kind of mistake in a bench file is planted, and named without a clock."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from harness.benching import Bench, Case, Contender, Problem, absent, bench, goal, sdpa
from harness.verify.bench import findings, small

DAY = types.SimpleNamespace(__name__="day01", double=lambda x: x + x)


def declared(problem: Any = None, **options: Any) -> Bench:
    """A bench that doubles numbers; ``problem`` and ``options`` change what is declared."""

    def make(case: Case) -> Problem:
        given = {
            "inputs": lambda rng: (rng.normal(case.n),),
            "oracle": lambda x: 2 * x,
            "bytes": 16 * case.n,
            "compile": False,
            **(problem or {}),
        }
        return Problem(**given)

    return bench("double", **{"unit": "GB/s", "cases": [Case(n=5), Case(n=7)], **options})(make)


def said(declared: Bench, day: Any = DAY, track: str = "autodiff") -> str:
    return "\n".join(findings(declared, track, day, torch.device("cpu")))


def test_a_good_bench_has_no_finding() -> None:
    peers = {
        "numpy": lambda x: x * 2,
        "other": absent("has no doubling"),
        "missing": Contender(load=int, needs=["no_such_package"]),
        "torch": Contender(lambda x: x + x, prepare=lambda x: (torch.tensor(x),)),
    }
    assert said(declared({"peers": peers}, goals=[goal(at_least=1.0, of="numpy", n=7)])) == ""


def zeros(x: np.ndarray) -> np.ndarray:
    return 0 * x


def overwrites(x: np.ndarray) -> np.ndarray:
    x.flags.writeable = True
    x *= 2
    return x


def fails(x: np.ndarray) -> np.ndarray:
    raise RuntimeError("no such operator")


def unimportable() -> Callable[..., Any]:
    raise ImportError("cannot import name 'softmax'")


@pytest.mark.parametrize(
    ("problem", "options", "sentence"),
    [
        ({"bytes": 0}, {}, "n=5: a bench in GB/s has to count its bytes"),
        ({}, {"unit": "FLOP/s"}, "n=5: a bench in FLOP/s has to count its flops"),
        ({}, {"goals": [goal(at_least=1.0, of="liger")]}, "there is no contender called liger"),
        ({}, {"goals": [goal(at_least=1.0, of="copy", n=6)]}, "covers no case"),
        ({"oracle": lambda x: 3 * x}, {}, "n=5: reference: result"),
        ({"tolerance": {"scale": 1e16}}, {}, "n=5: output 0: takes zeros for right"),
        ({"tolerance": {"scale": 5e14}}, {}, "takes 10 % too much for right"),
        ({"ours": lambda day: day.triple}, {}, "reference: "),
        ({"ours": lambda day: overwrites}, {}, "reference overwrites its inputs"),
        ({"ours": lambda day: fails}, {}, "reference fails: RuntimeError: no such operator"),
        ({"peers": {"numpy": fails}}, {}, "numpy fails: RuntimeError: no such operator"),
        ({"peers": {"numpy": zeros}}, {}, "numpy computes something else"),
        ({"peers": {"jax": Contender(load=unimportable)}}, {}, "jax: does not load: ImportError"),
    ],
)
def test_a_mistake_is_named(problem: Any, options: Any, sentence: str) -> None:
    assert sentence in said(declared(problem, **options))


def test_every_output_is_looked_at() -> None:
    """A gradient of the size 1e-20 beside a loss of the size 1, at the loss's tolerance."""
    both = {
        "oracle": lambda x: (x + x, 1e-20 * x),
        "tolerance": {"scale": 1.0},
        "ours": lambda day: lambda x: (x + x, 1e-20 * x),
    }
    assert "n=5: output 1: takes zeros for right" in said(declared(both))
    assert "output 0" not in said(declared(both))


def test_a_name_that_the_day_lacks() -> None:
    assert "day02 has nothing of this name to time" in said(
        declared(), types.SimpleNamespace(__name__="day02")
    )


def test_a_call_may_overwrite_where_the_bench_says_so() -> None:
    assert said(declared({"ours": lambda day: overwrites, "inplace": True})) == ""


def test_a_backend_that_refuses_these_inputs_is_a_gap_like_any_other() -> None:
    problem = {
        "inputs": lambda rng: tuple(rng.normal(1, 2, 4, 8) for _ in range(3)),
        "oracle": lambda q, k, v: (q @ k.mT / 8**0.5).softmax(-1) @ v,
        "tolerance": {"terms": 4, "scale": 1.0},
        "ours": lambda day: torch.nn.functional.scaled_dot_product_attention,
        "peers": {"cudnn": sdpa("cudnn"), "math": sdpa("math")},
    }
    assert said(declared(problem), track="pytorch") == ""


def test_a_chip_that_is_not_here_leaves_the_declaration_to_be_proved() -> None:
    here = declared({"ours": lambda day: fails}, gpu="sm_90", goals=[goal(at_least=1.0, of="x")])
    assert said(here) == "goal ≥ 1 × x: there is no contender called x"


def test_triton_is_tried_small() -> None:
    case = Case(rows=2**20, columns=32, dtype=torch.float16, causal=True)
    assert small(case) == Case(rows=33, columns=32, dtype=torch.float16, causal=True)
    assert small(Case(n=4096, m=4096)) == Case(n=33, m=39)
    drawn = []

    def inputs(rng: Any) -> tuple[Any, ...]:
        drawn.append(rng.normal(1))
        return (rng.normal(2),)

    sizes = []
    large = bench("double", unit="time", cases=[Case(n=2**40)])(
        lambda case: sizes.append(case.n) or Problem(inputs=inputs, oracle=lambda x: x + x)
    )
    assert said(large, track="triton") == ""
    assert sizes == [2**40, 33]
    assert drawn
