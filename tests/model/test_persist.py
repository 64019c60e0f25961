"""Tables as JSON: everything comes back, and what a newer Hven wrote is refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hven.model.table import Column, ColumnGroup, ForeignKey, ReferenceFrame, Table, table_from_json, table_to_json
from hven.model.types import SCALAR_TYPES_BY_NAME, XTYPES_BY_NAME, ColumnType, parse_type

words = st.text(min_size=1, max_size=8)
maybe = st.none() | st.text(max_size=8)
types = st.sampled_from([*SCALAR_TYPES_BY_NAME, *XTYPES_BY_NAME, "string[12]", "int16[3]", "float64[2x*]"]).map(
    parse_type
) | st.just(ColumnType("char", "4x*", "odd"))
columns = st.builds(
    Column,
    name=words, type=types, unit=maybe, ucd=maybe, utype=maybe, description=maybe, label=maybe, null=maybe, rank=st.integers(1, 30),
    std=st.booleans(), required=st.booleans(), indexed=st.booleans(), unique=st.booleans(), hidden=st.booleans(), section=maybe, display=maybe,
    frame=maybe, link=maybe, enum=maybe, minimum=st.none() | st.floats(allow_nan=False), maximum=st.none() | st.floats(allow_nan=False),
    origins=st.lists(words, max_size=2).map(tuple),
)  # fmt: skip
names = st.lists(words, max_size=2).map(tuple)
tables = st.builds(
    Table,
    schema=words, name=words, columns=st.lists(columns, max_size=3).map(tuple), description=maybe, title=maybe, utype=maybe, primary=names,
    keys=st.lists(st.builds(ForeignKey, id=words, columns=names, target=words, target_columns=names, description=maybe, utype=maybe), max_size=2).map(tuple),
    groups=st.lists(st.builds(ColumnGroup, name=words, roles=st.dictionaries(words, words, max_size=2), description=maybe), max_size=2).map(tuple),
    frames=st.lists(st.builds(ReferenceFrame, id=words, kind=words, system=maybe, epoch=maybe), max_size=2).map(tuple),
    enums=st.dictionaries(words, st.dictionaries(words, words, max_size=2), max_size=2),
    position=st.none() | st.tuples(words, words), view=maybe, access=st.sampled_from(["public", "private"]), index=st.none() | st.integers(0, 99),
    standard=maybe,
)  # fmt: skip


@given(tables)
def test_a_table_comes_back_equal(table):
    assert table_from_json(json.loads(json.dumps(table_to_json(table)))) == table


def test_what_a_newer_version_wrote_is_refused():
    data = table_to_json(Table(schema="s", name="t", columns=(Column(name="a"),)))
    with pytest.raises(ValueError, match="version 99"):
        table_from_json({**data, "version": 99})
    with pytest.raises(ValueError, match="newer version of Hven"):
        table_from_json({**data, "colour": "red"})
