"""A small study: phantoms, their store, two trained runs, and made-up predictions of all images."""

import csv
from dataclasses import dataclass
from pathlib import Path

from tests.helpers.command import TINY
from thorax.datasets.phantom import write_phantoms
from thorax.workflows.prepare import prepare
from thorax.workflows.train import train_seeds

PREDICTED = ("Effusion", "Infiltration", "Nodule")
"""Findings of the made-up predictions."""


@dataclass(frozen=True)
class Study:
    """Where everything is."""

    folder: Path

    @property
    def labels(self) -> Path:
        return self.folder / "phantoms" / "Data_Entry_2017_v2020.csv"

    @property
    def store(self) -> Path:
        return self.folder / "store"

    def run(self, seed: int) -> Path:
        return self.folder / "runs" / f"seed-{seed}"

    @property
    def good(self) -> Path:
        """Predictions that rank every finding perfectly."""
        return self.folder / "good.csv"

    @property
    def poor(self) -> Path:
        """Predictions that do not."""
        return self.folder / "poor.csv"

    def rows(self) -> list[dict[str, str]]:
        with self.labels.open() as file:
            return list(csv.DictReader(file))


def make_study(folder: Path) -> Study:
    """120 patients at 64 pixels; the runs differ in their seeds."""
    study = Study(folder)
    write_phantoms(folder / "phantoms", patients=120, size=64)
    prepare(folder / "phantoms", study.store, size=64, workers=1)
    train_seeds("small-cpu", study.store, folder / "runs", seeds=2, settings=TINY, device="cpu")
    for file, weight in ((study.good, 0.8), (study.poor, 0.4)):
        lines = ["Image Index," + ",".join(f"prob_{finding}" for finding in PREDICTED)]
        for number, row in enumerate(study.rows()):
            noise = (37 * number) % 101 / 101
            values = [
                f"{weight * (finding in row['Finding Labels']) + (1 - weight) * noise:.4f}"
                for finding in PREDICTED
            ]
            lines.append(",".join([row["Image Index"], *values]))
        file.write_text("\n".join(lines) + "\n")
    return study
