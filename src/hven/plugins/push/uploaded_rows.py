"""Read the body of a push as rows of a table; if one value has a fault, the whole body is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from hven.ingest.api.rows import cast_values
from hven.model import DeviationKind, ReadDeviation, plugins
from hven.model.errors import (
    DataError,
    ParamError,
    SourceError,
    TextPlace,
    TooLargeError,
    format_message,
    suggest_spelling,
)
from hven.plugins.push.flat_xml import parse_flat_xml_records
from hven.sources import RejectedRow, SourceContext, file_kinds

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

# the formats that are recognised by their content; the most specific one comes last
UPLOAD_KINDS = ("csv", "xml", "json", "votable", "fits", "parquet")
TEXT_KINDS = ("csv", "json")  # formats of texts, which are read in the types of the columns
MAX_JSON_BYTES = 32 * 1024**2  # bytes of JSON or XML, which take ten times as much memory while they are parsed
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
    """Rows of a body have faults.

    Attributes
    ----------
    faults
        The first faults: row, column, value, reason.
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
    requires_same_columns: bool,
) -> pa.Table:
    """Read the rows of a body: the columns that it names, in the types of the table's source.

    Parameters
    ----------
    path
        Path of the body.
    media_type
        Its media type; if it is not in `KINDS_BY_MEDIA_TYPE`, the content decides.
    columns
        The allowed columns, with their types.
    row_limit, byte_limit
        Largest number of rows, and of their bytes in memory.
    requires_same_columns
        Whether each row must name the same columns.

    Raises
    ------
    InvalidRowsError
        Values do not have the type of their column; with row and column.
    SourceError
        The body has no known format, or names other columns.
    TooLargeError
        The body has more than `row_limit` rows or `byte_limit` bytes.
    """
    format_kind = KINDS_BY_MEDIA_TYPE.get(media_type) or _detect_upload_format(path)
    has_types = format_kind != "xml"
    if format_kind in {"json", "xml"}:
        path = _convert_records_to_json(path, format_kind, columns, same_columns=requires_same_columns)
        format_kind = "json"
    module = plugins.load_plugin("sources", format_kind)
    rejects: list[RejectedRow] = []
    deviations: list[str | ReadDeviation] = []
    context = SourceContext(
        directory=path.parent, on_reject=rejects.append, on_notice=deviations.append, reject_limit=MAX_SHOWN_FAULTS
    )
    try:
        source = module.open(module.Options(files=[path.name]), context)
        names = _match_column_names([column.name for column in source.list_columns()], columns)
        if format_kind in TEXT_KINDS:
            types = dict.fromkeys(names, "string")
            if has_types:
                types = {name: _choose_reader_type(columns[column_name]) for name, column_name in names.items()}
            rejects.clear()
            deviations.clear()
            source = module.open(module.Options(files=[path.name], types=types), context)
        batches = list(_iterate_within_limits(source.read_batches(list(names)), row_limit, byte_limit))
        rows = pa.Table.from_batches(batches or [_build_empty_batch(names, columns)])
    except SourceError as error:  # the remedies of sources are about descriptors
        place = TextPlace(line=error.place.line, column=error.place.column)
        raise SourceError(
            format_message("the request body cannot be read: {message}", error.message),
            place=place,
            remedy=error.remedy or ACCEPTED_FORMATS_REMEDY,
        ) from error
    for deviation in deviations:
        if isinstance(deviation, ReadDeviation) and deviation.kind == DeviationKind.METADATA:
            continue  # it concerns no value
        raise SourceError(
            format_message("reading the request body would change its values: {message}", str(deviation)),
            remedy=ACCEPTED_FORMATS_REMEDY,
        )
    faults = []
    for reject in rejects:
        column = names.get(reject.column or "", reject.column)
        faults.append({"row": reject.row, "column": column, "value": reject.value, "reason": reject.reason})
    arrays = {}
    for name, column_name in names.items():
        arrays[column_name], value_faults = _cast_uploaded_values(rows.column(name), columns[column_name], column_name)
        faults += value_faults
    if faults:
        fault_facts = [faults[0][key] for key in ("row", "column", "value", "reason")]
        raise InvalidRowsError(
            format_message("row {row}, {column}: {value!r:.80} {reason}", *fault_facts),
            faults[:MAX_SHOWN_FAULTS],
            remedy="correct the rows and send them again; nothing was written",
        )
    return pa.table(arrays)


ACCEPTED_FORMATS_REMEDY = "send a JSON object or list of objects, CSV with a header line, a VOTable, FITS or Parquet"


