"""Day 9: operators that leave the right node behind, and hand out the right shares."""

import gc
import math
import operator
import sys
from fractions import Fraction

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import strategies as st

from harness.testing import close, exercise
from tracks.autodiff import day08, day09

NUMBERS = [2, -3, 0.5, True, np.float64(2.5), np.float32(0.5), np.int64(-2), Fraction(3, 4)]
NO_NUMBERS = ["2", None, 2j, [2.0], (1.0,), {}]
BINARY = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}


def numbers(rng, count):
    """Numbers of both signs, none near 0."""
    size = rng.uniform(count, low=0.5, high=4.0)
    return [float(x) for x in np.where(rng.boolean(count), size, -size)]


def kept(node):
    """What a node holds, for a comparison before and after."""
    return node.data, node.grad, node.parents, node.op, node.label, node._backward


def slopes(op, x, y):
    """torch's derivatives of x op y with respect to both, in float64."""
    u = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    v = torch.tensor(y, dtype=torch.float64, requires_grad=True)
    return [float(g) for g in torch.autograd.grad(BINARY[op](u, v), (u, v))]


def backward(root):
    """Day 11 in a few lines: every node hands on after all that use it."""
    order, seen = [], set()

    def visit(node):
        if node not in seen:
            seen.add(node)
            for parent in node.parents:
                visit(parent)
            order.append(node)

    visit(root)
    root.grad = 1.0
    for node in reversed(order):
        if node._backward is not None:
            node._backward(node.grad)


# What is asked of every operator: each exercise below calls these with its own. ---------------


def leaves_a_node(cls, op, rng):
    f = BINARY[op]
    for x, y in zip(numbers(rng, 8), numbers(rng, 8), strict=True):
        a, b = cls(x), cls(y)
        a.grad, b.grad = 3.0, 4.0
        before = kept(a), kept(b)
        c = f(a, b)
        assert type(c) is cls, f"a {op} b is a {type(c).__name__}"
        assert c.data == f(x, y), f"{x} {op} {y} gave {c.data}, not {f(x, y)}"
        assert len(c.parents) == 2 and c.parents[0] is a and c.parents[1] is b, (
            f"a {op} b has the parents {c.parents}: operands as they were written, a and b"
        )
        assert c.op == op, f"a {op} b has the op {c.op!r}"
        assert c.grad == 0.0 and c.label == "", f"a new result is {c!r}"
        assert (kept(a), kept(b)) == before, f"a {op} b changed its operands"
        assert not hasattr(c, "__dict__"), "the result carries a dictionary: where is __slots__?"


def hands_out_shares(cls, op, rng):
    f = BINARY[op]
    for x, y, g in zip(numbers(rng, 8), numbers(rng, 8), numbers(rng, 8), strict=True):
        a, b = cls(x), cls(y)
        c = f(a, b)
        c.grad = 100.0  # the backward is given the gradient, and does not ask the result for it
        c._backward(g)
        wanted = [g * slope for slope in slopes(op, x, y)]
        where = f"a {op} b at a = {x}, b = {y} for a gradient of {g}"
        close(a.grad, wanted[0], factor=8, name=f"the gradient share of a in {where}")
        close(b.grad, wanted[1], factor=8, name=f"the gradient share of b in {where}")


def adds_to_what_is_there(cls, op, rng):
    f = BINARY[op]
    x, y, g, h = numbers(rng, 4)
    a, b = cls(x), cls(y)
    a.grad, b.grad = 10.0, -20.0
    c = f(a, b)
    c._backward(g)
    c._backward(h)
    da, db = slopes(op, x, y)
    what = f"a {op} b, whose grads were there already, and two calls of its backward"
    close(a.grad, 10.0 + (g + h) * da, scale=60.0, name=f"the gradient of a after {what}")
    close(b.grad, -20.0 + (g + h) * db, scale=60.0, name=f"the gradient of b after {what}")


def takes_one_value_twice(cls, op, rng):
    for x in numbers(rng, 4):
        a = cls(x)
        c = BINARY[op](a, a)
        assert c.parents == (a, a), f"a {op} a has the parents {c.parents}"
        c._backward(1.0)
        close(
            a.grad,
            sum(slopes(op, x, x)),
            scale=1 + 1 / abs(x),
            name=f"the gradient of a in a {op} a, where it is due two shares,",
        )


