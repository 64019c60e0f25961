"""Pages of strange data come, and they are not huge; a browser tries what they look like."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from asgi_client import Client
from strange_site import (
    ARABIC,
    CHOICE_COUNT,
    HEBREW,
    LONG_COLUMN,
    LONG_NAME,
    LONG_TITLE,
    OLD_JULIAN_DATES,
    OLD_TIMES,
    open_strange_site,
)

from hven.app._server import create_and_start_application

MAX_PAGE_BYTES = 1_500_000
HTML = {"accept": "text/html"}


@pytest.fixture(scope="module")
def strange(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with open_strange_site(tmp_path_factory.mktemp("strange")) as site:
        yield Client(create_and_start_application(site))


@pytest.mark.parametrize(
    "path",
    [
        "/",
        *(f"/collections/strange{table}" for table in ("", "/wide", "/many", "/old", "/columns")),
        *(f"/collections/letters{table}" for table in ("", "/main", "/titled", "/unbroken", "/columns")),
        "/news",
    ],
)
def test_pages_come_and_are_not_huge(strange: Client, path: str) -> None:
    for language in ("en", "fr"):
        page = strange.ask("GET", path, f"lang={language}".encode(), headers=HTML)
        assert page.status == 200
        assert len(page.body) < MAX_PAGE_BYTES
        heading = re.search(r"<h1[^>]*>(.*?)</h1>", page.text, re.DOTALL)
        assert heading is not None
        assert heading[1].strip(), "a page without a title has the name of what it shows"


def test_a_hundred_thousand_choices_are_not_listed(strange: Client) -> None:
    page = strange.ask("GET", "/collections/strange/many", headers=HTML)
    assert page.text.count("<option") < 500
    assert f"{CHOICE_COUNT:,}" in page.text
    found = strange.ask("GET", "/collections/strange/many", b"choice=choice+99999", headers=HTML)
    assert "choice 99999" in found.text


def test_times_before_1900_are_found_and_shown(strange: Client) -> None:
    page = strange.ask("GET", "/collections/strange/old", b"seen=1572..1610", headers=HTML)
    assert "1572-11-11" in page.text
    assert "1610-01-07" in page.text
    assert "0900-01-01" not in page.text.partition("<tbody")[2]


def test_long_names_and_foreign_letters_are_whole(strange: Client) -> None:
    page = strange.ask("GET", "/collections/strange/old", headers=HTML)
    assert LONG_NAME in page.text
    assert ARABIC in page.text


def test_the_panes_of_a_table_of_400_columns_stay_small(strange: Client) -> None:
    sizes = {
        pane: len(strange.ask("GET", f"/collections/strange/wide/{pane}", headers={"accept": "application/json"}).body)
        for pane in ("rows", "count", "facets", "take", "row?_row=%5B0%5D", "points?_x=c0&_y=c1", "histogram?_x=c0")
    }
    assert sizes["row?_row=%5B0%5D"] > 20_000, "all columns of the row"
    assert max(sizes.values()) < 400_000, sizes
    chosen = ",".join(f"c{number}" for number in range(400))
    page = strange.ask("GET", "/collections/strange/wide", f"_cols={chosen}&c399=399".encode(), headers=HTML)
    assert page.text.count("<th ") == 400
    assert len(page.body) < 2 * MAX_PAGE_BYTES
    assert "c399 = 399" in page.text


def test_old_times_are_whole_in_all_panes(strange: Client) -> None:
    here = "/collections/strange/old"
    days = [time[:10] for time in OLD_TIMES]
    rows = strange.ask("GET", f"{here}/rows", headers={"accept": "application/json"}).text
    assert all(day in rows for day in days)
    for number, day in enumerate(days):
        row = strange.ask("GET", f"{here}/row", f"_row=%5B{number}%5D".encode()).text
        assert day in row
    points = json.loads(strange.ask("GET", f"{here}/points", b"_x=seen&_y=n").body)
    julian_dates = sorted(points["values"][0])
    assert julian_dates == pytest.approx(sorted(OLD_JULIAN_DATES), abs=1e-6)
    bins = json.loads(strange.ask("GET", f"{here}/histogram", b"_x=seen").body)
    assert (bins["time"], sum(bins["counts"])) == (True, 3)
    lines = strange.ask("GET", f"{here}/download", b"_as=csv&seen=0900-01-01..1600").text
    assert "1572-11-11T18:00:00" in lines
    assert "0900-01-01T00:00:00" in lines
    assert "1610" not in lines.partition("\n")[2]


def test_right_to_left_and_long_titles_are_whole(strange: Client) -> None:
    page = strange.ask("GET", "/collections/letters", headers=HTML).text
    assert all(text in page for text in (ARABIC, HEBREW, LONG_TITLE, LONG_NAME))
    table = strange.ask("GET", "/collections/letters/main", f"kind={quote(HEBREW)}".encode(), headers=HTML).text
    assert all(text in table for text in (ARABIC, HEBREW, LONG_COLUMN))
    found = strange.ask("GET", "/collections/letters/main/count", f"kind={quote(HEBREW)}".encode())
    assert json.loads(found.body)["total"] == 8
