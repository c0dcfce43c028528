"""Occupancy against examples worked by hand."""

import pytest

from harness.kernels.xray.occupancy import CHIPS, chip_named, occupancy


@pytest.mark.parametrize(
    "chip, warps, registers, shared, blocks, limiter",
    [
        # 64 warps / 4 = 16 blocks; 32 registers: 1024 a warp, 64 warps.
        ("sm_80", 4, 32, 0, 16, "warps"),
        # 64 registers: 2048 a warp, 32 warps, 8 blocks of 4.
        ("sm_80", 4, 64, 0, 8, "registers"),
        # 65 registers: 2080 a warp, handed out as 2304; 16384 // 2304 = 7 a partition, 28 warps.
        ("sm_80", 4, 65, 0, 7, "registers"),
        # 255 registers: 8160, handed out as 8192; 2 a partition: one block of 8 warps.
        ("sm_90", 8, 255, 0, 1, "registers"),
        # One warp a block: 32 blocks at most on sm_90, 16 on sm_86, 24 on sm_89.
        ("sm_90", 1, 16, 0, 32, "blocks"),
        ("sm_86", 1, 16, 0, 16, "blocks"),
        ("sm_89", 1, 16, 0, 24, "blocks"),
        # 48 KiB + 1 KiB the system keeps: 164 // 49 = 3, 228 // 49 = 4, 100 // 49 = 2.
        ("sm_80", 4, 32, 48 * 1024, 3, "shared memory"),
        ("sm_90", 4, 32, 48 * 1024, 4, "shared memory"),
        ("sm_120", 4, 32, 48 * 1024, 2, "shared memory"),
        # A block of 8 warps at 188 registers (192 handed out: 2 warps a partition) fits once, and
        # so does its shared memory: more of either alone would not help.
        ("sm_90", 8, 188, 229_432, 1, "registers and shared memory"),
        # The most a block may ask for fits once; one byte more does not fit at all.
        ("sm_80", 4, 32, 163 * 1024, 1, "shared memory"),
        ("sm_80", 4, 32, 163 * 1024 + 1, 0, "shared memory"),
    ],
)
def test_by_hand(chip, warps, registers, shared, blocks, limiter):
    found = occupancy(chip_named(chip), warps=warps, registers=registers, shared_bytes=shared)
    assert (found.blocks, found.limiter) == (blocks, limiter)
    assert found.warps == blocks * warps
    assert found.fraction == blocks * warps / CHIPS[chip].warps_per_sm


def test_tensor_memory_limits_blackwell():
    found = occupancy(
        chip_named("sm_100"), warps=4, registers=32, shared_bytes=0, tensor_columns=256
    )
    assert (found.blocks, found.limiter) == (2, "tensor memory")


def test_unknown_chip_lists_those_there_are():
    with pytest.raises(ValueError, match=r"no chip is called 'sm_91'.*sm_90 \(H100, H200\)"):
        chip_named("sm_91")
