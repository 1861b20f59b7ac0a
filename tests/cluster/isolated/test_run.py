"""Units over two nodes: in order, spoken to, lost, given up, and stopped."""

import _thread
import threading
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from tests.helpers import units
from tests.helpers.nodes import wait_until
from thorax.cluster import GIB, Lost, run_units
from thorax.errors import DataError, ServiceError


def test_units_come_back_in_order_with_their_threads(cluster):
    assert list(run_units(cluster, units.square, range(20), ordered=True)) == [(n, n * n) for n in range(20)]
    assert dict(run_units(cluster, units.threads, [1])) == {1: "1"}


def test_what_units_say_is_heard_and_answered(cluster):
    heard = []

    def hear(unit, message):
        heard.append((unit, message))
        return unit + 100

    assert dict(run_units(cluster, units.speak, [1, 2, 3], heard=hear)) == {1: 101, 2: 102, 3: 103}
    assert {(n, f"may {n}?") for n in (1, 2, 3)} <= set(heard)


def test_what_a_unit_raises_is_raised(cluster):
    with pytest.raises(DataError, match=r"^unit 7 is wrong$"):
        list(run_units(cluster, units.refuse, [7]))


def test_a_unit_that_kills_its_worker_is_given_up_and_the_others_are_done(cluster):
    done = dict(run_units(cluster, units.die_at_three, range(6)))
    assert done.pop(3) == Lost("the worker was killed, or a library in it crashed, 3 times")
    assert done == {n: n for n in (0, 1, 2, 4, 5)}


def test_a_worker_that_takes_more_memory_than_it_may_is_ended(cluster):
    small = replace(cluster, memory=GIB // 2)
    done = dict(run_units(small, units.swell, [50, 700]))
    assert done[50] == 50 << 20
    assert isinstance(done[700], Lost)
    assert "GiB of the 0.50 GiB that a unit may take, 3 times" in done[700].reason


def test_a_node_does_not_see_a_path(cluster, tmp_path):
    with pytest.raises(DataError, match=rf"node \S+ does not see {tmp_path}/gone; every node needs"):
        list(run_units(cluster, units.square, [1], sees=[tmp_path, tmp_path / "gone"]))


def test_no_node_has_room(cluster):
    begun = time.monotonic()
    with pytest.raises(ServiceError, match=r"no node of the cluster has 1 core and 64 GiB of memory \(the"):
        list(run_units(replace(cluster, memory=64 * GIB), units.square, [1]))
    assert time.monotonic() - begun < 20


def test_stopping_stops_the_units(cluster, tmp_path):
    with closing(run_units(cluster, units.wait_for_stop, [str(tmp_path)])) as results:
        threading.Thread(target=interrupt_when, args=(tmp_path / "begun",), daemon=True).start()
        with pytest.raises(KeyboardInterrupt):
            next(results)
    assert (tmp_path / "stopped").exists()


def interrupt_when(path: Path) -> None:
    wait_until(path.exists)
    _thread.interrupt_main()


@pytest.mark.parametrize("after", [1, 9])
def test_what_a_killed_node_did_is_done_again(nodes, cluster, tmp_path, after):
    work = [(str(tmp_path), number, 0.3) for number in range(12)]
    done = []
    for count, (unit, result) in enumerate(run_units(cluster, units.note, work), start=1):
        assert unit[1] == result
        done.append(result)
        if count == after:
            nodes.kill()
    nodes.add()
    assert sorted(done) == list(range(12))
    assert len(list(tmp_path.glob("*-done"))) == 12
    begun = len(list(tmp_path.glob("*-begun-*")))
    assert 12 <= begun <= 15