def takes_numbers(cls, op):
    f = BINARY[op]
    for number in NUMBERS:
        a = cls(3.0)
        right, left = f(a, number), f(number, a)
        for c, place, value in [(right, 1, f(3.0, float(number))), (left, 0, f(float(number), 3))]:
            text = f"a {op} {number!r}" if place else f"{number!r} {op} a"
            assert type(c) is cls, f"{text} is a {type(c).__name__}"
            assert c.data == value, f"{text} with a = 3 gave {c.data}, not {value}"
            made = c.parents[place]
            assert len(c.parents) == 2 and c.parents[1 - place] is a, (
                f"{text} has the parents {c.parents}: is the order that in which it was written?"
            )
            assert type(made) is cls and kept(made) == (float(number), 0.0, (), "", "", None), (
                f"{number!r} became {made!r}, a {type(made).__name__}, in {text}"
            )
            assert c.op == op, f"{text} has the op {c.op!r}"
            before = a.grad
            c._backward(2.0)
            pair = (3.0, float(number)) if place else (float(number), 3.0)
            share = 2.0 * slopes(op, *pair)[1 - place]
            close(a.grad - before, share, scale=20.0, name=f"the gradient share of a in {text}")
    assert f(cls(3.0), 2).parents[1] is not f(cls(3.0), 2).parents[1], (
        f"a {op} 2 twice: both results have one and the same Value for the 2"
    )


def leaves_other_things_alone(cls, op):
    f = BINARY[op]
    for thing in NO_NUMBERS:
        for text, pair in [
            (f"a {op} {thing!r}", (cls(1.0), thing)),
            (f"{thing!r} {op} a", (thing, cls(1.0))),
        ]:
            with pytest.raises(TypeError):
                made = f(*pair)
                pytest.fail(f"{text} gave {made!r}")


def asks_the_other_operand(cls, op):
    class Other:
        """A stranger that knows what to do with a Value, on either side."""

        def answer(self, value):
            return "asked"

        __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = answer
        __truediv__ = __rtruediv__ = answer

    f = BINARY[op]
    try:
        answer = f(cls(1.0), Other())
    except TypeError as error:
        raise AssertionError(
            f"a {op} other raised TypeError ({error}) although other has an operator for it: "
            "Python asks the other side only if the first one lets it"
        ) from error
    assert answer == "asked", f"a {op} other gave {answer!r}: other was not asked"
    reflected = {"+": "__radd__", "-": "__rsub__", "*": "__rmul__", "/": "__rtruediv__"}[op]
    assert getattr(cls(1.0), reflected)(Other()) is NotImplemented, (
        f"{reflected} of something that is no number has to leave the matter to Python"
    )


def takes_arrays(cls, op):
    f = BINARY[op]
    array = np.array([2.0, -4.0])
    for text, made, wanted in [
        (f"array {op} a", f(array, cls(3.0)), f(array, 3.0)),
        (f"a {op} array", f(cls(3.0), array), f(3.0, array)),
    ]:
        assert isinstance(made, np.ndarray) and made.shape == (2,), f"{text} gave {made!r}"
        assert all(type(c) is cls for c in made), f"{text} holds {made[0]!r}"
        close(np.array([c.data for c in made]), wanted, name=text)
    both = f(np.array([cls(1.0), cls(2.0)]), np.array([cls(4.0), cls(8.0)]))
    close(np.array([c.data for c in both]), f(np.array([1.0, 2.0]), np.array([4.0, 8.0])))


def makes_its_own_class(cls, op):
    class Later(cls):
        __slots__ = ()

    f = BINARY[op]
    for c in (f(Later(1.0), Later(2.0)), f(Later(1.0), 2), f(2, Later(1.0))):
        assert type(c) is Later and all(type(p) is Later for p in c.parents), (
            f"values of a class that extends {cls.__name__} made a {type(c).__name__} of "
            f"{[type(p).__name__ for p in c.parents]}: the operators of the later class are lost"
        )


def keeps_the_numbers_of_now(cls, op):
    f = BINARY[op]
    a, b = cls(3.0), cls(4.0)
    c = f(a, b)
    a.data, b.data, c.data = 50.0, 60.0, 70.0
    c._backward(1.0)
    wanted = slopes(op, 3.0, 4.0)
    close(
        np.array([a.grad, b.grad]),
        np.array(wanted),
        name=f"the gradient shares in 3 {op} 4, when data was changed before the backward,",
    )


