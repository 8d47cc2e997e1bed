"""From a composed config to what it describes, and what is refused before anything long starts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lrp_bench.contracts import BenchError
from lrp_bench.data.arguments import one_of, whole


def build(node: DictConfig) -> Any:
    """What a config node describes. Raises BenchError, without what Hydra wraps around the reason."""
    try:
        return instantiate(node)
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, BenchError):
            raise cause from None
        place = next(
            (line.removeprefix("full_key: ") for line in str(error).splitlines() if line.startswith("full_key")),
            "the config",
        )
        reason = str(cause or error).splitlines()[0]
        raise BenchError(
            f"Expected a usable {place}, got {type(cause or error).__name__}: {reason}: correct {place}."
        ) from error


def resolved(cfg: DictConfig) -> dict[str, Any]:
    """The config with every ${...} replaced. Raises BenchError where one leads nowhere."""
    try:
        return OmegaConf.to_container(cfg, resolve=True)  # type: ignore[return-value]
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", None) or "the config"
        raise BenchError(f"Expected a value for {key}, got: {str(error).splitlines()[0]}: correct {key}.") from error


def check_settings(settings: Mapping[str, Any]) -> None:
    """Raise BenchError for a plain value of the root config that cannot be meant."""
    for name in ("samples", "batch_size", "background"):
        whole(name, settings[name])
    for name in ("seed", "pictures"):
        whole(name, settings[name], 0)
    one_of("target", settings["target"], ("predicted", "label"))
    if settings["threads"] is not None:
        whole("threads", settings["threads"])
