"""What every section of a recipe or manifest is: frozen, and closed to keys that it does not know."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Fraction", "Range", "Section"]

Fraction = Annotated[float, Field(ge=0, le=1)]
"""A part of a whole, or a probability."""

Range = tuple[float, float]
"""From, to."""


class Section(BaseModel):
    """A part of a recipe or manifest. The text under a field is its help."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
