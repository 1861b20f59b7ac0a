"""What /openapi.json says of the calls: their bodies, answers and failures."""

from typing import Any, Final

__all__ = ["CARD", "DICOM", "EXPLAIN", "HEALTH", "METRICS", "MODELS", "PIXELS", "PREDICT"]

_FILE: Final = {"type": "string", "format": "binary"}

_FINDING: Final = {
    "type": "object",
    "properties": {
        "probability": {"type": "number", "minimum": 0, "maximum": 1},
        "threshold": {"type": ["number", "null"]},
        "positive": {"type": ["boolean", "null"]},
        "decision": {"type": ["string", "null"]},
        "prevalence": {
            "type": "number",
            "description": "In the training images, where the bundle states it.",
        },
    },
    "required": ["probability", "threshold", "positive", "decision"],
}

_GATE: Final = {
    "type": ["object", "null"],
    "description": (
        "The input gate's scores of the image (upright, unlike, mirrored), each with the limits beyond which "
        "an image is warned about or refused; null where the gate computed none."
    ),
    "additionalProperties": {
        "type": "object",
        "properties": {
            "score": {"type": "number"},
            "refused_below": {"type": "number"},
            "warned_above": {"type": "number"},
            "refused_above": {"type": "number"},
        },
        "required": ["score"],
    },
}

_FAILURE: Final = {
    "type": "object",
    "properties": {
        "error": {"type": "string", "description": "One word for programs."},
        "message": {"type": "string", "description": "What is wrong and what to do, for people."},
        "reasons": {
            "type": "array",
            "items": {"type": "string"},
            "description": "Of not-a-radiograph: codes of what the input gate found, such as inverted.",
        },
        "gate": _GATE,
    },
    "required": ["error", "message"],
}

_PREDICTION: Final = {
    "type": "object",
    "description": "A prediction, as thorax predict --json prints it, with the scores of the input gate.",
    "properties": {
        "source": {"type": "string"},
        "findings": {"type": "object", "additionalProperties": _FINDING},
        "operating_point": {"type": "string"},
        "model": {"type": "object"},
        "warnings": {"type": "array", "items": {"type": "string"}},
        "gate": _GATE,
        "image": {"type": "object", "description": "Size, view and a small picture, if requested."},
    },
    "required": ["source", "findings", "operating_point", "model", "warnings", "gate"],
}

_PREDICTIONS: Final = {
    "type": "object",
    "description": "Predictions and failures of several files, in their order.",
    "properties": {"images": {"type": "array", "items": {"anyOf": [_PREDICTION, _FAILURE]}}},
    "required": ["images"],
}

_MAP: Final = {
    "type": "object",
    "properties": {
        "finding": {"type": "string"},
        "method": {"type": "string"},
        "highest": {"type": "number"},
        "place": {"type": ["array", "null"], "items": {"type": "number"}},
        "box": {"type": ["array", "null"], "items": {"type": "number"}},
        "notes": {"type": "array", "items": {"type": "string"}},
        "map": {"type": "object", "description": "Values, scale, colors and contour, for the page to draw."},
        "picture": {"type": "string", "description": "A PNG of the image with the map, in base64."},
    },
    "required": ["finding", "method", "highest", "place", "box", "notes"],
}

_FACTS: Final = {
    "type": "object",
    "properties": {
        "models": {"type": "array", "items": {"type": "object"}},
        "public": {"type": "boolean"},
        "max_bytes": {"type": "integer"},
        "max_files": {"type": "integer"},
    },
    "required": ["models", "public", "max_bytes", "max_files"],
}

_OK: Final = {"type": "object", "properties": {"status": {"const": "ok"}}, "required": ["status"]}

_WHY: Final = {
    400: "The file cannot be used, or the form is damaged.",
    401: "The token is missing or wrong.",
    403: "A page of another site asks.",
    404: "There is no such model, or no such call.",
    408: "The file did not arrive in time.",
    413: "The upload is too large.",
    421: "The request is for another host.",
    422: "A parameter is missing or malformed.",
    429: "This client asks too often; Retry-After says when to try again.",
    500: "The service failed.",
    501: "The installation or the model cannot do it.",
    503: "The service is busy or ending; Retry-After says when to try again.",
}


def _json(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _failures(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: _json(_WHY[status], _FAILURE) for status in (401, 403, 421, 500, *statuses)}


def _call(summary: str, answer: dict[str, Any], *statuses: int, **more: Any) -> dict[str, Any]:
    return {"summary": summary, "responses": {200: answer, **_failures(*statuses)}, **more}


def _body(form: dict[str, Any], required: str, text: str) -> dict[str, Any]:
    return {
        "requestBody": {
            "required": True,
            "description": text,
            "content": {
                "application/octet-stream": {"schema": _FILE},
                "multipart/form-data": {
                    "schema": {"type": "object", "properties": form, "required": [required]}
                },
            },
        }
    }


_UPLOAD_FAILURES: Final = (400, 404, 408, 413, 422, 429, 501, 503)

PREDICT: Final = _call(
    "Predict radiographs.",
    _json("The prediction of one file, or those of several.", {"anyOf": [_PREDICTION, _PREDICTIONS]}),
    *_UPLOAD_FAILURES,
    openapi_extra=_body(
        {"image": {"type": "array", "items": _FILE, "minItems": 1}},
        "image",
        "PNG, JPEG or DICOM files: one as the body, or one or several in a form.",
    ),
)

_ONE_FILE: Final = _body(
    {"image": _FILE}, "image", "A PNG, JPEG or DICOM file: as the body, or as the only file of a form."
)

PIXELS: Final = _call(
    "The stored values of one radiograph, and the gray that each becomes for a model.",
    {
        "description": "A line of JSON, the gray of each value, and the values row by row.",
        "content": {"application/octet-stream": {"schema": _FILE}},
    },
    *_UPLOAD_FAILURES,
    openapi_extra=_ONE_FILE,
)

EXPLAIN: Final = _call(
    "Map a finding in one radiograph.",
    _json("The map.", _MAP),
    *_UPLOAD_FAILURES,
    openapi_extra=_ONE_FILE,
)

DICOM: Final = _call(
    "The results of one DICOM radiograph as DICOM objects of its study.",
    {
        "description": "report.dcm, and picture.dcm and contours.dcm if there is a map.",
        "content": {"application/zip": {"schema": _FILE}},
    },
    *_UPLOAD_FAILURES,
    openapi_extra=_ONE_FILE,
)

MODELS: Final = _call(
    "The models, their findings and origin, and the limits of the service.", _json("The models.", _FACTS)
)

CARD: Final = _call(
    "A model card, as Markdown.",
    {"description": "The card.", "content": {"text/plain": {"schema": {"type": "string"}}}},
    404,
    422,
)

METRICS: Final = _call(
    "What the service counted, for Prometheus.",
    {"description": "The metrics.", "content": {"text/plain": {"schema": {"type": "string"}}}},
)


def _open_call(summary: str, answer: dict[str, Any], *statuses: int) -> dict[str, Any]:
    """Describe a call that needs no token."""
    call = _call(summary, answer, *statuses)
    del call["responses"][401]
    return call


HEALTH: Final = {
    "live": _open_call("Whether the service lives.", _json("It lives.", _OK)),
    "ready": _open_call("Whether the service takes requests.", _json("It does.", _OK), 503),
}
