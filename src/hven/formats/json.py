"""JSON: what the columns are, then the rows as lists, then how it ended."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from hven.formats import Format
from hven.formats._json_cells import cells, document
from hven.model import literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import pyarrow as pa

    from hven.formats import End, Head
    from hven.model.table import Column
    from hven.model.types import Type


def write(
    head: Head,
    batches: Iterator[pa.RecordBatch],
    end: Callable[[], End],
    options: Mapping[str, str],  # noqa: ARG001
) -> Iterator[bytes]:
    """Write ``{"metadata": [...], "data": [[...], ...], "status": "OK"}``.

    NaN and infinities become null (JSON has no word for them); timestamps are DALI text; arrays are flat lists.
    Rows that MAXREC cut off make ``"status": "OVERFLOW"``. A late error makes ``"status": "ERROR"`` with its ``"message"``, for people,
    and is raised then: whoever sends the document must not end it as if it were whole.
    """
    kinds = [column.type for column in head.columns]
    yield from document(_start(head), batches, len(kinds), lambda part: _rows(part, kinds), end, between=1)


def _start(head: Head) -> bytes:
    about: dict[str, Any] = {}
    if head.name:
        about["name"] = head.name
    if head.description:
        about["description"] = head.description
    if head.infos:
        about["info"] = [
            {"name": item.name, "value": item.value, **({"content": item.content} if item.content else {})}
            for item in head.infos
        ]
    about["metadata"] = [_column(column) for column in head.columns]
    return json.dumps(about, ensure_ascii=False)[:-1].encode() + b',\n"data": ['


def _column(column: Column) -> dict[str, str]:
    kind = column.type
    said = {
        "name": column.name,
        "datatype": kind.datatype,
        "arraysize": kind.arraysize,
        "xtype": kind.xtype,
        "unit": column.unit,
        "ucd": column.ucd,
        "utype": column.utype,
        "description": column.description,
    }
    return {name: value for name, value in said.items() if value}


def _rows(part: pa.RecordBatch, kinds: list[Type]) -> pa.Array:
    shown = [cells(literal.storage(part.column(number), kind), kind) for number, kind in enumerate(kinds)]
    return literal.joined(",\n[", literal.joined(*shown, between=","), "]")


def write_error(message: str) -> bytes:
    """Write an error document."""
    return json.dumps({"status": "ERROR", "message": message}, ensure_ascii=False).encode() + b"\n"


FORMAT = Format(
    name="json", menu_rank=5, media_types=("application/json",), extension="json", write=write, write_error=write_error
)
