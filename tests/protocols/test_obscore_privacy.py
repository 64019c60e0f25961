"""Rows that a policy or a private collection hides never show through ivoa.obscore: every channel, one by one."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from asgi_client import Client

from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.jobs._worker import run_next_job
from hven.model.settings import Settings
from hven.site import Site
from hven.site.auth._access_control import OWNER_PRINCIPAL
from hven.testing.policies import build_odd_rows_hidden_policies

POLICIES = build_odd_rows_hidden_policies("n")
ROWS = 200
# seen: `n` even, in the northern sky; hidden: odd, in the southern one, with words and numbers that nothing seen has
DESCRIPTOR = """\
collection: {name}
title: {title}
access: {access}
tables:
  main:
    source: {{kind: parquet, files: rows.parquet}}
    primary: ident
    columns:
      ident: {{type: string, description: Name}}
      ra: {{type: float64, unit: deg, ucd: pos.eq.ra;meta.main, description: RA}}
      dec: {{type: float64, unit: deg, ucd: pos.eq.dec;meta.main, description: Dec}}
      kind: {{type: string, description: Kind}}
      n: {{type: int32, description: Number}}
    obscore:
      set: {{dataproduct_type: image, calib_level: 2}}
      map:
        target_name: kind
        {column}: n
        s_region: "'Circle ICRS ' || CAST(ra AS VARCHAR) || ' ' || CAST(dec AS VARCHAR) || ' 0.1'"
      columns: {{{column}: {{type: int32, description: {about}}}}}
