"""What describes a run or an unfinished store at s3://: a few small objects, without weights or pixels."""

import re
from collections.abc import Sequence
from typing import Final

from thorax.atomic_io import is_locked
from thorax.objects.cache import work_path
from thorax.objects.client import Listed
from thorax.objects.place import Place
from thorax.run_files import LOG, RECIPE

__all__ = ["is_trained_here", "records", "telling"]

_TELLING: Final = re.compile(
    rf"(seed-\d+/)?({re.escape(LOG)}|{re.escape(RECIPE)})|seed-\d+/bundle/bundle\.json|plan\.json|pixels-\d+\.json"
)


def records(listed: Sequence[Listed]) -> list[Listed]:
    """Return the objects that describe runs, at any depth."""
    return [each for each in listed if each.name.rpartition("/")[2] in {LOG, RECIPE}]


def telling(listed: Sequence[Listed]) -> list[Listed]:
    """Return the objects that tell about a run, runs of seeds or an unfinished store at a place."""
    return [each for each in listed if _TELLING.fullmatch(each.name)]


def is_trained_here(place: Place) -> bool:
    """Return whether a process of this machine trains the run at a place, alone or as one of seeds."""
    folders = (work_path(place), work_path(place.parent) / place.name)
    return any(folder.is_dir() and is_locked(folder) for folder in folders)
