"""Day 20: torch's indexing, a gradient for every reading, and results with memory of their own."""

# ruff: noqa: B023 (every lambda is called in the round of the loop that makes it)

import numpy as np
import pytest
import torch

from harness.testing import close, exercise
from tracks.autodiff import day20 as day


def check(name, mine, theirs, rng, *inputs, view=lambda t: t):
    """Values and gradients of ``mine(*tensors)`` against ``theirs(*torch tensors)``, in float64."""
    inputs = [np.array(x) for x in inputs]
    leaves = [day.Tensor(x, requires_grad=True) for x in inputs]
    twins = [torch.tensor(x, requires_grad=True) for x in inputs]
    result, wanted = mine(*map(view, leaves)), theirs(*map(view, twins))
    assert result.shape == tuple(wanted.shape), (
        f"{name}: the shape came out {result.shape}, torch makes it {tuple(wanted.shape)}"
    )
    assert isinstance(result.data, np.ndarray), f"{name}: the data are no array"
    close(result.data, wanted.detach().numpy(), scale=4.0, name=name)
    g = np.array(rng.normal(*result.shape))
    before = g.copy()
    result.backward(g)
    wanted.backward(torch.tensor(g))
    for which, leaf, twin, x in zip("abc", leaves, twins, inputs, strict=False):
        assert leaf.grad is not None, f"{name}: no gradient arrived at operand {which}"
        close(
            leaf.grad.data,
            twin.grad.numpy(),
            terms=g.size + 4,
            scale=8.0,
            name=f"{name}: gradient of operand {which}",
        )
        close(leaf.data, x, name=f"{name}: operand {which}")
    close(g, before, name=f"{name}: the gradient that came in")
    return result


def own_memory(name, result, *operands):
    for x in operands:
        assert not np.shares_memory(result.data, x.data), (
            f"{name}: the result lies in the memory of an operand; writing to one changes the other"
        )


def refuses(what, error, f, *words):
    with pytest.raises(error) as refusal:
        found = f()
        pytest.fail(f"{what} gave {found}: a {error.__name__} was due")
    for word in words:
        assert str(word) in str(refusal.value), f"{what}: {word} is not named: {refusal.value}"


def of_half(name, f, x, right, right_share):
    """float16: 4000 ones added one by one in float16 stop at 2048."""
    leaf = day.Tensor(np.array(x, np.float16), requires_grad=True)
    result = f(leaf)
    close(result.data, right, dtype="float16", name=f"{name} of float16")
    result.backward(np.ones(result.shape, np.float16))
    close(leaf.grad.data, right_share, dtype="float16", name=f"{name} of float16: gradient")


# -- x[...] ------------------------------------------------------------------------------------

