"""Day 32: losses and filters in float64, training against torch's own parts and to the bit, and
reinforcement that only learns what its reward says."""

import contextlib
import copy
import itertools
import math
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from harness.testing import close, exercise, refused, same_compiled, shapes
from tracks.pytorch import day32
from tracks.pytorch.day14 import CheckpointManager

WIDE = torch.float64


def same(got, wanted, name, limit=1e-5):
    """As one long vector, up to a share of its length."""
    got, wanted = (torch.cat([x.detach().double().flatten() for x in xs]) for xs in (got, wanted))
    error = ((got - wanted).norm() / wanted.norm().clamp(min=1e-12)).item()
    assert error < limit, f"{name}: off by {error:.2g} of the length of what is right"


# lm_loss -------------------------------------------------------------------------------------


def lm_oracle(logits, ids, mask):
    """One by one: the losses of the tokens learned."""
    losses = []
    for row in range(ids.shape[0]):
        for t in range(1, ids.shape[1]):
            if mask is None or mask[row, t]:
                losses.append(-logits[row, t - 1].double().log_softmax(-1)[ids[row, t]])
    return losses


@exercise("lm_loss")
@shapes("batch, length, vocab", (1, 2, 5), (3, 7, 11), (2, 5, 1), (4, 2, 3))
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("masked", [False, True], ids=["all", "some"])
@pytest.mark.parametrize("dtype", [WIDE, torch.float32, torch.bfloat16], ids=str)
def test_lm_loss_is_right(batch, length, vocab, reduction, masked, dtype, rng):
    logits = rng.normal(batch, length, vocab, std=3.0, dtype=dtype)
    ids = rng.integers(0, vocab, batch, length)
    mask = rng.boolean(batch, length).clone() if masked else None
    if mask is not None:
        mask[0, -1] = True
    losses = torch.stack(lm_oracle(logits, ids, mask))
    wanted = losses.mean() if reduction == "mean" else losses.sum()
    found = day32.lm_loss(logits, ids, mask, reduction)
    close(found, wanted, dtype=dtype, terms=batch * length * vocab, scale=8.0,
          name=f"{reduction} over {len(losses)} tokens")  # fmt: skip


@exercise("lm_loss")
def test_lm_loss_is_a_mean_over_tokens(rng):
    logits = rng.normal(2, 6, 5, dtype=WIDE)
    ids = rng.integers(0, 5, 2, 6)
    mask = torch.zeros(2, 6, dtype=torch.bool, device=ids.device)
    mask[0, 1:] = True
    mask[1, 5] = True
    wanted = torch.stack(lm_oracle(logits, ids, mask)).mean()
    rows = torch.stack([torch.stack(lm_oracle(logits[i : i + 1], ids[i : i + 1], mask[i : i + 1]))
                        .mean() for i in range(2)]).mean()  # fmt: skip
    found = day32.lm_loss(logits, ids, mask)
    assert abs(found - rows) > 1e-9, (
        "one text has 5 tokens to learn and the other 1, and each text counts the same: the mean "
        "is over tokens"
    )
    close(found, wanted, terms=30, scale=4.0)


@exercise("lm_loss")
def test_lm_loss_of_half_precision_is_computed_in_float32(device):
    logits = torch.full((1, 3000, 2), 0.0, dtype=torch.float16, device=device)
    ids = torch.zeros(1, 3000, dtype=torch.int64, device=device)
    found = day32.lm_loss(logits, ids, None, "sum")
    close(found, torch.tensor(2999 * math.log(2), dtype=WIDE, device=device), dtype=torch.float16,
          name="a sum of 2,999 losses")  # fmt: skip


@exercise("lm_loss")
def test_lm_loss_never_learns_the_first_token(rng):
    logits = rng.normal(2, 4, 5, dtype=WIDE)
    ids = rng.integers(0, 5, 2, 4)
    first = torch.zeros(2, 4, dtype=torch.bool, device=ids.device)
    first[:, 0] = True
    found = day32.lm_loss(logits, ids, first, "sum")
    assert found == 0, f"only first tokens are in the mask, and the sum is {found.item():.3g}"


@exercise("lm_loss")
def test_lm_loss_of_nothing(rng):
    logits = rng.normal(2, 4, 5).requires_grad_()
    ids = rng.integers(0, 5, 2, 4)
    none = torch.zeros(2, 4, dtype=torch.bool, device=ids.device)
    assert day32.lm_loss(logits, ids, none).isnan(), "the mean of no tokens is nan"
    total = day32.lm_loss(logits, ids, none, "sum")
    assert total == 0, f"the sum of no tokens is {total.item()}"
    total.backward()
    assert (logits.grad == 0).all(), "nothing is learned, and the gradient is not 0"
    short = day32.lm_loss(logits[:, :1], ids[:, :1], None, "sum")
    assert short == 0, f"texts of one token have nothing to learn; the sum is {short.item()}"


@exercise("lm_loss")
def test_lm_loss_gradient(rng):
    logits = rng.normal(2, 5, 4, dtype=WIDE).requires_grad_()
    ids = rng.integers(0, 4, 2, 5)
    mask = torch.tensor([[1, 1, 0, 1, 0], [0, 0, 1, 0, 1]], dtype=torch.bool, device=ids.device)
    day32.lm_loss(logits, ids, mask).backward()
    wanted = torch.zeros_like(logits)
    for row in range(2):
        for t in range(1, 5):
            if mask[row, t]:
                wanted[row, t - 1] = logits[row, t - 1].softmax(-1)
                wanted[row, t - 1, ids[row, t]] -= 1
    close(logits.grad, wanted.detach() / 4, scale=1.0, terms=4, name="gradient of the logits")


@exercise("lm_loss")
@pytest.mark.parametrize("anything", [-1, -100, 7, 10**9])
def test_lm_loss_takes_anything_where_nothing_is_learned(anything, rng):
    logits = rng.normal(2, 4, 5, dtype=WIDE)
    ids = rng.integers(0, 5, 2, 4)
    mask = torch.tensor([[1, 1, 0, 1], [1, 0, 0, 1]], dtype=torch.bool, device=ids.device)
    wanted = day32.lm_loss(logits, ids, mask)
    filled = ids.masked_fill(~mask, anything)
    filled[:, 0] = anything
    close(day32.lm_loss(logits, filled, mask), wanted, name=f"with {anything} where mask is False")


@exercise("lm_loss")
def test_lm_loss_refuses(rng):
    logits, ids = rng.normal(2, 4, 5), rng.integers(0, 5, 2, 4)
    short = ids[:, :3]
    refused(day32.lm_loss, logits, short, what="ids of another length", names=["(2, 3)"])
    refused(day32.lm_loss, logits[0], ids[0], what="a text without a batch", names=["(4,)"])
    refused(day32.lm_loss, logits, ids, short.bool(), what="a mask of another length",
            names=["(2, 3)", "(2, 4)"])  # fmt: skip
    refused(day32.lm_loss, logits, ids, ids[:1].bool(), what="a mask that would broadcast",
            names=["(1, 4)", "(2, 4)"])  # fmt: skip


