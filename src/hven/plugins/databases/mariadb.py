"""Read MariaDB and MySQL: rows come unbuffered through PyMySQL's connection, and become Arrow column by column."""

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
from hven.plugins.databases import mysql_rows
from hven.plugins.databases.arrow_rows import ArrowDatabaseSource, ResultField
from hven.plugins.databases.database_rows import redact_url
from hven.plugins.databases.dialects import (
    KIND_BITS,
    KIND_BYTES,
    KIND_DECIMAL,
    KIND_DOUBLE,
    KIND_GEOMETRY,
    KIND_SINGLE,
    KIND_TEXT,
    KIND_TIME,
    KIND_TIME_OF_DAY,
    KIND_WHOLE,
    MARIADB_DIALECT,
    SqlSourceDialect,
)
from hven.sources.api.rows import CHUNK_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hven.plugins.databases.options import Options
    from hven.sources import SourceContext

URL_SCHEMES = {"mysql", "mariadb"}
DEFAULT_PORT, CONNECT_TIMEOUT_SECONDS = 3306, 15
COM_STMT_PREPARE, COM_STMT_EXECUTE, COM_STMT_CLOSE = 0x16, 0x17, 0x19  # commands of the protocol
UNSIGNED_FLAG, BINARY_CHARSET = 32, 63  # a flag; the character set of what is no text
ERROR_CONNECTION_LOST, ERROR_NOT_ENCRYPTED, ERROR_UNTRUSTED = 2013, 2026, -1  # errors; the last one is ours
TLS_CHECKED, TLS_UNCHECKED, TLS_OFF = "checked", "unchecked", "off"  # how a connection is encrypted
MAX_INT64_DIGITS = 18  # a whole number of so many fits
# numbers of types in the protocol
_TYPES_BY_CODE: dict[int, tuple[str, pa.DataType]] = {
    1: (KIND_WHOLE, pa.int16()),
    2: (KIND_WHOLE, pa.int16()),
    9: (KIND_WHOLE, pa.int32()),
    3: (KIND_WHOLE, pa.int32()),
    8: (KIND_WHOLE, pa.int64()),
    13: (KIND_WHOLE, pa.int16()),
    4: (KIND_SINGLE, pa.float32()),
    5: (KIND_DOUBLE, pa.float64()),
    0: (KIND_DECIMAL, pa.float64()),
    246: (KIND_DECIMAL, pa.float64()),
    16: (KIND_BITS, pa.int64()),
    7: (KIND_TIME, pa.timestamp("us")),
    10: (KIND_TIME, pa.timestamp("us")),
    12: (KIND_TIME, pa.timestamp("us")),
    14: (KIND_TIME, pa.timestamp("us")),
    11: (KIND_TIME_OF_DAY, pa.string()),
    6: (KIND_TEXT, pa.string()),
    255: (KIND_GEOMETRY, pa.string()),
    245: (KIND_TEXT, pa.string()),  # JSON, which MySQL says to be of no character set
}
_WIDER_TYPES = {pa.int16(): pa.int32(), pa.int32(): pa.int64(), pa.int64(): pa.int64()}
# what the server's own numbers of errors need beside its words
_REMEDIES_BY_ERROR = {
    1045: (
        "check the user, the password, and the hosts from which the server accepts this user; for a view, check that "
        "its definer has an account (SHOW CREATE VIEW)"
    ),
    1044: "grant the user SELECT on the database",
    1049: "check the name of the database in the address",
    1115: (
        "set `encoding` to a character set that SHOW CHARACTER SET lists; for an old server, write `?charset=utf8` in "
        "the address"
    ),
    1142: "grant the user SELECT on the table",
    1143: "grant the user SELECT on the table",
    1146: "check the name and its case, which matters in most installations; `hven new` lists the tables",
    1356: (
        "ask the view's owner to create the view again; it uses objects that no longer exist, or that its definer "
        "is not allowed to read"
    ),
    1449: (
        "ask the view's owner to run `ALTER DEFINER = ... VIEW` or to set `SQL SECURITY INVOKER`; the definer of the "
        "view no longer has an account"
    ),
    ERROR_CONNECTION_LOST: (
        "check the server and its log, or raise `seconds`, the longest time that Hven waits for a byte; the next run "
        "starts from the beginning"
    ),
    2003: "check the host and the port, and that the server listens there",
    ERROR_NOT_ENCRYPTED: (
        "set up encryption on the server (ssl_cert and ssl_key); if nobody can eavesdrop on the network, you can "
        "write `?tls=off` in the address instead"
    ),
    ERROR_UNTRUSTED: (
        "write `?ssl_ca=FILE` in the address, where FILE contains the certificates to trust (MySQL's own: ca.pem in "
        "its data directory), or write `?tls=unchecked` to trust any server"
    ),
}
NATIVE_DIALECT = replace(
    MARIADB_DIALECT,
    sent_templates={
        kind: how for kind, how in MARIADB_DIALECT.sent_templates.items() if kind not in {KIND_TIME, KIND_WHOLE}
    },
)
_DEFAULT_REMEDY = "check the address, the user's rights and the table name"


