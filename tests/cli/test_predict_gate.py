"""The input gate on the command line: reported, counted, exit code 4, and off by `--no-gate`."""

import csv
import io
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from tests.helpers.command import command
from thorax import starter

CHEST = min((starter.folder() / "images").glob("*.png"))


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gate")
    gray = np.asarray(Image.open(CHEST).convert("L"))
    Image.fromarray(gray).save(folder / "chest.png")
    Image.fromarray(np.full_like(gray, 90)).save(folder / "blank.png")
    return [str(folder / "blank.png"), str(folder / "chest.png")]


def test_text_names_the_reason_and_how_to_predict_it_all_the_same(images):
    done = command("predict", *images, expect=4)
    assert "chest.png" in done.stdout
    assert "blank.png" not in done.stdout
    assert "blank.png: held back by the input gate: 100.0 % of the pixels have the same gray" in done.stderr
    assert "1 of 2 files could not be predicted, 1 of them held back by the input gate" in done.stderr
    assert "--no-gate predicts also what is held back" in done.stderr


def test_json_has_an_object_with_the_error_and_no_probabilities(images):
    held_back, predicted = map(
        json.loads, command("predict", *images, "--json", expect=4).stdout.splitlines()
    )
    assert held_back["source"] == images[0]
    assert held_back["error"] == "not-a-radiograph"
    assert held_back["reasons"] == ["no-contrast"]
    assert "findings" not in held_back
    assert predicted["source"] == images[1]


@pytest.mark.parametrize("form", ["--csv", "--wide"])
def test_tables_have_rows_of_predicted_images_alone(images, form):
    done = command("predict", *images, form, expect=4)
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert {next(iter(row.values())).rpartition("/")[2] for row in rows} == {"chest.png"}
    assert "held back by the input gate" in done.stderr


def test_no_gate_predicts_everything_and_warns(images):
    done = command("predict", *images, "--no-gate", "--json")
    blank, chest = map(json.loads, done.stdout.splitlines())
    assert blank["findings"].keys() == chest["findings"].keys()
    assert "would hold this image back" in blank["warnings"][0]
    assert not any("input gate" in warning for warning in chest["warnings"])


def test_a_map_of_a_held_back_image_is_refused_unless_the_gate_is_off(images):
    bundle = str(starter.folder())
    done = command("explain", bundle, images[0], expect=4)
    assert "held back by the input gate" in done.stderr
    assert "Effusion" in command("explain", bundle, images[0], "--findings", "Effusion", "--no-gate").stdout
    said = command("explain", bundle, *images, "--findings", "Effusion", expect=4).stderr
    assert "1 of 2 files could not be explained, 1 of them held back by the input gate" in said
    assert said.splitlines()[-1] == "--no-gate explains also what is held back"


def test_a_bundle_without_a_fitted_gate_says_so_once(images, tmp_path):
    bundle = tmp_path / "bundle"
    shutil.copytree(starter.folder(), bundle)
    manifest = json.loads((bundle / "bundle.json").read_text())
    manifest.pop("gate", None)
    (bundle / "bundle.json").write_text(json.dumps(manifest))
    done = command("predict", bundle, *images, expect=4)
    assert done.stderr.count("this bundle has no fitted input gate") == 1
    assert f"thorax gate {bundle} --store STORE fits one" in done.stderr