@exercise("lm_loss")
def test_lm_loss_compiles(rng):
    logits, ids = rng.normal(2, 6, 5).requires_grad_(), rng.integers(0, 5, 2, 6)
    mask = rng.boolean(2, 6)
    same_compiled(lambda x: day32.lm_loss(x, ids, mask, "sum"), [logits], [logits], "lm_loss")


# sample --------------------------------------------------------------------------------------

DRAWS = 20_000


def filtered(chances, temperature=1.0, top_k=None, top_p=None, min_p=None):
    """Probabilities of one row in plain Python, by the docstring."""
    powers = [p ** (1 / temperature) for p in chances]
    kept = {i: p / sum(powers) for i, p in enumerate(powers)}
    ranked = sorted(kept.values(), reverse=True)
    if top_k is not None:
        kept = {i: p for i, p in kept.items() if p >= ranked[min(top_k, len(ranked)) - 1]}
    if top_p is not None:
        total, before, inside = sum(kept.values()), 0.0, {}
        for i, p in sorted(kept.items(), key=lambda item: -item[1]):
            if before < top_p:
                inside[i] = p
            before += p / total
        kept = inside
    if min_p is not None:
        kept = {i: p for i, p in kept.items() if p >= min_p * max(kept.values())}
    total = sum(kept.values())
    return [kept.get(i, 0.0) / total for i in range(len(chances))]


def drawn_as(chances, device, dtype=torch.float32, **how):
    """Draws many times; which tokens come, and how often, must be as ``filtered`` says."""
    logits = (torch.tensor(chances, dtype=WIDE).log() + 2.0).to(device, dtype)
    draws = day32.sample(logits.expand(DRAWS, -1), **how)
    assert draws.shape == (DRAWS,) and draws.dtype == torch.int64, (
        f"{DRAWS} rows give {tuple(draws.shape)}, {draws.dtype}"
    )
    found = (torch.bincount(draws, minlength=len(chances)).double() / DRAWS).tolist()
    wanted = filtered(chances, **how)
    said = f"of the probabilities {chances} with {how}"
    for token, (got, due) in enumerate(zip(found, wanted, strict=True)):
        assert due > 0 or got == 0, f"{said}, token {token} may not be drawn, and it was"
        spread = 6 * math.sqrt(max(due * (1 - due), 1e-9) / DRAWS)
        assert abs(got - due) <= spread, (
            f"{said}, token {token} was drawn in {got:.1%}; {due:.1%} is due"
        )


CHANCES = [0.06, 0.4, 0.04, 0.3, 0.2]
HOWS = {
    "as they are": {},
    "cold": {"temperature": 0.5},
    "hot": {"temperature": 3.0},
    "top-k": {"top_k": 2},
    "top-k of one": {"top_k": 1},
    "top-k of more than there are": {"top_k": 9},
    "top-p": {"top_p": 0.65},
    "top-p up to a third token": {"top_p": 0.75},
    "top-p less than the likeliest": {"top_p": 0.05},
    "top-p of next to nothing": {"top_p": 1e-60},
    "top-p of everything": {"top_p": 1.0},
    "min-p": {"min_p": 0.45},
    "min-p of nothing": {"min_p": 0.0},
    "min-p of the likeliest alone": {"min_p": 1.0},
    "top-p of what top-k left": {"top_k": 2, "top_p": 0.5},
    "top-p of what a high temperature left": {"temperature": 2.0, "top_p": 0.5},
    "top-p of what a low temperature left": {"temperature": 0.4, "top_p": 0.65},
    "min-p of what a high temperature left": {"temperature": 4.0, "min_p": 0.7},
    "top-p before min-p": {"top_p": 0.85, "min_p": 0.4},
    "all": {"temperature": 1.5, "top_k": 4, "top_p": 0.9, "min_p": 0.5},
}


@exercise("sample")
@pytest.mark.parametrize("how", HOWS.values(), ids=HOWS)
def test_sample_draws_as_often_as_it_should(how, device):
    drawn_as(CHANCES, device, **how)


@exercise("sample")
def test_sample_top_k_keeps_equals(device):
    drawn_as([0.1, 0.3, 0.3, 0.3], device, top_k=2)


@exercise("sample")
def test_sample_top_p_stops_where_the_sum_is_p(device):
    quarters = torch.zeros(500, 4, device=device)
    for p, least in ((0.25, 1), (0.5, 2), (0.75, 3)):
        found = len(day32.sample(quarters, top_p=p).unique())
        assert found == least, (
            f"each of four tokens has 1/4, so that {least} of them add up to top_p={p}; {found} "
            f"different ones were drawn"
        )


