"""Explaining and localising as a user types it."""

import json

import numpy as np
import pytest
import torch
import typer
from PIL import Image
from PIL.PdfParser import PdfParser
from typer.testing import CliRunner

import thorax
from thorax import starter
from thorax.bundle import Manifest, Member, hashed_patients, load_bundle, write_bundle
from thorax.cli.evaluate import evaluate
from thorax.cli.explain import explain
from thorax.cli.localize import localize
from thorax.datasets.nih import read_nih
from thorax.datasets.phantom import write_phantoms
from thorax.datasets.splits import registered_sha256
from thorax.errors import BundleError, DataError, RecipeError
from thorax.exporting import export_float32
from thorax.image_set import ImageSet
from thorax.models import build_classifier, weights_as_bytes
from thorax.recipe.schema import Head, Network, Preparation
from thorax.store import build_store, open_store

FINDINGS = ("Cardiomegaly", "Effusion", "Mass", "Nodule")
MODEL = Network(
    backbone="densenet121", arguments={"growth_rate": 8, "block_config": (1, 1, 1, 1)}, input_size=64
)

app = typer.Typer()
app.command()(explain)
app.command()(localize)
app.command()(evaluate)


def run(*arguments, expect=0):
    """Run a verb in this process; an error of Thorax comes out as it is."""
    done = CliRunner().invoke(app, list(map(str, arguments)), env={"COLUMNS": "200"})
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == expect, done.output
    return done


def reference(part, patients=1):
    return {
        "dataset": "nih-layout", "split": "folder-official", "part": part, "sha256": "", "images_sha256": "",
        "num_images": 1, "num_patients": patients,
    }  # fmt: skip


def bundle_at(folder, *, seen=(), model=MODEL, against=None, **changes):
    """Write a bundle of an untrained net; every place of every image speaks against the finding `against`."""
    torch.manual_seed(0)
    classifier = build_classifier(model, 4)
    if against is not None:
        with torch.no_grad():
            classifier.head.weight[FINDINGS.index(against)].abs_().neg_()
    provenance = {
        "kind": "trained", "recipe": "toy", "recipe_sha256": "", "seed": 0, "dataset": "nih-layout",
        "store_fingerprint": "", "trained_on": reference("train", len(seen)),
        "selected_on": reference("val", 0),
        "selected_by": "", "epoch": 1, "versions": {},
    }  # fmt: skip
    member = Member.model_validate(
        {
            "weights": "w.safetensors", "sha256": "", "model": model, "findings": FINDINGS,
            "exact_cam": classifier.exact_cam, "provenance": provenance,
        }
    )  # fmt: skip
    manifest = {
        "name": "toy", "findings": FINDINGS, "preparation": Preparation(size=64), "members": (member,),
        "calibration": None, "operating_points": None, "patients_sha256": "", **changes,
    }  # fmt: skip
    return write_bundle(
        folder,
        Manifest.model_validate(manifest),
        weights={"w.safetensors": weights_as_bytes(classifier.state_dict())},
        patients={"train": hashed_patients("nih-layout", seen).values()},
    ).folder


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """Phantoms, their store, and a bundle of an untrained net."""
    folder = tmp_path_factory.mktemp("work")
    write_phantoms(folder / "phantoms", patients=48, size=64)
    source = read_nih(folder / "phantoms")
    sums = registered_sha256(source.whole, source.dataset)
    build_store(source, folder / "store", Preparation(size=64), split_sha256=sums, workers=1)
    bundle_at(folder / "bundle")
    Image.fromarray(np.kron(np.arange(64, dtype=np.uint8)[:, None], np.full((4, 128), 3, np.uint8))).save(
        folder / "wide.png"
    )
    return folder


POINTS = {
    "rule": "f1-optimal", "chosen_on": reference("val"),
    "thresholds": {"Mass": 0.5, "Nodule": 0.5, "Effusion": 0.5, "Cardiomegaly": None},
}  # fmt: skip


