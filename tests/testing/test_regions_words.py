"""Where something is wrong: whole answers, word for word."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harness.testing.regions import describe, full_tile

ALL = slice(None)


def marked(shape: tuple[int, ...], *places: Any) -> np.ndarray:
    wrong = np.zeros(shape, dtype=bool)
    for place in places:
        wrong[place] = True
    return wrong


@pytest.mark.parametrize(
    ("size", "wrong", "text"),
    [
        (10, [2], "only this one element"),
        (10, [2, 7], "only elements 2, 7"),
        (10, [0, 3, 4, 7, 9], "only elements 0, 3, 4, 7, 9"),
        (10, [0, 1], "only elements 0-1, the first 2 of 10"),
        (10, [8, 9], "only elements 8-9, the last 2 of 10"),
        (3, [1, 2], "only elements 1-2, all but the first"),
        (10, range(3, 6), "only elements 3-5 of 10"),
        (40, range(0, 40, 3), "only every 3rd of the elements, from 0 on"),
        (40, range(1, 40, 7), "only every 7th of the elements, from 1 on"),
        (40, range(0, 40, 11), "only elements 0, 11, 22, 33"),
        (40, [0, 1, 3, 7, 15, 31], "in 6 of 40 elements"),
        (200, range(0, 200, 21), "only every 21st of the elements, from 0 on"),
        (200, range(3, 200, 22), "only every 22nd of the elements, from 3 on"),
        (200, range(0, 200, 11), "only every 11th of the elements, from 0 on"),
        (200, range(0, 200, 12), "only every 12th of the elements, from 0 on"),
        (200, range(0, 200, 13), "only every 13th of the elements, from 0 on"),
        (900, range(0, 900, 111), "only every 111th of the elements, from 0 on"),
        (900, range(0, 900, 101), "only every 101st of the elements, from 0 on"),
    ],
)
def test_one_axis(size: int, wrong: Any, text: str) -> None:
    assert describe(marked((size,), list(wrong))) == [text]


@pytest.mark.parametrize(
    ("size", "wrong", "axis", "tiles"),
    [
        (12, range(8, 12), "only elements 8-11, the last block of axis 0", "all of the tile 2: 1"),
        (11, range(8, 11), "only elements 8-10, the last, partial block of axis 0",
         "all of the tile 2: 1"),
        (12, range(9, 12), "only elements 9-11, the last block of axis 0", "in the tile 2: 1"),
        (12, range(0, 4), "only elements 0-3, the first block of axis 0", "all of the tile 0: 1"),
        (12, range(0, 3), "only elements 0-2, the first block of axis 0", "in the tile 0: 1"),
        (12, range(4, 12), "only elements 4-11: only the first block of axis 0 is right",
         "all of the tiles 1, 2: 2"),
        (12, range(5, 12), "only elements 5-11, the last 7 of 12", "in the tiles 1, 2: 2"),
        (12, [1, 5, 9], "only elements 1, 5, 9: always position 1 of a block", ""),
        (12, [1, 2, 5, 6, 9, 10], "in 6 of 12 elements: always positions 1-2 of a block", ""),
        (12, range(0, 12, 2), "only every 2nd of the elements, from 0 on", ""),
        (12, [8], "only this one element", "in the tile 2: 1"),
    ],
)  # fmt: skip
def test_blocks_of_four(size: int, wrong: Any, axis: str, tiles: str) -> None:
    ends = f" of {-(-size // 4)} tiles of 4"
    wanted = [axis, tiles + ends] if tiles else [axis]
    assert describe(marked((size,), list(wrong)), 4) == wanted


def test_a_single_block_is_no_place() -> None:
    assert describe(marked((4,), slice(0, 2)), 4) == ["only elements 0-1, the first 2 of 4"]
    assert describe(marked((4,), slice(2, 4)), 4) == ["only elements 2-3, the last 2 of 4"]
    assert describe(marked((20,), 3), 20) == ["only this one element"]
    assert describe(marked((20,), 3), 1) == [
        "only this one element", "all of the tile 3: 1 of 20 tiles of 1",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("shape", "place", "texts"),
    [
        ((5, 6), (2,), ["only row 2 of 5"]),
        ((5, 6), (slice(1, 3),), ["only rows 1-2 of 5"]),
        ((5, 6), (ALL, 0), ["only column 0, the first of 6"]),
        ((5, 6), (ALL, slice(4, 6)), ["only columns 4-5, the last 2 of 6"]),
        ((5, 6), (1, [2, 4]), ["only row 1 of 5", "only columns 2, 4"]),
        ((1, 6), (0, slice(0, 2)), ["only columns 0-1, the first 2 of 6"]),
        ((6, 1), (slice(0, 2), 0), ["only rows 0-1, the first 2 of 6"]),
        ((200, 2), (slice(0, 200, 21),), ["only every 21st of the rows, from 0 on"]),
        ((2, 200), (ALL, slice(0, 200, 21)), ["only every 21st of the columns, from 0 on"]),
        ((5, 6, 7), (ALL, ALL, 2), ["only position 2 of axis 2 (size 7)"]),
        ((5, 6, 7), (ALL, slice(1, 3)), ["only positions 1-2 of axis 1 (size 6)"]),
        ((5, 6, 7), (4,), ["only position 4 of axis 0, the last of 5"]),
        ((5, 6, 7), (slice(1, 5),), ["only positions 1-4 of axis 0, all but the first"]),
        (
            (5, 60, 7),
            (ALL, slice(0, 60, 3)),
            ["only every 3rd of the positions of axis 1, from 0 on"],
        ),
        ((5, 60, 7), (ALL, [0, 1, 3, 7, 15, 31]), ["in 6 of 60 positions of axis 1"]),
        ((3, 2), (slice(1, 3),), ["only rows 1-2, all but the first"]),
        ((2, 3), (1,), ["only row 1, the last of 2"]),
    ],
)
def test_several_axes(shape: tuple[int, ...], place: Any, texts: list[str]) -> None:
    assert describe(marked(shape, place)) == texts


FOURS = "tiles of 4 x 4"


@pytest.mark.parametrize(
    ("shape", "places", "texts"),
    [
        (
            (8, 8),
            [(slice(0, 4), slice(0, 4))],
            [
                "only rows 0-3, the first block of axis 0",
                "only columns 0-3, the first block of axis 1",
                f"all of the tile (0, 0): 1 of 4 {FOURS}",
            ],
        ),
        (
            (8, 8),
            [(slice(0, 4), slice(0, 4)), (slice(4, 8), slice(4, 8))],
            [f"all of the tiles (0, 0), (1, 1): 2 of 4 {FOURS}"],
        ),
        (
            (8, 8),
            [(0, 0), (5, 5)],
            [
                "only rows 0, 5: always positions 0-1 of a block",
                "only columns 0, 5: always positions 0-1 of a block",
                f"in the tiles (0, 0), (1, 1): 2 of 4 {FOURS}",
            ],
        ),
        (
            (6, 7),
            [(slice(4, 6), slice(4, 7))],
            [
                "only rows 4-5, the last, partial block of axis 0",
                "only columns 4-6, the last, partial block of axis 1",
                f"all of the tile (1, 1): 1 of 4 {FOURS}",
            ],
        ),
        (
            (6, 7),
            [(slice(4, 6), slice(4, 6))],
            [
                "only rows 4-5, the last, partial block of axis 0",
                "only columns 4-5, the last, partial block of axis 1",
                f"in the tile (1, 1): 1 of 4 {FOURS}",
            ],
        ),
        (
            (2, 6, 7),
            [(1, slice(4, 6), slice(4, 7))],
            [
                "only position 1 of axis 0, the last of 2",
                "only positions 4-5 of axis 1, the last, partial block of axis 1",
                "only positions 4-6 of axis 2, the last, partial block of axis 2",
                "all of the tile (1, 1, 1): 1 of 8 tiles of 1 x 4 x 4",
            ],
        ),
        (
            (8, 8),
            [(slice(0, 8, 2), slice(0, 8, 2)), (slice(1, 8, 2), slice(1, 8, 2))],
            [f"in every one of the 4 {FOURS}"],
        ),
    ],
)
def test_tiles(shape: tuple[int, ...], places: list[Any], texts: list[str]) -> None:
    assert describe(marked(shape, *places), (4, 4)) == texts


def test_five_tiles_are_named() -> None:
    every = "only every 2nd of the elements, from 0 on"
    six = marked((20,), slice(0, 11, 2))
    assert describe(six, 2) == [every, "in the tiles 0, 1, 2, 3, 4, ...: 6 of 10 tiles of 2"]
    five = marked((20,), slice(0, 9, 2))
    assert describe(five, 2)[1] == "in the tiles 0, 1, 2, 3, 4: 5 of 10 tiles of 2"


TRIANGLES = {
    "only above the diagonal": lambda n: np.triu_indices(n, 1),
    "only on and above the diagonal": np.triu_indices,
    "only below the diagonal": lambda n: np.tril_indices(n, -1),
    "only on and below the diagonal": np.tril_indices,
    "only on the diagonal": np.diag_indices,
}


@pytest.mark.parametrize("text", TRIANGLES)
@pytest.mark.parametrize("n", [3, 4, 9])
def test_triangles(text: str, n: int) -> None:
    places = TRIANGLES[text](n)  # type: ignore[operator]
    assert describe(marked((n, n), places)) == [text]
    assert describe(marked((2, n, n), (ALL, *places))) == [text]
    assert describe(marked((2, n, n), (0, *places)))[0] != text  # in half of them
    if "above" not in text:
        assert describe(marked((n, n + 2), places)) == [text]


def test_what_is_no_triangle() -> None:
    assert describe(marked((4, 4), (0, [1, 2]))) == ["only row 0, the first of 4",
                                                     "only columns 1-2 of 4"]  # fmt: skip
    assert describe(marked((2, 3), (0, [1, 2]), (1, 2))) == ["only columns 1-2, all but the first"]
    assert describe(marked((5, 5), np.triu_indices(5, 1), (4, 0))) != ["only above the diagonal"]
    # Nine of ten are enough, eight of ten are not.
    wrong = marked((5, 5), np.triu_indices(5, 1))
    wrong[0, 4] = False
    assert describe(wrong) == ["only above the diagonal"]
    wrong[1, 4] = False
    assert "only above the diagonal" not in describe(wrong)


def test_a_tile_has_a_size_for_each_axis() -> None:
    assert full_tile(None, 2) is None
    assert full_tile(4, 1) == (4,)
    assert full_tile(4, 3) == (1, 1, 4)
    assert full_tile([2, 4], 2) == (2, 4)
    assert full_tile(1, 1) == (1,)
    for tile, ndim in (((1, 2), 1), (0, 1), ((2, 0), 2), (-1, 2)):
        with pytest.raises(ValueError, match="does not fit a result with"):
            full_tile(tile, ndim)
