"""JSON records -> typed Arrow arrays: DuckDB takes the values out as text, the same readers as CSV's make numbers of them; nothing is lost unsaid."""

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
from hven.model.literal import find_rounded
from hven.sources._reading.cells import convert, nulled
from hven.sources._reading.delimited import reason_for, reason_of, rounded_deviation
from hven.sources._reading.geojson import Frames, of_boxes, regions
from hven.sources._reading.jsonshape import CELL, LIST, PART, REGION, TEXT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType
    from typing import Self

    from hven.sources._reading.jsonshape import Leaf
    from hven.sources._reading.jsontext import Document, Records

NO_JSON = "not JSON"
NO_UTF8 = "not UTF-8"
TWICE = "a key that is there twice"


@dataclass(slots=True)
class Parsed:
    """The rows of some records.

    Attributes
    ----------
    good
        Places (from 0, in the whole group) of the records that became rows.
    rejects
        Place, column, value, reason, text of each that did not.
    deviations
        What is narrowed, dropped or reinterpreted in them.
    """

    group: Sequence[tuple[Document, Records]]
    arrays: dict[str, pa.Array]
    good: Any
    rejects: list[tuple[int, str | None, str | None, str, str | None]] = field(default_factory=list)
    deviations: list[Deviation] = field(default_factory=list)

    def locate(self, at: int) -> tuple[Document, Records, int]:
        """Find the file and the part of it that a record stands in."""
        for file, part in self.group:
            if at < len(part.texts):
                return file, part, at
            at -= len(part.texts)
        raise IndexError(at)


class _Local(threading.local):
    cursor: duckdb.DuckDBPyConnection | None = None


