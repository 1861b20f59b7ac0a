"""The application: one page, and the calls behind it."""

from collections.abc import Awaitable, Callable, Sequence

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

import thorax
from thorax.errors import ThoraxError
from thorax.service.admission import Admission, Places
from thorax.service.assessment_calls import add_assessment_calls
from thorax.service.assessments import Assessments
from thorax.service.calls import Calls, add_calls
from thorax.service.guard import Guard
from thorax.service.metrics import Metrics
from thorax.service.page_files import page_files
from thorax.service.refusals import Refused, as_refusal, cut_off
from thorax.service.served import ServedModels
from thorax.service.settings import ServiceSettings
from thorax.workflows.model import Model

__all__ = ["create_app"]


def create_app(models: Model | Sequence[Model], settings: ServiceSettings | None = None) -> FastAPI:
    """Return an application that serves the page and the calls behind it.

    Uploads are read into memory and forgotten with the answer. No path of a client is opened, no file is
    written but the audit log and readers' assessments, both only on request, and nothing about an image is
    logged but its hash.

    Args:
        models: The model that answers, or several; the first answers where a request names none.
        settings: How it is reached, and how much it takes; None: on this machine only.

    Raises:
        ServiceError: There is no model, one is there twice, or the audit log or the file of assessments
            cannot be written.

    Example:
        app = create_app(thorax.load("run"))
    """
    chosen = ServiceSettings() if settings is None else settings
    served = ServedModels([models] if isinstance(models, Model) else models)
    places = Places()
    metrics = Metrics({name: model.bundle.sha256 for name, model in served}, places)
    # FastAPI's own pages about the calls load scripts from elsewhere; the description itself is served.
    app = FastAPI(title="Thorax", version=thorax.__version__, docs_url=None, redoc_url=None)
    app.state.ending = False
    app.add_middleware(Admission, settings=chosen, places=places)
    app.add_middleware(Guard, settings=chosen, metrics=metrics)  # the last one is asked first
    _answer_failures(app)
    _serve_page(app)
    add_calls(app, Calls(served, chosen, metrics))
    if chosen.assessments is not None:
        add_assessment_calls(app, Assessments(chosen.assessments), served)
    if chosen.token:
        _describe_token(app)
    return app


def _describe_token(app: FastAPI) -> None:
    """Let /openapi.json say which calls need the token; called after the last call was added."""
    described = app.openapi()
    described.setdefault("components", {})["securitySchemes"] = {
        "token": {"type": "http", "scheme": "bearer"}
    }
    for path, calls in described["paths"].items():
        for call in calls.values():
            call["security"] = [] if path.startswith("/health/") else [{"token": []}]


def _answer_failures(app: FastAPI) -> None:
    """Give every failure the same form of answer."""

    @app.exception_handler(ThoraxError)
    async def failed(_request: Request, error: ThoraxError) -> Response:
        return as_refusal(error).answer()

    @app.exception_handler(HTTPException)
    async def not_served(_request: Request, error: HTTPException) -> Response:
        answer = Refused(error.status_code, "NotServed", f"{error.detail}; see /openapi.json").answer()
        answer.headers.update(error.headers or {})
        return answer

    @app.exception_handler(RequestValidationError)
    async def malformed(_request: Request, error: RequestValidationError) -> Response:
        places = " and ".join(f"`{problem['loc'][-1]}`" for problem in error.errors())
        message = f"the request lacks {places}, or has it in another form; see /openapi.json"
        return Refused(422, "BadRequest", message).answer()

    @app.exception_handler(ClientDisconnect)
    async def gone(_request: Request, _error: ClientDisconnect) -> Response:
        return cut_off().answer()


def _serve_page(app: FastAPI) -> None:
    """Serve the page's files and the images to try, all of which are in memory: no path is opened."""
    contents = page_files()

    def answer(name: str) -> Callable[[], Awaitable[Response]]:
        media_type, content = contents[name]
        headers = {"Cache-Control": "no-cache"}

        async def send() -> Response:
            return Response(content, media_type=media_type, headers=headers)

        return send

    for name in contents:
        app.add_api_route(f"/{name}", answer(name), methods=["GET", "HEAD"], include_in_schema=False)
    app.add_api_route("/", answer("index.html"), methods=["GET", "HEAD"], include_in_schema=False)
