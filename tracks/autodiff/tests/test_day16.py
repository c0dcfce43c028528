"""Day 16: views share memory, their strides are numpy's, and gradients find the way back."""

import itertools

import numpy as np
import pytest
import torch

from harness.testing import close, exercise
from tracks.autodiff import day16 as day

SHAPES = [(), (1,), (4,), (2, 3), (3, 1), (1, 1), (2, 3, 4), (5, 1, 2), (2, 0, 3), (0,)]


def leaf(rng, *shape):
    return day.Tensor(rng.normal(*shape), requires_grad=True)


def check(name, mine, theirs, rng, *inputs):
    """Values and gradients of ``mine(*tensors)`` against ``theirs(*torch tensors)``, in float64."""
    tensors = [day.Tensor(x, requires_grad=True) for x in inputs]
    twins = [torch.tensor(x, requires_grad=True) for x in inputs]
    result, wanted = mine(*tensors), theirs(*twins)
    assert result.shape == tuple(wanted.shape), (
        f"{name}: the shape came out {result.shape}, torch makes it {tuple(wanted.shape)}"
    )
    close(result.data, wanted.detach().numpy(), name=name)
    g = rng.normal(*result.shape)
    result.backward(g)
    wanted.backward(torch.tensor(g))
    for tensor, twin in zip(tensors, twins, strict=True):
        close(
            tensor.grad.data, twin.grad.numpy(), terms=g.size + 1, scale=4.0,
            name=f"{name}: gradient",
        )  # fmt: skip
    return result


def is_view(name, result, x):
    """The result looks at the memory of ``x``, in both directions of a change."""
    if x.numel():
        assert np.shares_memory(result.data, x.data), f"{name} copied the elements"


# -- strides -----------------------------------------------------------------------------------


@exercise("strides_of")
@pytest.mark.parametrize("shape", SHAPES + [(1, 7, 1, 2), (3, 2, 0)], ids=str)
def test_strides_of_are_torchs(shape):
    wanted = torch.empty(shape).stride()
    assert tuple(day.strides_of(shape)) == wanted, (
        f"strides_of({shape}) is {day.strides_of(shape)}; a fresh tensor has {wanted}"
    )
    assert day.strides_of(list(shape)) == wanted, "a list is a shape as well; a tuple is wanted"


