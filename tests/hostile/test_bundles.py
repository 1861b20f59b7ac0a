"""Bundles that somebody else made or changed; the names are those of the trials in which each failed."""

import json
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.helpers.toy_bundle import NAMES, images
from thorax.atomic_io import sha256_of_file
from thorax.bundle import attach_engine, load_bundle, new_bundle_folder, refuse_seen_patients
from thorax.bundle.manifest import Exported, ExportedFile, ExportedNet, Parity
from thorax.bundle.writing import copy_bundle
from thorax.errors import BundleError, DataError
from thorax.imaging import read_radiograph
from thorax.inference.engines import open_predictor
from thorax.inference.onnx_session import prefetch
from thorax.workflows.model import load


def edited(folder, change):
    """Change the manifest by a function of its values."""
    path = folder / "bundle.json"
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def rehashed(folder, name):
    """Let the manifest have the checksum that a changed file has."""
    text = (folder / "bundle.json").read_text()
    listed = {
        **{member["weights"]: member["sha256"] for member in json.loads(text)["members"]},
        **{
            file["name"]: file["sha256"]
            for engine in json.loads(text)["engines"]
            for net in engine["nets"]
            for file in net["files"]
        },
        "patients.json": json.loads(text)["patients_sha256"],
    }
    (folder / "bundle.json").write_text(text.replace(listed[name], sha256_of_file(folder / name)))


def graph_name(folder):
    (graph,) = folder.glob("*.onnx")
    return graph.name


# ---- the manifest ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", ["[" * 60_000, '{"a":' * 60_000], ids=["deep", "deep_obj"])
def test_deep_json(folder, png, thorax, content):
    (folder / "bundle.json").write_text(content)
    done = thorax("predict", folder, png)
    assert done.returncode == BundleError.exit_code
    assert done.stderr.startswith("BundleError: ")
    assert "bundle.json is damaged: it is not JSON" in done.stderr


@pytest.mark.parametrize(
    "name", ["weights\0.safetensors", "", ".", "..", "../x", "a\\b", "a\x1b[31m", "x" * 300]
)
def test_w_nul_and_other_names_that_are_not_of_files_in_the_folder(folder, name):
    edited(folder, lambda values: values["members"][0].update(weights=name))
    with pytest.raises(BundleError, match=r"names the file .{2,70}, which is outside its folder"):
        load_bundle(folder)


def test_g_nul(folder, png, thorax):
    edited(folder, lambda values: values["engines"][0]["nets"][0]["files"][0].update(name="g\0.onnx"))
    done = thorax("predict", folder, png)
    assert done.returncode == BundleError.exit_code
    assert r"names the file 'g\x00.onnx'" in done.stderr


@pytest.mark.parametrize("threshold", [-1, 2, 1e308])
def test_thr_neg_and_thr_two(folder, threshold):
    points = {"rule": "one-half", "thresholds": dict.fromkeys(NAMES, threshold), "chosen_on": None}
    edited(folder, lambda values: values.update(operating_points=points))
    with pytest.raises(BundleError, match=r"operating_points\.thresholds\.Mass"):
        load_bundle(folder)


@pytest.mark.parametrize("second", ["Mass", "mass", "Pulmonary Mass"])
def test_find_dup(folder, second):
    edited(folder, lambda values: values.update(findings=["Mass", second]))
    with pytest.raises(BundleError, match="a finding is listed twice"):
        load_bundle(folder)


@pytest.mark.parametrize("name", ["\x1b]0;title\a", "a\nb", "x" * 201])
def test_names_that_do_not_print(folder, name):
    edited(folder, lambda values: values.update(name=name))
    with pytest.raises(BundleError, match=r"\(name: .* a name has at most 200 characters"):
        load_bundle(folder)


def test_members_2000(folder):
    def repeat(values):
        values["members"] *= 2000
        values["ensemble"] = {"mean_of": "logits", "weights": [1 / 2000] * 2000, "fitted_on": None}

    edited(folder, repeat)
    with pytest.raises(BundleError, match=r"members: .* at most 64 items"):
        load_bundle(folder)


def test_a_manifest_of_more_than_16_megabytes(folder):
    with (folder / "bundle.json").open("ab") as file:
        file.write(b" " * 2**24)
    with pytest.raises(BundleError, match=r"bundle\.json: more than 16,777,216 bytes"):
        load_bundle(folder)


# ---- files that are not files ----------------------------------------------------------------------------


