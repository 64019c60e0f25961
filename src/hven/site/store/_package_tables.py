"""Tables of plug-in packages in the system state: create, upgrade and list them.

For each package that ever had tables in a state, `meta` has the version and the names of its tables. A state that has
them in the present version is opened without an import of the package.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

import sqlalchemy as sa

from hven.model import plugins
from hven.model.errors import StorageError, UserError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.model.plugins import PackageStateTables
    from hven.site.store._table_definitions import PackageTableSet

log = logging.getLogger("hven")
PACKAGE_KEY_PREFIX = "package "  # of keys in `meta`; the name of the package follows


def map_store_tables_by_package() -> dict[str, PackageStateTables]:
    """List the tables of the packages that this process uses, by the names of the packages."""
    packages = plugins.list_plugin_packages()
    return {package.name: package.store_tables for package in packages if package.store_tables is not None}


def load_table_set(package_name: str, tables: PackageStateTables) -> PackageTableSet:
    """Load the definitions of the tables of a package."""
    table_set: PackageTableSet = plugins.load_named_object(tables.definitions, f"the plug-in package {package_name}")
    return table_set


def list_package_tables() -> list[sa.Table]:
    """List the definitions of all tables of the packages that this process uses.

    Returns
    -------
    tables
        The definitions, sorted so that each follows those that it refers to.
    """
    tables: list[sa.Table] = []
    for name, store_tables in map_store_tables_by_package().items():
        tables += load_table_set(name, store_tables).metadata.sorted_tables
    return tables


def read_package_values(connection: sa.Connection) -> dict[str, str]:
    """Read the keys and values of `meta` about packages."""
    meta = sa.table("meta", sa.column("key"), sa.column("value"))
    query = sa.select(meta.c.key, meta.c.value).where(meta.c.key.startswith(PACKAGE_KEY_PREFIX))
    return {row.key: row.value for row in connection.execute(query)}


def create_or_upgrade_package_tables(
    connection: sa.Connection, stored_values: Mapping[str, str], display_address: str
) -> dict[str, str]:
    """Create or upgrade the tables of the packages that this process uses.

    Parameters
    ----------
    stored_values
        Keys and values of `meta` about packages.
    display_address
        Address of the state, for messages.

    Returns
    -------
    values
        Those of the packages that this process uses, as `meta` must have them.

    Raises
    ------
    StorageError
        Tables have a later version than this Hven knows.
    """
    values = {}
    for name, tables in map_store_tables_by_package().items():
        key = f"{PACKAGE_KEY_PREFIX}{name}"
        value = format_package_tables(tables)
        if key in stored_values and are_package_tables_usable(stored_values[key], value):
            values[key] = value
            continue
        stored_format = tables.format
        if key in stored_values:
            stored_format = json.loads(stored_values[key])["format"]
        if stored_format > tables.format:
            message = (
                f"the tables of the plug-in package {name} in the system state {display_address} have format "
                f"{stored_format}, but this version of the package supports only formats up to {tables.format}"
            )
            remedy = (
                "run the newer versions of Hven and of the package that wrote the tables, or restore the backup made "
                "before the upgrade"
            )
            raise StorageError(message, remedy=remedy)
        if stored_values.get(key) != value:
            try:
                table_set = load_table_set(name, tables)
            except UserError as error:  # `hven check` reports it, too; the rest of the site works
                log.warning("%s", error)
                continue
            for step in range(stored_format, tables.format):
                table_set.upgrade_steps[step](connection)
            table_set.metadata.create_all(connection)  # they may exist already: once they belonged to the core
        values[key] = value
    return values


def format_package_tables(tables: PackageStateTables) -> str:
    """Return what `meta` says of the tables of a package.

    Parameters
    ----------
    tables
        What the package says of its tables.
    """
    facts = {"format": tables.format, "tables": list(tables.names)}
    if tables.oldest_format is not None:
        facts["oldest"] = tables.oldest_format
    return json.dumps(facts)


def are_package_tables_usable(stored_value: str | None, own_value: str) -> bool:
    """Return whether a program can use the tables of a package as they are.

    Parameters
    ----------
    stored_value, own_value
        What `meta` says of the package, and what this program would write there.
    """
    if stored_value is None or stored_value == own_value:
        return stored_value is not None
    stored, own = json.loads(stored_value), json.loads(own_value)
    is_extended = stored["format"] > own["format"] >= stored.get("oldest", stored["format"])
    return is_extended and set(own["tables"]) <= set(stored["tables"])


def find_tables_of_unused_packages(connection: sa.Connection) -> dict[str, list[str]]:
    """Find the tables with rows of packages that this process does not use.

    Returns
    -------
    tables
        Names of the tables, by the names of their packages.
    """
    names_by_package: dict[str, set[str]] = {}
    for package in plugins.list_installed_packages():
        if package.store_tables is not None:
            names_by_package[package.name] = set(package.store_tables.names)
    for key, value in read_package_values(connection).items():
        names = names_by_package.setdefault(key.removeprefix(PACKAGE_KEY_PREFIX), set())
        names.update(json.loads(value)["tables"])
    inspector = sa.inspect(connection)
    tables = {}
    for package_name in sorted(names_by_package.keys() - map_store_tables_by_package().keys()):
        names = names_by_package[package_name]
        existing_tables = [sa.table(name) for name in sorted(names) if inspector.has_table(name)]
        tables[package_name] = [table.name for table in existing_tables if has_rows(connection, table)]
    return {package_name: names for package_name, names in tables.items() if names}


def has_rows(connection: sa.Connection, table: sa.TableClause) -> bool:
    """Return whether a table has any row.

    Parameters
    ----------
    connection
        Connection of the caller's transaction.
    table
        The table.

    Returns
    -------
    has_rows
        Whether it has any.
    """
    query = sa.select(sa.literal(1)).select_from(table).limit(1)
    return connection.execute(query).first() is not None


def list_package_tables_with_rows(connection: sa.Connection) -> list[sa.Table]:
    """List the tables with rows of all packages, also of those that this process does not use.

    Parameters
    ----------
    connection
        Connection of the caller's transaction.

    Returns
    -------
    tables
        Their definitions; those of packages that this process does not use are read from the database.
    """
    used_tables = [table for table in list_package_tables() if has_rows(connection, table)]
    absent_names = [name for names in find_tables_of_unused_packages(connection).values() for name in names]
    reflected_metadata = sa.MetaData()
    if absent_names:
        reflected_metadata.reflect(connection, only=absent_names)
    return [*used_tables, *reflected_metadata.sorted_tables]


def find_package_of_table(table_name: str) -> str | None:
    """Find the installed package that has a table.

    Parameters
    ----------
    table_name
        Name of the table.

    Returns
    -------
    name
        Name of the package; None: there is none.
    """
    for package in plugins.list_installed_packages():
        if package.store_tables is not None and table_name in package.store_tables.names:
            return package.name
    return None
