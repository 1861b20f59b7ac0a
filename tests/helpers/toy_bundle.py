"""A bundle of a small net with random weights, and images for it."""

import numpy as np

from thorax.bundle import Manifest, Member, write_bundle
from thorax.image_set import ImageSet
from thorax.models import weights_as_bytes
from thorax.recipe.sections import Network, Preparation

MODEL = Network(backbone="resnet10t", arguments={"channels": (8, 16, 16, 16)}, input_size=64)
NAMES = ("Mass", "Nodule", "Edema")
REFERENCE = ImageSet(
    dataset="toy", split="toy", part="val", sha256="", images_sha256="", num_images=4, num_patients=4
)


def images(count, side=80):
    return np.random.default_rng(count).integers(0, 256, (count, side, side), dtype=np.uint8)


def new_bundle(folder, classifier, model):
    """A bundle without an exported engine."""
    provenance = {
        "kind": "trained", "recipe": "toy", "recipe_sha256": "", "seed": 0, "dataset": "toy",
        "store_fingerprint": "", "trained_on": REFERENCE, "selected_on": REFERENCE, "selected_by": "",
        "epoch": 1, "versions": {},
    }  # fmt: skip
    member = Member.model_validate(
        {
            "weights": "weights.safetensors",
            "sha256": "",
            "model": model,
            "findings": NAMES,
            "exact_cam": True,
            "provenance": provenance,
        }
    )
    manifest = Manifest(
        name="toy",
        findings=NAMES,
        preparation=Preparation(size=80),
        members=(member,),
        calibration=None,
        operating_points=None,
        patients_sha256="",
    )
    weights = {"weights.safetensors": weights_as_bytes(classifier.state_dict())}
    return write_bundle(folder, manifest, weights=weights, patients={})


def graph_of(bundle):
    """The file of its graph, and its SHA-256."""
    (engine,) = bundle.manifest.engines
    (file,) = engine.nets[0].files
    return bundle.folder / file.name, file.sha256
