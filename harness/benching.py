"""What a bench declares: cases, inputs, bytes and FLOPs, what is right, and whom to compare with.

``tracks/<track>/benches/bench_dayNN.py`` imports from here and says nothing about timing. The
harness loads the day twice (yours and the reference), derives ``torch.compile`` from eager, makes
fresh inputs for every repetition, times all contenders interleaved in one run and checks their
outputs against float64.

A Triton day, whole::

    import torch

    from harness.benching import Case, Contender, Problem, bench, goal

    def liger():                      # called once, outside the clock, where liger_kernel is there
        from liger_kernel.ops.softmax import LigerSoftmaxFunction

        return LigerSoftmaxFunction.apply

    @bench(
        "softmax",                    # the exercise; `day.softmax` is what is timed
        unit="GB/s",                  # or "FLOP/s", or "time"
        cases=[Case(rows=4096, columns=c) for c in (1024, 2048, 4096, 8192, 16384)],
        goals=[goal(at_least=0.97, of="copy", columns=range(2048, 16385))],
    )
    def softmax(case):
        rows, columns = case.rows, case.columns
        return Problem(
            inputs=lambda rng: (rng.normal(rows, columns, dtype=torch.float16),),
            oracle=lambda x: torch.softmax(x.double(), dim=-1),
            tolerance={"terms": columns},            # keywords of harness.testing.close
            bytes=2 * rows * columns * 2,            # x read once, the result written once
            flops=5 * rows * columns,
            peers={
                "torch": lambda x: torch.softmax(x, dim=-1),    # "compile" is derived from it
                "liger": Contender(load=liger, needs=["liger_kernel"], gpu=True),
            },
        )

An Autodiff day, whole. Inputs are numpy arrays; each contender turns them into its own kind of
tensor in ``prepare``, outside the clock, and returns plain arrays or tensors again::

    import numpy as np
    import torch

    from harness.benching import Case, Contender, Problem, bench, goal

    def ours(day):                    # `day` is the module: your file, or the reference
        def prepare(x, w):
            return day.Tensor(x), day.Tensor(w)

        def call(x, w):
            x.grad = w.grad = None    # whatever one honest repetition needs
            (x @ w).tanh().sum().backward()
            return w.grad             # a numpy array: a lazy result would be refused

        return Contender(call, prepare=prepare)

    def torch_step(x, w):
        w = w.detach().requires_grad_()
        torch.tanh(x @ w).sum().backward()
        return w.grad

    def hips():
        import autograd
        import autograd.numpy as anp

        return autograd.grad(lambda w, x: anp.sum(anp.tanh(x @ w)))

    @bench(
        "tanh_layer",
        unit="time",
        cases=[Case(n=n) for n in (16, 64, 256)],
        goals=[goal(at_most=1.2, of="numpy", n=256)],
    )
    def tanh_layer(case):
        n = case.n

        def by_hand(x, w):
            return x.T @ (1 - np.tanh(x @ w) ** 2)

        return Problem(
            inputs=lambda rng: (rng.normal(n, n), rng.normal(n, n)),
            oracle=by_hand,
            tolerance={"terms": n, "scale": 4.0},
            flops=4 * n**3,
            ours=ours,
            peers={
                "numpy": by_hand,
                "torch": Contender(
                    torch_step, prepare=lambda x, w: (torch.tensor(x), torch.tensor(w))
                ),
                "autograd": Contender(
                    load=hips, needs=["autograd"], prepare=lambda x, w: (w, x)
                ),
            },
            compile=False,            # no torch.compile contender
        )

What else there is:

* ``cpu_cases=`` are used on a machine without a GPU (PyTorch track; default: ``cases``),
  ``gpu="sm_90"`` names the chip that a bench needs, ``cache="warm"`` leaves inputs in the cache.
* ``sdpa("flash")``, ``sdpa("cudnn", causal=True)``, ``sdpa("efficient")``, ``sdpa("math")`` are
  torch's attention with that backend pinned.
* ``absent("reason")`` is a named gap: the peer exists and does not apply to this case.
* Names of peers that ``AGAINST=`` knows everywhere: torch, compile, liger, cudnn, flash, math,
  cublas, numpy, autograd, mygrad. Any other name works too.
* A peer called "torch" is eager torch: silver is measured against it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

UNITS = ("GB/s", "FLOP/s", "time")
CEILINGS = ("copy", "matrix")


class Case:
    """One point of a bench: named sizes (or dtypes, flags), read as attributes.

    ``Case(rows=4096, columns=1024).rows == 4096``; prints as ``rows=4096 columns=1024``.
    """

    def __init__(self, **values: Any) -> None:
        if not values:
            raise ValueError("Case() needs at least one named value, such as Case(n=1024)")
        self._values = dict(values)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # copy and pickle ask before __init__ has run
            raise AttributeError(name)
        try:
            return self._values[name]
        except KeyError:
            known = ", ".join(self._values)
            raise AttributeError(f"this case has no {name!r}; it has: {known}") from None

    @property
    def values(self) -> dict[str, Any]:
        return dict(self._values)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Case) and other._values == self._values

    def __hash__(self) -> int:
        return hash(str(self))

    @property
    def plain(self) -> dict[str, Any]:
        """The values as JSON knows them; a dtype by its name."""
        return {name: _plain(value) for name, value in self._values.items()}

    def __str__(self) -> str:
        return " ".join(f"{name}={value}" for name, value in self.plain.items())

    __repr__ = __str__


@dataclass(frozen=True)
class Contender:
    """Something to time.

    ``call(*inputs)`` is the timed call; or ``load()`` returns it, once, outside the clock (for
    imports and set-up). ``needs`` names the packages it imports: where one is missing the table
    shows a gap with that name, and so it does on a CPU for a ``gpu`` contender, whose kernels run
    on a GPU only. ``prepare(*inputs)`` turns the problem's inputs into the call's arguments,
    outside the clock, for every fresh set of inputs.
    """

    call: Callable[..., Any] | None = None
    load: Callable[[], Callable[..., Any]] | None = None
    needs: Sequence[str] = ()
    prepare: Callable[..., tuple[Any, ...]] | None = None
    gpu: bool = False
    gap: str = ""

    def __post_init__(self) -> None:
        given = [self.call is not None, self.load is not None, bool(self.gap)]
        if sum(given) != 1:
            raise ValueError("a Contender has exactly one of: call, load, gap")


@dataclass(frozen=True)
class Problem:
    """One case of a bench, ready to be measured.

    ``inputs(rng)`` makes one set of fresh inputs; it must depend on ``rng`` only, because the
    harness makes the same set again from the same seed to check the answer. ``oracle(*inputs)`` is
    what is right, in float64. ``bytes`` and ``flops`` are what the operation must move and compute,
    counted by a formula: each input read once, each output written once.

    ``ours(day)`` returns what to time of a day's module; by default the function that has the
    bench's name. ``compile=False`` leaves ``torch.compile`` out. ``inplace=True`` allows the call
    to overwrite its inputs.
    """

    inputs: Callable[[Any], tuple[Any, ...]]
    oracle: Callable[..., Any]
    tolerance: Mapping[str, Any] = field(default_factory=dict)
    bytes: int = 0
    flops: int = 0
    ours: Callable[[ModuleType], Callable[..., Any] | Contender] | None = None
    peers: Mapping[str, Callable[..., Any] | Contender] = field(default_factory=dict)
    compile: bool = True
    inplace: bool = False


@dataclass(frozen=True)
class Goal:
    """A promised ratio. ``at_least`` compares speeds, ``at_most`` compares times."""

    of: str
    at_least: float | None
    at_most: float | None
    where: tuple[tuple[str, Any], ...]

    def covers(self, case: Mapping[str, Any]) -> bool:
        """Whether ``case`` (its ``plain`` values) is one of those that the goal speaks of."""
        return all(name in case and _within(case[name], wanted) for name, wanted in self.where)

    def __str__(self) -> str:
        what = {"copy": "the copy bandwidth", "matrix": "the matrix rate"}.get(self.of, self.of)
        sign, bound = ("≥", self.at_least) if self.at_most is None else ("time ≤", self.at_most)
        where = ", ".join(f"{name} {_spoken(wanted)}" for name, wanted in self.where)
        return f"{sign} {bound:g} × {what}" + (f" for {where}" if where else "")


def goal(
    *, of: str, at_least: float | None = None, at_most: float | None = None, **where: Any
) -> Goal:
    """A goal that the command marks met, missed or not measured.

    ``of`` is ``"copy"`` (copy bandwidth measured in the same run), ``"matrix"`` (matrix rate
    measured in the same run) or the name of a contender. ``at_least=0.97`` asks for 0.97 of its
    speed; ``at_most=1.2`` allows 1.2 of its time. ``where`` narrows it to some cases: a value, or
    a range, set or list of values.
    """
    if (at_least is None) == (at_most is None):
        raise ValueError("goal() takes one of at_least= (speed) and at_most= (time)")
    if of in CEILINGS and at_least is None:
        raise ValueError(f"a goal on {of!r} compares speeds: use at_least=")
    return Goal(of, at_least, at_most, tuple(where.items()))


@dataclass(frozen=True)
class Bench:
    """What ``@bench`` makes of a function: the harness finds these in a bench file, in order."""

    name: str
    problem: Callable[[Case], Problem]
    unit: str
    cases: tuple[Case, ...]
    cpu_cases: tuple[Case, ...]
    goals: tuple[Goal, ...]
    gpu: str | None
    cache: str


def bench(
    name: str,
    *,
    cases: Iterable[Case],
    unit: str,
    cpu_cases: Iterable[Case] | None = None,
    goals: Iterable[Goal] = (),
    gpu: str | None = None,
    cache: str = "cold",
) -> Callable[[Callable[[Case], Problem]], Bench]:
    """Declare a bench. The decorated function turns a ``Case`` into a ``Problem``."""
    if unit not in UNITS:
        raise ValueError(f"bench {name!r}: unit {unit!r} is none of {', '.join(UNITS)}")
    if cache not in ("cold", "warm"):
        raise ValueError(f"bench {name!r}: cache {cache!r} is neither 'cold' nor 'warm'")
    on_gpu = tuple(cases)
    on_cpu = on_gpu if cpu_cases is None else tuple(cpu_cases)
    if not on_gpu and not on_cpu:
        raise ValueError(f"bench {name!r} has no cases")

    def declare(problem: Callable[[Case], Problem]) -> Bench:
        return Bench(name, problem, unit, on_gpu, on_cpu, tuple(goals), gpu, cache)

    return declare


def absent(reason: str) -> Contender:
    """A peer that does not apply here: the table names it and says why."""
    return Contender(gap=reason)


def sdpa(
    backend: str, *, causal: bool = False, scale: float | None = None, gqa: bool = False
) -> Contender:
    """``torch.nn.functional.scaled_dot_product_attention`` with one backend pinned.

    ``backend``: flash, cudnn, efficient or math. The call takes ``(q, k, v)``. A backend that
    refuses these inputs is a gap that shows torch's reason.
    """
    names = {
        "flash": "FLASH_ATTENTION",
        "cudnn": "CUDNN_ATTENTION",
        "efficient": "EFFICIENT_ATTENTION",
        "math": "MATH",
    }
    if backend not in names:
        raise ValueError(f"sdpa({backend!r}): choose one of {', '.join(names)}")

    def load() -> Callable[..., Any]:
        import torch.nn.functional as F
        from torch.nn.attention import SDPBackend, sdpa_kernel

        pinned = getattr(SDPBackend, names[backend])

        def attention(q: Any, k: Any, v: Any) -> Any:
            with sdpa_kernel(pinned):
                return F.scaled_dot_product_attention(
                    q, k, v, is_causal=causal, scale=scale, enable_gqa=gqa
                )

        return attention

    return Contender(load=load)


def _plain(value: Any) -> Any:
    if isinstance(value, (bool, int, float, str)) or value is None:
        return value
    return str(value).removeprefix("torch.")


def _within(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, range):  # 4096 lies between the ends whatever the step
        return wanted.start <= value < wanted.stop
    if isinstance(wanted, (list, tuple, set, frozenset)):
        return value in [_plain(one) for one in wanted]
    return bool(value == _plain(wanted))


def _spoken(wanted: Any) -> str:
    if isinstance(wanted, range):
        return f"{wanted.start}–{wanted.stop - 1}"
    if isinstance(wanted, (list, tuple, set, frozenset)):
        return "/".join(str(_plain(one)) for one in wanted)
    return str(_plain(wanted))
