"""A model card beside the figures of its bundle."""

import json
import shutil

import pytest
import typer
from typer.testing import CliRunner

from thorax.bundle import load_bundle
from thorax.cli.card import card
from thorax.errors import DataError, RecipeError
from thorax.findings import find_finding
from thorax.reporting.model_card import model_card
from thorax.reporting.tripod_ai import AUTHOR

app = typer.Typer(pretty_exceptions_enable=False)
app.command()(card)


def run(*arguments):
    """Run the verb in this process; errors of Thorax are raised."""
    done = CliRunner().invoke(app, [str(each) for each in arguments])
    if isinstance(done.exception, DataError):
        raise done.exception
    assert done.exit_code == 0, done.output


def test_a_card_has_the_results_of_its_bundle(study, report, tmp_path):
    bundle, file = study.run(0), tmp_path / "card.md"
    run(bundle, "--metrics", report / "metrics.json", "--out", file)
    text, read = file.read_text(), json.loads((report / "metrics.json").read_text())
    assert read["model"]["bundle_sha256"] in text
    assert read["split"]["sha256"] in text
    assert "Not a medical device" in text
    assert f"folder-official, test part, {read['num_images']} images" in text
    assert "chosen on the val part of folder-official" in text
    assert "**Audit: no errors, " in text
    read["audit"]["problems"].append({"severity": "error", "what": "patients in two parts: 3"})
    failed = tmp_path / "failed.json"
    failed.write_text(json.dumps(read))
    run(bundle, "--metrics", failed, "--out", tmp_path / "failed.md")
    assert "**Audit: 1 error, " in (tmp_path / "failed.md").read_text()
    assert "- error: patients in two parts: 3" in (tmp_path / "failed.md").read_text()
    del read["audit"]  # as older files
    failed.write_text(json.dumps(read))
    run(bundle, "--metrics", failed, "--out", tmp_path / "older.md")
    assert "Audit" not in (tmp_path / "older.md").read_text()
    run(bundle, "--out", tmp_path / "bare.md")
    assert "Not given" in (tmp_path / "bare.md").read_text()


def test_a_card_refuses_the_results_of_another_bundle(study, report, tmp_path):
    other = study.run(1)
    with pytest.raises(DataError, match=r"and the bundle is small-cpu .*; evaluate this bundle"):
        run(other, "--metrics", report / "metrics.json", "--out", tmp_path / "card.md")
    with pytest.raises(DataError, match="is a folder; name a file"):
        run(other, "--out", tmp_path)
    broken = tmp_path / "broken"
    shutil.copytree(report, broken)
    (broken / "metrics.json").write_text("[]")
    with pytest.raises(DataError, match=r"is not a metrics\.json"):
        run(other, "--metrics", broken / "metrics.json", "--out", tmp_path / "card.md")


NUMBERS = (
    "1 2 3a 3b 3c 4 5a 5b 6a 6b 6c 7 8a 8b 8c 9a 9b 9c 10 11 12a 12b 12c 12d 12e 12f 12g 13 14 15 16 17 18a "
    "18b 18c 18d 18e 18f 19 20a 20b 20c 21 22 23a 23b 24 25 26 27a 27b 27c"
)
"""TRIPOD+AI: 27 items, of which ten have parts."""

NEEDS_METRICS = {"12d", "12e", "12f", "20a", "20b", "20c", "23a", "24"}
ALONE = {
    "2",
    "3a",
    "3c",
    "4",
    "5b",
    "6a",
    "6b",
    "6c",
    "8b",
    "8c",
    "17",
    "18a",
    "18b",
    "18c",
    "18d",
    "18e",
    "19",
}
"""Of a model that was trained on phantoms, these are the author's alone."""


def checklist(folder, *arguments):
    """The answers of the checklist on a card, by number of the item."""
    run(*arguments, "--checklist", "tripod-ai", "--out", folder / "card.md", "--overwrite")
    section = (folder / "card.md").read_text().split("\n## TRIPOD+AI checklist\n")[1]
    assert "BMJ 2024;385:e078378" in section
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")]
    assert [row[0] for row in rows[2:]] == NUMBERS.split()
    return {number: answer for number, _, answer in rows[2:]}


