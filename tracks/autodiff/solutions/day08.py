"""
Day 8: The Value class
======================
Estimated time: 1-2 hours
Prerequisites: Day 4 (computational graphs), Day 6 (reverse mode by hand)
Lesson: lessons/day08.md

Learning objectives:
- Build a number that remembers where it came from
- Keep the order of operands, and an operand that is used twice
- Tell nodes apart by identity, not by what they hold
- Walk a graph of any depth without recursion, and draw it

A Value is a node of the graph that a computation leaves behind:

    a = 2.0 ---0---.                    data     the number
                    >-- * --> d = -6.0  grad     d(result) / d(this): day 11
    b = -3.0 --1---'                    parents  (a, b), in the order written
                                        op       "*"

Days 9 to 14 extend this class: day 9 adds + and *, day 11 the backward pass. Each operator will
make its result with ``self.__class__(data, (self, other), "+", backward)``, so that the values of
a later day's class make values of that class. ``backward`` is a function of one number, the
gradient of the result, and adds to each parent's grad what that parent gets of it. It need not
hold on to the result, so a graph is no cycle, and is freed as soon as nobody uses it.

Hints:
- A set keeps neither the order of its elements nor an element that is given twice.
- An object is equal to itself alone unless its class says otherwise. Say nothing.
- A chain of 100 000 nodes is deeper than Python's stack: walk with a list of nodes still to visit.

Resources:
- micrograd, A. Karpathy: https://github.com/karpathy/micrograd
- The DOT language: https://graphviz.org/doc/info/lang.html
- __slots__: https://docs.python.org/3/reference/datamodel.html#slots
"""

from __future__ import annotations

import shutil
import subprocess
import warnings
from collections.abc import Callable, Iterable
from numbers import Real
from pathlib import Path
from typing import NamedTuple

Backward = Callable[[float], None]
"""Takes the gradient of a result and adds each parent's share to that parent's grad."""


def _number(data: object) -> float:
    """``data`` as a float; TypeError unless it is a real number (Python's or numpy's)."""
    if not isinstance(data, Real):
        raise TypeError(f"a Value holds one real number, not a {type(data).__name__}")
    return float(data)


class Value:
    """A number that remembers how it was made.

    Attributes:
        data: the number, always a float
        grad: 0.0, until day 11's backward pass fills it
        parents: the Values it was computed from, a tuple in the order they were written; a * a
            has (a, a), and a - b has not the parents of b - a. Empty for a number typed in.
        op: the operator that made it, such as "+"; "" for a number typed in
        label: a name for drawings; may be set later
        _backward: the operator's local backward (see ``Backward``), or None

    Two Values are equal only if they are the same object, also when they hold the same number:
    both may be in one set. Subclasses say ``__slots__ = ()``.
    """

    # Slots in place of a dictionary a node: a graph has a node for every operation.
    __slots__ = ("_backward", "data", "grad", "label", "op", "parents")

    def __init__(
        self,
        data: float,
        parents: Iterable[Value] = (),
        op: str = "",
        backward: Backward | None = None,
        label: str = "",
    ) -> None:
        """``data``: a real number, int or numpy scalar included; ``_number`` refuses the rest.

        ``parents`` is any iterable of Values.
        """
        # TODO: fill the six slots.
        # HINT: _number makes a float of data, or says why not.
        ### BEGIN SOLUTION
        # HINT: of all collections only a tuple keeps order and repeats, and nobody can change it.
        # HINT: nearly always data is a float and parents a tuple already: see to those first.
        self.data = data if data.__class__ is float else _number(data)
        self.parents = parents if parents.__class__ is tuple else tuple(parents)
        self.op = op
        self.grad = 0.0
        self.label = label
        self._backward = backward
        ### END SOLUTION

    def __repr__(self) -> str:
        """Data and grad, then op and label where they are not empty; never the parents.

        >>> Value(2)
        Value(data=2.0, grad=0.0)
        >>> Value(-6.0, op="*", label="d")
        Value(data=-6.0, grad=0.0, op='*', label='d')
        """
        # TODO: a string as in the example.
        # HINT: f"{x!r}" puts quotes round a string.
        ### BEGIN SOLUTION
        # HINT: showing the parents would show their parents, and so on down a deep graph.
        shown = f"data={self.data!r}, grad={self.grad!r}"
        if self.op:
            shown += f", op={self.op!r}"
        if self.label:
            shown += f", label={self.label!r}"
        return f"Value({shown})"
        ### END SOLUTION


class Edge(NamedTuple):
    """``parent`` is operand number ``position`` (from 0) of the operation that made ``child``."""

    parent: Value
    position: int
    child: Value


class Graph(NamedTuple):
    """What ``trace`` finds."""

    nodes: list[Value]
    edges: list[Edge]


