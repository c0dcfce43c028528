"""
Day 13: Neurons
===============
Estimated time: 1-2 hours
Prerequisites: Day 11 (the backward pass), Day 12 (activations)
Lesson: lessons/day13.md

Learning objectives:
- Build a network of neurons, layers and a stack of layers, and find all its parameters
- Make one node of a whole weighted sum
- Start with weights of a size that neither dies out nor explodes from layer to layer
- Turn outputs and targets into one number to make small, in three ways

    x0 ---w0---.
    x1 ---w1----+--- sum + bias --- activation ---> one number       Neuron
    x2 ---w2---'

    x  --->  [neuron, neuron, ...]  --->  a list of numbers          Layer
    x  --->  Layer ---> Layer ---> ... ---> a list of numbers        MLP
    outputs, targets  --->  mse, hinge or logistic  ---> one number  a loss

A parameter is a Value that training will change: ``parameters()`` of each class returns all of its
own, the same objects each time, in a new list. Inputs are data and are no parameters: they may be
plain numbers (Python's or numpy's), Values, or both in one list.

Hints:
- Each class asks the smaller one: an MLP has only layers, a Layer only neurons.
- A gradient gets nowhere if the number on its way was taken out of its Value.
- Use a loss that day 12 has made safe: softplus does not overflow, log(1 + exp(z)) does.

Resources:
- Delving Deep into Rectifiers, K. He, X. Zhang, S. Ren and J. Sun, 2015 (initial weights):
  https://arxiv.org/abs/1502.01852
- torch.nn.Linear: https://docs.pytorch.org/docs/stable/generated/torch.nn.Linear.html
- The Elements of Statistical Learning, T. Hastie, R. Tibshirani and J. Friedman, section 10.6
  (losses of the margin)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tracks.autodiff.day12 import Value, relu, softplus

Activation = Callable[[Value], Value]
Inputs = Sequence[Value | float]


def weighted_sum(weights: Sequence[Value], inputs: Inputs, bias: Value) -> Value:
    """weights[0] · inputs[0] + weights[1] · inputs[1] + ... + bias, as a single node.

    Inputs are Values or real numbers of Python or numpy. The node's class is that of ``bias``, its
    op is "weighted sum", its parents are all weights, then those inputs that are Values, then
    ``bias``, each in its order. Its data is a float, and the gradients that it adds are floats.

    Its backward adds to each weight's grad its share, to each input's, and to the bias's: grad
    times the other factor for the former two. One Value may occur at several places. What happens
    to the lists, or to the data of a Value, between the call and its backward changes nothing.
    Without weights the sum is the bias.

    Raises ValueError unless there are as many inputs as weights; its message says both numbers.

    >>> w, b = [Value(2.0), Value(-1.0)], Value(0.5)
    >>> weighted_sum(w, [3.0, 4.0], b)
    Value(data=2.5, grad=0.0, op='weighted sum')
    """
    # TODO: the inputs' numbers; their weighted sum; a backward for all parents.
    # HINT: what does d(sum)/d(weight) need, and what d(sum)/d(input)?
    ### BEGIN SOLUTION
    # HINT: one loop over pairs of a weight and an input; the input's number is
    #       x.data if isinstance(x, Value) else float(x).
    # HINT: note (parent, slope) for every parent on the way: the backward walks through that list.
    if len(weights) != len(inputs):
        raise ValueError(f"{len(weights)} weights cannot take {len(inputs)} inputs")
    of_weights: list[tuple[Value, float]] = []
    of_inputs: list[tuple[Value, float]] = []
    total = bias.data
    for weight, x in zip(weights, inputs, strict=True):
        if isinstance(x, Value):
            number = x.data
            of_inputs.append((x, weight.data))
        else:
            number = float(x)
        of_weights.append((weight, number))
        total += weight.data * number
    slopes = [*of_weights, *of_inputs, (bias, 1.0)]

    def backward(grad: float) -> None:
        for parent, slope in slopes:
            parent.grad += grad * slope

    parents = tuple(parent for parent, _ in slopes)
    return bias.__class__(total, parents, "weighted sum", backward)
    ### END SOLUTION


class Neuron:
    """A weighted sum of the inputs, plus a bias, then the activation.

    Attributes:
        weights: a list of ``inputs`` Values, drawn by ``rng.uniform`` between -r and r with
            r = √(6 / inputs): with relu the signal then keeps its size from layer to layer (He)
        bias: a Value of 0
        activation: a function of one Value, such as day 12's relu; None for none
    """

    def __init__(
        self, inputs: int, rng: np.random.Generator, activation: Activation | None = None
    ) -> None:
        """``inputs``: how many numbers the neuron takes; ValueError if less than 1.

        The weights are drawn in their order, and nothing else is drawn.
        """
        # TODO: weights, bias, activation.
        # HINT: which class must a weight have, if training is to find its gradient?
        ### BEGIN SOLUTION
        # HINT: rng.uniform(-r, r, inputs) draws all numbers; make each of them a Value.
        if inputs < 1:
            raise ValueError(f"a neuron has at least one input, not {inputs}")
        r = (6.0 / inputs) ** 0.5
        self.weights = [Value(w) for w in rng.uniform(-r, r, inputs)]
        self.bias = Value(0.0)
        self.activation = activation
        ### END SOLUTION

    def __call__(self, x: Inputs) -> Value:
        """The neuron's output for the inputs ``x``; one node for the sum, see ``weighted_sum``.

        Raises ValueError if ``x`` has not as many numbers as there are weights.
        """
        # TODO: the sum, then the activation, if there is one.
        # HINT: without an activation the sum is the output.
        ### BEGIN SOLUTION
        # HINT: weighted_sum does nearly all of it, the error included.
        total = weighted_sum(self.weights, x, self.bias)
        return total if self.activation is None else self.activation(total)
        ### END SOLUTION

    def parameters(self) -> list[Value]:
        """The weights in their order, then the bias."""
        # TODO: a new list.
        # HINT: may the caller change the list you return?
        ### BEGIN SOLUTION
        # HINT: [*a, b] is a new list of all elements of a, and b.
        return [*self.weights, self.bias]
        ### END SOLUTION


class Layer:
    """Neurons side by side: each sees all inputs, and makes one number of them.

    Attributes:
        neurons: a list of ``outputs`` Neurons
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        rng: np.random.Generator,
        activation: Activation | None = None,
    ) -> None:
        """Makes its neurons one after the other; ValueError if there would be none."""
        # TODO: a list of neurons.
        # HINT: are [neuron] * 3 three neurons?
        ### BEGIN SOLUTION
        # HINT: [Neuron(...) for _ in range(outputs)] makes a new one each time.
        if outputs < 1:
            raise ValueError(f"a layer has at least one output, not {outputs}")
        self.neurons = [Neuron(inputs, rng, activation) for _ in range(outputs)]
        ### END SOLUTION

    def __call__(self, x: Inputs) -> list[Value]:
        """One Value for each neuron, in order."""
        # TODO: ask each neuron.
        # HINT: all see the same x.
        ### BEGIN SOLUTION
        # HINT: a list comprehension over self.neurons.
        return [neuron(x) for neuron in self.neurons]
        ### END SOLUTION

    def parameters(self) -> list[Value]:
        """Those of the first neuron, then those of the second, and so on, in one flat list."""
        # TODO: collect them.
        # HINT: a comprehension may have two for's.
        ### BEGIN SOLUTION
        # HINT: the outer for comes first: for neuron in ... for parameter in ...
        return [p for neuron in self.neurons for p in neuron.parameters()]
        ### END SOLUTION


