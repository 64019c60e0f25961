"""Every page that one can come to by links: it has a twin in JSON, speaks French when asked, and says to machines what it is about."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from urllib.parse import urlsplit

import pytest
from asgi_client import Answer, Client
from lxml import etree
from portal_site import build_site

from hven.app._server import create_and_start_application
from hven.portal._pages.texts import load_page_translations
from plugin_needs import list_query_addresses, list_statistics_pages, list_word_pages, load_core_fixtures
from portal_templates import list_templates

BEGIN = (
    "/",
    "/login",
    *list_query_addresses("/adql?QUERY=SELECT+*+FROM+images.main"),
    "/collections/images/main?exposure=1..3&_q=a&_sort=-seen",
    *list_word_pages("sun"),
    *load_core_fixtures("LINKED_PAGES"),
    "/sunny/",
)
KINDS = {
    "/",
    "/login",
    "/health",
    "/help",
    "/help/X",
    "/help/X/X",
    "/news",
    "/news/X",
    *list_statistics_pages("X"),
    "/collections/X/columns",
    "/collections/X/downloads",
    "/collections/X",
    "/collections/X/X",
    "/collections/X/X/X/X",
    *load_core_fixtures("LINKED_PAGES"),
}
UNSHOWN = {"script", "style", "code", "pre", "textarea"}


class Parts(HTMLParser):
    """What a page says to people, where it leads, and what it says to machines."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.language, self.links, self.words, self.data = "", [], [], []
        self._within: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "html":
            self.language = given["lang"]
        if tag in UNSHOWN:
            self._within.append(given.get("type", tag))
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        self.words += [given[name].strip() for name in ("title", "placeholder", "aria-label", "alt") if given.get(name)]

    def handle_endtag(self, tag: str) -> None:
        if tag in UNSHOWN:
            self._within.pop()

    def handle_data(self, data: str) -> None:
        if "application/ld+json" in self._within:
            self.data.append(json.loads(data))
        if not self._within and data.strip():
            self.words.append(" ".join(data.split()))


def kind(path: str) -> str:
    """Say of which kind the page of an address is."""
    parts = path.partition("?")[0].removeprefix("/sunny").split("/")
    fixed = {"search": 3}.get(parts[1], 2)
    own = {"columns", "downloads"}  # parts of a collection with a page of their own
    return "/".join(part if at < fixed or (at == 3 and part in own) else "X" for at, part in enumerate(parts)) or "/"


def fetch_page(client: Client, path: str, language: str = "en") -> Answer:
    return client.ask("GET", path, headers={"accept": "text/html", "accept-language": language})


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with build_site(tmp_path_factory.mktemp("twins")) as site:
        yield Client(create_and_start_application(site))


@pytest.fixture(scope="module")
def pages(reader: Client) -> dict[str, Parts]:
    """Follow every link within the site; of pages that differ by their parameters alone, two."""
    found: dict[str, Parts] = {}
    waiting = list(BEGIN)
    while waiting:
        path = waiting.pop(0)
        if path in found or sum(other.partition("?")[0] == path.partition("?")[0] for other in found) > 1:
            continue
        answer = fetch_page(reader, path)
        if answer.headers["content-type"] != "text/html; charset=utf-8":
            continue
        assert answer.status == 200, path
        assert "content-security-policy" in answer.headers
        found[path] = Parts(answer.text)
        for link in found[path].links:
            to = urlsplit(link)
            if (
                to.netloc in {"", "vo.example"}
                and to.path.startswith("/")
                and not to.path.startswith(("/tap", "/logo"))
            ):
                waiting.append(f"{to.path}?{to.query}" if to.query else to.path)
    return found


def test_all_kinds_of_pages_are_reached_by_links(pages: dict[str, Parts]) -> None:
    assert {kind(path) for path in pages} == KINDS
    assert any(path.startswith("/sunny/collections") for path in pages), "pages of a portal, too"


def test_each_page_is_json_by_its_address_and_by_accept(reader: Client, pages: dict[str, Parts]) -> None:
    for path in pages:
        place, _, query = path.partition("?")
        twin = "/sunny/index.json" if place == "/sunny/" else "/index.json" if place == "/" else f"{place}.json"
        named = reader.ask("GET", f"{twin}?{query}" if query else twin, headers={"accept": "*/*"})
        accepted = reader.ask("GET", path, headers={"accept": "application/json"})
        for answer in (named, accepted):
            assert (answer.status, answer.headers["content-type"]) == (200, "application/json"), (
                path,
                answer.text[:200],
            )
        if kind(path) not in {"/health", "/adql"}:  # they say what time it is, and how long it took
            assert json.loads(named.body) == json.loads(accepted.body), path
        assert "accept" in accepted.headers.get("vary", "accept"), path
    assert reader.ask("GET", "/nowhere.json").status == 404
    assert json.loads(reader.ask("GET", "/nowhere.json").body)["status"] == 404


