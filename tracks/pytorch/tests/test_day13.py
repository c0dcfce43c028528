"""Day 13: cells and stacks against torch's with the same weights; a model that reads English."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from harness.testing import close, exercise, layouts, shapes, watch
from tracks.pytorch import day13

BAN = ["rnn_tanh_cell", "rnn_relu_cell", "lstm_cell", "gru_cell", "rnn_tanh", "rnn_relu", "lstm",
       "gru", "mkldnn_rnn_layer", "cudnn_rnn", "thnn_fused_lstm_cell", "thnn_fused_gru_cell",
       "pack_padded_sequence", "pad_packed_sequence"]  # fmt: skip
SIZES = shapes("lead, inputs, hidden", ((), 3, 4), ((1,), 1, 1), ((5,), 4, 3), ((2, 3), 2, 5),
               ((0,), 3, 2), gpu=[((256,), 300, 512)])  # fmt: skip


def filled(module, rng, dtype=torch.float64, std=0.7):
    """``module`` on the device in ``dtype``, all its weights new and not small.

    Nor so large that a wide layer is chaotic: then the last digit of step 1 decides step 50.
    """
    module = module.to(rng.device, dtype)
    with torch.no_grad():
        for p in module.parameters():
            most = 2.0 * p.shape[-1] ** -0.5 if p.dim() > 1 else std
            p.copy_(rng.normal(*p.shape, std=min(std, most), dtype=dtype))
    return module


def twins(mine, theirs, rng, dtype=torch.float64):
    """Both with the same weights; theirs in float64, whatever ``dtype`` mine has."""
    mine = filled(mine, rng, dtype)
    theirs = theirs.to(rng.device, torch.float64)
    found = {name: tuple(t.shape) for name, t in mine.state_dict().items()}
    wanted = {name: tuple(t.shape) for name, t in theirs.state_dict().items()}
    assert found == wanted, f"the state_dict has {found}, torch's has {wanted}"
    theirs.load_state_dict(mine.state_dict())
    return mine, theirs


def same_gradients(mine, theirs, what, terms=200):
    for (name, p), q in zip(mine.named_parameters(), theirs.parameters(), strict=True):
        close(p.grad, q.grad, dtype=p.dtype, terms=terms, scale=2.0,
              name=f"gradient of {name} {what}")  # fmt: skip


# The three cells -----------------------------------------------------------------------------


def flat(x, width):
    """torch's own cells take one leading axis."""
    return x.double().reshape(-1, width)


def check_cell(kind, lead, inputs, hidden, rng):
    """RNNCell or GRUCell: values in two dtypes, with and without a state."""
    for dtype in (torch.float64, torch.float32):
        mine, theirs = twins(
            getattr(day13, kind)(inputs, hidden), getattr(nn, kind)(inputs, hidden), rng, dtype
        )
        x, h = rng.normal(*lead, inputs, dtype=dtype), rng.normal(*lead, hidden, dtype=dtype)
        what = f"of {kind}({inputs}, {hidden}), {(*x.shape,)}"
        wanted = theirs(flat(x, inputs), flat(h, hidden)).view(h.shape)
        close(mine(x, h), wanted, dtype=dtype, terms=2 * (inputs + hidden), scale=1.0,
              name=f"h' {what}")  # fmt: skip
        wanted = theirs(flat(x, inputs)).view(h.shape)
        close(mine(x), wanted, dtype=dtype, terms=2 * inputs, scale=1.0,
              name=f"h' {what}, without a state")  # fmt: skip


def check_cell_gradients(kind, rng):
    mine, theirs = twins(getattr(day13, kind)(3, 4), getattr(nn, kind)(3, 4), rng)
    x, h = (rng.normal(5, n, dtype=torch.float64) for n in (3, 4))
    slope = rng.normal(5, 4, dtype=torch.float64)
    seen = []
    for cell in (mine, theirs):
        leaves = [t.clone().requires_grad_() for t in (x, h)]
        state = leaves[1]
        for _ in range(3):  # three steps, so that the state's way back counts
            state = cell(leaves[0], state)
        (state * slope).sum().backward()
        seen.append([leaf.grad for leaf in leaves])
    for name, got, wanted in zip(("x", "h"), *seen, strict=True):
        close(got, wanted, terms=60, scale=2.0, name=f"gradient of {name} after three steps")
    same_gradients(mine, theirs, "after three steps")


