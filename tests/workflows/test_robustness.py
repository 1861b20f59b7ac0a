"""`robustness`: from a bundle and a store to files, by hand, sampled and resumed."""

import csv
import hashlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from tests.helpers.command import command
from thorax.bundle import load_bundle
from thorax.errors import DataError, RecipeError
from thorax.imaging.perturbations import LEVELS, Perturbation, perturb
from thorax.inference.engines import open_predictor
from thorax.store import open_store
from thorax.workflows.robustness import discard_levels, robustness

KINDS = ["noise", "gamma"]
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def measured(study):
    calls = []
    return robustness(
        study.run(0), study.store, perturbations=KINDS, device="cpu", progress=calls.append
    ), calls


def test_probabilities_are_those_of_perturbed_images(study, measured):
    """The whole path again, image by image, with the flips counted one by one."""
    result, calls = measured
    bundle, store = load_bundle(study.run(0)), open_store(study.store)
    frame = store.table.frame
    rows = np.flatnonzero((frame["official"] == "test").to_numpy())
    predictor = open_predictor(bundle, device="cpu")
    unchanged, changed = [], []
    for row in rows:
        pixels = store.pixels(np.array([row]))
        noisy = perturb(pixels, Perturbation("noise", 5.0), images=[frame["image"][row]])
        unchanged.append(predictor.probabilities(pixels)[0])
        changed.append(predictor.probabilities(noisy)[0])
    before, after = np.array(unchanged), np.array(changed)
    (level,) = [one for one in result.robustness.levels if one.perturbation == Perturbation("noise", 5.0)]
    thresholds = bundle.manifest.operating_points.thresholds
    for k, finding in enumerate(bundle.findings):
        threshold, changes = thresholds[finding.name], level.findings[k].changes
        if threshold is None:
            assert np.isnan(changes.flipped.value)
            continue
        flips = sum(
            (b >= threshold) != (a >= threshold) for b, a in zip(before[:, k], after[:, k], strict=True)
        )
        assert changes.flipped.value == pytest.approx(flips / len(rows))
        assert changes.probability_change.value == pytest.approx(
            np.mean(after[:, k] - before[:, k]), abs=1e-6
        )
    assert result.robustness.points.rule == bundle.manifest.operating_points.rule
    assert result.context.where == "folder-official, test part"
    assert calls[-1].done == calls[-1].total == 9 * len(rows)  # 4 levels of noise, 4 of gamma, and unchanged
    assert {call.stage for call in calls} == {"predicting"}


def test_the_files_have_the_same_numbers(measured, tmp_path):
    result, _ = measured
    files = result.write(tmp_path / "out")
    read = json.loads(files.json.read_text())
    assert read["labels"]["sha256"] == result.context.labels.sha256
    for file in (files.html, files.markdown):
        assert result.context.labels.sha256 in file.read_text()
    assert read["format"] == "thorax-robustness/1"
    assert read["num_images"] == result.robustness.num_images
    assert [(level["perturbation"], level["level"]) for level in read["levels"]] == [
        (kind, level) for kind in KINDS for level in LEVELS[kind]
    ]
    mean = result.robustness.levels[2].mean
    assert read["levels"][2]["macro"]["auc_change"]["value"] == mean.auc_change.value
    with files.csv.open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8 * (1 + len(result.robustness.unchanged))
    (row,) = [
        row for row in rows if (row["perturbation"], row["level"], row["finding"]) == ("noise", "5.0", "mean")
    ]
    assert float(row["auc_change"]) == mean.auc_change.value
    assert float(row["flipped_high"]) == mean.flipped.high
    frame = result.to_frame()
    assert len(frame) == len(rows)
    assert frame.loc[frame["finding"] == "mean", "flipped"].tolist() == [
        level.mean.flipped.value for level in result.robustness.levels
    ]
    page = ET.fromstring(files.html.read_text())
    text = " ".join("".join(page.itertext()).split())
    for level in result.robustness.levels:
        assert level.perturbation.label in text
        assert f"{100 * level.mean.flipped.value:.1f} ({100 * level.mean.flipped.low:.1f} to" in text
        assert level.perturbation.label in files.markdown.read_text()
    assert "Not a medical device" in text
    drawn = ET.fromstring(files.svg.read_text())
    assert len(list(drawn.iter(f"{SVG}circle"))) == 3 * 8
    assert repr(result).startswith("RobustnessResult(mean AUC over ")
    assert "<svg" in result._repr_html_()
    again = [file.read_bytes() for file in vars_of(files)]
    with pytest.raises(DataError, match="not empty"):
        result.write(tmp_path / "out")
    assert [file.read_bytes() for file in vars_of(result.write(tmp_path / "out", overwrite=True))] == again


def vars_of(files) -> list[Path]:
    return [files.json, files.csv, files.markdown, files.html, files.svg]


