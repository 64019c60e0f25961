"""A policy that hides half of the rows, and a private table, over every face, count, cache and page."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from asgi_client import Client
from star_tables import STARS, build_rows

from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.site import Site
from hven.site.auth._access_control import OWNER_PRINCIPAL
from hven.testing.policies import build_odd_rows_hidden_policies
from hven.testing.site import open_site_with_uningested_files, open_tiny_site, publish_rows

EVERYTHING = [
    "/",
    "/collections/stars",
    "/collections/secret",
    "/health",
    "/tap/tables",
    "/tap/tables?detail=min",
    "/tap/tables?detail=stats",
    "/tap/capabilities",
    "/tap/availability",
    "/tap/examples",
]


def fetch_rows(client: Client, query: str) -> list[list[object]]:
    answer = client.get("/tap/sync", LANG="ADQL", RESPONSEFORMAT="json", QUERY=query)
    assert answer.status == 200, answer.text
    return list(json.loads(answer.body)["data"])


@pytest.fixture(scope="module")
def odd_rows_client(site: Site) -> Client:
    return Client(create_and_start_application(site, policies=build_odd_rows_hidden_policies("number")))


@pytest.fixture(scope="module")
def owner(site: Site) -> Client:
    return Client(
        create_and_start_application(
            site, policies=build_odd_rows_hidden_policies("number"), identify_principal=lambda _: OWNER_PRINCIPAL
        )
    )


@pytest.mark.parametrize(
    "query",
    [
        "SELECT COUNT(*) AS n FROM stars.main",
        "SELECT COUNT(*) AS n FROM stars.main WHERE number >= 0",
        "SELECT COUNT(*) AS n FROM stars.main AS a JOIN stars.main AS b ON a.id = b.id",
        "SELECT COUNT(*) AS n FROM (SELECT id FROM stars.main) AS s",
        "WITH s AS (SELECT id FROM stars.main) SELECT COUNT(*) AS n FROM s",
        "SELECT COUNT(*) AS n FROM stars.main WHERE id IN (SELECT id FROM stars.main)",
        "SELECT COUNT(*) AS n FROM stars.main AS a WHERE EXISTS (SELECT 1 FROM stars.main AS b WHERE b.id = a.id)",
        "SELECT COUNT(*) AS n FROM stars.main WHERE 1 = CONTAINS(POINT(ra, dec), CIRCLE(0, 0, 180))",
        "SELECT COUNT(*) AS n FROM (SELECT id FROM stars.main UNION SELECT id FROM stars.main) AS u",
        "WITH RECURSIVE w AS (SELECT id FROM stars.main UNION SELECT w.id FROM w JOIN stars.main AS s ON s.id = w.id) SELECT COUNT(*) AS n FROM w",
        "SELECT TOP 1 COUNT(*) OVER () AS n FROM stars.main",
        "SELECT MAX(n) AS n FROM (SELECT ROW_NUMBER() OVER (ORDER BY id) AS n FROM stars.main) AS w",
    ],
)
def test_counts_are_of_the_rows_one_may_see(client: Client, odd_rows_client: Client, owner: Client, query: str) -> None:
    assert fetch_rows(client, query) == [[2000]]
    assert fetch_rows(odd_rows_client, query) == [[1000]]
    assert fetch_rows(owner, query) == [[2000]]


@pytest.mark.parametrize(
    "query",
    [
        "SELECT number FROM stars.main WHERE id = 's7'",
        "SELECT number FROM stars.main WHERE id IN ('s7', 's9')",
        "SELECT number FROM stars.main WHERE number = 7",
        "SELECT number FROM stars.main WHERE number BETWEEN 7 AND 7",
        "SELECT TOP 1000 number FROM stars.main WHERE MOD(number, 2) = 1 ORDER BY mag",
        "SELECT number FROM stars.main WHERE number = 7 OR 1 = 1 AND number = 9",
        "SELECT b.number FROM stars.main AS a LEFT JOIN stars.main AS b ON b.number = a.number + 1 WHERE b.number IS NOT NULL",
    ],
)
def test_hidden_rows_are_found_by_no_road(odd_rows_client: Client, client: Client, query: str) -> None:
    assert fetch_rows(client, query)
    assert fetch_rows(odd_rows_client, query) == []


def test_extremes_and_groups_are_of_the_rows_one_may_see(odd_rows_client: Client) -> None:
    assert fetch_rows(odd_rows_client, "SELECT MAX(number) AS n FROM stars.main") == [[1998]]
    assert fetch_rows(
        odd_rows_client, "SELECT MOD(number, 2) AS odd, COUNT(*) AS n FROM stars.main GROUP BY MOD(number, 2)"
    ) == [[0, 1000]]


def test_cones_have_the_rows_one_may_see(client: Client, odd_rows_client: Client) -> None:
    def numbers(asking: Client) -> set[int]:
        text = asking.get("/cone/stars.main", RA=100, DEC=20, SR=40, VERB=1, RESPONSEFORMAT="csv").text
        return {int(line.split(",")[3]) for line in text.splitlines()[1:]}

    whole = numbers(client)
    assert numbers(odd_rows_client) == {number for number in whole if number % 2 == 0} < whole


def list_shown_numbers(client: Client, path: str) -> set[str]:
    """The numbers of rows that a page shows."""
    text = client.get(path).text
    return {number.replace(",", "") for number in re.findall(r"([0-9,]+)(?:</b> rows|</td><td class=\"n wide)", text)}


def test_pages_count_the_rows_that_their_reader_may_see(counting: tuple[Client, Client, Client]) -> None:
    everybody, half, owner = counting
    for path in ("/", "/collections/stars"):
        assert list_shown_numbers(everybody, path) == {"2000"}
        assert list_shown_numbers(half, path) == {"1000"}
        assert list_shown_numbers(owner, path) == {"2000"}
        assert list_shown_numbers(half, path) == {"1000"}, "what another reader saw was remembered"


def test_a_page_of_one_reader_is_not_anothers(counting: tuple[Client, Client, Client]) -> None:
    everybody, half, _ = counting
    assert everybody.get("/").headers["cache-control"].startswith("public")
    assert half.get("/").headers["cache-control"].startswith("private")
    again = half.ask("GET", "/", headers={"if-none-match": everybody.get("/").headers["etag"]})
    assert again.status == 200


@pytest.fixture(scope="module")
def counting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Client, Client, Client]]:
    """A collection with a descriptor, so that it has pages, as everybody, half-seeing readers and its owner see it."""
    columns = "\n".join(f"      {column.name}: {{type: {column.type}}}" for column in STARS.columns)
    descriptor = (
        f"collection: stars\ntitle: Stars\nsubjects: [stars]\ntables:\n  main:\n    primary: [id]\n"
        f"    source: {{kind: parquet, files: stars.parquet}}\n    columns:\n{columns}\n"
    )
    file = io.BytesIO()
    pq.write_table(build_rows(), file)
    with open_site_with_uningested_files(
        tmp_path_factory.mktemp("pages"), descriptor, {"stars.parquet": file.getvalue()}
    ) as site:
        ingest_collection(site, "stars")
        site.refresh_published_state()
        half = build_odd_rows_hidden_policies("number")
        yield (
            Client(create_and_start_application(site)),
            Client(create_and_start_application(site, policies=half)),
            Client(create_and_start_application(site, policies=half, identify_principal=lambda _: OWNER_PRINCIPAL)),
        )


def test_one_readers_tag_is_not_anothers(client: Client, odd_rows_client: Client) -> None:
    query = b"LANG=ADQL&QUERY=SELECT+COUNT(*)+AS+n+FROM+stars.main"
    whole = client.ask("GET", "/tap/sync", query).headers
    half = odd_rows_client.ask("GET", "/tap/sync", query, headers={"if-none-match": whole["etag"]})
    assert half.status == 200
    assert half.headers["cache-control"].startswith("private")
    assert whole["cache-control"].startswith("public")


@pytest.mark.parametrize("path", EVERYTHING)
def test_a_private_table_is_named_nowhere(client: Client, path: str) -> None:
    assert not re.search(r"secret\.main", client.get(path).text)


def test_a_private_table_is_not_in_tap_schema_but_for_its_owner(client: Client, owner: Client) -> None:
    for query in (
        "SELECT table_name FROM TAP_SCHEMA.tables WHERE table_name LIKE 'secret%'",
        "SELECT schema_name FROM TAP_SCHEMA.schemas WHERE schema_name = 'secret'",
        "SELECT column_name FROM TAP_SCHEMA.columns WHERE table_name = 'secret.main'",
    ):
        assert fetch_rows(client, query) == []
        assert fetch_rows(owner, query)
    assert fetch_rows(owner, "SELECT COUNT(*) AS n FROM secret.main") == [[2000]]


def test_no_error_tells_that_a_private_table_exists(client: Client) -> None:
    def fetch_error(name: str) -> str:
        return client.get("/tap/sync", LANG="ADQL", QUERY=f"SELECT * FROM {name}").text.replace(name, "NAME")

    for name in ("secret.main", "secret.mian", "secre.main", "secret.x", "secret"):
        assert "no table 'NAME'" in fetch_error(name)
        assert "secret" not in fetch_error(name).lower()


def test_what_becomes_private_is_gone_at_once(tmp_path: Path) -> None:
    with open_tiny_site(tmp_path, {"stars.main": (STARS, build_rows(100))}) as site:
        client = Client(create_and_start_application(site))
        assert client.get("/tap/tables/stars.main").status == 200
        publish_rows(site, STARS.copy_with(access="private"), build_rows(100))
        site.refresh_published_state()
        assert client.get("/tap/tables/stars.main").status == 404
        assert client.get("/tap/sync", LANG="ADQL", QUERY="SELECT * FROM stars.main").status == 400
