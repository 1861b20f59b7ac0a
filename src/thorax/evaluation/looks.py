"""Looks: how often a test part was measured, with one line per measurement in `looks.jsonl`.

Every look at a test part informs choices, also of a seed or a recipe, and the best of many looks is better
than the model. A look is noted beside the run of the model, and in the user's state folder, where the looks
of other models at the same part are counted as well.
"""

import json
import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from thorax.atomic_io import append_line, parse_json
from thorax.image_set import ImageSet
from thorax.prediction import ModelIdentity
from thorax.run_files import LOG

__all__ = [
    "LOOKS",
    "History",
    "Look",
    "Measured",
    "described",
    "note_in_state",
    "note_look",
    "note_looks",
    "read_looks",
    "state_looks",
]

LOOKS: Final = "looks.jsonl"
"""Name of the file of looks, beside a run and in the user's state folder."""

_TEST_CURVE: Final = "test-curve"
"""The log of a run, and its event for a measurement of the test part."""

_STATE: Final = "XDG_STATE_HOME"
_FOLDER: Final = "thorax"
_CHOOSING_PARTS: Final = frozenset({"train", "val"})
"""Parts that may be measured as often as one likes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One measurement of one model on a test part, or on images of no stated split.

    Attributes:
        id: Random, so that a look in two files counts once.
        time: When, in UTC.
        command: What measured, with its settings.
        model: Name of the model.
        model_sha256: SHA-256 of the bundle's manifest, or of the file of predictions.
        dataset: Name of the data set.
        split: Name of the split; "" if not stated.
        split_sha256: SHA-256 of the whole list of the split; "" without one.
        part: Part of the split; "" without one.
        images_sha256: SHA-256 of the names of the images.
        num_images: Number of images.
    """

    id: str
    time: str
    command: str
    model: str
    model_sha256: str
    dataset: str
    split: str
    split_sha256: str
    part: str
    images_sha256: str
    num_images: int

    def is_at(self, other: "Look") -> bool:
        """Return whether both looks are at the same images, or at the same part of the same split."""
        same_part = bool(self.split_sha256) and (self.split_sha256, self.part) == (
            other.split_sha256,
            other.part,
        )
        return same_part or self.images_sha256 == other.images_sha256


_TEXTS: Final = tuple(field.name for field in fields(Look) if field.name != "num_images")


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """How often the images of a result were measured before.

    Attributes:
        looks: Looks of this model at this part, with this one.
        first: Time of the first of them, in UTC.
        previous: Time of the one before this one; "" if this is the first.
        other_looks: Looks of other models at this part that are noted in the user's state folder.
        other_models: How many models these are of.
        noted_in: Files in which this look is noted; none if no file can be written.
        test_curve_epochs: Epochs after which training measured the test part as well.
    """

    looks: int
    first: str
    previous: str
    other_looks: int
    other_models: int
    noted_in: tuple[str, ...]
    test_curve_epochs: int = 0

    def sentences(self) -> tuple[str, ...]:
        """Return what a reader must know about the looks, as sentences."""
        count = (
            f"This is look {self.looks:,} of this model; the first was on {self.first[:10]}"
            if self.looks > 1
            else "This is the first look of this model that was noted"
        )
        times = "once" if self.other_looks == 1 else f"{self.other_looks:,} times"
        models = "another model" if self.other_models == 1 else f"{self.other_models:,} other models"
        epochs = "1 epoch" if self.test_curve_epochs == 1 else f"{self.test_curve_epochs:,} epochs"
        lines = (
            f"{count}, at these images or this part of the split.",
            f"On this machine {models} looked at them {times}; the best of many is better than it is on new "
            "images."
            if self.other_looks
            else "",
            f"Training recorded the test curve: it measured the test part after each of {epochs}."
            if self.test_curve_epochs
            else "",
            ""
            if self.noted_in
            else "This look could not be noted, neither beside the run nor in the user's state folder, so "
            "later reports cannot count it.",
        )
        return tuple(line for line in lines if line)

    def as_json(self) -> dict[str, Any]:
        """Return the content of `history` in `metrics.json`."""
        return {
            "looks": self.looks,
            "first": self.first,
            "previous": self.previous or None,
            "looks_of_other_models": self.other_looks,
            "other_models": self.other_models,
            "noted_in": list(self.noted_in),
            "test_curve_epochs": self.test_curve_epochs,
        }


@dataclass(frozen=True, slots=True)
class Measured:
    """One model that was measured on some images.

    Attributes:
        images: The images.
        model: The model.
        run: Folder of the run or bundle to note the look beside; None for predictions from a file.
    """

    images: ImageSet
    model: ModelIdentity
    run: Path | None = None


def note_look(
    images: ImageSet, model: ModelIdentity, *, command: str, run: Path | None = None
) -> History | None:
    """Note a look at a test part, and return how many there were.

    Args:
        images: The measured images.
        model: The measured model.
        command: What measured, with its settings.
        run: Folder of the run or bundle to note it beside; None for predictions from a file.

    Returns:
        The history with this look; None for training and validation parts, which are not noted.
    """
    (history,) = note_looks([Measured(images, model, run)], command=command)
    return history