def test_a_page_that_speaks_french_says_nothing_of_ours_in_english(reader: Client, pages: dict[str, Parts]) -> None:
    ours = {
        english: french
        for english, french in load_page_translations("fr").items()
        if english != french and "{" not in english
    }
    for path, page in pages.items():
        french = Parts(fetch_page(reader, path, "fr").text)
        assert french.language == "fr", path
        left = set(french.words) & set(page.words) & set(ours) - {"Images"}
        assert left == set(), path


def test_templates_have_no_words_of_their_own() -> None:
    """What stands in a template outside of ``_(..)`` is names and signs."""
    names = {
        "ADQL",
        "SAMP",
        "UCD",
        "ID",
        "CSV",
        "TSV",
        "SHA",
        "UTC",
        "JSON",
        "VOTable",
        "WMS",
        "UWS",
        "Atom",
        "RSS",
        "Hven",
        "TAP",
        "Fran",
        "ais",
        "English",
        "doi",
        "hven",
        "BibTeX",
        "new",
        "NAME",
        "from",
        "FILE",
        "ingest",
        "curl",
        "ok",
        "nbsp",
        "middot",
        "hellip",
        "times",
        "rsaquo",
        "mas",
        "yr",
        "metrics",
        "health",
    }
    for path in list_templates():
        text = re.sub(
            r"\{% (?:block body|macro (?:wrong|attributes).*?|set facts) -?%\}.*?\{%-? end(?:block|macro|set) %\}",  # attributes of fields
            " ",
            path.read_text(encoding="utf-8"),
            flags=re.DOTALL,
        )
        text = re.sub(r"\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}", " ", text, flags=re.DOTALL)
        text = re.sub(r"<(script|code|svg|title)\b.*?</\1>", " ", text, flags=re.DOTALL)
        said = [*re.findall(r'(?:title|placeholder|aria-label|alt)="([^"]*)"', text), re.sub(r"<[^>]*>", " ", text)]
        words = {word for one in said for word in re.findall(r"[A-Za-z]{2,}", one)}
        assert words - names == set(), path.name


def test_machines_are_told_what_a_page_is_about(pages: dict[str, Parts]) -> None:
    wanted = {"/": "DataCatalog", "/collections/X": "Dataset", "/collections/X/X": "Dataset"}
    for path, page in pages.items():
        assert [one["@type"] for one in page.data] == ([wanted[kind(path)]] if kind(path) in wanted else []), path
        for one in page.data:
            assert one["@context"] == "https://schema.org/"
            assert one["name"]
            # who has a DOI is called by it, and is found here
            assert urlsplit(one["@id"]).netloc in {"vo.example", "doi.org"}
            assert urlsplit(one.get("url", one["@id"])).netloc == "vo.example"
    (home,) = pages["/"].data
    assert {one["url"] for one in home["dataset"]} == {
        "http://vo.example/collections/images",
        "http://vo.example/collections/stars",
    }
    assert "letters" not in json.dumps([page.data for page in pages.values()]), "what is private is told to nobody"
    (table,) = next(page.data for path, page in pages.items() if path.startswith("/collections/images/main"))
    assert {one["name"] for one in table["variableMeasured"]} == {"id", "mission", "instrument", "seen", "exposure"}
    assert table["isPartOf"]["@id"] == "http://vo.example/collections/images"


def test_what_machines_are_told_can_be_fetched(reader: Client, pages: dict[str, Parts]) -> None:
    (table,) = next(page.data for path, page in pages.items() if path.startswith("/collections/images/main"))
    for one in table["distribution"]:
        to = urlsplit(one["contentUrl"])
        answer = reader.ask("GET", f"{to.path}?{to.query}")
        assert answer.status == 200
        assert answer.headers["content-type"].startswith(one["encodingFormat"])


@pytest.mark.parametrize("portal", ["", "/sunny"])
def test_news_are_fed_as_rss_and_atom(reader: Client, pages: dict[str, Parts], portal: str) -> None:
    for name, root in (("rss", "rss"), ("atom", "{http://www.w3.org/2005/Atom}feed")):
        answer = reader.ask("GET", f"{portal}/news.{name}")
        assert answer.status == 200
        tree = etree.fromstring(answer.body)
        assert tree.tag == root
        links = [one.get("href") or one.text for one in tree.iter("{http://www.w3.org/2005/Atom}link", "link")]
        news = {urlsplit(link).path for link in links if link and "/news/" in link}
        assert news, name
        assert news <= {path for path in pages if kind(path) == "/news/X"}, "each leads to a page that is linked, too"
