"""Day 15: dtypes as torch has them, memory that is shared or not, and gradients as arrays."""

import gc
import sys

import numpy as np
import pytest
import torch

from harness.testing import close, exercise
from tracks.autodiff import day15

DEPTH = 20_000


def add(a, b):
    """a + b, made as the operations of later days are."""
    return a._result(a.data + b.data, (a, b), "add", lambda g: (g, g))


def scaled(x, factor):
    return x._result(x.data * factor, (x,), "scale", lambda g: (g * factor,))


def total(x):
    return x._result(x.data.sum(), (x,), "sum", lambda g: (np.broadcast_to(g, x.shape),))


# -- as_array ----------------------------------------------------------------------------------


@exercise("as_array")
@pytest.mark.parametrize(
    "data",
    [
        2.5, 3, True, [1.0, 2.0], [1, 2], [True, False], [1, True], [1, 2.5], [True, 2.5],
        [[1, 2], [3, 4]], ((1.0,), (2.0,)), [], [[]], [[], []], 10**12,
        [float("nan"), float("inf")],
    ],
    ids=str,
)  # fmt: skip
def test_python_numbers_get_torchs_dtype(data):
    wanted = torch.tensor(data)
    array = day15.as_array(data)
    assert isinstance(array, np.ndarray), f"{data}: an array is wanted, not {type(array).__name__}"
    found, right = str(array.dtype), str(wanted.dtype).removeprefix("torch.")
    assert found == right, f"{data} became {found}; torch makes it {right}"
    assert array.shape == tuple(wanted.shape), f"{data} has the shape {array.shape}"
    close(array, wanted.numpy(), name=f"as_array({data})")


@exercise("as_array")
@pytest.mark.parametrize("kind", ["float64", "float32", "float16", "int32", "uint8", "bool"])
def test_arrays_keep_their_dtype(kind, rng):
    array = (rng.normal(2, 3) * 3).astype(kind)
    for name, data in [("an array", array), ("a scalar", array[0, 0]), ("a list", [array[0, 0]])]:
        found = day15.as_array(data).dtype
        assert found == array.dtype, f"{name} of {kind} became {found}"
    assert day15.as_array([array[0], array[1]]).dtype == array.dtype, f"rows of {kind} in a list"


@exercise("as_array")
def test_a_dtype_that_is_asked_for_is_given(rng):
    for data in (1.5, [1, 2], rng.normal(3), True):
        for kind in (np.float64, "float16", np.dtype("int32")):
            found = day15.as_array(data, kind).dtype
            assert found == np.dtype(kind), f"asked for {kind}, got {found}"
    close(day15.as_array(0.1, np.float64), np.array(0.1), name="0.1 in float64, not by float32")


@exercise("as_array")
def test_nobody_else_sees_the_memory(rng):
    for data in (rng.normal(3, 4), rng.normal(3, 4).T, np.arange(6)):
        for dtype in (None, data.dtype):
            array = day15.as_array(data, dtype)
            assert not np.shares_memory(array, data), "the result looks at the caller's memory"
            assert array.flags["C_CONTIGUOUS"], "the copy is not in C order"
            assert array.flags["WRITEABLE"], "the result cannot be written to"


@exercise("as_array")
@pytest.mark.parametrize("data", ["2", None, 2j, ["a"], [1, None], {}, [2j, 1.0]], ids=repr)
def test_refuses_what_is_no_number(data):
    with pytest.raises(TypeError):
        made = day15.as_array(data)
        pytest.fail(f"as_array({data!r}) gave {made!r}: a TypeError was due")


@exercise("as_array")
def test_refuses_ragged_lists():
    with pytest.raises(ValueError):
        made = day15.as_array([[1], [2, 3]])
        pytest.fail(f"as_array([[1], [2, 3]]) gave {made!r}: a ValueError was due")


# -- Array -------------------------------------------------------------------------------------


@exercise("Array")
@pytest.mark.parametrize("shape", [(), (1,), (1, 1, 1)])
@pytest.mark.parametrize("data", [2.5, 3, True], ids=str)
def test_item_is_pythons_own_number(shape, data):
    got = day15.Array(np.full(shape, data)).item()
    assert type(got) is type(data) and got == data, f"item() of {data} gave {got!r}"


