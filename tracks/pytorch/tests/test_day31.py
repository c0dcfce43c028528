"""Day 31: whole models in float64 against transformers', and files that each reads of the other."""

import copy
import dataclasses
import json
import math
import re
from functools import cache

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from harness.testing import (
    close,
    exercise,
    in_float64,
    random_weights,
    refused,
    same_compiled,
)
from tracks.pytorch import day31
from tracks.pytorch.day29 import DeepSeekConfig

WIDE = torch.float64
SIZES = dict(vocab_size=24, hidden_size=16, num_hidden_layers=3, num_attention_heads=2,
             q_lora_rank=6, kv_lora_rank=8, qk_nope_head_dim=4, qk_rope_head_dim=4, v_head_dim=6,
             intermediate_size=20, moe_intermediate_size=5, n_routed_experts=8,
             num_experts_per_tok=3, n_group=4, topk_group=2, rms_norm_eps=1e-3)  # fmt: skip
YARN = {"type": "yarn", "factor": 8.0, "mscale": 0.7, "mscale_all_dim": 0.9, "beta_fast": 32,
        "beta_slow": 1, "original_max_position_embeddings": 16}  # fmt: skip
V3 = DeepSeekConfig(**SIZES, first_k_dense_replace=1, routed_scaling_factor=2.5, rope_scaling=YARN,
                    max_position_embeddings=128)  # fmt: skip
V3_OTHER = dataclasses.replace(V3, q_lora_rank=None, first_k_dense_replace=2, attention_bias=True,
                               norm_topk_prob=False, rope_scaling=None, rope_interleave=False,
                               tie_word_embeddings=True)  # fmt: skip
V2 = dataclasses.replace(V3, model_type="deepseek_v2", scoring_func="softmax", n_shared_experts=2,
                         topk_method="group_limited_greedy", norm_topk_prob=False,
                         routed_scaling_factor=4.0, pad_token_id=3)  # fmt: skip
LITE = dataclasses.replace(V2, topk_method="greedy", q_lora_rank=None, rope_scaling=None,
                           n_shared_experts=1, tie_word_embeddings=True, pad_token_id=None,
                           num_hidden_layers=2)  # fmt: skip
CASES = {"V2": V2, "V2, greedy, tied": LITE, "V3": V3, "V3, dense, tied": V3_OTHER}
EACH = pytest.mark.parametrize("config", CASES.values(), ids=CASES)
TWO = pytest.mark.parametrize("config", [LITE, V3], ids=["V2, tied", "V3"])
FORMS = pytest.mark.parametrize("absorbed", [False, True], ids=["expanded", "absorbed"])


def scatter(model, rng, std=2.0):
    """Weights that hide nothing, the selection bias among them."""
    random_weights(model, rng, std)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if ".experts." in name:
                p.copy_(rng.normal(*p.shape, std=std / p.shape[-1] ** 0.5))
        for name, b in model.named_buffers():
            if name.endswith("e_score_correction_bias"):  # theirs have frequencies as well
                b.copy_(rng.uniform(*b.shape, high=0.4))
    return model


def make(config, rng, device, dtype=WIDE):
    return scatter(day31.DeepSeekModel(config), rng).to(device, dtype).eval()


def same(got, wanted, name, limit=1e-9):
    """To rounding, as a share of the length of what is right."""
    assert got.shape == wanted.shape, f"{name}: {tuple(got.shape)}, not {tuple(wanted.shape)}"
    error = ((got - wanted).norm() / wanted.norm()).item()
    assert error < limit, f"{name}: off by {error:.2g} of their length"


def in_parts(model, ids, mask=None, sizes=(3, 1, 2), absorbed=False):
    """The logits of a text that is read in several calls with caches."""
    caches = model.new_caches(len(ids), ids.shape[1])
    parts, start = [], 0
    for new in sizes:
        end = start + new
        seen = None if mask is None else mask[:, :end]
        parts.append(model(ids[:, start:end], seen, caches=caches, absorbed=absorbed))
        start = end
    assert [c.length for c in caches] == [sum(sizes)] * len(caches), "tokens are not in the caches"
    return torch.cat(parts, 1)


def left(lengths, device, longest=6):
    """A mask for texts of these lengths, filled up on the left."""
    missing = longest - torch.tensor(lengths, device=device)
    return torch.arange(longest, device=device) >= missing[:, None]


# DeepSeekModel -------------------------------------------------------------------------------


@exercise("DeepSeekModel")
def test_parts():
    model = day31.DeepSeekModel(dataclasses.replace(V3, rms_norm_eps=0.25, pad_token_id=5))
    found = set(model.state_dict())
    due = {"model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"}
    layers = {name for name in found if name.startswith("model.layers.")}
    assert found - layers == due, f"beside the layers there is {sorted(found - layers)}"
    for i in range(3):
        block = {n.split(".", 3)[3] for n in layers if n.startswith(f"model.layers.{i}.")}
        wanted = set(day31.DeepSeekBlock(V3, i).state_dict())
        assert block == wanted, f"layer {i} has {sorted(block ^ wanted)} too many or too few"
    assert model.model.norm.eps == 0.25, "the last norm has another eps than rms_norm_eps"
    assert model.model.embed_tokens.padding_idx == 5, "pad_token_id is not the table's padding_idx"


@exercise("DeepSeekModel")
@TWO
def test_first_values(config):
    wide = dataclasses.replace(config, initializer_range=0.3, hidden_size=96, vocab_size=96,
                               moe_intermediate_size=24, intermediate_size=64, pad_token_id=7,
                               attention_bias=True)  # fmt: skip
    model = day31.DeepSeekModel(wide)
    for name, p in model.state_dict().items():
        if p.dim() == 1:
            due = 1.0 if "norm" in name else 0.0
            assert (p == due).all(), f"{name} is not {due} throughout at first"
            continue
        p = p[torch.arange(len(p)) != 7] if "embed_tokens" in name else p
        sigma = 1 / math.sqrt(2 * p.numel())
        spread, mean = p.std().item() / 0.3, p.mean().item() / 0.3
        assert abs(spread - 1) < 6 * sigma and abs(mean) < 9 * sigma, (
            f"{name}: mean {mean:.3f} and standard deviation {spread:.3f} times initializer_range"
        )
    assert not model.model.embed_tokens.weight[7].any(), "the padding's row is not 0 at first"


