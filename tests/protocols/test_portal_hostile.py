"""Pages against bad input: markup in every text and cell, names of any letters, addresses that were tampered with, readers who see half."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlencode, urljoin, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from asgi_client import Answer, Client
from lxml import html

from hostile_descriptor import write_descriptor
from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.model import settings
from hven.model.errors import HvenError
from hven.model.table import Column, Table
from hven.model.types import FLOAT64, INT32, STRING
from hven.portal._explore import search
from hven.site.auth._access_control import OWNER_PRINCIPAL
from hven.testing.policies import build_odd_rows_hidden_policies
from hven.testing.site import open_site_with_uningested_files, open_tiny_site
from plugin_needs import list_query_addresses, load_core_fixtures

EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'{{7*7}}</textarea></title></script><!--"
BIG = 10_000_000  # characters of one cell
CELLS = (
    EVIL,
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    'https://example.org/"onmouseover=alert(1)//<script>',
    " https://example.org/a b ",
    "vbscript:x",
    "//example.org/x",
    "https://example.org/fine.png",
    "\u202e-\x1b[31m",
    "",
    None,
)
NAMES = (
    'a"b', "x y", "<b>bold</b>", "_sort", "_row", "ünï😀", "a,b", "a.b", "-minus", "%41", "&amp;", "{brace}", "semi;colon", "c:d/e?f#g", "'quote'",
    "select", "UPPER", "n__min", "back\\slash",
)  # fmt: skip
ODD = "odd\" <i>&name;%41?#' ünï"
PANES = ("rows", "count", "row", "facets", "histogram", "points", "take", *load_core_fixtures("TABLE_DATA"))

DESCRIPTOR = write_descriptor(
    EVIL,
    licence="licence: CC-BY-4.0\n",
    more=f"""\
  heavy:
    primary: [id]
    source: {{kind: parquet, files: heavy.parquet}}
    columns:
      id: {{type: int32, rank: 1}}
      big: {{type: string, rank: 1}}
examples:
  - title: {json.dumps(EVIL)}
    query: SELECT TOP 3 id FROM evil.main
""",
)


def hostile_rows() -> pa.Table:
    number = len(CELLS)
    return pa.table(
        {
            "id": pa.array(range(number), pa.int32()),
            "ra": pa.array([float(n) for n in range(number)]),
            "dec": pa.array([float(n) for n in range(number)]),
            "kind": pa.array(CELLS, pa.string()),
            "page": pa.array(CELLS, pa.string()),
            "picture": pa.array(CELLS, pa.string()),
        }
    )


def decode_paths(app: Any) -> Any:
    """Give an application its paths as a server does: without percents."""

    async def decode_scope(scope: dict[str, Any], receive: Any, send: Any) -> None:
        await app({**scope, "path": unquote(scope["path"])}, receive, send)

    return decode_scope


def parquet(rows: pa.Table) -> bytes:
    file = io.BytesIO()
    pq.write_table(rows, file)
    return file.getvalue()


@pytest.fixture(scope="module")
def evil(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    heavy = pa.table({"id": pa.array([1, 2, 3], pa.int32()), "big": ["<i>1", "<i>2", "<b>" + "x" * BIG]})
    with open_site_with_uningested_files(
        tmp_path_factory.mktemp("evil"),
        DESCRIPTOR,
        {"rows.parquet": parquet(hostile_rows()), "heavy.parquet": parquet(heavy)},
    ) as site:
        ingest_collection(site, "evil")
        site.refresh_published_state()
        yield Client(decode_paths(create_and_start_application(site)))


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A table whose name and columns have every special character, as tables of other systems may."""
    columns = (
        Column(name="id", type=INT32, rank=1),
        *(Column(name=name, type=FLOAT64 if at % 2 else STRING, rank=1) for at, name in enumerate(NAMES)),
    )
    table = Table(schema="cat", name=ODD, columns=columns, primary=("id",), title=ODD)
    given: dict[str, pa.Array] = {"id": pa.array(range(50), pa.int32())}
    for at, name in enumerate(NAMES):
        given[name] = (
            pa.array([float(n % 5) for n in range(50)]) if at % 2 else pa.array([f"v{n % 5}" for n in range(50)])
        )
    with open_tiny_site(tmp_path_factory.mktemp("odd"), {"cat.odd": (table, pa.table(given))}) as site:
        yield Client(decode_paths(create_and_start_application(site)))


