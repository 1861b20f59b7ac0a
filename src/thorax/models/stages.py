"""The stages of a backbone: what can be frozen by name, and how far each layer is from the head.

timm groups the parameters of its models from the image to the head (`group_matcher`), coarsely by stage and
finely by layer; both are used as they are.
"""

from collections.abc import Collection, Mapping
from itertools import chain

from torch import nn

from thorax.errors import RecipeError
from thorax.models.timm_import import timm
from thorax.recipe.schema import Freeze

__all__ = ["is_running_statistic", "layer_distances", "names_in_stages", "stage_names", "trained_stages"]


def stage_names(backbone: nn.Module) -> tuple[str, ...]:
    """Return the names of the stages, from the image to the head.

    They are stem, stage1, stage2 and so on, and norm where the last of timm's groups holds nothing but
    normalisation.

    Raises:
        RecipeError: timm groups no layers of this net.
    """
    groups = _groups(backbone, coarse=True)
    names = ["stem", *(f"stage{index}" for index in range(1, max(groups.values()) + 1))]
    if _ends_in_norm(backbone, groups):
        names[-1] = "norm"
    return tuple(names)


def trained_stages(backbone: nn.Module, freeze: Freeze, *, epoch: int) -> frozenset[str] | None:
    """Return the stages that learn in an epoch; None where nothing is frozen and all learn.

    Args:
        backbone: A timm model.
        freeze: The recipe's section.
        epoch: Counted from 0: the epochs that are finished.

    Raises:
        RecipeError: The net has no such stages, or fewer frozen ones than there are epochs to unfreeze one.
    """
    if freeze.trained is None:
        return None
    names = stage_names(backbone)
    unknown = [name for name in freeze.trained if name not in names]
    if unknown:
        raise RecipeError(
            f"freeze.trained names {', '.join(unknown)}, which this backbone has not; its stages, from the "
            f"image to the head, are {', '.join(names)}"
        )
    frozen = [name for name in names if name not in freeze.trained]
    if len(freeze.unfreeze_epochs) > len(frozen):
        raise RecipeError(
            f"freeze.unfreeze_epochs has {len(freeze.unfreeze_epochs)} epochs for {len(frozen)} frozen "
            f"stages ({', '.join(frozen) or 'none'}); leave out the last ones"
        )
    thawed = sum(end <= epoch for end in freeze.unfreeze_epochs)
    return frozenset(names) - frozenset(frozen[: len(frozen) - thawed])


def names_in_stages(backbone: nn.Module, stages: Collection[str]) -> frozenset[str]:
    """Return the names of the parameters and of the running statistics of batch norms in some stages.

    Raises:
        RecipeError: timm groups no layers of this net.
    """
    names = stage_names(backbone)
    return frozenset(name for name, index in _groups(backbone, coarse=True).items() if names[index] in stages)


def layer_distances(backbone: nn.Module) -> dict[str, int]:
    """Return how many layers each parameter is away from the head, by its name in the backbone.

    A normalisation of its own before the head counts as a part of the head: 0, as in timm and in BEiT (Bao et
    al. 2022). All else is 1 or more.

    Raises:
        RecipeError: timm groups no layers of this net.
    """
    groups = _groups(backbone, coarse=False)
    head = max(groups.values()) + (0 if _ends_in_norm(backbone, groups) else 1)
    return {name: head - groups[name] for name, _ in backbone.named_parameters()}


def is_running_statistic(name: str) -> bool:
    """Return whether a buffer of this name holds what a norm gathers from batches: a mean or a variance."""
    return name.rpartition(".")[2].startswith("running_")


def _groups(backbone: nn.Module, *, coarse: bool) -> dict[str, int]:
    """Return timm's group of each parameter and running statistic."""
    matcher = getattr(backbone, "group_matcher", None)
    if matcher is None:
        raise RecipeError(
            f"timm {timm.__version__} names no stages of a {type(backbone).__name__}; leave out "
            "freeze.trained and optim.layer_decay, or choose another backbone"
        )
    statistics = (each for each in backbone.named_buffers() if is_running_statistic(each[0]))
    named = chain(backbone.named_parameters(), statistics)
    groups: dict[str, int] = timm.models._manipulate.group_with_matcher(  # noqa: SLF001  (not among its names)
        named, matcher(coarse=coarse), reverse=True
    )
    return groups


def _ends_in_norm(backbone: nn.Module, groups: Mapping[str, int]) -> bool:
    last = max(groups.values())
    owners = [
        type(backbone.get_submodule(name.rpartition(".")[0])).__name__.lower()
        for name, index in groups.items()
        if index == last
    ]
    return last > 0 and all("norm" in owner for owner in owners)
