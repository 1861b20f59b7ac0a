"""The starter: its three radiographs, and the bundle in the package."""

import json
from pathlib import Path

import numpy as np
import pytest

import thorax
from tests.helpers.command import command
from tests.helpers.html import text_of
from thorax import starter
from thorax.bundle import hashed_patients, load_bundle, refuse_seen_patients, seen_images
from thorax.bundle.image_prints import equal_prints, image_prints, near_prints
from thorax.datasets import NIH_DATASET
from thorax.datasets.nih import read_nih
from thorax.datasets.splits import nih_official_test_patients
from thorax.errors import LeakError
from thorax.imaging import image_files, prepare, read_radiograph
from thorax.workflows.explain import explain

ROOT = Path(__file__).parents[1]


def test_the_images_are_those_at_the_root_of_the_repository():
    images = starter.test_images()
    assert [image.path.name for image in images] == [
        "cardiomegaly.png", "hernia-infiltration.png", "mass-nodule.png",
    ]  # fmt: skip
    listed = list(image_files([ROOT / "test-images"], failed=print))
    assert [path.resolve() for path in listed] == [image.path.resolve() for image in images]
    assert [read_radiograph(image.path).pixels.shape for image in images] == [(256,) * 2] * 2 + [(1024,) * 2]


def test_the_starter_was_trained_on_those_of_the_training_list():
    seen = {image.nih_image: image.seen_by_starter for image in starter.test_images()}
    test = nih_official_test_patients()
    assert seen == {name: str(int(name.partition("_")[0])) not in test for name in seen}
    assert sorted(seen.values()) == [False, True, True]


def test_the_images_and_their_titles_are_nihs(nih_sample):
    table = read_nih(nih_sample).table
    rows = table.frame.set_index("image")
    for image in starter.test_images():
        labels = [finding.name for finding in table.findings if rows.loc[image.nih_image, finding.name] == 1]
        assert sorted(labels) == list(image.labels)
        pixels = read_radiograph(image.path).pixels
        copy = read_radiograph(nih_sample / "images" / image.nih_image).pixels
        factor = len(pixels) // len(copy)
        averaged = pixels.reshape(256, factor, 256, factor).mean(axis=(1, 3))
        assert np.abs(averaged - copy).max() <= 1


def test_the_text_beside_them_names_each_file_the_source_and_the_terms():
    text = (ROOT / "test-images" / "README.txt").read_text()
    for image in starter.test_images():
        assert image.path.name in text
        assert image.nih_image in text
        assert image.title in text
    for needed in ("https://nihcc.app.box.com/v/ChestXray-NIHCC", "CVPR 2017", "NIH Clinical Center"):
        assert needed in text


def test_an_installation_without_the_bundle_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(starter, "_HERE", tmp_path)
    with pytest.raises(Exception, match=r"has no bundle\.json, so this installation has no starter; install"):
        starter.folder()


def test_the_bundle_is_a_graph_that_says_what_it_is():
    bundle = load_bundle("starter")
    names = {path.name for path in bundle.folder.iterdir()} - {"__init__.py", "__pycache__", "images"}
    graphs = {file.name for net in bundle.manifest.engines[0].nets for file in net.files}
    assert names == {"bundle.json", "patients.json", "images-seen.bin", bundle.manifest.gate.name, *graphs}
    assert sum((bundle.folder / name).stat().st_size for name in names) <= 16e6
    statement, said = bundle.manifest.statement, bundle.manifest.stated
    assert said.startswith(
        "starter model, 1,382 training and 124 calibration images, out-of-fold mean AUC 0."
    )
    assert said.endswith("): for trying Thorax, not for reading")
    assert statement.out_of_fold.num_images == 1506
    assert statement.test.num_images == 138
    assert statement.prevalence.keys() == set(bundle.manifest.findings)
    assert 0.2 < statement.prevalence["Pneumonia"] < 0.3


def test_it_knows_the_images_that_it_was_trained_on():
    model = thorax.load()
    warned = {image.path.name: bool(model.predict(image.path).warnings) for image in starter.test_images()}
    assert warned == {image.path.name: image.seen_by_starter for image in starter.test_images()}


def test_a_missing_threshold_is_explained_once_at_the_end():
    said = command("predict", *(image.path for image in starter.test_images())).stdout
    assert said.count("n/a: no threshold could be chosen on validation") == 1
    assert said.rstrip().endswith("which usually has too few positives.")


def test_it_remembers_the_pixels_of_each_image_that_it_saw():
    bundle = load_bundle("starter")
    seen = seen_images(bundle)
    assert {part: len(prints) for part, prints in seen.items()} == {"train": 1382, "val": 124}
    images = starter.test_images()
    pixels = np.stack([prepare(read_radiograph(image.path), bundle.manifest.preparation) for image in images])
    prints = image_prints(pixels.__getitem__, np.arange(len(images)))
    equal, near = equal_prints(prints, seen["train"]), near_prints(prints, seen["train"])
    assert near.tolist() == [image.seen_by_starter for image in images]
    # One of the two is in the package as NIH ships it, and was seen as a copy of 256 pixels.
    assert equal.tolist() == [
        near and image.nih_image != "00000004_000.png" for image, near in zip(images, near, strict=True)
    ]


def test_it_saw_the_official_training_part_of_the_sample(nih_sample):
    bundle, table = load_bundle("starter"), read_nih(nih_sample).table
    patients = set(table.patients().patients)
    test = patients & nih_official_test_patients()
    seen = bundle.patients["train"] | bundle.patients["val"]
    assert seen == set(hashed_patients(NIH_DATASET, patients - test).values())
    refuse_seen_patients(bundle, NIH_DATASET, test)
    with pytest.raises(LeakError):
        refuse_seen_patients(bundle, NIH_DATASET, patients)


def test_an_original_and_its_copy_of_256_pixels_give_the_same(shared_data):
    """It learned from copies; what it says of the file that a hospital has differs by at most .03."""
    originals = sorted((shared_data / "nih-originals").glob("*.png"))
    copies = [shared_data / "nih-sample" / "images" / path.name for path in originals]
    model = thorax.load(device="cpu")
    ours, theirs = (
        np.array(
            [[each.probability for each in prediction.findings] for prediction in model.predict_many(files)]
        )
        for files in (originals, copies)
    )
    assert ours.shape == (14, 14)
    assert np.abs(ours - theirs).max() <= 0.03


def test_the_first_command_of_a_new_user():
    done = command("predict", ROOT / "test-images")
    assert done.stdout.startswith(f"{load_bundle('starter').manifest.stated}\n")
    assert "Prevalence" in done.stdout
    assert done.stderr.count("the starter was trained on this image: an example, not a measurement") == 2
    lines = command("predict", ROOT / "test-images", "--json").stdout.splitlines()
    assert [list(json.loads(line)["findings"]) for line in lines] == [
        list(load_bundle("starter").manifest.findings)
    ] * 3


def test_a_map_with_nothing_above_zero_gives_no_advice_that_the_graph_cannot_follow():
    explained = explain(starter.folder(), starter.test_images()[0].path, findings=["Hernia"], device="cpu")
    assert explained.maps[0].place is None
    assert "no location in the image supports Hernia (cam)" in explained.notes
    explanation = thorax.load(device="cpu").explain(starter.test_images()[0].path, "Hernia")
    assert explanation.notes == explained.notes
    assert "Note: no location in the image supports Hernia (cam)." in text_of(explanation._repr_html_())
