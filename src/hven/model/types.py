"""Types: the one table of correspondences between VOTable, ADQL, Arrow, DuckDB, FITS and HAPI.

A :class:`ColumnType` uses the terms of VOTable (datatype, arraysize, xtype; VOTable 1.4 section 2.1,
DALI 1.1 section 3.3). Everything else is looked up in `SCALAR_TYPES` and `XTYPES` below, nowhere else.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import pyarrow as pa

from hven.model import cache_results

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalarType:
    """One row of the table: a VOTable datatype and its name everywhere else.

    Attributes
    ----------
    votable, adql, arrow, duckdb, hapi
        Its name in each of these; None: it has none.
    """

    name: str  # what a descriptor says
    votable: str
    adql: str
    arrow: pa.DataType
    duckdb: str
    fits: str  # TFORM letter
    hapi: str
    numpy: str  # big-endian dtype of VOTable BINARY, "" if not numeric
    rank: int = 0  # numeric promotion order; 0 = not numeric


SCALAR_TYPES: tuple[ScalarType, ...] = (
    ScalarType(
        name="bool",
        votable="boolean",
        adql="BOOLEAN",
        arrow=pa.bool_(),
        duckdb="BOOLEAN",
        fits="L",
        hapi="integer",
        numpy="",
    ),
    ScalarType(
        name="bit", votable="bit", adql="BIT", arrow=pa.bool_(), duckdb="BOOLEAN", fits="X", hapi="integer", numpy=""
    ),
    ScalarType(
        name="uint8",
        votable="unsignedByte",
        adql="SMALLINT",
        arrow=pa.uint8(),
        duckdb="UTINYINT",
        fits="B",
        hapi="integer",
        numpy="u1",
        rank=1,
    ),
    ScalarType(
        name="int16",
        votable="short",
        adql="SMALLINT",
        arrow=pa.int16(),
        duckdb="SMALLINT",
        fits="I",
        hapi="integer",
        numpy=">i2",
        rank=2,
    ),
    ScalarType(
        name="int32",
        votable="int",
        adql="INTEGER",
        arrow=pa.int32(),
        duckdb="INTEGER",
        fits="J",
        hapi="integer",
        numpy=">i4",
        rank=3,
    ),
    ScalarType(
        name="int64",
        votable="long",
        adql="BIGINT",
        arrow=pa.int64(),
        duckdb="BIGINT",
        fits="K",
        hapi="double",
        numpy=">i8",
        rank=4,
    ),
    ScalarType(
        name="float32",
        votable="float",
        adql="REAL",
        arrow=pa.float32(),
        duckdb="REAL",
        fits="E",
        hapi="double",
        numpy=">f4",
        rank=5,
    ),
    ScalarType(
        name="float64",
        votable="double",
        adql="DOUBLE PRECISION",
        arrow=pa.float64(),
        duckdb="DOUBLE",
        fits="D",
        hapi="double",
        numpy=">f8",
        rank=6,
    ),
    ScalarType(
        name="complex64",
        votable="floatComplex",
        adql="REAL",
        arrow=pa.list_(pa.float32(), 2),
        duckdb="REAL[2]",
        fits="C",
        hapi="double",
        numpy=">c8",
    ),
    ScalarType(
        name="complex128",
        votable="doubleComplex",
        adql="DOUBLE PRECISION",
        arrow=pa.list_(pa.float64(), 2),
        duckdb="DOUBLE[2]",
        fits="M",
        hapi="double",
        numpy=">c16",
    ),
    ScalarType(
        name="string",
        votable="char",
        adql="VARCHAR",
        arrow=pa.string(),
        duckdb="VARCHAR",
        fits="A",
        hapi="string",
        numpy="",
    ),
    ScalarType(
        name="unicode",
        votable="unicodeChar",
        adql="VARCHAR",
        arrow=pa.string(),
        duckdb="VARCHAR",
        fits="A",
        hapi="string",
        numpy="",
    ),
)
SCALAR_TYPES_BY_NAME = {row.name: row for row in SCALAR_TYPES}
SCALAR_TYPES_BY_DATATYPE = {row.votable: row for row in SCALAR_TYPES}


@dataclass(frozen=True, slots=True, kw_only=True)
class Xtype:
    """One row of the second table: a DALI xtype, its VOTable carrier and its storage.

    Attributes
    ----------
    name
        Name of the xtype (DALI 1.2).
    votable, arraysize
        Datatype and arraysize of its values in VOTable.
    adql, arrow, duckdb
        Its name in each of these.
    """

    name: str
    votable: str
    arraysize: str | None
    adql: str
    arrow: pa.DataType
    duckdb: str


_DOUBLE_TYPE = pa.float64()
_RINGS_TYPE = pa.list_(pa.list_(pa.struct([pa.field("x", _DOUBLE_TYPE), pa.field("y", _DOUBLE_TYPE)])))
_CONTOUR_TYPE = pa.struct(
    [
        ("fault", pa.int8()),
        ("number", pa.int64()),
        ("quality", pa.int8()),
        ("pixels", pa.int64()),
        ("region", pa.list_(_RINGS_TYPE)),
    ]
)
XTYPES: tuple[Xtype, ...] = (
    # 'us' reaches years -290307 to 294246; DALI section 3.3.3
    Xtype(
        name="timestamp", votable="char", arraysize="*", adql="TIMESTAMP", arrow=pa.timestamp("us"), duckdb="TIMESTAMP"
    ),
    Xtype(
        name="point", votable="double", arraysize="2", adql="POINT", arrow=pa.list_(_DOUBLE_TYPE, 2), duckdb="DOUBLE[2]"
    ),
    Xtype(
        name="circle",
        votable="double",
        arraysize="3",
        adql="CIRCLE",
        arrow=pa.list_(_DOUBLE_TYPE, 3),
        duckdb="DOUBLE[3]",
    ),
    Xtype(
        name="range", votable="double", arraysize="4", adql="RANGE", arrow=pa.list_(_DOUBLE_TYPE, 4), duckdb="DOUBLE[4]"
    ),
    Xtype(
        name="polygon", votable="double", arraysize="*", adql="POLYGON", arrow=pa.list_(_DOUBLE_TYPE), duckdb="DOUBLE[]"
    ),
    Xtype(
        name="interval",
        votable="double",
        arraysize="2",
        adql="INTERVAL",
        arrow=pa.list_(_DOUBLE_TYPE, 2),
        duckdb="DOUBLE[2]",
    ),
    Xtype(
        name="multiinterval",
        votable="double",
        arraysize="*",
        adql="INTERVAL",
        arrow=pa.list_(_DOUBLE_TYPE),
        duckdb="DOUBLE[]",
    ),
    Xtype(name="moc", votable="char", arraysize="*", adql="MOC", arrow=pa.string(), duckdb="VARCHAR"),
    Xtype(name="shape", votable="char", arraysize="*", adql="REGION", arrow=pa.string(), duckdb="VARCHAR"),
    Xtype(name="multishape", votable="char", arraysize="*", adql="REGION", arrow=pa.string(), duckdb="VARCHAR"),
    Xtype(name="adql:REGION", votable="char", arraysize="*", adql="REGION", arrow=pa.string(), duckdb="VARCHAR"),
    Xtype(name="uri", votable="char", arraysize="*", adql="VARCHAR", arrow=pa.string(), duckdb="VARCHAR"),
    Xtype(name="uuid", votable="char", arraysize="36", adql="VARCHAR", arrow=pa.string(), duckdb="VARCHAR"),
    Xtype(name="json", votable="char", arraysize="*", adql="VARCHAR", arrow=pa.string(), duckdb="VARCHAR"),
    Xtype(name="hms", votable="char", arraysize="*", adql="VARCHAR", arrow=pa.string(), duckdb="VARCHAR"),
    Xtype(name="dms", votable="char", arraysize="*", adql="VARCHAR", arrow=pa.string(), duckdb="VARCHAR"),
)
XTYPES_BY_NAME = {row.name: row for row in XTYPES}
# of expressions that map a source, in no table
_CONTOUR_XTYPE = Xtype(
    name="hven:contour",
    votable="double",
    arraysize="*",
    adql="CONTOUR",
    arrow=_CONTOUR_TYPE,
    duckdb="STRUCT(fault TINYINT, number BIGINT, quality TINYINT, pixels BIGINT, region STRUCT(x DOUBLE, y "
    "DOUBLE)[][][])",
)
_STORED_XTYPES_BY_NAME = {**XTYPES_BY_NAME, _CONTOUR_XTYPE.name: _CONTOUR_XTYPE}
LEGACY_XTYPE_ALIASES = {
    "adql:TIMESTAMP": "timestamp",
    "adql:POINT": "adql:REGION",
    "region": "adql:REGION",
}  # TAP 1.0 words


@dataclass(frozen=True)  # without slots, so that each type computes its properties once
class ColumnType:
    """A column's type in VOTable's words.

    Attributes
    ----------
    datatype
        VOTable datatype (``double``, ``char`` ...).
    arraysize
        None for a scalar, else ``3``, ``*``, ``8*``, ``2x*`` (VOTable 1.4 section 2.2).
    xtype
        DALI xtype or None.
    """

    datatype: str
    arraysize: str | None = None
    xtype: str | None = None

    @property
    def scalar_type(self) -> ScalarType:
        """The row of `SCALAR_TYPES` for the datatype."""
        return SCALAR_TYPES_BY_DATATYPE[self.datatype]

    @cached_property
    def stored_xtype(self) -> Xtype | None:
        """The row of `XTYPES`, if the xtype is one that is stored in its own way."""
        if self.xtype:
            return _STORED_XTYPES_BY_NAME.get(LEGACY_XTYPE_ALIASES.get(self.xtype, self.xtype))
        return None

    @property
    def is_string(self) -> bool:
        """True for text: char or unicodeChar that is no timestamp and no array of strings."""
        return self.datatype in {"char", "unicodeChar"} and not self.is_timestamp and "x" not in (self.arraysize or "")

    @cached_property
    def is_timestamp(self) -> bool:
        """True for DALI timestamps (stored as microseconds, shown as ISO text)."""
        return self.stored_xtype is not None and self.stored_xtype.name == "timestamp"

    @property
    def is_numeric(self) -> bool:
        """True for scalar numbers."""
        return self.arraysize is None and self.scalar_type.rank > 0

    @property
    def is_integer(self) -> bool:
        """True for scalar whole numbers."""
        return self.is_numeric and self.scalar_type.rank <= 4

    @property
    def is_boolean(self) -> bool:
        """True for scalar booleans and bits."""
        return self.arraysize is None and self.datatype in {"boolean", "bit"}

    @property
    def is_geometry(self) -> bool:
        """True for point, circle, polygon, range, region and moc."""
        return self.stored_xtype is not None and self.stored_xtype.adql in {
            "POINT",
            "CIRCLE",
            "POLYGON",
            "RANGE",
            "REGION",
            "MOC",
        }

    @property
    def can_be_choice(self) -> bool:
        """True for what one may choose from: text, whole numbers, yes and no."""
        return not self.is_array and not self.is_geometry and (self.is_string or self.is_integer or self.is_boolean)

    def round_number(self, value: float) -> float:
        """Return the nearest number that a column of this type holds, to compare the column with it.

        In single precision, 6.46 is 6.460000038, which responses and pages write as 6.46.

        Parameters
        ----------
        value
            A number, in the unit of the column. Numbers beyond the range of single precision stay as they are.
        """
        if self.datatype != "float":
            return value
        rounded_value: float = pa.scalar(value, pa.float32()).as_py()
        return rounded_value if rounded_value and math.isfinite(rounded_value) else value

    @property
    def is_array(self) -> bool:
        """True for arrays of numbers, booleans or strings (geometries and intervals are not meant)."""
        return self.arraysize is not None and not self.is_string and self.stored_xtype is None

    @property
    def unbounded_text_type(self) -> ColumnType:
        """The same type; text without its bound (``2*``, ``5``), which the values of a foreign table may exceed."""
        if not self.is_string or self.arraysize == "*" or self.stored_xtype is not None:
            return self
        return replace(self, arraysize="*")

    @cached_property
    def shape(self) -> tuple[int | None, ...]:
        """Dimensions of an array, first axis fastest as VOTable writes them; None = variable."""
        if self.arraysize is None:
            return ()
        return _parse_arraysize(self.arraysize)

    @cached_property
    def arrow(self) -> pa.DataType:
        """The Arrow storage type. Arrays are flat lists whatever their rank; `shape` says how to fold them."""
        return _to_arrow_type(self)

    @property
    def duckdb(self) -> str:
        """The DuckDB type name."""
        base = self.scalar_type.duckdb
        if self.stored_xtype is not None:
            name = self.stored_xtype.duckdb
            if self.datatype != self.stored_xtype.votable:
                return name.replace("DOUBLE[", f"{base}[")
            return name
        if not self.is_array:
            return base
        # their first axis is the length of the strings
        if self.datatype in {"char", "unicodeChar"}:
            element_count = None
        else:
            element_count = _count_elements(self.shape)
        return f"{base}[{'' if element_count is None else element_count}]"

    @property
    def adql(self) -> str:
        """The ADQL type name (ADQL 2.1 section 3.2), with the length of strings where it is known."""
        if self.stored_xtype is not None:
            return self.stored_xtype.adql
        name = self.scalar_type.adql
        if self.is_string:
            length = (self.arraysize or "1").rstrip("*")
            if (self.arraysize or "").endswith("*"):
                kind = "VARCHAR"
            else:
                kind = "CHAR"
            if length:
                return f"{kind}({length})"
            return name
        return name

    @property
    def tap_schema_size(self) -> int | None:
        """TAP_SCHEMA's "size": the whole number in a one-dimensional arraysize, else None."""
        match = re.fullmatch(r"(\d+)\*?", self.arraysize or "")
        if match:
            return int(match.group(1))
        return None

    @property
    def metadata_arraysize(self) -> str | None:
        """The arraysize as metadata may say it.

        Only the last axis varies there, so texts of unknown width in an array are ``*``.
        """
        if self.arraysize is not None and self.arraysize.startswith("*x"):
            return "*"
        return self.arraysize

    def __str__(self) -> str:
        """Write the type as a descriptor does; `parse_type` reads it back."""
        if self.stored_xtype is not None and (self.stored_xtype.votable, self.stored_xtype.arraysize) == (
            self.datatype,
            self.arraysize,
        ):
            return str(self.xtype)
        name = self.scalar_type.name
        if self.datatype in {"char", "unicodeChar"}:
            if self.arraysize == "*":
                size = ""
            else:
                size = f"[{self.arraysize or 1}]"
        elif self.arraysize is not None:
            size = f"[{self.arraysize}]"
        else:
            size = ""
        return name + size + (f":{self.xtype}" if self.xtype else "")