def page_of(bundle, work, out, *options):
    run(
        "evaluate",
        bundle,
        "--store",
        work / "store",
        "--out",
        out,
        "--resamples",
        "5",
        "--device",
        "cpu",
        *options,
    )
    return (out / "report.html").read_text()


def test_the_report_of_a_bundle_has_a_gallery_unless_it_is_not_wanted(work, tmp_path):
    bundle = bundle_at(tmp_path / "bundle", operating_points=POINTS)
    page = page_of(bundle, work, tmp_path / "with")
    assert page.count("data:image/jpeg;base64,") > 10
    assert "with its <code>cam</code> map" in page
    assert "Mass, threshold 0.5" in page
    assert "Cardiomegaly, threshold" not in page
    assert "<img" not in page_of(bundle, work, tmp_path / "without", "--no-gallery")


@pytest.mark.parametrize("hidden", [(), (5,)])
def test_the_gallery_without_torch_has_the_exact_cam_or_says_why_it_has_no_maps(
    thorax_without_torch, work, tmp_path, hidden
):
    model = MODEL.model_copy(update={"head": Head(hidden=hidden)})
    folder = bundle_at(tmp_path / "bundle", model=model, operating_points=POINTS)
    images = open_store(work / "store").pixels(np.arange(4, dtype=np.int64))
    export_float32(load_bundle(folder), images, compared_on=ImageSet.model_validate(reference("val")))
    done = thorax_without_torch(
        "evaluate", folder, "--store", work / "store", "--out", tmp_path / "report",
        "--resamples", "5", "--device", "cpu",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "report" / "report.html").read_text()
    assert "data:image/jpeg;base64," in page
    assert ("with its <code>cam</code> map" in page) == (not hidden)
    assert ("No maps: explaining" in page) == bool(hidden)
    assert ("by grad-cam needs torch, but torch is not installed" in page) == bool(hidden)


def test_the_likeliest_finding_is_explained_by_the_exact_cam(work):
    done = run("explain", work / "bundle", work / "wide.png", "--json")
    told = json.loads(done.stdout)
    assert told["source"].endswith("wide.png")
    (only,) = told["maps"]
    assert only["method"] == "cam"
    assert only["finding"] in FINDINGS
    if only["highest"] > 0:
        x, y = only["place"]
        assert 0 <= x <= 128
        assert 0 <= y <= 256
    else:
        assert only["place"] is only["box"] is None


def test_positive_findings_are_explained(work, tmp_path):
    points = {
        "rule": "f1-optimal", "chosen_on": reference("val"),
        "thresholds": {"Mass": 0.0, "Nodule": 0.0, "Effusion": 1.0, "Cardiomegaly": None},
    }  # fmt: skip
    bundle = bundle_at(tmp_path / "bundle", operating_points=points)
    told = json.loads(run("explain", bundle, work / "wide.png", "--json").stdout)
    assert [each["finding"] for each in told["maps"]] == ["Mass", "Nodule"]


def test_a_map_with_nothing_above_0_is_told_with_a_way_out(work, tmp_path):
    bundle = bundle_at(tmp_path / "bundle", against="Effusion")
    both = ("--findings", "Effusion,Mass")
    done = run("explain", bundle, work / "wide.png", *both, "--json")
    maps = json.loads(done.stdout)["maps"]
    assert [each["place"] is None for each in maps] == [True, False]
    assert maps[0]["highest"] < 0
    told = "note: no location in the image supports Effusion (cam)"
    assert f"{told}; try method layer-cam\n" in done.stderr
    done = run("explain", bundle, work / "wide.png", *both, "--method", "cam", "--method", "layer-cam")
    assert f"{told}, Effusion (layer-cam)\n" in done.stderr


