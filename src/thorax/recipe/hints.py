"""Hints for settings that a recipe does not have: the kind that has them, or what was probably meant."""

import difflib
from collections.abc import Iterator

from thorax.recipe import schema
from thorax.recipe.schema import Recipe, Section

__all__ = ["ALIASES", "all_keys", "choices", "hint_for_key", "kind_names"]

ALIASES = {
    "arch": "model.backbone",
    "architecture": "model.backbone",
    "batch": "training.batch_size",
    "bs": "training.batch_size",
    "class_names": "data.findings",
    "classes": "data.findings",
    "clip_grad": "training.gradient_clip",
    "criterion": "loss.kind",
    "eta_min": "schedule.final",
    "fp16": "training.precision",
    "grad_clip": "training.gradient_clip",
    "horizontal_flip": "augment.flip",
    "image_size": "model.input_size",
    "img_size": "model.input_size",
    "labels": "data.findings",
    "learning_rate": "optim.lr",
    "lr_scheduler": "schedule.kind",
    "max_epochs": "training.epochs",
    "model_name": "model.backbone",
    "n_epochs": "training.epochs",
    "num_classes": "data.findings",
    "num_epochs": "training.epochs",
    "optimizer": "optim.kind",
    "pathologies": "data.findings",
    "pretrained": "model.weights",
    "rotation": "augment.rotate",
    "scheduler": "schedule.kind",
    "t_0": "schedule.first_epochs",
    "t_mult": "schedule.factor",
    "warmup": "schedule.warmup_epochs",
    "wd": "optim.weight_decay",
}
"""Names of settings in other projects, in lower case, and the settings of a recipe that they mean."""

_SIMILAR = 0.75
"""Least similarity, from 0 to 1, of a misspelled name."""


def hint_for_key(key: str, *, kind: str = "", owner: type[Section] = Recipe) -> str:
    """Return a hint that follows "there is no setting KEY", with its leading punctuation; "" if none fits.

    Args:
        key: The dotted key that was given.
        kind: The kind of its section, if that comes in kinds, such as "adamw".
        owner: The type of the section that the key belongs to.
    """
    known = all_keys(owner)
    if key in known:
        section = key.rpartition(".")[0]
        kinds = " or ".join(f"{section}.kind={name}" for name in _kinds_with(key, owner))
        return f" with {section}.kind={kind}; it belongs to {kinds}"
    name = key.rpartition(".")[2]
    meant = _by_last_name(name, known) or _by_alias(name, known) or _by_similarity(key, known)
    return f"; did you mean {' or '.join(meant)}?" if meant else ""


def all_keys(owner: type[Section] = Recipe, prefix: str = "") -> list[str]:
    """Return every dotted key that a section can have, of any kind."""
    keys = [f"{prefix}{name}" for name in owner.model_fields]
    for name in owner.model_fields:
        for section in choices(owner, name):
            keys += all_keys(section, f"{prefix}{name}.")
    return sorted(set(keys))


def choices(owner: type[Section], name: str) -> list[type[Section]]:
    """Return the section types that a field of a section can hold."""
    field = owner.model_fields.get(name)
    if field is None:
        return []
    annotation = field.annotation
    candidates = getattr(annotation, "__args__", (annotation,))
    return [kind for kind in candidates if isinstance(kind, type) and issubclass(kind, Section)]


def kind_names() -> set[str]:
    """Return the names of the tagged choices, such as "adamw"."""
    return {_kind(section) for section in _sections() if "kind" in section.model_fields}


def _sections() -> Iterator[type[Section]]:
    for value in vars(schema).values():
        if isinstance(value, type) and issubclass(value, Section):
            yield value


def _kind(section: type[Section]) -> str:
    return str(section.model_fields["kind"].default)


def _kinds_with(key: str, owner: type[Section]) -> list[str]:
    """Return the kinds of a key's section that have it."""
    section, _, name = key.rpartition(".")
    return [
        _kind(kind)
        for kind in choices(owner, section)
        if name in kind.model_fields and "kind" in kind.model_fields
    ]


def _by_last_name(name: str, known: list[str]) -> list[str]:
    return [key for key in known if key.rpartition(".")[2] == name][:3]


def _by_alias(name: str, known: list[str]) -> list[str]:
    return [key for key in (ALIASES.get(name.lower()),) if key in known]


def _by_similarity(key: str, known: list[str]) -> list[str]:
    whole = difflib.get_close_matches(key, known, n=1, cutoff=_SIMILAR)
    if whole:
        return whole
    name = key.rpartition(".")[2]
    last_names = difflib.get_close_matches(
        name, {other.rpartition(".")[2]: None for other in known}, n=1, cutoff=_SIMILAR
    )
    return _by_last_name(last_names[0], known) if last_names else []
