"""Write how two schemas differ as a unified diff, with a line for each column, for people who review changes."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from hven.plugins.schema_life.schema_comparison import NORMALIZERS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hven.plugins.schema_life.described_columns import ComparedSchema


def write_unified_diff(before: ComparedSchema, after: ComparedSchema) -> Iterator[str]:
    """Yield the lines of a unified diff; other spellings of units, types and UCDs are no difference.

    Parameters
    ----------
    before, after
        The schemas. If each has one table, its name does not matter.
    """
    has_tables = any(len({column.table for column in model.columns}) > 1 for model in (before, after))
    lines_before = _write_columns(before, has_tables=has_tables)
    lines_after = _write_columns(after, has_tables=has_tables)
    return difflib.unified_diff(lines_before, lines_after, before.label, after.label, lineterm="")


def _write_columns(model: ComparedSchema, *, has_tables: bool) -> list[str]:
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
