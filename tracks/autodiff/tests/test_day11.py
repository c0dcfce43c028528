"""Day 11: gradients that are complete before they are handed on, in graphs of any shape."""

import gc
import itertools
import math
import sys

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import strategies as st

from harness.testing import close, exercise
from tracks.autodiff import day08, day11

DEPTH = 100_000


def numbers(rng, count):
    """Numbers of both signs, none near 0."""
    size = rng.uniform(count, low=0.5, high=2.0)
    return [float(x) for x in np.where(rng.boolean(count), size, -size)]


def kept(node):
    """What no walk over the graph may change."""
    return node.data, node.parents, node.op, node.label, node._backward


class Told:
    """Nodes with integer slopes, made by hand, which note in which order they hand on."""

    def __init__(self):
        self.calls = []

    def node(self, *uses, label=""):
        """A node that is the sum of slope * parent over ``uses``, pairs of both."""

        def backward(grad):
            self.calls.append((label, grad))
            for slope, parent in uses:
                parent.grad += slope * grad

        parents = tuple(parent for _, parent in uses)
        data = sum(slope * parent.data for slope, parent in uses)
        return day11.Value(float(data), parents, "sum", backward, label)


def random_graph(rng, size):
    """(leaves, inner nodes, Told); the last inner node was made from all that nobody used."""
    told = Told()
    leaves = [day11.Value(float(rng.integers(-5, 6)), label=f"leaf {i}") for i in range(3)]
    nodes, unused = list(leaves), set(leaves)
    inner = []
    for i in range(size):
        uses = []
        for _ in range(int(rng.integers(1, 4))):
            uses.append((int(rng.integers(-2, 3)), rng.choice(nodes)))
        inner.append(told.node(*uses, label=f"node {i}"))
        nodes.append(inner[-1])
        unused = (unused - {parent for _, parent in uses}) | {inner[-1]}
    last = sorted(unused, key=nodes.index)
    inner.append(told.node(*((1, node) for node in last), label=f"node {size}"))
    return leaves, inner, told


def derivatives(leaves, inner):
    """d(last) / d(node) of a random graph, forwards from one node at a time."""
    found = {}
    for start in [*leaves, *inner]:
        slope = {node: int(node is start) for node in [*leaves, *inner]}
        for node in inner:
            if node is start:
                continue
            # The node's own backward tells its slopes: grads are put back afterwards.
            parents = set(node.parents)
            before = {p: p.grad for p in parents}
            for p in parents:
                p.grad = 0.0
            node._backward(1.0)
            slope[node] = sum(p.grad * slope[p] for p in parents)
            for p in parents:
                p.grad = before[p]
        found[start] = float(slope[inner[-1]])
    return found


def chain(depth):
    """x and a node depth steps after it, worth x + 0.5 * depth."""
    x, step = day11.Value(1.0), day11.Value(0.5)
    root = x
    for _ in range(depth):
        root = root + step
    return x, step, root


# zero_grad ------------------------------------------------------------------------------------


@exercise("zero_grad")
@pytest.mark.parametrize("kind", [list, tuple, set, iter, dict.fromkeys])
def test_zero_grad_of_any_iterable(kind, rng):
    values = [day11.Value(x, label=f"v{i}") for i, x in enumerate(numbers(rng, 5))]
    for value, grad in zip(values, numbers(rng, 5), strict=True):
        value.grad = grad
    before = [kept(v) for v in values]
    assert day11.zero_grad(kind(values)) is None, (
        "zero_grad changes the values, and returns nothing"
    )
    grads = [v.grad for v in values]
    assert grads == [0.0] * 5, f"the grads of five values in a {kind.__name__} are now {grads}"
    assert all(type(grad) is float for grad in grads), f"the grads are {grads}: floats are wanted"
    assert [kept(v) for v in values] == before, "more than the grads was changed"


