"""Weights from scikit-learn, weights as given, and a regression."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from sklearn.neural_network import MLPClassifier
from torch import nn
from torch.testing import assert_close

from lrp_bench.cli import configure
from lrp_bench.contracts import BenchError
from lrp_bench.models import MLP, FullyConnected
from lrp_bench.run import Study, build
from lrp_bench.training import Fitted, ScikitFit


def fitted(tmp_path: Path, *overrides: str) -> Fitted:
    study = Study(configure("tracker=memory", f"paths.outputs={tmp_path}", "samples=2", *overrides), None)
    return study.fitted(lambda model: None)


def test_a_regression_is_trained_on_its_squared_error_and_told_by_r2(tmp_path: Path) -> None:
    overrides = ("dataset=halves", "dataset.train=400", "model=fully_connected", "model.hidden=[8]", "trainer=fast")
    overrides += ("trainer.max_epochs=12", "trainer.optimizer.lr=0.03")
    result = fitted(tmp_path, *overrides)
    data = build(configure(*overrides[:2], "samples=2").dataset)
    test = data.contents.test
    outputs = result.model(data.normalize(test.inputs))[:, 0]
    rest = (outputs - test.labels).square().sum() / (test.labels - test.labels.mean()).square().sum()
    assert result.quality == {"test_r2": pytest.approx(1 - rest.item(), abs=1e-5)}
    assert result.quality["test_r2"] > 0.3
    assert next(result.model.parameters()).dtype == torch.float64


def test_a_given_network_is_left_alone(tmp_path: Path) -> None:
    result = fitted(tmp_path, "experiment=toy", "samples=1")
    assert result.quality == {}
    assert_close(result.model.fc2.weight, torch.tensor([[0.3, 0.1, 0.4]], dtype=torch.float64))


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer:sklearn.exceptions.ConvergenceWarning")  # on purpose
def test_another_network_than_scikit_learns_is_refused(tmp_path: Path) -> None:
    iris = ("dataset=iris_shuffled", "trainer=scikit", "trainer.estimator.max_iter=20", "seed=42")
    with pytest.raises(BenchError, match=r"linear layers of .*\(7, 4\)"):
        fitted(tmp_path, *iris, "model.hidden=[7]", "trainer.estimator.hidden_layer_sizes=[5]")
    with pytest.raises(BenchError, match="same activation"):
        fitted(tmp_path, *iris, "model.hidden=[5]", "trainer.estimator.activation=tanh")


def test_the_estimator_itself_stays_unfitted() -> None:
    data = build(configure("dataset=iris_shuffled", "samples=2").dataset)
    estimator = MLPClassifier((5,), max_iter=1200, random_state=42)

    class Silent:
        def log_metrics(self, metrics: object, step: int = 0) -> None: ...

    model = MLP([4], 3, [5]).double()
    _, metrics = ScikitFit(estimator).train(model, data, work=Path(), seed=0, run=Silent())
    assert not hasattr(estimator, "coefs_")
    assert metrics["epochs"] == 1150


@pytest.mark.parametrize(
    "weights", [[], [{"weight": [[1, 2]], "bias": 0}], [{"weight": [[1, 2, 3]]}], [{"weight": [["a"]], "bias": 0}]]
)
def test_weights_that_do_not_fit_are_told(weights: list[dict[str, object]]) -> None:
    with pytest.raises(BenchError, match=r"set model\.weights"):
        FullyConnected([3], 1, [], weights=weights)


def test_layers_have_the_names_they_are_known_by() -> None:
    net = FullyConnected([10], 1, [32, 16], nn.Sigmoid)
    assert [name for name, _ in net.named_children()] == ["fc1", "fc2", "fc3", "output"]
    x = torch.randn(4, 10, generator=torch.Generator().manual_seed(0))
    by_hand = torch.sigmoid(net.fc3(torch.relu(net.fc2(torch.relu(net.fc1(x))))))
    assert_close(net(x), by_hand)
