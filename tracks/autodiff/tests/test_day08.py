"""Day 8: nodes that keep order, repeats and identity, and walks of any depth."""

import gc
import re
import stat
import sys
import warnings
from fractions import Fraction

import numpy as np
import pytest

from harness.testing import exercise
from tracks.autodiff import day08

DEPTH = 100_000


def difference(a, b):
    return day08.Value(a.data - b.data, (a, b), "-")


def chain(depth):
    """Each node is made from the one before and a shared one."""
    step = day08.Value(1.0)
    root = day08.Value(0.0)
    for _ in range(depth):
        root = day08.Value(root.data + 1.0, (root, step), "+")
    return root


def random_graph(rng, size):
    """A graph in which everything feeds into the last node; its nodes in order of making."""
    nodes = [day08.Value(float(rng.integers(-9, 10))) for _ in range(3)]
    for _ in range(size):
        parents = tuple(rng.choice(nodes) for _ in range(int(rng.integers(1, 4))))
        op = rng.choice(["+", "-", "*", "max"])
        nodes.append(day08.Value(float(rng.integers(-9, 10)), parents, op))
    nodes.append(day08.Value(0.0, tuple(nodes), "sum"))
    return nodes


def edges_of(nodes):
    """Every edge as (id of the parent, position, id of the child), sorted."""
    return sorted((id(p), i, id(n)) for n in nodes for i, p in enumerate(n.parents))


@exercise("Value")
@pytest.mark.parametrize(
    "data",
    [2, 2.0, True, np.float64(2.0), np.float32(2.0), np.int64(2), Fraction(1, 4), float("inf")],
    ids=repr,
)
def test_value_holds_a_float(data):
    value = day08.Value(data)
    assert type(value.data) is float, f"{data!r} is kept as a {type(value.data).__name__}"
    assert value.data == data, f"Value({data!r}) holds {value.data}"
    assert type(value.grad) is float and value.grad == 0.0, f"grad starts as {value.grad!r}"
    found = (value.parents, value.op, value.label, value._backward)
    assert found == ((), "", "", None), f"parents, op, label, _backward start as {found}"


@exercise("Value")
@pytest.mark.parametrize("data", ["2", None, 2j, [2.0], np.ones(1)], ids=repr)
def test_value_refuses_what_is_no_real_number(data):
    with pytest.raises(TypeError):
        made = day08.Value(data)
        pytest.fail(f"Value({data!r}) was made, and holds {made.data!r}")


@exercise("Value")
def test_value_refuses_a_value():
    inner = day08.Value(1.0)
    with pytest.raises(TypeError):
        made = day08.Value(inner)
        pytest.fail(f"a Value of a Value was made, and holds {made.data!r}")


@exercise("Value")
def test_value_keeps_order_and_repeats():
    a, b = day08.Value(1.0), day08.Value(2.0)
    for parents in [(a, b), (b, a), (a, a), (a, b, a), (a,)]:
        value = day08.Value(0.0, parents, "op")
        assert value.parents == parents, f"{len(parents)} parents came back as {value.parents}"
    assert difference(a, b).parents != difference(b, a).parents, "a - b looks like b - a"


@exercise("Value")
def test_value_takes_any_iterable_of_parents():
    a, b = day08.Value(1.0), day08.Value(2.0)
    given = [a, b]
    value = day08.Value(3.0, given, "+")
    given.append(a)
    assert value.parents == (a, b), "a list that changes later changes the parents"
    assert isinstance(value.parents, tuple), (
        f"parents are kept as a {type(value.parents).__name__}, not a tuple"
    )
    assert day08.Value(3.0, (p for p in (b, a)), "+").parents == (b, a), (
        "the parents of a generator were not kept"
    )


@exercise("Value")
def test_value_fills_its_slots():
    a = day08.Value(1.0)
    calls = []
    value = day08.Value(2.0, (a,), "exp", calls.append, "e")
    assert (value.op, value.label, value.parents) == ("exp", "e", (a,)), (
        f"op, label, parents are {value.op!r}, {value.label!r}, {value.parents}"
    )
    value._backward(0.5)
    assert calls == [0.5], "backward is kept as it was given"
    value.label, value.grad = "loss", 1.0
    assert (value.label, value.grad) == ("loss", 1.0), (
        "label and grad were set, and do not hold what was set"
    )


