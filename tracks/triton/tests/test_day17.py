import math

import pytest
import torch
import triton
import triton.language as tl

from harness.testing import (
    close,
    compiled,
    exercise,
    far_apart,
    layouts,
    one_launch,
    refused,
    shapes,
    watch,
    why_narrow,
)
from tracks.triton import day17

F32, F16, BF16 = "float32", "float16", "bfloat16"
HALVES = [torch.float16, torch.bfloat16]
nan, inf = float("nan"), float("inf")
SIZES = [(0, 5, 3, F32), (3, 0, 5, F16), (3, 70, 0, F16), (1, 1, 1, F16), (65, 63, 17, F32)]
SIZES += [(30, 40, 1000, BF16), (64, 129, 64, F16), (5, 7, 65, BF16), (70, 3, 33, F32)]
LARGE = [(4096, 4096, 4096, BF16), (3001, 2999, 777, F16), (17, 5000, 1000, F32)]
LARGEST = (8192, 8192)  # a result that _config gives its largest tiles


def uneven(m, n, element_size):
    """In _config's place: tiles of unequal sides, as the largest are, but for small results."""
    sides = {"BLOCK_M": 64, "BLOCK_N": 32, "BLOCK_K": 128 // element_size}
    return {**sides, "num_warps": 4, "num_stages": 2}


UNEVEN = {"tile": (64, 32), "name": "result in tiles of 64 x 32"}


def check_one_launch(seen, out, element_size):
    """One launch of as many programs as _config gives, no memory besides the result's."""
    launch = one_launch(seen, out)
    if launch is None:
        return
    m, n = out.shape
    config = day17._config(m, n, element_size)
    programs = math.ceil(m / config["BLOCK_M"]) * math.ceil(n / config["BLOCK_N"])
    assert launch.programs == programs, (
        f"{launch.programs} programs were launched, but _config's tiles make {programs} for a "
        f"result of shape {(m, n)}"
    )


def pair(rng, m, n, k, dtype=torch.float16):
    return rng.normal(m, k, dtype=dtype), rng.normal(k, n, dtype=dtype)


def views(a, b):
    """Each operand in each layout, the other as it is."""
    cases = [(f"{name} a", view, b) for name, view in layouts(a)]
    cases += [(f"{name} b", a, view) for name, view in layouts(b)]
    m, k = a.shape
    return [*cases, ("repeated row as a", a[:1].expand(m, k), b)]


def distant(a, b):
    cases = [(f"{name} a", view, b) for name, view in far_apart(a)]
    return cases + [(f"{name} b", a, view) for name, view in far_apart(b)]


def tile_report(launch, chip="sm_90", wide=True):
    """What the compiler makes of a kernel; launch() runs one program of it."""
    (report,) = compiled(launch, chip=chip)
    assert report.refused is None, f"the compiler refuses the kernel: {report.refused.text()}"
    assert report.spill_bytes == 0, f"the kernel spills {report.spill_bytes} bytes a thread"
    assert report.shared_bytes <= report.shared_limit, (
        f"{report.shared_bytes} bytes of shared memory exceed the {report.shared_limit} of {chip}"
    )
    instruction = "wgmma" if chip == "sm_90" else "mma"
    assert instruction in str(report.tensor_core), (
        f"on {chip} the product is computed by {report.tensor_core or 'no tensor core'}, and not "
        f"by {instruction}"
    )
    assert not wide or report.widest_load_bits == 128, (
        f"loads are {report.widest_load_bits} bits wide: {why_narrow(report)}"
    )


# matmul_k -----------------------------------------------------------------------------------


def check_product(a, b, **options):
    out, seen = watch(day17.matmul_k, a, b)
    options = {"tile": (64, 64), "scale": 1.0} | options
    close(out, a.double() @ b.double(), dtype=a.dtype, terms=max(a.shape[1], 1), **options)
    check_one_launch(seen, out, a.element_size())


@exercise("matmul_k")
@shapes("m, n, k, dtype", *SIZES, gpu=LARGE)
def test_product_matches_float64(m, n, k, dtype, rng):
    check_product(*pair(rng, m, n, k, getattr(torch, dtype)))


@exercise("matmul_k")
@pytest.mark.parametrize("k", [31, 32, 63, 64, 127, 128, 129])
def test_product_around_the_steps(k, rng):
    check_product(*pair(rng, 5, 7, k, torch.float16), name=f"product with K = {k}")
    check_product(*pair(rng, 5, 7, k, torch.float32), name=f"product with K = {k}")


@exercise("matmul_k")
@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_product_adds_in_float32(dtype, rng):
    # Where the summands cancel, whatever was rounded on the way is seen.
    check_product(*pair(rng, 60, 50, 700, dtype), factor=0.55)


@exercise("matmul_k")
def test_product_of_numbers_that_cancel(device):
    a = torch.ones(3, 200, dtype=torch.float16, device=device)
    b = torch.full((200, 2), 300.0, dtype=torch.float16, device=device)
    a[:, :] = 300.0
    b[100:] = -300.0
    b[199] = -299.0  # 90,000 * 100 - 90,000 * 99 - 89,700: far beyond 65,504 on the way
    check_product(a, b)


@exercise("matmul_k")
def test_product_reads_nothing_beyond_k(rng):
    # Around each operand lies nan, and 0 * nan is nan: both tiles need their mask.
    surrounded = []
    for shape in ((20, 70), (70, 30)):
        block = torch.full((shape[0] + 80, shape[1] + 80), nan, device=rng.device)
        view = block[: shape[0], : shape[1]]
        view.copy_(rng.normal(*shape))
        surrounded.append(view)
    check_product(*surrounded)


@exercise("matmul_k")
def test_product_keeps_nan_and_infinity_in_their_places(rng):
    a, b = (x.clone() for x in pair(rng, 70, 66, 40, torch.float32))
    a[3, 39], a[69, 0], b[7, 5], b[39, 65] = nan, inf, nan, -inf
    check_product(a, b)


@exercise("matmul_k")
def test_product_reads_any_strides(rng):
    for name, left, right in views(*pair(rng, 70, 66, 90)):
        check_product(left, right, name=f"matmul_k with a {name}")


@exercise("matmul_k")
@pytest.mark.parametrize("k", [4, 65])  # 65: a step of 64 times the stride exceeds int32 as well
def test_product_reads_beyond_int32(k, rng):
    for name, left, right in distant(*pair(rng, 3, 4, k)):
        check_product(left, right, name=f"matmul_k with a {name}")


@exercise("matmul_k", gpu=True)
@shapes("m, n", gpu=[(70_000, 40_000)])
def test_product_writes_beyond_int32(m, n, rng):
    a, b = pair(rng, m, n, 3)
    out = day17.matmul_k(a, b)
    close(out[-3:], a[-3:].double() @ b.double(), dtype=a.dtype, terms=3, scale=1.0)


@exercise("matmul_k")
def test_product_in_tiles_of_unequal_sides(rng, monkeypatch):
    monkeypatch.setattr(day17, "_config", uneven)
    check_product(*pair(rng, 100, 70, 30), **UNEVEN)


@triton.jit
def whole_tile_kernel(a_ptr, b_ptr, out_ptr, k, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """One tile of int8 matrices, all contiguous, with sums in int32."""
    row, column = tl.arange(0, ROWS).to(tl.int64), tl.arange(0, COLUMNS).to(tl.int64)
    total = day17.matmul_k_tile_kernel(
        *(a_ptr, b_ptr, row, column, ROWS, COLUMNS, k, k, 1, COLUMNS, 1), 64, tl.int32
    )
    tl.store(out_ptr + row[:, None] * COLUMNS + column[None, :], total)


@exercise("matmul_k")
def test_product_tile_adds_up_in_the_type_that_it_is_given(rng):
    a, b = whole(rng, 64, 150), whole(rng, 150, 32)
    out = torch.empty(64, 32, dtype=torch.int32, device=a.device)
    whole_tile_kernel[(1,)](a, b, out, 150, ROWS=64, COLUMNS=32)
    close(out, (a.double() @ b.double()).int(), name="tile of int8 matrices with SUMS = tl.int32")


@exercise("matmul_k")
def test_product_refuses(rng):
    a, b = pair(rng, 4, 5, 6)
    refused(day17.matmul_k, a, b.T, what="6 columns times 5 rows")
    refused(day17.matmul_k, a, b.float(), what="float16 times float32")


def one_tile(a, b, config):
    def launch():
        m, n, k = config["BLOCK_M"], config["BLOCK_N"], config["BLOCK_K"]
        out = torch.empty(m, n, dtype=a.dtype, device=a.device)
        day17.matmul_k_kernel[(1,)](
            a[:m, :k], b[:k, :n], out, *a.stride(), *b.stride(), m, n, k, **config
        )

    return launch


@exercise("matmul_k")
@pytest.mark.parametrize("size", ["largest", "smallest"])
def test_product_compiles_to_tensor_cores(size, rng):
    a, b = pair(rng, 128, 256, 64, torch.bfloat16)
    m, n = LARGEST if size == "largest" else (64, 64)
    tile_report(one_tile(a, b, day17._config(m, n, 2)))


@exercise("matmul_k")
def test_product_compiles_for_ampere_and_for_transposed_operands(rng):
    a, b = pair(rng, 128, 128, 64)
    config = {"BLOCK_M": 128, "BLOCK_N": 128, "BLOCK_K": 64, "num_warps": 8, "num_stages": 3}
    tile_report(one_tile(a, b.T.clone().T, config), chip="sm_80")


# matmul_epilogue ----------------------------------------------------------------------------


def activated(x, activation):
    """In float64."""
    if activation == "relu":
        return x.clamp(min=0)
    if activation == "gelu":
        return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))
    return x * torch.sigmoid(x) if activation == "silu" else x


