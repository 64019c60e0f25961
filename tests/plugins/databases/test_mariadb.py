"""MariaDB, by its own protocol and by ODBC: what its columns hold, joins and views, parts of tables, and how it fails."""

from __future__ import annotations

import contextlib
import datetime as dt
import socket
import threading
import tomllib
from urllib.parse import quote

import mariadb_server
import pyarrow as pa
import pymysql
import pytest

from hven.model.errors import SourceError
from hven.plugins.databases import arrow_rows, mysql_rows
from hven.plugins.databases import source as sql
from hven.sources import ROW_NUMBER_COLUMN, SourceContext
from process_runner import reserve_port, run_hven, wait_until

pytestmark = [pytest.mark.outside, pytest.mark.xdist_group("mariadb")]
ROADS = ["protocol", "odbc"]


@pytest.fixture(scope="module")
def maria():
    found = mariadb_server.get_server()
    found.execute(
        """CREATE TABLE kinds (n int PRIMARY KEY, name varchar(20) COMMENT 'Who it is', tiny tinyint, word smallint unsigned, middle mediumint, big bigint unsigned,
            single float, wide double, fixed double(8,3), code decimal(18,0), price decimal(30,5), ok boolean, day date, seen datetime(3), made timestamp(6) NULL,
            clock time, year year, bits bit(3), chosen enum('a','b'), several set('x','y'), note json, chain longtext, bytes varbinary(8), place point)
           CHARACTER SET latin1""",
        """INSERT INTO kinds VALUES (1, 'Véga', -128, 65535, -8388608, 18446744073709551615, 0.1234567, 1e-300, 1.5, 123456789012345678, 12.34567, 1, '2026-01-02',
            '2026-01-02 03:04:05.678', '2026-01-02 03:04:05.000001', '-34:22:33', 2026, b'101', 'b', 'x,y', '{"a": 1}', REPEAT('7', 70000), x'dead00', POINT(1, 2)),
            (2, ' ', NULL, NULL, NULL, 9223372036854775807, NULL, NULL, NULL, NULL, NULL, NULL, '0000-00-00', '0000-00-00', NULL, NULL, NULL, NULL, NULL, NULL, NULL, '', NULL, NULL)""",
        "CREATE TABLE other (n int, name varchar(5) COMMENT 'Something else', `a``b` int)",
        "INSERT INTO other VALUES (1, 'x', 5)",
        """CREATE TABLE regions (n int PRIMARY KEY, name varchar(8) COLLATE utf8mb4_general_ci, jdint int, jdfraction double, flux float, price decimal(12,3), day date,
            seen datetime, chain text, big bigint)""",
        """INSERT INTO regions SELECT seq, CONCAT(ELT(1 + seq % 4, 'a', 'A', 'b', 'é'), seq % 40), 2459000 + seq DIV 100, (seq % 100) / 100e0, seq / 8, seq / 3,
            '2026-01-01' + INTERVAL seq DAY, '2026-01-01' + INTERVAL seq HOUR, CONCAT(CHAR(33 + seq % 90), ' \\\\ " '' é'), -seq * 10000000000 FROM seq_1_to_500""",
        "UPDATE regions SET seen = NULL WHERE n = 77",
        "UPDATE regions SET seen = '0000-00-00', jdfraction = NULL, flux = NULL, chain = NULL WHERE n = 78",
        database="test",
    )
    return found


def open_source(maria, road="protocol", *, url=None, key=(), page=None, reject=None, tell=None, **options):
    address = url or (maria.url if road == "protocol" else mariadb_server.format_odbc_line(maria))
    context = SourceContext(
        resolve_secret=lambda _: address, key_columns=key, page_row_limit=page, on_reject=reject, on_notice=tell
    )
    return sql.open(sql.Options(url="$DB", **(options or {"table": "regions"})), context)


def rows(source, columns=None):
    return [row for batch in source.read_batches(columns) for row in batch.to_pylist()]


