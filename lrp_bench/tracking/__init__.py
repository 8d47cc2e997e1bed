"""Where runs are recorded: `tracking.mlflow` for real, `tracking.memory` for tests.

Nothing is imported here, so that choosing a tracker in a config costs only that tracker's imports.
"""

import os

# MLflow reads these when it is imported, which this package comes before. What the user has set stands.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "4")
