"""The search of ObsPortal by date of the last update, as an alias: what its readers ask is answered by TAP."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from asgi_client import Client
from astropy.io.votable import parse

from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.model.settings import load_settings
from hven.testing.site import Site, open_site_with_uningested_files

LOGS = """
collection: obsportal
title: Logs
tables:
  exposures:
    source: {kind: csv, files: "a.csv"}
    primary: id
    columns: {id: int32, ra: float64, instrument_name: string, date_updated: timestamp}
"""
ALIAS = """
name = "JMMC"
[[alias]]
path = "/search.votable"
to = "/tap/sync"
query = "SELECT * FROM obsportal.exposures WHERE {where} ORDER BY date_updated"
where = {date_updated_from = "date_updated >= ?", date_updated_to = "date_updated < ?", instrument_name = "instrument_name = ?", ra_max = "ra < CAST(? AS DOUBLE PRECISION)"}
set = {RESPONSEFORMAT = "votable/td"}
"""
NAMES = ("O'Brien", "GRAVITY")
ROWS = "id,ra,instrument_name,date_updated\n" + "".join(
    f"{n},{n}.5,{NAMES[n % 2]},2026-11-{n:02}T12:00:00\n" for n in range(1, 20)
)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    directory = tmp_path_factory.mktemp("logs")
    with open_site_with_uningested_files(directory, LOGS, {"a.csv": ROWS}) as made:
        ingest_collection(made, "obsportal")
    (directory / "hven.toml").write_text(ALIAS)
    with Site(load_settings(directory, {})) as site:
        yield Client(create_and_start_application(site))


@pytest.mark.parametrize(
    ("asked", "ids"),
    [
        ({"date_updated_from": "2026-11-05", "date_updated_to": "2026-11-08"}, [5, 6, 7]),
        ({"date_updated_from": "2026-11-18T12:00:00", "date_updated_to": ""}, [18, 19]),
        ({"DATE_UPDATED_TO": "2026-11-03"}, [1, 2]),
        ({"instrument_name": "O'Brien", "date_updated_to": "2026-11-05"}, [2, 4]),
        ({"instrument_name": "GRAVITY", "ra_max": "6"}, [1, 3, 5]),
        ({"instrument_name": "' OR 1=1 --"}, []),
        ({}, list(range(1, 20))),
    ],
)
def test_rows_are_searched_by_date_of_update(client: Client, asked: dict[str, str], ids: list[int]) -> None:
    for answer in (client.get("/search.votable", **asked), client.post("/search.votable", **asked)):
        assert answer.status == 200, answer.text
        assert answer.headers["content-type"].startswith("application/x-votable+xml")
        table = parse(io.BytesIO(answer.body)).get_first_table().array
        assert list(table["id"]) == ids


def test_what_is_wrong_is_said(client: Client) -> None:
    answer = client.get("/search.votable", date_updated_from="lately")
    assert answer.status == 400
    assert "lately" in answer.text
    assert client.get("/search.votable", MAXREC=2).text.count("<TR>") == 2
