"""A bundle at work in one line: every kind of image, failures as values, and how results show themselves."""

import io
import shutil

import numpy as np
import pandas as pd
import pydicom
import pytest
from PIL import Image

import thorax
from tests.helpers.dicom_writing import dataset, to_bytes
from tests.helpers.html import tags_of
from thorax.bundle import load_bundle
from thorax.errors import BundleError, DataError, ImageError, RecipeError
from thorax.findings import Finding
from thorax.inference.predictor import Failure
from thorax.prediction import FindingPrediction, ModelIdentity, Prediction


@pytest.fixture(scope="module")
def model(bundle):
    return thorax.load(bundle.folder)


def probabilities(prediction):
    return [predicted.probability for predicted in prediction.findings]


# ---- opening -----------------------------------------------------------------------------------


def test_a_model_is_opened_from_a_path_a_string_a_bundle_and_a_run(bundle, scene, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "bundle").symlink_to(bundle.folder)
    expected = probabilities(thorax.load(bundle).predict(scene))
    for given in (bundle.folder, str(bundle.folder), load_bundle(bundle.folder), run, str(run)):
        assert probabilities(thorax.load(given).predict(scene)) == expected


def test_a_model_says_what_it_is(model, bundle):
    assert [finding.name for finding in model.findings] == ["Mass", "Nodule", "Edema"]
    assert (model.name, model.calibrated) == ("toy", False)
    assert repr(model).startswith("Model('toy': 3 findings, not calibrated, onnxruntime ")
    assert "float32, on the CPU)" in repr(model)
    assert "# toy" in model.card()
    assert model.card()._repr_markdown_() == model.card()
    assert str(bundle.folder) in model._repr_html_()


def test_the_engine_may_be_chosen(bundle, scene, model):
    by_torch = thorax.load(bundle, engine="torch")
    assert "torch" in by_torch.engine
    assert probabilities(by_torch.predict(scene)) == pytest.approx(
        probabilities(model.predict(scene)), abs=1e-4
    )


def test_there_is_no_bundle(tmp_path):
    with pytest.raises(BundleError, match="holds no bundle"):
        thorax.load(tmp_path)


# ---- predicting --------------------------------------------------------------------------------


def test_every_kind_of_image_is_predicted_alike(model, png, scene):
    file = dataset(scene, bits=8)
    data = png.read_bytes()
    sources = [
        png, str(png), data, bytearray(data), io.BytesIO(data), scene, np.stack([scene] * 3, axis=-1),
        Image.open(png), Image.fromarray(scene),
        to_bytes(file), pydicom.dcmread(io.BytesIO(to_bytes(file))), file,
    ]  # fmt: skip
    (expected, *others) = [probabilities(model.predict(source)) for source in sources]
    # A stored DICOM image of 8 bits becomes one of 16 in which full scale stays full scale.
    assert all(other == expected for other in others[:8])
    assert all(other == pytest.approx(expected, abs=1e-6) for other in others[8:])


def test_a_prediction_is_called_what_was_given(model, png, scene):
    assert model.predict(png).source == str(png)
    assert model.predict(scene).source == "<array>"
    assert model.predict(Image.open(png)).source == str(png)


def test_floats_need_a_range(model, scene):
    with pytest.raises(ImageError, match="value_range"):
        model.predict(scene / 255)
    of_floats = model.predict(scene / 255, value_range=(0, 1))
    assert probabilities(of_floats) == pytest.approx(probabilities(model.predict(scene)), abs=1e-4)


def test_many_images_in_order_with_failures_as_values(model, png, scene, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"not an image")
    sources = [png, broken, scene, tmp_path / "absent.png", scene / 255]
    outcomes = model.predict_many(iter(sources))
    assert not isinstance(outcomes, list)
    first, second, third, fourth, fifth = outcomes
    assert probabilities(first) == probabilities(third) == probabilities(model.predict(png))
    assert isinstance(second, Failure)
    assert second.source == str(broken)
    assert "not a known image" in second.reason
    assert isinstance(fourth, Failure)
    assert isinstance(fifth, Failure)
    assert "value_range" in fifth.reason


