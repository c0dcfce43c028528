"""Day 17: shapes and dtypes as torch has them, and shares of the operands' own shapes."""

import itertools
import operator
import warnings
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.testing import close, exercise
from tracks.autodiff import day17 as day

TORCH = {
    "add": torch.add, "sub": operator.sub, "mul": torch.mul, "div": torch.div, "pow": torch.pow,
    "maximum": lambda a, b: torch.maximum(torch.as_tensor(a), torch.as_tensor(b)),
}  # fmt: skip
SHAPES = [
    ((), ()), ((3,), (3,)), ((3,), ()), ((), (2, 3)), ((3, 1), (4,)), ((2, 1, 4), (3, 1)),
    ((1, 1), (2, 3)), ((2, 3), (2, 3)), ((0, 3), (3,)), ((2, 1), (1, 0)), ((5,), (1,)),
]  # fmt: skip
sizes = st.lists(st.integers(0, 3), max_size=4).map(tuple)


def check(name, mine, theirs, g, *inputs):
    """Values and gradients of ``mine(*tensors)`` against ``theirs(*torch tensors)``."""
    before = [np.array(x) for x in inputs]
    tensors = [day.Tensor(x, requires_grad=True) for x in inputs]
    twins = [torch.tensor(x, requires_grad=True) for x in inputs]
    result, wanted = mine(*tensors), theirs(*twins)
    assert result.shape == tuple(wanted.shape), (
        f"{name}: the shape came out {result.shape}, torch makes it {tuple(wanted.shape)}"
    )
    kind = str(wanted.dtype).removeprefix("torch.")
    assert str(result.dtype) == kind, f"{name}: {result.dtype} came out, torch makes {kind}"
    close(result.data, wanted.detach().numpy(), scale=4.0, name=name)
    g = g(result.shape)
    result.backward(g)
    wanted.backward(torch.tensor(g))
    for which, tensor, twin in zip("abc", tensors, twins, strict=False):
        assert tensor.grad is not None, f"{name}: no gradient arrived at {which}"
        close(
            tensor.grad.data, twin.grad.numpy(), terms=g.size + 4, scale=16.0,
            name=f"{name}: gradient of {which}",
        )  # fmt: skip
    for which, tensor, x in zip("abc", tensors, before, strict=False):
        close(tensor.data, x, name=f"{name}: operand {which} afterwards")
    return result


# -- shapes ------------------------------------------------------------------------------------


def check_broadcast_shape(*shapes):
    try:
        wanted = np.broadcast_shapes(*shapes)
    except ValueError:
        with pytest.raises(ValueError) as refusal:
            found = day.broadcast_shape(*shapes)
            pytest.fail(f"{shapes} gave {found}: a ValueError was due")
        assert names_the_trouble(str(refusal.value), *shapes), (
            f"{shapes} do not go together; the message does not name them as tuples: "
            f"{str(refusal.value)!r}"
        )
    else:
        found = day.broadcast_shape(*shapes)
        assert tuple(found) == wanted, f"{shapes} give {wanted}, not {found}"
        assert isinstance(found, tuple), f"{shapes} gave {found}, a {type(found).__name__}"


def names_the_trouble(message, *shapes):
    """Whether shapes that do not go together are among those that the message names."""
    try:
        np.broadcast_shapes(*(shape for shape in shapes if str(shape) in message))
    except ValueError:
        return True
    return False


@exercise("broadcast_shape")
def test_broadcast_shape():
    check_broadcast_shape((0, 2))
    for shapes in SHAPES:
        check_broadcast_shape(*shapes)
    check_broadcast_shape()
    check_broadcast_shape((2, 1), (3,), (4, 1, 1))


@exercise("broadcast_shape")
@pytest.mark.parametrize(
    "shapes", [((2,), (3,)), ((2, 3), (2,)), ((0,), (2,)), ((3, 1), (0,), (2, 1))], ids=str
)
def test_shapes_that_do_not_broadcast(shapes):
    check_broadcast_shape(*shapes)


