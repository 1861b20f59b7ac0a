"""Calibrations of several sites in one bundle."""

import numpy as np
import pytest
import torch

from tests.helpers.toy_bundle import MODEL, NAMES, REFERENCE, images, new_bundle
from thorax.bundle import OperatingPoints, copy_bundle, hashed_patients, load_bundle, write_bundle
from thorax.bundle.sites import at_site, site_calibration, write_with_site
from thorax.calibration import Platt, Temperature, logit, sigmoid
from thorax.errors import BundleError
from thorax.inference.engines import open_predictor
from thorax.models import build_classifier
from thorax.rates import MeasuredRates

ADJUSTED = {"Mass": (0.7, 0.5), "Edema": (-1.0, 1.0)}
PLATT = Platt(
    slopes={"Mass": 2.0, "Nodule": 0.5, "Edema": 1.0}, intercepts=dict.fromkeys(NAMES, 0.3), kept={},
    fitted_on=REFERENCE,
)  # fmt: skip


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    torch.manual_seed(0)
    return new_bundle(tmp_path_factory.mktemp("site") / "plain", build_classifier(MODEL, len(NAMES)), MODEL)


RATES = MeasuredRates(findings={}, measured_on=REFERENCE)


def with_calibration(plain, folder, calibration, rule="f1-optimal"):
    thresholds = {"Mass": 0.3, "Nodule": 0.5, "Edema": None}
    if rule == "one-half":
        thresholds = dict.fromkeys(NAMES, 0.5)
    points = OperatingPoints(rule=rule, thresholds=thresholds, chosen_on=None, measured=RATES)
    changes = {"format": 2, "calibration": calibration, "operating_points": points}
    return write_bundle(
        folder, plain.manifest.model_copy(update=changes), weights=plain.weights,
        patients={"train": hashed_patients("toy", ["a"]).values()},
    )  # fmt: skip


def ward(bundle, name="ward 7"):
    return site_calibration(
        bundle, name, "auto", adjusted=ADJUSTED, kept={"Nodule": "too few"}, fitted_on=REFERENCE
    )


@pytest.mark.parametrize(
    "calibration",
    [None, Temperature(temperature=1.7, fitted_on=REFERENCE), PLATT],
    ids=["none", "T", "Platt"],
)
def test_a_site_adjusts_the_logits_that_the_bundle_calibrates(plain, tmp_path, calibration):
    bundle = with_calibration(plain, tmp_path / "own", calibration)
    written = write_with_site(bundle, tmp_path / "both", ward(bundle), dataset="ward", patients=["x", "y"])
    assert written.manifest.format == 2
    pixels = images(6)
    before = open_predictor(load_bundle(tmp_path / "both"), device="cpu").probabilities(pixels)
    assert np.array_equal(before, open_predictor(bundle, device="cpu").probabilities(pixels))
    there = at_site(load_bundle(tmp_path / "both"), "ward 7")
    after = open_predictor(there, device="cpu").probabilities(pixels)
    for k, name in enumerate(NAMES):
        shift, slope = ADJUSTED.get(name, (0.0, 1.0))
        assert after[:, k] == pytest.approx(sigmoid(shift + slope * logit(before[:, k])), abs=1e-9)
    assert there.manifest.name == "toy at ward 7"
    old, new = bundle.manifest.operating_points.thresholds, there.manifest.operating_points.thresholds
    assert new["Nodule"] == old["Nodule"]
    assert new["Edema"] is None
    assert np.array_equal(before[:, 0] >= old["Mass"], after[:, 0] >= new["Mass"])
    assert new["Mass"] == pytest.approx(float(sigmoid(0.7 + 0.5 * logit(np.array([0.3])))[0]))
    assert there.manifest.operating_points.measured == RATES


def test_the_patients_of_each_site_are_remembered_and_the_bundle_itself_stays(plain, tmp_path):
    bundle = with_calibration(plain, tmp_path / "own", None, rule="one-half")
    first = write_with_site(bundle, tmp_path / "one", ward(bundle), dataset="ward", patients=["x", "y"])
    second = write_with_site(first, tmp_path / "two", ward(first, "ward 8"), dataset="ward", patients=["z"])
    third = write_with_site(second, tmp_path / "three", ward(second), dataset="ward", patients=["w"])
    assert [site.site for site in second.manifest.sites] == ["ward 7", "ward 8"]
    assert [site.site for site in third.manifest.sites] == ["ward 8", "ward 7"]
    assert third.patients == {
        "train": bundle.patients["train"],
        "site ward 7": frozenset(hashed_patients("ward", ["w"]).values()),
        "site ward 8": frozenset(hashed_patients("ward", ["z"]).values()),
    }
    assert load_bundle(tmp_path / "own").sha256 == bundle.sha256
    there = at_site(third, "ward 8").manifest.operating_points
    assert set(there.thresholds.values()) == {0.5}
    assert there.measured is None  # other probabilities are above one half now
    copied = copy_bundle(third, tmp_path / "copy")
    assert copied.sha256 == third.sha256
    assert at_site(third, "") is third
    with pytest.raises(
        BundleError, match="no calibration for the site 'ward 9', and it has some for ward 8, ward 7"
    ):
        at_site(third, "ward 9")
    with pytest.raises(BundleError, match=r"it has none for any; make one with `thorax site`"):
        at_site(bundle, "ward 7")
