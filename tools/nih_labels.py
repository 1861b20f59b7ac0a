"""Make again what the package knows of NIH's labels of the official test: hashes, no label file.

    python tools/nih_labels.py Data_Entry_2017_v2020.csv Data_Entry_2017.csv

Both files may be gzipped. tests/datasets/test_nih_labels.py compares with the newer file where there is one.
"""

import argparse
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd

from thorax.atomic_io import sha256_of_file, write_bytes, write_text
from thorax.datasets.label_pins import finding_sha256
from thorax.datasets.nih import label_table
from thorax.datasets.nih_labels import CHECK_BYTES, check_values, image_key, label_codes
from thorax.datasets.splits import nih_official_test_patients
from thorax.datasets.table import read_csv
from thorax.findings import NIH14, NIH15

FOLDER = Path(__file__).parents[1] / "src" / "thorax" / "datasets"
VERSIONS = (("v2020", "Data_Entry_2017_v2020.csv"), ("2017", "Data_Entry_2017.csv"))
HEADING = """\
# What Thorax knows of NIH's own labels of the official test (25,596 images of 2,797 patients): hashes,
# no label file. Made by tools/nih_labels.py.
#
# Wang X, Peng Y, Lu L, Lu Z, Bagheri M, Summers RM. ChestX-ray8: Hospital-scale Chest X-ray Database
# and Benchmarks on Weakly-Supervised Classification and Localization of Common Thorax Diseases. IEEE
# CVPR 2017, pp. 3462-3471. The NIH Clinical Center provides the data set
# (https://nihcc.app.box.com/v/ChestXray-NIHCC) and does not restrict its use; it asks for that link,
# the citation, and an acknowledgement.
#
# Of each version: the SHA-256 of each finding's labels, as docs/metrics.md defines it. nih_labels.bin
# has one byte for each patient, with the number of its images, and then for each version three bytes
# for each image, with which the labels of a single image can be checked; see nih_labels.py.
#
# Both label files were read as copies: Data_Entry_2017_v2020.csv with the heading "Patient Gender", and
# Data_Entry_2017.csv from release 0.0.20 of torchxrayvision. They differ in the labels of 181 images,
# all of them in the official test.
"""


def main() -> None:
    """Write the TOML and the check values."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "files", nargs=2, type=Path, metavar="FILE", help="the newer file, then the older one"
    )
    texts, checks, counts = [HEADING], [], b""
    for (name, file), path in zip(VERSIONS, parser.parse_args().files, strict=True):
        table = official_test(path)
        images, targets = list(table["image"]), table[[f.name for f in NIH15]].to_numpy(np.int8)
        keys = np.array([image_key(image) for image in images], np.uint64)
        values = check_values(keys, label_codes(targets[:, : len(NIH14)], NIH14))
        checks.append(b"".join(int(value).to_bytes(CHECK_BYTES, "big") for value in values))
        counts = bytes(Counter(image[:8] for image in images).values())
        digests = {f.name: finding_sha256(images, column) for f, column in zip(NIH15, targets.T, strict=True)}
        texts.append(section(name, file, digests))
    write_bytes(FOLDER / "nih_labels.bin", b"".join([counts, *checks]))
    sha256 = sha256_of_file(FOLDER / "nih_labels.bin")
    write_text(FOLDER / "nih_labels.toml", f'{texts[0]}\nchecks_sha256 = "{sha256}"\n' + "".join(texts[1:]))


def official_test(path: Path) -> pd.DataFrame:
    """Return the rows of the official test, in the order of their names."""
    table, _ = label_table(read_csv(path, ("Image Index", "Finding Labels", "Patient ID")), path)
    return table[table["patient"].isin(nih_official_test_patients())].sort_values("image")


def section(name: str, file: str, digests: dict[str, str]) -> str:
    """Return the section of one version."""
    lines = [f'"{finding}" = "{digest}"' for finding, digest in digests.items()]
    head = f'\n[[versions]]\nname = "{name}"\nfile = "{file}"\n\n[versions.findings]\n'
    return head + "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
