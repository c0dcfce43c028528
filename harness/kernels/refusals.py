"""What the compiler refuses, said plainly.

The patterns match the messages of triton 3.6 and 3.7. The compiler's own words are always shown
too, and a message that no pattern matches is shown as it is.
"""

from __future__ import annotations

import ast
import contextlib
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
        "A block's sides must be powers of two: take the next power of two "
        "(triton.next_power_of_2(n)) and mask the rest.",
    ),
    (
        r"arange's arguments must be of type tl\.constexpr|Shape element",
        "The shape of a block must be known when the kernel is compiled: a number, or an "
        "argument annotated `tl.constexpr`. This one is only known when the kernel runs.",
    ),
    (
        r"arange's end argument must be greater",
        "tl.arange's end must be greater than its start.",
    ),
    (
        r"must have equal reduction dimensions|First input shape .+? and second input "
        r"shape .+? are not compatible",
        "`tl.dot(a, b)` multiplies (M, K) by (K, N): the columns of `a` must be as many as "
        "the rows of `b`.",
    ),
    (
        r"K >= (?P<k>\d+)",
        "`tl.dot` needs blocks that fill a tensor-core instruction, with K of at least {k} for "
        "this type (for types of 16 and 32 bits K is at least 16). Pad K with masked zeros.",
    ),
    (
        r"Input shapes should have|must be >= \d+|should have M >=",
        "`tl.dot` needs blocks that fill a tensor-core instruction: for 16- and 32-bit "
        "inputs K is at least 16, for 8-bit inputs at least 32.",
    ),
    (
        r"Both operands must be same dtype|operands must .*same dtype|First input .* "
        r"second input",
        "The two blocks of a `tl.dot` must have the same dtype, one type for both: convert one.",
    ),
    (
        r"must have equal ranks >= 2",
        "`tl.dot` multiplies blocks with rows and columns; for one axis multiply and `tl.sum`.",
    ),
    (
        r"unsupported AST node type: (Break|Continue)",
        "Every program runs a whole loop: there is no `break` and no `continue` in a kernel. "
        "Compute the bound first, use `while` with a condition, or mask.",
    ),
    (
        r"Cannot have `return` statements inside `while` or `for`|return` statements inside",
        "`return` inside a loop is not possible in a kernel: compute the loop's bound "
        "first, or mask.",
    ),
    (
        r"unsupported AST node type: (?P<node>\w+)",
        "A kernel is compiled, not run by Python: it may not use this statement or "
        "expression ({node}).",
    ),
    (
        r"Simultaneous multiple assignment|Multiple assignments? (is|are) not supported",
        "`a = b = value` is two assignments: write them one by one.",
    ),
    (
        r"Loop-carried variable (?P<name>\w+) has initial type (?P<a>.+?) but is "
        r"re-assigned to (?P<b>.+?) in loop",
        "`{name}` is {a} before the loop and becomes {b} in it: `{name}` enters the loop as {a}, "
        "and a variable keeps its type and shape through a loop. Give it the final type before the "
        "loop, or cast in it.",
    ),
    (
        r"cannot reassign constexpr (?P<name>\w+)",
        "`{name}` is a compile-time constant and cannot change in a loop: start with a "
        "tensor, such as tl.zeros.",
    ),
    (
        r"Loop carried variable (?P<name>\w+) is not a triton value",
        "`{name}` has no tensor value before the loop (is it None?) but changes in it.",
    ),
    (
        r"initial value for `(?P<name>\w+)` is of type",
        "`{name}` has another type or shape after this `if` than before it: a variable must"
        " have the same, whichever branch is taken.",
    ),
    (
        r"Mismatched type for (?P<name>\w+) between then block \((?P<a>.+?)\) and else "
        r"block \((?P<b>.+?)\)",
        "`{name}` is {a} if the condition holds and {b} if not: both ways must give the "
        "same type and shape.",
    ),
    (
        r"Boolean value of Tensor with more than one value is ambiguous",
        "`if` needs one value, and so does `while`; this is a block of them: use tl.where "
        "or a mask, or reduce the block first.",
    ),
    (
        r"Expected dtype \[(?P<want>[^\]]*)\] but got (?P<got>\w+)",
        "This takes {want}, not {got}, and was given {got}: convert with `.to(tl.float32)` first, "
        "which also keeps the precision.",
    ),
    (
        r"Cannot make_shape_compatible: incompatible dimensions at index (?P<axis>\d+): "
        r"(?P<a>\S+) and (?P<b>[^\s')\"]+)",
        "Blocks broadcast like arrays, and these do not fit together: axis {axis} has {a} elements "
        "on one side and {b} on the other, and neither is 1. Is a `[:, None]` or `[None, :]` "
        "missing or the wrong one?",
    ),
    (
        r"incompatible rank|Cannot broadcast|broadcast.* rank|mismatched rank",
        "The blocks have different numbers of axes: add one with `[:, None]` or `[None, :]`.",
    ),
    (
        r"[Mm]ask argument cannot be block type if pointer argument is not a block",
        "The mask is a block but the pointer is a single address: add a block of offsets to"
        " the pointer.",
    ),
    (
        r"Value argument cannot be block type if pointer argument is not a block",
        "A block of values is stored to a single address: add a block of offsets to the pointer.",
    ),
    (
        r"Expected pointer argument to have shape",
        "Pointers, mask and values of one access must have one shape, that of the pointers:"
        " this mask or value makes it larger. Is a `[:, None]` where `[None, :]` should be?",
    ),
    (
        r"Unsupported ptr type (?P<type>.+?) in (?P<call>\S*)",
        "This needs a pointer, and is {type}: was a number passed where a tensor belongs, was the "
        "argument's name forgotten, or are the arguments in another order? The pointer is the "
        "first.",
    ),
    (
        r"`other` cannot be provided without `mask`",
        "tl.load takes `other` only with a `mask`: it is what masked elements become.",
    ),
    (
        r"Mask must have boolean scalar type",
        "The mask must be boolean: compare, as in `i < n`.",
    ),
    (
        r"Cannot access global variable (?P<name>\w+)",
        "A kernel cannot use the global variable `{name}`: pass it as an argument, or make "
        "it `{name} = tl.constexpr(...)`.",
    ),
    (
        r"breakpoint is not defined",
        "The compiler knows no `breakpoint()`: take it out. Only the interpreter stops there, with "
        "DEBUG=1.",
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
        r"(?P<call>\w+)\(\) got an unexpected keyword argument '(?P<name>\w+)'",
        "`tl.{call}` has no argument `{name}`.",
    ),
    (
        r"Unsupported function referenced: <function (?P<name>\w+)",
        "A kernel can only call functions that are compiled with it: put @triton.jit on `{name}`.",
    ),
    (
        r"[Dd]id you forget to add @triton\.jit",
        "A plain Python function was called in the kernel: give it @triton.jit.",
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
        r"cannot add pointers together",
        "A sum of two pointers means nothing: one of them should be an offset.",
    ),
    (
        r"invalid operands of type pointer\S* and (?!pointer)\S*(float|fp|bf)\d+",
        "A pointer takes integer offsets only, and this is a float. Is it an offset? Divide with "
        "`//`, not `/`. Is the value behind the pointer meant? `tl.load(pointer)` reads it.",
    ),
    (
        r"invalid operands of type pointer",
        "A pointer can only have offsets added to it: multiply the offsets, not the pointer. Is "
        "the value behind it meant? `tl.load(pointer)` reads it.",
    ),
    (
        r"invalid operands of type (?P<c>\S+) and (?P<d>\S+)",
        "These two types do not go together: a pointer takes integer offsets only, and & "
        "and | take booleans or integers.",
    ),
    (
        r"simultaneous multiple comparison is not supported",
        "`a < b < c` does not exist in a kernel: write `(a < b) & (b < c)`.",
    ),
    (
        r"__setitem__ is not supported|Subscript_Store|does not support item assignment",
        "A block's elements cannot be assigned: build the new block with tl.where. Memory is "
        "written with `tl.store(pointer + offsets, values)`.",
    ),
    (
        r"unsupported tensor index: (?P<index>.+)|unsupported tensor index",
        "A block cannot be indexed like an array: `[:, None]` and `[None, :]` add an axis, "
        "nothing else. Load what is needed with `tl.load(pointer + offsets)`, or pick it with "
        "tl.where and a sum.",
    ),
    (
        r"Cannot evaluate f-string",
        "An f-string has no place for a block or a number of the kernel: write a text, then what "
        'to show, as in `print("x", x)`.',
    ),
    (
        r"range'? object",
        "`range` is for loops: the block 0, 1, …, BLOCK - 1 is `tl.arange(0, BLOCK)`.",
    ),
    (
        r"has no len\(\)",
        "There is no `len` in a kernel: a pointer is only an address, which knows no length, and "
        "a block has the size that it was made with. Pass the number of elements as an argument.",
    ),
    (
        r"(?P<call>\w+)\(\) missing \d+ required positional arguments?: (?P<names>'.+')",
        "`{call}` is called without {names}.",
    ),
    (
        r"program_id axis must be 0, 1, or 2 but got (?P<axis>.+)",
        "A grid has the axes 0, 1 and 2: {axis} is none of them.",
    ),
    (
        r"constexpr_type' object has no attribute 'is_ptr'",
        "A pointer is needed here: an argument is None or a number where a tensor belongs.",
    ),
    (
        r"object has no attribute .?append",
        "A kernel has no lists: use a block, or `tl.static_range` over a tuple.",
    ),
    (
        r"'constexpr' object has no attribute 'handle'",
        "A value that is known before the kernel runs (a constexpr, or what `is not None` gives) "
        "stands where a computed one is needed: a `while` takes a condition that is computed.",
    ),
    (
        r"has no attribute '(?P<name>\w+)'",
        "There is no `{name}` here.",
    ),
    (
        r"numel \((?P<count>\d+)\) exceeds",
        "A block of {count} elements is more than triton allows (1,048,576): use smaller blocks. "
        "If none was meant to be so large, two shapes were broadcast: (n,) and (n, 1) make (n, n).",
    ),
    (
        r"invalid axis (?P<axis>-?\d+)",
        "The block has no axis {axis}.",
    ),
    (
        r"out_dtype=bfloat16 is unsupported",
        "tl.dot accumulates in float32: convert the result with `.to(tl.bfloat16)`.",
    ),
    (
        r"nested function definition",
        "A kernel cannot define functions: write a second `@triton.jit` function.",
    ),
    (
        r"[Rr]eturn type mismatch",
        "The function returns values of different types or shapes: each `return` must give "
        "the same.",
    ),
    (
        r"atomic_\w+ does not support (?P<type>\w+)",
        "There is no such atomic for {type} on a GPU: accumulate in float32 or int32.",
    ),
    (
        r"(?P<a>\w+) is already defined\. constexpr cannot be reassigned",
        "`{a}` is a compile-time constant: it cannot be assigned again.",
    ),
    (
        r"libdevice\.\w+ has no version for \(",
        "CUDA's library has this function for other types.",
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
        "A block needs more shared memory than this chip gives one: use smaller blocks or "
        "fewer stages (`num_stages`), each of which holds another copy of the loop's loads.",
    ),
    (
        r"Keyword argument (?P<name>\w+) was specified but unrecognised",
        "The kernel has no argument `{name}` and the compiler has no such option.",
    ),
    (
        r"num_warps must be a power of 2",
        "The number of warps must be a power of two.",
    ),
    (
        r"'llvm\.\w+' op requires the same type for all operands|'arith\.\w+' op "
        r"operand.*f8E|f8E\d",
        "The compiler's later passes have no such operation for this type: convert first, "
        "as with `.to(tl.float32)` or `.to(tl.int32)`.",
    ),
    (
        r"^assert len\(targets\) == 1|AssertionError\(\)$",
        "The compiler does not take this statement.",
    ),
)


