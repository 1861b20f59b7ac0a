"""The sending side beside an archive that does what archives do: refuses, breaks off, has no room."""

import io
import logging
import ssl
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image
from pydicom.encaps import generate_frames
from pynetdicom import AE, AllStoragePresentationContexts, evt

from tests.helpers.certificates import certificate
from tests.helpers.node import free_port, image
from thorax.pacs.finishing import encoded
from thorax.pacs.node.dimse import DimseOutlet
from thorax.pacs.node.ledger import Ledger
from thorax.pacs.node.log import NodeLog
from thorax.pacs.node.metrics import Counters
from thorax.pacs.node.peers import read_destinations
from thorax.pacs.node.queue import Queue
from thorax.pacs.node.records import Delivery, Received
from thorax.pacs.node.sender import NotReached, Sender


@contextmanager
def archive(answer, *, encryption=None):
    """Run an archive that answers each object as a function says; yield its port and what it took."""
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)
    taken = []

    def store(event):
        status = answer(event)
        if status == 0:
            taken.append(str(event.request.AffectedSOPInstanceUID))
        return status

    entity = AE("PACS")
    entity.supported_contexts = AllStoragePresentationContexts
    server = entity.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store)], ssl_context=encryption
    )
    try:
        yield server.server_address[1], taken
    finally:
        server.shutdown()


@pytest.fixture
def sending(tmp_path, maker):
    """Three images with reports alone that wait to be sent, and a function that makes their sender."""
    queue, reports = Queue(tmp_path / "queue"), []
    log = io.StringIO()

    def sender_to(port):
        (destination,) = read_destinations([f"PACS@127.0.0.1:{port}"], [], [])
        for number in (1, 2, 3):
            uid, content = image(number)
            queue.add(Received(sop_uid=uid, sha256=f"{number:064x}", study_uid="1", calling="A", size=1))
            report = maker.results(content, uid).sr
            reports.append(str(report.SOPInstanceUID))
            queue.results_of(number).mkdir()
            (queue.results_of(number) / "0.dcm").write_bytes(encoded(report))
        queue.begin(8)
        for number in (1, 2, 3):
            queue.predicted(number, {}, [destination.name], result_bytes=1)
        outlet = DimseOutlet(
            destination, "THORAX", None, asking=queue.asking, committed=lambda _transaction, _whole: False
        )
        return Sender(destination, outlet, Ledger(queue, NodeLog(bytes(32), log), Counters()))

    yield sender_to, queue, reports
    queue.close()


def test_an_object_at_which_the_archive_breaks_off_holds_up_no_other(sending):
    sender_to, queue, reports = sending

    def answer(event):
        if event.request.AffectedSOPInstanceUID == reports[0]:
            event.assoc.abort()
            return 0xC001
        return 0

    with archive(answer) as (port, taken):
        sender = sender_to(port)
        with pytest.raises(NotReached):
            sender.work()
        assert sender.work() == 2
        assert taken == reports[1:]
    assert queue.counts() == {"predicted": 1, "sent": 2}


def test_an_archive_without_room_is_asked_again_and_a_refusal_is_counted(sending):
    sender_to, queue, reports = sending
    room = []

    def answer(event):
        if event.request.AffectedSOPInstanceUID == reports[0]:
            return 0xC000
        return 0 if room else 0xA701

    with archive(answer) as (port, taken):
        sender = sender_to(port)
        with pytest.raises(NotReached, match="out of resources"):
            sender.work()
        assert queue.counts() == {"predicted": 3}
        room.append(True)
        assert sender.work() == 1
        assert taken == reports[2:]
    assert queue.failures() == []
    ((attempts,),) = queue._rows("SELECT attempts FROM deliveries WHERE object = 1")
    assert attempts == 1


def test_an_archive_that_takes_no_jpeg_gets_the_overlay_in_red_green_and_blue(tmp_path, maker):
    overlay = maker.results(image(1)[1], "one").secondary_capture
    path = tmp_path / "0.dcm"
    path.write_bytes(encoded(overlay))
    taken = []

    def answer(event):
        dataset = event.dataset
        dataset.file_meta = event.file_meta
        taken.append(dataset)
        return 0

    with archive(answer) as (port, _):
        (destination,) = read_destinations([f"PACS@127.0.0.1:{port}"], [], [])
        with DimseOutlet(destination, "THORAX", None, asking=print, committed=print) as outlet:
            outlet.send(Delivery(number=1, sop_uid="1", destination="PACS", files=(path,), attempts=0))
    (stored,) = taken
    assert stored.PhotometricInterpretation == "RGB"
    assert stored.LossyImageCompression == "01"
    jpeg = Image.open(io.BytesIO(next(generate_frames(overlay.PixelData, number_of_frames=1))))
    assert np.array_equal(stored.pixel_array, np.asarray(jpeg.convert("RGB")))


# pynetdicom leaves the socket of a refused connection to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_why_an_archive_is_not_reached_is_said(tmp_path):
    own, key = certificate(tmp_path, "pacs")
    encryption = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    encryption.load_cert_chain(own, key)

    def why(port, *, encrypted):
        address = f"PACS@localhost:{port}"
        (destination,) = read_destinations([] if encrypted else [address], [address] if encrypted else [], [])
        outlet = DimseOutlet(
            destination,
            "THORAX",
            ssl.create_default_context(),
            asking=lambda *_: None,
            committed=lambda *_: True,
        )
        with pytest.raises(NotReached) as caught, outlet:
            pass
        return str(caught.value)

    assert why(free_port(), encrypted=False) == "no connection: Connection refused"
    with archive(lambda _: 0, encryption=encryption) as (port, _):
        assert why(port, encrypted=True) == (
            "no connection: its certificate is not accepted (self-signed certificate)"
        )