def harmless(answer: Answer) -> html.HtmlElement:
    """Check that a page has no element, attribute or address that runs anything but our own scripts."""
    assert answer.headers["content-type"].startswith("text/html")
    policy = answer.headers["content-security-policy"]
    assert "'unsafe-inline'" not in policy.partition("script-src")[2].partition(";")[0]
    page = html.document_fromstring(answer.text)
    for script in page.iter("script"):
        ours = (script.get("src") or "").startswith(("/assets/", "http://vo.example/assets/", "http://localhost"))
        assert ours or script.get("type") in {"application/json", "application/ld+json"}, html.tostring(script)[:200]
        if script.get("src") is None:
            json.loads(script.text or "")
    for element in page.iter():
        if not isinstance(element.tag, str):
            continue
        assert element.tag not in {"iframe", "object", "embed", "base"}
        for name, value in element.attrib.items():
            assert not name.startswith("on"), (element.tag, name, value)
            assert name != "style", (element.tag, value)
            if name in {"href", "src", "action", "formaction"}:
                assert not re.match(r"\s*(?:javascript|vbscript|data:text)", value, re.IGNORECASE), value
    assert not page.xpath("//img[@src='x']")
    return page


def pages_of(client: Client, begin: str = "/", most: int = 40) -> list[str]:
    """Follow the links of the site's own pages."""
    waiting, found = [begin], []
    while waiting and len(found) < most:
        path = waiting.pop(0)
        if path in found:
            continue
        answer = client.get(path)
        if not answer.headers.get("content-type", "").startswith("text/html"):
            continue
        found.append(path)
        for element in html.document_fromstring(answer.text).iter("a"):
            where = urlsplit(urljoin("http://vo.example" + path, element.get("href") or ""))
            if where.netloc in {
                "vo.example",
                "localhost:8080",
                "127.0.0.1:8000",
                "localhost:8000",
            } and where.path not in {
                *found,
                *waiting,
            }:
                waiting.append(where.path)
    return found


def test_descriptors_and_cells_are_escaped_on_every_page(evil: Client) -> None:
    seen = pages_of(evil)
    assert {"/", "/collections/evil", "/collections/evil/main", *list_query_addresses("/adql")} <= set(seen), seen
    for path in [
        *seen,
        "/collections/evil/main?_sort=id&_q=%3Cscript%3E",
        *list_query_addresses("/adql?QUERY=" + quote(EVIL), "/adql?QUERY=" + quote("SELECT * FROM evil.main")),
    ]:
        answer = evil.get(path)
        page = harmless(answer)
        assert answer.status < 500, path
        assert len(answer.body) < 500_000, path
        assert "{{7*7}}" in answer.text or "49" not in (page.findtext(".//title") or "")


def test_links_lead_to_the_web_alone(evil: Client) -> None:
    page = harmless(evil.get("/collections/evil/main"))
    cells = page.xpath("//tbody//a/@href")
    assert "https://example.org/fine.png" in cells
    assert all(re.match(r"https?://", one) for one in cells)
    told = json.loads(evil.get("/collections/evil/main/rows", _sort="id").body)
    links = [cell["href"] for row in told["rows"] for cell in row if isinstance(cell, dict) and "href" in cell]
    assert links
    assert all(re.match(r"https?://", one) for one in links)


def test_a_cell_of_ten_megabytes_is_cut_and_said_to_be(evil: Client) -> None:
    for path in (
        "/collections/evil/heavy",
        "/collections/evil/heavy/rows",
        "/collections/evil/heavy/row?_row=[3]",
        "/collections/evil/heavy/facets",
    ):
        answer = evil.get(path)
        assert answer.status == 200
        assert len(answer.body) < 100_000, path
    told = json.loads(evil.get("/collections/evil/heavy/row?_row=[3]").body)
    big = told["row"][[one["name"] for one in told["columns"]].index("big")]
    assert big["title"] == f"{BIG + 3:,}"
    answer = evil.get("/collections/evil/heavy/download", _as="csv", id="3")
    assert answer.status == 200
    assert len(answer.body) > BIG, "what is taken away is whole"


