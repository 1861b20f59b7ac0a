"""What `doctor` sees: each of its eyes on made-up systems, and all of it here."""

import json
import os
import resource
import subprocess
import sys

from tests.helpers.command import command, thorax
from tests.test_packages import EXTRAS, thorax_without
from thorax.inspection import doctor
from thorax.inspection.resources import Disk, busy_elsewhere, cpu_features, disk, memory


def test_everything_installed_here_works():
    checks = doctor()
    assert {check.name for check in checks if check.state == "broken"} == set()
    names = [check.name for check in checks]
    assert len(set(names)) == len(names)
    for name in ("starter", "decoder python-gdcm", "extra train", "cores", "memory", "disk", "open files"):
        assert name in names
    assert all(check.remedy for check in checks if check.state in {"slow", "missing", "broken"})


def test_the_command_prints_lines_or_json():
    assert "everything that is installed works" in command("doctor").stdout
    report = json.loads(command("doctor", "--json").stdout)
    assert report["ok"] is True
    assert {check["state"] for check in report["checks"]} <= {"ok", "note", "slow", "missing"}


def test_extras_that_are_missing_are_named_with_the_line_to_type():
    done = thorax_without(EXTRAS, "doctor", "--json")
    assert done.returncode == 0, done.stderr
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    train = checks["extra train"]
    assert (train["state"], "torch" in train["value"]) == ("missing", True)
    assert train["remedy"] == "pip install '.[train]' in a clone of the repository"


def test_a_broken_decoder_ends_with_exit_code_1():
    done = thorax_without("gdcm", "doctor")
    assert done.returncode == 1
    assert "BROKEN decoder python-gdcm: DICOM with lossless or 12-bit JPEG cannot be read" in done.stdout
    assert "1 of these are broken" in done.stdout


def test_what_import_thorax_sets_is_not_called_a_setting_of_the_user():
    asked = "from thorax.inspection import doctor; print(*[c.text for c in doctor() if c.name == 'threads'])"
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("GOMP_", "OMP_"))
    }
    for more, wanted in (({}, False), ({"GOMP_SPINCOUNT": "7"}, True)):
        answer = subprocess.run(
            [sys.executable, "-c", asked], env=environment | more, check=True, capture_output=True, text=True
        ).stdout
        assert ("GOMP_SPINCOUNT=7" in answer) == wanted
        assert "GOMP_SPINCOUNT=10000" not in answer


def test_too_many_threads_are_slow(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "999")
    (threads,) = [check for check in doctor() if check.name == "threads"]
    assert threads.state == "slow"
    assert "OMP_NUM_THREADS=999" in threads.text


def test_few_open_files_are_broken():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
    try:
        assert "BROKEN open files: 100 files may be open at once" in thorax("doctor", expect=1).stdout
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_memory_honors_the_limit_of_a_container(tmp_path):
    proc, cgroups = tmp_path / "proc", tmp_path / "cgroup"
    proc.mkdir()
    cgroups.mkdir()
    (proc / "meminfo").write_text("MemTotal: 8000 kB\nMemAvailable: 5000 kB\n")
    assert memory(proc=proc, cgroups=cgroups) == (5000 * 1024, 8000 * 1024)
    (cgroups / "memory.max").write_text("4096000\n")
    (cgroups / "memory.current").write_text("4095000\n")
    assert memory(proc=proc, cgroups=cgroups) == (1000, 4096000)
    (cgroups / "memory.max").write_text("max\n")
    assert memory(proc=proc, cgroups=cgroups) == (5000 * 1024, 8000 * 1024)
    assert memory(proc=tmp_path / "none", cgroups=tmp_path / "none") == (None, None)


def test_features_disk_and_load(tmp_path):
    (tmp_path / "cpuinfo").write_text("processor : 0\nflags\t: fpu sse2 avx2\n")
    assert cpu_features(tmp_path / "cpuinfo") == {"fpu", "sse2", "avx2"}
    assert cpu_features(tmp_path / "none") is None
    here = disk(tmp_path)
    assert 0 < here.free <= here.total
    assert [Disk(1, 1, kind).is_network for kind in ("nfs4", "fuse.sshfs", "ext4", "")] == [
        True, True, False, False,
    ]  # fmt: skip
    busy = busy_elsewhere()
    assert busy is None or 0 <= busy <= (os.cpu_count() or 1) + 0.5
