"""The Stanford Sentiment Treebank: sentences of film reviews, each phrase of which was rated."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Unpack

import torch

from lrp_bench.contracts import BenchError
from lrp_bench.data.arguments import whole
from lrp_bench.data.base import Settings
from lrp_bench.data.sources.contents import Contents, Split
from lrp_bench.data.sources.texts import SPECIAL, Words, encode, vocabulary
from lrp_bench.data.sources.treebank import Phrase, read_trees
from lrp_bench.data.text import TextData

FIVE = ("very negative", "negative", "neutral", "positive", "very positive")
TWO = ("negative", "positive")
NEUTRAL = 2
PARTS = ("train", "dev", "test")


class SST(TextData):
    """11,855 sentences, rated with all their phrases (Socher et al. 2013): root/sst/trees/{train,dev,test}.txt.

    Trained on the phrases of train, in lower case, each different one once; validated on the sentences of dev; tested
    on those of test.

    Args:
        root: the data directory.
        vocabulary: ids in all; the most frequent words of the training sentences get one.
        phrases: train on all phrases of the training sentences; false: on the sentences alone.
        **settings: those of every data set, see TensorData. classes 5: the ratings; 2: without the neutral phrases.
    """

    def __init__(
        self, *, root: str | Path, vocabulary: int = 16000, phrases: bool = True, **settings: Unpack[Settings]
    ) -> None:
        super().__init__(**settings)
        self.folder, self.phrases = Path(root) / "sst" / "trees", phrases
        self.vocabulary = whole("dataset.vocabulary", vocabulary, SPECIAL + 1)
        if self.classes not in (2, 5):
            raise BenchError(f"Expected dataset.classes 5, or 2 without the neutral phrases, got {self.classes}")

    def read(self) -> Contents:
        """Read the trees."""
        self._check_files()
        train = list(self._trees("train"))
        used = (tree if self.phrases else tree[-1:] for tree in train)
        rated = {lower(phrase.words): phrase.rating for tree in used for phrase in tree}
        learnt = self._rated(Phrase(rating, words) for words, rating in rated.items())
        ids = vocabulary((lower(tree[-1].words) for tree in train), self.vocabulary)
        held_out = self._rated(tree[-1] for tree in self._trees("dev"))
        official = torch.arange(len(learnt), len(learnt) + len(held_out))
        train_split, test_split = (self._split(part, ids) for part in (learnt + held_out, self._test))
        return Contents(train_split, test_split, list(FIVE if self.classes == len(FIVE) else TWO), official)

    def sentences(self, index: Sequence[int]) -> list[Words]:
        """The words, as they were written, of the test samples at these positions."""
        return [self._test[position].words for position in index]

    @cached_property
    def _test(self) -> list[Phrase]:
        return self._rated(tree[-1] for tree in self._trees("test"))

    def _trees(self, part: str) -> Iterator[list[Phrase]]:
        return read_trees(self.folder / f"{part}.txt")

    def _check_files(self) -> None:
        if missing := [f"{part}.txt" for part in PARTS if not (self.folder / f"{part}.txt").is_file()]:
            raise BenchError(
                f"Expected train.txt, dev.txt and test.txt in {self.folder.absolute()}, missing: {', '.join(missing)}."
                " Unpack trainDevTestTrees_PTB.zip of nlp.stanford.edu/sentiment there, or set paths.data or"
                " LRP_BENCH_DATA to a folder that holds sst/trees"
            )

    def _rated(self, phrases: Iterator[Phrase]) -> list[Phrase]:
        """The phrases that have a class."""
        return [phrase for phrase in phrases if self.classes == len(FIVE) or phrase.rating != NEUTRAL]

    def _split(self, phrases: Sequence[Phrase], ids: dict[str, int]) -> Split:
        ratings = torch.tensor([phrase.rating for phrase in phrases])
        labels = ratings if self.classes == len(FIVE) else (ratings > NEUTRAL).long()
        return Split(encode([lower(phrase.words) for phrase in phrases], ids, self.shape[0]), labels)


def lower(words: Words) -> Words:
    """The words in lower case."""
    return tuple(word.lower() for word in words)
