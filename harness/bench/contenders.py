"""Who takes part in one case: yours, the reference, the peers, and what is derived from them."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from harness.benching import Bench, Contender, Problem

YOURS, REFERENCE, EAGER, COMPILE = "yours", "reference", "torch", "compile"
TUNED = "compile max-autotune"
EXTRA, EXTRA_PACKAGES = "bench", frozenset({"autograd", "liger_kernel", "mygrad", "tinygrad"})
"""What ``pip install -e '.[bench]'`` brings: pyproject.toml pins it."""


@dataclass(frozen=True)
class Entry:
    """A contender ready to run, or the reason why it does not take part."""

    name: str
    call: Callable[..., Any] | None = None
    prepare: Callable[..., tuple[Any, ...]] | None = None
    gap: str = ""


def gather(
    bench: Bench,
    problem: Problem,
    days: Mapping[str, ModuleType | str],
    against: Sequence[str] | None,
    quick: bool,
) -> list[Entry]:
    """Every contender of a case in the order of the table.

    ``days`` maps "yours" and "reference" to the day's module, or to the reason why it has none.
    ``against`` keeps only these peers ("compile" means both ways of compiling).
    """
    entries = [_own(name, day, bench, problem) for name, day in days.items()]
    peers: dict[str, Callable[..., Any] | Contender] = {}
    for name, peer in problem.peers.items():
        peers[name] = peer
        if name == EAGER and problem.compile:
            peers[COMPILE] = _compiled(peer, None)
            if not quick:
                peers[TUNED] = _compiled(peer, "max-autotune-no-cudagraphs")
    for name, peer in peers.items():
        if against is None or any(name == a or name.startswith(f"{a} ") for a in against):
            entries.append(enter(name, peer))
    return entries


def enter(name: str, contender: Callable[..., Any] | Contender) -> Entry:
    """Load a contender. A failure is a gap with its reason, never the end of the bench."""
    if not isinstance(contender, Contender):
        return Entry(name, contender)
    if contender.gap:
        return Entry(name, gap=contender.gap)
    if contender.gpu and not on_gpu():
        return Entry(name, gap="needs a GPU")
    missing = [package for package in contender.needs if not installed(package)]
    if missing:
        remedy = f": pip install -e '.[{EXTRA}]'" if EXTRA_PACKAGES.issuperset(missing) else ""
        return Entry(name, gap=f"not installed: {', '.join(missing)}{remedy}")
    call = contender.call
    if contender.load is not None:
        try:
            call = contender.load()
        except Exception as failure:
            return Entry(name, gap=f"does not load: {reason(failure)}")
    return Entry(name, call, contender.prepare)


def on_gpu() -> bool:
    import torch  # the command itself reads names from this module, and must be light

    return torch.cuda.is_available()


def installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):
        return False


def reason(failure: BaseException) -> str:
    """The first line of what went wrong, with its type where the message alone says too little."""
    if isinstance(failure, NotImplementedError):
        return f"not written yet: {failure}"
    lines = str(failure).strip().splitlines()
    return f"{type(failure).__name__}: {lines[0][:160]}" if lines else type(failure).__name__


def _own(name: str, day: ModuleType | str, bench: Bench, problem: Problem) -> Entry:
    if isinstance(day, str):
        return Entry(name, gap=day)
    if problem.ours is None:
        call = getattr(day, bench.name, None)
        if call is None:
            return Entry(name, gap=f"{day.__name__} has no {bench.name}")
        return Entry(name, call)
    try:
        return enter(name, problem.ours(day))
    except Exception as failure:
        return Entry(name, gap=reason(failure))


def _call_of(contender: Callable[..., Any] | Contender) -> Callable[..., Any]:
    if not isinstance(contender, Contender):
        return contender
    if contender.call is not None:
        return contender.call
    assert contender.load is not None  # a gap never comes here
    return contender.load()


def _compiled(eager: Callable[..., Any] | Contender, mode: str | None) -> Contender:
    """``torch.compile`` of the eager peer, with the same preparation.

    Static shapes, as for a model that is compiled for its batch. Without torch's own CUDA graphs:
    those copy every input first, and launch overhead is kept out of all contenders alike.
    """
    if isinstance(eager, Contender) and eager.gap:
        return eager

    def load() -> Callable[..., Any]:
        import torch

        call = _call_of(eager)
        # Another case of the same code would count against torch's limit of recompilations,
        # and be run eagerly without a word.
        torch.compiler.reset()
        compiled: Callable[..., Any] = torch.compile(call, mode=mode, dynamic=False)
        return compiled

    if isinstance(eager, Contender):
        return Contender(load=load, needs=eager.needs, prepare=eager.prepare)
    return Contender(load=load)
