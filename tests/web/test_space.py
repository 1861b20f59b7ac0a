"""The static Space: what its README promises is what the Makefile and the export write."""

import re
from pathlib import Path

from thorax.web.packages import DECODERS, RUNTIME

ROOT = Path(__file__).parents[2]
README = (ROOT / "space" / "README.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()


def test_the_front_matter_is_that_of_a_static_space():
    front = dict(re.findall(r"^(\w+): (.+)$", README.split("---")[1], re.MULTILINE))
    assert (front["sdk"], front["license"]) == ("static", "mit")
    assert len(front["short_description"]) <= 60
    folder, _, page = front["app_file"].partition("/")
    assert page == "index.html"
    assert f"--out space/{folder} " in MAKEFILE
    assert f"--directory space/{folder}" in README
    assert "make space" in README


def test_the_makefile_and_ci_fetch_the_runtime_that_the_export_takes():
    assert "npm pack --silent --pack-destination .npm " in MAKEFILE
    for package in (RUNTIME, *DECODERS.values()):
        assert f" {package.name}@{package.version}" in MAKEFILE.replace("\t", " ")
    assert "--decoders .npm " in MAKEFILE
    assert f"--runtime .npm/{RUNTIME.archive} " in MAKEFILE
    assert "make npm " in (ROOT / ".ci" / "run").read_text()


def test_large_files_go_into_git_lfs(pages):
    patterns = re.findall(
        r"^\*(\.\w+) filter=lfs", (ROOT / "space" / ".gitattributes").read_text(), re.MULTILINE
    )
    large = {file.suffix for file in pages.folder.rglob("*") if file.stat().st_size > 4e6}
    assert large | {Path(name).suffix for name in RUNTIME.files if name.endswith(".wasm")} <= set(patterns)


def test_nothing_runs_a_server():
    assert not (ROOT / "space" / "Dockerfile").exists()
