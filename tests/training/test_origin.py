"""A run that begins with the backbone of another bundle: what that bundle saw counts as seen."""

import pytest

from thorax.bundle import load_bundle, refuse_seen_patients
from thorax.errors import LeakError
from thorax.training import train
from thorax.training.plan import plan_run


@pytest.fixture(scope="module")
def origin(toy_store, make_recipe, tmp_path_factory):
    """A bundle that was trained on the store's own lists."""
    folder = tmp_path_factory.mktemp("origin") / "run"
    train(make_recipe(training={"epochs": 1}), toy_store, folder)
    return folder


def split_file(store, path, turned):
    """Write a split in which the parts of the store's own lists have other names."""
    frame = store.table.frame
    official = frame["official"].replace("train_val", "train")
    lines = [f"{image},{turned[part]}" for image, part in zip(frame["image"], official, strict=True)]
    path.write_text("\n".join(["image,part", *lines]))
    return f"file:{path}"


def test_the_patients_of_the_first_bundle_travel_along(origin, toy_store, make_recipe, tmp_path):
    recipe = make_recipe(training={"epochs": 1}, model={"weights": f"bundle:{origin}"})
    bundle = load_bundle(train(recipe, toy_store, tmp_path / "run").bundle)
    first = load_bundle(origin)
    assert bundle.trainings[0].started_from == first.sha256
    assert bundle.patients["pretrain"] == first.patients["train"] | first.patients["val"]
    with pytest.raises(LeakError, match="in pretrain"):
        refuse_seen_patients(bundle, toy_store.dataset, ["p0"], by=("pretrain",))


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
