from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from lrp_bench.data.sources.treebank import Phrase, parse


def grown(depth: int, draw: random.Random) -> tuple[str, list[Phrase]]:
    """A random tree, as it is written and as its phrases in the order in which they end."""
    rating = draw.randrange(5)
    if depth == 0 or draw.random() < 0.3:
        word = draw.choice(["it", "'s", "...", "n't", "2000", ","])
        return f"({rating} {word})", [Phrase(rating, (word,))]
    (left, first), (right, second) = grown(depth - 1, draw), grown(depth - 1, draw)
    whole = Phrase(rating, first[-1].words + second[-1].words)
    return f"({rating} {left} {right})", [*first, *second, whole]


@given(st.randoms(use_true_random=False))
@settings(max_examples=20, deadline=None)
def test_a_tree_is_read_as_it_was_made(draw: random.Random) -> None:
    written, phrases = grown(5, draw)
    assert parse(written) == phrases
