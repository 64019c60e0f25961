"""permit on hand-built trees: every reference is filtered wherever it stands, and scopes tell readers apart."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hven.adql.syntax_tree import (
    BoundQuery,
    ColumnRef,
    CommonTableExpression,
    Comparison,
    Conjunction,
    DerivedTable,
    Disjunction,
    ExistsPredicate,
    Ident,
    InPredicate,
    Join,
    Literal,
    Negation,
    Query,
    Select,
    SelectItem,
    SetOperation,
    Subquery,
    TableRef,
    ValueMetadata,
)  # fmt: skip
from hven.model.errors import ServiceError
from hven.model.table import Column, Table
from hven.model.types import BOOLEAN, FLOAT64, INT64
from hven.site.auth._access_control import (
    ANONYMOUS_PRINCIPAL,
    DEFAULT_POLICIES,
    OWNER_PRINCIPAL,
    PUBLIC_SCOPE,
    DescriptorAccessPolicy,
    Principal,
    apply_access_control,
    build_access_scope,
    collect_row_filters,
    is_table_visible,
    serialize_tree,
)
from hven.testing.policies import OddRowsHiddenPolicy, build_odd_rows_hidden_policies

N, X = Column(name="n", type=INT64), Column(name="x", type=FLOAT64)
STARS = Table(schema="sky", name="stars", columns=(N, X))
PLAIN = Table(schema="sky", name="plain", columns=(X,))
SECRET = Table(schema="sky", name="secret", columns=(N, X), access="private")
POLICIES = build_odd_rows_hidden_policies("n")
HIDDEN = OddRowsHiddenPolicy("n").find_row_condition(STARS, ANONYMOUS_PRINCIPAL)


def ref(table, number=1, **more):
    return TableRef((Ident(table.schema), Ident(table.name)), number=number, table=table, **more)


def query(source, **more):
    return Query(Select((SelectItem(ColumnRef(Ident("x"), source=1, column=X)),), source, **more))


def bind_tables(tree, *tables):
    return BoundQuery(tree, (X,), tables)


def refs(node):
    """Every TableRef anywhere in a tree, found without permit's own walk."""
    if isinstance(node, TableRef):
        return [node]
    if isinstance(node, tuple):
        return [found for part in node for found in refs(part)]
    names = getattr(type(node), "__dataclass_fields__", {}) if type(node).__module__ == "hven.adql.syntax_tree" else {}
    return [found for name in names for found in refs(getattr(node, name))]


def test_a_plain_reference_is_filtered_and_the_original_stays():
    before = bind_tables(query(ref(STARS)), STARS)
    after, scope = apply_access_control(before, ANONYMOUS_PRINCIPAL, POLICIES)
    assert refs(after.query)[0].where == HIDDEN
    assert refs(before.query)[0].where is None
    assert after.columns == before.columns
    assert not scope.is_public


def test_nothing_is_copied_when_nothing_is_hidden():
    before = bind_tables(query(ref(PLAIN)), PLAIN)
    after, scope = apply_access_control(before, ANONYMOUS_PRINCIPAL, POLICIES)
    assert after is before
    assert scope == PUBLIC_SCOPE
    assert apply_access_control(bind_tables(query(ref(STARS)), STARS), OWNER_PRINCIPAL, POLICIES)[1] == PUBLIC_SCOPE
    assert (
        apply_access_control(bind_tables(query(ref(STARS)), STARS), ANONYMOUS_PRINCIPAL, DEFAULT_POLICIES)[1]
        == PUBLIC_SCOPE
    )


