"""A small bundle with thresholds that a model is opened from, and an image for it."""

import numpy as np
import pytest
import torch
from PIL import Image

from tests.helpers.study import make_study
from tests.helpers.toy_bundle import MODEL, NAMES, REFERENCE, images, new_bundle
from thorax.bundle import OperatingPoints, write_bundle
from thorax.exporting import export_float32
from thorax.models import build_classifier
from thorax.workflows.evaluate import evaluate


@pytest.fixture(scope="session")
def bundle(tmp_path_factory):
    """With an exported net and a threshold of 0.5 for two of its three findings."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model")
    plain = new_bundle(folder / "plain", build_classifier(MODEL, len(NAMES)), MODEL)
    points = OperatingPoints(rule="one-half", thresholds={"Mass": 0.5, "Nodule": 0.5}, chosen_on=REFERENCE)
    manifest = plain.manifest.model_copy(update={"operating_points": points})
    written = write_bundle(folder / "bundle", manifest, weights=plain.weights, patients={})
    return export_float32(written, images(4), compared_on=REFERENCE)


@pytest.fixture(scope="session")
def scene():
    """A radiograph's worth of gray values."""
    return images(1, 120)[0]


@pytest.fixture(scope="session")
def png(scene, tmp_path_factory):
    path = tmp_path_factory.mktemp("png") / "chest.png"
    Image.fromarray(np.asarray(scene)).save(path)
    return path


@pytest.fixture(scope="session")
def study(tmp_path_factory):
    return make_study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="session")
def result(study):
    """The first run, measured with thresholds by one rule."""
    return evaluate(study.run(0), study.store, rules=["youden"], resamples=50, device="cpu")


@pytest.fixture(scope="session")
def report(result, tmp_path_factory):
    """The files of that result."""
    return result.write(tmp_path_factory.mktemp("report") / "out").metrics.parent
