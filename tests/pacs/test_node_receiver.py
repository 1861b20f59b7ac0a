"""The receiving side: what each peer hears, whatever it sends; nothing is taken that was not stored."""

import io
import logging
import socket
import ssl
import subprocess
import threading
from contextlib import contextmanager

import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE

from tests.helpers.certificates import certificate
from tests.helpers.dicom_writing import DX
from tests.helpers.dimse import (
    RELEASE,
    Peer,
    association_request,
    content_of,
    data_pdus,
    echo_request,
    store_request,
)
from tests.helpers.node import image, program, storescu, wait_for
from thorax.pacs.node.ledger import Ledger
from thorax.pacs.node.log import NodeLog
from thorax.pacs.node.metrics import Counters
from thorax.pacs.node.queue import Queue
from thorax.pacs.node.receiver import Receiver
from thorax.pacs.node.settings import NodeSettings
from thorax.pacs.radiography import SOP_CLASSES, TRANSFER_SYNTAXES


@contextmanager
def receiving(folder, **settings):
    """Run a receiver without a worker; yield it and its queue."""
    given = {"forward": ("PACS@127.0.0.1:1",), "port": 0, "min_free": 0, "network_timeout": 3.0, **settings}
    queue = Queue(folder / "queue")
    levels = {name: logging.getLogger(name).level for name in ("pynetdicom", "pydicom")}
    receiver = Receiver(
        NodeSettings(queue=folder / "queue", **given),
        Ledger(queue, NodeLog(bytes(32), io.StringIO()), Counters()),
        stored=lambda: None,
        committed=lambda _transaction, _whole: False,
    )
    receiver.start()
    try:
        yield receiver, queue
    finally:
        receiver.stop()
        queue.close()
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def stored(port, file, *, sop_uid, sop_class=DX, **titles):
    """Send one object, and return the status of the answer."""
    with Peer(port) as peer:
        peer.send(association_request(DX, ExplicitVRLittleEndian, **titles))
        if peer.pdu()[0] != 2:
            return None
        peer.send(store_request(sop_class, sop_uid, content_of(file)))
        status = peer.status()
        peer.send(RELEASE)
        assert peer.pdu()[0] == 6
        return status


def files_of(queue):
    """Return every file of a queue but those of its database."""
    return sorted(path for path in (queue.folder / "received").rglob("*") if path.is_file())


def test_each_class_and_syntax_is_accepted_and_images_for_processing_are_not(tmp_path):
    with receiving(tmp_path) as (receiver, _):
        entity = AE("TEST")
        for sop_class in SOP_CLASSES:
            for syntax in TRANSFER_SYNTAXES:
                entity.add_requested_context(sop_class, syntax)
        entity.add_requested_context("1.2.840.10008.5.1.4.1.1.1.1.1", ExplicitVRLittleEndian)
        association = entity.associate("127.0.0.1", receiver.port, ae_title="THORAX")
        accepted = association.accepted_contexts
        association.release()
    assert len(accepted) == len(SOP_CLASSES) * len(TRANSFER_SYNTAXES)


def test_success_means_that_file_and_row_are_there(tmp_path):
    uid, file = image(1)
    with receiving(tmp_path) as (receiver, queue):
        assert stored(receiver.port, file, sop_uid=uid) == 0x0000
        (path,) = files_of(queue)
        assert pydicom.dcmread(path) == pydicom.dcmread(io.BytesIO(file))
        assert path.stat().st_mode & 0o077 == 0
        assert queue.counts() == {"received": 1}
        assert stored(receiver.port, file, sop_uid=uid) == 0x0000
        assert queue.counts() == {"received": 1}


@pytest.mark.parametrize(
    ("elements", "request_", "status"),
    [
        ({}, {"sop_uid": "1.2.3"}, 0xA900),
        ({}, {"sop_class": SOP_CLASSES[0]}, None),
        ({"StudyInstanceUID": None}, {}, 0xC000),
        ({"SOPInstanceUID": None}, {}, 0xC000),
        ({"StudyInstanceUID": ""}, {}, 0xC000),
    ],
)
def test_a_bad_object_gets_its_status_and_leaves_nothing(tmp_path, elements, request_, status):
    uid, _ = image(1)
    _, file = image(1, **elements)
    with receiving(tmp_path) as (receiver, queue):
        if status is not None:
            assert stored(receiver.port, file, **{"sop_uid": uid, **request_}) == status
        assert files_of(queue) == []
        assert queue.counts() == {}


