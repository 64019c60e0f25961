"""What is kept of a user's table - every format, names, units, UCDs, index and statistics - and what is refused, with nothing half visible."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import struct
import threading
import time
import warnings
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote, urlencode

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from asgi_client import Answer, Client
from astropy import units
from astropy.coordinates import SkyCoord
from astropy.table import Table as AstropyTable
from pyarrow import feather
from star_tables import STARS, build_rows

from hven import descriptor
from hven.app._server import create_and_start_application
from hven.engines.duckdb.staging import DuckSnapshotStaging
from hven.model.errors import DescriptorError, StorageError
from hven.model.settings import QueryLimits, Settings
from hven.plugins.user_tables import table_writing
from hven.site import Site
from hven.site import _site as holdings_site
from hven.site.auth import Principal
from hven.site.store import _user_table_records as user_tables
from hven.site.user_tables import clean_user_table_storage, delete_expired_user_tables
from hven.testing.site import open_tiny_site

NUMBER = 3_000
MADE = np.random.default_rng(5)
RA, DEC = MADE.uniform(0, 360, NUMBER), np.degrees(np.arcsin(MADE.uniform(-1, 1, NUMBER)))
FLUX = MADE.uniform(0, 1, NUMBER)


@pytest.fixture(scope="module")
def star_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    limits = QueryLimits(user_tables=40, user_rows=50_000, user_bytes=20_000_000, upload=4_000_000)
    # there is one process here, which looks often: nobody waits for others to know
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(holdings_site, "REFRESH_INTERVAL_SECONDS", 0.01)
        patch.setattr(table_writing, "PROPAGATION_SECONDS", 0.02)
        with open_tiny_site(
            tmp_path_factory.mktemp("site"), {"stars.main": (STARS, build_rows(500))}, limits=limits
        ) as site:
            yield site


@pytest.fixture(scope="module")
def client(star_site: Site) -> Client:
    return Client(create_and_start_application(star_site))


class Person:
    def __init__(self, client: Client, token: str) -> None:
        self._client = client
        self.headers = {"authorization": f"Bearer {token}"}

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
        return self._client.ask(method, path, body=body, headers={**self.headers, **headers})

    def query(self, text: str, **more: str) -> Answer:
        return self.ask(
            "GET", f"/tap/sync?{urlencode({'LANG': 'ADQL', 'RESPONSEFORMAT': 'json', 'QUERY': text, **more})}"
        )

    def rows(self, text: str) -> list[list[object]]:
        answer = self.query(text)
        assert answer.status == 200, answer.text
        return list(json.loads(answer.body)["data"])

    def plan(self, text: str) -> str:
        return self.query(text, EXPLAIN="true").text


@pytest.fixture(scope="module")
def anna(client: Client, star_site: Site) -> Person:
    return Person(client, star_site.store.users.add_account("anna"))


@pytest.fixture(scope="module")
def bert(client: Client, star_site: Site) -> Person:
    return Person(client, star_site.store.users.add_account("bert"))


def build_described_table() -> AstropyTable:
    table = AstropyTable({"star": [f"s{n:04d}" for n in range(NUMBER)], "ra": RA, "dec": DEC, "Flux 1": FLUX})
    table["ra"].unit = table["dec"].unit = units.deg
    table["Flux 1"].unit = units.Jy
    table["ra"].meta["ucd"], table["dec"].meta["ucd"] = "pos.eq.ra;meta.main", "pos.eq.dec;meta.main"
    table["Flux 1"].description = "how bright"
    return table


def votable(table: AstropyTable, form: str = "tabledata") -> bytes:
    from astropy.io.votable import from_table

    with warnings.catch_warnings():  # about "Flux 1", which is no ID
        warnings.simplefilter("ignore")
        made = from_table(table)
    for field in made.get_first_table().fields:
        field.ucd = table[field.name].meta.get("ucd")
    file = io.BytesIO()
    made.to_xml(file, tabledata_format=form)
    return file.getvalue()


def build_arrow_table() -> pa.Table:
    table = build_described_table()
    return pa.table({name: table[name].tolist() for name in table.colnames})


def parquet() -> bytes:
    file = io.BytesIO()
    pq.write_table(build_arrow_table(), file)
    return file.getvalue()


def arrow() -> bytes:
    file = io.BytesIO()
    feather.write_feather(build_arrow_table(), file, compression="uncompressed")
    return file.getvalue()


def fits() -> bytes:
    file = io.BytesIO()
    build_described_table().write(file, format="fits")
    return file.getvalue()


def text(form: str) -> bytes:
    file = io.StringIO()
    build_described_table().write(file, format=form, **({"delimiter": "\t"} if form == "ascii.basic" else {}))
    return file.getvalue().encode()


FORMS = {
    "VOTable": lambda: votable(build_described_table()),
    "BINARY2": lambda: votable(build_described_table(), "binary2"),
    "FITS": fits,
    "Parquet": parquet,
    "Arrow": arrow,
    "CSV": lambda: text("ascii.csv"),
    "TSV": lambda: text("ascii.basic"),
    "ECSV": lambda: text("ascii.ecsv"),
    "gzipped CSV": lambda: gzip.compress(text("ascii.csv")),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_format_is_kept_and_its_position_indexed(anna: Person, form: str) -> None:
    body = FORMS[form]()
    assert anna.ask("PUT", "/tap/user_tables/sky", body).status == 201
    assert anna.rows('SELECT COUNT(*), COUNT("Flux 1"), MIN(star), MAX(star) FROM tap_user.sky') == [
        [NUMBER, NUMBER, "s0000", "s2999"]
    ]
    cone = "SELECT star FROM tap_user.sky WHERE DISTANCE(ra, dec, 120, 20) < 10"
    center = SkyCoord(120, 20, unit="deg")
    inside = np.flatnonzero(center.separation(SkyCoord(RA, DEC, unit="deg")).deg < 10)
    assert sorted(row[0] for row in anna.rows(cone)) == [f"s{n:04d}" for n in inside]
    assert len(inside) > 5
    assert "position index" in anna.plan(cone).partition("SELECT")[0], anna.plan(cone)
    join = "SELECT COUNT(*) FROM stars.main AS s JOIN tap_user.sky AS t ON DISTANCE(s.ra, s.dec, t.ra, t.dec) < 0.5"
    assert "index" in anna.plan(join).partition("SELECT")[0], anna.plan(join)
    stars = build_rows(500)
    there = SkyCoord(stars["ra"].to_numpy(), stars["dec"].to_numpy(), unit="deg")
    near = there[:, None].separation(SkyCoord(RA, DEC, unit="deg")[None, :]).deg < 0.5
    assert anna.rows(join) == [[int(near.sum())]]
    assert near.any()


def test_names_units_and_ucds_stay(anna: Person) -> None:
    assert anna.ask("PUT", "/tap/user_tables/sky", votable(build_described_table())).status == 201
    told = anna.rows(
        "SELECT column_name, unit, ucd, description, indexed FROM TAP_SCHEMA.columns WHERE table_name = 'tap_user.sky'"
    )
    assert {row[0]: row[1:3] for row in told} == {
        "star": [None, None], "ra": ["deg", "pos.eq.ra;meta.main"], "dec": ["deg", "pos.eq.dec;meta.main"], '"Flux 1"': ["Jy", None],
    }  # fmt: skip
    assert {row[3] for row in told} >= {"how bright"}
    more = text("ascii.csv").splitlines()
    assert anna.ask("POST", "/tap/load/sky", b"\n".join(more[:3])).status == 200
    assert (
        anna.rows(
            "SELECT column_name, unit, ucd, description, indexed FROM TAP_SCHEMA.columns WHERE table_name = 'tap_user.sky'"
        )
        == told
    )
    assert anna.rows("SELECT COUNT(*) FROM tap_user.sky WHERE DISTANCE(ra, dec, 120, 20) < 180") == [[NUMBER + 2]], (
        "added ones are found, too"
    )


def test_statistics_and_coverage_are_those_of_the_rows(anna: Person, star_site: Site) -> None:
    from mocpy import MOC

    assert anna.ask("PUT", "/tap/user_tables/sky", parquet()).status == 201
    found = table_writing.find_user_table(star_site, Principal(name="anna"), "sky").snapshot
    assert found.statistics["ra"]["minimum"] == RA.min()
    assert found.statistics["dec"]["maximum"] == DEC.max()
    assert MOC.from_string(found.coverage).contains_lonlat(RA * units.deg, DEC * units.deg).all()
    assert anna.rows("SELECT COUNT(*) FROM tap_user.sky") == [[NUMBER]]


def test_positions_that_are_not_degrees_are_not_indexed(anna: Person) -> None:
    table = build_described_table()
    table["ra"] = table["ra"] / 15
    table["ra"].unit = units.hourangle
    table["ra"].meta["ucd"] = "pos.eq.ra;meta.main"
    assert anna.ask("PUT", "/tap/user_tables/hours", votable(table)).status == 201
    assert "position index" not in anna.plan("SELECT star FROM tap_user.hours WHERE DISTANCE(ra, dec, 12, 20) < 10")
    assert anna.rows("SELECT COUNT(*) FROM tap_user.hours WHERE ra < 24") == [[NUMBER]]


BOMB = b"""<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">
<!ENTITY d "&c;&c;&c;&c;&c;&c;&c;&c;&c;&c;"><!ENTITY e "&d;&d;&d;&d;&d;&d;&d;&d;&d;&d;"><!ENTITY f "&e;&e;&e;&e;&e;&e;&e;&e;&e;&e;"><!ENTITY g "&f;&f;&f;&f;&f;&f;&f;&f;&f;&f;">]>"""


def build_zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.csv", "a\n1\n")
    return file.getvalue()


BAD = {
    "nothing": (b"", 400, "empty"),
    "HTML": (b"<!DOCTYPE html><html><body>log in</body></html>", 400, "HTML page"),
    "JSON": (b'{"a": 1}', 400, "JSON"),
    "a ZIP archive": (build_zip(), 400, "ZIP"),
    "noise": (bytes(range(256)) * 4, 400, "not a table"),
    "a truncated VOTable": (votable(build_described_table())[:100_000], 400, "cannot be read"),
    "a truncated FITS file": (fits()[:30_000], 400, "cannot be read"),
    "a truncated Parquet file": (parquet()[:30_000], 400, "Parquet"),
    "a truncated gzip stream": (gzip.compress(text("ascii.csv"))[:20_000], 400, "stream is incomplete or invalid"),
    "a zip bomb": (gzip.compress(b"n\n" + b"1\n" * 4_000_000), 413, "4,000,000 bytes"),
    "an entity bomb": (BOMB + b"<VOTABLE><RESOURCE><TABLE><FIELD name='&g;' datatype='int'/></TABLE></RESOURCE></VOTABLE>", 400, ""),
    "an entity bomb of VOSI": (BOMB + b"<table><name>x</name><column><name>&g;</name><dataType>int</dataType></column></table>", 400, ""),
    "a file by entity": (
        b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><table><column><name>&e;</name><dataType>int</dataType></column></table>', 400, "",
    ),
    "two columns of a name": (b"a,a\n1,2\n", 400, "several columns have this name"),
    "two columns that differ in case": (b"a,A\n1,2\n", 400, "differ only in case"),
    "too many rows": (b"n\n" + b"1\n" * 50_001, 413, "rows in total; the limit is 50,000"),
    "too large": (b"n\n" + b"1" * 4_000_001, 413, "limit"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
@pytest.mark.parametrize("how", ["PUT", "POST"])
def test_what_is_no_table_changes_nothing(anna: Person, what: str, how: str, star_site: Site) -> None:
    body, status, why = BAD[what]
    assert anna.ask("PUT", "/tap/user_tables/good", b"n\n1\n").status == 201
    told = anna.ask(how, "/tap/user_tables/good" if how == "PUT" else "/tap/load/good", body)
    assert (told.status, why in told.text) == (status, True), told.text
    assert "root:" not in told.text
    assert len(told.text) < 700
    assert "Traceback" not in told.text
    assert anna.rows("SELECT n FROM tap_user.good") == [[1]]
    new = anna.ask("PUT", "/tap/user_tables/never", body)
    assert new.status == status
    assert anna.ask("GET", "/tap/user_tables/never").status == 404
    assert not list((star_site.settings.var_directory / "snapshots").glob("tap_user.never/*")), "no files stay"


@pytest.mark.parametrize(
    "name",
    [
        "select",
        "1x",
        "a-b",
        "a b",
        "näme",
        "星",
        '"quoted"',
        "x" * 65,
        "tap_user.",
        "stars.main",
        "TAP_SCHEMA.tables",
        "a.b.c",
        "'",
        "..",
        "_x",
    ],
)
def test_names_that_no_table_can_have(anna: Person, name: str) -> None:
    for method, path in (
        ("PUT", "user_tables"),
        ("GET", "user_tables"),
        ("DELETE", "user_tables"),
        ("PUT", "tables"),
        ("POST", "load"),
    ):
        told = anna.ask(method, f"/tap/{path}/{name}", b"n\n1\n")
        assert told.status == 400, f"{method} {path}: {told.status} {told.text}"
        assert ";" in told.text, "a remedy"


def test_names_of_columns_may_be_anything_that_can_be_quoted(anna: Person) -> None:
    assert anna.ask("PUT", "/tap/user_tables/odd", 'select,größe,"a ""b"""\n1,2,3\n'.encode()).status == 201
    assert anna.rows('SELECT "select", "größe", "a ""b""" FROM tap_user.odd') == [[1, 2, 3]]