"""


def rows(name: str) -> bytes:
    n = np.arange(ROWS)
    made = np.random.default_rng(1)
    odd = n % 2 == 1
    table = pa.table(
        {
            "ident": [
                f"{name}{'xyzzy' if hidden else ''}{number}"
                for number, hidden in zip(n.tolist(), odd.tolist(), strict=True)
            ],
            "ra": made.uniform(0, 360, ROWS),
            "dec": np.where(odd, made.uniform(-60, -30, ROWS), made.uniform(30, 60, ROWS)),
            "kind": np.where(odd, "xyzzy", "seen").tolist(),
            "n": pa.array(n, pa.int32()),
        }
    )
    file = io.BytesIO()
    pq.write_table(table, file)
    return file.getvalue()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("hidden")
    for name, access, column, about, title in (
        ("shown", "public", "number", "A number", "Images for all"),
        ("plugh", "private", "plugh_depth", "Depth of plugh", "Plugh"),
    ):
        place = directory / "collections" / name
        place.mkdir(parents=True)
        (place / f"{name}.yaml").write_text(
            DESCRIPTOR.format(name=name, access=access, column=column, about=about, title=title)
        )
        (place / "rows.parquet").write_bytes(rows(name))
    with Site(Settings(directory=directory, authority="ohp.fr"), watch_for_changes=False) as made:
        for name in ("shown", "plugh"):
            ingest_collection(made, name)
        made.refresh_published_state()
        yield made


@pytest.fixture(scope="module")
def half(site: Site) -> Client:
    return Client(create_and_start_application(site, policies=POLICIES))


@pytest.fixture(scope="module")
def owner(site: Site) -> Client:
    return Client(create_and_start_application(site, policies=POLICIES, identify_principal=lambda _: OWNER_PRINCIPAL))


def table(client: Client, query: str, path: str = "/tap/sync") -> list[list[object]]:
    answer = client.get(path, LANG="ADQL", RESPONSEFORMAT="json", QUERY=query)
    assert answer.status == 200, answer.text
    return list(json.loads(answer.body)["data"])


def clean(text: str) -> None:
    """Find no word of what is hidden."""
    assert not re.search("xyzzy|plugh", text, re.IGNORECASE), re.search(".*(?:xyzzy|plugh).*", text, re.IGNORECASE)


QUERIES = [
    "SELECT * FROM ivoa.obscore",
    "SELECT * FROM ivoa.obscore WHERE s_dec < 0 OR target_name = 'xyzzy'",
    "SELECT * FROM ivoa.obscore WHERE obs_publisher_did = 'ivo://ohp.fr/shown?shownxyzzy7'",
    "SELECT * FROM ivoa.obscore WHERE obs_collection = 'plugh'",
    "SELECT * FROM ivoa.obscore WHERE 1 = CONTAINS(POINT(s_ra, s_dec), CIRCLE(180, -90, 70))",
    "SELECT * FROM ivoa.obscore WHERE 1 = INTERSECTS(s_region, CIRCLE(180, -90, 70))",
    "SELECT * FROM ivoa.obscore WHERE number = 7",
    "SELECT a.* FROM ivoa.obscore AS a JOIN ivoa.obscore AS b ON a.obs_id = b.obs_id WHERE b.s_dec < 0",
    "SELECT MIN(s_dec) AS a, MAX(obs_id) AS b, MAX(number) AS n FROM ivoa.obscore HAVING MIN(s_dec) < 0 OR MAX(number) > 198",
    "SELECT target_name, COUNT(*) AS n FROM ivoa.obscore GROUP BY target_name HAVING COUNT(*) <> 100",
    "SELECT TOP 5 * FROM ivoa.obscore WHERE MOD(number, 2) = 1 ORDER BY obs_publisher_did DESC",
]


@pytest.mark.parametrize("query", QUERIES)
def test_sync(half: Client, owner: Client, query: str) -> None:
    found = table(half, query)
    clean(json.dumps(found))
    assert len(found) == (100 if query == QUERIES[0] else 0)
    assert "HAVING" in query or table(owner, query)


@pytest.mark.parametrize("form", ["votable", "csv", "fits", "parquet", "arrow", "tsv", "html"])
def test_sync_in_every_format(half: Client, form: str) -> None:
    answer = half.get(
        "/tap/sync", LANG="ADQL", RESPONSEFORMAT=form, QUERY="SELECT obs_id, target_name, s_dec FROM ivoa.obscore"
    )
    if answer.status == 200:
        clean(answer.body.decode("latin-1"))


def test_counts(half: Client, owner: Client) -> None:
    for query in (
        "SELECT COUNT(*) AS n FROM ivoa.obscore",
        "SELECT COUNT(obs_id) AS n FROM ivoa.obscore WHERE calib_level = 2",
        "SELECT COUNT(*) AS n FROM ivoa.obscore WHERE 1 = CONTAINS(POINT(s_ra, s_dec), CIRCLE(0, 0, 180))",
        "SELECT COUNT(DISTINCT obs_publisher_did) AS n FROM ivoa.obscore",
    ):
        assert table(half, query) == [[100]]
        assert table(owner, query) == [[2 * ROWS]]


@pytest.mark.parametrize("query", QUERIES[:4])
def test_async(site: Site, half: Client, query: str) -> None:
    answer = half.post("/tap/async", LANG="ADQL", QUERY=query, RESPONSEFORMAT="csv", PHASE="RUN")
    path = answer.headers["location"].removeprefix("http://vo.example")
    assert run_next_job(site, policies=POLICIES)
    assert half.get(f"{path}/phase").text.strip() == "COMPLETED"
    result = half.get(f"{path}/results/result")
    lines = result.text.splitlines()
    clean("\n".join(lines[1:]))
    assert len(lines) - 1 == (100 if query == QUERIES[0] else 0)


def test_cone(half: Client, owner: Client) -> None:
    """The members' own cones, and one over the union if there is one."""
    for name in ("shown.main", "ivoa.obscore"):
        answer = half.get(f"/cone/{name}", RA=180, DEC=-90, SR=70, VERB=3, RESPONSEFORMAT="csv")
        assert answer.status == 404 or len(answer.text.splitlines()) == 1
        clean("\n".join(answer.text.splitlines()[1:]))
    assert len(owner.get("/cone/shown.main", RA=180, DEC=-90, SR=70, RESPONSEFORMAT="csv").text.splitlines()) == 101
    assert half.get("/cone/plugh.main", RA=180, DEC=-90, SR=70).status == 404


METADATA = [
    "/", "/collections/shown", "/collections/ivoa", "/health", "/tap/tables", "/tap/tables?detail=min", "/tap/tables/ivoa.obscore", "/tap/tables/shown.main",
    "/tap/capabilities", "/tap/examples", "/tap/availability",
]  # fmt: skip