@exercise("Array")
@pytest.mark.parametrize("shape", [(0,), (2,), (1, 2), (2, 0)], ids=str)
def test_item_refuses_another_count(shape):
    with pytest.raises(ValueError) as refusal:
        got = day15.Array(np.zeros(shape)).item()
        pytest.fail(f"item() of shape {shape} gave {got!r}: a ValueError was due")
    numbers = [str(n) for n in shape]
    assert all(n in str(refusal.value) for n in numbers), (
        f"the message should name the shape {shape}: {refusal.value}"
    )


@exercise("Array")
def test_tolist(rng):
    for array in (rng.normal(2, 3), np.arange(4), np.array(True), np.zeros((2, 0)), np.array(2.5)):
        got = day15.Array(array).tolist()
        assert got == array.tolist(), f"{got} came back of {array}"

        def leaves(x):
            return [y for part in x for y in leaves(part)] if isinstance(x, list) else [x]

        odd = {type(x).__name__ for x in leaves(got)} - {"float", "int", "bool"}
        assert not odd, f"the list holds {odd}: Python's own numbers are wanted"


@exercise("Array")
@pytest.mark.parametrize(
    ("data", "dtype", "text"),
    [
        (2.0, None, "tensor(2.0000)"),
        ([1.0, 2.5], None, "tensor([1.0000, 2.5000])"),
        ([1, -2], None, "tensor([1, -2])"),
        ([True, False], None, "tensor([True, False])"),
        ([1.0], "float64", "tensor([1.0000], dtype=float64)"),
        ([1], "int32", "tensor([1], dtype=int32)"),
        ([[1.0, 2.0], [3.0, 4.0]], None, "tensor([[1.0000, 2.0000], [3.0000, 4.0000]])"),
        ([], None, "tensor([])"),
    ],
    ids=str,
)
def test_repr(data, dtype, text):
    got = repr(day15.Array(data, dtype))
    # where the line breaks and how numbers are set is numpy's
    assert "".join(got.split()) == "".join(text.split()), f"{got} is shown for {text}"


@exercise("Array")
def test_repr_of_rows_is_aligned():
    lines = repr(day15.Array(np.arange(6.0).reshape(2, 3).astype(np.float32))).splitlines()
    assert len(lines) == 2, f"two rows on {len(lines)} line(s)"
    assert lines[1].startswith(" " * len("tensor([") + "["), (
        f"the second row stands at {lines[1]!r}"
    )


@exercise("Array")
def test_repr_says_what_a_subclass_adds():
    class Noted(day15.Array):
        def _notes(self):
            return ["a=1", "b=2"]

    assert repr(Noted(1)) == "tensor(1, a=1, b=2)"
    assert repr(Noted(1, "int8")) == "tensor(1, dtype=int8, a=1, b=2)", repr(Noted(1, "int8"))


# -- Tensor ------------------------------------------------------------------------------------


@exercise("Tensor")
def test_a_new_tensor_is_a_leaf(rng):
    array = rng.normal(2, 3)
    for wants in (False, True):
        x = day15.Tensor(array, requires_grad=wants)
        assert isinstance(x, day15.Array) and not np.shares_memory(x.data, array)
        found = (x.requires_grad, x.grad, x.parents, x.op, x._backward)
        assert found == (wants, None, (), "", None), f"the slots of a leaf hold {found}"
    assert day15.Tensor(day15.Tensor([1.5])).tolist() == [1.5], "a Tensor of a Tensor"
    assert day15.Tensor([1, 2], dtype=np.float64).dtype == np.float64
    assert day15.Tensor([1, 2]).dtype == np.int64, "integers are fine where no gradient is wanted"


@exercise("Tensor")
def test_only_floats_require_gradients():
    for data in ([1, 2], True, np.arange(3)):
        with pytest.raises(TypeError):
            day15.Tensor(data, requires_grad=True)
            pytest.fail(f"{data!r} requires a gradient: a TypeError was due")
    assert day15.Tensor([1, 2], requires_grad=True, dtype="float16").requires_grad