def check_cell_inputs(kind, rng):
    """Any strides, large numbers, bfloat16."""
    mine, theirs = twins(getattr(day13, kind)(3, 4), getattr(nn, kind)(3, 4), rng)
    x, h = (rng.normal(5, n, dtype=torch.float64) for n in (3, 4))
    for (layout, xs), (_, hs) in zip(layouts(x), layouts(h), strict=True):
        close(mine(xs, hs), theirs(x, h), terms=30, scale=1.0, name=f"of {layout} x and h")
    large = mine(1e5 * x, h)
    assert large.isfinite().all(), "x around 1e5: the result is nan or inf"
    close(large, theirs(1e5 * x, h), terms=30, scale=1.0, name="h' of x around 1e5")
    mine.to(torch.bfloat16)
    found = mine(x.to(torch.bfloat16), h.to(torch.bfloat16))
    assert found.dtype == torch.bfloat16, f"bfloat16 x, h and weights give {found.dtype}"
    error = (found.double() - theirs(x, h)).abs().max().item()
    # Sums of seven numbers around 1, rounded to 8 bits a few times, through slopes of at most 1.
    assert error < 0.15, f"in bfloat16 the result is off by {error:.2g}"


def check_cell_compiles(kind, rng):
    cell = filled(getattr(day13, kind)(3, 4), rng, torch.float32)
    compiled = torch.compile(cell, backend="aot_eager", fullgraph=True, dynamic=False)
    x, h = rng.normal(5, 3), rng.normal(5, 4)
    if kind == "LSTMCell":
        h = (h, rng.normal(5, 4))
    for found, wanted in zip(compiled(x, h), cell(x, h), strict=True):
        close(found, wanted.detach(), terms=20, scale=1.0, name="compiled")


@exercise("RNNCell", ban=BAN)
@SIZES
def test_rnn_values(lead, inputs, hidden, device, rng):
    check_cell("RNNCell", lead, inputs, hidden, rng)


@exercise("RNNCell", ban=BAN)
def test_rnn_gradients(device, rng):
    check_cell_gradients("RNNCell", rng)


@exercise("RNNCell", ban=BAN)
def test_rnn_inputs(device, rng):
    check_cell_inputs("RNNCell", rng)


@exercise("RNNCell", seconds=60)  # no ban: its watching cannot be compiled
def test_rnn_compiles_without_a_graph_break(device, rng):
    check_cell_compiles("RNNCell", rng)


@exercise("GRUCell", ban=BAN)
@SIZES
def test_gru_values(lead, inputs, hidden, device, rng):
    check_cell("GRUCell", lead, inputs, hidden, rng)


@exercise("GRUCell", ban=BAN)
def test_gru_gradients(device, rng):
    check_cell_gradients("GRUCell", rng)


@exercise("GRUCell", ban=BAN)
def test_gru_inputs(device, rng):
    check_cell_inputs("GRUCell", rng)


def open_cell(kind, gates, rng, **biases):
    """A cell whose gates hang on their biases alone: all weights are zero."""
    cell = getattr(day13, kind)(2, 3).to(rng.device).double()
    with torch.no_grad():
        for p in cell.parameters():
            p.zero_()
        for gate, value in biases.items():
            place = gates.index(gate)
            cell.bias_ih[3 * place : 3 * place + 3] = value
    return cell


@exercise("GRUCell", ban=BAN)
def test_gru_update_gate_keeps_or_replaces(device, rng):
    x, h = rng.normal(4, 2, dtype=torch.float64), rng.normal(4, 3, dtype=torch.float64)
    kept = open_cell("GRUCell", "rzn", rng, z=100.0, n=0.5)(x, h)
    close(kept, h, terms=4, scale=1.0, name="h' with z = 1, which keeps the state,")
    replaced = open_cell("GRUCell", "rzn", rng, z=-100.0, n=0.5)(x, h)
    wanted = torch.full_like(h, math.tanh(0.5))
    close(replaced, wanted, terms=4, scale=1.0, name="h' with z = 0, which takes the candidate,")


@exercise("GRUCell", ban=BAN)
def test_gru_takes_two_products(device, rng):
    cell = filled(day13.GRUCell(4, 5), rng)
    x, h = rng.normal(6, 4, dtype=torch.float64), rng.normal(6, 5, dtype=torch.float64)
    _, seen = watch(cell, x, h)
    found = products(seen)
    assert found == 2, f"two products make all three gates; here are {found}"


@exercise("GRUCell", seconds=60)
def test_gru_compiles_without_a_graph_break(device, rng):
    check_cell_compiles("GRUCell", rng)


def products(seen):
    names = ("aten.mm", "aten.bmm", "aten.addmm", "aten.baddbmm", "aten.linear", "aten.mv",
             "aten.addmv", "aten.matmul")  # fmt: skip
    return sum(name in names for name in seen.operators)


