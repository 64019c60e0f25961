"""Tables that are read in place answer as their copies do, are served by the source's own indexes, and are never written."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psycopg
import pyarrow as pa
import pytest

from hven import adql, descriptor, query
from hven.engines import ExecutionLimits, LiveRelation
from hven.ingest.api.runs import ingest_collection
from hven.model.errors import EvaluationError, HvenError, StorageUnavailableError, TimeLimitError
from hven.model.table import Column, Table
from hven.model.types import FLOAT64, INT64, STRING
from hven.plugins.postgres.live.execution import MAX_MEMORY_BYTES, BatchSpool
from hven.site import Site
from hven.site.auth import ANONYMOUS_PRINCIPAL, DEFAULT_POLICIES
from hven.testing.policies import build_odd_rows_hidden_policies
from hven.testing.site import open_site_with_uningested_files
from plugin_needs import require_plugins
from postgres_cluster import install_extensions, run_server
from process_runner import wait_until

SOURCE = """
CREATE TYPE mood AS ENUM ('Zoo', 'done', 'new');
CREATE DOMAIN degrees AS double precision CHECK (VALUE BETWEEN -400 AND 400);
CREATE TABLE cubes (id bigint PRIMARY KEY, "Name" varchar(40), ra double precision, dec degrees, mag real, t timestamptz, d date,
  state mood, n numeric(10,2), k numeric(8,0), u uuid, j jsonb, arr float8[], "order" int, b bytea, ip inet, angle double precision,
  word text COLLATE "C", fixed char(6), span interval, clock timetz);
INSERT INTO cubes SELECT i, CASE WHEN i % 3 = 0 THEN 'C' ELSE 'c' END || i, (i * 7.31)::numeric % 360,
  degrees(asin(2 * ((i * 0.618033)::numeric % 1) - 1)), CASE WHEN i % 10 = 0 THEN 'NaN' WHEN i % 11 = 0 THEN NULL ELSE i / 100.0 END,
  CASE WHEN i % 13 > 0 THEN '2020-01-01Z'::timestamptz + i * interval '1 hour' END, '2020-01-01'::date + i,
  (ARRAY['Zoo', 'done', 'new'])[1 + i % 3]::mood, i / 3.0, i, ('00000000-0000-0000-0000-' || lpad(i::text, 12, '0'))::uuid,
  '{"a": 1}', ARRAY[i, i / 2.0], i % 5, 'x', '10.0.0.1', radians(i % 90), 'w' || i, 'f' || i % 7, '1 hour', '12:00+02'
  FROM generate_series(1, 6000) i;
CREATE INDEX ON cubes ("Name"); CREATE INDEX ON cubes (t); CREATE INDEX ON cubes (mag); CREATE INDEX ON cubes (dec, ra);
COMMENT ON TABLE cubes IS 'All cubes'; COMMENT ON COLUMN cubes.ra IS 'right ascension';
CREATE VIEW good AS SELECT id, ra, dec, 100 / (id - 5000) AS ratio FROM cubes;
CREATE TABLE runs (run bigint PRIMARY KEY, cube bigint REFERENCES cubes (id), worth double precision);
INSERT INTO runs SELECT i, i * 7 % 6000 + 1, i / 7.0 FROM generate_series(1, 900) i;
CREATE TABLE far (n int PRIMARY KEY, ra double precision, dec double precision);
INSERT INTO far SELECT i, (i * 137.5077)::numeric % 2400 - 1200, degrees(asin(2 * ((i * 0.618033)::numeric % 1) - 1)) FROM generate_series(1, 4000) i;
INSERT INTO far VALUES (5001, 'NaN', 1), (5002, NULL, 1), (5003, 1, NULL), (5004, 540, 1), (5005, -180, 1), (5006, 180, 1), (5007, 359.5, 89.9);
CREATE INDEX ON far (dec, ra);
ANALYZE;
"""
CUBES = """
    columns:
      cube_id: {{type: int64, description: Number, indexed: true}}
      name: {{type: string, indexed: true}}
      ra: {{type: float64, unit: deg, ucd: pos.eq.ra;meta.main}}
      dec: {{type: float64, unit: deg, ucd: pos.eq.dec;meta.main}}
      mag: {{type: float32, unit: mag}}
      t: {{type: timestamp}}
      d: {{type: timestamp}}
      jd: {{type: float64, unit: d}}
      target: {{type: string}}
      kind: {{type: string}}
      label: {{type: string}}
      worth: {{type: float64}}
      size: {{type: float64, unit: deg}}
      word: {{type: string}}
      k: {{type: int64}}
      address: {{type: string}}
    primary: [cube_id]
    where: id <= 5990
    let: {{big: n * 2}}
    set: {{target: Mars}}
    text: {{label: "cube_{{id}}_{{target.kind}}"}}
    map: {{cube_id: id, name: '"Name"', jd: jd(t), worth: big + 1, size: degrees(angle), address: ip}}
    lookup: {{kind: {{from: {kind}, values: {{done: finished, Zoo: zoo}}, missing: "null"}}}}
    source: {{kind: {source}, url: $OPS_DB, table: public.cubes}}
