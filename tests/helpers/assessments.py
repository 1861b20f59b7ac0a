"""An evaluation small enough for the tests of reports, and what a reader sees of one."""

import re
from xml.etree import ElementTree as ET

import numpy as np

from thorax.evaluation.evaluate import Context, EvaluationPlan, evaluate
from thorax.evaluation.labeled_images import LabeledImages
from thorax.findings import NO_FINDING, find_finding
from thorax.prediction import ModelIdentity

EDEMA, HERNIA = find_finding("Edema"), find_finding("Hernia")
HOSTILE = "<script>alert(\"$x$ & 'y'\")</script>"

CONTEXT = Context(
    split="nih-official",
    part="test",
    split_sha256="3f" * 32,
    images_sha256="a7" * 32,
    dataset="phantoms of the test suite",
    model=ModelIdentity(name="small-cpu", bundle_sha256="c0" * 32, calibrated=True),
    versions={"thorax": "0.1.0", "numpy": "2.0"},
    warnings=("3 of 123 images of this part are missing.",),
)


def drawn(findings, *, images):
    """Targets and probabilities, a row for each image; the last finding has no positive."""
    random = np.random.default_rng(0)
    targets = (random.random((images, findings)) < 0.3).astype(np.int8)
    targets[:, -1] = 0
    return targets, 0.6 * random.random(targets.shape) + 0.3 * targets


def assessment_of(findings, *, images=90, resamples=60, context=CONTEXT, **plan):
    """An assessment in which the last finding has no positive."""
    targets, probabilities = drawn(len(findings), images=images)
    patients = [f"p{number // 2}" for number in range(images)]
    cohort = LabeledImages(
        images=[f"{number}.png" for number in range(images)],
        patients=patients,
        targets=targets,
        findings=findings,
        sexes=["FM"[number // 2 % 2] for number in range(images)],
        ages=np.full(images, 50.0),
        views=["PA"] * images,
        follow_ups=np.arange(images) % 2.0,
    )
    return evaluate(cohort, probabilities, context, plan=EvaluationPlan(resamples=resamples, **plan))


ASSESSMENT = assessment_of((EDEMA, NO_FINDING, HERNIA))


def shown_text(html):
    """What a reader sees: the text of the body, spaces folded."""
    body = ET.fromstring(html.removeprefix("<!DOCTYPE html>")).find("{*}body")
    return re.sub(r"\s+", " ", "".join(body.itertext()))