def note_looks(measured: Sequence[Measured], *, command: str) -> list[History | None]:
    """Note a look for each model of a comparison, and return how many there were of each.

    The looks of one comparison do not count as looks of other models: their histories are those before it,
    and one look.

    Args:
        measured: The models with their images.
        command: What measured, with its settings.

    Returns:
        One history each, in order; None for training and validation parts, which are not noted.
    """
    time = datetime.now(UTC).isoformat(timespec="seconds")
    looks = [
        None if one.images.part in _CHOOSING_PARTS else _look(one, time=time, command=command)
        for one in measured
    ]
    written = [
        [] if look is None else _write(look, one.run) for look, one in zip(looks, measured, strict=True)
    ]
    together = frozenset(look.id for look in looks if look is not None)
    return [
        None if look is None else _history(look, run=one.run, written=files, together=together)
        for look, one, files in zip(looks, measured, written, strict=True)
    ]


def note_in_state(run: Path) -> None:
    """Note the looks beside a run in the user's state folder too, if another machine noted them.

    Args:
        run: Folder of the run or bundle.
    """
    state = state_looks()
    if state is None:
        return
    known = {look.id for look in read_looks(state)}
    for look in read_looks(run / LOOKS):
        if look.id not in known:
            _append(state, look)


def _look(measured: Measured, *, time: str, command: str) -> Look:
    images, model = measured.images, measured.model
    return Look(
        id=secrets.token_hex(8),
        time=time,
        command=command,
        model=model.name,
        model_sha256=model.bundle_sha256,
        dataset=images.dataset,
        split=images.split,
        split_sha256=images.sha256,
        part=images.part if images.split else "",
        images_sha256=images.images_sha256,
        num_images=images.num_images,
    )


def _write(look: Look, run: Path | None) -> list[str]:
    """Append a look to its files; return which of them, "run" and "state", could be written."""
    files = {"run": None if run is None else run / LOOKS, "state": state_looks()}
    return [name for name, path in files.items() if path is not None and _append(path, look)]


def _history(look: Look, *, run: Path | None, written: Sequence[str], together: frozenset[str]) -> History:
    """Count the looks at the same images; of those that are noted together, only this one."""
    state = state_looks()
    elsewhere = together - {look.id}
    of_run, everywhere = (
        [one for one in ([] if path is None else read_looks(path)) if one.id not in elsewhere]
        for path in (None if run is None else run / LOOKS, state)
    )
    own = {one.id: one for one in of_run if one.is_at(look)}
    own |= {one.id: one for one in everywhere if one.is_at(look) and one.model_sha256 == look.model_sha256}
    own[look.id] = look
    ids = {one.id for one in of_run} | own.keys()
    others = [one for one in everywhere if one.is_at(look) and one.id not in ids]
    times = sorted(one.time for one in own.values() if one.id != look.id)
    return History(
        looks=len(own),
        first=min([*times, look.time]),
        previous=times[-1] if times else "",
        other_looks=len(others),
        other_models=len({one.model_sha256 for one in others}),
        noted_in=tuple(written),
        test_curve_epochs=0 if run is None else _test_curve_epochs(run, look.split_sha256),
    )


def described(command: str, **settings: object) -> str:
    """Return a command with its settings, without those that are empty: "evaluate part=test seed=0"."""
    return " ".join(
        [command, *(f"{name}={value}" for name, value in settings.items() if value not in ("", None))]
    )


def read_looks(path: Path) -> Iterator[Look]:
    """Yield the looks in a file, without lines that are unfinished or not looks; none without a file."""
    for value in _json_lines(path):
        texts = {name: value.get(name) for name in _TEXTS}
        count = value.get("num_images")
        if isinstance(count, int) and all(isinstance(text, str) for text in texts.values()):
            yield Look(num_images=count, **{name: str(text) for name, text in texts.items()})


def state_looks() -> Path | None:
    """Return the file of looks in the user's state folder; None if the user has no home.

    The folder is `thorax` in XDG_STATE_HOME, by default in ~/.local/state.
    """
    stated = os.environ.get(_STATE, "")
    if os.path.isabs(stated):  # noqa: PTH117  (a relative one is ignored, as the specification asks)
        return Path(stated) / _FOLDER / LOOKS
    try:
        return Path.home() / ".local" / "state" / _FOLDER / LOOKS
    except RuntimeError:
        return None


def _append(path: Path, look: Look) -> bool:
    """Append a look to a file; return whether that was possible."""
    try:
        append_line(path, json.dumps(asdict(look), ensure_ascii=False))
    except OSError:
        return False
    return True


def _test_curve_epochs(run: Path, split_sha256: str) -> int:
    """Return after how many epochs a run measured the test part of this split, as its log says."""
    events = list(_json_lines(run / LOG))
    start = events[0] if events else {}
    if not start.get("test_curve") or start.get("split_sha256") != split_sha256:
        return 0
    return sum(event.get("event") == _TEST_CURVE for event in events)


def _json_lines(path: Path) -> Iterator[dict[str, Any]]:
    for line in _lines(path):
        try:
            value = parse_json(line)
        except ValueError:
            continue
        if isinstance(value, dict):
            yield value


def _lines(path: Path) -> Iterable[bytes]:
    try:
        return path.read_bytes().splitlines()
    except OSError:
        return ()
