"""How neighbouring threads touch global memory, read from TTGIR (the compiler's GPU dialect).

The pointer of every load and store is followed back through splats, ranges, additions and products
to its step along each axis of the block: a number, an argument's name, or unknown (an index that
was itself loaded). The layout says along which axis neighbouring threads lie, and how many
elements each of them holds.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

Step = int | str  # elements from one index to the next: a number, "stride_m", "2*stride_m", "?"
Steps = tuple[Step, ...]
UNKNOWN = "?"
WARP = 32


@dataclass(frozen=True)
class Access:
    """One global load, store or atomic of the kernel, as the layout lets it be made."""

    kind: str  # load, store, atomic
    line: int
    shape: tuple[int, ...]
    element_bits: int
    axis: int | None  # along which neighbouring threads lie
    per_thread: int  # neighbouring elements that one thread holds along that axis
    step: Step  # elements of memory between neighbours on that axis

    @property
    def contiguous(self) -> bool | None:
        """Whether neighbouring threads touch neighbouring addresses; None: cannot be told."""
        if self.step == UNKNOWN or self.axis is None:
            return None
        return self.step in (0, 1)

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "shape": list(self.shape), "contiguous": self.contiguous}

    @staticmethod
    def from_json(data: dict[str, Any]) -> Access:
        data = {name: value for name, value in data.items() if name != "contiguous"}
        return Access(**{**data, "shape": tuple(data["shape"])})

    def text(self, examples: dict[str, int] | None = None) -> str:
        side = " x ".join(str(size) for size in self.shape)
        head = f"line {self.line}: {self.kind} of {side}, {self.element_bits}-bit: "
        if self.contiguous is None:
            return head + "cannot be told (are the indices loaded or computed otherwise?)"
        if self.step == 0:
            return head + "neighbouring threads share an address"
        if self.step == 1:
            return head + "coalesced"
        steps = str(self.step)
        if isinstance(self.step, str) and examples and self.step in examples:
            steps = f"{self.step} = {examples[self.step]}"
        return head + f"NOT coalesced, neighbouring threads' elements are {steps} apart in memory"


def _product(a: Step, b: Step) -> Step:
    if isinstance(a, int) and isinstance(b, int):
        return a * b
    if 0 in (a, b):
        return 0
    if UNKNOWN in (a, b):
        return UNKNOWN
    if a == 1 or b == 1:
        return b if a == 1 else a
    return f"{a}*{b}"


def _sum(a: Step, b: Step, sign: int = 1) -> Step:
    if isinstance(a, int) and isinstance(b, int):
        return a + sign * b
    if b == 0:
        return a
    if a == 0 and sign == 1:
        return b
    return UNKNOWN


@dataclass(frozen=True)
class _Value:
    """An SSA value: its steps along each axis and, where it is the same everywhere, what it is."""

    steps: Steps = ()
    uniform: Step | None = None  # the number or argument that it equals everywhere


_SHAPE = re.compile(r"tensor<((?:\d+x)+)(!tt\.ptr<[^>]*>|[\w.]+)(?:, (.*))?>$", re.DOTALL)
_RESULT = re.compile(r"^\s*(?:%([\w#.$-]+)(?::\d+)? = )?\"?([\w.]+)\"?(.*)$")
_OPERAND = re.compile(r"%([\w#.$-]+)")
_ARGUMENT = re.compile(r"%([\w.$-]+): ((?:!tt\.ptr<[^>]*>)|[\w.]+)")
_PASS_THROUGH = (
    "arith.extsi",
    "arith.extui",
    "arith.trunci",
    "arith.index_cast",
    "ttg.convert_layout",
    "tt.bitcast",
    "tt.ptr_to_int",
    "tt.int_to_ptr",
)
_ACCESSES = {
    "tt.load": "load",
    "ttg.async_copy_global_to_local": "load",
    "tt.store": "store",
    "tt.atomic_rmw": "atomic",
    "tt.atomic_cas": "atomic",
}


def _tensor(text: str) -> tuple[tuple[int, ...], str, str] | None:
    """Shape, element and layout of the first tensor type in ``text``."""
    start = text.find("tensor<")
    if start < 0:
        return None
    depth = 0
    for end in range(start + len("tensor"), len(text)):
        depth += {"<": 1, ">": -1}.get(text[end], 0)
        if depth == 0:
            break
    match = _SHAPE.match(text[start : end + 1])
    if match is None:
        return None
    shape = tuple(int(size) for size in match.group(1).split("x") if size)
    return shape, match.group(2), match.group(3) or ""


def _bits(element: str) -> int:
    match = re.search(r"(?:bf|f|i)(\d+)", element.removeprefix("!tt.ptr<").lower())
    if match:
        return 8 if "f8" in element.lower() else int(match.group(1))
    return 64


class _Layouts:
    """The named layouts of a module: which axis neighbouring threads lie along."""

    def __init__(self, ttgir: str) -> None:
        self.named = dict(re.findall(r"^(#[\w]+) = (#ttg\.[^\n]*)$", ttgir, re.MULTILINE))

    def neighbours(self, layout: str) -> tuple[int, int] | None:
        """The axis of neighbouring threads, and how many elements a thread has along it."""
        sliced = re.match(r"#ttg\.slice<\{dim = (\d+), parent = (.*)\}>$", layout)
        if sliced:
            inner = self.neighbours(sliced.group(2))
            dropped = int(sliced.group(1))
            if inner is None or inner[0] == dropped:
                return None
            return inner[0] - (inner[0] > dropped), inner[1]
        text = self.named.get(layout, layout)
        if "blocked<" in text:
            each = _numbers(text, "sizePerThread")
            threads = _numbers(text, "threadsPerWarp")
            for axis in _numbers(text, "order"):
                if threads[axis] > 1 or each[axis] > 1:
                    return axis, each[axis]
            return None
        if "linear<" in text:
            return _linear_neighbours(text)
        return None


def _numbers(text: str, name: str) -> list[int]:
    match = re.search(name + r" = \[([\d, ]*)\]", text)
    return [int(number) for number in match.group(1).split(",") if number] if match else []


def _linear_neighbours(text: str) -> tuple[int, int] | None:
    """Bases are vectors that lane and register bits add to the position in the block."""
    lanes = re.search(r"lane = \[\[([\d, ]+)\]", text)
    if lanes is None:
        return None
    first = [int(number) for number in lanes.group(1).split(",")]
    axes = [axis for axis, step in enumerate(first) if step]
    return (axes[0], first[axes[0]]) if len(axes) == 1 else None


def _lines_of(ttgir: str) -> dict[str, int]:
    """``#loc12`` to the line of the learner's file that it stands for."""
    direct = {
        name: int(line)
        for name, line in re.findall(r'^(#loc\d*) = loc\("[^"]*":(\d+):\d+\)', ttgir, re.MULTILINE)
    }
    named = dict(
        re.findall(r"^(#loc\d*) = loc\((?:\"[^\"]*\"\(|callsite\()(#loc\d*)", ttgir, re.MULTILINE)
    )
    found = dict(direct)
    for name in named:
        at, hops = name, 0
        while at in named and at not in direct and hops < 20:
            at, hops = named[at], hops + 1
        found[name] = direct.get(at, 0)
    return found