class MariadbSource(ArrowDatabaseSource):
    """A table or query of MariaDB or MySQL."""

    def __init__(self, options: Options, url: str, context: SourceContext) -> None:
        plugins.require_modules("a table of MariaDB or MySQL", "pymysql", error_class=SourceError)
        super().__init__(options, context)
        self.url = url
        self._connection_arguments = _parse_database_url(url, context.directory)

    @property
    def dialect(self) -> SqlSourceDialect:
        """The dialect of MariaDB; times and numbers come as they are."""
        return NATIVE_DIALECT

    @contextmanager
    def _open_session(self) -> Iterator[_MariadbSession]:
        import pymysql  # noqa: PLC0415  (for MariaDB alone)

        session = None
        try:
            session = _MariadbSession(
                pymysql.connect(
                    **self._connection_arguments,
                    connect_timeout=CONNECT_TIMEOUT_SECONDS,
                    read_timeout=self.options.seconds,
                    autocommit=True,
                    client_flag=0,
                ),
                self.source_name,
            )
            for text in (
                f"SET net_write_timeout = {int(self.options.seconds)}",
                *self.dialect.begin_statements,
            ):  # we may be slow, too
                session.query_rows(text)
            yield session
        except GeneratorExit:
            raise
        except Exception as error:
            raise self._translate_error(error) from error
        finally:
            if session is not None:
                session.close()

    def _translate_error(self, error: Exception) -> Exception:
        if isinstance(error, HvenError):
            return error
        number = 0
        text = str(error)
        if isinstance(error, mysql_rows.MysqlServerError):
            packet = error.args[0]
            (number,) = struct.unpack_from("<H", packet, 1)
            text = packet[9 if packet[3:4] == b"#" else 3 :].decode("utf-8", "replace")
        elif isinstance(error, (mysql_rows.MysqlConnectionLostError, OSError)):
            number = ERROR_CONNECTION_LOST
        elif len(error.args) > 1 and isinstance(error.args[0], int):
            number = error.args[0]
            text = str(error.args[1])
        if "CERTIFICATE_VERIFY_FAILED" in text:
            number = ERROR_UNTRUSTED
        if number == ERROR_CONNECTION_LOST and "timed out" in text:
            text = f"the server sent nothing for {self.options.seconds:g} s"
        location = f"{self.source_name}: " + (f"after {self.read_count:,} rows: " if self.read_count else "")
        return SourceError(
            f"{location}{redact_url(text, self.url)}", remedy=_REMEDIES_BY_ERROR.get(number, _DEFAULT_REMEDY)
        )


class _MariadbSession:
    """A connection; see `hven.plugins.databases.arrow_rows.DatabaseSession`."""

    def __init__(self, connection: Any, source_name: str) -> None:
        self.connection = connection
        self.what = source_name

    def _prepare_statement(self, text: str) -> tuple[int, list[Any]]:
        """Have a statement prepared: no row is computed, and columns of one name are nobody's matter.

        Give its number and columns.
        """
        from pymysql.protocol import FieldDescriptorPacket  # noqa: PLC0415  (for MariaDB alone)

        link = self.connection  # PyMySQL has no word for these commands, but all that they are made of
        link._execute_command(COM_STMT_PREPARE, text)  # noqa: SLF001
        _, statement, columns, places = struct.unpack_from("<BIHH", link._read_packet()._data)  # noqa: SLF001
        for _ in range(places + 1 if places else 0):
            link._read_packet()  # noqa: SLF001
        fields = [link._read_packet(FieldDescriptorPacket) for _ in range(columns)]  # noqa: SLF001
        if not columns or places:
            fault = "the query has placeholders for values"
            if not columns:
                fault = "the query is not a statement that returns rows"
            raise SourceError(f"{self.what}: {fault}", remedy="write a SELECT without ? placeholders")
        link._read_packet()  # noqa: SLF001
        return statement, fields

    def describe_statement(self, sql: str) -> list[ResultField]:
        """List the columns of a statement, with their names in the database."""
        statement, fields = self._prepare_statement(sql)
        self.connection._execute_command(COM_STMT_CLOSE, struct.pack("<I", statement))  # noqa: SLF001
        return [_build_field(descriptor) for descriptor in fields]

    def query_rows(self, sql: str) -> list[tuple[object, ...]]:
        """Run a query that returns few rows."""
        with self.connection.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall())

    def stream_batches(self, sql: str) -> Iterator[pa.RecordBatch]:
        """Yield rows as they come: the server sends no faster than they are read."""
        link = self.connection
        statement, _ = self._prepare_statement(sql)
        link._execute_command(COM_STMT_EXECUTE, struct.pack("<IBI", statement, 0, 1))  # noqa: SLF001
        link._read_query_result(unbuffered=True)  # noqa: SLF001
        result = link._result  # noqa: SLF001  (whose rows PyMySQL would give one by one)
        try:
            columns = [(field.type_code, field.flags) for field in result.fields]
            yield from mysql_rows.read_mysql_packet_rows(link._rfile, columns, 4 * CHUNK_BYTES)  # noqa: SLF001
        except BaseException:
            self.close()  # in the midst of rows it is of no more use; the server ends the statement
            raise
        finally:
            result.unbuffered_active = False  # else PyMySQL would wait for rows that have come
        link._execute_command(COM_STMT_CLOSE, struct.pack("<I", statement))  # noqa: SLF001

    def close(self) -> None:
        """Close the connection."""
        with suppress(Exception):
            self.connection.close()