def numbers(source):
    return sorted(row["n"] for row in rows(source, ["n"]))


@pytest.mark.parametrize("road", ROADS)
def test_column_types_and_values_are_read(maria, road):
    told, refused = [], []
    source = open_source(maria, road, tell=told.append, reject=refused.append, table="kinds", longest=100_000)
    types = {column.name: str(column.type) for column in source.list_columns()}
    whole = "int32" if road == "protocol" else "int64"
    assert types == {
        "n": whole, "name": "string", "tiny": types["tiny"], "word": types["word"], "middle": whole, "big": "int64", "single": types["single"], "wide": "float64",
        "fixed": "float64", "code": "int64", "price": "float64", "ok": types["ok"], "day": "timestamp", "seen": "timestamp", "made": "timestamp", "clock": "string",
        "year": types["year"], "bits": types["bits"], "chosen": "string", "several": "string", "note": "string", "chain": "string", "bytes": "string",
        "place": "string",
    }  # fmt: skip
    assert {column.name: column.description for column in source.list_columns()}["name"] == "Who it is"
    (second,) = rows(source)
    assert [(one.row, one.column, one.value) for one in refused] == [(1, "big", "18446744073709551615")]
    assert second["big"] == 9223372036854775807
    assert (second["day"], second["seen"], second["name"], second["chain"]) == (None, None, " ", "")
    assert [str(one) for one in told] == [
        f"{name}: the database contains 0000-00-00, which is not a date; Hven reads it as missing (1 value, first: table kinds)"
        for name in ("day", "seen")
    ]
    first = rows(source, [name for name in types if name != "big"])[0]
    assert first["single"] == pytest.approx(0.1234567, rel=1e-7)
    assert {name: first[name] for name in types if name not in {"big", "single", "ok", "bits", "place"}} == {
        "n": 1, "name": "Véga", "tiny": -128, "word": 65535, "middle": -8388608, "wide": 1e-300, "fixed": 1.5, "code": 123456789012345678, "price": 12.34567,
        "day": dt.datetime(2026, 1, 2), "seen": dt.datetime(2026, 1, 2, 3, 4, 5, 678000), "made": dt.datetime(2026, 1, 2, 3, 4, 5, 1), "clock": "-34:22:33",
        "year": 2026, "chosen": "b", "several": "x,y", "note": '{"a": 1}', "chain": "7" * 70000, "bytes": "\\xdead00",
    }  # fmt: skip
    if road == "protocol":
        assert (first["bits"], first["place"], types["single"]) == (5, "POINT(1 2)", "float32")


@pytest.mark.parametrize("road", ROADS)
def test_invalid_dates_are_rejected(maria, road):
    maria.execute(
        "CREATE OR REPLACE TABLE days (n int, day datetime)",
        "SET sql_mode = 'ALLOW_INVALID_DATES'",
        "INSERT INTO days VALUES (1, '2026-02-31'), (2, '2026-00-00'), (3, '2026-02-28 23:59:59'), (4, '9999-12-31'), (5, '0000-00-00')",
        database="test",
    )
    refused = []
    source = open_source(maria, road, reject=refused.append, table="days")
    assert [row["day"] for row in rows(source)] == [
        dt.datetime(2026, 2, 28, 23, 59, 59),
        dt.datetime(9999, 12, 31),
        None,
    ]
    assert [(one.row, one.value) for one in refused] == [(1, "2026-02-31 00:00:00"), (2, "2026-00-00 00:00:00")]


