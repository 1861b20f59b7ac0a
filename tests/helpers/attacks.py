"""Measuring a model under attack, and looking for what the result says of it."""

import json

from thorax.recipe.load import load_recipe
from thorax.reporting.model_card import model_card
from thorax.store import open_store
from thorax.training import train
from thorax.workflows.evaluate import evaluate

QUICK = {"gallery": False, "resamples": 5, "device": "cpu"}


def measured(model, data, **settings):
    return evaluate(model, data, **{**QUICK, **settings})


def warning(result, text):
    """The warning that contains a text."""
    (found,) = [each for each in result.context.warnings if text in each]
    return found


def assert_shown(run, result, text, out):
    """A warning stands in every file of the report and on the card."""
    files = result.write(out)
    sentence = warning(result, text)
    assert sentence in json.loads(files.metrics.read_text())["warnings"]
    for shown in (files.html.read_text(), files.markdown.read_text(), model_card(run, metrics=files.metrics)):
        assert text in shown


def edited(folder, change):
    """Change the manifest of a bundle."""
    path = folder / "bundle" / "bundle.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def listed(path, rows, part_of):
    """Write a list of images and parts, for a split from a file."""
    lines = [f"{row['path']},{part_of(row)}\n" for row in rows if part_of(row)]
    path.write_text("image,part\n" + "".join(lines))
    return f"file:{path}"


def trained(out, store, *settings):
    """Train the committed recipe for one epoch."""
    recipe = load_recipe(str(store.parent / "run" / "recipe.toml"), ["training.epochs=1", *settings])
    train(recipe, open_store(store), out)
    return out