def check_epilogue(a, b, bias, activation, **options):
    out, seen = watch(day17.matmul_epilogue, a, b, bias, activation)
    x = a.double() @ b.double() + bias.double()
    options = {"tile": (64, 64), "scale": 1.0, "name": f"result with {activation}"} | options
    terms = a.shape[1] + 1
    close(out, activated(x, activation), dtype=a.dtype, terms=terms, **options)
    check_one_launch(seen, out, a.element_size())


@exercise("matmul_epilogue")
@pytest.mark.parametrize("activation", ["none", "relu", "gelu", "silu"])
@shapes("m, n, k, dtype", SIZES[0], SIZES[2], SIZES[4], (30, 70, 100, BF16), gpu=LARGE[:2])
def test_epilogue_matches_float64(m, n, k, dtype, activation, rng):
    a, b = pair(rng, m, n, k, getattr(torch, dtype))
    check_epilogue(a, b, rng.normal(n, dtype=a.dtype, std=2.0), activation)


@exercise("matmul_epilogue")
@pytest.mark.parametrize("activation", ["none", "relu", "silu"])
@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_epilogue_rounds_once(dtype, activation, rng):
    a, b = pair(rng, 60, 50, 100, dtype)
    check_epilogue(a, b, rng.normal(50, dtype=dtype, std=9.0), activation, factor=0.6)


