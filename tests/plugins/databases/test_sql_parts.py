"""Parts of databases: what is newer, some keys, pages, blocks; types, texts in other orders, rows that come and go meanwhile."""

from __future__ import annotations

import datetime as dt
import random
import sqlite3

import pyarrow as pa
import pytest
from postgres_server import run_server

from hven.model.errors import SourceError
from hven.plugins.databases import postgres as postgres_source
from hven.plugins.databases import source as sql
from hven.sources import (
    ROW_NUMBER_COLUMN,
    BlockChecksumSource,
    IncrementalSource,
    KeyLookupSource,
    PagedSource,
    SourceContext,
)


def rows(source, columns=None):
    return [row for batch in source.read_batches(columns) for row in batch.to_pylist()]


def numbers(source):
    return sorted(row["n"] for row in rows(source, ["n"]))


# -- PostgreSQL -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster():
    with run_server() as url:
        yield url


@pytest.fixture
def postgres(cluster):
    import psycopg

    with psycopg.connect(cluster, autocommit=True) as connection:
        connection.execute("SET timezone = 'America/Santiago'")  # where the database lives must not matter
        connection.execute(
            """
            DROP TABLE IF EXISTS regions;
            CREATE TABLE regions (n integer PRIMARY KEY, uid uuid, "Class name" varchar(8), code char(6), big bigint, price numeric(20, 5), jdint integer,
                jdfraction double precision, flux real, day date, seen timestamptz, made timestamp, chain text, note json, box real[], ok boolean);
            INSERT INTO regions SELECT g, md5(g::text)::uuid, 'k' || g % 7, 'c' || g % 5, g * 10000000000, g / 3.0, 2459000 + g / 100, (g % 100) / 100.0, g / 8.0,
                date '2026-01-01' + g, timestamptz '2026-01-01T00:00:00Z' + g * interval '1 h', timestamp '2026-01-01' + g * interval '1 h',
                chr(33 + g % 90) || ' \\\\ " '' {,} é', json_build_object('a', g), ARRAY[g::real, NULL, 'NaN'], g % 2 = 0 FROM generate_series(1, 500) g;
            UPDATE regions SET seen = NULL WHERE n = 77;
            UPDATE regions SET jdfraction = 'NaN', price = 'NaN', flux = 'NaN', chain = NULL WHERE n = 78;
            """
        )
        yield connection


def open_source(cluster, *, key=(), page=None, **options):
    options = options or {"table": "regions"}
    return sql.open(
        sql.Options(url="$DB", **options),
        SourceContext(resolve_secret=lambda _: cluster, key_columns=key, page_row_limit=page),
    )


@pytest.mark.outside
@pytest.mark.parametrize(
    ("expression", "value", "wanted"),
    [
        ("seen", dt.datetime(2026, 1, 20, 0, 0), [77, *range(456, 501)]),
        ("made", dt.datetime(2026, 1, 20, 0, 0), range(456, 501)),
        ("day", dt.datetime(2027, 1, 1), range(365, 501)),
        ("jdint + jdfraction", 2459004.5, [78, *range(450, 501)]),
        ("GREATEST(seen, made)", dt.datetime(2026, 1, 20, 0, 0), range(456, 501)),
        ("COALESCE(seen, made)", dt.datetime(2026, 1, 20, 0, 0), range(456, 501)),
        ("LEAST(jdint, n)", 490, range(490, 501)),
        ("price", 160.0, [78, *range(480, 501)]),
        ("flux", 60.0, [78, *range(480, 501)]),
        ("big * 2", 9_900_000_000_000, range(495, 501)),
        ("n * jdint", 1_200_000_000, range(489, 501)),  # more than an integer there can hold
        ("Class name", "k6", [n for n in range(1, 501) if n % 7 == 6]),
        ("code", "c4", [n for n in range(1, 501) if n % 5 == 4]),
    ],
)
def test_watermarks_of_postgresql(cluster, postgres, expression, value, wanted):
    for options in ({"table": "regions"}, {"query": "SELECT * FROM regions -- all of them\n;"}):
        source = open_source(cluster, **options)
        assert source.can_filter_by(expression)
        assert numbers(source.select_since(expression, value)) == sorted(wanted)


