"""How a command starts: quickly."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """While much is imported, no search for garbage, which takes a third of the time and finds none.

    What is there at the end of a block that imported something is not searched later on either.
    """
    searched, imported = gc.isenabled(), len(sys.modules)
    gc.disable()
    try:
        yield
    finally:
        if len(sys.modules) > imported:
            gc.freeze()
        if searched:
            gc.enable()