@exercise("DeepSeekModel")
def test_tied_is_one_parameter(device, rng):
    for config, tied in ((LITE, True), (V3, False)):
        model = day31.DeepSeekModel(config)
        one = model.lm_head.weight is model.model.embed_tokens.weight
        assert one == tied, f"tie_word_embeddings is {tied}; lm_head's is the table: {one}"


@exercise("DeepSeekModel")
@TWO
@FORMS
def test_calls_do_not_matter(config, absorbed, device, rng):
    model, ids = make(config, rng, device), rng.integers(0, 24, 2, 6)
    with torch.no_grad():
        whole = model(ids)
        same(model(ids, absorbed=absorbed), whole, f"logits with absorbed={absorbed}")
        for sizes in ((6,), (3, 1, 2), (1,) * 6):
            got = in_parts(model, ids, sizes=sizes, absorbed=absorbed)
            same(got, whole, f"logits of calls with {sizes} tokens")


@exercise("DeepSeekModel")
@TWO
@FORMS
def test_padding_changes_nothing(config, absorbed, device, rng):
    model, ids = make(config, rng, device), rng.integers(0, 24, 3, 6)
    before = left([6, 4, 1], device)
    with torch.no_grad():
        for what, mask in (("before", before), ("behind", before.flip(1))):
            for seen in (mask, mask.long()):
                cases = {
                    "at once": model(ids, seen, absorbed=absorbed),
                    "in parts": in_parts(model, ids, seen, absorbed=absorbed),
                }
                for how, got in cases.items():
                    assert got.isfinite().all(), f"padding {what}, {how}: logits are not finite"
                    for i in range(3):
                        alone = model(ids[i : i + 1, mask[i]])[0]
                        name = f"{len(alone)} tokens with padding {what}, read {how}"
                        same(got[i, mask[i]], alone, name)


@exercise("DeepSeekModel")
def test_one_layer(device, rng):
    model = make(dataclasses.replace(V3, num_hidden_layers=1), rng, device)
    ids, mask = rng.integers(0, 24, 2, 6), left([6, 4], device)
    with torch.no_grad():
        whole = model(ids, mask)
        same(in_parts(model, ids, mask)[mask], whole[mask], "one layer, a mask and a cache: logits")


@exercise("DeepSeekModel")
def test_positions(device, rng):
    """Only distances count: with the same ones the logits are the same, with others they differ."""
    model, ids = make(V3, rng, device), rng.integers(0, 24, 2, 5)
    at = torch.tensor([0, 2, 3, 7, 8], device=device)
    with torch.no_grad():
        plain, gaps = model(ids), model(ids, positions=at)
        same(model(ids, positions=at + 40), gaps, "logits with all positions 40 higher")
        same(model(ids, positions=torch.stack([at, at + 9])), gaps, "positions (batch, new)")
        assert (gaps[:, 2:] - plain[:, 2:]).norm() > 1e-3 * plain.norm(), "positions do nothing"
        mask = left([5, 5], device, 5)
        same(model(ids, mask, positions=at), gaps, "positions that are given beside a mask")


@exercise("DeepSeekModel")
def test_hidden_positions_are_exact(device, rng):
    """Far from 0 the same distances are rounded otherwise: with a mask each text begins at 0."""
    model, ids = make(V3, rng, device), rng.integers(0, 24, 1, 5)
    seen = []

    def note(_, args, kwargs):
        seen.append(kwargs["positions"] if "positions" in kwargs else args[1])

    for block in model.model.layers:
        block.self_attn.register_forward_pre_hook(note, with_kwargs=True)
    with torch.no_grad():
        model(ids, left([3], device, 5))
    for positions in seen:
        found = positions.expand(1, 5)[0].tolist()
        assert found[2:] == [0, 1, 2], f"three tokens behind two of padding stand at {found}"


@exercise("DeepSeekModel")
def test_absorbed_makes_no_keys(device, rng):
    model, ids = make(V3, rng, device), rng.integers(0, 24, 2, 4)
    seen = []
    for block in model.model.layers:
        block.self_attn.kv_b_proj.register_forward_hook(lambda *_: seen.append(1))
    for absorbed, due in ((False, 3), (True, 0)):
        seen.clear()
        with torch.no_grad():
            model(ids, absorbed=absorbed)
        assert len(seen) == due, (
            f"absorbed={absorbed}: {len(seen)} of 3 layers made keys and values of all heads"
        )


@exercise("DeepSeekModel")
def test_logits_of_the_last(device, rng):
    model, ids = make(V3, rng, device), rng.integers(0, 24, 2, 6)
    seen = []
    model.lm_head.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].shape[1]))
    with torch.no_grad():
        whole = model(ids)
        for keep in (1, 4, 6):
            same(model(ids, keep=keep), whole[:, 6 - keep :], f"logits with keep={keep}")
        none = model(ids, keep=0)
    assert seen[:4] == [6, 1, 4, 6], f"lm_head worked on {seen} positions, for 6, 1, 4 and 6 logits"
    assert none.shape == (2, 0, 24), "keep=0 does not give logits for no position"


@exercise("DeepSeekModel")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_caches(dtype, device):
    model = day31.DeepSeekModel(V3).to(device, dtype)
    caches = model.new_caches(batch=5, capacity=7)
    assert len(caches) == 3, f"{len(caches)} caches for 3 layers"
    assert len({id(c.latents) for c in caches}) == 3, "layers share a cache"
    total = sum(c.nbytes for c in caches)
    due = 5 * 7 * 3 * (8 + 4) * dtype.itemsize
    assert total == due, f"{total} bytes, and the latents and rope keys are {due}"
    where = {(c.latents.dtype, c.latents.device) for c in caches}
    assert where == {(dtype, model.lm_head.weight.device)}, f"caches are {where}"
    where = {c.latents.device.type for c in model.to("meta").new_caches(1, 1)}
    assert where == {"meta"}, f"the model is on meta, and its caches are on {where}"


