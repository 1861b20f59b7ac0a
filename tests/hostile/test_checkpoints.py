"""Checkpoints that a stranger made; the names are those of the trials in which each failed."""

import os
import pickle
import subprocess
import sys
import zipfile
from io import BytesIO
from pathlib import Path

import pytest

from thorax.checkpoints.keras_file import read_keras_file
from thorax.checkpoints.safe_pickle import read_pickle
from thorax.checkpoints.weights_file import read_weights_file
from thorax.errors import BundleError


def archive(path, content):
    """A file as `torch.save` writes it, with this pickle."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a/data.pkl", content)
        file.writestr("a/version", "3")
    return path


_READ = """
import sys
from pathlib import Path
from thorax.checkpoints.weights_file import read_weights_file
read_weights_file(Path(sys.argv[1]))
"""


def test_deeptuple_key_small(tmp_path):
    """Hashing a tuple nested 150,000 deep ended the process with a segmentation fault."""
    deep = b"\x80\x02}(" + b")" + b"\x85" * 150_000 + b"K\x01u."
    file = archive(tmp_path / "deep.pth", deep)
    done = subprocess.run([sys.executable, "-c", _READ, file], capture_output=True, text=True, check=False)
    assert done.returncode == 1  # an exception, not a signal
    assert "BundleError" in done.stderr
    assert "a key or member that is a tuple" in done.stderr


@pytest.mark.parametrize(
    "value",
    [
        {(1, 2): 0}, {1.5: 0}, {b"a": 0}, {frozenset(): 0}, {1 << 61: 0}, {(1 << 61) - 1: 0},
    ],
    ids=str,
)  # fmt: skip
def test_keys_are_text_and_numbers_alone(value):
    with pytest.raises(BundleError, match="a key or member that is a"):
        read_pickle(BytesIO(pickle.dumps(value, 2)), where="x")


@pytest.mark.usefixtures("ends")
def test_hash_collide(tmp_path):
    """12,000 numbers with one hash took minutes; 100,000 would take hours."""
    prime = (1 << 61) - 1
    colliding = pickle.dumps(dict.fromkeys((k * prime for k in range(2)), 0), 2)
    assert colliding  # such a dict can be made, slowly
    items = b"".join(b"\x8a\x0a" + (k * prime).to_bytes(10, "little") + b"K\x00" for k in range(1, 100_000))
    file = archive(tmp_path / "collide.pth", b"\x80\x02}(" + items + b"u.")
    with pytest.raises(BundleError, match="a key or member that is a int"):
        read_weights_file(file)


def test_what_is_nested_too_deep():
    """Lists within lists, which can also be within themselves."""
    deep = b"\x80\x02" + b"]" * 5000 + b"a" * 4999 + b"."
    with pytest.raises(BundleError, match="something in it is nested more than 500 deep"):
        read_pickle(BytesIO(deep), where="x")
    itself = b"\x80\x02]q\x00h\x00a."
    assert isinstance(read_pickle(BytesIO(itself), where="x").value, list)


def test_an_archive_of_too_many_entries(tmp_path):
    """Two million of them took 20 seconds and a gigabyte."""
    path = archive(tmp_path / "many.pth", pickle.dumps({}, 2))
    content = path.read_bytes()
    end = content.rindex(b"PK\x05\x06")
    start = int.from_bytes(content[end + 16 : end + 20], "little")
    entries = content[start:end] * 80_000
    last = bytearray(content[end:])
    last[12:16] = len(entries).to_bytes(4, "little")
    path.write_bytes(content[:start] + entries + last)
    with pytest.raises(BundleError, match=r"its list of entries has [\d,]+ bytes"):
        read_weights_file(path)


@pytest.mark.usefixtures("ends")
@pytest.mark.parametrize("read", [read_weights_file, read_keras_file])
def test_import_of_a_fifo(tmp_path, read):
    os.mkfifo(tmp_path / "fifo.pth")
    for path in (tmp_path / "fifo.pth", Path("/dev/zero")):
        with pytest.raises(BundleError, match="a pipe, a device or a socket, not a file"):
            read(path)
