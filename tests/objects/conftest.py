"""A server of the S3 protocol, and an environment that knows no other."""

import pytest

from tests.helpers.s3_server import s3_server
from thorax.objects import client


@pytest.fixture
def server():
    with s3_server() as running:
        running.buckets["data"] = {}
        yield running


@pytest.fixture(autouse=True)
def environment(request, tmp_path, monkeypatch):
    """The server's address, credentials, and a cache for this test alone."""
    running = request.getfixturevalue("server")
    for name, value in {
        "AWS_ENDPOINT_URL": running.endpoint,
        "AWS_ACCESS_KEY_ID": "somebody",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        "THORAX_CACHE": str(tmp_path / "cache"),
    }.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "THORAX_CACHE_GB"):
        monkeypatch.delenv(name, raising=False)
    client._storage.cache_clear()
    yield
    client._storage.cache_clear()
