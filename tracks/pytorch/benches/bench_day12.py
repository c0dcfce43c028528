"""A convolution as a matrix product, a pooling over windows, and a batch norm out of operations."""

import torch
import torch.nn.functional as F

from harness.benching import Case, Contender, Problem, bench, goal


# conv2d by unfolding writes every pixel kernel² times, and reads that again for the product.
@bench(
    "conv2d",
    unit="FLOP/s",
    cases=[Case(n=32, channels=c, size=s, kernel=3) for c, s in ((64, 56), (256, 14))],
    cpu_cases=[Case(n=4, channels=c, size=s, kernel=3) for c, s in ((16, 28), (64, 14))],
    goals=[goal(at_least=0.2, of="torch float32")],
)
def conv2d(case: Case) -> Problem:
    n, channels, size, kernel = case.n, case.channels, case.size, case.kernel
    depth = channels * kernel**2

    def torchs(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return F.conv2d(x, weight, padding=kernel // 2)

    def in_float32(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            return torchs(x, weight)

    return Problem(
        inputs=lambda rng: (
            rng.normal(n, channels, size, size),
            rng.normal(channels, channels, kernel, kernel, std=depth**-0.5),
        ),
        oracle=lambda x, weight: torchs(x.double(), weight.double()),
        # cuDNN may take TF32 on a GPU, and does so by default: a note at the table says so.
        tolerance={"dtype": torch.float32, "terms": depth, "scale": depth**-0.5, "factor": 16.0},
        bytes=(2 * n * channels * size**2 + channels * depth) * 4,
        flops=2 * n * size**2 * channels * depth,
        ours=lambda day: lambda x, weight: day.conv2d(x, weight, padding=kernel // 2),
        peers={"torch": torchs, "torch float32": in_float32},
    )


@bench(
    "max_pool2d",
    unit="GB/s",
    cases=[Case(n=64, channels=64, size=112, kernel=k) for k in (2, 3)],
    cpu_cases=[Case(n=8, channels=16, size=56, kernel=k) for k in (2, 3)],
)
def max_pool2d(case: Case) -> Problem:
    n, channels, size, kernel = case.n, case.channels, case.size, case.kernel
    out = (size - kernel) // 2 + 1
    return Problem(
        inputs=lambda rng: (rng.normal(n, channels, size, size),),
        oracle=lambda x: F.max_pool2d(x.double(), kernel, 2),
        tolerance={"dtype": torch.float32},
        bytes=n * channels * (size**2 + out**2) * 4,
        flops=n * channels * out**2 * (kernel**2 - 1),
        ours=lambda day: lambda x: day.max_pool2d(x, kernel, 2),
        peers={"torch": lambda x: F.max_pool2d(x, kernel, 2)},
    )


@bench(
    "BatchNorm2d",
    unit="GB/s",
    cases=[Case(n=64, channels=c, size=s) for c, s in ((64, 56), (512, 14))],
    cpu_cases=[Case(n=8, channels=c, size=s) for c, s in ((16, 56), (64, 14))],
    goals=[goal(at_least=0.1, of="torch")],
)
def batch_norm(case: Case) -> Problem:
    """In training: the statistics of the batch are computed and kept."""
    n, channels, size = case.n, case.channels, case.size

    def made(norm: type[torch.nn.Module]) -> Contender:
        def prepare(x: torch.Tensor) -> tuple[torch.nn.Module, torch.Tensor]:
            return norm(channels).to(x.device), x

        def call(layer: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
            with torch.no_grad():
                out: torch.Tensor = layer(x)
                return out

        return Contender(call, prepare=prepare)

    return Problem(
        inputs=lambda rng: (rng.normal(n, channels, size, size),),
        oracle=lambda x: F.batch_norm(x.double(), None, None, training=True),
        tolerance={"dtype": torch.float32, "scale": 4.0},  # x minus its mean cancels
        bytes=2 * n * channels * size**2 * 4,
        flops=8 * n * channels * size**2,
        ours=lambda day: made(day.BatchNorm2d),
        peers={"torch": made(torch.nn.BatchNorm2d)},
    )
