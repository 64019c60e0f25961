"""Tables and queries of databases, streamed: SQLite, PostgreSQL (by ADBC), MariaDB and MySQL, ODBC, and whatever SQLAlchemy has a driver for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hven.model.errors import SourceError
from hven.sources import FileKind
from hven.sources.sql.mariadb import SCHEMES, MariadbRows
from hven.sources.sql.odbc import OdbcRows, line_of
from hven.sources.sql.options import Options
from hven.sources.sql.other import AnyRows
from hven.sources.sql.postgres import PostgresRows
from hven.sources.sql.sqlite import SqliteRows

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.sources import Context, Offer, Source


FILES = FileKind(endings=("sqlite", "sqlite3", "db"), begins=rb"SQLite format 3\0")


def open(options: Options, context: Context) -> Source:  # noqa: A001  (the contract's word)
    """Open a table or query; nothing is read yet.

    Raises
    ------
    SourceError
        An unknown secret, a URL that is none (it is never shown), a missing file.
    """
    return _opened(options, context)


def tables(options: Mapping[str, Any], context: Context) -> list[Offer]:
    """List the tables and views of a database, with numbers of rows where they are soon told.

    Raises
    ------
    SourceError
        As `open`; no such database, no right to look.
    """
    known = {key: options[key] for key in ("url", "file") if options.get(key) is not None}
    return _opened(Options.model_validate({**known, "query": "SELECT 1"}), context).offers()


def _opened(options: Options, context: Context) -> SqliteRows | PostgresRows | MariadbRows | OdbcRows | AnyRows:
    if options.file is not None:
        return SqliteRows(options, context.directory / options.file, context)
    url = options.url or ""
    if url.startswith("$"):
        if context.secret is None:
            raise SourceError(f"the secret {url} can't be resolved here", remedy="ingest it with `hven ingest`")
        url = context.secret(url)
    line = line_of(url)
    if line is not None:
        return OdbcRows(options, line, context)
    scheme = url.partition(":")[0].partition("+")[0]
    if scheme == "sqlite":
        return SqliteRows(options, context.directory / url.partition(":///")[2], context)
    if scheme in {"postgresql", "postgres"}:
        return PostgresRows(options, url, context)
    if scheme in SCHEMES:
        return MariadbRows(options, url, context)
    return AnyRows(options, url, context)


__all__ = ["AnyRows", "MariadbRows", "OdbcRows", "Options", "PostgresRows", "SqliteRows", "line_of", "open", "tables"]
