"""Day 14: data as described, a loop that steps as PyTorch does, and moons that are told apart."""

import io
import math
import re

import numpy as np
import pytest
import torch

from harness.testing import close, exercise, shapes
from tracks.autodiff import day14
from tracks.autodiff.day12 import Value
from tracks.autodiff.day13 import MLP


def generator(seed):
    return np.random.default_rng(seed)


def load(name):
    """A function of sklearn.datasets, which takes a second to import: most tests do without."""
    return getattr(pytest.importorskip("sklearn.datasets"), name)


def scores(*numbers):
    return [Value(float(n)) for n in numbers]


class Line:
    """A model of one score, w · x, that counts its calls and keeps what it was given."""

    def __init__(self, *weights):
        self.weights = scores(*weights)
        self.seen = []

    def __call__(self, x):
        self.seen.append([float(v) for v in x])
        return [sum(w * float(v) for w, v in zip(self.weights, x, strict=True))]

    def parameters(self):
        return list(self.weights)


def some_data(rng, samples, features=2, classes=2):
    return day14.Data(rng.normal(samples, features), rng.integers(0, classes, samples))


# two_moons ------------------------------------------------------------------------------------


@exercise("two_moons")
def test_two_moons_of_five_samples():
    """By hand: t = 0, π on the first moon; t = 0, π/2, π on the second."""
    data = day14.two_moons(5, 0.0, generator(0))
    want = [[1.0, 0.0], [-1.0, 0.0], [0.0, 0.5], [1.0, -0.5], [2.0, 0.5]]
    close(data.labels, np.array([0, 0, 1, 1, 1]), name="labels of five samples")
    close(data.inputs, np.array(want), scale=1.0, name="inputs of five samples")


@exercise("two_moons")
@pytest.mark.parametrize("noise", [0.1, 0.5, 2.0])
def test_two_moons_with_noise(noise, rng):
    samples = 4000
    exact = day14.two_moons(samples, 0.0, generator(0)).inputs
    data = day14.two_moons(samples, noise, generator(rng.seed))
    off = (data.inputs - exact) / noise
    for part, name in ((off[:2000], "first"), (off[2000:], "second")):
        mean, std = part.mean(axis=0), part.std(axis=0)
        assert np.all(np.abs(mean) < 0.15) and np.all(np.abs(std - 1) < 0.12), (
            f"noise={noise} moves the {name} moon by {noise * mean} with a spread of {noise * std}"
        )
    assert abs(np.mean(off[:, 0] * off[:, 1])) < 0.15, "x and y are moved by the same numbers"
    assert abs(np.mean(off[:2000] * off[2000:])) < 0.15, "both moons are moved by the same numbers"
    assert abs(np.mean(np.abs(off) < 0.6745) - 0.5) < 0.06, "the noise is not a normal one"


@exercise("two_moons")
@shapes("samples", 1, 4, 9)
def test_two_moons_take_the_noise_as_it_is_drawn(samples, rng):
    exact = day14.two_moons(samples, 0.0, generator(0)).inputs
    got = day14.two_moons(samples, 0.3, generator(rng.seed)).inputs
    want = exact + generator(rng.seed).normal(0.0, 0.3, (samples, 2))
    close(got, want, scale=1.0, name="moons with the noise of rng.normal(0.0, noise, (samples, 2))")


@exercise("two_moons")
def test_two_moons_repeat(rng):
    first, again = (day14.two_moons(20, 0.3, generator(rng.seed)).inputs for _ in range(2))
    close(again, first, name="the moons of the same seed")
    other = day14.two_moons(20, 0.3, generator(rng.seed + 1)).inputs
    assert np.all(np.any(first != other, axis=1)), "another seed gives the same moons"


@exercise("two_moons")
@shapes("samples", 0, 1, 2, 3, 4, 5, 50, 101)
def test_two_moons_without_noise(samples, rng):
    data = day14.two_moons(samples, 0.0, generator(rng.seed))
    if samples > 1:
        inputs, labels = load("make_moons")(samples, shuffle=False, noise=None)
    else:
        inputs, labels = np.array([[0.0, 0.5]])[:samples], np.ones(samples, dtype=np.int64)
    close(data.labels, labels.astype(np.int64), name="labels")
    close(data.inputs, inputs, scale=1.0, name="inputs")


