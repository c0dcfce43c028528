"""Day 33: convolutions and pools against torch in float64: values, gradients, and gradients of
these; strides, dtypes, refusals; memory and steps, counted."""

import sys

import numpy as np
import pytest
import torch
from torch.nn import functional

from harness.testing import close, exercise, refused, shapes, watch
from tracks.autodiff import day33 as day
from tracks.autodiff.day23 import saved_bytes
from tracks.autodiff.day24 import grad

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")


def leaf(array, requires_grad=True, kind=None):
    return day.Tensor(array, requires_grad=requires_grad, dtype=kind)


def views(array):
    """The same elements in other strides: (what, array)."""
    wide = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)
    wide[..., ::2] = array
    yield "strided", wide[..., ::2]
    yield "transposed", np.asfortranarray(array)
    yield "backward", array[..., ::-1].copy()[..., ::-1]
    yield "read-only", np.broadcast_to(array, (1, *array.shape))[0]


def or_zeros(found, shape):
    if found is None:
        return np.zeros(shape)
    return found.detach().numpy() if isinstance(found, torch.Tensor) else found.data


def agree(mine, theirs, arrays, rng, *, name, terms=64, scale=16.0):
    """Value, gradients, and gradients of a mixture of these, of two functions of arrays."""
    xs = [leaf(a) for a in arrays]
    ts = [torch.tensor(a, requires_grad=True) for a in arrays]
    y, t = mine(*xs), theirs(*ts)
    options = {"terms": terms, "scale": scale}
    close(y.data, t.detach().numpy(), name=f"{name}: the value", **options)
    if not t.requires_grad:  # without images torch has no graph
        return
    # Second derivatives need a gradient that is differentiated itself.
    g = rng.normal(*y.shape)
    gs, gt = leaf(g), torch.tensor(g, requires_grad=True)
    first = grad(y, xs, gs, create_graph=True)
    right = torch.autograd.grad((t * gt).sum(), ts, create_graph=True, allow_unused=True)
    for i, (f, r) in enumerate(zip(first, right, strict=True)):
        close(f.data, or_zeros(r, f.shape), name=f"{name}: gradient of argument {i}", **options)
    if any(r is None for r in right):  # without images
        return
    weights = [rng.normal(*a.shape) for a in arrays]
    mix = sum((f * leaf(w, False)).sum() for f, w in zip(first, weights, strict=True))
    twin = sum((r * torch.tensor(w)).sum() for r, w in zip(right, weights, strict=True))
    second = grad(mix, [*xs, gs], allow_unused=True)
    right = torch.autograd.grad(twin, [*ts, gt], allow_unused=True)
    for i, (f, r, a) in enumerate(zip(second, right, [*arrays, g], strict=True)):
        close(or_zeros(f, a.shape), or_zeros(r, a.shape), terms=4 * terms, scale=4 * scale,
              name=f"{name}: second derivative, argument {i}")  # fmt: skip


def steps(f):
    """How many instructions of Python's own machine run in f(): a loop shows, however written."""
    count = 0

    def trace(frame, event, _):
        nonlocal count
        frame.f_trace_opcodes = True
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        f()
    finally:
        sys.settrace(before)
    return count


def no_loop(make, small, large, what):
    """``make(sizes)`` gives a call without arguments. More images, channels, pixels: same steps."""
    steps(make(small))  # Python 3.12 tells instructions of a function from its second call on
    few = steps(make(small))
    for sizes in large:
        many = steps(make(sizes))
        assert many <= 1.2 * few + 200, (
            f"{what} of {sizes} takes {many} steps of Python, and of {small} {few}: a loop?"
        )


# -- windows -----------------------------------------------------------------------------------


@exercise("window_of")
def test_windows_numbers():
    assert day.window_of("f", 3) == day.Window((3, 3))
    wanted = day.Window((2, 3), (4, 5), ((6, 6), (7, 7)), (8, 9), 10)
    assert day.window_of("f", (2, 3), (4, 5), (6, 7), (8, 9), 10) == wanted
    wanted = day.Window((2, 2), (3, 3), ((4, 4), (4, 4)), (5, 5), 6)
    assert day.window_of("f", 2, 3, 4, 5, 6) == wanted
    assert day.window_of("f", (2, 3), 2, "valid", 3).padding == ((0, 0), (0, 0))


@exercise("window_of")
@pytest.mark.parametrize("kernel", [1, 2, 3, 4, (1, 4), (5, 2)], ids=str)
@pytest.mark.parametrize("dilation", [1, 2, 3, (1, 2)], ids=str)
def test_windows_of_the_same_size(kernel, dilation):
    window = day.window_of("f", kernel, 1, "same", dilation)
    assert window.places((9, 8)) == (9, 8), f"with {window.padding} the size is not the same"
    for before, after in window.padding:
        assert after - before in (0, 1), f"(before, after) is {(before, after)}"


@exercise("window_of")
@pytest.mark.parametrize(
    "options, named",
    [
        ({"kernel": 0}, "0"), ({"kernel": (3, -1)}, "-1"), ({"stride": 0}, "0"),
        ({"stride": (1, -2)}, "-2"), ({"dilation": (0, 1)}, "0"), ({"padding": -1}, "-1"),
        ({"padding": (0, -3)}, "-3"), ({"padding": (-3, 0)}, "-3"), ({"groups": 0}, "0"),
        ({"groups": -4}, "-4"),
        ({"padding": "some"}, "some"), ({"padding": "same", "stride": 2}, "same"),
        ({"padding": "same", "stride": (1, 2)}, "same"),
    ],
    ids=str,
)  # fmt: skip
def test_windows_refused(options, named):
    options = {"kernel": 3, **options}
    refused(day.window_of, "blur", what=str(options), names=["blur", named], **options)


