"""Types: one table of correspondences, read and written, and understood by DuckDB and Arrow alike."""

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hven.model import types
from hven.model.types import (
    LEGACY_XTYPE_ALIASES,
    SCALAR_TYPES,
    XTYPES_BY_NAME,
    ColumnType,
    build_type_from_arrow,
    parse_type,
)

SIZES = st.sampled_from([None, "1", "3", "12", "*", "5*", "2x3", "2x*", "2x3x4", "2x3x10*"])
PLAIN = st.builds(ColumnType, st.sampled_from([row.votable for row in SCALAR_TYPES]), SIZES)
SPECIAL = st.sampled_from(
    [ColumnType(row.votable, row.arraysize, row.name) for row in types.XTYPES]
    + [ColumnType("float", "2", "point"), ColumnType("int", "2", "interval"), ColumnType("float", "*", "polygon")]
    + [parse_type(word) for word in LEGACY_XTYPE_ALIASES]
)
TYPES = st.one_of(PLAIN, SPECIAL)


@given(TYPES)
def test_what_is_written_is_read_back(kind):
    again = parse_type(str(kind))
    if kind.datatype in {"char", "unicodeChar"} and kind.arraysize is None:
        assert again == ColumnType(kind.datatype, "1")  # a lone char is a string of one
    else:
        assert again == kind


@given(TYPES)
def test_arrow_and_duckdb_keep_rows_in_the_same_shape(kind):
    """An Arrow column of the storage type, through DuckDB cast to its type name, comes back as it was."""
    if kind.stored_xtype is not None and kind.stored_xtype.adql == "TIMESTAMP":
        return
    empty = pa.table({"v": pa.array([None, None], type=kind.arrow)})
    connection = duckdb.connect()
    connection.register("t", empty)
    there = connection.sql(f'SELECT v::{kind.duckdb} AS v FROM "t"').to_arrow_table()
    assert there.schema.field("v").type == kind.arrow
    assert there.num_rows == 2


@pytest.mark.parametrize("row", SCALAR_TYPES, ids=lambda row: row.name)
def test_scalars_are_their_own_words(row):
    kind = parse_type(row.name)
    assert kind.datatype == row.votable
    if row.rank:
        assert kind.is_numeric
        assert build_type_from_arrow(kind.arrow) == kind
        assert str(kind) == row.name


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("double", ColumnType("double")), ("float", ColumnType("float")), ("INT", ColumnType("int")), ("string", ColumnType("char", "*")), ("string[20]", ColumnType("char", "20")), ("string[20*]", ColumnType("char", "20*")), ("timestamp", types.TIMESTAMP), ("datetime", types.TIMESTAMP),
        ("polygon", types.POLYGON), ("float32[2]:point", ColumnType("float", "2", "point")), ("adql:REGION", types.REGION), ("adql:TIMESTAMP", ColumnType("char", "*", "adql:TIMESTAMP")), ("bool", types.BOOLEAN), ("varchar", types.STRING), ("int16[3x4]", ColumnType("short", "3x4")), ("unicode", ColumnType("unicodeChar", "*")),
    ],
)  # fmt: skip
def test_words_of_descriptors(text, expected):
    assert parse_type(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "flaot",
        "float[",
        "float[x]",
        "float[3x]",
        "float[**]",
        "float[3**]",
        "float[-1]",
        "double[*x*x]",
        "12",
        "float 64",
    ],
)
def test_unknown_words_are_refused(text):
    with pytest.raises(ValueError, match="no type"):
        parse_type(text)


def test_every_known_word_is_read():
    for name in types.list_type_names():
        assert isinstance(parse_type(name), ColumnType)


@pytest.mark.parametrize(
    ("kind", "adql", "size", "shape"),
    [
        (ColumnType("char", "8"), "CHAR(8)", 8, (8,)), (ColumnType("char", "8*"), "VARCHAR(8)", 8, (None,)), (ColumnType("char", "*"), "VARCHAR", None, (None,)), (ColumnType("char"), "CHAR(1)", None, ()), (ColumnType("double"), "DOUBLE PRECISION", None, ()),
        (types.TIMESTAMP, "TIMESTAMP", None, (None,)), (types.POINT, "POINT", 2, (2,)), (types.MOC, "MOC", None, (None,)), (ColumnType("unsignedByte"), "SMALLINT", None, ()), (ColumnType("int", "2x3"), "INTEGER", None, (2, 3)), (ColumnType("double", "2x*"), "DOUBLE PRECISION", None, (2, None)),
    ],
)  # fmt: skip
def test_adql_names_sizes_and_shapes(kind, adql, size, shape):
    assert kind.adql == adql
    assert kind.tap_schema_size == size
    assert kind.shape == shape


@given(TYPES)
def test_a_type_is_one_kind_of_thing(kind):
    kinds = [
        kind.is_numeric,
        kind.is_boolean,
        kind.is_timestamp,
        kind.is_array,
        kind.is_string and not kind.is_geometry,
        kind.is_geometry,
    ]
    if (kind.stored_xtype is not None and kind.stored_xtype.adql == "INTERVAL") or (
        kind.scalar_type.rank == 0 and kind.arraysize is None and "omplex" in kind.datatype
    ):
        assert not any(kinds)
    else:
        assert sum(kinds) == 1


@pytest.mark.parametrize(
    ("arrow", "expected"),
    [
        (pa.int8(), types.INT16), (pa.uint16(), types.INT32), (pa.uint32(), types.INT64), (pa.float16(), types.FLOAT32), (pa.large_string(), types.STRING), (pa.string_view(), types.STRING), (pa.date32(), types.TIMESTAMP), (pa.timestamp("ns", "UTC"), types.TIMESTAMP),
        (pa.dictionary(pa.int8(), pa.string()), types.STRING), (pa.list_(pa.int16()), ColumnType("short", "*")), (pa.list_(pa.float64(), 3), ColumnType("double", "3")), (pa.large_list(pa.bool_()), ColumnType("boolean", "*")), (pa.decimal128(10, 2), types.FLOAT64), (pa.null(), types.STRING), (pa.binary(), ColumnType("unsignedByte", "*")),
    ],
)  # fmt: skip
def test_arrow_in_votables_words(arrow, expected):
    assert build_type_from_arrow(arrow) == expected


@pytest.mark.parametrize(
    "arrow",
    [
        pa.struct([("a", pa.int8())]),
        pa.map_(pa.string(), pa.int8()),
        pa.list_(pa.list_(pa.int8())),
        pa.list_(pa.timestamp("us")),
        pa.duration("s"),
    ],
)
def test_what_has_no_votable_form_is_refused(arrow):
    with pytest.raises(ValueError, match="no VOTable form"):
        build_type_from_arrow(arrow)


@given(st.sampled_from(list(XTYPES_BY_NAME)))
def test_geometries_say_so(name):
    assert ColumnType(XTYPES_BY_NAME[name].votable, XTYPES_BY_NAME[name].arraysize, name).is_geometry == (
        name in {"point", "circle", "range", "polygon", "moc", "shape", "multishape", "adql:REGION"}
    )
