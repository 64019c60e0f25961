"""``hven tables``: show, expire and delete the tables that users keep here."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hven.app.api import format_size, format_time, open_site, print_json, print_table
from hven.model.errors import NotFoundError
from hven.plugins.user_tables.table_records import UserTableRecordWriter
from hven.plugins.user_tables.table_writing import parse_user_table_name
from hven.site.user_tables import delete_expired_user_tables

if TYPE_CHECKING:
    from hven.model.table import Column, Table
    from hven.site import Site
    from hven.site.store import SnapshotRecord

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
Owner = Annotated[str, typer.Argument(metavar="OWNER", help="The account that the table belongs to.")]
TableName = Annotated[str, typer.Argument(metavar="NAME", help="Name of the table, with or without tap_user.")]

tables = typer.Typer()


@tables.callback(invoke_without_command=True)
def list_user_tables(context: typer.Context, as_json: Json = False) -> None:
    """Show the tables that users keep here, and delete expired tables."""
    if context.invoked_subcommand is not None:
        return
    with open_site(context) as site:
        delete_expired_user_tables(site)
        rows = [
            _user_table_to_json(record, expires) for record, expires in site.store.user_tables.list_tables_with_expiry()
        ]
    if as_json:
        print_json(rows)
        return
    cells_by_row = [
        (
            row["owner"],
            row["table"],
            row["rows"],
            format_size(row["bytes"]),
            format_time(row["written"]),
            format_time(row["expires"]),
        )
        for row in rows
    ]
    print_table(["owner", "table", "rows", "size", "written", "expires"], cells_by_row, title="Tables of readers")


def _get_column_index_kind(table: Table, column: Column) -> str | None:
    if column.name in (table.position or ()):
        return "position"
    if column.unique:
        return "unique"
    if column.indexed:
        return "yes"
    return None


def _column_to_json(table: Table, column: Column) -> dict[str, Any]:
    return {
        "name": column.name,
        "type": str(column.type),
        "unit": column.unit,
        "ucd": column.ucd,
        "index": _get_column_index_kind(table, column),
        "description": column.description,
    }


@tables.command("show")
def show_user_table(context: typer.Context, owner: Owner, table_name: TableName, as_json: Json = False) -> None:
    """Show facts about a table and its columns, but not its rows."""
    with open_site(context) as site:
        record, expires = _find_user_table(site, owner, table_name)
    facts = _user_table_to_json(record, expires)
    columns = [_column_to_json(record.table, column) for column in record.table.columns]
    if as_json:
        print_json({**facts, "columns": columns})
        return
    print(f"{facts['table']} of the user {owner!r}: {facts['rows']:,} rows, {format_size(facts['bytes'])}")
    print(f"written {format_time(facts['written'])}, expires {format_time(facts['expires'])}")
    print_table(list(columns[0]), [list(column.values()) for column in columns])


@tables.command("drop")
def drop_user_table(context: typer.Context, owner: Owner, table_name: TableName) -> None:
    """Delete a table of a user."""
    with open_site(context) as site:
        record, _ = _find_user_table(site, owner, table_name)
        site.store.get_or_create(UserTableRecordWriter).delete_table_record(owner, record.table.name)
        delete_expired_user_tables(site)
    print(f"{record.table.qualified_name} of the user {owner!r} has been deleted")


@tables.command("expire")
def set_user_table_expiry(
    context: typer.Context,
    owner: Owner,
    table_name: TableName,
    days: Annotated[
        float,
        typer.Option("--days", min=0.0, max=36500.0, help=("Number of days from now until Hven deletes the table.")),
    ],
) -> None:
    """Set the time at which a table of a user is deleted."""
    expiry_time = datetime.now(UTC) + timedelta(days=days)
    expiry_text = expiry_time.isoformat(timespec="microseconds").replace("+00:00", "Z")
    with open_site(context) as site:
        record, _ = _find_user_table(site, owner, table_name)
        site.store.get_or_create(UserTableRecordWriter).set_expiry(owner, record.table.name, expiry_text)
    print(f"{record.table.qualified_name} of the user {owner!r} expires {format_time(expiry_text)}")


def _user_table_to_json(record: SnapshotRecord, expiry_time: str) -> dict[str, Any]:
    return {
        "owner": record.table.owner,
        "table": record.table.qualified_name,
        "rows": record.snapshot.rows,
        "bytes": record.snapshot.bytes,
        "written": record.created,
        "expires": expiry_time,
    }


def _find_user_table(site: Site, owner: str, table_name: str) -> tuple[SnapshotRecord, str]:
    wanted_name = parse_user_table_name(table_name).lower()
    for record, expires in site.store.user_tables.list_unexpired_owner_tables(owner):
        if record.table.name.lower() == wanted_name:
            return record, expires
    raise NotFoundError(
        f"the user {owner!r} has no table {table_name!r:.80}", remedy="run `hven tables` to see all tables"
    )
