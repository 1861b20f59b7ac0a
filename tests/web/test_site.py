"""What `thorax export --to web` writes, and what it refuses."""

import gzip
import hashlib
import json
import re
import shutil
import tarfile

import numpy as np
import pytest

from tests.helpers.command import command
from tests.helpers.service import GOLDEN
from thorax import starter as starter_bundle
from thorax.errors import BundleError, DataError
from thorax.imaging import read_radiograph
from thorax.web import write_site
from thorax.web.packages import RUNTIME, unpack
from thorax.web.site import byte_planes


def names_in(path):
    return {file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()}


def own_scripts(folder):
    """The modules of Thorax, without the programs of others."""
    return [path for path in folder.rglob("*.js") if not {"runtime", "decoders"} & set(path.parts)]


def whole(planes):
    """Byte planes as they were."""
    quarter = len(planes) // 4
    columns = np.frombuffer(planes[: 4 * quarter], np.uint8).reshape(4, quarter)
    return columns.T.tobytes() + planes[4 * quarter :]


@pytest.mark.parametrize("length", [0, 3, 4, 41, 1000])
def test_byte_planes_lose_nothing(length):
    content = bytes(number % 251 for number in range(length))
    assert whole(byte_planes(content)) == content


def test_the_site_has_the_page_the_model_and_nothing_about_patients(pages, starter):
    names = names_in(pages.folder)
    assert {
        "index.html",
        "main.js",
        "service.js",
        "offline.js",
        "library/resize.js",
        "test-images/README.txt",
    } <= names
    assert {
        "model/1.planes",
        "model/2.planes",
        "model/3.planes",
        "model/gate.safetensors",
        "model/card.md",
    } <= names
    contents = {name: (pages.folder / name).read_bytes() for name in names}
    for file in ("patients.json", "images-seen.bin"):
        assert not any(name.endswith(file) for name in names)
        assert (starter_bundle.folder() / file).read_bytes() not in contents.values()
    texts = b"".join(
        content for name, content in contents.items() if name.endswith((".js", ".json", ".html", ".md"))
    )
    patients = json.loads((starter_bundle.folder() / "patients.json").read_text())
    hashes = [patient for part in patients.values() for patient in part]
    assert hashes
    assert not [patient for patient in hashes if patient.encode() in texts]
    # The only hashes of images are those of the test images, which are in the site themselves.
    seen = json.loads(contents["model/model.json"])["images_seen"]
    assert set(seen) <= {
        read_radiograph(image.path).pixels_sha256() for image in starter_bundle.test_images()
    }


def test_the_browser_computes_with_the_numbers_of_the_bundle(pages, starter):
    said = json.loads((pages.folder / "model/model.json").read_text())
    manifest = starter.bundle.manifest
    assert said["thresholds"] == dict(manifest.operating_points.thresholds)
    assert said["calibration"]["temperature"] == manifest.calibration.temperature
    assert [member["weight"] for member in said["members"]] == list(manifest.ensemble.weights)
    assert said["preparation"] == {"size": manifest.preparation.size, "fit": manifest.preparation.fit}
    assert said["gate"]["least_upright"] == manifest.gate.least_upright
    for number, path in enumerate(starter.bundle.exported_files(manifest.engines[0]), start=1):
        assert whole((pages.folder / f"model/{number}.planes").read_bytes()) == path.read_bytes()


def test_the_page_reaches_nothing_but_its_site(pages):
    page = (pages.folder / "index.html").read_text()
    (policy,) = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]+)" />', page)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["connect-src"] == rules["style-src"] == "'self'"
    assert "unsafe-inline" not in policy
    assert page.index("Content-Security-Policy") < page.index("<script")
    code = "".join(path.read_text() for path in own_scripts(pages.folder))
    assert set(re.findall(r"\w+://[\w.]+", code)) <= {"http://ns.adobe.com"}
    assert not re.search(r"innerHTML|outerHTML|document\.write|eval\(", code)


