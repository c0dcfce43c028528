"""Day 13: a network of Values is PyTorch's, values and gradients, and a sum is one node."""

import gc
import math
import re
import sys

import numpy as np
import pytest
import torch

from harness.testing import close, exercise, shapes
from tracks.autodiff import day13
from tracks.autodiff.day08 import count_nodes
from tracks.autodiff.day12 import Value, leaky_relu, relu, softplus, tanh

ACTIVATIONS = {"none": None, "relu": relu, "tanh": tanh, "softplus": softplus}
TORCH = {
    "none": torch.nn.Identity(),
    "relu": torch.nn.ReLU(),
    "tanh": torch.nn.Tanh(),
    "softplus": torch.nn.Softplus(threshold=700),
}


def generator(seed=0):
    return np.random.default_rng(seed)


def values(numbers):
    return [Value(n) for n in np.asarray(numbers).tolist()]


def data(several):
    return np.array([v.data for v in several], dtype=float)


def grads(several):
    return np.array([v.grad for v in several], dtype=float)


def randomise(parameters, rng):
    """Parameters with numbers of their own, biases too."""
    for p, number in zip(parameters, rng.normal(len(parameters)).tolist(), strict=True):
        p.data = number


def linear(weights, biases):
    """torch's layer with the numbers of neurons."""
    layer = torch.nn.Linear(len(weights[0]), len(weights), dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([data(w).tolist() for w in weights], dtype=torch.float64))
        layer.bias.copy_(torch.tensor(data(biases).tolist(), dtype=torch.float64))
    return layer


def of_layer(layer):
    return linear([n.weights for n in layer.neurons], [n.bias for n in layer.neurons])


def torch_grads(layer):
    """As parameters() lists them: each row of weights, then its bias."""
    return torch.cat([layer.weight.grad, layer.bias.grad[:, None]], 1).numpy().ravel()


# weighted_sum ---------------------------------------------------------------------------------


@exercise("weighted_sum")
@shapes("size", 1, 2, 3, 17, 100)
def test_weighted_sum_of_values(size, rng):
    w0, x0, b0 = rng.normal(size), rng.normal(size), float(rng.normal())
    w, x, b = values(w0), values(x0), Value(b0)
    y = day13.weighted_sum(w, x, b)
    assert isinstance(y, Value), f"the sum is a {type(y).__name__}, not a Value"
    close(y.data, float(w0 @ x0 + b0), scale=1.0, terms=size + 1, name="the sum")
    g = float(rng.normal())
    y._backward(g)
    close(grads(w), g * x0, name="the gradients of the weights")
    close(grads(x), g * w0, name="the gradients of the inputs")
    close(b.grad, g, name="the gradient of the bias")


@exercise("weighted_sum")
@pytest.mark.parametrize("kind", ["list", "tuple", "array", "float32", "integers", "fractions"])
def test_weighted_sum_of_numbers(kind, rng):
    from fractions import Fraction

    x0 = rng.integers(-9, 10, 4) / 4.0
    inputs = {
        "list": x0.tolist(),
        "tuple": tuple(x0.tolist()),
        "array": x0,
        "float32": x0.astype(np.float32),
        "integers": (4 * x0).astype(np.int64),
        "fractions": [Fraction(v) for v in x0.tolist()],
    }[kind]
    x0 = np.array([float(v) for v in inputs])
    w0 = rng.normal(4)
    w, b = values(w0), Value(0.5)
    y = day13.weighted_sum(w, inputs, b)
    close(y.data, float(w0 @ x0 + 0.5), scale=4.0, terms=5, name=f"the sum of {kind}")
    assert type(y.data) is float, f"data is a {type(y.data).__name__}, not a float"
    y._backward(2.0)
    close(grads(w), 2.0 * x0, name="the gradients of the weights")
    for v in (*w, b):
        assert type(v.grad) is float, f"a grad became a {type(v.grad).__name__}, not a float"
    assert y.parents == (*w, b), "numbers are no parents"


