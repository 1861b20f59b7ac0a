"""Mistakes are found before any work: before torch is imported, a whole store is read or a bar is drawn.

All commands run in one process, in which the first import of torch, timm or onnxruntime is an error of its
own (but of onnxruntime for `predict`, which opens its graph while the arguments are parsed). A bit of the
pixels of the store is flipped, so that a check after reading the whole store would find that instead.
"""

import gzip
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parents[1] / "data" / "golden"

NOWHERE = (5, "BundleError: nowhere does not exist; give a bundle")
NO_STORE = (3, "there is no store nowhere, and no file of that name")
IS_RUN = (3, "run is not a store: it has no store.json")
OCCUPIED = (3, "full is not empty; choose another path, or set --overwrite to replace it")
BELOW_FILE = (3, r"file/x(\.\w+)? cannot be made, because .*/file is a file; give another path")
UNWRITABLE = (3, r"/proc/none(/x)?(\.\w+)? cannot be written: /proc takes no new file")
DEVICE = (2, "this machine does not have the device 'gpu'; set --device to auto")
ENGINE = (5, "run/bundle has no engine onnx-int8 (it has torch, onnx)")
SPLIT = (3, "there is no split 'nih-oficial'.*nih-official")
PART = (3, "split folder-official has no part 'tset'; its parts are train, val, test")
FINDING = (
    3,
    "--findings has Effuson, and there are only Effusion, Infiltration, Mass; did you mean Effusion?",
)
RULE = (3, "no rule for thresholds is called 'yuden'.*choose f1-optimal, youden")
NO_FILE = (3, "nowhere.csv cannot be read|nowhere.csv does not exist")