def trace(root: Value) -> Graph:
    """Every Value that ``root`` was computed from, itself included, and every use of one.

    - nodes: ``root`` first, then the others in any order; each once, however often it is used
    - edges: one for each operand of each node, in any order; a * a has two, at positions 0 and 1

    Takes a time proportional to the edges, for a graph of any depth: no recursion.

    >>> a = Value(3.0)
    >>> [len(part) for part in trace(Value(9.0, (a, a), "*"))]
    [2, 2]
    """
    # TODO: walk from the root to the parents, noting nodes and edges.
    # HINT: keep a list of nodes still to visit, and a set of nodes already seen.
    ### BEGIN SOLUTION
    # HINT: every edge counts, but only a parent not seen before is put on the list.
    # HINT: a node enters the set when it is put on the list, not when it is taken from it.
    nodes: list[Value] = []
    edges: list[Edge] = []
    seen, pending = {root}, [root]
    while pending:
        node = pending.pop()
        nodes.append(node)
        for position, parent in enumerate(node.parents):
            edges.append(Edge(parent, position, node))
            if parent not in seen:
                seen.add(parent)
                pending.append(parent)
    return Graph(nodes, edges)
    ### END SOLUTION


def count_nodes(root: Value, op: str | None = None) -> int:
    """How many Values are in the graph of ``root``: all, or those made by ``op``.

    ``op=""`` counts the numbers typed in.

    >>> a = Value(3.0)
    >>> b = Value(9.0, (a, a), "*")
    >>> count_nodes(b), count_nodes(b, op="*"), count_nodes(b, op="")
    (2, 1, 1)
    """
    # TODO: count the nodes that trace finds.
    # HINT: no op given and op="" are two different questions.
    ### BEGIN SOLUTION
    # HINT: trace(root).nodes has each node once. Which of them count, in each of the two cases?
    # HINT: ask `op is None or node.op == op` of each node; "" is false in Python, so `not op` would
    #       mix the two questions up.
    return sum(1 for node in trace(root).nodes if op is None or node.op == op)
    ### END SOLUTION


def _write_svg(dot: str, path: str | Path) -> None:
    """Lay out the drawing with graphviz's ``dot``; without it a warning, and no file."""
    program = shutil.which("dot")
    if program is None:
        warnings.warn(
            f"{path} was not written: graphviz's dot is not installed. The text that draw returns "
            "can be laid out elsewhere.",
            stacklevel=3,
        )
        return
    subprocess.run([program, "-Tsvg", "-o", str(path)], input=dot.encode(), check=True)


def draw(root: Value, svg: str | Path | None = None) -> str:
    r"""The graph of ``root`` in the DOT language; written to the file ``svg`` too, where given.

    The nodes are numbered as ``trace`` finds them: v0 is the root. A node shows, in lines of their
    own, its label and its op where they are not empty, its data and its grad (format ``.4g``);
    in DOT a line ends in ``\n``, two characters. In a label a backslash becomes ``\\`` and a
    double quote ``\"``. An edge runs from the parent to the child and shows the position:

        digraph {
          rankdir=LR;
          node [shape=box];
          v0 [label="d\n*\ndata -6\ngrad 0"];
          v1 [label="b\ndata -3\ngrad 0"];
          v2 [label="a\ndata 2\ngrad 0"];
          v2 -> v0 [label="0"];
          v1 -> v0 [label="1"];
        }

    The order of the lines that start with v is free. Call ``_write_svg`` for the file.
    """
    # TODO: number the nodes; a line for each node and each edge; the file, if asked for.
    # HINT: a dict from Value to its number answers "which v is this parent?" at once.
    ### BEGIN SOLUTION
    # HINT: list.index would compare with every node: 100 000 nodes take minutes that way.
    # HINT: "\\n".join(rows) joins with a backslash and an n.
    nodes, edges = trace(root)
    name = {node: f"v{number}" for number, node in enumerate(nodes)}
    lines = ["digraph {", "  rankdir=LR;", "  node [shape=box];"]
    for node in nodes:
        label = node.label.replace("\\", "\\\\").replace('"', '\\"')
        rows = [label, node.op, f"data {node.data:.4g}", f"grad {node.grad:.4g}"]
        shown = "\\n".join(row for row in rows if row)
        lines.append(f'  {name[node]} [label="{shown}"];')
    for parent, position, child in edges:
        lines.append(f'  {name[parent]} -> {name[child]} [label="{position}"];')
    dot = "\n".join([*lines, "}"]) + "\n"
    if svg is not None:
        _write_svg(dot, svg)
    return dot
    ### END SOLUTION


def test_value_keeps_its_operands() -> None:
    a, b = Value(2), Value(-3.0, label="b")
    d = Value(a.data * b.data, (a, b), "*")
    assert (d.data, d.grad, d.parents, d.op) == (-6.0, 0.0, (a, b), "*")
    assert repr(d) == "Value(data=-6.0, grad=0.0, op='*')"


def test_trace_of_a_value_used_twice() -> None:
    a = Value(3.0)
    nodes, edges = trace(Value(9.0, (a, a), "*"))
    assert len(nodes) == 2
    assert [edge.position for edge in edges] == [0, 1]


def test_count_nodes() -> None:
    a = Value(3.0)
    b = Value(9.0, (a, a), "*")
    assert (count_nodes(b), count_nodes(b, op="*"), count_nodes(b, op="")) == (2, 1, 1)


def test_draw() -> None:
    dot = draw(Value(-3.0, (Value(3.0, label="a"),), "neg"))
    assert 'v1 [label="a\\ndata 3\\ngrad 0"];' in dot
    assert 'v1 -> v0 [label="0"];' in dot


if __name__ == "__main__":
    from harness import main

    main(__file__)
