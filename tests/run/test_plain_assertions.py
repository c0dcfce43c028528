"""An assertion of a test that has no sentence of its own still says what was compared."""

from __future__ import annotations

from pathlib import Path

from tests.support.toy import Toy


def test_pytest_rewrites_the_assertions_of_a_day(tmp_path: Path) -> None:
    toy = Toy(tmp_path / "project")
    toy.add_day(1)
    tests = toy.track / "tests" / "test_day01.py"
    plain = "\n\n@exercise('double')\ndef test_plain():\n    assert day01.double(3) == 7\n"
    tests.write_text(tests.read_text() + plain)
    shown = toy.run("-m", "harness", "autodiff", "1", "--impl", "solution").stdout
    assert "assert 6.0 == 7" in shown, shown
