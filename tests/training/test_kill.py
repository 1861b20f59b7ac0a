"""`kill -9` anywhere: the resumed run ends as one that was never stopped."""

import multiprocessing
import random
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.helpers.html import tags_of
from thorax.arrays import Probabilities
from thorax.bundle import load_bundle
from thorax.inference.predictor import Predictor
from thorax.inference.torch_engine import TorchEngine
from thorax.recipe.schema import Recipe
from thorax.store import open_store
from thorax.training import train
from thorax.training.logbook import TIME_FIELDS, read_log

KILLS = 10


def train_here(store: Path, recipe: str, out: Path) -> None:
    torch.set_num_threads(1)
    train(Recipe.model_validate_json(recipe), open_store(store), out, resume=True, device="cpu")


def content(run: Path) -> dict[str, object]:
    """Return every file of a run but its page, which has times; the log without its times."""
    log = run / "log.jsonl"
    files: dict[str, object] = {
        str(path.relative_to(run)): path.read_bytes()
        for path in sorted(run.rglob("*"))
        if path.is_file() and path not in {log, run / "report.html"}
    }
    return files | {
        "log": [{k: v for k, v in event.items() if k not in TIME_FIELDS} for event in read_log(log)]
    }


def predictions(run: Path) -> Probabilities:
    """Return what the run's bundle says of some noise."""
    bundle = load_bundle(run)
    pixels = np.random.default_rng(0).integers(0, 256, (8, 32, 32), dtype=np.uint8)
    return Predictor(bundle, TorchEngine(bundle, device="cpu")).probabilities(pixels)


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_ends_the_same(toy_store_path, make_recipe, tmp_path):
    # A server that has imported torch forks the runs: each would otherwise begin with seconds of importing.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["thorax.training", "thorax.models"])
    recipe = make_recipe(
        augment={"flip": 0.5, "rotate": 10, "mixup": 0.3},
        model={"head": {"dropout": 0.2}},
        training={"epochs": 8, "ema": 0.9, "checkpoint_minutes": 0},
        optim={"kind": "adamw", "lr": 3e-3},
        schedule={"kind": "cosine", "warmup_epochs": 1},
        early_stopping={"patience": 3},
    ).model_dump_json()

    def start(out: Path) -> multiprocessing.context.ForkServerProcess:
        process = context.Process(target=train_here, args=(toy_store_path, recipe, out))
        process.start()
        return process

    start(tmp_path / "first").join()  # the server's imports
    began = time.monotonic()
    whole = start(tmp_path / "whole")
    whole.join()
    took = time.monotonic() - began
    assert whole.exitcode == 0

    expected = content(tmp_path / "whole")
    moments = random.Random(0)
    kills = runs = 0
    out = tmp_path / "killed-0"
    while kills < KILLS:
        process = start(out)
        process.join(moments.uniform(0, 0.16) * took)
        process.kill()
        process.join()
        if process.exitcode == -signal.SIGKILL:
            kills += 1
            for page in out.glob("report.html"):  # whole, whenever it is read
                assert "section" in tags_of(page.read_text())
        else:  # it ended before the blow: it must be whole, and another run takes the remaining ones
            assert process.exitcode == 0
            assert content(out) == expected
            runs += 1
            out = tmp_path / f"killed-{runs}"
    last = start(out)
    last.join()

    assert last.exitcode == 0
    assert content(out) == expected
    assert np.array_equal(predictions(out), predictions(tmp_path / "whole"))
