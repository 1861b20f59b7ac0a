"""DICOM's upper layer, byte by byte: what tests send that no library would."""

import io
import socket
import struct
import time
from contextlib import suppress

from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import build_context
from pynetdicom.dsutils import decode, encode
from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
)

RELEASE = bytes.fromhex("05000000000400000000")
MOST = 16_000


def association_request(sop_class, syntax, *, called="THORAX", calling="TEST"):
    """Return an A-ASSOCIATE-RQ for Verification (context 1) and a SOP class (context 3)."""
    request = A_ASSOCIATE()
    request.application_context_name = "1.2.840.10008.3.1.1.1"
    request.calling_ae_title, request.called_ae_title = calling, called
    echo, store = build_context("1.2.840.10008.1.1"), build_context(sop_class, syntax)
    echo.context_id, store.context_id = 1, 3
    request.presentation_context_definition_list = [echo, store]
    length, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    length.maximum_length_received = MOST
    implementation.implementation_class_uid = "1.2.3.4"
    request.user_information = [length, implementation]
    pdu = A_ASSOCIATE_RQ()
    pdu.from_primitive(request)
    return pdu.encode()


def data_pdus(context, content, *, is_command):
    """Return P-DATA-TF PDUs that carry a command set or a data set."""
    parts = [content[first : first + MOST - 6] for first in range(0, len(content), MOST - 6)] or [b""]
    pdus = []
    for number, part in enumerate(parts, start=1):
        control = int(is_command) | (2 if number == len(parts) else 0)
        item = struct.pack(">LBB", len(part) + 2, context, control) + part
        pdus.append(struct.pack(">BBL", 4, 0, len(item)) + item)
    return b"".join(pdus)


def echo_request(message=1):
    """Return a C-ECHO-RQ."""
    command = Dataset()
    command.AffectedSOPClassUID = "1.2.840.10008.1.1"
    command.CommandField, command.MessageID, command.CommandDataSetType = 0x0030, message, 0x0101
    return data_pdus(1, _encoded(command), is_command=True)


def store_request(sop_class, sop_uid, content, message=2):
    """Return a C-STORE-RQ with an encoded data set."""
    command = Dataset()
    command.AffectedSOPClassUID, command.AffectedSOPInstanceUID = sop_class, sop_uid
    command.CommandField, command.MessageID, command.CommandDataSetType = 0x0001, message, 0x0001
    command.Priority = 2
    return data_pdus(3, _encoded(command), is_command=True) + data_pdus(3, content, is_command=False)


def content_of(file):
    """Return the encoded data set of a file, in Explicit VR Little Endian."""
    return encode(dcmread(io.BytesIO(file)), is_implicit_vr=False, is_little_endian=True)


def _encoded(command):
    content = encode(command, is_implicit_vr=True, is_little_endian=True)
    group = Dataset()
    group.CommandGroupLength = len(content)
    return encode(group, is_implicit_vr=True, is_little_endian=True) + content


class Peer:
    """A connection to a node."""

    def __init__(self, port, *, seconds=5.0):
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=seconds)
        self._seconds = seconds

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._socket.close()

    def send(self, content):
        """Send bytes; the node may have closed the connection."""
        try:
            self._socket.sendall(content)
        except (BrokenPipeError, ConnectionResetError):
            return False
        return True

    def half_close(self):
        """Say that nothing more will be sent."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def pdu(self):
        """Return type and content of the next PDU; (None, b"") at the end of the connection."""
        head = self._exactly(6)
        if len(head) < 6:
            return None, b""
        kind, _, length = struct.unpack(">BBL", head)
        return kind, self._exactly(length)

    def status(self):
        """Return the status of the next answer; None if there is none."""
        kind, content = self.pdu()
        if kind != 4:
            return None
        return decode(io.BytesIO(content[6:]), is_implicit_vr=True, is_little_endian=True).Status

    def ends(self):
        """Read until the node closes the connection; raise TimeoutError if it does not within the time."""
        until = time.monotonic() + self._seconds
        while time.monotonic() < until:
            try:
                if not self._socket.recv(1 << 16):
                    return
            except ConnectionResetError:
                return
        raise TimeoutError("the node neither answers nor closes the connection")

    def _exactly(self, count):
        content = b""
        while len(content) < count:
            try:
                part = self._socket.recv(count - len(content))
            except ConnectionResetError:
                part = b""
            if not part:
                return content
            content += part
        return content
