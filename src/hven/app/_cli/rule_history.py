"""Show how many rows break the rules that have a flag, for ``hven history NAME --rules`` and ``hven status``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hven.app._cli.context import format_time, print_json, print_table
from hven.ingest.quality import QualityFlagGroup, QualityFlagStatistics, format_percent, parse_flag_statistics
from hven.model.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hven.site.store import SnapshotRecord
    from hven.site.store.ingest_runs import IngestRun


def show_rule_trend(collection_name: str, runs: Sequence[IngestRun], max_runs: int, *, as_json: bool) -> None:
    """Show the last runs that counted flags, newest first, and the groups of the newest run.

    Raises
    ------
    NotFoundError
        No run has counted flags.
    """
    run_qualities = [(run, _read_run_flag_statistics(run)) for run in runs]
    run_qualities = [(run, tables) for run, tables in run_qualities if tables][:max_runs]
    if not run_qualities:
        raise NotFoundError(
            f"flags were not counted in any run of {collection_name}",
            remedy="add `flags` to the table and `flag: 0` to a rule, and then ingest the collection again",
        )
    if as_json:
        print_json([_run_flag_statistics_to_json(run, tables) for run, tables in run_qualities])
        return
    table_names: dict[str, None] = {}
    for _, tables in run_qualities:
        table_names |= dict.fromkeys(tables)
    for number, table_name in enumerate(table_names):
        if number:
            print()
        table_runs = [(run, tables[table_name]) for run, tables in run_qualities if table_name in tables]
        _show_table_flag_statistics(table_name, table_runs)


def _run_flag_statistics_to_json(run: IngestRun, tables: Mapping[str, QualityFlagStatistics]) -> dict[str, Any]:
    return {
        "run": run.id,
        "kind": run.kind,
        "started": run.started,
        "dry_run": bool(run.summary.get("dry_run")),
        "tables": {table: quality.to_json() for table, quality in tables.items()},
    }


def _read_run_flag_statistics(run: IngestRun) -> dict[str, QualityFlagStatistics]:
    quality_by_table = {}
    for name, table_summary in run.summary.get("tables", {}).items():
        quality = parse_flag_statistics(table_summary.get("quality"))
        if quality is not None:
            quality_by_table[name] = quality
    return quality_by_table


def _show_table_flag_statistics(
    table_name: str, run_qualities: Sequence[tuple[IngestRun, QualityFlagStatistics]]
) -> None:
    rules: dict[str, None] = {}
    for _, quality in run_qualities:
        rules |= dict.fromkeys(quality.rules)
    run_rows = []
    for run, quality in run_qualities:
        rule_counts = [quality.rules.get(rule) for rule in rules]
        run_rows.append(
            [format_time(run.started), _format_run_kind(run), quality.rows, quality.clean_share_text, *rule_counts]
        )
    print_table(
        ["started", "run", "rows", "no flag", *rules], run_rows, title=f"{table_name}: rows that break each rule"
    )
    newest = run_qualities[0][1]
    if newest.by:
        print()
        group_rows = [_build_quality_group_row(group, newest, list(group.of)) for group in newest.groups]
        if newest.others is not None:
            other_values = ["others", *[""] * (len(newest.by) - 1)]
            group_rows.append(_build_quality_group_row(newest.others, newest, other_values))
        headings = [*newest.by, "rows", "no flag", *newest.rules]
        print_table(headings, group_rows, title=f"{table_name}: newest run, by {', '.join(newest.by)}")


def _format_run_kind(run: IngestRun) -> str:
    if run.summary.get("dry_run"):
        return f"{run.kind} (dry)"
    return run.kind


def _build_quality_group_row(
    group: QualityFlagGroup, quality: QualityFlagStatistics, group_values: Sequence[Any]
) -> list[Any]:
    return [
        *("NULL" if value is None else value for value in group_values),
        group.rows,
        format_percent(group.rows - group.flagged, group.rows),
        *(group.rules.get(rule, 0) for rule in quality.rules),
    ]


def read_published_flag_statistics(records: Mapping[str, SnapshotRecord]) -> dict[str, QualityFlagStatistics]:
    """Read the statistics of flags of each published table that has them."""
    quality_by_table = {}
    for name, record in sorted(records.items()):
        quality = parse_flag_statistics(record.provenance.get("quality"))
        if quality is not None:
            quality_by_table[name] = quality
    return quality_by_table


def format_flag_statistics_lines(quality_by_table: Mapping[str, QualityFlagStatistics]) -> Iterable[str]:
    """Format a line for each table."""
    return (f"quality: {name}: {quality.format_text()}" for name, quality in quality_by_table.items())
