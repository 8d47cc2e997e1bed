"""Checks of what a config hands over; each failure says what was expected and what came."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from numbers import Real

import torch
from torch import Tensor

from lrp_bench.contracts import BenchError


def whole(name: str, value: object, least: int = 1) -> int:
    """`value`, if it is a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise BenchError(f"Expected {name} to be a whole number >= {least}, got {value!r}: set {name}")
    return value


def share(name: str, value: object) -> float:
    """`value`, if it is a number from 0 to 1."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise BenchError(f"Expected {name} to be a number from 0 to 1, got {value!r}: set {name}")
    return float(value)


def one_of(name: str, value: object, choices: Collection[str]) -> str:
    """`value`, if it is one of the choices."""
    if not isinstance(value, str) or value not in choices:
        raise BenchError(f"Expected {name} to be one of {', '.join(choices)}, got {value!r}: set {name}")
    return value


def sample_shape(shape: object) -> tuple[int, ...]:
    """The shape of one sample: (channels, height, width) or (features,)."""
    if isinstance(shape, str) or not isinstance(shape, Sequence) or len(shape) not in (1, 3):
        raise BenchError(f"Expected dataset.shape [channels, height, width] or [features], got {shape!r}")
    return tuple(whole("dataset.shape", size) for size in shape)


def per_channel(name: str, value: object, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
    """One number, or one per channel or feature, as a tensor (channels, 1, 1) or (features,)."""
    numbers = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value] * shape[0]
    if len(numbers) != shape[0] or any(isinstance(n, bool) or not isinstance(n, Real) for n in numbers):
        raise BenchError(f"Expected dataset.{name} to be one number or {shape[0]}, as in shape {shape}, got {value!r}")
    return torch.tensor(numbers, dtype=dtype).reshape(-1, *[1] * (len(shape) - 1))


def floating(name: object) -> torch.dtype:
    """The type of that name, float32 or float64."""
    if name not in ("float32", "float64"):
        raise BenchError(f"Expected dataset.dtype float32 or float64, got {name!r}: set dataset.dtype")
    dtype: torch.dtype = getattr(torch, str(name))
    return dtype


def named(features: Mapping[str, str] | None, shape: tuple[int, ...]) -> dict[str, str]:
    """Name -> unit of each feature, if they have names."""
    if features and shape != (len(features),):
        raise BenchError(f"Expected dataset.features to name {shape} inputs, got {list(features)}: correct it")
    return {str(name): str(unit or "") for name, unit in (features or {}).items()}
