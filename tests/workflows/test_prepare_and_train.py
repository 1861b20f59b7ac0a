"""From files to a store to runs, without a process."""

import json
from statistics import mean, stdev

import pytest

from thorax.bundle import load_bundle
from thorax.datasets.phantom import write_phantoms
from thorax.datasets.sources import open_source
from thorax.datasets.splits import registered_sha256
from thorax.errors import DataError, RecipeError
from thorax.recipe.load import Settings, load_recipe
from thorax.store import open_store
from thorax.workflows.predictions import split_of
from thorax.workflows.prepare import prepare
from thorax.workflows.resume import records_test_curve
from thorax.workflows.train import SeedsSummary, train, train_seeds

TINY = (
    "store.size=64", "model.input_size=64", "model.arguments.channels=[8,8,16,16]",
    "training.epochs=2", "training.batch_size=16", "schedule.warmup_epochs=0",
    "data.split=folder-official",
)  # fmt: skip


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "phantoms"
    write_phantoms(folder, patients=60, size=64)
    return folder


@pytest.fixture(scope="module")
def store(phantoms, tmp_path_factory):
    """As text, as a user gives it."""
    return str(prepare(str(phantoms), tmp_path_factory.mktemp("data") / "store", size=64, workers=1).path)


def test_a_store_carries_the_hashes_of_the_registered_splits(phantoms, store):
    source = open_source(phantoms)
    sums = registered_sha256(source.whole, source.dataset)
    assert len(sums) > 1
    assert open_store(store).split_sha256 == sums


def test_a_store_is_said_what_it_is(phantoms, tmp_path):
    calls = []
    made = prepare(phantoms, tmp_path / "store", size=64, workers=1, progress=calls.append)
    images = len(list((phantoms / "images").iterdir()))
    assert (len(made), made.num_rejected, made.preparation.size) == (images, 0, 64)
    assert made.notices == (f"{images} of {images} labeled images are in phantoms",)
    assert open_store(made).notices == ()
    assert (calls[-1].stage, calls[-1].done, calls[-1].total) == ("preparing", images, images)
    shards = {path: path.stat().st_mtime_ns for path in made.path.rglob("*") if path.is_file()}
    again = prepare(phantoms, tmp_path / "store", size=64)
    assert {path: path.stat().st_mtime_ns for path in shards} == shards
    assert again.fingerprint == made.fingerprint


def test_a_recipe_says_how_images_are_prepared(phantoms, tmp_path):
    recipe = tmp_path / "mine.toml"
    recipe.write_text("[store]\nsize = 32\nfit = 'crop'\n")
    with pytest.raises(RecipeError):
        prepare(phantoms, tmp_path / "store", recipe="no such recipe")
    assert not (tmp_path / "store").exists()


def test_seeds_follow_the_recipe_and_their_mean_has_an_sd(store, tmp_path):
    finished, calls = [], []
    summary = train_seeds(
        "small-cpu", store, tmp_path / "runs", seeds=2, settings=(*TINY, "training.seed=5"),
        device="cpu", progress=calls.append, finished=finished.append,
    )  # fmt: skip
    assert [run.folder.name for run in summary.runs] == ["seed-5", "seed-6"]
    assert tuple(finished) == summary.runs
    scores = [
        json.loads((run.folder / "log.jsonl").read_text().splitlines()[-1])["macro_auc"]
        for run in summary.runs
    ]
    assert summary.macro_auc == (mean(scores), stdev(scores))
    assert [call.stage for call in calls if call.done == call.total] == ["epoch 1 of 2", "epoch 2 of 2"] * 2
    assert SeedsSummary(summary.runs[:1]).macro_auc is None
    again = train_seeds(None, store, tmp_path / "runs", seeds=2, device="cpu", resume=True)
    assert again == summary


