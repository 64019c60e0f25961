"""One form over all EPN-TAP or ObsCore tables: here, at a second Hven, at one that hangs, one that is down, one that answers nonsense."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from urllib.parse import parse_qs

import pyarrow as pa
import pytest
from asking import Client
from elsewhere import down, hanging, nonsense, served

from hven import query
from hven.app._server import create
from hven.model.settings import RemoteService
from hven.model.table import Column, Table
from hven.model.types import FLOAT64, STRING
from hven.site import Site
from hven.testing.site import tiny_site

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
    return pa.Table.from_pylist(values, schema=made.arrow)


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    far = table("far")
    with tiny_site(tmp_path_factory.mktemp("there"), {"far.epn_core": (far, rows(far, 90))}) as made:
        yield made


@pytest.fixture(scope="module")
def services(there: Site) -> Iterator[tuple[tuple[RemoteService, ...], list[str]]]:
    with contextlib.ExitStack() as stack:
        good, seen = stack.enter_context(served(there))
        silent, odd, gone = (stack.enter_context(one()) for one in (hanging, nonsense, down))
        yield (
            (
                RemoteService(
                    name="good",
                    title="The <i>other</i> Hven",
                    url=good,
                    tables=("far.epn_core", "far.nothing"),
                    seconds=60.0,
                ),
                RemoteService(name="silent", url=silent, tables=("a.epn_core",), seconds=1.0),
                RemoteService(name="gone", url=gone, tables=("b.epn_core",)),
                RemoteService(name="odd", url=odd, tables=("c.epn_core",)),
                RemoteService(name="sky", url=good, kind="obscore", tables=("ivoa.obscore",)),
            ),
            seen,
        )


@pytest.fixture(scope="module")
def here(
    tmp_path_factory: pytest.TempPathFactory, services: tuple[tuple[RemoteService, ...], list[str]]
) -> Iterator[Site]:
    one, two, hidden = (
        table("one"),
        table("two", less=("spectral_range_min", "spectral_range_max")),
        table("hidden").having(access="private"),
    )
    tables = {
        "one.epn_core": (one, rows(one, 30)),
        "two.epn_core": (two, rows(two, 60)),
        "hidden.epn_core": (hidden, rows(hidden, 3)),
    }
    with tiny_site(tmp_path_factory.mktemp("here"), tables, allow_private=True, remote=services[0]) as made:
        yield made


@pytest.fixture(scope="module")
def reader(here: Site) -> Client:
    return Client(create(here))


def lines(reader: Client, path: str) -> dict[str, dict[str, object]]:
    answer = reader.ask("GET", path, headers={"accept": "application/json"})
    assert answer.status == 200, answer.text[:500]
    return {line["key"]: line for line in json.loads(answer.body)["lines"]}


def test_nothing_is_sent_anywhere_until_something_is_asked(
    reader: Client, services: tuple[tuple[RemoteService, ...], list[str]]
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


def test_the_counts_are_those_of_a_query(there: Site, here: Site) -> None:
    for site, name, wanted in ((there, "far", 21), (here, "two", 21), (here, "one", 20)):
        text = f"SELECT COUNT(*) FROM {name}.epn_core WHERE (target_name = 'Mars' OR target_name = 'Venus#Mars') AND time_max >= 2453005.5 AND time_min < 2453036.5"
        with query.run(text, site=site) as result:
            assert result.table().column(0)[0].as_py() == wanted


def test_a_table_without_the_column_says_so(reader: Client) -> None:
    found = lines(reader, "/search/epn?spectral_range=1..2 um")
    assert found["two.epn_core"]["status"] == "other"
    assert "spectral_range" in str(found["two.epn_core"]["message"])
    assert found["one.epn_core"]["status"] == "ok"


def test_the_page_without_scripts(reader: Client) -> None:
    quick = reader.ask("GET", "/search/epn?target_name=Mars")
    assert '<noscript><meta http-equiv="refresh"' in quick.text
    assert "not asked yet" in quick.text
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
    ):
        assert word in text, word
    assert "<script>alert" not in text
    assert "<b>CAM" not in text


def test_the_query_it_stands_for_runs_and_finds_as_many(here: Site, reader: Client) -> None:
    answer = json.loads(reader.ask("GET", "/search/epn?target_name=Mars", headers={"accept": "application/json"}).body)
    with query.run(answer["adql"], site=here) as result:
        found = result.table()
    assert found.num_rows == sum(line["rows"] for line in answer["lines"] if "/" not in line["key"])
    assert set(found.column("source_table").to_pylist()) == {"one.epn_core", "two.epn_core"}


def test_one_line_alone(reader: Client, services: tuple[tuple[RemoteService, ...], list[str]]) -> None:
    reader.ask("GET", "/search/epn/ask?target_name=Venus&_of=good/far.epn_core")
    services[1].clear()
    answer = reader.ask("GET", "/search/epn/ask?target_name=Moon&_of=good/far.epn_core")
    assert (json.loads(answer.body)["status"], json.loads(answer.body)["rows"]) == ("ok", 30)
    assert [parse_qs(body)["QUERY"][0][:15] for body in services[1]] == ["SELECT COUNT(*)"], (
        "its columns are remembered"
    )
    assert reader.ask("GET", "/search/epn/ask?target_name=Moon&_of=http://evil.example/tap").status == 400
    assert reader.ask("GET", "/search/epn/ask?_of=good/far.epn_core").status == 400
    assert reader.ask("GET", "/search/epn/ask?target_name=Moon&_of=hidden.epn_core").status == 400
    assert reader.ask("GET", "/search/ssa").status == 404


def test_faults_stay_in_their_fields(reader: Client) -> None:
    text = reader.ask("GET", "/search/epn?time=someday&target_name=Mars&nothing=1").text
    assert 'value="someday"' in text
    assert 'id="fault-time"' in text
    assert "no parameter nothing" in text


def test_a_private_address_is_not_asked_unless_the_site_allows_it(
    tmp_path: pytest.TempPathFactory, services: tuple[tuple[RemoteService, ...], list[str]]
) -> None:
    one = table("one")
    with tiny_site(tmp_path, {"one.epn_core": (one, rows(one, 3))}, remote=services[0][:1]) as site:  # type: ignore[arg-type]
        services[1].clear()
        found = lines(Client(create(site)), "/search/epn?target_name=Mars&_wait=1")
        assert found["good/far.epn_core"]["status"] == "failed"
        assert services[1] == []


def test_in_french(reader: Client) -> None:
    text = reader.ask("GET", "/search/epn?lang=fr").text
    assert "Chercher dans toutes les tables EPN-TAP" in text
    assert "images de Mars" in text


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
