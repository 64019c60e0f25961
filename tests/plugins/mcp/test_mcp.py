"""`/mcp` answers clients of both eras, with the rights of their users, and never hides that rows are missing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from asgi_client import Answer, Client
from mcp_requests import call, send

from hven.app._server import create_and_start_application
from hven.model.table import Column, Table
from hven.plugins.mcp.json_rpc import MODERN_VERSION
from hven.plugins.mcp.service import TOOLS
from hven.plugins.mcp.tools import ToolContext
from hven.query.resolver import AmbiguousObjectNameError, ResolvedName
from hven.services.face import ServiceContext
from hven.site import Site
from hven.site.auth import ANONYMOUS_PRINCIPAL, Principal
from hven.testing.site import open_site_with_uningested_files

DESCRIPTOR = """\
collection: stars
title: Bright stars
description: Stars that an eye can see
licence: CC-BY-4.0
creators: [{name: Brahe}]
tables:
  main:
    description: One row for each star
    primary: id
    position: [ra, dec]
    columns:
      id: {type: int32, ucd: meta.id;meta.main, description: number}
      ra: {type: float64, unit: deg, ucd: pos.eq.ra;meta.main}
      dec: {type: float64, unit: deg, ucd: pos.eq.dec;meta.main}
    source: {kind: csv, files: stars.csv}
  hidden:
    access: private
    columns: {secret: {type: string}}
    source: {kind: csv, files: hidden.csv}
"""
VIEW_DESCRIPTOR = f"""{DESCRIPTOR}  near:
    view: SELECT id, ra, dec FROM stars.main WHERE dec < 10
