"""Day 12: convolutions, pooling and batch norm against torch in float64, and a LeNet that reads."""

import copy
import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from harness.testing import close, exercise, layouts, shapes, watch
from tracks.pytorch import day12

BAN = ["conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d",
       "conv_tbc", "convolution", "convolution_overrideable", "mkldnn_convolution",
       "conv_depthwise2d", "slow_conv2d_forward", "thnn_conv2d", "max_pool1d", "max_pool2d",
       "max_pool3d", "max_pool2d_with_indices", "max_pool3d_with_indices", "adaptive_max_pool2d",
       "fractional_max_pool2d", "avg_pool2d", "batch_norm", "native_batch_norm", "instance_norm",
       "layer_norm", "native_layer_norm", "group_norm", "native_group_norm"]  # fmt: skip
DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


def fill(module, rng):
    """New values for every parameter and running statistic of ``module``."""
    with torch.no_grad():
        for name, t in module.state_dict().items():
            if name.endswith("running_var"):
                t.copy_(rng.uniform(*t.shape, low=0.5, high=2.0))
            elif t.is_floating_point():
                t.copy_(rng.normal(*t.shape, std=max(t[0].numel(), 4) ** -0.5) + (t.dim() == 1))
            else:
                t.fill_(3)  # batches that were seen before
    return module


def gradients(f, *inputs):
    """Of the sum of squares of f, so that no two elements get the same."""
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    f(*leaves).square().sum().backward()
    return [x.grad for x in leaves]


def same_parts(mine, theirs):
    """The state_dicts have the same names, in the same order, with the same shapes."""
    found = [(name, tuple(t.shape)) for name, t in mine.state_dict().items()]
    wanted = [(name, tuple(t.shape)) for name, t in theirs.state_dict().items()]
    missing = [part for part in wanted if part not in found]
    extra = [part for part in found if part not in wanted]
    wrong = [f"lacks {missing}"] * bool(missing) + [f"has {extra} too many"] * bool(extra)
    assert not wrong, f"the state_dict {' and '.join(wrong)}"
    assert found == wanted, f"the state_dict is in the order {[name for name, _ in found]}"


# Compiled parts that use conv2d run with the backend "eager": "aot_eager" fails for right answers
# that reshape what advanced indices give (torch traces a view, and the strides turn out others).


# conv2d --------------------------------------------------------------------------------------


CONVOLUTIONS = {
    "one number": dict(x=(1, 1, 1, 1), w=(1, 1, 1, 1)),
    "plain": dict(x=(2, 3, 7, 6), w=(4, 3, 3, 3)),
    "1x1": dict(x=(2, 5, 4, 3), w=(2, 5, 1, 1)),
    "an oblong window": dict(x=(2, 2, 6, 9), w=(3, 2, 2, 4)),
    "the whole image": dict(x=(3, 2, 4, 5), w=(3, 2, 4, 5)),
    "stride 2": dict(x=(2, 3, 8, 7), w=(4, 3, 3, 3), stride=2),
    "stride (3, 2)": dict(x=(1, 2, 11, 10), w=(3, 2, 2, 3), stride=(3, 2)),
    "stride beyond the window": dict(x=(1, 2, 9, 8), w=(2, 2, 2, 1), stride=(4, 3)),
    "padding 1": dict(x=(2, 3, 5, 4), w=(4, 3, 3, 3), padding=1),
    "padding (0, 2)": dict(x=(1, 2, 5, 4), w=(2, 2, 3, 3), padding=(0, 2)),
    "dilation 2": dict(x=(1, 2, 9, 8), w=(3, 2, 3, 3), dilation=2),
    "dilation (1, 3)": dict(x=(1, 2, 6, 9), w=(2, 2, 3, 3), dilation=(1, 3)),
    "2 groups": dict(x=(2, 4, 5, 6), w=(6, 2, 3, 3), groups=2),
    "depthwise": dict(x=(2, 5, 6, 5), w=(5, 1, 3, 3), groups=5, padding=1),
    "depthwise, 2 filters each": dict(x=(2, 3, 6, 5), w=(6, 1, 3, 2), groups=3),
    "all of it": dict(x=(3, 6, 12, 11), w=(9, 2, 3, 2), groups=3, stride=(2, 1), padding=(2, 1),
                      dilation=(2, 3)),
    "no images": dict(x=(0, 4, 5, 5), w=(6, 2, 3, 3), groups=2, padding=1),
}  # fmt: skip


def filters(rng, case, dtype=torch.float64):
    """x, weight, bias and the other arguments of a case."""
    case = dict(case)
    x, weight = rng.normal(*case.pop("x"), dtype=dtype), rng.normal(*case.pop("w"), dtype=dtype)
    return x, weight, rng.normal(len(weight), dtype=dtype), case


def check_conv(found, x, weight, bias, options, name):
    wanted = F.conv2d(
        x.double(), weight.double(), None if bias is None else bias.double(), **options
    )
    half = x.dtype in (torch.bfloat16, torch.float16)
    close(found, wanted, dtype=x.dtype, terms=weight[0].numel() + 1, scale=4.0,
          factor=8.0 if half else 4.0, name=name)  # fmt: skip


@exercise("conv2d", ban=BAN)
@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_conv_values(case, device, rng):
    for dtype in (torch.float64, torch.float32):
        x, weight, bias, options = filters(rng, CONVOLUTIONS[case], dtype)
        check_conv(day12.conv2d(x, weight, bias, **options), x, weight, bias, options, case)
        check_conv(day12.conv2d(x, weight, **options), x, weight, None, options, f"{case}, no bias")


