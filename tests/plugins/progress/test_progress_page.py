"""The page of progress: its counts against plain ones, its links against what they find, and its faults."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from asgi_client import Client
from survey_site import Row, make_rows, open_survey

from hven.app._server import create_and_start_application
from hven.model.errors import TimeLimitError
from hven.plugins.progress import progress_page
from hven.site import Site
from hven.testing.policies import build_odd_rows_hidden_policies

ROWS = make_rows()
HTML = {"accept": "text/html"}
STAGES = ["planned", "observed", "reduced"]


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, Client]]:
    with open_survey(tmp_path_factory.mktemp("survey"), ROWS) as opened:
        yield opened


def read_progress(client: Client, query: bytes = b"") -> dict[str, dict[str, Any]]:
    """Read the progress of each table as JSON."""
    answer = client.ask("GET", "/progress/survey.json", query)
    assert answer.status == 200, answer.text
    return {table["name"]: table for table in json.loads(answer.body)["tables"]}


def count_found_rows(client: Client, address: str) -> int:
    """Count the rows that a link of the page finds."""
    path, _, query = address.partition("://")[2].partition("/")[2].partition("?")
    answer = json.loads(client.ask("GET", f"/{path}/count", query.encode()).body)
    total: int = answer["total"]
    return total


def assert_counts(table: dict[str, Any], rows: list[Row]) -> None:
    """Compare the progress of the targets with a plain count of rows."""
    states = Counter(row[1] for row in rows)
    assert {stage["name"]: stage["rows"] for stage in table["stages"]} == {name: states[name] for name in STAGES}
    assert (table["rows"], table["other"]) == (len(rows), states["lost"] + states[""])
    for facet, place in zip(table["by"], (2, 3), strict=True):
        expected = Counter((row[place] or None, row[1]) for row in rows)
        counted = {
            (value["name"], name): stage["rows"]
            for value in facet["values"]
            for name, stage in zip(STAGES, value["stages"], strict=True)
        }
        assert counted == {
            (value, name): expected[value, name] for value in {key for key, _ in expected} for name in STAGES
        }
        assert facet["complete"]
    days = Counter(row[6].date() for row in rows if row[6] is not None and row[6].year == table["calendar"]["year"])
    assert {date.fromisoformat(day): count for day, count in table["calendar"]["days"].items()} == days


def test_counts_are_those_of_the_rows(survey: tuple[Site, Client]) -> None:
    _, client = survey
    tables = read_progress(client)
    assert list(tables) == ["targets", "nights"]
    assert_counts(tables["targets"], ROWS)
    assert tables["targets"]["calendar"]["years"] == [2025, 2026]
    assert tables["targets"]["calendar"]["year"] == 2026
    assert_counts(read_progress(client, b"year=2025")["targets"], ROWS)
    assert read_progress(client, b"year=1999")["targets"]["calendar"]["days"] == {}
    names = [value["name"] for value in tables["targets"]["by"][1]["values"]]
    assert names == [str(number) for number in range(1, 12)], "numbers are sorted by their values"
    assert tables["nights"]["stages"] == []
    assert tables["nights"]["calendar"]["days"] == {"2023-02-25": 2, "2023-02-26": 1}


def test_links_find_what_they_count(survey: tuple[Site, Client]) -> None:
    _, client = survey
    tables = read_progress(client)
    targets = tables["targets"]
    links = [(stage["url"], stage["rows"]) for stage in targets["stages"]]
    for facet in targets["by"]:
        for value in facet["values"]:
            links.append((value["url"], value["rows"]))
            links += [(stage["url"], stage["rows"]) for stage in value["stages"]]
    for table in tables.values():
        calendar = table["calendar"]
        links += [(calendar["url"] + day, count) for day, count in [*calendar["days"].items()][:3]]
    assert len(links) > 40
    for address, count in links:
        assert count_found_rows(client, address) == count, address


def test_the_page_shows_the_counts(survey: tuple[Site, Client]) -> None:
    _, client = survey
    page = client.ask("GET", "/progress/survey", headers=HTML)
    assert page.status == 200
    planned = sum(row[1] == "planned" for row in ROWS)
    assert f"planned</a> <b>{planned}</b>" in page.text
    assert page.text.count('class="dots"') == 3
    assert "B, C</a>" in page.text
    assert "<i>no value</i>" in page.text
    assert 'href="?year=2025#targets-calendar"' in page.text
    french = client.ask("GET", "/progress/survey", b"lang=fr", headers=HTML).text
    assert "<h1>Avancement</h1>" in french
    assert "autres étapes" in french
    collection = client.ask("GET", "/collections/survey", headers=HTML).text
    assert "/progress/survey#targets" in collection
    assert collection.count('class="stage-summary"') == 2


def test_hidden_rows_are_not_counted(survey: tuple[Site, Client]) -> None:
    site, _ = survey
    client = Client(create_and_start_application(site, policies=build_odd_rows_hidden_policies()))
    assert_counts(read_progress(client)["targets"], ROWS[::2])


@pytest.mark.parametrize(
    ("path", "query", "status", "words"),
    [
        ("/progress/nothing", b"", 404, "there is no collection"),
        ("/progress/survey", b"year=soon", 400, "year"),
        ("/progress/survey", b"year=-1", 400, "year"),
    ],
)
def test_wrong_addresses_are_refused(
    survey: tuple[Site, Client], path: str, query: bytes, status: int, words: str
) -> None:
    answer = survey[1].ask("GET", path, query, headers=HTML)
    assert answer.status == status
    assert words in answer.text


def test_years_without_rows_are_empty_calendars(survey: tuple[Site, Client]) -> None:
    for year in (b"1", b"9999", b"123456789"):
        answer = survey[1].ask("GET", "/progress/survey", b"year=" + year, headers=HTML)
        assert answer.status == 200
        assert "data-shade" not in answer.text.partition("<main")[2]


def test_a_table_that_cannot_be_counted_says_so(survey: tuple[Site, Client], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise TimeLimitError("the query took longer than 15 seconds")

    monkeypatch.setattr(progress_page, "count_stages", refuse)
    tables = read_progress(survey[1])
    assert "15 seconds" in tables["targets"]["fault"]
    assert (tables["targets"]["stages"], tables["targets"]["by"]) == ([], [])
    assert tables["targets"]["calendar"]["years"] == [2025, 2026], "a fault of the stages hides no calendar"
    assert tables["nights"]["calendar"]["rows"] == 3
    page = survey[1].ask("GET", "/progress/survey", headers=HTML).text
    assert "Hven cannot count these rows:" in page
    assert 'id="targets-calendar"' in page
    assert survey[1].ask("GET", "/collections/survey", headers=HTML).status == 200


def test_a_fault_of_the_calendar_hides_no_stages(survey: tuple[Site, Client], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise TimeLimitError("the query took longer than 15 seconds")

    monkeypatch.setattr(progress_page, "count_days", refuse)
    table = read_progress(survey[1])["targets"]
    assert ("15 seconds" in table["fault"], table["calendar"]) == (True, None)
    assert [stage["name"] for stage in table["stages"]] == ["planned", "observed", "reduced"]


def test_many_values_are_cut_off(survey: tuple[Site, Client], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_page, "MAX_SHOWN_GROUPS", 3)
    facet = read_progress(survey[1])["targets"]["by"][1]
    assert (len(facet["values"]), facet["complete"]) == (3, False)
    assert "and others" in survey[1].ask("GET", "/progress/survey", headers=HTML).text


def test_an_empty_table_has_a_page(tmp_path: Path) -> None:
    with open_survey(tmp_path, []) as (_, client):
        table = read_progress(client)["targets"]
        assert (table["rows"], table["calendar"]["year"], table["calendar"]["years"]) == (0, None, [])
        assert "No row has a time yet." in client.ask("GET", "/progress/survey", headers=HTML).text