class MLP:
    """A multi-layer perceptron: layers one behind the other.

    Attributes:
        layers: a list of Layers, one fewer than there are sizes
    """

    def __init__(
        self, sizes: Sequence[int], rng: np.random.Generator, activation: Activation = relu
    ) -> None:
        """``sizes``: how many numbers go in, come out of the first layer, of the second, ...

        ``MLP([2, 16, 1], rng)`` takes 2 numbers, has 16 neurons in its hidden layer, and 1 output.
        All layers have the activation but the last, which has none: its outputs may be any
        numbers. The layers are made in their order. Raises ValueError for fewer than two sizes.
        """
        # TODO: a layer between each size and the next.
        # HINT: why would relu at the end be a mistake?
        ### BEGIN SOLUTION
        # HINT: layer i goes from sizes[i] to sizes[i + 1].
        if len(sizes) < 2:
            raise ValueError(f"a network has at least two sizes, not {len(sizes)}")
        count = len(sizes) - 1
        self.layers = [
            Layer(sizes[i], sizes[i + 1], rng, None if i == count - 1 else activation)
            for i in range(count)
        ]
        ### END SOLUTION

    def __call__(self, x: Inputs) -> list[Value]:
        """The outputs of the last layer, a list also where it is a single one."""
        # TODO: send x through the layers.
        # HINT: what comes out of one layer goes into the next.
        ### BEGIN SOLUTION
        # HINT: the first layer gets x; an output list for each layer, the last one is returned.
        outputs = self.layers[0](x)
        for layer in self.layers[1:]:
            outputs = layer(outputs)
        return outputs
        ### END SOLUTION

    def parameters(self) -> list[Value]:
        """Those of the first layer, then those of the second, and so on, in one flat list."""
        # TODO: collect them.
        # HINT: the same as in Layer.
        ### BEGIN SOLUTION
        # HINT: for layer in self.layers for p in layer.parameters()
        return [p for layer in self.layers for p in layer.parameters()]
        ### END SOLUTION


def _pairs(outputs: Sequence[Value], targets: Sequence[float]) -> list[tuple[Value, float]]:
    """Each output with its target, a float; ValueError unless there are as many, and any at all."""
    if len(outputs) != len(targets) or not len(outputs):
        raise ValueError(f"{len(outputs)} outputs and {len(targets)} targets make no loss")
    return [(y, float(t)) for y, t in zip(outputs, targets, strict=True)]


