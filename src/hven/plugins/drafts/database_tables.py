"""Addresses of databases, where their passwords go, and what `hven new` writes of a table beside its rows."""

from __future__ import annotations

import json
import os
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hven.model.errors import SourceError
from hven.model.settings import SECRETS_FILE
from hven.sources import file_kinds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.descriptor.api.key_proposals import ColumnGuess
    from hven.sources import DatabaseTableFacts, SourceContext

MAX_CONNECTION_LINE_BYTES = 4_096  # bytes of a connection line
PASSWORD_PATTERN = re.compile(r"^[a-z][a-z0-9+]*://[^/@]*:[^/@]*@|[?&]password=", re.IGNORECASE)


def split_database_address(text: str) -> tuple[str, str | None]:
    """Split the table off ``postgresql://user@host/database/schema.table``.

    The address is empty if no kind of source recognises it.
    """
    if "://" not in text or text.startswith(("http://", "https://")):
        return "", None
    for _, signature in file_kinds.iterate_database_signatures():
        if signature.url_pattern and (match := re.fullmatch(signature.url_pattern, text)):
            return f"{match['database']}{match['parameters'] or ''}", match["table"]
    return "", None


def copy_connection_line_to_secrets(directory: Path, name: str, source: str) -> tuple[str, list[str]]:
    """Move the line by which a driver connects, alone in a file (DaCHS's ``driver.txt``), to the secrets.

    Parameters
    ----------
    directory
        Directory of the site.
    name
        Name of the collection, after which the secret is called.
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
        line = _extract_connection_line(text)
    if line is None:
        return source, []
    secret = name_database_secret(name)
    _store_secret(directory / SECRETS_FILE, secret, line)
    notes = [
        (
            f"the connection string from {source} is now the secret {secret} in {SECRETS_FILE}; remove {source} "
            "if no other program reads it"
        )
    ]
    if open_to_all:
        notes.append(
            f"warning: every account on this machine can read {source} and the password in it: run `chmod o-rwx "
            f"{source}`, and change the password"
        )
    return f"${secret}", notes


def name_database_secret(collection: str) -> str:
    """Name the secret with the address of the database of a collection."""
    return f"{collection.upper()}_DB"


def store_address_secret(directory: Path, collection: str, address: str) -> str:
    """Keep the address of a database as a secret of a site, and return ``$NAME``.

    Raises
    ------
    SourceError
        There is such a secret already, and it is another one.
    """
    secret = name_database_secret(collection)
    _store_secret(directory / SECRETS_FILE, secret, address)
    return f"${secret}"


def _extract_connection_line(text: str) -> str | None:
    """Extract the line by which a driver connects; return None if the text is no such line."""
    for _, signature in file_kinds.iterate_database_signatures():
        line = None
        if signature.extract_connection_line is not None:
            line = signature.extract_connection_line(text)
        if line is not None:
            return line
    return None


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
            f"{path} cannot be read or written: {type(error).__name__}",
            remedy="write one line for each secret: NAME = 'value'",
        ) from error
    if stored_value != value:
        raise SourceError(
            f"{path} already contains the secret {name} with a different value", remedy="remove or rename that secret"
        )


def find_key_guesses(facts: DatabaseTableFacts, guesses: Sequence[ColumnGuess]) -> list[ColumnGuess]:
    """List the primary key's columns, if all of them are served."""
    guesses_by_source = {guess.source: guess for guess in guesses}
    if set(facts.primary_key) <= set(guesses_by_source):
        return [guesses_by_source[name] for name in facts.primary_key]
    return []


def write_draft_notes(facts: DatabaseTableFacts, guesses: Sequence[ColumnGuess], *, is_live: bool) -> list[str]:
    """Note which columns are left out, where foreign keys lead, and what the other kind would be."""
    names = {item.source: item.column.name for item in guesses}
    notes: list[str] = []
    if is_live:
        notes += [text.replace("; ", ": ", 1) for text in facts.omitted_column_reasons]
    for key in facts.foreign_keys:
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
    if facts.kind_note:
        notes.append(facts.kind_note)
    return notes


def inspect_database_table(kind: str, options: Mapping[str, Any], context: SourceContext) -> DatabaseTableFacts | None:
    """Inspect the table of a database; None: it is no table of a database that a kind of source can inspect.

    Raises
    ------
    UsageError
        The kind cannot read tables of this database.
    SourceError, StorageUnavailableError
        It cannot be looked at.
    """
    if file_kinds.find_database_signature(kind) is None or not isinstance(options.get("url"), str):
        return None
    if "table" not in options:
        return None
    for _, signature in file_kinds.iterate_database_signatures():
        facts = None
        if signature.inspect_table is not None:
            facts = signature.inspect_table(kind, options, context)
        if facts is not None:
            return facts
    return None