MISTAKES = (
    ("prepare nowhere --out new", 3, "nowhere does not exist"),
    ("prepare source/labels.csv --out full", 3, "full is not empty and is not a store (it has x)"),
    ("prepare nowhere --out file/x", *BELOW_FILE),
    ("prepare nowhere --out /proc/none/x", *UNWRITABLE),
    ("prepare nowhere --out new --recipe smal-cpu", 2, "no recipe 'smal-cpu'; did you mean small-cpu?"),
    ("train small-cpu --store nowhere --out new", *NO_STORE),
    ("train smal-cpu --store store --out new", 2, "no recipe 'smal-cpu'; did you mean small-cpu?"),
    ("train small-cpu --store store --out new", 3, "holds images of 32 pixels .*needs 112"),
    ("train recipe.toml --store store --out full", 3, "full is not empty and does not hold a run, but x"),
    ("train recipe.toml --store store --out run", 3, "run already holds a run; set --resume to continue it"),
    ("train recipe.toml --store store --out file/x", *BELOW_FILE),
    ("train recipe.toml --store store --out /proc/none/x", *UNWRITABLE),
    ("train recipe.toml --store store --out new --device gpu", *DEVICE),
    ("train recipe.toml --store store --out new --seeds 2 --device gpu", *DEVICE),
    ("train recipe.toml --store store --out new --set data.split=nih-oficial", *SPLIT),
    ("train recipe.toml --store store --out new --set data.findings=[Effuson]", 3, "did you mean Effusion"),
    ("tune recipe.toml --store nowhere --out new", *NO_STORE),
    ("tune recipe.toml --store store --out full", 3, "full is not empty and does not hold a study, but x"),
    ("tune recipe.toml --store store --out file/x", *BELOW_FILE),
    ("tune recipe.toml --store store --out new --device gpu", *DEVICE),
    ("tune recipe.toml --store store --out new --set data.split=nih-oficial", *SPLIT),
    ("tune recipe.toml --store store --out new --space nowhere.toml", 2, "nowhere.toml cannot be read"),
    ("study fild --out new", 2, "there is no study 'fild'; did you mean field?"),
    ("study field --out new", 3, "the data set nih of study field has no store; give one as --store"),
    ("study field --store nowhere --out new", *NO_STORE),
    ("study field --store store --out new", 3, "holds images of 32 pixels .*needs 320"),
    ("study field --store store --out full", 3, "full is not empty and does not hold a study, but x"),
    ("study field --store store --out file/x", *BELOW_FILE),
    ("study field --store store --out new --device gpu", *DEVICE),
    ("evaluate nowhere --store store --out new", *NOWHERE),
    ("evaluate run --store nowhere --out new", *NO_STORE),
    ("evaluate run --store run --out new", *IS_RUN),
    ("evaluate run --store store --out full", *OCCUPIED),
    ("evaluate run --store store --out file", 3, "file is a file; give a folder"),
    ("evaluate run --store store --out file/x", *BELOW_FILE),
    ("evaluate run --store store --out /proc/none/x", *UNWRITABLE),
    ("evaluate run --store store --out new --device gpu", *DEVICE),
    ("evaluate run --store store --out new --engine onnx-int8", *ENGINE),
    ("evaluate run --store store --out new --split nih-oficial", *SPLIT),
    ("evaluate run --store store --out new --part tset", *PART),
    ("evaluate run --store store --out new --findings Effuson", *FINDING),
    ("evaluate run --store store --out new --rule yuden", *RULE),
    ("evaluate run --store store --out new --thresholds nowhere.json", 3, "nowhere.json cannot be read"),
    ("evaluate run --store store --out new --prevalence Edema=0.1", 3, "has Edema, which is not evaluated"),
    ("evaluate run --store store --out new --radiologists nowhere.csv", *NO_FILE),
    ("evaluate --predictions p.csv --store store --out full", *OCCUPIED),
    ("evaluate --predictions p.csv --store store --out new --split folder-official --part tset", *PART),
    ("compare run nowhere --store store --out new", 3, "nowhere does not exist; give bundles, reports"),
    ("compare run other --store nowhere --out new", *NO_STORE),
    ("compare run other --store store --out full", *OCCUPIED),
    ("compare run other --store store --out file/x", *BELOW_FILE),
    ("compare run other --store store --out new --device gpu", *DEVICE),
    ("compare run other --store store --out new --split nih-oficial", *SPLIT),
    ("compare run other --store store --out new --part tset", *PART),
    ("compare run other --store store --out new --findings Effuson", *FINDING),
    ("compare run other --store store --out new --rule yuden", *RULE),
    ("compare run other --store store --out new --baseline third", 3, "third is not one of the models"),
    ("robustness nowhere --store store --out new", *NOWHERE),
    ("robustness run --store nowhere --out new", *NO_STORE),
    ("robustness run --store store --out full", *OCCUPIED),
    ("robustness run --store store --out file/x", *BELOW_FILE),
    ("robustness run --store store --out new --device gpu", *DEVICE),
    ("robustness run --store store --out new --engine onnx-int8", *ENGINE),
    ("robustness run --store store --out new --split nih-oficial", *SPLIT),
    ("robustness run --store store --out new --part tset", *PART),
    ("robustness run --store store --out new --findings Effuson", *FINDING),
    ("robustness run --store store --out new --perturbations jpg", 2, "there is no perturbation 'jpg'"),
    ("site nowhere --name x --store store --out new", *NOWHERE),
    ("site run --name x --store nowhere --out new", *NO_STORE),
    ("site run --name x --store store --out full", *OCCUPIED),
    ("site run --name x --store store --out file/x", *BELOW_FILE),
    ("site run --name x --store store --out new --save full", 3, "full is not empty and is not a bundle"),
    ("site run --name x --store store --out new --save file/x", *BELOW_FILE),
    ("site run --name x --store store --out new --device gpu", *DEVICE),
    ("site run --name x --store store --out new --engine onnx-int8", *ENGINE),
    ("site run --name x --store store --out new --split nih-oficial", *SPLIT),
    ("site run --name x --store store --out new --split folder-official --part tset", *PART),
    ("site run --name x --store store --out new --findings Effuson", *FINDING),
    ("audit nowhere --split nih-official", *NO_STORE),
    ("audit store --split nih-oficial", *SPLIT),
    ("audit store --split folder-official --part tset", 3, "no part 'tset'.*train, val, test"),
    ("audit store --split folder-official --bundle nowhere", *NOWHERE),
    ("audit store --split folder-official --metrics nowhere.json", 3, "nowhere.json cannot be read"),
    ("audit store --split folder-official --predictions nowhere.csv", *NO_FILE),
    ("audit store --split folder-official --boxes nowhere.csv", *NO_FILE),
    ("predict nowhere image.png", 5, "nowhere does not exist, so it is neither a bundle nor an image"),
    ("predict run", 3, "run is a model, and no image was given"),
    ("predict store image.png", 5, "store is a store, which has images and labels, and holds no bundle"),
    ("predict run image.png --device gpu", *DEVICE),
    ("predict run image.png --engine onnx-int8", *ENGINE),
    ("predict run --watch nowhere --out new", 3, "^DataError: nowhere is not a folder"),
    ("predict run image.png --dicom-out file", 3, "file is a file; give a folder"),
    ("predict run image.png --site there", 5, "has no calibration for the site 'there'"),
    ("explain nowhere image.png", 5, "nowhere does not exist, so it is neither a bundle nor an image"),
    ("explain run", 3, "run is a model, and no image was given"),
    ("explain image.png --model nowhere", *NOWHERE),
    ("explain run nowhere.png", 4, "nowhere.png does not exist"),
    ("explain run image.png --device gpu", *DEVICE),
    ("explain run image.png --findings Effuson", *FINDING),
    ("explain run image.png --method cma", 2, "there is no method 'cma' for maps.*choose from cam"),
    ("explain run image.png --out image.png", 3, "image.png already exists; .* set --overwrite"),
    ("explain run image.png --out file/x.png", *BELOW_FILE),
    ("explain run image.png --out /proc/none.png", *UNWRITABLE),
    ("localize nowhere --store store --out new", *NOWHERE),
    ("localize run --store nowhere --out new", *NO_STORE),
    ("localize run --store store --out full", *OCCUPIED),
    ("localize run --store store --out file/x", *BELOW_FILE),
    ("localize run --store store --out new --device gpu", *DEVICE),
    ("localize run --store store --out new --split nih-oficial", *SPLIT),
    ("localize run --store store --out new --part tset", *PART),
    ("localize run --store store --out new --method cma", 2, "there is no method 'cma' for maps"),
    ("calibrate nowhere --store store --out new", *NOWHERE),
    ("calibrate run --store nowhere --out new", *NO_STORE),
    ("calibrate run --store store --out full", 3, "full is not empty and is not a bundle (it has x)"),
    ("calibrate run --store store --out other/bundle", 3, "bundle is not empty; .* set --overwrite"),
    ("calibrate run --store store --out file/x", *BELOW_FILE),
    ("calibrate run --store store --out /proc/none/x", *UNWRITABLE),
    ("calibrate run --store store --out new --device gpu", *DEVICE),
    ("calibrate run --store store --out new --split nih-oficial", *SPLIT),
    ("calibrate run --store store --out new --level 2", 3, "--level is 2.0; give a share"),
    ("calibrate run --store store --out new --test-time flop=true", 2, "no setting flop; did you mean flip?"),
    ("ensemble run nowhere --out new", *NOWHERE),
    ("ensemble run other --out full", 3, "full is not empty and is not a bundle (it has x)"),
    ("ensemble run other --out file/x", *BELOW_FILE),
    ("ensemble run other --store nowhere --out new", *NO_STORE),
    ("ensemble run other --store store --out new --device gpu", *DEVICE),
    ("ensemble run other --store store --out new --split nih-oficial", *SPLIT),
    ("ensemble run --out new", 5, "an ensemble needs at least two bundles"),
    ("export nowhere --store store", *NOWHERE),
    ("export run --store nowhere", *NO_STORE),
    ("export run --store store --out full", 3, "full is not empty and is not a bundle (it has x)"),
    ("export run --store store --out file/x", *BELOW_FILE),
    ("export run --store store --split nih-oficial", *SPLIT),
    ("export run --store store --int8 --gated Effuson", 3, "--gated has Effuson.* did you mean Effusion?"),
    ("import nowhere.pth --as timm --out new", 5, "nowhere.pth is not a file that exists"),
    ("import image.png --as timm --out full", 3, "full is not empty and is not a bundle (it has x)"),
    ("import image.png --as timm --out file/x", *BELOW_FILE),
    ("card nowhere --out new.md", *NOWHERE),
    ("card run --out image.png", 3, "image.png already exists; .* set --overwrite"),
    ("card run --out file/x.md", *BELOW_FILE),
    ("card run --metrics nowhere.json --out new.md", 3, "nowhere.json cannot be read"),
    ("sheet nowhere --out new.png", 3, "nowhere does not exist"),
    ("sheet store --out image.png", 3, "image.png already exists; .* set --overwrite"),
    ("sheet store --out file/x.png", *BELOW_FILE),
    ("sheet store --out new.bmp", 3, "new.bmp does not end in .png"),
    ("sheet store --out new.png --findings Effuson", 3, "unknown finding 'Effuson'.* did you mean Effusion"),
    ("download nihh new", 3, "there is no source 'nihh' to download"),
    ("download nih-sample file/x", *BELOW_FILE),
    ("serve nowhere --port 0", *NOWHERE),
    ("serve run --port 99999", 6, "there is no port 99999; set --port"),
    ("sign nowhere --key image.png", *NOWHERE),
    ("sign run --key nowhere.pem", 3, "the key nowhere.pem cannot be read"),
    ("sign --new-key image.png", 3, "image.png exists, and a key is never replaced"),
    ("verify nowhere", *NOWHERE),
    ("verify run --key nowhere.pem", 3, "the key nowhere.pem cannot be read"),
    ("phantom full --patients 2", 3, "full/x does not belong to 2 phantom patients"),
    ("phantom file/x --patients 2", *BELOW_FILE),
    ("phantom new --patients 1000000 --size 1024", 3, r"new will take about [\d.]+ TB, and .* has .* free"),
    ("phantom new --patients 2 --size 9", 3, "ask for a size from 64 to 1024"),
)

