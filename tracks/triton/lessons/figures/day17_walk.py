"""Draws day17_walk.svg: where two tiles of pointers point in memory, step by step along K.

python -m tracks.triton.lessons.figures.day17_walk
"""

from __future__ import annotations

import torch

from harness.figures import Step, Stepped

K, BLOCK = 5, 2
A, B = torch.arange(2 * K).view(2, K), torch.arange(2 * K).view(K, 2)


def main() -> None:
    figure = Stepped(__file__, height=306)
    a_step, b_step = BLOCK * A.stride(1), BLOCK * B.stride(0)
    row, inner = torch.arange(2), torch.arange(BLOCK)
    a_tile = row[:, None] * A.stride(0) + inner[None, :] * A.stride(1)
    b_tile = inner[:, None] * B.stride(0) + row[None, :] * B.stride(1)
    total = torch.zeros(2, 2, dtype=torch.long)
    for start in range(0, K, BLOCK):
        left = inner < K - start
        a_mask, b_mask = left[None, :].expand(2, BLOCK), left[:, None].expand(BLOCK, 2)
        total += load(A, a_tile, a_mask) @ load(B, b_tile, b_mask)
        ks = " and ".join(str(start + i) for i in range(int(left.sum())))
        if start == 0:
            caption = (
                f"k = {ks}. Each number is its own place in memory. Both tiles of pointers are "
                "made once, before the loop."
            )
        elif bool(left.all()):
            caption = (
                f"k = {ks}. Every pointer of a has gone on by {a_step}, every pointer of b by "
                f"{b_step}. No address was computed anew."
            )
        else:
            astray = a_tile[0][~left].tolist()
            caption = (
                f"k = {ks}, the last. Dashed pointers are masked and load 0: one points at "
                f"{astray[0]}, which is row 1's, the others behind the matrices."
            )
        step = figure.step(caption)
        matrix(step, 4, "a", A, a_tile, a_mask, f"each + {BLOCK} · {A.stride(1)} a step")
        matrix(step, 132, "b", B, b_tile, b_mask, f"each + {BLOCK} · {B.stride(0)} a step")
        a_tile, b_tile = a_tile + a_step, b_tile + b_step
    assert torch.equal(total, A @ B)
    figure.save()


def load(x: torch.Tensor, places: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return torch.where(mask, x.flatten()[places.clamp(max=x.numel() - 1)], 0)


def matrix(
    step: Step, y: float, name: str, x: torch.Tensor, tile: torch.Tensor, mask: torch.Tensor,
    walk: str,
) -> None:  # fmt: skip
    """The matrix, its tile of pointers beside it, and below both the memory that it lies in."""
    read = set(tile[mask].tolist())
    masked = set(tile[~mask].tolist())
    rows, columns = x.shape
    step.text(6, y + 12, f"{name}, strides {tuple(x.stride())}", "start", bold=True)
    step.text(190, y + 12, "pointers", "start", bold=True)
    for i in range(rows):
        for j in range(columns):
            place = int(x[i, j])
            now = place in read
            step.box(6 + 28 * j, y + 20 + 20 * i, 28, 20, str(place), "b" if now else "n")
    for i in range(2):
        kinds = "".join("b" if inside else "x" for inside in mask[i].tolist())
        step.row(190, y + 20 + 20 * i, tile[i].tolist(), kinds, 32, 20)
    step.text(190, y + 76, walk, "start")
    low = y + 44 + 20 * max(rows, 2)
    step.text(6, low - 6, f"{name} in memory", "start")
    places = range(x.numel() + 2)
    for place in sorted(places, key=lambda place: place in read or place in masked):
        kind = "b" if place in read else "x" if place in masked or place >= x.numel() else "n"
        text = str(place) if place < x.numel() else "?"
        step.box(6 + 29 * place, low, 29, 20, text, kind, place in read or place in masked)


if __name__ == "__main__":
    main()
