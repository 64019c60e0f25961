"""Write the line of a descriptor with which rows that were refused would be published."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hven.model.errors import TextPlace
    from hven.model.resource import TableSpec
    from hven.model.table import Column

MAX_NULL_WORDS, MAX_NULL_WORD_CHARACTERS = 3, 40  # that a line proposes
# rules about a column; a source that cannot read a value writes the reason in their place
COLUMN_RULES = {"empty", "enum", "length", "range", "required", "sphere", "type"}
# kinds of sources in which a descriptor can declare the words that mark missing values
NULL_WORD_KINDS = {"csv", "fixed"}


def write_mending_line(spec: TableSpec, rule: str, offenders: Sequence[Mapping[str, Any]]) -> str:
    """Write the line that accepts rows which broke a rule, and where it belongs. Empty: the data must be corrected.

    Parameters
    ----------
    spec
        The table of the present descriptor.
    rule
        Name of the rule, as `hven.ingest` reports it: ``vmag: required``, the name of a rule of the descriptor, or
        ``vmag: not a number`` if the source cannot read the value.
    offenders
        The first rows that broke it, from the report of a run.
    """
    column_name, _, kind = rule.rpartition(": ")
    column = next((column for column in spec.table.columns if column.name == column_name), None)
    values = [str(offender["value"]) for offender in offenders if offender.get("value") is not None]
    if column is None or kind not in COLUMN_RULES:
        is_unreadable = any(rule.startswith(f"{offender.get('column')}: ") for offender in offenders)
        return _write_rule_line(spec, rule) or (_write_null_line(spec, values) if is_unreadable else "")
    if kind == "type" and (null_line := _write_null_line(spec, values)):
        return null_line
    column_lines = {"required": "required: false", "length": "type: string", "type": "type: string"}
    if kind == "range":
        line = _write_bounds_line(column, values)
    else:
        line = column_lines.get(kind, "")
    if line:
        return _format_line(line, f"the column {column_name}", spec.column_places.get(column_name))
    return ""


def _write_null_line(spec: TableSpec, values: Iterable[str]) -> str:
    """Write the line by which words mark missing values; empty: the source has no such option, or has it already."""
    source = next((source for source in spec.sources if source.kind in NULL_WORD_KINDS), None)
    short_words = [word for word in dict.fromkeys(values) if len(word) <= MAX_NULL_WORD_CHARACTERS]
    words = [word for word in short_words if word.isprintable()][:MAX_NULL_WORDS]
    if source is None or not words or "null" in source.options:
        return ""
    line = f"null: {json.dumps(words, ensure_ascii=False)}"
    return _format_line(line, "the source, if such a value means that there is none", source.place)


def _write_rule_line(spec: TableSpec, name: str) -> str:
    """Write the line for a rule of the descriptor; that of a standard cannot be changed there."""
    for rule in spec.rules:
        if rule.place.file == spec.place.file and name in {rule.name, *(f"{rule.name}: {c}" for c in rule.columns)}:
            return _format_line("severity: warning", f"the rule {rule.name}", rule.place)
    return ""


def _write_bounds_line(column: Column, values: Iterable[str]) -> str:
    """Write the bound that also admits some values; empty: no number is known."""
    numbers = [number for number in map(_parse_number, values) if math.isfinite(number)]
    low, high = min(numbers, default=math.nan), max(numbers, default=math.nan)
    lines = []
    if column.minimum is not None and low < column.minimum:
        lines.append(f"minimum: {low:.15g}")
    if column.maximum is not None and high > column.maximum:
        lines.append(f"maximum: {high:.15g}")
    return ", ".join(lines)


def _parse_number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _format_line(line: str, owner: str, place: TextPlace | None) -> str:
    location = ""
    if place is not None and place.file:
        location = f" ({Path(place.file).name}:{place.line})" if place.line else f" ({Path(place.file).name})"
    return f"to publish them, write `{line}` in {owner}{location}"
