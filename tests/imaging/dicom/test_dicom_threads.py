"""Threads that read DICOM files side by side."""

import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pydicom
import pytest

from tests.helpers.dicom_writing import dataset, to_bytes
from thorax.imaging.dicom import read_dicom


@pytest.fixture(scope="module")
def odd():
    """A file that pydicom remarks on: more pixel data than pixels."""
    image = dataset(np.arange(64 * 64, dtype=np.uint16).reshape(64, 64), bits=12)
    image.PixelData += bytes(64)
    data = to_bytes(image)
    with pytest.warns(UserWarning, match="pixel data"):
        _ = pydicom.dcmread(pydicom.filebase.DicomBytesIO(data)).pixel_array
    return data


def test_odd_files_give_no_warning_in_any_thread_and_filters_are_as_they_were(odd):
    before = list(warnings.filters)
    with ThreadPoolExecutor(4) as pool:
        read = list(pool.map(lambda _: read_dicom(odd, "odd").pixels.shape, range(100)))
    assert read == [(64, 64)] * 100
    assert warnings.filters == before


def test_a_filter_that_another_thread_sets_meanwhile_stays(odd):
    finished = threading.Event()

    def read():
        while not finished.is_set():
            read_dicom(odd, "odd")

    with warnings.catch_warnings(), ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        for line in range(1, 101):
            warnings.filterwarnings("ignore", category=ResourceWarning, lineno=line)
            read_dicom(odd, "odd")
        finished.set()
        for reader in readers:
            reader.result()
        lines = {line for _, _, category, _, line in warnings.filters if category is ResourceWarning}
        assert lines >= set(range(1, 101))
    with pytest.warns(UserWarning, match="pixel data"):
        _ = pydicom.dcmread(pydicom.filebase.DicomBytesIO(odd)).pixel_array
