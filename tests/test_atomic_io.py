import hashlib

import pytest

from thorax.atomic_io import (
    atomic_write,
    canonical_json,
    refuse_existing,
    sha256_of_file,
    sha256_of_lines,
    write_json,
)
from thorax.errors import DataError


def test_an_error_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "value.json"
    write_json(path, {"a": 1})
    before = path.read_bytes()
    with pytest.raises(UnicodeEncodeError), atomic_write(path) as temporary:
        temporary.write_text("half of it, and then \udc80", encoding="utf-8")
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["value.json"]


def test_nan_is_not_json(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "value.json", {"a": float("nan")})
    assert not list(tmp_path.iterdir())


def test_canonical_json_does_not_depend_on_order():
    assert canonical_json({"b": [1, 2], "a": "ü"}) == '{"a":"ü","b":[1,2]}'.encode()


def test_lines_are_hashed_with_their_ends():
    assert sha256_of_lines(["a", "b"]) == hashlib.sha256(b"a\nb\n").hexdigest()
    assert sha256_of_lines(["ab"]) != sha256_of_lines(["a", "b"])


@pytest.mark.parametrize("size", [0, 1, 1 << 23, (1 << 23) + 1, 20_000_000])
def test_a_file_has_the_checksum_of_its_bytes(tmp_path, size):
    content = bytes(range(251)) * (size // 251 + 1)
    (tmp_path / "file").write_bytes(content[:size])
    assert sha256_of_file(tmp_path / "file") == hashlib.sha256(content[:size]).hexdigest()


def test_nothing_is_overwritten_unless_asked_for(tmp_path):
    file, folder = tmp_path / "card.md", tmp_path / "bundle"
    refuse_existing(file, overwrite=False)
    refuse_existing(folder, overwrite=False, folder=True)
    folder.mkdir()
    (folder / ".killed.1.partial").touch()
    refuse_existing(folder, overwrite=False, folder=True)
    file.touch()
    (folder / "bundle.json").touch()
    with pytest.raises(DataError, match=r"card\.md already exists; .* `overwrite`"):
        refuse_existing(file, overwrite=False)
    with pytest.raises(DataError, match=r"bundle is not empty; .* `overwrite`"):
        refuse_existing(folder, overwrite=False, folder=True)
    refuse_existing(file, overwrite=True)
    refuse_existing(folder, overwrite=True, folder=True)
    with pytest.raises(DataError, match="is a folder; name a file"):
        refuse_existing(folder, overwrite=True)
    with pytest.raises(DataError, match="is a file; give a folder"):
        refuse_existing(file, overwrite=True, folder=True)
