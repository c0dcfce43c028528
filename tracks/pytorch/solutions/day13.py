"""
Day 13: Recurrent networks
==========================
Estimated time: 2-3 hours
Prerequisites: Day 5 (nn.Module), Day 6 (training loop), Day 3 (detach)
Lesson: lessons/day13.md

Learning objectives:
- Write the three classic cells, and say what each gate opens or shuts
- Run an LSTM over a batch of sequences of different lengths, and keep the padding out of it
- Pull out of the loop what need not be in it: one product for the inputs of all steps
- Train on a text of any length with truncated backpropagation through time

A recurrent network reads a sequence step by step. What it remembers is one vector, the state;
the same weights are used at every step:

                y0        y1        y2        y3
                ▲         ▲         ▲         ▲
     h = 0 ──▶ cell ──▶ cell ──▶ cell ──▶ cell ──▶ h, for whatever comes next
                ▲         ▲         ▲         ▲
                x0        x1        x2        x3

The state has a fixed size, however long the sequence is. That is the strength of these networks
(the next step always costs the same) and their weakness (all that was read has to fit in).

Once you pass,

    python -m tracks.pytorch.day13 curve.png

trains your LSTM on Python's own documentation, character by character, lets it write, and draws
its learning curve.

Refused here: torch's own recurrent cells and layers, pack_padded_sequence and
pad_packed_sequence.

Hints:
- Write down the shapes: a gate is (batch, hidden), four of them side by side (batch, 4 hidden).
- A loop over the steps is right today; a loop over the batch is not.
- Compare with torch's own modules: they load your weights.

Resources:
- Long short-term memory, Hochreiter and Schmidhuber 1997: https://www.bioinf.jku.at/publications/older/2604.pdf
- The forget gate, Gers, Schmidhuber and Cummins 2000: https://doi.org/10.1162/089976600300015015
- The GRU, Cho et al. 2014: https://arxiv.org/abs/1406.1078
- Truncated backpropagation, Williams and Peng 1990: https://doi.org/10.1162/neco.1990.2.4.490
- torch's layout and equations: https://docs.pytorch.org/docs/stable/generated/torch.nn.LSTM.html
"""

from __future__ import annotations

import math
import re
import sys
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn
from tqdm import tqdm

from tracks.pytorch.day05 import Linear

State = tuple[torch.Tensor, torch.Tensor]
"""(h, c): what an LSTM shows, and what it remembers."""


class Cell(nn.Module):
    """Given: the parameters of a cell, with torch's names, shapes and first values.

    ``weight_ih`` (gates · hidden, inputs), ``weight_hh`` (gates · hidden, hidden), ``bias_ih`` and
    ``bias_hh`` (gates · hidden,), all uniform between -1/√hidden and 1/√hidden. The rows of the
    first gate come first.
    """

    def __init__(self, inputs: int, hidden: int, gates: int) -> None:
        super().__init__()
        self.inputs, self.hidden = inputs, hidden

        def parameter(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.empty(shape).uniform_(-(hidden**-0.5), hidden**-0.5))

        self.weight_ih = parameter(gates * hidden, inputs)
        self.weight_hh = parameter(gates * hidden, hidden)
        self.bias_ih = parameter(gates * hidden)
        self.bias_hh = parameter(gates * hidden)

    def extra_repr(self) -> str:
        return f"{self.inputs}, {self.hidden}"


class RNNCell(Cell):
    """One step of the simplest recurrent network (Elman 1990), as nn.RNNCell with tanh::

        h' = tanh(W_ih x + b_ih + W_hh h + b_hh)

    forward: ``x`` (..., inputs) and ``h`` (..., hidden), any strides, with the same leading axes
    (none as well), → h' (..., hidden). ``h=None`` stands for zeros. The dtype is that of x and
    the weights.

    >>> RNNCell(3, 2)(torch.zeros(5, 3)).shape
    torch.Size([5, 2])
    """

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__(inputs, hidden, gates=1)

    def forward(self, x: torch.Tensor, h: torch.Tensor | None = None) -> torch.Tensor:
        # TODO: two products, two biases, one tanh.
        # HINT: the rows of a weight are its outputs, as in nn.Linear.
        ### BEGIN SOLUTION
        # HINT: x @ self.weight_ih.T has the shape (..., hidden).
        # HINT: what does a state of zeros add?
        out = x @ self.weight_ih.T + self.bias_ih + self.bias_hh
        if h is not None:
            out = out + h @ self.weight_hh.T
        return out.tanh()
        ### END SOLUTION


