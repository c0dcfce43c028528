"""What an update tells of the commits that it brings."""

from __future__ import annotations

from harness.update.news import COMMIT, MOST, news


def log(*commits: tuple[str, str]) -> str:
    """As git prints it."""
    texts = (f"{COMMIT}{subject}\n\n" + "\n".join(paths.split()) for subject, paths in commits)
    return "\n".join(texts)


def test_a_change_of_days_is_told_with_the_days() -> None:
    said = news(
        log(
            ("A clearer lesson", "tracks/autodiff/lessons/day03.md README.md"),
            (
                "New inputs",
                "tracks/autodiff/tests/test_day05.py tracks/triton/day12.py "
                "tracks/triton/solutions/day12.py tracks/autodiff/bugs/day03.toml",
            ),
            ("Triton 7: a drawing", "tracks/triton/lessons/figures/day07_grid.svg"),
            ("All docstrings", " ".join(f"tracks/pytorch/day{n:02d}.py" for n in range(1, 9))),
        )
    )
    assert said == [
        "autodiff 3: A clearer lesson",
        "autodiff 3, 5; triton 12: New inputs",
        "Triton 7: a drawing",
        "8 days: All docstrings",
    ]


def test_what_concerns_no_day_is_counted() -> None:
    rest = [("ruff", "harness/run/jail.py tests/test_x.py"), ("", "README.md"), ("empty", "")]
    said = news(log(*rest, ("Sizes", "tracks/pytorch/benches/bench_day20.py")))
    assert said == [
        "pytorch 20: Sizes",
        "3 changes elsewhere: the harness, its tests, texts",
    ]
    assert news(log(("a module of the track", "tracks/pytorch/rope.py"))) == [
        "1 change elsewhere: the harness, its tests, texts"
    ]
    assert news("") == []


def test_many_changes_are_cut() -> None:
    said = news(log(*[(f"No. {n}", "tracks/triton/day01.py") for n in range(MOST + 2)]))
    assert said[-2:] == [f"triton 1: No. {MOST - 1}", "and 2 more changes of days"]
