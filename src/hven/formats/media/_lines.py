"""Parquet and delimited text as tables of files: read where samples stand in them; no other face looks into these as it does into media."""

from __future__ import annotations

import gzip
import re
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hven.formats.media._product import MISSING, Product, Rows
from hven.model.errors import SourceError, say
from hven.model.table import Column
from hven.model.types import from_arrow

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from hven.formats.media._distant import Place
    from hven.formats.media._product import Instants

ENDINGS = re.compile(r"(?i).*\.(?:(parquet|pq)|(?:csv|tsv|txt|dat)(\.gz)?)")
BLOCK = 4 << 20
MARKS = (";", ",", "\t", "|")
_NUMBER = re.compile(rb"\s*[-+.\d][\d.eE+:TZ -]*\s*")


def open_lines(path: Place, name: str) -> Product | None:
    """Open a table.

    Parameters
    ----------
    path
        Of a file.
    name
        By which readers know it.

    Returns
    -------
    product
        Of one part, the table; None: its name ends otherwise.

    Raises
    ------
    SourceError
        It is none, or damaged.
    """
    match = ENDINGS.fullmatch(name)
    if match is None:
        return None
    try:
        return _parquet(path) if match[1] else _delimited(path, packed=match[2] is not None)
    except (pa.ArrowException, OSError, EOFError, UnicodeDecodeError) as fault:
        raise _damaged(name, fault) from None


def _damaged(name: str, fault: Exception) -> SourceError:
    return SourceError(say("{name} is damaged: {reason}", name, " ".join(str(fault).split())[:200]))


def _parquet(path: Place) -> Product:
    from pyarrow import parquet  # noqa: PLC0415  (asked by few)

    stream = path.open("rb")
    file = parquet.ParquetFile(stream)
    starts = [0]
    for group in range(file.num_row_groups):
        starts.append(starts[-1] + file.metadata.row_group(group).num_rows)

    def rows(names: Collection[str] | None) -> Rows:
        fields = [one for one in file.schema_arrow if (names is None or one.name in names) and _plain(one.type)]
        columns = tuple(_column(one) for one in fields)
        schema = pa.schema([one.arrow for one in columns])

        def batches(start: int, most: int) -> Iterator[pa.RecordBatch]:
            stop = min(start + most, starts[-1])
            groups = [at for at in range(file.num_row_groups) if starts[at] < stop and starts[at + 1] > start]
            at = starts[groups[0]] if groups else 0
            try:
                # what is behind the last row is not decoded
                for batch in file.iter_batches(max(min(stop - at, 65_536), 1), row_groups=groups, columns=schema.names):
                    piece = batch.slice(max(0, start - at), max(0, min(stop, at + batch.num_rows) - max(start, at)))
                    at += batch.num_rows
                    if piece.num_rows:
                        arrays = [_shaped(piece.column(one.name), one.type) for one in schema]
                        yield pa.RecordBatch.from_arrays(arrays, schema=schema)
                    if at >= stop:
                        return
            except (pa.ArrowException, OSError) as fault:
                raise _damaged(path.name, fault) from None

        fine = any(pa.types.is_timestamp(one.type) and one.type.unit == "ns" for one in fields)
        return Rows(index=0, columns=columns, count=starts[-1], batches=batches, narrow=rows, moments=moments if fine else None)  # fmt: skip

    @cache
    def times(name: str) -> pa.Array:
        try:
            return file.read(columns=[name]).column(name).combine_chunks()
        except (pa.ArrowException, OSError) as fault:
            raise _damaged(path.name, fault) from None

    def moments(name: str, start: int, stop: int) -> Instants:
        return instants(times(name).slice(start, stop - start))

    return Product(medium="parquet", parts=(rows(None),), closing=stream.close)


