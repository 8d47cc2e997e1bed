"""What every tracker does to names, parameters and numbers before it stores them."""

from __future__ import annotations

import hashlib
import json
import math
import posixpath
import re
from collections.abc import Mapping

KEY_LENGTH = 250
VALUE_LENGTH = 6000
TAG_LENGTH = 5000
MESSAGE_LENGTH = 500
DEVICE, TRAINED_ON = "device", "trained_on"  # tags: what kind of device explained, and what kind trained the model
PARENT = "mlflow.parentRunId"  # the tag by which MLflow knows whose child a run is


def clean(name: str) -> str:
    """A key every MLflow store accepts: what is not a letter, digit or one of `_ - . : /` or a space becomes `_`.

    >>> clean("dataset.crop[0]=+1,2")
    'dataset.crop_0_1_2'
    """
    return posixpath.normpath(re.sub(r"[^\w./:\- ]+", "_", name)).strip("/_ ")[:KEY_LENGTH]


def without_secrets(text: str) -> str:
    """A text whose addresses are without user and password.

    >>> without_secrets("tracker.uri=postgresql://me:word@host:5432/runs seed=1")
    'tracker.uri=postgresql://host:5432/runs seed=1'
    """
    return re.sub(r"(\w://)[^\s/]*@", r"\1", text)


def digest(facts: object) -> str:
    """A sha256 of facts that JSON can tell, whatever the order of their keys; others count by their text."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()


def flatten(config: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    """Nested mappings as one level of dotted keys and text values, cut at 6000 characters, without passwords.

    >>> flatten({"rule": {"epsilon": 1e-6, "stabilizer": None}})
    {'rule.epsilon': '1e-06', 'rule.stabilizer': 'None'}
    """
    flat: dict[str, str] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{name}.")
        else:
            flat[clean(name)] = without_secrets(str(value))[:VALUE_LENGTH]
    return flat


def finite(metrics: Mapping[str, float]) -> dict[str, float]:
    """The metrics that are numbers, under clean keys: MLflow would store infinity as 1.8e308."""
    return {clean(name): float(value) for name, value in metrics.items() if math.isfinite(value)}


def tag_text(tags: Mapping[str, str]) -> dict[str, str]:
    """Tags under clean keys, short enough for every store, without passwords."""
    return {clean(key): without_secrets(str(value))[:TAG_LENGTH] for key, value in tags.items()}


def outcome(error: BaseException | None) -> tuple[str, dict[str, str]]:
    """The status of a run that ended so, and the tags that say why.

    An Exception is the job's own failure; anything else (Ctrl-C, SystemExit) came from outside.
    """
    if error is None:
        return "FINISHED", {}
    status = "FAILED" if isinstance(error, Exception) else "KILLED"
    return status, {"error": f"{type(error).__name__}: {str(error)[:MESSAGE_LENGTH]}".rstrip(": ")}