def choose_text_width(max_characters: int) -> int:
    """Return the width of texts in an array with room for the longest: a power of two, so that it seldom changes.

    Parameters
    ----------
    max_characters
        Characters of the longest text.

    Returns
    -------
    width
        Characters, at least 16.
    """
    return max(16, 1 << max_characters.bit_length())


@cache_results(1024)
def _parse_arraysize(arraysize: str) -> tuple[int | None, ...]:
    return tuple(None if size.endswith("*") else int(size) for size in arraysize.split("x"))


def _count_elements(shape: tuple[int | None, ...]) -> int | None:
    element_count = 1
    for size in shape:
        if size is None:
            return None
        element_count *= size
    return element_count


@lru_cache(maxsize=1024)
def _to_arrow_type(value_type: ColumnType) -> pa.DataType:
    stored_xtype = value_type.stored_xtype
    if stored_xtype is not None:
        return _to_xtype_storage(value_type, stored_xtype)
    if value_type.is_string:
        return pa.string()
    element_type = value_type.scalar_type.arrow
    if value_type.arraysize is None:
        return element_type
    if value_type.datatype in {"char", "unicodeChar"}:  # array of strings: the first axis is the length
        return pa.list_(pa.string())
    element_count = _count_elements(value_type.shape)
    if element_count is None:
        return pa.list_(element_type)
    return pa.list_(element_type, element_count)