def leaves_no_circle(cls, op):
    f = BINARY[op]
    leaf = cls(2.0)
    before = sys.getrefcount(leaf)
    gc.disable()  # reference counting alone has to do it
    try:
        f(f(leaf, leaf), f(3.0, leaf))
        left = sys.getrefcount(leaf) - before
    finally:
        gc.enable()
    assert left == 0, (
        f"{left} references to a leaf are left after its graph is gone: a backward that uses its "
        "own result makes a circle with it"
    )


# operand --------------------------------------------------------------------------------------


@exercise("operand")
def test_operand_returns_values_as_they_are():
    class Other(day08.Value):
        __slots__ = ()

    like = day08.Value(1.0)
    for value in (like, day08.Value(1.0), Other(2.0), day09.Value(3.0)):
        got = day09.operand(value, like)
        assert got is value, f"a {type(value).__name__} came back as another object, {got!r}"
    assert day09.operand(like, Other(1.0)) is like, "a Value of an earlier class is a Value too"


@exercise("operand")
@pytest.mark.parametrize("number", [*NUMBERS, 0, 0.0, math.inf], ids=repr)
def test_operand_makes_values_of_numbers(number):
    class Later(day09.Value):
        __slots__ = ()

    for like in (day08.Value(1.0), Later(5.0)):
        before = kept(like)
        got = day09.operand(number, like)
        assert got is not NotImplemented, f"{number!r} was not taken for a number"
        assert type(got) is type(like), f"{number!r} became a {type(got).__name__}"
        assert type(got.data) is float, f"{number!r} is kept as a {type(got.data).__name__}"
        assert kept(got) == (float(number), 0.0, (), "", "", None), f"{number!r} became {got!r}"
        assert got is not day09.operand(number, like), "two numbers typed in became one object"
        assert kept(like) == before, "the other operand was changed"


@exercise("operand")
@pytest.mark.parametrize(
    "thing", [*NO_NUMBERS, np.ones(2), np.ones(()), np.complex128(1), object(), int], ids=repr
)
def test_operand_leaves_the_rest_to_others(thing):
    got = day09.operand(thing, day08.Value(1.0))
    assert got is NotImplemented, f"{thing!r} gave {got!r}, not the constant NotImplemented"


# Sum ------------------------------------------------------------------------------------------


@exercise("Sum")
def test_sum_leaves_a_node(rng):
    leaves_a_node(day09.Sum, "+", rng)


@exercise("Sum")
def test_sum_hands_out_shares(rng):
    hands_out_shares(day09.Sum, "+", rng)


@exercise("Sum")
def test_sum_adds_to_what_is_there(rng):
    adds_to_what_is_there(day09.Sum, "+", rng)


@exercise("Sum")
def test_sum_of_one_value_twice(rng):
    takes_one_value_twice(day09.Sum, "+", rng)


@exercise("Sum")
def test_sum_takes_numbers():
    takes_numbers(day09.Sum, "+")


@exercise("Sum")
def test_sum_leaves_other_things_alone():
    leaves_other_things_alone(day09.Sum, "+")


@exercise("Sum")
def test_sum_asks_the_other_operand():
    asks_the_other_operand(day09.Sum, "+")


@exercise("Sum")
def test_sum_takes_arrays():
    takes_arrays(day09.Sum, "+")


@exercise("Sum")
def test_sum_makes_its_own_class():
    makes_its_own_class(day09.Sum, "+")


@exercise("Sum")
def test_sum_leaves_no_circle():
    leaves_no_circle(day09.Sum, "+")
    leaf = day09.Sum(1.0)
    before = sys.getrefcount(leaf)
    gc.disable()
    try:
        operator.neg(-leaf)
        left = sys.getrefcount(leaf) - before
    finally:
        gc.enable()
    assert left == 0, f"{left} references to a leaf are left after -(-leaf) is gone"


@exercise("Sum")
def test_pythons_sum_works(rng):
    values = [day09.Sum(x) for x in numbers(rng, 6)]
    total = sum(values)
    assert type(total) is day09.Sum, f"the sum of six Sums is a {type(total).__name__}"
    close(total.data, sum(v.data for v in values), scale=4.0, terms=6)
    backward(total)
    assert [v.grad for v in values] == [1.0] * 6, (
        f"the gradients of the summands are {[v.grad for v in values]}"
    )


