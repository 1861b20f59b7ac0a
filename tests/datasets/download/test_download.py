"""Downloading from a real server on loopback, which behaves well or badly."""

import hashlib
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import thorax
from tests.helpers.downloads import (
    IMAGES,
    LABELS,
    NAMES,
    addresses,
    entry,
    fetch,
    fetch_one,
    images_in,
    part,
    tar_gz,
)
from tests.helpers.file_server import (
    announcing,
    asked_range,
    breaking_off,
    etag,
    ignoring_ranges,
    redirecting,
    serve,
    status,
)
from thorax.atomic_io import exclusive_lock
from thorax.datasets.download import Patience
from thorax.datasets.nih import read_nih
from thorax.errors import DataError

# ---- the whole -----------------------------------------------------------------------------------


def test_a_data_set_is_downloaded_unpacked_and_read(place, tmp_path):
    seen = []
    summary = fetch(place, progress=seen.append)
    assert len(summary.downloaded) == 4
    assert summary.num_images == 60
    assert not summary.failed
    assert images_in(place.dest) == IMAGES
    assert (place.dest / "Data_Entry_2017_v2020.csv").read_text() == LABELS
    assert "As NIH says." in (place.dest / "downloaded" / "terms.txt").read_text()
    left = {path.name for path in (place.dest / "downloaded").iterdir() if not path.name.endswith(".sha256")}
    assert left == {"source.txt", "terms.txt"}
    assert read_nih(place.dest).table.frame["sex"].tolist() == ["F"] * 60
    assert len(thorax.prepare(place.dest, tmp_path / "store", size=32, workers=1)) == 60
    last = {now.stage: now for now in seen}
    assert last["downloading"].done == last["downloading"].total == sum(map(len, place.server.files.values()))
    assert {"verifying", "unpacking"} <= last.keys()


def test_what_is_there_is_checked_and_not_downloaded_again(place):
    fetch(place)
    before = len(place.server.requests)
    summary = fetch(place)
    assert len(summary.unchanged) == 4
    assert summary.num_images == 60
    assert not summary.downloaded
    assert len(place.server.requests) == before


def test_checksums_are_in_the_format_of_sha256sum(place):
    fetch(place)
    for listing in (place.dest / "downloaded").glob("*.files.sha256"):
        done = subprocess.run(
            ["sha256sum", "--check", "--quiet", listing.relative_to(place.dest)], cwd=place.dest, check=False
        )
        assert done.returncode == 0


def test_a_changed_file_is_reported_and_left_as_it_is(place):
    fetch(place)
    damaged = place.dest / "images_002" / "images" / NAMES[20]
    damaged.write_bytes(b"damaged")
    summary = fetch(place)
    assert set(summary.failed) == {"images_002.tar.gz"}
    assert (
        "1 of 20 files of images_002.tar.gz are missing or have changed"
        in summary.failed["images_002.tar.gz"]
    )
    assert damaged.read_bytes() == b"damaged"
    damaged.parent.rename(place.dest / "elsewhere")
    assert fetch(place).downloaded == ("images_002.tar.gz",)


def test_only_some_archives(place):
    assert fetch(place, only=["images_2", "images_03"]).downloaded == (
        "Data_Entry_2017_v2020.csv",
        "images_002.tar.gz",
        "images_003.tar.gz",
    )
    assert sorted(images_in(place.dest)) == NAMES[20:]
    with pytest.raises(DataError, match=r"no archive 'images_13'; `only` can name images_001, images_002"):
        fetch(place, only=["images_13"])


def test_archives_are_kept_on_request_and_used_if_somebody_put_them_there(place):
    fetch(place, only=["images_001"], keep_archives=True)
    kept = place.dest / "downloaded" / "images_001.tar.gz"
    assert kept.read_bytes() == place.server.files["1.gz"]
    (place.dest / "downloaded" / "images_002.tar.gz").write_bytes(place.server.files["2.gz"])
    (place.dest / "downloaded" / "images_003.tar.gz").write_bytes(place.server.files["3.gz"][:-1])
    summary = fetch(place)
    assert place.server.ranges("2.gz") == place.server.ranges("3.gz") == []
    assert summary.unchanged == ("Data_Entry_2017_v2020.csv", "images_001.tar.gz")
    assert summary.downloaded == ("images_002.tar.gz",)
    assert "bytes, expected" in summary.failed["images_003.tar.gz"]