@exercise("matmul_epilogue")
@pytest.mark.parametrize("activation", ["none", "relu", "gelu", "silu"])
def test_epilogue_of_large_numbers_and_nan(activation, device):
    a = torch.tensor([[1.0], [-1.0], [nan]], device=device)
    b = torch.tensor([[1e4, 100.0, 1e30]], device=device)
    check_epilogue(a, b, torch.zeros(3, device=device), activation, scale=0.0)


@exercise("matmul_epilogue")
def test_epilogue_has_no_activation_unless_told(rng):
    a, b = pair(rng, 5, 6, 7)
    bias = rng.normal(6, dtype=a.dtype)
    out = day17.matmul_epilogue(a, b, bias)
    close(out, a.double() @ b.double() + bias.double(), dtype=a.dtype, terms=8, scale=1.0)


@exercise("matmul_epilogue")
def test_epilogue_reads_any_strides(rng):
    a, b = pair(rng, 20, 30, 70)
    bias = rng.normal(30, dtype=a.dtype)
    cases = [(*case, bias) for case in views(a, b)]
    cases += [(f"{name} bias", a, b, view) for name, view in layouts(bias)]
    cases += [("bias of one number", a, b, bias[:1].expand(30))]
    for name, left, right, added in cases:
        check_epilogue(left, right, added, "relu", name=f"matmul_epilogue with a {name}")