def test_an_object_that_is_too_large_is_refused_and_the_next_one_taken(tmp_path):
    small, large = image(1, side=128), image(2, side=512)
    with receiving(tmp_path, max_bytes=100_000) as (receiver, queue):
        with Peer(receiver.port) as peer:
            peer.send(association_request(DX, ExplicitVRLittleEndian))
            assert peer.pdu()[0] == 2
            for (uid, file), status in ((large, 0xC010), (small, 0), (large, 0xC010)):
                peer.send(store_request(DX, uid, content_of(file)))
                assert peer.status() == status
        assert [path.stat().st_size < 100_000 for path in files_of(queue)] == [True]


def test_messages_sent_without_waiting_for_answers_are_bounded_and_never_taken_cut(tmp_path):
    """What is dropped because a peer sends faster than it may is refused: no half object is stored."""
    sent = [image(number, side=256) for number in range(1, 13)]
    whole = {content_of(file) for _, file in sent}
    with receiving(tmp_path, max_bytes=300_000) as (receiver, queue):
        with Peer(receiver.port, seconds=30) as peer:
            peer.send(association_request(DX, ExplicitVRLittleEndian))
            assert peer.pdu()[0] == 2
            peer.send(b"".join(store_request(DX, uid, content_of(file)) for uid, file in sent))
            statuses = [peer.status() for _ in sent]
        assert set(statuses) <= {0x0000, 0xC010, 0xA700}
        assert statuses[0] == 0
        taken = files_of(queue)
        assert len(taken) == statuses.count(0)
        assert all(content_of(path.read_bytes()) in whole for path in taken)


def test_a_full_disk_is_out_of_resources_until_there_is_room(tmp_path):
    uid, file = image(1)
    with receiving(tmp_path, min_free=1 << 60) as (receiver, queue):
        assert stored(receiver.port, file, sop_uid=uid) == 0xA700
        assert files_of(queue) == []
    with receiving(tmp_path) as (receiver, queue):
        assert stored(receiver.port, file, sop_uid=uid) == 0x0000


def test_only_allowed_senders_are_heard(tmp_path):
    uid, file = image(1)
    with receiving(tmp_path, allow=("PACS@127.0.0.0/8",)) as (receiver, queue):
        assert stored(receiver.port, file, sop_uid=uid, calling="OTHER") is None
        assert stored(receiver.port, file, sop_uid=uid, calling="PACS", called="OTHER") is None
        assert queue.counts() == {}
        assert stored(receiver.port, file, sop_uid=uid, calling="PACS") == 0
    with receiving(tmp_path, allow=("PACS@192.0.2.1",)) as (receiver, queue), Peer(receiver.port) as peer:
        peer.send(association_request(DX, ExplicitVRLittleEndian, calling="PACS"))
        assert peer.pdu() == (None, b"")


def test_there_are_only_so_many_associations(tmp_path):
    with receiving(tmp_path, associations=2) as (receiver, _):
        peers, answers = [], []
        for _ in range(3):
            peers.append(peer := Peer(receiver.port))
            peer.send(association_request(DX, ExplicitVRLittleEndian))
            answers.append(peer.pdu()[0])
        assert answers == [2, 2, 3]  # accepted, accepted, rejected
        for peer in peers:
            peer.__exit__()


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET / HTTP/1.1\r\n\r\n",
        bytes.fromhex("0100ffffffff"),
        bytes.fromhex("010000000100") + b"half",
        association_request(DX, ExplicitVRLittleEndian)[:50],
    ],
)
def test_a_peer_that_stalls_or_babbles_is_let_go(tmp_path, sent):
    uid, file = image(1)
    with receiving(tmp_path) as (receiver, _):
        with Peer(receiver.port, seconds=5) as peer:
            peer.send(sent)
            peer.ends()
        assert stored(receiver.port, file, sop_uid=uid) == 0