@exercise("DeepSeekModel")
def test_model_refuses(device, rng):
    model, ids = make(V3, rng, device), rng.integers(0, 24, 2, 3)
    caches = model.new_caches(2, 8)
    with torch.no_grad():
        model(ids, caches=caches)
    for shape, due in (((2, 3), (2, 6)), ((2, 7), (2, 6)), ((1, 6), (2, 6)), ((6,), (2, 6))):
        mask = torch.ones(shape, dtype=torch.bool, device=device)
        refused(model, ids, mask, caches=caches, what=f"mask {shape} with 3 tokens in the caches",
                names=("mask", shape, due))  # fmt: skip
    mask = torch.ones(2, 6, dtype=torch.bool, device=device)
    refused(model, ids, mask, what="mask (2, 6) for 3 tokens", names=("mask", (2, 6), (2, 3)))
    refused(model, ids, caches=caches[:2], what="2 caches for 3 layers", names=(2, 3))
    refused(model, ids, caches=[*caches, *model.new_caches(2, 8)], what="6 caches", names=(6, 3))
    lengths = [c.length for c in caches]
    assert lengths == [3, 3, 3], f"after errors the caches of 3 tokens hold {lengths}"


@exercise("DeepSeekModel")
def test_everything_is_made_where_the_ids_are(device, rng):
    model, ids = make(V3, rng, device), rng.integers(0, 24, 2, 4)
    mask = left([4, 2], device, 4)
    with torch.no_grad(), torch.device("meta"):  # where tensors land that are made without device=
        logits = model(ids, mask)
    assert logits.device == ids.device, f"ids on {ids.device}, logits on {logits.device}"


# published -----------------------------------------------------------------------------------


def cut(state, tied):
    """The names of files, from the state of a model, expert by expert."""
    tensors = {}
    for name, tensor in state.items():
        if name.endswith(".experts.gate_up_proj"):
            for i in range(len(tensor)):
                half = tensor.shape[1] // 2
                stem = name.replace("gate_up_proj", str(i))
                tensors[f"{stem}.gate_proj.weight"] = tensor[i, :half]
                tensors[f"{stem}.up_proj.weight"] = tensor[i, half:]
        elif name.endswith(".experts.down_proj"):
            for i in range(len(tensor)):
                tensors[f"{name.replace('down_proj', str(i))}.down_proj.weight"] = tensor[i]
        elif name != "lm_head.weight" or not tied:
            tensors[name] = tensor
    return tensors


@exercise("published")
@EACH
def test_published_names(config, device, rng):
    model = make(config, rng, device)
    got, wanted = day31.published(model), cut(model.state_dict(), config.tie_word_embeddings)
    assert set(got) == set(wanted), f"too many or too few: {sorted(set(got) ^ set(wanted))[:4]}"
    for name, tensor in wanted.items():
        assert got[name].shape == tensor.shape, f"{name} is {tuple(got[name].shape)}"
        assert torch.equal(got[name], tensor), f"{name} holds other numbers"
        assert got[name].dtype == tensor.dtype, f"{name} is {got[name].dtype}"


@exercise("published")
def test_published_are_views(device, rng):
    model = make(V3, rng, device)
    tensors = day31.published(model)
    for tensor in tensors.values():
        tensor.fill_(7.0)
    kept = [name for name, x in model.state_dict().items() if not (x == 7.0).all()]
    assert not kept, f"7 was written into all of them, and these do not hold it: {kept}"
    assert not any(x.requires_grad for x in tensors.values()), "they require gradients"


@exercise("published")
def test_published_on_meta():
    with torch.device("meta"):
        model = day31.DeepSeekModel(V2)
    for name, tensor in day31.published(model).items():
        assert tensor.is_meta, f"{name} of a model on meta is on {tensor.device}"


# write_tensors -------------------------------------------------------------------------------


def files_of(folder):
    return sorted(path.name for path in folder.iterdir())


def four(rng):
    """24, 40, 8 and 100 bytes."""
    sizes = {"a": (6,), "b.weight": (2, 5), "c": (2,), "d": (5, 5)}
    return {name: rng.normal(*shape).cpu() for name, shape in sizes.items()}


LIMITS = {
    172: [["a", "b.weight", "c", "d"]],
    171: [["a", "b.weight", "c"], ["d"]],
    72: [["a", "b.weight", "c"], ["d"]],
    71: [["a", "b.weight"], ["c"], ["d"]],
    48: [["a"], ["b.weight", "c"], ["d"]],
    47: [["a"], ["b.weight"], ["c"], ["d"]],
    1: [["a"], ["b.weight"], ["c"], ["d"]],
}


@exercise("write_tensors")
@pytest.mark.parametrize("limit, shards", LIMITS.items(), ids=map(str, LIMITS))
def test_shards(limit, shards, rng, tmp_path):
    tensors = four(rng)
    day31.write_tensors(tensors, str(tmp_path / "new" / "folder"), limit)
    folder, n = tmp_path / "new" / "folder", len(shards)
    names = [f"model-{i + 1:05}-of-{n:05}.safetensors" for i in range(n)]
    index = folder / "model.safetensors.index.json"
    names = names if n > 1 else ["model.safetensors"]
    due = sorted(names + [index.name] * (n > 1))
    assert files_of(folder) == due, f"with {limit} bytes a shard: {files_of(folder)}, not {due}"
    for file, shard in zip(names, shards, strict=True):
        found = load_file(folder / file)
        assert set(found) == set(shard), f"{file} holds {sorted(found)}, not {shard}"
        for name, x in found.items():
            assert torch.equal(x, tensors[name]), f"{name} in {file} holds other numbers"
        with safe_open(folder / file, framework="pt") as f:
            said = f.metadata()
        assert said == {"format": "pt"}, f"the metadata of {file} are {said}"
    if n > 1:
        where = {name: file for file, shard in zip(names, shards, strict=True) for name in shard}
        wanted = {"metadata": {"total_size": 172}, "weight_map": where}
        assert json.loads(index.read_text()) == wanted, f"the index is {index.read_text()}"


@exercise("write_tensors")
def test_any_tensors(device, rng, tmp_path):
    """Parts of one tensor, any strides, other dtypes, one element and none."""
    x, y = rng.normal(4, 6), rng.normal(3, 4)
    tensors = {"rows": x[:2], "others": x[2:], "columns": y.T, "step": rng.normal(4, 6)[:, ::2]}
    tensors |= {"number": y.sum(), "none": y.new_empty(0, 6), "half": y.bfloat16()}
    tensors["learns"] = y.clone().requires_grad_()
    for limit in (10**9, 50):
        day31.write_tensors(tensors, tmp_path, limit)
        got = {}
        for path in tmp_path.glob("*.safetensors"):
            got |= load_file(path)
        for name, tensor in tensors.items():
            assert got[name].dtype == tensor.dtype, f"{name} is {got[name].dtype}"
            assert torch.equal(got[name], tensor.detach().cpu()), f"{name}: other numbers"


