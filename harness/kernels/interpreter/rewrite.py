"""A kernel's Python, rewritten so that Python runs it as the compiler reads it."""

from __future__ import annotations

import ast
from typing import Any

import triton.language as tl
from triton.runtime import interpreter as upstream

_NAME = "__kernel__"


class Transformer(ast.NodeTransformer):
    """Assignments make tensors of numbers; ``and``, ``or``, ``not`` and ``assert`` work on blocks;
    loop variables are int32, not Python's endless integers."""

    def __init__(self, names: set[str]) -> None:
        self.names = names

    def visit_Assign(self, node: ast.Assign) -> Any:
        self.generic_visit(node)
        node.value = _call("assign", node.value)
        return node

    def visit_AugAssign(self, node: ast.AugAssign) -> Any:
        self.generic_visit(node)
        if not isinstance(node.target, ast.Name):
            return node
        old = ast.Name(id=node.target.id, ctx=ast.Load())
        value = _call("assign", ast.BinOp(left=old, op=node.op, right=node.value))
        return ast.Assign(targets=[node.target], value=value)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> Any:
        self.generic_visit(node)
        if node.value is not None and not ast.unparse(node.annotation).endswith("constexpr"):
            node.value = _call("assign", node.value)
        # Python must not evaluate the annotation of a local name.
        return node

    def visit_For(self, node: ast.For) -> Any:
        self.generic_visit(node)
        iterator = ast.unparse(node.iter.func) if isinstance(node.iter, ast.Call) else ""
        if isinstance(node.target, ast.Name) and not iterator.endswith("static_range"):
            again = ast.Name(id=node.target.id, ctx=ast.Load())
            node.body.insert(
                0,
                ast.Assign(
                    targets=[ast.Name(id=node.target.id, ctx=ast.Store())],
                    value=_call("assign", again),
                ),
            )
        return node

    def visit_BoolOp(self, node: ast.BoolOp) -> Any:
        self.generic_visit(node)
        name = "both" if isinstance(node.op, ast.And) else "either"
        arguments = ast.arguments(
            posonlyargs=[], args=[], kwonlyargs=[], kw_defaults=[], defaults=[]
        )
        return _call(name, *[ast.Lambda(args=arguments, body=value) for value in node.values])

    def visit_UnaryOp(self, node: ast.UnaryOp) -> Any:
        self.generic_visit(node)
        return _call("negate", node.operand) if isinstance(node.op, ast.Not) else node

    def visit_Expr(self, node: ast.Expr) -> Any:
        self.generic_visit(node)
        called = getattr(node.value, "func", None)
        if isinstance(called, ast.Attribute) and called.attr.startswith("atomic_"):
            return [ast.copy_location(ast.Expr(value=_call("unused")), node), node]
        return node

    def visit_Assert(self, node: ast.Assert) -> Any:
        self.generic_visit(node)
        message = node.msg or ast.Constant(value="")
        return ast.Expr(value=_call("check", node.test, message))

    def visit_Call(self, node: ast.Call) -> Any:
        self.generic_visit(node)
        builtin = isinstance(node.func, ast.Name) and node.func.id in ("min", "max")
        if builtin and node.func.id not in self.names:  # type: ignore[attr-defined]
            node.func = _attribute(f"built_in_{node.func.id}")  # type: ignore[attr-defined]
        return node


def _attribute(name: str) -> ast.Attribute:
    return ast.Attribute(value=ast.Name(id=_NAME, ctx=ast.Load()), attr=name, ctx=ast.Load())


def _call(name: str, *args: ast.expr) -> ast.Call:
    return ast.Call(func=_attribute(name), args=list(args), keywords=[])


class Runtime:
    """What rewritten kernels call, under the name ``__kernel__`` in their globals."""

    @staticmethod
    def assign(value: Any) -> Any:
        if isinstance(value, tl.tensor):
            return value
        if isinstance(value, tuple) and not hasattr(value, "_fields"):
            return type(value)(Runtime.assign(item) for item in value)
        return upstream.interpreter_semantic.to_tensor(value, False)

    @staticmethod
    def side_by_side() -> None:
        """Called by functions that loop around an atomic."""
        upstream.interpreter_builder.launch.turns.side_by_side = True

    @staticmethod
    def unused() -> None:
        """The atomic that follows is a statement: nobody looks at its result."""
        upstream.interpreter_builder.unused = True

    @staticmethod
    def _logical(values: tuple[Any, ...], stop: bool, name: str) -> Any:
        tensors = []
        value: Any = None
        for make in values:
            value = make()
            if isinstance(value, tl.tensor):
                tensors.append(value)
            elif bool(value) is stop:
                return value
        if not tensors:
            return value
        result = tensors.pop()
        while tensors:
            result = getattr(tensors.pop(), name)(result)
        return result

    @staticmethod
    def both(*values: Any) -> Any:
        return Runtime._logical(values, False, "logical_and")

    @staticmethod
    def either(*values: Any) -> Any:
        return Runtime._logical(values, True, "logical_or")

    @staticmethod
    def negate(value: Any) -> Any:
        if isinstance(value, tl.tensor):
            return upstream.interpreter_semantic.not_(value)
        return not value

    @staticmethod
    def check(condition: Any, message: Any) -> None:
        if isinstance(condition, tl.tensor):
            tl.device_assert(condition, message)
        else:
            assert condition, message

    @staticmethod
    def built_in_min(*args: Any) -> Any:
        return tl.core.builtin_min(*args) if _any_tensor(args) else min(*args)

    @staticmethod
    def built_in_max(*args: Any) -> Any:
        return tl.core.builtin_max(*args) if _any_tensor(args) else max(*args)


def _any_tensor(args: tuple[Any, ...]) -> bool:
    return any(isinstance(arg, tl.tensor) for arg in args)


def _waits(tree: ast.AST) -> bool:
    """Whether there is a loop around an atomic, or around a volatile load."""
    return any(
        isinstance(call, ast.Call)
        and (
            getattr(call.func, "attr", "").startswith("atomic_")
            or any(keyword.arg == "volatile" for keyword in call.keywords)
        )
        for loop in ast.walk(tree)
        if isinstance(loop, ast.While)
        for call in ast.walk(loop)
    )


def transform(self: Any, src: str) -> ast.Module:
    """Replaces FunctionRewriter._transform_ast."""
    tree = ast.parse(src)
    function = self.fn
    names = set(function.__globals__) | set(function.__code__.co_varnames)
    waits = _waits(tree)
    tree = Transformer(names).visit(tree)
    if waits:
        body = tree.body[0].body
        body.insert(0, ast.copy_location(ast.Expr(value=_call("side_by_side")), body[0]))
    ast.fix_missing_locations(tree)
    ast.increment_lineno(tree, self.def_file_lineno - 1)
    return tree


def compile_and_execute(self: Any, transformed_ast: ast.Module) -> Any:
    """Replaces FunctionRewriter._compile_and_exec: one name is added to the module's globals, not
    all of triton's; the values a nested kernel closes over are visible."""
    code = compile(transformed_ast, filename=self.filename, mode="exec")
    function = self.fn
    names = function.__globals__
    if function.__closure__ is not None:
        cells = zip(function.__code__.co_freevars, function.__closure__, strict=True)
        names = {**names, **{name: cell.cell_contents for name, cell in cells}}
    names[_NAME] = Runtime
    local: dict[str, Any] = {}
    exec(code, names, local)
    return local[function.__name__]