class Reader:
    """Reads records of known columns; used by several threads at once."""

    def __init__(
        self,
        leaves: Sequence[Leaf],
        kinds: Mapping[str, pa.DataType],
        words: Callable[[str], tuple[str, ...]],
        crs: Callable[[Document], str | None],
        *,
        sure: bool = False,
    ) -> None:
        self.leaves, self.kinds, self.words, self.crs = leaves, kinds, words, crs
        self.pointers = list(dict.fromkeys(p for leaf in leaves for p in (leaf.pointer, leaf.bbox) if p is not None))
        self._objects = () if sure else sorted({pointer.rpartition("/")[0] for pointer in self.pointers})
        self._connection = duckdb.connect(
            config={"threads": 1, "autoinstall_known_extensions": False, "autoload_known_extensions": False}
        )
        self._local = _Local()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def _cursor(self) -> duckdb.DuckDBPyConnection:
        cursor = self._local.cursor
        if cursor is None:
            cursor = self._local.cursor = self._connection.cursor()
        return cursor

    def parse(self, group: Sequence[tuple[Document, Records]]) -> Parsed:
        """Parse the records of a group."""
        parts = [part.texts for _, part in group]
        texts = parts[0] if len(parts) == 1 else pa.concat_arrays(parts)
        rejects: list[tuple[int, str | None, str | None, str, str | None]] = []
        good = np.arange(len(texts))
        texts, good = self._readable(texts, good, rejects)
        texts, good = self._plain(texts, good, rejects)
        parsed = Parsed(group, {}, good, rejects)
        if len(texts):
            self._cells(texts, parsed)
        else:
            parsed.arrays = {leaf.name: pa.nulls(0, self._type(leaf)) for leaf in self.leaves}
        return parsed

    def _type(self, leaf: Leaf) -> pa.DataType:
        return pa.list_(self.kinds[leaf.name]) if leaf.how in {LIST, PART} else self.kinds[leaf.name]

    def _readable(self, texts: Any, good: Any, rejects: list[Any]) -> tuple[Any, Any]:
        """Set records aside that are no JSON."""
        try:
            texts.validate(full=True)
        except pa.ArrowInvalid:
            raw = texts.cast(pa.binary())
            fine = np.array([_utf8(value.as_py()) for value in raw])
            shown = (
                (int(at), raw[int(at)].as_py().decode(errors="backslashreplace").strip())
                for at in np.flatnonzero(~fine)
            )
            rejects.extend((int(good[at]), None, None, NO_UTF8, text) for at, text in shown)
            texts, good = texts.filter(pa.array(fine)), good[fine]
        valid = self._asked("SELECT json_valid(j) AS v FROM records", texts).column("v")
        if pc.all(valid, min_count=0).as_py():
            return texts, good
        fine = np.asarray(pc.fill_null(valid, False))
        for at in np.flatnonzero(~fine):
            text = texts[int(at)].as_py().strip()
            rejects.append((int(good[at]), None, _why(text), NO_JSON, text))
        return texts.filter(pa.array(fine)), good[fine]

    def _plain(self, texts: Any, good: Any, rejects: list[Any]) -> tuple[Any, Any]:
        """Set records aside in which a key stands twice: nobody knows which value is meant."""
        if not self._objects or not len(texts):
            return texts, good
        keys = [f"json_keys(j, {_literal(place)})" if place else "json_keys(j)" for place in self._objects]
        odd = " OR ".join(f"coalesce(list_unique({one}) < len({one}), false)" for one in keys)
        # records have few sets of keys: of each one record is looked at
        alike = f"SELECT any_value(j) AS j FROM records GROUP BY {', '.join(f'hash({one})' for one in keys)}"
        if not self._asked(f"SELECT 1 FROM ({alike}) WHERE {odd} LIMIT 1", texts).num_rows:
            return texts, good
        wrong = np.asarray(self._asked(f"SELECT {odd} AS v FROM records", texts).column("v"))
        for at in np.flatnonzero(wrong):
            text = texts[int(at)].as_py().strip()
            rejects.append((int(good[at]), None, _twice(text), TWICE, text))
        return texts.filter(pa.array(~wrong)), good[~wrong]

    def _asked(self, sql: str, texts: pa.Array) -> pa.Table:
        cursor = self._cursor()
        cursor.register("records", pa.table({"j": texts}))
        try:
            return cursor.execute(sql).to_arrow_table()
        finally:
            cursor.unregister("records")

    def _cells(self, texts: pa.Array, parsed: Parsed) -> None:
        rows = len(texts)
        found: dict[str, pa.Array] = {}
        if self.pointers:
            listed = ", ".join(_literal(pointer) for pointer in self.pointers)
            values = _whole(
                self._asked(f"SELECT json_extract_string(j, [{listed}]) AS v FROM records", texts).column("v")
            ).values
            step = len(self.pointers)
            found = {
                pointer: values.take(pa.array(np.arange(at, rows * step, step)))
                for at, pointer in enumerate(self.pointers)
            }
        out = np.zeros(rows, bool)
        for leaf in self.leaves:
            cells = found[leaf.pointer]
            frames = self._frames(leaf, texts, parsed) if leaf.drawn else None
            array, bad = self._column(leaf, cells, found, parsed, frames)
            parsed.arrays[leaf.name] = array
            if pa.types.is_float64(array.type) and (flags := find_rounded(cells, array)) is not None:
                place = int(np.argmax(flags))
                file, part, row = parsed.locate(int(parsed.good[place]))
                count, value = int(flags.sum()), cells[place].as_py()
                parsed.deviations.append(rounded_deviation(leaf.name, count, file.name, part.first + row, value))
            if bad is not None and pc.any(bad).as_py():
                mask = np.asarray(pc.fill_null(bad, False)) & ~out
                out |= mask
                reason = "no GeoJSON geometry" if leaf.how == REGION else reason_of(self.kinds[leaf.name])
                for at in np.flatnonzero(mask):
                    value = cells[int(at)].as_py()
                    parsed.rejects.append(
                        (
                            int(parsed.good[at]),
                            leaf.name,
                            value,
                            reason_for(value, self.kinds[leaf.name], reason),
                            texts[int(at)].as_py().strip(),
                        )
                    )
        if out.any():
            keep = pa.array(~out)
            parsed.arrays = {name: array.filter(keep) for name, array in parsed.arrays.items()}
            parsed.good = parsed.good[~out]
            parsed.rejects.sort(key=lambda item: item[0])

    def _column(
        self, leaf: Leaf, cells: pa.Array, found: Mapping[str, pa.Array], parsed: Parsed, frames: Frames | None
    ) -> tuple[pa.Array, pa.Array | None]:
        kind, words = self.kinds[leaf.name], self.words(leaf.name)
        if leaf.how == TEXT and frames is not None:
            cells = frames.kept(cells)
        if leaf.how == CELL and not pa.types.is_string(kind):
            return convert(cells, kind, nulls=words)
        if leaf.how in {CELL, TEXT}:
            return nulled(cells, words), None
        if leaf.how == REGION:
            return self._region(leaf, cells, found, parsed, frames)
        if leaf.how == LIST:
            lists = self._transformed(cells, '["VARCHAR"]')
            made, bad = self._elements(lists.offsets, lists.values, kind, words, pc.is_null(lists))
            return made if frames is None or not pa.types.is_floating(kind) else frames.boxed(made), bad
        objects = self._transformed(cells, '["JSON"]')
        inner = self._asked(
            f"SELECT json_extract_string(j, {_literal(leaf.inner)}) AS v FROM records", objects.values
        ).column("v")
        return self._elements(objects.offsets, _whole(inner), kind, words, pc.is_null(objects))

    def _transformed(self, cells: pa.Array, shape: str) -> Any:
        """Convert JSON arrays to lists; a single value is a list of one, as Elasticsearch has it."""
        if pc.all(pc.starts_with(cells, "["), min_count=0).as_py():
            return _compact(
                _whole(self._asked(f"SELECT json_transform(j, '{shape}') AS v FROM records", cells).column("v"))
            )
        sql = (
            "SELECT json_transform(CASE WHEN j IS NULL OR json_valid(j) AND json_type(j) = 'ARRAY' THEN j "
            f"WHEN json_valid(j) THEN concat('[', j, ']') ELSE concat('[', to_json(j), ']') END, '{shape}') AS v FROM records"
        )
        column = _whole(self._asked(sql, cells).column("v"))
        return _compact(column)

    def _elements(
        self, offsets: Any, values: Any, kind: pa.DataType, words: Sequence[str], null: Any
    ) -> tuple[pa.Array, pa.Array | None]:
        if pa.types.is_string(kind):
            array, bad = nulled(values, words), None
        else:
            array, bad = convert(values, kind, nulls=words)
        lists = (
            pa.ListArray.from_arrays(offsets, array, mask=null)
            if pc.any(null).as_py()
            else pa.ListArray.from_arrays(offsets, array)
        )
        if bad is None:
            return lists, None
        owner = np.repeat(np.arange(len(lists)), np.diff(np.asarray(offsets)))
        rows = np.zeros(len(lists), bool)
        rows[owner[np.asarray(pc.fill_null(bad, False))]] = True
        return lists, pa.array(rows)

    def _frames(self, leaf: Leaf, texts: pa.Array, parsed: Parsed) -> Frames | None:
        """Find the frame of each geometry: its own, its record's, its document's."""
        said = [self.crs(file) for file, _ in parsed.group]
        own = any(b'"crs"' in part.data for _, part in parsed.group)
        if not own and not any(said):
            return None
        sizes = [len(part.texts) for _, part in parsed.group]
        names = pa.array(said, pa.string()).take(pa.array(np.repeat(np.arange(len(sizes)), sizes)[parsed.good]))
        if own:
            places = (leaf.pointer, leaf.pointer.rpartition("/")[0])
            asked = ", ".join(_literal(f"{place}/crs{rest}") for place in places for rest in ("/properties/name", ""))
            sql = f"SELECT json_extract_string(j, [{asked}]) AS v FROM records"
            lists = _whole(self._asked(sql, texts).column("v")).values
            near = [lists.take(pa.array(np.arange(at, len(lists), 4))) for at in range(4)]
            near[1::2] = [pc.if_else(pc.starts_with(one, "{"), pa.scalar(None, pa.string()), one) for one in near[1::2]]
            names = pc.coalesce(*near, names)
        frames, messages = Frames.of(names)
        for message in messages:
            parsed.deviations.append(_geometry(leaf, message))
        return frames

    def _region(
        self, leaf: Leaf, cells: pa.Array, found: Mapping[str, pa.Array], parsed: Parsed, frames: Frames | None
    ) -> tuple[pa.Array, pa.Array | None]:
        shapes, bad, holes = regions(cells, self._cursor(), frames)
        if holes:
            parsed.deviations.append(_geometry(leaf, "polygons have holes, which a region cannot say: they are filled"))
        if leaf.bbox is not None and shapes.null_count:
            boxes = of_boxes(self._transformed(found[leaf.bbox], '["DOUBLE"]'), frames)
            missing = pc.is_null(cells)
            if bad is not None:
                if count := pc.sum(pc.and_(bad, pc.is_valid(boxes))).as_py():
                    message = "geometries are none, or have no area: their bbox stands for them"
                    parsed.deviations.append(_geometry(leaf, message, count))
                missing, bad = pc.or_(missing, bad), pc.and_(bad, pc.is_null(boxes))
            shapes = pc.coalesce(shapes, pc.if_else(missing, boxes, pa.scalar(None, pa.string())))
        left = pc.and_(pc.is_null(shapes), pc.is_valid(cells))
        if bad is not None:
            left = pc.and_(left, pc.invert(bad))
        if count := pc.sum(left).as_py():
            message = "lines and collections of shapes are no regions: left empty"
            parsed.deviations.append(_geometry(leaf, message, count))
        return shapes, bad


