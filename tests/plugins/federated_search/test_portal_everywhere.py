"""One form over all EPN-TAP or ObsCore tables: here, at a second Hven, at one that hangs, one that is down, one that answers nonsense."""

from __future__ import annotations

import contextlib
import html
import io
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pyarrow as pa
import pytest
from asgi_client import Client
from PIL import Image
from remote_servers import open_hanging_server, reserve_closed_address, serve_nonsense, serve_pictures, serve_site

from hven import query
from hven.app._server import create_and_start_application
from hven.model.settings import RemoteTapService
from hven.model.table import Column, Table
from hven.model.types import FLOAT64, STRING
from hven.site import Site
from hven.testing.site import open_tiny_site
from plugin_needs import require_page_part, require_plugins
from process_runner import wait_until

SCRIPT = Path(__file__).parents[3] / "src/hven/plugins/federated_search/scripts/everywhere.js"

TEXTS = ("granule_uid", "target_name", "dataproduct_type", "instrument_name", "access_url")
NUMBERS = {
    "time_min": "d",
    "time_max": "d",
    "c1min": "deg",
    "c1max": "deg",
    "c2min": "deg",
    "c2max": "deg",
    "spectral_range_min": "Hz",
    "spectral_range_max": "Hz",
}


def table(schema: str, *, less: tuple[str, ...] = ()) -> Table:
    columns = [Column(name=name, type=STRING) for name in TEXTS] + [
        Column(name=name, type=FLOAT64, unit=unit) for name, unit in NUMBERS.items()
    ]
    return Table(
        schema=schema, name="epn_core", primary=("granule_uid",), utype="ivo://ivoa.net/std/epntap#table-2.0",
        columns=tuple(column for column in columns if column.name not in less),
    )  # fmt: skip


def rows(made: Table, count: int) -> pa.Table:
    values = [
        {"granule_uid": f"{made.schema}-{n}", "target_name": ("Mars", "Venus#Mars", "Moon")[n % 3], "dataproduct_type": "im", "instrument_name": "<b>CAM</b>", "time_min": 2453005.5 + n,
         "time_max": 2453006.0 + n, "c1min": 1.0, "c1max": 2.0, "c2min": 3.0, "c2max": 4.0, "spectral_range_min": 1e14, "spectral_range_max": 2e14, "access_url": f"https://x.example/{n}"}
        for n in range(count)
    ]  # fmt: skip
    return pa.Table.from_pylist(values, schema=made.arrow_schema)


@pytest.fixture(scope="module")
def remote_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    far = table("far")
    with open_tiny_site(tmp_path_factory.mktemp("there"), {"far.epn_core": (far, rows(far, 90))}) as made:
        yield made


@pytest.fixture(scope="module")
def services(remote_site: Site) -> Iterator[tuple[tuple[RemoteTapService, ...], list[str]]]:
    with contextlib.ExitStack() as stack:
        good, seen = stack.enter_context(serve_site(remote_site))
        silent, odd, gone = (
            stack.enter_context(one()) for one in (open_hanging_server, serve_nonsense, reserve_closed_address)
        )
        yield (
            (
                RemoteTapService(
                    name="good",
                    title="The <i>other</i> Hven",
                    url=good,
                    tables=("far.epn_core", "far.nothing"),
                    seconds=60.0,
                ),
                RemoteTapService(name="silent", url=silent, tables=("a.epn_core",), seconds=1.0),
                RemoteTapService(name="gone", url=gone, tables=("b.epn_core",)),
                RemoteTapService(name="odd", url=odd, tables=("c.epn_core",)),
                RemoteTapService(name="sky", url=good, kind="obscore", tables=("ivoa.obscore",)),
            ),
            seen,
        )


@pytest.fixture(scope="module")
def local_site(
    tmp_path_factory: pytest.TempPathFactory, services: tuple[tuple[RemoteTapService, ...], list[str]]
) -> Iterator[Site]:
    one, two, hidden = (
        table("one"),
        table("two", less=("spectral_range_min", "spectral_range_max")),
        table("hidden").copy_with(access="private"),
    )
    tables = {
        "one.epn_core": (one, rows(one, 30)),
        "two.epn_core": (two, rows(two, 60)),
        "hidden.epn_core": (hidden, rows(hidden, 3)),
    }
    with open_tiny_site(tmp_path_factory.mktemp("here"), tables, allow_private=True, remote=services[0]) as made:
        yield made


