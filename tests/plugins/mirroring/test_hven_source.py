"""The source `hven`: rows of another site by TAP, and their changes by its feed, with something between that disturbs."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from faulty_proxy import replace_answer, run_proxy
from hven.model.errors import SourceError
from hven.plugins.mirroring import source as hven_kind
from hven.plugins.tap_source import tap_client
from hven.sources import ChangeFeedSource, SourceContext, _rate_limiting
from hven.testing.source import SourceContract
from process_runner import run_hven, serve_site

ROWS = [
    {"name": "Vega", "ra": 279.23, "n": 1},
    {"name": "de'neb", "ra": 310.36, "n": 2},
    {"name": None, "ra": None, "n": 3},
]
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
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    site = tmp_path_factory.mktemp("far")
    run_hven("init", site)
    with (site / "hven.toml").open("a") as file:
        file.write("\n[limits]\nmaxrec_default = 100\nmaxrec_hard = 500\n\n[jobs]\nmaxrec_hard = 100000\n")
    place = site / "collections/far"
    place.mkdir(parents=True)
    (place / "far.yaml").write_text(DESCRIPTOR)
    pq.write_table(pa.Table.from_pylist(ROWS), place / "stars.parquet")
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


def rows(source, columns=None):
    return [row for batch in source.read_batches(columns) for row in batch.to_pylist()]


@pytest.mark.outside
class TestHven(SourceContract):
    kind = "hven"
    rows = ROWS
    key = ["n"]
    has_files = False

    @pytest.fixture(autouse=True)
    def _at(self, server):
        self.url = server.url

    def write_source_files(self, directory):
        return {"url": self.url, "table": "far.stars"}

    def build_source_context(self, directory):
        return SourceContext(directory=directory, allow_private=True, key_columns=["n"])


def fed(snapshot, *changes, key='<FIELD name="n" datatype="long"/>'):
    """A feed's document."""
    cells = "".join(f"<TR>{''.join(f'<TD>{cell}</TD>' for cell in row)}</TR>" for row in changes)
    return replace_answer(
        '<VOTABLE xmlns="http://www.ivoa.net/xml/VOTable/v1.3" version="1.4"><RESOURCE type="results"><INFO name="QUERY_STATUS" value="OK"/>'
        f'<INFO name="snapshot" value="{snapshot}"/><TABLE>{key}<FIELD name="change" datatype="char" arraysize="*"/>'
        f"<DATA><TABLEDATA>{cells}</TABLEDATA></DATA></TABLE></RESOURCE></VOTABLE>"
    )


def follower(proxy, **options):
    return hven_kind.open(
        hven_kind.Options.model_validate({"url": proxy.url.removesuffix("/tap"), "table": "far.stars", **options}),
        SourceContext(allow_private=True),
    )


def test_what_changed_is_asked_for_by_its_key(proxy):
    source = follower(proxy)
    assert isinstance(source, ChangeFeedSource)
    source.list_columns()
    proxy.coming_changes += [fed("S1")]
    assert source.read_state_name() == "S1"
    assert proxy.requests[-1][:2] == ("GET", "/changes/far.stars?RESPONSEFORMAT=votable")
    proxy.requests.clear()
    proxy.coming_changes += [fed("S2", (2, "changed"), (3, "added"), (9, "removed"), (77, "changed"))]
    found = source.list_changes("S1 &")
    assert proxy.requests[0][1] == "/changes/far.stars?RESPONSEFORMAT=votable&since=S1+%26"
    assert (found.state, found.key_columns, found.removed_keys.to_pylist()) == ("S2", ("n",), [{"n": 9}])
    assert found.changed_keys.to_pylist() == [{"n": 2}, {"n": 3}, {"n": 77}]
    assert rows(found.rows) == ROWS[1:]  # 77 went meanwhile
    assert "IN (2, 3, 77)" in proxy.queries[-1]
    proxy.coming_changes += [fed("S2")]
    nothing = source.list_changes("S2")
    assert (nothing.changed_keys.num_rows, nothing.removed_keys.num_rows, list(nothing.rows.read_batches())) == (
        0,
        0,
        [],
    )


def test_without_a_feed_rows_come_by_tap(proxy):
    source = follower(proxy)
    proxy.coming_changes += [
        replace_answer("no such page", status=404),
        replace_answer("not kept any more", status=410),
    ]
    assert source.read_state_name() is None
    assert source.list_changes("S1") is None
    assert sorted(rows(source), key=lambda row: row["n"]) == ROWS


def test_a_feed_that_was_cut_is_no_feed(proxy):
    source = follower(proxy)
    whole = fed("S2", (2, "changed"))(None)
    cut_off = whole.body.decode().replace("</TABLE></RES", '</TABLE><INFO name="QUERY_STATUS" value="OVERFLOW"/></RES')
    proxy.coming_changes += [replace_answer(cut_off)]
    assert source.list_changes("S1") is None


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (fed("S2", (2, "moved")), "changes of unknown kinds: 'moved'"),
        (fed(""), "does not name its last snapshot"),
        (replace_answer("not you", status=403), "returned status 403: not you"),
        (fed("S2", (2, "added"), key='<FIELD name="id" datatype="long"/>'), "`columns` lacks the key column 'id'"),
        (
            replace_answer("<html/>"),
            "its feed cannot be read: the document is not a VOTable: its root element is html; Hven tried 2 times",
        ),
    ],
)
def test_feeds_that_are_none(proxy, answer, message):
    source = follower(proxy, tries=2)
    source.list_columns()
    proxy.coming_changes += [answer, answer]
    with pytest.raises(SourceError, match=message):
        source.list_changes("S1")


def test_a_first_descriptor_of_another_site(server, tmp_path):
    run_hven("init", tmp_path)
    with (tmp_path / "hven.toml").open("a") as file:
        file.write("\nallow_private = true\n")
    site = ("--site", tmp_path)
    run_hven(*site, "new", "three", "--from", server.url, "--kind", "hven", "--table", "far.stars")
    assert "Three stars." in (tmp_path / "collections/three/three.yaml").read_text()
    assert "3 rows" in run_hven(*site, "ingest", "three").stdout
