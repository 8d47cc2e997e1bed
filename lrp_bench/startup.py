"""How a command starts: quickly."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """While much is imported, no search for garbage, which takes a third of the time and finds none.

    What is there at the end of the first such block counts as staying for good. Within another such block, its end
    is where the search begins again.
    """
    gc.disable()
    try:
        yield
    finally:
        if not gc.get_freeze_count():
            gc.freeze()
        gc.enable()