@pytest.mark.parametrize("road", ROADS)
def test_columns_of_one_name_are_named_apart(maria, road):
    told = []
    join = "SELECT * FROM kinds JOIN other ON kinds.n = other.n -- HFC's own habit"
    source = open_source(maria, road, tell=told.append, query=join)
    columns = {column.name: column.description for column in source.list_columns()}
    assert list(columns)[-3:] == ["n_2", "name_2", "a`b"]
    if road == "protocol":
        assert (columns["name"], columns["name_2"]) == ("Who it is", "Something else")
    assert rows(source, ["name_2", "name", "a`b"]) == [{"name_2": "x", "name": "Véga", "a`b": 5}]
    assert [str(one) for one in told] == [
        f"{name}: several columns have this name; Hven renames the next one to {name}_2 (first: the query)"
        for name in ("n", "name")
    ]
    assert numbers(source.select_since("n_2", 1)) == [1]
    assert numbers(source.select_since("n_2", 2)) == []
    assert numbers(source.select_keys(["name_2"], pa.table({"name_2": ["x"]}))) == [1]
    odd = open_source(maria, road, query="SELECT 1 AS a, 2 AS A, 3 AS a_2, 4 AS a")
    assert rows(odd) == [{"a": 1, "A_3": 2, "a_2": 3, "a_4": 4}]


@pytest.mark.parametrize("road", ROADS)
def test_views_are_read_and_missing_definers_are_explained(maria, road):
    maria.execute(
        "CREATE OR REPLACE VIEW seen_by AS SELECT n, name AS who FROM kinds",
        "CREATE OR REPLACE DEFINER = 'gone'@'nowhere' SQL SECURITY DEFINER VIEW orphan AS SELECT n FROM kinds",
        "CREATE OR REPLACE VIEW broken AS SELECT n FROM other",
        database="test",
    )
    assert numbers(open_source(maria, road, table="seen_by")) == [1, 2]
    offers = {
        str(item.option_value): item
        for item in sql.list_source_tables({"url": "$DB"}, SourceContext(resolve_secret=lambda _: maria.url))
    }
    assert offers["seen_by"].is_view
    assert not offers["kinds"].is_view
    with pytest.raises(SourceError, match=r"table orphan: .*Access denied") as caught:
        numbers(open_source(maria, road, table="orphan"))
    if road == "protocol":
        assert "definer" in caught.value.remedy


@pytest.mark.parametrize(
    ("expression", "value", "wanted"),
    [
        ("seen", dt.datetime(2026, 1, 20), [77, 78, *range(456, 501)]),
        ("day", dt.datetime(2027, 1, 1), range(365, 501)),
        ("jdint + jdfraction", 2459004.5, [78, *range(450, 501)]),
        ("GREATEST(n, jdint)", 2459004, range(400, 501)),
        ("price", 160.0, range(480, 501)),
        ("flux", 60.0, [78, *range(480, 501)]),
        ("n * jdint", 1_200_000_000, range(489, 501)),
        ("name", "b2", [n for n in range(1, 501) if n % 4 == 3 or (n % 4 == 2 and f"b{n % 40}" >= "b2")]),
    ],
)
@pytest.mark.parametrize("road", ROADS)
def test_watermarks_select_newer_rows(maria, road, expression, value, wanted):
    for options in ({"table": "regions"}, {"query": "SELECT * FROM regions # all of them\n;"}):
        source = open_source(maria, road, **options)
        assert source.can_filter_by(expression)
        assert numbers(source.select_since(expression, value)) == sorted(wanted)


@pytest.mark.parametrize("columns", [["n"], ["name", "n"], ["chain"], ["seen", "day"], ["price", "flux"], ["big"]])
@pytest.mark.parametrize("road", ROADS)
def test_rows_are_selected_by_keys_of_all_types(maria, road, columns):
    source = open_source(maria, road)
    whole = pa.Table.from_batches(list(source.read_batches(list(dict.fromkeys([*columns, "n"])))))
    keys = whole.filter(pa.compute.is_in(whole["n"], pa.array([3, 4, 77, 78, 400])))
    alike = {tuple(row.values()) for row in keys.select(columns).to_pylist()}
    wanted = {row["n"] for row in whole.to_pylist() if tuple(row[name] for name in columns) in alike}
    found = set(numbers(source.select_keys(columns, keys)))
    assert wanted <= found
    assert len(found) <= len(wanted) + 40  # letters' case counts for nothing there


