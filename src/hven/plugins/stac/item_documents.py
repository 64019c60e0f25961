"""Write rows as STAC items, column by column: geometry, times, properties, links and assets."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.formats.api.json_cells import write_json_cells
from hven.model import literal, shape_columns
from hven.model.sky import region_files
from hven.plugins.stac.iau_bodies import find_frame_code
from hven.plugins.stac.item_assets import (
    EMPTY_TEXT,
    has_link_lists,
    read_column,
    read_column_texts,
    read_standard_links,
    write_assets_with_size_flags,
)
from hven.plugins.stac.item_tables import TEXT_PROPERTIES
from hven.plugins.stac.temporal_conditions import to_instants
from hven.portal.api.page_rows import build_table_address

if TYPE_CHECKING:
    from datetime import datetime

    import numpy.typing as npt

    from hven.model.table import Column
    from hven.model.types import ColumnType
    from hven.plugins.stac.item_tables import ItemTable
    from hven.plugins.stac.reader_catalogue import ItemCollection

    Objects = npt.NDArray[np.object_]

STAC_VERSION = "1.1.0"
SSYS_SCHEMA = "https://stac-extensions.github.io/ssys/v1.1.1/schema.json"
PROJECTION_SCHEMA = "https://stac-extensions.github.io/projection/v2.0.0/schema.json"
FILE_SCHEMA = "https://stac-extensions.github.io/file/v2.1.0/schema.json"
SCIENTIFIC_SCHEMA = "https://stac-extensions.github.io/scientific/v1.0.0/schema.json"
TARGET_CLASSES = pa.array(
    [
        "asteroid",
        "dwarf_planet",
        "planet",
        "satellite",
        "comet",
        "exoplanet",
        "interplanetary_medium",
        "sample",
        "sky",
        "spacecraft",
        "spacejunk",
        "star",
        "calibration",
    ]
)
# of items, besides their properties
MEMBER_NAMES = {"type", "stac_version", "id", "collection", "stac_extensions", "geometry", "bbox", "links", "assets"}
NULL_TEXT = literal.NULL_STRING
_GRID_COLUMNS = ("proj_shape", "proj_transform", "proj_bbox")
_ON_BODY = literal.to_arrow_string_scalar("body")
_JSON_NULL = literal.to_arrow_string_scalar("null")


@dataclass(frozen=True)
class ItemFieldSelection:
    """The members and properties that items have (Fields extension). A name in both lists is written.

    Attributes
    ----------
    includes
        Names to write, besides those that identify an item; empty: all.
    excludes
        Names to leave out.
    is_latitude_first
        Whether positions have the latitude before the longitude.
    """

    includes: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()
    is_latitude_first: bool = False

    def has_member(self, name: str) -> bool:
        """Return whether items have a member besides their properties.

        Parameters
        ----------
        name
            ``geometry``, ``links`` ...
        """
        return name in self.includes if self.includes else name not in self.excludes

    @property
    def has_properties(self) -> bool:
        """Whether items have properties."""
        return not self.includes or not MEMBER_NAMES.issuperset(self.includes)

    def has_property(self, name: str) -> bool:
        """Return whether items have a property.

        Parameters
        ----------
        name
            Name of the property.
        """
        names = {name, f"properties.{name}"}
        if not names.isdisjoint(self.includes):
            return True
        if not names.isdisjoint(self.excludes):
            return False
        return "properties" in self.includes or not (self.includes or "properties" in self.excludes)


def write_items(
    rows: pa.Table, links: pa.Table | None, collection: ItemCollection, base_url: str, selection: ItemFieldSelection
) -> pa.Array:
    """Write rows as items.

    Parameters
    ----------
    rows
        Rows with all columns of the table.
    links
        Their links, or None (`item_assets.read_link_lists`).
    collection
        Their collection.
    base_url
        Address of the site.
    selection
        Members and properties to write.

    Returns
    -------
    texts
        JSON of each item, shape (rows,).
    """
    if rows.num_rows == 0:
        return pa.array([], pa.string())
    return _ItemWriter(rows.combine_chunks(), links, collection, base_url, selection).write()


@dataclass(frozen=True)
class _ItemWriter:
    """Writes the rows of a page."""

    rows: pa.Table
    links: pa.Table | None
    collection: ItemCollection
    base_url: str
    selection: ItemFieldSelection

    @property
    def item_table(self) -> ItemTable:
        """The table of the rows."""
        return self.collection.item_table

    def get_values(self, column: Column) -> pa.Array:
        """Return the values of a column."""
        return read_column(self.rows, column)

    def get_texts(self, name: str) -> pa.Array | None:
        """Return the values of a column of texts, without empty ones; None if there is no such column."""
        return read_column_texts(self.item_table, self.rows, name)

    def write(self) -> pa.Array:
        """Write the items."""
        ids = self.get_values(self.item_table.id_column).cast(pa.string())
        geometries = read_geometries(self.rows, self.collection)
        members: list[pa.Array | str] = [
            f'{{"type":"Feature","stac_version":"{STAC_VERSION}","id":',
            literal.quote_json_strings(ids),
            f',"collection":{json.dumps(self.collection.id)}',
        ]
        properties, extensions = self._write_properties(geometries)
        if self.selection.has_member("assets"):
            links = read_standard_links(self.item_table, self.rows) if self.links is None else self.links
            assets, has_size = write_assets_with_size_flags(links, self.rows.num_rows)
            extensions.append((FILE_SCHEMA, has_size))
        if self.selection.has_member("stac_extensions"):
            members += [',"stac_extensions":[', self._join_flagged_texts(extensions), "]"]
        is_latitude_first = self.selection.is_latitude_first
        if self.selection.has_member("geometry"):
            members += [',"geometry":', write_geometries(geometries, is_latitude_first=is_latitude_first)]
        if self.selection.has_member("bbox"):
            boxes = write_boxes(geometries, ',"bbox":[', (",", ","), "]", is_latitude_first=is_latitude_first)
            members.append(boxes)
        if self.selection.has_properties:
            members += [',"properties":{', *properties, "}"]
        if self.selection.has_member("links"):
            members += [',"links":[', self._write_links(ids), "]"]
        if self.selection.has_member("assets"):
            members += [',"assets":{', assets, "}"]
        return literal.concat_text_columns(*members, "}")

    def _join_flagged_texts(self, flagged_texts: list[tuple[str, pa.Array]]) -> pa.Array:
        """Join texts that only some rows have, as JSON strings with commas between."""
        parts = [
            literal.fill_nulls(pc.if_else(flags, literal.to_arrow_string_scalar(f',"{text}"'), EMPTY_TEXT))
            for text, flags in flagged_texts
        ]
        if not parts:
            return pa.array([""] * self.rows.num_rows)
        return pc.utf8_slice_codeunits(literal.concat_text_columns(*parts), 1)

    def _write_properties(self, geometries: Objects) -> tuple[list[pa.Array | str], list[tuple[str, pa.Array]]]:
        """Write the parts of the properties, and list the extensions with the rows that have them."""
        parts = self._write_times()
        extensions: list[tuple[str, pa.Array]] = []

        def add_property(name: str, texts: pa.Array) -> None:
            if texts.null_count == len(texts) or not self.selection.has_property(name):
                return
            key_text = f",{json.dumps(name, ensure_ascii=False)}:"
            if texts.null_count:
                parts.append(literal.fill_nulls(literal.concat_text_columns(key_text, texts)))
            else:
                parts.extend((key_text, texts))

        targets = self.get_texts("target_name")
        classes = self.get_texts("target_class")
        if self.item_table.is_epn and targets is not None:
            add_property("ssys:targets", _write_text_lists(targets))
            has_ssys = pc.is_valid(targets)
            if classes is not None:
                first_class = pc.list_element(pc.split_pattern(literal.fill_nulls(classes), "#"), 0)
                is_known = pc.is_in(first_class, TARGET_CLASSES)
                add_property(
                    "ssys:target_class", pc.if_else(is_known, literal.quote_json_strings(first_class), NULL_TEXT)
                )
                has_ssys = pc.or_(has_ssys, is_known)
            extensions.append((SSYS_SCHEMA, has_ssys))
        codes = self._find_frame_codes(geometries, targets)
        if codes is not None:
            add_property("proj:code", literal.quote_json_strings(codes))
            extensions.append((PROJECTION_SCHEMA, pc.is_valid(codes)))
            for name, texts in self._write_raster_grids(codes).items():
                add_property(name, texts)
        for name, column_names in TEXT_PROPERTIES.items():
            texts = self.get_texts(column_names[not self.item_table.is_epn])
            if texts is None or name.startswith("ssys:"):
                continue
            is_list = name == "instruments"
            add_property(name, _write_text_lists(texts) if is_list else literal.quote_json_strings(texts))
            if name == "sci:citation":
                extensions.append((SCIENTIFIC_SCHEMA, pc.is_valid(texts)))
        for name, texts in self._write_property_cells().items():
            add_property(name, texts)
        return parts, extensions

    def _write_property_cells(self) -> dict[str, pa.Array]:
        """Write the cells of all columns, by the names of the properties; columns of one type are written at once."""
        named_columns = {
            name: column
            for column in self.item_table.columns_by_name.values()
            if self.selection.has_property(name := f"{self.item_table.prefix}{column.name}")
        }
        names_by_type: dict[ColumnType, list[str]] = {}
        for name, column in named_columns.items():
            names_by_type.setdefault(column.type, []).append(name)
        row_count = self.rows.num_rows
        texts_by_name: dict[str, pa.Array] = {}
        for column_type, names in names_by_type.items():
            columns = [
                literal.cast_to_storage_type(self.get_values(named_columns[name]), column_type) for name in names
            ]
            texts = _write_present_cells(pa.concat_arrays(columns), column_type)
            for number, name in enumerate(names):
                texts_by_name[name] = texts.slice(number * row_count, row_count)
        return {name: texts_by_name[name] for name in named_columns}

    def _write_times(self) -> list[pa.Array | str]:
        """Write datetime, or null with begin and end; rows without a time take that of their collection."""
        row_count = self.rows.num_rows
        span = self.collection.item_span
        begins, ends = (pa.nulls(row_count, pa.timestamp("ms")) for _ in range(2))
        if self.item_table.time_columns is not None:
            begins, ends = (to_instants(self.get_values(column), column) for column in self.item_table.time_columns)
        own_begins, own_ends = pc.coalesce(begins, ends), pc.coalesce(ends, begins)
        begin_texts = _write_instants(_fill_missing_instants(own_begins, span.begin))
        end_texts = _write_instants(_fill_missing_instants(own_ends, span.end))
        instants = pc.if_else(pc.equal(begin_texts, end_texts), begin_texts, _JSON_NULL)
        spans = literal.concat_text_columns(',"start_datetime":', begin_texts, ',"end_datetime":', end_texts)
        return ['"datetime":', instants, spans]

    def _write_raster_grids(self, codes: pa.Array) -> dict[str, pa.Array]:
        """Write the frames and the pixels of rasters, which columns such as ``proj_shape`` describe."""
        grids: dict[str, pa.Array] = {}
        for column_name in _GRID_COLUMNS:
            column = self.item_table.columns_by_name.get(column_name)
            if column is not None and column.type.is_array and not column.type.is_string:
                values = literal.cast_to_storage_type(self.get_values(column), column.type)
                grids[column_name.replace("_", ":", 1)] = _write_present_cells(values, column.type)
        if not grids:
            return {}
        has_grid = pc.and_(pc.is_valid(pc.coalesce(*grids.values())), pc.is_valid(codes))
        encoded = codes.dictionary_encode()
        distinct_codes = encoded.dictionary.to_pylist()
        frame_texts = pa.array([write_frame_text(code) for code in distinct_codes], pa.string()).take(encoded.indices)
        grids["proj:wkt2"] = pc.if_else(has_grid, literal.quote_json_strings(frame_texts), NULL_TEXT)
        if "proj:epsg" in self.selection.includes:  # before version 2.0 of the extension; GDAL 3.6 requires it
            numbers = [code[5:] if re.fullmatch("EPSG:[1-9][0-9]{3,9}", code) else "null" for code in distinct_codes]
            grids["proj:epsg"] = pc.if_else(has_grid, pa.array(numbers, pa.string()).take(encoded.indices), NULL_TEXT)
        return grids

    def _find_frame_codes(self, geometries: Objects, targets: pa.Array | None) -> pa.Array | None:
        """Find the codes of frames: those of rasters, or spheres of bodies with longitudes to the east."""
        own_codes, body_codes = self.get_texts("proj_code"), None
        if self.item_table.body_name is not None:
            body_codes = pa.array([self.item_table.frame_code] * self.rows.num_rows, pa.string())
        elif targets is not None and self.item_table.has_geometry:
            encoded = targets.dictionary_encode()
            codes = [find_frame_code(name.split("#")[0]) for name in encoded.dictionary.to_pylist()]
            body_codes = pa.array(codes, pa.string()).take(encoded.indices)
        if body_codes is None or body_codes.null_count == len(body_codes):
            return own_codes
        body_codes = pc.if_else(pa.array(_find_present(geometries)), body_codes, NULL_TEXT)
        return body_codes if own_codes is None else pc.coalesce(own_codes, body_codes)

    def _write_links(self, ids: pa.Array) -> pa.Array:
        root_url = f"{self.base_url}/stac"
        collection_url = f"{root_url}/collections/{quote(self.collection.id, safe='')}"
        encoded_ids = encode_ids_for_urls(ids)
        table = self.item_table.table
        parts: list[pa.Array | str] = [
            _write_link("root", root_url, "application/json"),
            "," + _write_link("parent", collection_url, "application/json"),
            "," + _write_link("collection", collection_url, "application/json"),
            f',{{"rel":"self","type":"application/geo+json","href":"{collection_url}/items/',
            encoded_ids,
            '"}',
        ]
        if has_link_lists(self.item_table):
            links_url = f"{self.base_url}/datalink/{quote(table.qualified_name)}?ID="
            link_type = "application/x-votable+xml;content=datalink"
            parts += [
                f',{{"rel":"related","title":"DataLink","type":"{link_type}","href":"{links_url}',
                encoded_ids,
                '"}',
            ]
        page_url = build_table_address(self.base_url, table)
        if self.item_table.has_unique_ids:
            has_plain_ids = encoded_ids is ids
            row_keys = ids if has_plain_ids else encode_ids_for_urls(literal.quote_json_strings(ids))
            quote_mark = "%22" if has_plain_ids else ""
            parts += [
                f',{{"rel":"alternate","type":"text/html","href":"{page_url}?_row=%5B{quote_mark}',
                row_keys,
                f'{quote_mark}%5D"}}',
            ]
        return literal.concat_text_columns(*parts)


def _write_present_cells(values: pa.Array, column_type: ColumnType) -> pa.Array:
    """Write values as JSON; those that JSON has no value for, and nulls, stay null."""
    if values.null_count == len(values):
        return pa.nulls(len(values), pa.string())
    texts = write_json_cells(values, column_type)
    if values.null_count or pa.types.is_floating(values.type):
        is_missing = pc.equal(texts, _JSON_NULL)
        return pc.if_else(is_missing, NULL_TEXT, texts) if pc.any(is_missing).as_py() else texts
    return texts


def _fill_missing_instants(instants: pa.Array, instant: datetime | None) -> pa.Array:
    """Replace nulls by an instant."""
    if instants.null_count == 0:
        return instants
    return pc.fill_null(instants, pa.scalar(instant, pa.timestamp("ms", "UTC")).cast(pa.timestamp("ms")))


def _write_instants(instants: pa.Array) -> pa.Array:
    """Write timestamps in milliseconds as JSON; Arrow casts them in a tenth of the time of its `strftime`."""
    texts = pc.binary_replace_slice(instants.cast(pa.string()), 10, 11, "T")
    return literal.concat_text_columns('"', texts, 'Z"')


@lru_cache(64)
def write_frame_text(code: str) -> str | None:
    """Write a frame as WKT2; None if it is not known, or if pyproj is not installed.

    Parameters
    ----------
    code
        Code of the frame: ``IAU_2015:49910``.
    """
    try:
        import pyproj  # noqa: PLC0415  (an extra)

        text: str = pyproj.CRS.from_user_input(code).to_wkt("WKT2_2019")
    except (ImportError, RuntimeError):  # the errors of pyproj are of the second kind
        return None
    return text


def encode_ids_for_urls(ids: pa.Array) -> pa.Array:
    """Encode ids for addresses.

    Parameters
    ----------
    ids
        Texts, shape (n,).
    """
    needs_encoding = pc.match_substring_regex(ids, "[^A-Za-z0-9._~-]")
    if not pc.any(needs_encoding).as_py():
        return ids
    return pa.array([None if text is None else quote(text, safe="") for text in ids.to_pylist()], pa.string())


def _find_present(objects: Objects) -> npt.NDArray[np.bool_]:
    """Return which objects are not None."""
    return np.array([item is not None for item in objects], bool)


def _write_text_lists(texts: pa.Array) -> pa.Array:
    """Write texts whose parts are joined by # as JSON lists."""
    quoted = literal.quote_json_strings(texts)
    return literal.concat_text_columns("[", pc.replace_substring(quoted, "#", '","'), "]")