@exercise("conv2d", ban=BAN)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_conv_in_half_precision(dtype, device, rng):
    x, weight, bias, options = filters(rng, CONVOLUTIONS["all of it"], dtype)
    found = day12.conv2d(x, weight, **options)
    check_conv(found, x, weight, None, options, f"{dtype} result")
    # The sum may be rounded before the bias is added, so it is measured against the summands.
    wanted = F.conv2d(x.double(), weight.double(), bias.double(), **options)
    found = day12.conv2d(x, weight, bias, **options)
    assert found.dtype == dtype, f"{dtype} images and a bias give {found.dtype}"
    error = (found.double() - wanted).abs().max() / wanted.abs().max()
    assert error < 2 * torch.finfo(dtype).eps, f"{dtype} with a bias is off by {error:.1%}"


@exercise("conv2d", ban=BAN)
@pytest.mark.parametrize("case", ["plain", "stride (3, 2)", "2 groups", "depthwise", "all of it"])
def test_conv_gradients(case, device, rng):
    x, weight, bias, options = filters(rng, CONVOLUTIONS[case])
    found = gradients(lambda *a: day12.conv2d(*a, **options), x, weight, bias)
    wanted = gradients(lambda *a: F.conv2d(*a, **options), x, weight, bias)
    for name, got, right in zip(("x", "weight", "bias"), found, wanted, strict=True):
        close(got, right, terms=400, scale=10.0, name=f"gradient of {name}, {case}")


@exercise("conv2d", ban=BAN)
def test_conv_of_any_strides(device, rng):
    x, weight, bias, options = filters(rng, CONVOLUTIONS["all of it"], torch.float32)
    for layout, images in layouts(x):
        found = day12.conv2d(images, weight, bias, **options)
        check_conv(found, x, weight, bias, options, f"of {layout} images")
    for layout, w in layouts(weight):
        found = day12.conv2d(x, w, bias, **options)
        check_conv(found, x, weight, bias, options, f"with a {layout} weight")
    channels_last = x.contiguous(memory_format=torch.channels_last)
    found = day12.conv2d(channels_last, weight, bias, **options)
    check_conv(found, x, weight, bias, options, "of images in channels_last")


@exercise("conv2d", ban=BAN)
def test_conv_moves_with_the_image(device, rng):
    """One bright place draws the filter, turned round, around itself."""
    weight = rng.normal(1, 1, 3, 3, dtype=torch.float64)
    for i, j in ((2, 2), (3, 4)):
        x = torch.zeros(1, 1, 7, 7, dtype=torch.float64, device=device)
        x[0, 0, i, j] = 1.0
        wanted = torch.zeros_like(x)
        wanted[0, 0, i - 1 : i + 2, j - 1 : j + 2] = weight[0, 0].flip(0, 1)
        found = day12.conv2d(x, weight, padding=1)
        close(found, wanted, terms=9, scale=1.0, name=f"image that is 1 at ({i}, {j}) and else 0")


@exercise("conv2d", ban=BAN)
def test_conv_groups_do_not_hear_each_other(device, rng):
    x, weight = rng.normal(2, 4, 5, 5), rng.normal(6, 2, 3, 3)
    broken = torch.cat([torch.full_like(x[:, :2], torch.nan), x[:, 2:]], 1)
    found = day12.conv2d(broken, weight, groups=2)[:, 3:]
    assert not found.isnan().any(), (
        "a nan in the channels of the first group reaches the filters of the second, which should "
        "see their own channels alone"
    )
    check_conv(found, x[:, 2:], weight[3:], None, {}, "second group beside a first full of nan")


