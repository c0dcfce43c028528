"""Likeness of answers: what is found, what is not, and what does not count."""

from __future__ import annotations

from harness.curriculum import find_day, generate_stub, read_source
from harness.grade.similar import GRAM, WINDOW, fingerprints, likeness, tokens_of

DAY = find_day("autodiff", 2)
REFERENCE = read_source(DAY.solution)
STUB = generate_stub(REFERENCE, DAY.solution)

MINE = """
def accumulate(rows, weights):
    total = 0.0
    for index, row in enumerate(rows):
        if row is None or index in weights:
            continue
        total += weights.get(index, 1.0) * sum(value * value for value in row)
    while total > 100.0:
        total = total / 2.0 - len(rows)
    return {"total": total, "mean": total / max(1, len(rows))}
"""
COPIED = """
# all my own work

def add_up(data, w):
    '''Adds up.'''
    s = 0.
    for i, line in enumerate(data):
        if line is None or i in w:  # skip

            continue
        s += w.get(i, 1.5) * sum(v * v for v in line)
    while s > 1e2:
        s = s / 2 - len(data)
    return {'sum': s, 'average': s / max(1, len(data))}
"""
OTHER = """
def accumulate(rows, weights):
    squares = [sum(map(lambda v: v ** 2, r or ())) for r in rows]
    factors = [0.0 if i in weights else 1.0 for i, _ in enumerate(rows)]
    total = float(np.dot(squares, factors))
    steps = 0 if total <= 100 else int(np.ceil(np.log2(total / 100)))
    return dict(total=total * 0.5 ** steps, mean=total / len(rows) if rows else 0)
"""


def test_names_numbers_comments_and_layout_do_not_hide_a_copy() -> None:
    found = likeness({"ann": MINE, "bob": COPIED, "cat": OTHER}, "")
    [pair] = found.pairs
    assert (pair.left, pair.right) == ("ann", "bob")
    assert pair.share > 0.8
    first = pair.spans[0]
    lines = MINE.split("\n")
    assert any("for index, row" in lines[n - 1] for n in range(first.left[0], first.left[1] + 1))


def test_the_same_but_for_names_is_a_group() -> None:
    renamed = MINE.replace("total", "t").replace("weights", "w").replace("index", "i")
    found = likeness({"ann": MINE, "bob": renamed, "cat": OTHER}, "")
    assert found.groups == (("ann", "bob"),)
    assert found.pairs == ()


def test_a_piece_of_a_copy_is_found_in_other_work() -> None:
    mixed = OTHER + "\n".join(COPIED.split("\n")[4:])
    found = likeness({"ann": MINE, "bob": mixed}, "")
    [pair] = found.pairs
    line = OTHER.count("\n") + 1
    assert all(span.right[0] >= line for span in pair.spans), "its own part is no copy"


def test_the_stubs_own_lines_do_not_count() -> None:
    assert likeness({"ann": STUB, "bob": STUB}, STUB) == likeness({}, "")
    mine, yours = STUB + MINE, STUB + OTHER
    assert likeness({"ann": mine, "bob": yours}, STUB).pairs == ()
    assert likeness({"ann": mine, "bob": yours}, "").pairs != (), "the stub alone is much alike"


def test_what_a_whole_class_writes_says_nothing() -> None:
    """But for the two who share more than that."""
    usual = "\n".join(COPIED.split("\n")[4:9])
    class_of = {f"s{n}": f"{usual}\n    x{n} = y.a{n}(z.b{n}, 1) + w.c{n}\n" for n in range(20)}
    class_of["ann"] = usual + OTHER
    class_of["bob"] = usual + OTHER.replace("squares", "s") + "\n    q = r.s(t)\n"
    found = likeness(class_of, "")
    assert [(pair.left, pair.right) for pair in found.pairs] == [("ann", "bob")]


def test_winnowing_keeps_its_promise() -> None:
    """A shared stretch of WINDOW + GRAM - 1 tokens has a fingerprint, wherever it stands."""
    stretch = "\n".join(f"a.m{n}" for n in range((WINDOW + GRAM - 1) // 3 + 1))
    for before in range(6):
        left = "x = y.one + 2\n" * before + stretch + "\nz.end = [1, 2, 3]"
        right = "for q in r.two(): pass\n" * (before + 1) + stretch + "\nq.other(1)(2)(3)"
        shared = (
            fingerprints(tokens_of(left), set()).keys()
            & fingerprints(tokens_of(right), set()).keys()
        )
        assert shared, f"not found behind {before} lines"


def test_what_is_no_python_is_compared_all_the_same() -> None:
    broken = "def f(:\n  '''never closed\n" + MINE
    found = likeness({"ann": MINE + "'''", "bob": "def g(\n" + MINE, "eve": broken}, "")
    assert ("ann", "bob") in [(pair.left, pair.right) for pair in found.pairs]
