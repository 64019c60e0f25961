"""``hven partners``: list the objects of a match that are new or lost, or whose partners differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import pyarrow.compute as pc
import typer

from hven.app.api import open_site, print_json, print_table
from hven.ingest.sync import change_sets, find_collection_state
from hven.model.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

PARTNER_PREFIX, PARTNER_SUFFIX = "XM_", "_id"
HEADINGS = ["change", "id", "other partners in"]


def list_partner_changes(
    context: typer.Context,
    table: Annotated[str, typer.Argument(metavar="TABLE", help="A table with a match, as schema.table.")],
    old_state: Annotated[
        str, typer.Argument(metavar="STATE", help="A release, the id of a snapshot or run (`hven history`), or a time.")
    ],
    new_state: Annotated[
        str | None, typer.Argument(metavar="STATE", help="The other state (default: the published one).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
) -> None:
    """List what has changed in a match between two states."""
    collection = table.partition(".")[0]
    with open_site(context) as site:
        records = []
        for state_name in (old_state, new_state):
            state = find_collection_state(site, collection, state_name)
            if table not in state:
                raise NotFoundError(
                    f"{state_name or 'the published state'} has no table {table}",
                    remedy=f"run `hven history {collection}` to list the kept states",
                )
            records.append(state[table])
        changes, _ = change_sets.compare_snapshot_records(site, *records)
    rows = list(_iterate_changed_objects(changes))
    if as_json:
        print_json([dict(zip(("change", "id", "catalogues"), row, strict=True)) for row in rows])
        return
    if not rows:
        print("no object is new or lost, and none has a different partner")
        return
    print_table(HEADINGS, [[change, _format_key(key), ", ".join(names)] for change, key, names in rows])


def _iterate_changed_objects(changes: pa.Table) -> Iterator[tuple[str, dict[str, Any], list[str]]]:
    """Yield the change, the key and the catalogues of each object."""
    key_names = [
        name
        for name in changes.column_names
        if name not in {change_sets.CHANGE_COLUMN, change_sets.CHANGED_COLUMNS_COLUMN}
    ]
    order = [(name, "ascending") for name in (change_sets.CHANGE_COLUMN, *key_names)]
    plain = changes.set_column(
        changes.schema.get_field_index(change_sets.CHANGE_COLUMN),
        change_sets.CHANGE_COLUMN,
        changes.column(change_sets.CHANGE_COLUMN).cast("string"),
    )
    for row in plain.take(pc.sort_indices(plain, order)).to_pylist():
        change = row[change_sets.CHANGE_COLUMN]
        catalogues = [
            name.removeprefix(PARTNER_PREFIX).removesuffix(PARTNER_SUFFIX)
            for name in row[change_sets.CHANGED_COLUMNS_COLUMN] or ()
            if name.startswith(PARTNER_PREFIX) and name.endswith(PARTNER_SUFFIX)
        ]
        if change != change_sets.CHANGED_CHANGE or catalogues:
            yield change, {name: row[name] for name in key_names}, catalogues


def _format_key(key: dict[str, Any]) -> str:
    return ", ".join(str(value) for value in key.values())
