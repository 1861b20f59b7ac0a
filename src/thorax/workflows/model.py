"""`Model`: predict and explain any image with a bundle."""

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from thorax import starter
from thorax.atomic_io import StrPath
from thorax.bundle import Bundle, load_bundle
from thorax.bundle.sites import at_site
from thorax.errors import DataError, RecipeError
from thorax.explain import METHODS, Explainer, Method, best_method, open_explainer, reading_notes
from thorax.explain.radiograph import (
    explain_radiograph,
    silent_notes,
)
from thorax.findings import Finding, Findings
from thorax.hardware import blas_on_one_thread
from thorax.imaging import ImageSource, ValueRange, read_guarded, source_name
from thorax.inference.engines import describe_engine, open_predictor
from thorax.inference.predictor import Failure, Predictor
from thorax.notebook import Markdown, facts, notes, page, shortened
from thorax.packages import require
from thorax.prediction import Prediction
from thorax.progress import ProgressCallback
from thorax.radiograph import Radiograph
from thorax.recipe.literals import EngineName, Overlays
from thorax.reporting.model_card import render_card
from thorax.workflows.explanation import Explanation

if TYPE_CHECKING:
    from thorax.cluster import Cluster
    from thorax.pacs.maker import ResultMaker
    from thorax.pacs.results import Results
    from thorax.workflows.predict_folder import FolderPredictions

__all__ = ["Explanation", "Failure", "Model", "load"]