@exercise("LSTMCell", ban=BAN)
@SIZES
def test_lstm_cell_values(lead, inputs, hidden, device, rng):
    for dtype in (torch.float64, torch.float32):
        mine, theirs = twins(
            day13.LSTMCell(inputs, hidden), nn.LSTMCell(inputs, hidden), rng, dtype
        )
        x = rng.normal(*lead, inputs, dtype=dtype)
        h, c = (rng.normal(*lead, hidden, std=2.0, dtype=dtype) for _ in "hc")
        what = f"of LSTMCell({inputs}, {hidden}), {(*x.shape,)}"
        for given in ((h, c), None):
            wide = None if given is None else tuple(flat(t, hidden) for t in given)
            found, wanted = mine(x, given), theirs(flat(x, inputs), wide)
            assert isinstance(found, tuple) and len(found) == 2, f"(h', c') {what}, not {found}"
            how = "without a state" if given is None else "from a state"
            for name, got, right in zip(("h'", "c'"), found, wanted, strict=True):
                close(got, right.view(h.shape), dtype=dtype, terms=2 * (inputs + hidden), scale=2.0,
                      name=f"{name} {what}, {how}")  # fmt: skip


@exercise("LSTMCell", ban=BAN)
def test_lstm_cell_gradients(device, rng):
    mine, theirs = twins(day13.LSTMCell(3, 4), nn.LSTMCell(3, 4), rng)
    tensors = [rng.normal(5, n, dtype=torch.float64) for n in (3, 4, 4)]
    slopes = [rng.normal(5, 4, dtype=torch.float64) for _ in "hc"]
    seen = []
    for cell in (mine, theirs):
        x, h, c = leaves = [t.clone().requires_grad_() for t in tensors]
        for _ in range(3):
            h, c = cell(x, (h, c))
        (h * slopes[0] + c * slopes[1]).sum().backward()
        seen.append([leaf.grad for leaf in leaves])
    for name, got, wanted in zip(("x", "h", "c"), *seen, strict=True):
        close(got, wanted, terms=60, scale=2.0, name=f"gradient of {name} after three steps")
    same_gradients(mine, theirs, "after three steps")


@exercise("LSTMCell", ban=BAN)
def test_lstm_cell_step_stands_alone(device, rng):
    gates, c = rng.normal(2, 5, 12, dtype=torch.float64), rng.normal(2, 5, 3, dtype=torch.float64)
    found = day13.LSTMCell.step(gates, c)
    i, f, g, o = (gates[..., 3 * k : 3 * k + 3] for k in range(4))
    memory = c / (1 + (-f).exp()) + g.tanh() / (1 + (-i).exp())
    shown = memory.tanh() / (1 + (-o).exp())
    for name, got, right in zip(("h'", "c'"), found, (shown, memory), strict=True):
        close(got, right, terms=4, scale=1.0, name=f"{name} of LSTMCell.step")


@exercise("LSTMCell", ban=BAN)
def test_lstm_cell_remembers_for_a_hundred_steps(device, rng):
    cell = open_cell("LSTMCell", "ifgo", rng, i=-100.0, f=100.0, g=3.0, o=100.0)
    x, c = rng.normal(4, 2, dtype=torch.float64), rng.normal(4, 3, std=3.0, dtype=torch.float64)
    leaf = c.clone().requires_grad_()
    state = torch.zeros_like(c), leaf
    for _ in range(100):
        state = cell(x, state)
    close(state[1], c, terms=4, scale=1.0, name="c after 100 steps that forget and write nothing")
    state[1].sum().backward()
    close(leaf.grad, torch.ones_like(c), terms=4, scale=1.0, name="gradient over 100 such steps")


@exercise("LSTMCell", ban=BAN)
def test_lstm_cell_inputs(device, rng):
    mine, theirs = twins(day13.LSTMCell(3, 4), nn.LSTMCell(3, 4), rng)
    x, h, c = (rng.normal(5, n, dtype=torch.float64) for n in (3, 4, 4))
    for (layout, xs), (_, hs), (_, cs) in zip(layouts(x), layouts(h), layouts(c), strict=True):
        for name, got, right in zip("hc", mine(xs, (hs, cs)), theirs(x, (h, c)), strict=True):
            close(got, right, terms=30, scale=1.0, name=f"{name}' of a {layout} x and state")
    for name, got, right in zip("hc", mine(1e5 * x, (h, c)), theirs(1e5 * x, (h, c)), strict=True):
        assert got.isfinite().all(), "x around 1e5: the result is nan or inf"
        close(got, right, terms=30, scale=1.0, name=f"{name}' of x around 1e5")
    mine.to(torch.bfloat16)
    x, h, c = (t.to(torch.bfloat16) for t in (x, h, c))
    wanted = theirs(x.double(), (h.double(), c.double()))
    for name, got, right in zip("hc", mine(x, (h, c)), wanted, strict=True):
        assert got.dtype == torch.bfloat16, f"bfloat16 x, state and weights give {got.dtype}"
        error = (got.double() - right).abs().max().item()
        assert error < 0.15, f"in bfloat16 {name}' is off by {error:.2g}"


