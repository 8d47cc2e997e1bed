"""Inpainting by OpenCV."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from lrp_bench.contracts import BenchError
from lrp_bench.metrics.checks import check_choice, check_floating, check_images, check_number
from lrp_bench.metrics.imputers.fills import Fill
from lrp_bench.transfers import read, sent

_GREYS = 255.0


@dataclass(frozen=True)
class Inpaint:
    """What OpenCV paints into the holes, each channel by itself; on the CPU, image by image.

    The known values of a channel are stretched to OpenCV's grey levels, 0 to 255, and what it paints is scaled back:
    Telea's method adds a gradient of about a grey level, whatever the values' range.

    Where the whole image is removed there is nothing to paint with: it becomes 0, for standardised inputs the data
    set's mean. Needs the extra `inpaint`.

    Args:
        method: telea (Telea 2004) or navier_stokes (Bertalmio et al. 2001).
        radius: of the neighbourhood that a pixel is painted from, in pixels.
    """

    method: Literal["telea", "navier_stokes"] = "telea"
    radius: float = 3.0

    def __post_init__(self) -> None:
        check_choice("method", self.method, ("telea", "navier_stokes"))
        check_number("radius", self.radius, above=0)

    def __call__(self, x: Tensor, seed: int) -> Fill:
        """See Imputer."""
        check_images(x, "Inpaint", "use Constant or Sample")
        check_floating(x, "Inpaint", "use images of real numbers")
        try:
            import cv2
        except ImportError as error:
            raise BenchError(
                "Expected OpenCV for Inpaint, got no module cv2: pip install 'lrp-bench[inpaint]', or use Road"
            ) from error
        flag = cv2.INPAINT_TELEA if self.method == "telea" else cv2.INPAINT_NS

        def fill(rows: Tensor, removed: Tensor) -> Tensor:
            holes = removed.expand(-1, 1, *x.shape[2:])
            lowest, span = _range(x[rows], holes)
            grey = ((x[rows] - lowest) * (_GREYS / span).nan_to_num(posinf=0.0)).masked_fill(holes, 0.0)
            images, masks = (each.numpy() for each in read(grey.float(), holes[:, 0].byte()))
            painted = [
                torch.from_numpy(channel if mask.all() else cv2.inpaint(channel, mask, self.radius, flag))
                for image, mask in zip(images, masks, strict=True)
                for channel in image
            ]
            filled = sent(torch.stack(painted).reshape(grey.shape), x, x.dtype) * (span / _GREYS) + lowest
            return torch.where(holes, filled, x[rows])

        return fill


def _range(x: Tensor, holes: Tensor) -> tuple[Tensor, Tensor]:
    """(batch, channels, 1, 1) each: the least known value, and the greatest less the least; 0 if none is known."""
    lowest = x.masked_fill(holes, float("inf")).amin((2, 3), keepdim=True)
    highest = x.masked_fill(holes, float("-inf")).amax((2, 3), keepdim=True)
    return lowest.nan_to_num(posinf=0.0), (highest - lowest).clamp(min=0)
