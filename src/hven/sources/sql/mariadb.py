"""MariaDB and MySQL: rows come as the server sends them, unbuffered, by PyMySQL's connection, and become Arrow column by column."""

from __future__ import annotations

import ssl
import struct
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pyarrow as pa

from hven.model import plugins
from hven.model.errors import HvenError, SourceError
from hven.sources._reading.files import CHUNK
from hven.sources.sql import mysqlrows
from hven.sources.sql.arrowrows import ArrowRows, Field
from hven.sources.sql.dialects import (
    BITS,
    BYTES,
    CLOCK,
    DECIMAL,
    DOUBLE,
    MARIADB,
    SHAPE,
    SINGLE,
    TEXT,
    TIME,
    WHOLE,
    Dialect,
)
from hven.sources.sql.rows import without_url

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hven.sources import Context
    from hven.sources.sql.options import Options

SCHEMES = {"mysql", "mariadb"}
PORT, CONNECTING = 3306, 15
PREPARE, EXECUTE, CLOSE = 0x16, 0x17, 0x19  # commands of the protocol
UNSIGNED, BINARY = 32, 63  # a flag; the character set of what is no text
LOST, PLAIN, UNTRUSTED = 2013, 2026, -1  # errors; the last one is ours
CHECKED, UNCHECKED, OFF = "checked", "unchecked", "off"  # how a connection is encrypted
DIGITS = 18  # a whole number of so many fits
# numbers of types in the protocol
_TYPES: dict[int, tuple[str, pa.DataType]] = {
    1: (WHOLE, pa.int16()), 2: (WHOLE, pa.int16()), 9: (WHOLE, pa.int32()), 3: (WHOLE, pa.int32()), 8: (WHOLE, pa.int64()), 13: (WHOLE, pa.int16()),
    4: (SINGLE, pa.float32()), 5: (DOUBLE, pa.float64()), 0: (DECIMAL, pa.float64()), 246: (DECIMAL, pa.float64()), 16: (BITS, pa.int64()),
    7: (TIME, pa.timestamp("us")), 10: (TIME, pa.timestamp("us")), 12: (TIME, pa.timestamp("us")), 14: (TIME, pa.timestamp("us")),
    11: (CLOCK, pa.string()), 6: (TEXT, pa.string()), 255: (SHAPE, pa.string()),
    245: (TEXT, pa.string()),  # JSON, which MySQL says to be of no character set
}  # fmt: skip
_WIDER = {pa.int16(): pa.int32(), pa.int32(): pa.int64(), pa.int64(): pa.int64()}
# what the server's own numbers of errors need beside its words
_REMEDIES = {
    1045: "look at user and password, and from which hosts the server lets this user in; of a view: whether its definer has an account (SHOW CREATE VIEW)",
    1044: "GRANT SELECT ON the database TO its user",
    1049: "look at the name of the database in the address",
    1115: "say one that SHOW CHARACTER SET lists there, as `encoding`, or `?charset=utf8` in the address of an old server",
    1142: "GRANT SELECT ON the table TO its user",
    1143: "GRANT SELECT ON the table TO its user",
    1146: "look at the name: letters' case counts in most installations; `hven new` lists what is there",
    1356: "the view names what is gone, or what its definer may not read: whoever owns it makes it anew",
    1449: "the view's definer has no account there any more: whoever owns it says ALTER DEFINER = ... VIEW, or makes it SQL SECURITY INVOKER",
    LOST: "look at the server and its log; `seconds` says how long it may be silent; the next run begins again",
    2003: "look at host and port, and whether the server listens there",
    PLAIN: "have the server encrypt (its ssl_cert and ssl_key), or say `?tls=off` in the address, if nobody else listens on the network between",
    UNTRUSTED: "`?ssl_ca=FILE` in the address says whose certificates are trusted (MySQL's own: ca.pem of its data directory); `tls=unchecked` believes any server",
}
NATIVE = replace(MARIADB, sent={kind: how for kind, how in MARIADB.sent.items() if kind not in {TIME, WHOLE}})
_ANY = "look at the address, the rights of its user, and the name"


