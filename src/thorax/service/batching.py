"""Reads uploads in threads and predicts whatever is waiting in one call of the engine."""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from thorax.hardware import num_threads
from thorax.imaging import read_guarded
from thorax.imaging.read import decodes_safely
from thorax.inference.predictor import PredictedImage, Predictor, PreparedImage
from thorax.radiograph import Radiograph
from thorax.service.refusals import refuse_many_pixels

__all__ = ["Batches", "Keep"]

_LARGEST: Final = 32
"""Images in one call of the engine, as `thorax predict` has them."""

_HEAD: Final = 1 << 10

_Kept = TypeVar("_Kept")
_Result = TypeVar("_Result")

Keep = Callable[[Radiograph], _Kept]
"""What is kept of a radiograph besides its prediction; called in the thread that read it."""


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting(Generic[_Kept]):
    predictor: Predictor
    image: PreparedImage[_Kept]
    answer: "asyncio.Future[PredictedImage[_Kept]]"


class Batches:
    """Images on their way: read by a few threads, then predicted by one, in batches.

    A batch is what has become ready while the previous one was computed, so that one image alone does not
    wait and many do not wait for each other. Each model has batches of its own, the longest waiting first.

    Args:
        at_once: How many images may be on their way.
        max_pixels: The most pixels of an image that is answered.
        watch: Called with the number of images of each batch.
    """

    def __init__(self, *, at_once: int, max_pixels: int, watch: Callable[[int], None]) -> None:
        self._max_pixels = max_pixels
        self._watch = watch
        self._readers = ThreadPoolExecutor(num_threads(), thread_name_prefix="read")
        # For what is decoded in another process: a file that hangs its decoder does not hold up the others.
        self._waiters = ThreadPoolExecutor(num_threads(), thread_name_prefix="decode")
        self._engine = ThreadPoolExecutor(1, thread_name_prefix="engine")
        self._turn = asyncio.Semaphore(at_once)
        self._waiting: deque[_Waiting[Any]] = deque()
        self._worker: asyncio.Task[None] | None = None

    async def predict(
        self, predictor: Predictor, content: bytes, name: str, keep: Keep[_Kept]
    ) -> PredictedImage[_Kept]:
        """Return the prediction of a file, and what is kept of its radiograph.

        Raises:
            ImageError: It cannot be read as a radiograph.
            Refused: It has too many pixels.
            BundleError: The model fails.
        """

        def read() -> PreparedImage[_Kept]:
            return predictor.prepare(self._radiograph(content, name), name, lambda _, image: keep(image))

        async with self._turn:
            loop = asyncio.get_running_loop()
            image = await loop.run_in_executor(self._threads(content), read)
            answer: asyncio.Future[PredictedImage[_Kept]] = loop.create_future()
            self._waiting.append(_Waiting(predictor, image, answer))
            if self._worker is None:
                self._worker = loop.create_task(self._work())
            return await answer

    async def compute(self, content: bytes, name: str, function: Callable[[Radiograph], _Result]) -> _Result:
        """Return what a function returns for the radiograph in a file, such as a heat map.

        Raises:
            ImageError: It cannot be read as a radiograph.
            Refused: It has too many pixels.
        """

        def read() -> Radiograph:
            return self._radiograph(content, name)

        async with self._turn:
            loop = asyncio.get_running_loop()
            radiograph = await loop.run_in_executor(self._threads(content), read)
            return await loop.run_in_executor(self._readers, function, radiograph)

    async def read(self, content: bytes, function: Callable[[bytes], _Result]) -> _Result:
        """Return what a function reads from a file's bytes.

        Raises:
            ImageError: It cannot be read as a radiograph.
        """
        async with self._turn:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads(content), function, content)

    def _radiograph(self, content: bytes, name: str) -> Radiograph:
        radiograph = read_guarded(content, name=name)
        refuse_many_pixels(radiograph.pixels.size, most=self._max_pixels)
        return radiograph

    def _threads(self, content: bytes) -> ThreadPoolExecutor:
        return self._readers if decodes_safely(content[:_HEAD]) else self._waiters

    async def _work(self) -> None:
        """Predict batch after batch until nothing is waiting."""
        while self._waiting:
            batch = self._next()
            self._watch(len(batch))
            await self._compute_batch(batch)
        self._worker = None

    async def _compute_batch(self, batch: "list[_Waiting[Any]]") -> None:
        """Predict images of one model; if that fails, each alone, since one of them may be the cause."""
        predictor, images = batch[0].predictor, [waiting.image for waiting in batch]
        try:
            predicted = await asyncio.get_running_loop().run_in_executor(
                self._engine, predictor.predict_prepared, images
            )
        except Exception as error:  # noqa: BLE001  (it is raised where the image is awaited)
            if len(batch) > 1:
                for waiting in batch:
                    await self._compute_batch([waiting])
            elif not batch[0].answer.done():
                batch[0].answer.set_exception(error)
            return
        for waiting, image in zip(batch, predicted, strict=True):
            if not waiting.answer.done():  # cancelled: the service is ending
                waiting.answer.set_result(image)

    def _next(self) -> "list[_Waiting[Any]]":
        """Take the images for the model that has waited longest."""
        predictor = self._waiting[0].predictor
        batch = [waiting for waiting in self._waiting if waiting.predictor is predictor][:_LARGEST]
        taken = set(map(id, batch))
        self._waiting = deque(waiting for waiting in self._waiting if id(waiting) not in taken)
        return batch
