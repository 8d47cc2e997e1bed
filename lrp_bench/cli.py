"""The command line: Hydra composes a config, and each job hands it to `run`.

Nothing heavy is imported before a job starts, so that --help and --cfg answer at once.
"""

from __future__ import annotations

import logging
import re
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException
from omegaconf import DictConfig, ListConfig, OmegaConf

from lrp_bench import startup, sweep

PACKAGE = Path(__file__).resolve().parent
CONF = PACKAGE / "conf" if (PACKAGE / "conf").is_dir() else PACKAGE.parent / "conf"  # the wheel's, else the checkout's

log = logging.getLogger(__name__)


class JobFailed(CompactHydraException):
    """A job that could not be done, said without a traceback."""


def main() -> None:
    """Run the command line."""
    sys.argv[1:] = flags_first(sys.argv[1:])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(sweep.INTERRUPTED))
    try:
        _job()
    except KeyboardInterrupt as interrupt:
        sweep.close_open(interrupt)
        log.error("Interrupted: what was finished is kept; the same command with sweep.resume=true goes on from there.")
        sys.exit(128 + signal.SIGINT)
    except SystemExit as end:  # a failed job, a bad command line, or SIGTERM
        sweep.close_open(end)
        raise


def flags_first(arguments: Sequence[str]) -> list[str]:
    """--multirun before the overrides: argparse takes no overrides behind a flag that had some before it."""
    flags = [a for a in arguments if a in ("--multirun", "-m")]
    return [*flags, *(a for a in arguments if a not in flags)]


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def _job(cfg: DictConfig) -> None:
    with startup.uncollected():
        from lrp_bench.contracts import BenchError
        from lrp_bench.run import run

    folder = Path(HydraConfig.get().runtime.output_dir)
    try:
        run(cfg, folder=folder, parent=sweep.parent_of_this_job())
    except BenchError as error:
        log.error(error)
        raise JobFailed("The job failed, for the reason said above.") from None
    except Exception as error:
        log.error("%s: %s\nThe whole traceback: %s", type(error).__name__, error, _kept(error, folder))
        raise JobFailed(
            "The job failed, by what may be a fault of lrp_bench; please report it with the traceback."
        ) from None


def _kept(error: Exception, folder: Path) -> str:
    """The file that holds the traceback; the traceback itself where no file can be written."""
    whole, path = "".join(traceback.format_exception(error)), folder / "traceback.txt"
    try:
        path.write_text(whole, encoding="utf-8")
    except OSError:
        return f"\n{whole}"
    return str(path)


def configure(*overrides: str) -> DictConfig:
    """The config that the command line would hand to `run`, for use from Python.

    run(configure("rule=gamma", "samples=20"), folder=Path("outputs/mine"))
    """
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = hydra.compose("config", list(overrides), return_hydra_config=True)
    names = {group: label(group, cfg.hydra) for group in cfg.names}
    OmegaConf.set_struct(cfg, False)
    del cfg["hydra"]
    cfg.names = names
    OmegaConf.set_struct(cfg, True)
    return cfg


def label(group: str, settings: Any = None) -> str:
    """What a table calls the chosen option of a group: its name, and in brackets what was changed about it.

    `method` is the rule where the explainer is LRP, and the explainer otherwise.
    """
    settings = HydraConfig.get() if settings is None else settings
    if group == "method":
        group = "rule" if settings.runtime.choices.explainer == "lrp" else "explainer"
    prefix = f"{group}."
    # As typed: a ${...} that leads nowhere is told where it is used.
    typed: list[str] = OmegaConf.to_container(settings.overrides.task, resolve=False)  # type: ignore[assignment]
    changes = [o.lstrip("+").removeprefix(prefix) for o in typed if o.lstrip("+").startswith(prefix)]
    changes = [re.sub(r"_target_: *(?:\w+\.)*(\w+)", r"\1", change) for change in changes]
    choice = str(settings.runtime.choices[group])
    return f"{choice}({', '.join(changes)})" if changes else choice


def class_folders(root: str) -> int:
    """How many classes an image folder holds: the folders within root/train."""
    train = Path(root) / "train"
    return sum(folder.is_dir() for folder in train.iterdir()) if train.is_dir() else 0


def normalized(
    value: float | Sequence[float], mean: float | Sequence[float], std: float | Sequence[float]
) -> float | ListConfig:
    """An input value as the model sees it, (value - mean) / std: a number, or one per channel."""
    channels = [len(v) for v in (value, mean, std) if isinstance(v, Sequence)]
    if not channels:
        return (value - mean) / std  # type: ignore[operator]
    rows = ([*v] if isinstance(v, Sequence) else [v] * channels[0] for v in (value, mean, std))
    # a ListConfig: OmegaConf.resolve takes no plain list from a resolver that is reached through another ${...}
    return ListConfig([(v - m) / s for v, m, s in zip(*rows, strict=True)])


OmegaConf.register_new_resolver("label", label, replace=True)
OmegaConf.register_new_resolver("class_folders", class_folders, replace=True)
OmegaConf.register_new_resolver("normalized", normalized, replace=True)
