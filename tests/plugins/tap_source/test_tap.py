"""Tables of TAP services: Hven itself is the service, with a limit below its tables, and something between that disturbs."""

from __future__ import annotations

import datetime as dt
import re
import threading
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from pydantic import ValidationError

from faulty_proxy import (
    close_connection,
    compress_body,
    delay_answer,
    redirect,
    refuse_as_busy,
    replace_answer,
    run_proxy,
    send_gzip_file,
    truncate_body,
)
from hven.ingest.api.runs import ingest_collection
from hven.model.errors import ForbiddenError, SourceError, UserError
from hven.plugins.tap_source import source as tap
from hven.plugins.tap_source import tap_client
from hven.sources import ROW_NUMBER_COLUMN, SourceContext, _rate_limiting
from hven.testing.site import open_site_with_uningested_files
from hven.testing.source import SourceContract
from plugin_needs import require_verb
from process_runner import run_hven, serve_site

ROWS = [
    {"name": "Vega", "ra": 279.23, "n": 1},
    {"name": "de'neb", "ra": 310.36, "n": 2},
    {"name": None, "ra": None, "n": 3},
]
MANY = 2345
LIMIT = 500
DESCRIPTOR = """
collection: far
title: Far away
tables:
  stars:
    description: Three stars.
    source: {kind: parquet, files: stars.parquet}
    primary: [n]
    columns:
      name: {type: string}
      ra: {type: float64, unit: deg, ucd: pos.eq.ra;meta.main, description: Right ascension}
      n: {type: int64}
  many:
    primary: [id]
    source: {kind: parquet, files: many.parquet}
    columns:
      id: {type: string, ucd: meta.id;meta.main, indexed: true}
      number: {type: int64, indexed: true}
      sector: {type: int32, indexed: true}
      alike: {type: int32}
      size: {type: float64, unit: arcsec}
      modified: {type: timestamp}
      flux: {type: "float32[2]"}
    keys: {star: {columns: number, target: stars, target_columns: n}}
"""


