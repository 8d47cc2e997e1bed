"""A model that sees only some of its inputs."""

from __future__ import annotations

from torch import Tensor, nn


class Kept(nn.Module):
    """A model of which all inputs but some are held at 0, the mean of standardised data.

    Args:
        model: (batch, *shape) -> (batch, classes).
        keep: bool, broadcastable to one sample: the positions that it sees.
    """

    keep: Tensor

    def __init__(self, model: nn.Module, keep: Tensor) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("keep", keep)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        logits: Tensor = self.model(x.masked_fill(~self.keep, 0))
        return logits

    def extra_repr(self) -> str:
        """Which positions are kept, as a training is known by what its model says of itself."""
        return f"shape={tuple(self.keep.shape)}, kept={self.keep.flatten().nonzero()[:, 0].tolist()}"