@pytest.mark.parametrize("name", ["a.png", "a.svg", "a.pdf"])
def test_a_picture_is_drawn(work, tmp_path, name):
    done = run(
        "explain", work / "bundle", work / "wide.png", "--findings", "Pleural Effusion,Mass",
        "--method", "grad-cam", "--method", "eigen-cam", "--out", tmp_path / name, "--contour", "--box",
    )  # fmt: skip
    assert (tmp_path / name).stat().st_size > 1000
    assert f"picture: {tmp_path / name}" in done.stdout
    assert "Effusion" in done.stdout
    assert done.stdout.count("grad-cam") == done.stdout.count("eigen-cam") == 2
    assert "note: eigen-cam shows where the network looks, and is the same for every finding" in done.stderr


@pytest.fixture
def folder(work, tmp_path):
    """Two radiographs of one name, and a file that is none."""
    images = tmp_path / "images"
    (images / "later").mkdir(parents=True)
    for path in (images / "wide.png", images / "later" / "Wide.png"):
        path.write_bytes((work / "wide.png").read_bytes())
    (images / "bad.png").write_bytes(b"no picture")
    return images


def test_a_folder_gets_a_picture_of_each_image_and_a_bad_file_stops_nothing(work, folder, tmp_path):
    out = tmp_path / "maps"
    arguments = ("explain", work / "bundle", folder, "--findings", "Mass", "--out", out)
    done = run(*arguments, "--format", "jpeg", expect=4)
    assert sorted(path.name for path in out.iterdir()) == ["Wide.jpeg", "wide-2.jpeg"]
    for path in out.iterdir():
        with Image.open(path) as picture:
            assert picture.format == "JPEG"
    assert "1 of 3 files could not be explained" in done.stderr
    assert f"{folder / 'bad.png'}: the file is not a known image" in done.stderr
    assert f"pictures: {out}" in done.stdout
    rows = [line.split()[0] for line in done.stdout.splitlines() if "Mass" in line]
    assert [row.lower() for row in rows] == ["wide.png", "wide.png"]
    with pytest.raises(DataError, match="is not empty; choose another path"):
        run(*arguments)
    lines = run(*arguments[:-2], "--json", expect=4).stdout.splitlines()
    results = [json.loads(line) for line in lines]
    alone = json.loads(
        run("explain", work / "bundle", folder / "wide.png", "--findings", "Mass", "--json").stdout
    )
    assert [result["maps"] for result in results] == [alone["maps"]] * 2


def test_other_files_in_a_folder_are_left_out_as_predict_does(work, folder, tmp_path):
    (folder / "bad.png").unlink()
    (folder / "notes.txt").write_text("bed 4, repeat")
    done = run("explain", work / "bundle", folder, "--findings", "Mass", "--json")
    assert len(done.stdout.splitlines()) == 2
    assert "1 file is not an image and was left out: notes.txt" in done.stderr
    given = run("explain", work / "bundle", folder, folder / "notes.txt", "--json", expect=4)
    assert "1 of 3 files could not be explained" in given.stderr  # named itself, so it should be one
    texts = tmp_path / "texts"
    texts.mkdir()
    (texts / "notes.txt").write_text("bed 4")
    assert "no image among the files" in run("explain", work / "bundle", texts, expect=4).stderr


def test_without_a_bundle_the_starter_explains():
    image = starter.test_images()[0].path
    own = json.loads(run("explain", image, "--json").stdout)
    named = json.loads(
        run("explain", image, "--model", "starter", "--findings", "Infiltration", "--json").stdout
    )
    assert own["model"]["statement"] == named["model"]["statement"] == thorax.load().statement
    assert [entry["finding"] for entry in named["maps"]] == ["Infiltration"]
    with pytest.raises(DataError, match=r"there are only .*did you mean Infiltration"):
        run("explain", image, "--findings", "Infiltrtion")


def test_several_images_are_pages_of_one_pdf_or_refused_as_one_picture(work, folder, tmp_path):
    images = (folder / "wide.png", folder / "later" / "Wide.png")
    run("explain", work / "bundle", *images, "--out", tmp_path / "maps.pdf")
    with PdfParser(str(tmp_path / "maps.pdf")) as parsed:
        assert len(parsed.pages) == 2
    with pytest.raises(DataError, match=r"maps.png is the name of one picture, .*a name that ends in .pdf"):
        run("explain", work / "bundle", *images, "--out", tmp_path / "maps.png")
    done = run(
        "explain",
        work / "bundle",
        folder / "bad.png",
        folder / "bad.png",
        "--out",
        tmp_path / "none.pdf",
        expect=4,
    )
    assert "2 of 2 files could not be explained" in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"images", "maps.pdf"}


