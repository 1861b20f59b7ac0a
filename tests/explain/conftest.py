"""Phantoms with boxes in a store, and bundles of untrained nets."""

from pathlib import Path

import pytest

from tests.helpers.toy_nets import FAMILIES, build
from thorax.bundle import Bundle, Manifest, Member, hashed_patients, write_bundle
from thorax.datasets.nih import read_nih
from thorax.datasets.phantom import write_phantoms
from thorax.datasets.splits import registered_sha256
from thorax.models import weights_as_bytes
from thorax.recipe.schema import Head, Network, Preparation
from thorax.store import Store, build_store, open_store

FINDINGS = ("Cardiomegaly", "Effusion", "Mass", "Nodule")


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory) -> Path:
    """60 phantom patients at 64 pixels."""
    return write_phantoms(tmp_path_factory.mktemp("phantoms") / "source", patients=60, size=64).folder


@pytest.fixture(scope="session")
def store(phantoms) -> Store:
    """Their store."""
    source = read_nih(phantoms)
    sums = registered_sha256(source.whole, source.dataset)
    build_store(source, phantoms.parent / "store", Preparation(size=64), split_sha256=sums, workers=1)
    return open_store(phantoms.parent / "store")


def reference(part):
    return {
        "dataset": "nih-layout", "split": "folder-official", "part": part, "sha256": "", "images_sha256": "",
        "num_images": 1, "num_patients": 1,
    }  # fmt: skip


def make_bundle(folder: Path, *backbones: str, head=None, seen=(), places=(), **changes) -> Bundle:
    """Write a bundle of untrained nets, with the patients of its training and each member's places."""
    provenance = {
        "kind": "trained", "recipe": "toy", "recipe_sha256": "", "seed": 0, "dataset": "nih-layout",
        "store_fingerprint": "", "trained_on": reference("train"), "selected_on": reference("val"),
        "selected_by": "", "epoch": 1, "versions": {},
    }  # fmt: skip
    members, weights = [], {}
    for number, backbone in enumerate(backbones):
        settings = {"input_size": 64, **FAMILIES[backbone], "head": head or Head()}
        classifier = build(backbone, findings=4, seed=number, head=settings["head"])
        name = f"weights-{number}.safetensors"
        weights[name] = weights_as_bytes(classifier.state_dict())
        members.append(
            Member.model_validate(
                {
                    "weights": name,
                    "sha256": "",
                    "model": Network(backbone=backbone, **settings),
                    # Each member has its own order.
                    "findings": FINDINGS if number == 0 else FINDINGS[::-1],
                    "exact_cam": classifier.exact_cam,
                    "places": places[number] if places else None,
                    "provenance": provenance,
                }
            )
        )
    shares = (1.0,) if len(members) == 1 else (0.75, *(0.25 / (len(members) - 1),) * (len(members) - 1))
    ensemble = {"mean_of": "logits", "weights": shares, "fitted_on": None}
    manifest = Manifest.model_validate(
        {
            "name": "toy", "findings": FINDINGS, "preparation": Preparation(size=64),
            "members": tuple(members), "ensemble": ensemble if len(members) > 1 else None,
            "calibration": None, "operating_points": None, "patients_sha256": "", **changes,
        }
    )  # fmt: skip
    # As many as the manifest says were used: one in each part.
    parts = {"train": seen or ["of training"], "val": ["of validation"]}
    patients = {part: hashed_patients("nih-layout", ids).values() for part, ids in parts.items()}
    return write_bundle(folder, manifest, weights=weights, patients=patients)


@pytest.fixture(scope="session")
def bundle_of():
    """The function that writes a bundle."""
    return make_bundle
