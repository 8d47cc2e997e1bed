"""Where a sweep's numbers come from."""

from __future__ import annotations

from lrp_bench.report.store.origin import origin
from lrp_bench.tracking.mlflow import MLflowTracker


def test_the_quality_of_a_model_is_a_number_for_each_training_and_seed(tracker: MLflowTracker, sweep: str) -> None:
    trained = {("1", "0"): 0.3, ("10", "0"): 0.9, ("1", "1"): 0.4, ("10", "1"): 0.95}
    for (epochs, seed), accuracy in trained.items():
        for method in ("epsilon", "gamma"):
            tags = {"dataset": "digits", "model": "mlp", "method": method, "seed": seed}
            params = {"trainer": {"max_epochs": epochs}, "explainer": method, "seed": seed}
            with tracker.run(method, kind="explanation", parent=sweep, tags=tags, params=params) as run:
                run.log_metrics({"test_accuracy": accuracy, "explain_seconds": 1.0})
    found = origin(tracker.uri, tracker.experiment, sweep).quality
    assert list(found) == [("digits", "mlp")]
    assert sorted(found["digits", "mlp"]["test_accuracy"]) == [0.3, 0.4, 0.9, 0.95]
