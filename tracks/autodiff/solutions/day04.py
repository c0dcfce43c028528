"""
Day 4: Computational graphs
===========================
Estimated time: 2 hours
Prerequisites: Day 2 (the chain rule)
Lesson: lessons/day04.md

Learning objectives:
- See a formula as a graph: a node for each operation, an edge for each use of a result
- Let Python's own parser read formulas, and share what is written twice
- Put the nodes in an order in which every operand is there before it is needed
- Evaluate a graph node by node, each once, however deep it is

    (x + y) * (x + y) + 1

    x ---.                            Written out, x + y stands there twice.
         + ===2=== * ---.             In the graph it is one node, used twice.
    y ---'              + ---> result
                   1 ---'

Everything that this track builds from here on is done to such graphs: derivatives walk them from
the inputs to the result (day 5) or back (day 6), and always in a topological order.

Hints:
- Nodes are equal only if they are the same object, so they can be keys of a dict.
- Recursion ends after about 1000 calls. A list of nodes that wait has no such limit.
- Evaluating is short once you have an order.

Resources:
- ast, Abstract Syntax Trees: https://docs.python.org/3/library/ast.html
- Introduction to Algorithms, Cormen et al., section 20.4 (topological sort)
- The DOT language: https://graphviz.org/doc/info/lang.html
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np


class Operation(NamedTuple):
    """What a node can compute: from how many operands, and how."""

    operands: int
    compute: Callable[..., Any]


OPERATIONS = {
    "+": Operation(2, np.add),
    "-": Operation(2, np.subtract),
    "*": Operation(2, np.multiply),
    "/": Operation(2, np.divide),
    "**": Operation(2, np.power),
    "neg": Operation(1, np.negative),
    "cos": Operation(1, np.cos),
    "exp": Operation(1, np.exp),
    "log": Operation(1, np.log),
    "sin": Operation(1, np.sin),
    "sqrt": Operation(1, np.sqrt),
    "tanh": Operation(1, np.tanh),
}
FUNCTIONS = ("cos", "exp", "log", "sin", "sqrt", "tanh")
"""Those that are written as a call."""


class Node:
    """A node of a graph; the graph of a formula is the node of its last operation.

    Attributes:
        op: "input", "number", or a key of OPERATIONS
        operands: the nodes it is computed from, a tuple in the order they were written; x * x has
            (x, x). Empty for an input or a number.
        name: of an input; "" otherwise
        number: the value of a number, a float; 0.0 otherwise

    Nodes are equal only if they are the same object. Attributes may be changed later.
    """

    __slots__ = ("name", "number", "op", "operands")

    def __init__(
        self, op: str, operands: Iterable[Node] = (), *, name: str = "", number: float = 0.0
    ) -> None:
        """``operands`` is any iterable of nodes.

        Raises ValueError when there is no such op, when it takes another number of operands
        (inputs and numbers take none), or when an input's name is no Python identifier.
        """
        # TODO: check the op, the number of operands and an input's name; fill the four slots.
        # HINT: an iterable may be one that can be walked only once: make the tuple first.
        ### BEGIN SOLUTION
        # HINT: OPERATIONS[op].operands is how many it takes. str.isidentifier checks a name.
        operands = tuple(operands)
        if op in OPERATIONS:
            wanted = OPERATIONS[op].operands
        elif op in ("input", "number"):
            wanted = 0
        else:
            raise ValueError(f"there is no operation {op!r}")
        if len(operands) != wanted:
            raise ValueError(f"{op!r} takes {wanted} operands, not {len(operands)}")
        if op == "input" and not name.isidentifier():
            raise ValueError(f"an input cannot be named {name!r}")
        self.op = op
        self.operands = operands
        self.name = name
        self.number = float(number)
        ### END SOLUTION

    def __repr__(self) -> str:
        """The op, then an input's name or a number's value; never the operands.

        >>> x = Node("input", name="x")
        >>> x, Node("number", number=2), Node("sin", [x])
        (Node(input x), Node(number 2), Node(sin))
        """
        # TODO: a string as in the example; numbers in format "g".
        # HINT: showing the operands would show theirs too, and so on down a deep graph.
        ### BEGIN SOLUTION
        # HINT: what follows the op is "" for all ops but two.
        what = {"input": f" {self.name}", "number": f" {self.number:g}"}
        return f"Node({self.op}{what.get(self.op, '')})"
        ### END SOLUTION


_SYMBOLS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.Pow: "**"}


def parse(expression: str) -> Node:
    """The graph of a formula written in Python: parse("sin(x) ** 2 / (1 + y)").

    A formula is made of

    - names, which become inputs, and numbers (Python's ints and floats)
    - ``+ - * / **`` between two parts; ``-`` before one ("neg"); ``+`` before one, which is left
      out; parentheses; all with Python's precedence
    - calls of one of FUNCTIONS with one argument

    Parts that are written alike become one node: "x + sin(x)" has one input, and
    "(x + y) * (x + y)" four nodes. "x * y" and "y * x" are not alike; 2 and 2.0 are.

    Blanks around the formula do no harm. What Python cannot read is Python's SyntaxError; anything
    else that is not in the list above (x < y, f(x), x.y, "a", True, 2j, sin(x, y), ...) is a
    ValueError that shows the part as Python writes it (``ast.unparse``).

    Use ``ast.parse(..., mode="eval").body``. It nests the parts as the formula does. Python allows
    200 parentheses inside each other, so a function that calls itself is right here; sums of more
    than 200 terms need not work.

    >>> parse("2 * x").operands
    (Node(number 2), Node(input x))
    """

    # TODO: a function from a part of Python's tree to a Node, that makes equal nodes once.
    # HINT: print(ast.dump(ast.parse("2 * x", mode="eval").body)) shows what you are given.
    ### BEGIN SOLUTION
    # HINT: keep a dict of the nodes made so far; the key is all that a node is made of.
    # HINT: functools.cache, on a function that makes a node, is such a dict.
    # HINT: take parts apart with `case ast.BinOp(left=u, op=symbol, right=v):`. True is an int too.
    @functools.cache
    def node(op: str, *operands: Node, name: str = "", number: float = 0.0) -> Node:
        return Node(op, operands, name=name, number=number)

    def convert(part: ast.expr) -> Node:
        match part:
            case ast.Name(id=name):
                return node("input", name=name)
            case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
                return node("number", number=number)
            case ast.UnaryOp(op=ast.USub(), operand=u):
                return node("neg", convert(u))
            case ast.UnaryOp(op=ast.UAdd(), operand=u):
                return convert(u)
            case ast.BinOp(left=u, op=symbol, right=v) if type(symbol) in _SYMBOLS:
                return node(_SYMBOLS[type(symbol)], convert(u), convert(v))
            case ast.Call(func=ast.Name(id=name), args=[u], keywords=[]) if name in FUNCTIONS:
                return node(name, convert(u))
        raise ValueError(f"a formula cannot hold {ast.unparse(part)!r}: {expression}")

    return convert(ast.parse(expression.strip(), mode="eval").body)
    ### END SOLUTION


def topological_order(graph: Node) -> list[Node]:
    """Every node of the graph once, each after all of its operands; so ``graph`` comes last.

    Among the orders that are possible any will do. Takes a time proportional to the edges, for a
    graph of any depth: no recursion.

    Raises ValueError when there is a cycle, a node that is computed from itself: then there is no
    such order. A node that is used in two places is no cycle.

    >>> [node.op for node in topological_order(parse("exp(2 * x) + x"))][-3:]
    ['*', 'exp', '+']
    """
    # TODO: walk from the result to the operands; note a node when all of its operands are noted.
    # HINT: a node is met twice: on the way down, and again when its operands are done.
    # HINT: a node is not met yet, begun, or done. What if you meet one that is begun?
    ### BEGIN SOLUTION
    # HINT: a node stays on the list of waiting ones until it is done, its operands on top of it.
    # HINT: what is begun and not done lies on the way to here: an operand among it is a cycle.
    order: list[Node] = []
    begun: set[Node] = set()
    done: set[Node] = set()
    waiting = [graph]
    while waiting:
        node = waiting[-1]
        if node in begun or node in done:
            waiting.pop()
            if node in begun:
                begun.remove(node)
                done.add(node)
                order.append(node)
            continue
        begun.add(node)
        for operand in node.operands:
            if operand in begun:
                raise ValueError(f"the graph has a cycle through {operand}")
        waiting += node.operands
    return order
    ### END SOLUTION


def evaluate(graph: Node, /, **inputs: Any) -> Any:
    """The value of the graph where its inputs have these values: evaluate(parse("x / y"), x=1, y=2)

    Values are numbers or arrays, also of whole numbers, and are taken as float64; arrays broadcast
    as in numpy. Each operation is looked up in OPERATIONS and computed once, however often its
    result is used. Any depth. Nothing is kept between calls: a graph that was changed gives its new
    value.

    Raises ValueError when inputs of the graph are not given, or some are given that it does not
    have; the message names them. A graph with a cycle is a ValueError too.

    >>> print(evaluate(parse("(x + y) * (x + y) + 1"), x=2, y=3))
    26.0
    """
    # TODO: compare the names; then a value for each node, in topological order.
    # HINT: a dict from node to value; the operands' values are there when they are needed.
    ### BEGIN SOLUTION
    # HINT: sets of names can be subtracted: names - inputs.keys() are missing.
    # HINT: OPERATIONS[node.op].compute(*(values[operand] for operand in node.operands))
    order = topological_order(graph)
    names = {node.name for node in order if node.op == "input"}
    for what, wrong in [("missing", names - inputs.keys()), ("unknown", inputs.keys() - names)]:
        if wrong:
            raise ValueError(f"{what} inputs: {', '.join(sorted(wrong))}")
    values: dict[Node, Any] = {}
    for node in order:
        if node.op == "input":
            values[node] = np.asarray(inputs[node.name], dtype=float)
        elif node.op == "number":
            values[node] = np.float64(node.number)
        else:
            operands = (values[operand] for operand in node.operands)
            values[node] = OPERATIONS[node.op].compute(*operands)
    return values[graph]
    ### END SOLUTION


def to_dot(graph: Node) -> str:
    """The graph in the DOT language, for graphviz to draw.

    The nodes are v0, v1, ... in the order that ``topological_order`` gives. Inputs are ellipses
    with their name, numbers are plain, in format "g", and operations are boxes with their op. An
    edge runs from each operand to the node that uses it, and shows its position, from 0; x * x has
    two. This is to_dot(parse("2 * x")), its last line ended too:

        digraph {
          rankdir=LR;
          v0 [label="x", shape=ellipse];
          v1 [label="2", shape=plain];
          v2 [label="*", shape=box];
          v1 -> v2 [label="0"];
          v0 -> v2 [label="1"];
        }

    The order of the lines that start with v is free.
    """
    # TODO: a line for each node and one for each of its operands.
    # HINT: an edge names two nodes. What tells you which v an operand is, in a large graph too?
    ### BEGIN SOLUTION
    # HINT: a dict from node to its name answers "which v is this operand?" at once.
    # HINT: a line is an f-string of the vertex, the label and the shape; enumerate(node.operands)
    #       gives the positions of the edges.
    order = topological_order(graph)
    vertex = {node: f"v{number}" for number, node in enumerate(order)}
    lines = ["digraph {", "  rankdir=LR;"]
    for node in order:
        if node.op == "input":
            label, shape = node.name, "ellipse"
        elif node.op == "number":
            label, shape = f"{node.number:g}", "plain"
        else:
            label, shape = node.op, "box"
        lines.append(f'  {vertex[node]} [label="{label}", shape={shape}];')
        for position, operand in enumerate(node.operands):
            lines.append(f'  {vertex[operand]} -> {vertex[node]} [label="{position}"];')
    return "\n".join([*lines, "}"]) + "\n"
    ### END SOLUTION


def test_node() -> None:
    x = Node("input", name="x")
    assert Node("*", [x, x]).operands == (x, x)
    assert repr([x, Node("number", number=2), Node("sin", [x])]) == (
        "[Node(input x), Node(number 2), Node(sin)]"
    )


def test_parse_shares_what_is_written_twice() -> None:
    left, right = parse("(x + y) * (x + y)").operands
    assert left is right


def test_topological_order() -> None:
    assert [node.op for node in topological_order(parse("exp(2 * x)"))][-2:] == ["*", "exp"]


def test_evaluate() -> None:
    assert evaluate(parse("(x + y) * (x + y) + 1"), x=2, y=3) == 26.0


def test_to_dot() -> None:
    dot = to_dot(parse("sin(x)"))
    assert '  v0 [label="x", shape=ellipse];\n' in dot
    assert '  v0 -> v1 [label="0"];\n' in dot


if __name__ == "__main__":
    from harness import main

    main(__file__)