CONDITION = Comparison("<", ColumnRef(Ident("x")), Literal(1))
SOURCES = st.recursive(
    st.sampled_from([STARS, PLAIN]).map(ref),
    lambda inner: st.one_of(
        st.builds(
            lambda a, b, kind: Join(a, b, kind=kind, on=CONDITION),
            inner,
            inner,
            st.sampled_from(["INNER", "LEFT", "FULL", "CROSS"]),
        ),
        inner.map(lambda source: DerivedTable(query(source), Ident("d"))),
        inner.map(
            lambda source: DerivedTable(Query(SetOperation("UNION", query(source).body, query(source))), Ident("u"))
        ),
        st.builds(
            lambda a, b: DerivedTable(
                query(a, where=Disjunction((Negation(ExistsPredicate(query(b))), CONDITION))), Ident("e")
            ),
            inner,
            inner,
        ),
        st.builds(
            lambda a, b: DerivedTable(
                query(a, where=Conjunction((InPredicate(ColumnRef(Ident("x")), Subquery(query(b))), CONDITION))),
                Ident("i"),
            ),
            inner,
            inner,
        ),
        st.builds(
            lambda a, b: DerivedTable(
                query(a, having=Comparison("=", Subquery(query(b)), Literal(2)), group_by=(ColumnRef(Ident("x")),)),
                Ident("h"),
            ),
            inner,
            inner,
        ),
        st.builds(
            lambda a, b: DerivedTable(
                Query(query(a).body, ctes=(CommonTableExpression(Ident("w"), query(b)),)), Ident("c")
            ),
            inner,
            inner,
        ),
    ),
    max_leaves=8,
)


@given(SOURCES)
def test_every_reference_is_filtered_wherever_it_stands(source):
    before = query(source)
    after, scope = apply_access_control(bind_tables(before, STARS, PLAIN), ANONYMOUS_PRINCIPAL, POLICIES)
    found = refs(after.query)
    assert len(found) == len(refs(before))
    for one in found:
        assert one.where == (HIDDEN if one.table is STARS else None)
    assert after.query == before, "filters are no part of what a tree compares"
    assert not scope.is_public


def test_names_of_with_are_left_alone_and_unbound_tables_are_refused():
    cte = TableRef((Ident("w"),), number=2, cte=True)
    tree = Query(Select((), Join(ref(STARS), cte)), ctes=(CommonTableExpression(Ident("w"), query(ref(STARS, 3))),))
    after, _ = apply_access_control(bind_tables(tree, STARS), ANONYMOUS_PRINCIPAL, POLICIES)
    assert [one.where is None for one in refs(after.query)] == [False, True, False]
    with pytest.raises(ServiceError, match=r"sky\.plain"):
        apply_access_control(
            bind_tables(query(Join(ref(STARS), TableRef((Ident("sky"), Ident("plain"))))), STARS),
            ANONYMOUS_PRINCIPAL,
            POLICIES,
        )
    with pytest.raises(ServiceError, match=r"sky\.secret"):
        apply_access_control(bind_tables(query(Join(ref(STARS), ref(SECRET))), STARS), ANONYMOUS_PRINCIPAL, POLICIES)


class SlottedPolicy:
    """A policy whose literals carry slots, as those of a condition out of a parsed text may."""

    def __init__(self, limit):
        self.limit = limit

    def decide_visibility(self, table, who):
        return None

    def find_row_condition(self, table, who):
        return Comparison(
            ">",
            ColumnRef(Ident("x"), column=X, text_offset=7),
            Literal(self.limit, slot=0, text_offset=9),
            meta=ValueMetadata(BOOLEAN, origins=frozenset({"b", "a", "c"})),
        )


def test_a_filters_literals_never_take_the_querys_values():
    after, _ = apply_access_control(
        bind_tables(query(ref(STARS)), STARS), ANONYMOUS_PRINCIPAL, (DescriptorAccessPolicy(), SlottedPolicy(5))
    )
    assert refs(after.query)[0].where.right.slot == -1
    assert refs(after.query)[0].where.right.value == 5


def test_policies_add_up():
    after, _ = apply_access_control(
        bind_tables(query(ref(STARS)), STARS),
        ANONYMOUS_PRINCIPAL,
        (DescriptorAccessPolicy(), SlottedPolicy(5), OddRowsHiddenPolicy("n")),
    )
    where = refs(after.query)[0].where
    assert isinstance(where, Conjunction)
    assert where.parts[1] == HIDDEN
    assert where.meta is not None


