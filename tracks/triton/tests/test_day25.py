import math

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from harness.testing import (
    close,
    compiled,
    exercise,
    far_apart,
    layouts,
    philox_uniform,
    refused,
    shapes,
    watch,
    why_narrow,
)
from tracks.triton import day24, day25

F32, F16, BF16 = torch.float32, torch.float16, torch.bfloat16
DTYPES = {"float32": F32, "float16": F16, "bfloat16": BF16}
HALVES = pytest.mark.parametrize("dtype", [F16, BF16], ids=str)
SIZES = [(0, 5, "float32"), (3, 0, "float16"), (1, 1, "float32"), (5, 3, "bfloat16")]
SIZES += [(2, 8, "float32"), (2, 2049, "float16"), (3, 683, "bfloat16")]
LARGE = [(4096, 8193, "bfloat16"), (70_001, 129, "float32"), (3, 1_000_003, "float16")]
# Each with bits where another one has none; the last ones do not fit into an int32 or an int64.
SEEDS = [0, 1, 2**31, 2**32, 2**32 + 7, 2**64 - 1]
COPIES = ["clone", "unsafe_view"]  # what reshape does where axes cannot be viewed as one
nan, inf = float("nan"), float("inf")


def kept(shape, p, seed, device):
    """The mask: True where an element is kept."""
    u = philox_uniform(math.prod(shape), seed, device)
    return (u >= torch.tensor(p, dtype=F32, device=device)).view(shape)


def random_seed(rng):
    return int(rng.integers(0, 2**62, 1).item()) * 2 + 1


def factors(shape, p, seed, device):
    """In float64, what each element is multiplied by."""
    scale = 0.0 if p == 1 else 1 / (1 - p)
    return torch.where(kept(shape, p, seed, device), scale, 0.0).double()


def masked(x, factor):
    """factor * x, where 0 * nan is 0."""
    return torch.where(factor == 0, 0.0, factor * x.double())


def check_memory(seen, out, what):
    size = out.numel() * out.element_size()
    assert seen.peak_bytes <= size + 1024, (
        f"{what} takes {size} bytes, but {seen.peak_bytes} were allocated: is an input copied, "
        "or are random numbers or a mask stored?"
    )


def check_run(seen, out):
    """One launch, and no memory beyond the result."""
    count = len(seen.launches)
    assert count == 1 or (not count and not out.numel()), f"expected 1 kernel launch, saw {count}"
    check_memory(seen, out, "the result")
    assert out.is_contiguous(), f"the result has the strides {out.stride()}, not contiguous ones"


# dropout_backward ---------------------------------------------------------------------------


def check_backward(dy, p, seed, values=None, name="dx", **options):
    """``values``: what dy holds, where the memory around it is too large to be converted."""
    dx, seen = watch(day25.dropout_backward, dy, p, seed)
    factor = factors(dy.shape, p, seed, dy.device)
    expected = masked(dy if values is None else values, factor)
    close(dx, expected, dtype=dy.dtype, name=name, **options)
    check_run(seen, dx)


@exercise("dropout_backward")
@shapes("rows, columns, dtype", *SIZES, gpu=LARGE)
def test_backward_matches_float64(rows, columns, dtype, rng):
    check_backward(rng.normal(rows, columns, dtype=DTYPES[dtype]), 0.3, random_seed(rng))


@exercise("dropout_backward")
@pytest.mark.parametrize("p", [0.0, 0, 0.1, 0.9, 1.0, 1])
def test_backward_with_any_p(p, rng):
    check_backward(rng.normal(3, 100), p, random_seed(rng))


@exercise("dropout_backward")
@pytest.mark.parametrize("seed", SEEDS)
def test_backward_uses_all_bits_of_the_seed(seed, rng):
    check_backward(rng.normal(3, 33), 0.5, seed)


