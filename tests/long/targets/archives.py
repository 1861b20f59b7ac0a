"""Archives of downloads: tar.gz and zip."""

import os
from pathlib import Path
from threading import Event

from tests.helpers.downloads import LABELS, part, tar_gz, zipped
from tests.long.targets.case import Context, Reader, tried
from thorax.datasets.download.archive import unpack

os.sync = lambda: None  # whole disks, a hundred times a second


def write_samples(folder: Path) -> None:
    """Write archives of a few images and a label file."""
    files = dict(list(part(1).items())[:4]) | {"Data_Entry_2017_v2020.csv": LABELS.encode()[:500]}
    (folder / "images.tar.gz").write_bytes(tar_gz(files))
    (folder / "images.zip").write_bytes(zipped(files))
    (folder / "stored.zip").write_bytes(zipped(files, compression=0))


def run(context: Context, number: int) -> tuple[dict[str, str], bytes]:
    """Read a case: a task of a `DecodePool`."""
    return tried(context, number, _read), b""


def _read(sample: str) -> tuple[str, Reader]:
    return sample, _unpack


def _unpack(path: Path) -> object:
    labels = ["Data_Entry_2017_v2020.csv"]
    return unpack(path, path.parent / "unpacked", labels=labels, at=lambda _: None, stop=Event())
