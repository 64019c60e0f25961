"""Compare two answers: status, columns, number of rows, and values in any order of the rows."""

from __future__ import annotations

import io
import math
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pyarrow as pa

from hven.formats import votable
from hven.model.errors import HvenError

if TYPE_CHECKING:
    from hven.sources.http_client import HttpAnswer

SHOWN_NAMES = 8
FLOAT32_DIGITS, FLOAT64_DIGITS = 6, 12  # significant digits in which values must agree
RECORDS_KEY, TOTAL_KEY = "data", "total"  # of pages of SITools2
TEXT_TYPES = ("text/csv", "text/tab-separated-values", "text/plain")


def compare_answers(old: HttpAnswer, new: HttpAnswer) -> str:
    """Say in which way a new answer differs from an old one; empty: in none that matters.

    Parameters
    ----------
    old, new
        The answers.
    """
    if old.status != new.status:
        return f"status {new.status} instead of {old.status}"
    if old.status >= 400 or old.body == new.body:
        return ""
    old_table, new_table = _parse_votable_table(old.body), _parse_votable_table(new.body)
    if old_table is not None and new_table is not None:
        return compare_tables(old_table, new_table)
    if (old_table is None) != (new_table is None):
        return "one of the answers is a VOTable, and the other is not"
    return _compare_documents(old, new)


def _compare_documents(old: HttpAnswer, new: HttpAnswer) -> str:
    """Compare answers that are no VOTables."""
    old_type, new_type = (answer.headers.get("content-type", "").partition(";")[0] for answer in (old, new))
    if old_type.startswith(TEXT_TYPES) and new_type.startswith(TEXT_TYPES):
        return _compare_lines(old.body, new.body)
    difference = _compare_record_pages(old.body, new.body)
    if difference is not None:
        return difference
    if old_type != new_type:
        return f"the media type {new_type or 'none'} instead of {old_type or 'none'}"
    return f"other content: {len(new.body):,} bytes instead of {len(old.body):,}"


def _parse_votable_table(body: bytes) -> pa.Table | None:
    """Read a VOTable; return None for other documents."""
    if b"VOTABLE" not in body[:2000]:
        return None
    try:
        stream = votable.read_votable(io.BytesIO(body))
        batches = list(stream.batches)
        names = [column.name for column in stream.metadata.columns]
        if not batches:
            return pa.table({name: pa.nulls(0) for name in names})
        return pa.Table.from_batches(batches)
    except (HvenError, pa.ArrowException):
        return None


def compare_tables(old: pa.Table, new: pa.Table) -> str:
    """Say in which way a new table differs from an old one. Names of columns may differ in case.

    Parameters
    ----------
    old, new
        The tables.
    """
    old_names, new_names = ({name.lower(): name for name in table.column_names} for table in (old, new))
    missing, added = old_names.keys() - new_names.keys(), new_names.keys() - old_names.keys()
    if missing:
        return f"without the columns {_join_names(missing)}"
    if old.num_rows != new.num_rows:
        return f"{new.num_rows:,} rows instead of {old.num_rows:,}"
    common = sorted(old_names)
    pairs = [(old.column(old_names[name]), new.column(new_names[name])) for name in common]
    differing = [name for name, (first, second) in zip(common, pairs, strict=True) if _count_differences(first, second)]
    if differing:
        return f"other values in the columns {_join_names(differing)}"
    if common and not added and Counter(_list_comparable_rows(pairs, 0)) != Counter(_list_comparable_rows(pairs, 1)):
        return "the same values in other rows"
    if added:
        return f"additional columns {_join_names(added)}"
    return ""


def _join_names(names: object) -> str:
    ordered = sorted(names)  # type: ignore[call-overload]
    suffix = ""
    if len(ordered) > SHOWN_NAMES:
        suffix = f" and {len(ordered) - SHOWN_NAMES} more"
    return ", ".join(ordered[:SHOWN_NAMES]) + suffix