@pytest.mark.parametrize("key", [["n"], ["name", "n"], ["jdint", "jdfraction"], ["chain"], ["big"], ["seen"]])
def test_tables_are_read_in_resumable_pages(maria, key):
    source = open_source(maria, key=key, page=64)
    pages = [(batch.to_pylist(), place) for batch, place in source.read_pages(["n", ROW_NUMBER_COLUMN])]
    assert sorted(row["n"] for found, _ in pages for row in found) == list(range(1, 501))
    places = [(number, place) for number, (_, place) in enumerate(pages) if place]
    assert len(places) >= 4
    for number, place in places[::2]:
        rest = [
            row
            for batch, _ in open_source(maria, key=key, page=50).read_pages(
                ["n", ROW_NUMBER_COLUMN], resume_token=place
            )
            for row in batch.to_pylist()
        ]
        assert sorted(row["n"] for row in rest) == sorted(row["n"] for found, _ in pages[number + 1 :] for row in found)


@pytest.mark.parametrize("key", [["n"], ["big"], ["name", "n"]])
@pytest.mark.parametrize("road", ROADS)
def test_block_checksums_find_changed_rows(maria, road, key):
    maria.execute("CREATE OR REPLACE TABLE summed AS SELECT * FROM regions", database="test")
    source = open_source(maria, road, table="summed")
    columns = [column.name for column in source.list_columns()]

    def compute_checksums():
        return {
            row["block"]: (row["rows"], row["checksum"])
            for row in open_source(maria, road, table="summed").compute_block_checksums(key, columns).to_pylist()
        }

    before = compute_checksums()
    assert sum(count for count, _ in before.values()) == 500
    for change, touched in (
        ("UPDATE summed SET chain = CONCAT(chain, 'x') WHERE n = 5", [5]),
        ("UPDATE summed SET flux = 0.75000006 WHERE n = 6", [6]),  # beyond the six digits of its text
        ("UPDATE summed SET chain = '' WHERE n = 78", [78]),
        ("DELETE FROM summed WHERE n = 9", []),
        ("INSERT INTO summed (n, big, name) VALUES (501, 501, 'new'), (502, NULL, NULL)", [501, 502]),
    ):
        maria.execute(change, database="test")
        now = compute_checksums()
        other = [block for block in now if before.get(block) != now[block]]
        assert other or set(before) - set(now)
        assert len(other) <= max(1, len(touched))
        assert set(touched) <= set(numbers(source.select_blocks(key, other)))
        before = now
    assert numbers(source.select_blocks(key, list(before))) == sorted({*range(1, 503)} - {9})


def test_texts_in_another_encoding_are_decoded(maria):
    maria.execute(
        "CREATE OR REPLACE TABLE old (n int, name varchar(20)) CHARACTER SET latin1",
        "INSERT INTO old VALUES (1, x'56c3a96761'), (2, x'56e96761'), (3, 'Deneb')",  # UTF-8, latin1, and what is both
        database="test",
    )
    assert [row["name"] for row in rows(open_source(maria, table="old"))] == ["VÃ©ga", "Véga", "Deneb"]
    refused = []
    source = open_source(maria, reject=refused.append, table="old", encoding="utf-8")
    assert rows(source) == [{"n": 1, "name": "Véga"}, {"n": 3, "name": "Deneb"}]
    assert [(one.row, one.column) for one in refused] == [(2, "name")]
    assert numbers(
        open_source(maria, query="SELECT * FROM old WHERE n <> 2", encoding="utf-8").select_since("name", "V")
    ) == [1]
    assert [row["name"] for row in rows(open_source(maria, table="old", encoding="cp1250"))][1] == "Véga"
    with pytest.raises(SourceError, match="Unknown character set: 'klingon'") as caught:
        rows(open_source(maria, table="old", encoding="klingon"))
    assert "SHOW CHARACTER SET" in caught.value.remedy


