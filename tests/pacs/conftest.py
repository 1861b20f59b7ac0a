"""The starter as a maker of results."""

import pytest

from thorax import starter
from thorax.bundle import load_bundle
from thorax.inference.engines import open_predictor
from thorax.pacs.maker import open_maker


@pytest.fixture(scope="session")
def maker():
    return open_maker(open_predictor(load_bundle(starter.folder())))