RUN = """
import io, json, os, sys
from contextlib import redirect_stderr, redirect_stdout
from importlib.machinery import ModuleSpec
import thorax.cli.main as cli

class Imported(Exception):
    pass

class Loader:
    def create_module(self, spec):
        raise Imported(spec.name)
    def exec_module(self, module):
        pass

class Watch:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in heavy:
            return ModuleSpec(name, Loader())

sys.meta_path.insert(0, Watch())
results = []
for words in json.load(sys.stdin):
    heavy = {"torch", "timm", "torchvision"} | ({"onnxruntime"} if words[0] != "predict" else set())
    before, stdout, stderr = sorted(os.listdir()), io.StringIO(), io.StringIO()
    sys.argv = ["thorax", *words]
    try:
        with redirect_stdout(stdout), redirect_stderr(stderr):
            code = cli._run([words[0]])
    except Imported as error:
        code = f"{error} was imported"
    written = sorted(set(os.listdir()) - set(before))
    results.append([code, stdout.getvalue(), stderr.getvalue(), written])
json.dump(results, sys.stdout)
"""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """What each command gave: its exit code, what it printed, and what it left in the folder."""
    work = tmp_path_factory.mktemp("mistakes")
    for source, name in (("run", "run"), ("run", "other"), ("store", "store"), ("source", "source")):
        shutil.copytree(GOLDEN / source, work / name)
    shard = work / "store" / "pixels-00000.npy"
    pixels = bytearray(shard.read_bytes())
    pixels[5000] ^= 1
    shard.write_bytes(pixels)
    shutil.copy(GOLDEN / "run" / "recipe.toml", work)
    shutil.copy(GOLDEN / "source" / "00.png", work / "image.png")
    (work / "file").write_text("")
    (work / "full").mkdir()
    (work / "full" / "x").write_text("")
    (work / "p.csv").write_text("Image Index,Effusion\n" + "".join(f"{i:02d}.png,0.{i}\n" for i in range(38)))
    (work / "metrics.json").write_bytes(gzip.decompress((GOLDEN / "metrics.json.gz").read_bytes()))
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        input=json.dumps([shlex.split(line) for line, _, _ in MISTAKES]),
        capture_output=True,
        text=True,
        check=False,
        cwd=work,
        env=os.environ | {"COLUMNS": "300", "CUDA_VISIBLE_DEVICES": ""},
    )
    assert done.returncode == 0, done.stderr
    lines = [line for line, _, _ in MISTAKES]
    return dict(zip(lines, json.loads(done.stdout), strict=True))


@pytest.mark.parametrize(("line", "code", "message"), MISTAKES, ids=[line for line, _, _ in MISTAKES])
def test_a_mistake_is_found_before_any_work(outcomes, line, code, message):
    given, printed, said, written = outcomes[line]
    assert given == code, said
    *before, last = said.splitlines()
    pattern = re.escape(message) if "(it has" in message else message
    assert re.search(pattern, last), last
    assert before == []  # no bar, and no word of work
    assert printed == ""
    assert written == []
