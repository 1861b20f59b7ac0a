"""Bundles: trained models as folders, written by training and loaded by everything else. Torch-free."""

from typing import TYPE_CHECKING

from thorax.packages import lazy_names

if TYPE_CHECKING:
    from thorax.bundle.folder import Bundle, load_bundle
    from thorax.bundle.graph_alone import write_graph_alone
    from thorax.bundle.manifest import (
        LAST_EPOCH,
        Ensemble,
        Exported,
        FeatureGrid,
        Imported,
        InitialWeights,
        Manifest,
        Member,
        OperatingPoints,
        Provenance,
        SiteCalibration,
        Trained,
    )
    from thorax.bundle.seen import (
        hashed_patients,
        merged_images,
        refuse_forgotten,
        refuse_seen_images,
        refuse_seen_patients,
        seen_images,
    )
    from thorax.bundle.statement import MeanAuc, Statement
    from thorax.bundle.writing import (
        attach_distribution,
        attach_engine,
        attach_gate,
        copy_bundle,
        new_bundle_folder,
        refuse_used_folder,
        write_bundle,
    )

__all__ = [
    "LAST_EPOCH",
    "Bundle",
    "Ensemble",
    "Exported",
    "FeatureGrid",
    "Imported",
    "InitialWeights",
    "Manifest",
    "MeanAuc",
    "Member",
    "OperatingPoints",
    "Provenance",
    "SiteCalibration",
    "Statement",
    "Trained",
    "attach_distribution",
    "attach_engine",
    "attach_gate",
    "copy_bundle",
    "hashed_patients",
    "load_bundle",
    "merged_images",
    "new_bundle_folder",
    "refuse_forgotten",
    "refuse_seen_images",
    "refuse_seen_patients",
    "refuse_used_folder",
    "seen_images",
    "write_bundle",
    "write_graph_alone",
]

# Lazy, so that a graph can be opened while the manifest's types are still being imported.
__getattr__ = lazy_names(
    __name__,
    {
        "Bundle": "thorax.bundle.folder",
        "attach_engine": "thorax.bundle.writing",
        "attach_distribution": "thorax.bundle.writing",
        "attach_gate": "thorax.bundle.writing",
        "copy_bundle": "thorax.bundle.writing",
        "hashed_patients": "thorax.bundle.seen",
        "load_bundle": "thorax.bundle.folder",
        "merged_images": "thorax.bundle.seen",
        "new_bundle_folder": "thorax.bundle.writing",
        "refuse_forgotten": "thorax.bundle.seen",
        "refuse_seen_images": "thorax.bundle.seen",
        "refuse_seen_patients": "thorax.bundle.seen",
        "seen_images": "thorax.bundle.seen",
        "refuse_used_folder": "thorax.bundle.writing",
        "write_bundle": "thorax.bundle.writing",
        "write_graph_alone": "thorax.bundle.graph_alone",
        "Ensemble": "thorax.bundle.manifest",
        "Exported": "thorax.bundle.manifest",
        "Imported": "thorax.bundle.manifest",
        "InitialWeights": "thorax.bundle.manifest",
        "Manifest": "thorax.bundle.manifest",
        "Member": "thorax.bundle.manifest",
        "OperatingPoints": "thorax.bundle.manifest",
        "FeatureGrid": "thorax.bundle.manifest",
        "LAST_EPOCH": "thorax.bundle.manifest",
        "Provenance": "thorax.bundle.manifest",
        "SiteCalibration": "thorax.bundle.manifest",
        "Trained": "thorax.bundle.manifest",
        "MeanAuc": "thorax.bundle.statement",
        "Statement": "thorax.bundle.statement",
    },
)
