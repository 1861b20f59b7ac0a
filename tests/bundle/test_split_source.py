"""Where the split of a bundle is found that was trained on a split from a file."""

import pytest
import torch

from tests.helpers.toy_bundle import MODEL, NAMES, new_bundle
from thorax.bundle import load_bundle, write_bundle
from thorax.bundle.split_source import split_source
from thorax.errors import BundleError
from thorax.models import build_classifier

RECIPE = '[data]\nsplit = "file:lists/test_list.txt"\n'


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    torch.manual_seed(0)
    return new_bundle(tmp_path_factory.mktemp("split") / "plain", build_classifier(MODEL, len(NAMES)), MODEL)


@pytest.fixture
def run(plain, tmp_path, monkeypatch):
    """The folder of a run, whose bundle was trained on a list that is not in the working folder itself."""
    (member,) = plain.manifest.members
    trained_on = member.provenance.trained_on.model_copy(update={"split": "file:test_list.txt"})
    provenance = member.provenance.model_copy(update={"trained_on": trained_on})
    members = (member.model_copy(update={"provenance": provenance}),)
    folder = tmp_path / "run"
    write_bundle(
        folder / "bundle", plain.manifest.model_copy(update={"members": members}),
        weights=plain.weights, patients={},
    )  # fmt: skip
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "test_list.txt").write_text("a.png\n")
    monkeypatch.chdir(tmp_path)
    return folder


def test_the_recipe_of_the_run_has_the_path(run):
    (run / "recipe.toml").write_text(RECIPE)
    assert split_source(load_bundle(run)) == "file:lists/test_list.txt"


@pytest.mark.parametrize(
    "recipe", ["", "no TOML", '[data]\nsplit = "nih-official"\n', RECIPE.replace("test", "other"), "data = 1"]
)
def test_without_the_path_the_file_must_be_in_the_working_folder(run, recipe):
    (run / "recipe.toml").write_text(recipe)
    bundle = load_bundle(run)
    with pytest.raises(BundleError, match=r"file:test_list\.txt, and .* such as `split=file:lists/test_list"):
        split_source(bundle)
    (run.parent / "test_list.txt").write_text("a.png\n")
    assert split_source(bundle) == "file:test_list.txt"


def test_a_registered_split_is_its_name(plain):
    assert split_source(plain) == "toy"
