"""MySQL 8 where it is not MariaDB: log-in by caching_sha2_password, JSON, days that are none; and whom a connection of either trusts."""

from __future__ import annotations

import datetime as dt
import subprocess

import mariadb_server
import mysql8_server
import pytest

from hven.model.errors import SourceError
from hven.plugins.databases import source as sql
from hven.sources import SourceContext
from requirements import find_program, report_missing

pytestmark = [pytest.mark.outside, pytest.mark.xdist_group("mariadb")]
CIPHER = "SELECT variable_value AS v FROM information_schema.session_status WHERE variable_name = 'SSL_CIPHER'"


@pytest.fixture(scope="module")
def maria():
    return mariadb_server.get_server()


def read(url, directory=None, tell=None, **options):
    context = SourceContext(
        resolve_secret=lambda _: url, on_notice=tell, **({} if directory is None else {"directory": directory})
    )
    source = sql.open(sql.Options(url="$DB", **options), context)
    types = {column.name: str(column.type) for column in source.list_columns()}
    return types, [row for batch in source.read_batches() for row in batch.to_pylist()]


@pytest.mark.parametrize("known", [True, False])
def test_caching_sha2_password_logins_work(maria, known):
    """The password itself goes nowhere: scrambled, or encrypted for the server's own key."""
    with mysql8_server.run_server(known=known) as there:
        assert read(there.url, query="SELECT 1 AS n, 'é' AS s")[1] == [{"n": 1, "s": "é"}]
        assert set(there.logins) == {"fast" if known else "full"}
        wrong = there.url.replace("sesame", "wrong-sesame")
        with pytest.raises(SourceError, match="Access denied") as caught:
            read(wrong, query="SELECT 1 AS n")
        assert "sesame" not in str(caught.value)


def test_the_mariadb_client_can_log_in_to_the_simulated_server(maria):
    """Who plays MySQL here is understood by a client that is not ours."""
    program = find_program("mariadb") or report_missing("mariadb-client")
    with mysql8_server.run_server() as there:
        words = [
            "--skip-ssl",
            "-h127.0.0.1",
            f"-P{there.port}",
            f"-u{mariadb_server.USER}",
            f"-p{mariadb_server.PASSWORD}",
        ]
        done = subprocess.run([program, "--no-defaults", *words, "-Ne", "SELECT 40 + 2"], capture_output=True, text=True, timeout=60, check=False)  # fmt: skip
        assert done.stdout.split() == ["42"], done.stderr


def test_json_columns_are_read_as_text(maria):
    with mysql8_server.run_server() as there:
        types, found = read(there.url, query="SELECT CAST('{\"a\": [1, \"é\"]}' AS CHAR) AS json, X'00ff' AS bytes")
    assert (types["json"], found) == ("string", [{"json": '{"a": [1, "é"]}', "bytes": "\\x00ff"}])


def test_zero_dates_are_read_under_strict_modes(maria):
    """MySQL's own modes refuse to compare with 0000-00-00; what lies there is read all the same."""
    maria.execute("CREATE OR REPLACE TABLE strict_days (n int, day datetime)", "INSERT INTO strict_days VALUES (1, '2026-02-01'), (2, '0000-00-00'), (3, NULL)", database="test")  # fmt: skip
    (before,) = maria.execute("SELECT @@GLOBAL.sql_mode")[0]
    maria.execute("SET GLOBAL sql_mode = 'STRICT_TRANS_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO'")
    try:
        told = []
        context = SourceContext(resolve_secret=lambda _: maria.url, on_notice=told.append)
        source = sql.open(sql.Options(url="$DB", table="strict_days"), context)
        assert [row["day"] is None for batch in source.read_batches() for row in batch.to_pylist()] == [
            False,
            True,
            True,
        ]
        assert [str(one) for one in told] == [
            "day: the database contains 0000-00-00, which is not a date; Hven reads it as missing (1 value, first: table strict_days)"
        ]
        newer = source.select_since("day", dt.datetime(2026, 3, 1))
        assert sorted(row["n"] for batch in newer.read_batches(["n"]) for row in batch.to_pylist()) == [2, 3]
        (mode,) = read(maria.url, query="SELECT @@sql_mode AS mode")[1]
        assert ("ZERO_DATE" in mode["mode"], "STRICT_TRANS_TABLES" in mode["mode"]) == (False, True)
    finally:
        maria.execute(f"SET GLOBAL sql_mode = '{before}'")


def test_server_certificates_are_verified(maria, tmp_path):
    (tmp_path / "ca.pem").write_bytes((maria.directory / "ca.pem").read_bytes())
    assert read(maria.url, query=CIPHER)[1] == [{"v": ""}], "nothing is encrypted that does not leave the machine"
    (row,) = read(f"{maria.url}?ssl_ca=ca.pem", tmp_path, query=CIPHER)[1]
    assert row["v"].startswith("TLS_")
    (row,) = read(f"{maria.url}?tls=unchecked", query=CIPHER)[1]
    assert row["v"]
    with pytest.raises(SourceError, match="CERTIFICATE_VERIFY_FAILED") as caught:
        read(f"{maria.url}?tls=checked", query=CIPHER)
    assert "ssl_ca" in caught.value.remedy
    named = f"{maria.url}?ssl_ca=ca.pem".replace("@127.0.0.1", "@localhost")  # of which the certificate says nothing
    with pytest.raises(SourceError, match="CERTIFICATE_VERIFY_FAILED"):
        read(named, tmp_path, query=CIPHER)
    with pytest.raises(SourceError, match=r"cannot be read.*\[Errno 2\]") as caught:
        read(f"{maria.url}?ssl_ca=none.pem", tmp_path, query=CIPHER)
    assert "sesame" not in f"{caught.value}{caught.value.remedy}"
    with pytest.raises(SourceError, match="the unknown parameter 'tls=perhaps'"):
        read(f"{maria.url}?tls=perhaps", query=CIPHER)
    line = f"{mariadb_server.format_odbc_line(maria)};SSLCA={tmp_path / 'ca.pem'};SSLVERIFY=1"
    (row,) = read(line, query=CIPHER)[1]
    assert row["v"]


def test_remote_servers_without_tls_get_no_login(maria, monkeypatch):
    """To a host that is not this one a connection is encrypted and checked, whatever the address does not say."""
    from hven.plugins.databases import mariadb as source

    monkeypatch.setattr(source, "_is_local_host", lambda host: False)
    with mysql8_server.run_server() as there:
        with pytest.raises(SourceError, match="SSL is required but the server doesn't support it") as caught:
            read(there.url, query="SELECT 1 AS n")
        assert "tls=off" in caught.value.remedy
        assert there.logins == [], "no log-in was tried"
        assert read(f"{there.url}?tls=off", query="SELECT 1 AS n")[1] == [{"n": 1}]
    with pytest.raises(SourceError, match="CERTIFICATE_VERIFY_FAILED"):
        read(maria.url, query=CIPHER)