@exercise("write_tensors")
def test_an_earlier_save_goes(rng, tmp_path):
    tensors = four(rng)
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / "other.safetensors").write_text("")
    for limit in (1, 71, 10**9, 72, 71, 10**9):
        day31.write_tensors(tensors, tmp_path, limit)
        found = files_of(tmp_path)
        shards = [name for name in found if name.startswith("model-")]
        n = len(LIMITS.get(limit, [0]))
        assert len(shards) == (n if n > 1 else 0), f"{n} shards are due, the folder has {found}"
        single, index = "model.safetensors" in found, "model.safetensors.index.json" in found
        assert (single, index) == (n == 1, n > 1), f"{n} shards are due, the folder has {found}"
        assert {"tokenizer.json", "other.safetensors"} <= set(found), f"files are gone: {found}"


@exercise("write_tensors")
@pytest.mark.parametrize("limit", [10**9, 71], ids=["one file", "shards"])
def test_a_save_that_fails(limit, rng, tmp_path):
    tensors = four(rng)
    day31.write_tensors(tensors, tmp_path, limit)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    bad = {name: x + 1 for name, x in tensors.items()}
    bad["d"] = torch.empty(5, 5, device="meta")  # has no numbers to be written
    try:
        day31.write_tensors(bad, tmp_path, limit)
    except Exception:  # of whatever kind: what counts is what is left
        pass
    else:
        pytest.fail("a tensor on the device meta was saved: it holds no numbers")
    for name, data in before.items():
        there = (tmp_path / name).exists() and (tmp_path / name).read_bytes() == data
        assert there, f"the save failed at its last tensor, and {name} of the earlier one is gone"


# load_tensors --------------------------------------------------------------------------------


def zeros(tensors):
    return {name: torch.full_like(x, 0.5) for name, x in tensors.items()}


@exercise("load_tensors")
@pytest.mark.parametrize("limit", [10**9, 63], ids=["one file", "shards"])
def test_loads(limit, device, rng, tmp_path):
    tensors = four(rng)
    day31.write_tensors(tensors, tmp_path, limit)
    targets = {name: x.to(device) for name, x in zeros(tensors).items()}
    held = dict(targets)
    day31.load_tensors(targets, str(tmp_path))
    for name, x in tensors.items():
        assert targets[name] is held[name], f"{name} is another tensor now"
        assert torch.equal(targets[name].cpu(), x), f"{name} holds other numbers"


@exercise("load_tensors")
def test_targets_keep_what_they_are(rng, tmp_path):
    tensors = four(rng)
    day31.write_tensors(tensors, tmp_path, 63)
    whole = torch.zeros(5, 10, dtype=WIDE)
    targets = zeros(tensors) | {"d": whole[:, ::2].T, "a": torch.zeros(6, dtype=torch.bfloat16)}
    targets["c"] = torch.nn.Parameter(torch.zeros(2))
    day31.load_tensors(targets, tmp_path)
    assert torch.equal(whole[:, ::2].T, tensors["d"].double()), "a view in float64 is not filled"
    assert torch.equal(targets["a"], tensors["a"].bfloat16()), "a target in bfloat16"
    assert torch.equal(targets["c"].detach(), tensors["c"]), "a parameter is not filled"
    assert targets["c"].requires_grad, "a parameter does not learn any more"


@exercise("load_tensors")
def test_skip(rng, tmp_path):
    tensors = four(rng)
    day31.write_tensors(tensors, tmp_path, 63)
    targets = zeros({name: tensors[name] for name in ("a", "c")})
    day31.load_tensors(targets, tmp_path, skip=["b.", "d"])
    assert torch.equal(targets["c"], tensors["c"]), "with b. and d skipped, c holds other numbers"
    refused(day31.load_tensors, targets, tmp_path, skip=["b."], what="d, with b. skipped",
            names=["d"])  # fmt: skip
    targets["d"] = torch.zeros(5, 5)
    refused(day31.load_tensors, targets, tmp_path, skip=["b.", "d"], what="a target d, skipped",
            names=["d"])  # fmt: skip


@exercise("load_tensors")
def test_which_file(rng, tmp_path):
    """One file goes before an index; shards that the index does not name are not read."""
    tensors = four(rng)
    day31.write_tensors(tensors, tmp_path, 63)
    save_file({"e": torch.zeros(2)}, tmp_path / "model-00009-of-00009.safetensors")
    targets = zeros(tensors)
    day31.load_tensors(targets, tmp_path)
    other = {name: x + 1 for name, x in tensors.items()}
    save_file(other, tmp_path / "model.safetensors")
    day31.load_tensors(targets, tmp_path)
    assert torch.equal(targets["a"], other["a"]), "model.safetensors is there, and was not read"


def unchanged(targets, what):
    changed = [name for name, x in targets.items() if not (x == 0.5).all()]
    assert not changed, f"{what} was refused, and {changed} are changed all the same"


@exercise("load_tensors")
@pytest.mark.parametrize("limit", [10**9, 1], ids=["one file", "shards"])
def test_tensors_that_do_not_fit(limit, rng, tmp_path):
    tensors = four(rng)
    day31.write_tensors(tensors, tmp_path, limit)

    def without(*names):
        return {name: x for name, x in zeros(tensors).items() if name not in names}

    wrong = {"d": torch.full((5, 4), 0.5), "c": torch.full((2, 1), 0.5)}
    cases = {
        "two tensors that nobody asked for": (without("c", "d"), ["c", "d"]),
        "two targets that are in no file": (
            zeros(tensors) | {"e.x": torch.full((2,), 0.5), "f.y": torch.full((2,), 0.5)},
            ["e.x", "f.y"],
        ),
        "two tensors of another shape": (
            zeros(tensors) | wrong, ["d", (5, 5), (5, 4), "c", (2,), (2, 1)],
        ),
        "a tensor with its axes exchanged": (
            zeros(tensors) | {"b.weight": torch.full((5, 2), 0.5)}, ["b.weight", (2, 5), (5, 2)],
        ),
        "one number for many": (
            zeros(tensors) | {"c": torch.full((3, 2), 0.5)}, ["c", (2,), (3, 2)],
        ),
    }  # fmt: skip
    for what, (targets, names) in cases.items():
        refused(day31.load_tensors, targets, tmp_path, what=what, names=names)
        unchanged(targets, what)


