"""Day 19: Tuning
==============
Estimated time: 2 hours
Prerequisites: Day 18 (L2 cache)
Lesson: lessons/day19.md

Learning objectives:
- Say from FLOPs and bytes how fast a device can be at best, and what limits it
- Count what a configuration costs in shared memory and in registers
- Write a list of configurations that all compile well, for large results and for small ones
- Leave out what cannot fit or cannot pay before anything is timed
- Let Triton time the rest, once for each size, and launch what won

    FLOP/s
      |            ____________________   the rate of the arithmetic units
      |           /.                 x    a large square product: limited by arithmetic
      |          / .
      |         /  .
      |        /   .
      |       x    .                      a matrix times a few columns: limited by memory
      |      /     .
      +-----/------+-------------------
                   the ridge              FLOPs for each byte

Hints:
- A device moves bytes and computes at the same time. Which of the two ends last?
- All stages of the pipeline hold operands at once; the sums are in registers all the time.
- A list of configurations is for all sizes and all cards. Not each is for each.
Resources:
- Williams, Waterman, Patterson, Roofline: https://doi.org/10.1145/1498765.1498785
- Triton, triton.autotune: https://triton-lang.org/main/python-api/generated/triton.autotune.html
- Triton, triton.Config: https://triton-lang.org/main/python-api/generated/triton.Config.html
- NVIDIA H200 data sheet: https://www.nvidia.com/en-us/data-center/h200/
- CUDA C++ Programming Guide, Compute Capabilities: https://docs.nvidia.com/cuda/cuda-c-programming-guide/#compute-capabilities
"""

import functools
from dataclasses import dataclass
from typing import Any

import torch
import triton

from tracks.triton.day17 import _sizes
from tracks.triton.day18 import matmul_grouped, matmul_grouped_kernel

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@dataclass(frozen=True)
class Device:
    """A GPU: what one program can have of it, and how fast the whole of it is at best.

    shared: bytes of shared memory that one program can have.
    flops: 16-bit products and float32 sums of its tensor cores, a second, without sparsity.
    bandwidth: bytes a second between memory and chip.
    """

    name: str
    shared: int
    flops: float
    bandwidth: float


# The shared memory is from CUDA's programming guide, the rates are from NVIDIA's data sheets (for
# the RTX 4090 from the whitepaper on the Ada architecture).
H200 = Device("NVIDIA H200", 227 * 1024, 989e12, 4.8e12)
A100 = Device("NVIDIA A100-SXM4-80GB", 163 * 1024, 312e12, 2.039e12)
RTX_4090 = Device("NVIDIA GeForce RTX 4090", 99 * 1024, 165e12, 1.008e12)
DEVICES = (H200, A100, RTX_4090)


def this_device() -> Device:
    """The GPU in this machine; without one an H200, for which kernels are compiled then.

    A card that is not in DEVICES has nan for its two rates.
    """
    if not torch.cuda.is_available():
        return H200
    card = torch.cuda.get_device_properties()
    for device in DEVICES:
        if device.name == card.name:
            return device
    nan = float("nan")
    return Device(card.name, card.shared_memory_per_block_optin, nan, nan)


def roofline(flops: float, bytes: float, device: Device) -> tuple[float, str]:
    """The least time that work takes on a device, and what sets it: the roofline model.

    Arithmetic alone would take flops / device.flops seconds, the traffic alone bytes /
    device.bandwidth. Both go on at the same time, so the whole takes at least the longer of the
    two. "compute" or "memory" says which one that is; where they are equal, "compute". (The usual
    picture shows flops divided by this time over flops / bytes: a slope, and then a flat roof.)

    Args:
        flops: floating-point operations, 0 or more; a product and its sum are two.
        bytes: bytes that move between memory and chip, 0 or more.
        device: with its two rates. If they are nan (``this_device`` of an unknown card), the result
            means nothing.

    Returns:
        (seconds, "compute" or "memory").

    Raises:
        ValueError: flops or bytes is negative.

    Example:
        With a device of 100 FLOP/s and 10 bytes/s, roofline(500, 20, device) is (5.0, "compute")
        and roofline(500, 80, device) is (8.0, "memory").
    """
    # TODO: compute the two times and compare them.
    # HINT: Is the time of two things that go on at once their sum?
    ### BEGIN SOLUTION
    # HINT: Refuse what is negative; then two divisions and one comparison are left.
    # HINT: arithmetic = flops / device.flops; traffic = bytes / device.bandwidth; return
    #       (traffic, "memory") if traffic > arithmetic.
    if flops < 0 or bytes < 0:
        raise ValueError(f"flops and bytes are 0 or more, not {flops} and {bytes}")
    arithmetic, traffic = flops / device.flops, bytes / device.bandwidth
    return (traffic, "memory") if traffic > arithmetic else (arithmetic, "compute")
    ### END SOLUTION