@exercise("LSTMCell", ban=BAN)
def test_lstm_cell_takes_two_products(device, rng):
    cell = filled(day13.LSTMCell(4, 5), rng)
    x, h, c = (rng.normal(6, n, dtype=torch.float64) for n in (4, 5, 5))
    _, seen = watch(cell, x, (h, c))
    found = products(seen)
    assert found == 2, f"two products make all four gates; here are {found}"


@exercise("LSTMCell", seconds=60)
def test_lstm_cell_compiles_without_a_graph_break(device, rng):
    check_cell_compiles("LSTMCell", rng)


# LSTM ----------------------------------------------------------------------------------------


def stacks(rng, inputs, hidden, layers, dtype=torch.float64):
    return twins(
        day13.LSTM(inputs, hidden, layers),
        nn.LSTM(inputs, hidden, layers, batch_first=True),
        rng,
        dtype,
    )


def started(rng, layers, batch, hidden, dtype=torch.float64):
    return tuple(rng.normal(layers, batch, hidden, dtype=dtype) for _ in "hc")


def packed(theirs, x, state, lengths):
    """torch's answer to a padded batch; nobody has length 0."""
    parcel = pack_padded_sequence(x, torch.tensor(lengths), batch_first=True, enforce_sorted=False)
    outputs, state = theirs(parcel, state)
    outputs, _ = pad_packed_sequence(outputs, batch_first=True, total_length=x.shape[1])
    return outputs, state


def same_results(found, wanted, dtype, what):
    outputs, (h, c) = found
    right, (right_h, right_c) = wanted
    for name, got, want in (("outputs", outputs, right), ("h", h, right_h), ("c", c, right_c)):
        close(got, want, dtype=dtype, terms=60, scale=1.0, name=f"{name} {what}")


STACKS = shapes("batch, steps, inputs, hidden, layers", (1, 1, 1, 1, 1), (3, 5, 4, 6, 1),
                (2, 7, 3, 4, 2), (4, 4, 5, 3, 3), (0, 3, 2, 4, 2), (2, 1, 6, 2, 2),
                gpu=[(64, 50, 128, 256, 2)])  # fmt: skip


@exercise("LSTM", ban=BAN)
@STACKS
def test_lstm_values(batch, steps, inputs, hidden, layers, device, rng):
    for dtype in (torch.float64, torch.float32):
        mine, theirs = stacks(rng, inputs, hidden, layers, dtype)
        what = f"of LSTM({inputs}, {hidden}, layers={layers}), {batch} sequences of {steps} steps"
        x = rng.normal(batch, steps, inputs, dtype=dtype)
        state = started(rng, layers, batch, hidden, dtype)
        if batch == 0:
            outputs, (h, c) = mine(x, state)
            found = [(*t.shape,) for t in (outputs, h, c)]
            assert found == [(0, steps, hidden)] + [(layers, 0, hidden)] * 2, f"{found} {what}"
            continue
        wide = tuple(t.double() for t in state)
        same_results(mine(x), theirs(x.double()), dtype, f"{what}, from zeros")
        same_results(mine(x, state), theirs(x.double(), wide), dtype, f"{what}, from a state")


@exercise("LSTM", ban=BAN)
def test_lstm_state_and_first_values():
    for layers in (1, 3):
        mine = day13.LSTM(5, 40, layers)
        theirs = nn.LSTM(5, 40, layers, batch_first=True)
        assert not isinstance(mine, nn.RNNBase), "this is torch's own LSTM"
        found, wanted = list(mine.state_dict()), list(theirs.state_dict())
        assert found == wanted, f"the state_dict has {found}, nn.LSTM's has {wanted}"
        theirs.load_state_dict(mine.state_dict())
        bound = 40**-0.5
        for name, p in mine.named_parameters():
            assert isinstance(p, nn.Parameter) and p.requires_grad, f"{name} cannot learn"
            largest, mean, n = p.abs().max().item(), p.mean().item(), p.numel()
            assert 0.9 * bound < largest <= bound * 1.0001, (
                f"{name}: the largest element is {largest:.4f}; uniform up to {bound:.4f} is asked"
            )
            assert abs(mean) < 6 * bound / (3 * n) ** 0.5, f"{name} has the mean {mean:.3g}"
            square, sigma = p.square().mean().item(), bound**2 * (4 / 45 / n) ** 0.5
            assert abs(square - bound**2 / 3) < 6 * sigma, f"{name} is not uniformly distributed"