def _write_link(relation: str, url: str, media_type: str) -> str:
    return json.dumps({"rel": relation, "type": media_type, "href": url}, separators=(",", ":"))


def read_geometries(rows: pa.Table, collection: ItemCollection) -> Objects:
    """Read the footprints of rows on a body, cut at 180 degrees.

    Parameters
    ----------
    rows
        Rows with the columns of positions.
    collection
        Their collection.

    Returns
    -------
    geometries
        Geometries of shapely, or None, shape (rows,).
    """
    item_table = collection.item_table
    geometries: Objects = np.full(rows.num_rows, None, object)
    if not item_table.has_geometry:
        return geometries
    if item_table.region_column is not None:
        column = item_table.region_column
        regions = shape_columns.parse_regions(read_column(rows, column), column.type)
        geometries = region_files.to_map_geometries(regions)
    boxed_rows = np.flatnonzero(~_find_present(geometries))
    if item_table.box_columns is not None and len(boxed_rows):
        values = [
            np.asarray(read_column(rows, column).cast(pa.float64()).fill_null(np.nan), np.float64)
            for column in item_table.box_columns
        ]
        geometries[boxed_rows] = build_box_geometries(*(numbers[boxed_rows] for numbers in values))
    if item_table.frame_type_column is not None:
        frame_types = read_column(rows, item_table.frame_type_column)
        is_on_body = np.asarray(pc.fill_null(pc.equal(frame_types, _ON_BODY), False), bool)
        geometries[~is_on_body] = None
    return geometries


