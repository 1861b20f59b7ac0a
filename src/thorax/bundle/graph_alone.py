"""A bundle of a trained one's exported graphs alone: small, and it needs no torch anywhere."""

from pathlib import Path

from thorax.bundle.folder import Bundle
from thorax.bundle.manifest import Manifest
from thorax.bundle.statement import Statement
from thorax.bundle.writing import copy_bundle
from thorax.errors import BundleError

__all__ = ["write_graph_alone"]


def write_graph_alone(bundle: Bundle, folder: Path, *, name: str, statement: Statement) -> Bundle:
    """Write a bundle that has the exported float32 graphs of another one, no weights, and a statement.

    A bundle in the folder is replaced; other files are kept.

    Args:
        bundle: A calibrated bundle with an exported engine (onnx, float32).
        folder: Folder to write to; created if missing.
        name: Name of the new bundle.
        statement: What it says of itself.

    Raises:
        BundleError: The bundle has no such engine.
    """
    old = bundle.manifest
    engines = [engine for engine in old.engines if (engine.kind, engine.precision) == ("onnx", "float32")]
    if not engines:
        raise BundleError(
            f"{bundle.folder} has no exported graph (onnx, float32), which a bundle without weights needs; "
            "export it first with `to=onnx`"
        )
    members = tuple(member.model_copy(update={"weights": None, "sha256": None}) for member in old.members)
    changes = {"members": members, "engines": engines, "name": name, "format": 2, "statement": statement}
    # Validated again, because `model_copy` does not validate.
    return copy_bundle(bundle, folder, manifest=Manifest.model_validate(old.model_dump() | changes))