A = np.array
BASIC = [
    ((4,), 1), ((4,), -1), ((4,), slice(1, 3)), ((4,), slice(None, None, 2)), ((4,), slice(9, 12)),
    ((4,), None), ((4,), ...), ((4,), ()), ((), ()), ((), ...), ((), None), ((2, 3), (1, 2)),
    ((2, 3, 4), (slice(None), 1)), ((2, 3, 4), (..., -1)), ((2, 3, 4), (0, ..., slice(1, None))),
    ((2, 3, 4), (slice(None), None, slice(0, 2))), ((2, 3, 4), (None, 1, ..., None)),
    ((2, 0), (1,)), ((2, 0), (slice(None), slice(0, 5))), ((2, 3), (slice(1, 1), 0)),
    ((2, 3, 4), (0, 1, 2)), ((3, 4), (slice(-2, None), slice(-3, -1))),
]  # fmt: skip
CHOSEN = [
    ((4,), A([1, 3, 1])), ((4,), A([-1, 0, -1, 3])), ((4,), A([[0, 1], [1, 1]])),
    ((4,), A([], int)), ((2, 3), (A([0, 1, 1]), A([2, 0, 0]))),
    ((2, 3), (A([[0], [1]]), A([2, 0, 2]))), ((2, 3, 4), (slice(None), A([2, 0, 2]))),
    ((2, 3, 4), (slice(0, 1), A([1, 1]), slice(1, 3))), ((2, 3, 4), (..., A([3, 3]))),
    ((2, 3, 4), (A([1, 0, 1]), slice(None), A([3, 0, 3]))),
    ((2, 3, 4), (A([0, 1, 1]), A([2, 0, 0]), slice(1, None))),
    ((2, 3, 4), (A([0, 1]), None, A([2, 0]))), ((2, 3, 4), (None, A([[1, 0]]), 1)),
    ((2, 3, 4), (slice(None), A([2]), A([0, 1, 1]))), ((5, 1, 2), (A([4, 4]), 0, A([1, 1]))),
    ((2, 0), (A([1, 1]),)), ((0, 3), (slice(None), A([2, 2]))),
]  # fmt: skip
NUMBERS_FIRST = [
    ((2, 3, 4), (0, slice(None), A([0, 3, 3, 1, 2]))), ((2, 3, 4), (A([1, 0]), slice(None), 2)),
    ((2, 3, 4), (A([1, 0, 1]), 1, A([3, 0, 3]))), ((2, 3, 4), (1, ..., A([0, 0]))),
    ((2, 3, 4, 2), (0, A([1, 1, 2]), slice(None), 1)),
    ((2, 3, 4, 2), (A([1, 1]), 0, slice(None), A([0, 1]))),
]  # fmt: skip
MASKS = [
    ((4,), A([True, False, True, True])), ((4,), A([False] * 4)), ((2, 3), A([True, False])),
    ((2, 3), A([[True, False, True], [False, False, True]])),
    ((2, 3), (slice(None), A([True, False, True]))),
    ((2, 3, 4), (..., A([True, False, False, True]))),
    ((2, 3, 4), (A([[True, False, True], [False, True, True]]), slice(1, 3))),
    ((2, 3, 4), (A([[True, False, True], [False, True, True]]), 1)),
    ((2, 3, 4), (1, slice(None), A([True, False, False, True]))),
    ((2, 3), (A([1, 0]), A([True, False, True]))), ((0, 3), A([], bool)),
]  # fmt: skip


def with_arrays(index, make):
    """The index with each array made a list, a tensor or whatever ``make`` makes of it."""
    if isinstance(index, tuple):
        return tuple(with_arrays(part, make) for part in index)
    return make(index) if isinstance(index, np.ndarray) else index


def shown(index):
    return str(with_arrays(index, lambda a: a.tolist())).replace("None, None)", ")")


def index_check(shape, index, rng, forms=(day.Tensor,)):
    for make in forms:
        name = f"x{list(shape)}[{shown(index)}], arrays as {make.__name__}"
        result = check(
            name,
            lambda x: day.getitem(x, with_arrays(index, make)),
            lambda x: x[with_arrays(index, torch.tensor)],
            rng,
            rng.normal(*shape),
        )
        assert result.op == "getitem", f"the op of getitem is {result.op!r}"


def as_list(array):
    return array.tolist()


@exercise("getitem")
@pytest.mark.parametrize(("shape", "index"), BASIC, ids=str)
def test_getitem_by_numbers_and_slices_is_a_view(shape, index, rng):
    index_check(shape, index, rng)
    x = day.Tensor(rng.normal(*shape))
    y = day.getitem(x, index)
    if y.numel():
        assert np.shares_memory(x.data, y.data), f"x{list(shape)}[{shown(index)}] copied elements"


@exercise("getitem")
def test_getitem_by_arrays(rng):
    for shape, index in CHOSEN:
        index_check(shape, index, rng, (day.Tensor, np.asarray, as_list))
        x = day.Tensor(rng.normal(*shape))
        own_memory(f"x{list(shape)}[{shown(index)}]", day.getitem(x, index), x)


