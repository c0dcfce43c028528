"""What the compiler says, in a learner's words. Patterns of triton 3.6 and 3.7.1's front end."""

from __future__ import annotations

import re
from typing import Any

_SENTENCES: tuple[tuple[str, str], ...] = (
    (
        r"arange's range must be a power of 2",
        "tl.arange's length must be a power of two: take triton.next_power_of_2(n) as the block size "
        "and mask the rest.",
    ),
    (
        r"arange's arguments must be of type tl\.constexpr",
        "tl.arange needs constants known when the kernel is compiled: declare the block size as "
        "`tl.constexpr`.",
    ),
    (r"arange's end argument must be greater", "tl.arange's end must be greater than its start."),
    (
        r"Shape element \d+ must (?:be a power of 2|have type `constexpr)|Shape element",
        "a block's shape must be made of `tl.constexpr` powers of two.",
    ),
    (
        r"K >= (?P<k>\d+)",
        "tl.dot needs blocks with K of at least {k} for this type: tensor cores take no less. Pad K "
        "with masked zeros.",
    ),
    (
        r"unsupported AST node type: (?P<node>Break|Continue)",
        "`{node}` does not exist in a kernel: every program runs the whole loop. Compute the bound "
        "first, use `while` with a condition, or mask.",
    ),
    (
        r"Cannot have `return` statements inside `while` or `for`",
        "`return` inside a loop is not possible in a kernel: compute the loop's bound first.",
    ),
    (
        r"unsupported AST node type: (?P<node>\w+)",
        "Python's `{node}` is not part of Triton's language.",
    ),
    (
        r"Loop-carried variable (?P<name>\w+) has initial type (?P<a>.+?) but is re-assigned to "
        r"(?P<b>.+?) in loop",
        "`{name}` is {a} before the loop and becomes {b} in it: a variable keeps its type and shape "
        "through a loop. Give it the final type before the loop, or cast in it.",
    ),
    (
        r"cannot reassign constexpr (?P<name>\w+)",
        "`{name}` is a compile-time constant and cannot change in a loop: start with a tensor, such "
        "as tl.zeros.",
    ),
    (
        r"Loop carried variable (?P<name>\w+) is not a triton value",
        "`{name}` has no tensor value before the loop (is it None?) but changes in it.",
    ),
    (
        r"initial value for `(?P<name>\w+)` is of type",
        "`{name}` has another type or shape after this `if` than before it: both ways must give the "
        "same.",
    ),
    (
        r"Mismatched type for (?P<name>\w+) between then block \((?P<a>.+?)\) and else block "
        r"\((?P<b>.+?)\)",
        "`{name}` is {a} if the condition holds and {b} if not: both ways must give the same type "
        "and shape.",
    ),
    (
        r"Boolean value of Tensor with more than one value is ambiguous",
        "`if` needs one value, not a block: use tl.where, or reduce the block first.",
    ),
    (
        r"Expected dtype \[(?P<want>.+?)\] but got (?P<got>\w+)",
        "this function takes {want}, not {got}: convert with `.to(tl.float32)` first.",
    ),
    (
        r"Cannot make_shape_compatible: incompatible dimensions at index (?P<axis>\d+): "
        r"(?P<a>\S+) and (?P<b>\S+)",
        "blocks of {a} and {b} along axis {axis} do not fit together: is a `[:, None]` or "
        "`[None, :]` missing?",
    ),
    (
        r"(?:`|\")?[Mm]ask argument cannot be block type if pointer argument is not a block",
        "the mask is a block but the pointer is a single address: add an offset block to the "
        "pointer.",
    ),
    (
        r"Value argument cannot be block type if pointer argument is not a block",
        "a block of values is stored to a single address: add an offset block to the pointer.",
    ),
    (
        r"Expected pointer argument to have shape (?P<want>\S.*?) but got (?P<got>.+)",
        "the pointers have shape {got} but the value or mask has shape {want}: they must be the "
        "same.",
    ),
    (
        r"Unsupported ptr type (?P<type>\S+) in `tl\.(?P<op>load|store)`",
        "tl.{op} needs a pointer, and this is {type}: was a number passed where a tensor belongs, or "
        "was the argument's name forgotten?",
    ),
    (r"`other` cannot be provided without `mask`", "tl.load takes `other` only with a `mask`."),
    (r"Mask must have boolean scalar type", "the mask must be boolean: compare, as in `i < n`."),
    (
        r"First input shape \((?P<a>.+?)\) and second input shape (?P<b>.+?) are not compatible",
        "tl.dot cannot multiply {a} by {b}: the first one's columns must be as many as the second "
        "one's rows.",
    ),
    (
        r"Both operands must be same dtype\. Got (?P<a>\w+) and (?P<b>\w+)",
        "tl.dot needs both blocks in one type, and got {a} and {b}: convert one.",
    ),
    (
        r"Cannot access global variable (?P<name>\w+)",
        "a kernel cannot use the global variable `{name}`: pass it as an argument, or make it a "
        "`tl.constexpr(...)`.",
    ),
    (
        r"NameError\(['\"](?P<name>\w+) is not defined|(?P<name2>\w+) is not defined",
        "`{name}` is not defined in the kernel.",
    ),
    (
        r"cannot add pointers together",
        "two pointers cannot be added: one of them should be an offset.",
    ),
    (
        r"IncompatibleTypeErrorImpl\(['\"]invalid operands of type (?P<a>\S+) and (?P<b>\S+?)['\"]|"
        r"invalid operands of type (?P<c>\S+) and (?P<d>\S+)",
        "these two types do not go together: a pointer takes integer offsets only, and & and | take "
        "booleans or integers.",
    ),
    (
        r"simultaneous multiple comparison is not supported",
        "`a < b < c` does not exist in a kernel: write `(a < b) & (b < c)`.",
    ),
    (
        r"__setitem__ is not supported|Subscript_Store",
        "a block's elements cannot be assigned: build the new block with tl.where.",
    ),
    (
        r"unsupported tensor index: (?P<index>.+)",
        "a block cannot be indexed like an array ({index}): only `:` and `None` are possible. Load "
        "what is needed, or pick it with tl.where and a sum.",
    ),
    (
        r"constexpr_type' object has no attribute 'is_ptr'",
        "a pointer is needed here: an argument is None or a number where a tensor belongs.",
    ),
    (r"has no attribute '(?P<name>\w+)'", "there is no `{name}` here."),
    (
        r"out_dtype=bfloat16 is unsupported",
        "tl.dot accumulates in float32: convert the result with `.to(tl.bfloat16)`.",
    ),
    (
        r"nested function definition",
        "a kernel cannot define functions: write a second `@triton.jit` function.",
    ),
    (
        r"did you forget to add @triton\.jit|Did you forget to add @triton\.jit",
        "a plain Python function was called in the kernel: give it @triton.jit.",
    ),
    (
        r"[Rr]eturn type mismatch",
        "the function returns values of different types or shapes: each `return` must give the "
        "same.",
    ),
    (
        r"atomic_\w+ does not support (?P<type>\w+)",
        "there is no such atomic for {type} on a GPU: accumulate in float32 or int32.",
    ),
    (
        r"(?P<a>\w+) is already defined\. constexpr cannot be reassigned",
        "`{a}` is a compile-time constant: it cannot be assigned again.",
    ),
    (
        r"^assert len\(targets\) == 1|AssertionError\(\)$",
        "the compiler does not take this statement{hint}.",
    ),
)