def build_many_rows():
    start = dt.datetime(2026, 1, 1)
    return pa.table(
        {
            "id": [f"F {number * 7919 % MANY:05d}" for number in range(MANY)],
            "number": pa.array(range(MANY), pa.int64()),
            "sector": pa.array([number // 73 for number in range(MANY)], pa.int32()),
            "alike": pa.array([0] * (LIMIT + 1) + [1] * (MANY - LIMIT - 1), pa.int32()),
            "size": pa.array([None if number % 10 == 3 else number / 7 for number in range(MANY)]),
            "modified": pa.array(
                [None if number % 100 == 7 else start + dt.timedelta(seconds=number) for number in range(MANY)],
                pa.timestamp("us"),
            ),
            "flux": pa.array([[number, 0.5] for number in range(MANY)], pa.list_(pa.float32())),
        }
    )


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    site = tmp_path_factory.mktemp("far")
    run_hven("init", site)
    with (site / "hven.toml").open("a") as file:
        file.write(f"\n[limits]\nmaxrec_default = 100\nmaxrec_hard = {LIMIT}\n\n[jobs]\nmaxrec_hard = 100000\n")
    place = site / "collections/far"
    place.mkdir(parents=True)
    (place / "far.yaml").write_text(DESCRIPTOR)
    pq.write_table(pa.Table.from_pylist(ROWS), place / "stars.parquet")
    pq.write_table(build_many_rows(), place / "many.parquet")
    run_hven("ingest", "far", "--site", site)
    with serve_site(site) as running:
        yield running


@pytest.fixture(scope="module")
def proxy(server):
    with run_proxy(server.port) as between:
        yield between


@pytest.fixture(autouse=True)
def _quick(request, monkeypatch):
    monkeypatch.setattr(_rate_limiting, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(tap_client, "FIRST_POLL_SECONDS", 0.02)
    if "proxy" in request.fixturenames:
        between = request.getfixturevalue("proxy")
        for one in (between.requests, between.headers, between.coming_changes):
            one.clear()
        between.default_change = None


def open_source(url, *, key=(), secret=None, tell=None, page=None, rate=None, allow_private=True, **options):
    context = SourceContext(
        resolve_secret=secret,
        on_notice=tell,
        key_columns=key,
        page_row_limit=page,
        requests_per_second=rate,
        allow_private=allow_private,
    )
    return tap.open(tap.Options.model_validate({"url": url, **options}), context)


def rows(source, columns=None):
    return [row for batch in source.read_batches(columns) for row in batch.to_pylist()]


def ids(source):
    return [row["id"] for row in rows(source, ["id"])]


@pytest.mark.outside
class TestTap(SourceContract):
    kind = "tap"
    rows = ROWS
    key = ["n"]
    has_files = False

    @pytest.fixture(autouse=True)
    def _at(self, server):
        self.url = f"{server.url}/tap"

    def write_source_files(self, directory):
        return {"url": self.url, "table": "far.stars", "key": "n"}

    def build_source_context(self, directory):
        return SourceContext(directory=directory, allow_private=True)


EXPECTED = sorted(build_many_rows()["id"].to_pylist())


# -- what comes -----------------------------------------------------------------------------


def test_types_units_ucds_and_descriptions_are_taken_over(server):
    source = open_source(f"{server.url}/tap/", table="far.stars")
    found = {column.name: column for column in source.list_columns()}
    assert [(column.name, str(column.type)) for column in found.values()] == [
        ("name", "string"),
        ("ra", "float64"),
        ("n", "int64"),
    ]
    assert (found["ra"].unit, found["ra"].ucd, found["ra"].description) == (
        "deg",
        "pos.eq.ra;meta.main",
        "Right ascension",
    )
    assert source.read_title_and_description() == (None, "Three stars.")
    assert source.estimate_progress_total() == 3
    assert source.list_input_versions()[0].detail == "SELECT * FROM far.stars"
    assert [
        offer.option_value
        for offer in tap.list_source_tables({"url": f"{server.url}/tap/sync"}, SourceContext(allow_private=True))
    ] == [
        "far.many",
        "far.stars",
    ]


def test_a_table_beyond_the_services_limit_comes_page_by_page(proxy):
    source = open_source(proxy.url, table="far.many", page=200)
    # the key: an indexed meta.id;meta.main
    assert rows(source) == sorted(build_many_rows().to_pylist(), key=lambda row: row["id"])
    asked = [query for query in proxy.queries if "TOP 200" in query]
    assert len(asked) == 12
    assert all("ORDER BY id" in query for query in asked)


def test_in_another_context_nothing_is_asked_anew(proxy):
    source = open_source(proxy.url, table="far.many")
    columns, asked = source.list_columns(), len(proxy.requests)
    later = source.with_context(
        SourceContext(key_columns=["number"], page_row_limit=400, requests_per_second=1000, allow_private=True)
    )
    assert later.list_columns() == columns
    assert len(proxy.requests) == asked
    assert ids(later) == build_many_rows()["id"].to_pylist()
    assert sum(query.startswith("SELECT TOP 400 ") and "ORDER BY number" in query for query in proxy.queries) == 6


def test_an_ingest_asks_once_for_columns(proxy, tmp_path):
    text = f"collection: near\ntitle: Near\ntables: {{stars: {{primary: n, source: {{kind: tap, url: '{proxy.url}', table: far.stars}}}}}}\n"
    with open_site_with_uningested_files(tmp_path, text, allow_private=True) as site:
        assert ingest_collection(site, "near").row_count == 3
    assert sum(query.startswith("SELECT TOP 1 *") for query in proxy.queries) == 1
    assert sum("TAP_SCHEMA.columns" in query for query in proxy.queries) == 1


def test_more_is_asked_than_the_service_gives(server):
    # OVERFLOW after 500 of each page
    assert ids(open_source(f"{server.url}/tap", table="far.many", page=10_000)) == EXPECTED


@pytest.mark.parametrize("page", [70, 100, 400])
def test_keys_that_occur_often_lose_nothing(server, page):
    source = open_source(f"{server.url}/tap", table="far.many", key=["sector"], page=page)
    found = rows(source, ["id", "sector", ROW_NUMBER_COLUMN])
    assert sorted(row["id"] for row in found) == EXPECTED
    assert [row["sector"] for row in found] == sorted(row["sector"] for row in found)
    assert [row[ROW_NUMBER_COLUMN] for row in found] == list(range(1, MANY + 1))


def test_a_service_that_repeats_a_page_is_refused(proxy):
    """A service that ignores the condition on the key would be read without end."""
    pages = []

    def repeat_first_page(answer):
        if "ORDER BY" not in proxy.queries[-1]:
            return answer
        pages.append(answer)
        return pages[0]

    proxy.default_change = repeat_first_page
    with pytest.raises(SourceError, match="sends the same rows again, although Hven asks for the rows behind them"):
        ids(open_source(proxy.url, table="far.many", key=["id"], page=100))
    assert len(pages) == 2


def test_a_key_with_more_rows_than_the_limit_is_refused(server):
    with pytest.raises(
        SourceError,
        match=r"more rows with the same key than fit in one response \(500 rows\); choose a `key` with more distinct values \(it is now alike\)",
    ):
        ids(open_source(f"{server.url}/tap", table="far.many", key=["alike"], page=100))


def test_a_key_with_nulls_loses_nothing(server):
    found = rows(open_source(f"{server.url}/tap", table="far.many", key=["size"], page=150), ["id", "size"])
    assert sorted(row["id"] for row in found) == EXPECTED
    assert [row["size"] is None for row in found] == sorted(row["size"] is None for row in found)


def test_keys_of_several_columns_and_pages_to_go_on_from(server):
    source = open_source(f"{server.url}/tap", table="far.many", key=["sector", "modified"], page=300)
    whole = list(source.read_pages(["id", ROW_NUMBER_COLUMN]))
    expected = [row for batch, _ in whole for row in batch.to_pylist()]
    assert sorted(row["id"] for row in expected) == EXPECTED
    place = whole[3][1]
    again = open_source(f"{server.url}/tap", table="far.many", key=["sector", "modified"], page=170)
    rest = [
        row for batch, _ in again.read_pages(["id", ROW_NUMBER_COLUMN], resume_token=place) for row in batch.to_pylist()
    ]
    before = sum(batch.num_rows for batch, _ in whole[:4])
    assert rest == expected[before:]
    with pytest.raises(SourceError, match="belongs to different key columns"):
        list(open_source(f"{server.url}/tap", table="far.many", key=["id"]).read_pages(resume_token=place))


def test_without_a_key_a_table_must_fit_into_one_answer(server):
    query = {"adql": "SELECT id, number FROM far.many WHERE number < 1000"}
    with pytest.raises(
        SourceError, match="returned only 500 rows, but there are more rows; set `key` to an indexed column"
    ):
        ids(open_source(f"{server.url}/tap", **query))
    assert len(ids(open_source(f"{server.url}/tap", **query, key=["number"]))) == 1000
    assert len(ids(open_source(f"{server.url}/tap", **query, mode="async"))) == 1000  # jobs have another limit here


def test_a_limit_takes_a_few(proxy):
    source = open_source(proxy.url, table="far.many")
    source.list_columns()
    assert [batch.num_rows for batch in source.read_batches(["id"], row_limit=7)] == [7]
    assert proxy.queries[-1].startswith("SELECT TOP 7 id FROM far.many")


def test_columns_of_the_option_are_all_there_is(server):
    source = open_source(f"{server.url}/tap", table="far.many", columns=["size", "id"])
    assert [column.name for column in source.list_columns()] == ["size", "id"]
    assert [column.unit for column in source.list_columns()] == ["arcsec", None]
    with pytest.raises(SourceError, match="has no column 'sise'; did you mean 'size'"):
        open_source(f"{server.url}/tap", table="far.many", columns=["sise"]).list_columns()


# -- parts of it ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "value", "newer"),
    [
        (
            "modified",
            dt.datetime(2026, 1, 1, 0, 30),
            lambda row: row["modified"] is None or row["modified"] >= dt.datetime(2026, 1, 1, 0, 30),
        ),
        ("number + sector * 2", 2000, lambda row: row["number"] + 2 * row["sector"] >= 2000),
        ("GREATEST(number, sector)", 2300, lambda row: row["number"] >= 2300),
        (
            'COALESCE("size", number)',
            2200.0,
            lambda row: (row["size"] if row["size"] is not None else row["number"]) >= 2200,
        ),
        ('"size"', 300.0, lambda row: row["size"] is None or row["size"] >= 300),
        ("size", 300.0, lambda row: row["size"] is None or row["size"] >= 300),
        ("id", "F 02300", lambda row: row["id"] >= "F 02300"),
    ],
)
def test_watermarks(server, expression, value, newer):
    source = open_source(f"{server.url}/tap", table="far.many", page=450)
    assert source.can_filter_by(expression)
    part = source.select_since(expression, value)
    assert sorted(ids(part)) == sorted(row["id"] for row in build_many_rows().to_pylist() if newer(row))
    assert part.estimate_progress_total() == len(ids(part))


def test_keys_are_asked_for_in_portions(proxy):
    source = open_source(proxy.url, table="far.many")
    wanted = EXPECTED[::3]
    assert sorted(ids(source.select_keys(["id"], pa.table({"id": wanted})))) == wanted
    assert sum(" IN (" in query for query in proxy.queries) == 3  # TAP_SCHEMA's, and two portions
    twice = pa.table({"sector": pa.array([5, 6, 7, 8, 9, 10, 11, 12], pa.int32())})  # 584 rows: more than the limit
    assert len(ids(source.select_keys(["sector"], twice))) == 584
    both = pa.table(
        {
            "sector": pa.array([0, 0, 1], pa.int32()),
            "modified": pa.array([dt.datetime(2026, 1, 1, 0, 0, 5), None, dt.datetime(2026, 1, 1)]),
        }
    )
    assert rows(source.select_keys(["sector", "modified"], both), ["number"]) == [{"number": 5}, {"number": 7}]


# -- what goes wrong ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "trouble",
    [
        refuse_as_busy(),
        refuse_as_busy(Retry_After="0"),
        refuse_as_busy(502),
        refuse_as_busy(429),
        close_connection,
        truncate_body(0.4, told=True),
        truncate_body(0.6, told=False),
        truncate_body(0.0, told=False),
        compress_body,
        send_gzip_file,
        delay_answer(0.05),
    ],
    ids=["503", "Retry-After", "502", "429", "closed", "short", "cut", "nothing", "gzip", "gzip file", "late"],
)
def test_what_a_pause_mends_is_asked_again(proxy, trouble):
    source = open_source(proxy.url, table="far.many", page=480)
    source.list_columns()
    proxy.coming_changes += [None, None, trouble, None, trouble, trouble]
    assert ids(source) == EXPECTED


def test_a_service_failing_midway_aborts_the_read_with_its_message(proxy):
    source = open_source(proxy.url, table="far.many", page=400, tries=3)
    source.list_columns()
    proxy.coming_changes += [None, None, None]
    proxy.default_change = refuse_as_busy()
    got = source.read_batches(["id"])
    assert next(got).num_rows == 399  # a page that was there; nobody publishes it
    with pytest.raises(
        SourceError,
        match=r"127\.0\.0\.1: the service returned status 503: Service Unavailable come back later; Hven tried 3 times",
    ):
        list(got)
    proxy.default_change = close_connection
    with pytest.raises(SourceError, match="Hven tried 3 times"):
        ids(source)


def test_the_pause_that_a_service_asks_for_is_kept(proxy):
    source = open_source(proxy.url, table="far.stars", tries=2)
    proxy.coming_changes += [refuse_as_busy(Retry_After="1")]
    begun = time.monotonic()
    source.list_columns()
    assert time.monotonic() - begun >= 1
    proxy.coming_changes += [refuse_as_busy(Retry_After="86400")]
    with pytest.raises(SourceError, match="asks clients to wait 86400 s"):
        open_source(proxy.url, table="far.stars").list_columns()


def test_pauses_are_seconds_or_dates():
    moment = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=90)
    assert _rate_limiting.parse_retry_after("120") == 120
    assert _rate_limiting.parse_retry_after(moment.strftime("%a, %d %b %Y %H:%M:%S GMT")) == pytest.approx(90, abs=30)
    assert _rate_limiting.parse_retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert _rate_limiting.parse_retry_after("soon") is None
    assert _rate_limiting.parse_retry_after("²") is None, "a digit that is no number"
    assert _rate_limiting.parse_retry_after(None) is None


