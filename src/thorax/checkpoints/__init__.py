"""Imports other projects' checkpoints: read as data, matched tensor by tensor, and self-tested."""

from thorax.checkpoints.foreign_net import ForeignOptions
from thorax.checkpoints.importer import ForeignNet, probe_image, read_foreign, write_imported

__all__ = ["ForeignNet", "ForeignOptions", "probe_image", "read_foreign", "write_imported"]
