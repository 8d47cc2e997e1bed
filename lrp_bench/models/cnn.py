"""Small convolutional networks, sized to the data."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lrp_bench.contracts import BenchError


class LeNet(nn.Module):
    """LeNet-5 (LeCun et al. 1998) as it is trained today: ReLU, max pooling, padding that keeps the size.

    (batch, channels, height, width), height and width at least 4, -> (batch, classes).
    """

    def __init__(self, shape: Sequence[int], classes: int) -> None:
        super().__init__()
        channels, height, width = picture_shape(shape, least=4)
        self.features = nn.Sequential(
            nn.Conv2d(channels, 6, kernel_size=5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(kernel_size=2),
            nn.Conv2d(6, 16, kernel_size=5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(kernel_size=2),
        )
        self.classifier = nn.Sequential(
            nn.Linear(16 * (height // 4) * (width // 4), 120),
            nn.ReLU(),
            nn.Linear(120, 84),
            nn.ReLU(),
            nn.Linear(84, classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        logits: Tensor = self.classifier(torch.flatten(self.features(x), 1))
        return logits


class MiniVGG(nn.Module):
    """Four convolutions in two blocks, two dense layers; (batch, channels, height, width) -> (batch, classes).

    The network with which Piñeiro Acevedo (2024) shows LRP on CIFAR-10, where 12 epochs of Adam give about 80 %. Height
    and width at least 4.
    """

    def __init__(self, shape: Sequence[int], classes: int) -> None:
        super().__init__()
        channels, height, width = picture_shape(shape, least=4)
        self.features = nn.Sequential(
            nn.Conv2d(channels, 32, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.Dropout(p=0.35),
            nn.Conv2d(32, 64, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(kernel_size=2, stride=2),
            nn.Conv2d(64, 128, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.Dropout(p=0.35),
            nn.Conv2d(128, 128, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(kernel_size=2, stride=2),
        )
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear((height // 4) * (width // 4) * 128, 256),
            nn.ReLU(inplace=True),
            nn.Dropout(p=0.45),
            nn.Linear(256, classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        logits: Tensor = self.classifier(self.features(x))
        return logits


class TutorialCNN(nn.Module):
    """The network of the heatmapping.org tutorial (2017): four convolutions, ReLU and sum pooling after three of them.

    (batch, channels, 32, 32) -> (batch, classes); on MNIST, padded to 32 x 32, it reaches 0.76 % error there.
    """

    def __init__(self, shape: Sequence[int], classes: int) -> None:
        super().__init__()
        channels, *sides = picture_shape(shape)
        if sides != [32, 32]:
            raise BenchError(f"Expected pictures of 32 x 32, got {list(shape)}: set dataset.padding, or choose a model")
        widths = [(channels, 10, 5), (10, 25, 5), (25, 100, 4)]
        blocks = [(nn.Conv2d(*width), nn.ReLU(), nn.AvgPool2d(2, divisor_override=1)) for width in widths]
        self.layers = nn.Sequential(*(m for block in blocks for m in block), nn.Conv2d(100, classes, kernel_size=1))

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        return torch.flatten(self.layers(x), 1)


def picture_shape(shape: Sequence[int], least: int = 1) -> tuple[int, int, int]:
    """(channels, height, width) with both sides at least `least`, or BenchError."""
    if len(shape) != 3 or min(shape[1:]) < least:
        raise BenchError(
            f"Expected pictures of shape [channels, height, width], sides >= {least}, got {list(shape)}:"
            " choose another model (model=mlp takes any shape) or data set"
        )
    channels, height, width = shape
    return channels, height, width
