"""Day 4: graphs that share, of any depth, in an order that serves."""

import ast
import math
import operator
import re

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import strategies as st

from harness.testing import close, exercise, shapes
from tracks.autodiff import day04

DEPTH = 100_000


def leaf(name="x"):
    return day04.Node("input", name=name)


def chain(depth):
    """sin(sin(... x)), built from the inside."""
    graph = leaf()
    for _ in range(depth):
        graph = day04.Node("sin", (graph,))
    return graph


def ladder(steps):
    """Each node is the sum of the one before with itself: 2 to the ``steps`` ways lead to x."""
    graph = leaf()
    for _ in range(steps):
        graph = day04.Node("+", (graph, graph))
    return graph


def random_graph(rng, size):
    """A graph whose last node is reached from all; its nodes in order of making."""
    nodes = [leaf("x"), leaf("y"), day04.Node("number", number=0.5)]
    for _ in range(size):
        op = rng.choice(["+", "-", "*", "sin", "tanh", "neg"])
        few = [rng.choice(nodes) for _ in range(day04.OPERATIONS[op].operands)]
        nodes.append(day04.Node(op, few))
    unused = set(nodes) - {operand for node in nodes for operand in node.operands}
    for node in sorted(unused - {nodes[-1]}, key=nodes.index):
        nodes.append(day04.Node("+", (nodes[-1], node)))
    return nodes


def all_nodes(graph):
    found, waiting = {graph}, [graph]
    while waiting:
        for operand in waiting.pop().operands:
            if operand not in found:
                found.add(operand)
                waiting.append(operand)
    return found


def count_calls(monkeypatch, op):
    """A list that grows by one entry for each computation of ``op``."""
    calls, compute = [], day04.OPERATIONS[op].compute

    def counted(*operands):
        calls.append(operands)
        return compute(*operands)

    counting = day04.Operation(day04.OPERATIONS[op].operands, counted)
    monkeypatch.setitem(day04.OPERATIONS, op, counting)
    return calls


# Node -----------------------------------------------------------------------------------------


@exercise("Node")
def test_node_keeps_what_it_is_given():
    x, y = leaf("x"), leaf("y")
    assert (x.op, x.operands, x.name, x.number) == ("input", (), "x", 0.0), (
        f"op, operands, name, number of an input x: {x.op!r}, {x.operands}, {x.name!r}, {x.number}"
    )
    two = day04.Node("number", number=2)
    assert (two.op, two.operands, two.name, two.number) == ("number", (), "", 2.0), (
        f"op, operands, name, number of the number 2: {two.op!r}, {two.operands}, {two.name!r}, "
        f"{two.number}"
    )
    assert type(two.number) is float, f"a number is kept as a {type(two.number).__name__}"
    for operands in [(x, y), (y, x), (x, x)]:
        node = day04.Node("-", operands)
        assert (node.op, node.operands) == ("-", operands), (
            f"the operands {operands} became {node.operands}"
        )


@exercise("Node")
def test_node_takes_any_iterable_of_operands():
    x, y = leaf("x"), leaf("y")
    given = [x, y]
    node = day04.Node("*", given)
    given.reverse()
    assert node.operands == (x, y), "a list that changes later changes the operands"
    assert type(node.operands) is tuple, (
        f"operands are kept as a {type(node.operands).__name__}, not a tuple"
    )
    assert day04.Node("/", (n for n in (y, x))).operands == (y, x), (
        "the operands of a generator were not kept: it can be walked through only once"
    )


@exercise("Node")
def test_nodes_are_told_apart_by_identity():
    assert leaf("x") != leaf("x") and len({leaf("x"), leaf("x")}) == 2, (
        "two inputs of one name are two nodes"
    )
    node = leaf("x")
    before = hash(node)
    node.name = "z"
    assert hash(node) == before and node.name == "z", "attributes may change, the hash may not"


