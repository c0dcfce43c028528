"""Makes a wheel of the library, for pip: ``pip install ./tracks/autodiff``.

The package ``autodiff_from_scratch`` is day 35 and all that it imports. A day is yours; where yours
is not finished, and everywhere with ``IMPL=solution``, it is the reference. A wheel is a zip file
with a list of what is in it, so nothing is needed to make one, and nothing is left in the tree.
"""

from __future__ import annotations

import ast
import base64
import hashlib
import os
import re
import sys
import zipfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
TRACK = HERE.parent
PACKAGE, VERSION = "autodiff_from_scratch", "0.1.0"
INIT = f'''"""{{summary}}"""

from {PACKAGE}.day35 import (
    Tensor,
    data,
    enable_grad,
    functional,
    manual_seed,
    nn,
    no_grad,
    optim,
)

__all__ = ["Tensor", "data", "enable_grad", "functional", "manual_seed", "nn", "no_grad", "optim"]
__version__ = "{VERSION}"
'''
METADATA = f"""Metadata-Version: 2.1
Name: {PACKAGE.replace("_", "-")}
Version: {VERSION}
Summary: {{summary}}
Requires-Python: >=3.10
Requires-Dist: numpy
Requires-Dist: safetensors
"""
WHEEL = "Wheel-Version: 1.0\nGenerator: tracks/autodiff\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def build_wheel(
    wheel_directory: str, config_settings: Any = None, metadata_directory: str | None = None
) -> str:
    """What pip calls (PEP 517): write the wheel into the folder. → the name of the file."""
    sources, references = collected(os.environ.get("IMPL", "") == "solution")
    summary = summary_of(references, [name for name in sources if name.startswith("day")])
    info = f"{PACKAGE}-{VERSION}.dist-info"
    files = {f"{PACKAGE}/{name}.py": text for name, text in sources.items()}
    files |= {f"{PACKAGE}/{path.name}": path.read_text("utf-8") for path in HERE.glob("*.pyi")}
    files |= {
        f"{PACKAGE}/__init__.py": INIT.format(summary=summary),
        f"{PACKAGE}/py.typed": "",
        f"{info}/METADATA": METADATA.format(summary=summary),
        f"{info}/WHEEL": WHEEL,
    }
    files[f"{info}/RECORD"] = "".join(
        [*(f"{path},{digest(text)},{len(text.encode())}\n" for path, text in files.items()),
         f"{info}/RECORD,,\n"]
    )  # fmt: skip
    name = f"{PACKAGE}-{VERSION}-py3-none-any.whl"
    with zipfile.ZipFile(Path(wheel_directory, name), "w", zipfile.ZIP_DEFLATED) as wheel:
        for path, text in files.items():
            wheel.writestr(zipfile.ZipInfo(path), text, zipfile.ZIP_DEFLATED)
    return name


def build_sdist(sdist_directory: str, config_settings: Any = None) -> str:
    raise NotImplementedError("there is no sdist: the sources are days, and lie in the project")


def digest(text: str) -> str:
    """As RECORD has it."""
    sha = hashlib.sha256(text.encode()).digest()
    return "sha256=" + base64.urlsafe_b64encode(sha).decode().rstrip("=")


def collected(solution: bool) -> tuple[dict[str, str], list[str]]:
    """The modules that day 35 needs, as the package has them, and which are references."""
    sources: dict[str, str] = {}
    references = []
    names = ["day35"]
    while names:
        name = names.pop()
        if name in sources:
            continue
        text, is_reference = source_of(name, solution)
        if is_reference:
            references.append(name)
        text = without_examples(text)
        names += imported(text)
        sources[name] = re.sub(r"\btracks\.autodiff\b", PACKAGE, text)
    return dict(sorted(sources.items())), sorted(references)


def source_of(name: str, solution: bool) -> tuple[str, bool]:
    """The text of a module, and whether it is a reference that stands for a day."""
    own, reference = TRACK / f"{name}.py", TRACK / "solutions" / f"{name}.py"
    if not reference.exists():
        return own.read_text("utf-8"), False
    if not solution and finished(own, reference):
        return own.read_text("utf-8"), False
    return reference.read_text("utf-8"), True


def finished(own: Path, reference: Path) -> bool:
    """As when a later day is graded: nothing of the stub is left in the learner's file."""
    sys.path.insert(0, str(TRACK.parents[1]))  # pip runs this file alone
    try:
        from harness.curriculum import read_written, unfinished, untouched

        text = read_written(own)
        return not (unfinished(text) or untouched(text, reference.read_text("utf-8"), own))
    except (OSError, SyntaxError):
        return False
    finally:
        sys.path.pop(0)


def without_examples(text: str) -> str:
    """A day without its visible examples and what it does as a program."""
    text = text.split('\nif __name__ == "__main__":')[0] + "\n"
    lines = text.splitlines(keepends=True)
    for node in reversed(ast.parse(text).body):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            del lines[first - 1 : node.end_lineno]
    return "".join(lines).rstrip() + "\n"


def imported(text: str) -> list[str]:
    """The files of the track that a module imports, at the top, in functions, or for types."""
    names = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom):
            names += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    parts = [name.split(".") for name in names]
    return [p[2] for p in parts if p[:2] == ["tracks", "autodiff"] and len(p) > 2]


def summary_of(references: list[str], days: list[str]) -> str:
    """One line that says whose days these are; ``pip show`` has it."""
    if len(references) == len(days):
        whose = "the references"
    elif references:
        numbers = ", ".join(str(int(name.removeprefix("day"))) for name in references)
        whose = f"your days, and the references of {numbers}"
    else:
        whose = "your days"
    return f"An autodiff library with PyTorch's names, on numpy: {whose}"
