"""One service for this machine and one public demonstration, of the golden bundle."""

import pytest

import thorax
from tests.helpers.service import GOLDEN, running


@pytest.fixture(scope="session")
def local():
    with running("--allow-host", "thorax.example.org") as service:
        yield service


@pytest.fixture(scope="session")
def public():
    options = ("--allow-host", "demo.example.org", "--frame-ancestors", "https://frames.example.org")
    with running("--public", *options, "--frame-ancestors", "https://*.example.com:8443") as service:
        yield service


@pytest.fixture(scope="session")
def of_starter():
    """The service that runs without any argument."""
    with running(bundle=None) as service:
        yield service


@pytest.fixture(scope="session")
def model():
    return thorax.load(GOLDEN / "run")


@pytest.fixture(scope="session")
def images():
    """The bytes of the golden phantoms: PNG of several kinds, and one JPEG."""
    return {path.name: path.read_bytes() for path in sorted((GOLDEN / "source").glob("*.*g"))}
