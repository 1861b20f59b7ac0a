"""`kill -9` at random moments: started again, a run ends with the same bytes, and nothing is lost or doubled.

`make kills`, or `python -m tests.long.kills prepare --count 1000 --seed 7`. Runs of one kind are started and
killed; with `processes`, which trains in two, one of these or what started them. Each goes on in the folder
of the last one until a run ends; its folder is then compared with that of a run that was never stopped, and
the next run begins a new folder.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.helpers.downloads import addresses, tar_gz
from tests.helpers.file_server import FileServer, asked_range, etag, file_server

COUNTS = {"prepare": 400, "download": 400, "train": 150, "tune": 50, "processes": 50}
"""Kills of each kind, unless `--count` says otherwise."""

SHARE = {"prepare": 1.0, "download": 0.5, "train": 0.3, "tune": 0.3, "processes": 1.0}
"""The latest moment of a kill, as a share of a whole run: later ones would find most runs at their end."""

Content = dict[str, Any]


# ---- what is killed ------------------------------------------------------------------------------


def prepare_source(work: Path) -> None:
    """Write 300 images and their CSV."""
    draws, lines = np.random.default_rng(0), ["path,patient,Mass"]
    for number in range(300):
        Image.fromarray(draws.integers(0, 256, (80, 64), np.uint8)).save(work / f"{number}.png")
        lines.append(f"{number}.png,p{number // 2},{number % 2}")
    (work / "labels.csv").write_text("\n".join([*lines, ""]))


def prepare_child(work: Path) -> Callable[[Path], object]:
    from thorax.datasets.sources import read_folder
    from thorax.recipe.schema import Preparation
    from thorax.store.build import build
    from thorax.store.plan import Settings

    source = read_folder(work / "labels.csv")
    settings = Settings(preparation=Preparation(size=32), shard_rows=32)
    return lambda out: build(source, out, settings, workers=2)


def download_source(work: Path, server: FileServer) -> None:
    """Put three archives of images and a label file on the server, which sends the archives slowly."""
    draws = np.random.default_rng(0)
    server.files["labels"] = b"labels"
    for number in (1, 2, 3):
        names = [f"{patient:08}_000.png" for patient in range(100 * number, 100 * number + 100)]
        server.files[f"{number}.gz"] = tar_gz({f"images/{name}": draws.bytes(4_000) for name in names})
        server.behaviors[f"{number}.gz"] = [slowly]

    class Place:
        toml = work / "addresses.toml"

    Place.server = server
    addresses(Place)


def slowly(handler, content: bytes) -> None:
    first = asked_range(handler, content)
    headers = {"Content-Length": str(len(content) - first), "ETag": etag(content)}
    if first:
        headers["Content-Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
    handler.send(206 if first else 200, headers)
    for begin in range(first, len(content), 40_000):
        handler.wfile.write(content[begin : begin + 40_000])
        time.sleep(0.02)


def download_child(work: Path) -> Callable[[Path], object]:
    from thorax.datasets.download import download_data_set, load_source

    return lambda out: download_data_set(load_source("nih", work / "addresses.toml"), out)


def toy_source(work: Path) -> None:
    """Write the toy store, recipe and space of the tests of training and tuning."""
    from tests.training.conftest import toy_recipe, write_toy_source
    from tests.tuning.conftest import SPACE, store_from
    from thorax.recipe.load import write_recipe

    store_from(write_toy_source(work), work / "store")
    (work / "space.toml").write_text(SPACE)
    training = {"epochs": 4, "ema": 0.9, "checkpoint_minutes": 0}
    recipe = toy_recipe(
        training=training,
        augment={"flip": 0.5, "rotate": 10, "mixup": 0.3},
        model={"head": {"dropout": 0.2}},
        optim={"kind": "adamw", "lr": 3e-3},
    )
    write_recipe(recipe, work / "toy.toml")


def train_child(work: Path) -> Callable[[Path], object]:
    from thorax.recipe.load import load_recipe
    from thorax.store import open_store
    from thorax.training import train

    recipe, store = load_recipe(str(work / "toy.toml")), open_store(work / "store")
    return lambda out: train(recipe, store, out, resume=True, device="cpu")


def tune_child(work: Path) -> Callable[[Path], object]:
    from thorax.tuning.tune import tune

    def run(out: Path) -> object:
        return tune(
            str(work / "toy.toml"),
            work / "store",
            out,
            space=work / "space.toml",
            trials=3,
            device="cpu",
            resume=True,
        )

    return run


def processes_child(work: Path) -> Callable[[Path], object]:
    import thorax.training.launcher  # noqa: F401  (seconds, once for all runs)
    from thorax.workflows.train_processes import train_processes

    recipe, store = work / "toy.toml", work / "store"

    def run(out: Path) -> None:
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)  # on which numbers of processes are printed here
        os.dup2(quiet, 2)  # each loss of a process has its message
        code = train_processes(recipe, store, out, processes=2, resume=True, device="cpu")
        assert code == 0

    return run


CHILDREN = {
    "prepare": prepare_child,
    "download": download_child,
    "train": train_child,
    "tune": tune_child,
    "processes": processes_child,
}


def serve_child(kind: str, work: Path) -> None:
    """Give each folder that standard input names a process of its own; importing once saves most of the time.

    A process that has ended keeps its number until its status is asked for, so that a late kill never meets
    another one.
    """
    if kind in {"train", "tune", "processes"}:
        import torch

        torch.set_num_threads(1)
    run = CHILDREN[kind](work)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                run(Path(line.strip()))
                status = 0
            finally:
                os._exit(status)
        print(pid, flush=True)
        sys.stdin.readline()
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


# ---- what must be the same -----------------------------------------------------------------------


def every_file(out: Path) -> Content:
    """Return the bytes of every file, hidden ones included."""
    return {
        str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()
    }


def run_folder(out: Path) -> Content:
    """Return every file of a training run; the log without its times, and not the page, which has them."""
    from thorax.training.logbook import TIME_FIELDS, read_log

    events = [
        {k: v for k, v in event.items() if k not in TIME_FIELDS} for event in read_log(out / "log.jsonl")
    ]
    files = every_file(out) | {"log.jsonl": events}
    assert files.pop("report.html")
    return files


def study(out: Path) -> Content:
    """Return the outcome of every trial that was not interrupted, and the best model and recipe."""
    result = tune_child(out.parent)(out)
    best = result.trial_folder(result.best.number) / "bundle" / "weights.safetensors"
    recipe = result.best_recipe.read_text().splitlines()
    return {
        "trials": [
            (trial.outcome, trial.value, trial.curve, trial.parameters)
            for trial in result.trials
            if trial.outcome != "interrupted"
        ],
        "best": result.best.value,
        "weights": best.read_bytes(),
        "recipe": [line for line in recipe if not line.startswith("#")],  # comments number the trials
    }


CONTENTS: dict[str, Callable[[Path], Content]] = {
    "prepare": every_file,
    "download": every_file,
    "train": run_folder,
    "tune": study,
    "processes": run_folder,
}


# ---- the killing ---------------------------------------------------------------------------------


def children_of(pid: int) -> list[int]:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in path.read_text().split()] if path.exists() else []


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


class Runs:
    """Runs of one kind, each in a process of its own."""

    def __init__(self, kind: str, work: Path) -> None:
        words = [sys.executable, "-m", "tests.long.kills", "--child", kind, "--work", str(work)]
        self._server = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def begin(self, out: Path) -> int:
        """Begin a run and return its process id."""
        return int(self._say(f"{out}"))

    def end(self) -> int:
        """Wait for its end and return its status."""
        return int(self._say(""))

    def _say(self, line: str) -> str:
        assert self._server.stdin
        assert self._server.stdout
        self._server.stdin.write(f"{line}\n")
        self._server.stdin.flush()
        answer = self._server.stdout.readline()
        if not answer:
            raise SystemExit("the process that starts the runs has died; its message is above")
        return answer

    def close(self) -> None:
        self._server.kill()
        self._server.wait()


@dataclass
class Tally:
    """What happened to the runs of one kind."""

    kills: int = 0
    folders: int = 0
    later: int = 0  # kills that came after the end


def kill_runs(kind: str, work: Path, *, count: int, seed: int) -> Tally:
    """Kill runs at random moments; stop with a message at the first that does not end as it should."""
    moments, tally, content = random.Random(seed), Tally(), CONTENTS[kind]
    runs = Runs(kind, work)
    try:
        runs.begin(work / "first")  # what is imported only now does not count
        check(runs.end() == 0, f"{kind}: a run that nobody kills does not end")
        runs.begin(work / "whole")
        begun = time.monotonic()
        check(runs.end() == 0, f"{kind}: a run that nobody kills does not end")
        duration = time.monotonic() - begun
        expected = content(work / "whole")
        while tally.kills < count:
            out = work / f"killed-{tally.folders}"
            if kill_once(runs, out, moments, latest=SHARE[kind] * duration, any_of=kind == "processes"):
                tally.kills += 1
                continue
            tally.later += 1
            compare(kind, content(out), expected, out)
            tally.folders += 1
            shutil.rmtree(out)
        out = work / f"killed-{tally.folders}"
        runs.begin(out)
        check(runs.end() == 0, f"{kind}: the last run, in {out}, does not end")
        compare(kind, content(out), expected, out)
        tally.folders += 1
    finally:
        runs.close()
    return tally


def kill_once(runs: Runs, out: Path, moments: random.Random, *, latest: float, any_of: bool) -> bool:
    """Start a run and kill it after some seconds; return whether that was before its end.

    Args:
        runs: Starts it.
        out: Its folder.
        moments: Draws when, and whom.
        latest: The latest moment.
        any_of: Whether one of its processes is killed instead, as often as itself.
    """
    pid = runs.begin(out)
    time.sleep(moments.uniform(0, latest))
    workers = children_of(pid)
    victim = moments.choice([pid, *workers]) if any_of else pid
    with suppress(ProcessLookupError):
        os.kill(victim, signal.SIGKILL)
    status = runs.end()
    end = time.monotonic() + 120  # of a machine that may be busy
    while not all(is_gone(worker) for worker in workers):
        check(time.monotonic() < end, f"a process outlives its killed parent: {workers}")
        time.sleep(0.01)
    usual = {0, -signal.SIGKILL} if victim == pid else {0, 1}  # 1: it has lost one of its processes
    check(status in usual, f"a run in {out} ends with {status}; its message is above")
    return status != 0


def compare(kind: str, content: Content, expected: Content, out: Path) -> None:
    differing = sorted(
        name for name in content.keys() | expected.keys() if content.get(name) != expected.get(name)
    )
    check(not differing, f"{kind}: {out} differs from an uninterrupted run in {', '.join(differing)}")


def check(is_so: object, otherwise: str) -> None:
    if not is_so:
        raise SystemExit(otherwise)


@contextmanager
def sources(kind: str, work: Path) -> Iterator[None]:
    """Write what the runs read; a download's server runs meanwhile."""
    if kind == "prepare":
        prepare_source(work)
    if kind in {"train", "tune", "processes"}:
        toy_source(work)
    if kind != "download":
        yield
        return
    with file_server() as server:
        download_source(work, server)
        yield


def main(arguments: Sequence[str] | None = None) -> None:
    """Kill as the arguments say, and print what was killed and the seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kinds", nargs="*", metavar="kind", help=f"{', '.join(COUNTS)}; default: all")
    parser.add_argument("--count", type=int, help=f"kills of each kind; default: {COUNTS}")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        serve_child(options.child, options.work)
        return
    for kind in options.kinds or COUNTS:
        count, began = options.count or COUNTS[kind], time.monotonic()
        with tempfile.TemporaryDirectory(prefix=f"kills-{kind}-") as folder, sources(kind, Path(folder)):
            tally = kill_runs(kind, Path(folder), count=count, seed=options.seed)
        print(
            f"{kind}: {tally.kills} runs killed (seed {options.seed}), {tally.later} killed after their end; "
            f"{tally.folders} folders, each equal to that of an uninterrupted run; no process left; "
            f"{time.monotonic() - began:.0f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
