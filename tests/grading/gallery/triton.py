"""Wrong kernels and launchers."""

from __future__ import annotations

from harness.curriculum import Day
from tests.grading.gallery import Wrong

ONE, THREE, FIVE = Day("triton", 1), Day("triton", 3), Day("triton", 5)
THIRTEEN, FOURTEEN = Day("triton", 13), Day("triton", 14)

STORE = "    tl.store(out_ptr + offsets, x + 1, mask=mask)\n"
SUM = "    tl.store(out_ptr + program, tl.sum(x.to(tl.float32)))\n"
ADD = '    tl.atomic_add(counts_ptr + value, 1, mask=counted, sem="relaxed")\n'
BLOCKS = "    block_sums_kernel[(blocks,)](x, out, n, BLOCK=block, num_warps=_warps(block))\n"
MASKED = '    x = tl.where(keep, x, -float("inf"))\n'
NUMERATOR = "    numerator = tl.exp(x - tl.max(x, axis=1)[:, None])\n"
MANY = "softmax_many_rows_kernel[(triton.cdiv(rows, rows_a_program),)]"

WRONG = [
    Wrong(
        "the last element is left out", ONE, "add_one",
        ((STORE, STORE.replace("mask=mask", "mask=offsets < n - 1")),),
        cause="The last element was left out",
    ),
    Wrong(
        "a mask by a size that is too large", ONE, "add_one",
        ((STORE, STORE.replace("mask=mask", "mask=offsets <= n")),),
        cause="There is a mask, and it lets this element through",
        never=("There is no mask", "int32", "last block"),
    ),
    Wrong(
        "no mask at the store", ONE, "add_one",
        ((STORE, STORE.replace(", mask=mask", "")),),
        cause="There is no mask here",
        never=("int32",),
    ),
    Wrong(
        "two instead of one is added", ONE, "add_one",
        ((STORE, STORE.replace("x + 1", "x + 2")),),
        never=("was left out", "mask"),
    ),
    Wrong(
        "nothing is written", ONE, "add_one", ((STORE, "    pass\n"),),
        cause="never written", never=("was left out", "mask"),
    ),
    Wrong(
        "the result is written twice as large, in places only", ONE, "add_one",
        ((STORE, STORE.replace("x + 1", "tl.where(offsets % 2 == 0, x + 1, 2 * x + 2)")),),
        never=("was left out", "every value"),
    ),
    Wrong(
        "the padding counts as 0", FIVE, "block_max",
        (('mask=offset < n, other=-float("inf"))\n    tl.store(out_ptr, tl.max(x))',
          "mask=offset < n, other=0.0)\n    tl.store(out_ptr, tl.max(x))"),),
        cause="padding",
    ),
    Wrong(
        "the maximum of the absolute values", FIVE, "block_max",
        (("    tl.store(out_ptr, tl.max(x))\n",
          "    tl.store(out_ptr, tl.max(tl.where(offset < n, tl.abs(x), x)))\n"),),
        never=("padding", "minus infinity"),
    ),
    Wrong(
        "a fixed block that never reads past its end", FIVE, "block_max",
        (("    block = triton.next_power_of_2(n)\n    block_max_kernel",
          "    block = min(triton.next_power_of_2(n), 1024)\n    block_max_kernel"),),
        cause="always has 1024 lanes", never=("padding", "mask"),
    ),
    Wrong(
        "the sums of neighbouring blocks overlap", FIVE, "block_sums",
        (("    offset = program * BLOCK + tl.arange(0, BLOCK)\n"
          "    x = tl.load(x_ptr + offset, mask=offset < n, other=0.0)\n" + SUM,
          "    offset = program * BLOCK // 2 + tl.arange(0, BLOCK)\n"
          "    x = tl.load(x_ptr + offset, mask=offset < n, other=0.0)\n" + SUM),),
        never=("mask", "grid", "never written"),
    ),
    Wrong(
        "one program too few", FIVE, "block_sums",
        ((BLOCKS, BLOCKS.replace("(blocks,)", "(max(blocks - 1, 1),)")),),
        cause="never written", never=("mask",),
    ),
    Wrong(
        "a launch too many", FIVE, "block_sums", ((BLOCKS, BLOCKS + BLOCKS),),
        never=("mask", "padding"),
    ),
    Wrong(
        "a stride of the input is taken twice: far outside", ONE, "add_one",
        (("    x = tl.load(x_ptr + offsets, mask=mask)\n    tl.store(out_ptr + offsets, x + 1",
          "    x = tl.load(x_ptr + offsets * 1000000, mask=mask)\n"
          "    tl.store(out_ptr + offsets, x + 1"),),
        cause="past the end", never=("int32", "There is no mask"),
    ),
    Wrong(
        "the padding is counted in bin 0", FIVE, "histogram",
        (("    value = tl.load(x_ptr + offset, mask=inside)\n    counted = inside & (value >= 0)",
          "    value = tl.load(x_ptr + offset, mask=inside, other=0)\n"
          "    counted = (value >= 0)"),),
        cause="The padding of the last block was counted", never=("int32", "race"),
    ),
    Wrong(
        "bins that are too large are wrapped", FIVE, "histogram",
        (("    counted = inside & (value >= 0) & (value < bins)\n",
          "    value = value % bins\n    counted = inside & (value >= 0)\n"),),
        never=("never written", "int32"),
    ),
    Wrong(
        "the counts are set, not added", FIVE, "histogram",
        ((ADD, "    tl.store(counts_ptr + value, 1, mask=counted)\n"),),
        never=("never written",),
    ),
    Wrong(
        "counts that rightly stay 0 are not called unwritten", FIVE, "histogram",
        ((ADD, ADD.replace("value, 1,", "value, 2,")),),
        never=("never written",),
    ),
    Wrong(
        "the bound is not checked below", THREE, "clamp",
        (("    x = tl.where(x < lo, lo, x)\n", ""),),
        never=("nan", "mask"),
    ),
    Wrong(
        "nan becomes a bound", THREE, "clamp",
        (("    x = tl.where(x > hi, hi, x)\n", "    x = tl.where(x <= hi, x, hi)\n"),),
        never=("mask",),
    ),
    Wrong(
        "what is not chosen is multiplied away", THREE, "where",
        (("tl.where(cond, x, y)", "x * cond + y * (1 - cond)"),),
        cause="multiplying with 0 and 1", never=("mask",),
    ),
    Wrong(
        "the maximum is not subtracted", THIRTEEN, "softmax",
        (("    x_row = x_ptr + row * row_stride + column * column_stride\n"
          "    x = tl.load(x_row, mask=inside, other=-float(\"inf\")).to(tl.float32)\n"
          "    numerator = tl.exp(x - tl.max(x, axis=0))\n",
          "    x_row = x_ptr + row * row_stride + column * column_stride\n"
          "    x = tl.load(x_row, mask=inside, other=-float(\"inf\")).to(tl.float32)\n"
          "    numerator = tl.exp(x)\n"),),
        cause="Without subtracting the row's maximum", never=("padding", "stride", "never written"),
    ),
    Wrong(
        "masked scores become 0 instead of minus infinity", THIRTEEN, "masked_softmax",
        ((MASKED, MASKED.replace('-float("inf")', "0.0")),),
        cause="A masked entry counted as a logit of 0", never=("never written", "stride"),
    ),
    Wrong(
        "the maximum of a row is not subtracted", FOURTEEN, "softmax_many_rows",
        ((NUMERATOR, "    numerator = tl.exp(x)\n"),),
        cause="Nothing was subtracted before the exponential",
        never=("went down the columns", "correction", "whole tile", "never written"),
    ),
    Wrong(
        "only whole tiles are launched", FOURTEEN, "softmax_many_rows",
        ((MANY, MANY.replace("triton.cdiv(rows, rows_a_program)", "rows // rows_a_program")),),
        never=("mask on axis", "124 x 33", "mask is missing"),
    ),
    Wrong(
        "the padding of a tile counts as logits of 0", FOURTEEN, "softmax_many_rows",
        (('mask=inside, other=-float("inf")\n    ).to', "mask=inside, other=0.0\n    ).to"),),
        cause="lanes beyond the last column counted as logits of 0", never=("columns of the tile",),
    ),
    Wrong(
        "the padding of a tile is nan", FOURTEEN, "softmax_many_rows",
        (('mask=inside, other=-float("inf")\n    ).to', "mask=inside\n    ).to"),),
        cause="made them nan: without `other`", never=("far below the others",),
    ),
    Wrong(
        "an empty input is let through before it is checked", FOURTEEN, "softmax_many_rows",
        (("    rows_a_program, block = _tile(columns)\n",
          "    if not rows:\n        return torch.empty_like(x)\n"
          "    rows_a_program, block = _tile(columns)\n"),),
        cause="returned before its columns were counted",
    ),
]  # fmt: skip