@exercise("offset")
def test_offset_finds_every_element(rng):
    memory = np.arange(1000)
    base = memory.reshape(10, 20, 5)
    for array in (base, base.T, base[2:7, ::3], base[:, :, 1], base.transpose(1, 0, 2)[4:]):
        strides = [s // 8 for s in array.strides]
        start = int(array[(0,) * array.ndim])
        for _ in range(20):
            index = tuple(int(rng.integers(0, n)) for n in array.shape)
            found, right = start + day.offset(index, strides), int(array[index])
            assert found == right, f"index {index} with strides {strides}: {found - start} elements"
    assert day.offset((), ()) == 0
    assert day.offset((3, 2), (0, -4)) == -8, "strides may be 0 or negative"


@exercise("offset")
@pytest.mark.parametrize(("index", "strides"), [((1,), (1, 1)), ((1, 2, 3), (1, 1)), ((), (1,))])
def test_offset_refuses_another_count(index, strides):
    with pytest.raises(ValueError) as refusal:
        found = day.offset(index, strides)
        pytest.fail(f"offset({index}, {strides}) gave {found}: a ValueError was due")
    message = str(refusal.value)
    assert str(len(index)) in message and str(len(strides)) in message, f"how many? {message}"


@exercise("broadcast_strides")
@pytest.mark.parametrize(
    ("shape", "target"),
    [
        ((3,), (3,)), ((1,), (5,)), ((3, 1), (3, 4)), ((1, 4), (3, 4)), ((4,), (2, 3, 4)),
        ((3, 1), (2, 3, 4)), ((), (2, 3)), ((), ()), ((2, 1, 3), (2, 5, 3)), ((1,), (0,)),
        ((0,), (2, 0)), ((1, 1), (1, 3)), ((2, 3), (1, 2, 3)),
    ],
    ids=str,
)  # fmt: skip
def test_broadcast_strides_are_numpys(shape, target):
    for array in (np.zeros(shape), np.zeros(shape[::-1]).T):
        wanted = np.broadcast_to(array, target).strides
        found = day.broadcast_strides(shape, array.strides, target)
        # where an axis is no longer than 1 its stride is never used
        for i, n in enumerate(target):
            if n > 1:
                assert found[i] == wanted[i], (
                    f"{shape} as {target}: axis {i} has stride {found[i]}, numpy {wanted[i]}"
                )
        assert len(found) == len(target)


@exercise("broadcast_strides")
def test_broadcast_strides_keep_what_agrees():
    assert tuple(day.broadcast_strides((2, 3), (7, -2), (4, 2, 3))) == (0, 7, -2)
    found = tuple(day.broadcast_strides((2, 3), (3, 1), (1, 2, 3)))
    assert found == (0, 3, 1), f"an axis in front has stride 0, also where it has length 1: {found}"


@exercise("broadcast_strides")
@pytest.mark.parametrize(
    ("shape", "target"),
    [((3,), (4,)), ((2, 3), (3, 2)), ((2, 3), (3,)), ((3,), (3, 1)), ((3,), ()), ((2,), (0,))],
    ids=str,
)
def test_broadcast_strides_refuse_what_does_not_fit(shape, target):
    with pytest.raises(ValueError) as refusal:
        found = day.broadcast_strides(shape, day.strides_of(shape), target)
        pytest.fail(f"{shape} as {target} gave the strides {found}: a ValueError was due")
    message = str(refusal.value)
    assert all(str(n) in message for n in (*shape, *target)), f"which shapes? {message}"


@exercise("is_contiguous")
def test_is_contiguous_agrees_with_torch():
    base = torch.zeros(4, 3, 2)
    views = {
        "fresh": base, "transposed": base.mT, "reversed axes": base.permute(2, 1, 0),
        "first rows": base[:2], "last column": base[:, :, 1:], "every other row": base[::2],
        "one row": base[1:2], "one row of every matrix": base[:, 1:2],
        "expanded": base[:1].expand(4, 3, 2),
        "one element": base[0, 0, 0], "empty": base[:0].mT, "1 x 3": base[0, :, 0][None],
        "axes of length 1 exchanged": torch.zeros(3, 1).T, "one column": base[:, :, :1],
    }  # fmt: skip
    for name, view in views.items():
        got = day.is_contiguous(tuple(view.shape), view.stride())
        assert got is view.is_contiguous(), (
            f"{name}, shape {tuple(view.shape)} and strides {view.stride()}: {got}"
        )


@exercise("is_contiguous")
def test_is_contiguous_of_odd_strides():
    assert day.is_contiguous((1, 3), (99, 1)) is True, "the stride of an axis of length 1 is unused"
    assert day.is_contiguous((0, 2), (5, 5)) is True, "a tensor without elements is contiguous"
    assert day.is_contiguous((), ()) is True
    assert day.is_contiguous((2,), (0,)) is False
    assert day.is_contiguous((2, 2), (2, -1)) is False


# -- views -------------------------------------------------------------------------------------


@exercise("permute")
@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (2, 3, 4), (2, 0, 1)], ids=str)
def test_permute(shape, rng):
    for dims in itertools.permutations(range(len(shape))):
        name = f"permute of {shape} by {dims}"
        x = rng.normal(*shape)
        result = check(name, lambda t: day.permute(t, dims), lambda t: t.permute(dims), rng, x)  # noqa: B023
        is_view(name, result, result.parents[0])
        assert result.op == "permute"
    if len(shape) == 3:
        check("permute by (-1, 0, 1)", lambda t: day.permute(t, (-1, 0, 1)),
              lambda t: t.permute(-1, 0, 1), rng, rng.normal(*shape))  # fmt: skip


@exercise("permute")
@pytest.mark.parametrize("dims", [(0, 0), (0,), (0, 1, 1), (), (0, -2)], ids=str)
def test_permute_refuses_another_list(dims, rng):
    with pytest.raises(ValueError) as refusal:
        found = day.permute(leaf(rng, 2, 3), dims)
        pytest.fail(f"permute by {dims} of two axes gave {found.shape}: a ValueError was due")
    assert all(str(d) in str(refusal.value) for d in dims), f"which dims? {refusal.value}"


@exercise("permute")
@pytest.mark.parametrize("dims", [(0, 2), (-3, 1)], ids=str)
def test_permute_refuses_axes_that_are_not_there(dims, rng):
    with pytest.raises(IndexError):
        found = day.permute(leaf(rng, 2, 3), dims)
        pytest.fail(f"permute by {dims} of two axes gave {found.shape}: an IndexError was due")


