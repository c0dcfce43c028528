"""Day 1: values, and above all which results share memory with the input."""

import contextlib

import pytest
import torch

from harness.testing import close, exercise, layouts, shapes, watch
from tracks.pytorch import day01


def shares_memory(a, b):
    return a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr()


@contextlib.contextmanager
def elsewhere_by_default():
    """What is made without device= lands on the device "meta", which holds no elements."""
    try:
        with torch.device("meta"):
            yield
    except NotImplementedError as error:  # "Cannot copy out of meta tensor": moved afterwards
        if "meta" not in str(error):
            raise
        pytest.fail("a tensor is made on the default device and then moved to the one asked for")


MADE = {
    "numbers": (torch.int64, [[1, 2], [3, 4]]),
    "scalar": (torch.float32, 2.5),
    "zeros": (torch.float32, [[0, 0, 0], [0, 0, 0]]),
    "evens": (torch.int64, [0, 2, 4, 6, 8]),
    "line": (torch.float64, [0, 0.25, 0.5, 0.75, 1]),
    "identity": (torch.bool, [[True, False, False], [False, True, False], [False, False, True]]),
    "thirds": (torch.bfloat16, [1 / 3] * 4),
}


@exercise("make_tensors")
@pytest.mark.parametrize("name", MADE)
def test_make_tensors_values(name, device):
    dtype, elements = MADE[name]
    made = day01.make_tensors(device)
    assert name in made, f"there is no {name!r} among {sorted(made)}"
    close(made[name], torch.tensor(elements, dtype=dtype, device=device), name=name)


@exercise("make_tensors")
def test_make_tensors_returns_these_names_and_no_others():
    made, wanted = set(day01.make_tensors()), set(MADE)
    assert made == wanted, f"missing {sorted(wanted - made)}, unexpected {sorted(made - wanted)}"


@exercise("make_tensors")
def test_make_tensors_uses_the_device(device):
    with elsewhere_by_default():
        made = day01.make_tensors(device)
    for name, x in made.items():
        assert x.device.type == device.type, (
            f"{name!r} was asked for on {device} and lies on {x.device}"
        )


@exercise("make_tensors")
def test_make_tensors_shares_nothing(device):
    first, second = day01.make_tensors(device), day01.make_tensors(device)
    everything = [*first.values(), *second.values()]
    assert len({x.untyped_storage().data_ptr() for x in everything}) == len(everything), (
        "two of the tensors share memory: writing into one would change the other"
    )


@exercise("describe")
def test_describe_reads_views(device):
    base = torch.zeros(4, 6, device=device)  # 24 elements, 96 bytes
    cases = {
        "x": (base, (4, 6), (6, 1), 0, True, 96),
        "x.T": (base.T, (6, 4), (1, 6), 0, False, 96),
        "x[1:, ::2]": (base[1:, ::2], (3, 3), (6, 2), 6, False, 36),
        "x[:, 2:4]": (base[:, 2:4], (4, 2), (6, 1), 2, False, 32),
        "x[2:]": (base[2:], (2, 6), (6, 1), 12, True, 48),
        "x[2, 3]": (base[2, 3], (), (), 15, True, 4),
        "x.expand(5, 4, 6)": (base.expand(5, 4, 6), (5, 4, 6), (0, 6, 1), 0, False, 480),
        "x[:0]": (base[:0], (0, 6), (6, 1), 0, True, 0),
    }
    for name, (x, shape, stride, offset, contiguous, size) in cases.items():
        seen = day01.describe(x)
        assert seen.shape == shape, f"{name}: shape {shape}, described as {seen.shape}"
        assert seen.stride == stride, f"{name}: stride {stride}, described as {seen.stride}"
        assert seen.offset == offset, f"{name}: offset {offset}, described as {seen.offset}"
        assert seen.contiguous is contiguous, f"{name}: contiguous is {contiguous}"
        assert seen.bytes == size, f"{name}: {size} bytes of elements, described as {seen.bytes}"
        assert seen.storage_bytes == 96, (
            f"{name}: the storage under it holds 96 bytes, described as {seen.storage_bytes}"
        )


@exercise("describe")
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.int32, torch.bool])
def test_describe_dtype_and_device(dtype, device):
    x = torch.zeros(3, 5, dtype=dtype, device=device)[1:]
    seen = day01.describe(x)
    width = {torch.float64: 8, torch.bfloat16: 2, torch.int32: 4, torch.bool: 1}[dtype]
    assert (seen.dtype, seen.device) == (dtype, x.device)
    assert (seen.offset, seen.stride) == (5, (5, 1)), "offset and strides count elements, not bytes"
    assert (seen.bytes, seen.storage_bytes) == (10 * width, 15 * width)


@exercise("describe")
def test_describe_is_made_of_plain_values(device):
    seen = day01.describe(torch.zeros(2, 3, device=device))
    assert isinstance(seen, day01.Description)
    for field in ("shape", "stride"):
        value = getattr(seen, field)
        assert isinstance(value, tuple), f"{field} is a {type(value).__name__}, not a tuple"


