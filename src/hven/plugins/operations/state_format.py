"""Read the format of a system state without changing it: opening it in the usual way would upgrade it."""

from __future__ import annotations

import json
import os
import shlex
import sqlite3
import sys
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy import exc

from hven.model import plugins
from hven.plugins.operations.findings import Finding
from hven.site.api.state_tables import (
    OLDEST_FORMAT,
    OLDEST_FORMAT_KEY,
    STATE_FORMAT,
    are_package_tables_usable,
    format_package_tables,
    is_format_usable,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from hven.model.settings import Settings

CONNECT_TIMEOUT_SECONDS = 5
SQLITE_PREFIX = "sqlite:///"
_SUBJECT = "system state"
_PACKAGE_PREFIX = "package "  # of keys in `meta`, before the name of a package with tables
_META_QUERY = "SELECT key, value FROM meta"


@dataclass(frozen=True, slots=True, kw_only=True)
class StateFormat:
    """What a system state says of its format.

    Attributes
    ----------
    can_open
        Whether this Hven can open it without changing it.
    can_extend
        Whether this Hven will only add to it, so that servers of the older version can continue.
    findings
        Why not.
    """

    can_open: bool = False
    can_extend: bool = False
    findings: Sequence[Finding] = ()


def read_state_format(settings: Settings) -> StateFormat:
    """Read the format of the system state of a site.

    Parameters
    ----------
    settings
        Settings of the site.
    """
    address = settings.store or f"{SQLITE_PREFIX}{settings.var_directory.absolute() / 'hven.sqlite'}"
    try:
        if address.startswith(SQLITE_PREFIX):
            meta_values = _read_sqlite_meta(settings.directory / address.removeprefix(SQLITE_PREFIX))
        else:
            meta_values = _read_database_meta(address)
    except (exc.ArgumentError, exc.NoSuchModuleError):  # the error would quote the address, with its password
        return _build_unusable_state_format(
            "the address of the system state can't be used",
            "set `store` in hven.toml to sqlite:///path or postgresql+psycopg://user@host/database",
            "hven check",
        )
    except (sqlite3.Error, exc.SQLAlchemyError, OSError, ImportError) as error:
        if isinstance(error, exc.DBAPIError):
            cause = error.orig
        else:
            cause = error
        reason = str(cause).strip().partition("\n")[0]
        return _build_unusable_state_format(
            f"the system state cannot be read: {reason}",
            "check its server, or the permissions of its file; if it is damaged, restore a backup",
            _find_reading_command(settings, address),
        )
    if meta_values is None:
        hint = Finding(
            harm="hint",
            subject=_SUBJECT,
            message="nothing has been published yet, so there is no system state",
            remedy="describe a collection, and publish it",
            command="hven new NAME --from FILE",
        )
        return StateFormat(findings=[hint])
    return _compare_state_formats(meta_values)


def _read_sqlite_meta(path: Path) -> Mapping[str, str] | None:
    if not path.is_file():
        return None
    # on a disk that is read-only, SQLite can only read a file of which it is told that nobody writes it
    options = "mode=ro&immutable=1"
    if os.access(path.parent, os.W_OK):
        options = "mode=ro"
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?{options}", uri=True, timeout=1)) as connection:
        if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone() is None:
            return None
        return dict(connection.execute(_META_QUERY).fetchall())


def _read_database_meta(address: str) -> Mapping[str, str] | None:
    options = {"connect_timeout": CONNECT_TIMEOUT_SECONDS, "application_name": "hven"}
    engine = sa.create_engine(address, connect_args=options)
    try:
        with engine.connect() as connection:
            if not sa.inspect(connection).has_table("meta"):
                return None
            return {row[0]: row[1] for row in connection.execute(sa.text(_META_QUERY))}
    finally:
        engine.dispose()


def _compare_state_formats(meta_values: Mapping[str, str]) -> StateFormat:
    """Compare the formats of a state, and of the tables of packages in it, with those of this Hven."""
    format_text = meta_values.get("format") or ""
    stored_format = 0
    if format_text.isdigit():
        stored_format = int(format_text)
    # what cannot be used as it is -> its format, the format of this Hven, the oldest that could still use that one
    formats = {}
    if not is_format_usable(format_text, meta_values.get(OLDEST_FORMAT_KEY), STATE_FORMAT):
        formats[_SUBJECT] = stored_format, STATE_FORMAT, OLDEST_FORMAT
    for package in plugins.list_plugin_packages():
        tables = package.store_tables
        package_text = meta_values.get(f"{_PACKAGE_PREFIX}{package.name}")
        if tables is None or package_text is None:
            continue
        if not are_package_tables_usable(package_text, format_package_tables(tables)):
            package_format = int(json.loads(package_text)["format"])
            if tables.oldest_format is None:
                oldest_format = tables.format
            else:
                oldest_format = tables.oldest_format
            formats[f"tables of {package.name}"] = package_format, tables.format, oldest_format
    newer = [f"{name} {stored} (known: {known})" for name, (stored, known, _) in formats.items() if stored > known]
    older = [f"{name} {stored} to {known}" for name, (stored, known, _) in formats.items() if stored < known]
    if newer:
        message = (
            f"a newer Hven wrote the system state, in a format that this version does not know: {', '.join(newer)}"
        )
        return _build_unusable_state_format(
            message,
            "run the newer Hven, or restore the backup made before the upgrade",
            f"{shlex.quote(sys.executable)} -m pip install --upgrade hven",
        )
    if older:
        can_extend = all(oldest <= stored for stored, _, oldest in formats.values())
        if can_extend:
            consequence = "Servers of the older version can continue"
            remedy = "write a backup with the older version"
        else:
            consequence = "Older versions can't open the state afterwards"
            remedy = "first stop the servers of the older version, and write a backup with that version"
        upgrade = Finding(
            harm="warning",
            subject=_SUBJECT,
            message=f"the next command with this version upgrades the system state: {', '.join(older)}. "
            f"{consequence}; to avoid the upgrade, Hven examined nothing else",
            remedy=remedy,
            command="hven backup FILE.tar",
        )
        return StateFormat(findings=[upgrade], can_extend=can_extend)
    return StateFormat(can_open=True)


def _find_reading_command(settings: Settings, address: str) -> str:
    """Return a command that says whether a state can be read, without the password of its database."""
    if address.startswith(SQLITE_PREFIX):
        path = settings.directory / address.removeprefix(SQLITE_PREFIX)
        return shlex.join(["ls", "-l", "--", str(path)])
    url = sa.make_url(address)
    options = {"--dbname": url.database, "--host": url.host, "--port": url.port}
    words = [f"{option}={value}" for option, value in options.items() if value]
    return shlex.join(["pg_isready", *words])


def _build_unusable_state_format(message: str, remedy: str, command: str) -> StateFormat:
    finding = Finding(harm="critical", subject=_SUBJECT, message=message, remedy=remedy, command=command)
    return StateFormat(findings=[finding])
