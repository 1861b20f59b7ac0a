"""Attacks on what was chosen, on what it was chosen, and on how often a test part was measured."""

import json
import shutil
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

from tests.helpers.attacks import assert_shown, edited, listed, measured, trained, warning
from tests.helpers.command import command
from thorax.atomic_io import sha256_of_file
from thorax.auditing import Evidence, audit, lists_of_split
from thorax.bundle import load_bundle
from thorax.errors import DataError, LeakError, RecipeError
from thorax.evaluation.inputs.join import Labels
from thorax.evaluation.looks import LOOKS, read_looks
from thorax.evaluation.thresholds import TUNED_MARK
from thorax.recipe.load import load_recipe
from thorax.reporting.model_card import model_card
from thorax.store import open_store
from thorax.training import train
from thorax.workflows.bundles import calibrate, ensemble
from thorax.workflows.compare import compare
from thorax.workflows.prepare import prepare

FINDINGS = ("Effusion", "Infiltration", "Mass")


def split_of(store, name="folder-official"):
    opened = open_store(store)
    return Labels(opened.table, opened.dataset, opened.split_sha256).split(name)


# ---- learned or chosen on the test part --------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "swapped",
    [{"test": "train", "train": "test", "val": "val"}, {"test": "val", "val": "test", "train": "train"}],
    ids=["trained", "checkpoint selected"],
)
def test_attack_11_test_images_called_training_by_a_list_are_refused_when_evaluated(
    store, rows, tmp_path, swapped
):
    split = listed(tmp_path / "swapped.csv", rows, lambda row: swapped[row["split"]])
    run = trained(tmp_path / "run", store, f"data.split={split}")
    with pytest.raises(LeakError, match="were seen when this bundle was made"):
        measured(run, store, split="folder-official")
    if swapped["test"] == "val":
        return
    # Nor may another model start from it.
    with pytest.raises(LeakError, match="were seen when this bundle was made"):
        trained(tmp_path / "next", store, f"model.weights=bundle:{run}")


def test_attack_12_calibration_on_test_images_by_a_list_is_refused(run, store, rows, tmp_path):
    as_validation = {"test": "val", "train": "train", "val": ""}
    split = listed(tmp_path / "test-as-val.csv", rows, lambda row: as_validation[row["split"]])
    with pytest.raises(LeakError, match="are in the test part of folder-official"):
        calibrate(run, store, tmp_path / "calibrated", split=split, device="cpu")
    again = shutil.copytree(run, tmp_path / "again")
    with pytest.raises(LeakError, match="are in the test part of folder-official"):
        ensemble([run, again], tmp_path / "both", store=store, split=split, device="cpu")
    # Of an imported network no split is known, so that it may be calibrated on any; then those are seen.
    imported(run)
    calibrate(run, store, tmp_path / "calibrated", split=split, device="cpu")
    with pytest.raises(LeakError, match="were seen when this bundle was made"):
        measured(tmp_path / "calibrated", store, split="folder-official")


def thresholds(path, chosen_on, *, rule="f1-optimal"):
    values = dict.fromkeys(FINDINGS, 0.25)
    path.write_text(json.dumps({"rule": rule, "thresholds": values, "chosen_on": chosen_on}))
    return path


def test_attack_13_thresholds_without_an_origin_are_warned_of(run, store, tmp_path):
    file = thresholds(tmp_path / "thresholds.json", None)
    result = measured(run, store, thresholds=file)
    assert_shown(run, result, "thresholds of thresholds.json do not name the images", tmp_path / "out")


def origin_of(split, part):
    return split.image_set(part, split.parts[part], dataset="golden").model_dump(mode="json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sha256": "5f82" * 16}, "on folder-official with SHA-256 5f825f825f82, and the split that is open"),
        ({"images_sha256": "ab" * 32}, "and their hash is not that of its 12 images"),
        ({"part": "validation"}, "name the part 'validation', which folder-official lacks"),
    ],
)
def test_attack_14_thresholds_with_a_false_origin_are_refused(run, store, tmp_path, change, message):
    true = origin_of(split_of(store), "val")
    with pytest.raises(DataError, match=message):
        measured(run, store, thresholds=thresholds(tmp_path / "false.json", true | change))


