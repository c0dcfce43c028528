"""Wrong answers of the Autodiff track."""

from __future__ import annotations

from harness.curriculum import Day
from tests.grading.gallery import Wrong

ONE, SIX, TEN = Day("autodiff", 1), Day("autodiff", 6), Day("autodiff", 10)
FIFTEEN, SEVENTEEN = Day("autodiff", 15), Day("autodiff", 17)

COMPLEX = (
    "    h = 1e-30\n"
    "    value = f(np.asarray(x) + 1j * h)\n"
    "    if not np.iscomplexobj(value):\n"
    '        raise TypeError("f returned a real number for a complex one: complex_step cannot '
    'follow it")\n'
    "    return np.imag(value) / h\n"
)

WRONG = [
    Wrong(
        "an exercise that fails takes another one down", SIX, "vjp",
        (("add(b, -share * value)", "add(b, share * value)"),),
        cause="`backward` fails first", whole=True,
    ),
    Wrong(
        "the points lie a step too far apart", ONE, "forward_difference",
        (("    return (f(ahead) - f(x)) / step\n", "    return (f(ahead) - f(x - h)) / step\n"),),
        never=("float32", "rounded away"),
    ),
    Wrong(
        "a difference where the complex step is asked for", ONE, "complex_step",
        ((COMPLEX, "    x = np.asarray(x)\n    return (f(x + 1e-6) - f(x - 1e-6)) / 2e-6\n"),),
        never=("float32",),
    ),
    Wrong(
        "the complex step is too long", ONE, "complex_step",
        (("    h = 1e-30\n", "    h = 1e-3\n"),),
        cause="The step is far too large", never=("float32",),
    ),
    Wrong(
        "a slope that is not halved", ONE, "central_difference",
        (("    step = ahead - behind\n    if", "    step = ahead - x\n    if"),),
        cause="The points lie 2h apart", never=("float32", "rounded away"),
    ),
    Wrong(
        "a lost step is not refused", ONE, "forward_difference",
        (('    if np.any(step == 0):\n'
          '        raise ValueError(f"the step h={h} is lost in rounding: '
          'x + h equals x")\n    return (f(ahead) - f(x)) / step\n',
          "    return (f(ahead) - f(x)) / step\n"),),
        cause="the slope came out as nan", never=("DID NOT RAISE",),
    ),
    Wrong(
        "the second difference is divided once", ONE, "second_derivative",
        (("/ step**2\n", "/ step\n"),),
        never=("float32",),
    ),
    Wrong(
        "a leaf keeps what it is given", SIX, "Tape",
        (("number = np.float64(value) if isinstance(value, Real) else value", "number = value"),),
        cause="were kept",
    ),
    Wrong(
        "a zero adjoint is passed over", SIX, "backward",
        (("if g is None or not operands:", "if g is None or not operands or g == 0:"),),
        cause="handed out nothing", never=("sign",),
    ),
    Wrong(
        "the adjoint of a product goes to the wrong factor", SIX, "backward",
        (("add(a, g * y)\n", "add(a, g * x)\n"), ("add(b, g * x)\n", "add(b, g * y)\n")),
        cause="The factors are exchanged", never=("overwritten", "quotient", "sign"),
    ),
    Wrong(
        "the adjoints overwrite each other", SIX, "backward",
        (("share if adjoints[place] is None else adjoints[place] + share", "share"),),
        cause="The last share replaced the others", never=("quotient", "sign"),
    ),
    Wrong(
        "tanh without the square", SIX, "backward",
        (("g * (1 - value * value)", "g * (1 - value)"),),
        never=("sign of", "added up"),
    ),
    Wrong(
        "exp is worked out again in the backward pass", TEN, "Exponential",
        (("self.grad += grad * value\n\n        return self.__class__(value, (self,), \"exp\"",
          "self.grad += grad * math.exp(self.data)\n\n"
          "        return self.__class__(value, (self,), \"exp\""),),
        never=("given code",),
    ),
    Wrong(
        "the slope of a root is not halved", TEN, "Root",
        (("grad / (2.0 * root)", "grad / root"),),
        cause="A factor is missing in the slope of the root", never=("float32", "sign"),
    ),
    Wrong(
        "a power to the right calls itself", TEN, "Value",
        (("        return base**self\n", "        return self.__rpow__(base)\n"),),
        cause="calls itself without end", line="return self.__rpow__(base)",
    ),
    Wrong(
        "the base of a power gets nothing", TEN, "Power",
        (("        return self.__class__(compute(math.pow, x, n), (self,), f\"**{n:g}\", backward)",
          "        return self.__class__(compute(math.pow, x, n), (), f\"**{n:g}\", backward)"),),
        never=("sign", "float32"),
    ),
    Wrong(
        "zeros are not handed on by backward", FIFTEEN, "Tensor",
        (("            if g is None:\n                continue\n",
          "            if g is None or not g.any():\n                continue\n"),),
        cause="Zeros are a gradient too",
    ),
    Wrong(
        "a zero gradient hides an infinite factor", SEVENTEEN, "mul",
        (("(unbroadcast(g * y, a.shape), unbroadcast(g * x, b.shape))",
          "tuple(unbroadcast(np.where(g, g * s, 0), t.shape) for s, t in ((y, a), (x, b)))"),),
        cause="0 · inf is nan",
    ),
]  # fmt: skip
