"""The application: one page, and the calls behind it."""

from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import Annotated, Any, Final

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

import thorax
from thorax.errors import ThoraxError
from thorax.service.answers import describe_model, describe_test_images, explain_upload, predict_upload
from thorax.service.guard import Admission, Guard
from thorax.service.refusals import Refused, error_answer, status_of
from thorax.service.settings import ServiceSettings
from thorax.service.uploads import read_upload
from thorax.starter import test_images
from thorax.workflows.model import Model

__all__ = ["create_app", "page_files"]

_IMAGE: Final = {
    "requestBody": {
        "required": True,
        "description": "A PNG, JPEG or DICOM file: as the body, or as the only file of a form.",
        "content": {
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {"image": {"type": "string", "format": "binary"}},
                    "required": ["image"],
                }
            },
        },
    }
}


def create_app(model: Model, settings: ServiceSettings | None = None) -> FastAPI:
    """Return an application that serves the page and the calls behind it.

    Uploads are read into memory and forgotten with the answer. No file is written, no path of a client is
    opened, and nothing about an image is logged.

    Args:
        model: The model that answers.
        settings: How it is reached, and how much it takes; None: on this machine only.

    Example:
        app = create_app(thorax.load("run"))
    """
    chosen = ServiceSettings() if settings is None else settings
    # FastAPI's own pages about the calls load scripts from elsewhere; the description itself is served.
    app = FastAPI(title="Thorax", version=thorax.__version__, docs_url=None, redoc_url=None)
    app.add_middleware(Guard, settings=chosen)
    _answer_failures(app)
    _serve_page(app)
    _serve_facts(app, model, chosen)
    _serve_images(app, model, chosen)
    return app


def _answer_failures(app: FastAPI) -> None:
    """Give every failure the same form of answer."""

    @app.exception_handler(Refused)
    async def refused(_request: Request, error: Refused) -> Response:
        return error_answer(error.status, error.kind, str(error), retry_after=error.retry_after)

    @app.exception_handler(ThoraxError)
    async def failed(_request: Request, error: ThoraxError) -> Response:
        return error_answer(status_of(error), type(error).__name__, str(error))

    @app.exception_handler(HTTPException)
    async def not_served(_request: Request, error: HTTPException) -> Response:
        answer = error_answer(error.status_code, "NotServed", f"{error.detail}; see /openapi.json")
        answer.headers.update(error.headers or {})
        return answer

    @app.exception_handler(RequestValidationError)
    async def malformed(_request: Request, error: RequestValidationError) -> Response:
        places = ", ".join(str(problem["loc"][-1]) for problem in error.errors())
        return error_answer(422, "BadRequest", f"{places} missing or malformed; see /openapi.json")

    @app.exception_handler(ClientDisconnect)
    async def gone(_request: Request, _error: ClientDisconnect) -> Response:
        return Response(status_code=400)  # the client does not wait for it


def _serve_page(app: FastAPI) -> None:
    """Serve the page's files and the images to try, all of which are in memory: no path is opened."""
    files = page_files()

    def answer(name: str) -> Callable[[], Awaitable[Response]]:
        media_type, content = files[name]
        headers = {"Cache-Control": "no-cache"}

        async def send() -> Response:
            return Response(content, media_type=media_type, headers=headers)

        return send

    for name in files:
        app.add_api_route(f"/{name}", answer(name), methods=["GET", "HEAD"], include_in_schema=False)
    app.add_api_route("/", answer("index.html"), methods=["GET", "HEAD"], include_in_schema=False)


def _serve_facts(app: FastAPI, model: Model, settings: ServiceSettings) -> None:
    """Serve what is true of every request: the model, its card, the limits, and that the service lives."""
    facts = {
        "model": describe_model(model),
        "public": settings.public,
        "max_bytes": settings.max_bytes,
        "test_images": describe_test_images(model),
    }

    @app.get("/v1/model", summary="The model, its findings and origin, and the limits of the service.")
    async def describe() -> JSONResponse:
        return JSONResponse(facts)

    @app.get("/v1/card", summary="The model card, as Markdown.", response_class=PlainTextResponse)
    async def card() -> PlainTextResponse:
        return PlainTextResponse(str(model.card()))

    @app.get("/health", summary="Whether the service lives.")
    async def health() -> JSONResponse:
        return JSONResponse({"status": "ok"})


def _serve_images(app: FastAPI, model: Model, settings: ServiceSettings) -> None:
    """Serve predictions and maps of uploads."""
    admission = Admission(at_once=settings.at_once, waiting=settings.waiting)

    async def answer(request: Request, compute: Callable[[bytes], dict[str, Any]]) -> JSONResponse:
        async with admission.place():
            content = await read_upload(request, max_bytes=settings.max_bytes)
            async with admission.turn:
                return JSONResponse(await run_in_threadpool(compute, content))

    @app.post("/v1/predict", summary="Predict one radiograph.", openapi_extra=_IMAGE)
    async def predict(
        request: Request,
        picture: Annotated[bool, Query(description="Add the image as the page shows it.")] = False,  # noqa: FBT002
    ) -> JSONResponse:
        return await answer(request, lambda content: predict_upload(model, content, picture=picture))

    @app.post("/v1/explain", summary="Map a finding in one radiograph.", openapi_extra=_IMAGE)
    async def explain(
        request: Request, finding: Annotated[str, Query(description="One of the model's findings.")]
    ) -> JSONResponse:
        return await answer(request, lambda content: explain_upload(model, content, finding))


_MEDIA_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".txt": "text/plain; charset=utf-8",
}


def page_files() -> dict[str, tuple[str, bytes]]:
    """Return the media type and content of each file, by its address relative to the page."""
    page = files(__package__).joinpath("page")
    contents = {file.name: file.read_bytes() for file in page.iterdir()}
    images = [image.path for image in test_images()]
    for path in (*images, images[0].with_name("README.txt")):
        contents[f"test-images/{path.name}"] = path.read_bytes()
    return {name: (_MEDIA_TYPES[name[name.rindex(".") :]], content) for name, content in contents.items()}