@pytest.mark.usefixtures("ends")
@pytest.mark.parametrize("kind", ["fifo", "devzero"])
@pytest.mark.parametrize("what", ["m", "p", "w", "e"])
def test_pipes_and_devices_are_not_opened(folder, what, kind):
    """Each was waited for without end, or read until the memory was full."""
    names = {"m": "bundle.json", "p": "patients.json", "w": "weights.safetensors", "e": graph_name(folder)}
    replaced_by(kind, folder / names[what])
    with pytest.raises(BundleError, match=r"this is a pipe, a device or a socket, not a file") as refused:
        load_bundle(folder)
    assert names[what] in str(refused.value)


@pytest.mark.parametrize("kind", ["fifo", "devzero"])
def test_g_fifo_and_g_symlink_devzero(folder, png, thorax, kind):
    """`predict` begins to open the graph before anything is checked."""
    replaced_by(kind, folder / graph_name(folder))
    done = thorax("predict", folder, png)
    assert done.returncode == BundleError.exit_code
    assert "this is a pipe, a device or a socket, not a file" in done.stderr


def replaced_by(kind, path):
    path.unlink()
    if kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")


def test_a_file_of_more_than_4_gigabytes_is_not_hashed(folder):
    with (folder / "weights.safetensors").open("r+b") as file:
        file.truncate(5 * 2**30)  # takes no room
    with pytest.raises(BundleError, match=r"has 5\.0 GiB, and a file of a bundle at most 4"):
        load_bundle(folder)


def test_the_start_of_predict_survives_whatever_the_manifest_is(folder, png):
    for content in (
        b"[" * 100_000,
        b"{}",
        b'{"engines": [{"kind": "onnx", "precision": "float32", "nets": 1}]}',
    ):
        (folder / "bundle.json").write_bytes(content)
        prefetch(folder, [png], device="cpu")


# ---- numbers ---------------------------------------------------------------------------------------------


@pytest.fixture
def w_nan(folder):
    weights = load_file(folder / "weights.safetensors")
    weights["head.weight"] = np.full_like(weights["head.weight"], np.nan)
    save_file(weights, folder / "weights.safetensors")
    rehashed(folder, "weights.safetensors")
    return folder


def test_weights_sum_and_w_nan(w_nan, png, thorax):
    """They were reported as "nan %, no", and as a traceback in JSON."""
    predictor = open_predictor(load_bundle(w_nan), engine="torch", device="cpu")
    for predict in (
        predictor.predict_files,
        lambda paths: predictor.predict([read_radiograph(png)], [str(paths)]),
    ):
        with pytest.raises(BundleError, match="gives 3 logits that are not finite numbers"):
            list(predict([png]))
    done = thorax("predict", w_nan, png, "--engine", "torch", "--csv")
    assert done.returncode == BundleError.exit_code
    assert "gives 3 logits that are not finite numbers (for Mass, Nodule, Edema)" in done.stderr
    assert "nan" not in done.stdout


def test_w_nan_is_not_explained(w_nan, png, tmp_path):
    model = load(w_nan, device="cpu")
    with pytest.raises(BundleError, match="gives maps whose values are not finite numbers"):
        model.explain(png, "Mass", method="grad-cam")


def test_platt_1e308(folder):
    """Products overflow to infinity, and infinity minus infinity is not a number."""
    fitted_on = json.loads((folder / "bundle.json").read_text())["members"][0]["provenance"]["trained_on"]
    platt = {
        "kind": "platt", "slopes": dict.fromkeys(NAMES, 1e308), "intercepts": dict.fromkeys(NAMES, -1e308),
        "kept": {}, "fitted_on": fitted_on,
    }  # fmt: skip
    edited(folder, lambda values: values.update(calibration=platt))
    predictor = open_predictor(load_bundle(folder), device="cpu")
    try:
        probabilities = predictor.probabilities(images(3))
    except BundleError as error:
        assert "gives probabilities that are not numbers" in str(error)  # noqa: PT017
    else:
        assert np.isfinite(probabilities).all()


@pytest.mark.parametrize(
    "change",
    [
        {"head": {"hidden": [1_000_000, 250_000]}},
        {"head": {"hidden": [60_000, 60_000]}},
        {"backbone": "resnet18", "arguments": {"layers": [100_000, 1, 1, 1]}},
        {"backbone": "vit_giant_patch14_224", "arguments": {}},
    ],
    ids=["hidden_big", "hidden of 14 GB", "model-args-manyblocks", "another net"],
)
def test_nets_that_are_larger_than_their_weights(folder, change):
    edited(folder, lambda values: values["members"][0]["model"].update(change))
    with pytest.raises(BundleError, match="is too small for the net that its manifest names"):
        open_predictor(load_bundle(folder), engine="torch", device="cpu")