def test_a_load_says_which_column_does_not_fit(anna: Person) -> None:
    assert (
        anna.ask(
            "PUT", "/tap/user_tables/typed", b"id,n,when\n007,1,2026-01-01T00:00:00\nx1,2,2026-01-02T00:00:00\n"
        ).status
        == 201
    )
    cases = (
        (b"id,n,strange,other\n1,2,3,4\n", ("'strange'", "'other'", "its columns: id, n, when")),
        (b"id,n\na,b\n", ("row 1", "column n", "'b'")),
        (b"id,n\na,1\nb,2.5\n", ("row 2", "column n", "'2.5'")),
        (b"when\nyesterday\n", ("when", "yesterday")),
    )
    for body, said in cases:
        told = anna.ask("POST", "/tap/load/typed", body)
        assert told.status == 400
        assert all(word in told.text for word in said), told.text
    file = io.BytesIO()
    pq.write_table(pa.table({"n": [1.5]}), file)
    told = anna.ask("POST", "/tap/load/typed", file.getvalue())
    assert told.status == 400
    assert "column 'n' has the type float64, but in tap_user.typed its type is" in told.text
    assert anna.rows("SELECT COUNT(*) FROM tap_user.typed") == [[2]]
    assert anna.ask("POST", "/tap/load/typed", b"ID,N\n0042,3\n").status == 200
    assert anna.rows('SELECT id, n, "when" FROM tap_user.typed WHERE n = 3') == [["0042", 3, None]], (
        "text stays as it is written"
    )


