import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from thorax.reporting.gallery import OUTCOMES, Example, pick_examples


def test_examples_by_hand():
    targets = np.array([1, 1, 0, 0, 1, 0, 0, 1, -1, -2], dtype=np.int8)
    probabilities = np.array([0.9, 0.4, 0.8, 0.31, 0.1, 0.05, 0.29, 0.2, 0.99, 0.3])
    assert pick_examples(targets, probabilities, threshold=0.3) == [
        Example(0, "true positive", ("most confident",)),
        Example(1, "true positive", ("least confident",)),
        Example(2, "false positive", ("most confident",)),
        Example(3, "false positive", ("least confident",)),
        Example(4, "false negative", ("most confident",)),
        Example(7, "false negative", ("least confident",)),
        Example(5, "true negative", ("most confident",)),
        Example(6, "true negative", ("least confident",)),
    ]


def test_what_reaches_the_threshold_is_called_and_one_image_may_be_both():
    targets, probabilities = np.array([1, 0], dtype=np.int8), np.array([0.3, 0.2])
    assert pick_examples(targets, probabilities, threshold=0.3) == [
        Example(0, "true positive", ("most confident", "least confident")),
        Example(1, "true negative", ("most confident", "least confident")),
    ]


@given(
    st.lists(st.tuples(st.sampled_from([1, 0, -1, -2]), st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.9, 1.0]))),
    st.sampled_from([0.0, 0.1, 0.4, 1.0]),
)
def test_no_other_image_of_its_kind_is_surer_or_less_certain(rows, threshold):
    targets = np.array([target for target, _ in rows], dtype=np.int8)
    probabilities = np.array([probability for _, probability in rows], dtype=np.float64)
    picked = pick_examples(targets, probabilities, threshold=threshold)
    for outcome, (called, label) in OUTCOMES.items():
        kind = [p for t, p in rows if t == label and (p >= threshold) == called]
        marks = [(each.row, mark) for each in picked if each.outcome == outcome for mark in each.marks]
        assert [mark for _, mark in marks] == (["most confident", "least confident"] if kind else [])
        if kind:
            surest, nearest = (probabilities[row] for row, _ in marks)
            assert surest == (max(kind) if called else min(kind))
            assert nearest == (min(kind) if called else max(kind))
