"""Results as DICOM objects: valid for other people's checks, with the numbers of the prediction in them."""

from dataclasses import replace
from datetime import datetime, timedelta
from io import BytesIO

import highdicom
import numpy as np
import pydicom
import pytest
from PIL import Image

from tests.helpers.dicom_writing import lut, to_bytes
from tests.helpers.studies import (
    IMAGE,
    PATIENT,
    SERIES,
    STUDY,
    errors_of,
    printed_report,
    render,
    report_as_html,
    study_dataset,
    study_file,
)
from thorax.errors import ImageError
from thorax.explain.overlay import own_scale
from thorax.explain.radiograph import explain_radiograph
from thorax.imaging import read_radiograph
from thorax.pacs.finishing import encoded
from thorax.pacs.results import build_results, report_uids
from thorax.pacs.source import read_source
from thorax.workflows.dicom_results import write_dicom_results
from thorax.workflows.predicting import Tally

WHEN = datetime.fromisoformat("2024-02-01T12:30:15")

JAPANESE = {
    "SpecificCharacterSet": ["", "ISO 2022 IR 87"],
    "PatientName": "Yamada^Tarou=山田^太郎=やまだ^たろう",
}

VARIANTS = {
    "dx": {},
    "cr": {"modality": "CR"},
    "secondary capture": {"modality": "SC"},
    "monochrome1": {"inverted": True},
    "one component": {"PatientName": "Smith", "ReferringPhysicianName": "Jones"},
    "latin-1": {"SpecificCharacterSet": "ISO_IR 100", "PatientName": "Müller^Jürgen"},
    "utf-8": {"SpecificCharacterSet": "ISO_IR 192", "PatientName": "Müller^Jürgen=山田^太郎"},
    "japanese": JAPANESE,
    "no type 2": dict.fromkeys(
        ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime",
         "AccessionNumber", "StudyID", "ReferringPhysicianName", "PatientAge", "StudyDescription")
    ),
    "no window": {"WindowCenter": None, "WindowWidth": None},
    "rescaled": {
        "RescaleSlope": "2", "RescaleIntercept": "-100", "WindowCenter": "3980", "WindowWidth": "8160"
    },
}  # fmt: skip


COPIED = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "PatientAge", "StudyDate", "StudyTime",
    "AccessionNumber", "StudyID", "ReferringPhysicianName", "StudyDescription",
)  # fmt: skip


