"""Read the format of a system state without changing it: opening it in the usual way would upgrade it."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy import exc

from hven.model import plugins
from hven.plugins.operations.findings import Finding
from hven.site.api.state_tables import STATE_FORMAT

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
    findings
        Why not.
    """

    can_open: bool = False
    findings: Sequence[Finding] = ()


def read_state_format(settings: Settings) -> StateFormat:
    """Read the format of the system state of a site.

    Parameters
    ----------
    settings
        Settings of the site.
    """
    address = settings.store or f"{SQLITE_PREFIX}{settings.var_directory / 'hven.sqlite'}"
    try:
        if address.startswith(SQLITE_PREFIX):
            meta_values = _read_sqlite_meta(settings.directory / address.removeprefix(SQLITE_PREFIX))
        else:
            meta_values = _read_database_meta(address)
    except (exc.ArgumentError, exc.NoSuchModuleError):  # the error would quote the address, with its password
        return _build_unusable_state_format(
            "the address of the system state can't be used",
            "set `store` in hven.toml to sqlite:///path or postgresql+psycopg://user@host/database",
        )
    except (sqlite3.Error, exc.SQLAlchemyError, OSError, ImportError) as error:
        cause = error.orig if isinstance(error, exc.DBAPIError) else error
        reason = str(cause).strip().partition("\n")[0]
        return _build_unusable_state_format(
            f"the system state cannot be read: {reason}", "check its server, or the permissions of var/"
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
    options = "mode=ro" if os.access(path.parent, os.W_OK) else "mode=ro&immutable=1"
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?{options}", uri=True, timeout=1)) as connection:
        if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone() is None:
            return None
        return dict(connection.execute(_META_QUERY).fetchall())


def _read_database_meta(address: str) -> Mapping[str, str] | None:
    options = {"connect_timeout": CONNECT_TIMEOUT_SECONDS, "application_name": "hven doctor"}
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
    formats = {_SUBJECT: (int(format_text) if format_text.isdigit() else 0, STATE_FORMAT)}
    for package in plugins.list_plugin_packages():
        package_text = meta_values.get(f"{_PACKAGE_PREFIX}{package.name}")
        if package.store_tables is not None and package_text is not None:
            stored_format = int(json.loads(package_text)["format"])
            formats[f"tables of {package.name}"] = stored_format, package.store_tables.format
    newer = [f"{name} {stored} (known: {known})" for name, (stored, known) in formats.items() if stored > known]
    older = [f"{name} {stored} to {known}" for name, (stored, known) in formats.items() if stored < known]
    if newer:
        message = (
            f"a newer Hven wrote the system state, in a format that this version does not know: {', '.join(newer)}"
        )
        return _build_unusable_state_format(
            message, "run the newer Hven, or restore the backup made before the upgrade"
        )
    if older:
        upgrade = Finding(
            harm="warning",
            subject=_SUBJECT,
            message=f"the next command with this version upgrades the system state: {', '.join(older)}. "
            "Older versions can't open the state afterwards; to avoid the upgrade, Hven examined nothing else",
            remedy="first stop the servers of the older version, and write a backup with that version",
            command="hven backup FILE.tar",
        )
        return StateFormat(findings=[upgrade])
    return StateFormat(can_open=True)


def _build_unusable_state_format(message: str, remedy: str) -> StateFormat:
    return StateFormat(findings=[Finding(harm="critical", subject=_SUBJECT, message=message, remedy=remedy)])