def test_many_are_not_one(model, png, scene):
    for source in (str(png), png.read_bytes(), scene):
        with pytest.raises(DataError, match="takes several images"):
            model.predict_many(source)
    assert len(list(model.predict_many(np.stack([scene, scene])))) == 2
    table = pd.DataFrame({"path": [str(png)]})
    with pytest.raises(DataError, match=r'got a table; give its column, as in table\["path"\]'):
        model.predict_many(table)
    assert len(list(model.predict_many(table["path"]))) == 1


# ---- a prediction ------------------------------------------------------------------------------


def made(source="chest.png", names=("Effusion", "Pleural_Thickening", "Mass", "Edema"), **changes):
    values = {
        "source": source,
        "findings": tuple(
            FindingPrediction(thorax.findings.finding_or_new(name), 0.9 - 0.2 * row, 0.5 if row < 2 else None)
            for row, name in enumerate(names)
        ),
        "operating_point": "youden",
        "model": ModelIdentity("toy", "0" * 64, calibrated=True),
    }
    return Prediction(**values | changes)


@pytest.mark.parametrize(
    "name",
    ["Pleural_Thickening", "pleural thickening", "Pleural thickening", Finding("Pleural_Thickening")],
)
def test_a_finding_is_taken_by_any_of_its_names(name):
    assert made()[name].probability == 0.7


def test_a_finding_of_ones_own_is_taken_by_its_name():
    assert made(names=("Goiter_Left",))["Goiter_Left"].probability == 0.9
    assert made(names=("Goiter_Left",))["Goiter Left"].probability == 0.9


def test_in_agrees_with_the_brackets():
    prediction = made()
    assert "Effusion" in prediction
    assert "pleural thickening" in prediction
    assert Finding("Pleural_Thickening") in prediction
    assert prediction.findings[0] in prediction
    assert "Efusion" not in prediction
    assert 0 not in prediction


def test_an_unknown_finding_is_an_error_with_the_nearest_names():
    with pytest.raises(DataError, match=r"toy does not predict 'Efusion'; did you mean Effusion\?"):
        made()["Efusion"]
    with pytest.raises(DataError, match=r"does not predict 'Pneumonia'; it predicts Effusion, Pleural_Thick"):
        made()["Pneumonia"]


def test_a_prediction_is_gone_through_and_tabulated():
    prediction = made()
    assert [predicted.finding.name for predicted in prediction] == [
        "Effusion", "Pleural_Thickening", "Mass", "Edema",
    ]  # fmt: skip
    assert len(prediction) == 4
    frame = prediction.to_frame()
    columns = ["source", "finding", "probability", "threshold", "positive", "decision"]
    assert list(frame.columns) == columns
    assert frame["finding"].tolist() == ["Effusion", "Pleural_Thickening", "Mass", "Edema"]
    assert frame["positive"].tolist() == [True, True, None, None]
    assert frame["threshold"].isna().tolist() == [False, False, True, True]
    assert made(names=("Mass",)).to_frame()["source"].tolist() == ["chest.png"]


# ---- how results show themselves ---------------------------------------------------------------


HOSTILE = "<script>alert('x')</script>&\"chest\".png"


def test_a_line_names_the_most_probable_findings():
    assert repr(made()) == (
        "Prediction('chest.png': Effusion 90.0 % (positive), Pleural Thickening 70.0 % (positive), "
        "Mass 50.0 %, 1 more)"
    )
    assert repr(made(names=("Mass",))) == "Prediction('chest.png': Mass 90.0 % (positive))"


def test_lines_stay_short():
    assert len(repr(made(source="folder/" * 999 + "chest.png"))) < 250
    assert "chest.png'" in repr(made(source="folder/" * 999 + "chest.png"))


def test_a_prediction_shows_a_table_with_the_most_probable_first():
    html = made(warnings=("this is a lateral view",))._repr_html_()
    places = [html.index(label) for label in ("Effusion", "Pleural Thickening", "Mass", "Edema")]
    assert places == sorted(places)
    assert "90.0 %" in html
    assert "Note: this is a lateral view." in html
    assert tags_of(html) >= {"table", "td"}


