"""Following a folder: a thread sends what is new in it to a tracking service, and never holds up the work.

The folder has everything, so nothing waits in memory: the thread compares its content with what was sent,
which `tracking.json` remembers. What a server that was away missed is sent when it is back, also by a resumed
run.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from thorax.atomic_io import read_json, write_json
from thorax.errors import DataError
from thorax.tracking.contents import Contents
from thorax.tracking.service import RunStatus, Target, TrackingService, without_secrets

__all__ = ["Follower", "Sent", "follow", "read_sent", "warning_text"]

EventCallback = Callable[[Mapping[str, Any]], None]
"""Receives each event of a run's log, as in `thorax.training.logbook`, whose import would take seconds."""

_logger = logging.getLogger("thorax.tracking")

_STATE: Final = "tracking.json"
_LONGEST_UPLOAD: Final = 300.0
"""Seconds that a finished run waits at most for its files to be sent; each request has a shorter limit."""

_LONGEST_GOODBYE: Final = 20.0
"""Seconds that a run which was stopped or failed waits at most."""

_LONGEST_REASON: Final = 200


@dataclass(frozen=True, slots=True)
class Sent:
    """What a service has, by the fields of `tracking.json`.

    Attributes:
        service: The service's address, without a password.
        run: The identifier of the run there.
        points: Number of metrics' points that were sent.
    """

    service: str
    run: str
    points: int = 0


class Follower:
    """Sends the contents of a folder to a service, in a thread of its own.

    Args:
        target: The service.
        contents: What it is sent.
        parent: The follower of the study that the run belongs to.
    """

    def __init__(self, target: Target, contents: Contents, *, parent: "Follower | None" = None) -> None:
        self._target, self._contents, self._parent = target, contents, parent
        self._service: TrackingService | None = None
        self._changed = threading.Event()
        self._opened = threading.Event()
        self._run: str | None = None
        self._status: RunStatus = "running"
        self._announced = False  # the settings, tags and status of this process
        self._warned = parent is not None and parent.warned
        self._thread = threading.Thread(target=self._work, name="thorax-tracking", daemon=True)

    @property
    def warned(self) -> bool:
        """Whether a warning said that something was not sent."""
        return self._warned

    def watch(self) -> None:
        """Send what is new, in the thread."""
        if not self._thread.is_alive() and self._status == "running":
            self._thread.start()
        self._changed.set()

    def watching(self, also: EventCallback | None) -> EventCallback:
        """Return a callback for a run's events that sends what is new, and then calls another one."""

        def watch(event: Mapping[str, Any]) -> None:
            self.watch()
            if also is not None:
                also(event)

        return watch

    def close(self, status: RunStatus) -> None:
        """Send the rest, with the files, and the status; wait for it, but not for ever."""
        if not self._thread.is_alive() and not self._contents.points():
            return  # it failed before it began: nothing to track
        self._status = status
        if not self._thread.is_alive():
            self._thread.start()
        self._changed.set()
        self._thread.join(_LONGEST_UPLOAD if status == "finished" else _LONGEST_GOODBYE)
        if self._thread.is_alive():
            self._warn("it does not answer in time")

    def wait_until_open(self, seconds: float) -> str | None:
        """Return the identifier of the run, once the service has one; None if it has none by then."""
        self._opened.wait(seconds)
        return self._run

    def _work(self) -> None:
        closing = False
        while not closing:
            self._changed.wait()
            self._changed.clear()
            closing = self._status != "running"
            try:
                self._send(closing=closing)
            except Exception as error:  # noqa: BLE001  (a service may raise anything; the run must not end)
                self._warn(str(error) or type(error).__name__)
            finally:
                self._opened.set()  # also after a failure: no run of the study waits any longer

    def _send(self, *, closing: bool) -> None:
        if self._service is None:
            self._service = self._target.connect()
        service, contents = self._service, self._contents
        sent = read_sent(contents.folder, self._target) or self._open(service)
        self._run = sent.run
        self._opened.set()
        if not self._announced:
            service.set_status(sent.run, "running")
            service.send(sent.run, params=contents.params(), tags=contents.tags(), points=())
            self._announced = True
        points = contents.points()
        if len(points) > sent.points:
            service.send(sent.run, params={}, tags={}, points=points[sent.points :])
            self._remember(replace(sent, points=len(points)))
        if closing:
            for path, folder in contents.files():
                service.send_files(sent.run, path, folder)
            service.set_status(sent.run, self._status)

    def _open(self, service: TrackingService) -> Sent:
        parent = self._parent.wait_until_open(60) if self._parent else None
        sent = Sent(without_secrets(self._target.uri), service.open_run(self._contents.name, parent=parent))
        self._remember(sent)
        return sent

    def _remember(self, sent: Sent) -> None:
        write_json(self._contents.folder / _STATE, asdict(sent))

    def _warn(self, reason: str) -> None:
        """Say once that tracking failed."""
        if self._warned:
            return
        self._warned = True
        if self._parent is not None:
            self._parent._warned = True  # noqa: SLF001  (one warning for a whole study)
        _logger.warning(
            "%s. The work continues, and %s has everything; what is missing is sent after the next epoch, or "
            "when it is resumed with tracking",
            warning_text(self._target, reason),
            self._contents.folder,
        )


def read_sent(folder: Path, target: Target) -> Sent | None:
    """Return what a service has of a folder; None if the folder was not tracked there.

    Raises:
        DataError: The file that remembers it is damaged.
    """
    path = folder / _STATE
    if not path.is_file():
        return None
    try:
        sent = Sent(**read_json(path))
    except (ValueError, TypeError) as error:
        raise DataError(
            f"{path} is damaged ({error}); remove it, and what is sent from now on goes to a new run"
        ) from error
    return sent if sent.service == without_secrets(target.uri) else None


def warning_text(target: Target, reason: str) -> str:
    """Return the beginning of a warning, in one line and without passwords."""
    line = " ".join(without_secrets(reason).split())[:_LONGEST_REASON]
    return f"tracking failed: MLflow at {without_secrets(target.uri)}: {line}"


@contextmanager
def follow(follower: Follower | None, *, stopped_by: tuple[type[BaseException], ...]) -> Iterator[None]:
    """Follow a folder during some work, and close the run on the service as the work ends.

    Args:
        follower: None follows nothing.
        stopped_by: Exceptions that mean that the work was stopped, rather than that it failed.
    """
    if follower is None:
        yield
        return
    try:
        yield
    except BaseException as error:
        stopped = isinstance(error, (KeyboardInterrupt, *stopped_by))
        follower.close("killed" if stopped else "failed")
        raise
    follower.close("finished")