@exercise("broadcast_shape")
@settings(max_examples=60)
@given(shapes=st.lists(sizes, max_size=4))
def test_broadcast_shape_is_numpys(shapes):
    check_broadcast_shape(*shapes)


@exercise("unbroadcast")
@pytest.mark.parametrize(
    "target, shape",
    [
        ((2, 3), (2, 3)), ((2, 3), (3,)), ((2, 3), ()), ((2, 3), (2, 1)), ((2, 3, 4), (3, 1)),
        ((2, 3, 4), (1, 3, 1)), ((0, 3), (1, 3)), ((0, 3), (3,)), ((2, 0), (2, 1)), ((), ()),
    ],
)  # fmt: skip
def test_unbroadcast(target, shape):
    check_unbroadcast(target, shape)


@exercise("unbroadcast")
@settings(max_examples=60)
@given(target=sizes, data=st.data())
def test_unbroadcast_sums_what_was_repeated(target, data):
    # an operand that reads as ``target``: some axes of length 1, some in front left out
    ones = [data.draw(st.booleans()) for _ in target]
    shape = tuple(1 if one else n for one, n in zip(ones, target, strict=True))
    check_unbroadcast(target, shape[data.draw(st.integers(0, len(shape))) :])


def check_unbroadcast(target, shape):
    grad = np.arange(1.0, 1.0 + np.prod(target)).reshape(target)
    before = grad.copy()
    found = day.unbroadcast(grad, shape)
    twin = torch.zeros(shape, dtype=torch.float64, requires_grad=True)
    twin.expand(target).backward(torch.tensor(grad))
    close(found, twin.grad.numpy(), terms=grad.size + 1, scale=50.0,
          name=f"a gradient of {target} for an operand of {shape}")  # fmt: skip
    close(grad, before, name="the gradient that came in")


@exercise("unbroadcast")
def test_unbroadcast_keeps_the_dtype():
    for kind in (np.float16, np.float32, np.float64):
        for shape in [(3,), (2, 1), (), (2, 3)]:
            found = day.unbroadcast(np.ones((2, 3), kind), shape)
            assert found.dtype == kind, f"{kind.__name__} became {found.dtype} for {shape}"


@exercise("unbroadcast")
def test_unbroadcast_adds_more_than_float16_can():
    found = day.unbroadcast(np.ones((8192, 4), np.float16), (4,))
    assert found.dtype == np.float16, f"float16 became {found.dtype}"
    assert found.tolist() == [8192.0] * 4, (
        f"8192 ones of float16 came to {found[0]}: float16 has no 2049, so what is added up in it "
        "stops growing"
    )


# -- dtypes ------------------------------------------------------------------------------------

KINDS = ["bool", "uint8", "int32", "int64", "float16", "float32", "float64"]


def operands_of(mine, theirs):
    """A tensor with axes, a 0-d tensor and a Python number of every dtype: mine and torch's."""
    for kind in KINDS:
        for shape in [(2,), ()]:
            array = np.ones(shape, kind)
            yield f"{kind} {shape}", mine(array), theirs(array)
    for number in (True, 3, 2.5):
        yield repr(number), number, number


@exercise("result_dtype")
def test_result_dtype_is_torchs():
    every = list(operands_of(day.Tensor, torch.tensor))
    for one, other in itertools.product(every, repeat=2):
        if not isinstance(one[2], torch.Tensor) and not isinstance(other[2], torch.Tensor):
            continue
        wanted = str(torch.result_type(one[2], other[2])).removeprefix("torch.")
        found = np.dtype(day.result_dtype(one[1], other[1])).name
        assert found == wanted, f"{one[0]} and {other[0]} give {wanted} in torch, here {found}"


