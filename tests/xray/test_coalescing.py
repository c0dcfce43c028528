"""Steps and layouts read from TTGIR text."""

from harness.kernels.xray.coalescing import accesses

COLUMNS = "tensor<64xi32, #ttg.slice<{dim = 0, parent = #blocked}>>"
LAYOUT = "sizePerThread = [1, 4], threadsPerWarp = [2, 16], warpsPerCTA = [4, 1], order = [1, 0]"
POINTERS = "tensor<64x64x!tt.ptr<f16>, #blocked>"
OFFSETS = "tensor<64x64xi32, #blocked>"
ROW = "tensor<1x64xi32, #blocked>"

TTGIR = f"""
#blocked = #ttg.blocked<{{{LAYOUT}}}>
#loc = loc("day.py":7:0)
module {{
  tt.func public @k(%x: !tt.ptr<f16> loc("x"(#loc)), %n: i32 loc("n"(#loc))) {{
    %c2 = arith.constant 2 : i32 loc(#loc)
    %c = tt.make_range {{end = 64 : i32, start = 0 : i32}} : {COLUMNS} loc(#loc)
    %c3 = tt.expand_dims %c {{axis = 0 : i32}} : {COLUMNS} -> {ROW} loc(#loc)
    %p = tt.splat %x : !tt.ptr<f16> -> {POINTERS} loc(#loc)
    %s = tt.splat STRIDE : i32 -> {ROW} loc(#loc)
    %c4 = arith.muli %c3, %s : {ROW} loc(#loc)
    %c5 = tt.broadcast %c4 : {ROW} -> {OFFSETS} loc(#loc)
    %q = tt.addptr %p, %c5 : {POINTERS}, {OFFSETS} loc(#loc)
    %v = tt.load %q : {POINTERS} loc(#loc2)
    tt.store %v, %v : {POINTERS} loc(#loc1)
  }}
}}
#loc1 = loc("day.py":9:4)
#loc2 = loc("v"(#loc1))
"""


def steps(stride):
    load, store = accesses(TTGIR.replace("STRIDE", stride))
    assert (load.kind, load.line, load.shape, load.element_bits) == ("load", 9, (64, 64), 16)
    assert (load.axis, load.per_thread) == (1, 4)
    assert store.kind == "store"
    assert store.contiguous is None  # its pointers were loaded
    return load.step


def test_a_number_is_the_step():
    assert steps("%c2") == 2


def test_an_argument_names_the_step():
    assert steps("%n") == "n"


def test_wrapping_and_clamping_keep_the_step():
    clamped = f"""
    %edge = tt.splat %n : i32 -> {ROW} loc(#loc)
    %c3b = arith.minsi %c3, %edge : {ROW} loc(#loc)
    %c3c = arith.remsi %c3b, %edge : {ROW} loc(#loc)
    %c4 = arith.muli %c3c, %s : {ROW} loc(#loc)"""
    text = TTGIR.replace(f"\n    %c4 = arith.muli %c3, %s : {ROW} loc(#loc)", clamped)
    assert [access.step for access in accesses(text.replace("STRIDE", "%c2"))] == [2, "?"]


def test_partitions_of_a_specialised_kernel_know_their_arguments():
    start = TTGIR.index("    %c2 =")
    end = TTGIR.index("  }\n}")
    inner = TTGIR[start:end].replace("%x", "%arg3").replace("STRIDE", "%arg4")
    text = (
        TTGIR[:start] + "    ttg.warp_specialize(%x, %n) attributes {}\n"
        "    partition0(%arg3: !tt.ptr<f16>, %arg4: i32) num_warps(4) {\n" + inner + TTGIR[end:]
    )
    assert [access.step for access in accesses(text)] == ["n", "?"]


def test_no_kernel_no_accesses():
    assert accesses("") == []
