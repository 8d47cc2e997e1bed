from __future__ import annotations

import pytest

from lrp_bench.tracking.mlflow import MLflowTracker


@pytest.fixture(scope="session")
def mlflow_tracker(tmp_path_factory: pytest.TempPathFactory) -> MLflowTracker:
    """One store for all tests: MLflow takes seconds to make one."""
    folder = tmp_path_factory.mktemp("store = with, [odd] #name")
    return MLflowTracker(f"sqlite:///{folder}/deep/mlflow.db", "tests", folder / "artifacts")