class MariadbRows(ArrowRows):
    """A table or query of MariaDB or MySQL."""

    def __init__(self, options: Options, url: str, context: Context) -> None:
        plugins.need("a table of MariaDB or MySQL", "pymysql", error=SourceError)
        super().__init__(options, context)
        self.url = url
        self._address = _address(url, context.directory)

    @property
    def dialect(self) -> Dialect:
        """MariaDB's; times and numbers come as they are."""
        return NATIVE

    @contextmanager
    def _session(self) -> Iterator[_Session]:
        import pymysql  # noqa: PLC0415  (for MariaDB alone)

        session = None
        try:
            session = _Session(
                pymysql.connect(
                    **self._address,
                    connect_timeout=CONNECTING,
                    read_timeout=self.options.seconds,
                    autocommit=True,
                    client_flag=0,
                ),
                self.what,
            )
            for text in (
                f"SET net_write_timeout = {int(self.options.seconds)}",
                *self.dialect.begin,
            ):  # we may be slow, too
                session.asked(text)
            yield session
        except GeneratorExit:
            raise
        except Exception as error:
            raise self._failed(error) from error
        finally:
            if session is not None:
                session.close()

    def _failed(self, error: Exception) -> Exception:
        if isinstance(error, HvenError):
            return error
        number, text = 0, str(error)
        if isinstance(error, mysqlrows.RefusedError):
            packet = error.args[0]
            (number,) = struct.unpack_from("<H", packet, 1)
            text = packet[9 if packet[3:4] == b"#" else 3 :].decode("utf-8", "replace")
        elif isinstance(error, (mysqlrows.BrokenError, OSError)):
            number = LOST
        elif len(error.args) > 1 and isinstance(error.args[0], int):
            number, text = error.args[0], str(error.args[1])
        if "CERTIFICATE_VERIFY_FAILED" in text:
            number = UNTRUSTED
        if number == LOST and "timed out" in text:
            text = f"nothing came for {self.options.seconds:g} s"
        where = f"{self.what}: " + (f"after {self.read:,} rows: " if self.read else "")
        return SourceError(f"{where}{without_url(text, self.url)}", remedy=_REMEDIES.get(number, _ANY))


class _Session:
    """A connection; see `hven.sources.sql.arrowrows.Session`."""

    def __init__(self, connection: Any, what: str) -> None:
        self.connection = connection
        self.what = what

    def _prepared(self, text: str) -> tuple[int, list[Any]]:
        """Have a statement prepared: no row is computed, and columns of one name are nobody's matter; give its number and columns."""
        from pymysql.protocol import FieldDescriptorPacket  # noqa: PLC0415  (for MariaDB alone)

        link = self.connection  # PyMySQL has no word for these commands, but all that they are made of
        link._execute_command(PREPARE, text)  # noqa: SLF001
        _, statement, columns, places = struct.unpack_from("<BIHH", link._read_packet()._data)  # noqa: SLF001
        for _ in range(places + 1 if places else 0):
            link._read_packet()  # noqa: SLF001
        fields = [link._read_packet(FieldDescriptorPacket) for _ in range(columns)]  # noqa: SLF001
        if not columns or places:
            fault = "it gives no rows" if not columns else "it has places for values"
            raise SourceError(f"{self.what}: {fault}", remedy="a SELECT without ?")
        link._read_packet()  # noqa: SLF001
        return statement, fields

    def described(self, text: str) -> list[Field]:
        """List the columns of a statement, as they are called there."""
        statement, fields = self._prepared(text)
        self.connection._execute_command(CLOSE, struct.pack("<I", statement))  # noqa: SLF001
        return [_field(one) for one in fields]

    def asked(self, text: str) -> list[tuple[object, ...]]:
        """Ask something small."""
        with self.connection.cursor() as cursor:
            cursor.execute(text)
            return list(cursor.fetchall())

    def streamed(self, text: str) -> Iterator[pa.RecordBatch]:
        """Yield rows as they come: the server sends no faster than they are taken."""
        link = self.connection
        statement, _ = self._prepared(text)
        link._execute_command(EXECUTE, struct.pack("<IBI", statement, 0, 1))  # noqa: SLF001
        link._read_query_result(unbuffered=True)  # noqa: SLF001
        result = link._result  # noqa: SLF001  (whose rows PyMySQL would give one by one)
        try:
            columns = [(field.type_code, field.flags) for field in result.fields]
            yield from mysqlrows.batches(link._rfile, columns, 4 * CHUNK)  # noqa: SLF001
        except BaseException:
            self.close()  # in the midst of rows it is of no more use; the server ends the statement
            raise
        finally:
            result.unbuffered_active = False  # else PyMySQL would wait for rows that have come
        link._execute_command(CLOSE, struct.pack("<I", statement))  # noqa: SLF001

    def close(self) -> None:
        """Leave."""
        with suppress(Exception):
            self.connection.close()