class Chances(TorchDispatchMode):
    """Sees what torch.multinomial is given."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.multinomial.default:
            self.given = args[0]
        return func(*args, **(kwargs or {}))


@exercise("sample")
def test_sample_top_p_of_1_keeps_everything(device):
    """In float32, 1 - exp(-40) is 1: the sum reaches 1 before the last token."""
    logits = torch.tensor([0.0, -40.0, -1.0], device=device)
    with Chances() as chances:
        day32.sample(logits, top_p=1.0)
    left = (chances.given > 0).sum().item()
    assert left == 3, f"top_p=1 keeps everything, and {left} of 3 tokens can be drawn"


@exercise("sample")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_sample_of_half_precision(dtype, device):
    drawn_as([0.25, 0.5, 0.125, 0.125], device, dtype, top_p=0.7)
    logits = torch.tensor([[700.0, 0.0]], dtype=torch.float16, device=device)
    found = day32.sample(logits, 0.01)
    assert found.tolist() == [0], "700 / 0.01 is more than float16 can hold"


@exercise("sample")
def test_sample_never_draws_what_is_impossible(device):
    logits = torch.tensor([0.0, -math.inf, 0.0, -math.inf], device=device).expand(500, 4)
    for how in ({}, {"top_k": 3}, {"top_p": 0.9}, {"min_p": 0.1}, {"temperature": 5.0}):
        found = day32.sample(logits, **how).unique().tolist()
        assert set(found) <= {0, 2}, f"with {how} the tokens {found} came; 1 and 3 have -inf"


@exercise("sample")
def test_sample_filters_each_row_for_itself(device, rng):
    rows = torch.tensor([[0.9, 0.05, 0.05], [0.05, 0.9, 0.05], [0.4, 0.2, 0.4]], device=device)
    logits = rows.log().repeat(300, 1).view(300, 3, 3)
    for how in ({"top_p": 0.6}, {"min_p": 0.6}):
        found = day32.sample(logits, **how)
        assert found.shape == (300, 3), f"logits (300, 3, 3) gave {tuple(found.shape)}"
        seen = [column.unique().tolist() for column in found.T]
        assert seen == [[0], [1], [0, 2]], f"with {how}, the three rows drew {seen}"


@exercise("sample")
def test_sample_of_any_shape(device, rng):
    assert day32.sample(rng.normal(7)).shape == (), "logits (7,) give one token, without an axis"
    assert day32.sample(rng.normal(2, 1, 3, 7), top_p=0.5).shape == (2, 1, 3)
    assert day32.sample(rng.normal(2, 3, 1), top_k=5, min_p=0.1).tolist() == [[0] * 3] * 2
    turned = rng.normal(5, 4).T
    assert day32.sample(turned, 0).tolist() == turned.argmax(-1).tolist()
    assert day32.sample(turned).shape == (4,)


@exercise("sample")
def test_sample_at_temperature_0(device, rng):
    logits = rng.normal(50, 9)
    state = torch.get_rng_state()
    found = day32.sample(logits, temperature=0, top_k=3, top_p=0.5, min_p=0.2)
    assert found.tolist() == logits.argmax(-1).tolist(), "temperature 0 takes the likeliest"
    assert torch.equal(torch.get_rng_state(), state), "temperature 0 draws a random number"


@exercise("sample")
def test_sample_uses_the_generator(device, rng):
    logits = rng.normal(200, 9)
    generator = torch.Generator(device)
    before = torch.get_rng_state()
    found = []
    for _ in range(2):
        generator.manual_seed(rng.seed)
        found.append(day32.sample(logits, generator=generator))
    more = day32.sample(logits, generator=generator)
    assert torch.equal(*found), "the same state of the generator drew other tokens"
    assert not torch.equal(found[1], more), "the generator stands where it stood: it was not used"
    assert torch.equal(torch.get_rng_state(), before), "torch's own generator was used as well"


@exercise("sample")
def test_sample_refuses(rng):
    logits = rng.normal(2, 4)
    for how in ({"temperature": -0.1}, {"top_k": 0}, {"top_p": 0.0}, {"top_p": 1.5},
                {"top_p": -0.5}, {"min_p": -0.1}, {"min_p": 1.1}):  # fmt: skip
        refused(lambda how=how: day32.sample(logits, **how), what=str(how), names=how)


# train ---------------------------------------------------------------------------------------


class Toy(nn.Module):
    """Scores from the last two tokens, with dropout if one asks for it."""

    def __init__(self, vocab=8, dim=16, dropout=0.0):
        super().__init__()
        self.table = nn.Embedding(vocab, dim)
        self.drop = nn.Dropout(dropout)
        self.out = nn.Linear(2 * dim, vocab)

    def forward(self, ids, mask=None):
        x = self.table(ids)
        before = nn.functional.pad(x, (0, 0, 1, 0))[:, :-1]
        return self.out(self.drop(torch.cat([x, before], -1).tanh()))


def texts(rng, n, rows=3, length=5, vocab=8):
    """n micro-batches with very different numbers of tokens to learn."""
    found = []
    for i in range(n):
        ids = rng.integers(0, vocab, rows, length)
        targets = torch.zeros(rows, length, dtype=torch.bool, device=ids.device)
        targets[: 1 + i % rows, 1 : 2 + i % (length - 1)] = True
        found.append(day32.Batch(ids, torch.ones_like(targets), targets))
    return found


def cosine(step, warmup, total, floor):
    if step < warmup:
        return (step + 1) / (warmup + 1)
    x = (step - warmup) / (total - warmup)
    return floor + (1 - floor) * (1 + math.cos(math.pi * x)) / 2


def oracle(model, batches, steps, *, lr, warmup, floor, accumulation, clip, weight_decay, skip=()):
    """torch's own optimizer and clipping, on all micro-batches of a step together."""
    matrices = [p for p in model.parameters() if p.dim() > 1]
    rest = [p for p in model.parameters() if p.dim() < 2]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}],
        betas=(0.9, 0.999), eps=1e-8,
    )  # fmt: skip
    losses = []
    for step in range(steps):
        parts = []
        for ids, mask, targets in batches[step * accumulation : (step + 1) * accumulation]:
            scores = model(ids, mask).log_softmax(-1)
            for row, t in targets.nonzero().tolist():
                parts.append(-scores[row, t - 1, ids[row, t]])
        loss = torch.stack(parts).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), clip)
        for group in optimizer.param_groups:
            group["lr"] = lr * cosine(step, warmup, steps, floor)
        if step not in skip:
            optimizer.step()
        losses.append(loss.item())
    return losses


HOW = dict(lr=0.02, warmup=3, floor=0.2, accumulation=3, clip=0.05, weight_decay=0.3)
WAYS = {
    "all together": HOW,
    "plain": HOW | dict(warmup=0, floor=1.0, accumulation=1, clip=1e9, weight_decay=0.0),
    "warm-up": HOW | dict(accumulation=1, clip=1e9, weight_decay=0.0, warmup=5),
    "to a floor of 0": HOW | dict(accumulation=1, clip=1e9, weight_decay=0.0, warmup=0, floor=0.0),
    "accumulation": HOW | dict(warmup=0, floor=1.0, accumulation=4, clip=1e9, weight_decay=0.0),
    "clipping": HOW | dict(warmup=0, floor=1.0, accumulation=1, weight_decay=0.0),
    "weight decay": HOW | dict(warmup=0, floor=1.0, accumulation=1, clip=1e9),
}


@exercise("train")
@pytest.mark.parametrize("how", WAYS.values(), ids=WAYS)
def test_train_equals_torchs_parts(how, device, rng):
    """In float64. A clip that changes nothing but the eps of Adam is felt after a few steps."""
    torch.manual_seed(rng.seed)
    mine = Toy().to(device, WIDE)
    theirs = copy.deepcopy(mine)
    batches = texts(rng, 7 * how["accumulation"])
    wanted = oracle(theirs, batches, 7, **how)
    told = []
    found = day32.train(mine, lambda i: batches[i], 7, **how,
                        report=lambda step, loss: told.append(loss))  # fmt: skip
    assert len(found) == 7, f"7 steps gave {len(found)} losses"
    assert all(isinstance(loss, float) for loss in found), (
        f"a loss is a float, not a {type(found[0]).__name__}, which would keep its whole graph"
    )
    assert told == found, f"the losses {found} were reported as {told}"
    same([torch.tensor(found)], [torch.tensor(wanted)], "losses of the steps", 1e-6)
    same(mine.parameters(), theirs.parameters(), "weights after 7 steps", 1e-6)


@exercise("train")
def test_train_clips_what_is_divided(device, rng):
    """Sums of gradients are long. Clipped before they are divided, nothing is left of them."""
    torch.manual_seed(rng.seed)
    mine = Toy().to(device, WIDE)
    table = mine.table.weight.detach().clone()
    batches = texts(rng, 4)
    seen = []

    def loss(model, micro):
        total, count = day32.learned(model, micro)
        seen.append(count)
        return 1e-7 * total, count  # as small as Adam's eps: now the length of a gradient shows

    theirs = copy.deepcopy(mine)
    for micro in batches:
        (day32.learned(theirs, micro)[0] * 1e-7).backward()
    n = sum(int(micro.targets[:, 1:].sum()) for micro in batches)
    grad = theirs.table.weight.grad / n
    norm = math.sqrt(sum((p.grad / n).square().sum().item() for p in theirs.parameters()))
    for clip in (norm * 2, norm / 2):
        model = copy.deepcopy(mine)
        day32.train(model, lambda i: batches[i], 1, loss=loss, lr=0.1, accumulation=4, clip=clip,
                    weight_decay=0.0)  # fmt: skip
        g = grad * min(1.0, clip / (norm + 1e-6))
        same([model.table.weight - table], [-0.1 * g / (g.abs() + 1e-8)], "the step", 1e-5)


