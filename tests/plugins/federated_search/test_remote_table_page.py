"""The page of a table of another service: rows, columns, order and keys as on the page of the table at its own site."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyarrow as pa
import pytest
from asgi_client import Client
from remote_servers import serve_pictures, serve_site
from test_portal_everywhere import rows, table

from hven.app._server import create_and_start_application
from hven.model.settings import RemoteTapService
from hven.model.table import Column, Table
from hven.model.types import FLOAT64, STRING
from hven.plugins.federated_search import remote_products, remote_queries, remote_table_rows
from hven.site import Site
from hven.sources.http_client import NoAnswerError
from hven.testing.site import open_tiny_site

NUMBER = 90
PAGE = "/search/epn/tables/good/far.epn_core"
OWN = "/collections/far/epn_core"
DATALINK = """<?xml version="1.0"?><VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE type="results">
<INFO name="QUERY_STATUS" value="OK"/><TABLE><FIELD name="ID" datatype="char" arraysize="*"/><FIELD name="access_url" datatype="char" arraysize="*"/>
<FIELD name="service_def" datatype="char" arraysize="*"/><FIELD name="semantics" datatype="char" arraysize="*"/>
<FIELD name="description" datatype="char" arraysize="*"/><FIELD name="content_type" datatype="char" arraysize="*"/><FIELD name="content_length" datatype="long"/>
<DATA><TABLEDATA>
<TR><TD>a</TD><TD>https://x.example/cube.fits</TD><TD></TD><TD>#this</TD><TD>The cube</TD><TD>application/fits</TD><TD>2048</TD></TR>
<TR><TD>a</TD><TD>javascript:alert(1)</TD><TD></TD><TD>#preview</TD><TD>bad</TD><TD>image/png</TD><TD></TD></TR>
<TR><TD>a</TD><TD>https://x.example/%3Ci%3E.png</TD><TD></TD><TD>#preview</TD><TD></TD><TD>image/png</TD><TD></TD></TR>
<TR><TD>a</TD><TD></TD><TD>soda</TD><TD>#cutout</TD><TD>A part</TD><TD></TD><TD></TD></TR>
</TABLEDATA></DATA></TABLE></RESOURCE></VOTABLE>"""


@pytest.fixture(scope="module")
def documents() -> Iterator[tuple[str, list[str]]]:
    """DataLink documents of another server: a good one, a large one and none."""
    given = {"/links": (200, DATALINK.encode()), "/large": (200, bytes(3 << 20)), "/odd": (200, b"<html>")}
    with serve_pictures(given) as made:
        yield made


def describe_table() -> Table:
    own = (
        Column(name="olivine", type=FLOAT64, description="Its own column"),
        Column(name="access_format", type=STRING),
    )
    made = table("far")
    return made.copy_with(columns=(*made.columns, *own))


def list_values(address: str) -> pa.Table:
    ways = [f"{address}/links", f"{address}/large", f"{address}/odd"]
    plain = rows(table("far"), NUMBER)
    links = [ways[at % 3] if at < 3 else f"https://x.example/{at}" for at in range(NUMBER)]
    kinds = ["application/x-votable+xml;content=datalink" if at < 3 else "application/fits" for at in range(NUMBER)]
    plain = plain.set_column(plain.schema.get_field_index("access_url"), "access_url", pa.array(links))
    plain = plain.append_column("olivine", pa.array([(at * 37 % NUMBER) / NUMBER for at in range(NUMBER)]))
    return plain.append_column("access_format", pa.array(kinds))


@pytest.fixture(scope="module")
def remote_site(tmp_path_factory: pytest.TempPathFactory, documents: tuple[str, list[str]]) -> Iterator[Site]:
    tables = {"far.epn_core": (describe_table(), list_values(documents[0]))}
    with open_tiny_site(tmp_path_factory.mktemp("far"), tables) as made:
        yield made


@pytest.fixture(scope="module")
def own(remote_site: Site) -> Client:
    """The page of the table at its own site."""
    return Client(create_and_start_application(remote_site))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, remote_site: Site) -> Iterator[tuple[Client, list[str]]]:
    """A site that asks the other one, and the queries that the other one got."""
    hidden = table("hidden").copy_with(access="private")
    with contextlib.ExitStack() as stack:
        address, seen = stack.enter_context(serve_site(remote_site))
        service = RemoteTapService(
            name="good", title="The <i>other</i>", url=address, tables=("far.epn_core",), seconds=60.0
        )
        tables = {"hidden.epn_core": (hidden, rows(hidden, 3))}
        site = stack.enter_context(
            open_tiny_site(tmp_path_factory.mktemp("near"), tables, allow_private=True, remote=(service,))
        )
        yield Client(create_and_start_application(site)), seen


def read_json(client: Client, path: str, **parameters: object) -> dict[str, Any]:
    answer = client.get(path, **parameters)
    assert answer.status == 200, answer.text[:600]
    return json.loads(answer.body)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "search",
    [
        {"target_name": "Moon", "_sort": "granule_uid"},
        {"target_name": "Mars", "_sort": "-olivine", "_cols": "granule_uid,olivine,time_min"},
        {"olivine": "0.5..", "_sort": "olivine,-granule_uid", "_from": 7, "_size": 11},
        {"time": "2004-01-10..2004-02-01", "_sort": "time_min", "_cols": "time_min,time_max,c1min"},
        {"spectral_range": "1..5 um", "_unit.spectral_range_min": "THz", "_sort": "granule_uid", "_size": 5},
        {"_q": "far-1", "_sort": "-granule_uid"},
        {"target_name": "nothing", "_sort": "granule_uid"},
        {"target_name": "Mars", "_sort": "granule_uid", "_from": 58, "_size": 10},
    ],
)
def test_rows_are_those_of_the_page_at_its_own_site(
    pair: tuple[Client, list[str]], own: Client, search: dict[str, object]
) -> None:
    """The same address at both sites has the same rows, cells, keys, counts and page ends."""
    there = read_json(own, f"{OWN}/rows", **search)
    here = read_json(pair[0], f"{PAGE}/rows", **search)
    assert here["keys"] == there["keys"]
    assert (here["total"], here["more"], here["from"]) == (there["total"], there["more"], there["from"])

    # units that nobody chose follow the statistics of all rows, which a remote table lacks
    units = {column["name"]: column["unit"] for column in there["columns"]}
    names = [column["name"] for column in here["columns"] if units.get(column["name"]) == column["unit"]]
    assert len(names) >= min(len(here["columns"]), 3)

    def list_cells(answer: dict[str, Any]) -> list[list[object]]:
        places = [[column["name"] for column in answer["columns"]].index(name) for name in names]
        return [[row[place] for place in places] for row in answer["rows"]]

    assert list_cells(here) == list_cells(there)
    assert here["faults"] == there["faults"] == []
    if "_cols" in search:
        assert here["drawn"] == str(search["_cols"]).split(",")


def test_pages_have_each_row_once_at_services_without_offset(
    pair: tuple[Client, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, _ = pair
    answer = remote_queries.query_tap_service

    def refuse_offset(service: object, adql: str, *rest: object, **options: object) -> object:
        if "OFFSET" in adql:
            raise remote_queries.RefusedQueryError("good: syntax error at OFFSET")
        return answer(service, adql, *rest, **options)  # type: ignore[arg-type]

    def list_keys() -> list[str]:
        pages = [
            read_json(client, f"{PAGE}/rows", target_name="Mars", _from=offset, _size=25)["keys"]
            for offset in (0, 25, 50)
        ]
        return [key for page in pages for key in page]

    with_offset = list_keys()
    assert len(with_offset) == len(set(with_offset)) == 60
    monkeypatch.setattr(remote_queries, "query_tap_service", refuse_offset)
    assert list_keys() == with_offset
    monkeypatch.setattr(remote_table_rows, "MAX_SKIPPED_ROWS", 40)
    refused = client.get(f"{PAGE}/rows", target_name="Mars", _from=50, _size=25)
    assert refused.status == 400
    assert "cannot skip rows" in refused.text
    assert "narrow the search" in refused.text


VOTABLE_ERROR = b"""<?xml version="1.0"?><VOTABLE version="1.3" xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE type="results">
<INFO name="QUERY_STATUS" value="ERROR">line 1: OFFSET is not expected</INFO></RESOURCE></VOTABLE>"""


@pytest.mark.parametrize(
    ("status", "body", "is_asked_again"),
    [
        (400, VOTABLE_ERROR, True),
        (400, b"no OFFSET here", True),
        (500, VOTABLE_ERROR, True),
        (200, VOTABLE_ERROR, True),
        (503, VOTABLE_ERROR, False),
        (500, b"<html>", False),
        (429, b"slower", False),
        (403, b"", False),
        (None, b"", False),
    ],
)
def test_the_status_of_an_answer_decides_whether_a_service_has_no_offset(
    pair: tuple[Client, list[str]],
    monkeypatch: pytest.MonkeyPatch,
    status: int | None,
    body: bytes,
    is_asked_again: bool,
) -> None:
    """A service that is slow or busy is not asked for more rows, and is not told to lack OFFSET."""
    client, _ = pair
    send_query = remote_queries.send_tap_query
    asked = []

    def answer_offset(service: RemoteTapService, adql: str, *rest: Any, **options: Any) -> tuple[int, bytes]:
        if "COUNT(" not in adql and "FROM far.epn_core" in adql:
            asked.append(adql)
        if "OFFSET" not in adql:
            return send_query(service, adql, *rest, **options)
        if status is None:
            raise NoAnswerError("good did not finish within 1 s")
        return status, body

    monkeypatch.setattr(remote_queries, "send_tap_query", answer_offset)
    answer = client.get(f"{PAGE}/rows", target_name="Mars", _from=50, _size=10, _sort="granule_uid")
    assert len(asked) == (2 if is_asked_again else 1)
    assert (answer.status == 200) == is_asked_again
    assert "cannot skip rows" not in answer.text


def test_queries_to_a_busy_service_wait_for_a_turn(
    pair: tuple[Client, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page of a remote table sends rows, choices and map at once, and the earlier ones when its order changes."""
    client, _ = pair
    count = 2 * remote_queries.MAX_QUERIES_PER_SERVICE
    running, most = 0, 0
    lock, are_full = threading.Lock(), threading.Event()
    stream_answer = remote_queries.http_client.stream_answer

    @contextlib.contextmanager
    def stream_late(*words: Any, **options: Any) -> Iterator[Any]:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
            if running == remote_queries.MAX_QUERIES_PER_SERVICE:
                are_full.set()
        assert are_full.wait(60)
        try:
            with stream_answer(*words, **options) as response:
                yield response
        finally:
            with lock:
                running -= 1

    monkeypatch.setattr(remote_queries.http_client, "stream_answer", stream_late)

    def ask_page(number: int) -> int:
        return client.get(f"{PAGE}/rows", target_name="Mars", _from=number, _size=1).status

    with ThreadPoolExecutor(count) as pool:
        assert set(pool.map(ask_page, range(count))) == {200}
    assert most == remote_queries.MAX_QUERIES_PER_SERVICE
    monkeypatch.setattr(remote_queries, "MAX_QUERIES_PER_SERVICE", 0)
    monkeypatch.setattr(remote_queries, "MAX_WAIT_SECONDS", 0.01)
    monkeypatch.setattr(remote_queries, "_semaphores", {})
    refused = client.get(f"{PAGE}/rows", target_name="Mars", _from=count, _size=1)
    assert refused.status == 503
    assert "is busy with other users' queries" in refused.text


