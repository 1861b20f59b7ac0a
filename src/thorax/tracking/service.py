"""What a tracking service must be able to do, and how one is named."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Protocol

from thorax.errors import RecipeError
from thorax.packages import require

__all__ = ["Point", "RunStatus", "Target", "TrackingService", "parse_target", "without_secrets"]

RunStatus = Literal["running", "finished", "failed", "killed"]
"""killed: stopped by a signal, by Ctrl-C, or pruned by a study."""

_URI: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*:/|databricks$")


@dataclass(frozen=True, slots=True)
class Point:
    """Metrics at one moment.

    Attributes:
        step: The epoch of a run, counted from 1, or the trial of a study, counted from 0.
        time_ms: Milliseconds since 1970, UTC.
        values: By name.
    """

    step: int
    time_ms: int
    values: Mapping[str, float]


class TrackingService(Protocol):
    """A service that keeps runs. Each method may take seconds and may raise anything."""

    def open_run(self, name: str, *, parent: str | None) -> str:
        """Begin a run, below another one if `parent` is its identifier, and return its identifier."""
        ...

    def send(
        self, run: str, *, params: Mapping[str, str], tags: Mapping[str, str], points: Sequence[Point]
    ) -> None:
        """Send settings, tags and metrics of a run; settings that were sent before are sent unchanged."""
        ...

    def send_files(self, run: str, path: Path, folder: str) -> None:
        """Send a file, or all files of a folder, to a folder of the run; "" is its top."""
        ...

    def set_status(self, run: str, status: RunStatus) -> None:
        """Set the status of a run."""
        ...


@dataclass(frozen=True, slots=True)
class Target:
    """A tracking service: MLflow, at an address.

    Attributes:
        uri: The tracking URI; may hold a password.
    """

    uri: str

    def connect(self) -> TrackingService:
        """Return the service, without asking it anything. Importing MLflow takes two seconds."""
        from thorax.tracking.mlflow_service import MlflowService  # noqa: PLC0415  (as it says)

        return MlflowService(self.uri)


def parse_target(text: str) -> Target:
    """Read the name of a tracking service.

    Args:
        text: "mlflow:URI", such as "mlflow:http://127.0.0.1:5000", or "mlflow", which takes the address from
            the environment variable MLFLOW_TRACKING_URI.

    Raises:
        RecipeError: The service is unknown, or its address is missing or malformed.
        MissingExtra: MLflow is not installed.
    """
    kind, _, uri = text.partition(":")
    if kind != "mlflow":
        raise RecipeError(
            f"there is no tracking service {kind!r}; set `track=mlflow:URI`, such as mlflow:http://127.0.0.1:5000"
        )
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI", "")
    if not uri:
        raise RecipeError(
            "MLflow's address is missing: `track` is mlflow, and the environment variable "
            "MLFLOW_TRACKING_URI is not set; set one of them, such as `track=mlflow:http://127.0.0.1:5000`"
        )
    if not _URI.match(uri):
        raise RecipeError(
            f"MLflow's address {without_secrets(uri)!r} in `track` or MLFLOW_TRACKING_URI has no scheme; "
            "give one such as http://127.0.0.1:5000"
        )
    require("mlflow", "tracking by MLflow")
    return Target(uri)


def without_secrets(text: str) -> str:
    """Return text in which user names and passwords in addresses are replaced by dots."""
    return re.sub(r"//[^/@\s]+@", "//...@", text)
