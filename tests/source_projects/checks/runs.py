"""Runs that the commands of the rows made: their logs, weights and files."""

import json
import math
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from torch import Tensor

from tests.source_projects.rows import Row
from tests.source_projects.workshop import Workshop
from thorax.bundle import load_bundle
from thorax.recipe.load import load_recipe
from thorax.training.logbook import read_log


def folder(row: Row, workshop: Workshop) -> Path:
    """Run the commands; return the folder of the last run that they name."""
    workshop.show(row)
    *_, out = [match[1] for line in row.run if (match := re.search(r"thorax train .*--out (\S+)", line))]
    return workshop.folder / out


def events(run: Path, kind: str) -> list[dict[str, Any]]:
    """The events of one kind in a run's log."""
    return [event for event in read_log(run / "log.jsonl") if event["event"] == kind]


def trained(row: Row, workshop: Workshop) -> None:
    """Steps with finite losses, and a bundle whose weights moved."""
    run = folder(row, workshop)
    steps = events(run, "steps")
    assert steps[-1]["step"] >= 2
    assert all(math.isfinite(event["loss"]) for event in steps)
    bundle = load_bundle(run)
    assert len(bundle.findings) == row.source.get("findings", 14)
    (member,) = bundle.manifest.members
    words = row.run[-1].split()
    assert member.model.backbone == load_recipe(words[2]).model.backbone


def trained_from_scratch(row: Row, workshop: Workshop) -> None:
    """As above; the shipped recipe asks for no weights, and the run started from none."""
    assert load_recipe(row.recipe).model.weights == "none"
    trained(row, workshop)
    (start,) = events(folder(row, workshop), "start")
    assert start["started_from"] is None


def started_from_weights(row: Row, workshop: Workshop) -> None:
    """With a learning rate of nearly zero the backbone stays that of the first run; the head is new."""
    run = folder(row, workshop)
    first, second = (weights(path) for path in (workshop.folder / "runs" / "effnet", run))
    learned = [name for name in first if name.startswith("backbone.") and name.endswith("weight")]
    assert learned
    for name in learned:
        assert (first[name] - second[name]).abs().max() < 1e-6
    assert (first["head.weight"] - second["head.weight"]).abs().max() > 1e-3
    (start,) = events(run, "start")
    assert start["started_from"] is not None


def only_the_last_block_learned(row: Row, workshop: Workshop) -> None:
    """Every tensor of the last block changed, and none of those before it, statistics included."""
    run = folder(row, workshop)
    before, after = (weights(path) for path in (workshop.folder / "runs" / "dannynet", run))
    changed = {
        name
        for name in before
        if name.startswith("backbone.features.") and not before[name].equal(after[name])
    }
    last = f"backbone.features.{row.source['trained']}."
    assert {name for name in before if name.startswith(last)} <= changed
    for block in row.source["frozen"]:
        named = {name for name in before if name.startswith(f"backbone.features.{block}.")}
        assert named
        assert not named & changed


def unfrozen(row: Row, workshop: Workshop) -> None:
    """The last stage learned, then the one before it and the one before that; the first stayed."""
    run = folder(row, workshop)
    before, after = (weights(path) for path in (workshop.folder / "runs" / "effnet", run))
    changed = {name for name in before if not before[name].equal(after[name])}

    def learned(stage: str) -> bool:
        names = {name for name in before if name.startswith(f"backbone.{stage}") and name.endswith("weight")}
        assert names
        assert names <= changed or not names & changed
        return names <= changed

    stages = ["conv_stem", *(f"blocks.{number}." for number in range(5)), "conv_head"]
    assert [learned(stage) for stage in stages] == [False] * 3 + [True] * 4
    assert len(events(run, "epoch")) == 3


def stopped_early(row: Row, workshop: Workshop) -> None:
    """The run ended right after its first epoch without a better loss, before the last one."""
    run = folder(row, workshop)
    losses = [event["val_loss"] for event in events(run, "epoch")]
    (end,) = events(run, "end")
    assert end["stopped_early"]
    assert len(losses) == end["epochs"] < load_recipe(str(run / "recipe.toml")).training.epochs
    assert losses[-1] >= min(losses[:-1])
    assert all(later < earlier for earlier, later in pairwise(losses[:-1]))