def test_errors_are_the_services_own_words(proxy):
    with pytest.raises(SourceError, match=r"127\.0\.0\.1 reports: .*nosuch"):
        open_source(proxy.url, table="far.nosuch").list_columns()
    assert len(proxy.requests) == 1  # it is no use to ask again
    late_error = (
        '<VOTABLE xmlns="http://www.ivoa.net/xml/VOTable/v1.3" version="1.4"><RESOURCE type="results"><INFO name="QUERY_STATUS" value="OK"/><TABLE>'
        '<FIELD name="n" datatype="int"/><DATA><TABLEDATA><TR><TD>1</TD></TR></TABLEDATA></DATA></TABLE>'
        '<INFO name="QUERY_STATUS" value="ERROR">disk on fire</INFO></RESOURCE></VOTABLE>'
    )
    proxy.coming_changes += [replace_answer(late_error)]
    with pytest.raises(SourceError, match="reports: disk on fire"):
        open_source(proxy.url, table="far.stars").list_columns()
    proxy.coming_changes += [replace_answer("<html><body>Welcome!</body></html>", media="text/html")]
    with pytest.raises(SourceError, match="returned no table: the document is not a VOTable"):
        open_source(proxy.url, table="far.stars").list_columns()
    proxy.coming_changes += [replace_answer("no entry", status=401)]
    with pytest.raises(SourceError, match=r"denied access \(401\); set `token`"):
        open_source(proxy.url, table="far.stars").list_columns()
    with pytest.raises(SourceError, match=r"no TAP service at .*/somewhere \(404\)"):
        open_source(proxy.url.replace("/tap", "/somewhere"), table="far.stars").list_columns()


