"""The compiler's messages and their explanations, without a compiler."""

import re

import pytest

from harness.kernels.refusals import EXPLANATIONS, explain, plain_message


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
        ("Unsupported function referenced: <function plain>", "@triton.jit on `plain`"),
        ("load() got an unexpected keyword argument 'msk'", "`tl.load` has no argument `msk`"),
        ("out of resource: shared memory, Required: 200, Hardware limit: 100", "fewer stages"),
    ],
)
def test_common_messages_are_explained(message, part):
    assert part in explain(message)


def test_an_unknown_message_is_not_explained_wrongly():
    assert explain("operand #0 does not dominate this use") == ""


def test_every_sentence_can_be_filled_in():
    for pattern, sentence in EXPLANATIONS:
        names = set(re.compile(pattern).groupindex)
        sentence.format(**dict.fromkeys(names, "x"))


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
