import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.helpers.toy_bundle import MODEL, NAMES, REFERENCE, images, new_bundle
from thorax.bundle import write_bundle
from thorax.exporting import export_float32
from thorax.models import build_classifier


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    torch.manual_seed(0)
    return new_bundle(tmp_path_factory.mktemp("bundle") / "plain", build_classifier(MODEL, len(NAMES)), MODEL)


@pytest.fixture(scope="module")
def bundle(plain):
    """The same with one."""
    copy = write_bundle(
        plain.folder.parent / "exported", plain.manifest, weights=plain.weights, patients=plain.patients
    )
    return export_float32(copy, images(4), compared_on=REFERENCE)


@pytest.fixture
def copy(bundle, tmp_path):
    return Path(shutil.copytree(bundle.folder, tmp_path / "copy"))


@pytest.fixture(scope="module")
def png(tmp_path_factory):
    path = tmp_path_factory.mktemp("png") / "chest.png"
    Image.fromarray(images(1, 120)[0]).save(path)
    return path
