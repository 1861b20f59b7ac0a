"""Training in several processes, beside the same training in one."""

import os
import re

import numpy as np
import pytest
import torch

from tests.training.processes import results, steps_of, whole_run
from tests.training.test_train import assert_same_run, log_of
from thorax.bundle import load_bundle
from thorax.errors import RecipeError
from thorax.store import open_store
from thorax.training.batches import PartPixels, training_batches
from thorax.training.checks import refuse_small_batches
from thorax.training.launched import Launched, launched
from thorax.training.pixel_shares import SplitPixels
from thorax.training.plan import plan_run
from thorax.training.ranks import ALONE, Ranks

LAYER_NORMS = {
    "backbone": "convnext_atto",
    "arguments": {"depths": (1, 1, 1, 1), "dims": (8, 16, 16, 16)},
    "drop_path": 0.2,
    "head": {"dropout": 0.2},
}
DRAWN = {"flip": 0.5, "rotate": 10, "translate": 0.1, "contrast": 0.2, "erase": 0.5, "mixup": 0.4}
LOSSES = {
    "bce": {"kind": "bce"},
    "weighted": {"kind": "weighted-bce"},
    "balanced": {"kind": "balanced-bce"},
    "focal": {"kind": "focal"},
    "asymmetric": {"kind": "asymmetric"},
    "auc-margin": {"kind": "auc-margin"},
}


@pytest.fixture(scope="module")
def pair(toy_store_path, make_recipe, tmp_path_factory):
    """The same recipes in one process and in two: outcomes by name."""
    drawn = {"augment": DRAWN, "model": LAYER_NORMS, "optim": {"lr": 3e-3}}
    recipes = {
        name: make_recipe(**drawn, loss=loss, training={"batch_size": 15, "epochs": 1})
        for name, loss in LOSSES.items()
    } | {
        "long": make_recipe(**drawn, training={"ema": 0.9, "gradient_clip": 0.5, "epochs": 3}),
        "norms": make_recipe(),
        "synchronized": make_recipe(training={"sync_batch_norm": True, "epochs": 1}),
        "frozen": make_recipe(freeze={"trained": ["stage4"], "unfreeze_epochs": [1]}),
    }
    out = tmp_path_factory.mktemp("pair") / "outcome"
    (alone,) = results(steps_of, out, toy_store_path, recipes, processes=1)
    both = results(steps_of, out, toy_store_path, recipes)
    return alone, both


