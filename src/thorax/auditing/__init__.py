"""Checks for errors in a split, a store or a set of predictions. Torch-free."""

from thorax.auditing.audit import Evidence, audit, audit_predictions, read_boxed_images
from thorax.auditing.label_checks import ListedLabels, read_listed_labels
from thorax.auditing.lists import (
    Lists,
    Locator,
    lists_of_split,
    locate_parts,
    read_image_list,
    read_part_lists,
)
from thorax.auditing.prediction_checks import only_of_part
from thorax.auditing.report import Audit, Prevalence, Problem

__all__ = [
    "Audit",
    "Evidence",
    "ListedLabels",
    "Lists",
    "Locator",
    "Prevalence",
    "Problem",
    "audit",
    "audit_predictions",
    "lists_of_split",
    "locate_parts",
    "only_of_part",
    "read_boxed_images",
    "read_image_list",
    "read_listed_labels",
    "read_part_lists",
]