def fits(config: triton.Config, device: Device) -> bool:
    """Whether a configuration of day 18's kernel has room on a device, for operands of 16 bits.

    Two things must fit, both by a count that is known before anything is compiled:

    1. Shared memory. Each of num_stages stages holds a tile of a and a tile of b, BLOCK_M x BLOCK_K
       and BLOCK_K x BLOCK_N numbers of 2 bytes. Together at most device.shared bytes. (On Hopper
       that is what the compiler takes, to the byte. On older cards it takes one stage less.)
    2. Registers. BLOCK_M x BLOCK_N sums are float32 numbers of one register each, dealt out evenly
       to 32 * num_warps threads. At most 128 for each thread, for it has 255 in all, and at most
       32,768 for the program, half of what a multiprocessor has, whatever the device: operands,
       addresses and masks need the others.

    Args:
        config: config.kwargs holds BLOCK_M, BLOCK_N and BLOCK_K; config.num_warps and
            config.num_stages are numbers.
        device: with its shared memory.

    Returns:
        True if both fit.

    Example:
        Tiles of 128 x 256 with BLOCK_K = 64 in 4 stages take 4 * (128 + 256) * 64 * 2 = 196,608
        bytes: with 8 warps (128 sums a thread) they fit on an H200, but not on an A100. With 4
        warps they fit nowhere: a thread would have 256 sums.
    """
    # TODO: count the bytes of all stages, the sums of a thread and those of the program.
    # HINT: Which of the numbers in a configuration decide about the operands, which about the sums?
    ### BEGIN SOLUTION
    # HINT: A stage is (BLOCK_M + BLOCK_N) * BLOCK_K numbers of 2 bytes; all must have room at once.
    # HINT: sums = BLOCK_M * BLOCK_N; ask for sums <= 32_768 and sums <= 128 * 32 * num_warps.
    m, n, k = (config.kwargs[name] for name in ("BLOCK_M", "BLOCK_N", "BLOCK_K"))
    shared = config.num_stages * (m + n) * k * 2
    sums = m * n
    return shared <= device.shared and sums <= 128 * 32 * config.num_warps and sums <= 32_768
    ### END SOLUTION


def configs() -> list[triton.Config]:
    """The configurations of day 18's kernel that tuning may choose from.

    Each sets the kernel's four constants, BLOCK_M, BLOCK_N, BLOCK_K and GROUP, and num_warps and
    num_stages. No single one is best: a large tile uses each number that it loads more often, a
    small one makes more programs, and less of it sticks out of a small result.

    Limits, all of them tested:
        - 4 to 6 configurations, no two of them equal: each costs a compilation and a timing for
          each new size.
        - Each fits on an H200 (``fits``), and compiles for sm_90 to tensor-core instructions
          (wgmma: at least 64 rows and 4 warps), with loads of 128 bits, without spilled registers
          and with no more shared memory than there is.
        - One has a tile of 32,768 elements, the most that ``fits`` allows, and one has a tile of at
          most 64 x 64.
        - On each of DEVICES at least two of them fit.

    Returns:
        A new list of triton.Config.

    Example:
        triton.Config({"BLOCK_M": 64, "BLOCK_N": 64, "BLOCK_K": 64, "GROUP": 8}, num_warps=4,
        num_stages=4) may be one of them.
    """
    # TODO: List configurations from small to large.
    # HINT: Which tile had day 17's _config for large results, and which for small ones?
    ### BEGIN SOLUTION
    # HINT: Begin with 64 x 64 and 128 x 256 and fill the gap between; fits says what has room.
    # HINT: BLOCK_K = 64 and 3 or 4 stages; 4 warps for 64 x 64 and 64 x 128, 8 warps for 128 x 128,
    #       128 x 256 and 256 x 128.
    return [
        triton.Config(
            {"BLOCK_M": m, "BLOCK_N": n, "BLOCK_K": 64, "GROUP": 8},
            num_warps=warps,
            num_stages=stages,
        )
        for m, n, warps, stages in (
            (64, 64, 4, 4),
            (64, 128, 4, 4),
            (128, 128, 8, 3),
            (256, 128, 8, 4),
            (128, 256, 8, 4),
        )
    ]
    ### END SOLUTION


