"""Commands from annotated functions, on click.

A parameter's annotation says what it is: ``Annotated[str, Option(envvar="SEED", help="…")]``. What
typer does in the same way takes 0.1 s to start, for pydantic; the commands here have strings and
switches only.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from typing import Any, get_args, get_type_hints

import click
from click.exceptions import Abort, Exit

from harness.usage import refuse_small_letters

__all__ = ["Abort", "App", "Argument", "Exit", "Option"]

Function = Callable[..., None]


class Argument:
    """A word of the command line; required where the function has no default for it."""

    def __init__(self, envvar: str = "", help: str = "") -> None:
        self.envvar, self.help = envvar, help


class Option:
    """``flags`` are its spellings; without any, ``--`` and the parameter's name."""

    def __init__(self, *flags: str, envvar: str = "", help: str = "") -> None:
        self.flags, self.envvar, self.help = flags, envvar, help


class App(click.Group):
    """``command`` adds one. Its parameters are looked at when it is called, and not before."""

    def __init__(self, help: str) -> None:
        super().__init__(help=help, no_args_is_help=True)
        self.functions: dict[str, tuple[Function, str]] = {}

    def command(self, name: str = "", help: str = "") -> Callable[[Function], Function]:  # type: ignore[override]
        def add(function: Function) -> Function:
            said = help or inspect.getdoc(function) or ""
            self.functions[name or function.__name__.replace("_", "-")] = function, said
            return function

        return add

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.functions)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in self.functions:
            return None
        function, said = self.functions[name]
        params = _parameters(function)
        return _Command(name, callback=function, help=said, short_help=said, params=params)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.functions and not args[0].startswith("-"):
            close = difflib.get_close_matches(args[0], self.functions, 1)
            meant = f" Did you mean {close[0]!r}?" if close else ""
            raise click.UsageError(f"No such command {args[0]!r}.{meant}", ctx)
        return super().resolve_command(ctx, args)


class _Command(click.Command):
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        refuse_small_letters({str(p.envvar) for p in self.params if p.envvar})
        return super().parse_args(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """With a word about each argument, which click leaves out."""
        rows = [(p.metavar or "", p.said) for p in self.params if isinstance(p, _Argument)]
        if rows:
            with formatter.section("Arguments"):
                formatter.write_dl(rows)
        super().format_options(ctx, formatter)


class _Argument(click.Argument):
    said = ""


def _parameters(function: Function) -> list[click.Parameter]:
    hints = get_type_hints(function, include_extras=True)
    found: list[click.Parameter] = []
    for parameter in inspect.signature(function).parameters.values():
        kind, declared = get_args(hints[parameter.name])
        required = parameter.default is inspect.Parameter.empty
        given: dict[str, Any] = {"envvar": declared.envvar or None, "required": required}
        if not required:
            given["default"] = parameter.default
        if isinstance(declared, Argument):
            word = parameter.name.upper()
            argument = _Argument(
                [parameter.name], metavar=word if required else f"[{word}]", **given
            )
            argument.said = declared.help
            found.append(argument)
        else:
            flags = declared.flags or (f"--{parameter.name.replace('_', '-')}",)
            found.append(
                click.Option(
                    [*flags, parameter.name], is_flag=kind is bool, help=declared.help or None,
                    show_envvar=True, **given,
                )
            )  # fmt: skip
    return found