class Model:
    """A bundle that predicts and explains images; `load` opens one.

    Args:
        bundle: The bundle.
        predictor: The bundle with an engine.
        engine: Description of the engine.
        engine_name: Its name, by which it is opened elsewhere.
        device: The device that computes explanations.
    """

    def __init__(
        self, bundle: Bundle, predictor: Predictor, *, engine: str, engine_name: EngineName, device: str
    ) -> None:
        self.bundle = bundle
        self.engine = engine
        self._engine_name: EngineName = engine_name
        self._predictor = predictor
        self._device = device
        self._explainers: dict[Method, Explainer] = {}
        self._makers: dict[bool, ResultMaker] = {}

    @property
    def predictor(self) -> Predictor:
        """Its predictor, for programs that read images and collect batches themselves."""
        return self._predictor

    @property
    def name(self) -> str:
        """The name of the recipe, ensemble or checkpoint that the bundle was made from."""
        return self.bundle.manifest.name

    @property
    def findings(self) -> Findings:
        """The predicted findings, in order."""
        return self.bundle.findings

    @property
    def statement(self) -> str:
        """What the model says of itself wherever it speaks; "" for most models."""
        return self.bundle.manifest.stated

    @property
    def calibrated(self) -> bool:
        """Whether its probabilities are calibrated."""
        return self.bundle.manifest.calibration is not None

    def predict(
        self, image: ImageSource, *, value_range: ValueRange | None = None, gate: bool = True
    ) -> Prediction:
        """Predict one image.

        JPEG and compressed DICOM files, and their bytes, are decoded in a process of their own, which the
        first of them starts: one that crashes its decoder, hangs it or takes all memory is an `ImageError`.
        Arrays, PIL images and data sets are read in this process, so give a file that you do not trust by its
        path.

        Args:
            image: A path, bytes or an opened file of a PNG, JPEG or DICOM image; an array, uint8 or uint16,
                (H, W) or (H, W, 3), larger is brighter; a PIL image; or a pydicom `Dataset`.
            value_range: The values of black and white in an array whose type does not define them, such as
                floats.
            gate: Whether the model's input gate holds back what is not a frontal chest radiograph. Otherwise
                it is predicted, and what the gate found is among the warnings.

        Raises:
            NotARadiograph: The input gate holds it back; the message says why, and what would pass.
            ImageError: It cannot be read as a radiograph, its decoder crashed or took too long, or
                `value_range` is needed.

        Example:
            prediction = model.predict("chest.png")
            prediction = model.predict(Path("chest.dcm").read_bytes())
            prediction = model.predict(numpy.zeros((1024, 1024), dtype=numpy.uint16), gate=False)
            prediction = model.predict(numpy.random.rand(1024, 1024), value_range=(0, 1), gate=False)
        """
        radiograph = read_guarded(image, value_range=value_range)
        (prediction,) = self._with(gate=gate).predict([radiograph], [source_name(image)])
        return prediction

    def _with(self, *, gate: bool) -> Predictor:
        """Return the predictor, with its input gate or without."""
        return self._predictor if gate else self._predictor.without_gate()

    def predict_many(
        self, images: Iterable[ImageSource], *, value_range: ValueRange | None = None, gate: bool = True
    ) -> Iterator[Prediction | Failure]:
        """Predict images in order, each as `predict` does; one that cannot be predicted gives a `Failure`.

        Args:
            images: Such as `Path("folder").glob("*.dcm")`. They are read as they are needed. One in memory is
                named by its position, such as "<array 3>", counted from 0.
            value_range: See `predict`; it applies to all images, which must then be arrays.
            gate: See `predict`.

        Raises:
            DataError: `images` is a single image.

        Example:
            for outcome in model.predict_many(Path("folder").iterdir()):
                if isinstance(outcome, thorax.Failure):
                    print(outcome.source, outcome.reason)
                else:
                    print(outcome.source, outcome["Effusion"].probability)
        """
        if isinstance(images, str | bytes | os.PathLike | Image.Image | Radiograph) or (
            isinstance(images, np.ndarray) and images.ndim == 2  # noqa: PLR2004  (rows and columns)
        ):
            raise DataError(
                f"predict_many takes several images, and got {source_name(images)} alone; call predict, or "
                'give a list of images, or the files of a folder with Path("folder").iterdir()'
            )
        if hasattr(images, "columns"):  # pandas or another library of tables; it would yield names of columns
            raise DataError(
                'predict_many takes images, and got a table; give its column, as in table["path"]'
            )
        return self._with(gate=gate).predict_files(images, value_range=value_range)

    def predict_folder(
        self,
        images: StrPath | Sequence[StrPath],
        out: StrPath,
        *,
        findings: Sequence[str] = (),
        ids: bool = False,
        overlays: Overlays = "positive",
        overwrite: bool = False,
        gate: bool = True,
        cluster: "Cluster | None" = None,
        progress: ProgressCallback | None = None,
    ) -> "FolderPredictions":
        """Predict files and whole folders into a folder with a table, a page of all images, and pictures.

        If the call is interrupted, the same one continues; called again later, it predicts what is new or has
        changed.

        Args:
            images: A file or folder, or several.
            out: The folder: new, empty, or one that a call with the same settings wrote.
            findings: The findings to predict; empty: all that the model has.
            ids: Whether to write the patient ids, accession numbers, study dates and UIDs of DICOM files.
            overlays: Findings that get a heat map: "positive", "all" or "none".
            overwrite: Whether to begin again in a folder with other predictions.
            gate: See `predict`.
            cluster: Predicts on the nodes of a Ray cluster instead of here. Every node must see the images,
                the model and `out` under the same paths.
            progress: Called while files are predicted.

        Raises:
            DataError: The folder holds something else or predictions with other settings, or the model does
                not predict one of the findings.
            ServiceError: There is no such cluster, or it has no room.

        Example:
            done = model.predict_folder("folder", "predicted")
            print(done.tally.predicted, done.folder / "predictions.csv")
        """
        from thorax.workflows.predict_folder import predict_folder

        return predict_folder(
            self._with(gate=gate),
            [images] if isinstance(images, str | os.PathLike) else list(images),
            out,
            findings=findings,
            ids=ids,
            overlays=overlays,
            device=self._device,
            engine=self._engine_name,
            cluster=cluster,
            overwrite=overwrite,
            progress=progress,
        )

    def dicom(self, image: StrPath | bytes, *, name: str = "", gate: bool = True) -> "Results":
        """Return the results of a DICOM image as DICOM objects of its study.

        They are a structured report and, if a finding is present or not decided, a color image of the maps
        and a presentation state with their contours. An image that the input gate holds back gets a report
        that says so.

        Args:
            image: Path or content of a DICOM file.
            name: What messages call it; "" derives it from a path.
            gate: See `predict`.

        Raises:
            ImageError: It cannot be read as a radiograph, or no result can refer to it, because its study or
                its patient is not stated validly.
            UnsupportedImage: It is not a DICOM file.
            MissingExtra: The extra `pacs` is not installed.

        Example:
            results = model.dicom("chest.dcm")
            results.sr.save_as("report.dcm", enforce_file_format=True)
        """
        require("highdicom", "results as DICOM objects")
        from thorax.pacs.maker import open_maker

        if gate not in self._makers:
            self._makers[gate] = open_maker(self._with(gate=gate), device=self._device)
        return self._makers[gate].results(image, name)

    def explain(
        self,
        image: ImageSource,
        finding: str | Finding | None = None,
        *,
        method: str | None = None,
        level: float = 0.5,
        seed: int = 0,
        value_range: ValueRange | None = None,
        gate: bool = True,
    ) -> Explanation:
        """Map how much each location of an image contributes to a finding.

        Args:
            image: See `predict`.
            finding: One of the model's findings; None means the most probable one.
            method: One of `thorax.explain.METHODS`; None means "cam" if the network has an exact one,
                otherwise "grad-cam".
            level: Fraction of the map's maximum at which the box around it is drawn.
            seed: Seed of random methods.
            value_range: See `predict`.
            gate: See `predict`.

        Raises:
            ImageError: See `predict`.
            DataError: The model does not predict the finding.
            RecipeError: There is no such method, or the network does not support it.
            MissingExtra: The method requires torch, which is not installed.

        Example:
            explanation = model.explain("chest.png", "Effusion")
        """
        chosen = best_method(self.bundle) if method is None else _method(method)
        source, radiograph = source_name(image), read_guarded(image, value_range=value_range)
        (prediction,) = self._with(gate=gate).predict([radiograph], [source])
        predicted = prediction.ranked()[0] if finding is None else prediction[finding]
        if chosen not in self._explainers:
            self._explainers[chosen] = open_explainer(self.bundle, methods=(chosen,), device=self._device)
        with blas_on_one_thread():
            (explained,) = explain_radiograph(
                self._explainers[chosen],
                radiograph,
                (predicted.finding,),
                methods=(chosen,),
                level=level,
                seed=seed,
            )
        return Explanation(
            source=source,
            radiograph=radiograph,
            model=prediction.model,
            predicted=predicted,
            map=explained,
            notes=(
                *prediction.warnings,
                *reading_notes(self.bundle, [chosen]),
                *silent_notes([explained], has_weights=self.bundle.manifest.has_weights),
            ),
        )

    def card(self) -> Markdown:
        """Return its model card in Markdown: intended use, training data and limits.

        Example:
            print(model.card())
        """
        return Markdown(render_card(self.bundle))

    def __fspath__(self) -> str:
        """Return the bundle's folder, so that a model is accepted wherever a bundle's path is."""
        return str(self.bundle.folder)

    def __repr__(self) -> str:
        calibrated = "calibrated" if self.calibrated else "not calibrated"
        stated = f"; {self.statement}" if self.statement else ""
        findings = f"{len(self.findings)} findings"
        return f"Model({shortened(self.name)!r}: {findings}, {calibrated}, {self.engine}{stated})"

    def _repr_html_(self) -> str:
        manifest = self.bundle.manifest
        points = manifest.operating_points
        return page(
            f"Model {self.name}",
            facts(
                [
                    ("Findings", ", ".join(finding.label for finding in self.findings)),
                    ("Probabilities", "calibrated" if self.calibrated else "not calibrated"),
                    ("Thresholds", points.rule if points else "none"),
                    ("Computed by", self.engine),
                    ("Input gate", "fitted" if not self._predictor.gate_note else "rules alone"),
                    ("Images", f"{manifest.preparation.size} pixels a side, {manifest.preparation.fit}"),
                    ("Bundle", str(self.bundle.folder)),
                ]
            ),
            notes(manifest.stated_in_full),
        )