@pytest.fixture(scope="module")
def reader(local_site: Site) -> Client:
    return Client(create_and_start_application(local_site))


def lines(reader: Client, path: str) -> dict[str, dict[str, object]]:
    answer = reader.ask("GET", path, headers={"accept": "application/json"})
    assert answer.status == 200, answer.text[:500]
    return {line["key"]: line for line in json.loads(answer.body)["lines"]}


def test_nothing_is_sent_anywhere_until_something_is_asked(
    reader: Client, services: tuple[tuple[RemoteTapService, ...], list[str]]
) -> None:
    services[1].clear()
    for path in ("/search/epn", "/search/epn?_wait=1", "/search/obscore"):
        found = lines(reader, path)
        assert {line["status"] for key, line in found.items() if "/" in key} == {"waiting"}
    assert services[1] == []
    found = lines(reader, "/search/epn")
    assert {key: line["rows"] for key, line in found.items() if "/" not in key} == {
        "one.epn_core": 30,
        "two.epn_core": 60,
    }, "and what is hidden is not there"


def test_all_are_asked_at_once_and_each_says_how_it_went(reader: Client) -> None:
    begun = time.monotonic()
    found = lines(reader, "/search/epn?target_name=Mars&time=2004-01&_wait=1")
    assert time.monotonic() - begun < 30, "who never answers is not waited for"
    assert {key: (line["status"], line["rows"]) for key, line in found.items()} == {
        "one.epn_core": ("ok", 20),
        "two.epn_core": ("ok", 21),
        "good/far.epn_core": ("ok", 21),
        "good/far.nothing": ("failed", None),
        "silent/a.epn_core": ("late", None),
        "gone/b.epn_core": ("failed", None),
        "odd/c.epn_core": ("failed", None),
    }
    assert "far.nothing" in str(found["good/far.nothing"]["message"])
    assert "IVO_HASHLIST_HAS" in str(found["good/far.epn_core"]["adql"])


def test_the_counts_are_those_of_a_query(remote_site: Site, local_site: Site) -> None:
    for site, name, wanted in ((remote_site, "far", 21), (local_site, "two", 21), (local_site, "one", 20)):
        text = f"SELECT COUNT(*) FROM {name}.epn_core WHERE (target_name = 'Mars' OR target_name = 'Venus#Mars') AND time_max >= 2453005.5 AND time_min < 2453036.5"
        with query.run_query(text, site=site) as result:
            assert result.read_table().column(0)[0].as_py() == wanted


def test_a_table_without_the_column_says_so(reader: Client) -> None:
    found = lines(reader, "/search/epn?spectral_range=1..2 um")
    assert found["two.epn_core"]["status"] == "other"
    assert "spectral_range" in str(found["two.epn_core"]["message"])
    assert found["one.epn_core"]["status"] == "ok"


def test_the_page_without_scripts(reader: Client) -> None:
    quick = reader.ask("GET", "/search/epn?target_name=Mars")
    assert '<noscript><meta http-equiv="refresh"' in quick.text
    assert "not queried yet" in quick.text
    text = reader.ask("GET", "/search/epn?target_name=Mars&_wait=1&_of=*").text
    assert "http-equiv" not in text
    for word in (
        "The &lt;i&gt;other&lt;/i&gt; Hven",
        "&lt;b&gt;CAM&lt;/b&gt;",
        "no answer in time",
        "4 did not answer",
        "one-0",
        "far-0",
        "two-1",
        "https://x.example/0",
        "UNION ALL",
        'data-query-of="good/far.epn_core"',
    ):
        assert word in text, word
    assert "<script>alert" not in text
    assert "<b>CAM" not in text


def test_the_query_it_stands_for_runs_and_finds_as_many(local_site: Site, reader: Client) -> None:
    answer = json.loads(reader.ask("GET", "/search/epn?target_name=Mars", headers={"accept": "application/json"}).body)
    with query.run_query(answer["adql"], site=local_site) as result:
        found = result.read_table()
    assert found.num_rows == sum(line["rows"] for line in answer["lines"] if "/" not in line["key"])
    assert set(found.column("source_table").to_pylist()) == {"one.epn_core", "two.epn_core"}