def build_box_geometries(west: Any, east: Any, south: Any, north: Any) -> Objects:
    """Build points, lines and boxes, cut at 180 degrees.

    Parameters
    ----------
    west, east, south, north
        Degrees, shape (n,); an east that is less than its west lies beyond the meridian where longitudes begin again.

    Returns
    -------
    geometries
        Geometries of shapely, shape (n,); None where a number is missing or no position.
    """
    import shapely  # noqa: PLC0415

    geometries: Objects = np.full(len(west), None, object)
    is_valid = np.isfinite(west + east + south + north) & (south <= north) & (south >= -90) & (north <= 90)
    rows = np.flatnonzero(is_valid)
    low, high = south[rows], north[rows]
    span = east[rows] - west[rows]
    width = np.where(span < 0, np.mod(span, 360.0), np.minimum(span, 360.0))
    begin = np.where(width >= 360.0, -180.0, np.mod(west[rows] + 180.0, 360.0) - 180.0)
    begin = np.where((begin == -180.0) & (width == 0), np.where(west[rows] < 0, -180.0, 180.0), begin)
    end = begin + width
    is_point = (width == 0) & (low == high)
    is_line = ((width == 0) | (low == high)) & ~is_point
    is_crossing = (end > 180.0) & ~is_point & ~is_line
    is_box = ~is_point & ~is_line & ~is_crossing
    geometries[rows[is_point]] = shapely.points(begin[is_point], low[is_point])
    geometries[rows[is_box]] = shapely.box(begin[is_box], low[is_box], end[is_box], high[is_box])
    if is_line.any():
        ends = np.minimum(end[is_line], 180.0)
        corners = np.stack([np.stack([begin[is_line], low[is_line]], 1), np.stack([ends, high[is_line]], 1)], 1)
        geometries[rows[is_line]] = shapely.linestrings(corners)
    if is_crossing.any():
        first, last, bottom, top = begin[is_crossing], end[is_crossing] - 360.0, low[is_crossing], high[is_crossing]
        boxes = np.stack([shapely.box(first, bottom, 180.0, top), shapely.box(-180.0, bottom, last, top)], 1)
        geometries[rows[is_crossing]] = shapely.multipolygons(boxes)
    return geometries