# iris -----------------------------------------------------------------------------------------


def flowers(data, mean, std):
    """Label and measurements of each, rounded to thousandths of a centimetre; sorted."""
    rows = np.column_stack([data.labels, np.round((data.inputs * std + mean) * 1000)])
    return sorted(map(tuple, rows.tolist()))


@exercise("iris")
@shapes("held_out", 1, 30, 75, 120)
def test_iris_is_standardised_by_its_training_part(held_out, rng):
    training, test = day14.iris(generator(rng.seed), held_out)
    assert (len(training.labels), len(test.labels)) == (150 - held_out, held_out), (
        f"{len(training.labels)} and {len(test.labels)} flowers, where {held_out} of 150 are held "
        "out"
    )
    assert training.inputs.shape == (150 - held_out, 4) and test.inputs.shape == (held_out, 4), (
        f"the inputs have the shapes {training.inputs.shape} and {test.inputs.shape}"
    )
    close(
        training.inputs.mean(axis=0), np.zeros(4), scale=1.0, terms=150,
        name="the means of the training part",
    )  # fmt: skip
    close(
        training.inputs.std(axis=0), np.ones(4), terms=150,
        name="the standard deviations of the training part",
    )  # fmt: skip


@exercise("iris")
@shapes("held_out", 10, 30, 75)
def test_iris_has_every_flower_once(held_out, rng):
    training, test = day14.iris(generator(rng.seed), held_out)
    inputs, labels = load("load_iris")(return_X_y=True)
    # Mean and spread of the training part are those of all flowers less the held-out ones: find
    # the straight line that leads from standardised numbers back to the measured ones.
    every = day14.Data(*(np.concatenate(parts) for parts in zip(training, test, strict=True)))
    std = inputs.std(axis=0) / every.inputs.std(axis=0)
    mean = inputs.mean(axis=0) - every.inputs.mean(axis=0) * std
    want = flowers(day14.Data(inputs, labels), 0.0, 1.0)
    assert flowers(every, mean, std) == want, (
        "both parts together are not the 150 flowers with their labels, standardised alike"
    )


@exercise("iris")
def test_iris_is_shuffled(rng):
    training, test = day14.iris(generator(rng.seed))
    assert len(test.labels) == 30, "30 flowers are held out unless asked otherwise"
    for part in (training, test):
        assert set(part.labels.tolist()) == {0, 1, 2}, (
            f"a part has the kinds {set(part.labels.tolist())} only: the data comes sorted by kind"
        )
    assert np.any(np.diff(training.labels) < 0), "the training part is sorted by kind"
    assert training.labels.dtype == np.int64 and training.inputs.dtype == np.float64, (
        f"labels are {training.labels.dtype}, inputs {training.inputs.dtype}: int64 and float64 "
        "are wanted"
    )


@exercise("iris")
def test_iris_repeats(rng):
    first, again = (day14.iris(generator(rng.seed)) for _ in range(2))
    for mine, theirs in zip(first, again, strict=True):
        close(mine.inputs, theirs.inputs, name="the flowers of the same seed")
        close(mine.labels, theirs.labels, name="their labels")
    other = day14.iris(generator(rng.seed + 1))[0]
    assert np.any(other.inputs != first[0].inputs), "another seed gives the same flowers"


@exercise("iris")
@pytest.mark.parametrize("held_out", [0, 150, 151, -1])
def test_iris_refuses(held_out, rng):
    with pytest.raises(ValueError):
        day14.iris(generator(rng.seed), held_out)
        pytest.fail(f"{held_out} flowers were held out")


# predict and accuracy -------------------------------------------------------------------------


@exercise("predict")
@pytest.mark.parametrize(
    "numbers, want",
    [
        ([3.0], 1), ([-3.0], 0), ([0.0], 0), ([1e-300], 1), ([0.5], 1),
        ([1.0, 2.0], 1), ([2.0, 1.0], 0), ([-5.0, -2.0, -9.0], 1), ([0.0, 0.0], 0),
        ([1.0, 7.0, 7.0], 1), ([0.0, -1.0, 4.0, 3.0], 2),
    ],
)  # fmt: skip
def test_predict(numbers, want):
    got = day14.predict(lambda x: scores(*numbers), [0.0])
    assert isinstance(got, int) and not isinstance(got, bool), f"a class is an int, not {got!r}"
    assert got == want, f"scores of {numbers} are class {want}, not {got}"


