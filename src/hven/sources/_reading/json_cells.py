"""JSON records -> typed Arrow arrays.

DuckDB takes the values out as text, the same readers as CSV's make numbers of them; nothing is lost unsaid.
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

from hven.model import Deviation, DeviationKind
from hven.model.literal import find_rounded_integers
from hven.sources._reading.cells import parse_cells, replace_null_words
from hven.sources._reading.delimited import build_rounding_deviation, explain_unparsed, explain_value
from hven.sources._reading.geojson_regions import GeometryFrames, boxes_to_regions, geometries_to_regions
from hven.sources._reading.json_schema import LEAF_CELL, LEAF_LIST, LEAF_PART, LEAF_REGION, LEAF_TEXT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType
    from typing import Self

    from hven.sources._reading.json_records import JsonDocument, JsonRecords
    from hven.sources._reading.json_schema import JsonLeaf

INVALID_JSON_REASON = "not JSON"
INVALID_UTF8_REASON = "not UTF-8"
DUPLICATE_KEY_REASON = "a key that is there twice"


@dataclass(slots=True)
class ParsedRecords:
    """The rows of some records.

    Attributes
    ----------
    good_indexes
        Places (from 0, in the whole group) of the records that became rows.
    rejects
        Place, column, value, reason, text of each that did not.
    deviations
        What is narrowed, dropped or reinterpreted in them.
    """

    record_group: Sequence[tuple[JsonDocument, JsonRecords]]
    arrays: dict[str, pa.Array]
    good_indexes: Any
    rejects: list[tuple[int, str | None, str | None, str, str | None]] = field(default_factory=list)
    deviations: list[Deviation] = field(default_factory=list)

    def locate_record(self, record_index: int) -> tuple[JsonDocument, JsonRecords, int]:
        """Find the file and the part of it that a record stands in."""
        for file, part in self.record_group:
            if record_index < len(part.texts):
                return file, part, record_index
            record_index -= len(part.texts)
        raise IndexError(record_index)


class _ThreadCursor(threading.local):
    cursor: duckdb.DuckDBPyConnection | None = None


class JsonRecordReader:
    """Reads records of known columns; used by several threads at once."""

    def __init__(
        self,
        leaves: Sequence[JsonLeaf],
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
        self.pointers = list(
            dict.fromkeys(p for leaf in leaves for p in (leaf.pointer, leaf.bbox_pointer) if p is not None)
        )
        self._objects = () if has_unique_keys else sorted({pointer.rpartition("/")[0] for pointer in self.pointers})
        self._connection = duckdb.connect(
            config={"threads": 1, "autoinstall_known_extensions": False, "autoload_known_extensions": False}
        )
        self._local = _ThreadCursor()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def _find_cursor(self) -> duckdb.DuckDBPyConnection:
        cursor = self._local.cursor
        if cursor is None:
            cursor = self._local.cursor = self._connection.cursor()
        return cursor

    def parse_records(self, group: Sequence[tuple[JsonDocument, JsonRecords]]) -> ParsedRecords:
        """Parse the records of a group."""
        parts = [part.texts for _, part in group]
        if len(parts) == 1:
            texts = parts[0]
        else:
            texts = pa.concat_arrays(parts)
        rejects: list[tuple[int, str | None, str | None, str, str | None]] = []
        good = np.arange(len(texts))
        texts, good = self._reject_invalid_json(texts, good, rejects)
        texts, good = self._reject_duplicate_keys(texts, good, rejects)
        parsed = ParsedRecords(group, {}, good, rejects)
        if len(texts):
            self._read_cells(texts, parsed)
        else:
            parsed.arrays = {leaf.name: pa.nulls(0, self._find_leaf_type(leaf)) for leaf in self.leaves}
        return parsed

    def _find_leaf_type(self, leaf: JsonLeaf) -> pa.DataType:
        if leaf.leaf_kind in {LEAF_LIST, LEAF_PART}:
            return pa.list_(self.column_types[leaf.name])
        return self.column_types[leaf.name]

    def _reject_invalid_json(self, texts: Any, good_indexes: Any, rejects: list[Any]) -> tuple[Any, Any]:
        """Set records aside that are no JSON."""
        try:
            texts.validate(full=True)
        except pa.ArrowInvalid:
            raw = texts.cast(pa.binary())
            fine = np.array([_is_utf8(value.as_py()) for value in raw])
            shown_texts = (
                (int(at), raw[int(at)].as_py().decode(errors="backslashreplace").strip())
                for at in np.flatnonzero(~fine)
            )
            rejects.extend((int(good_indexes[at]), None, None, INVALID_UTF8_REASON, text) for at, text in shown_texts)
            texts = texts.filter(pa.array(fine))
            good_indexes = good_indexes[fine]
        valid = self._query_records("SELECT json_valid(j) AS v FROM records", texts).column("v")
        if pc.all(valid, min_count=0).as_py():
            return texts, good_indexes
        fine = np.asarray(pc.fill_null(valid, False))
        for at in np.flatnonzero(~fine):
            text = texts[int(at)].as_py().strip()
            rejects.append((int(good_indexes[at]), None, _explain_invalid_json(text), INVALID_JSON_REASON, text))
        return texts.filter(pa.array(fine)), good_indexes[fine]

    def _reject_duplicate_keys(self, texts: Any, good_indexes: Any, rejects: list[Any]) -> tuple[Any, Any]:
        """Set records aside in which a key stands twice: nobody knows which value is meant."""
        if not self._objects or not len(texts):
            return texts, good_indexes
        keys = [f"json_keys(j, {_quote_literal(place)})" if place else "json_keys(j)" for place in self._objects]
        odd = " OR ".join(
            f"coalesce(list_unique({keys_expression}) < len({keys_expression}), false)" for keys_expression in keys
        )
        # records have few sets of keys: of each one record is looked at
        alike = (
            f"SELECT any_value(j) AS j FROM records GROUP BY "
            f"{', '.join(f'hash({keys_expression})' for keys_expression in keys)}"
        )
        if not self._query_records(f"SELECT 1 FROM ({alike}) WHERE {odd} LIMIT 1", texts).num_rows:
            return texts, good_indexes
        wrong = np.asarray(self._query_records(f"SELECT {odd} AS v FROM records", texts).column("v"))
        for at in np.flatnonzero(wrong):
            text = texts[int(at)].as_py().strip()
            rejects.append((int(good_indexes[at]), None, _list_duplicate_keys(text), DUPLICATE_KEY_REASON, text))
        return texts.filter(pa.array(~wrong)), good_indexes[~wrong]

    def _query_records(self, sql: str, texts: pa.Array) -> pa.Table:
        cursor = self._find_cursor()
        cursor.register("records", pa.table({"j": texts}))
        try:
            return cursor.execute(sql).to_arrow_table()
        finally:
            cursor.unregister("records")

    def _read_cells(self, texts: pa.Array, parsed_records: ParsedRecords) -> None:
        rows = len(texts)
        cells_by_pointer: dict[str, pa.Array] = {}
        if self.pointers:
            listed = ", ".join(_quote_literal(pointer) for pointer in self.pointers)
            values = _combine_chunks(
                self._query_records(f"SELECT json_extract_string(j, [{listed}]) AS v FROM records", texts).column("v")
            ).values
            step = len(self.pointers)
            cells_by_pointer = {
                pointer: values.take(pa.array(np.arange(at, rows * step, step)))
                for at, pointer in enumerate(self.pointers)
            }
        is_rejected = np.zeros(rows, bool)
        for leaf in self.leaves:
            cells = cells_by_pointer[leaf.pointer]
            if leaf.is_drawable:
                frames = self._find_frames(leaf, texts, parsed_records)
            else:
                frames = None
            array, bad = self._read_column(leaf, cells, cells_by_pointer, parsed_records, frames)
            parsed_records.arrays[leaf.name] = array
            if pa.types.is_float64(array.type) and (flags := find_rounded_integers(cells, array)) is not None:
                place = int(np.argmax(flags))
                file, part, row = parsed_records.locate_record(int(parsed_records.good_indexes[place]))
                count = int(flags.sum())
                value = cells[place].as_py()
                rounding_deviation = build_rounding_deviation(
                    leaf.name, count, file.name, part.first_number + row, value
                )
                parsed_records.deviations.append(rounding_deviation)
            if bad is not None and pc.any(bad).as_py():
                mask = np.asarray(pc.fill_null(bad, False)) & ~is_rejected
                is_rejected |= mask
                if leaf.leaf_kind == LEAF_REGION:
                    reason = "no GeoJSON geometry"
                else:
                    reason = explain_unparsed(self.column_types[leaf.name])
                for at in np.flatnonzero(mask):
                    value = cells[int(at)].as_py()
                    parsed_records.rejects.append(
                        (
                            int(parsed_records.good_indexes[at]),
                            leaf.name,
                            value,
                            explain_value(value, self.column_types[leaf.name], reason),
                            texts[int(at)].as_py().strip(),
                        )
                    )
        if is_rejected.any():
            keep = pa.array(~is_rejected)
            parsed_records.arrays = {name: array.filter(keep) for name, array in parsed_records.arrays.items()}
            parsed_records.good_indexes = parsed_records.good_indexes[~is_rejected]
            parsed_records.rejects.sort(key=lambda item: item[0])

    def _read_column(
        self,
        leaf: JsonLeaf,
        cells: pa.Array,
        cells_by_pointer: Mapping[str, pa.Array],
        parsed_records: ParsedRecords,
        frames: GeometryFrames | None,
    ) -> tuple[pa.Array, pa.Array | None]:
        kind = self.column_types[leaf.name]
        words = self.list_null_words(leaf.name)
        if leaf.leaf_kind == LEAF_TEXT and frames is not None:
            cells = frames.add_crs_to_text(cells)
        if leaf.leaf_kind == LEAF_CELL and not pa.types.is_string(kind):
            return parse_cells(cells, kind, null_words=words)
        if leaf.leaf_kind in {LEAF_CELL, LEAF_TEXT}:
            return replace_null_words(cells, words), None
        if leaf.leaf_kind == LEAF_REGION:
            return self._read_regions(leaf, cells, cells_by_pointer, parsed_records, frames)
        if leaf.leaf_kind == LEAF_LIST:
            lists = self._transform_arrays(cells, '["VARCHAR"]')
            lists_built, bad = self._convert_elements(lists.offsets, lists.values, kind, words, pc.is_null(lists))
            return lists_built if frames is None or not pa.types.is_floating(kind) else frames.convert_boxes(
                lists_built
            ), bad
        objects = self._transform_arrays(cells, '["JSON"]')
        inner = self._query_records(
            f"SELECT json_extract_string(j, {_quote_literal(leaf.inner_pointer)}) AS v FROM records", objects.values
        ).column("v")
        return self._convert_elements(objects.offsets, _combine_chunks(inner), kind, words, pc.is_null(objects))

    def _transform_arrays(self, cells: pa.Array, json_structure: str) -> Any:
        """Convert JSON arrays to lists; a single value is a list of one, as Elasticsearch has it."""
        if pc.all(pc.starts_with(cells, "["), min_count=0).as_py():
            return _drop_unused_values(
                _combine_chunks(
                    self._query_records(
                        f"SELECT json_transform(j, '{json_structure}') AS v FROM records", cells
                    ).column("v")
                )
            )
        sql = (
            "SELECT json_transform(CASE WHEN j IS NULL OR json_valid(j) AND json_type(j) = 'ARRAY' THEN j "
            f"WHEN json_valid(j) THEN concat('[', j, ']') ELSE concat('[', to_json(j), ']') END, '{json_structure}') AS v FROM records"
        )
        column = _combine_chunks(self._query_records(sql, cells).column("v"))
        return _drop_unused_values(column)

    def _convert_elements(
        self, offsets: Any, values: Any, arrow_type: pa.DataType, null_words: Sequence[str], is_null: Any
    ) -> tuple[pa.Array, pa.Array | None]:
        if pa.types.is_string(arrow_type):
            array = replace_null_words(values, null_words)
            bad = None
        else:
            array, bad = parse_cells(values, arrow_type, null_words=null_words)
        if pc.any(is_null).as_py():
            lists = pa.ListArray.from_arrays(offsets, array, mask=is_null)
        else:
            lists = pa.ListArray.from_arrays(offsets, array)
        if bad is None:
            return lists, None
        owner = np.repeat(np.arange(len(lists)), np.diff(np.asarray(offsets)))
        rows = np.zeros(len(lists), bool)
        rows[owner[np.asarray(pc.fill_null(bad, False))]] = True
        return lists, pa.array(rows)

    def _find_frames(self, leaf: JsonLeaf, texts: pa.Array, parsed_records: ParsedRecords) -> GeometryFrames | None:
        """Find the frame of each geometry: its own, its record's, its document's."""
        document_crs = [self.find_document_crs(file) for file, _ in parsed_records.record_group]
        has_own_crs = any(b'"crs"' in part.data for _, part in parsed_records.record_group)
        if not has_own_crs and not any(document_crs):
            return None
        sizes = [len(part.texts) for _, part in parsed_records.record_group]
        names = pa.array(document_crs, pa.string()).take(
            pa.array(np.repeat(np.arange(len(sizes)), sizes)[parsed_records.good_indexes])
        )
        if has_own_crs:
            places = (leaf.pointer, leaf.pointer.rpartition("/")[0])
            asked = ", ".join(
                _quote_literal(f"{place}/crs{name_suffix}")
                for place in places
                for name_suffix in ("/properties/name", "")
            )
            sql = f"SELECT json_extract_string(j, [{asked}]) AS v FROM records"
            lists = _combine_chunks(self._query_records(sql, texts).column("v")).values
            near = [lists.take(pa.array(np.arange(at, len(lists), 4))) for at in range(4)]
            near[1::2] = [
                pc.if_else(pc.starts_with(near_names, "{"), pa.scalar(None, pa.string()), near_names)
                for near_names in near[1::2]
            ]
            names = pc.coalesce(*near, names)
        frames, messages = GeometryFrames.from_names(names)
        for message in messages:
            parsed_records.deviations.append(_build_geometry_deviation(leaf, message))
        return frames

    def _read_regions(
        self,
        leaf: JsonLeaf,
        cells: pa.Array,
        cells_by_pointer: Mapping[str, pa.Array],
        parsed_records: ParsedRecords,
        frames: GeometryFrames | None,
    ) -> tuple[pa.Array, pa.Array | None]:
        shapes, bad, holes = geometries_to_regions(cells, self._find_cursor(), frames)
        if holes:
            parsed_records.deviations.append(
                _build_geometry_deviation(leaf, "polygons have holes, which a region cannot say: they are filled")
            )
        if leaf.bbox_pointer is not None and shapes.null_count:
            boxes = boxes_to_regions(self._transform_arrays(cells_by_pointer[leaf.bbox_pointer], '["DOUBLE"]'), frames)
            missing = pc.is_null(cells)
            if bad is not None:
                count = pc.sum(pc.and_(bad, pc.is_valid(boxes))).as_py()
                if count:
                    message = "geometries are none, or have no area: their bbox stands for them"
                    parsed_records.deviations.append(_build_geometry_deviation(leaf, message, count))
                missing = pc.or_(missing, bad)
                bad = pc.and_(bad, pc.is_null(boxes))
            shapes = pc.coalesce(shapes, pc.if_else(missing, boxes, pa.scalar(None, pa.string())))
        is_left_empty = pc.and_(pc.is_null(shapes), pc.is_valid(cells))
        if bad is not None:
            is_left_empty = pc.and_(is_left_empty, pc.invert(bad))
        count = pc.sum(is_left_empty).as_py()
        if count:
            message = "lines and collections of shapes are no regions: left empty"
            parsed_records.deviations.append(_build_geometry_deviation(leaf, message, count))
        return shapes, bad


def _build_geometry_deviation(leaf: JsonLeaf, message: str, count: int | None = None) -> Deviation:
    return Deviation(kind=DeviationKind.GEOMETRY, column=leaf.name, message=message, count=count)


def _drop_unused_values(lists: Any) -> Any:
    """Compact a list array: its values are exactly those of its rows."""
    sizes = np.asarray(pc.fill_null(pc.list_value_length(lists), 0), np.int64)
    offsets = pa.array(np.concatenate([[0], np.cumsum(sizes)]), pa.int32())
    compacted = pa.ListArray.from_arrays(offsets, lists.flatten(), mask=pc.is_null(lists))
    if lists.null_count:
        return compacted
    return pa.ListArray.from_arrays(offsets, lists.flatten())


def _combine_chunks(column: Any) -> Any:
    if column.num_chunks == 1:
        return column.chunk(0)
    if column.num_chunks:
        return pa.concat_arrays(column.chunks)
    return pa.array([], column.type)


def _quote_literal(text: str) -> str:
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
        duplicates.update(dict.fromkeys(name for name in names if names.count(name) > 1))

    with suppress(RecursionError, ValueError):  # its names are for people alone
        json.loads(text, object_pairs_hook=collect_duplicates)
    return ", ".join(duplicates)


def _explain_invalid_json(text: str) -> str:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError as error:
        return f"{error.msg} at character {error.colno if error.lineno == 1 else error.pos + 1}"
    return "not readable"