@exercise("result_dtype")
def test_result_dtype_of_numbers_and_of_three():
    for number, kind in [(True, "bool"), (2, "int64"), (0.5, "float32")]:
        assert day.result_dtype(number) == np.dtype(kind), f"{number!r} alone is {kind}"
    half, ints = day.Tensor(np.ones(2, np.float16)), day.Tensor(np.ones(2, np.int64))
    zero_d = day.Tensor(np.float64(1.0))
    assert day.result_dtype(half, ints, 2.5) == np.float16, "float16, int64 and a number"
    assert day.result_dtype(ints, zero_d, True) == np.float64, "a float64 of no axes and int64"
    assert day.result_dtype(ints, 2.5, zero_d) == np.float64, "a 0-d tensor ranks above a number"
    assert day.result_dtype(day.Tensor([True]), 3, 2.5) == np.float32, "a bool and two numbers"
    for order in itertools.permutations((half, day.Tensor(1), 2.5)):
        found = day.result_dtype(*order)
        assert found == np.float16, (
            f"a float16 tensor with axes, an int64 one without and 2.5 gave {found}: the float16 "
            "ranks highest, and no other kind is higher"
        )


# -- arithmetic --------------------------------------------------------------------------------


def inputs_for(name, rng, a, b):
    x, y = rng.normal(*a), rng.normal(*b)
    if name == "div":
        y = np.sign(y) * (np.abs(y) + 0.5)
    if name == "pow":
        x = np.abs(x) + 0.5
    return x, y


@exercise("add")
@pytest.mark.parametrize(("a", "b"), SHAPES, ids=str)
def test_add(a, b, rng):
    arithmetic("add", a, b, rng)


@exercise("sub")
@pytest.mark.parametrize(("a", "b"), SHAPES, ids=str)
def test_sub(a, b, rng):
    arithmetic("sub", a, b, rng)


@exercise("mul")
@pytest.mark.parametrize(("a", "b"), SHAPES, ids=str)
def test_mul(a, b, rng):
    arithmetic("mul", a, b, rng)


@exercise("div")
@pytest.mark.parametrize(("a", "b"), SHAPES, ids=str)
def test_div(a, b, rng):
    arithmetic("div", a, b, rng)


@exercise("pow")
@pytest.mark.parametrize(("a", "b"), SHAPES, ids=str)
def test_pow(a, b, rng):
    arithmetic("pow", a, b, rng)


@exercise("maximum")
@pytest.mark.parametrize(("a", "b"), SHAPES, ids=str)
def test_maximum(a, b, rng):
    arithmetic("maximum", a, b, rng)


def arithmetic(name, a, b, rng):
    f = getattr(day, name)
    result = check(f"{name} of {a} and {b}", f, TORCH[name], lambda shape: rng.normal(*shape),
                   *inputs_for(name, rng, a, b))  # fmt: skip
    assert result.op == name, f"the op of {name} is {result.op!r}"


def refuses(name, rng):
    f = getattr(day, name)
    with pytest.raises(ValueError) as refusal:
        found = f(day.Tensor(rng.normal(2, 3)), day.Tensor(rng.normal(4)))
        pytest.fail(f"{name} of (2, 3) and (4,) gave {found.shape}: a ValueError was due")
    message = str(refusal.value)
    assert name in message and "(2, 3)" in message and "(4,)" in message, (
        f"{name} of (2, 3) and (4,): not all of {name}, (2, 3) and (4,) are in the message "
        f"{message!r}"
    )
    for other in ("2", None, 2j, rng.normal(2, 3), [1.0]):
        with pytest.raises(TypeError):
            f(day.Tensor(rng.normal(2, 3)), other)
            pytest.fail(f"{name} of a tensor and a {type(other).__name__} went through")