@exercise("LSTM", ban=BAN)
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("layers", [1, 2])
def test_lstm_gradients(padded, layers, device, rng):
    mine, theirs = stacks(rng, 3, 4, layers)
    lengths = [3, 6, 1, 5]
    x = rng.normal(4, 6, 3, dtype=torch.float64)
    state = started(rng, layers, 4, 4)
    slopes = [
        rng.normal(*s, dtype=torch.float64) for s in ((4, 6, 4), (layers, 4, 4), (layers, 4, 4))
    ]
    seen = []
    for one in (mine, theirs):
        leaves = [t.clone().requires_grad_() for t in (x, *state)]
        begin = leaves[1], leaves[2]
        if one is theirs and padded:
            outputs, (h, c) = packed(one, leaves[0], begin, lengths)
        elif padded:
            outputs, (h, c) = one(leaves[0], begin, torch.tensor(lengths, device=device))
        else:
            outputs, (h, c) = one(leaves[0], begin)
        sum((t * s).sum() for t, s in zip((outputs, h, c), slopes, strict=True)).backward()
        seen.append([leaf.grad for leaf in leaves])
    what = f"{layers} layer(s), {'padded' if padded else 'no padding'}"
    for name, got, wanted in zip(("x", "the first h", "the first c"), *seen, strict=True):
        close(got, wanted, terms=100, scale=2.0, name=f"gradient of {name}, {what}")
    same_gradients(mine, theirs, what)


@exercise("LSTM", ban=BAN)
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("lengths", [[5, 3, 4, 1], [1, 1, 1, 1], [2, 5, 5, 3], [4, 2, 3, 4]])
def test_lstm_with_lengths(lengths, layers, device, rng):
    for dtype, kind in ((torch.float64, torch.int64), (torch.float32, torch.int32)):
        mine, theirs = stacks(rng, 3, 4, layers, dtype)
        x = rng.normal(4, 5, 3, dtype=dtype)
        state = started(rng, layers, 4, 4, dtype)
        wide = tuple(t.double() for t in state)
        given = torch.tensor(lengths, dtype=kind, device=device)
        what = f"with lengths {lengths}"
        found = mine(x, lengths=given)
        same_results(found, packed(theirs, x.double(), None, lengths), dtype, f"{what}, from zeros")
        found = mine(x, state, given)
        same_results(
            found, packed(theirs, x.double(), wide, lengths), dtype, f"{what}, from a state"
        )


@exercise("LSTM", ban=BAN)
def test_lstm_of_an_empty_sequence(device, rng):
    mine, theirs = stacks(rng, 3, 4, 2)
    x, state = rng.normal(3, 4, 3, dtype=torch.float64), started(rng, 2, 3, 4)
    outputs, (h, c) = mine(x, state, torch.tensor([0, 4, 0], device=device))
    right, (right_h, right_c) = theirs(x[1:2], tuple(t[:, 1:2].contiguous() for t in state))
    for name, got, start, wanted in (("h", h, state[0], right_h), ("c", c, state[1], right_c)):
        close(got[:, ::2], start[:, ::2], name=f"{name} of sequences of length 0")
        close(got[:, 1:2], wanted, terms=60, scale=1.0, name=f"{name} of the sequence beside them")
    close(outputs[::2], torch.zeros_like(outputs[::2]), name="outputs of sequences of length 0")
    close(outputs[1:2], right, terms=60, scale=1.0, name="outputs of the sequence beside them")


@exercise("LSTM", ban=BAN)
@pytest.mark.parametrize("filler", [7.0, 1e30, torch.inf, torch.nan])
def test_lstm_padding_never_leaks(filler, device, rng):
    mine, _ = stacks(rng, 3, 4, 2)
    lengths = torch.tensor([2, 5, 0, 4], device=device)
    real = torch.arange(5, device=device) < lengths[:, None]
    x = rng.normal(4, 5, 3, dtype=torch.float64)
    slopes = [rng.normal(*s, dtype=torch.float64) for s in ((4, 5, 4), (2, 4, 4), (2, 4, 4))]
    seen = []
    for value in (0.0, filler):
        leaf = torch.where(real[..., None], x, value).requires_grad_()
        mine.zero_grad()
        outputs, (h, c) = mine(leaf, lengths=lengths)
        sum((t * s).sum() for t, s in zip((outputs, h, c), slopes, strict=True)).backward()
        grads = {f"gradient of {name}": p.grad for name, p in mine.named_parameters()}
        seen.append({"outputs": outputs, "h": h, "c": c, "gradient of x": leaf.grad, **grads})
    for name, clean in seen[0].items():
        close(seen[1][name], clean.detach(), name=f"{name}, with {filler} in the padding,")
    padding = seen[1]["gradient of x"][~real]
    assert (padding == 0).all(), f"the padding has a gradient: {padding.flatten()[:4].tolist()}"
    outside = seen[1]["outputs"][~real]
    assert (outside == 0).all(), f"outputs in the padding are {outside.flatten()[:4].tolist()}"