@exercise("zero_grad")
def test_zero_grad_of_a_few():
    a, b = day08.Value(1.0), day08.Value(2.0)
    c = day08.Value(3.0, (a, b), "+")
    for value in (a, b, c):
        value.grad = 7.0
    day11.zero_grad([])
    assert [v.grad for v in (a, b, c)] == [7.0] * 3, "zero_grad of no values changed some"
    day11.zero_grad([c])
    got = [v.grad for v in (a, b, c)]
    assert got == [7.0, 7.0, 0.0], f"only c was to be cleared, the grads are {got}"


# topological_order ----------------------------------------------------------------------------


def check_order(order, nodes, root):
    assert isinstance(order, list), f"it is a {type(order).__name__}"
    assert len(order) == len(set(order)), (
        f"{len(order) - len(set(order))} of {len(order)} entries stand there a second time"
    )
    assert set(order) == set(nodes), (
        f"{len(order)} nodes are in the order, the graph has {len(nodes)}"
    )
    place = {node: i for i, node in enumerate(order)}
    early = [
        (node, parent) for node in order for parent in node.parents if place[parent] > place[node]
    ]
    assert not early, (
        f"{len(early)} times a node stands before a parent of its own, e.g. "
        f"{early[0][0].label!r} before {early[0][1].label!r}"
    )
    assert order[-1] is root, "the root comes last"


@exercise("topological_order")
def test_order_of_a_single_value():
    a = day11.Value(1.0)
    assert day11.topological_order(a) == [a], "the order of a number typed in is that number"


@exercise("topological_order")
def test_order_of_a_value_used_twice():
    a = day08.Value(3.0, label="a")
    b = day08.Value(9.0, (a, a), "*", label="b")
    check_order(day11.topological_order(b), [a, b], b)


@exercise("topological_order")
def test_order_of_random_graphs(rng):
    for size in (1, 2, 4, 8, 16, 60):
        for _ in range(8):
            _, inner, _ = random_graph(rng, size)
            found = day08.trace(inner[-1]).nodes
            check_order(day11.topological_order(inner[-1]), found, inner[-1])


@exercise("topological_order")
def test_order_where_ways_differ_in_length():
    # From the root, b is met by a short way first, and by a long one later; and the reverse.
    for flip in (False, True):
        a = day08.Value(1.0, label="a")
        b = day08.Value(1.0, (a,), "f", label="b")
        c = day08.Value(1.0, (b,), "f", label="c")
        d = day08.Value(1.0, (c,), "f", label="d")
        for parents in [(b, d), (a, b, d), (d, c, b, a), (c, d)]:
            parents = parents[::-1] if flip else parents
            root = day08.Value(1.0, parents, "f", label="root")
            check_order(day11.topological_order(root), [a, b, c, d, root], root)


@exercise("topological_order")
def test_order_of_every_small_graph():
    # Node i takes any subset of the nodes before it, in either order; the last takes all.
    subsets = [
        [c for r in range(i + 1) for c in itertools.combinations(range(i), r)] for i in range(4)
    ]
    for chosen in itertools.product(*subsets):
        for flip in (1, -1):
            nodes = []
            for i, picked in enumerate([*chosen, range(4)]):
                parents = tuple(nodes[j] for j in picked)[::flip]
                nodes.append(day08.Value(float(i), parents, "f", label=f"n{i}"))
            check_order(day11.topological_order(nodes[-1]), nodes, nodes[-1])


@exercise("topological_order")
def test_order_tells_equal_numbers_apart():
    parents = [day08.Value(1.0) for _ in range(5)]
    root = day08.Value(1.0, parents, "f")
    check_order(day11.topological_order(root), [*parents, root], root)


@exercise("topological_order")
def test_order_stops_at_the_root():
    a = day08.Value(1.0)
    b = day08.Value(1.0, (a,), "f")
    day08.Value(1.0, (b, a), "f")
    check_order(day11.topological_order(b), [a, b], b)


