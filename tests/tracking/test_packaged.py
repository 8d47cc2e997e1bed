"""A trained model in MLflow: it loads back without its source code, and is explained as it lies there."""

from __future__ import annotations

import logging
from pathlib import Path

import mlflow.pytorch
import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from lrp_bench.engine import LRP
from lrp_bench.engine.composites import EpsilonPlus
from lrp_bench.models import LeNet, exported_model
from lrp_bench.tracking.mlflow import MLflowTracker

SHAPE, CLASSES = [1, 8, 8], 3


@pytest.fixture(scope="module", autouse=True)
def quiet_trace() -> None:
    logging.getLogger("torch.__trace").propagate = False


def test_a_kept_model_gives_the_same_logits_and_the_same_relevance(mlflow_tracker: MLflowTracker) -> None:
    torch.manual_seed(0)
    network, x = LeNet(SHAPE, CLASSES).eval().requires_grad_(False), torch.randn(5, *SHAPE)
    with mlflow_tracker.run("training", kind="training") as run:
        run.log_model(network, x[:2])
    client = mlflow_tracker.store.client
    stored = client.get_run(run.id)
    kept = client.get_logged_model(stored.data.tags["model_uri"].removeprefix("models:/"))
    assert (kept.name, kept.source_run_id, kept.status) == ("LeNet", run.id, "READY")
    assert [output.model_id for output in stored.outputs.model_outputs] == [kept.model_id]

    file = Path(stored.data.tags["model_file"])
    loaded = mlflow.pytorch.load_model(str(file.parents[1]))
    expected = LRP(network, EpsilonPlus(), example=x)(x).relevance
    for model in (loaded, exported_model(file, SHAPE, CLASSES)):
        assert_close(model(x), network(x))
        assert_close(LRP(model, EpsilonPlus(), example=x)(x).relevance, expected)

    described = mlflow.models.Model.load(str(file.parents[1]))
    assert (described.run_id, described.model_id) == (run.id, kept.model_id)
    assert described.signature.inputs.inputs[0].shape == (-1, *SHAPE)
    assert described.signature.outputs.inputs[0].shape == (-1, CLASSES)
    assert_close(torch.from_numpy(described.load_input_example(str(file.parents[1]))), x[:2])


class Undecided(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if bool(x.sum() > 0) else -x


def test_a_model_that_cannot_be_exported_is_left_out_with_a_word(
    mlflow_tracker: MLflowTracker, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO), mlflow_tracker.run("training", kind="training") as run:
        run.log_model(Undecided(), torch.ones(2, 3))
    [line] = [record.message for record in caplog.records if record.name.startswith("lrp_bench")]
    assert line.startswith("MLflow gets no Undecided: ")
    stored = mlflow_tracker.store.client.get_run(run.id)
    assert stored.info.status == "FINISHED"
    assert not {"model_uri", "model_file"} & set(stored.data.tags)
