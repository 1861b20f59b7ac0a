"""A bundle without weights that says what it is: what it can do, what it refuses, and where it says it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

import thorax
from tests.helpers.command import command
from thorax import hardware, starter
from thorax.atomic_io import write_json
from thorax.bundle import Manifest, MeanAuc, Statement, load_bundle, write_graph_alone
from thorax.bundle.files import bundle_folder, model_and_images
from thorax.bundle.writing import copy_bundle
from thorax.errors import BundleError, DataError
from thorax.explain import open_explainer
from thorax.inference import engines
from thorax.inference.engines import describe_engine, open_predictor
from thorax.inference.ensemble import build_ensemble
from thorax.models.backbones import build_backbone
from thorax.radiograph import Origin, Radiograph
from thorax.recipe.sections import Network
from thorax.reporting.model_card import render_card
from thorax.workflows.bundles import calibrate, export
from thorax.workflows.evaluate import evaluate
from thorax.workflows.explain import explain

GOLDEN = Path(__file__).parents[1] / "data" / "golden"
IMAGES = sorted((GOLDEN / "source").glob("*.png"))
FINDINGS = load_bundle(GOLDEN / "run").manifest.findings

FOLDS = MeanAuc(value=0.75, low=0.7, high=0.8, num_findings=2, num_images=1506, num_patients=1214)
TEST = MeanAuc(value=0.7, low=0.6, high=0.79, num_findings=2, num_images=138, num_patients=88)
SAID = (
    "toy model, 15 training and 12 calibration images, out-of-fold mean AUC 0.750 (0.700 to 0.800): "
    "for trying Thorax, not for reading"
)


def statement(**changes):
    values = {
        "title": "toy model", "purpose": "for trying Thorax, not for reading", "out_of_fold": FOLDS,
        "folds": 3, "candidates": 4, "test": TEST, "test_looks": 23,
        "prevalence": dict.fromkeys(FINDINGS, 0.125) | {FINDINGS[-1]: 0.29},
    }  # fmt: skip
    return Statement.model_validate(values | changes)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    seen = Radiograph(
        pixels=np.asarray(Image.open(IMAGES[0])),
        origin=Origin(name="", format="PNG", intensity="", bits=8),
    ).pixels_sha256()
    folder = tmp_path_factory.mktemp("alone") / "toy"
    said = statement(images_seen=(seen,))
    return write_graph_alone(load_bundle(GOLDEN / "run"), folder, name="toy", statement=said)


def test_it_has_the_graph_the_manifest_and_the_patients(alone):
    (graph,) = (GOLDEN / "run" / "bundle").glob("*.onnx")
    assert {path.name for path in alone.folder.iterdir()} == {graph.name, "bundle.json", "patients.json"}
    manifest = json.loads((alone.folder / "bundle.json").read_text())
    assert manifest["format"] == 2
    assert not {"weights", "sha256"} & manifest["members"][0].keys()
    assert load_bundle(alone.folder).manifest == alone.manifest


def test_both_formats_are_written_again_to_the_same_bytes(alone, tmp_path):
    for folder in (GOLDEN / "run" / "bundle", alone.folder):
        content = (folder / "bundle.json").read_bytes()
        manifest = Manifest.model_validate_json(content)
        write_json(tmp_path / "again.json", manifest.model_dump(mode="json"))
        assert (tmp_path / "again.json").read_bytes() == content
    assert (copy_bundle(alone, tmp_path / "copy").folder / "bundle.json").read_bytes() == content


def test_it_predicts_as_the_bundle_that_it_was_made_of(alone):
    ours, theirs = (
        [
            [result.probability for result in prediction.findings]
            for prediction in open_predictor(bundle, device="cpu", engine="onnx").predict_files(IMAGES)
        ]
        for bundle in (alone, load_bundle(GOLDEN / "run"))
    )
    assert ours == theirs


def test_it_is_explained_by_the_exact_map_of_the_graph(alone):
    ours, theirs = (
        thorax.load(bundle, device="cpu").explain(IMAGES[3]) for bundle in (alone, GOLDEN / "run")
    )
    assert ours.map.method == theirs.map.method == "cam"
    np.testing.assert_array_equal(ours.map.attribution, theirs.map.attribution)


def test_a_graph_without_weights_also_serves_where_there_is_a_gpu(alone, monkeypatch):
    monkeypatch.setattr(hardware, "has_cuda_driver", lambda: True)
    monkeypatch.setattr(engines, "_gpu_for_torch", lambda: True)
    assert describe_engine(alone).startswith("onnxruntime")
    assert open_explainer(alone).library == "onnxruntime"
    assert describe_engine(load_bundle(GOLDEN / "run"), device="cpu").startswith("onnxruntime")
    with pytest.raises(BundleError, match=r"no weights, and engine torch \(device cuda\) needs them"):
        open_predictor(alone, device="cuda")
    with pytest.raises(BundleError, match=r"no weights, and a map by cam \(device cuda\) needs them"):
        open_explainer(alone, device="cuda")


def test_what_needs_weights_refuses_it(alone, tmp_path):
    network = Network(backbone="resnet10t", weights=f"bundle:{alone.folder}")
    attempts = {
        "engine torch (device auto)": lambda: open_predictor(alone, engine="torch"),
        "a map by grad-cam (device auto)": lambda: open_explainer(alone, methods=["grad-cam"]),
        "an ensemble": lambda: build_ensemble([alone, alone], tmp_path, name="e", mean_of="logits"),
        "a calibrated bundle": lambda: calibrate(alone, GOLDEN / "store", tmp_path / "c"),
        "an export": lambda: export(alone, GOLDEN / "store", out=tmp_path / "x"),
        "training that starts from it": lambda: build_backbone(
            network.model_copy(update=dict(alone.manifest.members[0].model) | {"weights": network.weights})
        ),
    }
    for what, attempt in attempts.items():
        with pytest.raises(BundleError) as refused:
            attempt()
        said = str(refused.value)
        assert f"toy ({alone.folder}) has an exported graph and no weights, and {what} needs them" in said
        assert "use a bundle that `train` made" in said
    assert list(tmp_path.iterdir()) == []


def test_a_graph_is_needed_to_be_without_weights(tmp_path):
    bundle = load_bundle(GOLDEN / "run")
    without = replace(bundle, manifest=bundle.manifest.model_copy(update={"engines": ()}))
    with pytest.raises(BundleError, match=r"no exported graph \(onnx, float32\).*export it first"):
        write_graph_alone(without, tmp_path / "x", name="x", statement=statement())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 1}, "the section statement needs format 2"),
        ({"format": 1, "statement": None}, "a member without weights needs format 2"),
        ({"calibration": None}, "a statement needs a calibration"),
        ({"engines": []}, r"need an exported graph \(onnx, float32\)"),
    ],
)
def test_manifests_that_make_no_sense_are_refused(alone, change, message):
    with pytest.raises(ValidationError, match=message):
        Manifest.model_validate(alone.manifest.model_dump(mode="json") | change)


def test_weights_of_some_members_alone_are_refused(alone):
    values = alone.manifest.model_dump(mode="json")
    (member,), (engine,) = values["members"], values["engines"]
    values |= {
        "members": [member, member | {"weights": "weights.safetensors", "sha256": "0" * 64}],
        "engines": [engine | {"nets": engine["nets"] * 2}],
        "ensemble": {"mean_of": "logits", "weights": [0.5, 0.5], "fitted_on": None},
    }
    with pytest.raises(ValidationError, match="some members have weights and some have none"):
        Manifest.model_validate(values)


def test_it_says_what_it_is_wherever_it_speaks(alone):
    model = thorax.load(alone)
    prediction = model.predict(IMAGES[1])
    explanation = explain(alone, IMAGES[1])
    report = evaluate(alone, GOLDEN / "store", gallery=False, resamples=20, device="cpu")
    assert model.statement == prediction.model.statement == SAID
    assert prediction.as_json()["model"]["statement"] == SAID
    assert SAID in explanation.notes
    assert explanation.as_json()["model"] == {"statement": SAID}
    assert SAID in model.explain(IMAGES[1]).notes
    for text in (repr(model), repr(prediction)):
        assert text.endswith(f"; {SAID})")
    for text in (
        model._repr_html_(),
        prediction._repr_html_(),
        render_card(alone),
        *report.context.warnings[:1],
    ):
        assert SAID[1:] in text
    full = [
        "best of 4 candidates on the folds that chose it",
        "On 138 test images of 88 patients, which were seen before in development (23 looks)",
        "its mean AUC over 2 findings is 0.700 (0.600 to 0.790)",
        "29 % of them",
    ]
    for text in (model._repr_html_(), render_card(alone), " ".join(report.context.warnings)):
        for part in full:
            assert part in text


def test_a_bundle_without_a_statement_says_nothing_more():
    prediction = thorax.load(GOLDEN / "run", device="cpu").predict(IMAGES[1])
    written = prediction.as_json()
    assert written["model"].keys() == {"name", "bundle_sha256", "calibrated"}
    assert written["findings"][FINDINGS[0]].keys() == {"probability", "threshold", "positive", "decision"}
    assert prediction.as_table()[0] == ("Finding", "Probability", "Threshold", "Decision")
    assert "; " not in repr(prediction)


def test_the_prevalence_that_a_probability_holds_for_is_beside_it(alone):
    prediction = thorax.load(alone).predict(IMAGES[1])
    written = prediction.as_json()["findings"]
    assert [written[name]["prevalence"] for name in FINDINGS] == [0.125] * (len(FINDINGS) - 1) + [0.29]
    header, rows = prediction.as_table()
    assert header[-1] == "Prevalence"
    label = prediction[FINDINGS[-1]].finding.label
    assert [row[-1] for row in rows if row[0] == label] == ["29.0 %"]
    assert "29.0 %" in prediction._repr_html_()


def test_an_image_that_it_was_trained_on_is_known_by_its_pixels(alone, tmp_path):
    model = thorax.load(alone)
    Image.open(IMAGES[0]).save(tmp_path / "other-name.png", compress_level=1)
    pixels = np.asarray(Image.open(IMAGES[0]))
    warning = "the toy was trained on this image: an example, not a measurement"
    assert [model.predict(image).warnings for image in (tmp_path / "other-name.png", pixels)] == [
        (warning,), (warning,),
    ]  # fmt: skip
    other = pixels.copy()
    other[0, 0] ^= 1
    assert [model.predict(image).warnings for image in (IMAGES[1], other)] == [(), ()]


def test_the_command_says_it_above_the_result_and_json_and_csv_stay_whole(alone):
    table = command("predict", alone.folder, IMAGES[0])
    assert table.stdout.startswith(SAID)
    assert "trained on this image" in table.stderr
    as_json = command("predict", "--model", alone.folder, IMAGES[0], "--json")
    assert json.loads(as_json.stdout)["model"]["statement"] == SAID
    as_csv = command("predict", IMAGES[0], "--model", alone.folder, "--csv")
    assert as_csv.stdout.startswith("source,finding,probability,threshold,positive,prevalence,decision,")
    values = as_csv.stdout.splitlines()[-1].split(",")[5:]
    assert values[:4] == ["0.29", "yes", "", ""]
    assert "trained on this image" in as_csv.stdout
    assert as_json.stderr.startswith(SAID)
    assert as_csv.stderr.startswith(SAID)


@pytest.fixture
def installed(alone, monkeypatch):
    """The starter of this installation."""
    monkeypatch.setattr(starter, "_HERE", alone.folder)
    return alone.folder


def test_without_a_bundle_the_starter_predicts(installed, tmp_path, monkeypatch):
    run, image = GOLDEN / "run", tmp_path / "a.png"
    image.touch()
    unfinished = tmp_path / "run"
    unfinished.mkdir()
    (unfinished / "recipe.toml").touch()
    assert model_and_images([image, tmp_path]) == (installed, [image, tmp_path])
    assert model_and_images([tmp_path]) == (installed, [tmp_path])
    assert model_and_images([tmp_path / "missing.png"]) == (installed, [tmp_path / "missing.png"])
    assert model_and_images([run, image]) == (run, [image])
    assert model_and_images([run / "bundle", image]) == (run / "bundle", [image])
    assert model_and_images([unfinished, image]) == (unfinished, [image])
    assert model_and_images([Path("starter"), image]) == (Path("starter"), [image])
    assert model_and_images([image, run], model="starter") == (Path("starter"), [image, run])
    assert thorax.load().bundle.folder == thorax.load("starter").bundle.folder == installed
    monkeypatch.chdir(tmp_path)
    (tmp_path / "starter").mkdir()
    assert bundle_folder("starter") == Path("starter")  # a folder of that name is meant
    with pytest.raises(DataError, match=r"run is a model, and no image was given"):
        model_and_images([run])
    with pytest.raises(BundleError, match=r"typo does not exist, so it is neither a bundle nor an image"):
        model_and_images([tmp_path / "typo", image])


@pytest.mark.usefixtures("installed")
def test_the_name_starter_is_understood_where_models_are_compared():
    result = thorax.compare(["starter", GOLDEN / "run"], GOLDEN / "store", resamples=20)
    assert list(result.contexts) == ["starter", "run"]
    assert result.comparison.pairs[0].macro.difference.value == 0
