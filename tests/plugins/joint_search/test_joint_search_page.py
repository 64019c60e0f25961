"""One search over two tables: its counts against plain ones, its list, its queries, and what it withstands."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
from asgi_client import Client
from joint_site import FILE_COUNT, LOG_COUNT, count, make_rows, open_joint_site, search

from hven.site import Site

HTML = {"accept": "text/html"}
LOGS, FILES = make_rows()


@pytest.fixture(scope="module")
def joint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, Client]]:
    with open_joint_site(tmp_path_factory.mktemp("joint")) as opened:
        yield opened


def is_public(row: dict[str, Any]) -> bool:
    return row.get("rights") == "public" or row["release_date"] == "2020-01-01T00:00:00"


CASES = [
    ([], lambda row: True, lambda row: True),
    ([("target", "Sirius")], lambda row: row["target_name"] == "Sirius", lambda row: row["target_name"] == "Sirius"),
    ([("target", "sirius,vega")], lambda row: row["target_name"] == "Vega", lambda row: row["target_name"] != "CO Ori"),
    ([("level", "2..3")], lambda row: False, lambda row: True),
    ([("category", "calib")], lambda row: row["obs_type"] == "CALIB", lambda row: row["category"] == "CALIB"),
    ([("time", "59010..59020")], lambda row: row["mjd_max"] >= 59010 and row["mjd_min"] <= 59020,
     lambda row: row["t_max"] >= 59010 and row["t_min"] <= 59020),
    ([("availability", "public")], is_public, is_public),
    ([("availability", "embargo")], lambda row: row["release_date"] > "2050", lambda row: row["release_date"] > "2050"),
    ([("availability", "request")], lambda row: False, lambda row: row["rights"] == "secure" and not row["release_date"]),
    ([("availability", "embargo,request")], lambda row: row["release_date"] > "2050",
     lambda row: row["release_date"] > "2050" or (row["rights"] == "secure" and not row["release_date"])),
    ([("subid", "A")], lambda row: False, lambda row: row["subid"] == "A"),
    ([("_near", "101.29,-16.72,0.1")], lambda row: row["ra"] == 101.29, lambda row: row["s_ra"] == 101.29),
    ([("_q", "co")], lambda row: row["target_name"] == "CO Ori", lambda row: row["target_name"] == "CO Ori"),
    ([("category", "SCIENCE"), ("target", "Vega")], lambda row: row["obs_type"] == "SCIENCE" and row["target_name"] == "Vega",
     lambda row: row["category"] == "SCIENCE" and row["target_name"] == "Vega"),
]  # fmt: skip


@pytest.mark.parametrize("case", range(len(CASES)))
def test_counts_are_those_of_the_rows(joint: tuple[Site, Client], case: int) -> None:
    conditions, is_log, is_file = CASES[case]
    assert count(joint[1], *conditions) == (sum(map(is_log, LOGS)), sum(map(is_file, FILES)))


def test_units_of_the_form_apply_to_all_tables(joint: tuple[Site, Client]) -> None:
    near_two = (sum(2 <= row["em"] <= 3 for row in LOGS), sum(2 <= row["wl"] * 1e6 <= 3 for row in FILES))
    for text in ("2..3", "2..3 um", "2000..3000 nm"):  # the form has the unit of the first table
        assert count(joint[1], ("wave", text)) == near_two
    assert count(joint[1], ("wave", ">=3")) == (
        sum(row["em"] >= 3 for row in LOGS),
        sum(row["wl"] >= 3e-6 for row in FILES),
    )
    rows = search(joint[1], ("target", "Sirius"), ("_cols", "wave"))["rows"]
    assert {str(row["cells"][0]) for row in rows} == {"2.2"}


def test_the_list_pages_through_all_rows_once(joint: tuple[Site, Client]) -> None:
    urls = []
    for offset in range(0, LOG_COUNT + FILE_COUNT, 50):
        rows = search(joint[1], ("_sort", "-time_min"), ("_from", str(offset)))["rows"]
        urls += [row["url"] for row in rows]
    assert len(urls) == len(set(urls)) == LOG_COUNT + FILE_COUNT
    page = joint[1].ask("GET", "/joint-search/oidb", b"_sort=-time_min&_from=50", headers=HTML).text
    assert 'rel="previous"' in page
    assert 'aria-sort="descending"' in page


def test_a_row_leads_to_the_page_of_its_table(joint: tuple[Site, Client]) -> None:
    row = search(joint[1], ("target", "Sirius"))["rows"][0]
    parts = urlsplit(row["url"])
    assert parts.path.endswith("/collections/oidb/granules")
    page = joint[1].ask("GET", parts.path, parts.query.encode(), headers=HTML)
    assert page.status == 200
    assert "Sirius" in page.text


def test_the_page_says_how_many_rows_of_each_table(joint: tuple[Site, Client]) -> None:
    page = joint[1].ask("GET", "/joint-search/oidb", b"target=Sirius&subid=A", headers=HTML).text
    sirius = sum(row["target_name"] == "Sirius" and row["subid"] == "A" for row in FILES)
    text = " ".join(page.partition("joint-count")[2].partition("</p>")[0].split())
    assert "<b>0</b>" in text
    assert f"<b>{sirius}</b>" in text
    assert "observation logs: no rows, because they have no subid." in page
    french = joint[1].ask("GET", "/joint-search/oidb", b"target=Sirius&lang=fr", headers=HTML).text
    assert "<h1>Chercher des observations</h1>" in french
    assert "journaux</a>" in french
    assert "<legend>Date" in french, "a range has the label of its field"
    assert ">Date</a>" in french


def test_levels_are_shown_in_colours(joint: tuple[Site, Client]) -> None:
    page = joint[1].ask("GET", "/joint-search/oidb", b"target=Sirius", headers=HTML).text
    assert '<span class="joint-mark" data-mark="2">2</span>' in page
    assert "data-mark" not in joint[1].ask("GET", "/joint-search/oidb", b"level=3", headers=HTML).text


def test_the_queries_give_the_same_rows(joint: tuple[Site, Client]) -> None:
    found = search(joint[1], ("target", "Sirius"), ("availability", "public"))
    answers = {}
    for key, adql in [("list", found["adql"]), *((table["key"], table["adql"]) for table in found["tables"])]:
        answer = joint[1].get("/tap/sync", REQUEST="doQuery", LANG="ADQL", FORMAT="csv", QUERY=adql)
        assert answer.status == 200, answer.text
        answers[key] = list(csv.DictReader(io.StringIO(answer.text)))
    assert len(answers["list"]) == found["total"]
    assert {row["found_in"] for row in answers["list"]} == {"files"}
    assert [len(answers[table["key"]]) for table in found["tables"]] == [table["rows"] for table in found["tables"]]


def test_downloads_have_all_rows_of_the_search(joint: tuple[Site, Client]) -> None:
    page = joint[1].ask("GET", "/joint-search/oidb", b"category=CALIB", headers=HTML).text
    address = page.partition("/tap/sync?")[2].partition('"')[0].replace("&amp;", "&")
    parameters = dict(parse_qsl(address))
    answer = joint[1].get("/tap/sync", **parameters)
    assert len(answer.text.splitlines()) - 1 == sum(count(joint[1], ("category", "CALIB")))


def test_a_form_leads_to_the_address_of_its_search(joint: tuple[Site, Client]) -> None:
    answer = joint[1].ask(
        "GET",
        "/joint-search/oidb",
        b"time=59010&_to.time=59020&_pm.time=&_as.time=min&target=&category=CALIB",
        headers=HTML,
    )
    assert answer.status == 303
    location = answer.headers["location"]
    assert parse_qs(urlsplit(location).query) == {"time": ["59010..59020"], "category": ["CALIB"]}


@pytest.mark.parametrize(
    ("query", "words"),
    [
        (b"category=nothing", "is not a choice of"),
        (b"nothing=1", "nothing"),
        (b"time=2012-13-45", "time"),
        (b"_sort=nothing", "nothing"),
        (b"_from=soon", "_from"),
        (b"_near=1,2,500", "_near"),
        (b"target=%3Cscript%3Ealert(9)%3C/script%3E", "&lt;script&gt;"),
    ],
)
def test_wrong_conditions_are_explained(joint: tuple[Site, Client], query: bytes, words: str) -> None:
    answer = joint[1].ask("GET", "/joint-search/oidb", query, headers=HTML)
    assert answer.status in {200, 400}
    assert words in answer.text
    assert "<script>alert(9)" not in answer.text


def test_collections_without_the_key_have_no_page(joint: tuple[Site, Client]) -> None:
    assert joint[1].ask("GET", "/joint-search/nothing", b"", headers=HTML).status == 404


def test_pages_link_to_the_search(joint: tuple[Site, Client]) -> None:
    for path in ("/", "/collections/oidb"):
        page = joint[1].ask("GET", path, b"", headers=HTML).text
        assert "/joint-search/oidb" in page
        assert "Search observations" in page
