"""``hven sync`` and ``hven diff``: what changed in a source, and what changed between two snapshots."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from hven.app._cli.context import show_json
from hven.app._cli.context import site as open_site
from hven.app._cli.progress import Progress
from hven.ingest import sync as room
from hven.jobs.operations import counted
from hven.services.reducing import reduce

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.ingest import Report
    from hven.ingest.sync import Change

Json = Annotated[bool, typer.Option("--json", help="For scripts.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The collection.")]


def sync(
    context: typer.Context,
    name: Name,
    full: Annotated[bool, typer.Option("--full", help="Read everything, whatever the watermark says.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change; publish nothing.")] = False,
    accept: Annotated[
        bool, typer.Option("--accept", help="Publish even if more rows go or change than the guards allow.")
    ] = False,
    unless_held: Annotated[
        bool,
        typer.Option(
            "--unless-held",
            help="Do nothing while a rollback holds the collection, or it is not published: for crontabs.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Read what changed in a collection's sources, and publish it."""
    with open_site(context) as site, Progress(quiet=as_json) as progress:
        if unless_held and (why := room.resting(site, name)) is not None:
            print(why, file=sys.stderr)
            return

        def run() -> Report:
            return room.sync(
                site, name, full=full, dry_run=dry_run, accept=accept, unheld=unless_held, progress=progress
            )

        report = run() if dry_run else counted(site, name, run)
        if not dry_run:
            reduce(site, name)
    if as_json:
        show_json(report.to_json())
        return
    if dry_run:
        show_changes(list(report.changes.values()))
    print(report.text())


def diff(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="A collection, or one table: schema.table.")],
    old: Annotated[
        str,
        typer.Argument(
            metavar="STATE", help="A release, the id of a snapshot or run (hven history), or a time: 2026-11-20T08:00."
        ),
    ],
    new: Annotated[
        str | None, typer.Argument(metavar="STATE", help="The other one; default: what is published.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show which rows differ between two states, and where."""
    with open_site(context) as site:
        found = room.diff(site, name, old, new)
    if as_json:
        show_json([{"table": change.table, **change.counts(), "samples": change.samples} for change in found])
        return
    show_changes(found)
    for change in found:
        print(change.summary())


def show_changes(changes: Sequence[Change]) -> None:
    """Show a few rows of each kind: key, column, before, after."""
    from rich import box  # noqa: PLC0415  (a tenth of a second, for people alone)
    from rich.console import Console  # noqa: PLC0415  (a tenth of a second, for people alone)
    from rich.table import Table  # noqa: PLC0415  (a tenth of a second, for people alone)
    from rich.text import Text  # noqa: PLC0415  (a tenth of a second, for people alone)

    console = Console()
    for change in changes:
        if not change.samples:
            continue
        table = Table(title=f"{change.table}: some of the rows", box=box.SIMPLE_HEAD, title_justify="left")
        for heading in ("", "key", "column", "before", "after"):
            table.add_column(heading, overflow="fold")
        for sample in change.samples:
            kind = sample["change"]
            style = _STYLES[kind]
            key = ", ".join(f"{value}" for value in sample["key"].values()) or "-"
            if kind == "changed":
                for number, (column, before) in enumerate(sample["before"].items()):
                    first = ("changed", key) if not number else ("", "")
                    cells = (*first, column, _cell(before), _cell(sample["after"][column]))
                    table.add_row(*(Text(cell, style=style) for cell in cells))
            else:
                row = ", ".join(
                    f"{column} {_cell(value)}"
                    for column, value in list(sample["row"].items())[:_FEW]
                    if column not in sample["key"]
                )
                cells = (kind, key, "", row if kind == "removed" else "", row if kind == "added" else "")
                table.add_row(*(Text(cell, style=style) for cell in cells))
        console.print(table)


_STYLES = {"added": "green", "removed": "red", "changed": "yellow"}
_FEW = 6  # columns of a row that is shown as a whole


def _cell(value: object) -> str:
    text = "-" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