def write_geometries(geometries: Objects, *, is_latitude_first: bool = False) -> pa.Array:
    """Write geometries as GeoJSON; none is null.

    Parameters
    ----------
    geometries
        Geometries of shapely, or None.
    is_latitude_first
        Whether positions have the latitude before the longitude.
    """
    import shapely  # noqa: PLC0415

    texts = np.full(len(geometries), "null", object)
    has_geometry = _find_present(geometries)
    present = geometries[has_geometry]
    if is_latitude_first:
        present = shapely.transform(present, lambda positions: positions[:, ::-1])
    texts[has_geometry] = shapely.to_geojson(present)
    return pa.array(texts, pa.string())


def compute_boxes(geometries: Objects) -> npt.NDArray[np.float64]:
    """Compute the boxes of geometries; one that is cut at 180 degrees has an east that is less than its west.

    Parameters
    ----------
    geometries
        Geometries of shapely, or None, shape (n,).

    Returns
    -------
    boxes
        West, south, east, north, shape (n, 4); NaN without a geometry.
    """
    import shapely  # noqa: PLC0415

    boxes: npt.NDArray[np.float64] = shapely.bounds(geometries)
    is_full_width = (boxes[:, 0] <= -180.0) & (boxes[:, 2] >= 180.0)
    is_cut = is_full_width & (shapely.get_num_geometries(geometries) > 1)
    rows = np.flatnonzero(is_cut)
    if len(rows):
        parts, owners = shapely.get_parts(geometries[rows], return_index=True)
        part_boxes = shapely.bounds(parts)
        is_whole_turn = (part_boxes[:, 0] <= -180.0) & (part_boxes[:, 2] >= 180.0)  # such as the cap of a pole
        is_kept = ~np.isin(owners, owners[is_whole_turn])
        owners, part_boxes = owners[is_kept], part_boxes[is_kept]
        is_western = part_boxes[:, 0] <= -180.0  # in the west of the map, thus in the east of the footprint
        for box_column, choose, mask in ((0, np.fmin, ~is_western), (2, np.fmax, is_western)):
            values = np.full(len(rows), np.nan)
            choose.at(values, owners[mask], part_boxes[mask, box_column])
            boxes[rows, box_column] = np.where(np.isnan(values), boxes[rows, box_column], values)
    return boxes


def write_boxes(
    geometries: Objects, begin: str, separators: tuple[str, str], end: str, *, is_latitude_first: bool
) -> pa.Array:
    """Write the boxes of geometries; the text of a row without a geometry is empty.

    Parameters
    ----------
    geometries
        Geometries of shapely, or None.
    begin, separators, end
        Texts around a box, between the numbers of a corner, and between the corners.
    is_latitude_first
        Whether positions have the latitude before the longitude.
    """
    boxes = compute_boxes(geometries)
    has_box = pa.array(np.isfinite(boxes).all(axis=1))
    order = (1, 0, 3, 2) if is_latitude_first else (0, 1, 2, 3)
    first, second, third, fourth = (pa.array(boxes[:, number]).cast(pa.string()) for number in order)
    comma, middle = separators
    texts = literal.concat_text_columns(begin, first, comma, second, middle, third, comma, fourth, end)
    return pc.if_else(has_box, texts, EMPTY_TEXT)
