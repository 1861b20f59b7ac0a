"""A bundle to change, and a command that must end."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.helpers.toy_bundle import MODEL, NAMES, REFERENCE, images, new_bundle
from thorax.bundle.writing import copy_bundle
from thorax.exporting import export_float32
from thorax.models import build_classifier

WAIT = 60
"""Seconds; what reads a pipe would never end."""


@pytest.fixture(scope="session")
def sound(tmp_path_factory):
    """A bundle with weights and an exported graph, and nothing wrong."""
    torch.manual_seed(0)
    bundle = new_bundle(
        tmp_path_factory.mktemp("sound") / "bundle", build_classifier(MODEL, len(NAMES)), MODEL
    )
    return export_float32(bundle, images(4), compared_on=REFERENCE)


@pytest.fixture
def folder(sound, tmp_path):
    """A copy of its folder."""
    return copy_bundle(sound, tmp_path / "bundle").folder


@pytest.fixture(scope="session")
def png(tmp_path_factory):
    path = tmp_path_factory.mktemp("png") / "chest.png"
    Image.fromarray(images(1, 120)[0]).save(path)
    return path


@pytest.fixture
def thorax():
    """Run the command line; it must end by itself."""

    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "thorax", *map(str, arguments)],
            capture_output=True, text=True, check=False, timeout=WAIT,
        )  # fmt: skip

    return run


@pytest.fixture
def ends():
    """Interrupt what does not end by itself."""

    def stop(*_):
        raise TimeoutError

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(WAIT)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
