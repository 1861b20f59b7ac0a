"""Results to a DICOMweb service by STOW-RS."""

import ssl
from typing import Self

from thorax.pacs.dicomweb import DicomWeb, NoAnswer, WebError, credentials
from thorax.pacs.node.peers import Destination
from thorax.pacs.node.records import Delivery
from thorax.pacs.node.sender import NotReached, Refused, refuse_missing

__all__ = ["StowOutlet"]


class StowOutlet:
    """Sends to a DICOMweb service, with the credentials of the environment; an `Outlet`.

    Args:
        destination: The destination.
        encryption: TLS, for https.
    """

    def __init__(self, destination: Destination, encryption: ssl.SSLContext | None) -> None:
        self._service = DicomWeb(destination.name, encryption=encryption, headers=credentials())

    def __enter__(self) -> Self:
        """Do nothing: each request has a connection of its own."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Do nothing."""

    def send(self, delivery: Delivery) -> None:
        """Send the results of an object; see `Outlet`."""
        refuse_missing(delivery)
        try:
            reasons = self._service.store([path.read_bytes() for path in delivery.files])
        except FileNotFoundError:
            raise Refused("its results are kept no longer", is_final=True) from None
        except NoAnswer as error:
            raise NotReached(str(error)) from None
        except WebError as error:
            raise Refused(str(error)) from None
        if reasons:
            raise Refused(f"failure reason 0x{reasons[0]:04X}")
