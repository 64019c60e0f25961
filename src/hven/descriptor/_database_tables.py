"""What `hven new` learns of a PostgreSQL table beside its rows: types, comments, keys, indexes.

Addresses, and where their passwords go.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hven.engines import LIVE_SOURCE_KIND
from hven.model import plugins
from hven.model.errors import SourceError, UsageError
from hven.model.settings import SECRETS_FILE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.descriptor._column_guesses import ColumnGuess
    from hven.model.table import Column
    from hven.sources import LiveTableDescription, SourceContext

MAX_CONNECTION_LINE_BYTES = 4_096  # bytes of a connection line
PASSWORD_PATTERN = re.compile(r"^[a-z][a-z0-9+]*://[^/@]*:[^/@]*@|[?&]password=", re.IGNORECASE)
_DATABASE_URL_PATTERN = re.compile(r"((?:postgres(?:ql)?|mysql|mariadb)://[^/?]*/[^/?]+)(?:/([^/?]+))?(\?.*)?")


def split_database_address(text: str) -> tuple[str, str | None]:
    """Split the table off ``postgresql://user@host/database/schema.table``.

    The address is empty if it is neither PostgreSQL nor MariaDB.
    """
    match = _DATABASE_URL_PATTERN.fullmatch(text)
    if match is None:
        return "", None
    return f"{match[1]}{match[3] or ''}", match[2]


def move_connection_line_to_secrets(directory: Path, name: str, source: str) -> tuple[str, list[str]]:
    """Move a connection line of ODBC, alone in a file (DaCHS's ``driver.txt``), to the secrets.

    Parameters
    ----------
    directory
        Of the site.
    name
        Of the collection, after which the secret is called.
    source
        What the curator gave.

    Returns
    -------
    source, notes
        ``$NAME`` of the secret, and what the curator should know; of all else `source`, and nothing.

    Raises
    ------
    SourceError
        There is such a secret already, and it is another one.
    """
    path = Path(source).expanduser()
    try:
        if not path.is_file() or path.stat().st_size > MAX_CONNECTION_LINE_BYTES:
            return source, []
        text = path.read_text(encoding="utf-8").strip()
        open_to_all = bool(path.stat().st_mode & 0o004)
    except (OSError, UnicodeDecodeError):
        return source, []
    if "\n" in text:
        line = None
    else:
        line = plugins.load_plugin("sources", "sql").extract_odbc_connection_string(text)
    if line is None:
        return source, []
    secret = f"{name.upper()}_DB"
    _store_secret(directory / SECRETS_FILE, secret, line)
    notes = [
        (
            f"the connection line from {source} is now the secret {secret} in {SECRETS_FILE}; remove the file "
            "when nothing else reads it"
        )
    ]
    if open_to_all:
        notes.append(
            f"warning: every account on this machine can read {source} and the password in it: run chmod o-rwx "
            f"{source}, and change the password"
        )
    return f"${secret}", notes


def _store_secret(path: Path, name: str, value: str) -> None:
    """Add a secret to the file, which nobody else can read."""
    try:
        if path.exists():
            text = path.read_text(encoding="utf-8")
        else:
            text = ""
        stored_value = tomllib.loads(text).get(name, value)
        if stored_value == value and name not in tomllib.loads(text):
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a", encoding="utf-8") as file:
                if text and not text.endswith("\n"):
                    line_break = "\n"
                else:
                    line_break = ""
                file.write(f"{line_break}{name} = {json.dumps(value)}\n")  # JSON's texts are TOML's
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SourceError(
            f"{path}: {type(error).__name__}", remedy="write one line for each secret: NAME = 'value'"
        ) from error
    if stored_value != value:
        raise SourceError(f"there is another secret {name} in {path}", remedy="remove or rename it there")


@dataclass(frozen=True, slots=True)
class DatabaseTableFacts:
    """What the database says of a table."""

    inspected_table: LiveTableDescription

    def select_served_columns(self, columns: Sequence[Column]) -> list[Column]:
        """List the columns that are served, as the database has them."""
        served_names = {column.name for column in columns}
        return [column for column in self.inspected_table.describe_columns() if column.name in served_names]

    def find_key_guesses(self, guesses: Sequence[ColumnGuess]) -> list[ColumnGuess]:
        """List the primary key's columns, if all of them are served."""
        by_source = {item.source: item for item in guesses}
        if set(self.inspected_table.primary) <= set(by_source):
            return [by_source[name] for name in self.inspected_table.primary if name in by_source]
        return []

    def write_draft_notes(self, guesses: Sequence[ColumnGuess], *, is_live: bool) -> list[str]:
        """Note which columns are left out, where foreign keys lead, and what the other kind would be."""
        names = {item.source: item.column.name for item in guesses}
        if is_live:
            notes = [text.replace("; ", ": ", 1) for text in self.inspected_table.explain_omitted_columns()]
        else:
            notes = []
        for key in self.inspected_table.foreign:
            column_names = [names[name] for name in key.columns if name in names]
            if len(column_names) == len(key.columns):
                key_text = (
                    f"{{columns: [{', '.join(column_names)}], target: {key.target}, target_columns: "
                    f"[{', '.join(key.target_columns)}]}}"
                )
                notes.append(
                    f"a foreign key refers to {key.target}; also publish that table, and write keys: {{{key.name}: "
                    f"{key_text}}}"
                )
        if is_live:
            notes.append("kind: live reads the table in place at each query; kind: sql copies it at each ingest")
        else:
            notes.append("kind: sql copies the table at each ingest; kind: live publishes it in place (PostgreSQL)")
        return notes


def inspect_database_table(kind: str, options: Mapping[str, Any], context: SourceContext) -> DatabaseTableFacts | None:
    """Inspect the table of a PostgreSQL database; None for everything else, and if nothing here can inspect it.

    Raises
    ------
    UsageError
        It is to be read in place, and is no PostgreSQL database.
    SourceError, StorageUnavailableError
        It cannot be looked at.
    """
    url = options.get("url")
    if kind not in {"sql", "live"} or not isinstance(url, str) or "table" not in options:
        return None
    try:
        if url.startswith("$") and context.resolve_secret is not None:
            address = context.resolve_secret(url)
        else:
            address = url
    except SourceError:
        if kind == "live":
            raise
        return None
    is_keyword_string = (
        "=" in address
        and "://" not in address
        and plugins.load_plugin("sources", "sql").extract_odbc_connection_string(address) is None
    )
    if not is_keyword_string and not address.startswith(("postgresql://", "postgres://", "postgresql+")):
        if kind == "live":
            raise UsageError(
                "only PostgreSQL tables can be read in place", remedy="leave out --live; then Hven copies the rows"
            )
        return None
    if kind == "sql" and LIVE_SOURCE_KIND not in plugins.list_plugins("sources"):  # the site leaves out its package
        return None
    module = plugins.load_plugin("sources", LIVE_SOURCE_KIND)
    table_options = {"url": url, "table": options["table"]}
    return DatabaseTableFacts(module.open(module.Options.model_validate(table_options), context).inspect_table())


__all__ = [
    "PASSWORD_PATTERN",
    "DatabaseTableFacts",
    "inspect_database_table",
    "move_connection_line_to_secrets",
    "split_database_address",
]
