import gc
import json
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


BLAS = """
import ctypes, json, sys
import numpy as np
from thorax.hardware import _loaded_blas, _thread_calls, blas_on_one_thread

calls = [pair for path in _loaded_blas() if (pair := _thread_calls(path)) is not None]
for _, put in calls:
    put(3)
seen = [[get() for get, _ in calls]]
try:
    with blas_on_one_thread():
        seen.append([get() for get, _ in calls])
        raise KeyError
except KeyError:
    seen.append([get() for get, _ in calls])
print(json.dumps(seen))
"""


def blas_threads(**environment):
    """Return the threads of each library before, in and after `blas_on_one_thread`, which an error leaves."""
    unset = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    done = subprocess.run(
        [sys.executable, "-c", BLAS], capture_output=True, text=True, check=True, env=unset | environment
    )
    return json.loads(done.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux says which libraries are loaded")
def test_numpy_multiplies_on_one_thread_meanwhile_unless_the_user_says_otherwise():
    before, meanwhile, after = blas_threads()
    if not before:
        pytest.skip("this NumPy multiplies with another library than OpenBLAS")
    assert set(before) == set(after) == {3}
    assert set(meanwhile) == {1}
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        assert blas_threads(**{name: "3"}) == [before, before, before]


THREADS = """
import os, sys
from thorax.hardware import one_blas_thread
if sys.argv[1] == "one":
    one_blas_thread()
import numpy as np
np.ones((300, 300)) @ np.ones((300, 300))
print(len(os.listdir("/proc/self/task")))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux") or cores() < 2, reason="counts threads of two cores")
def test_numpy_starts_no_second_thread_for_a_command():
    def threads(how, **environment):
        unset = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
        words = [sys.executable, "-c", THREADS, how]
        return int(subprocess.run(words, capture_output=True, check=True, env=unset | environment).stdout)

    if threads("as it is") == 1:
        pytest.skip("this NumPy multiplies with another library than OpenBLAS")
    assert threads("one") == 1
    assert threads("one", OPENBLAS_NUM_THREADS="2") == 2