def test_attack_14_thresholds_that_validation_does_not_give_are_named(run, store, tmp_path):
    true = origin_of(split_of(store), "val")
    result = measured(run, store, thresholds=thresholds(tmp_path / "tuned.json", true))
    text = "are not those that f1-optimal chooses on the images"
    assert "thresholds of tuned.json" in warning(result, text)
    assert_shown(run, result, text, tmp_path / "out")
    elsewhere = true | {"dataset": "ward-7"}
    result = measured(run, store, thresholds=thresholds(tmp_path / "elsewhere.json", elsewhere))
    assert warning(result, "cannot be checked here")
    fewer = true | {"images_sha256": "ab" * 32, "num_images": 9}
    result = measured(run, store, thresholds=thresholds(tmp_path / "fewer.json", fewer))
    assert warning(result, "their origin is not confirmed")


def test_attack_14_thresholds_chosen_on_reported_patients_are_refused(run, store, tmp_path):
    """Honestly named: the validation part of another split has patients of this test part."""
    other = split_of(store, "patient-70-15-15")
    patients = other.table.frame["patient"].to_numpy()
    test = set(patients[split_of(store).parts["test"]])
    part = next(part for part, rows in other.parts.items() if part != "test" and test & set(patients[rows]))
    file = thresholds(tmp_path / "other.json", origin_of(other, part))
    with pytest.raises(DataError, match="which the figures also describe"):
        measured(run, store, thresholds=file)
    assert measured(run, store, thresholds=file, allow_test_tuning=True).evaluation.test_tuned


def test_attack_15_validation_that_is_the_test_part_or_shares_patients_is_refused(run, store, tmp_path):
    measured(run, store).write(tmp_path / "out")
    predictions = tmp_path / "out" / "predictions.csv"
    header, *lines = predictions.read_text().splitlines()
    (tmp_path / "half.csv").write_text("\n".join([header, *lines[:6]]) + "\n")
    (tmp_path / "rest.csv").write_text("\n".join([header, *lines[2:]]) + "\n")
    for reported, validation in ((predictions, predictions), (tmp_path / "rest.csv", tmp_path / "half.csv")):
        with pytest.raises(DataError, match="choose them on validation"):
            measured(reported, store, validation=validation)


# ---- what a model started from -----------------------------------------------------------------------------


def imported(run):
    """Make a run's bundle one of an imported network."""
    provenance = {
        "kind": "imported", "source": "a checkpoint", "file_sha256": "ab" * 32, "self_test": 0.0,
        "compared_with": "torchvision", "notes": [], "versions": {},
    }  # fmt: skip
    edited(run, lambda manifest: manifest["members"][0].update(provenance=provenance))


def test_attack_24_an_imported_network_is_not_trusted(run, store, tmp_path):
    imported(run)
    result = measured(run, store, split="folder-official")
    assert_shown(run, result, "It is not known which patients an imported network", tmp_path / "out")


def backbone_of(run, path):
    """Save the backbone of a run as the file of weights that a public net would be."""
    weights = load_file(run / "bundle" / "weights.safetensors")
    prefix = "backbone."
    save_file(
        {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)},
        path,
    )
    return path


@pytest.mark.slow
def test_attack_25_weights_from_a_file_are_named_with_their_hash(run, store, tmp_path):
    file = backbone_of(run, tmp_path / "public.safetensors")
    started = trained(tmp_path / "started", store, f"model.weights=file:{file}")
    origin = load_bundle(started).trainings[0].initial_weights
    assert (origin.file, origin.sha256) == ("public.safetensors", sha256_of_file(file))
    result = measured(started, store)
    text = f"weights in public.safetensors (SHA-256 {origin.sha256}): it is not known which patients they"
    assert_shown(started, result, text, tmp_path / "out")
    file.write_bytes(b"")
    with pytest.raises(DataError, match="already holds a run"):
        trained(started, store, f"model.weights=file:{file}")