def with_numbers(name, rng, reflected, numbers=(2, 0.5, True)):
    """A Python number on either side, and each dtype."""
    f, wanted = getattr(day, name), TORCH[name]
    for kind in ("float16", "float32", "float64", "int64"):
        array = (np.abs(rng.normal(3)) * 3 + 1).astype(kind)
        for number in numbers:
            for order in ((array, number), (number, array))[: 1 + reflected]:
                mine = [day.Tensor(v) if isinstance(v, np.ndarray) else v for v in order]
                theirs = [torch.tensor(v) if isinstance(v, np.ndarray) else v for v in order]
                result, right = f(*mine), wanted(*theirs)
                what = f"{name} of {' and '.join(kind if v is array else repr(v) for v in order)}"
                right_kind = str(right.dtype).removeprefix("torch.")
                assert str(result.dtype) == right_kind, f"{what}: {result.dtype}, not {right_kind}"
                close(result.data, right.double().numpy(), dtype=result.dtype, terms=4, scale=64.0,
                      name=what)  # fmt: skip


def keeps_its_values(name, rng):
    """Shares of the values that were there, no operand changed, g not written into."""
    f = getattr(day, name)
    arrays = inputs_for(name, rng, (2, 3), (2, 3))
    a, b = (day.Tensor(x, requires_grad=True) for x in arrays)
    result = f(a, b)
    g = np.array(rng.normal(2, 3))
    before = g.copy()
    result.backward(g)
    close(g, before, name=f"{name}: the gradient that came in")
    for tensor, array in zip((a, b), arrays, strict=True):
        close(tensor.data, array, name=f"{name}: an operand")
    one = day.Tensor(arrays[0], requires_grad=True)
    alone = f(one, day.Tensor(arrays[1]))
    assert alone.requires_grad, f"{name}: one operand requires a gradient, the result does not"
    alone.backward(g)
    close(one.grad.data, a.grad.data, terms=4, scale=16.0, name=f"{name}: gradient of a alone")
    assert not f(one.detach(), b.detach()).requires_grad
    of_its_class(name, lambda kind: f(kind(arrays[0]), kind(arrays[1])))
    of_its_class(name, lambda kind: f(2, kind(arrays[1])))
    late = [day.Tensor(x, requires_grad=True) for x in arrays]
    result = f(*late)
    for tensor, other in zip(late, reversed(arrays), strict=True):
        tensor.data = np.array(other)
    result.backward(g)
    for which, found, right in zip("ab", late, (a, b), strict=True):
        close(found.grad.data, right.grad.data, terms=4, scale=16.0,
              name=f"{name}: gradient of {which}, after both `data` were replaced")  # fmt: skip


def of_its_class(name, call):
    """``call(kind)`` on tensors of the class ``kind`` gives one of that class."""

    class Mine(day.Tensor):
        __slots__ = ()

    found = type(call(Mine))
    assert found is Mine, (
        f"{name} of tensors of a class of their own gave a {found.__name__} of {found.__module__}"
    )


def used_twice(name, rng):
    f = getattr(day, name)
    x = np.abs(rng.normal(3)) + 0.5
    check(f"{name} of a tensor and itself", lambda t: f(t, t), lambda t: TORCH[name](t, t),
          lambda shape: rng.normal(*shape), x)  # fmt: skip


@exercise("add")
def test_add_in_general(rng):
    refuses("add", rng)
    with_numbers("add", rng, reflected=False)
    keeps_its_values("add", rng)
    used_twice("add", rng)
    both = day.add(day.Tensor([True, False]), day.Tensor([True, False]))
    assert both.tolist() == [True, False], "two bools are added to a bool"
    with pytest.raises(TypeError):
        day.add(1, 2)
        pytest.fail("add(1, 2), two Python numbers, went through")


@exercise("sub")
def test_sub_in_general(rng):
    refuses("sub", rng)
    with_numbers("sub", rng, reflected=True, numbers=(2, 0.5))  # torch subtracts no bools
    keeps_its_values("sub", rng)
    used_twice("sub", rng)
    assert day.sub(5, day.Tensor([1, 2])).tolist() == [4, 3]
    with pytest.raises(TypeError):
        day.sub(day.Tensor([True]), day.Tensor([False]))
        pytest.fail("two bools were subtracted: a TypeError was due")