@exercise("conv2d", ban=BAN)
def test_conv_has_no_loop(device, rng):
    def operators(n, channels, filters, size, kernel, groups):
        x, weight = (
            rng.normal(n, channels, size, size),
            rng.normal(filters, channels // groups, kernel, kernel),
        )
        _, seen = watch(day12.conv2d, x, weight, rng.normal(filters), padding=1, groups=groups)
        return len(seen.operators)

    one_group, two_groups = (2, 2, 2, 4, 2, 1), (2, 32, 32, 4, 2, 2)
    for what, few, many in (
        ("12 images instead of 2", one_group, (12, 2, 2, 4, 2, 1)),
        ("24 channels instead of 2", one_group, (2, 24, 2, 4, 2, 1)),
        ("24 filters instead of 2", one_group, (2, 2, 24, 4, 2, 1)),
        ("images of 16×16 instead of 4×4", one_group, (2, 2, 2, 16, 2, 1)),
        ("a window of 5×5 instead of 2×2", one_group, (2, 2, 2, 4, 5, 1)),
        # one group may have a shorter way of its own, so the groups are counted from two on
        ("16 groups instead of 2", two_groups, (2, 32, 32, 4, 2, 16)),
    ):
        small, large = operators(*few), operators(*many)
        # batched products copy here and there, a loop would add an operator for each step
        assert large <= small + 3, f"{what}: {large} torch operators instead of {small}: a loop?"


@exercise("conv2d", ban=BAN)
def test_conv_keeps_to_its_columns(device, rng):
    x, weight = rng.normal(4, 16, 20, 20), rng.normal(16, 2, 3, 3)
    out, seen = watch(day12.conv2d, x, weight, padding=1, groups=8)
    columns = x.numel() * 9 * 4
    assert seen.peak_bytes <= 2.5 * columns, (
        f"{seen.peak_bytes} bytes at the peak, {seen.peak_bytes / columns:.1f} times the "
        f"{columns} of the columns: is something as large made again and again?"
    )
    assert seen.live_bytes <= out.numel() * 4, f"{seen.live_bytes} bytes are left behind"


@exercise("conv2d", ban=BAN)
@pytest.mark.parametrize(
    "x, w, options, named",
    [
        ((1, 3, 5, 5), (4, 2, 3, 3), {}, ("3", "2")),
        ((1, 4, 5, 5), (4, 4, 3, 3), {"groups": 2}, ("4", "2")),
        ((1, 4, 5, 5), (5, 2, 3, 3), {"groups": 2}, ("5", "2")),
        ((1, 1, 2, 5), (1, 1, 3, 3), {}, ("3", "2")),
        # the window itself or what it covers, the image with or without its padding
        ((1, 1, 5, 3), (1, 1, 3, 6), {"padding": 1}, ("6", "3|5")),
        ((1, 1, 8, 4), (1, 1, 3, 3), {"dilation": 2}, ("3|5", "4")),
        ((0, 1, 4, 8), (1, 1, 3, 3), {"dilation": (2, 1)}, ("3|5", "4")),
    ],
    ids=str,
)
def test_conv_refuses_sizes_that_do_not_fit(x, w, options, named, device, rng):
    what = f"images {x} with filters {w} and {options}"
    with pytest.raises(ValueError) as refusal:
        out = day12.conv2d(rng.normal(*x), rng.normal(*w), **options)
        pytest.fail(f"{what} cannot be convolved, but {tuple(out.shape)} came out")
    names_them(refusal.value, named, what)


def names_them(refusal, named, what):
    """Each of the numbers stands in the message; "3|5" asks for one of the two."""
    found = set(re.findall(r"\d+", str(refusal)))
    for choice in named:
        assert found & set(choice.split("|")), (
            f"{what}: which numbers do not fit? The message is {str(refusal)!r}"
        )


@exercise("conv2d", seconds=60)  # no ban: its watching cannot be compiled
def test_conv_compiles_without_a_graph_break(device, rng):
    compiled = torch.compile(day12.conv2d, backend="eager", fullgraph=True, dynamic=False)
    x, weight, bias, options = filters(rng, CONVOLUTIONS["all of it"], torch.float32)
    check_conv(compiled(x, weight, bias, **options), x, weight, bias, options, "compiled")


# max_pool2d ----------------------------------------------------------------------------------


POOLS = {
    "one number": dict(x=(1, 1, 1, 1), kernel=1),
    "2x2": dict(x=(2, 3, 6, 8), kernel=2),
    "odd sizes": dict(x=(2, 3, 7, 5), kernel=2),
    "3x3, stride 2, padding 1": dict(x=(2, 3, 9, 8), kernel=3, stride=2, padding=1),
    "overlapping": dict(x=(1, 2, 6, 5), kernel=3, stride=1),
    "oblong": dict(x=(1, 2, 8, 9), kernel=(2, 3)),
    "oblong throughout": dict(x=(1, 2, 9, 11), kernel=(2, 5), stride=(3, 2), padding=(1, 2)),
    "stride beyond the window": dict(x=(1, 2, 9, 8), kernel=2, stride=3),
    "the whole image": dict(x=(2, 3, 4, 5), kernel=(4, 5)),
    "padding of one side": dict(x=(2, 2, 1, 6), kernel=(2, 3), padding=(1, 0)),
    "padding that just makes it fit": dict(x=(1, 2, 2, 5), kernel=(4, 3), padding=1),
    "padding of half the window": dict(x=(1, 2, 4, 5), kernel=2, padding=1),
    "no images": dict(x=(0, 2, 4, 4), kernel=2),
}  # fmt: skip


def images(rng, case, dtype=torch.float64):
    case = dict(case)
    return rng.normal(*case.pop("x"), mean=-3.0, dtype=dtype), case


@exercise("max_pool2d", ban=BAN)
@pytest.mark.parametrize("case", POOLS)
def test_pool_values(case, device, rng):
    for dtype in DTYPES:
        x, options = images(rng, POOLS[case], dtype)
        wanted = F.max_pool2d(
            x.double(), options["kernel"], options.get("stride"), options.get("padding", 0)
        )
        # The largest of numbers is one of them: nothing is rounded.
        close(day12.max_pool2d(x, **options), wanted.to(dtype), factor=0.0, name=f"{case} {dtype}")


@exercise("max_pool2d", ban=BAN)
def test_pool_of_any_strides(device, rng):
    x, options = images(rng, POOLS["oblong throughout"])
    wanted = F.max_pool2d(x, options["kernel"], options["stride"], options["padding"])
    for layout, view in layouts(x):
        close(day12.max_pool2d(view, **options), wanted, name=f"of {layout} images")


@exercise("max_pool2d", ban=BAN)
@pytest.mark.parametrize("case", [case for case in POOLS if case != "no images"])
def test_pool_gradients(case, device, rng):
    x, options = images(rng, POOLS[case])
    (found,) = gradients(lambda x: day12.max_pool2d(x, **options), x)
    (wanted,) = gradients(
        lambda x: F.max_pool2d(
            x, options["kernel"], options.get("stride"), options.get("padding", 0)
        ),
        x,
    )
    close(found, wanted, terms=9, scale=40.0, name=f"gradient, {case}")


@exercise("max_pool2d", ban=BAN)
def test_pool_gradient_of_equal_elements(device, rng):
    # three values for nine elements: nearly every window has several largest, the first has nine
    x = rng.integers(0, 3, 2, 3, 6, 6).double()
    x[0, 0, :3, :3] = 0.0
    # the first row by row is not the first column by column
    x[0, 0, :3, 3:] = torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    x.requires_grad_()
    day12.max_pool2d(x, 3).sum().backward()
    wanted = torch.zeros_like(x)
    for n, c, i, j in torch.cartesian_prod(*(torch.arange(k) for k in (2, 3, 2, 2))).tolist():
        rows, columns = slice(3 * i, 3 * i + 3), slice(3 * j, 3 * j + 3)
        window = x[n, c, rows, columns].flatten().tolist()
        place = window.index(max(window))
        wanted[n, c, 3 * i + place // 3, 3 * j + place % 3] = 1.0
    close(x.grad, wanted, name="gradient where several elements are the largest")


@exercise("max_pool2d", ban=BAN)
def test_pool_of_extreme_values(device):
    low = torch.finfo(torch.float32).min
    x = torch.full((1, 2, 4, 4), low, device=device)
    found = day12.max_pool2d(x, 3, stride=1, padding=1)
    close(found, x, name="of an image that holds the lowest float32 everywhere")
    x[0, 0, 1, 1], x[0, 1] = torch.nan, -torch.inf
    found = day12.max_pool2d(x, 2)
    wanted = torch.tensor([[[torch.nan, low], [low, low]], [[-torch.inf] * 2] * 2], device=device)
    close(found[0], wanted, name="of nan and -inf")
    x = torch.full((1, 1, 4, 4), -torch.inf, device=device)
    close(day12.max_pool2d(x, 3, stride=1, padding=1), x, name="of an image full of -inf, padded")


@exercise("max_pool2d", ban=BAN)
def test_pool_has_no_loop(device, rng):
    counts = {}
    for what, (shape, kernel) in {
        "2 images of 4×4": ((2, 2, 4, 4), 2),
        "9 images": ((9, 2, 4, 4), 2),
        "30 channels": ((2, 30, 4, 4), 2),
        "images of 20×20": ((2, 2, 20, 20), 2),
        "a window of 4×4": ((2, 2, 8, 8), 4),
    }.items():
        _, seen = watch(day12.max_pool2d, rng.normal(*shape), kernel)
        counts[what] = len(seen.operators)
    # a copy more or less is no loop, which would add an operator for each step
    most = counts["2 images of 4×4"] + 3
    assert max(counts.values()) <= most, f"torch operators called: {counts}: is there a loop?"


@exercise("max_pool2d", ban=BAN)
@pytest.mark.parametrize(
    "shape, options, named",
    [
        ((1, 1, 6, 6), {"kernel": 3, "padding": 2}, ("2", "3")),
        ((1, 1, 6, 6), {"kernel": (4, 1), "padding": (0, 1)}, ("1", "4")),
        ((1, 1, 6, 6), {"kernel": (1, 4), "padding": (1, 0)}, ("1", "4")),
        ((1, 1, 3, 9), {"kernel": 4}, ("4", "3")),
        ((1, 1, 9, 2), {"kernel": 5, "padding": 1}, ("5", "2|4")),
        ((1, 1, 2, 9), {"kernel": 5, "padding": 1}, ("5", "2|4")),
    ],
    ids=str,
)
def test_pool_refuses_sizes_that_do_not_fit(shape, options, named, device, rng):
    what = f"images {shape} with {options}"
    with pytest.raises(ValueError) as refusal:
        out = day12.max_pool2d(rng.normal(*shape), **options)
        pytest.fail(f"{what} cannot be pooled, but {tuple(out.shape)} came out")
    names_them(refusal.value, named, what)


@exercise("max_pool2d", seconds=60)
def test_pool_compiles_without_a_graph_break(device, rng):
    compiled = torch.compile(day12.max_pool2d, backend="aot_eager", fullgraph=True, dynamic=False)
    x = rng.normal(2, 3, 7, 6).requires_grad_()
    out = compiled(x, 3, stride=2, padding=1)
    close(out, F.max_pool2d(x, 3, 2, 1).detach(), name="compiled")
    out.sum().backward()
    assert x.grad.sum() == out.numel(), "each result has one place that its gradient goes to"


# BatchNorm2d ---------------------------------------------------------------------------------


def norms(rng, features, dtype=torch.float64, **options):
    """The learner's module and torch's, with the same state."""
    theirs = fill(nn.BatchNorm2d(features, **options), rng).to(rng.device, dtype)
    mine = day12.BatchNorm2d(features, **options).to(rng.device, dtype)
    mine.load_state_dict(theirs.state_dict())
    return mine, theirs


def same_state(mine, theirs, when, dtype):
    for name, wanted in theirs.state_dict().items():
        found = mine.state_dict()[name]
        if name.endswith("num_batches_tracked"):
            assert found.item() == wanted.item(), f"{name} is {found.item()} {when}"
        else:
            close(found, wanted.double(), dtype=dtype, terms=200, scale=1.0, name=f"{name} {when}")


@exercise("BatchNorm2d", ban=BAN)
def test_norm_has_what_torch_has():
    mine, theirs = day12.BatchNorm2d(3), nn.BatchNorm2d(3)
    assert not isinstance(mine, nn.modules.batchnorm._NormBase), "this is torch's own batch norm"
    same_parts(mine, theirs)
    for name, wanted in theirs.state_dict().items():
        close(mine.state_dict()[name], wanted, name=f"{name} at first")
    found = [name for name, _ in mine.named_parameters()]
    assert found == ["weight", "bias"], f"the parameters are {found}: only two are learnt"
    theirs.load_state_dict(mine.state_dict())


@exercise("BatchNorm2d", ban=BAN)
@pytest.mark.parametrize("momentum", [0.1, 0.75, 1.0, 0.0, None])
def test_norm_over_several_batches(momentum, device, rng):
    for dtype in (torch.float64, torch.float32):
        mine, theirs = norms(rng, 3, dtype, momentum=momentum, eps=1e-3)
        theirs.double()
        for step, (n, h, w) in enumerate([(4, 3, 5), (2, 1, 1), (1, 4, 2), (7, 2, 2)], 1):
            x = rng.normal(n, 3, h, w, mean=2.0, std=3.0, dtype=dtype)
            what = f"in training step {step}, {n} images of {h}×{w}, momentum={momentum}"
            close(mine(x), theirs(x.double()), dtype=dtype, terms=200, scale=1.0,
                  name=f"result {what}")  # fmt: skip
            same_state(mine, theirs, what, dtype)
        mine.eval()
        theirs.eval()
        x = rng.normal(3, 3, 2, 4, mean=1.0, dtype=dtype)
        close(mine(x), theirs(x.double()), dtype=dtype, terms=20, scale=2.0,
              name=f"result in eval mode, momentum={momentum}")  # fmt: skip
        same_state(mine, theirs, "after eval mode", dtype)


@exercise("BatchNorm2d", ban=BAN)
def test_norm_default_options(device, rng):
    mine, theirs = norms(rng, 2)
    x = rng.normal(3, 2, 2, 2, dtype=torch.float64, std=0.01)
    close(mine(x), theirs(x), terms=20, scale=2.0, name="result with the eps of the signature")
    same_state(mine, theirs, "with the momentum of the signature", torch.float64)


@exercise("BatchNorm2d", ban=BAN)
@pytest.mark.parametrize("training", [True, False])
def test_norm_gradients(training, device, rng):
    mine, theirs = norms(rng, 3)
    mine.train(training)
    theirs.train(training)
    x = rng.normal(4, 3, 3, 2, dtype=torch.float64)
    slope = rng.normal(4, 3, 3, 2, dtype=torch.float64)
    for module in (mine, theirs):
        leaf = x.clone().requires_grad_()
        (module(leaf) * slope).sum().backward()
        module.seen = [leaf.grad, module.weight.grad, module.bias.grad]
    mode = "training" if training else "eval"
    for name, got, wanted in zip(("x", "weight", "bias"), mine.seen, theirs.seen, strict=True):
        close(got, wanted, terms=50, scale=2.0, name=f"gradient of {name} in {mode} mode")
    for name, buffer in mine.named_buffers():
        assert not buffer.requires_grad, f"{name} keeps the graph of the batch alive"


@exercise("BatchNorm2d", ban=BAN)
def test_norm_of_a_channel_far_from_zero(device, rng):
    mine, _ = norms(rng, 2, torch.float32)
    w, b = (t.detach().double()[:, None, None] for t in (mine.weight, mine.bias))
    near = rng.normal(8, 2, 5, 5)
    for mean in (0.0, 4096.0):
        x = near + mean
        wide = x.double()
        z = (wide - wide.mean((0, 2, 3), keepdim=True)) / (
            wide.var((0, 2, 3), correction=0, keepdim=True) + mine.eps
        ).sqrt()
        found = mine(x)
        # the mean itself can be off by half a step of float32 at 4096
        error = (found.detach().double() - (z * w + b)).abs().nan_to_num(torch.inf).max().item()
        if mean and error > 0.1:  # with mean 0 it was right
            pytest.fail(
                "channels of variance 1 come out right when their mean is 0, and far off when it "
                "is 4096: where do the digits go?"
            )
        close(found, z * w + b, dtype=x.dtype, terms=1, scale=max(mean, 1.0), factor=8.0,
              name=f"result of channels with mean {mean:g} and variance 1")  # fmt: skip


@exercise("BatchNorm2d", ban=BAN)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("module_too", [True, False])
def test_norm_in_half_precision(dtype, module_too, device, rng):
    mine, theirs = norms(rng, 3, torch.float32)
    if module_too:
        mine.to(dtype)
        theirs.to(dtype)  # rounds its state as the other's
    theirs.double()
    own = dtype if module_too else torch.float32
    # Squares of 300 overflow in float16.
    x = rng.normal(6, 3, 4, 4, mean=100.0, std=300.0, dtype=dtype)
    for training in (True, False):
        mine.train(training)
        theirs.train(training)
        found = mine(x)
        assert found.isfinite().all(), "large half-precision numbers overflow on the way"
        close(found, theirs(x.double()), dtype=dtype, terms=4, scale=2.0, factor=1.0,
              name=f"{dtype} result, training={training}")  # fmt: skip
        for name, buffer in mine.named_buffers():
            if buffer.is_floating_point():
                assert buffer.dtype == own, f"{name} of a module in {own} became {buffer.dtype}"
        with torch.no_grad():  # the rounding of the statistics is no mistake: go on from the same
            theirs.running_mean.copy_(mine.running_mean)
            theirs.running_var.copy_(mine.running_var)


@exercise("BatchNorm2d", ban=BAN)
def test_norm_rounds_its_statistics_once(device, rng):
    mine, theirs = norms(rng, 200, torch.float32)
    theirs.load_state_dict(mine.to(torch.bfloat16).state_dict())
    theirs.double()
    x = rng.normal(2, 200, 2, 2, mean=1.0, dtype=torch.bfloat16)
    mine(x)
    theirs(x.double())
    for name in ("running_mean", "running_var"):
        # Rounding to the nearest is off by at most half a step.
        close(getattr(mine, name), getattr(theirs, name), dtype=torch.bfloat16, factor=0.51,
              name=f"{name} of a bfloat16 module")  # fmt: skip


@exercise("BatchNorm2d", ban=BAN)
def test_norm_of_any_strides_and_sizes(device, rng):
    x = rng.normal(3, 2, 5, 4, dtype=torch.float64)
    for layout, view in layouts(x):
        mine, theirs = norms(rng, 2)
        close(mine(view), theirs(x), terms=60, scale=2.0, name=f"of {layout} images")
    mine, theirs = norms(rng, 2)
    mine.eval()
    for shape in ((0, 2, 3, 3), (2, 2, 0, 3), (1, 2, 1, 1)):
        x = rng.normal(*shape, dtype=torch.float64)
        close(mine(x), theirs.eval()(x), terms=4, scale=2.0, name=f"of {shape} in eval mode")


@exercise("BatchNorm2d", ban=BAN)
def test_norm_writes_its_buffers_in_place(device, rng):
    mine, _ = norms(rng, 2)
    held = dict(mine.named_buffers())
    mine(rng.normal(3, 2, 4, 4, dtype=torch.float64))
    for name, buffer in mine.named_buffers():
        assert buffer is held[name], f"{name} is another tensor now: whoever held it sees the old"
    dtype = mine.num_batches_tracked.dtype
    assert dtype == torch.int64, f"num_batches_tracked is a {dtype}: it counts, in int64"


@exercise("BatchNorm2d", ban=BAN)
@pytest.mark.parametrize("momentum", [0.1, None])
def test_norm_waits_for_nothing(momentum, device, rng):
    mine, _ = norms(rng, 2, torch.float32, momentum=momentum)
    _, seen = watch(mine, rng.normal(3, 2, 4, 4))
    assert not seen.synchronisations, f"the host waits for the device: {seen.synchronisations}"


@exercise("BatchNorm2d", ban=BAN)
@pytest.mark.parametrize("shape", [(4, 3), (3, 4, 4), (2, 4, 5, 5), (2, 3, 4, 5, 6)])
@pytest.mark.parametrize("training", [True, False])
def test_norm_refuses_another_shape(shape, training, device, rng):
    mine = day12.BatchNorm2d(3).to(device).train(training)
    with pytest.raises(ValueError) as refusal:
        mine(rng.normal(*shape))
        pytest.fail(f"x of shape {shape} was accepted by BatchNorm2d(3), training={training}")
    names_them(refusal.value, map(str, shape), f"x of shape {shape}")


@exercise("BatchNorm2d", ban=BAN)
@pytest.mark.parametrize("shape", [(1, 3, 1, 1), (0, 3, 4, 4)])
def test_norm_refuses_to_learn_from_one_number(shape, device, rng):
    mine = day12.BatchNorm2d(3).to(device)
    before = copy.deepcopy(mine.state_dict())
    with pytest.raises(ValueError) as refusal:
        mine(rng.normal(*shape))
        pytest.fail(f"x of shape {shape}, too few for a variance, was accepted in training mode")
    names_them(refusal.value, map(str, shape), f"x of shape {shape}")
    for name, buffer in mine.state_dict().items():
        assert torch.equal(buffer, before[name]), f"{name} changed although the call was refused"


@exercise("BatchNorm2d", seconds=60)
@pytest.mark.parametrize("momentum", [0.1, None])
def test_norm_compiles_without_a_graph_break(momentum, device, rng):
    mine, theirs = norms(rng, 3, torch.float32, momentum=momentum)
    compiled = torch.compile(mine, backend="aot_eager", fullgraph=True, dynamic=False)
    for _ in range(2):
        x = rng.normal(4, 3, 2, 2)
        close(compiled(x), theirs(x).detach(), terms=30, scale=2.0, name="compiled")
    same_state(mine, theirs, "after two compiled steps", torch.float32)


# ResidualBlock -------------------------------------------------------------------------------


class Block(nn.Module):
    """The figure of the docstring, out of torch's own parts."""

    def __init__(self, a, b, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(a, b, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(b)
        self.conv2 = nn.Conv2d(b, b, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(b)
        self.downsample = None
        if stride != 1 or a != b:
            self.downsample = nn.Sequential(
                nn.Conv2d(a, b, 1, stride, bias=False), nn.BatchNorm2d(b)
            )

    def forward(self, x):
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(out + (x if self.downsample is None else self.downsample(x)))


def pairs(rng, mine, theirs):
    """Both in float64 with the same state."""
    same_parts(mine, theirs)
    theirs = fill(theirs, rng).to(rng.device).double()
    mine = mine.to(rng.device).double()
    mine.load_state_dict(theirs.state_dict())
    return mine, theirs


# Near a channel of equal numbers the norm enlarges what was rounded, up to eps ** -0.5 times.
ENLARGED = 1e-5**-0.5


def first(*parts):
    """What is built on other exercises cannot be right before they are."""
    x = torch.randn(2, 4, 6, 6, dtype=torch.float64)
    weight = torch.randn(6, 4, 3, 3, dtype=torch.float64)
    batch_norm = nn.BatchNorm2d(4).double()
    checks = {
        "conv2d": lambda: torch.allclose(
            day12.conv2d(x, weight, stride=2, padding=1), F.conv2d(x, weight, stride=2, padding=1)
        ),
        "max_pool2d": lambda: torch.equal(day12.max_pool2d(x, 2), F.max_pool2d(x, 2)),
        "BatchNorm2d": lambda: torch.allclose(day12.BatchNorm2d(4).double()(x), batch_norm(x)),
        "ResidualBlock": lambda: torch.allclose(
            day12.ResidualBlock(4, 4, zero_init=True).double()(x), x.relu()
        ),
    }
    for part in parts:
        assert checks[part](), f"{part} fails first: this exercise is built on it"


BLOCKS = shapes("a, b, stride", (6, 6, 1), (3, 5, 1), (4, 4, 2), (5, 2, 2), (2, 3, 3), (1, 1, 1))


@exercise("ResidualBlock", ban=BAN)
@BLOCKS
def test_block_values_and_gradients(a, b, stride, device, rng):
    mine, theirs = pairs(rng, day12.ResidualBlock(a, b, stride), Block(a, b, stride))
    what = f"of ResidualBlock({a}, {b}, stride={stride})"
    first("conv2d", "BatchNorm2d")
    for n, h, w in ((2, 6, 5), (3, 7, 4), (2, 3, 3)):
        x = rng.normal(n, a, h, w, dtype=torch.float64)
        leaves = [x.clone().requires_grad_() for _ in range(2)]
        found, wanted = mine(leaves[0]), theirs(leaves[1])
        close(found, wanted, terms=200, scale=ENLARGED, name=f"result {what}")
        for module in (mine, theirs):
            module.zero_grad()
        slope = rng.normal(*wanted.shape, dtype=torch.float64)
        (found * slope).sum().backward()
        (wanted * slope).sum().backward()
        scale = 4.0 * ENLARGED**2  # through both norms
        close(leaves[0].grad, leaves[1].grad, terms=400, scale=scale, name=f"gradient of x {what}")
        for (name, p), q in zip(mine.named_parameters(), theirs.parameters(), strict=True):
            close(p.grad, q.grad, terms=400, scale=scale, name=f"gradient of {name} {what}")
    same_state(mine, theirs, f"after three steps {what}", torch.float64)
    mine.eval()
    theirs.eval()
    close(mine(x), theirs(x), terms=200, scale=ENLARGED, name=f"result {what} in eval mode")


@exercise("ResidualBlock", ban=BAN)
@BLOCKS
def test_block_is_made_of_todays_parts(a, b, stride):
    block = day12.ResidualBlock(a, b, stride)
    same_parts(block, Block(a, b, stride))
    assert (block.downsample is None) == (stride == 1 and a == b), (
        f"downsample of ResidualBlock({a}, {b}, stride={stride}) is {block.downsample}"
    )
    for name, part in block.named_modules():
        own = [*part.parameters(recurse=False), *part.buffers(recurse=False)]
        if name and own:  # an nn.ReLU, say, has nothing to learn and is nobody's business
            ok = isinstance(part, (day12.Conv2d, day12.BatchNorm2d))
            assert ok, f"{name} is {type(part)}, not one of today's modules"
    norms = [part for part in block.modules() if isinstance(part, day12.BatchNorm2d)]
    assert all((part.weight == 1).all() for part in norms), "the norms' weights start at 1"
    assert all((part.bias == 0).all() for part in norms), "the norms' biases start at 0"


@exercise("ResidualBlock", ban=BAN)
def test_block_that_starts_as_nothing(device, rng):
    block = day12.ResidualBlock(4, 4, zero_init=True).to(device)
    x = rng.normal(3, 4, 5, 5)
    close(block(x), x.clamp(min=0), name="a block with zero_init=True")
    block = day12.ResidualBlock(2, 4, zero_init=True).to(device)
    assert (block.bn2.weight == 0).all(), "zero_init=True: the weight of bn2 starts at 0"
    assert block.downsample is not None, "ResidualBlock(2, 4) has no downsample: 2 is not 4"
    others = (block.bn1.weight, block.downsample[1].weight)
    assert all((w == 1).all() for w in others), "zero_init concerns bn2 alone"
    block(x[:, :2]).square().sum().backward()
    slope = block.bn2.weight.grad
    learns = slope is not None and slope.abs().sum() > 0
    assert learns, "bn2's weight gets no gradient: it can't learn"


@exercise("ResidualBlock", ban=BAN)
def test_block_in_bfloat16_keeps_its_input(device, rng):
    block = day12.ResidualBlock(4, 4).to(device, torch.bfloat16)
    x = rng.normal(2, 4, 5, 5, dtype=torch.bfloat16)
    before = x.clone()
    out = block(x)
    assert out.dtype == torch.bfloat16, f"bfloat16 images give {out.dtype}"
    assert torch.equal(x, before), "the images were changed"
    assert (out >= 0).all(), "after the last ReLU nothing is negative"


@exercise("ResidualBlock", ban=BAN)
def test_blocks_in_a_row_carry_the_gradient(device, rng):
    """Forty layers deep, the first block still hears what is wanted of it."""
    blocks = nn.Sequential(*(day12.ResidualBlock(4, 4) for _ in range(20))).to(device)
    x = rng.normal(2, 4, 6, 6)
    for block in blocks:
        with torch.no_grad():
            block.bn2.weight.fill_(0.1)
    blocks(x).sum().backward()
    first, last = (blocks[i].conv1.weight.grad.norm().item() for i in (0, -1))
    assert first > 0.01 * last, (
        f"the gradient's norm is {last:.2g} in the last block and {first:.2g} in the first of 20"
    )


@exercise("ResidualBlock", seconds=60)
def test_block_compiles_without_a_graph_break(device, rng):
    block = day12.ResidualBlock(2, 3, stride=2).to(device)
    compiled = torch.compile(block, backend="eager", fullgraph=True, dynamic=False)
    x = rng.normal(2, 2, 5, 5)
    wanted = copy.deepcopy(block)(x).detach()
    close(compiled(x), wanted, terms=100, scale=2.0, name="compiled")


# LeNet ---------------------------------------------------------------------------------------


class Net(nn.Module):
    """The table of the docstring, out of torch's own parts."""

    def __init__(self, classes, size):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 5, padding=2, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.block = Block(16, 32, 1)
        self.fc1 = nn.Linear(32 * (size // 4) ** 2, 84)
        self.dropout = nn.Dropout(0.5)
        self.fc2 = nn.Linear(84, classes)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x.unsqueeze(1)))), 2)
        x = F.max_pool2d(self.block(x), 2).flatten(1)
        return self.fc2(self.dropout(F.relu(self.fc1(x))))


@exercise("LeNet", ban=BAN)
@shapes("classes, size", (10, 8), (3, 12), (2, 9), (1, 4), (4, 7))
def test_lenet_values_and_gradients(classes, size, device, rng):
    mine, theirs = pairs(rng, day12.LeNet(classes, size), Net(classes, size))
    mine.dropout.p = theirs.dropout.p = 0.0
    for net in (mine, theirs):
        net.fc2.bias.data[0] -= 30.0  # whatever the weights are, some scores are negative
    x = rng.uniform(3, size, size, dtype=torch.float64)
    what = f"of LeNet({classes}, size={size})"
    first("conv2d", "max_pool2d", "BatchNorm2d", "ResidualBlock")
    for training in (True, False):
        mine.train(training)
        theirs.train(training)
        found, wanted = mine(x), theirs(x)
        close(found, wanted, terms=500, scale=2.0, name=f"scores {what}, training={training}")
    found.square().sum().backward()
    wanted.square().sum().backward()
    for (name, p), q in zip(mine.named_parameters(), theirs.parameters(), strict=True):
        close(p.grad, q.grad, terms=1000, scale=4.0 * ENLARGED, name=f"gradient of {name} {what}")


@exercise("LeNet", ban=BAN)
def test_lenet_is_made_of_your_parts():
    net = day12.LeNet()
    same_parts(net, Net(10, 8))
    wanted = {"conv1": day12.Conv2d, "bn1": day12.BatchNorm2d, "block": day12.ResidualBlock,
              "dropout": nn.Dropout, "fc1": day12.Linear, "fc2": day12.Linear}  # fmt: skip
    for name, kind in wanted.items():
        part = getattr(net, name)
        assert type(part) is kind, f"{name} is a {type(part)}"
    assert net.dropout.p == 0.5, f"dropout is {net.dropout.p}"


@exercise("LeNet", ban=BAN)
def test_lenet_drops_in_training_mode_alone(device, rng):
    net = day12.LeNet().to(device)
    inputs = []
    net.fc2.register_forward_pre_hook(lambda module, args: inputs.append(args[0]))
    x = rng.uniform(64, 8, 8)
    net(x)
    hidden = inputs[-1].detach()
    share = (hidden == 0).double().mean().item()
    net.eval()
    net.load_state_dict(net.state_dict())
    net(x)
    quiet = (inputs[-1] == 0).double().mean().item()
    assert share > 0.3 + 0.5 * quiet, (
        f"in training mode {share:.0%} of fc2's inputs are 0, in eval mode {quiet:.0%}: where is "
        "the dropout?"
    )
    assert torch.equal(net(x), net(x)), "in eval mode two calls differ"
    assert (inputs[-1] >= 0).all(), "what fc2 gets has been through a ReLU"


@exercise("LeNet", ban=BAN)
@pytest.mark.parametrize("shape", [(2, 1, 8, 8), (8, 8), (2, 8, 9), (2, 9, 8), (2, 64)])
def test_lenet_refuses_other_shapes(shape, device, rng):
    with pytest.raises(ValueError) as refusal:
        out = day12.LeNet().to(device)(rng.normal(*shape))
        pytest.fail(f"images {shape} were accepted by a LeNet of size 8: {tuple(out.shape)}")
    names_them(refusal.value, map(str, (8, *shape)), f"images {shape} for size 8")


@exercise("LeNet", seconds=60)  # no ban: watching each operator would take a minute
def test_lenet_reads_real_handwriting(device):
    """98 % of 360 digits that neither training nor the choice of the epoch has seen."""
    first("conv2d", "max_pool2d", "BatchNorm2d", "ResidualBlock")
    model, history, digits = day12.train_on_digits()
    with torch.no_grad():
        right = (model(digits.test.inputs).argmax(-1) == digits.test.targets).sum().item()
    assert right / 360 >= 0.98, (
        f"{right} of 360 unseen digits are read right ({right / 360:.1%}; 98 % are wanted); best "
        f"epoch {history.best_epoch} of {len(history.train_loss)}, training losses "
        f"{[round(loss, 2) for loss in history.train_loss]}"
    )


@exercise("LeNet", seconds=60)
def test_the_picture_can_be_drawn(tmp_path):
    model, history, digits = day12.train_on_digits(epochs=1)
    path = tmp_path / "lenet.png"
    day12.plot_network(model, history, digits, str(path))
    assert path.read_bytes()[:4] == b"\x89PNG", "plot_network drew no PNG"


@exercise("LeNet", seconds=60)
def test_lenet_compiles_without_a_graph_break(device, rng):
    net = day12.LeNet(classes=3).to(device).eval()
    compiled = torch.compile(net, backend="eager", fullgraph=True, dynamic=False)
    x = rng.uniform(2, 8, 8)
    close(compiled(x), net(x).detach(), terms=500, scale=1.0, name="compiled")