def test_faults_and_errors_quote_what_was_asked_as_text(evil: Client) -> None:
    for path in (
        f"/collections/{quote(EVIL, safe='')}",
        f"/collections/evil/{quote(EVIL, safe='')}",
        f"/collections/evil/main?{urlencode({EVIL: EVIL, 'ra': EVIL, '_near': EVIL, '_sort': EVIL, '_cols': EVIL, '_unit.ra': EVIL, '_in': EVIL, '_map': EVIL, '_plot': EVIL, '_x': EVIL})}",
        f"/collections/evil/main?_from={quote(EVIL)}",
        f"/nothing/{quote(EVIL, safe='')}",
    ):
        answer = evil.get(path)
        assert answer.status < 500
        if not answer.headers["content-type"].startswith("text/plain"):  # what no route knows
            harmless(answer)


# --- names -----------------------------------------------------------------------------------------------------


def build_path(name: str, pane: str = "") -> str:
    return f"/collections/cat/{quote(name)}" + (f"/{pane}" if pane else "")


def test_a_table_of_any_name_has_a_page_whose_links_lead_back_to_it(odd: Client) -> None:
    page = harmless(odd.get(build_path(ODD)))
    form = page.xpath("//form[@data-pane='form']")[0]
    where = urlsplit(form.get("action"))
    assert where.path == build_path(ODD), "a name is one part of a path"
    assert not where.query
    for link in page.xpath("//div[@data-pane='take']//a/@href"):
        assert f"{urlsplit(link).path}/".startswith(build_path(ODD) + "/"), link


@pytest.mark.parametrize("name", NAMES)
def test_a_column_of_any_name_is_searched_sorted_and_chosen(odd: Client, name: str) -> None:
    value = "1" if NAMES.index(name) % 2 else "v1"
    told = json.loads(
        odd.get(build_path(ODD, "rows"), **{f'"{name}"' if name in search.PORTAL_PARAMETERS else name: value}).body
    )
    assert told["faults"] == []
    assert told["total"] == 10
    listed = search.quote_listed_name(name)
    for state in ({"_sort": listed}, {"_sort": f"-{listed}"}, {"_cols": f"id,{listed}"}):
        answer = odd.get(build_path(ODD, "rows"), **state)
        told = json.loads(answer.body)
        assert told["faults"] == [], told["faults"]
        assert told["total"] == 50
        harmless(odd.get(build_path(ODD), **state))
    sorted_ = json.loads(odd.get(build_path(ODD, "rows"), _sort=f"-{listed}", _cols=f"id,{listed}").body)["rows"]
    assert [row[1] for row in sorted_] == sorted((row[1] for row in sorted_), reverse=True)
    asked = json.loads(odd.get(build_path(ODD, "rows"), _cols=f"id,{listed}").body)["adql"]
    assert odd.get("/tap/sync", LANG="ADQL", QUERY=asked, RESPONSEFORMAT="json").status == 200, asked
    if NAMES.index(name) % 2:
        assert sum(json.loads(odd.get(build_path(ODD, "histogram"), _x=name).body)["counts"]) == 50
    assert len(json.loads(odd.get(build_path(ODD, "points"), _x=name, _y="id").body)["values"][0]) == 50
    page = harmless(odd.get(build_path(ODD), _sort=listed))
    following = [link for link in page.xpath("//thead//a/@href") if "_sort=-" in link]
    assert following, "a second click turns the order round"
    assert json.loads(odd.get(build_path(ODD, "rows") + following[0]).body)["rows"][0][1:] != []


# --- addresses that were tampered with ---------------------------------------------------------------------------

