"""Requests that are refused, and the one form of every answer that is a failure."""

from typing import Any, Final

from starlette.responses import JSONResponse

from thorax.errors import (
    BundleError,
    ImageError,
    MissingExtra,
    NotARadiograph,
    RecipeError,
    ServiceError,
    ThoraxError,
)
from thorax.inference.gate import Gate
from thorax.service.answers import describe_gate

__all__ = ["UPLOAD", "Refused", "as_refusal", "busy", "cut_off", "ending", "refuse_many_pixels"]

UPLOAD: Final = "<upload>"
"""What the library calls an uploaded image: the service does not learn the file's name."""


class Refused(ServiceError):  # noqa: N818  (reads as the sentence it stands for)
    """A request that is not carried out.

    Args:
        status: The HTTP status.
        kind: One word for programs, such as "TooLarge".
        message: What is wrong and what to do next, for people.
        retry_after: Seconds after which to try again; None: trying again is of no use.
        reasons: Codes of what the input gate found, if it holds the image back.
        gate: Its scores beside its limits then, as `describe_gate` returns them.
    """

    def __init__(
        self,
        status: int,
        kind: str,
        message: str,
        *,
        retry_after: int | None = None,
        reasons: tuple[str, ...] = (),
        gate: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.retry_after = retry_after
        self.reasons = reasons
        self.gate = gate

    def as_json(self) -> dict[str, Any]:
        """Return the content of the answer."""
        found = {"reasons": list(self.reasons), "gate": self.gate} if self.reasons else {}
        return {"error": self.kind, "message": str(self), **found}

    def answer(self) -> JSONResponse:
        """Return the answer."""
        headers = {}
        if self.retry_after is not None:
            headers["Retry-After"] = str(self.retry_after)
        if self.status == _UNAUTHORIZED:
            headers["WWW-Authenticate"] = 'Bearer realm="thorax"'
        return JSONResponse(self.as_json(), status_code=self.status, headers=headers)


_UNAUTHORIZED: Final = 401


def busy() -> Refused:
    """Return the refusal of a request that found no place."""
    return Refused(503, "Busy", "the service is busy; try again in a moment", retry_after=2)


def cut_off() -> Refused:
    """Return the refusal of a request that ended before it was complete, or that is not HTTP."""
    return Refused(400, "CutOff", "the request was cut off, or it is not HTTP; send it again")


def ending() -> Refused:
    """Return the refusal of a request that the end of the service cut short."""
    return Refused(503, "Ending", "the service is ending; ask another one", retry_after=5)


def refuse_many_pixels(pixels: int, *, most: int) -> None:
    """Refuse an image with more pixels than the service answers.

    Raises:
        Refused: There are more.
    """
    if pixels > most:
        raise Refused(
            413,
            "TooManyPixels",
            f"the image has {pixels / 1e6:,.1f} million pixels, and this service takes "
            f"{most / 1e6:,.0f} million; run Thorax on your own machine for larger ones",
        )


def as_refusal(error: ThoraxError, name: str = UPLOAD, *, gate: Gate | None = None) -> Refused:
    """Return one of the library's errors as a refusal: whether the request or the service is at fault.

    Args:
        error: The error.
        name: What the library calls the image, which the message does not repeat.
        gate: The gate that the image was shown to, if one was.
    """
    if isinstance(error, Refused):
        return error
    message = str(error).removeprefix(f"{name}: ")
    if isinstance(error, NotARadiograph):
        measured = None if gate is None else describe_gate(gate, error.scores)
        return Refused(_status_of(error), error.code, message, reasons=error.reasons, gate=measured)
    return Refused(_status_of(error), type(error).__name__, message)


def _status_of(error: ThoraxError) -> int:
    match error:
        case ImageError():
            return 400
        case MissingExtra() | RecipeError():
            return 501  # this installation or this model cannot do it
        case BundleError():
            return 500
        case _:
            return 400
