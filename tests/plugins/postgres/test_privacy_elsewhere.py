"""Hidden rows and a private table over every face, where the rows are not ours to hold: in the engine postgres, and in a database read in place."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import adbc_driver_postgresql.dbapi as adbc
import pyarrow.parquet as pq
import pytest
from asgi_client import Client
from lxml import etree
from star_tables import COLUMNS, build_rows
from test_async import create_job
from test_privacy import (  # noqa: F401  (the same tests, over the sites of this module)
    fetch_rows,
    list_shown_numbers,
    odd_rows_client,
    owner,
    test_a_private_table_is_named_nowhere,
    test_a_private_table_is_not_in_tap_schema_but_for_its_owner,
    test_cones_have_the_rows_one_may_see,
    test_counts_are_of_the_rows_one_may_see,
    test_extremes_and_groups_are_of_the_rows_one_may_see,
    test_hidden_rows_are_found_by_no_road,
    test_no_error_tells_that_a_private_table_exists,
)
from upload_requests import send

from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.jobs._worker import run_next_job
from hven.plugins.postgres.settings import PostgresSettings
from hven.site import Site
from hven.testing.policies import build_odd_rows_hidden_policies
from hven.testing.site import open_site_with_uningested_files
from long_timeouts import long_page_timeouts  # noqa: F401  (a fixture for each test)
from postgres_cluster import install_extensions, run_server

pytestmark = pytest.mark.outside

SOURCES = {"postgres": "{kind: parquet, files: stars.parquet}", "live": "{kind: live, url: $OPS_DB, table: stars}"}


def descriptor(name: str, source: str, access: str) -> str:
    columns = "\n".join(
        f"      {column.name}: {{type: {column.type}, ucd: {column.ucd or 'meta.note'!r}, unit: {column.unit or ''!r}}}"
        for column in COLUMNS
    )
    return (
        f"collection: {name}\ntitle: Made-up stars\nsubjects: [stars]\naccess: {access}\ntables:\n  main:\n    primary: [id]\n"
        f"    position: [ra, dec]\n    source: {source}\n    columns:\n{columns}\n"
    )


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with run_server() as address:
        url = f"postgresql://{address}"
        install_extensions(url)
        with adbc.connect(url) as connection, connection.cursor() as cursor:
            cursor.adbc_ingest("stars", build_rows(), mode="create")
            cursor.execute("ALTER TABLE stars ADD PRIMARY KEY (id)")
            connection.commit()
        yield url


@pytest.fixture(scope="module", params=list(SOURCES))
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, database: str) -> Iterator[Site]:
    place = tmp_path_factory.mktemp(request.param)
    file = io.BytesIO()
    pq.write_table(build_rows(), file)
    source = SOURCES[request.param]
    other = place / "collections" / "secret"
    other.mkdir(parents=True)
    (other / "secret.yaml").write_text(descriptor("secret", source, "private"))
    (other / "stars.parquet").write_bytes(file.getvalue())
    kept = (
        {"engine": "postgres", "brought": {"postgres": PostgresSettings(url=database)}}
        if request.param == "postgres"
        else {}
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPS_DB", database)
        with open_site_with_uningested_files(
            place, descriptor("stars", source, "public"), {"stars.parquet": file.getvalue()}, **kept
        ) as opened:
            if kept:
                ingest_collection(opened, "stars")
                ingest_collection(opened, "secret")
            opened.refresh_published_state()
            yield opened


@pytest.fixture(scope="module")
def client(site: Site) -> Client:
    return Client(create_and_start_application(site))


def test_a_job_sees_the_rows_that_its_owner_may(site: Site, odd_rows_client: Client) -> None:  # noqa: F811  (the fixture)
    for query, found in (
        ("SELECT COUNT(*) AS n FROM stars.main", "1000"),
        ("SELECT COUNT(*) AS n FROM stars.main WHERE number = 7", "0"),
    ):
        path = create_job(odd_rows_client, QUERY=query, RESPONSEFORMAT="csv", PHASE="RUN")
        run_next_job(site, policies=build_odd_rows_hidden_policies("number"))
        assert odd_rows_client.get(f"{path}/results/result").text.split() == ["n", found]
    path = create_job(odd_rows_client, QUERY="SELECT COUNT(*) AS n FROM secret.main", RESPONSEFORMAT="csv", PHASE="RUN")
    run_next_job(site, policies=build_odd_rows_hidden_policies("number"))
    assert odd_rows_client.get(f"{path}/phase").text == "ERROR"
    assert "no table 'secret.main'" in odd_rows_client.get(f"{path}/error").text


def test_a_join_with_an_upload_meets_no_hidden_row(client: Client, odd_rows_client: Client) -> None:  # noqa: F811  (the fixture)
    text = "SELECT u.k, s.number FROM TAP_UPLOAD.mine AS u LEFT JOIN stars.main AS s ON s.id = u.k ORDER BY u.k"
    files = {"mine": b"k\ns6\ns7\ns8\n"}
    assert json.loads(send(client, text, files, RESPONSEFORMAT="json").body)["data"] == [
        ["s6", 6],
        ["s7", 7],
        ["s8", 8],
    ]
    assert json.loads(send(odd_rows_client, text, files, RESPONSEFORMAT="json").body)["data"] == [
        ["s6", 6],
        ["s7", None],
        ["s8", 8],
    ]


def test_functions_that_are_computed_here_meet_no_hidden_row(client: Client, odd_rows_client: Client) -> None:  # noqa: F811  (the fixture)
    """The detour is given the rows that one may see, and no condition looks at others."""
    for text in (
        "SELECT number FROM stars.main WHERE IVO_HASHLIST_HAS(id, 's7') = 1 AND MOC(3, CIRCLE(ra, dec, 1)) IS NOT NULL",
        "SELECT number FROM stars.main WHERE id = 's7' AND MOC(3, CIRCLE(ra, dec, 1)) IS NOT NULL",
    ):
        assert fetch_rows(client, text) == [[7]]
        assert fetch_rows(odd_rows_client, text) == []
    # CAST fails for every row: who sees some of them learns of an error for those alone, and not of which value
    text = "SELECT COUNT(*) AS n FROM stars.main WHERE number > {} AND CAST(id AS INTEGER) > 0"
    assert fetch_rows(odd_rows_client, text.format(1998)) == [[0]]
    failed = odd_rows_client.get("/tap/sync", LANG="ADQL", QUERY=text.format(1996))
    assert failed.status == 400
    assert "s199" not in failed.text


def test_estimates_are_not_told_to_those_from_whom_rows_are_hidden(client: Client, odd_rows_client: Client) -> None:  # noqa: F811  (the fixture)
    given = {"LANG": "ADQL", "QUERY": "SELECT id FROM stars.main WHERE number < 500", "EXPLAIN": "true"}
    assert "PostgreSQL expects about" in client.get("/tap/sync", **given).text
    assert "estimate" not in odd_rows_client.get("/tap/sync", **given).text


def test_what_is_said_of_tables_tells_nothing_of_hidden_rows(
    client: Client,
    odd_rows_client: Client,  # noqa: F811
    owner: Client,  # noqa: F811
) -> None:
    """VOSI tables have the columns for all, and numbers of rows for who sees all of them, if for anybody."""
    for path in ("/tap/tables", "/tap/tables/stars.main"):
        for reader in (client, odd_rows_client, owner):
            found = etree.fromstring(reader.get(path).body)
            names = {column.findtext("name") for column in found.iter("{*}column")}
            assert {column.name for column in COLUMNS} <= names
        assert "2000" not in odd_rows_client.get(path).text
    for reader in (client, odd_rows_client):
        assert reader.get("/tap/tables/secret.main").status == 404
    for path in ("/", "/collections/stars"):
        assert "2000" not in list_shown_numbers(odd_rows_client, path)
        assert list_shown_numbers(odd_rows_client, path) <= {"1000"}
