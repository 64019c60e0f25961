"""Read tables or query results from SQLite, PostgreSQL, MariaDB and MySQL, or through ODBC or SQLAlchemy.

SQLite, PostgreSQL (by ADBC), MariaDB and MySQL, ODBC, and whatever SQLAlchemy has a driver for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hven.model.errors import SourceError
from hven.plugins.databases.mariadb import URL_SCHEMES, MariadbSource
from hven.plugins.databases.odbc import OdbcSource, extract_odbc_connection_string
from hven.plugins.databases.options import Options
from hven.plugins.databases.postgres import PostgresSource
from hven.plugins.databases.sqlalchemy_rows import SqlalchemySource
from hven.plugins.databases.sqlite import SqliteSource
from hven.sources import DatabaseSignature, FileKindSignature, SourceKindTraits

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.sources import AvailableTable, Source, SourceContext


FILES = FileKindSignature(extensions=("sqlite", "sqlite3", "db"), leading_pattern=rb"SQLite format 3\0", option="file")
DATABASE = DatabaseSignature(
    url_pattern=(
        r"(?P<database>(?:postgres(?:ql)?|mysql|mariadb)://[^/?]*/[^/?]+)(?:/(?P<table>[^/?]+))?(?P<parameters>\?.*)?"
    ),
    extract_connection_line=extract_odbc_connection_string,
)
TRAITS = SourceKindTraits(is_read_from_watermark=True)


def open(options: Options, context: SourceContext) -> Source:  # noqa: A001  (the contract's word)
    """Open a table or query; nothing is read yet.

    Raises
    ------
    SourceError
        An unknown secret, a URL that is none (it is never shown), a missing file.
    """
    return _open_database(options, context)


def list_source_tables(options: Mapping[str, Any], context: SourceContext) -> list[AvailableTable]:
    """List the tables and views of a database, with numbers of rows where these are known quickly.

    Raises
    ------
    SourceError
        As `open`; no such database, no right to look.
    """
    connection_options = {key: options[key] for key in ("url", "file") if options.get(key) is not None}
    return _open_database(
        Options.model_validate({**connection_options, "query": "SELECT 1"}), context
    ).list_available_tables()


def _open_database(
    options: Options, context: SourceContext
) -> SqliteSource | PostgresSource | MariadbSource | OdbcSource | SqlalchemySource:
    if options.file is not None:
        return SqliteSource(options, context.directory / options.file, context)
    url = options.url or ""
    if url.startswith("$"):
        if context.resolve_secret is None:
            raise SourceError(
                f"the secret {url} cannot be read here", remedy="ingest the collection with `hven ingest`"
            )
        url = context.resolve_secret(url)
    line = extract_odbc_connection_string(url)
    if line is not None:
        return OdbcSource(options, line, context)
    scheme = url.partition(":")[0].partition("+")[0]
    if scheme == "sqlite":
        return SqliteSource(options, context.directory / url.partition(":///")[2], context)
    if scheme in {"postgresql", "postgres"}:
        return PostgresSource(options, url, context)
    if scheme in URL_SCHEMES:
        return MariadbSource(options, url, context)
    return SqlalchemySource(options, url, context)


__all__ = [
    "DATABASE",
    "FILES",
    "TRAITS",
    "MariadbSource",
    "OdbcSource",
    "Options",
    "PostgresSource",
    "SqlalchemySource",
    "SqliteSource",
    "extract_odbc_connection_string",
    "list_source_tables",
    "open",
]