def _geometry(leaf: Leaf, message: str, count: int | None = None) -> Deviation:
    return Deviation(kind=DeviationKind.GEOMETRY, column=leaf.name, message=message, count=count)


def _compact(lists: Any) -> Any:
    """Compact a list array: its values are exactly those of its rows."""
    sizes = np.asarray(pc.fill_null(pc.list_value_length(lists), 0), np.int64)
    offsets = pa.array(np.concatenate([[0], np.cumsum(sizes)]), pa.int32())
    made = pa.ListArray.from_arrays(offsets, lists.flatten(), mask=pc.is_null(lists))
    return made if lists.null_count else pa.ListArray.from_arrays(offsets, lists.flatten())


def _whole(column: Any) -> Any:
    return (
        column.chunk(0)
        if column.num_chunks == 1
        else pa.concat_arrays(column.chunks)
        if column.num_chunks
        else pa.array([], column.type)
    )


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _twice(text: str) -> str:
    """Name the keys that an object has twice."""
    found: dict[str, None] = {}

    def look(pairs: list[tuple[str, object]]) -> None:
        names = [name for name, _ in pairs]
        found.update(dict.fromkeys(name for name in names if names.count(name) > 1))

    with suppress(RecursionError, ValueError):  # its names are for people alone
        json.loads(text, object_pairs_hook=look)
    return ", ".join(found)


def _why(text: str) -> str:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError as error:
        return f"{error.msg} at character {error.colno if error.lineno == 1 else error.pos + 1}"
    return "not readable"
