"""The bundle: what training delivers and everything else loads. No torch."""

from thorax.bundle.folder import (
    Bundle,
    attach_engine,
    copy_bundle,
    hashed_patients,
    load_bundle,
    refuse_seen_patients,
    refuse_used_folder,
    write_bundle,
)
from thorax.bundle.manifest import (
    Calibration,
    Ensemble,
    Exported,
    Imported,
    Manifest,
    Member,
    OperatingPoints,
    PartReference,
    Places,
    PlattCalibration,
    Provenance,
    Trained,
)

__all__ = [
    "Bundle",
    "Calibration",
    "Ensemble",
    "Exported",
    "Imported",
    "Manifest",
    "Member",
    "OperatingPoints",
    "PartReference",
    "Places",
    "PlattCalibration",
    "Provenance",
    "Trained",
    "attach_engine",
    "copy_bundle",
    "hashed_patients",
    "load_bundle",
    "refuse_seen_patients",
    "refuse_used_folder",
    "write_bundle",
]