@exercise("mul")
def test_mul_in_general(rng):
    refuses("mul", rng)
    with_numbers("mul", rng, reflected=False)
    keeps_its_values("mul", rng)
    used_twice("mul", rng)


@exercise("mul")
def test_zero_times_infinity_is_nan_in_the_shares_too():
    x, y = np.array([np.inf, 2.0, np.nan, 3.0]), np.array([3.0, np.inf, 1.0, 4.0])
    a, b = (day.Tensor(v, requires_grad=True) for v in (x, y))
    twins = [torch.tensor(v, requires_grad=True) for v in (x, y)]
    with np.errstate(all="ignore"):
        day.mul(a, b).backward(np.zeros(4))
    torch.mul(*twins).backward(torch.zeros(4, dtype=torch.float64))
    for name, mine, theirs in (("a", a, twins[0]), ("b", b, twins[1])):
        same(mine.grad.data, theirs.grad.numpy(), f"g = 0, gradient of {name} of {x} · {y}")


@exercise("div")
def test_div_in_general(rng):
    refuses("div", rng)
    with_numbers("div", rng, reflected=False)
    keeps_its_values("div", rng)
    used_twice("div", rng)
    assert day.div(day.Tensor([1, 2]), day.Tensor([2, 4])).tolist() == [0.5, 0.5]
    assert day.div(day.Tensor([True]), 2).dtype == np.float32


@exercise("div")
def test_division_by_zero_is_ieee():
    x = np.array([1.0, -1.0, 0.0, 2.0])
    y = np.array([0.0, 0.0, 0.0, np.inf])
    for g in (1.0, 0.0):
        a, b = (day.Tensor(v, requires_grad=True) for v in (x, y))
        twins = [torch.tensor(v, requires_grad=True) for v in (x, y)]
        with without_a_warning():
            result, wanted = day.div(a, b), torch.div(*twins)
            result.backward(np.full(4, g))
        wanted.backward(torch.full((4,), g, dtype=torch.float64))
        same(result.data, wanted.detach().numpy(), "x / 0")
        same(a.grad.data, twins[0].grad.numpy(), f"g = {g}, gradient of a in a / 0")
        same(b.grad.data, twins[1].grad.numpy(), f"g = {g}, gradient of b in a / 0")


@exercise("div")
def test_division_by_what_has_no_square():
    a, b = (day.Tensor(np.float32([1e25, -3e25]), requires_grad=True) for _ in range(2))
    with np.errstate(all="ignore"):
        day.div(a, b).backward(np.ones(2, np.float32))
    wanted = 1 / np.float64(b.data)
    close(a.grad.data, wanted, dtype="float32", name="1 / b, where b² is no float32")
    close(b.grad.data, -wanted, dtype="float32", name="-a / b², where b² is no float32")


@contextmanager
def without_a_warning():
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        yield
    assert not seen, f"numpy warned: {seen[0].message}"


def same(found, right, name):
    """Equal, where nan equals nan."""
    wrong = ~((found == right) | (np.isnan(found) & np.isnan(right)))
    assert not wrong.any(), f"{name}: {found[wrong]} where torch has {right[wrong]}"


@exercise("pow")
def test_pow_in_general(rng):
    refuses("pow", rng)
    with_numbers("pow", rng, reflected=True)
    keeps_its_values("pow", rng)
    used_twice("pow", rng)
    for exponent in (0, 1, 2, 3, 0.5, -1, -2.5):
        check(f"pow by {exponent}", lambda t: day.pow(t, exponent),  # noqa: B023
              lambda t: torch.pow(t, exponent), lambda shape: rng.normal(*shape),  # noqa: B023
              np.abs(rng.normal(4)) + 0.5)  # fmt: skip