@exercise("getitem")
def test_getitem_takes_the_numbers_first(rng):
    for shape, index in NUMBERS_FIRST:
        index_check(shape, index, rng, (day.Tensor, np.asarray))


@exercise("getitem")
def test_getitem_by_masks(rng):
    for shape, index in MASKS:
        index_check(shape, index, rng, (day.Tensor, np.asarray))


@exercise("getitem")
def test_getitem_of_strided_tensors(rng):
    for index in [(1, slice(None), A([0, 1, 1])), (slice(1, None, 2), 0), A([3, 3, 0])]:
        check(
            f"x.T[{shown(index)}]",
            lambda x: day.getitem(x, with_arrays(index, day.Tensor)),
            lambda x: x[with_arrays(index, torch.tensor)],
            rng,
            rng.normal(2, 3, 4),
            view=lambda t: t.transpose(0, 2),
        )
    check(
        "an expanded tensor at an index",
        lambda x: day.getitem(x, ([0, 0, 2], 1)),
        lambda x: x[[0, 0, 2], 1],
        rng,
        rng.normal(1, 2),
        view=lambda t: t.expand(3, 2),
    )
    x = day.Tensor(rng.normal(3, 4), requires_grad=True)
    check(
        "one part after another",
        lambda x: x[1:][:, [2, 2]][0] * x[0, :2],
        lambda x: x[1:][:, [2, 2]][0] * x[0, :2],
        rng,
        x.data,
    )


@exercise("getitem")
def test_getitem_adds_float16_up_in_float32():
    of_half(
        "x[[0] * 4000]",
        lambda x: day.getitem(x, [0] * 4000),
        [1.0, 2.0],
        np.ones(4000),
        np.array([4000.0, 0.0]),
    )


@exercise("getitem")
def test_getitem_keeps_its_index(rng):
    for index in (A([1, 3, 1]), A([True, False, True, True])):
        for make in (day.Tensor, np.asarray):
            part = make(index.copy())
            x = day.Tensor(rng.normal(4), requires_grad=True)
            y = day.getitem(x, part)
            (part if isinstance(part, np.ndarray) else part.data)[...] = 0
            y.backward(np.ones(3))
            right = np.bincount(np.arange(4)[index], minlength=4).astype(float)
            close(x.grad.data, right, name="gradient, the index overwritten before the backward")
    numbers = day.Tensor(np.arange(5, dtype=np.int32))
    assert day.getitem(numbers, [3, 1]).dtype == np.int32, "integers are indexed as well"
    assert day.getitem(day.Tensor([True, False]), 1).tolist() is False


@exercise("getitem")
def test_getitem_refuses(rng):
    x = day.Tensor(rng.normal(2, 3))
    for index in [
        2,
        -3,
        (0, 3),
        (0, 0, 0),
        [2],
        (slice(None), [3]),
        (slice(None), [-4]),
        ([0, 1], [0, 1, 2]),
        A([True, False, True]),
        np.ones((3, 2), bool),
        np.ones((2, 3, 1), bool),
        (..., 0, 0, 0),
    ]:
        refuses(f"x(2, 3)[{index}]", IndexError, lambda: day.getitem(x, index), "(2, 3)")
    refuses(
        "a number of an empty axis",
        IndexError,
        lambda: day.getitem(day.Tensor(np.zeros((0, 3))), 0),
        "(0, 3)",
    )
    refuses("one of no axes", IndexError, lambda: day.getitem(day.Tensor(1.0), 0), "()")


# -- gather and index_add ----------------------------------------------------------------------

GATHER = [
    ((4,), 0, (6,)), ((3, 4), 0, (2, 4)), ((3, 4), 1, (3, 2)), ((3, 4), -1, (2, 7)),
    ((3, 4), 0, (5, 1)), ((2, 3, 4), 1, (2, 5, 4)), ((2, 3, 4), -3, (3, 1, 2)),
    ((2, 3, 4), 2, (1, 2, 3)),
    ((), 0, ()), ((), -1, ()), ((3, 4), 1, (0, 4)), ((3, 4), 1, (3, 0)), ((0, 4), 1, (0, 2)),
]  # fmt: skip