"""
DESCRIPTOR = f"""collection: {{name}}
title: Cubes
tables:
  cubes:{CUBES}
  runs:
    source: {{{{kind: {{source}}, url: $OPS_DB, table: runs}}}}
"""
FAR = """  far:
    columns:
      n: {type: int32}
      ra: {type: float64, unit: deg, ucd: pos.eq.ra;meta.main}
      dec: {type: float64, unit: deg, ucd: pos.eq.dec;meta.main}
    source: {kind: live, url: $OPS_DB, table: far}
"""
QUERIES = [
    "SELECT COUNT(*) AS n FROM {t}.cubes",
    "SELECT * FROM {t}.cubes WHERE cube_id IN (10, 11, 13, 17)",
    "SELECT cube_id FROM {t}.cubes WHERE mag > 3.5",
    "SELECT cube_id FROM {t}.cubes WHERE NOT (mag < 55)",
    "SELECT cube_id FROM {t}.cubes WHERE mag <> 3.5 OR mag IS NULL",
    "SELECT cube_id FROM {t}.cubes WHERE mag BETWEEN 3 AND 4",
    "SELECT cube_id FROM {t}.cubes WHERE NOT (mag BETWEEN 3 AND 4)",
    "SELECT COUNT(mag) AS n, MIN(mag) AS a, MAX(mag) AS b, MIN(name) AS c, MAX(name) AS d FROM {t}.cubes",
    "SELECT cube_id FROM {t}.cubes WHERE t > '2020-03-01T10:00:00'",
    "SELECT cube_id FROM {t}.cubes WHERE t >= '2020-03-01' AND t < '2020-03-02'",
    "SELECT cube_id FROM {t}.cubes WHERE t IS NULL",
    "SELECT cube_id FROM {t}.cubes WHERE d = '2020-05-01'",
    "SELECT cube_id FROM {t}.cubes WHERE name = 'C33'",
    "SELECT cube_id FROM {t}.cubes WHERE name < 'C33'",
    "SELECT cube_id FROM {t}.cubes WHERE name LIKE 'c1%7'",
    "SELECT cube_id FROM {t}.cubes WHERE UPPER(name) = 'C17' AND word >= 'w1'",
    "SELECT cube_id FROM {t}.cubes WHERE jd > 2458900 AND jd < 2458901",
    "SELECT kind, COUNT(*) AS n, AVG(worth) AS w FROM {t}.cubes GROUP BY kind",
    "SELECT cube_id FROM {t}.cubes WHERE DISTANCE(POINT(ra, dec), POINT(10, 20)) < 5",
    "SELECT cube_id FROM {t}.cubes WHERE 1 = CONTAINS(POINT(ra, dec), CIRCLE(359.9, 1, 4))",
    "SELECT cube_id FROM {t}.cubes WHERE 0 = CONTAINS(POINT(ra, dec), CIRCLE(10, 20, 100))",
    "SELECT cube_id FROM {t}.cubes WHERE 1 = CONTAINS(POINT(ra, dec), CIRCLE(5e-324, -5e-324, 8))",
    "SELECT COUNT(*) AS n FROM {t}.cubes WHERE DISTANCE(POINT(ra, dec), POINT(10, 20)) < 5e-324",
    "SELECT cube_id FROM {t}.cubes WHERE 1 = CONTAINS(POINT(ra, dec), CIRCLE(40, 89, 5))",
    "SELECT cube_id FROM {t}.cubes WHERE 1 = CONTAINS(POINT(ra, dec), POLYGON(10, 20, 22, 20, 11, 32)) AND mag > 1",
    "SELECT cube_id FROM {t}.cubes WHERE 1 = CONTAINS(POINT(ra, dec), CIRCLE(120, -20, 8)) AND ROUND(mag, 0) > 3 AND POWER(mag, 2) < 900",
    "SELECT c.cube_id, r.run FROM {t}.cubes AS c JOIN {t}.runs AS r ON r.cube = c.cube_id WHERE r.worth < 9 AND c.mag < 20",
    "SELECT a.cube_id AS a, b.cube_id AS b FROM {t}.cubes AS a JOIN {t}.cubes AS b ON DISTANCE(a.ra, a.dec, b.ra, b.dec) < 3 WHERE a.cube_id < 90 AND a.cube_id <> b.cube_id",
    "SELECT cube_id FROM {t}.cubes WHERE cube_id IN (SELECT cube FROM {t}.runs WHERE worth > 100)",
    "WITH w AS (SELECT cube_id, mag FROM {t}.cubes WHERE mag > 2) SELECT COUNT(*) AS n, MAX(mag) AS m FROM w",
    "SELECT name FROM {t}.cubes WHERE cube_id < 50 UNION SELECT kind FROM {t}.cubes WHERE cube_id < 50",
    "SELECT cube_id, IVO_HEALPIX_INDEX(6, ra, dec) AS h FROM {t}.cubes WHERE cube_id < 40",
    "SELECT cube_id, CAST(mag AS VARCHAR) AS s, label FROM {t}.cubes WHERE cube_id < 40",
    f"SELECT cube_id FROM {{t}}.cubes WHERE cube_id IN ({', '.join(map(str, range(0, 3000, 9)))}) AND mag < 20",
    f"SELECT cube_id FROM {{t}}.cubes WHERE name IN ({', '.join(repr(f'c{number}') for number in range(1, 3000, 2))}) AND POWER(mag, 2) < 900",
    "SELECT cube_id, mag * 1e-200 / 1e200 AS small, worth * 1e200 * 1e200 AS large FROM {t}.cubes WHERE cube_id < 40",
    "SELECT cube_id FROM {t}.cubes WHERE worth * 1e200 * 1e200 > 5 AND cube_id < 40",
    "SELECT cube_id, REPLACE(word, 'w', 'vv') AS r, REGEXP_REPLACE(word, '[0-9]', '.') AS g, word || name || '-' AS j FROM {t}.cubes WHERE cube_id < 300",
]
ORDERED = [
    "SELECT TOP 40 cube_id, name FROM {t}.cubes ORDER BY name DESC",
    "SELECT TOP 40 name FROM {t}.cubes ORDER BY 1",
    "SELECT TOP 700 cube_id, mag FROM {t}.cubes ORDER BY mag DESC, cube_id",
    "SELECT TOP 700 cube_id, mag FROM {t}.cubes WHERE cube_id < 700 ORDER BY mag, cube_id",
    "SELECT TOP 20 cube_id, t FROM {t}.cubes ORDER BY t DESC, cube_id OFFSET 5",
]


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with run_server() as where:
        url = f"postgresql://{where}"
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(SOURCE)
        yield url


@pytest.fixture(scope="module")
def site(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    require_plugins("sources", "sql")
    place = tmp_path_factory.mktemp("live")
    copy = DESCRIPTOR.format(name="copied", source="sql", kind="state")
    (place / "collections" / "copied").mkdir(parents=True)
    (place / "collections" / "copied" / "copied.yaml").write_text(copy)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPS_DB", database)
        with open_site_with_uningested_files(
            place, DESCRIPTOR.format(name="ops", source="live", kind="state") + FAR
        ) as opened:
            ingest_collection(opened, "copied")
            yield opened


def rows(site: Site, text: str, **options: object) -> list[tuple[object, ...]]:
    with query.run_query(text, site=site, maxrec=100_000, **options) as result:  # type: ignore[arg-type]
        return [tuple(_round_value(value) for value in row.values()) for row in result.read_table().to_pylist()]


def _round_value(value: object) -> object:
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else str(value)
    return value


@pytest.mark.parametrize("text", QUERIES)
def test_a_table_in_place_answers_as_its_copy(site: Site, text: str) -> None:
    live, copied = rows(site, text.format(t="ops")), rows(site, text.format(t="copied"))
    assert sorted(live, key=repr) == sorted(copied, key=repr)
    assert live


@pytest.mark.parametrize("text", ORDERED)
def test_the_order_is_that_of_the_copy(site: Site, text: str) -> None:
    live = rows(site, text.format(t="ops"))
    assert live == rows(site, text.format(t="copied"))
    assert len(live) >= 20


@pytest.mark.parametrize("text", QUERIES)
def test_a_policy_hides_the_same_rows(site: Site, text: str) -> None:
    policies = build_odd_rows_hidden_policies("cube_id")
    live = rows(site, text.format(t="ops"), policies=policies)
    assert sorted(live, key=repr) == sorted(rows(site, text.format(t="copied"), policies=policies), key=repr)


@pytest.mark.parametrize("rows_of", ["ops.far", "(SELECT ra, dec FROM ops.far) AS f"])
def test_only_rows_around_a_polygon_travel(site: Site, rows_of: str) -> None:
    """The database knows no polygons: it is asked for what lies in the circle around one, through a derived table, too."""
    holdings = site.get_published_state()
    text = f"SELECT ra FROM {rows_of} WHERE 1 = CONTAINS(POINT(ra, dec), POLYGON(10, 20, 22, 20, 11, 32))"
    bound = adql.bind_query(adql.parse_query(text), holdings.get_catalogue(ANONYMOUS_PRINCIPAL, DEFAULT_POLICIES))
    relation = holdings.find_relation(bound.tables[0], "public")
    plan = site.engines.get_engine_for_users(relation.engine).plan_query(bound)
    [(_, reading)] = plan._fallback_plan.table_fetches.values()
    travelled = sum(
        batch.num_rows for batch in reading.execute(bound.literal_values, {"ops.far": relation}, ExecutionLimits())
    )
    assert 0 < travelled < 400


def test_joins_of_all_three_kinds_of_rows(site: Site) -> None:
    table = Table(
        schema="TAP_UPLOAD",
        name="mine",
        columns=(Column(name="k", type=INT64), Column(name="x", type=FLOAT64), Column(name="s", type=STRING)),
    )
    given = pa.table(
        {"k": pa.array([3, 14, None, 77]), "x": [1.5, None, float("inf"), -2.0], "s": ["a'b", 'q"\\x', None, "{,}"]}
    )
    text = "SELECT u.k, u.x, u.s, l.name, c.mag FROM TAP_UPLOAD.mine AS u JOIN ops.cubes AS l ON u.k = l.cube_id{}"
    uploads = {"TAP_UPLOAD.mine": (table, given)}
    alone = rows(site, text.replace(", c.mag", "").format(""), uploads=uploads)
    assert sorted(alone, key=repr) == [(14, None, 'q"\\x', "c14"), (3, 1.5, "a'b", "C3"), (77, -2.0, "{,}", "c77")]
    mixed = rows(site, text.format(" JOIN copied.cubes AS c ON c.cube_id = l.cube_id"), uploads=uploads)
    assert [row[:4] for row in sorted(mixed, key=repr)] == sorted(alone, key=repr)
    told = query.explain_query(
        "SELECT l.name FROM ops.cubes AS l JOIN copied.cubes AS c ON c.cube_id = l.cube_id WHERE l.cube_id < 9",
        site=site,
    )
    assert "live $OPS_DB" in told
    assert "copied" in told
    assert "read in place" in query.explain_query("SELECT name FROM ops.cubes", site=site)


def test_the_indexes_of_the_source_serve_conditions(site: Site, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    from hven.plugins.postgres.live.execution import LiveExecution

    whole = LiveExecution._fetch_small_answer

    def ask(self: LiveExecution, work: object, most: int) -> object:
        text = work.prepared_sql  # type: ignore[attr-defined]
        for number, value in sorted(enumerate(work.arguments, 1), reverse=True):  # type: ignore[attr-defined]
            text = text.replace(f"${number}::", f"'{value}'::")
        seen.append(text)
        return whole(self, work, most)  # type: ignore[arg-type]

    monkeypatch.setattr(LiveExecution, "_fetch_small_answer", ask)
    conditions = {
        "cube_id = 17": "cubes_pkey",
        "name = 'C33'": "cubes_Name_idx",
        "t >= '2020-03-01' AND t < '2020-03-01T05:00:00'": "cubes_t_idx",
        "mag > 59.5": "cubes_mag_idx",
        "DISTANCE(POINT(ra, dec), POINT(10, 20)) < 0.5": "cubes_dec_ra_idx",
        "1 = CONTAINS(POINT(ra, dec), CIRCLE(10, 20, 0.5))": "cubes_dec_ra_idx",
    }
    with psycopg.connect(database, autocommit=True, options="-c timezone=UTC") as connection:
        for condition, index in conditions.items():
            seen.clear()
            rows(site, f"SELECT cube_id FROM ops.cubes WHERE {condition}")
            plan = "\n".join(row[0] for row in connection.execute(f"EXPLAIN {seen[0]}").fetchall())
            assert index in plan, f"{condition}\n{plan}"
            # the longitude is looked up in the index, too: few rows are read that are not in the circle
            if index == "cubes_dec_ra_idx":
                assert "(ra >= " in next(line for line in plan.splitlines() if "Index Cond" in line), plan


@pytest.mark.parametrize("radius", [0.7, 12, 59, 90, 130])
def test_cones_find_longitudes_of_any_turn(site: Site, database: str, radius: float) -> None:
    with psycopg.connect(database) as connection:
        there = np.array(connection.execute("SELECT n, ra, dec FROM far WHERE ra + dec <> 'NaN'").fetchall())
    found = 0
    for ra, dec in [
        (0.2, 1),
        (359.9, 1),
        (180, 0.5),
        (179.99, -40),
        (-170, 20),
        (725, -3),
        (300, 88.8),
        (10, -90),
        (-1e4, 45),
    ]:
        half = np.radians(np.column_stack([there[:, 2] - dec, there[:, 1] - ra])) / 2
        away = (
            np.sin(half[:, 0]) ** 2
            + np.cos(np.radians(there[:, 2])) * np.cos(np.radians(dec)) * np.sin(half[:, 1]) ** 2
        )
        expected = there[away <= np.sin(np.radians(radius) / 2) ** 2, 0]
        conditions = (
            f"1 = CONTAINS(POINT(ra, dec), CIRCLE({ra}, {dec}, {radius}))",
            f"DISTANCE(ra, dec, {ra}, {dec}) < {radius}",
        )
        for condition in conditions:
            assert sorted(row[0] for row in rows(site, f"SELECT n FROM ops.far WHERE {condition}")) == sorted(
                expected
            ), (ra, dec)
        found += len(expected)
    assert found >= (4 if radius < 1 else 100)


@pytest.mark.parametrize(
    ("extension", "index"), [("q3c", "q3c_ang2ipix(ra, dec)"), ("pgsphere", "gist (spoint(radians(ra), radians(dec)))")]
)
def test_position_indexes_of_extensions_serve_cones(
    site: Site, database: str, extension: str, index: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_extensions(database)
    with psycopg.connect(database, autocommit=True) as connection:
        method = "" if extension == "q3c" else " USING "
        connection.execute(
            f"CREATE INDEX sky ON cubes{method}{f'({index})' if extension == 'q3c' else index}; ANALYZE cubes"
        )
        try:
            with monkeypatch.context() as patch:
                patch.setattr("hven.site._live_tables.INSPECTION_INTERVAL_SECONDS", 0.0)
                relation = site.refresh_published_state().find_relation("ops.cubes")
            assert isinstance(relation, LiveRelation)
            assert relation.position == extension
            for text in QUERIES:
                if "POINT" in text or "DISTANCE" in text:
                    assert sorted(rows(site, text.format(t="ops")), key=repr) == sorted(
                        rows(site, text.format(t="copied")), key=repr
                    )
            before = connection.execute(
                "SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = 'sky'"
            ).fetchone()
            rows(site, "SELECT cube_id FROM ops.cubes WHERE 1 = CONTAINS(POINT(ra, dec), CIRCLE(10, 20, 0.1))")
            for engine in site.engines.list_open_engines():
                if engine.name.startswith("live"):  # statistics are sent when a session ends
                    engine.query_pool.close()  # type: ignore[attr-defined]
                    engine.stream_pool.close()  # type: ignore[attr-defined]
                    engine._pools = None  # type: ignore[attr-defined]
            used = "SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = 'sky'"
            wait_until(lambda: connection.execute(used).fetchone()[0] > before[0])  # type: ignore[index]
        finally:
            connection.execute("DROP INDEX sky")


def test_a_row_of_another_program_is_seen_by_the_next_query(site: Site, database: str) -> None:
    count = "SELECT COUNT(*) AS n FROM ops.runs"
    first = rows(site, count)[0][0]
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("INSERT INTO runs VALUES (100001, 3, 1.25)")
        try:
            assert rows(site, count)[0][0] == first + 1  # type: ignore[operator]
            assert rows(site, "SELECT worth FROM ops.runs WHERE run = 100001") == [(1.25,)]
            one, two = (query.run_query("SELECT run FROM ops.runs", site=site) for _ in range(2))
            assert one.version != two.version  # an answer's ETag is made of it
            assert one.volatile
            assert one.total_row_count is None
            one.close()
            two.close()
        finally:
            connection.execute("DELETE FROM runs WHERE run = 100001")
    assert site.get_published_state().tables_by_name["ops.runs"].rows is None


def test_sessions_cannot_write_and_leave_no_transaction_open(site: Site, database: str) -> None:
    engine = next(engine for engine in site.engines.list_open_engines() if engine.name == "live $OPS_DB")
    with engine.query_pool.borrow_connection() as connection, pytest.raises(psycopg.errors.ReadOnlySqlTransaction):  # type: ignore[attr-defined]
        connection.execute("CREATE TEMPORARY TABLE x AS SELECT 1")
    # a reader who stops in the middle of a long answer
    result = query.run_query(
        "SELECT a.cube_id, b.name, b.word FROM ops.cubes AS a CROSS JOIN ops.runs AS c JOIN ops.cubes AS b ON b.cube_id < 60",
        site=site,
        maxrec=600_000,
        hard_row_limit=600_000,
    )
    batches = result.iterate_batches()
    assert next(batches).num_rows
    with psycopg.connect(database, autocommit=True) as watcher:
        open_ = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'hven' AND xact_start IS NOT NULL"
        wait_until(lambda: watcher.execute(open_).fetchone()[0] == 0)  # type: ignore[index]
    assert sum(batch.num_rows for batch in batches) > 400_000
    result.close()


def test_a_reader_who_leaves_stops_the_query(site: Site, database: str) -> None:
    result = query.run_query(
        "SELECT a.cube_id FROM ops.cubes AS a CROSS JOIN ops.cubes AS b", site=site, maxrec=10**8, hard_row_limit=10**8
    )
    assert next(result.iterate_batches()).num_rows
    result.close()
    with psycopg.connect(database, autocommit=True) as watcher:
        active = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'hven' AND state = 'active'"
        wait_until(lambda: watcher.execute(active).fetchone()[0] == 0)  # type: ignore[index]


def test_batches_that_do_not_fit_memory_wait_in_a_file() -> None:
    batch = pa.record_batch({"x": pa.array(range(MAX_MEMORY_BYTES // 32))})
    spool = BatchSpool(batch.schema)
    for _ in range(7):
        spool.add_batch(batch)
    spool.mark_end()
    assert spool._file_bytes > 0
    assert [one.num_rows for one in spool] == [batch.num_rows] * 7
    assert spool._memory_bytes == 0
    spool.close()


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ("word || '{x}' || name || '{x}' || word || '{x}'", "a text of more than 32768 bytes would be built"),
        ("REPLACE(word, '1', '{x}')", "a text of 32[0-9]{3} bytes would be built; 16384 are the most"),
        ("REGEXP_REPLACE(word, '[0-9]', '{x}')", "bytes would be built; 65536 are the most"),
    ],
)
def test_the_length_of_a_text_is_known_before_it_is_built(site: Site, made: str, said: str) -> None:
    beside = "" if made.startswith("word") else ", word || name AS b"  # each of two has half of the room
    for table in ("ops.cubes", "copied.cubes"):
        with pytest.raises(EvaluationError, match=said):
            rows(
                site,
                f"SELECT {made.replace('{x}', 'x' * (10_920 if made.startswith('word') else 16_100))} AS a{beside} FROM {table} WHERE cube_id BETWEEN 1100 AND 1190",
            )


def test_what_the_database_cannot_compute_of_a_row(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPS_DB", database)
    text = "collection: ops\ntitle: T\ntables:\n  good:\n    source: {kind: live, url: $OPS_DB, table: good}\n"
    with open_site_with_uningested_files(tmp_path, text) as site:
        assert len(rows(site, "SELECT ratio FROM ops.good WHERE id < 4000")) == 3999
        with pytest.raises(EvaluationError, match="division by zero"):
            rows(site, "SELECT ratio FROM ops.good")
        assert rows(site, "SELECT COUNT(*) AS n FROM ops.good")[0][0] == 6000


def test_changes_of_the_table_are_told_and_followed(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPS_DB", database)
    text = "collection: shop\ntitle: T\ntables:\n" + "".join(
        f"  {name}:\n    source: {{kind: live, url: $OPS_DB, table: 'Sales.{name}'}}\n"
        for name in ("lost", "gone", "other")
    )
    text += "  fixed:\n    columns: {a: {type: int64}, b: {type: string}}\n    source: {kind: live, url: $OPS_DB, table: Sales.fixed}\n"
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute('CREATE SCHEMA "Sales"')
        for name in ("lost", "gone", "other", "fixed"):
            connection.execute(
                f'CREATE TABLE "Sales".{name} AS SELECT 1::bigint AS a, \'x\'::text AS b, 2 AS "Mixed Case", 3 AS "select"'
            )
        with open_site_with_uningested_files(tmp_path, text) as site:
            ask = "SELECT a, b FROM shop.{}"
            for name in ("lost", "gone", "other", "fixed"):
                assert rows(site, ask.format(name)) == [(1, "x")]
            assert rows(site, 'SELECT "Mixed Case", "select" FROM shop.lost') == [(2, 3)]
            holdings = site.get_published_state()
            connection.execute(
                'ALTER TABLE "Sales".lost DROP COLUMN b; DROP TABLE "Sales".gone; ALTER TABLE "Sales".fixed DROP COLUMN b'
            )
            connection.execute(
                'DROP TABLE "Sales".other; CREATE TABLE "Sales".other AS SELECT \'now text\' AS a, 5 AS b'
            )
            for name in ("lost", "gone", "fixed"):
                with pytest.raises(StorageUnavailableError, match="has changed in its database"):
                    rows(site, ask.format(name), published_state=holdings)
            with pytest.raises(HvenError):
                rows(site, ask.format("other"), published_state=holdings)
            monkeypatch.setattr("hven.site._live_tables.INSPECTION_INTERVAL_SECONDS", 0.0)
            site.refresh_published_state()
            # it follows its source, so the column is simply gone
            assert rows(site, "SELECT a FROM shop.lost") == [(1,)]
            assert rows(site, ask.format("other")) == [("now text", 5)]
            problems = "\n".join(site.get_published_state().problems)
            assert "shop.gone" in problems
            assert "no table Sales.gone" in problems
            assert "shop.fixed: it no longer fits its database" in problems
            with pytest.raises(StorageUnavailableError, match="has changed"):
                rows(site, ask.format("fixed"))
            assert rows(site, "SELECT a FROM shop.fixed") == [(1,)]
            connection.execute(
                'CREATE TABLE "Sales".gone AS SELECT 7::bigint AS a, \'y\'::text AS b; ALTER TABLE "Sales".fixed ADD b text'
            )
            site.refresh_published_state()
            assert rows(site, ask.format("gone")) == [(7, "y")]
            assert rows(site, ask.format("fixed")) == [(1, None)]
            assert site.get_published_state().problems == ()


def ops(*tables: str, seconds: float = 60.0) -> str:
    """Describe tables that are read in place as they are."""
    lines = (
        f"  {name}:\n    source: {{kind: live, url: $OPS_DB, table: {name}, seconds: {seconds}}}\n" for name in tables
    )
    return "collection: ops\ntitle: T\ntables:\n" + "".join(lines)


def test_rights_of_the_role(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            "CREATE ROLE reader LOGIN; CREATE TABLE closed (a int, secret int); CREATE TABLE half (a int, secret int)"
        )
        connection.execute(
            "GRANT SELECT (a) ON half TO reader; GRANT SELECT ON runs TO reader; INSERT INTO half VALUES (1, 2)"
        )
        monkeypatch.setenv("OPS_DB", database.replace("hven@", "reader@"))
        monkeypatch.setattr(
            "hven.site._live_tables.INSPECTION_INTERVAL_SECONDS", 100.0
        )  # what changes is met by queries of the state before
        with open_site_with_uningested_files(tmp_path, ops("closed", "half", "runs")) as site:
            problems = "\n".join(site.get_published_state().problems)
            assert "is not allowed to read closed" in problems
            assert 'GRANT SELECT ON "public"."closed" TO "reader"' in problems
            assert rows(site, "SELECT * FROM ops.half") == [(1,)]
            faults = [
                str(fault)
                for fault in descriptor.check_descriptor(tmp_path / "collections/ops/ops.yaml", site.settings)
            ]
            assert any(
                "closed" in fault and "GRANT SELECT" in fault and "ops.yaml:5:13" in fault for fault in faults
            ), faults
            assert any("may not read the column secret" in fault for fault in faults)
            connection.execute("REVOKE SELECT ON runs FROM reader")
            with pytest.raises(StorageUnavailableError, match="is no longer allowed to read"):
                rows(site, "SELECT run FROM ops.runs")
            # who alters the table has the whole of it: readers are told soon, and do not queue up
            with connection.transaction():
                connection.execute("LOCK TABLE half IN ACCESS EXCLUSIVE MODE")
                with pytest.raises(StorageUnavailableError, match="is being altered"):
                    rows(site, "SELECT a FROM ops.half")


def test_a_limit_of_time(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPS_DB", database)
    long = "SELECT COUNT(*) AS n FROM ops.cubes AS a JOIN ops.cubes AS b ON a.mag < b.mag JOIN ops.runs AS c ON c.worth < a.mag"
    with (
        open_site_with_uningested_files(tmp_path, ops("runs", "cubes", seconds=1.5)) as site,
        pytest.raises(TimeLimitError, match=r"limit of 1\.5 s"),
    ):
        rows(site, long)


def test_text_of_a_database_in_another_encoding(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        for name, encoding in (("latin", "LATIN1"), ("bytes", "SQL_ASCII")):
            connection.execute(f"CREATE DATABASE {name} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0")
    other = {name: database.replace("/postgres?", f"/{name}?") for name in ("latin", "bytes")}
    with psycopg.connect(other["latin"], autocommit=True) as connection:
        connection.execute("CREATE TABLE words (w text)")
        connection.execute("INSERT INTO words VALUES ('Ängström')")
    with psycopg.connect(other["bytes"], autocommit=True, client_encoding="latin1") as connection:
        connection.execute("CREATE TABLE words AS SELECT 'plain'::text AS w")
        connection.execute(
            r"CREATE VIEW broken AS SELECT E'\\xff'::bytea AS raw, convert_from('\xc4', 'SQL_ASCII') AS w"
        )
    monkeypatch.setenv("LATIN", other["latin"])
    monkeypatch.setenv("BYTES", other["bytes"])
    text = (
        "collection: ops\ntitle: T\ntables:\n  words: {source: {kind: live, url: $LATIN, table: words}}\n"
        "  plain: {source: {kind: live, url: $BYTES, table: words}}\n  broken: {source: {kind: live, url: $BYTES, table: broken}}\n"
    )
    with open_site_with_uningested_files(tmp_path, text) as site:
        assert rows(site, "SELECT w FROM ops.words WHERE w = 'Ängström'") == [("Ängström",)]
        assert rows(site, "SELECT w FROM ops.plain") == [("plain",)]
        with pytest.raises(HvenError, match=r"UTF-8|UTF8|encoding"):
            rows(site, "SELECT w FROM ops.broken")
        warned = [
            str(fault) for fault in descriptor.check_descriptor(tmp_path / "collections/ops/ops.yaml", site.settings)
        ]
        assert any("SQL_ASCII" in fault for fault in warned)


def test_many_readers_at_once(site: Site) -> None:
    wrong: list[str] = []

    def read(number: int) -> None:
        for step in range(8):
            key = (number * 37 + step * 11) % 5000 + 1
            if rows(site, f"SELECT cube_id FROM ops.cubes WHERE cube_id = {key}") != [(key,)]:
                wrong.append(f"{number} {step}")

    threads = [threading.Thread(target=read, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