class LSTMCell(Cell):
    """One step of an LSTM (Hochreiter and Schmidhuber 1997; Gers et al. 2000), as nn.LSTMCell.

    The rows of the weights belong to four gates, in this order, ``hidden`` rows each::

        i = σ(...)      input gate:   how much of the candidate is written
        f = σ(...)      forget gate:  how much of the memory is kept
        g = tanh(...)   candidate:    what could be written
        o = σ(...)      output gate:  how much of the memory is shown

        c' = f · c + i · g              (...) = W_ih x + b_ih + W_hh h + b_hh
        h' = o · tanh(c')

    - ``step(gates, c)``: from the four (...) side by side, (..., 4 hidden), and the memory
      (..., hidden) to the new state (h', c'). It has no parameters of its own; LSTM uses it too.
    - forward: ``x`` (..., inputs) and ``state`` (h, c), each (..., hidden), any strides, →
      (h', c'). ``state=None`` stands for zeros.

    >>> h, c = LSTMCell(3, 2)(torch.zeros(5, 3))
    >>> h.shape, c.shape
    (torch.Size([5, 2]), torch.Size([5, 2]))
    """

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__(inputs, hidden, gates=4)

    @staticmethod
    def step(gates: torch.Tensor, c: torch.Tensor) -> State:
        # TODO: cut the gates apart; the new memory, and what is shown of it.
        # HINT: which of the four can be negative?
        ### BEGIN SOLUTION
        # HINT: gates.chunk(4, -1) cuts the last axis into four.
        i, f, g, o = gates.chunk(4, -1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c
        ### END SOLUTION

    def forward(self, x: torch.Tensor, state: State | None = None) -> State:
        # TODO: all four gates with two products, then step.
        # HINT: the weights of the gates lie one below the other, so one product makes all four.
        ### BEGIN SOLUTION
        # HINT: x.new_zeros(*x.shape[:-1], self.hidden) has the device and the dtype of x.
        gates = x @ self.weight_ih.T + self.bias_ih + self.bias_hh
        if state is None:
            return self.step(gates, x.new_zeros(*x.shape[:-1], self.hidden))
        h, c = state
        return self.step(gates + h @ self.weight_hh.T, c)
        ### END SOLUTION


class GRUCell(Cell):
    """One step of a gated recurrent unit (Cho et al. 2014), in the form that nn.GRUCell has.

    The rows of the weights belong to r, z and n, in this order, ``hidden`` rows each::

        r = σ(W_ir x + b_ir + W_hr h + b_hr)              reset gate
        z = σ(W_iz x + b_iz + W_hz h + b_hz)              update gate
        n = tanh(W_in x + b_in + r · (W_hn h + b_hn))     candidate
        h' = (1 - z) · n + z · h

    The paper resets h before the product, W_hn (r · h), and lets z and 1 - z change places;
    torch, as cuDNN, resets after it, bias included.

    forward: ``x`` (..., inputs) and ``h`` (..., hidden), any strides, → h' (..., hidden).
    ``h=None`` stands for zeros. Two products, not six.

    >>> GRUCell(3, 2)(torch.zeros(5, 3)).shape
    torch.Size([5, 2])
    """

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__(inputs, hidden, gates=3)

    def forward(self, x: torch.Tensor, h: torch.Tensor | None = None) -> torch.Tensor:
        # TODO: the products with x and with h, cut in three; then the four lines.
        # HINT: for one of the three gates the two products must not be added up. Which?
        ### BEGIN SOLUTION
        # HINT: with a state of zeros, b_hn is still there, and r still acts on it.
        # HINT: (x @ self.weight_ih.T + self.bias_ih).chunk(3, -1) gives the three shares of x, the
        # same with h those of h; r and z take sums of two shares, n takes x_n + r * h_n.
        if h is None:
            h = x.new_zeros(*x.shape[:-1], self.hidden)
        x_r, x_z, x_n = (x @ self.weight_ih.T + self.bias_ih).chunk(3, -1)
        h_r, h_z, h_n = (h @ self.weight_hh.T + self.bias_hh).chunk(3, -1)
        r, z = (x_r + h_r).sigmoid(), (x_z + h_z).sigmoid()
        n = (x_n + r * h_n).tanh()
        return (1 - z) * n + z * h
        ### END SOLUTION


class LSTM(nn.Module):
    """A stack of LSTM layers over a batch of sequences, as nn.LSTM(..., batch_first=True).

    The parameters of layer k = 0, 1, ... are, in this order, ``weight_ih_lk`` (4 hidden, inputs;
    from layer 1 on: hidden), ``weight_hh_lk`` (4 hidden, hidden), ``bias_ih_lk`` and
    ``bias_hh_lk`` (4 hidden,), layer 0 first: names, layout and first values (uniform between
    ∓1/√hidden) are nn.LSTM's, and each loads the other's state.

    forward:

    - ``x`` (batch, steps, inputs), any strides, steps ≥ 1
    - ``state`` (h, c), each (layers, batch, hidden): where every layer starts; None: zeros
    - ``lengths`` (batch,), whole numbers from 0 to steps, in any order, on the device of x:
      sequence b has lengths[b] steps, and what follows is padding. None: no padding.

    Returns (outputs, (h, c)):

    - outputs (batch, steps, hidden): h of the last layer at every step; zeros in the padding
    - h and c (layers, batch, hidden): for each sequence and layer the state after its last real
      step. A sequence of length 0 keeps the state that it started with.

    That is what pack_padded_sequence and pad_packed_sequence of torch.nn.utils.rnn make of
    nn.LSTM. Whatever stands in the padding, nan and inf included, changes neither a result nor a
    gradient; the gradient of the padding is zero.

    - Layer by layer. The inputs of all the steps of a layer go through weight_ih in one product;
      in the loop over the steps is one product with weight_hh. No loop over the batch.
    - Nothing waits for a tensor's elements, and it runs under torch.compile(fullgraph=True).
    - Raises ValueError naming the shape when x does not have three axes or its last is not
      ``inputs``, and when lengths does not have the shape (batch,).

    >>> outputs, (h, c) = LSTM(3, 4, layers=2)(torch.zeros(5, 7, 3))
    >>> outputs.shape, h.shape, c.shape
    (torch.Size([5, 7, 4]), torch.Size([2, 5, 4]), torch.Size([2, 5, 4]))
    """

    def __init__(self, inputs: int, hidden: int, layers: int = 1) -> None:
        super().__init__()
        self.inputs, self.hidden, self.layers = inputs, hidden, layers
        # TODO: four parameters for each layer.
        # HINT: what is the input of layer 1?
        ### BEGIN SOLUTION
        # HINT: self.register_parameter(f"weight_ih_l{layer}", parameter) files it by its name.
        bound = hidden**-0.5
        for layer in range(layers):
            for name, *shape in (
                ("weight_ih", 4 * hidden, hidden if layer else inputs),
                ("weight_hh", 4 * hidden, hidden),
                ("bias_ih", 4 * hidden),
                ("bias_hh", 4 * hidden),
            ):
                values = torch.empty(shape).uniform_(-bound, bound)
                self.register_parameter(f"{name}_l{layer}", nn.Parameter(values))
        ### END SOLUTION

    def forward(
        self,
        x: torch.Tensor,
        state: State | None = None,
        lengths: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, State]:
        # TODO: for each layer: one product, the loop over the steps, and the state it ends in.
        # HINT: a sequence that has ended keeps its state: choose between new and old, by row.
        # HINT: nan · 0 is nan. When must the padding become harmless, before or after the product?
        ### BEGIN SOLUTION
        # HINT: real = torch.arange(steps)[:, None] < lengths[:, None, None] is (batch, steps, 1),
        # and x.masked_fill(~real, 0.0) lets neither values nor gradients through.
        # HINT: (x @ weight_ih.T + both biases)[:, t] + h @ weight_hh.T are the gates of step t:
        # LSTMCell.step does the rest.
        # HINT: h = torch.where(real[:, t], new_h, h), and the same for c. In the end
        # torch.stack makes one tensor of a list: of the steps, of the layers.
        if x.dim() != 3 or x.shape[-1] != self.inputs:
            raise ValueError(f"(batch, steps, {self.inputs}) was expected, not {(*x.shape,)}")
        batch, steps, _ = x.shape
        real = None
        if lengths is not None:
            if lengths.shape != (batch,):
                raise ValueError(f"lengths {(*lengths.shape,)} for a batch of {batch}")
            real = torch.arange(steps, device=x.device)[:, None] < lengths[:, None, None]
            x = x.masked_fill(~real, 0.0)
        if state is None:
            zeros = x.new_zeros(self.layers, batch, self.hidden)
            state = zeros, zeros
        last_h, last_c = [], []
        for layer in range(self.layers):
            weight_ih = getattr(self, f"weight_ih_l{layer}")
            weight_hh = getattr(self, f"weight_hh_l{layer}")
            bias = getattr(self, f"bias_ih_l{layer}") + getattr(self, f"bias_hh_l{layer}")
            h, c = state[0][layer], state[1][layer]
            from_inputs, outputs = x @ weight_ih.T + bias, []
            for t in range(steps):
                new_h, new_c = LSTMCell.step(from_inputs[:, t] + h @ weight_hh.T, c)
                if real is not None:
                    new_h = torch.where(real[:, t], new_h, h)
                    new_c = torch.where(real[:, t], new_c, c)
                h, c = new_h, new_c
                outputs.append(h)
            x = torch.stack(outputs, 1)
            if real is not None:
                x = x.masked_fill(~real, 0.0)
            last_h.append(h)
            last_c.append(c)
        return x, (torch.stack(last_h), torch.stack(last_c))
        ### END SOLUTION


class CharModel(nn.Module):
    """A language model: after every character, scores for the next one.

    Submodules, in this order: ``embedding``, nn.Embedding(vocabulary, hidden); ``lstm``, today's
    LSTM(hidden, hidden, layers); ``head``, day 5's Linear(hidden, vocabulary).

    - forward: ``tokens`` (batch, steps) of int64 and ``state`` (None: zeros) → scores
      (batch, steps, vocabulary) and the state after the last step, to go on from.

    Both of the following read ``streams`` (rows, n), n ≥ 2: pieces of a text, side by side. The
    model starts at column 0 with a state of zeros, and predicts columns 1 to n - 1, each from all
    the columns before it. They go through it ``chunk`` predictions at a time (the last chunk
    may be shorter), and the state goes on from chunk to chunk.

    - ``train_pass``: truncated backpropagation through time (Williams and Peng 1990). For each
      chunk: the mean cross entropy over its predictions; one backward, through this chunk alone;
      nn.utils.clip_grad_norm_ with ``clip``; one step of the optimizer. Nothing of a chunk's
      graph is kept beyond it. Returns the mean cross entropy over all predictions of the pass, as
      a float.
    - ``perplexity``: exp of the mean cross entropy over all predictions, as a float, without a
      graph and without changing anything. 1 is certainty; guessing blindly among k characters
      has perplexity k. The result does not depend on ``chunk``.

    >>> model = CharModel(5, hidden=4)
    >>> scores, state = model(torch.tensor([[0, 1, 2]]))
    >>> scores.shape, state[0].shape
    (torch.Size([1, 3, 5]), torch.Size([1, 1, 4]))
    """

    def __init__(self, vocabulary: int, hidden: int = 128, layers: int = 1) -> None:
        super().__init__()
        # TODO: the three submodules.
        # HINT: nn.Embedding(n, d) turns whole numbers below n into vectors of d elements.
        ### BEGIN SOLUTION
        self.embedding = nn.Embedding(vocabulary, hidden)
        self.lstm = LSTM(hidden, hidden, layers)
        self.head = Linear(hidden, vocabulary)
        ### END SOLUTION

    def forward(
        self, tokens: torch.Tensor, state: State | None = None
    ) -> tuple[torch.Tensor, State]:
        # TODO: embedding, LSTM, head.
        # HINT: the state goes through this function, it is not kept in the module.
        ### BEGIN SOLUTION
        outputs, state = self.lstm(self.embedding(tokens), state)
        return self.head(outputs), state
        ### END SOLUTION

    def train_pass(
        self,
        streams: torch.Tensor,
        optimizer: torch.optim.Optimizer,
        chunk: int = 32,
        clip: float = 1.0,
    ) -> float:
        # TODO: chunk by chunk: forward, loss, backward, clip, step; the state goes on, cut off.
        # HINT: how many columns does a chunk of 3 predictions touch?
        ### BEGIN SOLUTION
        # HINT: streams[:, start : start + chunk + 1] holds the inputs and, one on, the targets.
        # HINT: h.detach() has the values and not the past. Which of h and c need it?
        # HINT: F.cross_entropy wants (predictions, vocabulary): flatten(0, 1).
        predictions = streams.shape[1] - 1
        state, total = None, torch.zeros(())
        for start in range(0, predictions, chunk):
            part = streams[:, start : start + chunk + 1]
            scores, (h, c) = self(part[:, :-1], state)
            loss = F.cross_entropy(scores.flatten(0, 1), part[:, 1:].flatten())
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.parameters(), clip)
            optimizer.step()
            state = h.detach(), c.detach()
            total = total + loss.detach() * (part.shape[1] - 1)
        return total.item() / predictions
        ### END SOLUTION

    def perplexity(self, streams: torch.Tensor, chunk: int = 256) -> float:
        # TODO: the same walk without learning; exp of the mean.
        # HINT: is the mean of exps the exp of the mean?
        ### BEGIN SOLUTION
        # HINT: a shorter chunk counts less: reduction="sum" and one division in the end.
        state, total = None, torch.zeros(())
        with torch.no_grad():
            for start in range(0, streams.shape[1] - 1, chunk):
                part = streams[:, start : start + chunk + 1]
                scores, state = self(part[:, :-1], state)
                total = total + F.cross_entropy(
                    scores.flatten(0, 1), part[:, 1:].flatten(), reduction="sum"
                )
        return math.exp(total.item() / streams[:, 1:].numel())
        ### END SOLUTION