@exercise("train")
def test_train_asks_for_one_micro_batch_after_the_other(device, rng):
    torch.manual_seed(rng.seed)
    said = []

    def batch(i):
        said.append(f"batch {i}")
        return i

    def loss(model, i):
        said.append(f"loss {i}")
        assert model.training, "the model is not in training mode when its loss is computed"
        model.eval()  # as generating does
        return model(torch.tensor([[1, 2]], device=device)).square().sum(), 4

    model = Toy().to(device).eval()
    day32.train(model, batch, 2, loss=loss, accumulation=2,
                report=lambda step, loss: said.append(f"step {step}"))  # fmt: skip
    wanted = ["batch 0", "loss 0", "batch 1", "loss 1", "step 1",
              "batch 2", "loss 2", "batch 3", "loss 3", "step 2"]  # fmt: skip
    assert said == wanted, f"two steps of two micro-batches went {', '.join(said)}"


@exercise("train")
def test_train_forgets_older_gradients(device, rng):
    torch.manual_seed(rng.seed)
    mine = Toy().to(device, WIDE)
    other = copy.deepcopy(mine)
    for p in other.parameters():
        p.grad = torch.ones_like(p)
    batches = texts(rng, 2)
    for model in (mine, other):
        day32.train(model, lambda i: batches[i], 2)
    for a, b in zip(mine.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b), "a gradient that was there before is part of the first step"


@exercise("train")
def test_train_leaves_out_a_step_that_is_not_finite(device, rng):
    torch.manual_seed(rng.seed)
    mine = Toy().to(device, WIDE)
    theirs = copy.deepcopy(mine)
    batches = texts(rng, 6)

    def loss(model, i):
        total, count = day32.learned(model, batches[i])
        return total * (math.inf if i == 2 else 1.0), count

    how = HOW | dict(accumulation=1)
    oracle(theirs, batches, 6, **how, skip=(2,))
    found = day32.train(mine, lambda i: i, 6, loss=loss, **how)
    assert not math.isfinite(found[2]), f"the third loss was inf, and {found[2]:.3g} is returned"
    assert all(p.isfinite().all() for p in mine.parameters()), (
        "the gradient of one step was not finite, and the weights are not any more"
    )
    same(mine.parameters(), theirs.parameters(), "weights after a step that was left out", 1e-6)


@exercise("train")
def test_train_with_nothing_to_learn(device, rng):
    torch.manual_seed(rng.seed)
    model = Toy().to(device)
    before = copy.deepcopy(model)
    ids = rng.integers(0, 8, 2, 4)
    none = torch.zeros(2, 4, dtype=torch.bool, device=device)
    found = day32.train(model, lambda i: day32.Batch(ids, ~none, none), 2, weight_decay=0.0)
    assert found == [0.0, 0.0], f"nothing to learn: the losses are {found}"
    same(model.parameters(), before.parameters(), "weights after steps without a token")
    zero, one = copy.deepcopy(before), copy.deepcopy(before)
    for model, count in ((zero, 0), (one, 1)):
        day32.train(model, lambda i: ids, 2,
                    loss=lambda model, ids, n=count: (model(ids).square().sum(), n))  # fmt: skip
    for a, b in zip(zero.parameters(), one.parameters(), strict=True):
        assert torch.equal(a, b), "a count of 0 divides by 1, and the step is another one"


@exercise("train")
def test_train_leaves_a_frozen_part_alone(device, rng):
    """What requires no gradient has none, and there is nothing to be divided."""
    torch.manual_seed(rng.seed)
    model = Toy().to(device)
    model.table.requires_grad_(False)
    before = copy.deepcopy(model)
    batches = texts(rng, 2)
    day32.train(model, lambda i: batches[i], 2)
    assert torch.equal(model.table.weight, before.table.weight), "a frozen table was changed"
    assert not torch.equal(model.out.weight, before.out.weight), "what is not frozen stands still"


@exercise("train")
@pytest.mark.parametrize("steps, every, wanted", [(7, 3, [3, 6, 7]), (6, 3, [3, 6]), (2, 5, [2]),
                                                  (3, 1, [1, 2, 3])])  # fmt: skip
def test_train_saves(steps, every, wanted, device, rng, tmp_path):
    torch.manual_seed(rng.seed)
    batches = texts(rng, steps)
    manager = CheckpointManager(tmp_path, keep=100)
    day32.train(Toy().to(device), lambda i: batches[i], steps, manager=manager, every=every)
    found = [int(path.stem.split("-")[1]) for path in manager.paths()]
    assert found == wanted, f"{steps} steps, saved every {every}: there are {found}"


def a_run(seed, device, folder=None, kill=None, where="report", steps=7):
    """A run with dropout that draws its batches; ``kill``: at that step it is interrupted."""
    torch.manual_seed(seed)
    model = Toy(dropout=0.3).to(device)
    losses = None
    reported = []

    def batch(i):
        if where == "batch" and kill is not None and i == 2 * kill + 1:
            raise KeyboardInterrupt
        ids = torch.randint(8, (4, 5)).to(device)
        every = torch.ones_like(ids, dtype=torch.bool)
        return day32.Batch(ids, every, every)

    def report(step, loss):
        reported.append(step)
        if where == "report" and step == kill:
            raise KeyboardInterrupt

    manager = None if folder is None else CheckpointManager(folder)
    with contextlib.suppress(KeyboardInterrupt):
        losses = day32.train(model, batch, steps, accumulation=2, warmup=2, lr=0.02,
                             manager=manager, every=2, report=report)  # fmt: skip
    return model, losses, reported, torch.get_rng_state()


@exercise("train")
@pytest.mark.parametrize("where", ["report", "batch"], ids=["after a step", "in a step"])
@pytest.mark.parametrize("kill", [1, 4, 5])
def test_train_goes_on_to_the_bit(kill, where, device, rng, tmp_path):
    whole, wanted, _, state = a_run(rng.seed, device)
    a_run(rng.seed, device, tmp_path, kill, where)
    torch.rand(3)
    model, losses, reported, now = a_run(
        rng.seed if kill == 1 else rng.seed + 1, device, tmp_path
    )  # killed at step 1, nothing was saved: it begins again, with the same seed
    first = reported[0] if reported else None
    saved = (kill - 1) // 2 * 2 if where == "report" else kill // 2 * 2
    assert first == saved + 1, f"saved at step {saved}, and the run goes on with step {first}"
    assert losses == wanted, "the losses, those before the kill among them, are not the same"
    assert torch.equal(now, state), "torch's random numbers would go on differently"
    for name, value in whole.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), f"{name} differs after going on"


@exercise("train")
def test_train_of_a_run_at_its_end(device, rng, tmp_path):
    whole, wanted, _, state = a_run(rng.seed, device, tmp_path)
    model, losses, reported, now = a_run(rng.seed + 1, device, tmp_path)
    assert not reported, f"the run was at its end, and steps {reported} were done"
    assert losses == wanted, "the losses of the finished run are not returned"
    for name, value in whole.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), f"{name} is not that of the run's end"
    assert torch.equal(now, state), "the random numbers are not those of the run's end"