def _detect_upload_format(path: Path) -> str:
    format_kind = file_kinds.detect_kind_from_file_content(path)
    if format_kind in {None, "csv"}:  # XML need not begin with a declaration
        with path.open("rb") as file:
            if file.read(_PROBE_BYTES).lstrip().startswith(b"<"):
                format_kind = "xml"
    if format_kind not in UPLOAD_KINDS:
        raise SourceError("the request body is not a table in a known format", remedy=ACCEPTED_FORMATS_REMEDY)
    return format_kind


def _parse_json_or_json_lines(data: bytes) -> Any:
    """Parse one JSON document, or one document a line."""
    try:
        return orjson.loads(data)
    except ValueError as error:
        try:
            return [orjson.loads(line) for line in data.splitlines() if line.strip()]
        except ValueError:
            raise SourceError(
                format_message("the request body is not JSON: {message}", error), remedy=ACCEPTED_FORMATS_REMEDY
            ) from error


def _convert_records_to_json(path: Path, format_kind: str, columns: Mapping[str, Any], *, same_columns: bool) -> Path:
    """Write the records of JSON or XML as a list of JSON; refuse what the reader would drop without a report."""
    if path.stat().st_size > MAX_JSON_BYTES:
        raise TooLargeError(
            format_message("Hven reads at most {most:,} bytes of {kind} at once", MAX_JSON_BYTES, format_kind.upper()),
            remedy="send CSV, VOTable or Parquet, or split the rows into several requests",
        )
    data = path.read_bytes()
    if format_kind == "json":
        document = _parse_json_or_json_lines(data)
    else:
        document = parse_flat_xml_records(data)
    rows = document
    if isinstance(document, dict):
        rows = [document]
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise SourceError("the request body is JSON, but not a list of objects", remedy=ACCEPTED_FORMATS_REMEDY)
    if not rows:
        raise ParamError("the request body contains no rows", remedy="send at least one row")
    if same_columns and len(set(map(frozenset, rows))) > 1:
        raise SourceError(
            "the rows have different columns, so it is unclear which columns keep their values",
            remedy="send the same columns in each row, or send several requests",
        )
    other_names = set[str]().union(*rows)
    names = dict.fromkeys([*rows[0], *other_names])  # the names of the first row keep their order
    nested_names = {name.partition(".")[0] for name in columns if "." in name}
    _match_column_names([name for name in names if name not in nested_names], columns)
    target = path.with_name(f"{path.name}.json")
    target.write_bytes(orjson.dumps(rows))
    return target


def add_address_values(
    rows: pa.Table, address_values: Mapping[str, str], columns: Mapping[str, pa.DataType]
) -> pa.Table:
    """Add the values in the address of a request to all rows.

    Parameters
    ----------
    rows
        The rows of the body.
    address_values
        Texts of values, by the names of columns.
    columns
        The allowed columns, with their types.

    Raises
    ------
    ParamError
        A value does not have the type of its column; or a row has another value.
    SourceError
        There is no such column, or it is named twice.
    """
    for address_name, name in _match_column_names(list(address_values), columns).items():
        text = address_values[address_name]
        text_column = pa.chunked_array([[text]], pa.string())
        values, value_faults = _cast_uploaded_values(text_column, columns[name], name)
        if value_faults:
            raise ParamError(
                format_message(
                    "the address contains the value {text!r:.120} for {name!r}, but the type of this column is {kind}",
                    text,
                    name,
                    columns[name],
                )
            )
        if name in rows.column_names:
            if pc.any(pc.not_equal(rows.column(name), values[0])).as_py():
                raise ParamError(
                    format_message("the value of {name!r} in a row differs from the value in the address", name),
                    remedy=format_message("leave {name!r} out of the rows or out of the address", name),
                )
            rows = rows.drop_columns([name])
        rows = rows.append_column(name, pa.repeat(values[0], rows.num_rows))
    return rows


def _match_column_names(names: Sequence[str], columns: Mapping[str, Any]) -> dict[str, str]:
    """Find the columns with some names, in any case; a hyphen, which XML allows, may stand for an underscore."""
    names_by_lower_case = {name.lower(): name for name in columns}
    matched_names: dict[str, str] = {}
    for name in names:
        column_name: str | None = name
        if name not in columns:
            lower_case_name = name.strip().lower()
            column_name = names_by_lower_case.get(lower_case_name)
            if column_name is None:
                column_name = names_by_lower_case.get(lower_case_name.replace("-", "_"))
        if column_name is None:
            raise SourceError(
                format_message("there is no column {name!r:.80} to write to", name),
                remedy=suggest_spelling(name, columns) or format_message("use one of {names}", ", ".join(columns)),
            )
        if column_name in matched_names.values():
            raise SourceError(
                format_message("the column {name!r:.80} is sent twice", column_name),
                remedy="send the column only once",
            )
        matched_names[name] = column_name
    return matched_names


