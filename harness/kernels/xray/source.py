"""The part of a file that a kernel needs, to load it quickly and to know when it changed.

A day's module imports torch, which takes longer than compiling the kernel, and the kernel itself
uses none of it. So only the top-level statements that bind names the kernel reaches are run; where
that does not work (a kernel made by a call, ``import *`` of another day), the whole file is.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

JIT_DECORATORS = {"jit", "constexpr_function"}


@dataclass(frozen=True)
class Slice:
    """Statements of a file that one kernel needs, and the modules of this project they import."""

    statements: list[ast.stmt]
    imports: list[str]


def _last_name(node: ast.expr) -> str:
    node = node.func if isinstance(node, ast.Call) else node
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def _is_jitted(node: ast.stmt) -> bool:
    return isinstance(node, ast.FunctionDef) and any(
        _last_name(decorator) in JIT_DECORATORS for decorator in node.decorator_list
    )


def _own_nodes(node: ast.stmt) -> Iterator[ast.AST]:
    """The node and what is below it, without the insides of functions and classes."""
    yield node
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return
    pending = list(ast.iter_child_nodes(node))
    while pending:
        below = pending.pop()
        yield below
        if not isinstance(below, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)):
            pending.extend(ast.iter_child_nodes(below))


def _bound(statement: ast.stmt) -> set[str]:
    """Names that a top-level statement binds; ``*`` for a star import."""
    names: set[str] = set()
    for node in _own_nodes(statement):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names


def _used(statement: ast.stmt) -> set[str]:
    return {
        node.id
        for node in ast.walk(statement)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    } | {
        word
        for node in ast.walk(statement)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        for word in [node.value.split(".")[0]]  # an annotation in quotes
        if word.isidentifier()
    }


def _without_tuning(statement: ast.stmt) -> ast.stmt:
    """A jitted function keeps its jit decorator alone: the configuration is chosen already."""
    if isinstance(statement, ast.FunctionDef) and _is_jitted(statement):
        statement.decorator_list = [
            decorator
            for decorator in statement.decorator_list
            if _last_name(decorator) in JIT_DECORATORS
        ]
    return statement


def _is_future(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.ImportFrom) and statement.module == "__future__"


def cut(text: str, kernel: str) -> Slice | None:
    """The statements of ``text`` that the kernel needs; None where only the whole file will do."""
    body = [_without_tuning(statement) for statement in ast.parse(text).body]
    if not any(isinstance(s, ast.FunctionDef) and s.name == kernel and _is_jitted(s) for s in body):
        return None
    binders: dict[str, list[int]] = {}
    for index, statement in enumerate(body):
        for name in _bound(statement):
            binders.setdefault(name, []).append(index)
    keep = {index for index, statement in enumerate(body) if _is_future(statement)}
    keep |= set(binders.get("*", ()))
    pending = [kernel]
    seen: set[str] = set()
    while pending:
        name = pending.pop()
        if name in seen:
            continue
        seen.add(name)
        for index in binders.get(name, ()):
            if index not in keep:
                keep.add(index)
                pending.extend(_used(body[index]))
    statements = [body[index] for index in sorted(keep)]
    return Slice(statements, _project_imports(statements))


def _project_imports(statements: list[ast.stmt]) -> list[str]:
    found = []
    for statement in statements:
        for node in ast.walk(statement):
            if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                found += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            elif isinstance(node, ast.Import):
                found += [alias.name for alias in node.names]
    return [name for name in dict.fromkeys(found) if name.split(".")[0] == "tracks"]


def _module_file(name: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError):
        return None
    origin = Path(spec.origin) if spec is not None and spec.origin else None
    return origin if origin is not None and origin.suffix == ".py" and origin.is_file() else None


def days_used(file: str, kernel: str) -> dict[str, str]:
    """Files of the other days that the kernel is compiled from, by module, as imports find them
    now: which files those are is the choice of whoever grades."""
    found: dict[str, str] = {}
    try:
        text = Path(file).read_text()
        part = cut(text, kernel)
        pending = part.imports if part else _project_imports(ast.parse(text).body)
        while pending:
            name = pending.pop()
            path = None if name in found else _module_file(name)
            if path is not None:
                found[name] = str(path)
                pending += _project_imports(ast.parse(path.read_text()).body)
    except (OSError, SyntaxError):
        return found
    return found


def fingerprint(file: str, kernel: str, days: dict[str, str]) -> str:
    """Changes when anything that the kernel is compiled from changes, its line numbers included."""
    text = Path(file).read_text()
    digest = hashlib.sha256(file.encode())
    try:
        part = cut(text, kernel)
    except SyntaxError:
        part = None
    if part is None:
        digest.update(text.encode())
    else:
        for statement in part.statements:
            digest.update(ast.dump(statement, include_attributes=True).encode())
    for name, path in sorted(days.items()):
        digest.update(f"{name}\0{Path(path).read_text()}\0".encode())
    return digest.hexdigest()