def test_a_file_without_an_address_is_named_and_taken_once_it_is_there(place):
    label = f'name = "BBox_List_2017.csv"\nsha256 = "{hashlib.sha256(b"boxes").hexdigest()}"'
    toml = addresses(place, label, entry(place, "1.gz", "images_001.tar.gz"))
    assert fetch(place, toml).by_hand == ("BBox_List_2017.csv",)
    (place.dest / "BBox_List_2017.csv").write_bytes(b"boxes")
    assert fetch(place, toml).downloaded == ("BBox_List_2017.csv",)
    assert fetch(place, toml).unchanged[0] == "BBox_List_2017.csv"
    (place.dest / "BBox_List_2017.csv").write_bytes(b"other")
    assert "SHA-256" in fetch(place, toml).failed["BBox_List_2017.csv"]


def test_a_folder_of_the_users_own_is_not_touched(place):
    own = place.dest / "images_001" / "images"
    own.mkdir(parents=True)
    (own / "mine.png").write_bytes(b"mine")
    summary = fetch(place)
    assert "was not unpacked from images_001.tar.gz by Thorax" in summary.failed["images_001.tar.gz"]
    assert len(summary.downloaded) == 3
    assert [path.name for path in own.iterdir()] == ["mine.png"]


def test_another_source_needs_another_folder(place):
    fetch(place, only=["images_001"])
    toml = addresses(place, section="nih-sample")
    with pytest.raises(DataError, match=r"nih has nih already; choose another folder for nih-sample"):
        fetch(place, toml, source="nih-sample")


def test_two_downloads_into_one_folder(place):
    (place.dest / "downloaded").mkdir(parents=True)
    with (
        exclusive_lock(place.dest / "downloaded", doing="downloading into"),
        pytest.raises(DataError, match="another process is downloading into"),
    ):
        fetch(place)


# ---- servers that behave badly -------------------------------------------------------------------


def test_a_broken_connection_is_resumed_by_byte_range(place):
    content = np.random.default_rng(0).bytes(400_000)
    place.server.files["labels"] = content
    place.server.behaviors["labels"] = [breaking_off(after=100_000)]
    fetch(place)
    assert (place.dest / "Data_Entry_2017_v2020.csv").read_bytes() == content
    assert place.server.ranges("labels") == [None, "bytes=100000-", "bytes=200000-", "bytes=300000-"]
    sent = [headers.get("if-range") for path, headers in place.server.requests if path == "labels"]
    assert sent == [None, *[etag(content)] * 3]


def test_a_server_that_ignores_ranges_begins_again(place):
    place.server.behaviors["1.gz"] = [breaking_off(after=30_000), ignoring_ranges]
    assert not fetch(place).failed
    assert images_in(place.dest) == IMAGES


def test_a_file_that_changes_in_between_is_downloaded_from_its_start(place):
    """Neither the address nor its checksum is known to us, so only the ETag tells."""
    old, new = b"old" * 50_000, b"new" * 50_000

    def replaced(handler, content):
        serve(handler, old, until=100_000)
        place.server.files["labels"] = new

    place.server.files["labels"] = old
    place.server.behaviors["labels"] = [replaced, serve]
    fetch(place, addresses(place, entry(place, "labels", "labels.csv", known=False)))
    assert (place.dest / "labels.csv").read_bytes() == new
    assert place.server.ranges("labels") == [None, "bytes=100000-"]