@pytest.mark.outside
def test_texts_are_compared_byte_by_byte(cluster, postgres):
    postgres.execute("CREATE COLLATION IF NOT EXISTS backwards (provider = icu, locale = 'en-u-kf-upper')")
    postgres.execute('ALTER TABLE regions ALTER "Class name" TYPE varchar(8) COLLATE backwards')
    postgres.execute(
        """UPDATE regions SET "Class name" = CASE n WHEN 1 THEN 'a' WHEN 2 THEN 'B' WHEN 3 THEN 'b' ELSE 'A' END"""
    )
    source = open_source(cluster)
    assert numbers(source.select_since("Class name", "a")) == [1, 3]
    assert numbers(source.select_since("Class name", "B")) == [1, 2, 3]


@pytest.mark.outside
@pytest.mark.parametrize(
    "columns",
    [["n"], ["uid"], ["Class name", "code"], ["chain"], ["seen"], ["day", "ok"], ["price", "flux"], ["big", "jdint"]],
)
def test_keys_of_all_types(cluster, postgres, columns):
    source = open_source(cluster)
    whole = pa.Table.from_batches(list(source.read_batches(list(dict.fromkeys([*columns, "n"])))))
    keys = whole.filter(pa.compute.is_in(whole["n"], pa.array([3, 4, 77, 78, 400])))
    alike = {tuple(row.values()) for row in keys.select(columns).to_pylist()}
    wanted = sorted(row["n"] for row in whole.to_pylist() if tuple(row[name] for name in columns) in alike)
    found = numbers(source.select_keys(columns, keys))
    assert [n for n in found if n != 78] == [n for n in wanted if n != 78]  # NaN is null here, and a value there
    assert set(found) <= set(wanted)


@pytest.mark.outside
def test_blanks_around_texts_and_empty_ones_are_as_they_are_read(cluster, postgres):
    postgres.execute(
        """UPDATE regions SET chain = CASE n WHEN 1 THEN '  m' WHEN 2 THEN 'm ' WHEN 3 THEN '' WHEN 4 THEN ' ' WHEN 5 THEN 'n' ELSE 'a' || n END"""
    )
    source = open_source(cluster, key=["chain"], page=3)
    assert numbers(source.select_since("chain", "m")) == [1, 2, 3, 4, 5]
    assert numbers(source.select_keys(["chain"], pa.table({"chain": ["m"]}))) == [1, 2]
    assert numbers(source.select_keys(["chain"], pa.table({"chain": pa.array([None], pa.string())}))) == [3, 4]
    pages = list(source.read_pages(["n", "chain"]))
    assert [batch["n"].to_pylist() for batch, _ in pages][-2:] == [[5], [3, 4]]
    assert sum(batch.num_rows for batch, _ in pages) == 500
    _, place = pages[-4]
    assert place
    assert [row["n"] for batch, _ in source.read_pages(["n"], resume_token=place) for row in batch.to_pylist()][
        -3:
    ] == [
        5,
        3,
        4,
    ]


@pytest.mark.outside
def test_many_keys_go_in_portions_that_see_one_state(cluster, postgres, monkeypatch):
    monkeypatch.setattr(postgres_source, "KEYS_PER_STATEMENT", 50)
    source = open_source(cluster)
    stream = source.select_keys(["n"], pa.table({"n": range(1, 501)})).read_batches(["n", ROW_NUMBER_COLUMN])
    seen = next(stream).to_pylist()
    postgres.execute("DELETE FROM regions WHERE n > 100")
    seen += [row for batch in stream for row in batch.to_pylist()]
    assert sorted(row["n"] for row in seen) == list(range(1, 501))
    assert [row[ROW_NUMBER_COLUMN] for row in seen] == list(range(1, 501))


