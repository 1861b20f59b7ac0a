"""The calls of the service: predictions and maps of uploads, the models, health, and metrics."""

import asyncio
from typing import Annotated, Any

from fastapi import FastAPI, Path, Query, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from thorax.errors import ThoraxError
from thorax.packages import missing_packages
from thorax.service.answers import (
    describe_gate,
    describe_model,
    describe_test_images,
    explain_upload,
    shown_image,
)
from thorax.service.audit_log import AuditLog
from thorax.service.batching import Batches
from thorax.service.clients import client_address
from thorax.service.descriptions import CARD, DICOM, EXPLAIN, HEALTH, METRICS, MODELS, PIXELS, PREDICT
from thorax.service.metrics import MEDIA_TYPE, Metrics
from thorax.service.pixels import pixels_of_upload
from thorax.service.refusals import UPLOAD, Refused, as_refusal, ending
from thorax.service.served import ServedModels
from thorax.service.settings import ServiceSettings
from thorax.service.study_objects import objects_of_upload
from thorax.service.uploads import read_uploads
from thorax.workflows.model import Model

__all__ = ["Calls", "add_calls"]


class Calls:
    """What the calls do.

    Args:
        models: The models.
        settings: How much is taken.
        metrics: Counts images and batches.

    Raises:
        ServiceError: The audit log cannot be written.
    """

    def __init__(self, models: ServedModels, settings: ServiceSettings, metrics: Metrics) -> None:
        self.models = models
        self.settings = settings
        self.metrics = metrics
        self._batches = Batches(at_once=settings.at_once, max_pixels=settings.max_pixels, watch=metrics.batch)
        self._audit = AuditLog(settings.audit_log)

    @property
    def names(self) -> list[str]:
        """The names of the models."""
        return [name for name, _ in self.models]

    @property
    def findings(self) -> list[str]:
        """The names of the first model's findings."""
        return [finding.name for finding in self.models.choose("")[1].findings]

    def facts(self) -> dict[str, Any]:
        """Return what is true of every request: the models, and the limits of the service."""
        return {
            "models": [describe_model(model, name) for name, model in self.models],
            "public": self.settings.public,
            "assessments": self.settings.assessments is not None,
            "dicom": not missing_packages()["pacs"],
            "max_bytes": self.settings.max_bytes,
            "max_files": self.settings.max_files,
            "test_images": describe_test_images([model for _, model in self.models]),
        }

    async def predict(self, request: Request, name: str, *, picture: bool) -> dict[str, Any]:
        """Return the prediction of one upload, or a list of the predictions and failures of several."""
        name, model = self.models.choose(name)
        contents = await read_uploads(request, self.settings)
        if len(contents) == 1:
            return await self._predicted(request, name, model, contents[0], UPLOAD, picture=picture)
        sources = [f"{UPLOAD[:-1]} {number}>" for number in range(len(contents))]
        outcomes = await asyncio.gather(
            *(
                self._predicted(request, name, model, content, source, picture=picture)
                for content, source in zip(contents, sources, strict=True)
            ),
            return_exceptions=True,
        )
        return {"images": [_listed(*pair) for pair in zip(sources, outcomes, strict=True)]}

    async def _predicted(
        self, request: Request, name: str, model: Model, content: bytes, source: str, *, picture: bool
    ) -> dict[str, Any]:
        """Return the prediction of a file as the library's JSON, with what the page shows if requested."""
        outcome = "failed"
        try:
            image = await self._batches.predict(
                model.predictor, content, source, shown_image if picture else _nothing
            )
            outcome = "predicted"
        except ThoraxError as error:
            refusal = as_refusal(error, source, gate=model.predictor.gate)
            outcome = refusal.kind
            raise refusal from error
        finally:
            self._note(request, "predict", name, model, content, outcome)
        shown = {} if image.kept is None else {"image": image.kept}
        gate = describe_gate(model.predictor.gate, image.gate.scores)
        return {**image.prediction.as_json(), "gate": gate, **shown}

    async def explain(self, request: Request, name: str, finding: str, *, picture: bool) -> dict[str, Any]:
        """Return the map of a finding in one upload."""
        name, model = self.models.choose(name)
        content = await self._only_file(request, "a map shows one")
        outcome = "failed"
        try:
            answer = await self._batches.compute(
                content, UPLOAD, lambda image: explain_upload(model, image, finding, picture=picture)
            )
            outcome = "explained"
        except ThoraxError as error:
            refusal = as_refusal(error, gate=model.predictor.gate)
            outcome = refusal.kind
            raise refusal from error
        finally:
            self._note(request, "explain", name, model, content, outcome)
        return answer

    async def pixels(self, request: Request, *, packed: bool) -> bytes:
        """Return the stored values of one upload, which no model has computed anything of."""
        content = await self._only_file(request, "the pixels are those of one")
        most = self.settings.max_pixels
        return await self._batches.read(
            content, lambda content: pixels_of_upload(content, packed=packed, max_pixels=most)
        )

    async def dicom(self, request: Request, name: str) -> bytes:
        """Return the results of one upload as DICOM objects, in a ZIP archive."""
        name, model = self.models.choose(name)
        content = await self._only_file(request, "the objects belong to the study of one")
        most, outcome = self.settings.max_pixels, "failed"
        try:
            answer = await self._batches.read(
                content, lambda content: objects_of_upload(model, content, max_pixels=most)
            )
            outcome = "dicom"
        except ThoraxError as error:
            refusal = as_refusal(error, gate=model.predictor.gate)
            outcome = refusal.kind
            raise refusal from error
        finally:
            self._note(request, "dicom", name, model, content, outcome)
        return answer

    async def _only_file(self, request: Request, why: str) -> bytes:
        contents = await read_uploads(request, self.settings)
        if len(contents) > 1:
            raise Refused(
                400,
                "TooManyFiles",
                f"there are {len(contents)} files, and {why}; send one file in each request",
            )
        return contents[0]

    def _note(
        self, request: Request, call: str, name: str, model: Model, content: bytes, outcome: str
    ) -> None:
        self.metrics.image(name, outcome)
        self._audit.add(
            client=client_address(request.scope, self.settings),
            call=call,
            model=name,
            bundle=model.bundle.sha256,
            content=content,
            outcome=outcome,
        )