@exercise("gather")
@pytest.mark.parametrize(("shape", "dim", "of"), GATHER, ids=str)
def test_gather(shape, dim, of, rng):
    index = np.array(rng.integers(0, shape[dim] if shape else 1, *of))
    result = check(
        f"gather of {shape} along {dim}, an index of {of}",
        lambda x: day.gather(x, dim, day.Tensor(index)),
        lambda x: torch.gather(x, dim, torch.tensor(index)),
        rng,
        rng.normal(*shape),
    )
    assert result.op == "gather", f"the op of gather is {result.op!r}"
    x = day.Tensor(rng.normal(*shape))
    own_memory("gather", day.gather(x, dim, day.Tensor(index)), x)


@exercise("gather")
def test_gather_in_general(rng):
    index = np.array([[0, 0, 1], [1, 1, 1]])
    check(
        "gather of a transposed tensor",
        lambda x: day.gather(x, 0, day.Tensor(index)),
        lambda x: torch.gather(x, 0, torch.tensor(index)),
        rng,
        rng.normal(3, 2),
        view=lambda t: t.transpose(0, 1),
    )
    check(
        "gather with an index of int32",
        lambda x: day.gather(x, 0, day.Tensor(index.astype(np.int32))),
        lambda x: torch.gather(x, 0, torch.tensor(index)),
        rng,
        rng.normal(2, 3),
    )
    of_half(
        "gather",
        lambda x: day.gather(x, 0, day.Tensor(np.zeros(4000, int))),
        [1.0, 2.0],
        np.ones(4000),
        np.array([4000.0, 0.0]),
    )
    x, where = day.Tensor(rng.normal(2), requires_grad=True), day.Tensor([1, 1])
    y = day.gather(x, 0, where)
    where.data[:] = 0
    y.backward([1.0, 2.0])
    close(
        x.grad.data,
        np.array([0.0, 3.0]),
        name="gradient, the index overwritten before the backward",
    )
    assert where.grad is None, "the index got a gradient"


@exercise("gather")
def test_gather_refuses(rng):
    x = day.Tensor(rng.normal(3, 4))
    for of in [(4, 2), (2,), (3, 4, 1), ()]:
        refuses(
            f"gather of (3, 4) along 1 with an index of {of}",
            ValueError,
            lambda: day.gather(x, 1, day.Tensor(np.zeros(of, int))),
            "gather",
            (3, 4),
            of,
        )
    refuses(
        "gather of (3, 4) along 0 with an index of (2, 5)",
        ValueError,
        lambda: day.gather(x, 0, day.Tensor(np.zeros((2, 5), int))),
        "gather",
        (3, 4),
        (2, 5),
    )
    for number in (4, -1, 99):
        refuses(
            f"gather at {number} of 4",
            IndexError,
            lambda: day.gather(x, 1, day.Tensor([[0, number]])),
            "gather",
            number,
            4,
        )
    refuses(
        "gather at 1 of a tensor without axes",
        IndexError,
        lambda: day.gather(day.Tensor(1.0), 0, day.Tensor(1)),
        "gather",
    )
    refuses(
        "gather along axis 2 of 2",
        IndexError,
        lambda: day.gather(x, 2, day.Tensor([[0]])),
        "gather",
    )
    for kind in (float, bool):
        refuses(
            f"gather with an index of {kind.__name__}",
            TypeError,
            lambda: day.gather(x, 1, day.Tensor(np.zeros((3, 1), kind))),
            "gather",
        )


ADDED = [
    ((4,), 0, [1, 3, 1]), ((3, 4), 0, [2, 2, 0, 2, 1]), ((3, 4), 1, [0]), ((3, 4), -1, [3, 3]),
    ((2, 3, 4), 1, [2, 0, 2]), ((2, 3, 4), -3, [1, 1, 1]), ((3, 4), 0, []), ((3, 0), 0, [1, 1]),
]  # fmt: skip