@exercise("transpose")
def test_transpose(rng):
    for dims in [(0, 1), (1, 0), (0, 2), (2, 1), (-1, 0), (1, -1), (1, 1), (-1, -3)]:
        name = f"transpose of axes {dims}"
        result = check(name, lambda t: day.transpose(t, *dims), lambda t: t.transpose(*dims),  # noqa: B023
                       rng, rng.normal(2, 3, 4))  # fmt: skip
        x = day.Tensor(rng.normal(2, 3, 4))
        is_view(name, day.transpose(x, *dims), x)
        assert result.requires_grad


@exercise("transpose")
@pytest.mark.parametrize("dims", [(0, 2), (2, 0), (-3, 0)], ids=str)
def test_transpose_refuses_axes_that_are_not_there(dims, rng):
    with pytest.raises(IndexError):
        found = day.transpose(leaf(rng, 2, 3), *dims)
        pytest.fail(f"transpose{dims} of two axes gave {found.shape}: an IndexError was due")


@exercise("reshape")
@pytest.mark.parametrize(
    ("shape", "target"),
    [
        ((6,), (2, 3)), ((2, 3), (6,)), ((2, 3), (3, 2)), ((2, 3), (-1,)), ((2, 3), (3, -1)),
        ((4, 3), (2, -1, 3)), ((), (1, 1)), ((1,), ()), ((2, 3), (1, 6, 1)), ((0, 3), (3, 0)),
        ((0, 3), (0,)), ((0,), (-1, 2)), ((0, 2), (5, 0, 1)), ((1, 1), (-1,)),
    ],
    ids=str,
)  # fmt: skip
def test_reshape(shape, target, rng):
    name = f"reshape of {shape} to {target}"
    result = check(name, lambda t: day.reshape(t, target), lambda t: t.reshape(target),
                   rng, rng.normal(*shape))  # fmt: skip
    is_view(name, result, result.parents[0])
    assert result.op == "reshape"
    assert day.reshape(leaf(rng, *shape), list(target)).shape == result.shape, "a list as shape"


@exercise("reshape")
def test_reshape_of_a_transposed_matrix(rng):
    for target in [(6,), (2, 3), (3, 2, 1)]:
        result = check(f"reshape of a transposed matrix to {target}",
                       lambda t: day.reshape(day.transpose(t, 0, 1), target),  # noqa: B023
                       lambda t: t.T.reshape(target), rng, rng.normal(2, 3))  # noqa: B023 # fmt: skip
        assert result.shape == target
    x = day.Tensor(rng.normal(4, 6))
    cut = day.reshape(day.transpose(x, 0, 1), (2, 3, 4))
    assert np.shares_memory(cut.data, x.data), "an axis can be cut in two without a copy"


@exercise("reshape")
@pytest.mark.parametrize(
    ("shape", "target"),
    [
        ((2, 3), (4, 2)), ((2, 3), (-1, -1)), ((2, 3), (4, -1)), ((2, 3), ()), ((0, 3), (0, -1)),
        ((2, 3), (-2, -3)), ((2, 3), (-2, 3)), ((6,), (0, -1)), ((2, 3), (7,)), ((6,), (-6, -1)),
    ],
    ids=str,
)  # fmt: skip
def test_reshape_refuses_another_count(shape, target, rng):
    with pytest.raises(ValueError) as refusal:
        found = day.reshape(leaf(rng, *shape), target)
        pytest.fail(f"reshape of {shape} to {target} gave {found.shape}: a ValueError was due")
    message = str(refusal.value)
    assert all(str(n) in message for n in (*shape, *target)), f"which shapes? {message}"


@exercise("expand")
@pytest.mark.parametrize(
    ("shape", "target"),
    [
        ((3,), (2, 3)), ((3, 1), (3, 4)), ((1,), (5,)), ((), (2, 3)), ((1, 3), (2, 4, 3)),
        ((3, 1), (-1, 4)), ((3, 1), (2, -1, -1)), ((2, 3), (2, 3)), ((1, 1), (1, 3)), ((1,), (0,)),
        ((2, 1, 3, 1), (5, 2, 4, 3, 2)), ((0, 1), (0, 3)), ((), ()),
    ],
    ids=str,
)  # fmt: skip
def test_expand(shape, target, rng):
    name = f"expand of {shape} to {target}"
    result = check(name, lambda t: day.expand(t, target), lambda t: t.expand(target),
                   rng, rng.normal(*shape))  # fmt: skip
    is_view(name, result, result.parents[0]) if result.numel() else None
    assert result.op == "expand"


