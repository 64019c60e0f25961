"""Write comparisons as JSON, and two schemas as a unified diff, with a line for each column.

The columns of JSON are texts, because 100,000 objects would take most of the time.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from hven.plugins.schema_life.schema_comparison import NORMALIZERS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hven.plugins.schema_life.described_columns import ComparedSchema
    from hven.plugins.schema_life.schema_comparison import (
        ColumnGroupConflict,
        ComparisonGroup,
        SchemaComparison,
    )


def comparison_to_json(comparison: SchemaComparison) -> dict[str, Any]:
    """Return a comparison for JSON; its columns are written already.

    Parameters
    ----------
    comparison
        The comparison.
    """
    models = []
    for model in comparison.models:
        read_at = model.read_at.isoformat(timespec="seconds")
        models.append({"label": model.label, "columns": len(model.columns), "read": read_at, "fault": model.fault})
    texts = comparison.texts
    columns = list(map(orjson.Fragment, _write_columns(texts)))
    places = pc.binary_join_element_wise(texts["model"], ": ", texts["table"], ".", texts["name"], "").to_pylist()
    groups = []
    for group in comparison.groups:
        facts = {
            "key": group.key,
            "models": group.models,
            "missing": group.missing_models if comparison.lists_missing_models else [],
            "missing_count": group.missing_count,
            **_describe_absence(comparison, group),
            "columns": [columns[row] for row in group.rows.tolist()],
            "conflicts": [_describe_conflict(conflict, places) for conflict in group.conflicts],
        }
        groups.append(facts)
    return {
        "group": comparison.grouping,
        "models": models,
        "missing_listed": comparison.lists_missing_models,
        "groups": groups,
    }


def _describe_absence(comparison: SchemaComparison, group: ComparisonGroup) -> dict[str, str]:
    """Return the id and the note of the absence of columns; nothing if no model lacks them."""
    if not group.missing_count:
        return {}
    missing_id = comparison.compute_missing_id(group)
    return {"missing_id": missing_id, "missing_note": comparison.notes.get(missing_id, "")}


def _write_columns(texts: pa.Table) -> list[str]:
    """Write each column as a JSON object."""
    parts = []
    for name in texts.column_names:
        encoded = texts[name].combine_chunks().dictionary_encode()
        values = encoded.dictionary.to_pylist()
        if name == "choices":
            values = [dict(orjson.loads(text or "[]")) for text in values]
        written_texts = pa.array([f'"{name}":{orjson.dumps(value).decode()}' for value in values], pa.string())
        parts.append(written_texts.take(encoded.indices))
    columns: list[str] = pc.binary_join_element_wise("{", pc.binary_join_element_wise(*parts, ","), "}", "").to_pylist()
    return columns


def _describe_conflict(conflict: ColumnGroupConflict, places: Sequence[str]) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "id": conflict.id,
        "kind": conflict.kind,
        "values": [
            {"value": value.text, "columns": [places[row] for row in value.columns.rows.tolist()]}
            for value in conflict.values
        ],
        "note": conflict.note,
        "pair_notes": [{"values": pair, "note": note} for pair, note in conflict.pair_notes.items()],
    }
    if conflict.is_convertible is not None:
        facts["convertible"] = conflict.is_convertible
    return facts


def write_unified_diff(before: ComparedSchema, after: ComparedSchema) -> Iterator[str]:
    """Yield the lines of a unified diff; other spellings of units, types and UCDs are no difference.

    Parameters
    ----------
    before, after
        The schemas. If each has one table, its name does not matter.
    """
    has_tables = any(len({column.table for column in model.columns}) > 1 for model in (before, after))
    lines_before = _write_column_lines(before, has_tables=has_tables)
    lines_after = _write_column_lines(after, has_tables=has_tables)
    return difflib.unified_diff(lines_before, lines_after, before.label, after.label, lineterm="")


def _write_column_lines(model: ComparedSchema, *, has_tables: bool) -> list[str]:
    lines = []
    for column in model.columns:
        table = f"{column.table.rpartition('.')[2].lower()}." if has_tables else ""
        parts = [f"{table}{NORMALIZERS['name'](column.name)}: {column.type}"]
        for kind in ("unit", "ucd", "utype"):
            value = NORMALIZERS[kind](getattr(column, kind))
            if value:
                parts.append(f"{kind} {value}")
        if column.choices:
            parts.append("choices " + "; ".join(f"{code} = {label}" for code, label in sorted(column.choices)))
        if column.description:
            parts.append(f"'{column.description}'")
        lines.append(", ".join(parts))
    return sorted(lines)
