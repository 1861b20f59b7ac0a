"""Training, evaluation and inference of chest radiograph classifiers."""

import os

from thorax.packages import lazy_names

TYPE_CHECKING = False  # as in `typing`, which takes 20 ms to import
if TYPE_CHECKING:
    from thorax import errors, progress
    from thorax.inspection.recognize import info
    from thorax.studies.study import study
    from thorax.tuning.tune import tune
    from thorax.workflows.audit import audit
    from thorax.workflows.bundles import calibrate, ensemble, export
    from thorax.workflows.compare import compare
    from thorax.workflows.evaluate import evaluate
    from thorax.workflows.gate import gate
    from thorax.workflows.localize import localize
    from thorax.workflows.model import Failure, Model, load
    from thorax.workflows.phantom import phantom
    from thorax.workflows.prepare import prepare
    from thorax.workflows.robustness import robustness
    from thorax.workflows.site import site
    from thorax.workflows.train import train

# How often threads of libgomp, which are torch's on Linux, look for work at a barrier before they sleep; read
# when torch is imported. At libgomp's own 300,000, training beside as many busy processes as there are cores
# falls to a third of its rate or less: a thread spins through its time slice while the one that it waits for
# has no core (bench/busy.py).
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")

__version__ = "0.1.0"

__all__ = [
    "Failure",
    "Model",
    "__version__",
    "audit",
    "calibrate",
    "compare",
    "ensemble",
    "errors",
    "evaluate",
    "export",
    "gate",
    "info",
    "load",
    "localize",
    "phantom",
    "prepare",
    "progress",
    "robustness",
    "site",
    "study",
    "train",
    "tune",
]

# `import thorax` takes milliseconds; what a name needs is imported when it is first used.
__getattr__ = lazy_names(
    __name__,
    {
        "Failure": "thorax.workflows.model",
        "Model": "thorax.workflows.model",
        "audit": "thorax.workflows.audit",
        "calibrate": "thorax.workflows.bundles",
        "compare": "thorax.workflows.compare",
        "ensemble": "thorax.workflows.bundles",
        "errors": "thorax.errors",
        "evaluate": "thorax.workflows.evaluate",
        "export": "thorax.workflows.bundles",
        "gate": "thorax.workflows.gate",
        "info": "thorax.inspection.recognize",
        "load": "thorax.workflows.model",
        "localize": "thorax.workflows.localize",
        "phantom": "thorax.workflows.phantom",
        "prepare": "thorax.workflows.prepare",
        "progress": "thorax.progress",
        "robustness": "thorax.workflows.robustness",
        "site": "thorax.workflows.site",
        "study": "thorax.studies.study",
        "train": "thorax.workflows.train",
        "tune": "thorax.tuning.tune",
    },
    name_extras=True,
)


def __dir__() -> list[str]:
    """Return every public name, including those not imported yet, so that a prompt can complete them."""
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
