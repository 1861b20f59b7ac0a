import gc
import resource
import subprocess
import sys
import weakref

import pytest

from thorax.hardware import gc_frozen

FAULTS = """
import resource, sys
import numpy as np
if sys.argv[1] == "kept":
    from thorax.hardware import keep_freed_memory
    keep_freed_memory()
np.ones(8_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    np.ones(8_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(how):
    return int(subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, check=True).stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only glibc is told to keep memory")
def test_freed_memory_is_used_again():
    few = 64_000_000 // resource.getpagesize() // 1000
    if page_faults("handed back") < few:
        pytest.skip("this C library keeps freed memory by itself")
    assert page_faults("kept") < few


class Thing:
    """Holds itself, so that only a search for cycles frees it."""

    def __init__(self):
        self.itself = self


def test_what_is_made_to_stay_is_never_looked_through():
    with gc_frozen():
        assert not gc.isenabled()
        gone = weakref.ref(Thing())
    try:
        assert gc.isenabled()
        assert gc.get_freeze_count() > 0
        gc.collect()
        assert gone() is not None
        later = weakref.ref(Thing())
        gc.collect()
        assert later() is None
    finally:
        gc.unfreeze()
    gc.collect()
    assert gone() is None
