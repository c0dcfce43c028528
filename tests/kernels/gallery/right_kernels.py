"""Right kernels of every kind: nothing may be reported on them, and their results are checked."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from tests.kernels.gallery.cases import right

DEVICE = "cpu" if triton.knobs.runtime.interpret else "cuda"


def randn(*shape, dtype=torch.float32):
    return torch.randn(*shape).to(dtype).to(DEVICE)


def empty(*shape, dtype=torch.float32):
    value = float("nan") if dtype.is_floating_point else 77
    return torch.full(shape, value, dtype=dtype).to(DEVICE)


def near(actual, expected, factor=1e-5):
    expected = expected.double()
    worst = (actual.double() - expected).abs().max().item() if actual.numel() else 0.0
    assert worst <= factor * max(1.0, expected.abs().max().item() if expected.numel() else 1.0)


@triton.jit
def axpy_kernel(x, y, out, a, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = i < n
    tl.store(out + i, a * tl.load(x + i, mask=mask) + tl.load(y + i, mask=mask), mask=mask)


@right
def element_wise():
    for n in (1, 63, 64, 65):
        x, y, out = randn(n), randn(n), empty(n)
        axpy_kernel[(triton.cdiv(n, 64),)](x, y, out, 0.5, n, BLOCK=64)
        near(out, 0.5 * x + y)


@right
def no_programs_at_all():
    axpy_kernel[(0,)](randn(0), randn(0), empty(0), 0.5, 0, BLOCK=64)


@triton.jit
def strided_kernel(x, out, rows, columns, sr, sc, orow, oc, B: tl.constexpr):
    r = tl.program_id(0) * B + tl.arange(0, B)[:, None]
    c = tl.program_id(1) * B + tl.arange(0, B)[None, :]
    mask = (r < rows) & (c < columns)
    value = tl.load(x + r * sr + c * sc, mask=mask)
    tl.store(out + r * orow + c * oc, value * 2, mask=mask)


@right
def views_of_every_layout():
    base = randn(40, 30)
    views = (base, base.t(), base[3:, 5:], base[::2, ::3], base[:, ::2].t(), base[7:8])
    for x in (*views, randn(1, 9).expand(5, 9)):
        out = empty(2 * x.shape[0], 3 * x.shape[1])[::2, ::3]
        grid = (triton.cdiv(x.shape[0], 8), triton.cdiv(x.shape[1], 8))
        strided_kernel[grid](x, out, *x.shape, *x.stride(), *out.stride(), B=8)
        near(out, x * 2)


@triton.jit
def transpose_kernel(x, out, rows, columns, B: tl.constexpr):
    r = tl.program_id(0) * B + tl.arange(0, B)
    c = tl.program_id(1) * B + tl.arange(0, B)
    mask = (r[:, None] < rows) & (c[None, :] < columns)
    tile = tl.load(x + r[:, None] * columns + c[None, :], mask=mask)
    flipped = (c[:, None] < columns) & (r[None, :] < rows)
    tl.store(out + c[:, None] * rows + r[None, :], tl.trans(tile), mask=flipped)


@right
def transpose():
    x, out = randn(19, 35), empty(35, 19)
    transpose_kernel[(2, 3)](x, out, 19, 35, B=16)
    near(out, x.t())


@triton.jit
def rows_kernel(x, total, largest, where, columns, B: tl.constexpr):
    row = tl.program_id(0)
    j = tl.arange(0, B)
    value = tl.load(x + row * columns + j, mask=j < columns, other=-float("inf"))
    tl.store(total + row, tl.sum(tl.where(j < columns, value, 0.0), axis=0))
    tl.store(largest + row, tl.max(value, axis=0))
    tl.store(where + row, tl.argmax(value, axis=0))


@right
def reductions():
    x = randn(5, 37)
    total, largest, where = empty(5), empty(5), empty(5, dtype=torch.int64)
    rows_kernel[(5,)](x, total, largest, where, 37, B=64)
    near(total, x.sum(1))
    near(largest, x.amax(1))
    assert where.tolist() == x.argmax(1).tolist()


@triton.jit
def welford_combine(mean_a, m2_a, count_a, mean_b, m2_b, count_b):
    delta = mean_b - mean_a
    count = count_a + count_b
    ratio = tl.where(count == 0, 0.0, count_b / count)
    return mean_a + delta * ratio, m2_a + m2_b + delta * delta * count_a * ratio, count


@triton.jit
def variance_kernel(x, mean, variance, n, B: tl.constexpr):
    i = tl.arange(0, B)
    value = tl.load(x + i, mask=i < n, other=0.0)
    m, m2, count = tl.reduce(
        (value, tl.zeros_like(value), (i < n).to(tl.float32)), 0, welford_combine
    )
    tl.store(mean, m)
    tl.store(variance, m2 / count)


@right
def reduction_with_its_own_combine():
    x, mean, variance = randn(50) + 100, empty(1), empty(1)
    variance_kernel[(1,)](x, mean, variance, 50, B=64)
    near(mean, x.mean().reshape(1))
    near(variance, x.var(correction=0).reshape(1), 1e-3)


@triton.jit
def histogram_kernel(x, counts, n, bins, B: tl.constexpr):
    i = tl.program_id(0) * B + tl.arange(0, B)
    value = tl.load(x + i, mask=i < n, other=0)
    tl.atomic_add(counts + value, 1, mask=(i < n) & (value < bins))


@right
def histogram_of_atomics():
    x = torch.randint(0, 7, (100,)).to(DEVICE)
    counts = torch.zeros(7, dtype=torch.int32, device=DEVICE)
    histogram_kernel[(4,)](x, counts, 100, 7, B=32)
    assert counts.tolist() == torch.bincount(x.cpu(), minlength=7).tolist()


@triton.jit
def block_histogram_kernel(x, counts, n, B: tl.constexpr, BINS: tl.constexpr):
    i = tl.program_id(0) * B + tl.arange(0, B)
    value = tl.load(x + i, mask=i < n, other=0)
    part = tl.histogram(value, BINS, mask=i < n)
    tl.atomic_add(counts + tl.arange(0, BINS), part)


@right
def histogram_by_block():
    x = torch.randint(0, 8, (100,), dtype=torch.int32).to(DEVICE)
    counts = torch.zeros(8, dtype=torch.int32, device=DEVICE)
    block_histogram_kernel[(4,)](x, counts, 100, B=32, BINS=8)
    assert counts.tolist() == torch.bincount(x.cpu(), minlength=8).tolist()


@triton.jit
def extremes_kernel(x, low, high, n, B: tl.constexpr):
    i = tl.program_id(0) * B + tl.arange(0, B)
    value = tl.load(x + i, mask=i < n, other=0.0)
    tl.atomic_min(low + 0 * i, value, mask=i < n)
    tl.atomic_max(high + 0 * i, value, mask=i < n)


@right
def atomic_minimum_and_maximum():
    x = randn(100)
    low = torch.full((1,), float("inf"), device=DEVICE)
    high = torch.full((1,), -float("inf"), device=DEVICE)
    extremes_kernel[(4,)](x, low, high, 100, B=32)
    assert low.item() == x.min().item() and high.item() == x.max().item()


@triton.jit
def last_block_kernel(x, partial, counter, out, n, programs, B: tl.constexpr, P: tl.constexpr):
    program = tl.program_id(0)
    i = program * B + tl.arange(0, B)
    tl.store(partial + program, tl.sum(tl.load(x + i, mask=i < n, other=0.0)))
    done = tl.atomic_add(counter, 1)
    if done == programs - 1:
        p = tl.arange(0, P)
        tl.store(out, tl.sum(tl.load(partial + p, mask=p < programs, other=0.0)))


@right
def last_program_adds_the_parts():
    x, partial, out = randn(100), empty(4), empty(1)
    counter = torch.zeros(1, dtype=torch.int32, device=DEVICE)
    last_block_kernel[(4,)](x, partial, counter, out, 100, 4, B=32, P=4)
    near(out, x.sum().reshape(1))


@triton.jit
def locked_sum_kernel(x, lock, out, n, B: tl.constexpr):
    i = tl.program_id(0) * B + tl.arange(0, B)
    part = tl.sum(tl.load(x + i, mask=i < n, other=0.0))
    while tl.atomic_cas(lock, 0, 1) == 1:
        pass
    tl.store(out, tl.load(out) + part)
    tl.debug_barrier()
    tl.atomic_xchg(lock, 0)


@right
def sum_under_a_lock():
    x, out = randn(100), torch.zeros(1, device=DEVICE)
    lock = torch.zeros(1, dtype=torch.int32, device=DEVICE)
    locked_sum_kernel[(4,)](x, lock, out, 100, B=32)
    near(out, x.sum().reshape(1))


@triton.jit
def matmul_kernel(
    a, b, c, M, N, K, am, ak, bk, bn, cm, cn, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr
):
    rm = tl.program_id(0) * BM + tl.arange(0, BM)
    rn = tl.program_id(1) * BN + tl.arange(0, BN)
    rk = tl.arange(0, BK)
    a_ptrs = a + rm[:, None] * am + rk[None, :] * ak
    b_ptrs = b + rk[:, None] * bk + rn[None, :] * bn
    acc = tl.zeros((BM, BN), dtype=tl.float32)
    for k in range(0, tl.cdiv(K, BK)):
        left = K - k * BK
        x = tl.load(a_ptrs, mask=(rm[:, None] < M) & (rk[None, :] < left), other=0.0)
        y = tl.load(b_ptrs, mask=(rk[:, None] < left) & (rn[None, :] < N), other=0.0)
        acc = tl.dot(x, y, acc)
        a_ptrs += BK * ak
        b_ptrs += BK * bk
    mask = (rm[:, None] < M) & (rn[None, :] < N)
    tl.store(c + rm[:, None] * cm + rn[None, :] * cn, acc.to(c.dtype.element_ty), mask=mask)


@right
def matmul_of_odd_sizes():
    for dtype in (torch.float16, torch.bfloat16):
        a, b = randn(33, 50, dtype=dtype), randn(17, 50, dtype=dtype).t()
        c = empty(33, 17, dtype=dtype)
        matmul_kernel[(3, 2)](
            a, b, c, 33, 17, 50, *a.stride(), *b.stride(), *c.stride(), BM=16, BN=16, BK=16
        )
        near(c, a.double() @ b.double(), 1e-2)


@triton.jit
def online_softmax_kernel(x, out, columns, B: tl.constexpr):
    row = tl.program_id(0)
    x += row * columns
    out += row * columns
    top = -float("inf")
    total = 0.0
    for start in range(0, columns, B):
        j = start + tl.arange(0, B)
        value = tl.load(x + j, mask=j < columns, other=-float("inf"))
        new = tl.maximum(top, tl.max(value, 0))
        total = total * tl.exp(top - new) + tl.sum(tl.exp(value - new), 0)
        top = new
    for start in range(0, columns, B):
        j = start + tl.arange(0, B)
        value = tl.load(x + j, mask=j < columns, other=-float("inf"))
        tl.store(out + j, tl.exp(value - top) / total, mask=j < columns)


@right
def online_softmax():
    x, out = randn(3, 50) * 10, empty(3, 50)
    online_softmax_kernel[(3,)](x, out, 50, B=16)
    near(out, x.softmax(1))


@triton.jit
def descriptor_kernel(x, out, rows, columns, B: tl.constexpr):
    source = tl.make_tensor_descriptor(x, [rows, columns], [columns, 1], [B, B])
    target = tl.make_tensor_descriptor(out, [rows, columns], [columns, 1], [B, B])
    r, c = tl.program_id(0) * B, tl.program_id(1) * B
    target.store([r, c], source.load([r, c]) + 1.0)


@right
def tensor_descriptors():
    if DEVICE == "cuda":  # descriptors made in a kernel need memory for them
        triton.set_allocator(
            lambda size, alignment, stream: torch.empty(size, dtype=torch.int8, device=DEVICE)
        )
    x, out = randn(13, 20), empty(13, 20)
    descriptor_kernel[(2, 3)](x, out, 13, 20, B=8)
    near(out, x + 1)


@triton.jit
def block_pointer_kernel(x, out, rows, columns, B: tl.constexpr):
    source = tl.make_block_ptr(
        x, (rows, columns), (columns, 1), (tl.program_id(0) * B, 0), (B, B), (1, 0)
    )
    target = tl.make_block_ptr(
        out, (rows, columns), (columns, 1), (tl.program_id(0) * B, 0), (B, B), (1, 0)
    )
    for _ in range(0, columns, B):
        tile = tl.load(source, boundary_check=(0, 1), padding_option="zero")
        tl.store(target, tile * 2, boundary_check=(0, 1))
        source = tl.advance(source, (0, B))
        target = tl.advance(target, (0, B))


@right
def block_pointers():
    x, out = randn(13, 21), empty(13, 21)
    block_pointer_kernel[(2,)](x, out, 13, 21, B=8)
    near(out, x * 2)


@triton.jit
def cube_kernel(x, out, d0, d1, d2, B: tl.constexpr):
    i, j = tl.program_id(0), tl.program_id(1)
    k = tl.program_id(2) * B + tl.arange(0, B)
    place = (i * tl.num_programs(1) + j) * d2 + k
    tl.store(out + place, tl.load(x + place, mask=k < d2) + i, mask=k < d2)


@right
def grid_of_three_axes():
    x, out = randn(3, 4, 21), empty(3, 4, 21)
    cube_kernel[(3, 4, 3)](x, out, 3, 4, 21, B=8)
    near(out, x + torch.arange(3, device=DEVICE)[:, None, None])


@triton.jit
def grid_stride_kernel(x, out, n, B: tl.constexpr):
    for start in range(tl.program_id(0) * B, n, tl.num_programs(0) * B):
        i = start + tl.arange(0, B)
        tl.store(out + i, tl.load(x + i, mask=i < n) * 3, mask=i < n)


@right
def grid_stride():
    for programs in (1, 2, 3, 9):
        x, out = randn(70), empty(70)
        grid_stride_kernel[(programs,)](x, out, 70, B=16)
        near(out, x * 3)


@triton.jit
def multiply_combine(a, b):
    return a * b


@triton.jit
def scans_kernel(x, sums, backwards, products, n, B: tl.constexpr):
    i = tl.arange(0, B)
    value = tl.load(x + i, mask=i < n, other=0.0)
    tl.store(sums + i, tl.cumsum(value, 0), mask=i < n)
    tl.store(backwards + i, tl.cumsum(value, 0, reverse=True), mask=i < n)
    ones = tl.where(i < n, value, 1.0)
    tl.store(products + i, tl.associative_scan(ones, 0, multiply_combine), mask=i < n)


@right
def scans():
    x, a, b, c = randn(21), empty(21), empty(21), empty(21)
    scans_kernel[(1,)](x, a, b, c, 21, B=32)
    near(a, x.cumsum(0))
    near(b, x.flip(0).cumsum(0).flip(0))
    near(c, x.cumprod(0))


@triton.jit
def sort_kernel(x, out, B: tl.constexpr):
    i = tl.arange(0, B)
    tl.store(out + i, tl.sort(tl.load(x + i)))


@right
def sort():
    x, out = randn(16), empty(16)
    sort_kernel[(1,)](x, out, B=16)
    near(out, x.sort().values)


@triton.jit
def collatz_kernel(x, steps):
    n = tl.load(x + tl.program_id(0))
    count = 0
    while n != 1:
        n = tl.where(n % 2 == 0, n // 2, 3 * n + 1)
        count += 1
    tl.store(steps + tl.program_id(0), count)


@right
def while_loop():
    x = torch.tensor([1, 6, 7], dtype=torch.int32, device=DEVICE)
    steps = empty(3, dtype=torch.int32)
    collatz_kernel[(3,)](x, steps)
    assert steps.tolist() == [0, 8, 16]


@triton.jit
def relu_kernel(x, n, B: tl.constexpr):
    i = tl.program_id(0) * B + tl.arange(0, B)
    tl.store(x + i, tl.maximum(tl.load(x + i, mask=i < n), 0.0), mask=i < n)


@right
def in_place():
    x = randn(70)
    expected = x.relu()
    relu_kernel[(5,)](x, 70, B=16)
    near(x, expected)


@triton.jit
def two_passes_kernel(x, scratch, n, B: tl.constexpr):
    i = tl.program_id(0) * B + tl.arange(0, B)
    tl.store(scratch + i, tl.load(x + i, mask=i < n) + 1, mask=i < n)
    tl.debug_barrier()
    tl.store(x + i, tl.load(scratch + i, mask=i < n) * 2, mask=i < n)


@right
def a_program_reads_what_it_wrote():
    x, scratch = randn(70), empty(70)
    expected = (x + 1) * 2
    two_passes_kernel[(5,)](x, scratch, 70, B=16)
    near(x, expected)


@triton.jit
def same_value_kernel(flag, x, n, B: tl.constexpr):
    i = tl.program_id(0) * B + tl.arange(0, B)
    value = tl.load(x + i, mask=i < n, other=0.0)
    if tl.max(value, 0) >= 0.0:
        tl.store(flag, 1)


@right
def everyone_writes_the_same_value():
    flag = torch.zeros(1, dtype=torch.int32, device=DEVICE)
    same_value_kernel[(4,)](flag, torch.ones(64, device=DEVICE), 64, B=16)
    assert flag.item() == 1


@triton.jit
def table_kernel(addresses, lengths, out, B: tl.constexpr):
    group = tl.program_id(0)
    x = tl.load(addresses + group).to(tl.pointer_type(tl.float32))
    n = tl.load(lengths + group)
    i = tl.arange(0, B)
    tl.store(out + group, tl.sum(tl.load(x + i, mask=i < n, other=0.0)))


@right
def table_of_pointers():
    parts = [randn(5), randn(16), randn(1)]
    addresses = torch.tensor([part.data_ptr() for part in parts], device=DEVICE)
    lengths = torch.tensor([5, 16, 1], device=DEVICE)
    out = empty(3)
    table_kernel[(3,)](addresses, lengths, out, B=16)
    near(out, torch.stack([part.sum() for part in parts]))


@triton.jit
def choose_kernel(x, y, out, n, B: tl.constexpr):
    i = tl.arange(0, B)
    pointer = tl.where(i % 2 == 0, x + i, y + i)
    tl.store(out + i, tl.load(pointer, mask=i < n), mask=i < n)


@right
def pointers_chosen_by_lane():
    x, y, out = randn(13), randn(13), empty(13)
    choose_kernel[(1,)](x, y, out, 13, B=16)
    near(out, torch.where(torch.arange(13, device=DEVICE) % 2 == 0, x, y))


@triton.jit
def flags_kernel(x, mask, out, n, scale, INVERT: tl.constexpr, B: tl.constexpr):
    i = tl.arange(0, B)
    keep = tl.load(mask + i, mask=i < n, other=0)
    if INVERT:
        keep = not keep
    value = tl.load(x + i, mask=(i < n) and keep, other=0.0)
    tl.store(out + i, value * scale, mask=i < n)


@right
def boolean_tensors_and_numbers():
    x, out = randn(13, dtype=torch.float16), empty(13)
    mask = (torch.arange(13) % 3 == 0).to(DEVICE)
    flags_kernel[(1,)](x, mask, out, 13, 0.5, INVERT=False, B=16)
    near(out, torch.where(mask, x.float() * 0.5, 0.0))
    flags_kernel[(1,)](x, mask, out, 13, 0.5, INVERT=True, B=16)
    near(out, torch.where(mask, 0.0, x.float() * 0.5))


@triton.jit
def negative_kernel(a, b, quotient, rest, n, B: tl.constexpr):
    i = tl.arange(0, B)
    x = tl.load(a + i, mask=i < n, other=1)
    y = tl.load(b + i, mask=i < n, other=1)
    tl.store(quotient + i, x // y, mask=i < n)
    tl.store(rest + i, x % y, mask=i < n)


@right
def integer_division_truncates():
    a = torch.tensor([7, -7, 7, -7], dtype=torch.int32, device=DEVICE)
    b = torch.tensor([2, 2, -2, -2], dtype=torch.int32, device=DEVICE)
    quotient, rest = empty(4, dtype=torch.int32), empty(4, dtype=torch.int32)
    negative_kernel[(1,)](a, b, quotient, rest, 4, B=4)
    assert quotient.tolist() == [3, -3, -3, 3]
    assert rest.tolist() == [1, -1, 1, -1]


@triton.jit
def special_kernel(x, out, n, B: tl.constexpr):
    i = tl.arange(0, B)
    value = tl.load(x + i, mask=i < n, other=0.0)
    tl.store(out + i, 1.0 / value, mask=i < n)
    tl.store(out + n + i, tl.log(value), mask=i < n)
    tl.store(out + 2 * n + i, tl.maximum(value, 0.5), mask=i < n)
    tl.store(out + 3 * n + i, value.to(tl.int32).to(tl.float32), mask=i < n)


@right
def zeros_infinities_and_nan():
    inf, nan = float("inf"), float("nan")
    x, out = torch.tensor([0.0, -1.0, inf, nan], device=DEVICE), empty(16)
    special_kernel[(1,)](x, out, 4, B=4)
    expected = [inf, -1, 0, nan, -inf, nan, inf, nan, 0.5, 0.5, inf, 0.5, 0, -1, 2.0**31, 0]
    torch.testing.assert_close(out.cpu(), torch.tensor(expected), equal_nan=True)


@triton.jit
def random_kernel(out, seed, n, B: tl.constexpr):
    i = tl.program_id(0) * B + tl.arange(0, B)
    tl.store(out + i, tl.rand(seed, i), mask=i < n)


@right
def random_numbers_do_not_depend_on_the_block():
    a, b = empty(100), empty(100)
    random_kernel[(4,)](a, 42, 100, B=32)
    random_kernel[(2,)](b, 42, 100, B=64)
    assert torch.equal(a, b) and a.min() >= 0.0 and a.max() < 1.0


SIXTEEN = tl.constexpr(16)


@triton.jit
def typed_kernel(x, out, n: tl.int64, start=0, B: tl.constexpr = SIXTEEN):
    i = tl.arange(0, B)
    half: tl.constexpr = B // 2
    low = min(n, half)
    tl.store(out + i, tl.load(x + i + start, mask=i < low, other=-1.0), mask=i < n)


@right
def defaults_annotations_and_globals():
    x, out = randn(16), empty(16)
    typed_kernel[(1,)](x, out, 16)
    near(out, torch.cat([x[:8], -torch.ones(8, device=DEVICE)]))


@triton.autotune(
    [triton.Config({"B": 16}), triton.Config({"B": 32})],
    key=["n"],
    reset_to_zero=["out"],
)
@triton.jit
def tuned_kernel(x, out, n, B: tl.constexpr):
    i = tl.program_id(0) * B + tl.arange(0, B)
    tl.atomic_add(out, tl.sum(tl.load(x + i, mask=i < n, other=0.0)))


@right
def tuning_with_reset_to_zero():
    x, out = randn(70), torch.zeros(1, device=DEVICE)
    tuned_kernel[lambda meta: (triton.cdiv(70, meta["B"]),)](x, out, 70)
    near(out, x.sum().reshape(1))