@exercise("dropout_backward")
@pytest.mark.parametrize("p", [0.2, 0.7])
def test_backward_is_the_derivative_of_forward(p, rng):
    # y is linear in x: it is dx of ones, times x.
    x, seed = rng.normal(4, 250), random_seed(rng)
    y = day24.dropout(x, p, seed)
    dx = day25.dropout_backward(torch.ones_like(x), p, seed)
    close(y, dx.double() * x.double(), dtype=F32, name="dropout(x), as the gradient tells it,")


@exercise("dropout_backward")
@HALVES
def test_backward_rounds_once(dtype, rng):
    check_backward(rng.normal(3, 700, dtype=dtype), 0.1, random_seed(rng), factor=0.55)


@exercise("dropout_backward")
def test_backward_of_nan_and_infinities(rng):
    dy = rng.normal(30, 40).clone()
    dy[::3], dy[1::3] = nan, inf
    check_backward(dy, 0.4, random_seed(rng))


@exercise("dropout_backward")
def test_backward_reads_any_strides(rng):
    dy, seed = rng.normal(3, 90), random_seed(rng)
    views = [(f"a {name} dy", view) for name, view in layouts(dy)]
    for view in (dy[:1], dy[:, :1], dy[:1, :1]):
        expanded = view.expand(3, 90)
        views.append((f"a dy of strides {expanded.stride()}", expanded))
    for name, view in views:
        check_backward(view, 0.4, seed, name=f"dx with {name}")


@exercise("dropout_backward")
def test_backward_reads_beyond_int32(rng):
    dy, seed = rng.normal(3, 5, dtype=F16), random_seed(rng)
    for name, view in far_apart(dy):
        check_backward(view, 0.4, seed, values=dy, name=f"dx with a {name} dy")


@exercise("dropout_backward")
def test_backward_refuses_what_is_no_probability(rng):
    for p in (-0.1, 1.5, nan):
        refused(day25.dropout_backward, rng.normal(2, 3), p, 0, what=f"p = {p}")


# Dropout ------------------------------------------------------------------------------------


def leaf(tensor):
    return tensor.detach().requires_grad_()


def check_function(x, dy, p, seed, name=""):
    """Output and gradient, against the factors in float64."""
    x = leaf(x)
    y = day25.Dropout.apply(x, p, seed)
    shape = (x.shape[:-1].numel(), x.shape[-1])
    factor = factors(shape, p, seed, x.device).view(x.shape)
    close(y.detach(), masked(x.detach(), factor), dtype=x.dtype, name="output" + name)
    y.backward(dy)
    close(x.grad, masked(dy, factor), dtype=x.dtype, name="gradient" + name)


@exercise("Dropout", allow=COPIES)
@pytest.mark.parametrize("shape", [(4, 6, 40), (5, 3), (7,), (2, 1, 3, 33), (0, 4, 8), (2, 0)])
def test_function_of_any_shape(shape, rng):
    check_function(rng.normal(*shape), rng.normal(*shape), 0.4, random_seed(rng))


@exercise("Dropout", allow=COPIES)
@HALVES
def test_function_of_16_bits(dtype, rng):
    x, dy = (rng.normal(3, 5, 50, dtype=dtype) for _ in range(2))
    check_function(x, dy, 0.1, random_seed(rng))


@exercise("Dropout", allow=COPIES)
@pytest.mark.parametrize("p", [0.0, 0.2, 0.7, 1.0])
def test_function_with_any_p(p, rng):
    check_function(rng.normal(3, 100), rng.normal(3, 100), p, random_seed(rng))


@exercise("Dropout", allow=COPIES)
@pytest.mark.parametrize("seed", SEEDS)
def test_function_uses_all_bits_of_the_seed(seed, rng):
    check_function(rng.normal(3, 33), rng.normal(3, 33), 0.5, seed)


@exercise("Dropout", allow=COPIES)
def test_function_of_views(rng):
    x, dy, seed = rng.normal(3, 4, 20), rng.normal(3, 4, 20), random_seed(rng)
    check_function(x.transpose(0, 1), dy.transpose(0, 1), 0.4, seed, " of transposed axes")
    for view in (dy[:1, :1, :1], dy[:, :, :1], dy[:1]):
        name = f" with a dy of strides {view.expand(3, 4, 20).stride()}"
        check_function(x, view.expand(3, 4, 20), 0.4, seed, name)


