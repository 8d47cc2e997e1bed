"""Trees of phrases, each of which was rated, in the Penn Treebank's brackets."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from lrp_bench.contracts import BenchError
from lrp_bench.data.sources.texts import Words

TOKEN = re.compile(r"\(([0-4]) |(\))|([^\s()]+)")
UNESCAPED = {"-LRB-": "(", "-RRB-": ")"}


class Phrase(NamedTuple):
    """rating: 0, very negative, to 4, very positive."""

    rating: int
    words: Words


def read_trees(path: Path) -> Iterator[list[Phrase]]:
    """All phrases of each tree of a file, the whole sentence last."""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            yield parse(line)
        except ValueError as error:
            raise BenchError(
                f"Expected a tree like (3 (2 so) (4 good)), got {error} in line {number} of {path}: fetch it again"
            ) from error


def parse(line: str) -> list[Phrase]:
    """All phrases of a bracketed tree, in the order in which they end, so that the whole comes last.

    Raises ValueError for a line that is no tree.

    >>> parse("(3 (2 so) (4 good))")[1:]
    [Phrase(rating=4, words=('good',)), Phrase(rating=3, words=('so', 'good'))]
    """
    words, begun, phrases = list[str](), list[tuple[int, int]](), list[Phrase]()
    for rating, end, word in TOKEN.findall(line):
        if rating:
            begun.append((int(rating), len(words)))
        elif end and begun:
            root, start = begun.pop()
            phrases.append(Phrase(root, tuple(words[start:])))
        elif word:
            words.append(UNESCAPED.get(word, word.replace("\\/", "/")))
        else:
            raise ValueError("a bracket too many")
    if begun or not phrases or phrases[-1].words != tuple(words):
        raise ValueError("brackets that do not match")
    return phrases