@pytest.mark.parametrize("part", ["place", "names", "facets", "header", "else", "rows"])
def test_tables_that_are_not_searched_have_no_parts(pair: tuple[Client, list[str]], part: str) -> None:
    assert pair[0].get(f"{PAGE}/{part}", target_name="Mars").status == 200
    for path in (PAGE.replace("good", "none"), PAGE.replace("far.", "near."), PAGE.replace("epn/", "odd/")):
        answer = pair[0].get(f"{path}/{part}", target_name="Mars")
        assert answer.status == 404, path
        assert "remedy" in answer.text


def test_areas_and_polygons_are_conditions_of_remote_tables(pair: tuple[Client, list[str]], own: Client) -> None:
    """Conditions of packages are plain ADQL, which any service runs."""
    for condition in (
        ("_area", "time_min;olivine;0 0.1, 1e7 0.1, 1e7 0.6, 0 0.5"),
        ("_polygon", "0 0, 10 0, 5 9"),
    ):
        here = read_json(pair[0], f"{PAGE}/rows", _sort="granule_uid", **dict([condition]))
        there = read_json(own, f"{OWN}/rows", _sort="granule_uid", **dict([condition]))
        assert here["faults"] == there["faults"] == []
        assert (here["keys"], here["total"]) == (there["keys"], there["total"])
        assert here["total"] > 0


