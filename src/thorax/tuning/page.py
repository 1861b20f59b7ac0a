"""The page of a study: one HTML file that loads no other."""

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from thorax.tuning.best_of import FEWEST
from thorax.tuning.figures import curves_svg, history_svg
from thorax.tuning.trials import StudyResult

__all__ = ["render_study"]


def render_study(study: StudyResult, *, importances: Mapping[str, float], same: Mapping[str, Any]) -> str:
    """Return the page of a study, which is also well-formed XML.

    Args:
        study: The study, which may be unfinished.
        importances: How much each setting decides, summing to 1; empty if unknown.
        same: The study's identity, shown as its provenance.
    """
    environment = Environment(
        loader=PackageLoader("thorax.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    own = study.space.own_values(study.recipe) or {}
    page = environment.get_template("study.html.j2").render(
        study=study,
        best=study.best,
        own=study.own,
        gain=study.gain,
        flattery=study.flattery,
        fewest=FEWEST,
        importances=importances,
        same=same,
        keys=[dimension.key for dimension in study.space.dimensions],
        settings=[
            (dimension.key, dimension.as_text(), _text(own[dimension.key]) if own else "outside")
            for dimension in study.space.dimensions
        ],
        history=history_svg(study),
        curves=curves_svg(study),
        metric={"macro-auc": "mean AUC", "loss": "loss"}[study.metric],
        text=_text,
    )
    return page.rstrip() + "\n"


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