def _plain(kind: pa.DataType) -> bool:
    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        kind = kind.value_type
    return bool(pa.types.is_primitive(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _column(field: pa.Field) -> Column:
    """Make a column; its unit is in the field's metadata, if anywhere."""
    said = {key.decode().lower(): value.decode("utf-8", "replace") for key, value in (field.metadata or {}).items()}
    kind = pa.timestamp("us") if pa.types.is_timestamp(field.type) else field.type
    return Column(name=field.name, type=from_arrow(kind), unit=said.get("unit") or said.get("units"), ucd=said.get("ucd"), description=said.get("description"))  # fmt: skip


def _shaped(array: pa.Array, kind: pa.DataType) -> pa.Array:
    if pa.types.is_timestamp(kind):
        zone = pa.timestamp("us", array.type.tz) if pa.types.is_timestamp(array.type) else kind
        return array.cast(zone, safe=False).cast(kind)
    return array.cast(kind)


def instants(array: pa.Array) -> Instants:
    """Take timestamps apart: microseconds, and the nanoseconds behind them where the type has such.

    Parameters
    ----------
    array
        Timestamps.

    Returns
    -------
    instants
        As `Rows.moments` has them.
    """
    gone = np.asarray(array.is_null())
    if array.type.unit != "ns":
        whole = np.asarray(array.cast(pa.timestamp("us", array.type.tz), safe=False).cast(pa.int64()).fill_null(0))
        return np.where(gone, MISSING, whole), None
    micros, nanos = np.divmod(np.asarray(array.cast(pa.int64()).fill_null(0)), 1000)
    return np.where(gone, MISSING, micros), nanos


def _delimited(path: Place, *, packed: bool) -> Product:
    from pyarrow import csv  # noqa: PLC0415  (asked by few)

    @contextmanager
    def opened() -> Iterator[Any]:
        with path.open("rb") as plain:
            yield gzip.GzipFile(fileobj=plain) if packed else plain

    with opened() as file:
        head = file.read(BLOCK)
    lines = head.split(b"\n")
    skipped = next((at for at, line in enumerate(lines) if line.strip() and not line.lstrip().startswith(b"#")), 0)
    first = lines[skipped] if lines else b""
    mark = max(MARKS, key=lambda one: first.count(one.encode()))
    words = first.strip().split(mark.encode())
    named = not all(_NUMBER.fullmatch(word) or not word.strip() for word in words)
    names = [word.decode("utf-8", "replace").strip().strip('"') for word in words] if named else [f"column_{at}" for at in range(1, len(words) + 1)]  # fmt: skip
    kinds: dict[str, pa.DataType] = {}

    @contextmanager
    def stream(wanted: Sequence[str] | None) -> Iterator[Any]:
        read = csv.ReadOptions(column_names=names, skip_rows=skipped + named, block_size=BLOCK)
        convert = csv.ConvertOptions(column_types=kinds, include_columns=wanted, null_values=["", "NaN", "nan", "NULL", "null", "NA", "N/A"], strings_can_be_null=True)  # fmt: skip
        with opened() as file, csv.open_csv(pa.PythonFile(file, "r"), read, csv.ParseOptions(delimiter=mark), convert) as table:  # fmt: skip
            yield table

    count = 0
    with stream(None) as table:
        for field in table.schema:
            kind = field.type
            if pa.types.is_timestamp(kind):
                kind = pa.timestamp("us") if kind.tz is None else pa.string()
            kinds[field.name] = pa.float64() if pa.types.is_integer(kind) else pa.string() if pa.types.is_null(kind) or (pa.types.is_temporal(kind) and not pa.types.is_timestamp(kind)) else kind  # fmt: skip
    with stream(names[:1]) as table:
        for batch in table:
            count += batch.num_rows

    def rows(wanted: Collection[str] | None) -> Rows:
        columns = tuple(Column(name=one, type=from_arrow(kinds[one])) for one in names if wanted is None or one in wanted)  # fmt: skip
        schema = pa.schema([one.arrow for one in columns])

        def batches(start: int, most: int) -> Iterator[pa.RecordBatch]:
            at = 0
            try:
                with stream(schema.names) as table:
                    for batch in table:
                        piece = batch.slice(max(0, start - at), max(0, min(start + most, at + batch.num_rows) - max(start, at)))  # fmt: skip
                        at += batch.num_rows
                        if piece.num_rows:
                            yield pa.RecordBatch.from_arrays([piece.column(one.name).cast(one.type) for one in schema], schema=schema)  # fmt: skip
                        if at >= start + most:
                            return
            except (pa.ArrowException, OSError, EOFError) as fault:
                raise _damaged(path.name, fault) from None

        return Rows(index=0, columns=columns, count=count, batches=batches, narrow=rows)

    return Product(medium="csv", parts=(rows(None),))


__all__ = ["instants", "open_lines"]
