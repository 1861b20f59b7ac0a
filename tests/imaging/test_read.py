"""The format is decided by content, and everything that cannot be read says so in the same way."""

import io
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from thorax.errors import ImageError, UnsupportedImage
from thorax.imaging import image_files, read, read_radiograph
from thorax.radiograph import Radiograph

SCENE = np.add.outer(np.arange(64) * 2, np.arange(80)).astype(np.uint8)


def saved(kind):
    stream = io.BytesIO()
    Image.fromarray(SCENE).save(stream, kind)
    return stream.getvalue()


def test_a_path_a_string_and_bytes_give_the_same(tmp_path):
    path = tmp_path / "chest.png"
    path.write_bytes(saved("PNG"))
    radiographs = [read_radiograph(path), read_radiograph(str(path)), read_radiograph(path.read_bytes())]
    for radiograph in radiographs:
        assert np.array_equal(radiograph.pixels, SCENE)
    assert [radiograph.origin.name for radiograph in radiographs] == ["chest.png", "chest.png", "<bytes>"]


def test_the_suffix_says_nothing(tmp_path):
    path = tmp_path / "chest.dcm"
    path.write_bytes(saved("PNG"))
    assert read_radiograph(path).origin.format == "PNG"
    path.write_bytes(saved("JPEG"))
    assert read_radiograph(path).origin.format == "JPEG"


def test_a_name_loses_its_folders():
    assert read_radiograph(saved("PNG"), name="/wards/Jane Doe/0001.png").origin.name == "0001.png"


@pytest.mark.parametrize(
    ("kind", "found"),
    [("GIF", "a GIF image"), ("BMP", "a BMP image"), ("TIFF", "a TIFF image"), ("WEBP", "a WebP image")],
)
def test_other_formats_are_named(kind, found):
    with pytest.raises(UnsupportedImage, match=f"scan: the file is {found}.*PNG, JPEG and DICOM are read"):
        read_radiograph(saved(kind), name="scan")


def test_other_formats_are_refused_unread(tmp_path):
    path = tmp_path / "report.pdf"
    path.write_bytes(b"%PDF-1.7")
    os.truncate(path, 10 << 30)
    with pytest.raises(UnsupportedImage, match=r"report\.pdf: the file is a PDF document"):
        read_radiograph(path)


def test_files_beyond_any_radiograph_are_refused_unread(tmp_path):
    path = tmp_path / "endless.png"
    path.write_bytes(saved("PNG"))
    os.truncate(path, 2 << 30)
    with pytest.raises(
        ImageError, match=r"endless\.png: 2147483648 bytes are more than a radiograph can hold"
    ):
        read_radiograph(path)


def test_text_is_no_image():
    with pytest.raises(UnsupportedImage, match="the file is not a known image; PNG, JPEG and DICOM are read"):
        read_radiograph(b"Image Index,Finding Labels\n")


def test_an_empty_file():
    with pytest.raises(ImageError, match=r"void\.png: the file is empty \(0 bytes\); copy it again"):
        read_radiograph(b"", name="void.png")


def test_paths_that_cannot_be_read(tmp_path):
    with pytest.raises(
        ImageError, match=r"nowhere\.png does not exist, or is not a regular file; give the path"
    ):
        read_radiograph(tmp_path / "nowhere.png")
    with pytest.raises(ImageError, match="is a folder; give the path of a PNG, JPEG or DICOM file"):
        read_radiograph(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ImageError, match="is not a regular file"):
        read_radiograph(tmp_path / "pipe")
    with pytest.raises(ImageError, match=r"cannot be read|does not exist"):
        read_radiograph(tmp_path / ("x" * 300))


def test_a_folder_yields_images_and_not_the_texts_about_them(tmp_path):
    (tmp_path / "b").mkdir()
    for name in ("README.txt", "LICENSE", ".hidden", "c.png", "readme.dcm", "b/README.md", "b/a.jpg"):
        (tmp_path / name).write_bytes(b"x")
    failures = []
    files = image_files([tmp_path], failed=lambda *failure: failures.append(failure))
    assert [str(file.relative_to(tmp_path)) for file in files] == ["b/a.jpg", "c.png", "readme.dcm"]
    assert list(image_files([tmp_path / "LICENSE"], failed=print)) == [tmp_path / "LICENSE"]
    assert failures == []


def test_small_images_are_no_radiographs():
    stream = io.BytesIO()
    Image.fromarray(SCENE[:63]).save(stream, "PNG")
    with pytest.raises(ImageError, match="80 x 63 pixels are too few for a radiograph"):
        read_radiograph(stream.getvalue())


@settings(max_examples=150, deadline=None)
@given(
    data=st.binary(max_size=400), magic=st.sampled_from([b"", read._PNG, read._JPEG, b"\x08\x00\x05\x00CS"])
)
def test_any_bytes_give_an_image_error(data, magic):
    with pytest.raises(ImageError):
        read_radiograph(magic + data)


@settings(max_examples=200, deadline=None)
@given(
    kind=st.sampled_from(["PNG", "JPEG"]), at=st.floats(0, 0.999), flip=st.integers(1, 255), cut=st.booleans()
)
def test_damage_gives_a_radiograph_or_an_image_error(kind, at, flip, cut):
    data = bytearray(saved(kind))
    place = int(len(data) * at)
    data[place] ^= flip
    try:
        radiograph = read_radiograph(bytes(data[: place + 1] if cut else data))
    except ImageError:
        return
    assert isinstance(radiograph, Radiograph)


def test_import_is_light():
    code = (
        "import sys, thorax.imaging; print([m for m in ('pydicom', 'pandas', 'torch') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


def test_f19_links_that_are_not_followed_are_reported(tmp_path):
    """Links of git-annex or DVC whose content was not fetched."""
    for name in ("a.dcm", ".hidden.png"):
        (tmp_path / name).symlink_to(tmp_path / "nowhere")
    (tmp_path / "c.png").touch()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "d.png").touch()
    (tmp_path / "linked").symlink_to(elsewhere)
    failures = {}
    files = image_files([tmp_path], failed=lambda path, reason: failures.update({path.name: reason}))
    assert list(files) == [tmp_path / "c.png", elsewhere / "d.png"]
    assert failures == {
        "a.dcm": "this link leads nowhere; fetch what it points to (git annex get, dvc pull)",
        "linked": "a link to a folder is not followed; give the folder itself",
    }
