"""Where runs are recorded: `tracking.mlflow` for real, `tracking.memory` for tests.

Nothing is imported here, so that choosing a tracker in a config costs only that tracker's imports.
"""