@exercise("index_add")
@pytest.mark.parametrize(("shape", "dim", "index"), ADDED, ids=str)
def test_index_add(shape, dim, index, rng):
    index = np.array(index, int)
    of = list(shape)
    of[dim] = len(index)
    result = check(
        f"index_add into {shape} along {dim} at {index.tolist()}",
        lambda x, y: day.index_add(x, dim, day.Tensor(index), y),
        lambda x, y: torch.index_add(x, dim, torch.tensor(index), y),
        rng,
        rng.normal(*shape),
        rng.normal(*of),
    )
    assert result.op == "index_add", f"the op of index_add is {result.op!r}"
    x, y = day.Tensor(rng.normal(*shape)), day.Tensor(rng.normal(*of))
    own_memory("index_add", day.index_add(x, dim, day.Tensor(index), y), x)


@exercise("index_add")
def test_index_add_in_general(rng):
    check(
        "index_add of transposed tensors",
        lambda x, y: day.index_add(x, 0, day.Tensor([1, 1]), y),
        lambda x, y: torch.index_add(x, 0, torch.tensor([1, 1]), y),
        rng,
        rng.normal(3, 4),
        rng.normal(3, 2),
        view=lambda t: t.transpose(0, 1),
    )
    for kind in ("int32", "int64", "uint8"):
        x, y = np.array([1, 2], kind), np.array([10, 20, 30], kind)
        result = day.index_add(day.Tensor(x), 0, day.Tensor([1, 1, 0]), day.Tensor(y))
        close(result.data, np.array([31, 32], kind), name=f"index_add of {kind}")
    ones = day.Tensor(np.ones(4000, np.float16))
    of_half(
        "index_add",
        lambda x: day.index_add(x, 0, day.Tensor(np.zeros(4000, int)), ones),
        [0.0, 2.0],
        np.array([4000.0, 2.0]),
        np.ones(2),
    )
    where = day.Tensor([1, 1])
    y = day.Tensor(rng.normal(2), requires_grad=True)
    result = day.index_add(day.Tensor(rng.normal(2)), 0, where, y)
    where.data[:] = 0
    result.backward([1.0, 2.0])
    close(
        y.grad.data,
        np.array([2.0, 2.0]),
        name="gradient, the index overwritten before the backward",
    )


@exercise("index_add")
def test_index_add_refuses(rng):
    x, at = day.Tensor(rng.normal(3, 4)), day.Tensor([0, 1])
    for of in [(3, 4), (2, 3), (2,), (2, 4, 1), (2, 1), (1, 4)]:
        refuses(
            f"index_add of (3, 4) with 2 numbers and a source of {of}",
            ValueError,
            lambda: day.index_add(x, 0, at, day.Tensor(rng.normal(*of))),
            "index_add",
            (3, 4),
            of,
            (2,),
        )
    refuses(
        "an index of two axes",
        ValueError,
        lambda: day.index_add(x, 0, day.Tensor([[0, 1]]), day.Tensor(rng.normal(2, 4))),
        "index_add",
    )
    refuses(
        "an index of no axes",
        ValueError,
        lambda: day.index_add(x, 0, day.Tensor(1), day.Tensor(rng.normal(4))),
        "index_add",
    )
    refuses(
        "x of no axes",
        IndexError,
        lambda: day.index_add(day.Tensor(1.0), 0, day.Tensor([0]), day.Tensor([1.0])),
        "index_add",
    )
    for number in (3, -1):
        refuses(
            f"index_add at {number} of 3",
            IndexError,
            lambda: day.index_add(x, 0, day.Tensor([0, number]), day.Tensor(rng.normal(2, 4))),
            "index_add",
            number,
            3,
        )
    refuses(
        "index_add along axis 2 of 2",
        IndexError,
        lambda: day.index_add(x, 2, at, day.Tensor(rng.normal(2, 4))),
        "index_add",
    )
    refuses(
        "an index of floats",
        TypeError,
        lambda: day.index_add(x, 0, day.Tensor([0.0, 1.0]), day.Tensor(rng.normal(2, 4))),
        "index_add",
    )
    half = day.Tensor(np.ones((2, 4), np.float16))
    refuses(
        "a source of another dtype",
        TypeError,
        lambda: day.index_add(x, 0, at, half),
        "index_add",
        "float64",
        "float16",
    )