@exercise("Dropout", allow=COPIES)
def test_function_keeps_nothing(rng):
    x, dy, seed = leaf(rng.normal(64, 256, dtype=BF16)), rng.normal(64, 256, dtype=BF16), 5
    y, seen = watch(day25.Dropout.apply, x, 0.5, seed)
    size = y.numel() * y.element_size()
    assert seen.live_bytes <= size + 1024, (
        f"after the forward pass {seen.live_bytes} bytes are kept, of which the output is {size}: "
        "the backward pass needs p and the seed only"
    )
    assert len(seen.launches) == 1, f"expected 1 launch forward, saw {len(seen.launches)}"
    check_memory(seen, y, "the output")
    saved = y.grad_fn.saved_tensors
    assert not saved, f"{len(saved)} tensor(s) are saved for the backward pass: none is needed"
    _, seen = watch(y.backward, dy)
    assert len(seen.launches) == 1, f"expected 1 launch backward, saw {len(seen.launches)}"
    check_memory(seen, x.grad, "the gradient")


@exercise("Dropout")  # no copies here: a matrix is one already, whatever its strides
def test_function_reads_a_matrix_where_it_lies(rng):
    x, dy, seed = rng.normal(3, 40), rng.normal(3, 40), random_seed(rng)
    for (name, view), (_, dy_view) in zip(layouts(x), layouts(dy), strict=True):
        check_function(view, dy_view, 0.4, seed, f" for a {name} matrix")


@exercise("Dropout", allow=COPIES)
def test_function_can_be_differentiated_again(rng):
    x, dy, seed = leaf(rng.normal(3, 40)), leaf(rng.normal(3, 40)), random_seed(rng)
    factor = factors((3, 40), 0.4, seed, x.device)
    y = day25.Dropout.apply(x, 0.4, seed)
    (dx,) = torch.autograd.grad(y, x, dy, create_graph=True)
    assert dx.requires_grad, (
        "the gradient has no graph: autograd does not know that it was computed from dy"
    )
    ones = torch.ones_like(dx)
    (ddy,) = torch.autograd.grad(dx, dy, ones, create_graph=True)
    close(ddy.detach(), factor, dtype=F32, name="derivative of the gradient by dy")


@exercise("Dropout", allow=COPIES)
def test_function_where_no_gradient_is_needed(rng):
    x, seed = rng.normal(3, 20), random_seed(rng)
    y = day25.Dropout.apply(x, 0.4, seed)
    assert not y.requires_grad, "x needs no gradient, but the output requires one"
    close(y, masked(x, factors((3, 20), 0.4, seed, x.device)), dtype=F32)


@exercise("Dropout", allow=COPIES)
def test_function_two_at_a_time(rng):
    # Each has its own seed: what one keeps must not be what the other one finds.
    x, dy = leaf(rng.normal(3, 50)), rng.normal(3, 50)
    seeds = random_seed(rng), random_seed(rng)
    inner = day25.Dropout.apply(x, 0.3, seeds[0])
    day25.Dropout.apply(inner, 0.6, seeds[1]).backward(dy)
    one = factors((3, 50), 0.3, seeds[0], x.device)
    both = one * factors((3, 50), 0.6, seeds[1], x.device)
    close(x.grad, masked(dy, both), dtype=F32, name="gradient through two dropouts")


def drawn(x):
    """Dropout with a seed from torch's generator, as a module would draw it."""
    return day25.Dropout.apply(x, 0.5, int(torch.randint(2**63 - 1, ()).item()))