def test_a_sample_has_whole_patients_and_says_so(study):
    few = robustness(study.run(0), study.store, perturbations=["gamma"], max_images=30, device="cpu")
    frame = open_store(study.store).table.frame
    tested = frame[frame["official"] == "test"]
    sizes = tested.groupby("patient").size()
    total, patients = 0, 0
    for patient in sorted(sizes.index, key=lambda name: hashlib.sha256(f"0:{name}".encode()).hexdigest()):
        if total + sizes[patient] > 30:
            break
        total, patients = total + sizes[patient], patients + 1
    assert (few.robustness.num_images, few.robustness.num_patients) == (total, patients)
    assert (
        f"A random sample: {total} of the part's {len(tested)} images (seed 0)." == few.context.warnings[-1]
    )
    other = robustness(
        study.run(0), study.store, perturbations=["gamma"], max_images=30, seed=1, device="cpu"
    )
    assert few.context.images_sha256 != other.context.images_sha256
    alone = robustness(study.run(0), study.store, perturbations=["gamma"], max_images=1, device="cpu")
    assert alone.robustness.num_patients == 1
    assert alone.robustness.num_images in set(tested.groupby("patient").size())


def test_findings_in_an_order_of_ones_own(study, measured):
    result, _ = measured
    names = [one.finding.name for one in result.robustness.unchanged][:3][::-1]
    chosen = robustness(study.run(0), study.store, perturbations=KINDS, findings=names, device="cpu")
    assert [one.finding.name for one in chosen.robustness.unchanged] == names
    whole = {one.finding.name: one.changes for one in result.robustness.levels[3].findings}
    for one in chosen.robustness.levels[3].findings:
        assert one.changes == whole[one.finding.name]


def test_what_cannot_be_measured_is_refused(study):
    with pytest.raises(RecipeError, match="no perturbation 'fog'"):
        robustness(study.run(0), study.store, perturbations=["fog"])
    with pytest.raises(DataError, match="`max_images` is 0"):
        robustness(study.run(0), study.store, max_images=0)
    with pytest.raises(DataError, match="no part 'x'"):
        robustness(study.run(0), study.store, part="x")


PROGRAM = """
import sys
from thorax.workflows.robustness import robustness
robustness(sys.argv[1], sys.argv[2], perturbations=["noise", "gamma"], device="cpu", resume_in=sys.argv[3])
"""


def test_a_killed_run_continues_with_its_finished_levels(study, measured, tmp_path):
    folder = tmp_path / "out.unfinished"
    words = [sys.executable, "-c", PROGRAM, study.run(0), study.store, folder]
    with subprocess.Popen(list(map(str, words))) as process:
        while len(list(folder.glob("*.level.npy"))) < 3 and process.poll() is None:
            time.sleep(0.001)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    kept = {file: file.stat().st_mtime_ns for file in folder.glob("*.level.npy")}
    assert 3 <= len(kept) < 8
    time.sleep(0.02)
    damaged = min(kept)
    damaged.write_bytes(b"not an array")
    again = robustness(study.run(0), study.store, perturbations=KINDS, device="cpu", resume_in=folder)
    assert {file: file.stat().st_mtime_ns for file in kept if file != damaged} == {
        file: moment for file, moment in kept.items() if file != damaged
    }
    assert len(list(folder.glob("*.level.npy"))) == 8
    files = again.write(tmp_path / "again")
    straight = measured[0].write(tmp_path / "straight")
    # The one is a later look at the part than the other, which the page, the text and `history` say.
    ours, theirs = (json.loads(result.json.read_text()) | {"history": None} for result in (files, straight))
    assert ours == theirs
    assert files.csv.read_bytes() == straight.csv.read_bytes()
    other = robustness(study.run(0), study.store, perturbations=KINDS, device="cpu", seed=1, resume_in=folder)
    assert len(list(folder.glob("*.level.npy"))) == 16  # another seed is another result
    assert other.robustness.levels[2].mean != again.robustness.levels[2].mean
    (folder / "mine.txt").write_text("kept")
    discard_levels(folder)
    assert [file.name for file in folder.iterdir()] == ["mine.txt"]
    (folder / "mine.txt").unlink()
    discard_levels(folder)
    assert not folder.exists()
    discard_levels(folder)


def test_the_command_prints_and_writes_and_tidies_up(study, tmp_path):
    out = tmp_path / "out"
    words = ("robustness", study.run(0), "--store", study.store, "--out", out, "--perturbations", "gamma")
    done = command(*words, "--device", "cpu", "--max-images", "0")
    assert "Gamma 0.5" in done.stdout
    assert f"report: {out / 'robustness.html'}" in done.stdout
    assert len(json.loads((out / "robustness.json").read_text())["levels"]) == 4
    assert [file.name for file in tmp_path.iterdir()] == ["out"]
    assert "set --overwrite to replace it" in command(*words, expect=3).stderr
    assert "no perturbation 'fog'" in command(*words[:-1], "fog", "--overwrite", expect=2).stderr
