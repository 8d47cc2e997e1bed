"""The data sets that ship with scikit-learn: nothing to download.

Neither has an official split. A fifth, stratified, is the test split. It is drawn with SPLIT_SEED whatever the run's
seed, so that every run is tested on the same samples.
"""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits, load_iris
from sklearn.model_selection import train_test_split
from sklearn.utils import Bunch
from torch import Tensor

from lrp_bench.data.base import Contents, TensorData
from lrp_bench.data.batching import Split

SPLIT_SEED = 0
TEST_FRACTION = 0.2


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
        return _contents(torch.from_numpy(bunch.data).float(), bunch)


def read_digits() -> Contents:
    """The pictures of Digits: (n, 1, 8, 8) float32 in [0, 1]."""
    bunch = load_digits()
    return _contents(torch.from_numpy(bunch.images).float().unsqueeze(1) / 16, bunch)


def _contents(inputs: Tensor, bunch: Bunch) -> Contents:
    labels = torch.from_numpy(bunch.target).long()
    positions = train_test_split(
        range(len(labels)), test_size=TEST_FRACTION, stratify=bunch.target, random_state=SPLIT_SEED
    )
    train, test = (torch.tensor(sorted(part)) for part in positions)
    names = [str(name) for name in bunch.target_names]
    return Contents(Split(inputs[train], labels[train]), Split(inputs[test], labels[test]), names)