def test_one_reading_sees_one_state(maria, monkeypatch):
    maria.execute("CREATE OR REPLACE TABLE moving AS SELECT n FROM regions", database="test")
    monkeypatch.setattr(arrow_rows, "KEYS_PER_STATEMENT", 50)
    stream = (
        open_source(maria, table="moving")
        .select_keys(["n"], pa.table({"n": range(1, 501)}))
        .read_batches(["n", ROW_NUMBER_COLUMN])
    )
    seen = next(stream).to_pylist()
    maria.execute("DELETE FROM moving WHERE n > 100", database="test")
    seen += [row for batch in stream for row in batch.to_pylist()]
    assert [row[ROW_NUMBER_COLUMN] for row in seen] == list(range(1, 501))


def test_rows_are_streamed_on_demand(maria):
    """The server still has most of them when the first are here, and ends its work when nobody wants the rest."""
    many = "SELECT a.n, REPEAT('x', 1000) AS text FROM regions a, regions b, regions c"
    stream = open_source(maria, query=many).read_batches()
    first = next(stream)
    assert first.num_rows < 10_000
    stream.close()
    wait_until(
        lambda: (
            not maria.execute("SELECT 1 FROM information_schema.processlist WHERE user = 'hven' AND info IS NOT NULL")
        )
    )


def through(maria, most):
    """Run something between us and the server that breaks off after so many bytes of an answer."""
    listening = socket.create_server(("127.0.0.1", 0))

    def carry(source, target, left):
        with contextlib.suppress(OSError):
            while left > 0 and (data := source.recv(min(left, 65_536))):
                target.sendall(data)
                left -= len(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        source.close()

    def work():
        with contextlib.suppress(OSError):
            while True:
                client, _ = listening.accept()
                server = socket.create_connection(("127.0.0.1", maria.port))
                threading.Thread(target=carry, args=(client, server, 1 << 40), daemon=True).start()
                threading.Thread(target=carry, args=(server, client, most), daemon=True).start()

    threading.Thread(target=work, daemon=True).start()
    return maria.url.replace(str(maria.port), str(listening.getsockname()[1])), listening


def test_a_lost_connection_is_reported(maria):
    url, listening = through(maria, 20_000_000)
    with listening:
        stream = open_source(
            maria, url=url, query="SELECT a.n, REPEAT('x', 1000) AS s FROM regions a, regions b"
        ).read_batches()
        with pytest.raises(SourceError, match=r"the query: after [\d,]+ rows: .*lost") as caught:
            for _ in stream:
                pass
    assert "next run" in caught.value.remedy


def test_a_silent_server_times_out(maria):
    with pytest.raises(SourceError, match=r"the server sent nothing for 0\.2 s") as caught:
        rows(open_source(maria, query="SELECT SLEEP(20) AS n", seconds=0.2))
    assert "`seconds`" in caught.value.remedy


@pytest.mark.parametrize("road", ROADS)
@pytest.mark.parametrize(
    ("options", "change", "message"),
    [
        ({"table": "nix"}, None, "table nix: .*doesn't exist"),
        ({"query": "SELEC 1"}, None, "the query: .*syntax"),
        ({"query": "DROP TABLE regions"}, None, "the query: "),
        ({"query": "SELECT n FROM regions WHERE n = ?"}, None, "the query: "),
        ({"table": "regions"}, ("sesame", "wrong-sesame"), "Access denied"),
        ({"table": "regions"}, ("hven", "nobody-hven"), "Access denied"),
        ({"table": "regions"}, "port", "(?i)can't connect|could not connect"),
        ({"table": "mysql.user"}, None, "(?i)denied"),
    ],
)
def test_error_messages_contain_no_password(maria, road, options, change, message):
    url = maria.url if road == "protocol" else mariadb_server.format_odbc_line(maria)
    if change == "port":
        url = url.replace(str(maria.port), str(reserve_port()))
    elif change:
        url = url.replace(*change)
    with pytest.raises(SourceError, match=message) as caught:
        rows(open_source(maria, road, url=url, **options))
    told = f"{caught.value} {caught.value.remedy}"
    assert "sesame" not in told
    assert quote(mariadb_server.PASSWORD, safe="") not in told
    assert caught.value.remedy
    assert numbers(open_source(maria)) == list(range(1, 501))


@pytest.mark.parametrize("road", ROADS)
def test_a_type_changed_during_the_read_is_reported(maria, road):
    maria.execute(
        "CREATE OR REPLACE TABLE changing (n int, x int)", "INSERT INTO changing VALUES (1, 5)", database="test"
    )
    refused = []
    source = open_source(maria, road, reject=refused.append, table="changing")
    assert [str(column.type) for column in source.list_columns()] == ["int32" if road == "protocol" else "int64"] * 2
    maria.execute(
        "ALTER TABLE changing MODIFY x varchar(10)", "INSERT INTO changing VALUES (2, 'many')", database="test"
    )
    assert rows(source) == [{"n": 1, "x": 5}]
    assert [(one.row, one.column, one.value) for one in refused] == [(2, "x", "many")]
    maria.execute("ALTER TABLE changing DROP x", database="test")
    with pytest.raises(SourceError, match="x"):
        rows(source)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("mysql://hven:sesame@host:port/db", "not a database URL"),
        ("mysql://hven:sesame@host/db?charste=utf8", "the unknown parameter 'charste'"),
    ],
)
def test_addresses_that_are_none(maria, address, message):
    with pytest.raises(SourceError, match=message) as caught:
        open_source(maria, url=address)
    assert "sesame" not in str(caught.value)


