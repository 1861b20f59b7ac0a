"""CSVs and lists: labels, predictions, radiologists' labels, image lists, gzipped or not."""

import gzip
from pathlib import Path

import numpy as np
from PIL import Image

from tests.helpers.downloads import LABELS
from tests.long.targets.case import Context, Reader, tried
from thorax.auditing.lists import read_image_list, read_part_lists
from thorax.datasets.sources import open_source
from thorax.evaluation.inputs.join import read_labels
from thorax.evaluation.inputs.prediction_csv import read_predictions, usable_predictions
from thorax.evaluation.inputs.radiologists import read_radiologist_labels

NAMES = [f"{number}.png" for number in range(8)]


def write_samples(folder: Path) -> None:
    """Write files of every layout that is read, about eight images."""
    described = [
        f"{name},p{n // 2},{'train' if n < 4 else 'test'},{40 + n},F,PA,{n % 2},{-1 if n == 3 else 1}"
        for n, name in enumerate(NAMES)
    ]
    csv = "\n".join(["path,patient,split,age,sex,view,Mass,Edema", *described, ""])
    (folder / "described.csv").write_text(csv)
    (folder / "described.csv.gz").write_bytes(gzip.compress(csv.encode(), mtime=0))
    (folder / "nih.csv").write_text("\n".join(LABELS.splitlines()[:12]) + "\n")
    rows = [f"{name},0.{n}5,0.5" for n, name in enumerate(NAMES)]
    (folder / "predictions.csv").write_text("\n".join(["image,Mass,Edema", *rows, ""]))
    long = [f"{name},{finding},0.{n}5" for n, name in enumerate(NAMES) for finding in ("Mass", "Edema")]
    (folder / "long.csv").write_text("\n".join(["source,finding,probability", *long, ""]))
    readers = [f"{name},p{n},{n % 2},0" for n, name in enumerate(NAMES)]
    (folder / "radiologists.csv").write_text(
        "\n".join(["Image ID,Patient ID,Fracture,Pneumothorax", *readers, ""])
    )
    (folder / "list.txt").write_text("\n".join([*NAMES, ""]))
    (folder / "parts.csv").write_text("\n".join(["image,part", *(f"{name},train" for name in NAMES), ""]))


def run(context: Context, number: int) -> tuple[dict[str, str], bytes]:
    """Read a case: a task of a `DecodePool`."""
    return tried(context, number, _read), b""


def _read(sample: str) -> tuple[str, Reader]:
    readers: dict[str, Reader] = {
        "described": _described,
        "nih": read_labels,
        "predictions": _predictions,
        "long": _predictions,
        "radiologists": read_radiologist_labels,
        "list": read_image_list,
        "parts": read_part_lists,
    }
    return sample, readers[sample.partition(".")[0]]


def _described(path: Path) -> object:
    pixels = Image.fromarray(np.zeros((32, 32), np.uint8))
    for name in NAMES:
        pixels.save(path.parent / name)
    return open_source(path)


def _predictions(path: Path) -> object:
    return usable_predictions(read_predictions(path))