@exercise("Value")
def test_values_are_told_apart_by_identity(rng):
    number = float(rng.normal())
    a, b = day08.Value(number), day08.Value(number)
    assert a != b and a == a, "two values that hold the same number are two values"
    assert len({a, b}) == 2 and len({a, a}) == 1, (
        "two values that hold the same number are two elements of a set, and one value is one"
    )
    assert a not in [b], "a value is found in a list that holds another one of the same number"
    before = hash(a)
    a.data, a.grad = number + 1.0, 2.0
    assert hash(a) == before, "the hash changed with the data: a would be lost in its set"


@exercise("Value")
def test_value_carries_no_dictionary():
    assert not hasattr(day08.Value(1.0), "__dict__"), "each node carries a dictionary of its own"


@exercise("Value")
def test_subclasses_make_their_own(rng):
    class Later(day08.Value):
        __slots__ = ()

        def __sub__(self, other):
            def backward(grad):
                self.grad += grad
                other.grad -= grad

            return self.__class__(self.data - other.data, (self, other), "-", backward)

    a, b = Later(5), Later(float(rng.normal()))
    c = a - b
    assert type(c) is Later and not hasattr(c, "__dict__"), (
        f"a later class's value is a {type(c).__name__}, or carries a dictionary"
    )
    c._backward(2.0)
    assert (a.grad, b.grad) == (2.0, -2.0), (
        f"the local backward of a - b left the grads {a.grad} and {b.grad}"
    )


@exercise("Value")
def test_a_graph_is_freed_at_once():
    leaf = day08.Value(1.0)
    before = sys.getrefcount(leaf)
    gc.disable()  # reference counting alone has to do it
    try:
        difference(difference(leaf, leaf), leaf)
        left = sys.getrefcount(leaf) - before
    finally:
        gc.enable()
    assert left == 0, f"{left} references to a leaf are left after its graph is gone"


@exercise("Value")
def test_repr(rng):
    value = day08.Value
    a = value(2)
    for made, wanted in [
        (a, "Value(data=2.0, grad=0.0)"),
        (value(-6.0, (a, a), "*"), "Value(data=-6.0, grad=0.0, op='*')"),
        (value(0.5, label="b"), "Value(data=0.5, grad=0.0, label='b')"),
        (value(0.1, (a,), "neg", None, "c"), "Value(data=0.1, grad=0.0, op='neg', label='c')"),
    ]:
        assert repr(made) == wanted, f"shown as {made!r}, not as {wanted}"
    a.grad = -1.5
    assert repr(a) == "Value(data=2.0, grad=-1.5)", f"shown as {a!r}, after its grad became -1.5"


@exercise("Value")
def test_repr_of_a_deep_graph_is_short():
    shown = repr(chain(5_000))
    assert len(shown) < 100, f"{len(shown)} characters: the parents are not shown"


@exercise("trace")
def test_trace_of_a_single_value():
    a = day08.Value(1.0)
    assert day08.trace(a) == ([a], []), f"the trace of a number typed in is {day08.trace(a)}"


@exercise("trace")
def test_trace_finds_nodes_and_edges(rng):
    for size in (1, 5, 40):
        made = random_graph(rng, size)
        nodes, edges = day08.trace(made[-1])
        assert nodes[0] is made[-1], "the root comes first"
        assert len(nodes) == len(set(nodes)), "a node that is used twice is still one node"
        assert set(nodes) == set(made), f"{len(nodes)} of {len(made)} nodes were found"
        got = sorted((id(e.parent), e.position, id(e.child)) for e in edges)
        assert got == edges_of(made), f"{len(edges)} edges, {len(edges_of(made))} were expected"


@exercise("trace")
def test_trace_stops_at_its_root():
    a, b = day08.Value(1.0), day08.Value(2.0)
    inner = difference(a, b)
    difference(inner, b)
    assert set(day08.trace(inner).nodes) == {inner, a, b}, "what uses the root is not part of it"


@exercise("trace")
def test_trace_tells_a_difference_from_its_reflection():
    a, b = day08.Value(1.0), day08.Value(2.0)
    for first, second in [(a, b), (b, a)]:
        root = difference(first, second)
        positions = {edge.parent: edge.position for edge in day08.trace(root).edges}
        assert positions == {first: 0, second: 1}, "operand 0 is the one on the left"