def test_the_page_works_without_scripts(pair: tuple[Client, list[str]]) -> None:
    client, _ = pair
    text = client.get(PAGE, target_name="Mars", _sort="-olivine").text
    assert "The &lt;i&gt;other&lt;/i&gt;" in text
    assert "&lt;b&gt;CAM&lt;/b&gt;" in text
    assert "<b>CAM" not in text
    assert "<i>other" not in text
    assert "<b>60</b>" in text.replace("\n", "").replace("      ", "")
    assert 'aria-sort="descending"' in text
    assert "_from=50" in text, "the next page"
    assert "FROM far.epn_core" in text, "the query"
    assert 'name="_cols" value="olivine"' in text, "the choice of columns"
    assert "stilts tapquery" in text
    assert "/collections/far" not in text, "no page of this site's own tables"
    second = client.get(PAGE, target_name="Mars", _sort="-olivine", _from=50).text
    assert second.count("<tr data-key=") == 10
    french = client.get(PAGE, target_name="Mars", lang="fr").text
    assert "Lignes d'un autre service" in french.replace("&#39;", "'")


def test_raw_names_are_switched_on_and_off(pair: tuple[Client, list[str]]) -> None:
    client, _ = pair
    assert (
        f'href="http://vo.example{PAGE}?target_name=Mars&amp;_names=raw"' in client.get(PAGE, target_name="Mars").text
    )
    raw = client.get(PAGE, target_name="Mars", _names="raw").text
    assert f'href="http://vo.example{PAGE}?target_name=Mars" data-names=""' in raw