ALPHABET = " abcdefghijklmnopqrstuvwxyz.,:;'\"()_=-#"
"""The characters of the text; # stands for all others."""


class Text(NamedTuple):
    """English, as numbers: indices into ALPHABET."""

    train: torch.Tensor
    validation: torch.Tensor


def encode(text: str) -> torch.Tensor:
    """Given: small letters, one blank for any white space, one # for any run of what is left."""
    text = re.sub(r"\s+", " ", text.lower())
    text = re.sub(f"[^{re.escape(ALPHABET)}]+", "#", text)
    return torch.tensor([ALPHABET.index(character) for character in text])


def decode(tokens: torch.Tensor) -> str:
    """Given: the text of one row of tokens."""
    return "".join(ALPHABET[token] for token in tokens.tolist())


def load_text(characters: int = 200_000) -> Text:
    """Given: the documentation that Python carries with it, from pydoc_data.topics: so many
    characters to train with and the 20,000 that follow."""
    from pydoc_data.topics import topics

    tokens = encode("\n".join(topics[name] for name in sorted(topics)))
    return Text(tokens[:characters], tokens[characters : characters + 20_000])


def in_streams(tokens: torch.Tensor, rows: int) -> torch.Tensor:
    """Given: a text cut into ``rows`` pieces of equal length, one below the other."""
    columns = len(tokens) // rows
    return tokens[: rows * columns].view(rows, columns)