def test_a_server_that_continues_another_version_is_not_believed(place):
    old, new = b"old" * 50_000, b"new" * 50_000

    def careless(handler, content):
        first = int(handler.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        span = f"bytes {first}-{len(new) - 1}/{len(new)}"
        headers = {"Content-Range": span, "ETag": etag(new), "Content-Length": str(len(new) - first)}
        handler.send(206, headers, new[first:])

    place.server.files["labels"] = new
    place.server.behaviors["labels"] = [lambda it, _: serve(it, old, until=99_000), careless, serve]
    fetch(place, addresses(place, entry(place, "labels", "labels.csv", known=False)))
    assert (place.dest / "labels.csv").read_bytes() == new


@pytest.mark.parametrize(
    "span", ["bytes 5-9/60000", "bytes 0-59999/60000", "bytes */60000", "bytes 40000-59999/*", "nonsense", ""]
)
def test_a_wrong_range_is_not_believed(place, span):
    content = np.random.default_rng(0).bytes(60_000)

    def lie(handler, _):
        handler.send(206, {"Content-Range": span, "Content-Length": "20000"}, b"?" * 20_000)

    place.server.files["labels"] = content
    place.server.behaviors["labels"] = [breaking_off(after=40_000), lie, serve]
    fetch(place, addresses(place, entry(place, "labels", "labels.csv", known=False)))
    assert (place.dest / "labels.csv").read_bytes() == content


def test_parts_without_a_version_or_a_checksum_are_not_joined(place):
    """Neither an ETag nor a date nor a checksum: the parts could be of two files."""
    content = b"labels" * 20_000

    def nameless(handler, body):
        handler.send(200, {"Content-Length": str(len(body))}, body[:90_000])

    place.server.files["labels"] = content
    place.server.behaviors["labels"] = [nameless, serve]
    fetch(place, addresses(place, entry(place, "labels", "labels.csv", known=False)))
    assert place.server.ranges("labels") == [None, None]
    assert (place.dest / "labels.csv").read_bytes() == content


@pytest.mark.parametrize("length", [19, 6019])
def test_another_length_than_the_known_one_is_refused_at_once(place, length):
    place.server.files["labels"] = b"x" * 1019
    place.server.behaviors["labels"] = [announcing(length)]
    failed = fetch(place, addresses(place, entry(place, "labels", "labels.csv"))).failed
    assert f"has {length:,} bytes, but labels.csv should have 1,019" in failed["labels.csv"]
    assert not (place.dest / "labels.csv").exists()


def test_a_server_that_sends_nothing_is_given_up(place):
    place.server.behaviors["labels"] = [breaking_off(after=0)]
    failed = fetch(place).failed
    assert "the connection ended after 0 of" in failed["Data_Entry_2017_v2020.csv"]
    assert "3 attempts in a row brought nothing" in failed["Data_Entry_2017_v2020.csv"]


def test_lies_about_lengths_where_nothing_is_known(place):
    """Too short: the archive turns out damaged. Too long: the rest never comes. Then the truth."""
    content = tar_gz(part(1))
    place.server.behaviors["one"] = [announcing(len(content) - 100)]
    assert "damaged or incomplete" in fetch_one(place, content).failed["images_001.tar.gz"]
    place.server.behaviors["one"] = [announcing(len(content) + 100)]
    assert "the connection ended after" in fetch_one(place, content).failed["images_001.tar.gz"]
    assert not (place.dest / "images_001").exists()
    place.server.behaviors.clear()
    assert not fetch_one(place, content).failed
    assert images_in(place.dest) == {name: IMAGES[name] for name in NAMES[:20]}


def test_a_length_that_is_not_stated_is_refused_unless_it_is_known(place):
    def silent(handler, content):
        handler.send(200, {}, content)

    place.server.behaviors["labels"] = [silent]
    toml = addresses(place, entry(place, "labels", "labels.csv", known=False))
    assert "does not say how long labels.csv is" in fetch(place, toml).failed["labels.csv"]
    assert not fetch(place, addresses(place, entry(place, "labels", "labels.csv"))).failed


def test_other_bytes_than_expected_are_refused_after_one_more_try(place):
    toml = addresses(place)
    place.server.files["1.gz"] = bytes(len(place.server.files["1.gz"]))
    failed = fetch(place, toml).failed
    assert set(failed) == {"images_001.tar.gz"}
    assert (
        "was downloaded twice and is not the file that was expected: its SHA-256"
        in failed["images_001.tar.gz"]
    )
    assert len(place.server.ranges("1.gz")) == 2
    assert len(images_in(place.dest)) == 40


def test_nihs_md5_is_checked_too(place):
    md5 = hashlib.md5(place.server.files["1.gz"]).hexdigest()
    right = entry(place, "1.gz", "images_001.tar.gz", known=False, md5=f'"{md5}"')
    wrong = entry(place, "2.gz", "images_002.tar.gz", known=False, md5=f'"{md5}"')
    assert set(fetch(place, addresses(place, right, wrong)).failed) == {"images_002.tar.gz"}


def test_a_busy_server_is_asked_again_when_it_says(place):
    place.server.behaviors["labels"] = [status(429, Retry_After="1"), status(500), status(503), serve]
    started = time.monotonic()
    patience = Patience(timeout=5.0, attempts=5, first_wait=0.01, longest_wait=3.0)
    assert not fetch(place, patience=patience).failed
    assert time.monotonic() - started >= 1
    assert len(place.server.ranges("labels")) == 4


def test_a_server_that_requests_a_day_is_not_waited_for(place):
    place.server.behaviors["labels"] = [status(503, Retry_After="Fri, 01 Jan 2100 00:00:00 GMT")]
    started = time.monotonic()
    assert "answered 503; 3 attempts" in fetch(place).failed["Data_Entry_2017_v2020.csv"]
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("code", [403, 404, 410])
def test_a_refusal_is_final_and_says_where_to_go(place, code):
    place.server.behaviors["2.gz"] = [status(code)]
    failed = fetch(place).failed
    assert f"answered {code}; get the file from " in failed["images_002.tar.gz"]
    assert len(failed) == 1
    assert len(place.server.ranges("2.gz")) == 1


def test_a_stalled_server_times_out_and_a_slow_one_does_not(place):
    def stalling(handler, content):
        serve(handler, content, until=1000)
        time.sleep(1.5)

    def dripping(handler, content):
        handler.send(200, {"Content-Length": str(len(content)), "ETag": etag(content)})
        for start in range(0, len(content), 500):
            handler.wfile.write(content[start : start + 500])
            handler.wfile.flush()
            time.sleep(0.2)

    place.server.files["labels"] = b"l" * 2500
    place.server.behaviors["labels"] = [stalling, dripping]
    toml = addresses(place, entry(place, "labels", "labels.csv"))
    started = time.monotonic()
    assert not fetch(place, toml).failed
    assert 1.2 < time.monotonic() - started < 10  # 0.5 until it gives up, four times 0.2


def test_a_server_that_is_not_there(place):
    gone = 'size = 5\nname = "labels.csv"\naddress = "http://127.0.0.1:9/labels"'
    patience = Patience(attempts=50, first_wait=0.01)
    failed = fetch(place, addresses(place, gone), patience=patience).failed["labels.csv"]
    assert "Connection refused; 3 attempts in a row brought nothing" in failed


def test_what_a_server_says_reaches_the_terminal_only_as_text(place):
    """A status line with control characters and what looks like markup; redirects to what cannot be hosts."""

    def evil(handler, _):
        handler.wfile.write(b"\x1b[2J[/red] [bold]\x07\r\n\r\n")

    place.server.behaviors["labels"] = [evil]
    toml = addresses(place, entry(place, "labels", "labels.csv"))
    words = [sys.executable, "-m", "thorax", "download", "nih", place.dest, "--addresses", toml]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "?[2J[/red] [bold]?" in done.stderr
    assert "Traceback" not in done.stderr
    assert "\x1b" not in done.stderr
    assert "\x07" not in done.stderr


@pytest.mark.parametrize("host", ["a" * 70 + ".org", "a..b", "[::1", "x:99999", "x y", "\u2100.org", ""])
def test_redirects_to_what_cannot_be_a_host(place, host):
    place.server.behaviors["labels"] = [redirecting(f"https://{host}/".encode().decode("latin-1"))]
    failed = fetch(place, addresses(place, entry(place, "labels", "labels.csv"))).failed["labels.csv"]
    assert "unsafe address" in failed or "could not be downloaded" in failed


def test_a_web_page_or_an_encoding_instead_of_the_file(place):
    page = {"Content-Length": "6", "Content-Type": "text/html; charset=utf-8"}
    place.server.behaviors["labels"] = [lambda it, _: it.send(200, page, b"<html>")]
    place.server.behaviors["1.gz"] = [
        lambda it, body: it.send(200, {"Content-Length": str(len(body)), "Content-Encoding": "br"}, body)
    ]
    place.server.behaviors["2.gz"] = [
        lambda it, body: it.send(200, {"Content-Length": str(len(body)), "Content-Encoding": "gzip"}, body)
    ]
    failed = fetch(place).failed
    assert "a web page instead of Data_Entry" in failed["Data_Entry_2017_v2020.csv"]
    assert "the encoding 'br', which was not requested" in failed["images_001.tar.gz"]
    assert set(failed) == {"Data_Entry_2017_v2020.csv", "images_001.tar.gz"}


def test_redirects_are_followed_within_bounds(place):
    place.server.behaviors["labels"] = [redirecting("/a"), serve]
    place.server.behaviors["a"] = [redirecting(place.server.address("labels"), 307)]
    place.server.behaviors["1.gz"] = [redirecting("/1.gz", 301)]
    place.server.behaviors["2.gz"] = [redirecting("file:///etc/passwd")]
    place.server.behaviors["3.gz"] = [redirecting("http://example.org/3.gz")]
    failed = fetch(place).failed
    assert "redirects more than 10 times" in failed["images_001.tar.gz"]
    assert "redirects to an unsafe address: 'file:///etc/passwd'" in failed["images_002.tar.gz"]
    assert "redirects to an unsafe address: http://example.org is not HTTPS" in failed["images_003.tar.gz"]
    assert set(failed) == {"images_001.tar.gz", "images_002.tar.gz", "images_003.tar.gz"}


# ---- the disk ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("keep", "needed"), [(False, "300,000,000.0"), (True, "400,000,000.0")])
def test_a_disk_that_is_too_small_is_reported_before_the_first_byte(place, keep, needed):
    huge = [entry(place, "1.gz", f"images_00{n}.tar.gz", known=False, size=str(10**17)) for n in (1, 2)]
    with pytest.raises(DataError, match=rf"needs about {needed} GB .* GB free; free some"):
        fetch(place, addresses(place, *huge), keep_archives=keep, workers=1)
    assert not place.server.requests
    assert not place.dest.exists()


def test_a_disk_that_is_too_small_for_what_the_server_offers(place):
    place.server.behaviors["one"] = [lambda it, _: it.send(200, {"Content-Length": str(10**17)}, b"x" * 100)]
    assert (
        "needs 200,000,000.00 GB with what it contains" in fetch_one(place, b"").failed["images_001.tar.gz"]
    )
    assert not (place.dest / "downloaded" / "images_001.tar.gz.partial").exists()


def test_a_disk_that_fills_up_keeps_what_arrived(place):
    """A limit on the size of files has the effect of a full disk: writing fails in the middle."""
    place.server.files["labels"] = b"l" * 3_000_000
    toml = addresses(place, entry(place, "labels", "labels.csv"))
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000)); "
        "from thorax.cli.main import main; sys.argv = ['thorax', *sys.argv[1:]]; main()"
    )
    words = [sys.executable, "-c", code, "download", "nih", place.dest, "--addresses", toml]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "labels.csv: " in done.stderr
    assert "File too large; what arrived is kept" in done.stderr
    assert "Traceback" not in done.stderr
    fetch(place, toml)
    assert place.server.ranges("labels")[1] == "bytes=2000000-"
    assert (place.dest / "labels.csv").read_bytes() == place.server.files["labels"]