@exercise("load_tensors")
def test_damaged_files(rng, tmp_path):
    tensors = four(rng)
    shards = [f"model-{i}-of-00003.safetensors" for i in ("00001", "00002", "00003")]

    def check(what, damage, file, limit=63):
        folder = tmp_path / what
        day31.write_tensors(tensors, folder, limit)
        damage(folder / file)
        targets = zeros(tensors)
        refused(day31.load_tensors, targets, folder, what=f"{file}: {what}", names=[file])
        unchanged(targets, what)

    def shorter(path, by):
        path.write_bytes(path.read_bytes()[:-by])

    def add(path):
        path.write_bytes(path.read_bytes() + b"1234")

    check("a byte is missing", lambda path: shorter(path, 1), "model.safetensors", 10**9)
    for i, file in enumerate(shards):
        check(f"shard {i} ends early", lambda path: shorter(path, 8), file)
    check("a header without its end", lambda path: path.write_bytes(b"\x40" + 9 * b"\0"), shards[2])
    check("an empty file", lambda path: path.write_bytes(b""), shards[2])
    check("text", lambda path: path.write_text("<html>not found</html>"), shards[1])
    check("bytes behind the end", add, shards[2])
    check("a file that is not there", lambda path: path.unlink(), shards[2])


@exercise("load_tensors")
def test_no_files(rng, tmp_path):
    target = {"a": torch.full((2,), 0.5)}
    refused(day31.load_tensors, target, tmp_path, what="an empty folder", names=[tmp_path.name])
    nowhere = tmp_path / "nowhere"
    refused(day31.load_tensors, target, nowhere, what="no folder at all", names=["nowhere"])
    for text in ("{", "{}"):
        (tmp_path / "model.safetensors.index.json").write_text(text)
        refused(day31.load_tensors, target, tmp_path, what=f"the index {text!r}",
                names=[tmp_path.name])  # fmt: skip


# DeepSeekModel in files ----------------------------------------------------------------------


def same_state(got, wanted, what):
    ours, theirs = got.state_dict(), wanted.state_dict()
    assert set(ours) == set(theirs), f"{what}: other names, {sorted(set(ours) ^ set(theirs))[:4]}"
    for name, x in theirs.items():
        assert ours[name].dtype == x.dtype, f"{what}: {name} is {ours[name].dtype}, not {x.dtype}"
        assert torch.equal(ours[name].cpu(), x.cpu()), f"{what}: {name} holds other numbers"


@exercise("DeepSeekModel")
@EACH
def test_saved_and_loaded(config, device, rng, tmp_path):
    for dtype, limit in ((torch.bfloat16, 10**9), (WIDE, 3000)):
        model = make(config, rng, device, dtype).train()
        folder = tmp_path / str(dtype)
        model.save_pretrained(str(folder), limit)
        same_state(model, copy.deepcopy(model), "the model that was saved")
        many = len(list(folder.glob("*.safetensors")))
        assert (many == 1) == (limit > 10**6), f"{many} files, with at most {limit} bytes in one"
        values = json.loads((folder / "config.json").read_text())
        said = values.pop("torch_dtype", None)
        assert said == str(dtype).split(".")[1], f"config.json says torch_dtype {said}, not {dtype}"
        assert values == config.to_json(), "config.json says something else than to_json"
        state = torch.get_rng_state()
        got = day31.DeepSeekModel.from_pretrained(str(folder), device=device)
        assert torch.equal(state, torch.get_rng_state()), "random numbers were drawn"
        same_state(got, model, f"loaded from {dtype}")
        assert got.config == config, f"the configuration is {got.config}"
        assert not got.training, "the model that was loaded is in training mode"
        frozen = [name for name, p in got.named_parameters() if not p.requires_grad]
        assert not frozen, f"these parameters of the loaded model cannot learn: {frozen}"
        one = got.lm_head.weight is got.model.embed_tokens.weight
        assert one == config.tie_word_embeddings, f"lm_head and the table are one parameter: {one}"


@exercise("DeepSeekModel")
def test_dtypes_of_a_folder(rng, tmp_path):
    model = make(V3, rng, "cpu", torch.float32)
    model.save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    values = json.loads(path.read_text())
    del values["torch_dtype"]
    for said, asked, due in (
        ({"torch_dtype": "bfloat16"}, None, torch.bfloat16),
        ({"dtype": "float64"}, None, torch.float64),
        ({"dtype": "bfloat16", "torch_dtype": None}, None, torch.bfloat16),
        ({}, None, torch.float32),
        ({"torch_dtype": "bfloat16"}, torch.float64, torch.float64),
    ):
        path.write_text(json.dumps(values | said))
        got = day31.DeepSeekModel.from_pretrained(tmp_path, dtype=asked)
        same_state(got, copy.deepcopy(model).to(due), f"config.json says {said}, dtype={asked}")


@exercise("DeepSeekModel")
def test_device_of_a_folder(device, rng, tmp_path):
    make(LITE, rng, "cpu", torch.float32).save_pretrained(tmp_path)
    for asked, due in ((None, "cpu"), (device, device.type), ("meta", "meta")):
        got = day31.DeepSeekModel.from_pretrained(tmp_path, device=asked)
        where = {x.device.type for x in got.state_dict().values()}
        assert where == {due}, f"device={asked}: the model is on {where}"


@exercise("DeepSeekModel")
def test_folders_that_say_nothing_of_layers_ahead(rng, tmp_path):
    """The published config.json of V2 has no num_nextn_predict_layers."""
    model = make(V2, rng, "cpu", torch.float32)
    model.save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    values = json.loads(path.read_text())
    values.pop("num_nextn_predict_layers", None)
    path.write_text(json.dumps(values))
    same_state(day31.DeepSeekModel.from_pretrained(tmp_path), model, "no layers ahead are named")