@exercise("LSTM", ban=BAN)
def test_lstm_goes_on_from_its_state(device, rng):
    """A text in two pieces gives what it gives in one."""
    mine, _ = stacks(rng, 3, 4, 2)
    x = rng.normal(3, 9, 3, dtype=torch.float64)
    whole, (h, c) = mine(x)
    first, state = mine(x[:, :4])
    second, (h2, c2) = mine(x[:, 4:], state)
    close(torch.cat([first, second], 1), whole.detach(), terms=60, scale=1.0, name="two pieces")
    for name, got, wanted in (("h", h2, h), ("c", c2, c)):
        close(got, wanted.detach(), terms=60, scale=1.0, name=f"{name} after two pieces")


@exercise("LSTM", ban=BAN)
def test_lstm_of_any_strides(device, rng):
    mine, theirs = stacks(rng, 3, 4, 2)
    x, state = rng.normal(2, 5, 3, dtype=torch.float64), started(rng, 2, 2, 4)
    wanted = theirs(x, state)
    for (layout, xs), (_, h), (_, c) in zip(
        layouts(x), layouts(state[0]), layouts(state[1]), strict=True
    ):
        same_results(mine(xs, (h, c)), wanted, torch.float64, f"of a {layout} x and state")


@exercise("LSTM", ban=BAN)
def test_lstm_in_bfloat16(device, rng):
    mine, theirs = stacks(rng, 3, 4, 2, torch.bfloat16)
    x, lengths = rng.normal(3, 5, 3, dtype=torch.bfloat16), [5, 2, 3]
    outputs, (h, c) = mine(x, lengths=torch.tensor(lengths, device=device))
    right, (right_h, right_c) = packed(theirs, x.double(), None, lengths)
    for name, got, wanted in (("outputs", outputs, right), ("h", h, right_h), ("c", c, right_c)):
        assert got.dtype == torch.bfloat16, f"{name} of a bfloat16 LSTM is {got.dtype}"
        error = (got.double() - wanted).abs().max().item()
        assert error < 0.25, f"in bfloat16 {name} is off by {error:.2g}"


@exercise("LSTM", ban=BAN)
def test_lstm_makes_everything_where_x_is(device, rng):
    mine, theirs = stacks(rng, 3, 4, 2)
    x, lengths = rng.normal(2, 3, 3, dtype=torch.float64), torch.tensor([3, 1], device=device)
    with torch.device("meta"):  # where tensors land that are made without device=
        found = mine(x, lengths=lengths)
    same_results(found, packed(theirs, x, None, [3, 1]), torch.float64, "on the device of x")


@exercise("LSTM", ban=BAN)
@pytest.mark.parametrize("padded", [False, True])
def test_lstm_work_for_each_step(padded, device, rng):
    mine = filled(day13.LSTM(6, 8, 2), rng, torch.float32)
    counts = {}
    for batch, steps in ((2, 4), (2, 8), (16, 4)):
        x = rng.normal(batch, steps, 6)
        lengths = rng.integers(0, steps + 1, batch) if padded else None
        _, seen = watch(mine, x, lengths=lengths)
        counts[batch, steps] = len(seen.operators)
        found = products(seen)
        assert found <= 2 * (steps + 1), (
            f"{found} matrix products for 2 layers and {steps} steps: is something multiplied "
            "step by step that is known for all steps before the loop begins?"
        )
        assert not seen.synchronisations, f"the host waits for the device: {seen.synchronisations}"
    assert counts[16, 4] <= counts[2, 4] + 3, (
        f"{counts[2, 4]} operators for 2 sequences, {counts[16, 4]} for 16: a loop over the batch?"
    )


@exercise("LSTM", ban=BAN)
@pytest.mark.parametrize(
    "shape, lengths, named",
    [
        ((4, 3), None, (4, 3)),
        ((2, 4, 5), None, (2, 4, 5)),
        ((1, 2, 4, 3), None, (1, 2, 4, 3)),
        ((2, 4, 3), (3,), (3, 2)),
        ((2, 4, 3), (2, 4), (2, 4)),
        ((2, 4, 3), (1,), (1, 2)),
    ],
    ids=str,
)
def test_lstm_refuses_other_shapes(shape, lengths, named, device, rng):
    mine = day13.LSTM(3, 4).to(device)
    given = None if lengths is None else torch.ones(lengths, dtype=torch.int64, device=device)
    with pytest.raises(ValueError) as refusal:
        mine(rng.normal(*shape), lengths=given)
        pytest.fail(f"LSTM(3, 4) took x {shape} with lengths {lengths}")
    message = str(refusal.value)
    assert all(str(n) in message for n in named), f"which shape does not fit? {message!r}"


