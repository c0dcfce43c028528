"""Reports of kernels whose machine code is known. All are compiled by one process, once."""

import contextlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from harness.kernels.xray import KernelReport, as_json, as_text, recording, run, save, xray
from harness.kernels.xray.launches import load
from harness.kernels.xray.testing import compiled
from tests.xray import gallery
from tests.xray.conftest import DEVICE

CHIPS = ("sm_80", "sm_90")


def launch_all():
    x = torch.ones(1 << 14, device=DEVICE)
    y = torch.empty_like(x)
    half = x.half()
    for count in (2048, 2048, 2047):
        gallery.copy_kernel[(2,)](x, y, count, 1024)
    gallery.copy_kernel[(1,)](x[1:], y, 512, 512)
    gallery.column_kernel[(1,)](x, y, 1024, 5, 1024)
    gallery.gather_kernel[(1,)](x, torch.zeros(64, dtype=torch.int32, device=DEVICE), y, 64)
    gallery.product_kernel[(1,)](half, half, half.clone(), 64, 64)
    gallery.product_kernel.fn[(1,)](half, half, half.clone(), 64, 64, BLOCK=64, num_warps=4)
    gallery.spilling_kernel[(1,)](x, y, 64, num_warps=1, maxnreg=32)


REFUSED = {
    # kernel: (text of the learner's line, part of the explanation)
    "odd_range_kernel": ("tl.arange(0, BLOCK)", "powers of two"),
    "breaking_kernel": ("break", "no `break`"),
    "carried_kernel": ("for i in range(count):", "`total` enters the loop as int32"),
    "double_kernel": ("first = second = 1.0", "two assignments"),
    "half_exp_kernel": ("tl.exp(", "was given fp16"),
    "plain_call_kernel": ("plain(1.0)", "@triton.jit on `plain`"),
    "undefined_kernel": ("missing", "`missing` has no value here"),
    "shapes_kernel": ("left + right", "Blocks broadcast"),
    "runtime_shape_kernel": ("tl.arange(0, count)", "known when the kernel is compiled"),
    "small_dot_kernel": ("tl.dot(a, b)", "K is at least 16"),
    "mixed_dot_kernel": ("tl.dot(", "same dtype"),
    "refused_in_helper_kernel": ("tl.sum(tl.zeros((BLOCK,)", "no axis 1"),
    "huge_dot_kernel": ("def huge_dot_kernel", "fewer stages"),
    "made_inside.<locals>.local_kernel": ("def", ""),
    "copy_kernel": ("def copy_kernel", "no argument `warps`"),
}


def launch_refused():
    x = torch.ones(1 << 14, device=DEVICE)
    y, half = torch.empty_like(x), x.half()
    launches = [
        lambda: gallery.odd_range_kernel[(1,)](y, 100),
        lambda: gallery.breaking_kernel[(1,)](y, 5),
        lambda: gallery.carried_kernel[(1,)](x, y, 5),
        lambda: gallery.double_kernel[(1,)](y),
        lambda: gallery.half_exp_kernel[(1,)](half, half.clone(), 64),
        lambda: gallery.plain_call_kernel[(1,)](y),
        lambda: gallery.undefined_kernel[(1,)](y),
        lambda: gallery.shapes_kernel[(1,)](y, 64),
        lambda: gallery.runtime_shape_kernel[(1,)](y, 32),
        lambda: gallery.small_dot_kernel[(1,)](x, y),
        lambda: gallery.mixed_dot_kernel[(1,)](x, half, y),
        lambda: gallery.refused_in_helper_kernel[(1,)](y, 64),
        lambda: gallery.huge_dot_kernel[(1,)](half, y, 0, 128, num_stages=8),
        lambda: gallery.made_inside(y),
        lambda: gallery.copy_kernel[(1,)](x, y, 64, 64, warps=4),
    ]
    for launch in launches:
        # The interpreter (or the GPU) may refuse some too; they are recorded before they run.
        with contextlib.suppress(Exception):
            launch()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("xray")


@pytest.fixture(scope="module")
def launches():
    with recording() as found:
        launch_all()
    return found


@pytest.fixture(scope="module")
def reports(launches, folder):
    both = [launch for launch in launches if launch.kernel == "product_kernel"] + launches[:1]
    return xray(both, ("sm_80",), folder) + xray(launches, ("sm_90",), folder)


@pytest.fixture(scope="module")
def refused(folder):
    with recording() as found:
        launch_refused()
    return {report.kernel: report for report in xray(as_compiled(found), ("sm_90",), folder)}