@exercise("DeepSeekModel")
def test_layers_that_predict_ahead_are_left_aside(rng, tmp_path):
    model = make(V3, rng, "cpu", torch.float32)
    model.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    for name in ("model.layers.3.enorm.weight", "model.layers.3.mlp.experts.0.up_proj.weight"):
        tensors[name] = torch.zeros(2)
    save_file(tensors, tmp_path / "model.safetensors")
    path = tmp_path / "config.json"
    values = json.loads(path.read_text())
    refused(day31.DeepSeekModel.from_pretrained, tmp_path, what="a layer 3 of 3 layers",
            names=["model.layers.3.enorm.weight"])  # fmt: skip
    path.write_text(json.dumps(values | {"num_nextn_predict_layers": 1}))
    got = day31.DeepSeekModel.from_pretrained(tmp_path)
    same_state(got, model, "a file with one layer more, which predicts ahead")


@exercise("DeepSeekModel")
def test_folders_that_are_refused(rng, tmp_path):
    load = day31.DeepSeekModel.from_pretrained
    refused(load, tmp_path, what="an empty folder", names=[tmp_path.name])
    model = make(LITE, rng, "cpu", torch.float32)
    model.save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    values = json.loads(path.read_text())
    path.write_text("{")
    refused(load, tmp_path, what="half a config.json", names=[tmp_path.name])
    path.write_text(json.dumps(values | {"model_type": "llama"}))
    refused(load, tmp_path, what="a Llama", names=["model_type", "llama"])
    path.write_text(json.dumps(values | {"n_routed_experts": 9, "n_group": 1, "topk_group": 1}))
    missing = "model.layers.1.mlp.experts.8.down_proj.weight"
    refused(load, tmp_path, what="9 experts, and files of 8", names=[missing])
    path.write_text(json.dumps(values | {"moe_intermediate_size": 4}))
    name = "model.layers.1.mlp.experts.3.down_proj.weight"
    refused(
        load, tmp_path, what="smaller experts than in the files", names=[name, (16, 5), (16, 4)]
    )


@exercise("DeepSeekModel")
@TWO
def test_other_dtypes(config, device, rng):
    wide, ids = make(config, rng, device), rng.integers(0, 24, 2, 5)
    for dtype in (torch.float32, torch.bfloat16):
        model = copy.deepcopy(wide).to(dtype)
        with torch.no_grad():
            got = model(ids, left([5, 3], device, 5))
        assert got.dtype == dtype, f"the model is {dtype}, its logits {got.dtype}"
        assert got.isfinite().all(), f"logits in {dtype} are not finite"
        if dtype == torch.float32:
            same(got.double()[0, 0], copy.deepcopy(model).double()(ids)[0, 0], str(dtype), 0.05)


# generate ------------------------------------------------------------------------------------


def uncached(model, prompt, new):
    """One text: the likeliest tokens, everything computed anew at each step."""
    ids = prompt[None]
    with torch.no_grad():
        for _ in range(new):
            ids = torch.cat([ids, model(ids)[:, -1:].argmax(-1)], 1)
    return ids[0, len(prompt) :]


def texts(rng, *lengths):
    return [rng.integers(0, 24, n) for n in lengths]


@exercise("generate")
@pytest.mark.parametrize("lengths", [(4,), (1, 1), (3, 7, 1)], ids=str)
@TWO
def test_generate_equals_uncached(lengths, config, device, rng):
    model, prompts = make(config, rng, device), texts(rng, *lengths)
    got = list(day31.generate(model, prompts, 6))
    assert len(got) == 6, f"6 tokens were asked for, {len(got)} came"
    wanted = torch.stack([uncached(model, prompt, 6) for prompt in prompts])
    close(torch.stack(got, 1), wanted, name=f"tokens behind prompts of {lengths}")
    assert list(day31.generate(model, prompts, 0)) == [], "no token was asked for"
    assert not any(x.requires_grad for x in got) and torch.is_grad_enabled(), "gradients"


@exercise("generate")
def test_each_position_once(device, rng):
    """The prompts expanded, each new token absorbed, lm_head for one position a step."""
    model, prompts = make(V3, rng, device), texts(rng, 3, 5)
    read, scored, expanded, made, dtypes = [], [], [], [], set()
    model.model.embed_tokens.register_forward_hook(lambda _, i, __: read.append(i[0].shape[1]))
    model.model.embed_tokens.register_forward_hook(lambda _, i, __: dtypes.add(i[0].dtype))
    model.lm_head.register_forward_hook(lambda _, i, __: scored.append(i[0].shape[1]))
    for block in model.model.layers:
        block.self_attn.kv_b_proj.register_forward_hook(
            lambda _, i, __: expanded.append(i[0].shape[1])
        )
    own = model.new_caches

    def noted(batch, capacity):
        made.append((batch, capacity))
        return own(batch, capacity)

    model.new_caches = noted
    steps = day31.generate(model, prompts, 4)
    next(steps)
    assert read == [5], f"for the first token behind 3 and 5 it read {read}"
    rest = list(steps)
    assert read == [5, 1, 1, 1], f"for 4 tokens it read {read}: the last one is not needed"
    assert len(rest) == 3 and rest[0].dtype == torch.int64, f"then came {rest}"
    assert scored == [1, 1, 1, 1], f"lm_head worked on {scored} positions of a text"
    assert expanded == [5, 5, 5], f"kv_b_proj made keys and values of {expanded} latents"
    assert made == [(2, 8)], f"caches were made for {made}: 2 texts of 8 positions are needed"
    assert dtypes == {torch.int64}, f"the model takes ids in int64, and was given {dtypes}"


@exercise("generate")
def test_one_token_in_the_vocabulary(device, rng):
    """Prompts are filled up with a token that there is: here that can only be 0."""
    model = make(dataclasses.replace(LITE, vocab_size=1), rng, device)

    def check(_, inputs):
        assert not inputs[0].any(), f"the only token is 0; the model is given {inputs[0].tolist()}"

    model.model.embed_tokens.register_forward_pre_hook(check)
    prompts = [torch.zeros(n, dtype=torch.int64, device=device) for n in (3, 1)]
    for temperature in (0.0, 1.0):
        got = [x.tolist() for x in day31.generate(model, prompts, 2, temperature=temperature)]
        assert got == [[0, 0], [0, 0]], f"the only token is 0, temperature={temperature} gave {got}"


