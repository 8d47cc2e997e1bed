"""What ships with scikit-learn: nothing to download.

None of it has an official split. A fifth, stratified, is the test split. It is drawn with SPLIT_SEED whatever the run's
seed, so that every run is tested on the same samples.
"""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.utils import Bunch
from torch import Tensor

from lrp_bench.data.sources.contents import Contents, Split
from lrp_bench.data.sources.tables import TEST_FRACTION

SPLIT_SEED = 0


def read_digits() -> Contents:
    """The pictures of Digits: (n, 1, 8, 8) float32 in [0, 1]."""
    bunch = load_digits()
    return stratified(torch.from_numpy(bunch.images).float().unsqueeze(1) / 16, bunch)


def stratified(inputs: Tensor, bunch: Bunch) -> Contents:
    """Samples (n, ...) with the labels and names of a bunch, always the same fifth for testing."""
    labels = torch.from_numpy(bunch.target).long()
    positions = train_test_split(
        range(len(labels)), test_size=TEST_FRACTION, stratify=bunch.target, random_state=SPLIT_SEED
    )
    train, test = (torch.tensor(sorted(part)) for part in positions)
    names = [str(name) for name in bunch.target_names]
    return Contents(Split(inputs[train], labels[train]), Split(inputs[test], labels[test]), names)