@exercise("matmul_epilogue")
def test_epilogue_reads_beyond_int32(rng):
    a, b = pair(rng, 3, 4, 5)
    bias = rng.normal(4, dtype=a.dtype)
    cases = [(*case, bias) for case in distant(a, b)]
    cases += [(f"{name} bias", a, b, view) for name, view in far_apart(bias)]
    for name, left, right, added in cases:
        check_epilogue(left, right, added, "none", name=f"matmul_epilogue with a {name}")


@exercise("matmul_epilogue")
def test_epilogue_in_tiles_of_unequal_sides(rng, monkeypatch):
    monkeypatch.setattr(day17, "_config", uneven)
    a, b = pair(rng, 100, 70, 30)
    check_epilogue(a, b, rng.normal(70, dtype=a.dtype), "relu", **UNEVEN)


@exercise("matmul_epilogue")
def test_epilogue_refuses(rng):
    a, b = pair(rng, 4, 5, 6)
    bias = rng.normal(5, dtype=a.dtype)
    for activation in ("tanh", "ReLU", ""):
        what = f"the activation {activation!r}"
        refused(day17.matmul_epilogue, a, b, bias, activation, what=what)
    for shape in ((4,), (6,), (1,), (0,)):
        added = torch.zeros(shape, dtype=a.dtype, device=a.device)
        refused(day17.matmul_epilogue, a, b, added, "relu", what=f"5 columns, a bias of {shape}")
    refused(day17.matmul_epilogue, a, b.T, bias, "relu", what="6 columns times 5 rows")


@exercise("matmul_epilogue")
def test_epilogue_compiles_to_tensor_cores(rng):
    a, b = pair(rng, 128, 256, 64, torch.bfloat16)
    out = torch.empty(128, 256, dtype=a.dtype, device=a.device)

    def launch():
        day17.matmul_epilogue_kernel[(1,)](
            *(a, b, b[0], out),
            *(*a.stride(), *b.stride(), 1, 128, 256, 64),
            ACTIVATION="relu",
            **day17._config(*LARGEST, 2),
        )

    tile_report(launch)


# matmul_residual ----------------------------------------------------------------------------


def check_residual(a, b, c, alpha, beta, **options):
    out, seen = watch(day17.matmul_residual, a, b, c, alpha, beta)
    alpha, beta = float(alpha), float(beta)
    added = beta * c.double() if beta else torch.zeros(c.shape, device=c.device).double()
    expected = alpha * (a.double() @ b.double()) + added
    options = {"tile": (64, 64)} | options
    scale = abs(alpha) + added.abs()
    close(out, expected, dtype=a.dtype, terms=a.shape[1] + 1, scale=scale, **options)
    check_one_launch(seen, out, a.element_size())


@exercise("matmul_residual")
@pytest.mark.parametrize("alpha, beta", [(1, 1), (0.5, -3.0)])
@shapes("m, n, k, dtype", SIZES[0], *SIZES[2:5], (30, 70, 100, BF16), gpu=LARGE[:2])
def test_residual_matches_float64(m, n, k, dtype, alpha, beta, rng):
    a, b = pair(rng, m, n, k, getattr(torch, dtype))
    check_residual(a, b, rng.normal(m, n, dtype=a.dtype), alpha, beta)


@exercise("matmul_residual")
@pytest.mark.parametrize("alpha, beta", [(2, -1), (0.0, 2.5), (-0.3, 0.7), (1e-3, 1000.0)])
def test_residual_of_other_factors(alpha, beta, rng):
    a, b = pair(rng, 20, 30, 40)
    check_residual(a, b, rng.normal(20, 30, dtype=a.dtype), alpha, beta)


@exercise("matmul_residual")
@pytest.mark.parametrize("alpha, beta", [(10**20, 2), (2, -(10**20))], ids=["alpha", "beta"])
def test_residual_of_whole_numbers_beyond_int64(alpha, beta, rng):
    # To the kernel a factor is a float32 number, also where it comes as a whole number.
    a, b = pair(rng, 5, 6, 7, torch.float32)
    check_residual(a, b, rng.normal(5, 6), alpha, beta)


