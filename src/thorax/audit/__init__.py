"""The audit: what is wrong with a split, a store, a set of predictions. No torch."""

from thorax.audit.audit import Evidence, audit, audit_predictions, read_boxed_images
from thorax.audit.choices import read_metrics
from thorax.audit.listed_labels import ListedLabels, read_listed_labels
from thorax.audit.lists import Lists, Locator, lists_of_split, locate_parts, read_image_list, read_part_lists
from thorax.audit.predictions import Predicted, read_predictions
from thorax.audit.problem import Audit, Prevalence, Problem

__all__ = [
    "Audit",
    "Evidence",
    "ListedLabels",
    "Lists",
    "Locator",
    "Predicted",
    "Prevalence",
    "Problem",
    "audit",
    "audit_predictions",
    "lists_of_split",
    "locate_parts",
    "read_boxed_images",
    "read_image_list",
    "read_listed_labels",
    "read_metrics",
    "read_part_lists",
    "read_predictions",
]