@exercise("train")
def test_train_goes_on_with_the_moments(device, rng, tmp_path):
    """The optimizer too: with the moments of a beginner, a step is another one."""
    whole, _, _, _ = a_run(rng.seed, device, steps=7)
    a_run(rng.seed, device, tmp_path, kill=6)
    model, _, _, _ = a_run(rng.seed + 3, device, tmp_path)
    same(model.parameters(), whole.parameters(), "weights after going on", 1e-7)


@exercise("train")
def test_train_refuses(device, rng):
    for how in ({"accumulation": 0}, {"every": 0}):
        refused(lambda how=how: day32.train(Toy(), lambda i: None, 1, **how), what=str(how),
                names=how)  # fmt: skip


# group_advantages ----------------------------------------------------------------------------


@exercise("group_advantages")
@shapes("groups, group", (1, 2), (3, 4), (5, 7), (0, 3), (2, 64))
@pytest.mark.parametrize("dtype", [WIDE, torch.float32], ids=str)
def test_group_advantages_are_right(groups, group, dtype, rng):
    rewards = rng.normal(groups * group, mean=3.0, dtype=dtype)
    wanted = []
    for g in rewards.double().view(groups, group).tolist():
        mean = sum(g) / group
        std = math.sqrt(sum((x - mean) ** 2 for x in g) / (group - 1))
        wanted += [(x - mean) / (std + 1e-4) for x in g]
    found = day32.group_advantages(rewards, group)
    close(found, torch.tensor(wanted, dtype=WIDE, device=rewards.device), dtype=dtype,
          terms=group, scale=30.0, name=f"{groups} groups of {group}")  # fmt: skip


@exercise("group_advantages")
def test_group_advantages_eps(device):
    rewards = torch.tensor([0.0, 2.0, 2.0, 0.0], dtype=WIDE, device=device)
    found = day32.group_advantages(rewards, 4, eps=1.0)
    std = math.sqrt(4 / 3)
    close(found, torch.tensor([-1.0, 1.0, 1.0, -1.0], dtype=WIDE, device=device) / (std + 1),
          name="with eps = 1")  # fmt: skip


@exercise("group_advantages")
@pytest.mark.parametrize("reward", [0.0, 0.1, 1.1, 1 / 3, -7.7, 1e8])
@pytest.mark.parametrize("group", [3, 7, 10])
def test_group_advantages_of_equal_rewards(reward, group, device):
    rewards = torch.tensor([reward] * group + [0.0, 3.0] + [5.0] * (group - 2), device=device)
    for eps in (1e-4, 0.0):
        found = day32.group_advantages(rewards, group, eps)
        assert (found[:group] == 0).all(), (
            f"{group} rewards of {reward} and eps {eps}: the first advantage is "
            f"{found[0].item():.3g}, and there is nothing to learn"
        )
        assert found[group:].abs().min() > 0.1, "the other group has advantages"


@exercise("group_advantages")
@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.float16, torch.bfloat16], ids=str)
def test_group_advantages_of_other_types(dtype, device):
    rewards = torch.tensor([1, 0, 0, 1, 1, 1], device=device).to(dtype)
    found = day32.group_advantages(rewards, 3)
    std = math.sqrt(1 / 3)
    wanted = torch.tensor([2, -1, -1, 0, 0, 0], dtype=WIDE, device=device) / 3 / (std + 1e-4)
    close(found, wanted, dtype=torch.float32, terms=3, scale=1.0, name=f"rewards of {dtype}")


@exercise("group_advantages")
def test_group_advantages_are_numbers(device):
    rewards = torch.tensor([1.0, 0.0, 2.0, 0.5], device=device, requires_grad=True)
    assert not day32.group_advantages(rewards, 2).requires_grad, "a gradient flows to the rewards"
    apart = torch.tensor([[1.0, 9.0], [0.0, 9.0], [0.0, 9.0], [3.0, 9.0]], device=device)[:, 0]
    close(day32.group_advantages(apart, 2), day32.group_advantages(apart.clone(), 2).double(),
          dtype=torch.float32, name="rewards with strides")  # fmt: skip


@exercise("group_advantages")
def test_group_advantages_refuse(rng):
    rewards = rng.normal(6)
    refused(day32.group_advantages, rewards, 4, what="6 rewards in groups of 4", names=[6, 4])
    refused(day32.group_advantages, rewards, 1, what="groups of one", names=[1])
    refused(day32.group_advantages, rewards, 0, what="groups of none", names=[0])
    refused(day32.group_advantages, rewards.view(2, 3), 3, what="rewards with two axes",
            names=["(2, 3)"])  # fmt: skip


# grpo_loss -----------------------------------------------------------------------------------


def grpo_oracle(logp, old, ref, advantages, mask, clip=0.2, beta=0.04):
    """The paper's equation 3, token by token in plain Python, and its gradient by hand."""
    tries, length = logp.shape
    grad = [[0.0] * length for _ in range(tries)]
    total = 0.0
    for i in range(tries):
        tokens = [t for t in range(length) if mask[i, t]]
        a = advantages[i].item()
        for t in tokens:
            ratio = math.exp(logp[i, t].item() - old[i, t].item())
            held = min(max(ratio, 1 - clip), 1 + clip)
            gap = ref[i, t].item() - logp[i, t].item()
            gain, slope = ratio * a, ratio * a
            if held * a < gain:
                gain, slope = held * a, 0.0
            share = 1 / (tries * len(tokens))
            total += share * (beta * (math.exp(gap) - gap - 1) - gain)
            grad[i][t] = share * (beta * (1 - math.exp(gap)) - slope)
    values = dict(dtype=WIDE, device=logp.device)
    return torch.tensor(total, **values), torch.tensor(grad, **values)


def tries(rng, n, length, dtype=WIDE, spread=0.4):
    old = -rng.uniform(n, length, low=0.1, high=4.0, dtype=dtype)
    logp = old + rng.normal(n, length, std=spread, dtype=dtype)
    ref = old + rng.normal(n, length, std=spread, dtype=dtype)
    return logp, old, ref, rng.normal(n, dtype=dtype)


@exercise("grpo_loss")
@shapes("n, length", (1, 1), (4, 9), (7, 3), (2, 40))
@pytest.mark.parametrize("how", [{}, {"clip": 0.5}, {"beta": 0.0}, {"beta": 1.0, "clip": 0.05}],
                         ids=str)  # fmt: skip
@pytest.mark.parametrize("dtype", [WIDE, torch.float32], ids=str)
def test_grpo_loss_is_right(n, length, how, dtype, rng):
    logp, *others = tries(rng, n, length, dtype)
    logp.requires_grad_()
    mask = rng.boolean(n, length, p=0.7).clone()
    mask[:, 0] = True
    wanted, slope = grpo_oracle(logp, *others, mask, **how)
    found = day32.grpo_loss(logp, *others, mask, **how)
    found.backward()
    close(found, wanted, dtype=dtype, terms=n * length, scale=3.0, name="the loss")
    close(logp.grad, slope, dtype=dtype, terms=n * length, scale=1.0, name="the gradient")