@exercise("matmul_residual")
def test_residual_adds_c_once_unless_told(rng):
    a, b = pair(rng, 5, 6, 7)
    c = rng.normal(5, 6, dtype=a.dtype)
    out = day17.matmul_residual(a, b, c)
    expected = a.double() @ b.double() + c.double()
    close(out, expected, dtype=a.dtype, terms=8, scale=1.0)


@exercise("matmul_residual")
@pytest.mark.parametrize("beta", [0, 0.0])
def test_residual_does_not_read_c_for_nothing(beta, rng):
    a, b = pair(rng, 20, 66, 10)
    c = torch.full((20, 66), nan, dtype=a.dtype, device=a.device)
    c[3] = inf
    check_residual(a, b, c, 1.5, beta)


@exercise("matmul_residual")
@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_residual_rounds_once(dtype, rng):
    a, b = pair(rng, 60, 50, 100, dtype)
    check_residual(a, b, rng.normal(60, 50, dtype=dtype, std=9.0), 0.7, 1.3, factor=0.55)


@exercise("matmul_residual")
def test_residual_when_a_part_exceeds_float16(device):
    a, b = (torch.full(s, 200.0, dtype=torch.float16, device=device) for s in ((1, 4), (4, 1)))
    c = torch.full((1, 1), 40_000.0, dtype=torch.float16, device=device)
    check_residual(a, b, c, 1.0, -3.0)  # 160,000 - 120,000


@exercise("matmul_residual")
def test_residual_reads_any_strides(rng):
    a, b = pair(rng, 20, 30, 70)
    c = rng.normal(20, 30, dtype=a.dtype)
    cases = [(*case, c) for case in views(a, b)]
    cases += [(f"{name} c", a, b, view) for name, view in layouts(c)]
    cases += [("repeated row as c", a, b, c[:1].expand(20, 30))]
    for name, left, right, added in cases:
        check_residual(left, right, added, 1, 2, name=f"matmul_residual with a {name}")


@exercise("matmul_residual")
def test_residual_reads_beyond_int32(rng):
    a, b = pair(rng, 3, 4, 5)
    c = rng.normal(3, 4, dtype=a.dtype)
    cases = [(*case, c) for case in distant(a, b)]
    cases += [(f"{name} c", a, b, view) for name, view in far_apart(c)]
    for name, left, right, added in cases:
        check_residual(left, right, added, 1, 2, name=f"matmul_residual with a {name}")


@exercise("matmul_residual")
def test_residual_in_tiles_of_unequal_sides(rng, monkeypatch):
    monkeypatch.setattr(day17, "_config", uneven)
    a, b = pair(rng, 100, 70, 30)
    check_residual(a, b, rng.normal(100, 70, dtype=a.dtype), 1, 2, **UNEVEN)


@exercise("matmul_residual")
def test_residual_refuses(rng):
    a, b = pair(rng, 4, 5, 6)
    for shape in ((5, 4), (4, 6), (4, 1), (5,)):
        c = torch.zeros(shape, dtype=a.dtype, device=a.device)
        refused(day17.matmul_residual, a, b, c, what=f"a product of (4, 5) and a c of {shape}")
    c = torch.zeros(4, 5, dtype=a.dtype, device=a.device)
    refused(day17.matmul_residual, a, b.T, c, what="6 columns times 5 rows")


@exercise("matmul_residual")
def test_residual_compiles_to_tensor_cores(rng):
    a, b = pair(rng, 128, 256, 64, torch.bfloat16)
    out, c = (torch.zeros(128, 256, dtype=a.dtype, device=a.device) for _ in range(2))

    def launch():
        day17.matmul_residual_kernel[(1,)](
            *(a, b, c, out, 1.5, 0.5),
            *(*a.stride(), *b.stride(), *c.stride(), 128, 256, 64),
            **day17._config(*LARGEST, 2),
        )

    tile_report(launch)


# matmul_int8 --------------------------------------------------------------------------------


def whole(rng, *shape):
    return rng.integers(-128, 128, *shape, dtype=torch.int8)


