"""The body of a push -> rows of the columns that a table takes, all of them right or none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from hven.ingest._casting import convert
from hven.model import plugins
from hven.model.errors import DataError, ParamError, Place, SourceError, TooLarge, nearest, say
from hven.sources import Context, Reject, filekinds

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from hven.model import Deviation

KINDS = ("csv", "xml", "json", "votable", "fits", "parquet")  # that are told apart, the one that knows most last
TYPED = ("csv", "json")  # whose texts are read as what is expected
JSON_MOST = 32 * 1024**2  # bytes of JSON or XML, which take ten times as much while they are looked at
SHOWN = 20
_SPACE = 64
MEDIA = {
    "application/json": "json",
    "application/x-ndjson": "json",
    "application/jsonl": "json",
    "text/csv": "csv",
    "text/tab-separated-values": "csv",
    "application/x-votable+xml": "votable",
    "application/fits": "fits",
    "application/vnd.apache.parquet": "parquet",
}


class Unfit(DataError):
    """Rows that cannot be taken as they were sent.

    Attributes
    ----------
    faults
        The first of them: row, column, value, reason.
    """

    def __init__(self, message: str, faults: Sequence[Mapping[str, Any]], **more: Any) -> None:
        super().__init__(message, **more)
        self.faults = list(faults)


def read(path: Path, media: str, columns: Mapping[str, pa.DataType], *, most: int, size: int, alike: bool) -> pa.Table:
    """Read what was sent: the columns that it names, in the types that they are kept in.

    Parameters
    ----------
    path
        Of the body.
    media
        Its media type; of others than `MEDIA` the content tells.
    columns
        That may be named, with their types.
    most, size
        Rows, and bytes in memory, at most.
    alike
        Every row must name the same columns.

    Raises
    ------
    Unfit
        Values that are not of their column's type, by row and column.
    SourceError
        It is no such file, or names other columns.
    TooLarge
        More than `most` or `size`.
    """
    kind, typed = MEDIA.get(media) or _kind(path), True
    if kind in {"json", "xml"}:
        path, kind, typed = _records(path, kind, columns, alike=alike), "json", kind == "json"
    module = plugins.load("sources", kind)
    rejects: list[Reject] = []
    told: list[str | Deviation] = []
    context = Context(directory=path.parent, reject=rejects.append, tell=told.append, faults=SHOWN)
    try:
        source = module.open(module.Options(files=[path.name]), context)
        names = _named([column.name for column in source.columns()], columns)
        if kind in TYPED:
            types = {name: _word(columns[ours]) if typed else "string" for name, ours in names.items()}
            rejects.clear()
            told.clear()
            source = module.open(module.Options(files=[path.name], types=types), context)
        rows = pa.Table.from_batches(
            list(_bounded(source.batches(list(names)), most, size)) or [_empty(names, columns)]
        )
    except SourceError as error:  # the remedies of sources speak of descriptors
        place = Place(line=error.place.line, column=error.place.column)
        raise SourceError(
            say("what was sent cannot be read: {message}", error.message), place=place, remedy=error.remedy or SHAPES
        ) from error
    if told:
        raise SourceError(say("what was sent cannot be read as it is: {message}", str(told[0])), remedy=SHAPES)
    faults = [
        {"row": one.row, "column": names.get(one.column or "", one.column), "value": one.value, "reason": one.reason}
        for one in rejects
    ]
    arrays = {}
    for name, ours in names.items():
        arrays[ours], wrong = _fitted(rows.column(name), columns[ours], ours)
        faults += wrong
    if faults:
        first = faults[0]
        raise Unfit(
            say(
                "row {row}, {column}: {value!r:.80} {reason}",
                *(first[key] for key in ("row", "column", "value", "reason")),
            ),
            faults[:SHOWN],
            remedy="nothing was written: correct the rows and send them again",
        )
    return pa.table(arrays)


SHAPES = "send an object or a list of objects of JSON, CSV with a line of names, a VOTable, FITS or Parquet"


def _kind(path: Path) -> str:
    found = filekinds.inside(path)
    if found in {None, "csv"}:  # XML needs no declaration
        with path.open("rb") as file:
            found = "xml" if file.read(_SPACE).lstrip().startswith(b"<") else found
    if found not in KINDS:
        raise SourceError("what was sent is no table that can be read", remedy=SHAPES)
    return found


def _parsed(data: bytes) -> Any:
    """Read JSON: a document, or one in each line."""
    try:
        return orjson.loads(data)
    except ValueError as error:
        try:
            return [orjson.loads(line) for line in data.splitlines() if line.strip()]
        except ValueError:
            raise SourceError(say("what was sent is no JSON: {message}", error), remedy=SHAPES) from error


def _records(path: Path, kind: str, columns: Mapping[str, Any], *, alike: bool) -> Path:
    """Write JSON or XML as a list of records, whatever it was; refuse what would be lost in silence."""
    if path.stat().st_size > JSON_MOST:
        raise TooLarge(
            say("more than {most:,} bytes of {kind} are not read at once", JSON_MOST, kind.upper()),
            remedy="send CSV, VOTable or Parquet, or several parts",
        )
    found = (_parsed if kind == "json" else plugins.load("sources", "xml").flat)(path.read_bytes())
    rows = [found] if isinstance(found, dict) else found
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise SourceError("what was sent is JSON, but no list of objects", remedy=SHAPES)
    if not rows:
        raise ParamError("there are no rows in what was sent", remedy="send at least one")
    if alike and len(set(map(frozenset, rows))) > 1:
        raise SourceError(
            "the rows do not name the same columns: it would not be known which ones keep their values",
            remedy="name the same columns in each row, or send several requests",
        )
    names = dict.fromkeys(name for row in rows[:1] for name in row) | dict.fromkeys(set[str]().union(*rows))
    nested = {name.partition(".")[0] for name in columns if "." in name}
    _named([name for name in names if name not in nested], columns)
    target = path.with_name(f"{path.name}.json")
    target.write_bytes(orjson.dumps(rows))
    return target


def completed(rows: pa.Table, given: Mapping[str, str], columns: Mapping[str, pa.DataType]) -> pa.Table:
    """Add the values that the address gives to all rows.

    Parameters
    ----------
    rows
        As they were sent.
    given
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
    for said, name in _named(list(given), columns).items():
        text = given[said]
        value, wrong = _fitted(pa.chunked_array([[text]], pa.string()), columns[name], name)
        if wrong:
            raise ParamError(say("{text!r:.120}, as the address says {name}, is no {kind}", text, name, columns[name]))
        if name in rows.column_names:
            if pc.any(pc.not_equal(rows.column(name), value[0])).as_py():
                raise ParamError(
                    say("a row says another {name} than the address", name), remedy="leave one of them out"
                )
            rows = rows.drop_columns([name])
        rows = rows.append_column(name, pa.repeat(value[0], rows.num_rows))
    return rows