# ---- killed --------------------------------------------------------------------------------------


def start(place, toml: Path) -> subprocess.Popen:
    words = [sys.executable, "-m", "thorax", "download", "nih", place.dest, "--addresses", toml]
    return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.mark.slow
def test_killed_ten_times_it_ends_with_the_same_bytes(place):
    """Six times while it downloads, then four times while it unpacks."""
    names = [f"{patient:08}_000.png" for patient in range(1, 901)]
    images = {name: np.random.default_rng(seed).bytes(10_000) for seed, name in enumerate(names)}
    for number in (1, 2, 3):
        some = names[300 * (number - 1) : 300 * number]
        place.server.files[f"{number}.gz"] = tar_gz({f"images/{name}": images[name] for name in some})
        place.server.behaviors[f"{number}.gz"] = [slowly]
    toml = addresses(place)
    for moment in (received, received, received, received, received, received, *[unpacked] * 4):
        before = moment(place)
        with start(place, toml) as running:
            while running.poll() is None and moment(place) <= before + (300_000 if moment is received else 0):
                time.sleep(0.001)
            running.kill()
        assert running.returncode == -signal.SIGKILL, "it ended before it could be killed"
    assert not images_in(place.dest / "images_003")
    assert fetch(place, toml).num_images == 900
    assert images_in(place.dest) == images
    assert len(fetch(place, toml).unchanged) == 4
    continued = [asked for number in (1, 2, 3) for asked in place.server.ranges(f"{number}.gz") if asked]
    assert len(continued) >= 6


