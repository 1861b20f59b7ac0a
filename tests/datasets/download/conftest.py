"""A server with a data set, and a place to download it to."""

from types import SimpleNamespace

import pytest

from tests.helpers.downloads import LABELS, part, tar_gz
from tests.helpers.file_server import file_server


@pytest.fixture
def server():
    with file_server() as running:
        yield running


@pytest.fixture
def place(server, tmp_path):
    """A server with three archives and their label file, as NIH has them, and a folder to download to."""
    server.files["labels"] = LABELS.encode()
    for number in (1, 2, 3):
        server.files[f"{number}.gz"] = tar_gz(part(number))
    return SimpleNamespace(server=server, dest=tmp_path / "nih", toml=tmp_path / "addresses.toml")
