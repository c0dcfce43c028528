"""Where something is wrong, in words."""

from __future__ import annotations

import numpy as np
import pytest

from harness.testing.regions import describe

EVERY = slice(None)


def marked(shape, *places):
    wrong = np.zeros(shape, dtype=bool)
    for place in places:
        wrong[place] = True
    return wrong


@pytest.mark.parametrize(
    "shape, places, tile, sentence",
    [
        ((1025,), [slice(1024, None)], 128, "only this one element"),
        (
            (1030,),
            [slice(1024, None)],
            128,
            "elements 1024-1029, the last, partial block of axis 0",
        ),
        ((1024,), [slice(896, None)], 128, "only elements 896-1023, the last block of axis 0"),
        ((1024,), [slice(0, 128)], 128, "only elements 0-127, the first block of axis 0"),
        ((1024,), [slice(128, None)], 128, "only the first block of axis 0 is right"),
        ((512,), [slice(None, None, 128)], 128, "always position 0 of a block"),
        ((100,), [slice(93, None)], None, "only elements 93-99, the last 7 of 100"),
        ((100,), [slice(0, 3)], None, "only elements 0-2, the first 3 of 100"),
        ((100,), [slice(1, None)], None, "only elements 1-99, all but the first"),
        ((100,), [slice(1, None, 2)], None, "only every 2nd of the elements, from 1 on"),
        ((71, 40), [(slice(64, 71),)], (64, 64), "rows 64-70, the last, partial block of axis 0"),
        ((64, 40), [(EVERY, slice(32, 40))], (1, 32), "columns 32-39, the last, partial block"),
        ((64, 40), [(EVERY, 7)], None, "only column 7"),
        ((64, 40), [(3,), (9,), (60,)], None, "only rows 3, 9, 60"),
        ((2, 6, 8), [(1,)], None, "only position 1 of axis 0, the last of 2"),
        ((9, 9), [np.triu_indices(9, 1)], None, "only above the diagonal"),
        ((9, 9), [np.tril_indices(9)], None, "only on and below the diagonal"),
        ((9, 9), [np.diag_indices(9)], None, "only on the diagonal"),
        ((64, 64), [(slice(32, 64), slice(0, 32))], (32, 32), "all of the tile (1, 0): 1 of 4"),
        ((64, 64), [(40, 3), (41, 5)], (32, 32), "in the tile (1, 0): 1 of 4 tiles of 32 x 32"),
    ],
)
def test_sentences(shape, places, tile, sentence):
    found = describe(marked(shape, *places), tile)
    assert any(sentence in text for text in found), found


def test_all_or_nothing_needs_no_words():
    assert describe(np.zeros((3, 4), dtype=bool)) == []
    assert describe(np.ones((3, 4), dtype=bool), (1, 2)) == []
    assert describe(np.zeros((0, 4), dtype=bool)) == []


def test_scattered():
    wrong = np.random.default_rng(0).random((50, 60)) < 0.3
    assert describe(wrong) == ["scattered over the whole result"]
    assert describe(wrong, (25, 20)) == ["in every one of the 6 tiles of 25 x 20"]


def test_only_the_first_tiles_are_named():
    wrong = marked((64, 5), (slice(0, 64, 2), 2))
    assert any("0, 2, 4" not in text and ", ..." in text for text in describe(wrong, (1, 5)))