@exercise("Tensor")
def test_numpy_and_detach_share_memory(rng):
    x = day15.Tensor(rng.normal(3))
    assert x.numpy() is x.data
    y = day15.Tensor(rng.normal(3), requires_grad=True)
    with pytest.raises(RuntimeError):
        y.numpy()
        pytest.fail("numpy() of a tensor that requires a gradient gave an array")
    z = scaled(y, 2.0).detach()
    assert (z.requires_grad, z.parents, z.op) == (False, (), ""), "detach() still knows its past"
    d = y.detach()
    assert d is not y and d.data is y.data, "detach() looks at the same memory"
    assert y.requires_grad, "detach() changed the tensor it was called on"


@exercise("Tensor")
@pytest.mark.parametrize("kind", ["float64", "float32", "float16"])
def test_grad_has_the_shape_and_dtype_of_the_tensor(kind, rng):
    x = day15.Tensor(rng.normal(2, 3), requires_grad=True, dtype=kind)
    g = rng.normal(2, 3)
    scaled(x, 3.0).backward(g)
    assert isinstance(x.grad, day15.Tensor), f"grad is a {type(x.grad).__name__}"
    assert x.grad.shape == (2, 3)
    assert x.grad.dtype == x.dtype, f"{kind} data have a {x.grad.dtype} grad"
    assert not x.grad.requires_grad
    close(x.grad.data, g * 3, dtype=x.dtype, terms=2, scale=3.0, name="grad")


@exercise("Tensor")
@pytest.mark.parametrize("shape", [(), (1,), (1, 1)], ids=str)
def test_one_number_needs_no_gradient(shape, rng):
    x = day15.Tensor(rng.normal(*shape), requires_grad=True)
    scaled(x, 4.0).backward()
    assert x.grad.shape == shape, f"a tensor of {shape} has a grad of {x.grad.shape}"
    assert x.grad.item() == 4.0, f"d(4x)/dx came out {x.grad.item()}"


@exercise("Tensor")
def test_gradient_in_every_form(rng):
    g = rng.normal(2)
    for form in (g, day15.Tensor(g), g.tolist()):
        x = day15.Tensor(rng.normal(2), requires_grad=True)
        x.clone().backward(form)
        close(x.grad.data, g, name=f"grad after a {type(form).__name__}")
    x = day15.Tensor(2.0, requires_grad=True, dtype=np.float64)
    scaled(x, 2.0).backward(0.5)
    assert x.grad.item() == 1.0, "a gradient that is one number"


@exercise("Tensor")
@pytest.mark.parametrize("shape", [(2,), (0,), (1, 2)], ids=str)
def test_refuses_to_guess_a_gradient(shape):
    x = day15.Tensor(np.ones(shape), requires_grad=True)
    with pytest.raises(RuntimeError) as refusal:
        x.clone().backward()
        pytest.fail(f"backward() of shape {shape} without a gradient went through")
    numbers = [str(n) for n in shape]
    assert all(n in str(refusal.value) for n in numbers), f"which shape? {refusal.value}"
    assert x.grad is None, "a refused backward left a grad"


@exercise("Tensor")
@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 1), (1, 2)], ids=str)
def test_refuses_a_gradient_of_another_shape(shape, rng):
    x = day15.Tensor(rng.normal(2), requires_grad=True)
    with pytest.raises(RuntimeError) as refusal:
        x.clone().backward(np.ones(shape))
        pytest.fail(f"a gradient of {shape} for a tensor of (2,) went through")
    message = str(refusal.value)
    assert "2" in message and all(str(n) in message for n in shape), f"which shapes? {message}"
    assert x.grad is None, "a refused backward left a grad"


@exercise("Tensor")
def test_refuses_where_no_gradient_is_wanted(rng):
    x = day15.Tensor(rng.normal(1))
    for y in (x, scaled(x, 2.0)):
        with pytest.raises(RuntimeError):
            y.backward()
            pytest.fail("backward() of a tensor that requires no gradient went through")