TAMPERED = [
    "_from=-1", "_from=99999999999999999999999", "_from=1e9", "_from=%00", "_from=9" * 3, "_from=999999999999999", "_size=0", "_size=-5", "_size=1000000", "_size=x",
    "_row=", "_row=[", "_row=%5B%5D", "_row=null", "_row=%5B%22x%22%5D", "_row=%5B1e999%5D", "_row=%5BNaN%5D", "_row=%5BInfinity%5D", "_row=%5B" + "9" * 400 + "%5D",
    "_row=%5B" + "9" * 30 + "%5D", "_row=%5B1,2%5D", "_row=%7B%7D", "_row=%5Btrue%5D", "_row=" + "%5B" * 30_000, "_row=%5B%5B1%5D%5D", "_row=%5B1.5%5D", "_row=%ff%fe",
    "_sort=nothing", "_sort=---", "_sort=,,,", "_sort=" + "ra," * 3000, "_sort=-ra,ra,-ra", "_cols=nothing", "_cols=" + "ra," * 5000, "_cols=*",
    "_near=", "_near=1,2", "_near=1,2,3,4", "_near=nan,nan,nan", "_near=inf,0,1", "_near=1e400,0,1", "_near=0,0,1e400", "_near=0,91,1", "_near=0,0,-1", "_near=,,", "_near=M31,5",
    "_in=POLYGON", "_in=CIRCLE+0+0+1e400", "_in=CIRCLE+nan+nan+nan", "_in=POLYGON+1+2+3", "_in=POLYGON+" + "1+2+" * 500, "_in=CIRCLE+0+500+1", "_in=;DROP+TABLE", "_in=POLYGON+0+0+0+0+0+0",
    "ra=" + "9" * 5000, "ra=1e400..", "ra=nan", "ra=..", "ra=" + "1," * 20_000, "ra=1..2..3", "kind=" + "*" * 500, "kind=%27%3B+DROP+TABLE+x--", "kind=" + "x" * 100_000, "kind=%00",
    "kind=" + "(" * 20_000, "kind=" + "%22", "_q=" + "a+" * 20_000, "_q=%25%25%25", "_q=%27+OR+1%3D1", "_q=%00", "nothing=1", "_unit.ra=furlong", "_unit.ra=" + "k" * 5000,
    "_unit.nothing=m", "_map=x,y,z", "_plot=%3B%3B%3B", "_x=nothing", "_x=ra&_y=nothing", "_view_at=x", "_view_at=0,0,1e400", "_key=[", "_key=%5B1%5D&_key=x", "_link=nothing", "_as=exe",
    "&".join(f"ra={n}" for n in range(3000)), "&".join(f"p{n}=1" for n in range(3000)), "lang=xx", "_theme=%3Cscript%3E", "=", "&&&", "%=%", "ra", "ra[]=1", "__proto__=1", "constructor=1",
]  # fmt: skip


@pytest.mark.parametrize("state", TAMPERED, ids=lambda text: text[:30])
def test_a_tampered_address_breaks_nothing(evil: Client, state: str) -> None:
    harmless(evil.get(f"/collections/evil/main?{state}"))
    for pane in PANES:
        given = state if pane not in {"histogram", "points"} or "_x" in state else f"_x=ra&{state}"
        answer = evil.get(f"/collections/evil/main/{pane}?{given}")
        assert answer.status < 500, (pane, answer.text[:400])
        told = json.loads(answer.body)
        assert isinstance(told, dict)
        if answer.status >= 400:
            assert told["message"], "what is wrong is said"
        assert "Traceback" not in answer.text


def test_faults_say_what_helps_beside_what_was_meant(evil: Client) -> None:
    told = json.loads(evil.get("/collections/evil/main/rows?ra=bright&_sort=decl&_cols=kinds&_near=1,2&dec=1..2").body)
    assert {fault["field"] for fault in told["faults"]} == {"ra", "_sort", "_cols", "_near"}
    assert all(fault["message"] for fault in told["faults"])
    assert "dec" in told["adql"], "the rest of the search still runs"


# --- readers who see half, or nothing ----------------------------------------------------------------------------

COLUMNS = (
    Column(name="id", type=STRING, rank=1),
    Column(name="number", type=INT32, rank=1),
    Column(name="ra", unit="deg", ucd="pos.eq.ra;meta.main", rank=1),
    Column(name="dec", unit="deg", ucd="pos.eq.dec;meta.main", rank=1),
    Column(name="kind", type=STRING, rank=1),
    Column(name="access_url", type=STRING, ucd="meta.ref.url", rank=1),
    Column(name="thought", type=STRING, hidden=True),
)
STATES = (
    "", "_size=1000", "_sort=number", "_sort=-number&_size=1000", "_from=60&_sort=number", "_from=0&_sort=-number&_size=1000", "kind=odd", "kind=!even", "number=1..9", "number=7", "_q=odd", "_q=only7",
    "_near=10,10,180", "_near=7,0,0.1", "_in=CIRCLE+7+0+0.5", "_row=%5B%22only7%22%5D", "_cols=number", "_x=number", "_x=ra&_y=number", "_x=kind&_y=number&_c=ra", "_view_at=7,0,2", "_key=%5B%22only7%22%5D", "_key=%5B%22only7%22%5D&_all=1", "_all=1",
)  # fmt: skip