def explain(message: str, source: str = "") -> str:
    """A plain explanation of a compiler message about the line ``source``; empty if it is not one
    of the common ones."""
    if told := _indexed(message, source):
        return told
    if told := _of_another_library(message, source):
        return told
    for pattern, sentence in EXPLANATIONS:
        match = re.search(pattern, message)
        if match:
            parts = {name: value or "" for name, value in match.groupdict().items()}
            return _readable(sentence.format(**parts)) + _hint(source)
    return ""


def sentence(message: str, source: str = "") -> str:
    """The explanation with the compiler's own words behind it."""
    said = _clean(message)
    plain = explain(message, source) or "A GPU's compiler refuses this."
    return f"{plain} (The compiler: {said})" if said else plain


def plain_message(message: str) -> str:
    """Without the repr of a Python exception around it: ``NameError('x')`` is ``x``."""
    match = re.fullmatch(r"\w+\(([\"'])(.*)\1\)", message.strip(), re.DOTALL)
    return (match.group(2) if match else message).strip()


def diagnostic(text: str) -> tuple[int, str]:
    """Line and words of the first error in what the compiler printed; line 0 if there is none."""
    match = re.search(r":(\d+):\d+: error: (.*)", text)
    return (int(match[1]), match[2]) if match else (0, "")