"""
FILES = {
    "stars.csv": "id,ra,dec\n" + "".join(f"{number},{number / 10},0.0\n" for number in range(200)),
    "hidden.csv": "secret\nzq\n",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    from hven.ingest.api.runs import ingest_collection

    with open_site_with_uningested_files(tmp_path_factory.mktemp("mcp"), DESCRIPTOR, FILES) as opened:
        ingest_collection(opened, "stars")
        yield opened


@pytest.fixture
def client(site: Site) -> Client:
    return Client(create_and_start_application(site))


def test_a_modern_client_discovers_and_lists(client: Client) -> None:
    discovered = json.loads(send(client, "server/discover").body)["result"]
    assert discovered["supportedVersions"][0] == MODERN_VERSION
    assert discovered["capabilities"] == {"tools": {}}
    listed = json.loads(send(client, "tools/list").body)["result"]
    assert listed["resultType"] == "complete"
    assert [tool["name"] for tool in listed["tools"]] == list(TOOLS)
    for tool in listed["tools"]:
        for key in ("inputSchema", "outputSchema"):
            jsonschema.Draft202012Validator.check_schema(tool[key])
            assert tool[key]["type"] == "object"
        assert tool["annotations"]["readOnlyHint"] is True


def test_a_legacy_client_needs_no_session(client: Client) -> None:
    def ask(method: str, **params: Any) -> Answer:
        body = {"jsonrpc": "2.0", "id": "a", "method": method, "params": params}
        return client.ask("POST", "/mcp", body=json.dumps(body).encode())

    answer = ask("initialize", protocolVersion="2025-06-18", capabilities={}, clientInfo={"name": "x", "version": "1"})
    result = json.loads(answer.body)["result"]
    assert (result["protocolVersion"], result["serverInfo"]["name"]) == ("2025-06-18", "hven")
    assert "mcp-session-id" not in answer.headers
    notice = json.dumps({"jsonrpc": "2.0", "method": "notifications/initialized"}).encode()
    assert (client.ask("POST", "/mcp", body=notice).status, client.ask("POST", "/mcp", body=notice).body) == (202, b"")
    assert len(json.loads(ask("tools/list").body)["result"]["tools"]) == len(TOOLS)
    called = json.loads(
        ask("tools/call", name="query", arguments={"adql": "SELECT COUNT(*) AS n FROM stars.main"}).body
    )
    assert called["result"]["structuredContent"]["rows"] == [[200]]
    assert json.loads(ask("nothing").body)["error"]["code"] == -32601


def test_rows_say_whether_they_are_complete(client: Client) -> None:
    result = call(client, "query", adql="SELECT id FROM stars.main ORDER BY id", limit=3)
    content = result["structuredContent"]
    assert (content["rows"], content["complete"], content["limit"]) == ([[0], [1], [2]], False, 3)
    assert content["available"] == "more"
    assert result["content"][0]["text"].startswith("INCOMPLETE: only the first 3 rows; there are more")
    (source,) = content["sources"]
    assert (source["table"], source["licence"]) == ("stars.main", "CC-BY-4.0")
    assert source["citation"].startswith("Brahe")
    assert source["snapshot"]
    path = content["download"].partition("/tap/")[2]
    assert len(client.ask("GET", f"/tap/{path}").text.split()) == 201
    whole = call(client, "query", adql="SELECT id FROM stars.main", limit=1000)
    assert whole["structuredContent"]["complete"] is True
    assert whole["content"][0]["text"].startswith("Complete: 200 rows.")


def test_tables_are_found_described_and_searched(client: Client) -> None:
    (collection,) = call(client, "search_collections", text="EYE star")["structuredContent"]["collections"]
    assert [table["table"] for table in collection["tables"]] == ["stars.main"]
    assert call(client, "search_collections", text="moon")["structuredContent"]["collections"] == []
    described = call(client, "describe_table", table="main")["structuredContent"]
    assert described["columns"][1] == {
        "name": "ra", "type": "float64", "unit": "deg", "ucd": "pos.eq.ra;meta.main", "minimum": 0.0, "maximum": 19.9, "nulls": 0,
    }  # fmt: skip
    assert described["rows"] == 200
    assert (described["position"], described["identifier"]) == (["ra", "dec"], "id")
    for example in described["examples"]:
        assert call(client, "query", adql=example["adql"])["isError"] is False
    assert call(client, "cone", table="stars.main", ra=5, dec=0, radius=0.15)["structuredContent"]["rows_returned"] == 3
    assert call(client, "sample", table="stars.main")["structuredContent"]["rows_returned"] == 5
    assert "Brahe" in call(client, "cite", collection="stars")["structuredContent"]["bibtex"]


@pytest.mark.parametrize(
    ("tool", "arguments", "words"),
    [
        ("query", {"adql": "SELECT ids FROM stars.main"}, "id"),
        ("query", {"adql": "SELECT id FROM stars.main", "limit": 0}, "from 1 to 1000"),
        ("query", {"adql": "DELETE FROM stars.main"}, "SELECT"),
        ("query", {}, "'adql' is missing"),
        ("query", {"adql": "SELECT 1", "maxrec": 3}, "there is no argument 'maxrec'"),
        ("query", {"adql": 3}, "not of the type string"),
        ("describe_table", {"table": "stars.mian"}, "stars.main"),
        ("describe_table", {"table": "stars.hidden"}, "there is no table"),
        ("cone", {"table": "stars.main", "radius": 1}, "the centre is missing"),
        ("cite", {"collection": "moons"}, "moons"),
    ],
)
def test_faults_of_a_call_say_how_to_mend_it(client: Client, tool: str, arguments: dict[str, Any], words: str) -> None:
    result = call(client, tool, **arguments)
    assert result["isError"] is True
    assert words in result["content"][0]["text"]


SEARCHED = """\
collection: sky
tables:
  stars: {columns: {name: {type: string}}, source: {kind: csv, files: names.csv}}
  runs: {columns: {start: {type: string}}, source: {kind: csv, files: starts.csv}}
  galaxies: {columns: {name: {type: string}}, source: {kind: csv, files: names.csv}}
  campaign:
    columns: {name: {type: string}, observer: {type: string}}
    source: {kind: csv, files: observers.csv}
    access: reader in (observer)
