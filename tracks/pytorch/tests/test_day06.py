"""Day 6: a step, a measurement and a whole training run, against loops written out here."""

import copy
import math
import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from harness.testing import close, exercise, shapes, watch
from tracks.pytorch import day06


def problem(rng, rows, features=5, classes=4, dtype=torch.float64):
    """A linear model and data for it."""
    model = nn.Linear(features, classes, dtype=dtype).to(rng.device)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(rng.normal(*p.shape))
    data = day06.Data(rng.normal(rows, features, dtype=dtype), rng.integers(0, classes, rows))
    return model, data


def sgd(model, lr=0.1):
    return torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)


def same_weights(model, other, name):
    for key, wanted in other.state_dict().items():
        close(model.state_dict()[key], wanted, terms=200, scale=1.0, name=f"{key} {name}")


def plain_step(model, batch, optimizer, clip=None):
    """One step on the whole batch, written out. → loss, norm before clipping."""
    optimizer.zero_grad()
    loss = F.cross_entropy(model(batch.inputs), batch.targets)
    loss.backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    norm = sum(g.square().sum() for g in gradients).sqrt()
    if clip is not None and norm > clip:
        for g in gradients:
            g.mul_(clip / norm)
    optimizer.step()
    return loss.item(), norm.item()


# seed_everything -----------------------------------------------------------------------------


def draws(device):
    """A number from each global generator."""
    drawn = {
        "random": random.random(),
        "numpy": np.random.rand(),
        "torch": torch.rand((), dtype=torch.float64).item(),
    }
    if device.type == "cuda":
        drawn["torch on the GPU"] = torch.rand((), dtype=torch.float64, device=device).item()
    return drawn


@exercise("seed_everything")
@pytest.mark.parametrize("seed", [0, 1234, 2**32 + 1234, 2**63 - 1])
def test_same_seed_same_numbers(seed, device):
    day06.seed_everything(seed)
    first = draws(device)
    day06.seed_everything(seed + 1 if seed < 2**62 else 5)
    other = draws(device)
    day06.seed_everything(seed)
    again = draws(device)
    for name in first:
        assert first[name] == again[name], f"seed {seed} twice: {name} gives other numbers"
        assert first[name] != other[name], f"another seed: {name} gives the same number"


@exercise("seed_everything")
def test_numpy_gets_the_remainder():
    day06.seed_everything(2**40 + 2**31 + 17)
    got = np.random.rand()
    np.random.seed(2**31 + 17)
    assert got == np.random.rand(), "numpy should get the seed's remainder of division by 2**32"


@exercise("seed_everything")
def test_the_generator_is_its_own():
    def shuffled(seed, disturb):
        generator = day06.seed_everything(seed)
        assert isinstance(generator, torch.Generator), f"a torch.Generator, not {generator!r}"
        assert generator.device.type == "cpu"
        if disturb:
            torch.rand(10)
        return torch.randperm(50, generator=generator).tolist()

    assert shuffled(3, False) == shuffled(3, True), "torch.rand changes what your generator gives"
    assert shuffled(3, False) != shuffled(4, False), "other seeds give the same generator"
    generator = day06.seed_everything(3)
    torch.rand(3)
    after = torch.rand(5)
    day06.seed_everything(3)
    torch.rand(3)
    torch.randperm(50, generator=generator)
    assert torch.equal(torch.rand(5), after), "using the generator changes what torch.rand gives"


# train_step ----------------------------------------------------------------------------------


@exercise("train_step")
@shapes("rows, accumulate", (1, 1), (8, 1), (8, 4), (7, 2), (10, 4), (3, 5), (9, 9))
def test_a_step_is_that_of_the_whole_batch(rows, accumulate, device, rng):
    model, batch = problem(rng, rows)
    twin = copy.deepcopy(model)
    optimizer, other = sgd(model), sgd(twin)
    for n in range(1, 4):  # later steps see what earlier ones left behind
        seen = day06.train_step(model, batch, optimizer, accumulate=accumulate)
        loss, norm = plain_step(twin, batch, other)
        what = f"of step {n}, {rows} rows in {accumulate} slice(s)"
        assert math.isclose(seen.loss, loss, rel_tol=1e-5), f"loss {what}: {seen.loss}, not {loss}"
        assert math.isclose(seen.gradient_norm, norm, rel_tol=1e-5), (
            f"gradient norm {what}: {seen.gradient_norm}, not {norm}"
        )
        same_weights(model, twin, f"after {what[3:]}")