@exercise("topological_order")
def test_order_of_shared_ladders():
    root = day08.Value(1.0, label="0")
    nodes = [root]
    for i in range(16):  # 65 536 ways lead from the last to the first
        root = day08.Value(1.0, (root, root), "+", label=str(i + 1))
        nodes.append(root)
    read = []

    class Counting(day08.Value):
        __slots__ = ()

        @property
        def parents(self):
            read.append(1)
            return given[self]

    given = {}
    ladder = [Counting.__new__(Counting)]
    given[ladder[0]] = ()
    for _ in range(16):
        ladder.append(Counting.__new__(Counting))
        given[ladder[-1]] = (ladder[-2], ladder[-2])
    assert len(day11.topological_order(ladder[-1])) == 17, "a ladder of 17 nodes has an order of 17"
    assert len(read) <= 10 * 17, (
        f"the parents of 17 nodes were read {len(read)} times: is a node visited once for every "
        "way that leads to it?"
    )
    check_order(day11.topological_order(root), nodes, root)


@exercise("topological_order")
def test_order_of_a_deep_chain():
    limit = sys.getrecursionlimit()
    step = day08.Value(1.0)
    for first in (False, True):  # the long way is the first or the second operand
        root = day08.Value(0.0)
        for _ in range(DEPTH):
            root = day08.Value(0.0, (root, step) if first else (step, root), "+")
        order = day11.topological_order(root)
        place = {node: i for i, node in enumerate(order)}
        assert len(order) == len(place) == DEPTH + 2, (
            f"{len(order)} nodes, {len(place)} different ones, are listed, of {DEPTH + 2}"
        )
        assert all(place[p] < place[node] for node in order for p in node.parents), (
            "a node stands before a parent of its own"
        )
        del order, place
    assert sys.getrecursionlimit() == limit, "the recursion limit was raised: walk with a list"


@exercise("topological_order")
def test_order_of_a_wide_graph():
    leaves = [day08.Value(1.0) for _ in range(30_000)]
    middle = [day08.Value(1.0, (leaf, leaves[0]), "f") for leaf in leaves]
    root = day08.Value(1.0, middle, "f")
    order = day11.topological_order(root)
    assert len(order) == 60_001 and order[-1] is root, (
        f"{len(order)} nodes are listed, of 60001, or the root is not the last"
    )
    place = {node: i for i, node in enumerate(order)}
    assert all(place[p] < place[node] for node in order for p in node.parents), (
        "a node stands before a parent of its own"
    )


@exercise("topological_order")
def test_order_changes_nothing(rng):
    leaves, inner, told = random_graph(rng, 20)
    for node in [*leaves, *inner]:
        node.grad = 3.0
    before = [kept(node) for node in [*leaves, *inner]]
    day11.topological_order(inner[-1])
    assert [kept(node) for node in [*leaves, *inner]] == before, "the graph was changed"
    assert all(node.grad == 3.0 for node in [*leaves, *inner]), "grads were changed"
    assert not told.calls, "a node's _backward was called"


# Value.backward -------------------------------------------------------------------------------


@exercise("Value")
def test_backward_of_random_graphs(rng):
    for size in (1, 2, 4, 8, 16):
        for _ in range(6):
            leaves, inner, told = random_graph(rng, size)
            wanted = derivatives(leaves, inner)
            told.calls.clear()
            assert inner[-1].backward() is None, "backward fills grads, and returns nothing"
            reached = set(day08.trace(inner[-1]).nodes)
            for node in reached:
                assert node.grad == wanted[node], (
                    f"d(root)/d({node.label}) is {wanted[node]:g}, backward left {node.grad:g} in "
                    f"a graph of {len(reached)} nodes"
                )
            called = [label for label, _ in told.calls]
            assert len(called) == len(set(called)), "a node's _backward was called twice"
            assert set(called) == {node.label for node in inner if node in reached}, (
                f"of the nodes with a _backward only {sorted(called)} handed on"
            )
            for label, grad in told.calls:
                node = next(node for node in inner if node.label == label)
                assert grad == wanted[node], (
                    f"{label} handed on {grad:g} before all its gradient, {wanted[node]:g}, was in"
                )


