"""The data sets that ship with scikit-learn: nothing to download."""

from __future__ import annotations

from typing import Unpack

import torch
from sklearn.datasets import load_iris
from sklearn.model_selection import train_test_split

from lrp_bench.data.arguments import whole
from lrp_bench.data.base import Settings, TensorData
from lrp_bench.data.sources.contents import Contents, Split
from lrp_bench.data.sources.scikit import read_digits, stratified
from lrp_bench.data.sources.tables import TEST_FRACTION


class Digits(TensorData):
    """1,797 handwritten digits, 8 x 8, values in [0, 1] (Alpaydin & Kaynak 1998); 360 are for testing."""

    def read(self) -> Contents:
        """Read the pictures from scikit-learn's own files."""
        return read_digits()


class Iris(TensorData):
    """150 flowers of 3 species by 4 lengths in cm (Fisher 1936); 30 are for testing."""

    def read(self) -> Contents:
        """Read the table from scikit-learn's own files."""
        bunch = load_iris()
        return stratified(torch.from_numpy(bunch.data).float(), bunch)


class ShuffledIris(TensorData):
    """Iris as `train_test_split(test_size=0.2, random_state=split_seed)` leaves it: shuffled, not stratified.

    Args:
        split_seed: of the shuffling.
        **settings: those of every data set, see TensorData.
    """

    def __init__(self, *, split_seed: int, **settings: Unpack[Settings]) -> None:
        super().__init__(**settings)
        self.split_seed = whole("dataset.split_seed", split_seed, 0)

    def read(self) -> Contents:
        """Read the table from scikit-learn's own files."""
        bunch = load_iris()
        parts = train_test_split(bunch.data, bunch.target, test_size=TEST_FRACTION, random_state=self.split_seed)
        train, test, train_labels, test_labels = map(torch.from_numpy, parts)
        names = [str(name) for name in bunch.target_names]
        return Contents(Split(train, train_labels.long()), Split(test, test_labels.long()), names)