@exercise("grpo_loss")
@pytest.mark.parametrize("advantage", [1.0, -1.0], ids=["better", "worse"])
@pytest.mark.parametrize("ratio", [0.5, 0.9, 1.1, 1.5])
def test_grpo_loss_is_clipped_by_the_sign_of_the_advantage(ratio, advantage, device):
    """Where a token is likelier already and good, or less likely and bad, it is left alone."""
    values = dict(dtype=WIDE, device=device)
    zero = torch.zeros(1, 1, **values)
    logp = torch.tensor([[math.log(ratio)]], **values, requires_grad=True)
    found = day32.grpo_loss(logp, zero, zero, torch.tensor([advantage], **values),
                            torch.ones_like(zero, dtype=torch.bool), beta=0.0)  # fmt: skip
    found.backward()
    left = ratio > 1.2 if advantage > 0 else ratio < 0.8
    held = min(max(ratio, 0.8), 1.2) if left else ratio
    said = f"with the ratio {ratio} and the advantage {advantage}"
    assert abs(found.item() + held * advantage) < 1e-12, (
        f"{said} the loss is {found.item():.3f}; {-held * advantage:.3f} is due"
    )
    due = 0.0 if left else -ratio * advantage
    assert abs(logp.grad.item() - due) < 1e-12, (
        f"{said} the gradient is {logp.grad.item():.3f}; {due:.3f} is due"
    )


@exercise("grpo_loss")
def test_grpo_loss_weighs_tries_not_tokens(rng):
    logp, old, ref, advantages = tries(rng, 3, 12)
    mask = torch.zeros(3, 12, dtype=torch.bool, device=logp.device)
    for row, n in enumerate((12, 1, 4)):
        mask[row, 12 - n :] = True
    wanted, _ = grpo_oracle(logp, old, ref, advantages, mask)
    parts = [grpo_oracle(logp[i:i + 1], old[i:i + 1], ref[i:i + 1], advantages[i:i + 1],
                         mask[i:i + 1])[0] for i in range(3)]  # fmt: skip
    found = day32.grpo_loss(logp, old, ref, advantages, mask)
    tokens = (12 * parts[0] + parts[1] + 4 * parts[2]) / 17
    assert abs(found - tokens) > 1e-9 or abs(wanted - tokens) < 1e-8, (
        "tries of 12, 1 and 4 tokens count by their tokens: each try has the same weight"
    )
    close(found, wanted, terms=36, scale=3.0, name="tries of 12, 1 and 4 tokens")


@exercise("grpo_loss")
def test_grpo_loss_of_a_try_without_tokens(rng):
    logp, old, ref, advantages = tries(rng, 2, 5)
    logp.requires_grad_()
    mask = torch.ones(2, 5, dtype=torch.bool, device=logp.device)
    mask[1] = False
    wanted, slope = grpo_oracle(logp, old, ref, advantages, mask)
    found = day32.grpo_loss(logp, old, ref, advantages, mask)
    found.backward()
    close(found, wanted, terms=10, scale=3.0, name="two tries, one of them without tokens")
    close(logp.grad, slope, terms=10, scale=1.0, name="its gradient")
    nothing = day32.grpo_loss(logp, old, ref, advantages, torch.zeros_like(mask))
    assert nothing == 0, f"no try has a token, and the loss is {nothing.item()}"


@exercise("grpo_loss")
@pytest.mark.parametrize("anything", [math.nan, math.inf, -math.inf, 1e4])
@pytest.mark.parametrize("which", ["logp", "old_logp", "ref_logp"])
def test_grpo_loss_knows_nothing_of_padding(anything, which, rng):
    logp, old, ref, advantages = tries(rng, 3, 6)
    mask = torch.ones(3, 6, dtype=torch.bool, device=logp.device)
    mask[0, 4:] = False
    mask[2, :3] = False
    wanted, slope = grpo_oracle(logp, old, ref, advantages, mask)
    parts = dict(logp=logp, old_logp=old, ref_logp=ref)
    parts[which] = parts[which].masked_fill(~mask, anything)
    parts["logp"].requires_grad_()
    found = day32.grpo_loss(**parts, advantages=advantages, mask=mask)
    found.backward()
    said = f"with {anything} in {which} where mask is False"
    close(found, wanted, terms=18, scale=3.0, name=f"the loss {said}")
    close(parts["logp"].grad, slope, terms=18, scale=1.0, name=f"the gradient {said}")


@exercise("grpo_loss")
def test_grpo_loss_learns_through_logp_alone(rng):
    logp, old, ref, advantages = tries(rng, 3, 4)
    inputs = [x.clone().requires_grad_() for x in (logp, old, ref, advantages)]
    mask = torch.ones(3, 4, dtype=torch.bool, device=logp.device)
    day32.grpo_loss(*inputs, mask).backward()
    names = ["old_logp", "ref_logp", "advantages"]
    reached = [name for name, x in zip(names, inputs[1:], strict=True) if x.grad is not None
               and (x.grad != 0).any()]  # fmt: skip
    assert not reached, f"a gradient reaches {', '.join(reached)}"


@exercise("grpo_loss")
def test_grpo_loss_with_the_model_as_its_old_self(rng):
    logp, _, ref, advantages = tries(rng, 3, 4)
    logp.requires_grad_()
    mask = torch.ones(3, 4, dtype=torch.bool, device=logp.device)
    _, slope = grpo_oracle(logp, logp, ref, advantages, mask)
    day32.grpo_loss(logp, logp, ref, advantages, mask).backward()
    close(logp.grad, slope, terms=12, scale=1.0, name="gradient with logp as old_logp")


@exercise("grpo_loss")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_grpo_loss_of_half_precision(dtype, rng):
    logp, old, ref, advantages = (x.to(dtype) for x in tries(rng, 4, 50, spread=0.05))
    mask = torch.ones(4, 50, dtype=torch.bool, device=logp.device)
    wanted, _ = grpo_oracle(logp, old, ref, advantages, mask)
    found = day32.grpo_loss(logp, old, ref, advantages, mask)
    close(found, wanted, dtype=torch.float32, terms=200, scale=0.1, name=f"the loss of {dtype}")


@exercise("grpo_loss")
def test_grpo_loss_refuses(rng):
    logp, old, ref, advantages = tries(rng, 3, 4)
    mask = torch.ones(3, 4, dtype=torch.bool, device=logp.device)
    good = dict(logp=logp, old_logp=old, ref_logp=ref, advantages=advantages, mask=mask)
    bads = [("old_logp", old[:, :1]), ("ref_logp", ref[:1]), ("mask", mask[0]),
            ("advantages", advantages[:1]), ("advantages", advantages[:, None])]  # fmt: skip
    for name, bad in bads:
        refused(lambda name=name, bad=bad: day32.grpo_loss(**(good | {name: bad})),
                what=f"{name} of the shape {tuple(bad.shape)}",
                names=["(3, 4)", str(tuple(bad.shape))])  # fmt: skip
    flat = {name: x[0] for name, x in good.items()}
    refused(lambda: day32.grpo_loss(**flat), what="logp of the shape (4,)", names=["(4,)"])
    flat["advantages"] = old[0]
    refused(lambda: day32.grpo_loss(**flat), what="everything of the shape (4,)", names=["(4,)"])
    deep = {name: x[None] for name, x in good.items()} | {"advantages": advantages[:1]}
    refused(lambda: day32.grpo_loss(**deep), what="logp with three axes", names=["(1, 3, 4)"])


