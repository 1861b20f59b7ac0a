import json

import numpy as np
import pytest

from thorax.errors import DataError, LeakError, RecipeError
from thorax.evaluation.evaluate import Context
from thorax.evaluation.localization.regions import map_overlap
from thorax.evaluation.localization.scores import localize
from thorax.explain.torch_explainer import TorchExplainer
from thorax.prediction import ModelIdentity
from thorax.reporting.localization import (
    CURVES_HEADER,
    TABLE_HEADER,
    curves_rows,
    localization_json,
    localization_markdown,
    table_rows,
    write_localization,
)
from thorax.workflows.localize import boxed_rows, faithfulness_of_maps, measure_curves, measure_maps

CONTEXT = Context(
    split="folder-official", part="test", split_sha256="0" * 64, images_sha256="1" * 64, dataset="nih-layout",
    model=ModelIdentity("toy", "2" * 64, calibrated=False), versions={"thorax": "0"},
    warnings=("Only a toy.",),
)  # fmt: skip


@pytest.fixture(scope="module")
def boxed(store, bundle_of, tmp_path_factory):
    bundle = bundle_of(tmp_path_factory.mktemp("bundle"), "densenet121")
    rows = np.arange(len(store), dtype=np.int64)
    return bundle, boxed_rows(store, rows, bundle.findings)


def test_boxed_rows_are_those_of_the_table(store, boxed):
    bundle, found = boxed
    frame = store.table.frame
    expected = {
        (row, box.finding): [each.box for each in frame["boxes"][row] if each.finding == box.finding]
        for row in range(len(store))
        for box in frame["boxes"][row]
        if box.finding in bundle.findings
    }
    assert {(each.row, pair.finding): list(pair.boxes) for each in found for pair in each.pairs} == expected
    for each in found:
        assert all(pair.image == store.table.images[each.row] and pair.side == 64 for pair in each.pairs)


def test_each_pair_is_measured_on_its_own_map(store, boxed):
    bundle, found = boxed
    explainer, some = TorchExplainer(bundle, device="cpu"), found[:11]
    done = []
    overlaps = measure_maps(
        explainer,
        store,
        some,
        methods=("cam", "eigen-cam"),
        progress=lambda count, total: done.append((count, total)),
    )
    assert done == [(8, 11), (11, 11)]
    for method in ("cam", "eigen-cam"):
        pairs = [(each.row, pair) for each in some for pair in each.pairs]
        for (row, pair), overlap in zip(pairs, overlaps[method], strict=True):
            pixels = store.pixels(np.array([row], dtype=np.int64))
            alone = explainer.maps(pixels, (pair.finding,), method=method)[0, 0]
            expected = map_overlap(alone, pair)
            assert overlap.pointing == pytest.approx(expected.pointing, abs=1e-6)
            np.testing.assert_allclose(overlap.at_level[:, 0], expected.at_level[:, 0], atol=0.05)


def test_patients_that_the_bundle_saw_are_refused(store, boxed, bundle_of, tmp_path):
    _, found = boxed
    patient = found[0].pairs[0].patient
    saw = bundle_of(tmp_path, "densenet121", seen=[patient, "somebody else"])
    with pytest.raises(LeakError, match=r"1 of these .* patients were seen"):
        measure_maps(TorchExplainer(saw, device="cpu"), store, found, methods=("cam",))


def test_images_without_boxes_are_refused(store, boxed):
    bundle, found = boxed
    with_box = {each.row for each in found}
    without = np.array([row for row in range(len(store)) if row not in with_box], dtype=np.int64)
    with pytest.raises(DataError, match="has a box of a finding that the bundle knows; take a part"):
        boxed_rows(store, without, bundle.findings)


@pytest.fixture(scope="module")
def localization(store, boxed):
    bundle, found = boxed
    found = found[:40]
    overlaps = measure_maps(TorchExplainer(bundle, device="cpu"), store, found, methods=("cam", "eigen-cam"))
    return localize([pair for each in found for pair in each.pairs], overlaps, resamples=20)


def test_json_has_every_number(localization):
    values = localization_json(localization, CONTEXT)
    text = json.dumps(values, allow_nan=False)
    assert json.loads(text) == values
    assert list(values["methods"]) == ["cam", "eigen-cam"]
    assert list(values["baselines"]) == ["random", "center", "mean-box"]
    cam = values["methods"]["cam"]
    assert cam["level"] == localization.methods[0].level
    assert cam["mean_of_findings"]["pointing"]["value"] == localization.methods[0].mean.pointing.value
    assert sum(each["num_boxes"] for each in cam["findings"].values()) == values["num_boxes"]
    assert len(cam["all_boxes"]["iobb_hits"]) == len(values["hits_at"]) == 7
    assert values["split"]["name"] == "folder-official"