def check_int8(a, b, scale, factor=0.55, **options):
    """The sums are exact; what is rounded is their product with the scale."""
    out, seen = watch(day17.matmul_int8, a, b, scale)
    expected = a.double() @ b.double() * scale.double()
    options = {"tile": (64, 64)} | options
    close(out, expected, dtype=torch.float32, factor=factor, **options)
    check_one_launch(seen, out, 1)


@exercise("matmul_int8")
@shapes(
    "m, n, k",
    *[(0, 5, 3), (3, 0, 5), (3, 70, 0), (1, 1, 1), (65, 63, 17), (30, 40, 1000), (5, 7, 128)],
    *[(5, 7, 129)],
    gpu=[(4096, 4096, 512), (3001, 2999, 777)],
)
def test_int8_is_exact(m, n, k, rng):
    check_int8(whole(rng, m, k), whole(rng, k, n), rng.normal(n).abs() + 0.1)


@exercise("matmul_int8")
def test_int8_of_the_extremes(device):
    a = torch.tensor([[-128, 127, -128]], dtype=torch.int8, device=device).expand(3, 3)
    b = torch.tensor([[-128], [127], [127]], dtype=torch.int8, device=device).expand(3, 2)
    check_int8(a, b, torch.tensor([1.0, -0.5], device=device))


@exercise("matmul_int8")
def test_int8_adds_beyond_float32(device):
    # The sums go up to 2**24 and beyond, an odd number comes on top, and all but that goes away.
    a = torch.full((2, 2560), 127, dtype=torch.int8, device=device)
    b = a.T.clone()
    b[1280:] = -127
    a[:, 1279], b[1279], a[:, 2559], b[2559] = 3, 1, 0, 0
    expected = a.double() @ b.double()
    assert expected.abs().max() < 100
    check_int8(a, b, torch.ones(2, device=device))


@exercise("matmul_int8")
def test_int8_of_large_sums(device):
    a = torch.full((2, 3000), 127, dtype=torch.int8, device=device)
    # 48,387,000: converted, which rounds, then multiplied
    check_int8(a, a.T, torch.tensor([0.3, 7.0], device=device), factor=1.1)


@exercise("matmul_int8")
def test_int8_reads_any_strides(rng):
    a, b, scale = whole(rng, 20, 140), whole(rng, 140, 30), rng.normal(30)
    cases = [(*case, scale) for case in views(a, b)]
    cases += [(f"{name} scale", a, b, view) for name, view in layouts(scale)]
    cases += [("scale for all columns", a, b, scale[:1].expand(30))]
    for name, left, right, factor in cases:
        check_int8(left, right, factor, name=f"matmul_int8 with a {name}")


@exercise("matmul_int8")
def test_int8_reads_beyond_int32(rng):
    a, b, scale = whole(rng, 3, 5), whole(rng, 5, 4), rng.normal(4)
    cases = [(*case, scale) for case in distant(a, b)]
    cases += [(f"{name} scale", a, b, view) for name, view in far_apart(scale)]
    for name, left, right, factor in cases:
        check_int8(left, right, factor, name=f"matmul_int8 with a {name}")


@exercise("matmul_int8")
def test_int8_in_tiles_of_unequal_sides(rng, monkeypatch):
    monkeypatch.setattr(day17, "_config", uneven)
    check_int8(whole(rng, 100, 30), whole(rng, 30, 70), rng.normal(70), **UNEVEN)


@exercise("matmul_int8")
def test_int8_refuses(rng):
    a, b = whole(rng, 4, 6), whole(rng, 6, 5)
    for n in (4, 6, 1):
        scale = torch.ones(n, device=a.device)
        refused(day17.matmul_int8, a, b, scale, what=f"5 columns and a scale of {n}")
    scale = torch.ones(5, device=a.device)
    refused(day17.matmul_int8, a, b.T, scale, what="6 columns times 5 rows")


@exercise("matmul_int8")
def test_int8_compiles_to_tensor_cores(rng):
    a, b, scale = whole(rng, 128, 128), whole(rng, 256, 128).T, rng.normal(256)
    out = torch.empty(128, 256, device=a.device)

    def launch():
        day17.matmul_int8_kernel[(1,)](
            *(a, b, scale, out),
            *(*a.stride(), *b.stride(), 1, 128, 256, 128),
            **day17._config(*LARGEST, 1),
        )

    tile_report(launch)