_OF_INDEXING = re.compile(
    r"__setitem__ is not supported|unsupported tensor index|does not support item assignment|"
    r"`_semantic` argument must be provided"
)


def _indexed(message: str, source: str) -> str:
    """For ``p[i] = x`` and ``p[i]``, as one writes them of an array; the compiler says of the
    second that a function without ``@triton.jit`` is called."""
    if not _OF_INDEXING.search(message):
        return ""
    try:
        (line,) = ast.parse(_whole(source)).body
    except (SyntaxError, ValueError):  # a part of a statement, or nothing
        return ""
    if "_semantic" in message and not all(map(_of_triton, ast.walk(line))):
        return ""
    found = [node for node in ast.walk(line) if isinstance(node, ast.Subscript)]
    for node in found:
        base, place = ast.unparse(node.value), _address(node)
        if isinstance(node.ctx, ast.Store):
            both = f" and `tl.load({place})` reads" if isinstance(line, ast.AugAssign) else ""
            return (
                f"`{ast.unparse(node)}` cannot be assigned: a kernel has no arrays. If `{base}` is "
                f"a pointer, `tl.store({place}, value)` writes to memory{both}; of a block, build "
                "a new one with tl.where."
            )
    for node in found:
        base, place = ast.unparse(node.value), _address(node)
        if not _adds_an_axis(node.slice):
            return (
                f"`{ast.unparse(node)}` means nothing: a kernel has no arrays, and only "
                "`[:, None]` and `[None, :]`, which add an axis, exist. If "
                f"`{base}` is a pointer, `{place}` is the address, and `tl.load({place})` reads "
                "it; an element of a block is picked with tl.where and a sum."
            )
    return ""


