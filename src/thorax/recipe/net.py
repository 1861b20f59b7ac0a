"""Sections that travel with a bundle: how an image is prepared, the net, and how it is asked."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from thorax.recipe.choices import Fit, MeanOf
from thorax.recipe.section import Fraction, Section

__all__ = ["Head", "Model", "Preparation", "TestTime"]


class Preparation(Section):
    """How a radiograph becomes a square of uint8: travels with every store and bundle."""

    size: int = Field(256, ge=32, le=2048)
    """Side of the prepared square in pixels."""
    fit: Fit = "pad"
    """What happens to a radiograph that is not square."""


class Head(Section):
    """From the backbone's features to one logit per finding."""

    pool: Literal["backbone", "lse", "attention"] = "backbone"
    """backbone: as the backbone pools (mostly the mean over places); lse: log-sum-exp (Pinheiro and
    Collobert 2015); attention: each finding weighs places by its own probability there (PCAM, Ye et al.
    2020)."""
    lse_r: float = Field(10.0, gt=0)
    """Sharpness of log-sum-exp pooling: towards 0 it is the mean, towards infinity the maximum."""
    hidden: tuple[Annotated[int, Field(ge=1)], ...] = ()
    """Sizes of hidden layers, each followed by ReLU."""
    dropout: Fraction = 0.0
    """Dropout before each linear layer."""

    @model_validator(mode="after")
    def _attention_is_linear(self) -> "Head":
        if self.pool == "attention" and self.hidden:
            raise ValueError(
                f"model.head.hidden = {list(self.hidden)} does not go with pool attention, whose weights are "
                "those of its one linear layer; set model.head.hidden=[]"
            )
        return self


class Model(Section):
    """Backbone, head and the net's input."""

    backbone: str
    """Any model name that timm knows."""
    arguments: dict[str, bool | int | float | str | tuple[int, ...]] = Field(default_factory=dict)
    """Further keyword arguments of the backbone's constructor, for example layers and channels."""
    weights: str = "none"
    """none; timm (what timm publishes under the backbone's name); timm:TAG; file:PATH (safetensors); or
    bundle:PATH (the backbone of a bundle, whose patients then count as seen)."""
    channels: Literal[1, 3] = 1
    """Input channels; a grey image is repeated for three."""
    input_size: int = Field(224, ge=32, le=1024)
    """Side of the net's input in pixels; at most the store's."""
    mean: tuple[float, ...] = (0.5,)
    """Mean of each input channel, for pixels in [0, 1]; one value serves all channels."""
    std: tuple[float, ...] = (0.25,)
    """Standard deviation of each input channel, for pixels in [0, 1]."""
    drop_path: Fraction = 0.0
    """Stochastic depth, where the backbone has it."""
    head: Head = Head()
    """What follows the backbone."""

    @model_validator(mode="after")
    def _constants_fit_channels(self) -> "Model":
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in {1, self.channels}:
                raise ValueError(f"model.{name} has {len(values)} values for {self.channels} channel(s)")
        if min(self.std) <= 0:
            raise ValueError(f"model.std must be above 0, not {min(self.std)}")
        return self


class TestTime(Section):
    """Views of one image whose outputs are averaged: each scale, of it each crop, of it the mirror image."""

    __test__ = False  # no class of tests, whatever its name begins with

    flip: bool = False
    """Whether each view is also seen mirrored."""
    five_crops: bool = False
    """Whether the four corners and the centre are seen instead of the whole (with `flip`: ten-crop)."""
    crop_part: float = Field(0.875, gt=0, lt=1)
    """Side of such a crop as a part of the image's (224 of 256 pixels)."""
    scales: tuple[Annotated[float, Field(ge=0.5, le=2)], ...] = Field((1.0,), min_length=1, max_length=8)
    """Magnifications about the centre; below 1 the image gets a black margin."""
    mean_of: MeanOf = "probabilities"
    """What is averaged over the views."""

    @property
    def is_plain(self) -> bool:
        """Whether there is one view: the whole image as it is."""
        return not self.flip and not self.five_crops and self.scales == (1.0,)
