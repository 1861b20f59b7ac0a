"""The page of a folder of predictions: a contact sheet that sorts, filters and searches without a network."""

import json
import re
from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from thorax.imaging.identity import IDENTIFIERS, Identity
from thorax.packages import versions
from thorax.prediction import Prediction
from thorax.quoting import json_visible, visible

__all__ = ["PageHead", "PageImage", "file_name", "write_page"]

_MARKS: Final = {"yes": "y", "no": "n", "not decided": "u", None: "-"}
_DIGITS: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class PageImage:
    """An image on the page.

    Attributes:
        number: The number in the names of its pictures.
        name: What it is called.
        view: Its view position; "" if the file does not state it.
        study: The number of its study; 0 without one, and for a study with a single image.
        prediction: Its prediction.
        maps: By finding, the values at which the colors of its map begin and end.
        identity: Its identifiers, if they are shown.
    """

    number: int
    name: str
    view: str
    study: int
    prediction: Prediction
    maps: dict[str, tuple[float, float]]
    identity: Identity | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PageHead:
    """What the page says above its images.

    Attributes:
        lead: The sentence under the title.
        notes: What a reader must know, as sentences without their periods.
        held_back: Names of images that the input gate holds back, and why; perhaps only the first ones.
        num_held_back: Their number.
    """

    lead: str
    notes: Sequence[str]
    held_back: Sequence[tuple[str, str]] = ()
    num_held_back: int = 0


def file_name(column: int, finding: str) -> str:
    """Return the end of the names of a finding's maps: its column, since names may differ in signs alone."""
    return f"{column:02}-{re.sub(r'[^A-Za-z0-9_-]', '-', finding)}"


def write_page(
    path: Path,
    images: Iterable[PageImage],
    *,
    example: Prediction,
    head: PageHead,
    ids: bool,
) -> None:
    """Write the page, image by image; it needs the thumbnails and overlays beside it, and nothing else.

    Args:
        path: The file; written in place, so give a temporary name.
        images: The images, in order.
        example: A prediction, for what is the same in all of them: the model, findings, thresholds, promise.
        head: What it says above them.
        ids: Whether the images have their identifiers.
    """
    script = files(__package__).joinpath("templates", "predictions.js").read_text(encoding="utf-8")
    listed: dict[str, int] = {}
    findings = [
        {
            "label": entry.finding.label,
            "file": file_name(column, entry.finding.name),
            "threshold": entry.threshold,
        }
        for column, entry in enumerate(example.findings)
    ]
    environment = Environment(
        loader=PackageLoader("thorax.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    stream = environment.get_template("predictions.html.j2").stream(
        model=example.model,
        promise=example.promise,
        point=example.operating_point,
        version=versions("thorax")["thorax"],
        lead=head.lead,
        notes=head.notes,
        held_back=[(visible(name), visible(reason)) for name, reason in head.held_back],
        num_held_back=head.num_held_back,
        ids=ids,
        findings=_json(findings),
        id_names=_json(IDENTIFIERS),
        rows=_rows(images, listed),
        warnings=lambda: _json(list(listed)),
        script=script,
        script_hash=f"sha256-{b64encode(sha256(script.encode()).digest()).decode()}",
    )
    stream.enable_buffering(64)
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(stream)


def _rows(images: Iterable[PageImage], warnings: dict[str, int]) -> Iterator[str]:
    """Yield each image as JSON, and number the warnings."""
    for image in images:
        findings = image.prediction.findings
        maps = {
            str(column): [_rounded(value) for value in image.maps[entry.finding.name]]
            for column, entry in enumerate(findings)
            if entry.finding.name in image.maps
        }
        yield _json(
            [
                image.number,
                visible(image.name),
                image.view,
                image.study,
                [entry.probability for entry in findings],
                "".join(_MARKS[entry.decision] for entry in findings),
                [warnings.setdefault(visible(text), len(warnings)) for text in image.prediction.warnings],
                maps,
                [visible(value) for value in image.identity.values()] if image.identity else [],
            ]
        )


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")


def _json(value: Any) -> str:
    """Return JSON that may be within a script element of HTML."""
    text = json_visible(json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