@exercise("pow")
def test_powers_at_the_border():
    bases = np.array([0.0, 0.0, 0.0, 0.0, -2.0, -2.0, -8.0, 2.0, 1.0, 0.0, np.nan])
    exponents = np.array([0.0, 1.0, 2.0, -1.0, 2.0, 3.0, 0.5, 0.0, 5.0, 0.5, 0.0])
    for only, g in itertools.product(("both", "the base", "the exponent"), (1.0, 0.0)):
        a = day.Tensor(bases, requires_grad=only != "the exponent")
        b = day.Tensor(exponents, requires_grad=only != "the base")
        x = torch.tensor(bases, requires_grad=a.requires_grad)
        y = torch.tensor(exponents, requires_grad=b.requires_grad)
        with without_a_warning():
            result, wanted = day.pow(a, b), torch.pow(x, y)
            result.backward(np.full(len(bases), g))
        same(result.data, wanted.detach().numpy(), "powers")
        wanted.backward(torch.full((len(bases),), g, dtype=torch.float64))
        for name, mine, theirs in (("base", a, x), ("exponent", b, y)):
            if mine.requires_grad:
                found, right = mine.grad.data, theirs.grad.numpy()
                wrong = ~(
                    np.isclose(found, right, rtol=1e-12) | (np.isnan(found) & np.isnan(right))
                )
                columns = (bases, exponents, found, right)
                at = list(zip(*(column[wrong].tolist() for column in columns), strict=True))
                assert not at, (
                    f"g = {g}, gradient of the {name}: (base, exponent, yours, torch's) {at}"
                )


@exercise("pow")
def test_integers_have_no_negative_powers():
    assert day.pow(day.Tensor([2, 3]), 3).tolist() == [8, 27]
    assert day.pow(day.Tensor([2, 3]), 3).dtype == np.int64
    found = day.pow(day.Tensor([2, 3]), day.Tensor([0, 1])).tolist()
    assert found == [1, 3], f"integers 2 and 3 to the powers 0 and 1 are {found}"
    assert day.pow(day.Tensor([2, 4]), -1.0).tolist() == [0.5, 0.25]
    found = day.pow(day.Tensor([3]), 39).item()
    assert found == 3**39, f"3 ** 39 is {3**39} and fits int64: {found} came out, as in a float"
    for exponent in (-1, day.Tensor([1, -2])):
        with pytest.raises(ValueError):
            found = day.pow(day.Tensor([2, 3]), exponent)
            pytest.fail(f"integers to a negative power gave {found}: a ValueError was due")


# -- choices -----------------------------------------------------------------------------------


@exercise("maximum")
def test_maximum_of_ties_and_nan(rng):
    refuses("maximum", rng)
    with_numbers("maximum", rng, reflected=True)
    keeps_its_values("maximum", rng)
    x = np.array([1.0, 2.0, 3.0, np.nan, 1.0, np.inf, -0.0])
    y = np.array([1.0, 3.0, 2.0, 1.0, np.nan, np.inf, 0.0])
    a, b = (day.Tensor(v, requires_grad=True) for v in (x, y))
    p, q = (torch.tensor(v, requires_grad=True) for v in (x, y))
    result, wanted = day.maximum(a, b), torch.maximum(p, q)
    same(result.data, wanted.detach().numpy(), "maximum")
    g = rng.normal(len(x))
    result.backward(g)
    wanted.backward(torch.tensor(g))
    close(a.grad.data, p.grad.numpy(), name="gradient of a at ties and nan")
    close(b.grad.data, q.grad.numpy(), name="gradient of b at ties and nan")
    assert day.maximum(day.Tensor([1, 5]), 3).tolist() == [3, 5]


