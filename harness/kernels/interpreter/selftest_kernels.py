"""The kernel that the self-test runs; imported only once the interpreter is changed."""

import triton
import triton.language as tl


@triton.jit
def add_third(x, y, n, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    value = tl.load(x + i, mask=i < n)
    third = (value.to(tl.float32) + 1 / 3).to(tl.bfloat16)
    tl.store(y + i, third, mask=i < n)
