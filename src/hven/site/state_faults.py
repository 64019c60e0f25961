"""Find what is wrong between the system state of a site and its settings, before the site is served.

These are a data directory without the published rows, rows of plug-in packages that this process does not use, tables
whose engine is absent, and outdated addresses of the site itself in rows: they were written when a table was ingested,
and are wrong if the site has moved since.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hven.model import plugins
from hven.model.errors import Fault, HvenError, TextPlace
from hven.model.settings import SETTINGS_FILE
from hven.site._engine_registry import EMBEDDED_ENGINE
from hven.site.store import StateStore

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.model.settings import Settings
    from hven.site.store import SnapshotRecord


MAX_NAMED_TABLES = 5  # in a warning


def find_state_faults(settings: Settings, *, host: str | None = None, port: int | None = None) -> list[Fault]:
    """Find rows, packages and engines that are absent although the state needs them, and outdated addresses.

    Parameters
    ----------
    settings
        Settings of the site.
    host, port
        Where the site will be served, if that differs from the settings.

    Returns
    -------
    faults
        A warning for the data directory, and for each package, engine and collection. There is none if the state
        cannot be read: commands that need it report what is wrong with it.
    """
    if not settings.var_directory.is_dir():
        return []
    try:
        store = StateStore(settings.var_directory, settings.store)
    except HvenError:
        return []
    try:
        tables_by_package = store.find_tables_of_unused_packages()
        records = store.read_published_records()[1]
    except HvenError:
        return []
    finally:
        store.close()
    return [
        *find_absent_rows(settings, records),
        *_find_absent_packages(tables_by_package),
        *_find_absent_engines(records),
        *_find_outdated_site_addresses(records, settings, host=host, port=port),
    ]


def find_absent_rows(settings: Settings, records: Mapping[str, SnapshotRecord]) -> list[Fault]:
    """Find whether `data` names a directory that contains none of the published rows.

    Parameters
    ----------
    settings
        Settings of the site.
    records
        What is published, by table.

    Returns
    -------
    faults
        A warning; empty if the directory has rows, or need not have any.
    """
    directory = settings.data_directory
    paths = [record.snapshot.path for record in records.values() if record.snapshot.engine == EMBEDDED_ENGINE]
    if settings.data is None or not paths or any((directory / "snapshots" / path).exists() for path in paths):
        return []
    message = f"data: {directory} contains no rows of the published tables"
    remedy = "correct `data`, or move the rows there; only if they are lost, ingest the collections again"
    return [Fault(message=message, place=TextPlace(file=SETTINGS_FILE), remedy=remedy, severity="warning")]


def _find_absent_packages(tables_by_package: Mapping[str, Sequence[str]]) -> list[Fault]:
    installed_names = {package.name for package in plugins.list_installed_packages()}
    faults = []
    for name, tables in tables_by_package.items():
        reason = "the package is not installed"
        remedy = "install the package to use these rows; backups contain them"
        if name in installed_names:
            reason = "`plugins` in hven.toml does not list the package"
            remedy = f"add {name!r} to `plugins` to use these rows; backups contain them"
        message = f"the system state has rows of the plug-in package {name} ({', '.join(tables)}), but {reason}"
        faults.append(Fault(message=message, remedy=remedy, severity="warning"))
    return faults


def _find_absent_engines(records: Mapping[str, SnapshotRecord]) -> list[Fault]:
    """Find the published tables that are not served because no package in use has their engine."""
    engine_names = plugins.list_plugins("engines")
    tables_by_engine: dict[str, list[str]] = {}
    for table_name, record in sorted(records.items()):
        if record.snapshot.engine not in engine_names:
            tables_by_engine.setdefault(record.snapshot.engine, []).append(table_name)
    faults = []
    for name, tables in tables_by_engine.items():
        examples = ", ".join(tables[:MAX_NAMED_TABLES])
        if len(tables) > MAX_NAMED_TABLES:
            examples += f" and {len(tables) - MAX_NAMED_TABLES} others"
        unused_error = plugins.find_disabled_plugin_error("engines", name)
        reason = f"there is no engine {name!r}"
        remedy = "install the plug-in package of this engine, or ingest the collections with another engine"
        if unused_error is not None:
            reason = unused_error.message
            remedy = f"{unused_error.remedy}, or ingest the collections with another engine"
        message = f"published tables are not served ({examples}): {reason}"
        faults.append(Fault(message=message, remedy=remedy, severity="warning"))
    return faults


def _find_outdated_site_addresses(
    records: Mapping[str, SnapshotRecord], settings: Settings, *, host: str | None, port: int | None
) -> list[Fault]:
    current_url = replace(settings, host=host or settings.host, port=port or settings.port).site_url
    tables_by_collection: dict[str, tuple[str, list[str]]] = {}
    for name, record in sorted(records.items()):
        ingest_url = record.provenance.get("site_url")
        if ingest_url is not None and ingest_url != current_url:
            _, table_names = tables_by_collection.setdefault(record.collection, (ingest_url, []))
            table_names.append(name)
    port_prefix = ""
    if port not in {None, settings.port} and settings.public_url is None:
        port_prefix = f"HVEN_PORT={port} "
    public_url_hint = ""
    if not settings.public_url:
        public_url_hint = "; to give the site a permanent address, set public_url in hven.toml"
    faults = []
    for collection, (ingest_url, table_names) in tables_by_collection.items():
        fault = Fault(
            message=f"the address of the site is now {current_url}, but addresses in the rows of "
            f"{' and '.join(table_names)} still begin with {ingest_url}",
            place=TextPlace(file=str(settings.locate_descriptor(collection))),
            remedy=f"update the addresses with `{port_prefix}hven ingest {collection}`{public_url_hint}",
            severity="warning",
        )
        faults.append(fault)
    return faults
