"""Superpixels: pieces of an image that belong together."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lrp_bench.metrics.checks import check_images, check_number, check_relevance, check_whole
from lrp_bench.metrics.units import Regions
from lrp_bench.transfers import read, sent

_LIGHTNESS = 100  # white in Lab colours


@dataclass(frozen=True)
class Superpixels:
    """Segments of similar colour and place, by SLIC (Achanta et al. 2012; scikit-image); a segment scores its mean.

    x is (batch, channels, height, width), standardised or not: SLIC scales each image to [0, 1], and turns three
    channels, as red, green and blue, into Lab colours, whose lightness goes to 100. Other numbers of channels stay in
    [0, 1], so there a hundredth of the compactness is used. Images have different numbers of segments of different
    sizes, but the same image always has the same.

    Args:
        segments: about how many; SLIC gives fewer where an image is small or plain.
        compactness: weight of the place against the colour; large values make squares. In units of Lab colours.
        sigma: standard deviation in pixels of a Gaussian blur before, 0 for none.
    """

    segments: int = 100
    compactness: float = 10.0
    sigma: float = 0.0

    def __post_init__(self) -> None:
        check_whole("segments", self.segments, least=2)
        check_number("compactness", self.compactness, above=0)
        check_number("sigma", self.sigma, least=0)

    def __call__(self, x: Tensor, relevance: Tensor) -> Regions:
        """See Unit."""
        check_images(x, "Superpixels", "use Features or Tokens")
        check_relevance(relevance, x)
        images, pixels = read(x, relevance.sum(1).flatten(1))  # a GPU adds in another order each time
        labels = self.labels(images)
        flat = labels.flatten(1)
        none = pixels.new_zeros(len(x), int(flat.max()) + 1)
        sizes = none.scatter_add(1, flat, torch.ones_like(pixels))
        scores = none.scatter_add(1, flat, pixels) / sizes.clamp(min=1)
        flat = sent(flat, x)
        return Regions(
            sent(scores, x),
            lambda values: values.gather(1, flat).reshape(labels.shape).unsqueeze(1),
            sent(sizes.long(), x),
            min(self.segments, flat.shape[1]),
        )

    def labels(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width) -> (batch, height, width) int64 on the CPU, numbered from 0."""
        from skimage.segmentation import slic  # takes a while to import

        images = x.movedim(1, -1).cpu().double().numpy()
        compactness = self.compactness if x.shape[1] == 3 else self.compactness / _LIGHTNESS
        cut = [
            slic(image, self.segments, compactness, sigma=self.sigma, start_label=0, channel_axis=-1)
            for image in images
        ]
        return torch.stack([torch.from_numpy(labels) for labels in cut]).long()