@exercise("train_step")
@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("share", [0.25, 4.0])
def test_a_step_clips_the_whole_gradient(share, accumulate, device, rng):
    model, batch = problem(rng, 8)
    model = nn.Sequential(model, nn.Tanh(), nn.Linear(4, 4, dtype=torch.float64, device=device))
    twin = copy.deepcopy(model)
    _, norm = plain_step(copy.deepcopy(model), batch, sgd(nn.Linear(1, 1)))
    clip = share * norm
    seen = day06.train_step(model, batch, sgd(model), accumulate=accumulate, clip=clip)
    plain_step(twin, batch, sgd(twin), clip=clip)
    assert math.isclose(seen.gradient_norm, norm, rel_tol=1e-5), (
        f"the norm before clipping is {norm}, not {seen.gradient_norm}"
    )
    for (name, p), wanted in zip(model.named_parameters(), twin.parameters(), strict=True):
        error = (p - wanted).abs().max().item()
        assert error < 1e-6 * max(norm, 1.0), (
            f"{name} after a step with norm {norm:.3g} and clip {clip:.3g} is off by {error:.2g}"
        )


class Spy(nn.Module):
    """Passes rows on to a model, and notes how many came and in which mode."""

    def __init__(self, model):
        super().__init__()
        self.model, self.rows, self.modes, self.first = model, [], [], []

    def forward(self, x):
        self.rows.append(len(x))
        self.modes.append((self.training, torch.is_grad_enabled()))
        self.first.append(x.flatten()[0].item())
        return self.model(x)


@exercise("train_step")
@shapes("rows, accumulate, slices", (8, 4, [2, 2, 2, 2]), (7, 3, [3, 3, 1]), (3, 8, [1, 1, 1]))
def test_a_step_in_slices_in_training_mode(rows, accumulate, slices, device, rng):
    model, batch = problem(rng, rows)
    spy = Spy(model).eval()
    day06.train_step(spy, batch, sgd(spy), accumulate=accumulate)
    assert spy.rows == slices, f"{rows} rows in {accumulate} slices: the model saw {spy.rows}"
    assert all(training for training, _ in spy.modes), "the model was not in training mode"


@exercise("train_step")
def test_a_step_with_another_loss(device, rng):
    model, _ = problem(rng, 1, features=3, classes=1)
    twin = copy.deepcopy(model)
    batch = day06.Data(rng.normal(7, 3, dtype=torch.float64), rng.normal(7, 1, dtype=torch.float64))
    optimizer = sgd(model)
    seen = day06.train_step(model, batch, optimizer, F.mse_loss, accumulate=2)
    loss = F.mse_loss(twin(batch.inputs), batch.targets)
    loss.backward()
    sgd(twin).step()
    assert math.isclose(seen.loss, loss.item(), rel_tol=1e-5), f"mse_loss {loss}, not {seen.loss}"
    same_weights(model, twin, "after a step with mse_loss")


@exercise("train_step")
def test_a_step_frees_each_slice(device, rng):
    wide = 256
    model = nn.Sequential(nn.Linear(4, wide), nn.Tanh(), nn.Linear(wide, wide), nn.Tanh(),
                          nn.Linear(wide, 3)).to(device)  # fmt: skip
    batch = day06.Data(rng.normal(512, 4), rng.integers(0, 3, 512))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    day06.train_step(model, batch, optimizer)
    _, whole = watch(day06.train_step, model, batch, optimizer)
    _, sliced = watch(day06.train_step, model, batch, optimizer, accumulate=16)
    assert sliced.peak_bytes < 0.6 * whole.peak_bytes, (
        f"{whole.peak_bytes} bytes for the whole batch, {sliced.peak_bytes} in 16 slices: is "
        "something of each slice kept?"
    )