@exercise("Tensor")
def test_leaves_add_up_and_inner_nodes_keep_nothing(rng):
    a, b = (day15.Tensor(rng.normal(3), requires_grad=True) for _ in "ab")
    inner = add(a, b)
    y = add(scaled(inner, 3.0), a)
    g, h = rng.normal(3), rng.normal(3)
    y.backward(g)
    close(a.grad.data, 4 * g, terms=2, scale=4.0, name="grad of a, used twice")
    close(b.grad.data, 3 * g, terms=2, scale=3.0, name="grad of b")
    assert inner.grad is None and y.grad is None, "a tensor that an operation made keeps no grad"
    y.backward(h)
    close(a.grad.data, 4 * (g + h), terms=3, scale=4.0, name="grad of a after two calls")


@exercise("Tensor")
def test_a_gradient_of_zeros_is_handed_on(rng):
    slopes = np.array([2.0, np.inf, np.nan])
    x = day15.Tensor(rng.normal(3), requires_grad=True)
    y = scaled(x._result(x.data, (x,), "steep", lambda g: (g * slopes,)), 0.0)
    with np.errstate(all="ignore"):
        y.backward(np.ones(3))  # zeros after one step
    assert x.grad is not None, "zeros arrived at x, and its grad is None: zeros are a gradient too"
    assert np.array_equal(x.grad.data, [0.0, np.nan, np.nan], equal_nan=True), (
        f"a gradient of 0 met the slopes 2, inf and nan, and made {x.grad.tolist()}: 0 · inf and "
        "0 · nan are nan"
    )


@exercise("Tensor")
def test_a_leaf_may_be_its_own_root(rng):
    x = day15.Tensor(rng.normal(1), requires_grad=True)
    x.backward()
    x.backward(np.array([2.5]))
    assert x.grad.item() == 3.5, f"1 and 2.5 arrived, and grad is {x.grad.item()}"


@exercise("Tensor")
def test_grad_is_nobody_elses_memory(rng):
    a, b = (day15.Tensor(rng.normal(3), requires_grad=True) for _ in "ab")
    g = np.array(rng.normal(3))
    add(a, b).backward(g)
    assert not np.shares_memory(a.grad.data, g), "grad looks at the gradient that was passed in"
    assert not np.shares_memory(a.grad.data, b.grad.data), "two leaves have one array as grad"
    held, before = a.grad, a.grad.data.copy()
    add(a, b).backward(g)
    close(held.data, before, name="the grad that somebody held from before")
    assert a.grad is not held
    same = day15.Tensor(rng.normal(3), requires_grad=True)
    add(add(same, same), same).backward(g)
    close(same.grad.data, 3 * g, terms=3, scale=3.0, name="grad of a tensor used three times")


@exercise("Tensor")
def test_shares_are_not_written_into(rng):
    """An operation may keep the array that it hands out."""
    kept = np.array(rng.normal(3))
    before = kept.copy()
    x = day15.Tensor(rng.normal(3), requires_grad=True)
    y = x._result(x.data, (x, x), "twice", lambda g: (kept, kept))
    y.backward(np.ones(3))
    close(kept, before, name="the share that the operation handed out")
    close(x.grad.data, 2 * before, terms=2, scale=2.0, name="grad")


@exercise("Tensor")
def test_parents_without_a_gradient_are_passed_over(rng):
    a = day15.Tensor(rng.normal(3), requires_grad=True)
    c = day15.Tensor(rng.normal(3))
    inner = scaled(c, 2.0)
    y = add(add(a, c), inner)
    y.backward(rng.normal(3))
    assert c.grad is None and inner.grad is None, "a gradient for what requires none"
    x = day15.Tensor(rng.normal(2), requires_grad=True)
    nothing = x._result(x.data, (x,), "nothing", lambda g: (None,))
    nothing.backward(np.ones(2))
    assert x.grad is None, "no share arrived, and grad is not None"