def selections(x, rows, picks, threshold):
    """What each selection holds, element by element, by Python's own indexing."""
    m = x.tolist()
    return {
        "last_row": m[-1],
        "first": [[row[0]] for row in m],
        "inner": [row[1:-1] for row in m[1:-1]],
        "alternate": [row[::2] for row in m],
        "rows": [m[i] for i in rows.tolist()],
        "picked": [row[j] for row, j in zip(m, picks.tolist(), strict=True)],
        "above": [e for row in m for e in row if e > threshold],
        "upside_down": m[::-1],
    }


VIEWS = {"last_row", "first", "inner", "alternate"}


@exercise("select")
@shapes("rows, columns", (2, 2), (2, 3), (3, 4), (7, 5), (5, 9))
def test_select_values(rows, columns, device, rng):
    base = rng.normal(rows, columns)
    numbers = rng.integers(-rows, rows, 2 * rows)  # with repeats and negative numbers
    picks = rng.integers(0, columns, rows)
    for layout, x in layouts(base):
        taken = day01.select(x, numbers, picks, 0.25)
        expected = selections(base, numbers, picks, 0.25)
        assert set(taken) == set(expected), f"the names are {sorted(expected)}"
        for name, elements in expected.items():
            shape = {"inner": (rows - 2, columns - 2)}.get(name, torch.tensor(elements).shape)
            wanted = torch.tensor(elements, dtype=x.dtype, device=device).reshape(shape)
            close(taken[name], wanted, name=f"{name} of a {layout} x")


@exercise("select")
def test_select_views_and_copies(device, rng):
    base = rng.normal(5, 6)
    picks = rng.integers(0, 6, 5)
    for layout, x in layouts(base):
        for name, got in day01.select(x, rng.permutation(5), picks, -9.0).items():
            if name in VIEWS:
                assert shares_memory(got, x), (
                    f"{name} of a {layout} x is a copy: memory for nothing"
                )
            else:
                assert not shares_memory(got, x), (
                    f"{name} of a {layout} x shares memory with x: writing into it would change x"
                )


@exercise("select")
def test_select_when_nothing_is_above(device, rng):
    x = rng.uniform(3, 4)
    taken = day01.select(x, rng.permutation(3)[:0], rng.integers(0, 4, 3), 2.0)
    assert taken["above"].shape == (0,), "no element is above 2: an empty vector is expected"
    assert taken["rows"].shape == (0, 4), "no row was asked for: shape (0, columns) is expected"


@exercise("select")
def test_select_leaves_out_the_threshold_itself(device):
    x = torch.tensor([[1.0, 2.0], [2.0, 3.0]], device=device)
    index = torch.tensor([0, 1], device=device)
    above = day01.select(x, index, index, 2.0)["above"].tolist()
    assert above == [3.0], f"of 1, 2, 2, 3 only 3 is above 2, but above holds {above}"


@exercise("reshape_like")
def test_reshape_like_leaves_the_pattern_alone(rng):
    x, like = rng.normal(2, 6), rng.normal(3, 4)  # rng sees to it that both stay as they are
    for given in (x, x[:, ::2].T.contiguous().T.repeat(1, 2), x.T):
        result, _ = day01.reshape_like(given, like)
        assert torch.equal(result, given.reshape(3, 4))
        assert result.data_ptr() != like.data_ptr(), "the result lies in the memory of the pattern"


@exercise("reshape_like")
@shapes("shape, target", ((), (1, 1)), ((4, 6), (24,)), ((3, 5), (5, 3)), ((2, 3, 4), (4, 6)),
        ((0, 3), (2, 0)), ((24,), (2, 3, 4)))  # fmt: skip
def test_reshape_like_values(shape, target, device, rng):
    base = rng.integers(-100, 100, *shape)
    for dtype in (torch.float32, torch.int64, torch.bfloat16):
        wanted = torch.tensor(base.flatten().tolist(), dtype=dtype, device=device).reshape(target)
        for layout, x in layouts(base.to(dtype)):
            result, _ = day01.reshape_like(x, torch.empty(target, device=device))
            close(result, wanted, name=f"a {layout} x of {dtype} reshaped")


@exercise("reshape_like")
def test_reshape_like_says_view_or_copy(device, rng):
    x = rng.normal(4, 6)
    cases = [
        ("x as (24,)", x, (24,), True),
        ("x as (2, 2, 6)", x, (2, 2, 6), True),
        ("x.T as (24,)", x.T, (24,), False),
        ("x.T as (3, 2, 4)", x.T, (3, 2, 4), True),
        ("x[:, ::2] as (4, 3, 1)", x[:, ::2], (4, 3, 1), True),
        ("x[:, ::2] as (12,)", x[:, ::2], (12,), True),
        ("x[:, 1:] as (20,)", x[:, 1:], (20,), False),
        ("x[:, 2:] as (2, 2, 4)", x[:, 2:], (2, 2, 4), True),
        ("x[1:] as (9, 2)", x[1:], (9, 2), True),
        ("x[:1].expand(4, 6) as (24,)", x[:1].expand(4, 6), (24,), False),
        ("x[:1].expand(4, 6) as (2, 2, 6)", x[:1].expand(4, 6), (2, 2, 6), True),
    ]
    for name, view, target, possible in cases:
        result, is_view = day01.reshape_like(view, torch.empty(target))
        shared = shares_memory(result, x)
        assert shared is possible, f"{name}: " + (
            "memory was copied where a view does" if possible else "no view can do this"
        )
        assert is_view is shared, f"{name}: is_view is {is_view!r}, but shared memory is {shared}"