def test_w_int8(folder):
    """torch would convert the numbers in silence."""
    weights = load_file(folder / "weights.safetensors")
    save_file(
        {name: numbers.astype(np.int8) for name, numbers in weights.items()}, folder / "weights.safetensors"
    )
    rehashed(folder, "weights.safetensors")
    with pytest.raises(BundleError, match=r"wrong type: .* torch\.int8 for torch\.float32.* and \d+ more"):
        open_predictor(load_bundle(folder), engine="torch", device="cpu")


# ---- patients --------------------------------------------------------------------------------------------


def test_patients_emptied(folder):
    """Also where the manifest has the new hash: it says how many patients were used."""
    (folder / "patients.json").write_text("{}\n")
    rehashed(folder, "patients.json")
    bundle = load_bundle(folder)
    with pytest.raises(BundleError, match=r"patients\.json lists 0 patients of train, and 4 were used"):
        refuse_seen_patients(bundle, "toy", ["anybody"])


# ---- two writers -----------------------------------------------------------------------------------------


def _entry(precision):
    file = ExportedFile(name="", sha256="")
    reference = {
        "dataset": "toy", "split": "toy", "part": "val", "sha256": "", "images_sha256": "", "num_images": 4,
        "num_patients": 4,
    }  # fmt: skip
    parity = Parity(compared_with="", compared_on=reference, num_images=4, largest_difference=0.0)
    return Exported(
        kind="onnx", precision=precision, nets=(ExportedNet(files=(file,), cam=False),), parity=parity,
        versions={},
    )  # fmt: skip


def test_two_exports_into_one_bundle(folder, tmp_path):
    """Both had read the manifest before either wrote it."""
    first, second = load_bundle(folder), load_bundle(folder)
    for name in ("a", "b"):
        (tmp_path / f"{name}.onnx").write_bytes(name.encode())
    attach_engine(first, _entry("int8"), [[tmp_path / "a.onnx"]])
    written = attach_engine(second, _entry("float32"), [[tmp_path / "b.onnx"]])
    assert {engine.precision for engine in written.manifest.engines} == {"int8", "float32"}
    assert {path.read_bytes() for path in folder.glob("*.onnx")} == {b"a", b"b"}


def test_two_exports_at_the_same_moment(sound, tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"a")
    (tmp_path / "b.onnx").write_bytes(b"b")
    for number in range(5):
        folder = copy_bundle(sound, tmp_path / str(number)).folder
        writers = [
            threading.Thread(
                target=attach_engine, args=(load_bundle(folder), _entry(precision), [[tmp_path / file]])
            )
            for precision, file in (("int8", "a.onnx"), ("float32", "b.onnx"))
        ]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        engines = load_bundle(folder).manifest.engines
        assert {engine.precision for engine in engines} == {"int8", "float32"}


def test_an_export_into_a_bundle_that_became_another_one(folder, tmp_path):
    bundle = load_bundle(folder)
    edited(folder, lambda values: values.update(name="other"))
    (tmp_path / "a.onnx").write_bytes(b"a")
    before = (folder / "bundle.json").read_bytes()
    with pytest.raises(BundleError, match="was changed by another process while an engine was exported"):
        attach_engine(bundle, _entry("int8"), [[tmp_path / "a.onnx"]])
    assert (folder / "bundle.json").read_bytes() == before
    (folder / "bundle.json").unlink()
    with pytest.raises(BundleError, match="was changed by another process"):
        attach_engine(bundle, _entry("int8"), [[tmp_path / "a.onnx"]])


_HOLD = """
import sys
from pathlib import Path
from thorax.bundle import new_bundle_folder
with new_bundle_folder(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_two_imports_into_one_folder(tmp_path):
    """The second is refused; it would have replaced what the first wrote."""
    out = tmp_path / "out"
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, out], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(DataError, match="another process is writing a bundle to"), new_bundle_folder(out):
            pass
        holder.stdin.close()
    assert holder.returncode == 0
    assert not out.exists()  # nothing was written to it


def test_a_bundle_that_appears_meanwhile_is_not_replaced(sound, tmp_path):
    with new_bundle_folder(tmp_path / "out"):
        copy_bundle(sound, tmp_path / "out")
    with pytest.raises(DataError, match="is not empty"), new_bundle_folder(tmp_path / "out"):
        pass
    assert load_bundle(tmp_path / "out").sha256 == sound.sha256
