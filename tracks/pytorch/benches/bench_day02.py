"""Broadcasting and scattered additions, beside the operators that torch has for them."""

import torch

from harness.benching import Case, Problem, bench, goal


def _distances(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    # As the exercise wants it: not by |a|² + |b|² - 2 a·b, which is faster and loses digits.
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


def _by_products(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.cdist(a, b, compute_mode="use_mm_for_euclid_dist")


# Broadcasting stores every difference, (n, n, d), and reads it again; cdist keeps them in
# registers. So the result is the smaller part of what is moved, and the goal is no speed.
@bench(
    "pairwise_distances",
    unit="FLOP/s",
    cases=[Case(n=n, d=d) for n, d in ((1024, 64), (4096, 64), (4096, 256))],
    cpu_cases=[Case(n=n, d=d) for n, d in ((128, 16), (128, 64), (512, 16))],
)
def pairwise_distances(case: Case) -> Problem:
    n, d = case.n, case.d
    return Problem(
        inputs=lambda rng: (rng.normal(n, d), rng.normal(n, d)),
        oracle=lambda a, b: _distances(a.double(), b.double()),
        tolerance={"dtype": torch.float32, "terms": d},
        bytes=(2 * n * d + n * n) * 4,
        flops=3 * n * n * d,  # subtract, multiply, add
        peers={"torch": _distances, "by products": _by_products},
    )


def _scattered(values: torch.Tensor, ids: torch.Tensor, segments: torch.Tensor) -> torch.Tensor:
    out = torch.zeros_like(segments)
    return out.scatter_add_(0, ids[:, None].expand_as(values), values)


def _one_hot(values: torch.Tensor, ids: torch.Tensor, segments: torch.Tensor) -> torch.Tensor:
    places = torch.arange(len(segments), device=ids.device)
    return (places[:, None] == ids).to(values.dtype) @ values


@bench(
    "segment_sum",
    unit="GB/s",
    cases=[Case(rows=2**20, columns=64, segments=s) for s in (256, 65_536)],
    cpu_cases=[Case(rows=2**14, columns=64, segments=s) for s in (16, 1024)],
    goals=[goal(at_least=0.9, of="torch")],
)
def segment_sum(case: Case) -> Problem:
    rows, columns, segments = case.rows, case.columns, case.segments

    def oracle(values: torch.Tensor, ids: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        return _scattered(values.double(), ids, out.double())

    peers = {"torch": _scattered}
    if segments <= 1024:  # beyond, the (segments, rows) matrix is what the exercise forbids
        peers["one-hot product"] = _one_hot
    return Problem(
        inputs=lambda rng: (
            rng.normal(rows, columns),
            rng.integers(0, segments, rows),
            rng.normal(segments, columns),  # for its shape
        ),
        oracle=oracle,
        tolerance={"dtype": torch.float32, "terms": -(-4 * rows // segments), "scale": 1.0},
        bytes=(rows * columns + segments * columns) * 4 + rows * 8,
        flops=rows * columns,
        ours=lambda day: lambda values, ids, out: day.segment_sum(values, ids, len(out)),
        peers=peers,
    )