def half_rows() -> pa.Table:
    """A hundred rows; those of odd numbers, which are hidden, name themselves in every column."""
    number = range(100)
    return pa.table(
        {
            "id": [f"only{n}" if n % 2 else f"id{n}" for n in number],
            "number": pa.array([n if n % 2 == 0 else n + 100_000 if n != 7 else 7 for n in number], pa.int32()),
            "ra": [float(n) for n in number],
            "dec": [0.0] * 100,
            "kind": ["odd" if n % 2 else "even" for n in number],
            "access_url": [f"https://example.org/{'only' if n % 2 else 'file'}{n}.fits" for n in number],
            "thought": [f"inmost{n}" for n in number],
        }
    )


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Client, Client]]:
    """Somebody who sees half, and the owner, of one site: what one saw may not be remembered for the other."""
    names = {
        name: Table(schema=name, name="main", columns=COLUMNS, position=("ra", "dec"), primary=("id",), access=access)
        for name, access in (("open", "public"), ("secret", "private"))
    }
    with open_tiny_site(
        tmp_path_factory.mktemp("half"), {f"{name}.main": (table, half_rows()) for name, table in names.items()}
    ) as site:
        half = build_odd_rows_hidden_policies("number")
        yield (
            Client(create_and_start_application(site, policies=half)),
            Client(create_and_start_application(site, policies=half, identify_principal=lambda _: OWNER_PRINCIPAL)),
        )


LEAKS = re.compile(r"only\d|\bodd\b|1000\d\d|100[,\u202f]0\d\d|inmost|\b100\b(?! ?%)")
ECHOED = re.compile(r"kind=odd|_q=odd|only7|CIRCLE.*")


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("pane", ["", *PANES, "download", "script"])
def test_hidden_rows_leave_no_trace_on_any_face(readers: tuple[Client, Client], pane: str, state: str) -> None:
    half, owner = readers
    path = "/collections/open/main" + (f"/{pane}" if pane else "")
    extra = {
        "download": "&_as=csv",
        "script": "&_as=links",
        "histogram": "" if "_x" in state else "&_x=number",
        "points": "" if "_x" in state else "&_x=number",
    }.get(pane, "")
    if state in {"", "_sort=number"}:
        owner.get(f"{path}?{state}{extra}")  # what an owner was shown must not be what another one is
    answer = half.get(f"{path}?{state}{extra}")
    assert answer.status < 500
    text = answer.text
    if pane in {"rows", "row", "points", "count", "histogram", "places", "facets"} and answer.status == 200:
        told = json.loads(answer.body)
        for name in ("adql", "faults", "key", "form", "chips"):  # what was asked is said again
            told.pop(name, None)
        if pane == "count":
            told = {"total": told["total"], "of": told["of"]}
        text = json.dumps(told)
    elif pane == "take" and answer.status == 200:
        told = json.loads(answer.body)
        text = json.dumps({"rows": told["rows"], "files": {**told["files"], "most": None}})
    elif pane == "":
        page = html.document_fromstring(answer.text)
        text = " ".join(
            [*page.xpath("//tbody//text()"), *page.xpath("//*[@data-count]//text()"), *page.xpath("//tbody//@*")]
        )
    found = (
        {one[0] for one in LEAKS.finditer(text)} - {"100"}
        if pane in {"histogram", "places"}
        else {one[0] for one in LEAKS.finditer(text)}
    )
    assert not found, found