def test_one_line_alone(reader: Client, services: tuple[tuple[RemoteTapService, ...], list[str]]) -> None:
    reader.ask("GET", "/search/epn/ask?target_name=Venus&_of=good/far.epn_core")
    services[1].clear()
    answer = reader.ask("GET", "/search/epn/ask?target_name=Moon&_of=good/far.epn_core")
    assert (json.loads(answer.body)["status"], json.loads(answer.body)["rows"]) == ("ok", 30)
    assert [parse_qs(body)["QUERY"][0][:15] for body in services[1]] == ["SELECT COUNT(*)", "SELECT TOP 12 g"], (
        "its columns are remembered"
    )
    assert reader.ask("GET", "/search/epn/ask?target_name=Moon&_of=http://evil.example/tap").status == 400
    assert reader.ask("GET", "/search/epn/ask?_of=good/far.epn_core").status == 400
    assert reader.ask("GET", "/search/epn/ask?target_name=Moon&_of=hidden.epn_core").status == 400
    assert reader.ask("GET", "/search/ssa").status == 404


def test_the_rows_of_each_table_come_as_a_votable(
    reader: Client, services: tuple[tuple[RemoteTapService, ...], list[str]]
) -> None:
    line = lines(reader, "/search/epn?target_name=Moon")["one.epn_core"]
    path = str(line["votable_url"]).partition("://")[2].partition("/")[2]
    answer = reader.ask("GET", f"/{path}")
    assert (answer.status, answer.text.count("<TR>") or line["rows"]) == (200, line["rows"])
    remote = json.loads(reader.ask("GET", "/search/epn/ask?target_name=Moon&_of=good/far.epn_core").body)
    assert remote["votable_url"].startswith(f"{services[0][0].url.rstrip('/')}/sync?")
    assert parse_qs(remote["votable_url"].partition("?")[2])["QUERY"] == [remote["adql"]]


def test_faults_stay_in_their_fields(reader: Client) -> None:
    text = reader.ask("GET", "/search/epn?time=someday&target_name=Mars&nothing=1").text
    assert 'value="someday"' in text
    assert 'id="fault-time"' in text
    assert "there is no parameter 'nothing'" in html.unescape(text)


def test_a_private_address_is_not_asked_unless_the_site_allows_it(
    tmp_path: pytest.TempPathFactory, services: tuple[tuple[RemoteTapService, ...], list[str]]
) -> None:
    one = table("one")
    with open_tiny_site(tmp_path, {"one.epn_core": (one, rows(one, 3))}, remote=services[0][:1]) as site:  # type: ignore[arg-type]
        services[1].clear()
        found = lines(Client(create_and_start_application(site)), "/search/epn?target_name=Mars&_wait=1")
        assert found["good/far.epn_core"]["status"] == "failed"
        assert services[1] == []


def test_in_french(reader: Client) -> None:
    text = reader.ask("GET", "/search/epn?lang=fr").text
    assert "Chercher dans toutes les tables EPN-TAP" in text
    assert "Tables sans de telles lignes" in text
    assert "spectres dans le proche infrarouge" in reader.ask("GET", "/search/obscore?lang=fr").text


def test_fields_are_completed_from_all_tables_and_from_the_bodies(reader: Client) -> None:
    found = json.loads(reader.ask("GET", "/search/epn/facets?_of=target_name&_like=ma").body)["facets"][0]["choices"]
    assert found[0] == {"value": "Mars", "label": "Mars", "rows": 20 + 40}, (
        "lists are taken apart, tables are added up; no private one"
    )
    assert [one["value"] for one in found].count("Mars") == 1
    assert {"value": "Titan", "label": "Titan (moon of Saturn)", "rows": None} in json.loads(
        reader.ask("GET", "/search/epn/facets?_of=target_name&_like=tita").body
    )["facets"][0]["choices"]
    assert reader.ask("GET", "/search/epn/facets?_of=nothing").status == 400