def test_a_row_that_is_none_of_the_protocol():
    """What is longer than its packet is told, whatever the bytes are."""
    import io

    good = b"\x05\x00\x00\x01\x00\x00\x02ab" + b"\x05\x00\x00\x02\xfe\x00\x00\x02\x00"
    (batch,) = mysql_rows.read_mysql_packet_rows(io.BytesIO(good), [(253, 0)], 1000)
    assert batch.column(0).to_pylist() == ["ab"]
    for bad in (good.replace(b"\x02ab", b"\x09ab"), good.replace(b"\x02ab", b"\x01ab"), good[:7], good[:-9]):
        with pytest.raises(mysql_rows.MysqlConnectionLostError):
            list(mysql_rows.read_mysql_packet_rows(io.BytesIO(bad), [(253, 0)], 1000))


def test_values_equal_those_of_pymysql(maria):
    """Values of many lengths, in many batches, beside the driver's own."""
    text = "SELECT seq AS n, IF(seq % 7, REPEAT(CHAR(97 + seq % 26 USING utf8mb4), seq * 7 % 700), NULL) AS text, seq / 3e0 AS x, '2000-01-01' + INTERVAL seq * 7919 SECOND AS t, seq % 100 AS s FROM seq_1_to_20000"
    address = {"unix_socket": maria.socket, "user": "root", "database": "test"}
    with pymysql.connect(**address) as link, link.cursor() as cursor:
        cursor.execute(text)
        wanted = cursor.fetchall()
    found = pa.Table.from_batches(list(open_source(maria, query=text).read_batches()))
    assert found.num_rows == 20_000
    assert [tuple(row.values())[:3] for row in found.to_pylist()] == [row[:3] for row in wanted]
    assert found.column("s").to_pylist() == [row[4] for row in wanted]


# -- from an address to a table that is published -------------------------------------------


@pytest.fixture
def site(tmp_path):
    run_hven("init", tmp_path / "site")
    return tmp_path / "site"