def test_seeds_that_are_started_later_have_a_test_curve_too(store, tmp_path):
    out = tmp_path / "runs"
    train_seeds("small-cpu", store, out, seeds=1, settings=TINY, device="cpu", record_test_curve=True)
    train_seeds(None, store, out, seeds=2, device="cpu", resume=True)
    assert [records_test_curve(run) for run in sorted(out.iterdir())] == [True, True]


def test_a_run_is_that_of_its_seed_and_is_resumed_only_when_asked(store, tmp_path):
    run = train("small-cpu", store, tmp_path / "run", settings=TINY, device="cpu")
    assert run.bundle == tmp_path / "run" / "bundle"
    with pytest.raises(DataError, match=r"already holds a run; .* `resume`"):
        train("small-cpu", store, tmp_path / "run", settings=TINY, device="cpu")
    assert train("small-cpu", store, run, settings=TINY, device="cpu", resume=True) == run
    # Its own recipe is that of the run: nothing need be repeated, and nothing contradicted.
    for recipe, settings in (
        (None, ()),
        ("small-cpu", ()),
        (None, TINY[:1]),
        (run.folder / "recipe.toml", ()),
    ):
        assert train(recipe, store, run, settings=settings, device="cpu", resume=True) == run
    others: tuple[tuple[str | None, Settings, str], ...] = (
        ("small-cpu", ["training.epochs=25"], r"training\.epochs was 2, is 25; leave out recipe and"),
        (None, {"optim.lr": 0.5}, r"optim\.lr was 0\.002, is 0\.5; leave"),
        ("modern", (), "its recipe is small-cpu, not modern"),
    )
    for other, changes, difference in others:
        with pytest.raises(RecipeError, match=rf"run cannot be resumed with another recipe: {difference}"):
            train(other, store, run, settings=changes, device="cpu", resume=True)
    (tmp_path / "mine.toml").write_text(
        (run.folder / "recipe.toml").read_text().replace("epochs = 2", "epochs = 3")
    )
    with pytest.raises(RecipeError, match=r"training\.epochs was 2, is 3"):
        train(tmp_path / "mine.toml", store, run, device="cpu", resume=True)


def test_a_recipe_is_needed_where_no_run_is(store, tmp_path):
    with pytest.raises(RecipeError, match="a new run needs a recipe, such as small-cpu"):
        train(None, store, tmp_path / "run")
    with pytest.raises(RecipeError, match="run does not hold a run that could be resumed; give a recipe"):
        train(None, store, tmp_path / "run", resume=True)
    assert not (tmp_path / "run").exists()


def test_a_wrong_setting_names_the_right_one(store, tmp_path):
    with pytest.raises(RecipeError, match=r"did you mean optim\.lr\?"):
        train("small-cpu", store, tmp_path / "run", settings=["optim.lrr=1"])
    assert not (tmp_path / "run").exists()


def test_settings_may_be_a_dictionary(store, tmp_path):
    values = dict(setting.split("=", 1) for setting in TINY)
    values |= {"training.epochs": 1, "training.batch_size": 16, "schedule.warmup_epochs": 0}
    values |= {"store.size": 64, "model.input_size": 64, "model.arguments.channels": [8, 8, 16, 16]}
    assert load_recipe("small-cpu", values) == load_recipe("small-cpu", [*TINY, "training.epochs=1"])
    with pytest.raises(RecipeError, match=r"did you mean optim\.lr\?"):
        train("small-cpu", store, tmp_path / "run", settings={"optim.lrr": 1})


def test_recipe_and_store_in_the_wrong_order_are_noticed(store, tmp_path):
    for given in (store, open_store(store)):
        with pytest.raises(RecipeError, match=r"is a store and not a recipe; give the recipe first"):
            train(given, "small-cpu", tmp_path / "run")


def test_the_split_of_a_model_that_learned_from_nih_is_not_that_of_another_data_set(store):
    phantoms, model = open_store(store), load_bundle("starter")
    with pytest.raises(
        DataError, match=r"nih-official of .*another data set, nih-layout; name a split of that"
    ):
        split_of(model, phantoms)
    assert split_of(model, phantoms, "folder-official").name == "folder-official"