# -- joining, cutting, padding -----------------------------------------------------------------

JOINED = [
    ([(4,)], 0), ([(2,), (3,)], 0), ([(2, 3), (4, 3)], 0), ([(2, 1), (2, 3), (2, 2)], 1),
    ([(2, 3, 4), (2, 1, 4)], -2), ([(2, 3), (0, 3), (1, 3)], 0), ([(0,), (0,)], -1),
]  # fmt: skip


@exercise("cat")
@pytest.mark.parametrize(("shapes", "dim"), JOINED, ids=str)
def test_cat(shapes, dim, rng):
    result = check(
        f"cat of {shapes} along {dim}",
        lambda *t: day.cat(t, dim),
        lambda *t: torch.cat(t, dim),
        rng,
        *[rng.normal(*shape) for shape in shapes],
    )
    assert result.op == "cat", f"the op of cat is {result.op!r}"
    tensors = [day.Tensor(rng.normal(*shape)) for shape in shapes]
    own_memory("cat", day.cat(tensors, dim), *tensors)


@exercise("cat")
def test_cat_in_general(rng):
    check(
        "cat of a tensor and itself",
        lambda x: day.cat([x, x]),
        lambda x: torch.cat([x, x]),
        rng,
        rng.normal(2, 3),
    )
    check(
        "cat of transposed tensors",
        lambda x, y: day.cat([x, y], 1),
        lambda x, y: torch.cat([x, y], 1),
        rng,
        rng.normal(2, 3),
        rng.normal(1, 3),
        view=lambda t: t.transpose(0, 1),
    )
    check(
        "cat without a dim",
        lambda x, y: day.cat((x, y)),
        lambda x, y: torch.cat((x, y)),
        rng,
        rng.normal(2, 3),
        rng.normal(1, 3),
    )
    for kinds in [
        ("int64", "float32"),
        ("float16", "float32"),
        ("bool", "int64"),
        ("float32", "int64"),
        ("float64", "float32"),
        ("uint8", "int32"),
    ]:
        result = day.cat([day.Tensor(np.ones(2, kind)) for kind in kinds])
        wanted = torch.cat([torch.ones(2, dtype=getattr(torch, kind)) for kind in kinds])
        assert f"torch.{result.dtype}" == str(wanted.dtype), f"cat of {kinds}: {result.dtype}"
        assert result.tolist() == [1, 1, 1, 1], f"cat of ones of {kinds}: {result}"
    x = day.Tensor(np.ones(2, np.float32), requires_grad=True)
    y = day.Tensor(np.ones(2, np.float64))
    day.cat([y, x]).backward(np.arange(4.0))
    close(
        x.grad.data, np.array([2.0, 3.0]), dtype="float32", name="gradient of the one that wants it"
    )


@exercise("cat")
def test_cat_refuses(rng):
    for one, other, dim in [((2, 3), (2, 4), 0), ((2, 3), (3,), 0), ((2, 3, 4), (2, 2, 5), 1)]:
        tensors = [
            day.Tensor(rng.normal(*one)),
            day.Tensor(rng.normal(*one)),
            day.Tensor(rng.normal(*other)),
        ]
        refuses(
            f"cat of {one} and {other} along {dim}",
            ValueError,
            lambda: day.cat(tensors, dim),
            "cat",
            one,
            other,
        )
    refuses("cat of nothing", ValueError, lambda: day.cat([]), "cat")
    for shapes in [((),), ((1,), ()), ((), (1,))]:
        tensors = [day.Tensor(np.ones(shape)) for shape in shapes]
        refuses(f"cat of {shapes}", ValueError, lambda: day.cat(tensors), "cat")
    for dim in (2, -3):
        refuses(
            f"cat along axis {dim} of 2",
            IndexError,
            lambda: day.cat([day.Tensor(rng.normal(2, 3))], dim),
            "cat",
        )