@exercise("trace")
def test_trace_of_equal_numbers_finds_all():
    parents = [day08.Value(1.0) for _ in range(5)]
    nodes, _ = day08.trace(day08.Value(1.0, parents, "+"))
    assert len(nodes) == 6, f"six values that all hold 1.0 were taken for {len(nodes)}"


@exercise("trace")
def test_trace_visits_shared_values_once():
    root = day08.Value(1.0)
    for _ in range(16):  # 65 536 ways lead from the root to the first value
        root = day08.Value(2 * root.data, (root, root), "+")
    nodes, edges = day08.trace(root)
    assert (len(nodes), len(edges)) == (17, 32), (
        f"{len(nodes)} nodes and {len(edges)} edges; there are 17 and 32. "
        "Is a value visited once for every way that leads to it?"
    )


@exercise("trace")
def test_trace_of_a_deep_chain():
    root = chain(DEPTH)
    nodes, edges = day08.trace(root)
    assert (len(nodes), len(edges)) == (DEPTH + 2, 2 * DEPTH), (
        f"{len(nodes)} nodes and {len(edges)} edges; there are {DEPTH + 2} and {2 * DEPTH}"
    )


@exercise("trace")
def test_trace_changes_nothing(rng):
    made = random_graph(rng, 20)
    for node in made:
        node.data = float(rng.normal())  # numbers that need all of their digits
    before = [(n.data, n.grad, n.parents, n.op, n.label) for n in made]
    day08.trace(made[-1])
    day08.trace(made[-1])
    after = [(n.data, n.grad, n.parents, n.op, n.label) for n in made]
    assert after == before, "looking at a graph should leave its values as they are"


@exercise("count_nodes")
def test_count_nodes(rng):
    made = random_graph(rng, 30)
    assert day08.count_nodes(made[-1]) == len(made), (
        f"of {len(made)} nodes {day08.count_nodes(made[-1])} were counted"
    )
    for op in ("", "+", "-", "*", "max", "sum", "no such operator"):
        wanted = sum(node.op == op for node in made)
        got = day08.count_nodes(made[-1], op=op)
        assert got == wanted, f"{wanted} nodes were made by {op!r}, counted {got}"


@exercise("count_nodes")
def test_count_nodes_of_a_single_value():
    a = day08.Value(0.0)
    assert (day08.count_nodes(a), day08.count_nodes(a, ""), day08.count_nodes(a, "+")) == (
        1,
        1,
        0,
    ), "a number typed in is one node, is typed in, and no sum"


@exercise("count_nodes")
def test_count_nodes_of_a_deep_chain():
    root = chain(DEPTH)
    assert day08.count_nodes(root) == DEPTH + 2, (
        f"of {DEPTH + 2} nodes {day08.count_nodes(root)} were counted"
    )
    assert day08.count_nodes(root, "+") == DEPTH, (
        f"of {DEPTH} sums {day08.count_nodes(root, '+')} were counted"
    )


NODE = re.compile(r'  (v\d+) \[label="((?:[^"\\]|\\.)*)"\];')
EDGE = re.compile(r'  (v\d+) -> (v\d+) \[label="(\d+)"\];')


def read(dot):
    """{name: rows} and [(parent, position, child)] of a drawing."""
    lines = dot.rstrip("\n").split("\n")
    head = ["digraph {", "  rankdir=LR;", "  node [shape=box];"]
    assert lines[:3] == head and lines[-1] == "}", f"it should start with {head}:\n{dot[:200]}"
    nodes, edges = {}, []
    for line in lines[3:-1]:
        if node := NODE.fullmatch(line):
            assert node[1] not in nodes, f"{node[1]} is drawn twice"
            nodes[node[1]] = node[2].split("\\n")
        elif edge := EDGE.fullmatch(line):
            edges.append((edge[1], int(edge[3]), edge[2]))
        else:
            raise AssertionError(f"neither a node nor an edge: {line!r}")
    return nodes, edges


