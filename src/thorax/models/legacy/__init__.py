"""Other projects' checkpoints in our classifier: read as data, matched whole, and tested."""

from thorax.models.legacy.delivery import deliver_imported
from thorax.models.legacy.foreign import Imported, probe_image, read_foreign
from thorax.models.legacy.source import ForeignOptions

__all__ = ["ForeignOptions", "Imported", "deliver_imported", "probe_image", "read_foreign"]