@exercise("Sum")
def test_negation(rng):
    class Later(day09.Sum):
        __slots__ = ()

    for x, g in zip([*numbers(rng, 4), 0.0, math.inf], numbers(rng, 6), strict=True):
        a = Later(x)
        a.grad = 5.0
        before = kept(a)
        b = -a
        assert type(b) is Later, f"-a is a {type(b).__name__}"
        assert (b.data, b.op, b.grad) == (-x, "neg", 0.0), f"-a for a = {x} is {b!r}"
        assert math.copysign(1.0, b.data) == -math.copysign(1.0, x), f"-({x}) gave {b.data}"
        assert len(b.parents) == 1 and b.parents[0] is a, f"-a has the parents {b.parents}"
        assert kept(a) == before, "-a changed a"
        b._backward(g)
        b._backward(1.0)
        close(a.grad, 5.0 - g - 1.0, scale=10.0, name="the gradient of a, 5 before, after -a twice")


# Product --------------------------------------------------------------------------------------


@exercise("Product")
def test_product_leaves_a_node(rng):
    leaves_a_node(day09.Product, "*", rng)


@exercise("Product")
def test_product_hands_out_shares(rng):
    hands_out_shares(day09.Product, "*", rng)


@exercise("Product")
def test_product_adds_to_what_is_there(rng):
    adds_to_what_is_there(day09.Product, "*", rng)


@exercise("Product")
def test_product_with_a_factor_of_zero():
    a, b = day09.Product(0.0), day09.Product(2.0)
    (a * b)._backward(math.inf)
    assert a.grad == math.inf and math.isnan(b.grad), (
        f"0 * 2 for a gradient of inf: the shares are inf · 2 = inf and inf · 0 = nan, handed out "
        f"were {a.grad} and {b.grad}"
    )


@exercise("Product")
def test_product_of_one_value_twice(rng):
    takes_one_value_twice(day09.Product, "*", rng)


@exercise("Product")
def test_product_takes_numbers():
    takes_numbers(day09.Product, "*")


@exercise("Product")
def test_product_leaves_other_things_alone():
    leaves_other_things_alone(day09.Product, "*")


@exercise("Product")
def test_product_asks_the_other_operand():
    asks_the_other_operand(day09.Product, "*")


@exercise("Product")
def test_product_takes_arrays():
    takes_arrays(day09.Product, "*")


@exercise("Product")
def test_product_makes_its_own_class():
    makes_its_own_class(day09.Product, "*")


@exercise("Product")
def test_product_keeps_the_numbers_of_now():
    keeps_the_numbers_of_now(day09.Product, "*")


@exercise("Product")
def test_product_leaves_no_circle():
    leaves_no_circle(day09.Product, "*")


@exercise("Product")
def test_product_with_zero():
    a, b = day09.Product(0.0), day09.Product(5.0)
    (a * b)._backward(1.0)
    assert (a.grad, b.grad) == (5.0, 0.0), f"0 * 5 handed out {a.grad} and {b.grad}"


@exercise("Product")
def test_products_of_many(rng):
    values = [day09.Product(x) for x in numbers(rng, 5)]
    root = math.prod(values)
    backward(root)
    for i, value in enumerate(values):
        rest = math.prod(v.data for j, v in enumerate(values) if j != i)
        close(value.grad, rest, terms=5, factor=8, name=f"the gradient of factor {i} of five")


# Difference -----------------------------------------------------------------------------------


@exercise("Difference")
def test_difference_leaves_a_node(rng):
    leaves_a_node(day09.Difference, "-", rng)


@exercise("Difference")
def test_difference_hands_out_shares(rng):
    hands_out_shares(day09.Difference, "-", rng)


@exercise("Difference")
def test_difference_adds_to_what_is_there(rng):
    adds_to_what_is_there(day09.Difference, "-", rng)


@exercise("Difference")
def test_difference_of_one_value_twice(rng):
    takes_one_value_twice(day09.Difference, "-", rng)


@exercise("Difference")
def test_difference_takes_numbers():
    takes_numbers(day09.Difference, "-")


@exercise("Difference")
def test_difference_leaves_other_things_alone():
    leaves_other_things_alone(day09.Difference, "-")