def test_a_service_that_cuts_without_a_word_is_found_out(proxy):
    """Neither OVERFLOW nor a round number: its own COUNT(*) tells."""

    def remove_overflow_flag(answer):
        return type(answer)(answer.status, answer.headers, answer.body.replace(b'value="OVERFLOW"', b'value="OK"'))

    source = open_source(proxy.url, table="far.many", page=100_000)
    source.list_columns()
    proxy.default_change = remove_overflow_flag
    assert ids(source) == EXPECTED  # 500 rows: such limits are round, so there is a next page

    def shorter(answer):
        return (
            remove_overflow_flag(answer)
            if b"OVERFLOW" in answer.body or b"hven_rows" in answer.body
            else replace_answer(EMPTY)(answer)
        )

    proxy.default_change = shorter
    with pytest.raises(SourceError, match="counts 2,345 rows, but returned 1,996; set a smaller `page`"):
        ids(source)


EMPTY = (
    '<VOTABLE xmlns="http://www.ivoa.net/xml/VOTable/v1.3" version="1.4"><RESOURCE type="results"><INFO name="QUERY_STATUS" value="OK"/>'
    '<TABLE><FIELD name="id" datatype="char" arraysize="*"/><DATA><TABLEDATA/></DATA></TABLE></RESOURCE></VOTABLE>'
)


