"""
Day 29: DeepSeek's architecture: experts and routers
====================================================
Estimated time: 2-3 hours
Prerequisites: Day 9 (SwiGLU), Day 20 (the transformer block), Day 27 (MLAConfig)
Lesson: lessons/day29.md

Learning objectives:
- Read the configuration of a published DeepSeek model, in either of its two spellings
- Send each token to a few of many small networks, as V2 does and as V3 does
- Say what a selection bias changes, and what it must never touch
- Keep the experts evenly busy, with a loss and without one

                       ┌── scores ── which groups? ── which experts? ──► indices (k)
    x ── weight ── s ──┤
                       └── scores of the chosen, scaled ───────────────► weights (k)

    V2: s = softmax    a group is as good as its best expert     weights = s · factor
    V3: s = sigmoid    a group is as good as its best two,       weights = s / sum · factor
                       the selection bias added: for choosing

Today are the parts: the configuration, an expert, the router and what keeps it even. Day 30 makes
a layer of them in which no expert computes anything for tokens that are not its own.

Hints:
- Which of the steps are choices, and which are numbers that the model computes with?
- A masked score must lose against all others. Which number does, when scores may be negative?
- torch.topk, gather and scatter work along an axis, whatever lies in front of it.

Resources:
- DeepSeekMoE, Dai et al. 2024 (many small experts, shared ones): https://arxiv.org/abs/2401.06066
- DeepSeek-V2, 2024, section 2.2 (groups, balance losses): https://arxiv.org/abs/2405.04434
- DeepSeek-V3, 2024, section 2.1.2 (sigmoid, bias, sequence-wise loss):
  https://arxiv.org/abs/2412.19437
- Auxiliary-Loss-Free Load Balancing, Wang et al. 2024: https://arxiv.org/abs/2408.15664
- Outrageously Large Neural Networks, Shazeer et al. 2017: https://arxiv.org/abs/1701.06538
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from tracks.pytorch.day09 import SwiGLU
from tracks.pytorch.day20 import check_features
from tracks.pytorch.day27 import MLAConfig

# Given: what a file that leaves these out means, by its model_type.
GATES: dict[str, dict[str, Any]] = {
    "deepseek_v2": {"scoring_func": "softmax", "topk_method": "greedy", "norm_topk_prob": False},
    "deepseek_v3": {"scoring_func": "sigmoid", "topk_method": "noaux_tc", "norm_topk_prob": True},
}
# Given: what goes with these scores.
METHODS = {"softmax": ("greedy", "group_limited_greedy"), "sigmoid": ("noaux_tc",)}
# Given: what the model of these days can do; a file may say so, or say nothing.
ONLY = {"hidden_act": "silu", "moe_layer_freq": 1, "mlp_bias": False}


@dataclass(frozen=True, kw_only=True)
class DeepSeekConfig(MLAConfig):
    """A whole model, under the names in the config.json of DeepSeek-V2 and V3.

    All fields are given. The first ``first_k_dense_replace`` layers have a SwiGLU of
    ``intermediate_size``; every other one has ``n_routed_experts`` experts of
    ``moe_intermediate_size``, in ``n_group`` groups of equal size, of which a token gets
    ``num_experts_per_tok`` out of ``topk_group`` groups, and ``n_shared_experts`` that serve all
    tokens. ``scoring_func``, ``topk_method``, ``norm_topk_prob`` and ``routed_scaling_factor`` are
    Router's.

    ``from_json`` and ``to_json`` are the exercise.

    >>> config = DeepSeekConfig.from_json(DEEPSEEK_V2_LITE.to_json())
    >>> config == DEEPSEEK_V2_LITE, config.scoring_func, config.is_sparse(0), config.is_sparse(1)
    (True, 'softmax', False, True)
    """

    model_type: str = "deepseek_v3"
    vocab_size: int
    intermediate_size: int
    moe_intermediate_size: int
    num_hidden_layers: int
    n_routed_experts: int
    num_experts_per_tok: int
    n_shared_experts: int = 1
    first_k_dense_replace: int = 0
    n_group: int = 1
    topk_group: int = 1
    scoring_func: str = "sigmoid"
    topk_method: str = "noaux_tc"
    norm_topk_prob: bool = True
    routed_scaling_factor: float = 1.0
    tie_word_embeddings: bool = False
    initializer_range: float = 0.02
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None
    pad_token_id: int | None = None

    def __post_init__(self) -> None:
        """Given: a ValueError unless the fields fit each other."""
        if self.model_type not in GATES:
            raise ValueError(f"model_type {self.model_type!r} is none of {', '.join(GATES)}")
        if self.scoring_func != GATES[self.model_type]["scoring_func"]:
            raise ValueError(f"{self.model_type} has no scoring_func {self.scoring_func!r}")
        if self.topk_method not in METHODS[self.scoring_func]:
            raise ValueError(f"{self.model_type} has no topk_method {self.topk_method!r}")
        experts, groups = self.n_routed_experts, self.n_group
        if groups < 1 or experts % groups:
            raise ValueError(f"n_routed_experts {experts} in n_group {groups} groups")
        least = 2 if self.scoring_func == "sigmoid" else 1
        if experts // groups < least or not 1 <= self.topk_group <= groups:
            raise ValueError(
                f"topk_group {self.topk_group} of n_group {groups} with {experts // groups} each"
            )
        room = experts if self.topk_method == "greedy" else experts // groups * self.topk_group
        if not 1 <= self.num_experts_per_tok <= room:
            raise ValueError(f"num_experts_per_tok {self.num_experts_per_tok}, of {room}")

    def is_sparse(self, layer: int) -> bool:
        """Given: whether ``layer`` (from 0 on) has experts."""
        return layer >= self.first_k_dense_replace

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> DeepSeekConfig:
        """The configuration in a config.json that was read already.

        - A key that is no field is left aside; ``values`` is not changed.
        - A field that is missing or null has its default: that of its model_type in GATES, else
          its own. q_lora_rank alone may be null, which means None. Fields without a default that
          are missing or null are a ValueError that names all of them.
        - Positions have two spellings. Published files have ``rope_theta`` and ``rope_scaling``;
          transformers 5 writes ``rope_parameters`` in their place: a dictionary with rope_theta
          and what rope_scaling holds. A scaling whose "rope_type" (or "type") is "default" scales
          nothing: rope_scaling is None.
        - What these days cannot do is a ValueError that names key and value: a model_type that is
          not in GATES (a missing one, too), a value that ONLY has otherwise (null apart), and
          a num_key_value_heads that is neither missing, nor null, nor num_attention_heads.
        """
        # TODO: refuse; the defaults of the type; positions; the fields that are there.
        # HINT: which three sources of a value are there, and in which order do they win?
        ### BEGIN SOLUTION
        # HINT: {**GATES[kind], **what is not null} settles two of the three. dataclasses.fields
        # knows the names and which have no default (field.default is dataclasses.MISSING).
        # HINT: rope = dict(values["rope_parameters"]); theta = rope.pop("rope_theta", ...); what
        # is left is rope_scaling, unless its type is "default".
        kind = values.get("model_type")
        if kind not in GATES:
            raise ValueError(f"model_type is {kind!r}: only {', '.join(GATES)} can be read")
        there = {key: value for key, value in values.items() if value is not None}
        only = dict(ONLY, num_key_value_heads=there.get("num_attention_heads"))
        for key, value in only.items():
            if there.get(key, value) != value:
                raise ValueError(f"{key} is {there[key]!r}: only {value!r} can be done")
        if "rope_parameters" in there:
            rope = dict(there["rope_parameters"])
            there["rope_theta"] = rope.pop("rope_theta", cls.rope_theta)
            there["rope_scaling"] = rope
        scaling = there.get("rope_scaling", {})
        if scaling.get("rope_type", scaling.get("type", "default")) == "default":
            there["rope_scaling"] = None
        if "q_lora_rank" in values:
            there["q_lora_rank"] = values["q_lora_rank"]
        found = {**GATES[kind], **there}
        missing = [
            field.name
            for field in dataclasses.fields(cls)
            if field.default is dataclasses.MISSING and field.name not in found
        ]
        if missing:
            raise ValueError(f"the configuration says nothing of {', '.join(missing)}")
        names = {field.name for field in dataclasses.fields(cls)}
        return cls(**{key: value for key, value in found.items() if key in names})
        ### END SOLUTION

    def to_json(self) -> dict[str, Any]:
        """What to write into config.json: a dictionary of plain values, which json.dumps takes.

        It has every field, in the spelling of the published files, and what transformers needs to
        make the same model of it: ``architectures`` (["DeepseekV2ForCausalLM"], or V3),
        ``hidden_act``, ``num_key_value_heads`` (one for each head), and
        ``num_nextn_predict_layers`` 0: no layers that predict a second token ahead.
        DeepSeekConfig.from_json makes an equal configuration of it, and what is changed in the
        result changes nothing here.
        """
        # TODO: the fields, and four more keys.
        # HINT: does a copy of a dictionary copy the dictionaries in it?
        ### BEGIN SOLUTION
        # HINT: dataclasses.asdict(self) goes into dictionaries, too.
        # HINT: "deepseek_v2" → "DeepseekV2ForCausalLM".
        version = self.model_type.removeprefix("deepseek_").upper()
        return {
            "architectures": [f"Deepseek{version}ForCausalLM"],
            **dataclasses.asdict(self),
            "hidden_act": "silu",
            "num_key_value_heads": self.num_attention_heads,
            "num_nextn_predict_layers": 0,
        }
        ### END SOLUTION


# Given: the published models, from their configurations.
YARN = {
    "type": "yarn",
    "factor": 40,
    "original_max_position_embeddings": 4096,
    "beta_fast": 32,
    "beta_slow": 1,
    "mscale": 0.707,
    "mscale_all_dim": 0.707,
}
HEADS: dict[str, Any] = dict(
    kv_lora_rank=512, qk_nope_head_dim=128, qk_rope_head_dim=64, v_head_dim=128
)
DEEPSEEK_V2_LITE = DeepSeekConfig(
    **HEADS,
    **GATES["deepseek_v2"],
    model_type="deepseek_v2",
    vocab_size=102_400,
    hidden_size=2048,
    num_hidden_layers=27,
    num_attention_heads=16,
    q_lora_rank=None,
    intermediate_size=10_944,
    moe_intermediate_size=1408,
    first_k_dense_replace=1,
    n_routed_experts=64,
    n_shared_experts=2,
    num_experts_per_tok=6,
    max_position_embeddings=163_840,
    rope_scaling=YARN,
)
DEEPSEEK_V2 = dataclasses.replace(
    DEEPSEEK_V2_LITE,
    hidden_size=5120,
    num_hidden_layers=60,
    num_attention_heads=128,
    q_lora_rank=1536,
    intermediate_size=12_288,
    moe_intermediate_size=1536,
    n_routed_experts=160,
    topk_method="group_limited_greedy",
    n_group=8,
    topk_group=3,
    routed_scaling_factor=16.0,
)
DEEPSEEK_V3 = DeepSeekConfig(
    **HEADS,
    vocab_size=129_280,
    hidden_size=7168,
    num_hidden_layers=61,
    num_attention_heads=128,
    q_lora_rank=1536,
    intermediate_size=18_432,
    moe_intermediate_size=2048,
    first_k_dense_replace=3,
    n_routed_experts=256,
    num_experts_per_tok=8,
    n_group=8,
    topk_group=4,
    routed_scaling_factor=2.5,
    max_position_embeddings=163_840,
    rope_scaling={**YARN, "mscale": 1.0, "mscale_all_dim": 1.0},
)


class Expert(SwiGLU):
    """One expert: day 9's SwiGLU, small, and what it does for the tokens that were sent to it.

    ``gate_proj`` and ``up_proj`` (hidden_size → intermediate_size) and ``down_proj`` (back) have no
    biases, and forward is SwiGLU's: down(silu(gate(x)) ⊙ up(x)).

    >>> expert, x = Expert(4, 2), torch.randn(3, 4)
    >>> out = expert.add_to(torch.zeros(3, 4), x, torch.tensor([2]), torch.tensor([0.5]))
    >>> torch.equal(out[2], 0.5 * expert(x[2])), out[:2].any().item()
    (True, False)
    """

    def __init__(self, hidden_size: int, intermediate_size: int) -> None:
        super().__init__(hidden_size, intermediate_size)

    def add_to(
        self, out: torch.Tensor, x: torch.Tensor, tokens: torch.Tensor, weights: torch.Tensor
    ) -> torch.Tensor:
        """Add ``weights[i]`` times the expert's result for token ``tokens[i]`` to that row of out.

        Args:
            out: (n, hidden_size), changed in place
            x: (n, hidden_size), any strides, in the dtype of the expert
            tokens: (m,), int64: rows of x; one that occurs twice is added twice
            weights: (m,), float32 or wider, whatever x is

        Returns out. The expert works on m rows, not on n. Its result is multiplied in the dtype of
        the weights and rounded to that of out where it is added: a bfloat16 expert adds to a
        float32 out with a rounding of its own and no other. Gradients flow to x, weights and the
        expert's parameters; no tokens add nothing.
        """
        # TODO: take the rows, compute, weigh, add.
        # HINT: out[tokens] += y keeps one of two additions to the same row.
        ### BEGIN SOLUTION
        # HINT: weights.unsqueeze(-1) * self(x[tokens]) has a row for each of the m.
        # HINT: out.index_add_(0, tokens, rows) adds all of them; the dtypes must be the same.
        rows = weights.unsqueeze(-1) * self(x[tokens])
        return out.index_add_(0, tokens, rows.to(out.dtype))
        ### END SOLUTION


class Routing(NamedTuple):
    """Given: what a router says: which experts, with which weights, and the scores of all."""

    indices: torch.Tensor
    weights: torch.Tensor
    scores: torch.Tensor


class Router(nn.Module):
    """Which experts a token gets (DeepSeek-V2, section 2.2.2; DeepSeek-V3, section 2.1.2).

    With E experts (n_routed_experts), k of which are taken (num_experts_per_tok)::

        scores   softmax(x @ weight.T) or sigmoid(x @ weight.T), by scoring_func
        choice   the scores; for sigmoid plus e_score_correction_bias
        groups   unless topk_method is "greedy": the topk_group best of the n_group groups, each of
                 E / n_group neighbours. A group counts as much as the largest choice in it, and
                 for "noaux_tc" as the sum of the two largest. All others are out.
        indices  the k experts with the largest choice among those that are left
        weights  the *scores* of these, for sigmoid with norm_topk_prob divided by their sum
                 (+ 1e-20), times routed_scaling_factor

    softmax never divides by a sum of the chosen, whatever norm_topk_prob says: the published V2
    models say False, and transformers does not read it for V2.

    ``weight`` (E, hidden_size) is a parameter, at first normally distributed with mean 0 and
    standard deviation initializer_range. ``e_score_correction_bias`` (E,) is a float32 buffer of
    the sigmoid router, at first zeros, and stays float32 whatever the module is cast to; for
    softmax the attribute is None and not in the state_dict. ``config`` is an attribute.

    >>> router = Router(DEEPSEEK_V2_LITE)
    >>> indices, weights, scores = router(torch.randn(2, 5, 2048))
    >>> indices.shape, weights.shape, scores.shape
    (torch.Size([2, 5, 6]), torch.Size([2, 5, 6]), torch.Size([2, 5, 64]))
    """

    e_score_correction_bias: torch.Tensor | None

    def __init__(self, config: DeepSeekConfig) -> None:
        super().__init__()
        self.config = config
        # TODO: the parameter and the buffer.
        # HINT: what belongs to a module's state, and is not learned by gradients?
        ### BEGIN SOLUTION
        # HINT: nn.Parameter(torch.empty(...).normal_(std=...)).
        # HINT: register_buffer(name, None) makes an attribute that is None.
        experts = config.n_routed_experts
        self.weight = nn.Parameter(
            torch.empty(experts, config.hidden_size).normal_(std=config.initializer_range)
        )
        bias = torch.zeros(experts, dtype=torch.float32)
        self.register_buffer(
            "e_score_correction_bias", bias if config.scoring_func == "sigmoid" else None
        )
        ### END SOLUTION

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Router:
        """Given: the bias moves from device to device, and no cast reaches it.

        module.to(dtype) casts what is floating point; seen as whole numbers, the bits stay.
        """
        bias = self.e_score_correction_bias

        def moved(t: torch.Tensor) -> Any:
            return fn(t.view(torch.int32)).view(torch.float32) if t is bias else fn(t)

        super()._apply(moved, recurse)
        return self

    def forward(self, x: torch.Tensor) -> Routing:
        """``x`` (..., hidden_size), any strides and floating dtype → Routing(indices, weights,
        scores).

        ``indices`` (..., k), int64, in any order, and ``weights`` (..., k) in the same one;
        ``scores`` (..., E), without the bias.

        - All is done in float32, x and weight included, and in float64 where x is: no product in
          half precision. weights and scores have that dtype.
        - Gradients flow through weights and scores to x and ``weight``.
        - An expert of a group that was left out is never chosen, whatever the signs of the choice
          and even where scores underflow to 0.
        - No Python loop over tokens or groups, and nothing waits for the device; it runs under
          torch.compile(fullgraph=True).
        - An x that does not end in hidden_size features is a ValueError that names x, its shape
          and hidden_size (check_features of day 20).
        """
        # TODO: scores; choice; groups; the k largest; weights.
        # HINT: which number is smaller than every choice? Which tensor do the weights come from?
        ### BEGIN SOLUTION
        # HINT: choice.unflatten(-1, (n_group, -1)) has an axis of groups; amax(-1), or topk(2,
        # -1).values.sum(-1), says how good each is.
        # HINT: torch.ones_like(best, dtype=torch.bool).scatter(-1, kept, False) is True for the
        # groups that are out; masked_fill them with -inf and flatten(-2) again.
        # HINT: weights = scores.gather(-1, indices).
        config = self.config
        check_features("x", x, config.hidden_size)
        wide = torch.promote_types(x.dtype, torch.float32)
        logits = F.linear(x.to(wide), self.weight.to(wide))
        if config.scoring_func == "softmax":
            scores = choice = logits.softmax(-1)
        else:
            scores = logits.sigmoid()
            choice = scores + self.e_score_correction_bias
        if config.topk_method != "greedy":
            groups = choice.unflatten(-1, (config.n_group, -1))
            if config.topk_method == "noaux_tc":
                best = groups.topk(2, -1).values.sum(-1)
            else:
                best = groups.amax(-1)
            kept = best.topk(config.topk_group, -1).indices
            out = torch.ones_like(best, dtype=torch.bool).scatter(-1, kept, False)
            choice = groups.masked_fill(out.unsqueeze(-1), -torch.inf).flatten(-2)
        indices = choice.topk(config.num_experts_per_tok, -1).indices
        weights = scores.gather(-1, indices)
        if config.scoring_func == "sigmoid" and config.norm_topk_prob:
            weights = weights / (weights.sum(-1, keepdim=True) + 1e-20)
        return Routing(indices, weights * config.routed_scaling_factor, scores)
        ### END SOLUTION


def balance_loss(
    scores: torch.Tensor, indices: torch.Tensor, mask: torch.Tensor | None = None
) -> torch.Tensor:
    """How uneven the experts' load is, as a loss (DeepSeek-V3, equations 17 to 20)::

        L = sum over experts i of f_i · P_i
        f_i = E / (k T) · the number of tokens that chose expert i
        P_i = 1 / T · sum over tokens of s_i / sum_j s_j

    for each sequence of T tokens, then the mean over sequences.

    Args:
        scores: (..., T, E), Router's, softmax's or sigmoid's
        indices: (..., T, k), Router's
        mask: (..., T), bool: True where a token is real. Padding counts neither in f nor in P nor
            in T; a sequence without a real token is left out of the mean, and the loss of no
            sequence at all is 0.

    Returns a scalar in the dtype of scores, to be multiplied by a small number (V3 takes 0.0001).
    Where load and scores are even it is 1, and E / k where all tokens choose the same k experts
    with all of their score.

    - The gradient comes through P alone: f counts. 1e-20 is added to a token's sum_j s_j, as in
      Router: scores that are all 0 give no nan.
    - No Python loop; it runs under torch.compile(fullgraph=True).
    - mask or indices whose leading axes are not those of scores: a ValueError that names the
      argument and both shapes.

    >>> scores = torch.full((2, 4), 0.25)
    >>> balance_loss(scores, torch.tensor([[0, 1], [2, 3]])).item()
    1.0
    """
    # TODO: check; count; the mean share; one sum; the mean over sequences.
    # HINT: how does a (..., T, k) of indices become a (..., T, E) of zeros and ones?
    ### BEGIN SOLUTION
    # HINT: torch.zeros_like(scores).scatter(-1, indices, 1.0) is 1 where an expert was chosen.
    # HINT: multiply both by the mask (..., T, 1), sum over T, divide by the number of real tokens,
    # which clamp(min=1) keeps from being 0.
    for name, x in (("indices", indices), ("mask", mask)):
        leading = scores.shape[:-1]
        if x is not None and (x.shape[:-1] if name == "indices" else x.shape) != leading:
            raise ValueError(f"{name} {tuple(x.shape)} does not fit scores {tuple(scores.shape)}")
    experts, chosen = scores.shape[-1], indices.shape[-1]
    real = torch.ones_like(scores[..., :1]) if mask is None else mask.unsqueeze(-1).to(scores.dtype)
    tokens = real.sum(-2)
    share = scores / (scores.sum(-1, keepdim=True) + 1e-20)
    took = torch.zeros_like(scores).scatter(-1, indices, 1.0)
    f = (took * real).sum(-2) * experts / (chosen * tokens.clamp(min=1))
    p = (share * real).sum(-2) / tokens.clamp(min=1)
    return (f * p).sum() / (tokens > 0).sum().clamp(min=1)
    ### END SOLUTION


def update_bias(router: Router, counts: torch.Tensor, rate: float = 0.001) -> None:
    """Balance without a loss: after a step, make busy experts less likely to be chosen.

    Wang et al. 2024, algorithm 1; DeepSeek-V3, section 2.1.2. ``counts`` (E,), whole numbers in any
    dtype of integers or floats, is how many tokens each expert got in this step. The router's
    selection bias changes in place: an expert with more tokens than the mean loses ``rate``, one
    with fewer gains as much, one with exactly the mean keeps what it has. How far from the mean
    does not matter.

    - The comparison with the mean is exact for whole numbers of tokens below 2**40.
    - The bias is the same tensor afterwards (captured graphs and other processes hold it), float32.
      Nothing else changes, and no gradient is recorded.
    - A router without a bias (softmax) is a ValueError that says so; counts of another shape, one
      that names counts, its shape and (E,).

    >>> router = Router(DEEPSEEK_V3)
    >>> update_bias(router, torch.arange(256), rate=0.5)
    >>> router.e_score_correction_bias[[0, 127, 128, 255]].tolist()
    [0.5, 0.5, -0.5, -0.5]
    """
    # TODO: check; who has too much; one step.
    # HINT: is sum / E a whole number? Is the comparison of counts · E with the sum the same?
    ### BEGIN SOLUTION
    # HINT: torch.sign of (sum - E * counts), in float64.
    # HINT: bias.add_(..., alpha=rate) inside torch.no_grad().
    bias = router.e_score_correction_bias
    if bias is None:
        raise ValueError("this router has no selection bias: its scores are softmax's")
    if counts.shape != bias.shape:
        raise ValueError(f"counts {tuple(counts.shape)} is not {tuple(bias.shape)}")
    exact = counts.to(bias.device, torch.float64)
    with torch.no_grad():
        bias.add_((exact.sum() - len(exact) * exact).sign().to(bias.dtype), alpha=rate)
    ### END SOLUTION


def small(**changes: Any) -> DeepSeekConfig:
    """Given: a tiny configuration, for the examples."""
    sizes: dict[str, Any] = dict(
        vocab_size=32,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        q_lora_rank=8,
        kv_lora_rank=8,
        qk_nope_head_dim=4,
        qk_rope_head_dim=4,
        v_head_dim=4,
        intermediate_size=24,
        moe_intermediate_size=8,
        first_k_dense_replace=1,
        n_routed_experts=8,
        num_experts_per_tok=2,
        n_group=4,
        topk_group=2,
    )
    return DeepSeekConfig(**{**sizes, **changes})


def test_config() -> None:
    found = DeepSeekConfig.from_json({**DEEPSEEK_V3.to_json(), "torch_dtype": "bfloat16"})
    assert found == DEEPSEEK_V3
    assert DEEPSEEK_V2.to_json()["architectures"] == ["DeepseekV2ForCausalLM"]


def test_expert() -> None:
    expert, x = Expert(4, 2), torch.randn(3, 4)
    out = expert.add_to(torch.zeros(3, 4), x, torch.tensor([1, 1]), torch.tensor([0.5, 2.0]))
    torch.testing.assert_close(out[1], 2.5 * expert(x[1]))


def test_router_keeps_to_groups() -> None:
    indices, weights, scores = Router(small(num_experts_per_tok=3))(torch.randn(50, 16))
    for groups in (indices // 2).tolist():  # three experts of two groups
        assert len(set(groups)) <= 2
    torch.testing.assert_close(weights.sum(-1), torch.ones(50))
    assert scores.shape == (50, 8)


def test_bias_changes_who_is_chosen() -> None:
    router, x = Router(small(n_group=1, topk_group=1)), torch.randn(5, 16)
    assert router.e_score_correction_bias is not None
    router.e_score_correction_bias[3] = 10.0
    indices, _, scores = router(x)
    assert (indices == 3).any(-1).all()
    assert (scores <= 1).all()


def test_balance_loss() -> None:
    scores = torch.tensor([[1.0, 0.0, 0.0, 0.0]]).expand(6, 4)
    indices = torch.zeros(6, 1, dtype=torch.int64)
    assert balance_loss(scores, indices).item() == 4.0


def test_update_bias() -> None:
    router = Router(small(n_routed_experts=4, n_group=1, topk_group=1))
    update_bias(router, torch.tensor([1, 3, 4, 4]), rate=0.25)
    assert router.e_score_correction_bias is not None
    assert router.e_score_correction_bias.tolist() == [0.25, 0.0, -0.25, -0.25]


if __name__ == "__main__":
    from harness import main

    main(__file__)