def test_numbers_are_of_the_rows_one_may_see(readers: tuple[Client, Client]) -> None:
    half, owner = readers
    for client, rows in ((owner, 100), (half, 50), (owner, 100), (half, 50)):
        here = "/collections/open/main"
        assert json.loads(client.get(f"{here}/rows").body)["total"] == rows
        assert json.loads(client.get(f"{here}/count").body)["total"] == rows
        assert json.loads(client.get(f"{here}/take").body)["rows"] == rows
        assert json.loads(client.get(f"{here}/take").body)["files"]["files"] == rows
        for pane in {"places"} & set(PANES):
            assert json.loads(client.get(f"{here}/{pane}").body)["total"] == rows
        assert sum(json.loads(client.get(f"{here}/histogram?_x=number").body)["counts"]) == rows
        assert len(json.loads(client.get(f"{here}/points?_x=number").body)["keys"]) == rows
        assert json.loads(client.get(f"{here}/histogram?_x=number").body)["high"] >= (100_000 if rows == 100 else 0)
        assert json.loads(client.get(f"{here}/histogram?_x=number").body)["high"] < (200_000 if rows == 100 else 100)
        for one in json.loads(client.get(f"{here}/facets").body)["facets"]:
            if not one["more"]:
                assert sum(each["rows"] for each in one["choices"]) == rows


def test_a_hidden_column_is_nowhere(readers: tuple[Client, Client]) -> None:
    for client in readers:
        for state in (
            "_cols=thought",
            "_sort=thought",
            "thought=inmost7",
            "_x=thought",
            "_q=inmost7",
            "_cols=thoughts",
            "_row=%5B%22id8%22%5D&_all=1",
            "_all=1",
        ):
            for pane in ("rows", "row", "points", "histogram", "take", "facets"):
                told = client.get(f"/collections/open/main/{pane}?{state}").text
                assert "inmost" not in told.replace("inmost7", ""), (pane, state)
                assert "thought" not in told.replace("thoughts", "") or state.startswith(
                    ("_cols=thought", "_sort=thought", "thought", "_x=thought")
                ), (pane, state)
        told = json.loads(client.get("/collections/open/main/rows?_cols=thought&thought=inmost7&_sort=thought").body)
        assert {fault["field"] for fault in told["faults"]} == {"_cols", "_sort", "thought"}
        assert told["total"] in {50, 100}
        assert "thought" not in client.get("/collections/open/main").text


def test_a_private_table_answers_as_if_it_were_not_there(readers: tuple[Client, Client]) -> None:
    half, owner = readers
    for pane in ("", *PANES, "download", "script"):
        tail = f"/{pane}" if pane else ""
        drawn = "?_x=ra" if pane in {"histogram", "points"} else ""  # what others do not know they refuse, or say so
        there, nowhere = (
            half.get(f"/collections/secret/main{tail}{drawn}"),
            half.get(f"/collections/secreu/main{tail}{drawn}"),
        )
        assert there.status == nowhere.status == 404, pane
        hide = re.compile(r"secre[tu]|[0-9a-f]{16,}|\d\d:\d\d:\d\d|[0-9A-Za-z]{12,}")
        assert hide.sub("", there.text) == hide.sub("", nowhere.text), "an error tells that there is something"
        assert owner.get(f"/collections/secret/main{tail}{drawn}").status == 200, pane


def test_pages_ask_nobody_but_whom_the_site_file_names(tmp_path: Path) -> None:
    rows = pa.table({"n": pa.array([1], pa.int32())})
    for given in ((), ("https://img.example.org",)):
        with open_tiny_site(tmp_path / str(len(given)), {"cat.some": rows}, origins=given) as site:
            policy = (
                Client(create_and_start_application(site))
                .get("/collections/cat/some")
                .headers["content-security-policy"]
            )
            found = {one for part in policy.split(";") for one in part.split() if "://" in one} - {
                "http://localhost:21012"
            }  # the reader's own hub
            assert found == set(given)


@pytest.mark.parametrize(
    "origin",
    ["https://x.org; script-src *", "*", "'unsafe-inline'", "javascript:", "https://x.org/path", "https://x.org\\nx"],
)
def test_no_setting_opens_the_policy_further(tmp_path: Path, origin: str) -> None:
    (tmp_path / "hven.toml").write_text(f'origins = ["{origin}"]\n')
    with pytest.raises(HvenError):
        settings.load_settings(tmp_path)