@exercise("generate")
def test_generate_works_where_the_model_is(device, rng):
    model, prompts, got = make(LITE, rng, device), texts(rng, 3, 2), []

    def check(_, inputs):
        where = inputs[0].device.type
        assert where == device.type, f"the model is on {device.type}, and is given ids on {where}"

    model.model.embed_tokens.register_forward_pre_hook(check)
    try:
        with torch.device("meta"):  # where tensors land that are made without device=
            got = list(day31.generate(model, prompts, 3, stop=24))
    except RuntimeError as error:
        if re.search("expected.* device", str(error), re.IGNORECASE):
            pytest.fail(f"a tensor that is made without device= meets those of the model: {error}")
        if "meta tensor" not in str(error):  # made by default, and then moved or read: not mixed
            raise
    where = {x.device.type for x in got}
    assert where <= {device.type}, f"the model is on {device.type}, and tokens came on {where}"


@exercise("generate")
def test_stop(device, rng):
    model, prompts = make(V3, rng, device), texts(rng, 3, 5, 2, 4)
    free = torch.stack(list(day31.generate(model, prompts, 8)), 1)
    for stop in sorted({*free[:, :3].flatten().tolist(), 24}):
        wanted, ended = free.clone(), torch.zeros(4, dtype=torch.bool, device=device)
        steps = 8
        for t in range(8):
            wanted[:, t][ended] = stop
            ended = wanted[:, t] == stop
            if ended.all():
                steps = t + 1
                break
        got = list(day31.generate(model, [*prompts], 8, stop=stop))
        assert len(got) == steps, f"all have ended after {steps} tokens, and {len(got)} came"
        close(torch.stack(got, 1), wanted[:, :steps], name=f"tokens with stop={stop}")
    one = torch.full((3,), int(free[0, 0]), device=device)
    got = list(day31.generate(model, [one], 1, stop=int(free[0, 0])))
    assert len(got) == 1, "a stop in the prompt ended the text"


@exercise("generate")
def test_all_have_stopped(device, rng):
    """Once everybody has ended, nothing is read any more."""
    model = make(V3, rng, device)
    prompts = texts(rng, 4)
    stop = int(uncached(model, prompts[0], 1))
    read = []
    model.model.embed_tokens.register_forward_hook(lambda _, i, __: read.append(i[0].shape[1]))
    got = list(day31.generate(model, prompts * 3, 5, stop=stop))
    assert [x.tolist() for x in got] == [[stop] * 3], f"all stop at once, and {got} came"
    assert read == [4], f"all stop at the first token, and the model read {read}"


@exercise("generate")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_draws(dtype, device, rng):
    model = make(dataclasses.replace(V3, num_hidden_layers=1), rng, device, dtype)
    prompts = texts(rng, 3) * 400
    with torch.no_grad():
        model.lm_head.weight.mul_(0.3)  # chances that are spread out
        for temperature in (1.0, 0.5, 3.0):
            logits = model(torch.stack(prompts))[:, -1].double() / temperature
            chances = logits.softmax(-1).mean(0)
            generator = torch.Generator(device).manual_seed(rng.seed)
            (token,) = day31.generate(
                model, prompts, 1, temperature=temperature, generator=generator
            )
            share = torch.bincount(token, minlength=24) / 400
            sigma = (chances * (1 - chances) / 400).sqrt()
            worst = ((share - chances).abs() - 6 * sigma - 0.02).max().item()
            assert worst <= 0, f"temperature {temperature}: shares of 400 draws are off"


@exercise("generate")
def test_draws_in_half_precision(rng):
    """The largest number in float16 is 65504, and logits / temperature may be beyond it."""
    model, seen = make(LITE, rng, "cpu", torch.float16), []  # a nan would end a GPU's context
    prompts = [prompt.cpu() for prompt in texts(rng, 3, 2)]
    model.lm_head.register_forward_hook(lambda _, __, out: seen.append(out[:, -1].float()))
    try:
        (token,) = day31.generate(model, prompts, 1, temperature=1e-5)
    except RuntimeError as error:
        if "probability" not in str(error):
            raise
        pytest.fail(f"float16 logits / 1e-5 are too large unless they are float32 first: {error}")
    lost = seen[0].amax(-1) - seen[0].gather(1, token[:, None])[:, 0]
    assert (lost < 1e-3).all(), f"at temperature 1e-5 tokens came {lost.tolist()} below the best"


@exercise("generate")
def test_draws_with_the_generator(device, rng):
    model, prompts = make(V3, rng, device), texts(rng, 3, 2)
    runs = []
    for seed in (1, 1):
        torch.manual_seed(len(runs))
        generator = torch.Generator(device).manual_seed(seed)
        steps = day31.generate(model, prompts, 8, temperature=4.0, generator=generator)
        runs.append(torch.stack(list(steps)))
    assert torch.equal(*runs), "the same generator state gave two different texts"


@exercise("generate")
def test_generate_refuses(device, rng):
    model = make(dataclasses.replace(V3, max_position_embeddings=10), rng, device)
    list(day31.generate(model, texts(rng, 6), 5))
    refused(lambda: list(day31.generate(model, texts(rng, 2, 6), 6)), names=(11, 10),
            what="prompts of 2 and 6 tokens, 6 new ones, 10 positions")  # fmt: skip
    refused(lambda: list(day31.generate(model, texts(rng, 2, 0), 3)), names=(1,),
            what="the second prompt is empty")  # fmt: skip
    refused(lambda: list(day31.generate(model, texts(rng, 0, 2), 3)), names=(0,),
            what="the first prompt is empty")  # fmt: skip


# model_size ----------------------------------------------------------------------------------


@exercise("model_size")
@EACH
def test_size_of_small_models(config):
    model = day31.DeepSeekModel(config)
    size = day31.model_size(model)
    tied = config.tie_word_embeddings
    buffers = {name for name, _ in model.named_buffers()}
    total = sum(p.numel() for name, p in model.state_dict().items() if name not in buffers)
    total -= 24 * 16 * tied
    assert size.parameters == total, f"{size.parameters} parameters, not {total}"
    sparse = config.num_hidden_layers - config.first_k_dense_replace
    active = total - sparse * 5 * 3 * 16 * 5 - (0 if tied else 23 * 16)
    assert size.active == active, f"{size.active} active parameters, not {active}"
    for dtype in (torch.float32, torch.bfloat16):
        due = config.num_hidden_layers * (8 + 4) * dtype.itemsize
        found = day31.model_size(model.to(dtype)).cache_bytes
        assert found == due, f"{found} bytes of a token in {dtype}, not {due}"


