"""Walks and copies of trees: every node is seen, the one shape of it known to `hven.adql.syntax_tree` alone."""

from __future__ import annotations

from dataclasses import fields, replace
from itertools import chain

import pytest

from hven.adql import bind_query, parse_query
from hven.adql.scope import StaticTableCatalogue
from hven.adql.syntax_tree import (
    BinaryOperation,
    ColumnRef,
    Comparison,
    DerivedTable,
    Disjunction,
    Expr,
    FunctionCall,
    Ident,
    Literal,
    Query,
    Select,
    SyntaxNode,
    TableRef,
    iterate_children,
    transform_tree,
    walk_tree,
)
from hven.model.errors import HvenError
from hven.model.table import Column, Table
from hven.model.types import INT32
from query_tables import TABLES
from random_queries import write_random_query

B_COLUMN = Column(name="b", type=INT32)


def make_small_table():
    return Table(schema="x", name="t", columns=(Column(name="a", type=INT32), B_COLUMN))


def everything(thing):
    """Give every node, found by reading all rows that there is."""
    if isinstance(thing, tuple):
        return list(chain.from_iterable(map(everything, thing)))
    if not isinstance(thing, SyntaxNode):
        return []
    return [thing, *chain.from_iterable(everything(getattr(thing, item.name)) for item in fields(thing))]


def parse_random_queries():
    for seed in range(150):
        try:
            yield parse_query(write_random_query(seed, TABLES))
        except HvenError:
            continue


def test_every_node_is_walked_and_offered():
    kinds = set()
    for tree in parse_random_queries():
        seen = everything(tree)
        offered = []
        assert transform_tree(tree, lambda node: offered.append(node) or node) is tree  # noqa: B023  (used at once)
        assert list(map(id, walk_tree(tree))) == list(map(id, seen))
        assert sorted(map(id, offered)) == sorted(map(id, seen))
        assert 1 + sum(len(list(iterate_children(node))) for node in seen) == len(seen)
        kinds |= set(map(type, seen))
    assert len(kinds) > 25


def test_the_row_filter_is_copied_and_not_walked():
    condition = BinaryOperation("+", Literal(1), Literal(2))
    tree = Query(Select((), TableRef((Ident("t"),), where=condition)))
    assert condition not in list(walk_tree(tree))
    copy = transform_tree(tree, lambda node: replace(node, value=7) if isinstance(node, Literal) else node)
    assert copy.body.source.where == BinaryOperation("+", Literal(7), Literal(7))


def test_a_chain_of_thousands_is_not_descended_into():
    tree: Expr = ColumnRef(Ident("a"))
    for _ in range(5_000):
        tree = BinaryOperation("+", tree, Literal(1))
    assert sum(1 for _ in walk_tree(tree)) == 10_001
    assert transform_tree(tree, lambda node: node) is tree
    assert (
        next(
            walk_tree(transform_tree(tree, lambda node: ColumnRef(Ident("b")) if isinstance(node, ColumnRef) else node))
        ).op
        == "+"
    )


@pytest.mark.parametrize("but", [Query, Select])
def test_nothing_below_is_walked(but):
    inner = parse_query("SELECT a FROM t WHERE a IN (SELECT b FROM u)")
    assert not [node for node in walk_tree(inner.body.where, excluded_class=but) if isinstance(node, TableRef)]


def bind_random_queries():
    catalogue = StaticTableCatalogue(TABLES.values())
    for tree in parse_random_queries():
        try:
            yield bind_query(tree, catalogue)
        except HvenError:
            continue


def test_a_survey_finds_what_walks_find():
    kinds = set()
    for bound in bind_random_queries():
        survey = bound.survey
        nodes = list(walk_tree(bound.query))
        assert survey.nodes_by_class.keys() == set(map(type, nodes))
        for found, kind in (
            (survey.selects, Select),
            (survey.table_refs, TableRef),
            (survey.derived_tables, DerivedTable),
        ):
            assert list(map(id, found)) == [id(node) for node in nodes if type(node) is kind]
        assert survey.function_names == {node.name for node in nodes if isinstance(node, FunctionCall)}
        read = {(node.source, node.column.name) for node in nodes if isinstance(node, ColumnRef) and node.column}
        assert {(number, name) for number, names in survey.read_columns.items() for name in names} == read
        assert bound.survey is survey
        kinds |= survey.nodes_by_class.keys()
    assert len(kinds) > 20


def test_a_survey_is_one_of_its_own_tree_with_its_row_filters():
    bound = bind_query(parse_query("SELECT a FROM x.t"), StaticTableCatalogue([make_small_table()]))
    assert bound.survey.filtered_tables == ()
    column = bound.query.body.items[0].expr
    tests = tuple(Comparison("=", replace(column, name=Ident("b"), source=0), Literal(n)) for n in range(5))
    condition = Disjunction(tuple(replace(test, left=replace(test.left, column=B_COLUMN)) for test in tests))
    filtered_ref = replace(bound.query.body.source, where=condition)
    filtered = replace(bound, query=replace(bound.query, body=replace(bound.query.body, source=filtered_ref)))
    assert filtered.survey is not bound.survey
    assert filtered.survey.filtered_tables == (filtered_ref,)
    assert set(filtered.survey.read_columns[filtered_ref.number]) == {"a", "b"}
    assert filtered.survey.longest_choice == 5
    assert not filtered.survey.has_any(Disjunction)