@exercise("Node")
def test_node_refuses_an_unknown_op():
    for op in ("?", "", "tan", "Input", "add"):
        for operands in [(), (leaf(),), (leaf(), leaf())]:
            with pytest.raises(ValueError):
                day04.Node(op, operands, name="x")
                pytest.fail(f"Node({op!r}, ...) was made")


@exercise("Node")
def test_node_refuses_another_number_of_operands():
    x = leaf()
    for op, count in [("+", 1), ("+", 3), ("**", 0), ("sin", 0), ("sin", 2), ("neg", 2)]:
        with pytest.raises(ValueError):
            day04.Node(op, [x] * count)
            pytest.fail(f"{op!r} was made with {count} operands")
    for op, given in [("input", {"name": "y"}), ("number", {"number": 1.0})]:
        with pytest.raises(ValueError):
            day04.Node(op, (x,), **given)
            pytest.fail(f"{op!r} was made with an operand")


@exercise("Node")
def test_node_refuses_names_that_are_none():
    for name in ("", "2x", "x y", 'x"'):
        with pytest.raises(ValueError):
            day04.Node("input", name=name)
            pytest.fail(f"an input was named {name!r}")
    assert day04.Node("input", name="Δ_1").name == "Δ_1", (
        "Δ_1 is a name in Python, so an input may have it"
    )


@exercise("Node")
def test_node_shown():
    x = leaf("weight")
    for node, wanted in [
        (x, "Node(input weight)"),
        (day04.Node("number", number=0.1), "Node(number 0.1)"),
        (day04.Node("number", number=-12345678.0), "Node(number -1.23457e+07)"),
        (day04.Node("**", (x, x)), "Node(**)"),
        (chain(5000), "Node(sin)"),
    ]:
        shown = repr(node)
        assert shown == wanted, f"shown as {shown[:80]}, not as {wanted}"


# parse ----------------------------------------------------------------------------------------


@exercise("parse")
def test_parse_keeps_the_order_of_operands():
    for op in ("+", "-", "*", "/", "**"):
        graph = day04.parse(f"a {op} 7")
        left, right = graph.operands
        assert (graph.op, left.op, left.name) == (op, "input", "a"), (
            f"'a {op} 7' became {graph.op!r} of {left} and {right}"
        )
        assert (right.op, right.number, right.name) == ("number", 7.0, ""), (
            f"'a {op} 7' became {graph.op!r} of {left} and {right}"
        )
        assert (graph.number, graph.name, left.number) == (0.0, "", 0.0), (
            f"number and name of a {op!r}, number of an input: {graph.number}, {graph.name!r}, "
            f"{left.number}; 0.0, '' and 0.0 were expected"
        )


def written(graph):
    """The formula with all its parentheses."""
    parts = [written(operand) for operand in graph.operands]
    if graph.op == "input":
        return graph.name
    if graph.op == "number":
        return f"{graph.number:g}"
    return f"({parts[0]} {graph.op} {parts[1]})" if len(parts) == 2 else f"{graph.op}({parts[0]})"


@exercise("parse")
def test_parse_reads_as_python_does():
    for text, wanted in [
        ("a - b - c", "((a - b) - c)"),
        ("a ** b ** c", "(a ** (b ** c))"),
        ("-a ** 2", "neg((a ** 2))"),
        ("a ** -2", "(a ** neg(2))"),
        ("--a", "neg(neg(a))"),
        ("+a * +3", "(a * 3)"),
        ("a / b * c", "((a / b) * c)"),
        ("2 * (a + 1e-3)", "(2 * (a + 0.001))"),
        ("  exp(log(sin(cos(tanh(sqrt(x))))))\n", "exp(log(sin(cos(tanh(sqrt(x))))))"),
        ("sin", "sin"),
    ]:
        got = written(day04.parse(text))
        assert got == wanted, f"{text!r} was read as {got}"