GEOMETRIES = [
    dict(size=(1, 1), kernel=(1, 1)),
    dict(size=(5, 4), kernel=(3, 2)),
    dict(size=(6, 7), kernel=(2, 3), stride=(2, 3)),
    dict(size=(9, 8), kernel=(3, 2), dilation=(2, 3)),
    dict(size=(9, 11), kernel=(2, 3), stride=(3, 1), dilation=(1, 4)),
    dict(size=(4, 9), kernel=(4, 1), stride=(5, 4)),
]


def places_of(size, kernel, stride, dilation):
    """Pixel (row, column) of each [a, b, i, j], by plain counting."""
    rows, across = (
        [[i * s + a * d for i in range((n - d * (k - 1) - 1) // s + 1)] for a in range(k)]
        for n, k, s, d in zip(size, kernel, stride, dilation, strict=True)
    )
    return np.array(rows)[:, None, :, None], np.array(across)[None, :, None, :]


@exercise("windows")
@pytest.mark.parametrize("case", GEOMETRIES, ids=str)
def test_windows(case, rng):
    kernel, size = case["kernel"], case["size"]
    stride, dilation = case.get("stride", (1, 1)), case.get("dilation", (1, 1))
    window = day.Window(kernel, stride, ((5, 7), (1, 2)), dilation, 3)  # padding: not its business
    rows, across = places_of(size, kernel, stride, dilation)
    for n, c in ((2, 3), (1, 1), (0, 2), (2, 0)):
        x = rng.normal(n, c, *size)
        for what, view in (("plain", x), *views(x)):
            found = day.windows(view, window)
            wanted = x[:, :, rows, across]
            assert found.shape == wanted.shape, f"{found.shape}, not {wanted.shape}"
            assert (found == wanted).all(), f"of {what} images: other elements"
            assert found.size == 0 or np.may_share_memory(found, view), f"{what}: a copy"
            assert not found.flags.writeable, "the view can be written: one write changes many"


@exercise("windows")
def test_windows_copy_nothing(rng):
    x, window = rng.normal(4, 8, 40, 40), day.Window((5, 5))
    _, seen = watch(day.windows, x, window, of="numpy")
    assert seen.peak_bytes < x.nbytes, f"{seen.peak_bytes} bytes, where a view takes none"
    no_loop(lambda s: lambda: day.windows(np.zeros(s), window), (1, 1, 6, 6),
            [(9, 9, 6, 6), (1, 1, 40, 50)], "windows")  # fmt: skip


@exercise("fold")
@pytest.mark.parametrize("case", GEOMETRIES, ids=str)
@pytest.mark.parametrize(
    "padding",
    [((0, 0), (0, 0)), ((1, 1), (0, 2)), ((2, -1), (0, -2)), ((2, 0), (1, 0))],
    ids=str,
)
def test_fold(case, padding, rng):
    kernel, padded = case["kernel"], case["size"]
    stride, dilation = case.get("stride", (1, 1)), case.get("dilation", (1, 1))
    size = tuple(max(n - sum(p), 1) for n, p in zip(padded, padding, strict=True))
    window = day.Window(kernel, stride, padding, dilation)
    rows, across = places_of(padded, kernel, stride, dilation)
    for kind, n, c in (("float64", 2, 3), ("float32", 1, 2), ("float64", 0, 2), ("float64", 2, 0)):
        shape = n, c, *np.broadcast_shapes(rows.shape, across.shape)
        columns = rng.normal(*shape).astype(kind)
        before = columns.copy()
        wanted = np.zeros((n, c, padded[0] + 9, padded[1] + 9))
        np.add.at(wanted, (slice(None), slice(None), rows, across), columns)
        (top, _), (left, _) = padding
        wanted = wanted[:, :, top : top + size[0], left : left + size[1]]
        for what, view in (("plain", columns), *views(columns)):
            found = day.fold(view, window, size)
            close(found, wanted, dtype=kind, terms=12, scale=4.0, name=f"of {what} columns")
        assert (columns == before).all(), "the columns were changed"


@exercise("fold")
def test_fold_has_no_loop():
    def make(sizes):
        n, c, rows, across = sizes
        columns = np.zeros((n, c, 2, 3, rows, across))
        return lambda: day.fold(columns, day.Window((2, 3)), (rows + 1, across + 2))

    no_loop(make, (1, 1, 3, 3), [(20, 1, 3, 3), (1, 20, 3, 3), (1, 1, 30, 40)], "fold")


# -- the three Functions -----------------------------------------------------------------------


CONVOLUTIONS = {
    "one number": dict(x=(1, 1, 1, 1), w=(1, 1, 1, 1)),
    "plain": dict(x=(2, 3, 6, 5), w=(4, 3, 3, 3)),
    "1x1": dict(x=(2, 5, 4, 3), w=(2, 5, 1, 1)),
    "an oblong window": dict(x=(2, 2, 5, 7), w=(3, 2, 2, 4)),
    "the whole image": dict(x=(3, 2, 4, 5), w=(3, 2, 4, 5)),
    "stride (3, 2)": dict(x=(1, 2, 11, 10), w=(3, 2, 2, 3), stride=(3, 2)),
    "stride beyond the window": dict(x=(1, 2, 9, 8), w=(2, 2, 2, 1), stride=(4, 3)),
    "padding (1, 2)": dict(x=(1, 2, 5, 4), w=(2, 2, 3, 3), padding=(1, 2)),
    "dilation (1, 3)": dict(x=(1, 2, 6, 9), w=(2, 2, 3, 3), dilation=(1, 3)),
    "2 groups": dict(x=(2, 4, 5, 6), w=(6, 2, 3, 3), groups=2),
    "depthwise": dict(x=(2, 5, 5, 4), w=(5, 1, 3, 3), groups=5, padding=1),
    "depthwise, 2 filters each": dict(x=(2, 3, 6, 5), w=(6, 1, 3, 2), groups=3),
    "same": dict(x=(2, 2, 5, 6), w=(3, 2, 2, 4), padding="same", dilation=(1, 2)),
    "valid": dict(x=(1, 2, 4, 4), w=(1, 2, 3, 3), padding="valid"),
    "all of it": dict(x=(3, 6, 12, 11), w=(9, 2, 3, 2), groups=3, stride=(2, 1), padding=(2, 1),
                      dilation=(2, 3)),
    "long rows": dict(x=(2, 4, 3, 21), w=(6, 2, 2, 3), groups=2, padding=1),
    "fewer filters": dict(x=(2, 4, 6, 5), w=(3, 4, 3, 2), padding=(1, 0)),
    "fewer filters, long rows": dict(x=(2, 4, 5, 18), w=(4, 2, 2, 3), groups=2, dilation=(2, 1)),
    "fewer filters, 2 groups": dict(x=(2, 6, 5, 7), w=(4, 3, 2, 3), groups=2, padding=(0, 1),
                                    dilation=(1, 2)),
    "padding beyond the window": dict(x=(2, 3, 4, 3), w=(2, 3, 2, 2), padding=(1, 2)),
    "one image": dict(x=(2, 5, 4), w=(3, 2, 2, 2), padding=1),
    "no images": dict(x=(0, 4, 5, 5), w=(6, 2, 3, 3), groups=2, padding=1),
}  # fmt: skip


def inputs(rng, case, bias=True):
    case = dict(case)
    x, w = rng.normal(*case.pop("x")), rng.normal(*case.pop("w"))
    return [x, w, rng.normal(len(w))] if bias else [x, w], case


def raw(case, rng):
    """x, w, y, the Window and the size of a case, for the Functions themselves."""
    (x, w), options = inputs(rng, CONVOLUTIONS[case], bias=False)
    window = day.window_of("f", w.shape[2:], **options)
    y = rng.normal(len(x), len(w), *window.places(x.shape[2:]))
    return x, w, y, window, x.shape[2:]


FUNCTIONS = ["plain", "1x1", "stride (3, 2)", "2 groups", "depthwise", "same", "all of it",
             "stride beyond the window", "long rows", "fewer filters", "fewer filters, long rows",
             "fewer filters, 2 groups", "padding beyond the window", "no images"]  # fmt: skip


def torchs(window):
    """The window's convolution in torch, padding by hand: any padding of Window's."""
    (top, below), (left, right) = window.padding

    def convolve(x, w):
        x = functional.pad(x, (left, right, top, below))
        return functional.conv2d(x, w, None, window.stride, 0, window.dilation, window.groups)

    return convolve


def of_torch(of, size, window):
    """The gradient of torch's convolution with respect to ``of``, differentiable."""

    def images(y, w):
        x = torch.zeros(len(y), w.shape[1] * window.groups, *size, dtype=y.dtype)
        x.requires_grad_()
        loss = (torchs(window)(x, w) * y).sum()
        return torch.autograd.grad(loss, x, create_graph=True, materialize_grads=True)[0]

    def filters(x, y):
        w = torch.zeros(y.shape[1], x.shape[1] // window.groups, *window.kernel, dtype=y.dtype)
        w.requires_grad_()
        loss = (torchs(window)(x, w) * y).sum()
        return torch.autograd.grad(loss, w, create_graph=True, materialize_grads=True)[0]

    return images if of == "x" else filters


@exercise("Convolve")
@pytest.mark.parametrize("case", FUNCTIONS)
def test_convolve(case, rng):
    x, w, _, window, _ = raw(case, rng)
    agree(lambda x, w: day.Convolve.apply(x, w, window=window), torchs(window), [x, w], rng,
          name=case, terms=256)  # fmt: skip


@exercise("ToImages")
@pytest.mark.parametrize("case", FUNCTIONS)
def test_to_images(case, rng):
    _, w, y, window, size = raw(case, rng)
    agree(lambda y, w: day.ToImages.apply(y, w, window=window, size=size),
          of_torch("x", size, window), [y, w], rng, name=case, terms=256)  # fmt: skip


@exercise("ToFilters")
@pytest.mark.parametrize("case", FUNCTIONS)
def test_to_filters(case, rng):
    x, _, y, window, size = raw(case, rng)
    agree(lambda x, y: day.ToFilters.apply(x, y, window=window), of_torch("w", size, window),
          [x, y], rng, name=case, terms=256)  # fmt: skip


def calls(x, w, y, window, size):
    """Each Function as f(a, b), and its two arguments."""
    return {
        "Convolve": (lambda a, b: day.Convolve.apply(a, b, window=window), x, w),
        "ToImages": (lambda a, b: day.ToImages.apply(a, b, window=window, size=size), y, w),
        "ToFilters": (lambda a, b: day.ToFilters.apply(a, b, window=window), x, y),
    }


each = pytest.mark.parametrize(
    "name", [pytest.param(n, marks=exercise(n)) for n in ("Convolve", "ToImages", "ToFilters")]
)


@each
def test_functions_of_any_strides_and_dtype(name, rng):
    f, a, b = calls(*raw("all of it", rng))[name]
    wanted = f(leaf(a), leaf(b)).data
    for what, view in views(a):
        close(f(day.Tensor._made(view), leaf(b)).data, wanted, terms=256, scale=16.0,
              name=f"{what} first argument")  # fmt: skip
    for what, view in views(b):
        close(f(leaf(a), day.Tensor._made(view)).data, wanted, terms=256, scale=16.0,
              name=f"{what} second argument")  # fmt: skip
    a, b = a.astype("float32"), b.astype("float32")
    found = f(leaf(a), leaf(b)).data
    wanted = f(leaf(a.astype(float)), leaf(b.astype(float))).data
    close(found, wanted, dtype="float32", terms=256, scale=16.0, name="float32")


@each
@pytest.mark.parametrize("needs", [(1, 0), (0, 1), (1, 1), (0, 0)], ids=str)
def test_functions_keep_what_they_need(name, needs, rng):
    x, w, y, *window = raw("all of it", rng)
    f, a, b = calls(x, w, y, *window)[name]
    xs = [leaf(t, bool(n)) for t, n in zip((a, b), needs, strict=True)]
    columns = 8 * len(x) * x.shape[1] * w[0, 0].size * y[0, 0].size
    y, seen = watch(f, *xs, of="numpy")
    left = seen.live_bytes - y.data.nbytes
    assert left < columns / 2, (
        f"{left} bytes stay beside the arguments and the result; all columns have {columns}"
    )
    kept = saved_bytes(y) if y.requires_grad else 0
    limit = needs[1] * a.nbytes + needs[0] * b.nbytes
    assert kept <= limit, f"the graph keeps {kept} bytes, where {limit} are needed"
    if any(needs):
        ctx = y.node
        shares = day.Convolve.backward if name == "Convolve" else getattr(day, name).backward
        found = shares(ctx, leaf(np.ones(y.shape), False))
        for i, (share, need) in enumerate(zip(found, needs, strict=True)):
            assert (share is not None) == bool(need), (
                f"argument {i}, which needs {'a' if need else 'no'} gradient, got {share}"
            )


@each
@pytest.mark.parametrize(
    "x, w, options",
    [
        ((24, 16, 32, 32), (16, 16, 3, 3), dict(padding=1)),  # columns of 1.2 MB an image
        ((4000, 8, 4, 4), (64, 8, 4, 4), {}),  # 64 results of 1 place: many images a block
        ((48, 1, 64, 64), (64, 1, 1, 1), {}),  # results 64 times as large as the columns
        ((64, 8, 64, 64), (4, 8, 1, 1), dict(stride=8)),  # images 64 times as large as the columns
        ((16, 64, 16, 16), (1, 64, 3, 3), dict(padding=1)),  # columns 9 times as large as the rest
        ((64, 64, 16, 16), (1, 64, 4, 4), dict(stride=(2, 1))),  # the same, and images come apart
        ((200, 8, 32, 32), (1, 8, 3, 3), dict(padding=1)),  # all images padded at once: 15 MB
        ((32, 64, 16, 16), (256, 64, 3, 3), dict(padding=1)),  # the filters of each block: 38 MB
    ],
    ids=["columns", "filters", "results", "images", "one", "stride 2", "padding", "many filters"],
)
def test_memory_of_the_functions(name, x, w, options, rng):
    window = day.window_of("f", w[2:], **options)
    places = window.places(x[2:])
    y = x[0], w[0], *places
    one = 8 * max(int(np.prod(x[1:])), x[1] * int(np.prod((*w[2:], *places))), int(np.prod(y[1:])))
    limit = 4 * max(day.BLOCK, one)
    arrays = [leaf(np.ones(s), False) for s in (x, w, y)]
    f, a, b = calls(*arrays, window, x[2:])[name]
    out, seen = watch(f, a, b, of="numpy")
    beyond = seen.peak_bytes - out.data.nbytes
    assert beyond <= limit, (
        f"{name} of x {x}, w {w}, {options} needs {beyond} bytes beside its result at the peak, "
        f"where {limit} are allowed"
    )


@each
def test_functions_have_no_loop(name):
    def make(sizes):
        n, c, m, size, groups = sizes
        x, w = np.ones((n, c, size, size)), np.ones((m, c // groups, 2, 2))
        window = day.Window((2, 2), groups=groups)
        y = np.ones((n, m, size - 1, size - 1))
        f, a, b = calls(x, w, y, window, (size, size))[name]
        a, b = leaf(a, False), leaf(b, False)
        return lambda: f(a, b)

    large = [
        (12, 2, 2, 4, 1),
        (2, 24, 2, 4, 1),
        (2, 2, 24, 4, 1),
        (2, 2, 2, 24, 1),
        (2, 40, 40, 4, 40),
    ]
    no_loop(make, (2, 2, 2, 4, 1), large, f"{name}: (images, channels, filters, size, groups)")


@each
def test_functions_work_block_by_block(name, rng, monkeypatch):
    f, a, b = calls(*raw("all of it", rng))[name]
    whole = f(leaf(a, False), leaf(b, False)).data
    monkeypatch.setattr(day, "BLOCK", 1)
    close(f(leaf(a, False), leaf(b, False)).data, whole, terms=256, scale=16.0,
          name="one image at a time")  # fmt: skip


# -- convolutions ------------------------------------------------------------------------------


@exercise("conv2d")
@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_conv(case, rng):
    arrays, options = inputs(rng, CONVOLUTIONS[case])
    agree(lambda *a: day.conv2d(*a, **options), lambda *a: functional.conv2d(*a, **options),
          arrays, rng, name=case, terms=256)  # fmt: skip
    x, w, _ = map(leaf, arrays)
    wanted = functional.conv2d(*map(torch.tensor, arrays[:2]), **options).numpy()
    close(day.conv2d(x, w, **options).data, wanted, terms=64, scale=8.0, name=f"{case}, no bias")


def precise(kind, mine, theirs, arrays, name):
    """Value and gradients of arrays of a dtype: as exact as it can be, and of that dtype."""
    arrays = [a.astype(kind) for a in arrays]
    xs = [leaf(a) for a in arrays]
    ts = [torch.tensor(a.astype(float), requires_grad=True) for a in arrays]
    y, t = mine(*xs), theirs(*ts)
    y.sum().backward()
    t.sum().backward()
    scale = 16.0 if kind == "float32" else 64.0
    close(y.data, t.detach().numpy(), dtype=kind, terms=64, scale=scale, name=f"{name}, {kind}")
    for i, (x, twin) in enumerate(zip(xs, ts, strict=True)):
        close(x.grad.data, twin.grad.numpy(), dtype=kind, terms=1024, scale=scale * 4,
              name=f"{name}, {kind}: gradient of argument {i}")  # fmt: skip


@exercise("conv2d")
@pytest.mark.parametrize("kind", ["float32", "float16"])
def test_conv_of_other_floats(kind, rng):
    arrays, options = inputs(rng, CONVOLUTIONS["all of it"])
    precise(kind, lambda *a: day.conv2d(*a, **options),
            lambda *a: functional.conv2d(*a, **options), arrays, "conv2d")  # fmt: skip


@exercise("conv2d")
@pytest.mark.parametrize(
    "x, w, bias, options, named",
    [
        ((1, 3, 5, 5), (4, 2, 3, 3), None, {}, ["3", "2"]),
        ((1, 4, 5, 5), (4, 4, 3, 3), None, {"groups": 2}, ["4", "2"]),
        ((1, 4, 5, 5), (5, 2, 3, 3), None, {"groups": 2}, ["5", "2"]),
        ((1, 1, 2, 5), (1, 1, 3, 3), None, {}, ["3", "2"]),
        ((1, 1, 5, 3), (1, 1, 3, 6), None, {"padding": 1}, ["6", "3"]),
        ((1, 1, 8, 4), (1, 1, 3, 3), None, {"dilation": 2}, ["3", "4"]),
        ((0, 1, 4, 8), (1, 1, 3, 3), None, {"dilation": (2, 1)}, ["3", "4"]),
        ((1, 2, 5, 5), (3, 2, 3), None, {}, ["(3, 2, 3)"]),
        ((1, 2, 5, 5), (3, 2, 3, 3), (2,), {}, ["(2,)", "3"]),
        ((1, 2, 5, 5), (3, 2, 3, 3), (1,), {}, ["(1,)", "3"]),
        ((2, 5), (3, 2, 3, 3), None, {}, ["(2, 5)"]),
        ((1, 1, 2, 5, 5), (3, 2, 3, 3), None, {}, ["(1, 1, 2, 5, 5)"]),
        ((1, 2, 5, 5), (3, 2, 3, 3), None, {"stride": 0}, ["0"]),
        ((1, 2, 5, 5), (3, 2, 3, 3), None, {"stride": 2, "padding": "same"}, ["same"]),
    ],
    ids=str,
)
def test_conv_refuses(x, w, bias, options, named):
    day.conv2d(leaf(np.ones((1, 1, 3, 3))), leaf(np.ones((1, 1, 2, 2))))  # which is not refused
    b = None if bias is None else leaf(np.ones(bias))
    refused(day.conv2d, leaf(np.ones(x)), leaf(np.ones(w)), b, what=f"{x}, {w}, {options}",
            names=["conv2d", *named], **options)  # fmt: skip


@exercise("conv2d")
def test_conv_refuses_other_dtypes():
    x, w = np.ones((1, 1, 3, 3)), np.ones((1, 1, 2, 2))
    day.conv2d(leaf(x), leaf(w))  # which is not refused
    for a, b in ((leaf(x), leaf(w, kind="float32")), (leaf(x, False, "int64"),) * 2):
        with pytest.raises(TypeError, match="conv2d"):
            day.conv2d(a, b)
            pytest.fail(f"{a.dtype} and {b.dtype} were accepted: a TypeError was due")
    for a, b in ((None, leaf(w)), (leaf(x), None), (x, leaf(w))):
        with pytest.raises(TypeError, match="conv2d"):
            day.conv2d(a, b)
            pytest.fail(f"{type(a)} and {type(b)} were accepted: a TypeError was due")


def transposed(x, w, **options):
    return dict(x=x, w=w, **options)


TRANSPOSED = {
    "one number": transposed((1, 1, 1, 1), (1, 1, 1, 1)),
    "plain": transposed((2, 3, 4, 3), (3, 2, 3, 2)),
    "stride": transposed((1, 2, 3, 4), (2, 3, 2, 3), stride=(3, 2)),
    "padding": transposed((1, 2, 4, 5), (2, 2, 3, 4), padding=(1, 2)),
    "output_padding": transposed((2, 2, 3, 3), (2, 1, 2, 3), stride=(2, 3), output_padding=(1, 2)),
    "output_padding below dilation": transposed(
        (1, 2, 3, 4), (2, 2, 2, 3), dilation=(3, 2), output_padding=(2, 1), padding=1
    ),
    "groups": transposed((2, 4, 3, 3), (4, 3, 2, 2), groups=2),
    "depthwise": transposed((1, 3, 3, 4), (3, 1, 2, 3), groups=3, stride=2),
    "all of it": transposed((2, 6, 4, 3), (6, 2, 3, 2), stride=(2, 3), padding=(2, 1),
                            output_padding=(1, 2), groups=3, dilation=(2, 1)),
    "one image": transposed((2, 3, 4), (2, 3, 2, 2)),
    "no images": transposed((0, 2, 3, 3), (2, 3, 2, 2), stride=2),
}  # fmt: skip


@exercise("conv_transpose2d")
@pytest.mark.parametrize("case", TRANSPOSED)
def test_transposed(case, rng):
    options = dict(TRANSPOSED[case])
    x, w = rng.normal(*options.pop("x")), rng.normal(*options.pop("w"))
    arrays = [x, w, rng.normal(w.shape[1] * options.get("groups", 1))]
    agree(lambda *a: day.conv_transpose2d(*a, **options),
          lambda *a: functional.conv_transpose2d(*a, **options), arrays, rng, name=case,
          terms=256)  # fmt: skip
    if case == "all of it":
        for kind in ("float32", "float16"):
            precise(kind, lambda *a: day.conv_transpose2d(*a, **options),
                    lambda *a: functional.conv_transpose2d(*a, **options), arrays,
                    case)  # fmt: skip


@exercise("conv_transpose2d")
def test_order_of_the_arguments(rng):
    x, w, b = rng.normal(1, 2, 3, 3), rng.normal(2, 2, 2, 2), rng.normal(4)
    found = day.conv_transpose2d(leaf(x), leaf(w), leaf(b), 3, 1, 2, 2, 2)
    wanted = functional.conv_transpose2d(*map(torch.tensor, (x, w, b)), 3, 1, 2, 2, 2)
    close(found.data, wanted.numpy(), terms=16, scale=8.0, name="arguments by their place")


@exercise("conv_transpose2d")
@pytest.mark.parametrize(
    "x, w, bias, options, named",
    [
        ((1, 3, 4, 4), (2, 3, 2, 2), None, {}, ["3", "2"]),
        ((1, 3, 4, 4), (3, 2, 2, 2), None, {"groups": 2}, ["3", "2"]),
        ((1, 2, 4, 4), (2, 3, 2), None, {}, ["(2, 3, 2)"]),
        ((1, 2, 4, 4), (2, 3, 2, 2), (2,), {}, ["(2,)", "3"]),
        ((1, 2, 4, 4), (2, 3, 2, 2), (3,), {"groups": 2}, ["(3,)", "6"]),
        ((1, 2, 4, 4), (2, 3, 2, 2), None, {"output_padding": 1}, ["1"]),
        ((1, 2, 4, 4), (2, 3, 2, 2), None, {"output_padding": (2, 0), "stride": 2}, ["2"]),
        ((1, 2, 4, 4), (2, 3, 2, 2), None, {"output_padding": (0, -1)}, ["-1"]),
        ((1, 2, 1, 4), (2, 3, 2, 2), None, {"padding": 2}, ["2"]),
        ((1, 2, 1, 4), (2, 3, 2, 2), None, {"padding": 1}, []),  # a result of no rows
        ((1, 2, 4, 4), (2, 3, 3, 3), None, {"padding": "same"}, ["same"]),
        ((1, 2, 4, 4), (2, 3, 3, 3), None, {"padding": "valid"}, ["valid"]),
        ((2, 4), (2, 3, 2, 2), None, {}, ["(2, 4)"]),
    ],
    ids=str,
)
def test_transposed_refuses(x, w, bias, options, named):
    one = leaf(np.ones((1, 1, 3, 3)))
    day.conv_transpose2d(one, one)  # which is not refused
    b = None if bias is None else leaf(np.ones(bias))
    refused(day.conv_transpose2d, leaf(np.ones(x)), leaf(np.ones(w)), b,
            what=f"{x}, {w}, bias {bias}, {options}", names=["conv_transpose2d", *named],
            **options)  # fmt: skip


# -- pools -------------------------------------------------------------------------------------


POOLS = {
    "one number": dict(x=(1, 1, 1, 1), kernel_size=1),
    "2x2": dict(x=(2, 3, 6, 8), kernel_size=2),
    "odd sizes": dict(x=(2, 3, 7, 5), kernel_size=2),
    "3x3, stride 2, padding 1": dict(x=(2, 3, 9, 8), kernel_size=3, stride=2, padding=1),
    "overlapping": dict(x=(1, 2, 6, 5), kernel_size=3, stride=1),
    "oblong throughout": dict(x=(1, 2, 9, 11), kernel_size=(2, 5), stride=(3, 2), padding=(1, 2)),
    "stride beyond the window": dict(x=(1, 2, 9, 8), kernel_size=2, stride=3),
    "the whole image": dict(x=(2, 3, 4, 5), kernel_size=(4, 5)),
    "padding of half the window": dict(x=(1, 2, 4, 5), kernel_size=2, padding=1),
    "one image": dict(x=(2, 4, 6), kernel_size=2),
    "no images": dict(x=(0, 2, 4, 4), kernel_size=2),
}
DILATED = {
    "dilation": dict(x=(2, 2, 7, 9), kernel_size=(2, 3), stride=1, dilation=(3, 2)),
    "dilation, stride and padding": dict(x=(1, 2, 9, 8), kernel_size=3, stride=(2, 3),
                                         padding=1, dilation=(2, 3)),
}  # fmt: skip


@pytest.mark.parametrize(
    "name, case",
    [
        pytest.param(name, case, marks=exercise(name), id=f"{name}-{case}")
        for name in ("Largest", "max_pool2d")
        for case in [*POOLS, *DILATED]
        if name == "max_pool2d" or case != "one image"
    ],
)
def test_max_pool(name, case, rng):
    options = dict({**POOLS, **DILATED}[case])
    shape = options.pop("x")
    # All elements differ, so that the largest one does not change with the last digit.
    x = rng.permutation(int(np.prod(shape))).reshape(shape).astype(float)

    def largest(x):
        window = day.window_of("f", options["kernel_size"],
                               options.get("stride", options["kernel_size"]),
                               options.get("padding", 0), options.get("dilation", 1))  # fmt: skip
        return day.Largest.apply(x, window=window)

    mine = largest if name == "Largest" else lambda x: day.max_pool2d(x, **options)
    agree(mine, lambda x: functional.max_pool2d(x, **options), [x], rng, name=case)


@exercise("Largest")
@pytest.mark.parametrize("padding", [((2, 0), (0, 1)), ((0, 1), (2, 0))], ids=str)
def test_largest_with_more_padding_on_one_side(padding, rng):
    (top, below), (left, right) = padding
    x = rng.permutation(84).reshape(1, 2, 6, 7).astype(float)

    def theirs(x):
        x = functional.pad(x, (left, right, top, below), value=-np.inf)
        return functional.max_pool2d(x, 3, (2, 1), 0, (1, 2))

    window = day.Window((3, 3), (2, 1), padding, (1, 2))
    agree(lambda x: day.Largest.apply(x, window=window), theirs, [x], rng, name=str(padding))


@exercise("Largest")
@shapes(
    "kernel, stride, padding, dilation",
    (2, 2, 0, 1), (3, 1, 1, 1), ((2, 3), 2, 1, 1), (3, 2, 1, 2), (5, 1, 2, 2),
)  # fmt: skip
def test_equal_elements(kernel, stride, padding, dilation, rng):
    window = day.window_of("f", kernel, stride, padding, dilation)
    for what, x in (
        ("of zeros", np.zeros((1, 2, 7, 8))),
        ("of three numbers", rng.integers(0, 3, 2, 3, 8, 9).astype(float)),
        ("of -inf", np.full((1, 1, 7, 8), -np.inf)),
        ("of inf and -inf", np.where(rng.normal(1, 2, 8, 8) > 0, np.inf, -np.inf)),
        ("after a relu", np.maximum(rng.normal(2, 2, 8, 8), 0)),
    ):
        mine, twin = leaf(x), torch.tensor(x, requires_grad=True)
        y = day.Largest.apply(mine, window=window)
        t = functional.max_pool2d(twin, kernel, stride, padding, dilation)
        close(y.data, t.detach().numpy(), name=f"images {what}")
        g = rng.normal(*y.shape)
        y.backward(leaf(g, False))
        t.backward(torch.tensor(g))
        close(
            mine.grad.data, twin.grad.numpy(), terms=9, scale=4.0, name=f"gradient, images {what}"
        )


@exercise("Largest")
def test_a_nan_shows(rng):
    x = np.full((1, 1, 4, 6), 5.0)
    x[0, 0, 1, 0] = x[0, 0, 0, 3] = x[0, 0, 2, 4] = np.nan
    mine = leaf(x)
    y = day.Largest.apply(mine, window=day.Window((2, 2), (2, 2)))
    found = np.isnan(y.data[0, 0]).tolist()
    assert found == [[True, True, False], [False, False, True]], f"nan where: {found}"
    y.backward(leaf(np.ones(y.shape), False))
    assert (mine.grad.data[np.isnan(x)] == 1).all(), "a nan is the result, and got no gradient"
    assert mine.grad.data.sum() == 6


@exercise("Largest")
def test_largest_of_other_layouts(rng):
    x, window = rng.normal(2, 3, 7, 6), day.Window((3, 2), (2, 2), ((1, 1), (1, 0)))
    wanted = day.Largest.apply(leaf(x), window=window).data
    for what, view in views(x):
        found = day.Largest.apply(day.Tensor._made(view), window=window).data
        close(found, wanted, name=f"of {what} images")
    for kind in ("float32", "float16"):
        found = day.Largest.apply(leaf(x, kind=kind), window=window).data
        close(found, wanted.astype(kind), name=kind)
    large = day.Largest.apply(leaf(rng.normal(1, 1, 20, 20)), window=day.Window((17, 17)))
    assert large.shape == (1, 1, 4, 4)
    x = rng.permutation(400).reshape(1, 1, 20, 20).astype(float)  # 289 places: more than a byte
    mine, twin = leaf(x), torch.tensor(x, requires_grad=True)
    day.Largest.apply(mine, window=day.Window((17, 17))).sum().backward()
    functional.max_pool2d(twin, 17, 1).sum().backward()
    close(mine.grad.data, twin.grad.numpy(), name="gradient of a window of 17 × 17")


@exercise("Largest")
def test_what_largest_keeps(rng):
    y = day.Largest.apply(leaf(rng.normal(4, 4, 16, 16)), window=day.Window((2, 2), (2, 2)))
    kept = saved_bytes(y)
    assert kept <= 8 * y.data.size, f"the graph keeps {kept} bytes for {y.data.size} results"

    def make(sizes):
        x = leaf(np.zeros(sizes), False)
        return lambda: day.Largest.apply(x, window=day.Window((2, 2)))

    no_loop(make, (1, 1, 4, 4), [(20, 1, 4, 4), (1, 20, 4, 4), (1, 1, 30, 30)], "Largest")


@exercise("avg_pool2d")
@pytest.mark.parametrize("case", POOLS)
@pytest.mark.parametrize("inside", [False, True], ids=["in the image", "with padding"])
def test_avg_pool(case, inside, rng):
    options = dict(POOLS[case], count_include_pad=inside)
    x = rng.normal(*options.pop("x"))
    x = np.where(x > 0.5, 0.0, x)  # an element that is 0 counts as any other
    agree(lambda x: day.avg_pool2d(x, **options), lambda x: functional.avg_pool2d(x, **options),
          [x], rng, name=case)  # fmt: skip
    found = day.avg_pool2d(leaf(x), *[v for k, v in options.items() if k == "kernel_size"])
    wanted = functional.avg_pool2d(torch.tensor(x), options["kernel_size"]).numpy()
    close(found.data, wanted, terms=16, scale=4.0, name="defaults")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=exercise(n)) for n in ("max_pool2d", "avg_pool2d")]
)
def test_pools_of_other_floats(name, rng):
    options = dict(kernel_size=(2, 3), stride=2, padding=1)
    x = rng.permutation(200).reshape(1, 2, 10, 10) / 16.0
    for kind in ("float32", "float16"):
        precise(kind, lambda x: getattr(day, name)(x, **options),
                lambda x: getattr(functional, name)(x, **options), [x], name)  # fmt: skip
    with pytest.raises(TypeError, match=name):
        getattr(day, name)(leaf(np.ones((1, 4, 4)), False, "int64"), 2)
        pytest.fail("int64 was accepted: a TypeError was due")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=exercise(n)) for n in ("max_pool2d", "avg_pool2d")]
)
@pytest.mark.parametrize(
    "shape, options, named",
    [
        ((1, 1, 5, 5), dict(kernel_size=2, padding=2), ["2"]),
        ((1, 1, 5, 5), dict(kernel_size=(4, 3), padding=(1, 2)), ["2", "3"]),
        ((1, 1, 2, 5), dict(kernel_size=3), ["3", "2"]),
        ((1, 1, 5, 5), dict(kernel_size=0), ["0"]),
        ((1, 1, 5, 5), dict(kernel_size=2, stride=(1, 0)), ["0"]),
        ((1, 1, 5, 5), dict(kernel_size=3, padding="same"), ["same"]),
        ((5, 5), dict(kernel_size=3), ["(5, 5)"]),
    ],
    ids=str,
)  # fmt: skip
def test_pools_refuse(name, shape, options, named):
    getattr(day, name)(leaf(np.ones((1, 5, 5))), 3)  # which is not refused
    refused(getattr(day, name), leaf(np.ones(shape)), what=f"{name} of {shape}, {options}",
            names=[name, *named], **options)  # fmt: skip


