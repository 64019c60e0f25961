"""``hven sync`` and ``hven diff``: what changed in a source, and what changed between two snapshots."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from hven.app._cli.context import open_site, show_json
from hven.app._cli.progress import ProgressBar
from hven.ingest import sync as sync_package
from hven.jobs.run_results import run_and_record
from hven.services.pyramid_building import build_missing_pyramids

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.ingest import IngestReport
    from hven.ingest.sync import TableChange

Json = Annotated[bool, typer.Option("--json", help="For scripts.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The collection.")]


def sync(
    context: typer.Context,
    *,
    name: Name,
    read_everything: Annotated[
        bool, typer.Option("--full", help="Read everything, whatever the watermark says.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change; publish nothing.")] = False,
    accept_large_changes: Annotated[
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
    with open_site(context) as site, ProgressBar(quiet=as_json) as progress:
        if unless_held and (reason := sync_package.find_sync_conflict(site, name)) is not None:
            print(reason, file=sys.stderr)
            return

        def run_sync() -> IngestReport:
            return sync_package.sync_collection(
                site,
                name,
                read_everything=read_everything,
                dry_run=dry_run,
                accept_changes=accept_large_changes,
                only_if_unheld=unless_held,
                progress=progress,
            )

        if dry_run:
            report = run_sync()
        else:
            report = run_and_record(site, name, run_sync)
        if not dry_run:
            build_missing_pyramids(site, name)
    if as_json:
        show_json(report.to_json())
        return
    if dry_run:
        show_changes(list(report.changes.values()))
    print(report.format_text())


def diff(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="A collection, or one table: schema.table.")],
    old_state: Annotated[
        str,
        typer.Argument(
            metavar="STATE", help="A release, the id of a snapshot or run (hven history), or a time: 2026-11-20T08:00."
        ),
    ],
    new_state: Annotated[
        str | None, typer.Argument(metavar="STATE", help="The other one; default: what is published.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show which rows differ between two states, and where."""
    with open_site(context) as site:
        changes = sync_package.compare_states(site, name, old_state, new_state)
    if as_json:
        show_json([{"table": change.table, **change.collect_counts(), "samples": change.samples} for change in changes])
        return
    show_changes(changes)
    for change in changes:
        print(change.format_summary())


def show_changes(changes: Sequence[TableChange]) -> None:
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
            style = _CHANGE_STYLES[kind]
            key = ", ".join(f"{value}" for value in sample["key"].values()) or "-"
            if kind == "changed":
                for number, (column, before) in enumerate(sample["before"].items()):
                    if not number:
                        key_cells = ("changed", key)
                    else:
                        key_cells = ("", "")
                    cells = (*key_cells, column, _format_cell(before), _format_cell(sample["after"][column]))
                    table.add_row(*(Text(cell, style=style) for cell in cells))
            else:
                row = ", ".join(
                    f"{column} {_format_cell(value)}"
                    for column, value in list(sample["row"].items())[:_MAX_ROW_COLUMNS]
                    if column not in sample["key"]
                )
                cells = (kind, key, "", row if kind == "removed" else "", row if kind == "added" else "")
                table.add_row(*(Text(cell, style=style) for cell in cells))
        console.print(table)


_CHANGE_STYLES = {"added": "green", "removed": "red", "changed": "yellow"}
_MAX_ROW_COLUMNS = 6  # columns of a row that is shown as a whole


def _format_cell(value: object) -> str:
    if value is None:
        text = "-"
    else:
        text = str(value)
    if len(text) <= 60:
        return text
    return f"{text[:57]}..."