def test_every_import_is_there_and_every_module_is_used(pages):
    imports = {}
    for path in own_scripts(pages.folder):
        found = re.findall(r'(?:from|import\() ?"(\./[^"]+)"', path.read_text())
        imports[path.resolve()] = {(path.parent / name).resolve() for name in found}
    assert set().union(*imports.values()) <= set(imports)
    begin = {(pages.folder / name).resolve() for name in ("main.js", "offline.js")}
    assert set().union(*imports.values()) | begin == set(imports)


def test_the_browser_offers_all_that_the_page_asks_of_the_service(pages):
    asked = set()
    for path in pages.folder.glob("*.js"):
        for names in re.findall(r'import \{([^}]+)\} from "\./service\.js"', path.read_text()):
            asked |= {name.strip() for name in names.split(",") if name.strip()}
    script = (pages.folder / "service.js").read_text()
    offered = set(re.findall(r"^export (?:async )?function (\w+)", script, re.MULTILINE))
    offered |= set(re.findall(r" as (\w+)", script))
    assert {"predict", "pixels", "Failure"} <= asked <= offered


def test_the_site_keeps_all_its_files_offline(pages):
    script = (pages.folder / "offline.js").read_text()
    (listed,) = re.findall(r"^const FILES = (\{.*\});$", script, re.MULTILINE)
    files = json.loads(listed)
    assert files.keys() == names_in(pages.folder) - {"offline.js"}
    assert files["main.js"] == hashlib.sha256((pages.folder / "main.js").read_bytes()).hexdigest()


def test_without_the_runtime_the_command_that_fetches_it_is_shown(tmp_path):
    done = command("export", "starter", "--to", "web", "--out", tmp_path / "site", expect=DataError.exit_code)
    assert "npm pack onnxruntime-web@1.30.0" in done.stderr
    assert "--runtime onnxruntime-web-1.30.0.tgz" in done.stderr
    assert not (tmp_path / "site").exists()


def test_another_archive_is_refused(tmp_path):
    archive = tmp_path / RUNTIME.archive
    with pytest.raises(DataError, match="cannot be read"):
        unpack(archive, RUNTIME)
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(__file__, "package/dist/ort.wasm.bundle.min.mjs")
    with pytest.raises(
        DataError,
        match=r"is not onnxruntime-web 1\.30\.0: its SHA-512 is .* npm pack onnxruntime-web@1\.30\.0",
    ):
        write_site(None, tmp_path / "site", runtime=archive)
    assert names_in(tmp_path) == {archive.name}


def test_a_folder_with_something_else_is_not_replaced(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match="is not empty"):
        write_site(None, tmp_path)
    with pytest.raises(DataError, match="something else than a site"):
        write_site(None, tmp_path, overwrite=True)
    assert names_in(tmp_path) == {"notes.txt"}


def test_a_bundle_without_a_graph_is_refused(tmp_path, archive):
    run = tmp_path / "run"
    shutil.copytree(GOLDEN / "run", run)
    manifest = json.loads((run / "bundle" / "bundle.json").read_text())
    manifest["engines"] = []
    (run / "bundle" / "bundle.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="has no engine onnx"):
        write_site(run, tmp_path / "site", runtime=archive)


def test_the_verb_writes_a_site_of_a_bundle_and_replaces_it_whole(tmp_path, archive):
    out = tmp_path / "site"
    words = ("export", GOLDEN / "run", "--to", "web", "--out", out, "--runtime", archive)
    done = command(*words)
    assert re.search(r"\d+ files, [\d.]+ MB on disk, [\d.]+ MB sent", done.stdout)
    assert "python3 -m http.server" in done.stdout
    (out / "left.txt").write_text("of an older version")
    before = names_in(out) - {"left.txt"}
    command(*words, expect=DataError.exit_code)
    command(*words, "--overwrite")
    assert names_in(out) == before
    assert names_in(tmp_path) == {f"site/{name}" for name in before}


def test_the_starters_site_is_small(site):
    contents = [file.read_bytes() for file in site.folder.rglob("*") if file.is_file()]
    assert sum(map(len, contents)) <= 32e6
    assert sum(len(gzip.compress(content)) for content in contents) <= 18e6
    assert "MIT License" in (site.folder / "runtime/LICENSE-onnxruntime-web.txt").read_text()
