"""The images that all compared models have."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thorax.errors import DataError
from thorax.evaluation.common_images import common_images

names = st.lists(st.sampled_from("abcdefg"), unique=True)


def test_counts_and_words():
    common = common_images({"run": list("abcd"), "theirs.csv": list("bcdx"), "all.csv": list("abcdx")})
    assert (sorted(common.images), common.num_all) == (["b", "c", "d"], 5)
    assert common.lacking == {"run": 1, "theirs.csv": 1}
    assert common.counts == "3 of 5: run lacks 1, theirs.csv lacks 1"
    assert common.warning.startswith("ONLY THE IMAGES THAT ALL MODELS HAVE (3 of 5: run lacks 1, theirs.csv ")
    assert common.or_refuse(allow=True) is common
    with pytest.raises(DataError, match=r"3 of 5: run lacks 1, .*first: a\); .* with `common`"):
        common.or_refuse(allow=False)


def test_nothing_is_said_where_nothing_is_left_out():
    common = common_images({"one": ["a", "b"], "other": ["b", "a"]})
    assert (common.is_partial, common.warning, common.counts) == (False, "", "2 of 2")
    assert common.or_refuse(allow=False) is common


def test_no_image_in_common():
    for allow in (False, True):
        with pytest.raises(DataError, match=r"no image in common \(0 of 2: one lacks 1, other lacks 1\)"):
            common_images({"one": ["a"], "other": ["b"]}).or_refuse(allow=allow)


@given(st.dictionaries(st.sampled_from(["m1", "m2", "m3"]), names, min_size=1))
def test_counted_one_by_one(images):
    every = {image for own in images.values() for image in own}
    common = common_images(images)
    assert common.images == {image for image in every if all(image in own for own in images.values())}
    assert common.num_all == len(every)
    for model, own in images.items():
        assert common.lacking.get(model, 0) == sum(image not in own for image in every)