def test_rows_and_bytes_of_all_tables_together(anna: Person, bert: Person) -> None:
    body = b"n\n" + b"1\n" * 30_000
    assert bert.ask("PUT", "/tap/user_tables/a", body).status == 201
    told = bert.ask("PUT", "/tap/user_tables/b", body)
    assert told.status == 413
    assert "60,000 rows in total; the limit is 50,000" in told.text
    assert bert.ask("POST", "/tap/load/a", body).status == 413
    assert bert.ask("PUT", "/tap/user_tables/a", body).status == 201, "what is replaced does not count"
    wide = b",".join(b"c%d" % n for n in range(200)) + b"\n" + (b",".join(b"1" for _ in range(200)) + b"\n") * 9_000
    told = bert.ask("PUT", "/tap/user_tables/wide", wide)
    assert told.status == 201
    told = bert.ask("PUT", "/tap/user_tables/wider", wide)
    assert told.status == 413
    assert "bytes in total; the limit is 20,000,000" in told.text
    assert bert.rows("SELECT COUNT(*) FROM tap_user.a") == [[30_000]]
    for name in ("a", "wide"):
        assert bert.ask("DELETE", f"/tap/user_tables/{name}").status == 200


@pytest.mark.parametrize("name", ["tap_user", "tap_upload", "tap_schema", "uws", "ivoa"])
def test_no_collection_has_a_name_that_is_taken(tmp_path: Path, name: str) -> None:
    place = tmp_path / "collections" / name / f"{name}.yaml"
    place.parent.mkdir(parents=True)
    place.write_text(f"title: Mine\ncollection: {name}\ntables:\n  main: {{source: a.csv}}\n")
    with pytest.raises(
        DescriptorError, match=rf"{name}\.yaml:2:13: the name {name} is reserved for .*; choose another name"
    ):
        descriptor.load_descriptor(place, Settings(directory=tmp_path))