@exercise("Dropout", allow=COPIES)
def test_function_under_activation_checkpointing(rng):
    x, dy = rng.normal(3, 200), rng.normal(3, 200)
    results = []
    for run in (drawn, lambda x: checkpoint(drawn, x, use_reentrant=False)):
        torch.manual_seed(rng.seed % 2**31)
        mine = leaf(x)
        y = run(mine)
        torch.randint(9, ())  # others draw as well, before the backward pass
        y.backward(dy)
        results.append((y.detach(), mine.grad))
    (y, grad), (again, regrad) = results
    assert torch.equal(y, again), "under a checkpoint the output differs"
    assert torch.equal(grad, regrad), "recomputed under a checkpoint, the mask is another one"


@exercise("Dropout", gpu=True, seconds=60, allow=COPIES)
@shapes("rows", gpu=[64])
def test_function_under_torch_compile(rows, rng):
    x, dy, seed = rng.normal(rows, 200), rng.normal(rows, 200), random_seed(rng)

    def run(x):
        return day25.Dropout.apply(x, 0.4, seed)

    for f in (run, torch.compile(run, backend="aot_eager")):
        mine = leaf(x)
        y = f(mine)
        y.backward(dy)
        factor = factors((rows, 200), 0.4, seed, x.device)
        close(y.detach(), masked(x, factor), dtype=F32, name="output")
        close(mine.grad, masked(dy, factor), dtype=F32, name="gradient")


@exercise("Dropout", allow=COPIES)
def test_function_refuses_what_is_no_probability(rng):
    for p in (-0.1, 1.5, nan):
        try:
            day25.Dropout.apply(leaf(rng.normal(2, 3)), p, 0)
        except ValueError:
            continue
        pytest.fail(f"Dropout.apply accepted p = {p} without raising a ValueError")


# matrix_dropout -----------------------------------------------------------------------------


def check_matrix(x, p, seeds, values=None, name="result", **options):
    out, seen = watch(day25.matrix_dropout, x, p, seeds)
    rows, columns = x.shape
    factor = torch.zeros(rows, columns, dtype=torch.float64, device=x.device)
    for i, seed in enumerate(seeds.tolist()):
        factor[i] = factors((columns,), p, seed, x.device)
    x64 = (x if values is None else values).double()
    block = min(max(1 << max(columns - 1, 0).bit_length(), 8), day25.BLOCK)
    close(out, masked(x64, factor), dtype=x.dtype, tile=(1, block), name=name, **options)
    check_run(seen, out)
    if out.numel():
        grid = (rows, math.ceil(columns / block))
        assert tuple(seen.launches[0].grid[:2]) == grid, (
            f"{rows} rows of {columns} columns are {grid} blocks of {block}, but the grid is "
            f"{seen.launches[0].grid}"
        )
    assert not seen.synchronisations, (
        f"the host reads what lies on the device ({seen.synchronisations[0]}): a GPU would be "
        "waited for"
    )


def random_seeds(rng, rows):
    return rng.integers(-(2**63), 2**63 - 1, rows)


@exercise("matrix_dropout")
@shapes("rows, columns, dtype", *SIZES, gpu=[(130, 8193, "bfloat16"), (3, 1_000_003, "float16")])
def test_matrix_matches_float64(rows, columns, dtype, rng):
    x = rng.normal(rows, columns, dtype=DTYPES[dtype])
    check_matrix(x, 0.3, random_seeds(rng, rows))


@exercise("matrix_dropout")
@pytest.mark.parametrize("p", [0.0, 0, 0.1, 0.9, 1.0, 1])
def test_matrix_with_any_p(p, rng):
    check_matrix(rng.normal(3, 100), p, random_seeds(rng, 3))


@exercise("matrix_dropout")
def test_matrix_uses_all_bits_of_the_seeds(rng, device):
    seeds = [0, 1, 2**31, 2**32, 2**32 + 7, 2**63 - 1, -1, -(2**63)]
    check_matrix(rng.normal(8, 33), 0.5, torch.tensor(seeds, device=device))


