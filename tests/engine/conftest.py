from __future__ import annotations

import gc
import logging
from collections.abc import Iterator

import pytest
import torch
from capturing import captured_once, float64
from torch import nn

from lrp_bench.engine.capture.capture import capture

__all__ = ["captured_once", "float64", "quick_capture"]


@pytest.fixture(scope="session", autouse=True)
def quick_capture() -> Iterator[None]:
    """Capture is most of the time here, and two fifths of it went into collecting garbage and logging a trace."""
    logging.getLogger("torch.__trace").propagate = False
    capture(nn.Flatten(), (torch.zeros(1, 1),))  # loads what capture needs
    usual = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(200_000, 20, 20)
    yield
    gc.set_threshold(*usual)
    gc.unfreeze()