@pytest.mark.outside
@pytest.mark.parametrize(
    "key", [["n"], ["uid"], ["Class name", "n"], ["seen"], ["price"], ["jdint", "jdfraction"], ["chain"], ["code"]]
)
def test_pages_by_keys_of_all_types(cluster, postgres, key):
    source = open_source(cluster, key=key, page=64)
    pages = [(batch.to_pylist(), place) for batch, place in source.read_pages(["n", ROW_NUMBER_COLUMN])]
    assert sorted(row["n"] for found, _ in pages for row in found) == list(range(1, 501))
    assert [row[ROW_NUMBER_COLUMN] for found, _ in pages for row in found] == list(range(1, 501))
    places = [(number, place) for number, (_, place) in enumerate(pages) if place]
    assert len(places) >= 4
    for number, place in places:
        again = open_source(cluster, key=key, page=7)
        rest = [
            row
            for batch, _ in again.read_pages(["n", ROW_NUMBER_COLUMN], resume_token=place)
            for row in batch.to_pylist()
        ]
        expected = [row for found, _ in pages[number + 1 :] for row in found]
        # rows of one key are in any order
        assert sorted(row["n"] for row in rest) == sorted(row["n"] for row in expected)
        assert [row[ROW_NUMBER_COLUMN] for row in rest] == [row[ROW_NUMBER_COLUMN] for row in expected]


@pytest.mark.outside
def test_without_a_key_pages_cannot_be_gone_on_with(cluster, postgres):
    for key in ((), ("box",), ("nowhere",)):
        assert {place for _, place in open_source(cluster, key=key).read_pages()} == {""}


@pytest.mark.outside
@pytest.mark.parametrize("key", [["n"], ["big"], ["uid"], ["Class name", "n"], ["seen"]])
def test_blocks_tell_which_rows_changed(cluster, postgres, key):
    source = open_source(cluster)
    columns = [column.name for column in source.list_columns()]

    def compute_checksums():
        found = open_source(cluster).compute_block_checksums(key, columns)
        assert sum(found["rows"].to_pylist()) == postgres.execute("SELECT count(*) FROM regions").fetchone()[0]
        return {row["block"]: (row["rows"], row["checksum"]) for row in found.to_pylist()}

    before = compute_checksums()
    postgres.execute("SET datestyle = 'German'; SET extra_float_digits = 0")
    assert compute_checksums() == before
    for change, touched in (
        ("UPDATE regions SET chain = chain || 'x' WHERE n = 5", [5]),
        ("UPDATE regions SET flux = flux + 1e-5 WHERE n = 6", [6]),
        ("UPDATE regions SET box = ARRAY[1] WHERE n = 7", [7]),
        ("UPDATE regions SET note = '{}' WHERE n = 8", [8]),
        ("UPDATE regions SET chain = '' WHERE n = 78", [78]),  # it was null
        ("DELETE FROM regions WHERE n = 9", []),
        (
            "INSERT INTO regions (n, uid, seen, big) VALUES (501, md5('501')::uuid, '2026-02-01', 501), (502, NULL, NULL, NULL)",
            [501, 502],
        ),
    ):
        postgres.execute(change)
        now = compute_checksums()
        other = [block for block in now if before.get(block) != now[block]]
        gone = [block for block in before if block not in now]
        assert other or gone
        assert len(other) <= max(1, len(touched))
        assert set(touched) <= set(numbers(source.select_blocks(key, other)))
        before = now
    assert numbers(source.select_blocks(key, list(before))) == sorted({*range(1, 503)} - {9})


@pytest.mark.outside
def test_blocks_of_some_columns_do_not_see_the_others(cluster, postgres):
    source = open_source(cluster)
    before = source.compute_block_checksums(["n"], ["chain"])
    postgres.execute("UPDATE regions SET flux = 0")
    assert sorted(source.compute_block_checksums(["n"], ["chain"]).to_pylist(), key=str) == sorted(
        before.to_pylist(), key=str
    )
    assert source.compute_block_checksums(["n"], ["nowhere"]) is None
    with pytest.raises(SourceError, match="'x:1' is not a block of this source"):
        source.select_blocks(["n"], ["x:1"])
    older = source.select_since("n", 400).compute_block_checksums(["n"], ["chain"])
    assert sum(older["rows"].to_pylist()) == 101


@pytest.mark.outside
def test_keys_that_lie_far_apart_are_hashed(cluster, postgres):
    postgres.execute("UPDATE regions SET big = big * 1000000")
    source = open_source(cluster)
    found = source.compute_block_checksums(["big"], ["chain"])
    assert all(name.startswith("h:") for name in found["block"].to_pylist())
    assert numbers(source.select_blocks(["big"], found["block"].to_pylist()[:20])) == numbers(
        source.select_blocks(["big"], found["block"].to_pylist()[19::-1])
    )


