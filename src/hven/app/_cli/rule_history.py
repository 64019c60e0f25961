"""``hven history NAME --rules`` and the lines of ``hven status``.

How many rows break the rules that have a flag, run by run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hven.app._cli.context import format_time, show_json, show_table
from hven.ingest.quality import FlagStatistics, QualityGroup, format_percent, quality_from_json
from hven.model.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hven.site.store import SnapshotRecord
    from hven.site.store.ingest_runs import IngestRun


def show_trend(name: str, runs: Sequence[IngestRun], max_runs: int, *, as_json: bool) -> None:
    """Show the last runs that counted flags, the newest first, and the groups of the newest one.

    Raises
    ------
    NotFoundError
        No run counted any.
    """
    run_qualities = [(run, _read_run_quality(run)) for run in runs]
    run_qualities = [(run, tables) for run, tables in run_qualities if tables][:max_runs]
    if not run_qualities:
        raise NotFoundError(
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
                for run, tables in run_qualities
            ]
        )
        return
    for number, table in enumerate(dict.fromkeys(table for _, tables in run_qualities for table in tables)):
        if number:
            print()
        _show_table(table, [(run, tables[table]) for run, tables in run_qualities if table in tables])


def _read_run_quality(run: IngestRun) -> dict[str, FlagStatistics]:
    quality_by_table = {
        name: quality_from_json(table.get("quality")) for name, table in run.summary.get("tables", {}).items()
    }
    return {name: quality for name, quality in quality_by_table.items() if quality is not None}


def _show_table(table: str, run_qualities: Sequence[tuple[IngestRun, FlagStatistics]]) -> None:
    newest = run_qualities[0][1]
    rules = list(dict.fromkeys(rule for _, quality in run_qualities for rule in quality.rules))
    show_table(
        ["started", "run", "rows", "no flag", *rules],
        [
            [
                format_time(run.started),
                _format_run_kind(run),
                run_quality.rows,
                run_quality.clean_share_text,
                *(run_quality.rules.get(rule) for rule in rules),
            ]
            for run, run_quality in run_qualities
        ],
        title=f"{table}: rows that break each rule",
    )
    if newest.by:
        print()
        groups = [*newest.groups, *([newest.others] if newest.others is not None else [])]
        show_table(
            [*newest.by, "rows", "no flag", *newest.rules],
            [_build_group_row(group, newest, is_other=group is newest.others) for group in groups],
            title=f"{table}: now, by {', '.join(newest.by)}",
        )


def _format_run_kind(run: IngestRun) -> str:
    if run.summary.get("dry_run"):
        return f"{run.kind} (dry)"
    return run.kind


def _build_group_row(group: QualityGroup, quality: FlagStatistics, *, is_other: bool) -> list[Any]:
    if is_other:
        group_values = ["others", *[""] * (len(quality.by) - 1)]
    else:
        group_values = ["NULL" if value is None else value for value in group.of]
    return [
        *group_values,
        group.rows,
        format_percent(group.rows - group.flagged, group.rows),
        *(group.rules.get(rule, 0) for rule in quality.rules),
    ]


def read_published_quality(records: Mapping[str, SnapshotRecord]) -> dict[str, FlagStatistics]:
    """Read the quality of each published table that has one."""
    quality_by_table = {
        name: quality_from_json(record.provenance.get("quality")) for name, record in sorted(records.items())
    }
    return {name: quality for name, quality in quality_by_table.items() if quality is not None}


def format_quality_lines(quality_by_table: Mapping[str, FlagStatistics]) -> Iterable[str]:
    """Write a line for each table."""
    return (f"quality: {name}: {quality.format_text()}" for name, quality in quality_by_table.items())


__all__ = ["format_quality_lines", "read_published_quality", "show_trend"]
