import io

import numpy as np
import pytest
from PIL import Image

from thorax.auditing.duplicates import (
    LEAST_CORRELATION,
    _Band,
    _pairs_of_equal_keys,
    candidate_pairs,
    check_blank,
    check_duplicates,
    equal_pairs,
    near_pairs,
)
from thorax.auditing.fingerprints import (
    HASH_BITS,
    Fingerprints,
    area_mean,
    perceptual_hash,
    take_fingerprints,
    thumbnails,
)
from thorax.datasets.phantom import write_phantoms


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


def bits_between(first, second):
    return np.bitwise_count(first ^ second).sum(axis=-1)


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


def test_a_hash_has_the_bits_of_the_cosine_transform():
    # A cosine of one frequency alone: that bit is set, whatever the rounding makes of the others.
    place = (np.arange(64) + 0.5) / 64
    for down, across in ((0, 4), (3, 2), (5, 5)):
        wave = np.outer(np.cos(np.pi * down * place), np.cos(np.pi * across * place))
        pixels = np.stack([128 + 100 * wave, 128 - 100 * wave]).round().astype(np.uint8)
        hashes, blank = perceptual_hash(pixels)
        assert not blank.any()
        assert bits_between(hashes[0], hashes[1]) > 0
    assert hashes.shape == (2, HASH_BITS // 64)


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_a_changed_copy_is_found_again(chests, change):
    changed = np.stack([CHANGES[change](pixels) for pixels in chests])
    every = np.concatenate([chests, changed])
    count = len(chests)
    found = near_pairs(candidate_pairs(prints_of(every), np.full(2 * count, -1)), lambda rows: every[rows])
    assert {tuple(pair) for pair in found.tolist()} == {(row, row + count) for row in range(count)}


@pytest.mark.parametrize("change", ["jpeg", "size", "brighter", "gamma"])
def test_a_changed_copy_of_a_radiograph_is_found_again(real, change):
    pixels = real.pixels(np.arange(0, 1640, 40, dtype=np.int64))
    changed = np.stack([CHANGES[change](each) for each in pixels])
    hashes, again = perceptual_hash(pixels)[0], perceptual_hash(changed)[0]
    assert bits_between(hashes, again).max() <= 12
    correlation = np.einsum("nd,nd->n", thumbnails(pixels), thumbnails(changed))
    assert correlation.min() >= LEAST_CORRELATION


def test_the_real_sample_has_one_pair_and_no_false_one(real):
    prints = prints_of(real.pixels(np.arange(len(real), dtype=np.int64)))
    nowhere = np.full(len(real), -1)
    images = real.table.images
    [[first, second]] = equal_pairs(prints, nowhere).tolist()
    assert (images[first], images[second]) == ("00002658_001.png", "00002658_002.png")
    assert len(near_pairs(candidate_pairs(prints, nowhere), real.pixels)) == 0
    # The slow twin, on a third: every thumbnail against every other. The next pair is far below.
    some = np.unique([*range(0, len(real), 3), first, second])
    looks = thumbnails(real.pixels(some))
    correlation = np.triu(looks @ looks.T, 1)
    assert some[np.argwhere(correlation >= LEAST_CORRELATION)].tolist() == [[first, second]]
    assert np.sort(correlation, axis=None)[-2] < 0.85


@pytest.mark.parametrize("rows_at_once", [1, 7, 512])
def test_candidates_equal_all_pairs_that_agree_in_a_band(monkeypatch, rows_at_once):
    monkeypatch.setattr("thorax.auditing.duplicates._ROWS_AT_ONCE", rows_at_once)
    random = np.random.default_rng(5)
    base = random.integers(0, 2, (30, HASH_BITS)).astype(bool)
    flipped = np.concatenate([base ^ (random.random(base.shape) < rate) for rate in (0, 0.03, 0.08, 0.13)])
    looks = np.packbits(flipped, axis=1).view(np.uint64)
    blank = random.random(len(looks)) < 0.05
    content = np.arange(len(looks), dtype=np.uint64)
    parts = random.integers(-1, 2, len(looks))
    # Copies: row 31 in the part of row 1, which stands for it, and row 32 in another.
    content[31] = content[32] = content[1]
    parts[[1, 31, 32]] = 0, 0, 1
    blank[[1, 31, 32]] = False
    expected = [
        [i, j]
        for i in range(len(looks))
        for j in range(i + 1, len(looks))
        if (flipped[i].reshape(8, 16) == flipped[j].reshape(8, 16)).all(axis=1).any()
        and (flipped[i] != flipped[j]).sum() <= 16
        and content[i] != content[j]
        and not (blank[i] or blank[j])
        and 31 not in {i, j}
    ]
    found = list(candidate_pairs(Fingerprints(content, looks, blank), parts))
    assert np.concatenate(found).tolist() == expected
    assert len(expected) > 20
    assert all(len(np.unique(pairs[:, 0])) <= rows_at_once for pairs in found)


def test_pairs_of_equal_keys_are_all_of_them_in_any_portions(monkeypatch):
    random = np.random.default_rng(2)
    keys, usable = random.integers(0, 12, 90).astype(np.uint16), random.random(90) < 0.9
    expected = [
        [i, j] for i in range(90) for j in range(i + 1, 90) if keys[i] == keys[j] and usable[i] and usable[j]
    ]
    rows = np.flatnonzero(usable)
    band = _Band.of(keys, rows)
    for portion in (1, 7, 1000):
        monkeypatch.setattr("thorax.auditing.duplicates._PAIRS_AT_ONCE", portion)
        found = np.concatenate(list(_pairs_of_equal_keys(band, np.arange(len(rows)))))
        assert sorted(found.tolist()) == expected
        some = np.array([2, 30, 31])
        found = np.concatenate(list(_pairs_of_equal_keys(band, some)))
        assert sorted(found.tolist()) == [pair for pair in expected if pair[0] in rows[some]]
    nothing = _pairs_of_equal_keys(_Band.of(np.arange(5, dtype=np.uint16), np.arange(5)), np.arange(5))
    assert sum(len(pairs) for pairs in nothing) == 0


def test_equal_images_are_paired_across_parts_first():
    content = np.array([7, 3, 7, 7, 5], np.uint64)
    prints = Fingerprints(content, np.zeros((5, 2), np.uint64), np.zeros(5, bool))
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