def test_a_checklist_has_every_item_once_and_marks_those_of_the_author(study, report, tmp_path):
    assert len(NUMBERS.split()) == 52
    answers = checklist(tmp_path, study.run(0), "--metrics", report / "metrics.json")
    alone = {number for number, answer in answers.items() if answer.startswith(AUTHOR)}
    assert alone == ALONE | {"23b", "25", "27c"}
    assert {number for number, answer in answers.items() if AUTHOR not in answer} == {
        "9a",
        "9c",
        "12b",
        "12g",
    }
    assert "answer 4 of these in full and 28 in part; the other 20 " in (tmp_path / "card.md").read_text()
    bare = checklist(tmp_path, study.run(0))
    assert {number for number, answer in bare.items() if answer.startswith(AUTHOR)} == alone | NEEDS_METRICS
    assert "Evaluate the bundle and give its metrics.json" in (tmp_path / "card.md").read_text()
    run(study.run(0), "--out", tmp_path / "plain.md")
    assert "TRIPOD" not in (tmp_path / "plain.md").read_text()


def test_a_checklist_says_what_the_bundle_and_metrics_json_say(study, report, tmp_path):
    answers = checklist(tmp_path, study.run(0), "--metrics", report / "metrics.json")
    read = json.loads((report / "metrics.json").read_text())
    manifest = load_bundle(study.run(0)).manifest
    trained, images = (
        manifest.members[0].provenance,
        f"{read['num_images']} images of {read['num_patients']} p",
    )
    assert images in answers["10"]
    assert f"train part of folder-official ({trained.trained_on.num_images} images of " in answers["10"]
    assert f"test part of folder-official, data set {read['dataset']}: {images}" in answers["5a"]
    assert read["labels"]["sha256"] in answers["8a"]
    assert f"0 of the {read['labels']['num_cells']:,} labels are unknown" in answers["11"]
    assert f"{64} x {64} pixels (pad)" in answers["7"]
    assert "Audit: no errors" in answers["7"]
    assert read["made"]["Computed by"] in answers["12g"]
    assert read["model"]["bundle_sha256"] in answers["22"]
    assert trained.recipe_sha256 in answers["18f"]
    assert "the loss is plain cross-entropy" in answers["13"]
    assert f"Means at youden: sensitivity {written(mean_at(read)['sensitivity'])}" in answers["23a"]
    assert f"Mean over 12 findings: AUC {written(read['macro']['auc'])}" in answers["23a"]
    for name, result in read["findings"].items():
        label = find_finding(name).label
        assert f"{label} {written(result['auc'])}" in answers["23a"]
        assert f"{label} {result['num_positive']} of {result['num_known']}" in answers["20a"]
    for group in read["subgroups"]:
        assert f"{group['group']}: {group['num_images']} image" in answers["20b"]
    for how in read["calibration"]["recalibrated"]:
        assert f"{how['name']}: Brier score {written(how['macro']['brier'])}" in answers["24"]


def test_a_checklist_does_not_guess(study, tmp_path):
    moved = tmp_path / "run"
    shutil.copytree(study.run(0), moved)
    (moved / "recipe.toml").unlink()
    assert checklist(tmp_path, moved)["13"].startswith(AUTHOR)
    with pytest.raises(RecipeError, match="there is no checklist 'probast'; there is tripod-ai"):
        model_card(moved, checklist="probast")


def mean_at(read):
    return read["operating_points"][0]["averages"]["macro"]


def written(value):
    """An interval of metrics.json as the card writes it."""
    if value["value"] is None:
        return "n/a"
    bare = [
        f"{value[end]:.3f}".removeprefix("0") for end in ("value", "low", "high") if value[end] is not None
    ]
    return f"{bare[0]} ({'-'.join(bare[1:]) or 'n/a'})"
