"""The wheel in a bare environment: what a user has who installs the base and nothing else."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers.command import SMALL, command
from tests.helpers.dicom_writing import written
from tests.helpers.service import running
from thorax.errors import BundleError, MissingExtra

ROOT = Path(__file__).parents[1]

EXTRAS = {"huggingface-hub", "matplotlib", "onnx", "openvino", "pandas", "pyarrow", "scipy", "timm", "torch"}
OF_PYTHON = ("pip", "setuptools", "pkg_resources", "_distutils_hack")
"""What a fresh virtual environment has in itself."""

AT_MOST = 350e6

IN_PYTHON = """
import json, sys
import numpy as np
import thorax

run, image, picture = sys.argv[1:]
model = thorax.load(run)
prediction = model.predict(np.arange(64 * 64, dtype=np.uint16).reshape(64, 64))
model.explain(image, prediction.ranked()[0].finding.name).save(picture, contour=0.5, box=True)
loaded = {name.partition(".")[0] for name in sys.modules}
print(json.dumps(sorted(loaded & {"torch", "pandas", "matplotlib", "scipy"})))
"""


def output(*command, expect=0):
    """Run a command without this repository on its path, and return what it printed."""
    settings = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [*map(str, command)], capture_output=True, text=True, check=False, env=settings, cwd="/"
    )
    assert done.returncode == expect, done.stderr
    return done.stdout if expect == 0 else done.stderr


def build_wheel(folder):
    """Build it from a copy, so that nothing is left in the repository."""
    source = folder / "source"
    shutil.copytree(ROOT / "src", source / "src", ignore=shutil.ignore_patterns("*.egg-info", "__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation")
    output(*pip, "--wheel-dir", folder, source)
    (wheel,) = folder.glob("thorax_cxr-*.whl")
    return wheel


def bare_environment(folder, wheel):
    """Return the folder of the commands of a new environment that the wheel is installed in."""
    output(sys.executable, "-m", "venv", folder)
    output(folder / "bin" / "pip", "install", "--quiet", "-c", ROOT / "constraints.txt", wheel)
    return folder / "bin"


def installed_bytes(commands):
    (packages,) = commands.parent.glob("lib/python3*/site-packages")
    counted = [path for path in packages.iterdir() if not path.name.startswith(OF_PYTHON)]
    files = [file for path in counted for file in (path, *path.rglob("*")) if file.is_file()]
    return sum(file.stat().st_size for file in files)


def page_is_served(bare, wheel, run, image):
    """With the extra `serve` added to the base, the page works, and nothing else came with it."""
    missing = output(bare / "thorax", "serve", run, expect=MissingExtra.exit_code)
    assert "install it with pip install '.[serve]'" in missing
    output(bare / "pip", "install", "--quiet", "-c", ROOT / "constraints.txt", f"{wheel}[serve]")
    packages = json.loads(output(bare / "pip", "list", "--format", "json"))
    assert not {package["name"].lower().replace("_", "-") for package in packages} & EXTRAS
    expected = json.loads(output(bare / "thorax", "predict", run, image, "--json"))
    with running(bundle=run, program=[bare / "thorax"], environment={"PYTHONPATH": ""}) as service:
        answer = service.post("/v1/predict?picture=true", image.read_bytes()).json
        assert answer["findings"] == expected["findings"]
        explained = service.post(f"/v1/explain?finding={next(iter(answer['findings']))}", image.read_bytes())
        assert (explained.status, explained.json["method"]) == (200, "cam")
        assert b"Thorax" in service.get("/").body
        assert service.get("/main.js").status == service.get("/test-images/cardiomegaly.png").status == 200


OF_THE_STARTER = """
import json
import thorax
from thorax import starter

model = thorax.load()
predictions = {image.path.name: model.predict(image.path) for image in starter.test_images()}
said = {name: [prediction.model.statement, *prediction.warnings] for name, prediction in predictions.items()}
method = model.explain(starter.test_images()[0].path).map.method
print(json.dumps({"model": repr(model), "method": method, "said": said}))
"""


def starter_speaks(bare):
    """What a new user types first, with nothing but the base: the images, and no model."""
    table = output(bare / "thorax", "predict", ROOT / "test-images")
    statement, *lines = table.splitlines()
    assert statement.startswith(
        "starter model, 1,382 training and 124 calibration images, out-of-fold mean AUC"
    )
    assert sum(line.endswith(".png") for line in lines) == 3
    as_json = output(bare / "thorax", "predict", ROOT / "test-images", "--json")
    assert [Path(json.loads(line)["source"]).name for line in as_json.splitlines()] == [
        "cardiomegaly.png", "hernia-infiltration.png", "mass-nodule.png",
    ]  # fmt: skip
    in_python = json.loads(output(bare / "python", "-c", OF_THE_STARTER))
    assert in_python["model"].endswith(f"; {statement})")
    assert in_python["method"] == "cam"
    seen = "the starter was trained on this image: an example, not a measurement"
    assert in_python["said"] == {
        "cardiomegaly.png": [statement, seen],
        "hernia-infiltration.png": [statement],
        "mass-nodule.png": [statement, seen],
    }
    refused = output(
        bare / "thorax", "explain", "starter", ROOT / "test-images" / "mass-nodule.png",
        "--method", "grad-cam",
        expect=BundleError.exit_code,
    )  # fmt: skip
    assert "has an exported graph and no weights" in refused


@pytest.mark.slow
def test_the_base_predicts_and_explains_where_nothing_else_is_installed(tmp_path):
    command("phantom", tmp_path / "phantoms", "--patients", "60", "--size", "64")
    command("prepare", tmp_path / "phantoms", "--out", tmp_path / "store", "--size", "64")
    run, image = tmp_path / "run", next((tmp_path / "phantoms" / "images").glob("*.png"))
    command("train", "small-cpu", "--store", tmp_path / "store", "--out", run, *SMALL)
    bare = bare_environment(tmp_path / "bare", build_wheel(tmp_path))

    packages = json.loads(output(bare / "pip", "list", "--format", "json"))
    names = {package["name"].lower().replace("_", "-") for package in packages}
    assert "thorax-cxr" in names
    assert not names & EXTRAS
    assert installed_bytes(bare) <= AT_MOST

    predicted = json.loads(output(bare / "thorax", "predict", run, image, "--json"))
    expected = json.loads(command("predict", run, image, "--json", "--engine", "torch").stdout)
    assert list(predicted["findings"]) == list(expected["findings"])
    for name, finding in predicted["findings"].items():
        assert finding["probability"] == pytest.approx(expected["findings"][name]["probability"], abs=1e-6)

    starter_speaks(bare)

    (tmp_path / "a.dcm").write_bytes(written(np.asarray(Image.open(image)).astype(np.uint16), bits=8))
    of_dicom = json.loads(output(bare / "thorax", "predict", run, tmp_path / "a.dcm", "--json"))
    assert list(of_dicom["findings"]) == list(expected["findings"])
    output(bare / "python", "-c", "import deflate, gdcm, jpeg_ls, openjpeg")

    loaded = json.loads(output(bare / "python", "-c", IN_PYTHON, run, image, tmp_path / "map.png"))
    assert loaded == []
    assert np.asarray(Image.open(tmp_path / "map.png")).shape[1] > 384

    missing = output(
        bare / "thorax", "evaluate", run, "--store", tmp_path / "store", "--out", tmp_path / "report",
        expect=MissingExtra.exit_code,
    )  # fmt: skip
    assert "install it with pip install '.[evaluate]'" in missing

    page_is_served(bare, next(tmp_path.glob("thorax_cxr-*.whl")), run, image)
