# SPDX-License-Identifier: Apache-2.0
"""The docs site: builds without a warning, has every page, shows what the sources say, asks nobody for anything."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from markdown_it import MarkdownIt

from tests.docs.browser import Tab, chromium
from tests.docs.documents import ROOT, pages

FETCHING = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}
COUNTED = {"h1", "h2", "h3", "li", "tr", "pre"}
BROWSER = shutil.which("chromium")


class Html(HTMLParser):
    """Links, anchors, what is fetched, and how many of each element the article has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.fetched: list[str] = []
        self.elements: Counter[str] = Counter()
        self._in_article = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {key: value or "" for key, value in attrs}
        self.anchors |= {found[key] for key in ("id", "name") if key in found}
        self._in_article |= tag == "article"
        if self._in_article:
            self.elements[tag] += 1
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        if FETCHING.get(tag) in found and found.get("rel") not in ("canonical", "next", "prev"):
            self.fetched.append(found[FETCHING[tag]])

    def handle_endtag(self, tag: str) -> None:
        self._in_article &= tag != "article"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built with every warning an error."""
    out = tmp_path_factory.mktemp("docs") / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", "docs/site/mkdocs.yml", "-d", str(out)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def parsed(site: Path) -> dict[Path, Html]:
    return {path: Html(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}


def in_site(page: Path) -> Path:
    """Where a page of the repository is in the site."""
    relative = page.relative_to(ROOT)
    return relative.with_name("index.html") if relative.name == "README.md" else relative.with_suffix(".html")


def test_every_page_is_in_the_site_and_in_its_table_of_contents(site: Path) -> None:
    start = Html((site / "index.html").read_text(encoding="utf-8"))
    there = {os.path.normpath(link.partition("#")[0]) for link in start.links} | {"index.html"}
    assert [str(page) for page in pages() if not (site / in_site(page)).is_file()] == []
    assert [str(page) for page in pages() if str(in_site(page)) not in there] == []


def _broken(page: Path, html: Html, parsed: dict[Path, Html]) -> list[str]:
    found = []
    for link in [*html.links, *html.fetched]:
        parts = urlsplit(link)
        if parts.scheme or link.startswith("//"):
            continue
        target = Path(os.path.normpath(page.parent / unquote(parts.path))) if parts.path else page
        anchors = parsed[target].anchors if target in parsed else set()
        if not target.exists() or (parts.fragment and unquote(parts.fragment) not in anchors | {"__skip"}):
            found.append(link)
    return found


def test_no_link_and_no_anchor_is_broken(parsed: dict[Path, Html]) -> None:
    broken = {page.name: _broken(page, html, parsed) for page, html in parsed.items() if page.name != "404.html"}
    assert {name: links for name, links in broken.items() if links} == {}


def test_nothing_is_fetched_from_elsewhere(site: Path, parsed: dict[Path, Html]) -> None:
    elsewhere = {url for html in parsed.values() for url in html.fetched if urlsplit(url).netloc}
    sheets = "".join(path.read_text(encoding="utf-8") for path in site.rglob("*.css"))
    elsewhere |= {url for url in re.findall(r"(?:url\(|@import\s*)[\"']?([^\"')\s]+)", sheets) if urlsplit(url).netloc}
    assert elsewhere == set()


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_the_site_shows_what_the_source_says(page: Path, site: Path, parsed: dict[Path, Html]) -> None:
    """The site's Markdown is an older dialect than the one that code hosts show: each element has to come out alike."""
    tokens = MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8"))
    meant = Counter("pre" if token.type == "fence" else token.tag for token in tokens if token.nesting >= 0)
    shown = parsed[site / in_site(page)].elements
    assert {tag: shown[tag] for tag in COUNTED} == {tag: meant[tag] for tag in COUNTED}


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> object:
    if BROWSER is None:
        pytest.skip("no chromium: apt-get install chromium")
    with chromium(BROWSER, tmp_path_factory.mktemp("browser") / "profile") as opened:
        yield opened


VIEWS = {"desk": (1280, 900), "phone": (390, 844)}
LOOKED_AT = (
    "README.md",
    "THREAT_MODEL.md",
    "spec/envelope.md",
    "docs/guides/first-sealed-message.md",
    "docs/glossary.md",
)


@pytest.mark.processes
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", VIEWS)
def test_pages_opened_as_files_are_whole(site: Path, tab: Tab, view: str, scheme: str) -> None:
    width, height = VIEWS[view]
    for name in LOOKED_AT:
        tab.open((site / in_site(ROOT / name)).as_uri(), width=width, height=height, scheme=scheme)
        assert tab.value("document.body.dataset.mdColorScheme") == {"light": "default", "dark": "slate"}[scheme], name
        assert tab.value("document.documentElement.scrollWidth") <= width, f"{name} is wider than the window"
        assert tab.value("[...document.images].every(image => image.complete && image.naturalWidth)"), name
        if pictures := os.environ.get("SEALWAY_PICTURES"):  # to be looked at
            tab.picture(Path(pictures) / f"{Path(name).stem}-{view}-{scheme}.png")
    assert tab.complaints == []
    assert [url for url in tab.requests if urlsplit(url).scheme in ("http", "https", "ws", "wss")] == []


@pytest.mark.processes
def test_the_search_works_without_a_server(site: Path, tab: Tab) -> None:
    tab.open((site / "index.html").as_uri())
    tab.value("document.querySelector('[data-md-toggle=search]').click()")
    write = "(field => { field.focus(); field.value = 'mailbox'; field.dispatchEvent(new Event('keyup')) })"
    tab.value(f"{write}(document.querySelector('[data-md-component=search-query]'))")
    found = tab.until("[...document.querySelectorAll('.md-search-result__link')].map(link => link.href).join()")
    assert "carriage.html" in found