@exercise("max_pool2d")
@pytest.mark.parametrize(
    "n, fits", [(1, False), (3, False), (4, True), (9, True)]
)  # a kernel that reads pixels -1 and 3 first
def test_a_window_without_a_pixel_is_refused(n, fits):
    x, options = leaf(np.ones((1, 1, n, 4))), dict(stride=1, padding=1, dilation=4)
    if fits:
        assert day.max_pool2d(x, 2, **options).data.min() == 1.0
        return
    refused(day.max_pool2d, x, 2, what=f"a height of {n}, kernel 2, {options}",
            names=["max_pool2d", n], **options)  # fmt: skip


@exercise("adaptive_avg_pool2d")
@pytest.mark.parametrize(
    "shape", [(2, 3, 6, 8), (1, 2, 7, 5), (2, 1, 1), (3, 5, 9), (0, 2, 4, 4)], ids=str
)
@pytest.mark.parametrize("size", [1, 3, (2, 5), (5, 4), (9, 12), (None, 2), (3, None)], ids=str)
def test_adaptive(shape, size, rng):
    x = rng.normal(*shape)
    agree(lambda x: day.adaptive_avg_pool2d(x, size),
          lambda x: functional.adaptive_avg_pool2d(x, size), [x], rng,
          name=f"{shape} to {size}")  # fmt: skip


