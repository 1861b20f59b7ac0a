"""MLflow as a tracking service, over its client.

Thorax sends only what it is asked to send: MLflow's own telemetry is turned off, and no user name, host name
or state of a repository is added to a run.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Final, TypeVar

from thorax.telemetry import import_unreported
from thorax.tracking.service import Point, RunStatus

__all__ = ["MlflowService"]

_Item = TypeVar("_Item")

_ENVIRONMENT: Final = {
    # A server that does not answer may hold up a thread for seconds, not for the minutes of the defaults.
    # What fails is sent again with the next epoch.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_ARTIFACT_UPLOAD_DOWNLOAD_TIMEOUT": "60",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
"""Settings of MLflow that hold unless the user has set them."""

_EXPERIMENT: Final = "thorax"
"""The experiment, unless MLFLOW_EXPERIMENT_NAME names another one."""

_BATCH: Final = 100
"""Settings, tags or metrics per request: MLflow's limit for settings and tags."""

_LONGEST_PARAM: Final = 6000
_LONGEST_TAG: Final = 5000
"""Characters that MLflow accepts; longer values are cut, since recipe.toml is sent as a file."""

_STATUS: Final[Mapping[RunStatus, str]] = {
    "running": "RUNNING",
    "finished": "FINISHED",
    "failed": "FAILED",
    "killed": "KILLED",
}


class MlflowService:
    """The runs of an MLflow server, or of a database that MLflow can open; see `TrackingService`.

    Args:
        uri: The tracking URI.
    """

    def __init__(self, uri: str) -> None:
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        # Imported only now, because it reads the environment.
        self._client = import_unreported("mlflow.tracking").MlflowClient(tracking_uri=uri)

    def open_run(self, name: str, *, parent: str | None) -> str:
        """Begin a run in the experiment "thorax", or in that of MLFLOW_EXPERIMENT_NAME."""
        experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME") or _EXPERIMENT
        existing = self._client.get_experiment_by_name(experiment)
        # Two processes may create it at once; then the second one fails, and finds it at its next attempt.
        number = existing.experiment_id if existing else self._client.create_experiment(experiment)
        tags = {"mlflow.source.name": "thorax"} | ({"mlflow.parentRunId": parent} if parent else {})
        run = self._client.create_run(number, tags=tags, run_name=name)
        return str(run.info.run_id)

    def send(
        self, run: str, *, params: Mapping[str, str], tags: Mapping[str, str], points: Sequence[Point]
    ) -> None:
        """Send settings, tags and metrics, in requests of at most a hundred."""
        entities = import_unreported("mlflow.entities")
        metrics = (
            entities.Metric(name, value, point.time_ms, point.step)
            for point in points
            for name, value in point.values.items()
        )
        for some in _batches(entities.Param(key, value[:_LONGEST_PARAM]) for key, value in params.items()):
            self._client.log_batch(run, params=some)
        for labels in _batches(entities.RunTag(key, value[:_LONGEST_TAG]) for key, value in tags.items()):
            self._client.log_batch(run, tags=labels)
        for numbers in _batches(metrics):
            self._client.log_batch(run, metrics=numbers)

    def send_files(self, run: str, path: Path, folder: str) -> None:
        """Send a file or the files of a folder as artifacts."""
        if path.is_dir():
            self._client.log_artifacts(run, str(path), artifact_path=folder or None)
        else:
            self._client.log_artifact(run, str(path), artifact_path=folder or None)

    def set_status(self, run: str, status: RunStatus) -> None:
        """Set the status of a run; a run that continues gets no end time."""
        if status == "running":
            self._client.update_run(run, status="RUNNING")
        else:
            self._client.set_terminated(run, status=_STATUS[status])


def _batches(items: Iterator[_Item]) -> Iterator[list[_Item]]:
    while batch := list(islice(items, _BATCH)):
        yield batch