def test_the_table_says_what_a_number_must_travel_with(localization):
    text = localization_markdown(localization, CONTEXT)
    assert "toy on nih-layout, split folder-official, test part" in text
    assert f"{localization.num_pairs} boxed findings of {localization.num_patients} patients" in text
    assert "**Only a toy.**" in text
    assert "| eigen-cam (not of a finding), from " in text
    assert "| mean-box |" in text
    labels = [finding.label for finding in localization.methods[0].by_finding]
    assert len(labels) > 1
    for title in ("Mean over findings", "All boxes", *labels):
        assert f"## {title}\n" in text
    tables = [block for block in text.split("\n\n") if block.startswith("|")]
    for table in tables:
        assert len({line.count("|") for line in table.splitlines()}) == 1
        assert len(table.splitlines()) == 2 + 5
    rows = table_rows(localization)
    assert {len(row) for row in rows} == {len(TABLE_HEADER)}
    assert rows[0][1] == str(localization.methods[0].mean.pointing)


@pytest.fixture(scope="module")
def three(boxed):
    """A row of each of three patients."""
    _, found = boxed
    first = {each.pairs[0].patient: each for each in reversed(found)}
    return list(first.values())[:3]


@pytest.fixture(scope="module")
def curves(store, boxed, three):
    bundle, _ = boxed
    done = []
    measured = measure_curves(
        TorchExplainer(bundle, device="cpu"), store, three, methods=("cam", "occlusion"),
        progress=lambda count, total: done.append((count, total)),
    )  # fmt: skip
    assert done == [(1, 3), (2, 3), (3, 3)]
    return measured


def test_curves_are_those_of_each_pair_alone(store, boxed, three, curves):
    bundle, _ = boxed
    explainer = TorchExplainer(bundle, device="cpu")
    pairs = [(each.row, pair) for each in three for pair in each.pairs]
    row, pair = pairs[-1]
    pixels = store.pixels(np.array([row], dtype=np.int64))
    attribution = explainer.maps(pixels, (pair.finding,), method="occlusion")[0, 0]
    (alone,) = explainer.faithfulness(pixels[0], pair.finding, attributions=[attribution])
    assert len(curves["occlusion"]) == len(pairs)
    np.testing.assert_allclose(
        curves["occlusion"][-1].deletion.probability, alone.deletion.probability, atol=1e-6
    )
    assert curves["occlusion"][-1].random_insertion.area == pytest.approx(alone.random_insertion.area)


def test_faithfulness_is_a_mean_over_pairs_with_the_patients_interval(three, curves):
    cam, occlusion = faithfulness_of_maps(curves, three, resamples=50)
    assert (cam.method, occlusion.method) == ("cam", "occlusion")
    gains = [each.deletion_gain for each in curves["cam"]]
    assert cam.deletion_gain.value == pytest.approx(np.mean(gains))
    assert cam.deletion_gain.low < cam.deletion_gain.value < cam.deletion_gain.high
    assert cam.num_patients == 3
    assert cam.num_maps == len(gains)
    # Both are beside the same chance.
    for one, other in zip(curves["cam"], curves["occlusion"], strict=True):
        assert one.random_deletion.area == other.random_deletion.area
    assert cam.deletion.value + cam.deletion_gain.value == pytest.approx(
        occlusion.deletion.value + occlusion.deletion_gain.value
    )


def test_an_ensemble_has_no_curves(store, boxed, bundle_of, tmp_path):
    _, found = boxed
    several = TorchExplainer(bundle_of(tmp_path, "densenet121", "resnet10t"), device="cpu")
    with pytest.raises(RecipeError, match=r"is an ensemble of 2 networks, .*; measure the bundles"):
        measure_curves(several, store, found[:1], methods=("grad-cam",))


def test_curves_stand_in_the_files(localization, three, curves):
    summaries = faithfulness_of_maps(curves, three, resamples=20)
    values = localization_json(localization, CONTEXT, curves=summaries)
    assert values["faithfulness"]["cam"]["deletion"]["value"] == summaries[0].deletion.value
    assert values["faithfulness"]["occlusion"]["num_patients"] == summaries[1].num_patients
    assert localization_json(localization, CONTEXT)["faithfulness"] == {}
    text = localization_markdown(localization, CONTEXT, curves=summaries)
    assert f"over {summaries[0].num_maps} boxed findings" in text
    rows = curves_rows(summaries)
    assert {len(row) for row in rows} == {len(CURVES_HEADER)}
    assert f"| {' | '.join(rows[1])} |" in text
    assert "Faithfulness" not in localization_markdown(localization, CONTEXT)


def test_files_are_written_and_the_same_again(localization, tmp_path):
    written = write_localization(localization, CONTEXT, out=tmp_path / "new")
    again = write_localization(localization, CONTEXT, out=tmp_path / "again")
    assert [path.name for path in written] == ["localization.json", "localization.md"]
    for one, other in zip(written, again, strict=True):
        assert one.read_bytes() == other.read_bytes()