@exercise("LSTM", seconds=60)
def test_lstm_compiles_without_a_graph_break(device, rng):
    mine = filled(day13.LSTM(3, 4, 2), rng, torch.float32)
    compiled = torch.compile(mine, backend="aot_eager", fullgraph=True, dynamic=False)
    x = rng.normal(3, 4, 3)
    for lengths in (None, torch.tensor([2, 0, 4], device=device)):
        wanted, found = mine(x, lengths=lengths), compiled(x, lengths=lengths)
        same_results(found, wanted, torch.float32, "compiled")


# CharModel -----------------------------------------------------------------------------------


class Reader(nn.Module):
    """The same model out of torch's own parts."""

    def __init__(self, vocabulary, hidden, layers):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, hidden)
        self.lstm = nn.LSTM(hidden, hidden, layers, batch_first=True)
        self.head = nn.Linear(hidden, vocabulary)

    def forward(self, tokens, state=None):
        outputs, state = self.lstm(self.embedding(tokens), state)
        return self.head(outputs), state


def readers(rng, vocabulary=7, hidden=6, layers=2):
    mine, theirs = day13.CharModel(vocabulary, hidden, layers), Reader(vocabulary, hidden, layers)
    found, wanted = list(mine.state_dict()), list(theirs.state_dict())
    assert found == wanted, f"the state_dict has {found}; {wanted} was expected"
    return twins(mine, theirs, rng)


def read_by_hand(model, streams, optimizer, chunk, clip):
    """Truncated backpropagation, written out. → the mean loss of all predictions."""
    state, losses = None, []
    columns = streams.shape[1]
    for first in range(1, columns, chunk):  # the first column that is predicted
        last = min(first + chunk, columns)
        scores, state = model(streams[:, first - 1 : last - 1], state)
        each = F.cross_entropy(scores.transpose(1, 2), streams[:, first:last], reduction="none")
        losses += each.detach().flatten().tolist()
        model.zero_grad()
        each.mean().backward()
        norm = sum(p.grad.square().sum() for p in model.parameters()).sqrt()
        for p in model.parameters():
            p.grad *= min(1.0, clip / (norm.item() + 1e-6))
        optimizer.step()
        state = tuple(s.detach() for s in state)
    return sum(losses) / len(losses)


@exercise("CharModel", ban=BAN)
def test_model_forward(device, rng):
    mine, theirs = readers(rng)
    tokens = rng.integers(0, 7, 3, 8)
    same_results(mine(tokens), theirs(tokens), torch.float64, "of 3 texts of 8 characters")
    state = started(rng, 2, 3, 6)
    same_results(mine(tokens, state), theirs(tokens, state), torch.float64, "from a state")
    assert isinstance(mine.lstm, day13.LSTM), f"lstm is a {type(mine.lstm)}, not your own"
    assert isinstance(mine.head, day13.Linear), f"head is a {type(mine.head)}, not day 5's Linear"
    plain = day13.CharModel(9)
    shapes = plain.embedding.weight.shape, plain.lstm.weight_ih_l0.shape
    assert shapes == ((9, 128), (512, 128)), f"by default hidden is 128: {shapes}"
    assert "lstm.weight_ih_l1" not in plain.state_dict(), "by default there is one layer"


@exercise("CharModel", ban=BAN)
@shapes("rows, columns, chunk", (3, 13, 4), (2, 14, 4), (1, 2, 5), (4, 9, 8), (2, 6, 1), (2, 5, 50))
def test_pass_is_truncated_backpropagation(rows, columns, chunk, device, rng):
    mine, theirs = readers(rng)
    streams = rng.integers(0, 7, rows, columns)
    what = f"with streams {(rows, columns)} and chunk={chunk}"
    optimizer = torch.optim.SGD(mine.parameters(), lr=0.3, momentum=0.9)
    other = torch.optim.SGD(theirs.parameters(), lr=0.3, momentum=0.9)
    for n in (1, 2):  # the second pass begins as the first did
        found = mine.train_pass(streams, optimizer, chunk)
        wanted = read_by_hand(theirs, streams, other, chunk, 1.0)
        assert type(found) is float, f"the loss is a float, not {type(found)}"
        assert math.isclose(found, wanted, rel_tol=1e-5), (
            f"pass {n} {what} returned the mean loss {found:.6f}, not {wanted:.6f}"
        )
        for (name, p), q in zip(mine.named_parameters(), theirs.parameters(), strict=True):
            error = (p - q).abs().max().item()
            assert error < 1e-5, f"{name} is off by {error:.2g} after pass {n} {what}"


@exercise("CharModel", ban=BAN)
@pytest.mark.parametrize("clip", [0.01, 1e6])
def test_pass_clips(clip, device, rng):
    mine, theirs = readers(rng, layers=1)
    streams = rng.integers(0, 7, 2, 10)
    mine.train_pass(streams, torch.optim.SGD(mine.parameters(), lr=0.1), 3, clip)
    read_by_hand(theirs, streams, torch.optim.SGD(theirs.parameters(), lr=0.1), 3, clip)
    for (name, p), q in zip(mine.named_parameters(), theirs.parameters(), strict=True):
        error = (p - q).abs().max().item()
        assert error < 1e-6, f"{name} is off by {error:.2g} after a pass with clip={clip}"


