import hashlib

import pytest

from thorax.atomic_io import atomic_write, canonical_json, sha256_of_file, sha256_of_lines, write_json


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
