"""What the flags of a table say, for people: how many rows break each rule, by what they are counted by, and how that was in earlier publications."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hven.ingest.quality import from_json, percent
from hven.site.auth import row_filters

if TYPE_CHECKING:
    from hven.ingest.quality import Group, Quality
    from hven.model.table import Table
    from hven.portal._views.page_formats import Asked
    from hven.site.store.runs import Run

RUNS = 20  # publications that a trend shows


def validity(table: Table, state: Asked) -> dict[str, Any] | None:
    """Count; None if nothing is flagged, or if the reader sees some rows only: the counts are of all."""
    item = state.holdings.published[table.qualified]
    if item.resource is None or row_filters([table], state.who, state.around.policies):
        return None
    now = from_json(item.provenance.get("quality"))
    if now is None:
        return None
    store = state.around.site.store
    published = {one.run for one in store.history(table.schema)}
    counted = [(run, _of(run, table)) for run in store.runs.of(table.schema) if run.id in published]
    known = [(run, quality) for run, quality in counted if quality is not None]
    spec = next((one for one in item.resource.tables if one.table.name == table.name), None)
    rules = {rule.name: rule for rule in spec.rules} if spec is not None else {}
    return {
        "rows": now.rows,
        "valid": now.rows - now.flagged,
        "share": now.clean,
        "rules": [
            {
                "name": name,
                "bit": bit,
                "severity": rules[name].severity if name in rules else None,
                "message": rules[name].message if name in rules else None,
                "rows": now.rules.get(name, 0),
            }
            for name, bit in now.bits.items()
        ],
        "by": list(now.by),
        "groups": [_group(one, now) for one in now.groups],
        "trend": [
            {
                "published": run.ended or run.started,
                "run": run.id,
                "rows": one.rows,
                "share": one.clean,
                "rules": one.rules,
            }
            for run, one in known[:RUNS]
        ],
    }


def _of(run: Run, table: Table) -> Quality | None:
    tables = run.summary.get("tables", {})
    return from_json((tables.get(table.qualified) or tables.get(table.name) or {}).get("quality"))


def _group(one: Group, now: Quality) -> dict[str, Any]:
    return {
        "of": one.of,
        "rows": one.rows,
        "share": percent(one.rows - one.flagged, one.rows),
        "rules": {name: one.rules.get(name, 0) for name in now.bits},
    }


__all__ = ["RUNS", "validity"]
