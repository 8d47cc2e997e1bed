"""One job, from config to scores.

study.py holds what the methods of a job share (data, model, tracker, settings), method.py how one method is scored and
kept, config.py builds what a config describes. Begin with `run`, below.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

from omegaconf import DictConfig

from lrp_bench.evaluation import Evaluation
from lrp_bench.run.config import build
from lrp_bench.run.method import Method
from lrp_bench.run.study import Study

__all__ = ["Method", "Study", "build", "run"]


def run(cfg: DictConfig, *, folder: Path, parent: str | None = None) -> Evaluation | None:
    """Train or load the model, explain the samples, score the explanations, and keep everything.

    cfg: a composed config (conf/config.yaml). folder: for this run's files. parent: the sweep's run. Within a sweep a
    method is scored once: None comes back where it was scored before. Raises BenchError for what the user must mend.
    """
    study = Study(cfg, parent)
    evaluation = Method(study, cfg.names.method, cfg.explainer).score(folder)
    Method(study, "random", cfg.control).score(folder / "random")
    return evaluation


class _Run(ModuleType):
    """`lrp_bench.run` is this module as soon as anyone has imported it, and the function to who calls it."""

    __call__ = staticmethod(run)


sys.modules[__name__].__class__ = _Run