def test_redirects(proxy, server):
    proxy.coming_changes += [redirect(f"{server.url}/tap/sync", 307), redirect(f"{server.url}/tap/sync", 301)]
    source = open_source(proxy.url, table="far.stars")
    assert len(rows(source)) == 3
    proxy.default_change = redirect(f"{proxy.url}/sync")
    with pytest.raises(UserError, match="redirects too many times"):
        open_source(proxy.url, table="far.stars").list_columns()


def test_addresses_inside_are_not_asked(server):
    with pytest.raises(ForbiddenError, match="not on the public internet"):
        open_source(f"{server.url}/tap", table="far.stars", allow_private=False).list_columns()


def test_what_takes_too_long_becomes_a_job(proxy):
    slow = (
        '<VOTABLE xmlns="http://www.ivoa.net/xml/VOTable/v1.3" version="1.4"><RESOURCE type="results">'
        '<INFO name="QUERY_STATUS" value="ERROR">Query timed out (limit 60 s)</INFO></RESOURCE></VOTABLE>'
    )
    source = open_source(proxy.url, table="far.stars")
    source.list_columns()
    over = threading.Event()
    for trouble, seconds in (
        (replace_answer(slow, status=400), 300.0),
        (delay_answer(120, over), 3.0),
    ):  # it says so, or says nothing
        proxy.requests.clear()
        source.tap.service.timeout_seconds = seconds
        proxy.coming_changes += [trouble]
        assert rows(source.select_since("n", 2)) == ROWS[1:]
        methods = [(method, path.partition("?")[0]) for method, path, _ in proxy.requests]
        assert ("POST", "/tap/async") in methods
        assert methods[-1][0] == "DELETE"
        assert methods[-1][1].startswith("/tap/async/")
    over.set()
    proxy.coming_changes += [replace_answer(slow, status=400)]
    with pytest.raises(SourceError, match="Query timed out"):
        rows(open_source(proxy.url, table="far.stars", mode="sync"))