@exercise("Value")
def test_backward_of_a_single_value():
    a = day11.Value(3.0)
    a.backward()
    assert a.grad == 1.0, f"d(a)/d(a) is 1, the grad is {a.grad}"
    a.backward()
    assert a.grad == 2.0, f"a is a leaf and adds up: two calls leave 2, not {a.grad}"


@exercise("Value")
def test_backward_waits_for_both_users(rng):
    (x,) = numbers(rng, 1)
    for order in itertools.permutations(range(3)):
        a = day11.Value(x)
        b = a * a
        users = [b * 2, a * b, b + 1]
        root = users[order[0]] * users[order[1]] + users[order[2]]
        root.backward()
        t = torch.tensor(x, dtype=torch.float64, requires_grad=True)
        theirs = [2 * t * t, t * t * t, t * t + 1]
        (theirs[order[0]] * theirs[order[1]] + theirs[order[2]]).backward()
        close(
            a.grad, float(t.grad), scale=64.0, terms=8, name="the gradient of a value used by many"
        )


@exercise("Value")
def test_backward_twice_adds_at_leaves_only(rng):
    x, y = numbers(rng, 2)
    a, b = day11.Value(x), day11.Value(y)
    c = a * b
    d = c + a
    e = d * c
    e.backward()
    once = {node: node.grad for node in (a, b, c, d, e)}
    close(once[c], d.data + c.data, scale=8.0, name="the gradient of c")
    for call in (2, 3):
        e.backward()
        for name, node in [("c", c), ("d", d), ("e", e)]:
            close(
                node.grad,
                once[node],
                scale=8.0,
                name=f"the gradient of {name}, an inner node, after call {call}",
            )
        for name, node in [("a", a), ("b", b)]:
            close(
                node.grad,
                call * once[node],
                scale=64.0,
                name=f"the gradient of {name}, a leaf, after {call} calls",
            )


@exercise("Value")
def test_backward_from_two_roots(rng):
    x, y = numbers(rng, 2)
    a, b = day11.Value(x), day11.Value(y)
    shared = a * b
    first, second = shared * a, shared + b
    first.backward()
    close(b.grad, x * x, scale=4.0, name="the gradient of b, of the first root alone,")
    second.backward()
    close(shared.grad, 1.0, name="the gradient of the shared node, for the second root,")
    close(a.grad, 2 * x * y + y, scale=16.0, name="the gradient of a, of both roots together,")
    close(b.grad, x * x + x + 1.0, scale=16.0, name="the gradient of b, of both roots together,")
    assert first.grad == 1.0, "the second root's pass went into what only the first was made of"


@exercise("Value")
def test_backward_forgets_what_inner_nodes_held(rng):
    x, y = numbers(rng, 2)
    a, b = day11.Value(x), day11.Value(y)
    c = a * b
    d = c * c
    a.grad, b.grad, c.grad, d.grad = 10.0, 20.0, 30.0, 40.0
    d.backward()
    assert d.grad == 1.0, f"the root's grad is {d.grad}: it held 40 before the pass"
    close(c.grad, 2 * c.data, name="the gradient of an inner node that held 30 before the pass")
    close(a.grad, 10.0 + 2 * x * y * y, scale=32.0, name="the gradient of a leaf that held 10")
    close(b.grad, 20.0 + 2 * x * y * x, scale=32.0, name="the gradient of a leaf that held 20")


@exercise("Value")
def test_backward_after_zero_grad(rng):
    x, y = numbers(rng, 2)
    a, b = day11.Value(x), day11.Value(y)
    c = a * b + a
    c.backward()
    day11.zero_grad([a, b])
    c.backward()
    close(a.grad, y + 1.0, scale=4.0, name="the gradient of a, cleared between two calls,")
    close(b.grad, x, name="the gradient of b, cleared between two calls,")


@exercise("Value")
def test_backward_skips_nodes_without_a_backward():
    a = day11.Value(2.0)
    cut = day11.Value(4.0, (a,), "detached")
    b = cut * cut + a
    b.backward()
    assert (a.grad, cut.grad) == (1.0, 8.0), f"the grads are {a.grad} and {cut.grad}, not 1 and 8"
    c = day11.Value(3.0, (a,), "detached")
    c.backward()
    c.backward()
    assert c.grad == 1.0, "a node that has parents is no leaf, with or without a backward"


