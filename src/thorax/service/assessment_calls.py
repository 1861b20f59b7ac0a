"""The calls that keep readers' assessments, export them, and compare readers."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

from fastapi import Body, FastAPI
from fastapi.responses import JSONResponse, Response
from pydantic import Discriminator, Field, Tag
from starlette.concurrency import run_in_threadpool

from thorax.service.assessments import Assessment, Assessments
from thorax.service.reader_agreement import agreement_of
from thorax.service.refusals import Refused
from thorax.service.served import ServedModels

__all__ = ["add_assessment_calls"]

_MOST: Final = 500

_Given = Annotated[
    Annotated[Assessment, Tag("one")]
    | Annotated[list[Assessment], Field(min_length=1, max_length=_MOST), Tag("several")],
    Discriminator(lambda value: "several" if isinstance(value, list) else "one"),
]
"""One or several; told apart first, so that a fault is named by its field alone."""

_CSV: Final[Mapping[str, str]] = {"Content-Disposition": 'attachment; filename="assessments.csv"'}


def add_assessment_calls(app: FastAPI, assessments: Assessments, models: ServedModels) -> None:
    """Add the calls to an application.

    Args:
        app: The application.
        assessments: Where they are kept.
        models: The models that readers may assess.
    """
    by_hash = {model.bundle.sha256: (name, model) for name, model in models}

    def model_of(assessment: Assessment) -> str:
        if assessment.bundle_sha256 not in by_hash:
            raise Refused(404, "NoSuchModel", "no model with this bundle_sha256 is served here")
        name, model = by_hash[assessment.bundle_sha256]
        if assessment.finding not in {finding.name for finding in model.findings}:
            raise Refused(400, "NoSuchFinding", f"the model {name} does not predict this finding")
        return name

    def keep(given: Sequence[Assessment]) -> dict[str, Any]:
        kept = assessments.add_all([(assessment, model_of(assessment)) for assessment in given])
        return {"assessed_at": kept[0].assessed_at}

    @app.post(
        "/v1/assessments",
        summary="Keep what a reader says of a finding, or of several: all of them or none.",
        status_code=201,
    )
    async def add(given: Annotated[_Given, Body()]) -> JSONResponse:
        several = given if isinstance(given, list) else [given]
        return JSONResponse(await run_in_threadpool(keep, several), status_code=201)

    @app.get(
        "/v1/assessments.csv",
        summary="All assessments as CSV, which thorax evaluate reads as labels.",
        response_class=Response,
        responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}},
    )
    async def export() -> Response:
        content = await run_in_threadpool(assessments.as_csv)
        return Response(content.encode(), media_type="text/csv; charset=utf-8", headers=dict(_CSV))

    @app.get("/v1/agreement", summary="How readers agree with each other and with the models.")
    async def compare() -> JSONResponse:
        rows = await run_in_threadpool(lambda: agreement_of(assessments.all()))
        return JSONResponse({"agreement": rows})