@pytest.mark.parametrize("status", [404, 405, 501])
def test_a_slow_service_without_jobs_is_not_taken_for_none(proxy, status):
    slow = (
        '<VOTABLE xmlns="http://www.ivoa.net/xml/VOTable/v1.3" version="1.4"><RESOURCE type="results">'
        '<INFO name="QUERY_STATUS" value="ERROR">Query timed out (limit 60 s)</INFO></RESOURCE></VOTABLE>'
    )
    source = open_source(proxy.url, table="far.stars")
    source.list_columns()
    proxy.coming_changes += [replace_answer(slow, status=400), replace_answer("no such address", status=status)]
    with pytest.raises(
        SourceError,
        match=rf"does not run queries as jobs \(.*/async returned status {status}\), but its /sync takes too long",
    ):
        rows(source.select_since("n", 2))
    proxy.coming_changes += [replace_answer("no such address", status=status)]
    with pytest.raises(SourceError, match="`mode: async` needs jobs; request fewer rows at a time"):
        open_source(proxy.url, table="far.stars", mode="async").list_columns()


def test_jobs_are_followed_through_trouble_and_taken_away(proxy):
    source = open_source(proxy.url, table="far.stars", mode="async")
    source.list_columns()
    proxy.requests.clear()
    proxy.coming_changes += [None, close_connection, refuse_as_busy()]  # the job is made; then two looks at it fail
    assert rows(source.select_since("n", 2)) == ROWS[1:]
    made = [path for method, path, _ in proxy.requests if (method, path) == ("POST", "/tap/async")]
    assert len(made) == 1
    assert proxy.requests[-1][0] == "DELETE"
    with pytest.raises(SourceError, match=r"the job at .* ended with the phase ERROR: .*nosuch"):
        open_source(proxy.url, adql="SELECT * FROM far.nosuch", mode="async").list_columns()


@pytest.mark.parametrize(
    ("url", "place", "found"),
    [
        ("https://host:8443/tap", "http://host/tap/async/1", "https://host:8443/tap/async/1"),
        ("https://host/tap", "https://jobs.host/1", "https://jobs.host/1"),
        ("http://host/tap", "http://host:80/tap/async/1", "http://host:80/tap/async/1"),
        ("https://host/tap", "http://elsewhere/tap/async/1", None),
    ],
)
def test_jobs_stay_with_https(url, place, found):
    source = open_source(url, table="t")
    if found is not None:
        assert source.tap._restore_https(place) == found
        return
    with pytest.raises(ForbiddenError, match="created the job at elsewhere, an address without https"):
        source.tap._restore_https(place)


