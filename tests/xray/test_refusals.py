"""The compiler's messages and their explanations, without a compiler."""

import re

import pytest

from harness.kernels.refusals import EXPLANATIONS, explain, plain_message, sentence


@pytest.mark.parametrize(
    "message, part",
    [
        ("arange's range must be a power of 2", "powers of two"),
        ("input and other must have equal reduction dimensions", "columns of `a`"),
        ("unsupported AST node type: Break", "no `break`"),
        ("unsupported AST node type: Lambda", "(Lambda)"),
        ("NameError('offs is not defined')", "`offs` has no value here"),
        ("Expected dtype ['fp32', 'fp64'] but got fp16", "was given fp16"),
        (
            "ValueError('Cannot make_shape_compatible: incompatible dimensions at index 0: "
            "32 and 64')",
            "axis 0 has 32 elements on one side and 64",
        ),
        (
            "initial value for `a` is of type int32[], but the then block redefines it as fp32[]",
            "whichever branch",
        ),
        ("Expected pointer argument to have shape ['64', '64'] but got ['64', '1']", "one shape"),
        ("invalid operands of type pointer<fp32> and triton.language.float32", "`//`, not `/`"),
        ("invalid operands of type pointer<fp32> and triton.language.int32", "not the pointer"),
        (
            "invalid operands of type pointer<fp32> and triton.language.float32",
            "`tl.load(pointer)`",
        ),
        ("invalid operands of type pointer<fp32> and triton.language.int32", "`tl.load(pointer)`"),
        ("Unsupported function referenced: <function plain>", "@triton.jit on `plain`"),
        ("load() got an unexpected keyword argument 'msk'", "`tl.load` has no argument `msk`"),
        ("Cannot evaluate f-string containing non-constexpr conversion", '`print("x", x)`'),
        ("'range' object has no attribute 'type'", "`tl.arange(0, BLOCK)`"),
        ("object of type 'tensor' has no len()", "knows no length"),
        ("store() missing 1 required positional argument: 'value'", "without 'value'."),
        ("f() missing 2 required positional arguments: 'x' and 'y'", "without 'x' and 'y'."),
        ("program_id axis must be 0, 1, or 2 but got x", "x is none of them"),
        ("Unsupported ptr type <['1024'], fp32> in `tl.store`", "and is a block of 1024 fp32"),
        ("out of resource: shared memory, Required: 200, Hardware limit: 100", "fewer stages"),
    ],
)
def test_common_messages_are_explained(message, part):
    assert part in explain(message)


def test_an_unknown_message_is_not_explained_wrongly():
    assert explain("operand #0 does not dominate this use") == ""


def test_every_sentence_can_be_filled_in():
    for pattern, words in EXPLANATIONS:
        names = set(re.compile(pattern).groupindex)
        words.format(**dict.fromkeys(names, "x"))


def test_the_repr_of_an_exception_is_taken_off():
    assert plain_message("NameError('x is not defined')") == "x is not defined"
    assert plain_message('TypeError("can\'t")') == "can't"
    assert plain_message("plain words (here)") == "plain words (here)"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("first = second = 1.0", True),
        ("    a = b[0] = x == y", True),
        ('r = tl.dot(a, b, input_precision="ieee", out_dtype=tl.bfloat16)', False),
        ("x = tl.load(p, mask=i < n,", False),
        ("a = x == y", False),
        ("", False),
    ],
)
def test_only_two_targets_are_two_assignments(line, said):
    assert ("two assignments" in explain("arange's range must be a power of 2", line)) == said


SEMANTIC = (
    "Did you forget to add @triton.jit ? (`_semantic` argument must be provided outside of JIT "
    "functions.)"
)


@pytest.mark.parametrize(
    ("message", "line", "said"),
    [
        ("__setitem__ is not supported in triton", "out[i] = x", "`tl.store(out + i, value)`"),
        ("__setitem__ is not supported in triton", "out[0] = x", "`tl.store(out, value)`"),
        ("__setitem__ is not supported in triton", "out[i, j] = x", "`tl.store(out + offsets, "),
        ("__setitem__ is not supported in triton", "out[i] = (", "`tl.store(pointer + offsets,"),
        ("'pointer' object does not support item assignment", "p[i] = x", "`tl.store(p + i, "),
        (SEMANTIC, "y = x[i] + tl.sum(z)[:, None]", "`tl.load(x + i)` reads"),
        (SEMANTIC, "tl.store(y, x[i])  # a note", "`tl.load(x + i)` reads"),
        (SEMANTIC, "if x[i] < n:  # a note", "`tl.load(x + i)` reads"),
        (SEMANTIC, "    elif x[i] < n:", "`x[i]` means nothing"),
        (SEMANTIC, "while tl.sum(z) < x[i]:", "`x[i]` means nothing"),
        (SEMANTIC, "if helper(x[i]):", "give it @triton.jit"),
        (SEMANTIC, "y += helper(x[i])", "give it @triton.jit"),
        (SEMANTIC, "y = helper(x)[:, None]", "give it @triton.jit"),
        (SEMANTIC, "y = tl.sum(x)[:, None]", "give it @triton.jit"),
        (SEMANTIC, "", "give it @triton.jit"),
        ("unsupported tensor index: constexpr[0]", "y = x[0]", "`x[0]` means nothing"),
        ("unsupported tensor index: constexpr[0]", "", "cannot be indexed like an array"),
    ],
)
def test_an_array_s_brackets_are_told_as_what_they_are_in_a_kernel(message, line, said):
    assert said in explain(message, line)


@pytest.mark.parametrize(
    ("message", "line", "said"),
    [
        ("'builtin' object has no attribute 'scalar'", "i = torch.arange(0, B)", "`torch.arange`"),
        ("np is not defined", "y = np.multiply(k, x)", "`np.multiply` does not exist in a kernel"),
        ("np is not defined", "y = x", "`np` has no value here"),
        ("arange's range must be a power of 2", "i = torch.arange(0, 3)", "powers of two"),
    ],
)
def test_a_function_of_another_library_is_named(message, line, said):
    assert said in explain(message, line)


def test_the_compiler_s_quotes_stay_in_pairs():
    assert "(The compiler: 'range' object has no attribute 'type')" in sentence(
        "'range' object has no attribute 'type'"
    )
    said = sentence("NameError('x is not defined')")
    assert "(The compiler: x is not defined)" in said
    assert said.startswith("`x` has no value here. ") and said.count("not defined") == 1


def test_a_debugger_and_a_condition_that_is_known_before_are_named() -> None:
    assert sentence("NameError('breakpoint is not defined')").startswith(
        "The compiler knows no `breakpoint()`: take it out."
    )
    said = sentence("AttributeError(\"'constexpr' object has no attribute 'handle'\")")
    assert "a `while` takes a condition that is computed" in said and "no `handle`" not in said