@pytest.mark.outside
def test_few_blocks_are_found_by_the_index(cluster, postgres):
    names = open_source(cluster).compute_block_checksums(["n"], ["chain"])["block"].to_pylist()
    wanted = [name for name in names if name in {"6:1", "6:2", "6:4"}]
    assert numbers(open_source(cluster).select_blocks(["n"], wanted)) == [*range(64, 192), *range(256, 320)]


# -- SQLite, and SQLAlchemy's road ----------------------------------------------------------


@pytest.fixture
def sqlite(tmp_path):
    with sqlite3.connect(tmp_path / "a.db") as connection:
        connection.execute("CREATE TABLE t (n INTEGER PRIMARY KEY, name TEXT COLLATE NOCASE, mixed, jd REAL, day TEXT)")
        random.seed(1)
        for n in range(1, 301):
            name = random.choice(["a", "A", "b", "B "]) + str(n % 40)
            mixed = None if n % 50 == 0 else random.choice([n, n / 2, f"x{n}"])
            connection.execute(
                "INSERT INTO t VALUES (?, ?, ?, ?, ?)",
                (n, name, mixed, 2459000 + n / 10, f"2026-{1 + n // 28 % 12:02d}-{1 + n % 28:02d}"),
            )
    connection.close()
    return tmp_path


def test_what_sqlite_stores_as_it_likes_is_compared_as_it_is_read(sqlite):
    source = sql.open(sql.Options(file="a.db", table="t"), SourceContext(directory=sqlite))
    whole = rows(source)
    assert {type(row["mixed"]) for row in whole} == {str, type(None)}
    for row in whole[::37]:
        for name in ("mixed", "name", "day", "jd"):
            if row[name] is not None:
                wanted = [one["n"] for one in whole if one[name] is None or one[name] >= row[name]]
                assert numbers(source.select_since(name, row[name])) == wanted, (name, row[name])
            keys = pa.table({name: [row[name]]})
            found = set(numbers(source.select_keys([name], keys)))
            exact = {one["n"] for one in whole if one[name] == row[name]}
            assert exact <= found
            assert name == "name" or found == exact


@pytest.mark.parametrize("key", [["n"], ["name"], ["mixed"], ["name", "n"], ["jd"]])
def test_pages_of_sqlite(sqlite, key):
    def source(page):
        return sql.open(
            sql.Options(file="a.db", query="SELECT * FROM t"),
            SourceContext(directory=sqlite, key_columns=key, page_row_limit=page),
        )

    pages = [(batch.to_pylist(), place) for batch, place in source(20).read_pages(["n"])]
    assert sorted(row["n"] for found, _ in pages for row in found) == list(range(1, 301))
    for number, (_, place) in enumerate(pages):
        if place:
            rest = [
                row["n"] for batch, _ in source(9).read_pages(["n"], resume_token=place) for row in batch.to_pylist()
            ]
            assert sorted(rest) == sorted(row["n"] for found, _ in pages[number + 1 :] for row in found)


def test_sqlalchemys_road_narrows_and_picks(sqlite):
    source = sql.SqlalchemySource(
        sql.Options(url="$DB", table="t"), f"sqlite:///{sqlite}/a.db", SourceContext(directory=sqlite)
    )
    try:
        assert isinstance(source, IncrementalSource)
        assert isinstance(source, KeyLookupSource)
        assert not isinstance(source, (BlockChecksumSource, PagedSource))
        assert numbers(source.select_since("jd", 2459025.0)) == list(range(250, 301))
        assert numbers(source.select_since("n * 2", 590)) == list(range(295, 301))
        assert numbers(source.select_keys(["n"], pa.table({"n": range(1, 1200, 3)}))) == list(range(1, 301, 3))
        both = pa.table({"n": [1, 2, 50], "mixed": pa.array([None, None, None], pa.string())})
        assert numbers(source.select_keys(["n", "mixed"], both)) == [50]
        part = source.select_since("n", 100).select_keys(["n"], pa.table({"n": [99, 100, 101]}))
        assert numbers(part) == [100, 101]
        assert numbers(source) == list(range(1, 301))  # the whole is as it was
    finally:
        source.engine.dispose()