def _build_field(descriptor: Any) -> ResultField:
    """Build a field from the server's description of a column."""
    kind, arrow = _TYPES_BY_CODE.get(descriptor.type_code, (KIND_TEXT, pa.string()))
    if kind == KIND_WHOLE and descriptor.flags & UNSIGNED_FLAG:
        arrow = _WIDER_TYPES[arrow]
    if (
        kind == KIND_DECIMAL
        and descriptor.scale == 0
        and descriptor.length - (not descriptor.flags & UNSIGNED_FLAG) <= MAX_INT64_DIGITS
    ):
        kind = KIND_WHOLE
        arrow = pa.int64()
    if descriptor.type_code not in _TYPES_BY_CODE and descriptor.charsetnr == BINARY_CHARSET:
        kind = KIND_BYTES
    if descriptor.org_table:
        origin = (descriptor.db.decode(), descriptor.org_table, descriptor.org_name)
    else:
        origin = None
    return ResultField(name=descriptor.name, value_kind=kind, arrow=arrow, origin=origin)


def _parse_database_url(url: str, directory: Path) -> dict[str, Any]:
    """Read an address; nothing of it is told.

    Raises
    ------
    SourceError
        It is none.
    """
    try:
        parts = urlsplit(url)
        if parts.query:
            url_parameters = dict(parse_qsl(parts.query, strict_parsing=True))
        else:
            url_parameters = {}
        arguments: dict[str, Any] = {
            "host": parts.hostname or "localhost",
            "port": parts.port or DEFAULT_PORT,
            "user": unquote(parts.username or ""),
            "password": unquote(parts.password or ""),
            "database": unquote(parts.path.lstrip("/")) or None,
            "charset": url_parameters.pop("charset", "utf8mb4"),
        }
    except ValueError as error:
        raise SourceError(
            "the address is not a database URL (it is not shown because it may contain a password)",
            remedy="write an address such as mysql://user@host/database",
        ) from error
    socket = url_parameters.pop("unix_socket", "")
    if socket:
        arguments["unix_socket"] = socket
    is_local = bool(socket) or _is_local_host(arguments["host"])
    files = {
        name: str(directory / url_parameters.pop(name))
        for name in ("ssl_ca", "ssl_cert", "ssl_key")
        if name in url_parameters
    }
    tls = url_parameters.pop("tls", TLS_OFF if is_local and not files else TLS_CHECKED)
    if tls not in {TLS_CHECKED, TLS_UNCHECKED, TLS_OFF} or url_parameters:
        raise SourceError(
            f"the address has the unknown parameter {next(iter(url_parameters), 'tls=' + tls)!r}",
            remedy="use only charset, ssl_ca, ssl_cert, ssl_key, tls (checked, unchecked, off) and unix_socket",
        )
    return arguments | ({"ssl_disabled": True} if tls == TLS_OFF else {"ssl": _build_tls_context(tls, **files)})


def _is_local_host(host: str) -> bool:
    """Check whether data for a host leave this machine."""
    return host in {"localhost", "::1"} or host.startswith("127.")


def _build_tls_context(
    tls_mode: str, ssl_ca: str | None = None, ssl_cert: str | None = None, ssl_key: str | None = None
) -> ssl.SSLContext:
    """Choose the certificates that are trusted, and the client's own."""
    try:
        context = ssl.create_default_context(cafile=ssl_ca)
        if ssl_cert is not None:
            context.load_cert_chain(ssl_cert, ssl_key)
    except OSError as error:
        raise SourceError(
            f"the certificates that the address specifies cannot be read: {error}",
            remedy="specify the paths of PEM files, relative to the descriptor",
        ) from error
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # certificates that MySQL makes for itself lack what that asks for
    if tls_mode == TLS_UNCHECKED:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