def write(
    model: CharModel,
    prompt: str,
    length: int,
    temperature: float = 0.7,
    generator: torch.Generator | None = None,
) -> str:
    """Given: ``prompt`` and ``length`` characters more, drawn one by one. Each costs one step,
    however much has been written before: all that is known of it is the state."""
    tokens, state, written = encode(prompt)[None], None, []
    with torch.no_grad():
        for _ in range(length):
            scores, state = model(tokens, state)
            chances = (scores[:, -1] / temperature).softmax(-1)
            tokens = torch.multinomial(chances, 1, generator=generator)
            written.append(tokens[0])
    return prompt + decode(torch.cat(written))


def train_on_text(
    passes: int = 2, seed: int = 0, characters: int = 200_000
) -> tuple[CharModel, list[float]]:
    """Given: a model trained on ``load_text``, and its validation perplexity before the first
    pass and after each. The progress bar shows on a terminal."""
    torch.manual_seed(seed)
    text = load_text(characters)
    streams, validation = in_streams(text.train, 50), in_streams(text.validation, 20)
    model = CharModel(len(ALPHABET))
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    curve = [model.perplexity(validation)]
    bar = tqdm(range(passes), desc="reading", unit="pass", disable=None)
    for _ in bar:
        model.train_pass(streams, optimizer)
        curve.append(model.perplexity(validation))
        bar.set_postfix(perplexity=f"{curve[-1]:.2f}")
    return model, curve