def test_no_tables_at_all_where_the_site_wants_none(star_site: Site, anna: Person) -> None:
    settings = star_site.settings
    star_site.settings = replace(settings, limits=replace(settings.limits, user_tables=0))
    try:
        told = anna.ask("PUT", "/tap/user_tables/x", b"n\n1\n")
        assert told.status == 413
        assert "users cannot store tables on this service" in told.text
        assert b"table-load" not in anna.ask("GET", "/tap/capabilities").body
    finally:
        star_site.settings = settings


def test_another_users_name_is_as_no_name(anna: Person, bert: Person) -> None:
    """Same status and same words for a table of somebody else and for none, on every channel."""
    assert anna.ask("PUT", "/tap/user_tables/secret_list", b"n\n1\n").status == 201
    pairs = ("secret_list", "secret_lisp")

    def heard(method: str, path: str, name: str, body: bytes = b"") -> tuple[int, str]:
        told = bert.ask(method, path.replace("NAME", name), body.replace(b"NAME", name.encode()))
        return told.status, told.text.partition(" [request")[0].replace(name, "NAME")

    form = {"content-type": "application/x-www-form-urlencoded"}
    for method, path in (
        ("GET", "/tap/user_tables/NAME"),
        ("DELETE", "/tap/user_tables/NAME"),
        ("POST", "/tap/load/NAME"),
        ("GET", "/tap/tables/tap_user.NAME"),
        ("DELETE", "/tap/tables/tap_user.NAME"),
        ("GET", "/cone/tap_user.NAME?RA=1&DEC=1&SR=1"),
        ("GET", f"/tap/sync?LANG=ADQL&QUERY={quote('SELECT * FROM tap_user.')}NAME"),
        ("GET", f"/tap/sync?LANG=ADQL&QUERY={quote('SELECT * FROM ')}NAME"),
        ("GET", f"/tap/sync?LANG=ADQL&EXPLAIN=true&QUERY={quote('SELECT * FROM tap_user.')}NAME"),
        ("GET", f"/tap/sync?LANG=ADQL&QUERY={quote('SELECT * FROM tap_user.')}NAMF"),
    ):
        assert heard(method, path, pairs[0], b"n\n1\n") == heard(method, path, pairs[1], b"n\n1\n"), path
    assert bert.ask("PUT", "/tap/user_tables/secret_list", b"n\n2\n").status == 201, "names are each reader's own"
    assert anna.rows("SELECT n FROM tap_user.secret_list") == [[1]]
    assert bert.ask("POST", "/tap/table-update", b"TABLE=tap_user.secret_list&INDEX=n", **form).status == 303
    assert bert.ask("DELETE", "/tap/user_tables/secret_list").status == 200