@exercise("stack")
def test_stack(rng):
    for shape, dim, count in [
        ((), 0, 3),
        ((), -1, 2),
        ((4,), 0, 2),
        ((4,), 1, 2),
        ((4,), -1, 3),
        ((2, 3), 1, 2),
        ((2, 3), -3, 2),
        ((2, 3), 2, 1),
        ((0, 3), 0, 2),
    ]:
        check(
            f"stack of {count} of {shape} along {dim}",
            lambda *t: day.stack(t, dim),
            lambda *t: torch.stack(t, dim),
            rng,
            *[rng.normal(*shape) for _ in range(count)],
        )
    tensors = [day.Tensor(rng.normal(2, 3))]
    own_memory("stack", day.stack(tensors), *tensors)
    check(
        "stack without a dim",
        lambda x, y: day.stack([x, y]),
        lambda x, y: torch.stack([x, y]),
        rng,
        rng.normal(2),
        rng.normal(2),
    )
    assert day.stack([day.Tensor([1, 2]), day.Tensor([0.5, 1.5])]).dtype == np.float32


@exercise("stack")
def test_stack_refuses(rng):
    for one, other in [((2, 3), (2, 4)), ((2, 3), (3,)), ((1,), ()), ((2, 3), (1, 3))]:
        refuses(
            f"stack of {one} and {other}",
            ValueError,
            lambda: day.stack([day.Tensor(rng.normal(*one)), day.Tensor(rng.normal(*other))]),
            "stack",
            one,
            other,
        )
    refuses("stack of nothing", ValueError, lambda: day.stack([]), "stack")
    for dim in (3, -4):
        refuses(
            f"stack of (2, 3) along {dim}",
            IndexError,
            lambda: day.stack([day.Tensor(rng.normal(2, 3))], dim),
            "stack",
        )


CUT = [
    ((5,), 2, 0), ((6,), 2, 0), ((5,), 9, 0), ((5, 3), 1, -1), ((2, 3, 4), [1, 0, 2], 1),
    ((4,), [4], 0),
    ((0, 3), 2, 0), ((0, 3), [0, 0], 0), ((3, 4), [1, 3], -1), ((3,), (1, 2), 0), ((0,), [], 0),
]  # fmt: skip


@exercise("split")
def test_split(rng):
    for shape, sizes, dim in CUT:
        name = f"split of {shape} into {sizes} along {dim}"
        array = np.array(rng.normal(*shape))
        x, twin = day.Tensor(array, requires_grad=True), torch.tensor(array, requires_grad=True)
        parts, wanted = day.split(x, sizes, dim), torch.split(twin, sizes, dim)
        assert isinstance(parts, tuple), f"{name} is a {type(parts).__name__}: a tuple was asked"
        found, right = [part.shape for part in parts], [tuple(part.shape) for part in wanted]
        assert found == right, f"{name}: parts of {found}, torch has {right}"
        for i, (part, true) in enumerate(zip(parts, wanted, strict=True)):
            close(part.data, true.detach().numpy(), name=f"{name}: part {i}")
            if part.numel():
                assert np.shares_memory(part.data, x.data), f"{name}: part {i} is a copy"
            g = np.array(rng.normal(*part.shape))
            part.backward(g)
            true.backward(torch.tensor(g))
        if parts:
            close(x.grad.data, twin.grad.numpy(), terms=4, name=f"{name}: gradient of all parts")


