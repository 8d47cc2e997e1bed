"""Inpainting by OpenCV."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from lrp_bench.contracts import BenchError
from lrp_bench.metrics.checks import check_choice, check_floating, check_images, check_number
from lrp_bench.metrics.imputers import Fill


@dataclass(frozen=True)
class Inpaint:
    """What OpenCV paints into the holes, each channel by itself; on the CPU, image by image.

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
            known = x[rows].masked_fill(holes, 0.0)
            images, masks = known.float().cpu().numpy(), holes[:, 0].byte().cpu().numpy()
            painted = [
                torch.from_numpy(cv2.inpaint(channel, mask, self.radius, flag))
                if not mask.all()
                else torch.zeros(channel.shape)
                for image, mask in zip(images, masks, strict=True)
                for channel in image
            ]
            return torch.where(holes, torch.stack(painted).reshape(known.shape).to(x), known)

        return fill
