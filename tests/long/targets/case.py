"""One case of the fuzzer: a mutated sample, read in this process, and what came of it."""

import os
import random
import shutil
import sys
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.long.mutations import mutated, mutated_json
from thorax.errors import ThoraxError
from thorax.quoting import visible_lines

Reader = Callable[[Path], object]
"""Reads a file, or raises a `ThoraxError`."""

LONGEST_MESSAGE = 4000
"""Characters of a message, with its paths."""

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
HARMLESS = ("/dev/null", "/dev/shm/", "/proc/self/")
CHANGES = {
    "os.mkdir": 0,
    "os.rename": 1,
    "os.link": 1,
    "os.symlink": 1,
    "os.remove": 0,
    "os.rmdir": 0,
    "os.chmod": 0,
}
"""Audit events that change a path, and the argument that is this path."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the cases of a kind read and write.

    Attributes:
        corpus: The folder of the samples.
        out: A folder for this process, in which alone it may write.
        seed: The seed of the whole run.
        kind: The kind.
    """

    corpus: Path
    out: Path
    seed: int
    kind: str


Context = tuple[str, str, int]
"""The folder of the samples, the kind, and the seed of the whole run."""

_outside: list[str] = []
_allowed: list[str] = []


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    """Note what is written outside of the folder, and every program or connection."""
    if not _allowed:
        return
    path: Any = None
    if event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING:
        path = arguments[0]
    elif event in CHANGES:
        path = arguments[CHANGES[event]]
    elif event in {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "socket.connect"}:
        _outside.append(f"{event} {arguments[:1]!r:.80}")
        return
    if isinstance(path, str | bytes | os.PathLike):
        name = os.path.abspath(os.fsdecode(path))  # noqa: PTH100
        if not name.startswith((*_allowed, *HARMLESS)):
            _outside.append(f"{event} {name[:80]}")


sys.addaudithook(_watch)
sys.dont_write_bytecode = True
warnings.simplefilter("ignore")


def input_of(place: Place, number: int) -> tuple[str, bytes]:
    """Return the name of a case's sample and its mutated content: the same for the same seed and number."""
    draw = random.Random(f"{place.seed} {place.kind} {number}")
    samples = sorted(path for path in (place.corpus / place.kind).iterdir())
    sample = draw.choice(samples)
    content = sample.read_bytes()
    if sample.suffix == ".json" and draw.random() < 0.5:
        return sample.name, mutated_json(content, draw)
    is_text = sample.suffix in {".json", ".csv", ".txt", ".toml", ".jsonl"}
    return sample.name, mutated(content, draw, is_text=is_text)


def tried(context: Context, number: int, read: Callable[[str], tuple[str, Reader]]) -> dict[str, str]:
    """Read a case, and return what came of it.

    Args:
        context: What the cases of a run have in common.
        number: The number of the case.
        read: Returns, for the name of a sample, under which name the reader expects its file, and the reader.

    Returns:
        "sample", "outcome" (read, refused or failed), and of a failure "where" and "what".
    """
    corpus, kind, seed = context
    place = Place(Path(corpus), Path(corpus, f"{kind}-{os.getpid()}"), seed, kind)
    sample, content = input_of(place, number)
    folder = place.out / "case"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    name, reader = read(sample)
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    _outside.clear()
    _allowed[:] = [str(place.out)]
    said = {"sample": sample, "outcome": "read"}
    try:
        reader(path)
    except ThoraxError as error:
        said |= {"outcome": "refused"} | bad_message(str(error))
    except MemoryError:
        raise
    except BaseException as error:  # noqa: BLE001  (that is what is looked for)
        last = traceback.extract_tb(error.__traceback__)
        ours = [frame for frame in last if "/thorax/" in frame.filename] or list(last)
        where = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}"
        said |= {"outcome": "failed", "where": where, "what": f"{type(error).__name__}: {error}"[:200]}
    finally:
        _allowed.clear()
    if _outside:
        said |= {"outcome": "failed", "where": "outside of its folder", "what": _outside[0]}
    return said


def bad_message(message: str) -> dict[str, str]:
    if len(message) > LONGEST_MESSAGE:
        return {
            "outcome": "failed",
            "where": "message",
            "what": f"{len(message)} characters: {message[:100]!r}",
        }
    if visible_lines(message) != message:
        return {"outcome": "failed", "where": "message", "what": f"control characters: {message[:150]!r}"}
    return {}
