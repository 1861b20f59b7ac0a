"""Kaggle's key: where it is found, that it reaches Kaggle alone, and that no output ever shows it."""

import gzip
import hashlib
import json
import os
import subprocess
import sys
import traceback
from base64 import b64encode
from pathlib import Path

import pytest

from tests.helpers.downloads import addresses, entry, fetch, part, zipped
from tests.helpers.file_server import file_server, redirecting, status
from thorax.datasets.download import load_source
from thorax.datasets.download.connection import _may_receive_key
from thorax.datasets.download.kaggle_key import find_kaggle_key, missing_key, read_dotenv
from thorax.errors import DataError

SECRET = "0123456789abcdef-secret"
PAIR = f"Basic {b64encode(f'ada:{SECRET}'.encode()).decode()}"


@pytest.fixture
def home(tmp_path):
    (tmp_path / "home" / ".kaggle").mkdir(parents=True)
    (tmp_path / "work").mkdir()
    return tmp_path / "home"


def found(home: Path, **environment: str):
    return find_kaggle_key({"HOME": str(home), **environment}, home.parent / "work")


def test_places_in_their_order(home):
    assert found(home) is None
    (home / ".kaggle" / "access_token").write_text("token-of-file\n")
    assert found(home).header == "Bearer token-of-file"
    (home / ".kaggle" / "kaggle.json").write_text(json.dumps({"username": "ada", "key": "of-json"}))
    assert found(home).header == f"Basic {b64encode(b'ada:of-json').decode()}"
    dotenv = home.parent / "work" / ".env"
    dotenv.write_text("KAGGLE_API_TOKEN=token-of-dotenv")
    assert found(home).header == "Bearer token-of-dotenv"
    dotenv.write_text(f"KAGGLE_API_TOKEN=x\nexport KAGGLE_USERNAME='ada'\nKAGGLE_KEY=\"{SECRET}\" # mine\n")
    assert found(home).header == PAIR
    assert found(home, KAGGLE_API_TOKEN="of-environment").header == "Bearer of-environment"
    both = {"KAGGLE_API_TOKEN": "x", "KAGGLE_USERNAME": "ada", "KAGGLE_KEY": SECRET}
    assert found(home, **both).header == PAIR
    assert found(home, KAGGLE_USERNAME="ada").header == PAIR  # alone it is nothing, and .env is next


def test_kaggles_folder_can_be_elsewhere(home, tmp_path):
    (tmp_path / "kaggle.json").write_text(json.dumps({"username": "ada", "key": SECRET}))
    assert found(home, KAGGLE_CONFIG_DIR=str(tmp_path)).header == PAIR
    (tmp_path / "kaggle.json").rename(home / ".kaggle" / "elsewhere.json")
    (home / ".config" / "kaggle").mkdir(parents=True)
    (home / ".kaggle" / "elsewhere.json").rename(home / ".config" / "kaggle" / "kaggle.json")
    assert found(home).header == PAIR
    assert found(home, KAGGLE_CONFIG_DIR=str(tmp_path)) is None


def test_a_file_that_others_can_read_is_pointed_out(home):
    path = home / ".kaggle" / "kaggle.json"
    path.write_text(json.dumps({"username": "ada", "key": SECRET}))
    path.chmod(0o644)
    assert (
        found(home).warning
        == f"other users of this machine can read your key in {path}; run chmod 600 {path}"
    )
    path.chmod(0o600)
    assert found(home).warning == ""


def test_without_a_key_every_place_is_named(home):
    message = missing_key({"HOME": str(home)}, Path("/project"))
    for place_of_key in (
        "https://www.kaggle.com/settings",
        "KAGGLE_USERNAME with KAGGLE_KEY",
        "KAGGLE_API_TOKEN",
        "/project/.env",
        f"{home}/.kaggle/kaggle.json",
        f"{home}/.config/kaggle/kaggle.json",
    ):
        assert place_of_key in message


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("A=b", "b"),
        ("  export   A = b  ", "b"),
        ("A='b # c' # d", "b # c"),
        ('A="b"', "b"),
        ("A=b#c", "b#c"),
        ("A=b # c", "b"),
        ("A=", ""),
        ("A=# c", ""),
        ("A='b", "'b"),
        ("A=$(touch /tmp/pwned)", "$(touch /tmp/pwned)"),
        ("A=`id`", "`id`"),
        ("A=${HOME}", "${HOME}"),
        ("A=b; rm -rf /", "b; rm -rf /"),
        ("A=1\r\nB=2", "1"),
        ("A=1\nA=2", "2"),
        ("A==b", "=b"),
        ("\ufeffA=b", None),
        ("1A=b", None),
        ("A B=c", None),
        ("exportA=b", None),
        ("#A=b", None),
    ],
)
def test_dotenv_is_parsed_and_never_executed(text, value):
    assert read_dotenv(text).get("A") == value


