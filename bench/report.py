"""How long a whole report takes from a CSV of predictions: reading, every statistic, three files.

    python bench/report.py [--resamples 1000]

Draws 25,596 images of 2,797 patients with the official test's numbers of positives, writes predictions and
labels as CSVs in NIH's layout, and runs `thorax evaluate --predictions` on them in a process of its own.
"""

import argparse
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from thorax.findings import NIH14

PATIENTS, IMAGES = 2797, 25596
POSITIVES = (3279, 1069, 4658, 6112, 1748, 1623, 555, 2665, 1815, 925, 1093, 435, 1143, 86)


def write_files(folder: Path) -> tuple[Path, Path]:
    """Write predictions and labels of patients of uneven size."""
    random = np.random.default_rng(0)
    share = random.exponential(size=PATIENTS) ** 1.5
    more = random.choice(PATIENTS, IMAGES - PATIENTS, p=share / share.sum())
    patient = np.sort(np.concatenate([np.arange(PATIENTS), more])) + 1
    target = np.zeros((IMAGES, len(NIH14)), dtype=bool)
    for k, count in enumerate(POSITIVES):
        tendency = random.gumbel(size=IMAGES) + 2 * random.normal(size=PATIENTS)[patient - 1]
        target[np.argsort(tendency)[-count:], k] = True
    probability = 1 / (1 + np.exp(-(random.normal(size=target.shape) + 1.2 * target - 2)))
    first = np.searchsorted(patient, patient)
    names = [
        f"{who:08d}_{number - start:03d}.png"
        for number, (who, start) in enumerate(zip(patient, first, strict=True))
    ]
    rows = ["Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position"]
    scores = ["Image Index," + ",".join(f"prob_{finding}" for finding in NIH14)]
    for number, (name, who) in enumerate(zip(names, patient, strict=True)):
        said = "|".join(finding.name for finding, there in zip(NIH14, target[number], strict=True) if there)
        about = f"{number - first[number]},{who},{18 + who % 70},{'FM'[who % 2]},{('PA', 'AP')[number % 2]}"
        rows.append(f"{name},{said or 'No Finding'},{about}")
        scores.append(f"{name}," + ",".join(f"{value:.6f}" for value in probability[number]))
    files = folder / "predictions.csv", folder / "labels.csv"
    for path, lines in zip(files, (scores, rows), strict=True):
        path.write_text("\n".join(lines) + "\n")
    return files


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--resamples", type=int, default=1000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        predictions, labels = write_files(folder)
        command: list[str | Path] = [sys.executable, "-m", "thorax", "evaluate", "--predictions", predictions]
        start = time.perf_counter()
        subprocess.run(
            [*command, "--labels", labels, "--out", folder / "out", "--resamples", str(asked.resamples)],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        seconds = time.perf_counter() - start
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        page = (folder / "out" / "report.html").stat().st_size / 1e6
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python "
        f"{platform.python_version()}, NumPy {np.__version__}; {IMAGES} images, {PATIENTS} patients, "
        f"{len(NIH14)} findings, {asked.resamples} resamples"
    )
    print(f"whole report: {seconds:.1f} s by the clock, {used.ru_utime + used.ru_stime:.1f} s of CPU")
    print(f"memory at the peak: {used.ru_maxrss / 1024:.0f} MB; report.html: {page:.2f} MB")
    print("wanted: under 30 s on two cores, and under 5 MB")


if __name__ == "__main__":
    main()
