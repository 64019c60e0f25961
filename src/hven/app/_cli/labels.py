"""``hven release LABEL NAME...``, ``release list/show/remove/diff``.

Labels on what is published, whose rows are kept for good.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from hven.app._cli.context import format_command, format_time, open_site, show_json, show_table
from hven.app._cli.sync import show_changes
from hven.ingest import sync as sync_package
from hven.model.errors import ConflictError, NotFoundError, UsageError
from hven.site.history import parse_instant
from hven.site.store import Release

Json = Annotated[bool, typer.Option("--json", help="For scripts.")]
Label = Annotated[str, typer.Argument(metavar="LABEL", help="R4, DR1.2 ...; latest: the newest of each collection.")]
Names = Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="These collections alone.")]


class LabelCommandGroup(TyperGroup):
    """A label that is no verb is given."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the verb."""
        return super().resolve_command(ctx, args if args[0] in self.commands else ["add", *args])


release = typer.Typer(cls=LabelCommandGroup, no_args_is_help=True)


@release.command("add")
def add_release(
    context: typer.Context,
    label: Annotated[str, typer.Argument(metavar="LABEL", help="Letters, digits, dots, dashes: R4, DR1.2.")],
    collections: Annotated[list[str], typer.Argument(metavar="NAME...", help="The collections.")],
    description: Annotated[str | None, typer.Option("--description", help="A sentence for readers.")] = None,
) -> None:
    """Release what is published of collections now; `hven release LABEL NAME...` is the same."""
    with open_site(context) as site:
        if parse_instant(label) is not None:
            raise UsageError(f"{label!r:.60} is a time", remedy="take a label that is none: R4, DR1.2")
        published_state = site.get_published_state()
        schema_names = {
            name.lower()
            for name in (
                *published_state.resources,
                *(item.table.schema for item in published_state.tables_by_name.values() if item.release is None),
            )
        }
        for name in collections:
            schema = Release(collection=name, label=label, created="", snapshots={}).schema_name
            if schema.lower() in schema_names:
                raise ConflictError(
                    f"{label} of {name} would be asked as {schema}, which is a collection's name",
                    remedy="take another label",
                )
        for release_record in site.store.releases.add_releases(label, collections, description):
            tables = ", ".join(
                f"{release_record.schema_name}.{name.partition('.')[2]}" for name in release_record.snapshots
            )
            print(f"{label} of {release_record.collection}: {tables}")


@release.command("list")
def list_releases(context: typer.Context, collections: Names = None, as_json: Json = False) -> None:
    """Show the releases, newest first."""
    with open_site(context) as site:
        releases = [
            release_record
            for release_record in site.store.releases.list_releases()
            if not collections or release_record.collection in collections
        ]
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
    ]
    _print_releases(rows, "Releases", as_json=as_json)


@release.command("show")
def show_release(context: typer.Context, label: Label, as_json: Json = False) -> None:
    """Show the tables of a release, and whether they are what is published now."""
    with open_site(context) as site:
        labelled_releases = site.store.releases.list_releases(label=label)
        release_records = [
            (release_record, records)
            for release_record, records in site.store.releases.list_release_records()
            if release_record in labelled_releases
        ]
        _, published_ids = site.store.read_pointers()
    if not release_records:
        raise NotFoundError(
            f"there is no release {label!r:.60}", remedy=f"{format_command(context, 'release list')} shows them"
        )
    rows: list[dict[str, Any]] = [
        {
            "release": release_record.label,
            "table": f"{release_record.schema_name}.{record.table.name}",
            "snapshot": record.id,
            "rows": record.snapshot.rows,
            "bytes": record.snapshot.bytes,
            "released": release_record.created,
            "published": published_ids.get(record.table.qualified_name) == record.id,
        }
        for release_record, records in release_records
        for record in records
    ]
    _print_releases(rows, label, as_json=as_json)


def _print_releases(rows: list[dict[str, Any]], title: str, *, as_json: bool) -> None:
    if as_json:
        show_json(rows)
        return
    shown_rows = [row | {"released": format_time(row["released"])} for row in rows]
    show_table(list(rows[0]) if rows else [], [list(row.values()) for row in shown_rows], title=title)


@release.command("remove")
def remove_release(context: typer.Context, label: Label, collections: Names = None) -> None:
    """Take a label off; its rows go when the collection is ingested next."""
    with open_site(context) as site:
        removed_releases = site.store.releases.remove_label(label, collections or ())
    print(
        f"{label} is no release of "
        f"{', '.join(release_record.collection for release_record in removed_releases)} any more"
    )


@release.command("diff")
def compare_releases(
    context: typer.Context,
    old_label: Label,
    new_label: Annotated[
        str | None, typer.Argument(metavar="[LABEL]", help="The other one; default: what is published.")
    ] = None,
) -> None:
    """Show what changed from one release to another: tables, columns, rows."""
    with open_site(context) as site:
        common_collections = [
            release_record.collection
            for release_record in site.store.releases.list_releases(label=old_label)
            if new_label is None or site.store.releases.list_releases(release_record.collection, new_label)
        ]
        if not common_collections:
            raise NotFoundError(
                f"no collection has {old_label!r:.60}{f' and {new_label!r:.60}' if new_label else ''}",
                remedy=f"{format_command(context, 'release list')} shows them",
            )
        for collection in sorted(common_collections):
            old_state = sync_package.find_state(site, collection, old_label)
            new_state = sync_package.find_state(site, collection, new_label)
            for name in sorted({*old_state, *new_state}):
                if name not in old_state or name not in new_state:
                    print(f"{name}: {'added' if name in new_state else 'removed'}")
                    continue
                try:
                    change = sync_package.change_sets.compare_records(site, old_state[name], new_state[name])[1]
                except NotFoundError as error:  # not to be compared row by row
                    print(
                        f"{name}: {old_state[name].snapshot.rows:,} rows, now "
                        f"{new_state[name].snapshot.rows:,}; {error.message}"
                    )
                    continue
                show_changes([change])
                print(change.format_summary())
