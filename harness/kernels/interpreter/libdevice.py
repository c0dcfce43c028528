"""Numpy and scipy equivalents of CUDA's libdevice.

Results are computed in float64 and rounded once, so they are at least as good as a GPU's.
Names and meanings: https://docs.nvidia.com/cuda/libdevice-users-guide/
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from harness.kernels.interpreter.numbers import Array, cast

_Function = Callable[..., Any]


def erf(data: Array) -> Array:
    return _erf(data.astype(np.float64)).astype(data.dtype)


@cache
def _special() -> Any:
    try:
        from scipy import special
    except ImportError:  # only the special functions need it
        return None
    return special


def _erf(data: Array) -> Array:
    special = _special()
    if special is not None:
        return np.asarray(special.erf(data))
    return np.vectorize(math.erf, otypes=[np.float64])(data)


def _scipy(name: str) -> _Function:
    def function(*args: Array) -> Any:
        special = _special()
        return None if special is None else getattr(special, name)(*args)

    return function


def _pi(function: _Function) -> _Function:
    """sinpi(x) = sin(πx), exact at multiples of a half."""
    return lambda x: function(np.pi * np.fmod(x, 2.0))


def _nearest_away(x: Array) -> Array:
    """round(): halves away from zero."""
    whole = np.trunc(x)
    return whole + np.copysign(np.abs(x - whole) >= 0.5, x)


def _root_of_squares(*parts: Array) -> Array:
    return np.sqrt(sum(part * part for part in parts))


def _tgamma(x: Array) -> Any:
    special = _special()
    if special is None:
        return None
    pole = (x < 0) & (x == np.floor(x))
    return np.where(pole | (x == -np.inf), np.nan, special.gamma(x))


def _ilogb(x: Array) -> Array:
    exponent = np.frexp(x)[1] - 1
    special = ~np.isfinite(x) | (x == 0)
    return np.where(special, np.where(np.isinf(x), 2**31 - 1, -(2**31)), exponent)


def _logb(x: Array) -> Array:
    value = np.frexp(x)[1] - 1.0
    value = np.where(x == 0, -np.inf, value)
    return np.where(np.isinf(x), np.inf, np.where(np.isnan(x), np.nan, value))


# What works on real numbers, in float64.
_REAL: dict[str, _Function] = {
    "fabs": np.abs,
    "floor": np.floor,
    "ceil": np.ceil,
    "trunc": np.trunc,
    "rint": np.rint,
    "nearbyint": np.rint,
    "round": _nearest_away,
    "sqrt": np.sqrt,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "cbrt": np.cbrt,
    "rcbrt": lambda x: 1 / np.cbrt(x),
    "exp": np.exp,
    "exp2": np.exp2,
    "exp10": lambda x: np.power(10.0, x),
    "expm1": np.expm1,
    "log": np.log,
    "log2": np.log2,
    "log10": np.log10,
    "log1p": np.log1p,
    "logb": _logb,
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "sinpi": _pi(np.sin),
    "cospi": _pi(np.cos),
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "atan2": np.arctan2,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "tanh": np.tanh,
    "asinh": np.arcsinh,
    "acosh": np.arccosh,
    "atanh": np.arctanh,
    "pow": np.power,
    "powi": np.power,
    "fmod": np.fmod,
    "remainder": lambda x, y: x - np.rint(x / y) * y,
    "fma": lambda x, y, z: x * y + z,
    "fdim": lambda x, y: np.where(x > y, x - y, x * 0 + y * 0),
    "hypot": np.hypot,
    "rhypot": lambda x, y: 1 / np.hypot(x, y),
    "norm3d": _root_of_squares,
    "norm4d": _root_of_squares,
    "rnorm3d": lambda *p: 1 / _root_of_squares(*p),
    "rnorm4d": lambda *p: 1 / _root_of_squares(*p),
    "copysign": np.copysign,
    "saturate": lambda x: np.fmin(np.fmax(x, 0.0), 1.0),
    "erf": _erf,
    "erfc": _scipy("erfc"),
    "erfcx": _scipy("erfcx"),
    "erfinv": _scipy("erfinv"),
    "erfcinv": _scipy("erfcinv"),
    "normcdf": _scipy("ndtr"),
    "normcdfinv": _scipy("ndtri"),
    "lgamma": _scipy("gammaln"),
    "tgamma": _tgamma,
    "j0": _scipy("j0"),
    "j1": _scipy("j1"),
    "y0": _scipy("y0"),
    "y1": _scipy("y1"),
    "jn": lambda n, x: _scipy("jn")(n, x),
    "yn": lambda n, x: _scipy("yn")(n, x),
    "cyl_bessel_i0": _scipy("i0"),
    "cyl_bessel_i1": _scipy("i1"),
    "fast_sin": np.sin,
    "fast_cos": np.cos,
    "fast_tan": np.tan,
    "fast_exp": np.exp,
    "fast_exp10": lambda x: np.power(10.0, x),
    "fast_log": np.log,
    "fast_log2": np.log2,
    "fast_log10": np.log10,
    "fast_pow": np.power,
    "fast_fdivide": np.divide,
}

# What gives booleans (as integers), or works on bits and whole numbers.
_WHOLE: dict[str, _Function] = {
    "isnan": np.isnan,
    "isinf": np.isinf,
    "isfinite": np.isfinite,
    "finite": np.isfinite,
    "signbit": np.signbit,
    "nextafter": np.nextafter,
    "ldexp": np.ldexp,
    "scalbn": np.ldexp,
    "ilogb": _ilogb,
    "llrint": np.rint,
    "llround": _nearest_away,
    "abs": np.abs,
    "llabs": np.abs,
    "mul24": lambda a, b: _low24(a) * _low24(b),
    "sad": lambda a, b, c: np.abs(a.astype(np.int64) - b) + c,
    "hadd": lambda a, b: (a.astype(np.int64) + b) >> 1,
    "rhadd": lambda a, b: (a.astype(np.int64) + b + 1) >> 1,
    "mulhi": lambda a, b: high(a, b, 32),
    "mul64hi": lambda a, b: high(a, b, 64),
    "clz": lambda a: _bits(a, lambda n, w: w - n.bit_length()),
    "popc": lambda a: _bits(a, lambda n, w: n.bit_count()),
    "ffs": lambda a: _bits(a, lambda n, w: (n & -n).bit_length()),
    "brev": lambda a: _bits(a, lambda n, w: int(f"{n:0{w}b}"[::-1], 2)),
    "byte_perm": lambda a, b, s: np.vectorize(_byte_perm, otypes=[np.int64])(a, b, s),
}
for _name in ("clz", "popc", "ffs", "brev"):
    _WHOLE[f"{_name}ll"] = _WHOLE[_name]
for _name in ("mul24", "sad", "hadd", "rhadd", "mulhi", "mul64hi"):
    _WHOLE[f"u{_name}"] = _WHOLE[_name]
_WHOLE["umul64hi"] = _WHOLE["mul64hi"]

_BITCASTS = {
    "int_as_float": np.float32,
    "uint_as_float": np.float32,
    "float_as_int": np.int32,
    "float_as_uint": np.uint32,
    "longlong_as_double": np.float64,
    "double_as_longlong": np.int64,
}

_ARITHMETIC: dict[str, _Function] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "sqrt": np.sqrt,
    "rcp": lambda x: 1 / x,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "fma": lambda x, y, z: x * y + z,
}


def call(symbol: str, args: list[Array], target: np.dtype[Any]) -> Array | None:
    """``symbol`` (``__nv_asinf``) of ``args`` as ``target``; None if there is no equivalent."""
    name = symbol.removeprefix("__nv_")
    if name in _BITCASTS:
        return np.ascontiguousarray(args[0]).view(_BITCASTS[name]).view(target)
    if name[-3:] in ("_rn", "_rz", "_rd", "_ru"):
        return _directed(name[:-3], name[-2:], args, target)
    for form in (name, name[:-1] if name[-1:] in "fd" else name):
        if form in _REAL:
            wide = [a.astype(np.float64) if a.dtype.kind == "f" else a for a in args]
            out = _REAL[form](*wide)
            return None if out is None else np.asarray(out).astype(target)
        if form in _WHOLE:
            out = np.asarray(_WHOLE[form](*args))
            return cast(out, target) if out.dtype.kind == "f" else out.astype(target)
    return None


def _directed(name: str, mode: str, args: list[Array], target: np.dtype[Any]) -> Array | None:
    """Arithmetic and conversions with the rounding named: nearest, zero, down, up."""
    if "2" in name:
        if target.kind in "iu":
            rounded = {"rn": np.rint, "rz": np.trunc, "rd": np.floor, "ru": np.ceil}[mode](args[0])
            return cast(rounded, target)
        exact = args[0] if args[0].dtype.kind == "f" else args[0].astype(np.longdouble)
        return _round(exact, mode, target)
    kind = "fma" if name in ("fma", "fmaf") else name[1:] if name[0] in "fd" else name
    if kind not in _ARITHMETIC:
        return None
    exact = _ARITHMETIC[kind](*[arg.astype(np.longdouble) for arg in args])
    return _round(exact, mode, target)


def _round(exact: Array, mode: str, target: np.dtype[Any]) -> Array:
    nearest = exact.astype(target)
    if mode == "rn":
        return nearest
    up = np.nextafter(nearest, np.array(np.inf, target))
    down = np.nextafter(nearest, np.array(-np.inf, target))
    over, under = nearest > exact, nearest < exact
    if mode == "ru":
        return np.where(under, up, nearest)
    if mode == "rd":
        return np.where(over, down, nearest)
    return np.where(over & (exact > 0), down, np.where(under & (exact < 0), up, nearest))


def _low24(a: Array) -> Array:
    return (a.astype(np.int64) << 40) >> 40 if a.dtype.kind == "i" else a & 0xFFFFFF


def high(a: Array, b: Array, width: int) -> Array:
    """The upper half of the product, of twice ``width`` bits."""
    out = np.vectorize(lambda x, y: (int(x) * int(y)) >> width, otypes=[object])(a, b)
    return out.astype(a.dtype)


def _bits(a: Array, function: Callable[[int, int], int]) -> Array:
    width = a.dtype.itemsize * 8
    unsigned = a.view(np.dtype(f"u{a.dtype.itemsize}"))
    out = np.vectorize(lambda n: function(int(n), width), otypes=[np.uint64])(unsigned)
    return out


def _byte_perm(a: int, b: int, selector: int) -> int:
    source = ((int(b) & 0xFFFFFFFF) << 32) | (int(a) & 0xFFFFFFFF)
    out = 0
    for i in range(4):
        nibble = (int(selector) >> (4 * i)) & 7
        out |= ((source >> (8 * nibble)) & 0xFF) << (8 * i)
    return out


def install() -> None:
    """Make libdevice callable from interpreted kernels, under both of its names.

    Triton's own wrappers choose the symbol by type, and refuse the types that a GPU refuses.
    """
    import triton.language as tl
    from triton.language.extra import libdevice as general
    from triton.language.extra.cuda import libdevice as cuda
    from triton.runtime import interpreter as upstream

    machine = tl.extra.cuda  # globaltimer, smid and others: inline PTX, which says so
    for name, function in list(vars(machine).items()):
        if tl.core.is_builtin(function) and not hasattr(function, "interpreted"):
            setattr(machine, name, _with_semantic(function, upstream))
    for name, function in list(vars(cuda).items()):
        if not tl.core.is_builtin(function) or hasattr(function, "interpreted"):
            continue
        wrapper = _with_semantic(function, upstream)
        setattr(cuda, name, wrapper)
        if hasattr(general, name):
            setattr(general, name, wrapper)


def _with_semantic(function: _Function, upstream: Any) -> _Function:
    """In the compiler ``function`` as it is; in the interpreter, with the interpreter's own
    operations."""
    import inspect
    from functools import wraps

    from harness.kernels.interpreter.errors import KernelError

    @wraps(function)
    def wrapper(*args: Any, _semantic: Any = None) -> Any:
        try:
            return function(*args, _semantic=_semantic or upstream.interpreter_semantic)
        except KeyError as error:
            types = ", ".join(getattr(kind, "name", str(kind)) for kind in error.args[0])
            raise KernelError(
                "refused by the compiler",
                f"libdevice.{function.__name__} has no version for ({types}): convert with "
                "`.to(tl.float32)` first.",
            ) from None

    wrapper.signature = inspect.signature(function)  # type: ignore[attr-defined]
    wrapper.interpreted = True  # type: ignore[attr-defined]
    return wrapper
