"""The given grouped product of PyTorch's day 30: every layout and dtype, forwards and backwards."""

import pytest
import torch

from tracks.pytorch.grouped import grouped_mm

ENDS = ([3, 3, 9, 10], [10, 10, 10, 10], [0, 0, 0, 10], [0, 0, 0, 0])


def by_hand(x: torch.Tensor, weight: torch.Tensor, ends: list[int]) -> torch.Tensor:
    starts = [0, *ends[:-1]]
    return torch.cat([x[a:b] @ w for a, b, w in zip(starts, ends, weight, strict=True)])


@pytest.mark.parametrize("ends", ENDS, ids=str)
@pytest.mark.parametrize("sizes", [(12, 7), (16, 32), (1, 1), (8, 0)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("stored", ["(out, in)", "(in, out)"])
def test_rows_meet_their_group(
    ends: list[int], sizes: tuple[int, int], dtype: torch.dtype, stored: str
) -> None:
    torch.manual_seed(0)
    a, b = sizes
    x = torch.randn(ends[-1], a).to(dtype).requires_grad_()
    weight = torch.randn(4, a, b).to(dtype)
    weight = (weight if stored == "(in, out)" else weight.mT.contiguous().mT).requires_grad_()
    due = by_hand(x, weight, ends)
    probe = torch.randn_like(due)
    limits = {"atol": 0.1, "rtol": 0.02} if dtype == torch.bfloat16 else {}
    for grad in (True, False):
        with torch.set_grad_enabled(grad):
            got = grouped_mm(x, weight, torch.tensor(ends, dtype=torch.int32))
        torch.testing.assert_close(got, due.detach(), **limits)
    got = grouped_mm(x, weight, torch.tensor(ends, dtype=torch.int32))
    mine = torch.autograd.grad(got, (x, weight), probe)
    for found, wanted in zip(mine, torch.autograd.grad(due, (x, weight), probe), strict=True):
        torch.testing.assert_close(found, wanted, **limits)


def test_compiled() -> None:
    x, weight = torch.randn(10, 12), torch.randn(4, 12, 7)
    ends = torch.tensor(ENDS[0], dtype=torch.int32)
    compiled = torch.compile(grouped_mm, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x, weight, ends), by_hand(x, weight, ENDS[0]))


def test_gradients_of_the_weights_are_one_product(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not one for each group: with 64 experts that would be 64 launches, and a wait for ends."""
    x = torch.randn(10, 16, requires_grad=True)
    weight = torch.randn(4, 16, 32, requires_grad=True)
    ends = torch.tensor(ENDS[0], dtype=torch.int32)
    due = torch.autograd.grad(by_hand(x, weight, ENDS[0]).sum(), (x, weight))

    def alone(*_: object, **__: object) -> None:
        raise AssertionError("a product for each group")

    monkeypatch.setattr(torch, "mm", alone)
    got = torch.autograd.grad(grouped_mm(x, weight, ends).sum(), (x, weight))
    torch.testing.assert_close(got, due)