@exercise("split")
def test_split_refuses(rng):
    x = day.Tensor(rng.normal(2, 3))
    for sizes in (0, -1, [1, 1], [4, -1], [], [3, 1]):
        numbers = [sizes] if isinstance(sizes, int) else sizes
        what = f"split of (2, 3) into {sizes} along 1"
        refuses(what, ValueError, lambda: day.split(x, sizes, 1), "split", (2, 3), *numbers)
    refuses(
        "split of a tensor without axes", IndexError, lambda: day.split(day.Tensor(1.0), 1), "split"
    )
    for dim in (2, -3):
        refuses(f"split along axis {dim} of 2", IndexError, lambda: day.split(x, 1, dim), "split")


PADS = [
    ((3,), (1, 2)), ((3,), (0, 0)), ((3,), ()), ((), ()), ((2, 3), (1, 0)), ((2, 3), (0, 1, 2, 3)),
    ((2, 3, 4), (1, 2, 3, 0, 0, 5)), ((2, 3, 4), (0, 0, 1, 1)), ((5,), (-1, 2)), ((5,), (3, -2)),
    ((5,), (-2, -3)), ((5,), (-5, 1)), ((2, 3), (-1, -1, 1, -2)), ((0, 3), (1, 1, 2, 0)),
    ((0,), (0, 0)),
]  # fmt: skip


@exercise("pad")
@pytest.mark.parametrize(("shape", "pads"), PADS, ids=str)
def test_pad(shape, pads, rng):
    for value in (0.0, -2.5):
        result = check(
            f"pad of {shape} by {pads} with {value}",
            lambda x: day.pad(x, pads, value),
            lambda x: torch.nn.functional.pad(x, pads, value=value),
            rng,
            rng.normal(*shape),
        )
        assert result.op == "pad", f"the op of pad is {result.op!r}"
    x = day.Tensor(rng.normal(*shape))
    own_memory("pad", day.pad(x, pads), x)


@exercise("pad")
def test_pad_in_general(rng):
    check(
        "pad of a transposed tensor",
        lambda x: day.pad(x, [1, -1]),
        lambda x: torch.nn.functional.pad(x, [1, -1]),
        rng,
        rng.normal(2, 3),
        view=lambda t: t.transpose(0, 1),
    )
    for kind in ("int64", "float16", "float32", "bool"):
        result = day.pad(day.Tensor(np.ones(2, kind)), (1, 1), value=1)
        close(result.data, np.ones(4, kind), name=f"pad of {kind} with 1")
    x = day.Tensor([1.0, 2.0], requires_grad=True)
    day.pad(x, (1, 0)).backward([1.0, 2.0, 3.0])
    close(x.grad.data, np.array([2.0, 3.0], np.float32), name="gradient of float32")


@exercise("pad")
def test_pad_refuses(rng):
    for shape, pads in [
        ((3,), (1,)),
        ((3,), (1, 2, 3)),
        ((3,), (1, 1, 1, 1)),
        ((), (0, 0)),
        ((3,), (-2, -2)),
        ((3,), (-4, 6)),
        ((3,), (6, -4)),
        ((2, 3), (0, 0, -3, 3)),
        ((2, 3), (-4, 4, 1, 1)),
    ]:
        refuses(
            f"pad of {shape} by {pads}",
            ValueError,
            lambda: day.pad(day.Tensor(np.zeros(shape)), pads),
            "pad",
            *pads,
            shape,
        )


# -- what is given -----------------------------------------------------------------------------


@exercise("getitem")
def test_keys_and_methods(rng):
    x = day.Tensor(rng.normal(3, 2))
    close(x[[2, 0]].data, x.data[[2, 0]], name="x[[2, 0]]")
    assert [row.tolist() for row in x] == x.tolist()
    refuses("x[::-1]", ValueError, lambda: x[::-1], "-1")
    for index in (1.0, "a", True, [0.5], (..., 0, ...)):
        refuses(f"x[{index!r}]", IndexError, lambda: x[index])
