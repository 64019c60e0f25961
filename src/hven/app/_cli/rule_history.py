"""``hven history NAME --rules`` and the lines of ``hven status``: how many rows break the rules that have a flag, run by run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hven.app._cli.context import moment, show_json, show_table
from hven.ingest.quality import Group, Quality, from_json, percent
from hven.model.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hven.site.store import Record
    from hven.site.store.runs import Run


def show_trend(name: str, runs: Sequence[Run], last: int, *, as_json: bool) -> None:
    """Show the last runs that counted flags, the newest first, and the groups of the newest one.

    Raises
    ------
    NotFound
        No run counted any.
    """
    counted = [(run, _of_run(run)) for run in runs]
    counted = [(run, tables) for run, tables in counted if tables][:last]
    if not counted:
        raise NotFound(
            f"no run of {name} has counted flags",
            remedy="say flags: under the table, flag: 0 beside a rule, and ingest",
        )
    if as_json:
        show_json(
            [
                {
                    "run": run.id,
                    "kind": run.kind,
                    "started": run.started,
                    "dry_run": bool(run.summary.get("dry_run")),
                    "tables": {table: quality.to_json() for table, quality in tables.items()},
                }
                for run, tables in counted
            ]
        )
        return
    for number, table in enumerate(dict.fromkeys(table for _, tables in counted for table in tables)):
        if number:
            print()
        _show_table(table, [(run, tables[table]) for run, tables in counted if table in tables])


def _of_run(run: Run) -> dict[str, Quality]:
    found = {name: from_json(table.get("quality")) for name, table in run.summary.get("tables", {}).items()}
    return {name: quality for name, quality in found.items() if quality is not None}


def _show_table(table: str, counted: Sequence[tuple[Run, Quality]]) -> None:
    newest = counted[0][1]
    rules = list(dict.fromkeys(rule for _, quality in counted for rule in quality.rules))
    show_table(
        ["started", "run", "rows", "no flag", *rules],
        [
            [moment(run.started), _kind(run), one.rows, one.clean, *(one.rules.get(rule) for rule in rules)]
            for run, one in counted
        ],
        title=f"{table}: rows that break each rule",
    )
    if newest.by:
        print()
        groups = [*newest.groups, *([newest.others] if newest.others is not None else [])]
        show_table(
            [*newest.by, "rows", "no flag", *newest.rules],
            [_row(group, newest, other=group is newest.others) for group in groups],
            title=f"{table}: now, by {', '.join(newest.by)}",
        )


def _kind(run: Run) -> str:
    return f"{run.kind} (dry)" if run.summary.get("dry_run") else run.kind


def _row(group: Group, quality: Quality, *, other: bool) -> list[Any]:
    of = (
        ["others", *[""] * (len(quality.by) - 1)]
        if other
        else ["NULL" if value is None else value for value in group.of]
    )
    return [
        *of,
        group.rows,
        percent(group.rows - group.flagged, group.rows),
        *(group.rules.get(rule, 0) for rule in quality.rules),
    ]


def published(records: Mapping[str, Record]) -> dict[str, Quality]:
    """Read the quality of each published table that has one."""
    found = {name: from_json(record.provenance.get("quality")) for name, record in sorted(records.items())}
    return {name: quality for name, quality in found.items() if quality is not None}


def lines(found: Mapping[str, Quality]) -> Iterable[str]:
    """Write a line for each table."""
    return (f"quality: {name}: {quality.text()}" for name, quality in found.items())


__all__ = ["lines", "published", "show_trend"]