@exercise("weighted_sum")
def test_weighted_sum_of_numbers_and_values(rng):
    w, b, x = values(rng.normal(4)), Value(0.5), values(rng.normal(2))
    numbers = [w0.data for w0 in w]
    y = day13.weighted_sum(w, [x[0], 3.0, 4.0, x[1]], b)
    want = numbers[0] * x[0].data + 3 * numbers[1] + 4 * numbers[2] + numbers[3] * x[1].data + 0.5
    close(y.data, want, scale=4.0, terms=5)
    assert y.parents == (*w, *x, b), (
        "the parents should be the weights, the inputs that are Values, and the bias, in order"
    )
    y._backward(1.0)
    close(grads(x), np.array([numbers[0], numbers[3]]), name="the gradients of the inputs")
    close(grads(w), np.array([x[0].data, 3.0, 4.0, x[1].data]), name="those of the weights")


@exercise("weighted_sum")
def test_weighted_sum_is_one_node(rng):
    w, b, x = values(rng.normal(5)), Value(0.1), values(rng.normal(5))
    y = day13.weighted_sum(w, x, b)
    assert count_nodes(y) == 12, (
        f"{count_nodes(y)} nodes; there are 11 leaves, and the sum should be one node"
    )
    assert (y.op, y.grad) == ("weighted sum", 0.0), f"op and grad are {y.op!r} and {y.grad}"
    assert not np.any(grads([*w, *x, b])), "the call alone changes a gradient"


@exercise("weighted_sum")
def test_weighted_sum_adds_to_what_is_there(rng):
    w, b, x = values([1.0, 2.0]), Value(0.0), values([3.0, 4.0])
    for v in (*w, *x, b):
        v.grad = 10.0
    y = day13.weighted_sum(w, x, b)
    y._backward(1.0)
    y._backward(1.0)
    close(grads([*w, *x, b]), np.array([16.0, 18.0, 12.0, 14.0, 12.0]), name="the gradients")


@exercise("weighted_sum")
def test_weighted_sum_with_an_input_of_zero():
    w = Value(2.0)
    day13.weighted_sum([w], [0.0], Value(0.0))._backward(math.inf)
    assert math.isnan(w.grad), (
        f"an input of 0 for a gradient of inf: the weight's share is 0 · inf = nan, not {w.grad}"
    )


@exercise("weighted_sum")
def test_weighted_sum_of_one_value_at_several_places(rng):
    a0 = float(rng.normal())
    a = Value(a0)
    y = day13.weighted_sum([a, a], [a, 3.0], a)  # a² + 3a + a
    y.backward()
    close(y.data, a0 * a0 + 4 * a0, scale=4.0)
    close(a.grad, 2 * a0 + 4, scale=4.0, name="the gradient of the one value")


@exercise("weighted_sum")
def test_weighted_sum_is_not_changed_later(rng):
    w, b, x = values([1.0, 2.0]), Value(0.5), values([3.0, 4.0])
    lists = [list(w), list(x)]
    y = day13.weighted_sum(*lists, b)
    lists[0].reverse()
    lists[1][0] = Value(77.0)
    for v in (*w, *x):
        v.data += 10.0
    y._backward(1.0)
    close(grads([*w, *x]), np.array([3.0, 4.0, 1.0, 2.0]), name="the gradients of the old numbers")


@exercise("weighted_sum")
def test_weighted_sum_of_nothing():
    b = Value(0.5)
    y = day13.weighted_sum([], [], b)
    y._backward(2.0)
    assert (y.data, y.parents, b.grad) == (0.5, (b,), 2.0), (
        f"without weights the sum is the bias, 0.5, its one parent: {y!r} of {y.parents}, which "
        f"got {b.grad} of 2.0"
    )
    assert y is not b, "the sum is a new node, also where it is the bias alone"


@exercise("weighted_sum")
def test_weighted_sum_refuses_other_lengths():
    for weights, inputs in [(2, 3), (3, 2), (1, 0), (0, 1)]:
        with pytest.raises(ValueError) as caught:
            day13.weighted_sum(values(np.ones(weights)), [1.0] * inputs, Value(0.0))
            pytest.fail(f"{weights} weights took {inputs} inputs")
        said = set(re.findall(r"\d+", str(caught.value)))
        assert {str(weights), str(inputs)} <= said, (
            f"{weights} weights and {inputs} inputs; the message does not say both numbers: "
            f"{caught.value}"
        )


@exercise("weighted_sum")
def test_weighted_sum_is_of_the_class_of_the_bias():
    class Later(Value):
        __slots__ = ()

    assert type(day13.weighted_sum([Later(1.0)], [2.0], Later(0.0))) is Later, (
        "the sum has another class than the bias"
    )