def _to_xtype_storage(value_type: ColumnType, stored_xtype: Xtype) -> pa.DataType:
    """Return the storage of an xtype with the elements of the value type, as in an interval of integers."""
    has_fixed_size = pa.types.is_fixed_size_list(stored_xtype.arrow)
    is_list = has_fixed_size or pa.types.is_list(stored_xtype.arrow)
    if value_type.datatype == stored_xtype.votable or not is_list:
        return stored_xtype.arrow
    element_type = value_type.scalar_type.arrow
    if has_fixed_size:
        return pa.list_(element_type, stored_xtype.arrow.list_size)
    return pa.list_(element_type)


# an arraysize: numbers joined by x, of which the last may be variable (VOTable 1.4 section 2.2)
_TYPE_PATTERN = re.compile(r"([a-z]+\d*)(?:\[((?:\d+x)*(?:\d+\*?|\*)|\*x\*|\*x\d+)\])?(?::(\S+))?", re.IGNORECASE)
TYPE_ALIASES = {
    "float": "float32",
    "double": "float64",
    "int": "int32",
    "short": "int16",
    "long": "int64",
    "byte": "uint8",
    "boolean": "bool",
    "text": "string",
    "str": "string",
    "char": "string",
    "unicodechar": "unicode",
    "smallint": "int16",
    "integer": "int32",
    "bigint": "int64",
    "real": "float32",
    "varchar": "string",
    "datetime": "timestamp",
}