def prune(
    candidates: list[triton.Config], named_args: dict[str, Any], **kwargs: Any
) -> list[triton.Config]:
    """What is left to be timed for one launch: triton.autotune calls this as early_config_prune.

    Two rules, in this order:

    1. What does not fit (``fits``) on ``this_device()`` is left out.
    2. Of the others, what is needlessly large is left out: a tile of which one half would cover all
       m rows, or all n columns, so BLOCK_M >= 2 * m or BLOCK_N >= 2 * n. If that leaves nothing,
       the smallest tile of those that fit is kept (by BLOCK_M * BLOCK_N; the first of equals).

    Args:
        candidates: configurations in any order, each with BLOCK_M, BLOCK_N and BLOCK_K in kwargs.
        named_args: arguments of the launch by their names: those that were given by position.
        kwargs: the others, which were given by name. m and n (ints, 0 or more) are both given, but
            one may be in named_args and the other in kwargs.

    Returns:
        A new list, in the order of candidates; never an empty one. The list candidates and the dict
        named_args stay as they are.

    Raises:
        ValueError: none of candidates fits on this device.

    Example:
        With tiles of 64 x 64 and of 128 x 256 that both fit, prune keeps both for m = n = 1000, and
        the first one for m = 64, n = 1000.
    """
    # TODO: filter twice; say what is wrong if nothing fits.
    # HINT: What does a tile of 256 rows do for a result of 10 rows?
    ### BEGIN SOLUTION
    # HINT: given = {**named_args, **kwargs} has m and n, however they were given.
    # HINT: min(fitting, key=...) finds the first of the smallest.
    given = {**named_args, **kwargs}
    device = this_device()
    fitting = [config for config in candidates if fits(config, device)]
    if not fitting:
        raise ValueError(f"none of {len(candidates)} configurations fits on {device.name}")
    useful = [
        config
        for config in fitting
        if config.kwargs["BLOCK_M"] < 2 * given["m"] and config.kwargs["BLOCK_N"] < 2 * given["n"]
    ]
    return useful or [min(fitting, key=lambda c: c.kwargs["BLOCK_M"] * c.kwargs["BLOCK_N"])]
    ### END SOLUTION


@functools.cache
def tuner() -> Any:
    """Day 18's matmul_grouped_kernel under triton.autotune, made at the first call and kept.

    What it returns is launched as the kernel is, but without the constants of a configuration:
    ``tuner()[grid](a, b, out, *a.stride(), *b.stride(), m, n, k)``. The first launch with a new m,
    n, k or dtype times each of ``configs()`` that ``prune`` leaves, and remembers the fastest;
    later launches of that size take it at once, whatever their strides. Nothing is reset or
    restored for the timing, since the kernel reads nothing of out and writes all of it.

    ``functools.cache`` keeps the tuner between calls, and with it all that was measured. This
    course's interpreter, which runs kernels where there is no GPU, times nothing: it takes the
    first configuration that is left.

    Returns:
        The autotuned kernel.
    """
    # TODO: give triton.autotune the configurations, the key and the pruning, then the kernel.
    # HINT: For which arguments of the kernel may another configuration be the fastest?
    ### BEGIN SOLUTION
    # HINT: triton.autotune(configs=..., key=[names of arguments], prune_configs_by={...}) returns a
    #       decorator; calling that with a kernel is what @ does.
    # HINT: key=["m", "n", "k"] and prune_configs_by={"early_config_prune": prune}.
    decorate = triton.autotune(
        configs=configs(), key=["m", "n", "k"], prune_configs_by={"early_config_prune": prune}
    )
    return decorate(matmul_grouped_kernel)
    ### END SOLUTION


