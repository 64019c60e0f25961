"""The page of a collection and its statistics: citation, schema.org, ranges, changes, counts by time and by value."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime

import numpy as np
import pytest
from asgi_client import Client
from lxml import html
from mocpy import MOC
from portal_site import HOSTILE_TEXT, build_site

from hven.app._server import create_application
from hven.portal._explore.table_summary import draw_moc_svg_path
from hven.portal._views.dataset_metadata import write_bibtex
from hven.site import Site


@pytest.fixture(scope="module")
def portal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with build_site(tmp_path_factory.mktemp("portal")) as site:
        yield site


@pytest.fixture(scope="module")
def reader(portal: Site) -> Client:
    return Client(create_application(portal))


def test_the_page_says_what_a_reader_needs(reader: Client) -> None:
    page = reader.get("/collections/images").text
    for wanted in ("Images of the Sun", "Every image", "400</b>", "1996-01-11", "2005-", "doi:10.1234/uraniborg", "@misc{1602asnp.book.....B,", "0 &hellip; 39.9",
                   "time.duration;obs.exposure", "http://vo.example/collections/images/main", "How to read an image", "published"):  # fmt: skip
        assert wanted in page, wanted
    assert "data-histogram" in page
    assert page.count("<tr><td") >= 5, "first rows"


@pytest.mark.parametrize("name", ["images", "stars"])
def test_of_one_table_it_is_not_said_that_it_is_one(reader: Client, name: str) -> None:
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


def test_rows_stand_first_and_the_rest_is_folded(reader: Client) -> None:
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


def test_statistics_count_by_time_and_value(reader: Client) -> None:
    told = json.loads(reader.get("/statistics/images.json").body)
    (table,) = told["tables"]
    assert {one["name"]: one["rows"] for one in table["periods"]} == {str(year): 40 for year in range(1996, 2006)}
    by = {one["column"]: {value["name"]: value["rows"] for value in one["values"]} for one in table["by"]}
    assert by["instrument"] == {"EIT": 300, "AIA": 50, "HMI": 50}
    assert by["mission"] == {"SOHO": 299, "SDO": 100, "": 1}
    for one in [*table["periods"], *(value for column in table["by"] for value in column["values"])]:
        path, _, query = one["url"].removeprefix("http://vo.example").partition("?")
        assert json.loads(reader.ask("GET", f"{path}/count", query.encode()).body)["total"] == one["rows"], one
    assert datetime.fromisoformat(table["modified"]) <= datetime.fromisoformat(table["updated"]), (
        "of its file, before it was published"
    )
    page = reader.get("/statistics/images").text
    assert f'<time datetime="{table["modified"]}"' in page
    assert "<svg" in page
    assert reader.get("/statistics/nothing").status == 404


def is_in_path(x: float, y: float, path: str) -> bool:
    """Whether a point is in one of the closed pieces of a path."""
    for piece in path.split("z")[:-1]:
        corners = [tuple(map(float, pair.split())) for pair in piece.removeprefix("M").split("L")]
        crossings = sum(
            (a[1] > y) != (b[1] > y) and x < (b[0] - a[0]) * (y - a[1]) / (b[1] - a[1]) + a[0]
            for a, b in zip(corners, [*corners[1:], corners[0]], strict=True)
        )
        if crossings % 2:
            return True
    return False


def test_the_small_sky_shows_where_a_moc_is() -> None:
    made = np.random.default_rng(1572)
    moc = MOC.from_string("3/25 39 47 100 383 384 8/300000")
    path = draw_moc_svg_path(moc.to_string("ascii"))
    from astropy.coordinates import Latitude, Longitude

    lon, lat = made.uniform(0, 360, 3000), np.degrees(np.arcsin(made.uniform(-1, 1, 3000)))
    there = moc.contains_lonlat(Longitude(lon, "deg"), Latitude(lat, "deg"))
    near = (
        moc.add_neighbours()
        .add_neighbours()
        .degrade_to_order(3)
        .contains_lonlat(Longitude(lon, "deg"), Latitude(lat, "deg"))
    )
    half, up = np.radians(-((lon + 180) % 360 - 180)) / 2, np.radians(lat)
    root = np.sqrt(1 + np.cos(up) * np.cos(half))
    xs, ys = 2 * np.sqrt(2) * np.cos(up) * np.sin(half) / root, -np.sqrt(2) * np.sin(up) / root
    found = np.array([is_in_path(x, y, path) for x, y in zip(xs, ys, strict=True)])
    assert there.sum() > 10
    assert found[there].mean() > 0.9, "corners are joined by straight lines"
    assert not found[~near].any()


def test_the_small_sky_of_everything_and_nothing() -> None:
    assert draw_moc_svg_path("0/0-11").count("M") > 192
    assert len(draw_moc_svg_path("0/0-11")) < 60_000
    assert draw_moc_svg_path("") == ""