def test_the_address_of_a_schema_without_descriptor_leads_to_its_table(half: Client) -> None:
    answer = half.get("/collections/ivoa")
    assert answer.status == 303
    assert answer.headers["location"].endswith("/collections/ivoa/obscore")
    assert half.get("/collections/ivoa/obscore").status == 200
    assert half.get("/collections/nothing").status == 404


@pytest.mark.parametrize("path", METADATA)
def test_pages_and_documents(half: Client, path: str) -> None:
    answer = half.get(path)
    clean(answer.text)
    assert not re.search(r"\b(200|400|300)</b> rows", answer.text)
    assert "nrows" not in answer.text or f"<nrows>{ROWS}</nrows>" not in answer.text


@pytest.mark.parametrize(
    "path",
    [
        "/tables/ivoa.obscore",
        "/tables/shown.main",
        "/collections/plugh",
        "/tables/plugh.main",
        "/tap/tables/plugh.main",
    ],
)
def test_pages_of_tables(half: Client, path: str) -> None:
    answer = half.get(path)
    # what was asked for may be said again
    clean(re.sub("plugh(?:.main)?", "", answer.text) if "plugh" in path else answer.text)
    if "plugh" in path:
        assert answer.status == 404


def test_tap_schema(half: Client, owner: Client) -> None:
    """Not even the name of a column that only a hidden collection gives."""
    for name in ("schemas", "tables", "columns", "keys", "key_columns"):
        clean(json.dumps(table(half, f"SELECT * FROM TAP_SCHEMA.{name}")))
    query = "SELECT column_name FROM TAP_SCHEMA.columns WHERE table_name = 'ivoa.obscore' AND std = 0"
    assert ["number"] in table(half, query)
    assert ["plugh_depth"] in table(owner, query)


def test_explain(half: Client) -> None:
    for query in (
        "SELECT * FROM ivoa.obscore",
        "SELECT * FROM ivoa.obscore WHERE 1 = CONTAINS(POINT(s_ra, s_dec), CIRCLE(10, -45, 30))",
    ):
        answer = half.get("/tap/sync", LANG="ADQL", QUERY=query, EXPLAIN="true")
        assert answer.status == 200
        clean(answer.text)


FAULTS = [
    "SELECT plugh_depth FROM ivoa.obscore",
    "SELECT plugh_dept FROM ivoa.obscore",
    "SELECT numbers FROM ivoa.obscore",
    "SELECT * FROM plug.main",
    "SELECT 1 / (number - 7) AS x FROM ivoa.obscore",
    "SELECT CAST(target_name AS INTEGER) AS x FROM ivoa.obscore WHERE target_name <> 'seen'",
    "SELECT CAST(REPLACE(obs_id, 'shown', '') AS INTEGER) AS x FROM ivoa.obscore",
    "SELECT SQRT(s_dec) AS x FROM ivoa.obscore",
]


@pytest.mark.parametrize("query", FAULTS)
def test_errors(half: Client, query: str) -> None:
    """No error names, or comes from, what is hidden."""
    answer = half.get("/tap/sync", LANG="ADQL", RESPONSEFORMAT="csv", QUERY=query)
    told = answer.text.replace("plugh_depth", "").replace("plugh_dept", "") if "plugh" in query else answer.text
    clean(told)
    assert answer.status == (400 if query in FAULTS[:4] else 200), answer.text


def test_what_one_reader_saw_is_not_anothers(half: Client, owner: Client) -> None:
    query = "SELECT COUNT(*) AS n FROM ivoa.obscore"
    assert [table(client, query)[0][0] for client in (owner, half, owner, half)] == [400, 100, 400, 100]
    raw = b"LANG=ADQL&QUERY=SELECT+COUNT(*)+AS+n+FROM+ivoa.obscore"
    tag = owner.ask("GET", "/tap/sync", raw).headers["etag"]
    assert half.ask("GET", "/tap/sync", raw, headers={"if-none-match": tag}).status == 200


def test_examples_lie_where_there_is_something_to_see(half: Client) -> None:
    """An example around a place is made from the coverage, which knows the hidden rows."""
    text = half.get("/tap/examples").text
    clean(text)
    for lat in re.findall(r"DISTANCE\([^,]+, [^,]+, [-\d.]+, ([-\d.]+)\)", text):
        assert float(lat) > 0