@exercise("draw")
def test_draw_the_example():
    a, b = day08.Value(2.0, label="a"), day08.Value(-3, label="b")
    nodes, edges = read(day08.draw(day08.Value(-6.0, (a, b), "*", label="d")))
    name = {rows[0]: v for v, rows in nodes.items()}
    assert name["d"] == "v0", "the root is v0"
    assert nodes["v0"] == ["d", "*", "data -6", "grad 0"], (
        f"the root is drawn with the lines {nodes['v0']}"
    )
    assert nodes[name["a"]] == ["a", "data 2", "grad 0"], (
        f"a is drawn with the lines {nodes[name['a']]}"
    )
    assert nodes[name["b"]] == ["b", "data -3", "grad 0"], (
        f"b is drawn with the lines {nodes[name['b']]}"
    )
    assert sorted(edges) == sorted([(name["a"], 0, "v0"), (name["b"], 1, "v0")]), (
        f"a * b is drawn with the edges {edges}"
    )


@exercise("draw")
def test_draw_numbers_nodes_as_trace_does(rng):
    made = random_graph(rng, 25)
    for number, node in enumerate(made):
        node.label, node.grad = f"n{number}", float(rng.normal())
    found = day08.trace(made[-1])
    nodes, edges = read(day08.draw(made[-1]))
    assert set(nodes) == {f"v{i}" for i in range(len(made))}, (
        f"{len(made)} nodes are drawn as {sorted(nodes)}"
    )
    for number, node in enumerate(found.nodes):
        rows = [node.label, node.op, f"data {node.data:.4g}", f"grad {node.grad:.4g}"]
        assert nodes[f"v{number}"] == [row for row in rows if row], (
            f"{node!r} is drawn with the lines {nodes[f'v{number}']}"
        )
    number = {node: f"v{i}" for i, node in enumerate(found.nodes)}
    wanted = [(number[e.parent], e.position, number[e.child]) for e in found.edges]
    assert sorted(edges) == sorted(wanted), "an edge is missing, or runs the wrong way"


@exercise("draw")
def test_draw_rounds_long_numbers():
    a = day08.Value(1 / 3)
    a.grad = -12345.678
    nodes, _ = read(day08.draw(a))
    assert nodes == {"v0": ["data 0.3333", "grad -1.235e+04"]}, (
        f"1/3 with a grad of -12345.678 is drawn as {nodes}"
    )


@exercise("draw")
@pytest.mark.parametrize(
    "label, shown", [('say "x"', '\\"x\\"'), ("a\\b", "a\\\\b"), ('\\"', '\\\\\\"'), ("Δw", "Δw")]
)
def test_draw_escapes_labels(label, shown):
    dot = day08.draw(day08.Value(1.0, label=label))
    read(dot)
    assert shown in dot, f"the label {label!r} should read {shown} in DOT:\n{dot}"


@exercise("draw", seconds=20)
def test_draw_of_a_deep_chain():
    # Linear work takes about a second; looking each node up in a list takes minutes.
    root = chain(DEPTH // 2)
    dot = day08.draw(root)
    assert dot.count("\n") == 3 + (DEPTH // 2 + 2) + DEPTH + 1, "nodes or edges are missing"


@exercise("draw")
def test_draw_gives_the_same_text_twice(rng):
    root = random_graph(rng, 20)[-1]
    assert day08.draw(root) == day08.draw(root), "two drawings of one graph differ"


@exercise("draw")
def test_draw_writes_an_svg_with_graphviz(tmp_path, monkeypatch):
    # A stand-in for graphviz: it writes what it is given into the file behind -o.
    program = tmp_path / "dot"
    program.write_text('#!/bin/sh\n[ "$1 $2" = "-Tsvg -o" ] && exec /bin/cat > "$3"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path))
    file = tmp_path / "graph.svg"
    dot = day08.draw(day08.Value(1.0, label="Δ"), svg=file)
    assert file.exists(), "no file was written"
    assert file.read_text(encoding="utf-8") == dot, "graphviz was given another text"


@exercise("draw")
def test_draw_without_graphviz(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    root = day08.Value(1.0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        dot = day08.draw(root, tmp_path / "graph.svg")
    assert any("graphviz" in str(warning.message) for warning in caught), (
        "without graphviz there is no file, and no warning says so"
    )
    assert dot == day08.draw(root), "the text is returned, with or without graphviz"
    assert not (tmp_path / "graph.svg").exists(), "a file was written without graphviz"


@exercise("draw")
def test_draw_writes_only_when_asked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        day08.draw(day08.Value(1.0))
    assert not caught, f"no file was asked for, and a warning was shown: {caught[0].message}"
    assert not list(tmp_path.iterdir()), "a file was written that nobody asked for"
