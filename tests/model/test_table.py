"""Columns and tables: what is derived from them, and what may not be changed."""

import dataclasses

import pyarrow as pa
import pytest

from hven.model.params import Param
from hven.model.table import Column, Table, build_columns_from_arrow
from hven.model.types import FLOAT64, INT64, STRING, TIMESTAMP

STARS = Table(
    schema="sky",
    name="stars",
    columns=(
        Column(name="id", type=INT64, ucd="meta.id;meta.main", rank=1, required=True),
        Column(name="RA", type=FLOAT64, unit="deg", ucd="pos.eq.ra;meta.main", rank=1),
        Column(name="note", type=STRING, rank=25),
        Column(name="seen", type=TIMESTAMP, rank=11),
    ),
    primary=("id",),
)


@pytest.mark.parametrize(
    ("rank", "verbosity", "principal"),
    [(1, 1, True), (10, 1, True), (11, 2, False), (20, 2, False), (21, 3, False), (30, 3, False)],
)
def test_rank_gives_verb_and_principal(rank, verbosity, principal):
    column = Column(name="x", rank=rank)
    assert column.min_verbosity == verbosity
    assert column.is_principal == principal


def test_the_arrow_schema_is_the_columns():
    schema = STARS.arrow_schema
    assert schema.names == ["id", "RA", "note", "seen"]
    assert schema.types == [pa.int64(), pa.float64(), pa.string(), pa.timestamp("us")]
    assert [field.nullable for field in schema] == [False, True, True, True]


def test_columns_are_found_by_exact_name_and_by_ucd():
    assert STARS.qualified_name == "sky.stars"
    assert STARS.find_column("RA").unit == "deg"
    with pytest.raises(KeyError):
        STARS.find_column("ra")
    assert STARS.find_column_by_ucd("POS.EQ.RA;meta.main") is STARS.find_column("RA")
    assert STARS.find_column_by_ucd("pos.eq.ra") is None


def test_copies_differ_and_originals_stay():
    other = STARS.copy_with(name="others")
    assert (other.qualified_name, STARS.qualified_name) == ("sky.others", "sky.stars")
    assert STARS.find_column("RA").copy_with(unit="rad").unit == "rad"
    assert STARS.find_column("RA").unit == "deg"
    with pytest.raises(dataclasses.FrozenInstanceError):
        STARS.name = "x"


def test_an_arrow_schema_is_described_with_what_is_known():
    schema = pa.schema([("RA", pa.float64()), ("n", pa.int32()), ("t", pa.date32())])
    columns = build_columns_from_arrow(schema, STARS.columns)
    assert [column.name for column in columns] == ["RA", "n", "t"]
    assert columns[0] is STARS.find_column("RA")
    assert [str(column.type) for column in columns[1:]] == ["int32", "timestamp"]


def test_parameters_are_strings_unless_said():
    assert Param(name="FORMAT").type == STRING
    with pytest.raises(TypeError):
        Param("FORMAT")
