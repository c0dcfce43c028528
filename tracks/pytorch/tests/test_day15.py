"""Day 15: weights that are convex, order that does not matter, and entropies without nan."""

import math

import matplotlib
import pytest
import torch

from harness.testing import close, exercise, layouts, shapes, watch
from tracks.pytorch import day15

BAN = ["scaled_dot_product_attention", "multi_head_attention_forward"]


def lookup(queries, keys, values, sharpness):
    """In float64, the largest weight made 1 before the sum. (..., Q, e), (..., Q, K)"""
    q, k, v = queries.double(), keys.double(), values.double()
    exponents = -sharpness * ((q.unsqueeze(-2) - k.unsqueeze(-3)) ** 2).sum(-1)
    powers = (exponents - exponents.amax(-1, keepdim=True)).exp()
    weights = powers / powers.sum(-1, keepdim=True)
    return weights @ v, weights


def convex(weights, name):
    """Not negative, and one in all."""
    assert (weights >= 0).all(), f"{name}: a weight is negative, {weights.min():.3g}"
    ones = torch.ones_like(weights[..., 0])
    close(weights.sum(-1), ones, terms=weights.shape[-1], name=f"{name}: the sum of each row")


# -- soft_lookup -------------------------------------------------------------------------------


@exercise("soft_lookup", ban=BAN)
@shapes("queries, keys, d, e", (1, 1, 1, 1), (3, 5, 4, 2), (5, 2, 1, 3), (1, 9, 3, 1), (0, 4, 2, 2),
        gpu=[(512, 1000, 64, 32)])  # fmt: skip
def test_lookup_values(queries, keys, d, e, device, rng):
    for dtype in (torch.float64, torch.float32):
        q, k = rng.normal(queries, d, dtype=dtype), rng.normal(keys, d, dtype=dtype)
        v = rng.normal(keys, e, dtype=dtype)
        for sharpness in (1.0, 0.3, 4.0):
            result, weights = day15.soft_lookup(q, k, v, sharpness)
            wanted, right = lookup(q, k, v, sharpness)
            # an exponent of about 2·d·sharpness is off by as many roundings
            scale = 4.0 * d * sharpness + 4.0
            name = f"sharpness {sharpness}, {dtype}"
            close(weights, right, dtype=dtype, terms=d + keys, scale=scale, name=f"{name}: weights")
            close(
                result, wanted, dtype=dtype, terms=d + keys, scale=4 * scale, name=f"{name}: result"
            )
            if queries:
                convex(weights, name)


@exercise("soft_lookup", ban=BAN)
def test_lookup_default_sharpness(device, rng):
    q, k, v = rng.normal(3, 2), rng.normal(4, 2), rng.normal(4, 3)
    _, right = lookup(q, k, v, 1.0)
    close(day15.soft_lookup(q, k, v)[1], right, dtype=q.dtype, terms=16, scale=64.0,
          name="the weights without a sharpness, which is then 1")  # fmt: skip


@exercise("soft_lookup", ban=BAN)
def test_lookup_broadcasts_and_takes_any_strides(device, rng):
    q, k, v = rng.normal(2, 1, 3, 4), rng.normal(5, 6, 4), rng.normal(1, 5, 6, 2)
    result, weights = day15.soft_lookup(q, k, v)
    wanted, right = lookup(q, k, v, 1.0)
    assert result.shape == (2, 5, 3, 2), f"leading axes (2, 1), (5,), (1, 5) gave {result.shape}"
    close(weights, right, dtype=q.dtype, terms=16, scale=64.0, name="weights of a batch")
    close(result, wanted, dtype=q.dtype, terms=16, scale=128.0, name="results of a batch")
    q, k, v = rng.normal(3, 4), rng.normal(6, 4), rng.normal(6, 2)
    wanted, _ = lookup(q, k, v, 1.0)
    for (layout, qs), (_, ks), (_, vs) in zip(layouts(q), layouts(k), layouts(v), strict=True):
        close(
            day15.soft_lookup(qs, ks, vs)[0],
            wanted,
            dtype=q.dtype,
            terms=16,
            scale=128.0,
            name=layout,
        )


@exercise("soft_lookup", ban=BAN)
def test_lookup_does_not_know_an_order(device, rng):
    q, k, v = rng.normal(3, 2), rng.normal(7, 2), rng.normal(7, 4)
    result, weights = day15.soft_lookup(q, k, v)
    order, rows = rng.permutation(7), rng.permutation(3)
    again, moved = day15.soft_lookup(q, k[order], v[order])
    close(again, result.double(), dtype=q.dtype, terms=16, scale=16.0,
          name="the result after the pairs of key and value changed their order")  # fmt: skip
    close(moved, weights[:, order].double(), dtype=q.dtype, terms=16, scale=16.0, name="weights")
    close(day15.soft_lookup(q[rows], k, v)[0], result[rows].double(), dtype=q.dtype, terms=16,
          scale=16.0, name="the result after the queries changed their order")  # fmt: skip