@exercise("grpo_loss")
def test_grpo_loss_compiles(rng):
    logp, old, ref, advantages = tries(rng, 3, 4, torch.float32)
    logp.requires_grad_()
    mask = rng.boolean(3, 4)
    same_compiled(lambda x: day32.grpo_loss(x, old, ref, advantages, mask), [logp], [logp],
                  "grpo_loss")  # fmt: skip


# train_math ----------------------------------------------------------------------------------

STOP = 0


def one_problem(device=None):
    return [day32.Problem(torch.tensor([5, 3]), torch.tensor([1, 2, STOP]))]


def two_answers():
    """Behind 3, whatever comes before it, 1 and 2 are shown equally often."""
    return [day32.Problem(torch.tensor([x, 3]), torch.tensor([n, STOP]))
            for x in (3, 4, 5) for n in (1, 2)]  # fmt: skip


def likes_two(problem, tokens):
    return float(tokens == [2, STOP])


QUICK = dict(shown=16, tries=32, group=8, new=4, lr=0.03, explore_lr=0.03, warmup=2)


def go(model, problems, reward, supervised, explored, **how):
    return day32.train_math(model, problems, reward, STOP, supervised=supervised,
                            explored=explored, **(QUICK | how))  # fmt: skip


def exact_rate(model, device):
    """Of 400 draws behind prompts that were never shown."""
    prompts = [torch.tensor([x, 3]) for x in (6, 7)] * 200
    made = day32.respond(model, prompts, 4, STOP)
    rows = [row[own].tolist() for row, own in zip(made.ids, made.targets, strict=True)]
    return sum(row == [2, STOP] for row in rows) / len(rows)


@exercise("train_math", seconds=60)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_train_math_rises_from_stage_to_stage(seed, device, rng):
    """What is shown is right half of the time; what is rewarded, always."""
    torch.manual_seed(rng.seed + seed)
    model = Toy().to(device)
    rates = [exact_rate(model, device)]
    reference = go(model, two_answers(), likes_two, 60, 60)
    rates += [exact_rate(reference, device), exact_rate(model, device)]
    said = "exact answers before, after the supervised stage, and after GRPO: "
    said += ", ".join(f"{rate:.0%}" for rate in rates)
    assert rates[0] < 0.25 and 0.28 < rates[1] < 0.72, said
    assert rates[2] > 0.9, said


@exercise("train_math")
def test_train_math_learns_the_answer_alone(device, rng):
    """With one problem only, the supervised stage holds no chance."""
    torch.manual_seed(rng.seed)
    mine = Toy().to(device, WIDE)
    theirs = copy.deepcopy(mine)
    ids = torch.tensor([[5, 3, 1, 2, STOP]], device=device).expand(16, 5)
    targets = torch.tensor([[0, 0, 1, 1, 1]], dtype=torch.bool, device=device).expand(16, 5)
    batch = day32.Batch(ids, torch.ones_like(targets), targets)
    oracle(theirs, [batch] * 6, 6, lr=0.03, warmup=2, floor=0.1, accumulation=1, clip=1.0,
           weight_decay=0.1)  # fmt: skip
    reference = go(mine, one_problem(), likes_two, 6, 0)
    same(mine.parameters(), theirs.parameters(), "weights after the supervised stage", 1e-6)
    assert reference is not mine, "the reference is the model itself"
    same(reference.parameters(), mine.parameters(), "weights of the reference")


@exercise("train_math")
def test_train_math_asks_a_group_for_each_problem(device, rng):
    torch.manual_seed(rng.seed)
    asked, wrote = [], []

    def reward(problem, tokens):
        asked.append(problem)
        wrote.append(tokens)
        return 0.0

    problems = [day32.Problem(torch.tensor([x]), torch.tensor([1, STOP])) for x in range(1, 8)] * 9
    go(Toy().to(device), problems, reward, 0, 3, tries=24, group=6, new=3)
    assert len(asked) == 72, f"3 steps of 24 tries, and {len(asked)} rewards were asked for"
    groups = [{id(p) for p in asked[i : i + 6]} for i in range(0, 72, 6)]
    assert all(len(group) == 1 for group in groups), "a group of 6 is not of one problem"
    assert len(set.union(*groups)) > 3, f"of 63 problems, {len(set.union(*groups))} were drawn"
    assert all(isinstance(t, int) for tokens in wrote for t in tokens), "tokens are not plain ints"
    assert all(1 <= len(tokens) <= 3 for tokens in wrote), "a response has more than new=3 tokens"
    whole = [tokens for tokens in wrote if STOP in tokens]
    assert whole and all(tokens.index(STOP) == len(tokens) - 1 for tokens in whole), (
        "the stop is the last token of a response, if it was written"
    )
    assert any(STOP not in tokens for tokens in wrote), "of 72 beginners' tries none was cut off"
    spread = {tuple(tokens) for tokens in wrote}
    assert len(spread) > 20, f"72 tries at temperature 1, and only {len(spread)} are different"


@exercise("train_math")
@pytest.mark.parametrize("reward", [0.0, 0.1], ids=["none", "always 0.1"])
def test_train_math_learns_nothing_from_equal_rewards(reward, device, rng):
    torch.manual_seed(rng.seed)
    model = Toy().to(device)
    reference = go(model, two_answers(), lambda problem, tokens: reward, 3, 3, beta=0.0, group=4)
    for mine, before in zip(model.parameters(), reference.parameters(), strict=True):
        assert torch.equal(mine, before), (
            f"every try has the reward {reward}, beta is 0, and the weights changed"
        )


@exercise("train_math")
def test_train_math_reports(device, rng):
    torch.manual_seed(rng.seed)
    rewards, lengths, told = [], [], []

    def reward(problem, tokens):
        rewards.append(float(len(tokens) % 2))
        lengths.append(len(tokens))
        return rewards[-1]

    go(Toy().to(device), two_answers(), reward, 2, 3, beta=0.5,
       report=lambda stage, step, values: told.append((stage, step, dict(values))))  # fmt: skip
    found = [(stage, step) for stage, step, _ in told]
    wanted = [("sft", 1), ("sft", 2), ("grpo", 1), ("grpo", 2), ("grpo", 3)]
    assert found == wanted, f"the steps reported are {found}"
    assert all(set(values) == {"loss"} for _, _, values in told[:2]), (
        f"the supervised stage reports {sorted(told[0][2])}"
    )
    for stage, _, values in told:
        others = [name for name, value in values.items() if not isinstance(value, float)]
        assert not others, f"{', '.join(others)} of the stage {stage}: not a float"
    for i, (_, step, values) in enumerate(told[2:]):
        assert set(values) == {"loss", "reward", "length", "kl"}, f"GRPO reports {sorted(values)}"
        for name, wrote in (("reward", rewards), ("length", lengths)):
            mean = sum(wrote[32 * i : 32 * (i + 1)]) / 32
            assert abs(values[name] - mean) < 1e-5, (
                f"step {step}: {name} is {values[name]:.4f}, and the tries have {mean:.4f}"
            )
    kls = [values["kl"] for _, _, values in told[2:]]
    assert abs(kls[0]) < 1e-6, f"before the first step the model is the reference: kl {kls[0]:.3g}"
    assert kls[1] > 1e-6 and kls[2] > 1e-6, f"the model moves, and kl is {kls}"
    assert abs(told[2][2]["loss"]) < 0.05, (
        f"ratio 1, advantages that add up to 0 in every group, kl 0: the first loss is "
        f"{told[2][2]['loss']:.3f}"
    )