def accesses(ttgir: str) -> list[Access]:
    """Every global access of a block in the module, one a source line, kind and layout."""
    layouts, lines = _Layouts(ttgir), _lines_of(ttgir)
    values: dict[str, _Value] = {}
    captured: list[_Value] = []
    found: list[Access] = []
    for text in ttgir.splitlines():
        if "tt.func" in text:
            for name, kind in _ARGUMENT.findall(text):
                values[name] = _Value(uniform=0 if kind.startswith("!tt.ptr") else name)
            continue
        partition = re.match(r"\s*partition\d+\((.*)\) num_warps", text)
        if partition:  # warps with a job of their own get what they need as arguments
            names = re.findall(r"%([\w.$-]+):", partition.group(1))
            values.update(zip(names, captured, strict=False))
            continue
        match = _RESULT.match(text)
        if match is None:
            continue
        result, operation, rest = match.groups()
        if operation == "ttg.warp_specialize":
            names = _OPERAND.findall(rest.partition(")")[0])
            captured = [values.get(name, _Value()) for name in names]
        if operation in _ACCESSES:
            _note_access(found, _ACCESSES[operation], rest, values, layouts, lines)
        if operation == "scf.for":
            # A loop's pointers move by the same amount everywhere: their steps are the first ones.
            for inner, outer in re.findall(r"%([\w.$-]+) = %([\w#.$-]+)", rest):
                if outer in values and values[outer].steps:
                    values[inner] = _Value(values[outer].steps)
        elif result is not None:
            values[result] = _evaluate(operation, rest, values)
    return list(dict.fromkeys(found))


