"""The starter: its three radiographs, and the bundle in the package."""

from pathlib import Path

import numpy as np
import pytest

from thorax import starter
from thorax.datasets.nih import read_nih
from thorax.datasets.splits import nih_official_test_patients
from thorax.imaging import image_files, read_radiograph

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