@exercise("weighted_sum")
def test_weighted_sum_is_freed_at_once():
    w, b, x = Value(1.0), Value(0.5), Value(2.0)
    before = sys.getrefcount(w)
    gc.disable()  # reference counting alone has to do it
    try:
        day13.weighted_sum([w], [x], b)
        left = sys.getrefcount(w) - before
    finally:
        gc.enable()
    assert left == 0, "the sum is still there after its last use: its backward holds on to it"


# Neuron ---------------------------------------------------------------------------------------


@exercise("Neuron")
@pytest.mark.parametrize("name", ACTIVATIONS)
@shapes("inputs", 1, 2, 7)
def test_neuron_is_torchs(inputs, name, rng):
    neuron = day13.Neuron(inputs, generator(rng.seed), ACTIVATIONS[name])
    for p in neuron.parameters():
        p.data = float(rng.normal())
    theirs = linear([neuron.weights], [neuron.bias])
    x0 = rng.normal(inputs)
    x, t = values(x0), torch.tensor(x0, requires_grad=True)
    y = neuron(x)
    assert isinstance(y, Value), f"a neuron gave a {type(y).__name__}, not a Value"
    want = TORCH[name](theirs(t)).sum()
    close(y.data, want.item(), scale=1.0, terms=inputs + 1, name=f"a neuron with {name}")
    y.backward()
    want.backward()
    close(
        grads(neuron.parameters()), torch_grads(theirs), scale=1.0, terms=4,
        name="the gradients of weights and bias",
    )  # fmt: skip
    close(grads(x), t.grad.numpy(), scale=1.0, terms=4, name="the gradients of the inputs")


@exercise("Neuron")
def test_neuron_starts_as_asked(rng):
    for inputs in (1, 3, 24):
        neuron = day13.Neuron(inputs, generator(rng.seed))
        r = math.sqrt(6 / inputs)
        want = generator(rng.seed).uniform(-r, r, inputs)
        close(data(neuron.weights), want, scale=r, name=f"{inputs} weights drawn from rng")
        assert (neuron.bias.data, neuron.activation) == (0.0, None), (
            f"bias and activation start as {neuron.bias.data} and {neuron.activation}"
        )
        for p in neuron.parameters():
            assert type(p) is Value and p.parents == (), f"a parameter is {p!r}, not a fresh Value"


@exercise("Neuron")
def test_neuron_draws_no_more_than_its_weights(rng):
    drawn, alone = generator(rng.seed), generator(rng.seed)
    day13.Neuron(5, drawn, relu)
    alone.uniform(size=5)
    assert drawn.random() == alone.random(), "rng was asked for more, or less, than the 5 weights"


@exercise("Neuron")
def test_neuron_keeps_its_activation():
    neuron = day13.Neuron(2, generator(), tanh)
    assert neuron.activation is tanh, (
        f"the activation is {neuron.activation}, not the one that was asked for"
    )
    seen = []

    def spy(z):
        seen.append(z.data)
        return z

    neuron = day13.Neuron(2, generator(), spy)
    neuron.weights[0].data, neuron.weights[1].data, neuron.bias.data = 2.0, 3.0, 0.5
    neuron([1.0, -1.0])
    assert seen == [-0.5], f"the activation was given {seen}, not the sum with its bias, once"


@exercise("Neuron")
def test_neuron_makes_two_nodes(rng):
    neuron = day13.Neuron(9, generator(), relu)
    y = neuron(rng.normal(9))
    found = count_nodes(y)
    assert found == 9 + 1 + 2, (
        f"{found} nodes; there are 10 parameters, and should be one node for the sum and one for "
        "the activation"
    )


@exercise("Neuron")
def test_neuron_uses_the_parameters_of_now():
    neuron = day13.Neuron(1, generator())
    for w, b in [(2.0, 1.0), (-3.0, 0.25)]:
        neuron.weights[0].data, neuron.bias.data = w, b
        close(neuron([5.0]).data, 5.0 * w + b, name="after a step of training")


@exercise("Neuron")
def test_neuron_lists_its_parameters():
    neuron = day13.Neuron(3, generator())
    assert neuron.parameters() == [*neuron.weights, neuron.bias], "the weights, then the bias"
    neuron.parameters().clear()
    neuron.parameters().append(Value(0.0))
    assert len(neuron.parameters()) == 4 and len(neuron.weights) == 3, (
        "a list that the caller changes is the neuron's own"
    )