@exercise("predict")
def test_predict_asks_the_model_once(rng):
    model = Line(1.0, -1.0)
    x = rng.normal(2)
    assert day14.predict(model, x) == int(x[0] > x[1]), (
        f"a score of {x[0] - x[1]} is class {int(x[0] > x[1])}"
    )
    assert model.seen == [x.tolist()], "the model was not given the sample, once"


@exercise("accuracy")
@shapes("samples", 1, 2, 7, 100)
def test_accuracy(samples, rng):
    data = some_data(rng, samples)
    model = Line(1.0, 0.5)
    want = float(np.mean((data.inputs @ [1.0, 0.5] > 0) == data.labels))
    got = day14.accuracy(model, data)
    close(got, want, name="the accuracy")
    assert type(got) is float, f"the accuracy is a {type(got).__name__}"
    assert model.seen == data.inputs.tolist(), "each sample should be asked for once, in order"


@exercise("accuracy")
def test_accuracy_of_three_classes(rng):
    data = some_data(rng, 60, 3, 3)
    want = float(np.mean(np.argmax(data.inputs, axis=1) == data.labels))
    close(day14.accuracy(lambda x: scores(*x), data), want)
    right = day14.Data(data.inputs, np.argmax(data.inputs, axis=1))
    close(day14.accuracy(lambda x: scores(*x), right), 1.0)


@exercise("accuracy")
def test_accuracy_of_nothing():
    nothing = day14.Data(np.empty((0, 2)), np.empty(0, dtype=np.int64))
    with pytest.raises(ValueError):
        got = day14.accuracy(Line(1.0, 1.0), nothing)
        pytest.fail(f"the accuracy of no samples came out as {got}")


# train ----------------------------------------------------------------------------------------


def torch_model(model):
    """The same network in float64, and its parameters as model.parameters() lists them."""
    modules = []
    for layer in model.layers:
        weights = torch.tensor(
            [[w.data for w in n.weights] for n in layer.neurons], dtype=torch.float64
        )
        linear = torch.nn.Linear(*reversed(weights.shape), dtype=torch.float64)
        with torch.no_grad():
            linear.weight.copy_(weights)
            for bias, neuron in zip(linear.bias, layer.neurons, strict=True):
                bias.fill_(neuron.bias.data)
        modules += [linear, torch.nn.ReLU()]
    theirs = torch.nn.Sequential(*modules[:-1])

    def flat():
        linears = [m for m in theirs if isinstance(m, torch.nn.Linear)]
        rows = [torch.cat([m.weight, m.bias[:, None]], 1).flatten() for m in linears]
        return torch.cat(rows).detach().numpy()

    return theirs, flat


class SGD:
    """What torch.optim.SGD does, without the second that its first use takes."""

    def __init__(self, parameters, lr, momentum):
        self.parameters, self.lr, self.momentum = list(parameters), lr, momentum
        self.velocities = [torch.zeros_like(p) for p in self.parameters]

    def zero_grad(self):
        for p in self.parameters:
            p.grad = None

    @torch.no_grad()
    def step(self):
        for p, v in zip(self.parameters, self.velocities, strict=True):
            v.mul_(self.momentum).add_(p.grad)
            p.sub_(v, alpha=self.lr)


def torch_train(theirs, data, seed, epochs, batch, lr, momentum, sgd=SGD):
    """The mean loss of each epoch, with the orders that the seed gives."""
    rng = generator(seed)
    optimizer = sgd(theirs.parameters(), lr=lr, momentum=momentum)
    losses = []
    for _ in range(epochs):
        total = 0.0
        order = rng.permutation(len(data.labels))
        for rows in np.split(order, range(batch, len(order), batch)):
            out = theirs(torch.tensor(data.inputs[rows]))
            label = torch.tensor(data.labels[rows])
            if out.shape[1] == 1:
                sign = 2.0 * label[:, None] - 1.0
            else:
                sign = 2.0 * torch.nn.functional.one_hot(label, out.shape[1]) - 1.0
            loss = torch.nn.functional.softplus(-sign * out, threshold=700).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(rows)
        losses.append(total / len(data.labels))
    return losses