@pytest.mark.parametrize("name", [*LOSSES, "long", "synchronized"])
def test_two_processes_learn_what_one_does(name, pair):
    alone, (first, second) = (pair[0][name], [outcome[name] for outcome in pair[1]])
    assert len(alone["losses"]) == len(first["losses"]) > 5
    np.testing.assert_allclose(first["losses"], alone["losses"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(first["after"], alone["after"], rtol=0, atol=1e-3)
    assert not np.array_equal(alone["before"], alone["after"])
    for key, value in first["weights"].items():
        assert np.array_equal(value, second["weights"][key]), key


def test_validation_is_shared_and_exactly_that_of_one_process(pair):
    for name, alone in pair[0].items():
        for outcome in pair[1]:
            assert np.array_equal(outcome[name]["before"], alone["before"])


def test_batch_norm_has_the_statistics_of_each_process_unless_synchronized(pair):
    alone, first = pair[0]["norms"], pair[1][0]["norms"]
    assert abs(first["losses"][0] - alone["losses"][0]) > 1e-4
    kept = [key for key in first["weights"] if key.endswith(("running_mean", "running_var"))]
    assert kept
    for key in kept:  # the means over both are kept
        assert np.array_equal(first["weights"][key], pair[1][1]["norms"]["weights"][key])
    together = pair[1][0]["synchronized"]["weights"]
    for key in kept:
        expected = pair[0]["synchronized"]["weights"][key]
        np.testing.assert_allclose(together[key], expected, rtol=1e-3, atol=1e-4)


def test_frozen_stages_learn_together_once_they_are_unfrozen(pair):
    first, second = (outcome["frozen"]["weights"] for outcome in pair[1])
    assert all(np.array_equal(first[key], second[key]) for key in first)


@pytest.fixture(scope="module")
def drawn_recipe(make_recipe):
    """A recipe that draws in every way, and its run in two processes."""
    return make_recipe(
        augment=DRAWN,
        model={"head": {"dropout": 0.2}, "drop_path": 0.1},
        optim={"lr": 3e-3},
        training={"ema": 0.9, "epochs": 2, "checkpoint_minutes": 0},
    )


@pytest.fixture(scope="module")
def whole(toy_store_path, drawn_recipe, tmp_path_factory):
    """The folders of a run in two processes, one for each; it was not interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    outs = [folder / "run", folder / "elsewhere"]
    ended = results(whole_run, folder / "ended", toy_store_path, drawn_recipe, outs, 0)
    assert ended == ["finished", "finished"]
    return outs


def test_only_the_first_process_writes(whole):
    run, elsewhere = whole
    assert (run / "bundle/bundle.json").is_file()
    assert not elsewhere.exists()
    assert [event["event"] for event in log_of(run)].count("epoch") == 2
    assert (log_of(run)[0]["processes"], log_of(run)[0]["threads"]) == (2, 1)


def test_a_resumed_run_ends_with_the_same_bytes(whole, toy_store_path, drawn_recipe, tmp_path):
    outs = [tmp_path / "run", tmp_path / "elsewhere"]
    run = (toy_store_path, drawn_recipe, outs)
    assert results(whole_run, tmp_path / "ended", *run, 4) == ["TrainingInterrupted"] * 2
    assert results(whole_run, tmp_path / "ended", *run, 4) == ["TrainingInterrupted"] * 2
    assert results(whole_run, tmp_path / "ended", *run, 0) == ["finished", "finished"]
    assert_same_run(tmp_path / "run", whole[0])


def test_a_run_is_resumed_with_another_number_of_processes(whole, toy_store_path, drawn_recipe, tmp_path):
    outs = [tmp_path / "run", tmp_path / "second", tmp_path / "third"]
    run = (toy_store_path, drawn_recipe, outs)
    assert results(whole_run, tmp_path / "ended", *run, 3) == ["TrainingInterrupted"] * 2
    assert results(whole_run, tmp_path / "ended", *run, 5, processes=1) == ["TrainingInterrupted"]
    assert results(whole_run, tmp_path / "ended", *run, 0, processes=3) == ["finished"] * 3
    log, expected = log_of(tmp_path / "run"), log_of(whole[0])
    changes = [(event["processes"], event["step"]) for event in log if event["event"] == "processes"]
    assert changes == [(1, 4), (3, 9)]  # two processes agree to stop one step after it was asked
    losses = [[e["train_loss"] for e in events if e["event"] == "epoch"] for events in (log, expected)]
    np.testing.assert_allclose(losses[0], losses[1], atol=0.05)  # batch norm has other statistics
    assert load_bundle(tmp_path / "run").manifest.name == "toy"


def test_a_process_with_another_store_is_refused(toy_store_path, drawn_recipe, tmp_path):
    ended = results(_with_other_seeds, tmp_path / "ended", toy_store_path, drawn_recipe, tmp_path)
    assert sorted(ended) == ["DataError", "ProcessLost"]


def _with_other_seeds(ranks, launched, store, recipe, folder):
    training = recipe.training.model_copy(update={"seed": ranks.rank})
    other = recipe.model_copy(update={"training": training})
    return whole_run(ranks, launched, store, other, [folder / "run", folder / "other"], 0)


def test_pixels_are_split_among_devices_and_exchanged(toy_store_path, make_recipe, tmp_path):
    recipe = make_recipe(training={"batch_size": 10})
    outcome = results(_split_pixels, tmp_path / "split", toy_store_path, recipe, processes=3)
    assert outcome == [(32, 2 * 9)] * 3  # of 96 images; batches


def _split_pixels(ranks, _launched, store, recipe):
    """Return the number of images that this process keeps, and of batches with the same pixels."""
    part, device = plan_run(recipe, open_store(store)).train, torch.device("cpu")
    same, pixels = 0, (SplitPixels(part, device, ranks), PartPixels(part, device))
    for mixed in (False, True):
        order = {"seed": 1, "epoch": 0, "batch_size": 10, "ranks": ranks, "mixed": mixed}
        split, whole = (training_batches(part, each, recipe.data, **order) for each in pixels)
        same += sum(torch.equal(one.pixels, other.pixels) for one, other in zip(split, whole, strict=True))
    return len(pixels[0]._resident), same


def test_processes_agree_at_the_same_call_on_what_one_of_them_says(tmp_path):
    answers = results(_two_questions, tmp_path / "answers")
    assert answers == [[False, False, True, False, False, True]] * 2


def _two_questions(ranks, _launched):
    """Return the answers to six calls; the second is true in the last process, and the fifth in the first."""
    return [ranks.any_lately((ranks.rank, call) in ((1, 1), (0, 4))) for call in range(6)]


def test_a_process_alone_knows_at_once():
    assert ALONE.any_lately(True)
    assert not ALONE.any_lately(False)


class TestShares:
    def test_they_are_all_in_order_and_differ_by_one(self):
        ranks = Ranks()
        ranks.size = 3
        assert ranks.shares(8) == [slice(0, 2), slice(2, 5), slice(5, 8)]
        assert ranks.shares(2) == [slice(0, 0), slice(0, 1), slice(1, 2)]
        ranks.rank = 1
        assert ranks.share(8) == slice(2, 5)

    def test_a_batch_has_two_images_for_each_process(self):
        refuse_small_batches(4, 2)
        refuse_small_batches(2, 1)
        with pytest.raises(RecipeError, match=re.escape("set training.batch_size=6 or higher")):
            refuse_small_batches(5, 3)


class TestLaunched:
    def test_a_process_by_itself(self):
        assert launched({}) is None
        assert launched({"WORLD_SIZE": "1", "RANK": "0"}) is None

    def test_one_of_several(self):
        numbers = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}
        elastic = {"TORCHELASTIC_RUN_ID": "job", "TORCHELASTIC_RESTART_COUNT": "2"}
        assert launched(numbers) == Launched(5, 8, 1, 4)
        assert launched(numbers | elastic) == Launched(
            5, 8, 1, 4, job="job", restarts=2, starter=os.getppid()
        )
        started = launched(numbers | elastic | {"THORAX_LAUNCHER": "77"})
        assert (started.by_thorax, started.starter, started.job) == (True, 77, "")
        assert not launched(numbers).is_first

    def test_half_an_environment_is_refused(self):
        with pytest.raises(RecipeError, match=r"WORLD_SIZE is '4' in the environment, but RANK is ''"):
            launched({"WORLD_SIZE": "4"})