@exercise("Neuron")
def test_neuron_refuses():
    for inputs in (0, -1):
        with pytest.raises(ValueError):
            day13.Neuron(inputs, generator())
            pytest.fail(f"there is a neuron with {inputs} inputs")
    with pytest.raises(ValueError):
        y = day13.Neuron(2, generator())([1.0, 2.0, 3.0])
        pytest.fail(f"a neuron of two inputs was given three, and answered {y!r}")


# Layer ----------------------------------------------------------------------------------------


@exercise("Layer")
@shapes("inputs, outputs", (1, 1), (3, 2), (2, 5), (4, 1))
def test_layer_is_torchs(inputs, outputs, rng):
    layer = day13.Layer(inputs, outputs, generator(rng.seed), tanh)
    randomise(layer.parameters(), rng)
    theirs = of_layer(layer)
    x0, u = rng.normal(inputs), rng.normal(outputs)
    x, t = values(x0), torch.tensor(x0, requires_grad=True)
    y = layer(x)
    assert isinstance(y, list) and len(y) == outputs, f"{outputs} neurons gave {y!r}"
    want = torch.tanh(theirs(t))
    close(data(y), want.detach().numpy(), scale=1.0, terms=inputs + 1, name="the outputs")
    sum(a * float(b) for a, b in zip(y, u, strict=True)).backward()
    want.backward(torch.tensor(u))
    close(
        grads(layer.parameters()), torch_grads(theirs), scale=1.0, terms=inputs + 1,
        name="the gradients of the parameters",
    )  # fmt: skip
    close(grads(x), t.grad.numpy(), scale=4.0, terms=outputs, name="the gradients of the inputs")


@exercise("Layer")
def test_layer_has_neurons_of_its_own(rng):
    layer = day13.Layer(4, 3, generator(rng.seed), relu)
    alone = generator(rng.seed)
    for number, neuron in enumerate(layer.neurons):
        assert isinstance(neuron, day13.Neuron), f"neuron {number} is a {type(neuron).__name__}"
        want = day13.Neuron(4, alone)
        close(data(neuron.weights), data(want.weights), name=f"the weights of neuron {number}")
        assert neuron.activation is relu, f"neuron {number} has lost its activation"
    assert len({id(p) for p in layer.parameters()}) == 15, "two neurons share a parameter"
    assert day13.Layer(1, 1, generator()).neurons[0].activation is None, (
        "a layer has no activation unless asked for"
    )


@exercise("Layer")
def test_layer_lists_its_parameters():
    layer = day13.Layer(2, 3, generator())
    want = [p for n in layer.neurons for p in (*n.weights, n.bias)]
    assert layer.parameters() == want, "one flat list, neuron by neuron"
    layer.parameters().clear()
    assert len(layer.parameters()) == 9, "a list that the caller changes is the layer's own"


@exercise("Layer")
def test_layer_takes_numbers_and_refuses_others():
    layer = day13.Layer(2, 2, generator())
    y = layer(np.array([1.0, 0.0]))
    close(data(y), np.array([n.weights[0].data for n in layer.neurons]), name="weights[0]")
    with pytest.raises(ValueError):
        y = layer([1.0])
        pytest.fail(f"a layer of two inputs was given one, and answered {y!r}")
    for inputs, outputs in [(2, 0), (2, -1), (0, 2)]:
        with pytest.raises(ValueError):
            day13.Layer(inputs, outputs, generator())
            pytest.fail(f"there is a layer of {inputs} inputs and {outputs} outputs")


# MLP ------------------------------------------------------------------------------------------


@exercise("MLP")
@pytest.mark.parametrize("name", ["relu", "tanh", "softplus"])
@pytest.mark.parametrize("sizes", [(3, 1), (1, 1, 1), (2, 5, 3), (4, 3, 5, 2)])
def test_mlp_is_torchs(sizes, name, rng):
    model = day13.MLP(sizes, generator(rng.seed), ACTIVATIONS[name])
    randomise(model.parameters(), rng)
    linears = [of_layer(layer) for layer in model.layers]
    theirs = torch.nn.Sequential(*[m for each in linears for m in (each, TORCH[name])][:-1])
    for _ in range(2):  # the second time adds up
        x0, u = rng.normal(sizes[0]), rng.normal(sizes[-1])
        x, t = values(x0), torch.tensor(x0, requires_grad=True)
        y = model(x)
        want = theirs(t)
        assert isinstance(y, list) and len(y) == sizes[-1], f"{sizes[-1]} outputs came as {y!r}"
        close(data(y), want.detach().numpy(), scale=16.0, terms=16, name="the outputs")
        sum(a * float(b) for a, b in zip(y, u, strict=True)).backward()
        want.backward(torch.tensor(u))
        close(
            grads(model.parameters()), np.concatenate([torch_grads(each) for each in linears]),
            scale=64.0, terms=16, name="the gradients of the parameters",
        )  # fmt: skip
        close(grads(x), t.grad.numpy(), scale=64.0, terms=16, name="the gradients of the inputs")