def list_type_names() -> Iterator[str]:
    """List every word that `parse_type` knows, the preferred ones first.

    Yields
    ------
    name
        A word as a descriptor writes it.
    """
    yield from SCALAR_TYPES_BY_NAME
    yield from (name for name in XTYPES_BY_NAME if ":" not in name)
    yield from TYPE_ALIASES


def parse_type(text: str) -> ColumnType:
    """Parse a type as a descriptor writes it: ``float64``, ``string[20]``, ``int16[3]``, ``timestamp``.

    Parameters
    ----------
    text
        A word, with the size of arrays in brackets; DALI's xtypes are words, too.

    Returns
    -------
    type
        As VOTable's datatype, arraysize and xtype.

    Raises
    ------
    ValueError
        The word is not known; the message has no place, callers add it.
    """
    if text in XTYPES_BY_NAME:
        row = XTYPES_BY_NAME[text]
        return ColumnType(row.votable, row.arraysize, text)
    if text in LEGACY_XTYPE_ALIASES:
        row = XTYPES_BY_NAME[LEGACY_XTYPE_ALIASES[text]]
        return ColumnType(row.votable, row.arraysize, text)
    match = _TYPE_PATTERN.fullmatch(text.strip())
    if match:
        name = match.group(1).lower()
    else:
        name = ""
    name = TYPE_ALIASES.get(name, name)
    if match and name in XTYPES_BY_NAME and match.group(2) is None:
        row = XTYPES_BY_NAME[name]
        return ColumnType(row.votable, row.arraysize, name)
    if match is None or name not in SCALAR_TYPES_BY_NAME:
        message = f"there is no type {text!r}"
        raise ValueError(message)
    size = match.group(2)
    if name in {"string", "unicode"} and size is None:
        size = "*"
    return ColumnType(SCALAR_TYPES_BY_NAME[name].votable, size, match.group(3))