def test_a_form_over_all_tables_that_was_sent_has_an_address_of_its_own(reader: Client) -> None:
    answer = reader.ask(
        "GET",
        "/search/epn?_q=&target_name=Mars&c2=-90&_to.c2=-60&_as.c2=&incidence=&_to.incidence=&_as.incidence=&_wait=1&lang=fr",
    )
    assert answer.status == 303
    assert parse_qs(answer.headers["location"].partition("?")[2]) == {
        "target_name": ["Mars"],
        "c2": ["-90..-60"],
        "_wait": ["1"],
        "lang": ["fr"],
    }


# --- rows of all at once, with pictures


def to_local_path(address: str) -> str:
    """Give the path of an address of the site."""
    return address.removeprefix("http://vo.example")


def png(side: int = 300) -> bytes:
    made = io.BytesIO()
    Image.new("RGB", (side, side), (200, 30, 30)).save(made, "PNG")
    return made.getvalue()


@pytest.fixture(scope="module")
def sights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Client, list[str], str]]:
    """A site whose rows have pictures elsewhere, with another service that has some, and one without such rows."""
    bomb = png(60)[:16] + b"\x00\x01\x00\x00\x00\x01\x00\x00" + png(60)[24:]  # says that it has 65536 x 65536 pixels
    given = {"/a.png": (200, png()), "/page": (200, b"<svg onload=alert(1)>"), "/huge.png": (200, png(8) + bytes(9 << 20)), "/cut.png": (200, png()[:200]), "/bomb.png": (200, bomb)}  # fmt: skip
    with contextlib.ExitStack() as stack:
        base, seen = stack.enter_context(serve_pictures(given))
        names = ("a.png", "page", "huge.png", "cut.png", "bomb.png", "gone.png")

        def site(name: str, folder: str, **more: object) -> Site:
            made = table(name)
            made = made.copy_with(columns=(*made.columns, Column(name="thumbnail_url", type=STRING)))
            values = rows(table(name), 6).append_column("thumbnail_url", pa.array([f"{base}/{one}" for one in names]))
            empty = table("none")
            tables = {f"{name}.epn_core": (made, values), "none.epn_core": (empty, rows(empty, 6).slice(0, 0))}
            return stack.enter_context(
                open_tiny_site(tmp_path_factory.mktemp(folder), tables, allow_private=True, **more)
            )

        address, _ = stack.enter_context(serve_site(site("far", "sights-far")))
        other = RemoteTapService(
            name="other", title="Other", url=address, tables=("far.epn_core", "none.epn_core"), seconds=60.0
        )
        yield Client(create_and_start_application(site("near", "sights", remote=(other,)))), seen, base