@exercise("Tensor")
def test_each_backward_is_called_once_with_all_that_arrives(rng):
    seen = []
    x = day15.Tensor(rng.normal(2), requires_grad=True, dtype=np.float32)

    def backward(g):
        seen.append(g)
        return (g,)

    shared = x._result(x.data.copy(), (x,), "shared", backward)
    y = shared
    for _ in range(5):
        y = add(y, shared)
    y.backward(np.ones(2))
    assert len(seen) == 1, f"the backward of a tensor that is used six times ran {len(seen)} times"
    close(seen[0], np.full(2, 6.0, np.float32), name="the gradient that arrived")
    assert isinstance(seen[0], np.ndarray) and seen[0].dtype == np.float32, (
        f"a backward is given an array of its result's dtype, not {getattr(seen[0], 'dtype', seen)}"
    )


@exercise("Tensor")
def test_a_backward_to_which_nothing_comes_is_not_called(rng):
    x = day15.Tensor(rng.normal(2), requires_grad=True)

    def never(g):
        raise AssertionError("the backward of a tensor without a gradient was called")

    lost = x._result(x.data, (x,), "lost", never)
    y = x._result(x.data, (lost, x), "y", lambda g: (None, g))
    y.backward(np.ones(2))
    close(x.grad.data, np.ones(2), name="grad")
    twice = x._result(x.data, (x, x), "once", lambda g: (g, None))
    x.grad = None
    twice.backward(np.ones(2))
    close(x.grad.data, np.ones(2), name="grad, where the second share is None")


@exercise("Tensor")
@pytest.mark.parametrize("shares", [0, 1, 3])
def test_refuses_another_number_of_shares(shares, rng):
    x = day15.Tensor(rng.normal(2), requires_grad=True)
    y = x._result(x.data, (x, x), "odd", lambda g: (g,) * shares)
    with pytest.raises(ValueError):
        y.backward(np.ones(2))
        pytest.fail(f"an operation of two parents gave {shares} share(s), and nobody minded")


@exercise("Tensor")
def test_depth_and_width():
    x = day15.Tensor(np.ones(2), requires_grad=True)
    y = x
    for _ in range(DEPTH):
        y = scaled(y, 1.0)
    limit = sys.getrecursionlimit()
    assert limit * 2 < DEPTH
    total(y).backward()
    close(x.grad.data, np.ones(2), name=f"grad through {DEPTH} operations")
    # Such a chain must also be freed without recursion, which is Python's own affair.
    while y.parents:
        (before,) = y.parents
        y.parents, y._backward, y = (), None, before
    gc.collect()


@exercise("Tensor")
def test_a_later_class_stays_itself(rng):
    class Later(day15.Tensor):
        __slots__ = ()

    x = Later(rng.normal(2), requires_grad=True)
    y = x.clone()
    y.backward(np.ones(2))
    for name, made in [("clone()", y), ("detach()", y.detach()), ("grad", x.grad)]:
        assert type(made) is Later, f"{name} of a Later is a {type(made).__name__}"


# -- constructors ------------------------------------------------------------------------------


@exercise("full")
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 3), 4], ids=str)
@pytest.mark.parametrize("value", [0.5, 3, True, np.float64(0.1), np.int32(4)], ids=repr)
def test_full(shape, value):
    x = day15.full(shape, value)
    wanted = np.full(shape, value)
    assert isinstance(x, day15.Tensor)
    kind = day15.as_array(value).dtype
    assert x.dtype == kind, f"filled with {value!r} it is {x.dtype}; as_array says {kind}"
    close(x.data, wanted.astype(kind), name=f"full({shape}, {value!r})")


@exercise("full")
def test_full_as_asked():
    x = day15.full((2,), 1, requires_grad=True, dtype=np.float64)
    assert (x.dtype, x.requires_grad) == (np.float64, True)
    assert day15.zeros(2, 3).dtype == np.float32 and day15.zeros(2, 3).shape == (2, 3)
    assert day15.ones(2, dtype="int64").tolist() == [1, 1]
    assert day15.ones().shape == ()