@exercise("soft_lookup", ban=BAN)
def test_lookup_from_the_mean_to_the_nearest(device, rng):
    q, v = rng.normal(4, 3), rng.normal(6, 2)
    k = torch.arange(18.0, device=device).reshape(6, 3)
    result, weights = day15.soft_lookup(q, k, v, sharpness=0.0)
    close(weights, torch.full((4, 6), 1 / 6, device=device), terms=6, name="weights, sharpness 0")
    nearest = ((q[:, None] - k) ** 2).sum(-1).argmin(-1)
    result, weights = day15.soft_lookup(q, k, v, sharpness=1e6)
    assert weights.isfinite().all(), "a sharpness of 1e6 gives nan: every power underflows to 0"
    close(result, v[nearest], name="the result with a sharpness of 1e6, the nearest key's value")


@exercise("soft_lookup", ban=BAN)
def test_lookup_gradients(device, rng):
    for at_a_key in (False, True):
        q, k, v = (rng.normal(n, 2, dtype=torch.float64) for n in (3, 4, 4))
        if at_a_key:
            q = k[:3].clone()
        mine = [x.clone().requires_grad_() for x in (q, k, v)]
        twins = [x.clone().requires_grad_() for x in (q, k, v)]
        day15.soft_lookup(*mine, 0.7)[0].square().sum().backward()
        lookup(*twins, 0.7)[0].square().sum().backward()
        where = " where queries equal keys" if at_a_key else ""
        for name, x, y in zip(("queries", "keys", "values"), mine, twins, strict=True):
            close(x.grad, y.grad, terms=64, scale=32.0, name=f"gradient of the {name}{where}")


@exercise("soft_lookup", ban=BAN)
def test_lookup_has_no_loop(device, rng):
    counts = []
    for n in (2, 40):
        _, seen = watch(day15.soft_lookup, rng.normal(n, 3), rng.normal(n, 3), rng.normal(n, 2))
        counts.append(len(seen.operators))
    assert counts[1] <= counts[0], f"{counts[0]} operators for 2 queries, {counts[1]} for 40"


@exercise("soft_lookup")
@pytest.mark.parametrize(
    ("q", "k", "v"), [((3, 2), (4, 5), (4, 1)), ((3, 2), (4, 2), (6, 1)), ((2, 7), (2, 1), (2, 1))]
)
def test_lookup_refuses_shapes_that_do_not_fit(q, k, v, device, rng):
    with pytest.raises(ValueError) as refusal:
        day15.soft_lookup(rng.normal(*q), rng.normal(*k), rng.normal(*v))
        pytest.fail(f"queries {q}, keys {k} and values {v} went through: a ValueError was due")
    wrong = (*q, *k) if q[-1] != k[-1] else (*k, *v)
    assert all(str(n) in str(refusal.value) for n in wrong), f"which shapes? {refusal.value}"


# -- kernel_regression -------------------------------------------------------------------------


@exercise("kernel_regression")
@shapes("n, m", (1, 1), (5, 9), (0, 3), (30, 2), gpu=[(2000, 1000)])
def test_regression_values(n, m, device, rng):
    x, xs, ys = rng.normal(n), rng.normal(m), rng.normal(m)
    for width in (0.5, 2.0):
        powers = (-((x.double()[:, None] - xs.double()) ** 2) / (2 * width**2)).exp()
        wanted = (powers * ys.double()).sum(-1) / powers.sum(-1)
        got = day15.kernel_regression(x, xs, ys, width)
        assert got.shape == (n,), f"{n} points are wanted, the shape is {tuple(got.shape)}"
        close(got, wanted, dtype=x.dtype, terms=m + 8, scale=200.0, name=f"width {width}")


@exercise("kernel_regression")
def test_regression_from_narrow_to_wide(device, rng):
    xs = torch.arange(10.0, device=device)
    ys = rng.normal(10)
    close(
        day15.kernel_regression(xs, xs, ys, 0.01), ys, name="a narrow kernel: the points themselves"
    )
    flat = day15.kernel_regression(xs, xs, ys, 1e5)
    close(flat, ys.double().mean().expand(10), dtype=ys.dtype, terms=64, scale=16.0,
          name="a wide kernel: the mean of all")  # fmt: skip
    far = day15.kernel_regression(torch.tensor([1e4], device=device), xs, ys, 0.1)
    close(far, ys[-1:], name="far to the right of all points: the last one")