@exercise("parse")
def test_parse_shares_what_is_written_alike():
    for text, count in [
        ("x", 1),
        ("x + x", 2),
        ("x + sin(x)", 3),
        ("(x + y) * (x + y)", 4),
        ("2 * x + 2.0", 4),
        ("x * y + y * x", 5),
        ("x1 + x2 + 1 + 2", 7),
        ("sin(x) + cos(x) + sin(y)", 7),
        ("-x + -x - (x - x)", 5),
        ("exp(x * x) / (1 + exp(x * x)) ** 2", 8),
    ]:
        found = len(all_nodes(day04.parse(text)))
        assert found == count, f"{text!r} has {count} different parts, the graph {found} nodes"


@exercise("parse")
def test_parse_a_long_sum():
    graph = day04.parse(" + ".join(["x"] * 200))
    found = len(all_nodes(graph))
    assert found == 200, f"a sum of 200 times x is 199 additions and x; the graph has {found} nodes"


@exercise("parse")
def test_parse_makes_new_nodes_each_time():
    first, second = day04.parse("x + 1"), day04.parse("x + 1")
    assert not all_nodes(first) & all_nodes(second), "two graphs hold the same node"


@exercise("parse")
def test_parse_refuses_what_is_no_formula():
    for text, part in [
        ("x < y", "x < y"),
        ("1 + tan(x)", "tan(x)"),
        ("neg(x)", "neg(x)"),
        ("2 * x.y", "x.y"),
        ("sin(x, y)", "sin(x, y)"),
        ("sin()", "sin()"),
        ("sin(x, k=1)", "sin(x, k=1)"),
        ("x % 2", "x % 2"),
        ("~x", "~x"),
        ("x + True", "True"),
        ("2j * x", "2j"),
        ("x + 'a'", "'a'"),
        ("(x, y)", "(x, y)"),
        ("sin(x)(y)", "sin(x)(y)"),
    ]:
        with pytest.raises(ValueError) as caught:
            day04.parse(text)
            pytest.fail(f"{text!r} was read as a formula")
        assert part in str(caught.value), (
            f"the message for {text!r} does not show the part {part}: {caught.value}"
        )


@exercise("parse")
def test_parse_leaves_syntax_errors_to_python():
    for text in ("x +", "", "x = 1", "sin(x"):
        with pytest.raises(SyntaxError):
            day04.parse(text)
            pytest.fail(f"{text!r} was read as a formula")


class Checked:
    """A number whose operators are numpy's functions, one for one."""

    def __init__(self, value):
        self.value = np.float64(value)


for _name, _compute in [
    ("add", np.add), ("sub", np.subtract), ("mul", np.multiply), ("truediv", np.divide),
    ("pow", np.power),
]:  # fmt: skip

    def _apply(self, other, compute=_compute):
        return Checked(compute(self.value, other.value))

    setattr(Checked, f"__{_name}__", _apply)
Checked.__neg__ = lambda self: Checked(np.negative(self.value))


def texts():
    """Formulas without needless parentheses, so that Python's precedence decides."""
    leaves = st.sampled_from(["x", "y", "2", "0.5", "3"])
    return st.recursive(
        leaves,
        lambda part: st.one_of(
            st.tuples(part, st.sampled_from(["+", "-", "*", "/", "**"]), part).map(" ".join),
            part.map(lambda text: f"-{text}"),
            part.map(lambda text: f"({text})"),
            st.tuples(st.sampled_from(["sin", "exp", "tanh"]), part).map(
                lambda t: f"{t[0]}({t[1]})"
            ),
        ),
        max_leaves=10,
    )