def _named(names: Sequence[str], columns: Mapping[str, Any]) -> dict[str, str]:
    """Find the columns that are meant, in whatever case they are written; a hyphen, which names in XML may have, stands for an underscore, too."""
    lower = {name.lower(): name for name in columns}
    found: dict[str, str] = {}
    for name in names:
        plain = name.strip().lower()
        ours = name if name in columns else lower.get(plain) or lower.get(plain.replace("-", "_"))
        if ours is None:
            raise SourceError(
                say("there is no column {name!r:.80} to write to", name),
                remedy=nearest(name, columns) or say("it takes {names}", ", ".join(columns)),
            )
        if ours in found.values():
            raise SourceError(say("the column {name!r:.80} is named twice", ours), remedy="name it once")
        found[name] = ours
    return found


def _word(kind: pa.DataType) -> str:
    """Write a type as the options of a reader have it; what no text is read as at once is read as text."""
    plain = {pa.bool_(): "bool", pa.int64(): "int64", pa.float64(): "float64", pa.timestamp("us"): "timestamp"}
    if pa.types.is_integer(kind):
        return "int64"
    if pa.types.is_floating(kind):
        return "float64"
    return plain.get(kind, "string")


def _bounded(batches: Iterator[pa.RecordBatch], most: int, size: int) -> Iterator[pa.RecordBatch]:
    rows = taken = 0
    for batch in batches:
        rows, taken = rows + batch.num_rows, taken + batch.nbytes
        if rows > most:
            raise TooLarge(say("more than {most:,} rows are not taken at once", most), remedy="send them in parts")
        if taken > size:
            raise TooLarge(say("the rows take more than {size:,} bytes", size), remedy="send them in parts")
        yield batch


def _empty(names: Mapping[str, str], columns: Mapping[str, pa.DataType]) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array([], columns[ours]) for ours in names.values()], list(names))


def _fitted(values: pa.ChunkedArray, kind: pa.DataType, name: str) -> tuple[pa.Array, list[dict[str, Any]]]:
    """Return values in the type of their column, and those that are not of it; an empty text is no value."""
    whole = values.combine_chunks() if values.num_chunks != 1 else values.chunk(0)
    whole = whole.combine_chunks() if isinstance(whole, pa.ChunkedArray) else whole
    if pa.types.is_dictionary(whole.type):
        whole = whole.dictionary_decode()
    if pa.types.is_string(whole.type):
        whole = pc.if_else(pc.equal(whole, ""), pa.scalar(None, pa.string()), whole)
    try:
        made, lost = convert(whole, kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError) as error:
        raise SourceError(say("{column}: {message}", name, error), remedy=say("it is {kind}", kind)) from error
    if pa.types.is_floating(kind):
        made = pc.if_else(pc.is_nan(made), pa.scalar(None, kind), made)
    if lost is None:
        return made, []
    at = pc.indices_nonzero(pc.fill_null(lost, False)).to_pylist()[:SHOWN]
    wrong = [{"row": one + 1, "column": name, "value": str(whole[one]), "reason": f"is no {kind}"} for one in at]
    return made, wrong