def _whole(source: str) -> str:
    """The line as a statement: ``if x[i] > 0:`` gets a body, and ``elif`` begins one."""
    source = source.strip()
    with contextlib.suppress(SyntaxError, ValueError):
        ast.parse(source)
        return source
    return re.sub(r"^elif\b", "if", source.split("  #")[0].rstrip()) + " pass"


def _of_another_library(message: str, source: str) -> str:
    """For ``torch.arange(...)`` in a kernel: the compiler speaks of a missing attribute."""
    found = re.search(r"\b(torch|np|numpy|math)\.\w+(?=\()", source)
    if not found or not re.search(r"has no attribute|is not defined|referenced", message):
        return ""
    return (
        f"`{found[0]}` does not exist in a kernel, which is compiled for the GPU: it has the "
        "functions of `tl` and those with @triton.jit."
    )


def _of_triton(node: ast.AST) -> bool:
    """No call of a function that may be the learner's own."""
    if not isinstance(node, ast.Call):
        return True
    if isinstance(node.func, ast.Name):
        return node.func.id in ("range", "min", "max", "abs", "len", "float", "int")
    return ast.unparse(node.func).startswith(("tl.", "triton.", "libdevice."))


def _address(node: ast.Subscript) -> str:
    """What takes the place of ``p[i]``: ``p + i``."""
    index = ast.unparse(node.slice)
    if ":" in index or isinstance(node.slice, ast.Tuple):
        index = "offsets"
    base = ast.unparse(node.value)
    return base if index == "0" else f"{base} + {index}"