@exercise("train_step")
def test_a_step_waits_once(device, rng):
    model, batch = problem(rng, 32, dtype=torch.float32)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    _, few = watch(day06.train_step, model, batch, optimizer, accumulate=1, clip=1.0)
    seen, many = watch(day06.train_step, model, batch, optimizer, accumulate=8, clip=1.0)
    assert len(few.synchronisations) <= 1, f"the host waited for {few.synchronisations}"
    assert len(many.synchronisations) <= 1, (
        f"with 8 slices the host waited for {many.synchronisations}"
    )
    assert [type(value) for value in seen] == [float, float], f"Python floats, not {seen}"


@exercise("train_step")
@pytest.mark.parametrize("where", ["loss", "loss alone", "gradient"])
def test_a_step_refuses_what_is_not_finite(where, device, rng):
    model, batch = problem(rng, 4)
    optimizer = sgd(model)
    day06.train_step(model, batch, optimizer)
    before = copy.deepcopy((model.state_dict(), optimizer.state_dict()["state"]))

    def bad_loss(scores, targets):
        good = F.cross_entropy(scores, targets)
        if where == "loss":
            return good * torch.nan
        if where == "loss alone":  # a constant, so the gradient is finite
            return good + torch.nan
        return good + (scores * 0).abs().sqrt().sum()  # the slope of a root at 0 is infinite

    with pytest.raises(FloatingPointError) as refusal:
        day06.train_step(model, batch, optimizer, bad_loss, accumulate=2)
        pytest.fail("the loss was nan, and the step was taken")
    assert "nan" in str(refusal.value), f"the message should show loss and norm: {refusal.value}"
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[0][key]), f"{key} changed although no step was possible"
    after = optimizer.state_dict()["state"]
    for key, state in before[1].items():
        close(after[key]["momentum_buffer"], state["momentum_buffer"], name="the momentum")


@exercise("train_step")
def test_a_step_leaves_frozen_parameters_alone(device, rng):
    model, batch = problem(rng, 6)
    model.weight.requires_grad_(False)
    before = model.weight.clone()
    seen = day06.train_step(model, batch, sgd(model), clip=1.0)
    assert torch.equal(model.weight, before), "a frozen parameter moved"
    assert seen.gradient_norm > 0, "the bias has a gradient"


# evaluate ------------------------------------------------------------------------------------


@exercise("evaluate")
@shapes("rows, batch_size", (1, 1), (10, 10), (11, 4), (64, 9), (5, 100))
def test_evaluate_is_the_mean_over_rows(rows, batch_size, device, rng):
    for dtype in (torch.float64, torch.float32):
        model, data = problem(rng, rows, dtype=dtype)
        seen = day06.evaluate(model, data, batch_size=batch_size)
        scores = model.double()(data.inputs.double())
        loss = F.cross_entropy(scores, data.targets).item()
        accuracy = sum(
            row.index(max(row)) == t
            for row, t in zip(scores.tolist(), data.targets.tolist(), strict=True)
        )
        what = f"of {rows} rows in batches of {batch_size}"
        assert math.isclose(seen.loss, loss, rel_tol=1e-5), f"loss {what}: {seen.loss}, not {loss}"
        assert math.isclose(seen.accuracy, accuracy / rows, abs_tol=1e-9), (
            f"accuracy {what}: {seen.accuracy}, not {accuracy / rows}"
        )
        assert [type(value) for value in seen] == [float, float], f"Python floats, not {seen}"


@exercise("evaluate")
def test_evaluate_uses_the_loss_it_is_given(device, rng):
    model, data = problem(rng, 10)
    seen = day06.evaluate(model, data, F.multi_margin_loss, batch_size=4)
    wanted = F.multi_margin_loss(model(data.inputs), data.targets).item()
    assert math.isclose(seen.loss, wanted, rel_tol=1e-9), f"multi_margin_loss {wanted}: {seen.loss}"