def test_attack_25_bundles_of_earlier_versions_name_the_file_too(run, store, tmp_path):
    edited(
        run, lambda manifest: manifest["members"][0]["model"].update(weights="file:/home/x/net.safetensors")
    )
    text = "weights in net.safetensors (SHA-256 not recorded): it is not known"
    assert_shown(run, measured(run, store), text, tmp_path / "out")


def test_attack_25_the_weights_of_a_bundle_are_not_taken_as_a_file(run, store, tmp_path):
    file = run / "bundle" / "weights.safetensors"
    with pytest.raises(
        RecipeError, match=r"are the weights of the bundle .*; start with model\.weights=bundle:"
    ):
        trained(tmp_path / "started", store, f"model.weights=file:{file}")


@pytest.mark.slow
def test_attack_26_folds_are_measured_on_their_own_test_part_alone(store, tmp_path):
    names = [f"folder-official/fold-{fold}-of-2" for fold in (1, 2)]
    runs = [trained(tmp_path / f"fold-{k}", store, f"data.split={name}") for k, name in enumerate(names)]
    assert measured(runs[0], store).context.split == names[0]
    with pytest.raises(LeakError, match="were seen when this bundle was made"):
        measured(runs[0], store, split=names[1])
    with pytest.raises(LeakError, match="were seen when this bundle was made"):
        trained(tmp_path / "next", store, f"data.split={names[1]}", f"model.weights=bundle:{runs[0]}")
    ensemble(runs, tmp_path / "both", device="cpu")
    with pytest.raises(LeakError, match="were seen when this bundle was made"):
        measured(tmp_path / "both", store, split=names[0])


@pytest.mark.slow
def test_attack_28_a_run_is_resumed_as_it_was_begun_or_not_at_all(store, rows, tmp_path):
    run = trained(tmp_path / "run", store)
    end = (run / "log.jsonl").read_bytes()

    def again(*settings, where=store):
        recipe = load_recipe(str(run / "recipe.toml"), settings)
        return train(recipe, open_store(where), run, resume=True)

    split = listed(tmp_path / "list.csv", rows, lambda row: row["split"])
    other = Path(shutil.copytree(store, tmp_path / "store"))
    manifest = json.loads((other / "store.json").read_text())
    (other / "store.json").write_text(json.dumps(manifest | {"content_sha256": "0" * 64}))
    for settings, where, what in (
        ((f"data.split={split}",), store, "the recipe has changed"),
        (("training.seed=7",), store, "the recipe has changed"),
        ((), other, "the store has changed"),
    ):
        with pytest.raises(DataError, match=what):
            again(*settings, where=where)
    text = (run / "recipe.toml").read_text()
    (run / "recipe.toml").write_text(text.replace("seed = 3", "seed = 4"))
    with pytest.raises(DataError, match="the recipe has changed"):
        again()
    assert (run / "log.jsonl").read_bytes() == end


# ---- edited files -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["onnx", "torch"])
def test_attack_29_an_honest_bundle_gives_its_own_choices_again(run, store, engine):
    warnings = measured(run, store, engine=engine).context.warnings
    assert not [text for text in warnings if "edited" in text or "chosen" in text]


def test_attack_29_edited_thresholds_show(run, store, tmp_path):
    def edit(manifest):
        chosen = manifest["operating_points"]["thresholds"]
        chosen["Mass"] = (chosen["Mass"] or 0.5) * 0.9

    edited(run, edit)
    result = measured(run, store)
    text = "(operating points of the bundle) are not those that f1-optimal chooses on the images"
    assert warning(result, text).startswith("1 thresholds")
    assert_shown(run, result, text, tmp_path / "out")