@exercise("kernel_regression")
@pytest.mark.parametrize("width", [0.0, -1.0])
def test_regression_refuses_a_width(width, device, rng):
    with pytest.raises(ValueError) as refusal:
        day15.kernel_regression(rng.normal(2), rng.normal(3), rng.normal(3), width)
        pytest.fail(f"a width of {width} went through: a ValueError was due")
    assert f"{width:g}" in str(refusal.value), f"which width? {refusal.value}"


# -- additive_attention ------------------------------------------------------------------------


@exercise("additive_attention", ban=BAN)
@shapes("queries, keys, dq, dk, h, e", (1, 1, 1, 1, 1, 1), (3, 5, 4, 6, 7, 2), (6, 2, 3, 1, 2, 5),
        (0, 3, 2, 2, 2, 2), gpu=[(256, 300, 64, 32, 128, 48)])  # fmt: skip
def test_additive_values(queries, keys, dq, dk, h, e, device, rng):
    for dtype in (torch.float64, torch.float32):
        q, k = rng.normal(queries, dq, dtype=dtype), rng.normal(keys, dk, dtype=dtype)
        v, w = rng.normal(keys, e, dtype=dtype), rng.normal(h, dtype=dtype)
        w_q, w_k = rng.normal(h, dq, dtype=dtype), rng.normal(h, dk, dtype=dtype)
        result, weights = day15.additive_attention(q, k, v, w_q, w_k, w)
        scores = torch.einsum(
            "qkh,h->qk",
            ((q.double() @ w_q.double().T)[:, None] + k.double() @ w_k.double().T).tanh(),
            w.double(),
        )
        right = scores.softmax(-1)
        terms = dq + dk + h + keys
        close(weights, right, dtype=dtype, terms=terms, scale=8.0 * h, name=f"{dtype} weights")
        close(
            result,
            right @ v.double(),
            dtype=dtype,
            terms=terms,
            scale=16.0 * h,
            name=f"{dtype} result",
        )
        if queries:
            convex(weights, "additive attention")


@exercise("additive_attention", ban=BAN)
def test_additive_batches_and_orders(device, rng):
    q, k, v = rng.normal(2, 3, 4), rng.normal(2, 5, 6), rng.normal(2, 5, 1)
    w_q, w_k, w = rng.normal(7, 4), rng.normal(7, 6), rng.normal(7)
    result, _ = day15.additive_attention(q, k, v, w_q, w_k, w)
    for i in range(2):
        one, _ = day15.additive_attention(q[i], k[i], v[i], w_q, w_k, w)
        close(result[i], one.double(), dtype=q.dtype, terms=32, scale=16.0, name=f"sequence {i}")
    order = rng.permutation(5)
    moved, _ = day15.additive_attention(q, k[:, order], v[:, order], w_q, w_k, w)
    close(
        moved, result.double(), dtype=q.dtype, terms=32, scale=16.0, name="pairs in another order"
    )


@exercise("additive_attention", ban=BAN)
def test_additive_gradients(device, rng):
    x = [
        rng.normal(*s, dtype=torch.float64) for s in [(3, 4), (5, 6), (5, 2), (7, 4), (7, 6), (7,)]
    ]
    x = [t.requires_grad_() for t in x]
    assert torch.autograd.gradcheck(lambda *t: day15.additive_attention(*t)[0], x)


@exercise("additive_attention", ban=BAN)
def test_additive_projects_each_side_once(device, rng):
    """Counted by memory: pairs of unprojected vectors would be (Q, K, d), with d much larger."""
    n, d, h = 32, 256, 2
    q, k, v = rng.normal(n, d), rng.normal(n, d), rng.normal(n, 1)
    w = rng.normal(h, d), rng.normal(h, d), rng.normal(h)
    _, seen = watch(day15.additive_attention, q, k, v, *w)
    pairs = n * n * d * 4
    assert seen.peak_bytes < pairs / 4, (
        f"{seen.peak_bytes:,} bytes at the peak: pairs are formed before the projection, which "
        f"makes {n} x {n} x {d} numbers of them"
    )


# -- attention_entropy -------------------------------------------------------------------------


@exercise("attention_entropy")
@shapes("rows, keys", (1, 1), (4, 6), (0, 3), (7, 1), gpu=[(512, 4096)])
def test_entropy_values(rows, keys, device, rng):
    for dtype in (torch.float64, torch.float32):
        weights = (3 * rng.normal(rows, keys, dtype=dtype)).softmax(-1)
        w = weights.double()
        wanted = -torch.special.xlogy(w, w).sum(-1)
        got = day15.attention_entropy(weights)
        close(got, wanted, dtype=dtype, terms=keys + 2, scale=4.0, name=f"{dtype} entropy")


