"""A regression: the strength of concrete."""

from __future__ import annotations

from pathlib import Path
from typing import Unpack

import numpy as np
import torch
from sklearn.model_selection import GroupShuffleSplit

from lrp_bench.contracts import BenchError
from lrp_bench.data.arguments import whole
from lrp_bench.data.base import Settings
from lrp_bench.data.regression import Regression
from lrp_bench.data.sources.contents import Contents, Split
from lrp_bench.data.sources.tables import TEST_FRACTION, read_csv


class Concrete(Regression):
    """1,030 concrete mixtures: 7 ingredients and the age, and the compressive strength in MPa (Yeh 1998, UCI).

    root/concrete/Concrete_Data.csv, as UCI has it: a header, the target in the last column. It has no official split: a
    fifth of the mixtures is for testing, drawn with `split_seed` whatever the run's seed; what was measured several
    times for one mixture stays together.

    Args:
        root: the data directory.
        split_seed: of the test split.
        **settings: those of every regression.
    """

    def __init__(self, *, root: str | Path, split_seed: int, **settings: Unpack[Settings]) -> None:
        super().__init__(**settings)
        self.path = Path(root) / "concrete" / "Concrete_Data.csv"
        self.split_seed = whole("dataset.split_seed", split_seed, 0)

    def read(self) -> Contents:
        """Read the table."""
        if not self.path.exists():
            raise BenchError(
                f"Expected {self.path.name} in {self.path.parent.absolute()}, got no such file: fetch Concrete "
                "Compressive Strength from the UCI repository (archive.ics.uci.edu/dataset/165), save its table as CSV "
                "there, or set paths.data or LRP_BENCH_DATA to a folder that holds concrete/"
            )
        rows = torch.from_numpy(read_csv(self.path)).to(self.dtype)
        inputs, labels = rows[:, :-1], (rows[:, -1] - self.target_mean) / self.scale
        _, mixture = np.unique(inputs.numpy(), axis=0, return_inverse=True)
        [(train, test)] = GroupShuffleSplit(1, test_size=TEST_FRACTION, random_state=self.split_seed).split(
            inputs, groups=mixture.ravel()
        )
        return Contents(
            Split(inputs[train].contiguous(), labels[train]),
            Split(inputs[test].contiguous(), labels[test]),
            [self.target],
        )
