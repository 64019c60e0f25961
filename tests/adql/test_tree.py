"""Walks and copies of trees: every node is seen, the one shape of it known to `hven.adql.syntax_tree` alone."""

from __future__ import annotations

from dataclasses import fields, replace
from itertools import chain

import pytest

from hven.adql import parse_query
from hven.adql.syntax_tree import (
    BinaryOperation,
    ColumnRef,
    Expr,
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
from query_tables import TABLES
from random_queries import write_random_query


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