def plot_curve(curve: list[float], path: str) -> None:
    """Given: draw the perplexity after each pass into the image file ``path``."""
    import matplotlib

    matplotlib.use("Agg")  # draws into files, needs no screen
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    axes.plot(curve, marker="o")
    axes.axhline(len(ALPHABET), color="gray", linestyle=":", label="guessing blindly")
    axes.set(xlabel="passes over the text", ylabel="validation perplexity", yscale="log")
    axes.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def same_as(mine: Cell, theirs: nn.Module) -> None:
    """One step of both, from the same weights, input and state."""
    theirs.load_state_dict(mine.state_dict())
    x, h = torch.randn(5, 3), torch.randn(5, 4)
    torch.testing.assert_close(mine(x, h), theirs(x, h))


def test_rnn_cell() -> None:
    same_as(RNNCell(3, 4), nn.RNNCell(3, 4))


def test_lstm_cell() -> None:
    mine, theirs = LSTMCell(3, 4), nn.LSTMCell(3, 4)
    theirs.load_state_dict(mine.state_dict())
    x, state = torch.randn(5, 3), (torch.randn(5, 4), torch.randn(5, 4))
    torch.testing.assert_close(mine(x, state), theirs(x, state))


def test_gru_cell() -> None:
    same_as(GRUCell(3, 4), nn.GRUCell(3, 4))


def test_lstm_ignores_padding() -> None:
    lstm, x = LSTM(3, 4, layers=2), torch.randn(2, 5, 3)
    x[1, 2:] = torch.nan
    outputs, (h, _) = lstm(x, lengths=torch.tensor([5, 2]))
    alone, (h_alone, _) = lstm(x[1:, :2])
    torch.testing.assert_close(outputs[1:, :2], alone)
    torch.testing.assert_close(h[:, 1:], h_alone)


def test_char_model_learns_an_alternation() -> None:
    streams = in_streams(encode("abababababababababab"), 2)
    model = CharModel(len(ALPHABET), hidden=16)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    for _ in range(20):
        model.train_pass(streams, optimizer, chunk=4)
    assert model.perplexity(streams) < 1.5


if __name__ == "__main__":
    if len(sys.argv) > 1:
        reader, perplexities = train_on_text(passes=20, characters=350_000)
        plot_curve(perplexities, sys.argv[1])
        print(f"validation perplexity {perplexities[-1]:.2f}")
        print(write(reader, "the value of the ", 400))
    else:
        from harness import main

        main(__file__)