@exercise("train")
@pytest.mark.parametrize("kind", [math.inf, math.nan])
def test_train_stops_when_the_loss_is_no_number(kind, rng):
    class Broken(Line):
        """In its second epoch it answers inf or nan."""

        def __call__(self, x):
            (score,) = super().__call__(x)
            return [score + -kind] if len(self.seen) > 4 else [score]

    model = Broken(0.0, 0.0)
    data = day14.Data(np.ones((4, 2)), np.ones(4, dtype=np.int64))
    reached = []
    with pytest.raises(ArithmeticError) as caught:
        day14.train(
            model, data, generator(rng.seed), epochs=5, batch=2,
            progress=lambda epoch, epochs, loss: reached.append(epoch),
        )  # fmt: skip
        pytest.fail(f"the loss is {kind} in epoch 2, and training went on")
    assert re.search(r"\b2\b", str(caught.value)), (
        f"the loss is {kind} in epoch 2; the message does not say in which epoch: {caught.value}"
    )
    assert reached == [1] and len(model.seen) == 6, "training went on with a loss that is no number"
    assert all(math.isfinite(p.data) for p in model.parameters()), "the broken step was made"


@exercise("train")
@pytest.mark.parametrize(
    "samples, batch, classes",
    [(6, 2, 2), (7, 3, 2), (5, 16, 2), (1, 1, 2), (7, 2, 3), (8, 1, 2), (9, 8, 3)],
)
@pytest.mark.parametrize("momentum", [0.9, 0.0])
def test_train_steps_as_torch(samples, batch, classes, momentum, rng):
    data = some_data(rng, samples, 2, classes)
    model = MLP([2, 3, 1 if classes == 2 else classes], generator(rng.seed))
    theirs, flat = torch_model(model)
    settings = {"epochs": 4, "batch": batch, "lr": 0.05, "momentum": momentum}
    losses = day14.train(model, data, generator(rng.seed + 1), **settings)
    want = torch_train(theirs, data, rng.seed + 1, **settings)
    assert isinstance(losses, list), f"the losses are {losses!r}, not a list"
    close(np.array(losses), np.array(want), scale=1.0, terms=10_000, name="the losses")
    got = np.array([p.data for p in model.parameters()])
    close(got, flat(), scale=1.0, terms=10_000, name=f"the parameters after {settings}")


@exercise("train")
def test_train_as_it_is_by_default(rng):
    data = some_data(rng, 40)
    model = MLP([2, 2, 1], generator(rng.seed))
    theirs, _ = torch_model(model)
    losses = day14.train(model, data, generator(rng.seed + 1))
    assert len(losses) == 40, f"{len(losses)} epochs, unless told otherwise"
    want = torch_train(theirs, data, rng.seed + 1, 40, 16, 0.1, 0.9, torch.optim.SGD)
    close(np.array(losses[:5]), np.array(want[:5]), scale=1.0, terms=10**8, name="the losses")


@exercise("train")
def test_train_forgets_what_was_in_the_grads(rng):
    data = some_data(rng, 6)
    models = [Line(0.5, -0.5) for _ in range(2)]
    for p in models[1].parameters():
        p.grad = 100.0
    for model in models:
        day14.train(model, data, generator(rng.seed), epochs=2, batch=3)
    first, second = (np.array([p.data for p in m.parameters()]) for m in models)
    close(second, first, name="the parameters, where grads were left from before")


@exercise("train")
def test_train_begins_at_rest_each_time(rng):
    data = some_data(rng, 6)
    once, twice = Line(0.5, -0.5), Line(0.5, -0.5)
    day14.train(once, data, generator(rng.seed), epochs=1, batch=3)
    day14.train(twice, data, generator(rng.seed), epochs=1, batch=3)
    start = [p.data for p in once.parameters()]
    fresh = Line(*start)
    for model in (twice, fresh):
        day14.train(model, data, generator(rng.seed + 1), epochs=1, batch=3)
    got, want = (np.array([p.data for p in m.parameters()]) for m in (twice, fresh))
    close(got, want, name="a second training, whose velocities should begin at 0")