# Parameters and active ones: the abstracts of arXiv 2405.04434 and 2412.19437, and appendix B of
# the first for V2-Lite. Bytes of a token: 4.5 heads of 128 a layer, section 2.1.4 of the first; for
# V3 table 1 of 2505.09343. DeepSeekMath keeps keys and values of 32 heads of 128 in 30 layers.
PAPERS = {
    "DeepSeek-V2-Lite": (15.7e9, 2.4e9, 2 * 27 * 4.5 * 128),
    "DeepSeek-V2": (236e9, 21e9, 2 * 60 * 4.5 * 128),
    "DeepSeek-V3": (671e9, 37e9, 70_272),
    "DeepSeekMath-7B": (7e9, None, 2 * 30 * 2 * 32 * 128),
}


@exercise("model_size")
def test_published_sizes():
    for name, size in day31.published_sizes().items():
        for what, got, due in zip(day31.Size._fields, size, PAPERS[name], strict=True):
            near = due is None or abs(got / due - 1) < (1e-9 if what == "cache_bytes" else 0.03)
            assert near, f"{name}: {what} {got:,}, and the paper says {due:,}"


# Against transformers: importing it takes seconds, so these come last ------------------------


@cache
def made(name, device):
    """transformers' model of a case, and ours, in float64: built once, filled anew in each test."""
    import transformers

    config = CASES[name]
    version = config.model_type[-2:].upper()
    theirs = getattr(transformers, f"Deepseek{version}Config")(
        **config.to_json(), attn_implementation="eager"
    )
    theirs._experts_implementation = "eager"
    with in_float64():
        model = getattr(transformers, f"Deepseek{version}ForCausalLM")(theirs)
        return model.to(device, WIDE).eval()


@pytest.fixture(params=CASES)
def pair(request, device, rng):
    theirs = scatter(made(request.param, str(device)), rng)
    theirs.zero_grad()
    ours = day31.DeepSeekModel(CASES[request.param]).to(device, WIDE).eval()
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


@exercise("DeepSeekModel")
def test_equals_transformers(pair, device, rng):
    """Logits and the gradient of every parameter; in one call and in several, in both forms."""
    ours, theirs = pair
    ids, probe = rng.integers(0, 24, 3, 6), rng.normal(3, 6, 24, dtype=WIDE)
    with in_float64():
        wanted = theirs(ids).logits
        (wanted * probe).sum().backward()
    got = ours(ids)
    same(got, wanted, "logits")
    (got * probe).sum().backward()
    right = dict(theirs.named_parameters())
    found = dict(ours.named_parameters())
    assert set(found) == set(right), f"parameters: {sorted(set(found) ^ set(right))}"
    for name, p in found.items():
        same(p.grad, right[name].grad, f"gradient of {name}", 1e-7)
    with torch.no_grad():
        for absorbed in (False, True):
            got = in_parts(ours, ids, absorbed=absorbed)
            same(got, wanted, f"logits in three calls, absorbed={absorbed}")


@exercise("DeepSeekModel")
def test_padding_equals_transformers(pair, device, rng):
    ours, theirs = pair
    ids, mask = rng.integers(0, 24, 3, 6), left([6, 4, 1], device)
    with torch.no_grad():
        with in_float64():
            wanted = theirs(ids, attention_mask=mask.long()).logits[mask]
        same(ours(ids, mask)[mask], wanted, "logits of texts filled up on the left")
        for absorbed in (False, True):
            got = in_parts(ours, ids, mask, absorbed=absorbed)[mask]
            same(got, wanted, f"filled up on the left, in three calls, absorbed={absorbed}")


@exercise("generate")
def test_generate_equals_transformers(pair, device, rng):
    ours, theirs = pair
    mask = left([6, 3, 1], device)
    ids = rng.integers(0, 24, 3, 6)
    options = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 0}
    with in_float64(), torch.no_grad():
        wanted = theirs.generate(ids, attention_mask=mask.long(), eos_token_id=None, **options)
    prompts = [row[real] for row, real in zip(ids, mask, strict=True)]
    got = torch.stack(list(day31.generate(ours, prompts, 6)), 1)
    close(got, wanted[:, 6:], name="tokens behind prompts of 6, 3 and 1")


@exercise("DeepSeekModel")
def test_each_loads_what_the_other_saved(pair, device, rng, tmp_path):
    from transformers import AutoModelForCausalLM

    ours, theirs = pair
    ours.save_pretrained(tmp_path / "ours", 3000)
    ids = rng.integers(0, 24, 2, 5)
    with in_float64(), torch.no_grad():
        got, said = AutoModelForCausalLM.from_pretrained(
            tmp_path / "ours", output_loading_info=True, attn_implementation="eager",
            experts_implementation="eager",
        )  # fmt: skip
        problems = {what: names for what, names in said.items() if names}
        assert not problems, f"transformers says of our folder: {problems}"
        assert got.dtype == WIDE, f"a float64 model is {got.dtype} for transformers"
        same(got.to(device)(ids).logits, ours(ids), "logits of transformers' model, loaded")
    theirs.save_pretrained(tmp_path / "theirs", max_shard_size="3KB")
    files = list((tmp_path / "theirs").glob("*.safetensors"))
    assert len(files) > 1, "transformers made one file of it: nothing was tried"
    back = day31.DeepSeekModel.from_pretrained(tmp_path / "theirs", device=device)
    with torch.no_grad():
        same(back(ids), ours(ids), "logits of our model, loaded from their folder")
    assert back.lm_head.weight.dtype == WIDE, f"their float64 became {back.lm_head.weight.dtype}"


@exercise("DeepSeekModel", seconds=60)
def test_model_compiles(device, rng):
    config = dataclasses.replace(V3, num_hidden_layers=1, first_k_dense_replace=0)
    model = make(config, rng, device, torch.float32)
    ids, mask = rng.integers(0, 24, 2, 4), left([4, 2], device, 4)
    same_compiled(lambda i: model(i, mask), (ids,), list(model.parameters()), "DeepSeekModel", 1e-3)
