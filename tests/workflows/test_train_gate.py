"""A training run of enough images fits an input gate, shows it, and its bundle uses it."""

import numpy as np
import pytest
from PIL import Image

import thorax
from tests.helpers.command import TINY
from tests.helpers.gates import quick_gates
from thorax.errors import DataError, NotARadiograph


@pytest.mark.slow
@pytest.mark.usefixtures("shapes_unchecked")
def test_train_fits_a_gate_that_its_bundle_applies(tmp_path, monkeypatch):
    quick_gates(monkeypatch)
    thorax.phantom(tmp_path / "nih", patients=140, size=64)
    store = thorax.prepare(tmp_path / "nih", tmp_path / "store", size=64)
    stages, settings = [], [*TINY, "training.epochs=1", "data.split=patient-70-15-15"]
    run = thorax.train(
        "small-cpu", store, tmp_path / "run", settings=settings,
        progress=lambda now: stages.append((now.stage, now.done, now.total)),
    )  # fmt: skip
    last = {stage: (done, total) for stage, done, total in stages}
    named = ["preparing the input gate", "fitting the input gate", "checking the input gate"]
    assert list(last)[-3:] == named
    for stage in named:
        done, total = last[stage]
        assert done == total > 1
        assert len([name for name, *_ in stages if name == stage]) > 1  # a pipe gets its lines in between
    model = thorax.load(run)
    gate = model.bundle.manifest.gate
    assert gate.fitted_on.num_images >= 200
    assert gate.turned_caught.count >= 0.9 * gate.turned_caught.of
    path = min((tmp_path / "nih" / "images").iterdir())
    with Image.open(path) as image:
        pixels = np.asarray(image)
    assert model.predict(pixels).findings
    with pytest.raises(NotARadiograph, match="it is turned by 90 degrees clockwise; turn it back"):
        model.predict(np.rot90(pixels, -1).copy())
    assert model.predict(np.rot90(pixels, -1).copy(), gate=False).warnings
    with pytest.raises(DataError, match="has an input gate already"):
        thorax.gate(run, store)
    stages.clear()
    other = thorax.train(
        "small-cpu", store, tmp_path / "other", settings=[*settings, "training.seed=43"],
        progress=lambda now: stages.append((now.stage, now.done, now.total)),
    )  # fmt: skip
    assert all(stage != "fitting the input gate" for stage, _, _ in stages)
    assert thorax.load(other).bundle.manifest.gate == gate
