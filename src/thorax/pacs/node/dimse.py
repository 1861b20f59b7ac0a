"""Results to a PACS by C-STORE, with storage commitment where it is offered."""

import socket
import ssl
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Final, Self

from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset
from pydicom.encaps import generate_frames
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGBaseline8Bit, generate_uid
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    Comprehensive3DSRStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    SecondaryCaptureImageStorage,
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
)

from thorax.pacs.node.peers import Destination
from thorax.pacs.node.records import Delivery
from thorax.pacs.node.sender import NotReached, Refused, refuse_missing
from thorax.pacs.reaching import reason_of

__all__ = ["DimseOutlet"]

_PLAIN: Final = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
_REQUEST_COMMITMENT: Final = 1
_OUT_OF_RESOURCES: Final = range(0xA700, 0xA800)
_WARNINGS: Final = {0xB000, 0xB006, 0xB007}
"""Stored, with a change or a doubt of the destination's (PS3.4 B.2.3)."""

_SECONDS: Final = 30.0


class DimseOutlet:
    """Sends to an application entity; an `Outlet`.

    Args:
        destination: The destination.
        ae_title: The node's AE title.
        encryption: TLS, for a destination with it.
        asking: Called with results and the transaction UID under which commitment will be asked.
        committed: Called with a transaction UID and whether the destination keeps everything.
    """

    def __init__(
        self,
        destination: Destination,
        ae_title: str,
        encryption: ssl.SSLContext | None,
        *,
        asking: Callable[[Delivery, str], None],
        committed: Callable[[str, bool], bool],
    ) -> None:
        self._destination = destination
        self._encryption = encryption
        self._asking = asking
        self._committed = committed
        self._association: Association | None = None
        self._entity = AE(ae_title)
        self._entity.connection_timeout = _SECONDS / 3
        self._entity.acse_timeout = self._entity.dimse_timeout = self._entity.network_timeout = _SECONDS
        self._entity.add_requested_context(Comprehensive3DSRStorage, _PLAIN)
        self._entity.add_requested_context(GrayscaleSoftcopyPresentationStateStorage, _PLAIN)
        self._entity.add_requested_context(SecondaryCaptureImageStorage, JPEGBaseline8Bit)
        self._entity.add_requested_context(SecondaryCaptureImageStorage, _PLAIN)
        self._entity.add_requested_context(StorageCommitmentPushModel, _PLAIN)

    def __enter__(self) -> Self:
        """Begin an association.

        Raises:
            NotReached: It cannot be begun.
        """
        destination = self._destination
        encryption = self._encryption if destination.encrypted else None
        tls = (encryption, destination.host) if encryption else None
        try:
            association = self._entity.associate(
                destination.host,
                destination.port,
                ae_title=destination.ae_title,
                max_pdu=0,
                tls_args=tls,
                evt_handlers=[(evt.EVT_N_EVENT_REPORT, self._reported)],
            )
        except (OSError, RuntimeError):  # a name that cannot be resolved
            raise NotReached(_trouble(destination, encryption)) from None
        if not association.is_established:
            is_rejected = association.is_rejected
            why = "the association is rejected" if is_rejected else _trouble(destination, encryption)
            raise NotReached(why)
        self._association = association
        return self

    def __exit__(self, *_error: object) -> None:
        """End the association."""
        association, self._association = self._association, None
        if association is not None and association.is_established:
            association.release()

    def send(self, delivery: Delivery) -> None:
        """Send the results of an object, and ask for commitment where it is offered; see `Outlet`."""
        assert self._association is not None
        refuse_missing(delivery)
        datasets = [_read(path) for path in delivery.files]
        for dataset in datasets:
            _store(self._association, dataset)
        offered = {context.abstract_syntax for context in self._association.accepted_contexts}
        if StorageCommitmentPushModel in offered:
            self._ask(delivery, datasets)

    def _ask(self, delivery: Delivery, datasets: list[FileDataset]) -> None:
        """Ask the destination to commit itself; without an answer, its acceptance of the results counts."""
        assert self._association is not None
        request = Dataset()
        request.TransactionUID = generate_uid(prefix=None)
        request.ReferencedSOPSequence = [_reference(dataset) for dataset in datasets]
        self._asking(delivery, str(request.TransactionUID))
        status, _ = self._association.send_n_action(
            request, _REQUEST_COMMITMENT, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
        )
        if status.get("Status") != 0:
            self._asking(delivery, "")

    def _reported(self, event: evt.Event) -> int:
        information = event.event_information
        whole = event.event_type == 1 and not information.get("FailedSOPSequence")
        self._committed(str(information.get("TransactionUID", "")), whole)
        return 0x0000


def _trouble(destination: Destination, encryption: ssl.SSLContext | None) -> str:
    """Return why no association was made: pynetdicom does not say it, and another try to connect does."""
    try:
        with socket.create_connection((destination.host, destination.port), _SECONDS / 3) as connection:
            if encryption is not None:
                encryption.wrap_socket(connection, server_hostname=destination.host).close()
    except OSError as error:
        return f"no connection: {reason_of(error)}"
    return "it accepts connections, and no association"


def _read(path: Path) -> FileDataset:
    try:
        return dcmread(path)
    except FileNotFoundError:
        raise Refused("its results are kept no longer", is_final=True) from None


def _store(association: Association, dataset: FileDataset) -> None:
    """Store a result.

    Raises:
        NotReached: The destination went away, or has no room.
        Refused: It refuses it.
    """
    if not association.is_established:
        raise NotReached("the association has ended")
    accepted = {
        syntax
        for context in association.accepted_contexts
        if context.abstract_syntax == dataset.SOPClassUID
        for syntax in context.transfer_syntax
    }
    if not accepted:
        raise Refused(f"it does not take {dataset.SOPClassUID.name}")
    if dataset.file_meta.TransferSyntaxUID.is_encapsulated and JPEGBaseline8Bit not in accepted:
        _decompress(dataset)
    try:
        status = association.send_c_store(dataset)
    except (RuntimeError, ValueError, AttributeError) as error:
        raise NotReached(f"nothing was sent ({type(error).__name__})") from None
    code = status.get("Status")
    if code is None:
        raise NotReached("no answer")
    if code in _OUT_OF_RESOURCES:
        raise NotReached(f"it is out of resources (status 0x{code:04X})")
    if code and code not in _WARNINGS:
        raise Refused(f"status 0x{code:04X}")


def _decompress(dataset: FileDataset) -> None:
    """Store the pixels of an overlay in red, green and blue.

    Not by `Dataset.decompress`, which takes 17 times as long, 0.4 s where 0.02 s do.
    """
    with Image.open(BytesIO(next(generate_frames(dataset.PixelData, number_of_frames=1)))) as picture:
        pixels = picture.convert("RGB").tobytes()
    dataset.PhotometricInterpretation = "RGB"
    dataset.PixelData = pixels + bytes(len(pixels) % 2)
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = False
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian


def _reference(dataset: FileDataset) -> Dataset:
    reference = Dataset()
    reference.ReferencedSOPClassUID = dataset.SOPClassUID
    reference.ReferencedSOPInstanceUID = dataset.SOPInstanceUID
    return reference