@exercise("attention_entropy")
def test_entropy_bounds(device):
    for keys in (1, 2, 10, 1000):
        even = torch.full((keys,), 1 / keys, device=device, dtype=torch.float64)
        close(day15.attention_entropy(even), even.new_tensor(math.log(keys)), terms=keys,
              scale=8.0, name=f"the entropy of {keys} even weights")  # fmt: skip
    one = torch.eye(5, device=device)
    close(day15.attention_entropy(one), torch.zeros(5, device=device), name="one key has it all")


@exercise("attention_entropy")
def test_entropy_of_zeros_has_a_gradient(device):
    weights = torch.tensor([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]], device=device, dtype=torch.float64)
    weights.requires_grad_()
    day15.attention_entropy(weights).sum().backward()
    assert weights.grad.isfinite().all(), f"weights of 0 make the gradient {weights.grad.tolist()}"
    wanted = torch.tensor([[math.log(2) - 1, math.log(2) - 1, 0], [-1, 0, 0]], dtype=torch.float64)
    close(weights.grad, wanted.to(device), scale=4.0, name="gradient, 0 where a weight is 0")


@exercise("attention_entropy")
def test_entropy_of_a_batch(device, rng):
    weights = rng.normal(2, 3, 4, 5).softmax(-1)
    assert day15.attention_entropy(weights).shape == (2, 3, 4)


# -- plot_attention ----------------------------------------------------------------------------


def drawn(axes):
    (image,) = axes.get_images()
    return image


@exercise("plot_attention")
def test_plot_shows_the_weights(device, rng):
    weights = (2 * rng.normal(3, 4)).softmax(-1).requires_grad_()
    axes = day15.plot_attention(weights, ["a", "b", "c", "d"], queries=["x", "y", "z"])
    image = drawn(axes)
    close(torch.tensor(image.get_array().data), weights.detach().cpu(), name="the image's elements")
    assert image.get_clim() == (0, 1), f"the colours run over {image.get_clim()}, not from 0 to 1"
    little, much = image.to_rgba(torch.tensor([0.0, 1.0]).numpy())[:, :3].sum(-1).tolist()
    assert much < little, "a weight of 1 is drawn brighter than a weight of 0"
    names = [label.get_text() for label in axes.get_xticklabels()]
    assert names == ["a", "b", "c", "d"], f"under the columns stands {names}"
    assert list(axes.get_xticks()) == [0, 1, 2, 3]
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == ["x", "y", "z"], f"beside the rows stands {names}"
    assert list(axes.get_yticks()) == [0, 1, 2]
    bottom, top = axes.get_ylim()
    assert bottom > top, "row 0 is drawn at the bottom"


@exercise("plot_attention")
def test_plot_names_the_queries_like_the_keys(device):
    axes = day15.plot_attention(torch.eye(2, device=device, dtype=torch.bfloat16), ("the", "cat"))
    assert [label.get_text() for label in axes.get_yticklabels()] == ["the", "cat"]


@exercise("plot_attention")
def test_plot_is_written(device, tmp_path):
    before = matplotlib.get_backend()
    for ending, start in [("png", b"\x89PNG"), ("svg", b"<?xml")]:
        path = tmp_path / f"map.{ending}"
        day15.plot_attention(torch.eye(3, device=device), list("abc"), path)
        assert path.exists(), f"{path.name} was not written"
        assert path.read_bytes().startswith(start), f"{path.name} is no {ending}"
    assert matplotlib.get_backend() == before, "the learner's matplotlib backend was changed"
    day15.plot_attention(torch.eye(3, device=device), list("abc"), str(tmp_path / "again.png"))
    assert (tmp_path / "again.png").exists()


@exercise("plot_attention")
@pytest.mark.parametrize(
    ("shape", "tokens", "queries"),
    [((3, 3), 2, None), ((3, 4), 4, None), ((3, 4), 4, 2), ((4,), 4, 4)],
)
def test_plot_refuses_other_counts(shape, tokens, queries, device):
    names = None if queries is None else ["q"] * queries
    with pytest.raises(ValueError) as refusal:
        day15.plot_attention(torch.zeros(shape, device=device), ["t"] * tokens, queries=names)
        pytest.fail(f"weights {shape} with {tokens} tokens went through: a ValueError was due")
    assert str(tokens) in str(refusal.value), f"how many? {refusal.value}"
