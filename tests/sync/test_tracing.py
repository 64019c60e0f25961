"""Which queries can be followed by key, and to which columns of their tables; the ones that cannot are computed anew."""

from __future__ import annotations

import pytest

from hven.ingest.sync._key_tracing import trace_key_to_inputs
from hven.model.errors import TextPlace
from hven.model.resource import ColumnMapping, SourceSpec, TableSpec
from hven.model.table import Column, Table
from hven.model.types import parse_type

PLACE = TextPlace(file="x.yaml")


def table(name, *columns):
    return Table(
        schema="s", name=name, columns=tuple(Column(name=column, type=parse_type("int64")) for column in columns)
    )


TABLES = (
    table("a", "k", "x", "b_k"),
    table("b", "k", "y", "c_k"),
    table("c", "k", "z"),
    table("v", "k").copy_with(view="SELECT k FROM s.a"),
)


def trace_changes(adql, changed, primary=("k",), settings=()):
    target = table("t", "k", "n", "x").copy_with(primary=primary)
    spec = TableSpec(
        table=target,
        sources=(SourceSpec(kind="query", options={"adql": adql}, place=PLACE),),
        settings=tuple(ColumnMapping(column=name, how=how, value=value, place=PLACE) for name, how, value in settings),
        place=PLACE,
    )
    found = trace_key_to_inputs(spec, target, TABLES, {f"s.{name}" for name in changed})
    return (
        None
        if found is None
        else {key: {name[2:]: column for name, column in by.items()} for key, by in found.input_columns.items()}
    )


@pytest.mark.parametrize(
    ("adql", "changed", "expected"),
    [
        ("SELECT k, x FROM s.a", "a", {"a": "k"}),
        ("SELECT x AS k, k AS x FROM s.a", "a", {"a": "x"}),
        ("SELECT k, COUNT(*) AS n FROM s.a WHERE x > 3 GROUP BY k HAVING COUNT(*) > 1", "a", {"a": "k"}),
        ("SELECT DISTINCT k FROM s.a ORDER BY k", "a", {"a": "k"}),
        ("SELECT a.k, y AS n FROM s.a JOIN s.b ON a.b_k = b.k", "a", {"a": "k"}),
        ("SELECT a.b_k AS k, y AS n FROM s.a JOIN s.b ON a.b_k = b.k", "ab", {"a": "b_k", "b": "k"}),
        ("SELECT q.k, y AS n FROM s.a q, s.b WHERE q.k = b.k AND q.x > 1", "ab", {"a": "k", "b": "k"}),
        ("SELECT a.k, COUNT(b.y) AS n FROM s.a LEFT JOIN s.b ON a.k = b.c_k GROUP BY a.k", "b", {"b": "c_k"}),
        ("SELECT a.k FROM s.a JOIN s.b ON a.k = b.k JOIN s.c ON c.k = b.k", "c", {"c": "k"}),
    ],
)
def test_followed(adql, changed, expected):
    assert trace_changes(adql, changed) == {"k": expected}


@pytest.mark.parametrize(
    ("adql", "changed"),
    [
        ("SELECT a.k, y AS n FROM s.a JOIN s.b ON a.b_k = b.k", "b"),  # b's key is not the target's
        ("SELECT a.k, COUNT(b.y) AS n FROM s.a LEFT JOIN s.b ON a.b_k = b.k GROUP BY a.k", "b"),
        ("SELECT b.k FROM s.a LEFT JOIN s.b ON a.k = b.k", "a"),  # null where there is no b
        # a.k = a.x holds in some rows only
        ("SELECT a.k FROM s.a LEFT JOIN s.b ON b.k = a.k AND b.k = a.x JOIN s.c ON c.k = a.x", "c"),
        ("SELECT a.k FROM s.a FULL JOIN s.b ON a.k = b.k", "a"),
        ("SELECT TOP 5 k FROM s.a ORDER BY x", "a"),
        ("SELECT k FROM s.a ORDER BY x OFFSET 3", "a"),
        ("SELECT k + 1 AS k FROM s.a", "a"),
        ("SELECT MIN(k) AS k, x FROM s.a GROUP BY x", "a"),
        ("SELECT k, RANK() OVER (ORDER BY x) AS n FROM s.a", "a"),
        ("SELECT k FROM s.a WHERE x = (SELECT MAX(x) FROM s.a)", "a"),
        ("SELECT k FROM s.a WHERE EXISTS (SELECT 1 FROM s.b WHERE b.k = a.k)", "b"),
        ("SELECT k FROM (SELECT k FROM s.a) AS q", "a"),
        ("WITH q AS (SELECT k FROM s.a) SELECT k FROM q", "a"),
        ("SELECT k FROM s.a UNION SELECT k FROM s.b", "a"),
        ("SELECT one.k FROM s.a AS one JOIN s.a AS two ON one.x = two.x", "a"),
        ("SELECT * FROM s.a", "a"),
        ("SELECT k, RAND() AS n FROM s.a", "a"),
        ("SELECT k FROM s.v", "a"),
        ("SELECT k FROM s.nothing", "a"),
    ],
)
def test_computed_anew(adql, changed):
    assert trace_changes(adql, changed) is None


def test_part_of_a_key_is_enough():
    assert trace_changes("SELECT a.k, b.y AS n FROM s.a JOIN s.b ON a.b_k = b.k", "a", primary=("k", "n")) == {
        "k": {"a": "k"}
    }


def test_what_the_mapping_makes_of_the_key():
    assert trace_changes("SELECT k AS other FROM s.a", "a", settings=[("k", "map", "other")]) == {"k": {"a": "k"}}
    assert trace_changes("SELECT k AS other FROM s.a", "a", settings=[("k", "map", "other + 1")]) is None
    assert trace_changes("SELECT k FROM s.a", "a", settings=[("k", "text", "{k}_x")]) is None
    assert trace_changes("SELECT k FROM s.a", "a", primary=()) is None