def test_attack_29_an_edited_temperature_shows(run, store, tmp_path):
    def edit(manifest):
        manifest["calibration"]["temperature"] *= 1.2

    edited(run, edit)
    assert_shown(run, measured(run, store), "calibration is not the one that the images", tmp_path / "out")


@pytest.fixture
def banded(run, store, tmp_path):
    """The run with bands, of a level for which its 8 validation patients are enough."""
    calibrate(run, store, tmp_path / "banded" / "bundle", level=0.7, device="cpu")
    return tmp_path / "banded"


def moved(manifest):
    manifest["bands"]["bands"]["Infiltration"]["low"] = 0.01


def counted(manifest):
    manifest["bands"]["bands"]["Infiltration"]["patients_with"] = 40


def removed(manifest):
    del manifest["bands"]["bands"]["Infiltration"]
    manifest["bands"]["absent"]["Infiltration"] = "too few"


def other_level(manifest):
    manifest["bands"]["level"] = 0.5


def flattered(manifest):
    sensitivity = manifest["operating_points"]["measured"]["findings"]["Infiltration"]["sensitivity"]
    sensitivity.update(value=0.99, high=1.0)


def more_images(manifest):
    manifest["operating_points"]["measured"]["findings"]["Infiltration"]["specificity"]["images"] = 4000


def by_score(manifest):
    manifest["members"][0]["provenance"]["selected_by"] = "best macro-auc on val"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            moved,
            "1 bands of the bundle are not those of 70 % on the images that they name (Infiltration 0.01 ",
        ),
        (counted, "(40 patients with it, 7 without), and the images give"),
        (removed, "Infiltration none, and the images give"),
        (other_level, "3 bands of the bundle are not those of 50 %"),
        (
            flattered,
            "1 rates at the thresholds of the bundle are not those on the images that they name",
        ),
        (more_images, "of 4,000, and the images give"),
        (by_score, "did not choose the checkpoint, and the bundle that it did"),
    ],
)
def test_attack_29_edited_bands_and_rates_show(banded, store, tmp_path, change, text):
    assert not [one for one in measured(banded, store).context.warnings if "edited" in one]
    edited(banded, change)
    assert_shown(banded, measured(banded, store), text, tmp_path / "out")


def test_attack_29_choices_that_cannot_be_repeated_are_named(run, source, rows, tmp_path):
    """An edit cannot hide behind a validation image that was removed."""
    edited(run, lambda manifest: manifest["calibration"].update(temperature=2.5))
    (source / next(row["path"] for row in rows if row["split"] == "val")).unlink()
    prepare(source / "labels.csv", tmp_path / "fewer", size=32, dataset="golden", workers=1)
    result = measured(run, tmp_path / "fewer")
    assert_shown(run, result, "12 images of the val part of folder-official, and 11 are", tmp_path / "out")


def test_attack_29_an_edited_seed_shows_beside_the_recipe(run, store, tmp_path):
    edited(run, lambda manifest: manifest["members"][0]["provenance"].update(seed=99))
    assert_shown(run, measured(run, store), "seed 99, and the recipe.toml of its run", tmp_path / "out")