@exercise("train")
def test_train_shuffles_with_rng(rng):
    data = day14.Data(np.arange(10.0)[:, None] / 10, np.arange(10) % 2)
    model = Line(0.1)
    drawn, alone = generator(rng.seed), generator(rng.seed)
    day14.train(model, data, drawn, epochs=3, batch=4, lr=1e-6)
    seen = np.round(np.array(model.seen).ravel() * 10).astype(int).reshape(3, 10)
    want = np.array([alone.permutation(10) for _ in range(3)])
    for epoch in range(3):
        assert sorted(seen[epoch]) == list(range(10)), f"an epoch saw the samples {seen[epoch]}"
        assert seen[epoch].tolist() == want[epoch].tolist(), (
            f"epoch {epoch + 1} went through the samples in the order {seen[epoch].tolist()}; "
            f"rng.permutation gives {want[epoch].tolist()}"
        )
    assert drawn.random() == alone.random(), "rng was used for more than the orders"


@exercise("train")
def test_train_reports_its_progress(rng):
    calls = []
    model = Line(0.5, 0.5)
    losses = day14.train(
        model, some_data(rng, 5), generator(rng.seed), epochs=3, batch=2,
        progress=lambda *args: calls.append((*args, len(model.seen))),
    )  # fmt: skip
    want = [(n, 3, loss, 5 * n) for n, loss in enumerate(losses, 1)]
    assert calls == want, f"progress was called with {calls}"
    assert all(type(loss) is float for loss in losses), "a loss is a float"


@exercise("train")
def test_train_is_silent(rng, capsys):
    day14.train(Line(0.5, 0.5), some_data(rng, 4), generator(rng.seed), epochs=2)
    assert capsys.readouterr().out == "", "without a progress nothing is printed"


@exercise("train")
def test_train_for_no_epochs(rng):
    model = Line(0.5, -0.5)
    assert day14.train(model, some_data(rng, 4), generator(rng.seed), epochs=0) == [], (
        "no epochs have no losses"
    )
    assert [p.data for p in model.parameters()] == [0.5, -0.5], (
        "training for no epochs changed the parameters"
    )


@exercise("train")
def test_train_leaves_the_data_alone(rng):
    data = day14.Data(np.array(rng.normal(6, 2)), np.array(rng.integers(0, 2, 6)))
    before = day14.Data(data.inputs.copy(), data.labels.copy())
    day14.train(Line(0.5, -0.5), data, generator(rng.seed), epochs=2, batch=2)
    close(data.inputs, before.inputs, name="inputs after training")
    close(data.labels, before.labels, name="labels after training")


@exercise("train")
def test_train_refuses(rng):
    empty = day14.Data(np.empty((0, 2)), np.empty(0, dtype=np.int64))
    for data, batch in [(empty, 7), (some_data(rng, 4), 0), (some_data(rng, 5), -1)]:
        samples = len(data.labels)
        with pytest.raises(ValueError) as caught:
            losses = day14.train(Line(0.5, -0.5), data, generator(rng.seed), epochs=2, batch=batch)
            pytest.fail(f"{samples} samples in batches of {batch} were trained on: {losses}")
        said = set(re.findall(r"-?\d+", str(caught.value)))
        assert {str(samples), str(batch)} <= said, (
            f"{samples} samples in batches of {batch}; the message does not say both numbers: "
            f"{caught.value}"
        )


@exercise("train", seconds=60)
def test_two_moons_are_learnt(rng):
    """40 epochs of 200 samples, judged on 400 others: 97 % at least, for any seed."""
    source = generator(rng.seed)
    model = MLP([2, 16, 1], source)
    losses = day14.train(model, day14.two_moons(200, 0.1, source), source)
    got = day14.accuracy(model, day14.two_moons(400, 0.1, source))
    assert got >= 0.97, (
        f"{100 * got:.1f} % of 400 new samples are right; the loss went from {losses[0]:.3f} to "
        f"{losses[-1]:.3f}"
    )


@exercise("train", seconds=60)
def test_iris_is_learnt(rng):
    source = generator(rng.seed)
    training, test = day14.iris(source)
    model = MLP([4, 8, 3], source)
    day14.train(model, training, source, epochs=20)
    got, new = day14.accuracy(model, training), day14.accuracy(model, test)
    assert got >= 0.9, f"{100 * got:.1f} % of the flowers it was trained with are right"
    assert new >= 0.8, f"{100 * new:.1f} % of the flowers that were held out are right"


# decision_boundary ----------------------------------------------------------------------------


