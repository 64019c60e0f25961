"""Convert JSON records to typed Arrow arrays.

DuckDB extracts the values as texts, and the readers that CSV uses make numbers of them. Every loss is reported.
"""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from hven.model import DeviationKind, ReadDeviation
from hven.model.literal import combine_chunks, find_rounded_integers
from hven.plugins.json_xml.geojson_regions import GeometryFrames, boxes_to_regions, geometries_to_regions
from hven.plugins.json_xml.json_schema import LEAF_CELL, LEAF_LIST, LEAF_PART, LEAF_REGION, LEAF_TEXT
from hven.sources.api.cells import (
    build_rounding_deviation,
    explain_unparsable_text,
    explain_unparsable_value,
    parse_cells,
    replace_null_words,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType
    from typing import Self

    import numpy.typing as npt

    from hven.plugins.json_xml.json_records import JsonDocument, JsonRecordChunk
    from hven.plugins.json_xml.json_schema import JsonLeafColumn

INVALID_JSON_REASON = "not JSON"
INVALID_UTF8_REASON = "not UTF-8"
DUPLICATE_KEY_REASON = "an object with a duplicate key"
_CRS_SUFFIXES = ("/properties/name", "")  # below `crs`: GeoJSON of 2008, and a plain name
_Reject = tuple[int, str | None, str | None, str, str | None]  # place, column, value, reason, text


@dataclass(slots=True)
class ParsedRecords:
    """The rows of some records.

    Attributes
    ----------
    good_indexes
        Places (from 0, in the whole group) of the records that became rows.
    rejects
        Place, column, value, reason and text of each record that did not become a row.
    deviations
        What is narrowed, dropped or reinterpreted in the records.
    """

    record_group: Sequence[tuple[JsonDocument, JsonRecordChunk]]
    arrays: dict[str, pa.Array]
    good_indexes: Any
    rejects: list[_Reject] = field(default_factory=list)
    deviations: list[ReadDeviation] = field(default_factory=list)

    def locate_record(self, record_index: int) -> tuple[JsonDocument, JsonRecordChunk, int]:
        """Find the file and the part of it that hold a record."""
        for file, part in self.record_group:
            if record_index < len(part.texts):
                return file, part, record_index
            record_index -= len(part.texts)
        raise IndexError(record_index)

    def add_geometry_deviation(self, column_name: str, message: str, count: int | None = None) -> None:
        """Add what is changed in the geometries of a column, with the number of rows if it is known."""
        kind = DeviationKind.GEOMETRY
        self.deviations.append(ReadDeviation(kind=kind, column=column_name, message=message, count=count))

    def find_chunk_indexes(self) -> npt.NDArray[np.int64]:
        """Find the index of the part from which each row is."""
        sizes = [len(part.texts) for _, part in self.record_group]
        part_indexes: npt.NDArray[np.int64] = np.repeat(np.arange(len(sizes)), sizes)[self.good_indexes]
        return part_indexes


class _ThreadCursor(threading.local):
    cursor: duckdb.DuckDBPyConnection | None = None


class JsonRecordReader:
    """Reads records of known columns; several threads may use it at once."""

    def __init__(
        self,
        leaves: Sequence[JsonLeafColumn],
        column_types: Mapping[str, pa.DataType],
        list_null_words: Callable[[str], tuple[str, ...]],
        find_document_crs: Callable[[JsonDocument], str | None],
        *,
        has_unique_keys: bool = False,
    ) -> None:
        self.leaves = leaves
        self.column_types = column_types
        self.list_null_words = list_null_words
        self.find_document_crs = find_document_crs
        pointers = dict.fromkeys(
            pointer for leaf in leaves for pointer in (leaf.pointer, leaf.bbox_pointer) if pointer is not None
        )
        self.pointers = list(pointers)
        self._objects: list[str] = []
        if not has_unique_keys:
            self._objects = sorted({pointer.rpartition("/")[0] for pointer in pointers})
        config: dict[str, str | bool | int | float | list[str]] = {
            "threads": 1,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }
        self._connection = duckdb.connect(config=config)
        self._local = _ThreadCursor()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def _get_thread_cursor(self) -> duckdb.DuckDBPyConnection:
        cursor = self._local.cursor
        if cursor is None:
            cursor = self._local.cursor = self._connection.cursor()
        return cursor

    def parse_records(self, group: Sequence[tuple[JsonDocument, JsonRecordChunk]]) -> ParsedRecords:
        """Parse the records of a group."""
        texts = combine_chunks(pa.chunked_array([part.texts for _, part in group]))
        rejects: list[_Reject] = []
        good = np.arange(len(texts))
        texts, good = self._reject_invalid_json(texts, good, rejects)
        texts, good = self._reject_duplicate_keys(texts, good, rejects)
        parsed = ParsedRecords(group, {}, good, rejects)
        if len(texts):
            self._convert_columns(texts, parsed)
        else:
            for leaf in self.leaves:
                parsed.arrays[leaf.name] = pa.nulls(0, self._find_leaf_type(leaf))
        return parsed

    def _find_leaf_type(self, leaf: JsonLeafColumn) -> pa.DataType:
        if leaf.leaf_kind in {LEAF_LIST, LEAF_PART}:
            return pa.list_(self.column_types[leaf.name])
        return self.column_types[leaf.name]

    def _reject_invalid_json(self, texts: Any, good_indexes: Any, rejects: list[_Reject]) -> tuple[Any, Any]:
        """Set aside the records that are no JSON."""
        try:
            texts.validate(full=True)
        except pa.ArrowInvalid:
            raw = texts.cast(pa.binary())
            fine = np.array([_is_utf8(value.as_py()) for value in raw])
            for at in np.flatnonzero(~fine):
                raw_text = raw[int(at)].as_py()
                text = raw_text.decode(errors="backslashreplace").strip()
                rejects.append((int(good_indexes[at]), None, None, INVALID_UTF8_REASON, text))
            texts = texts.filter(pa.array(fine))
            good_indexes = good_indexes[fine]
        valid = self._query_records("SELECT json_valid(j) AS v FROM records", texts).column("v")
        if pc.all(valid, min_count=0).as_py():
            return texts, good_indexes
        is_bad = ~np.asarray(pc.fill_null(valid, False))
        return _drop_records(texts, good_indexes, is_bad, rejects, INVALID_JSON_REASON, _explain_invalid_json)

    def _reject_duplicate_keys(self, texts: Any, good_indexes: Any, rejects: list[_Reject]) -> tuple[Any, Any]:
        """Set aside the records that have a key twice, because it is unclear which value is right."""
        if not self._objects or not len(texts):
            return texts, good_indexes
        keys = [f"json_keys(j, {_quote_sql_text(pointer)})" for pointer in self._objects]
        odd = " OR ".join(f"coalesce(list_unique({key_list}) < len({key_list}), false)" for key_list in keys)
        # records have few sets of keys, so one record of each set is checked first
        hashes = ", ".join(f"hash({key_list})" for key_list in keys)
        alike = f"SELECT any_value(j) AS j FROM records GROUP BY {hashes}"
        if not self._query_records(f"SELECT 1 FROM ({alike}) WHERE {odd} LIMIT 1", texts).num_rows:
            return texts, good_indexes
        is_bad = np.asarray(self._query_records(f"SELECT {odd} AS v FROM records", texts).column("v"))
        return _drop_records(texts, good_indexes, is_bad, rejects, DUPLICATE_KEY_REASON, _list_duplicate_keys)

    def _query_records(self, sql: str, texts: pa.Array) -> pa.Table:
        cursor = self._get_thread_cursor()
        cursor.register("records", pa.table({"j": texts}))
        try:
            return cursor.execute(sql).to_arrow_table()
        finally:
            cursor.unregister("records")

    def _query_values(self, sql: str, texts: pa.Array) -> Any:
        """Return the column ``v`` of a query of records as one array."""
        return combine_chunks(self._query_records(sql, texts).column("v"))

    def _extract_values_at_pointers(self, texts: pa.Array, pointers: Sequence[str]) -> list[Any]:
        """Extract the values at some pointers as texts: an array for each pointer."""
        literals = ", ".join(map(_quote_sql_text, pointers))
        values = self._query_values(f"SELECT json_extract_string(j, [{literals}]) AS v FROM records", texts).values
        step = len(pointers)
        return [values.take(pa.array(np.arange(at, len(values), step))) for at in range(step)]

    def _convert_columns(self, texts: pa.Array, parsed_records: ParsedRecords) -> None:
        cells_by_pointer: dict[str, pa.Array] = {}
        if self.pointers:
            cells = self._extract_values_at_pointers(texts, self.pointers)
            cells_by_pointer = dict(zip(self.pointers, cells, strict=True))
        is_rejected = np.zeros(len(texts), bool)
        for leaf in self.leaves:
            cells = cells_by_pointer[leaf.pointer]
            frames = None
            if leaf.is_drawable:
                frames = self._find_geometry_frames(leaf, texts, parsed_records)
            if leaf.leaf_kind == LEAF_REGION:
                array, bad = self._convert_geometries_to_regions(leaf, cells_by_pointer, parsed_records, frames)
            else:
                array, bad = self._convert_column(leaf, cells, frames)
            parsed_records.arrays[leaf.name] = array
            if pa.types.is_float64(array.type):
                _report_rounding(leaf, cells, array, parsed_records)
            if bad is not None and pc.any(bad).as_py():
                is_bad = np.asarray(pc.fill_null(bad, False))
                self._reject_values(leaf, cells, texts, is_bad & ~is_rejected, parsed_records=parsed_records)
                is_rejected |= is_bad
        if is_rejected.any():
            keep = pa.array(~is_rejected)
            kept_arrays = {name: array.filter(keep) for name, array in parsed_records.arrays.items()}
            parsed_records.arrays = kept_arrays
            parsed_records.good_indexes = parsed_records.good_indexes[~is_rejected]
            parsed_records.rejects.sort(key=lambda reject: reject[0])

    def _reject_values(
        self, leaf: JsonLeafColumn, cells: pa.Array, texts: pa.Array, mask: Any, *, parsed_records: ParsedRecords
    ) -> None:
        """Add the marked values of a column to the rejects."""
        column_type = self.column_types[leaf.name]
        reason = "not a GeoJSON geometry"
        if leaf.leaf_kind != LEAF_REGION:
            reason = explain_unparsable_text(column_type)
        for at in np.flatnonzero(mask):
            place = int(parsed_records.good_indexes[at])
            value = cells[int(at)].as_py()
            explanation = explain_unparsable_value(value, column_type, reason)
            text = texts[int(at)].as_py().strip()
            parsed_records.rejects.append((place, leaf.name, value, explanation, text))

    def _convert_column(
        self, leaf: JsonLeafColumn, cells: pa.Array, frames: GeometryFrames | None
    ) -> tuple[pa.Array, pa.Array | None]:
        kind = self.column_types[leaf.name]
        words = self.list_null_words(leaf.name)
        if leaf.leaf_kind == LEAF_TEXT and frames is not None:
            cells = frames.add_crs_to_text(cells)
        if leaf.leaf_kind == LEAF_TEXT:
            return replace_null_words(cells, words), None
        if leaf.leaf_kind == LEAF_CELL:
            return _parse_text_values(cells, kind, words)
        if leaf.leaf_kind == LEAF_LIST:
            lists = self._parse_json_arrays(cells, '["VARCHAR"]')
            built_lists, bad = self._parse_list_elements(lists, lists.values, kind, words)
            if frames is not None and pa.types.is_floating(kind):
                built_lists = frames.convert_bounding_boxes(built_lists)
            return built_lists, bad
        objects = self._parse_json_arrays(cells, '["JSON"]')
        pointer = _quote_sql_text(leaf.inner_pointer)
        inner_values = self._query_values(f"SELECT json_extract_string(j, {pointer}) AS v FROM records", objects.values)
        return self._parse_list_elements(objects, inner_values, kind, words)

    def _parse_json_arrays(self, cells: pa.Array, json_structure: str) -> Any:
        """Convert JSON arrays to lists; a single value becomes a list of one, as Elasticsearch means it."""
        if pc.all(pc.starts_with(cells, "["), min_count=0).as_py():
            sql = f"SELECT json_transform(j, '{json_structure}') AS v FROM records"
        else:
            sql = (
                "SELECT json_transform(CASE WHEN j IS NULL OR json_valid(j) AND json_type(j) = 'ARRAY' THEN j "
                "WHEN json_valid(j) THEN concat('[', j, ']') ELSE concat('[', to_json(j), ']') END, "
                f"'{json_structure}') AS v FROM records"
            )
        return _drop_unused_values(self._query_values(sql, cells))

    def _parse_list_elements(
        self, json_lists: Any, values: Any, arrow_type: pa.DataType, null_words: Sequence[str]
    ) -> tuple[pa.Array, pa.Array | None]:
        """Convert the elements of lists, which `values` holds as texts; mark the lists with a bad element."""
        offsets = json_lists.offsets
        array, bad = _parse_text_values(values, arrow_type, null_words)
        lists = pa.ListArray.from_arrays(offsets, array, mask=pc.is_null(json_lists))
        if bad is None:
            return lists, None
        sizes = np.diff(np.asarray(offsets))
        owner = np.repeat(np.arange(len(lists)), sizes)
        rows = np.zeros(len(lists), bool)
        rows[owner[np.asarray(pc.fill_null(bad, False))]] = True
        return lists, pa.array(rows)

    def _find_geometry_frames(
        self, leaf: JsonLeafColumn, texts: pa.Array, parsed_records: ParsedRecords
    ) -> GeometryFrames | None:
        """Find the frame of each geometry: its own, that of its record, or that of its document."""
        document_crs = [self.find_document_crs(file) for file, _ in parsed_records.record_group]
        has_own_crs = any(b'"crs"' in part.data for _, part in parsed_records.record_group)
        if not has_own_crs and not any(document_crs):
            return None
        names = pa.array(document_crs, pa.string()).take(pa.array(parsed_records.find_chunk_indexes()))
        if has_own_crs:
            record_pointer = leaf.pointer.rpartition("/")[0]
            pointers = [
                f"{pointer}/crs{suffix}" for pointer in (leaf.pointer, record_pointer) for suffix in _CRS_SUFFIXES
            ]
            extracted = self._extract_values_at_pointers(texts, pointers)
            candidates: list[pa.Array] = []
            for nested_names, plain_names in zip(extracted[::2], extracted[1::2], strict=True):
                is_object = pc.starts_with(plain_names, "{")
                candidates += [nested_names, pc.if_else(is_object, pa.scalar(None, pa.string()), plain_names)]
            names = pc.coalesce(*candidates, names)
        frames, messages = GeometryFrames.from_names_with_notes(names)
        for message in messages:
            parsed_records.add_geometry_deviation(leaf.name, message)
        return frames

    def _convert_geometries_to_regions(
        self,
        leaf: JsonLeafColumn,
        cells_by_pointer: Mapping[str, pa.Array],
        parsed_records: ParsedRecords,
        frames: GeometryFrames | None,
    ) -> tuple[pa.Array, pa.Array | None]:
        cells = cells_by_pointer[leaf.pointer]
        shapes, bad, holes = geometries_to_regions(cells, self._get_thread_cursor(), frames)
        if holes:
            message = "polygons have holes, which a region cannot have; Hven fills the holes"
            parsed_records.add_geometry_deviation(leaf.name, message)
        if leaf.bbox_pointer is not None and shapes.null_count:
            box_lists = self._parse_json_arrays(cells_by_pointer[leaf.bbox_pointer], '["DOUBLE"]')
            boxes = boxes_to_regions(box_lists, frames)
            missing = pc.is_null(cells)
            if bad is not None:
                is_replaced = pc.and_(bad, pc.is_valid(boxes))
                count = pc.sum(is_replaced).as_py()
                if count:
                    message = "geometries are missing or have no area; Hven uses their bbox instead"
                    parsed_records.add_geometry_deviation(leaf.name, message, count)
                missing = pc.or_(missing, bad)
                bad = pc.and_(bad, pc.is_null(boxes))
            usable_boxes = pc.if_else(missing, boxes, pa.scalar(None, pa.string()))
            shapes = pc.coalesce(shapes, usable_boxes)
        is_left_empty = pc.and_(pc.is_null(shapes), pc.is_valid(cells))
        if bad is not None:
            is_left_empty = pc.and_(is_left_empty, pc.invert(bad))
        count = pc.sum(is_left_empty).as_py()
        if count:
            message = "lines and geometry collections are not regions; Hven leaves these values empty"
            parsed_records.add_geometry_deviation(leaf.name, message, count)
        return shapes, bad


def _drop_records(  # noqa: PLR0917  (two calls)
    texts: Any, good_indexes: Any, is_bad: Any, rejects: list[_Reject], reason: str, explain: Callable[[str], str]
) -> tuple[Any, Any]:
    """Set the marked records aside, each with its explanation."""
    for at in np.flatnonzero(is_bad):
        text = texts[int(at)].as_py().strip()
        rejects.append((int(good_indexes[at]), None, explain(text), reason, text))
    return texts.filter(pa.array(~is_bad)), good_indexes[~is_bad]


def _parse_text_values(
    texts: pa.Array, arrow_type: pa.DataType, null_words: Sequence[str]
) -> tuple[pa.Array, pa.Array | None]:
    if pa.types.is_string(arrow_type):
        return replace_null_words(texts, null_words), None
    return parse_cells(texts, arrow_type, null_words=null_words)


def _report_rounding(leaf: JsonLeafColumn, cells: pa.Array, array: pa.Array, parsed_records: ParsedRecords) -> None:
    """Report the whole numbers of a column that a double does not hold exactly."""
    flags = find_rounded_integers(cells, array)
    if flags is None:
        return
    place = int(np.argmax(flags))
    file, part, row = parsed_records.locate_record(int(parsed_records.good_indexes[place]))
    value = cells[place].as_py()
    deviation = build_rounding_deviation(leaf.name, int(flags.sum()), file.name, part.first_number + row, value)
    parsed_records.deviations.append(deviation)


def _drop_unused_values(lists: Any) -> Any:
    """Compact a list array, so that its values are exactly those of its rows."""
    lengths = pc.fill_null(pc.list_value_length(lists), 0)
    ends = np.cumsum(np.asarray(lengths, np.int64))
    offsets = pa.array(np.concatenate([[0], ends]), pa.int32())
    return pa.ListArray.from_arrays(offsets, lists.flatten(), mask=pc.is_null(lists))


def _quote_sql_text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _list_duplicate_keys(text: str) -> str:
    """Name the keys that an object has twice."""
    duplicates: dict[str, None] = {}

    def collect_duplicates(pairs: list[tuple[str, object]]) -> None:
        names = [name for name, _ in pairs]
        repeated_names = [name for name in names if names.count(name) > 1]
        duplicates.update(dict.fromkeys(repeated_names))

    with suppress(RecursionError, ValueError):  # the names are for people alone
        json.loads(text, object_pairs_hook=collect_duplicates)
    return ", ".join(duplicates)


def _explain_invalid_json(text: str) -> str:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError as error:
        character = error.pos + 1
        if error.lineno == 1:
            character = error.colno
        return f"{error.msg} at character {character}"
    return "not readable"
