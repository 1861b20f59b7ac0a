"""What the service counts, in Prometheus's text format: numbers alone, nothing about an image."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import thorax
from thorax.service.admission import Places

__all__ = ["MEDIA_TYPE", "Metrics"]

MEDIA_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_IMAGES: Final = (1, 2, 4, 8, 16, 32)


class _Histogram:
    """Numbers of observations up to some bounds, with their sum."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        index = next((i for i, bound in enumerate(self._bounds) if value <= bound), len(self._bounds))
        self._counts[index] += 1
        self._sum += value

    def lines(self, name: str) -> Iterator[str]:
        total = 0
        for bound, count in zip((*self._bounds, None), self._counts, strict=True):
            total += count
            yield f'{name}_bucket{{le="{"+Inf" if bound is None else f"{bound:g}"}"}} {total}'
        yield f"{name}_sum {self._sum:.6f}"
        yield f"{name}_count {total}"


class Metrics:
    """The counters of one service; used by its event loop alone.

    Args:
        models: SHA-256 of each bundle, by the model's name.
        places: The requests with files that are on their way.
    """

    def __init__(self, models: Mapping[str, str], places: Places) -> None:
        self._models = models
        self._answers = Counter[tuple[str, int]]()
        self._images = Counter[tuple[str, str]]()
        self._seconds = _Histogram(_SECONDS)
        self._batches = _Histogram(_IMAGES)
        self._places = places

    def answered(self, call: str, status: int, seconds: float) -> None:
        """Count an answer; those to calls with files also by the time that they took."""
        self._answers[call, status] += 1
        if call in {"predict", "explain", "pixels"}:
            self._seconds.observe(seconds)

    def image(self, model: str, outcome: str) -> None:
        """Count an image by what became of it, such as "predicted" or the kind of its error."""
        self._images[model, outcome] += 1

    def batch(self, num_images: int) -> None:
        """Count a batch."""
        self._batches.observe(num_images)

    def text(self) -> str:
        """Return everything, in the order of the names."""
        return "".join(f"{line}\n" for line in self._lines())

    def _lines(self) -> Iterator[str]:
        yield from _head("thorax_answers_total", "counter", "Answers by call and HTTP status.")
        for (call, status), count in sorted(self._answers.items()):
            yield f'thorax_answers_total{{call="{call}",status="{status}"}} {count}'
        yield from _head(
            "thorax_answer_seconds", "histogram", "Seconds from a request with files to its answer."
        )
        yield from self._seconds.lines("thorax_answer_seconds")
        yield from _head("thorax_batch_images", "histogram", "Images in each call of the engine.")
        yield from self._batches.lines("thorax_batch_images")
        yield from _head("thorax_images_total", "counter", "Images by model and outcome.")
        for (model, outcome), count in sorted(self._images.items()):
            yield f'thorax_images_total{{model="{_quoted(model)}",outcome="{outcome}"}} {count}'
        yield from _head("thorax_info", "gauge", "Version of Thorax.")
        yield f'thorax_info{{version="{thorax.__version__}"}} 1'
        yield from _head("thorax_model_info", "gauge", "The models that are served.")
        for model, sha256 in self._models.items():
            yield f'thorax_model_info{{model="{_quoted(model)}",sha256="{sha256}"}} 1'
        yield from _head(
            "thorax_requests_held", "gauge", "Requests with files that are being answered or wait."
        )
        yield f"thorax_requests_held {self._places.requests}"
        yield from _head("thorax_upload_bytes_held", "gauge", "Bytes of their files.")
        yield f"thorax_upload_bytes_held {self._places.upload_bytes}"


def _head(name: str, kind: str, text: str) -> tuple[str, str]:
    return f"# HELP {name} {text}", f"# TYPE {name} {kind}"


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
