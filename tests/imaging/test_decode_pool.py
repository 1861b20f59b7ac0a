"""Decoders that crash, hang or take all memory cost one file, and never the program or the other files."""

import errno
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from thorax.errors import DataError
from thorax.imaging import decode_process
from thorax.imaging.decode_pool import DecodePool, Done, Lost, Work
from thorax.imaging.limits import spent_seconds

TASK = "tests.helpers.decoders:decode"
GOOD = [f"good {number}" for number in range(12)]


def results(items, *, count=1, at_once=4, **settings):
    """What becomes of each item."""
    works = (
        Work("context", tuple(items[first : first + at_once])) for first in range(0, len(items), at_once)
    )
    with closing(DecodePool(TASK, count, **settings)) as pool:
        return {result.item: result for result in pool.results(works)}


def children():
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()


@pytest.mark.parametrize("count", [1, 3])
def test_every_item_is_answered_once(count):
    before = children()
    found = results(GOOD, count=count)
    assert sorted(found) == sorted(GOOD)
    assert all(found[item].answer[:2] == ["context", item] for item in GOOD)
    assert 1 <= len({result.answer[2] for result in found.values()}) <= count
    assert children() == before


def test_bytes_come_with_their_answer():
    items = ["bytes 3", "good", "bytes 5000000", "bytes 0"]
    found = results(items)
    assert [(len(found[item].content)) for item in items] == [3, 0, 5_000_000, 0]


@pytest.mark.parametrize("name", ["SIGABRT", "SIGSEGV", "SIGBUS", "SIGILL", "SIGFPE"])
def test_a_crash_costs_its_file_alone(name, capfd):
    killer = f"signal {name}"
    found = results([*GOOD[:5], killer, *GOOD[5:]], count=2)
    assert all(isinstance(found[item], Done) for item in GOOD)
    assert found[killer] == Lost(
        killer,
        f"the decoder crashed ({name}); the file is damaged, or made to do this; export it again from its "
        "source",
    )
    assert capfd.readouterr() == ("", "")


def test_what_libraries_print_is_caught(capfd):
    found = results(["abort"])
    assert "SIGABRT" in found["abort"].reason
    assert capfd.readouterr() == ("", "")


def test_all_at_once():
    killers = ["signal SIGSEGV", "abort", "fail", "allocate 3000000000"]
    found = results([GOOD[0], killers[0], killers[1], GOOD[1], *killers[2:], *GOOD[2:]], count=2, at_once=3)
    assert {item for item, result in found.items() if isinstance(result, Lost)} == set(killers)
    assert len(found) == len(GOOD) + len(killers)


def test_cpu_time_is_bounded_by_the_size_of_the_image():
    begun = time.monotonic()
    found = results(["spin", "good", "spin 3000000"])
    assert "more than the 2 s of CPU time" in found["spin"].reason
    assert "more than the 5 s of CPU time" in found["spin 3000000"].reason
    assert isinstance(found["good"], Done)
    assert time.monotonic() - begun > 2 + 5 - 1


@pytest.mark.skipif(sys.platform != "linux", reason="Linux counts the limit by a clock of its own")
def test_the_limit_is_counted_by_the_clock_that_the_worker_reads():
    """Naps make `time.process_time` differ from it, and a process that lives long adds that up."""
    code = """
import math, resource, signal, time
from thorax.imaging.limits import spent_seconds
signal.signal(signal.SIGXCPU, lambda *_: ended.append(spent_seconds()))
ended = []
limit = math.ceil(spent_seconds() + 1)
resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))
while not ended:
    sum(range(5_000))
    time.sleep(1e-4)
print(ended[0] - limit)
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert 0 <= float(done.stdout) < 0.03


def test_where_there_is_no_such_clock_the_exact_one_is_read(monkeypatch):
    def unknown(_clock):
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr("thorax.imaging.limits.time.clock_gettime", unknown)
    before = time.process_time()
    assert before <= spent_seconds() <= time.process_time()


def test_memory_is_bounded_by_the_size_of_the_image():
    """2 GiB are too many for an image whose size is unknown, and allowed for one of 50 megapixels."""
    found = results(["allocate 2147483648", "good", "pixels 50000000", "pixels 1000000"])
    assert "needs more memory than an image of its size may use" in found["allocate 2147483648"].reason
    assert isinstance(found["good"], Done)
    assert isinstance(found["pixels 50000000"], Done)
    assert isinstance(found["pixels 1000000"], Lost)


@pytest.mark.slow
def test_a_decoder_that_waits_for_ever_is_ended_by_the_clock():
    found = results(["hang", "good"])
    assert found["hang"].reason.startswith("decoding had not ended after 20 s; ")
    assert isinstance(found["good"], Done)


def test_unexpected_errors_do_not_quote_the_file():
    found = results(["fail", "good"])
    assert found["fail"].reason.startswith("reading it failed unexpectedly (ValueError at decoders.py:")
    assert "SECRET" not in found["fail"].reason
    assert isinstance(found["good"], Done)


def test_an_item_is_tried_again_alone(tmp_path):
    """It takes everything down the first time only, as on a machine that is too busy."""
    once, never = f"once {tmp_path / 'seen'}", "abort"
    found = results(["good 1", once, never, "good 2"], count=2, at_once=1, again=True)
    assert isinstance(found[once], Done)
    assert isinstance(found[never], Lost)
    assert len(found) == 4
    (tmp_path / "seen").unlink()
    assert isinstance(results([once])[once], Lost)


@pytest.mark.parametrize("item", ["stop", "exit", "signal SIGKILL", "signal SIGTERM"])
def test_what_no_file_does_ends_the_whole(item):
    before = children()
    with pytest.raises(DataError, match="the disk is full" if item == "stop" else "a worker process ended"):
        results(["good", item])
    assert children() == before


@pytest.mark.parametrize(
    "said", ["nonsense", "[]", '{"answers": []}', '{"answers": [7]}', '{"answers": [{"bytes": "many"}]}', "3"]
)
def test_an_answer_that_means_nothing_ends_the_whole(said):
    """As from a decoder that a file has taken over."""
    before = children()
    with pytest.raises(DataError, match="ended after an answer that means nothing while it was reading"):
        results([f"answer {said}"])
    assert children() == before


def test_a_worker_that_never_begins_is_ended(monkeypatch):
    monkeypatch.setattr(decode_process, "_IDLE", 1.0)
    with closing(DecodePool(TASK, 1)) as pool:  # one that waits for work may do so
        assert len(list(pool.results(iter([Work("context", ("good",))])))) == 1
        time.sleep(1.5)
        assert len(list(pool.results(iter([Work("context", ("spin", "good"))])))) == 2
    begun = time.monotonic()
    with (
        closing(DecodePool(TASK, 1, modules=["tests.helpers.never_imported"])) as pool,
        pytest.raises(DataError, match="a worker process ended by signal 9"),
    ):
        list(pool.results(iter([Work("context", ("good",))])))
    assert 1 <= time.monotonic() - begun < 20


def test_a_worker_that_is_killed_from_outside_between_items():
    with closing(DecodePool(TASK, 1)) as pool:
        (first,) = pool.results(iter([Work("context", ("good",))]))
        os.kill(first.answer[2], signal.SIGKILL)
        with pytest.raises(DataError, match="a worker process ended by signal 9"):
            list(pool.results(iter([Work("context", ("good",))])))