def _evaluate(operation: str, rest: str, values: dict[str, _Value]) -> _Value:
    body, _, kinds = rest.partition(" : ")
    tensor = _tensor(kinds.rpartition("->")[2] if "->" in kinds else kinds)
    rank = len(tensor[0]) if tensor else 0
    unknown = _Value((UNKNOWN,) * rank)
    operands = [values.get(name) for name in _OPERAND.findall(body)]
    if operation == "arith.constant":
        number = re.search(r"(?:dense<)?(-?\d+)>?\s*$", body.strip())
        return _Value((0,) * rank, int(number.group(1)) if number else None)
    if operation == "tt.make_range":
        return _Value((1,))
    if operation in ("tt.get_program_id", "tt.get_num_programs"):
        return _Value((), UNKNOWN)
    if any(operand is None for operand in operands) or not operands:
        return unknown
    first = operands[0]
    assert first is not None
    if operation == "tt.splat":
        return _Value((0,) * rank, first.uniform)
    if operation in _PASS_THROUGH:
        return first
    if operation == "tt.expand_dims":
        axis = int(re.search(r"axis = (\d+)", body).group(1))  # type: ignore[union-attr]
        return _Value((*first.steps[:axis], 0, *first.steps[axis:]), first.uniform)
    if operation == "tt.broadcast":
        return first
    if operation == "tt.trans":
        order = _numbers(body.replace("array<i32: ", "[").replace(">", "]"), "order")
        return _Value(tuple(first.steps[axis] for axis in order)) if order else unknown
    if len(operands) == 2 and operation in ("arith.addi", "tt.addptr", "arith.subi", "arith.muli"):
        second = operands[1]
        assert second is not None
        return _combine(operation, first, second)
    if operation in ("arith.remsi", "arith.remui") and len(operands) == 2:
        period = operands[1].uniform if operands[1] is not None else None
        # Wrapping round breaks the run once a period: no matter where that is longer than a warp.
        long = isinstance(period, str) and period != UNKNOWN
        long = long or (isinstance(period, int) and period >= WARP)
        return _Value(first.steps) if long else unknown
    if operation in ("arith.select", "arith.minsi", "arith.maxsi"):
        # An index that is kept inside bounds: the bound matters at the edge only.
        moving = [v for v in operands[-2:] if v is not None and v.uniform is None]
        return _Value(moving[0].steps) if len(moving) == 1 else unknown
    return unknown


def _combine(operation: str, a: _Value, b: _Value) -> _Value:
    if operation == "arith.muli":
        if b.uniform is not None:
            factor, other = b.uniform, a
        elif a.uniform is not None:
            factor, other = a.uniform, b
        else:
            return _Value((UNKNOWN,) * len(a.steps))
        uniform = None if other.uniform is None else _product(other.uniform, factor)
        return _Value(tuple(_product(step, factor) for step in other.steps), uniform)
    sign = -1 if operation == "arith.subi" else 1
    uniform = None
    if a.uniform is not None and b.uniform is not None:
        uniform = _sum(a.uniform, b.uniform, sign)
    steps = tuple(_sum(x, y, sign) for x, y in zip(a.steps, b.steps, strict=False))
    return _Value(steps, uniform)


def _note_access(
    found: list[Access],
    kind: str,
    rest: str,
    values: dict[str, _Value],
    layouts: _Layouts,
    lines: dict[str, int],
) -> None:
    body, _, kinds = rest.partition(" : ")
    operands, tensor = _OPERAND.findall(body), _tensor(kinds)
    if not operands or tensor is None:
        return
    shape, element, layout = tensor
    location = re.search(r"loc\((#loc\d*)\)\s*$", rest)
    line = lines.get(location.group(1), 0) if location else 0
    steps = values.get(operands[0], _Value()).steps or (UNKNOWN,) * len(shape)
    near = layouts.neighbours(layout)
    axis, each = near if near is not None else (None, 1)
    step = steps[axis] if axis is not None and axis < len(steps) else UNKNOWN
    found.append(Access(kind, line, shape, _bits(element), axis, each, step))