def test_what_a_file_is_called_is_never_html():
    for html in (
        made(source=HOSTILE)._repr_html_(),
        made(model=ModelIdentity(HOSTILE, "", calibrated=False))._repr_html_(),
        made(names=(HOSTILE,), warnings=(HOSTILE,))._repr_html_(),
    ):
        assert "script" not in tags_of(html)
        assert "&lt;script&gt;" in html


# ---- explaining --------------------------------------------------------------------------------


def test_an_explanation_is_a_map_that_can_be_drawn_and_saved(model, png, scene, tmp_path):
    explanation = model.explain(png, "nodule")
    assert explanation.finding.name == "Nodule"
    assert explanation.map.attribution.shape == scene.shape
    assert explanation.predicted == model.predict(png)["Nodule"]
    colors = explanation.overlay()
    assert (colors.shape, colors.dtype) == ((*scene.shape, 3), np.uint8)
    assert np.array_equal(explanation.overlay(opacity=0.0), np.stack([scene] * 3, axis=-1))
    assert explanation.save(str(tmp_path / "map.png")) == tmp_path / "map.png"
    with Image.open(tmp_path / "map.png") as image:
        assert image.width > image.height
    with pytest.raises(DataError, match=r"map\.bmp"):
        explanation.save(tmp_path / "map.bmp")


def test_an_explanation_shows_itself(model, png):
    explanation = model.explain(png, "Mass")
    assert repr(explanation).startswith("Explanation('")
    assert len(repr(explanation)) < 200
    html = explanation._repr_html_()
    assert 'src="data:image/png;base64,' in html
    assert f"{explanation.map.highest:.3g} logits" in html
    assert " logits" not in model.explain(png, "Mass", method="grad-cam")._repr_html_()
    assert tags_of(html) >= {"img", "table"}
    assert len(html) < 1_000_000


def test_without_a_finding_the_most_probable_is_explained(model, scene):
    assert model.explain(scene).finding == model.predict(scene).ranked()[0].finding


def test_another_method_and_what_is_refused(model, scene):
    assert model.explain(scene, "Mass", method="grad-cam").map.method == "grad-cam"
    with pytest.raises(RecipeError, match="no method 'gradcam'; choose from cam, grad-cam"):
        model.explain(scene, "Mass", method="gradcam")
    with pytest.raises(DataError, match="does not predict 'Hernia'"):
        model.explain(scene, "Hernia")
    with pytest.raises(ImageError, match="value_range"):
        model.explain(scene / 255, "Mass")


def test_a_damaged_file_is_found_when_the_bundle_is_opened(bundle, tmp_path):
    """Of the weights too, which an explanation may need although predictions do not."""
    copy = shutil.copytree(bundle.folder, tmp_path / "copy")
    weights = copy / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    with pytest.raises(BundleError, match=r"weights\.safetensors"):
        thorax.load(copy)


def test_images_in_memory_are_named_by_their_position(model, scene):
    first, second, third = model.predict_many([scene, scene / 255, Image.fromarray(scene)])
    assert [first.source, second.source, third.source] == ["<array 0>", "<array 1>", "<image 2>"]
    assert second.reason.startswith("an array of type float64 ")


def test_an_array_of_12_bits_is_spread_with_a_warning(model, scene):
    twelve_bits = scene.astype(np.uint16) * 16
    prediction = model.predict(twelve_bits)
    assert any("so it was assumed to hold values of 12 bits" in warning for warning in prediction.warnings)
    assert "so it was assumed to hold values of 12 bits" in prediction._repr_html_()
    assert model.predict(twelve_bits, value_range=(0, 4080)).warnings == ()


def test_a_missing_threshold_is_explained():
    assert "n/a: no threshold could be chosen on validation" in made()._repr_html_()
    assert "n/a: " not in made(names=("Effusion", "Mass"))._repr_html_()
    assert "n/a: " not in made(operating_point="")._repr_html_()