def _adds_an_axis(index: ast.expr) -> bool:
    parts = index.elts if isinstance(index, ast.Tuple) else [index]
    return all(
        (isinstance(part, ast.Constant) and part.value is None)
        or (isinstance(part, ast.Slice) and ast.unparse(part) == ":")
        for part in parts
    )


def _hint(source: str) -> str:
    """For a line with two targets; a keyword's = is none."""
    with contextlib.suppress(SyntaxError, ValueError):  # a part of a statement, or nothing
        (line,) = ast.parse(source.strip()).body
        if isinstance(line, ast.Assign) and len(line.targets) > 1:
            return " `a = b = value` is two assignments: write them one by one."
    return ""


def _clean(text: str) -> str:
    text = re.sub(r"^\w*(Error|Impl|Exception)\((.*)\)$", r"\2", text.strip(), flags=re.DOTALL)
    text = re.sub(r"^(['\"])((?:(?!\1).)*)\1$", r"\2", text)
    text = re.sub(r" (object )?at 0x[0-9a-f]+", "", " ".join(text.split()))
    return text if len(text) <= 240 else text[:237] + "…"


def _readable(sentence: str) -> str:
    """``<['128'], fp32>`` becomes ``a block of 128 fp32``."""

    def block(match: re.Match[str]) -> str:
        sizes = "×".join(re.findall(r"\d+", match[1]))
        return f"a block of {sizes} {match[2]}"

    return re.sub(r"<\[(.*?)\], (\w+)>", block, sentence)


def bad_arguments(kernel: str, names: list[str], given: dict[str, Any], text: str) -> str:
    """For a call that does not fit the kernel's parameters."""
    match = re.search(r"missing a required argument: '(\w+)'", text)
    if match or "missing" in text:
        missing = match[1] if match else ""
        missing = missing or ", ".join(name for name in names if name not in given)
        return f"`{kernel}` is launched without its argument `{missing}`."
    if "too many positional" in text or "positional argument" in text:
        return f"`{kernel}` takes {len(names)} arguments ({', '.join(names)}): more were given."
    match = re.search(r"[Kk]eyword argument '?(\w+)'? was specified but unrecognised", text)
    if match:
        return (
            f"`{kernel}` has no argument `{match[1]}`, and it is no launch option either. Its "
            f"arguments are {', '.join(names)}."
        )
    match = re.search(r"multiple values for argument '(\w+)'", text)
    if match:
        return f"`{kernel}` is given `{match[1]}` twice, by place and by name."
    for name, value in given.items():
        if isinstance(value, (list, dict, set, str)) or type(value).__module__ == "numpy":
            return (
                f"`{kernel}` is given a {type(value).__name__} as `{name}`: a kernel takes "
                "tensors, numbers and `tl.constexpr` values."
            )
    return f"`{kernel}` cannot be launched with these arguments: {_clean(text)}"
