"""A model card beside the figures of its bundle."""

import json
import shutil

import pytest
import typer
from typer.testing import CliRunner

from thorax.cli.card import card
from thorax.errors import DataError

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