def list_leaf_columns(schema: pa.Schema) -> dict[str, tuple[str, pa.DataType]]:
    """Name the columns of a file, those within structs one by one: tables of the VO have no columns within columns.

    Parameters
    ----------
    schema
        Schema of the file.

    Returns
    -------
    leaves
        Name -> path in the file (``lightcurve.mag``) and type. A field of a struct is called ``lightcurve_mag``, and
        left out where there is a column of that name.
    """
    top_level_names = {item.name for item in schema if not pa.types.is_struct(item.type)}
    leaf_columns: dict[str, tuple[str, pa.DataType]] = {}
    for item in schema:
        if item.name in top_level_names:
            leaf_columns[item.name] = item.name, item.type
            continue
        for field in item.type:
            name = f"{item.name}_{field.name}"
            if name not in top_level_names:
                leaf_columns.setdefault(name, (f"{item.name}.{field.name}", field.type))
    return leaf_columns


def select_leaf_column(rows: pa.Table | pa.RecordBatch, path: str) -> pa.ChunkedArray | pa.Array:
    """Return a column by its path in the file, as `list_leaf_columns` tells it.

    Parameters
    ----------
    rows
        As they were read.
    path
        A name, or that of a struct and of its field.

    Returns
    -------
    values
        Null where the struct is, shape (rows,).
    """
    if path in rows.schema.names:
        return rows.column(path)
    import pyarrow.compute as pc  # noqa: PLC0415  (slow to load; few need it)

    struct, _, field = path.partition(".")
    return pc.struct_field(rows.column(struct), field)