@exercise("arange")
@pytest.mark.parametrize(
    "arguments",
    [
        (5,), (0,), (2, 6), (1, 10, 3), (10, 1, -3), (5, 0, -1), (0, 1, 0.1),
        (0.5, 3), (1, 2, 0.25), (0, 1, 1 / 3), (3.0,), (2.5,), (0, -1, -0.3), (1, 1, 0.5),
        (0, 7, 1000), (np.int64(4),),
    ],
    ids=str,
)  # fmt: skip
def test_arange_is_torchs(arguments):
    wanted = torch.arange(*map(lambda x: x.item() if isinstance(x, np.generic) else x, arguments))
    x = day15.arange(*arguments)
    kind = str(wanted.dtype).removeprefix("torch.")
    assert x.shape == tuple(wanted.shape), (
        f"arange{arguments} has {x.numel()} elements; torch makes {len(wanted)}"
    )
    assert str(x.dtype) == kind, f"arange{arguments} is {x.dtype}; torch makes {kind}"
    close(x.data, wanted.numpy(), terms=4, scale=4.0, name=f"arange{arguments}")


@exercise("arange")
def test_arange_does_not_add_up_its_rounding():
    x = day15.arange(0, 1000, 0.1)
    right = (np.arange(10_000) * 0.1).astype(np.float32)
    worst = np.abs(x.data - right).max()
    assert x.numel() == 10_000
    assert worst <= np.spacing(np.float32(1000)), f"the numbers drift: {worst:.2g} off at the end"


@exercise("arange")
def test_arange_as_asked():
    x = day15.arange(3, requires_grad=True, dtype=np.float64)
    assert (x.dtype, x.requires_grad) == (np.float64, True)
    close(x.data, np.array([0.0, 1.0, 2.0]), name="arange(3) in float64")
    exact = day15.arange(0, 1, 0.1, dtype=np.float64)
    close(exact.data, 0.1 * np.arange(10), name="arange(0, 1, 0.1) in float64")


@exercise("arange")
@pytest.mark.parametrize("numbers", [(1, 5, 0), (1, 5, 0.0), (5, 2, 1), (1, 2, -4)], ids=str)
def test_arange_refuses_what_never_arrives(numbers):
    with pytest.raises(ValueError) as refusal:
        x = day15.arange(*numbers)
        pytest.fail(f"arange{numbers} gave {x!r}: a ValueError was due")
    assert all(str(n) in str(refusal.value) for n in numbers), f"which numbers? {refusal.value}"


@exercise("randn")
def test_randn_is_standard_normal():
    x = day15.randn(200, 300).data.astype(np.float64)
    n = x.size
    # Each at most 6 standard errors off, for any seed.
    assert abs(x.mean()) < 6 / n**0.5, f"the mean of {n} numbers is {x.mean():.4f}"
    assert abs(x.var() - 1) < 6 * (2 / n) ** 0.5, f"their variance is {x.var():.4f}"
    beyond = (np.abs(x) > 2).mean()
    assert abs(beyond - 0.0455) < 6 * (0.0455 * 0.9545 / n) ** 0.5, (
        f"{beyond:.2%} lie beyond 2; of normal numbers 4.55 % do"
    )


@exercise("randn")
def test_randn_follows_its_generator():
    draw = [day15.randn(3, 4, generator=np.random.default_rng(7)).data for _ in range(2)]
    close(draw[0], draw[1], name="two draws with one seed")
    wanted = np.random.default_rng(7).standard_normal((3, 4))
    close(draw[0], wanted, dtype=np.dtype(np.float32), name="what the generator draws")
    generator = np.random.default_rng(7)
    first, second = (day15.randn(3, 4, generator=generator).data for _ in range(2))
    close(first, draw[0], name="the first draw of the generator")
    assert not np.array_equal(first, second), "a generator that goes on gives new numbers"
    assert not np.array_equal(day15.randn(5).data, day15.randn(5).data), "two calls, one result"


@exercise("randn")
def test_randn_in_any_dtype():
    one, two = (
        day15.randn(50, generator=np.random.default_rng(3), dtype=kind)
        for kind in (np.float32, np.float64)
    )
    assert (one.dtype, two.dtype) == (np.float32, np.float64)
    close(one.data, two.data, dtype=np.dtype(np.float32), terms=2, name="the seed in float32")
    assert day15.randn(2).dtype == np.float32
    assert day15.randn().shape == ()
    assert day15.randn(2, requires_grad=True).requires_grad
