"""A run that begins with the backbone of another bundle: what that bundle saw counts as seen."""

import pytest

from thorax.bundle import load_bundle, refuse_seen_patients
from thorax.errors import LeakError
from thorax.inference.ensemble import validation_part
from thorax.training import train
from thorax.training.plan import plan_run


@pytest.fixture(scope="module")
def origin(toy_store, make_recipe, tmp_path_factory):
    """A bundle that was trained on the store's own lists."""
    folder = tmp_path_factory.mktemp("origin") / "run"
    train(make_recipe(training={"epochs": 1}), toy_store, folder)
    return folder


def split_file(store, path, turned):
    """Write a split in which the parts of the store's own lists have other names, or are left out."""
    frame = store.table.frame
    official = frame["official"].replace("train_val", "train")
    images = zip(frame["image"], official, strict=True)
    lines = [f"{image},{turned[part]}" for image, part in images if part in turned]
    path.write_text("\n".join(["image,part", *lines]))
    return f"file:{path}"


def test_the_patients_of_the_first_bundle_travel_along(origin, toy_store, make_recipe, tmp_path):
    recipe = make_recipe(training={"epochs": 1}, model={"weights": f"bundle:{origin}"})
    bundle = load_bundle(train(recipe, toy_store, tmp_path / "run").bundle)
    first = load_bundle(origin)
    assert bundle.trainings[0].started_from == first.sha256
    assert bundle.patients == {**first.patients, "pretrain": first.patients["train"]}
    with pytest.raises(LeakError, match="in pretrain"):
        refuse_seen_patients(bundle, toy_store.dataset, ["p0"], by=("pretrain",))


def test_a_chain_of_bundles_chooses_on_the_same_patients_and_remembers_all(
    origin, toy_store, make_recipe, tmp_path
):
    validation = sorted(load_bundle(origin).patients["val"])
    run = origin
    for number in (2, 3):
        recipe = make_recipe(training={"epochs": 1}, model={"weights": f"bundle:{run}"})
        run = tmp_path / f"run-{number}"
        train(recipe, toy_store, run)
    # `calibrate` and `export --int8` refuse whom anything learnt from, not whom choices were made on.
    assert sorted(load_bundle(run).patients["val"]) == validation
    validation_part(load_bundle(run), toy_store, None)


def test_what_the_first_bundle_chose_by_is_never_measured(origin, toy_store, make_recipe, tmp_path):
    others = split_file(toy_store, tmp_path / "split.csv", {"train": "train", "test": "val"})
    recipe = make_recipe(
        training={"epochs": 1}, model={"weights": f"bundle:{origin}"}, data={"split": others}
    )
    bundle = load_bundle(train(recipe, toy_store, tmp_path / "run").bundle)
    frame = toy_store.table.frame
    chosen_by = frame["patient"][frame["official"] == "val"]
    with pytest.raises(LeakError, match="in val"):
        refuse_seen_patients(bundle, toy_store.dataset, chosen_by)


@pytest.mark.parametrize(
    ("turned", "seen"),
    [
        ({"train": "val", "val": "train", "test": "test"}, "in train"),
        ({"train": "train", "val": "test", "test": "val"}, "in val"),
    ],
)
def test_a_backbone_that_saw_what_must_stay_unseen_is_refused(
    origin, toy_store, make_recipe, tmp_path, turned, seen
):
    split = split_file(toy_store, tmp_path / "split.csv", turned)
    recipe = make_recipe(model={"weights": f"bundle:{origin}"}, data={"split": split})
    with pytest.raises(LeakError, match=seen):
        plan_run(recipe, toy_store)
