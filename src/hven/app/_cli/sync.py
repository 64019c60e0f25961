"""``hven sync`` and ``hven diff``: apply changes of a source, and compare two states of a collection."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hven.app._cli.context import open_site, print_json
from hven.app._cli.progress import IngestProgressBar
from hven.ingest import sync as sync_package
from hven.ingest.api.runs import execute_steps_after_publication
from hven.jobs.run_results import run_and_record_sync

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hven.ingest.api.runs import IngestReport
    from hven.ingest.sync import TableChangeSummary

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The collection.")]


def sync(
    context: typer.Context,
    *,
    name: Name,
    read_everything: Annotated[bool, typer.Option("--full", help="Read all rows, and ignore the watermark.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, but publish nothing.")] = False,
    accept_large_changes: Annotated[
        bool, typer.Option("--accept", help="Publish even if more rows are removed or changed than the guards allow.")
    ] = False,
    unless_held: Annotated[
        bool,
        typer.Option(
            "--unless-held",
            help="Do nothing if a rollback holds the collection, or if the collection is not published. For crontabs.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Read what changed in a collection's sources, and publish it."""
    with open_site(context) as site, IngestProgressBar(quiet=as_json) as progress:
        if unless_held:
            conflict = sync_package.find_sync_conflict(site, name)
            if conflict is not None:
                print(conflict, file=sys.stderr)
                return

        def run_sync() -> IngestReport:
            return sync_package.sync_collection(
                site,
                name,
                read_everything=read_everything,
                dry_run=dry_run,
                accept_changes=accept_large_changes,
                refuse_if_held=unless_held,
                progress=progress,
            )

        if dry_run:
            report = run_sync()
        else:
            report = run_and_record_sync(site, name, run_sync)
            execute_steps_after_publication(site, name)
    if as_json:
        print_json(report.to_json())
        return
    if dry_run:
        show_row_changes(list(report.changes.values()))
    print(report.format_text())


def diff(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="A collection, or one table: schema.table.")],
    old_state: Annotated[
        str,
        typer.Argument(
            metavar="STATE",
            help="A release, the id of a snapshot or run (`hven history`), or a time such as 2026-11-20T08:00.",
        ),
    ],
    new_state: Annotated[
        str | None, typer.Argument(metavar="STATE", help="The other state (default: the published one).")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show which rows differ between two states, and in which columns."""
    with open_site(context) as site:
        changes = sync_package.compare_collection_states(site, name, old_state, new_state)
    if as_json:
        print_json(
            [{"table": change.table, **change.collect_counts(), "samples": change.samples} for change in changes]
        )
        return
    show_row_changes(changes)
    for change in changes:
        print(change.format_summary())


def show_row_changes(changes: Sequence[TableChangeSummary]) -> None:
    """Show a few changed rows of each table: key, column, value before, value after."""
    # imported here: rich takes a tenth of a second, and few runs show changes
    from rich import box  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = Console()
    for change in changes:
        if not change.samples:
            continue
        table = Table(title=f"{change.table}: some of the rows", box=box.SIMPLE_HEAD, title_justify="left")
        for heading in ("", "key", "column", "before", "after"):
            table.add_column(heading, overflow="fold")
        for sample in change.samples:
            style = _CHANGE_STYLES[sample["change"]]
            for cells in _format_row_change(sample):
                table.add_row(*(Text(cell, style=style) for cell in cells))
        console.print(table)


def _format_row_change(row_change: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield the table rows of a changed row: one for each changed column, or a single one if it is new or removed."""
    kind: str = row_change["change"]
    key = ", ".join(str(value) for value in row_change["key"].values()) or "-"
    if kind == "changed":
        key_cells = (kind, key)
        for column, old_value in row_change["before"].items():
            yield (*key_cells, column, _format_short_cell(old_value), _format_short_cell(row_change["after"][column]))
            key_cells = ("", "")
        return
    shown_columns = list(row_change["row"].items())[:_MAX_ROW_COLUMNS]
    row_text = ", ".join(
        f"{column} {_format_short_cell(value)}" for column, value in shown_columns if column not in row_change["key"]
    )
    if kind == "removed":
        yield kind, key, "", row_text, ""
    else:
        yield kind, key, "", "", row_text


_CHANGE_STYLES = {"added": "green", "removed": "red", "changed": "yellow"}
_MAX_ROW_COLUMNS = 6  # columns that are shown of a new or removed row


def _format_short_cell(value: object) -> str:
    if value is None:
        text = "-"
    else:
        text = str(value)
    if len(text) <= 60:
        return text
    return f"{text[:57]}..."
