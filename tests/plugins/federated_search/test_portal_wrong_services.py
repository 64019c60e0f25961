"""The form over all tables beside services that are wrong, each in its own way: each has its own line in words, and the others answer."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

import pytest
from asgi_client import Client
from test_portal_everywhere import rows, table

from hven.app._server import create_and_start_application
from hven.model.errors import StorageError
from hven.model.settings import RemoteTapService
from hven.plugins.federated_search import global_search, remote_queries
from hven.portal._explore.page_queries import QueryRunner
from hven.site import Site
from hven.testing.site import open_tiny_site

Said = tuple[int, dict[str, str], bytes]
HEAD = (
    '<?xml version="1.0"?><VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE type="results">'
)
OK = '<INFO name="QUERY_STATUS" value="OK"/>'
COLUMNS = [
    (column.name, "VARCHAR(*)" if column.type.is_string else "DOUBLE", column.unit or "")
    for column in table("far").columns
]
SHOWN = global_search.SHOWN_COLUMNS["epn"]


def votable(fields: str, *cells: tuple[object, ...], info: str = OK) -> bytes:
    kinds = {
        "c": 'datatype="char" arraysize="*"',
        "d": 'datatype="double"',
        "l": 'datatype="long"',
        "a": 'datatype="double" arraysize="2"',
    }
    named = "".join(
        f'<FIELD name="{name}" {kinds[kind]}/>' for name, _, kind in (field.partition(":") for field in fields.split())
    )
    told = "".join("<TR>" + "".join(f"<TD>{value}</TD>" for value in row) + "</TR>" for row in cells)
    return f"{HEAD}{info}<TABLE>{named}<DATA><TABLEDATA>{told}</TABLEDATA></DATA></TABLE></RESOURCE></VOTABLE>".encode()


def right(query: str) -> bytes:
    """Answer as a service does that is right."""
    if "TAP_SCHEMA" in query:
        listed = [("a.epn_core", name, kind, "", unit, "") for name, kind, unit in COLUMNS]
        return votable("table_name:c column_name:c datatype:c xtype:c unit:c ucd:c", *listed)
    if "COUNT" in query.upper():
        return votable("n:l", (7,))
    kinds = {name: kind for name, kind, _ in COLUMNS}
    fields = " ".join(f"{name}:{'d' if kinds[name] == 'DOUBLE' else 'c'}" for name in SHOWN if name in kinds)
    return votable(fields, tuple(1 if field.endswith(":d") else "x" for field in fields.split()))


def plain(body: bytes, status: int = 200, **headers: str) -> Said:
    return status, {"Content-Type": "application/x-votable+xml", **headers}, body


def spoil_queries_with(part: str, body: bytes, status: int = 200) -> object:
    """Be wrong where a query has `part` in it, and right elsewhere."""
    return lambda query: plain(body, status) if part in query else plain(right(query))


ERROR = votable("x:c", info='<INFO name="QUERY_STATUS" value="ERROR">no table a.epn_core</INFO>')
WRONG: dict[str, tuple[object, str]] = {  # how it answers; words of what is told
    "columns": (votable("schema_name:c description:c", ("a", "b")), "contains no values for 'table_name'"),
    "nulls": (votable("table_name:c column_name:c datatype:c", ("", "", "")), "contains no values for"),
    "other": (votable("table_name:c column_name:c datatype:c", ("b.epn_core", "x", "INT")), "no table 'a.epn_core'"),
    "nameless": (votable(""), "no table 'a.epn_core'"),
    "page": (b"<html><body>It works!", "without a VOTable"),
    "empty": (b"", "without a VOTable"),
    "cut": (right("TAP_SCHEMA")[:-200], "ends in the middle"),
    "error": (ERROR, "no table a.epn_core"),
    "failing": ((500, {}, b"Internal Server Error"), "returned status 500"),
    "failing-well": ((500, {}, right("TAP_SCHEMA")), "returned status 500"),
    "around": ((302, {"Location": "/around/tap/sync"}, b""), "redirects too many times"),
    "astray": ((302, {"Location": "http://[bad"}, b""), "which is not an address"),
    "abroad": ((302, {"Location": "file:///etc/passwd"}, b""), "not an http or https address"),
    "huge": (b"<VOTABLE>" + b" " * 1000, "more than 300,000 bytes"),  # sent for ever
    "packed": ((200, {"Content-Encoding": "gzip"}, b"no gzip at all"), "was lost"),
    "brotli": ((200, {"Content-Encoding": "br"}, b"x"), "which Hven did not request"),
    "bytes": (right("TAP_SCHEMA").replace(b"granule_uid", b"gran\xff\xfe\xe9"), "not UTF-8"),
    "encoded": (b'<?xml version="1.0" encoding="klingon"?>' + right("TAP_SCHEMA")[21:], "klingon"),
    "entities": (b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "c">]><VOTABLE>&b;</VOTABLE>', "entities"),
    "uncounted": (spoil_queries_with("COUNT", votable("n:c", ("many",))), "its response to a count query contains no number"),
    "uncountable": (spoil_queries_with("COUNT", votable("n:d", ("+Inf",))), "its response to a count query contains no number"),
    "negative": (spoil_queries_with("COUNT", votable("n:l", (-1,))), "its response to a count query contains no number"),
    "countless": (spoil_queries_with("COUNT", votable("n:l")), "its response to a count query contains no number"),
    "listed": (spoil_queries_with("COUNT", votable("n:a", ("1 2",))), "its response to a count query contains no number"),
    "rowless": (spoil_queries_with("TOP", votable("granule_uid:c", ("x",))), "lacks the requested columns: target_name"),
    "mistyped": (spoil_queries_with("TOP", right("TOP").replace(b"<TD>1</TD>", b"<TD>one</TD>")), "one"),
}  # fmt: skip
ODD = {  # strange, and yet an answer
    "typed": spoil_queries_with("TOP", votable(" ".join(f"{name.upper()}:{'a' if name.startswith(('c', 't')) else 'c'}" for name in SHOWN), tuple("1 2" for _ in SHOWN))),
    "many": spoil_queries_with("TOP", votable(" ".join(f"{name}:c" for name in SHOWN), *[("<i>x</i>".replace("<", "&lt;"),) * len(SHOWN)] * 500)),
    "shouting": lambda query: plain(right(query).replace(b'name="table_name"', b'name="TABLE_NAME"').replace(b'name="ucd"', b'name="OTHER"')),
}  # fmt: skip


class Face(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        query = parse_qs(self.rfile.read(int(self.headers.get("Content-Length", 0))).decode())["QUERY"][0]
        name = self.path.split("/")[1]
        given = WRONG[name][0] if name in WRONG else ODD.get(name, lambda query: plain(right(query)))
        status, headers, body = given(query) if callable(given) else plain(given) if isinstance(given, bytes) else given
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        if name != "huge":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        try:
            self.wfile.write(body)
            while name == "huge":
                self.wfile.write(body)
        except OSError:
            self.close_connection = True  # nobody listens any more, which was to be

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture(scope="module")
def wrong_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Face)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    remote = tuple(
        RemoteTapService(
            name=name, url=f"http://127.0.0.1:{server.server_port}/{name}/tap", tables=("a.epn_core",), seconds=60.0
        )
        for name in (*WRONG, *ODD, "good")
    )
    one, two = table("one"), table("two")
    tables = {"one.epn_core": (one, rows(one, 30)), "two.epn_core": (two, rows(two, 30))}
    with open_tiny_site(tmp_path_factory.mktemp("wrong"), tables, allow_private=True, remote=remote) as made:
        yield made
    server.shutdown()
    server.server_close()


@pytest.fixture
def search_client(wrong_site: Site, monkeypatch: pytest.MonkeyPatch) -> Client:
    monkeypatch.setattr(global_search, "SEARCH_TIMEOUT_SECONDS", 100.0)
    monkeypatch.setattr(remote_queries, "MAX_RESPONSE_BYTES", 300_000)
    return Client(create_and_start_application(wrong_site))


def test_each_wrong_service_has_its_own_line_and_the_others_answer(search_client: Client) -> None:
    answer = search_client.ask(
        "GET", "/search/epn?target_name=Mars&_wait=1&_of=*", headers={"accept": "application/json"}
    )
    assert answer.status == 200, answer.text[:2000]
    told = json.loads(answer.body)
    lines = {line["key"].partition("/")[0]: line for line in told["lines"]}
    for name, (_, words) in WRONG.items():
        assert lines[name]["status"] == "failed", lines[name]
        assert words in lines[name]["message"], (name, lines[name]["message"])
        assert "Error)" not in lines[name]["message"], "in words, not by the name of a class"
    for name in ("good", *ODD):
        assert (lines[name]["status"], lines[name]["rows"]) == ("ok", 7), lines[name]
    assert lines["one.epn_core"]["rows"] == 20
    seen = [row["from"] for row in told["answer"]["rows"]]
    assert {"good", *ODD, "one.epn_core", "two.epn_core"} == set(seen), "and their rows are shown"
    assert seen.count("many") == global_search.MAX_SHARED_TABLE_ROWS
    page = search_client.ask("GET", "/search/epn?target_name=Mars&_wait=1&_of=*")
    assert page.status == 200
    assert "<i>x" not in page.text


def test_a_fault_that_nobody_thought_of_is_a_line_too(
    search_client: Client, wrong_site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Of a service elsewhere, and of a table here."""
    well = remote_queries.query_tap_service
    monkeypatch.setattr(
        remote_queries,
        "query_tap_service",
        lambda service, *rest, **named: {}["x"] if service.name == "good" else well(service, *rest, **named),
    )
    count = QueryRunner.fetch_number

    def number(self: QueryRunner, query: object, **rest: float) -> int:
        if "one" in global_search.write_adql(query):  # type: ignore[arg-type]
            raise ZeroDivisionError
        return count(self, query, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(QueryRunner, "fetch_number", number)
    answer = search_client.ask("GET", "/search/epn?target_name=Moon&_wait=1", headers={"accept": "application/json"})
    lines = {line["key"].partition("/")[0]: line for line in json.loads(answer.body)["lines"]}
    for name, kind in (("good", "KeyError"), ("one.epn_core", "ZeroDivisionError")):
        assert lines[name]["status"] == "failed"
        assert lines[name]["message"] == f"its response cannot be used ({kind})"
    assert (lines["two.epn_core"]["rows"], lines["many"]["rows"]) == (10, 7)
    assert "good/a.epn_core could not be queried" in caplog.text, "and the log has where it was"


def test_a_field_is_completed_from_the_tables_that_answer(
    search_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    well = global_search.column_values.count_facet

    def facet(search: global_search.TableSearch, *rest: object, **options: object) -> object:
        if search.table.schema == "one":
            raise StorageError("its file is gone")
        return well(search, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(global_search.column_values, "count_facet", facet)
    found = json.loads(search_client.ask("GET", "/search/epn/facets?_of=target_name&_like=mars").body)["facets"][0][
        "choices"
    ]
    assert found[0] == {"value": "Mars", "label": "Mars", "rows": 20}
