"""Hostile and damaged archives."""

import gzip
import io
import tarfile
import zipfile
from threading import Event

import numpy as np
import pytest

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
    zipped,
)
from thorax.datasets.download.archive import DamagedArchive, unpack
from thorax.datasets.nih import read_nih
from thorax.errors import DataError


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    header = tarfile.TarInfo(name)
    header.type, header.linkname = kind, target
    return header


HOSTILE_TARS = {
    "a name that leads out": tar_gz({**part(1), "../../00000099_000.png": b"x"}),
    "a name that leads out, absolute": tar_gz({**part(1), "/tmp/00000099_000.png": b"x"}),
    "a name that leads out, backslash": tar_gz({**part(1), "images\\..\\00000099_000.png": b"x"}),
    "a name that leads out, control": tar_gz({**part(1), "images/\n00000099_000.png": b"x"}),
    "a name that leads out, long": tar_gz({**part(1), "a/" * 1500 + "00000099_000.png": b"x"}),
    "a symbolic link": tar_gz(part(1), extra=(special("images/00000099_000.png", b"2", "/etc/passwd"),)),
    "a hard link": tar_gz(part(1), extra=(special("images/00000099_000.png", b"1", "/etc/passwd"),)),
    "a device": tar_gz(part(1), extra=(special("images/00000099_000.png", b"3"),)),
    "a pipe": tar_gz(part(1), extra=(special("images/00000099_000.png", b"6"),)),
    "a header of the kind 'S'": tar_gz(part(1), extra=(special("images/00000099_000.png", b"S"),)),
    "two different files": tar_gz({**part(1), f"again/{NAMES[0]}": b"x"}),
    "no image": tar_gz({"readme.txt": b"nothing"}),
}


@pytest.mark.parametrize("kind", HOSTILE_TARS)
def test_hostile_tars(place, kind):
    failed = fetch_one(place, HOSTILE_TARS[kind]).failed["images_001.tar.gz"]
    assert kind.partition(",")[0] in failed
    assert not (place.dest / "images_001").exists()
    assert not list(place.dest.parent.rglob("00000099*"))


def test_a_tar_that_would_fill_the_disk(place):
    """A few hundred kB of gzip that become 100 MB, and a header that claims 7 GB."""
    stream = io.BytesIO()
    with gzip.GzipFile(fileobj=stream, mode="wb", compresslevel=1) as out:
        for number in range(2):
            header = tarfile.TarInfo(f"images/{number:08}_000.png")
            header.size = 50 << 20
            out.write(header.tobuf())
            for _ in range(50):
                out.write(bytes(1 << 20))
    assert "more than 4 times its own size" in fetch_one(place, stream.getvalue()).failed["images_001.tar.gz"]
    for kind in (b"0", b"x", b"L"):
        header = tarfile.TarInfo("images/00000099_000.png")
        header.size, header.type = 7 << 30, kind
        packed = gzip.compress(header.tobuf() + bytes(1024))
        failed = fetch_one(place, packed).failed["images_001.tar.gz"]
        assert (
            "a file of 7,516,192,768 bytes" in failed or f"a header of the kind '{kind.decode()}'" in failed
        )


def test_a_tar_of_endless_headers_and_one_with_a_damaged_header(place):
    header = tarfile.TarInfo("pax")
    header.size, header.type = 512, b"x"
    nested = gzip.compress((header.tobuf() + b"12 path=abc\n".ljust(512, b"\0")) * 5000)
    assert "something that no data set needs" in fetch_one(place, nested).failed["images_001.tar.gz"]
    damaged = bytearray(gzip.decompress(tar_gz(part(1))))
    damaged[damaged.index(NAMES[7].encode())] ^= 1
    packed = gzip.compress(bytes(damaged))
    assert "damaged or incomplete" in fetch_one(place, packed).failed["images_001.tar.gz"]


def test_every_damaged_byte_of_an_archive_is_noticed(place, tmp_path):
    """Cut anywhere or with a byte flipped anywhere, an archive gives the right images or an error."""
    whole = tar_gz(part(1))
    random = np.random.default_rng(3)
    for number in range(40):
        content = bytearray(whole)
        position = int(random.integers(10, len(whole)))
        if number % 2:
            content[position] ^= 1 << int(random.integers(8))
        else:
            del content[position:]
        path = tmp_path / "a.tar.gz"
        path.write_bytes(content)
        with pytest.raises(DataError):
            unpack(path, tmp_path / "out", labels=(), at=lambda _: None, stop=Event())