@exercise("Value")
def test_backward_calls_each_backward_once():
    # A probe: a leaf, with a backward that notes what arrives.
    calls = []
    probe = day11.Value(3.0, (), "probe", calls.append)
    root = -probe
    root.backward()
    assert calls == [-1.0], f"the backward of a leaf was called with {calls}, not once with -1"
    (probe * probe + root).backward()
    assert calls == [-1.0, -1.0 + 5.0], f"after a second pass it was called with {calls}"


@exercise("Value")
def test_backward_hands_on_a_gradient_of_zero():
    """0 · inf is nan: where the chain rule has no answer, 0 is a wrong one."""
    a = day11.Value(0.0)
    (a.sqrt() * 0.0).backward()
    assert math.isnan(a.grad), (
        "sqrt(a) * 0 at a = 0: the root gets the gradient 0.0 and has an infinite slope, and "
        f"0 · inf is nan; a.grad is {a.grad}"
    )


@exercise("Value")
def test_backward_leaves_the_graph(rng):
    leaves, inner, _ = random_graph(rng, 12)
    nodes = [*leaves, *inner]
    before = [kept(node) for node in nodes]
    inner[-1].backward()
    assert [kept(node) for node in nodes] == before, "more than the grads was changed"


@exercise("Value")
def test_backward_leaves_strangers_alone(rng):
    x, y = numbers(rng, 2)
    a, b = day11.Value(x), day11.Value(y)
    c = a * b
    later = c * 5 + b  # uses c, but c was not made from it
    later.grad = 9.0
    c.backward()
    close(np.array([a.grad, b.grad]), np.array([y, x]), name="the gradients")
    assert later.grad == 9.0, "a node that the root was not made from was changed"


@exercise("Value")
@pytest.mark.parametrize("side", ["left", "right"])
def test_backward_of_a_deep_chain(side):
    limit = sys.getrecursionlimit()
    x, step = day11.Value(1.0), day11.Value(0.5)
    root = x
    for _ in range(DEPTH):
        root = root + step if side == "left" else step + root
    root.backward()
    assert (root.data, x.grad, step.grad) == (1.0 + DEPTH / 2, 1.0, float(DEPTH)), (
        f"the gradients are {x.grad} and {step.grad}, not 1 and {DEPTH}"
    )
    assert sys.getrecursionlimit() == limit, "the recursion limit was raised: walk with a list"


@exercise("Value")
def test_backward_of_a_ladder():
    x = day11.Value(3.0)
    root = x
    for _ in range(60):  # 2 ** 60 ways lead from the root to x
        root = root + root
    root.backward()
    assert x.grad == 2.0**60, f"the gradient is {x.grad}, not 2 ** 60"


@exercise("Value")
def test_backward_keeps_nothing_alive():
    leaf = day11.Value(2.0)
    before = sys.getrefcount(leaf)
    gc.disable()  # reference counting alone has to do it
    try:
        root = (leaf * leaf + leaf).exp()
        root.backward()
        del root
        left = sys.getrefcount(leaf) - before
    finally:
        gc.enable()
    assert left == 0, f"{left} references to a leaf are left after its graph is gone"


@exercise("Value")
def test_results_are_values_of_today():
    a = day11.Value(2.0)
    for made in (a + 1, 1 - a, -a, a / 2, a**2, 2**a, a.exp(), a.log(), a.sqrt(), abs(a)):
        assert type(made) is day11.Value and not hasattr(made, "__dict__"), f"made {made!r}"
        day11.zero_grad([a])
        made.backward()
        assert a.grad != 0.0, f"no gradient came through {made.op!r}"


