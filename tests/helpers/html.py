"""HTML as a reader sees it."""

from html.parser import HTMLParser

__all__ = ["tags_of", "text_of"]


class _Checked(HTMLParser):
    """Refuses what is not closed, and collects tags and text."""

    VOID = frozenset({"img", "br", "meta"})

    def __init__(self):
        super().__init__()
        self.tags, self.open, self.text = set(), [], []

    def handle_starttag(self, tag, _attributes):
        self.tags.add(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert tag in self.VOID or self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text.append(data)


def _checked(html):
    checked = _Checked()
    checked.feed(html)
    assert not checked.open
    return checked


def tags_of(html):
    """Return the names of the tags; what is not closed is a failure."""
    return _checked(html).tags


def text_of(html):
    """Return the text, piece by piece."""
    return _checked(html).text