@exercise("evaluate")
def test_evaluate_in_batches_in_order_without_a_graph(device, rng):
    model, data = problem(rng, 11)
    spy = Spy(model)
    day06.evaluate(spy, data, batch_size=4)
    assert spy.rows == [4, 4, 3], f"11 rows with batch_size=4: the model saw {spy.rows}"
    wanted = data.inputs[::4, 0].tolist()
    assert spy.first == wanted, "the rows went through the model in another order"
    assert spy.modes == [(False, False)] * 3, (
        f"(training mode, recording gradients) were {spy.modes}: both should be off"
    )


class Breaks(nn.Module):
    def forward(self, x):
        raise RuntimeError("broken on purpose")


@exercise("evaluate")
@pytest.mark.parametrize("breaks", [False, True])
def test_evaluate_restores_every_mode(breaks, device, rng):
    model, data = problem(rng, 6)
    norm = nn.BatchNorm1d(4, dtype=torch.float64, device=device)
    model = nn.Sequential(model, norm, nn.Dropout(0.5), *([Breaks()] if breaks else []))
    model.train()
    norm.eval()  # frozen for good
    if breaks:
        with pytest.raises(RuntimeError) as refusal:
            day06.evaluate(model, data)
            pytest.fail("the model raised, and evaluate kept it to itself")
        assert "on purpose" in str(refusal.value), f"another error arrived: {refusal.value}"
    else:
        day06.evaluate(model, data)
    modes = [part.training for part in model][:3]
    when = "after an exception" if breaks else "afterwards"
    assert model.training, f"the model was in training mode, {when} it is not"
    assert modes == [True, False, True], (
        f"training was [True, False, True] for layer, batch norm, dropout; {when} it is {modes}"
    )
    model.eval()
    assert all(type(mode) is bool for mode in modes), f"training is True or False, not {modes}"
    if not breaks:
        day06.evaluate(model, data)
        assert not any(p.training for p in model.modules()), "a model in eval mode left it"


@exercise("evaluate")
def test_evaluate_changes_nothing(device, rng):
    model, data = problem(rng, 12)
    model = nn.Sequential(model, nn.BatchNorm1d(4, dtype=torch.float64), nn.Dropout(0.5)).to(device)
    F.cross_entropy(model(data.inputs), data.targets).backward()
    before = {name: t.clone() for name, t in model.state_dict().items()}
    gradients = [p.grad.clone() for p in model.parameters()]
    random_state = torch.get_rng_state()
    first = day06.evaluate(model, data, batch_size=5)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), f"evaluating changed {name}"
    for p, gradient in zip(model.parameters(), gradients, strict=True):
        assert p.grad is not None, "evaluating removed gradients"
        assert torch.equal(p.grad, gradient), "evaluating changed gradients"
    assert torch.equal(torch.get_rng_state(), random_state), "random numbers were drawn"
    assert day06.evaluate(model, data, batch_size=5) == first, "a second evaluation differs"


@exercise("evaluate")
def test_evaluate_refuses_no_rows(device, rng):
    model, _ = problem(rng, 1)
    none = day06.Data(
        torch.zeros(0, 5, dtype=torch.float64, device=device),
        torch.zeros(0, dtype=torch.long, device=device),
    )
    with pytest.raises(ValueError):
        found = day06.evaluate(model, none)
        pytest.fail(f"of no rows there is no mean, but it returned {found}")


# fit -----------------------------------------------------------------------------------------


def fit_by_hand(model, train, optimizer, epochs, batch_size, generator, clip=None):
    """What fit's docstring says, without validation. → mean losses, largest norms."""
    losses, norms = [], []
    for _ in range(epochs):
        order = torch.randperm(len(train.targets), generator=generator).tolist()
        total, largest = 0.0, 0.0
        for start in range(0, len(order), batch_size):
            part = order[start : start + batch_size]
            batch = day06.Data(train.inputs[part], train.targets[part])
            loss, norm = plain_step(model, batch, optimizer, clip)
            total, largest = total + loss * len(part), max(largest, norm)
        losses.append(total / len(order))
        norms.append(largest)
    return losses, norms


def falling(rng, rows, features=5):
    """A problem whose validation loss falls in every epoch: both parts are the same."""
    model, data = problem(rng, rows, features)
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
    targets = data.inputs[:, :4].argmax(-1)
    return model, day06.Data(data.inputs, targets)


