"""Images of concurrent requests: computed together, answered each with its own, and failing alone."""

import asyncio
import io
import threading

import numpy as np
import pytest
from PIL import Image

from tests.helpers.service import GOLDEN
from thorax.bundle import load_bundle
from thorax.errors import ImageError
from thorax.inference.predictor import Predictor
from thorax.service.batching import Batches


class MeanEngine:
    """The logit of every finding is the image's mean gray / 100; it waits until it is allowed."""

    def __init__(self):
        self.batches = []
        self.allowed = threading.Event()

    def logits(self, pixels):
        self.batches.append(len(pixels))
        self.allowed.wait(20)
        means = pixels.mean(axis=(1, 2), dtype=float)
        if means.max() > 240:
            raise RuntimeError("an image that it cannot take")
        return [np.repeat(means[None, :, None] / 100, 3, axis=2)]


def png(gray):
    file = io.BytesIO()
    pixels = np.full((64, 64), gray, dtype=np.uint8)
    pixels[0, 0] = 255 - gray  # a picture with contrast
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def engine():
    return MeanEngine()


@pytest.fixture
def predictor(engine):
    bundle = load_bundle(GOLDEN / "run")
    return Predictor(bundle, engine, holds_back=False)


async def ask(batches, predictor, engine, grays, *, at_once=64):
    """Predict images at once; the engine is allowed to compute when as many as may be were read."""
    read = []

    def keep(image):
        read.append(image)
        return image.pixels[9, 9]

    tasks = [asyncio.create_task(batches.predict(predictor, png(gray), str(gray), keep)) for gray in grays]
    while len(read) < min(len(grays), at_once):
        assert not any(task.done() for task in tasks)  # refused, so that the engine waits for nothing
        await asyncio.sleep(0.05)
    await asyncio.sleep(0.2)
    engine.allowed.set()
    return await asyncio.gather(*tasks, return_exceptions=True)


def logit(image):
    probability = image.prediction.findings[0].probability
    return np.log(probability / (1 - probability))


def test_what_waits_is_computed_together_and_each_gets_its_own(engine, predictor):
    watched = []
    grays = list(range(20, 220, 5))
    answers = asyncio.run(
        ask(Batches(at_once=64, max_pixels=64 * 64, watch=watched.append), predictor, engine, grays)
    )
    assert watched == engine.batches
    assert sum(watched) == len(grays) == 40
    assert max(watched) == 32
    assert len(watched) < 8
    assert [image.prediction.source for image in answers] == [str(gray) for gray in grays]
    assert [image.kept for image in answers] == grays
    assert np.all(np.diff([logit(image) for image in answers]) > 0)  # in the order of their grays


def test_no_more_are_on_their_way_than_allowed(engine, predictor):
    asyncio.run(
        ask(
            Batches(at_once=2, max_pixels=64 * 64, watch=lambda _: None),
            predictor,
            engine,
            range(20, 60, 5),
            at_once=2,
        )
    )
    assert max(engine.batches) <= 2


def test_an_image_that_fails_in_the_engine_fails_alone(engine, predictor):
    grays = [50, 250, 100, 251, 150]
    answers = asyncio.run(
        ask(Batches(at_once=64, max_pixels=64 * 64, watch=lambda _: None), predictor, engine, grays)
    )
    assert [isinstance(answer, RuntimeError) for answer in answers] == [False, True, False, True, False]
    assert [image.kept for image in answers[::2]] == [50, 100, 150]


def test_a_file_that_is_not_an_image_is_refused_with_its_name_and_the_next_is_predicted(engine, predictor):
    async def both():
        engine.allowed.set()
        batches = Batches(at_once=1, max_pixels=64 * 64, watch=lambda _: None)
        with pytest.raises(ImageError, match=r"^name: "):
            await batches.predict(predictor, b"hello", "name", lambda _: None)
        return await batches.predict(predictor, png(100), "name", lambda _: None)

    assert asyncio.run(both()).prediction.source == "name"


def test_models_have_batches_of_their_own(engine, predictor):
    other_engine = MeanEngine()
    other = Predictor(predictor.bundle, other_engine, holds_back=False)
    other_engine.allowed.set()

    async def both():
        batches = Batches(at_once=64, max_pixels=64 * 64, watch=lambda _: None)
        one = asyncio.create_task(ask(batches, predictor, engine, [30, 60, 90]))
        return [await ask(batches, other, other_engine, [40, 80]), await one]

    second, first = asyncio.run(both())
    assert [image.kept for image in first + second] == [30, 60, 90, 40, 80]
    assert (sum(engine.batches), sum(other_engine.batches)) == (3, 2)