def as_compiled(launches):
    """Without what a GPU reported of kernels that ran on it: each is compiled for its report."""
    return [replace(launch, measured=None) for launch in launches]


def one(reports: list[KernelReport], kernel: str, chip: str, index: int = 0) -> KernelReport:
    found = [r for r in reports if (r.kernel, r.chip) == (kernel, chip)][index]
    assert found.refused is None, found.text()
    return found


def test_equal_launches_are_merged_and_counted(launches):
    copies = [launch for launch in launches if launch.kernel == "copy_kernel"]
    assert [launch.count for launch in copies] == [2, 1, 1]
    assert copies[0].signature == {
        "source": "*fp32",
        "target": "*fp32",
        "count": "i32",
        "BLOCK": "constexpr",
    }
    assert [launch.divisible() for launch in copies] == [
        ["source", "target", "count"],
        ["source", "target"],  # 2047
        ["target", "count"],  # x[1:] begins 4 bytes into its storage
    ]
    assert copies[0].grid == [2]
    product = next(launch for launch in launches if launch.kernel == "product_kernel")
    assert product.options["num_warps"] == 2  # the autotuner's
    assert [[5], 64] in product.constants


@pytest.mark.parametrize("chip", CHIPS)
def test_contiguous_copy_is_128_bits_wide(reports, chip):
    report = one(reports, "copy_kernel", chip)
    assert report.loads == {128: 2}
    assert report.stores == {128: 2}
    assert report.spill_bytes == 0
    assert report.uncoalesced == []
    assert (report.occupancy, report.limiter) == (1.0, "warps")
    assert report.tensor_core is None
    assert not report.has_dot


@pytest.mark.parametrize("index, why", [(1, "count is odd"), (2, "the source is not aligned")])
def test_specialisation_decides_the_width(reports, index, why):
    assert one(reports, "copy_kernel", "sm_90", index).widest_load_bits == 32, why


def test_the_width_of_accesses_is_told_with_what_it_could_be(reports):
    wide, narrow = (
        " ".join(one(reports, name, "sm_90").text().split())
        for name in ("copy_kernel", "column_kernel")
    )
    assert "global loads 2 instructions of 128 bits a thread global stores 2 " in wide
    assert "of 32 bits a thread; 128 is the most there is global stores" in narrow


def test_odd_count_is_named_as_the_reason(reports):
    assert "not while count = 2047 is not a multiple of 16" in " ".join(
        one(reports, "copy_kernel", "sm_90", 1).text().split()
    )


def test_column_access_is_32_bits_wide_and_not_coalesced(reports):
    report = one(reports, "column_kernel", "sm_90")
    assert report.widest_load_bits == 32
    assert report.widest_store_bits == 128
    (access,) = report.uncoalesced
    assert (access["kind"], access["step"]) == ("load", "stride")
    assert "stride = 5 apart" in " ".join(report.text().split())


def test_gathered_addresses_are_not_judged(reports):
    report = one(reports, "gather_kernel", "sm_90")
    assert sorted(str(access["contiguous"]) for access in report.accesses) == [
        "None",
        "True",
        "True",
    ]


def test_matrix_products_use_tensor_cores(reports):
    for index in (0, 1):
        ampere = one(reports, "product_kernel", "sm_80", index)
        assert ampere.has_dot
        assert ampere.tensor_core.startswith("mma (HMMA")
        assert ampere.shared_bytes > 0
        assert ampere.uncoalesced == []
        assert ampere.widest_load_bits == 128
    assert one(reports, "product_kernel", "sm_90", 1).tensor_core.startswith("wgmma (HGMMA")
    two_warps = one(reports, "product_kernel", "sm_90", 0)
    assert two_warps.tensor_core.startswith("mma (HMMA")
    assert "num_warps >= 4" in two_warps.text()


def test_a_spill_is_reported(reports):
    report = one(reports, "spilling_kernel", "sm_90")
    assert report.spill_bytes > 0
    assert "SPILLS" in report.text()


@pytest.mark.parametrize("kernel", REFUSED)
def test_a_refused_kernel_names_the_line(refused, kernel):
    line_text, part = REFUSED[kernel]
    refusal = refused[kernel].refused
    assert refusal is not None, refused[kernel].text()
    assert line_text in refusal.source
    lines = Path(gallery.__file__).read_text().splitlines()
    assert refusal.file == gallery.__file__
    if not refusal.source.startswith("def"):
        assert lines[refusal.line - 1].strip() == refusal.source
    assert part in refusal.explanation
    shown = " ".join(refused[kernel].text().split())
    assert " ".join(refusal.message.split()) in shown