def test_one_writer_at_a_time(anna: Person, star_site: Site) -> None:
    assert anna.ask("PUT", "/tap/user_tables/busy", b"n\n1\n").status == 201
    with star_site.store.leases.hold_lease("table of anna: busy", description="a change"):
        for method, path in (("PUT", "user_tables"), ("DELETE", "user_tables"), ("POST", "load")):
            told = anna.ask(method, f"/tap/{path}/busy", b"n\n2\n")
            assert told.status == 409
            assert "being changed by another request; try again" in told.text
            assert "process" not in told.text
        assert anna.rows("SELECT n FROM tap_user.busy") == [[1]]
        assert anna.ask("PUT", "/tap/user_tables/other", b"n\n2\n").status == 201
    assert anna.ask("DELETE", "/tap/user_tables/busy").status == 200


def test_a_full_disk(anna: Person, star_site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    assert anna.ask("PUT", "/tap/user_tables/brim", b"n\n1\n").status == 201
    before = star_site.store.list_kept_snapshot_paths()

    def finish(_: DuckSnapshotStaging) -> None:
        raise StorageError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(DuckSnapshotStaging, "finish", finish)
        for method, path in (("PUT", "user_tables"), ("POST", "load")):
            told = anna.ask(method, f"/tap/{path}/brim", b"n\n2\n")
            assert told.status == 503
            assert "the disk is full" in told.text
    assert star_site.store.list_kept_snapshot_paths() == before
    assert not list((star_site.settings.var_directory / "snapshots").glob("tap_user.brim/*.staging"))
    assert anna.rows("SELECT n FROM tap_user.brim") == [[1]]
    assert anna.ask("POST", "/tap/load/brim", b"n\n2\n").status == 200


def test_a_query_that_began_before_a_change_ends_with_what_it_saw(anna: Person, star_site: Site) -> None:
    from hven import query
    from hven.site.auth.local import build_principal

    body = b"n\n" + b"".join(b"%d\n" % n for n in range(20_000))
    assert anna.ask("PUT", "/tap/user_tables/long", body).status == 201
    with query.run_query(
        "SELECT n FROM tap_user.long", build_principal("anna", star_site.store, star_site.settings), site=star_site
    ) as waiting:
        assert anna.ask("PUT", "/tap/user_tables/long", b"n\n1\n").status == 201
        assert anna.ask("DELETE", "/tap/user_tables/long").status == 200
        assert sum(batch.num_rows for batch in waiting.iterate_batches()) == 20_000
    assert anna.query("SELECT n FROM tap_user.long").status == 400


def test_files_go_when_nobody_can_begin_to_read_them(
    anna: Person, star_site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = star_site.settings.var_directory / "snapshots" / "tap_user.gone"
    assert anna.ask("PUT", "/tap/user_tables/gone", b"n\n1\n").status == 201
    for _ in range(3):
        assert anna.ask("POST", "/tap/load/gone", b"n\n1\n").status == 200
    assert len(list(folder.iterdir())) == 2, "the present state and the one before"
    assert star_site.embedded_engine.remove_leftovers(star_site.store.list_kept_snapshot_paths()) == [], (
        "an ingest's sweep leaves both"
    )
    monkeypatch.setattr(user_tables, "RETIREMENT_SECONDS", 0.0)
    assert anna.ask("DELETE", "/tap/user_tables/gone").status == 200
    delete_expired_user_tables(star_site)
    assert len(list(folder.iterdir())) == 1
    (row,) = [path for path in star_site.store.list_kept_snapshot_paths() if path.startswith("tap_user.gone/")]
    assert (star_site.settings.var_directory / "snapshots" / row).is_dir()


def test_an_upload_that_is_published_while_others_sweep(anna: Person, star_site: Site) -> None:
    """A sweep between the look at the store and the look at the files must not take a new table away."""
    over = threading.Event()

    def sweep() -> None:
        while not over.is_set():
            clean_user_table_storage(star_site)
            time.sleep(0.01)

    thread = threading.Thread(target=sweep)
    thread.start()
    try:
        for number in range(4):
            assert anna.ask("PUT", "/tap/user_tables/swept", b"n\n%d\n" % number).status == 201
            assert anna.rows("SELECT n FROM tap_user.swept") == [[number]]
    finally:
        over.set()
        thread.join()


def test_vosi_tables_with_the_types_of_tap(anna: Person) -> None:
    head = b'<vosi:table xmlns:vosi="http://www.ivoa.net/xml/VOSITables/v1.0" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns:vs="http://www.ivoa.net/xml/VODataService/v1.1">'
    columns = "".join(
        f'<column><name>c{n}</name><dataType xsi:type="vs:TAPType">{word}</dataType></column>'
        for n, word in enumerate(
            ("VARCHAR", "BIGINT", "INTEGER", "SMALLINT", "REAL", "DOUBLE", "TIMESTAMP", "CHAR", "BOOLEAN")
        )
    )
    assert anna.ask("PUT", "/tap/tables/tap_user.typed2", head + columns.encode() + b"</vosi:table>").status == 201
    assert (
        anna.ask("POST", "/tap/load/typed2", b"c0,c1,c5,c6\n07,9007199254740993,1.5,2026-01-01T00:00:00\n").status
        == 200
    )
    assert anna.rows("SELECT c0, c1, c5 FROM tap_user.typed2") == [["07", 9007199254740993, 1.5]]
    told = anna.ask(
        "PUT",
        "/tap/tables/tap_user.typed3",
        head + b"<column><name>a</name><dataType>strange</dataType></column></vosi:table>",
    )
    assert told.status == 400
    assert "'a'" in told.text
    assert "strange" in told.text


def test_a_parquet_footer_of_lies(anna: Person) -> None:
    body = parquet()
    broken = body[:-8] + struct.pack("<I", 2**31 - 1) + body[-4:]
    told = anna.ask("PUT", "/tap/user_tables/lies", broken)
    assert told.status == 400
    assert "Parquet" in told.text


def test_a_reader_who_leaves_in_the_middle(star_site: Site, anna: Person) -> None:
    """Half a body is no table."""
    import asyncio

    sent: list[dict[str, object]] = []

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    parts = [{"type": "http.request", "body": b"n\n1\n", "more_body": True}, {"type": "http.disconnect"}]

    async def receive() -> dict[str, object]:
        return parts.pop(0) if len(parts) > 1 else parts[0]

    scope = {
        "type": "http", "http_version": "1.1", "method": "PUT", "scheme": "http", "path": "/tap/user_tables/half", "raw_path": b"/tap/user_tables/half",
        "root_path": "", "query_string": b"", "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80),
        "headers": [(b"host", b"vo.example"), (b"authorization", anna.headers["authorization"].encode())],
    }  # fmt: skip
    with contextlib.suppress(Exception):
        asyncio.run(create_and_start_application(star_site)(scope, receive, send))
    assert anna.ask("GET", "/tap/user_tables/half").status == 404