"""
SEARCHED_FILES = {
    "names.csv": "name\nx\n",
    "starts.csv": "start\nx\n",
    "observers.csv": "name,observer\na,anna\nb,bo\n",
}


@pytest.fixture(scope="module")
def sky(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    from hven.ingest.api.runs import ingest_collection

    with open_site_with_uningested_files(tmp_path_factory.mktemp("sky"), SEARCHED, SEARCHED_FILES) as opened:
        report = ingest_collection(opened, "sky")
        assert report.published, report.error
        yield opened


@pytest.mark.parametrize(
    ("words", "tables"),
    [("star", ["stars"]), ("Stars", ["stars"]), ("galaxy", ["galaxies"]), ("tar", ["stars", "runs"]), ("moon", [])],
)
def test_whole_words_are_searched_first(sky: Site, words: str, tables: list[str]) -> None:
    found = call(Client(create_and_start_application(sky)), "search_collections", text=words)["structuredContent"]
    names = [table["table"] for collection in found["collections"] for table in collection["tables"]]
    assert names == [f"sky.{name}" for name in tables]


def test_standards_are_searched(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    list_tables = ToolContext.list_tables
    monkeypatch.setattr(
        ToolContext,
        "list_tables",
        lambda self: [table.copy_with(standard="epn-tap-2.0") for table in list_tables(self)],
    )
    found = call(Client(create_and_start_application(site)), "search_collections", text="EPN-TAP")["structuredContent"]
    assert found["available"] == 1


@pytest.mark.parametrize(("principal", "row_count"), [(ANONYMOUS_PRINCIPAL, 0), (Principal(name="anna"), 1)])
def test_an_answer_says_that_its_user_sees_a_part(sky: Site, principal: Principal, row_count: int) -> None:
    client = Client(create_and_start_application(sky, identify_principal=lambda _: principal))
    for tool, arguments in (
        ("query", {"adql": "SELECT name FROM sky.campaign"}),
        ("sample", {"table": "sky.campaign"}),
    ):
        result = call(client, tool, **arguments)
        assert result["structuredContent"]["rows_returned"] == row_count
        told = "This is what you may see of sky.campaign: rows or values may be hidden."
        assert result["content"][0]["text"].partition("\n")[0] == f"Complete: {row_count} rows. {told}"
    whole = call(client, "query", adql="SELECT name FROM sky.stars")
    assert "hidden" not in whole["content"][0]["text"]


def test_a_cone_says_around_what_it_searched(site: Site, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    resolved = ResolvedName(name="M 31", position=(5.0, 0.0), source="a table")
    monkeypatch.setattr("hven.query.resolver.resolve_object_name", lambda *_, **__: resolved)
    named = call(client, "cone", table="stars.main", name="andromeda", radius=0.15)["structuredContent"]
    assert named["center"] == {"ra": 5.0, "dec": 0.0, "name": "M 31", "source": "a table"}
    assert named["rows_returned"] == 3
    placed = call(client, "cone", table="stars.main", ra=5, dec=0, radius=0.15)["structuredContent"]
    assert placed["center"] == {"ra": 5, "dec": 0}


def test_only_readers_with_rights_see_private_tables(site: Site) -> None:
    def count(principal: Principal) -> int:
        client = Client(create_and_start_application(site, identify_principal=lambda _: principal))
        found = call(client, "search_collections", text="hidden")["structuredContent"]["available"]
        refused = call(client, "query", adql="SELECT secret FROM stars.hidden")["isError"]
        assert refused is (found == 0)
        return int(found)

    assert count(ANONYMOUS_PRINCIPAL) == 0
    assert count(Principal(name="olga", groups=frozenset({"owner"}))) == 1


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"mcp-protocol-version": "2025-06-18"}, 400, -32020),
        ({"mcp-protocol-version": "1999-01-01"}, 400, -32022),
        ({"mcp-method": "tools/list"}, 400, -32020),
        ({"mcp-name": "cone"}, 400, -32020),
        ({"origin": "https://elsewhere.example"}, 403, -32600),
    ],
)
def test_what_is_not_as_the_protocol_has_it_is_refused(
    client: Client, changes: dict[str, str], status: int, code: int
) -> None:
    answer = send(client, "tools/call", {"name": "query", "arguments": {"adql": "SELECT 1"}}, **changes)
    assert (answer.status, json.loads(answer.body)["error"]["code"]) == (status, code)


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'"x"', b'{"jsonrpc": "1.0", "method": "x", "id": 1}', b"\xff"])
def test_what_is_no_message_is_refused(client: Client, body: bytes) -> None:
    answer = client.ask("POST", "/mcp", body=body)
    assert answer.status == 400
    assert json.loads(answer.body)["error"]["code"] in {-32700, -32600}


def test_unknown_methods_and_tools(client: Client) -> None:
    answer = send(client, "resources/list")
    assert (answer.status, json.loads(answer.body)["error"]["code"]) == (404, -32601)
    answer = send(client, "tools/call", {"name": "drop", "arguments": {}})
    assert (answer.status, json.loads(answer.body)["error"]["code"]) == (400, -32602)
    assert client.ask("GET", "/mcp").status == 405


def test_markdown_describes_what_a_reader_sees(site: Site, client: Client) -> None:
    text = client.ask("GET", "/llms.txt").text
    assert "/llms/stars.md): Stars that an eye can see" in text
    page = client.ask("GET", "/llms/stars.md").text
    assert "* `ra` (float64, deg, pos.eq.ra;meta.main): " in page
    assert "* Licence: CC-BY-4.0" in page
    assert "hidden" not in page
    owner = create_and_start_application(
        site, identify_principal=lambda _: Principal(name="o", groups=frozenset({"owner"}))
    )
    assert "## stars.hidden" in Client(owner).ask("GET", "/llms/stars.md").text
    assert client.ask("GET", "/llms/moons.md").status == 404


def test_blind_referees_see_no_author(site: Site) -> None:
    referee = Principal(name=None, groups=frozenset({"referee:stars", "blind:stars"}))
    blind = Client(create_and_start_application(site, identify_principal=lambda _: referee))
    answers = [
        call(blind, "cite", collection="stars"),
        call(blind, "describe_table", table="stars.main"),
        call(blind, "query", adql="SELECT TOP 1 id FROM stars.main"),
        call(blind, "search_collections", text="star"),
    ]
    assert not any(answer["isError"] for answer in answers), answers
    assert "Brahe" not in json.dumps(answers)
    assert "Brahe" not in blind.ask("GET", "/llms/stars.md").text
    assert "Brahe" in Client(create_and_start_application(site)).ask("GET", "/llms/stars.md").text


def test_pages_at_a_name_pointed_at_this_machine_are_refused(client: Client) -> None:
    rebound = {"host": "evil.example", "origin": "http://evil.example"}
    assert send(client, "tools/list", **rebound).status == 403
    assert send(client, "tools/list", host="localhost:8080", origin="http://localhost:8080").status == 200


def test_past_rows_come_from_past_snapshots(tmp_path: Path) -> None:
    from hven.ingest.api.runs import ingest_collection

    with open_site_with_uningested_files(tmp_path, DESCRIPTOR, FILES) as opened:
        ingest_collection(opened, "stars")
        client = Client(create_and_start_application(opened))
        (first,) = call(client, "query", adql="SELECT TOP 1 id FROM stars.main")["structuredContent"]["sources"]
        (tmp_path / "collections/stars/stars.csv").write_text("id,ra,dec\n7,1.0,2.0\n", encoding="utf-8")
        ingest_collection(opened, "stars")
        opened.refresh_published_state()
        query = {"adql": "SELECT TOP 1 id FROM stars.main"}
        (present,) = call(client, "query", **query)["structuredContent"]["sources"]
        assert present["snapshot"] != first["snapshot"]
        (past,) = call(client, "query", **query, as_of=first["snapshot"])["structuredContent"]["sources"]
        assert (past["snapshot"], past["updated"]) == (first["snapshot"], first["updated"])


def test_the_named_snapshot_is_that_of_the_rows(tmp_path: Path) -> None:
    from hven.ingest.api.runs import ingest_collection

    with open_site_with_uningested_files(tmp_path, DESCRIPTOR, FILES) as opened:
        ingest_collection(opened, "stars")
        context = ToolContext(
            ServiceContext.create_for_principal(opened, ANONYMOUS_PRINCIPAL), ANONYMOUS_PRINCIPAL, "x"
        )
        (tmp_path / "collections/stars/stars.csv").write_text("id,ra,dec\n7,1.0,2.0\n", encoding="utf-8")
        ingest_collection(opened, "stars")  # while the call is being answered
        opened.refresh_published_state()
        content = TOOLS["query"].run(context, {"adql": "SELECT COUNT(*) AS n FROM stars.main", "limit": 1, "as_of": ""})
        assert content.content["rows"] == [[200]]
        again = {"adql": content.content["adql"], "limit": 1, "as_of": content.content["sources"][0]["snapshot"]}
        assert TOOLS["query"].run(context, again).content["rows"] == [[200]]


def test_longitudes_on_a_body_are_no_right_ascensions(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    list_tables = ToolContext.list_tables

    def list_body_tables(self: ToolContext) -> list[Table]:
        def change_ucd(column: Column) -> Column:
            return replace(column, ucd="pos.bodyrc.lon") if column.name == "ra" else column

        return [table.copy_with(columns=tuple(map(change_ucd, table.columns))) for table in list_tables(self)]

    monkeypatch.setattr(ToolContext, "list_tables", list_body_tables)
    result = call(client, "cone", table="stars.main", ra=5, dec=0, radius=1)
    assert result["isError"] is True
    assert "has no right ascension" in result["content"][0]["text"]


def test_a_download_has_all_rows(client: Client, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    content = call(client, "query", adql="SELECT id FROM stars.main", limit=3)["structuredContent"]
    limits = replace(site.settings.limits, maxrec_default=50)
    monkeypatch.setattr(site, "settings", replace(site.settings, limits=limits))
    path = content["download"].partition("/tap/")[2]
    assert len(client.ask("GET", f"/tap/{path}").text.split()) == 201


def test_a_whole_number_may_have_a_decimal_point(client: Client) -> None:
    result = call(client, "query", adql="SELECT id FROM stars.main", limit=3.0)
    assert result["structuredContent"]["rows_returned"] == 3
    assert call(client, "query", adql="SELECT id FROM stars.main", limit=3.5)["isError"] is True


def test_a_name_of_several_tables_or_objects_lists_them(
    site: Site, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    candidates = [ResolvedName(name=f"A{number}", position=(1.0, 2.0), source="x") for number in range(2)]

    def refuse(*_: object, **__: object) -> None:
        raise AmbiguousObjectNameError("several objects have the name 'A'", candidates, remedy="choose one")

    monkeypatch.setattr("hven.query.resolver.resolve_object_name", refuse)
    result = call(client, "resolve", name="A")
    assert result["isError"] is True
    assert (
        '{"candidates":["A0 at (1.0, 2.0)","A1 at (1.0, 2.0)"],"candidates_available":2}'
        in result["content"][0]["text"]
    )
    tables = ToolContext.list_tables
    monkeypatch.setattr(
        ToolContext, "list_tables", lambda self: [*tables(self), *(t.copy_with(schema="b") for t in tables(self))]
    )
    assert (
        "2 tables have the name 'main': stars.main, b.main"
        in call(client, "sample", table="main")["content"][0]["text"]
    )


def test_a_state_of_a_view_can_be_queried_again(tmp_path: Path) -> None:
    from hven.ingest.api.runs import ingest_collection

    with open_site_with_uningested_files(tmp_path, VIEW_DESCRIPTOR, FILES) as opened:
        ingest_collection(opened, "stars")
        opened.refresh_published_state()
        client = Client(create_and_start_application(opened))
        query = {"adql": "SELECT COUNT(*) AS n FROM stars.near"}
        first = call(client, "query", **query)["structuredContent"]
        (tmp_path / "collections/stars/stars.csv").write_text("id,ra,dec\n7,1.0,2.0\n", encoding="utf-8")
        ingest_collection(opened, "stars")
        opened.refresh_published_state()
        assert call(client, "query", **query)["structuredContent"]["rows"] == [[1]]
        moment = first["sources"][0]["snapshot"]
        again = call(client, "query", **query, as_of=moment)["structuredContent"]
        assert again["rows"] == first["rows"] == [[200]]
        assert again["sources"] == [{**first["sources"][0], "snapshot": moment}]


def test_a_state_of_a_view_that_is_no_longer_published_has_no_name(tmp_path: Path) -> None:
    from hven.ingest.api.runs import ingest_collection

    with open_site_with_uningested_files(tmp_path, VIEW_DESCRIPTOR, FILES) as opened:
        ingest_collection(opened, "stars")
        opened.refresh_published_state()
        context = ToolContext(
            ServiceContext.create_for_principal(opened, ANONYMOUS_PRINCIPAL), ANONYMOUS_PRINCIPAL, "x"
        )
        (tmp_path / "collections/stars/stars.csv").write_text("id,ra,dec\n7,1.0,2.0\n", encoding="utf-8")
        ingest_collection(opened, "stars")  # while the call is being answered
        assert context.describe_state(context.find_table("stars.near"))["snapshot"] is None


def test_the_address_of_a_long_query_is_not_given(client: Client) -> None:
    names = ", ".join(["id"] * 3_000)
    query = f"SELECT id FROM stars.main WHERE id IN ({names})"
    result = call(client, "query", adql=query, limit=3)
    assert result["structuredContent"]["download"] is None
    assert "POST the query" in result["content"][0]["text"].partition("\n")[0]


def test_the_list_of_tools_has_no_other_page(client: Client) -> None:
    answer = send(client, "tools/list", {"cursor": "2"})
    assert (answer.status, json.loads(answer.body)["error"]["code"]) == (400, -32602)
    assert send(client, "tools/list", {"cursor": None}).status == 200