def linked_zip() -> bytes:
    stream = io.BytesIO(zipped(part(1)))
    with zipfile.ZipFile(stream, "a") as archive:
        link = zipfile.ZipInfo("images/00000099_000.png")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    return stream.getvalue()


def encrypted_zip() -> bytes:
    content = bytearray(zipped(part(1)))
    content[content.rindex(b"PK\x01\x02") + 8] |= 1
    return bytes(content)


def lying_zip(size: int) -> bytes:
    """A zip whose directory claims another size of its last file."""
    content = bytearray(zipped(part(1)))
    entry = content.rindex(b"PK\x01\x02")
    content[entry + 24 : entry + 28] = size.to_bytes(4, "little")
    return bytes(content)


def boundless_zip() -> bytes:
    """A zip that says that its directory has 3 GB."""
    content = bytearray(zipped(part(1)))
    end = content.rindex(b"PK\x05\x06")
    content[end + 12 : end + 16] = (3 << 30).to_bytes(4, "little")
    return bytes(content)


HOSTILE_ZIPS = {
    "a name that leads out": zipped({**part(1), "../00000099_000.png": b"x"}),
    "a name that leads out, absolute": zipped({**part(1), "/tmp/00000099_000.png": b"x"}),
    "a name that leads out, drive": zipped({**part(1), "C:/00000099_000.png": b"x"}),
    "something other than a plain file": linked_zip(),
    "an encrypted file": encrypted_zip(),
    "an unusual compression": zipped(part(1), compression=zipfile.ZIP_LZMA),
    "more than 4 times its own size": zipped({f"{n:08}_000.png": bytes(50 << 20) for n in range(2)}),
    "a file of 4,000,000,000 bytes": lying_zip(4_000_000_000),
    "two different files": zipped({**part(1), f"again/{NAMES[0]}": b"x"}),
    "damaged or incomplete": boundless_zip(),
    "damaged or incomplete, cut": zipped(part(1))[:-400],
}


@pytest.mark.parametrize("kind", HOSTILE_ZIPS)
def test_hostile_zips(place, kind):
    failed = fetch_one(place, HOSTILE_ZIPS[kind], name="images_001.zip").failed["images_001.zip"]
    assert kind.partition(",")[0] in failed
    assert not list(place.dest.rglob("images_001*/*.png"))
    assert not (place.dest / "images").exists()


def test_a_zip_that_claims_other_sizes(place):
    for size in (10, 4096 * 4):
        failed = fetch_one(place, lying_zip(size), name="images_001.zip").failed["images_001.zip"]
        assert "damaged or incomplete" in failed or "does not have its stated length" in failed


def test_a_zip_whose_files_begin_before_it(tmp_path):
    """Its end places the directory 1,000 bytes too far, so that the first file would begin at -1,000."""
    content = bytearray(zipped(part(1)))
    offset = int.from_bytes(content[-6:-2], "little")
    content[-6:-2] = (offset + 1_000).to_bytes(4, "little")
    path = tmp_path / "a.zip"
    path.write_bytes(content)
    with pytest.raises(DamagedArchive, match=r"is said to begin where the archive has no place"):
        unpack(path, tmp_path / "out", labels=(), at=lambda _: None, stop=Event())


def test_kaggles_sample_has_every_image_twice(place):
    """In sample/images and in sample/sample/images, and its labels twice as well."""
    images = {name: IMAGES[name] for name in NAMES[:5]}
    content = {
        "sample_labels.csv": LABELS.encode(),
        **{f"sample/images/{name}": image for name, image in images.items()},
        "sample/sample_labels.csv": LABELS.encode(),
        **{f"sample/sample/images/{name}": image for name, image in images.items()},
        "__MACOSX/._00000001_000.png": b"x",
    }
    place.server.files["sample.zip"] = zipped(content)
    toml = addresses(
        place, entry(place, "sample.zip", "sample.zip", known=False), section="nih-sample",
        key='"optional"', labels='["sample_labels.csv"]',
    )  # fmt: skip
    summary = fetch(place, toml, source="nih-sample")
    assert summary.num_images == 5
    assert summary.notices == ("1 files of the archives are neither images nor labels and were left out",)
    assert images_in(place.dest) == images
    assert len(read_nih(place.dest).table.images) == 5
    assert fetch(place, toml, source="nih-sample").num_images == 5
    (place.dest / "sample_labels.csv").write_text("changed")
    assert "(first: sample_labels.csv)" in fetch(place, toml, source="nih-sample").failed["sample.zip"]