def best_epoch_kept(row: Row, workshop: Workshop) -> None:
    """The bundle has the epoch with the lowest loss on validation."""
    run = folder(row, workshop)
    losses = [event["val_loss"] for event in events(run, "epoch")]
    (end,) = events(run, "end")
    assert end["selected_epoch"] == losses.index(min(losses)) + 1 < len(losses)
    kept = weights(run)
    best = load_file(run / "checkpoints" / "best.safetensors")
    assert any(
        tensor.equal(kept["head.weight"]) for name, tensor in best.items() if name.endswith("head.weight")
    )


def loss_logged(row: Row, workshop: Workshop) -> None:
    """Each epoch has the mean loss of its steps."""
    run = folder(row, workshop)
    epochs, steps = events(run, "epoch"), events(run, "steps")
    assert len(epochs) == load_recipe(str(run / "recipe.toml")).training.epochs
    # One summary covers at most 20 steps, which these epochs do not have.
    assert [event["train_loss"] for event in epochs] == pytest.approx([event["loss"] for event in steps])


def lr_logged(row: Row, workshop: Workshop) -> None:
    """Each epoch has its learning rate, of a cosine that has begun to fall."""
    run = folder(row, workshop)
    peak = load_recipe(str(run / "recipe.toml")).optim.lr
    rates = [event["lr"] for event in events(run, "epoch")]
    assert rates
    assert all(0 < rate < peak for rate in rates)


def five_seeds(row: Row, workshop: Workshop) -> None:
    """Five runs with consecutive seeds, and five bundles of different weights."""
    run = folder(row, workshop)
    first = row.source.get("seed", 0)
    assert sorted(path.name for path in run.iterdir()) == [f"seed-{first + number}" for number in range(5)]
    heads = [weights(path) for path in sorted(run.iterdir())]
    names = [name for name in heads[0] if name.startswith("head") and name.endswith("weight")]
    assert names
    assert all(not heads[0][name].equal(other[name]) for other in heads[1:] for name in names)


def tuned(row: Row, workshop: Workshop) -> None:
    """As many trials as asked for; the best is an ordinary recipe, which differs from the shipped one."""
    workshop.show(row)
    study = workshop.folder / "studies" / "chestxpert"
    best = study / "best.toml"
    recipe = load_recipe(str(best))
    assert recipe != load_recipe("chestxpert")
    assert recipe.model.backbone == load_recipe("chestxpert").model.backbone
    numbers = set(re.findall(r"(?m)^trial (\d+) (?!of )", workshop.show(row)))
    assert numbers == {str(number) for number in range(row.source["trials"])}


def losses_printed(row: Row, workshop: Workshop) -> None:
    """One line per epoch, with the losses that the log has."""
    printed = workshop.show(row)
    for event in events(folder(row, workshop), "epoch"):
        losses = rf"{event['train_loss']:.4f} +{event['val_loss']:.4f} "
        assert re.search(rf"(?m)^epoch {event['epoch']}/2 +{losses}", printed)


def accuracy_logged(row: Row, workshop: Workshop) -> None:
    """The accuracy of each label is a share of the validation images."""
    run = folder(row, workshop)
    (start,) = events(run, "start")
    for event in events(run, "epoch"):
        assert len(event["accuracy"]) == row.source["labels"]
        for accuracy in event["accuracy"].values():
            right = accuracy * start["val_images"]
            assert 0 <= accuracy <= 1
            assert right == pytest.approx(round(right), abs=1e-6)
        others = [value for name, value in event["accuracy"].items() if name != "No Finding"]
        assert event["macro_accuracy"] == pytest.approx(sum(others) / len(others))


def no_pickle(row: Row, workshop: Workshop) -> None:
    """No file of the bundle is a pickle, in torch's format or alone."""
    bundle = folder(row, workshop) / "bundle"
    beginnings = {path.name: path.read_bytes()[:2] for path in bundle.iterdir()}
    assert beginnings
    assert not {
        name for name, beginning in beginnings.items() if beginning in {b"PK", b"\x80\x02", b"\x80\x04"}
    }
    assert json.loads((bundle / "bundle.json").read_text())["members"][0]["weights"] == "weights.safetensors"


def weights(run: Path) -> dict[str, Tensor]:
    """The tensors of a run's bundle."""
    return load_file(run / "bundle" / "weights.safetensors")