def test_further_views_are_told(work, tmp_path):
    folder = tmp_path / "bundle"
    bundle_at(folder)
    manifest = json.loads((folder / "bundle.json").read_text())
    manifest["members"][0]["test_time"]["flip"] = True
    (folder / "bundle.json").write_text(json.dumps(manifest))
    done = run("explain", folder, work / "wide.png")
    assert "note: the maps explain the whole image only" in done.stderr


def test_localize_measures_and_writes(work, tmp_path):
    done = run(
        "localize", work / "bundle", "--store", work / "store", "--out", tmp_path / "figures",
        "--method", "cam", "--method", "layer-cam", "--resamples", "20",
    )  # fmt: skip
    numbers = json.loads((tmp_path / "figures" / "localization.json").read_text())
    assert list(numbers["methods"]) == ["cam", "layer-cam"]
    assert numbers["split"]["name"] == "folder-official"
    assert numbers["split"]["part"] == "test"
    images = open_store(work / "store")
    official = images.table.frame["official"] == "test"
    boxes = images.table.frame["boxes"][official]
    pairs = {
        (row, box.finding) for row, each in boxes.items() for box in each if box.finding.name in FINDINGS
    }
    assert numbers["num_boxes"] + numbers["num_fitting_boxes"] == len(pairs)
    assert "mean-box" in done.stdout
    assert f"table: {tmp_path / 'figures' / 'localization.md'}" in done.stdout
    assert "hardly tell methods apart" in done.stderr


def test_localize_blurs_what_the_maps_name(work, tmp_path):
    done = run(
        "localize", work / "bundle", "--store", work / "store", "--out", tmp_path / "figures",
        "--faithfulness", "--resamples", "20",
    )  # fmt: skip
    numbers = json.loads((tmp_path / "figures" / "localization.json").read_text())
    (found,) = numbers["faithfulness"].values()
    assert found["num_maps"] == numbers["num_boxes"] + numbers["num_fitting_boxes"]
    assert "Deletion and insertion" in done.stdout
    assert "## Faithfulness" in (tmp_path / "figures" / "localization.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            ("explain", "BUNDLE", "IMAGE", "--findings", "Hernia"),
            DataError,
            "`findings` has Hernia, and there are only",
        ),
        (("explain", "BUNDLE", "IMAGE", "--out", "a.gif"), DataError, "ends in .png, .jpg, .svg or .pdf"),
        (
            ("explain", "BUNDLE", "IMAGE", "--method", "rollout"),
            RecipeError,
            "does not attend from all locations to all locations",
        ),
        (("explain", "nowhere", "IMAGE"), BundleError, "nowhere does not exist"),
        (("localize", "BUNDLE", "--store", "STORE", "--out", "IMAGE"), DataError, "is a file; give a folder"),
        (("localize", "BUNDLE", "--store", "STORE", "--out", "new", "--part", "x"), DataError, "no part 'x'"),
    ],
)
def test_wrong_input_gets_a_message(work, tmp_path, arguments, error, message):
    places = {"BUNDLE": work / "bundle", "IMAGE": work / "wide.png", "STORE": work / "store"}
    given = [
        places.get(each, tmp_path / each if each in {"new", "nowhere", "a.gif"} else each)
        for each in arguments
    ]
    with pytest.raises(error, match=message):
        run(*given)
    assert not list(tmp_path.iterdir())


def test_an_unknown_method_lists_the_known_ones(work):
    with pytest.raises(RecipeError, match=r"no method 'gradcam' for maps .*; choose from .* grad-cam\+\+"):
        run("explain", work / "bundle", work / "wide.png", "--method", "gradcam")
