"""What makes a long page easy to walk through: its contents, links to sections, figures that enlarge.

Nothing here needs a script: a figure that is the target of a link is shown large, over the page.
"""

import re
from collections.abc import Sequence
from typing import Final

from markupsafe import Markup

__all__ = ["with_links"]

_MARK: Final = re.compile(r'<h2>(?P<title>.*?)</h2>|<figure class="card">\s*<figcaption', re.DOTALL)
_TAG: Final = re.compile(r"<[^>]*>")


def with_links(body: str) -> tuple[Markup, Sequence[tuple[str, Markup]]]:
    """Give sections and figures of a page names that links lead to.

    Args:
        body: HTML, whose sections begin with a plain `h2`, and whose figures are cards that begin with a
            caption.

    Returns:
        The HTML with names, and with links that enlarge each figure and close it again; and the sections, as
        pairs of name and title.
    """
    sections: list[tuple[str, Markup]] = []
    figures = 0

    def named(match: re.Match[str]) -> str:
        nonlocal figures
        title = match["title"]
        if title is not None:
            text = Markup(_TAG.sub("", title))  # noqa: S704  (the templates have escaped it)
            sections.append((f"section-{len(sections) + 1}", text))
            return f'<h2 id="{sections[-1][0]}">{title}</h2>'
        figures += 1
        name = f"figure-{figures}"
        return (
            f'<figure class="card" id="{name}"><a class="larger" href="#{name}" aria-label="Enlarge"></a>'
            f'<a class="smaller" href="#at-{name}">Close</a><figcaption id="at-{name}"'
        )

    return Markup(_MARK.sub(named, body)), sections  # noqa: S704  (as above)
