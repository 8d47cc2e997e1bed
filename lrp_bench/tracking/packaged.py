"""A model in MLflow's own format: a program of torch.export, with its signature and an example of its input."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch
from urllib.parse import urlparse
from urllib.request import url2pathname

import mlflow.pytorch
import torch
from mlflow.entities import LoggedModelOutput, LoggedModelStatus
from mlflow.models import Model, infer_signature
from mlflow.utils import requirements_utils
from torch import Tensor, nn

from lrp_bench.tracking.store import Store

PROGRAM = "data/model.pt2"  # where mlflow.pytorch puts it


def package(model: nn.Module, example: Tensor, folder: Path) -> Model:
    """Write a model in eval mode to a new folder, for any batch size, and what MLflow says of it.

    example: (batch, ...) inputs, two or more: torch.export takes a batch of one for a fixed size. Raises what
    torch.export raises for a model that it cannot capture.
    """
    described, inputs = Model(), example.numpy()
    with _quietly(), torch.no_grad():
        signature = infer_signature(inputs, model(example).numpy())
        mlflow.pytorch.save_model(
            model,
            str(folder),
            mlflow_model=described,
            signature=signature,
            input_example=inputs,
            serialization_format="pt2",
            pip_requirements=[f"torch=={torch.__version__.partition('+')[0]}"],
        )
    return described


def upload(store: Store, run: str, name: str, described: Model, folder: Path) -> dict[str, str]:
    """Keep what `package` wrote as a model of a run; the tags that say where.

    model_uri: what mlflow.pytorch.load_model takes; model_file: of a local store, what `model=pt2 model.path=` takes.
    """
    kept = store.client.create_logged_model(store.experiment_id, name, source_run_id=run)
    described.run_id, described.model_id, described.artifact_path = run, kept.model_id, kept.artifact_location
    described.save(str(folder / "MLmodel"))
    store.client.log_model_artifacts(kept.model_id, str(folder))
    store.client.finalize_logged_model(kept.model_id, LoggedModelStatus.READY)
    store.client.log_outputs(run, [LoggedModelOutput(kept.model_id, step=0)])
    place = urlparse(kept.artifact_location)
    local = {"model_file": f"{url2pathname(place.path)}/{PROGRAM}"} if place.scheme == "file" else {}
    return {"model_uri": f"models:/{kept.model_id}", **local}


@contextmanager
def _quietly() -> Iterator[None]:
    """Without what torch and MLflow have to say of a working export; a failing one raises.

    Nor does MLflow look up which package every file of the environment belongs to, for a warning that nobody sees.
    """
    with warnings.catch_warnings(), patch.object(requirements_utils, "_MODULES_TO_PACKAGES", {}, create=True):
        warnings.simplefilter("ignore")
        before = logging.root.manager.disable
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(before)