def test_rows_of_all_services_are_merged_and_pictures_are_proxied(sights: tuple[Client, list[str], str]) -> None:
    require_plugins("protocols", "previews")
    reader, seen, base = sights
    told: list[dict[str, Any]] = []

    def complete() -> bool:  # a busy machine may be late
        asked = reader.ask("GET", "/search/epn?dataproduct_type=im&_wait=1", headers={"accept": "application/json"})
        told.append(json.loads(asked.body))
        return bool(told[-1]["complete"])

    wait_until(complete)
    answer = told[-1]["answer"]
    assert [(row["key"], row["row"]) for row in answer["rows"]] == [
        *(("near.epn_core", f'["near-{n}"]') for n in range(6)), *(("other/far.epn_core", f'["far-{n}"]') for n in range(6))
    ]  # fmt: skip
    assert answer["rows"][0]["url"].endswith("/collections/near/epn_core?_row=%5B%22near-0%22%5D")
    assert "thumbnail_url" not in [column["name"] for column in answer["columns"]]
    begin = [column["name"] for column in answer["columns"]].index("time_min")
    times = [row["cells"][begin]["text"] for row in answer["rows"]]  # here and elsewhere
    wrong = [one for one in times if not re.fullmatch(r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d", one)]
    assert wrong == [], "no Julian dates"
    page = reader.get("/search/epn", dataproduct_type="im", _wait="1").text
    assert f'src="{base}' not in page, "no page of ours leads a browser elsewhere"
    assert page.count("<img src=") >= 6
    folded = page.index("data-folded")
    assert page.index('data-key="near.epn_core"') < folded < page.index('data-key="none.epn_core"'), (
        "what has no rows is folded"
    )
    shots = [to_local_path(row["picture"]) for row in answer["rows"]][:6]
    assert seen == [], "and nothing is fetched that nobody looks at"
    good = reader.ask("GET", shots[0])
    assert (good.status, good.headers["content-type"]) == (200, "image/png")
    with Image.open(io.BytesIO(good.body)) as image:
        assert image.size == (200, 200)
    assert reader.ask("GET", shots[0]).body == good.body
    assert seen == ["/a.png"], "a picture is fetched once"


def test_invalid_pictures_return_404_and_are_not_requested_again(sights: tuple[Client, list[str], str]) -> None:
    require_plugins("protocols", "previews")
    reader, seen, _ = sights
    answer = json.loads(
        reader.ask("GET", "/search/epn?dataproduct_type=im", headers={"accept": "application/json"}).body
    )["answer"]
    for row in answer["rows"][1:6]:
        assert [reader.ask("GET", to_local_path(row["picture"])).status for _ in range(2)] == [404, 404], row["picture"]
    assert len(seen) == len(set(seen))


def test_only_addresses_that_we_wrote_are_fetched(sights: tuple[Client, list[str], str]) -> None:
    reader, seen, base = sights
    seen.clear()
    for sign in ("", "0" * 32, "é"):
        assert reader.get("/search/epn/picture", url=f"{base}/a.png", sign=sign).status == 403
    assert reader.get("/search/epn/picture").status == 403
    assert seen == []


def test_examples_come_from_published_data(sights: tuple[Client, list[str], str], reader: Client) -> None:
    page = sights[0].get("/search/epn").text
    found = re.findall(r'<li><a href="([^"]*)">([^<]*)</a> <span class="soft">(\d+)</span>', page)
    assert [(to_local_path(url), label, int(rows)) for url, label, rows in found] == [
        ("/search/epn?target_name=Mars", "Mars", 4), ("/search/epn?target_name=Moon", "Moon", 2), ("/search/epn?target_name=Venus", "Venus", 2),
        ("/search/epn?dataproduct_type=im", "image", 6),
    ]  # fmt: skip
    assert "images within 30 arcmin of the Crab nebula" in reader.get("/search/obscore").text


def test_one_map_shows_the_rows_of_all_services(sights: tuple[Client, list[str], str]) -> None:
    reader = sights[0]

    def complete() -> dict[str, Any]:
        found = json.loads(reader.ask("GET", "/search/epn/places?target_name=Moon&_view_at=0,0,9,9&_c=x").body)
        return found if found["total"] == 4 else {}  # a busy machine may be late

    wait_until(complete)
    found = complete()
    assert (found["kind"], found["body"], found["frame"] is None or found["frame"]["radius"]) in {
        ("body", "Moon", True),
        ("body", "Moon", 0.0),
    }
    assert found["keys"] == [
        'near.epn_core ["near-2"]',
        'near.epn_core ["near-5"]',
        'other/far.epn_core ["far-2"]',
        'other/far.epn_core ["far-5"]',
    ]
    assert found["shapes"] == ["1 3 2 4"] * 4


def test_the_page_has_a_map_if_all_rows_are_of_one_body(sights: tuple[Client, list[str], str]) -> None:
    require_page_part("table.map")
    reader = sights[0]
    assert 'data-pane="body"' in reader.get("/search/epn", target_name="Moon").text
    for asked in ("", "target_name=Moon,Mars", "dataproduct_type=im", "target_name=nothing+known"):
        assert 'data-pane="body"' not in reader.ask("GET", f"/search/epn?{asked}").text, asked
    assert json.loads(reader.ask("GET", "/search/epn/places").body)["keys"] == []
    assert 'data-pane="sky"' in reader.get("/search/obscore", dataproduct_type="image").text


def test_elements_that_the_script_finds_are_unique(reader: Client) -> None:
    page = reader.get("/search/obscore", _q="a").text
    assert "data-found" in page, "the place of the form"
    names = re.findall(r'Element\(document, "[.\[]([\w-]+)\]?"\)', SCRIPT.read_text(encoding="utf-8"))
    assert len(names) >= 4
    for name in names:
        assert len(re.findall(rf'<[^>]*[\s"]{name}[\s">=]', page)) <= 1, name
