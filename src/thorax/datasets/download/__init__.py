"""Downloading public data sets: over HTTP, resumably, and unpacked safely. Needs no package of an extra."""

from thorax.datasets.download.addresses import DataSource, RemoteFile, load_source
from thorax.datasets.download.connection import Patience
from thorax.datasets.download.data_set import DownloadSummary, download_data_set, terms_of

__all__ = [
    "DataSource",
    "DownloadSummary",
    "Patience",
    "RemoteFile",
    "download_data_set",
    "load_source",
    "terms_of",
]
