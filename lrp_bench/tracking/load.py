"""How busy the machine is while a run is open: what MLflow's page shows as its system metrics."""

from __future__ import annotations

from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

from lrp_bench.contracts import BenchError


class Load:
    """Watches processor, memory, disk, network and GPUs of the whole machine, which jobs side by side share.

    interval: seconds between two samples, 0 for none; a run that is shorter has no sample. Raises BenchError for a
    negative one. A store that does not answer ends the watch and nothing else.
    """

    def __init__(self, uri: str, interval: float) -> None:
        if not interval >= 0:
            raise BenchError(f"Expected tracker.system_metrics as seconds, 0 or more, got {interval}: correct it.")
        self.uri, self.interval = uri, interval
        self._watched: dict[str, SystemMetricsMonitor] = {}

    def watch(self, run_id: str) -> None:
        """Log samples to a run, from a thread of their own, until `leave`."""
        if self.interval:
            monitor = SystemMetricsMonitor(run_id, sampling_interval=self.interval, tracking_uri=self.uri)
            monitor.start()
            self._watched[run_id] = monitor

    def leave(self, run_id: str) -> None:
        """Watch no longer; what was sampled is logged."""
        if monitor := self._watched.pop(run_id, None):
            monitor.finish()