@exercise("parse")
def test_parse_random_formulas(rng):
    names = {name: float(rng.uniform(low=0.5, high=2.0)) for name in ("x", "y")}
    space = {name: Checked(value) for name, value in names.items()} | {"Checked": Checked}
    for name in ("sin", "exp", "tanh"):
        space[name] = lambda u, name=name: Checked(getattr(np, name)(u.value))

    @hypothesis.seed(rng.seed)
    @hypothesis.settings(
        max_examples=40,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=[hypothesis.Phase.generate, hypothesis.Phase.shrink],
    )
    @hypothesis.given(texts())
    def check(text):
        graph = day04.parse(text)
        parts = ast.walk(ast.parse(text, mode="eval").body)
        kinds = (ast.BinOp, ast.UnaryOp, ast.Constant, ast.Call)
        different = {ast.dump(part) for part in parts if isinstance(part, kinds)}
        inputs = set(re.findall(r"\b[xy]\b", text))
        count = len(all_nodes(graph))
        assert count == len(different) + len(inputs), (
            f"{text!r} has {len(different) + len(inputs)} different parts, the graph {count} nodes"
        )
        with np.errstate(all="ignore"):
            expected = eval(re.sub(r"\b[\d.]+\b", r"Checked(\g<0>)", text), space).value
            values = {}
            for node in post_order(graph):
                if node.op in ("input", "number"):
                    values[node] = names[node.name] if node.name else node.number
                else:
                    compute = day04.OPERATIONS[node.op].compute
                    values[node] = compute(*(values[operand] for operand in node.operands))
        got = values[graph]
        assert np.array_equal(got, expected, equal_nan=True), (
            f"{text!r} was read as {written(graph)}: at {names} that is {got}, not {expected}"
        )

    check()


def post_order(graph):
    """The nodes, operands first, by recursion: for small graphs."""
    order = {}

    def visit(node):
        for operand in node.operands:
            visit(operand)
        order[node] = None

    visit(graph)
    return list(order)


# topological_order ----------------------------------------------------------------------------


def check_order(order, graph):
    wanted = all_nodes(graph)
    assert len(order) == len(set(order)), (
        f"{len(order)} nodes are listed, but only {len(set(order))} different ones"
    )
    assert set(order) == wanted, f"{len(order)} nodes are listed, of {len(wanted)}"
    place = {node: number for number, node in enumerate(order)}
    for node in order:
        for operand in node.operands:
            assert place[operand] < place[node], (
                f"{node} is number {place[node]} in the order, before its operand {operand}, "
                f"number {place[operand]}"
            )


@exercise("topological_order")
@shapes("size", 1, 2, 5, 30, 200)
def test_order_of_random_graphs(size, rng):
    for _ in range(5):
        graph = random_graph(rng, size)[-1]
        before = [(node.op, node.operands) for node in sorted(all_nodes(graph), key=id)]
        order = day04.topological_order(graph)
        assert type(order) is list, f"the order is a {type(order).__name__}, not a list"
        check_order(order, graph)
        after = [(node.op, node.operands) for node in sorted(all_nodes(graph), key=id)]
        assert before == after, "the walk changed the graph"


@exercise("topological_order")
def test_order_of_a_single_node():
    x = leaf()
    assert day04.topological_order(x) == [x], "the order of a graph of one node is that node"


@exercise("topological_order")
def test_order_waits_for_the_longest_way():
    # x is an operand of the result itself, and also far below it.
    x = leaf()
    deep = day04.Node("sin", (day04.Node("cos", (day04.Node("exp", (x,)),)),))
    for operands in [(x, deep), (deep, x), (deep.operands[0], deep), (deep, deep.operands[0])]:
        graph = day04.Node("+", operands)
        check_order(day04.topological_order(graph), graph)


@exercise("topological_order")
def test_order_visits_shared_nodes_once():
    graph = ladder(22)  # 4 million ways
    order = day04.topological_order(graph)
    assert len(order) == 23, f"{len(order)} nodes are listed, of 23"


@exercise("topological_order", seconds=20)
def test_order_of_a_deep_chain():
    graph = chain(DEPTH)
    order = day04.topological_order(graph)
    assert len(order) == DEPTH + 1, f"{len(order)} nodes are listed, of {DEPTH + 1}"
    assert order[0].op == "input" and order[-1] is graph, (
        "the input comes first in a chain, and the result last"
    )
    check_order(order[:1000], order[999])


