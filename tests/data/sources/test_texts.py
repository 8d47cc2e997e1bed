from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from lrp_bench.data.sources.texts import encode, vocabulary


@given(st.lists(st.lists(st.sampled_from("abcdef"), max_size=5).map(tuple), min_size=1, max_size=9))
@settings(max_examples=20, deadline=None)
def test_ids_say_which_words_stood_where(sentences: list[tuple[str, ...]]) -> None:
    ids = vocabulary(sentences, size=6)
    word = {number: name for name, number in ids.items()} | {1: None}
    for words, row in zip(sentences, encode(sentences, ids, length=5).tolist(), strict=True):
        assert row[len(words) :] == [0] * (5 - len(words))
        assert [word[i] for i in row[: len(words)]] == [w if w in ids else None for w in words]
