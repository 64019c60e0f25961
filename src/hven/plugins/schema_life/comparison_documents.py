"""Write a comparison as JSON. Its texts are joined, because objects for 100,000 columns would take most of the time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from hven.plugins.schema_life.described_columns import TEXT_NAMES

if TYPE_CHECKING:
    from hven.plugins.schema_life.described_columns import ColumnTexts
    from hven.plugins.schema_life.schema_comparison import (
        ColumnGroupConflict,
        ComparisonGroup,
        SchemaComparison,
    )


def comparison_to_json(comparison: SchemaComparison) -> dict[str, Any]:
    """Return a comparison for JSON; the groups are written already.

    Parameters
    ----------
    comparison
        The comparison.
    """
    models = []
    for model in comparison.models:
        read_at = model.read_at.isoformat(timespec="seconds")
        models.append({"label": model.label, "columns": len(model.columns), "read": read_at, "fault": model.fault})
    columns, places = _write_column_objects_and_places(comparison.texts)
    groups = []
    lists_missing_models = comparison.lists_missing_models
    for group in comparison.groups:
        conflicts = ",".join(_write_conflict_json(conflict, places) for conflict in group.conflicts)
        groups.append(
            f'{{"key":{_encode_json_text(group.key)},"models":{_encode_json_text(group.models)},'
            f'"missing":{_encode_json_text(group.missing_models if lists_missing_models else [])},'
            f'"missing_count":{group.missing_count},{_write_absence(comparison, group)}'
            f'"columns":[{",".join([columns[row] for row in group.rows.tolist()])}],"conflicts":[{conflicts}]}}'
        )
    return {
        "group": comparison.grouping,
        "models": models,
        "missing_listed": lists_missing_models,
        "groups": orjson.Fragment(f"[{','.join(groups)}]"),
    }


def _write_absence(comparison: SchemaComparison, group: ComparisonGroup) -> str:
    """Write the id and the note of the absence of columns; empty if no model lacks them."""
    if not group.missing_count:
        return ""
    missing_id = comparison.compute_missing_id(group)
    note = _encode_json_text(comparison.notes.get(missing_id, ""))
    return f'"missing_id":{_encode_json_text(missing_id)},"missing_note":{note},'


def _encode_json_text(value: object) -> str:
    return orjson.dumps(value).decode()


def _write_column_objects_and_places(texts: ColumnTexts) -> tuple[list[str], list[str]]:
    """Write each column as a JSON object, and its place as a JSON text."""
    parts = {}
    for name, array in texts.arrays.items():
        encoded = array.dictionary_encode()
        written_texts = [_encode_json_text(text)[1:-1] for text in encoded.dictionary.to_pylist()]
        if name == "choices":
            written_texts = [
                _encode_json_text(dict(orjson.loads(text or "[]"))) for text in encoded.dictionary.to_pylist()
            ]
        parts[name] = pa.array(written_texts, pa.string()).take(encoded.indices)
    fields = [item for name in TEXT_NAMES for item in (f'"{name}":"', parts[name], '",')]
    columns = pc.binary_join_element_wise("{", *fields, '"choices":', parts["choices"], "}", "")
    places = pc.binary_join_element_wise('"', parts["model"], ": ", parts["table"], ".", parts["name"], '"', "")
    return columns.to_pylist(), places.to_pylist()


def _write_conflict_json(conflict: ColumnGroupConflict, places: list[str]) -> str:
    places_of_columns = [places[row] for row in conflict.columns.rows.tolist()]
    values = []
    begin = 0
    for text, count in zip(conflict.texts, conflict.counts, strict=True):
        values.append(
            f'{{"value":{_encode_json_text(text)},"columns":[{",".join(places_of_columns[begin : begin + count])}]}}'
        )
        begin += count
    convertible = ""
    if conflict.is_convertible is not None:
        convertible = f',"convertible":{_encode_json_text(conflict.is_convertible)}'
    pair_notes = [{"values": list(pair), "note": note} for pair, note in conflict.pair_notes.items()]
    return (
        f'{{"id":"{conflict.id}","kind":"{conflict.kind}","values":[{",".join(values)}],'
        f'"note":{_encode_json_text(conflict.note)},"pair_notes":{_encode_json_text(pair_notes)}{convertible}}}'
    )
