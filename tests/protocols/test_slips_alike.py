"""A slip is answered in the same words by /tap/sync and by a job, wherever it is found: in the text, in names, in types, by the engine."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from asgi_client import Client
from lxml import etree
from star_tables import STARS, build_rows

from hven.app._server import create_and_start_application
from hven.jobs._worker import run_next_job
from hven.site import Site
from hven.testing.site import open_tiny_site


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    path: Path = tmp_path_factory.mktemp("slips")
    with open_tiny_site(path, {"stars.main": (STARS, build_rows())}) as made:
        yield made


@pytest.fixture(scope="module")
def client(site: Site) -> Client:
    return Client(create_and_start_application(site))


def read_error_message(body: bytes) -> str:
    info = etree.fromstring(body).find(".//{*}INFO[@name='QUERY_STATUS']")
    assert info is not None
    assert info.get("value") == "ERROR"
    return re.sub(r" \[request \w+\]$", "", str(info.text))


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("SELECT * FROM stars.main LIMIT 3", "line 1, column 26: ADQL has no LIMIT; write SELECT TOP n ... instead"),
        ("SELECT id\nFROM stars.main\nWHERE id == 3", "line 3, column 11: ADQL has no == operator; write a single ="),
        ("SELECT NVL(mag, 0) FROM stars.main", "line 1, column 8: no function NVL; write COALESCE(a, b)"),
        ("SELECT idd FROM stars.main", "no column 'idd' in stars.main; did you mean 'id'?"),
        ("SELECT id FROM stars.mian", "no table 'stars.mian'; did you mean 'stars.main'?"),
        ("SELECT id FROM stars.main WHERE id = “3”", "a typographic double quote"),
        ("SELECT `id` FROM stars.main", "a backtick is not allowed in ADQL"),
        ("SELECT id FROM stars.main; SELECT 1", "only one query is accepted at a time; send each query separately"),
        ("SELECT id FROM stars.main WHERE mag = '3'", "write 3 without quotes"),
        ("SELECT CAST('abc' AS INTEGER) AS x FROM stars.main", "abc"),
        ("SELECT SUM(9000000000000000000 + 0 * id) AS n FROM stars.main", ""),
    ],
)
def test_alike(client: Client, site: Site, query: str, words: str) -> None:
    at_once = client.post("/tap/sync", LANG="ADQL", QUERY=query)
    assert at_once.status == 400
    job = client.post("/tap/async", LANG="ADQL", QUERY=query, PHASE="RUN")
    location = job.headers["location"].removeprefix("http://vo.example")
    assert run_next_job(site)
    document = client.get(location)
    assert etree.fromstring(document.body).findtext("{*}phase") == "ERROR"
    later = client.get(f"{location}/error")
    assert read_error_message(later.body) == read_error_message(at_once.body)
    assert words in read_error_message(at_once.body)
    summary = etree.fromstring(document.body).findtext("{*}errorSummary/{*}message")
    assert summary == read_error_message(at_once.body)