def test_a_form_without_scripts_has_an_address_of_its_own(pair: tuple[Client, list[str]]) -> None:
    answer = pair[0].get(PAGE, target_name="Mars", olivine="0.2", **{"_to.olivine": "0.4", "lang": "fr"})
    assert answer.status == 303
    assert parse_qs(urlsplit(answer.headers["location"]).query) == {
        "target_name": ["Mars"],
        "olivine": ["0.2..0.4"],
        "lang": ["fr"],
    }


def test_rows_leave_from_their_own_service(pair: tuple[Client, list[str]], own: Client) -> None:
    """Downloads lead to the service, and its rows are those of the page, in the same order."""
    client, _ = pair
    listed = read_json(client, f"{PAGE}/rows", target_name="Moon", _sort="-olivine", _cols="granule_uid,olivine")
    answer = client.get(
        f"{PAGE}/download", target_name="Moon", _sort="-olivine", _cols="granule_uid,olivine", _as="csv"
    )
    assert answer.status == 303
    address = urlsplit(answer.headers["location"])
    got = own.ask("GET", f"/tap/sync?{address.query}").text.split()
    assert got[0] == "granule_uid,olivine"
    assert [json.dumps([line.split(",")[0]]) for line in got[1:]] == listed["keys"]
    marked = listed["keys"][3:6]
    answer = client.post(f"{PAGE}/download?target_name=Moon&_as=csv&_cols=granule_uid", _key=marked[0])
    assert answer.status == 200, "no form may lead to another site"
    assert [json.dumps([line]) for line in answer.text.split()[1:]] == marked[:1]
    assert "attachment" in answer.headers["content-disposition"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]
    offered = read_json(client, f"{PAGE}/take", target_name="Moon", _sort="-olivine", _keyed="1")
    assert offered["keys"] == listed["keys"], "programs that select a row name it by its number"
    assert offered["table"].startswith(offered["tap"])
    assert [one["name"] for one in offered["formats"]] == ["votable", "csv"]
    assert client.get(f"{PAGE}/download", target_name="Moon", _as="exe").status == 400
    assert client.get(f"{PAGE}/download", time="someday", target_name="Moon").status == 400