def test_scopes_tell_readers_apart_and_nothing_else():
    one, two = (collect_row_filters([STARS], ANONYMOUS_PRINCIPAL, (SlottedPolicy(limit),)) for limit in (5, 6))
    assert build_access_scope(one, []) != build_access_scope(two, [])
    assert build_access_scope(one, []) == build_access_scope(
        collect_row_filters([STARS], Principal(name="x"), (SlottedPolicy(5),)), []
    )
    assert build_access_scope({}, ["sky.secret"]) not in {PUBLIC_SCOPE, build_access_scope({}, ["sky.other"])}
    assert build_access_scope({"a.b": one["sky.stars"]}, []) != build_access_scope(one, [])
    assert serialize_tree(Literal(1)) != serialize_tree(Literal(1.0)) != serialize_tree(Literal("1"))
    assert serialize_tree(Literal(1, text_offset=3, slot=2)) == serialize_tree(Literal(1))


def test_scopes_are_the_same_in_every_process():
    """Sets come out of ``repr`` in another order in each process; answers' ETags must not."""
    code = (
        "from hven.adql.syntax_tree import *; from hven.site.auth._access_control import build_access_scope; from hven.model.types import BOOLEAN;"
        "print(build_access_scope({'a.b': Comparison('=', ColumnRef(Ident('x')), Literal(1), meta=ValueMetadata(BOOLEAN, origins=frozenset('abcdefgh')))}, []).key)"
    )
    keys = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": seed}
        ).stdout
        for seed in "123"
    }
    assert len(keys) == 1


def test_private_tables_need_a_yes_and_no_no():
    class Says:
        def __init__(self, opinion):
            self.opinion = opinion

        def decide_visibility(self, table, who):
            return self.opinion

        def rows(self, table, who):
            return None

    assert is_table_visible(STARS, ANONYMOUS_PRINCIPAL)
    assert not is_table_visible(SECRET, ANONYMOUS_PRINCIPAL)
    assert is_table_visible(SECRET, OWNER_PRINCIPAL)
    assert is_table_visible(SECRET, ANONYMOUS_PRINCIPAL, (DescriptorAccessPolicy(), Says(True)))
    assert not is_table_visible(STARS, ANONYMOUS_PRINCIPAL, (DescriptorAccessPolicy(), Says(False)))
    assert not is_table_visible(SECRET, OWNER_PRINCIPAL, (DescriptorAccessPolicy(), Says(False)))
    assert not is_table_visible(STARS, ANONYMOUS_PRINCIPAL, ())
    assert not is_table_visible(STARS, ANONYMOUS_PRINCIPAL, (OddRowsHiddenPolicy("n"),)), "no opinion is not a yes"
    assert not apply_access_control(bind_tables(query(ref(SECRET)), SECRET), OWNER_PRINCIPAL, DEFAULT_POLICIES)[
        1
    ].is_public
    assert ANONYMOUS_PRINCIPAL.is_anonymous
    assert not OWNER_PRINCIPAL.is_anonymous


def test_half_hidden_is_what_the_binder_makes_of_it():
    from hven import adql

    text = 'MOD("n", 2) = 0'
    theirs = adql.bind_condition(adql.parse_condition(text), STARS.columns)
    assert theirs == HIDDEN
    assert OddRowsHiddenPolicy("n").find_row_condition(PLAIN, ANONYMOUS_PRINCIPAL) is None
    assert OddRowsHiddenPolicy("x").find_row_condition(STARS, ANONYMOUS_PRINCIPAL) is None, "no whole numbers"
    assert OddRowsHiddenPolicy("n").find_row_condition(STARS, OWNER_PRINCIPAL) is None


def test_chains_of_thousands_are_filtered_whole():
    one = Select((SelectItem(ColumnRef(Ident("x"), source=1, column=X)),), ref(STARS))
    tree = one
    for _ in range(3000):
        tree = SetOperation("UNION", tree, one)
    permitted, _ = apply_access_control(bind_tables(Query(tree), STARS), ANONYMOUS_PRINCIPAL, POLICIES)
    found, count = permitted.query.body, 0
    while isinstance(found, SetOperation):
        assert found.right.source.where is not None
        found, count = found.left, count + 1
    assert count == 3000
    assert found.source.where is not None