@exercise("CharModel", ban=BAN)
def test_pass_keeps_no_graph_beyond_a_chunk(device, rng):
    model = day13.CharModel(7, 32).to(device)
    streams = rng.integers(0, 7, 4, 161)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model.train_pass(streams[:, :9], optimizer, chunk=8)
    _, short = watch(model.train_pass, streams[:, :17], optimizer, chunk=8)
    _, long = watch(model.train_pass, streams, optimizer, chunk=8)
    assert long.peak_bytes < 1.3 * short.peak_bytes, (
        f"a text ten times as long takes {long.peak_bytes} bytes instead of {short.peak_bytes}: "
        "is something of each chunk's graph kept?"
    )


@exercise("CharModel", ban=BAN)
@shapes("rows, columns, chunk", (3, 13, 4), (2, 14, 4), (1, 2, 5), (2, 6, 1), (3, 40, 256))
def test_perplexity(rows, columns, chunk, device, rng):
    mine, theirs = readers(rng)
    streams = rng.integers(0, 7, rows, columns)
    scores, _ = theirs(streams[:, :-1])
    wanted = F.cross_entropy(scores.flatten(0, 1), streams[:, 1:].flatten()).exp().item()
    before, mine.embedding.weight.grad = copy.deepcopy(mine.state_dict()), None
    for mode in (True, False):
        mine.train(mode)
        for found in (mine.perplexity(streams, chunk), mine.perplexity(streams)):
            assert type(found) is float, f"perplexity is a float, not {type(found)}"
            assert math.isclose(found, wanted, rel_tol=1e-4), (
                f"perplexity {found:.5f}, not {wanted:.5f}, of streams {(rows, columns)}, "
                f"chunk={chunk}"
            )
        assert mine.training is mode, "perplexity changed the mode of the model"
    assert all(p.grad is None for p in mine.parameters()), "perplexity left gradients behind"
    for name, t in mine.state_dict().items():
        assert torch.equal(t, before[name]), f"perplexity changed {name}"


@exercise("CharModel", ban=BAN)
def test_perplexity_records_no_graph(device, rng):
    model = day13.CharModel(7, 32).to(device)
    recording = []
    model.lstm.register_forward_hook(lambda *_: recording.append(torch.is_grad_enabled()))
    steps = []
    model.lstm.register_forward_pre_hook(lambda _, args: steps.append(args[0].shape[1]))
    model.perplexity(rng.integers(0, 7, 2, 30), chunk=8)
    assert not any(recording), "perplexity records a graph"
    assert steps == [8, 8, 8, 5], f"29 predictions, 8 at a time: the LSTM saw {steps} steps"


@exercise("CharModel", ban=BAN)
def test_perplexity_of_a_blind_guess(device, rng):
    model = day13.CharModel(11, 4).to(device)
    with torch.no_grad():
        for p in model.head.parameters():
            p.zero_()
    found = model.perplexity(rng.integers(0, 11, 3, 20))
    assert math.isclose(found, 11.0, rel_tol=1e-4), f"11 equal chances: perplexity {found}, not 11"


@exercise("CharModel", seconds=60)  # no ban: watching each operator would take a minute
def test_model_reads_english():
    """Guessing blindly has perplexity 39, knowing how frequent each character is about 22."""
    model, curve = day13.train_on_text(passes=2, characters=100_000)
    assert curve[2] < curve[1] < curve[0], f"the perplexity on unseen text does not fall: {curve}"
    assert curve[2] < 6.5, (
        f"after two passes over 100,000 characters the perplexity on unseen text is {curve[2]:.2f};"
        " below 6.5 is wanted"
    )
    text = day13.write(model, "the ", 60, generator=torch.Generator().manual_seed(0))
    assert len(text) == 64 and len(set(text)) > 5, f"the model writes {text!r}"


@exercise("CharModel", seconds=60)
def test_the_curve_can_be_drawn(tmp_path):
    _, curve = day13.train_on_text(passes=1, characters=2_000)
    day13.plot_curve(curve, str(tmp_path / "curve.png"))
    assert (tmp_path / "curve.png").read_bytes()[:4] == b"\x89PNG", "plot_curve drew no PNG"


@exercise("CharModel", seconds=60)
def test_model_compiles_without_a_graph_break(device, rng):
    model = filled(day13.CharModel(7, 6), rng, torch.float32)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True, dynamic=False)
    tokens = rng.integers(0, 7, 2, 4)
    same_results(compiled(tokens), model(tokens), torch.float32, "compiled")