@exercise("Difference")
def test_difference_asks_the_other_operand():
    asks_the_other_operand(day09.Difference, "-")


@exercise("Difference")
def test_difference_takes_arrays():
    takes_arrays(day09.Difference, "-")


@exercise("Difference")
def test_difference_makes_its_own_class():
    makes_its_own_class(day09.Difference, "-")


@exercise("Difference")
def test_difference_leaves_no_circle():
    leaves_no_circle(day09.Difference, "-")


@exercise("Difference")
def test_a_difference_is_no_reflection(rng):
    x, y = numbers(rng, 2)
    a, b = day09.Difference(x), day09.Difference(y)
    there, back = a - b, b - a
    assert there.data == -back.data and there.parents == back.parents[::-1], (
        f"a - b is {there!r} of {there.parents}, b - a is {back!r} of {back.parents}"
    )
    there._backward(1.0)
    assert (a.grad, b.grad) == (1.0, -1.0), f"a - b handed out {a.grad} and {b.grad}"
    back._backward(1.0)
    assert (a.grad, b.grad) == (0.0, 0.0), "a - b and b - a together depend on neither"


# Value ----------------------------------------------------------------------------------------


@exercise("Value")
def test_quotient_leaves_a_node(rng):
    leaves_a_node(day09.Value, "/", rng)


@exercise("Value")
def test_quotient_hands_out_shares(rng):
    hands_out_shares(day09.Value, "/", rng)


@exercise("Value")
def test_quotient_adds_to_what_is_there(rng):
    adds_to_what_is_there(day09.Value, "/", rng)


@exercise("Value")
def test_quotient_of_one_value_twice(rng):
    takes_one_value_twice(day09.Value, "/", rng)


@exercise("Value")
def test_quotient_takes_numbers():
    takes_numbers(day09.Value, "/")


@exercise("Value")
def test_quotient_leaves_other_things_alone():
    leaves_other_things_alone(day09.Value, "/")


@exercise("Value")
def test_quotient_asks_the_other_operand():
    asks_the_other_operand(day09.Value, "/")


@exercise("Value")
def test_quotient_takes_arrays():
    takes_arrays(day09.Value, "/")


@exercise("Value")
def test_quotient_makes_its_own_class():
    makes_its_own_class(day09.Value, "/")


@exercise("Value")
def test_quotient_keeps_the_numbers_of_now():
    keeps_the_numbers_of_now(day09.Value, "/")


@exercise("Value")
def test_quotient_leaves_no_circle():
    leaves_no_circle(day09.Value, "/")


@exercise("Value")
@pytest.mark.parametrize(
    "x, y, shares",
    [
        (2e-200, 1e-200, (1e200, -2e200)),  # y² is 0
        (2e200, 1e200, (1e-200, -2e-200)),  # y² is inf
        (0.0, -4.0, (-0.25, 0.0)),
        (1.0, 5e-324, (math.inf, -math.inf)),  # 1 / y is too large
        (math.inf, 2.0, (0.5, -math.inf)),
        (3.0, math.inf, (0.0, 0.0)),
    ],
)
def test_quotients_of_extreme_numbers(x, y, shares):
    a, b = day09.Value(x), day09.Value(y)
    c = a / b
    assert c.data == x / y, f"{x} / {y} gave {c.data}"
    try:
        c._backward(1.0)
    except ArithmeticError as error:
        raise AssertionError(f"the backward of {x} / {y} raised {error!r}") from error
    where = f"in {x} / {y}"
    close(a.grad, shares[0], name=f"the gradient share of the dividend {where}")
    close(b.grad, shares[1], name=f"the gradient share of the divisor {where}")


@exercise("Value")
@pytest.mark.parametrize(
    "left, right, kinds, text",
    [
        (2.5, 0.0, "Values", "2.5 / 0.0"),
        (-1.0, 0, "Value and number", "-1.0 / 0.0"),
        (7, 0, "number and Value", "7.0 / 0.0"),
        (0.0, -0.0, "Value and number", "0.0 / -0.0"),
    ],
)
def test_division_by_zero_is_named(left, right, kinds, text):
    with pytest.raises(ZeroDivisionError) as caught:
        made = (left if kinds == "number and Value" else day09.Value(left)) / (
            right if kinds == "Value and number" else day09.Value(right)
        )
        pytest.fail(f"{text} gave {made!r}")
    assert text in str(caught.value), f"{text} raised the message {str(caught.value)!r}"


