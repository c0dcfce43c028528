"""What is known of a kernel's launch, as it was recorded, and its JSON form."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class RecordedLaunch:
    """One kernel with one specialisation; ``count`` launches had it."""

    file: str
    module: str
    kernel: str  # qualified name
    line: int  # of the first decorator
    arguments: list[str]
    signature: dict[str, Any]  # name: "*fp32", "i32", "constexpr", …
    constants: list[list[Any]]  # [path, value]: constexpr arguments, None and ones
    attributes: list[list[Any]]  # [path, [["tt.divisibility", 16]]]
    options: dict[str, Any]  # num_warps, num_stages, … where the launch named them
    days: dict[str, str] = field(default_factory=dict)  # module: file, that the kernel imports
    config: str | None = None  # the autotuner's choice
    problem: str | None = None  # why this launch cannot be compiled at all
    count: int = 1
    elements: int = 0  # in the tensors of the largest such launch
    grid: list[int] = field(default_factory=list)  # its grid
    examples: dict[str, int] = field(default_factory=dict)  # its integers
    measured: dict[str, Any] | None = None  # report of the kernel that ran, on a GPU

    def key(self) -> str:
        """Equal for launches that a GPU would serve with the same compiled kernel."""
        data = self.to_json()
        for name in ("count", "elements", "grid", "examples", "measured", "config", "days"):
            del data[name]
        return json.dumps(data, sort_keys=True)

    def to_json(self) -> dict[str, Any]:
        return {entry.name: getattr(self, entry.name) for entry in fields(self)}

    @staticmethod
    def from_json(data: dict[str, Any]) -> RecordedLaunch:
        return RecordedLaunch(**data)

    def size(self) -> tuple[int, int, int]:
        """How much work it is, to compare launches of one kernel: first the elements of a tile, as
        far as its constants tell them, then the programs, then the elements of the tensors. The
        tensors alone say little: a test can give a large one of which hardly anything is read."""
        sizes = [
            value
            for path, value in self.constants
            if len(path) == 1 and isinstance(value, int) and not isinstance(value, bool)
        ]
        tile = math.prod(max(size, 1) for size in sizes)
        return tile, math.prod(self.grid), self.elements

    def specialisation(self) -> str:
        """``x: *fp32, n: i32, BLOCK = 1024, num_warps = 4; divisible by 16: x``."""
        constants = {path[0]: value for path, value in self.constants if len(path) == 1}
        parts = [
            f"{name} = {_readable(constants[index])}"
            if index in constants
            else f"{name}: {self.signature.get(name)}"
            for index, name in enumerate(self.arguments)
        ]
        parts += [f"{name} = {value}" for name, value in self.options.items()]
        divisible = ", ".join(self.divisible()) or "nothing"
        return f"{', '.join(parts)}; divisible by 16: {divisible}"

    def divisible(self) -> list[str]:
        """Arguments that the compiler may take to be multiples of 16."""
        return [
            self.arguments[path[0]]
            for path, attributes in self.attributes
            if len(path) == 1 and any(name == "tt.divisibility" for name, _ in attributes)
        ]

    def not_divisible(self) -> list[str]:
        """Integer arguments that it may not."""
        divisible = self.divisible()
        return [
            name
            for name, kind in self.signature.items()
            if kind in ("i32", "i64") and name not in divisible
        ]


def _readable(value: Any) -> str:
    if isinstance(value, dict):
        ((kind, content),) = value.items()
        return content[2] if kind == "function" else str(content)
    return str(value)


def save(launches: list[RecordedLaunch], path: Path) -> None:
    """Writes the launches as JSON for ``report_launches``."""
    path.write_text(json.dumps([launch.to_json() for launch in launches], indent=1))


def load(path: Path) -> list[RecordedLaunch]:
    """The launches that ``save`` wrote."""
    return [RecordedLaunch.from_json(entry) for entry in json.loads(path.read_text())]
