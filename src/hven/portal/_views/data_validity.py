"""Describe the quality flags of a table for its page.

The description has the number of rows that break each rule, in all and by group, and their history.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hven.ingest.quality import format_percent, parse_flag_statistics
from hven.site.auth import collect_row_filters

if TYPE_CHECKING:
    from hven.ingest.quality import QualityFlagGroup, QualityFlagStatistics
    from hven.model.table import Table
    from hven.portal._views.page_formats import PageContext
    from hven.site.store.ingest_runs import IngestRun

MAX_TREND_RUNS = 20  # publications that a trend shows


def describe_quality_flags(table: Table, page_context: PageContext) -> dict[str, Any] | None:
    """Describe the flags of a table.

    Return None if nothing is flagged, or if the reader sees only some of the rows: the counts are of all rows.
    """
    item = page_context.published_state.tables_by_name[table.qualified_name]
    policies = page_context.context.policies
    if item.resource is None or collect_row_filters([table], page_context.principal, policies):
        return None
    current_quality = parse_flag_statistics(item.provenance.get("quality"))
    if current_quality is None:
        return None
    store = page_context.context.site.store
    published_runs = {event.run for event in store.list_publication_events(table.schema)}
    runs = [run for run in store.runs.list_runs(table.schema) if run.id in published_runs]
    run_qualities = [(run, _read_run_flag_statistics(run, table)) for run in runs]
    known_qualities = [(run, quality) for run, quality in run_qualities if quality is not None]
    table_spec = next((spec for spec in item.resource.tables if spec.table.name == table.name), None)
    rules = {} if table_spec is None else {rule.name: rule for rule in table_spec.rules}
    return {
        "rows": current_quality.rows,
        "valid": current_quality.rows - current_quality.flagged,
        "share": current_quality.clean_share_text,
        "rules": [
            {
                "name": name,
                "bit": bit,
                "severity": rules[name].severity if name in rules else None,
                "message": rules[name].message if name in rules else None,
                "rows": current_quality.rules.get(name, 0),
            }
            for name, bit in current_quality.bits.items()
        ],
        "by": list(current_quality.by),
        "groups": [_quality_group_to_json(group, current_quality) for group in current_quality.groups],
        "trend": [
            {
                "published": run.ended or run.started,
                "run": run.id,
                "rows": earlier_quality.rows,
                "share": earlier_quality.clean_share_text,
                "rules": earlier_quality.rules,
            }
            for run, earlier_quality in known_qualities[:MAX_TREND_RUNS]
        ],
    }


def _read_run_flag_statistics(run: IngestRun, table: Table) -> QualityFlagStatistics | None:
    tables = run.summary.get("tables", {})
    table_summary = tables.get(table.qualified_name) or tables.get(table.name) or {}
    return parse_flag_statistics(table_summary.get("quality"))


def _quality_group_to_json(quality_group: QualityFlagGroup, current_quality: QualityFlagStatistics) -> dict[str, Any]:
    return {
        "of": quality_group.of,
        "rows": quality_group.rows,
        "share": format_percent(quality_group.rows - quality_group.flagged, quality_group.rows),
        "rules": {name: quality_group.rules.get(name, 0) for name in current_quality.bits},
    }


__all__ = ["MAX_TREND_RUNS", "describe_quality_flags"]