@exercise("fit")
@pytest.mark.parametrize("accumulate, clip", [(1, None), (3, None), (1, 0.1), (3, 0.1)])
def test_fit_is_the_loop_written_out(accumulate, clip, device, rng):
    model, data = falling(rng, 23)
    twin = copy.deepcopy(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    history = day06.fit(
        model, data, data, optimizer, epochs=3, batch_size=8, accumulate=accumulate, clip=clip,
        generator=torch.Generator().manual_seed(5),
    )  # fmt: skip
    other = torch.optim.SGD(twin.parameters(), lr=0.05)
    losses, norms = fit_by_hand(twin, data, other, 3, 8, torch.Generator().manual_seed(5), clip)
    assert history.best_epoch == 2, f"the loss falls all the time, best was {history.best_epoch}"
    for (name, p), wanted in zip(model.named_parameters(), twin.parameters(), strict=True):
        error = (p - wanted).abs().max().item()
        assert error < 1e-6, f"{name} is off by {error:.2g} after 3 epochs of 23 rows, batches of 8"
    for what, found, wanted in (
        ("train_loss", history.train_loss, losses),
        ("gradient_norm", history.gradient_norm, norms),
    ):
        assert np.allclose(found, wanted, rtol=1e-5), f"{what} is {found}, not {wanted}"
    measured = day06.evaluate(model, data)
    assert (history.validation_loss[-1], history.validation_accuracy[-1]) == measured, (
        f"the last entries of the history are not what evaluate measures, {measured}"
    )
    assert len(history.validation_accuracy) == len(history.validation_loss) == 3


def rising(device, epochs):
    """Logits that do not depend on the input. Training pulls them to class 1 alone, validation
    wants 3 of 4: its loss falls, then rises. → model, data, validation losses by epoch."""
    train = day06.Data(torch.zeros(8, 1, device=device), torch.ones(8, dtype=torch.long))
    validation = day06.Data(torch.zeros(4, 1, device=device), torch.tensor([0, 1, 1, 1]))
    train, validation = (day06.Data(x, y.to(device)) for x, y in (train, validation))
    z, losses = 0.0, []
    for _ in range(epochs):  # z = logit 1 - logit 0; both move, so twice the slope
        z += 2 * 0.2 * (1 - 1 / (1 + math.exp(-z)))
        p = 1 / (1 + math.exp(-z))
        losses.append(-(math.log(1 - p) + 3 * math.log(p)) / 4)
    model = nn.Linear(1, 2, device=device, dtype=torch.float64)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    double = [day06.Data(d.inputs.double(), d.targets) for d in (train, validation)]
    return model, *double, losses


@exercise("fit")
@pytest.mark.parametrize("patience", [1, 3, None])
def test_fit_stops_early_and_keeps_the_best(patience, device, rng):
    epochs = 14
    model, train, validation, losses = rising(device, epochs)
    best = losses.index(min(losses))
    assert 3 <= best <= epochs - 5  # this test's own arithmetic
    model = nn.Sequential(nn.BatchNorm1d(1, dtype=torch.float64, device=device), model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
    history = day06.fit(
        model, train, validation, optimizer, epochs=epochs, batch_size=8, patience=patience
    )
    wanted = losses if patience is None else losses[: best + patience + 1]
    found = history.validation_loss
    assert len(found) == len(wanted), (
        f"best epoch {best}, patience {patience}, {epochs} epochs at most: {len(wanted)} epochs "
        f"are expected, {len(found)} were trained"
    )
    assert np.allclose(found, wanted, rtol=1e-6), f"validation losses {found}, not {wanted}"
    assert history.best_epoch == best, f"best_epoch is {history.best_epoch}, not {best}"
    measured = day06.evaluate(model, validation).loss
    assert math.isclose(measured, losses[best], rel_tol=1e-6), (
        f"the best validation loss was {losses[best]:.4f}, the model left behind has "
        f"{measured:.4f} (the last epoch had {wanted[-1]:.4f})"
    )
    steps = model[0].num_batches_tracked.item()
    assert steps == best + 1, (
        f"the buffers are those after {steps} steps, the best epoch ended after {best + 1}"
    )


@exercise("fit")
def test_fit_counts_only_a_lower_loss_as_better(device, rng):
    model, data = falling(rng, 6)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)  # nothing changes
    history = day06.fit(model, data, data, optimizer, epochs=9, batch_size=6, patience=2)
    assert (history.best_epoch, len(history.train_loss)) == (0, 3), (
        f"with a loss that stays the same, epoch 0 is the best and patience=2 ends after 3 epochs; "
        f"best_epoch {history.best_epoch}, {len(history.train_loss)} epochs"
    )


@exercise("fit")
def test_fit_leaves_eval_mode_and_a_quiet_terminal(device, rng, capfd, monkeypatch):
    seen = []
    original = day06.progress_bar

    def noted(epochs):
        seen.append(epochs)
        bar = original(epochs)
        monkeypatch.setattr(bar, "set_postfix", lambda *_, **shown: said.append(shown))
        return bar

    said = []
    monkeypatch.setattr(day06, "progress_bar", noted)
    model, data = falling(rng, 9)
    model = nn.Sequential(nn.Dropout(0.1), model)
    day06.fit(model, data, data, sgd(model), epochs=2, batch_size=4)
    assert [sorted(shown) for shown in said] == [["accuracy", "loss"]] * 2, (
        f"after each of 2 epochs the bar should show loss= and accuracy=, it was given {said}"
    )
    assert not any(part.training for part in model.modules()), "the model is not in eval mode"
    printed = "".join(capfd.readouterr())
    assert printed == "", f"nobody watches a progress bar here, yet this was printed: {printed!r}"
    assert seen == [2], f"progress_bar was called with {seen}, once with 2 is expected"


@exercise("fit")
def test_fit_uses_its_loss_and_its_generator_alone(device, rng):
    model, data = falling(rng, 12)
    calls = []

    def loss_fn(scores, targets):
        calls.append(len(targets))
        return F.multi_margin_loss(scores, targets)

    state = torch.get_rng_state()
    generator = torch.Generator().manual_seed(1)
    history = day06.fit(model, data, data, sgd(model, 0.01), epochs=2, batch_size=5,
                        generator=generator, loss_fn=loss_fn)  # fmt: skip
    assert torch.equal(torch.get_rng_state(), state), "shuffling drew from the global generator"
    assert calls == [5, 5, 2, 12] * 2, f"rows in the calls of loss_fn, batches of 5: {calls}"
    wanted = F.multi_margin_loss(model(data.inputs), data.targets).item()
    assert math.isclose(min(history.validation_loss), wanted, rel_tol=1e-6)


@exercise("fit")
def test_fit_with_the_same_seed_gives_the_same_weights(device, rng):
    digits = day06.load_digits(device=device)
    train = day06.Data(digits.train.inputs[:200], digits.train.targets[:200])

    def trained(seed):
        generator = torch.Generator().manual_seed(seed)
        torch.manual_seed(seed)
        model = day06.digits_classifier().to(device)
        day06.fit(model, train, digits.validation, sgd(model), epochs=2, generator=generator)
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    first = trained(rng.seed)
    if device.type == "cpu":
        assert torch.equal(first, trained(rng.seed)), "the same seed gave other weights"
    else:  # sums on a GPU may be added up in another order
        close(trained(rng.seed), first.double(), dtype=first.dtype, terms=10**4, scale=1.0)
    assert not torch.equal(first, trained(rng.seed + 1)), "another seed gave the same weights"


@exercise("fit", seconds=60)
def test_fit_reads_real_handwriting(device):
    """97 % of 360 digits that neither training nor early stopping has seen."""
    torch.manual_seed(0)
    digits = day06.load_digits(device=device)
    model = day06.digits_classifier().to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    history = day06.fit(
        model, digits.train, digits.validation, optimizer, epochs=15, clip=5.0, patience=5,
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    with torch.no_grad():
        right = (model(digits.test.inputs).argmax(-1) == digits.test.targets).sum().item()
    assert right / 360 >= 0.97, (
        f"{right} of 360 unseen digits are read right ({right / 360:.1%}; 97 % are wanted); best "
        f"epoch {history.best_epoch} of {len(history.train_loss)}"
    )