def picture(path):
    from matplotlib.image import imread

    return imread(io.BytesIO(path.read_bytes()))[..., :3]


CORNERS = day14.Data(np.array([[0.0, 0.0], [4.0, 2.0]]), np.array([0, 1]))


@exercise("decision_boundary")
def test_map_of_the_plane(tmp_path, rng):
    data = some_data(rng, 9)
    model = Line(1.0, -2.0)
    xs, ys, classes = day14.decision_boundary(model, data, tmp_path / "map.png", steps=7)
    low, high = data.inputs.min(axis=0) - 0.5, data.inputs.max(axis=0) + 0.5
    close(xs, np.linspace(low[0], high[0], 7), scale=1.0, name="xs")
    close(ys, np.linspace(low[1], high[1], 7), scale=1.0, name="ys")
    want = (xs[None, :] - 2.0 * ys[:, None] > 0).astype(np.int64)
    close(classes, want, name="classes")
    assert len(model.seen) == 49, f"the model was asked {len(model.seen)} times for 49 points"


@exercise("decision_boundary")
def test_map_of_three_classes(tmp_path):
    def model(x):
        return scores(-x[0], x[0] - 4.0, 1.0 if x[1] > 2.2 else -9.0)

    xs, ys, classes = day14.decision_boundary(model, CORNERS, tmp_path / "map.png", steps=11)
    want = [[day14.predict(model, (x, y)) for x in xs] for y in ys]
    close(classes, np.array(want), name="classes")
    assert set(classes.ravel().tolist()) == {0, 1, 2}, (
        f"the map shows the classes {set(classes.ravel().tolist())}, not all three"
    )


@exercise("decision_boundary")
def test_map_has_60_steps_by_default(tmp_path):
    found = day14.decision_boundary(Line(1.0, 0.0), CORNERS, tmp_path / "map.png")
    assert found.classes.shape == (60, 60) and len(found.xs) == len(found.ys) == 60, (
        f"a map of the shape {found.classes.shape}, with {len(found.xs)} xs and {len(found.ys)} "
        "ys: 60 each"
    )


@exercise("decision_boundary")
@pytest.mark.parametrize("name", ["map.png", "map", "map.jpg"])
def test_picture_is_a_png(name, tmp_path):
    for path in (tmp_path / name, str(tmp_path / name)):
        day14.decision_boundary(Line(1.0, -2.0), CORNERS, path, steps=5)
        written = (tmp_path / name).read_bytes()
        assert written.startswith(b"\x89PNG\r\n\x1a\n"), f"{name} is not a PNG"
        (tmp_path / name).unlink()
    assert not list(tmp_path.iterdir()), "more than one file was written"


