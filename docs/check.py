"""Check the built documentation: links and anchors within it, weight of its pages, and what they would load.

python docs/check.py DIRECTORY
"""

import html.parser
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

HEAVIEST = 2_500_000
"""Bytes of a page with all its pictures."""
_LINKS = {"a": "href", "img": "src", "link": "href", "script": "src"}


class Page(html.parser.HTMLParser):
    """Anchors of a page, its links, and what it loads."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.anchors: set[str] = set()
        self.links: list[tuple[str, str]] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take note of a tag."""
        values = dict(attrs)
        if values.get("id"):
            self.anchors.add(str(values["id"]))
        where = values.get(_LINKS.get(tag, ""))
        if where:
            self.links.append((tag, where))


def faults(root: Path, pages: dict[Path, Page]) -> list[str]:
    """Return a line for each link that leads nowhere, and each thing loaded from elsewhere."""
    found = []
    for path, page in pages.items():
        for tag, link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                if tag != "a" and parts.scheme != "data":
                    found.append(f"{path.relative_to(root)}: loads {link}")
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.exists():
                found.append(f"{path.relative_to(root)}: {link}: no such file")
            elif parts.fragment and target in pages and parts.fragment not in pages[target].anchors:
                found.append(f"{path.relative_to(root)}: {link}: no such place")
    return found


def weight(page: Page) -> int:
    """Return the bytes of a page and its pictures."""
    pictures = {(page.path.parent / unquote(link)).resolve() for tag, link in page.links if tag == "img"}
    return page.path.stat().st_size + sum(one.stat().st_size for one in pictures if one.is_file())


def main(root: Path) -> int:
    """Print faults and the heaviest pages; return the exit status."""
    root = root.resolve()
    pages = {path: Page(path) for path in sorted(root.rglob("*.html")) if "_static" not in path.parts}
    weights = {path: weight(page) for path, page in pages.items()}
    lines = faults(root, pages)
    lines += [
        f"{path.relative_to(root)}: {size / 1e6:.1f} MB with its pictures, more than {HEAVIEST / 1e6:.1f}"
        for path, size in weights.items()
        if size > HEAVIEST
    ]
    for line in lines:
        print(line)
    heaviest = sorted(weights, key=weights.__getitem__)[::-1][:5]
    print(f"{len(pages)} pages; the heaviest:")
    for path in heaviest:
        print(f"  {weights[path] / 1e6:5.2f} MB  {path.relative_to(root)}")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