def test_new_writes_a_descriptor_from_a_database_address(maria, site):
    """An account without a password stands there; one with a password belongs into a secret."""
    maria.execute("CREATE OR REPLACE USER guest@'%'", "GRANT SELECT ON test.* TO guest@'%'")
    address = f"mysql://guest@127.0.0.1:{maria.port}/test"
    assert "several tables" not in run_hven("--site", site, "new", "spots", "--from", f"{address}/regions").stderr
    text = (site / "collections/spots/spots.yaml").read_text()
    assert f"url: {address!r}" in text or address in text
    run_hven("--site", site, "check", "spots")
    run_hven("--site", site, "ingest", "spots")
    assert "500" in run_hven("--site", site, "query", "SELECT COUNT(*) FROM spots.main").stdout
    refused = run_hven("--site", site, "new", "more", "--from", maria.url, expected_code=2)
    assert "secret" in refused.stderr
    assert "sesame" not in refused.stderr


def test_a_dachs_driver_line_becomes_a_secret(maria, site, tmp_path):
    driver = tmp_path / "driver.txt"
    driver.write_text(mariadb_server.format_odbc_line(maria) + "\n")
    driver.chmod(0o644)
    done = run_hven("--site", site, "new", "spots", "--from", driver, "--table", "regions")
    assert "every account on this machine can read" in done.stdout
    assert "sesame" not in done.stdout + done.stderr
    text = (site / "collections/spots/spots.yaml").read_text()
    assert "$SPOTS_DB" in text
    assert "sesame" not in text
    kept = site / "secrets.toml"
    assert kept.stat().st_mode & 0o077 == 0
    assert tomllib.loads(kept.read_text())["SPOTS_DB"] == mariadb_server.format_odbc_line(maria)
    run_hven("--site", site, "check", "spots")
    (site / "collections/spots/spots.yaml").unlink()
    driver.write_text("DSN=other;PWD=x")
    driver.chmod(0o600)
    other = run_hven("--site", site, "new", "spots", "--from", driver, "--table", "regions", expected_code=1)
    assert "the secret SPOTS_DB with a different value" in other.stderr


def test_syncs_find_new_changed_and_deleted_database_rows(maria, site):
    """A watermark finds what is new, comparing keys what went, blocks the edits below the watermark."""
    for deletions in ("compare", "blocks"):
        maria.execute(
            "CREATE OR REPLACE TABLE followed (n int PRIMARY KEY, seen timestamp(6) NOT NULL, x double)",
            "INSERT INTO followed SELECT n, '2026-01-01' + INTERVAL n SECOND, n / 7e0 FROM regions",
            database="test",
        )
        place = site / f"collections/{deletions}"
        place.mkdir(parents=True)
        (place / f"{deletions}.yaml").write_text(
            f"collection: {deletions}\ntitle: Followed\ntables:\n  main:\n    primary: n\n"
            "    source: {kind: sql, url: $MARIA, table: followed}\n"
            f"    sync: {{watermark: seen, deletions: {deletions}}}\n"
            "    columns: {n: int32, seen: timestamp, x: float64}\n"
        )
        run_hven("--site", site, "ingest", deletions, MARIA=maria.url)
        maria.execute(
            "INSERT INTO followed VALUES (501, '2026-02-01', 1)",
            "UPDATE followed SET x = -1, seen = '2026-02-02' WHERE n = 3",
            "UPDATE followed SET x = -2, seen = seen WHERE n = 4",
            "DELETE FROM followed WHERE n = 5",
            database="test",
        )
        run_hven("--site", site, "sync", deletions, MARIA=maria.url)
        asked = f"SELECT n, x FROM {deletions}.main WHERE n IN (3, 4, 5, 501) ORDER BY n"
        found = run_hven("--site", site, "query", "--format", "csv", asked).stdout.split()[1:]
        below = -2 if deletions == "blocks" else 4 / 7
        assert [float(line.split(",")[1]) for line in found] == [-1, pytest.approx(below), 1]
