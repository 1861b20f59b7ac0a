"""Other projects' checkpoints in our classifier: read as data, matched whole, and tested."""

from thorax.checkpoints.foreign_net import ForeignOptions
from thorax.checkpoints.importer import ForeignNet, deliver_imported, probe_image, read_foreign

__all__ = ["ForeignNet", "ForeignOptions", "deliver_imported", "probe_image", "read_foreign"]
