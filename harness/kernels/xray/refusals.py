"""What the compiler refuses, said plainly: the line, its message, and what it means.

The patterns match the messages of triton 3.6 and 3.7. A message that none matches is shown as it
is: it is never hidden.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Refusal:
    """A kernel that does not compile; ``line`` counts in ``file`` (0: no single line)."""

    file: str
    line: int
    source: str  # the text of that line
    message: str  # the compiler's own
    explanation: str  # empty where the message is not one of the common ones

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def text(self) -> str:
        where = f"line {self.line}: {self.source}" if self.line else "no single line"
        said = f"{where}\nthe compiler says: {self.message}"
        return said + (f"\n{self.explanation}" if self.explanation else "")


EXPLANATIONS: tuple[tuple[str, str], ...] = (
    (
        r"arange's range must be a power of 2|Shape element \d+ must be a power of 2",
        "A block's sides must be powers of two: take the next power of two and mask the rest.",
    ),
    (
        r"arange's arguments must be of type tl.constexpr|Shape element \d+ must have type",
        "The shape of a block must be known when the kernel is compiled: a number, or an argument "
        "annotated `tl.constexpr`. This one is only known when the kernel runs.",
    ),
    (
        r"must have equal reduction dimensions",
        "`tl.dot(a, b)` multiplies (M, K) by (K, N): the columns of `a` must be as many as the "
        "rows of `b`.",
    ),
    (
        r"Input shapes should have|must be >= \d+|should have M >=",
        "`tl.dot` needs blocks that fill a tensor-core instruction: for 16- and 32-bit inputs K is "
        "at least 16, for 8-bit inputs at least 32. The interpreter accepts less; a GPU does not.",
    ),
    (
        r"Both operands must be same dtype|operands must .*same dtype|First input .* second input",
        "The two blocks of a `tl.dot` must have the same dtype: cast one of them.",
    ),
    (
        r"Loop-carried variable (?P<name>\w+) has initial type (?P<old>.+?) but is re-assigned to "
        r"(?P<new>.+?) in loop",
        "`{name}` enters the loop as {old} and leaves each turn as {new}. A loop's variable keeps "
        "one shape and one dtype: start it with the shape and dtype that it ends with.",
    ),
    (
        r"initial value for `(?P<name>\w+)` is of type (?P<old>.+?), but the \w+ block redefines "
        r"it as (?P<new>[^'\"]+)|[Mm]ismatched type for (?P<name2>\w+) between then block",
        "A variable must have the same shape and dtype whichever branch of the `if` is taken.",
    ),
    (
        r"unsupported AST node type: (?P<name>Break|Continue)",
        "A kernel's loops cannot be left or cut short: there is no `break` and no `continue`. Put "
        "the condition in the loop's bounds, in a mask or in an `if` (the interpreter takes it, "
        "because there it is Python).",
    ),
    (
        r"return` statements inside `while` or `for`",
        "A kernel cannot return from inside a loop: put the condition in the loop's bounds or a "
        "mask.",
    ),
    (
        r"unsupported AST node type: (?P<name>\w+)",
        "A kernel is compiled, not run by Python: it may not use this statement or expression "
        "({name}).",
    ),
    (
        r"Simultaneous multiple assignment|Multiple assignments? (is|are) not supported",
        "`a = b = value` is not allowed in a kernel: write two assignments.",
    ),
    (
        r"Expected dtype \[(?P<wanted>[^\]]*)\] but got (?P<got>\w+)",
        "This function exists for {wanted} only and was given {got}: cast to tl.float32 first, "
        "which is also what keeps the precision.",
    ),
    (
        r"Cannot access global variable (?P<name>\w+)",
        "A kernel sees no ordinary global variables: pass `{name}` as an argument, or make it "
        "`{name} = tl.constexpr(…)`.",
    ),
    (
        r"(?P<name>\w+) is not defined",
        "`{name}` has no value here. It is misspelt, or it is first assigned inside an `if` or a "
        "loop, which does not define it for what follows: give it a value before.",
    ),
    (
        r"module 'triton\.language[\w.]*' has no attribute '(?P<name>\w+)'",
        "`triton.language` has no `{name}`.",
    ),
    (
        r"Cannot make_shape_compatible: incompatible dimensions at index (?P<axis>\d+): "
        r"(?P<a>\S+) and (?P<b>[^\s')\"]+)",
        "Blocks broadcast like arrays, but axis {axis} has {a} elements on one side and {b} on the "
        "other, and neither is 1. Is a `[:, None]` or `[None, :]` missing or the wrong one?",
    ),
    (
        r"incompatible rank|Cannot broadcast|broadcast.* rank|mismatched rank",
        "The blocks have different numbers of axes: add one with `[:, None]` or `[None, :]`.",
    ),
    (
        r"Value argument cannot be block type if pointer argument is not a block",
        "A block of values is stored through one pointer: add a block of offsets to the pointer.",
    ),
    (
        r"[Mm]ask argument cannot be block type if pointer argument is not a block",
        "A block of mask values goes with one pointer: add a block of offsets to the pointer.",
    ),
    (
        r"Expected pointer argument to have shape",
        "Pointers, mask and values of one access must have one shape, that of the pointers: this "
        "mask or value makes it larger. Is a `[:, None]` where `[None, :]` should be?",
    ),
    (
        r"`other` cannot be provided without `mask`",
        "`other` is what masked elements become, so it needs a `mask`.",
    ),
    (
        r"must have equal ranks >= 2",
        "`tl.dot` multiplies blocks with rows and columns; for one axis multiply and `tl.sum`.",
    ),
    (
        r"(?P<call>\w+)\(\) got an unexpected keyword argument '(?P<name>\w+)'",
        "`tl.{call}` has no argument `{name}`.",
    ),
    (
        r"Unsupported function referenced: <function (?P<name>\w+)",
        "A kernel can only call functions that are compiled with it: put @triton.jit on `{name}`.",
    ),
    (
        r"is not a constexpr",
        "This number must be known when the kernel is compiled: use `range` instead of "
        "`tl.static_range`, or an argument annotated `tl.constexpr`.",
    ),
    (
        r"inconsistent types (?P<a>\S+) and (?P<b>\S+)",
        "Both sides of the choice must have one dtype; here they are {a} and {b}.",
    ),
    (
        r"Unsupported ptr type (?P<got>\S+) in",
        "This is not a pointer but {got}: pass the tensor itself, and add offsets to it.",
    ),
    (
        r"invalid operands of type pointer\S* and \S*(float|fp|bf)\d+",
        "Offsets are whole numbers and this one is a float: divide with `//`, not `/`.",
    ),
    (
        r"invalid operands of type pointer",
        "A pointer can only have offsets added to it; multiply the offsets, not the pointer.",
    ),
    (
        r"unsupported tensor index",
        "A block has no element access: `[:, None]` and `[None, :]` add an axis, nothing else. Use "
        "a mask and a reduction, or load what you need.",
    ),
    (
        r"Boolean value of Tensor with more than one value is ambiguous",
        "`if` and `while` take one value, and this is a block of them: use `tl.where` or a mask.",
    ),
    (
        r"object has no attribute .?append",
        "A kernel has no lists: use a block, or `tl.static_range` over a tuple.",
    ),
    (
        r"numel \((?P<count>\d+)\) exceeds",
        "A block of {count} elements is more than triton allows (1,048,576): use smaller blocks.",
    ),
    (
        r"invalid axis (?P<axis>-?\d+)",
        "The block has no axis {axis}.",
    ),
    (
        r"type fp8e4nv not supported|fp8\w+ .*not supported|fp8e4nv data type is not supported",
        "This chip has no such 8-bit float type.",
    ),
    (
        r"num_ctas > 1 requires",
        "Clusters of blocks exist from sm_90 on.",
    ),
    (
        r"out of resource: shared memory|shared memory.*Required|too much shared memory",
        "A block needs more shared memory than this chip gives one: use smaller blocks or fewer "
        "stages (`num_stages`), each of which holds another copy of the loop's loads.",
    ),
    (
        r"Keyword argument (?P<name>\w+) was specified but unrecognised",
        "The kernel has no argument `{name}` and the compiler has no such option. (The interpreter "
        "drops it without a word.)",
    ),
    (
        r"num_warps must be a power of 2",
        "The number of warps must be a power of two.",
    ),
)


def explain(message: str) -> str:
    """A plain explanation of a compiler message; empty if it is not one of the common ones."""
    for pattern, sentence in EXPLANATIONS:
        match = re.search(pattern, message)
        if match:
            return sentence.format(**{k: v or "" for k, v in match.groupdict().items()})
    return ""


def plain_message(message: str) -> str:
    """Without the repr of a Python exception around it: ``NameError('x')`` is ``x``."""
    match = re.fullmatch(r"\w+\(([\"'])(.*)\1\)", message.strip(), re.DOTALL)
    return (match.group(2) if match else message).strip()
