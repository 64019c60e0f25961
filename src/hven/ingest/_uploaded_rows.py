"""The body of a push -> rows of the columns that a table takes, all of them right or none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from hven.ingest._casting import cast_values
from hven.model import plugins
from hven.model.errors import DataError, ParamError, Place, SourceError, TooLargeError, format_message, suggest_spelling
from hven.sources import RejectedRow, SourceContext, file_kinds

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from hven.model import Deviation

UPLOAD_KINDS = ("csv", "xml", "json", "votable", "fits", "parquet")  # that are told apart, the one that knows most last
TEXT_KINDS = ("csv", "json")  # whose texts are read as what is expected
MAX_JSON_BYTES = 32 * 1024**2  # bytes of JSON or XML, which take ten times as much while they are looked at
MAX_SHOWN_FAULTS = 20
_PROBE_BYTES = 64
KINDS_BY_MEDIA_TYPE = {
    "application/json": "json",
    "application/x-ndjson": "json",
    "application/jsonl": "json",
    "text/csv": "csv",
    "text/tab-separated-values": "csv",
    "application/x-votable+xml": "votable",
    "application/fits": "fits",
    "application/vnd.apache.parquet": "parquet",
}


class InvalidRowsError(DataError):
    """Rows that cannot be taken as they were sent.

    Attributes
    ----------
    faults
        The first of them: row, column, value, reason.
    """

    def __init__(self, message: str, faults: Sequence[Mapping[str, Any]], **more: Any) -> None:
        super().__init__(message, **more)
        self.faults = list(faults)


def read_uploaded_rows(
    path: Path,
    media_type: str,
    columns: Mapping[str, pa.DataType],
    *,
    row_limit: int,
    byte_limit: int,
    same_columns: bool,
) -> pa.Table:
    """Read what was sent: the columns that it names, in the types that they are kept in.

    Parameters
    ----------
    path
        Of the body.
    media_type
        Its media type; of others than `KINDS_BY_MEDIA_TYPE` the content tells.
    columns
        That may be named, with their types.
    row_limit, byte_limit
        Rows, and bytes in memory, at most.
    same_columns
        Every row must name the same columns.

    Raises
    ------
    InvalidRowsError
        Values that are not of their column's type, by row and column.
    SourceError
        It is no such file, or names other columns.
    TooLargeError
        More than `row_limit` or `byte_limit`.
    """
    format_kind = KINDS_BY_MEDIA_TYPE.get(media_type) or _detect_kind(path)
    has_types = True
    if format_kind in {"json", "xml"}:
        path, format_kind, has_types = (
            _write_records(path, format_kind, columns, same_columns=same_columns),
            "json",
            format_kind == "json",
        )
    module = plugins.load_plugin("sources", format_kind)
    rejects: list[RejectedRow] = []
    deviations: list[str | Deviation] = []
    context = SourceContext(
        directory=path.parent, on_reject=rejects.append, on_notice=deviations.append, reject_limit=MAX_SHOWN_FAULTS
    )
    try:
        source = module.open(module.Options(files=[path.name]), context)
        names = _match_column_names([column.name for column in source.list_columns()], columns)
        if format_kind in TEXT_KINDS:
            types = {
                name: _choose_reader_type(columns[column_name]) if has_types else "string"
                for name, column_name in names.items()
            }
            rejects.clear()
            deviations.clear()
            source = module.open(module.Options(files=[path.name], types=types), context)
        rows = pa.Table.from_batches(
            list(_limit_batches(source.read_batches(list(names)), row_limit, byte_limit))
            or [_build_empty_batch(names, columns)]
        )
    except SourceError as error:  # the remedies of sources speak of descriptors
        place = Place(line=error.place.line, column=error.place.column)
        raise SourceError(
            format_message("what was sent cannot be read: {message}", error.message),
            place=place,
            remedy=error.remedy or ACCEPTED_FORMATS_REMEDY,
        ) from error
    if deviations:
        raise SourceError(
            format_message("what was sent cannot be read as it is: {message}", str(deviations[0])),
            remedy=ACCEPTED_FORMATS_REMEDY,
        )
    faults = [
        {
            "row": reject.row,
            "column": names.get(reject.column or "", reject.column),
            "value": reject.value,
            "reason": reject.reason,
        }
        for reject in rejects
    ]
    arrays = {}
    for name, column_name in names.items():
        arrays[column_name], value_faults = _fit_values(rows.column(name), columns[column_name], column_name)
        faults += value_faults
    if faults:
        first_fault = faults[0]
        raise InvalidRowsError(
            format_message(
                "row {row}, {column}: {value!r:.80} {reason}",
                *(first_fault[key] for key in ("row", "column", "value", "reason")),
            ),
            faults[:MAX_SHOWN_FAULTS],
            remedy="nothing was written: correct the rows and send them again",
        )
    return pa.table(arrays)


ACCEPTED_FORMATS_REMEDY = (
    "send an object or a list of objects of JSON, CSV with a line of names, a VOTable, FITS or Parquet"
)


def _detect_kind(path: Path) -> str:
    format_kind = file_kinds.find_kind_of_file(path)
    if format_kind in {None, "csv"}:  # XML needs no declaration
        with path.open("rb") as file:
            if file.read(_PROBE_BYTES).lstrip().startswith(b"<"):
                format_kind = "xml"
    if format_kind not in UPLOAD_KINDS:
        raise SourceError("what was sent is no table that can be read", remedy=ACCEPTED_FORMATS_REMEDY)
    return format_kind


def _parse_json(data: bytes) -> Any:
    """Read JSON: a document, or one in each line."""
    try:
        return orjson.loads(data)
    except ValueError as error:
        try:
            return [orjson.loads(line) for line in data.splitlines() if line.strip()]
        except ValueError:
            raise SourceError(
                format_message("what was sent is no JSON: {message}", error), remedy=ACCEPTED_FORMATS_REMEDY
            ) from error


def _write_records(path: Path, format_kind: str, columns: Mapping[str, Any], *, same_columns: bool) -> Path:
    """Write JSON or XML as a list of records, whatever it was; refuse what would be lost in silence."""
    if path.stat().st_size > MAX_JSON_BYTES:
        raise TooLargeError(
            format_message(
                "more than {most:,} bytes of {kind} are not read at once", MAX_JSON_BYTES, format_kind.upper()
            ),
            remedy="send CSV, VOTable or Parquet, or several parts",
        )
    document = (_parse_json if format_kind == "json" else plugins.load_plugin("sources", "xml").parse_flat_records)(
        path.read_bytes()
    )
    if isinstance(document, dict):
        rows = [document]
    else:
        rows = document
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise SourceError("what was sent is JSON, but no list of objects", remedy=ACCEPTED_FORMATS_REMEDY)
    if not rows:
        raise ParamError("there are no rows in what was sent", remedy="send at least one")
    if same_columns and len(set(map(frozenset, rows))) > 1:
        raise SourceError(
            "the rows do not name the same columns: it would not be known which ones keep their values",
            remedy="name the same columns in each row, or send several requests",
        )
    names = dict.fromkeys(name for row in rows[:1] for name in row) | dict.fromkeys(set[str]().union(*rows))
    nested_names = {name.partition(".")[0] for name in columns if "." in name}
    _match_column_names([name for name in names if name not in nested_names], columns)
    target = path.with_name(f"{path.name}.json")
    target.write_bytes(orjson.dumps(rows))
    return target


def add_address_values(
    rows: pa.Table, address_values: Mapping[str, str], columns: Mapping[str, pa.DataType]
) -> pa.Table:
    """Add the values that the address gives to all rows.

    Parameters
    ----------
    rows
        As they were sent.
    address_values
        Values, as texts, by the names of columns.
    columns
        That may be named, with their types.

    Raises
    ------
    ParamError
        No value of the column's type; a row says another one.
    SourceError
        No such column, or one that is named twice.
    """
    for given_name, name in _match_column_names(list(address_values), columns).items():
        text = address_values[given_name]
        value, value_faults = _fit_values(pa.chunked_array([[text]], pa.string()), columns[name], name)
        if value_faults:
            raise ParamError(
                format_message("{text!r:.120}, as the address says {name}, is no {kind}", text, name, columns[name])
            )
        if name in rows.column_names:
            if pc.any(pc.not_equal(rows.column(name), value[0])).as_py():
                raise ParamError(
                    format_message("a row says another {name} than the address", name), remedy="leave one of them out"
                )
            rows = rows.drop_columns([name])
        rows = rows.append_column(name, pa.repeat(value[0], rows.num_rows))
    return rows


def _match_column_names(names: Sequence[str], columns: Mapping[str, Any]) -> dict[str, str]:
    """Find the columns that are meant, in whatever case they are written.

    A hyphen, which names in XML may have, stands for an underscore, too.
    """
    lower = {name.lower(): name for name in columns}
    matched_names: dict[str, str] = {}
    for name in names:
        normalized_name = name.strip().lower()
        column_name = (
            name if name in columns else lower.get(normalized_name) or lower.get(normalized_name.replace("-", "_"))
        )
        if column_name is None:
            raise SourceError(
                format_message("there is no column {name!r:.80} to write to", name),
                remedy=suggest_spelling(name, columns) or format_message("it takes {names}", ", ".join(columns)),
            )
        if column_name in matched_names.values():
            raise SourceError(
                format_message("the column {name!r:.80} is named twice", column_name), remedy="name it once"
            )
        matched_names[name] = column_name
    return matched_names


def _choose_reader_type(value_type: pa.DataType) -> str:
    """Write a type as the options of a reader have it; what no text is read as at once is read as text."""
    reader_types = {pa.bool_(): "bool", pa.int64(): "int64", pa.float64(): "float64", pa.timestamp("us"): "timestamp"}
    if pa.types.is_integer(value_type):
        return "int64"
    if pa.types.is_floating(value_type):
        return "float64"
    return reader_types.get(value_type, "string")


def _limit_batches(batches: Iterator[pa.RecordBatch], row_limit: int, byte_limit: int) -> Iterator[pa.RecordBatch]:
    rows = byte_count = 0
    for batch in batches:
        rows = rows + batch.num_rows
        byte_count = byte_count + batch.nbytes
        if rows > row_limit:
            raise TooLargeError(
                format_message("more than {most:,} rows are not taken at once", row_limit), remedy="send them in parts"
            )
        if byte_count > byte_limit:
            raise TooLargeError(
                format_message("the rows take more than {size:,} bytes", byte_limit), remedy="send them in parts"
            )
        yield batch


def _build_empty_batch(names: Mapping[str, str], columns: Mapping[str, pa.DataType]) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array([], columns[ours]) for ours in names.values()], list(names))


def _fit_values(values: pa.ChunkedArray, target_type: pa.DataType, name: str) -> tuple[pa.Array, list[dict[str, Any]]]:
    """Return values in the type of their column, and those that are not of it; an empty text is no value."""
    if values.num_chunks != 1:
        source_array = values.combine_chunks()
    else:
        source_array = values.chunk(0)
    if isinstance(source_array, pa.ChunkedArray):
        source_array = source_array.combine_chunks()
    if pa.types.is_dictionary(source_array.type):
        source_array = source_array.dictionary_decode()
    if pa.types.is_string(source_array.type):
        source_array = pc.if_else(pc.equal(source_array, ""), pa.scalar(None, pa.string()), source_array)
    try:
        cast_array, misfits = cast_values(source_array, target_type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError) as error:
        raise SourceError(
            format_message("{column}: {message}", name, error), remedy=format_message("it is {kind}", target_type)
        ) from error
    if pa.types.is_floating(target_type):
        cast_array = pc.if_else(pc.is_nan(cast_array), pa.scalar(None, target_type), cast_array)
    if misfits is None:
        return cast_array, []
    misfit_positions = pc.indices_nonzero(pc.fill_null(misfits, False)).to_pylist()[:MAX_SHOWN_FAULTS]
    faults = [
        {"row": position + 1, "column": name, "value": str(source_array[position]), "reason": f"is no {target_type}"}
        for position in misfit_positions
    ]
    return cast_array, faults
