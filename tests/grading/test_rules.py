"""The rules of grading hold on real days: each wrong way is refused with its reason."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from harness.curriculum import Day
from harness.protocol import DayResult, Request
from harness.run import run
from harness.run.warm import Warm

ADD_ONE = "    out = torch.empty_like(x)\n    n = x.numel()\n    add_one_kernel["
KERNEL = "    tl.store(out_ptr + offsets, x + 1, mask=mask)\n"

Grade = Callable[..., DayResult]


@pytest.fixture(scope="module")
def triton() -> Iterator[Warm]:
    with Warm("triton", "cpu") as launcher:  # what the checked interpreter says, on any machine
        yield launcher


@pytest.fixture(scope="module")
def pytorch() -> Iterator[Warm]:
    with Warm("pytorch") as launcher:
        yield launcher


def grade(
    folder: Path, launcher: Warm, day: Day, old: str, new: str, **wanted: object
) -> list[str]:
    """The messages of the failing tests when ``old`` is ``new`` in the day's reference."""
    source = day.solution.read_text(encoding="utf-8")
    assert source.count(old) == 1, source.count(old)
    (folder / day.file.name).write_text(source.replace(old, new), encoding="utf-8")
    wanted = {"device": "cpu" if day.track == "triton" else "auto", **wanted}
    request = Request(day.track, day.number, str(folder), seed=1, **wanted)  # type: ignore[arg-type]
    result = run(request, launcher)
    assert not result.problems, result.problems
    return [t.failure.message + t.failure.says for t in result.tests if t.failure]


def add_one(folder: Path, launcher: Warm, old: str, new: str, **wanted: object) -> list[str]:
    return grade(
        folder, launcher, Day("triton", 1), old, new, exercise="add_one",
        first_failure=True, **wanted,
    )  # fmt: skip


def test_a_launcher_may_not_compute(tmp_path: Path, triton: Warm) -> None:
    (message,) = add_one(tmp_path, triton, ADD_ONE, f"    return x + 1\n{ADD_ONE}")
    assert "`add` is torch's own computation" in message


def test_one_test_can_come_before_the_others(tmp_path: Path, triton: Warm) -> None:
    day = Day("triton", 1)
    source = day.solution.read_text(encoding="utf-8").replace(KERNEL, "    pass\n")
    (tmp_path / day.file.name).write_text(source, encoding="utf-8")
    request = Request(
        day.track, day.number, str(tmp_path), exercise="add_one", device="cpu", first_failure=True
    )

    def rejecting(first: str) -> tuple[str, list[str]]:
        tests = run(replace(request, first=first), triton).tests
        (failed,) = (t.name for t in tests if t.failure)
        return failed, [t.name for t in tests]

    usual, names = rejecting("")
    other = next(name for name in reversed(names) if name != usual)
    assert rejecting(other)[0] == other
    assert rejecting("test_of_old")[0] == usual


def test_an_output_starts_as_nan(tmp_path: Path, triton: Warm) -> None:
    (message,) = add_one(tmp_path, triton, KERNEL, "    pass\n")
    assert "never written" in message
    assert "nan" in message


def test_an_access_out_of_bounds_names_tensor_and_line(tmp_path: Path, triton: Warm) -> None:
    old = KERNEL
    (message,) = add_one(tmp_path, triton, old, old.replace(", mask=mask", ""))
    assert "`out_ptr`" in message
    assert "line" in message


def test_a_changed_input_is_noticed(tmp_path: Path, triton: Warm) -> None:
    (message,) = add_one(tmp_path, triton, ADD_ONE, ADD_ONE.replace("torch.empty_like(x)", "x"))
    assert message


def test_a_banned_function_is_refused(tmp_path: Path, pytorch: Warm) -> None:
    day = Day("pytorch", 16)
    source = day.solution.read_text(encoding="utf-8")
    head = '    """softmax(q kᵀ · scale + mask) v, over the keys'
    assert head in source
    text = source + (
        "\n\ndef scaled_dot_product_attention(q, k, v, mask=None, causal=False, dropout=0.0, "
        "scale=None):\n    return F.scaled_dot_product_attention(q, k, v, mask, dropout, causal, "
        "scale=scale)\n"
    )
    (tmp_path / day.file.name).write_text(text, encoding="utf-8")
    request = Request(
        day.track, day.number, str(tmp_path), seed=1, exercise="scaled_dot_product_attention"
    )
    result = run(request, pytorch)
    messages = [t.failure.message for t in result.tests if t.failure]
    assert any(m.startswith("torch's own `scaled_dot_product_attention`") for m in messages), (
        messages
    )