def test_an_association_that_ends_in_the_middle_of_an_object_leaves_nothing(tmp_path):
    uid, file = image(1)
    with receiving(tmp_path) as (receiver, queue):
        with Peer(receiver.port) as peer:
            peer.send(association_request(DX, ExplicitVRLittleEndian))
            assert peer.pdu()[0] == 2
            peer.send(store_request(DX, uid, content_of(file))[:-100])
        wait_for(lambda: receiver.associations == 0)
        assert files_of(queue) == []
        assert queue.counts() == {}


def test_an_association_that_is_under_way_ends_before_the_node(tmp_path):
    """A stop between two objects: the second one is still answered, and stored."""
    (one, first), (two, second) = image(1), image(2)
    with receiving(tmp_path) as (receiver, queue):
        with Peer(receiver.port) as peer:
            peer.send(association_request(DX, ExplicitVRLittleEndian))
            assert peer.pdu()[0] == 2
            peer.send(store_request(DX, one, content_of(first)))
            assert peer.status() == 0
            stopping = threading.Thread(target=receiver.stop)
            stopping.start()
            wait_for(lambda: not receiver.is_running)
            peer.send(store_request(DX, two, content_of(second), message=3))
            assert peer.status() == 0
            peer.send(RELEASE)
            assert peer.pdu()[0] == 6
        stopping.join(20)
        assert not stopping.is_alive()
        assert queue.counts() == {"received": 2}
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", receiver.port))


def test_echo_and_compressed_images_of_other_programs(tmp_path):
    uid, file = image(1)
    plain, lossless = tmp_path / "plain.dcm", tmp_path / "lossless.dcm"
    plain.write_bytes(file)
    subprocess.run([program("dcmcjpeg"), str(plain), str(lossless)], check=True)
    with receiving(tmp_path) as (receiver, queue):
        subprocess.run([program("echoscu"), "-aec", "THORAX", "127.0.0.1", str(receiver.port)], check=True)
        storescu(receiver.port, lossless, options=("-xs",))
        (path,) = files_of(queue)
        assert pydicom.dcmread(path).file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.4.70"
        assert queue.knows(uid, path.stem)


def test_with_tls_only_peers_of_the_authority_are_heard_and_a_silent_one_blocks_nobody(tmp_path):
    (ours, our_key), (theirs, their_key) = certificate(tmp_path, "node"), certificate(tmp_path, "peer")
    other, other_key = certificate(tmp_path, "other")
    with receiving(tmp_path, certificate=ours, key=our_key, authority=theirs) as (receiver, _):
        silent = socket.create_connection(("127.0.0.1", receiver.port))

        def answer(chain, key):
            context = ssl.create_default_context(cafile=ours)
            context.load_cert_chain(chain, key)
            with (
                socket.create_connection(("127.0.0.1", receiver.port), timeout=5) as plain,
                context.wrap_socket(plain, server_hostname="localhost") as encrypted,
            ):
                try:
                    encrypted.sendall(association_request(DX, ExplicitVRLittleEndian))
                    return encrypted.recv(1)
                except ssl.SSLError:
                    return b""

        assert answer(theirs, their_key) == b"\x02"
        assert answer(other, other_key) == b""
        silent.close()


def test_a_mutated_command_never_stops_the_receiver(tmp_path):
    """Commands that name no known message, a missing data set, or another presentation context."""
    uid, file = image(1)
    with receiving(tmp_path) as (receiver, queue):
        for sent in (
            data_pdus(1, b"\x00" * 40, is_command=True),
            data_pdus(77, b"\x00" * 40, is_command=True),
            data_pdus(3, content_of(file), is_command=False),
            store_request(DX, "1.2.3", b""),
            store_request("1.2.840.10008.5.1.4.1.1.2", uid, content_of(file)),
            echo_request()[:-2],
        ):
            with Peer(receiver.port) as peer:
                peer.send(association_request(DX, ExplicitVRLittleEndian))
                assert peer.pdu()[0] == 2
                peer.send(sent)
                peer.half_close()
                peer.ends()
        assert stored(receiver.port, file, sop_uid=uid) == 0
        assert queue.counts() == {"received": 1}
