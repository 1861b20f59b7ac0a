"""A damaged file gets one message, ours, and no library writes a line of its own."""

import io
import random
import re

import pytest
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, JPEGLSLossless, RLELossless

from tests.helpers.chest import chest
from tests.helpers.command import thorax
from tests.helpers.dicom_writing import dataset, to_bytes
from thorax.datasets.phantom import write_phantoms
from thorax.quoting import visible_lines

PIXELS = chest(96)
SEED = 20261129
LONGEST = 300


def encoded(kind, **options):
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, kind, **options)
    return file.getvalue()


def in_dicom(syntax):
    ds = dataset(PIXELS, bits=8)
    if syntax == JPEGBaseline8Bit:
        ds.file_meta.TransferSyntaxUID = syntax
        ds.PixelData = encapsulate([encoded("JPEG", quality=90)])
        ds["PixelData"].is_undefined_length = True
    else:
        ds.compress(syntax)
    return to_bytes(ds)


def damaged(data, draw):
    """Change one to four bytes after the first ones, or cut the file."""
    if draw.random() < 0.3:
        return data[: draw.randrange(len(data) // 3, len(data))]
    changed = bytearray(data)
    for _ in range(draw.randint(1, 4)):
        changed[draw.randrange(len(data) // 3, len(data))] = draw.randrange(256)
    return bytes(changed)


@pytest.mark.slow
def test_damaged_files_of_every_kind_get_one_line_each(tmp_path):
    draw = random.Random(SEED)
    exif = Image.Exif()
    exif[0x010E] = "a description"
    sound = {
        "jpg": encoded("JPEG", quality=90, exif=exif),
        "progressive.jpg": encoded("JPEG", quality=90, progressive=True),
        "png": encoded("PNG"),
        **{
            f"{number}.dcm": in_dicom(syntax)
            for number, syntax in enumerate((JPEGBaseline8Bit, JPEGLSLossless, JPEG2000Lossless, RLELossless))
        },
    }
    for kind, data in sound.items():
        for number in range(12):
            (tmp_path / f"{number}.{kind}").write_bytes(damaged(data, draw))
    done = thorax("predict", tmp_path, "--csv", expect=4)
    opening, *lines, count = (
        line
        for line in done.stderr.splitlines()
        if not re.match(r"predicting: |\d+ of \d+ images have w", line)
    )
    assert opening.startswith("starter model")
    assert count.endswith(f"of {12 * len(sound)} files could not be predicted")
    refused = [line for line in lines if ": warning: " not in line]
    assert len(refused) == int(count.partition(" ")[0]) > 40
    for line in lines:
        path, _, message = line.partition(": ")
        assert (tmp_path / path).parent == tmp_path, line
        assert 0 < len(message) <= LONGEST
        assert visible_lines(line) == line
    assert len({line.partition(": ")[0] for line in refused}) == len(refused)


@pytest.mark.slow
def test_matplotlib_does_not_remark_on_a_home_that_cannot_be_written(tmp_path, monkeypatch):
    write_phantoms(tmp_path / "phantoms", patients=10, size=64)
    labels = tmp_path / "phantoms" / "Data_Entry_2017_v2020.csv"
    images = [line.split(",")[0] for line in labels.read_text().splitlines()[1:]]
    rows = [f"{image},{number / len(images):.3f}" for number, image in enumerate(images)]
    (tmp_path / "p.csv").write_text("\n".join(["Image Index,Effusion", *rows]) + "\n")
    for variable in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "MPLCONFIGDIR"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", "/proc/nowhere")
    done = thorax(
        "evaluate", "--predictions", tmp_path / "p.csv", "--labels", labels, "--resamples", "5", "--out",
        tmp_path / "report",
    )  # fmt: skip
    assert (tmp_path / "report" / "roc.png").is_file()
    assert [line for line in done.stderr.splitlines() if not line.startswith(("note: ", "audit, "))] == []