def slowly(handler, content):
    """About 1 MB in a second."""
    first = asked_range(handler, content)
    headers = {"Content-Length": str(len(content) - first), "ETag": etag(content)}
    if first:
        headers["Content-Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
    handler.send(206 if first else 200, headers)
    for begin in range(first, len(content), 50_000):
        handler.wfile.write(content[begin : begin + 50_000])
        time.sleep(0.05)


def received(place) -> int:
    """Bytes in partial files."""
    return sum(path.stat().st_size for path in (place.dest / "downloaded").glob("images*.partial"))


def unpacked(place) -> int:
    """Images that are being unpacked; 0 at the start, because unpacking begins again."""
    return len(list((place.dest / "downloaded").glob("*.unpacking/images/*.png")))


def test_killed_while_unpacking(place, monkeypatch):
    """What a killed process leaves of an archive that was half unpacked: the archive, and some files."""
    place.server.behaviors["2.gz"] = [status(404)]
    fetch(place)
    for stale in ("images", "labels"):
        (place.dest / "downloaded" / "images_002.unpacking" / stale).mkdir(parents=True)
    half = place.dest / "downloaded" / "images_002.unpacking" / "images"
    (half / NAMES[20]).write_bytes(b"half a fi")
    (half / "00009999_000.png").write_bytes(b"of an older archive")
    place.server.behaviors.clear()
    assert not fetch(place).failed
    assert images_in(place.dest) == IMAGES
    assert not (place.dest / "downloaded" / "images_002.unpacking").exists()


def test_killed_between_the_list_and_the_folder(place):
    """The list of checksums is written first, the folder of images appears last."""
    fetch(place, keep_archives=True)
    (place.dest / "images_002" / "images").rename(place.dest / "downloaded" / "images_002.unpacking")
    assert fetch(place, keep_archives=True).downloaded == ("images_002.tar.gz",)
    assert images_in(place.dest) == IMAGES


def test_ctrl_c_stops_at_once_even_if_the_server_says_nothing(place):
    place.server.behaviors["1.gz"] = [lambda *_: time.sleep(20)]
    with start(place, addresses(place)) as running:
        while running.poll() is None and not place.server.ranges("1.gz"):
            time.sleep(0.02)
        started = time.monotonic()
        running.send_signal(signal.SIGINT)
        running.wait(timeout=15)
    assert running.returncode != 0
    assert time.monotonic() - started < 10
