"""Front matter: links resolve, the version has one source, commands run, the picture is current."""

import importlib.util
import pkgutil
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

import thorax
from tests.helpers.command import command

ROOT = Path(__file__).parents[1]
DOCS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
README = (ROOT / "README.md").read_text()


def anchors(path: Path) -> set[str]:
    """The anchors that a host derives from the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_lead_to_pages_and_headings_that_exist():
    broken = []
    for page in DOCS:
        for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
            target, _, anchor = link.partition("#")
            if target.startswith(("http://", "https://")):
                continue
            file = page.parent / target if target else page
            if not file.exists() or (anchor and anchor not in anchors(file)):
                broken.append(f"{page.relative_to(ROOT)}: {link}")
    assert broken == []


def test_the_index_names_every_page():
    linked = set(re.findall(r"\]\(([\w-]+\.md)", (ROOT / "docs" / "index.md").read_text()))
    assert linked == {path.name for path in (ROOT / "docs").glob("*.md")} - {"index.md"}


def test_the_layers_in_the_docs_are_those_of_the_contract():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    layers = project["tool"]["importlinter"]["contracts"][0]["layers"]
    assert f"```\n{chr(10).join(layers)}\n```" in (ROOT / "docs" / "architecture.md").read_text()


def test_the_data_flow_names_what_exists():
    table = (ROOT / "docs" / "architecture.md").read_text().partition("## Data flow")[2].split("```")[1]
    names = [re.split(r" {2,}", line)[1] for line in table.strip().splitlines()]
    assert len(names) > 8
    for name in names:
        pkgutil.resolve_name(f"thorax.{name}")


def test_the_readme_is_short_and_says_what_it_must():
    assert len(README.splitlines()) <= 150
    for phrase in (
        "not a medical device",
        "In a clone of this repository",
        "pip install .",
        "make test",
        "make test-all",
    ):
        assert phrase in README


def test_the_version_has_one_source():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" in project["project"]["dynamic"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "thorax.__version__"}
    citation = re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert citation is not None
    assert citation[1] == thorax.__version__
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    assert newest[1] == thorax.__version__


def blocks(language: str, text: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.mark.slow
def test_the_commands_and_programs_of_the_docs_run(tmp_path, monkeypatch):
    """As written, but for fewer and smaller images and fewer epochs."""
    monkeypatch.chdir(tmp_path)
    walk = next(block for block in blocks("sh", README) if block.startswith("thorax phantom"))
    shorter = {
        "--patients 600": "--patients 40 --size 128",
        "small-cpu --store": "small-cpu --set training.epochs=2 --set schedule.warmup_epochs=1 --store",
    }
    for long, short in shorter.items():
        assert long in walk
        walk = walk.replace(long, short)
    for line in walk.splitlines():
        name, *words = line.split()
        assert name == "thorax"
        command(*words)
    assert (tmp_path / "report" / "report.html").is_file()
    (program,) = blocks("python", README)
    assert 0 < float(run_program(program, tmp_path)) < 1
    assert (tmp_path / "effusion.png").is_file()
    assert (tmp_path / "report-from-python" / "report.html").is_file()
    (program,) = blocks("python", (ROOT / "docs" / "python.md").read_text())
    shorter = {
        "patients=600": "patients=40, size=128",
        "settings = {": 'settings = {"training.epochs": 2, "schedule.warmup_epochs": 1, ',
    }
    for long, short in shorter.items():
        assert long in program
        program = program.replace(long, short)
    for _ in range(2):  # as in a notebook that is run again
        exec(compile(program, "docs/python.md", "exec"), {})
    assert (tmp_path / "python-report" / "report.html").is_file()


def run_program(program: str, folder: Path) -> str:
    command = [sys.executable, "-c", program]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.fixture(scope="module")
def render_docs() -> ModuleType:
    pytest.importorskip("playwright", reason="playwright is not installed: make install")
    spec = importlib.util.spec_from_file_location("render_docs", ROOT / "tools" / "render_docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if module.chromium() is None:
        pytest.skip("Chromium is not installed, so the pictures of the README cannot be rendered")
    return module


@pytest.mark.slow
def test_the_picture_of_the_readme_shows_todays_report(render_docs, tmp_path):
    """`make docs` renders it again."""
    text = render_docs.photograph(render_docs.write_report(tmp_path))
    assert "1.000" not in text
    with Image.open(render_docs.PICTURE) as picture:
        assert picture.info[render_docs.TEXT_HASH] == render_docs.text_hash(text), "run `make docs`"


@pytest.mark.slow
def test_the_picture_of_the_page_shows_todays_page(render_docs):
    """`make docs` renders it again."""
    text = render_docs.photograph_page()
    assert "for trying Thorax, not for reading" in text
    with Image.open(render_docs.PAGE) as picture:
        assert picture.info[render_docs.TEXT_HASH] == render_docs.text_hash(text), "run `make docs`"


@pytest.mark.slow
def test_the_picture_of_a_site_shows_todays_site(render_docs, tmp_path):
    """`make docs` renders it again."""
    if not render_docs.RUNTIME_ARCHIVE.is_file():
        pytest.skip("needs onnxruntime-web: make npm")
    text = render_docs.photograph_site(tmp_path)
    assert "for trying Thorax, not for reading" in text
    with Image.open(render_docs.SITE) as picture:
        assert picture.info[render_docs.TEXT_HASH] == render_docs.text_hash(text), "run `make docs`"
