"""How seldom a device is waited for: what must be looked at is read together, and numbers are sent without waiting.

A GPU works through a queue. Whoever asks for a value waits until the queue is empty, and the GPU then waits for the
next order. So checks of values are noted while the work goes on, and read once, at the end.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

import torch
from torch import Tensor

from lrp_bench.contracts import BenchError

Refusal = tuple[Tensor, Callable[[], BenchError | None]]
_noted: ContextVar[list[Refusal] | None] = ContextVar("noted", default=None)


def refuse_where(wrong: Tensor, error: Callable[[], BenchError]) -> None:
    """Raise error() if any of `wrong`, bool of any shape, is True: at the end of the `together` around it, or at once.

    What follows goes on with values that are refused later, so they must break nothing: an index has to be clamped.
    """
    noted = _noted.get()
    refusals: list[Refusal] = [(wrong.any(), error)]
    if noted is None:
        _raise_first(refusals)
    else:
        noted += refusals


def warn_where(seen: Tensor, message: str) -> None:
    """Warn if any of `seen`, bool of any shape, is True, when that is read: see `refuse_where`."""
    told: Refusal = (seen.any(), partial(warnings.warn, message, stacklevel=2))
    noted = _noted.get()
    if noted is None:
        _raise_first([told])
    else:
        noted.append(told)


@contextmanager
def together(told: Callable[[BenchError], BenchError] = lambda error: error) -> Iterator[None]:
    """Read all that is refused within in one go at the end; the first one that is true is raised, as told(error).

    If anything else is raised within, what was to be refused before it comes first. Within another `together` it is
    that one which reads.
    """
    outer, here = _noted.get(), list[Refusal]()
    token = _noted.set(here)
    try:
        yield
    except Exception as error:
        first = _first(here)
        if first is not None:
            raise told(first) from None
        if isinstance(error, BenchError) and (better := told(error)) is not error:
            raise better from error
        raise
    finally:
        _noted.reset(token)
    ours: list[Refusal] = [(wrong, partial(_told, told, error)) for wrong, error in here]
    if outer is None:
        _raise_first(ours)
    else:
        outer += ours


@contextmanager
def known_good() -> Iterator[None]:
    """Read nothing: what is refused within has been looked at before."""
    token = _noted.set([])
    try:
        yield
    finally:
        _noted.reset(token)


@contextmanager
def at_once() -> Iterator[None]:
    """Refuse within as soon as it is seen: for trials whose refusal is an answer."""
    token = _noted.set(None)
    try:
        yield
    finally:
        _noted.reset(token)


def settle() -> None:
    """Read now what the innermost `together` was to read at its end."""
    noted = _noted.get() or []
    _raise_first(noted)
    noted.clear()


def read(*values: Tensor) -> list[Tensor]:
    """The values on the CPU, bit for bit, in one transfer with what was to be refused, which is settled by it.

    What lies on the CPU already is handed back, and nothing is read.
    """
    noted = _noted.get() or []
    if all(value.device.type == "cpu" for value in values):
        return list(values)
    device = next(value.device for value in values if value.device.type != "cpu")
    wanted = [each.to(device) for each in (*(wrong for wrong, _ in noted), *values)]
    packed = torch.cat([_bytes(each) for each in wanted]).cpu()
    parts = torch.split(packed, [each.numel() * each.element_size() for each in wanted])
    found = [_from_bytes(part, each) for part, each in zip(parts, wanted, strict=True)]
    for (_, error), wrong in zip(noted, found, strict=False):
        if wrong and (refused := error()) is not None:
            raise refused
    found = found[len(noted) :]
    noted.clear()
    return found


def sent(values: Any, like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Numbers of the host, of this type, on the device of `like`: nobody waits until they are there."""
    made = values if isinstance(values, Tensor) else torch.tensor(values, dtype=dtype)
    return made.to(like.device, dtype or made.dtype, non_blocking=True)


def _told(told: Callable[[BenchError], BenchError], error: Callable[[], BenchError | None]) -> BenchError | None:
    refused = error()
    return None if refused is None else told(refused)


def _bytes(value: Tensor) -> Tensor:
    return value.contiguous().flatten().view(torch.uint8)


def _from_bytes(part: Tensor, like: Tensor) -> Tensor:
    return part.clone().view(like.dtype).view(like.shape)  # the clone begins where a number may begin


def _raise_first(refusals: list[Refusal]) -> None:
    error = _first(refusals)
    if error is not None:
        raise error


def _first(refusals: list[Refusal]) -> BenchError | None:
    """Of what is refused, in order; one read where nothing is."""
    if not refusals:
        return None
    device = refusals[0][0].device
    flags = torch.stack([wrong.to(device) for wrong, _ in refusals])
    if not bool(flags.any()):
        return None
    wrong = (error for (_, error), flag in zip(refusals, flags.tolist(), strict=True) if flag)
    return next((refused for error in wrong if (refused := error()) is not None), None)
