"""Bundles and images of object storage."""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

import thorax as package
from tests.helpers.command import command
from tests.helpers.s3_server import Object, every
from thorax import starter
from thorax.bundle import load_bundle
from thorax.bundle.fetching import fetched_bundle
from thorax.errors import BundleError, DataError, ImageError
from thorax.objects.cache import cache_folder
from thorax.objects.place import place_of

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "test-images"


@pytest.fixture(autouse=True)
def objects(server):
    server.add("data", starter.folder(), "models/starter")
    server.add("data", IMAGES, "images/first")
    server.buckets["data"]["images/.hidden.png"] = Object(b"x")
    server.buckets["data"]["images/notes.xyz"] = Object(b"not an image")
    fetched_bundle.cache_clear()


def rows(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_images_of_a_bucket_are_predicted_like_files(server):
    far = rows(command("predict", "s3://data/models/starter", "s3://data/images", "--csv").stdout)
    near = rows(command("predict", starter.folder(), IMAGES, "--csv").stdout)
    assert [row["probability"] for row in far] == [row["probability"] for row in near]
    assert {row["source"] for row in far} == {
        f"s3://data/images/first/{file.name}" for file in IMAGES.glob("*.png")
    }


@pytest.mark.parametrize("fault", ["drop", "error", "cut", "corrupt"])
def test_every_third_request_goes_wrong_and_the_predictions_are_the_same(server, fault):
    expected = [
        prediction.as_json() for prediction in package.load().predict_many(sorted(IMAGES.glob("*.png")))
    ]
    server.fault = every(3, fault, methods=("GET",))
    images = [f"s3://data/images/first/{file.name}" for file in sorted(IMAGES.glob("*.png"))]
    found = [p.as_json() for p in package.load("s3://data/models/starter").predict_many(images)]
    for one, other in zip(found, expected, strict=True):
        assert one["findings"] == other["findings"]
    assert server.requests


def test_a_file_that_cannot_be_read_costs_that_file_alone(server):
    server.buckets["data"]["images/first/broken.png"] = Object(b"\x89PNG\r\n\x1a\n broken")
    done = command("predict", "s3://data/images", "--csv", expect=4)
    assert len({row["source"] for row in rows(done.stdout)}) == 3
    assert "s3://data/images/first/broken.png" in done.stderr
    assert "notes.xyz" in done.stderr  # left out, and named


def test_predictions_in_a_folder_continue(server, tmp_path):
    out = tmp_path / "out"
    command("predict", "s3://data/images/first", "--out", out, "--overlays", "none")
    first = (out / "predictions.csv").read_bytes()
    server.requests.clear()
    again = command("predict", "s3://data/images/first", "--out", out, "--overlays", "none")
    assert "3 files were done earlier" in again.stdout
    assert not [path for method, path in server.requests if method == "GET" and ".png" in path]
    assert (out / "predictions.csv").read_bytes() == first


def test_one_image_is_explained(server):
    name = min(file.name for file in IMAGES.glob("*.png"))
    far = json.loads(command("explain", f"s3://data/images/first/{name}", "--json").stdout)
    near = json.loads(command("explain", IMAGES / name, "--json").stdout)
    assert far == near | {"source": f"s3://data/images/first/{name}"}


def test_the_copy_of_a_bundle_is_used_again_and_renewed_when_it_changes(server):
    folder = fetched_bundle.__wrapped__(place_of("s3://data/models/starter"))
    server.requests.clear()
    assert fetched_bundle.__wrapped__(place_of("s3://data/models/starter")) == folder
    assert all("safetensors" not in path and ".onnx" not in path for _, path in server.requests)
    manifest = server.buckets["data"]["models/starter/bundle.json"].content
    server.buckets["data"]["models/starter/bundle.json"] = Object(manifest + b"\n")
    assert fetched_bundle.__wrapped__(place_of("s3://data/models/starter")) != folder


def test_a_bundle_that_is_damaged_there_is_refused_and_not_kept(server):
    key = next(key for key in server.keys("data") if key.endswith((".onnx", ".safetensors")))
    damaged = bytearray(server.buckets["data"][key].content)
    damaged[len(damaged) // 2] ^= 1
    server.buckets["data"][key] = Object(bytes(damaged))
    with pytest.raises(DataError, match=r"is damaged: its SHA-256 is not .*, read 3 times"):
        load_bundle("s3://data/models/starter")
    assert not list(cache_folder().rglob("bundle.json"))
    assert not list(cache_folder().rglob(Path(key).name))


def test_a_bundle_names_no_file_outside_its_folder(server, tmp_path):
    manifest = json.loads(server.buckets["data"]["models/starter/bundle.json"].content)
    text = json.dumps(manifest).replace('"patients.json"', '"../patients.json"')
    for entry in manifest["engines"]:
        name = entry["nets"][0]["files"][0]["name"]
        text = text.replace(f'"{name}"', f'"../{name}"')
    server.buckets["data"]["models/starter/bundle.json"] = Object(text.encode())
    with pytest.raises(BundleError, match="outside its folder"):
        load_bundle("s3://data/models/starter")


def test_what_is_missing_is_named(server):
    with pytest.raises(BundleError, match=r"s3://data/models/none holds no bundle \(no object has this name"):
        load_bundle("s3://data/models/none")
    with pytest.raises(BundleError, match=r"s3://data/images holds no bundle \(no bundle.json\)"):
        load_bundle("s3://data/images")
    with pytest.raises(DataError, match="there is no bucket other; correct its name"):
        load_bundle("s3://other/model")
    with pytest.raises(ImageError, match=r"s3://data/none\.png does not exist"):
        package.load().predict("s3://data/none.png")
    done = command("predict", "s3://data/nothing", expect=4)
    assert "s3://data/nothing: no object has this name" in done.stderr


def test_denied_access_says_what_to_give(server):
    server.denied = True
    done = command("predict", "s3://data/images", expect=3)
    assert "access is denied" in done.stderr
    assert "AWS_ACCESS_KEY_ID" in done.stderr
    assert "secret" not in done.stderr


def test_an_address_without_a_server_is_named(server, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    done = command("predict", "s3://data/images", expect=3)
    assert "after 6 attempts" in done.stderr
    assert "AWS_ENDPOINT_URL" in done.stderr


def test_without_pyarrow_the_line_to_type_is_said():
    code = (
        "import sys\n"
        "class Block:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] == 'pyarrow':\n"
        "            raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, Block())\n"
        "sys.argv = ['thorax', 'predict', 's3://data/images']\n"
        "from thorax.cli.main import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 7
    assert "an address s3:// needs pyarrow" in done.stderr
    assert "pip install '.[evaluate]'" in done.stderr


def test_paths_of_this_disk_import_no_pyarrow():
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "thorax", "predict", next(IMAGES.glob("*.png"))],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "thorax.objects.place" in done.stderr
    assert "pyarrow" not in done.stderr
    assert "thorax.objects.client" not in done.stderr