@exercise("train_math")
def test_train_math_reports_k3_and_the_loss(device, rng):
    """With the ratio 1, advantages add up to 0: what is left of the loss is beta · k3."""
    torch.manual_seed(rng.seed)
    model = Toy().to(device, WIDE)
    writers, wrote, told = [], [], []

    def reward(problem, tokens):
        if len(wrote) % 32 == 0:
            writers.append(copy.deepcopy(model))
        wrote.append(torch.cat([problem.prompt, torch.tensor(tokens)]).to(device))
        return float(len(tokens) % 2)

    reference = go(model, two_answers(), reward, 0, 3, beta=0.5, explore_lr=0.2, warmup=0,
                   report=lambda stage, step, values: told.append(dict(values)))  # fmt: skip
    for i, (writer, values) in enumerate(zip(writers, told, strict=True)):
        k3 = []
        for ids in wrote[32 * i : 32 * (i + 1)]:
            mine, known = (m(ids[None])[0, 1:-1].log_softmax(-1).gather(-1, ids[2:, None])
                           for m in (writer, reference))  # fmt: skip
            k3.append((known - mine).exp() - (known - mine) - 1)
        kl, loss = torch.cat(k3).mean().item(), sum(x.mean().item() for x in k3) / 32 / 2
        assert abs(values["kl"] - kl) < 1e-5, (
            f"step {i + 1}: kl is {values['kl']:.6f}, and the mean of k3 over all tokens {kl:.6f}"
        )
        assert abs(values["loss"] - loss) < 1e-5, (
            f"step {i + 1}: the loss is {values['loss']:.6f}; that of grpo_loss is {loss:.6f}"
        )


@exercise("train_math")
def test_train_math_warms_up_in_both_stages(device, rng):
    """The first step of Adam moves a weight by the rate of that step: here, a quarter of it."""
    torch.manual_seed(rng.seed)
    model = Toy().to(device, WIDE)
    turns = itertools.cycle([0.0, 1.0])
    stands = [model.out.bias.detach().clone()]
    go(model, two_answers(), lambda problem, tokens: next(turns), 5, 5, lr=0.01, explore_lr=0.02,
       warmup=3, report=lambda *_: stands.append(model.out.bias.detach().clone()))  # fmt: skip
    for stage, rate, i in (("supervised", 0.01, 0), ("second", 0.02, 5)):
        share = (stands[i + 1] - stands[i]).abs().max().item() / rate
        assert abs(share - 0.25) < 0.01, (
            f"with warmup=3 the first step of the {stage} stage has 1/4 of its rate, and the "
            f"weights moved by {share:.2f} of it"
        )


@exercise("train_math")
def test_train_math_stays_near_the_reference(device, rng):
    """A large beta outweighs the reward."""
    gaps = {}
    for beta in (0.0, 10.0):
        torch.manual_seed(rng.seed)
        model = Toy().to(device)
        reference = go(model, two_answers(), likes_two, 30, 40, beta=beta, explore_lr=0.02)
        ids = torch.tensor([[4, 3]], device=device)
        gaps[beta] = (model(ids) - reference(ids))[0, -1].softmax(-1)
        chances = [m(ids)[0, -1].softmax(-1)[2].item() for m in (reference, model)]
        gaps[beta] = abs(chances[0] - chances[1])
    assert gaps[0.0] > 2 * gaps[10.0], (
        f"the chance of the rewarded token moved by {gaps[0.0]:.3f} with beta = 0, and by "
        f"{gaps[10.0]:.3f} with beta = 10"
    )


@exercise("train_math")
def test_train_math_reference_cannot_learn(device, rng):
    torch.manual_seed(rng.seed)
    model = Toy(dropout=0.1).to(device)
    reference = go(model, two_answers(), likes_two, 2, 3)
    assert not any(p.requires_grad for p in reference.parameters()), "the reference can learn"
    assert not reference.training, "the reference is in training mode"
    assert all(p.requires_grad for p in model.parameters()), "the model cannot learn any more"
    moved = [not torch.equal(a, b)
             for a, b in zip(model.parameters(), reference.parameters(), strict=True)]  # fmt: skip
    assert all(moved), "after GRPO the reference is what the model is: it is no copy"


@exercise("train_math")
@pytest.mark.parametrize("stage", ["lr", "explore_lr"])
def test_train_math_has_two_rates(stage, device, rng):
    torch.manual_seed(rng.seed)
    model = Toy().to(device)
    start = copy.deepcopy(model)
    reward = lambda problem, tokens: float(tokens[0] > 3)  # noqa: E731
    reference = go(model, two_answers(), reward, 3, 3, **{stage: 0.0})
    first = [torch.equal(a, b)
             for a, b in zip(start.parameters(), reference.parameters(), strict=True)]  # fmt: skip
    second = [torch.equal(a, b)
              for a, b in zip(reference.parameters(), model.parameters(), strict=True)]  # fmt: skip
    assert all(first) == (stage == "lr"), f"with {stage} = 0: does the supervised stage learn?"
    assert all(second) == (stage == "explore_lr"), f"with {stage} = 0: does the second stage learn?"


@exercise("train_math")
@pytest.mark.parametrize("kill", [("sft", 3), ("grpo", 1), ("grpo", 4)], ids=str)
def test_train_math_goes_on_to_the_bit(kill, device, rng, tmp_path):
    found = []
    for folder, killed in ((None, None), (tmp_path, kill), (tmp_path, None)):
        torch.manual_seed(rng.seed)
        model = Toy(dropout=0.2).to(device)

        def report(stage, step, values, killed=killed):
            if (stage, step) == killed:
                raise KeyboardInterrupt

        try:
            go(model, two_answers(), likes_two, 4, 5, folder=folder, every=2, report=report)
            found.append(model.state_dict())
        except KeyboardInterrupt:
            assert killed is not None
            stage, step = killed
            saved = [path.stem for path in CheckpointManager(Path(tmp_path) / stage).paths()]
            wanted = [f"step-{(step - 1) // 2 * 2:08}"] if step > 2 else []
            assert saved[-1:] == wanted, f"every=2, killed at {killed}: there are {saved}"
    assert len(found) == 2, "the run that was to be killed was not: are its steps reported?"
    for name, value in found[0].items():
        assert torch.equal(found[1][name], value), f"killed at {kill}: {name} differs at the end"
    for stage, last in (("sft", 4), ("grpo", 5)):
        there = [path.name for path in CheckpointManager(Path(tmp_path) / stage).paths()]
        assert f"step-{last:08}.pt" in there, f"the folder {stage} holds {there}"


@exercise("train_math")
def test_train_math_refuses(device, rng):
    model = Toy().to(device)
    refused(lambda: go(model, one_problem(), likes_two, 0, 1, tries=10, group=4),
            what="10 tries in groups of 4", names=[10, 4])  # fmt: skip