def matmul_autotuned(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Matrix product a @ b in one launch, with the configuration that is fastest for its size.

    The launch goes through ``tuner()``. Its grid depends on the configuration, which is not chosen
    yet when you write the launch: so the grid is a function that Triton calls with the arguments by
    name, the constants of the chosen configuration among them.

    Limits: one launch (besides those that tuning makes) with a grid of one axis, of one program for
    each tile of the chosen configuration. Where the result is empty there may be none; where only k
    is 0 there is one as well. No memory but the result's, and nothing fills that before the launch.

    Args:
        a: (m, k) of any strides, 0 among them; float16 or bfloat16. Any size may be 0.
        b: (k, n) of any strides and a's dtype.

    Returns:
        A new contiguous (m, n) tensor of a's dtype, products and sums in float32 and rounded once.

    Raises:
        ValueError: a's dtype is another one (the configurations are made for operands of 16 bits),
            or ``_sizes`` of day 17 refuses a and b.

    Example:
        matmul_autotuned([[1, 2], [3, 4]], [[10], [1]]) is [[12], [34]].
    """
    # TODO: refuse other dtypes, allocate, launch with a grid that is a function.
    # HINT: How many programs are there, if the tile has meta["BLOCK_M"] rows?
    ### BEGIN SOLUTION
    # HINT: def grid(meta): returns a tuple of one number, triton.cdiv(m, meta["BLOCK_M"]) times the
    #       tiles side by side.
    # HINT: tuner()[grid](a, b, out, *a.stride(), *b.stride(), m, n, k).
    m, n, k = _sizes(a, b)
    if a.dtype not in (torch.float16, torch.bfloat16):
        raise ValueError(f"a and b are float16 or bfloat16, not {a.dtype}")
    out = torch.empty((m, n), dtype=a.dtype, device=a.device)

    def grid(meta: dict[str, Any]) -> tuple[int]:
        return (triton.cdiv(m, meta["BLOCK_M"]) * triton.cdiv(n, meta["BLOCK_N"]),)

    tuner()[grid](a, b, out, *a.stride(), *b.stride(), m, n, k)
    return out
    ### END SOLUTION


def test_roofline_of_a_small_device() -> None:
    device = Device("toy", shared=1024, flops=100.0, bandwidth=10.0)
    assert roofline(500, 20, device) == (5.0, "compute")
    assert roofline(500, 80, device) == (8.0, "memory")


def test_fits_of_the_largest_tile() -> None:
    sizes = {"BLOCK_M": 128, "BLOCK_N": 256, "BLOCK_K": 64, "GROUP": 8}
    assert fits(triton.Config(sizes, num_warps=8, num_stages=4), H200)
    assert not fits(triton.Config(sizes, num_warps=8, num_stages=4), A100)
    assert not fits(triton.Config(sizes, num_warps=4, num_stages=4), H200)


def test_prune_for_few_rows() -> None:
    small, large = (
        triton.Config({"BLOCK_M": m, "BLOCK_N": 64, "BLOCK_K": 64, "GROUP": 8}) for m in (64, 128)
    )
    assert prune([large, small], {"m": 1000, "n": 1000}) == [large, small]
    assert prune([large, small], {"m": 64, "n": 1000}) == [small]


def test_tuned_equals_untuned() -> None:
    a = torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.float16, device=DEVICE)
    b = torch.tensor([[10.0], [1.0]], dtype=torch.float16, device=DEVICE)
    assert matmul_autotuned(a, b).tolist() == matmul_grouped(a, b).tolist() == [[12.0], [34.0]]


if __name__ == "__main__":
    from harness import main

    main(__file__)