def _field(found: Any) -> Field:
    """Take over what the server says of a column."""
    kind, arrow = _TYPES.get(found.type_code, (TEXT, pa.string()))
    if kind == WHOLE and found.flags & UNSIGNED:
        arrow = _WIDER[arrow]
    if kind == DECIMAL and found.scale == 0 and found.length - (not found.flags & UNSIGNED) <= DIGITS:
        kind, arrow = WHOLE, pa.int64()
    if found.type_code not in _TYPES and found.charsetnr == BINARY:
        kind = BYTES
    origin = (found.db.decode(), found.org_table, found.org_name) if found.org_table else None
    return Field(name=found.name, kind=kind, arrow=arrow, origin=origin)


def _address(url: str, directory: Path) -> dict[str, Any]:
    """Read an address; nothing of it is told.

    Raises
    ------
    SourceError
        It is none.
    """
    try:
        parts = urlsplit(url)
        said = dict(parse_qsl(parts.query, strict_parsing=True)) if parts.query else {}
        found: dict[str, Any] = {
            "host": parts.hostname or "localhost",
            "port": parts.port or PORT,
            "user": unquote(parts.username or ""),
            "password": unquote(parts.password or ""),
            "database": unquote(parts.path.lstrip("/")) or None,
            "charset": said.pop("charset", "utf8mb4"),
        }
    except ValueError as error:
        raise SourceError(
            "the address is no database URL (it is not shown, it may hold a password)",
            remedy="mysql://user@host/database",
        ) from error
    if socket := said.pop("unix_socket", ""):
        found["unix_socket"] = socket
    here = bool(socket) or _is_here(found["host"])
    files = {name: str(directory / said.pop(name)) for name in ("ssl_ca", "ssl_cert", "ssl_key") if name in said}
    tls = said.pop("tls", OFF if here and not files else CHECKED)
    if tls not in {CHECKED, UNCHECKED, OFF} or said:
        raise SourceError(
            f"the address says {next(iter(said), 'tls=' + tls)}, which is not known",
            remedy="it may say charset, ssl_ca, ssl_cert, ssl_key, tls (checked, unchecked, off), unix_socket",
        )
    return found | ({"ssl_disabled": True} if tls == OFF else {"ssl": _trusted(tls, **files)})


def _is_here(host: str) -> bool:
    """Check whether what goes to a host leaves this machine."""
    return host in {"localhost", "::1"} or host.startswith("127.")


def _trusted(tls: str, ssl_ca: str | None = None, ssl_cert: str | None = None, ssl_key: str | None = None) -> ssl.SSLContext:  # fmt: skip
    """Say which servers are believed, and who we are."""
    try:
        context = ssl.create_default_context(cafile=ssl_ca)
        if ssl_cert is not None:
            context.load_cert_chain(ssl_cert, ssl_key)
    except OSError as error:
        raise SourceError(
            f"the certificates that the address names cannot be read: {error}",
            remedy="files in PEM, relative to the descriptor",
        ) from error
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # certificates that MySQL makes for itself lack what that asks for
    if tls == UNCHECKED:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


__all__ = ["SCHEMES", "MariadbRows"]
