"""Persistent addresses of results: the same rows while they are kept, and what differs when they are not; judged by sha256sum and sort."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from astropy.io.votable import parse

from citation_site import PSZ2, ROWS, build_site
from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.model.settings import load_settings
from hven.site import Site
from process_runner import run_hven

sys.path.insert(0, str(Path(__file__).parents[1] / "protocols"))
from asgi_client import Answer, Client

QUERY = "SELECT name, ra FROM psz2.main WHERE ra > 100"
JSON = {"accept": "application/json", "content-type": "application/x-www-form-urlencoded"}


@pytest.fixture
def site_directory(tmp_path: Path) -> Path:
    return build_site(tmp_path, settings="\n[results]\nown = 4\nrows = 10\n")


@pytest.fixture
def site(site_directory: Path) -> Iterator[Site]:
    with Site(load_settings(site_directory), watch_for_changes=False) as site:
        yield site


@pytest.fixture
def client(site: Site) -> Client:
    return Client(create_and_start_application(site))


def cite(client: Client, query: str = QUERY, **more: object) -> Answer:
    from urllib.parse import urlencode

    return client.ask("POST", "/results", body=urlencode({"QUERY": query, **more}).encode(), headers=JSON)


def path(answer: Answer) -> str:
    assert answer.status == 201, answer.text
    found = json.loads(answer.body)["url"]
    assert found.startswith("http://vo.example/results/")
    return str(found.removeprefix("http://vo.example"))


def hash_with_shell(text: bytes) -> str:
    """As the documentation has it, with the programs of any system."""
    return subprocess.run("tail -n +2 | tr -d '\\r' | LC_ALL=C sort | sha256sum", input=text, shell=True, capture_output=True, check=True).stdout.decode().split()[0]  # fmt: skip


def ingest_changed_rows(site_directory: Path, site: Site, change: Callable[[str], str]) -> None:
    (site_directory / "collections/psz2/a.csv").write_text(change(ROWS))
    ingest_collection(site, "psz2")
    site.refresh_published_state()


def test_a_cited_result_keeps_its_rows_after_the_data_change(site_directory: Path, site: Site, client: Client) -> None:
    made = cite(client)
    told = json.loads(made.body)
    rows = client.get(f"{path(made)}/rows", RESPONSEFORMAT="csv")
    assert hash_with_shell(rows.body) == told["checksum"]
    assert told["rows"] == len(rows.text.splitlines()) - 1 == 7
    ingest_changed_rows(
        site_directory, site, lambda text: text.replace("c5,180", "c5,181").replace("c9,324,4", "c9,24,4")
    )
    assert client.get(f"{path(made)}/rows", RESPONSEFORMAT="csv").body == rows.body
    assert "c5,181" in client.get("/tap/sync", LANG="ADQL", QUERY=QUERY, RESPONSEFORMAT="csv").text
    page = client.get(path(made))
    assert "The original rows are kept" in page.text
    assert told["checksum"] in page.text
    assert json.loads(client.get(f"{path(made)}.json").body)["kept"] is True
    again = json.loads(cite(client).body)
    assert again["url"] != told["url"], "other snapshots, another address"


def test_the_same_question_has_one_address(client: Client) -> None:
    assert path(cite(client)) == path(cite(client, "select name,  ra\nfrom psz2.main where ra > 100"))
    assert path(cite(client)) != path(cite(client, QUERY.replace("100", "200")))


def test_results_that_are_not_kept_are_reported(site_directory: Path, site: Site, client: Client) -> None:
    made, whole = cite(client), cite(client, "SELECT name FROM psz2.main WHERE ra < 100")
    ingest_changed_rows(site_directory, site, lambda text: text.replace("c5,180", "c5,181"))
    run_hven("remove", "psz2", "--purge", "--site", str(site_directory))
    site.refresh_published_state()
    assert client.get(path(made)).status == 404, "its collection is there no more"
    ingest_changed_rows(site_directory, site, lambda text: text.replace("c5,180", "c5,181") + "c10,300,5,2010-01-01T00:00:00,2010-01-02T00:00:00\n")  # fmt: skip
    page = client.get(path(made))
    assert page.status == 200
    assert "finds 8, and the original result had 7" in page.text
    assert "still finds the same rows" in client.get(path(whole)).text
    gone = client.get(f"{path(made)}/rows")
    assert gone.status == 410
    assert "no longer keeps the old states of psz2.main" in gone.text


def test_a_page_says_one_row_where_there_is_one(client: Client) -> None:
    one = client.get(path(cite(client, "SELECT COUNT(*) AS n FROM psz2.main"))).text
    assert re.search(r"<b>1</b>\s+row</li>", one)
    assert re.search(r"<b>2</b>\s+rows</li>", client.get(path(cite(client, "SELECT TOP 2 name FROM psz2.main"))).text)


def test_tap_queries_can_be_cited(client: Client) -> None:
    answer = client.get("/tap/sync", LANG="ADQL", QUERY=QUERY, CITE="true")
    (results,) = [one for one in parse(io.BytesIO(answer.body)).resources if one.type == "results"]
    address = {one.name: one.value for one in results.infos}["result"]
    there = client.get(address[address.index("/results/") :] + "/rows", RESPONSEFORMAT="csv")
    assert there.body == client.get("/tap/sync", LANG="ADQL", QUERY=QUERY, RESPONSEFORMAT="csv").body
    plain = client.get("/tap/sync", LANG="ADQL", QUERY=QUERY)
    assert b'name="result"' not in plain.body
    for wrong, told in (({"CITE": "perhaps"}, "true or false"), ({"CITE": "true", "ASOF": "2020-01-01"}, "the current published state")):  # fmt: skip
        answer = client.get("/tap/sync", LANG="ADQL", QUERY=QUERY, **wrong)
        assert (answer.status, told in answer.text) == (400, True)


@pytest.mark.parametrize(
    ("query", "more", "status", "told"),
    [
        ("SELECT * FROM psz2.main AS a, psz2.main AS b", {}, 413, "more than 10 rows"),
        ("SELECT name FROM psz2.main", {"MAXREC": 3}, 400, "ORDER BY and TOP"),
        ("SELECT name FROM psz2.lost", {}, 400, "psz2.lost"),
        ("SELECT", {}, 400, ""),
        ("", {}, 400, "the query is missing"),
        ("SELECT table_name FROM TAP_SCHEMA.tables", {}, 400, "this result cannot be kept"),
    ],
)  # fmt: skip
def test_what_gets_none(client: Client, query: str, more: dict[str, object], status: int, told: str) -> None:
    answer = cite(client, query, **more)
    assert answer.status == status, answer.text
    assert told in answer.text


def test_a_reader_has_a_share(client: Client) -> None:
    for number in range(4):
        path(cite(client, f"SELECT name FROM psz2.main WHERE ra > {number}"))
    assert cite(client, "SELECT name FROM psz2.main WHERE ra > 5").status == 413
    path(cite(client, "SELECT name FROM psz2.main WHERE ra > 3")), "what is kept costs nothing"


def test_rights_are_as_everywhere(site_directory: Path, site: Site, client: Client) -> None:
    made = path(cite(client))
    descriptor = site_directory / "collections/psz2/psz2.yaml"
    descriptor.write_text(PSZ2.replace("title: Clusters of", "access: private\ntitle: Clusters of"))
    site.refresh_published_state()
    with Site(load_settings(site_directory), watch_for_changes=False) as again:
        reader = Client(create_and_start_application(again))
        assert reader.get(made).status == 404
        rows = reader.get(f"{made}/rows")
        assert rows.status >= 400
        assert not re.search(r"\bc5\b", rows.text)  # ids of requests and results have such letters
        assert cite(reader).status == 400, "nobody learns that it is there"


def test_a_cited_result_of_a_release_keeps_its_rows(site_directory: Path, site: Site, client: Client) -> None:
    run_hven("release", "R4", "psz2", "--site", str(site_directory))
    site.refresh_published_state()
    made = cite(client, QUERY.replace("psz2.main", "psz2_r4.main"))
    ingest_changed_rows(site_directory, site, lambda text: text.replace("c5,180", "c5,181"))
    assert "c5,180" in client.get(f"{path(made)}/rows", RESPONSEFORMAT="csv").text


def test_the_portal_offers_it(client: Client) -> None:
    page = client.get("/collections/psz2/main").text
    assert 'action="http://vo.example/results"' in page or 'action="/results"' in page or "/results" in page
    answer = client.post("/results", QUERY=QUERY)
    assert answer.status == 303
    assert client.get(answer.headers["location"].removeprefix("http://vo.example")).status == 200
