"""Write JSON: the metadata of the columns, then the rows as lists, then the status."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from hven.formats import TableFormat
from hven.formats._json_cells import write_json_cells, write_json_document, write_json_error
from hven.model import literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import pyarrow as pa

    from hven.formats import InfoElement, ResultStatus, TableMetadata
    from hven.model.table import Column
    from hven.model.types import ColumnType


def write_json(
    metadata: TableMetadata,
    batches: Iterator[pa.RecordBatch],
    finish: Callable[[], ResultStatus],
    options: Mapping[str, str],  # noqa: ARG001
) -> Iterator[bytes]:
    """Write ``{"metadata": [...], "data": [[...], ...], "status": "OK"}``.

    NaN and infinities become null, for JSON cannot express them. Timestamps are DALI text; arrays are flat lists. If
    MAXREC cut rows off, the status is ``"OVERFLOW"``. A late error makes ``"status": "ERROR"`` with its ``"message"``
    and is then raised: the server must not end the document as if it were complete.
    """
    kinds = [column.type for column in metadata.columns]
    start = _write_document_start(metadata)
    yield from write_json_document(
        start, batches, len(kinds), lambda part: _write_rows(part, kinds), finish, separator_bytes=1
    )


def _write_document_start(metadata: TableMetadata) -> bytes:
    members: dict[str, Any] = {}
    if metadata.name:
        members["name"] = metadata.name
    if metadata.description:
        members["description"] = metadata.description
    if metadata.infos:
        members["info"] = [_info_to_json(info) for info in metadata.infos]
    members["metadata"] = [_column_to_json(column) for column in metadata.columns]
    return json.dumps(members, ensure_ascii=False)[:-1].encode() + b',\n"data": ['


def _info_to_json(info: InfoElement) -> dict[str, str]:
    members = {"name": info.name, "value": info.value}
    if info.content:
        members["content"] = info.content
    return members


def _column_to_json(column: Column) -> dict[str, str]:
    kind = column.type
    column_properties = {
        "name": column.name,
        "datatype": kind.datatype,
        "arraysize": kind.arraysize,
        "xtype": kind.xtype,
        "unit": column.unit,
        "ucd": column.ucd,
        "utype": column.utype,
        "description": column.description,
    }
    return {name: value for name, value in column_properties.items() if value}


def _write_rows(part: pa.RecordBatch, kinds: list[ColumnType]) -> pa.Array:
    cell_texts = []
    for number, kind in enumerate(kinds):
        values = literal.cast_to_storage_type(part.column(number), kind)
        cell_texts.append(write_json_cells(values, kind))
    return literal.concat_text_columns(",\n[", literal.concat_text_columns(*cell_texts, separator=","), "]")


FORMAT = TableFormat(
    name="json",
    menu_rank=5,
    media_types=("application/json",),
    extension="json",
    write=write_json,
    write_error=write_json_error,
)
