"""``hven release LABEL NAME...``, ``release list/show/remove/diff``: labels on what is published, whose rows are kept for good."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from hven.app._cli.context import moment, show_json, show_table, size, spelled
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
    if as_json:
        show_json([_told(one) for one in found])
        return
    show_table(
        ["release", "collection", "schema", "tables", "released", "description"],
        [
            [one.label, one.collection, one.schema, len(one.snapshots), moment(one.created), one.description]
            for one in found
        ],
        title="Releases",
    )


@release.command("show")
def show(context: typer.Context, label: Label, as_json: Json = False) -> None:
    """Show the tables of a release, and whether they are what is published now."""
    with open_site(context) as site:
        wanted = {(one.collection, one.label) for one in site.store.releases.all(label=label)}
        found = [
            (one, records) for one, records in site.store.releases.records() if (one.collection, one.label) in wanted
        ]
        _, present = site.store.pointers()
    if not found:
        raise NotFound(f"there is no release {label!r:.60}", remedy=f"{spelled(context, 'release list')} shows them")
    rows: list[dict[str, Any]] = [
        {
            "release": one.label,
            "table": f"{one.schema}.{record.table.name}",
            "of": record.table.qualified,
            "snapshot": record.id,
            "rows": record.snapshot.rows,
            "bytes": record.snapshot.bytes,
            "released": one.created,
            "published": present.get(record.table.qualified) == record.id,
        }
        for one, records in found
        for record in records
    ]
    if as_json:
        show_json(rows)
        return
    show_table(
        ["", "table", "snapshot", "rows", "size", "released"],
        [
            ["*" if row["published"] else "", row["table"], row["snapshot"], row["rows"], size(row["bytes"]), moment(row["released"])]
            for row in rows
        ],
        title=f"{label} (* = as published now)",
    )  # fmt: skip


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
    as_json: Json = False,
) -> None:
    """Show what changed from one release to another: tables, columns, rows."""
    told: list[dict[str, Any]] = []
    with open_site(context) as site:
        for one in sorted(site.store.releases.all(label=old), key=lambda one: one.collection):
            if new is not None and not site.store.releases.all(one.collection, new):
                continue
            before = room.state(site, one.collection, old)
            after = room.state(site, one.collection, new) if new else room.present(site, one.collection)
            for name in sorted({*before, *after}):
                was, now = before.get(name), after.get(name)
                if was is None or now is None:
                    told.append({"table": name, "told": "removed" if now is None else "added"})
                    continue
                columns = [{column.name for column in record.table.columns} for record in (was, now)]
                if changed := [*(f"+{each}" for each in sorted(columns[1] - columns[0])), *(f"-{each}" for each in sorted(columns[0] - columns[1]))]:  # fmt: skip
                    rows = f"{was.snapshot.rows:,} rows, now {now.snapshot.rows:,}"
                    told.append({"table": name, "told": f"columns {' '.join(changed)}; {rows}"})
                    continue
                change = room.changes.compared(site, was, now)[1]
                if not as_json:
                    show_changes([change])
                told.append({"table": name, "told": change.summary(), **change.counts(), "samples": change.samples})
    if not told:
        raise NotFound(f"no collection has {old!r:.60}{f' and {new!r:.60}' if new else ''}", remedy=f"{spelled(context, 'release list')} shows them")  # fmt: skip
    if as_json:
        show_json(told)
        return
    for each in told:
        text = str(each["told"])
        print(text if text.startswith(each["table"]) else f"{each['table']}: {text}")


def _told(one: Release) -> dict[str, Any]:
    return {"release": one.label, "collection": one.collection, "schema": one.schema, "released": one.created, "tables": one.snapshots, "description": one.description}  # fmt: skip