@exercise("topological_order", seconds=20)
def test_order_of_a_wide_graph():
    x = leaf()
    graph = day04.Node("sin", (x,))
    for _ in range(DEPTH // 2):
        graph = day04.Node("+", (graph, day04.Node("cos", (x,))))
    order = day04.topological_order(graph)
    assert len(order) == DEPTH + 2, f"{len(order)} nodes are listed, of {DEPTH + 2}"


@exercise("topological_order")
@shapes("length", 1, 2, 3, 1000)
def test_order_refuses_a_cycle(length, rng):
    start = leaf("start")
    nodes = [day04.Node("+", (start, start))]
    for _ in range(length - 1):
        nodes.append(day04.Node("*", (start, nodes[-1])))
    side = int(rng.integers(0, 2))
    nodes[0].operands = (start, nodes[-1]) if side else (nodes[-1], start)
    for graph in (nodes[-1], day04.Node("sin", (nodes[length // 2],))):
        with pytest.raises(ValueError):
            order = day04.topological_order(graph)
            pytest.fail(f"a cycle of {length} nodes was put in the order {order[:5]}")


@exercise("topological_order")
def test_order_sees_a_cycle_behind_a_part_that_is_done():
    x = leaf()
    good = day04.Node("sin", (x,))
    bad = day04.Node("+", (good, good))
    bad.operands = (good, bad)
    for operands in [(good, bad), (bad, good)]:
        with pytest.raises(ValueError):
            day04.topological_order(day04.Node("*", operands))
            pytest.fail("a node that is computed from itself was put in an order")


@exercise("topological_order")
def test_order_does_not_take_a_diamond_for_a_cycle():
    x = leaf()
    left, right = day04.Node("sin", (x,)), day04.Node("cos", (x,))
    top = day04.Node("+", (left, right))
    for operands in [(top, left), (left, top), (x, top), (top, top)]:
        graph = day04.Node("*", operands)
        check_order(day04.topological_order(graph), graph)


# evaluate -------------------------------------------------------------------------------------


def by_torch(nodes, inputs):
    values = {}
    compute = {
        "+": operator.add, "-": operator.sub, "*": operator.mul, "neg": operator.neg,
        "sin": torch.sin, "tanh": torch.tanh,
    }  # fmt: skip
    for node in nodes:
        if node.op == "input":
            values[node] = torch.tensor(inputs[node.name])
        elif node.op == "number":
            values[node] = torch.tensor(node.number, dtype=torch.float64)
        else:
            values[node] = compute[node.op](*(values[operand] for operand in node.operands))
    return values


@exercise("evaluate")
@shapes("shape", (), (1,), (5,), (2, 3), (0,))
def test_evaluate_equals_torch(shape, rng):
    for size in (1, 4, 12):
        nodes = random_graph(rng, size)
        inputs = {name: rng.uniform(*shape, low=-1.0, high=1.0) for name in ("x", "y")}
        values = by_torch(nodes, inputs)
        largest = max([1.0, *(float(v.abs().max()) for v in values.values() if v.numel())])
        if largest > 1e3:  # squared again and again
            continue
        used = {node.name for node in all_nodes(nodes[-1]) if node.op == "input"}
        got = day04.evaluate(nodes[-1], **{name: inputs[name] for name in used})
        close(got, values[nodes[-1]].numpy(), terms=100, scale=largest**2, name="the value")


@exercise("evaluate")
def test_evaluate_every_operation(rng):
    x, y = float(rng.uniform(low=0.5, high=2.0)), float(rng.uniform(low=0.5, high=2.0))
    for text, expected in [
        ("x - 2 * y", x - 2 * y),
        ("y / x", y / x),
        ("x ** y", x**y),
        ("-x ** 2 + sqrt(y)", -(x**2) + math.sqrt(y)),
        ("log(x) * cos(y)", math.log(x) * math.cos(y)),
        ("exp(-x) + tanh(y) - sin(x)", math.exp(-x) + math.tanh(y) - math.sin(x)),
    ]:
        got = day04.evaluate(day04.parse(text), x=x, y=y)
        close(got, expected, scale=10.0, terms=4, name=f"{text} at x={x}, y={y}")


@exercise("evaluate")
def test_evaluate_broadcasts(rng):
    x, y = rng.normal(3, 1), rng.normal(4)
    got = day04.evaluate(day04.parse("x * y + 1"), x=x, y=y)
    close(got, x * y + 1, name="x * y + 1 for shapes (3, 1) and (4,)", scale=10.0)


@exercise("evaluate")
def test_evaluate_of_inputs_and_numbers_alone(rng):
    x = rng.normal(3)
    close(day04.evaluate(leaf(), x=x), x, name="x itself")
    close(day04.evaluate(leaf(), x=3), 3.0, dtype="float64", name="x itself")
    close(day04.evaluate(day04.parse("2.5")), 2.5, name="the number 2.5")


@exercise("evaluate")
def test_evaluate_of_whole_numbers():
    for x in (2, np.array(2)):
        got = day04.evaluate(day04.parse("x ** -1 + x / 4"), x=x)
        assert got == 1.0, f"x ** -1 + x / 4 at the whole number 2 is 1.0, got {got}"
    got = day04.evaluate(day04.parse("x + x"), x=np.array([100], dtype=np.int8))
    close(got, np.array([200.0]), name="x + x at 100, a number of 8 bits")


@exercise("evaluate")
def test_evaluate_computes_shared_parts_once(monkeypatch):
    calls = count_calls(monkeypatch, "sin")
    graph = day04.parse("sin(x) * sin(x) + sin(x) / (1 + sin(x))")
    got = day04.evaluate(graph, x=1.0)
    s = math.sin(1.0)
    close(got, s * s + s / (1 + s), factor=10.0, name="sin(x)² + sin(x) / (1 + sin(x)) at 1")
    assert len(calls) == 1, f"sin(x) was computed {len(calls)} times"


@exercise("evaluate")
def test_evaluate_where_ways_double(monkeypatch):
    calls = count_calls(monkeypatch, "+")
    assert day04.evaluate(ladder(20), x=1.0) == 2.0**20, "20 doublings of 1 make 2^20"
    assert len(calls) == 20, f"20 additions were computed {len(calls)} times"


@exercise("evaluate", seconds=20)
def test_evaluate_a_deep_chain(rng):
    x = float(rng.uniform(low=0.5, high=1.5))
    got = day04.evaluate(chain(DEPTH), x=x)
    for _ in range(DEPTH):
        x = math.sin(x)
    close(got, x, terms=DEPTH, name=f"{DEPTH} sines")


@exercise("evaluate")
def test_evaluate_starts_afresh_each_time(rng):
    graph = day04.parse("3 * x")
    x = rng.normal(2)
    assert day04.evaluate(graph, x=1) == 3.0, "3 * x at x = 1 is 3"
    assert day04.evaluate(graph, x=2) == 6.0, "the second call does not give its own value"
    close(day04.evaluate(graph, x=x), 3 * x, name="3 * x")
    three = next(node for node in all_nodes(graph) if node.op == "number")
    three.number = 5.0
    assert day04.evaluate(graph, x=1) == 5.0, "the graph was changed, but its value was not"
    graph.op = "-"
    assert day04.evaluate(graph, x=1) == 4.0, "the graph was changed, but its value was not"


@exercise("evaluate")
def test_evaluate_names_missing_and_unknown_inputs():
    graph = day04.parse("a * bb + ccc")
    everything = {"a": 1, "bb": 2, "ccc": 3}
    for given, wrong in [
        ({"a": 1, "ccc": 1}, ["bb"]),
        ({"bb": 1}, ["a", "ccc"]),
        (everything | {"dddd": 4}, ["dddd"]),
    ]:
        names = ", ".join(given)
        with pytest.raises(ValueError) as caught:
            got = day04.evaluate(graph, **given)
            pytest.fail(f"a * bb + ccc was given values for {names}, and came out as {got}")
        for name in wrong:
            assert re.search(rf"\b{name}\b", str(caught.value)), (
                f"a * bb + ccc was given values for {names}; the message does not name {name}: "
                f"{caught.value}"
            )


@exercise("evaluate")
def test_evaluate_an_input_of_any_name():
    graph = day04.parse("graph + inputs * self")
    assert day04.evaluate(graph, graph=1.0, inputs=2.0, self=3.0) == 7.0, (
        "graph + inputs * self, where these are 1, 2 and 3, is 7"
    )


@exercise("evaluate")
def test_evaluate_refuses_a_cycle():
    node = day04.Node("+", (leaf(), leaf()))
    node.operands = (node.operands[0], node)
    with pytest.raises(ValueError):
        got = day04.evaluate(node, x=1.0)
        pytest.fail(f"a node that is computed from itself has the value {got}")


# to_dot ---------------------------------------------------------------------------------------

VERTEX = re.compile(r'  (v\d+) \[label="([^"]*)", shape=(\w+)\];')
EDGE = re.compile(r'  (v\d+) -> (v\d+) \[label="(\d+)"\];')


def read(dot):
    """{vertex: (label, shape)} and [(operand, position, node)] of a drawing."""
    assert dot.endswith("}\n"), f"the last line should be }} and end: {dot[-20:]!r}"
    lines = dot[:-1].split("\n")
    assert lines[:2] == ["digraph {", "  rankdir=LR;"], f"it should start otherwise:\n{dot[:200]}"
    vertices, edges = {}, []
    for line in lines[2:-1]:
        if vertex := VERTEX.fullmatch(line):
            assert vertex[1] not in vertices, f"{vertex[1]} is drawn twice"
            vertices[vertex[1]] = (vertex[2], vertex[3])
        elif edge := EDGE.fullmatch(line):
            edges.append((edge[1], int(edge[3]), edge[2]))
        else:
            raise AssertionError(f"neither a node nor an edge: {line!r}")
    return vertices, edges


@exercise("to_dot")
def test_dot_of_each_kind_of_node():
    vertices, edges = read(day04.to_dot(day04.parse("2 - Δw")))
    assert sorted(vertices.values()) == [("-", "box"), ("2", "plain"), ("Δw", "ellipse")], (
        f"the nodes of 2 - Δw are drawn as {sorted(vertices.values())}"
    )
    name = {label: vertex for vertex, (label, _) in vertices.items()}
    assert name["-"] == "v2", "the result comes last in the order, so it is v2"
    assert sorted(edges) == sorted([(name["2"], 0, "v2"), (name["Δw"], 1, "v2")]), (
        f"the edges of 2 - Δw are {edges}"
    )


@exercise("to_dot")
def test_dot_of_random_graphs(rng):
    for size in (1, 10, 40):
        graph = random_graph(rng, size)[-1]
        vertices, edges = read(day04.to_dot(graph))
        order = day04.topological_order(graph)
        name = {node: f"v{number}" for number, node in enumerate(order)}
        assert set(vertices) == set(name.values()), f"{len(vertices)} of {len(order)} nodes"
        for node in order:
            kind = {"input": (node.name, "ellipse"), "number": (f"{node.number:g}", "plain")}
            assert vertices[name[node]] == kind.get(node.op, (node.op, "box")), (
                f"{node} is drawn as {vertices[name[node]]}"
            )
        wanted = [(name[o], i, name[n]) for n in order for i, o in enumerate(n.operands)]
        assert sorted(edges) == sorted(wanted), "an edge is missing, or runs the wrong way"


@exercise("to_dot")
def test_dot_shows_both_uses():
    _, edges = read(day04.to_dot(day04.parse("x * x")))
    assert sorted(edges) == [("v0", 0, "v1"), ("v0", 1, "v1")], f"x * x has the edges {edges}"


@exercise("to_dot")
def test_dot_of_a_single_input():
    assert read(day04.to_dot(leaf("y"))) == ({"v0": ("y", "ellipse")}, []), (
        f"an input y alone is drawn as {day04.to_dot(leaf('y'))}"
    )


@exercise("to_dot", seconds=20)
def test_dot_of_a_deep_chain():
    dot = day04.to_dot(chain(DEPTH // 2))
    assert dot.count("\n") == 3 + 2 * (DEPTH // 2) + 1, "nodes or edges are missing"