def test_dotenv_of_64_kb_of_anything_takes_no_time():
    spaces, quotes = "A=" + " " * 65_000 + "x", "A='" + "' " * 30_000
    for text in (spaces, quotes, "export " * 9_000, "=" * 65_000, "A=" + " #" * 30_000):
        read_dotenv(text)  # it would take minutes if an expression backtracked


@pytest.mark.parametrize("value", ["a b", "a\r\nX-Evil: 1", "schlüssel", "\x00", "x" * 5000])
def test_what_cannot_be_a_key_is_refused_without_showing_it(home, value):
    for environment in ({"KAGGLE_API_TOKEN": value}, {"KAGGLE_USERNAME": "ada", "KAGGLE_KEY": value}):
        with pytest.raises(DataError, match="copy it again") as refused:
            found(home, **environment)
        shown = "".join(traceback.format_exception(refused.value))
        assert value not in shown.replace(environment.get("KAGGLE_USERNAME", "-"), "")


@pytest.mark.parametrize(
    "content", ["", "[]", "{", '"text"', '{"username": "ada"}', '{"username": 1, "key": 2}', "[" * 60_000]
)
def test_a_malformed_kaggle_json(home, content):
    (home / ".kaggle" / "kaggle.json").write_text(content)
    with pytest.raises(DataError, match="download it again from"):
        found(home)


def test_what_is_not_a_small_file_is_not_read(home):
    dotenv = home.parent / "work" / ".env"
    os.mkfifo(dotenv)
    with pytest.raises(DataError, match="is not a text file of at most 64 kB"):
        found(home)
    dotenv.unlink()
    dotenv.write_bytes(bytes(70_000))
    with pytest.raises(DataError, match="is not a text file of at most 64 kB"):
        found(home)
    dotenv.unlink()
    dotenv.mkdir()
    with pytest.raises(DataError, match=r"is not a text file|cannot be read"):
        found(home)


def test_the_key_has_no_representation(home):
    key = found(home, KAGGLE_USERNAME="ada", KAGGLE_KEY=SECRET)
    assert "Basic" not in repr(key)
    assert SECRET not in f"{key!r} {key!s} {key.place} {key.warning}"


# ---- where it is sent ----------------------------------------------------------------------------


def kaggle(place, key: str = '"required"'):
    place.server.files["data.zip"] = zipped(part(1))
    one = entry(place, "data.zip", "data.zip", known=False)
    return addresses(place, one, section="nih-kaggle", key=key)


def sent(server, path: str) -> list[str | None]:
    return [headers.get("authorization") for requested, headers in server.requests if requested == path]


def test_the_key_is_sent_but_not_beyond_a_redirect_to_another_host(place, monkeypatch):
    monkeypatch.setenv("KAGGLE_USERNAME", "ada")
    monkeypatch.setenv("KAGGLE_KEY", SECRET)
    with file_server() as storage:
        storage.files["data.zip"] = zipped(part(1))
        toml = kaggle(place)
        place.server.behaviors["data.zip"] = [redirecting("/same-host")]
        place.server.behaviors["same-host"] = [redirecting(storage.address("data.zip"))]
        assert not fetch(place, toml, source="nih-kaggle").failed
        assert sent(place.server, "data.zip") == sent(place.server, "same-host") == [PAIR]
        assert sent(storage, "data.zip") == [None]


def test_no_other_host_than_kaggle_gets_a_key():
    for address, may in {
        "https://www.kaggle.com/api/v1/x": True,
        "https://kaggle.com/x": True,
        "https://www.kaggle.com.evil.org/x": False,
        "https://evil.org/www.kaggle.com": False,
        "https://evil.org#@www.kaggle.com": False,
        "https://127.0.0.1.evil.org/": False,
        "http://127.0.0.1:80/": True,
    }.items():
        assert _may_receive_key(address, address) is may
    assert not _may_receive_key("https://kaggle.com/x", "https://www.kaggle.com/x")
    assert not _may_receive_key("https://www.kaggle.com:444/x", "https://www.kaggle.com/x")