def _count_differences(first: pa.ChunkedArray, second: pa.ChunkedArray) -> int:
    """Count the values of two columns that differ, in any order of the rows."""
    texts = _format_comparable_values(first, second)
    return (Counter(texts[0]) - Counter(texts[1])).total()


def _list_comparable_rows(pairs: list[tuple[pa.ChunkedArray, pa.ChunkedArray]], side: int) -> list[tuple[str, ...]]:
    columns = [_format_comparable_values(*pair)[side] for pair in pairs]
    return list(zip(*columns, strict=True))


def _format_comparable_values(first: pa.ChunkedArray, second: pa.ChunkedArray) -> tuple[list[str], list[str]]:
    """Write the values of two columns as texts that are equal if the values agree.

    Whole numbers must agree in all digits: the last one of a 64-bit identifier matters.
    """
    has_numbers = all(
        pa.types.is_floating(column.type) or pa.types.is_integer(column.type) for column in (first, second)
    )
    if not has_numbers:
        return _format_text_values(first), _format_text_values(second)
    has_float32 = any(pa.types.is_float32(column.type) for column in (first, second))
    has_integers = any(pa.types.is_integer(column.type) for column in (first, second))
    if has_integers and not has_float32:
        return _format_integer_values(first), _format_integer_values(second)
    digits = FLOAT32_DIGITS if has_float32 else FLOAT64_DIGITS
    return _format_number_values(first, digits), _format_number_values(second, digits)


def _format_text_values(column: pa.ChunkedArray) -> list[str]:
    return ["" if value is None else str(value).strip() for value in column.to_pylist()]


def _format_integer_values(column: pa.ChunkedArray) -> list[str]:
    """Write whole numbers exactly. If they are in a column of floats, other numbers may stand beside them."""
    texts = []
    for value in column.to_pylist():
        if value is None or math.isnan(value):
            texts.append("")
        elif math.isfinite(value) and value == int(value):
            texts.append(str(int(value)))
        else:
            texts.append(f"{value:.{FLOAT64_DIGITS}g}")
    return texts


def _format_number_values(column: pa.ChunkedArray, digits: int) -> list[str]:
    values = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return [f"{value:.{digits}g}" for value in np.asarray(values, dtype=np.float64) + 0.0]


def _compare_lines(old: bytes, new: bytes) -> str:
    """Compare texts line by line, in any order."""
    old_lines, new_lines = (Counter(text.strip() for text in body.splitlines()) for body in (old, new))
    missing, added = (old_lines - new_lines).total(), (new_lines - old_lines).total()
    if missing or added:
        return f"{missing:,} lines are missing, and {added:,} are new"
    return ""


def _compare_record_pages(old: bytes, new: bytes) -> str | None:
    """Compare the records in two pages of JSON, in any order, and their totals; None: they are no such pages."""
    pages = []
    for body in (old, new):
        try:
            page = orjson.loads(body)
        except orjson.JSONDecodeError:
            return None
        records = None
        if isinstance(page, dict):
            records = page.get(RECORDS_KEY, [])
        if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
            return None
        if not page.keys() & {RECORDS_KEY, TOTAL_KEY}:
            return None
        pages.append((page.get(TOTAL_KEY), Counter(map(_format_record, records))))
    (old_total, old_records), (new_total, new_records) = pages
    if None not in {old_total, new_total} and old_total != new_total:
        return f"a total of {new_total} instead of {old_total}"
    missing, added = (old_records - new_records).total(), (new_records - old_records).total()
    if missing or added:
        return f"{missing:,} records are missing, and {added:,} are new"
    return ""


def _format_record(record: dict[str, Any]) -> str:
    """Write a record as a text that is equal if the values agree; a missing value is as good as none."""
    values = {}
    for name, value in record.items():
        if isinstance(value, float):
            values[name] = f"{value:.{FLOAT64_DIGITS}g}"
        elif value is not None and value != "":
            values[name] = str(value).strip()
    return repr(sorted(values.items()))