@exercise("Value")
def test_numpys_numbers_on_the_left():
    a = day09.Value(4.0)
    for op, f in BINARY.items():
        for number in (np.float64(2.0), np.float32(2.0), np.int64(2)):
            c = f(number, a)
            assert type(c) is day09.Value, f"{number!r} {op} a is {c!r}"
            assert (c.data, c.op, c.parents[1]) == (f(2.0, 4.0), op, a), (
                f"{number!r} {op} a with a = 4 is {c!r} of {c.parents}"
            )


@exercise("Value")
def test_arrays_of_values_multiply(rng):
    w = [[day09.Value(x) for x in row] for row in np.array(numbers(rng, 6)).reshape(2, 3)]
    x = [day09.Value(x) for x in numbers(rng, 3)]
    y = np.array(w) @ np.array(x)
    backward(y[0] - 2 * y[1])
    for j in range(3):
        close(w[0][j].grad, x[j].data, name="the gradient of a weight in w @ x")
        close(w[1][j].grad, -2 * x[j].data, name="the gradient of a weight in w @ x")
        wanted = w[0][j].data - 2 * w[1][j].data
        close(x[j].grad, wanted, scale=12.0, name="the gradient of an input in w @ x")


@exercise("Value")
def test_the_lessons_formula():
    # (a + b) * (b / 2 - 1) + 3 - a at a = 2, b = 6: each step by hand.
    a, b = day09.Value(2), day09.Value(6)
    y = (a + b) * (b / 2 - 1) + 3 - a
    assert y.data == 17.0, f"the value is {y.data}, not 17"
    backward(y)
    assert (a.grad, b.grad) == (1.0, 6.0), f"the gradients are {a.grad} and {b.grad}, not 1 and 6"


programs = st.lists(
    st.tuples(st.sampled_from([*BINARY, "neg"]), st.integers(0, 99), st.integers(0, 99)),
    min_size=2,
    max_size=14,
)


def run(program, inputs):
    """Each step uses any of what is there before it; a step that leads too far is left out."""
    made = [*inputs, 2, 0.5, -3]
    for op, i, j in program:
        x, y = made[i % len(made)], made[j % len(made)]
        sizes = [abs(float(getattr(v, "data", v))) for v in (x, y)]
        if op == "/" and sizes[1] < 0.1:
            continue
        if sizes[0] > 1e3 or sizes[1] > 1e3:
            continue
        made.append(-x if op == "neg" else BINARY[op](x, y))
    return made


@exercise("Value")
def test_random_programs_agree_with_torch(rng):
    inputs = numbers(rng, 3)

    @hypothesis.seed(rng.seed)
    @hypothesis.settings(
        max_examples=80,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=[hypothesis.Phase.generate, hypothesis.Phase.shrink],
    )
    @hypothesis.given(programs)
    def check(program):
        leaves = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in inputs]
        theirs = run(program, leaves)
        tensors = [t for t in theirs if isinstance(t, torch.Tensor)]
        for tensor in tensors:
            tensor.retain_grad()
        mine = [day09.Value(x) for x in inputs]
        made = run(program, mine)
        values = [v for v in made if isinstance(v, day09.Value)]
        assert len(values) == len(tensors), (
            f"of {len(tensors)} results of {program} only {len(values)} are Values"
        )
        got, wanted = np.array([v.data for v in values]), np.array([t.item() for t in tensors])
        largest = np.abs(wanted).max()
        close(got, wanted, scale=largest, terms=100, name=f"the values of {program}")
        backward(sum(values))
        sum(tensors).backward()
        got, wanted = np.array([v.grad for v in values]), np.array([float(t.grad) for t in tensors])
        largest *= max(np.abs(wanted).max(), 1.0)
        close(got, wanted, scale=largest, terms=100, name=f"the gradients of {program}")

    check()


@exercise("Value")
def test_day_8_draws_it():
    a = day09.Value(3.0, label="a")
    y = 2 / a - a
    assert day08.count_nodes(y) == 4, f"2 / a - a has {day08.count_nodes(y)} nodes"
    assert [day08.count_nodes(y, op) for op in ("/", "-", "")] == [1, 1, 2], (
        "2 / a - a is made of one quotient, one difference and two numbers"
    )