@exercise("adaptive_avg_pool2d")
def test_adaptive_to_nothing(rng):
    for size in ((0, 2), (3, 0), 0):
        found = day.adaptive_avg_pool2d(leaf(rng.normal(2, 3, 4, 5)), size).shape
        wanted = functional.adaptive_avg_pool2d(torch.zeros(2, 3, 4, 5), size).shape
        assert found == tuple(wanted), f"to {size}: {found}, not {tuple(wanted)}"


@exercise("adaptive_avg_pool2d")
def test_memory_of_adaptive():
    for shape, size in (((1, 1, 1, 512), (1, 511)), ((1, 1, 512, 1), (512, 1))):
        x = leaf(np.ones(shape), False)
        y, seen = watch(day.adaptive_avg_pool2d, x, size, of="numpy")
        limit = 32 * (x.data.nbytes + y.data.nbytes)
        assert seen.peak_bytes <= limit, (
            f"{shape} to {size} needs {seen.peak_bytes} bytes at the peak, where {limit} are "
            "allowed: a whole row for every region?"
        )


@exercise("adaptive_avg_pool2d")
def test_adaptive_regions_are_apart(rng):
    x = rng.normal(1, 1, 6, 7).copy()
    x[0, 0, 1, 2], x[0, 0, 5, 6] = np.inf, np.nan
    found = day.adaptive_avg_pool2d(leaf(x), (3, 4)).data
    wanted = functional.adaptive_avg_pool2d(torch.tensor(x), (3, 4)).numpy()
    assert (np.isfinite(found) == np.isfinite(wanted)).all(), (
        f"an inf and a nan in the image: finite are {np.isfinite(found).tolist()}"
    )
    x = rng.permutation(64).reshape(1, 8, 8) / 16.0
    for kind in ("float32", "float16"):
        precise(kind, lambda x: day.adaptive_avg_pool2d(x, (3, 5)),
                lambda x: functional.adaptive_avg_pool2d(x, (3, 5)), [x], "adaptive")  # fmt: skip


@exercise("adaptive_avg_pool2d")
@pytest.mark.parametrize(
    "shape, size, named",
    [((1, 2, 4, 4), -1, ["-1"]), ((1, 2, 4, 4), (2, -3), ["-3"]), ((1, 2, 0, 4), 2, ["0"]),
     ((1, 2, 4, 0), (None, 1), ["0"]), ((4, 4), 1, ["(4, 4)"])],
    ids=str,
)  # fmt: skip
def test_adaptive_refuses(shape, size, named):
    day.adaptive_avg_pool2d(leaf(np.ones((1, 5, 5))), 3)  # which is not refused
    refused(day.adaptive_avg_pool2d, leaf(np.ones(shape)), size, what=f"{shape} to {size}",
            names=["adaptive_avg_pool2d", *named])  # fmt: skip
