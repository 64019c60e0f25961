"""Find what a site needs of plug-in packages that this process does not use: their rows, and engines of its tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.model import plugins
from hven.model.errors import Fault, HvenError
from hven.site.store import StateStore

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hven.model.settings import Settings

MAX_NAMED_TABLES = 5  # in a warning


def find_absent_packages(settings: Settings) -> list[Fault]:
    """Find plug-in packages that this process does not use, but that have rows or tables of the site.

    Parameters
    ----------
    settings
        Settings of the site.

    Returns
    -------
    faults
        A warning for each package that has rows in the system state, and for each engine that has published tables.
    """
    if not settings.var_directory.is_dir():
        return []
    try:
        store = StateStore(settings.var_directory, settings.store)
    except HvenError:  # commands that need the store report what is wrong with it
        return []
    try:
        tables_by_package = store.find_absent_package_tables()
        tables_by_engine = _find_tables_of_absent_engines(store)
    except HvenError:
        return []
    finally:
        store.close()
    return [*_build_row_faults(tables_by_package), *_build_engine_faults(tables_by_engine)]


def _find_tables_of_absent_engines(store: StateStore) -> dict[str, list[str]]:
    """Find the published tables whose engine no package in use has, by engine."""
    engine_names = plugins.list_plugins("engines")
    tables_by_engine: dict[str, list[str]] = {}
    for table_name, record in sorted(store.read_published_records()[1].items()):
        if record.snapshot.engine not in engine_names:
            tables_by_engine.setdefault(record.snapshot.engine, []).append(table_name)
    return tables_by_engine


def _build_engine_faults(tables_by_engine: Mapping[str, list[str]]) -> Iterator[Fault]:
    """Warn of published tables that are not served."""
    for name, tables in tables_by_engine.items():
        examples = ", ".join(tables[:MAX_NAMED_TABLES])
        if len(tables) > MAX_NAMED_TABLES:
            examples += f" and {len(tables) - MAX_NAMED_TABLES} others"
        unused_error = plugins.find_unused_plugin_error("engines", name)
        reason = f"there is no engine {name!r}"
        remedy = "install the plug-in package that has it, or ingest the collections with another engine"
        if unused_error is not None:
            reason = unused_error.message
            remedy = f"{unused_error.remedy}, or ingest the collections with another engine"
        message = f"published tables are not served ({examples}): {reason}"
        yield Fault(message=message, remedy=remedy, severity="warning")


def _build_row_faults(tables_by_package: Mapping[str, list[str]]) -> Iterator[Fault]:
    """Warn of rows of packages."""
    installed_names = {package.name for package in plugins.list_installed_packages()}
    for name, tables in tables_by_package.items():
        reason = "is not installed"
        remedy = "install it to use them; backups contain them"
        if name in installed_names:
            reason = "`plugins` in hven.toml does not list"
            remedy = f"add {name!r} to `plugins` to use them; backups contain them"
        message = f"the system state has rows of the plug-in package {name} ({', '.join(tables)}), which {reason}"
        yield Fault(message=message, remedy=remedy, severity="warning")
