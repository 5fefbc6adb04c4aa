"""What a page of HTML holds."""

from html.parser import HTMLParser


class Page(HTMLParser):
    """Collects a page's tags, links and text."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.links, self.anchors, self.alts, self.words = [], [], [], [], []
        self.feed(path.read_text(encoding="utf-8"))
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.tags.append(tag)
        self.links += [found[name] for name in ("href", "src") if name in found]
        self.anchors += [found["id"]] if "id" in found else []
        self.alts += [found.get("alt")] if tag == "img" else []

    def handle_data(self, data):
        self.words.append(data)
