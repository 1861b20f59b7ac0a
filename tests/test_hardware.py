import gc
import os
import resource
import subprocess
import sys
import weakref

import pytest

from thorax.hardware import cores, gc_frozen, num_threads

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


ALL = os.cpu_count()


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, ALL),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, ALL),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "100000 100000\n"}, 1),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "10000 100000\n"}, 1),  # a tenth of a core
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "damaged\n"}, ALL),
        # A quota of what the group is in holds as well.
        ({"proc/self/cgroup": "0::/jobs/7\n", "sys/fs/cgroup/jobs/cpu.max": "50000 50000\n"}, 1),
        (
            {
                "proc/self/cgroup": "4:cpu,cpuacct:/docker/1a\n0::/\n",
                "sys/fs/cgroup/cpu/docker/1a/cpu.cfs_quota_us": "100000\n",
                "sys/fs/cgroup/cpu/docker/1a/cpu.cfs_period_us": "100000\n",
            },
            1,
        ),
        (
            {
                "proc/self/cgroup": "4:cpu:/\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            ALL,
        ),
    ],
)
def test_cores_are_those_of_affinity_and_quota(tmp_path, files, expected):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    affinity = os.sched_getaffinity(0)
    assert cores(tmp_path) == min(expected, len(affinity))
    try:
        os.sched_setaffinity(0, [min(affinity)])
        assert cores(tmp_path) == 1
    finally:
        os.sched_setaffinity(0, affinity)


def test_a_user_s_number_of_threads_counts_more_than_the_cores(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert num_threads() == 5
    monkeypatch.setenv("OMP_NUM_THREADS", "all")
    assert num_threads() == cores()


SPIN = "import os, thorax; print(os.environ.get('GOMP_SPINCOUNT'))"


@pytest.mark.parametrize(
    ("setting", "expected"),
    [({}, "10000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "None")],
)
def test_threads_sleep_after_some_spins_unless_the_user_says_otherwise(setting, expected):
    environment = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"} | setting
    command = [sys.executable, "-c", SPIN]
    answer = subprocess.run(command, check=True, env=environment, capture_output=True, text=True).stdout
    assert answer.strip() == expected
