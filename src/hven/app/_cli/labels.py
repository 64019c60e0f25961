"""``hven release LABEL NAME...``, ``release list/show/remove/diff``: labels on what is published, whose rows are kept for good."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from hven.app._cli.context import moment, show_json, show_table, spelled
from hven.app._cli.context import site as open_site
from hven.app._cli.sync import show_changes
from hven.ingest import sync as room
from hven.model.errors import Conflict, NotFound, UsageError
from hven.site.past import instant
from hven.site.store import Release

Json = Annotated[bool, typer.Option("--json", help="For scripts.")]
Label = Annotated[str, typer.Argument(metavar="LABEL", help="R4, DR1.2 ...; latest: the newest of each collection.")]
Names = Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="These collections alone.")]


class Labels(TyperGroup):
    """A label that is no verb is given."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the verb."""
        return super().resolve_command(ctx, args if args[0] in self.commands else ["add", *args])


release = typer.Typer(cls=Labels, no_args_is_help=True)


@release.command("add")
def add(
    context: typer.Context,
    label: Annotated[str, typer.Argument(metavar="LABEL", help="Letters, digits, dots, dashes: R4, DR1.2.")],
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="The collections.")],
    description: Annotated[str | None, typer.Option("--description", help="A sentence for readers.")] = None,
) -> None:
    """Release what is published of collections now; `hven release LABEL NAME...` is the same."""
    with open_site(context) as site:
        if instant(label) is not None:
            raise UsageError(f"{label!r:.60} is a time", remedy="take a label that is none: R4, DR1.2")
        now = site.current()
        known = {name.lower() for name in (*now.resources, *(item.table.schema for item in now.published.values() if item.release is None))}  # fmt: skip
        for name in names:
            schema = Release(collection=name, label=label, created="", snapshots={}).schema
            if schema.lower() in known:
                raise Conflict(
                    f"{label} of {name} would be asked as {schema}, which is a collection's name",
                    remedy="take another label",
                )
        for one in site.store.releases.add(label, names, description):
            tables = ", ".join(f"{one.schema}.{name.partition('.')[2]}" for name in one.snapshots)
            print(f"{label} of {one.collection}: {tables}")


@release.command("list")
def listed(context: typer.Context, names: Names = None, as_json: Json = False) -> None:
    """Show the releases, newest first."""
    with open_site(context) as site:
        found = [one for one in site.store.releases.all() if not names or one.collection in names]
    rows: list[dict[str, Any]] = [
        {
            "release": one.label, "collection": one.collection, "schema": one.schema, "tables": len(one.snapshots),
            "released": one.created, "description": one.description,
        }
        for one in found
    ]  # fmt: skip
    _show(rows, "Releases", as_json=as_json)


@release.command("show")
def show(context: typer.Context, label: Label, as_json: Json = False) -> None:
    """Show the tables of a release, and whether they are what is published now."""
    with open_site(context) as site:
        wanted = site.store.releases.all(label=label)
        found = [(one, records) for one, records in site.store.releases.records() if one in wanted]
        _, present = site.store.pointers()
    if not found:
        raise NotFound(f"there is no release {label!r:.60}", remedy=f"{spelled(context, 'release list')} shows them")
    rows: list[dict[str, Any]] = [
        {
            "release": one.label, "table": f"{one.schema}.{record.table.name}", "snapshot": record.id,
            "rows": record.snapshot.rows, "bytes": record.snapshot.bytes, "released": one.created,
            "published": present.get(record.table.qualified) == record.id,
        }
        for one, records in found
        for record in records
    ]  # fmt: skip
    _show(rows, label, as_json=as_json)


def _show(rows: list[dict[str, Any]], title: str, *, as_json: bool) -> None:
    if as_json:
        show_json(rows)
        return
    told = [row | {"released": moment(row["released"])} for row in rows]
    show_table(list(rows[0]) if rows else [], [list(row.values()) for row in told], title=title)


@release.command("remove")
def remove(context: typer.Context, label: Label, names: Names = None) -> None:
    """Take a label off; its rows go when the collection is ingested next."""
    with open_site(context) as site:
        gone = site.store.releases.remove(label, names or ())
    print(f"{label} is no release of {', '.join(one.collection for one in gone)} any more")


@release.command("diff")
def diff(
    context: typer.Context,
    old: Label,
    new: Annotated[
        str | None, typer.Argument(metavar="[LABEL]", help="The other one; default: what is published.")
    ] = None,
) -> None:
    """Show what changed from one release to another: tables, columns, rows."""
    with open_site(context) as site:
        both = [one.collection for one in site.store.releases.all(label=old) if new is None or site.store.releases.all(one.collection, new)]  # fmt: skip
        if not both:
            raise NotFound(f"no collection has {old!r:.60}{f' and {new!r:.60}' if new else ''}", remedy=f"{spelled(context, 'release list')} shows them")  # fmt: skip
        for collection in sorted(both):
            before, after = room.state(site, collection, old), room.state(site, collection, new)
            for name in sorted({*before, *after}):
                if name not in before or name not in after:
                    print(f"{name}: {'added' if name in after else 'removed'}")
                    continue
                try:
                    change = room.changes.compared(site, before[name], after[name])[1]
                except NotFound as error:  # not to be compared row by row
                    print(
                        f"{name}: {before[name].snapshot.rows:,} rows, now {after[name].snapshot.rows:,}; {error.message}"
                    )
                    continue
                show_changes([change])
                print(change.summary())