@exercise("reshape_like")
def test_reshape_like_allocates_nothing_for_a_view(device, rng):
    x = rng.normal(64, 64)[:, ::2]
    (_, is_view), seen = watch(day01.reshape_like, x, torch.empty(2048))
    assert is_view
    assert seen.peak_bytes == 0, f"{seen.peak_bytes} bytes were allocated for a view"


@exercise("reshape_like")
def test_reshape_like_refuses_another_number_of_elements(device, rng):
    x = rng.normal(4, 6)
    for target in [(5, 5), (23,), (1, 6), (0,)]:
        with pytest.raises(ValueError) as refusal:
            day01.reshape_like(x, torch.empty(target))
            pytest.fail(f"the {x.numel()} elements of {(*x.shape,)} went into the shape {target}")
        message = str(refusal.value)
        for shape in (x.shape, target):
            assert all(str(length) in message for length in shape), (
                f"the message should name both shapes, (4, 6) and {target}: {message!r}"
            )


@exercise("checkerboard")
@pytest.mark.parametrize("n", [0, 1, 2, 3, 8, 33])
def test_checkerboard(n, device):
    wanted = [[(i + j) % 2 for j in range(n)] for i in range(n)]
    wanted = torch.tensor(wanted, dtype=torch.int64, device=device).reshape(n, n)
    close(day01.checkerboard(n, device), wanted, name=f"checkerboard({n})")


@exercise("checkerboard")
def test_checkerboard_uses_the_device(device):
    with elsewhere_by_default():
        board = day01.checkerboard(4, device)
    assert board.device.type == device.type, (
        f"asked for on {device}, the board lies on {board.device}"
    )


@exercise("checkerboard")
def test_checkerboard_has_no_loop(device):
    _, small = watch(day01.checkerboard, 4, device)
    _, large = watch(day01.checkerboard, 64, device)
    assert len(large.operators) <= len(small.operators), (
        f"{len(small.operators)} operators for n = 4, {len(large.operators)} for n = 64"
    )


def windows(row, size, step):
    return [row[i : i + size] for i in range(0, len(row) - size + 1, step)]


@exercise("sliding_windows", ban=["unfold"])
@shapes("n, size, step", (1, 1, 1), (6, 4, 2), (7, 3, 1), (8, 3, 3), (9, 9, 4), (10, 2, 5),
        (11, 4, 2))  # fmt: skip
def test_sliding_windows_values(n, size, step, device, rng):
    base = rng.normal(n)
    wanted = torch.tensor(windows(base.tolist(), size, step), device=device)
    for layout, x in layouts(base):
        result = day01.sliding_windows(x, size, step)
        close(result, wanted, name=f"windows of x ({layout})")
        assert shares_memory(result, x), f"the windows of x ({layout}) are a copy, not a view"


@exercise("sliding_windows", ban=["unfold"])
@shapes("a, b, n", (1, 1, 5), (3, 2, 8), (2, 3, 7), (0, 2, 6))
def test_sliding_windows_of_the_last_axis(a, b, n, device, rng):
    base = rng.normal(a, b, n)
    rows = [windows(row, 3, 2) for row in base.reshape(-1, n).tolist()]
    wanted = torch.tensor(rows, dtype=base.dtype, device=device).reshape(a, b, (n - 3) // 2 + 1, 3)
    for layout, x in layouts(base):
        result = day01.sliding_windows(x, 3, 2)
        close(result, wanted, name=f"windows of x ({layout})")


@exercise("sliding_windows", ban=["unfold"])
def test_sliding_windows_steps_by_one_unless_told(device, rng):
    x = rng.normal(9)
    close(day01.sliding_windows(x, 4), torch.tensor(windows(x.tolist(), 4, 1), device=device))


@exercise("sliding_windows", ban=["unfold"])
def test_sliding_windows_allocates_nothing(device, rng):
    x = rng.normal(10_000)
    result, seen = watch(day01.sliding_windows, x, 1000)
    assert result.shape == (9001, 1000)
    assert seen.peak_bytes == 0, f"{seen.peak_bytes} bytes were allocated; a view takes none"


@exercise("sliding_windows", ban=["unfold"])
@pytest.mark.parametrize("size, step", [(0, 1), (-1, 1), (6, 1), (2, 0), (2, -1)])
def test_sliding_windows_refuses(size, step, device, rng):
    x = rng.normal(3, 5)
    with pytest.raises(ValueError):
        windows = day01.sliding_windows(x, size, step)
        pytest.fail(f"of 5 elements, size={size}, step={step} made {(*windows.shape,)} windows")