def test_attack_34_an_edited_mark_of_tuning_shows(run, store, tmp_path):
    measured(run, store).write(tmp_path / "plain")
    predictions = tmp_path / "plain" / "predictions.csv"
    result = measured(predictions, store, split="folder-official", rules=["youden"], allow_test_tuning=True)
    files = result.write(tmp_path / "tuned")
    tuned = json.loads(files.metrics.read_text())

    def untuned(value):
        if isinstance(value, dict):
            return {key: False if key == "test_tuned" else untuned(each) for key, each in value.items()}
        return [untuned(each) for each in value] if isinstance(value, list) else value

    hidden = untuned(tuned) | {"model": tuned["model"] | {"bundle_sha256": load_bundle(run).sha256}}
    files.metrics.write_text(json.dumps(hidden))
    lists = lists_of_split(split_of(store), "golden")
    found = audit(open_store(store), lists, Evidence(metrics=hidden, pixels=False))
    (problem,) = [each for each in found.problems if each.kind == "tuned-on-test"]
    assert problem.severity == "error"
    assert "operating_points.name" in problem.examples
    assert TUNED_MARK in model_card(run, metrics=files.metrics)
    # Without the mark in the name as well, what the thresholds were chosen on remains.
    unnamed = json.loads(json.dumps(hidden).replace(TUNED_MARK, "clean"))
    found = audit(open_store(store), lists, Evidence(metrics=unnamed, pixels=False))
    assert "tuned-on-test" in [each.kind for each in found.problems]
    honest = json.loads((tmp_path / "plain" / "metrics.json").read_text())
    found = audit(open_store(store), lists, Evidence(metrics=honest, pixels=False))
    assert "tuned-on-test" not in [each.kind for each in found.problems]


# ---- looks ------------------------------------------------------------------------------------------------


def history(folder):
    return json.loads((folder / "metrics.json").read_text())["history"]


def test_attack_33_every_look_at_a_test_part_is_counted(run, store, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    options = ("--store", store, "--no-gallery", "--resamples", "5")
    command("evaluate", run, *options, "--out", tmp_path / "first")
    again = command("evaluate", run, *options, "--seed", "7", "--out", tmp_path / "second")
    assert "note: This is look 2 of this model; the first was on 20" in again.stderr
    assert [history(tmp_path / name)["looks"] for name in ("first", "second")] == [1, 2]
    for name in ("report.html", "report.md"):
        assert "This is look 2 of this model" in (tmp_path / "second" / name).read_text()
    # Another seed and recipe is another model, and looks at the same images.
    predictions = tmp_path / "first" / "predictions.csv"
    result = measured(predictions, store, split="folder-official")
    assert (result.context.history.looks, result.context.history.other_looks) == (1, 2)
    assert result.context.history.noted_in == ("state",)
    compared = compare([run, predictions], store, split="folder-official", resamples=5, device="cpu")
    assert [each.history.looks for each in compared.contexts.values()] == [3, 2]
    # What came before this comparison: one look of the predictions, and two of the run.
    assert [each.history.other_looks for each in compared.contexts.values()] == [1, 2]
    assert compared.write(tmp_path / "compared").json.read_text().count('"looks": ') == 2
    commands = [look.command for look in read_looks(run / LOOKS)]
    assert commands[0].startswith("evaluate part=test")
    assert "seed=7" in commands[1]
    assert commands[2].startswith("compare models=run,predictions.csv")
    card = model_card(run)
    assert "test part of folder-official, golden: 3 looks" in card


def test_attack_33_looks_where_nothing_can_be_written_are_said_to_be_lost(run, store, tmp_path, monkeypatch):
    (run / LOOKS).mkdir()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    result = measured(run, store)
    assert result.context.history.noted_in == ()
    files = result.write(tmp_path / "out")
    assert "This look could not be noted" in files.markdown.read_text()


def test_attack_33_a_recorded_test_curve_is_counted(run, store):
    start, *events = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    curve = [{"event": "test-curve", "epoch": number, "macro_auc": 0.5} for number in range(6)]
    lines = [start | {"test_curve": True}, *events[:-1], *curve, events[-1]]
    (run / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    noted = measured(run, store).context.history
    assert noted.test_curve_epochs == 6
    assert "measured the test part after each of 6 epochs" in " ".join(noted.sentences())


def test_attack_33_nothing_but_the_history_changes_with_a_look(run, store, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    contents = []
    for name in ("one", "two"):
        files = measured(run, store).write(tmp_path / name)
        content = json.loads(files.metrics.read_text())
        assert content.pop("history")["looks"] == len(contents) + 1
        contents.append(content)
    assert contents[0] == contents[1]
