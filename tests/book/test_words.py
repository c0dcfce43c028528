"""The glossary has what lessons use and do not explain by themselves, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator

from harness.book.words import pattern, term_of, terms
from harness.curriculum import find_tracks

CODE = re.compile(r"```.*?```|`[^`]*`|\$\$.*?\$\$|\$[^$]*\$|\(https?://[^)]*\)", re.DOTALL)
ABBREVIATION = re.compile(r"\b[A-Z]{2,}[a-z]?[A-Z0-9]*\b")
NAMES = frozenset(
    # makers, languages and libraries; models; chips; units; conferences; papers' own names
    """NVIDIA JAX CUTLASS LLVM BLAS IEEE RTX BERT BLOOM MPT GLM RWKV CLIP UK KB MB GB TB KHZ MHZ GHZ
    EX DAY LLaMA GFLOP KV V1 NTK FX GEMM MAML GAN CG XOR DAG IO DOT OK XL
    JSON KL PPO GRPO DAPO GSM8K TRL
    ALL BLOCK BLOCKS ROWS COLUMNS TILE LOW
    """.upper().split()
)


def prose() -> Iterator[tuple[str, str]]:
    for track in find_tracks():
        for day in track.days:
            if day.lesson.exists():
                yield day.key, CODE.sub(" ", day.lesson.read_text(encoding="utf-8"))


def test_every_word_is_used_by_a_lesson() -> None:
    used = {term_of(m[1]) for _, text in prose() for m in pattern().finditer(text)}
    assert set(terms()) - used == set()


def test_every_abbreviation_is_explained_or_a_name() -> None:
    known = {term.upper() for term in terms()} | NAMES
    missing = {
        (word, key)
        for key, text in prose()
        for word in ABBREVIATION.findall(text)
        if word.rstrip("s").upper() not in known and not re.search(r"\d$", word)
    }
    assert not missing, sorted(missing)


def test_words_are_in_order_and_once() -> None:
    from harness.book.words import GLOSSARY

    found = re.findall(r"^(\S.*)\n  \S", GLOSSARY.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(found) == len(set(found)) == len(terms())


def test_how_a_word_is_found() -> None:
    found = [
        m[0] for m in pattern().finditer("Kernels of a GPU: masks, unmasked; a KV cache's L2.")
    ]
    assert found == ["Kernels", "GPU", "masks", "KV cache", "L2"]
    assert term_of("Kernel") == "kernel"
