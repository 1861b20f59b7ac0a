"""Requests that are refused, and the one form of every answer that is a failure."""

from typing import Final

from starlette.responses import JSONResponse

from thorax.errors import BundleError, ImageError, MissingExtra, RecipeError, ServiceError, ThoraxError

__all__ = ["UPLOAD", "Refused", "error_answer", "status_of"]

UPLOAD: Final = "<upload>"
"""What the library calls an uploaded image: the service does not learn the file's name."""


class Refused(ServiceError):  # noqa: N818  (reads as the sentence it stands for)
    """A request that is not carried out.

    Args:
        status: The HTTP status.
        kind: One word for programs, such as "TooLarge".
        message: What is wrong and what to do next, for people.
        retry_after: Seconds after which to try again; None: trying again is of no use.
    """

    def __init__(self, status: int, kind: str, message: str, *, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.retry_after = retry_after


def error_answer(status: int, kind: str, message: str, *, retry_after: int | None = None) -> JSONResponse:
    """Return the answer that a failure gets: its kind, and a message without the upload's name."""
    headers = None if retry_after is None else {"Retry-After": str(retry_after)}
    content = {"error": kind, "message": message.removeprefix(f"{UPLOAD}: ")}
    return JSONResponse(content, status_code=status, headers=headers)


def status_of(error: ThoraxError) -> int:
    """Return the HTTP status of the library's errors: whether the request or the service is at fault."""
    match error:
        case ImageError():
            return 400
        case MissingExtra() | RecipeError():
            return 501  # this installation or this model cannot do it
        case BundleError():
            return 500
        case _:
            return 400