def _choose_reader_type(value_type: pa.DataType) -> str:
    """Return the name of a type in the options of readers; other types are read as text, and then cast."""
    if pa.types.is_integer(value_type):
        return "int64"
    if pa.types.is_floating(value_type):
        return "float64"
    reader_types = {pa.bool_(): "bool", pa.timestamp("us"): "timestamp"}
    return reader_types.get(value_type, "string")


def _iterate_within_limits(
    batches: Iterator[pa.RecordBatch], row_limit: int, byte_limit: int
) -> Iterator[pa.RecordBatch]:
    row_count = byte_count = 0
    for batch in batches:
        row_count += batch.num_rows
        byte_count += batch.nbytes
        if row_count > row_limit:
            raise TooLargeError(
                format_message("Hven accepts at most {most:,} rows at once", row_limit),
                remedy="send the rows in several requests",
            )
        if byte_count > byte_limit:
            raise TooLargeError(
                format_message("the rows take up more than {size:,} bytes", byte_limit),
                remedy="send the rows in several requests",
            )
        yield batch


def _build_empty_batch(names: Mapping[str, str], columns: Mapping[str, pa.DataType]) -> pa.RecordBatch:
    arrays = [pa.array([], columns[column_name]) for column_name in names.values()]
    return pa.RecordBatch.from_arrays(arrays, list(names))


def _is_list_type(arrow_type: pa.DataType) -> bool:
    return bool(pa.types.is_list(arrow_type) or pa.types.is_fixed_size_list(arrow_type))


def _parse_lists(texts: pa.Array, target_type: pa.DataType) -> tuple[pa.Array, pa.Array | None]:
    """Parse lists of JSON, such as ``[1.5, 2]``; return the arrays, and a mask of the texts that do not fit."""
    filled_texts = pc.fill_null(texts, "null").to_pylist()
    try:
        lists = orjson.loads(f"[{','.join(filled_texts)}]")
        if len(lists) == len(texts):
            return pa.array(lists, target_type), None
    except (ValueError, TypeError, pa.ArrowException):  # which of them?
        pass
    parsed_lists: list[object] = []
    misfits: list[bool] = []
    for text in filled_texts:
        try:
            parsed_list = orjson.loads(text)
            pa.array([parsed_list], target_type)
        except (ValueError, TypeError, pa.ArrowException):
            parsed_lists.append(None)
            misfits.append(True)
        else:
            parsed_lists.append(parsed_list)
            misfits.append(False)
    return pa.array(parsed_lists, target_type), pa.array(misfits)


def _cast_uploaded_values(
    values: pa.ChunkedArray, target_type: pa.DataType, name: str
) -> tuple[pa.Array, list[dict[str, Any]]]:
    """Cast values to the type of their column, and describe those that do not fit; an empty text is no value."""
    if values.num_chunks != 1:
        source_array = values.combine_chunks()
    else:
        source_array = values.chunk(0)
    if isinstance(source_array, pa.ChunkedArray):
        source_array = source_array.combine_chunks()
    if pa.types.is_dictionary(source_array.type):
        source_array = source_array.dictionary_decode()
    if pa.types.is_string(source_array.type):
        is_empty = pc.equal(source_array, "")
        source_array = pc.if_else(is_empty, pa.scalar(None, pa.string()), source_array)
    try:
        if pa.types.is_string(source_array.type) and _is_list_type(target_type):
            cast_array, misfits = _parse_lists(source_array, target_type)
        else:
            cast_array, misfits = cast_values(source_array, target_type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError) as error:
        raise SourceError(
            format_message("{column}: {message}", name, error),
            remedy=format_message("send values of the type {kind}", target_type),
        ) from error
    if pa.types.is_floating(target_type):
        cast_array = pc.if_else(pc.is_nan(cast_array), pa.scalar(None, target_type), cast_array)
    if misfits is None:
        return cast_array, []
    misfit_positions = pc.indices_nonzero(pc.fill_null(misfits, False)).to_pylist()
    reason = f"is not of type {target_type}"
    faults = []
    for position in misfit_positions[:MAX_SHOWN_FAULTS]:
        value_text = str(source_array[position])
        faults.append({"row": position + 1, "column": name, "value": value_text, "reason": reason})
    return cast_array, faults
