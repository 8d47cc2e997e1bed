"""Numbers of which one half speaks for the output, the other against it."""

from __future__ import annotations

import torch

from lrp_bench.data.regression import DrawnRegression
from lrp_bench.data.sources.contents import Split


class Halves(DrawnRegression):
    """Uniform numbers in [0, 1); 1 where the first half of them has the larger sum, else 0.

    So the first half of the features speaks for the output, the other against it. Arguments as in DrawnRegression.
    """

    def _draw(self, size: int, generator: torch.Generator) -> Split:
        inputs = torch.rand(size, *self.shape, generator=generator)
        half = self.shape[0] // 2
        return Split(inputs, (inputs[:, :half].sum(1) > inputs[:, half:].sum(1)).to(self.dtype))