STEPS = {
    "+": lambda x, y: x + y,
    "-": lambda x, y: x - y,
    "*": lambda x, y: x * y,
    "/": lambda x, y: x / y,
    "neg": lambda x, y: -x,
    "exp": lambda x, y: x.exp(),
    "log": lambda x, y: x.log(),
    "sqrt": lambda x, y: x.sqrt(),
    "abs": lambda x, y: abs(x),
    "**": lambda x, y: x**y,
    "**2": lambda x, y: x**2,
    "2**": lambda x, y: 2**x,
    "3-": lambda x, y: 3 - x,
    "2/": lambda x, y: 2 / x,
}
programs = st.lists(
    st.tuples(st.sampled_from(list(STEPS)), st.integers(0, 99), st.integers(0, 99)),
    min_size=2,
    max_size=16,
)


def run(program, inputs):
    """Each step uses any of what is there before it; a step that leads too far is left out."""
    made = list(inputs)
    for op, i, j in program:
        x, y = made[i % len(made)], made[j % len(made)]
        u, v = (float(getattr(z, "data", z)) for z in (x, y))
        far = abs(u) > 30 or abs(v) > 30
        near = (op in ("log", "sqrt", "**", "2/") and u < 0.1) or (op == "/" and abs(v) < 0.1)
        steep = (op in ("exp", "2**") and abs(u) > 3) or (op == "**" and abs(v) > 3)
        if not (far or near or steep or (op == "abs" and abs(u) < 0.01)):
            made.append(STEPS[op](x, y))
    return made


@exercise("Value")
def test_random_programs_agree_with_torch(rng):
    inputs = [float(x) for x in rng.uniform(3, low=0.5, high=2.0)]

    @hypothesis.seed(rng.seed)
    @hypothesis.settings(
        max_examples=100,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=[hypothesis.Phase.generate, hypothesis.Phase.shrink],
    )
    @hypothesis.given(programs)
    def check(program):
        leaves = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in inputs]
        tensors = run(program, leaves)
        values = run(program, [day11.Value(x) for x in inputs])
        largest = max(abs(v.data) for v in values)
        for made in tensors:
            made.retain_grad()
        # The last is the root: much of what was computed may be no part of it. Twice, so that
        # leaves hold twice the gradient, and inner nodes that of the last call.
        root, value = tensors[-1], values[-1]
        root.backward(retain_graph=True)
        once = [0.0 if t.grad is None else float(t.grad) for t in tensors]
        value.backward()
        scale = largest * max(1.0, *map(abs, once))
        got = np.array([v.grad for v in values])
        close(got, np.array(once), scale=scale, terms=1000, name=f"the gradients of {program}")
        value.backward()
        twice = [2 * g if v in values[:3] else g for v, g in zip(values, once, strict=True)]
        got = np.array([v.grad for v in values])
        close(
            got,
            np.array(twice),
            scale=scale,
            terms=1000,
            name=f"the gradients of {program} after two calls",
        )

    check()


# accumulate -----------------------------------------------------------------------------------


def quadratic(w, b):
    """The loss of a line through samples (x, y)."""
    return lambda sample: (w * sample[0] + b - sample[1]) ** 2


@exercise("accumulate")
@pytest.mark.parametrize("count", [1, 2, 7, 64])
def test_accumulate_is_the_gradient_of_the_mean(count, rng):
    w, b = (day11.Value(x) for x in numbers(rng, 2))
    xs, ys = rng.normal(count), rng.normal(count)
    samples = [(float(x), float(y)) for x, y in zip(xs, ys, strict=True)]
    mean = day11.accumulate(quadratic(w, b), [w, b], samples)
    tw, tb = (torch.tensor(v.data, dtype=torch.float64, requires_grad=True) for v in (w, b))
    loss = ((tw * torch.tensor(xs) + tb - torch.tensor(ys)) ** 2).mean()
    loss.backward()
    assert type(mean) is float, f"the mean is {mean!r}: a float is wanted"
    close(mean, loss.item(), scale=4.0, terms=count, name="the mean loss")
    for name, value, tensor in [("w", w, tw), ("b", b, tb)]:
        close(
            value.grad, float(tensor.grad), scale=8.0, terms=count,
            name=f"the gradient of {name} for {count} samples",
        )  # fmt: skip


