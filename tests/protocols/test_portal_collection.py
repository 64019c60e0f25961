"""The page of a collection and its statistics: citation, schema.org, ranges, changes, counts by time and by value."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
from asgi_client import Client
from lxml import html
from portal_site import HOSTILE_TEXT, build_site

from hven.app._server import create_and_start_application
from hven.portal._views.dataset_metadata import write_bibtex
from hven.site import Site


@pytest.fixture(scope="module")
def portal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with build_site(tmp_path_factory.mktemp("portal")) as site:
        yield site


@pytest.fixture(scope="module")
def reader(portal: Site) -> Client:
    return Client(create_and_start_application(portal))


def test_the_collection_page_shows_metadata_citation_and_first_rows(reader: Client) -> None:
    page = reader.get("/collections/images").text
    for wanted in ("Images of the Sun", "Every image", "400</b>", "1996-01-11", "2005-", "doi:10.1234/uraniborg", "@misc{1602asnp.book.....B,", "0 &hellip; 39.9",
                   "time.duration;obs.exposure", "http://vo.example/collections/images/main", "How to read an image", "published"):  # fmt: skip
        assert wanted in page, wanted
    assert "data-histogram" in page
    assert page.count("<tr><td") >= 5, "first rows"


@pytest.mark.parametrize("name", ["images", "stars"])
def test_the_page_of_a_single_table_shows_no_number_of_tables(reader: Client, name: str) -> None:
    page = reader.get(f"/collections/{name}").text
    facts = page[page.index('<ul class="facts">') :]
    told = re.sub(r"<[^>]+>|\s+", " ", facts[: facts.index("</li>")])
    assert re.fullmatch(r" *[\d,]+ +rows? *", told), told


def outline(page: str) -> list[str]:
    """List what a reader sees of a collection's page in the order of the page: headings, and the summaries of closed parts in brackets."""
    main = html.document_fromstring(page).find(".//main")
    seen = []
    for node in main.iter("h2", "h3", "summary"):
        closed = [one for one in node.iterancestors("details") if one.get("open") is None]
        if node.tag == "summary":
            assert node.getparent() in closed or closed, "a part that is open at once"
            closed = [one for one in closed if one is not node.getparent()]
        if not closed:
            text = " ".join(node.text_content().split())
            seen.append(f"[{text}]" if node.tag == "summary" else text)
    return seen


def test_rows_come_first_and_other_sections_are_collapsed(reader: Client) -> None:
    """A page with all examples of access and all columns open is five screens long."""
    for path, title in (("/collections/images", "Every image images.main"), ("/collections/stars", None)):
        page = reader.get(path).text
        seen = outline(page)
        assert title is None or seen[0] == title
        assert seen[1] == "First rows", seen
        assert [re.sub(r"\d+", "N", one) for one in seen[2:4]] == ["[Ways to query N]", "[Columns N]"], seen
        assert seen[-2:] == ["[How to cite]", "[Changes]"], seen
        for beside in page.split('<div class="beside">')[1:]:
            assert beside.index("</figure>") < beside.index("<h3>First rows</h3>") < beside.index("Ways to query")


def test_old_anchors_lead_to_their_sections(reader: Client) -> None:
    """Papers and HAPI's resourceURL link them; a target in a closed part is its content: for a target in the summary browsers would not open it."""
    root = html.document_fromstring(reader.get("/collections/images").text)
    for anchor, text in (
        ("main", "First rows"),
        ("cite", "@misc"),
        ("change-log", "published"),
        ("query-examples", ""),
    ):
        (target,) = root.xpath(f"//*[@id='{anchor}']")
        assert text in target.text_content(), anchor
        assert not [*target.iterancestors("summary")]
    for link in root.xpath("//main//a[starts-with(@href, '#')]/@href"):
        assert root.xpath(f"//*[@id='{link[1:]}']"), link


def test_columns_that_say_the_same_are_said_once_above_the_first_rows(reader: Client) -> None:
    page = reader.get("/collections/images").text
    head = page[page.index('<table class="rows">') :].partition("</thead>")[0]
    for name in re.findall(r'<span class="one"><span class="soft">([^<]+)</span>', page):
        assert f">{name}" not in head


def test_the_twin_says_the_same(reader: Client) -> None:
    told = json.loads(reader.get("/collections/images.json").body)
    assert told["rows"] == 400
    assert told["time"][0] == "1996-01-11"
    assert [table["name"] for table in told["tables"]] == ["images.main"]
    assert told["bibtex"].startswith("@misc{")
    assert told["changes"][0]["tables"] == ["main"], "of private tables nothing is said"


def test_schema_org_says_what_it_is(reader: Client) -> None:
    text = reader.get("/collections/images").text
    found = re.findall(r'<script type="application/ld\+json">(.*?)</script>', text, re.DOTALL)
    assert len(found) == 1
    made = json.loads(found[0])
    assert (made["@context"], made["@type"], made["name"]) == ("https://schema.org/", "Dataset", "Images of the Sun")
    assert HOSTILE_TEXT in made["keywords"], "escaped, and whole"
    assert "<" not in found[0]
    assert made["temporalCoverage"].startswith("1996-01-11/")
    assert "https://doi.org/10.1234/uraniborg" in made["identifier"]
    assert {one["name"] for one in made["variableMeasured"]} == {"id", "mission", "instrument", "seen", "exposure"}
    download = next(one for one in made["distribution"] if one["encodingFormat"] == "text/csv")["contentUrl"]
    path, _, query = download.removeprefix("http://vo.example").partition("?")
    assert len(reader.ask("GET", path, query.encode()).text.splitlines()) == 401


def test_bibtex_is_one_entry_whatever_names_hold(portal: Site) -> None:
    from dataclasses import replace

    from hven.model.resource import Person

    resource = portal.get_published_state().resources["images"]
    entry = write_bibtex(
        replace(
            resource,
            title="100% of {braces} & \\more_",
            creators=(Person(name="O'Neil, A."), Person(name="B}")),
            publisher=None,
        ),
        "http://x/y}",
    )
    assert entry.count("@") == 1
    plain = re.sub(r"\\.", "", entry)
    assert plain.count("{") == plain.count("}")
    assert "author = {{O'Neil, A.} and {B\\}}}" in entry
    assert "title = {{100\\% of \\{braces\\} \\& \\textbackslash{}more\\_}}" in entry
