import io
import re

import numpy as np
import pytest
from PIL import Image

from thorax.auditing.copies import find_copies
from thorax.auditing.descriptions import NUM_FEATURES
from thorax.auditing.duplicates import (
    SAME_PICTURE,
    WORTH_A_LOOK,
    check_blank,
    check_duplicates,
    equal_pairs,
)
from thorax.auditing.fingerprints import Fingerprints, area_mean, take_fingerprints
from thorax.datasets.phantom import write_phantoms
from thorax.datasets.table import patient_codes


def recompressed(pixels, quality):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def resized(pixels):
    image = Image.fromarray(pixels)
    smaller = image.resize((len(pixels) * 3 // 4,) * 2, Image.Resampling.BILINEAR)
    return np.asarray(smaller.resize(image.size, Image.Resampling.BICUBIC))


CHANGES = {
    "jpeg": lambda pixels: recompressed(pixels, 75),
    "size": resized,
    "brighter": lambda pixels: (pixels * 0.9 + 12).astype(np.uint8),
    "darker": lambda pixels: (pixels * 0.7).astype(np.uint8),
    "gamma": lambda pixels: (255 * (pixels / 255.0) ** 0.8 + 0.5).astype(np.uint8),
    "noise": lambda pixels: np.clip(
        pixels + np.random.default_rng(0).normal(0, 2, pixels.shape), 0, 255
    ).astype(np.uint8),
}


def moved(pixels, *, degrees=0.0, scale=1.0, shift=(0, 0)):
    """Turn, enlarge and shift; what comes into view is black."""
    image, side = Image.fromarray(pixels), len(pixels)
    image = image.rotate(degrees, Image.Resampling.BILINEAR, translate=shift)
    cut = round(side * (1 - 1 / scale) / 2)
    box = (cut, cut, side - cut, side - cut)
    return np.asarray(image.resize((side, side), Image.Resampling.BILINEAR, box=box))


MOTIONS = {
    "mirrored": lambda pixels: pixels[:, ::-1],
    "inverted": lambda pixels: 255 - pixels,
    "2 degrees": lambda pixels: moved(pixels, degrees=2),
    "-5 degrees": lambda pixels: moved(pixels, degrees=-5),
    "90 %": lambda pixels: moved(pixels, scale=1 / 0.9),
    "4 pixels": lambda pixels: moved(pixels, shift=(4, 0)),
    "mirrored, inverted, 5 degrees": lambda pixels: 255 - moved(pixels[:, ::-1], degrees=5),
}


def prints_of(pixels):
    return take_fingerprints(lambda rows: pixels[rows], len(pixels))


@pytest.fixture(scope="module")
def chests(tmp_path_factory):
    """Phantoms of 40 patients, 128 x 128 pixels."""
    folder = tmp_path_factory.mktemp("chests")
    write_phantoms(folder, patients=40, size=128)
    files = sorted((folder / "images").glob("*_000.png"))
    return np.stack([np.asarray(Image.open(file)) for file in files])


@pytest.mark.parametrize("side", [1, 3, 8, 32])
@pytest.mark.parametrize("source", [8, 12, 50])
def test_the_area_mean_equals_its_slow_twin(source, side):
    pixels = np.random.default_rng(source).integers(0, 256, (2, source, source), np.uint8)
    # Every pixel as side x side small ones: then each area is a whole number of them.
    fine = np.repeat(np.repeat(pixels, side, axis=1), side, axis=2).astype(float)
    expected = fine.reshape(2, side, source, side, source).mean(axis=(2, 4))
    np.testing.assert_allclose(area_mean(pixels, side), expected, rtol=1e-5, atol=1e-3)


def pairs_alike(pixels, patients=None):
    """Return the pairs that show the same picture, the lower row first, and the next highest score."""
    rows = np.arange(len(pixels), dtype=np.int64)
    copies = find_copies(
        prints_of(pixels), rows, rows if patients is None else patients, lambda rows: pixels[rows]
    )
    same = copies.scores >= SAME_PICTURE
    pairs = np.sort(np.stack([copies.pairs.moving, copies.pairs.fixed], axis=1), axis=1)
    return {tuple(pair) for pair in pairs[same].tolist()}, float(copies.scores[~same].max(initial=-1))


@pytest.mark.parametrize("change", [*CHANGES, *MOTIONS], ids=str)
def test_a_changed_copy_is_found_again(chests, change):
    changed = np.stack([(CHANGES | MOTIONS)[change](pixels) for pixels in chests])
    count = len(chests)
    alike, next_highest = pairs_alike(np.concatenate([chests, changed]))
    expected = {(row, row + count) for row in range(count)}
    assert alike <= expected
    assert len(alike) >= count * 0.9
    assert next_highest < SAME_PICTURE


@pytest.mark.parametrize("changes", [CHANGES, MOTIONS], ids=["gray values", "motions"])
def test_changed_copies_of_radiographs_are_found_and_no_other_pair(real, changes):
    """Twenty originals among 450 images, each with a copy by every change: at least 18 of 20 of each."""
    originals = real.pixels(np.arange(10, 1640, 80, dtype=np.int64)[:20])
    copies = [np.stack([change(pixels) for pixels in originals]) for change in changes.values()]
    others = real.pixels(np.arange(0, 1640, 4, dtype=np.int64)[1::2])
    every = np.concatenate([small(pixels) for pixels in (originals, *copies, others)])
    alike, _ = pairs_alike(every)
    for number, name in enumerate(changes, 1):
        assert sum((row, 20 * number + row) in alike for row in range(20)) >= 18, name
    count = 20 * (len(changes) + 1)
    assert all(second < count and first % 20 == second % 20 for first, second in alike)


def small(pixels):
    """Shrink to 112 pixels, as a store does."""
    return np.ascontiguousarray(np.clip(area_mean(pixels, 112) + 0.5, 0, 255), np.uint8)


def test_the_real_sample_has_one_pair_and_no_false_one(real):
    prints = prints_of(real.pixels(np.arange(len(real), dtype=np.int64)))
    images = real.table.images
    [[first, second]] = equal_pairs(prints, np.full(len(real), -1)).tolist()
    assert (images[first], images[second]) == ("00002658_001.png", "00002658_002.png")
    patients = patient_codes(real.table)
    copies = find_copies(prints, np.arange(len(real)), patients, real.pixels)
    assert copies.compared == 1_349_777
    assert copies.scores.max() < 0.65


def test_the_mirrored_copy_in_another_hospitals_data_is_found(shared_data):
    files = sorted((shared_data / "other-sources" / "second-hospital").glob("*.png"))
    pixels = np.stack([np.asarray(Image.open(file).convert("L").resize((256, 256))) for file in files])
    rows = np.arange(len(files))
    copies = find_copies(prints_of(pixels), rows, rows, lambda rows: pixels[rows])
    [pair] = np.flatnonzero(copies.scores >= SAME_PICTURE)
    assert copies.pairs.mirrored[pair]
    assert not copies.pairs.inverted[pair]
    assert np.delete(copies.scores, pair).max(initial=0) < WORTH_A_LOOK


def test_equal_images_are_paired_across_parts_first():
    content = np.array([7, 3, 7, 7, 5], np.uint64)
    prints = Fingerprints(content, np.zeros((5, 2, NUM_FEATURES), np.float16), np.zeros(5, bool))
    # Rows 0 and 3 are in two parts; row 2, in none, must not stand between them.
    assert equal_pairs(prints, np.array([0, 0, -1, 1, 1])).tolist() == [[0, 3], [2, 3]]


def planted(chests, table, lists):
    """Six images: equal ones across parts, near ones of two patients in one part, equal ones of a patient."""
    near = CHANGES["jpeg"](chests[2])
    pixels = np.stack([chests[0], chests[1], chests[2], near, chests[3], chests[3], chests[0]])
    images = [f"0000000{number}_000.png" for number in range(1, 8)]
    made = table(images, ["a", "b", "c", "d", "e", "e", "f"], Mass=[0, 0, 0, 0, 1, 0, 0])
    split = lists(made, train=images[:6], test=images[6:])
    return made, split, pixels


def test_each_kind_of_duplicate_is_found(chests, table, lists):
    made, split, pixels = planted(chests, table, lists)
    found = check_duplicates(made, split, prints_of(pixels), lambda rows: pixels[rows])
    assert [(each.severity, each.kind, each.count, each.examples) for each in found] == [
        ("error", "equal-images-in-two-parts", 1, ("00000001_000.png, 00000007_000.png",)),
        ("note", "equal-images-of-a-patient", 1, ("00000005_000.png, 00000006_000.png",)),
        ("warning", "near-images-of-two-patients", 1, ("00000003_000.png, 00000004_000.png",)),
    ]
    assert found[1].what.endswith(": 1, of which 1 have different labels")


def test_near_duplicates_across_parts_are_an_error(chests, table, lists):
    pixels = np.stack([chests[0], CHANGES["brighter"](chests[0])])
    images = ["00000001_000.png", "00000002_000.png"]
    made = table(images)
    split = lists(made, train=images[:1], test=images[1:])
    [problem] = check_duplicates(made, split, prints_of(pixels), lambda rows: pixels[rows])
    assert (problem.severity, problem.kind) == ("error", "near-images-in-two-parts")


def test_blank_images_are_named_and_look_like_nothing(table, lists):
    pixels = np.stack([np.full((64, 64), gray, np.uint8) for gray in (0, 1, 200)])
    images = ["00000001_000.png", "00000002_000.png", "00000003_000.png"]
    made, prints = table(images), prints_of(pixels)
    [problem] = check_blank(made, prints)
    assert (problem.severity, problem.count, problem.examples) == ("warning", 3, tuple(images))
    split = lists(made, train=images[:1], test=images[1:])
    assert check_duplicates(made, split, prints, lambda rows: pixels[rows]) == []


def test_progress_ends_with_all_images(chests):
    calls = []
    take_fingerprints(lambda rows: chests[rows], len(chests), progress=lambda *call: calls.append(call))
    assert calls == [(32, 40), (40, 40)]


def test_pairs_that_may_be_copies_are_listed_to_be_looked_at(chests, table, lists, monkeypatch):
    """Noise drowns the likeness: between the two scores, a pair is neither an error nor left out."""
    made, split, pixels = planted(chests, table, lists)
    noise = np.random.default_rng(0).normal(0, 14, pixels[3].shape)
    pixels[3] = np.clip(pixels[2] + noise, 0, 255).astype(np.uint8)
    found = check_duplicates(made, split, prints_of(pixels), lambda rows: pixels[rows])
    assert [problem.kind for problem in found] == [
        "equal-images-in-two-parts",
        "equal-images-of-a-patient",
        "images-to-look-at",
    ]
    assert found[-1].severity == "note"
    [example] = found[-1].examples
    assert re.fullmatch(r"00000003_000.png, 00000004_000.png \(score \.7\d\)", example)


def test_how_a_copy_was_changed_is_said(chests, table, lists):
    pixels = np.stack([*chests[:8], MOTIONS["mirrored, inverted, 5 degrees"](chests[0])])
    images = [f"0000000{number}_000.png" for number in range(1, 10)]
    made = table(images)
    [problem] = check_duplicates(
        made, lists(made, train=images[:8], test=images[8:]), prints_of(pixels), lambda rows: pixels[rows]
    )
    assert problem.kind == "near-images-in-two-parts"
    [example] = problem.examples
    assert example.startswith("00000001_000.png, 00000009_000.png: mirrored, inverted, turned by ")
    assert 4.5 < float(example.split("turned by ")[1].split(" ")[0]) < 5.5