def explain(text: str, source: str) -> str:
    """A sentence for what the compiler said about the line ``source``, with its own words."""
    said = _clean(text)
    for pattern, sentence in _SENTENCES:
        match = re.search(pattern, text)
        if match is None:
            continue
        parts = {name: value or "" for name, value in match.groupdict().items()}
        parts["name"] = parts.get("name") or parts.get("name2", "")
        parts["hint"] = _hint(source)
        return _finish(_readable(sentence.format(**parts)), said)
    return _finish("a GPU's compiler refuses this.", said)


def diagnostic(text: str) -> tuple[int, str]:
    """Line and words of the first error in what the compiler printed; line 0 if there is none."""
    match = re.search(r":(\d+):\d+: error: (.*)", text)
    return (int(match[1]), match[2]) if match else (0, "")


def _finish(sentence: str, said: str) -> str:
    return f"{sentence} (The compiler: {said})" if said else sentence


def _hint(source: str) -> str:
    if re.match(r"[\w.]+\s*=[^=].*[^=<>!]=[^=]", source):
        return ": `a = b = value` is two assignments, write them one by one"
    return ""


def _clean(text: str) -> str:
    text = re.sub(r"^\w*(Error|Impl|Exception)\((.*)\)$", r"\2", text.strip(), flags=re.DOTALL)
    text = text.strip("\"'")
    text = " ".join(text.split())
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