@exercise("where")
@pytest.mark.parametrize(
    ("c", "a", "b"),
    [
        ((3,), (3,), (3,)), ((2, 1), (3,), ()), ((), (2, 3), (3,)), ((2, 3), (), ()),
        ((4, 1, 1), (1, 3), (2, 1)), ((0,), (1,), ()),
    ],
    ids=str,
)  # fmt: skip
def test_where(c, a, b, rng):
    condition = rng.normal(*c) > 0
    result = check(
        f"where of {c}, {a} and {b}",
        lambda x, y: day.where(day.Tensor(condition), x, y),
        lambda x, y: torch.where(torch.tensor(condition), x, y),
        lambda shape: rng.normal(*shape),
        rng.normal(*a),
        rng.normal(*b),
    )
    assert result.op == "where"
    of_its_class("where", lambda kind: day.where(kind(np.ones(2, bool)), kind(rng.normal(2)), 0))


@exercise("where")
def test_where_has_torchs_dtypes():
    condition = np.array([True, False])
    every = list(operands_of(day.Tensor, torch.tensor))
    for one, other in itertools.product(every, repeat=2):
        if not isinstance(one[2], torch.Tensor) and not isinstance(other[2], torch.Tensor):
            continue
        found = day.where(day.Tensor(condition), one[1], other[1])
        right = torch.where(torch.tensor(condition), one[2], other[2])
        what, kind = f"where of {one[0]} and {other[0]}", str(right.dtype).removeprefix("torch.")
        assert str(found.dtype) == kind, f"{what}: {found.dtype} came out, torch makes {kind}"
        assert found.tolist() == right.tolist(), f"{what}: {found.tolist()}, not {right.tolist()}"


@exercise("where")
def test_where_lets_nothing_through_from_the_other_side(rng):
    condition = np.array([True, False, True])
    a = day.Tensor([1.0, np.nan, 2.0], requires_grad=True)
    b = day.Tensor([np.inf, 3.0, np.nan], requires_grad=True)
    c = day.Tensor(condition)
    result = day.where(c, a, b)
    assert result.tolist() == [1.0, 3.0, 2.0]
    result.backward([np.inf, np.nan, 1.0])
    same(a.grad.data, np.array([np.inf, 0.0, 1.0]), "gradient of a")
    same(b.grad.data, np.array([0.0, np.nan, 0.0]), "gradient of b")
    assert c.grad is None


@exercise("where")
def test_the_condition_may_be_overwritten_before_the_backward():
    for change in ("overwritten", "replaced"):
        a, b = (day.Tensor([1.0, 2.0, 3.0], requires_grad=True) for _ in range(2))
        c = day.Tensor([True, False, True])
        result = day.where(c, a, b)
        if change == "overwritten":
            c.data[:] = [False, True, True]
        else:
            c.data = np.array([False, True, True])
        result.backward([1.0, 2.0, 3.0])
        found = [a.grad.tolist(), b.grad.tolist()]
        assert found == [[1.0, 0.0, 3.0], [0.0, 2.0, 0.0]], (
            f"the condition of where was [True, False, True], and {change} by [False, True, True] "
            f"before the backward; of the gradient [1, 2, 3] a and b got {found}"
        )


@exercise("where")
def test_where_refuses(rng):
    x = day.Tensor(rng.normal(3))
    for condition in (day.Tensor([1, 0, 1]), x, np.array([True, False, True]), True):
        with pytest.raises(TypeError):
            day.where(condition, x, x)
            kind = getattr(condition, "dtype", "")
            pytest.fail(
                f"a condition that is a {type(condition).__name__} {kind} and no bool tensor went "
                "through: a TypeError was due"
            )
    for c, a, b, both in [
        ((2,), (3,), (3,), (3,)), ((3,), (2,), (3,), ()), ((4,), (2, 1), (3,), (2, 3)),
    ]:  # fmt: skip
        with pytest.raises(ValueError) as refusal:
            day.where(day.Tensor(np.ones(c, bool)), day.Tensor(np.ones(a)), day.Tensor(np.ones(b)))
            pytest.fail(f"where of {c}, {a} and {b} went through: a ValueError was due")
        message = str(refusal.value)
        assert "where" in message, f"which operation? {message!r}"
        assert names_the_trouble(message, c, a, b, both), (
            f"where of {c}, {a} and {b}: the message does not name the shapes that do not go "
            f"together: {message!r}"
        )