def modality_lut():
    """A modality LUT whose values have 10 bits."""
    item = lut(np.arange(4096) // 4, first=0, bits=16)
    item.ModalityLUTType = "US"
    return item


def written(results, folder):
    """Write the objects of some results; return their paths."""
    paths = []
    for dataset in results.objects:
        paths.append(folder / f"{dataset.Modality}.dcm")
        paths[-1].write_bytes(encoded(dataset))
    return paths


@pytest.fixture(scope="module")
def results(maker):
    return maker.results(study_file(), "chest.dcm", created=WHEN)


@pytest.mark.parametrize("variant", VARIANTS)
def test_other_peoples_check_finds_no_error(maker, tmp_path, variant):
    made = maker.results(study_file(**VARIANTS[variant]), "chest.dcm", created=WHEN)
    paths = written(made, tmp_path)
    assert [path.stem for path in paths] == ["OT", "PR", "SR"]
    assert {path.stem: errors_of(path) for path in paths} == {"OT": [], "PR": [], "SR": []}


@pytest.fixture(scope="module")
def with_every_decision(maker, results):
    """A report of findings that are present, absent, not decided, and without a threshold."""
    first, second, third, fourth, *_ = results.prediction
    changed = (
        replace(first, probability=0.25, threshold=0.2, undecided=None),
        replace(second, probability=0.123456789012345678, threshold=0.2, undecided=(0.05, 0.1)),
        replace(third, probability=0.15, threshold=0.2, undecided=(0.1, 0.3)),
        replace(fourth, probability=1 / 3, threshold=None),
    )
    prediction = replace(results.prediction, findings=changed)
    return build_results(read_source(study_file()), prediction, maker.predictor.bundle, created=WHEN)


def test_the_report_has_the_numbers_of_the_prediction(with_every_decision, tmp_path):
    results = with_every_decision
    decisions = [predicted.decision for predicted in results.prediction]
    assert decisions == ["yes", "no", "not decided", None]
    *_, path = written(results, tmp_path)
    assert errors_of(path) == []
    report = highdicom.sr.Comprehensive3DSR.from_dataset(pydicom.dcmread(path))
    groups = report.content.get_image_measurement_groups()
    assert len(groups) == len(results.prediction)
    words = {"yes": "Present", "no": "Absent", "not decided": "Indeterminate"}
    for group, predicted in zip(groups, results.prediction, strict=True):
        (measured,) = group.get_measurements()
        assert measured.value == 100 * predicted.probability
        assert measured.unit.value == "%"
        assert measured.name.scheme_designator == "99THORAX"
        said = [
            item.value.meaning
            for item in group.get_qualitative_evaluations()
            if item.name.meaning == "Presence"
        ]
        assert said == ([] if predicted.decision is None else [words[predicted.decision]])
        (image,) = group.source_images
        assert image.referenced_sop_instance_uid == IMAGE
        assert group.tracking_identifier == f"Thorax {predicted.finding.label}"
        if predicted.finding.snomed:
            assert (group.finding_type.value, group.finding_type.scheme_designator) == (
                predicted.finding.snomed, "SCT",
            )  # fmt: skip
    assert report.get_evidence(current_procedure_only=True) == [
        (STUDY, SERIES, IMAGE, study_dataset().SOPClassUID)
    ]


def test_dsrdump_prints_what_a_reader_needs(results, tmp_path):
    *_, path = written(results, tmp_path)
    text = printed_report(path)
    first = next(iter(results.prediction))
    assert 'Probability that the finding is present")="' in text
    assert f"bundle_sha256={results.prediction.model.bundle_sha256}" in text
    assert f"threshold_percent={100 * first.threshold:.15g}" in text
    assert "operating_point=" in text
    assert "Research use only, not for diagnosis" in text
    assert "out-of-fold mean AUC" in text


def test_people_read_each_value_with_its_name(results, tmp_path):
    *_, path = written(results, tmp_path)
    page = report_as_html(path, tmp_path / "report.html")
    assert "CONTINUOUS" not in printed_report(path)
    for predicted in results.prediction:
        value = str(100 * predicted.probability)[:8]
        _, between = page[: page.index(value)].rsplit("Probability that the finding is present", 1)
        assert len(between) < 40  # nothing but markup between a value and its name


def test_a_report_is_preliminary_and_unverified(results):
    report = results.sr
    assert (report.PreliminaryFlag, report.VerificationFlag) == ("PRELIMINARY", "UNVERIFIED")
    (thorax, highdicom_) = report.ContributingEquipmentSequence
    assert thorax.DeviceSerialNumber == results.prediction.model.bundle_sha256
    assert highdicom_.ManufacturerModelName == "highdicom"


def test_a_second_run_makes_the_same_objects_byte_by_byte(maker, results):
    again = maker.results(study_file(), "renamed.dcm", created=WHEN)
    assert list(map(encoded, again.objects)) == list(map(encoded, results.objects))
    later = maker.results(study_file(), "chest.dcm", created=WHEN + timedelta(days=300))
    assert [obj.SOPInstanceUID for obj in later.objects] == [obj.SOPInstanceUID for obj in results.objects]


def test_uids_of_results_tell_image_model_and_kind_apart(maker, results):
    other = maker.results(study_file(SOPInstanceUID=f"{IMAGE}.4"), "other.dcm", created=WHEN)
    uids = [
        uid
        for made in (results, other)
        for obj in made.objects
        for uid in (obj.SOPInstanceUID, obj.SeriesInstanceUID)
    ]
    assert len(set(uids)) == 12
    assert all(obj.StudyInstanceUID == STUDY for obj in other.objects)
    source = read_source(study_file())
    predicted, refused = report_uids(source, maker.predictor.bundle)
    assert predicted == results.sr.SOPInstanceUID != refused


def test_an_image_that_is_held_back_gets_a_report_that_says_so(maker, tmp_path):
    image = study_dataset()
    image.PixelData = bytes(len(image.PixelData))
    made = maker.results(to_bytes(image), "blank.dcm", created=WHEN)
    assert made.objects == (made.sr,)
    assert made.prediction is None
    assert "there is nothing to see" in made.refusal
    (path,) = written(made, tmp_path)
    assert errors_of(path) == []
    text = printed_report(path)
    assert "Held back: nothing was predicted" in text
    assert "no-contrast" in text
    assert "Probability" not in text
    _, refused = report_uids(read_source(to_bytes(image)), maker.predictor.bundle)
    assert made.sr.SOPInstanceUID == refused


def test_a_radiograph_in_color_gets_no_contours_and_is_told_why(maker, tmp_path):
    image = study_dataset("SC")
    gray = (image.pixel_array >> 4).astype(np.uint8)
    image.SamplesPerPixel, image.PhotometricInterpretation, image.PlanarConfiguration = 3, "RGB", 0
    image.BitsAllocated, image.BitsStored, image.HighBit = 8, 8, 7
    del image.WindowCenter, image.WindowWidth
    image.PixelData = np.repeat(gray[..., None], 3, axis=2).tobytes()
    (tmp_path / "color.dcm").write_bytes(to_bytes(image))
    tally, said = Tally(), []
    (made,) = write_dicom_results(
        maker,
        [tmp_path / "color.dcm"],
        tmp_path / "out",
        tally=tally,
        failed=lambda *words: said.append(words),
    )
    assert [path.name[:2] for path in made.written] == ["OT", "SR"]
    assert not any(map(errors_of, made.written))
    assert not said
    (remark,) = made.remarks
    assert remark.startswith("it is stored in color, to which a grayscale presentation state")


def test_the_picture_says_what_it_is_and_not_whose(results, tmp_path):
    picture = results.secondary_capture
    assert picture.BurnedInAnnotation == "NO"
    assert picture.SourceImageSequence[0].ReferencedSOPInstanceUID == IMAGE
    path = tmp_path / "picture.dcm"
    path.write_bytes(encoded(picture))
    pixels = pydicom.dcmread(path).pixel_array
    assert pixels.shape == (picture.Rows, picture.Columns, 3)
    with Image.open(
        BytesIO(next(pydicom.encaps.generate_frames(picture.PixelData, number_of_frames=1)))
    ) as jpeg:
        ours = np.asarray(jpeg.convert("RGB")).astype(int)
    assert np.abs(highdicom.imread(path).get_frame(1) - ours).max() <= 2  # rounding of colors
    assert len(path.read_bytes()) < 1_000_000


SHOWN = {
    "window": {},
    "monochrome1": {"inverted": True},
    "rescaled": VARIANTS["rescaled"],
    "modality lut": {"ModalityLUTSequence": [modality_lut()], "WindowCenter": "500", "WindowWidth": "1000"},
    "voi lut": {"VOILUTSequence": [lut(np.arange(4096) ** 2 // 4096, first=0, bits=12)]},
    "voi lut of fewer bits": {"VOILUTSequence": [lut(np.arange(4096) // 4, first=0, bits=16)]},
}


@pytest.mark.parametrize("variant", SHOWN)
def test_dcmtk_renders_the_radiograph_as_the_model_saw_it(maker, tmp_path, variant):
    """The presentation state is applied by DCMTK, which does not draw its lines here; its grays are ours."""
    source = study_file(**SHOWN[variant])
    (tmp_path / "image.dcm").write_bytes(source)
    paths = written(maker.results(source, "image.dcm", created=WHEN), tmp_path)
    assert [errors_of(path) for path in paths] == [[]] * 3
    shown = render(tmp_path / "image.dcm", tmp_path / "PR.dcm", tmp_path / "shown.pgm")
    ours = read_radiograph(source, name="image.dcm").pixels / 257
    assert np.abs(shown - ours).max() <= 1.5


@pytest.mark.parametrize("side", [256, 1600])
def test_contours_are_where_the_map_crosses_half_of_its_maximum(maker, side):
    """The map is computed anew at full resolution, whatever the contours were found on."""
    source = study_file(side=side)
    radiograph = read_radiograph(source, name="chest.dcm")
    results = maker.results(source, "chest.dcm")
    finding = results.prediction.ranked()[0].finding
    (mapped,) = explain_radiograph(maker.explainer, radiograph, (finding,), methods=("cam",))
    heat = own_scale(mapped.attribution).heat(mapped.attribution)
    alone = build_results(
        read_source(source),
        results.prediction,
        maker.predictor.bundle,
        overlay=maker.overlay(radiograph, (finding,)),
    )
    (annotation,) = alone.presentation_state.GraphicAnnotationSequence
    points = np.concatenate(
        [np.reshape(obj.GraphicData, (-1, 2)) for obj in annotation.GraphicObjectSequence]
    )
    assert points.min() >= 0
    assert points.max() <= side
    reach = 1 + side // 512
    inside = points[(points > reach).all(axis=1) & (points < side - reach).all(axis=1)]
    assert len(inside) > 10
    for x, y in inside:
        near = heat[int(y - reach) : int(y + reach + 1), int(x - reach) : int(x + reach + 1)]
        assert near.min() - 0.02 <= 0.5 <= near.max() + 0.02
    text = annotation.TextObjectSequence[0].UnformattedTextValue
    assert results.prediction[finding].as_texts()[1] in text
    assert "Research use only" in text


def test_patient_and_study_are_copied_and_nothing_else(maker):
    marks = {
        "InstitutionName": "MARK-1", "InstitutionAddress": "MARK-2", "StationName": "MARK-3",
        "OperatorsName": "MARK^4", "PatientComments": "MARK-5", "OtherPatientIDs": "MARK-6",
        "PatientAddress": "MARK-7", "RequestingPhysician": "MARK^8", "PatientMotherBirthName": "MARK^9",
        "PerformingPhysicianName": "MARK^10", "NameOfPhysiciansReadingStudy": "MARK^11",
        "AdditionalPatientHistory": "MARK-12", "DeviceSerialNumber": "MARK-13", "ImageComments": "MARK-14",
    }  # fmt: skip
    image = study_dataset(**marks)
    image.private_block(0x0009, "MARK CREATOR", create=True).add_new(1, "LO", "MARK-15")
    content = to_bytes(image)
    assert content.count(b"MARK") == len(marks) + 2
    for made in maker.results(content, "MARK.dcm").objects:
        assert b"MARK" not in encoded(made)
        for keyword in COPIED:
            assert str(made[keyword].value) == PATIENT[keyword]


def test_letters_of_any_character_set_stay_the_same_bytes(maker):
    for changes in (JAPANESE, VARIANTS["latin-1"], VARIANTS["utf-8"]):
        source = study_file(**changes)
        before = pydicom.dcmread(BytesIO(source)).get_item("PatientName").value
        for made in maker.results(source, "image.dcm").objects:
            after = pydicom.dcmread(BytesIO(encoded(made)))
            assert after.get_item("PatientName").value == before
            assert after.SpecificCharacterSet == changes["SpecificCharacterSet"]


@pytest.mark.parametrize(
    ("elements", "keyword", "expected"),
    [
        ({"StudyDate": "2024.01.31"}, "StudyDate", "20240131"),
        ({"StudyDate": "someday"}, "StudyDate", ""),
        ({"StudyTime": "10:15:30"}, "StudyTime", "101530"),
        ({"PatientSex": "female"}, "PatientSex", "F"),
        ({"PatientSex": "W"}, "PatientSex", ""),
        ({"PatientAge": "62Y"}, "PatientAge", "062Y"),
        ({"AccessionNumber": "12345678901234567"}, "AccessionNumber", ""),
    ],
)
def test_odd_values_are_repaired_on_a_copy(elements, keyword, expected):
    with pydicom.config.disable_value_validation():
        source = read_source(study_file(**elements))
    assert source.header[keyword].value == expected
    (repair,) = source.repairs
    assert keyword in repair
    assert not any(str(value) in repair for value in elements.values())


def test_a_name_without_its_character_set_keeps_its_bytes(maker, tmp_path):
    content = study_file(PatientName="Mxller^Jane").replace(b"Mxller", b"M\xfcller")
    made = maker.results(content, "image.dcm", created=WHEN)
    assert made.repairs == (
        "its texts do not have the character set that it states, and were read as Latin-1",
    )
    for path in written(made, tmp_path):
        assert errors_of(path) == []
        read = pydicom.dcmread(path)
        assert read.get_item("PatientName").value.strip() == b"M\xfcller^Jane"
        assert str(read.PatientName) == "Müller^Jane"


@pytest.mark.parametrize(
    ("elements", "said"),
    [
        ({"StudyInstanceUID": None}, "StudyInstanceUID is absent"),
        ({"SeriesInstanceUID": "1.2.03"}, "SeriesInstanceUID is not a valid UID"),
        ({"PatientID": "7" * 65}, "PatientID cannot be taken over unchanged"),
        ({"PatientName": "a" * 65}, "PatientName cannot be taken over unchanged"),
    ],
)
def test_what_no_result_can_belong_to_is_refused(elements, said):
    with pydicom.config.disable_value_validation():
        content = study_file(**elements)
    with pytest.raises(ImageError, match=said) as caught:
        read_source(content, "image.dcm")
    assert not any(str(value) in str(caught.value) for value in elements.values() if value)


def test_a_file_that_is_not_dicom_is_refused(maker, tmp_path):
    Image.fromarray(np.zeros((80, 80), np.uint8)).save(tmp_path / "image.png")
    with pytest.raises(ImageError, match="is not a DICOM file; give the DICOM image"):
        maker.results(tmp_path / "image.png")