def _listed(source: str, outcome: dict[str, Any] | BaseException) -> dict[str, Any]:
    if isinstance(outcome, Refused):
        return {"source": source, **outcome.as_json()}
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


def _nothing(_radiograph: object) -> None:
    """Keep nothing of a radiograph."""


def add_calls(app: FastAPI, calls: Calls) -> None:
    """Add the calls to an application."""
    _add_uploads(app, calls)
    _add_facts(app, calls)
    if not calls.settings.public:

        @app.get("/metrics", **METRICS)
        async def metrics() -> Response:
            return Response(calls.metrics.text(), media_type=MEDIA_TYPE)


def _add_uploads(app: FastAPI, calls: Calls) -> None:
    name = Query(description="The first model if left out.", json_schema_extra={"enum": ["", *calls.names]})
    finding_name = Query(description="One of the model's findings.", examples=calls.findings[:1])

    @app.post("/v1/predict", **PREDICT)
    async def predict(
        request: Request,
        model: Annotated[str, name] = "",
        picture: Annotated[bool, Query(description="Add size, view and a small picture.")] = False,  # noqa: FBT002
    ) -> JSONResponse:
        return JSONResponse(await calls.predict(request, model, picture=picture))

    @app.post("/v1/pixels", response_class=Response, **PIXELS)
    async def pixels(
        request: Request,
        packed: Annotated[bool, Query(description="Differences, compressed: for networks.")] = False,  # noqa: FBT002
    ) -> Response:
        content = await calls.pixels(request, packed=packed)
        headers = {"Content-Encoding": "gzip"} if packed else None
        return Response(content, media_type="application/octet-stream", headers=headers)

    @app.post("/v1/dicom", response_class=Response, **DICOM)
    async def dicom(request: Request, model: Annotated[str, name] = "") -> Response:
        headers = {"Content-Disposition": 'attachment; filename="results.zip"'}
        return Response(await calls.dicom(request, model), media_type="application/zip", headers=headers)

    @app.post("/v1/explain", **EXPLAIN)
    async def explain(
        request: Request,
        finding: Annotated[str, finding_name],
        model: Annotated[str, name] = "",
        picture: Annotated[bool, Query(description="Add a PNG of the image with the map.")] = True,  # noqa: FBT002
    ) -> JSONResponse:
        return JSONResponse(await calls.explain(request, model, finding, picture=picture))


def _add_facts(app: FastAPI, calls: Calls) -> None:
    facts = calls.facts()

    @app.get("/v1/models", **MODELS)
    async def models() -> JSONResponse:
        return JSONResponse(facts)

    @app.get("/v1/models/{model}/card", response_class=PlainTextResponse, **CARD)
    async def card(
        model: Annotated[str, Path(json_schema_extra={"enum": calls.names})],
    ) -> PlainTextResponse:
        return PlainTextResponse(str(calls.models.choose(model)[1].card()))

    @app.get("/health/live", **HEALTH["live"])
    async def live() -> JSONResponse:
        return JSONResponse({"status": "ok"})

    @app.get("/health/ready", **HEALTH["ready"])
    async def ready() -> JSONResponse:
        if app.state.ending:
            raise ending()
        return JSONResponse({"status": "ok"})