def test_every_refused_launch_has_a_report(refused):
    assert set(refused) == set(REFUSED)


def test_text_fits_a_terminal_and_json_comes_back(reports, refused):
    everything = [*reports, *refused.values()]
    assert max(len(line) for line in as_text(everything).splitlines()) <= 80
    assert [KernelReport.from_json(data) for data in json.loads(as_json(everything))] == everything


def test_kept_reports_need_no_compiler(launches, reports, folder, tmp_path, monkeypatch):
    def no_process(jobs, note):
        raise AssertionError("the compiler was started")

    monkeypatch.setattr(run, "_compiling_process", no_process)
    kept = [report for report in reports if report.chip == "sm_90"]
    assert xray(launches, ("sm_90",), folder) == kept
    with pytest.raises(AssertionError, match="the compiler was started"):
        xray(as_compiled(launches), ("sm_90",), tmp_path)


def test_launches_survive_a_file(launches, tmp_path):
    save(launches, tmp_path / "launches.json")
    assert load(tmp_path / "launches.json") == launches


DAY = """
import triton
import triton.language as tl
import a_module_that_is_not_there
from tracks.triton.day98 import shift

@triton.jit
def copy_kernel(source, target, count, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(target + shift(offsets), tl.load(source + shift(offsets)))
"""
EARLIER = """
import triton
@triton.jit
def shift(offsets):
    return offsets * 3
"""


def test_other_days_are_the_files_that_were_imported(launches, tmp_path):
    """And of the kernel's own file only what it needs is run: the missing import does no harm."""
    (tmp_path / "day99.py").write_text(DAY)
    (tmp_path / "chosen.py").write_text(EARLIER)
    launch = replace(
        launches[0],
        file=str(tmp_path / "day99.py"),
        module="tracks.triton.day99",
        days={"tracks.triton.day98": str(tmp_path / "chosen.py")},
    )
    (report,) = xray([launch], ("sm_80",), tmp_path / "kept")
    assert report.refused is None, report.text()
    assert [access["step"] for access in report.uncoalesced] == [3, 3]
    assert report.loads == {32: 8}


def test_compiled_gives_the_reports_of_a_call():
    x = torch.ones(2048, device=DEVICE)
    with pytest.raises(ValueError, match="no chip is called 'sm_1'"):
        compiled(lambda: gallery.copy_kernel[(2,)](x, x.clone(), 2048, 1024), chip="sm_1")


def test_compiled_says_when_nothing_was_launched():
    with pytest.raises(AssertionError, match="<lambda> launched no kernel"):
        compiled(lambda: None)


def test_a_compiler_that_dies_costs_one_kernel(launches, tmp_path, monkeypatch):
    """The process answers one job and dies on the second: the third still gets its report."""
    real = run._compiling_process
    calls = []

    def dying(jobs, note):
        calls.append(len(jobs))
        ends = len(calls) == 1
        return (real(jobs[:1], note)[0], "exit code -11") if ends else real(jobs, note)

    monkeypatch.setattr(run, "_compiling_process", dying)
    told: list[tuple[int, int]] = []
    first, second, third = xray(
        launches[:3], ("sm_80",), tmp_path, note=lambda done, total: told.append((done, total))
    )
    assert calls == [3, 1]
    assert told == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert first.refused is None
    assert third.refused is None
    assert "exit code -11" in second.refused.message
    assert len(list(tmp_path.iterdir())) == 2  # a crash is tried again next time


def test_a_compiler_that_cannot_start_is_no_kernels_fault(launches, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "environment", lambda: {})
    monkeypatch.setattr(run.sys, "executable", "/bin/false")
    with pytest.raises(RuntimeError, match="could not start"):
        xray(launches[:1], ("sm_80",), tmp_path)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="compares with the driver of a GPU")
def test_figures_are_those_of_the_driver():
    x = torch.ones(1 << 14, device=DEVICE)
    ran = []

    def launch():
        y = torch.empty_like(x)
        ran.append(gallery.spilling_kernel[(1,)](x, y, 64, num_warps=1, maxnreg=32))

    major, minor = torch.cuda.get_device_capability()
    (report,) = compiled(launch, chip=f"sm_{major}{minor}")
    (kernel,) = ran
    assert report.ran
    assert report.registers == kernel.n_regs
    assert report.spill_bytes == kernel.n_spills * 4
    limit = torch.cuda.get_device_properties(0).shared_memory_per_block_optin
    assert report.shared_limit == limit
