"""Day 6: a tape that tells what was computed, and one walk over it from the end."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from harness.testing import close, exercise
from tracks.autodiff import day06


class CountingNumber:
    """A number that counts, in ``operations``, what is computed with numbers like it."""

    operations = 0
    __slots__ = ("number",)

    def __init__(self, number):
        self.number = number

    def __repr__(self):
        return f"CountingNumber({self.number})"


def _plain(number):
    return number.number if isinstance(number, CountingNumber) else number


def _counting(compute):
    def operation(*operands):
        CountingNumber.operations += 1
        return CountingNumber(compute(*map(_plain, operands)))

    return operation


for _name, _compute in {"add": np.add, "sub": np.subtract, "mul": np.multiply}.items() | {
    "truediv": np.divide,
    "pow": np.power,
}.items():
    setattr(CountingNumber, f"__{_name}__", _counting(_compute))
    setattr(
        CountingNumber, f"__r{_name}__", _counting(lambda a, b, compute=_compute: compute(b, a))
    )
CountingNumber.__neg__ = _counting(np.negative)
for _name in ("cos", "exp", "log", "sin", "sqrt", "tanh"):
    setattr(CountingNumber, _name, _counting(getattr(np, _name)))


def counted(x):
    out = np.empty(np.shape(x), dtype=object)
    for i in np.ndindex(out.shape):
        out[i] = CountingNumber(np.asarray(x)[i])
    return out


def counts(f, x):
    """Operations on the values: while f runs, and then in backward. Counted by other means."""
    CountingNumber.operations = 0
    try:
        tape = day06.record(f, counted(x))
        forward = CountingNumber.operations
        day06.backward(tape, np.ones(tape.outputs.shape))
    except (TypeError, AttributeError) as error:
        raise AssertionError(
            "record or backward did not take values that are objects with operators of their own, "
            f"as Variables of another tape are (here numbers that count operations): {error}"
        ) from error
    return forward, CountingNumber.operations - forward


class Calls:
    """f, with a count of its calls."""

    def __init__(self, f):
        self.f, self.count = f, 0

    def __call__(self, x):
        self.count += 1
        return self.f(x)


def by_torch(f, x, u=1.0):
    """f(x) and the gradient of sum(u * f(x)), in float64 numpy."""
    x = torch.tensor(np.array(x, dtype=float), requires_grad=True)
    y = f(x)
    (slope,) = torch.autograd.grad(y, x, torch.tensor(np.array(u, dtype=float)))
    return y.detach().numpy(), slope.numpy()


def plain_entries(tape):
    return [(entry.op, tuple(entry.operands)) for entry in tape.entries]


# Tape -----------------------------------------------------------------------------------------


@exercise("Tape")
def test_leaf_is_an_entry_without_operands():
    tape = day06.Tape()
    first = tape.leaf("input", 7)
    second = tape.leaf("number", 2.5)
    assert isinstance(first, day06.Variable), f"leaf returned a {type(first).__name__}"
    assert (first.tape, first.index) == (tape, 0), "the first leaf is not v0 of its tape"
    assert second.index == 1, f"the second entry has the place {second.index}, not 1"
    assert tape.entries == [("input", (), 7.0), ("number", (), 2.5)], f"the tape is\n{tape}"
    for entry in tape.entries:
        assert type(entry.value) is np.float64, (
            f"a real number was written as {type(entry.value).__name__}, not np.float64"
        )


@exercise("Tape")
@pytest.mark.parametrize(
    "value",
    [True, np.int64(3), np.float32(0.5), np.float16(0.5), Fraction(1, 4), np.uint8(200)],
    ids=repr,
)
def test_leaf_makes_a_float_of_every_real_number(value):
    got = day06.Tape().leaf("input", value).value
    assert type(got) is np.float64, (
        f"{value!r} is a real number, and was written as {type(got).__name__}, not np.float64"
    )
    assert got == float(value), f"{value!r} was written as {got}"


@exercise("Tape")
def test_leaf_keeps_what_is_no_real_number():
    value = CountingNumber(2.0)
    assert day06.Tape().leaf("input", value).value is value, "a value of another kind was changed"
    other = day06.Tape().leaf("input", 3.0)
    assert day06.Tape().leaf("number", other).value is other, (
        "a Variable of another tape is to be written as it is, not by its value: the other tape "
        "would never hear of what is computed with it"
    )


@exercise("Tape")
@pytest.mark.parametrize("op", ["+", "-", "*", "/", "**"])
def test_apply_two_operands(op, rng):
    u, v = rng.uniform(2, low=0.5, high=3.0)
    compute = {"+": np.add, "-": np.subtract, "*": np.multiply, "/": np.divide, "**": np.power}[op]
    tape = day06.Tape()
    x = tape.leaf("input", u)
    tape.leaf("input", 100.0)
    result = tape.apply(op, x, float(v))
    assert plain_entries(tape)[2:] == [("number", ()), (op, (0, 2))], f"the tape is\n{tape}"
    assert (result.tape, result.index) == (tape, 3), f"the result is {result}, not v3"
    close(result.value, compute(u, v))
    if op != "**":
        result = tape.apply(op, v, x)
        assert plain_entries(tape)[4:] == [("number", ()), (op, (4, 0))], f"the tape is\n{tape}"
        close(result.value, compute(v, u))


@exercise("Tape")
def test_apply_one_operand_and_one_twice(rng):
    u = float(rng.uniform(low=0.5, high=2.0))
    tape = day06.Tape()
    x = tape.leaf("input", u)
    for op in ["neg", "cos", "exp", "log", "sin", "sqrt", "tanh"]:
        close(tape.apply(op, x).value, -u if op == "neg" else getattr(np, op)(u), name=op)
        assert plain_entries(tape)[-1] == (op, (0,)), f"the tape is\n{tape}"
    y = tape.apply("*", x, x)
    assert plain_entries(tape)[-1] == ("*", (0, 0)), "x * x uses x twice: two operands"
    assert len(tape.entries) == 9, f"operations of variables write one entry each:\n{tape}"
    close(y.value, u * u)


@exercise("Tape")
def test_apply_writes_numbers_from_left_to_right():
    tape = day06.Tape()
    result = tape.apply("-", 5, 3.0)
    assert plain_entries(tape) == [("number", ()), ("number", ()), ("-", (0, 1))], f"\n{tape}"
    assert [float(entry.value) for entry in tape.entries] == [5.0, 3.0, 2.0], f"\n{tape}"
    with np.errstate(all="ignore"):
        assert tape.apply("/", result, 0).value == np.inf, "2 / 0 is not numpy's inf"


@exercise("Tape")
def test_apply_takes_a_variable_of_another_tape_as_a_number():
    old, new = day06.Tape(), day06.Tape()
    old.leaf("input", 2.0)
    a = old.leaf("input", 3.0)
    new.leaf("input", 100.0)
    b = new.leaf("input", 5.0)
    result = new.apply("*", b, a)
    assert plain_entries(new)[2:] == [("number", ()), ("*", (1, 2))], (
        f"v1 of the other tape is not v1 of this one; the tape is\n{new}"
    )
    assert new.entries[2].value is a, "the other tape's Variable was not written as it is"
    assert isinstance(result.value, day06.Variable), "5 * a was computed without telling a's tape"
    assert result.value.tape is old, "5 * a was written on the wrong tape"
    assert result.value.value == 15.0, (
        f"5 * a at a = 3 is 15, and was computed as {result.value.value}"
    )


@exercise("Tape")
def test_apply_computes_once():
    tape = day06.Tape()
    x = tape.leaf("input", CountingNumber(3.0))
    CountingNumber.operations = 0
    y = tape.apply("+", tape.apply("*", x, x), 1.0)
    assert y.value.number == 10.0, f"x * x + 1 at x = 3 is 10, and was computed as {y.value}"
    assert CountingNumber.operations == 2, (
        f"two operations were computed {CountingNumber.operations} times"
    )


# record ---------------------------------------------------------------------------------------


@exercise("record")
def test_record_writes_the_inputs_first(rng):
    x = rng.normal(2, 3)
    tape = day06.record(lambda x: x[1, 0] * x[0, 2], x)
    assert plain_entries(tape) == [("input", ())] * 6 + [("*", (3, 2))], f"the tape is\n{tape}"
    assert tape.inputs.shape == (2, 3), f"inputs have the shape {tape.inputs.shape}, not (2, 3)"
    assert [v.index for v in tape.inputs.flat] == list(range(6)), "inputs are not in row order"
    close(np.array([v.value for v in tape.inputs.flat]), x.ravel())
    assert tape.outputs.shape == (), f"one number came out as the shape {tape.outputs.shape}"
    assert tape.outputs[()].index == 6, "the output is not the Variable that f returned"


@exercise("record")
def test_record_calls_f_once_with_a_copy():
    given = []

    @Calls
    def f(x):
        given.append(x.shape)
        x[0] = x[0] * x[1]
        return x

    tape = day06.record(f, [3, 4])
    assert f.count == 1, f"f was called {f.count} times"
    assert given == [(2,)], f"f was given the shape {given[0]}"
    assert [v.index for v in tape.inputs] == [0, 1], "f changed its array, and the inputs with it"
    assert [v.index for v in tape.outputs] == [2, 1], "the outputs are not what f returned"
    assert all(type(entry.value) is np.float64 for entry in tape.entries), (
        "whole numbers did not become floats"
    )


@exercise("record")
def test_record_of_one_number():
    given = []

    def f(x):
        given.append(x)
        return x * x

    tape = day06.record(f, 3)
    assert isinstance(given[0], day06.Variable), f"f was given a {type(given[0]).__name__}"
    assert tape.inputs.shape == (), f"inputs have the shape {tape.inputs.shape}, not ()"
    assert tape.outputs[()].value == 9.0, f"x * x at x = 3 is 9; the output is {tape.outputs[()]}"


@exercise("record")
@pytest.mark.parametrize("place", [0, 1, 2])
def test_record_wherever_the_constant_stands(place):
    def f(x):
        y = [x[0], x[1] * 2.0, x[0] + x[1]]
        y[place] = 7
        return y

    y = day06.record(f, [2.0, 3.0]).outputs[place]
    assert isinstance(y, day06.Variable), f"output {place} of 3 is the number 7 as it was returned"


@exercise("record")
def test_record_makes_every_output_a_variable_of_the_tape():
    other = day06.Tape().leaf("input", 5.0)

    def f(x):
        y = x[0] * x[1]
        return [[y, 7], [x[1], y], [other, y]]

    tape = day06.record(f, [2.0, 3.0])
    assert tape.outputs.shape == (3, 2), f"outputs have the shape {tape.outputs.shape}, not (3, 2)"
    for y in tape.outputs.flat:
        assert isinstance(y, day06.Variable), f"an output is a {type(y).__name__}"
        assert y.tape is tape, "an output is a Variable of another tape"
    places = [[y.index for y in row] for row in tape.outputs]
    assert places == [[2, 3], [1, 2], [4, 2]], f"the outputs are at {places} on\n{tape}"
    assert [entry.op for entry in tape.entries[3:]] == ["number", "number"], f"the tape is\n{tape}"
    assert tape.entries[4].value is other, "a foreign Variable was not written as it is"


@exercise("record")
@pytest.mark.parametrize("shape", [(0,), (2, 0), (1,), (1, 2, 2)])
def test_record_any_shape(shape, rng):
    x = rng.normal(*shape)
    tape = day06.record(lambda x: 2.0 * x, x)
    assert tape.inputs.shape == shape, f"inputs have the shape {tape.inputs.shape}, not {shape}"
    assert tape.outputs.shape == shape, f"outputs have the shape {tape.outputs.shape}, not {shape}"
    close(np.array([y.value for y in tape.outputs.flat]), 2 * x.ravel())


@exercise("record")
def test_record_leaves_earlier_tapes_alone():
    first = day06.record(lambda x: x * x, 2.0)
    second = day06.record(lambda x: x + x, 5.0)
    assert first is not second, "both calls returned the same tape"
    assert plain_entries(first) == [("input", ()), ("*", (0, 0))], f"the first tape is\n{first}"
    assert plain_entries(second) == [("input", ()), ("+", (0, 0))], f"the second tape is\n{second}"


# backward -------------------------------------------------------------------------------------

RULES = {
    "u + v": lambda u, v, m: u + v,
    "u - v": lambda u, v, m: u - v,
    "u * v": lambda u, v, m: u * v,
    "u / v": lambda u, v, m: u / v,
    "u ** 3": lambda u, v, m: u**3,
    "u ** -0.5": lambda u, v, m: u**-0.5,
    "-v": lambda u, v, m: -v,
    "cos u": lambda u, v, m: m.cos(u),
    "exp u": lambda u, v, m: m.exp(u),
    "log u": lambda u, v, m: m.log(u),
    "sin u": lambda u, v, m: m.sin(u),
    "sqrt u": lambda u, v, m: m.sqrt(u),
    "tanh u": lambda u, v, m: m.tanh(u),
    "u ** v": lambda u, v, m: u**v,
    "2 / u - 3": lambda u, v, m: 2 / u - 3,
    "u * u / u": lambda u, v, m: u * u / u,
}


@exercise("backward")
@pytest.mark.parametrize("rule", RULES)
def test_backward_rule(rule, rng):
    f = RULES[rule]
    x = rng.uniform(2, low=0.5, high=2.0)
    g = float(rng.uniform(low=2.0, high=3.0))
    tape = day06.record(lambda x: f(x[0], x[1], np), x)
    adjoints = day06.backward(tape, g)
    assert len(adjoints) == len(tape.entries), (
        f"{len(adjoints)} adjoints for {len(tape.entries)} entries"
    )
    expected = by_torch(lambda x: f(x[0], x[1], torch) + 0 * x.sum(), x, g)[1]
    close(np.array(adjoints[:2], dtype=float), expected, factor=16.0, scale=10.0, name=rule)
    assert adjoints[tape.outputs[()].index] == g, "the adjoint of the output is not u"


@exercise("backward")
def test_backward_gives_every_entry_its_adjoint():
    tape = day06.record(lambda x: np.sin(x[0] * x[1]) * x[0] + 3.0 * x[0], [0.5, 2.0])
    #  v2 = x0 x1, v3 = sin v2, v4 = v3 x0, v5 = 3, v6 = v5 x0, v7 = v4 + v6
    expected = np.array(
        [
            np.sin(1.0) + np.cos(1.0) * 0.5 * 2.0 + 3.0,
            np.cos(1.0) * 0.5 * 0.5,
            np.cos(1.0) * 0.5,
            0.5,
            1.0,
            0.5,
            1.0,
            1.0,
        ]
    )
    close(np.array(day06.backward(tape), dtype=float), expected, scale=1.0)


def program(x, choices, m):
    """Something that uses its intermediate results in many places; for Variables and torch."""
    known = list(x)
    for kind, i, j in choices:
        u, v = known[i % len(known)], known[j % len(known)]
        if kind == 0:
            known.append(m.sin(u * v))
        elif kind == 1:
            known.append(m.tanh(u - v) + 0.5 * u)
        elif kind == 2:
            known.append(u / (v * v + 2.0))
        elif kind == 3:
            known.append(m.sin(u) * m.exp(-v * v))
        else:
            known.append(u if u > 0 else -v)
    total = known[0]
    for u in known[1:]:
        total = total + m.tanh(u)
    return total


@exercise("backward")
@pytest.mark.parametrize("size", [1, 12, 60])
def test_backward_random_program(size, rng):
    x = rng.normal(4)
    choices = rng.integers(0, 1000, size, 3)
    choices = [(int(k) % 5, int(i), int(j)) for k, i, j in choices]
    tape = day06.record(lambda x: program(x, choices, np), x)
    expected = by_torch(lambda x: program(x, choices, torch), x)[1]
    scale = max(1.0, float(np.abs(expected).max()))
    got = np.array(day06.backward(tape)[:4], dtype=float)
    close(got, expected, terms=size, factor=1e4, scale=scale)


@exercise("backward")
def test_backward_adds_shares_and_walks_once():
    """2 to the 60 ways lead to x; a walk that follows each way would not end."""

    def f(x):
        for _ in range(60):
            x = x + x
        return x

    assert counts(f, 1.0)[1] <= 6 * 60, "entries were visited more than once"
    assert day06.backward(day06.record(f, 1.0))[0] == 2.0**60, (
        "60 doublings have the slope 2^60: each use of x has its share, and they add up"
    )


@exercise("backward")
def test_backward_of_a_long_tape():
    def f(x):
        y = x
        for _ in range(10_000):
            y = y * 0.5 + x
        return y

    close(day06.backward(day06.record(f, 1.0))[0], np.float64(2.0), factor=16.0)


@exercise("backward")
def test_backward_costs_at_most_six_operations_each(rng):
    x = rng.uniform(2, low=0.5, high=2.0)
    for rule, f in RULES.items():
        forward, back = counts(lambda x, f=f: f(x[0], x[1], np) * x[0], x)
        assert back <= 6 * forward, f"{rule}: {back} operations backward for {forward} forward"


@exercise("backward")
def test_backward_leaves_out_what_no_output_needs():
    def f(x):
        unused = np.log(x[0]) * np.sqrt(x[0])
        assert unused is not None
        return 3.0 * x[0] * x[1]

    with np.errstate(all="ignore"):
        tape = day06.record(f, [0.0, 2.0])
        adjoints = np.array(day06.backward(tape), dtype=float)
    assert np.array_equal(adjoints[:2], [6.0, 0.0]), (
        f"the slopes are {adjoints[:2]}, not [6, 0]: an unused log(0) took part"
    )
    unused = [i for i, entry in enumerate(tape.entries) if entry.op in ("log", "sqrt")]
    assert all(adjoints[i] == 0.0 for i in unused), "unused entries have adjoints other than 0.0"


@exercise("backward")
def test_backward_hands_on_an_adjoint_of_zero():
    """0 · inf is nan: where the chain rule has no answer, 0 is a wrong one."""
    for what, f, x, u in [
        ("(sqrt(x) + 2) * 0 + 1 at x = 0", lambda x: (np.sqrt(x) + 2.0) * 0.0 + 1.0, 0.0, 1.0),
        ("log(x) - log(x) at x = 0", lambda x: (y := np.log(x)) - y, 0.0, 1.0),
        ("[sqrt(x), x] at x = 0 with u = [0, 1]", lambda x: [np.sqrt(x), x], 0.0, [0.0, 1.0]),
    ]:
        with np.errstate(all="ignore"):
            got = day06.backward(day06.record(f, x), u)
        assert np.isnan(got[0]), (
            f"{what}: an entry with the adjoint 0.0 has an infinite derivative, and 0 · inf is nan;"
            f" the adjoints came out as {', '.join(map(str, got))}"
        )


@exercise("backward")
def test_backward_of_powers_at_zero():
    with np.errstate(all="ignore"):
        tape = day06.record(lambda x: sum((k + 2.0) * x**k for k in range(4)), 0.0)
        adjoints = day06.backward(tape)
    assert adjoints[0] == 3.0, f"the slope of 2 x⁰ + 3 x + 4 x² + 5 x³ at 0 is 3, not {adjoints[0]}"
    close(day06.backward(day06.record(lambda x: x**3, -2.0))[0], np.float64(12.0))


@exercise("backward")
def test_backward_of_several_outputs(rng):
    x, u = rng.normal(3), rng.normal(2, 2)

    def f(x):
        y = x[0] * x[1]
        return [[y, x[2]], [y, 5.0]]

    tape = day06.record(f, x)
    before = list(tape.entries)
    got = np.array(day06.backward(tape, u)[:3], dtype=float)
    both = u[0, 0] + u[1, 0]
    close(got, np.array([both * x[1], both * x[0], u[0, 1]]), scale=10.0)
    got = np.array(day06.backward(tape, [[1, 0], [0, 0]])[:3], dtype=float)
    close(got, np.array([x[1], x[0], 0.0]), name="the second walk over the same tape")
    assert tape.entries == before, "backward changed the tape"


@exercise("backward")
def test_backward_refuses_another_shape():
    tape = day06.record(lambda x: 2.0 * x, [1.0, 2.0, 3.0])
    for u, shape in [(None, "()"), (1.0, "()"), ([1.0], "(1,)"), (np.ones((3, 1)), "(3, 1)")]:
        with pytest.raises(ValueError) as error:
            got = day06.backward(tape, u)
            pytest.fail(f"outputs of the shape (3,) and u = {u}: accepted, and gave {got}")
        for part, whose in ((shape, "u's"), ("(3,)", "the outputs'")):
            assert part in str(error.value), (
                f"outputs of the shape (3,) and u = {u}: the message does not show {whose} shape "
                f"{part}: {error.value}"
            )


# vjp ------------------------------------------------------------------------------------------


@exercise("vjp")
@pytest.mark.parametrize(("rows", "inner", "columns"), [(1, 1, 1), (2, 3, 4), (4, 5, 3)])
def test_vjp_of_a_network(rows, inner, columns, rng):
    x, w, u = rng.normal(rows, inner), rng.normal(inner, columns), rng.normal(rows, columns)
    f = Calls(lambda x: np.tanh(x @ w) * 2.0 + np.sum(x * x))
    value, slope = day06.vjp(f, x, u)
    weights = torch.tensor(np.array(w))
    expected = by_torch(lambda x: torch.tanh(x @ weights) * 2 + (x * x).sum(), x, u)
    close(value, expected[0], terms=inner * rows, scale=10.0, name="f(x)")
    close(slope, expected[1], terms=rows * columns, scale=20.0, name="uᵀJ")
    assert f.count == 1, f"f was called {f.count} times"


@exercise("vjp")
def test_vjp_of_numbers_and_lists():
    value, slope = day06.vjp(lambda x: x * x, 3, 2)
    for got, expected in [(value, 9.0), (slope, 12.0)]:
        assert type(got) is np.float64, f"one number came back as {type(got).__name__}"
        assert got == expected, f"{got} instead of {expected}"
    value, slope = day06.vjp(lambda x: [x[1], 4], [1, 2, 3], [10, 20])
    close(value, np.array([2.0, 4.0]))
    close(slope, np.array([0.0, 10.0, 0.0]))


@exercise("vjp")
def test_vjp_rows_of_the_jacobian(rng):
    x = rng.uniform(3, low=1.0, high=2.0)
    rows = [day06.vjp(lambda x: [x[0] * x[1], x[1] / x[2]], x, u)[1] for u in np.eye(2)]
    a, b, c = x
    close(np.array(rows), np.array([[b, a, 0.0], [0.0, 1 / c, -b / c**2]]))


@exercise("vjp")
def test_vjp_without_a_way_or_without_inputs():
    value, slope = day06.vjp(lambda x: 7.0, [[1.0, 2.0]], 1.0)
    close(value, np.float64(7.0))
    close(slope, np.zeros((1, 2)))
    value, slope = day06.vjp(lambda x: 2.0 * x, np.empty((0, 3)), np.empty((0, 3)))
    close(value, np.empty((0, 3)))
    close(slope, np.empty((0, 3)))


@exercise("vjp")
def test_vjp_follows_the_branch_that_was_taken(rng):
    x = rng.normal(6)
    value, slope = day06.vjp(lambda x: np.sum(np.maximum(x, 0.0) * 3.0 + np.abs(x)), x, 1.0)
    close(value, np.sum(np.maximum(x, 0) * 3 + np.abs(x)), terms=12, scale=5.0)
    close(slope, np.where(x > 0, 4.0, -1.0))


@exercise("vjp")
def test_vjp_inside_a_vjp(rng):
    """The product of the Hessian with a vector, by a walk over the first walk."""
    x, v = rng.uniform(3, low=0.5, high=1.5), rng.normal(3)

    def f(x, m):
        return m.sin(x[0] * x[1]) + x[2] ** 3 / x[0] + m.exp(x[1]) * m.sqrt(x[2]) + m.tanh(x[0])

    value, slope = day06.vjp(lambda x: day06.vjp(lambda y: f(y, np), x, 1.0)[1], x, v)
    at = torch.tensor(np.array(x))
    close(value, torch.func.grad(lambda x: f(x, torch))(at).numpy(), scale=20.0)
    hessian = torch.func.hessian(lambda x: f(x, torch))(at).numpy()
    close(slope, hessian @ v, terms=3, scale=100.0)


@exercise("vjp")
def test_vjp_does_not_confuse_tapes():
    # d/dx (x · d/dy (x y)) = d/dx (x · x) = 2x; the inner x is a number to the inner tape.
    _, slope = day06.vjp(lambda x: x * day06.vjp(lambda y: x * y * y, 1.0, 0.5)[1], 3.0, 1.0)
    assert slope == 6.0, f"d/dx (x · d/dy (x y² / 2) at y = 1) at x = 3 is 6, not {slope}"
    _, slope = day06.vjp(lambda x: day06.vjp(lambda y: y * y, 5.0, x)[1], 3.0, 1.0)
    assert slope == 10.0, f"u may be a Variable of an outer tape: the slope is 10, not {slope}"


# cost -----------------------------------------------------------------------------------------


@exercise("cost")
def test_cost_forward():
    x = np.arange(1.0, 6.0)
    for f, expected in [
        (lambda x: x, 0),
        (lambda x: 7.0, 0),
        (lambda x: np.sum(x), 4),
        (lambda x: x @ x, 9),
        (lambda x: np.sin(2.0 * x), 10),
        (lambda x: [x[0] ** 3, -x[1], x[0]], 2),
    ]:
        got = day06.cost(f, x)
        assert isinstance(got, day06.Cost), f"a {type(got).__name__} came back, not a Cost"
        assert got.forward == expected, f"{got.forward} operations forward instead of {expected}"


@exercise("cost")
def test_cost_counts_what_backward_does(rng):
    x = rng.uniform(2, low=0.5, high=2.0)
    for rule, f in RULES.items():

        def g(x, f=f):
            return f(x[0], x[1], np) * np.exp(x[0])

        got, expected = tuple(day06.cost(g, x)), counts(g, x)
        assert got == expected, f"{rule}: {got}, but counting numbers count {expected}"


@exercise("cost")
def test_cost_of_one_number_and_of_a_matrix(rng):
    for f, x in [
        (lambda x: np.sin(x) * x * 3.0, 2.0),
        (lambda x: np.tanh(x @ x), rng.normal(3, 3)),
        (lambda x: [np.exp(x[0]), x[1] * x[0]], rng.normal(2)),
    ]:
        got, expected = tuple(day06.cost(f, x)), counts(f, x)
        assert got == expected, f"{got}, but counting numbers count {expected}"
        assert got[0] > 0, "no operation was counted forward"
        assert got[1] > 0, "no operation was counted backward"


@exercise("cost")
def test_cost_counts_all_of_f_but_walks_only_what_is_needed():
    def f(x):
        for _ in range(10):
            np.exp(x[0])
        return x[0] * x[1]

    got = day06.cost(f, [1.0, 2.0])
    assert got.forward == 11, f"{got.forward} operations forward; f does 11, used or not"
    assert tuple(got) == counts(f, [1.0, 2.0]), (
        f"{got}, but counting numbers count {counts(f, [1.0, 2.0])}"
    )
    assert got.backward <= 6, f"{got.backward} operations backward for one product"


@exercise("cost")
def test_cost_ratio_does_not_grow_with_the_inputs(rng):
    def f(x):
        return np.sum(np.tanh(x[1:] * x[:-1]) / x[0]) + np.sum(np.sin(x) ** 2)

    ratios = {}
    for size in (10, 100, 1000):
        got = day06.cost(f, rng.uniform(size, low=1.0, high=2.0))
        assert got.forward == 7 * size - 5, f"{got.forward} operations forward at size {size}"
        ratios[size] = got.backward / got.forward
    assert all(0.5 <= ratio <= 6 for ratio in ratios.values()), (
        f"operations backward for each forward, by the number of inputs: {ratios}"
    )
    assert ratios[1000] <= ratios[10] * 1.5, f"the ratio grows with the inputs: {ratios}"