@exercise("accumulate")
def test_accumulate_clears_what_was_there(rng):
    w, b = (day11.Value(x) for x in numbers(rng, 2))
    loss, samples = quadratic(w, b), [(1.0, 2.0), (-2.0, 0.5)]
    w.grad, b.grad = 100.0, -100.0
    first = day11.accumulate(loss, [w, b], samples)
    once = w.grad, b.grad
    assert max(map(abs, once)) < 90.0, "what was in the grads before is still there"
    assert day11.accumulate(loss, (v for v in (w, b)), samples) == first, (
        "the same samples, with the parameters in a generator, gave another mean"
    )
    assert (w.grad, b.grad) == once, "a second call with the same samples left other gradients"


@exercise("accumulate")
def test_accumulate_clears_parameters_that_are_not_used():
    w, unused = day11.Value(2.0), day11.Value(3.0)
    unused.grad = 5.0
    day11.accumulate(lambda x: w * x, [w, unused], [1.0, 2.0])
    assert (w.grad, unused.grad) == (1.5, 0.0), f"the grads are {w.grad} and {unused.grad}"


@exercise("accumulate")
def test_accumulate_calls_loss_once_a_sample_in_order():
    w = day11.Value(1.0)
    seen = []

    def loss(sample):
        seen.append(sample)
        return w * len(sample)

    day11.accumulate(loss, [w], ("a", "bc", "def"))
    assert seen == ["a", "bc", "def"], f"loss was called with {seen}"
    assert w.grad == 2.0, f"the mean of w, 2w and 3w has the slope 2, not {w.grad}"
    day11.accumulate(lambda x: w * float(x), [w], np.array([1.0, 4.0]))
    assert w.grad == 2.5, f"samples in an array: the gradient is {w.grad}, not 2.5"


@exercise("accumulate")
def test_accumulate_takes_any_loss(rng):
    w = day11.Value(float(rng.uniform(low=0.5, high=2.0)))
    t = torch.tensor(w.data, dtype=torch.float64, requires_grad=True)
    shared, square = w * w, t * t  # a part of the graph that all samples share
    for mine, theirs in [
        (lambda x: shared * x, lambda x: square * x),
        (lambda x: w, lambda x: t),
        (lambda x: (w * x).exp() + shared, lambda x: (t * x).exp() + square),
    ]:
        mean = day11.accumulate(mine, [w], [0.5, -1.0, 2.0])
        wanted = sum(theirs(x) for x in (0.5, -1.0, 2.0)) / 3
        close(mean, wanted.item(), scale=64.0, name="the mean loss")
        (slope,) = torch.autograd.grad(wanted, t, retain_graph=True)
        close(w.grad, float(slope), scale=256.0, name="the gradient of w")


@exercise("accumulate")
def test_accumulate_refuses_no_samples():
    for samples in ([], (), np.array([])):
        with pytest.raises(ValueError):
            made = day11.accumulate(lambda x: day11.Value(1.0), [], samples)
            pytest.fail(f"the mean over {samples!r} is {made!r}")


@exercise("accumulate")
def test_accumulate_lets_graphs_go():
    # Every graph refers to w. So the references to w tell how many graphs there are.
    w = day11.Value(0.5)
    counts = []

    def loss(sample):
        counts.append(sys.getrefcount(w))
        total = w * sample
        for _ in range(10):
            total = total + w
        return total

    gc.disable()  # reference counting alone has to do it
    try:
        day11.accumulate(loss, [w], [1.0] * 30)
    finally:
        gc.enable()
    graph = counts[1] - counts[0]
    assert len(counts) == 30, f"loss was called {len(counts)} times for 30 samples"
    assert max(counts) - counts[0] <= max(graph, 24), (
        f"before sample 1 there are {counts[0]} references to the parameter, before sample 30 "
        f"there are {counts[-1]}: the graphs of earlier samples are still alive"
    )
