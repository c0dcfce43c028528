"""
Day 31: Integration: the whole DeepSeek model
=============================================
Estimated time: 3 hours
Prerequisites: Day 28 (LatentCache), Day 29 (DeepSeekConfig), Day 30 (DeepSeekBlock)
Lesson: lessons/day31.md

Learning objectives:
- Put blocks together to the language model whose logits are those of DeepSeek-V2 and V3
- Read and write the files in which such models are published, in shards with an index
- Check everything before anything is changed, so that no model is ever half loaded
- Write text with a cache of latents, prompts of different lengths side by side
- Say how large a published model is without having the memory for it

    ids ─► embed_tokens ─► layers.0 ─► ... ─► layers.n-1 ─► norm ─► lm_head ─► logits
                              │                  │
                           caches[0]  ...   caches[n-1]          latents and rope keys

    in memory                                     on disk
    model.layers.1.mlp.experts.gate_up_proj       model.layers.1.mlp.experts.0.gate_proj.weight
      (n, 2·inner, hidden)              ◄──────►  model.layers.1.mlp.experts.0.up_proj.weight
    model.layers.1.mlp.experts.down_proj          model.layers.1.mlp.experts.0.down_proj.weight
      (n, hidden, inner)                          model.layers.1.mlp.experts.1.gate_proj.weight
                                                  ...
    everything else                      ◄──────► the same name

    python -m tracks.pytorch.day31 sizes    prints what the published models need

Hints:
- The model itself is short: its blocks know what to do.
- Which tensors of a file are views of one parameter?
- What can a file say about its tensors before you read one of them?

Resources:
- DeepSeek-V2, 2024: https://arxiv.org/abs/2405.04434
- DeepSeek-V3, 2024: https://arxiv.org/abs/2412.19437
- safetensors, the format: https://github.com/huggingface/safetensors
- Insights into DeepSeek-V3, 2025, table 1 (bytes of a token): https://arxiv.org/abs/2505.09343
- DeepSeekMath, 2024: https://arxiv.org/abs/2402.03300
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from tracks.pytorch import day25
from tracks.pytorch.day14 import Embedding
from tracks.pytorch.day27 import RMSNorm
from tracks.pytorch.day28 import LatentCache
from tracks.pytorch.day29 import (
    DEEPSEEK_V2,
    DEEPSEEK_V2_LITE,
    DEEPSEEK_V3,
    DeepSeekConfig,
    small,
)
from tracks.pytorch.day30 import DeepSeekBlock, Experts

Folder = str | os.PathLike[str]


class DeepSeekModel(nn.Module):
    """DeepSeek-V2 or V3, by its configuration: it scores at every position which token comes next.

    The parts have the names of the published models. ``model`` holds three: ``embed_tokens`` (day
    14's Embedding, with pad_token_id as its padding_idx), ``layers`` (num_hidden_layers of day 30's
    DeepSeekBlock) and ``norm`` (day 27's RMSNorm with rms_norm_eps). ``lm_head`` is an nn.Linear
    hidden_size → vocab_size without a bias; with tie_word_embeddings its weight *is* that of
    embed_tokens, the same parameter. ``config`` is an attribute.

    At first all matrices, of embed_tokens, lm_head, the attentions, the feed-forward networks, the
    experts and the routers, are normal with mean 0 and standard deviation initializer_range; but
    the row of the padding is 0, as biases are, and the norms' weights are 1.

    >>> model = DeepSeekModel(small())
    >>> ids = torch.tensor([[3, 1, 4, 1, 5]])
    >>> caches = model.new_caches(batch=1, capacity=8)
    >>> parts = [model(ids[:, :3], caches=caches), model(ids[:, 3:], caches=caches, absorbed=True)]
    >>> torch.allclose(torch.cat(parts, 1), model(ids), atol=1e-5)
    True
    """

    def __init__(self, config: DeepSeekConfig) -> None:
        super().__init__()
        self.config = config
        # TODO: the parts and their first values.
        # HINT: which parts bring first values of their own, and which have those of nn.Linear?
        raise NotImplementedError("DeepSeekModel.__init__")

    def tie(self) -> None:
        """With tie_word_embeddings, make lm_head's weight that of embed_tokens; else nothing."""
        # TODO: one assignment.
        # HINT: what is an assignment to a parameter's name, and what is one to its numbers?
        raise NotImplementedError("DeepSeekModel.tie")

    def new_caches(self, batch: int, capacity: int) -> list[LatentCache]:
        """An empty LatentCache for each layer, in the dtype of the model and on its device.

        All together hold batch · capacity · num_hidden_layers · (kv_lora_rank + qk_rope_head_dim)
        elements.
        """
        # TODO: a list of day 28's caches.
        # HINT: which part of the model knows its dtype and device?
        raise NotImplementedError("DeepSeekModel.new_caches")

    def forward(
        self,
        ids: torch.Tensor,
        mask: torch.Tensor | None = None,
        positions: torch.Tensor | None = None,
        caches: Sequence[LatentCache] | None = None,
        absorbed: bool = False,
        keep: int | None = None,
    ) -> torch.Tensor:
        """``ids`` (batch, new), int64 → logits (batch, new, vocab_size).

        Args:
            mask: (batch, all so far), True where a token is real, False where it is padding, at any
                end; or numbers, of which 0 is padding, as transformers' attention_mask. "All so
                far" are the tokens in the caches and the new ones. None: all are real.
            positions: (new,) or (batch, new). Unless given, they count the real tokens of each
                text from 0 on; where none is hidden they follow those in the caches.
            caches: one for each layer, as new_caches makes them; the new tokens join them.
            absorbed: day 28's form of the attention.
            keep: how many positions, from the last one back, get logits: (batch, keep, vocab_size).
                lm_head is not applied to the others. None: all get them.

        - No token sees padding or what comes after it. So a text that was filled up gets at its
          own places what it gets alone, and logits at padding mean nothing, but are finite.
        - ValueError, before a cache is changed: a mask of another shape, naming mask, its shape and
          the one that is due; a number of caches that is not that of the layers, naming both.
        - The parts are called as modules. It runs under torch.compile(fullgraph=True).
        """
        # TODO: check; positions; embed, layers, norm, the last ones, lm_head.
        # HINT: what is the sum of a row of the mask up to a token, and what is its position?
        raise NotImplementedError("DeepSeekModel.forward")

    @classmethod
    def from_pretrained(
        cls,
        folder: Folder,
        *,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> DeepSeekModel:
        """The model in ``folder``: config.json (DeepSeekConfig.from_json) and its tensors, which
        load_tensors reads.

        Args:
            dtype: None: what config.json names under "dtype" or, in older files, "torch_dtype";
                float32 where it names none
            device: where the model is made; None: the CPU

        - The model is made on the device "meta" first, where it takes no memory, and no random
          numbers are drawn for weights that are replaced.
        - Published files of V3 hold more layers than num_hidden_layers: as many as
          num_nextn_predict_layers of config.json says predict a second token ahead. These days have
          no such layers, and their tensors are left aside.
        - It is in eval mode, all of its parameters can learn, and the weights are tied if the
          configuration says so. The selection bias is float32 in any dtype.
        - ValueError for a folder without config.json, naming it, and where from_json and
          load_tensors have one.
        """
        # TODO: read config.json; a model on "meta"; its dtype; memory for it; its tensors.
        # HINT: after Module.to_empty, is the tied weight still one parameter?
        raise NotImplementedError("DeepSeekModel.from_pretrained")

    def save_pretrained(self, folder: Folder, max_shard_bytes: int = 5 * 10**9) -> None:
        """Write config.json and the tensors, so that from_pretrained and transformers'
        AutoModelForCausalLM.from_pretrained load the same model from ``folder``.

        config.json is DeepSeekConfig.to_json's, and names the dtype of the model's parameters as
        "torch_dtype" ("bfloat16"). The tensors are those of ``published``, in write_tensors' files.
        The folder is made if it is not there. The model is not changed.
        """
        # TODO: two calls.
        # HINT: str(torch.bfloat16) is "torch.bfloat16".
        raise NotImplementedError("DeepSeekModel.save_pretrained")


def published(model: DeepSeekModel) -> dict[str, torch.Tensor]:
    """The tensors of a model under the names that they have in files.

    They are those of state_dict, but

    - a layer's ``mlp.experts.gate_up_proj`` and ``mlp.experts.down_proj`` are cut into the matrices
      of expert N: ``mlp.experts.N.gate_proj.weight`` (the upper half of its gate_up_proj),
      ``mlp.experts.N.up_proj.weight`` (the lower half) and ``mlp.experts.N.down_proj.weight``
    - with tie_word_embeddings there is no lm_head.weight: it would be the same numbers twice.

    All are views: no number is copied, and what is written into them is in the model. They do not
    require gradients. The model may be on the device "meta".

    >>> names = published(DeepSeekModel(small()))
    >>> len(names), tuple(names["model.layers.1.mlp.experts.7.up_proj.weight"].shape)
    (49, (8, 16))
    """
    # TODO: go through the state; cut what belongs to experts.
    # HINT: which tensors of a state_dict share memory with the model?
    raise NotImplementedError("published")


def write_tensors(
    tensors: Mapping[str, torch.Tensor], folder: Folder, max_shard_bytes: int = 5 * 10**9
) -> None:
    """Write tensors into safetensors files as transformers names them.

    Tensors go into shards in their order. A shard takes the next one if all of its tensors then
    have at most max_shard_bytes; a tensor that is larger by itself has a shard of its own.

    - One shard: ``model.safetensors``.
    - More: ``model-00001-of-00003.safetensors`` and so on, and ``model.safetensors.index.json``:
      ``{"metadata": {"total_size": bytes of all tensors}, "weight_map": {name: file}}``.
    - Each file has the metadata ``{"format": "pt"}``, as transformers' own; versions of it have
      refused files without it.
    - ``tensors`` may have any strides and lie on any device; parts of one tensor are written each
      for itself. No two share an element.
    - The folder is made if it is not there. The files of an earlier save that are not part of this
      one are removed: model.safetensors, or model.safetensors.index.json, or
      model-*-of-*.safetensors. Nothing else in the folder is touched.
    - As long as not all shards are written, the files of an earlier save stay as they are: a save
      that fails on the way (an exception, no space left) leaves what was there to be loaded.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> write_tensors({"a": torch.zeros(3), "b": torch.zeros(5), "c": torch.zeros(2)}, folder, 28)
    >>> json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]["c"]
    'model-00002-of-00002.safetensors'
    """
    # TODO: fill the shards; name them; write under other names; then exchange old for new.
    # HINT: when do you know how many shards there are?
    raise NotImplementedError("write_tensors")


# Given: what a file that is missing or broken raises when it is read.
UNREADABLE = (OSError, ValueError, KeyError, SafetensorError)


def files_of(folder: Folder) -> list[Path]:
    """Given: the safetensors files in ``folder`` that make a model, whether they are there or not.

    A folder with neither model.safetensors nor an index that can be read is a ValueError that names
    it.
    """
    single = Path(folder) / "model.safetensors"
    if single.exists():
        return [single]
    try:
        index = json.loads((Path(folder) / "model.safetensors.index.json").read_bytes())
        return [Path(folder) / file for file in sorted(set(index["weight_map"].values()))]
    except UNREADABLE as error:
        raise ValueError(
            f"{folder} has neither model.safetensors nor an index that can be read: {error!r}"
        ) from error


def load_tensors(
    targets: Mapping[str, torch.Tensor], folder: Folder, *, skip: Iterable[str] = ()
) -> None:
    """Fill ``targets`` with the tensors of the same names in the safetensors files of ``folder``.

    The files are those of ``files_of``: ``model.safetensors`` or, where there is none, those that
    the weight_map of ``model.safetensors.index.json`` names. What a target has of dtype, device and
    strides stays: the numbers are converted. Tensors whose names begin with one of ``skip`` are as
    if they were not in the files.

    ValueError, each before any target is changed:

    - a folder without these files, or with an index that cannot be read: naming the folder
    - a file that is missing, truncated or no safetensors file: naming the file
    - targets that the files do not have: naming all of them
    - tensors for which there is no target: naming all of them
    - tensors of another shape than their target's: naming, of each, its name and both shapes

    >>> import tempfile
    >>> folder, weight = tempfile.mkdtemp(), torch.zeros(2)
    >>> write_tensors({"w": torch.tensor([3.0, 4.0])}, folder)
    >>> load_tensors({"w": weight}, folder)
    >>> weight
    tensor([3., 4.])
    """
    # TODO: open all files; compare; and only then copy.
    # HINT: what does safetensors' header hold, and what does safe_open check when it opens?
    raise NotImplementedError("load_tensors")


@torch.no_grad()
def generate(
    model: DeepSeekModel,
    prompts: Sequence[torch.Tensor],
    new: int,
    *,
    stop: int | None = None,
    temperature: float = 0.0,
    generator: torch.Generator | None = None,
) -> Iterator[torch.Tensor]:
    """Write ``new`` tokens behind each prompt, and hand out every token as soon as it is there.

    Args:
        prompts: ids, one tensor (length,) for each text, of any lengths from 1 on
        new: how many tokens are written at most
        stop: the token that ends a text; None: nothing ends it
        temperature: 0 takes the likeliest token; otherwise one is drawn from softmax(logits /
            temperature), with ``generator``, or torch's own

    Yields tensors (batch,) of int64, one a step, on the model's device, where all that is made on
    the way lies as well.

    - Every text gets what it would get alone: prompts are filled up on the left, with any token
      that there is, and the filling is hidden.
    - A text that has written ``stop`` gets nothing but ``stop`` from there on. Once all have
      written it, nothing is yielded or read any more. A ``stop`` in a prompt ends nothing.
    - Every position goes through the model once, with new_caches of longest prompt + new - 1
      positions: the prompts at once in the expanded form, then each new token in the absorbed form.
      The last token is handed out, not read. lm_head is applied to one position a text and step.
    - The probabilities are computed in float32 where logits are half precision.
    - ValueError at the first step: a prompt without tokens, with its place in the list; prompts and
      new tokens that need more positions than max_position_embeddings, naming both numbers.

    >>> model = DeepSeekModel(small())
    >>> prompts = [torch.tensor([1, 2, 3]), torch.tensor([4])]
    >>> torch.stack(list(generate(model, prompts, new=5)), 1).shape
    torch.Size([2, 5])
    """
    # TODO: check; fill up; caches; read the prompts; then choose, yield, and read what was chosen.
    # HINT: which columns of the mask does each call want?
    raise NotImplementedError("generate")


class Size(NamedTuple):
    """Given: how large a model is."""

    parameters: int
    active: int
    cache_bytes: int


def model_size(model: DeepSeekModel) -> Size:
    """How many parameters a model has, how many of them a token meets, and what is kept of it.

    - parameters: all, a tied one once. The selection bias of V3 is a buffer and not counted.
    - active: of the experts in a layer only num_experts_per_tok are counted, and of embed_tokens
      one row, unless it is tied: then lm_head meets all of it. Everything else is counted.
    - cache_bytes: of one token, in all layers together, in the model's dtype

    The model may be on the device "meta", where the largest of them takes no memory.

    >>> with torch.device("meta"):
    ...     model = DeepSeekModel(DEEPSEEK_V2_LITE).bfloat16()
    >>> model_size(model)
    Size(parameters=15706484224, active=2659803136, cache_bytes=31104)
    """
    # TODO: count; take off what rests; measure a cache of one token.
    # HINT: how large a share of an Experts module does a token not meet?
    raise NotImplementedError("model_size")


# Given: DeepSeekMath-7B, by its config.json: a Llama with one key and value for each head (day 25).
DEEPSEEK_MATH_7B = day25.Config(102_400, 4096, 30, 32, 32, 128, 11_008, gated=True)


def published_sizes() -> dict[str, Size]:
    """Given: how large the published models are, measured on the device "meta" in bfloat16."""
    found = {}
    for name, config in (
        ("DeepSeek-V2-Lite", DEEPSEEK_V2_LITE),
        ("DeepSeek-V2", DEEPSEEK_V2),
        ("DeepSeek-V3", DEEPSEEK_V3),
    ):
        with torch.device("meta"):
            found[name] = model_size(DeepSeekModel(config).bfloat16())
    math = DEEPSEEK_MATH_7B
    with torch.device("meta"):
        count = sum(p.numel() for p in day25.Model(math).parameters())
    table = (math.vocab - 1) * math.dim
    kept = day25.step_bytes(math, batch=1, length=0, cached=1).cache
    return found | {"DeepSeekMath-7B": Size(count, count - table, kept)}


def sizes() -> str:
    """Given: published_sizes as a table, with what serving and training take.

    To serve: weights in bfloat16 and the cache of one text of 32,768 tokens. To train: 16 bytes for
    each parameter (weight and gradient in bfloat16; weight and Adam's two moments in float32).
    """
    lines = [
        "                   parameters   active   bytes of   to serve   to train",
        "                                         a token       GB         GB",
    ]
    for name, size in published_sizes().items():
        serve = 2 * size.parameters + 2**15 * size.cache_bytes
        lines.append(
            f"{name:17} {size.parameters / 1e9:10.2f}B {size.active / 1e9:7.2f}B "
            f"{size.cache_bytes:10,} {serve / 1e9:10.1f} {16 * size.parameters / 1e9:10.1f}"
        )
    return "\n".join(lines)


def test_a_text_in_two_parts() -> None:
    model, ids = DeepSeekModel(small()), torch.tensor([[3, 1, 4, 1, 5]])
    caches = model.new_caches(1, 5)
    parts = [model(ids[:, :4], caches=caches), model(ids[:, 4:], caches=caches, absorbed=True)]
    torch.testing.assert_close(torch.cat(parts, 1), model(ids))


def test_published_are_views() -> None:
    model = DeepSeekModel(small())
    published(model)["model.layers.1.mlp.experts.3.up_proj.weight"].fill_(7.0)
    stacked = model.state_dict()["model.layers.1.mlp.experts.gate_up_proj"]
    assert stacked[3, 8:].eq(7).all()
    assert not stacked[3, :8].eq(7).any()


def test_shards() -> None:
    with tempfile.TemporaryDirectory() as folder:
        tensors = {name: torch.full((2,), float(i)) for i, name in enumerate("abc")}
        write_tensors(tensors, folder, max_shard_bytes=16)
        assert (Path(folder) / "model-00002-of-00002.safetensors").exists()
        targets = {name: torch.zeros(2) for name in "abc"}
        load_tensors(targets, folder)
        assert targets["c"].tolist() == [2.0, 2.0]


def test_missing_tensor() -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_tensors({"a": torch.ones(2)}, folder)
        target = torch.zeros(2)
        try:
            load_tensors({"a": target, "b": torch.zeros(3)}, folder)
        except ValueError as error:
            assert "b" in str(error)
        else:
            raise AssertionError("b is in no file")
        assert target.tolist() == [0.0, 0.0]


def test_saved_and_loaded() -> None:
    model, ids = DeepSeekModel(small()), torch.tensor([[3, 1, 4, 1, 5]])
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder, max_shard_bytes=4000)
        torch.testing.assert_close(DeepSeekModel.from_pretrained(folder)(ids), model(ids))


def test_generate() -> None:
    model = DeepSeekModel(small())
    prompts = [torch.tensor([1, 2, 3]), torch.tensor([4])]
    both = torch.stack(list(generate(model, prompts, new=5)), 1)
    alone = torch.stack(list(generate(model, prompts[1:], new=5)), 1)
    assert torch.equal(both[1:], alone)


def test_model_size() -> None:
    size = model_size(DeepSeekModel(small()))
    assert size.parameters - size.active == 6 * 3 * 8 * 16 + 31 * 16
    assert size.cache_bytes == 2 * 4 * (8 + 4)


if __name__ == "__main__":
    import sys

    if len(sys.argv) > 1:
        from harness import days_of

        days_of(__file__)  # an earlier day that is not finished is its reference in the program
        from tracks.pytorch import day31

        print(day31.sizes())
    else:
        from harness import main

        main(__file__)