def load(
    bundle: str | os.PathLike[str] | Bundle | None = None,
    *,
    site: str = "",
    device: str = "auto",
    engine: EngineName = "auto",
    require_signature: str | os.PathLike[str] | None = None,
) -> Model:
    """Open a bundle as a model that predicts and explains.

    Args:
        bundle: Its folder, the folder of the run that made it, or an open bundle; None or "starter": the
            starter, a small model in the package for trying Thorax.
        site: Name of a site that the bundle has a calibration for, from `thorax.site`; "" means its own.
        device: "auto", "cpu", "cuda" or "cuda:N".
        engine: What computes the logits; "auto" means the fastest exact engine.
        require_signature: PEM file of a public key that the bundle must be signed with, by `thorax sign`.

    Raises:
        BundleError: There is no bundle, it is damaged, it is not signed with the key, or it does not have the
            engine or the site.
        MissingExtra: The package that runs the engine is not installed.
        RecipeError: There is no such device.

    Example:
        model = thorax.load()
        model = thorax.load("run")
        model = thorax.load(run, engine="torch")
    """
    if isinstance(bundle, Bundle) and require_signature is None:
        opened = at_site(bundle, site)
    else:
        loaded = load_bundle(bundle or starter.folder(), require_signature=require_signature)
        opened = at_site(loaded, site)
    predictor = open_predictor(opened, device=device, engine=engine)
    return Model(
        predictor.bundle,
        predictor,
        engine=describe_engine(opened, device=device, engine=engine),
        engine_name=engine,
        device=device,
    )


def _method(name: str) -> Method:
    for method in METHODS:
        if method == name:
            return method
    raise RecipeError(f"there is no method {name!r}; choose from {', '.join(METHODS)}")