@pytest.mark.parametrize("code", [401, 403])
def test_a_refused_key_names_its_place_and_a_missing_one_all_places(place, home, monkeypatch, code):
    for name in ("KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_API_TOKEN", "KAGGLE_CONFIG_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(home.parent / "work")
    with pytest.raises(DataError, match="Kaggle's key was not found"):
        fetch(place, kaggle(place), source="nih-kaggle")
    assert not place.server.requests
    place.server.behaviors["data.zip"] = [status(code)]
    failed = fetch(place, kaggle(place, '"optional"'), source="nih-kaggle").failed["data.zip"]
    assert f"answered {code}; Kaggle's key was not found" in failed
    monkeypatch.setenv("KAGGLE_API_TOKEN", SECRET)
    failed = fetch(place, kaggle(place), source="nih-kaggle").failed["data.zip"]
    assert f"answered {code}; the key from the environment was not accepted" in failed
    assert SECRET not in failed


def test_no_output_shows_the_key_even_if_the_program_breaks(place, home):
    """The server echoes the key in a redirect and in a reason; the process is looked at while it runs."""
    toml = kaggle(place)
    (home.parent / "work" / ".env").write_text(f"KAGGLE_API_TOKEN={SECRET}\n")
    titles = []

    def echo(handler, _):
        titles.append(subprocess.run(["ps", "axww"], capture_output=True, text=True, check=True).stdout)
        handler.send(302, {"Location": f"http://{handler.headers['Authorization'].split()[1]}.invalid/"})

    place.server.behaviors["data.zip"] = [echo]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KAGGLE")}
    done = subprocess.run(
        [sys.executable, "-m", "thorax", "download", "nih-kaggle", place.dest, "--addresses", toml],
        capture_output=True,
        text=True,
        check=False,
        cwd=home.parent / "work",
        env=environment | {"HOME": str(home)},
    )
    assert done.returncode == 3
    assert titles
    assert "redirects to an unsafe address: http://***.invalid is not HTTPS" in done.stderr
    assert SECRET not in done.stdout + done.stderr + titles[0]
    written = [path.read_bytes() for path in place.dest.rglob("*") if path.is_file()]
    assert not [content for content in written if SECRET.encode() in content]


# ---- addresses -----------------------------------------------------------------------------------


def test_the_shipped_addresses_are_nihs():
    source = load_source("nih")
    archives = [file for file in source.files if file.unpack_into]
    assert [file.stem for file in archives] == [f"images_{number:03}" for number in range(1, 13)]
    assert all(file.address.startswith("https://nihcc.box.com/shared/static/") for file in archives)
    assert sum(file.size or 0 for file in archives) == 45_079_862_784
    assert all(file.sha256 and file.md5 for file in archives)
    assert not source.tried
    assert {file.name for file in source.files if not file.unpack_into} == {
        "Data_Entry_2017_v2020.csv",
        "BBox_List_2017.csv",
        "train_val_list.txt",
        "test_list.txt",
    }
    assert load_source("nih-sample").key == "optional"
    assert load_source("nih-kaggle").key == "required"


def test_the_checksums_of_the_label_files_are_those_of_nihs_files(nih_sample):
    """The copy of the label file says Patient Gender where NIH's own says Patient Sex."""
    for file in load_source("nih").files:
        if file.unpack_into is None:
            content = gzip.decompress((nih_sample / f"{file.name}.gz").read_bytes())
            content = content.replace(b"Patient Gender", b"Patient Sex", 1)
            assert (len(content), hashlib.sha256(content).hexdigest()) == (file.size, file.sha256)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"address": '"http://example.org/a"'}, "is not HTTPS"),
        ({"address": '"https://ada:secret@example.org/a"'}, "contains a user name or password"),
        ({"address": '"ftp://example.org/a"'}, "is not HTTPS"),
        ({"address": '"https:///a"'}, "is not an address"),
        ({"name": '"../a.zip"'}, "name: String should match"),
        ({"name": '".env"'}, "name: String should match"),
        ({"name": '"a.tar.xz"'}, "is not a .tar.gz or .zip"),
        ({"unpack_into": '"../images"'}, "unpack_into: String should match"),
        ({"unpack_into": '"downloaded"'}, "unpack_into: String should match"),
        ({"size": "0"}, "size: Input should be greater than 0"),
        ({"sha256": '"abc"'}, "sha256: String should match"),
        ({"sum": "1"}, "sum: Extra inputs"),
    ],
)
def test_wrong_addresses_are_refused_with_their_key(place, change, reason):
    lines = {"name": '"a.zip"', "address": '"https://example.org/a"', "unpack_into": '"images"'} | change
    toml = addresses(place, "\n".join(f"{key} = {value}" for key, value in lines.items()))
    with pytest.raises(DataError) as refused:
        load_source("nih", toml)
    assert reason in str(refused.value)
    assert "secret" not in str(refused.value)


def test_other_sources_and_files_are_refused(place, tmp_path):
    with pytest.raises(DataError, match="no source 'chexpert' to download; it can be nih, nih-sample"):
        load_source("chexpert")
    with pytest.raises(DataError, match="there is no source 'mine'"):
        load_source("nih", addresses(place, section="mine"))
    with pytest.raises(DataError, match="cannot be read as TOML"):
        load_source("nih", tmp_path / "missing.toml")
    twice = addresses(place, *[entry(place, "1.gz", "images_001.tar.gz")] * 2)
    with pytest.raises(DataError, match=r"two files have the name images_001\.tar\.gz"):
        load_source("nih", twice)
    assert load_source("nih-sample", addresses(place)).title.startswith("Kaggle's random sample")