def test_requests_keep_their_rate(proxy):
    source = open_source(proxy.url, table="far.many", page=500, rate=20)
    source.list_columns()
    proxy.requests.clear()
    begun = time.monotonic()
    ids(source)
    assert (time.monotonic() - begun) * 20 >= len(proxy.requests) - 1.5


def test_secrets_go_to_the_service_and_nowhere_else(proxy, server):
    secret = {"$KEY": "sesame", "$LOGIN": "tycho:sesame"}.get
    source = open_source(proxy.url, table="far.stars", token="$KEY", secret=secret)
    proxy.coming_changes += [refuse_as_busy(), replace_answer("no", status=401)]
    with pytest.raises(SourceError, match="denied access") as caught:
        source.list_columns()
    assert [headers["authorization"] for headers in proxy.headers] == ["Bearer sesame"] * 2
    assert "sesame" not in str(caught.value)
    with run_proxy(server.port) as other:
        proxy.coming_changes += [redirect(f"{other.url}/sync", 307)]
        open_source(proxy.url, table="far.stars", login="$LOGIN", secret=secret).list_columns()
        assert proxy.headers[-1]["authorization"] == "Basic dHljaG86c2VzYW1l"
        assert "authorization" not in other.headers[0]
        asked = len(proxy.headers)
        other.headers.clear()
        proxy.coming_changes += [redirect(f"{other.url}/async/none", 303)]  # a job that is said to be elsewhere
        with pytest.raises(SourceError):
            open_source(
                proxy.url, table="far.stars", login="$LOGIN", secret=secret, mode="async", tries=1
            ).list_columns()
        assert "authorization" in proxy.headers[asked]
        assert other.headers
        assert all("authorization" not in headers for headers in other.headers)
    with pytest.raises(SourceError, match="would be sent over plain http"):
        open_source("http://archive.example/tap", table="t", token="$KEY", secret=secret, allow_private=False)
    with pytest.raises(SourceError, match=r"the secret \$KEY cannot be read here"):
        open_source(proxy.url, table="t", token="$KEY")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"table": "t", "adql": "SELECT 1"}, "give either `table` or `adql`"),
        ({}, "give either `table` or `adql`"),
        ({"table": "t", "token": "sesame"}, "put the value into a secret"),
        ({"table": "t", "token": "$A", "login": "$B"}, "give `token` or `login`, not both"),
        ({"table": "t", "url": "ftp://host/tap"}, "url"),
    ],
)
def test_options_that_contradict_each_other(options, message):
    with pytest.raises(ValidationError, match=message):
        tap.Options.model_validate({"url": "https://host/tap", **options})


# -- answers that were cut off --------------------------------------------------------------


def overflowing(answer):
    """Say of an answer that there are more rows."""
    body = answer.body.replace(b"</TABLE>", b'</TABLE><INFO name="QUERY_STATUS" value="OVERFLOW"/>')
    return type(answer)(answer.status, answer.headers, body)


def test_a_list_of_tables_that_was_cut_off_is_refused(proxy):
    proxy.coming_changes += [overflowing]
    with pytest.raises(SourceError, match=r"127\.0\.0\.1.* truncated its response"):
        tap.list_source_tables({"url": proxy.url}, SourceContext(allow_private=True))


def test_metadata_of_columns_that_were_cut_off_are_missed(proxy):
    told = []
    source = open_source(proxy.url, table="far.stars", tell=told.append)
    assert {column.name: column.unit for column in source.list_columns()}["ra"] == "deg"
    source = open_source(proxy.url, table="far.stars", tell=told.append)

    def overflow_schema_queries(answer):
        return overflowing(answer) if "TAP_SCHEMA.columns" in proxy.queries[-1] else answer

    proxy.default_change = overflow_schema_queries
    assert [column.name for column in source.list_columns()] == ["name", "ra", "n"]
    assert any("columns have no metadata from TAP_SCHEMA" in str(one) for one in told)


