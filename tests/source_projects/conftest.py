"""One folder for all rows of a module; the command line is run as its user runs it."""

from collections.abc import Iterator

import pytest
import torch

from tests.source_projects.workshop import Workshop


@pytest.fixture(scope="module", autouse=True)
def _quick() -> Iterator[None]:
    """Nets this small gain nothing from two threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """A folder in which the commands of the rows run."""
    return Workshop(tmp_path_factory.mktemp("workshop"))
