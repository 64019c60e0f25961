"""What a request held is free at its end: nothing of it waits for the collector, which comes when it likes, and holds the interpreter meanwhile."""

from __future__ import annotations

import gc
import types
from collections.abc import Iterator
from typing import Any

import pytest
from asgi_client import Client
from star_tables import TABLES
from upload_requests import build_upload_table, send, votable

from hven.app._server import create_and_start_application
from hven.testing.site import open_tiny_site

LONG = ",".join(map(str, range(200)))
PAIRS = " OR ".join(f"(ra = {n} AND dec = {n}.5)" for n in range(100))
BROKEN = b"<VOTABLE><RESOURCE>" + b"<INFO name='a' value='b'/>" * 1000 + b"<TABLE></RESOURCE>"


def build_query_call(query: str, form: str = "csv", **params: Any) -> Any:
    return lambda client: client.post("/tap/sync", LANG="ADQL", QUERY=query, RESPONSEFORMAT=form, **params)


WAYS: dict[str, Any] = {
    "rows": build_query_call("SELECT * FROM stars.main"),
    "VOTable": build_query_call("SELECT * FROM stars.main", "votable"),
    "a wrong word": build_query_call("SELEKT ra FROM stars.main"),
    "an unknown column": build_query_call("SELECT nothing FROM stars.main"),
    "too many words": build_query_call(f"SELECT {'+'.join(['1'] * 60_000)} FROM stars.main"),
    "an error while it runs": build_query_call("SELECT SQRT(-1 - ra) / 0 FROM stars.main"),
    "a list": build_query_call(f"SELECT ra FROM stars.main WHERE ra IN ({LONG})"),
    "a list of two kinds": build_query_call(f"SELECT ra FROM stars.main WHERE ra IN ({LONG}, 1.5)"),
    "pairs": build_query_call(f"SELECT ra FROM stars.main WHERE {PAIRS}"),
    "a join": build_query_call("SELECT a.ra FROM stars.main AS a JOIN stars.main AS b ON a.id = b.id JOIN stars.main AS c ON b.id = c.id"),
    "a neighbourhood": build_query_call("SELECT a.ra FROM stars.main AS a JOIN stars.main AS b ON DISTANCE(a.ra, a.dec, b.ra, b.dec) < 0.1"),
    "groups": build_query_call("WITH a AS (SELECT ra, COUNT(*) AS n FROM stars.main GROUP BY ra) SELECT * FROM a WHERE n IN (SELECT 1 FROM a) ORDER BY n"),
    "a plan": build_query_call("SELECT ra FROM stars.main", EXPLAIN="true"),
    "a cone": lambda client: client.get("/cone/stars.main", RA="1", DEC="1", SR="1"),
    "a wrong cone": lambda client: client.get("/cone/stars.main", RA="x", DEC="1", SR="1"),
    "an address that is none": lambda client: client.get("/nothing/of/it"),
    "a page": lambda client: client.get("/"),
    "a wrong log-in": lambda client: client.post("/login", user="anna", password="x"),
    "a job": lambda client: client.post("/tap/async", LANG="ADQL", QUERY="SELECT 1 AS n FROM stars.main"),
    "a job that is none": lambda client: client.get("/tap/async/none"),
    "a form that is none": lambda client: client.ask("POST", "/tap/sync", body=b"a=%ff", headers={"content-type": "application/x-www-form-urlencoded"}),
    "an upload": lambda client: send(client, "SELECT COUNT(*) AS n FROM TAP_UPLOAD.t", {"t": votable(build_upload_table())}),
    "a broken upload": lambda client: send(client, "SELECT COUNT(*) AS n FROM TAP_UPLOAD.t", {"t": BROKEN}),
    "two columns of one name": lambda client: send(client, "SELECT COUNT(*) AS n FROM TAP_UPLOAD.t", {"t": b"a,a\n1,2\n"}),
    "no table": lambda client: send(client, "SELECT COUNT(*) AS n FROM TAP_UPLOAD.t", {"t": b"SIMPLE  =                    T"}),
    "CSV": lambda client: send(client, "SELECT a FROM TAP_UPLOAD.t", {"t": b"a,b\n1,2\n"}),
}  # fmt: skip


def name_type(one: object) -> str:
    if isinstance(one, types.FrameType):
        return f"frame of {one.f_code.co_filename.rpartition('/')[2]}:{one.f_code.co_name}"
    return f"{type(one).__module__}.{type(one).__qualname__}"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Give a client of a site that jobs are written to."""
    with open_tiny_site(tmp_path_factory.mktemp("site"), TABLES) as site:
        yield Client(create_and_start_application(site))


@pytest.fixture(scope="module", autouse=True)
def frozen(client: Client) -> Iterator[None]:
    for way in WAYS.values():  # what is kept is made
        way(client)
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
    gc.collect()
    gc.freeze()  # as it was: see conftest


@pytest.mark.parametrize("name", WAYS)
def test_nothing_waits_for_the_collector(name: str, client: Client) -> None:
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        WAYS[name](client)
        gc.collect()
        left = {name_type(one) for one in gc.garbage}
        trees = [one for one in gc.garbage if name_type(one) == "lxml.etree._Element"]
        elements = sum(1 for one in trees for _ in one.iter())
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert not {one for one in left if one.startswith(("hven.", "frame of", "pyarrow.", "_duckdb."))}
    assert elements < 20  # lxml's parser and what is open keep each other