@exercise("decision_boundary")
def test_picture_shows_the_classes(tmp_path):
    """x to the right, y upwards: the colours of the four quarters, away from the samples."""
    for weights, differ in (((1.0, 0.0, -2.0), "right"), ((0.0, 1.0, -1.0), "top")):
        a, b, c = weights
        path = tmp_path / f"{differ}.png"

        def model(x, a=a, b=b, c=c):
            return scores(a * x[0] + b * x[1] + c)

        day14.decision_boundary(model, CORNERS, path, steps=40)
        image = picture(path)
        height, width = image.shape[:2]
        rows = {"top": slice(height // 4, height * 2 // 5),
                "bottom": slice(height * 3 // 5, height * 3 // 4)}  # fmt: skip
        columns = {"left": slice(width * 3 // 10, width * 2 // 5),
                   "right": slice(width * 3 // 5, width * 7 // 10)}  # fmt: skip
        quarters = {
            (r, col): np.median(image[rows[r], columns[col]].reshape(-1, 3), axis=0)
            for r in rows
            for col in columns
        }
        one = [v for key, v in quarters.items() if differ in key]
        zero = [v for key, v in quarters.items() if differ not in key]
        same = max(np.abs(one[0] - one[1]).max(), np.abs(zero[0] - zero[1]).max())
        apart = np.abs(np.mean(one, axis=0) - np.mean(zero, axis=0)).max()
        assert apart > 0.1 and same < apart / 4, (
            f"the model says 1 {differ} and 0 elsewhere; the colours in the picture are "
            + ", ".join(f"{r} {col}: {np.round(v, 2)}" for (r, col), v in quarters.items())
        )


@exercise("decision_boundary")
def test_picture_is_the_right_way_up(tmp_path):
    """Class 1 only in the corner of large x and large y: one quarter differs from three."""

    def model(x):
        return scores(1.0 if x[0] > 2.0 and x[1] > 1.0 else -1.0)

    path = tmp_path / "map.png"
    day14.decision_boundary(model, day14.Data(CORNERS.inputs, np.array([0, 0])), path, steps=40)
    image = picture(path)
    height, width = image.shape[:2]
    corner = {}
    for r, row in (("top", height // 3), ("bottom", height * 2 // 3)):
        for c, column in (("left", width // 3), ("right", width * 2 // 3)):
            block = image[row - 20 : row + 20, column - 20 : column + 20].reshape(-1, 3)
            corner[r, c] = np.median(block, axis=0)
    middle = np.median(list(corner.values()), axis=0)
    far = max(corner, key=lambda key: float(np.abs(corner[key] - middle).max()))
    assert np.abs(corner[far] - middle).max() > 0.1, "the picture does not show the classes"
    assert far == ("top", "right"), f"large x and large y are shown in the {' '.join(far)}"


def with_a_sample(tmp_path, answer, labels, middle=True):
    """A picture in which the model always answers alike, and the colour of the pixel at its
    middle: of the sample there, if there is one, or of the area."""
    inputs = [[0.0, 0.0], [4.0, 2.0], *([[2.0, 1.0]] if middle else [])]
    data = day14.Data(np.array(inputs), np.array(labels))
    path = tmp_path / "map.png"
    day14.decision_boundary(lambda x: scores(*np.eye(3)[answer]), data, path, steps=10)
    image = picture(path)
    # The axes need not be in the middle of the file: their frame is, of the areas' colour.
    body = day14.colours(np.array(answer))
    inside = np.argwhere(np.abs(image - body).max(axis=-1) < 0.02)
    (top, left), (bottom, right) = inside.min(axis=0), inside.max(axis=0)
    return image, image[(top + bottom) // 2, (left + right) // 2]


@exercise("decision_boundary")
def test_picture_shows_the_samples(tmp_path):
    """Also one whose class is that of the area around it, by its edge."""
    images = [with_a_sample(tmp_path, 0, [0, 0, 0][: 2 + middle], middle)[0] for middle in (0, 1)]
    assert np.abs(images[0] - images[1]).max() > 0.2, "a sample was added, and nothing changed"


@exercise("decision_boundary")
@pytest.mark.parametrize("answer, label", [(0, 0), (0, 1), (1, 0), (2, 1), (0, 2)])
def test_picture_has_one_colour_for_a_class(answer, label, tmp_path):
    image, got = with_a_sample(tmp_path, answer, [answer, answer, label])
    body = day14.colours(np.array(answer))
    share = np.mean(np.abs(image - body).max(axis=-1) < 0.02)
    assert share > 0.2, f"{100 * share:.0f} % of the picture have the colour of class {answer}"
    want = day14.colours(np.array(label))
    assert np.abs(got - want).max() < 0.02, (
        f"a sample of class {label} in an area of class {answer} has the colour "
        f"{np.round(got, 2)}; areas of its class have {want}"
    )


@exercise("decision_boundary")
def test_picture_leaves_nothing_open(tmp_path):
    from matplotlib import pyplot

    before = pyplot.get_fignums()
    day14.decision_boundary(Line(1.0, -2.0), CORNERS, tmp_path / "map.png", steps=5)
    assert pyplot.get_fignums() == before, "a figure of pyplot is left open: it is never freed"


@exercise("decision_boundary")
@shapes("features", 1, 3)
def test_map_needs_two_features(features, tmp_path, rng):
    path = tmp_path / "map.png"
    for samples, width in ((4, features), (0, 2)):
        data = some_data(rng, samples, width)
        with pytest.raises(ValueError) as caught:
            day14.decision_boundary(lambda x: scores(1.0), data, path, steps=3)
            pytest.fail(f"{samples} samples of {width} features were drawn on a plane")
        assert f"({samples}, {width})" in str(caught.value), (
            f"inputs of the shape ({samples}, {width}); the message does not show it: "
            f"{caught.value}"
        )
    assert not path.exists(), "a file was written all the same"