# -- a first descriptor ---------------------------------------------------------------------


def test_new_drafts_a_descriptor_of_a_tap_service(server, tmp_path):
    require_verb("new")
    run_hven("init", tmp_path)
    with (tmp_path / "hven.toml").open("a") as file:
        file.write("\nallow_private = true\n")
    site = ("--site", tmp_path)
    several = run_hven(*site, "new", "near", "--from", f"{server.url}/tap", expected_code=2).stderr
    assert "the service has 2 tables and views: far.many, far.stars" in several
    run_hven(*site, "new", "near", "--from", f"{server.url}/tap", "--table", "far.many")
    text = (tmp_path / "collections/near/near.yaml").read_text()
    assert f"source: {{kind: tap, url: '{server.url}/tap', table: far.many, key: id}}" in text.replace('"', "'")
    assert "primary: [id]" in text
    assert "# guessed from the first" in text
    run_hven(*site, "ingest", "near")
    assert re.search(r"near\.main +2,345", run_hven(*site, "status").stdout)


def test_an_ingest_pages_by_the_primary_key(proxy, tmp_path):
    """Its columns are copied unchanged, and the service has no index that says it is one."""
    run_hven("init", tmp_path)
    with (tmp_path / "hven.toml").open("a") as file:
        file.write("\nallow_private = true\n")
    place = tmp_path / "collections/near"
    place.mkdir()
    (place / "near.yaml").write_text(
        "collection: near\ntitle: Near\ntables:\n  main:\n    primary: [nr]\n"
        f"    source: {{kind: tap, url: '{proxy.url}', adql: 'SELECT number, sector FROM far.many', page: 300}}\n"
        "    columns: {nr: {type: int64}, sector: {type: int32}}\n    map: {nr: number}\n"
    )
    assert "2,345 rows" in run_hven("--site", tmp_path, "ingest", "near").stdout
    assert any("ORDER BY number" in query for query in proxy.queries)


def test_several_tables_of_a_service_become_one_collection(server, tmp_path):
    """What TAP_SCHEMA says of columns and keys is taken over, and the draft's rows come."""
    require_verb("new")
    run_hven("init", tmp_path)
    with (tmp_path / "hven.toml").open("a") as file:
        file.write("\nallow_private = true\n")
    url = f"{server.url}/tap"
    assert (
        "no table"
        in run_hven("new", "x", "--from", url, "--table", "near.*", "--site", tmp_path, expected_code=2).stderr
    )
    run_hven("new", "x", "--from", url, "--table", "FAR.*", "--site", tmp_path)
    assert run_hven("check", "x", "--site", tmp_path).stdout.endswith(": 0 errors, 0 warnings\n")
    made = yaml.safe_load((tmp_path / "collections/x/x.yaml").read_text())
    stars, many = made["tables"]["stars"], made["tables"]["many"]
    assert (stars["description"], stars["primary"]) == ("Three stars.", ["n"])
    assert stars["source"] == {"kind": "tap", "url": url, "table": "far.stars"}
    assert stars["columns"]["ra"] == {"type": "float64", "unit": "deg", "ucd": "pos.eq.ra;meta.main", "description": "Right ascension"}  # fmt: skip
    assert list(many["keys"].values()) == [{"columns": ["number"], "target": "stars", "target_columns": ["n"]}]
    assert many["source"]["key"] == "id"
    types = {name: one["type"] for name, one in many["columns"].items()}
    assert (types["sector"], types["modified"], types["flux"], types["id"]) == (
        "int32",
        "timestamp",
        "float32[2]",
        "string",
    )
    run_hven("ingest", "x", "--site", tmp_path)
    asked = "SELECT COUNT(*) AS n, SUM(m.sector) AS s FROM x.many AS m"
    assert run_hven("query", "-f", "csv", asked, "--site", tmp_path).stdout.split()[1] == f"{MANY},{sum(n // 73 for n in range(MANY))}"  # fmt: skip