@exercise("matrix_dropout")
def test_matrix_of_equal_seeds(rng):
    one = random_seeds(rng, 1)
    check_matrix(rng.normal(4, 50), 0.5, one.expand(4), name="with one seed for all rows")
    check_matrix(rng.normal(4, 50), 0.5, one.repeat(4), name="with four equal seeds")


@exercise("matrix_dropout")
def test_matrix_of_rows_in_another_order(rng):
    x, seeds = rng.normal(5, 60), random_seeds(rng, 5)
    order = rng.permutation(5)
    out = day25.matrix_dropout(x, 0.5, seeds)
    moved = day25.matrix_dropout(x[order], 0.5, seeds[order])
    assert torch.equal(moved, out[order]), (
        "with its seed in another place, a row was dropped otherwise: does the mask depend on the "
        "row's number?"
    )


@exercise("matrix_dropout")
@pytest.mark.parametrize("block", [8, 64])
def test_matrix_whatever_the_block_size(block, rng, monkeypatch):
    monkeypatch.setattr(day25, "BLOCK", block)
    check_matrix(rng.normal(2, 75), 0.4, random_seeds(rng, 2))


@exercise("matrix_dropout")
@HALVES
def test_matrix_rounds_once(dtype, rng):
    check_matrix(rng.normal(2, 900, dtype=dtype), 0.1, random_seeds(rng, 2), factor=0.55)


@exercise("matrix_dropout")
def test_matrix_of_nan_and_infinities(rng):
    x = rng.normal(6, 40).clone()
    x[::3], x[1::3] = nan, inf
    check_matrix(x, 0.4, random_seeds(rng, 6))


@exercise("matrix_dropout")
def test_matrix_where_p_is_one_of_the_numbers(rng):
    seeds = random_seeds(rng, 2)
    u = philox_uniform(40, seeds[1].item(), rng.device)
    for i in (0, 3, 17, 38):
        check_matrix(rng.normal(2, 40), u[i].item(), seeds)  # number i is kept


@exercise("matrix_dropout")
def test_matrix_reads_any_strides(rng):
    x, seeds = rng.normal(3, 90), random_seeds(rng, 3)
    for name, view in layouts(x):
        check_matrix(view, 0.4, seeds, name=f"with a {name} input")
    for name, view in layouts(seeds):
        check_matrix(x, 0.4, view, name=f"with {name} seeds")


@exercise("matrix_dropout")
def test_matrix_reads_beyond_int32(rng):
    x, seeds = rng.normal(3, 5, dtype=F16), random_seeds(rng, 3)
    for name, view in far_apart(x):
        check_matrix(view, 0.4, seeds, values=x, name=f"with a {name} input")


@exercise("matrix_dropout")
def test_matrix_refuses_what_it_cannot_do(rng, device):
    x = rng.normal(3, 4)
    for p in (-0.1, 1.5, nan):
        refused(day25.matrix_dropout, x, p, random_seeds(rng, 3), what=f"p = {p}")
    for shape in ((2,), (4,), (3, 1), (1,), ()):
        seeds = torch.zeros(shape, dtype=torch.int64, device=device)
        refused(day25.matrix_dropout, x, 0.5, seeds, what=f"seeds of shape {shape} for 3 rows")


@exercise("matrix_dropout")
def test_matrix_loads_and_stores_are_wide(rng):
    x, seeds = rng.normal(2, 2048, dtype=BF16), random_seeds(rng, 2)
    reports = compiled(day25.matrix_dropout, x, 0.1, seeds)
    assert len(reports) == 1, f"expected 1 kernel, saw {[r.kernel for r in reports]}"
    (report,) = reports
    assert report.refused is None, f"the compiler refuses this kernel: {report.refused.text()}"
    assert report.spill_bytes == 0, f"the kernel spills {report.spill_bytes} bytes a thread"
    assert set(report.loads) <= {64, 128} and set(report.stores) == {128}, (
        f"the kernel's loads are {sorted(report.loads)} bits wide (a seed has 64) and its stores "
        f"{sorted(report.stores)}: {why_narrow(report)}"
    )
