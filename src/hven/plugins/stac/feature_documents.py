"""Write rows as features of GeoJSON and GML, column by column."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote
from xml.sax.saxutils import escape

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.formats.api.json_cells import write_json_cells
from hven.model import literal
from hven.plugins.stac.item_assets import read_column
from hven.plugins.stac.item_documents import read_geometries, write_boxes, write_geometries

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from hven.model.table import Column
    from hven.plugins.stac.item_documents import Objects
    from hven.plugins.stac.reader_catalogue import ItemCollection

GEOMETRY_ELEMENT = "geometry"


@dataclass(frozen=True)
class GmlDialect:
    """How a version of GML writes geometries.

    Attributes
    ----------
    multi, member
        Element of polygons, and element around each.
    outer, inner
        Elements around the outer ring of a polygon, and around the others.
    positions, position
        Elements of several positions, and of one.
    separator
        Between the two numbers of a position.
    """

    multi: str
    member: str
    outer: str
    inner: str
    positions: str
    position: str
    separator: str


GML2 = GmlDialect(
    *("MultiPolygon", "polygonMember", "outerBoundaryIs", "innerBoundaryIs"), *("coordinates", "coordinates", ",")
)
GML3 = GmlDialect("MultiSurface", "surfaceMember", "exterior", "interior", "posList", "pos", " ")


def encode_xml_or_file_name(text: str) -> str:
    """Encode a text for names of files and of XML: _HH stands for characters that these cannot have.

    Parameters
    ----------
    text
        Any text.
    """
    return quote(text, safe="").replace("_", "%5F").replace("~", "%7E").replace("%", "_")


def _read_feature_ids(rows: pa.Table, collection: ItemCollection) -> pa.Array:
    """Read ids as names of XML: ``collection.id``, with _HH for characters that names cannot have."""
    ids = read_column(rows, collection.item_table.id_column).cast(pa.string())
    if pc.any(pc.match_substring_regex(ids, "[^A-Za-z0-9.-]")).as_py():
        ids = pa.array([encode_xml_or_file_name(text) for text in ids.to_pylist()], pa.string())
    return literal.concat_text_columns(f"{collection.id}.", ids)


def encode_xml_element_name(column_name: str) -> str:
    """Return the name of a column as a name of XML.

    Parameters
    ----------
    column_name
        Name of the column.
    """
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", column_name)
    return name if re.match(r"[A-Za-z_]", name) else f"_{name}"


def write_geojson_features(rows: pa.Table, collection: ItemCollection, columns: Sequence[Column]) -> pa.Array:
    """Write rows as features of GeoJSON, whose properties have the names of columns.

    Parameters
    ----------
    rows
        Rows with all columns of the table.
    collection
        Their collection.
    columns
        Columns that become properties.

    Returns
    -------
    texts
        JSON of each feature, shape (rows,).
    """
    properties: list[pa.Array | str] = []
    for number, column in enumerate(columns):
        values = literal.cast_to_storage_type(read_column(rows, column), column.type)
        properties += ["," * (number > 0) + json.dumps(column.name) + ":", write_json_cells(values, column.type)]
    return literal.concat_text_columns(
        '{"type":"Feature","id":',
        literal.quote_json_strings(_read_feature_ids(rows, collection)),
        ',"geometry":',
        write_geometries(read_geometries(rows, collection)),
        ',"properties":{',
        *properties,
        "}}",
    )


def write_gml_features(
    rows: pa.Table,
    collection: ItemCollection,
    columns: Sequence[Column],
    dialect: GmlDialect,
    frame: str,
    *,
    is_latitude_first: bool,
) -> pa.Array:
    """Write rows as features of GML.

    Parameters
    ----------
    rows
        Rows with all columns of the table.
    collection
        Their collection.
    columns
        Columns that become elements.
    dialect
        Version of GML: 2 for WFS 1.0.0, 3.2 for WFS 2.0.0.
    frame
        Name of the frame.
    is_latitude_first
        Whether latitudes come before longitudes.

    Returns
    -------
    texts
        XML of each feature, shape (rows,).
    """
    is_gml2 = dialect is GML2
    feature_ids = _read_feature_ids(rows, collection)
    geometries = read_geometries(rows, collection)
    id_attribute = "fid" if is_gml2 else "gml:id"
    parts: list[pa.Array | str] = [f'<f:{collection.id} {id_attribute}="', feature_ids, '">']
    if not is_gml2:
        begin = f'<gml:boundedBy><gml:Envelope srsName="{frame}"><gml:lowerCorner>'
        separators = (" ", "</gml:lowerCorner><gml:upperCorner>")
        end = "</gml:upperCorner></gml:Envelope></gml:boundedBy>"
        parts.append(write_boxes(geometries, begin, separators, end, is_latitude_first=is_latitude_first))
    geometry_texts = write_gml_geometries(geometries, feature_ids, dialect, frame, is_latitude_first=is_latitude_first)
    parts.append(geometry_texts)
    for column in columns:
        name = encode_xml_element_name(column.name)
        values = read_column(rows, column)
        texts = escape_xml_texts(literal.format_dali_literals(values, column.type, null_text="null"))
        element = pc.binary_join_element_wise(f"<f:{name}>", texts, f"</f:{name}>", "")
        parts.append(literal.fill_nulls(element))
    return literal.concat_text_columns(*parts, f"</f:{collection.id}>")


def escape_xml_texts(texts: pa.Array) -> pa.Array:
    """Escape texts for XML; characters that XML cannot have are left out.

    Parameters
    ----------
    texts
        Texts, shape (n,).
    """
    for character in "&<>":
        texts = pc.replace_substring(texts, character, escape(character))
    return pc.replace_substring_regex(texts, r"[\x00-\x08\x0B\x0C\x0E-\x1F]", "")


def write_gml_geometries(
    geometries: Objects, feature_ids: pa.Array, dialect: GmlDialect, frame: str, *, is_latitude_first: bool
) -> pa.Array:
    """Write geometries as elements of GML; rows without one have an empty text.

    Parameters
    ----------
    geometries
        Geometries of shapely, or None, shape (n,).
    feature_ids
        Ids of the features, shape (n,).
    dialect, frame, is_latitude_first
        Version of GML, name of the frame, and order of its axes.
    """
    import shapely  # noqa: PLC0415  (only geometries need it)

    kinds = shapely.get_type_id(geometries)
    frame_attribute = f' srsName="{frame}"' if frame else ""
    elements, contents = (np.full(len(geometries), None, object) for _ in range(2))
    for kind, element, tag in ((0, "Point", dialect.position), (1, "LineString", dialect.positions)):
        rows = np.flatnonzero(kinds == kind)
        if len(rows):
            positions = _write_positions(geometries[rows], dialect, is_latitude_first=is_latitude_first)
            elements[rows] = element
            contents[rows] = literal.concat_text_columns(f"<gml:{tag}>", positions, f"</gml:{tag}>").to_pylist()
    rows = np.flatnonzero((kinds == 3) | (kinds == 6))
    if len(rows):
        row_ids = feature_ids.take(pa.array(rows))
        polygons = _write_polygons(geometries[rows], row_ids, dialect, is_latitude_first=is_latitude_first)
        elements[rows], contents[rows] = dialect.multi, polygons.to_pylist()
    element_names = pa.array(elements, pa.string())
    identifier: list[pa.Array | str] = []
    if dialect is GML3:
        identifier = [' gml:id="', feature_ids, '.g"']
    written = literal.concat_text_columns(
        f"<f:{GEOMETRY_ELEMENT}><gml:",
        element_names,
        *identifier,
        f"{frame_attribute}>",
        pa.array(contents, pa.string()),
        "</gml:",
        element_names,
        f"></f:{GEOMETRY_ELEMENT}>",
    )
    return literal.fill_nulls(written)


def _write_polygons(
    geometries: Objects, feature_ids: pa.Array, dialect: GmlDialect, *, is_latitude_first: bool
) -> pa.Array:
    """Write polygons: rings of polygons, polygons of rows."""
    import shapely  # noqa: PLC0415

    polygons, rows = shapely.get_parts(geometries, return_index=True)
    rings, owners = shapely.get_rings(polygons, return_index=True)
    positions = _write_positions(rings, dialect, is_latitude_first=is_latitude_first)
    is_outer = pa.array(np.diff(owners, prepend=-1) != 0)
    sides = pc.if_else(is_outer, dialect.outer, dialect.inner)
    tag = dialect.positions
    ring_texts = literal.concat_text_columns(
        *("<gml:", sides, f"><gml:LinearRing><gml:{tag}>", positions),
        *(f"</gml:{tag}></gml:LinearRing></gml:", sides, ">"),
    )
    polygon_texts = _join_by_owner(ring_texts, owners, len(polygons))
    member = dialect.member
    identifier: list[pa.Array | str] = []
    if dialect is GML3:
        numbers = pa.array(np.arange(len(polygons))).cast(pa.string())
        identifier = [' gml:id="', feature_ids.take(pa.array(rows)), ".p", numbers, '"']
    members = literal.concat_text_columns(
        f"<gml:{member}><gml:Polygon", *identifier, ">", polygon_texts, f"</gml:Polygon></gml:{member}>"
    )
    return _join_by_owner(members, rows, len(geometries))


def _write_positions(geometries: Objects, dialect: GmlDialect, *, is_latitude_first: bool) -> pa.Array:
    import shapely  # noqa: PLC0415

    coordinates, owners = shapely.get_coordinates(geometries, return_index=True)
    if is_latitude_first:
        coordinates = coordinates[:, ::-1]
    first, second = (pa.array(numbers).cast(pa.string()) for numbers in coordinates.T)
    pairs = literal.concat_text_columns(first, dialect.separator, second)
    return _join_by_owner(pairs, owners, len(geometries), " ")


def _join_by_owner(texts: pa.Array, owners: npt.NDArray[np.intp], count: int, separator: str = "") -> pa.Array:
    """Join the texts of each owner; owners ascend."""
    offsets = np.searchsorted(owners, np.arange(count + 1)).astype(np.int32)
    lists = pa.ListArray.from_arrays(pa.array(offsets), texts)
    return pc.binary_join(lists, literal.to_arrow_string_scalar(separator))
