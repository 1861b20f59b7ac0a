"""A bundle with a gate: `info`, the card and `verify` say so, and the doors hold back what it refuses."""

import json

import numpy as np
import pytest
import torch

from tests.helpers.command import command
from tests.helpers.toy_bundle import MODEL, NAMES, REFERENCE, images, new_bundle
from thorax.atomic_io import sha256_of_file
from thorax.bundle import attach_gate, load_bundle
from thorax.bundle.input_gate import GATE_CLASSES, GATE_FEATURES, GateNumbers, InputGate, Rate, gate_bytes
from thorax.errors import BundleError, NotARadiograph
from thorax.inspection import info
from thorax.models import build_classifier
from thorax.reporting.model_card import model_card
from thorax.workflows.model import load
from thorax.workflows.signing import verify


def numbers():
    random = np.random.default_rng(0)

    def draw(*shape):
        return random.normal(size=shape).astype(np.float32)

    return GateNumbers(
        hidden=draw(GATE_FEATURES, 4), hidden_bias=draw(4), out=draw(4, GATE_CLASSES),
        out_bias=draw(GATE_CLASSES), mirror=draw(GATE_FEATURES, 3), mirror_bias=draw(3), mirror_out=draw(3),
        mean=draw(GATE_FEATURES), axes=draw(2, GATE_FEATURES), ages=np.full(151, 10, np.int32),
    )  # fmt: skip


def section(*, least_upright):
    return InputGate(
        name="", sha256="", fitted_on=REFERENCE, chosen_on=REFERENCE, least_upright=least_upright,
        most_unlike=1e6, too_unlike=1e6, most_mirrored=1e6,
        held_back=Rate(count=2, of=138), turned_caught=Rate(count=413, of=414),
        inverted_caught=Rate(count=137, of=138), mirrored_caught=Rate(count=90, of=138),
        mirrored_called=Rate(count=1, of=138), pictures_caught=Rate(count=777, of=800),
    )  # fmt: skip


def gated(folder, *, least_upright):
    torch.manual_seed(0)
    plain = new_bundle(folder, build_classifier(MODEL, len(NAMES)), MODEL)
    return attach_gate(plain, section(least_upright=least_upright), gate_bytes(numbers()))


@pytest.fixture
def bundle(tmp_path):
    return gated(tmp_path / "bundle", least_upright=1e6)


def test_info_has_its_figures(bundle, tmp_path):
    (known,) = [fact for fact in info(bundle.folder).facts if fact.name == "gate"]
    assert known.value["held_back"] == {"count": 2, "of": 138}
    lines = " ".join("\n".join(info(bundle.folder).lines()).split())
    assert "2 of 138 validation images" in lines
    assert "777 of 800 drawn pictures" in lines
    plain = new_bundle(tmp_path / "plain", build_classifier(MODEL, len(NAMES)), MODEL)
    assert "not fitted" in "\n".join(info(plain.folder).lines())


def test_the_model_card_has_its_figures(bundle):
    card = model_card(bundle.folder)
    part = card[card.index("## Input gate") : card.index("## Results")]
    for figure in ("2 of 138", "413 of 414", "137 of 138", "90 of 138", "1 of 138", "777 of 800"):
        assert figure in part


def test_verify_refuses_a_gate_whose_file_holds_none_though_its_checksum_fits(bundle):
    assert "its input gate was fitted on the" in command("verify", bundle.folder).stdout
    file = bundle.gate_file
    file.write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00{}      ")
    with pytest.raises(BundleError, match="is not the file that the manifest describes"):
        verify(bundle.folder)
    manifest = bundle.folder / "bundle.json"
    content = json.loads(manifest.read_text())
    content["gate"]["sha256"] = sha256_of_file(file)
    manifest.write_text(json.dumps(content))
    with pytest.raises(BundleError, match="does not hold the numbers of an input gate"):
        verify(bundle.folder)
    with pytest.raises(BundleError, match="does not hold the numbers of an input gate"):
        load(load_bundle(bundle.folder), device="cpu")


def test_a_fitted_gate_decides_at_the_doors(bundle, tmp_path):
    scene = images(1, 120)[0]
    refusing = load(bundle, device="cpu")
    with pytest.raises(NotARadiograph, match="held back by the input gate") as caught:
        refusing.predict(scene)
    assert caught.value.reasons
    assert "would hold this image back" in refusing.predict(scene, gate=False).warnings[0]
    open_to_all = load(gated(tmp_path / "open", least_upright=-1e6), device="cpu")
    passed = open_to_all.predict(scene)
    assert [entry.probability for entry in passed] == [
        entry.probability for entry in refusing.predict(scene, gate=False)
    ]
