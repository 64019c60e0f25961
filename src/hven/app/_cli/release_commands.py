"""``hven release``: label what is published now, so that its rows are kept for good."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from hven.app._cli.context import format_command, format_time, open_site, print_json, print_table
from hven.app._cli.sync import show_row_changes
from hven.ingest import sync as sync_package
from hven.model.errors import ConflictError, NotFoundError, UsageError
from hven.site.history import parse_instant
from hven.site.store import Release

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.site import Site
    from hven.site.store import SnapshotRecord
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
Label = Annotated[
    str,
    typer.Argument(
        metavar="LABEL",
        help=("Label of the release, such as R4 or DR1.2. 'latest' stands for the newest release of each collection."),
    ),
]
Names = Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Only these collections.")]


class DefaultAddCommandGroup(TyperGroup):
    """A group of commands that takes a label in place of the verb ``add``."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command: ``add`` if the first argument is not a verb."""
        command_arguments = args
        if args[0] not in self.commands:
            command_arguments = ["add", *args]
        return super().resolve_command(ctx, command_arguments)


release = typer.Typer(cls=DefaultAddCommandGroup, no_args_is_help=True)


@release.command("add")
def add_release(
    context: typer.Context,
    label: Annotated[
        str, typer.Argument(metavar="LABEL", help=("Label of letters, digits, dots and dashes, such as R4 or DR1.2."))
    ],
    collections: Annotated[list[str], typer.Argument(metavar="NAME...", help="The collections.")],
    description: Annotated[str | None, typer.Option("--description", help="A sentence for readers.")] = None,
) -> None:
    """Make a release of the published state of collections.

    `hven release LABEL NAME...` does the same.
    """
    with open_site(context) as site:
        if parse_instant(label) is not None:
            raise UsageError(
                f"{label!r:.60} is a time and cannot be a label",
                remedy="choose a label that is not a time, such as R4 or DR1.2",
            )
        used_names = _list_schema_names(site)
        for name in collections:
            schema = Release(collection=name, label=label, created="", snapshots={}).schema_name
            if schema.lower() in used_names:
                raise ConflictError(
                    f"release {label} of {name} would have the schema {schema}, but a collection already has this name",
                    remedy="choose a different label",
                )
        for release_record in site.store.releases.add_collection_releases(label, collections, description):
            schema = release_record.schema_name
            tables = ", ".join(f"{schema}.{name.partition('.')[2]}" for name in release_record.snapshots)
            print(f"{label} of {release_record.collection}: {tables}")


def _list_schema_names(site: Site) -> set[str]:
    """Return the names of collections and schemas, without those of releases, in lower case."""
    published_state = site.get_published_state()
    schema_names = {name.lower() for name in published_state.resources}
    for item in published_state.tables_by_name.values():
        if item.release is None:
            schema_names.add(item.table.schema.lower())
    return schema_names


@release.command("list")
def list_releases(context: typer.Context, collections: Names = None, as_json: Json = False) -> None:
    """Show the releases, newest first."""
    with open_site(context) as site:
        releases = site.store.releases.list_releases()
    rows: list[dict[str, Any]] = [
        {
            "release": release_record.label,
            "collection": release_record.collection,
            "schema": release_record.schema_name,
            "tables": len(release_record.snapshots),
            "released": release_record.created,
            "description": release_record.description,
        }
        for release_record in releases
        if not collections or release_record.collection in collections
    ]
    _print_releases(rows, "Releases", as_json=as_json)


@release.command("show")
def show_release(context: typer.Context, label: Label, as_json: Json = False) -> None:
    """Show the tables of a release, and which are still published."""
    with open_site(context) as site:
        labelled_releases = site.store.releases.list_releases(label=label)
        release_records = [
            (release_record, records)
            for release_record, records in site.store.releases.list_release_records()
            if release_record in labelled_releases
        ]
        _, published_ids = site.store.read_published_snapshot_ids()
    if not release_records:
        raise NotFoundError(
            f"there is no release {label!r:.60}",
            remedy=f"run {format_command(context, 'release list')} to see all releases",
        )
    rows: list[dict[str, Any]] = []
    for release_record, records in release_records:
        rows += [_release_table_to_json(release_record, record, published_ids) for record in records]
    _print_releases(rows, label, as_json=as_json)


def _release_table_to_json(
    release_record: Release, record: SnapshotRecord, published_ids: Mapping[str, str]
) -> dict[str, Any]:
    return {
        "release": release_record.label,
        "table": f"{release_record.schema_name}.{record.table.name}",
        "snapshot": record.id,
        "rows": record.snapshot.rows,
        "bytes": record.snapshot.bytes,
        "released": release_record.created,
        "published": published_ids.get(record.table.qualified_name) == record.id,
    }


def _print_releases(rows: list[dict[str, Any]], title: str, *, as_json: bool) -> None:
    if as_json:
        print_json(rows)
        return
    shown_rows = [row | {"released": format_time(row["released"])} for row in rows]
    headings = []
    if rows:
        headings = list(rows[0])
    print_table(headings, [list(row.values()) for row in shown_rows], title=title)


@release.command("remove")
def remove_release(context: typer.Context, label: Label, collections: Names = None) -> None:
    """Remove a label from a release.

    The next ingest of the collection deletes the rows of the release.
    """
    with open_site(context) as site:
        removed_releases = site.store.releases.remove_label(label, collections or ())
    names = ", ".join(release_record.collection for release_record in removed_releases)
    print(f"{label} is no longer a release of {names}")


@release.command("diff")
def compare_releases(
    context: typer.Context,
    old_label: Label,
    new_label: Annotated[
        str | None, typer.Argument(metavar="[LABEL]", help="The other release (default: the published state).")
    ] = None,
) -> None:
    """Show what changed between two releases: tables, columns, rows."""
    with open_site(context) as site:
        common_collections = [
            release_record.collection
            for release_record in site.store.releases.list_releases(label=old_label)
            if new_label is None or site.store.releases.list_releases(release_record.collection, new_label)
        ]
        if not common_collections:
            labels = f"the release {old_label!r:.60}"
            if new_label:
                labels = f"both releases, {old_label!r:.60} and {new_label!r:.60}"
            raise NotFoundError(
                f"no collection has {labels}",
                remedy=f"run {format_command(context, 'release list')} to see all releases",
            )
        for collection in sorted(common_collections):
            old_state = sync_package.find_collection_state(site, collection, old_label)
            new_state = sync_package.find_collection_state(site, collection, new_label)
            for name in sorted({*old_state, *new_state}):
                if name not in new_state:
                    print(f"{name}: removed")
                elif name not in old_state:
                    print(f"{name}: added")
                else:
                    _print_table_changes(site, name, old_state[name], new_state[name])


def _print_table_changes(site: Site, table_name: str, old_record: SnapshotRecord, new_record: SnapshotRecord) -> None:
    """Print what changed in a table, or only the numbers of rows where rows cannot be compared."""
    try:
        _, change = sync_package.change_sets.compare_snapshot_records(site, old_record, new_record)
    except NotFoundError as error:  # for example a table without a key
        old_rows = old_record.snapshot.rows
        new_rows = new_record.snapshot.rows
        print(f"{table_name}: {old_rows:,} rows before, {new_rows:,} rows after; {error.message}")
        return
    show_row_changes([change])
    print(change.format_summary())
