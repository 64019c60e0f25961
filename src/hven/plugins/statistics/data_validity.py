"""Describe the quality flags of a table for its page.

The description has the number of rows that break each rule, in all and by group, and their history.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hven.ingest.api.quality import format_percent, parse_flag_statistics
from hven.site.auth import collect_row_filters

if TYPE_CHECKING:
    from hven.ingest.api.quality import QualityFlagGroup, QualityFlagStatistics
    from hven.model.resource import CollectionSpec
    from hven.model.table import Table
    from hven.portal.api.pages import PageContext
    from hven.site.store import IngestRun

MAX_TREND_RUNS = 20  # publications that a trend shows


def describe_quality_flags(table: Table, page_context: PageContext) -> dict[str, Any] | None:
    """Describe the flags of a table.

    Return None if nothing is flagged, or if the reader sees only some of the rows: the counts are of all rows.
    """
    published_table = page_context.published_state.tables_by_name[table.qualified_name]
    policies = page_context.context.policies
    resource = published_table.resource
    if resource is None or collect_row_filters([table], page_context.principal, policies):
        return None
    current_quality = parse_flag_statistics(published_table.provenance.get("quality"))
    if current_quality is None:
        return None
    store = page_context.context.site.store
    publication_events = store.list_publication_events(table.schema)
    published_run_ids = {event.run for event in publication_events}
    runs = store.runs.list_runs(table.schema)
    published_runs = [run for run in runs if run.id in published_run_ids]
    group_facts = [_quality_group_to_json(group, current_quality) for group in current_quality.groups]
    return {
        "rows": current_quality.rows,
        "valid": current_quality.rows - current_quality.flagged,
        "share": current_quality.clean_share_text,
        "rules": _describe_quality_rules(resource, table, current_quality),
        "by": list(current_quality.by),
        "groups": group_facts,
        "trend": _describe_quality_trend(published_runs, table),
    }


def _describe_quality_rules(
    resource: CollectionSpec, table: Table, current_quality: QualityFlagStatistics
) -> list[dict[str, Any]]:
    """Describe each rule that has a bit: its severity, its message and the number of rows that break it."""
    rules_by_name = {}
    for table_spec in resource.tables:
        if table_spec.table.name == table.name:
            rules_by_name = {rule.name: rule for rule in table_spec.rules}
            break
    rule_facts = []
    for name, bit in current_quality.bits.items():
        rule = rules_by_name.get(name)
        facts = {
            "name": name,
            "bit": bit,
            "severity": None if rule is None else rule.severity,
            "message": None if rule is None else rule.message,
            "rows": current_quality.rules.get(name, 0),
        }
        rule_facts.append(facts)
    return rule_facts


def _describe_quality_trend(published_runs: list[IngestRun], table: Table) -> list[dict[str, Any]]:
    """Describe the flags of the publications that recorded them, at most ``MAX_TREND_RUNS``."""
    trend: list[dict[str, Any]] = []
    for run in published_runs:
        earlier_quality = _read_run_flag_statistics(run, table)
        if earlier_quality is None:
            continue
        run_facts = {
            "published": run.ended or run.started,
            "run": run.id,
            "rows": earlier_quality.rows,
            "share": earlier_quality.clean_share_text,
            "rules": earlier_quality.rules,
        }
        trend.append(run_facts)
    return trend[:MAX_TREND_RUNS]


def _read_run_flag_statistics(run: IngestRun, table: Table) -> QualityFlagStatistics | None:
    tables = run.summary.get("tables", {})
    table_summary = tables.get(table.qualified_name) or tables.get(table.name) or {}
    return parse_flag_statistics(table_summary.get("quality"))


def _quality_group_to_json(quality_group: QualityFlagGroup, current_quality: QualityFlagStatistics) -> dict[str, Any]:
    clean_rows = quality_group.rows - quality_group.flagged
    broken_rows_by_rule = {name: quality_group.rules.get(name, 0) for name in current_quality.bits}
    return {
        "of": quality_group.of,
        "rows": quality_group.rows,
        "share": format_percent(clean_rows, quality_group.rows),
        "rules": broken_rows_by_rule,
    }