@exercise("MLP")
def test_mlp_starts_as_asked(rng):
    model = day13.MLP([3, 4, 2], generator(rng.seed))
    alone = generator(rng.seed)
    for number, (inputs, outputs) in enumerate([(3, 4), (4, 2)]):
        want = day13.Layer(inputs, outputs, alone)
        close(
            data(model.layers[number].parameters()), data(want.parameters()),
            name=f"the parameters of layer {number}",
        )  # fmt: skip
    assert len(model.layers) == 2, f"three sizes make two layers, not {len(model.layers)}"


@exercise("MLP")
def test_mlp_bends_between_its_layers_only():
    model = day13.MLP([2, 3, 3, 2], generator())
    found = [[n.activation for n in layer.neurons] for layer in model.layers]
    assert found == [[relu] * 3, [relu] * 3, [None] * 2], (
        "all layers have the activation but the last, and relu is what they have unless told"
    )
    found = [n.activation for n in day13.MLP([2, 3, 1], generator(), leaky_relu).layers[0].neurons]
    assert found == [leaky_relu] * 3, "the activation that was asked for is not there"


@exercise("MLP")
def test_mlp_lists_its_parameters():
    model = day13.MLP((3, 4, 2, 1), generator())
    want = [p for layer in model.layers for n in layer.neurons for p in (*n.weights, n.bias)]
    assert model.parameters() == want, "one flat list, layer by layer"
    assert len(set(want)) == 4 * 4 + 2 * 5 + 3, (
        "two layers or neurons share a parameter, or one is missing"
    )
    model.parameters().clear()
    assert len(model.parameters()) == len(want), (
        "a list that the caller changes is the network's own"
    )


@exercise("MLP")
def test_mlp_keeps_the_graph_small(rng):
    model = day13.MLP([8, 6, 4, 1], generator())
    found = count_nodes(model(rng.normal(8))[0])
    want = len(model.parameters()) + 2 * (6 + 4) + 1
    assert found == want, f"{found} nodes; {want} are the parameters, a sum and a relu a neuron"


@exercise("MLP")
def test_mlp_refuses():
    for sizes in ([], [3]):
        with pytest.raises(ValueError):
            day13.MLP(sizes, generator())
            pytest.fail(f"there is a network of the sizes {sizes}")
    with pytest.raises(ValueError):
        day13.MLP([2, 0, 1], generator())
        pytest.fail("there is a network with a layer of no neurons")
    with pytest.raises(ValueError):
        y = day13.MLP([2, 3, 1], generator())([1.0, 2.0, 3.0])
        pytest.fail(f"a network of two inputs was given three, and answered {y!r}")


# The losses -----------------------------------------------------------------------------------

LOSSES = {
    "mse": lambda y, t: torch.mean((y - t) ** 2),
    "hinge": lambda y, t: torch.mean(torch.relu(1 - t * y)),
    "logistic": lambda y, t: torch.mean(torch.logaddexp(-t * y, torch.zeros_like(y))),
}
each = pytest.mark.parametrize("name", [pytest.param(n, marks=exercise(n)) for n in LOSSES])


def check_loss(name, y0, t0, targets=None):
    y, t = values(y0), torch.tensor(np.array(y0, dtype=float), requires_grad=True)
    loss = getattr(day13, name)(y, t0 if targets is None else targets)
    assert isinstance(loss, Value), f"{name} gave a {type(loss).__name__}, not a Value"
    want = LOSSES[name](t, torch.tensor(np.array(t0, dtype=float)))
    size = 1.0 + float(np.max(np.abs(y0)))
    terms = len(y0) + 4
    close(loss.data, want.item(), scale=size, terms=terms, name=f"{name} of {len(y0)} outputs")
    loss.backward()
    want.backward()
    close(grads(y), t.grad.numpy(), scale=size / len(y0), terms=4, name="the gradients")


