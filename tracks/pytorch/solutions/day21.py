"""
Day 21: Complete transformers
=============================
Estimated time: 3-4 hours
Prerequisites: Day 20 (blocks and stacks), Day 19 (positions), Day 14 (Embedding, Dropout)
Lesson: lessons/day21.md

Learning objectives:
- Put embeddings, positions and blocks together into the two transformers that everybody uses
- Use one table of vectors to read tokens and to score them
- Turn scores into text: one token at a time, or several texts side by side
- Load the weights of a GPT-2 that somebody else trained

    Transformer (reads one sequence, writes another)       GPT (continues a sequence)

    source ─► table·√dim + sinusoids ─► Encoder            ids ─► table + learned positions
                                           │ memory                        │
    target ─► table·√dim + sinusoids ─► Decoder            Encoder, norm first, causal
                                           │                               │
                           scores ◄─ table ┘                scores ◄─ table ┘

The scores at position t are for the token at t + 1: a model that reads n tokens makes n
predictions at once in training, and the last one counts when it writes.

When you are done, there is a program to run. It trains your GPT on the documentation of Python,
two minutes on two cores, and writes more of it:

    python -m tracks.pytorch.day21 train
    python -m tracks.pytorch.day21 sample --prompt "The list is"

`eval` measures the model; `resume` goes on after Ctrl-C, to the bit as if nothing had happened.

Hints:
- Both models are a few lines: everything hard in them was done before today.
- Decode a batch of one by hand before you write it for a batch of many.
- In beam search, keep an eye on which sequences still run and which have ended.

Resources:
- Attention Is All You Need, Vaswani et al. 2017, sections 3.1 and 3.4:
  https://arxiv.org/abs/1706.03762
- Language Models are Unsupervised Multitask Learners (GPT-2), Radford et al. 2019:
  https://cdn.openai.com/better-language-models/language_models_are_unsupervised_multitask_learners.pdf
- Google's Neural Machine Translation System, Wu et al. 2016, section 7 (beams, length):
  https://arxiv.org/abs/1609.08144
- GPT-2 in transformers: https://huggingface.co/docs/transformers/model_doc/gpt2
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file
from torch import nn

from tracks.pytorch.day09 import gelu
from tracks.pytorch.day14 import Dropout, Embedding
from tracks.pytorch.day19 import LearnedPositions, sinusoidal
from tracks.pytorch.day20 import Decoder, Encoder

Score = Callable[[torch.Tensor], torch.Tensor]
"""Ids (batch, ..., length) → the scores of what comes next, (batch, ..., length, vocab)."""


class Transformer(nn.Module):
    """Reads a sequence of tokens and writes another (Vaswani et al. 2017, section 3).

    Args:
        vocab: how many tokens there are, the same for source and target
        dim, heads: as of day 20's stacks
        depth: how many blocks the encoder has, and how many the decoder
        padding: the token that means nothing, or None; as Embedding's padding_idx
        dropout: the probability, in the stacks and on what goes into them
        options: hidden, activation, bias, norm_first and eps, for both stacks

    The parts are ``tokens`` (day 14's Embedding), ``encoder`` and ``decoder`` (day 20's Encoder and
    Decoder) and ``dropout`` (day 14's Dropout). There are no other parameters: one table reads the
    source, reads the target and scores the next token (section 3.4). At first its entries have the
    standard deviation 1/√dim, and the row of the padding is zero.

    A token goes into a stack as

        dropout(table[id] · √dim + sinusoidal(position))

    in the dtype of the table. Positions count from 0 in either sequence. The scores are the
    decoder's results times the rows of the table (Embedding.logits).

    Runs under torch.compile(fullgraph=True). F.scaled_dot_product_attention,
    nn.MultiheadAttention and torch's transformers are not called, here and in GPT.

    >>> model = Transformer(vocab=10, dim=8, heads=2, depth=1, padding=0)
    >>> source, target = torch.tensor([[4, 5, 6, 0]]), torch.tensor([[1, 6, 5]])
    >>> model(source, target).shape
    torch.Size([1, 3, 10])
    """

    def __init__(
        self,
        vocab: int,
        dim: int,
        heads: int,
        depth: int,
        *,
        padding: int | None = None,
        dropout: float = 0.0,
        **options: Any,
    ) -> None:
        super().__init__()
        # TODO: the four parts, and the first values of the table.
        # HINT: what are the first values of an Embedding, and how large must table · √dim be?
        ### BEGIN SOLUTION
        # HINT: the options go to both stacks; dropout goes there too, and into a Dropout.
        # HINT: self.tokens.weight.mul_(dim**-0.5) under torch.no_grad() leaves zeros at zero.
        self.tokens = Embedding(vocab, dim, padding)
        self.dropout = Dropout(dropout)
        self.encoder = Encoder(depth, dim, heads, dropout=dropout, **options)
        self.decoder = Decoder(depth, dim, heads, dropout=dropout, **options)
        with torch.no_grad():
            self.tokens.weight.mul_(dim**-0.5)
        ### END SOLUTION

    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        """``ids`` (..., length) → what goes into a stack, (..., length, dim)."""
        # TODO: the formula above.
        # HINT: which dtype does sinusoidal give, and which one is wanted?
        ### BEGIN SOLUTION
        # HINT: self.tokens(ids) is the rows; self.tokens.dim is dim.
        # HINT: positions are torch.arange(ids.shape[-1], device=ids.device).
        rows = self.tokens(ids)
        positions = torch.arange(ids.shape[-1], device=ids.device)
        code = sinusoidal(positions, self.tokens.dim).to(rows.dtype)
        return self.dropout(rows * self.tokens.dim**0.5 + code)
        ### END SOLUTION

    def source_mask(self, source: torch.Tensor) -> torch.Tensor | None:
        """Where ``source`` (..., S) is no padding: bool (..., 1, 1, S); None without a padding."""
        # TODO: compare; make room for the heads and the queries.
        # HINT: the scores of attention are (..., heads, queries, S).
        ### BEGIN SOLUTION
        # HINT: self.tokens.padding_idx is the padding, counted from 0, or None.
        # HINT: Indexing with [..., None, None, :] puts two axes of one before the last.
        padding = self.tokens.padding_idx
        return None if padding is None else (source != padding)[..., None, None, :]
        ### END SOLUTION

    def encode(self, source: torch.Tensor) -> torch.Tensor:
        """``source`` (..., S) → the memory (..., S, dim). Nobody looks at padding."""
        # TODO: embed, mask, encoder.
        # HINT: is the future of the source hidden?
        ### BEGIN SOLUTION
        # HINT: an Encoder takes the mask as its second argument.
        return self.encoder(self.embed(source), self.source_mask(source))
        ### END SOLUTION

    def decode(
        self, target: torch.Tensor, memory: torch.Tensor, memory_mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """``target`` (..., T), ``memory`` (..., S, dim) → scores (..., T, vocab).

        Position t sees the tokens 0 to t of the target, and of the memory what ``memory_mask``
        lets it see. The leading axes of target and memory broadcast.
        """
        # TODO: embed, decoder, scores.
        # HINT: padding stands at the end of a target. Who could look at it?
        ### BEGIN SOLUTION
        # HINT: a Decoder is causal by itself; memory_mask is given by its name.
        # HINT: self.tokens.logits scores with the rows of the table.
        x = self.decoder(self.embed(target), memory, memory_mask=memory_mask)
        return self.tokens.logits(x)
        ### END SOLUTION

    def forward(self, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """``source`` (..., S), ``target`` (..., T) → scores (..., T, vocab)."""
        # TODO: encode, then decode; no position of the target looks at the source's padding.
        # HINT: the source's padding is a thing to hide from the encoder alone, or not?
        ### BEGIN SOLUTION
        # HINT: self.source_mask(source) is the memory's mask as well.
        return self.decode(target, self.encode(source), self.source_mask(source))
        ### END SOLUTION

    def scorer(self, source: torch.Tensor) -> Score:
        """Given: what ``greedy_decode`` and ``beam_search`` ask for ``source`` (batch, S).

        The source is encoded once. Where ids are (batch, beams, length), the beams of a sequence
        share its memory: an axis of one is enough.
        """
        memory, mask = self.encode(source), self.source_mask(source)

        def score(ids: torch.Tensor) -> torch.Tensor:
            beams = (slice(None), *[None] * (ids.dim() - source.dim()))
            return self.decode(ids, memory[beams], None if mask is None else mask[beams])

        return score


@torch.no_grad()
def greedy_decode(
    score: Score, start: torch.Tensor, new: int, *, stop: int | None = None
) -> torch.Tensor:
    """Write on, always with the token that scores highest.

    Args:
        score: ids (batch, length) → (batch, length, vocab); those at the last position count
        start: ids (batch, length), at least one token each
        new: how many tokens are written at most
        stop: the token that ends a sequence; None: nothing ends it

    Returns ids (batch, length + n): what was there and what was written. A sequence that has
    written ``stop`` gets nothing but ``stop`` from there on, whatever its scores, and once all have
    written it, ``score`` is not called any more: n is then less than ``new``. A ``stop`` in
    ``start`` ends nothing.

    - ``start`` is not changed, and no gradient is recorded.
    - A start without tokens, (batch, 0), is a ValueError that names its shape.

    >>> def one_up(ids):  # the next token is always the last one plus one
    ...     return nn.functional.one_hot(ids + 1, 10).float()
    >>> greedy_decode(one_up, torch.tensor([[3], [0]]), new=4, stop=5)
    tensor([[3, 4, 5, 5, 5],
            [0, 1, 2, 3, 4]])
    """
    # TODO: check; append one token a time; remember who has ended.
    # HINT: which position's scores are for the token that comes next?
    ### BEGIN SOLUTION
    # HINT: score(ids)[:, -1].argmax(-1) are the next tokens, one for each sequence.
    # HINT: token.masked_fill(ended, stop) and, after it, ended = token == stop are all that stop
    # needs.
    if start.shape[-1] == 0:
        raise ValueError(f"start {tuple(start.shape)} holds no token to begin with")
    ids, ended = start, torch.zeros(len(start), dtype=torch.bool, device=start.device)
    for _ in range(new):
        token = score(ids)[:, -1].argmax(-1)
        if stop is not None:
            token = token.masked_fill(ended, stop)
            ended = token == stop
        ids = torch.cat([ids, token[:, None]], -1)
        if stop is not None and ended.all():
            break
    return ids
    ### END SOLUTION


class Beams(NamedTuple):
    """What ``beam_search`` returns, the best first."""

    ids: torch.Tensor
    scores: torch.Tensor


@torch.no_grad()
def beam_search(
    score: Score,
    start: torch.Tensor,
    new: int,
    beams: int,
    *,
    stop: int | None = None,
    length_penalty: float = 1.0,
) -> Beams:
    """Write ``beams`` continuations side by side, and keep the likeliest ones.

    ``score``, ``start``, ``new`` and ``stop`` are those of greedy_decode, but the ids that score is
    given are (batch, beams, length). A continuation's sum is that of the log-probabilities of its
    written tokens, ``log_softmax`` of the scores, in float32 for anything shorter. Its final
    score, once it has ended, is

        sum / n ** length_penalty        n: how many tokens it has written, ``stop`` included

    For each sequence of the batch, for itself (as transformers' generate, early_stopping=False):

    1. One continuation runs at first: the start, with the sum 0.
    2. All that run are continued by all tokens. Of the results take the 2 · beams with the largest
       sums.
    3. Those among the first ``beams`` of these that end in ``stop`` have ended, with their final
       score. So have, when ``new`` tokens are written, all of the first ``beams``. Of all that
       have ended so far, the ``beams`` with the largest final scores are kept.
    4. The best ``beams`` of the 2 · beams that do not end in ``stop`` run on.
    5. It is over when ``new`` tokens are written; or when ``beams`` continuations have ended, and
       the best sum of those that run, divided by n ** length_penalty, is not greater than the least
       final score among the ended. Nothing that this sequence might still write counts then.

    ``score`` is not called once it is over for the whole batch.

    Returns Beams(ids, scores): ids (batch, beams, length + m), the best first; m is the number of
    steps taken, and a shorter continuation is filled up with ``stop``. scores (batch, beams) are
    the final ones; -inf where fewer than ``beams`` continuations exist, and the ids mean nothing
    there.

    - vocab is at least 2. A loop over tokens, but none over the batch, the beams or the vocabulary.
    - ``new`` or ``beams`` below 1 is a ValueError that names it, and its number; so is a start
      without tokens, with its shape. No gradient is recorded.

    >>> def two_ways(ids):  # 1 is likelier than 2 now, but leads into the unlikely
    ...     table = [[0, 0.6, 0.4], [0.4, 0.3, 0.3], [0.0, 0.0, 1.0]]
    ...     return torch.tensor(table)[ids].log()
    >>> result = beam_search(two_ways, torch.tensor([[0]]), new=2, beams=2)
    >>> result.ids.tolist(), result.scores.exp().square()  # 0.4 · 1.0 and 0.6 · 0.4
    ([[[0, 2, 2], [0, 1, 0]]], tensor([[0.4000, 0.2400]]))
    """
    # TODO: check; then the five steps.
    # HINT: how can a continuation that does not exist be kept from ever being chosen?
    ### BEGIN SOLUTION
    # HINT: sums (batch, beams) begin as 0 and -inf, -inf, ...; a continuation that has ended goes
    # on with -inf, so that topk passes it over.
    # HINT: topk over (batch, beams · vocab) gives numbers: // vocab is the beam, % vocab the token.
    # HINT: ids.take_along_dim(beam[..., None], 1) brings the ids of the chosen beams.
    # HINT: keep the ended ones in tensors of beams rows; each step, cat the new ones, topk again.
    for name, number in (("new", new), ("beams", beams)):
        if number < 1:
            raise ValueError(f"{name} is {number}: it must be at least 1")
    if start.shape[-1] == 0:
        raise ValueError(f"start {tuple(start.shape)} holds no token to begin with")
    ids = start[:, None].expand(-1, beams, -1)
    sums = torch.full(ids.shape[:2], -torch.inf, device=start.device)
    sums[:, 0] = 0.0
    done, finals = ids, torch.full_like(sums, -torch.inf)
    is_open = torch.ones(len(start), 1, dtype=torch.bool, device=start.device)

    for n in range(1, new + 1):
        scores = score(ids)[:, :, -1]
        scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
        totals = (scores.log_softmax(-1) + sums[..., None]).flatten(1)
        sums, best = totals.topk(2 * beams)  # vocab is at least 2, so there are as many
        beam, token = best // scores.shape[-1], best % scores.shape[-1]
        ids = torch.cat([ids.take_along_dim(beam[..., None], 1), token[..., None]], -1)

        ended = torch.full_like(token, n == new, dtype=torch.bool)
        if stop is not None:
            ended = ended | (token == stop)
        first = torch.arange(token.shape[1], device=token.device) < beams
        new_finals = torch.where(ended & first & is_open, sums / n**length_penalty, -torch.inf)
        filler = torch.full_like(done[..., :1], 0 if stop is None else stop)
        done = torch.cat([torch.cat([done, filler], -1), ids], 1)
        finals, order = torch.cat([finals, new_finals], 1).topk(beams)
        done = done.take_along_dim(order[..., None], 1)

        sums, order = sums.masked_fill(ended, -torch.inf).topk(beams)
        ids = ids.take_along_dim(order[..., None], 1)
        is_open = is_open & (sums[:, :1] / n**length_penalty > finals[:, -1:])
        if not is_open.any():
            break
    return Beams(done, finals)
    ### END SOLUTION


def gpt2_names(depth: int) -> dict[str, list[str]]:
    """Given: the tensors of GPT-2's files, each with the names of what it is in GPT's state_dict.

    >>> gpt2_names(1)["ln_f.weight"], gpt2_names(1)["h.0.attn.c_attn.bias"][0]
    (['stack.norm.weight'], 'stack.blocks.0.attention.q_proj.bias')
    """
    names = {"wte.weight": ["tokens.weight"], "wpe.weight": ["positions.table.weight"]}
    parts = {
        "ln_1": ["attention_norm"],
        "attn.c_attn": [f"attention.{x}_proj" for x in "qkv"],
        "attn.c_proj": ["attention.out_proj"],
        "ln_2": ["feed_forward_norm"],
        "mlp.c_fc": ["feed_forward.up_proj"],
        "mlp.c_proj": ["feed_forward.down_proj"],
    }
    modules = {
        f"h.{i}.{theirs}": [f"stack.blocks.{i}.{name}" for name in ours]
        for i in range(depth)
        for theirs, ours in parts.items()
    }
    for theirs, ours in (modules | {"ln_f": ["stack.norm"]}).items():
        for kind in ("weight", "bias"):
            names[f"{theirs}.{kind}"] = [f"{name}.{kind}" for name in ours]
    return names


class GPT(nn.Module):
    """A language model: it reads tokens, and scores at every position which comes next.

    Args:
        vocab: how many tokens there are
        context: the largest number of positions
        dim, depth, heads, hidden, dropout, bias, eps: of day 20's Encoder

    The parts: ``tokens`` (day 14's Embedding) and ``positions`` (day 19's LearnedPositions), whose
    sum goes through ``dropout`` (day 14's) into ``stack``, an Encoder: norm first, gelu in its
    tanh form, and causal. Its results, times the rows of the table, are the scores: the table is
    tied, and there are no other parameters. ``vocab`` and ``context`` are attributes.

    At first (GPT-2, section 2.3) all matrices are normal with mean 0 and standard deviation 0.02,
    the tables as well; but ``out_proj`` and ``down_proj``, which write onto the residual stream,
    have 0.02 / √(2 · depth), since 2 · depth of them are added up there. Biases are 0, the norms'
    weights 1.

    >>> model = GPT(vocab=10, context=16, dim=8, depth=2, heads=2)
    >>> model(torch.tensor([[3, 1, 4, 1]])).shape
    torch.Size([1, 4, 10])
    """

    def __init__(
        self,
        vocab: int,
        context: int,
        dim: int,
        depth: int,
        heads: int,
        *,
        hidden: int | None = None,
        dropout: float = 0.0,
        bias: bool = True,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        # TODO: two attributes, four parts, and the first values.
        # HINT: which of the parameters are matrices, and which two kinds of them write?
        ### BEGIN SOLUTION
        # HINT: partial(gelu, approximate="tanh") is a function of one tensor.
        # HINT: go through self.named_parameters(): p.dim() > 1 tells a matrix, the name the rest.
        self.vocab, self.context = vocab, context
        self.tokens = Embedding(vocab, dim)
        self.positions = LearnedPositions(context, dim)
        self.dropout = Dropout(dropout)
        self.stack = Encoder(
            depth,
            dim,
            heads,
            hidden=hidden,
            activation=partial(gelu, approximate="tanh"),
            dropout=dropout,
            bias=bias,
            eps=eps,
        )
        for name, p in self.named_parameters():
            if p.dim() > 1:
                writes = name.endswith(("out_proj.weight", "down_proj.weight"))
                nn.init.normal_(p, std=0.02 / math.sqrt(2 * depth) if writes else 0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(p)
        ### END SOLUTION

    def forward(
        self,
        ids: torch.Tensor,
        mask: torch.Tensor | None = None,
        positions: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """``ids`` (..., length) → scores (..., length, vocab).

        Args:
            ids: int64 or int32, with or without leading axes
            mask: as MultiHeadAttention takes it, for scores (..., heads, length, length); no token
                sees what comes after it in any case
            positions: (length,) or (batch, length); 0 to length - 1 unless given

        Without positions, a length beyond ``context`` is a ValueError that names both
        (LearnedPositions raises it).
        """
        # TODO: embed, stack, scores.
        # HINT: what does each of the four parts do, in which order?
        ### BEGIN SOLUTION
        # HINT: self.positions(rows, positions) adds; None is what it takes for 0 to length - 1.
        # HINT: self.stack(x, mask, causal=True), and then self.tokens.logits.
        x = self.dropout(self.positions(self.tokens(ids), positions))
        return self.tokens.logits(self.stack(x, mask, causal=True))
        ### END SOLUTION

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike[str]) -> GPT:
        """A GPT with the weights of a GPT-2 that transformers saved into ``folder``.

        ``config.json`` holds the sizes: vocab_size, n_positions, n_embd, n_layer, n_head, n_inner
        (the hidden size; 4 · n_embd if it is null or missing) and layer_norm_epsilon (1e-5 if it is
        missing). ``model.safetensors`` holds the tensors: safetensors' load_file reads it, and
        gpt2_names says which are which.

        - Each name may have ``transformer.`` before it (the files of GPT2LMHeadModel do).
        - The weights of c_attn, c_proj and c_fc are (inputs, outputs): nn.Linear's, transposed.
          c_attn (dim, 3 · dim) makes queries, keys and values, side by side.
        - ``lm_head.weight`` may be there and is the table then. ``h.0.attn.bias`` and
          ``h.0.attn.masked_bias``, in old files, are masks: not needed.
        - The model has the dtype of wte.weight, no dropout, and is in eval mode.
        - ValueError, naming what is wrong: a tensor that is missing (its name as in gpt2_names);
          one whose shape does not fit (its name, its shape, and the shape that is due in the file);
          one that nobody asked for (its name); an lm_head.weight that is not the table.
        - ValueError, naming the option, for a configuration that computes something else:
          ``activation_function`` is neither "gelu_new" (what it is if missing) nor
          "gelu_pytorch_tanh", both of them gelu's tanh form; ``scale_attn_weights`` is false; or
          ``scale_attn_by_inverse_layer_idx`` is true.
        """
        # TODO: read both files; make a model of these sizes; rename, transpose and cut.
        # HINT: what does transformers' Conv1D do, and what is its weight's shape?
        ### BEGIN SOLUTION
        # HINT: go through gpt2_names(depth); tensors.pop(name) takes each tensor once, so that
        # what is left over was not asked for.
        # HINT: a weight (inputs, outputs) is .T for nn.Linear; then .chunk(3) cuts c_attn, and its
        # bias, into q, k and v.
        # HINT: model.state_dict() says which shapes are due; compare before you load.
        config = json.loads((Path(folder) / "config.json").read_bytes())
        for option, known in {
            "activation_function": ("gelu_new", "gelu_pytorch_tanh"),
            "scale_attn_weights": (True,),
            "scale_attn_by_inverse_layer_idx": (False,),
        }.items():
            if option in config and config[option] not in known:
                raise ValueError(f"{option} is {config[option]!r}: not what this GPT computes")
        tensors = {
            name.removeprefix("transformer."): tensor
            for name, tensor in load_file(Path(folder) / "model.safetensors").items()
            if not name.endswith((".attn.bias", ".attn.masked_bias"))
        }
        model = cls(
            config["vocab_size"],
            config["n_positions"],
            config["n_embd"],
            config["n_layer"],
            config["n_head"],
            hidden=config.get("n_inner"),
            eps=config.get("layer_norm_epsilon", 1e-5),
        )
        own = model.state_dict()
        state = {}
        for theirs, ours in gpt2_names(config["n_layer"]).items():
            if theirs not in tensors:
                raise ValueError(f"{theirs} is missing in {folder}")
            tensor = tensors.pop(theirs)
            rows, *rest = own[ours[0]].shape
            due = (len(ours) * rows, *rest)
            turned = ".c_" in theirs  # a bias has one axis: turning changes nothing
            due = due[::-1] if turned else due
            if tensor.shape != due:
                raise ValueError(f"{theirs} is {tuple(tensor.shape)} in {folder}, and not {due}")
            tensor = tensor.t() if turned else tensor
            state |= dict(zip(ours, tensor.chunk(len(ours)), strict=True))
        table = state["tokens.weight"]
        if not torch.equal(tensors.pop("lm_head.weight", table), table):
            raise ValueError(f"lm_head.weight is not wte.weight in {folder}: they are not tied")
        if tensors:
            raise ValueError(f"{folder} holds {sorted(tensors)}, which no GPT-2 has")
        model.to(table.dtype).load_state_dict(state)
        return model.eval()
        ### END SOLUTION


def one_up(ids: torch.Tensor) -> torch.Tensor:
    """Given: scores of a model that counts."""
    return nn.functional.one_hot(ids + 1, 10).float()


def test_transformer() -> None:
    model = Transformer(vocab=10, dim=8, heads=2, depth=1, padding=0)
    source, target = torch.tensor([[4, 5, 6]]), torch.tensor([[1, 6, 5]])
    scores = model(source, target)
    assert scores.shape == (1, 3, 10)
    padded = model(torch.tensor([[4, 5, 6, 0, 0]]), target)
    torch.testing.assert_close(padded, scores)


def test_greedy_decode() -> None:
    ids = greedy_decode(one_up, torch.tensor([[3], [0]]), new=4, stop=5)
    assert ids.tolist() == [[3, 4, 5, 5, 5], [0, 1, 2, 3, 4]]


def test_one_beam_is_greedy() -> None:
    start = torch.tensor([[3, 4], [0, 1]])
    result = beam_search(one_up, start, new=5, beams=1)
    assert torch.equal(result.ids[:, 0], greedy_decode(one_up, start, new=5))


def test_gpt_does_not_see_the_future() -> None:
    model = GPT(vocab=10, context=16, dim=8, depth=2, heads=2)
    ids = torch.tensor([[3, 1, 4, 1]])
    torch.testing.assert_close(model(ids)[:, :2], model(ids[:, :2]))


def test_gpt_knows_nothing_at_first() -> None:
    loss = -GPT(vocab=64, context=16, dim=8, depth=2, heads=2)(torch.tensor([5])).log_softmax(-1)
    torch.testing.assert_close(loss, torch.full((1, 64), math.log(64)), atol=0.5, rtol=0)


if __name__ == "__main__":
    import sys

    if len(sys.argv) > 1:
        from harness import days_of

        days_of(__file__)  # an earlier day that is not finished is its reference in the program
        from tracks.pytorch.english import main as program

        program()
    else:
        from harness import main

        main(__file__)
