"""The page of `thorax serve`, as a real process that a client asks."""

import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

import thorax
from tests.helpers.service import multipart, running
from tests.source_projects.rows import Row
from tests.source_projects.workshop import Workshop
from thorax.starter import test_images as starter_images

ROOT = Path(__file__).parents[3]
CHEST = "nih/images/90000000000_000.png"


def uploads(row: Row, workshop: Workshop) -> None:
    """An uploaded image gets the probabilities of the command line, and a map of a finding."""
    content = (workshop.folder / CHEST).read_bytes()
    expected = json.loads(workshop.run(f"thorax predict run {CHEST} --json").splitlines()[0])["findings"]
    with running(*row.source.get("options", ()), bundle=workshop.folder / "run") as service:
        page = service.get("/")
        assert (page.status, b"<html" in page.body.lower()) == (200, True)
        body, kind = multipart(content)
        predicted = service.post("/v1/predict", body, **{"Content-Type": kind}).json["findings"]
        assert predicted == expected
        finding = max(predicted, key=lambda name: predicted[name]["probability"])
        explained = service.post(f"/v1/explain?finding={finding}", content)
        assert explained.status == 200
        assert explained.json["finding"] == finding
        assert service.post("/v1/predict", b"not an image").status in range(400, 500)


def images_to_try(row: Row, workshop: Workshop) -> None:
    """The three images of the source have its names, are radiographs, and the starter predicts them."""
    images = starter_images()
    assert [image.path.name for image in images] == list(row.source["images"])
    command = row.type[0].replace("test-images", str(ROOT / "test-images"))
    printed = workshop.run(command)
    assert "for trying Thorax, not for reading" in printed
    model = thorax.load()
    for image in images:
        assert image.path.stem == "-".join(image.labels).lower()
        with Image.open(io.BytesIO(image.path.read_bytes())) as picture:
            pixels = np.asarray(picture.convert("L"))
        assert min(pixels.shape) >= 256
        assert pixels.std() > 20
        assert f"test-images/{image.path.name}" in printed
        assert len(list(model.predict(image.path))) == 14