def some_targets(name, size, rng):
    return rng.normal(size) if name == "mse" else np.where(rng.boolean(size), 1.0, -1.0)


@each
@shapes("size", 1, 2, 3, 10, 101)
def test_losses(size, name, rng):
    check_loss(name, 2 * rng.normal(size), some_targets(name, size, rng))


@each
def test_losses_take_lists_arrays_and_whole_numbers(name, rng):
    y, t = rng.normal(4), np.array([1, -1, -1, 1])
    for targets in (t.tolist(), tuple(t.tolist()), t, t.astype(np.float32), t.astype(np.int8)):
        check_loss(name, y, t, targets)


@each
def test_losses_refuse_other_lengths(name):
    for outputs, targets in [(2, 3), (3, 2), (1, 0), (0, 1), (0, 0)]:
        for several in ([1] * targets, np.ones(targets)):
            with pytest.raises(ValueError):
                getattr(day13, name)(values(np.ones(outputs)), several)
                pytest.fail(f"{outputs} outputs and {targets} targets made a loss")


@each
def test_losses_are_of_the_class_of_the_outputs(name):
    class Later(Value):
        __slots__ = ()

    assert type(getattr(day13, name)([Later(0.5), Later(1.0)], [1, -1])) is Later, (
        f"{name} of a later class's values has another class"
    )


@each
def test_one_output_at_two_places(name):
    y = Value(0.25)
    getattr(day13, name)([y, y], [1, -1]).backward()
    want = torch.tensor(0.25, dtype=torch.float64, requires_grad=True)
    LOSSES[name](want.expand(2), torch.tensor([1.0, -1.0])).backward()
    close(y.grad, want.grad.item(), scale=1.0, name="the gradient of the one output")


@each
def test_through_a_network(name, rng):
    model = day13.MLP([2, 4, 1], generator(rng.seed))
    randomise(model.parameters(), rng)
    linears = [of_layer(layer) for layer in model.layers]
    x, t = rng.normal(6, 2), some_targets(name, 6, rng)
    loss = getattr(day13, name)([model(row)[0] for row in x], t)
    loss.backward()
    hidden = torch.relu(linears[0](torch.tensor(x)))
    want = LOSSES[name](linears[1](hidden)[:, 0], torch.tensor(t))
    want.backward()
    close(loss.data, want.item(), scale=16.0, terms=16, name="the loss")
    close(
        grads(model.parameters()), np.concatenate([torch_grads(each) for each in linears]),
        scale=64.0, terms=16, name="the gradients of the parameters",
    )  # fmt: skip


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=exercise(n)) for n in ("hinge", "logistic")]
)
@pytest.mark.parametrize("label", [0, 2, 0.5, -1.5, math.nan])
def test_labels_are_1_and_minus_1(label, name):
    with pytest.raises(ValueError):
        getattr(day13, name)(values([0.5, 0.5, 0.5]), [1, -1, label])
        pytest.fail(f"{label} was taken for a label")


@exercise("mse")
def test_mse_of_what_is_right(rng):
    t = rng.normal(5)
    y = values(t)
    loss = day13.mse(y, t)
    loss.backward()
    assert loss.data == 0.0 and not grads(y).any(), "nothing is wrong, so nothing should change"


@exercise("hinge")
def test_hinge_at_its_kink():
    y = values([1.0, -1.0])
    loss = day13.hinge(y, [1, -1])
    loss.backward()
    assert loss.data == 0.0, f"a score of 1 on the right side costs nothing, not {loss.data}"
    assert not grads(y).any(), f"scores at the margin get the gradients {grads(y)}, not 0"


@exercise("logistic")
def test_logistic_far_out():
    for score in (-1e300, -1e5, -1e3, -800.0, -100.0, 0.0, 100.0, 800.0, 1e3, 1e300):
        for label in (1, -1):
            y = Value(score)
            loss = day13.logistic([y], [label])
            z = -label * score
            want = z if z > 50 else math.log1p(math.exp(z))
            close(loss.data, want, name=f"logistic of {score:g} for the label {label}")
            loss.backward()
            want = -label * (1.0 if z > 50 else math.exp(z) / (1 + math.exp(z)))
            close(y.grad, want, scale=1.0, name=f"its slope at {score:g} for the label {label}")