@exercise("clamp")
@pytest.mark.parametrize(
    "bounds", [(-1, 1), (None, 0.5), (0, None), (1, -1), (-0.5, 0.5), (2, 2)], ids=str
)
def test_clamp(bounds, rng):
    x = np.array([-3.0, -1.0, -0.5, 0.0, 1 / 3, 0.5, 1.0, 2.0, 5.0])  # 1/3: with all its digits
    result = check(
        f"clamp to {bounds}", lambda t: day.clamp(t, *bounds), lambda t: torch.clamp(t, *bounds),
        lambda shape: rng.normal(*shape), x,
    )  # fmt: skip
    assert result.op == "clamp"
    of_its_class("clamp", lambda kind: day.clamp(kind(x), *bounds))
    for kind in ("float32", "float16", "int64"):
        mine = day.clamp(day.Tensor(x.astype(kind)), *bounds)
        theirs = torch.clamp(torch.tensor(x.astype(kind)), *bounds)
        assert str(mine.dtype) == str(theirs.dtype).removeprefix("torch."), f"{kind} to {bounds}"
        assert mine.tolist() == theirs.tolist(), f"{kind} clamped to {bounds}: {mine}"


@exercise("clamp")
def test_clamp_of_nan_and_inf():
    x = day.Tensor([np.nan, np.inf, -np.inf], requires_grad=True)
    result = day.clamp(x, -1, 1)
    same(result.data, np.array([np.nan, 1.0, -1.0]), "clamped nan, inf and -inf")
    result.backward(np.ones(3))
    close(x.grad.data, np.zeros(3, np.float32), name="gradient of nan, inf and -inf")


@exercise("clamp")
def test_a_bound_is_of_the_tensors_dtype():
    for bounds, kind in itertools.product([(0.7, None), (None, 0.7), (0.7, 0.7)],
                                          ("float16", "float32", "float64")):  # fmt: skip
        x = day.Tensor([0.7], requires_grad=True, dtype=kind)
        day.clamp(x, *bounds).backward(np.ones(1))
        found = x.grad.item()
        assert found == 1.0, (
            f"the gradient of {kind}'s 0.7, clamped to {bounds}, is {found}: it stands exactly on "
            f"the border, since the bound too is {kind}'s 0.7"
        )


@exercise("clamp")
def test_clamp_goes_by_the_values_that_were_there():
    x = day.Tensor([0.5, 2.0], requires_grad=True)
    result = day.clamp(x, 0, 1)
    x.data = np.array([2.0, 0.5], np.float32)
    result.backward([1.0, 1.0])
    found = x.grad.tolist()
    assert found == [1.0, 0.0], (
        f"x was [0.5, 2] when it was clamped to (0, 1), and another array, [2, 0.5], before the "
        f"backward; its gradient is {found}"
    )


@exercise("clamp")
def test_clamp_needs_a_bound():
    with pytest.raises(ValueError):
        day.clamp(day.Tensor([1.0]))
        pytest.fail("clamp without bounds went through: a ValueError was due")


# -- Python's operators, which are given -------------------------------------------------------


@exercise("add")
def test_operators_reach_the_functions(rng):
    x, y = rng.normal(3), np.abs(rng.normal(3)) + 1.0
    for f in (operator.add, operator.sub, operator.mul, operator.truediv):
        for a, b in [(day.Tensor(x), day.Tensor(y)), (2, day.Tensor(y)), (day.Tensor(x), 2)]:
            right = f(*(v.data if isinstance(v, day.Tensor) else v for v in (a, b)))
            close(f(a, b).data, right, terms=4, scale=4.0, name=f.__name__)
    with pytest.raises(TypeError):
        x + day.Tensor(x)
        pytest.fail("an array and a tensor were added")