def _labelled(scores: Sequence[Value], labels: Sequence[float]) -> list[tuple[Value, float]]:
    """As ``_pairs``; ValueError too unless every label is 1 or -1."""
    for label in labels:
        if label not in (-1, 1):
            raise ValueError(f"a label is 1 or -1, not {label}")
    return _pairs(scores, labels)


def _mean(losses: Sequence[Value]) -> Value:
    """The mean of at least one Value, as a Value."""
    return sum(losses[1:], losses[0]) / len(losses)


def mse(outputs: Sequence[Value], targets: Sequence[float]) -> Value:
    """The mean squared error: the mean of (output - target)².

    ``targets`` are real numbers of Python or numpy, a sequence or an array. Errors are ``_pairs``'.

    >>> mse([Value(1.0), Value(3.0)], [1.0, 5.0]).data
    2.0
    """
    # TODO: a squared error for each of the _pairs; their _mean.
    # HINT: which operators make a Value of an output and its target?
    ### BEGIN SOLUTION
    # HINT: a list of Values, one for each pair, is what _mean takes.
    # HINT: (output - target) ** 2 for output, target in _pairs(outputs, targets)
    return _mean([(y - t) ** 2 for y, t in _pairs(outputs, targets)])
    ### END SOLUTION


def hinge(scores: Sequence[Value], labels: Sequence[float]) -> Value:
    """The mean of max(0, 1 - label · score), the loss of support vector machines.

    Labels are 1 or -1. A score on the right side, by 1 or more, costs nothing; its slope is 0,
    also at exactly 1. Errors are ``_labelled``'s.

    >>> hinge([Value(3.0), Value(0.5)], [1, -1]).data
    0.75
    """
    # TODO: a loss for each pair that _labelled gives; their _mean.
    # HINT: max(0, z) of a Value, with the right slope, is an exercise of yesterday.
    ### BEGIN SOLUTION
    # HINT: a score of 1 or more on the right side costs nothing. So where is z positive?
    # HINT: z is 1.0 - score * label, and the loss of a pair is relu of it.
    return _mean([relu(1.0 - s * y) for s, y in _labelled(scores, labels)])
    ### END SOLUTION


def logistic(scores: Sequence[Value], labels: Sequence[float]) -> Value:
    """The mean of log(1 + exp(-label · score)), the loss of logistic regression.

    Labels are 1 or -1. It is -log of the probability that the model gives to the right label, if
    sigmoid(score) is its probability of 1. Right for scores from -1e300 to 1e300. Errors are
    ``_labelled``'s.

    >>> round(logistic([Value(0.0), Value(1000.0)], [1, -1]).data, 6)
    500.346574
    """
    # TODO: a loss for each pair that _labelled gives; their _mean.
    # HINT: exp(1000) is no float. Which of yesterday's functions is log(1 + exp(z))?
    ### BEGIN SOLUTION
    # HINT: try both labels with a large score. Which of the two must be expensive?
    # HINT: z is -label times the score, and the loss of a pair is softplus of it.
    return _mean([softplus(s * -y) for s, y in _labelled(scores, labels)])
    ### END SOLUTION


def test_weighted_sum() -> None:
    w, x, b = [Value(2.0), Value(-1.0)], Value(4.0), Value(0.5)
    y = weighted_sum(w, [3.0, x], b)
    y.backward()
    assert y.data == 2.5
    assert [v.grad for v in (*w, x, b)] == [3.0, 4.0, -1.0, 1.0]


def test_neuron() -> None:
    neuron = Neuron(2, np.random.default_rng(0), activation=relu)
    neuron.weights[0].data, neuron.weights[1].data, neuron.bias.data = 0.5, -1.0, 0.25
    assert neuron([2.0, 1.0]).data == 0.25
    assert neuron([2.0, 2.0]).data == 0.0
    assert neuron.parameters() == [*neuron.weights, neuron.bias]


def test_layer() -> None:
    layer = Layer(3, 2, np.random.default_rng(0))
    assert len(layer([1.0, 2.0, 3.0])) == 2
    assert len(layer.parameters()) == 2 * (3 + 1)


def test_mlp() -> None:
    model = MLP([2, 16, 1], np.random.default_rng(0))
    (y,) = model([0.5, -0.5])
    y.backward()
    assert len(model.parameters()) == 16 * 3 + 17
    assert model.layers[-1].neurons[0].bias.grad == 1.0


def test_mse() -> None:
    assert mse([Value(1.0), Value(3.0)], [1.0, 5.0]).data == 2.0


def test_hinge() -> None:
    assert hinge([Value(3.0), Value(0.5)], [1, -1]).data == 0.75


def test_logistic() -> None:
    assert round(logistic([Value(0.0), Value(1000.0)], [1, -1]).data, 6) == 500.346574


if __name__ == "__main__":
    from harness import main

    main(__file__)