def build_type_from_arrow(arrow_type: pa.DataType) -> ColumnType:
    """Convert an Arrow type to VOTable's words (unsigned words widen; dates become timestamps).

    Parameters
    ----------
    arrow_type
        The type of an array or of a field.

    Returns
    -------
    type
        Dictionaries count as their values.

    Raises
    ------
    ValueError
        Structs, maps and unions have no VOTable form.
    """
    if pa.types.is_dictionary(arrow_type):
        return build_type_from_arrow(arrow_type.value_type)
    if pa.types.is_list(arrow_type) or pa.types.is_large_list(arrow_type) or pa.types.is_fixed_size_list(arrow_type):
        item = build_type_from_arrow(arrow_type.value_type)
        if pa.types.is_fixed_size_list(arrow_type):
            size = str(arrow_type.list_size)
        else:
            size = "*"
        if item.is_string:
            return ColumnType(item.datatype, f"*x{size}" if size != "*" else "*x*")
        if item.arraysize is not None or item.xtype is not None:
            message = f"an array of {arrow_type.value_type} has no VOTable form"
            raise ValueError(message)
        return ColumnType(item.datatype, size)
    for test, result in _TYPES_BY_ARROW_TEST:
        if test(arrow_type):
            return result
    message = f"the Arrow type {arrow_type} has no VOTable form"
    raise ValueError(message)


def _is_text_type(arrow_type: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(arrow_type) or pa.types.is_large_string(arrow_type) or pa.types.is_string_view(arrow_type)
    )


def _is_time_type(arrow_type: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(arrow_type) or pa.types.is_date(arrow_type))


TIMESTAMP = ColumnType("char", "*", "timestamp")
STRING = ColumnType("char", "*")
BOOLEAN = ColumnType("boolean")
INT16, INT32, INT64 = ColumnType("short"), ColumnType("int"), ColumnType("long")
FLOAT32, FLOAT64 = ColumnType("float"), ColumnType("double")
POINT = ColumnType("double", "2", "point")
CIRCLE = ColumnType("double", "3", "circle")
POLYGON = ColumnType("double", "*", "polygon")
REGION = ColumnType("char", "*", "adql:REGION")
MOC = ColumnType("char", "*", "moc")
CONTOUR = ColumnType("double", "*", "hven:contour")
"""A region that is made of a contour of a source, and how: of expressions alone."""

_TYPES_BY_ARROW_TEST = (
    (pa.types.is_boolean, BOOLEAN),
    (pa.types.is_uint8, ColumnType("unsignedByte")),
    (pa.types.is_int8, INT16),
    (pa.types.is_int16, INT16),
    (pa.types.is_uint16, INT32),
    (pa.types.is_int32, INT32),
    (pa.types.is_uint32, INT64),
    (pa.types.is_int64, INT64),
    (pa.types.is_uint64, INT64),
    (pa.types.is_float16, FLOAT32),
    (pa.types.is_float32, FLOAT32),
    (pa.types.is_float64, FLOAT64),
    (pa.types.is_decimal, FLOAT64),
    (_is_time_type, TIMESTAMP),
    (_is_text_type, STRING),
    (pa.types.is_time, STRING),
    (pa.types.is_null, STRING),
    (pa.types.is_binary, ColumnType("unsignedByte", "*")),
    (pa.types.is_large_binary, ColumnType("unsignedByte", "*")),
)