@exercise("expand")
def test_expand_of_any_strides(rng):
    check("expand of a transposed matrix", lambda t: day.expand(day.transpose(t, 0, 1), (4, 3, 2)),
          lambda t: t.T.expand(4, 3, 2), rng, rng.normal(2, 3))  # fmt: skip


@exercise("expand")
def test_expand_cannot_be_written_to(rng):
    x = day.Tensor(rng.normal(3, 1))
    wide = day.expand(x, (3, 4))
    with pytest.raises(ValueError):
        wide.data[0, 0] = 1.0
        pytest.fail("one element of an expanded tensor was written, and three others with it")
    x.data[1] = 9.0
    assert (wide.data[1] == 9.0).all(), "a change in x is not seen in the view"
    assert x.data.flags["WRITEABLE"], "x itself became read-only"


@exercise("expand")
@pytest.mark.parametrize(
    ("shape", "target"),
    [((3,), (4,)), ((3,), (3, 1)), ((2, 3), (3,)), ((3,), (-1, 3)), ((2,), (-2,)), ((2,), (0,))],
    ids=str,
)
def test_expand_refuses_what_does_not_fit(shape, target, rng):
    with pytest.raises(ValueError) as refusal:
        found = day.expand(leaf(rng, *shape), target)
        pytest.fail(f"expand of {shape} to {target} gave {found.shape}: a ValueError was due")
    message = str(refusal.value)
    assert all(str(n) in message for n in (*shape, *target)), f"which shapes? {message}"


@exercise("squeeze")
@pytest.mark.parametrize(
    ("shape", "dim"),
    [
        ((1, 3, 1), None), ((3,), None), ((), None), ((1, 1), None), ((1, 3, 1), 0), ((1, 3, 1), 1),
        ((1, 3, 1), -1), ((1, 3, 1), (0, 2)), ((1, 3, 1), (0, 1)), ((1, 0, 1), None),
        ((1, 3), (-2,)), ((2, 1, 3, 1), 1),
    ],
    ids=str,
)  # fmt: skip
def test_squeeze(shape, dim, rng):
    name = f"squeeze of {shape} by {dim}"

    def wanted(t):
        return t.squeeze() if dim is None else t.squeeze(dim)

    result = check(name, lambda t: day.squeeze(t, dim), wanted, rng, rng.normal(*shape))
    x = day.Tensor(rng.normal(*shape))
    is_view(name, day.squeeze(x, dim), x)
    assert result.requires_grad


@exercise("squeeze")
@pytest.mark.parametrize("dim", [2, -3, (0, 5)], ids=str)
def test_squeeze_refuses_axes_that_are_not_there(dim, rng):
    with pytest.raises(IndexError):
        found = day.squeeze(leaf(rng, 1, 3), dim)
        pytest.fail(f"squeeze of (1, 3) by {dim} gave {found.shape}: an IndexError was due")


@exercise("unsqueeze")
@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (2, 0)], ids=str)
def test_unsqueeze(shape, rng):
    for dim in range(-len(shape) - 1, len(shape) + 1):
        name = f"unsqueeze of {shape} at {dim}"
        result = check(name, lambda t: day.unsqueeze(t, dim), lambda t: t.unsqueeze(dim),  # noqa: B023
                       rng, rng.normal(*shape))  # fmt: skip
        is_view(name, result, result.parents[0])


@exercise("unsqueeze")
@pytest.mark.parametrize("dim", [3, -4], ids=str)
def test_unsqueeze_refuses_axes_that_are_not_there(dim, rng):
    with pytest.raises(IndexError):
        found = day.unsqueeze(leaf(rng, 2, 3), dim)
        pytest.fail(f"unsqueeze of two axes at {dim} gave {found.shape}: an IndexError was due")


@exercise("reshape")
def test_a_later_class_stays_itself(rng):
    class Later(day.Tensor):
        __slots__ = ()

    x = Later(rng.normal(2, 3), requires_grad=True)
    for name, y in [("reshape", x.reshape(6)), ("T", x.T), ("expand", x.expand(2, 2, 3))]:
        assert type(y) is Later, f"{name} of a Later is a {type(y).__name__}"


@exercise("reshape")
def test_a_chain_of_views(rng):
    check(
        "a chain of views",
        lambda t: (
            t.transpose(0, 1).unsqueeze(0).expand(2, 3, 2).reshape(3, 4).permute(1, 0).squeeze()
        ),
        lambda t: (
            t.transpose(0, 1).unsqueeze(0).expand(2, 3, 2).reshape(3, 4).permute(1, 0).squeeze()
        ),
        rng,
        rng.normal(2, 3),
    )