def test_a_row_has_all_columns_and_its_products(
    pair: tuple[Client, list[str]], documents: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, _ = pair
    told = read_json(client, f"{PAGE}/row", _row='["far-0"]')
    assert {column["name"] for column in told["columns"]} >= {"olivine", "access_format", "spectral_range_min"}
    assert [(link["text"], link["href"], link["semantics"], link["bytes"]) for link in told["links"]] == [
        ("The cube", "https://x.example/cube.fits", "this", 2048),
        ("<i>.png", "https://x.example/%3Ci%3E.png", "preview", None),
        ("DataLink", f"{documents[0]}/links", "", None),
    ], "no script, and services stay in the document"
    assert told["file"] == {"href": "https://x.example/cube.fits", "bytes": 2048}
    for number, reason in ((1, "bytes"), (2, "links cannot be read")):
        told = read_json(client, f"{PAGE}/row", _row=f'["far-{number}"]')
        (link,) = told["links"]
        assert reason in link["text"], link
        assert told["file"] is None
    told = read_json(client, f"{PAGE}/row", _row='["far-7"]')
    assert (told["links"], told["file"]) == ([], {"href": "https://x.example/7", "bytes": None})
    assert read_json(client, f"{PAGE}/row", _row='["no such row"]')["row"] is None
    assert read_json(client, f"{PAGE}/row", _row="x' OR 1=1")["row"] is None
    monkeypatch.setattr(remote_products, "MAX_LINKS", 1)
    assert len(read_json(client, f"{PAGE}/row", _row='["far-0"]')["links"]) == 2


def test_a_document_in_a_private_network_is_not_fetched(
    tmp_path: Any, pair: tuple[Client, list[str]], documents: tuple[str, list[str]]
) -> None:
    values = {"access_url": f"{documents[0]}/links", "access_format": "application/x-votable+xml;content=datalink"}
    documents[1].clear()
    with open_tiny_site(tmp_path, {}) as site:
        (link,) = remote_products.list_row_products(values, site, str)
    assert "not on the public internet" in link["text"]
    assert documents[1] == []


def test_whole_tables_and_unknown_tables_are_not_asked_for(pair: tuple[Client, list[str]]) -> None:
    client, seen = pair
    read_json(client, f"{PAGE}/rows", target_name="Moon")  # its columns are cached
    seen.clear()
    answer = client.get(PAGE)
    assert (answer.status, urlsplit(answer.headers["location"]).path) == (303, "/search/epn")
    for path in ("rows", "count", "take", "download"):
        refused = client.get(f"{PAGE}/{path}")
        assert refused.status == 400, path
        assert "no condition" in refused.text
    for path in (
        "/search/epn/tables/good/far.nothing",
        "/search/epn/tables/evil.example/far.epn_core",
        "/search/epn/tables/hidden/epn_core",
        "/search/obscore/tables/good/far.epn_core",
        "/search/ssa/tables/good/far.epn_core",
    ):
        assert client.get(f"{path}/rows", target_name="Moon").status == 404, path
    assert seen == []


def test_conditions_that_the_table_lacks_are_told(pair: tuple[Client, list[str]]) -> None:
    count = read_json(pair[0], f"{PAGE}/count", target_name="Mars", time="someday")
    assert [fault["field"] for fault in count["faults"]] == ["time"]
    assert count["total"] == 60
    assert [chip["name"] for chip in count["asked"]] == ["target_name"]


def test_a_table_is_counted_once_for_all_parts_of_its_page(pair: tuple[Client, list[str]]) -> None:
    client, seen = pair
    seen.clear()
    for path in ("count", "rows", "take"):
        read_json(client, f"{PAGE}/{path}", target_name="Venus", olivine="0.1..0.9")
    assert sum("COUNT" in body for body in seen) == 1


def test_the_search_over_all_tables_leads_there(pair: tuple[Client, list[str]]) -> None:
    client, _ = pair
    line = read_json(client, "/search/epn/ask", target_name="Moon", _of="good/far.epn_core")
    assert urlsplit(line["rows_url"]).path == PAGE
    assert {urlsplit(row["table"]).path for row in line["answer"]["rows"]} == {PAGE}
    assert line["answer"]["rows"][0]["row"] == '["far-2"]'
