"""Day 19: every pair of ranks, shares that are summed over broadcast batches, and equations."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.testing import close, exercise, watch
from tracks.autodiff import day19 as day

MANY = 64  # of a batch, and of k and m: a product for each sample is 2 MB
PAIRS = [
    ((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 4)), ((2, 3), (3, 4)),
    ((3,), (5, 3, 4)), ((5, 2, 3), (3,)), ((2, 3), (5, 3, 4)), ((5, 2, 3), (3, 4)),
    ((5, 2, 3), (5, 3, 4)), ((1, 2, 3), (5, 3, 4)), ((5, 2, 3), (1, 3, 4)),
    ((2, 5, 2, 3), (5, 3, 4)), ((2, 1, 2, 3), (5, 3, 4)), ((5, 1, 2, 3), (1, 4, 3, 2)),
    ((3,), (2, 5, 3, 4)), ((2, 5, 2, 3), (3,)), ((2, 5, 2, 3), (3, 4)), ((2, 3), (2, 5, 3, 4)),
    ((1,), (1,)), ((1, 1), (1, 1)), ((2, 3, 3), (3, 3, 3)[1:]), ((3, 1), (1, 4)), ((1, 3), (3, 1)),
    ((3, 1, 1), (2, 3, 1, 1)),
]  # fmt: skip
EMPTY = [
    ((0,), (0,)), ((2, 0), (0, 3)), ((0, 3), (3, 4)), ((2, 3), (3, 0)), ((0, 2, 3), (3, 4)),
    ((0, 2, 3), (0, 3, 4)), ((4, 2, 0), (0, 3)), ((1, 2, 3), (0, 3, 4)), ((2, 3), (0, 3, 4)),
    ((0,), (0, 3)), ((3,), (0, 3, 4)),
]  # fmt: skip


def check(name, mine, theirs, rng, *inputs):
    """Values and gradients of ``mine(*tensors)`` against ``theirs(*torch tensors)``, in float64."""
    tensors = [day.Tensor(x, requires_grad=True) for x in inputs]
    twins = [torch.tensor(x, requires_grad=True) for x in inputs]
    result, wanted = mine(*tensors), theirs(*twins)
    assert result.shape == tuple(wanted.shape), (
        f"{name}: the shape came out {result.shape}, torch makes it {tuple(wanted.shape)}"
    )
    assert isinstance(result.data, np.ndarray), f"{name}: the data are no array"
    terms = max(1, *(x.size for x in inputs), result.numel())
    close(result.data, wanted.detach().numpy(), terms=terms, scale=4.0, name=name)
    g = np.array(rng.normal(*result.shape))
    before = g.copy()
    result.backward(g)
    wanted.backward(torch.tensor(g))
    for which, tensor, twin, x in zip("ab", tensors, twins, inputs, strict=True):
        right = np.zeros(x.shape) if twin.grad is None else twin.grad.numpy()
        close(
            tensor.grad.data if tensor.grad is not None else None, right, terms=terms, scale=4.0,
            name=f"{name}: gradient of {which}",
        )  # fmt: skip
        close(tensor.data, x, name=f"{name}: operand {which}")
    close(g, before, name=f"{name}: the gradient that came in")
    return result


def names(error, *words):
    for word in words:
        assert str(word) in str(error.value), f"{word} is not named: {error.value}"


def wants_tensors(what, f, rng, *shapes):
    """Tensors of one dtype."""
    x, y = (rng.normal(*shape) for shape in shapes)
    for other in (2, y, None, "2"):
        for pair in [(day.Tensor(x), other), (other, day.Tensor(y))]:
            with pytest.raises(TypeError) as refusal:
                f(*pair)
                pytest.fail(f"{what} with a {type(other).__name__} went through")
            names(refusal, what)
    for one, two in [("float32", "float64"), ("int64", "float64"), ("bool", "bool")]:
        with pytest.raises(TypeError) as refusal:
            f(day.Tensor(x.astype(one)), day.Tensor(y.astype(two)))
            pytest.fail(f"{what} of {one} and {two} went through: a TypeError was due")
        names(refusal, what, one, two)


def in_every_dtype(what, f, theirs, rng, *shapes):
    for kind in ("float16", "float32", "int64"):
        x, y = ((rng.normal(*shape) * 3).astype(kind) for shape in shapes)
        a, b = day.Tensor(x), day.Tensor(y)
        right = theirs(x.astype(np.float64), y.astype(np.float64))
        right = right.astype(kind) if kind == "int64" else right
        close(f(a, b).data, right, dtype=np.dtype(kind), terms=8, scale=9.0, name=f"{what}, {kind}")
    x, y = ((rng.normal(*shape) * 3).astype(np.float16) for shape in shapes)
    a, b = (day.Tensor(v, requires_grad=True) for v in (x, y))
    s, t = (torch.tensor(v.astype(np.float64), requires_grad=True) for v in (x, y))
    f(a, b).backward(np.ones(f(a, b).shape))
    (torch.outer if what == "outer" else torch.matmul)(s, t).sum().backward()
    for which, leaf, twin in [("a", a, s), ("b", b, t)]:
        close(leaf.grad.data, twin.grad.numpy(), dtype=np.float16, terms=8, scale=9.0,
              name=f"{what}, float16: gradient of {which}")  # fmt: skip


# -- shapes ------------------------------------------------------------------------------------


@exercise("matmul_shape")
@pytest.mark.parametrize(("a", "b"), PAIRS + EMPTY, ids=str)
def test_matmul_shape(a, b):
    wanted = tuple(torch.matmul(torch.ones(a), torch.ones(b)).shape)
    for make in (tuple, list):
        found = day.matmul_shape(make(a), make(b))
        assert tuple(found) == wanted, f"{a} @ {b} has the shape {wanted}, not {found}"


@exercise("matmul_shape")
@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((3, 4), (5, 2)), ((3,), (4,)), ((3, 4), (3,)), ((3,), (4, 3)), ((2, 3), (2, 3)),
        ((7, 3, 4), (7, 3, 4)), ((1,), (4,)), ((3, 1), (4, 2)), ((3, 4), (1, 2)), ((0,), (4,)),
    ],
    ids=str,
)  # fmt: skip
def test_inner_sizes_that_differ_are_named(a, b):
    inner = a[-1], b[-2] if len(b) > 1 else b[0]
    with pytest.raises(ValueError) as refusal:
        found = day.matmul_shape(a, b)
        pytest.fail(f"{a} @ {b} gave {found}: a ValueError was due")
    names(refusal, "matmul", a, b, *inner)


@exercise("matmul_shape")
@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((), (3,)), ((3,), ()), ((), ()), ((2, 3, 4), ()), ((2, 3, 4), (5, 4, 6)),
        ((2, 5, 3, 4), (2, 4, 6)),
    ],
    ids=str,
)  # fmt: skip
def test_matmul_shape_refuses(a, b):
    with pytest.raises(ValueError) as refusal:
        found = day.matmul_shape(a, b)
        pytest.fail(f"{a} @ {b} gave {found}: a ValueError was due")
    names(refusal, "matmul", a, b)


# -- product_to --------------------------------------------------------------------------------

SUMS = [
    ((2, 3), (3, 4), (2, 4)), ((5, 2, 3), (5, 3, 4), (2, 4)), ((5, 2, 3), (5, 3, 4), (5, 2, 4)),
    ((5, 2, 3), (5, 3, 4), (1, 2, 4)), ((6, 5, 2, 3), (6, 5, 3, 4), (2, 4)),
    ((6, 5, 2, 3), (6, 5, 3, 4), (5, 2, 4)), ((6, 5, 2, 3), (6, 5, 3, 4), (6, 1, 2, 4)),
    ((6, 5, 2, 3), (5, 3, 4), (5, 2, 4)), ((5, 2, 3), (3, 4), (2, 4)), ((2, 3), (5, 3, 4), (2, 4)),
    ((1, 2, 3), (5, 3, 4), (2, 4)), ((5, 1, 3), (5, 3, 1), (1, 1)), ((0, 2, 3), (0, 3, 4), (2, 4)),
    ((5, 2, 0), (5, 0, 4), (2, 4)), ((6, 1, 2, 3), (1, 5, 3, 4), (2, 4)),
]  # fmt: skip


@exercise("product_to")
@pytest.mark.parametrize(("x", "y", "shape"), SUMS, ids=str)
def test_product_to(x, y, shape, rng):
    x, y = rng.normal(*x), rng.normal(*y)
    every = torch.matmul(torch.tensor(x), torch.tensor(y))
    right = every.sum_to_size(shape).numpy()
    found = day.product_to(x, y, shape)
    close(
        found, right, terms=x.size + 1, scale=4.0, name=f"{x.shape} @ {y.shape} summed to {shape}"
    )
    flipped = day.product_to(x.swapaxes(-1, -2).copy().swapaxes(-1, -2), y, shape)
    close(flipped, right, terms=x.size + 1, scale=4.0, name="the same of other strides")
    half = day.product_to(x.astype(np.float32), y.astype(np.float32), shape)
    assert half.dtype == np.float32, f"float32 became {half.dtype}"


@exercise("product_to")
def test_no_product_for_each_sample(rng):
    x, y = rng.normal(MANY, MANY, 4), rng.normal(MANY, 4, MANY)
    found, seen = watch(day.product_to, x, y, (MANY, MANY))
    close(found, (x @ y).sum(0), terms=x.size, scale=4.0, name="a sum of products")
    every = MANY**3 * 8
    assert seen.peak_bytes < every / 2, (
        f"{seen.peak_bytes / 1e6:.1f} MB were taken: the products of all {MANY} samples have "
        f"{every / 1e6:.1f} MB, their sum {MANY**2 * 8 / 1e6:.2f} MB"
    )


# -- matmul ------------------------------------------------------------------------------------


@exercise("matmul")
@pytest.mark.parametrize(("a", "b"), PAIRS, ids=str)
def test_matmul(a, b, rng):
    result = check(f"{a} @ {b}", day.matmul, torch.matmul, rng, rng.normal(*a), rng.normal(*b))
    assert result.op == "matmul", f"the op of matmul is {result.op!r}"


@exercise("matmul")
@pytest.mark.parametrize(("a", "b"), EMPTY, ids=str)
def test_matmul_of_nothing(a, b, rng):
    check(f"{a} @ {b}", day.matmul, torch.matmul, rng, rng.normal(*a), rng.normal(*b))


@exercise("matmul")
def test_matmul_of_views(rng):
    x, y = rng.normal(4, 3, 2), rng.normal(5, 4)
    for name, f in [
        ("two transposed operands", lambda a, b: (a.transpose(0, 2), b.transpose(0, 1))),
        ("an expanded operand", lambda a, b: (a.transpose(0, 2).expand(3, 2, 3, 4), b.T)),
        ("a transposed result", lambda a, b: (a.transpose(0, 2), b.T.expand(2, 4, 5))),
    ]:
        check(name, lambda a, b: day.matmul(*f(a, b)).transpose(0, -1),  # noqa: B023
              lambda a, b: torch.matmul(*f(a, b)).transpose(0, -1), rng, x, y)  # fmt: skip # noqa: B023
    square = rng.normal(3, 3)
    twin = torch.tensor(square, requires_grad=True)
    x = day.Tensor(square, requires_grad=True)
    g = rng.normal(3, 3)
    day.matmul(x, x).backward(g)
    torch.matmul(twin, twin).backward(torch.tensor(g))
    close(x.grad.data, twin.grad.numpy(), terms=9, scale=4.0, name="gradient of x in x @ x")


@exercise("matmul")
def test_matmul_refuses(rng):
    wants_tensors("matmul", day.matmul, rng, (2, 3), (3, 4))
    for a, b in [((3, 4), (5, 2)), ((), (3,)), ((2, 3, 4), (5, 4, 6))]:
        with pytest.raises(ValueError) as refusal:
            found = day.matmul(day.Tensor(rng.normal(*a)), day.Tensor(rng.normal(*b)))
            pytest.fail(f"{a} @ {b} gave {found.shape}: a ValueError was due")
        names(refusal, "matmul", a, b)


@exercise("matmul")
def test_matmul_in_every_dtype(rng):
    in_every_dtype("matmul", day.matmul, np.matmul, rng, (5, 2, 3), (3, 4))
    for kind in ("int32", "uint8"):
        ones = day.Tensor(np.ones((2, 2), kind))
        found = day.matmul(ones, ones)
        assert found.dtype == np.dtype(kind), f"{kind} became {found.dtype}"
    found = day.matmul(
        day.Tensor(np.full(4, 300, np.float16)),
        day.Tensor(np.array([300, 300, -300, -300], np.float16)),
    )
    close(found.data, np.array(0.0), dtype=np.float16, name="300² + 300² - 300² - 300² in float16")


@exercise("matmul")
def test_nothing_is_multiplied_for_whom_no_gradient_is_wanted(rng):
    for which in (0, 1):
        pair = [day.Tensor(rng.normal(3, 2, 3), requires_grad=which == 0),
                day.Tensor(rng.normal(3, 4), requires_grad=which == 1)]  # fmt: skip
        result = day.matmul(*pair)
        assert result.requires_grad
        shares = result._backward(np.ones((3, 2, 4)))
        assert shares[1 - which] is None, (
            f"operand {'ab'[1 - which]} requires no gradient and has one made for it"
        )
        assert shares[which].shape == pair[which].shape
    plain = [day.Tensor(rng.normal(2, 2)) for _ in "ab"]
    assert not day.matmul(*plain).requires_grad


@exercise("matmul")
@pytest.mark.parametrize("shared", ["a weight", "the left matrix"])
def test_a_shared_operand_has_no_gradient_for_each_sample(shared, rng):
    which = 0 if shared == "the left matrix" else 1
    sizes = [((MANY, MANY), (MANY, MANY, 4)), ((MANY, 4, MANY), (MANY, MANY))][which]
    a, b = (day.Tensor(rng.normal(*s), requires_grad=i == which) for i, s in enumerate(sizes))
    result = day.matmul(a, b)
    shares, seen = watch(result._backward, np.array(rng.normal(*result.shape)))
    every = MANY**3 * 8
    assert seen.peak_bytes < every / 2, (
        f"{shared}: {seen.peak_bytes / 1e6:.1f} MB were taken for a gradient of "
        f"{shares[which].nbytes / 1e6:.2f} MB; one for each sample is {every / 1e6:.1f} MB"
    )


@exercise("matmul")
@settings(max_examples=30)
@given(data=st.data())
def test_any_batches(data):
    batch = data.draw(st.lists(st.integers(1, 3), max_size=3))
    shapes = []
    for _ in "ab":
        own = [1 if data.draw(st.booleans()) else n for n in batch]
        shapes.append(own[data.draw(st.integers(0, len(own))) :])
    n, k, m = (data.draw(st.integers(1, 3)) for _ in "nkm")
    numbers = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))

    class Numbers:
        def normal(self, *sizes):
            return numbers.normal(size=sizes)

    a, b = (*shapes[0], n, k), (*shapes[1], k, m)
    check(f"{a} @ {b}", day.matmul, torch.matmul, Numbers(), numbers.normal(size=a),
          numbers.normal(size=b))  # fmt: skip


# -- dot, outer --------------------------------------------------------------------------------


@exercise("dot")
def test_dot(rng):
    for n in (0, 1, 2, 5, 33):
        result = check(f"dot of {n}", day.dot, torch.dot, rng, rng.normal(n), rng.normal(n))
        assert result.op == "dot", f"the op of dot is {result.op!r}"
    check("dot of every other element", lambda a, b: day.dot(a.expand(3, 4).T.reshape(-1), b),
          lambda a, b: torch.dot(a.expand(3, 4).T.reshape(-1), b), rng, rng.normal(4),
          rng.normal(12))  # fmt: skip
    x = day.Tensor(rng.normal(4), requires_grad=True)
    day.dot(x, x).backward()
    close(x.grad.data, 2 * x.data, terms=2, scale=2.0, name="gradient of x in dot(x, x)")
    in_every_dtype("dot", day.dot, np.dot, rng, (5,), (5,))


@exercise("dot")
def test_dot_refuses(rng):
    wants_tensors("dot", day.dot, rng, (3,), (3,))
    for a, b in [((3,), (4,)), ((1,), (4,)), ((2, 3), (3,)), ((3,), (3, 2)), ((2, 2), (2, 2)),
                 ((), ()), ((), (3,)), ((3,), ())]:  # fmt: skip
        with pytest.raises(ValueError) as refusal:
            found = day.dot(day.Tensor(rng.normal(*a)), day.Tensor(rng.normal(*b)))
            pytest.fail(f"dot of {a} and {b} gave {found}: a ValueError was due")
        names(refusal, "dot", a, b)


@exercise("outer")
def test_outer(rng):
    for n, m in itertools.product((0, 1, 2, 5), repeat=2):
        x, y = rng.normal(n), rng.normal(m)
        result = check(f"outer of {n} and {m}", day.outer, torch.outer, rng, x, y)
        assert result.op == "outer", f"the op of outer is {result.op!r}"
    in_every_dtype("outer", day.outer, np.outer, rng, (5,), (4,))
    check("outer, transposed", lambda a, b: day.outer(a, b).T, lambda a, b: torch.outer(a, b).T,
          rng, rng.normal(3), rng.normal(4))  # fmt: skip


@exercise("outer")
def test_outer_refuses(rng):
    wants_tensors("outer", day.outer, rng, (3,), (4,))
    for a, b in [((2, 3), (3,)), ((3,), (3, 2)), ((), (3,)), ((3,), ()), ((1, 3), (1, 4))]:
        with pytest.raises(ValueError) as refusal:
            found = day.outer(day.Tensor(rng.normal(*a)), day.Tensor(rng.normal(*b)))
            pytest.fail(f"outer of {a} and {b} gave {found.shape}: a ValueError was due")
        names(refusal, "outer", a, b)


# -- equations ---------------------------------------------------------------------------------

EQUATIONS = [
    ("ij,jk->ik", (2, 3), (3, 4)), ("ij,jk->ki", (2, 3), (3, 4)), ("ij,kj->ik", (2, 3), (4, 3)),
    ("ji,jk->ik", (3, 2), (3, 4)), ("ij,jk", (2, 3), (3, 4)), ("ki,ij", (2, 3), (3, 4)),
    ("i,i->", (3,), (3,)), ("i,i", (3,), (3,)), ("i,i->i", (3,), (3,)), ("i,j->ij", (2,), (3,)),
    ("i,j->ji", (2,), (3,)), ("i,j->", (2,), (3,)), ("i,j->j", (2,), (3,)), ("j,i", (2,), (3,)),
    ("ij,ij->", (2, 3), (2, 3)), ("ij,ji->", (2, 3), (3, 2)), ("ij,ij->ij", (2, 3), (2, 3)),
    ("ij,ji->ji", (2, 3), (3, 2)), ("ij,ij->j", (2, 3), (2, 3)), ("ij,j->i", (2, 3), (3,)),
    ("ij,j->ij", (2, 3), (3,)), ("ij,j->ji", (2, 3), (3,)), ("j,ij->i", (3,), (2, 3)),
    ("bij,bjk->bik", (5, 2, 3), (5, 3, 4)), ("bij,bjk->ik", (5, 2, 3), (5, 3, 4)),
    ("bij,bjk->kbi", (5, 2, 3), (5, 3, 4)), ("bij,jk->bik", (5, 2, 3), (3, 4)),
    ("bqhd,bkhd->bhqk", (2, 3, 4, 5), (2, 6, 4, 5)),
    ("bhqk,bkhd->bqhd", (2, 4, 3, 6), (2, 6, 4, 5)),
    ("abcd,cdab->ac", (2, 3, 4, 5), (4, 5, 2, 3)), ("abc,dca->bd", (2, 3, 4), (5, 4, 2)),
    ("ijk,l->il", (2, 3, 4), (5,)), ("ij,kl->jk", (2, 3), (4, 5)), ("ij,kl->ljki", (2, 3), (4, 5)),
    ("ijk,jl->k", (2, 3, 4), (3, 5)), (",->", (), ()), (",i->i", (), (3,)), ("i,->", (3,), ()),
    ("ij,->ji", (2, 3), ()), ("Ba,aB->B", (2, 3), (3, 2)), ("aB,BA", (2, 3), (3, 4)),
    (" i j , j k -> i k ", (2, 3), (3, 4)), ("ij,jk->ik", (1, 1), (1, 1)),
    ("ij,jk->ik", (2, 0), (0, 4)), ("ij,jk->ik", (0, 3), (3, 4)),
    ("bij,bjk->bik", (0, 2, 3), (0, 3, 4)), ("ij,kl->ik", (2, 0), (4, 5)), ("i,i->", (0,), (0,)),
]  # fmt: skip


@exercise("parse_einsum")
@pytest.mark.parametrize(
    ("equation", "a", "b", "right"),
    [
        ("ij,jk->ik", (2, 3), (3, 4), ("ij", "jk", "ik", {"i": 2, "j": 3, "k": 4})),
        ("ij,jk", (2, 3), (3, 4), ("ij", "jk", "ik", {"i": 2, "j": 3, "k": 4})),
        ("zi,iA", (2, 3), (3, 4), ("zi", "iA", "Az", {"z": 2, "i": 3, "A": 4})),
        ("ba,a->", (2, 3), (3,), ("ba", "a", "", {"a": 3, "b": 2})),
        ("i,i", (3,), (3,), ("i", "i", "", {"i": 3})),
        ("ij,ji", (2, 3), (3, 2), ("ij", "ji", "", {"i": 2, "j": 3})),
        (" i j,j k -> k i", (2, 3), (3, 0), ("ij", "jk", "ki", {"i": 2, "j": 3, "k": 0})),
        (",i", (), (1,), ("", "i", "i", {"i": 1})),
        (",->", (), (), ("", "", "", {})),
        ("cab,d", (1, 2, 3), (4,), ("cab", "d", "abcd", {"a": 2, "b": 3, "c": 1, "d": 4})),
    ],
    ids=str,
)
def test_parse_einsum(equation, a, b, right):
    found = day.parse_einsum(equation, a, b)
    assert tuple(found) == right, f"{equation!r} of {a} and {b} is {right}, not {tuple(found)}"
    assert isinstance(found, day.Letters), f"a Letters is wanted, not {type(found).__name__}"


@exercise("parse_einsum")
@pytest.mark.parametrize(
    ("equation", "a", "b", "also"),
    [
        ("ij->ij", (2, 3), (3, 4), ()), ("ij,jk,kl->il", (2, 3), (3, 4), ()), ("", (), (), ()),
        ("i1,1k->ik", (2, 3), (3, 4), ()), ("...j,jk->...k", (2, 3), (3, 4), ()),
        ("ij,jk->i->k", (2, 3), (3, 4), ()), ("ij,jé->ié", (2, 3), (3, 4), ()),
        ("ij,jk-ik", (2, 3), (3, 4), ()),
        ("ii,ik->k", (2, 2), (2, 4), ()), ("ij,kk->ij", (2, 3), (3, 3), ()),
        ("ij,jk->ikk", (2, 3), (3, 4), ()), ("ij,jk->iq", (2, 3), (3, 4), ("q",)),
        ("ijk,kl->il", (2, 3), (3, 4), ((2, 3),)), ("ij,j->i", (2, 3), (3, 4), ((3, 4),)),
        ("i,jk->ik", (2, 3), (3, 4), ((2, 3),)), ("ij,j->i", (2, 3), (), ((),)),
        ("ij,jk->ik", (2, 3), (5, 4), ("j", 3, 5)), ("ij,ji->", (2, 3), (3, 7), ("i", 2, 7)),
        ("ij,jk->ik", (2, 3), (1, 4), ("j", 3, 1)), ("ij,jk->ik", (2, 0), (6, 4), ("j", 0, 6)),
    ],
    ids=str,
)  # fmt: skip
def test_parse_einsum_refuses(equation, a, b, also):
    with pytest.raises(ValueError) as refusal:
        found = day.parse_einsum(equation, a, b)
        pytest.fail(f"{equation!r} of {a} and {b} gave {found}: a ValueError was due")
    names(refusal, "einsum", equation, *also)


@exercise("einsum")
@pytest.mark.parametrize(("equation", "a", "b"), EQUATIONS, ids=str)
def test_einsum(equation, a, b, rng):
    check(f"einsum {equation!r} of {a} and {b}", lambda x, y: day.einsum(equation, x, y),
          lambda x, y: torch.einsum(equation, x, y), rng, rng.normal(*a),
          rng.normal(*b))  # fmt: skip


@exercise("einsum")
def test_einsum_in_general(rng):
    wants_tensors("einsum", lambda a, b: day.einsum("ij,jk->ik", a, b), rng, (2, 3), (3, 4))
    for kind in ("float16", "float32", "int64"):
        x, y = ((rng.normal(*shape) * 3).astype(kind) for shape in [(2, 3), (3, 4)])
        for equation in ("ij,jk->ki", "ij,jk->k"):
            if kind == "float16" and equation == "ij,jk->k":
                continue  # a sum and a product: whether the sum is rounded is not said
            right = np.einsum(equation, x.astype(np.float64), y.astype(np.float64))
            right = right.astype(np.int64) if kind == "int64" else right
            found = day.einsum(equation, day.Tensor(x), day.Tensor(y))
            close(found.data, right, dtype=np.dtype(kind), terms=8, scale=9.0,
                  name=f"{equation} of {kind}")  # fmt: skip
    for kind in ("int32", "uint8"):
        with pytest.raises(TypeError) as refusal:
            day.einsum("i,i->", *(day.Tensor(np.ones(2, kind)) for _ in "ab"))
            pytest.fail(f"einsum of {kind} went through: a TypeError was due")
        names(refusal, "einsum", kind)
    with pytest.raises(ValueError) as refusal:
        day.einsum("ij,jk->ik", day.Tensor(rng.normal(2, 3)), day.Tensor(rng.normal(4, 5)))
        pytest.fail("einsum of (2, 3) and (4, 5) went through: a ValueError was due")
    names(refusal, "einsum", "ij,jk->ik", 3, 4)

    def views(einsum):
        return lambda a, b: einsum("bij,jk->kbi", a.transpose(0, 2), b.expand(3, 4))

    check("einsum of views", views(day.einsum), views(torch.einsum), rng, rng.normal(3, 5, 2),
          rng.normal(4))  # fmt: skip


@exercise("einsum")
@pytest.mark.parametrize(
    ("equation", "a", "b"),
    [
        ("ij,jk->ik", (MANY, MANY), (MANY, MANY)), ("ij,kj->ik", (MANY, MANY), (MANY, MANY)),
        ("ij,jk->i", (MANY, MANY), (MANY, MANY)), ("ij,jk->", (MANY, MANY), (MANY, MANY)),
        ("bij,bjk->ik", (4, MANY, 16), (4, 16, MANY)),
    ],
    ids=str,
)  # fmt: skip
def test_no_array_of_all_products(equation, a, b, rng):
    a, b = (day.Tensor(rng.normal(*shape), requires_grad=True) for shape in (a, b))

    def both_ways():
        result = day.einsum(equation, a, b)
        result.backward(np.ones(result.shape))

    _, seen = watch(both_ways)
    every = MANY**3 * 8
    assert seen.peak_bytes < every / 2, (
        f"{equation}: {seen.peak_bytes / 1e6:.1f} MB were taken, forward and back; all products "
        f"are {every / 1e6:.1f} MB, an operand {MANY**2 * 8 / 1e6:.2f} MB"
    )


@exercise("einsum")
def test_operators_and_methods(rng):
    a, b = day.Tensor(rng.normal(2, 3)), day.Tensor(rng.normal(3, 4))
    right = a.data @ b.data
    close((a @ b).data, right, terms=3, scale=4.0, name="a @ b")
    close(a.matmul(b).data, right, terms=3, scale=4.0, name="a.matmul(b)")
    x, y = day.Tensor(rng.normal(3)), day.Tensor(rng.normal(3))
    close(x.dot(y).data, np.array(x.data @ y.data), terms=3, scale=4.0, name="x.dot(y)")
    close(x.outer(y).data, np.outer(x.data, y.data), scale=4.0, name="x.outer(y)")
    for f in (lambda: a @ 2, lambda: a.data @ b, lambda: 2 @ a):
        with pytest.raises(TypeError):
            f()
            pytest.fail("@ of a tensor and something else went through")

    class Later(day.Tensor):
        __slots__ = ()

    later = Later(rng.normal(3, 3), requires_grad=True)
    for y in (later @ later, day.einsum("ij,ij->i", later, later)):
        assert type(y) is Later, f"a product of Laters is a {type(y).__name__}"


@exercise("einsum")
def test_attention(rng):
    """Scores and a weighted sum, by letters and by @, with a batch and heads."""
    q, k = rng.normal(2, 3, 4, 5), rng.normal(2, 6, 4, 5)

    def scores(einsum):
        return lambda a, b: einsum("bqhd,bkhd->bhqk", a, b) * (1 / math.sqrt(5))

    check("attention scores", scores(day.einsum), scores(torch.einsum), rng, q, k)


@exercise("einsum")
@settings(max_examples=30)
@given(data=st.data())
def test_any_equation(data):
    letters = "abcde"
    sizes = {c: data.draw(st.integers(1, 3)) for c in letters}
    word = st.lists(st.sampled_from(letters), max_size=4, unique=True).map("".join)
    one, two = data.draw(word), data.draw(word)
    pool = sorted(set(one + two))
    out = "".join(c for c in data.draw(st.permutations(pool)) if data.draw(st.booleans()))
    equation = f"{one},{two}->{out}"
    numbers = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))

    class Numbers:
        def normal(self, *shape):
            return numbers.normal(size=shape)

    x, y = (numbers.normal(size=[sizes[c] for c in w]) for w in (one, two))
    check(f"einsum {equation!r}", lambda a, b: day.einsum(equation, a, b),
          lambda a, b: torch.einsum(equation, a, b), Numbers(), np.array(x),
          np.array(y))  # fmt: skip
